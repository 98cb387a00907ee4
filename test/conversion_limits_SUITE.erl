%% Values that are too large, too deep or hostile: converted or refused, and never the end of the node.
-module(conversion_limits_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(MILLION, 1_000_000).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        million_elements_survive,
        million_levels_of_terms_reach_python,
        million_levels_of_objects_reach_erlang,
        deep_sets_and_methods_reach_erlang,
        deep_keys_of_dicts_reach_erlang,
        tuple_that_is_too_long_for_erlang_is_refused,
        containers_that_hold_themselves_are_refused,
        shared_parts_are_no_cycle,
        exceptions_of_methods_are_the_answer,
        container_is_as_it_is_when_conversion_comes_to_it,
        built_in_values_in_disguise_are_what_they_hold,
        objects_that_must_not_be_asked_are_referred_to,
        strange_objects_are_answered,
        hostile_keys_are_answered,
        methods_of_the_conversion_are_interrupted
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun py_suite:python_path/1).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    ok = py:exec(?config(ctx, Config), <<"import ct_hostile">>),
    Config.

end_per_testcase(_Case, Config) ->
    py_suite:both_answer(Config).

%% Not in a matching assertion, which would print the terms.
is_echoed(Config, Term) ->
    {ok, Term} =:= py:eval(?config(ctx, Config), <<"x">>, #{x => Term}).

%%% Size

million_elements_survive(Config) ->
    Context = ?config(ctx, Config),
    List = lists:seq(1, ?MILLION),
    ?assert(is_echoed(Config, List)),
    ?assert(is_echoed(Config, list_to_tuple(List))),
    ?assert(is_echoed(Config, [{I, [float(I)], <<"x">>} || I <- List])),
    ?assert(is_echoed(Config, maps:from_list([{I, -I} || I <- List]))),
    ?assert(is_echoed(Config, maps:from_list([{integer_to_binary(I), I} || I <- lists:seq(1, 200_000)]))),
    ?assert(is_echoed(Config, maps:from_list([{{I, <<"x">>}, I} || I <- lists:seq(1, 200_000)]))),
    ?assertEqual({ok, lists:sum(List)}, py:call(Context, builtins, sum, [List])),
    ?assert({ok, List} =:= py:eval(Context, <<"list(range(1, 1_000_001))">>)),
    {ok, Set} = py:eval(Context, <<"set(range(1, 1_000_001))">>),
    ?assert(List =:= lists:sort(Set)).

%% Erlang's tuples have 16 777 215 elements at most.
tuple_that_is_too_long_for_erlang_is_refused(Config) ->
    Context = ?config(ctx, Config),
    {ok, Largest} = py:eval(Context, <<"(0,) * 16_777_215">>),
    ?assertEqual(16_777_215, tuple_size(Largest)),
    %% What comes instead may be no valid term, and must not be printed.
    [
        ?assert(is_refused(py:eval(Context, Code)))
     || Code <- [<<"(0,) * 16_777_216">>, <<"[(0,) * 20_000_000]">>]
    ],
    ok.

is_refused({error, {Class, Text}}) -> is_atom(Class) andalso is_list(Text);
is_refused(_) -> false.

%%% Depth

million_levels_of_terms_reach_python(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "def depth(x):\n"
        "    n = 0\n"
        "    while x != 'leaf':\n"
        "        x = x[1] if type(x) is dict else x[0]\n"
        "        n += 1\n"
        "    return n\n"
    >>),
    [
        begin
            Term = conversion_values:nested(Kind, ?MILLION),
            ?assertEqual({Kind, {ok, ?MILLION}}, {Kind, py:call(Context, '__main__', depth, [Term])}),
            ?assert(is_echoed(Config, Term))
        end
     || Kind <- [list, tuple, map, mixed]
    ],
    ok.

million_levels_of_objects_reach_erlang(Config) ->
    [
        begin
            {ok, Term} = made(Config, Wrap, ?MILLION),
            ?assertEqual({Wrap, ?MILLION}, {Wrap, conversion_values:depth(Term)})
        end
     || Wrap <- [<<"[x]">>, <<"(x,)">>, <<"{1: x}">>, <<"[(x,), {1: x}, [x]][i % 3]">>]
    ],
    ok.

%% Each level asks for an object's contents by a method.
deep_sets_and_methods_reach_erlang(Config) ->
    ok = py:exec(?config(ctx, Config), <<
        "from ct_values import Term, Nested, array\n"
        "import sys\n"
    >>),
    [
        begin
            {ok, Term} = made(Config, Wrap, Depth),
            ?assertEqual({Wrap, Levels}, {Wrap, conversion_values:depth(Term)})
        end
     || {Wrap, Depth, Levels} <- [
            {<<"Term([x])">>, 200_000, 200_000},
            {<<"Term(x)">>, 100, 0},
            {<<"array([x], 1)">>, 200_000, 200_000},
            {<<"frozenset([x])">>, 5_000, 5_000}
        ]
    ],
    {ok, Fields} = made(Config, <<"Nested(x)">>, 100_000),
    ?assertEqual(100_000, fields(Fields, 0)).

fields(#{<<"inner">> := Inner}, N) -> fields(Inner, N + 1);
fields(<<"leaf">>, N) -> N.

deep_keys_of_dicts_reach_erlang(Config) ->
    ok = py:exec(?config(ctx, Config), <<"def keyed(x): return {x: 1, 'other': 2}">>),
    {ok, Map} = made(Config, <<"(x,)">>, 10_000, <<"keyed(x)">>),
    [Key] = maps:keys(maps:remove(<<"other">>, Map)),
    ?assertEqual(10_000, conversion_values:depth(Key)).

%% A value that deep, made by Python.
made(Config, Wrap, Depth) ->
    made(Config, Wrap, Depth, <<"x">>).

made(Config, Wrap, Depth, Result) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "def made(n):\n    x = 'leaf'\n    for i in range(n): x = ", Wrap/binary, "\n    return ", Result/binary
    >>),
    py:call(Context, '__main__', made, [Depth]).

containers_that_hold_themselves_are_refused(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            ?assertEqual(ok, py:exec(Context, Code)),
            ?assertMatch({Code, {error, {'RecursionError', _}}}, {Code, py:eval(Context, <<"x">>)}),
            ?assertMatch({Code, {error, {'RecursionError', _}}}, {Code, py:eval(Context, <<"[1, {2: (x,)}]">>)})
        end
     || Code <- [
            <<"x = []; x.append(x)">>,
            <<"x = []; x.append([x])">>,
            <<"x = {}; x[1] = x">>,
            <<"x = [()]; x.append(({1: [x]},))">>,
            <<"x = []; y = (x,); x.append(y); x = y">>,
            <<"x = [[]] * 1000; x[999].append(x)">>,
            <<"class L(list): pass\nx = L(); x.append({1: x})">>,
            <<"x = y = []\nfor i in range(100_000): y.append([]); y = y[0]\ny.append(x)">>
        ]
    ],
    ok.

shared_parts_are_no_cycle(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, [[1], {[1]}, #{1 => [1]}]}, py:eval(Context, <<"(lambda x: [x, (x,), {1: x}])([1])">>)),
    %% The same object a million times, and on many levels.
    {ok, Many} = py:eval(Context, <<"[[]] * 1_000_000">>),
    ?assert(Many =:= lists:duplicate(?MILLION, [])),
    ok = py:exec(Context, <<"x = []\nfor _ in range(18): x = [x, x]">>),
    {ok, Tree} = py:eval(Context, <<"x">>),
    ?assertEqual(1 bsl 18, leaves(Tree)).

leaves([]) -> 1;
leaves([Left, Right]) -> leaves(Left) + leaves(Right).

%%% Hostility

exceptions_of_methods_are_the_answer(Config) ->
    Context = ?config(ctx, Config),
    {ok, Raisers} = py:eval(Context, <<"{name: len(make()) for name, make in ct_hostile.RAISERS.items()}">>),
    ?assert(map_size(Raisers) > 5),
    [
        ?assertMatch(
            {Class, I, {error, {Class, _}}},
            {Class, I, py:eval(Context, <<Before/binary, "ct_hostile.RAISERS[name]()[i]", After/binary>>, #{name => Name, i => I})}
        )
     || {Name, Count} <- maps:to_list(Raisers),
        Class <- [binary_to_atom(Name)],
        I <- lists:seq(0, Count - 1),
        {Before, After} <- [{<<>>, <<>>}, {<<"[1, (">>, <<",), 2]">>}, {<<"{'k': ">>, <<"}">>}]
    ],
    ok.

%% Methods that conversion calls change the containers around them, and those that come later.
container_is_as_it_is_when_conversion_comes_to_it(Config) ->
    Context = ?config(ctx, Config),
    {ok, Cases} = py:eval(Context, <<"[*ct_hostile.CHANGERS]">>),
    ?assert(length(Cases) > 10),
    [
        begin
            {ok, Expected} = py:eval(Context, <<"ct_hostile.changer(name)[1]">>, #{name => Case}),
            {ok, Term} = py:eval(Context, <<"ct_hostile.changer(name)[0]">>, #{name => Case}),
            ?assertEqual({Case, sorted(Expected)}, {Case, sorted(Term)})
        end
     || Case <- Cases
    ],
    ok.

%% Sets come in any order.
sorted(List) when is_list(List) -> lists:sort(List);
sorted(Term) -> Term.

built_in_values_in_disguise_are_what_they_hold(Config) ->
    Context = ?config(ctx, Config),
    {ok, Names} = py:eval(Context, <<"[*ct_hostile.LIARS]">>),
    ?assert(length(Names) > 5),
    [
        begin
            {ok, Expected} = py:eval(Context, <<"ct_hostile.liar(name)[1]">>, #{name => Name}),
            ?assertEqual({Name, {ok, Expected}}, {Name, py:eval(Context, <<"ct_hostile.liar(name)[0]">>, #{name => Name})})
        end
     || Name <- Names
    ],
    ?assertEqual(
        {ok, #{(1 bsl 70) => [[1, 2], [3]], -(1 bsl 71) => {4}}},
        py:eval(Context, <<"ct_hostile.big_keys()">>)
    ).

objects_that_must_not_be_asked_are_referred_to(Config) ->
    each(Config, <<"REFERENCES">>, fun
        ({ok, Term}) -> py:is_ref(Term);
        (_) -> false
    end).

strange_objects_are_answered(Config) ->
    each(Config, <<"ANYTHING">>, fun
        ({ok, _}) -> true;
        ({error, {Class, Text}}) -> is_atom(Class) andalso is_list(Text);
        (_) -> false
    end).

each(Config, List, Right) ->
    Context = ?config(ctx, Config),
    {ok, Count} = py:eval(Context, <<"len(ct_hostile.", List/binary, ")">>),
    ?assert(Count > 5),
    Wrong = [
        {I, Answer}
     || I <- lists:seq(0, Count - 1),
        Answer <- [py:eval(Context, <<"ct_hostile.made(ct_hostile.", List/binary, "[i])">>, #{i => I})],
        not Right(Answer)
    ],
    [ct:pal("~ts[~b]: ~tP", [List, I, Answer, 30]) || {I, Answer} <- Wrong],
    ?assertEqual([], [I || {I, _} <- Wrong]).

%% Keys of maps that are references to objects are hashed and compared by Python.
hostile_keys_are_answered(Config) ->
    Context = ?config(ctx, Config),
    Key = fun(How) ->
        {ok, Ref} = py:call(Context, ct_hostile, key, [How]),
        true = py:is_ref(Ref),
        Ref
    end,
    Count = fun(Map) -> py:call(Context, builtins, len, [Map]) end,
    ?assertMatch({error, {'KeyError', _}}, Count(#{Key(raises) => 1})),
    ?assertMatch({error, {'ValueError', _}}, Count(#{Key(equal) => 1, Key(equal) => 2})),
    ?assertEqual({ok, 2}, Count(#{Key(different) => 1, Key(different) => 2})),
    {ok, Unhashable} = py:eval(Context, <<"__import__('ct_values').Mutable()">>),
    ?assertMatch({error, {'TypeError', _}}, Count(#{Unhashable => 1})),
    ?assertMatch({error, {'TypeError', _}}, Count(#{{1, Unhashable} => 1})),
    %% As an argument, so the conversion itself is what spins.
    ?assertEqual({error, timeout}, py:call(Context, builtins, len, [#{Key(spins) => 1}], #{timeout => 100})).

methods_of_the_conversion_are_interrupted(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({error, timeout}, py:call(Context, ct_hostile, 'Spinning', [], #{timeout => 100})),
    ok = py:exec(Context, <<"def spinning(): return [1, {2: ct_hostile.Spinning()}]">>),
    ?assertEqual({error, timeout}, py:call(Context, '__main__', spinning, [], #{timeout => 100})),
    %% What was interrupted before is over.
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    Caller = py_suite:spawn_caller(fun() -> py:call(Context, ct_hostile, 'Spinning', []) end),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py:interrupt(Context) =:= ok end)),
    ?assertEqual({result, {error, interrupted}}, py_suite:await_down(Caller, 30_000)).
