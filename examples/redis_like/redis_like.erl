%% @doc A server that speaks the protocol of Redis: Erlang listens, and Python's asyncio serves.
%%
%%     client ──▶ listener ──▶ redis_like_server ──(descriptor)──▶ context: an asyncio.Protocol for each connection
%%        ▲                                                           │
%%        └──────────────────── commands and answers ─────────────────┘
%%
%% The clients here are Erlang processes. While they are served, Erlang calls the same context: for the keys, and to
%% publish a message.
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(redis_like).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out but the folder.
-type options() :: #{
    mode => owngil | worker,
    %% the folder that store.py is in
    folder => file:name_all(),
    clients => pos_integer(),
    %% how often each client increments the counter, in batches that it does not wait within
    increments => pos_integer(),
    quiet => boolean()
}.
-type report() :: #{
    counter := integer(),
    keys := [binary()],
    heard := [binary()],
    expired := boolean(),
    served := non_neg_integer(),
    refused := non_neg_integer(),
    microseconds := pos_integer()
}.

-define(CLIENTS, 100).
-define(INCREMENTS, 1000).
-define(BATCH, 100).
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
    Increments = maps:get(increments, Opts, ?INCREMENTS),
    {ok, Server} = redis_like_server:start_link(#{
        folder => maps:get(folder, Opts),
        mode => maps:get(mode, Opts, py:execution_mode()),
        %% The clients, one that looks around, and one that listens.
        limit => Clients + 2
    }),
    #{port := Port} = redis_like_server:info(Server),
    Socket = connect(Port),
    <<"PONG">> = command(Socket, [<<"PING">>]),
    {error, <<"ERR unknown command 'FLY'">>} = command(Socket, [<<"FLY">>]),
    Started = erlang:monotonic_time(microsecond),
    ok = increment(Port, Clients, Increments),
    Took = erlang:monotonic_time(microsecond) - Started,
    Counter = binary_to_integer(command(Socket, [<<"GET">>, <<"counter">>])),
    Counter = Clients * Increments,
    Expired = expires(Socket),
    Heard = hears(Server, Port, Socket),
    {Context, Store} = redis_like_server:context(Server),
    {ok, Keys} = py:call(Context, store, keys, [Store]),
    {error, <<"ERR max number of clients reached">>} = refusal(Port),
    #{served := Served, refused := Refused} = redis_like_server:info(Server),
    ok = redis_like_server:stop(Server),
    {error, closed} = gen_tcp:recv(Socket, 0, ?DEADLINE),
    Report = #{
        counter => Counter,
        keys => Keys,
        heard => Heard,
        expired => Expired,
        served => Served,
        refused => Refused,
        microseconds => Took
    },
    tell(Report, Clients, Opts),
    Report.

%% All clients at once, on one counter.
increment(Port, Clients, Increments) ->
    Monitors = [
        element(2, spawn_monitor(fun() -> incrementer(Port, Increments) end))
     || _ <- lists:seq(1, Clients)
    ],
    lists:foreach(
        fun(Monitor) ->
            receive
                {'DOWN', Monitor, process, _, normal} -> ok;
                {'DOWN', Monitor, process, _, Reason} -> exit({client_failed, Reason})
            end
        end,
        Monitors
    ).

incrementer(Port, Increments) ->
    Socket = connect(Port),
    ok = batches(Socket, Increments),
    ok = gen_tcp:close(Socket).

batches(_Socket, 0) ->
    ok;
batches(Socket, Left) ->
    Count = min(Left, ?BATCH),
    ok = gen_tcp:send(Socket, lists:duplicate(Count, encode([<<"INCR">>, <<"counter">>]))),
    [true = is_integer(answer(Socket)) || _ <- lists:seq(1, Count)],
    batches(Socket, Left - Count).

%% A timer of the loop drops the key; the client asks until it is gone.
expires(Socket) ->
    <<"OK">> = command(Socket, [<<"SET">>, <<"brief">>, <<"value">>]),
    <<"value">> = command(Socket, [<<"GET">>, <<"brief">>]),
    1 = command(Socket, [<<"PEXPIRE">>, <<"brief">>, <<"20">>]),
    gone(Socket, <<"brief">>).

gone(Socket, Key) ->
    command(Socket, [<<"GET">>, Key]) =:= nil orelse gone(Socket, Key).

%% What a client publishes, and what Erlang does, reaches the one that listens.
hears(Server, Port, Socket) ->
    Listening = connect(Port),
    [<<"subscribe">>, <<"news">>, 1] = command(Listening, [<<"SUBSCRIBE">>, <<"news">>]),
    1 = command(Socket, [<<"PUBLISH">>, <<"news">>, <<"from a client">>]),
    {Context, Store} = redis_like_server:context(Server),
    {ok, 1} = py_context:submit_await(Context, store, tell, [Store, <<"news">>, <<"from Erlang">>]),
    Heard = [Text || _ <- [1, 2], [<<"message">>, <<"news">>, Text] <- [answer(Listening)]],
    ok = gen_tcp:close(Listening),
    Heard.

refusal(Port) ->
    Socket = connect(Port),
    Answer = answer(Socket),
    ok = gen_tcp:close(Socket),
    Answer.

%%% A client

connect(Port) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}, {packet, line}, {nodelay, true}]),
    Socket.

command(Socket, Words) ->
    ok = gen_tcp:send(Socket, encode(Words)),
    answer(Socket).

encode(Words) ->
    [io_lib:format("*~b\r\n", [length(Words)]) | [["$", integer_to_list(byte_size(W)), "\r\n", W, "\r\n"] || W <- Words]].

answer(Socket) ->
    {ok, <<Sign, Line/binary>>} = gen_tcp:recv(Socket, 0, ?DEADLINE),
    Text = binary:part(Line, 0, byte_size(Line) - 2),
    case {Sign, Text} of
        {$+, _} -> Text;
        {$-, _} -> {error, Text};
        {$:, _} -> binary_to_integer(Text);
        {$$, <<"-1">>} -> nil;
        {$$, _} -> string(Socket, binary_to_integer(Text));
        {$*, _} -> [answer(Socket) || _ <- lists:seq(1, binary_to_integer(Text))]
    end.

string(Socket, Length) ->
    ok = inet:setopts(Socket, [{packet, raw}]),
    {ok, <<Text:Length/binary, "\r\n">>} = gen_tcp:recv(Socket, Length + 2, ?DEADLINE),
    ok = inet:setopts(Socket, [{packet, line}]),
    Text.

%%% Telling

tell(#{counter := Counter, keys := Keys, heard := Heard, served := Served, microseconds := Took}, Clients, Opts) ->
    say(Opts, "~b increments by ~b clients in ~b ms~n", [Counter, Clients, Took div 1000]),
    say(Opts, "the counter is right; keys: ~ts~n", [lists:join(", ", Keys)]),
    say(Opts, "a key expired; ~b messages were heard: ~ts~n", [length(Heard), lists:join(", ", Heard)]),
    say(Opts, "~b connections were served, one more was refused~n", [Served]).

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
