%% Circles of contexts that would wait for each other are refused, and nothing else is.
-module(reentrancy_circles_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, await/1, eventually/1, signal/2]).
-import(py_chains, [port/1, waiting/1, result/1]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        circle_of_two_contexts_is_a_deadlock,
        circle_of_three_contexts_is_a_deadlock,
        deadlock_in_the_middle_of_a_chain_is_seen,
        circle_through_processes_of_their_own_is_a_deadlock,
        circle_below_code_that_runs_on_top_is_a_deadlock,
        circle_below_code_that_waits_on_top_is_a_deadlock,
        circle_below_a_loop_on_top_is_a_deadlock,
        call_that_timed_out_closes_no_circle,
        refused_request_never_runs,
        call_after_a_deadlock_goes_through,
        call_of_a_context_that_converts_is_a_deadlock,
        chains_that_go_back_and_forth_are_no_deadlock,
        waiting_for_a_busy_context_is_no_deadlock,
        chains_in_the_same_order_are_no_deadlock,
        crossing_chains_always_end,
        circle_through_another_process_ends_at_its_time_limit
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    py_chains:init_case(Config).

end_per_testcase(_Case, Config) ->
    py_chains:end_case(Config).

%%% Circles

%% Processes that are each in a function called from their own context, ready to call wherever they are told:
%% `{call, Context, Function, Args}' gives a result at once, `{done, V}' ends the function.
chains(Config, Contexts) ->
    Port = port(Config),
    [
        begin
            Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
                py:call(Context, ct_frames, frame, [Port, <<"frame">>, obey])
            end),
            await({obeys, Pid}),
            Caller
        end
     || Context <- Contexts
    ].

obey() ->
    Test = self(),
    fun([]) ->
        Test ! {obeys, self()},
        obeying(Test)
    end.

obeying(Test) ->
    receive
        {spawn_call, Context, Module, Function, Args} ->
            Test ! {spawned, {self(), py:spawn_call(Context, Module, Function, Args)}},
            obeying(Test);
        {await, Ref} ->
            Test ! {called, {self(), py:await(Ref)}},
            obeying(Test);
        {cancel, Ref} ->
            Test ! {called, {self(), py:cancel(Ref)}},
            obeying(Test);
        {call, Context, Function, Args} ->
            Test ! {called, {self(), py:call(Context, operator, Function, Args)}},
            obeying(Test);
        {call, Context, Function, Args, Options} ->
            Test ! {called, {self(), py:call(Context, operator, Function, Args, Options)}},
            obeying(Test);
        {done, Value} ->
            Value
    end.

called(Pid) ->
    receive
        {called, {Pid, Result}} -> Result
    after 30_000 -> ct:fail({no_result, Pid, process_info(Pid, current_stacktrace), process_info(self(), messages)})
    end.

deadlock(Circle, Result) ->
    ?assertMatch({error, {deadlock, [_ | _]}}, Result),
    {error, {deadlock, Contexts}} = Result,
    ?assertEqual([], Contexts -- Circle).

circle_of_two_contexts_is_a_deadlock(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    offering([{obey, obey()}], fun() ->
        Chains = [{One, _}, {Two, _}] = chains(Config, [First, Second]),
        One ! {call, Second, pos, [1]},
        eventually(fun() -> waiting(Second) =:= 1 end),
        Two ! {call, First, pos, [2]},
        deadlock([First, Second], called(Two)),
        %% The other one waits on, and gets its answer.
        Two ! {done, 2},
        ?assertEqual({ok, 1}, called(One)),
        One ! {done, 1},
        ?assertEqual([{ok, 1}, {ok, 2}], [result(Chain) || Chain <- Chains])
    end),
    [signal(Config, <<"frame">>) || _ <- [1, 2]],
    ok.

circle_of_three_contexts_is_a_deadlock(Config) ->
    Contexts = [First, Second, Third] = ?config(contexts, Config),
    offering([{obey, obey()}], fun() ->
        Chains = [{One, _}, {Two, _}, {Three, _}] = chains(Config, Contexts),
        One ! {call, Second, pos, [1]},
        eventually(fun() -> waiting(Second) =:= 1 end),
        Two ! {call, Third, pos, [2]},
        eventually(fun() -> waiting(Third) =:= 1 end),
        Three ! {call, First, pos, [3]},
        deadlock(Contexts, called(Three)),
        Three ! {call, Second, pos, [3]},
        deadlock(Contexts, called(Three)),
        Three ! {done, 3},
        ?assertEqual({ok, 2}, called(Two)),
        Two ! {done, 2},
        ?assertEqual({ok, 1}, called(One)),
        One ! {done, 1},
        ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], [result(Chain) || Chain <- Chains])
    end),
    [signal(Config, <<"frame">>) || _ <- Contexts],
    ok.

