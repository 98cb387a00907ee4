-module(py_map).
-include("py_doc.hrl").
?MODULEDOC(false).

%% One function over a list, on all contexts of a pool: the list is cut into chunks, each a batch, and a context gets
%% the next one as soon as it has few. The calling process waits for all of them itself. A chunk that a context has
%% accepted is never handed to another one; what was refused has not run.

-export([run/4]).
-export_type([options/0]).

-type options() :: #{
    timeout := timeout() | default,
    chunk_size := pos_integer() | default,
    max_in_flight := pos_integer()
}.
-type called() :: {atom() | binary(), atom() | binary(), map()}.
-type tag() :: {reference(), pos_integer()}.
%% What a chunk is answered with; the number is that of the chunk.

-record(part, {
    chunk :: py_map_chunks:chunk(),
    request :: py_nif:request(),
    place :: py_map_places:place()
}).

-record(state, {
    called :: called(),
    deadline :: integer() | infinity,
    most :: pos_integer(),
    chunks :: py_map_chunks:chunks(),
    places :: py_map_places:places(),
    %% What is on its way.
    parts = #{} :: #{tag() => #part{}}
}).

%% Chunks for each context, and the most items in one, where the user does not say.
-define(CHUNKS, 4).
-define(LARGEST, 1_000).

-spec run(atom(), called(), [term()], options()) -> py_batch:results().
run(Pool, Called, Items, Options) ->
    case py_telemetry_table:listeners() of
        #{calls := true} = Listeners ->
            Map = fun() -> mapped(Pool, Called, Items, Options) end,
            py_telemetry_calls:observed(Listeners, {places, Pool}, payload(Items, Called), Map);
        _ ->
            mapped(Pool, Called, Items, Options)
    end.

