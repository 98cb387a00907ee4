%% Pools that three nodes share: this one and two peers.
-module(shared_pool_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [
        options_are_checked,
        every_node_knows_the_contexts_of_all,
        processes_use_the_contexts_of_all_nodes,
        every_form_of_request_works,
        pool_alone_works,
        long_queues_are_avoided_here,
        long_queues_are_avoided_elsewhere,
        only_changes_are_published,
        other_versions_are_not_heard,
        stale_figures_are_not_used,
        figures_of_lost_nodes_are_not_used,
        dead_context_elsewhere_is_passed_over,
        pool_that_stops_elsewhere_is_forgotten,
        lost_node_costs_only_what_runs_there,
        stopped_application_elsewhere_is_forgotten,
        application_that_has_just_stopped_is_passed_over,
        restart_of_the_sharing_process_is_noticed_by_nobody
    ].

init_per_suite(Config) ->
    py_peers:init_suite(Config).

end_per_suite(Config) ->
    py_peers:end_suite(Config, #{spares => 8}).

init_per_testcase(_Case, Config) ->
    Peers = [py_peers:start(), py_peers:start()],
    Nodes = [First, _] = [py_peers:node(Peer) || Peer <- Peers],
    _ = [pong = net_adm:ping(Node) || Node <- Nodes],
    %% Not left to `global', which takes long for it where nodes of earlier suites have come and gone.
    pong = py_peers:call(lists:last(Peers), net_adm, ping, [First]),
    [{socket, py_suite:open()}, {peers, Peers}, {nodes, Nodes} | Config].

end_per_testcase(_Case, Config) ->
    _ = py_context_router:stop_pool(common),
    py_suite:close(?config(socket, Config)),
    lists:foreach(fun py_peers:stop/1, ?config(peers, Config)).

%% The pool on this node and on so many peers, when all of them know of all.
share(Count, Config) ->
    Peers = lists:sublist(?config(peers, Config), Count),
    Start = [common, 1, #{shared => true}],
    ok = apply(py_context_router, start_pool, Start),
    _ = [ok = py_peers:call(Peer, py_context_router, start_pool, Start) || Peer <- Peers],
    ok = py_leaks:eventually(fun() -> length(known()) =:= Count end),
    ok = py_leaks:eventually(fun() ->
        lists:all(fun(Peer) -> length(py_peers:call(Peer, ?MODULE, known, [])) =:= Count end, Peers)
    end).

%% What a node has been told about the contexts of others.
known() ->
    [{Context, Load} || {{common, _}, Loads, _} <- ets:tab2list(py_pool_share), {Context, Load} <- Loads].

server() ->
    {ok, Server, _} = py_pool_table:size(common),
    Server.

%% Keeps a context busy, with more that waits.
busy(Context, Config) ->
    ok = py_suite:install(Context),
    Gate = py_gates:closed_gate(Config, Context),
    {Gate, [py:spawn_call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 5)]}.

idle({Gate, Refs}, Config) ->
    ok = py_gates:open_gate(Config, Gate),
    _ = [{ok, _} = py:await(Ref) || Ref <- Refs],
    ok.

%%% Tests

options_are_checked(_Config) ->
    Start = fun(Options) -> py_context_router:start_pool(common, 1, Options) end,
    ?assertEqual({error, {bad_option, shared, 1}}, Start(#{shared => 1})),
    ?assertEqual({error, {bad_option, binding, scheduler}}, Start(#{shared => true, binding => scheduler})).

every_node_knows_the_contexts_of_all(Config) ->
    share(2, Config),
    ?assertEqual(lists:sort(?config(nodes, Config)), lists:sort([node(Context) || {Context, _} <- known()])),
    ?assertEqual(1, py_context_router:num_contexts(common)).

processes_use_the_contexts_of_all_nodes(Config) ->
    share(2, Config),
    {Nodes, Holders} = py_peers:bound(common, 60),
    ?assertEqual(lists:sort([node() | ?config(nodes, Config)]), lists:usort(Nodes)),
    py_peers:let_go(Holders).

every_form_of_request_works(Config) ->
    share(1, Config),
    [{There, _}] = known(),
    [Here] = py_context_router:contexts(common),
    Busy = busy(Here, Config),
    py_suite:fresh(fun() ->
        ?assertEqual({ok, 4.0}, py:call(common, math, sqrt, [16])),
        ?assertEqual(There, py_context_router:get_context(common)),
        ?assertEqual({ok, [2, 1]}, py:call(common, builtins, sorted, [[1, 2]], #{reverse => true})),
        ?assertEqual({ok, 4.0}, py:await(py:spawn_call(common, math, sqrt, [16]))),
        ok = py:exec(There, "mine = 1"),
        ?assertEqual({ok, 1}, py:call(common, '__main__', 'mine.__abs__', []))
    end),
    idle(Busy, Config).

pool_alone_works(_Config) ->
    ok = py_context_router:start_pool(common, 2, #{shared => true}),
    ?assertEqual({ok, 4.0}, py:call(common, math, sqrt, [16])),
    ?assertEqual([node()], lists:usort(py_suite:concurrently(10, fun(_) -> py_peers:where(common) end))).

%% With two contexts, both are the candidates.
long_queues_are_avoided_here(Config) ->
    share(1, Config),
    [There | _] = ?config(nodes, Config),
    Busy = busy(hd(py_context_router:contexts(common)), Config),
    {Nodes, Holders} = py_peers:bound(common, 10),
    ?assertEqual([There], lists:usort(Nodes)),
    py_peers:let_go(Holders),
    idle(Busy, Config).

long_queues_are_avoided_elsewhere(Config) ->
    share(1, Config),
    [{There, _}] = known(),
    Busy = busy(There, Config),
    ok = py_leaks:eventually(fun() ->
        [{There, {Queue, _}}] = known(),
        Queue > 1
    end),
    %% One after another: ten at once would make a queue here.
    Bound = [py_peers:bound(common, 1) || _ <- lists:seq(1, 10)],
    ?assertEqual([[node()]], lists:usort([Nodes || {Nodes, _} <- Bound])),
    py_peers:let_go(lists:append([Holders || {_, Holders} <- Bound])),
    idle(Busy, Config).

%% This process is a member of the group: it hears what a node would.
only_changes_are_published(Config) ->
    share(1, Config),
    [Peer | _] = ?config(peers, Config),
    [{There, _}] = known(),
    ok = pg:join(py_pool_scope, common, self()),
    First = published(),
    {Nodes, Holders} = py_peers:bound(common, 1),
    Before = [{There, Load} || {Context, Load} <- First, Context =:= There],
    %% Somebody new there: the next thing that is heard is another load.
    Caller = py_peers:call(Peer, erlang, spawn, [?MODULE, caller, [There, self()]]),
    receive
        {Caller, called} -> ok
    end,
    Second = published(),
    ?assertNotEqual(Before, Second),
    Caller ! stop,
    ?assertNotEqual(Second, published()),
    ok = pg:leave(py_pool_scope, common, self()),
    ?assertEqual(1, length(Nodes)),
    py_peers:let_go(Holders).

published() ->
    receive
        {py_pool_share, _, common, Server, Loads} when node(Server) =/= node() -> Loads
    end.

caller(Context, Owner) ->
    {ok, _} = py:eval(Context, "1"),
    Owner ! {self(), called},
    receive
        stop -> ok
    end.

%% As if another server had told about a context that would be better than any.
told(Version, Context, At) ->
    Loads = [{Context, {-1, -1}}],
    Server = self(),
    _ = sys:replace_state(py_pool_share, fun(State) ->
        case Version =:= py_remote_server:version() of
            true -> ets:insert(py_pool_share, {{common, Server}, Loads, At});
            false -> self() ! {py_pool_share, Version, common, Server, Loads}
        end,
        State
    end),
    %% What was sent has been handled.
    _ = sys:get_state(py_pool_share),
    ok.

other_versions_are_not_heard(Config) ->
    share(0, Config),
    Elsewhere = py_peers:context(hd(?config(peers, Config))),
    ok = told(99, Elsewhere, 0),
    ?assertEqual([], known()).

stale_figures_are_not_used(Config) ->
    share(0, Config),
    Now = erlang:monotonic_time(millisecond),
    Elsewhere = py_peers:context(hd(?config(peers, Config))),
    Version = py_remote_server:version(),
    ok = told(Version, Elsewhere, Now),
    ?assertEqual(node(Elsewhere), py_suite:fresh(fun() -> py_peers:where(common) end)),
    ok = told(Version, Elsewhere, Now - 31_000),
    ?assertEqual(node(), py_suite:fresh(fun() -> py_peers:where(common) end)).

figures_of_lost_nodes_are_not_used(Config) ->
    share(0, Config),
    [Peer | _] = ?config(peers, Config),
    Elsewhere = py_peers:context(Peer),
    py_peers:stop(Peer),
    ok = py_leaks:eventually(fun() -> not lists:member(node(Elsewhere), nodes(connected)) end),
    ok = told(py_remote_server:version(), Elsewhere, erlang:monotonic_time(millisecond)),
    ?assertEqual(node(), py_suite:fresh(fun() -> py_peers:where(common) end)).

dead_context_elsewhere_is_passed_over(Config) ->
    share(0, Config),
    [Peer | _] = ?config(peers, Config),
    Elsewhere = py_peers:context(Peer),
    ok = py_peers:call(Peer, py_context, stop, [Elsewhere]),
    ok = told(py_remote_server:version(), Elsewhere, erlang:monotonic_time(millisecond)),
    ?assertEqual({ok, 4.0}, py_suite:fresh(fun() -> py:call(common, math, sqrt, [16]) end)).

pool_that_stops_elsewhere_is_forgotten(Config) ->
    share(2, Config),
    [Peer, _] = ?config(peers, Config),
    [Gone, Left] = ?config(nodes, Config),
    ok = py_peers:call(Peer, py_context_router, stop_pool, [common]),
    ok = py_leaks:eventually(fun() -> [node(C) || {C, _} <- known()] =:= [Left] end),
    {Nodes, Holders} = py_peers:bound(common, 20),
    ?assertNot(lists:member(Gone, Nodes)),
    py_peers:let_go(Holders).

lost_node_costs_only_what_runs_there(Config) ->
    share(1, Config),
    [Peer | _] = ?config(peers, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    [{There, _}] = known(),
    Busy = busy(hd(py_context_router:contexts(common)), Config),
    Caller = py_suite:spawn_caller(fun() ->
        ok = py_suite:install(There),
        At = py_peers:where(common),
        Lost = py:call(common, ct_signals, spin, [Port, <<"spin">>], #{}),
        Next = py:await(py:spawn_call(common, math, sqrt, [16])),
        {At, Lost, Next, py_peers:where(common), py_suite:flush()}
    end),
    _ = py_suite:await_signal(Socket, <<"spin">>),
    py_peers:stop(Peer),
    idle(Busy, Config),
    {result, Told} = py_suite:await_down(Caller, 20_000),
    ?assertEqual({node(There), {error, {context_died, noconnection}}, {ok, 4.0}, node(), []}, Told),
    ok = py_leaks:eventually(fun() -> known() =:= [] end).

stopped_application_elsewhere_is_forgotten(Config) ->
    share(1, Config),
    [Peer | _] = ?config(peers, Config),
    [{There, _}] = known(),
    Busy = busy(hd(py_context_router:contexts(common)), Config),
    Owner = self(),
    Caller = py_suite:spawn_caller(fun() ->
        Owner ! {at, py_peers:where(common)},
        receive
            go_on -> {py:await(py:spawn_call(common, math, sqrt, [16])), py:call(common, math, sqrt, [25])}
        end
    end),
    receive
        {at, At} -> ?assertEqual(node(There), At)
    end,
    ok = py_peers:call(Peer, py_suite, stop, []),
    ok = py_leaks:eventually(fun() -> known() =:= [] end),
    idle(Busy, Config),
    element(1, Caller) ! go_on,
    ?assertEqual({result, {{ok, 4.0}, {ok, 5.0}}}, py_suite:await_down(Caller, 20_000)).

%% Whoever finds out first: the refusal alone leads elsewhere.
application_that_has_just_stopped_is_passed_over(Config) ->
    share(0, Config),
    [Peer | _] = ?config(peers, Config),
    Elsewhere = py_peers:context(Peer),
    ok = py_peers:call(Peer, py_suite, stop, []),
    ok = told(py_remote_server:version(), Elsewhere, erlang:monotonic_time(millisecond)),
    ?assertEqual({ok, 4.0}, py_suite:fresh(fun() -> py:call(common, math, sqrt, [16]) end)).

restart_of_the_sharing_process_is_noticed_by_nobody(Config) ->
    share(1, Config),
    Server = server(),
    Pid = whereis(py_pool_share),
    true = exit(Pid, kill),
    ok = py_leaks:eventually(fun() -> is_pid(whereis(py_pool_share)) andalso whereis(py_pool_share) =/= Pid end),
    ok = py_leaks:eventually(fun() -> ets:info(py_pool_share, size) =:= 1 end),
    [Peer | _] = ?config(peers, Config),
    ok = py_leaks:eventually(fun() -> length(py_peers:call(Peer, ?MODULE, known, [])) =:= 1 end),
    ?assertEqual(Server, server()).
