%% Functions that no process waits for: what supervises them, and what Python hears when something of that ends.
-module(callback_process_SUITE).

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
        process_is_a_child_of_the_dispatcher_while_it_runs,
        functions_that_take_their_time_hold_up_no_other,
        death_of_the_process_is_told_with_its_reason,
        death_in_place_of_an_answer_ends_the_request,
        end_without_an_answer_is_told,
        function_nobody_waits_for_any_more_is_not_begun,
        killed_dispatcher_ends_its_functions,
        what_waits_for_a_dispatcher_that_is_killed_is_told,
        failed_function_in_place_of_a_cast_is_logged,
        stopped_application_ends_the_functions,
        stubborn_function_is_killed_with_the_application,
        stray_messages_do_nothing
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "def call(*args):\n"
        "    return erlang.call(*args)\n"
        "def then(*args):\n"
        "    return erlang.schedule(*args)\n"
        "def told(*args):\n"
        "    try:\n"
        "        return erlang.call(*args)\n"
        "    except erlang.ErlangError as error:\n"
        "        return error.kind, error.reason, str(error)\n"
    >>),
    Test = self(),
    ok = py:register_function(gate, fun([Answer]) -> gate(Test, Answer) end),
    [{ctx, Context} | Config].

%% Each case has the application for itself.
end_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}).

%% ------------------------------------------------------------------------------------------------

%% Tells the test that it runs, and goes on when it is told to.
gate(Test, Answer) ->
    Test ! {running, self()},
    receive
        go -> Answer
    end.

running() ->
    receive
        {running, Pid} -> Pid
    after 30_000 -> ct:fail({nothing_runs, py_suite:flush()})
    end.

spawned(Config, Function, Args) ->
    py:spawn_call(?config(ctx, Config), '__main__', Function, Args).

children() ->
    [Pid || {undefined, Pid, worker, [py_callback_process]} <- supervisor:which_children(py_callback_dispatcher)].

no_children() ->
    ?assertEqual(ok, py_leaks:eventually(fun() -> children() =:= [] end)).

%% Nothing is handed on until the fun has returned.
with_held_dispatcher(Fun) ->
    Dispatcher = whereis(py_callback_dispatcher),
    true = erlang:suspend_process(Dispatcher),
    try
        Fun(Dispatcher)
    after
        is_process_alive(Dispatcher) andalso erlang:resume_process(Dispatcher)
    end.

waits_there(Dispatcher, Count) ->
    ?assertEqual(
        ok,
        py_leaks:eventually(fun() -> process_info(Dispatcher, message_queue_len) =:= {message_queue_len, Count} end)
    ).

%% Kills the dispatcher and waits for the next.
without_dispatcher() ->
    Killed = whereis(py_callback_dispatcher),
    py_suite:silently(fun() ->
        ok = py_suite:killed(Killed),
        ?assertEqual(
            ok,
            py_leaks:eventually(fun() -> not lists:member(whereis(py_callback_dispatcher), [Killed, undefined]) end)
        ),
        %% It has been started for good.
        _ = sys:get_state(py_callback_dispatcher)
    end),
    ok.

%% ------------------------------------------------------------------------------------------------

process_is_a_child_of_the_dispatcher_while_it_runs(Config) ->
    ?assertEqual([], children()),
    [
        begin
            Ref = spawned(Config, Function, [gate, 1]),
            Pid = running(),
            ?assertEqual([Pid], children()),
            ?assertEqual(
                [{specs, 1}, {active, 1}, {supervisors, 0}, {workers, 1}],
                supervisor:count_children(py_callback_dispatcher)
            ),
            {dictionary, Dictionary} = process_info(Pid, dictionary),
            ?assertMatch(
                [py_callback_dispatcher, py_callback_sup, erlang_python_sup | _],
                proplists:get_value('$ancestors', Dictionary)
            ),
            Pid ! go,
            ?assertEqual({ok, 1}, py:await(Ref)),
            no_children()
        end
     || Function <- [call, then]
    ].

