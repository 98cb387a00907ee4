-module(py_reactor_socket_owner).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Opens the socket of a listener, and owns it. It does nothing else.

-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {socket :: gen_tcp:socket(), path :: binary() | undefined}).

-spec start_link(term(), py_reactor_options:listener()) -> gen_server:start_ret().
start_link(Name, Options) ->
    gen_server:start_link(?MODULE, {Name, Options}, []).

-spec init({term(), py_reactor_options:listener()}) -> {ok, #state{}} | {stop, term()}.
init({Name, #{transport := Transport} = Options}) ->
    _ = process_flag(trap_exit, true),
    case open(Transport, Options) of
        {ok, Socket, Address} ->
            case py_reactor_table:put({Name, socket}, {Socket, Address}) of
                ok -> {ok, #state{socket = Socket, path = maps:get(path, Options)}};
                {error, Reason} -> {stop, {shutdown, Reason}}
            end;
        {error, Reason} ->
            {stop, {shutdown, {listen, Reason}}}
    end.

open(unix, #{path := Path} = Options) ->
    unix(Path, Options, first);
open(_Transport, #{ip := Ip, port := Port} = Options) ->
    case listen(Port, [family(Ip), {ip, Ip}, {reuseaddr, true}, {nodelay, true}], Options) of
        {ok, Socket} ->
            {ok, Bound} = inet:port(Socket),
            {ok, Socket, {Ip, Bound}};
        {error, _} = Error ->
            Error
    end.

family(Ip) when tuple_size(Ip) =:= 4 -> inet;
family(_) -> inet6.

unix(Path, Options, Attempt) ->
    case listen(0, [{ifaddr, {local, Path}}], Options) of
        {ok, Socket} ->
            {ok, Socket, Path};
        {error, eaddrinuse} when Attempt =:= first ->
            %% The name of a socket outlasts the one that made it.
            case is_served(Path) of
                false ->
                    _ = file:delete(Path),
                    unix(Path, Options, second);
                true ->
                    {error, eaddrinuse}
            end;
        {error, _} = Error ->
            Error
    end.

is_served(Path) ->
    case gen_tcp:connect({local, Path}, 0, [local]) of
        {ok, Socket} ->
            ok = gen_tcp:close(Socket),
            true;
        {error, Reason} ->
            Reason =/= econnrefused
    end.

%% Connections inherit the options.
listen(Port, Own, #{backlog := Backlog, socket_opts := Opts, context := #{write_timeout := Timeout}}) ->
    Common = [
        binary, {active, false}, {packet, raw}, {backlog, Backlog}, {send_timeout, Timeout}, {send_timeout_close, true}
    ],
    try
        gen_tcp:listen(Port, Own ++ Common ++ Opts)
    catch
        exit:badarg -> {error, badarg}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{socket = Socket, path = Path}) ->
    ok = gen_tcp:close(Socket),
    _ = [file:delete(Path) || Path =/= undefined],
    ok.
