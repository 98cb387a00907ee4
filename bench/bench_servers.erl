-module(bench_servers).

%% Echo servers that do the same in different places. All listen on the loopback interface.

-export([start/2]).
-export_type([kind/0, server/0]).

-type kind() ::
    %% On one thread, in native code, out of the node.
    native
    %% In Erlang, a process for each connection.
    | gen_tcp
    %% Protocols on event loops: out of the node, out of it, in a context.
    | stock
    | uvloop
    | erlang
    %% In so many contexts.
    | {reactor, pos_integer()}.
%% What it listens on, and the processes of the operating system that do the work.
-type server() :: #{port := inet:port_number(), pids := [pos_integer()], stop := fun(() -> ok)}.

-define(BACKLOG, 1024).

-spec start(kind(), bench:settings()) -> server().
start(native, Settings) ->
    {Program, Port} = bench_wire:serve(Settings),
    outside(Program, Port);
start(gen_tcp, _Settings) ->
    {ok, Listen} = gen_tcp:listen(0, options()),
    lists:foreach(fun(_) -> spawn_link(fun() -> accept(Listen, fun echo/1) end) end, lists:seq(1, 4)),
    {ok, Port} = inet:port(Listen),
    inside(Port, fun() -> gen_tcp:close(Listen) end);
start(stock, #{dir := Dir}) ->
    {ok, Python} = py:eval(<<"__import__('sys').executable">>),
    process(bench_loop_side:python(Python, [filename:join(Dir, "loop_process.py"), "stock", "echo"]));
start(uvloop, Settings) ->
    process(bench_loop_side:uvloop(Settings, ["echo"]));
start(erlang, Settings) ->
    Context = bench_loop_side:context(Settings),
    {ok, Task} = py_context:submit(Context, loop_context, serve_echo, [self()]),
    receive
        [Port] -> inside(Port, fun() -> py_context:stop(Context) end);
        {async_result, Task, Result} -> error({server_ended, Result})
    end;
start({reactor, Contexts}, Settings) ->
    reactor(Contexts, Settings).

options() ->
    [binary, {active, false}, {ip, loopback}, {nodelay, true}, {backlog, ?BACKLOG}, {reuseaddr, true}].

inside(Port, Stop) ->
    #{port => Port, pids => [list_to_integer(os:getpid())], stop => Stop}.

process(Program) ->
    [Port] = bench_loop_side:answer(Program),
    outside(Program, Port).

outside(Program, Port) ->
    {os_pid, Pid} = erlang:port_info(Program, os_pid),
    Stop = fun() ->
        true = port_close(Program),
        ok
    end,
    #{port => Port, pids => [Pid], stop => Stop}.

%% ------------------------------------------------------------------------------------------------
%% In Erlang

accept(Listen, Serve) ->
    case gen_tcp:accept(Listen) of
        {ok, Socket} ->
            Server = spawn(fun() -> receive serve -> Serve(Socket) end end),
            ok = gen_tcp:controlling_process(Socket, Server),
            Server ! serve,
            accept(Listen, Serve);
        {error, closed} ->
            ok
    end.

echo(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Data} ->
            _ = gen_tcp:send(Socket, Data),
            echo(Socket);
        {error, _} ->
            gen_tcp:close(Socket)
    end.

%% ------------------------------------------------------------------------------------------------
%% On reactors

reactor(Contexts, #{dir := Dir}) ->
    Name = {?MODULE, Contexts},
    {ok, _} = py_reactor:start_listener(Name, #{
        ip => {127, 0, 0, 1},
        contexts => Contexts,
        backlog => ?BACKLOG,
        paths => [Dir],
        protocol => {reactor_echo, 'Echo'}
    }),
    inside(py_reactor:port(Name), fun() -> py_reactor:stop_listener(Name) end).
