%% Many callbacks at once, and many one after another.
-module(storm_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2]).

suite() ->
    [{timetrap, {seconds, 300}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        two_hundred_calls_of_blocked_functions_are_all_answered,
        seventy_contexts_may_be_blocked_at_the_same_time,
        two_hundred_threads_may_be_blocked_at_the_same_time,
        dead_functions_among_blocked_ones_harm_no_other,
        chains_of_many_processes_are_all_answered,
        storm_of_deaths_and_time_outs_leaves_every_context_in_order,
        callbacks_leave_memory_where_it_was,
        callbacks_in_processes_of_their_own_leave_memory_where_it_was,
        exceptions_leave_memory_where_it_was,
        nested_calls_leave_memory_where_it_was,
        time_outs_leave_memory_where_it_was
    ]).

-define(CONTEXTS, 5).
-define(DEADLINE, 60_000).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 100}).

init_per_testcase(_Case, Config) ->
    [{contexts, contexts(Config, ?CONTEXTS)} | Config].

end_per_testcase(_Case, Config) ->
    stop(?config(contexts, Config)),
    ?assertEqual([], py_suite:flush()).

contexts(Config, N) ->
    Contexts = [py_suite:new_context(Config) || _ <- lists:seq(1, N)],
    [ok = install(Context) || Context <- Contexts],
    Contexts.

stop(Contexts) ->
    [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts],
    [ok = py_context:stop(Context) || Context <- Contexts],
    ok.

install(Context) ->
    py_callbacks:module(Context, "ct_storm", <<
        "import erlang, threading\n"
        "def through(name, *args): return erlang.call(name, *args)\n"
        "def down(n): return 0 if n == 0 else erlang.call('down', n - 1) + 1\n"
        "def many(n, name): return sum(erlang.call(name, i) for i in range(n))\n"
        "def fails(n, name):\n"
        "    failed = 0\n"
        "    for i in range(n):\n"
        "        try: erlang.call(name, i)\n"
        "        except erlang.ErlangError: failed += 1\n"
        "    return failed\n"
        "def threads(name, own, others):\n"
        "    answers = []\n"
        "    def work(i):\n"
        "        try: answers.append(erlang.call(name, i))\n"
        "        except erlang.ErlangError as error: answers.append((error.kind, i))\n"
        "    workers = [threading.Thread(target=work, args=(i,)) for i in others]\n"
        "    for worker in workers: worker.start()\n"
        "    work(own)\n"
        "    for worker in workers: worker.join()\n"
        "    return answers\n"
    >>).

nth(I, Contexts) -> lists:nth(I rem length(Contexts) + 1, Contexts).

%% A function that tells the test who runs it for whom, and waits for a message.
blocking() ->
    Test = self(),
    {block, fun([I]) ->
        Test ! {blocked, I, self()},
        receive
            {go, I} -> I
        end
    end}.

%% So many functions that wait at this moment.
blocked(0) ->
    [];
blocked(N) ->
    receive
        {blocked, I, Pid} -> [{I, Pid} | blocked(N - 1)]
    after ?DEADLINE -> ct:fail({still_to_come, N})
    end.

release(Blocked) ->
    [Pid ! {go, I} || {I, Pid} <- Blocked],
    ok.

shuffled(List) ->
    [Element || {_, Element} <- lists:sort([{rand:uniform(), Element} || Element <- List])].

result(Caller) ->
    {result, Result} = py_suite:await_down(Caller, ?DEADLINE),
    Result.

%%% At once

%% As many at a time as there are contexts; the others wait for their turn, however long that takes.
two_hundred_calls_of_blocked_functions_are_all_answered(Config) ->
    Contexts = ?config(contexts, Config),
    offering([blocking()], fun() ->
        Callers = [
            py_suite:spawn_caller(fun() -> {py:call(nth(I, Contexts), erlang, call, [block, I]), py_suite:flush()} end)
         || I <- lists:seq(1, 100)
        ],
        Refs = [py:spawn_call(nth(I, Contexts), ct_storm, through, [block, I]) || I <- lists:seq(101, 200)],
        First = blocked(?CONTEXTS),
        ?assertEqual(?CONTEXTS, length(lists:usort([I rem ?CONTEXTS || {I, _} <- First]))),
        release(First),
        _ = [release(blocked(1)) || _ <- lists:seq(1, 200 - ?CONTEXTS)],
        ?assertEqual([{{ok, I}, []} || I <- lists:seq(1, 100)], [result(Caller) || Caller <- Callers]),
        ?assertEqual([{ok, I} || I <- lists:seq(101, 200)], [py:await(Ref) || Ref <- Refs])
    end).

