-module(py_reactor_tls).
-include("py_doc.hrl").
?MODULEDOC(false).

%% One TLS connection: TLS on the network's side, a pair of sockets on Python's.
%%
%%   network ◀── ssl ──▶ this process ──▶ pair ◀──▶ context
%%                  ◀── its writer  ◀──┘
%%
%% Each direction has a process of its own and waits for nothing but itself, so neither reads more than the other end
%% takes. When Python closes, the writer has sent all that was in the pair before TLS is closed; when the peer has sent
%% its last, Python reads the end of the pair.

-export([start_link/2, take/2, pending/1, init/2]).

-include_lib("kernel/include/logger.hrl").

-spec start_link(term(), py_reactor_options:listener()) -> {ok, pid()}.
start_link(Name, Options) ->
    {ok, proc_lib:spawn_link(?MODULE, init, [Name, Options])}.

%% The calling process owns the connection no longer.
-spec take(pid(), gen_tcp:socket()) -> ok.
take(Relay, Connection) ->
    case gen_tcp:controlling_process(Connection, Relay) of
        ok ->
            Relay ! {?MODULE, Connection},
            ok;
        {error, _} ->
            exit(Relay, shutdown),
            gen_tcp:close(Connection)
    end.

%% How many have not been handed over yet.
-spec pending(term()) -> non_neg_integer().
pending(Name) ->
    case py_reactor_table:get({Name, handshakes}) of
        {ok, Counter} -> counters:get(Counter, 1);
        none -> 0
    end.

-spec init(term(), py_reactor_options:listener()) -> ok.
init(Name, Options) ->
    receive
        {?MODULE, Connection} -> counted(Name, fun() -> handshake(Connection, Name, Options) end)
    end.

counted(Name, Fun) ->
    {ok, Counter} = py_reactor_table:get({Name, handshakes}),
    ok = counters:add(Counter, 1, 1),
    Relaying =
        try
            Fun()
        after
            counters:sub(Counter, 1, 1)
        end,
    Relaying().

handshake(Connection, Name, #{ssl_opts := Opts, handshake_timeout := Timeout}) ->
    Peer = inet:peername(Connection),
    Local = py_reactor_peer:local(Connection),
    case ssl:handshake(Connection, Opts(), Timeout) of
        {ok, Tls} ->
            case Peer of
                {ok, Address} -> pair(Tls, Name, info(Tls, py_reactor_peer:address(Address), Local));
                {error, _} -> over(Tls)
            end;
        {error, {options, _} = Reason} ->
            ?LOG_ERROR("Python listener ~tp: wrong ssl_opts: ~tp", [Name, option(Reason)]),
            closed(Connection);
        %% Whoever cannot speak TLS: that is no news. `ssl' has logged what it thinks worth it.
        {error, _} ->
            closed(Connection)
    end.

%% The name alone: its value may be a key.
option({options, {Option, _}}) -> Option;
option(_) -> unknown.

closed(Connection) ->
    ok = gen_tcp:close(Connection),
    fun() -> ok end.

over(Tls) ->
    _ = ssl:close(Tls),
    fun() -> ok end.

info(Tls, Peer, Local) ->
    Known =
        case ssl:connection_information(Tls, [protocol, selected_cipher_suite, sni_hostname]) of
            {ok, Facts} -> Facts;
            {error, _} -> []
        end,
    #{
        transport => ssl,
        peer => Peer,
        local => Local,
        tls => #{
            protocol => version(proplists:get_value(protocol, Known, none)),
            cipher => cipher(proplists:get_value(selected_cipher_suite, Known)),
            server_name => server_name(proplists:get_value(sni_hostname, Known)),
            alpn => protocol(ssl:negotiated_protocol(Tls)),
            certificate => certificate(ssl:peercert(Tls))
        }
    }.

%% As Python has them.
version('tlsv1.3') -> <<"TLSv1.3">>;
version('tlsv1.2') -> <<"TLSv1.2">>;
version(Other) -> Other.

cipher(Suite) when is_map(Suite) -> list_to_binary(ssl:suite_to_str(Suite));
cipher(_) -> none.

server_name(Name) when is_list(Name) -> unicode:characters_to_binary(Name);
server_name(_) -> none.

protocol({ok, Protocol}) -> Protocol;
protocol({error, _}) -> none.

certificate({ok, Der}) -> {bytes, Der};
certificate({error, _}) -> none.

%% Python gets one end, this process has the other.
pair(Tls, Name, Info) ->
    case py_nif:socketpair() of
        {ok, Here, There} ->
            Given = py_reactor_places:give(Name, There, Info),
            _ = py_nif:close_fd(There),
            %% Of one that it has not duplicated `socket' does not close the descriptor.
            Opened = socket:open(Here, #{dup => true}),
            _ = py_nif:close_fd(Here),
            case {Given, Opened} of
                {ok, {ok, Pair}} ->
                    _ = socket:setopt(Pair, {otp, rcvbuf}, 65_536),
                    fun() -> relay(Tls, Pair) end;
                {_, {ok, Pair}} ->
                    _ = socket:close(Pair),
                    over(Tls);
                {_, {error, _}} ->
                    over(Tls)
            end;
        {error, Reason} ->
            ?LOG_WARNING("Python listener ~tp refuses a connection: ~tp", [Name, Reason]),
            over(Tls)
    end.

relay(Tls, Pair) ->
    {_Pid, Writer} = spawn_opt(fun() -> write(Tls, Pair) end, [link, monitor]),
    read(Tls, Pair, Writer).

%% From the network to Python.
read(Tls, Pair, Writer) ->
    _ = ssl:setopts(Tls, [{active, once}]),
    receive
        {ssl, Tls, Data} ->
            case socket:send(Pair, Data) of
                ok -> read(Tls, Pair, Writer);
                %% Python has closed, and the writer knows, or will.
                {error, _} -> await_writer(Tls, Pair, Writer)
            end;
        {ssl_closed, Tls} ->
            _ = socket:shutdown(Pair, write),
            await_writer(Tls, Pair, Writer);
        {ssl_error, Tls, _Reason} ->
            _ = socket:shutdown(Pair, read_write),
            await_writer(Tls, Pair, Writer);
        {'DOWN', Writer, process, _, _} ->
            ended(Tls, Pair)
    end.

await_writer(Tls, Pair, Writer) ->
    receive
        {'DOWN', Writer, process, _, _} -> ended(Tls, Pair)
    end.

ended(Tls, Pair) ->
    _ = ssl:close(Tls),
    _ = socket:close(Pair),
    ok.

%% From Python to the network.
write(Tls, Pair) ->
    case socket:recv(Pair, 0) of
        {ok, Data} ->
            case ssl:send(Tls, Data) of
                ok ->
                    write(Tls, Pair);
                {error, _} ->
                    %% Nobody hears what Python has to say any more.
                    _ = socket:shutdown(Pair, read_write),
                    ok
            end;
        {error, _} ->
            ok
    end.
