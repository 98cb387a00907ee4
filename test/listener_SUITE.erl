%% Listeners: whom connections go to, what happens when there is no room, and how contexts are replaced.
-module(listener_SUITE).

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
        connections_spread_by_load,
        unix_socket_is_listened_on,
        stale_name_of_a_unix_socket_is_taken_over,
        ipv6_is_listened_on,
        info_names_peer_and_transport,
        full_contexts_keep_connections_waiting,
        several_acceptors_share_a_listener,
        what_runs_is_told,
        names_are_taken_once,
        stopped_listener_is_not_found_at_once,
        port_that_is_taken_is_an_error,
        options_are_checked_by_name,
        failing_start_says_why_and_leaves_nothing,
        slow_start_keeps_nobody_else_waiting,
        stop_ends_everything,
        stop_lets_output_be_written,
        stop_waits_no_longer_than_it_may,
        contexts_are_replaced_without_a_refusal,
        replacement_that_cannot_start_leaves_the_old,
        killed_context_loses_its_own_connections_alone,
        killed_manager_finds_its_contexts,
        killed_acceptor_is_replaced,
        supervised_listener_starts_and_ends,
        tls_is_served,
        tls_carries_much_both_ways,
        tls_info_names_what_was_agreed,
        client_that_speaks_no_tls_is_let_go,
        silent_handshake_ends_in_time,
        no_report_shows_a_key,
        thousands_of_connections_leave_nothing,
        exhausted_descriptors_recover
    ]).

