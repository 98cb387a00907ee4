%% The loops of contexts: how they begin and end, who is told, and what becomes of the tasks when somebody dies.
-module(loop_lifecycle_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_task_gates, [task/3, waits/1, told/2, nothing_told/1, open/2, gate/2, gate/3]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}, {group, remote}].

groups() ->
    py_suite:groups([
        first_task_of_a_busy_context_runs,
        stopped_loop_tells_its_owner,
        loop_starts_once,
        loop_that_was_not_started_is_not_stopped,
        loop_is_started_again,
        tasks_need_no_start,
        calls_are_answered_while_a_loop_runs,
        owner_may_be_another_process,
        death_of_the_owner_stops_the_loop,
        dead_owner_stops_the_loop_at_once,
        start_waits_for_its_time_and_no_longer,
        stop_cancels_tasks_and_runs_their_finally_blocks,
        stop_closes_what_is_open,
        stop_leaves_behind_what_will_not_end,
        stop_interrupts_what_does_not_give_way,
        stop_of_many_is_one_stop,
        stop_waits_for_a_start,
        death_of_a_stopper_changes_nothing,
        calls_go_on_after_a_stop,
        spawned_tasks_end_with_the_loop,
        stop_of_the_context_ends_its_tasks,
        stop_of_the_context_is_bounded,
        stop_of_the_context_tells_the_owner,
        stop_of_the_context_closes_what_is_open,
        stop_of_the_context_leaves_threads_alone,
        killed_context_tells_owner_and_callers,
        killed_contexts_leave_no_descriptors,
        stuck_context_tells_owner_and_callers,
        stop_of_the_application_answers_everybody,
        stop_of_the_application_overtakes_no_end,
        death_of_the_keeper_leaves_the_loop,
        owners_of_many_loops_hear_of_each,
        loops_come_and_go_without_a_trace
    ]) ++
        [
            {remote, [], [
                task_elsewhere_is_answered,
                task_elsewhere_uses_the_callers_namespace,
                task_elsewhere_is_cancelled,
                task_elsewhere_belongs_to_its_maker,
                task_elsewhere_ends_with_its_caller,
                task_that_nobody_waits_for_survives_elsewhere,
                task_elsewhere_is_answered_when_its_context_dies,
                task_elsewhere_is_answered_when_its_proxy_dies,
                task_elsewhere_is_answered_when_its_session_dies,
                loop_elsewhere_is_started_and_stopped,
                loop_elsewhere_is_named_by_a_reference,
                nothing_is_left_between_the_nodes
            ]}
        ].

init_per_group(remote, Config) ->
    Started = py_peers:with_node(py_peers:init_suite(Config)),
    Context = ?config(ctx, Started),
    %% The loop there, and what sends to this node, stay with the context.
    ok = py_suite:fresh(fun() ->
        ok = py_suite:python_path(Context),
        Ref = gate(Context, <<"first">>),
        ok = open(Context, <<"first">>),
        {ok, <<"first">>} = py:async_await(Ref),
        told(<<"ended">>, <<"first">>)
    end),
    [{leaks_there, py_peers:call(?config(peer, Started), py_leaks, snapshot, [])} | Started];
init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1, context_start_timeout => 2_000}).

end_per_group(remote, Config) ->
    py_peers:stop(?config(peer, Config)),
    py_peers:end_suite(Config, #{spares => 2});
end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 64}).

init_per_testcase(_Case, Config) ->
    Socket = {socket, py_suite:open()},
    case ?config(mode, Config) of
        undefined -> [Socket | Config];
        _ -> [Socket, {ctx, prepared(Config)} | Config]
    end.

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    _ = [ok = py_context:stop(ctx(Config)) || ?config(mode, Config) =/= undefined],
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ?assertEqual([], py_suite:flush()).

