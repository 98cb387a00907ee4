%% Python's threads and coroutines call Erlang: who is answered, by which process, and what happens to those who
%% wait when somebody ends.
-module(threads_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}, {group, workers}].

groups() ->
    py_suite:groups([
        thread_is_answered,
        executor_is_answered,
        hundred_threads_get_their_own_answers,
        threads_that_call_often_get_their_own_answers,
        context_serves_others_while_its_threads_wait,
        thread_is_answered_although_who_started_it_is_gone,
        functions_run_in_supervised_processes,
        functions_that_wait_do_not_hold_up_others,
        function_of_a_thread_calls_python,
        function_of_a_thread_has_its_time_limit_while_the_context_is_busy,
        threads_of_a_nested_call_are_answered,
        threads_of_every_context_are_answered,
        exceptions_reach_the_thread,
        unknown_function_is_an_exception,
        wrong_arguments_are_exceptions,
        values_that_cannot_cross_are_exceptions,
        death_of_the_function_s_process_is_an_exception,
        function_that_is_unregistered_meanwhile_answers,
        stop_of_the_application_ends_threads,
        threads_that_call_for_ever_end_with_the_application,
        idle_executor_does_not_keep_its_context,
        calls_of_threads_take_nothing_for_good,
        coroutine_is_answered,
        thousand_coroutines_get_their_own_answers,
        coroutines_are_answered_as_their_functions_end,
        loop_goes_on_while_a_call_is_outstanding,
        functions_of_coroutines_run_in_supervised_processes,
        exceptions_reach_the_coroutine,
        exceptions_of_some_leave_others_alone,
        wrong_arguments_of_coroutines_are_exceptions,
        cancelled_coroutine_gets_no_answer,
        coroutines_are_cancelled_at_any_moment,
        coroutine_gives_up_at_its_time_limit,
        loop_is_closed_with_a_call_outstanding,
        await_without_a_loop_is_an_error,
        time_out_ends_the_loop,
        interrupt_ends_the_loop,
        cancel_ends_the_loop,
        death_of_the_caller_ends_the_loop,
        death_of_the_context_ends_the_loop,
        loops_one_after_another_are_answered,
        loops_of_several_threads_are_answered,
        coroutines_and_threads_of_one_loop_are_answered,
        function_of_a_coroutine_calls_python,
        coroutines_of_many_callers_are_answered,
        calls_of_coroutines_take_nothing_for_good
    ], [
        stop_of_the_context_ends_its_threads,
        death_of_the_context_ends_its_threads,
        threads_that_call_for_ever_end_with_their_context,
        thread_that_calls_after_its_context_has_ended_ends
    ]) ++ [{workers, [], [threads_outlive_their_context]}].

init_per_group(workers, Config) ->
    init_per_group(worker, Config);
init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

%% Threads that outlive their context keep its interpreter from being used again.
end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 24}).

