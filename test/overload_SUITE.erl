%% Bounds on queues and on requests in flight: what is refused, and when there is room again.
-module(overload_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_gates, [closed_gate/2, open_gate/2]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        queue_takes_so_many_and_refuses_the_next,
        every_kind_of_request_is_refused,
        no_more_than_the_bound_wait_whoever_submits,
        place_comes_back_when_a_request_is_cancelled,
        place_comes_back_at_a_time_out,
        places_come_back_when_their_caller_dies,
        cast_keeps_its_place_when_its_sender_dies,
        places_go_with_their_context,
        places_move_to_the_replacement_of_a_stuck_context,
        dead_callers_leave_no_places_in_a_replacement,
        setting_bounds_the_default_pool_and_new_contexts,
        option_bounds_a_named_pool,
        parallel_tells_which_calls_were_refused,
        requests_in_flight_are_bounded_in_the_whole_node,
        permit_is_free_when_the_answer_arrives,
        every_kind_of_request_holds_a_permit,
        cancelled_code_that_runs_on_holds_its_permit,
        permit_comes_back_when_a_queued_request_is_taken_back,
        permits_come_back_when_their_caller_dies,
        permits_come_back_when_their_context_dies,
        refusal_of_a_queue_takes_no_permit,
        permit_moves_with_its_request,
        storm_leaves_no_permit_and_no_place_behind,
        without_a_bound_nothing_is_counted,
        bound_is_that_of_the_setting_at_each_start
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 32}).

%% Every case has the application to itself.
init_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

context(Config, Options) ->
    {ok, Context} = py_context:new(Options#{mode => py_suite:mode(Config)}),
    ok = py_suite:install(Context),
    Context.

waiting(Context) ->
    {_Mode, _Id, _Processes, Waiting} = py_nif:context_info(Context),
    Waiting.

eventually(Fun) ->
    ?assertEqual(ok, py_leaks:eventually(Fun)).

%% A process that submits and lives on until it is killed.
submitter(Submit) ->
    Test = self(),
    Pid = spawn(fun() ->
        _ = Submit(),
        Test ! {submitted, self()},
        receive
            never -> ok
        end
    end),
    receive
        {submitted, Pid} -> Pid
    end.

%% ------------------------------------------------------------------------------------------------
%% Queues

queue_takes_so_many_and_refuses_the_next(Config) ->
    Context = context(Config, #{max_queue => 3}),
    Gate = closed_gate(Config, Context),
    Refs = [py:spawn_call(Context, operator, pos, [I]) || I <- [1, 2, 3]],
    ?assertEqual({error, {overloaded, 3, 3}}, py:call(Context, math, sqrt, [16])),
    ?assertEqual(3, waiting(Context)),
    open_gate(Config, Gate),
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], [py:await(Ref) || Ref <- Refs]),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

