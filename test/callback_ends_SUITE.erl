%% Erlang functions that Python code calls: what becomes of them when somebody dies or gives up, and what they leave.
-module(callback_ends_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, gate/0, entered/1, open/2, collect/1, eventually/1, signal/2, ended/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        function_may_register_and_unregister_others,
        contexts_can_be_made_and_stopped_inside_a_function,
        function_unregistered_during_the_call_answers,
        waiting_process_killed_inside_a_function_interrupts_python,
        exit_signal_ends_the_process_inside_a_function,
        context_killed_during_the_call_lets_the_function_end,
        context_stopped_during_the_call_lets_the_function_end,
        function_may_stop_its_own_context,
        answer_for_a_dead_context_is_dropped,
        application_stopped_during_the_call_lets_the_function_end,
        function_may_stop_the_application,
        process_of_its_own_killed_is_an_exit_in_python,
        process_of_its_own_that_gets_an_exit_signal_tells_its_reason,

        interrupt_during_the_call_ends_python_and_not_the_function,
        interrupt_can_be_caught_and_the_next_call_works,
        cancel_during_the_call_ends_python_and_not_the_function,
        death_of_the_spawner_during_the_call_ends_python,

        messages_of_the_process_stay_as_they_are,
        nothing_is_left_in_the_mailbox,
        functions_may_receive_messages,
        callbacks_need_no_permit_and_little_room,
        callbacks_leave_nothing_behind
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% Every case has a context of its own.
init_per_testcase(_Case, Config) ->
    py_callbacks:init_case(Config).

%% The cases that stop the application get it started again.
end_per_testcase(Case, Config) when
    Case =:= application_stopped_during_the_call_lets_the_function_end;
    Case =:= function_may_stop_the_application;
    Case =:= callbacks_need_no_permit_and_little_room
->
    py_suite:close(?config(socket, Config)),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual([], py_suite:flush());
end_per_testcase(_Case, Config) ->
    py_callbacks:end_case(Config).

%% A process that calls a function from a frame which tells how it was left.
guarded_caller(Config, Context, Tag, Name) ->
    Port = py_suite:port(?config(socket, Config)),
    py_suite:spawn_caller(fun() ->
        {py:call(Context, ct_frames, guarded, [Port, Tag, Name]), py_suite:flush()}
    end).

guarded_spawn(Config, Tag, Name) ->
    py:spawn_call(?config(ctx, Config), ct_frames, guarded, [py_suite:port(?config(socket, Config)), Tag, Name]).

%%% What a function may do

function_may_register_and_unregister_others(Config) ->
    Context = ?config(ctx, Config),
    Make = fun([Name]) -> py:register_function(Name, fun([]) -> Name end) end,
    Forget = fun([Name]) -> py:unregister_function(Name) end,
    offering([{make, Make}, {forget, Forget}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "erlang.make('made')\n"
            "assert erlang.made() == 'made'\n"
            "erlang.forget('made')\n"
            "assert not hasattr(erlang, 'made')\n"
            "erlang.forget('forget')\n"
            "assert not hasattr(erlang, 'forget')\n"
        >>)
    end).

contexts_can_be_made_and_stopped_inside_a_function(Config) ->
    Context = ?config(ctx, Config),
    Make = fun([]) ->
        Other = py_suite:new_context(Config),
        {ok, 4.0} = py:call(Other, math, sqrt, [16]),
        ok = py_context:stop(Other),
        made
    end,
    offering([{make, Make}], fun() ->
        ?assertEqual({ok, <<"made">>}, py:call(Context, erlang, make, []))
    end).

function_unregistered_during_the_call_answers(Config) ->
    Context = ?config(ctx, Config),
    offering([{wait, gate()}], fun() ->
        Ref = py:spawn_call(Context, erlang, call, [wait]),
        Pooled = py:context(1),
        ok = py_callbacks:install(Pooled),
        Caller = guarded_caller(Config, Pooled, <<"pool">>, wait),
        Inside = [entered([]), entered([])],
        ok = py:unregister_function(wait),
        ?assertEqual({error, {error, {not_registered, <<"wait">>}}}, py:call(py:context(2), erlang, call, [wait])),
        [open(Pid, answered) || Pid <- Inside],
        ?assertEqual({ok, <<"answered">>}, py:await(Ref)),
        ?assertEqual({result, {{ok, <<"answered">>}, []}}, py_suite:await_down(Caller, 30_000))
    end).

%%% Deaths

waiting_process_killed_inside_a_function_interrupts_python(Config) ->
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, ?config(ctx, Config), <<"frame">>, wait),
        ?assertEqual(Pid, entered([])),
        Queued = py:spawn_call(?config(ctx, Config), math, sqrt, [16]),
        exit(Pid, kill),
        signal(Config, <<"frame Interrupted">>),
        ?assertEqual({died, killed}, py_suite:await_down(Caller, 30_000)),
        ?assertEqual({ok, 4.0}, py:await(Queued))
    end).