%% Every case has a context of its own, and those that stop the application start it again.
init_per_testcase(_Case, Config) ->
    [{ctx, another_context(Config)}, {socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ok = py_context:stop(?config(ctx, Config)).

import(Context) ->
    ok = py_suite:python_path(Context),
    ok = py_suite:install(Context),
    py:exec(Context, <<
        "import builtins, ct_threads, ct_async\nbuiltins.ct_threads, builtins.ct_async = ct_threads, ct_async"
    >>).

another_context(Config) ->
    Context = py_suite:new_context(Config),
    ok = import(Context),
    Context.

threads(Config, Function, Arguments) ->
    py:call(context(Config), ct_threads, Function, Arguments).

async(Config, Function, Arguments) ->
    py:call(context(Config), ct_async, Function, Arguments).

context(Context) when is_pid(Context) -> Context;
context(Config) -> ?config(ctx, Config).

port(Config) -> py_suite:port(?config(socket, Config)).

%% Runs the fun while `ct_wait' waits for this process, and `ct_echo' gives its one argument back.
offering(Body) ->
    offering(#{}, Body).

offering(More, Body) ->
    Usual = #{ct_wait => py_offered:waiting(self()), ct_echo => fun([X]) -> X end},
    py_offered:with(maps:merge(Usual, More), Body).

%% The threads of the context that call Erlang have ended.
no_callers(Config) ->
    ?assertEqual(ok, py_leaks:eventually(fun() -> threads(Config, callers, []) =:= {ok, 0} end)).

%% So many signals that begin with the tag; gives what follows it, sorted.
signals(_Config, _Tag, 0) ->
    [];
signals(Config, Tag, Count) ->
    Socket = ?config(socket, Config),
    Size = byte_size(Tag),
    receive
        {udp, Socket, _Ip, _Port, <<Tag:Size/binary, " ", Rest/binary>>} ->
            lists:sort([Rest | signals(Config, Tag, Count - 1)])
    after 30_000 -> ct:fail({no_signal, Tag, Count})
    end.

%% How the calls of as many threads ended, in their order.
kinds(Config, Tag, Count) ->
    [Kind || {_, Kind} <- lists:sort([number_first(Text) || Text <- signals(Config, Tag, Count)])].

number_first(Text) ->
    [Number, Kind] = binary:split(Text, <<" ">>),
    {binary_to_integer(Number), Kind}.

%%% Threads

thread_is_answered(Config) ->
    offering(#{ct_double => fun([X]) -> 2 * X end}, fun() ->
        ?assertEqual({ok, {<<"ok">>, 42}}, threads(Config, call_in_thread, [<<"ct_double">>, 21])),
        ?assertEqual({ok, {<<"ok">>, 42}}, threads(Config, call_in_thread, [<<"ct_echo">>, 42])),
        ?assertEqual(
            {ok, {<<"ok">>, #{<<"a">> => [self(), {1.5, none}]}}},
            threads(Config, call_in_thread, [<<"ct_echo">>, #{a => [self(), {1.5, undefined}]}])
        )
    end),
    no_callers(Config).

executor_is_answered(Config) ->
    offering(#{ct_square => fun([X]) -> X * X end}, fun() ->
        Expected = [I * I || I <- lists:seq(1, 200)],
        ?assertEqual({ok, Expected}, threads(Config, in_executor, [8, 200, <<"ct_square">>])),
        ?assertEqual({ok, Expected}, threads(Config, in_executor, [1, 200, <<"ct_square">>]))
    end).

%% All hundred wait at the same time, and are answered in another order than they came in.
hundred_threads_get_their_own_answers(Config) ->
    offering(fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_threads, run, [100, <<"ct_wait">>]),
        Arrived = py_offered:arrived(any, 100),
        ?assertEqual([[I] || I <- lists:seq(1, 100)], lists:sort([Arguments || {_, Arguments} <- Arrived])),
        [py_offered:answer(Pid, I * I) || {_, Pid, I} <- lists:sort([{rand:uniform(), Pid, I} || {Pid, [I]} <- Arrived])],
        ?assertEqual({ok, [{<<"ok">>, I * I} || I <- lists:seq(1, 100)]}, py:await(Ref))
    end),
    no_callers(Config).

threads_that_call_often_get_their_own_answers(Config) ->
    offering(fun() -> ?assertEqual({ok, []}, threads(Config, run_often, [50, 100, <<"ct_echo">>])) end).

context_serves_others_while_its_threads_wait(Config) ->
    Context = ?config(ctx, Config),
    offering(fun() ->
        {ok, none} = threads(Config, start, [waiting, 100, <<"ct_wait">>]),
        Arrived = py_offered:arrived(any, 100),
        ?assertEqual(
            [{ok, I * 2.0} || I <- lists:seq(1, 20)],
            py_suite:concurrently(20, fun(I) -> py:call(Context, math, sqrt, [4 * I * I]) end)
        ),
        ?assertEqual({ok, {<<"ok">>, 5}}, threads(Config, call_in_thread, [<<"ct_echo">>, 5])),
        ?assertEqual({error, timeout}, py:call(Context, time, sleep, [1000], #{timeout => 20})),
        ?assertEqual({ok, 100}, threads(Config, callers, [])),
        [py_offered:answer(Pid, -I) || {Pid, [I]} <- Arrived],
        ?assertEqual({ok, [{<<"ok">>, -I} || I <- lists:seq(1, 100)]}, threads(Config, finish, [waiting]))
    end).

thread_is_answered_although_who_started_it_is_gone(Config) ->
    offering(fun() ->
        {ok, none} = py_suite:fresh(fun() -> threads(Config, start, [orphan, 1, <<"ct_wait">>]) end),
        Pid = py_offered:arrived([1]),
        py_offered:answer(Pid, <<"still there">>),
        ?assertEqual({ok, [{<<"ok">>, <<"still there">>}]}, threads(Config, finish, [orphan]))
    end).

functions_run_in_supervised_processes(Config) ->
    Test = self(),
    Tell = fun([I]) ->
        Test ! {process, I, self(), proplists:get_value(links, process_info(self(), [links])), get('$ancestors')},
        receive
            {go_on, Test} -> I
        end
    end,
    py_offered:with(#{ct_tell => Tell}, fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_threads, run, [2, <<"ct_tell">>]),
        [First, Second] = [
            receive
                {process, I, _, _, _} = Told -> Told
            end
         || I <- [1, 2]
        ],
        Pids = [check_supervised(Told) || Told <- [First, Second]],
        ?assertMatch([_, _], lists:usort(Pids)),
        Monitors = [erlang:monitor(process, Pid) || Pid <- Pids],
        [Pid ! {go_on, Test} || Pid <- Pids],
        ?assertEqual({ok, [{<<"ok">>, 1}, {<<"ok">>, 2}]}, py:await(Ref)),
        %% They end when they have answered, and nothing of it is seen.
        [
            receive
                {'DOWN', Monitor, process, _, Reason} -> ?assertEqual(normal, Reason)
            end
         || Monitor <- Monitors
        ]
    end).

%% A child of the application that no other process is tied to.
check_supervised({process, _, Pid, Links, Ancestors}) ->
    ?assertNotEqual(self(), Pid),
    ?assert(lists:member(erlang_python_sup, Ancestors) orelse lists:member(whereis(erlang_python_sup), Ancestors)),
    ?assertNot(lists:member(self(), Links)),
    ?assert(lists:member(Pid, descendants(erlang_python_sup))),
    Pid.

descendants(Supervisor) ->
    lists:append([
        case Type of
            supervisor when is_pid(Pid) -> [Pid | descendants(Pid)];
            _ -> [Pid]
        end
     || {_, Pid, Type, _} <- supervisor:which_children(Supervisor)
    ]).

functions_that_wait_do_not_hold_up_others(Config) ->
    offering(fun() ->
        {ok, none} = threads(Config, start, [waiting, 50, <<"ct_wait">>]),
        Arrived = py_offered:arrived(any, 50),
        ?assertEqual({ok, []}, threads(Config, run_often, [10, 20, <<"ct_echo">>])),
        ?assertEqual({ok, [{<<"ok">>, 1}]}, threads(Config, run, [1, <<"ct_echo">>])),
        [py_offered:answer(Pid, I) || {Pid, [I]} <- Arrived],
        ?assertEqual({ok, [{<<"ok">>, I} || I <- lists:seq(1, 50)]}, threads(Config, finish, [waiting]))
    end).

%%% Python again, from a thread's function

function_of_a_thread_calls_python(Config) ->
    Context = ?config(ctx, Config),
    Other = another_context(Config),
    Functions = #{
        ct_here => fun([I]) -> py:call(Context, operator, add, [I, 1000]) end,
        ct_there => fun([I]) -> py:call(Other, operator, add, [I, 2000]) end,
        ct_anywhere => fun([I]) -> py:eval(<<"i + 3000">>, #{i => I}) end,
        %% And back to Erlang once more.
        ct_twice => fun([I]) -> py:call(Context, erlang, call, [<<"ct_here">>, I]) end
    },
    py_offered:with(Functions, fun() ->
        [
            begin
                {ok, none} = threads(Config, start, [nested, 20, Name]),
                Outcomes = [{<<"ok">>, Answer(I)} || I <- lists:seq(1, 20)],
                ?assertEqual({Name, {ok, Outcomes}}, {Name, eventually_finished(Config)})
            end
         || {Name, Answer} <- [
                {<<"ct_here">>, fun(I) -> {<<"ok">>, I + 1000} end},
                {<<"ct_there">>, fun(I) -> {<<"ok">>, I + 2000} end},
                {<<"ct_anywhere">>, fun(I) -> {<<"ok">>, I + 3000} end},
                {<<"ct_twice">>, fun(I) -> {<<"ok">>, {<<"ok">>, I + 1000}} end}
            ]
        ]
    end),
    ok = py_context:stop(Other).

%% The context must not wait for threads whose functions need it.
eventually_finished(Config) ->
    no_callers(Config),
    threads(Config, finish, [nested]).

%% The context's own thread waits for the thread here: what its function asks for cannot run meanwhile.
function_of_a_thread_has_its_time_limit_while_the_context_is_busy(Config) ->
    Context = ?config(ctx, Config),
    Nested = fun([I]) -> py:call(Context, operator, add, [I, 1], #{timeout => 50}) end,
    py_offered:with(#{ct_nested => Nested}, fun() ->
        ?assertEqual({ok, {<<"ok">>, {<<"error">>, <<"timeout">>}}}, threads(Config, call_in_thread, [<<"ct_nested">>, 1])),
        ?assertEqual({ok, 3}, py:call(Context, operator, add, [1, 2]))
    end).

threads_of_a_nested_call_are_answered(Config) ->
    Context = ?config(ctx, Config),
    Functions = #{
        ct_echo => fun([X]) -> X end,
        ct_nested => fun([I]) -> py:call(Context, ct_threads, run, [I, <<"ct_echo">>]) end
    },
    py_offered:with(Functions, fun() ->
        ?assertEqual(
            {ok, {<<"ok">>, [{<<"ok">>, 1}, {<<"ok">>, 2}, {<<"ok">>, 3}]}},
            py:call(Context, erlang, call, [<<"ct_nested">>, 3])
        )
    end).

threads_of_every_context_are_answered(Config) ->
    Contexts = [another_context(Config) || _ <- lists:seq(1, 4)],
    Functions = #{ct_add => fun([I, Place]) -> {Place, I} end},
    py_offered:with(Functions, fun() ->
        Answers = py_suite:concurrently(4, fun(Place) ->
            py:call(lists:nth(Place, Contexts), ct_threads, run, [25, <<"ct_add">>, Place])
        end),
        ?assertEqual(
            [{ok, [{<<"ok">>, {Place, I}} || I <- lists:seq(1, 25)]} || Place <- lists:seq(1, 4)],
            Answers
        )
    end),
    [ok = py_context:stop(Context) || Context <- Contexts],
    ok.

%%% Errors

exceptions_reach_the_thread(Config) ->
    offering(fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_threads, run, [4, <<"ct_wait">>]),
        [First, Second, Third, Fourth] = [py_offered:arrived([I]) || I <- [1, 2, 3, 4]],
        py_offered:fail(Third, throw, {ball, 3}),
        py_offered:fail(First, error, {badmatch, 1}),
        py_offered:answer(Fourth, fine),
        py_offered:fail(Second, exit, #{because => <<"two">>}),
        ?assertEqual(
            {ok, [
                {<<"error">>, {<<"badmatch">>, 1}},
                {<<"exit">>, #{<<"because">> => <<"two">>}},
                {<<"throw">>, {<<"ball">>, 3}},
                {<<"ok">>, <<"fine">>}
            ]},
            py:await(Ref)
        )
    end).

unknown_function_is_an_exception(Config) ->
    ?assertEqual(
        {ok, {<<"error">>, {<<"not_registered">>, <<"ct_no_such_function">>}}},
        threads(Config, call_in_thread, [<<"ct_no_such_function">>])
    ).

wrong_arguments_are_exceptions(Config) ->
    offering(fun() ->
        ?assertMatch({ok, {<<"TypeError">>, _}}, threads(Config, call_in_thread, [1])),
        {ok, {<<"TypeError">>, Text}} = py:call(
            ?config(ctx, Config), ct_threads, call_named_in_thread, [<<"ct_echo">>], #{kwargs => #{x => 1}}
        ),
        py_suite:contains(Text, "keyword")
    end).

values_that_cannot_cross_are_exceptions(Config) ->
    py_offered:with(#{ct_echo => fun([X]) -> X end, ct_improper => fun([]) -> [1 | 2] end}, fun() ->
        ?assertEqual(
            {ok, <<"UnicodeEncodeError">>},
            py:eval(?config(ctx, Config), <<"ct_threads.call_in_thread('ct_echo', '\\ud800')[0]">>)
        ),
        ?assertMatch({ok, {<<"TypeError">>, _}}, threads(Config, call_in_thread, [<<"ct_improper">>])),
        ?assertEqual({ok, {<<"ok">>, 1}}, threads(Config, call_in_thread, [<<"ct_echo">>, 1]))
    end).

death_of_the_function_s_process_is_an_exception(Config) ->
    offering(fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_threads, run, [3, <<"ct_wait">>]),
        [First, Second, Third] = [py_offered:arrived([I]) || I <- [1, 2, 3]],
        exit(First, kill),
        exit(Second, gone_wrong),
        py_offered:answer(Third, 3),
        {ok, [{<<"exit">>, Killed}, {<<"exit">>, Wrong}, Answered]} = py:await(Ref),
        ?assert(lists:member(Killed, [<<"killed">>, <<"noproc">>])),
        ?assert(lists:member(Wrong, [<<"gone_wrong">>, <<"noproc">>])),
        ?assertEqual({<<"ok">>, 3}, Answered),
        %% Others are run as before.
        ?assertEqual({ok, [{<<"ok">>, 1}]}, threads(Config, run, [1, <<"ct_echo">>]))
    end).

function_that_is_unregistered_meanwhile_answers(Config) ->
    Wait = py_offered:waiting(self()),
    ok = py:register_function(ct_for_now, Wait),
    {ok, none} = threads(Config, start, [waiting, 1, <<"ct_for_now">>]),
    Pid = py_offered:arrived([1]),
    ok = py:unregister_function(ct_for_now),
    ?assertMatch({ok, {<<"error">>, {<<"not_registered">>, _}}}, threads(Config, call_in_thread, [<<"ct_for_now">>])),
    py_offered:answer(Pid, <<"known before">>),
    ?assertEqual({ok, [{<<"ok">>, <<"known before">>}]}, threads(Config, finish, [waiting])).

%%% The end of a context

stop_of_the_context_ends_its_threads(Config) ->
    end_with_waiting_threads(Config, fun py_context:stop/1).

death_of_the_context_ends_its_threads(Config) ->
    end_with_waiting_threads(Config, fun(Context) -> py_suite:silently(fun() -> py_suite:killed(Context) end) end).

end_with_waiting_threads(Config, End) ->
    Context = another_context(Config),
    offering(fun() ->
        {ok, none} = py:call(Context, ct_threads, start_telling, [port(Config), <<"ended">>, 20, <<"ct_wait">>]),
        Arrived = py_offered:arrived(any, 20),
        Monitors = [erlang:monitor(process, Pid) || {Pid, _} <- Arrived],
        ok = End(Context),
        ?assertEqual([], [Kind || Kind <- kinds(Config, <<"ended">>, 20), Kind =:= <<"ok">>]),
        %% The functions run to their ends, for nobody.
        [py_offered:answer(Pid, 1) || {Pid, _} <- Arrived],
        [
            receive
                {'DOWN', Monitor, process, _, _} -> ok
            end
         || Monitor <- Monitors
        ]
    end),
    ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16])).

stop_of_the_application_ends_threads(Config) ->
    offering(fun() ->
        {ok, none} = threads(Config, start_telling, [port(Config), <<"ended">>, 20, <<"ct_wait">>]),
        Arrived = py_offered:arrived(any, 20),
        Monitors = [erlang:monitor(process, Pid) || {Pid, _} <- Arrived],
        ok = py_suite:stop(),
        ?assertEqual([], [Kind || Kind <- kinds(Config, <<"ended">>, 20), Kind =:= <<"ok">>]),
        %% What its supervisor has started ends with it.
        [
            receive
                {'DOWN', Monitor, process, _, _} -> ok
            end
         || Monitor <- Monitors
        ]
    end),
    back_again(Config).

back_again(Config) ->
    ok = py_suite:restart(Config, #{}),
    Context = another_context(Config),
    ?assertMatch({ok, {<<"error">>, {<<"not_registered">>, _}}}, threads(Context, call_in_thread, [<<"ct_echo">>, 1])),
    offering(fun() -> ?assertEqual({ok, {<<"ok">>, 1}}, threads(Context, call_in_thread, [<<"ct_echo">>, 1])) end),
    ok = py_context:stop(Context).

threads_that_call_for_ever_end_with_their_context(Config) ->
    Context = another_context(Config),
    offering(fun() ->
        {ok, none} = py:call(Context, ct_threads, start_endless, [port(Config), <<"endless">>, 10, <<"ct_echo">>]),
        ?assertEqual(lists:duplicate(10, <<"calls">>), kinds(Config, <<"endless">>, 10)),
        ok = py_context:stop(Context),
        ?assertEqual([], [Kind || Kind <- kinds(Config, <<"endless">>, 10), Kind =:= <<"ok">>])
    end).

threads_that_call_for_ever_end_with_the_application(Config) ->
    offering(fun() ->
        {ok, none} = threads(Config, start_endless, [port(Config), <<"endless">>, 10, <<"ct_echo">>]),
        ?assertEqual(lists:duplicate(10, <<"calls">>), kinds(Config, <<"endless">>, 10)),
        ok = py_suite:stop(),
        ?assertEqual([], [Kind || Kind <- kinds(Config, <<"endless">>, 10), Kind =:= <<"ok">>])
    end),
    back_again(Config).

%% The end of a context waits for its threads only so long; its interpreter is not used again then.
thread_that_calls_after_its_context_has_ended_ends(Config) ->
    Socket = ?config(socket, Config),
    Before = length(py_leaks:threads()),
    Context = another_context(Config),
    offering(fun() ->
        {ok, none} = py:call(Context, ct_threads, start_late, [port(Config), <<"late">>, <<"ct_echo">>]),
        Gate = py_suite:await_signal(Socket, <<"late">>),
        ok = py_context:stop(Context),
        py_suite:release(Socket, Gate),
        ?assertEqual(ok, py_leaks:eventually(fun() -> length(py_leaks:threads()) =< Before end))
    end),
    %% It may have said how its call ended, or have been ended before.
    ?assertEqual([], [Message || {udp, _, _, _, <<"late 1 ok">>} = Message <- py_suite:flush()]).

idle_executor_does_not_keep_its_context(Config) ->
    Context = another_context(Config),
    offering(fun() ->
        ?assertEqual({ok, lists:seq(1, 20)}, py:call(Context, ct_threads, executor_that_stays, [4, 20, <<"ct_echo">>]))
    end),
    ?assertEqual(ok, py_context:stop(Context)).

calls_of_threads_take_nothing_for_good(Config) ->
    Context = another_context(Config),
    offering(fun() ->
        Round = fun() -> {ok, []} = py:call(Context, ct_threads, run_often, [100, 5, <<"ct_echo">>]) end,
        Round(),
        Before = py_leaks:snapshot(),
        Resident = py_leaks:resident(),
        [Round() || _ <- lists:seq(1, 20)],
        ok = py_leaks:check(Before),
        ?assert(py_leaks:resident() - Resident < 50_000)
    end),
    ok = py_context:stop(Context).

%%% Coroutines

coroutine_is_answered(Config) ->
    offering(#{ct_pi => fun([]) -> 3.14 end}, fun() ->
        ?assertEqual({ok, [1, <<"two">>]}, async(Config, one, [<<"ct_echo">>, [1, two]])),
        ?assertEqual({ok, 3.14}, async(Config, one, [<<"ct_pi">>]))
    end).

thousand_coroutines_get_their_own_answers(Config) ->
    offering(fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_async, many, [1000, <<"ct_wait">>]),
        Arrived = py_offered:arrived(any, 1000),
        ?assertEqual([[I] || I <- lists:seq(1, 1000)], lists:sort([Arguments || {_, Arguments} <- Arrived])),
        [py_offered:answer(Pid, I * I) || {_, Pid, I} <- lists:sort([{rand:uniform(), Pid, I} || {Pid, [I]} <- Arrived])],
        ?assertEqual({ok, [I * I || I <- lists:seq(1, 1000)]}, py:await(Ref))
    end).

%% The one that was made first is answered when the other's answer has been used.
coroutines_are_answered_as_their_functions_end(Config) ->
    Socket = ?config(socket, Config),
    offering(fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_async, beside, [port(Config), <<"ct_wait">>, <<"ct_echo">>]),
        Pid = py_offered:arrived([<<"ct_wait">>]),
        _ = py_suite:await_signal(Socket, <<"ct_echo">>),
        py_offered:answer(Pid, 1),
        _ = py_suite:await_signal(Socket, <<"ct_wait">>),
        ?assertEqual({ok, [<<"ct_echo">>, 1]}, py:await(Ref))
    end).

loop_goes_on_while_a_call_is_outstanding(Config) ->
    Socket = ?config(socket, Config),
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import asyncio, ct_signals, erlang\n"
        "def work(port):\n"
        "    async def tick():\n"
        "        for i in range(5):\n"
        "            ct_signals.signal(port, f'tick {i}')\n"
        "            await asyncio.sleep(0)\n"
        "    async def main():\n"
        "        waiting = asyncio.create_task(erlang.async_call('ct_wait', 'work'))\n"
        "        await asyncio.sleep(0)\n"
        "        await tick()\n"
        "        return await waiting\n"
        "    return asyncio.run(main())\n"
    >>),
    offering(fun() ->
        Ref = py:spawn_call(Context, '__main__', work, [port(Config)]),
        Pid = py_offered:arrived([<<"work">>]),
        [py_suite:await_signal(Socket, <<"tick ", ($0 + I)>>) || I <- lists:seq(0, 4)],
        py_offered:answer(Pid, <<"done">>),
        ?assertEqual({ok, <<"done">>}, py:await(Ref)),
        %% A loop with something to do at all times gets the answer, too.
        Busy = py:spawn_call(Context, ct_async, ticks, [<<"ct_wait">>]),
        Waiting = py_offered:arrived([]),
        py_offered:answer(Waiting, <<"done">>),
        ?assertMatch({ok, {_, <<"done">>}}, py:await(Busy))
    end).

functions_of_coroutines_run_in_supervised_processes(Config) ->
    Test = self(),
    Tell = fun([I]) ->
        {links, Links} = process_info(self(), links),
        Test ! {process, I, self(), Links, get('$ancestors')},
        receive
            {go_on, Test} -> I
        end
    end,
    py_offered:with(#{ct_tell => Tell}, fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_async, many, [2, <<"ct_tell">>]),
        Pids = [
            receive
                {process, I, _, _, _} = Told -> check_supervised(Told)
            end
         || I <- [1, 2]
        ],
        ?assertMatch([_, _], lists:usort(Pids)),
        [Pid ! {go_on, Test} || Pid <- Pids],
        ?assertEqual({ok, [1, 2]}, py:await(Ref))
    end).

exceptions_reach_the_coroutine(Config) ->
    offering(fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_async, many_outcomes, [5, <<"ct_wait">>]),
        [First, Second, Third, Fourth, Fifth] = [py_offered:arrived([I]) || I <- [1, 2, 3, 4, 5]],
        py_offered:fail(Third, throw, 3),
        exit(Fifth, kill),
        py_offered:fail(First, error, {badmatch, 1}),
        py_offered:answer(Fourth, 4),
        py_offered:fail(Second, exit, bye),
        {ok, Outcomes} = py:await(Ref),
        ?assertMatch(
            [{<<"error">>, {<<"badmatch">>, 1}}, {<<"exit">>, <<"bye">>}, {<<"throw">>, 3}, {<<"ok">>, 4}, {<<"exit">>, _}],
            Outcomes
        )
    end),
    ?assertEqual(
        {ok, {<<"error">>, {<<"not_registered">>, <<"ct_no_such_function">>}}},
        async(Config, outcome, [<<"ct_no_such_function">>])
    ).

exceptions_of_some_leave_others_alone(Config) ->
    offering(#{ct_fail => fun([I]) -> error({failed, I}) end}, fun() ->
        ?assertEqual(
            {ok, [{<<"error">>, {<<"failed">>, 1}}, {<<"ok">>, 2}, {<<"error">>, {<<"failed">>, 3}}]},
            async(Config, caught, [<<"ct_echo">>, <<"ct_fail">>])
        )
    end).

wrong_arguments_of_coroutines_are_exceptions(Config) ->
    Context = ?config(ctx, Config),
    offering(#{ct_improper => fun([]) -> [1 | 2] end}, fun() ->
        ?assertMatch({ok, {<<"TypeError">>, _}}, async(Config, outcome, [1])),
        {ok, {<<"TypeError">>, Text}} = py:call(Context, ct_async, named_outcome, [<<"ct_echo">>], #{kwargs => #{x => 1}}),
        py_suite:contains(Text, "keyword"),
        ?assertEqual({ok, <<"UnicodeEncodeError">>}, py:eval(Context, <<"ct_async.outcome('ct_echo', '\\ud800')[0]">>)),
        ?assertMatch({ok, {<<"TypeError">>, _}}, async(Config, outcome, [<<"ct_improper">>])),
        ?assertEqual({ok, {<<"ok">>, 1}}, async(Config, outcome, [<<"ct_echo">>, 1]))
    end).

cancelled_coroutine_gets_no_answer(Config) ->
    offering(#{ct_begun => py_offered:waiting(self())}, fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_async, cancelled, [<<"ct_wait">>, <<"ct_begun">>, <<"ct_echo">>]),
        Pid = py_offered:arrived([<<"cancelled">>]),
        Monitor = erlang:monitor(process, Pid),
        py_offered:answer(py_offered:arrived([<<"begun">>]), ok),
        ?assertEqual({ok, {<<"cancelled">>, 1}}, py:await(Ref)),
        %% The function goes on, for nobody.
        ?assert(is_process_alive(Pid)),
        py_offered:answer(Pid, <<"too late">>),
        receive
            {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason)
        end,
        ?assertEqual({ok, 5}, async(Config, one, [<<"ct_echo">>, 5]))
    end).

coroutines_are_cancelled_at_any_moment(Config) ->
    offering(fun() ->
        [
            begin
                {ok, Outcomes} = async(Config, cancelled_at_once, [40, <<"ct_echo">>]),
                Wrong = [
                    {I, Outcome}
                 || {I, Outcome} <- lists:zip(lists:seq(0, 39), Outcomes), not lists:member(Outcome, may_end(I))
                ],
                ?assertEqual([], Wrong)
            end
         || _ <- lists:seq(1, 20)
        ]
    end).

%% The even ones before they began, others when they may have been answered.
may_end(I) when I rem 2 =:= 0 -> [<<"CancelledError">>];
may_end(I) when I rem 4 =:= 1 -> [<<"CancelledError">>, I];
may_end(I) -> [I].

coroutine_gives_up_at_its_time_limit(Config) ->
    offering(fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_async, too_late, [<<"ct_wait">>, 0.05, <<"ct_echo">>]),
        Pid = py_offered:arrived([<<"late">>]),
        ?assertEqual({ok, {<<"late">>, 1}}, py:await(Ref)),
        py_offered:answer(Pid, <<"too late">>)
    end),
    ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16])).