%% Once: `ssl' remembers files by their names.
init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    ok = py_certificates:write(?config(priv_dir, Config)),
    %% Whoever looks names up is a process of the system, which stays.
    {ok, _} = inet:gethostbyname("localhost"),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(Case, Config) ->
    [{name, Case} | Config].

end_per_testcase(Case, _Config) ->
    ?assertEqual({error, not_found}, py_reactor:info(Case)),
    ?assertEqual([], py_suite:flush()).

%% ------------------------------------------------------------------------------------------------
%% Accepting

connections_spread_by_load(Config) ->
    with(Config, #{contexts => 3}, fun(Name, Port) ->
        Clients = [greeted(Port) || _ <- lists:seq(1, 12)],
        ?assertEqual([4, 4, 4], loads(Name)),
        ?assertMatch(#{active_connections := 12}, py_reactor:info(Name)),
        [ok = gen_tcp:close(Client) || Client <- Clients]
    end).

unix_socket_is_listened_on(Config) ->
    Path = path(Config),
    with(Config, #{transport => unix, path => Path}, fun(Name, _) ->
        ?assertEqual({error, no_port}, py_reactor:port(Name)),
        ?assertEqual(Path, maps:get(address, py_reactor:info(Name))),
        {ok, Client} = gen_tcp:connect({local, Path}, 0, [local, binary, {active, false}]),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        gen_tcp:close(Client)
    end),
    ?assertNot(filelib:is_file(Path)).

stale_name_of_a_unix_socket_is_taken_over(Config) ->
    Path = path(Config),
    {ok, Stale} = gen_tcp:listen(0, [{ifaddr, {local, Path}}]),
    Options = options(Config, #{transport => unix, path => Path}),
    ?assertEqual({error, {listen, eaddrinuse}}, silent_start(?config(name, Config), Options)),
    %% Somebody who was killed leaves the name.
    ok = gen_tcp:close(Stale),
    with(Config, #{transport => unix, path => Path}, fun(_, _) ->
        {ok, Client} = gen_tcp:connect({local, Path}, 0, [local, binary, {active, false}]),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        gen_tcp:close(Client)
    end).

path(Config) ->
    unicode:characters_to_binary(
        filename:join("/tmp", "py_listener_" ++ os:getpid() ++ atom_to_list(py_suite:mode(Config)))
    ).

ipv6_is_listened_on(Config) ->
    case gen_tcp:listen(0, [inet6, {ip, {0, 0, 0, 0, 0, 0, 0, 1}}]) of
        {ok, Probe} ->
            ok = gen_tcp:close(Probe),
            with(Config, #{ip => {0, 0, 0, 0, 0, 0, 0, 1}}, fun(_, Port) ->
                {ok, Client} = gen_tcp:connect({0, 0, 0, 0, 0, 0, 0, 1}, Port, [inet6, binary, {active, false}]),
                ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
                gen_tcp:close(Client)
            end);
        {error, _} ->
            {skip, "this system has no IPv6"}
    end.

info_names_peer_and_transport(Config) ->
    with(Config, 'Info', #{}, fun(_, Port) ->
        Client = py_reactors:connect(Port),
        {ok, Own} = inet:port(Client),
        Answer = py_reactors:exchange(Client, <<"peer">>),
        ?assertEqual(iolist_to_binary(io_lib:format("('127.0.0.1', ~b)", [Own])), Answer),
        Local = iolist_to_binary(io_lib:format("('127.0.0.1', ~b)", [Port])),
        ?assertEqual(Local, py_reactors:exchange(Client, <<"local">>)),
        ?assertEqual(<<"'tcp'">>, py_reactors:exchange(Client, <<"transport">>)),
        gen_tcp:close(Client)
    end).

%% Nobody is refused: the system keeps them, until a connection ends.
full_contexts_keep_connections_waiting(Config) ->
    with(Config, #{contexts => 2, max_connections => 2}, fun(Name, Port) ->
        First = [greeted(Port) || _ <- lists:seq(1, 4)],
        ?assertEqual([2, 2], loads(Name)),
        Waiting = [py_reactors:connect(Port) || _ <- lists:seq(1, 6)],
        [ok = gen_tcp:send(Client, <<"waiting">>) || Client <- Waiting],
        ?assertEqual({error, timeout}, gen_tcp:recv(hd(Waiting), 0, 100)),
        ?assertEqual([2, 2], loads(Name)),
        [ok = gen_tcp:close(Client) || Client <- First],
        %% Each in its turn.
        [
            begin
                ?assertEqual({ok, <<"waiting">>}, gen_tcp:recv(Client, 0, ?DEADLINE)),
                ok = gen_tcp:close(Client)
            end
         || Client <- Waiting
        ]
    end).

several_acceptors_share_a_listener(Config) ->
    with(Config, #{contexts => 2, acceptors => 4}, fun(Name, Port) ->
        ?assertMatch(#{acceptors := 4}, py_reactor:info(Name)),
        Answers = py_suite:concurrently(20, fun(N) ->
            [py_reactors:ask(Port, integer_to_binary(N)) || _ <- lists:seq(1, 20)]
        end),
        ?assertEqual([lists:duplicate(20, integer_to_binary(N)) || N <- lists:seq(1, 20)], Answers)
    end).

what_runs_is_told(Config) ->
    with(Config, #{contexts => 2, max_connections => 10}, fun(Name, Port) ->
        Client = greeted(Port),
        #{contexts := Contexts} = Info = py_reactor:info(Name),
        ?assertMatch(
            #{
                name := Name,
                transport := tcp,
                address := {?LOCALHOST, Port},
                acceptors := 1,
                handshakes := 0,
                active_connections := 1,
                max_connections := 20
            },
            Info
        ),
        ?assertEqual([0, 1], lists:sort([Total || #{total_connections := Total, pid := Pid} <- Contexts, is_pid(Pid)])),
        gen_tcp:close(Client)
    end).

%% ------------------------------------------------------------------------------------------------
%% Starting

names_are_taken_once(Config) ->
    with(Config, #{}, fun(Name, Port) ->
        ?assertEqual({error, already_started}, py_reactor:start_listener(Name, options(Config, #{}))),
        ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>))
    end),
    ?assertEqual({error, not_found}, py_reactor:stop_listener(?config(name, Config))),
    ?assertEqual({error, not_found}, py_reactor:restart_contexts(?config(name, Config))),
    ?assertEqual({error, not_found}, py_reactor:port(?config(name, Config))).

%% The table of listeners hears of an end a moment later than whoever has stopped one.
stopped_listener_is_not_found_at_once(Config) ->
    ok = sys:suspend(py_reactor_table),
    try
        with(Config, #{}, fun(_, Port) -> ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>)) end),
        ?assertEqual({error, not_found}, py_reactor:stop_listener(?config(name, Config))),
        ?assertEqual({error, not_found}, py_reactor:port(?config(name, Config)))
    after
        ok = sys:resume(py_reactor_table)
    end.

port_that_is_taken_is_an_error(Config) ->
    with(Config, #{}, fun(_, Port) ->
        ?assertEqual({error, {listen, eaddrinuse}}, silent_start(second, options(Config, #{port => Port})))
    end).

options_are_checked_by_name(Config) ->
    Name = ?config(name, Config),
    Wrong = #{
        port => 65_536,
        ip => "localhost",
        transport => sctp,
        contexts => 0,
        acceptors => none,
        backlog => 0,
        protocol => 'Echo',
        socket_opts => [{active, true}],
        ssl_opts => {},
        handshake_timeout => 0,
        max_handshakes => 0,
        path => "",
        max_connections => -1,
        app_module => ct_reactor
    },
    maps:foreach(
        fun(Key, Value) ->
            {error, {bad_option, Key, Value, Allowed}} = py_reactor:start_listener(Name, #{Key => Value}),
            ?assert(length(Allowed) > 5)
        end,
        Wrong
    ),
    ?assertMatch({error, {bad_option, path, undefined, _}}, py_reactor:start_listener(Name, #{transport => unix})),
    ?assertMatch({error, {bad_option, path, _, _}}, py_reactor:start_listener(Name, #{path => "/tmp/x"})),
    ?assertMatch({error, {bad_option, ssl_opts, [], _}}, py_reactor:start_listener(Name, #{transport => ssl})),
    ?assertError(badarg, py_reactor:start_listener(Name, [])),
    ?assertError(badarg, py_reactor:stop_listener(Name, soon)).

failing_start_says_why_and_leaves_nothing(Config) ->
    Start = fun(Options) -> silent_start(?config(name, Config), options(Config, Options)) end,
    Start(#{protocol => {ct_reactor, no_such}}),
    Before = py_leaks:snapshot(),
    ?assertMatch({error, {app_callable, {'AttributeError', _}}}, Start(#{protocol => {ct_reactor, no_such}})),
    ?assertMatch({error, {setup_code, {'ZeroDivisionError', _}}}, Start(#{setup_code => <<"1 / 0">>})),
    ?assertMatch({error, {on_start, {'RuntimeError', _}}}, Start(#{on_start => {ct_reactor, fail, []}})),
    py_leaks:check(Before, #{spares => 2}).

slow_start_keeps_nobody_else_waiting(Config) ->
    Name = ?config(name, Config),
    Slow = options(Config, #{contexts => 1, on_start => {ct_reactor, never, [self()]}}),
    Starting = py_suite:spawn_caller(fun() -> py_reactor:start_listener({slow, Name}, Slow) end),
    _ = py_reactors:told(<<"starting">>),
    with(Config, #{}, fun(_, Port) -> ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>)) end),
    ok = py_suite:silently(fun() ->
        %% It would take its time: what starts hears nothing.
        [exit(Context, kill) || Context <- py_reactor_listener_sup:contexts({slow, Name})],
        {result, {error, {context_died, killed}}} = py_suite:await_down(Starting, ?DEADLINE),
        ok
    end),
    ?assertEqual({error, not_found}, py_reactor:info({slow, Name})).

%% ------------------------------------------------------------------------------------------------
%% Stopping

stop_ends_everything(Config) ->
    Name = ?config(name, Config),
    {ok, Supervisor} = py_reactor:start_listener(Name, options(Config, #{})),
    Port = py_reactor:port(Name),
    Client = greeted(Port),
    ?assertEqual(ok, py_reactor:stop_listener(Name)),
    ok = py_reactors:closed(Client),
    ?assertNot(is_process_alive(Supervisor)),
    ?assertEqual({error, econnrefused}, gen_tcp:connect(?LOCALHOST, Port, [])).

stop_lets_output_be_written(Config) ->
    Name = ?config(name, Config),
    {ok, _} = py_reactor:start_listener(Name, options(Config, #{})),
    Client = greeted(py_reactor:port(Name)),
    ok = gen_tcp:send(Client, <<"give 20000000">>),
    {ok, First} = gen_tcp:recv(Client, 1, ?DEADLINE),
    Stopping = py_suite:spawn_caller(fun() -> py_reactor:stop_listener(Name, ?DEADLINE) end),
    ?assertEqual(20_000_000, byte_size(First) + byte_size(py_reactors:all(Client))),
    ?assertEqual({result, ok}, py_suite:await_down(Stopping, ?DEADLINE)),
    gen_tcp:close(Client).

stop_waits_no_longer_than_it_may(Config) ->
    Name = ?config(name, Config),
    {ok, _} = py_reactor:start_listener(Name, options(Config, #{drain_timeout => 3_600_000})),
    Client = greeted(py_reactor:port(Name)),
    ok = gen_tcp:send(Client, <<"give 50000000">>),
    {ok, _} = gen_tcp:recv(Client, 1, ?DEADLINE),
    ?assertEqual(ok, py_reactor:stop_listener(Name, 50)),
    gen_tcp:close(Client).

%% ------------------------------------------------------------------------------------------------
%% Replacing contexts

%% Clients connect all the time; each of them is answered.
contexts_are_replaced_without_a_refusal(Config) ->
    with(Config, #{contexts => 2}, fun(Name, Port) ->
        Before = pids(Name),
        Test = self(),
        Callers = [
            py_suite:spawn_caller(fun() -> keep_asking(Port, Test, 0) end)
         || _ <- lists:seq(1, 4)
        ],
        _ = [py_reactors:told(asking) || _ <- Callers],
        ?assertEqual(ok, py_reactor:restart_contexts(Name)),
        ?assertEqual(ok, py_reactor:restart_contexts(Name)),
        [Pid ! enough || {Pid, _} <- Callers],
        Counts = [
            begin
                {result, {asked, Count}} = py_suite:await_down(Caller, ?DEADLINE),
                Count
            end
         || Caller <- Callers
        ],
        ?assert(lists:min(Counts) > 0),
        After = pids(Name),
        ?assertEqual(2, length(After)),
        ?assertEqual([], [Pid || Pid <- After, lists:member(Pid, Before)])
    end).

keep_asking(Port, Test, Count) ->
    receive
        enough -> {asked, Count}
    after 0 ->
        ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>)),
        _ = [Test ! {asking} || Count =:= 0],
        keep_asking(Port, Test, Count + 1)
    end.

replacement_that_cannot_start_leaves_the_old(Config) ->
    File = filename:join(?config(priv_dir, Config), "flag_" ++ atom_to_list(py_suite:mode(Config))),
    Code = io_lib:format("import os\nif os.path.exists(r'''~ts'''): raise RuntimeError('not now')\n", [File]),
    with(Config, #{contexts => 2, setup_code => unicode:characters_to_binary(Code)}, fun(Name, Port) ->
        Before = pids(Name),
        ok = file:write_file(File, ""),
        ?assertEqual({error, {setup_code, {'RuntimeError', "not now"}}}, py_reactor:restart_contexts(Name)),
        ?assertEqual(Before, pids(Name)),
        ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>)),
        ok = file:delete(File),
        ?assertEqual(ok, py_reactor:restart_contexts(Name)),
        ?assertEqual([], [Pid || Pid <- pids(Name), lists:member(Pid, Before)])
    end).

killed_context_loses_its_own_connections_alone(Config) ->
    with(Config, #{contexts => 2}, fun(Name, Port) ->
        Clients = [greeted(Port) || _ <- lists:seq(1, 10)],
        [First | _] = Pids = pids(Name),
        {ok, Victim} = py_reactor_context:context(First),
        ok = py_suite:silently(fun() -> py_suite:killed(Victim) end),
        ok = py_leaks:eventually(fun() -> length(pids(Name) -- Pids) =:= 1 end),
        Alive = [Client || Client <- Clients, lives(Client)],
        ?assertEqual(5, length(Alive)),
        ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>)),
        [ok = gen_tcp:close(Client) || Client <- Clients]
    end).

lives(Client) ->
    _ = gen_tcp:send(Client, <<"hello">>),
    gen_tcp:recv(Client, 0, ?DEADLINE) =:= {ok, <<"hello">>}.

killed_manager_finds_its_contexts(Config) ->
    with(Config, #{contexts => 2}, fun(Name, Port) ->
        Clients = [greeted(Port) || _ <- lists:seq(1, 4)],
        Pids = pids(Name),
        {ok, Manager} = py_reactor_table:owner({Name, places}),
        py_suite:silently(fun() ->
            ok = py_suite:killed(Manager),
            ok = py_leaks:eventually(fun() ->
                case py_reactor_table:owner({Name, places}) of
                    {ok, Other} -> Other =/= Manager;
                    none -> false
                end
            end)
        end),
        ?assertEqual(Pids, pids(Name)),
        [?assertEqual(<<"again">>, py_reactors:exchange(Client, <<"again">>)) || Client <- Clients],
        ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>)),
        ?assertEqual(ok, py_reactor:restart_contexts(Name)),
        [ok = gen_tcp:close(Client) || Client <- Clients]
    end).

killed_acceptor_is_replaced(Config) ->
    with(Config, #{}, fun(Name, Port) ->
        Client = greeted(Port),
        [
            py_suite:silently(fun() ->
                [Acceptor] = py_reactor_listener_sup:acceptors(Name),
                ok = py_suite:killed(Acceptor),
                ok = py_leaks:eventually(fun() ->
                    [Acceptor] =/= py_reactor_listener_sup:acceptors(Name)
                end),
                ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>))
            end)
         || _ <- [1, 2, 3]
        ],
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        gen_tcp:close(Client)
    end).

supervised_listener_starts_and_ends(Config) ->
    Name = ?config(name, Config),
    {ok, Supervisor} = py_supervisor:start_link([py_reactor:child_spec(Name, options(Config, #{}))]),
    Port = py_reactor:port(Name),
    ?assertEqual(<<"hello">>, py_reactors:ask(Port, <<"hello">>)),
    ok = py_supervisor:stop(Supervisor),
    ?assertEqual({error, econnrefused}, gen_tcp:connect(?LOCALHOST, Port, [])).

%% ------------------------------------------------------------------------------------------------
%% TLS

tls_is_served(Config) ->
    with_tls(Config, 'Echo', #{}, fun(_, Port) ->
        Client = tls_client(Config, Port, []),
        [
            begin
                ok = ssl:send(Client, <<"hello">>),
                ?assertEqual({ok, <<"hello">>}, ssl:recv(Client, 5, ?DEADLINE))
            end
         || _ <- [1, 2, 3]
        ],
        ok = ssl:send(Client, <<"close">>),
        ?assertEqual({ok, <<"bye">>}, ssl:recv(Client, 3, ?DEADLINE)),
        ?assertEqual({error, closed}, ssl:recv(Client, 1, ?DEADLINE)),
        ssl:close(Client)
    end).

%% Neither direction waits for the other.
tls_carries_much_both_ways(Config) ->
    with_tls(Config, 'Echo', #{}, fun(_, Port) ->
        Client = tls_client(Config, Port, []),
        Data = crypto:strong_rand_bytes(5_000_000),
        Sending = py_suite:spawn_caller(fun() -> ssl:send(Client, Data) end),
        {ok, Answer} = ssl:recv(Client, byte_size(Data), ?DEADLINE),
        ?assert(Answer =:= Data),
        ?assertEqual({result, ok}, py_suite:await_down(Sending, ?DEADLINE)),
        ssl:close(Client)
    end).

tls_info_names_what_was_agreed(Config) ->
    with_tls(Config, 'Info', #{}, fun(_, Port) ->
        Client = tls_client(Config, Port, [{alpn_advertised_protocols, [<<"h2">>, <<"http/1.1">>]}]),
        Ask = fun(Key) ->
            ok = ssl:send(Client, Key),
            {ok, Answer} = ssl:recv(Client, 0, ?DEADLINE),
            Answer
        end,
        ?assertEqual(<<"'ssl'">>, Ask(<<"transport">>)),
        Tls = Ask(<<"tls">>),
        [py_suite:contains(Tls, Part) || Part <- [
            "'protocol': 'TLSv1.3'", "'server_name': 'localhost'", "'alpn': 'http/1.1'", "'cipher': 'TLS_",
            "'certificate': None"
        ]],
        ssl:close(Client)
    end).

client_that_speaks_no_tls_is_let_go(Config) ->
    with_tls(Config, 'Echo', #{}, fun(Name, Port) ->
        py_suite:silently(fun() ->
            Client = py_reactors:connect(Port),
            ok = gen_tcp:send(Client, <<"GET / HTTP/1.1\r\n\r\n">>),
            _ = py_reactors:all(Client),
            gen_tcp:close(Client)
        end),
        ok = py_leaks:eventually(fun() -> maps:get(handshakes, py_reactor:info(Name)) =:= 0 end)
    end).

silent_handshake_ends_in_time(Config) ->
    with_tls(Config, 'Echo', #{handshake_timeout => 50}, fun(_, Port) ->
        Client = py_reactors:connect(Port),
        ok = py_reactors:closed(Client)
    end).

no_report_shows_a_key(Config) ->
    Handler = py_suite:capture_log(),
    Options = options(Config, #{transport => ssl, ssl_opts => [{key, <<"a secret">>}], ip => {192, 0, 2, 1}}),
    %% An address that nobody has.
    {error, {listen, eaddrnotavail}} = py_reactor:start_listener(?config(name, Config), Options),
    ok = py_suite:release_log(Handler),
    Reports = [Event || {log, Event} <- py_suite:flush()],
    ?assertNotEqual([], Reports),
    ?assertEqual(nomatch, string:find(io_lib:format("~0p", [Reports]), "a secret")).

%% ------------------------------------------------------------------------------------------------
%% Many

%% Ten thousand in all, in waves.
thousands_of_connections_leave_nothing(Config) ->
    with(Config, #{contexts => 2}, fun(Name, Port) ->
        Wave = fun(Size) ->
            Clients = [py_reactors:connect(Port) || _ <- lists:seq(1, Size)],
            [ok = gen_tcp:send(Client, <<"hello">>) || Client <- Clients],
            [?assertEqual({ok, <<"hello">>}, gen_tcp:recv(Client, 0, ?DEADLINE)) || Client <- Clients],
            ?assertMatch(#{active_connections := Size}, py_reactor:info(Name)),
            [ok = gen_tcp:close(Client) || Client <- Clients],
            ok = py_leaks:eventually(fun() -> maps:get(active_connections, py_reactor:info(Name)) =:= 0 end)
        end,
        ok = Wave(500),
        Before = py_leaks:snapshot(),
        [ok = Wave(1_000) || _ <- lists:seq(1, 10)],
        py_leaks:check(Before)
    end).

%% A node of its own, with few descriptors: what waits is accepted when others have gone.
exhausted_descriptors_recover(Config) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    {ok, Peer, _} = peer:start_link(#{
        connection => standard_io,
        exec => {"/bin/sh", ["-c", "ulimit -n 400; exec \"$0\" \"$@\"", Erl]},
        args => ["+Q", "1024", "-kernel", "logger_level", "critical", "-pa" | code:get_path()]
    }),
    try
        Call = fun(Function, Args) -> peer:call(Peer, py_reactor, Function, Args, ?DEADLINE) end,
        ok = peer:call(Peer, py_suite, start, [#{context_mode => py_suite:mode(Config)}], ?DEADLINE),
        {ok, _} = Call(start_listener, [exhausted, options(Config, #{contexts => 1})]),
        Port = Call(port, [exhausted]),
        Clients = [py_reactors:connect(Port) || _ <- lists:seq(1, 600)],
        [ok = gen_tcp:send(Client, <<"hello">>) || Client <- Clients],
        {First, Others} = lists:split(200, Clients),
        [?assertEqual({ok, <<"hello">>}, gen_tcp:recv(Client, 0, ?DEADLINE)) || Client <- First],
        ?assertEqual({error, timeout}, gen_tcp:recv(lists:last(Others), 0, 100)),
        [ok = gen_tcp:close(Client) || Client <- First],
        _ = lists:foldl(
            fun(Client, ok) ->
                ?assertEqual({ok, <<"hello">>}, gen_tcp:recv(Client, 0, ?DEADLINE)),
                gen_tcp:close(Client)
            end,
            ok,
            Others
        ),
        ?assertEqual(ok, Call(stop_listener, [exhausted]))
    after
        peer:stop(Peer)
    end.

%% ------------------------------------------------------------------------------------------------

with(Config, Options, Fun) ->
    with(Config, 'Echo', Options, Fun).

with(Config, Protocol, Options, Fun) ->
    Name = ?config(name, Config),
    {ok, _} = py_reactor:start_listener(Name, options(Config, Options#{protocol => {ct_reactor, Protocol}})),
    Result = Fun(Name, py_reactor:port(Name)),
    ?assertEqual(ok, py_reactor:stop_listener(Name)),
    Result.

with_tls(Config, Protocol, Options, Fun) ->
    Folder = ?config(priv_dir, Config),
    Ssl = [
        {certfile, filename:join(Folder, "cert.pem")},
        {keyfile, filename:join(Folder, "key.pem")},
        {alpn_preferred_protocols, [<<"http/1.1">>]}
    ],
    with(Config, Protocol, Options#{transport => ssl, ssl_opts => Ssl}, Fun).

tls_client(Config, Port, Opts) ->
    Authority = filename:join(?config(priv_dir, Config), "cacerts.pem"),
    {ok, Client} = ssl:connect(
        "localhost",
        Port,
        Opts ++ [binary, inet, {active, false}, {cacertfile, Authority}, {verify, verify_peer}],
        ?DEADLINE
    ),
    Client.

options(Config, Options) ->
    Defaults = #{
        mode => py_suite:mode(Config),
        contexts => 1,
        paths => [py_reactors:folder()],
        protocol => {ct_reactor, 'Echo'},
        setup_code => <<"import sys; sys.dont_write_bytecode = True">>
    },
    Address = case Options of #{transport := unix} -> #{}; #{} -> #{ip => ?LOCALHOST} end,
    maps:merge(maps:merge(Defaults, Address), Options).

silent_start(Name, Options) ->
    py_suite:silently(fun() -> py_reactor:start_listener(Name, Options) end).

%% It has been accepted, and served.
greeted(Port) ->
    Client = py_reactors:connect(Port),
    <<"hello">> = py_reactors:exchange(Client, <<"hello">>),
    Client.

loads(Name) ->
    #{contexts := Contexts} = py_reactor:info(Name),
    [Active || #{active_connections := Active} <- Contexts].

pids(Name) ->
    #{contexts := Contexts} = py_reactor:info(Name),
    lists:sort([Pid || #{pid := Pid} <- Contexts]).
