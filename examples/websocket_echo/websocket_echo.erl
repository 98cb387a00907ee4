%% @doc WebSockets with a package from PyPI: a server on the event loop of one context, its clients on that of another.
%%
%%     Erlang process ──▶ context: server  ◀── WebSocket ──▶  context: clients ◀── Erlang process
%%
%% Erlang starts the server as a task, which ends when the server listens; the loop serves on. Each client is a task, and
%% Erlang is told how it ended. When all have talked, Erlang announces something to all connections.
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(websocket_echo).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out but the first two.
-type options() :: #{
    %% the folder that echo.py is in
    folder => file:name_all(),
    %% the folder that the package `websockets' is in
    packages => file:name_all(),
    mode => owngil | worker,
    clients => pos_integer(),
    messages => pos_integer(),
    quiet => boolean()
}.
-type report() :: #{
    echoed := non_neg_integer(),
    told := non_neg_integer(),
    heard := non_neg_integer(),
    microseconds := pos_integer()
}.

-define(CLIENTS, 50).
-define(MESSAGES, 20).
-define(NEWS, <<"that is all for today">>).

%% @doc Runs the example, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Build = filename:dirname(filename:dirname(code:which(?MODULE))),
    [Packages] = filelib:wildcard(filename:join(Build, "venv/lib/python*/site-packages")),
    Status =
        try run(#{folder => filename:join(Build, "priv"), packages => Packages}) of
            _Report -> 0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "~nfailed: ~tp~n", [{Class, Reason, Stack}]),
                1
        end,
    halt(Status).

%% @doc Exits when a client does not get back what it said.
-spec run(options()) -> report().
run(Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    [Serving, Talking] = [context(Opts) || _ <- [server, clients]],
    {ok, Server} = py_context:submit_await(Serving, echo, start, []),
    {ok, Port} = py:call(Serving, echo, port, [Server]),
    Url = iolist_to_binary(io_lib:format("ws://127.0.0.1:~b", [Port])),
    Started = erlang:monotonic_time(microsecond),
    Clients = maps:from_list([client(Talking, Url, Number, Opts) || Number <- lists:seq(1, count(clients, ?CLIENTS, Opts))]),
    ok = all_ready(Clients, map_size(Clients)),
    Took = erlang:monotonic_time(microsecond) - Started,
    {ok, Told} = py_context:submit_await(Serving, echo, announce, [Server, ?NEWS]),
    Echoed = maps:map(fun ended/2, Clients),
    {ok, none} = py_context:submit_await(Serving, echo, stop, [Server]),
    lists:foreach(fun(Context) -> ok = py_context:stop(Context) end, [Serving, Talking]),
    Report = #{
        echoed => lists:sum(maps:values(Echoed)),
        told => Told,
        heard => map_size(Echoed),
        microseconds => Took
    },
    tell(Report, Opts),
    Report.

context(Opts) ->
    {ok, Context} = py_context:new(#{mode => maps:get(mode, Opts, py:execution_mode())}),
    lists:foreach(
        fun(Key) ->
            Folder = unicode:characters_to_binary(maps:get(Key, Opts)),
            {ok, none} = py:call(Context, sys, 'path.append', [Folder])
        end,
        [folder, packages]
    ),
    Context.

client(Context, Url, Number, Opts) ->
    Said = [message(Number, N) || N <- lists:seq(1, count(messages, ?MESSAGES, Opts))],
    {ok, Ref} = py_context:submit(Context, echo, talk, [Url, Said, self()]),
    {Ref, Said}.

%% Text and, every other time, bytes.
message(Number, N) when N rem 2 =:= 0 ->
    {bytes, <<Number:32, N:32>>};
message(Number, N) ->
    iolist_to_binary(io_lib:format("message ~b of client ~b", [N, Number])).

all_ready(_Clients, 0) ->
    ok;
all_ready(Clients, Left) ->
    receive
        ready -> all_ready(Clients, Left - 1);
        {async_result, Ref, Result} when is_map_key(Ref, Clients) -> exit({client_failed, Result})
    end.

%% How many messages came back to the client: all, or this exits.
ended(Ref, Said) ->
    receive
        {async_result, Ref, {ok, {Echoed, ?NEWS}}} ->
            Echoed = [back(Message) || Message <- Said],
            length(Echoed);
        {async_result, Ref, Result} ->
            exit({client_failed, Result})
    end.

back({bytes, Bytes}) -> Bytes;
back(Text) -> Text.

count(Key, Default, Opts) ->
    maps:get(Key, Opts, Default).

tell(#{echoed := Echoed, told := Told, heard := Heard, microseconds := Took}, Opts) ->
    say(Opts, "~b messages came back to ~b clients in ~b ms~n", [Echoed, Heard, Took div 1000]),
    say(Opts, "~b clients were told the news, and ~b heard it~n", [Told, Heard]).

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