functions_that_take_their_time_hold_up_no_other(Config) ->
    Contexts = [py_suite:new_context(Config) || _ <- lists:seq(1, 4)],
    Refs = [
        py:spawn_call(Context, erlang, schedule, [gate, I])
     || Context <- Contexts, I <- lists:seq(1, 50)
    ],
    Pids = [running() || _ <- Refs],
    ?assertEqual(lists:sort(Pids), lists:sort(children())),
    ok = py:register_function(quick, fun([]) -> quick end),
    ?assertEqual({ok, quick}, py:await(spawned(Config, then, [quick]))),
    [Pid ! go || Pid <- Pids],
    ?assertEqual([{ok, I} || _ <- Contexts, I <- lists:seq(1, 50)], [py:await(Ref) || Ref <- Refs]),
    no_children(),
    [ok = py_context:stop(Context) || Context <- Contexts].

death_of_the_process_is_told_with_its_reason(Config) ->
    [
        begin
            Ref = spawned(Config, told, [gate, 1]),
            true = exit(running(), Sent),
            ?assertEqual({ok, {<<"exit">>, Reason, Text}}, py:await(Ref)),
            Uncaught = spawned(Config, call, [gate, 1]),
            true = exit(running(), Sent),
            ?assertEqual({error, {exit, Raised}}, py:await(Uncaught))
        end
     || {Sent, Raised, Reason, Text} <- [
            {kill, killed, <<"killed">>, <<"exit: killed">>},
            {no_more, no_more, <<"no_more">>, <<"exit: no_more">>},
            {{shutdown, 5}, {shutdown, 5}, {<<"shutdown">>, 5}, <<"exit: {shutdown,5}">>}
        ]
    ],
    %% That of another one that it is linked to.
    ok = py:register_function(linked, fun([]) ->
        _ = spawn_link(fun() -> exit(other) end),
        receive
            never -> ok
        end
    end),
    ?assertEqual({error, {exit, other}}, py:await(spawned(Config, call, [linked]))),
    no_children().

death_in_place_of_an_answer_ends_the_request(Config) ->
    Ref = spawned(Config, then, [gate, 1]),
    true = exit(running(), no_more),
    ?assertEqual({error, {exit, no_more}}, py:await(Ref)),
    no_children().

%% hibernate/3 drops what the function would have returned to.
end_without_an_answer_is_told(Config) ->
    ok = py:register_function(forgets, fun([]) -> erlang:hibernate(erlang, date, []) end),
    [
        begin
            Ref = spawned(Config, Function, [forgets]),
            ?assertEqual(ok, py_leaks:eventually(fun() -> length(children()) =:= 1 end)),
            hd(children()) ! wake_up,
            ?assertEqual({error, {exit, normal}}, py:await(Ref)),
            no_children()
        end
     || Function <- [call, then]
    ].

function_nobody_waits_for_any_more_is_not_begun(Config) ->
    Test = self(),
    ok = py:register_function(runs, fun([]) -> Test ! it_runs end),
    with_held_dispatcher(fun(Dispatcher) ->
        Refs = [spawned(Config, Function, [runs]) || Function <- [call]],
        waits_there(Dispatcher, 1),
        [ok = py:cancel(Ref) || Ref <- Refs],
        %% The context is free again: its code has been ended.
        ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16]))
    end),
    no_children(),
    ?assertEqual([], py_suite:flush()).

killed_dispatcher_ends_its_functions(Config) ->
    Refs = [spawned(Config, call, [gate, 1])],
    Pids = [running() || _ <- Refs],
    Monitors = [erlang:monitor(process, Pid) || Pid <- Pids],
    ok = without_dispatcher(),
    [?assertEqual({error, {exit, noproc}}, py:await(Ref)) || Ref <- Refs],
    [
        receive
            {'DOWN', Monitor, process, _, killed} -> ok
        end
     || Monitor <- Monitors
    ],
    Next = spawned(Config, call, [gate, 2]),
    running() ! go,
    ?assertEqual({ok, 2}, py:await(Next)).