exit_signal_ends_the_process_inside_a_function(Config) ->
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, ?config(ctx, Config), <<"frame">>, wait),
        Pid = entered([]),
        exit(Pid, no_more),
        signal(Config, <<"frame Interrupted">>),
        ?assertEqual({died, no_more}, py_suite:await_down(Caller, 30_000))
    end).

context_killed_during_the_call_lets_the_function_end(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_callbacks:install(Context),
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, Context, <<"frame">>, wait),
        Pid = entered([]),
        ok = py_suite:killed(Context),
        signal(Config, <<"frame Interrupted">>),
        ?assert(is_process_alive(Pid)),
        ?assertEqual({error, {context_died, noproc}}, py:call(Context, math, sqrt, [16])),
        open(Pid, late),
        ?assertEqual({result, {{error, {context_died, killed}}, []}}, py_suite:await_down(Caller, 30_000))
    end).

context_stopped_during_the_call_lets_the_function_end(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_callbacks:install(Context),
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, Context, <<"frame">>, wait),
        Pid = entered([]),
        %% It does not wait for the function.
        ok = py_context:stop(Context),
        signal(Config, <<"frame Interrupted">>),
        ?assert(is_process_alive(Pid)),
        open(Pid, late),
        ?assertEqual({result, {{error, {context_died, normal}}, []}}, py_suite:await_down(Caller, 30_000))
    end).

function_may_stop_its_own_context(Config) ->
    Test = self(),
    [
        begin
            Context = py_suite:new_context(Config),
            Stop = fun([]) ->
                ok = py_context:stop(Context),
                Test ! {stopped, py:call(Context, math, sqrt, [16])},
                late
            end,
            offering([{stop, Stop}], fun() ->
                ?assertEqual({error, {context_died, normal}}, Call(Context)),
                receive
                    {stopped, Result} -> ?assertMatch({error, {context_died, _}}, Result)
                end
            end)
        end
     || Call <- [
            fun(Context) -> py:call(Context, erlang, call, [stop]) end,
            fun(Context) -> py:await(py:spawn_call(Context, erlang, call, [stop])) end
        ]
    ],
    ok.

%% Of a function that runs in a process of its own.
answer_for_a_dead_context_is_dropped(Config) ->
    Context = py_suite:new_context(Config),
    offering([{wait, gate()}], fun() ->
        Ref = py:spawn_call(Context, erlang, call, [wait]),
        Pid = entered([]),
        ok = py_suite:killed(Context),
        ?assertEqual({error, {context_died, killed}}, py:await(Ref)),
        ?assert(is_process_alive(Pid)),
        open(Pid, late),
        ended(Pid)
    end).

