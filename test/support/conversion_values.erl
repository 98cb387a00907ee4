%% Large and deep values for the suites of conversion.
-module(conversion_values).

-export([nested/2, wrap/2, depth/1, floats/0, integers/0]).

-type kind() :: list | tuple | map | mixed.

%% Containers of a kind, that many within one another.
-spec nested(kind(), non_neg_integer()) -> term().
nested(Kind, Depth) -> nested(Kind, Depth, <<"leaf">>).

nested(_Kind, 0, Inner) -> Inner;
nested(mixed, N, Inner) -> nested(mixed, N - 1, wrap(element(N rem 3 + 1, {list, tuple, map}), Inner));
nested(Kind, N, Inner) -> nested(Kind, N - 1, wrap(Kind, Inner)).

-spec wrap(list | tuple | map, term()) -> term().
wrap(list, Inner) -> [Inner];
wrap(tuple, Inner) -> {Inner};
wrap(map, Inner) -> #{1 => Inner}.

%% How many containers of one element lie within one another; the innermost must be the leaf.
-spec depth(term()) -> non_neg_integer().
depth(Term) -> depth(Term, 0).

depth([Inner], N) -> depth(Inner, N + 1);
depth({Inner}, N) -> depth(Inner, N + 1);
depth(#{1 := Inner} = Map, N) when map_size(Map) =:= 1 -> depth(Inner, N + 1);
depth(<<"leaf">>, N) -> N.

%% Zeros, the smallest and largest of each kind, and neighbours; those that differ only in the sign of zero included.
-spec floats() -> [float()].
floats() ->
    [
        Float
     || <<Float/float>> <- [
            <<0:64>>, <<1:1, 0:63>>, <<1:64>>, <<1:1, 1:63>>, <<16#000fffffffffffff:64>>, <<16#0010000000000000:64>>,
            <<16#8010000000000000:64>>, <<16#7fefffffffffffff:64>>, <<16#ffefffffffffffff:64>>,
            <<0.1/float>>, <<-2.5/float>>, <<1.0e22/float>>, <<9007199254740993.0/float>>
        ]
    ].

%% Around the limits of machine words, of small integers and of digits, and far beyond, of both signs.
-spec integers() -> [integer()].
integers() ->
    Bits = [7, 8, 15, 16, 27, 28, 29, 30, 31, 32, 58, 59, 60, 61, 62, 63, 64, 65, 127, 128, 2047, 2048, 2049, 33_000],
    Near = [(1 bsl N) + Offset || N <- Bits, Offset <- [-1, 0, 1]],
    Long = [binary_to_integer(binary:copy(Digit, 5000)) || Digit <- [<<"1">>, <<"9">>]],
    lists:usort([0 | [Sign * N || N <- Near ++ Long, Sign <- [1, -1]]]).
