-module(py_reactor_acceptor).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Accepts connections, and gives each to the context with the fewest. The native side does both, in one step: a place
%% is taken before the connection is, so what nobody has room for stays in the queue of the system.

-export([start_link/2, init/3]).

-include_lib("kernel/include/logger.hrl").

-record(state, {
    name :: term(),
    parent :: pid(),
    listener :: py_nif:listener(),
    %% What all connections have in common.
    info :: map(),
    %% Contexts that were full, and will tell when they are not.
    full = [] :: [py_nif:handle()],
    %% The last attempt failed, and was told of.
    exhausted = false :: boolean()
}).

%% Connections that are accepted before it is asked again who has the fewest.
-define(MOST, 16).
%% Milliseconds before descriptors may be there again.
-define(EXHAUSTED, 50).
%% Milliseconds until the list of contexts is looked at again, when none of it has room.
-define(LOOK, 100).

-spec start_link(term(), py_reactor_options:listener()) -> {ok, pid()}.
start_link(Name, Options) ->
    {ok, proc_lib:spawn_link(?MODULE, init, [self(), Name, Options])}.

-spec init(pid(), term(), py_reactor_options:listener()) -> no_return().
init(Parent, Name, #{transport := Transport}) ->
    %% What is armed has to be let go of.
    _ = process_flag(trap_exit, true),
    begin_with(Parent, Name, Transport).

-spec begin_with(pid(), term(), tcp | unix) -> no_return().
begin_with(Parent, Name, Transport) ->
    case listening(Name) of
        {ok, Listener, Address} ->
            Info = with_local(Address, #{transport => Transport}),
            accept(#state{name = Name, parent = Parent, listener = Listener, info = Info});
        {error, closed} ->
            await_end(Parent);
        {error, _Exhausted} ->
            receive
                {'EXIT', Parent, Reason} -> exit(Reason)
            after ?EXHAUSTED -> begin_with(Parent, Name, Transport)
            end
    end.

%% That of a listener with many addresses is looked up for each connection.
with_local({{0, 0, 0, 0}, _}, Info) -> Info;
with_local({{0, 0, 0, 0, 0, 0, 0, 0}, _}, Info) -> Info;
with_local(Address, Info) -> Info#{local => py_reactor_peer:listening(Address)}.

%% A duplicate, so that no number is used that somebody has closed meanwhile.
listening(Name) ->
    case py_reactor_table:get({Name, socket}) of
        {ok, {Socket, Address}} ->
            case inet:getfd(Socket) of
                {ok, Fd} -> opened(py_nif:listener_open(Fd), Address);
                {error, _} -> {error, closed}
            end;
        none ->
            {error, closed}
    end.

opened({ok, Listener}, Address) -> {ok, Listener, Address};
opened({error, _} = Error, _Address) -> Error.

%% The socket is gone, and so is this process, soon.
-spec await_end(pid()) -> no_return().
await_end(Parent) ->
    receive
        {'EXIT', Parent, Reason} -> exit(Reason)
    end.

-spec accept(#state{}) -> no_return().
accept(#state{name = Name} = State) ->
    case py_reactor_places:fewest(Name, ?MOST) of
        {free, Handle, Most} -> accept(Handle, Most, State);
        {full, Handles} -> await_place(told_when_free(Handles, State))
    end.

accept(Handle, Most, #state{listener = Listener, info = Info} = State) ->
    case py_nif:listener_accept(Listener, Handle, Info, Most) of
        {_Count, more} -> accept(State#state{exhausted = false});
        {_Count, empty} -> await_connection(State#state{exhausted = false});
        {_Count, {error, {overloaded, _, _}}} -> accept(State);
        {_Count, {error, Reason}} -> failed(Reason, State)
    end.

%% Of a context that has ended, or is about to, the manager will hear.
-spec failed(term(), #state{}) -> no_return().
failed(Reason, State) when Reason =:= draining; Reason =:= not_reactor; element(1, Reason) =:= context_died ->
    pause(1, State);
failed(Reason, #state{parent = Parent}) when Reason =:= closed; Reason =:= not_running ->
    await_end(Parent);
failed(Reason, #state{name = Name, exhausted = Told} = State) ->
    %% emfile and its like: who is connected goes on, who is not waits in the queue of the system.
    _ = [?LOG_WARNING("Python listener ~tp cannot accept: ~tp", [Name, Reason]) || not Told],
    pause(?EXHAUSTED, State#state{exhausted = true}).

-spec pause(pos_integer(), #state{}) -> no_return().
pause(Milliseconds, #state{parent = Parent} = State) ->
    receive
        {'EXIT', Parent, Reason} -> ended(Reason, State)
    after Milliseconds -> accept(State)
    end.

-spec await_connection(#state{}) -> no_return().
await_connection(#state{listener = Listener} = State) ->
    ok = py_nif:listener_arm(Listener, {?MODULE, connection}),
    await_armed(State).

-spec await_armed(#state{}) -> no_return().
await_armed(#state{parent = Parent, full = Full} = State) ->
    receive
        {?MODULE, connection} -> accept(State);
        {?MODULE, free, Handle} -> await_armed(State#state{full = lists:delete(Handle, Full)});
        {'EXIT', Parent, Reason} -> ended(Reason, State)
    end.

told_when_free(Handles, #state{full = Full} = State) ->
    New = Handles -- Full,
    lists:foreach(fun(Handle) -> py_nif:reactor_when_free(Handle, {?MODULE, free, Handle}) end, New),
    %% Those that are not in the list any more may never tell.
    State#state{full = Handles}.

-spec await_place(#state{}) -> no_return().
await_place(#state{parent = Parent, full = Full} = State) ->
    receive
        {?MODULE, free, Handle} -> accept(State#state{full = lists:delete(Handle, Full)});
        {'EXIT', Parent, Reason} -> ended(Reason, State)
    after ?LOOK -> accept(State)
    end.

-spec ended(term(), #state{}) -> no_return().
ended(Reason, #state{listener = Listener}) ->
    ok = py_nif:listener_close(Listener),
    exit(Reason).