%% One chain holds two contexts; another one that holds the third waits for the first of them.
deadlock_in_the_middle_of_a_chain_is_seen(Config) ->
    Contexts = [First, Second, Third] = ?config(contexts, Config),
    Port = port(Config),
    Into = fun([]) ->
        {ok, Value} = py:call(Second, ct_frames, frame, [Port, <<"second">>, obey]),
        Value
    end,
    offering([{obey, obey()}, {into, Into}], fun() ->
        Long = {One, _} = py_suite:spawn_caller(fun() -> py:call(First, erlang, call, [into]) end),
        await({obeys, One}),
        [Other = {Two, _}] = chains(Config, [Third]),
        Two ! {call, First, pos, [1]},
        eventually(fun() -> waiting(First) =:= 1 end),
        One ! {call, Third, pos, [2]},
        deadlock(Contexts, called(One)),
        %% Its own contexts are open to it.
        One ! {call, First, pos, [3]},
        ?assertEqual({ok, 3}, called(One)),
        One ! {call, Second, pos, [4]},
        ?assertEqual({ok, 4}, called(One)),
        One ! {done, 5},
        ?assertEqual({ok, 5}, result(Long)),
        ?assertEqual({ok, 1}, called(Two)),
        Two ! {done, 6},
        ?assertEqual({ok, 6}, result(Other))
    end),
    signal(Config, <<"second">>),
    signal(Config, <<"frame">>).

