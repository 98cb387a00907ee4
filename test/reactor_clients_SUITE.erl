%% Clients that behave badly, contexts that die while they serve, and tools that others have written.
-module(reactor_clients_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).
-define(LISTENER, ?MODULE).
-define(LOCALHOST, {127, 0, 0, 1}).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        silent_peer_is_closed_while_others_go_on,
        peer_that_sends_by_the_byte_is_served_as_it_comes,
        half_closed_peer_gets_all_that_it_asked_for,
        reset_connection_is_lost_once,
        peer_that_never_reads_is_not_read_from_either,
        peer_that_never_reads_pauses_who_writes,
        peer_that_is_gone_before_it_is_answered_is_forgotten,
        killed_context_loses_its_own_connections_alone,
        connections_in_waves_leave_nothing,
        slow_heads_are_ended_while_others_are_answered,
        openssl_client_is_answered,
        wrk_is_answered,
        curl_is_answered,
        wrk_is_answered_by_a_web_server,
        wrk_goes_on_when_a_context_is_killed
    ]).

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    ok = py_certificates:write(?config(priv_dir, Config)),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    _ = py_reactor:stop_listener(?LISTENER),
    ok.

%% ------------------------------------------------------------------------------------------------
%% Badly

silent_peer_is_closed_while_others_go_on(Config) ->
    Port = listen(Config, 'Echo', #{idle_timeout => 300}),
    Busy = connect(Port),
    Silent = connect(Port),
    {_, _} = made(),
    {_, _} = made(),
    {Ended, Monitor} = spawn_monitor(fun() -> exit({ended, gen_tcp:recv(Silent, 0, ?DEADLINE)}) end),
    ok = gen_tcp:controlling_process(Silent, Ended),
    ok = echo_until(Busy, fun() ->
        receive
            {'DOWN', Monitor, process, Ended, {ended, {error, closed}}} -> true
        after 0 -> false
        end
    end),
    _ = lost(),
    echo(Busy, <<"still">>),
    ok = gen_tcp:close(Busy),
    _ = lost(),
    nothing_more().

peer_that_sends_by_the_byte_is_served_as_it_comes(Config) ->
    Port = listen(Config, 'Http', #{}),
    Slow = connect(Port),
    Request = <<"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n">>,
    Bytes = [<<Byte>> || <<Byte>> <= Request],
    lists:foreach(
        fun(Byte) ->
            ok = gen_tcp:send(Slow, Byte),
            %% Somebody else is answered between any two of them.
            Other = connect(Port),
            ok = gen_tcp:send(Other, Request),
            {ok, <<"HTTP/1.1 200 OK", _/binary>>} = gen_tcp:recv(Other, 0, ?DEADLINE),
            ok = gen_tcp:close(Other)
        end,
        Bytes
    ),
    {ok, <<"HTTP/1.1 200 OK", _/binary>>} = gen_tcp:recv(Slow, 0, ?DEADLINE),
    ok = gen_tcp:close(Slow).

half_closed_peer_gets_all_that_it_asked_for(Config) ->
    Port = listen(Config, 'Echo', #{}),
    Client = connect(Port),
    Data = binary:copy(<<"0123456789abcdef">>, 65_536),
    Sender = spawn_link(fun() ->
        receive go -> ok end,
        ok = gen_tcp:send(Client, Data),
        ok = gen_tcp:shutdown(Client, write)
    end),
    Sender ! go,
    ?assertEqual(Data, received(Client, byte_size(Data))),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    {_, _} = made(),
    _ = lost(),
    nothing_more().

reset_connection_is_lost_once(Config) ->
    Port = listen(Config, 'Echo', #{}),
    Clients = [connect(Port) || _ <- lists:seq(1, 50)],
    lists:foreach(
        fun(Client) ->
            ok = gen_tcp:send(Client, binary:copy(<<0>>, 100_000)),
            %% What was sent back is not read: the close is a reset even without the option.
            ok = inet:setopts(Client, [{linger, {true, 0}}]),
            ok = gen_tcp:close(Client)
        end,
        Clients
    ),
    Made = [made() || _ <- Clients],
    Lost = [{Thread, Fd} || {Thread, Fd, _} <- [lost() || _ <- Clients]],
    ?assertEqual(threads(Made), threads(Lost)),
    nothing_more(),
    ok = py_leaks:eventually(fun() -> active() =:= 0 end),
    echo(connect(Port), <<"next">>).

peer_that_never_reads_is_not_read_from_either(Config) ->
    Port = listen(Config, 'Echo', #{write_timeout => 1000}),
    Deaf = connect(Port),
    {_, _} = made(),
    %% It sends until the server, which cannot answer any more, has closed the connection.
    {Sender, Monitor} = spawn_monitor(fun() -> exit({ended, send_on(Deaf, binary:copy(<<0>>, 65_536), 0)}) end),
    Other = connect(Port),
    ok = echo_until(Other, fun() ->
        receive
            {'DOWN', Monitor, process, Sender, {ended, _}} -> true
        after 0 -> false
        end
    end),
    {_, _} = made(),
    {_, _, Most} = lost(),
    %% Not more than what was read at once.
    ?assert(Most =< 1 bsl 20),
    ok = gen_tcp:close(Other),
    _ = lost(),
    nothing_more().

peer_that_never_reads_pauses_who_writes(Config) ->
    Port = listen(Config, 'Flood', #{write_timeout => infinity}),
    Deaf = connect(Port),
    ok = gen_tcp:send(Deaf, <<"go">>),
    Most =
        receive
            {<<"paused">>, Waiting} -> Waiting
        after ?DEADLINE -> ct:fail(is_never_paused)
        end,
    %% The mark and one more piece.
    ?assert(Most =< 65_536 + 2 * 16_384),
    ok = py_leaks:eventually(fun() -> active() =:= 1 end),
    ok = gen_tcp:close(Deaf),
    {_, _} = made(),
    _ = lost(),
    nothing_more().

peer_that_is_gone_before_it_is_answered_is_forgotten(Config) ->
    Port = listen(Config, 'Echo', #{}),
    Count = 200,
    lists:foreach(
        fun(_) ->
            Client = connect(Port),
            ok = gen_tcp:send(Client, <<"are you there?">>),
            ok = gen_tcp:close(Client)
        end,
        lists:seq(1, Count)
    ),
    _ = [made() || _ <- lists:seq(1, Count)],
    _ = [lost() || _ <- lists:seq(1, Count)],
    nothing_more(),
    ok = py_leaks:eventually(fun() -> active() =:= 0 end).

slow_heads_are_ended_while_others_are_answered(Config) ->
    Port = web(Config, #{head_timeout => 1000}),
    Slow = [connect(Port) || _ <- lists:seq(1, 100)],
    Waiting = [
        begin
            ok = gen_tcp:send(Client, <<"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ">>),
            {Pid, _} = spawn_monitor(fun() -> exit({ended, gen_tcp:recv(Client, 0, ?DEADLINE)}) end),
            Pid
        end
     || Client <- Slow
    ],
    ok = dribble(Slow, connect(Port), length(Waiting)).

%% A byte of each head between two whole requests, until the server has ended so many.
dribble(_Slow, Good, 0) ->
    gen_tcp:close(Good);
dribble(Slow, Good, Left) ->
    lists:foreach(fun(Client) -> gen_tcp:send(Client, <<"x">>) end, Slow),
    ok = gen_tcp:send(Good, <<"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n">>),
    {ok, <<"HTTP/1.1 200 OK", _/binary>>} = gen_tcp:recv(Good, 0, ?DEADLINE),
    dribble(Slow, Good, Left - ended_heads()).

ended_heads() ->
    receive
        {'DOWN', _, process, _, {ended, Result}} ->
            case Result of
                {ok, <<"HTTP/1.1 408 ", _/binary>>} -> ok;
                %% What was sent to it after its end resets it, and the answer with it.
                {error, Reason} when Reason =:= closed; Reason =:= econnreset -> ok
            end,
            1 + ended_heads()
    after 0 -> 0
    end.

%% ------------------------------------------------------------------------------------------------
%% Contexts

killed_context_loses_its_own_connections_alone(Config) ->
    py_suite:silently(fun() -> killed_context(Config) end).

killed_context(Config) ->
    Port = listen(Config, 'Echo', #{contexts => 2}),
    Test = self(),
    Clients = [
        begin
            Socket = connect(Port),
            {Thread, _} = made(),
            Pid = spawn_link(fun() ->
                receive go -> Test ! {self(), ended, echo_on(Socket, 0)} end
            end),
            ok = gen_tcp:controlling_process(Socket, Pid),
            Pid ! go,
            {Pid, Thread}
        end
     || _ <- lists:seq(1, 40)
    ],
    Contexts = contexts(),
    ?assertEqual(2, length(Contexts)),
    [{Killed, Thread} | _] = [{Context, thread_of(Context)} || Context <- Contexts],
    {Theirs, Others} = lists:partition(fun({_, Of}) -> Of =:= Thread end, Clients),
    ?assertEqual({20, 20}, {length(Theirs), length(Others)}),
    ok = py_suite:killed(Killed),
    lists:foreach(
        fun({Pid, _}) ->
            receive
                {Pid, ended, {error, _}} -> ok
            after ?DEADLINE -> ct:fail({not_lost, Pid})
            end
        end,
        Theirs
    ),
    %% The others go on, and end when they are told to.
    lists:foreach(fun({Pid, _}) -> Pid ! stop end, Others),
    lists:foreach(
        fun({Pid, _}) ->
            receive
                {Pid, ended, Result} -> ?assertMatch({ok, Count} when Count > 0, Result)
            after ?DEADLINE -> ct:fail({hangs, Pid})
            end
        end,
        Others
    ),
    %% Who connects now is served, and nobody was refused meanwhile.
    lists:foreach(
        fun(_) ->
            Next = connect(Port),
            echo(Next, <<"next">>),
            ok = gen_tcp:close(Next)
        end,
        lists:seq(1, 10)
    ),
    py_suite:flush().

connections_in_waves_leave_nothing(Config) ->
    Port = listen(Config, 'Echo', #{contexts => 2}),
    lists:foreach(
        fun(_) ->
            Clients = [connect(Port) || _ <- lists:seq(1, 200)],
            lists:foreach(fun(Client) -> ok = gen_tcp:send(Client, <<"hello">>) end, Clients),
            lists:foreach(fun(Client) -> ?assertEqual(<<"hello">>, received(Client, 5)) end, Clients),
            lists:foreach(fun gen_tcp:close/1, Clients),
            _ = [{made(), lost()} || _ <- Clients]
        end,
        lists:seq(1, 10)
    ),
    ok = py_leaks:eventually(fun() -> active() =:= 0 end),
    nothing_more().

%% ------------------------------------------------------------------------------------------------
%% Tools

openssl_client_is_answered(Config) ->
    with_tool("openssl", fun(Openssl) ->
        Folder = ?config(priv_dir, Config),
        Port = listen(Config, 'Echo', #{
            transport => ssl,
            ssl_opts => [{certfile, filename:join(Folder, "cert.pem")}, {keyfile, filename:join(Folder, "key.pem")}]
        }),
        Address = "localhost:" ++ integer_to_list(Port),
        Arguments = [
            "s_client", "-quiet", "-no_ign_eof", "-4", "-connect", Address, "-servername", "localhost",
            "-CAfile", filename:join(Folder, "cacerts.pem"), "-verify_return_error"
        ],
        Options = [{args, Arguments}, binary, {line, 1000}, exit_status, stderr_to_stdout],
        Client = open_port({spawn_executable, Openssl}, Options),
        {_, _} = made(),
        true = port_command(Client, <<"hello\n">>),
        ok = said(Client, <<"hello">>),
        %% Its input ends, and so does the connection.
        true = port_close(Client),
        _ = lost(),
        nothing_more()
    end).

said(Client, Text) ->
    receive
        {Client, {data, {eol, Text}}} ->
            ok;
        {Client, {data, {eol, About}}} ->
            ct:log("~ts", [About]),
            said(Client, Text);
        {Client, {exit_status, Status}} ->
            ct:fail({ended, Status})
    after ?DEADLINE -> ct:fail(no_answer)
    end.

wrk_is_answered(Config) ->
    with_tool("wrk", fun(Wrk) ->
        Port = listen(Config, 'Http', #{contexts => 2}),
        Said = output(Wrk, ["-t1", "-c50", "-d1s", url(Port)]),
        ?assertMatch({match, _}, re:run(Said, "[1-9][0-9]* requests in")),
        ?assertEqual(nomatch, re:run(Said, "Socket errors|Non-2xx"))
    end).

curl_is_answered(Config) ->
    with_tool("curl", fun(Curl) ->
        Port = listen(Config, 'Http', #{}),
        Url = url(Port),
        %% Three requests on one connection.
        Args = ["-sS", "-m", "20", "--noproxy", "*", "-w", "%{num_connects} ", Url, Url, Url],
        ?assertEqual(<<"hello\n1 hello\n0 hello\n0 ">>, output(Curl, Args))
    end).

wrk_is_answered_by_a_web_server(Config) ->
    with_tool("wrk", fun(Wrk) ->
        Port = web(Config, #{contexts => 2}),
        Said = output(Wrk, ["-t1", "-c50", "-d1s", url(Port)]),
        ?assertMatch({match, _}, re:run(Said, "[1-9][0-9]* requests in")),
        ?assertEqual(nomatch, re:run(Said, "Socket errors|Non-2xx"))
    end).

wrk_goes_on_when_a_context_is_killed(Config) ->
    with_tool("wrk", fun(Wrk) -> py_suite:silently(fun() -> killed_under_wrk(Wrk, Config) end) end).

killed_under_wrk(Wrk, Config) ->
    Port = web(Config, #{contexts => 2}),
    [Killed | _] = contexts(),
    {Client, Monitor} = spawn_monitor(fun() -> exit({said, output(Wrk, ["-t1", "-c20", "-d2s", url(Port)])}) end),
    ok = py_leaks:eventually(fun() -> active() =:= 20 end),
    ok = py_suite:killed(Killed),
    Said =
        receive
            {'DOWN', Monitor, process, Client, {said, Output}} -> Output
        after ?DEADLINE -> ct:fail(wrk_hangs)
        end,
    ?assertEqual(nomatch, re:run(Said, "Non-2xx")),
    %% Those of the context that was killed, and no others.
    case re:run(Said, "connect ([0-9]+), read ([0-9]+), write ([0-9]+)", [{capture, all_but_first, list}]) of
        {match, Errors} ->
            [Connect, Read, Write] = lists:map(fun list_to_integer/1, Errors),
            ?assertEqual(0, Connect),
            ?assert(Read + Write =< 10);
        nomatch ->
            ok
    end,
    Next = connect(Port),
    ok = gen_tcp:send(Next, <<"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n">>),
    {ok, <<"HTTP/1.1 200 OK", _/binary>>} = gen_tcp:recv(Next, 0, ?DEADLINE),
    ok = gen_tcp:close(Next).

with_tool(Name, Fun) ->
    case os:find_executable(Name) of
        false -> {skip, Name ++ " is not installed"};
        Path -> Fun(Path)
    end.

url(Port) ->
    "http://127.0.0.1:" ++ integer_to_list(Port) ++ "/".

output(Program, Args) ->
    Port = open_port({spawn_executable, Program}, [{args, Args}, binary, exit_status, stderr_to_stdout]),
    output_of(Port, <<>>).

output_of(Port, Said) ->
    receive
        {Port, {data, More}} ->
            output_of(Port, <<Said/binary, More/binary>>);
        {Port, {exit_status, Status}} ->
            ct:log("~ts", [Said]),
            ?assertEqual(0, Status),
            Said
    after ?DEADLINE -> ct:fail({no_output, Said})
    end.

%% ------------------------------------------------------------------------------------------------
%% Listeners

listen(Config, Factory, Options) ->
    true = register(reactor_clients, self()),
    Own = #{
        ip => ?LOCALHOST,
        port => 0,
        mode => py_suite:mode(Config),
        contexts => 1,
        paths => [filename:join(py_suite:checkout(), "test/support/python")],
        setup_code => <<"import sys; sys.dont_write_bytecode = True">>,
        protocol => {ct_reactor_clients, Factory}
    },
    {ok, _} = py_reactor:start_listener(?LISTENER, maps:merge(Own, Options)),
    py_reactor:port(?LISTENER).

web(Config, Options) ->
    Own = #{
        ip => ?LOCALHOST,
        mode => py_suite:mode(Config),
        contexts => 1,
        paths => [filename:join(py_suite:checkout(), "test/support/python")],
        setup_code => <<"import sys; sys.dont_write_bytecode = True">>,
        asgi => "ct_reactor_clients:app"
    },
    {ok, _} = py_web:start(?LISTENER, maps:merge(Own, Options)),
    py_web:port(?LISTENER).

contexts() ->
    #{contexts := Contexts} = py_reactor:info(?LISTENER),
    [Pid || #{pid := Pid} <- Contexts].

thread_of(Reactor) ->
    {ok, Context} = py_reactor_context:context(Reactor),
    {ok, Thread} = py:call(Context, ct_reactor_clients, thread, []),
    Thread.

active() ->
    lists:sum([maps:get(active_connections, py_reactor_context:stats(Context)) || Context <- contexts()]).

%% ------------------------------------------------------------------------------------------------
%% What protocols tell

made() ->
    receive
        {<<"made">>, Thread, Fd} -> {Thread, Fd}
    after ?DEADLINE -> ct:fail(not_connected)
    end.

lost() ->
    receive
        {<<"lost">>, Thread, Fd, Most} -> {Thread, Fd, Most}
    after ?DEADLINE -> ct:fail(not_lost)
    end.

%% Everything was told once.
nothing_more() ->
    Contexts = contexts(),
    %% What a context has sent before it answers is here before the answer.
    _ = [thread_of(Context) || Context <- Contexts],
    ?assertEqual([], py_suite:flush()).

threads(Told) ->
    lists:sort([Thread || {Thread, _} <- Told]).

%% ------------------------------------------------------------------------------------------------
%% Clients

connect(Port) ->
    {ok, Socket} = gen_tcp:connect(?LOCALHOST, Port, [binary, {active, false}, {nodelay, true}]),
    Socket.

received(Socket, Size) ->
    {ok, Data} = gen_tcp:recv(Socket, Size, ?DEADLINE),
    Data.

echo(Socket, Data) ->
    ok = gen_tcp:send(Socket, Data),
    ?assertEqual(Data, received(Socket, byte_size(Data))).

echo_until(Socket, Ended) ->
    echo(Socket, <<"hello">>),
    case Ended() of
        true -> ok;
        false -> echo_until(Socket, Ended)
    end.

%% Until it is told to stop, or cannot.
echo_on(Socket, Count) ->
    receive
        stop -> {ok, Count}
    after 0 ->
        case gen_tcp:send(Socket, <<"hello">>) of
            ok ->
                case gen_tcp:recv(Socket, 5, ?DEADLINE) of
                    {ok, <<"hello">>} -> echo_on(Socket, Count + 1);
                    {error, _} = Error -> Error
                end;
            {error, _} = Error ->
                Error
        end
    end.

send_on(Socket, Data, Count) ->
    case gen_tcp:send(Socket, Data) of
        ok -> send_on(Socket, Data, Count + 1);
        {error, Reason} -> {Reason, Count}
    end.
