%% Tasks that Erlang makes on the asyncio loops of contexts: what is awaited, what is answered, who may wait, and what
%% becomes of a task that nobody wants any more.
-module(tasks_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_task_gates, [task/3, waits/1, told/2, nothing_told/1, open/2, gate/2, gate/3]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        coroutine_is_awaited,
        failure_that_is_waited_for_has_a_story,
        any_awaitable_is_awaited,
        value_of_a_plain_function_is_the_result,
        keyword_arguments_arrive,
        result_is_a_message,
        functions_of_the_namespace_are_found,
        values_are_those_of_a_call,
        errors_are_those_of_a_call,
        exit_of_one_task_is_its_error_alone,
        refused_task_has_a_reference_too,
        tasks_begin_in_order,
        tasks_of_many_processes_share_a_loop,
        every_task_has_context_variables_of_its_own,
        calls_see_no_loop_and_no_task,
        calls_are_answered_while_a_thousand_tasks_wait,
        task_may_call_erlang,
        function_that_python_calls_may_make_a_task,
        function_that_python_calls_may_await_a_task_elsewhere,
        function_that_a_coroutine_awaits_may_await_a_task_there,
        time_out_cancels_the_task,
        time_out_of_zero_is_a_time_out,
        time_out_ends_a_task_that_spins,
        time_out_takes_the_message_along,
        time_outs_never_lose_a_task,
        first_task_that_is_cut_short_breaks_nothing,
        task_that_swallows_its_cancellation_says_nothing_more,
        cancel_cancels,
        cancel_takes_back_what_is_queued,
        cancel_takes_back_what_is_done,
        cancel_after_the_message_was_received_is_fine,
        cancel_twice_is_fine,
        only_the_maker_may_await_and_cancel,
        death_of_the_maker_cancels,
        death_of_the_maker_takes_back_what_is_queued,
        interrupt_ends_the_task_that_runs,
        interrupt_leaves_tasks_that_wait_alone,
        task_that_nobody_waits_for_survives_its_maker,
        failure_that_nobody_waits_for_is_logged,
        gather_gives_values_in_order,
        gather_runs_everything_at_the_same_time,
        gather_tells_what_failed,
        gather_of_nothing_is_nothing,
        gather_under_a_time_limit_cancels_the_rest,
        result_may_go_to_another_process,
        death_of_the_receiver_cancels,
        loop_is_named_by_a_reference,
        reference_of_a_dead_loop_is_an_error,
        tasks_follow_registrations,
        full_queue_refuses_a_task,
        pool_keeps_a_process_on_its_loop,
        pool_of_its_own_has_the_size_that_is_set,
        dead_context_is_replaced_for_the_next_task,
        storm_leaves_every_loop_in_order
    ]).

