%% Streams, plain and encrypted, on the loop of a context and on a loop of its own: what is sent arrives, once and in
%% order, nothing grows without a bound, and every end of a connection is told. The cases of the same names are in
%% test/support/python/ct_streams.py.
-module(streams_tls_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        data_of_any_size_comes_back_whole,
        many_connections_do_not_mix,
        half_closed_connection_still_answers,
        drain_waits_for_a_slow_reader,
        protocol_is_paused_and_resumed_at_its_limits,
        paused_reading_keeps_data_back,
        buffered_protocol_reads_into_its_own_buffer,
        protocol_may_be_changed_between_two_messages,
        writes_of_every_kind_arrive_in_order,
        lines_and_limits,
        close_sends_what_was_written_before,
        abort_drops_what_was_written_before,
        reset_by_the_peer_is_told,
        exception_of_a_protocol_closes_its_connection_alone,
        refused_connection_is_an_error,
        the_address_that_answers_is_taken,
        closed_server_takes_no_more_but_its_connections_go_on,
        sockets_by_hand,
        files_are_sent,
        tls_data_of_any_size_comes_back_whole,
        tls_many_connections_do_not_mix,
        tls_versions_are_agreed_upon,
        tls_unknown_authority_is_refused,
        tls_wrong_name_is_refused,
        tls_protocol_is_negotiated,
        tls_begins_in_mid_stream,
        tls_end_is_told_to_both,
        tls_handshake_has_a_time_limit,
        tls_server_gives_up_on_a_silent_client,
        tls_shutdown_has_a_time_limit,
        tls_broken_off_handshake_is_an_error,
        tls_plain_text_is_no_handshake,
        tls_drain_waits_for_a_slow_reader,
        tls_files_are_sent,
        tls_within_tls,
        erlang_clients_are_served,
        erlang_clients_are_served_with_tls,
        erlang_servers_are_asked,
        erlang_servers_are_asked_with_tls
    ]).

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    ok = py_certificates:write(?config(priv_dir, Config)),
    [{folder, unicode:characters_to_binary(?config(priv_dir, Config))} | Config].

end_per_suite(_Config) ->
    application:stop(ssl).

init_per_group(Mode, Config) ->
    py_loop_cases:init_group(Mode, Config, ct_streams, data_of_any_size_comes_back_whole).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(Case, Config) ->
    py_loop_cases:init_case(Case, Config).

end_per_testcase(_Case, Config) ->
    py_loop_cases:end_case(Config).

%% The Python case of this name.
python(Config) ->
    python(Config, []).

python(Config, Arguments) ->
    py_loop_cases:run(Config, ct_streams, Arguments).

encrypted(Config) ->
    python(Config, [?config(folder, Config)]).

data_of_any_size_comes_back_whole(Config) -> python(Config).
many_connections_do_not_mix(Config) -> python(Config).
half_closed_connection_still_answers(Config) -> python(Config).
drain_waits_for_a_slow_reader(Config) -> python(Config).
protocol_is_paused_and_resumed_at_its_limits(Config) -> python(Config).
paused_reading_keeps_data_back(Config) -> python(Config).
buffered_protocol_reads_into_its_own_buffer(Config) -> python(Config).
protocol_may_be_changed_between_two_messages(Config) -> python(Config).
writes_of_every_kind_arrive_in_order(Config) -> python(Config).
lines_and_limits(Config) -> python(Config).
close_sends_what_was_written_before(Config) -> python(Config).
abort_drops_what_was_written_before(Config) -> python(Config).
reset_by_the_peer_is_told(Config) -> python(Config).
exception_of_a_protocol_closes_its_connection_alone(Config) -> python(Config).
refused_connection_is_an_error(Config) -> python(Config).
the_address_that_answers_is_taken(Config) -> python(Config).
closed_server_takes_no_more_but_its_connections_go_on(Config) -> python(Config).
sockets_by_hand(Config) -> python(Config).
files_are_sent(Config) -> python(Config).
tls_data_of_any_size_comes_back_whole(Config) -> encrypted(Config).
tls_many_connections_do_not_mix(Config) -> encrypted(Config).
tls_versions_are_agreed_upon(Config) -> encrypted(Config).
tls_unknown_authority_is_refused(Config) -> encrypted(Config).
tls_wrong_name_is_refused(Config) -> encrypted(Config).
tls_protocol_is_negotiated(Config) -> encrypted(Config).
tls_begins_in_mid_stream(Config) -> encrypted(Config).
tls_end_is_told_to_both(Config) -> encrypted(Config).
tls_handshake_has_a_time_limit(Config) -> encrypted(Config).
tls_server_gives_up_on_a_silent_client(Config) -> encrypted(Config).
tls_shutdown_has_a_time_limit(Config) -> encrypted(Config).
tls_broken_off_handshake_is_an_error(Config) -> encrypted(Config).
tls_plain_text_is_no_handshake(Config) -> encrypted(Config).
tls_drain_waits_for_a_slow_reader(Config) -> encrypted(Config).
tls_files_are_sent(Config) -> encrypted(Config).
tls_within_tls(Config) -> encrypted(Config).