mapped(Pool, Called, Items, #{timeout := default} = Options) ->
    mapped(Pool, Called, Items, Options#{timeout := py_pool_table:timeout(Pool)});
mapped(Pool, Called, Items, #{timeout := Timeout, chunk_size := Size, max_in_flight := Most}) ->
    Deadline = py_call:deadline(py_call:limited(Timeout)),
    case py_context_router:all_places(Pool, py_call:remaining(Deadline)) of
        {ok, Found} ->
            Chunks = py_map_chunks:new(chunk_size(Size, length(Items), length(Found)), Items),
            Places = py_map_places:new(Pool, Found),
            case py_callback_runner:current() of
                none ->
                    run(#state{called = Called, deadline = Deadline, most = Most, chunks = Chunks, places = Places});
                _ ->
                    py_map_turns:run(fun(Some) -> payload(Some, Called) end, Deadline, Places, Chunks)
            end;
        {error, timeout} = Error ->
            py_batch:each(Items, Error);
        {error, _} = Error ->
            Error
    end.

payload(Items, {Module, Function, Kwargs}) -> {map, Module, Function, Items, Kwargs}.

chunk_size(default, Items, Contexts) ->
    Chunks = Contexts * ?CHUNKS,
    max(1, min(?LARGEST, (Items + Chunks - 1) div Chunks));
chunk_size(Size, _Items, _Contexts) ->
    Size.

%% The reference is handed on beside the state, so that the receive passes over what was in the mailbox before.
run(State) ->
    Ref = make_ref(),
    run(Ref, filled(Ref, State)).

%% Whoever fills leaves nothing to be handed out unless something is on its way.
run(_Ref, #state{parts = Parts, chunks = Chunks}) when map_size(Parts) =:= 0 ->
    py_map_chunks:results(Chunks);
run(Ref, #state{deadline = Deadline} = State) ->
    case awaited(Ref, py_call:remaining(Deadline)) of
        {Tag, Result} -> run(Ref, filled(Ref, answered(Tag, Result, State)));
        timeout -> run(Ref, given_up(State))
    end.

awaited(Ref, Timeout) ->
    receive
        {{Ref, Number}, Result} ->
            {{Ref, Number}, Result};
        {{Ref, Number}, Result, Story} ->
            py_error:keep(Story),
            {{Ref, Number}, Result}
    after Timeout -> timeout
    end.

%% ------------------------------------------------------------------------------------------------
%% Handing out

%% As many chunks are on their way as may be.
filled(Ref, #state{chunks = Chunks} = State) ->
    case py_map_chunks:next(Chunks) of
        {Chunk, Left} -> filled(Ref, Chunk, Left, State#state{places = py_map_places:renewed(State#state.places)});
        none -> State
    end.

filled(Ref, Chunk, Left, #state{places = Places, most = Most, parts = Parts} = State) ->
    case py_map_places:least_busy(Most, Places) of
        {Place, Target} -> filled(Ref, handed_out(Ref, Place, Target, Chunk, State#state{chunks = Left}));
        none when map_size(Parts) > 0 -> State;
        none -> filled(Ref, stranded(Chunk, Left, State))
    end.

handed_out(Ref, Place, Target, {Number, Items} = Chunk, State) ->
    #state{called = Called, deadline = Deadline, places = Places, parts = Parts} = State,
    Tag = {Ref, Number},
    case py_target:part(Target, Tag, payload(Items, Called), py_call:remaining(Deadline)) of
        {error, Reason} ->
            refused(py_map_places:refused(Place, Reason, Places), Chunk, Reason, State);
        Request ->
            Part = #part{chunk = Chunk, request = Request, place = Place},
            State#state{places = py_map_places:taken(Place, Places), parts = Parts#{Tag => Part}}
    end.

refused({for_now, Places}, Chunk, _Reason, #state{chunks = Chunks} = State) ->
    State#state{places = Places, chunks = py_map_chunks:returned(Chunk, Chunks)};
refused(for_good, Chunk, Reason, State) ->
    done(Chunk, {error, Reason}, State).

%% Nothing is on its way, and nobody takes anything.
stranded(Chunk, Left, #state{places = Places, deadline = Deadline, chunks = Chunks} = State) ->
    case py_map_places:all_full(Places) of
        none ->
            case py_map_places:replaced(Deadline, Places) of
                {ok, Replaced} -> State#state{places = Replaced};
                {error, _} = Error -> State#state{chunks = py_map_chunks:all_done(Error, Chunks)}
            end;
        Reason ->
            %% Nothing of ours ends there: the chunk is refused, as a call would be.
            ok = py_telemetry_calls:refused(Reason),
            done(Chunk, {error, Reason}, State#state{chunks = Left, places = py_map_places:emptied(Places)})
    end.

done(Chunk, Result, #state{chunks = Chunks} = State) ->
    State#state{chunks = py_map_chunks:done(Chunk, Result, Chunks)}.

%% ------------------------------------------------------------------------------------------------
%% Answers

answered(Tag, Result, #state{parts = Parts, places = Places} = State) ->
    {#part{chunk = Chunk, place = Place}, Others} = maps:take(Tag, Parts),
    Left = State#state{parts = Others},
    case Result of
        {refused, Reason} ->
            %% By a context on another node: it has not run.
            refused(py_map_places:refused_later(Place, Reason, Places), Chunk, Reason, Left);
        _ ->
            done(Chunk, Result, Left#state{places = py_map_places:ended(Place, Result, Places)})
    end.

%% The time is over: what was made counts.
given_up(#state{parts = Parts} = State) ->
    %% First all, since those that run go on meanwhile.
    Cancelled = [{Tag, Request, cancelled(Request)} || {Tag, #part{request = Request}} <- maps:to_list(Parts)],
    Ended = lists:foldl(
        fun({Tag, Request, Cancel}, Before) -> answered(Tag, so_far(Cancel, Tag, Request), Before) end, State, Cancelled
    ),
    Ended#state{chunks = py_map_chunks:all_done({error, timeout}, Ended#state.chunks)}.

cancelled(Request) ->
    try
        py_nif:cancel(Request)
    catch
        %% On another node, of which nothing comes any more.
        error:badarg -> py_remote:cancel(Request)
    end.

so_far(Cancelled, _Tag, Request) when Cancelled =:= cancelled; Cancelled =:= flush ->
    py_nif:so_far(Request, timeout);
so_far(ok, Tag, _Request) ->
    came(Tag, 0);
so_far(_SentOrSending, Tag, _Request) ->
    came(Tag, infinity).

came(Tag, Timeout) ->
    receive
        {Tag, Result} ->
            Result;
        {Tag, Result, Story} ->
            py_error:keep(Story),
            Result
    after Timeout -> {error, timeout}
    end.
