%% Values: what each line of the tables in docs/conversion.md promises, and what lies at the edges of these lines.
-module(conversion_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}, every_line_of_the_page_has_a_row, bad_options_are_named].

groups() ->
    py_suite:groups([
        terms_become_what_the_table_says,
        terms_are_refused_as_the_table_says,
        objects_become_what_the_table_says,
        objects_are_refused_as_the_table_says,
        options_do_what_the_table_says,
        options_of_a_context_are_checked,
        names_are_strings_whatever_the_options,
        refusals_name_what_is_refused,
        integers_survive_around_every_limit,
        floats_survive_bit_by_bit,
        utf8_is_told_from_other_bytes,
        parts_of_binaries_and_sizes_of_all_kinds_survive,
        null_characters_survive_in_values_and_harm_no_names,
        lone_surrogates_are_refused_wherever_they_are,
        containers_keep_their_kind,
        improper_lists_are_refused_at_any_depth,
        dicts_of_all_sizes_survive,
        refused_result_has_had_its_effects,
        atoms_of_erlang_are_strings_in_python,
        values_of_erlang_are_equal_when_they_are_the_same,
        values_of_erlang_print_as_erlang_prints_them,
        values_of_erlang_cannot_be_made_in_python,
        values_of_erlang_can_be_pickled,
        conversions_hold_under_concurrency,
        any_term_comes_back_as_the_table_says,
        any_literal_goes_back_equal,
        any_bytes_are_answered_as_code,
        any_bytes_are_answered_as_names
    ]).

init_per_group(Mode, Config) ->
    ok = py_suite:load_numpy(),
    py_suite:init_group_with_context(Mode, Config, fun py_suite:python_path/1).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    case ?config(ctx, Config) of
        undefined -> ok;
        Context -> prepare(Context)
    end,
    Config.

end_per_testcase(_Case, Config) ->
    case ?config(ctx, Config) of
        undefined -> ok;
        _ -> py_suite:both_answer(Config)
    end.

%% Every process has its own names.
prepare(Context) ->
    ok = py:exec(Context, <<"from ct_values import *">>).

