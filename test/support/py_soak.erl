%% A mixed load for as long as one likes, and what the node holds meanwhile: nothing of it may grow.
-module(py_soak).

-export([run/2]).

-define(WORKERS, 8).
-define(SAMPLES, 24).

-type sample() :: #{resident | fds | threads | atoms | processes | texts := non_neg_integer()}.
-type summary() :: #{steps := pos_integer(), samples := [sample()], grown := #{atom() => integer()}, wrong := [term()]}.

%% Runs for a number of seconds; gives what has grown from the second quarter of them to the last, by the least of each.
-spec run(integer(), pos_integer()) -> summary().
run(Seed, Seconds) ->
    ok = py_suite:start(#{num_contexts => 2}),
    {ok, _} = py:eval(<<"1">>),
    ok = py_suite:stop(),
    Before = py_leaks:snapshot(),
    ok = started(),
    End = erlang:monotonic_time(millisecond) + 1000 * Seconds,
    Owner = self(),
    Workers = [
        element(2, spawn_monitor(fun() ->
            _ = rand:seed(exsss, {Seed, I, 1}),
            Owner ! {self(), worker(End, 0, [])}
        end))
     || I <- lists:seq(1, ?WORKERS)
    ],
    Samples = sampled(End, max(1, 1000 * Seconds div ?SAMPLES), []),
    Done = [
        receive
            {'DOWN', Monitor, process, Pid, normal} ->
                receive
                    {Pid, Result} -> Result
                end;
            {'DOWN', Monitor, process, _, Reason} ->
                {0, [{worker, Reason}]}
        end
     || Monitor <- Workers
    ],
    ok = py_reactor:stop_listener(soak_echo),
    ok = py_suite:stop(),
    ok = py_leaks:check(Before, #{spares => 16, fds => 32}),
    #{
        steps => lists:sum([Count || {Count, _} <- Done]),
        samples => Samples,
        grown => grown(Samples),
        wrong => lists:append([Wrong || {_, Wrong} <- Done])
    }.

started() ->
    ok = py_suite:start(#{num_contexts => 2, start_contexts => eager}),
    ok = py_context_router:start_pool(soak_worker, 2, #{mode => worker, start => eager}),
    ok = py:register_function(soak_id, fun([X]) -> X end),
    ok = py:register_function(soak_fail, fun([X]) -> error(X) end),
    {ok, _} = py_reactor:start_listener(soak_echo, #{
        ip => {127, 0, 0, 1}, contexts => 1, setup_code => echo(), protocol => {'__main__', 'Echo'}
    }),
    ok.

echo() ->
    <<
        "import erlang.reactor\n"
        "class Echo(erlang.reactor.Protocol):\n"
        "    def data_received(self, data):\n"
        "        self.write_buffer += data\n"
        "        return 'write_pending'\n"
    >>.

sampled(End, Every, Samples) ->
    receive
    after Every -> ok
    end,
    _ = [garbage_collect(Pid) || Pid <- processes()],
    #{threads := Threads, fds := Fds, atoms := Atoms} = py_leaks:snapshot(),
    Sample = #{
        resident => py_leaks:resident(),
        threads => length(Threads),
        fds => Fds,
        atoms => Atoms,
        processes => length(processes()),
        texts => texts()
    },
    case erlang:monotonic_time(millisecond) < End of
        true -> sampled(End, Every, [Sample | Samples]);
        false -> lists:reverse(Samples, [Sample])
    end.

%% The most texts of code that a context keeps.
texts() ->
    Code = <<"len(__import__('sys').modules['erlang._sources'].texts)">>,
    lists:max([N || {ok, N} <- [py:call(Context, builtins, eval, [Code, #{}]) || Context <- py_context_router:contexts()]]).

grown(Samples) ->
    Quarter = length(Samples) div 4,
    Early = lists:sublist(Samples, Quarter + 1, Quarter),
    Late = lists:nthtail(length(Samples) - Quarter, Samples),
    Least = fun(Key, Some) -> lists:min([maps:get(Key, Sample) || Sample <- Some]) end,
    maps:from_list([{Key, Least(Key, Late) - Least(Key, Early)} || Key <- maps:keys(hd(Samples))]).

%% ------------------------------------------------------------------------------------------------
%% The load

worker(End, Count, Wrong) ->
    case erlang:monotonic_time(millisecond) < End of
        true -> worker(End, Count + 1, use(rand:uniform(40), anywhere()) ++ Wrong);
        false -> {Count, Wrong}
    end.

anywhere() ->
    Contexts = py_context_router:contexts() ++ py_context_router:contexts(soak_worker),
    lists:nth(rand:uniform(length(Contexts)), Contexts).

use(N, Context) when N =< 6 ->
    expect({ok, N}, py:call(Context, operator, pos, [N]));
use(N, Context) when N =< 9 ->
    %% Another text each time.
    Number = erlang:unique_integer([positive]),
    expect({ok, Number}, py:eval(Context, integer_to_binary(Number)));
use(N, Context) when N =< 11 ->
    Text = integer_to_binary(erlang:unique_integer()),
    expect(ok, py:exec(Context, <<"def f():\n    return ", Text/binary, "\nf()">>));
use(N, Context) when N =< 13 ->
    {error, {'ZeroDivisionError', _}} = py:eval(Context, <<"1 / 0">>),
    expect(<<"builtins">>, maps:get(module, py:last_error()));
use(N, Context) when N =< 16 ->
    expect({ok, lists:seq(0, 9)}, py:eval(Context, <<"[__import__('erlang').call('soak_id', i) for i in range(10)]">>));
use(17, Context) ->
    expect({error, {error, 17}}, py:call(Context, erlang, call, [soak_fail, 17]));
use(N, Context) when N =< 20 ->
    expect({ok, N}, py_context:submit_await(Context, asyncio, sleep, [0.001, N]));
use(N, Context) when N =< 22 ->
    ok = py:exec(Context, <<"import asyncio\nasync def many(n):\n    return await asyncio.gather(*[asyncio.sleep(0, i) for i in range(n)])">>),
    expect({ok, lists:seq(0, 19)}, py_context:submit_await(Context, '__main__', many, [20]));
use(N, Context) when N =< 24 ->
    {ok, Bytes} = py:call(Context, builtins, bytes, [200_000]),
    expect(200_000, byte_size(Bytes));
use(25, Context) ->
    Lent = {memoryview, binary:copy(<<"x">>, 200_000)},
    expect({ok, 200_000}, py:call(Context, builtins, len, [Lent]));
use(N, Context) when N =< 28 ->
    {ok, Object} = py:call(Context, collections, deque, [[1, N]]),
    expect({ok, N}, py:call_method(Object, pop, []));
use(29, Context) ->
    expect({error, timeout}, py:call(Context, time, sleep, [10], #{timeout => rand:uniform(10)}));
use(30, Context) ->
    expect({error, timeout}, py:call(Context, builtins, exec, [<<"while True: pass">>, #{}], #{timeout => rand:uniform(10)}));
use(N, _) when N =< 32 ->
    Port = py_reactor:port(soak_echo),
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
    ok = gen_tcp:send(Socket, <<"echo">>),
    Result = gen_tcp:recv(Socket, 4, 10_000),
    ok = gen_tcp:close(Socket),
    expect({ok, <<"echo">>}, Result);
use(33, Context) ->
    {error, {Class, _}} = py:call(Context, os, fork, []),
    expect('RuntimeError', Class);
use(34, Context) ->
    ok = py:exec(Context, <<"import threading\nt = threading.Thread(target=sum, args=([1],))\nt.start()\nt.join()">>),
    [];
use(35, Context) ->
    expect(ok, py:cast(Context, erlang, call, [soak_id, 1]));
use(36, Context) ->
    Ref = py:spawn_call(Context, time, sleep, [10]),
    expect(ok, py:cancel(Ref));
use(37, Context) ->
    {Pid, Monitor} = spawn_monitor(fun() -> py:call(Context, time, sleep, [10]) end),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, process, Pid, killed} -> []
    end;
use(38, _) ->
    own(#{sandbox => #{base => strict, seccomp => best_effort}}, fun(Context) ->
        {error, {Class, _}} = py:call(Context, builtins, open, [<<"/etc/passwd">>]),
        expect('PermissionError', Class)
    end);
use(39, _) ->
    own(#{}, fun(Context) ->
        {ok, Environment} = py_context:create_local_env(Context),
        ok = py_context:exec(Context, <<"import json, re, hashlib, datetime, asyncio\nx = json.loads('[1]')">>, Environment),
        expect({ok, [1]}, py_context:eval(Context, <<"x">>, #{}, 10_000, Environment))
    end);
use(40, _) ->
    case py:execution_mode() of
        owngil ->
            own(#{memory_limit => 64_000_000}, fun(Context) ->
                {error, {Class, _}} = py:call(Context, builtins, bytearray, [200_000_000]),
                expect('MemoryError', Class) ++ expect({ok, 4.0}, py:call(Context, math, sqrt, [16]))
            end);
        worker ->
            []
    end.

%% In a context that comes and goes.
own(Options, Use) ->
    {ok, Context} = py_context:new(Options),
    try
        Use(Context)
    after
        case rand:uniform(2) of
            1 -> exit(Context, kill);
            2 -> py_context:stop(Context)
        end
    end.

expect(Right, Right) -> [];
expect(Right, Other) -> [{expected, Right, got, Other}].
