%% The standard library's asyncio in a context: whatever its loops wait for, an interrupt reaches them.
-module(asyncio_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        time_out_ends_a_loop_that_sleeps,
        time_out_leaves_the_clean_up_of_a_loop_alone,
        time_out_ends_a_loop_that_waits_for_a_socket,
        time_out_ends_a_loop_that_waits_for_a_thread,
        cancel_ends_a_loop,
        interrupt_ends_a_loop,
        death_of_the_caller_ends_a_loop,
        stop_of_the_context_ends_a_loop,
        loops_made_by_hand_are_interrupted_too,
        loops_of_threads_work,
        policies_of_users_are_left_alone,
        asyncio_is_what_it_is_elsewhere,
        descriptors_go_with_the_loop
    ]).

init_per_group(Mode, Config) ->
    case py_suite:init_group_with_context(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            ok = py_suite:install(?config(ctx, Started)),
            Started
    end.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    ok = py:exec(?config(ctx, Config), code()),
    {_, _, Stuck, SetAside} = py_nif:counters(),
    [{lost, {Stuck, SetAside}}, {socket, py_suite:open()} | Config].

%% A context that had been given up would be counted.
end_per_testcase(_Case, Config) ->
    ok = py_suite:close(?config(socket, Config)),
    %% On a slow machine a loop is interrupted again while it closes, and goes with the garbage.
    {ok, _} = py:call(?config(ctx, Config), gc, collect, []),
    ?assertEqual([], py_suite:flush()),
    {_, _, Stuck, SetAside} = py_nif:counters(),
    ?assertEqual(?config(lost, Config), {Stuck, SetAside}),
    py_suite:both_answer(Config).

code() ->
    <<
        "import asyncio, ct_signals, erlang, socket, threading, time\n"
        "async def sleeping(port):\n"
        "    ct_signals.signal(port, 'waits')\n"
        "    await asyncio.sleep(3600)\n"
        "async def guarded(port):\n"
        "    try:\n"
        "        await sleeping(port)\n"
        "    finally:\n"
        "        ct_signals.signal(port, 'finally')\n"
        "async def cleaning(port):\n"
        "    try:\n"
        %% When the loop is about to wait: a step that is interrupted has less time.
        "        asyncio.get_running_loop().call_soon(erlang.send, interrupter, 'waits')\n"
        "        await asyncio.sleep(3600)\n"
        "    finally:\n"
        "        end = time.monotonic() + 0.7\n"
        "        while time.monotonic() < end:\n"
        "            await asyncio.sleep(0.01)\n"
        "        ct_signals.signal(port, 'finally')\n"
        "async def reading(port):\n"
        "    ours, theirs = socket.socketpair()\n"
        "    with ours, theirs:\n"
        "        ours.setblocking(False)\n"
        "        ct_signals.signal(port, 'waits')\n"
        "        await asyncio.get_running_loop().sock_recv(ours, 1)\n"
        "async def threaded(port):\n"
        "    gate = threading.Event()\n"
        "    ct_signals.signal(port, 'waits')\n"
        "    try:\n"
        "        await asyncio.to_thread(gate.wait)\n"
        "    finally:\n"
        "        gate.set()\n"
        "def run(name, port):\n"
        "    return asyncio.run(globals()[name](port))\n"
        "def by_hand(name, port):\n"
        "    loop = asyncio.new_event_loop()\n"
        "    try:\n"
        "        return loop.run_until_complete(globals()[name](port))\n"
        "    finally:\n"
        "        loop.close()\n"
    >>.

%% Ends when the loop waits.
waits(Config) ->
    _ = py_suite:await_signal(?config(socket, Config), <<"waits">>),
    ok.

%% Ends when the coroutine has been cancelled. The context may serve others before.
cleaned_up(Config) ->
    _ = py_suite:await_signal(?config(socket, Config), <<"finally">>),
    ok.

arguments(Config, Name) ->
    [Name, py_suite:port(?config(socket, Config))].

time_out_ends_a_loop_that_sleeps(Config) ->
    Result = py:call(?config(ctx, Config), '__main__', run, arguments(Config, guarded), #{timeout => 100}),
    ok = waits(Config),
    ?assertEqual({error, timeout}, Result),
    ok = cleaned_up(Config).

%% The loop was interrupted before its time was over: by hand, or since the caller was the first to see that.
time_out_leaves_the_clean_up_of_a_loop_alone(Config) ->
    Context = ?config(ctx, Config),
    Interrupter = spawn_link(fun() -> receive <<"waits">> -> _ = py:interrupt(Context) end end),
    {ok, none} = py:eval(Context, <<"globals().__setitem__('interrupter', pid)">>, #{pid => Interrupter}),
    Result = py:call(Context, '__main__', run, arguments(Config, cleaning), #{timeout => 500}),
    ?assertEqual({error, timeout}, Result),
    ok = cleaned_up(Config).

time_out_ends_a_loop_that_waits_for_a_socket(Config) ->
    Context = ?config(ctx, Config),
    Result = py:call(Context, '__main__', run, arguments(Config, reading), #{timeout => 100}),
    ok = waits(Config),
    ?assertEqual({error, timeout}, Result).

time_out_ends_a_loop_that_waits_for_a_thread(Config) ->
    Context = ?config(ctx, Config),
    Result = py:call(Context, '__main__', run, arguments(Config, threaded), #{timeout => 100}),
    ok = waits(Config),
    ?assertEqual({error, timeout}, Result).

cancel_ends_a_loop(Config) ->
    Context = ?config(ctx, Config),
    Ref = py:spawn_call(Context, '__main__', run, arguments(Config, guarded)),
    ok = waits(Config),
    ok = py:cancel(Ref),
    ok = cleaned_up(Config).

interrupt_ends_a_loop(Config) ->
    Context = ?config(ctx, Config),
    Ref = py:spawn_call(Context, '__main__', run, arguments(Config, guarded)),
    ok = waits(Config),
    ok = py:interrupt(Context),
    ?assertEqual({error, interrupted}, py:await(Ref)),
    ok = cleaned_up(Config).

death_of_the_caller_ends_a_loop(Config) ->
    Context = ?config(ctx, Config),
    Arguments = arguments(Config, sleeping),
    {Pid, _} =
        Caller = py_suite:spawn_caller(fun() ->
            ok = py:exec(Context, code()),
            py:call(Context, '__main__', run, Arguments)
        end),
    ok = waits(Config),
    exit(Pid, kill),
    {died, killed} = py_suite:await_down(Caller, 30_000),
    ?assertEqual({ok, 1}, py:eval(Context, <<"1">>)).

stop_of_the_context_ends_a_loop(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:install(Context),
    ok = py:exec(Context, code()),
    Ref = py:spawn_call(Context, '__main__', run, arguments(Config, sleeping)),
    ok = waits(Config),
    ok = py_context:stop(Context),
    ?assertMatch({error, {context_died, _}}, py:await(Ref)).

loops_made_by_hand_are_interrupted_too(Config) ->
    Context = ?config(ctx, Config),
    Result = py:call(Context, '__main__', by_hand, arguments(Config, sleeping), #{timeout => 100}),
    ok = waits(Config),
    ?assertEqual({error, timeout}, Result).

loops_of_threads_work(Config) ->
    ok = py:exec(?config(ctx, Config), <<
        "async def quick():\n"
        "    await asyncio.sleep(0)\n"
        "    return 7\n"
        "got = []\n"
        "threads = [threading.Thread(target=lambda: got.append(asyncio.run(quick()))) for _ in range(5)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "assert got == [7] * 5, got\n"
    >>).

policies_of_users_are_left_alone(Config) ->
    ok = py:exec(?config(ctx, Config), <<
        "import warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('ignore')\n"
        "    before, mine = asyncio.get_event_loop_policy(), asyncio.DefaultEventLoopPolicy()\n"
        "    asyncio.set_event_loop_policy(mine)\n"
        "    try:\n"
        "        asyncio.run(asyncio.sleep(0))\n"
        "        assert asyncio.get_event_loop_policy() is mine\n"
        "    finally:\n"
        "        asyncio.set_event_loop_policy(before)\n"
    >>).

%% Nothing of the import is to be seen.
asyncio_is_what_it_is_elsewhere(Config) ->
    ok = py:exec(?config(ctx, Config), <<
        "import importlib.machinery, inspect, sys\n"
        "assert isinstance(asyncio.__spec__.loader, importlib.machinery.SourceFileLoader)\n"
        "assert inspect.getsource(asyncio).startswith('\"\"\"The asyncio package')\n"
        "assert not [f for f in sys.meta_path if type(f).__module__.startswith('erlang')], sys.meta_path\n"
        "loop = asyncio.new_event_loop()\n"
        "assert isinstance(loop, asyncio.SelectorEventLoop)\n"
        "loop.close()\n"
    >>).

descriptors_go_with_the_loop(Config) ->
    Context = ?config(ctx, Config),
    Once = fun() -> ok = py:exec(Context, <<"asyncio.run(asyncio.sleep(0))">>) end,
    ok = Once(),
    Before = py_leaks:snapshot(),
    [ok = Once() || _ <- lists:seq(1, 50)],
    py_leaks:check(Before).
