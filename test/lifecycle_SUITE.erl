%% Starts and stops, deaths and what gets stuck: nothing hangs, nothing stays behind, nobody waits in vain.
-module(lifecycle_SUITE).
-behaviour(supervisor).

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
            stops_and_starts_with_calls_in_flight,
            nothing_grows_from_round_to_round,
            everything_answers_not_running_when_stopped,
            handles_of_a_stopped_application_are_dead,
            bad_environment_values_are_start_errors,
            contexts_live_under_a_supervisor_of_the_user_s,
            context_ends_with_whoever_it_is_linked_to,
            stopped_context_answers_its_queue,
            killed_context_answers_its_queue,
            killed_context_leaves_nothing_behind,
            bad_options_of_a_context_are_errors,
            only_contexts_are_stopped,
            foreign_messages_do_not_disturb_a_context,
            spinning_thread_does_not_outlive_the_application_harmfully,
            sleeping_daemon_does_no_harm,
            idle_worker_of_an_executor_does_no_harm,
            exit_handler_that_never_ends_does_no_harm,
            finaliser_that_never_ends_is_interrupted,
            finaliser_that_ignores_interrupts_gets_its_context_replaced,
            extension_module_works_in_worker_mode
        ],
        [
            stuck_context_is_replaced_and_its_queue_moves,
            stuck_context_outside_a_pool_answers_its_queue,
            replacements_of_stuck_contexts_are_bounded,
            extension_module_that_refuses_names_the_remedy,
            environments_are_assigned_while_contexts_come_and_go
        ]
    ).

init_per_group(Mode, Config) ->
    ok = py_suite:load_numpy(),
    py_suite:init_group(Mode, Config).

%% Threads that users' code leaves behind keep interpreters from being used again; the cases below leave few.
end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 32}).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

