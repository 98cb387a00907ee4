-module(callbacks_soak).
-export([main/1]).

%% Lets Python call Erlang in every way while contexts come and go, callers die, and time runs out.
%%
%%   erl -noshell -pa <ebin> -pa <this> -s callbacks_soak main 600

main(Arguments) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    ok = py:register_function(soak_id, fun([X]) -> X end),
    ok = py:register_function(soak_fail, fun([X]) -> error({failed, X}) end),
    ok = py:register_function(soak_wait, fun([_]) -> timer:sleep(rand:uniform(20)) end),
    ok = py:register_function(soak_down, fun down/1),
    soak:main(Arguments, fun one/0).

%% Back and forth between two contexts, or within one.
down([0, _There, _Here]) ->
    0;
down([N, There, Here]) ->
    case py:call(There, erlang, call, [soak_down, N - 1, Here, There]) of
        {ok, M} -> M + 1;
        {error, Reason} -> exit(Reason)
    end.

%% One context: a few uses, then an end, sometimes in the middle of the last one.
one() ->
    {ok, Context} = py_context:new(#{mode => element(rand:uniform(2), {owngil, worker})}),
    ok = py:exec(Context, code()),
    Failed = lists:append([use(rand:uniform(9), Context) || _ <- lists:seq(1, rand:uniform(12))]),
    Busy = busy(rand:uniform(4), Context),
    case rand:uniform(3) of
        1 -> exit(Context, kill);
        _ -> py_context:stop(Context)
    end,
    lists:foreach(
        fun({Pid, Monitor}) ->
            receive
                {'DOWN', Monitor, process, Pid, _} -> ok
            end
        end,
        Busy
    ),
    Failed.

code() ->
    <<
        "import asyncio, erlang, threading\n"
        "def loop(n):\n"
        "    return [erlang.call('soak_id', i) for i in range(n)]\n"
        "def threads(n):\n"
        "    got = []\n"
        "    def run(i):\n"
        "        got.append(erlang.call('soak_id', i))\n"
        "    started = [threading.Thread(target=run, args=(i,)) for i in range(n)]\n"
        "    for thread in started: thread.start()\n"
        "    for thread in started: thread.join()\n"
        "    return sorted(got)\n"
        "def left_behind(n):\n"
        "    for i in range(n):\n"
        "        threading.Thread(target=erlang.call, args=('soak_wait', i), daemon=i % 2 == 0).start()\n"
        "def gathered(n):\n"
        "    async def main():\n"
        "        return await asyncio.gather(*[erlang.async_call('soak_id', i) for i in range(n)])\n"
        "    return asyncio.run(main())\n"
        "def chain(n):\n"
        "    return erlang.schedule_py('__main__', 'chain', (n - 1,)) if n else 'done'\n"
        "class Finalised:\n"
        "    def __del__(self):\n"
        "        erlang.call('soak_id', 1)\n"
    >>.

use(1, Context) ->
    wrong({ok, lists:seq(0, 49)}, py:call(Context, '__main__', loop, [50]));
use(2, Context) ->
    wrong({ok, lists:seq(0, 9)}, py:call(Context, '__main__', threads, [10]));
use(3, Context) ->
    wrong({ok, lists:seq(0, 19)}, py:call(Context, '__main__', gathered, [20]));
use(4, Context) ->
    wrong({ok, <<"done">>}, py:call(Context, '__main__', chain, [100]));
use(5, Context) ->
    wrong({error, {error, {failed, 1}}}, py:eval(Context, <<"erlang.soak_fail(1)">>));
use(6, Context) ->
    wrong({ok, 20}, py:call(Context, erlang, call, [soak_down, 20, Context, Context]));
use(7, Context) ->
    {ok, Other} = py_context:new(#{mode => owngil}),
    Result = py:call(Context, erlang, call, [soak_down, 10, Other, Context]),
    ok = py_context:stop(Other),
    wrong({ok, 10}, Result);
use(8, Context) ->
    %% Whatever is first.
    Timeout = rand:uniform(20),
    case py:call(Context, erlang, call, [soak_wait, 1], #{timeout => Timeout}) of
        {ok, _} -> [];
        {error, timeout} -> [];
        Other -> wrong({error, timeout}, Other)
    end;
use(9, Context) ->
    _ = py:exec(Context, <<"Finalised()\n[Finalised() for _ in range(10)]">>),
    [].

%% What goes on while the context ends.
busy(1, Context) ->
    [spawn_monitor(fun() -> py:call(Context, '__main__', loop, [1_000_000]) end) || _ <- [1, 2]];
busy(2, Context) ->
    _ = py:call(Context, '__main__', left_behind, [5]),
    [];
busy(3, Context) ->
    Callers = [
        spawn_monitor(fun() -> py:call(Context, erlang, call, [soak_wait, 1]) end)
     || _ <- lists:seq(1, 5)
    ],
    _ = [exit(Pid, kill) || {Pid, _} <- Callers, rand:uniform(2) =:= 1],
    Callers;
busy(4, Context) ->
    _ = py:spawn_call(Context, '__main__', chain, [1_000_000]),
    _ = py:cast(Context, '__main__', gathered, [50]),
    [].

wrong(Expected, Expected) -> [];
wrong(Expected, Other) -> [{expected, Expected, got, Other}].