application_stopped_during_the_call_lets_the_function_end(Config) ->
    Test = self(),
    %% The registration goes with the application, the function does not.
    ok = py:register_function(wait, gate()),
    Callers = [guarded_caller(Config, Context, <<"frame">>, wait) || Context <- [?config(ctx, Config)]],
    Inside = [entered([]) || _ <- Callers],
    Ref = py:spawn_call(py:context(), erlang, call, [wait]),
    Spawned = entered([]),
    Monitor = monitor(process, Spawned),
    ok = py_suite:stop(),
    receive
        {'DOWN', Monitor, process, Spawned, Reason} -> Test ! {ended, Reason}
    after 0 -> ct:fail({outlives_the_application, Spawned})
    end,
    [_] = collect(ended),
    ?assertMatch({error, {context_died, _}}, py:await(Ref)),
    [?assert(is_process_alive(Pid)) || Pid <- Inside],
    [open(Pid, late) || Pid <- Inside],
    [
        ?assertMatch({result, {{error, {context_died, _}}, []}}, py_suite:await_down(Caller, 30_000))
     || Caller <- Callers
    ],
    signal(Config, <<"frame Interrupted">>),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual({error, not_found}, py_callback:lookup(wait)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

function_may_stop_the_application(Config) ->
    Test = self(),
    Stop = fun([]) ->
        ok = py_suite:stop(),
        Test ! {stopped, py:call(math, sqrt, [16])},
        late
    end,
    ok = py:register_function(stop, Stop),
    ?assertMatch({error, {context_died, _}}, py:call(?config(ctx, Config), erlang, call, [stop])),
    ?assertEqual([{error, not_running}], collect(stopped)),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

process_of_its_own_killed_is_an_exit_in_python(Config) ->
    Context = ?config(ctx, Config),
    offering([{wait, gate()}], fun() ->
        Ref = guarded_spawn(Config, <<"frame">>, wait),
        Pid = entered([]),
        exit(Pid, kill),
        signal(Config, <<"frame ErlangError">>),
        {error, {exit, Reason}} = py:await(Ref),
        ?assert(lists:member(Reason, [killed, noproc])),
        %% Python may catch it and go on.
        ok = py_callbacks:module(Context, "ct_retries", <<
            "import erlang\n"
            "def retry():\n"
            "    try:\n"
            "        return erlang.call('wait')\n"
            "    except erlang.ErlangError as error:\n"
            "        return error.kind, erlang.call('wait')\n"
        >>),
        Again = py:spawn_call(Context, ct_retries, retry, []),
        exit(entered([]), kill),
        open(entered([]), second),
        ?assertEqual({ok, {<<"exit">>, <<"second">>}}, py:await(Again))
    end).

process_of_its_own_that_gets_an_exit_signal_tells_its_reason(Config) ->
    offering([{wait, gate()}], fun() ->
        Ref = guarded_spawn(Config, <<"frame">>, wait),
        exit(entered([]), no_more),
        {error, {exit, Reason}} = py:await(Ref),
        ?assert(lists:member(Reason, [no_more, noproc])),
        signal(Config, <<"frame ErlangError">>)
    end).

%%% Interrupts

interrupt_during_the_call_ends_python_and_not_the_function(Config) ->
    Context = ?config(ctx, Config),
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, Context, <<"frame">>, wait),
        Pid = entered([]),
        ?assertEqual(ok, py:interrupt(Context)),
        signal(Config, <<"frame Interrupted">>),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        ?assert(is_process_alive(Pid)),
        open(Pid, late),
        ?assertEqual({result, {{error, interrupted}, []}}, py_suite:await_down(Caller, 30_000)),
        %% Of a function in a process of its own.
        Ref = guarded_spawn(Config, <<"spawned">>, wait),
        Own = entered([]),
        ?assertEqual(ok, py:interrupt(Context)),
        signal(Config, <<"spawned Interrupted">>),
        ?assertEqual({error, interrupted}, py:await(Ref)),
        open(Own, late),
        ended(Own)
    end).

