%% Code that is interrupted ends: soon where it runs bytecode, and where it waits in the system if CPython can do that.
-module(interrupt_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            read_of_a_pipe_is_interrupted,
            select_is_interrupted,
            selector_is_interrupted,
            receive_of_a_socket_is_interrupted,
            finally_block_of_interrupted_read_runs,
            interrupted_read_never_hits_the_next_call,
            read_in_another_context_goes_on
        ],
        [
            %% In mode worker the load would hold the GIL of the code that is interrupted.
            bytecode_is_interrupted_at_load
        ]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun prepare/1).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% Each function waits for something that never comes, once it has said so.
prepare(Context) ->
    ok = py_suite:install(Context),
    py:exec(Context, <<
        "import ct_signals, os, select, selectors, socket, sys, types\n"
        "m = types.ModuleType('ct_blocked')\n"
        "exec('''\n"
        "import ct_signals, os, select, selectors, socket\n"
        "left = []\n"
        "def read(port, tag):\n"
        "    ends = os.pipe()\n"
        "    try:\n"
        "        ct_signals.signal(port, tag)\n"
        "        os.read(ends[0], 1)\n"
        "    finally:\n"
        "        left.append(tag)\n"
        "        os.close(ends[0])\n"
        "        os.close(ends[1])\n"
        "def choose(port, tag):\n"
        "    one, other = socket.socketpair()\n"
        "    with one, other:\n"
        "        ct_signals.signal(port, tag)\n"
        "        select.select([one], [], [])\n"
        "def selector(port, tag):\n"
        "    one, other = socket.socketpair()\n"
        "    with one, other, selectors.DefaultSelector() as known:\n"
        "        known.register(one, selectors.EVENT_READ)\n"
        "        ct_signals.signal(port, tag)\n"
        "        known.select()\n"
        "def receive(port, tag):\n"
        "    one, other = socket.socketpair()\n"
        "    with one, other:\n"
        "        ct_signals.signal(port, tag)\n"
        "        one.recv(1)\n"
        "def brief(seconds):\n"
        "    one, other = socket.socketpair()\n"
        "    with one, other:\n"
        "        select.select([one], [], [], seconds)\n"
        "''', m.__dict__)\n"
        "sys.modules['ct_blocked'] = m\n"
    >>).

init_per_testcase(bytecode_is_interrupted_at_load, Config) ->
    [{socket, py_suite:open()} | Config];
init_per_testcase(_Case, Config) ->
    case py_suite:version() of
        {ok, Version} when Version >= [3, 15] -> [{socket, py_suite:open()} | Config];
        {ok, _} -> {skip, "CPython below 3.15 goes on with system calls that a signal has cut short"}
    end.

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    py_suite:all_is_well(Config).

%%% Waiting in the system

read_of_a_pipe_is_interrupted(Config) ->
    is_interrupted(Config, read).

select_is_interrupted(Config) ->
    is_interrupted(Config, choose).

selector_is_interrupted(Config) ->
    is_interrupted(Config, selector).

receive_of_a_socket_is_interrupted(Config) ->
    is_interrupted(Config, 'receive').

%% By an interrupt, a cancellation, a time-out, and the death of the caller; and the context is not given up.
is_interrupted(Config, Function) ->
    Context = ?config(ctx, Config),
    Interrupted = waiting(Config, Function),
    ?assertEqual(ok, py:interrupt(Context)),
    ?assertEqual({error, interrupted}, py:await(Interrupted)),
    Cancelled = waiting(Config, Function),
    ?assertEqual(ok, py:cancel(Cancelled)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    Args = [py_suite:port(?config(socket, Config)), <<"late">>],
    ?assertEqual({error, timeout}, py:call(Context, ct_blocked, Function, Args, #{timeout => 100})),
    _ = py_suite:await_signal(?config(socket, Config), <<"late">>),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    Tag = <<"orphan">>,
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    {Pid, _} = py_suite:spawn_caller(fun() -> py:call(Context, ct_blocked, Function, [Port, Tag]) end),
    _ = py_suite:await_signal(Socket, Tag),
    ok = py_suite:killed(Pid),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    receive
        {'DOWN', _, process, Pid, killed} -> ok
    end,
    ?assertMatch({_, _, 0, _}, py_nif:counters()).

finally_block_of_interrupted_read_runs(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"__import__('ct_blocked').left.clear()">>),
    Ref = waiting(Config, read),
    ok = py:interrupt(Context),
    ?assertEqual({error, interrupted}, py:await(Ref)),
    ?assertEqual({ok, [<<"waits">>]}, py:eval(Context, <<"__import__('ct_blocked').left">>)).

%% Waits that end at about the time that they are interrupted.
interrupted_read_never_hits_the_next_call(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"def work(n):\n    x = 0\n    for i in range(n): x += 1\n    return x">>),
    [
        begin
            Ref = py:spawn_call(Context, ct_blocked, brief, [0.05 + Round / 5000]),
            ok = py:cancel(Ref),
            ?assertEqual({ok, 2_000}, py:call(Context, '__main__', work, [2_000])),
            ?assertEqual({ok, Round}, py:eval(Context, <<"work(n)">>, #{n => Round}))
        end
     || Round <- lists:seq(1, 60)
    ],
    ok.

read_in_another_context_goes_on(Config) ->
    Other = py_suite:new_context(Config),
    ok = py_suite:install(Other),
    Socket = ?config(socket, Config),
    Steady = py:spawn_call(Other, ct_signals, gate, [py_suite:port(Socket), <<"steady">>]),
    Gate = py_suite:await_signal(Socket, <<"steady">>),
    Ref = waiting(Config, read),
    ok = py:interrupt(?config(ctx, Config)),
    ?assertEqual({error, interrupted}, py:await(Ref)),
    ok = py_suite:release(Socket, Gate),
    ?assertEqual({ok, <<"steady">>}, py:await(Steady)),
    ok = py_context:stop(Other).

waiting(Config, Function) ->
    Socket = ?config(socket, Config),
    Ref = py:spawn_call(?config(ctx, Config), ct_blocked, Function, [py_suite:port(Socket), <<"waits">>]),
    _ = py_suite:await_signal(Socket, <<"waits">>),
    Ref.

%%% Running bytecode

%% With a process that computes on each scheduler, and code that computes in another context. How long it takes is for
%% the benchmarks to say.
bytecode_is_interrupted_at_load(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Other = py_suite:new_context(Config),
    ok = py_suite:install(Other),
    ok = py:cast(Other, ct_signals, spin, [Port, <<"load">>]),
    _ = py_suite:await_signal(Socket, <<"load">>),
    Load = [spawn_link(fun compute/0) || _ <- lists:seq(1, erlang:system_info(schedulers_online))],
    _ = [
        begin
            Ref = py:spawn_call(Context, ct_signals, spin, [Port, <<"spin">>]),
            _ = py_suite:await_signal(Socket, <<"spin">>),
            ok = py:interrupt(Context),
            ?assertEqual({error, interrupted}, py:await(Ref))
        end
     || _ <- lists:seq(1, 21)
    ],
    _ = [
        begin
            true = unlink(Pid),
            py_suite:killed(Pid)
        end
     || Pid <- Load
    ],
    ok = py_context:stop(Other).

compute() ->
    compute().
