%% Contexts on other nodes: what callers are answered when a process, a node or the connection is lost, or when the
%% node at the other end is not what they expect, and what becomes of what they used there.
-module(remote_loss_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_gates, [running/4, closed_gate/1, open_gate/2, idle/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [
        {group, shared_node},
        {group, own_node}
    ].

groups() ->
    [
        {shared_node, [], [
            death_of_the_caller_interrupts,
            death_of_the_caller_drops_its_namespace,
            cast_survives_its_sender,
            dead_context_is_an_error,
            death_of_the_context_answers_everybody,
            lost_connection_answers_everybody,
            lost_connection_interrupts_and_drops_the_namespace,
            session_that_is_killed_answers_everybody,
            proxy_that_is_killed_answers_everybody,
            server_that_is_killed_answers_everybody,
            request_at_the_very_end_is_answered,
            other_version_of_the_protocol_is_refused,
            stopped_application_here_is_an_error,
            nothing_is_left_behind
        ]},
        {own_node, [], [
            death_of_the_contexts_node_answers_everybody,
            death_of_the_callers_node_interrupts,
            stop_of_the_application_answers_everybody,
            node_without_the_application_is_an_error,
            node_of_another_version_is_an_error,
            context_of_an_earlier_life_of_its_node_is_dead,
            time_out_covers_connecting,
            callers_go_while_a_node_hangs,
            session_keeps_nothing_of_contexts_that_have_ended
        ]}
    ].

init_per_suite(Config) ->
    py_peers:init_suite(Config).

end_per_suite(Config) ->
    py_peers:end_suite(Config, #{spares => 2}).

init_per_group(shared_node, Config) ->
    py_peers:with_node(Config);
init_per_group(own_node, Config) ->
    Config.

end_per_group(shared_node, Config) ->
    py_peers:stop(?config(peer, Config));
end_per_group(own_node, _Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

%% Each case is a caller of its own, with its own proxy and session.

death_of_the_caller_interrupts(Config) ->
    Context = ?config(ctx, Config),
    Peer = ?config(peer, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Sessions = py_peers:sessions(Peer),
    Caller = spawn(fun() -> py:call(Context, ct_signals, spin, [Port, <<"spin">>]) end),
    _ = py_suite:await_signal(Socket, <<"spin">>),
    ok = py_suite:killed(Caller),
    idle(Context),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ok = py_leaks:eventually(fun() -> py_peers:sessions(Peer) =< Sessions + 1 end).

death_of_the_caller_drops_its_namespace(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "import sys"),
    Count = "sum(name.startswith('_erlang_process_') for name in sys.modules)",
    {ok, Before} = py:eval(Context, Count),
    10 = length(py_suite:concurrently(10, fun(_) -> ok = py:exec(Context, "x = 1") end)),
    ok = py_leaks:eventually(fun() -> py:eval(Context, Count) =:= {ok, Before} end).

cast_survives_its_sender(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Gate = closed_gate(Config),
    {_, _} = py_suite:fresh(fun() ->
        %% The call that follows tells that the cast has arrived.
        ok = py:cast(Context, ct_signals, signal, [Port, <<"cast">>]),
        py_context:get_interp_id(Context)
    end),
    ok = open_gate(Config, Gate),
    _ = py_suite:await_signal(Socket, <<"cast">>).

dead_context_is_an_error(Config) ->
    Context = py_peers:context(?config(peer, Config)),
    ok = py_peers:call(?config(peer, Config), py_context, stop, [Context]),
    ?assertEqual({error, {context_died, noproc}}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({error, {context_died, noproc}}, py:exec(Context, "x = 1")),
    ?assertEqual({error, {context_died, noproc}}, py:interrupt(Context)),
    ?assertEqual({error, {context_died, noproc}}, py:await(py:spawn_call(Context, math, sqrt, [16]))),
    ?assertEqual(ok, py:cast(Context, math, sqrt, [16])),
    ?assertEqual({error, {context_died, noproc}}, py_context:get_interp_id(Context)),
    ?assertEqual({error, {context_died, noproc}}, py_context:create_local_env(Context)),
    ?assertEqual({error, {context_died, noproc}}, py:get_local_env(Context)),
    ?assertEqual(ok, py_context:stop(Context)),
    ?assertEqual([], py_suite:flush()).

death_of_the_context_answers_everybody(Config) ->
    Context = py_peers:context(?config(peer, Config)),
    ok = py_suite:install(Context),
    Running = running(Config, Context, spin, <<"spin">>),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    true = exit(Context, kill),
    ?assertMatch({error, {context_died, _}}, py:await(Queued)),
    ?assertMatch({error, {context_died, _}}, py:await(Running)),
    ?assertEqual([], py_suite:flush()).

%% What is called, spawned and waited for when something breaks.
all_lost(Config, Break, Expected) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Running = running(Config, Context, spin, <<"spin">>),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    Break(get({py_remote, ?config(node, Config)})),
    ?assertEqual(Expected, py:await(Running)),
    ?assertEqual(Expected, py:await(Queued)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    %% One who waits.
    Owner = self(),
    Waiting = py_suite:spawn_caller(fun() ->
        ok = py:exec(Context, "mine = 1"),
        Owner ! {proxy, get({py_remote, ?config(node, Config)})},
        Lost = py:call(Context, ct_signals, spin, [Port, <<"called">>]),
        Namespace = py:eval(Context, "mine"),
        {Lost, Namespace, py_suite:flush(), process_info(self(), monitors)}
    end),
    Proxy =
        receive
            {proxy, P} -> P
        end,
    _ = py_suite:await_signal(Socket, <<"called">>),
    Break(Proxy),
    {result, {Lost, Namespace, Messages, Monitors}} = py_suite:await_down(Waiting, 20_000),
    ?assertEqual(Expected, Lost),
    ?assertMatch({error, {'NameError', _}}, Namespace),
    ?assertEqual([], Messages),
    ?assertEqual({monitors, []}, Monitors),
    idle(Context),
    ?assertEqual([], py_suite:flush()).

lost_connection_answers_everybody(Config) ->
    Node = ?config(node, Config),
    all_lost(Config, fun(_) -> true = erlang:disconnect_node(Node) end, {error, {context_died, noconnection}}).

lost_connection_interrupts_and_drops_the_namespace(Config) ->
    Context = ?config(ctx, Config),
    Peer = ?config(peer, Config),
    Count = "sum(name.startswith('_erlang_process_') for name in __import__('sys').modules)",
    {ok, Before} = py_peers:call(Peer, py, eval, [Context, Count]),
    ok = py:exec(Context, "mine = 1"),
    Running = running(Config, Context, spin, <<"spin">>),
    true = py_peers:call(Peer, erlang, disconnect_node, [node()]),
    %% Seen from there: this node does not touch the connection.
    ok = py_leaks:eventually(fun() -> py_peers:call(Peer, py, interrupt, [Context]) =:= not_running end),
    ok = py_leaks:eventually(fun() -> py_peers:call(Peer, py, eval, [Context, Count]) =:= {ok, Before} end),
    ?assertEqual({error, {context_died, noconnection}}, py:await(Running)).

session_that_is_killed_answers_everybody(Config) ->
    Peer = ?config(peer, Config),
    Kill = fun(_) ->
        [exit(Pid, kill) || {_, Pid, _, _} <- py_peers:call(Peer, supervisor, which_children, [py_remote_session_sup])]
    end,
    all_lost(Config, Kill, {error, {context_died, killed}}).

proxy_that_is_killed_answers_everybody(Config) ->
    all_lost(Config, fun(Proxy) -> exit(Proxy, kill) end, {error, {context_died, killed}}).

%% The proxies end with the server, whose table then is gone.
server_that_is_killed_answers_everybody(Config) ->
    Context = ?config(ctx, Config),
    Running = running(Config, Context, spin, <<"spin">>),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    py_suite:silently(fun() -> py_suite:killed(whereis(py_remote_server)) end),
    ?assertEqual({error, not_running}, py:await(Running)),
    ?assertEqual({error, not_running}, py:await(Queued)),
    ok = py_leaks:eventually(fun() -> py:call(Context, math, sqrt, [16]) =:= {ok, 4.0} end),
    ?assertEqual([], py_suite:flush()).

%% Its proxy has not seen it when everything ends, and the server has not heard of the proxy's end.
request_at_the_very_end_is_answered(Config) ->
    Context = ?config(ctx, Config),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    ok = sys:suspend(get({py_remote, ?config(node, Config)})),
    Ref = py:spawn_call(Context, math, sqrt, [16]),
    ok = sys:suspend(py_remote_server),
    ok = py_suite:stop(),
    ok = py_suite:start(#{num_contexts => 1}),
    ?assertEqual({error, not_running}, py:await(Ref)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

other_version_of_the_protocol_is_refused(Config) ->
    Ref = make_ref(),
    Here = py_remote_server:version(),
    {py_remote_server, ?config(node, Config)} ! {py_remote, connect, 99, Ref, self(), #{}},
    receive
        {py_remote, refused, Ref, {version, Here}} -> ok
    end.

stopped_application_here_is_an_error(Config) ->
    Context = ?config(ctx, Config),
    Running = running(Config, Context, spin, <<"spin">>),
    ok = py_suite:stop(),
    ?assertEqual({error, not_running}, py:await(Running)),
    ?assertEqual({error, not_running}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({error, not_running}, py:exec(Context, "1")),
    ?assertEqual({error, not_running}, py:interrupt(Context)),
    ?assertEqual({error, not_running}, py:cast(Context, math, sqrt, [16])),
    ?assertEqual({error, not_running}, py:await(py:spawn_call(Context, math, sqrt, [16]))),
    ok = py_suite:start(#{num_contexts => 1}),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

nothing_is_left_behind(Config) ->
    py_peers:nothing_is_left(Config).

%%% Nodes of their own

with_context(Config, Test) ->
    Peer = py_peers:start(),
    try
        Context = py_peers:context(Peer),
        ok = py_suite:fresh(fun() -> py_suite:install(Context) end),
        Test(Peer, Context, [{ctx, Context} | Config])
    after
        py_peers:stop(Peer)
    end.

death_of_the_contexts_node_answers_everybody(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        Socket = ?config(socket, Config),
        Port = py_suite:port(Socket),
        Running = running(Config, Context, spin, <<"spin">>),
        Owner = self(),
        Waiting = py_suite:spawn_caller(fun() ->
            ok = py:cast(Context, math, sqrt, [16]),
            Owner ! waits,
            py:call(Context, ct_signals, spin, [Port, <<"never">>])
        end),
        receive
            waits -> ok
        end,
        Lost = {error, {context_died, noconnection}},
        py_peers:stop(Peer),
        ?assertEqual(Lost, py:await(Running)),
        ?assertEqual({result, Lost}, py_suite:await_down(Waiting, 20_000)),
        ?assertEqual(Lost, py:call(Context, math, sqrt, [16])),
        ?assertEqual(Lost, py:interrupt(Context)),
        ?assertEqual(Lost, py:await(py:spawn_call(Context, math, sqrt, [16]))),
        ?assertEqual(Lost, py_context:get_nif_ref(Context)),
        ?assertEqual(Lost, py_context:is_subinterp(Context)),
        ?assertEqual(Lost, py_context:stop(Context)),
        ?assertEqual(ok, py:cast(Context, math, sqrt, [16])),
        ?assertEqual([], py_suite:flush())
    end).

death_of_the_callers_node_interrupts(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        Socket = ?config(socket, Config),
        Other = py_peers:start(),
        Call = [Context, ct_signals, spin, [py_suite:port(Socket), <<"spin">>]],
        _ = py_peers:call(Other, erlang, spawn, [py, call, Call]),
        _ = py_suite:await_signal(Socket, <<"spin">>),
        py_peers:stop(Other),
        idle(Context),
        %% Ours is the only one left.
        ok = py_leaks:eventually(fun() -> py_peers:sessions(Peer) =:= 1 end)
    end).

stop_of_the_application_answers_everybody(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        Running = running(Config, Context, spin, <<"spin">>),
        Queued = py:spawn_call(Context, math, sqrt, [16]),
        ok = py_peers:call(Peer, py_suite, stop, []),
        ?assertMatch({error, {context_died, _}}, py:await(Running)),
        ?assertMatch({error, {context_died, _}}, py:await(Queued)),
        ?assertEqual({error, not_running}, py:call(Context, math, sqrt, [16])),
        ok = py_peers:call(Peer, py_suite, start, [#{}]),
        ?assertEqual({error, {context_died, noproc}}, py:call(Context, math, sqrt, [16])),
        ?assertEqual({ok, 4.0}, py:call(py_peers:context(Peer), math, sqrt, [16]))
    end).

node_without_the_application_is_an_error(_Config) ->
    Peer = py_peers:start_bare(),
    Pid = py_peers:call(Peer, erlang, whereis, [init]),
    ?assertEqual({error, not_running}, py:call(Pid, math, sqrt, [16])),
    ?assertEqual({error, not_running}, py:eval(Pid, "1", #{})),
    ?assertEqual({error, not_running}, py:interrupt(Pid)),
    ?assertEqual({error, not_running}, py:await(py:spawn_call(Pid, math, sqrt, [16]))),
    ?assertEqual(ok, py:cast(Pid, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()),
    py_peers:stop(Peer).

context_of_an_earlier_life_of_its_node_is_dead(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        [Name, _] = string:split(atom_to_list(node(Context)), "@"),
        py_peers:stop(Peer),
        Again = py_peers:start(#{num_contexts => 1}, Name),
        Dead = {error, {context_died, noproc}},
        ok = py_leaks:eventually(fun() -> py:call(Context, math, sqrt, [16]) =:= Dead end),
        ?assertEqual(Dead, py:interrupt(Context)),
        ?assertEqual(Dead, py:await(py:spawn_call(Context, math, sqrt, [16]))),
        ?assertEqual({ok, 4.0}, py:call(py_peers:context(Again), math, sqrt, [16])),
        py_peers:stop(Again)
    end).

%% Stands for the server of a node of the future.
node_of_another_version_is_an_error(_Config) ->
    Peer = py_peers:start_bare(),
    Server = py_peers:call(Peer, erlang, spawn, [?MODULE, future_server, []]),
    true = py_peers:call(Peer, erlang, register, [py_remote_server, Server]),
    Reason = {remote_protocol, #{node => py_peers:node(Peer), here => py_remote_server:version(), there => 99}},
    ?assertEqual({error, Reason}, py:call(Server, math, sqrt, [16])),
    ?assertEqual({error, Reason}, py:await(py:spawn_call(Server, math, sqrt, [16]))),
    py_peers:stop(Peer).

future_server() ->
    receive
        {py_remote, connect, _, Ref, Proxy, _} -> Proxy ! {py_remote, refused, Ref, {version, 99}}
    end,
    future_server().

time_out_covers_connecting(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        true = erlang:disconnect_node(node(Context)),
        System = py_peers:suspend(Peer),
        try
            ?assertEqual({error, timeout}, py:call(Context, math, sqrt, [16], #{timeout => 100})),
            Ref = py:spawn_call(Context, math, sqrt, [16]),
            ?assertEqual({error, timeout}, py:await(Ref, 100)),
            ?assertEqual([], py_suite:flush())
        after
            py_peers:resume(System)
        end,
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end).

callers_go_while_a_node_hangs(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        Many = binary:copy(<<0>>, 1_000_000),
        Proxies = py_peers:proxies(here),
        System = py_peers:suspend(Peer),
        try
            %% More than the connection holds: whoever sends itself would have to wait.
            Results = py_suite:concurrently(5, fun(_) ->
                _ = [ok = py:cast(Context, builtins, len, [Many]) || _ <- lists:seq(1, 10)],
                py:call(Context, math, sqrt, [16], #{timeout => 10})
            end),
            ?assertEqual([{error, timeout}], lists:usort(Results))
        after
            py_peers:resume(System)
        end,
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        ok = py_leaks:eventually(fun() -> py_peers:proxies(here) =< Proxies + 1 end),
        ok = py_leaks:eventually(fun() -> py_peers:sessions(Peer) =:= 1 end)
    end).

session_keeps_nothing_of_contexts_that_have_ended(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        %% Ours is the only one left.
        ok = py_leaks:eventually(fun() -> py_peers:sessions(Peer) =:= 1 end),
        Held = py_peers:call(Peer, ?MODULE, held_by_the_session, []),
        Others = [py_peers:context(Peer) || _ <- lists:seq(1, 3)],
        [
            begin
                {ok, _} = py_context:create_local_env(Other),
                {ok, _} = py_context:create_local_env(Other),
                Own = py:get_local_env(Other),
                ?assertEqual(Own, py:get_local_env(Other))
            end
         || Other <- Others
        ],
        ?assert(py_peers:call(Peer, ?MODULE, held_by_the_session, []) > Held),
        [ok = py_context:stop(Other) || Other <- Others],
        ok = py_leaks:eventually(fun() -> py_peers:call(Peer, ?MODULE, held_by_the_session, []) =:= Held end),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end).

%% In words of memory, and monitors.
held_by_the_session() ->
    [{_, Session, _, _}] = supervisor:which_children(py_remote_session_sup),
    {monitors, Monitors} = process_info(Session, monitors),
    {erts_debug:flat_size(sys:get_state(Session)), length(Monitors)}.