prepared(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:install(Context),
    ok = py_suite:python_path(Context),
    Context.

ctx(Config) ->
    ?config(ctx, Config).

port(Config) ->
    py_suite:port(?config(socket, Config)).

exited(Context) ->
    receive
        {py_loop_exit, Context, Result} -> Result
    after 30_000 -> ct:fail({no_loop_exit, erlang:process_info(self(), messages)})
    end.

%% A process that owns loops and stays until it is told to end; it tells of their ends.
owner() ->
    Test = self(),
    spawn(fun() -> own(Test) end).

own(Test) ->
    receive
        stop ->
            ok;
        Message ->
            Test ! {self(), Message},
            own(Test)
    end.

%%% Beginnings

first_task_of_a_busy_context_runs(Config) ->
    Gate = py_gates:closed_gate(Config),
    {ok, Ref} = py_context:submit(ctx(Config), ct_tasks, later, [5]),
    ok = py_gates:open_gate(Config, Gate),
    ?assertEqual({ok, 5}, py:async_await(Ref)).

stopped_loop_tells_its_owner(Config) ->
    Context = ctx(Config),
    ?assertEqual(ok, py_context:start_loop(Context)),
    ?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])),
    ?assertEqual(ok, py_context:stop_loop(Context)),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

loop_starts_once(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    ?assertEqual({error, already_running}, py_context:start_loop(Context)),
    ?assertEqual({error, already_running}, py_suite:fresh(fun() -> py_context:start_loop(Context) end)),
    ok = py_context:stop_loop(Context),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

loop_that_was_not_started_is_not_stopped(Config) ->
    ?assertEqual({error, no_loop}, py_context:stop_loop(ctx(Config))),
    {ok, 5} = py_context:submit_await(ctx(Config), ct_tasks, later, [5]),
    ?assertEqual({error, no_loop}, py_context:stop_loop(ctx(Config), 0)).

loop_is_started_again(Config) ->
    Context = ctx(Config),
    Loops = [
        begin
            ok = py_context:start_loop(Context),
            {ok, Where} = py_context:submit_await(Context, ct_tasks, remember, [Round]),
            ok = py_context:stop_loop(Context),
            {ok, <<"stopped">>} = exited(Context),
            ?assertEqual({error, no_loop}, py_context:stop_loop(Context)),
            Where
        end
     || Round <- lists:seq(1, 10)
    ],
    ?assertEqual(10, length(Loops)),
    ?assertEqual({ok, lists:seq(1, 10)}, py:call(Context, ct_tasks, remembered, [])).

tasks_need_no_start(Config) ->
    Context = ctx(Config),
    ?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])),
    ok = py_context:start_loop(Context),
    ok = py_context:stop_loop(Context),
    {ok, <<"stopped">>} = exited(Context),
    ?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])).

calls_are_answered_while_a_loop_runs(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    ?assertEqual({ok, 4.0}, py_context:call(Context, math, sqrt, [16])),
    ?assertEqual(ok, py_context:exec(Context, "x = 1")),
    ?assertEqual({ok, 1}, py_context:eval(Context, "x")),
    %% One that times out is interrupted, and nothing else.
    ?assertEqual({error, timeout}, py_context:call(Context, time, sleep, [3600], #{}, 50)),
    ?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])),
    ok = py_context:stop_loop(Context),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