loop_is_closed_with_a_call_outstanding(Config) ->
    Before = looped(Config),
    offering(#{ct_begun => py_offered:waiting(self())}, fun() ->
        Abandoned = [
            begin
                Ref = py:spawn_call(?config(ctx, Config), ct_async, abandoned, [<<"ct_wait">>, <<"ct_begun">>]),
                Pid = py_offered:arrived([<<"abandoned">>]),
                py_offered:answer(py_offered:arrived([<<"begun">>]), ok),
                ?assertEqual({ok, false}, py:await(Ref)),
                Pid
            end
         || _ <- lists:seq(1, 10)
        ],
        ?assertEqual({ok, 5}, async(Config, one, [<<"ct_echo">>, 5])),
        %% Half of them are answered while the loops are known, half when they are forgotten.
        {Sooner, Later} = lists:split(5, Abandoned),
        [py_offered:answer(Pid, 1) || Pid <- Sooner],
        ?assertEqual({ok, 6}, async(Config, one, [<<"ct_echo">>, 6])),
        {ok, none} = async(Config, forget_abandoned, []),
        {ok, _} = py:call(?config(ctx, Config), gc, collect, []),
        [py_offered:answer(Pid, 1) || Pid <- Later],
        ?assertEqual({ok, 7}, async(Config, one, [<<"ct_echo">>, 7]))
    end),
    ok = py_leaks:check(Before).

