-module(py_reactor_tls_acceptor).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Accepts connections whose TLS ends in Erlang, and starts a process for each.

-export([start_link/2, init/2]).

-include_lib("kernel/include/logger.hrl").

-record(state, {
    name :: term(),
    socket :: gen_tcp:socket(),
    max_handshakes :: pos_integer()
}).

%% Milliseconds before descriptors, or handshakes, may be there again.
-define(EXHAUSTED, 50).

-spec start_link(term(), py_reactor_options:listener()) -> {ok, pid()}.
start_link(Name, Options) ->
    {ok, proc_lib:spawn_link(?MODULE, init, [Name, Options])}.

-spec init(term(), py_reactor_options:listener()) -> no_return().
init(Name, #{max_handshakes := Max}) ->
    case py_reactor_table:get({Name, socket}) of
        {ok, {Socket, _Address}} -> loop(#state{name = Name, socket = Socket, max_handshakes = Max});
        none -> idle()
    end.

%% The socket is gone, and so is this process, soon.
-spec idle() -> no_return().
idle() ->
    receive
    after infinity -> idle()
    end.

loop(#state{socket = Socket, name = Name, max_handshakes = Max} = State) ->
    %% Those that have ended their handshake, and wait for a place, count as well.
    case py_reactor_tls:pending(Name) < Max of
        true -> accepted(gen_tcp:accept(Socket), State);
        false -> again_later(State)
    end.

-spec accepted({ok, gen_tcp:socket()} | {error, term()}, #state{}) -> no_return().
accepted({ok, Connection}, #state{name = Name} = State) ->
    ok =
        case py_reactor_listener_sup:start_relay(Name) of
            {ok, Relay} -> py_reactor_tls:take(Relay, Connection);
            {error, _} -> gen_tcp:close(Connection)
        end,
    loop(State);
accepted({error, closed}, _State) ->
    idle();
accepted({error, Reason}, State) when
    Reason =:= econnaborted; Reason =:= eintr; Reason =:= eproto; Reason =:= timeout
->
    loop(State);
accepted({error, Reason}, #state{name = Name} = State) ->
    %% emfile and its like: who is connected goes on, who is not waits in the queue of the system.
    ?LOG_WARNING("Python listener ~tp cannot accept: ~tp", [Name, Reason]),
    again_later(State).

-spec again_later(#state{}) -> no_return().
again_later(State) ->
    receive
    after ?EXHAUSTED -> loop(State)
    end.
