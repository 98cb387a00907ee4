%% Time-outs, cancelling, interrupts and the deaths of callers: what stops, what goes on, what arrives.
-module(cancel_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_gates, [running/5, closed_gate/1, open_gate/2]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        time_out_stops_an_endless_loop,
        time_out_stops_a_sleep,
        time_out_passes_broad_handlers,
        time_out_runs_finally_blocks,
        clean_up_may_take_a_while,
        time_out_of_zero_is_a_time_out,
        time_outs_never_hit_the_next_call,
        queued_request_never_runs_after_its_time_out,
        time_out_of_await_takes_the_message_along,
        cancel_stops_what_runs,
        cancel_takes_back_what_is_queued,
        cancel_takes_back_what_is_done,
        cancel_after_the_message_was_received_is_fine,
        cancel_twice_is_fine,
        only_the_spawner_may_await_and_cancel,
        death_of_a_caller_takes_back_what_is_queued,
        death_of_a_caller_stops_what_runs,
        cast_survives_its_sender,
        interrupt_stops_what_runs,
        interrupt_of_an_idle_context_does_nothing,
        interrupt_of_a_dead_context_is_an_error,
        code_that_catches_everything_is_interrupted_again,
        interrupt_in_a_destructor_is_not_lost,
        interrupts_leave_other_contexts_alone,
        storm_leaves_every_context_in_order
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun py_suite:install/1).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    {ok, 4.0} = py:call(?config(ctx, Config), math, sqrt, [16]),
    py_suite:close(?config(socket, Config)).

running(Config, Function, Tag, More) ->
    running(Config, ?config(ctx, Config), Function, Tag, More).

within(Milliseconds, Fun) ->
    Begin = erlang:monotonic_time(millisecond),
    Result = Fun(),
    ?assert(erlang:monotonic_time(millisecond) - Begin < Milliseconds),
    Result.

%%% Time-outs