interrupt_can_be_caught_and_the_next_call_works(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_catches", <<
        "import erlang\n"
        "def catches():\n"
        "    try:\n"
        "        erlang.call('wait', 1)\n"
        "    except erlang.Interrupted:\n"
        "        return 'caught', erlang.call('answer', 2)\n"
    >>),
    offering([{wait, gate()}, {answer, fun([N]) -> N end}], fun() ->
        Ref = py:spawn_call(Context, ct_catches, catches, []),
        First = entered([1]),
        ?assertEqual(ok, py:interrupt(Context)),
        %% The late answer of the first is not taken for that of the second.
        ?assertEqual({ok, {<<"caught">>, 2}}, py:await(Ref)),
        open(First, late),
        ended(First)
    end).

cancel_during_the_call_ends_python_and_not_the_function(Config) ->
    offering([{wait, gate()}], fun() ->
        Ref = guarded_spawn(Config, <<"frame">>, wait),
        Pid = entered([]),
        ok = py:cancel(Ref),
        signal(Config, <<"frame Interrupted">>),
        ?assert(is_process_alive(Pid)),
        ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16])),
        open(Pid, late),
        ended(Pid)
    end).

death_of_the_spawner_during_the_call_ends_python(Config) ->
    offering([{wait, gate()}], fun() ->
        Spawner = spawn(fun() ->
            _ = guarded_spawn(Config, <<"frame">>, wait),
            receive never -> ok end
        end),
        Pid = entered([]),
        ok = py_suite:killed(Spawner),
        signal(Config, <<"frame Interrupted">>),
        ?assert(is_process_alive(Pid)),
        open(Pid, late),
        ended(Pid)
    end).

%%% Mailboxes, room, what stays

