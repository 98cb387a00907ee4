-module(py_reactor_acceptor).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Accepts connections and hands each to the context with the fewest.

-export([start_link/2, init/2]).

-include_lib("kernel/include/logger.hrl").

-record(state, {
    name :: term(),
    socket :: gen_tcp:socket(),
    %% What all connections have in common.
    info :: map(),
    %% The local address, unless the listener has many.
    local :: term() | undefined,
    bounded :: boolean(),
    handshakes :: pos_integer()
}).

%% Milliseconds before descriptors may be there again.
-define(EXHAUSTED, 50).

-spec start_link(term(), py_reactor_options:listener()) -> {ok, pid()}.
start_link(Name, Options) ->
    {ok, proc_lib:spawn_link(?MODULE, init, [Name, Options])}.

-spec init(term(), py_reactor_options:listener()) -> no_return().
init(Name, #{transport := Transport, context := Context, max_handshakes := Handshakes}) ->
    case py_reactor_table:get({Name, socket}) of
        {ok, {Socket, Address}} ->
            loop(#state{
                name = Name,
                socket = Socket,
                info = #{transport => Transport},
                local = local(Address),
                bounded = maps:get(max_connections, Context) =/= infinity,
                handshakes = Handshakes
            });
        none ->
            idle()
    end.

local({{0, 0, 0, 0}, _}) -> undefined;
local({{0, 0, 0, 0, 0, 0, 0, 0}, _}) -> undefined;
local({Ip, Port}) -> py_reactor_peer:address({Ip, Port});
local(Path) -> Path.

%% The socket is gone, and so is this process, soon.
-spec idle() -> no_return().
idle() ->
    receive
    after infinity -> idle()
    end.

loop(#state{socket = Socket} = State) ->
    ok = await_room(State),
    case gen_tcp:accept(Socket) of
        {ok, Connection} -> accepted(Connection, State);
        {error, Reason} -> failed(Reason, State)
    end.

%% Beyond what can be served, connections wait in the queue of the system.
await_room(#state{info = #{transport := ssl}} = State) -> await_handshakes(State);
await_room(#state{bounded = true, name = Name}) -> py_reactor_places:await(Name);
await_room(_State) -> ok.

-spec failed(term(), #state{}) -> no_return().
failed(closed, _State) ->
    idle();
failed(Reason, State) when Reason =:= econnaborted; Reason =:= eintr; Reason =:= eproto; Reason =:= timeout ->
    loop(State);
failed(Reason, #state{name = Name} = State) ->
    %% emfile and its like: who is connected goes on, who is not waits in the queue of the system.
    ?LOG_WARNING("Python listener ~tp cannot accept: ~tp", [Name, Reason]),
    ok = wait(?EXHAUSTED),
    loop(State).

wait(Milliseconds) ->
    receive
    after Milliseconds -> ok
    end.

-spec accepted(gen_tcp:socket(), #state{}) -> no_return().
accepted(Connection, #state{name = Name, info = #{transport := ssl}} = State) ->
    %% A process of its own for each: handshakes take their time.
    case py_reactor_listener_sup:start_relay(Name) of
        {ok, Relay} -> py_reactor_tls:take(Relay, Connection);
        {error, _} -> gen_tcp:close(Connection)
    end,
    loop(State);
accepted(Connection, #state{name = Name} = State) ->
    %% A connection that was reset has no addresses any more.
    _ = case {inet:peername(Connection), inet:getfd(Connection)} of
        {{ok, Peer}, {ok, Fd}} -> py_reactor_places:give(Name, Fd, info(Peer, Connection, State));
        _ -> gone
    end,
    ok = gen_tcp:close(Connection),
    loop(State).

info(Peer, Connection, #state{info = Info, local = Local}) ->
    Info#{
        peer => py_reactor_peer:address(Peer),
        local => case Local of undefined -> py_reactor_peer:local(Connection); _ -> Local end
    }.

%% Those that have ended their handshake, and wait for a place, count as well.
await_handshakes(#state{name = Name, handshakes = Max} = State) ->
    case py_reactor_tls:pending(Name) < Max of
        true ->
            ok;
        false ->
            ok = wait(?EXHAUSTED),
            await_handshakes(State)
    end.
