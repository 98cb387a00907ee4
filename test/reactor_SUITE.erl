%% Reactor contexts: what can be handed over, to whom, and what becomes of it when a context ends.
-module(reactor_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).
-define(LOCALHOST, {127, 0, 0, 1}).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        socket_of_gen_tcp_is_served,
        socket_of_gen_tcp_over_socket_is_served,
        socket_of_the_socket_module_is_served,
        unix_socket_is_served,
        datagrams_are_served,
        pipe_is_served,
        number_stays_the_callers,
        end_is_seen_while_erlang_holds_the_descriptor,
        what_came_before_the_handoff_is_read,
        end_that_came_before_the_handoff_is_read,
        info_reaches_the_protocol,
        active_socket_is_refused_untouched,
        what_was_read_ahead_is_refused_untouched,
        what_is_not_sent_is_refused_untouched,
        socket_somebody_reads_is_refused_untouched,
        listening_socket_is_refused_untouched,
        closed_socket_is_refused,
        what_is_no_socket_is_badarg,
        connection_beyond_the_bound_is_closed,
        number_beyond_the_bound_is_shut_down,
        place_is_free_again_after_a_connection,
        handoff_chooses_the_fewest_connections,
        handoff_needs_a_context,
        any_process_hands_over,
        statistics_are_exact,
        calls_are_served_between_handlers,
        options_are_checked_by_name,
        failing_start_says_why,
        application_runs_before_and_after_connections,
        stop_closes_what_waits_for_input,
        stop_lets_output_be_written,
        stop_waits_no_longer_than_it_may,
        stop_ends_a_handler_that_blocks,
        nothing_is_taken_by_a_context_that_stops,
        killed_process_ends_its_connections,
        killed_context_ends_its_reactor,
        supervised_context_comes_back,
        thousands_of_connections_leave_nothing
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    ?assertEqual([], py_suite:flush()).

%% ------------------------------------------------------------------------------------------------
%% What can be handed over

socket_of_gen_tcp_is_served(Config) ->
    served(Config, fun() -> py_reactors:connection() end).

socket_of_gen_tcp_over_socket_is_served(Config) ->
    served(Config, fun() ->
        {ok, Listener} = gen_tcp:listen(0, [{inet_backend, socket}, binary, {active, false}, {ip, ?LOCALHOST}]),
        {ok, Port} = inet:port(Listener),
        Client = py_reactors:connect(Port),
        {ok, Accepted} = gen_tcp:accept(Listener, ?DEADLINE),
        ok = gen_tcp:close(Listener),
        {Client, Accepted}
    end).

socket_of_the_socket_module_is_served(Config) ->
    served(Config, fun() -> socket_connection() end).

unix_socket_is_served(Config) ->
    served(Config, fun() ->
        Path = filename:join("/tmp", "py_reactor_" ++ os:getpid() ++ atom_to_list(py_suite:mode(Config))),
        _ = file:delete(Path),
        {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ifaddr, {local, Path}}]),
        {ok, Client} = gen_tcp:connect({local, Path}, 0, [local, binary, {active, false}]),
        {ok, Accepted} = gen_tcp:accept(Listener, ?DEADLINE),
        ok = gen_tcp:close(Listener),
        ok = file:delete(Path),
        {Client, Accepted}
    end).

%% The connection outlives the socket that it was handed over by.
served(Config, Connect) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = Connect(),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertMatch({error, _}, py_reactor_context:handoff(Reactor, Accepted, #{})),
        [?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)) || _ <- [1, 2, 3]],
        ?assertEqual(<<"bye">>, py_reactors:exchange(Client, <<"close">>)),
        py_reactors:closed(Client)
    end).

