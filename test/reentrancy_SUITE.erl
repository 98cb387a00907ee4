%% Erlang, Python and back: calls from inside a callback, how deep they go, and what ends a chain of them.
-module(reentrancy_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, gate/0, entered/1, open/2, await/1, collect/1]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        nested_request_runs_on_top_in_the_same_namespace,
        nested_requests_of_all_kinds_run_on_top,
        variables_of_the_outer_frames_stay,
        nested_request_of_the_pool_runs_on_top,
        nested_request_to_another_context_runs_there,
        nested_requests_to_other_contexts_run_in_parallel,
        parallel_uses_the_waiting_context_too,
        values_cross_all_levels,
        two_callbacks_in_a_row_and_nested,
        continuations_of_nested_requests_run_on_top,
        functions_in_place_of_nested_requests_run_in_the_process,

        mutual_recursion_200_deep_in_one_context,
        mutual_recursion_200_deep_between_two_contexts,
        mutual_recursion_200_deep_through_awaited_calls,
        endless_recursion_is_a_recursion_error,
        endless_recursion_without_python_frames_is_a_recursion_error,
        endless_recursion_between_two_contexts_is_a_recursion_error,
        endless_recursion_through_awaited_calls_is_a_recursion_error,
        endless_recursion_through_c_code_is_a_recursion_error,
        endless_recursion_through_conversions_is_a_recursion_error,

        requests_of_others_wait_and_run_in_their_order,
        nested_requests_overtake_those_that_wait,
        two_chains_in_one_context_do_not_mix,
        requests_that_were_put_off_can_be_taken_back,
        requests_that_were_put_off_are_answered_when_the_context_dies,
        requests_that_were_put_off_move_to_the_replacement_of_a_stuck_context,

        circle_of_two_contexts_is_a_deadlock,
        circle_of_three_contexts_is_a_deadlock,
        deadlock_in_the_middle_of_a_chain_is_seen,
        circle_through_processes_of_their_own_is_a_deadlock,
        call_that_timed_out_closes_no_circle,
        refused_request_never_runs,
        call_after_a_deadlock_goes_through,
        call_of_a_context_that_converts_is_a_deadlock,
        chains_that_go_back_and_forth_are_no_deadlock,
        waiting_for_a_busy_context_is_no_deadlock,
        chains_in_the_same_order_are_no_deadlock,
        crossing_chains_always_end,
        circle_through_another_process_ends_at_its_time_limit,

        time_limit_ends_every_level_that_waits,
        time_limit_ends_every_level_that_spins,
        time_limit_ends_every_level_that_sleeps,
        nested_requests_after_the_time_limit_are_refused_at_once,
        nested_request_ends_at_the_earlier_limit,
        time_limit_of_a_nested_request_ends_that_one_only,
        time_limit_of_a_middle_level_leaves_the_outer_ones,
        late_value_is_dropped_and_the_context_free_meanwhile,
        value_in_time_counts_although_the_next_call_is_late,
        time_limit_of_await_ends_the_chain,

        cancel_ends_python_of_every_level,
        death_of_the_caller_ends_python_of_every_level,
        cancel_at_any_level_ends_python_of_the_inner_ones,
        death_at_any_level_ends_python_of_the_inner_ones,
        death_of_the_context_ends_a_chain_of_many_levels,
        function_of_any_level_may_stop_the_context,
        death_of_the_context_below_is_an_error_above,
        death_of_the_outer_context_leaves_the_inner_call,
        interrupt_hits_the_innermost_level,
        interrupt_of_an_outer_context_unwinds_through_the_inner_call,

        spawned_and_awaited_call_runs_on_top,
        spawned_call_that_nobody_awaits_inside_runs_later,
        spawned_call_of_a_function_can_be_cancelled,
        cast_of_a_function_runs_after_its_chain,
        casts_of_a_function_to_other_contexts_run_at_once,
        environments_are_told_apart_in_nested_requests,
        process_of_its_own_has_its_own_namespace,
        namespace_of_a_process_of_its_own_goes_with_it
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% Every case has contexts of its own.
init_per_testcase(_Case, Config) ->
    Contexts = [py_suite:new_context(Config) || _ <- [1, 2, 3]],
    [ok = install(Context) || Context <- Contexts],
    [{ctx, hd(Contexts)}, {contexts, Contexts}, {socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    Alive = [Context || Context <- ?config(contexts, Config), is_process_alive(Context)],
    [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Alive],
    {ok, 4.0} = py:call(math, sqrt, [16]),
    [ok = py_context:stop(Context) || Context <- Alive],
    %% Attempts that came too late leave signals and results of theirs.
    IsLate = fun(Message) -> lists:member(element(1, Message), [udp, level]) end,
    ?assertEqual([], [Message || Message <- py_suite:flush(), not IsLate(Message)]).

install(Context) ->
    ok = py_callbacks:install(Context),
    py_callbacks:module(Context, "ct_chain", <<
        "import erlang\n"
        "def down(n): return 0 if n == 0 else erlang.call('down', n - 1) + 1\n"
        "def through(name, *args): return erlang.call(name, *args)\n"
    >>).

eventually(Fun) ->
    ?assertEqual(ok, py_leaks:eventually(Fun)).

signal(Config, Tag) ->
    _ = py_suite:await_signal(?config(socket, Config), Tag),
    ok.

port(Config) ->
    py_suite:port(?config(socket, Config)).

%% How many requests wait in a context for its thread.
waiting(Context) ->
    {_Mode, _Id, _Processes, Waiting} = py_nif:context_info(Context),
    Waiting.

ended(Pid) ->
    Monitor = monitor(process, Pid),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after 30_000 -> ct:fail({lives_on, Pid, process_info(Pid)})
    end.

result(Caller) ->
    {result, Result} = py_suite:await_down(Caller, 60_000),
    Result.

%%% On top

nested_request_runs_on_top_in_the_same_namespace(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "order = []\n"
        "def outer():\n"
        "    global seen\n"
        "    order.append('outer begins')\n"
        "    seen = 1\n"
        "    answer = erlang.call('back', 5)\n"
        "    order.append('outer ends')\n"
        "    return answer, seen, made\n"
        "def inner(n):\n"
        "    global seen\n"
        "    order.append('inner')\n"
        "    seen += n\n"
        "    return seen\n"
    >>),
    Back = fun([N]) ->
        {ok, Seen} = py:call(Context, '__main__', inner, [N]),
        {ok, Seen} = py:eval(Context, <<"seen">>),
        ok = py:exec(Context, <<"made = 'inside'\norder.append('exec')">>),
        Seen * 100
    end,
    offering([{back, Back}], fun() ->
        ?assertEqual({ok, {600, 6, <<"inside">>}}, py:call(Context, '__main__', outer, []))
    end),
    Expected = [<<"outer begins">>, <<"inner">>, <<"exec">>, <<"outer ends">>],
    ?assertEqual({ok, Expected}, py:eval(Context, <<"order">>)).

nested_requests_of_all_kinds_run_on_top(Config) ->
    Context = ?config(ctx, Config),
    Code = <<
        "class Thing:\n"
        "    value = 5\n"
        "    def method(self, n): return n + 1\n"
        "    def __len__(self): return 2\n"
        "    def __iter__(self): return iter([1, 2])\n"
        "    def __contains__(self, n): return False\n"
        "thing = Thing()\n"
        "def give(n=0): return n\n"
    >>,
    ok = py:exec(Context, Code),
    {ok, Ref} = py:eval(Context, <<"thing">>),
    {ok, Environment} = py_context:create_local_env(Context),
    Requests = [
        {{ok, 1}, fun() -> py:call(Context, '__main__', give, [1]) end},
        {{ok, 2}, fun() -> py:call(Context, '__main__', give, [], #{kwargs => #{n => 2}, timeout => 20_000}) end},
        {{ok, 3}, fun() -> py:eval(Context, <<"give(3)">>) end},
        {{ok, 4}, fun() -> py:eval(Context, <<"give(n)">>, #{n => 4}) end},
        {ok, fun() -> py:exec(Context, <<"x = give(5)">>) end},
        {{ok, 5}, fun() -> py:getattr(Ref, value) end},
        {{ok, 7}, fun() -> py:call_method(Ref, method, [6]) end},
        {{ok, [1, 2]}, fun() -> py:to_term(Ref) end},
        {{ok, 8}, fun() -> py_context:call(Context, '__main__', give, [8]) end},
        {{ok, 9}, fun() -> py_context:eval(Context, <<"give(9)">>, #{}, 20_000) end},
        {ok, fun() -> py_context:exec(Context, Code, Environment) end},
        {{ok, 10}, fun() -> py_context:call(Context, '__main__', give, [10], #{}, infinity, Environment) end},
        {{ok, 12}, fun() -> py_context:call_method(Context, Ref, method, [11]) end},
        {{ok, 13}, fun() -> py:await(py:spawn_call(Context, '__main__', give, [13])) end},
        {{error, {'ZeroDivisionError', "division by zero"}}, fun() -> py:eval(Context, <<"1 / 0">>) end}
    ],
    Nth = fun([N]) ->
        {Expected, Request} = lists:nth(N, Requests),
        ?assertEqual({N, Expected}, {N, Request()}),
        N
    end,
    All = lists:seq(1, length(Requests)),
    offering([{nth, Nth}], fun() ->
        [?assertEqual({ok, N}, py:call(Context, erlang, call, [nth, N])) || N <- All],
        ?assertEqual({ok, All}, py:eval(Context, <<"[__import__('erlang').nth(n) for n in numbers]">>, #{numbers => All}))
    end).

variables_of_the_outer_frames_stay(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang, contextvars, sys\n"
        "variable = contextvars.ContextVar('variable', default='none')\n"
        "def outer():\n"
        "    local = object()\n"
        "    variable.set('outer')\n"
        "    try:\n"
        "        raise KeyError('handled')\n"
        "    except KeyError as error:\n"
        "        inside = erlang.call('back')\n"
        "        assert sys.exception() is error\n"
        "    return variable.get(), inside, type(local).__name__\n"
        "def inner():\n"
        "    return sys.exception() is None\n"
    >>),
    Back = fun([]) ->
        {ok, Handles} = py:call(Context, '__main__', inner, []),
        Handles
    end,
    offering([{back, Back}], fun() ->
        ?assertMatch({ok, {<<"outer">>, _, <<"object">>}}, py:call(Context, '__main__', outer, []))
    end).

nested_request_of_the_pool_runs_on_top(_Config) ->
    ok = py:exec(<<"import erlang\ndef outer(): return erlang.call('back'), x">>),
    Back = fun([]) ->
        ok = py:exec(<<"x = 7">>),
        {ok, 7} = py:eval(<<"x">>),
        {ok, 4.0} = py:call(math, sqrt, [16]),
        {ok, Value} = py:call('__main__', '__dict__.get', [<<"x">>]),
        Value
    end,
    offering([{back, Back}], fun() ->
        ?assertEqual({ok, {7, 7}}, py:call('__main__', outer, []))
    end).

nested_request_to_another_context_runs_there(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Test = self(),
    [
        ok = py:exec(Context, [<<"import erlang\nwhere = ">>, integer_to_list(N)])
     || {Context, N} <- [{First, 1}, {Second, 2}]
    ],
    Hop = fun([]) ->
        Test = self(),
        {ok, There} = py:eval(Second, <<"(where, erlang.call('leap'))">>),
        {ok, Here} = py:eval(First, <<"where">>),
        {There, Here}
    end,
    Leap = fun([]) ->
        Test = self(),
        {ok, Here} = py:eval(First, <<"where">>),
        {ok, There} = py:eval(Second, <<"where">>),
        {Here, There}
    end,
    offering([{hop, Hop}, {leap, Leap}], fun() ->
        ?assertEqual({ok, {{2, {1, 2}}, 1}}, py:call(First, erlang, call, [hop]))
    end).

nested_requests_to_other_contexts_run_in_parallel(Config) ->
    [First, Second, Third] = ?config(contexts, Config),
    Socket = ?config(socket, Config),
    Port = port(Config),
    Both = fun([]) ->
        Refs = [
            py:spawn_call(Context, ct_signals, gate, [Port, Tag])
         || {Context, Tag} <- [{Second, <<"second">>}, {Third, <<"third">>}]
        ],
        %% Both run before either may end.
        Gates = [py_suite:await_signal(Socket, Tag) || Tag <- [<<"third">>, <<"second">>]],
        {ok, 4.0} = py:call(First, math, sqrt, [16]),
        [py_suite:release(Socket, Gate) || Gate <- Gates],
        [{ok, <<"second">>}, {ok, <<"third">>}] = [py:await(Ref) || Ref <- Refs],
        both
    end,
    offering([{both, Both}], fun() ->
        ?assertEqual({ok, <<"both">>}, py:call(First, erlang, call, [both]))
    end).

parallel_uses_the_waiting_context_too(_Config) ->
    Spread = fun([]) ->
        {ok, Results} = py:parallel([{operator, pos, [I]} || I <- lists:seq(1, 20)]),
        [I || {ok, I} <- Results]
    end,
    offering([{spread, Spread}], fun() ->
        ?assertEqual({ok, lists:seq(1, 20)}, py:call(erlang, spread, []))
    end).

values_cross_all_levels(Config) ->
    [First, Second, Third] = ?config(contexts, Config),
    Value = #{<<"k">> => [1.5, {<<"größe"/utf8>>, 1 bsl 100}], <<"p">> => self(), <<"b">> => <<255>>},
    Hop = fun
        ([[], V]) -> V;
        ([[Next | Rest], V]) ->
            {ok, Back} = py:call(lists:nth(Next, [First, Second, Third]), ct_chain, through, [hop, Rest, V]),
            Back
    end,
    offering([{hop, Hop}], fun() ->
        [
            ?assertEqual({ok, Value}, py:call(First, ct_chain, through, [hop, Path, Value]))
         || Path <- [[], [1], [2], [1, 2], [2, 1], [2, 3, 1], [2, 2, 1, 1, 3, 3, 2, 1]]
        ]
    end),
    ok.

two_callbacks_in_a_row_and_nested(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    ok = py:exec(Context, <<
        "import erlang\n"
        "def tree(depth, path=''):\n"
        "    erlang.call('visit', path)\n"
        "    if depth:\n"
        "        for child in 'ab': erlang.call('descend', depth - 1, path + child)\n"
        "    return path\n"
    >>),
    Descend = fun([Depth, Path]) -> {ok, Path} = py:call(Context, '__main__', tree, [Depth, Path]), none end,
    offering([{visit, fun([Path]) -> Test ! {visit, Path}, none end}, {descend, Descend}], fun() ->
        ?assertEqual({ok, <<>>}, py:call(Context, '__main__', tree, [6]))
    end),
    Visited = collect(visit),
    ?assertEqual(127, length(Visited)),
    ?assertEqual(lists:sort(Visited), Visited).

continuations_of_nested_requests_run_on_top(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Code = <<
        "import erlang\n"
        "def count(n, total=0):\n"
        "    if n == 0: return total\n"
        "    return erlang.schedule_py('ct_counts', 'count', [n - 1, total + erlang.call('one')])\n"
    >>,
    [ok = py_callbacks:module(Context, "ct_counts", Code) || Context <- [First, Second]],
    Test = self(),
    One = fun([]) ->
        {ok, 1} = py:call(First, operator, pos, [1]),
        1
    end,
    offering([{one, One}], fun() ->
        [
            offering([{nested, fun([]) -> Test = self(), {ok, N} = Count(), N end}], fun() ->
                ?assertEqual({ok, 50}, py:call(First, ct_chain, through, [nested]))
            end)
         || Context <- [First, Second],
            Count <- [
                fun() -> py:call(Context, ct_counts, count, [50]) end,
                fun() -> py:await(py:spawn_call(Context, ct_counts, count, [50])) end,
                fun() -> py:call(Context, ct_counts, count, [50], #{timeout => 60_000}) end
            ]
        ]
    end),
    ok.

functions_in_place_of_nested_requests_run_in_the_process(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Code = <<"import erlang\ndef hand_on(name, *args): return erlang.schedule(name, *args)\n">>,
    [ok = py_callbacks:module(Context, "ct_hands", Code) || Context <- [First, Second]],
    Test = self(),
    %% The context is free meanwhile, and the code around it still waits.
    Last = fun([Who]) ->
        {ok, 4.0} = py:call(First, math, sqrt, [16]),
        {ok, 5.0} = py:call(Second, math, sqrt, [25]),
        case Who of
            <<"caller">> -> Test = self();
            <<"other">> -> true = Test =/= self()
        end,
        last
    end,
    offering([{last, Last}], fun() ->
        [
            offering([{nested, fun([]) -> {ok, Value} = Call(), Value end}], fun() ->
                %% The value is that of the function, not converted on its way.
                ?assertEqual({ok, <<"last">>}, py:call(First, ct_chain, through, [nested]))
            end)
         || Context <- [First, Second],
            Call <- [
                fun() -> {ok, last} = py:call(Context, ct_hands, hand_on, [last, caller]) end,
                fun() -> {ok, last} = py:await(py:spawn_call(Context, ct_hands, hand_on, [last, other])) end
            ]
        ]
    end),
    ok.

%%% Depth

%% Descends through the contexts in turn; what cannot go on is thrown through all levels.
descender(Contexts, Call) ->
    fun([N]) ->
        case Call(lists:nth(N rem length(Contexts) + 1, Contexts), N) of
            {ok, Value} -> Value;
            {error, {throw, {stopped, _} = Stopped}} -> throw(Stopped);
            {error, Reason} -> throw({stopped, Reason})
        end
    end.

call_down(Context, N) -> py:call(Context, ct_chain, down, [N]).

mutual_recursion_200_deep_in_one_context(Config) ->
    Context = ?config(ctx, Config),
    offering([{down, descender([Context], fun call_down/2)}], fun() ->
        ?assertEqual({ok, 200}, call_down(Context, 200)),
        ?assertEqual({ok, 200}, py:call(Context, ct_chain, down, [200], #{timeout => 60_000}))
    end).

mutual_recursion_200_deep_between_two_contexts(Config) ->
    [First, Second, Third] = ?config(contexts, Config),
    offering([{down, descender([First, Second], fun call_down/2)}], fun() ->
        ?assertEqual({ok, 200}, call_down(First, 200)),
        ?assertEqual({ok, 200}, call_down(Second, 200))
    end),
    offering([{down, descender([First, Second, Third], fun call_down/2)}], fun() ->
        ?assertEqual({ok, 200}, call_down(First, 200))
    end).

mutual_recursion_200_deep_through_awaited_calls(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Await = fun(Context, N) -> py:await(py:spawn_call(Context, ct_chain, down, [N]), infinity) end,
    [
        offering([{down, descender(Contexts, Await)}], fun() ->
            ?assertEqual({ok, 200}, Await(First, 200))
        end)
     || Contexts <- [[First], [First, Second]]
    ],
    ok.

endless_recursion_is_a_recursion_error(Config) ->
    Context = ?config(ctx, Config),
    offering([{down, descender([Context], fun call_down/2)}], fun() ->
        recursion_error(fun() -> call_down(Context, 10_000) end),
        ?assertEqual({ok, 100}, call_down(Context, 100))
    end).

endless_recursion_without_python_frames_is_a_recursion_error(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Call = fun
        (_Context, 0) -> {ok, 0};
        (Context, N) -> py:call(Context, erlang, call, [down, N - 1])
    end,
    [
        offering([{down, descender(Contexts, Call)}], fun() ->
            ?assertEqual({ok, 0}, Call(First, 200)),
            recursion_error(fun() -> Call(First, 10_000) end),
            ?assertEqual({ok, 0}, Call(First, 100))
        end)
     || Contexts <- [[First], [First, Second]]
    ],
    ok.

endless_recursion_between_two_contexts_is_a_recursion_error(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    offering([{down, descender([First, Second], fun call_down/2)}], fun() ->
        recursion_error(fun() -> call_down(First, 10_000) end),
        ?assertEqual({ok, 100}, call_down(First, 100))
    end).

endless_recursion_through_awaited_calls_is_a_recursion_error(Config) ->
    Context = ?config(ctx, Config),
    Await = fun(Where, N) -> py:await(py:spawn_call(Where, ct_chain, down, [N]), infinity) end,
    offering([{down, descender([Context], Await)}], fun() ->
        recursion_error(fun() -> Await(Context, 10_000) end),
        ?assertEqual({ok, 100}, Await(Context, 100))
    end).

endless_recursion_through_c_code_is_a_recursion_error(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_deep", <<
        "import erlang, functools, json, re\n"
        "class Asks:\n"
        "    def __init__(self, n): self.n = n\n"
        "    def __repr__(self): return str(erlang.call('down', self.n))\n"
        "def sort(n): return sorted([0], key=lambda _: erlang.call('down', n))\n"
        "def reduce(n): return functools.reduce(lambda a, b: erlang.call('down', n), [0, 0])\n"
        "def substitute(n): return re.sub('a', lambda _: str(erlang.call('down', n)), 'a')\n"
        "def show(n): return repr([[[Asks(n)]]])\n"
        "def dump(n): return json.dumps([[object()]], default=lambda _: erlang.call('down', n))\n"
        "def first(n):\n"
        "    def inner(m): return erlang.call('down', n) if m == 0 else inner(m - 1)\n"
        "    return inner(100)\n"
    >>),
    [
        begin
            Call = fun(Where, N) -> py:call(Where, ct_deep, Function, [N + 1]) end,
            offering([{down, descender([Context], Call)}], fun() ->
                recursion_error(fun() -> Call(Context, 0) end),
                ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
            end)
        end
     || Function <- [sort, reduce, substitute, show, dump, first]
    ],
    ok.

%% The function of a conversion must not come back to the context, but may go on to another one.
endless_recursion_through_conversions_is_a_recursion_error(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    [
        ok = py_callbacks:module(Context, "ct_converts", <<
            "import erlang\n"
            "class Asks:\n"
            "    def __init__(self, n): self.n = n\n"
            "    def __erlang_term__(self): return erlang.call('down', self.n)\n"
        >>)
     || Context <- [First, Second]
    ],
    Call = fun(Where, N) -> py:call(Where, ct_converts, 'Asks', [N + 1]) end,
    offering([{down, descender([First, Second], Call)}], fun() ->
        Reason = innermost_reason(Call(First, 0)),
        ?assertMatch({deadlock, [_ | _]}, Reason)
    end).

innermost_reason({error, {throw, {stopped, Reason}}}) -> Reason;
innermost_reason({error, Reason}) -> Reason.

recursion_error(Call) ->
    Result = Call(),
    case Result of
        {error, {throw, {stopped, {'RecursionError', _}}}} -> ok;
        {error, {'RecursionError', _}} -> ok;
        _ -> ct:fail({no_recursion_error, Result})
    end.

%%% The others

requests_of_others_wait_and_run_in_their_order(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_order", <<"order = []\n">>),
    offering([{wait, gate()}], fun() ->
        Caller = py_suite:spawn_caller(fun() ->
            {py:call(Context, erlang, call, [wait]), py:call(Context, ct_order, 'order.append', [<<"caller">>])}
        end),
        Pid = entered([]),
        Others = [
            begin
                Other = py_suite:spawn_caller(fun() -> py:call(Context, ct_order, 'order.append', [I]) end),
                eventually(fun() -> waiting(Context) =:= I end),
                Other
            end
         || I <- lists:seq(1, 10)
        ],
        Mine = [py:spawn_call(Context, ct_order, 'order.append', [I]) || I <- lists:seq(11, 20)],
        ?assertEqual(20, waiting(Context)),
        open(Pid, done),
        ?assertEqual({{ok, <<"done">>}, {ok, none}}, result(Caller)),
        [?assertEqual({ok, none}, result(Other)) || Other <- Others],
        [?assertEqual({ok, none}, py:await(Ref)) || Ref <- Mine],
        {ok, Order} = py:eval(Context, <<"__import__('ct_order').order">>),
        ?assertEqual(lists:seq(1, 20), Order -- [<<"caller">>])
    end).

nested_requests_overtake_those_that_wait(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_order", <<"order = []\n">>),
    Test = self(),
    Append = fun(What) -> py:call(Context, ct_order, 'order.append', [What]) end,
    Work = fun([]) ->
        Test ! submit,
        await(submitted),
        [{ok, none} = Append({<<"nested">>, I}) || I <- lists:seq(1, 5)],
        none
    end,
    offering([{work, Work}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(Context, erlang, call, [work]) end),
        await(submit),
        Refs = [py:spawn_call(Context, ct_order, 'order.append', [I]) || I <- lists:seq(1, 5)],
        element(1, Caller) ! submitted,
        ?assertEqual({ok, none}, result(Caller)),
        [?assertEqual({ok, none}, py:await(Ref)) || Ref <- Refs]
    end),
    ?assertEqual(
        {ok, [{<<"nested">>, I} || I <- lists:seq(1, 5)] ++ lists:seq(1, 5)},
        py:eval(Context, <<"__import__('ct_order').order">>)
    ).

two_chains_in_one_context_do_not_mix(Config) ->
    Context = ?config(ctx, Config),
    Nested = fun([I, 0]) ->
            I = get(me);
        ([I, N]) ->
            I = get(me),
            {ok, I} = py:call(Context, ct_chain, through, [nested, I, N - 1]),
            I
    end,
    offering([{nested, Nested}], fun() ->
        Results = py_suite:concurrently(50, fun(I) ->
            _ = put(me, I),
            [{ok, I} = py:call(Context, ct_chain, through, [nested, I, J rem 4]) || J <- lists:seq(1, 20)],
            py_suite:flush()
        end),
        ?assertEqual([[]], lists:usort(Results))
    end).

requests_that_were_put_off_can_be_taken_back(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_order", <<"order = []\n">>),
    Append = fun(What) -> py:spawn_call(Context, ct_order, 'order.append', [What]) end,
    offering([{wait, gate()}], fun() ->
        Ref = py:spawn_call(Context, erlang, call, [wait]),
        Pid = entered([]),
        [Cancelled, Kept] = [Append(What) || What <- [<<"cancelled">>, <<"kept">>]],
        Test = self(),
        Dying = spawn(fun() ->
            _ = Append(<<"dead">>),
            Test ! {submitted, self()},
            receive never -> ok end
        end),
        await({submitted, Dying}),
        Late = py_suite:spawn_caller(fun() ->
            py:call(Context, ct_order, 'order.append', [<<"late">>], #{timeout => 20})
        end),
        ?assertEqual({error, timeout}, result(Late)),
        ok = py:cancel(Cancelled),
        ok = py_suite:killed(Dying),
        open(Pid, done),
        ?assertEqual({ok, <<"done">>}, py:await(Ref)),
        ?assertEqual({ok, none}, py:await(Kept)),
        ?assertEqual({ok, [<<"kept">>]}, py:eval(Context, <<"__import__('ct_order').order">>))
    end).

requests_that_were_put_off_are_answered_when_the_context_dies(Config) ->
    [_, _, Victim] = ?config(contexts, Config),
    Port = port(Config),
    offering([{wait, gate()}], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            py:call(Victim, ct_frames, frame, [Port, <<"left">>, wait])
        end),
        Pid = entered([]),
        Mine = [py:spawn_call(Victim, operator, pos, [I]) || I <- lists:seq(1, 100)],
        Others = [py_suite:spawn_caller(fun() -> py:call(Victim, operator, pos, [I]) end) || I <- lists:seq(1, 10)],
        eventually(fun() -> waiting(Victim) =:= 110 end),
        ok = py_suite:killed(Victim),
        [?assertEqual({error, {context_died, killed}}, py:await(Ref)) || Ref <- Mine],
        [?assertEqual({error, {context_died, killed}}, result(Other)) || Other <- Others],
        signal(Config, <<"left">>),
        open(Pid, late),
        ?assertEqual({error, {context_died, killed}}, result(Caller))
    end).

requests_that_were_put_off_move_to_the_replacement_of_a_stuck_context(Config) ->
    ok = py_suite:restart(Config, #{stuck_after => 300, num_contexts => 1}),
    Stuck = py:context(1),
    ok = py_callbacks:install(Stuck),
    Socket = ?config(socket, Config),
    Port = port(Config),
    %% Code that ignores interrupts runs on top of code that waits.
    Hang = fun([]) ->
        {error, timeout} = py:call(Stuck, ct_signals, gate, [Port, <<"gate">>], #{timeout => 100}),
        late
    end,
    ok = py:register_function(hang, Hang),
    ok = py:register_function(wait, gate()),
    Waiting = py_suite:spawn_caller(fun() -> py:call(Stuck, ct_frames, frame, [Port, <<"left">>, wait]) end),
    Pid = entered([]),
    Queued = [py:spawn_call(operator, pos, [I]) || I <- lists:seq(1, 10)],
    ?assertEqual(10, waiting(Stuck)),
    %% The process that runs the function makes the context stuck, and goes on.
    Pid ! {py_callbacks, go, fun() -> Hang([]) end},
    Gate = py_suite:await_signal(Socket, <<"gate">>),
    py_suite:silently(fun() ->
        ?assertEqual([{ok, I} || I <- lists:seq(1, 10)], [py:await(Ref) || Ref <- Queued]),
        ?assertEqual({error, {context_died, stuck}}, result(Waiting))
    end),
    ?assertNotEqual(Stuck, py:context(1)),
    py_suite:release(Socket, Gate).

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

%%% Time limits

%% A chain of that many levels, which goes through the contexts in turn. The innermost function does what it is
%% told; each nested call tells its result.
descent(Config, Contexts, Depth, Innermost) ->
    Test = self(),
    Port = port(Config),
    fun
        ([N, Attempt]) when N =:= Depth ->
            Result = Innermost(lists:nth(N rem length(Contexts) + 1, Contexts), Attempt),
            Test ! {level, {Attempt, N, Result}},
            late;
        ([N, Attempt]) ->
            Next = lists:nth(N rem length(Contexts) + 1, Contexts),
            Result = py:call(Next, ct_frames, frame, [Port, left(N + 1, Attempt), level, N + 1, Attempt]),
            Test ! {level, {Attempt, N, Result}},
            late
    end.

left(N, Attempt) -> iolist_to_binary(io_lib:format("left ~b of ~b", [N, Attempt])).

innermost(Attempt) -> <<"innermost of ", (integer_to_binary(Attempt))/binary>>.

%% The results of the nested calls, from the inside out.
levels(0, _Attempt) ->
    [];
levels(Depth, Attempt) ->
    receive
        {level, {Attempt, Depth, Result}} -> [{Depth, Result} | levels(Depth - 1, Attempt)]
    after 30_000 -> ct:fail({no_result_of_level, Depth, process_info(self(), messages)})
    end.

%% All depths, in one context and through several.
descents(Config, Innermost, Check) ->
    [First, Second, Third] = ?config(contexts, Config),
    [
        offering([{level, descent(Config, Contexts, Depth, Innermost)}], fun() ->
            in_time(Config, First, Depth, Check, 100)
        end)
     || Contexts <- [[First], [First, Second], [First, Second, Third]], Depth <- [1, 2, 3, 5]
    ],
    ok.

%% On a busy machine the time may be over before the innermost level is reached: then once more, with more time.
in_time(Config, Context, Depth, Check, Timeout) ->
    Port = port(Config),
    Socket = ?config(socket, Config),
    Innermost = innermost(Timeout),
    Caller = {Pid, Monitor} = py_suite:spawn_caller(fun() ->
        Frame = [Port, left(1, Timeout), level, 1, Timeout],
        {py:call(Context, ct_frames, frame, Frame, #{timeout => Timeout}), py_suite:flush()}
    end),
    receive
        {innermost, Pid} -> Check(Caller, Depth, Timeout);
        {udp, Socket, _, _, Innermost} -> Check(Caller, Depth, Timeout);
        {'DOWN', Monitor, process, Pid, _} -> in_time(Config, Context, Depth, Check, 2 * Timeout)
    end.

time_limit_ends_every_level_that_waits(Config) ->
    Test = self(),
    Wait = fun(_, _) ->
        Test ! {innermost, self()},
        receive
            go -> waited
        end
    end,
    descents(Config, Wait, fun({Pid, _} = Caller, Depth, Attempt) ->
        %% Python is unwound at the deadline, although the function goes on.
        [signal(Config, left(N, Attempt)) || N <- lists:seq(Depth, 1, -1)],
        [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- ?config(contexts, Config)],
        ?assert(is_process_alive(Pid)),
        Pid ! go,
        ?assertEqual({{error, timeout}, []}, result(Caller)),
        [{Depth, waited} | Levels] = levels(Depth, Attempt),
        ?assertEqual([], [Level || {_, Result} = Level <- Levels, Result =/= {error, timeout}])
    end).

time_limit_ends_every_level_that_spins(Config) ->
    busy_descents(Config, spin).

time_limit_ends_every_level_that_sleeps(Config) ->
    busy_descents(Config, sleep).

busy_descents(Config, Function) ->
    Port = port(Config),
    Run = fun(Context, Attempt) -> py:call(Context, ct_frames, Function, [Port, innermost(Attempt)]) end,
    descents(Config, Run, fun(Caller, Depth, Attempt) ->
        ?assertEqual({{error, timeout}, []}, result(Caller)),
        ?assertEqual([], [Level || {_, Result} = Level <- levels(Depth, Attempt), Result =/= {error, timeout}]),
        signal(Config, <<(innermost(Attempt))/binary, " left">>),
        [signal(Config, left(N, Attempt)) || N <- lists:seq(Depth, 1, -1)],
        [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- ?config(contexts, Config)]
    end).

nested_requests_after_the_time_limit_are_refused_at_once(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    [ok = py_callbacks:module(Context, "ct_ran", <<"ran = []\n">>) || Context <- [First, Second]],
    {ok, Ref} = py:eval(First, <<"type('Thing', (), {'value': 1})()">>),
    Late = fun([]) ->
        await(go),
        [
            {error, timeout} = Request(Context)
         || Context <- [First, Second],
            Request <- [
                fun(C) -> py:call(C, ct_ran, 'ran.append', [1]) end,
                fun(C) -> py:call(C, ct_ran, 'ran.append', [1], #{timeout => 60_000}) end,
                fun(C) -> py:eval(C, <<"__import__('ct_ran').ran.append(1)">>) end,
                fun(C) -> py:exec(C, <<"__import__('ct_ran').ran.append(1)">>) end,
                fun(_) -> py:getattr(Ref, value) end,
                fun(_) -> py:call(builtins, len, [[]]) end
            ]
        ],
        %% What others do is not bound by it.
        {ok, 4.0} = py_suite:fresh(fun() -> py:call(Second, math, sqrt, [16]) end),
        refused
    end,
    offering([{late, Late}], fun() ->
        Port = port(Config),
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            Outcome = py:call(First, ct_frames, frame, [Port, <<"left">>, late], #{timeout => 100}),
            {Outcome, py:call(First, math, sqrt, [16])}
        end),
        signal(Config, <<"left">>),
        Pid ! go,
        ?assertEqual({{error, timeout}, {ok, 4.0}}, result(Caller))
    end),
    [?assertEqual({ok, []}, py:eval(Context, <<"__import__('ct_ran').ran">>)) || Context <- [First, Second]],
    ok.

nested_request_ends_at_the_earlier_limit(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Port = port(Config),
    [
        begin
            Nested = fun([]) ->
                {error, timeout} = py:call(Context, ct_frames, spin, [Port, <<"spins">>], #{timeout => Inner}),
                late
            end,
            offering([{nested, Nested}], fun() ->
                ?assertEqual(
                    {error, timeout}, py:call(First, erlang, call, [nested], #{timeout => 300})
                )
            end)
        end
     || Context <- [First, Second], Inner <- [infinity, 60_000]
    ],
    ok.

time_limit_of_a_nested_request_ends_that_one_only(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Port = port(Config),
    ok = py:exec(First, <<
        "import erlang\n"
        "def outer():\n"
        "    return [erlang.call('nested', function) for function in ('spin', 'sleep')]\n"
    >>),
    [
        begin
            Nested = fun([Function]) ->
                Ended = py:call(Context, ct_frames, Function, [Port, <<"runs">>], #{timeout => 50}),
                {error, timeout} = Ended,
                {ok, 5.0} = py:call(Context, math, sqrt, [25]),
                Function
            end,
            offering([{nested, Nested}], fun() ->
                [
                    ?assertEqual({ok, [<<"spin">>, <<"sleep">>]}, py:call(First, '__main__', outer, [], Options))
                 || Options <- [#{}, #{timeout => 60_000}]
                ]
            end)
        end
     || Context <- [First, Second]
    ],
    ok.

time_limit_of_a_middle_level_leaves_the_outer_ones(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Port = port(Config),
    Test = self(),
    [
        begin
            Middle = fun([]) ->
                Result = py:call(Context, ct_frames, frame, [Port, <<"middle left">>, inner], #{timeout => 200}),
                Test ! {middle, Result},
                {ok, 5.0} = py:call(Context, math, sqrt, [25]),
                middle
            end,
            Inner = fun([]) ->
                Test ! {inner, py:call(First, ct_frames, spin, [Port, <<"spins">>])},
                late
            end,
            offering([{middle, Middle}, {inner, Inner}], fun() ->
                ?assertEqual(
                    {ok, <<"middle">>}, py:call(First, erlang, call, [middle], #{timeout => 60_000})
                ),
                ?assertEqual([{error, timeout}], collect(middle)),
                ?assertEqual([], [Result || Result <- collect(inner), Result =/= {error, timeout}])
            end)
        end
     || Context <- [First, Second]
    ],
    ok.

late_value_is_dropped_and_the_context_free_meanwhile(Config) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    offering([{wait, gate()}], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            Late = py:call(Context, ct_frames, frame, [Port, <<"left">>, wait], #{timeout => 500}),
            {Late, py_suite:flush(), py:call(Context, erlang, call, [wait]), py_suite:flush()}
        end),
        Pid = entered([]),
        signal(Config, <<"left">>),
        %% The next one is inside already when the late value comes.
        Next = py:spawn_call(Context, erlang, call, [wait]),
        Inside = entered([]),
        open(Pid, late),
        open(Inside, next),
        ?assertEqual({ok, <<"next">>}, py:await(Next)),
        Pid = entered([]),
        open(Pid, again),
        ?assertEqual({{error, timeout}, [], {ok, <<"again">>}, []}, result(Caller))
    end).

value_in_time_counts_although_the_next_call_is_late(Config) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    ok = py_callbacks:module(Context, "ct_twice", <<
        "import erlang, ct_signals\n"
        "def twice(port):\n"
        "    first = erlang.call('at_once')\n"
        "    try:\n"
        "        erlang.call('wait')\n"
        "    except BaseException as error:\n"
        "        ct_signals.signal(port, f'{first} {type(error).__name__}')\n"
        "        raise\n"
    >>),
    offering([{at_once, fun([]) -> first end}, {wait, gate()}], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            py:call(Context, ct_twice, twice, [Port], #{timeout => 500})
        end),
        Pid = entered([]),
        signal(Config, <<"first Interrupted">>),
        open(Pid, late),
        ?assertEqual({error, timeout}, result(Caller))
    end).

time_limit_of_await_ends_the_chain(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Test = self(),
    Port = port(Config),
    [
        begin
            Nested = fun([]) ->
                Test ! {nested, py:call(Context, ct_frames, spin, [Port, <<"spins">>])},
                late
            end,
            offering([{nested, Nested}], fun() ->
                Ref = py:spawn_call(First, ct_frames, frame, [Port, <<"left">>, nested]),
                signal(Config, <<"spins">>),
                ?assertEqual({error, timeout}, py:await(Ref, 10)),
                signal(Config, <<"left">>),
                signal(Config, <<"spins left">>),
                receive
                    {nested, Result} -> ?assertMatch({error, _}, Result)
                end,
                ?assertEqual({ok, 4.0}, py:call(First, math, sqrt, [16])),
                ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
            end)
        end
     || Context <- [First, Second]
    ],
    ok.

%%% Cancel and death

%% A chain through three levels whose innermost one runs Python code; started by spawn_call.
spawned_descent(Config, Contexts) ->
    Test = self(),
    Port = port(Config),
    Nth = fun(N) -> lists:nth(N rem length(Contexts) + 1, Contexts) end,
    Level = fun
        ([3]) ->
            Test ! {inside, self()},
            Test ! {level, {0, 3, py:call(Nth(3), ct_frames, spin, [Port, <<"spins">>])}},
            late;
        ([N]) ->
            Test ! {inside, self()},
            Test ! {level, {0, N, py:call(Nth(N), ct_frames, frame, [Port, left(N + 1, 0), level, N + 1])}},
            late
    end,
    {Level, fun() -> py:spawn_call(hd(Contexts), ct_frames, frame, [Port, left(1, 0), level, 1]) end}.

inside() ->
    receive
        {inside, Pid} -> Pid
    after 30_000 -> ct:fail({nobody_inside, process_info(self(), messages)})
    end.

cancel_ends_python_of_every_level(Config) ->
    [First, Second, Third] = ?config(contexts, Config),
    [
        begin
            {Level, Begin} = spawned_descent(Config, Contexts),
            offering([{level, Level}], fun() ->
                Ref = Begin(),
                Pid = inside(),
                [Pid, Pid] = [inside(), inside()],
                signal(Config, <<"spins">>),
                ok = py:cancel(Ref),
                [signal(Config, Tag) || Tag <- [<<"spins left">>, left(3, 0), left(2, 0), left(1, 0)]],
                [?assertMatch({error, _}, Result) || {_, Result} <- levels(3, 0)],
                ended(Pid),
                [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts]
            end)
        end
     || Contexts <- [[First], [First, Second], [First, Second, Third]]
    ],
    ok.

death_of_the_caller_ends_python_of_every_level(Config) ->
    [First, Second, Third] = ?config(contexts, Config),
    Port = port(Config),
    [
        begin
            {Level, _} = spawned_descent(Config, Contexts),
            offering([{level, Level}], fun() ->
                Caller = spawn(fun() -> py:call(hd(Contexts), ct_frames, frame, [Port, left(1, 0), level, 1]) end),
                [Caller, Caller, Caller] = [inside(), inside(), inside()],
                signal(Config, <<"spins">>),
                ok = py_suite:killed(Caller),
                [signal(Config, Tag) || Tag <- [<<"spins left">>, left(3, 0), left(2, 0), left(1, 0)]],
                [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts]
            end)
        end
     || Contexts <- [[First], [First, Second], [First, Second, Third]]
    ],
    ok.

%% A chain through spawned calls, so that every level has a process of its own, which may be told to take back
%% what it waits for.
awaiting_descent(Config, Context) ->
    Test = self(),
    Port = port(Config),
    fun([N]) ->
        Ref =
            case N of
                3 -> py:spawn_call(Context, ct_frames, spin, [Port, <<"spins">>]);
                _ -> py:spawn_call(Context, ct_frames, frame, [Port, left(N + 1, 0), level, N + 1])
            end,
        Test ! {inside, self()},
        receive
            {py_response, Ref, _} ->
                passed;
            cancel ->
                ok = py:cancel(Ref),
                cancelled
        end
    end.

cancel_at_any_level_ends_python_of_the_inner_ones(Config) ->
    at_any_level(Config, fun(Pid) ->
        Pid ! cancel,
        <<"cancelled">>
    end).

death_at_any_level_ends_python_of_the_inner_ones(Config) ->
    at_any_level(Config, fun(Pid) ->
        exit(Pid, kill),
        killed
    end).

at_any_level(Config, End) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    [
        offering([{level, awaiting_descent(Config, Context)}], fun() ->
            Ref = py:spawn_call(Context, ct_frames, frame, [Port, left(1, 0), level, 1]),
            Pids = [inside(), inside(), inside()],
            signal(Config, <<"spins">>),
            Outcome = End(lists:nth(N, Pids)),
            [signal(Config, Tag) || Tag <- [<<"spins left">>, left(3, 0), left(2, 0), left(1, 0)]],
            Result = py:await(Ref),
            case {Outcome, N} of
                {killed, 1} -> ?assertMatch({error, {exit, _}}, Result);
                {killed, _} -> ?assertEqual({ok, <<"passed">>}, Result);
                {_, 1} -> ?assertEqual({ok, Outcome}, Result);
                {_, _} -> ?assertEqual({ok, <<"passed">>}, Result)
            end,
            %% The processes of the inner levels learn of the end of what they wait for.
            [ended(Pid) || Pid <- lists:sublist(Pids, N)],
            [exit(Pid, kill) || Pid <- Pids],
            [ended(Pid) || Pid <- Pids],
            ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
        end)
     || N <- [1, 2, 3]
    ],
    ok.

death_of_the_context_ends_a_chain_of_many_levels(Config) ->
    [_, _, Victim] = ?config(contexts, Config),
    Test = self(),
    Port = port(Config),
    Descend = fun
        ([0]) ->
            Test ! {innermost, self()},
            receive go -> late end;
        ([N]) ->
            Test ! {level, {0, N, py:call(Victim, ct_frames, frame, [Port, left(N, 0), level, N - 1])}},
            late
    end,
    offering([{level, Descend}], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            py:call(Victim, ct_frames, frame, [Port, left(50, 0), level, 49])
        end),
        await({innermost, Pid}),
        ok = py_suite:killed(Victim),
        [signal(Config, left(N, 0)) || N <- lists:seq(1, 50)],
        Pid ! go,
        ?assertEqual({error, {context_died, killed}}, result(Caller)),
        [
            receive
                {level, {0, N, Result}} -> ?assertEqual({N, {error, {context_died, killed}}}, {N, Result})
            end
         || N <- lists:seq(1, 49)
        ]
    end).

function_of_any_level_may_stop_the_context(Config) ->
    Test = self(),
    [
        begin
            Context = py_suite:new_context(Config),
            ok = install(Context),
            Descend = fun
                ([0]) ->
                    ok = py_context:stop(Context),
                    Test ! {stopped, py:call(Context, math, sqrt, [16])},
                    late;
                ([N]) ->
                    Test ! {nested, py:call(Context, ct_chain, through, [descend, N - 1])},
                    late
            end,
            offering([{descend, Descend}], fun() ->
                ?assertEqual({error, {context_died, normal}}, py:call(Context, ct_chain, through, [descend, Depth]))
            end),
            ?assertMatch([{error, {context_died, _}}], collect(stopped)),
            ?assertEqual(lists:duplicate(Depth, {error, {context_died, normal}}), collect(nested))
        end
     || Depth <- [1, 5]
    ],
    ok.

death_of_the_context_below_is_an_error_above(Config) ->
    [First, _, Victim] = ?config(contexts, Config),
    Port = port(Config),
    Below = fun([]) ->
        {error, {context_died, killed}} = py:call(Victim, ct_signals, spin, [Port, <<"spins">>]),
        {error, {context_died, noproc}} = py:call(Victim, math, sqrt, [16]),
        {ok, 4.0} = py:call(First, math, sqrt, [16]),
        outlived
    end,
    offering([{below, Below}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(First, erlang, call, [below]) end),
        signal(Config, <<"spins">>),
        ok = py_suite:killed(Victim),
        ?assertEqual({ok, <<"outlived">>}, result(Caller))
    end).

death_of_the_outer_context_leaves_the_inner_call(Config) ->
    [First, _, Victim] = ?config(contexts, Config),
    Test = self(),
    Socket = ?config(socket, Config),
    Port = port(Config),
    Inner = fun([]) ->
        Test ! {inner, py:call(First, ct_signals, gate, [Port, <<"gate">>])},
        late
    end,
    offering([{inner, Inner}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(Victim, ct_frames, frame, [Port, <<"left">>, inner]) end),
        Gate = py_suite:await_signal(Socket, <<"gate">>),
        ok = py_suite:killed(Victim),
        signal(Config, <<"left">>),
        py_suite:release(Socket, Gate),
        %% Its value is of use to the function, not to the dead context.
        receive
            {inner, Result} ->
                ?assert(lists:member(Result, [{ok, <<"gate">>}, {error, interrupted}, {error, {context_died, killed}}]))
        end,
        ?assertEqual({error, {context_died, killed}}, result(Caller))
    end).

interrupt_hits_the_innermost_level(Config) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    Inner = fun([]) ->
        {error, interrupted} = py:call(Context, ct_frames, spin, [Port, <<"spins">>]),
        {ok, 4.0} = py:call(Context, math, sqrt, [16]),
        went_on
    end,
    offering([{inner, Inner}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(Context, erlang, call, [inner]) end),
        signal(Config, <<"spins">>),
        ?assertEqual(ok, py:interrupt(Context)),
        ?assertEqual({ok, <<"went_on">>}, result(Caller)),
        signal(Config, <<"spins left">>)
    end).

interrupt_of_an_outer_context_unwinds_through_the_inner_call(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Test = self(),
    Socket = ?config(socket, Config),
    Port = port(Config),
    Inner = fun([]) ->
        Test ! {inner, py:call(Second, ct_signals, gate, [Port, <<"gate">>])},
        late
    end,
    offering([{inner, Inner}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(First, ct_frames, frame, [Port, <<"left">>, inner]) end),
        Gate = py_suite:await_signal(Socket, <<"gate">>),
        ?assertEqual(ok, py:interrupt(First)),
        signal(Config, <<"left">>),
        py_suite:release(Socket, Gate),
        receive
            {inner, Result} -> ?assert(lists:member(Result, [{ok, <<"gate">>}, {error, interrupted}]))
        end,
        ?assertEqual({error, interrupted}, result(Caller))
    end).

%%% Spawned calls, casts, environments

spawned_and_awaited_call_runs_on_top(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    ok = py:exec(First, <<"import erlang\nx = 1\ndef add(n):\n    global x\n    x += n\n    return x">>),
    Spawn = fun([]) ->
        Refs = [py:spawn_call(First, '__main__', add, [N]) || N <- [1, 2, 3]],
        Other = py:spawn_call(Second, math, sqrt, [16]),
        [{ok, 2}, {ok, 4}, {ok, 7}] = [py:await(Ref) || Ref <- Refs],
        {ok, 4.0} = py:await(Other),
        %% Such a call may call Erlang and Python again.
        {ok, 3} = py:await(py:spawn_call(First, ct_chain, down, [3])),
        spawned
    end,
    offering([{spawn, Spawn}, {down, descender([First], fun call_down/2)}], fun() ->
        ?assertEqual({ok, {<<"spawned">>, 7}}, py:eval(First, <<"(erlang.call('spawn'), x)">>)),
        %% Also in a function that runs in a process of its own, whose namespace is empty.
        Again = fun([]) ->
            {ok, 5.0} = py:await(py:spawn_call(First, math, sqrt, [25])),
            {ok, 6.0} = py:call(First, math, sqrt, [36]),
            again
        end,
        ok = py:register_function(spawn, Again),
        ?assertEqual({ok, <<"again">>}, py:await(py:spawn_call(First, erlang, call, [spawn])))
    end).

spawned_call_that_nobody_awaits_inside_runs_later(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    Spawn = fun([]) -> Test ! {ref, py:spawn_call(Context, math, sqrt, [16])}, none end,
    offering([{spawn, Spawn}], fun() ->
        [
            begin
                ?assertEqual({ok, none}, py:call(Context, erlang, call, [spawn])),
                [Ref] = collect(ref),
                ?assertEqual({ok, 4.0}, py:await(Ref))
            end
         || _ <- lists:seq(1, 100)
        ]
    end),
    ok.

spawned_call_of_a_function_can_be_cancelled(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Port = port(Config),
    [
        begin
            Spawn = fun([]) ->
                Running = py:spawn_call(Context, ct_frames, spin, [Port, <<"spins">>]),
                Queued = py:spawn_call(Context, math, sqrt, [16]),
                ok = py:cancel(Queued),
                {error, timeout} = py:await(Running, 50),
                {ok, 5.0} = py:call(Context, math, sqrt, [25]),
                cancelled
            end,
            offering([{spawn, Spawn}], fun() ->
                ?assertEqual({ok, <<"cancelled">>}, py:call(First, erlang, call, [spawn]))
            end)
        end
     || Context <- [First, Second]
    ],
    ok.

cast_of_a_function_runs_after_its_chain(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "order = []\n"
        "def outer():\n"
        "    erlang.call('cast')\n"
        "    order.append('outer')\n"
        "def note(what): order.append(what)\n"
    >>),
    Cast = fun([]) ->
        ok = py:cast(Context, '__main__', note, [<<"cast">>]),
        {ok, none} = py:call(Context, '__main__', note, [<<"call">>]),
        none
    end,
    offering([{cast, Cast}], fun() ->
        ?assertEqual({ok, none}, py:call(Context, '__main__', outer, []))
    end),
    ?assertEqual({ok, [<<"call">>, <<"outer">>, <<"cast">>]}, py:eval(Context, <<"order">>)).

casts_of_a_function_to_other_contexts_run_at_once(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Test = self(),
    Cast = fun([]) ->
        ok = py:cast(Second, erlang, call, [note]),
        receive
            noted -> noted
        end
    end,
    offering([{cast, Cast}, {note, fun([]) -> Test ! noted, none end}], fun() ->
        ?assertEqual({ok, <<"noted">>}, py:call(First, erlang, call, [cast]))
    end).

environments_are_told_apart_in_nested_requests(Config) ->
    Context = ?config(ctx, Config),
    {ok, One} = py_context:create_local_env(Context),
    {ok, Two} = py_context:create_local_env(Context),
    Code = fun(Where) ->
        Ask = <<"def ask(): return where, erlang.call('nested'), where\n">>,
        [<<"import erlang\nwhere = '">>, Where, <<"'\n">>, Ask]
    end,
    ok = py:exec(Context, Code(<<"own">>)),
    ok = py_context:exec(Context, Code(<<"one">>), One),
    ok = py_context:exec(Context, Code(<<"two">>), Two),
    Nested = fun([]) ->
        [
            begin
                {ok, Where} = Ask(),
                Where
            end
         || Ask <- [
                fun() -> py:eval(Context, <<"where">>) end,
                fun() -> py_context:eval(Context, <<"where">>, #{}, infinity, One) end,
                fun() -> py_context:call(Context, '__main__', '__dict__.get', [<<"where">>], #{}, infinity, Two) end
            ]
        ]
    end,
    All = [<<"own">>, <<"one">>, <<"two">>],
    offering([{nested, Nested}], fun() ->
        ?assertEqual({ok, {<<"own">>, All, <<"own">>}}, py:call(Context, '__main__', ask, [])),
        [
            ?assertEqual(
                {ok, {Where, All, Where}}, py_context:call(Context, '__main__', ask, [], #{}, infinity, Environment)
            )
         || {Where, Environment} <- [{<<"one">>, One}, {<<"two">>, Two}]
        ]
    end),
    ok.

process_of_its_own_has_its_own_namespace(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"import erlang\nx = 'mine'\ndef ask(): return erlang.call('look'), x">>),
    Look = fun([]) ->
        {error, {'NameError', _}} = py:eval(Context, <<"x">>),
        ok = py:exec(Context, <<"x = 'its own'">>),
        {ok, X} = py:eval(Context, <<"x">>),
        X
    end,
    offering([{look, Look}], fun() ->
        ?assertEqual({ok, {<<"its own">>, <<"mine">>}}, py:await(py:spawn_call(Context, '__main__', ask, [])))
    end).

namespace_of_a_process_of_its_own_goes_with_it(Config) ->
    Context = ?config(ctx, Config),
    Look = fun([]) -> ok = py:exec(Context, <<"x = 1">>), none end,
    {_, _, Processes, _} = py_nif:context_info(Context),
    offering([{look, Look}], fun() ->
        [?assertEqual({ok, none}, py:await(py:spawn_call(Context, erlang, call, [look]))) || _ <- lists:seq(1, 20)]
    end),
    eventually(fun() -> element(3, py_nif:context_info(Context)) =:= Processes end).