owner_may_be_another_process(Config) ->
    Context = ctx(Config),
    Owner = owner(),
    ok = py_context:start_loop(Context, #{owner => Owner}),
    ok = py_context:stop_loop(Context),
    receive
        {Owner, Message} -> ?assertEqual({py_loop_exit, Context, {ok, <<"stopped">>}}, Message)
    end,
    Owner ! stop.

death_of_the_owner_stops_the_loop(Config) ->
    Context = ctx(Config),
    Owner = owner(),
    ok = py_context:start_loop(Context, #{owner => Owner}),
    Ref = gate(Context, <<"gate">>),
    ok = py_suite:killed(Owner),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>),
    ?assertMatch({error, {'CancelledError', _}}, py:async_await(Ref)),
    %% Either waits for its end.
    ?assert(lists:member(py_context:stop_loop(Context), [ok, {error, no_loop}])),
    ?assertEqual(ok, py_context:start_loop(Context)),
    ok = py_context:stop_loop(Context),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

dead_owner_stops_the_loop_at_once(Config) ->
    Context = ctx(Config),
    Dead = py_suite:fresh(fun() -> self() end),
    ?assertEqual(ok, py_context:start_loop(Context, #{owner => Dead})),
    ?assert(lists:member(py_context:stop_loop(Context), [ok, {error, no_loop}])).

start_waits_for_its_time_and_no_longer(Config) ->
    Context = ctx(Config),
    Gate = py_gates:closed_gate(Config),
    ?assertEqual({error, loop_start_timeout}, py_context:start_loop(Context)),
    ok = py_gates:open_gate(Config, Gate),
    ?assertEqual(ok, py_context:start_loop(Context)),
    ok = py_context:stop_loop(Context),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

%%% Ends that somebody wants

stop_cancels_tasks_and_runs_their_finally_blocks(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    Names = [<<"one">>, <<"two">>, <<"three">>],
    Refs = [gate(Context, slow_end, Name) || Name <- Names],
    ok = py_context:stop_loop(Context),
    %% All is over by now.
    [
        receive
            {Word, Name} -> ok
        after 0 -> ct:fail({not_yet, Word, Name})
        end
     || Name <- Names, Word <- [<<"cancelled">>, <<"ended">>, <<"slowly">>]
    ],
    [?assertMatch({error, {'CancelledError', _}}, py:async_await(Ref)) || Ref <- Refs],
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

stop_closes_what_is_open(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    {ok, Port} = py_context:submit_await(Context, ct_tasks, serve, [self(), <<"server">>]),
    {ok, 1} = py_context:submit_await(Context, ct_tasks, generate, [self(), <<"generator">>]),
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, true}]),
    told(<<"connected">>, <<"server">>),
    ok = py_context:stop_loop(Context),
    told(<<"lost">>, <<"server">>),
    told(<<"closed">>, <<"generator">>),
    receive
        {tcp_closed, Socket} -> ok;
        {tcp_error, Socket, econnreset} -> receive {tcp_closed, Socket} -> ok end
    end,
    ?assertEqual({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, Port, [])),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

stop_leaves_behind_what_will_not_end(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    Ref = gate(Context, stubborn, <<"stubborn">>),
    ?assertEqual(ok, py_context:stop_loop(Context, 100)),
    told(<<"again">>, <<"stubborn">>),
    ?assertMatch({error, _}, py:async_await(Ref)),
    ?assertMatch({Kind, _} when Kind =:= ok; Kind =:= error, exited(Context)),
    ?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])),
    _ = drained(<<"stubborn">>).

drained(Name) ->
    receive
        {_, Name} -> drained(Name)
    after 0 -> ok
    end.

stop_interrupts_what_does_not_give_way(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    {ok, Ref} = py_context:submit(Context, ct_tasks, spin, [self(), <<"spin">>]),
    waits(<<"spin">>),
    ?assertEqual(ok, py_context:stop_loop(Context, 50)),
    told(<<"ended">>, <<"spin">>),
    ?assertEqual({error, interrupted}, py:async_await(Ref)),
    ?assertEqual({error, interrupted}, exited(Context)),
    ?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])).

stop_of_many_is_one_stop(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    _ = gate(Context, slow_end, <<"gate">>),
    Results = py_suite:concurrently(10, fun(_) -> py_context:stop_loop(Context) end),
    ?assert(lists:member(ok, Results)),
    ?assertEqual([], Results -- lists:append(lists:duplicate(10, [ok, {error, no_loop}]))),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)),
    [told(Word, <<"gate">>) || Word <- [<<"cancelled">>, <<"ended">>, <<"slowly">>]],
    receive
        {async_result, _, Result} -> ?assertMatch({error, {'CancelledError', _}}, Result)
    end.

