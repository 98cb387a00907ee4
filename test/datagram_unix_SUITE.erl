%% Datagrams, sockets of the Unix domain and pipes, on the loop of a context and on a loop of its own. The cases of the
%% same names are in test/support/python/ct_datagrams.py.
-module(datagram_unix_SUITE).

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
        datagrams_are_answered,
        each_datagram_stays_one,
        burst_is_taken_in_its_order,
        refused_datagram_is_told_to_the_protocol,
        too_large_datagram_is_told_to_the_protocol,
        ipv6_datagrams_are_answered,
        closed_endpoint_sends_what_is_left,
        full_endpoint_is_paused_and_resumed,
        exception_of_a_protocol_closes_its_endpoint_alone,
        sockets_by_hand,
        unix_data_of_any_size_comes_back_whole,
        unix_many_connections_do_not_mix,
        unix_abstract_names_work,
        unix_socket_that_was_left_behind_is_replaced,
        unix_path_of_a_file_is_refused,
        unix_tls_begins_at_once_or_later,
        unix_datagrams_are_answered,
        unix_descriptors_are_passed_on,
        pipe_carries_data_of_any_size,
        pipe_without_a_reader_is_told,
        paused_pipe_keeps_data_back,
        terminal_is_read_and_written,
        named_pipe_is_read_and_written,
        regular_file_is_no_pipe,
        erlang_sends_datagrams,
        erlang_connects_by_path
    ]).

init_per_suite(Config) ->
    ok = py_certificates:write(?config(priv_dir, Config)),
    [{folder, unicode:characters_to_binary(?config(priv_dir, Config))} | Config].

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_loop_cases:init_group(Mode, Config, ct_datagrams, datagrams_are_answered).

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
    py_loop_cases:run(Config, ct_datagrams, Arguments).

datagrams_are_answered(Config) -> python(Config).
each_datagram_stays_one(Config) -> python(Config).
burst_is_taken_in_its_order(Config) -> python(Config).
refused_datagram_is_told_to_the_protocol(Config) -> python(Config).
too_large_datagram_is_told_to_the_protocol(Config) -> python(Config).
ipv6_datagrams_are_answered(Config) -> python(Config).
closed_endpoint_sends_what_is_left(Config) -> python(Config).
full_endpoint_is_paused_and_resumed(Config) -> python(Config).
exception_of_a_protocol_closes_its_endpoint_alone(Config) -> python(Config).
sockets_by_hand(Config) -> python(Config).
unix_data_of_any_size_comes_back_whole(Config) -> python(Config).
unix_many_connections_do_not_mix(Config) -> python(Config).
unix_abstract_names_work(Config) -> python(Config).
unix_socket_that_was_left_behind_is_replaced(Config) -> python(Config).
unix_path_of_a_file_is_refused(Config) -> python(Config).
unix_tls_begins_at_once_or_later(Config) -> python(Config, [?config(folder, Config)]).
unix_datagrams_are_answered(Config) -> python(Config).
unix_descriptors_are_passed_on(Config) -> python(Config).
pipe_carries_data_of_any_size(Config) -> python(Config).
pipe_without_a_reader_is_told(Config) -> python(Config).
paused_pipe_keeps_data_back(Config) -> python(Config).
terminal_is_read_and_written(Config) -> python(Config).
named_pipe_is_read_and_written(Config) -> python(Config).
regular_file_is_no_pipe(Config) -> python(Config).

%% ------------------------------------------------------------------------------------------------
%% With Erlang at the other end: once for each of the two loops

erlang_sends_datagrams(Config) ->
    Signals = ?config(signals, Config),
    Serving = py:spawn_call(?config(ctx, Config), ct_datagrams, echo_datagrams_until_told, [py_suite:port(Signals)]),
    {ok, Socket} = gen_udp:open(0, [binary, {active, false}, {buffer, 1 bsl 16}, {ip, {127, 0, 0, 1}}]),
    Round = fun() ->
        Port = receive {udp, Signals, _, _, Text} -> binary_to_integer(Text) end,
        [
            begin
                ok = gen_udp:send(Socket, {127, 0, 0, 1}, Port, Data),
                {ok, {_, Port, Data}} = gen_udp:recv(Socket, 0)
            end
         || I <- lists:seq(1, 100), Data <- [rand:bytes(I * 100)]
        ],
        ok = gen_udp:send(Socket, {127, 0, 0, 1}, Port, <<"end">>),
        {ok, {_, Port, <<"end">>}} = gen_udp:recv(Socket, 0)
    end,
    {ok, _} = Round(),
    {ok, _} = Round(),
    ok = gen_udp:close(Socket),
    ?assertEqual({ok, 101}, py:await(Serving)).

erlang_connects_by_path(Config) ->
    Signals = ?config(signals, Config),
    %% A short one: a path of the Unix domain has some hundred bytes at most.
    Path = filename:join("/tmp", "ct_unix_" ++ os:getpid() ++ "_" ++ atom_to_list(py_suite:mode(Config))),
    Arguments = [unicode:characters_to_binary(Path), py_suite:port(Signals)],
    Serving = py:spawn_call(?config(ctx, Config), ct_datagrams, unix_echo_until_told, Arguments),
    Data = rand:bytes(1_000_000),
    Round = fun() ->
        _ = py_suite:await_signal(Signals, <<"serves">>),
        ?assertEqual(lists:duplicate(10, Data), py_suite:concurrently(10, fun(_) -> asked(Path, Data) end)),
        ?assertEqual(<<"end">>, asked(Path, <<"end">>))
    end,
    ok = Round(),
    ok = Round(),
    ?assertEqual({ok, none}, py:await(Serving)).

asked(Path, Data) ->
    {ok, Socket} = gen_tcp:connect({local, Path}, 0, [binary, {active, false}]),
    ok = gen_tcp:send(Socket, Data),
    {ok, Answer} = gen_tcp:recv(Socket, byte_size(Data)),
    ok = gen_tcp:close(Socket),
    Answer.