%% What the node holds when the context has had a loop: it keeps one descriptor for those that follow.
looped(Config) ->
    offering(fun() -> ?assertEqual({ok, 1}, async(Config, one, [<<"ct_echo">>, 1])) end),
    py_leaks:snapshot().

await_without_a_loop_is_an_error(Config) ->
    offering(fun() ->
        ?assertMatch({ok, {<<"RuntimeError">>, _}}, async(Config, without_loop, [<<"ct_echo">>]))
    end).

time_out_ends_the_loop(Config) ->
    ended_loop(Config, fun(Context, Pids) ->
        ?assertEqual({error, timeout}, py:call(Context, ct_async, many, [10, <<"ct_wait">>], #{timeout => 1_000})),
        Pids()
    end).

interrupt_ends_the_loop(Config) ->
    ended_loop(Config, fun(Context, Pids) ->
        Ref = py:spawn_call(Context, ct_async, many, [10, <<"ct_wait">>]),
        Waiting = Pids(),
        ok = py:interrupt(Context),
        ?assertEqual({error, interrupted}, py:await(Ref)),
        Waiting
    end).

cancel_ends_the_loop(Config) ->
    ended_loop(Config, fun(Context, Pids) ->
        Ref = py:spawn_call(Context, ct_async, many, [10, <<"ct_wait">>]),
        Waiting = Pids(),
        ok = py:cancel(Ref),
        Waiting
    end).

death_of_the_caller_ends_the_loop(Config) ->
    ended_loop(Config, fun(Context, Pids) ->
        {Pid, _} = Caller = py_suite:spawn_caller(fun() -> py:call(Context, ct_async, many, [10, <<"ct_wait">>]) end),
        Waiting = Pids(),
        exit(Pid, kill),
        {died, killed} = py_suite:await_down(Caller, 30_000),
        Waiting
    end).

%% The context is well soon after its loop was ended, and the answers that come later harm nobody.
ended_loop(Config, End) ->
    Context = ?config(ctx, Config),
    Before = looped(Config),
    offering(fun() ->
        Waiting = End(Context, fun() -> [Pid || {Pid, _} <- py_offered:arrived(any, 10)] end),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        ?assertEqual({ok, 5}, async(Config, one, [<<"ct_echo">>, 5])),
        [py_offered:answer(Pid, 1) || Pid <- Waiting],
        ?assertEqual({ok, lists:seq(1, 10)}, async(Config, many, [10, <<"ct_echo">>]))
    end),
    %% On a slow machine the loop is interrupted again while it closes, and goes with the garbage.
    {ok, _} = py:call(Context, gc, collect, []),
    ok = py_leaks:check(Before).

death_of_the_context_ends_the_loop(Config) ->
    Context = another_context(Config),
    offering(fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(Context, ct_async, many, [100, <<"ct_wait">>]) end),
        Arrived = py_offered:arrived(any, 100),
        ok = py_suite:silently(fun() -> py_suite:killed(Context) end),
        ?assertEqual({result, {error, {context_died, killed}}}, py_suite:await_down(Caller, 30_000)),
        [py_offered:answer(Pid, 1) || {Pid, _} <- Arrived]
    end).

loops_one_after_another_are_answered(Config) ->
    offering(fun() ->
        ?assertEqual(
            {ok, lists:duplicate(20, lists:seq(1, 20))}, async(Config, one_after_another, [20, 20, <<"ct_echo">>])
        )
    end).

loops_of_several_threads_are_answered(Config) ->
    offering(fun() ->
        ?assertEqual(
            {ok, lists:duplicate(8, {<<"ok">>, lists:seq(1, 50)})}, async(Config, in_threads, [8, 50, <<"ct_echo">>])
        )
    end),
    no_callers(Config).

coroutines_and_threads_of_one_loop_are_answered(Config) ->
    offering(fun() ->
        Twice = lists:seq(0, 49) ++ lists:seq(0, 49),
        ?assertEqual({ok, Twice}, async(Config, from_executor, [<<"ct_echo">>, 50]))
    end).

%% The context itself serves while the loop waits.
function_of_a_coroutine_calls_python(Config) ->
    Context = ?config(ctx, Config),
    Other = another_context(Config),
    Functions = #{
        ct_there => fun([I]) -> py:call(Other, operator, add, [I, 1]) end,
        ct_here => fun([I]) -> py:call(Context, operator, add, [I, 1]) end
    },
    py_offered:with(Functions, fun() ->
        ?assertEqual({ok, {<<"ok">>, 6}}, async(Config, one, [<<"ct_there">>, 5])),
        ?assertEqual({ok, [{<<"ok">>, I + 1} || I <- lists:seq(1, 50)]}, async(Config, many, [50, <<"ct_there">>])),
        ?assertEqual({ok, {<<"ok">>, 6}}, async(Config, one, [<<"ct_here">>, 5])),
        ?assertEqual({ok, [{<<"ok">>, I + 1} || I <- lists:seq(1, 50)]}, async(Config, many, [50, <<"ct_here">>]))
    end),
    ok = py_context:stop(Other).