stop_waits_for_a_start(Config) ->
    Context = ctx(Config),
    Gate = py_gates:closed_gate(Config),
    Test = self(),
    Starter = py_suite:spawn_caller(fun() -> py_context:start_loop(Context, #{owner => Test}) end),
    %% The context has been asked for the start once it says that there is one.
    ok = py_leaks:eventually(fun() ->
        Known = [Pid || Pid <- tuple_to_list(sys:get_state(Context)), is_pid(Pid)],
        lists:any(fun(Pid) -> element(1, proc_lib:translate_initial_call(Pid)) =:= py_loop end, Known)
    end),
    Stopper = py_suite:spawn_caller(fun() -> py_context:stop_loop(Context) end),
    ok = py_gates:open_gate(Config, Gate),
    ?assertEqual({result, ok}, py_suite:await_down(Starter, 30_000)),
    ?assertEqual({result, ok}, py_suite:await_down(Stopper, 30_000)),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

death_of_a_stopper_changes_nothing(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    Ref = gate(Context, slow_end, <<"gate">>),
    {Pid, _} = Stopper = py_suite:spawn_caller(fun() -> py_context:stop_loop(Context) end),
    told(<<"cancelled">>, <<"gate">>),
    true = exit(Pid, kill),
    _ = py_suite:await_down(Stopper, 30_000),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)),
    told(<<"ended">>, <<"gate">>),
    told(<<"slowly">>, <<"gate">>),
    ?assertMatch({error, {'CancelledError', _}}, py:async_await(Ref)).

calls_go_on_after_a_stop(Config) ->
    Context = ctx(Config),
    ok = py:exec(Context, "kept = 5"),
    ok = py_context:start_loop(Context),
    ok = py_context:stop_loop(Context),
    {ok, <<"stopped">>} = exited(Context),
    ?assertEqual({ok, 5}, py:eval(Context, "kept")),
    ?assertEqual({ok, true}, py:call(Context, ct_tasks, outside, [])).

spawned_tasks_end_with_the_loop(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    ok = py:exec(Context, <<
        "import ct_tasks, erlang\n"
        "def begin(pid):\n"
        "    erlang.spawn_task(ct_tasks.gate(pid, 'spawned'))\n"
    >>),
    {ok, none} = py:call(Context, '__main__', 'begin', [self()]),
    waits(<<"spawned">>),
    ok = py_context:stop_loop(Context),
    told(<<"cancelled">>, <<"spawned">>),
    told(<<"ended">>, <<"spawned">>),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

%%% Ends of contexts

stop_of_the_context_ends_its_tasks(Config) ->
    Context = ctx(Config),
    Names = [<<"one">>, <<"two">>],
    Refs = [gate(Context, slow_end, Name) || Name <- Names],
    ok = py_context:stop(Context),
    [told(Word, Name) || Name <- Names, Word <- [<<"cancelled">>, <<"ended">>, <<"slowly">>]],
    [?assertMatch({error, {context_died, _}}, py:async_await(Ref)) || Ref <- Refs].

stop_of_the_context_is_bounded(Config) ->
    Context = ctx(Config),
    Stubborn = gate(Context, stubborn, <<"stubborn">>),
    {ok, Spinning} = py_context:submit(Context, ct_tasks, spin, [self(), <<"spin">>]),
    waits(<<"spin">>),
    Begin = erlang:monotonic_time(millisecond),
    ok = py_context:stop(Context),
    ?assert(erlang:monotonic_time(millisecond) - Begin < 7_500),
    [?assertMatch({error, {context_died, _}}, py:async_await(Ref)) || Ref <- [Stubborn, Spinning]],
    told(<<"ended">>, <<"spin">>),
    _ = drained(<<"stubborn">>).

stop_of_the_context_tells_the_owner(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    ok = py_context:stop(Context),
    ?assertEqual({error, interrupted}, exited(Context)).

stop_of_the_context_closes_what_is_open(Config) ->
    Context = ctx(Config),
    {ok, Port} = py_context:submit_await(Context, ct_tasks, serve, [self(), <<"server">>]),
    {ok, 1} = py_context:submit_await(Context, ct_tasks, generate, [self(), <<"generator">>]),
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, true}]),
    told(<<"connected">>, <<"server">>),
    ok = py_context:stop(Context),
    told(<<"lost">>, <<"server">>),
    told(<<"closed">>, <<"generator">>),
    receive
        {tcp_closed, Socket} -> ok;
        {tcp_error, Socket, econnreset} -> receive {tcp_closed, Socket} -> ok end
    end,
    ?assertEqual({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, Port, [])).