every_kind_of_request_is_refused(Config) ->
    Context = context(Config, #{max_queue => 1}),
    Gate = closed_gate(Config, Context),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    Refused = {error, {overloaded, 1, 1}},
    ?assertEqual(Refused, py:call(Context, math, sqrt, [16])),
    ?assertEqual(Refused, py:eval(Context, <<"1">>)),
    ?assertEqual(Refused, py:exec(Context, <<"1">>)),
    ?assertEqual(Refused, py:cast(Context, math, sqrt, [16])),
    Ref = py:spawn_call(Context, math, sqrt, [16]),
    receive
        {py_response, Ref, Answer} -> ?assertEqual(Refused, Answer)
    after 0 -> ct:fail(no_answer_at_once)
    end,
    ?assertEqual(Refused, py:await(py:spawn_call(Context, math, sqrt, [16]))),
    ?assertEqual(ok, py:cancel(py:spawn_call(Context, math, sqrt, [16]))),
    open_gate(Config, Gate),
    ?assertEqual({ok, 4.0}, py:await(Queued)),
    ?assertEqual([], py_suite:flush()).

no_more_than_the_bound_wait_whoever_submits(Config) ->
    Context = context(Config, #{max_queue => 7}),
    Gate = closed_gate(Config, Context),
    Test = self(),
    Callers = [
        py_suite:spawn_caller(fun() ->
            Refs = [py:spawn_call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 20)],
            Test ! submitted,
            [py:await(Ref) || Ref <- Refs]
        end)
     || _ <- lists:seq(1, 40)
    ],
    [receive submitted -> ok end || _ <- Callers],
    ?assertEqual(7, waiting(Context)),
    open_gate(Config, Gate),
    Answers = lists:append([element(2, py_suite:await_down(Caller, 30_000)) || Caller <- Callers]),
    ?assertEqual(7, length([ok || {ok, 4.0} <- Answers])),
    ?assertEqual([{error, {overloaded, 7, 7}}], lists:usort([Answer || {error, _} = Answer <- Answers])),
    ?assertEqual(0, waiting(Context)).

place_comes_back_when_a_request_is_cancelled(Config) ->
    Context = context(Config, #{max_queue => 1}),
    Gate = closed_gate(Config, Context),
    Last = lists:foldl(
        fun(_, Before) ->
            ok = py:cancel(Before),
            ?assertEqual(0, waiting(Context)),
            Ref = py:spawn_call(Context, math, sqrt, [16]),
            ?assertEqual(1, waiting(Context)),
            Ref
        end,
        py:spawn_call(Context, math, sqrt, [16]),
        lists:seq(1, 10)
    ),
    open_gate(Config, Gate),
    ?assertEqual({ok, 4.0}, py:await(Last)).

place_comes_back_at_a_time_out(Config) ->
    Context = context(Config, #{max_queue => 1}),
    Gate = closed_gate(Config, Context),
    [
        ?assertEqual({error, timeout}, py:call(Context, math, sqrt, [16], #{timeout => 1}))
     || _ <- lists:seq(1, 10)
    ],
    ?assertEqual(0, waiting(Context)),
    open_gate(Config, Gate),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])).

%% At once, not only when the thread comes to them.
places_come_back_when_their_caller_dies(Config) ->
    Context = context(Config, #{max_queue => 6}),
    Gate = closed_gate(Config, Context),
    Mine = [py:spawn_call(Context, operator, pos, [I]) || I <- [1, 2]],
    Submitter = submitter(fun() -> [py:spawn_call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 4)] end),
    ?assertEqual({error, {overloaded, 6, 6}}, py:call(Context, math, sqrt, [16])),
    ok = py_suite:killed(Submitter),
    eventually(fun() -> waiting(Context) =:= 2 end),
    More = [py:spawn_call(Context, operator, pos, [I]) || I <- [3, 4, 5, 6]],
    ?assertEqual({error, {overloaded, 6, 6}}, py:call(Context, math, sqrt, [16])),
    open_gate(Config, Gate),
    ?assertEqual([{ok, I} || I <- lists:seq(1, 6)], [py:await(Ref) || Ref <- Mine ++ More]),
    ?assertEqual(0, waiting(Context)).

cast_keeps_its_place_when_its_sender_dies(Config) ->
    Context = context(Config, #{max_queue => 2}),
    Socket = ?config(socket, Config),
    Gate = closed_gate(Config, Context),
    Submitter = submitter(fun() ->
        ok = py:cast(Context, ct_signals, signal, [py_suite:port(Socket), <<"cast">>]),
        py:spawn_call(Context, math, sqrt, [16])
    end),
    ok = py_suite:killed(Submitter),
    eventually(fun() -> waiting(Context) =:= 1 end),
    open_gate(Config, Gate),
    _ = py_suite:await_signal(Socket, <<"cast">>),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual(0, waiting(Context)).

places_go_with_their_context(Config) ->
    Context = context(Config, #{max_queue => 2}),
    {Ref, Gate} = closed_gate(Config, Context),
    Refs = [py:spawn_call(Context, math, sqrt, [16]) || _ <- [1, 2]],
    ok = py_suite:killed(Context),
    [?assertEqual({error, {context_died, killed}}, py:await(Request)) || Request <- [Ref | Refs]],
    py_suite:release(?config(socket, Config), Gate),
    ?assertMatch({error, {context_died, _}}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

places_move_to_the_replacement_of_a_stuck_context(Config) ->
    ok = py_suite:restart(Config, #{stuck_after => 300, num_contexts => 1, max_queue => 5}),
    ok = py_suite:install(),
    Socket = ?config(socket, Config),
    {Ref, Gate} = closed_gate(Config, py:context()),
    %% All of the queue, so that the replacement holds it back for a moment beyond its bound.
    Queued = [py:spawn_call(operator, pos, [I]) || I <- lists:seq(1, 5)],
    ?assertEqual({error, {overloaded, 5, 5}}, py:call(math, sqrt, [16])),
    py_suite:silently(fun() ->
        ok = py:cancel(Ref),
        ?assertEqual([{ok, I} || I <- lists:seq(1, 5)], [py:await(Request) || Request <- Queued])
    end),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    New = py:context(),
    ?assertEqual(0, waiting(New)),
    ok = py_suite:install(New),
    %% The bound is that of the pool.
    Second = closed_gate(Config, New),
    Again = [py:spawn_call(operator, pos, [I]) || I <- lists:seq(1, 5)],
    ?assertEqual({error, {overloaded, 5, 5}}, py:call(math, sqrt, [16])),
    open_gate(Config, Second),
    ?assertEqual([{ok, I} || I <- lists:seq(1, 5)], [py:await(Request) || Request <- Again]),
    py_suite:release(Socket, Gate).

dead_callers_leave_no_places_in_a_replacement(Config) ->
    ok = py_suite:restart(Config, #{stuck_after => 300, num_contexts => 1, max_queue => 5, max_concurrent => 20}),
    ok = py_suite:install(),
    Socket = ?config(socket, Config),
    {Ref, Gate} = closed_gate(Config, py:context()),
    Submitters = [submitter(fun() -> py:spawn_call(math, sqrt, [16]) end) || _ <- [1, 2]],
    Queued = [py:spawn_call(operator, pos, [I]) || I <- [1, 2, 3]],
    py_suite:silently(fun() ->
        ok = py:cancel(Ref),
        [ok = py_suite:killed(Submitter) || Submitter <- Submitters],
        ?assertEqual([{ok, I} || I <- [1, 2, 3]], [py:await(Request) || Request <- Queued])
    end),
    eventually(fun() -> waiting(py:context()) =:= 0 end),
    py_suite:release(Socket, Gate),
    eventually(fun() -> py_semaphore:current() =:= 0 end).

setting_bounds_the_default_pool_and_new_contexts(Config) ->
    ok = py_suite:restart(Config, #{num_contexts => 1, max_queue => 2}),
    ok = py_suite:install(),
    Bounded = fun(Context) ->
        Gate = closed_gate(Config, Context),
        Refs = [py:spawn_call(Context, math, sqrt, [16]) || _ <- [1, 2]],
        ?assertEqual({error, {overloaded, 2, 2}}, py:call(Context, math, sqrt, [16])),
        open_gate(Config, Gate),
        ?assertEqual([{ok, 4.0}, {ok, 4.0}], [py:await(Ref) || Ref <- Refs])
    end,
    Bounded(py:context()),
    Bounded(context(Config, #{})),
    {ok, Linked} = py_context:start_link(mine, py_suite:mode(Config)),
    ok = py_suite:install(Linked),
    Bounded(Linked),
    ok = py_context:stop(Linked),
    %% An option of its own wins.
    Other = context(Config, #{max_queue => infinity}),
    Gate = closed_gate(Config, Other),
    Refs = [py:spawn_call(Other, math, sqrt, [16]) || _ <- lists:seq(1, 50)],
    ?assertEqual(50, waiting(Other)),
    open_gate(Config, Gate),
    ?assertEqual([{ok, 4.0}], lists:usort([py:await(Ref) || Ref <- Refs])).

option_bounds_a_named_pool(Config) ->
    ok = py_suite:restart(Config, #{max_queue => 1}),
    Mode = py_suite:mode(Config),
    ok = py_context_router:start_pool(bounded, 1, #{mode => Mode, max_queue => 2, start => eager}),
    ok = py_context_router:start_pool(free, 1, Mode),
    [
        begin
            {ok, _} = py:call(Pool, math, sqrt, [16]),
            [Context] = py_context_router:contexts(Pool),
            ok = py_suite:install(Context),
            Gate = closed_gate(Config, Context),
            Refs = [py:spawn_call(Pool, math, sqrt, [16]) || _ <- lists:seq(1, 4)],
            ?assertEqual(Waiting, waiting(Context)),
            open_gate(Config, Gate),
            ?assertEqual(Waiting, length([ok || Ref <- Refs, py:await(Ref) =:= {ok, 4.0}]))
        end
     || {Pool, Waiting} <- [{bounded, 2}, {free, 4}]
    ],
    ok = py_context_router:stop_pool(bounded),
    ok = py_context_router:stop_pool(free).

parallel_tells_which_calls_were_refused(Config) ->
    ok = py_suite:restart(Config, #{num_contexts => 1, max_queue => 2}),
    ok = py_suite:install(),
    Gate = closed_gate(Config, py:context()),
    Test = self(),
    Queued = py:spawn_call(operator, pos, [0]),
    Parallel = py_suite:spawn_caller(fun() ->
        Test ! parallel,
        py:parallel([{operator, pos, [I]} || I <- [1, 2, 3]])
    end),
    receive
        parallel -> ok
    end,
    eventually(fun() -> waiting(py:context()) =:= 2 end),
    Refused = {error, {overloaded, 2, 2}},
    %% All three were submitted before the first was waited for.
    {Pid, _} = Parallel,
    eventually(fun() -> process_info(Pid, status) =:= {status, waiting} end),
    open_gate(Config, Gate),
    ?assertEqual({result, {ok, [{ok, 1}, Refused, Refused]}}, py_suite:await_down(Parallel, 30_000)),
    ?assertEqual({ok, 0}, py:await(Queued)).

%% ------------------------------------------------------------------------------------------------
%% Requests in flight

requests_in_flight_are_bounded_in_the_whole_node(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 3}),
    [One, Two, Three] = [context(Config, #{}) || _ <- [1, 2, 3]],
    First = closed_gate(Config, One),
    Second = closed_gate(Config, Two),
    ?assertEqual(2, py_semaphore:current()),
    %% One that waits counts as well.
    Queued = py:spawn_call(One, math, sqrt, [16]),
    Refused = {error, {overloaded, 3, 3}},
    ?assertEqual(Refused, py:call(Three, math, sqrt, [16])),
    ?assertEqual(Refused, py:eval(<<"1">>)),
    open_gate(Config, Second),
    ?assertEqual({ok, 4.0}, py:call(Three, math, sqrt, [16])),
    open_gate(Config, First),
    ?assertEqual({ok, 4.0}, py:await(Queued)),
    ?assertEqual(0, py_semaphore:current()).

%% Whoever has an answer may submit at once.
permit_is_free_when_the_answer_arrives(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 1}),
    ?assertEqual([{ok, 4.0}], lists:usort([py:call(math, sqrt, [16]) || _ <- lists:seq(1, 2000)])),
    ?assertMatch([{error, {'ValueError', _}}], lists:usort([py:call(math, sqrt, [-1]) || _ <- lists:seq(1, 200)])),
    ?assertEqual(0, py_semaphore:current()).

every_kind_of_request_holds_a_permit(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 1}),
    Context = context(Config, #{}),
    Idle = context(Config, #{}),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Code = <<"__import__('ct_signals').gate(port, 'gate')">>,
    [
        begin
            Caller = py_suite:spawn_caller(fun() -> Request() end),
            Gate = py_suite:await_signal(Socket, <<"gate">>),
            ?assertEqual(1, py_semaphore:current()),
            Refused = {error, {overloaded, 1, 1}},
            ?assertEqual(Refused, py:call(Idle, math, sqrt, [16])),
            ?assertEqual(Refused, py:eval(Idle, <<"1">>)),
            ?assertEqual(Refused, py:exec(Idle, <<"1">>)),
            ?assertEqual(Refused, py:cast(Idle, math, sqrt, [16])),
            ?assertEqual(Refused, py:await(py:spawn_call(Idle, math, sqrt, [16]))),
            py_suite:release(Socket, Gate),
            {result, _} = py_suite:await_down(Caller, 30_000),
            %% Nothing tells of the end of a cast, and others may have died before their code ended.
            eventually(fun() -> py_semaphore:current() =:= 0 end)
        end
     || Request <- [
            fun() -> py:call(Context, ct_signals, gate, [Port, <<"gate">>]) end,
            fun() -> py:eval(Context, Code, #{port => Port}) end,
            fun() ->
                py:exec(
                    Context,
                    ["import ct_signals\nct_signals.gate(", integer_to_list(Port), ", 'gate')"]
                )
            end,
            fun() -> py:await(py:spawn_call(Context, ct_signals, gate, [Port, <<"gate">>])) end,
            fun() -> py:cast(Context, ct_signals, gate, [Port, <<"gate">>]) end
        ]
    ].

cancelled_code_that_runs_on_holds_its_permit(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 1}),
    Context = context(Config, #{}),
    Idle = context(Config, #{}),
    {Ref, Gate} = closed_gate(Config, Context),
    ok = py:cancel(Ref),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(Idle, math, sqrt, [16])),
    ok = py_suite:killed(Context),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(Idle, math, sqrt, [16])),
    py_suite:release(?config(socket, Config), Gate),
    eventually(fun() -> py_semaphore:current() =:= 0 end),
    ?assertEqual({ok, 4.0}, py:call(Idle, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

permit_comes_back_when_a_queued_request_is_taken_back(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 2}),
    Context = context(Config, #{}),
    Gate = closed_gate(Config, Context),
    [
        begin
            Ref = py:spawn_call(Context, math, sqrt, [16]),
            ?assertEqual(2, py_semaphore:current()),
            ok = py:cancel(Ref),
            ?assertEqual(1, py_semaphore:current()),
            ?assertEqual({error, timeout}, py:call(Context, math, sqrt, [16], #{timeout => 1})),
            ?assertEqual(1, py_semaphore:current())
        end
     || _ <- lists:seq(1, 5)
    ],
    open_gate(Config, Gate),
    ?assertEqual(0, py_semaphore:current()).

permits_come_back_when_their_caller_dies(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 6}),
    Context = context(Config, #{}),
    Other = context(Config, #{}),
    Gate = closed_gate(Config, Context),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Submitter = submitter(fun() ->
        _ = [py:spawn_call(Context, math, sqrt, [16]) || _ <- [1, 2, 3]],
        ok = py:cast(Context, ct_signals, signal, [Port, <<"cast">>]),
        py:spawn_call(Other, ct_signals, spin, [Port, <<"spins">>])
    end),
    _ = py_suite:await_signal(Socket, <<"spins">>),
    ?assertEqual({error, {overloaded, 6, 6}}, py:call(Other, math, sqrt, [16])),
    ok = py_suite:killed(Submitter),
    %% What waited never runs, what ran is interrupted; the cast is left.
    eventually(fun() -> py_semaphore:current() =:= 2 end),
    open_gate(Config, Gate),
    _ = py_suite:await_signal(Socket, <<"cast">>),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual(0, py_semaphore:current()).

permits_come_back_when_their_context_dies(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 4}),
    Context = context(Config, #{}),
    {Ref, Gate} = closed_gate(Config, Context),
    Refs = [py:spawn_call(Context, math, sqrt, [16]) || _ <- [1, 2, 3]],
    ok = py_suite:killed(Context),
    [?assertEqual({error, {context_died, killed}}, py:await(Request)) || Request <- [Ref | Refs]],
    %% The code behind the gate runs still.
    ?assertEqual(1, py_semaphore:current()),
    py_suite:release(?config(socket, Config), Gate),
    eventually(fun() -> py_semaphore:current() =:= 0 end).

refusal_of_a_queue_takes_no_permit(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 3}),
    Context = context(Config, #{max_queue => 1}),
    Gate = closed_gate(Config, Context),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    [?assertEqual({error, {overloaded, 1, 1}}, py:call(Context, math, sqrt, [16])) || _ <- lists:seq(1, 10)],
    ?assertEqual(2, py_semaphore:current()),
    open_gate(Config, Gate),
    ?assertEqual({ok, 4.0}, py:await(Queued)),
    ?assertEqual({error, {context_died, noproc}}, py:call(self(), math, sqrt, [16])),
    ?assertEqual(0, py_semaphore:current()).

permit_moves_with_its_request(Config) ->
    ok = py_suite:restart(Config, #{stuck_after => 300, num_contexts => 1, max_concurrent => 4}),
    ok = py_suite:install(),
    Socket = ?config(socket, Config),
    {Ref, Gate} = closed_gate(Config, py:context()),
    Queued = [py:spawn_call(operator, pos, [I]) || I <- [1, 2, 3]],
    ?assertEqual({error, {overloaded, 4, 4}}, py:call(math, sqrt, [16])),
    py_suite:silently(fun() ->
        ok = py:cancel(Ref),
        ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], [py:await(Request) || Request <- Queued])
    end),
    %% The stuck code is there still.
    ?assertEqual(1, py_semaphore:current()),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    py_suite:release(Socket, Gate),
    eventually(fun() -> py_semaphore:current() =:= 0 end).

storm_leaves_no_permit_and_no_place_behind(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 3, max_queue => 2}),
    Contexts = [context(Config, #{}) || _ <- [1, 2, 3]],
    Test = self(),
    Watcher = spawn_link(fun Watch() ->
        receive
            stop -> Test ! watched
        after 0 ->
            true = py_semaphore:current() =< 3,
            true = lists:all(fun(Context) -> waiting(Context) =< 2 end, Contexts),
            _ = erlang:yield(),
            Watch()
        end
    end),
    Callers = [
        py_suite:spawn_caller(fun() ->
            _ = rand:seed(exsss, {I, I, I}),
            [one(lists:nth(rand:uniform(3), Contexts), rand:uniform(5)) || _ <- lists:seq(1, 150)]
        end)
     || I <- lists:seq(1, 20)
    ],
    Answers = lists:append([element(2, py_suite:await_down(Caller, 45_000)) || Caller <- Callers]),
    Watcher ! stop,
    receive
        watched -> ok
    end,
    eventually(fun() -> py_semaphore:current() =:= 0 end),
    eventually(fun() -> [waiting(Context) || Context <- Contexts] =:= [0, 0, 0] end),
    ?assertEqual(
        [],
        [
            Answer
         || Answer <- Answers,
            not lists:member(Answer, [ok, {ok, 4.0}, {error, timeout}, {error, {overloaded, 3, 3}}, {error, {overloaded, 2, 2}}])
        ]
    ),
    ?assert(lists:member({ok, 4.0}, Answers)).

one(Context, 1) -> py:call(Context, math, sqrt, [16], #{timeout => 0});
one(Context, 2) -> py:cancel(py:spawn_call(Context, math, sqrt, [16]));
one(Context, 3) -> py:await(py:spawn_call(Context, math, sqrt, [16]));
one(Context, 4) ->
    %% Dies with what it has submitted.
    py_suite:fresh(fun() ->
        _ = py:spawn_call(Context, math, sqrt, [16]),
        ok
    end);
one(Context, 5) -> py:call(Context, math, sqrt, [16]).

without_a_bound_nothing_is_counted(Config) ->
    Context = context(Config, #{}),
    Gate = closed_gate(Config, Context),
    ?assertEqual(infinity, py_semaphore:max_concurrent()),
    ?assertEqual(0, py_semaphore:current()),
    %% Those before the bound have no permit, those after it do.
    ok = py_semaphore:set_max_concurrent(1),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(Context, math, sqrt, [16])),
    ok = py_semaphore:set_max_concurrent(infinity),
    ?assertEqual(1, py_semaphore:current()),
    open_gate(Config, Gate),
    ?assertEqual({ok, 4.0}, py:await(Queued)),
    ?assertEqual(0, py_semaphore:current()).

bound_is_that_of_the_setting_at_each_start(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 5}),
    ?assertEqual(5, py_semaphore:max_concurrent()),
    ok = py_semaphore:set_max_concurrent(2),
    ?assertEqual(2, py_semaphore:max_concurrent()),
    ok = py_suite:restart(Config, #{max_concurrent => 5}),
    ?assertEqual(5, py_semaphore:max_concurrent()),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual(infinity, py_semaphore:max_concurrent()).
