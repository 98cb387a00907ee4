%% Calls, their answers, and the values that go both ways.
-module(call_SUITE).

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
        names_are_atoms_binaries_or_strings,
        dotted_function_names_are_looked_up_step_by_step,
        keyword_arguments_arrive_by_name,
        keyword_that_is_no_name_is_an_error,
        call_of_four_tells_its_forms_apart,
        call_of_five_tells_its_forms_apart,
        options_of_an_explicit_call_are_checked,
        spawn_call_takes_all_forms_of_call,
        cast_takes_all_forms,
        failed_cast_is_logged,
        refused_submission_has_a_reference_and_a_message,
        bad_input_is_badarg,
        unknown_pool_is_an_error,
        missing_module_is_an_error,
        missing_attribute_is_an_error,
        what_is_not_callable_is_an_error,
        atoms_mean_what_they_mean_in_python,
        atoms_outside_latin_1_are_strings,
        integers_of_any_size_survive,
        integer_larger_than_erlang_s_is_an_error,
        integer_with_methods_of_its_own_is_only_its_value,
        floats_survive_bit_by_bit,
        floats_without_a_number_are_atoms,
        binaries_are_strings_or_bytes,
        tagged_binaries_are_bytes,
        null_characters_survive,
        lone_surrogate_is_an_error,
        containers_keep_their_kind,
        improper_list_is_an_error,
        large_containers_survive,
        large_binaries_survive,
        keys_that_collide_in_python_are_an_error,
        keys_that_collide_in_erlang_are_an_error,
        key_that_cannot_be_hashed_is_an_error,
        pids_and_references_come_back_as_they_were,
        pids_of_another_node_come_back_as_they_were,
        terms_without_a_counterpart_are_named,
        objects_without_a_counterpart_are_named,
        deep_nesting_survives,
        deeper_nesting_is_a_recursion_error,
        bottomless_nesting_never_crashes,
        value_that_contains_itself_is_a_recursion_error,
        callers_get_their_own_answers,
        foreign_messages_stay_as_they_are
    ]).

init_per_group(Mode, Config) ->
    case py_suite:init_group(Mode, Config) of
        {skip, _} = Skip -> Skip;
        Started -> [{ctx, py_suite:new_context(Started)} | Started]
    end.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% After every case the context that it used answers, and nothing is left in the mailbox.
end_per_testcase(_Case, Config) ->
    {ok, 4.0} = py:call(?config(ctx, Config), math, sqrt, [16]),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ok.

%%% Forms

names_are_atoms_binaries_or_strings(_Config) ->
    [
        ?assertEqual({ok, 4.0}, py:call(Module, Function, [16]))
     || Module <- [math, <<"math">>, "math"], Function <- [sqrt, <<"sqrt">>, "sqrt"]
    ],
    ok.

dotted_function_names_are_looked_up_step_by_step(_Config) ->
    ?assertEqual({ok, <<"a/b">>}, py:call(os, 'path.join', [a, b])),
    ?assertEqual({ok, <<"a/b">>}, py:call('os.path', join, [a, b])),
    ?assertEqual({ok, <<"AB">>}, py:call(builtins, "str.upper", [<<"ab">>])),
    ?assertMatch({error, {'AttributeError', _}}, py:call(os, 'path.nothing.join', [])).