stop_of_the_context_leaves_threads_alone(Config) ->
    Context = ctx(Config),
    Ref = gate(Context, threaded, <<"thread">>),
    {ok, none} = py:call(Context, ct_tasks, let_threads_go, []),
    ?assertEqual({ok, none}, py:async_await(Ref)),
    Again = gate(Context, threaded, <<"thread">>),
    Begin = erlang:monotonic_time(millisecond),
    ok = py_context:stop(Context),
    ?assert(erlang:monotonic_time(millisecond) - Begin < 9_000),
    ?assertMatch({error, {context_died, _}}, py:async_await(Again)).

killed_context_tells_owner_and_callers(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    Ref = gate(Context, <<"gate">>),
    py_suite:silently(fun() -> py_suite:killed(Context) end),
    ?assertEqual({error, {context_died, killed}}, exited(Context)),
    ?assertMatch({error, {context_died, _}}, py:async_await(Ref)),
    ?assertMatch({error, {context_died, _}}, py_context:start_loop(Context)),
    ?assertMatch({error, {context_died, _}}, py_context:stop_loop(Context)),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>).

%% Nor do the threads that wait with their interpreters for another context keep any.
killed_contexts_leave_no_descriptors(Config) ->
    Before = py_leaks:snapshot(),
    py_suite:silently(fun() ->
        [
            begin
                Context = py_suite:new_context(Config),
                {ok, Ref} = py_context:submit(Context, asyncio, sleep, [3600]),
                {ok, none} = py_context:submit_await(Context, asyncio, sleep, [0]),
                py_suite:killed(Context),
                ?assertMatch({error, {context_died, _}}, py:async_await(Ref))
            end
         || _ <- lists:seq(1, 5)
        ]
    end),
    py_leaks:check(Before, #{spares => 16}).

stuck_context_tells_owner_and_callers(Config) ->
    case py_suite:mode(Config) of
        worker ->
            %% Its thread keeps the GIL of all the others.
            {skip, "a worker context that is stuck keeps all others from running"};
        owngil ->
            ok = py_suite:restart(Config, #{stuck_after => 500}),
            Context = prepared(Config),
            ok = py_context:start_loop(Context),
            ok = py:exec(Context, <<
                "import ct_signals\n"
                "async def ignore(port):\n"
                "    ct_signals.gate(port, 'ignores')\n"
            >>),
            Waiting = gate(Context, <<"gate">>),
            {ok, Ref} = py_context:submit(Context, '__main__', ignore, [port(Config)]),
            Gate = py_suite:await_signal(?config(socket, Config), <<"ignores">>),
            Stuck = py_suite:silently(fun() ->
                ?assertEqual({error, timeout}, py:async_await(Ref, 1)),
                exited(Context)
            end),
            ?assertEqual({error, {context_died, stuck}}, Stuck),
            ?assertEqual({error, {context_died, stuck}}, py:async_await(Waiting)),
            py_suite:release(?config(socket, Config), Gate),
            ok = py_leaks:eventually(fun() -> element(3, py_nif:counters()) =:= 0 end),
            _ = drained(<<"gate">>),
            ok = py_suite:restart(Config, #{})
    end.

stop_of_the_application_answers_everybody(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    Own = gate(Context, <<"own">>),
    Pooled = py:async_call(asyncio, sleep, [3600]),
    Callers = [
        py_suite:spawn_caller(fun() -> py_event_loop:run(asyncio, sleep, [3600], #{timeout => infinity}) end)
     || _ <- lists:seq(1, 10)
    ],
    ok = py_event_loop:spawn_task(asyncio, sleep, [3600]),
    {ok, none} = py_event_loop:run(asyncio, sleep, [0]),
    ok = py_suite:stop(),
    [?assertMatch({error, _}, py:async_await(Ref)) || Ref <- [Own, Pooled]],
    [?assertMatch({result, {error, _}}, py_suite:await_down(Caller, 30_000)) || Caller <- Callers],
    ?assertMatch({error, _}, exited(Context)),
    told(<<"cancelled">>, <<"own">>),
    told(<<"ended">>, <<"own">>),
    ?assertEqual({error, not_running}, py:async_await(py:async_call(math, sqrt, [16]))),
    ok = py_suite:restart(Config, #{}).

%% The process that tells of the end has not come to it yet when its own turn comes.
stop_of_the_application_overtakes_no_end(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    [{_, Keeper, _, _}] = supervisor:which_children(py_loop_sup),
    ok = sys:suspend(Keeper),
    ok = py_suite:stop(),
    ?assertEqual({error, interrupted}, exited(Context)),
    ok = py_suite:restart(Config, #{}).

death_of_the_keeper_leaves_the_loop(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    Ref = gate(Context, <<"gate">>),
    [{_, Keeper, _, _}] = supervisor:which_children(py_loop_sup),
    py_suite:silently(fun() -> py_suite:killed(Keeper) end),
    ok = open(Context, <<"gate">>),
    ?assertEqual({ok, <<"gate">>}, py:async_await(Ref)),
    told(<<"ended">>, <<"gate">>),
    ?assertEqual(ok, py_context:start_loop(Context)),
    ok = py_context:stop_loop(Context),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)).

owners_of_many_loops_hear_of_each(Config) ->
    Contexts = [ctx(Config) | [prepared(Config) || _ <- [1, 2, 3]]],
    [ok = py_context:start_loop(Context) || Context <- Contexts],
    {Refs, _} = lists:mapfoldl(
        fun(Context, N) -> {gate(Context, <<"many", (integer_to_binary(N))/binary>>), N + 1} end, 1, Contexts
    ),
    [First | Others] = Contexts,
    ok = py_context:stop_loop(First),
    ?assertEqual({ok, <<"stopped">>}, exited(First)),
    ?assertMatch({error, {'CancelledError', _}}, py:async_await(hd(Refs))),
    %% The others go on.
    [?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])) || Context <- Others],
    [nothing_told(<<"many", (integer_to_binary(N))/binary>>) || N <- [2, 3, 4]],
    [ok = py_context:stop(Context) || Context <- Others],
    [?assertEqual({error, interrupted}, exited(Context)) || Context <- Others],
    [?assertMatch({error, {context_died, _}}, py:async_await(Ref)) || Ref <- tl(Refs)],
    Words = [<<"cancelled">>, <<"ended">>],
    [told(Word, <<"many", (integer_to_binary(N))/binary>>) || N <- [1, 2, 3, 4], Word <- Words].

loops_come_and_go_without_a_trace(Config) ->
    Context = ctx(Config),
    Round = fun(_) ->
        ok = py_context:start_loop(Context),
        {ok, 5} = py_context:submit_await(Context, ct_tasks, later, [5]),
        {ok, Port} = py_context:submit_await(Context, ct_tasks, serve, [self(), <<"server">>]),
        {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]),
        told(<<"connected">>, <<"server">>),
        _ = gate(Context, <<"gate">>),
        ok = py_context:stop_loop(Context),
        told(<<"lost">>, <<"server">>),
        told(<<"cancelled">>, <<"gate">>),
        told(<<"ended">>, <<"gate">>),
        receive
            {async_result, _, {error, {'CancelledError', _}}} -> ok
        end,
        {ok, <<"stopped">>} = exited(Context),
        ok = gen_tcp:close(Socket)
    end,
    lists:foreach(Round, lists:seq(1, 3)),
    {ok, _} = py:call(Context, gc, collect, []),
    Before = py_leaks:snapshot(),
    lists:foreach(Round, lists:seq(1, 20)),
    {ok, _} = py:call(Context, ct_tasks, forget, []),
    {ok, _} = py:call(Context, gc, collect, []),
    py_leaks:check(Before).

%%% Contexts on other nodes

task_elsewhere_is_answered(Config) ->
    Context = ctx(Config),
    {ok, Ref} = py_context:submit(Context, ct_tasks, later, [5]),
    receive
        {async_result, Ref, Result} -> ?assertEqual({ok, 5}, Result)
    end,
    ?assertEqual({ok, 5}, py_context:submit_await(Context, ct_tasks, later, [5])),
    Failing = py_context:submit_await(Context, ct_tasks, fail, ['ValueError', <<"no">>]),
    ?assertEqual({error, {'ValueError', "no"}}, Failing),
    Refs = [task(Context, later, [N, N]) || N <- lists:seq(1, 50)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 50)], [py:async_await(One) || One <- Refs]).

task_elsewhere_uses_the_callers_namespace(Config) ->
    Context = ctx(Config),
    ok = py:exec(Context, "async def double(x): return 2 * x"),
    ?assertEqual({ok, 4}, py_context:submit_await(Context, '__main__', double, [2])),
    ?assertMatch(
        {error, {'AttributeError', _}},
        py_suite:fresh(fun() -> py_context:submit_await(Context, '__main__', double, [2]) end)
    ).

task_elsewhere_is_cancelled(Config) ->
    Context = ctx(Config),
    Cancelled = gate(Context, <<"cancel">>),
    ok = py:cancel(Cancelled),
    told(<<"cancelled">>, <<"cancel">>),
    told(<<"ended">>, <<"cancel">>),
    Late = gate(Context, <<"late">>),
    ?assertEqual({error, timeout}, py:async_await(Late, 1)),
    told(<<"cancelled">>, <<"late">>),
    told(<<"ended">>, <<"late">>).

task_elsewhere_belongs_to_its_maker(Config) ->
    Context = ctx(Config),
    Test = self(),
    Maker = py_suite:spawn_caller(fun() ->
        {ok, Ref} = py_context:submit(Context, ct_tasks, gate, [Test, <<"gate">>]),
        Test ! {ref, Ref},
        py:async_await(Ref)
    end),
    receive
        {ref, Ref} ->
            waits(<<"gate">>),
            ?assertError(badarg, py:cancel(Ref)),
            ?assertError(badarg, py:async_await(Ref))
    end,
    ok = open(Context, <<"gate">>),
    ?assertEqual({result, {ok, <<"gate">>}}, py_suite:await_down(Maker, 30_000)),
    told(<<"ended">>, <<"gate">>).

task_elsewhere_ends_with_its_caller(Config) ->
    Context = ctx(Config),
    Test = self(),
    {Pid, _} =
        Caller = py_suite:spawn_caller(fun() ->
            py_context:submit_await(Context, ct_tasks, gate, [Test, <<"gate">>])
        end),
    waits(<<"gate">>),
    true = exit(Pid, kill),
    {died, killed} = py_suite:await_down(Caller, 30_000),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>).

task_that_nobody_waits_for_survives_elsewhere(Config) ->
    Context = ctx(Config),
    Test = self(),
    ok = py_suite:fresh(fun() ->
        ok = py_context_router:bind_context(Context),
        ok = py_event_loop:spawn_task(ct_tasks, gate, [Test, <<"gate">>]),
        %% The call that follows tells that the task has arrived.
        {ok, 4.0} = py:call(math, sqrt, [16]),
        ok
    end),
    waits(<<"gate">>),
    ok = open(Context, <<"gate">>),
    told(<<"ended">>, <<"gate">>).

task_elsewhere_is_answered_when_its_context_dies(Config) ->
    Context = py_peers:context(?config(peer, Config)),
    {ok, Ref} = py_context:submit(Context, asyncio, sleep, [3600]),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    true = exit(Context, kill),
    ?assertMatch({error, {context_died, _}}, py:async_await(Ref)),
    {ok, Late} = py_context:submit(Context, asyncio, sleep, [3600]),
    ?assertMatch({error, {context_died, _}}, py:async_await(Late)).

task_elsewhere_is_answered_when_its_proxy_dies(Config) ->
    Context = ctx(Config),
    Ref = gate(Context, <<"gate">>),
    Proxy = get({py_remote, node(Context)}),
    py_suite:silently(fun() -> py_suite:killed(Proxy) end),
    ?assertEqual({error, {context_died, killed}}, py:async_await(Ref)),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>).