%% ------------------------------------------------------------------------------------------------
%% With Erlang at the other end: once for each of the two loops

erlang_clients_are_served(Config) ->
    served(Config, none, gen_tcp, []).

erlang_clients_are_served_with_tls(Config) ->
    Authority = filename:join(?config(priv_dir, Config), "cacerts.pem"),
    Verify = [{verify, verify_peer}, {cacertfile, Authority}, {server_name_indication, "localhost"}],
    served(Config, ?config(folder, Config), ssl, Verify).

served(Config, Folder, Module, Options) ->
    Signals = ?config(signals, Config),
    Serving = py:spawn_call(?config(ctx, Config), ct_streams, echo_until_told, [Folder, py_suite:port(Signals)]),
    Clients = 20,
    Data = rand:bytes(100_000),
    Round = fun() ->
        Port = receive {udp, Signals, _, _, Text} -> binary_to_integer(Text) end,
        Ask = fun(_) -> asked(Module, Options, Port, Data) end,
        ?assertEqual(lists:duplicate(Clients, Data), py_suite:concurrently(Clients, Ask)),
        ?assertEqual(<<"end">>, asked(Module, Options, Port, <<"end">>))
    end,
    ok = Round(),
    ok = Round(),
    ?assertEqual({ok, Clients + 1}, py:await(Serving)).

asked(Module, Options, Port, Data) ->
    {ok, Socket} = Module:connect({127, 0, 0, 1}, Port, [binary, {active, false} | Options]),
    ok = Module:send(Socket, Data),
    {ok, Answer} = Module:recv(Socket, byte_size(Data)),
    ok = Module:close(Socket),
    Answer.

erlang_servers_are_asked(Config) ->
    {ok, Listener} = gen_tcp:listen(0, listening()),
    {ok, Port} = inet:port(Listener),
    Accept = fun() -> {ok, Socket} = gen_tcp:accept(Listener), Socket end,
    asks(Config, Port, none, gen_tcp, Accept),
    ok = gen_tcp:close(Listener).

erlang_servers_are_asked_with_tls(Config) ->
    File = fun(Name) -> filename:join(?config(priv_dir, Config), Name) end,
    {ok, Listener} = ssl:listen(0, [{certfile, File("cert.pem")}, {keyfile, File("key.pem")} | listening()]),
    {ok, {_, Port}} = ssl:sockname(Listener),
    Accept = fun() ->
        {ok, Accepted} = ssl:transport_accept(Listener),
        {ok, Socket} = ssl:handshake(Accepted),
        Socket
    end,
    asks(Config, Port, ?config(folder, Config), ssl, Accept),
    ok = ssl:close(Listener).

listening() ->
    [binary, {active, false}, {reuseaddr, true}, {ip, {127, 0, 0, 1}}].

asks(Config, Port, Folder, Module, Accept) ->
    Asking = py:spawn_call(?config(ctx, Config), ct_streams, ask, [Port, Folder, <<"question">>]),
    Answer = rand:bytes(1_000_000),
    Round = fun() ->
        Socket = Accept(),
        {ok, <<"question">>} = Module:recv(Socket, 8),
        ok = Module:send(Socket, Answer),
        ok = Module:close(Socket)
    end,
    ok = Round(),
    ok = Round(),
    ?assertEqual({ok, Answer}, py:await(Asking)).
