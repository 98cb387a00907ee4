%% asyncio's loops as Python code in a context sees them: the context's own, and those that code makes.
-module(event_loop_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(PYTHON, ct_event_loop).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        run_gives_what_the_coroutine_returns,
        run_raises_what_the_coroutine_raises,
        run_takes_whatever_can_be_awaited,
        run_refuses_what_cannot_be_awaited,
        run_is_refused_where_a_loop_runs,
        run_uses_the_loop_of_the_context,
        run_ends_what_its_code_left_behind,
        run_tells_of_what_fails_on_its_way_out,
        run_leaves_spawned_tasks_alone,
        run_leaves_the_tasks_of_other_runs_alone,
        run_may_be_debugged,
        run_ends_when_its_code_stops_the_loop,
        runs_on_top_of_each_other_share_the_loop,
        run_in_the_middle_of_a_step_has_a_loop_of_its_own,
        run_in_a_thread_has_a_loop_of_its_own,
        spawned_tasks_go_on_while_nothing_is_asked,
        spawned_tasks_go_on_while_others_run,
        task_is_spawned_in_a_thread_by_its_own_loop_only,
        loop_of_the_context_is_not_for_code_to_run_or_close,
        loop_of_the_context_outlives_what_code_shuts_down,
        exit_of_a_task_is_its_own_error,
        exit_of_a_callback_ends_nothing,
        exit_of_main_is_the_error_of_the_run,
        time_out_cancels_main,
        time_out_is_the_answer_whatever_main_makes_of_it,
        time_out_leaves_others_alone,
        time_out_interrupts_a_step_and_nothing_else,
        time_out_of_a_run_below_another_comes_in_time,
        interrupt_ends_the_innermost_run,
        cancel_ends_a_run,
        loops_of_code_depend_on_no_other,
        loops_wake_each_other,
        descriptors_go_with_their_loops,
        threads_hand_work_to_the_loop,
        asyncio_makes_such_loops,
        policies_make_such_loops,
        install_is_deprecated,
        sleep_lets_others_go_on_where_a_loop_runs,
        sleep_elsewhere_can_be_interrupted,
        signals_are_refused_with_a_way_out,
        subprocesses_work_but_for_what_the_node_keeps,
        subprocesses_are_refused_by_default_with_a_way_out,
        package_loads_without_asyncio,
        private_names_of_asyncio_are_what_they_were,
        end_of_the_context_ends_all_that_runs,
        end_of_the_context_does_not_wait_for_the_unwilling
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun prepare/1).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    {_, _, Stuck, SetAside} = py_nif:counters(),
    [{lost, {Stuck, SetAside}}, {socket, py_suite:open()} | Config].

%% A context that had been given up would be counted.
end_per_testcase(_Case, Config) ->
    ok = py_suite:close(?config(socket, Config)),
    {ok, _} = run(Config, reset, []),
    py_suite:both_answer(Config),
    {_, _, Stuck, SetAside} = py_nif:counters(),
    ?assertEqual(?config(lost, Config), {Stuck, SetAside}).

prepare(Context) ->
    ok = py_suite:install(Context),
    py_suite:python_path(Context).

ask(Config, Function, Arguments) ->
    py:call(?config(ctx, Config), ?PYTHON, Function, Arguments).

ask(Config, Function, Arguments, Options) ->
    py:call(?config(ctx, Config), ?PYTHON, Function, Arguments, Options).

%% An erlang.run of a coroutine function of the module.
run(Config, Function, Arguments) ->
    ask(Config, run, [Function | Arguments]).

spawn_run(Config, Function, Arguments) ->
    py:spawn_call(?config(ctx, Config), ?PYTHON, run, [Function | Arguments]).

port(Config) ->
    py_suite:port(?config(socket, Config)).

await_signal(Config, Tag) ->
    _ = py_suite:await_signal(?config(socket, Config), Tag),
    ok.

ended(Config) ->
    {ok, Tags} = py:eval(?config(ctx, Config), <<"__import__('ct_event_loop').ended">>),
    Tags.

%% ------------------------------------------------------------------------------------------------
%% erlang.run

run_gives_what_the_coroutine_returns(Config) ->
    ?assertEqual({ok, 7}, run(Config, give, [7])).

run_raises_what_the_coroutine_raises(Config) ->
    ?assertEqual({error, {'ValueError', "failed"}}, run(Config, fail, [])),
    #{type := 'ValueError', traceback := Traceback} = py:last_error(),
    ?assert(lists:keymember(<<"fail">>, 3, Traceback)).

