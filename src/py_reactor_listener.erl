-module(py_reactor_listener).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Manages the contexts of a listener: starts them, replaces those that die, and all of them one after the other. When
%% this process dies, its successor finds the contexts again.

-export([start_link/2, await_ready/1, restart/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-include_lib("kernel/include/logger.hrl").

%% All contexts are being replaced: `old' goes once `new' is there.
-record(rolling, {
    old :: pid(),
    new :: pid() | ready,
    left :: [pid()],
    waiting :: [gen_server:from()]
}).

-record(state, {
    name :: term(),
    wanted :: pos_integer(),
    acceptors :: pos_integer(),
    %% Who waits for the start, which is over once all contexts are there, or one of them could not start.
    start = [] :: [gen_server:from()] | ready | {error, term()},
    %% Those that take connections.
    contexts = #{} :: #{pid() => py_nif:handle()},
    %% Those that have not started yet, but for the one of a `rolling'.
    starting = [] :: [pid()],
    %% Number of the next one, for logs.
    next = 1 :: pos_integer(),
    backoff :: pos_integer(),
    rolling = none :: #rolling{} | none
}).

%% Milliseconds until a context that could not start is tried again.
-define(FIRST_RETRY, 50).
-define(LAST_RETRY, 5_000).
%% Milliseconds that a context which is to go, and gets no new connections, has for those that have just come: a client
%% that has connected, and has not said anything yet, would find itself refused.
-define(SETTLE, 500).
-define(LOOK, 10).

-spec start_link(term(), py_reactor_options:listener()) -> gen_server:start_ret().
start_link(Name, Options) ->
    gen_server:start_link(?MODULE, {Name, Options}, []).

%% Nobody but the caller waits for what Python does at the start.
-spec await_ready(term()) -> ok | {error, term()}.
await_ready(Name) ->
    asked(Name, await_ready).

%% Replaces all contexts, one after the other.
-spec restart(term()) -> ok | {error, term()}.
restart(Name) ->
    asked(Name, restart).

asked(Name, Request) ->
    case py_reactor_table:owner({Name, places}) of
        {ok, Manager} ->
            try
                gen_server:call(Manager, Request, infinity)
            catch
                exit:_ -> {error, stopped}
            end;
        none ->
            {error, not_found}
    end.

-spec init({term(), py_reactor_options:listener()}) -> {ok, #state{}, {continue, start}}.
init({Name, #{contexts := Wanted, acceptors := Acceptors}}) ->
    State = adopted(#state{name = Name, wanted = Wanted, acceptors = Acceptors, backoff = ?FIRST_RETRY}),
    {ok, published(State), {continue, start}}.

-spec handle_continue(start, #state{}) -> {noreply, #state{}}.
handle_continue(start, State) ->
    {noreply, all_there(filled(State))}.

%% What serves goes on; what is starting or about to stop would tell its dead predecessor.
adopted(#state{name = Name} = State) ->
    lists:foldl(
        fun(Pid, #state{contexts = Contexts} = Adopting) ->
            case py_reactor_table:context(Pid) of
                {ok, {Handle, _, _, open, _}} ->
                    _ = erlang:monitor(process, Pid),
                    Adopting#state{contexts = Contexts#{Pid => Handle}};
                _ ->
                    exit(Pid, shutdown),
                    Adopting
            end
        end,
        State,
        py_reactor_listener_sup:contexts(Name)
    ).

%% Starts as many as are missing.
filled(#state{wanted = Wanted, contexts = Contexts, starting = Starting} = State) when
    map_size(Contexts) + length(Starting) >= Wanted
->
    State;
filled(#state{starting = Starting} = State) ->
    case start(State) of
        {ok, Pid, Started} ->
            filled(Started#state{starting = [Pid | Starting]});
        {error, _} ->
            %% The supervisor is about to go, and this process with it.
            State
    end.

start(#state{name = Name, next = Next} = State) ->
    case py_reactor_listener_sup:start_context(Name, {Name, Next}, self()) of
        {ok, Pid} ->
            _ = erlang:monitor(process, Pid),
            {ok, Pid, State#state{next = Next + 1}};
        {error, _} = Error ->
            Error
    end.

%% From then on connections are accepted.
all_there(#state{start = Start, contexts = Contexts, wanted = Wanted, name = Name, acceptors = Acceptors} = State) when
    Start =/= ready, map_size(Contexts) >= Wanted
->
    Missing = Acceptors - length(py_reactor_listener_sup:acceptors(Name)),
    _ = [py_reactor_listener_sup:start_acceptor(Name) || _ <- lists:seq(1, Missing)],
    (answered(ready, ok, State))#state{start = ready};
all_there(State) ->
    State.

%% Those that wait for the start.
answered(Start, Answer, #state{start = Waiting} = State) when is_list(Waiting) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Waiting),
    State#state{start = Start};
answered(_Start, _Answer, State) ->
    State.

added(Pid, #state{contexts = Contexts} = State) ->
    case py_reactor_table:context(Pid) of
        {ok, {Handle, _, _, open, _}} -> State#state{contexts = Contexts#{Pid => Handle}, backoff = ?FIRST_RETRY};
        %% It has ended already, and that will be heard of.
        _ -> State
    end.

publish(#state{name = Name, contexts = Contexts}) ->
    _ = py_reactor_places:set(Name, maps:values(Contexts)),
    ok.

published(State) ->
    ok = publish(State),
    State.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(await_ready, From, #state{start = Waiting} = State) when is_list(Waiting) ->
    {noreply, State#state{start = [From | Waiting]}};
handle_call(await_ready, _From, #state{start = ready} = State) ->
    {reply, ok, State};
handle_call(await_ready, _From, #state{start = {error, _} = Error} = State) ->
    {reply, Error, State};
handle_call(restart, From, #state{rolling = none, contexts = Contexts} = State) ->
    {noreply, roll(maps:keys(Contexts), [From], State)};
handle_call(restart, From, #state{rolling = Rolling} = State) ->
    %% The contexts that have been replaced are not as old as this call.
    #rolling{waiting = Waiting} = Rolling,
    Left = maps:keys(maps:without([Rolling#rolling.old], State#state.contexts)),
    {noreply, State#state{rolling = Rolling#rolling{left = Left, waiting = [From | Waiting]}}};
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({py_reactor_context, Pid, Result}, State) ->
    {noreply, started(Pid, Result, State)};
handle_info({'DOWN', _Monitor, process, Pid, Reason}, State) ->
    {noreply, ended(Pid, Reason, State)};
handle_info(fill, State) ->
    {noreply, filled(State)};
handle_info(_Message, State) ->
    {noreply, State}.

started(Pid, ok, #state{rolling = #rolling{new = Pid, old = Old} = Rolling} = State) ->
    #state{contexts = Contexts} = With = added(Pid, State),
    %% From here on the new one gets what comes.
    Without = published(With#state{contexts = maps:remove(Old, Contexts), rolling = Rolling#rolling{new = ready}}),
    case is_map_key(Old, Contexts) of
        true ->
            _ = spawn(fun() -> retire(Old) end),
            Without;
        false ->
            rolled(Without)
    end;
started(Pid, {error, Reason}, #state{rolling = #rolling{new = Pid}} = State) ->
    filled(told({error, Reason}, State));
started(Pid, ok, #state{starting = Starting} = State) ->
    all_there(published(added(Pid, State#state{starting = lists:delete(Pid, Starting)})));
started(Pid, {error, Reason}, State) ->
    failed(Pid, Reason, State).

retire(Old) ->
    ok = settle(Old, erlang:monotonic_time(millisecond) + ?SETTLE),
    py_reactor_context:stop(Old).

settle(Old, Deadline) ->
    receive
    after ?LOOK -> ok
    end,
    case py_reactor_context:stats(Old) of
        #{active_connections := Active} when Active > 0 ->
            case erlang:monotonic_time(millisecond) < Deadline of
                true -> settle(Old, Deadline);
                false -> ok
            end;
        _NoneOrGone ->
            ok
    end.

failed(Pid, Reason, #state{starting = Starting, backoff = Backoff} = State) ->
    case lists:member(Pid, Starting) of
        true ->
            _ = erlang:send_after(Backoff, self(), fill),
            told_or_logged(Reason, State#state{
                starting = lists:delete(Pid, Starting), backoff = min(2 * Backoff, ?LAST_RETRY)
            });
        false ->
            State
    end.

%% At the start whoever started the listener is told, and ends it; without anybody it is tried again.
told_or_logged(Reason, #state{start = Waiting} = State) when is_list(Waiting) ->
    answered({error, Reason}, {error, Reason}, State);
told_or_logged(Reason, #state{name = Name} = State) ->
    ?LOG_ERROR("Python listener ~tp: a context cannot start: ~tp", [Name, Reason]),
    State.

%% The one that is to go has gone.
ended(Old, _Reason, #state{rolling = #rolling{old = Old, new = ready}} = State) ->
    rolled(State);
ended(New, Reason, #state{rolling = #rolling{new = New}} = State) ->
    filled(told({error, {context_died, Reason}}, State));
ended(Pid, Reason, #state{contexts = Contexts, rolling = Rolling} = State) ->
    case maps:take(Pid, Contexts) of
        {_Handle, Left} ->
            Without = published(State#state{contexts = Left}),
            case Rolling of
                %% Its successor is on its way.
                #rolling{old = Pid} -> Without;
                _ -> filled(Without)
            end;
        error ->
            failed(Pid, {context_died, Reason}, State)
    end.

roll([], Waiting, State) ->
    told(ok, State#state{rolling = #rolling{old = self(), new = ready, left = [], waiting = Waiting}});
roll([Old | Left], Waiting, #state{contexts = Contexts} = State) when is_map_key(Old, Contexts) ->
    case start(State) of
        {ok, New, Started} ->
            Started#state{rolling = #rolling{old = Old, new = New, left = Left, waiting = Waiting}};
        {error, _} = Error ->
            told(Error, State#state{rolling = #rolling{old = Old, new = ready, left = [], waiting = Waiting}})
    end;
roll([_Gone | Left], Waiting, State) ->
    roll(Left, Waiting, State).

rolled(#state{rolling = #rolling{left = Left, waiting = Waiting}} = State) ->
    roll(Left, Waiting, State#state{rolling = none}).

told(Result, #state{rolling = #rolling{waiting = Waiting}} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Result) end, Waiting),
    State#state{rolling = none}.