task_elsewhere_is_answered_when_its_session_dies(Config) ->
    Context = ctx(Config),
    Ref = gate(Context, <<"gate">>),
    {Session, _} = element(4, sys:get_state(get({py_remote, node(Context)}))),
    true = exit(Session, kill),
    ?assertEqual({error, {context_died, killed}}, py:async_await(Ref)),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>).

loop_elsewhere_is_started_and_stopped(Config) ->
    Context = ctx(Config),
    ok = py_context:start_loop(Context),
    ?assertEqual({error, already_running}, py_context:start_loop(Context)),
    Ref = gate(Context, <<"gate">>),
    ok = py_context:stop_loop(Context),
    ?assertEqual({ok, <<"stopped">>}, exited(Context)),
    ?assertMatch({error, {'CancelledError', _}}, py:async_await(Ref)),
    told(<<"cancelled">>, <<"gate">>),
    told(<<"ended">>, <<"gate">>),
    ?assertEqual({error, no_loop}, py_context:stop_loop(Context)),
    %% The owner's death is heard of there.
    Owner = owner(),
    ok = py_context:start_loop(Context, #{owner => Owner}),
    Other = gate(Context, <<"other">>),
    ok = py_suite:killed(Owner),
    told(<<"cancelled">>, <<"other">>),
    told(<<"ended">>, <<"other">>),
    ?assertMatch({error, {'CancelledError', _}}, py:async_await(Other)),
    ?assert(lists:member(py_context:stop_loop(Context), [ok, {error, no_loop}])).

loop_elsewhere_is_named_by_a_reference(Config) ->
    {ok, Loop} = py_context:loop_ref(ctx(Config)),
    ok = py_event_loop:exec(Loop, "here = 5"),
    ?assertEqual({ok, 5}, py_event_loop:eval(Loop, "here")),
    ?assertEqual({ok, 5}, py:eval(ctx(Config), "here")),
    ok = py_event_loop:run_async(Loop, #{ref => r, caller => self(), module => ct_tasks, func => later, args => [5]}),
    receive
        {async_result, r, Result} -> ?assertEqual({ok, 5}, Result)
    end.

nothing_is_left_between_the_nodes(Config) ->
    ok = py_suite:fresh(fun() -> py_context:exec(ctx(Config), "import gc; gc.collect()") end),
    %% An interpreter that is used again gives back what a killed context left there.
    ok = py_context:stop(py_peers:context(?config(peer, Config))),
    py_peers:nothing_is_left(Config).
