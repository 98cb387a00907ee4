%% Permits that processes take for themselves: who gets one, in what order, and what brings it back.
-module(semaphore_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

%% Python code takes little part in it, so one mode will do.
all() ->
    [
        permit_is_counted_with_a_bound_and_without,
        process_may_take_several,
        time_is_over_without_a_permit,
        time_out_of_zero_does_not_wait,
        time_out_takes_nothing_from_the_next,
        permits_go_in_the_order_of_arrival,
        who_waits_comes_before_who_submits_later,
        end_of_a_request_lets_a_process_go_on,
        death_of_a_holder_brings_all_its_permits_back,
        death_of_a_waiting_process_takes_nothing,
        release_without_a_permit_does_nothing,
        release_is_for_the_own_permits_only,
        higher_bound_lets_processes_go_on,
        lower_bound_takes_no_permit_away,
        bound_outlives_the_server,
        death_of_the_server_ends_all_waiting,
        bad_arguments_are_refused,
        everything_is_not_running_without_the_application,
        storm_never_exceeds_the_bound
    ].

init_per_suite(Config) ->
    py_suite:init_group(worker, Config, #{num_contexts => 2}).

end_per_suite(Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    ok = restart(Config),
    Config.

end_per_testcase(_Case, _Config) ->
    ok.

restart(Config) ->
    ok = py_suite:stop(),
    ok = py_suite:start((?config(env, Config))#{context_mode => py_suite:mode(Config), max_concurrent => 2}).

%% A process that takes a permit, tells so, and holds it until it is told to go.
holder() ->
    {Pid, _} = Holder = waiter(infinity),
    receive
        {Pid, ok} -> Holder
    end.

%% A process that waits for a permit, tells what it got, and stays until it is told to go.
waiter(Timeout) ->
    Test = self(),
    {Pid, _} = Waiter = spawn_monitor(fun() ->
        Test ! {self(), py_semaphore:acquire(Timeout)},
        receive
            go -> ok = py_semaphore:release()
        end
    end),
    %% Until its request is on the way, or answered.
    ok = py_leaks:eventually(fun() -> process_info(Pid, status) =:= {status, waiting} end),
    Waiter.

go({Pid, Monitor}) ->
    Pid ! go,
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason)
    end.

killed({Pid, Monitor}) ->
    true = erlang:demonitor(Monitor, [flush]),
    py_suite:killed(Pid).

answer({Pid, _}) ->
    receive
        {Pid, Answer} -> Answer
    after 30_000 -> ct:fail({no_answer, py_suite:flush()})
    end.

has_no_answer({Pid, _}) ->
    receive
        {Pid, Answer} -> ct:fail({early_answer, Answer})
    after 0 -> ok
    end.

%% All that was sent to the server before has been seen to.
settle() ->
    _ = sys:get_state(py_semaphore),
    ok.

current_is(N) ->
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_semaphore:current() =:= N end)).

%% ------------------------------------------------------------------------------------------------

permit_is_counted_with_a_bound_and_without(_Config) ->
    [
        begin
            ok = py_semaphore:set_max_concurrent(Max),
            ?assertEqual(Max, py_semaphore:max_concurrent()),
            ?assertEqual(0, py_semaphore:current()),
            ?assertEqual(ok, py_semaphore:acquire(1000)),
            ?assertEqual(1, py_semaphore:current()),
            ?assertEqual(ok, py_semaphore:release()),
            ?assertEqual(0, py_semaphore:current())
        end
     || Max <- [infinity, 1, 16#FFFFFFFE]
    ].

process_may_take_several(_Config) ->
    ?assertEqual([ok, ok], [py_semaphore:acquire(infinity) || _ <- [1, 2]]),
    ?assertEqual({error, max_concurrent}, py_semaphore:acquire(1)),
    %% A call needs one of its own.
    ?assertEqual({error, {overloaded, 2, 2}}, py:call(math, sqrt, [16])),
    ok = py_semaphore:release(),
    ?assertEqual(1, py_semaphore:current()),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok = py_semaphore:release(),
    ?assertEqual(0, py_semaphore:current()).

time_is_over_without_a_permit(_Config) ->
    Holders = [holder(), holder()],
    ?assertEqual([{error, max_concurrent}], lists:usort([py_semaphore:acquire(1) || _ <- lists:seq(1, 20)])),
    ?assertEqual(2, py_semaphore:current()),
    [go(Holder) || Holder <- Holders],
    ?assertEqual([ok, ok], [py_semaphore:acquire(0) || _ <- Holders]),
    ?assertEqual([], py_suite:flush()).

time_out_of_zero_does_not_wait(_Config) ->
    ?assertEqual([ok, ok], [py_semaphore:acquire(0) || _ <- [1, 2]]),
    ?assertEqual({error, max_concurrent}, py_semaphore:acquire(0)),
    ok = py_semaphore:release(),
    ?assertEqual(ok, py_semaphore:acquire(0)).

time_out_takes_nothing_from_the_next(_Config) ->
    Holders = [holder(), holder()],
    Short = waiter(1),
    Long = waiter(infinity),
    ?assertEqual({error, max_concurrent}, answer(Short)),
    has_no_answer(Long),
    go(hd(Holders)),
    ?assertEqual(ok, answer(Long)),
    ?assertEqual(2, py_semaphore:current()).

permits_go_in_the_order_of_arrival(_Config) ->
    ok = py_semaphore:set_max_concurrent(1),
    Holder = holder(),
    Waiters = [waiter(infinity) || _ <- lists:seq(1, 20)],
    lists:foldl(
        fun(Next, Before) ->
            go(Before),
            ?assertEqual(ok, answer(Next)),
            settle(),
            [has_no_answer(Waiter) || Waiter <- Waiters],
            Next
        end,
        Holder,
        Waiters
    ).

who_waits_comes_before_who_submits_later(_Config) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(infinity),
    Waiter = waiter(infinity),
    ok = py_semaphore:release(),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(math, sqrt, [16])),
    ?assertEqual({error, max_concurrent}, py_semaphore:acquire(0)),
    ?assertEqual(ok, answer(Waiter)),
    go(Waiter),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%% No process gives that permit back: the thread does, and the waiting process hears of it.
end_of_a_request_lets_a_process_go_on(_Config) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_suite:install(),
    Socket = py_suite:open(),
    [
        begin
            Ref = py:spawn_call(ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
            Gate = py_suite:await_signal(Socket, <<"gate">>),
            Waiter = waiter(infinity),
            has_no_answer(Waiter),
            py_suite:release(Socket, Gate),
            ?assertEqual({ok, <<"gate">>}, py:await(Ref)),
            ?assertEqual(ok, answer(Waiter)),
            go(Waiter)
        end
     || _ <- lists:seq(1, 20)
    ],
    py_suite:close(Socket),
    ?assertEqual(0, py_semaphore:current()).

death_of_a_holder_brings_all_its_permits_back(_Config) ->
    Test = self(),
    Greedy = spawn(fun() ->
        Test ! {taken, [py_semaphore:acquire(infinity) || _ <- [1, 2]]},
        receive
            never -> ok
        end
    end),
    receive
        {taken, Taken} -> ?assertEqual([ok, ok], Taken)
    end,
    Waiters = [waiter(infinity), waiter(infinity)],
    ok = py_suite:killed(Greedy),
    ?assertEqual([ok, ok], [answer(Waiter) || Waiter <- Waiters]),
    ?assertEqual(2, py_semaphore:current()),
    [killed(Waiter) || Waiter <- Waiters],
    current_is(0).

death_of_a_waiting_process_takes_nothing(_Config) ->
    Holders = [holder(), holder()],
    Waiters = [waiter(infinity) || _ <- lists:seq(1, 5)],
    Last = waiter(infinity),
    [killed(Waiter) || Waiter <- Waiters],
    settle(),
    [go(Holder) || Holder <- Holders],
    ?assertEqual(ok, answer(Last)),
    ?assertEqual(1, py_semaphore:current()),
    ?assertEqual(ok, py_semaphore:acquire(0)),
    ok = py_semaphore:release(),
    go(Last),
    ?assertEqual(0, py_semaphore:current()).

release_without_a_permit_does_nothing(_Config) ->
    Holder = holder(),
    ?assertEqual([ok, ok, ok], [py_semaphore:release() || _ <- [1, 2, 3]]),
    ?assertEqual(1, py_semaphore:current()),
    go(Holder),
    ?assertEqual(0, py_semaphore:current()).

release_is_for_the_own_permits_only(_Config) ->
    ok = py_semaphore:acquire(infinity),
    Holder = holder(),
    ok = py_semaphore:release(),
    ok = py_semaphore:release(),
    ?assertEqual(1, py_semaphore:current()),
    go(Holder),
    ?assertEqual(0, py_semaphore:current()).

higher_bound_lets_processes_go_on(_Config) ->
    Holders = [holder(), holder()],
    Waiters = [waiter(infinity) || _ <- lists:seq(1, 4)],
    ok = py_semaphore:set_max_concurrent(5),
    {Served, [Last]} = lists:split(3, Waiters),
    ?assertEqual([ok, ok, ok], [answer(Waiter) || Waiter <- Served]),
    has_no_answer(Last),
    ok = py_semaphore:set_max_concurrent(infinity),
    ?assertEqual(ok, answer(Last)),
    [go(Holder) || Holder <- Holders ++ Waiters],
    ?assertEqual(0, py_semaphore:current()).

lower_bound_takes_no_permit_away(_Config) ->
    [One, Two] = [holder(), holder()],
    ok = py_semaphore:set_max_concurrent(1),
    ?assertEqual(2, py_semaphore:current()),
    Waiter = waiter(infinity),
    go(One),
    settle(),
    has_no_answer(Waiter),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(math, sqrt, [16])),
    go(Two),
    ?assertEqual(ok, answer(Waiter)),
    go(Waiter).

bound_outlives_the_server(_Config) ->
    ok = py_semaphore:set_max_concurrent(7),
    _Holder = holder(),
    ?assertEqual(1, py_semaphore:current()),
    Server = whereis(py_semaphore),
    py_suite:silently(fun() -> py_suite:killed(Server) end),
    %% The new one knows of nobody who holds a permit.
    current_is(0),
    ?assertEqual(7, py_semaphore:max_concurrent()),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_semaphore:acquire(0) =:= ok end)),
    ?assertEqual(1, py_semaphore:current()),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

