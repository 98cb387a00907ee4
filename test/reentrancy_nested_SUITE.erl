%% Calls from inside a callback run on top of the code that waits, also spawned ones and continuations.
-module(reentrancy_nested_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, collect/1, eventually/1]).
-import(py_chains, [port/1, descender/2]).

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

init_per_testcase(_Case, Config) ->
    py_chains:init_case(Config).

end_per_testcase(_Case, Config) ->
    py_chains:end_case(Config).

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
    offering([{spawn, Spawn}, {down, descender([First], fun py_chains:call_down/2)}], fun() ->
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