datagrams_are_served(Config) ->
    py_reactors:with(Config, 'Datagrams', fun(Reactor) ->
        {ok, Socket} = gen_udp:open(0, [binary, {active, false}, {ip, ?LOCALHOST}]),
        {ok, Port} = inet:port(Socket),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Socket, #{})),
        {ok, Client} = gen_udp:open(0, [binary, {active, false}, {ip, ?LOCALHOST}]),
        [
            begin
                ok = gen_udp:send(Client, ?LOCALHOST, Port, Text),
                Expected = {?LOCALHOST, Port, <<"127.0.0.1: ", Text/binary>>},
                ?assertEqual({ok, Expected}, gen_udp:recv(Client, 0, ?DEADLINE))
            end
         || Text <- [<<"one">>, <<"two">>]
        ],
        gen_udp:close(Client)
    end).

pipe_is_served(Config) ->
    py_reactors:with(Config, 'Listening', fun(Reactor) ->
        {ok, Context} = py_reactor_context:context(Reactor),
        {ok, {Read, Write}} = py:call(Context, ct_reactor, pipe, []),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Read, #{tell => self()})),
        {ok, none} = py:call(Context, ct_reactor, close, [Read]),
        {ok, none} = py:call(Context, ct_reactor, put, [Write, <<"through the pipe">>]),
        ?assertMatch({_, <<"through the pipe">>}, py_reactors:told(<<"data">>)),
        _ = [py_reactors:told(Tag) || Tag <- [<<"made">>, <<"eof">>, <<"lost">>]]
    end).

number_stays_the_callers(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection(),
        {ok, Fd} = inet:getfd(Accepted),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Fd, #{})),
        ?assertEqual({ok, Fd}, inet:getfd(Accepted)),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        ok = gen_tcp:close(Accepted),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        gen_tcp:close(Client)
    end).

end_is_seen_while_erlang_holds_the_descriptor(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection(),
        {ok, Fd} = inet:getfd(Accepted),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Fd, #{})),
        ?assertEqual(<<"bye">>, py_reactors:exchange(Client, <<"close">>)),
        ok = py_reactors:closed(Client),
        gen_tcp:close(Accepted)
    end).

what_came_before_the_handoff_is_read(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection([{packet, line}]),
        ok = gen_tcp:send(Client, <<"first\n">>),
        {ok, <<"first\n">>} = gen_tcp:recv(Accepted, 0, ?DEADLINE),
        ok = gen_tcp:send(Client, <<"second\n">>),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual({ok, <<"second\n">>}, gen_tcp:recv(Client, 0, ?DEADLINE)),
        gen_tcp:close(Client)
    end).

end_that_came_before_the_handoff_is_read(Config) ->
    py_reactors:with(Config, 'HalfOpen', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection(),
        ok = gen_tcp:send(Client, <<"hello">>),
        ok = gen_tcp:shutdown(Client, write),
        %% What has come is one byte more then, as the system counts.
        {ok, Fd} = inet:getfd(Accepted),
        ok = py_leaks:eventually(fun() -> state(Accepted) =:= close_wait end),
        ?assertEqual(0, py_nif:reactor_taken(Fd)),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual(<<"hello, and goodbye">>, py_reactors:all(Client)),
        gen_tcp:close(Client)
    end).

