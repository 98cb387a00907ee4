-module(py_reactor_acceptor).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Accepts connections and hands each to the context with the fewest.

-export([start_link/2, init/2]).

-include_lib("kernel/include/logger.hrl").

%% Connections that Erlang need not see are accepted natively, straight into a context. TLS in Erlang needs its sockets.
-record(state, {
    name :: term(),
    socket :: gen_tcp:socket(),
    %% A duplicate of it, watched by the emulator for this process.
    listener :: py_nif:listener() | none,
    %% What all connections have in common.
    info :: map(),
    handshakes :: pos_integer()
}).

%% Milliseconds before descriptors may be there again.
-define(EXHAUSTED, 50).

%% So many connections go to a context before the loads are compared again.
-define(AT_ONCE, 4).

-spec start_link(term(), py_reactor_options:listener()) -> {ok, pid()}.
start_link(Name, Options) ->
    {ok, proc_lib:spawn_link(?MODULE, init, [Name, Options])}.

-spec init(term(), py_reactor_options:listener()) -> no_return().
init(Name, #{transport := Transport, max_handshakes := Handshakes}) ->
    case py_reactor_table:get({Name, socket}) of
        {ok, {Socket, Address}} ->
            begin_with(#state{
                name = Name,
                socket = Socket,
                listener = none,
                info = with_local(Address, #{transport => Transport}),
                handshakes = Handshakes
            });
        none ->
            idle()
    end.

%% That of a listener with many addresses is looked up for each connection.
with_local({{0, 0, 0, 0}, _}, Info) -> Info;
with_local({{0, 0, 0, 0, 0, 0, 0, 0}, _}, Info) -> Info;
with_local({Ip, Port}, Info) -> Info#{local => py_reactor_peer:address({Ip, Port})};
with_local(Path, Info) -> Info#{local => Path}.

-spec begin_with(#state{}) -> no_return().
begin_with(#state{info = #{transport := ssl}} = State) ->
    accept_tls(State);
begin_with(#state{socket = Socket} = State) ->
    Opened =
        case inet:getfd(Socket) of
            {ok, Fd} -> py_nif:listener_open(Fd);
            {error, _} = Error -> Error
        end,
    case Opened of
        {ok, Listener} ->
            accept(State#state{listener = Listener});
        {error, Reason} when Reason =:= emfile; Reason =:= enfile ->
            ok = exhausted(Reason, State),
            begin_with(State);
        {error, _} ->
            idle()
    end.

%% The socket is gone, and so is this process, soon.
-spec idle() -> no_return().
idle() ->
    receive
    after infinity -> idle()
    end.

%% Waits for what brings it on. Several may have come before: one look is for all of them.
-spec await(#state{}) -> no_return().
await(State) ->
    receive
        {?MODULE, _} -> accept(State)
    end.

-spec accept(#state{}) -> no_return().
accept(#state{name = Name} = State) ->
    accept(py_reactor_places:by_load(Name), State).

%% Beyond what can be served, connections wait in the queue of the system.
-spec accept([py_nif:handle()], #state{}) -> no_return().
accept([], #state{name = Name} = State) ->
    ok = py_reactor_places:tell_when_free(Name, {?MODULE, free}),
    await(State);
accept([Handle | Others], #state{listener = Listener, info = Info} = State) ->
    case py_nif:listener_accept(Listener, Handle, Info, ?AT_ONCE) of
        {_, more} ->
            accept(State);
        {_, empty} ->
            ok = py_nif:listener_arm(Listener, {?MODULE, ready}),
            await(State);
        {_, {error, closed}} ->
            idle();
        {_, {error, Reason}} when Reason =:= emfile; Reason =:= enfile; Reason =:= enomem; is_integer(Reason) ->
            ok = exhausted(Reason, State),
            accept(State);
        {_, {error, _FullOrGone}} ->
            accept(Others, State)
    end.

%% Who is connected goes on, who is not waits in the queue of the system.
exhausted(Reason, #state{name = Name}) ->
    ?LOG_WARNING("Python listener ~tp cannot accept: ~tp", [Name, Reason]),
    wait(?EXHAUSTED).

wait(Milliseconds) ->
    receive
    after Milliseconds -> ok
    end.

%% ------------------------------------------------------------------------------------------------
%% TLS

-spec accept_tls(#state{}) -> no_return().
accept_tls(#state{name = Name, socket = Socket} = State) ->
    ok = await_handshakes(State),
    case gen_tcp:accept(Socket) of
        {ok, Connection} ->
            %% A process of its own for each: handshakes take their time.
            case py_reactor_listener_sup:start_relay(Name) of
                {ok, Relay} -> py_reactor_tls:take(Relay, Connection);
                {error, _} -> gen_tcp:close(Connection)
            end,
            accept_tls(State);
        {error, closed} ->
            idle();
        {error, Reason} when Reason =:= econnaborted; Reason =:= eintr; Reason =:= eproto; Reason =:= timeout ->
            accept_tls(State);
        {error, Reason} ->
            ok = exhausted(Reason, State),
            accept_tls(State)
    end.

%% Those that have ended their handshake, and wait for a place, count as well.
await_handshakes(#state{name = Name, handshakes = Max} = State) ->
    case py_reactor_tls:pending(Name) < Max of
        true ->
            ok;
        false ->
            ok = wait(?EXHAUSTED),
            await_handshakes(State)
    end.
