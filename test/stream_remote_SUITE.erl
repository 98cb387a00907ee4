%% Streams between nodes: of a context that is elsewhere, for an owner that is elsewhere; and what is left when a node goes.
-module(stream_remote_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_streaming, [start/3, start/4, items/2, rest/1, gone/1, told/1]).

-define(CANCELLED, {error, <<"cancelled">>}).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [
        items_come_from_another_node,
        demand_reaches_another_node,
        stream_without_demand_crosses_in_order,
        namespace_is_the_starters_own,
        errors_cross,
        cancel_reaches_another_node,
        time_limit_is_kept,
        death_of_the_owner_is_noticed,
        refusals_are_those_of_the_node,
        owner_may_be_on_another_node,
        owner_on_another_node_asks_for_more,
        end_of_the_node_of_an_owner_closes,
        loss_of_the_node_is_told,
        nothing_is_left_behind
    ].

init_per_suite(Config) ->
    Started = py_peers:with_node(py_peers:init_suite(Config)),
    ok = prepared(?config(ctx, Started)),
    Started.

%% Those of the code's own process, which ends.
prepared(Context) ->
    py_suite:fresh(fun() -> py_suite:python_path(Context) end).

end_per_suite(Config) ->
    py_peers:stop(?config(peer, Config)),
    py_peers:end_suite(Config, #{spares => 4}).

end_per_testcase(_Case, _Config) ->
    ok = py_streaming:nothing_is_left(),
    ?assertEqual([], py_suite:flush()).

ctx(Config) ->
    ?config(ctx, Config).

%% A context of this node.
with_context_here(Fun) ->
    {ok, Context} = py_context:new(),
    ok = prepared(Context),
    try
        Fun(Context)
    after
        ok = py_context:stop(Context)
    end.

items_come_from_another_node(Config) ->
    [
        ?assertEqual([0, 1, 2, done], rest(start(Config, Function, [3])))
     || Function <- [count, acount]
    ],
    Values = [self(), make_ref(), <<0:800000>>, #{<<"a">> => [{1, 2.5}]}],
    ?assertEqual(Values ++ [done], rest(start(Config, 'Iterable', [Values]))).

demand_reaches_another_node(Config) ->
    [
        begin
            Ref = start(Config, Function, [10], #{demand => 2}),
            ?assertEqual([0, 1], items(2, Ref)),
            ok = py_streaming:is_idle(Ref),
            ok = py:stream_demand(Ref, 3),
            ?assertEqual([2, 3, 4], items(3, Ref)),
            ok = py_streaming:is_idle(Ref),
            ok = py:stream_demand(Ref, infinity),
            ?assertEqual([5, 6, 7, 8, 9, done], rest(Ref))
        end
     || Function <- [count, acount]
    ].

%% Many times what may be on its way.
stream_without_demand_crosses_in_order(Config) ->
    ?assertEqual(lists:seq(0, 4999) ++ [done], rest(start(Config, count, [5000]))).

namespace_is_the_starters_own(Config) ->
    ok = py:exec(ctx(Config), "def mine(n):\n    for i in range(n): yield -i"),
    {ok, Ref} = py:stream_start('__main__', mine, [3], #{context => ctx(Config)}),
    ?assertEqual([0, -1, -2, done], rest(Ref)),
    Other = py_suite:fresh(fun() ->
        {ok, Own} = py:stream_start('__main__', mine, [1], #{context => ctx(Config)}),
        rest(Own)
    end),
    ?assertMatch([{error, {'AttributeError', _}}], Other).

errors_cross(Config) ->
    ?assertEqual([0, {error, {'ValueError', "no more"}}], rest(start(Config, fails, [self()]))),
    ok = told(<<"closed">>),
    ?assertMatch([{error, {'TypeError', _}}], rest(start(Config, count, []))).

cancel_reaches_another_node(Config) ->
    [
        begin
            Ref = start(Config, Function, [none, self()], Options),
            [0] = items(1, Ref),
            ok = py:stream_cancel(Ref),
            ?assertEqual(?CANCELLED, lists:last(rest(Ref))),
            ok = told(<<"closed">>)
        end
     || Function <- [count, acount], Options <- [#{demand => 1}, #{demand => 1_000_000}]
    ],
    Busy = start(Config, busy, [self()]),
    [1] = items(1, Busy),
    ok = told(<<"busy">>),
    ok = gone(Busy),
    ok = told(<<"closed">>).

time_limit_is_kept(Config) ->
    py_streaming:begun_in_time(fun(Timeout) ->
        Items = rest(start(Config, busy, [self()], #{timeout => Timeout})),
        ?assertEqual({error, timeout}, lists:last(Items)),
        length(Items) =:= 2 andalso py_streaming:is_closed_last()
    end).

death_of_the_owner_is_noticed(Config) ->
    Test = self(),
    Owner = spawn(fun() ->
        receive
            {py_stream, _, {data, 0}} -> Test ! came
        end,
        py_streaming:drop()
    end),
    _ = start(Config, count, [none, Test], #{owner => Owner, demand => 1}),
    ok = told(came),
    py_suite:killed(Owner),
    ok = told(<<"closed">>).

refusals_are_those_of_the_node(Config) ->
    Context = py_peers:context(?config(peer, Config)),
    ok = py_context:stop(Context),
    ?assertMatch({error, {context_died, _}}, py:stream_start(ct_generators, count, [1], #{context => Context})).

%% A process of another node that tells this one what it gets.
owner_there(Config) ->
    Test = self(),
    spawn(?config(node, Config), ?MODULE, tells, [Test]).

tells(Test) ->
    receive
        {py_stream, _, _} = Item ->
            Test ! Item,
            tells(Test);
        {run, Fun} ->
            Fun(),
            tells(Test);
        stop ->
            Test ! stopped
    end.

stopped(Owner) ->
    Owner ! stop,
    ok = told(stopped).

owner_may_be_on_another_node(Config) ->
    with_context_here(fun(Context) ->
        Owner = owner_there(Config),
        [
            begin
                {ok, Ref} = py:stream_start(ct_generators, Function, [N], #{context => Context, owner => Owner}),
                ?assertEqual(lists:seq(0, N - 1) ++ [done], rest(Ref))
            end
         || {Function, N} <- [{count, 1000}, {acount, 1000}, {count, 0}]
        ],
        %% The context is there, too.
        {ok, There} = py:stream_start(ct_generators, count, [3], #{context => ctx(Config), owner => Owner}),
        ?assertEqual([0, 1, 2, done], rest(There)),
        stopped(Owner)
    end).

owner_on_another_node_asks_for_more(Config) ->
    with_context_here(fun(Context) ->
        Owner = owner_there(Config),
        Options = #{context => Context, owner => Owner, demand => 1},
        {ok, Ref} = py:stream_start(ct_generators, count, [none, self()], Options),
        [0] = items(1, Ref),
        Owner ! {run, fun() -> ok = py:stream_demand(Ref, 300) end},
        ?assertEqual(lists:seq(1, 300), items(300, Ref)),
        ok = py_streaming:is_idle(Ref),
        Owner ! {run, fun() -> ok = py:stream_cancel(Ref) end},
        ?assertEqual([?CANCELLED], rest(Ref)),
        ok = told(<<"closed">>),
        stopped(Owner)
    end).

end_of_the_node_of_an_owner_closes(_Config) ->
    with_context_here(fun(Context) ->
        Peer = py_peers:start_bare(),
        Owner = owner_there([{node, connected(Peer)}]),
        Options = #{context => Context, owner => Owner, demand => 1},
        {ok, Ref} = py:stream_start(ct_generators, count, [none, self()], Options),
        [0] = items(1, Ref),
        ok = py_peers:stop(Peer),
        ok = told(<<"closed">>)
    end).

connected(Peer) ->
    Node = py_peers:node(Peer),
    pong = net_adm:ping(Node),
    Node.

loss_of_the_node_is_told(_Config) ->
    Peer = py_peers:start(),
    Context = py_peers:context(Peer),
    ok = prepared(Context),
    Refs = [
        element(2, py:stream_start(ct_generators, Function, [none], #{context => Context, demand => 1}))
     || Function <- [count, acount]
    ],
    [[0] = items(1, Ref) || Ref <- Refs],
    ok = py_peers:stop(Peer),
    [?assertEqual([{error, {context_died, noconnection}}], rest(Ref)) || Ref <- Refs],
    ?assertMatch({error, {context_died, _}}, py:stream_start(ct_generators, count, [1], #{context => Context})).

nothing_is_left_behind(Config) ->
    Test = self(),
    py_suite:fresh(fun() ->
        Ref = start(Config, count, [none, Test], #{demand => 1}),
        [0] = items(1, Ref)
    end),
    ok = told(<<"closed">>),
    ok = py_leaks:eventually(fun() ->
        py_peers:call(?config(peer, Config), ets, info, [py_streams, size]) =:= 0
    end).
