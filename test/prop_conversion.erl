%% Properties of conversion. They are written after docs/conversion.md, and know nothing of the native code.
%%
%% PROPERTY_TESTS in the environment says how often each is tried.
-module(prop_conversion).

-export([check/2]).
-export([prop_any_term/1, prop_any_literal/1, prop_any_code/1, prop_any_name/1]).

-include("support/py_properties.hrl").

-define(TESTS, 300).

%% Tries a property in a context in which ct_values can be imported.
-spec check(atom(), pid()) -> ok.
check(Property, Context) ->
    py_properties:check(Property, fun() -> ?MODULE:Property(Context) end, ?TESTS, [{max_size, 30}]).

%% ------------------------------------------------------------------------------------------------
%% Terms

prop_any_term(Context) ->
    ?FORALL(
        Term,
        term(),
        case {answer(py:eval(Context, <<"x">>, #{x => Term})), expected(Term)} of
            {{ok, Back}, {ok, Expected}} -> is_exactly(Back, Expected);
            {{error, Class}, {error, Classes}} -> lists:member(Class, Classes);
            _ -> false
        end
    ).

answer({ok, Term}) -> {ok, Term};
answer({error, {Class, Text}}) when is_list(Text) -> {error, Class}.

%% Some emulators take 0.0 and -0.0 for the same.
is_exactly(Term, Expected) ->
    Term =:= Expected andalso
        term_to_binary(Term, [deterministic]) =:= term_to_binary(Expected, [deterministic]).

%% What comes back of a term, or the exceptions that may refuse it.
expected(Term) ->
    case lists:usort(refusals(Term)) of
        [] -> {ok, back(Term)};
        Classes -> {error, Classes}
    end.

refusals(Bits) when is_bitstring(Bits), not is_binary(Bits) ->
    ['TypeError'];
refusals(List) when is_list(List) ->
    case is_proper(List) of
        true -> lists:flatmap(fun refusals/1, List);
        false -> ['TypeError']
    end;
refusals(Tuple) when is_tuple(Tuple) ->
    lists:flatmap(fun refusals/1, tuple_to_list(Tuple));
refusals(Map) when is_map(Map) ->
    Keys = maps:keys(Map),
    lists:flatmap(fun refusals/1, Keys ++ maps:values(Map)) ++
        ['TypeError' || Key <- Keys, not is_hashable(Key)] ++
        ['ValueError' || has_duplicates([python_key(Key) || Key <- Keys])] ++
        ['ValueError' || has_duplicates([back(Key) || Key <- Keys, refusals(Key) =:= []])];
refusals(_) ->
    [].

is_proper([_ | Tail]) -> is_proper(Tail);
is_proper(Tail) -> Tail =:= [].

is_hashable(Key) when is_list(Key); is_map(Key) -> false;
is_hashable(Key) when is_tuple(Key) -> lists:all(fun is_hashable/1, tuple_to_list(Key));
is_hashable(_) -> true.

%% Terms that Python takes for equal give the same.
python_key(true) -> {number, 1};
python_key(false) -> {number, 0};
python_key(None) when None =:= none; None =:= nil; None =:= undefined -> none;
python_key(Atom) when is_atom(Atom) -> {text, atom_to_binary(Atom)};
python_key(Integer) when is_integer(Integer) -> {number, Integer};
python_key(Float) when is_float(Float), Float == trunc(Float) -> {number, trunc(Float)};
python_key({Tag, Binary}) when is_binary(Binary), Tag =:= bytes; is_binary(Binary), Tag =:= memoryview -> {bytes, Binary};
python_key(Tuple) when is_tuple(Tuple) -> {tuple, [python_key(Element) || Element <- tuple_to_list(Tuple)]};
python_key(Binary) when is_binary(Binary) ->
    case is_text(Binary) of
        true -> {text, Binary};
        false -> {bytes, Binary}
    end;
python_key(Other) ->
    {term, Other}.

is_text(Binary) -> is_list(unicode:characters_to_list(Binary)).

has_duplicates(Keys) -> length(lists:usort(Keys)) =/= length(Keys).

back(Same) when Same =:= true; Same =:= false -> Same;
back(None) when None =:= none; None =:= nil; None =:= undefined -> none;
back(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
back({Tag, Binary}) when is_binary(Binary), Tag =:= bytes; is_binary(Binary), Tag =:= memoryview -> Binary;
back(Tuple) when is_tuple(Tuple) -> list_to_tuple([back(Element) || Element <- tuple_to_list(Tuple)]);
back(List) when is_list(List) -> [back(Element) || Element <- List];
back(Map) when is_map(Map) -> maps:from_list([{back(Key), back(Value)} || {Key, Value} <- maps:to_list(Map)]);
back(Other) -> Other.

%% More would let the size of terms explode.
few(Type) -> ?LET(Length, proper_types:range(0, 5), proper_types:vector(Length, Type)).

term() -> ?SIZED(Size, term(Size)).

term(0) ->
    leaf();
term(Size) ->
    Part = ?LAZY(term(Size div 3)),
    Few = few(Part),
    proper_types:frequency([
        {6, leaf()},
        {3, Few},
        {3, ?LET(Elements, Few, list_to_tuple(Elements))},
        {3, ?LET(Pairs, few(proper_types:tuple([key(Size div 3), Part])), maps:from_list(Pairs))},
        {1, ?LET({Element, Elements, Tail}, proper_types:tuple([Part, Few, Part]), [Element | Elements] ++ Tail)}
    ]).

%% Few enough that they meet, in Python or in Erlang.
key(Size) ->
    proper_types:frequency([
        {6, leaf()},
        {4, proper_types:elements([0, 1, 0.0, -0.0, 1.0, true, false, nil, none, undefined, a, <<"a">>, {bytes, <<"a">>}, {1}, {1.0}])},
        {1, ?LAZY(?LET(Elements, few(key(Size div 3)), list_to_tuple(Elements)))},
        {1, ?LAZY(term(Size div 3))}
    ]).

leaf() ->
    proper_types:oneof([
        proper_types:elements([true, false, nil, none, undefined, ok, nan, infinity, '', 'a b', bytes, '日本', 'None']),
        integer(),
        ?LET(Bits, proper_types:binary(8), float_of(Bits)),
        proper_types:binary(),
        text(),
        proper_types:tuple([proper_types:elements([bytes, memoryview]), proper_types:oneof([proper_types:binary(), text()])]),
        proper_types:frequency([{4, proper_types:binary()}, {1, proper_types:bitstring()}]),
        ?LET(_, proper_types:exactly(reference), make_ref()),
        proper_types:elements([self(), whereis(init), hd(erlang:ports()), fun lists:seq/2, fun() -> ok end])
    ]).

integer() ->
    proper_types:oneof([
        proper_types:integer(),
        ?LET(
            {Bits, Offset, Sign},
            proper_types:tuple([proper_types:range(0, 300), proper_types:range(-2, 2), proper_types:elements([1, -1])]),
            Sign * (1 bsl Bits) + Offset
        ),
        ?LET({Bytes, Sign}, proper_types:tuple([proper_types:binary(), proper_types:elements([1, -1])]), Sign * binary:decode_unsigned(<<0, Bytes/binary>>))
    ]).

float_of(<<Float/float>>) -> Float;
float_of(<<Sign:1, _:11, Fraction:52>>) -> float_of(<<Sign:1, 16#3ff:11, Fraction:52>>).

text() ->
    ?LET(
        Characters,
        proper_types:list(
            proper_types:oneof([
                proper_types:range(0, 127),
                proper_types:range(16#80, 16#d7ff),
                proper_types:range(16#e000, 16#ffff),
                proper_types:range(16#10000, 16#10ffff)
            ])
        ),
        unicode:characters_to_binary(Characters)
    ).

%% ------------------------------------------------------------------------------------------------
%% Literals

prop_any_literal(Context) ->
    ok = py:exec(Context, <<"from ct_values import same">>),
    ?FORALL(
        Literal,
        literal(),
        begin
            Source = unicode:characters_to_binary(Literal),
            {ok, Term} = py:eval(Context, Source),
            {ok, true} =:= py:eval(Context, <<"same(x, ", Source/binary, ")">>, #{x => Term})
        end
    ).

%% Of types that the table keeps both ways: the bytes are none that would be text.
literal() -> ?SIZED(Size, literal(Size)).

literal(0) ->
    simple();
literal(Size) ->
    Part = ?LAZY(literal(Size div 3)),
    proper_types:frequency([
        {3, simple()},
        {3, ?LET(Parts, few(Part), ["[", [[One, ", "] || One <- Parts], "]"])},
        {3, ?LET(Parts, few(Part), ["(", [[One, ", "] || One <- Parts], ")"])},
        {3,
            ?LET(
                Pairs,
                few(proper_types:tuple([hashable(Size div 3), Part])),
                ["{", [[Key, ": ", Value, ", "] || {Key, Value} <- Pairs], "}"]
            )}
    ]).

hashable(0) ->
    simple();
hashable(Size) ->
    proper_types:frequency([
        {3, simple()},
        {1, ?LET(Parts, few(?LAZY(hashable(Size div 3))), ["(", [[One, ", "] || One <- Parts], ")"])}
    ]).

simple() ->
    proper_types:oneof([
        proper_types:elements(["True", "False", "None", "-0.0", "0.0", "1", "1.0", "1e400 if 0 else 1e-320", "''", "()"]),
        ?LET(N, integer(), integer_to_list(N)),
        ?LET(Bits, proper_types:binary(8), io_lib:format("float.fromhex('~s')", [hex_float(float_of(Bits))])),
        ?LET(Text, text(), ["'", [io_lib:format("\\U~8.16.0b", [C]) || C <- unicode:characters_to_list(Text)], "'"]),
        ?LET(Bytes, proper_types:binary(), ["b'\\xff", [io_lib:format("\\x~2.16.0b", [Byte]) || <<Byte>> <= Bytes], "'"])
    ]).

%% Exact, and without the parser of decimals.
hex_float(Float) ->
    <<Sign:1, Exponent:11, Fraction:52>> = <<Float/float>>,
    {Lead, Power} =
        case Exponent of
            0 -> {0, -1022};
            _ -> {1, Exponent - 1023}
        end,
    io_lib:format("~s0x~b.~13.16.0bp~b", [[$- || Sign =:= 1], Lead, Fraction, Power]).

%% ------------------------------------------------------------------------------------------------
%% Arbitrary bytes

prop_any_code(Context) ->
    ?FORALL(
        Code,
        code(),
        is_answer(py:eval(Context, Code)) andalso
            is_answer(py:exec(Context, Code)) andalso
            is_answer(py:eval(Code, #{}, 30_000)) andalso
            {ok, 4.0} =:= py:call(Context, math, sqrt, [16])
    ).

prop_any_name(Context) ->
    {ok, Object} = py:call(Context, collections, deque, []),
    ?FORALL(
        {Name, Other},
        proper_types:tuple([name(), name()]),
        lists:all(fun is_answer/1, [
            py:call(Context, Name, Other, []),
            py:call(Context, builtins, Name, []),
            py:call(Context, <<"os.", Name/binary>>, Other, []),
            py:call(Context, '__main__', <<Name/binary, ".", Other/binary>>, [1]),
            py:call(Context, builtins, dict, [], #{kwargs => #{Name => 1, Other => 2}}),
            py:eval(Context, <<"len(locals())">>, #{Name => 1, Other => 2}),
            py:getattr(Object, Name),
            py:call_method(Object, Name, [])
        ]) andalso {ok, 4.0} =:= py:call(Context, math, sqrt, [16])
    ).

is_answer(ok) -> true;
is_answer({ok, _}) -> true;
is_answer({error, {stop_iteration, none}}) -> true;
is_answer({error, {Class, Text}}) -> (is_atom(Class) orelse is_binary(Class)) andalso is_list(Text);
is_answer(_) -> false.

%% Nothing that runs for ever or leaves the interpreter changed.
code() ->
    Word = proper_types:elements([
        "x", "=", "1", "0x_", "1e999", "'", "\"\"\"", "(", ")", "[", "]", "{", "}", ":", ",", ".", "\n", "\n    ", "\t", "\\",
        "lambda", "def f", "class C", "if", "else", "for", "in", "()", "yield", "await", "async", "return", "None", "f'{",
        "}'", "*", "->", ":=", "@", "#", "\f", "é", "\0", "\x{feff}", "raise", "try:", "finally:", "del", "global", "match", "case _:",
        "type X", "%", "__", "...", ";", "~", "not", "-", "== 0", "# coding: latin-1\n", "\r", "\r\n", "b'", "rb'\\x", "'\\N{", "'\\ud800'"
    ]),
    proper_types:oneof([
        proper_types:binary(),
        text(),
        ?LET(Words, proper_types:list(Word), unicode:characters_to_binary([[One, " "] || One <- Words]))
    ]).

name() ->
    proper_types:oneof([
        proper_types:binary(),
        text(),
        proper_types:elements([
            <<>>, <<".">>, <<"..">>, <<"a.">>, <<".a">>, <<"append.">>, <<"__class__">>, <<"__dict__">>, <<"__init__">>, <<"append">>, <<"a b">>,
            <<"\0">>, <<"a\0b">>, <<237, 160, 128>>, <<"None">>, <<"True">>, <<"self">>, <<"é"/utf8>>, <<"__main__">>, <<"sys.modules">>,
            binary:copy(<<"x">>, 100_000), binary:copy(<<"x.">>, 1000)
        ])
    ]).
