%% Code that catches its interrupts and goes on: its caller and those behind it have their answers on time.
-module(swallowed_interrupts_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

%% Far above what any answer may take here.
-define(STUCK_AFTER, 2_000).
-define(LIMIT, 200).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        caller_has_its_timeout_while_code_swallows_interrupts,
        those_behind_have_theirs_too,
        code_that_gives_in_at_last_keeps_its_context,
        code_that_swallows_interrupts_for_too_long_is_replaced,
        callers_without_a_time_limit_learn_that_the_context_is_stuck
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 32}).

init_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{stuck_after => ?STUCK_AFTER, num_contexts => 1}),
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

%% `swallow' goes on until it gets a datagram, `give_in' until it was interrupted so many times.
prepare() ->
    ok = py_suite:install(),
    ok = py:exec(<<
        "import sys, types\n"
        "_m = types.ModuleType('ct_swallow')\n"
        "exec('''\n"
        "import socket\n"
        "def until_released(s, port, tag, told):\n"
        "    if not told:\n"
        "        told.append(tag)\n"
        "        s.sendto(tag.encode(), ('127.0.0.1', port))\n"
        "    while True:\n"
        "        try:\n"
        "            # It stays there: an interrupt may come between its reading and what is made of it.\n"
        "            return bool(s.recv(16, socket.MSG_PEEK))\n"
        "        except BlockingIOError:\n"
        "            pass\n"
        "def without_end(released, *args):\n"
        "    while not released:\n"
        "        try:\n"
        "            released.append(until_released(*args))\n"
        "        except BaseException:\n"
        "            pass\n"
        "def swallow(port, tag):\n"
        "    released, told = [], []\n"
        "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        "        s.bind(('127.0.0.1', 0))\n"
        "        s.setblocking(False)\n"
        "        # One interrupt may come just where the inner function goes back to its try.\n"
        "        while not released:\n"
        "            try:\n"
        "                without_end(released, s, port, tag, told)\n"
        "            except BaseException:\n"
        "                pass\n"
        "def give_in(port, tag, times):\n"
        "    import ct_signals\n"
        "    caught = 0\n"
        "    while True:\n"
        "        try:\n"
        "            if not caught:\n"
        "                ct_signals.signal(port, tag)\n"
        "            while True:\n"
        "                len(tag)\n"
        "        except BaseException:\n"
        "            caught += 1\n"
        "            if caught == times:\n"
        "                ct_signals.signal(port, 'gave in')\n"
        "                raise\n"
        "''', _m.__dict__)\n"
        "sys.modules['ct_swallow'] = _m\n"
    >>).

%% A call that swallows its interrupts, in a process of its own; and how to end it.
swallowing(Config, Timeout) ->
    Socket = ?config(socket, Config),
    ok = prepare(),
    Args = [py_suite:port(Socket), <<"runs">>],
    Caller = py_suite:spawn_caller(fun() -> timed(fun() -> py:call(ct_swallow, swallow, Args, #{}, Timeout) end) end),
    At = py_suite:await_signal(Socket, <<"runs">>),
    {Caller, fun() -> py_suite:release(Socket, At) end}.

timed(Fun) ->
    Start = erlang:monotonic_time(millisecond),
    Result = Fun(),
    {Result, erlang:monotonic_time(millisecond) - Start}.

on_time(Caller) ->
    {result, {Result, Took}} = py_suite:await_down(Caller, 30_000),
    ?assertEqual({error, timeout}, Result),
    ?assert(Took < ?STUCK_AFTER, Took).

stuck() ->
    element(3, py_nif:counters()).

nobody_is_stuck() ->
    ?assertEqual(ok, py_leaks:eventually(fun() -> stuck() =:= 0 end)).

caller_has_its_timeout_while_code_swallows_interrupts(Config) ->
    {Caller, Release} = swallowing(Config, ?LIMIT),
    on_time(Caller),
    Release(),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual(0, stuck()).

those_behind_have_theirs_too(Config) ->
    {Caller, Release} = swallowing(Config, 60_000),
    Behind = [
        py_suite:spawn_caller(fun() -> timed(fun() -> py:call(math, sqrt, [16], #{}, ?LIMIT) end) end)
     || _ <- lists:seq(1, 10)
    ],
    lists:foreach(fun on_time/1, Behind),
    Release(),
    ?assertMatch({result, {{ok, none}, _}}, py_suite:await_down(Caller, 30_000)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

code_that_gives_in_at_last_keeps_its_context(Config) ->
    ok = prepare(),
    Socket = ?config(socket, Config),
    Context = py:context(),
    Ref = py:spawn_call(ct_swallow, give_in, [py_suite:port(Socket), <<"runs">>, 3]),
    _ = py_suite:await_signal(Socket, <<"runs">>),
    ok = py:cancel(Ref),
    %% Cancelling interrupts once; the others come of themselves.
    _ = py_suite:await_signal(Socket, <<"gave in">>),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual(Context, py:context()),
    ?assertEqual(0, stuck()).

code_that_swallows_interrupts_for_too_long_is_replaced(Config) ->
    {Caller, Release} = swallowing(Config, ?LIMIT),
    Context = hd(py_context_router:contexts()),
    Monitor = erlang:monitor(process, Context),
    Waits = py_suite:spawn_caller(fun() -> py:call(math, sqrt, [16], #{}, 30_000) end),
    on_time(Caller),
    py_suite:silently(fun() ->
        receive
            {'DOWN', Monitor, process, Context, Reason} -> ?assertEqual({shutdown, stuck}, Reason)
        end,
        %% The queue has moved to the replacement.
        ?assertEqual({result, {ok, 4.0}}, py_suite:await_down(Waits, 30_000))
    end),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertNotEqual(Context, py:context()),
    ?assertEqual(1, stuck()),
    Release(),
    nobody_is_stuck().

callers_without_a_time_limit_learn_that_the_context_is_stuck(Config) ->
    {Caller, Release} = swallowing(Config, infinity),
    py_suite:silently(fun() ->
        ok = py:interrupt(hd(py_context_router:contexts())),
        ?assertMatch({result, {{error, {context_died, stuck}}, _}}, py_suite:await_down(Caller, 30_000)),
        ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16]))
    end),
    Release(),
    nobody_is_stuck().
