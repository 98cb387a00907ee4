%% Types of odd terms, for whoever gives functions what they do not expect.
-module(py_odd).

-export([term/0, leaf/0, integer/0, float/0, text/0, few/1, atom/0]).
-export([described/0, built/1, is_text/1]).

-include("py_properties.hrl").

%% As large as terms get, roughly.
-define(WORDS, 1_000_000).

%% More would let the size of terms explode.
-spec few(term()) -> term().
few(Type) -> ?LET(Length, proper_types:range(0, 4), proper_types:vector(Length, Type)).

%% Any term. No new atoms: their number is limited.
-spec term() -> term().
term() -> ?SIZED(Size, term(Size)).

term(0) ->
    leaf();
term(Size) ->
    Part = ?LAZY(term(Size div 3)),
    proper_types:frequency([
        {5, leaf()},
        {1, few(Part)},
        {1, ?LET(Elements, few(Part), list_to_tuple(Elements))},
        {1, ?LET(Pairs, few(proper_types:tuple([Part, Part])), maps:from_list(Pairs))},
        {1, ?LET({Elements, Tail}, proper_types:tuple([few(Part), Part]), Elements ++ Tail)}
    ]).

-spec leaf() -> term().
leaf() ->
    proper_types:oneof([
        atom(),
        integer(),
        float(),
        proper_types:binary(),
        proper_types:bitstring(),
        text(),
        %% A string.
        proper_types:list(proper_types:range(0, 16#10ffff)),
        proper_types:elements([[], {}, #{}, self(), make_ref(), fun lists:seq/2, fun() -> ok end, hd(erlang:ports()), remote_pid()])
    ]).

%% Nobody runs there.
remote_pid() ->
    binary_to_term(<<131, 88, 119, 13, "other@nowhere", 123:32, 4:32, 77:32>>).

-spec atom() -> term().
atom() ->
    proper_types:elements([
        true, false, nil, none, undefined, infinity, ok, error, nan, '', 'a b', '日本', default, owngil, worker, timeout, kwargs,
        self, kill, normal, call, eval, exec, own, json, loads, math, sqrt, '__main__', builtins, len, 'None', list_to_atom(lists:duplicate(255, $a))
    ]).

-spec integer() -> term().
integer() ->
    proper_types:oneof([
        proper_types:integer(),
        ?LET(
            {Bits, Offset, Sign},
            proper_types:tuple([proper_types:range(0, 300), proper_types:range(-2, 2), proper_types:elements([1, -1])]),
            Sign * (1 bsl Bits) + Offset
        )
    ]).

-spec float() -> term().
float() ->
    proper_types:oneof([
        ?LET(Bits, proper_types:binary(8), float_of(Bits)),
        proper_types:elements(conversion_values:floats())
    ]).

float_of(<<Float/float>>) -> Float;
float_of(<<Sign:1, _:11, Fraction:52>>) -> float_of(<<Sign:1, 16#3ff:11, Fraction:52>>).

-spec text() -> term().
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

%% Small descriptions of terms that may be huge or deep; see built/1.
-spec described() -> term().
described() -> ?SIZED(Size, described(Size)).

described(0) ->
    {term, leaf()};
described(Size) ->
    Part = ?LAZY(described(Size div 2)),
    proper_types:frequency([
        {4, {term, term()}},
        {1, {deep, proper_types:elements([list, tuple, map, tail, key]), depth(), Part}},
        {1, {copies, proper_types:elements([list, tuple, map]), length(), Part}},
        {1, {bytes, proper_types:elements([1, 511, 512, 513, 65_535, 65_536, 65_537, 1_000_000]), proper_types:byte()}},
        {1, {part, length(), length()}},
        {1, {pair, Part, Part}}
    ]).

depth() -> proper_types:elements([1, 2, 3, 10, 999, 1000, 1001, 100_000]).

length() -> proper_types:elements([0, 1, 2, 31, 32, 33, 100, 10_000]).

-spec built(term()) -> term().
built({term, Term}) -> Term;
built({pair, A, B}) -> {built(A), [built(B)]};
built({deep, Kind, Depth, Part}) -> deep(Kind, Depth, built(Part));
built({copies, Kind, Count, Part}) -> copies(Kind, min(Count, max(1, ?WORDS div weight(Part))), built(Part));
built({bytes, Count, Byte}) -> binary:copy(<<Byte>>, Count);
%% Of a larger binary, from any bit on.
built({part, From, Bits}) ->
    <<_:From, Part:Bits/bits, _/bits>> = binary:copy(<<16#5a>>, (From + Bits) div 8 + 1),
    Part.

%% What copies share in this process they do not in another one.
weight({term, Term}) -> erts_debug:flat_size(Term) + 1;
weight({pair, A, B}) -> weight(A) + weight(B) + 5;
weight({deep, _, Depth, Part}) -> 6 * Depth + weight(Part);
weight({copies, _, Count, Part}) -> 4 + min(?WORDS, Count * (weight(Part) + 4));
weight({bytes, Count, _}) -> Count div 8 + 3;
weight({part, _, Bits}) -> Bits div 64 + 6.

deep(key, Depth, Inner) -> #{deep(tuple, Depth, Inner) => key};
deep(_Kind, 0, Inner) -> Inner;
deep(tail, N, Inner) -> deep(tail, N - 1, [x | Inner]);
deep(Kind, N, Inner) -> deep(Kind, N - 1, conversion_values:wrap(Kind, Inner)).

copies(list, Count, Part) -> lists:duplicate(Count, Part);
copies(tuple, Count, Part) -> erlang:make_tuple(Count, Part);
copies(map, Count, Part) -> maps:from_list([{N, Part} || N <- lists:seq(1, Count)]).

%% io_lib:char_list/1 refuses characters that Unicode has no use for.
-spec is_text(term()) -> boolean().
is_text(Text) ->
    try
        is_list(Text) andalso is_binary(unicode:characters_to_binary(Text))
    catch
        error:badarg -> false
    end.