init_per_group(Mode, Config) ->
    case py_suite:init_group_with_context(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            {ok, Contexts} = py:start_contexts(),
            [ok = prepared(Context) || Context <- [?config(ctx, Started) | Contexts]],
            Started
    end.

prepared(Context) ->
    ok = py_suite:install(Context),
    py_suite:python_path(Context).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    py_suite:all_is_well(Config).

ctx(Config) ->
    ?config(ctx, Config).

%% In the group's context, waiting as long as it takes.
run(Config, Function, Args) ->
    py_context:submit_await(ctx(Config), ct_tasks, Function, Args).

%%% What is awaited, and what is answered

%% As a call's has; what comes as a message has no room for one.
failure_that_is_waited_for_has_a_story(Config) ->
    Context = ?config(ctx, Config),
    ?assertMatch({error, {'ValueError', "told"}}, py_context:submit_await(Context, ct_tasks, fail, [<<"ValueError">>, <<"told">>])),
    ?assertMatch(#{type := 'ValueError', message := "told"}, py:last_error()),
    ?assertMatch({error, {'KeyError', _}}, py_event_loop:run(ct_tasks, fail, [<<"KeyError">>, <<"again">>])),
    %% The first frame is the function's.
    ?assertMatch(#{type := 'KeyError', traceback := [{_, _, <<"fail">>, _}]}, py:last_error()).

coroutine_is_awaited(Config) ->
    ?assertEqual({ok, 5}, run(Config, value, [5])),
    ?assertEqual({ok, 5}, run(Config, later, [5])),
    ?assertEqual({ok, 5}, py:async_await(py:async_call(ct_tasks, later, [5]))),
    ?assertEqual({ok, 5}, py_event_loop:run(ct_tasks, later, [5])),
    ?assertEqual({ok, 5}, py_event_loop_pool:run(ct_tasks, later, [5])),
    ?assertEqual({ok, none}, py_event_loop:run(asyncio, sleep, [0])).

any_awaitable_is_awaited(Config) ->
    [?assertEqual({Kind, {ok, 5}}, {Kind, run(Config, Kind, [5])}) || Kind <- [future, task, awaitable, called]].

value_of_a_plain_function_is_the_result(Config) ->
    ?assertEqual({ok, 5}, run(Config, plain, [5])),
    ?assertEqual({ok, 4.0}, py_event_loop:run(math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:async_await(py:async_call(math, sqrt, [16]))).

keyword_arguments_arrive(Config) ->
    Ctx = ctx(Config),
    [
        ?assertEqual({ok, {[1], #{<<"a">> => 2}}}, Result)
     || F <- [named, plain_named],
        Result <- [
            py:async_await(py:async_call(ct_tasks, F, [1], #{a => 2})),
            py_event_loop:await(py_event_loop:create_task(ct_tasks, F, [1], #{<<"a">> => 2})),
            py_event_loop:run(ct_tasks, F, [1], #{kwargs => #{a => 2}}),
            py_event_loop_pool:await(py_event_loop_pool:create_task(ct_tasks, F, [1], #{a => 2})),
            py_context:submit_await(Ctx, ct_tasks, F, [1], #{a => 2}),
            py_context:submit_await(Ctx, ct_tasks, F, [1], #{a => 2}, 30_000),
            begin
                {ok, [Gathered]} = py:async_gather([{ct_tasks, F, [1], #{a => 2}}]),
                {ok, Gathered}
            end
        ]
    ].

result_is_a_message(Config) ->
    Ref = py:async_call(ct_tasks, later, [5]),
    receive
        {async_result, Ref, Result} -> ?assertEqual({ok, 5}, Result)
    end,
    {ok, Other} = py_context:submit(ctx(Config), ct_tasks, fail, ['ValueError', no]),
    receive
        {async_result, Other, Failed} -> ?assertEqual({error, {'ValueError', "no"}}, Failed)
    end.

functions_of_the_namespace_are_found(Config) ->
    Code = "import asyncio\nasync def double(x):\n    await asyncio.sleep(0)\n    return 2 * x",
    ok = py_event_loop:exec(Code),
    ?assertEqual({ok, 4}, py_event_loop:run('__main__', double, [2])),
    ?assertEqual({ok, 4}, py:async_await(py:async_call("__main__", <<"double">>, [2]))),
    ok = py:exec(ctx(Config), Code),
    ?assertEqual({ok, 6}, py_context:submit_await(ctx(Config), '__main__', double, [3])),
    %% Of nobody else.
    Context = ctx(Config),
    ?assertMatch(
        {error, {'AttributeError', _}},
        py_suite:fresh(fun() -> py_context:submit_await(Context, '__main__', double, [3]) end)
    ).

values_are_those_of_a_call(Config) ->
    Values = [1, 1 bsl 200, 1.5, <<"text">>, {bytes, <<255>>}, [1, [2]], #{<<"a">> => [none]}, self(), make_ref()],
    [
        ?assertEqual(py:call(ctx(Config), ct_tasks, plain, [Value]), run(Config, F, [Value]))
     || Value <- Values, F <- [plain, value]
    ],
    Large = binary:copy(<<"0123456789">>, 1_000_000),
    ?assertEqual({ok, Large}, run(Config, later, [Large])),
    %% What has no counterpart stays where it is.
    {ok, Object} = py_context:submit_await(ctx(Config), ct_tasks, value, [{self()}]),
    ?assertEqual(py:call(ctx(Config), ct_tasks, plain, [{self()}]), {ok, Object}),
    {ok, Opaque} = py_context:submit_await(ctx(Config), builtins, object, []),
    ?assert(py:is_ref(Opaque)),
    {ok, Same} = run(Config, value, [Opaque]),
    ?assertEqual({ok, true}, py:call(ctx(Config), operator, is_, [Opaque, Same])).

errors_are_those_of_a_call(Config) ->
    Ctx = ctx(Config),
    %% What fails before there is anything to await.
    [
        ?assertEqual({Call, apply(py, call, [Ctx | Call])}, {Call, apply(py_context, submit_await, [Ctx | Call])})
     || Call <- [
            [no_such_module, f, []],
            [math, no_such_function, []],
            [math, sqrt, [<<"x">>]],
            [math, sqrt, []],
            [math, sqrt, [-1]],
            [math, pi, []],
            [ct_tasks, fail_at_once, ['ValueError', <<"no">>]],
            [ct_tasks, fail_at_once, ['StopIteration', <<"no">>]],
            [ct_tasks, fail_at_once, ['KeyboardInterrupt', <<"no">>]],
            [ct_tasks, fail_at_once, ['SystemExit', <<"no">>]],
            [builtins, list, [<<1:7>>]]
        ]
    ],
    %% What fails later.
    [
        ?assertEqual({error, {Kind, "no"}}, run(Config, fail, [Kind, <<"no">>]))
     || Kind <- ['ValueError', 'SystemExit', 'KeyboardInterrupt', 'CancelledError', 'GeneratorExit', 'TimeoutError']
    ],
    ?assertMatch({error, {'TypeError', _}}, run(Config, value, [])).

exit_of_one_task_is_its_error_alone(Config) ->
    Other = gate(ctx(Config), <<"other">>),
    ?assertMatch({error, {'SystemExit', _}}, run(Config, leave, [3])),
    ?assertMatch({error, {'KeyboardInterrupt', _}}, run(Config, fail, ['KeyboardInterrupt', <<"no">>])),
    ok = open(ctx(Config), <<"other">>),
    ?assertEqual({ok, <<"other">>}, py:async_await(Other)),
    told(<<"ended">>, <<"other">>).

refused_task_has_a_reference_too(_Config) ->
    ok = py:register_pool(nowhere, ct_nowhere),
    Ref = py:async_call(ct_nowhere, f, []),
    ?assertEqual({error, {no_pool, nowhere}}, py:async_await(Ref)),
    ok = py:unregister_pool(ct_nowhere).

%%% Many of them

tasks_begin_in_order(Config) ->
    {ok, _} = py:call(ctx(Config), ct_tasks, remembered, []),
    Numbers = lists:seq(1, 500),
    Refs = [task(ctx(Config), remember, [N]) || N <- Numbers],
    [?assertEqual({ok, none}, py:async_await(Ref)) || Ref <- Refs],
    ?assertEqual({ok, Numbers}, py:call(ctx(Config), ct_tasks, remembered, [])).

tasks_of_many_processes_share_a_loop(Config) ->
    Context = ctx(Config),
    Pairs = lists:seq(1, 20),
    Names = fun(I, Mine) -> iolist_to_binary(io_lib:format("~b.~b", [I, Mine])) end,
    Meeting = [
        {Names(I, Mine), py_suite:spawn_caller(fun() ->
            py_context:submit_await(Context, ct_tasks, meet, [Names(I, Mine), Names(I, 1 - Mine)])
        end)}
     || I <- Pairs, Mine <- [0, 1]
    ],
    [?assertEqual({result, {ok, Name}}, py_suite:await_down(Caller, 30_000)) || {Name, Caller} <- Meeting],
    Where = fun() -> py_context:submit_await(Context, ct_tasks, where, []) end,
    {ok, There} = Where(),
    [?assertEqual({ok, There}, py_suite:fresh(Where)) || _ <- lists:seq(1, 3)].

every_task_has_context_variables_of_its_own(Config) ->
    Refs = [task(ctx(Config), own, [N]) || N <- lists:seq(1, 20)],
    ?assertEqual([{ok, {none, N}} || N <- lists:seq(1, 20)], [py:async_await(Ref) || Ref <- Refs]).

calls_see_no_loop_and_no_task(Config) ->
    Ref = gate(ctx(Config), <<"gate">>),
    ?assertEqual({ok, true}, py:call(ctx(Config), ct_tasks, outside, [])),
    ok = open(ctx(Config), <<"gate">>),
    ?assertEqual({ok, <<"gate">>}, py:async_await(Ref)),
    told(<<"ended">>, <<"gate">>),
    ?assertEqual({ok, true}, py:call(ctx(Config), ct_tasks, outside, [])).

calls_are_answered_while_a_thousand_tasks_wait(Config) ->
    Context = ctx(Config),
    Ref = gate(Context, <<"many">>),
    {ok, Sleepers} = py_context:submit(Context, ct_tasks, sleepers, [self(), <<"timers">>, 1_000]),
    waits(<<"timers">>),
    [?assertEqual({ok, N * 1.0}, py:call(Context, math, sqrt, [N * N])) || N <- lists:seq(1, 200)],
    Others = py_suite:concurrently(20, fun(N) -> [py:call(Context, operator, neg, [N]) || _ <- lists:seq(1, 20)] end),
    ?assertEqual([lists:duplicate(20, {ok, -N}) || N <- lists:seq(1, 20)], Others),
    ok = py:cancel(Sleepers),
    ok = open(Context, <<"many">>),
    ?assertEqual({ok, <<"many">>}, py:async_await(Ref)),
    told(<<"ended">>, <<"many">>).

%%% Calls back into Erlang

task_may_call_erlang(Config) ->
    py_offered:with(#{ct_identity => fun([Value]) -> Value end}, fun() ->
        ?assertEqual({ok, 5}, run(Config, call, [ct_identity, 5])),
        ?assertEqual({ok, 5}, run(Config, async_call, [ct_identity, 5])),
        Refs = [
            task(ctx(Config), F, [ct_identity, N])
         || N <- lists:seq(1, 50), F <- [call, async_call]
        ],
        ?assertEqual([{ok, N} || N <- lists:seq(1, 50), _ <- [1, 2]], [py:async_await(Ref) || Ref <- Refs])
    end).

function_that_python_calls_may_make_a_task(Config) ->
    Context = ctx(Config),
    Test = self(),
    Make = fun([]) ->
        ok = py_event_loop:run_async(element(2, py_context:loop_ref(Context)), #{
            ref => made, caller => Test, module => ct_tasks, func => later, args => [5]
        }),
        made
    end,
    py_offered:with(#{ct_make => Make}, fun() ->
        ?assertEqual({ok, <<"made">>}, py:call(Context, erlang, call, [ct_make])),
        receive
            {async_result, made, Result} -> ?assertEqual({ok, 5}, Result)
        end
    end).

function_that_python_calls_may_await_a_task_elsewhere(Config) ->
    Other = py_suite:new_context(Config),
    ok = py_suite:python_path(Other),
    py_offered:with(#{ct_await => fun([]) -> py_context:submit_await(Other, ct_tasks, later, [5]) end}, fun() ->
        ?assertEqual({ok, {<<"ok">>, 5}}, py:call(ctx(Config), erlang, call, [ct_await])),
        ?assertEqual({ok, {<<"ok">>, 5}}, run(Config, call, [ct_await])),
        ?assertEqual({ok, {<<"ok">>, 5}}, run(Config, async_call, [ct_await]))
    end),
    ok = py_context:stop(Other).

%% The loop has its turn while the coroutine waits.
function_that_a_coroutine_awaits_may_await_a_task_there(Config) ->
    Context = ctx(Config),
    py_offered:with(#{ct_await => fun([]) -> py_context:submit_await(Context, ct_tasks, later, [5]) end}, fun() ->
        ?assertEqual({ok, {<<"ok">>, 5}}, run(Config, async_call, [ct_await])),
        Refs = [task(Context, async_call, [ct_await]) || _ <- lists:seq(1, 50)],
        [?assertEqual({ok, {<<"ok">>, 5}}, py:async_await(Ref)) || Ref <- Refs]
    end).

%%% Whoever stops waiting

time_out_cancels_the_task(Config) ->
    Ref = gate(ctx(Config), <<"gate">>),
    ?assertEqual({error, timeout}, py:async_await(Ref, 1)),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>),
    Next = [self(), <<"next">>],
    ?assertEqual({error, timeout}, py_context:submit_await(ctx(Config), ct_tasks, gate, Next, #{}, 100)),
    receive
        {<<"waits">>, <<"next">>} ->
            told(<<"cancelled">>, <<"next">>),
            told(<<"ended">>, <<"next">>)
    after 0 -> ok
    end,
    ?assertEqual({error, timeout}, py_event_loop:run(asyncio, sleep, [3600], #{timeout => 50})),
    ?assertEqual({error, timeout}, py_event_loop_pool:run(asyncio, sleep, [3600], #{timeout => 50})).

time_out_of_zero_is_a_time_out(Config) ->
    ?assertEqual({error, timeout}, py_context:submit_await(ctx(Config), asyncio, sleep, [3600], #{}, 0)),
    ?assertEqual({ok, none}, py_context:submit_await(ctx(Config), asyncio, sleep, [0])).

time_out_ends_a_task_that_spins(Config) ->
    {ok, Ref} = py_context:submit(ctx(Config), ct_tasks, spin, [self(), <<"spin">>]),
    waits(<<"spin">>),
    Other = py_context:submit(ctx(Config), ct_tasks, later, [5]),
    ?assertEqual({error, timeout}, py:async_await(Ref, 50)),
    told(<<"ended">>, <<"spin">>),
    ?assertEqual({ok, 5}, py:async_await(element(2, Other))).

%% Nobody hears of a value that comes together with the time-out.
time_out_takes_the_message_along(Config) ->
    [
        begin
            {ok, Ref} = py_context:submit(ctx(Config), ct_tasks, later, [N]),
            case py:async_await(Ref, N rem 3) of
                {ok, N} -> ok;
                {error, timeout} -> ok
            end
        end
     || N <- lists:seq(1, 300)
    ],
    {ok, 4.0} = py:call(ctx(Config), math, sqrt, [16]),
    ?assertEqual([], py_suite:flush()).

%% Whatever their step is about when the time is over: all end, and run their finally blocks.
time_outs_never_lose_a_task(Config) ->
    [
        py_context:submit_await(ctx(Config), ct_tasks, counted, [3_000], #{}, N rem 5)
     || N <- lists:seq(1, 300)
    ],
    ?assertEqual(
        ok, py_leaks:eventually(fun() -> py:call(ctx(Config), ct_tasks, unended, []) =:= {ok, 0} end, 5_000)
    ).

%% It is the one that loads asyncio.
first_task_that_is_cut_short_breaks_nothing(Config) ->
    Contexts = [{Limit, py_suite:new_context(Config)} || Limit <- [1, 10, 20, 30, 45, 60, 75, 90]],
    [
        begin
            _ = py_context:submit_await(Context, asyncio, sleep, [0], #{}, Limit),
            ?assertEqual({Limit, {ok, none}}, {Limit, py_context:submit_await(Context, asyncio, sleep, [0])})
        end
     || {Limit, Context} <- Contexts
    ],
    [ok = py_context:stop(Context) || {_, Context} <- Contexts].

task_that_swallows_its_cancellation_says_nothing_more(Config) ->
    Ref = gate(ctx(Config), after_all, <<"gate">>),
    ok = py:cancel(Ref),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>),
    ?assertEqual({ok, 5}, run(Config, later, [5])),
    ?assertEqual([], py_suite:flush()).

cancel_cancels(Config) ->
    Ref = gate(ctx(Config), <<"gate">>),
    ok = py:cancel(Ref),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>),
    Slow = gate(ctx(Config), slow_end, <<"slow">>),
    ok = py:cancel(Slow),
    [told(Word, <<"slow">>) || Word <- [<<"cancelled">>, <<"ended">>, <<"slowly">>]].

cancel_takes_back_what_is_queued(Config) ->
    Gate = py_gates:closed_gate(Config),
    {ok, Ref} = py_context:submit(ctx(Config), ct_tasks, gate, [self(), <<"never">>]),
    ok = py:cancel(Ref),
    {ok, Timed} = py_context:submit(ctx(Config), ct_tasks, gate, [self(), <<"never">>]),
    ?assertEqual({error, timeout}, py:async_await(Timed, 1)),
    ok = py_gates:open_gate(Config, Gate),
    ?assertEqual({ok, 5}, run(Config, later, [5])),
    nothing_told(<<"never">>).

cancel_takes_back_what_is_done(Config) ->
    {ok, Ref} = py_context:submit(ctx(Config), ct_tasks, value, [5]),
    {ok, 5} = run(Config, later, [5]),
    ok = py:cancel(Ref),
    ?assertEqual([], py_suite:flush()).

cancel_after_the_message_was_received_is_fine(Config) ->
    {ok, Ref} = py_context:submit(ctx(Config), ct_tasks, value, [5]),
    receive
        {async_result, Ref, {ok, 5}} -> ok
    end,
    ?assertEqual(ok, py:cancel(Ref)).

cancel_twice_is_fine(Config) ->
    Ref = gate(ctx(Config), <<"gate">>),
    [?assertEqual(ok, py:cancel(Ref)) || _ <- [1, 2]],
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>).

only_the_maker_may_await_and_cancel(Config) ->
    {ok, Ref} = py_context:submit(ctx(Config), ct_tasks, later, [5]),
    [
        ?assertEqual(badarg, py_suite:fresh(fun() -> raised(Function, Ref) end))
     || Function <- [
            fun py:async_await/1,
            fun py:await/1,
            fun py:cancel/1,
            fun py_event_loop:await/1,
            fun py_event_loop_pool:await/1
        ]
    ],
    ?assertEqual({ok, 5}, py_event_loop:await(Ref)).

raised(Function, Ref) ->
    try
        Function(Ref)
    catch
        error:Reason -> Reason
    end.

death_of_the_maker_cancels(Config) ->
    Test = self(),
    Context = ctx(Config),
    Makers = [
        begin
            {Pid, _} =
                Caller = py_suite:spawn_caller(fun() ->
                    py_context:submit_await(Context, ct_tasks, gate, [Test, Name])
                end),
            waits(Name),
            {Name, Pid, Caller}
        end
     || Name <- [<<"one">>, <<"two">>, <<"three">>]
    ],
    [{_, First, Caller} | Others] = Makers,
    true = exit(First, kill),
    {died, killed} = py_suite:await_down(Caller, 30_000),
    told(<<"cancelled">>, <<"one">>),
    told(<<"ended">>, <<"one">>),
    %% Only those of that process.
    ?assertEqual({ok, [<<"three">>, <<"two">>]}, py:call(Context, ct_tasks, waiting, [])),
    [ok = open(Context, Name) || {Name, _, _} <- Others],
    [?assertEqual({result, {ok, Name}}, py_suite:await_down(Other, 30_000)) || {Name, _, Other} <- Others],
    [told(<<"ended">>, Name) || {Name, _, _} <- Others].

death_of_the_maker_takes_back_what_is_queued(Config) ->
    Test = self(),
    Context = ctx(Config),
    Gate = py_gates:closed_gate(Config),
    {ok, _} = py_suite:fresh(fun() -> py_context:submit(Context, ct_tasks, gate, [Test, <<"never">>]) end),
    ok = py_gates:open_gate(Config, Gate),
    ?assertEqual({ok, 5}, run(Config, later, [5])),
    nothing_told(<<"never">>).

interrupt_ends_the_task_that_runs(Config) ->
    {ok, Ref} = py_context:submit(ctx(Config), ct_tasks, spin, [self(), <<"spin">>]),
    waits(<<"spin">>),
    ?assertEqual(ok, py:interrupt(ctx(Config))),
    ?assertEqual({error, interrupted}, py:async_await(Ref)),
    told(<<"ended">>, <<"spin">>),
    ?assertEqual({ok, 5}, run(Config, later, [5])).

interrupt_leaves_tasks_that_wait_alone(Config) ->
    Ref = gate(ctx(Config), <<"gate">>),
    py_gates:idle(ctx(Config)),
    [?assert(lists:member(py:interrupt(ctx(Config)), [not_running, ok])) || _ <- lists:seq(1, 100)],
    ok = open(ctx(Config), <<"gate">>),
    ?assertEqual({ok, <<"gate">>}, py:async_await(Ref)),
    told(<<"ended">>, <<"gate">>).

%%% Tasks that nobody waits for

task_that_nobody_waits_for_survives_its_maker(_Config) ->
    Test = self(),
    [
        begin
            {ok, Context} = py_suite:fresh(fun() ->
                ok = Module:spawn_task(ct_tasks, gate, [Test, <<"gate">>]),
                {ok, py:context()}
            end),
            waits(<<"gate">>),
            ok = open(Context, <<"gate">>),
            told(<<"ended">>, <<"gate">>),
            ok = Module:spawn_task(ct_tasks, gate, [Test], #{name => <<"named">>}),
            waits(<<"named">>),
            ok = open(py:context(), <<"named">>),
            told(<<"ended">>, <<"named">>)
        end
     || Module <- [py_event_loop, py_event_loop_pool]
    ].

failure_that_nobody_waits_for_is_logged(_Config) ->
    Log = py_suite:capture_log(),
    ok = py_event_loop:spawn_task(ct_tasks, fail, ['ValueError', <<"nobody waits">>]),
    receive
        {log, #{level := error, msg := {report, #{label := {py_context, cast_failed}, error := Error}}}} ->
            ?assertMatch(#{type := 'ValueError', message := "nobody waits"}, Error)
    end,
    %% A value is not, nor an exception that somebody was told of.
    ok = py_event_loop:spawn_task(ct_tasks, value, [5]),
    ?assertMatch({error, _}, py_event_loop:run(ct_tasks, fail, ['ValueError', <<"told">>])),
    ok = py_suite:release_log(Log),
    ?assertEqual([], [Event || {log, #{level := error} = Event} <- py_suite:flush()]).

%%% Several at once

gather_gives_values_in_order(_Config) ->
    Calls = [{ct_tasks, later, [N, 10 - N]} || N <- lists:seq(1, 9)] ++ [{ct_tasks, plain, [10]}],
    ?assertEqual({ok, lists:seq(1, 10)}, py:async_gather(Calls)),
    ?assertEqual({ok, [4.0]}, py:async_gather([{"math", <<"sqrt">>, [16]}], infinity)).

gather_runs_everything_at_the_same_time(_Config) ->
    Calls = [{ct_tasks, meet, [<<"a">>, <<"b">>]}, {ct_tasks, meet, [<<"b">>, <<"a">>]}],
    ?assertEqual({ok, [<<"a">>, <<"b">>]}, py:async_gather(Calls)).

gather_tells_what_failed(_Config) ->
    Calls = [
        {ct_tasks, later, [1]},
        {ct_tasks, fail, ['ValueError', <<"two">>]},
        {ct_tasks, later, [3]},
        {ct_tasks, fail_at_once, ['KeyError', <<"four">>]}
    ],
    ?assertEqual(
        {error, {gather_failed, [{2, {'ValueError', "two"}}, {4, {'KeyError', "'four'"}}]}}, py:async_gather(Calls)
    ).

gather_of_nothing_is_nothing(_Config) ->
    ?assertEqual({ok, []}, py:async_gather([])).

gather_under_a_time_limit_cancels_the_rest(_Config) ->
    Names = [<<"one">>, <<"two">>],
    Calls = [{ct_tasks, value, [1]} | [{ct_tasks, gate, [self(), Name]} || Name <- Names]],
    ?assertEqual({error, {gather_failed, [{2, timeout}, {3, timeout}]}}, py:async_gather(Calls, 200)),
    [told(Word, Name) || Name <- Names, Word <- [<<"waits">>, <<"cancelled">>, <<"ended">>]].

%%% For others

result_may_go_to_another_process(Config) ->
    Test = self(),
    {ok, Loop} = py_context:loop_ref(ctx(Config)),
    Request = #{ref => {any, term}, caller => Test, module => ct_tasks, func => later, args => [5]},
    ok = py_suite:fresh(fun() -> py_event_loop:run_async(Loop, Request) end),
    receive
        {async_result, {any, term}, Result} -> ?assertEqual({ok, 5}, Result)
    end,
    [
        begin
            ok = Module:run_async(Request#{func => fail, args => ['ValueError'], kwargs => #{text => <<"no">>}}),
            receive
                {async_result, {any, term}, Failed} -> ?assertEqual({error, {'ValueError', "no"}}, Failed)
            end
        end
     || Module <- [py_event_loop, py_event_loop_pool]
    ].

death_of_the_receiver_cancels(Config) ->
    {ok, Loop} = py_context:loop_ref(ctx(Config)),
    {Pid, _} = Receiver = py_suite:spawn_caller(fun() -> receive never -> ok end end),
    ok = py_event_loop:run_async(Loop, #{
        ref => make_ref(), caller => Pid, module => ct_tasks, func => gate, args => [self(), <<"gate">>]
    }),
    waits(<<"gate">>),
    true = exit(Pid, kill),
    {died, killed} = py_suite:await_down(Receiver, 30_000),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>).

loop_is_named_by_a_reference(Config) ->
    {ok, Loop} = py_context:loop_ref(ctx(Config)),
    ?assertEqual({ok, Loop}, py_context:loop_ref(ctx(Config))),
    {ok, Bound} = py_event_loop:get_loop(),
    ?assertEqual({ok, Bound}, py_context:loop_ref(py:context())),
    ?assertNotEqual(Loop, Bound),
    ok = py_event_loop:exec(Loop, "here = 'ctx'"),
    ok = py_event_loop:exec("here = 'bound'"),
    ?assertEqual({ok, <<"ctx">>}, py_event_loop:eval(Loop, <<"here">>)),
    ?assertEqual({ok, <<"bound">>}, py_event_loop:eval(<<"here">>)),
    ?assertEqual({ok, <<"ctx">>}, py:eval(ctx(Config), "here")).

reference_of_a_dead_loop_is_an_error(Config) ->
    Context = py_suite:new_context(Config),
    {ok, Loop} = py_context:loop_ref(Context),
    ok = py_context:stop(Context),
    Request = #{ref => r, caller => self(), module => ct_tasks, func => later, args => [5]},
    ?assertMatch({error, {context_died, _}}, py_event_loop:run_async(Loop, Request)),
    ?assertMatch({error, {context_died, _}}, py_event_loop:exec(Loop, "x = 1")),
    ?assertMatch({error, {context_died, _}}, py_event_loop:eval(Loop, "1")),
    ?assertMatch({error, {context_died, _}}, py_context:loop_ref(Context)),
    ?assertMatch({error, {context_died, _}}, py_context:submit(Context, ct_tasks, later, [5])),
    ?assertMatch({error, {context_died, _}}, py_context:submit_await(Context, ct_tasks, later, [5])).

%%% Pools

tasks_follow_registrations(Config) ->
    ok = py_context_router:start_pool(ct_registered, 1, py_suite:mode(Config)),
    ok = py:register_pool(ct_registered, threading),
    {ok, There} = py:call(ct_registered, threading, get_ident, []),
    ?assertEqual({ok, There}, py:async_await(py:async_call(threading, get_ident, []))),
    ?assertEqual({ok, [There]}, py:async_gather([{threading, get_ident, []}])),
    ok = py:unregister_pool(threading),
    ok = py_context_router:stop_pool(ct_registered).

full_queue_refuses_a_task(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), max_queue => 1}),
    ok = prepared(Context),
    Gate = py_gates:closed_gate(Config, Context),
    {ok, Queued} = py_context:submit(Context, ct_tasks, later, [5]),
    ?assertEqual({error, {overloaded, 1, 1}}, py_context:submit(Context, ct_tasks, later, [5])),
    ok = py_gates:open_gate(Config, Gate),
    ?assertEqual({ok, 5}, py:async_await(Queued)),
    %% One that waits for something on the loop is not in the queue any more.
    Waiting = [gate(Context, <<"full", (integer_to_binary(N))/binary>>) || N <- [1, 2, 3]],
    ?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])),
    [ok = py:cancel(Ref) || Ref <- Waiting],
    [told(Word, Name) || Name <- [<<"full1">>, <<"full2">>, <<"full3">>], Word <- [<<"cancelled">>, <<"ended">>]],
    ok = py_context:stop(Context).

pool_keeps_a_process_on_its_loop(_Config) ->
    ?assertMatch(#{num_loops := 2, started := 2, supported := true}, py_event_loop_pool:get_stats()),
    {ok, Loops} = py_event_loop_pool:get_all_loops(),
    ?assertEqual(2, length(Loops)),
    Seen = py_suite:concurrently(8, fun(_) ->
        {ok, Loop} = py_event_loop_pool:get_loop(),
        ?assertEqual({ok, Loop}, py_event_loop_pool:get_loop()),
        Wheres = [py_event_loop_pool:run(ct_tasks, where, []) || _ <- lists:seq(1, 5)],
        ?assertMatch([{ok, _}], lists:usort(Wheres)),
        %% The same as without the pool.
        ?assertEqual(py_event_loop:get_loop(), {ok, Loop}),
        Loop
    end),
    ?assertEqual(2, length(lists:usort(Seen))),
    ?assertEqual([], lists:usort(Seen) -- [Loop || {Loop, _Context} <- Loops]).

pool_of_its_own_has_the_size_that_is_set(_Config) ->
    py_suite:fresh(fun() ->
        ok = application:set_env(erlang_python, event_loop_pool_size, 3),
        try
            {ok, Default} = py_event_loop:get_loop(),
            ?assertEqual({ok, 4.0}, py_event_loop_pool:run(math, sqrt, [16])),
            ?assertMatch(#{num_loops := 3, started := 1}, py_event_loop_pool:get_stats()),
            {ok, Own} = py_event_loop_pool:get_loop(),
            ?assertNotEqual(Default, Own),
            ok = py_event_loop_pool:exec("def f(): return 5"),
            ?assertEqual({ok, 5}, py_event_loop_pool:run('__main__', f, [])),
            ?assertEqual({ok, 5}, py_event_loop_pool:eval("f()"))
        after
            ok = application:unset_env(erlang_python, event_loop_pool_size),
            ok = py_context_router:stop_pool(py_event_loop_pool)
        end
    end).

dead_context_is_replaced_for_the_next_task(Config) ->
    ok = py_context_router:start_pool(ct_replaced, 1, py_suite:mode(Config)),
    Context = py_context_router:get_context(ct_replaced),
    ok = py:register_pool(ct_replaced, asyncio),
    Ref = py:async_call(asyncio, sleep, [3600]),
    py_suite:silently(fun() -> py_suite:killed(Context) end),
    ?assertMatch({error, {context_died, _}}, py:async_await(Ref)),
    ?assertEqual({ok, none}, py:async_await(py:async_call(asyncio, sleep, [0]))),
    ?assertNotEqual(Context, py_context_router:get_context(ct_replaced)),
    ok = py:unregister_pool(asyncio),
    ok = py_context_router:stop_pool(ct_replaced).

%%% All of it at once

storm_leaves_every_loop_in_order(Config) ->
    Seed = erlang:phash2({os:timestamp(), self()}),
    ct:pal("seed of the storm: ~p", [Seed]),
    Contexts = [ctx(Config) | py_context_router:contexts()],
    Callers = [
        py_suite:spawn_caller(fun() ->
            _ = rand:seed(exsss, {Seed, I, 1}),
            storm(I, Contexts, 20)
        end)
     || I <- lists:seq(1, 200)
    ],
    _ = rand:seed(exsss, {Seed, 0, 0}),
    [exit(Pid, kill) || {Pid, _} <- Callers, rand:uniform(5) =:= 1],
    Wrong = lists:append([
        case py_suite:await_down(Caller, 50_000) of
            {result, Found} -> Found;
            {died, killed} -> [];
            {died, Reason} -> [{died, Reason}]
        end
     || Caller <- Callers
    ]),
    ?assertEqual([], Wrong),
    [?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])) || Context <- Contexts].

%% Every answer is this task's own or a time-out; nothing else is in the mailbox.
storm(_Caller, _Contexts, 0) ->
    [{late, Message} || Message <- py_suite:flush()];
storm(Caller, Contexts, Round) ->
    Context = lists:nth(rand:uniform(length(Contexts)), Contexts),
    Value = [Caller, Round],
    Args = [Value, rand:uniform(20) - 1],
    Wrong =
        case rand:uniform(5) of
            1 ->
                check(Value, py_context:submit_await(Context, ct_tasks, later, Args, #{}, rand:uniform(5) - 1));
            2 ->
                {ok, Ref} = py_context:submit(Context, ct_tasks, later, Args),
                _ = [erlang:yield() || _ <- lists:seq(1, rand:uniform(50))],
                ok = py:cancel(Ref),
                [];
            3 ->
                check(Value, py:call(Context, ct_tasks, plain, [Value]));
            4 ->
                check([Value, Value], py:async_gather([{ct_tasks, later, Args}, {ct_tasks, plain, [Value]}]));
            5 ->
                check(Value, py_context:submit_await(Context, ct_tasks, later, Args))
        end,
    Late = [{late, Round, Message} || Message <- py_suite:flush()],
    Wrong ++ Late ++ storm(Caller, Contexts, Round - 1).

check(Value, {ok, Value}) -> [];
check(_Value, {error, timeout}) -> [];
check(Value, Other) -> [{Value, Other}].