%% Every case has the application to itself.
end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    restart(Config, #{}).

restart(Config, Env) ->
    ok = py_suite:stop(),
    start(Config, Env).

start(Config, Env) ->
    py_suite:start(maps:merge((?config(env, Config))#{context_mode => py_suite:mode(Config)}, Env)).

%%% Stops and starts

%% The callers ask as fast as they can also while nothing runs, and each step of a start waits for its turn among them.
stops_and_starts_with_calls_in_flight() ->
    [{timetrap, {minutes, 5}}].

stops_and_starts_with_calls_in_flight(Config) ->
    Test = self(),
    Callers = [py_suite:spawn_caller(fun() -> call_until_told(Test, I, #{}) end) || I <- lists:seq(1, 20)],
    lists:foreach(
        fun(_) ->
            %% Each caller has had an answer in this round before it ends.
            [
                begin
                    Pid ! {answer_once, Test},
                    receive
                        {answered, Pid} -> ok
                    end
                end
             || {Pid, _} <- Callers
            ],
            ok = restart(Config, #{})
        end,
        lists:seq(1, 10)
    ),
    [Pid ! stop || {Pid, _} <- Callers],
    Kinds = lists:foldl(
        fun(Caller, All) ->
            {result, Seen} = py_suite:await_down(Caller, 60_000),
            maps:merge(All, Seen)
        end,
        #{},
        Callers
    ),
    Allowed = [ok, not_running, context_died, timeout],
    ?assertEqual([], maps:keys(maps:without(Allowed, Kinds))),
    ?assert(maps:is_key(ok, Kinds)).

call_until_told(Test, I, Seen) ->
    Result =
        case rand:uniform(5) of
            1 -> py:eval(<<"i">>, #{i => I});
            2 -> py:await(py:spawn_call(operator, pos, [I]));
            3 -> py:call(operator, pos, [I], #{}, 10_000);
            4 -> napped(py:call(time, sleep, [0.002]), I);
            5 -> py:call(operator, pos, [I])
        end,
    Kind =
        case Result of
            {ok, I} -> ok;
            {error, {context_died, _}} -> context_died;
            {error, Reason} when is_atom(Reason) -> Reason;
            Other -> {unexpected, Other}
        end,
    Now = Seen#{Kind => true},
    receive
        {answer_once, Test} ->
            Test ! {answered, self()},
            call_until_told(Test, I, Now);
        stop ->
            Now;
        Late ->
            Now#{{late, Late} => true}
    after 0 ->
        %% What goes on after the test has failed would keep all that follows from its turn.
        is_process_alive(Test) andalso call_until_told(Test, I, Now)
    end.

napped({ok, none}, I) -> {ok, I};
napped(Other, _I) -> Other.

nothing_grows_from_round_to_round(Config) ->
    Round = fun() ->
        Answers = py_suite:concurrently(10, fun(I) ->
            ok = py:exec(<<"import json, decimal, re\nclass C: pass\nkept = [C() for _ in range(1000)]">>),
            py:call(operator, pos, [I])
        end),
        ?assertEqual([{ok, I} || I <- lists:seq(1, 10)], Answers),
        ok = restart(Config, #{})
    end,
    [Round() || _ <- lists:seq(1, 10)],
    ok = py_suite:stop(),
    Before = py_leaks:snapshot(),
    Resident = py_leaks:resident(),
    ok = start(Config, #{}),
    [Round() || _ <- lists:seq(1, 20)],
    ok = py_suite:stop(),
    %% Not even spares: those of the first rounds serve the later ones.
    ok = py_leaks:check(Before, #{spares => 2}),
    ?assert(py_leaks:resident() - Resident < 100_000),
    ok = start(Config, #{}).

everything_answers_not_running_when_stopped(Config) ->
    Context = py_suite:new_context(Config),
    {ok, 1} = py:eval(<<"1">>),
    Mine = py:context(),
    ok = py_suite:stop(),
    NotRunning = {error, not_running},
    Each = fun() ->
        [
            ?assertEqual(NotRunning, Call())
         || Call <- [
                fun() -> py:call(math, sqrt, [16]) end,
                fun() -> py:call(default, math, sqrt, [16]) end,
                fun() -> py:call(other_pool, math, sqrt, [16]) end,
                fun() -> py:call(math, sqrt, [16], #{}, 1000) end,
                fun() -> py:call(Context, math, sqrt, [16]) end,
                fun() -> py:call(Mine, math, sqrt, [16], #{}) end,
                fun() -> py:call(self(), math, sqrt, [16]) end,
                fun() -> py:cast(math, sqrt, [16]) end,
                fun() -> py:cast(math, sqrt, [16], #{}) end,
                fun() -> py:cast(Context, math, sqrt, [16]) end,
                fun() -> py:await(py:spawn_call(math, sqrt, [16])) end,
                fun() -> py:await(py:spawn_call(Context, math, sqrt, [16])) end,
                fun() -> py:eval(<<"1">>) end,
                fun() -> py:eval(<<"1">>, #{}) end,
                fun() -> py:eval(<<"1">>, #{}, 1000) end,
                fun() -> py:eval(Context, <<"1">>) end,
                fun() -> py:eval(Context, <<"1">>, #{}) end,
                fun() -> py:exec(<<"1">>) end,
                fun() -> py:exec(Context, <<"1">>) end,
                fun() -> py:parallel([{math, sqrt, [16]}]) end,
                fun() -> py:interrupt(Context) end,
                fun() -> py:context() end,
                fun() -> py_context:new() end,
                fun() -> py_context:new(#{mode => worker}) end,
                fun() -> py_context:interrupt(Context) end,
                fun() -> py_context_router:start_pool(extra, 1) end,
                fun() -> py_context_router:start_pool(extra, 1, worker) end,
                fun() -> py_context_router:stop_pool(extra) end
            ]
        ],
        ?assertEqual({error, not_running}, linked(worker)),
        ?assertEqual(ok, py_context:stop(Context)),
        ?assertEqual([], py_context_router:contexts()),
        ?assertEqual(0, py_context_router:num_contexts()),
        ?assertEqual(undefined, py:last_error()),
        ?assertEqual({error, not_running}, py:version()),
        ?assertEqual({error, not_running}, py:execution_mode()),
        ?assertNot(py:subinterp_supported()),
        ?assertEqual([], py_suite:flush())
    end,
    _ = Each(),
    _ = py_suite:fresh(Each),
    ok.

%% In a process of its own, since the exit signal of a failed start comes before the answer, after it, or never,
%% as the release of OTP has it.
linked(Mode) ->
    {_, Monitor} = spawn_monitor(fun() ->
        _ = process_flag(trap_exit, true),
        exit({answer, py_context:start_link(linked, Mode)})
    end),
    receive
        {'DOWN', Monitor, process, _, {answer, Answer}} -> Answer
    end.

handles_of_a_stopped_application_are_dead(Config) ->
    Context = py_suite:new_context(Config),
    Ref = py:spawn_call(Context, time, sleep, [1000]),
    ok = restart(Config, #{}),
    ?assertMatch({error, {context_died, _}}, py:await(Ref)),
    ?assertEqual({error, {context_died, noproc}}, py:call(Context, math, sqrt, [16])),
    ?assertEqual(ok, py:cancel(Ref)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

bad_environment_values_are_start_errors(Config) ->
    ok = py_suite:stop(),
    [
        begin
            Result = py_suite:silently(fun() -> start(Config, #{Key => Value}) end),
            ?assertMatch({error, {erlang_python, _}}, Result),
            Text = lists:flatten(io_lib:format("~p", [Result])),
            py_suite:contains(Text, atom_to_list(Key)),
            py_suite:contains(Text, Allowed)
        end
     || {Key, Value, Allowed} <- [
            {num_contexts, 0, "a positive integer"},
            {num_contexts, many, "a positive integer"},
            {context_mode, isolated, "owngil or worker"},
            {start_contexts, now, "lazy or eager"},
            {context_start_timeout, 0, "a positive number"},
            {stuck_after, infinity, "a positive number"},
            {max_stuck, -1, "0 or more"},
            {python_home, 5, "a path"},
            {python_executable, [foo], "a path"}
        ]
    ],
    ok = start(Config, #{}),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%%% Contexts

init({Children, Flags}) ->
    {ok, {Flags, Children}}.

contexts_live_under_a_supervisor_of_the_user_s(Config) ->
    Children = [py_context:child_spec(#{id => Id, mode => py_suite:mode(Config)}) || Id <- [first, second]],
    {ok, Sup} = supervisor:start_link(?MODULE, {Children, #{intensity => 10, period => 10}}),
    Contexts = [Pid || {_, Pid, _, _} <- supervisor:which_children(Sup)],
    [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts],
    {first, First, _, _} = lists:keyfind(first, 1, supervisor:which_children(Sup)),
    ok = py_suite:silently(fun() ->
        ok = py_suite:killed(First),
        py_leaks:eventually(fun() ->
            case lists:keyfind(first, 1, supervisor:which_children(Sup)) of
                {first, Again, _, _} when is_pid(Again), Again =/= First ->
                    py:call(Again, math, sqrt, [16]) =:= {ok, 4.0};
                _ ->
                    false
            end
        end)
    end),
    Now = [Pid || {_, Pid, _, _} <- supervisor:which_children(Sup)],
    Monitors = [erlang:monitor(process, Pid) || Pid <- Now],
    true = unlink(Sup),
    exit(Sup, shutdown),
    [
        receive
            {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(shutdown, Reason)
        end
     || Monitor <- Monitors
    ],
    ok.

context_ends_with_whoever_it_is_linked_to(Config) ->
    Test = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        {ok, Context} = py_context:start_link(linked, py_suite:mode(Config)),
        Test ! {linked, Context},
        receive
            stop -> exit(over)
        end
    end),
    Linked =
        receive
            {linked, Context} -> Context
        end,
    ContextMonitor = erlang:monitor(process, Linked),
    ?assertEqual({ok, 4.0}, py:call(Linked, math, sqrt, [16])),
    py_suite:silently(fun() ->
        Pid ! stop,
        receive
            {'DOWN', Monitor, process, Pid, over} -> ok
        end,
        receive
            {'DOWN', ContextMonitor, process, Linked, over} -> ok
        end
    end),
    ?assertMatch({error, {context_died, _}}, py:call(Linked, math, sqrt, [16])).

stopped_context_answers_its_queue(Config) ->
    Answers = answers_of_a_queue(Config, fun py_context:stop/1),
    [?assertEqual({error, {context_died, normal}}, Answer) || Answer <- Answers],
    ok.

killed_context_answers_its_queue(Config) ->
    Answers = answers_of_a_queue(Config, fun py_suite:killed/1),
    [?assertEqual({error, {context_died, killed}}, Answer) || Answer <- Answers],
    ok.

%% What one running and 50 queued callers, and as many requests of one process, are answered.
answers_of_a_queue(Config, End) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:install(Context),
    Socket = ?config(socket, Config),
    Running = py:spawn_call(Context, ct_signals, spin, [py_suite:port(Socket), <<"spin">>]),
    _ = py_suite:await_signal(Socket, <<"spin">>),
    Queued = [py:spawn_call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 50)],
    Test = self(),
    Callers = [
        py_suite:spawn_caller(fun() ->
            Test ! {calls, self()},
            py:call(Context, math, sqrt, [16])
        end)
     || _ <- lists:seq(1, 50)
    ],
    [
        receive
            {calls, Pid} -> ok
        end
     || {Pid, _} <- Callers
    ],
    ok = py_leaks:eventually(fun() -> element(4, py_nif:context_info(Context)) >= 100 end),
    ok = End(Context),
    Answers =
        [py:await(Ref) || Ref <- [Running | Queued]] ++
            [
                begin
                    {result, Answer} = py_suite:await_down(Caller, 30_000),
                    Answer
                end
             || Caller <- Callers
            ],
    ?assertMatch({error, {context_died, _}}, py:call(Context, math, sqrt, [16])),
    Answers.

killed_context_leaves_nothing_behind(Config) ->
    Kill = fun() ->
        Contexts = [py_suite:new_context(Config) || _ <- lists:seq(1, 4)],
        [ok = py_suite:install(Context) || Context <- Contexts],
        Socket = ?config(socket, Config),
        [
            begin
                ok = py:cast(Context, ct_signals, spin, [py_suite:port(Socket), <<"spin">>]),
                py_suite:await_signal(Socket, <<"spin">>)
            end
         || Context <- Contexts
        ],
        [ok = py_suite:killed(Context) || Context <- Contexts]
    end,
    _ = Kill(),
    %% Their threads are at rest, or gone.
    ok = py_leaks:eventually(fun at_rest/0),
    Before = py_leaks:snapshot(),
    _ = [Kill() || _ <- lists:seq(1, 5)],
    py_leaks:check(Before, #{spares => 4}).

%% No thread of a context but those that wait with a spare.
at_rest() ->
    {Threads, Spares, _, _} = py_nif:counters(),
    Threads =:= Spares.

bad_options_of_a_context_are_errors(_Config) ->
    ?assertEqual({error, {bad_option, mode, fast}}, py_context:new(#{mode => fast})),
    ?assertEqual({error, {bad_option, size, 5}}, py_context:new(#{size => 5})),
    ?assertMatch({error, _}, py_context:new(#{mode => isolated})).

only_contexts_are_stopped(Config) ->
    ?assertError(badarg, py_context:stop(self())),
    {ok, Other} = gen_event:start(),
    ?assertError(badarg, py_context:stop(Other)),
    ?assertError(badarg, py_context:destroy(Other)),
    ?assert(is_process_alive(Other)),
    ok = gen_event:stop(Other),
    Context = py_suite:new_context(Config),
    ok = py_context:stop(Context),
    ok = py_context:stop(Context).

foreign_messages_do_not_disturb_a_context(Config) ->
    Context = py_suite:new_context(Config),
    [
        Context ! Message
     || Message <- [hello, {py_context, 0, ended}, {timeout, make_ref(), start}, {'EXIT', self(), normal}]
    ],
    ok = gen_server:cast(Context, hello),
    ?assertEqual({error, unexpected_call}, py_suite:silently(fun() -> gen_server:call(Context, hello) end)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ok = py_context:stop(Context).

%%% Threads and handlers of users' code

%% Runs code in a context, ends that and the application, and goes on.
survives(Config, Code) ->
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, Code),
    ok = py_suite:silently(fun() -> py_context:stop(Context) end),
    Another = py_suite:new_context(Config),
    ?assertEqual({ok, 4.0}, py:call(Another, math, sqrt, [16])),
    ok = py:exec(Another, Code),
    ok = restart(Config, #{}),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertMatch({ok, _}, py:call(gc, collect, [])).

spinning_thread_does_not_outlive_the_application_harmfully(Config) ->
    survives(Config, <<
        "import _thread, sys, types\n"
        "stop = []\n"
        "def spin():\n"
        "    end = __import__('time').monotonic() + 6\n"
        "    while not stop and __import__('time').monotonic() < end: pass\n"
        "_thread.start_new_thread(spin, ())\n"
    >>).

sleeping_daemon_does_no_harm(Config) ->
    survives(Config, <<
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(5,), daemon=True).start()\n"
    >>).

idle_worker_of_an_executor_does_no_harm(Config) ->
    survives(Config, <<
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import sys, types\n"
        "m = sys.modules.setdefault('ct_kept', types.ModuleType('ct_kept'))\n"
        "m.pool = ThreadPoolExecutor(2)\n"
        "assert m.pool.submit(lambda: 5).result() == 5\n"
    >>).

exit_handler_that_never_ends_does_no_harm(Config) ->
    case py_suite:mode(Config) of
        owngil ->
            survives(Config, <<"import atexit\ndef spin():\n    while True: pass\natexit.register(spin)">>);
        worker ->
            %% Exit handlers of the main interpreter never run: it never ends.
            survives(Config, <<"import atexit\natexit.register(lambda: None)">>)
    end.

%% `__del__' of an object in the namespace of a process that has just ended. It tells before it begins.
finaliser_that_never_ends_is_interrupted(Config) ->
    Socket = ?config(socket, Config),
    Context = py_suite:new_context(Config),
    ok = py_suite:install(Context),
    ok = leave_behind(Context, Socket, <<"spin">>),
    _ = py_suite:await_signal(Socket, <<"del">>),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ok = py_context:stop(Context).

finaliser_that_ignores_interrupts_gets_its_context_replaced(Config) ->
    ok = restart(Config, #{stuck_after => 200, num_contexts => 1}),
    Socket = ?config(socket, Config),
    ok = py_suite:install(),
    Context = py:context(),
    Monitor = erlang:monitor(process, Context),
    py_suite:silently(fun() ->
        ok = leave_behind(Context, Socket, <<"gate">>),
        Gate = py_suite:await_signal(Socket, <<"del">>),
        receive
            {'DOWN', Monitor, process, Context, Reason} -> ?assertEqual({shutdown, stuck}, Reason)
        end,
        ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
        py_suite:release(Socket, Gate),
        ?assertEqual(ok, py_leaks:eventually(fun() -> element(3, py_nif:counters()) =:= 0 end))
    end).

leave_behind(Context, Socket, How) ->
    {_, Monitor} = spawn_monitor(fun() ->
        %% The class is in another module, so that the namespace is in no cycle and goes at once.
        ok = py:exec(Context, <<
            "import sys, types\n"
            "_m = types.ModuleType('ct_left')\n"
            "exec('''\n"
            "import ct_signals\n"
            "class Left:\n"
            "    def __init__(self, port, how): self.port, self.how = port, how\n"
            "    def __del__(self): getattr(ct_signals, self.how)(self.port, 'del')\n"
            "''', _m.__dict__)\n"
            "sys.modules['ct_left'] = _m\n"
            "Left = _m.Left\n"
        >>),
        {ok, none} = py:eval(
            Context,
            <<"globals().__setitem__('left', Left(port, how))">>,
            #{port => py_suite:port(Socket), how => How}
        )
    end),
    receive
        {'DOWN', Monitor, process, _, normal} -> ok
    end.

%%% Stuck contexts

stuck_context_is_replaced_and_its_queue_moves(Config) ->
    ok = restart(Config, #{stuck_after => 300, num_contexts => 1}),
    Socket = ?config(socket, Config),
    ok = py_suite:install(),
    Context = py:context(),
    Ref = py:spawn_call(ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
    Gate = py_suite:await_signal(Socket, <<"gate">>),
    Queued = [py:spawn_call(operator, pos, [I]) || I <- lists:seq(1, 20)],
    {_, _, Stuck, _} = py_nif:counters(),
    py_suite:silently(fun() ->
        ok = py:cancel(Ref),
        [?assertEqual({ok, I}, py:await(Request)) || {I, Request} <- lists:zip(lists:seq(1, 20), Queued)]
    end),
    ?assertNotEqual(Context, py:context()),
    ?assertMatch({_, _, Now, _} when Now =:= Stuck + 1, py_nif:counters()),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    py_suite:release(Socket, Gate),
    ?assertEqual(ok, py_leaks:eventually(fun() -> element(3, py_nif:counters()) =:= Stuck end)),
    ?assertEqual([], py_suite:flush()).

stuck_context_outside_a_pool_answers_its_queue(Config) ->
    ok = restart(Config, #{stuck_after => 300}),
    Context = py_suite:new_context(Config),
    Monitor = erlang:monitor(process, Context),
    ok = py_suite:install(Context),
    Socket = ?config(socket, Config),
    Ref = py:spawn_call(Context, ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
    Gate = py_suite:await_signal(Socket, <<"gate">>),
    Queued = [py:spawn_call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 20)],
    py_suite:silently(fun() ->
        ok = py:interrupt(Context),
        receive
            {'DOWN', Monitor, process, Context, Reason} -> ?assertEqual({shutdown, stuck}, Reason)
        end
    end),
    [?assertEqual({error, {context_died, stuck}}, py:await(Request)) || Request <- [Ref | Queued]],
    py_suite:release(Socket, Gate),
    ?assertEqual(ok, py_leaks:eventually(fun() -> element(3, py_nif:counters()) =:= 0 end)).

replacements_of_stuck_contexts_are_bounded(Config) ->
    ok = restart(Config, #{stuck_after => 200, num_contexts => 1, max_stuck => 1}),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Stick = fun(Tag) ->
        ok = py_suite:install(),
        Ref = py:spawn_call(ct_signals, gate, [Port, Tag]),
        Gate = py_suite:await_signal(Socket, Tag),
        Monitor = erlang:monitor(process, hd(py_context_router:contexts())),
        Queued = py:spawn_call(math, sqrt, [16]),
        ok = py:cancel(Ref),
        receive
            {'DOWN', Monitor, process, _, _} -> ok
        end,
        {Gate, py:await(Queued)}
    end,
    py_suite:silently(fun() ->
        {First, Moved} = Stick(<<"first">>),
        ?assertEqual({ok, 4.0}, Moved),
        {Second, Answered} = Stick(<<"second">>),
        ?assertEqual({error, {context_died, stuck}}, Answered),
        ?assertMatch({_, _, 2, _}, py_nif:counters()),
        ?assertEqual({error, {context_died, stuck}}, py:call(math, sqrt, [16])),
        py_suite:release(Socket, First),
        py_suite:release(Socket, Second),
        ?assertEqual(ok, py_leaks:eventually(fun() -> element(3, py_nif:counters()) =:= 0 end)),
        %% The place is filled again.
        ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16]))
    end).

%%% Extension modules

extension_module_that_refuses_names_the_remedy(Config) ->
    py_suite:with_numpy(#{mode => py_suite:mode(Config)}, fun(Context) ->
        Text = py_suite:error_text('ImportError', py:call(Context, numpy, arange, [3])),
        py_suite:contains(Text, "mode => worker"),
        %% Every time, not only at first.
        py_suite:contains(py_suite:error_text('ImportError', py:exec(Context, <<"import numpy">>)), "mode => worker")
    end).

extension_module_works_in_worker_mode(_Config) ->
    py_suite:with_numpy(#{mode => worker}, fun(Context) ->
        ok = py:exec(Context, <<"import numpy as np">>),
        ?assertEqual({ok, [0, 2, 4]}, py:eval(Context, <<"(np.arange(3) * 2).tolist()">>)),
        ?assertEqual({ok, 6.0}, py:eval(Context, <<"float(np.array(x).sum())">>, #{x => [1, 2, 3]}))
    end).

%%% The process's environment

environments_are_assigned_while_contexts_come_and_go(Config) ->
    Assign = <<
        "import os\n"
        "for i in range(2000):\n"
        "    os.environ['CT_%d' % (i % 50)] = 'x' * (i % 100)\n"
        "    os.environ.pop('CT_%d' % ((i + 25) % 50), None)\n"
    >>,
    Contexts = [py_suite:new_context(Config) || _ <- lists:seq(1, 8)],
    Test = self(),
    Assigners = [
        py_suite:spawn_caller(fun() ->
            Assigns = fun Again() ->
                ok = py:exec(Context, Assign),
                receive
                    stop -> ok
                after 0 -> Again()
                end
            end,
            Test ! assigns,
            Assigns()
        end)
     || Context <- Contexts
    ],
    [
        receive
            assigns -> ok
        end
     || _ <- Assigners
    ],
    [
        begin
            Passing = py_suite:new_context(Config),
            {ok, none} = py:eval(Passing, <<"__import__('os').environ.get('CT_1')">>),
            ok = py_context:stop(Passing)
        end
     || _ <- lists:seq(1, 30)
    ],
    [Pid ! stop || {Pid, _} <- Assigners],
    [?assertEqual({result, ok}, py_suite:await_down(Assigner, 60_000)) || Assigner <- Assigners],
    [ok = py_context:stop(Context) || Context <- Contexts],
    ?assertEqual([], [Name || Name = "CT_" ++ _ <- os:getenv()]).
