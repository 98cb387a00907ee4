-module(py_map_chunks).
-include("py_doc.hrl").
?MODULEDOC(false).

%% A list that is cut into chunks as they are wanted: what has not been handed out, and the results of what has ended.

-export([new/2, next/1, returned/2, done/3, all_done/2, results/1]).
-export_type([chunks/0, chunk/0]).

-record(chunks, {
    size :: pos_integer(),
    rest :: [term()],
    number = 1 :: pos_integer(),
    %% They had been handed out, and were refused.
    returned = [] :: [chunk()],
    done = [] :: [{pos_integer(), [py_batch:result()]}]
}).

-opaque chunks() :: #chunks{}.
-type chunk() :: {Number :: pos_integer(), Items :: [term()]}.

-spec new(pos_integer(), [term()]) -> chunks().
new(Size, Items) -> #chunks{size = Size, rest = Items}.

%% The next one, and what is left without it.
-spec next(chunks()) -> {chunk(), chunks()} | none.
next(#chunks{returned = [Chunk | Others]} = Chunks) ->
    {Chunk, Chunks#chunks{returned = Others}};
next(#chunks{rest = []}) ->
    none;
next(#chunks{number = Number, size = Size, rest = All} = Chunks) ->
    {Items, Rest} = cut(Size, All, []),
    {{Number, Items}, Chunks#chunks{number = Number + 1, rest = Rest}}.

cut(N, [Item | Rest], Cut) when N > 0 -> cut(N - 1, Rest, [Item | Cut]);
cut(_N, Rest, Cut) -> {lists:reverse(Cut), Rest}.

%% It has not run, and is the next one again.
-spec returned(chunk(), chunks()) -> chunks().
returned(Chunk, #chunks{returned = Others} = Chunks) -> Chunks#chunks{returned = [Chunk | Others]}.

-spec done(chunk(), {ok, [py_batch:result()]} | {error, term()}, chunks()) -> chunks().
done({Number, Items}, Result, #chunks{done = Done} = Chunks) ->
    Chunks#chunks{done = [{Number, each(Items, Result)} | Done]}.

each(_Items, {ok, Results}) -> Results;
each(Items, {error, _} = Error) -> py_batch:each(Items, Error).

%% Whatever has not been handed out never will be.
-spec all_done({error, term()}, chunks()) -> chunks().
all_done(Error, Chunks) ->
    case next(Chunks) of
        {Chunk, Left} -> all_done(Error, done(Chunk, Error, Left));
        none -> Chunks
    end.

%% In the order of the items.
-spec results(chunks()) -> [py_batch:result()].
results(#chunks{done = Done}) ->
    lists:append([Results || {_Number, Results} <- lists:sort(Done)]).