keyword_arguments_arrive_by_name(Config) ->
    Context = ?config(ctx, Config),
    Names = #{a => 1, <<"b">> => 2, 'Größe' => 3},
    Expected = {ok, #{<<"a">> => 1, <<"b">> => 2, <<"Größe"/utf8>> => 3}},
    ?assertEqual(Expected, py:call(builtins, dict, [], Names)),
    ?assertEqual(Expected, py:call(Context, builtins, dict, [], #{kwargs => Names})),
    ?assertEqual({ok, [3, 2, 1]}, py:call(builtins, sorted, [[3, 1, 2]], #{reverse => true})).

keyword_that_is_no_name_is_an_error(_Config) ->
    ?assertMatch({error, {'TypeError', _}}, py:call(builtins, dict, [], #{1 => 2})),
    ?assertMatch({error, {'TypeError', _}}, py:call(builtins, dict, [], #{"name" => 2})),
    ?assertMatch({error, {'ValueError', _}}, py:call(builtins, dict, [], #{<<255>> => 2})),
    ?assertMatch({error, {'TypeError', _}}, py:call(builtins, dict, [], #{a => 1, <<"a">> => 2})).

call_of_four_tells_its_forms_apart(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(Context, "math", <<"sqrt">>, [16])),
    ?assertEqual({ok, 4.0}, py:call(default, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(default, "math", sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16], #{})),
    ?assertEqual({ok, 4.0}, py:call("math", "sqrt", [16], #{})),
    %% A pool is named by an atom, and then so is the function.
    ?assertError(badarg, py:call(<<"default">>, math, sqrt, [16])),
    ?assertError(badarg, py:call(default, math, "sqrt", [16])).

call_of_five_tells_its_forms_apart(Config) ->
    Context = ?config(ctx, Config),
    Reverse = #{reverse => true},
    Expected = {ok, [3, 2, 1]},
    ?assertEqual(Expected, py:call(Context, builtins, sorted, [[3, 1, 2]], #{kwargs => Reverse})),
    ?assertEqual(Expected, py:call(default, builtins, sorted, [[3, 1, 2]], Reverse)),
    ?assertEqual(Expected, py:call(builtins, sorted, [[3, 1, 2]], Reverse, 20_000)),
    ?assertEqual(Expected, py:call("builtins", "sorted", [[3, 1, 2]], Reverse, infinity)).

options_of_an_explicit_call_are_checked(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16], #{})),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16], #{timeout => 20_000})),
    [
        ?assertError(badarg, py:call(Context, math, sqrt, [16], Options))
     || Options <- [#{reverse => true}, #{timeout => -1}, #{timeout => soon}, #{kwargs => []}, [], 5000]
    ],
    ok.

spawn_call_takes_all_forms_of_call(Config) ->
    Context = ?config(ctx, Config),
    Refs = [
        py:spawn_call(math, sqrt, [16]),
        py:spawn_call(math, sqrt, [16], #{}),
        py:spawn_call(default, math, sqrt, [16]),
        py:spawn_call(default, math, sqrt, [16], #{}),
        py:spawn_call(Context, math, sqrt, [16]),
        py:spawn_call(Context, "math", "sqrt", [16], #{})
    ],
    [
        receive
            {py_response, Ref, Result} -> ?assertEqual({ok, 4.0}, Result)
        end
     || Ref <- lists:reverse(Refs)
    ],
    ?assertEqual({ok, [3, 1]}, py:await(py:spawn_call(builtins, sorted, [[1, 3]], #{reverse => true}))),
    ?assertEqual({ok, 4.0}, py:await(py:spawn_call(math, sqrt, [16]), infinity)).

cast_takes_all_forms(Config) ->
    Context = ?config(ctx, Config),
    Mine = py:context(),
    Add = fun(In) -> py:exec(In, <<"casts = []\ndef add(x, y=0): casts.append(x + y)">>) end,
    ok = Add(Context),
    ok = Add(Mine),
    ok = py:cast('__main__', add, [1]),
    ok = py:cast('__main__', add, [1], #{y => 1}),
    ok = py:cast(Context, '__main__', add, [3]),
    ok = py:cast(Context, '__main__', add, [3], #{y => 1}),
    %% Requests of one process to one context are served in order.
    ?assertEqual({ok, [1, 2]}, py:eval(Mine, <<"casts">>)),
    ?assertEqual({ok, [3, 4]}, py:eval(Context, <<"casts">>)),
    ?assertEqual([], py_suite:flush()).

failed_cast_is_logged(Config) ->
    Log = py_suite:capture_log(),
    try
        ok = py:cast(?config(ctx, Config), builtins, int, [<<"no number at all">>]),
        receive
            {log, #{level := error, msg := {report, Report}, meta := #{report_cb := Format}}} ->
                {Text, Values} = Format(Report),
                py_suite:contains(lists:flatten(io_lib:format(Text, Values)), "no number at all")
        end
    after
        py_suite:release_log(Log)
    end,
    ?assertEqual([], py_suite:flush()).

refused_submission_has_a_reference_and_a_message(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_context:stop(Context),
    ?assertEqual({error, {context_died, noproc}}, py:await(py:spawn_call(Context, math, sqrt, [16]))),
    ?assertMatch({error, {no_pool, nowhere}}, py:await(py:spawn_call(nowhere, math, sqrt, [16]))),
    Ref = py:spawn_call(Context, math, sqrt, [16]),
    ok = py:cancel(Ref),
    ?assertEqual([], py_suite:flush()),
    ?assertEqual(ok, py:cast(Context, math, sqrt, [16])).

bad_input_is_badarg(Config) ->
    Context = ?config(ctx, Config),
    Calls = [
        fun() -> py:call(1, sqrt, [16]) end,
        fun() -> py:call(math, {sqrt}, [16]) end,
        fun() -> py:call(math, sqrt, 16) end,
        fun() -> py:call(math, sqrt, [16 | 17]) end,
        fun() -> py:call([1114112], sqrt, [16]) end,
        fun() -> py:call([math], sqrt, [16]) end,
        fun() -> py:call(math, sqrt, [16], []) end,
        fun() -> py:call(math, sqrt, [16], #{}, -1) end,
        fun() -> py:call(math, sqrt, [16], #{}, 1.5) end,
        fun() -> py:call(math, sqrt, [16], #{}, forever) end,
        fun() -> py:call(math, sqrt, [16], [], 1000) end,
        fun() -> py:call(Context, math, sqrt, 16) end,
        fun() -> py:call(Context, 1, sqrt, [16]) end,
        fun() -> py:cast(math, sqrt, 16) end,
        fun() -> py:cast(math, sqrt, [16], 1) end,
        fun() -> py:cast(Context, math, sqrt, 16) end,
        fun() -> py:spawn_call(math, sqrt, 16) end,
        fun() -> py:spawn_call(math, sqrt, [16], 1) end,
        fun() -> py:spawn_call(Context, math, sqrt, [16], []) end,
        fun() -> py:spawn_call("pool", math, sqrt, [16], #{}) end,
        fun() -> py:await(ref) end,
        fun() -> py:await(make_ref(), -1) end,
        fun() -> py:cancel(ref) end,
        fun() -> py:eval(1) end,
        fun() -> py:eval(atom) end,
        fun() -> py:eval([atom]) end,
        fun() -> py:eval(<<"1">>, []) end,
        fun() -> py:eval(<<"1">>, #{}, soon) end,
        fun() -> py:eval(Context, 1) end,
        fun() -> py:eval(Context, <<"1">>, []) end,
        fun() -> py:exec(1) end,
        fun() -> py:exec(<<1:3>>) end,
        fun() -> py:eval(<<1:3>>) end,
        fun() -> py:exec(Context, 1) end,
        fun() -> py:exec(context, <<"1">>) end,
        fun() -> py:parallel(math) end,
        fun() -> py:parallel([{math, sqrt}]) end,
        fun() -> py:parallel([{math, sqrt, 16}]) end,
        fun() -> py:parallel([{math, sqrt, [16]} | tail]) end,
        fun() -> py:interrupt(context) end
    ],
    Wrong = [
        {Call, Other}
     || Call <- Calls,
        Other <- [outcome(Call)],
        Other =/= {error, badarg}
    ],
    ?assertEqual([], Wrong),
    ?assertEqual([], py_suite:flush()).

outcome(Call) ->
    try
        {returned, Call()}
    catch
        Class:Reason -> {Class, Reason}
    end.

unknown_pool_is_an_error(_Config) ->
    ?assertEqual({error, {no_pool, nowhere}}, py:call(nowhere, math, sqrt, [16])),
    ?assertEqual({error, {no_pool, nowhere}}, py:call(nowhere, math, sqrt, [16], #{})).

%%% Errors

missing_module_is_an_error(_Config) ->
    Text = py_suite:error_text('ModuleNotFoundError', py:call(no_such_module, f, [])),
    py_suite:contains(Text, "no_such_module"),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:call('os.no_such_module', f, [])),
    ?assertMatch({error, {_, _}}, py:call(<<>>, f, [])),
    ?assertMatch({error, {_, _}}, py:call(<<"a\0b">>, f, [])),
    ?assertMatch({error, {_, _}}, py:call(<<"..">>, f, [])).

missing_attribute_is_an_error(_Config) ->
    Text = py_suite:error_text('AttributeError', py:call(math, no_such_function, [])),
    py_suite:contains(Text, "no_such_function"),
    ?assertMatch({error, {'AttributeError', _}}, py:call('__main__', no_such_function, [])),
    ?assertMatch({error, {'AttributeError', _}}, py:call(math, <<>>, [])),
    ?assertMatch({error, {'AttributeError', _}}, py:call(math, <<".">>, [])).

what_is_not_callable_is_an_error(_Config) ->
    ?assertMatch({error, {'TypeError', _}}, py:call(math, pi, [])),
    ?assertMatch({error, {'TypeError', _}}, py:call(math, sqrt, [])),
    ?assertMatch({error, {'TypeError', _}}, py:call(math, sqrt, [<<"a">>])).

%%% Values

%% What comes back is the very same term.
same(Config, Term) ->
    ?assertEqual({ok, Term}, echo(Config, Term)),
    ?assertEqual({ok, [Term]}, echo(Config, [Term])),
    ?assertEqual({ok, {Term, Term}}, echo(Config, {Term, Term})),
    ?assertEqual({ok, #{1 => Term}}, echo(Config, #{1 => Term})).

echo(Config, Term) ->
    py:eval(?config(ctx, Config), <<"x">>, #{x => Term}).

repr(Config, Term) ->
    {ok, Text} = py:call(?config(ctx, Config), builtins, repr, [Term]),
    Text.

atoms_mean_what_they_mean_in_python(Config) ->
    ?assertEqual(<<"True">>, repr(Config, true)),
    ?assertEqual(<<"False">>, repr(Config, false)),
    [?assertEqual(<<"None">>, repr(Config, None)) || None <- [nil, none, undefined]],
    ?assertEqual(<<"'hello'">>, repr(Config, hello)),
    ?assertEqual(<<"''">>, repr(Config, '')),
    ?assertEqual({ok, [true, false, none]}, py:eval(<<"[True, False, None]">>)),
    ?assertEqual({ok, <<"hello">>}, echo(Config, hello)).

atoms_outside_latin_1_are_strings(Config) ->
    Long = binary:copy(<<"日"/utf8>>, 255),
    [
        ?assertEqual({ok, Text}, echo(Config, binary_to_atom(Text)))
     || Text <- [<<"日本"/utf8>>, <<"ÿ"/utf8>>, <<"é"/utf8>>, <<"𝔘"/utf8>>, Long, <<"a\0b">>]
    ],
    ?assertEqual({ok, 255}, py:call(builtins, len, [binary_to_atom(Long)])).

integers_of_any_size_survive(Config) ->
    Near = [(1 bsl Bits) + Off || Bits <- [7, 8, 27, 28, 31, 32, 58, 59, 60, 62, 63, 64, 65, 127, 128, 2047, 2048, 100_000], Off <- [-1, 0, 1]],
    lists:foreach(
        fun(N) ->
            ?assertEqual({ok, N}, echo(Config, N)),
            ?assertEqual({ok, -N}, echo(Config, -N)),
            ?assertEqual({ok, -N}, py:call(?config(ctx, Config), operator, neg, [N]))
        end,
        [0 | Near]
    ),
    ?assertEqual({ok, 1 bsl 1000}, py:call(builtins, pow, [2, 1000])),
    ?assertEqual({ok, -(1 bsl 63)}, py:eval(<<"-2**63">>)),
    ?assertEqual({ok, (1 bsl 64) - 1}, py:eval(<<"2**64 - 1">>)).

integer_larger_than_erlang_s_is_an_error(_Config) ->
    Text = py_suite:error_text('OverflowError', py:eval(<<"1 << (1 << 30)">>)),
    py_suite:contains(Text, "largest").

%% Its methods could change containers while they are converted.
integer_with_methods_of_its_own_is_only_its_value(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "class Other:\n"
        "    def bit_length(self): return 'x'\n"
        "class Sly(int):\n"
        "    def __abs__(self):\n"
        "        changed.clear()\n"
        "        return Other()\n"
        "    def bit_length(self): return 'x'\n"
        "changed = {}\n"
        "def dictionary():\n"
        "    changed.update({Sly(2**70): [[1, 2], [3]], Sly(-2**71): (4,)})\n"
        "    return changed\n"
    >>),
    Big = 1 bsl 70,
    Smaller = -(1 bsl 71),
    ?assertEqual({ok, Big}, py:eval(Context, <<"Sly(2**70)">>)),
    ?assertEqual({ok, [Smaller]}, py:eval(Context, <<"[Sly(-2**71)]">>)),
    ?assertEqual(
        {ok, #{Big => [[1, 2], [3]], Smaller => {4}}},
        py:eval(Context, <<"dictionary()">>)
    ).

floats_survive_bit_by_bit(Config) ->
    [
        begin
            {ok, Back} = echo(Config, Float),
            ?assertEqual(<<Float/float>>, <<Back/float>>)
        end
     || Bits <- [<<0:64>>, <<1:1, 0:63>>, <<1:64>>, <<16#7fefffffffffffff:64>>, <<16#ffefffffffffffff:64>>, <<16#0010000000000000:64>>, <<0.1/float>>, <<-2.5/float>>],
        <<Float/float>> <- [Bits]
    ],
    ?assertEqual(<<"1.0">>, repr(Config, 1.0)),
    ?assertEqual(<<"1">>, repr(Config, 1)),
    ?assertEqual({ok, 2.0}, py:call(builtins, float, [2])).

floats_without_a_number_are_atoms(_Config) ->
    ?assertEqual(
        {ok, [nan, nan, infinity, neg_infinity]},
        py:eval(<<"[float('nan'), -float('nan'), float('inf'), -float('inf')]">>)
    ).

binaries_are_strings_or_bytes(Config) ->
    [
        begin
            ?assertEqual({ok, Text}, echo(Config, Text)),
            ?assertEqual({ok, <<"str">>}, py:eval(<<"type(x).__name__">>, #{x => Text}))
        end
     || Text <- [<<>>, <<"abc">>, <<"héé日𝔘"/utf8>>, <<0>>, <<16#7f>>]
    ],
    [
        begin
            ?assertEqual({ok, Bytes}, echo(Config, Bytes)),
            ?assertEqual({ok, <<"bytes">>}, py:eval(<<"type(x).__name__">>, #{x => Bytes}))
        end
     || Bytes <- [<<255>>, <<"a", 16#c3>>, <<16#ed, 16#a0, 16#80>>, <<16#c0, 16#80>>, <<16#f4, 16#90, 16#80, 16#80>>]
    ],
    %% Part of a larger binary, not at a byte's edge.
    <<_:4, Part:3/binary, _/bitstring>> = <<1:4, "abc", 1:4>>,
    ?assertEqual({ok, <<"abc">>}, echo(Config, Part)),
    ?assertEqual({ok, <<1, 2, 255>>}, py:eval(<<"bytes([1, 2, 255])">>)).

tagged_binaries_are_bytes(Config) ->
    ?assertEqual(<<"b'abc'">>, repr(Config, {bytes, <<"abc">>})),
    ?assertEqual(<<"b''">>, repr(Config, {bytes, <<>>})),
    ?assertEqual(<<"('bytes', 1)">>, repr(Config, {bytes, 1})),
    ?assertEqual(<<"('bytes', 'a', 'b')">>, repr(Config, {bytes, <<"a">>, <<"b">>})),
    ?assertEqual({ok, <<"abc">>}, echo(Config, {bytes, <<"abc">>})).

null_characters_survive(Config) ->
    ?assertEqual({ok, <<"a\0b\0">>}, echo(Config, <<"a\0b\0">>)),
    ?assertEqual({ok, 4}, py:call(?config(ctx, Config), builtins, len, [<<"a\0b\0">>])),
    ?assertEqual({ok, <<0, 255, 0>>}, echo(Config, <<0, 255, 0>>)),
    ?assertEqual({ok, <<0>>}, py:eval(<<"'\\0'">>)),
    ?assertMatch({error, {'ValueError', [0]}}, py:exec(<<"raise ValueError('\\0')">>)).

lone_surrogate_is_an_error(_Config) ->
    Text = py_suite:error_text('UnicodeEncodeError', py:eval(<<"'a\\ud800b'">>)),
    py_suite:contains(Text, "surrogates"),
    ?assertMatch({error, {'UnicodeEncodeError', _}}, py:eval(<<"{'\\udfff': 1}">>)),
    ?assertEqual({ok, <<"𝔘"/utf8>>}, py:eval(<<"'\\U0001d518'">>)).

containers_keep_their_kind(Config) ->
    [
        same(Config, Term)
     || Term <- [
            [], {}, #{}, [[]], {{}}, #{1 => #{}}, [1, {2, [3.0, {}]}], "text",
            #{<<"a">> => [1, 2], {1, 2} => <<"b">>, 1.5 => 0, <<255>> => {#{}}}
        ]
    ],
    ?assertEqual(<<"[1, (2, 'x'), {'k': []}]">>, repr(Config, [1, {2, x}, #{k => []}])),
    ?assertEqual(
        {ok, {1, 2}},
        py:eval(<<"__import__('collections').namedtuple('P', 'x y')(1, 2)">>)
    ),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:eval(<<"__import__('collections').OrderedDict(a=1)">>)).

improper_list_is_an_error(Config) ->
    Text = py_suite:error_text('TypeError', echo(Config, [1, 2 | 3])),
    py_suite:contains(Text, "improper"),
    ?assertMatch({error, {'TypeError', _}}, echo(Config, #{1 => [[a | b]]})),
    ?assertMatch({error, {'TypeError', _}}, echo(Config, {[<<>> | <<>>]})).

large_containers_survive(Config) ->
    N = 100_000,
    List = lists:seq(1, N),
    same(Config, List),
    same(Config, list_to_tuple(List)),
    same(Config, maps:from_list([{I, -I} || I <- List])),
    same(Config, maps:from_list([{integer_to_binary(I), I} || I <- List])),
    same(Config, maps:from_list([{{I, <<"x">>}, I} || I <- List])),
    ?assertEqual({ok, lists:sum(List)}, py:call(builtins, sum, [List])),
    ?assertEqual({ok, List}, py:eval(<<"list(range(1, 100_001))">>)).

large_binaries_survive(Config) ->
    Text = binary:copy(<<"0123456789abcdef">>, 1 bsl 20),
    same(Config, Text),
    same(Config, <<Text/binary, 255>>).

keys_that_collide_in_python_are_an_error(Config) ->
    [
        begin
            Text = py_suite:error_text('ValueError', echo(Config, Map)),
            py_suite:contains(Text, "equal in Python")
        end
     || Map <- [
            #{1 => a, 1.0 => b},
            #{a => 1, <<"a">> => 2},
            #{true => 1, 1 => 2},
            #{false => 1, 0.0 => 2},
            #{nil => 1, none => 2},
            #{undefined => 1, none => 2},
            #{{1} => a, {1.0} => b},
            #{{bytes, <<255>>} => 1, <<255>> => 2}
        ]
    ],
    ?assertMatch({error, {'ValueError', _}}, echo(Config, [{#{x => #{1 => a, 1.0 => b}}}])).

keys_that_collide_in_erlang_are_an_error(_Config) ->
    [
        begin
            Text = py_suite:error_text('ValueError', py:eval(Code)),
            py_suite:contains(Text, "same Erlang term")
        end
     || Code <- [
            <<"{'a': 1, b'a': 2}">>,
            <<"{('a',): 1, (b'a',): 2}">>,
            <<"{float('nan'): 1, float('nan'): 2}">>,
            <<"[{'x': {'a': 1, b'a': 2}}]">>
        ]
    ],
    ?assertEqual({ok, #{<<"none">> => 1, none => 2}}, py:eval(<<"{'none': 1, None: 2}">>)),
    ?assertEqual({ok, #{1 => <<"a">>, <<"1">> => <<"b">>}}, py:eval(<<"{1: 'a', '1': 'b'}">>)).

key_that_cannot_be_hashed_is_an_error(Config) ->
    Text = py_suite:error_text('TypeError', echo(Config, #{[1] => 2})),
    py_suite:contains(Text, "list"),
    ?assertMatch({error, {'TypeError', _}}, echo(Config, #{#{} => 2})),
    ?assertMatch({error, {'TypeError', _}}, echo(Config, #{{1, [2]} => 2})).

pids_and_references_come_back_as_they_were(Config) ->
    Alias = erlang:alias(),
    Dead = element(1, spawn_monitor(fun() -> ok end)),
    receive
        {'DOWN', _, process, Dead, _} -> ok
    end,
    [same(Config, Term) || Term <- [self(), Dead, make_ref(), Alias, py:spawn_call(math, sqrt, [16])]],
    true = erlang:unalias(Alias),
    [{py_response, _, {ok, 4.0}}] = py_suite:flush(),
    Map = #{self() => make_ref(), make_ref() => self()},
    ?assertEqual({ok, Map}, echo(Config, Map)),
    ?assertEqual(
        {ok, [true, true, 1, <<"Pid">>]},
        py:eval(<<"[a == b, hash(a) == hash(b), len({a, b}), type(a).__name__]">>, #{a => self(), b => self()})
    ),
    Ref = make_ref(),
    ?assertEqual(
        {ok, [true, 1, false, <<"Ref">>]},
        py:eval(<<"[a == b, len({a, b}), a == c, type(a).__name__]">>, #{a => Ref, b => Ref, c => make_ref()})
    ).

pids_of_another_node_come_back_as_they_were(Config) ->
    %% In the external format, so that no other node has to run.
    Node = <<"other@nowhere">>,
    Name = <<119, (byte_size(Node)), Node/binary>>,
    Pid = binary_to_term(<<131, 88, Name/binary, 123:32, 4:32, 77:32>>),
    ?assertNotEqual(node(), node(Pid)),
    Ref = binary_to_term(<<131, 90, 3:16, Name/binary, 77:32, 1:32, 2:32, 3:32>>),
    ?assertNotEqual(node(), node(Ref)),
    same(Config, Pid),
    same(Config, Ref),
    ?assertEqual({ok, [true, false]}, py:eval(<<"[a == b, a == c]">>, #{a => Pid, b => Pid, c => self()})).

terms_without_a_counterpart_are_named(Config) ->
    Port = hd(erlang:ports()),
    [
        [
            py_suite:contains(py_suite:error_text('TypeError', echo(Config, In)), Name)
         || In <- [Term, [1, Term], {Term}, #{1 => Term}, #{{Term} => 1}]
        ]
     || {Term, Name} <- [{fun() -> ok end, "fun"}, {fun lists:seq/2, "fun"}, {Port, "port"}, {<<1:3>>, "bitstring"}]
    ],
    ?assertMatch({error, {'TypeError', _}}, py:call(builtins, repr, [fun() -> ok end])).

objects_without_a_counterpart_are_named(_Config) ->
    [
        begin
            py_suite:contains(py_suite:error_text('TypeError', py:eval(Code)), Name),
            py_suite:contains(py_suite:error_text('TypeError', py:eval(<<"[{'k': (", Code/binary, ",)}]">>)), Name)
        end
     || {Code, Name} <- [
            {<<"object()">>, "object"},
            {<<"{1, 2}">>, "set"},
            {<<"1j">>, "complex"},
            {<<"print">>, "builtin_function_or_method"},
            {<<"range(3)">>, "range"},
            {<<"...">>, "ellipsis"},
            {<<"type('Mine', (), {})()">>, "Mine"},
            {<<"(x for x in [])">>, "generator"},
            {<<"__import__('math')">>, "module"}
        ]
    ].

%%% Nesting

nested(_Kind, 0) -> <<"leaf">>;
nested(Kind, Depth) -> lists:foldl(fun(_, Inner) -> wrap(Kind, Inner) end, <<"leaf">>, lists:seq(1, Depth)).

wrap(list, Inner) -> [Inner];
wrap(tuple, Inner) -> {Inner};
wrap(map, Inner) -> #{1 => Inner};
wrap(key, Inner) -> #{{Inner} => 1}.

%% A value that deep, made by Python.
made(Context, Kind, Depth) ->
    Wrap = maps:get(Kind, #{list => <<"[x]">>, tuple => <<"(x,)">>, map => <<"{1: x}">>}),
    ok = py:exec(Context, <<"def made(n):\n    x = 'leaf'\n    for _ in range(n): x = ", Wrap/binary, "\n    return x">>),
    py:call(Context, '__main__', made, [Depth]).

deep_nesting_survives(Config) ->
    [
        begin
            Term = nested(Kind, 9_000),
            ?assertEqual({ok, Term}, echo(Config, Term)),
            ?assertEqual({ok, Term}, made(?config(ctx, Config), Kind, 9_000))
        end
     || Kind <- [list, tuple, map]
    ],
    Key = nested(tuple, 9_000),
    ?assertMatch({Outcome, _} when Outcome =:= ok; Outcome =:= error, echo(Config, #{Key => 1})).

deeper_nesting_is_a_recursion_error(Config) ->
    [
        begin
            ?assertMatch({error, {'RecursionError', _}}, echo(Config, nested(Kind, 100_000))),
            ?assertMatch({error, {'RecursionError', _}}, made(?config(ctx, Config), Kind, 100_000))
        end
     || Kind <- [list, tuple, map]
    ],
    ?assertMatch({error, {'RecursionError', _}}, echo(Config, #{nested(tuple, 100_000) => 1})).

bottomless_nesting_never_crashes(Config) ->
    Deep = nested(list, 1_000_000),
    ?assertMatch({error, {'RecursionError', _}}, echo(Config, Deep)),
    ?assertMatch({error, {'RecursionError', _}}, py:call(builtins, len, [Deep])),
    ?assertMatch({error, {'RecursionError', _}}, made(?config(ctx, Config), list, 1_000_000)),
    ?assertMatch({error, {'RecursionError', _}}, made(?config(ctx, Config), tuple, 1_000_000)).

value_that_contains_itself_is_a_recursion_error(_Config) ->
    ?assertMatch({error, {'RecursionError', _}}, py:eval(<<"[x := [], x.append(x)][0]">>)),
    ?assertMatch({error, {'RecursionError', _}}, py:eval(<<"[x := {}, x.update(a=x)][0]">>)).

%%% Many callers

callers_get_their_own_answers(Config) ->
    Context = ?config(ctx, Config),
    Wrong = py_suite:concurrently(200, fun(I) ->
        [
            {I, J, Other}
         || J <- lists:seq(1, 25),
            Other <- [
                py:call(Context, operator, add, [I * 1000, J]),
                py:call(operator, add, [I * 1000, J]),
                py:await(py:spawn_call(operator, add, [I * 1000, J])),
                py:eval(<<"i * 1000 + j">>, #{i => I, j => J})
            ],
            Other =/= {ok, I * 1000 + J}
        ] ++ py_suite:flush()
    end),
    ?assertEqual([], lists:append(Wrong)).

foreign_messages_stay_as_they_are(Config) ->
    Context = ?config(ctx, Config),
    py_suite:fresh(fun() ->
        Messages = [
            case I rem 4 of
                0 -> {py_response, make_ref(), {ok, I}};
                1 -> {make_ref(), {ok, I}};
                2 -> {make_ref(), {error, I}, story};
                3 -> I
            end
         || I <- lists:seq(1, 10_000)
        ],
        [self() ! Message || Message <- Messages],
        {ok, 4.0} = py:call(math, sqrt, [16]),
        {ok, 4.0} = py:call(Context, math, sqrt, [16]),
        {ok, 4.0} = py:await(py:spawn_call(math, sqrt, [16])),
        {error, {'ValueError', _}} = py:call(math, sqrt, [-1]),
        {error, timeout} = py:call(Context, time, sleep, [60], #{timeout => 10}),
        {error, timeout} = py:await(py:spawn_call(time, sleep, [60]), 10),
        ok = py:cancel(py:spawn_call(time, sleep, [60])),
        ok = py:exec(<<"x = 1">>),
        {ok, [{ok, 4.0}, {ok, 5.0}]} = py:parallel([{math, sqrt, [16]}, {math, sqrt, [25]}]),
        ok = py:cast(math, sqrt, [16]),
        {ok, 1} = py:eval(<<"x">>),
        {messages, Left} = erlang:process_info(self(), messages),
        ?assertEqual(Messages, Left)
    end).