coroutines_of_many_callers_are_answered(Config) ->
    offering(fun() ->
        Answers = py_suite:concurrently(10, fun(I) ->
            [async(Config, many, [I, <<"ct_echo">>]) || _ <- lists:seq(1, 10)]
        end),
        ?assertEqual([lists:duplicate(10, {ok, lists:seq(1, I)}) || I <- lists:seq(1, 10)], Answers)
    end).

calls_of_coroutines_take_nothing_for_good(Config) ->
    offering(fun() ->
        Round = fun() -> {ok, _} = async(Config, many, [500, <<"ct_echo">>]) end,
        Round(),
        Before = py_leaks:snapshot(),
        Resident = py_leaks:resident(),
        [Round() || _ <- lists:seq(1, 20)],
        ok = py_leaks:check(Before),
        ?assert(py_leaks:resident() - Resident < 50_000)
    end).

%%% Contexts that share the main interpreter

%% The threads are the interpreter's.
threads_outlive_their_context(Config) ->
    Socket = ?config(socket, Config),
    [
        begin
            Context = another_context(Config),
            offering(fun() ->
                {ok, none} = py:call(Context, ct_threads, start_telling, [port(Config), <<"ended">>, 5, <<"ct_wait">>]),
                {ok, none} = py:call(Context, ct_threads, start_late, [port(Config), <<"late">>, <<"ct_echo">>]),
                Gate = py_suite:await_signal(Socket, <<"late">>),
                Arrived = py_offered:arrived(any, 5),
                ok = End(Context),
                py_suite:release(Socket, Gate),
                ?assertEqual([<<"ok">>], kinds(Config, <<"late">>, 1)),
                [py_offered:answer(Pid, 1) || {Pid, _} <- Arrived],
                ?assertEqual(lists:duplicate(5, <<"ok">>), kinds(Config, <<"ended">>, 5))
            end)
        end
     || End <- [fun py_context:stop/1, fun(Context) -> py_suite:silently(fun() -> py_suite:killed(Context) end) end]
    ],
    no_callers(Config).
