-module(bench_values).

%% What bench_conversion converts: the same values in every run.

-export([elements/0, text/1]).
-export_type([value/0]).

%% What to call it, what the floors read it as, how many elements it has, and how to make it.
-type value() :: {binary(), ints | floats | texts | map | tree, pos_integer(), fun(() -> term())}.

%% The records of the JSON, and the nodes of each: itself and the values within it.
-define(RECORDS, 5000).
-define(NODES, 20).

-spec elements() -> [value()].
elements() ->
    [
        {<<"10^6 integers">>, ints, 1_000_000, list(1_000_000, fun integer/0)},
        {<<"10^5 floats">>, floats, 100_000, list(100_000, fun rand:normal/0)},
        {<<"10^5 texts of 12 bytes">>, texts, 100_000, list(100_000, fun text/0)},
        {<<"10^3 texts of 100 KB">>, texts, 1000, list(1000, fun() -> text(100_000) end)},
        {<<"map of 10^5 texts to integers">>, map, 100_000, fun() -> map(100_000) end},
        {<<"JSON of 10^5 nodes">>, tree, ?RECORDS * ?NODES + 1, list(?RECORDS, fun record/0)}
    ].

list(Length, Make) ->
    fun() ->
        _ = rand:seed(exsss, {1, 2, 3}),
        [Make() || _ <- lists:seq(1, Length)]
    end.

%% Half of them small, half of 64 bits, in no order that a processor could foresee.
integer() ->
    case rand:uniform(2) of
        1 -> rand:uniform(1_000_000);
        2 -> rand:uniform(1 bsl 64) - 1 - (1 bsl 63)
    end.

%% 12 bytes.
text() ->
    numbered(<<"text ">>, rand:uniform(1_000_000)).

numbered(Word, Number) ->
    <<Word/binary, (integer_to_binary(1_000_000 + Number))/binary>>.

%% ASCII, in memory of its own.
-spec text(pos_integer()) -> binary().
text(Size) ->
    binary:copy(<<"x">>, Size).

map(Size) ->
    maps:from_list([{numbered(<<"key ">>, I), I} || I <- lists:seq(1, Size)]).

record() ->
    #{
        <<"id">> => rand:uniform(1_000_000),
        <<"name">> => text(),
        <<"active">> => rand:uniform(2) =:= 1,
        <<"score">> => rand:uniform(),
        <<"parent">> => none,
        <<"tags">> => [text(), text(), text()],
        <<"position">> => #{<<"x">> => rand:uniform(), <<"y">> => rand:uniform()},
        <<"history">> => [integer() || _ <- lists:seq(1, 6)]
    }.