run_takes_whatever_can_be_awaited(Config) ->
    ?assertEqual({ok, 3}, ask(Config, run_future, [])).

run_refuses_what_cannot_be_awaited(Config) ->
    [?assertEqual({ok, <<"TypeError">>}, ask(Config, outcome_of_run, [What])) || What <- [1, none, <<"main">>]].

run_is_refused_where_a_loop_runs(Config) ->
    ?assertEqual(
        {ok, <<"erlang.run() cannot be called from a running event loop">>}, ask(Config, run_within, [])
    ).

run_uses_the_loop_of_the_context(Config) ->
    {ok, false} = run(Config, keep_loop, []),
    ?assertEqual({ok, true}, run(Config, keep_loop, [])),
    ?assertEqual({ok, <<"ContextLoop">>}, run(Config, tell_loop, [])).

run_ends_what_its_code_left_behind(Config) ->
    ?assertEqual({ok, <<"left">>}, run(Config, leave_behind, [])),
    ?assertEqual([<<"task">>, <<"generator">>], ended(Config)).

run_tells_of_what_fails_on_its_way_out(Config) ->
    ?assertEqual(
        {ok, [{<<"unhandled exception during erlang.run() shutdown">>, <<"on the way out">>}]},
        ask(Config, leave_what_fails, [])
    ).

run_leaves_spawned_tasks_alone(Config) ->
    ?assertEqual({ok, <<"guest">>}, run(Config, spawn, [<<"guest">>, port(Config)])),
    ok = await_signal(Config, <<"guest">>),
    ?assertEqual([], ended(Config)),
    {ok, _} = ask(Config, release, [<<"guest">>]),
    ?assertEqual({ok, [<<"guest">>]}, run(Config, settled, [<<"spawned">>])).

run_leaves_the_tasks_of_other_runs_alone(Config) ->
    Below = spawn_run(Config, until, [<<"below">>, port(Config)]),
    ok = await_signal(Config, <<"below">>),
    {ok, <<"left">>} = run(Config, leave_behind, []),
    ?assertEqual([<<"task">>, <<"generator">>], ended(Config)),
    {ok, _} = ask(Config, release, [<<"below">>]),
    ?assertEqual({ok, <<"below">>}, py:await(Below)).

