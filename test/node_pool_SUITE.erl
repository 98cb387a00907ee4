%% Pools whose places lie on several nodes.
-module(node_pool_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_gates, [closed_gate/2, open_gate/2]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [
        options_are_checked,
        places_start_when_wanted,
        places_are_spread_over_the_nodes,
        every_form_of_request_works,
        processes_take_the_places_in_turn,
        calls_are_routed_and_bound_to_other_nodes,
        namespace_stays_with_the_binding,
        many_callers_at_once,
        lists_are_mapped_over_the_nodes,
        time_out_of_a_map_takes_its_messages_along,
        lost_node_costs_a_map_what_ran_there,
        lost_node_costs_a_map_what_waited_there,
        loss_of_the_only_node_ends_a_map,
        map_passes_over_a_node_whose_application_has_stopped,
        map_passes_over_dead_contexts_on_other_nodes,
        map_waits_for_full_queues_on_other_nodes,
        full_queues_on_other_nodes_refuse_a_map,
        last_error_tells_of_an_item_on_another_node,
        dead_context_is_replaced_in_its_place,
        lost_node_costs_only_what_runs_there,
        node_that_comes_back_is_used_again,
        node_without_the_application_is_waited_for,
        hanging_node_keeps_nobody_else_waiting,
        pools_outlast_the_naming_of_their_node,
        stopping_the_pool_ends_its_contexts,
        death_of_the_pool_ends_its_contexts
    ].

init_per_suite(Config) ->
    py_peers:init_suite(Config).

end_per_suite(Config) ->
    py_peers:end_suite(Config, #{spares => 8}).

init_per_testcase(_Case, Config) ->
    Peer = py_peers:start(),
    [{socket, py_suite:open()}, {peer, Peer}, {there, py_peers:node(Peer)} | Config].

end_per_testcase(_Case, Config) ->
    _ = py_context_router:stop_pool(spread),
    py_suite:close(?config(socket, Config)),
    py_peers:stop(?config(peer, Config)).

%% A pool on this node and the peer, in this order.
start_pool(Size, Config) ->
    ok = py_context_router:start_pool(spread, Size, #{nodes => [node(), ?config(there, Config)]}).

count(Node, Nodes) ->
    length([N || N <- Nodes, N =:= Node]).

contexts_of(Peer) ->
    py_peers:call(Peer, supervisor, which_children, [py_context_sup]).

%%% Tests

options_are_checked(Config) ->
    Start = fun(Options) -> py_context_router:start_pool(spread, 1, Options) end,
    ?assertEqual({error, {bad_option, nodes, []}}, Start(#{nodes => []})),
    ?assertEqual({error, {bad_option, nodes, [1]}}, Start(#{nodes => [1]})),
    ?assertEqual({error, {bad_option, nodes, [a | b]}}, Start(#{nodes => [a | b]})),
    ?assertEqual({error, {bad_option, nodes, here}}, Start(#{nodes => here})),
    There = ?config(there, Config),
    ?assertEqual({error, {bad_option, shared, true}}, Start(#{nodes => [There], shared => true})),
    ?assertEqual({error, {bad_option, binding, scheduler}}, Start(#{nodes => [There], binding => scheduler})),
    ?assertEqual({error, {no_pool, spread}}, py:call(spread, math, sqrt, [16])).

places_start_when_wanted(Config) ->
    start_pool(4, Config),
    ?assertEqual([], py_context_router:contexts(spread)),
    ?assertEqual(4, py_context_router:num_contexts(spread)),
    %% The one of the pool `default' is the only one there.
    Others = length(contexts_of(?config(peer, Config))),
    {[_, _], Holders} = py_peers:bound(spread, 2),
    ?assertEqual(2, length(py_context_router:contexts(spread))),
    ?assertEqual(Others + 1, length(contexts_of(?config(peer, Config)))),
    py_peers:let_go(Holders).

places_are_spread_over_the_nodes(Config) ->
    start_pool(5, Config),
    {Nodes, Holders} = py_peers:bound(spread, 5),
    ?assertEqual({3, 2}, {count(node(), Nodes), count(?config(there, Config), Nodes)}),
    py_peers:let_go(Holders).

every_form_of_request_works(Config) ->
    ok = py_context_router:start_pool(spread, 1, #{nodes => [?config(there, Config)]}),
    Socket = ?config(socket, Config),
    ?assertEqual({ok, 4.0}, py:call(spread, math, sqrt, [16])),
    ?assertEqual({ok, [2, 1]}, py:call(spread, builtins, sorted, [[1, 2]], #{reverse => true})),
    ?assertEqual({ok, 4.0}, py:await(py:spawn_call(spread, math, sqrt, [16]))),
    [Context] = py_context_router:contexts(spread),
    ?assertEqual(?config(there, Config), node(Context)),
    ?assertEqual(Context, py_context_router:get_context(spread)),
    ok = py_suite:install(Context),
    Ref = py:spawn_call(spread, ct_signals, spin, [py_suite:port(Socket), <<"spin">>]),
    _ = py_suite:await_signal(Socket, <<"spin">>),
    ?assertEqual(ok, py:cancel(Ref)),
    ?assertEqual([], py_suite:flush()).

processes_take_the_places_in_turn(Config) ->
    start_pool(2, Config),
    {_, Holders} = py_peers:bound(spread, 2),
    {Nodes, More} = py_peers:bound(spread, 10),
    ?assertEqual({5, 5}, {count(node(), Nodes), count(?config(there, Config), Nodes)}),
    py_peers:let_go(Holders ++ More).

calls_are_routed_and_bound_to_other_nodes(Config) ->
    start_pool(2, Config),
    {_, Holders} = py_peers:bound(spread, 2),
    ok = py:register_pool(spread, math),
    %% In parallel on the places of the pool, wherever they are.
    ?assertEqual({ok, [{ok, N * 1.0} || N <- lists:seq(1, 6)]}, py:parallel([{math, sqrt, [N * N]} || N <- lists:seq(1, 6)])),
    ok = py:unregister_pool(math),
    [_, {2, There, There}] = py_pool_table:ready(spread),
    ok = py_context_router:bind_context(There),
    ok = py:exec("mine = 1"),
    ?assertEqual({ok, 1}, py:eval(There, "mine")),
    ?assertEqual(There, py:context()),
    ok = py_context_router:unbind_context(),
    ?assertMatch({error, {'NameError', _}}, py:eval("mine")),
    %% One that is of no pool.
    Free = py_peers:context(?config(peer, Config)),
    ok = py_context_router:bind_context(Free),
    ?assertEqual(Free, py:context()),
    ok = py_peers:call(?config(peer, Config), py_context, stop, [Free]),
    ?assertEqual({error, {context_died, noproc}}, py:eval("1")),
    ok = py_context_router:unbind_context(),
    py_peers:let_go(Holders).

namespace_stays_with_the_binding(Config) ->
    ok = py_context_router:start_pool(spread, 1, #{nodes => [?config(there, Config)]}),
    {ok, 4.0} = py:call(spread, math, sqrt, [16]),
    ok = py:exec(py_context_router:get_context(spread), "def double(x): return 2 * x"),
    ?assertEqual({ok, 6}, py:call(spread, '__main__', double, [3])),
    ?assertEqual({ok, 8}, py:await(py:spawn_call(spread, '__main__', double, [4]))).

many_callers_at_once(Config) ->
    start_pool(4, Config),
    Results = py_suite:concurrently(40, fun(I) ->
        [{ok, I} = py:call(spread, builtins, int, [I]) || _ <- lists:seq(1, 10)],
        py_peers:where(spread)
    end),
    ?assertEqual(lists:sort([node(), ?config(there, Config)]), lists:usort(Results)).

lists_are_mapped_over_the_nodes(Config) ->
    start_pool(2, Config),
    Numbers = lists:seq(1, 500),
    Expected = [{ok, -N} || N <- Numbers],
    ?assertEqual(Expected, py:map(spread, operator, neg, Numbers, #{chunk_size => 10})),
    Nodes = [node(Context) || Context <- py_context_router:contexts(spread)],
    ?assertEqual(lists:sort([node(), ?config(there, Config)]), lists:sort(Nodes)),
    %% Each item names the OS process that it runs in.
    Ids = py:map(spread, os, readlink, lists:duplicate(50, <<"/proc/self">>), #{chunk_size => 1}),
    ?assertMatch([{ok, _}, {ok, _}], lists:usort(Ids)),
    ?assertEqual([], py_suite:flush()).

time_out_of_a_map_takes_its_messages_along(Config) ->
    start_pool(2, Config),
    Results = py:map(spread, time, sleep, [1000, 1000, 1000], #{chunk_size => 1, timeout => 500}),
    ?assertEqual([{error, timeout}], lists:usort(Results)),
    ?assertEqual([{ok, -1}], py:map(spread, operator, neg, [1])),
    ?assertEqual([], py_suite:flush()).

%% It gets no more chunks, which would be lost as well.
lost_node_costs_a_map_what_ran_there(Config) ->
    node_is_lost(1, Config).

lost_node_costs_a_map_what_waited_there(Config) ->
    node_is_lost(2, Config).

node_is_lost(InFlight, Config) ->
    start_pool(2, Config),
    [Here] = [Context || Context <- signalling(spread), node(Context) =:= node()],
    Caller = spinning_map(6, InFlight, Config),
    [spins(Config) || _ <- [here, there]],
    py_peers:stop(?config(peer, Config)),
    [
        begin
            ok = py:interrupt(Here),
            _ = N < 6 - InFlight andalso spins(Config)
        end
     || N <- lists:seq(1, 6 - InFlight)
    ],
    {result, Results} = py_suite:await_down(Caller, 50_000),
    {Died, Others} = lists:partition(fun({error, Reason}) -> Reason =/= interrupted end, Results),
    ?assertEqual(InFlight, length(Died)),
    [?assertMatch({error, {context_died, _}}, One) || One <- Died],
    ?assertEqual(lists:duplicate(6 - InFlight, {error, interrupted}), Others).

loss_of_the_only_node_ends_a_map(Config) ->
    ok = py_context_router:start_pool(spread, 1, #{nodes => [?config(there, Config)]}),
    _ = signalling(spread),
    Caller = spinning_map(4, 2, Config),
    spins(Config),
    py_peers:stop(?config(peer, Config)),
    {result, Results} = py_suite:await_down(Caller, 50_000),
    ?assertEqual(4, length(Results)),
    [?assertMatch({error, {context_died, _}}, One) || One <- Results].

%% The contexts of a pool, all of which are started, and know the signals.
signalling(Pool) ->
    [{ok, 2.0}] = py:map(Pool, math, sqrt, [4]),
    Contexts = py_context_router:contexts(Pool),
    [ok = py_suite:install(Context) || Context <- Contexts],
    Contexts.

%% A process that maps a function which never ends.
spinning_map(Items, InFlight, Config) ->
    Ports = lists:duplicate(Items, py_suite:port(?config(socket, Config))),
    Options = #{kwargs => #{tag => <<"spin">>}, chunk_size => 1, max_in_flight => InFlight, timeout => infinity},
    py_suite:spawn_caller(fun() -> py:map(spread, ct_signals, spin, Ports, Options) end).

spins(Config) ->
    py_suite:await_signal(?config(socket, Config), <<"spin">>).

map_passes_over_a_node_whose_application_has_stopped(Config) ->
    Peer = ?config(peer, Config),
    passed_over(fun(_There) -> ok = py_peers:call(Peer, application, stop, [erlang_python]) end, Config).

map_passes_over_dead_contexts_on_other_nodes(Config) ->
    passed_over(fun py_suite:killed/1, Config).

%% Something ends the context on the other node, and the pool does not know it yet.
passed_over(End, Config) ->
    start_pool(2, Config),
    [{ok, 2.0}] = py:map(spread, math, sqrt, [4]),
    [{1, _, _}, {2, There, There}] = py_pool_table:ready(spread),
    Server = server(spread),
    ok = sys:suspend(Server),
    try
        _ = End(There),
        Numbers = lists:seq(1, 50),
        Results = py_suite:fresh(fun() -> py:map(spread, operator, neg, Numbers, #{chunk_size => 1}) end),
        ?assertEqual([{ok, -N} || N <- Numbers], Results)
    after
        ok = sys:resume(Server)
    end.

map_waits_for_full_queues_on_other_nodes(Config) ->
    ok = py_context_router:start_pool(spread, 1, #{nodes => [?config(there, Config)], max_queue => 1}),
    Numbers = lists:seq(1, 50),
    ?assertEqual(
        [{ok, -N} || N <- Numbers], py:map(spread, operator, neg, Numbers, #{chunk_size => 1, max_in_flight => 10})
    ),
    ?assertEqual([], py_suite:flush()).

%% A chunk does not go to and fro between them.
full_queues_on_other_nodes_refuse_a_map(Config) ->
    ok = py_context_router:start_pool(spread, 2, #{nodes => [?config(there, Config)], max_queue => 1}),
    Contexts = signalling(spread),
    Gates = [closed_gate(Config, Context) || Context <- Contexts],
    Queued = [py:spawn_call(Context, math, sqrt, [4]) || Context <- Contexts],
    Refused = {error, {overloaded, 1, 1}},
    ?assertEqual(
        [Refused, Refused, Refused], py:map(spread, operator, neg, [1, 2, 3], #{chunk_size => 2, timeout => 10_000})
    ),
    [ok = open_gate(Config, Gate) || Gate <- Gates],
    [?assertEqual({ok, 2.0}, py:await(Ref)) || Ref <- Queued],
    ?assertEqual([{ok, -1}], py:map(spread, operator, neg, [1])).

last_error_tells_of_an_item_on_another_node(Config) ->
    ok = py_context_router:start_pool(spread, 1, #{nodes => [?config(there, Config)]}),
    Told = py_suite:fresh(fun() ->
        _ = py:map(spread, math, sqrt, [4, -1], #{chunk_size => 1}),
        py:last_error()
    end),
    ?assertMatch(#{type := 'ValueError'}, Told).

dead_context_is_replaced_in_its_place(Config) ->
    start_pool(2, Config),
    {_, Holders} = py_peers:bound(spread, 2),
    Before = py_pool_table:ready(spread),
    [{1, _, _}, {2, Old, Old}] = Before,
    true = exit(Old, kill),
    ok = py_leaks:eventually(fun() ->
        case py_pool_table:ready(spread) of
            [{1, _, _}, {2, New, New}] -> New =/= Old andalso node(New) =:= node(Old);
            _ -> false
        end
    end),
    ?assertEqual(hd(Before), hd(py_pool_table:ready(spread))),
    py_peers:let_go(Holders).

%% A caller that is bound to the peer, in a call that does not end.
spinning(Config) ->
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Caller = py_suite:spawn_caller(fun() ->
        There = py_peers:where(spread),
        ok = py_suite:install(py_context_router:get_context(spread)),
        Lost = py:call(spread, ct_signals, spin, [Port, <<"spin">>], #{}),
        {There, Lost, py_peers:where(spread), py_suite:flush()}
    end),
    _ = py_suite:await_signal(Socket, <<"spin">>),
    Caller.

lost_node_costs_only_what_runs_there(Config) ->
    There = ?config(there, Config),
    ok = py_context_router:start_pool(spread, 2, #{nodes => [There, node()]}),
    Caller = spinning(Config),
    {[Here], Holders} = py_peers:bound(spread, 1),
    ?assertEqual(node(), Here),
    py_peers:stop(?config(peer, Config)),
    ?assertEqual(
        {result, {There, {error, {context_died, noconnection}}, node(), []}},
        py_suite:await_down(Caller, 20_000)
    ),
    {Nodes, More} = py_peers:bound(spread, 5),
    ?assertEqual([node()], lists:usort(Nodes)),
    py_peers:let_go(Holders ++ More).

node_that_comes_back_is_used_again(Config) ->
    There = ?config(there, Config),
    ok = py_context_router:start_pool(spread, 1, #{nodes => [There]}),
    There = py_peers:where(spread),
    py_peers:stop(?config(peer, Config)),
    ?assertMatch({error, {context_died, _}}, py:call(spread, math, sqrt, [16])),
    [Name | _] = string:split(atom_to_list(There), "@"),
    Peer = py_peers:start(#{num_contexts => 1}, Name),
    ok = py_leaks:eventually(fun() -> py:call(spread, math, sqrt, [16]) =:= {ok, 4.0} end),
    ?assertEqual(There, py_peers:where(spread)),
    ok = py_context_router:stop_pool(spread),
    py_peers:stop(Peer).

node_without_the_application_is_waited_for(_Config) ->
    Peer = py_peers:start_bare(),
    Bare = py_peers:node(Peer),
    ok = py_context_router:start_pool(spread, 2, #{nodes => [Bare, node()]}),
    ?assertEqual(node(), py_suite:fresh(fun() -> py_peers:where(spread) end)),
    ?assertEqual(node(), py_suite:fresh(fun() -> py_peers:where(spread) end)),
    ok = py_peers:call(Peer, py_suite, start, [#{num_contexts => 1}]),
    ok = py_leaks:eventually(fun() -> length(py_context_router:contexts(spread)) =:= 2 end),
    Nodes = py_suite:concurrently(4, fun(_) -> py_peers:where(spread) end),
    ?assertEqual(lists:sort([Bare, node()]), lists:usort(Nodes)),
    ok = py_context_router:stop_pool(spread),
    py_peers:stop(Peer).

hanging_node_keeps_nobody_else_waiting(Config) ->
    There = ?config(there, Config),
    ok = py_context_router:start_pool(spread, 2, #{nodes => [There, node()]}),
    _ = erlang:disconnect_node(There),
    System = py_peers:suspend(?config(peer, Config)),
    %% The first place is the one that hangs.
    Waiting = py_suite:spawn_caller(fun() -> py_peers:where(spread) end),
    ok = py_leaks:eventually(fun() -> starts(spread) > 0 end),
    ?assertEqual(node(), py_suite:fresh(fun() -> py_peers:where(spread) end)),
    ?assertEqual({error, timeout}, py_suite:fresh(fun() -> py_pool:replacement(spread, server(spread), 1, self(), 50) end)),
    py_peers:resume(System),
    ?assertMatch({result, _}, py_suite:await_down(Waiting, 30_000)).

server(Pool) ->
    {ok, Server, _} = py_pool_table:size(Pool),
    Server.

%% How many delegates a pool has, working or not.
starts(Pool) ->
    {links, Links} = process_info(server(Pool), links),
    length([L || L <- Links, is_pid(L), {initial_call, {py_pool_delegate, _, _}} <- [process_info(L, initial_call)]]).

pools_outlast_the_naming_of_their_node(_Config) ->
    Peer = py_peers:start_nameless(),
    Start = fun(Pool, Options) -> ok = py_peers:call(Peer, py_context_router, start_pool, [Pool, 1, Options]) end,
    Start(plain, #{}),
    Start(listed, #{nodes => [nonode@nohost]}),
    Start(shared, #{shared => true}),
    Call = fun(Pool) -> py_peers:call(Peer, py, call, [Pool, math, sqrt, [16]]) end,
    Pools = [default, plain, listed, shared],
    distributed = py_peers:call(Peer, py_peers, distribute, []),
    ?assertEqual([{ok, 4.0} || _ <- Pools], [Call(Pool) || Pool <- Pools]),
    ok = py_peers:call(Peer, py_peers, undistribute, [distributed]),
    ?assertEqual([{ok, 4.0} || _ <- Pools], [Call(Pool) || Pool <- Pools]),
    py_peers:stop(Peer).

stopping_the_pool_ends_its_contexts(Config) ->
    start_pool(4, Config),
    Before = length(contexts_of(?config(peer, Config))),
    {_, Holders} = py_peers:bound(spread, 4),
    ?assertEqual(Before + 2, length(contexts_of(?config(peer, Config)))),
    ok = py_context_router:stop_pool(spread),
    ?assertEqual(Before, length(contexts_of(?config(peer, Config)))),
    py_peers:let_go(Holders).

death_of_the_pool_ends_its_contexts(Config) ->
    start_pool(2, Config),
    {_, Holders} = py_peers:bound(spread, 2),
    [_, {2, Old, Old}] = py_pool_table:ready(spread),
    Monitor = erlang:monitor(process, Old),
    true = exit(server(spread), kill),
    receive
        {'DOWN', Monitor, process, Old, _} -> ok
    end,
    %% Its supervisor starts it again.
    ok = py_leaks:eventually(fun() -> py:call(spread, math, sqrt, [16]) =:= {ok, 4.0} end),
    py_peers:let_go(Holders).