time_out_stops_an_endless_loop(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Arguments = [py_suite:port(Socket), <<"spin">>],
    within(5_000, fun() ->
        ?assertEqual({error, timeout}, py:call(Context, ct_signals, spin, Arguments, #{timeout => 100})),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end),
    ?assertEqual(not_running, py:interrupt(Context)).

time_out_stops_a_sleep(Config) ->
    Context = ?config(ctx, Config),
    within(5_000, fun() ->
        ?assertEqual({error, timeout}, py:call(Context, time, sleep, [1000], #{timeout => 100})),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end).

time_out_passes_broad_handlers(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "def inner():\n"
        "    while True:\n"
        "        try:\n"
        "            while True: pass\n"
        "        except Exception: pass\n"
        "def outer():\n"
        "    try: inner()\n"
        "    except Exception as e: return 'caught'\n"
    >>),
    within(5_000, fun() ->
        ?assertEqual({error, timeout}, py:call(Context, '__main__', outer, [], #{timeout => 100})),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end).

time_out_runs_finally_blocks(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "done = []\n"
        "def work():\n"
        "    try:\n"
        %% Python 3.12 takes an exception at the end of a round for one of the instruction before the loop,
        %% which has to be in the try block, too.
        "        x = 0\n"
        "        while True: x += 1\n"
        "    finally: done.append(1)\n"
    >>),
    ?assertEqual({error, timeout}, py:call(Context, '__main__', work, [], #{timeout => 50})),
    ?assertEqual({ok, [1]}, py:eval(Context, <<"done">>)).

%% An interrupt is repeated after 50 ms where it had no effect.
clean_up_may_take_a_while(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import time\n"
        "done = []\n"
        "def work():\n"
        "    try:\n"
        "        x = 0\n"
        "        while True: x += 1\n"
        "    finally:\n"
        "        end = time.perf_counter() + 0.1\n"
        "        while time.perf_counter() < end: pass\n"
        "        done.append(1)\n"
    >>),
    ?assertEqual({error, timeout}, py:call(Context, '__main__', work, [], #{timeout => 50})),
    ?assertEqual({ok, [1]}, py:eval(Context, <<"done">>)).

time_out_of_zero_is_a_time_out(Config) ->
    Context = ?config(ctx, Config),
    Gate = closed_gate(Config),
    ?assertEqual({error, timeout}, py:call(Context, math, sqrt, [16], #{timeout => 0})),
    ok = open_gate(Config, Gate),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertMatch({Outcome, _} when Outcome =:= ok; Outcome =:= error, py:eval(<<"1">>, #{}, 0)),
    ?assertEqual([], py_suite:flush()).

time_outs_never_hit_the_next_call(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "def work(n):\n"
        "    x = 0\n"
        "    for i in range(n): x += 1\n"
        "    return x\n"
        "def spin():\n"
        "    while True: pass\n"
    >>),
    lists:foreach(
        fun(Round) ->
            Timeout = Round rem 4,
            %% Long ones that must time out, and short ones that end at about the time that they may take.
            case Round rem 2 of
                0 -> ?assertEqual({error, timeout}, py:call(Context, '__main__', spin, [], #{timeout => Timeout}));
                1 -> _ = py:call(Context, '__main__', work, [20_000], #{timeout => Timeout})
            end,
            ?assertEqual({ok, 2_000}, py:call(Context, '__main__', work, [2_000])),
            ?assertEqual({ok, Round}, py:eval(Context, <<"work(n)">>, #{n => Round}))
        end,
        lists:seq(1, 300)
    ),
    ?assertEqual([], py_suite:flush()).

queued_request_never_runs_after_its_time_out(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"ran = []">>),
    Gate = closed_gate(Config),
    [
        ?assertEqual({error, timeout}, py:call(Context, '__main__', 'ran.append', [I], #{timeout => 20}))
     || I <- lists:seq(1, 5)
    ],
    ok = open_gate(Config, Gate),
    ?assertEqual({ok, []}, py:eval(Context, <<"ran">>)),
    ?assertEqual([], py_suite:flush()).

time_out_of_await_takes_the_message_along(Config) ->
    Context = ?config(ctx, Config),
    Running = running(Config, spin, <<"spin">>, []),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    ?assertEqual({error, timeout}, py:await(Queued, 20)),
    ?assertEqual({error, timeout}, py:await(Running, 20)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()),
    %% A result that is there already is no time-out.
    Done = py:spawn_call(Context, math, sqrt, [16]),
    {ok, 5.0} = py:call(Context, math, sqrt, [25]),
    ?assertEqual({ok, 4.0}, py:await(Done, 0)).

%%% Cancel

cancel_stops_what_runs(Config) ->
    Context = ?config(ctx, Config),
    lists:foreach(
        fun({Function, More}) ->
            Ref = running(Config, Function, <<"run">>, More),
            ?assertEqual(ok, py:cancel(Ref)),
            ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
        end,
        [{spin, []}, {sleep, [1000]}]
    ),
    ?assertEqual([], py_suite:flush()).

cancel_takes_back_what_is_queued(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"ran = []">>),
    Gate = closed_gate(Config),
    Refs = [py:spawn_call(Context, '__main__', 'ran.append', [I]) || I <- lists:seq(1, 10)],
    {Taken, Left} = lists:partition(fun({I, _}) -> I rem 2 =:= 0 end, lists:zip(lists:seq(1, 10), Refs)),
    [?assertEqual(ok, py:cancel(Ref)) || {_, Ref} <- Taken],
    ok = open_gate(Config, Gate),
    [?assertEqual({ok, none}, py:await(Ref)) || {_, Ref} <- Left],
    ?assertEqual({ok, [1, 3, 5, 7, 9]}, py:eval(Context, <<"ran">>)),
    ?assertEqual([], py_suite:flush()).

cancel_takes_back_what_is_done(Config) ->
    Context = ?config(ctx, Config),
    Ref = py:spawn_call(Context, math, sqrt, [16]),
    {ok, 5.0} = py:call(Context, math, sqrt, [25]),
    ?assertEqual(ok, py:cancel(Ref)),
    ?assertEqual([], py_suite:flush()).

cancel_after_the_message_was_received_is_fine(Config) ->
    %% Many times: the message may come before the sender knows that it has sent it.
    [
        begin
            Ref = py:spawn_call(?config(ctx, Config), math, sqrt, [16]),
            {ok, 4.0} = py:await(Ref),
            ?assertEqual(ok, py:cancel(Ref))
        end
     || _ <- lists:seq(1, 2_000)
    ],
    ?assertEqual([], py_suite:flush()).

cancel_twice_is_fine(Config) ->
    Ref = running(Config, spin, <<"spin">>, []),
    ?assertEqual(ok, py:cancel(Ref)),
    ?assertEqual(ok, py:cancel(Ref)),
    ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

only_the_spawner_may_await_and_cancel(Config) ->
    Gate = {Ref, _} = closed_gate(Config),
    py_suite:fresh(fun() ->
        ?assertError(badarg, py:await(Ref)),
        ?assertError(badarg, py:await(Ref, 0)),
        ?assertError(badarg, py:cancel(Ref)),
        ok
    end),
    ok = open_gate(Config, Gate).

%%% Deaths of callers

death_of_a_caller_takes_back_what_is_queued(Config) ->
    Context = ?config(ctx, Config),
    %% A module stays when the namespace of the process goes.
    ok = py:exec(Context, <<"import sys, types\nm = sys.modules['ct_ran'] = types.ModuleType('ct_ran')\nm.ran = []">>),
    Test = self(),
    Gate = closed_gate(Config),
    {Pid, _} = py_suite:spawn_caller(fun() ->
        Refs = [py:spawn_call(Context, ct_ran, 'ran.append', [I]) || I <- lists:seq(1, 20)],
        Test ! submitted,
        py:await(hd(Refs), infinity)
    end),
    receive
        submitted -> ok
    end,
    ok = py_suite:killed(Pid),
    Mine = py:spawn_call(Context, ct_ran, 'ran.append', [<<"mine">>]),
    ok = open_gate(Config, Gate),
    ?assertEqual({ok, none}, py:await(Mine)),
    ?assertEqual({ok, [<<"mine">>]}, py:eval(Context, <<"__import__('ct_ran').ran">>)).

death_of_a_caller_stops_what_runs(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    [
        begin
            {Pid, _} = py_suite:spawn_caller(fun() ->
                py:call(Context, ct_signals, Function, [Port, <<"run">> | More])
            end),
            _ = py_suite:await_signal(Socket, <<"run">>),
            Queued = py:spawn_call(Context, math, sqrt, [16]),
            ok = py_suite:killed(Pid),
            ?assertEqual({ok, 4.0}, py:await(Queued))
        end
     || {Function, More} <- [{spin, []}, {sleep, [1000]}]
    ],
    ok.

cast_survives_its_sender(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Gate = closed_gate(Config),
    py_suite:fresh(fun() ->
        %% Its namespace is there although it has ended when the casts run.
        ok = py:cast(Context, '__main__', '__dict__.update', [], #{x => <<"kept">>}),
        ok = py:cast(Context, '__main__', '__dict__.__getitem__', [<<"x">>]),
        ok = py:cast(Context, ct_signals, signal, [Port, <<"cast ran">>])
    end),
    Log = py_suite:capture_log(),
    ok = open_gate(Config, Gate),
    _ = py_suite:await_signal(Socket, <<"cast ran">>),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    py_suite:release_log(Log),
    %% No cast failed.
    ?assertEqual([], py_suite:flush()).

%%% Interrupts

interrupt_stops_what_runs(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            Ref = running(Config, Function, <<"run">>, More),
            ?assertEqual(ok, Interrupt(Context)),
            ?assertEqual({error, interrupted}, py:await(Ref))
        end
     || {Function, More} <- [{spin, []}, {sleep, [1000]}],
        Interrupt <- [fun py:interrupt/1, fun py_context:interrupt/1]
    ],
    ?assertEqual([], py_suite:flush()).

interrupt_of_an_idle_context_does_nothing(Config) ->
    Context = ?config(ctx, Config),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py:interrupt(Context) =:= not_running end)),
    [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || _ <- lists:seq(1, 100)],
    ok.

interrupt_of_a_dead_context_is_an_error(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_context:stop(Context),
    ?assertEqual({error, {context_died, noproc}}, py:interrupt(Context)).

code_that_catches_everything_is_interrupted_again(Config) ->
    Socket = ?config(socket, Config),
    Ref = running(Config, stubborn, <<"stubborn">>, []),
    ok = py:cancel(Ref),
    _ = py_suite:await_signal(Socket, <<"stubborn1">>),
    _ = py_suite:await_signal(Socket, <<"stubborn2">>),
    _ = py_suite:await_signal(Socket, <<"stubborn3">>),
    ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16])).

interrupt_in_a_destructor_is_not_lost(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "class Late:\n"
        "    def __del__(self):\n"
        "        for _ in range(50): pass\n"
        "def work():\n"
        "    while True:\n"
        "        Late()\n"
        "        for _ in range(500): pass\n"
    >>),
    %% What gets lost in destructors would be logged.
    ok = py:exec(Context, <<"import sys\nhook, sys.unraisablehook = sys.unraisablehook, lambda *_: None">>),
    try
        [
            ?assertEqual({error, timeout}, py:call(Context, '__main__', work, [], #{timeout => 20}))
         || _ <- lists:seq(1, 20)
        ],
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    after
        ok = py:exec(Context, <<"sys.unraisablehook = hook">>)
    end.

interrupts_leave_other_contexts_alone(Config) ->
    Other = py_suite:new_context(Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Victims = [
        py:spawn_call(Context, ct_signals, Function, [Port, Tag])
     || {Context, Function, Tag} <- [{?config(ctx, Config), spin, <<"spin">>}]
    ],
    _ = py_suite:await_signal(Socket, <<"spin">>),
    ok = py_suite:install(Other),
    Steady = py:spawn_call(Other, ct_signals, gate, [Port, <<"steady">>]),
    Gate = py_suite:await_signal(Socket, <<"steady">>),
    ok = py:interrupt(?config(ctx, Config)),
    [?assertEqual({error, interrupted}, py:await(Ref)) || Ref <- Victims],
    py_suite:release(Socket, Gate),
    ?assertEqual({ok, <<"steady">>}, py:await(Steady)),
    ok = py_context:stop(Other).

%%% All of it at once

storm_leaves_every_context_in_order(Config) ->
    Seed = erlang:phash2({os:timestamp(), self()}),
    ct:pal("seed of the storm: ~p", [Seed]),
    Contexts = [py_suite:new_context(Config) || _ <- lists:seq(1, 3)],
    Code = <<
        "import time\n"
        "def work(n, x):\n"
        "    for _ in range(n): pass\n"
        "    return x\n"
        "def nap(x):\n"
        "    time.sleep(0.005)\n"
        "    return x\n"
    >>,
    [
        ok = py:exec(Context, <<
            "import sys, types\nm = types.ModuleType('ct_storm')\nexec('''", Code/binary, "''', m.__dict__)\n"
            "sys.modules['ct_storm'] = m"
        >>)
     || Context <- Contexts
    ],
    Callers = [
        py_suite:spawn_caller(fun() ->
            _ = rand:seed(exsss, {Seed, I, 1}),
            storm(I, Contexts, 10)
        end)
     || I <- lists:seq(1, 1_000)
    ],
    _ = rand:seed(exsss, {Seed, 0, 0}),
    Victims = [Pid || {Pid, _} <- Callers, rand:uniform(5) =:= 1],
    %% While they work: kills and interrupts.
    Killer = py_suite:spawn_caller(fun() ->
        [
            begin
                _ = py:interrupt(lists:nth(rand:uniform(3), Contexts)),
                exit(Pid, kill),
                erlang:yield()
            end
         || Pid <- Victims
        ],
        ok
    end),
    {result, ok} = py_suite:await_down(Killer, 50_000),
    Wrong = lists:append([
        case py_suite:await_down(Caller, 50_000) of
            {result, Found} -> Found;
            {died, killed} -> [];
            {died, Reason} -> [{died, Reason}]
        end
     || Caller <- Callers
    ]),
    ?assertEqual([], Wrong),
    [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts],
    [?assertEqual({ok, 5}, py:call(Context, ct_storm, work, [10_000, 5])) || Context <- Contexts],
    [ok = py_context:stop(Context) || Context <- Contexts],
    ?assertEqual([], py_suite:flush()).

%% Every answer is this request's own, a time-out or an interrupt; nothing else is in the mailbox.
storm(_Caller, _Contexts, 0) ->
    [{late, Message} || Message <- py_suite:flush()];
storm(Caller, Contexts, Round) ->
    Context = lists:nth(rand:uniform(length(Contexts)), Contexts),
    Value = {Caller, Round},
    {Function, Args} =
        case rand:uniform(3) of
            1 -> {nap, [Value]};
            _ -> {work, [rand:uniform(3_000), Value]}
        end,
    Wrong =
        case rand:uniform(4) of
            1 ->
                check(Value, py:call(Context, ct_storm, Function, Args, #{timeout => rand:uniform(20) - 1}));
            2 ->
                Ref = py:spawn_call(Context, ct_storm, Function, Args),
                _ = [erlang:yield() || _ <- lists:seq(1, rand:uniform(50))],
                ok = py:cancel(Ref),
                [];
            3 ->
                Ref = py:spawn_call(Context, ct_storm, Function, Args),
                check(Value, py:await(Ref, rand:uniform(20) - 1));
            4 ->
                check(Value, py:call(Context, ct_storm, Function, Args, #{timeout => 40_000}))
        end,
    Late = [{late, Round, Message} || Message <- py_suite:flush()],
    Wrong ++ Late ++ storm(Caller, Contexts, Round - 1).

check(Value, {ok, Value}) -> [];
check(_Value, {error, timeout}) -> [];
check(_Value, {error, interrupted}) -> [];
check(Value, Other) -> [{Value, Other}].