circle_through_processes_of_their_own_is_a_deadlock(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    offering([{obey, obey()}], fun() ->
        [{One, RefOne}, {Two, RefTwo}] = [
            begin
                Ref = py:spawn_call(Context, erlang, call, [obey]),
                {receive {obeys, Pid} -> Pid end, Ref}
            end
         || Context <- [First, Second]
        ],
        One ! {call, Second, pos, [1]},
        eventually(fun() -> waiting(Second) =:= 1 end),
        Two ! {call, First, pos, [2]},
        deadlock([First, Second], called(Two)),
        Two ! {done, 2},
        ?assertEqual({ok, 1}, called(One)),
        One ! {done, 1},
        ?assertEqual([{ok, 1}, {ok, 2}], [py:await(Ref) || Ref <- [RefOne, RefTwo]])
    end).

%% What runs on top of a wait ends, and the wait is still there.
circle_below_code_that_runs_on_top_is_a_deadlock(Config) ->
    Socket = ?config(socket, Config),
    closes_below(Config, fun(First, One) ->
        One ! {spawn_call, First, ct_signals, gate, [port(Config), <<"on top">>]},
        Ref = spawned(One),
        Gate = py_suite:await_signal(Socket, <<"on top">>),
        fun() ->
            ok = py_suite:release(Socket, Gate),
            One ! {await, Ref},
            ?assertEqual({ok, <<"on top">>}, called(One))
        end
    end).

circle_below_code_that_waits_on_top_is_a_deadlock(Config) ->
    closes_below(Config, fun(First, One) ->
        One ! {spawn_call, First, erlang, call, [obey]},
        Ref = spawned(One),
        Other = receive {obeys, Pid} -> Pid end,
        fun() ->
            Other ! {done, <<"on top">>},
            One ! {await, Ref},
            ?assertEqual({ok, <<"on top">>}, called(One))
        end
    end).

circle_below_a_loop_on_top_is_a_deadlock(Config) ->
    ok = py_callbacks:module(hd(?config(contexts, Config)), "ct_waits", <<
        "import asyncio, ct_signals\n"
        "async def waits(port):\n"
        "    ct_signals.signal(port, 'in a loop')\n"
        "    await asyncio.sleep(3600)\n"
        "def run(port): asyncio.run(waits(port))\n"
    >>),
    closes_below(Config, fun(First, One) ->
        One ! {spawn_call, First, ct_waits, run, [port(Config)]},
        Ref = spawned(One),
        ok = signal(Config, <<"in a loop">>),
        fun() ->
            One ! {cancel, Ref},
            ?assertEqual(ok, called(One))
        end
    end).

%% Two chains would close a circle, of which the first context runs something else on top. That is begun by the fun, which
%% gives one that ends it.
closes_below(Config, BeginOnTop) ->
    Circle = [First, Second] = lists:sublist(?config(contexts, Config), 2),
    offering([{obey, obey()}], fun() ->
        Chains = [{One, _}, {Two, _}] = chains(Config, Circle),
        EndOnTop = BeginOnTop(First, One),
        One ! {call, Second, pos, [1]},
        eventually(fun() -> waiting(Second) =:= 1 end),
        Two ! {call, First, pos, [2]},
        deadlock(Circle, called(Two)),
        Two ! {done, 2},
        ?assertEqual({ok, 1}, called(One)),
        EndOnTop(),
        One ! {done, 1},
        ?assertEqual([{ok, 1}, {ok, 2}], [result(Chain) || Chain <- Chains])
    end),
    [signal(Config, <<"frame">>) || _ <- Circle],
    ok.

spawned(Pid) ->
    receive
        {spawned, {Pid, Ref}} -> Ref
    end.

call_that_timed_out_closes_no_circle(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    offering([{obey, obey()}], fun() ->
        Chains = [{One, _}, {Two, _}] = chains(Config, [First, Second]),
        One ! {call, Second, pos, [1], #{timeout => 20}},
        ?assertEqual({error, timeout}, called(One)),
        %% The first one is still in its function, but waits for nothing.
        Two ! {call, First, pos, [2]},
        eventually(fun() -> waiting(First) =:= 1 end),
        One ! {done, 1},
        ?assertEqual({ok, 2}, called(Two)),
        Two ! {done, 2},
        ?assertEqual([{ok, 1}, {ok, 2}], [result(Chain) || Chain <- Chains])
    end),
    [signal(Config, <<"frame">>) || _ <- [1, 2]],
    ok.

refused_request_never_runs(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    ok = py_callbacks:module(First, "ct_ran", <<"ran = []\n">>),
    Test = self(),
    Cross = fun([]) ->
        Test ! {inside, self()},
        await(go),
        Results = [
            py:call(First, ct_ran, 'ran.append', [1]),
            py:eval(First, <<"__import__('ct_ran').ran.append(2)">>),
            py:exec(First, <<"__import__('ct_ran').ran.append(3)">>),
            py:call(First, ct_ran, 'ran.append', [4], #{timeout => 20_000}),
            py_context:call(First, ct_ran, 'ran.append', [5], #{}, 0)
        ],
        Test ! {crossed, Results},
        none
    end,
    offering([{obey, obey()}, {cross, Cross}], fun() ->
        [{One, _} = Chain] = chains(Config, [First]),
        Crossing = py_suite:spawn_caller(fun() -> py:call(Second, erlang, call, [cross]) end),
        Inside = receive {inside, Pid} -> Pid end,
        One ! {call, Second, pos, [1]},
        eventually(fun() -> waiting(Second) =:= 1 end),
        Inside ! go,
        Results = receive {crossed, All} -> All end,
        [deadlock([First, Second], Result) || Result <- Results],
        ?assertEqual({ok, none}, result(Crossing)),
        ?assertEqual({ok, 1}, called(One)),
        One ! {done, 1},
        ?assertEqual({ok, 1}, result(Chain))
    end),
    signal(Config, <<"frame">>),
    ?assertEqual({ok, []}, py:eval(First, <<"__import__('ct_ran').ran">>)).

call_after_a_deadlock_goes_through(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    offering([{obey, obey()}], fun() ->
        [
            begin
                Chains = [{One, _}, {Two, _}] = chains(Config, [First, Second]),
                One ! {call, Second, pos, [1]},
                eventually(fun() -> waiting(Second) =:= 1 end),
                Two ! {call, First, pos, [2]},
                deadlock([First, Second], called(Two)),
                Two ! {done, 2},
                ?assertEqual({ok, 1}, called(One)),
                %% Nobody stands in the way any more, in either direction.
                One ! {call, Second, pos, [3]},
                ?assertEqual({ok, 3}, called(One)),
                One ! {done, 1},
                ?assertEqual([{ok, 1}, {ok, 2}], [result(Chain) || Chain <- Chains]),
                [Again = {Three, _}] = chains(Config, [Second]),
                Three ! {call, First, pos, [4]},
                ?assertEqual({ok, 4}, called(Three)),
                Three ! {done, 3},
                ?assertEqual({ok, 3}, result(Again)),
                [signal(Config, <<"frame">>) || _ <- [1, 2, 3]]
            end
         || _ <- lists:seq(1, 5)
        ]
    end),
    ok.

%% Nothing can run on top of a conversion.
call_of_a_context_that_converts_is_a_deadlock(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    ok = py:exec(First, <<
        "import erlang\n"
        "class Asks:\n"
        "    def __erlang_term__(self): return erlang.call('back')\n"
    >>),
    Back = fun([]) ->
        {error, {deadlock, [First]}} = py:call(First, math, sqrt, [16]),
        %% Nor behind another context.
        {error, {error, {badmatch, {error, {deadlock, [First]}}}}} = py:call(Second, ct_chain, through, [back_again]),
        {ok, 4.0} = py:call(Second, math, sqrt, [16]),
        converted
    end,
    Again = fun([]) -> {ok, _} = py:call(First, math, sqrt, [16]) end,
    offering([{back, Back}, {back_again, Again}], fun() ->
        ?assertEqual({ok, <<"converted">>}, py:call(First, '__main__', 'Asks', [])),
        ?assertEqual({ok, [<<"converted">>]}, py:eval(First, <<"[Asks()]">>))
    end).

chains_that_go_back_and_forth_are_no_deadlock(Config) ->
    [A, B, C] = ?config(contexts, Config),
    Hop = fun
        ([[]]) -> 0;
        ([[Next | Rest]]) ->
            {ok, Hops} = py:call(lists:nth(Next, [A, B, C]), ct_chain, through, [hop, Rest]),
            Hops + 1
    end,
    Paths = [[2, 1], [2, 1, 2, 1, 2], [2, 3, 2, 1, 3], [3, 3, 2, 2, 1, 1], lists:append(lists:duplicate(20, [1, 2, 3]))],
    offering([{hop, Hop}], fun() ->
        [?assertEqual({ok, length(Path)}, py:call(A, ct_chain, through, [hop, Path])) || Path <- Paths]
    end),
    ok.

waiting_for_a_busy_context_is_no_deadlock(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Socket = ?config(socket, Config),
    offering([{obey, obey()}], fun() ->
        %% It runs plain code for somebody who will not wait for us.
        Busy = py:spawn_call(Second, ct_signals, gate, [port(Config), <<"busy">>]),
        Gate = py_suite:await_signal(Socket, <<"busy">>),
        [{One, _} = Chain] = chains(Config, [First]),
        Outside = py_suite:spawn_caller(fun() -> py:call(First, operator, pos, [2]) end),
        eventually(fun() -> waiting(First) =:= 1 end),
        One ! {call, Second, pos, [1]},
        eventually(fun() -> waiting(Second) =:= 1 end),
        py_suite:release(Socket, Gate),
        ?assertEqual({ok, 1}, called(One)),
        One ! {done, 1},
        ?assertEqual({ok, 1}, result(Chain)),
        ?assertEqual({ok, 2}, result(Outside)),
        ?assertEqual({ok, <<"busy">>}, py:await(Busy))
    end),
    signal(Config, <<"frame">>).

chains_in_the_same_order_are_no_deadlock(Config) ->
    Contexts = ?config(contexts, Config),
    Up = fun
        ([N, Value]) when N > 3 -> Value;
        ([N, Value]) -> {ok, Value} = py:call(lists:nth(N, Contexts), ct_chain, through, [up, N + 1, Value]), Value
    end,
    offering([{up, Up}], fun() ->
        Results = py_suite:concurrently(20, fun(I) ->
            [
                Result
             || _ <- lists:seq(1, 25),
                Result <- [py:call(hd(Contexts), ct_chain, through, [up, 2, I])],
                Result =/= {ok, I}
            ]
        end),
        ?assertEqual([[]], lists:usort(Results))
    end).

%% Whatever they do, every call answers: a value or a deadlock, and both sides never wait for ever.
crossing_chains_always_end(Config) ->
    Contexts = ?config(contexts, Config),
    Seed = erlang:phash2({os:timestamp(), self()}),
    ct:pal("seed: ~p", [Seed]),
    Walk = fun
        ([_, 0]) ->
            [];
        ([I, N]) ->
            Next = lists:nth(rand:uniform(length(Contexts)), Contexts),
            case py:call(Next, ct_chain, through, [walk, I, N - 1]) of
                {ok, Rest} -> [<<"ok">> | Rest];
                {error, {deadlock, [_ | _]}} -> [<<"deadlock">>]
            end
    end,
    offering([{walk, Walk}], fun() ->
        Results = py_suite:concurrently(12, fun(I) ->
            _ = rand:seed(exsss, {Seed, I, 1}),
            [
                begin
                    First = lists:nth(rand:uniform(length(Contexts)), Contexts),
                    {ok, Steps} = py:call(First, ct_chain, through, [walk, I, rand:uniform(6)]),
                    length([Step || <<"deadlock">> = Step <- Steps])
                end
             || _ <- lists:seq(1, 50)
            ]
        end),
        ct:pal("deadlocks: ~p", [lists:sum(lists:append(Results))])
    end).

circle_through_another_process_ends_at_its_time_limit(Config) ->
    Context = ?config(ctx, Config),
    Ask = fun([]) ->
        Result = py_suite:fresh(fun() -> py:call(Context, math, sqrt, [16], #{timeout => 100}) end),
        {error, timeout} = Result,
        asked
    end,
    offering([{ask, Ask}], fun() ->
        ?assertEqual({ok, <<"asked">>}, py:call(Context, erlang, call, [ask]))
    end).
