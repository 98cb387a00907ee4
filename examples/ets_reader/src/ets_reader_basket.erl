%% The basket of the calling process: a private table, which no other process can read.
-module(ets_reader_basket).

-export([add/2, empty/0, items/1]).

-spec add(binary(), pos_integer()) -> ok.
add(Article, Count) ->
    true = ets:insert(table(), {Article, Count}),
    ok.

-spec empty() -> ok.
empty() ->
    true = ets:delete_all_objects(table()),
    ok.

%% Python's erlang.basket(). Python can read it, since this runs in the process that asked for the quote.
-spec items([]) -> #{binary() => pos_integer()}.
items([]) ->
    maps:from_list(ets:tab2list(table())).

table() ->
    case get(?MODULE) of
        undefined ->
            Table = ets:new(?MODULE, [private]),
            undefined = put(?MODULE, Table),
            Table;
        Table ->
            Table
    end.