seventy_contexts_may_be_blocked_at_the_same_time(Config) ->
    Contexts = contexts(Config, 70),
    offering([blocking()], fun() ->
        %% Half of them in the processes that wait, half in others.
        Callers = [
            py_suite:spawn_caller(fun() -> {py:call(nth(I, Contexts), erlang, call, [block, I]), py_suite:flush()} end)
         || I <- lists:seq(1, 35)
        ],
        Refs = [py:spawn_call(nth(I, Contexts), erlang, call, [block, I]) || I <- lists:seq(36, 70)],
        Blocked = blocked(70),
        ?assertEqual(lists:seq(1, 70), lists:sort([I || {I, _} <- Blocked])),
        release(shuffled(Blocked)),
        ?assertEqual([{{ok, I}, []} || I <- lists:seq(1, 35)], [result(Caller) || Caller <- Callers]),
        ?assertEqual([{ok, I} || I <- lists:seq(36, 70)], [py:await(Ref) || Ref <- Refs])
    end),
    stop(Contexts).

two_hundred_threads_may_be_blocked_at_the_same_time(Config) ->
    Contexts = ?config(contexts, Config),
    offering([blocking()], fun() ->
        {Callers, Blocked} = threads(Contexts, 40),
        release(shuffled(Blocked)),
        [?assertEqual({ok, All}, sorted(result(Caller))) || {Caller, All} <- Callers]
    end),
    ok.

%% In every context one call and so many threads, all in a function that waits.
threads(Contexts, Threads) ->
    Callers = [
        begin
            All = [Own | Others] = lists:seq(C * 1000, C * 1000 + Threads),
            Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
                py:call(nth(C, Contexts), ct_storm, threads, [block, Own, Others])
            end),
            {Pid, Own, {Caller, All}}
        end
     || C <- lists:seq(1, length(Contexts))
    ],
    Blocked = blocked(length(Contexts) * (Threads + 1)),
    ?assertEqual(length(Blocked), length(lists:usort([Pid || {_, Pid} <- Blocked]))),
    %% The call's own function runs in the process that waits, those of the threads in others.
    [?assertEqual({Own, Pid}, lists:keyfind(Own, 1, Blocked)) || {Pid, Own, _} <- Callers],
    {[Known || {_, _, Known} <- Callers], Blocked}.

sorted({ok, List}) -> {ok, lists:sort(List)};
sorted(Other) -> Other.

dead_functions_among_blocked_ones_harm_no_other(Config) ->
    Contexts = ?config(contexts, Config),
    offering([blocking()], fun() ->
        {Callers, Blocked} = threads(Contexts, 20),
        {Victims, Others} = lists:partition(fun({I, _}) -> I rem 1000 > 10 end, Blocked),
        [exit(Pid, kill) || {_, Pid} <- shuffled(Victims)],
        release(shuffled(Others)),
        [
            ?assertEqual(
                {ok, lists:sort([case I rem 1000 > 10 of true -> {<<"exit">>, I}; false -> I end || I <- All])},
                sorted(result(Caller))
            )
         || {Caller, All} <- Callers
        ]
    end),
    ok.

chains_of_many_processes_are_all_answered(Config) ->
    Contexts = ?config(contexts, Config),
    Down = fun([N]) ->
        {ok, Value} = py:call(get(context), ct_storm, down, [N]),
        Value
    end,
    offering([{down, Down}], fun() ->
        Results = py_suite:concurrently(100, fun(I) ->
            Context = nth(I, Contexts),
            _ = put(context, Context),
            [Result || N <- lists:seq(1, 20), Result <- [py:call(Context, ct_storm, down, [N])], Result =/= {ok, N}]
        end),
        ?assertEqual([[]], lists:usort(Results))
    end).

%%% All of it at once

storm_of_deaths_and_time_outs_leaves_every_context_in_order(Config) ->
    Seed = erlang:phash2({os:timestamp(), self()}),
    ct:pal("seed of the storm: ~p", [Seed]),
    Contexts = ?config(contexts, Config),
    Functions = [
        {give, fun([Value]) -> Value end},
        {fail, fun([Value]) -> throw(Value) end},
        {nap, fun([Value]) -> receive after rand:uniform(10) - 1 -> Value end end},
        {back, fun([Value]) -> nested(nth(rand:uniform(?CONTEXTS), Contexts), Value) end}
    ],
    offering(Functions, fun() ->
        Callers = [
            py_suite:spawn_caller(fun() ->
                _ = rand:seed(exsss, {Seed, I, 1}),
                storm(I, Contexts, 20)
            end)
         || I <- lists:seq(1, 300)
        ],
        _ = rand:seed(exsss, {Seed, 0, 0}),
        %% While they work: kills and interrupts.
        Victims = [Pid || {Pid, _} <- Callers, rand:uniform(5) =:= 1],
        [
            begin
                _ = py:interrupt(nth(rand:uniform(?CONTEXTS), Contexts)),
                receive
                after rand:uniform(5) - 1 -> exit(Pid, kill)
                end
            end
         || Pid <- Victims
        ],
        Wrong = lists:append([
            case py_suite:await_down(Caller, 120_000) of
                {result, Found} -> Found;
                {died, killed} -> [];
                {died, Reason} -> [{died, Reason}]
            end
         || Caller <- Callers
        ]),
        ?assertEqual([], Wrong)
    end),
    [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts],
    ok.

