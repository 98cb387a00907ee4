%% @doc An echo server: Erlang accepts, protocols in Python contexts answer.
%%
%% Clients in Erlang processes are spread over the contexts. In the middle of it all contexts are replaced, and a new
%% client is served by a new one.
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(echo).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out but the folder.
-type options() :: #{
    mode => owngil | worker,
    %% the folder that repeat.py is in
    folder => file:name_all(),
    contexts => pos_integer(),
    clients => pos_integer(),
    %% how often each client sends a message and waits for its echo
    messages => pos_integer(),
    quiet => boolean()
}.
-type report() :: #{
    echoed := non_neg_integer(),
    per_context := [non_neg_integer()],
    replaced := non_neg_integer(),
    microseconds := pos_integer()
}.

-define(CLIENTS, 20).
-define(MESSAGES, 1000).
-define(DEADLINE, 30_000).

%% @doc Runs the example, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Folder = filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv"),
    Status =
        try run(#{folder => Folder}) of
            _Report -> 0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "~nfailed: ~tp~n", [{Class, Reason, Stack}]),
                1
        end,
    halt(Status).

%% @doc Serves, asks, and compares the answers with what they must be.
-spec run(options()) -> report().
run(Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    Clients = maps:get(clients, Opts, ?CLIENTS),
    Messages = maps:get(messages, Opts, ?MESSAGES),
    {ok, _} = py_reactor:start_listener(?MODULE, #{
        ip => {127, 0, 0, 1},
        mode => maps:get(mode, Opts, py:execution_mode()),
        contexts => maps:get(contexts, Opts, 2),
        paths => [maps:get(folder, Opts)],
        protocol => {repeat, 'Echo'}
    }),
    Port = py_reactor:port(?MODULE),
    Started = erlang:monotonic_time(microsecond),
    Sockets = [connect(Port) || _ <- lists:seq(1, Clients)],
    ok = all(fun(Socket) -> echoes(Socket, Messages) end, Sockets),
    Took = erlang:monotonic_time(microsecond) - Started,
    #{contexts := Before} = py_reactor:info(?MODULE),
    PerContext = [Requests || #{total_requests := Requests} <- Before],
    Echoed = Clients * Messages,
    Echoed = lists:sum(PerContext),
    ok = py_reactor:restart_contexts(?MODULE),
    ok = echoes(connect(Port), 1),
    #{contexts := After} = py_reactor:info(?MODULE),
    Replaced = length([Pid || #{pid := Pid} <- Before] -- [Pid || #{pid := Pid} <- After]),
    ok = py_reactor:stop_listener(?MODULE),
    Report = #{echoed => Echoed, per_context => PerContext, replaced => Replaced, microseconds => Took},
    tell(Report, Opts),
    Report.

connect(Port) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}, {nodelay, true}]),
    Socket.

echoes(Socket, Left) ->
    Message = <<"message ", (integer_to_binary(Left))/binary>>,
    ok = gen_tcp:send(Socket, Message),
    {ok, Message} = gen_tcp:recv(Socket, byte_size(Message), ?DEADLINE),
    case Left of
        1 -> gen_tcp:close(Socket);
        _ -> echoes(Socket, Left - 1)
    end.

%% In a process for each.
all(Fun, List) ->
    Monitors = [element(2, spawn_monitor(fun() -> ok = Fun(Element) end)) || Element <- List],
    lists:foreach(
        fun(Monitor) ->
            receive
                {'DOWN', Monitor, process, _, normal} -> ok;
                {'DOWN', Monitor, process, _, Reason} -> exit({client_failed, Reason})
            end
        end,
        Monitors
    ).

tell(#{echoed := Echoed, per_context := PerContext, replaced := Replaced, microseconds := Took}, Opts) ->
    say(Opts, "~b messages echoed in ~b ms~n", [Echoed, Took div 1000]),
    say(Opts, "by context: ~ts~n", [lists:join(", ", [integer_to_list(Count) || Count <- PerContext])]),
    say(Opts, "~b contexts were replaced while the listener stayed~n", [Replaced]).

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
