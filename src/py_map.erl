-module(py_map).
-include("py_doc.hrl").
?MODULEDOC(false).

%% One function over a list, on all contexts of a pool: the list is cut into chunks, each a batch, and a context gets the next
%% one as soon as it has few. The calling process waits for all of them itself. A chunk that a context has accepted is never
%% handed to another one; what was refused has not run.

-export([run/4]).
-export_type([options/0]).

-type options() :: #{timeout := timeout() | default, chunk_size := pos_integer() | default, max_in_flight := pos_integer()}.
-type called() :: {atom() | binary(), atom() | binary(), map()}.
-type tag() :: {reference(), pos_integer()} | reference().
%% What a chunk is answered with: `{Ref, Number}' or, by a context on another node, the reference of its request.

-record(place, {
    pid :: pid(),
    target :: py_nif:target(),
    in_flight = 0 :: non_neg_integer(),
    %% Its queue was full the last time, and nothing has ended since.
    full = none :: none | {overloaded, non_neg_integer(), pos_integer()}
}).

-record(part, {
    number :: pos_integer(),
    request :: py_nif:request(),
    index :: pos_integer(),
    items :: [term()]
}).

-record(state, {
    called :: called(),
    pool :: atom(),
    deadline :: integer() | infinity,
    size :: pos_integer(),
    most :: pos_integer(),
    %% What has not been handed out, and the number of the next chunk.
    rest :: [term()],
    next = 1 :: pos_integer(),
    %% Chunks that were refused after they had been handed out.
    refused = [] :: [{pos_integer(), [term()]}],
    places :: #{pos_integer() => #place{}},
    %% Places whose context has died: its process.
    lost = #{} :: #{pos_integer() => pid()},
    parts = #{} :: #{tag() => #part{}},
    done = [] :: [{pos_integer(), [py_batch:result()]}]
}).

%% Chunks for each context, and the most items in one, where the user does not say.
-define(CHUNKS, 4).
-define(LARGEST, 1_000).

-spec run(atom(), called(), [term()], options()) -> py_batch:results().
run(Pool, Called, Items, #{timeout := default} = Options) ->
    run(Pool, Called, Items, Options#{timeout := py_pool_table:timeout(Pool)});
run(Pool, Called, Items, #{timeout := Timeout, chunk_size := Size, max_in_flight := Most}) ->
    Deadline = py_call:deadline(py_call:limited(Timeout)),
    case py_context_router:all_places(Pool, py_call:remaining(Deadline)) of
        {ok, Found} ->
            State = #state{
                called = Called,
                pool = Pool,
                deadline = Deadline,
                size = chunk_size(Size, length(Items), length(Found)),
                most = Most,
                rest = Items,
                places = maps:from_list([{Index, place(Pid, Target)} || {ok, Index, Pid, Target} <- Found])
            },
            case py_callback_runner:current() of
                none -> run(State);
                _ -> in_turn([Target || {ok, _Index, _Pid, Target} <- Found], [], State)
            end;
        {error, timeout} = Error ->
            py_batch:each(Items, Error);
        {error, _} = Error ->
            Error
    end.

place(Pid, Target) -> #place{pid = Pid, target = Target}.

chunk_size(default, Items, Contexts) -> max(1, min(?LARGEST, -(-Items div (Contexts * ?CHUNKS))));
chunk_size(Size, _Items, _Contexts) -> Size.

%% The reference is handed on beside the state, so that the receive passes over what was in the mailbox before.
run(State) ->
    Ref = make_ref(),
    run(Ref, filled(Ref, State)).

run(_Ref, #state{rest = [], refused = [], parts = Parts, done = Done}) when map_size(Parts) =:= 0 ->
    lists:append([Results || {_Number, Results} <- lists:sort(Done)]);
run(Ref, #state{deadline = Deadline, places = Places} = State) ->
    Remaining = py_call:remaining(Deadline),
    Awaited =
        case lists:all(fun(#place{target = Target}) -> node(Target) =:= node() end, maps:values(Places)) of
            true -> awaited(Ref, Remaining);
            false -> awaited(Ref, State#state.parts, Remaining)
        end,
    case Awaited of
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

%% The same, and what comes from other nodes.
awaited(Ref, Parts, Timeout) ->
    receive
        {{Ref, Number}, Result} ->
            {{Ref, Number}, Result};
        {{Ref, Number}, Result, Story} ->
            py_error:keep(Story),
            {{Ref, Number}, Result};
        {py_response, Request, Result} when is_map_key(Request, Parts) ->
            {Request, Result}
    after Timeout -> timeout
    end.

%% ------------------------------------------------------------------------------------------------
%% Handing out

%% As many chunks are on their way as may be.
filled(_Ref, #state{rest = [], refused = []} = State) ->
    State;
filled(Ref, State) ->
    #state{places = Places, most = Most} = Found = found_again(State),
    Free = [
        {InFlight, Index}
     || {Index, #place{in_flight = InFlight, full = none}} <- maps:to_list(Places), InFlight < Most
    ],
    case lists:sort(Free) of
        [{_, Index} | _] -> filled(Ref, handed_out(Ref, Index, Found));
        [] when map_size(Found#state.parts) > 0 -> Found;
        [] -> filled(Ref, stranded(Found))
    end.

handed_out(Ref, Index, #state{places = Places} = State) ->
    #{Index := #place{pid = Pid, target = Target, in_flight = InFlight} = Place} = Places,
    {Number, Items, Taken} = chunk(State),
    case submitted(Ref, Target, Number, Items, State) of
        {error, {context_died, _}} ->
            lost(Index, Pid, State);
        {error, not_running} when node(Target) =/= node() ->
            lost(Index, Pid, State);
        {error, {overloaded, _, _} = Reason} ->
            State#state{places = Places#{Index := Place#place{full = Reason}}};
        {error, _} = Error ->
            all_the_same(Error, State);
        {Tag, Request} ->
            Part = #part{number = Number, request = Request, index = Index, items = Items},
            Taken#state{
                places = Places#{Index := Place#place{in_flight = InFlight + 1}},
                parts = (State#state.parts)#{Tag => Part}
            }
    end.

%% The next one, and what is left without it.
chunk(#state{refused = [{Number, Items} | Others]} = State) ->
    {Number, Items, State#state{refused = Others}};
chunk(#state{next = Number, size = Size, rest = All} = State) ->
    {Items, Rest} = cut(Size, All, []),
    {Number, Items, State#state{next = Number + 1, rest = Rest}}.

cut(N, [Item | Rest], Cut) when N > 0 -> cut(N - 1, Rest, [Item | Cut]);
cut(_N, Rest, Cut) -> {lists:reverse(Cut), Rest}.

submitted(_Ref, Target, _Number, Items, State) when node(Target) =/= node() ->
    case py_target:spawn(Target, payload(Items, State)) of
        {error, _} = Error -> Error;
        Request -> {Request, Request}
    end;
submitted(Ref, Target, Number, Items, #state{deadline = Deadline} = State) ->
    Tag = {Ref, Number},
    Payload = py_trace:carried(payload(Items, State)),
    case py_nif:part(Target, Tag, Payload, py_call:remaining(Deadline)) of
        {error, _} = Error -> Error;
        Request -> {Tag, Request}
    end.

payload(Items, #state{called = {Module, Function, Kwargs}}) ->
    {map, Module, Function, Items, Kwargs}.

lost(Index, Pid, #state{places = Places, lost = Lost} = State) ->
    State#state{places = maps:remove(Index, Places), lost = Lost#{Index => Pid}}.

%% The pool has other contexts in these places by now.
found_again(#state{lost = Lost} = State) when map_size(Lost) =:= 0 ->
    State;
found_again(#state{lost = Lost, pool = Pool} = State) ->
    maps:fold(
        fun(Index, Dead, Found) ->
            case py_pool_table:context(Pool, Index) of
                {ok, Pid, Target} when Pid =/= Dead -> replaced(Index, Pid, Target, Found);
                _ -> Found
            end
        end,
        State,
        Lost
    ).

replaced(Index, Pid, Target, #state{places = Places, lost = Lost} = State) ->
    State#state{places = Places#{Index => place(Pid, Target)}, lost = maps:remove(Index, Lost)}.

%% Nothing is on its way, and nobody takes anything.
stranded(#state{places = Places} = State) when map_size(Places) > 0 ->
    %% All are full, and nothing of ours ends there: the next chunk is refused, as a call would be.
    [#place{full = Reason} | _] = maps:values(Places),
    {Number, Items, #state{done = Done} = Taken} = chunk(State),
    emptied(Taken#state{done = [{Number, py_batch:each(Items, {error, Reason})} | Done]});
stranded(#state{lost = Lost, pool = Pool} = State) ->
    case py_pool_table:size(Pool) of
        {ok, Server, _Size} -> one_found(Server, maps:to_list(Lost), State);
        {error, _} = Error -> all_the_same(Error, State)
    end.

%% The first place that has a context again, or will have.
one_found(Server, [{Index, Dead} | Others], #state{pool = Pool, deadline = Deadline} = State) ->
    case py_pool:replacement(Pool, Server, Index, Dead, py_call:remaining(Deadline)) of
        {ok, Index, Pid, Target} -> replaced(Index, Pid, Target, State);
        {error, _} = Error when Others =:= [] -> all_the_same(Error, State);
        {error, _} -> one_found(Server, Others, State)
    end.

%% They may have room again.
emptied(#state{places = Places} = State) ->
    State#state{places = maps:map(fun(_Index, Place) -> Place#place{full = none} end, Places)}.

%% Whatever has not been handed out never will be.
all_the_same(_Error, #state{rest = [], refused = []} = State) ->
    State;
all_the_same(Error, State) ->
    {Number, Items, #state{done = Done} = Taken} = chunk(State),
    all_the_same(Error, Taken#state{done = [{Number, py_batch:each(Items, Error)} | Done]}).

%% ------------------------------------------------------------------------------------------------
%% Answers

answered(Tag, Result, #state{parts = Parts} = State) ->
    {#part{number = Number, index = Index, items = Items}, Others} = maps:take(Tag, Parts),
    case {Result, emptied(less(Index, State#state{parts = Others}))} of
        {{error, {overloaded, _, _} = Reason}, Left} ->
            %% By a context on another node: it has not run.
            returned(Index, Reason, Left#state{refused = [{Number, Items} | Left#state.refused]});
        {{error, {context_died, _}}, #state{places = #{Index := #place{pid = Pid}}} = Left} ->
            done(Number, results(Result, Items), lost(Index, Pid, Left));
        {_, Left} ->
            done(Number, results(Result, Items), Left)
    end.

done(Number, Results, #state{done = Done} = State) -> State#state{done = [{Number, Results} | Done]}.

less(Index, #state{places = Places} = State) ->
    case Places of
        #{Index := #place{in_flight = InFlight} = Place} ->
            State#state{places = Places#{Index := Place#place{in_flight = max(0, InFlight - 1)}}};
        _ ->
            State
    end.

returned(Index, Reason, #state{places = Places} = State) ->
    case Places of
        #{Index := Place} -> State#state{places = Places#{Index := Place#place{full = Reason}}};
        _ -> State
    end.

results({ok, Results}, _Items) -> Results;
results({error, _} = Error, Items) -> py_batch:each(Items, Error).

%% The time is over: what was made counts.
given_up(#state{parts = Parts} = State) ->
    %% First all, since those that run go on meanwhile.
    Cancelled = [{Tag, cancelled(Part)} || {Tag, Part} <- maps:to_list(Parts)],
    Ended = lists:foldl(
        fun({Tag, Cancel}, Before) -> answered(Tag, so_far(Cancel, Tag, maps:get(Tag, Parts)), Before) end, State, Cancelled
    ),
    all_the_same({error, timeout}, Ended).

cancelled(#part{request = Request}) ->
    try
        py_nif:cancel(Request)
    catch
        %% On another node.
        error:badarg -> remote
    end.

so_far(remote, Request, _Part) ->
    py_call:await(Request, 0);
so_far(Cancelled, _Tag, #part{request = Request}) when Cancelled =:= cancelled; Cancelled =:= flush ->
    py_nif:so_far(Request, timeout);
so_far(_SentOrSending, Tag, _Part) ->
    receive
        {Tag, Result} ->
            Result;
        {Tag, Result, Story} ->
            py_error:keep(Story),
            Result
    end.

%% ------------------------------------------------------------------------------------------------
%% In a function that Python called

%% One chunk after another, as calls are made: contexts may wait for this very process, and for others like it. Calls are told
%% where that would go in a circle, and run on top of the code that waits where they can.
in_turn(_Targets, Done, #state{rest = []}) ->
    lists:append(lists:reverse(Done));
in_turn(Targets, Done, State) ->
    {_Number, Items, Taken} = chunk(State),
    Result = one_of(Targets, Items, State),
    [First | Others] = Targets,
    in_turn(Others ++ [First], [results(Result, Items) | Done], Taken).

one_of([Target | Targets], Items, #state{deadline = Deadline} = State) ->
    case py_call:explicit(Target, payload(Items, State), py_call:remaining(Deadline)) of
        {error, {deadlock, _}} when Targets =/= [] -> one_of(Targets, Items, State);
        {error, {overloaded, _, _}} when Targets =/= [] -> one_of(Targets, Items, State);
        Result -> Result
    end.