echo(Config, Term) ->
    py:eval(?config(ctx, Config), <<"x">>, #{x => Term}).

repr(Config, Term) ->
    {ok, Text} = py:call(?config(ctx, Config), builtins, repr, [Term]),
    Text.

%% What comes back is the very same term.
same(Config, Term) ->
    ?assertEqual({ok, Term}, echo(Config, Term)),
    ?assertEqual({ok, [Term]}, echo(Config, [Term])),
    ?assertEqual({ok, {Term, Term}}, echo(Config, {Term, Term})),
    ?assertEqual({ok, #{1 => Term}}, echo(Config, #{1 => Term})).

%%% The tables

terms_become_what_the_table_says(Config) ->
    check({<<"Erlang to Python">>, 1}, Config).

terms_are_refused_as_the_table_says(Config) ->
    check({<<"Erlang to Python">>, 2}, Config).

objects_become_what_the_table_says(Config) ->
    check({<<"Python to Erlang">>, 1}, Config).

objects_are_refused_as_the_table_says(Config) ->
    check({<<"Python to Erlang">>, 2}, Config).

options_do_what_the_table_says(Config) ->
    check({<<"Options">>, 1}, Config).

%% And no row is left of a line that is gone.
every_line_of_the_page_has_a_row(_Config) ->
    {ok, Page} = file:read_file(filename:join(py_suite:checkout(), "docs/conversion.md")),
    Lines = conversion_rows:lines(Page),
    ?assertEqual(lists:sort(conversion_rows:tables()), lists:sort(maps:keys(Lines))),
    maps:foreach(
        fun(Table, Cells) ->
            Rows = conversion_rows:rows(Table),
            Empty = [Line || {Line, []} <- Rows],
            ?assertEqual({Table, []}, {Table, Empty}),
            Known = [Line || {Line, _} <- Rows],
            ?assertEqual({Table, [], []}, {Table, Cells -- Known, Known -- Cells})
        end,
        Lines
    ).

check(Table, Config) ->
    Examples = [{Line, Example} || {Line, Row} <- conversion_rows:rows(Table), Example <- Row],
    Wrong = lists:append([
        in_context(Options, Config, fun(Context) ->
            lists:append([wrong(Line, Example, Context, Config) || {Line, Example} <- Examples, options(Example) =:= Options])
        end)
     || Options <- lists:usort([options(Example) || {_, Example} <- Examples])
    ]),
    [ct:pal("~ts:~n~tP~n", [Line, What, 60]) || {Line, What} <- Wrong],
    ?assertEqual([], lists:usort([Line || {Line, _} <- Wrong])).

options(Example) when is_function(Example) -> #{};
options(Example) -> element(2, Example).

in_context(Options, Config, Fun) when map_size(Options) =:= 0 ->
    Fun(?config(ctx, Config));
in_context(Options, Config, Fun) ->
    case py_context:new(#{mode => py_suite:mode(Config), conversion => Options}) of
        {ok, Context} ->
            try
                ok = py_suite:python_path(Context),
                ok = prepare(Context),
                Fun(Context)
            after
                ok = py_context:stop(Context)
            end;
        {error, Reason} ->
            [{<<"options">>, {Options, Reason}}]
    end.

%% The line and what happened instead, if the example is wrong.
wrong(Line, Example, Context, Config) ->
    try
        [{Line, {Example, Answer}} || Answer <- answers(Example, Context, Config)]
    catch
        Class:Reason:Stack -> [{Line, {Class, Reason, lists:sublist(Stack, 3)}}]
    end.

%% The answers that differ from what the example says; each is tried within containers, too.
answers({in, _, Term, Check, Back}, Context, _Config) ->
    Seen = py:eval(Context, <<"bool(", Check/binary, ")">>, #{x => Term}),
    [{seen, Seen} || Seen =/= {ok, true}] ++
        [
            {back, Place, Answer}
         || {Place, Put} <- places(),
            Answer <- [py:eval(Context, <<"x">>, #{x => Put(Term)})],
            not is_answer(Answer, Back, Put)
        ];
answers({out, _, Code, Variables, Expected}, Context, _Config) when is_function(Expected, 1) ->
    case py:eval(Context, Code, Variables) of
        {ok, Term} -> [{no, Term} || not Expected(Term)];
        Error -> [Error]
    end;
answers({out, _, Code, Variables, Expected}, Context, _Config) ->
    [
        {Around, Answer}
     || {Around, Put} <- around(),
        Answer <- [py:eval(Context, enclosed(Around, Code), Variables)],
        not is_answer(Answer, Expected, Put)
    ];
answers({refused_in, _, Term, Class}, Context, _Config) ->
    [
        {Place, Answer}
     || {Place, Put} <- places(),
        Answer <- [py:eval(Context, <<"x">>, #{x => Put(Term)}), py:call(Context, builtins, len, [Put(Term)])],
        not is_answer(Answer, {error, Class}, Put)
    ];
answers({refused_out, _, Code, Class}, Context, _Config) ->
    [
        {Around, Answer}
     || {Around, Put} <- around(),
        Answer <- [py:eval(Context, enclosed(Around, Code))],
        not is_answer(Answer, {error, Class}, Put)
    ];
answers(Example, _Context, Config) ->
    [Answer || Answer <- [Example(py_suite:mode(Config))], Answer =/= ok].

is_answer({error, {Class, _}}, {error, Class}, _Put) -> true;
is_answer(_, {error, _}, _Put) -> false;
is_answer(Answer, Expected, Put) -> Answer =:= {ok, Put(Expected)}.

places() ->
    [
        {itself, fun(Term) -> Term end},
        {list, fun(Term) -> [Term, 1] end},
        {tuple, fun(Term) -> {1, Term} end},
        {map, fun(Term) -> #{1 => [Term]} end}
    ].

around() ->
    lists:zip([<<"_">>, <<"[_, 1]">>, <<"(1, _)">>, <<"{1: [_]}">>], [Put || {_, Put} <- places()]).

enclosed(Around, Code) ->
    [Before, After] = binary:split(Around, <<"_">>),
    <<Before/binary, "(", Code/binary, ")", After/binary>>.

%%% Options

bad_options_are_named(_Config) ->
    ?assertEqual({ok, py_conversion:default()}, py_conversion:check(#{})),
    ?assertEqual(
        {ok, #{binaries => bytes, atoms => atom, map_keys => text, dict_keys => existing_atom, arrays => binary}},
        py_conversion:check(#{
            binaries => bytes, atoms => atom, map_keys => text, dict_keys => existing_atom, arrays => binary
        })
    ),
    ?assertEqual({ok, (py_conversion:default())#{atoms => atom}}, py_conversion:check(#{atoms => atom})),
    [?assertEqual({error, {bad_option, conversion, Bad}}, py_conversion:check(Bad)) || Bad <- [[], text, 1, [{atoms, atom}]]],
    [
        ?assertEqual({error, {bad_option, {conversion, Key}, Value}}, py_conversion:check(#{Key => Value}))
     || {Key, Value} <- [
            {binaries, binary}, {atoms, true}, {atoms, atoms}, {map_keys, binary}, {dict_keys, atom}, {arrays, bytes},
            {arrays, <<"list">>}, {atom, atom}, {<<"atoms">>, atom}, {1, 2}, {"atoms", atom}
        ]
    ],
    %% One wrong option among right ones, and the first of two.
    ?assertEqual(
        {error, {bad_option, {conversion, arrays}, x}}, py_conversion:check(#{atoms => atom, arrays => x})
    ),
    ?assertMatch({error, {bad_option, {conversion, arrays}, x}}, py_conversion:check(#{binaries => y, arrays => x})).

options_of_a_context_are_checked(Config) ->
    Mode = py_suite:mode(Config),
    [
        ?assertEqual(
            {error, {bad_option, {conversion, Key}, Value}},
            py_context:new(#{mode => Mode, conversion => #{Key => Value}})
        )
     || {Key, Value} <- [{atoms, yes}, {no_such_key, 1}]
    ],
    ?assertEqual({error, {bad_option, conversion, []}}, py_context:new(#{mode => Mode, conversion => []})),
    {ok, Context} = py_context:start_link(id, Mode, #{conversion => #{atoms => atom}}),
    ?assertEqual({ok, [ok]}, py:eval(Context, <<"x">>, #{x => [ok]})),
    true = unlink(Context),
    ok = py_context:stop(Context).

names_are_strings_whatever_the_options(Config) ->
    _ = in_context(#{atoms => atom, binaries => bytes}, Config, fun(Context) ->
        Names = #{a => <<"v">>, <<"b">> => v},
        ?assertEqual({ok, true}, py:eval(Context, <<"type(a) is bytes and type(b) is erlang.Atom">>, Names)),
        ok = py:exec(Context, <<"def keywords(**k): return sorted((n, type(n).__name__) for n in k)">>),
        ?assertEqual(
            {ok, [{<<"a">>, <<"str">>}, {<<"b">>, <<"str">>}]},
            py:call(Context, '__main__', keywords, [], #{kwargs => Names})
        ),
        ?assertEqual({ok, <<"ABC">>}, py:call(Context, builtins, 'bytes.upper', [<<"abc">>])),
        []
    end),
    ok.

%%% Refusals

refusals_name_what_is_refused(Config) ->
    [
        py_suite:contains(py_suite:error_text(Class, echo(Config, Term)), Part)
     || {Term, Class, Part} <- [
            {[1, 2 | 3], 'TypeError', "improper list"},
            {<<1:3>>, 'TypeError', "bitstring"},
            {#{1 => a, 1.0 => b}, 'ValueError', "equal in Python"},
            {#{[1] => 2}, 'TypeError', "list"}
        ]
    ],
    [
        py_suite:contains(py_suite:error_text(Class, py:eval(?config(ctx, Config), Code)), Part)
     || {Code, Class, Part} <- [
            {<<"{'a': 1, b'a': 2}">>, 'ValueError', "same Erlang term"},
            {<<"'a\\ud800b'">>, 'UnicodeEncodeError', "surrogates"},
            {<<"1 << (1 << 30)">>, 'OverflowError', "largest"},
            {<<"[x := [], x.append(x)][0]">>, 'RecursionError', "contains itself"}
        ]
    ],
    ok.

refused_result_has_had_its_effects(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"done = []\ndef act():\n    done.append(1)\n    return '\\ud800'">>),
    ?assertMatch({error, {'UnicodeEncodeError', _}}, py:call(Context, '__main__', act, [])),
    ?assertEqual({ok, [1]}, py:eval(Context, <<"done">>)),
    %% Refused arguments come before any effect.
    ?assertMatch({error, {'TypeError', _}}, py:call(Context, '__main__', 'done.append', [[1 | 2]])),
    ?assertEqual({ok, [1]}, py:eval(Context, <<"done">>)).

%%% Numbers

integers_survive_around_every_limit(Config) ->
    Context = ?config(ctx, Config),
    Integers = conversion_values:integers(),
    [
        begin
            ?assertEqual({ok, N}, echo(Config, N)),
            ?assertEqual({ok, -N}, py:call(Context, operator, neg, [N])),
            %% What Python sees, by another way than conversion.
            Hex = iolist_to_binary([[$- || N < 0], "0x", string:lowercase(integer_to_binary(abs(N), 16))]),
            ?assertEqual({ok, Hex}, py:call(Context, builtins, hex, [N])),
            ?assertEqual({ok, N}, py:call(Context, builtins, int, [Hex, 16]))
        end
     || N <- Integers
    ],
    ?assertEqual({ok, Integers}, echo(Config, Integers)),
    ?assertEqual({ok, 1 bsl 100_000}, py:call(Context, builtins, pow, [2, 100_000])),
    ?assertEqual({ok, maps:from_keys(Integers, 1)}, echo(Config, maps:from_keys(Integers, 1))).

floats_survive_bit_by_bit(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            {ok, Back} = echo(Config, Float),
            ?assertEqual(<<Float/float>>, <<Back/float>>),
            ?assertEqual({ok, <<Float/float>>}, py:call(Context, struct, pack, [<<">d">>, Float])),
            {ok, {Unpacked}} = py:call(Context, struct, unpack, [<<">d">>, {bytes, <<Float/float>>}]),
            ?assertEqual(<<Float/float>>, <<Unpacked/float>>)
        end
     || Float <- conversion_values:floats()
    ],
    ?assertEqual(<<"1.0">>, repr(Config, 1.0)),
    ?assertEqual(<<"1">>, repr(Config, 1)),
    <<MinusZero/float>> = <<1:1, 0:63>>,
    ?assertEqual(<<"-0.0">>, repr(Config, MinusZero)).

%%% Binaries

utf8_is_told_from_other_bytes(Config) ->
    Type = fun(Binary) ->
        ?assertEqual({ok, Binary}, echo(Config, Binary)),
        {ok, Name} = py:eval(?config(ctx, Config), <<"type(x).__name__">>, #{x => Binary}),
        Name
    end,
    [
        ?assertEqual({Text, <<"str">>}, {Text, Type(Text)})
     || Text <- [
            <<>>, <<0>>, <<127>>, <<128/utf8>>, <<16#7ff/utf8>>, <<16#800/utf8>>, <<16#d7ff/utf8>>, <<16#e000/utf8>>,
            <<16#fffe/utf8>>, <<16#ffff/utf8>>, <<16#10000/utf8>>, <<16#10ffff/utf8>>, <<16#feff/utf8, "bom">>
        ]
    ],
    [
        ?assertEqual({Bytes, <<"bytes">>}, {Bytes, Type(Bytes)})
     || Wrong <- [
            <<128>>, <<191>>, <<192, 128>>, <<193, 191>>, <<224, 128, 128>>, <<224, 159, 191>>, <<237, 160, 128>>,
            <<237, 191, 191>>, <<237, 160, 128, 237, 176, 128>>, <<240, 128, 128, 128>>, <<240, 143, 191, 191>>,
            <<244, 144, 128, 128>>, <<245, 128, 128, 128>>, <<248, 136, 128, 128, 128>>, <<254>>, <<255>>, <<195>>,
            <<226, 130>>, <<240, 159, 146>>, <<195, 40>>
        ],
        Bytes <- [Wrong, <<"text", Wrong/binary>>, <<Wrong/binary, "text">>, <<(binary:copy(<<"x">>, 1000))/binary, Wrong/binary>>]
    ],
    ok.

parts_of_binaries_and_sizes_of_all_kinds_survive(Config) ->
    Context = ?config(ctx, Config),
    Whole = binary:copy(<<"0123456789abcdef">>, 1 bsl 18),
    Sizes = [0, 1, 63, 64, 65, 511, 512, 513, 65_535, 65_536, 65_537, 1_000_000, byte_size(Whole) - 3],
    [
        begin
            Text = binary:part(Whole, 3, Size),
            <<_:4, Shifted:Size/binary, _/bitstring>> = <<1:4, Text/binary, 1:4>>,
            ?assert({ok, Text} =:= echo(Config, Text)),
            ?assert({ok, Text} =:= echo(Config, Shifted)),
            ?assert({ok, Text} =:= echo(Config, {bytes, Shifted})),
            ?assert({ok, Text} =:= echo(Config, {memoryview, Text})),
            ?assert({ok, Text} =:= echo(Config, {memoryview, Shifted})),
            ?assert({ok, <<Text/binary, 255>>} =:= echo(Config, <<Text/binary, 255>>)),
            ?assert({ok, true} =:= py:eval(Context, <<"a == bytes(b) == c.encode()">>, #{
                a => {bytes, Shifted}, b => {memoryview, Shifted}, c => Shifted
            })),
            [
                ?assert({ok, <<Expected:Size/binary>>} =:= py:eval(Context, Code, #{n => Size}))
             || {Code, Expected} <- [
                    {<<"b'x' * n">>, binary:copy(<<"x">>, Size)},
                    {<<"bytearray(b'x') * n">>, binary:copy(<<"x">>, Size)},
                    {<<"memoryview(b'x' * n)">>, binary:copy(<<"x">>, Size)},
                    {<<"'x' * n">>, binary:copy(<<"x">>, Size)}
                ]
            ]
        end
     || Size <- Sizes
    ],
    ok.

null_characters_survive_in_values_and_harm_no_names(Config) ->
    Context = ?config(ctx, Config),
    same(Config, <<"a\0b\0">>),
    same(Config, <<0, 255, 0>>),
    ?assertEqual({ok, 4}, py:call(Context, builtins, len, [<<"a\0b\0">>])),
    ?assertEqual({ok, <<0>>}, py:eval(Context, <<"'\\0'">>)),
    ?assertMatch({error, {'ValueError', [0]}}, py:exec(Context, <<"raise ValueError('\\0')">>)),
    [
        ?assertMatch({error, {_, _}}, Answer)
     || Answer <- [
            py:call(Context, <<"ma\0th">>, sqrt, [16]),
            py:call(Context, <<"math\0">>, sqrt, [16]),
            py:call(Context, math, <<"sqrt\0">>, [16]),
            py:call(Context, math, <<"sq\0rt">>, [16]),
            py:call(Context, builtins, int, [<<"1">>], #{kwargs => #{<<"base\0">> => 2}}),
            py:eval(Context, <<"1\0">>),
            py:eval(Context, <<"'a\0b'">>),
            py:exec(Context, <<"x = 1\0">>)
        ]
    ],
    ?assertEqual({ok, #{<<"a\0">> => 1}}, py:call(Context, builtins, dict, [], #{kwargs => #{<<"a\0">> => 1}})),
    ?assertEqual({ok, 1}, py:eval(Context, <<"locals()['a\\0']">>, #{<<"a\0">> => 1})).

lone_surrogates_are_refused_wherever_they_are(Config) ->
    Context = ?config(ctx, Config),
    [
        ?assertMatch({error, {'UnicodeEncodeError', _}}, py:eval(Context, Code))
     || Code <- [
            <<"'\\ud800'">>,
            <<"'\\udfff'">>,
            <<"'\\udc00\\ud800'">>,
            <<"'x' * 100_000 + '\\ud800'">>,
            <<"[1, ('\\ud800',)]">>,
            <<"{'\\ud800'}">>,
            <<"{1: '\\ud800'}">>,
            <<"Fields('\\ud800')">>,
            <<"Term(['\\ud800'])">>,
            <<"enum.Enum('E', {'A': '\\ud800'}).A">>,
            <<"array(['\\ud800'], 1)">>
        ]
    ],
    %% Two that make a pair in UTF-16 are two in Python.
    ?assertMatch({error, {'UnicodeEncodeError', _}}, py:eval(Context, <<"'\\ud83d\\ude00'">>)),
    ?assertEqual({ok, <<"😀"/utf8>>}, py:eval(Context, <<"'\\U0001f600'">>)).

%%% Containers

containers_keep_their_kind(Config) ->
    [
        same(Config, Term)
     || Term <- [
            [], {}, #{}, [[]], {{}}, #{1 => #{}}, [1, {2, [3.0, {}]}], "text",
            #{<<"a">> => [1, 2], {1, 2} => <<"b">>, 1.5 => 0, <<255>> => {#{}}}
        ]
    ],
    ?assertEqual(<<"[1, (2, 'x'), {'k': []}]">>, repr(Config, [1, {2, x}, #{k => []}])).

improper_lists_are_refused_at_any_depth(Config) ->
    Improper = [[1 | 2], [[] | <<>>], [1, 2, 3 | a], lists:seq(1, 1000) ++ tail, [[1 | 2] | 3], [1 | #{}], [self() | self()]],
    Deep = fun(Kind) -> lists:foldl(fun(_, Inner) -> conversion_values:wrap(Kind, Inner) end, [1 | 2], lists:seq(1, 10_000)) end,
    [
        py_suite:contains(py_suite:error_text('TypeError', echo(Config, Term)), "improper")
     || List <- Improper, Term <- [List, [List], {0, List}, #{1 => [List]}, [1, 2, {List}]]
    ],
    [?assertMatch({error, {'TypeError', _}}, echo(Config, Deep(Kind))) || Kind <- [list, tuple, map]],
    ?assertMatch({error, {'TypeError', _}}, echo(Config, #{{[1 | 2]} => 1})).

%% Maps of more than 32 keys are of another kind in Erlang, and large ones are built in another way.
dicts_of_all_sizes_survive(Config) ->
    [
        same(Config, maps:from_list([{Key(I), I} || I <- lists:seq(1, Size)]))
     || Size <- [0, 1, 31, 32, 33, 127, 128, 129, 1000],
        Key <- [fun(I) -> I end, fun integer_to_binary/1, fun(I) -> {I, <<"x">>} end, fun float/1]
    ],
    ok.

%%% Values of Erlang

atoms_of_erlang_are_strings_in_python(Config) ->
    ?assertEqual(
        {ok, [true, true, true, true, <<"Atom">>]},
        py:eval(?config(ctx, Config), <<
            "[isinstance(a, str), a == 'ok' == a, hash(a) == hash('ok'), {'ok': 1}[a] == 1, type(a).__name__]"
            " if (a := erlang.atom('ok')) else []"
        >>)
    ),
    [
        ?assertMatch({error, {'TypeError', _}}, py:eval(?config(ctx, Config), Code))
     || Code <- [<<"erlang.atom(1)">>, <<"erlang.atom(b'ok')">>, <<"erlang.atom()">>]
    ],
    ok.

%% Pairs of a name and two equal values, made independently where that can be, and one that differs.
values() ->
    Fun = fun(Pid) -> fun() -> Pid end end,
    Ref = make_ref(),
    %% They close with the test case.
    [Port, Other] = [open_port({spawn, "cat"}, []) || _ <- [1, 2]],
    [
        {<<"Pid">>, self(), self(), whereis(init)},
        {<<"Ref">>, Ref, Ref, make_ref()},
        {<<"Port">>, Port, Port, Other},
        {<<"Fun">>, Fun(self()), Fun(self()), Fun(whereis(init))},
        {<<"Fun">>, fun lists:seq/2, fun lists:seq/2, fun lists:seq/3}
    ].

values_of_erlang_are_equal_when_they_are_the_same(Config) ->
    [
        ?assertEqual(
            {Name, {ok, [Name, true, false, true, 1, 2, false, true, <<"a">>]}},
            {Name, py:eval(
                ?config(ctx, Config),
                <<
                    "[type(a).__name__, a == b, a != b, hash(a) == hash(b), len({a, b}), len({a, c}), a == c, a != 1,"
                    " {a: 'a', c: 'c'}[b]]"
                >>,
                #{a => A, b => B, c => C}
            )}
        )
     || {Name, A, B, C} <- values()
    ],
    ok.

values_of_erlang_print_as_erlang_prints_them(Config) ->
    [
        ?assertEqual(
            {ok, {Text, Text}},
            py:eval(?config(ctx, Config), <<"(str(x), repr(x))">>, #{x => Term})
        )
     || {_, Term, _, _} <- values(), Text <- [iolist_to_binary(io_lib:format("~w", [Term]))]
    ],
    ok.

values_of_erlang_cannot_be_made_in_python(Config) ->
    Context = ?config(ctx, Config),
    [
        [
            ?assertMatch({Code, {error, {'TypeError', _}}}, {Code, py:eval(Context, Code)})
         || Code <- [
                <<"erlang.", Name/binary, "()">>,
                <<"erlang.", Name/binary, "(b'')">>,
                <<"erlang.", Name/binary, ".__new__(erlang.", Name/binary, ")">>,
                <<"object.__new__(erlang.", Name/binary, ")">>
            ]
        ]
     || {Name, _, _, _} <- values()
    ],
    ok.

values_of_erlang_can_be_pickled(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"import pickle, copy">>),
    Again = [<<"pickle.loads(pickle.dumps(x, ", Protocol, "))">> || Protocol <- "02345"] ++ [<<"copy.copy(x)">>, <<"copy.deepcopy([x])[0]">>],
    [
        ?assertEqual({ok, Term}, py:eval(Context, Code, #{x => Term}))
     || {Name, Term, _, _} <- values(), Name =/= <<"Fun">>, Code <- Again
    ],
    [?assertEqual({ok, hello}, py:eval(Context, <<"[", Code/binary, " for x in [erlang.atom('hello')]][0]">>)) || Code <- Again],
    [
        ?assertMatch({error, {_, _}}, py:eval(Context, <<"pickle.dumps(x)">>, #{x => Fun}))
     || {<<"Fun">>, Fun, _, _} <- values()
    ],
    %% What only looks like a pickle of one does no harm.
    ok = py:exec(Context, <<
        "def spoilt(x):\n"
        "    whole = pickle.dumps(x)\n"
        "    answers = []\n"
        "    for i in range(len(whole)):\n"
        "        for part in (whole[:i] + whole[i + 1:], whole[:i] + b'\\xff' + whole[i + 1:]):\n"
        "            try:\n"
        "                answers.append(type(pickle.loads(part)).__name__)\n"
        "            except Exception as error:\n"
        "                answers.append(type(error).__name__)\n"
        "    return answers\n"
    >>),
    [
        begin
            {ok, Answers} = py:call(Context, '__main__', spoilt, [Term]),
            ?assert(length(Answers) > 50)
        end
     || {Name, Term, _, _} <- values(), Name =/= <<"Fun">>
    ],
    ok.

conversions_hold_under_concurrency(Config) ->
    Context = ?config(ctx, Config),
    Terms = [Term || {_, Term, _, _} <- values()] ++ conversion_values:integers() ++ [<<"text">>, {1, [2.5]}, #{1 => {}}],
    Wrong = py_suite:concurrently(50, fun(I) ->
        [
            Other
         || J <- lists:seq(1, 5),
            Term <- [[I, J, self(), make_ref() | Terms]],
            Other <- [py:eval(Context, <<"x">>, #{x => Term}), py:eval(<<"x">>, #{x => Term})],
            Other =/= {ok, Term}
        ]
    end),
    ?assertEqual(0, length(lists:append(Wrong))).

%%% Properties

any_term_comes_back_as_the_table_says(Config) -> holds(prop_any_term, Config).

any_literal_goes_back_equal(Config) -> holds(prop_any_literal, Config).

any_bytes_are_answered_as_code(Config) -> holds(prop_any_code, Config).

any_bytes_are_answered_as_names(Config) -> holds(prop_any_name, Config).

holds(Property, Config) ->
    prop_conversion:check(Property, ?config(ctx, Config)).
