-module(py_pool).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% One pool: a fixed number of places, each with a context or on the way to one. It starts contexts when
%% they are wanted, and replaces those that die, under the same index, at once at first and then at growing
%% intervals. Callers pass through here only when they need a context that is not there yet.

-export([start_link/3, stop/1, await_end/1, claim/3, replacement/5]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").

-record(place, {
    index :: pos_integer(),
    %% idle: never wanted. starting, ready: has a process. waiting: the next attempt is due later. full: too many
    %% contexts are stuck for another attempt.
    status = idle :: idle | starting | ready | waiting | full,
    pid :: pid() | undefined,
    %% On another node the context itself, `pid' being its delegate here.
    handle :: py_nif:target() | undefined,
    %% The handle of a stuck context whose queue the next one takes over.
    inherits :: py_nif:handle() | undefined,
    waiting = [] :: [gen_server:from()],
    delay = 0 :: non_neg_integer(),
    since = 0 :: integer()
}).

-record(state, {
    name :: atom(),
    %% What each of its contexts is started with.
    context :: py_pool_options:context(),
    %% The places take them in turn.
    nodes :: [py_pool_options:place_node(), ...],
    places :: #{pos_integer() => #place{}},
    %% Its contexts are about to end, and it ends with the last one.
    stopping = false :: boolean()
}).

-type found() :: {ok, pos_integer(), pid(), py_nif:target()} | {error, term()}.

%% Delays between attempts, in milliseconds. A context that lived for a while is replaced at once.
-define(FIRST_DELAY, 50).
-define(LONGEST_DELAY, 5_000).
-define(HEALTHY_AFTER, 5_000).

-spec start_link(atom(), pos_integer(), py_pool_options:pool()) -> gen_server:start_ret().
start_link(Name, Size, Options) ->
    gen_server:start_link(?MODULE, {Name, Size, Options}, []).

%% Ends the pool and waits for that, which may take as long as its contexts want; `died' when something else has ended
%% it, and its supervisor may start it again.
-spec stop(pid()) -> ok | died.
stop(Server) ->
    ok = gen_server:cast(Server, stop),
    case await_end(Server) of
        normal -> ok;
        _ -> died
    end.

-spec await_end(pid()) -> Reason :: term().
await_end(Server) ->
    Monitor = erlang:monitor(process, Server),
    receive
        {'DOWN', Monitor, process, Server, Reason} -> Reason
    end.

%% A context for a process that has none yet: one that nobody uses, started if need be; `all_started' when
%% the caller should choose among those that are ready.
-spec claim(atom(), pid(), timeout()) -> found() | all_started.
claim(Pool, Server, Timeout) ->
    call(Pool, Server, claim, Timeout).

%% The context that took the place of a dead one.
-spec replacement(atom(), pid(), pos_integer(), pid(), timeout()) -> found().
replacement(Pool, Server, Index, Dead, Timeout) ->
    call(Pool, Server, {replacement, Index, Dead}, Timeout).

call(Pool, Server, Request, Timeout) ->
    try
        gen_server:call(Server, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        %% The application is being stopped.
        exit:{shutdown, _} -> {error, not_running};
        exit:_ -> gone(Pool)
    end.

%% It was stopped, or is about to be started again.
gone(Pool) ->
    case py_pool_table:pool(Pool) of
        {ok, _, _, _} -> {error, not_running};
        {error, _} = Error -> Error
    end.

-spec init({atom(), pos_integer(), py_pool_options:pool()}) -> {ok, #state{}}.
init({Name, Size, #{start := When, nodes := Nodes} = Options}) ->
    process_flag(trap_exit, true),
    %% Rows of a predecessor that was killed.
    true = py_pool_table:delete_pool(Name),
    true = py_pool_table:put_pool(Name, Size, binding(Options), maps:get(timeout, Options)),
    ok = py_inline:put_pool(Name, maps:get(dispatch, Options)),
    Places = maps:from_list([{I, #place{index = I}} || I <- lists:seq(1, Size)]),
    Context = maps:with(py_pool_options:context_keys(), Options),
    State = #state{name = Name, context = Context, nodes = Nodes, places = Places},
    _ = [py_pool_share:offer(Name) || maps:get(shared, Options)],
    case When of
        lazy -> {ok, State};
        eager -> {ok, lists:foldl(fun start_context/2, State, lists:seq(1, Size))}
    end.

binding(#{shared := true}) -> shared;
binding(#{nodes := Nodes}) when Nodes =/= [here] -> turn;
binding(#{binding := Binding}) -> Binding.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(_Request, _From, #state{stopping = true} = State) ->
    {reply, gone(State#state.name), State};
handle_call(claim, From, State) ->
    %% Lower indices first, so that a node that needs few contexts starts few.
    case [I || I <- lists:seq(1, map_size(State#state.places)), is_idle(I, State)] of
        [Index | _] -> {noreply, start_context(Index, enqueue(Index, From, State))};
        [] -> claim_started(From, State)
    end;
handle_call({replacement, Index, Dead}, From, State) ->
    case maps:find(Index, State#state.places) of
        {ok, #place{status = ready, pid = Pid, handle = Handle} = Place} when Pid =/= Dead, Handle =/= Dead ->
            {reply, {ok, Index, public(Place), Handle}, State};
        {ok, #place{status = full}} ->
            wake_full(Index, From, State);
        {ok, #place{status = waiting}} when State#state.nodes =/= [here] ->
            %% Its node may be away for long; there are others.
            {reply, {error, {context_died, noproc}}, State};
        {ok, #place{status = idle}} ->
            {noreply, start_context(Index, enqueue(Index, From, State))};
        {ok, _} ->
            {noreply, enqueue(Index, From, State)};
        error ->
            {reply, {error, {no_context, Index}}, State}
    end;
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_cast(stop, #state{stopping = false} = State) ->
    ok = end_contexts(State),
    Gone = gone(State#state.name),
    Tell = fun(_, #place{waiting = Waiting} = Place) ->
        ok = reply(Waiting, Gone),
        Place#place{waiting = []}
    end,
    stop_after_the_last(State#state{places = maps:map(Tell, State#state.places), stopping = true});
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'DOWN', _Monitor, process, Pid, _Reason}, #state{stopping = true} = State) ->
    case by_pid(Pid, State) of
        {ok, Place} -> stop_after_the_last(put_place(Place#place{pid = undefined}, State));
        error -> {noreply, State}
    end;
handle_info(_Message, #state{stopping = true} = State) ->
    {noreply, State};
handle_info({py_context_ready, Pid, Handle}, State) ->
    case by_pid(Pid, State) of
        {ok, Place} -> {noreply, ready(Place, Handle, State)};
        error -> {noreply, State}
    end;
handle_info({'DOWN', _Monitor, process, Pid, Reason}, State) ->
    case by_pid(Pid, State) of
        {ok, Place} -> {noreply, died(Place, Reason, State)};
        error -> {noreply, State}
    end;
handle_info({start, Index}, State) ->
    case maps:get(Index, State#state.places) of
        #place{status = waiting} ->
            {noreply, start_context(Index, State)};
        #place{status = full} = Place ->
            case may_replace() of
                true -> {noreply, start_context(Index, State)};
                false -> {noreply, wait_for_an_end(Place, State)}
            end;
        _ ->
            {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{places = Places} = State) ->
    ok = end_contexts(State),
    lists:foreach(
        fun(Pid) ->
            receive
                {'DOWN', _, process, Pid, _} -> ok
            end
        end,
        pids(State)
    ),
    %% Queues that waited for a replacement, which will not come.
    Handles = [H || #place{handle = A, inherits = B} <- maps:values(Places), H <- [A, B], is_reference(H)],
    lists:foreach(fun(Handle) -> py_nif:context_close(Handle, shutdown) end, Handles).

%% Nobody finds them any more, and all end at once: each may take a moment.
end_contexts(#state{name = Name} = State) ->
    %% Nothing is left of it where that server is gone.
    _ = py_inline:put_pool(Name, mailbox),
    true = py_pool_table:delete_pool(Name),
    lists:foreach(fun(Pid) -> exit(Pid, shutdown) end, pids(State)).

stop_after_the_last(State) ->
    case pids(State) of
        [] -> {stop, normal, State};
        _ -> {noreply, State}
    end.

pids(#state{places = Places}) ->
    [Pid || #place{pid = Pid} <- maps:values(Places), is_pid(Pid)].

%% ------------------------------------------------------------------------------------------------

is_idle(Index, State) ->
    (maps:get(Index, State#state.places))#place.status =:= idle.

by_pid(Pid, State) ->
    case [Place || #place{pid = P} = Place <- maps:values(State#state.places), P =:= Pid] of
        [Place] -> {ok, Place};
        [] -> error
    end.

put_place(Place, State) ->
    State#state{places = maps:put(Place#place.index, Place, State#state.places)}.

enqueue(Index, From, State) ->
    Place = maps:get(Index, State#state.places),
    put_place(Place#place{waiting = [From | Place#place.waiting]}, State).

%% Everything was wanted before. With something ready the caller chooses; else it waits for the place that
%% has the fewest waiting.
claim_started(From, State) ->
    Places = maps:values(State#state.places),
    case lists:any(fun(Place) -> Place#place.status =:= ready end, Places) of
        true ->
            {reply, all_started, State};
        false ->
            case [{length(W), I} || #place{status = S, waiting = W, index = I} <- Places, S =/= full] of
                [] ->
                    wake_full((hd(Places))#place.index, From, State);
                Loads ->
                    {_, Index} = lists:min(Loads),
                    {noreply, enqueue(Index, From, State)}
            end
    end.

%% Somebody wants a place that stays empty: perhaps a stuck context has ended since.
wake_full(Index, From, State) ->
    case may_replace() of
        true -> {noreply, start_context(Index, enqueue(Index, From, State))};
        false -> {reply, {error, {context_died, stuck}}, State}
    end.

start_context(Index, State) ->
    Place = maps:get(Index, State#state.places),
    Options = (State#state.context)#{id => {State#state.name, Index}, pool => self()},
    case start_context_on(node_of(Index, State), Options) of
        {ok, Pid} ->
            _ = erlang:monitor(process, Pid),
            Since = erlang:monotonic_time(millisecond),
            put_place(Place#place{status = starting, pid = Pid, since = Since}, State);
        {error, Reason} ->
            retry(refuse(Place, Reason), State)
    end.

start_context_on(here, Options) ->
    py_context_sup:start_context(Options);
start_context_on(Node, Options) ->
    {ok, py_pool_delegate:start_link(Node, Options)}.

node_of(Index, #state{nodes = Nodes}) ->
    lists:nth((Index - 1) rem length(Nodes) + 1, Nodes).

%% The context's own process, for those who use it.
public(#place{handle = Context}) when is_pid(Context) -> Context;
public(#place{pid = Pid}) -> Pid.

ready(Place, Handle, State) ->
    #place{index = Index, waiting = Waiting, inherits = Inherits} = Place,
    Pid = public(Place#place{handle = Handle}),
    true = py_pool_table:put_context(State#state.name, Index, Pid, Handle),
    _ = [py_nif:context_adopt(Handle, Stuck) || Stuck <- [Inherits], Stuck =/= undefined],
    reply(Waiting, {ok, Index, Pid, Handle}),
    put_place(
        Place#place{status = ready, handle = Handle, inherits = undefined, waiting = []}, State
    ).

died(#place{status = starting} = Place, Reason, State) ->
    %% It never became ready: whoever waits is told why, and the next attempt waits a while.
    Told = refuse(Place, start_error(Reason)),
    retry(Told, State);
died(#place{index = Index, handle = Handle} = Place, Reason, State) ->
    true = py_pool_table:delete_context(State#state.name, Index),
    Lived = erlang:monotonic_time(millisecond) - Place#place.since,
    Delay = if Lived >= ?HEALTHY_AFTER -> 0; true -> Place#place.delay end,
    case Reason of
        _ when is_pid(Handle) ->
            retry(Place#place{delay = Delay}, State);
        {shutdown, stuck} ->
            replace_stuck(Place#place{delay = Delay}, Handle, State);
        _ ->
            %% It may have been given up just before; nobody else would answer its queue then.
            ok = py_nif:context_close(Handle, killed),
            retry(Place#place{delay = Delay}, State)
    end.

%% Beyond the bound the place stays empty, and its queue is answered, until a stuck context ends.
replace_stuck(Place, Handle, State) ->
    case may_replace() of
        true ->
            retry(Place#place{inherits = Handle, delay = 0}, State);
        false ->
            ok = py_nif:context_close(Handle, stuck),
            ?LOG_ALERT(
                "more Python contexts are stuck than max_stuck allows; place ~p of pool ~p stays empty until one ends",
                [Place#place.index, State#state.name]
            ),
            wait_for_an_end(Place#place{pid = undefined, handle = undefined}, State)
    end.

may_replace() ->
    {_Threads, _Spares, Stuck, _SetAside} = py_nif:counters(),
    Stuck =< py_config:get(max_stuck).

wait_for_an_end(#place{index = Index} = Place, State) ->
    Told = refuse(Place, {context_died, stuck}),
    _ = erlang:send_after(?LONGEST_DELAY, self(), {start, Index}),
    put_place(Told#place{status = full}, State).

%% Puts the place on the way to its next context.
retry(#place{index = Index, delay = 0} = Place, State) ->
    Next = Place#place{status = waiting, pid = undefined, handle = undefined, delay = ?FIRST_DELAY},
    start_context(Index, put_place(Next, State));
retry(#place{index = Index, delay = Delay} = Place, State) ->
    _ = erlang:send_after(Delay, self(), {start, Index}),
    Next = Place#place{
        status = waiting,
        pid = undefined,
        handle = undefined,
        delay = min(2 * Delay, ?LONGEST_DELAY)
    },
    put_place(Next, State).

refuse(#place{waiting = Waiting, delay = Delay} = Place, Reason) ->
    reply(Waiting, {error, Reason}),
    Place#place{waiting = [], delay = max(Delay, ?FIRST_DELAY)}.

reply(Waiting, Answer) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Waiting).

start_error({shutdown, {context_start, _} = Reason}) -> Reason;
start_error({shutdown, {not_started, Reason}}) -> Reason;
start_error(Reason) -> {context_start, Reason}.