nested(Context, Value) ->
    case rand:uniform(3) of
        1 -> {ok, Value} = py:call(Context, ct_storm, through, [give, Value]);
        2 -> {ok, Value} = py:call(Context, ct_storm, through, [nap, Value], #{timeout => rand:uniform(10) - 1});
        3 -> {ok, Value} = py:await(py:spawn_call(Context, ct_storm, through, [back, Value]), rand:uniform(20))
    end,
    Value.

%% Every answer is this request's own, or tells what happened to it; nothing else is in the mailbox.
storm(_Caller, _Contexts, 0) ->
    [{late, Message} || Message <- py_suite:flush()];
storm(Caller, Contexts, Round) ->
    Context = nth(rand:uniform(?CONTEXTS), Contexts),
    Value = {Caller, Round},
    Function = lists:nth(rand:uniform(4), [give, fail, nap, back]),
    Args = [Function, Value],
    Result =
        case rand:uniform(4) of
            1 ->
                py:call(Context, ct_storm, through, Args, #{timeout => rand:uniform(30) - 1});
            2 ->
                ok = py:cancel(py:spawn_call(Context, ct_storm, through, Args)),
                {ok, Value};
            3 ->
                py:await(py:spawn_call(Context, ct_storm, through, Args), rand:uniform(30) - 1);
            4 ->
                py:call(Context, ct_storm, through, Args, #{timeout => 100_000})
        end,
    Late = [{late, Round, Message} || Message <- py_suite:flush()],
    [{Function, Value, Result} || not expected(Function, Value, Result)] ++ Late ++ storm(Caller, Contexts, Round - 1).

expected(_, Value, {ok, Value}) -> true;
expected(_, _, {error, timeout}) -> true;
expected(_, _, {error, interrupted}) -> true;
expected(fail, Value, {error, {throw, Value}}) -> true;
%% The nested call was answered otherwise: it ended early, or would have waited for ever.
expected(back, Value, {error, {error, {badmatch, {error, Reason}}}}) -> nested_reason(Value, Reason);
expected(_, _, _) -> false.

nested_reason(_, timeout) -> true;
nested_reason(_, interrupted) -> true;
nested_reason(_, {deadlock, [_ | _]}) -> true;
nested_reason(Value, {error, {badmatch, {error, Reason}}}) -> nested_reason(Value, Reason);
nested_reason(_, _) -> false.

%%% One after another

%% A leak grows with every round; anything else comes to rest.
steady(Round) ->
    _ = Round(),
    steady(Round, resident(), []).

steady(_Round, _Before, [_, _, _, _, _, _, _, _] = Grown) ->
    ct:fail({grows, Grown});
steady(Round, Before, Grown) ->
    _ = Round(),
    After = resident(),
    case After - Before < 1024 of
        true -> ok;
        false -> steady(Round, After, [After - Before | Grown])
    end.

resident() ->
    _ = [garbage_collect(Pid) || Pid <- processes()],
    py_leaks:resident().

unchanged(Config, Functions, Round) ->
    [Context | _] = ?config(contexts, Config),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    Before = py_leaks:snapshot(),
    offering(Functions, fun() -> steady(fun() -> Round(Context) end) end),
    py_leaks:check(Before).

one() -> {one, fun([_]) -> 1 end}.

callbacks_leave_memory_where_it_was(Config) ->
    unchanged(Config, [one()], fun(Context) ->
        ?assertEqual({ok, 50_000}, py:call(Context, ct_storm, many, [50_000, one]))
    end).

callbacks_in_processes_of_their_own_leave_memory_where_it_was(Config) ->
    unchanged(Config, [one()], fun(Context) ->
        ?assertEqual({ok, 20_000}, py:await(py:spawn_call(Context, ct_storm, many, [20_000, one]))),
        [?assertEqual({ok, 1}, py:await(py:spawn_call(Context, erlang, call, [one, I]))) || I <- lists:seq(1, 2_000)]
    end).

exceptions_leave_memory_where_it_was(Config) ->
    unchanged(Config, [{fail, fun([I]) -> error({[a | I], lists:seq(1, 10)}) end}], fun(Context) ->
        ?assertEqual({ok, 10_000}, py:call(Context, ct_storm, fails, [10_000, fail])),
        [?assertMatch({error, {error, _}}, py:call(Context, erlang, call, [fail, I])) || I <- lists:seq(1, 5_000)]
    end).

nested_calls_leave_memory_where_it_was(Config) ->
    Down = fun([N]) ->
        {ok, Value} = py:call(hd(?config(contexts, Config)), ct_storm, down, [N]),
        Value
    end,
    unchanged(Config, [{down, Down}], fun(Context) ->
        [?assertEqual({ok, 20}, py:call(Context, ct_storm, down, [20])) || _ <- lists:seq(1, 500)]
    end).

time_outs_leave_memory_where_it_was(Config) ->
    Nap = fun([Milliseconds]) -> receive after Milliseconds -> slept end end,
    unchanged(Config, [{nap, Nap}], fun(Context) ->
        [
            begin
                {error, timeout} = py:call(Context, erlang, call, [nap, 2], #{timeout => 0}),
                ok = py:cancel(py:spawn_call(Context, erlang, call, [nap, 0])),
                _ = py:call(Context, erlang, call, [nap, I rem 2], #{timeout => I rem 3})
            end
         || I <- lists:seq(1, 500)
        ]
    end).
