-module(py_rows).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Tables that every call would have to look into, and in which most nodes have nothing.
%%
%% A call must not pay for what nobody uses: the first row in the life of the node puts a persistent term (a new one, so no
%% heap is scanned), and until then a call only sees that it is not there. It holds an atomic word with the number of rows, and only if
%% that is not 0 does a call look into the table. The owner of a table makes all changes, so that the number is right.

-export([open/1, is_empty/1, insert/2, delete/2]).

%% The table belongs to the calling process. What an earlier one of this name held is gone.
-spec open(module()) -> ok.
open(Table) ->
    Table = ets:new(Table, [named_table, protected, {read_concurrency, true}]),
    counted(Table, persistent_term:get(Table, none)).

%% Whether there is nothing to look for. In whatever process.
-spec is_empty(module()) -> boolean().
is_empty(Table) ->
    case persistent_term:get(Table, none) of
        none -> true;
        Count -> atomics:get(Count, 1) =:= 0
    end.

%% For the owner.
-spec insert(module(), [tuple()]) -> ok.
insert(Table, Rows) ->
    true = ets:insert(Table, Rows),
    case persistent_term:get(Table, none) of
        none ->
            Count = atomics:new(1, []),
            ok = counted(Table, Count),
            persistent_term:put(Table, Count);
        Count ->
            counted(Table, Count)
    end.

%% For the owner.
-spec delete(module(), [Key :: term()]) -> ok.
delete(Table, Keys) ->
    lists:foreach(fun(Key) -> ets:delete(Table, Key) end, Keys),
    counted(Table, persistent_term:get(Table, none)).

counted(_Table, none) -> ok;
counted(Table, Count) -> atomics:put(Count, 1, ets:info(Table, size)).
