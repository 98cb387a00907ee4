-module(loops_soak).
-export([main/1]).

%% Runs tasks, sockets and calls side by side on the loops of contexts that come and go, while callers die and time
%% runs out.
%%
%%   erl -noshell -pa <ebin> -pa <this> -s loops_soak main 600

main(Arguments) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    ok = py:register_function(soak_id, fun([X]) -> X end),
    ok = py:register_function(soak_ask, fun([Context, X]) -> py:call(Context, operator, add, [X, 1]) end),
    soak:main(Arguments, fun one/0).

%% One context: a few uses at the same time, then an end, sometimes in the middle of them.
one() ->
    {ok, Context} = py_context:new(#{mode => element(rand:uniform(2), {owngil, worker})}),
    Ended = rand:uniform(3),
    Seed = rand:uniform(1 bsl 30),
    Users = [spawn_monitor(fun() -> exit({found, user(Context, Seed + I, Ended)}) end) || I <- lists:seq(1, 4)],
    Ended =:= 3 andalso stop_in_the_middle(Context),
    Failed = lists:append([found(User) || User <- Users]),
    _ = py_context:stop(Context),
    Failed.

stop_in_the_middle(Context) ->
    _ = py:call(Context, time, sleep, [rand:uniform(20) / 1000], #{timeout => 1_000}),
    case rand:uniform(2) of
        1 -> exit(Context, kill);
        2 -> py_context:stop(Context)
    end.

found({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {found, Failed}} -> Failed;
        {'DOWN', Monitor, process, Pid, killed} -> [];
        {'DOWN', Monitor, process, Pid, Reason} -> [{user, Reason}]
    end.

user(Context, Seed, Ended) ->
    _ = rand:seed(exsss, {Seed, 1, 1}),
    _ = py:exec(Context, code()),
    Failed = lists:append([use(rand:uniform(10), Context) || _ <- lists:seq(1, rand:uniform(12))]),
    %% What ends with the context is no failure.
    [One || Ended =/= 3, One <- Failed].

code() ->
    <<
        "import asyncio, erlang, time\n"
        "async def many(n):\n"
        "    async def one(i):\n"
        "        await asyncio.sleep(i % 3 / 1000)\n"
        "        return i\n"
        "    return await asyncio.gather(*[one(i) for i in range(n)])\n"
        "async def echo(n):\n"
        "    async def serve(reader, writer):\n"
        "        while data := await reader.read(100):\n"
        "            writer.write(data)\n"
        "        writer.close()\n"
        "    server = await asyncio.start_server(serve, '127.0.0.1', 0)\n"
        "    async with server:\n"
        "        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())\n"
        "        for i in range(n):\n"
        "            writer.write(b'x' * 50)\n"
        "            assert await reader.readexactly(50) == b'x' * 50\n"
        "        writer.close()\n"
        "        await writer.wait_closed()\n"
        "    return n\n"
        "async def asks(context, n):\n"
        "    answers = [erlang.async_call('soak_ask', context, i) for i in range(n)]\n"
        "    return [answer[1] for answer in await asyncio.gather(*answers)]\n"
        "async def stays():\n"
        "    try:\n"
        "        await asyncio.sleep(3600)\n"
        "    finally:\n"
        "        await asyncio.sleep(0)\n"
        "async def spins():\n"
        "    while True:\n"
        "        pass\n"
        "def runs(name, *args):\n"
        "    return erlang.run(globals()[name](*args))\n"
        "def runs_alone(name, *args):\n"
        "    return asyncio.run(globals()[name](*args))\n"
    >>.

use(1, Context) ->
    expect(lists:seq(0, 29), py_context:submit_await(Context, '__main__', many, [30]));
use(2, Context) ->
    expect(5, py_context:submit_await(Context, '__main__', echo, [5]));
use(3, Context) ->
    expect(lists:seq(1, 10), py_context:submit_await(Context, '__main__', asks, [Context, 10]));
use(4, Context) ->
    expect(lists:seq(0, 9), py:call(Context, '__main__', runs, [many, 10]));
use(5, Context) ->
    expect(3, py:call(Context, '__main__', runs_alone, [echo, 3]));
use(6, Context) ->
    %% Its time ends whatever it does.
    Function = element(rand:uniform(2), {stays, spins}),
    late(py_context:submit_await(Context, '__main__', Function, [], #{}, rand:uniform(20)));
use(7, Context) ->
    Function = element(rand:uniform(2), {runs, runs_alone}),
    late(py:call(Context, '__main__', Function, [stays], #{timeout => rand:uniform(20)}));
use(8, Context) ->
    %% Nobody waits for them any more.
    {Pid, Monitor} = spawn_monitor(fun() ->
        _ = py:exec(Context, code()),
        _ = [py_context:submit(Context, '__main__', stays, []) || _ <- lists:seq(1, 20)],
        py_context:submit_await(Context, '__main__', many, [10])
    end),
    receive
        {'DOWN', Monitor, process, Pid, normal} -> [];
        {'DOWN', Monitor, process, Pid, Reason} -> [{tasks, Reason}]
    end;
use(9, Context) ->
    Refs = [py_context:submit(Context, '__main__', stays, []) || _ <- lists:seq(1, 10)],
    lists:append([wrong(ok, py:cancel(Ref)) || {ok, Ref} <- Refs]);
use(10, Context) ->
    expect(42, py:call(Context, operator, mul, [6, 7])).

expect(Value, Result) -> wrong({ok, Value}, Result).

late(Result) -> wrong({error, timeout}, Result).

wrong(Expected, Expected) -> [];
wrong(Expected, Other) -> [{expected, Expected, got, Other}].