death_of_the_server_ends_all_waiting(_Config) ->
    ok = py_semaphore:set_max_concurrent(1),
    _Holder = holder(),
    Waiters = [waiter(infinity), waiter(60_000)],
    Server = whereis(py_semaphore),
    py_suite:silently(fun() -> py_suite:killed(Server) end),
    ?assertEqual([{error, not_running}, {error, not_running}], [answer(Waiter) || Waiter <- Waiters]),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_semaphore:acquire(0) =:= ok end)),
    %% No permit is kept for those who waited.
    ok = py_semaphore:release(),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual(0, py_semaphore:current()).

bad_arguments_are_refused(_Config) ->
    [?assertError(badarg, py_semaphore:acquire(Timeout)) || Timeout <- [-1, 1.0, forever, 16#100000000]],
    [
        ?assertError(badarg, py_semaphore:set_max_concurrent(Max))
     || Max <- [0, -1, 1.0, many, 16#FFFFFFFF]
    ],
    ?assertEqual(2, py_semaphore:max_concurrent()),
    %% The shell says why.
    [
        ?assertMatch({_, [_ | _]}, {Text, string:find(explanation(Refused), Text)})
     || {Text, Refused} <- [
            {"argument 1: not a time limit", fun() -> py_semaphore:acquire(forever) end},
            {"argument 1: not a bound", fun() -> py_semaphore:set_max_concurrent(0) end}
        ]
    ].

explanation(Refused) ->
    try Refused() of
        Result -> ct:fail({gives, Result})
    catch
        error:badarg:Stack ->
            ?assertMatch([{py_semaphore, _, [_], _}, {?MODULE, _, _, _} | _], Stack),
            lists:flatten(erl_error:format_exception(error, badarg, Stack, #{column => 1}))
    end.

everything_is_not_running_without_the_application(Config) ->
    ok = py_semaphore:acquire(infinity),
    ok = py_suite:stop(),
    ?assertEqual(
        [{error, not_running}],
        lists:usort([
            py_semaphore:acquire(infinity),
            py_semaphore:release(),
            py_semaphore:max_concurrent(),
            py_semaphore:current(),
            py_semaphore:set_max_concurrent(1)
        ])
    ),
    ok = restart(Config),
    %% What was held before is not.
    ?assertEqual(0, py_semaphore:current()).

storm_never_exceeds_the_bound(_Config) ->
    Max = 3,
    ok = py_semaphore:set_max_concurrent(Max),
    Inside = counters:new(1, [atomics]),
    Callers = [
        py_suite:spawn_caller(fun() ->
            _ = rand:seed(exsss, {I, I, I}),
            [permitted(Inside, Max, rand:uniform(4)) || _ <- lists:seq(1, 100)]
        end)
     || I <- lists:seq(1, 30)
    ],
    Results = lists:append([element(2, py_suite:await_down(Caller, 45_000)) || Caller <- Callers]),
    ?assert(lists:member(ok, Results)),
    ?assertEqual(0, counters:get(Inside, 1)),
    current_is(0),
    ?assertEqual([ok, ok, ok], [py_semaphore:acquire(0) || _ <- [1, 2, 3]]),
    [ok = py_semaphore:release() || _ <- [1, 2, 3]],
    ?assertEqual(0, py_semaphore:current()).

permitted(Inside, Max, 1) ->
    inside(Inside, Max, py_semaphore:acquire(infinity));
permitted(Inside, Max, 2) ->
    inside(Inside, Max, py_semaphore:acquire(rand:uniform(3) - 1));
permitted(_Inside, _Max, 3) ->
    case py:call(math, sqrt, [16]) of
        {ok, 4.0} -> ok;
        {error, {overloaded, _, _}} -> refused
    end;
permitted(_Inside, _Max, 4) ->
    %% Dies while it waits or holds.
    {Pid, Monitor} = spawn_monitor(fun() -> py_semaphore:acquire(infinity) end),
    _ = erlang:yield(),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    end.

inside(Inside, Max, ok) ->
    ok = counters:add(Inside, 1, 1),
    true = counters:get(Inside, 1) =< Max,
    _ = erlang:yield(),
    ok = counters:sub(Inside, 1, 1),
    ok = py_semaphore:release();
inside(_Inside, _Max, {error, max_concurrent}) ->
    refused.