what_waits_for_a_dispatcher_that_is_killed_is_told(Config) ->
    Other = py_suite:new_context(Config),
    Refs = with_held_dispatcher(fun(Dispatcher) ->
        Submitted = [
            spawned(Config, call, [gate, 1]),
            py:spawn_call(Other, erlang, schedule, [gate, 2])
        ],
        waits_there(Dispatcher, 2),
        ok = without_dispatcher(),
        Submitted
    end),
    [?assertEqual({error, {exit, noproc}}, py:await(Ref)) || Ref <- Refs],
    ?assertEqual([], py_suite:flush()),
    ok = py_context:stop(Other).

failed_function_in_place_of_a_cast_is_logged(Config) ->
    Log = py_suite:capture_log(),
    ok = py:register_function(fails, fun([Kind, Reason]) -> erlang:raise(binary_to_existing_atom(Kind), Reason, []) end),
    [
        begin
            ok = py:cast(?config(ctx, Config), '__main__', then, [fails, Kind, {reason, Kind}]),
            receive
                {log, #{level := error, msg := {report, #{label := {py_callback_process, cast_failed}} = Report}}} ->
                    {Format, Values} = py_callback_process:report(Report),
                    Text = lists:flatten(io_lib:format(Format, Values)),
                    ?assertMatch("a cast went on with the Erlang function fails, which failed\n" ++ _, Text),
                    py_suite:contains(Text, Words)
            end
        end
     || {Kind, Words} <- [{error, "error: {<<\"reason"}, {exit, "exit: {<<\"reason"}, {throw, "throw: {<<\"reason"}]
    ],
    ok = py:cast(?config(ctx, Config), '__main__', then, [gate, 1]),
    true = exit(running(), no_more),
    receive
        {log, #{msg := {report, #{label := {py_callback_process, cast_failed}, kind := exit, reason := no_more}}}} -> ok
    end,
    %% A success is not, nor what somebody waits for.
    ok = py:cast(?config(ctx, Config), '__main__', then, [gate, 1]),
    running() ! go,
    {error, {exit, <<"told">>}} = py:await(spawned(Config, then, [fails, exit, told])),
    no_children(),
    ok = py_suite:release_log(Log),
    ?assertEqual([], [Report || {log, #{msg := {report, #{label := {py_callback_process, _}} = Report}}} <- py_suite:flush()]).

stopped_application_ends_the_functions(Config) ->
    Ref = spawned(Config, call, [gate, 1]),
    Monitor = erlang:monitor(process, running()),
    ok = py_suite:stop(),
    receive
        {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(shutdown, Reason)
    end,
    ?assertMatch({error, _}, py:await(Ref)).

stubborn_function_is_killed_with_the_application(Config) ->
    Test = self(),
    ok = py:register_function(stubborn, fun([]) ->
        _ = process_flag(trap_exit, true),
        gate(Test, never)
    end),
    Ref = spawned(Config, call, [stubborn]),
    Monitor = erlang:monitor(process, running()),
    ok = py_suite:stop(),
    receive
        {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(killed, Reason)
    end,
    ?assertMatch({error, _}, py:await(Ref)).

stray_messages_do_nothing(Config) ->
    Dispatcher = whereis(py_callback_dispatcher),
    [Dispatcher ! Message || Message <- [stray, {'EXIT', self(), kill}, {py_callback, 1}]],
    ok = gen_server:cast(Dispatcher, stray),
    ?assertEqual({error, unexpected_call}, gen_server:call(Dispatcher, stray)),
    %% One that linked itself, and ended.
    {Linked, Monitor} = spawn_monitor(fun() ->
        true = link(Dispatcher),
        exit(linked)
    end),
    receive
        {'DOWN', Monitor, process, Linked, linked} -> ok
    end,
    Ref = spawned(Config, call, [gate, 1]),
    running() ! go,
    ?assertEqual({ok, 1}, py:await(Ref)),
    ?assertEqual(Dispatcher, whereis(py_callback_dispatcher)).