%% `tcpi_state' of TCP_INFO.
state(Socket) ->
    {ok, [{raw, 6, 11, <<State, _/binary>>}]} = inet:getopts(Socket, [{raw, 6, 11, 8}]),
    case State of
        8 -> close_wait;
        _ -> State
    end.

info_reaches_the_protocol(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection(),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{peer => {<<"::1">>, 1}, <<"b">> => 2})),
        ?assertEqual(<<"['b', 'peer']">>, py_reactors:exchange(Client, <<"info">>)),
        gen_tcp:close(Client)
    end).

%% ------------------------------------------------------------------------------------------------
%% What cannot

active_socket_is_refused_untouched(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection([{active, true}]),
        {error, {bad_socket, {active, true}, Remedy}} = py_reactor_context:handoff(Reactor, Accepted, #{}),
        py_suite:contains(Remedy, "{active, false}"),
        ok = gen_tcp:send(Client, <<"hello">>),
        receive
            {tcp, Accepted, <<"hello">>} -> ok
        after ?DEADLINE -> ct:fail(not_active)
        end,
        ok = inet:setopts(Accepted, [{active, false}]),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        gen_tcp:close(Client)
    end).

what_was_read_ahead_is_refused_untouched(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection([{packet, line}]),
        ok = gen_tcp:send(Client, <<"one\ntwo\n">>),
        {ok, <<"one\n">>} = gen_tcp:recv(Accepted, 0, ?DEADLINE),
        ?assertMatch({error, {bad_socket, {read_ahead, 4}, _}}, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual({ok, <<"two\n">>}, gen_tcp:recv(Accepted, 0, ?DEADLINE)),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual(<<"three\n">>, py_reactors:exchange(Client, <<"three\n">>)),
        gen_tcp:close(Client)
    end).

what_is_not_sent_is_refused_untouched(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection([{sndbuf, 4096}, {high_watermark, 1 bsl 26}]),
        Data = binary:copy(<<"x">>, 1 bsl 24),
        ok = gen_tcp:send(Accepted, Data),
        ?assertMatch({error, {bad_socket, {unsent, _}, _}}, py_reactor_context:handoff(Reactor, Accepted, #{})),
        {ok, Data} = gen_tcp:recv(Client, byte_size(Data), ?DEADLINE),
        ok = py_leaks:eventually(fun() -> inet:getstat(Accepted, [send_pend]) =:= {ok, [{send_pend, 0}]} end),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        gen_tcp:close(Client)
    end).

socket_somebody_reads_is_refused_untouched(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = socket_connection(),
        {select, Select} = socket:recv(Accepted, 0, nowait),
        ?assertMatch({error, {bad_socket, reading, _}}, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ok = socket:cancel(Accepted, Select),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        gen_tcp:close(Client)
    end).

listening_socket_is_refused_untouched(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {ok, Listener} = gen_tcp:listen(0, [{active, false}, {ip, ?LOCALHOST}]),
        ?assertMatch({error, {bad_socket, not_connected, _}}, py_reactor_context:handoff(Reactor, Listener, #{})),
        {ok, Port} = inet:port(Listener),
        ok = gen_tcp:close(py_reactors:connect(Port)),
        ok = gen_tcp:close(Listener)
    end).

closed_socket_is_refused(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection(),
        ok = gen_tcp:close(Accepted),
        ?assertEqual({error, closed}, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual({error, ebadf}, py_reactor_context:handoff(Reactor, 1 bsl 20, #{})),
        gen_tcp:close(Client)
    end).

what_is_no_socket_is_badarg(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        ?assertError(badarg, py_reactor_context:handoff(Reactor, socket, #{})),
        ?assertError(badarg, py_reactor_context:handoff(Reactor, -1, #{})),
        ?assertError(badarg, py_reactor_context:handoff(Reactor, 0, [])),
        ?assertError(badarg, py_reactor_context:handoff(reactor, 0, #{})),
        ?assertError(badarg, py_reactor_context:stop(whereis(kernel_sup)))
    end).

%% ------------------------------------------------------------------------------------------------
%% Bounds, and whom it goes to

connection_beyond_the_bound_is_closed(Config) ->
    py_reactors:with(Config, 'Echo', #{max_connections => 1}, fun(Reactor) ->
        First = py_reactors:connected(Reactor, #{}),
        {Second, Accepted} = py_reactors:connection(),
        ?assertEqual({error, {overloaded, 1, 1}}, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ok = py_reactors:closed(Second),
        ?assertEqual({error, closed}, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual(<<"hello">>, py_reactors:exchange(First, <<"hello">>)),
        ok = gen_tcp:close(First),
        _ = py_reactors:told(<<"lost">>)
    end).

number_beyond_the_bound_is_shut_down(Config) ->
    py_reactors:with(Config, 'Echo', #{max_connections => 1}, fun(Reactor) ->
        First = py_reactors:connected(Reactor, #{}),
        {Second, Accepted} = py_reactors:connection(),
        {ok, Fd} = inet:getfd(Accepted),
        ?assertEqual({error, {overloaded, 1, 1}}, py_reactor_context:handoff(Reactor, Fd, #{})),
        ok = py_reactors:closed(Second),
        ?assertEqual({ok, Fd}, inet:getfd(Accepted)),
        [ok = gen_tcp:close(Socket) || Socket <- [Accepted, First]],
        _ = py_reactors:told(<<"lost">>)
    end).

place_is_free_again_after_a_connection(Config) ->
    py_reactors:with(Config, 'Echo', #{max_connections => 1}, fun(Reactor) ->
        [
            begin
                Client = py_reactors:connected(Reactor, #{}),
                ok = gen_tcp:close(Client),
                _ = py_reactors:told(<<"lost">>),
                ok = py_leaks:eventually(fun() -> active(Reactor) =:= 0 end)
            end
         || _ <- lists:seq(1, 10)
        ]
    end).

handoff_chooses_the_fewest_connections(Config) ->
    py_reactors:with(Config, 'Echo', fun(First) ->
        py_reactors:with(Config, 'Echo', #{max_connections => 3}, fun(Second) ->
            Busy = [py_reactors:connected(First, #{}) || _ <- [1, 2]],
            Given = [
                begin
                    {Client, Accepted} = py_reactors:connection(),
                    ok = py_reactor_context:handoff(Accepted, #{tell => self()}),
                    Client
                end
             || _ <- lists:seq(1, 6)
            ],
            %% 2 and 0 become 4 and 4, but the second has room for three.
            ?assertEqual({5, 3}, {active(First), active(Second)}),
            [ok = gen_tcp:close(Client) || Client <- Busy ++ Given],
            [py_reactors:told(Tag) || Client <- Busy ++ Given, Tag <- [<<"lost">>], is_port(Client)],
            [py_reactors:told(<<"made">>) || _ <- Given]
        end)
    end).

handoff_needs_a_context(_Config) ->
    {Client, Accepted} = py_reactors:connection(),
    ?assertEqual({error, no_context}, py_reactor_context:handoff(Accepted, #{})),
    {Dead, Monitor} = spawn_monitor(fun() -> ok end),
    receive
        {'DOWN', Monitor, process, Dead, _} -> ok
    end,
    ?assertEqual({error, {context_died, noproc}}, py_reactor_context:handoff(Dead, Accepted, #{})),
    ?assertEqual({error, {context_died, noproc}}, py_reactor_context:stats(Dead)),
    ?assertEqual(ok, py_reactor_context:stop(Dead)),
    ok = gen_tcp:send(Accepted, <<"untouched">>),
    ?assertEqual({ok, <<"untouched">>}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    [ok = gen_tcp:close(Socket) || Socket <- [Client, Accepted]].

any_process_hands_over(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        Answers = py_suite:concurrently(20, fun(N) ->
            {Client, Accepted} = py_reactors:connection(),
            %% Neither owner of the socket nor of the context.
            ok = py_suite:fresh(fun() -> py_reactor_context:handoff(Reactor, Accepted, #{}) end),
            Answer = py_reactors:exchange(Client, integer_to_binary(N)),
            ok = gen_tcp:close(Client),
            binary_to_integer(Answer)
        end),
        ?assertEqual(lists:seq(1, 20), Answers)
    end).

statistics_are_exact(Config) ->
    py_reactors:with(Config, 'Echo', #{max_connections => 100}, fun(Reactor) ->
        Clients = [py_reactors:connected(Reactor, #{}) || _ <- lists:seq(1, 10)],
        [?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)) || Client <- Clients, _ <- [1, 2, 3]],
        {Ended, Left} = lists:split(4, Clients),
        [ok = gen_tcp:close(Client) || Client <- Ended],
        _ = [py_reactors:told(<<"lost">>) || _ <- Ended],
        ok = py_leaks:eventually(fun() -> active(Reactor) =:= 6 end),
        ?assertEqual(
            #{
                id => 'Echo',
                active_connections => 6,
                total_connections => 10,
                total_requests => 30,
                max_connections => 100,
                busy => 0
            },
            py_reactor_context:stats(Reactor)
        ),
        [ok = gen_tcp:close(Client) || Client <- Left],
        _ = [py_reactors:told(<<"lost">>) || _ <- Left]
    end).

calls_are_served_between_handlers(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {ok, Context} = py_reactor_context:context(Reactor),
        Clients = [py_reactors:connected(Reactor, #{}) || _ <- lists:seq(1, 10)],
        [
            begin
                ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
                ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>))
            end
         || Client <- Clients
        ],
        [ok = gen_tcp:close(Client) || Client <- Clients],
        _ = [py_reactors:told(<<"lost">>) || _ <- Clients]
    end).

%% ------------------------------------------------------------------------------------------------
%% Starting and stopping

options_are_checked_by_name(Config) ->
    Mode = py_suite:mode(Config),
    Wrong = #{
        max_connections => 0,
        idle_timeout => soon,
        write_timeout => -1,
        high_water => 0,
        low_water => 1 bsl 20,
        drain_timeout => infinity,
        lag_warning => 0,
        app_module => 7,
        app_callable => "",
        setup_code => 7,
        paths => "folder",
        on_start => stop,
        on_stop => {a, b},
        max_queue => 0,
        conversion => [],
        port => 80
    },
    maps:foreach(
        fun(Key, Value) ->
            {error, {bad_option, Key, Value, Allowed}} = py_reactor_context:start_link(wrong, Mode, #{Key => Value}),
            ?assert(length(Allowed) > 5)
        end,
        Wrong
    ),
    {error, {bad_option, app_callable, undefined, _}} = py_reactor_context:start_link(wrong, Mode, #{app_module => m}),
    {error, {not_supported, isolated}} = py_reactor_context:start_link(wrong, isolated, #{}),
    {error, {bad_option, mode, fast, "owngil or worker"}} = py_reactor_context:start_link(wrong, fast),
    ?assertError(badarg, py_reactor_context:start_link(wrong, Mode, [])).

failing_start_says_why(Config) ->
    Start = fun(Options) -> py_reactor_context:start_link(failing, py_suite:mode(Config), Options) end,
    Known = py_reactors:options('Echo'),
    ?assertMatch({error, {setup_code, {'ZeroDivisionError', _}}}, Start(#{setup_code => <<"1 / 0">>})),
    ?assertMatch({error, {app_callable, {'ModuleNotFoundError', _}}}, Start(Known#{app_module => no_such})),
    ?assertMatch({error, {app_callable, {'AttributeError', _}}}, Start(Known#{app_callable => no_such})),
    ?assertMatch({error, {app_callable, {'TypeError', _}}}, Start(Known#{app_callable => <<"started">>})),
    ?assertMatch({error, {app_callable, {'NameError', _}}}, Start(#{app_callable => no_such})),
    Failing = Start(Known#{on_start => {ct_reactor, fail, []}}),
    ?assertMatch({error, {on_start, {'RuntimeError', "no database"}}}, Failing).

application_runs_before_and_after_connections(Config) ->
    Run = fun(Function) -> {ct_reactor, Function, [self(), <<"application">>]} end,
    Reactor = py_reactors:start(Config, 'Echo', #{on_start => Run(start), on_stop => Run(stop)}),
    ?assertEqual({<<"started">>, <<"application">>}, py_reactors:told(<<"started">>)),
    Client = py_reactors:connected(Reactor, #{}),
    ok = py_reactor_context:stop(Reactor),
    ok = py_reactors:closed(Client),
    {messages, Told} = erlang:process_info(self(), messages),
    ?assertMatch([{<<"lost">>, _}, {<<"stopped">>, <<"application">>, true}], Told),
    py_suite:flush().

stop_closes_what_waits_for_input(Config) ->
    Reactor = py_reactors:start(Config, 'Echo', #{drain_timeout => ?DEADLINE}),
    Clients = [py_reactors:connected(Reactor, #{}) || _ <- [1, 2, 3]],
    ok = py_reactor_context:stop(Reactor),
    [ok = py_reactors:closed(Client) || Client <- Clients],
    _ = [py_reactors:told(<<"lost">>) || _ <- Clients].

stop_lets_output_be_written(Config) ->
    Reactor = py_reactors:start(Config, 'Echo', #{drain_timeout => ?DEADLINE}),
    Client = py_reactors:connected(Reactor, #{}),
    ok = gen_tcp:send(Client, <<"give 20000000">>),
    {ok, First} = gen_tcp:recv(Client, 1, ?DEADLINE),
    Stopping = py_suite:spawn_caller(fun() -> py_reactor_context:stop(Reactor) end),
    Rest = py_reactors:all(Client),
    ?assertEqual(20_000_000, byte_size(First) + byte_size(Rest)),
    ?assertEqual({result, ok}, py_suite:await_down(Stopping, ?DEADLINE)),
    _ = py_reactors:told(<<"lost">>).

stop_waits_no_longer_than_it_may(Config) ->
    Reactor = py_reactors:start(Config, 'Waiting', #{drain_timeout => 50}),
    Client = py_reactors:connected(Reactor, #{}),
    ok = gen_tcp:send(Client, <<"hello">>),
    _ = py_reactors:told(<<"data">>),
    ok = py_reactor_context:stop(Reactor),
    _ = py_reactors:told(<<"lost">>),
    gen_tcp:close(Client).

stop_ends_a_handler_that_blocks(Config) ->
    Reactor = py_reactors:start(Config, 'Echo', #{drain_timeout => 50}),
    Client = py_reactors:connected(Reactor, #{}),
    ok = gen_tcp:send(Client, <<"spin">>),
    _ = py_reactors:told(<<"spinning">>),
    py_suite:silently(fun() -> ok = py_reactor_context:stop(Reactor) end),
    _ = py_reactors:told(<<"lost">>),
    gen_tcp:close(Client).

nothing_is_taken_by_a_context_that_stops(Config) ->
    Reactor = py_reactors:start(Config, 'Waiting', #{drain_timeout => ?DEADLINE}),
    {Client, Fd} = py_reactors:given(Reactor, #{}),
    ok = gen_tcp:send(Client, <<"hello">>),
    _ = py_reactors:told(<<"data">>),
    {ok, Context} = py_reactor_context:context(Reactor),
    Stopping = py_suite:spawn_caller(fun() -> py_reactor_context:stop(Reactor) end),
    {Other, Accepted} = py_reactors:connection(),
    ok = py_leaks:eventually(fun() ->
        py_reactor_context:handoff(Reactor, 1 bsl 20, #{}) =:= {error, draining}
    end),
    ?assertEqual({error, draining}, py_reactor_context:handoff(Reactor, Accepted, #{})),
    ?assertEqual({error, no_context}, py_reactor_context:handoff(Accepted, #{})),
    ?assertEqual({ok, true}, py:call(Context, ct_reactor, signal, [Fd])),
    ?assertEqual(<<"hello">>, py_reactors:all(Client)),
    ?assertEqual({result, ok}, py_suite:await_down(Stopping, ?DEADLINE)),
    _ = py_reactors:told(<<"lost">>),
    [ok = gen_tcp:close(Socket) || Socket <- [Client, Other, Accepted]].

%% ------------------------------------------------------------------------------------------------
%% Dying

killed_process_ends_its_connections(Config) ->
    dies(Config, fun(Reactor, _Context) -> Reactor end).

killed_context_ends_its_reactor(Config) ->
    dies(Config, fun(_Reactor, Context) -> Context end).

dies(Config, Victim) ->
    py_reactors:with(Config, 'Echo', fun(Other) ->
        py_suite:silently(fun() ->
            Test = self(),
            {Owner, Monitor} = spawn_monitor(fun() ->
                Reactor = py_reactors:start(Config, 'Echo'),
                Test ! {reactor, Reactor},
                receive
                    never -> ok
                end
            end),
            {reactor, Reactor} = py_reactors:told(reactor),
            {ok, Context} = py_reactor_context:context(Reactor),
            Clients = [py_reactors:connected(Reactor, #{}) || _ <- [1, 2, 3]],
            Left = py_reactors:connected(Other, #{}),
            ok = py_suite:killed(Victim(Reactor, Context)),
            receive
                {'DOWN', Monitor, process, Owner, _} -> ok
            after ?DEADLINE -> ct:fail(no_end)
            end,
            [ok = py_reactors:closed(Client) || Client <- Clients],
            _ = [py_reactors:told(<<"lost">>) || _ <- Clients],
            ok = py_leaks:eventually(fun() ->
                py_reactor_context:stats(Reactor) =:= {error, {context_died, noproc}}
            end),
            ?assertEqual(<<"hello">>, py_reactors:exchange(Left, <<"hello">>)),
            ok = gen_tcp:close(Left),
            _ = py_reactors:told(<<"lost">>),
            py_reactors:untold(<<"lost">>)
        end)
    end).

supervised_context_comes_back(Config) ->
    py_suite:silently(fun() ->
        Options = maps:merge(py_reactors:options('Echo'), #{id => supervised, mode => py_suite:mode(Config)}),
        {ok, Supervisor} = py_supervisor:start_link([py_reactor_context:child_spec(Options)]),
        [{supervised, First, worker, _}] = supervisor:which_children(Supervisor),
        Client = py_reactors:connected(First, #{}),
        ok = py_suite:killed(First),
        ok = py_reactors:closed(Client),
        _ = py_reactors:told(<<"lost">>),
        ok = py_leaks:eventually(fun() -> is_another(Supervisor, First) end),
        {Again, Accepted} = py_reactors:connection(),
        ?assertEqual(ok, py_reactor_context:handoff(Accepted, #{})),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Again, <<"hello">>)),
        ok = py_supervisor:stop(Supervisor),
        py_reactors:closed(Again)
    end).

is_another(Supervisor, First) ->
    case supervisor:which_children(Supervisor) of
        [{_, Pid, _, _}] when is_pid(Pid), Pid =/= First -> true;
        _ -> false
    end.

thousands_of_connections_leave_nothing(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        Some = fun() ->
            _ = py_suite:concurrently(50, fun(_) ->
                [
                    begin
                        {Client, Accepted} = py_reactors:connection(),
                        ok = py_reactor_context:handoff(Reactor, Accepted, #{}),
                        <<"hello">> = py_reactors:exchange(Client, <<"hello">>),
                        ok = gen_tcp:close(Client)
                    end
                 || _ <- lists:seq(1, 20)
                ]
            end),
            ok = py_leaks:eventually(fun() -> active(Reactor) =:= 0 end)
        end,
        ok = Some(),
        Before = py_leaks:snapshot(),
        [ok = Some() || _ <- [1, 2]],
        py_leaks:check(Before)
    end).

%% ------------------------------------------------------------------------------------------------

active(Reactor) ->
    maps:get(active_connections, py_reactor_context:stats(Reactor)).

socket_connection() ->
    {ok, Listener} = socket:open(inet, stream, tcp),
    ok = socket:bind(Listener, #{family => inet, addr => ?LOCALHOST, port => 0}),
    ok = socket:listen(Listener),
    {ok, #{port := Port}} = socket:sockname(Listener),
    Client = py_reactors:connect(Port),
    {ok, Accepted} = socket:accept(Listener, ?DEADLINE),
    ok = socket:close(Listener),
    {Client, Accepted}.
