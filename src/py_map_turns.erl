-module(py_map_turns).
-include("py_doc.hrl").
?MODULEDOC(false).

%% A list that is mapped in a function that Python called: one chunk after another, as calls are made. Contexts may wait
%% for this very process, and for others like it. Calls are told where that would go in a circle, and run on top of the
%% code that waits where they can.

-export([run/4]).

-type payload() :: fun(([term()]) -> py_nif:payload()).

-record(state, {
    payload :: payload(),
    deadline :: infinity | integer(),
    places :: py_map_places:places(),
    %% The place that had the last chunk.
    last = 0 :: non_neg_integer()
}).

-spec run(payload(), infinity | integer(), py_map_places:places(), py_map_chunks:chunks()) -> [py_batch:result()].
run(Payload, Deadline, Places, Chunks) ->
    run(Chunks, #state{payload = Payload, deadline = Deadline, places = Places}).

run(Chunks, State) ->
    case py_map_chunks:next(Chunks) of
        {Chunk, Left} ->
            {Result, Next} = called(Chunk, State),
            run(py_map_chunks:done(Chunk, Result, Left), Next);
        none ->
            py_map_chunks:results(Chunks)
    end.

called(Chunk, #state{places = Places, last = Last} = State) ->
    Renewed = py_map_places:renewed(Places),
    offered(py_map_places:in_order(Last, Renewed), none, Chunk, State#state{places = Renewed}).

%% To one after another, until one takes it; with the reason why a living one did not.
offered([{{Index, _} = Place, Target} | Others], Why, {_, Items} = Chunk, State) ->
    #state{payload = Payload, deadline = Deadline, places = Places} = State,
    case py_call:request(Target, Payload(Items), py_call:remaining(Deadline)) of
        {refused, {deadlock, _} = Reason} ->
            offered(Others, Reason, Chunk, State);
        {refused, Reason} ->
            case py_map_places:refused(Place, Reason, Places) of
                {for_now, Left} -> offered(Others, still(Reason, Why), Chunk, State#state{places = Left});
                for_good -> {{error, Reason}, State}
            end;
        Result ->
            {Result, State#state{places = py_map_places:ended(Place, Result, Places), last = Index}}
    end;
offered([], none, Chunk, #state{places = Places, deadline = Deadline} = State) ->
    case py_map_places:replaced(Deadline, Places) of
        {ok, Replaced} -> called(Chunk, State#state{places = Replaced});
        {error, _} = Error -> {Error, State}
    end;
offered([], Reason, _Chunk, State) ->
    ok = py_telemetry_calls:refused(Reason),
    {{error, Reason}, State}.

still({overloaded, _, _} = Reason, _Why) -> Reason;
still(_Gone, Why) -> Why.
