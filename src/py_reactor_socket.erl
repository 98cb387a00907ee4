-module(py_reactor_socket).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Sockets as Erlang knows them: which descriptor one has, whether everything that it received is still to be read from
%% that, and how it is closed.

-export([fd/1, close/1, refuse/1]).
-export_type([socket/0, reason/0]).

-type socket() :: gen_tcp:socket() | gen_udp:socket() | socket:socket() | Fd :: non_neg_integer().
-type reason() :: closed | {bad_socket, What :: term(), Remedy :: string()}.

-spec fd(term()) -> {ok, non_neg_integer()} | {error, reason()} | badarg.
fd(Fd) when is_integer(Fd), Fd >= 0 -> {ok, Fd};
fd(Port) when is_port(Port) -> port(Port);
fd({'$inet', _Module, {_Server, {'$socket', _} = Socket}} = Handle) -> inet_handle(Handle, Socket);
fd({'$socket', _} = Socket) -> socket(Socket);
fd(Tls) when element(1, Tls) =:= sslsocket ->
    bad(tls, "its protocol is Erlang's: listen with py_reactor, transport => ssl");
fd(_) -> badarg.

port(Port) ->
    case erlang:port_info(Port, name) of
        {name, Name} when Name =:= "tcp_inet"; Name =:= "udp_inet" -> port_of(Name, Port);
        {name, _} -> badarg;
        undefined -> {error, closed}
    end.

port_of(Name, Port) ->
    case {inet:getopts(Port, [active, packet]), inet:info(Port), inet:getstat(Port, [recv_oct, send_pend])} of
        {{ok, Opts}, #{states := States}, {ok, Counts}} ->
            Checks = [
                fun() -> passive(proplists:get_value(active, Opts)) end,
                fun() -> connected(Name, States) end,
                fun() -> sent(proplists:get_value(send_pend, Counts, 0)) end
            ],
            Packet = proplists:get_value(packet, Opts, raw),
            Received = proplists:get_value(recv_oct, Counts, 0),
            steps(Checks, fun() -> unread(inet:getfd(Port), Name, Packet, Received) end);
        _ ->
            {error, closed}
    end.

steps([Check | Checks], Last) ->
    case Check() of
        ok -> steps(Checks, Last);
        {error, _} = Error -> Error
    end;
steps([], Last) ->
    Last().

passive(false) -> ok;
passive(Active) -> bad({active, Active}, "set {active, false} first, and take what has come as messages").

connected("tcp_inet", States) ->
    case lists:member(connected, States) of
        true -> ok;
        false -> bad(not_connected, "a listening socket accepts in Erlang; hand over what it accepted")
    end;
connected("udp_inet", _States) ->
    ok.

sent(0) -> ok;
sent(Bytes) -> bad({unsent, Bytes}, "wait until Erlang has sent what it was given").

%% A driver that has taken more from the system than it has given to its owner holds the rest.
unread({ok, Fd}, "tcp_inet", Packet, Received) ->
    case py_nif:reactor_taken(Fd) of
        Received -> {ok, Fd};
        Taken when is_integer(Taken), Taken > Received -> read_ahead(Taken - Received);
        Taken when is_integer(Taken) -> bad(unread, "read what gen_tcp:unrecv/2 has put back");
        %% Without packets nothing is read that was not asked for.
        undefined when Packet =:= raw; Packet =:= 0; Received =:= 0 -> {ok, Fd};
        undefined -> bad({packet, Packet}, "set {packet, raw} before the first byte is received")
    end;
unread({ok, Fd}, "udp_inet", _Packet, _Received) ->
    {ok, Fd};
unread({error, _}, _Name, _Packet, _Received) ->
    {error, closed}.

read_ahead(Bytes) ->
    bad({read_ahead, Bytes}, "read it all first, or set {packet, raw} before the first byte is received").

%% gen_tcp and gen_udp on top of the module socket.
inet_handle(Handle, Socket) ->
    try inet:getopts(Handle, [active, packet]) of
        {ok, Opts} ->
            Packet = proplists:get_value(packet, Opts, raw),
            Checks = [
                fun() -> passive(proplists:get_value(active, Opts)) end,
                fun() when Packet =:= raw; Packet =:= 0 -> ok;
                   () -> bad({packet, Packet}, "set {packet, raw} before the first byte is received")
                end
            ],
            steps(Checks, fun() -> socket(Socket) end);
        {error, _} ->
            {error, closed}
    catch
        %% Its process has ended.
        exit:_ -> {error, closed}
    end.

socket(Socket) ->
    try {socket:getopt(Socket, otp, fd), socket:info(Socket)} of
        {{ok, Fd}, #{num_readers := 0, num_acceptors := 0}} ->
            case socket:getopt(Socket, socket, acceptconn) of
                {ok, true} -> bad(not_connected, "a listening socket accepts in Erlang; hand over what it accepted");
                _ -> {ok, Fd}
            end;
        {{ok, _Fd}, #{}} ->
            bad(reading, "somebody waits in socket:recv or socket:accept; let that end, or cancel it, first");
        {{error, _}, _} ->
            {error, closed}
    catch
        error:_ -> {error, closed}
    end.

bad(What, Remedy) ->
    {error, {bad_socket, What, Remedy}}.

%% Python has a descriptor of its own by now; a number is its owner's to close.
-spec close(socket()) -> ok.
close(Fd) when is_integer(Fd) -> ok;
close({'$socket', _} = Socket) -> done(socket:close(Socket));
close(Port) when is_port(Port) -> closed_port(erlang:port_info(Port, name), Port);
close(Handle) -> done(gen_tcp:close(Handle)).

closed_port({name, "udp_inet"}, Port) -> done(gen_udp:close(Port));
closed_port(_, Port) -> done(gen_tcp:close(Port)).

done(_) -> ok.

%% Nobody takes it, and the peer is to see that. Of a number only the connection is ended.
-spec refuse(socket()) -> ok.
refuse(Fd) when is_integer(Fd) ->
    try socket:open(Fd, #{dup => true}) of
        {ok, Socket} ->
            _ = socket:shutdown(Socket, read_write),
            close(Socket);
        %% No socket.
        {error, _} ->
            ok
    catch
        error:_ -> ok
    end;
refuse(Socket) ->
    close(Socket).
