%% Tasks, coroutines run by ordinary calls, and ordinary calls share a context: none of them keeps another from its end.
-module(loop_and_calls_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).
%% The default of the setting `max_nested_runs'.
-define(NESTED, 8).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        calls_are_answered_while_a_thousand_coroutines_sleep,
        calls_are_answered_while_hundreds_of_sockets_are_waited_for,
        loop_that_waits_does_not_wake_up,
        calls_see_no_running_loop,
        calls_and_tasks_have_contexts_of_their_own,
        casts_and_environments_work_while_tasks_wait,
        tasks_go_on_while_a_call_runs_the_loop,
        what_a_task_began_goes_on_after_it,
        what_a_run_leaves_behind_ends_with_it,
        runs_answer_innermost_first,
        runs_beyond_the_bound_wait_while_tasks_go_on,
        time_out_of_a_run_leaves_tasks_alone,
        time_out_of_a_task_leaves_runs_alone,
        time_out_of_an_outer_run_leaves_the_inner_one_alone,
        time_out_of_an_inner_run_leaves_the_outer_one_alone,
        cancel_of_a_call_leaves_tasks_alone,
        interrupt_of_a_run_leaves_tasks_alone,
        death_of_a_caller_ends_what_is_its_own_alone,
        exceptions_of_tasks_and_calls_leave_others_alone,
        function_of_a_coroutine_asks_the_same_context,
        function_of_a_coroutine_runs_the_loop_of_the_same_context,
        function_of_a_task_asks_the_same_context,
        step_of_a_task_that_waits_for_erlang_is_called_back,
        private_loops_keep_others_waiting,
        private_loops_do_not_make_chains_wait_in_a_circle,
        circle_of_chains_that_lie_on_one_another_is_a_deadlock,
        threads_run_loops_beside_the_one_of_the_context,
        stop_of_the_context_answers_everything,
        mixed_load_is_answered_right
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:python_path(Context),
    ok = py:register_function(gate, py_callbacks:gate()),
    %% Contexts of mode worker share their modules.
    {ok, _} = call(Context, all_left, []),
    [{ctx, Context} | Config].

end_per_testcase(_Case, Config) ->
    Context = ?config(ctx, Config),
    _ = is_process_alive(Context) andalso begin
        ok = py_suite:both_answer(Config),
        ok = py_context:stop(Context)
    end,
    ok = py:unregister_function(gate),
    ?assertEqual([], py_suite:flush()).

%% ------------------------------------------------------------------------------------------------
%% Calls while the loop waits

calls_are_answered_while_a_thousand_coroutines_sleep(Config) ->
    calls_are_answered(Config, sleepers, 1000).

calls_are_answered_while_hundreds_of_sockets_are_waited_for(Config) ->
    calls_are_answered(Config, receivers, 200).

calls_are_answered(Config, Function, Count) ->
    Context = ?config(ctx, Config),
    Ref = task(Context, Function, [Count, <<"task">>]),
    Gate = py_callbacks:entered([<<"task">>]),
    [?assertEqual({ok, N}, py:call(Context, builtins, int, [N])) || N <- lists:seq(1, 100)],
    Many = py_suite:concurrently(20, fun(N) -> py:eval(Context, <<"n + 1">>, #{n => N}) end),
    ?assertEqual([{ok, N + 1} || N <- lists:seq(1, 20)], Many),
    ok = py_callbacks:open(Gate, go),
    ?assertEqual({ok, Count}, result(Ref)).

%% Half a second of a context that waits: with anything periodic in it, its thread would have run many times.
loop_that_waits_does_not_wake_up(Config) ->
    Context = ?config(ctx, Config),
    {ok, Thread} = py:call(Context, threading, get_native_id, []),
    Refs = [task(Context, Function, [Count, Name]) || {Function, Count, Name} <- waiting()],
    Gates = [py_callbacks:entered([Name]) || {_, _, Name} <- waiting()],
    Before = wake_ups(Thread),
    {ok, none} = py:call(time, sleep, [0.5]),
    ?assert(wake_ups(Thread) - Before < 10),
    [ok = py_callbacks:open(Gate, go) || Gate <- Gates],
    ?assertEqual([{ok, Count} || {_, Count, _} <- waiting()], [result(Ref) || Ref <- Refs]).

waiting() ->
    [{sleepers, 1000, <<"timers">>}, {receivers, 100, <<"sockets">>}].

wake_ups(Thread) ->
    {ok, Status} = file:read_file("/proc/self/task/" ++ integer_to_list(Thread) ++ "/status"),
    {match, [Count]} = re:run(Status, "\nvoluntary_ctxt_switches:\\s*(\\d+)", [{capture, [1], list}]),
    list_to_integer(Count).

calls_see_no_running_loop(Config) ->
    Context = ?config(ctx, Config),
    {ok, Loop} = py_context:submit_await(Context, ct_mixed, running_loop, []),
    Ref = task(Context, gate, [<<"task">>]),
    Gate = py_callbacks:entered([<<"task">>]),
    ?assertEqual({ok, {false, <<"unset">>}}, call(Context, seen, [<<"call">>])),
    ?assertEqual({ok, none}, call(Context, current_task_of, [Loop])),
    ok = py_callbacks:open(Gate, go),
    {ok, none} = result(Ref).

calls_and_tasks_have_contexts_of_their_own(Config) ->
    Context = ?config(ctx, Config),
    Names = [<<"first">>, <<"second">>],
    Tasks = [{task(Context, marked, [Name, Name]), py_callbacks:entered([Name])} || Name <- Names],
    %% No mark of a task is seen by a call, and none of a call by the next one.
    [?assertEqual({ok, {false, <<"unset">>}}, call(Context, seen, [<<"call">>])) || _ <- [1, 2]],
    [ok = py_callbacks:open(Gate, go) || {_, Gate} <- Tasks],
    ?assertEqual([{ok, Name} || Name <- Names], [result(Ref) || {Ref, _} <- Tasks]).

casts_and_environments_work_while_tasks_wait(Config) ->
    Context = ?config(ctx, Config),
    Ref = task(Context, gate, [<<"task">>]),
    Gate = py_callbacks:entered([<<"task">>]),
    ok = py:exec(Context, <<"import erlang\nvalue = 1\ndef told(pid): erlang.send(pid, erlang.atom('told'))">>),
    ?assertEqual({ok, 1}, py:eval(Context, <<"value">>)),
    ?assertMatch({error, {'NameError', _}}, py_suite:fresh(fun() -> py:eval(Context, <<"value">>) end)),
    ok = py:cast(Context, '__main__', told, [self()]),
    ok = py_callbacks:await(told),
    {ok, Environment} = py_context:create_local_env(Context),
    ok = py_context:exec(Context, <<"value = 2">>, Environment),
    ?assertEqual({ok, 2}, py_context:eval(Context, <<"value">>, #{}, infinity, Environment)),
    ok = py_callbacks:open(Gate, go),
    {ok, none} = result(Ref).

%% ------------------------------------------------------------------------------------------------
%% Calls that run the loop

tasks_go_on_while_a_call_runs_the_loop(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"task">>, 1]),
    InTask = py_callbacks:entered([<<"task">>]),
    Run = py:spawn_call(Context, ct_mixed, run_gate, [<<"run">>, 2]),
    InRun = py_callbacks:entered([<<"run">>]),
    ok = py_callbacks:open(InTask, go),
    ?assertEqual({ok, 1}, result(Task)),
    %% One that begins meanwhile.
    ?assertEqual({ok, 3}, py_context:submit_await(Context, ct_mixed, quick, [3])),
    ok = py_callbacks:open(InRun, go),
    ?assertEqual({ok, 2}, py:await(Run)).

what_a_task_began_goes_on_after_it(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, left_behind, [<<"left">>, <<"main">>]),
    [Gate, InMain] = [py_callbacks:entered([Name]) || Name <- [<<"left">>, <<"main">>]],
    ok = py_callbacks:open(InMain, go),
    ?assertEqual({ok, none}, result(Task)),
    {ok, 1} = call(Context, run_quick, [1]),
    ?assertEqual({ok, []}, call(Context, all_left, [])),
    ok = py_callbacks:open(Gate, go),
    eventually_left(Context, [<<"left">>]).

what_a_run_leaves_behind_ends_with_it(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"task">>]),
    InTask = py_callbacks:entered([<<"task">>]),
    Run = py:spawn_call(Context, ct_mixed, run_left_behind, [<<"left">>, <<"main">>]),
    [InLeft, InMain] = [py_callbacks:entered([Name]) || Name <- [<<"left">>, <<"main">>]],
    ok = py_callbacks:open(InMain, go),
    ?assertEqual({ok, none}, py:await(Run)),
    ?assertEqual({ok, [<<"left">>]}, call(Context, all_left, [])),
    [ok = py_callbacks:open(Gate, go) || Gate <- [InLeft, InTask]],
    {ok, none} = result(Task).

runs_answer_innermost_first(Config) ->
    Context = ?config(ctx, Config),
    Outer = py:spawn_call(Context, ct_mixed, run_telling_gate, [<<"outer">>, self()]),
    InOuter = py_callbacks:entered([<<"outer">>]),
    Inner = py:spawn_call(Context, ct_mixed, run_telling_gate, [<<"inner">>, self()]),
    InInner = py_callbacks:entered([<<"inner">>]),
    %% The outer coroutine ends first.
    ok = py_callbacks:open(InOuter, go),
    ok = py_callbacks:await({passed, <<"outer">>}),
    {ok, 1} = call(Context, run_quick, [1]),
    ok = py_callbacks:open(InInner, go),
    ok = py_callbacks:await({passed, <<"inner">>}),
    Order = [
        receive
            {py_response, Ref, Result} -> {Ref, Result}
        after ?DEADLINE -> ct:fail(no_answer)
        end
     || _ <- [1, 2]
    ],
    ?assertEqual([{Inner, {ok, <<"inner">>}}, {Outer, {ok, <<"outer">>}}], Order).

runs_beyond_the_bound_wait_while_tasks_go_on(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"task">>, 1]),
    InTask = py_callbacks:entered([<<"task">>]),
    Names = [integer_to_binary(N) || N <- lists:seq(1, ?NESTED)],
    Runs = [
        {py:spawn_call(Context, ct_mixed, run_gate, [Name, Name]), py_callbacks:entered([Name])}
     || Name <- Names
    ],
    Beyond = py:spawn_call(Context, ct_mixed, run_gate, [<<"beyond">>, <<"beyond">>]),
    ok = py_callbacks:open(InTask, go),
    ?assertEqual({ok, 1}, result(Task)),
    receive
        {py_callbacks, entered, _, [<<"beyond">>]} -> ct:fail(beyond_the_bound)
    after 0 -> ok
    end,
    [ok = py_callbacks:open(Gate, go) || {_, Gate} <- Runs],
    ok = py_callbacks:open(py_callbacks:entered([<<"beyond">>]), go),
    ?assertEqual({ok, <<"beyond">>}, py:await(Beyond)),
    ?assertEqual([{ok, Name} || Name <- Names], [py:await(Ref) || {Ref, _} <- Runs]).

%% ------------------------------------------------------------------------------------------------
%% Ends

time_out_of_a_run_leaves_tasks_alone(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"task">>, 1]),
    InTask = py_callbacks:entered([<<"task">>]),
    Run = py:spawn_call(Context, ct_mixed, run_gate, [<<"run">>]),
    InRun = py_callbacks:entered([<<"run">>]),
    ?assertEqual({error, timeout}, py:await(Run, 10)),
    eventually_left(Context, [<<"run">>]),
    %% Its function runs to its end.
    [ok = py_callbacks:open(Gate, go) || Gate <- [InRun, InTask]],
    ?assertEqual({ok, 1}, result(Task)).

time_out_of_a_task_leaves_runs_alone(Config) ->
    Context = ?config(ctx, Config),
    Run = py:spawn_call(Context, ct_mixed, run_gate, [<<"run">>, 1]),
    InRun = py_callbacks:entered([<<"run">>]),
    Task = task(Context, gate, [<<"task">>]),
    InTask = py_callbacks:entered([<<"task">>]),
    ?assertEqual({error, timeout}, py:async_await(Task, 10)),
    eventually_left(Context, [<<"task">>]),
    [ok = py_callbacks:open(Gate, go) || Gate <- [InTask, InRun]],
    ?assertEqual({ok, 1}, py:await(Run)).

time_out_of_an_outer_run_leaves_the_inner_one_alone(Config) ->
    Context = ?config(ctx, Config),
    Outer = py:spawn_call(Context, ct_mixed, run_gate, [<<"outer">>]),
    InOuter = py_callbacks:entered([<<"outer">>]),
    Inner = py:spawn_call(Context, ct_mixed, run_gate, [<<"inner">>, 1]),
    InInner = py_callbacks:entered([<<"inner">>]),
    ?assertEqual({error, timeout}, py:await(Outer, 10)),
    eventually_left(Context, [<<"outer">>]),
    ok = py_callbacks:open(InInner, go),
    ?assertEqual({ok, 1}, py:await(Inner)),
    ok = py_callbacks:open(InOuter, go).

time_out_of_an_inner_run_leaves_the_outer_one_alone(Config) ->
    Context = ?config(ctx, Config),
    Outer = py:spawn_call(Context, ct_mixed, run_gate, [<<"outer">>, 1]),
    InOuter = py_callbacks:entered([<<"outer">>]),
    Inner = py:spawn_call(Context, ct_mixed, run_gate, [<<"inner">>]),
    InInner = py_callbacks:entered([<<"inner">>]),
    ?assertEqual({error, timeout}, py:await(Inner, 10)),
    eventually_left(Context, [<<"inner">>]),
    ok = py_callbacks:open(InOuter, go),
    ?assertEqual({ok, 1}, py:await(Outer)),
    ok = py_callbacks:open(InInner, go).

cancel_of_a_call_leaves_tasks_alone(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"task">>, 1]),
    InTask = py_callbacks:entered([<<"task">>]),
    Run = py:spawn_call(Context, ct_mixed, run_gate, [<<"run">>]),
    InRun = py_callbacks:entered([<<"run">>]),
    ok = py:cancel(Run),
    eventually_left(Context, [<<"run">>]),
    ok = py_callbacks:open(InTask, go),
    ?assertEqual({ok, 1}, result(Task)),
    ok = py_callbacks:open(InRun, go).

interrupt_of_a_run_leaves_tasks_alone(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"task">>, 1]),
    InTask = py_callbacks:entered([<<"task">>]),
    Run = py:spawn_call(Context, ct_mixed, run_gate, [<<"run">>]),
    InRun = py_callbacks:entered([<<"run">>]),
    ok = py:interrupt(Context),
    ?assertEqual({error, interrupted}, py:await(Run)),
    ok = py_callbacks:open(InTask, go),
    ?assertEqual({ok, 1}, result(Task)),
    ok = py_callbacks:open(InRun, go).

death_of_a_caller_ends_what_is_its_own_alone(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"staying">>, 1]),
    InTask = py_callbacks:entered([<<"staying">>]),
    {Pid, _} =
        Caller = py_suite:spawn_caller(fun() ->
            {ok, _} = py_context:submit(Context, ct_mixed, gate, [<<"dying task">>]),
            py:call(Context, ct_mixed, run_gate, [<<"dying run">>])
        end),
    Gates = [py_callbacks:entered([Name]) || Name <- [<<"dying task">>, <<"dying run">>]],
    exit(Pid, kill),
    {died, killed} = py_suite:await_down(Caller, ?DEADLINE),
    eventually_left(Context, [<<"dying run">>, <<"dying task">>]),
    [ok = py_callbacks:open(Gate, go) || Gate <- [InTask | Gates]],
    ?assertEqual({ok, 1}, result(Task)).

exceptions_of_tasks_and_calls_leave_others_alone(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"task">>, 1]),
    InTask = py_callbacks:entered([<<"task">>]),
    Run = py:spawn_call(Context, ct_mixed, run_gate, [<<"run">>, 2]),
    InRun = py_callbacks:entered([<<"run">>]),
    lists:foreach(
        fun(Class) ->
            Name = atom_to_binary(Class),
            ?assertMatch({error, {Class, _}}, py_context:submit_await(Context, ct_mixed, ends_by, [Name])),
            ?assertMatch({error, {Class, _}}, call(Context, end_by, [Name]))
        end,
        ['ValueError', 'SystemExit', 'KeyboardInterrupt']
    ),
    [ok = py_callbacks:open(Gate, go) || Gate <- [InTask, InRun]],
    ?assertEqual([{ok, 1}, {ok, 2}], [result(Task), py:await(Run)]).

%% ------------------------------------------------------------------------------------------------
%% Erlang functions that ask the context that waits for them

function_of_a_coroutine_asks_the_same_context(Config) ->
    Context = ?config(ctx, Config),
    py_callbacks:offering([{ask, fun([Code]) -> py:eval(Context, Code) end}], fun() ->
        ?assertEqual({ok, {<<"ok">>, 42}}, call(Context, run_asks, [ask, <<"6 * 7">>]))
    end).

function_of_a_coroutine_runs_the_loop_of_the_same_context(Config) ->
    Context = ?config(ctx, Config),
    py_callbacks:offering([{ask, fun([N]) -> call(Context, run_quick, [N]) end}], fun() ->
        ?assertEqual({ok, {<<"ok">>, 7}}, call(Context, run_asks, [ask, 7]))
    end).

function_of_a_task_asks_the_same_context(Config) ->
    Context = ?config(ctx, Config),
    Ask = fun([N]) -> [py:eval(Context, <<"n">>, #{n => N}), py_context:submit_await(Context, ct_mixed, quick, [N])] end,
    py_callbacks:offering([{ask, Ask}], fun() ->
        Answer = {ok, [{<<"ok">>, 7}, {<<"ok">>, 7}]},
        ?assertEqual(Answer, py_context:submit_await(Context, ct_mixed, asks, [ask, 7]))
    end).

%% The loop cannot go on meanwhile, so what is called then has a loop of its own.
step_of_a_task_that_waits_for_erlang_is_called_back(Config) ->
    Context = ?config(ctx, Config),
    Ask = fun([N]) -> [py:eval(Context, <<"n">>, #{n => N}), call(Context, run_quick, [N])] end,
    py_callbacks:offering([{ask, Ask}], fun() ->
        Answer = {ok, [{<<"ok">>, 7}, {<<"ok">>, 7}]},
        ?assertEqual(Answer, py_context:submit_await(Context, ct_mixed, asks_blocking, [ask, 7]))
    end).

%% What runs in a private loop is served; everything else comes afterwards.
private_loops_keep_others_waiting(Config) ->
    Context = ?config(ctx, Config),
    Private = py:spawn_call(Context, ct_mixed, run_private_gate, [<<"private">>]),
    Gate = py_callbacks:entered([<<"private">>]),
    Call = py:spawn_call(Context, ct_mixed, seen, [<<"call">>]),
    Task = task(Context, quick, [7]),
    py_callbacks:eventually(fun() -> py_chains:waiting(Context) =:= 2 end),
    ok = py_callbacks:run(Gate, fun() -> call(Context, run_private_gate, [<<"own">>]) end),
    ok = py_callbacks:open(py_callbacks:entered([<<"own">>]), 1),
    ?assertEqual({ok, {<<"ok">>, 1}}, py:await(Private)),
    ?assertEqual([{ok, {false, <<"unset">>}}, {ok, 7}], [py:await(Call), result(Task)]).

%% Two chains go through two contexts in the same order, and the second does not get on top of the first.
private_loops_do_not_make_chains_wait_in_a_circle(Config) ->
    Context = ?config(ctx, Config),
    Other = other_context(Config),
    First = py:spawn_call(Context, ct_mixed, run_private_gate, [<<"first">>]),
    InFirst = py_callbacks:entered([<<"first">>]),
    Second = py:spawn_call(Context, ct_mixed, blocking_gate, [<<"second">>]),
    py_callbacks:eventually(fun() -> py_chains:waiting(Context) =:= 1 end),
    ok = py_callbacks:run(InFirst, fun() -> call(Other, run_private_gate, [<<"through">>]) end),
    ok = py_callbacks:run(py_callbacks:entered([<<"through">>]), fun() -> py:call(Context, builtins, int, [7]) end),
    ?assertEqual({ok, {<<"ok">>, {<<"ok">>, 7}}}, py:await(First)),
    InSecond = py_callbacks:entered([<<"second">>]),
    ok = py_callbacks:run(InSecond, fun() -> call(Other, run_private_gate, [<<"other">>]) end),
    ok = py_callbacks:open(py_callbacks:entered([<<"other">>]), 8),
    ?assertEqual({ok, {<<"ok">>, 8}}, py:await(Second)),
    ok = py_context:stop(Other).

%% In the loop of the context it does; in the other context the first lies on the second then.
circle_of_chains_that_lie_on_one_another_is_a_deadlock(Config) ->
    Test = self(),
    Context = ?config(ctx, Config),
    Other = other_context(Config),
    First = py:spawn_call(Context, ct_mixed, run_shared_gate, [<<"first">>]),
    InFirst = py_callbacks:entered([<<"first">>]),
    Second = py:spawn_call(Context, ct_mixed, blocking_gate, [<<"second">>]),
    InSecond = py_callbacks:entered([<<"second">>]),
    ok = py_callbacks:run(InSecond, fun() -> call(Other, run_shared_gate, [<<"other">>]) end),
    InOther = py_callbacks:entered([<<"other">>]),
    ok = py_callbacks:run(InFirst, fun() -> call(Other, run_shared_gate, [<<"through">>]) end),
    Ask = fun() -> Test ! {refused, py:call(Context, builtins, int, [7])}, refused end,
    ok = py_callbacks:run(py_callbacks:entered([<<"through">>]), Ask),
    Circle =
        receive
            {refused, {error, {deadlock, Contexts}}} -> Contexts
        after ?DEADLINE -> ct:fail(not_refused)
        end,
    ?assertEqual(lists:sort([Context, Other]), lists:sort(Circle)),
    ok = py_callbacks:open(InOther, 8),
    ?assertEqual({ok, {<<"ok">>, 8}}, py:await(Second)),
    ?assertEqual({ok, {<<"ok">>, <<"refused">>}}, py:await(First)),
    ok = py_context:stop(Other).

threads_run_loops_beside_the_one_of_the_context(Config) ->
    Context = ?config(ctx, Config),
    Task = task(Context, gate, [<<"task">>]),
    InTask = py_callbacks:entered([<<"task">>]),
    Refs = [task(Context, in_thread, [N]) || N <- lists:seq(1, 10)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 10)], [result(Ref) || Ref <- Refs]),
    ok = py_callbacks:open(InTask, go),
    {ok, none} = result(Task).

%% ------------------------------------------------------------------------------------------------
%% All at once

stop_of_the_context_answers_everything(Config) ->
    Context = ?config(ctx, Config),
    Names = [integer_to_binary(N) || N <- lists:seq(1, 10)],
    Tasks = [{task(Context, gate, [Name]), py_callbacks:entered([Name])} || Name <- Names],
    Runs = [
        {py:spawn_call(Context, ct_mixed, run_gate, [Name]), py_callbacks:entered([Name])}
     || Name <- [<<"outer">>, <<"inner">>]
    ],
    ok = py_context:stop(Context),
    [?assertMatch({error, _}, result(Ref)) || {Ref, _} <- Tasks],
    [?assertMatch({error, {context_died, _}}, py:await(Ref)) || {Ref, _} <- Runs],
    [ok = py_callbacks:open(Gate, go) || {_, Gate} <- Tasks ++ Runs].

mixed_load_is_answered_right(Config) ->
    Context = ?config(ctx, Config),
    ok = py:register_function(echo, fun([Value]) -> Value end),
    Waiting = task(Context, sleepers, [200, <<"task">>]),
    Gate = py_callbacks:entered([<<"task">>]),
    Wrong = py_suite:concurrently(20, fun(Process) -> wrong_answers(Context, Process, 60) end),
    ?assertEqual([], lists:append(Wrong)),
    ok = py_callbacks:open(Gate, go),
    ?assertEqual({ok, 200}, result(Waiting)),
    ok = py:unregister_function(echo).

wrong_answers(Context, Process, Count) ->
    _ = rand:seed(exsss, {Process, 2, 3}),
    [
        {Kind, N, Got}
     || N <- lists:seq(1, Count),
        Kind <- [element(rand:uniform(10), kinds())],
        Got <- [ask(Kind, Context, N)],
        Got =/= expected(Kind, N)
    ].

kinds() ->
    {call, eval, spawn, task, tasks, run, callback, blocking, failing, late}.

ask(call, Context, N) -> py:call(Context, builtins, int, [N]);
ask(eval, Context, N) -> py:eval(Context, <<"n">>, #{n => N});
ask(spawn, Context, N) -> py:await(py:spawn_call(Context, builtins, int, [N]));
ask(task, Context, N) -> py_context:submit_await(Context, ct_mixed, quick, [N]);
ask(tasks, Context, N) -> [result(Ref) || Ref <- [task(Context, quick, [N]) || _ <- [1, 2, 3]]];
ask(run, Context, N) -> call(Context, run_quick, [N]);
ask(callback, Context, N) -> py_context:submit_await(Context, ct_mixed, asks, [echo, N]);
ask(blocking, Context, N) -> py_context:submit_await(Context, ct_mixed, asks_blocking, [echo, N]);
ask(failing, Context, _) -> py_context:submit_await(Context, ct_mixed, ends_by, [<<"ValueError">>]);
ask(late, Context, N) when N rem 2 =:= 0 -> py_context:submit_await(Context, ct_mixed, forever, [], #{}, 5);
ask(late, Context, _) -> py:call(Context, ct_mixed, run_forever, [], #{timeout => 5}).

expected(tasks, N) -> [{ok, N}, {ok, N}, {ok, N}];
expected(failing, _) -> {error, {'ValueError', "ValueError"}};
expected(late, _) -> {error, timeout};
expected(_, N) -> {ok, N}.

%% ------------------------------------------------------------------------------------------------

other_context(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:python_path(Context),
    Context.

call(Context, Function, Args) ->
    py:call(Context, ct_mixed, Function, Args).

task(Context, Function, Args) ->
    {ok, Ref} = py_context:submit(Context, ct_mixed, Function, Args),
    Ref.

result(Ref) ->
    receive
        {async_result, Ref, Result} -> Result
    after ?DEADLINE -> ct:fail({no_result, process_info(self(), messages)})
    end.

%% What was cancelled leaves when the loop next turns.
eventually_left(Context, Names) ->
    put(left, []),
    py_callbacks:eventually(fun() ->
        {ok, Left} = call(Context, all_left, []),
        put(left, lists:sort(Left ++ get(left))),
        get(left) =:= Names
    end).
