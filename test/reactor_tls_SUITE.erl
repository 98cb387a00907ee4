%% erlang.reactor.TLS: Python terminates TLS for the protocols of a reactor context.
-module(reactor_tls_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).
-define(LOCALHOST, {127, 0, 0, 1}).
-define(NAME, tls_of_the_case).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        bytes_come_back,
        both_versions_are_spoken,
        much_comes_back,
        answer_comes_later,
        write_goes_at_once,
        end_is_told_both_ways,
        peer_ends_it,
        failure_ends_its_connection_alone,
        slow_reader_slows_the_protocol,
        what_is_no_tls_is_closed,
        handshake_has_a_time_limit,
        openssl_client_is_served,
        what_is_not_right_is_refused,
        hundreds_of_connections_leave_nothing
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
    true = register(?MODULE, self()),
    Folder = unicode:characters_to_binary(?config(priv_dir, Config)),
    {ok, _} = py_reactor:start_listener(?NAME, #{
        ip => ?LOCALHOST,
        contexts => 1,
        mode => py_suite:mode(Config),
        paths => [filename:join(py_suite:checkout(), "test/support/python")],
        setup_code => [
            "import ct_tls\nct_tls.serve(r'''", Folder, "/cert.pem''', r'''", Folder, "/key.pem''')\n"
        ]
    }),
    [{ctx, py:context()}, {port, py_reactor:port(?NAME)} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_reactor:stop_listener(?NAME, 0),
    true = unregister(?MODULE),
    _ = py_suite:flush(),
    py_suite:all_is_well(Config).

bytes_come_back(Config) ->
    Client = connect(Config),
    ?assertMatch(<<"TLSv1.3">>, told(made)),
    [?assertEqual(Data, ask(Client, Data)) || Data <- [<<"hello">>, <<"again">>]],
    ok = ssl:close(Client).

both_versions_are_spoken(Config) ->
    Client = connect(Config, [{versions, ['tlsv1.2']}]),
    ?assertMatch(<<"TLSv1.2">>, told(made)),
    ?assertEqual(<<"hello">>, ask(Client, <<"hello">>)),
    ok = ssl:close(Client).

much_comes_back(Config) ->
    Client = connect(Config),
    Data = binary:copy(<<"0123456789">>, 500_000),
    Sender = spawn_link(fun() -> ok = ssl:send(Client, Data) end),
    ?assertEqual({ok, Data}, ssl:recv(Client, byte_size(Data), ?DEADLINE)),
    ok = py_callbacks:ended(Sender),
    ok = ssl:close(Client).

answer_comes_later(Config) ->
    Client = connect(Config),
    ?assertEqual(<<"now">>, ask(Client, <<"later">>)),
    ?assertEqual(<<"hello">>, ask(Client, <<"hello">>)),
    ok = ssl:close(Client).

write_goes_at_once(Config) ->
    Client = connect(Config),
    ?assertEqual(<<"written">>, ask(Client, <<"write">>)),
    ?assertEqual(7, told(written)),
    ok = ssl:close(Client).

end_is_told_both_ways(Config) ->
    Client = connect(Config),
    ?assertEqual(<<"bye">>, ask(Client, <<"close">>)),
    %% With a close_notify: otherwise `ssl' would say so.
    ?assertEqual({error, closed}, ssl:recv(Client, 0, ?DEADLINE)),
    ?assertEqual(true, told(lost)).

peer_ends_it(Config) ->
    Client = connect(Config),
    ?assertEqual(<<"hello">>, ask(Client, <<"hello">>)),
    ok = ssl:close(Client),
    ?assertEqual(true, told(eof)),
    ?assertEqual(true, told(lost)).

failure_ends_its_connection_alone(Config) ->
    Other = connect(Config),
    Client = connect(Config),
    py_suite:silently(fun() ->
        ok = ssl:send(Client, <<"fail">>),
        ?assertMatch({error, _}, ssl:recv(Client, 0, ?DEADLINE))
    end),
    ?assertEqual(true, told(lost)),
    ?assertEqual(<<"hello">>, ask(Other, <<"hello">>)),
    ok = ssl:close(Other).

slow_reader_slows_the_protocol(Config) ->
    Client = connect(Config),
    ok = ssl:send(Client, <<"flood">>),
    ?assertEqual(true, told(paused)),
    ?assertMatch({ok, _}, ssl:recv(Client, 10_000_000, ?DEADLINE)),
    _ = told(flooded),
    ok = ssl:close(Client).

what_is_no_tls_is_closed(Config) ->
    {ok, Client} = gen_tcp:connect(?LOCALHOST, ?config(port, Config), [binary, {active, false}]),
    ok = gen_tcp:send(Client, <<"GET / HTTP/1.1\r\nHost: x\r\n\r\n">>),
    ?assertMatch({error, _}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    Other = connect(Config),
    ?assertEqual(<<"hello">>, ask(Other, <<"hello">>)),
    ok = ssl:close(Other).

handshake_has_a_time_limit(Config) ->
    {ok, Client} = gen_tcp:connect(?LOCALHOST, ?config(port, Config), [binary, {active, false}]),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)).

openssl_client_is_served(Config) ->
    case os:find_executable("openssl") of
        false ->
            {skip, "no openssl"};
        OpenSsl ->
            Options = ["s_client", "-quiet", "-verify_return_error", "-CAfile",
                filename:join(?config(priv_dir, Config), "cacerts.pem"), "-servername", "localhost", "-connect",
                "127.0.0.1:" ++ integer_to_list(?config(port, Config))],
            Port = open_port({spawn_executable, OpenSsl}, [binary, exit_status, stderr_to_stdout, {args, Options}]),
            _ = told(made),
            true = port_command(Port, <<"hello">>),
            ok = printed(Port, <<"hello">>),
            true = port_command(Port, <<"close">>),
            ok = printed(Port, <<"bye">>),
            receive
                {Port, {exit_status, Status}} -> ?assertEqual(0, Status)
            after ?DEADLINE -> ct:fail(openssl_goes_on)
            end
    end.

printed(Port, Text) ->
    receive
        {Port, {data, Data}} ->
            case string:find(Data, Text) of
                nomatch -> printed(Port, Text);
                _ -> ok
            end
    after ?DEADLINE -> ct:fail({not_printed, Text})
    end.

what_is_not_right_is_refused(Config) ->
    ok = py_suite:python_path(?config(ctx, Config)),
    {ok, [Context, Factory]} = py:call(?config(ctx, Config), ct_tls, refused, []),
    py_suite:contains(Context, "ssl.SSLContext"),
    py_suite:contains(Factory, "protocol factory").

hundreds_of_connections_leave_nothing(Config) ->
    Some = fun() ->
        [
            begin
                Client = connect(Config),
                ?assertEqual(<<"hello">>, ask(Client, <<"hello">>)),
                ok = ssl:close(Client),
                _ = told(lost)
            end
         || _ <- lists:seq(1, 100)
        ]
    end,
    _ = Some(),
    Before = py_leaks:snapshot(),
    [_ = Some() || _ <- [1, 2, 3]],
    py_leaks:check(Before).

connect(Config) ->
    connect(Config, []).

connect(Config, Options) ->
    Trusted = [
        {cacertfile, filename:join(?config(priv_dir, Config), "cacerts.pem")},
        {verify, verify_peer},
        {server_name_indication, "localhost"}
    ],
    {ok, Client} = ssl:connect(
        ?LOCALHOST, ?config(port, Config), [binary, {active, false} | Trusted ++ Options], ?DEADLINE
    ),
    Client.

ask(Client, Data) ->
    ok = ssl:send(Client, Data),
    {ok, Answer} = ssl:recv(Client, 0, ?DEADLINE),
    Answer.

told(What) ->
    receive
        {What, Value} -> Value
    after ?DEADLINE -> ct:fail({not_told, What, process_info(self(), messages)})
    end.