run_may_be_debugged(Config) ->
    Context = ?config(ctx, Config),
    Run = fun(Options) -> py:call(Context, ?PYTHON, run, [debug], #{kwargs => Options}) end,
    ?assertEqual({ok, true}, Run(#{debug => true})),
    ?assertEqual({ok, false}, Run(#{debug => false})),
    ?assertEqual({ok, false}, Run(#{})).

run_ends_when_its_code_stops_the_loop(Config) ->
    {error, {'RuntimeError', _}} = run(Config, stop_loop, []),
    ?assertEqual([<<"stopped">>], ended(Config)),
    ?assertEqual({ok, 7}, run(Config, give, [7])).

runs_on_top_of_each_other_share_the_loop(Config) ->
    {ok, _} = run(Config, keep_loop, []),
    Below = spawn_run(Config, until, [<<"below">>, port(Config)]),
    ok = await_signal(Config, <<"below">>),
    Above = spawn_run(Config, until, [<<"above">>, port(Config)]),
    ok = await_signal(Config, <<"above">>),
    ?assertEqual({ok, true}, run(Config, keep_loop, [])),
    %% The one below has ended first, and answers when those above have.
    {ok, _} = ask(Config, release, [<<"below">>]),
    {ok, _} = ask(Config, release, [<<"above">>]),
    ?assertEqual({ok, <<"above">>}, py:await(Above)),
    ?assertEqual({ok, <<"below">>}, py:await(Below)),
    ?assertEqual([<<"below">>, <<"above">>], ended(Config)).

run_in_the_middle_of_a_step_has_a_loop_of_its_own(Config) ->
    Context = ?config(ctx, Config),
    Nested = fun([]) ->
        {ok, Name} = py:call(Context, ?PYTHON, run, [<<"tell_loop">>]),
        Name
    end,
    py_callbacks:offering([{<<"nested">>, Nested}], fun() ->
        ?assertEqual({ok, [<<"ErlangEventLoop">>, true, true]}, run(Config, step, [<<"nested">>]))
    end).

run_in_a_thread_has_a_loop_of_its_own(Config) ->
    ?assertEqual({ok, <<"ErlangEventLoop">>}, ask(Config, in_thread, [<<"tell_loop">>])).

%% ------------------------------------------------------------------------------------------------
%% The loop of the context

spawned_tasks_go_on_while_nothing_is_asked(Config) ->
    {ok, <<"ContextLoop">>} = ask(Config, spawn_outside, [<<"alone">>, port(Config)]),
    ok = await_signal(Config, <<"alone">>),
    {ok, _} = ask(Config, release, [<<"alone">>]),
    ?assertEqual({ok, [<<"alone">>]}, run(Config, settled, [<<"spawned">>])).

spawned_tasks_go_on_while_others_run(Config) ->
    Run = spawn_run(Config, until, [<<"main">>, port(Config)]),
    ok = await_signal(Config, <<"main">>),
    {ok, _} = ask(Config, spawn_outside, [<<"beside">>, port(Config)]),
    ok = await_signal(Config, <<"beside">>),
    {ok, _} = ask(Config, release, [<<"beside">>]),
    ?assertEqual({ok, [<<"beside">>]}, run(Config, settled, [<<"spawned">>])),
    {ok, _} = ask(Config, release, [<<"main">>]),
    ?assertEqual({ok, <<"main">>}, py:await(Run)).

task_is_spawned_in_a_thread_by_its_own_loop_only(Config) ->
    {ok, Text} = ask(Config, spawn_in_thread, []),
    ok = py_suite:contains(Text, "run_coroutine_threadsafe").

loop_of_the_context_is_not_for_code_to_run_or_close(Config) ->
    {ok, _} = ask(Config, spawn_outside, [<<"alone">>, port(Config)]),
    ok = await_signal(Config, <<"alone">>),
    [
        {ok, <<_, _/binary>>} = ask(Config, refused, [How])
     || How <- [<<"run_until_complete">>, <<"run_forever">>, <<"close">>, <<"stop">>]
    ],
    {ok, _} = ask(Config, release, [<<"alone">>]),
    ?assertEqual({ok, [<<"alone">>]}, run(Config, settled, [<<"spawned">>])).

loop_of_the_context_outlives_what_code_shuts_down(Config) ->
    ?assertEqual({ok, {1, 2}}, run(Config, shut_down_and_go_on, [])),
    ?assertEqual({ok, {1, 2}}, run(Config, shut_down_and_go_on, [])).

%% ------------------------------------------------------------------------------------------------
%% What would end a program

exit_of_a_task_is_its_own_error(Config) ->
    [
        ?assertEqual({ok, {Name, <<"other">>}}, run(Config, beside, [Name]))
     || Name <- [<<"SystemExit">>, <<"KeyboardInterrupt">>]
    ].

exit_of_a_callback_ends_nothing(Config) ->
    [
        ?assertEqual({ok, <<"still here">>}, run(Config, in_callback, [Name]))
     || Name <- [<<"SystemExit">>, <<"KeyboardInterrupt">>]
    ].

exit_of_main_is_the_error_of_the_run(Config) ->
    [
        ?assertEqual({error, {Name, atom_to_list(Name)}}, run(Config, raising, [atom_to_binary(Name)]))
     || Name <- ['SystemExit', 'KeyboardInterrupt']
    ].

%% ------------------------------------------------------------------------------------------------
%% Interrupts

time_out_cancels_main(Config) ->
    Result = ask(Config, run, [<<"until">>, <<"main">>, port(Config)], #{timeout => 100}),
    ok = await_signal(Config, <<"main">>),
    ?assertEqual({error, timeout}, Result),
    ok = await_signal(Config, <<"ended main">>).

time_out_is_the_answer_whatever_main_makes_of_it(Config) ->
    Result = ask(Config, run, [<<"stubborn">>, port(Config), <<"main">>], #{timeout => 100}),
    ok = await_signal(Config, <<"main">>),
    ?assertEqual({error, timeout}, Result),
    ok = await_signal(Config, <<"ended main">>).

time_out_leaves_others_alone(Config) ->
    {ok, _} = ask(Config, spawn_outside, [<<"other">>, port(Config)]),
    ok = await_signal(Config, <<"other">>),
    {error, timeout} = ask(Config, run, [<<"until">>, <<"main">>, port(Config)], #{timeout => 100}),
    ok = await_signal(Config, <<"main">>),
    ok = await_signal(Config, <<"ended main">>),
    {ok, _} = ask(Config, release, [<<"other">>]),
    ?assertEqual({ok, [<<"main">>, <<"other">>]}, run(Config, settled, [<<"spawned">>])).

%% Code that computes is interrupted where it is.
time_out_interrupts_a_step_and_nothing_else(Config) ->
    {ok, _} = ask(Config, spawn_outside, [<<"other">>, port(Config)]),
    ok = await_signal(Config, <<"other">>),
    {error, timeout} = ask(Config, run, [<<"spinning">>, port(Config), <<"main">>], #{timeout => 100}),
    [ok = await_signal(Config, Tag) || Tag <- [<<"main">>, <<"ended child">>]],
    {ok, _} = ask(Config, release, [<<"other">>]),
    ?assertEqual({ok, [<<"child">>, <<"other">>]}, run(Config, settled, [<<"spawned">>])).

time_out_of_a_run_below_another_comes_in_time(Config) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    Below = py_suite:spawn_caller(fun() ->
        py:call(Context, ?PYTHON, run, [<<"until">>, <<"below">>, Port], #{timeout => 500})
    end),
    ok = await_signal(Config, <<"below">>),
    Above = spawn_run(Config, until, [<<"above">>, Port]),
    ok = await_signal(Config, <<"above">>),
    ?assertEqual({result, {error, timeout}}, py_suite:await_down(Below, 30_000)),
    {ok, _} = ask(Config, release, [<<"above">>]),
    ?assertEqual({ok, <<"above">>}, py:await(Above)),
    ?assertEqual([<<"below">>, <<"above">>], ended(Config)).

interrupt_ends_the_innermost_run(Config) ->
    Below = spawn_run(Config, until, [<<"below">>, port(Config)]),
    ok = await_signal(Config, <<"below">>),
    Above = spawn_run(Config, until, [<<"above">>, port(Config)]),
    ok = await_signal(Config, <<"above">>),
    ok = py:interrupt(?config(ctx, Config)),
    ?assertEqual({error, interrupted}, py:await(Above)),
    {ok, _} = ask(Config, release, [<<"below">>]),
    ?assertEqual({ok, <<"below">>}, py:await(Below)).

cancel_ends_a_run(Config) ->
    Run = spawn_run(Config, until, [<<"main">>, port(Config)]),
    ok = await_signal(Config, <<"main">>),
    ok = py:cancel(Run),
    ok = await_signal(Config, <<"ended main">>),
    ?assertEqual({ok, 7}, run(Config, give, [7])).

%% ------------------------------------------------------------------------------------------------
%% Loops of one's own

loops_of_code_depend_on_no_other(Config) ->
    [?assertEqual({ok, <<"ErlangEventLoop">>}, ask(Config, How, [])) || How <- [own_loop, runner]],
    %% In the middle of a run as well.
    Run = spawn_run(Config, until, [<<"main">>, port(Config)]),
    ok = await_signal(Config, <<"main">>),
    [?assertEqual({ok, <<"ErlangEventLoop">>}, ask(Config, How, [])) || How <- [own_loop, runner]],
    {ok, _} = ask(Config, release, [<<"main">>]),
    ?assertEqual({ok, <<"main">>}, py:await(Run)).

loops_wake_each_other(Config) ->
    ?assertEqual({ok, true}, ask(Config, two_loops, [1000])).

descriptors_go_with_their_loops(Config) ->
    {ok, _} = ask(Config, closed_loops, [1]),
    Before = py_leaks:snapshot(),
    {ok, _} = ask(Config, closed_loops, [100]),
    {ok, _} = py:call(?config(ctx, Config), gc, collect, []),
    py_leaks:check(Before).

threads_hand_work_to_the_loop(Config) ->
    ?assertEqual({ok, 4000}, run(Config, from_threads, [1000])).

asyncio_makes_such_loops(Config) ->
    ?assertEqual({ok, <<"ErlangEventLoop">>}, ask(Config, stock, [])).

policies_make_such_loops(Config) ->
    ?assertEqual({ok, {true, true}}, ask(Config, policy, [])).

install_is_deprecated(Config) ->
    case ask(Config, install, []) of
        {ok, {<<"refused">>, Text}} -> ok = py_suite:contains(Text, "erlang.run()");
        Installed -> ?assertEqual({ok, {<<"DeprecationWarning">>, <<"ErlangEventLoop">>}}, Installed)
    end.

%% ------------------------------------------------------------------------------------------------
%% The rest

sleep_lets_others_go_on_where_a_loop_runs(Config) ->
    ?assertEqual({ok, [<<"main">>, <<"nap">>]}, run(Config, naps, [])).

sleep_elsewhere_can_be_interrupted(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, none}, py:call(Context, erlang, sleep, [0])),
    ?assertEqual({error, timeout}, py:call(Context, erlang, sleep, [3600], #{timeout => 50})).

signals_are_refused_with_a_way_out(Config) ->
    {ok, {Text, false}} = ask(Config, signals, []),
    ok = py_suite:contains(Text, "os:set_signal/2"),
    ?assertEqual({ok, <<"invalid signal number 1000">>}, ask(Config, bad_signal, [])).

%% The node ignores SIGCHLD, so there is no exit status to be had.
subprocesses_work_but_for_what_the_node_keeps(Config) ->
    {ok, Context} = py_context:new(#{mode => ?config(mode, Config), sandbox => #{subprocess => true}}),
    ok = prepare(Context),
    ?assertEqual({ok, {<<"told">>, true}}, run([{ctx, Context} | Config], program, [])),
    ok = py_context:stop(Context).

subprocesses_are_refused_by_default_with_a_way_out(Config) ->
    {error, {'RuntimeError', Text}} = run(Config, program, []),
    ok = py_suite:contains(unicode:characters_to_binary(Text), "erlang:open_port/2").

%% In a node of its own: interpreters are used again.
package_loads_without_asyncio(Config) ->
    py_suite:in_peer(?MODULE, load_package, Config).

load_package(Mode) ->
    ok = py_suite:start(#{context_mode => Mode}),
    {ok, []} = py:eval(<<"[__import__('erlang')] and {'asyncio', 'selectors'} & set(__import__('sys').modules)">>),
    %% Whichever name is asked for first, it loads.
    Names = ["ErlangEventLoop", "EventLoopPolicy", "async_call", "install", "run", "server", "sleep", "spawn_task"],
    _Contexts = [
        begin
            {ok, Context} = py_context:new(#{mode => Mode}),
            ok = py:exec(Context, ["import erlang\nerlang.", Name, "\nimport asyncio\nasyncio.run(asyncio.sleep(0))"]),
            Context
        end
     || Name <- Names
    ],
    py_suite:stop().

private_names_of_asyncio_are_what_they_were(Config) ->
    Folder = unicode:characters_to_binary(filename:join(py_suite:checkout(), "test/python")),
    ok = py:exec(?config(ctx, Config), <<
        "import io, sys, unittest\n"
        "sys.path.append(r'''", Folder/binary, "''')\n"
        "try:\n"
        "    import test_private_names\n"
        "finally:\n"
        "    sys.path.pop()\n"
        "tests = unittest.defaultTestLoader.loadTestsFromModule(test_private_names)\n"
        "said = io.StringIO()\n"
        "result = unittest.TextTestRunner(said).run(tests)\n"
        "assert result.wasSuccessful() and result.testsRun > 0, said.getvalue()\n"
    >>).

%% ------------------------------------------------------------------------------------------------
%% The end

end_of_the_context_ends_all_that_runs(Config) ->
    Context = py_suite:new_context(Config),
    ok = prepare(Context),
    Things = [<<"task">>, <<"generator">>, <<"transport">>],
    {ok, <<"Task">>} = py:call(Context, ?PYTHON, begin_all, [port(Config)]),
    [ok = await_signal(Config, <<"begun ", Thing/binary>>) || Thing <- Things],
    ok = py_context:stop(Context),
    [ok = await_signal(Config, <<"ended ", Thing/binary>>) || Thing <- Things].

end_of_the_context_does_not_wait_for_the_unwilling(Config) ->
    Context = py_suite:new_context(Config),
    ok = prepare(Context),
    {ok, _} = py:call(Context, ?PYTHON, spawn_named, [<<"unwilling">>, port(Config)]),
    ok = await_signal(Config, <<"begun unwilling">>),
    {ok, _} = py:call(Context, ?PYTHON, spawn_named, [<<"saying">>, port(Config), <<"task">>]),
    ok = await_signal(Config, <<"begun task">>),
    ok = py_context:stop(Context),
    ok = await_signal(Config, <<"ended task">>).
