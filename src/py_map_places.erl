-module(py_map_places).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The places of a pool, as a list that is spread over them sees them: how many chunks the context of each has, which
%% queues are full, and which contexts have died.
%%
%% A place is named together with the process of its context. What is told of a context that is no longer there changes
%% nothing for the one that has taken its place.

-export([new/2, least_busy/2, in_order/2, taken/2, refused/3, refused_later/3, ended/3]).
-export([renewed/1, replaced/2, all_full/1, emptied/1]).
-export_type([places/0, place/0]).

-type place() :: {Index :: pos_integer(), Context :: pid()}.

-record(context, {
    pid :: pid(),
    target :: py_nif:target(),
    in_flight = 0 :: non_neg_integer(),
    %% Its queue was full the last time, and nothing has ended since.
    full = none :: none | py_call:overloaded()
}).

-record(places, {
    pool :: atom(),
    living :: #{pos_integer() => #context{}},
    %% Places whose context has died: its process.
    lost = #{} :: #{pos_integer() => pid()}
}).

-opaque places() :: #places{}.

-spec new(atom(), [{ok, pos_integer(), pid(), py_nif:target()}]) -> places().
new(Pool, Found) ->
    #places{pool = Pool, living = maps:from_list([{Index, context(Pid, Target)} || {ok, Index, Pid, Target} <- Found])}.

context(Pid, Target) -> #context{pid = Pid, target = Target}.

%% ------------------------------------------------------------------------------------------------
%% Who is next

%% Of those that have fewer chunks than they may, and room, the one with the fewest.
-spec least_busy(pos_integer(), places()) -> {place(), py_nif:target()} | none.
least_busy(Most, #places{living = Living}) ->
    Free = [
        {InFlight, Index}
     || {Index, #context{in_flight = InFlight, full = none}} <- maps:to_list(Living), InFlight < Most
    ],
    case lists:sort(Free) of
        [{_, Index} | _] -> named(Index, maps:get(Index, Living));
        [] -> none
    end.

%% All of them, full or not, beginning with the one behind an index.
-spec in_order(non_neg_integer(), places()) -> [{place(), py_nif:target()}].
in_order(Last, #places{living = Living}) ->
    {Before, Behind} = lists:partition(fun({Index, _}) -> Index =< Last end, lists:sort(maps:to_list(Living))),
    [named(Index, Context) || {Index, Context} <- Behind ++ Before].

named(Index, #context{pid = Pid, target = Target}) -> {{Index, Pid}, Target}.

%% The reason why none takes anything; `none' where there is no context at all.
-spec all_full(places()) -> py_call:overloaded() | none.
all_full(#places{living = Living}) ->
    case maps:values(Living) of
        [#context{full = Reason} | _] -> Reason;
        [] -> none
    end.

%% ------------------------------------------------------------------------------------------------
%% What becomes of chunks

-spec taken(place(), places()) -> places().
taken(Place, Places) -> counted(Place, 1, Places).

%% It did not take a chunk. `for_good': nor will another one.
-spec refused(place(), term(), places()) -> {for_now, places()} | for_good.
refused(Place, {overloaded, _, _} = Reason, Places) ->
    {for_now, changed(Place, fun(Context) -> Context#context{full = Reason} end, Places)};
refused(Place, Reason, Places) ->
    case is_gone(Reason, Place) of
        true -> {for_now, lost(Place, Places)};
        false -> for_good
    end.

%% The same, of a chunk that was on its way.
-spec refused_later(place(), term(), places()) -> {for_now, places()} | for_good.
refused_later(Place, Reason, Places) ->
    refused(Place, Reason, counted(Place, -1, Places)).

%% A chunk that was accepted has ended. What was full may have room again.
-spec ended(place(), {ok | error, term()}, places()) -> places().
ended(Place, Result, Places) ->
    Left = emptied(counted(Place, -1, Places)),
    case Result of
        {error, Reason} ->
            case is_gone(Reason, Place) of
                true -> lost(Place, Left);
                false -> Left
            end;
        {ok, _} ->
            Left
    end.

%% A node that has stopped its application has taken the context along.
is_gone({context_died, _}, _Place) -> true;
is_gone(not_running, {_Index, Pid}) -> node(Pid) =/= node();
is_gone(_Reason, _Place) -> false.

counted(Place, More, Places) ->
    changed(Place, fun(#context{in_flight = Now} = Context) -> Context#context{in_flight = Now + More} end, Places).

-spec emptied(places()) -> places().
emptied(#places{living = Living} = Places) ->
    Places#places{living = maps:map(fun(_Index, Context) -> Context#context{full = none} end, Living)}.

changed({Index, Pid}, Change, #places{living = Living} = Places) ->
    case Living of
        #{Index := #context{pid = Pid} = Context} -> Places#places{living = Living#{Index := Change(Context)}};
        _ -> Places
    end.

%% ------------------------------------------------------------------------------------------------
%% Deaths

lost({Index, Pid}, #places{living = Living, lost = Lost} = Places) ->
    case Living of
        #{Index := #context{pid = Pid}} ->
            Places#places{living = maps:remove(Index, Living), lost = Lost#{Index => Pid}};
        _ ->
            Places
    end.

%% The pool has other contexts in places that were lost, by now.
-spec renewed(places()) -> places().
renewed(#places{lost = Lost} = Places) when map_size(Lost) =:= 0 ->
    Places;
renewed(#places{lost = Lost, pool = Pool} = Places) ->
    maps:fold(
        fun(Index, Dead, Renewed) ->
            case py_pool_table:context(Pool, Index) of
                {ok, Pid, Target} when Pid =/= Dead -> found(Index, Pid, Target, Renewed);
                _ -> Renewed
            end
        end,
        Places,
        Lost
    ).

found(Index, Pid, Target, #places{living = Living, lost = Lost} = Places) ->
    Places#places{living = Living#{Index => context(Pid, Target)}, lost = maps:remove(Index, Lost)}.

%% All were lost: waits for the first place that has a context again.
-spec replaced(infinity | integer(), places()) -> {ok, places()} | {error, term()}.
replaced(Deadline, #places{pool = Pool, lost = Lost} = Places) ->
    case py_pool_table:size(Pool) of
        {ok, Server, _Size} -> first_found(Server, maps:to_list(Lost), Deadline, Places);
        {error, _} = Error -> Error
    end.

first_found(Server, [{Index, Dead} | Others], Deadline, #places{pool = Pool} = Places) ->
    case py_pool:replacement(Pool, Server, Index, Dead, py_call:remaining(Deadline)) of
        {ok, Index, Pid, Target} -> {ok, found(Index, Pid, Target, Places)};
        {error, _} = Error when Others =:= [] -> Error;
        {error, _} -> first_found(Server, Others, Deadline, Places)
    end.