messages_of_the_process_stay_as_they_are(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_many", <<
        "import erlang\n"
        "def many(n): return sum(erlang.call('one', i) for i in range(n))\n"
    >>),
    py_suite:fresh(fun() ->
        Messages = [
            case I rem 5 of
                0 -> {py_response, make_ref(), {ok, I}};
                1 -> {make_ref(), {ok, I}};
                2 -> {make_ref(), make_ref(), <<"one">>, [I]};
                3 -> {py_callback, make_ref(), <<"one">>, [I]};
                4 -> I
            end
         || I <- lists:seq(1, 100_000)
        ],
        [self() ! Message || Message <- Messages],
        offering([{one, fun([_]) -> 1 end}, {fail, fun([]) -> error(why) end}], fun() ->
            {ok, 1000} = py:call(Context, ct_many, many, [1000]),
            {ok, 10} = py:call(Context, ct_many, many, [10], #{timeout => 20_000}),
            {error, {error, why}} = py:call(Context, erlang, call, [fail]),
            {ok, 10} = py:await(py:spawn_call(Context, ct_many, many, [10])),
            ok = py:cast(Context, ct_many, many, [10]),
            {ok, 1} = py:eval(Context, <<"__import__('erlang').one(0)">>)
        end),
        {messages, Left} = process_info(self(), messages),
        ?assert(Messages =:= Left)
    end).

nothing_is_left_in_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    Nap = fun([Milliseconds]) ->
        receive
        after Milliseconds -> slept
        end
    end,
    offering([{nap, Nap}], fun() ->
        %% Time limits that are over about when the function is.
        [
            begin
                Timeout = I rem 6,
                Result = py:call(Context, erlang, call, [nap, (I * 7) rem 5], #{timeout => Timeout}),
                ?assert(lists:member(Result, [{ok, <<"slept">>}, {error, timeout}])),
                Ref = py:spawn_call(Context, erlang, call, [nap, (I * 7) rem 5]),
                Awaited = py:await(Ref, Timeout),
                ?assert(lists:member(Awaited, [{ok, <<"slept">>}, {error, timeout}])),
                ok = py:cancel(py:spawn_call(Context, erlang, call, [nap, I rem 3])),
                ?assertEqual({ok, <<"slept">>}, py:call(Context, erlang, call, [nap, 0]))
            end
         || I <- lists:seq(1, 200)
        ],
        ?assertEqual([], py_suite:flush())
    end).

functions_may_receive_messages(Config) ->
    Context = ?config(ctx, Config),
    self() ! {before, 1},
    Receive = fun([]) ->
        receive
            {before, N} -> N
        end
    end,
    offering([{'receive', Receive}], fun() ->
        ?assertEqual({ok, 1}, py:call(Context, erlang, 'receive', []))
    end).

callbacks_need_no_permit_and_little_room(Config) ->
    ok = py_suite:restart(Config, #{num_contexts => 1, max_concurrent => 1, max_queue => 1}),
    Context = py:context(),
    Nested = fun([]) ->
        1 = py_semaphore:current(),
        {ok, 4.0} = py:call(Context, math, sqrt, [16]),
        {ok, 5.0} = py:await(py:spawn_call(Context, math, sqrt, [25])),
        ok = py:exec(Context, <<"x = 1">>),
        nested
    end,
    ok = py:register_function(nested, Nested),
    ok = py:register_function(wait, gate()),
    ?assertEqual({ok, <<"nested">>}, py:call(Context, erlang, nested, [])),
    ?assertEqual(0, py_semaphore:current()),
    %% One that uses up both.
    Caller = py_suite:spawn_caller(fun() ->
        {py:call(Context, erlang, call, [wait]), py:call(Context, erlang, nested, [])}
    end),
    Pid = entered([]),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(Context, math, sqrt, [16])),
    open(Pid, free),
    ?assertEqual({result, {{ok, <<"free">>}, {ok, <<"nested">>}}}, py_suite:await_down(Caller, 30_000)),
    %% A full queue of others' requests is none of the chain's business.
    ok = py_suite:restart(Config, #{num_contexts => 1, max_queue => 1}),
    Narrow = py:context(),
    Room = fun([]) ->
        Queued = py_suite:fresh(fun() -> py:spawn_call(Narrow, math, sqrt, [16]), py_suite:flush() end),
        [] = Queued,
        Filler = py_suite:spawn_caller(fun() -> py:call(Narrow, math, sqrt, [16]) end),
        eventually(fun() -> element(4, py_nif:context_info(Narrow)) =:= 1 end),
        {ok, 5.0} = py:call(Narrow, math, sqrt, [25]),
        _ = put(filler, Filler),
        room
    end,
    ok = py:register_function(room, Room),
    ?assertEqual({ok, <<"room">>}, py:call(Narrow, erlang, room, [])),
    ?assertEqual({result, {ok, 4.0}}, py_suite:await_down(erase(filler), 30_000)).

callbacks_leave_nothing_behind(Config) ->
    Context = ?config(ctx, Config),
    {ok, _} = py:call(math, sqrt, [16]),
    Before = py_leaks:snapshot(),
    Infos = [py_nif:context_info(Where) || Where <- [Context, py:context()]],
    Functions = [{one, fun([_]) -> 1 end}, {fail, fun(_) -> throw(why) end}],
    offering(Functions, fun() ->
        _ = py_suite:concurrently(20, fun(I) ->
            [
                begin
                    {ok, 1} = py:call(Context, erlang, one, [J]),
                    {error, {throw, why}} = py:call(Context, erlang, fail, [J]),
                    {ok, 1} = py:await(py:spawn_call(Context, erlang, one, [J])),
                    {error, {throw, why}} = py:await(py:spawn_call(Context, erlang, fail, [I]))
                end
             || J <- lists:seq(1, 50)
            ]
        end)
    end),
    ok = py_leaks:check(Before),
    %% Nor namespaces of processes that ran a function.
    eventually(fun() -> [py_nif:context_info(Where) || Where <- [Context, py:context()]] =:= Infos end).
