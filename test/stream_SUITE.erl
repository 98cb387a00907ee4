%% Streams: what Python iterates over, as messages, as many as are wanted; what else goes on meanwhile. How they end before
%% their time is in stream_ends_SUITE.
-module(stream_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_streaming, [start/3, start/4, items/2, rest/1, gone/1, told/1, is_idle/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        whatever_can_be_iterated_over_is_a_stream,
        whatever_can_be_iterated_over_is_collected,
        expressions_are_collected,
        code_of_the_namespace_is_streamed,
        names_have_every_form,
        values_are_those_of_calls,
        errors_of_what_is_collected_are_those_of_calls,
        time_out_closes_what_is_collected,
        stream_without_items_is_done,
        items_go_to_the_owner,
        items_come_as_they_are_wanted,
        nothing_is_made_that_is_not_wanted,
        demand_may_come_before_the_code_runs,
        demand_without_end_is_the_rest,
        anybody_may_want_more,
        demand_after_the_end_is_nothing,
        others_have_their_turn_between_items,
        the_loop_has_its_turn_between_items,
        stream_that_waits_keeps_nobody,
        generators_call_erlang,
        generator_may_run_the_loop,
        function_that_python_calls_may_stream_from_there,
        streams_print_for_their_starters,
        many_streams_at_once_keep_their_orders,
        streams_go_where_calls_go,
        full_queue_refuses_a_stream,
        arguments_are_checked,
        long_stream_takes_no_memory
    ]).

init_per_group(Mode, Config) ->
    case py_suite:init_group_with_context(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            {ok, Contexts} = py:start_contexts(),
            [ok = py_suite:python_path(Context) || Context <- [?config(ctx, Started) | Contexts]],
            Started
    end.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    ok = py_streaming:nothing_is_left(),
    py_suite:all_is_well(Config).

ctx(Config) ->
    ?config(ctx, Config).

%%% What is streamed

%% `{Function, Arguments, Items}' of all kinds of iterators.
kinds() ->
    [
        {count, [3], [0, 1, 2]},
        {acount, [3], [0, 1, 2]},
        {'Countdown', [3], [2, 1, 0]},
        {'ACountdown', [3], [2, 1, 0]},
        {'Iterable', [[a, 2.5]], [<<"a">>, 2.5]},
        {'Iterable', [#{}], []},
        {repeat, [1, <<"b">>], [1, <<"b">>, #{}]}
    ].

whatever_can_be_iterated_over_is_a_stream(Config) ->
    [
        ?assertEqual({Function, Items ++ [done]}, {Function, rest(start(Config, Function, Args))})
     || {Function, Args, Items} <- kinds()
    ],
    {ok, Range} = py:stream_start(builtins, range, [3], #{context => ctx(Config)}),
    ?assertEqual([0, 1, 2, done], rest(Range)).

whatever_can_be_iterated_over_is_collected(_Config) ->
    [
        ?assertEqual({Function, {ok, Items}}, {Function, py:stream(ct_generators, Function, Args)})
     || {Function, Args, Items} <- kinds()
    ],
    ?assertEqual({ok, [1, #{<<"a">> => 2}]}, py:stream(ct_generators, repeat, [1], #{a => 2})).

expressions_are_collected(_Config) ->
    ?assertEqual({ok, [0, 1, 4]}, py:stream_eval("(x * x for x in range(3))")),
    ?assertEqual({ok, [0, 1]}, py:stream_eval(<<"range(n)">>, #{n => 2})),
    ok = py:exec("import ct_generators"),
    ?assertEqual({ok, [0, 1]}, py:stream_eval("ct_generators.acount(2)")).

code_of_the_namespace_is_streamed(Config) ->
    Code = "def own(n):\n    for i in range(n): yield i + offset\noffset = 10",
    ok = py:exec(ctx(Config), Code),
    {ok, Ref} = py:stream_start('__main__', own, [2], #{context => ctx(Config)}),
    ?assertEqual([10, 11, done], rest(Ref)),
    ok = py:exec(Code),
    ?assertEqual({ok, [10]}, py:stream('__main__', own, [1])),
    Other = py_suite:fresh(fun() ->
        {ok, Own} = py:stream_start('__main__', own, [1], #{context => ctx(Config)}),
        rest(Own)
    end),
    ?assertMatch([{error, {'AttributeError', _}}], Other).

names_have_every_form(Config) ->
    Options = #{context => ctx(Config), kwargs => #{<<"n">> => 1}},
    [
        begin
            {ok, Ref} = py:stream_start(Module, Function, [], Options),
            ?assertEqual([0, done], rest(Ref)),
            ?assertEqual({ok, [0]}, py:stream(Module, Function, [], #{n => 1}))
        end
     || {Module, Function} <- [
            {ct_generators, count}, {<<"ct_generators">>, <<"count">>}, {"ct_generators", "count"}
        ]
    ].

values_are_those_of_calls(Config) ->
    Values = [self(), make_ref(), 1 bsl 200, #{<<"a">> => [{1, 2.5}]}, <<255, 0>>, <<"é"/utf8>>, none, true, []],
    ?assertEqual(Values ++ [done], rest(start(Config, 'Iterable', [Values]))),
    {ok, Ref} = py:stream_start(builtins, iter, [[[1], [2]]], #{context => ctx(Config)}),
    ?assertEqual([[1], [2], done], rest(Ref)),
    ok = py:exec(ctx(Config), "class Opaque:\n    def value(self): return 5\ndef opaque(): yield Opaque()"),
    {ok, Opaque} = py:stream_start('__main__', opaque, [], #{context => ctx(Config)}),
    [Object, done] = rest(Opaque),
    ?assertEqual({ok, 5}, py:call_method(Object, value, [])).

errors_of_what_is_collected_are_those_of_calls(_Config) ->
    ?assertEqual({error, {'ValueError', "no more"}}, py:stream(ct_generators, fails, [self()])),
    ?assertEqual({error, {'ValueError', "no more"}}, py:stream(ct_generators, afails, [self()])),
    [ok = told(<<"closed">>) || _ <- [1, 2]],
    ?assertMatch(#{type := 'ValueError', traceback := [_ | _]}, py:last_error()),
    ?assertMatch({error, {'TypeError', _}}, py:stream(math, sqrt, [4])),
    {error, {'TypeError', Text}} = py:stream(ct_generators, coroutine, []),
    ok = py_suite:contains(Text, "async generator"),
    ?assertMatch({error, {'ZeroDivisionError', _}}, py:stream_eval("(1 // x for x in [0])")),
    ?assertMatch({error, {'SyntaxError', _}}, py:stream_eval("for")).

time_out_closes_what_is_collected(Config) ->
    %% No limit can be given, but for that of the code which asks.
    Collect = fun([Function]) ->
        ok = py_context_router:bind_context(ctx(Config)),
        py:stream(ct_generators, Function, [self()])
    end,
    ok = py:register_function(ct_collect, Collect),
    try
        [
            py_streaming:begun_in_time(fun(Timeout) ->
                Call = [ctx(Config), erlang, call, [<<"ct_collect">>, Function], #{timeout => Timeout}],
                ?assertEqual({error, timeout}, apply(py, call, Call)),
                py_streaming:is_closed_last()
            end)
         || Function <- [<<"busy">>, <<"abusy">>]
        ]
    after
        ok = py:unregister_function(ct_collect)
    end.

stream_without_items_is_done(Config) ->
    [?assertEqual([done], rest(start(Config, Function, [0]))) || Function <- [count, acount, 'Countdown', 'ACountdown']].

items_go_to_the_owner(Config) ->
    Test = self(),
    {Owner, Monitor} = spawn_monitor(fun() ->
        receive
            {begin_with, Ref} -> Test ! {has, rest(Ref)}
        end
    end),
    Ref = start(Config, count, [3], #{owner => Owner}),
    Owner ! {begin_with, Ref},
    receive
        {has, Items} -> ?assertEqual([0, 1, 2, done], Items)
    end,
    receive
        {'DOWN', Monitor, process, Owner, normal} -> ok
    end.

%%% Demand

items_come_as_they_are_wanted(Config) ->
    [
        begin
            Ref = start(Config, Function, [10], #{demand => 2}),
            ?assertEqual([0, 1], items(2, Ref)),
            ok = is_idle(Ref),
            ok = py:stream_demand(Ref, 1),
            ?assertEqual([2], items(1, Ref)),
            ok = is_idle(Ref),
            [ok = py:stream_demand(Ref, 1) || _ <- [3, 4, 5]],
            ?assertEqual([3, 4, 5], items(3, Ref)),
            ok = is_idle(Ref),
            %% What is not there is no error.
            ok = py:stream_demand(Ref, 1000),
            ?assertEqual([6, 7, 8, 9, done], rest(Ref))
        end
     || Function <- [count, acount]
    ].

%% The end is found when the item after the last one is wanted.
nothing_is_made_that_is_not_wanted(Config) ->
    [
        begin
            Ref = start(Config, Function, [self()], #{demand => 0}),
            ok = is_idle(Ref),
            ?assertEqual([], py_suite:flush()),
            ok = py:stream_demand(Ref, 2),
            ?assertEqual([0, 1], items(2, Ref)),
            ok = is_idle(Ref),
            [ok = told({<<"pulled">>, I}) || I <- [0, 1]],
            ?assertEqual([], py_suite:flush()),
            ok = py:stream_cancel(Ref),
            ?assertEqual([{error, <<"cancelled">>}], rest(Ref))
        end
     || Function <- [pulled, apulled]
    ].

demand_may_come_before_the_code_runs(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config)}),
    ok = py_suite:install(Context),
    ok = py_suite:python_path(Context),
    Gate = py_gates:closed_gate(Config, Context),
    {ok, Ref} = py:stream_start(ct_generators, count, [none], #{context => Context, demand => 1}),
    ok = py:stream_demand(Ref, 2),
    ok = py_gates:open_gate(Config, Gate),
    ?assertEqual([0, 1, 2], items(3, Ref)),
    ok = is_idle(Ref),
    ok = gone(Ref),
    ok = py_context:stop(Context).

demand_without_end_is_the_rest(Config) ->
    [
        begin
            Ref = start(Config, Function, [1000], #{demand => 1}),
            [0] = items(1, Ref),
            ok = py:stream_demand(Ref, infinity),
            ok = py:stream_demand(Ref, 7),
            ?assertEqual(lists:seq(1, 999) ++ [done], rest(Ref))
        end
     || Function <- [count, acount]
    ].

anybody_may_want_more(Config) ->
    Ref = start(Config, count, [200], #{demand => 0}),
    _ = py_suite:concurrently(100, fun(_) -> [ok = py:stream_demand(Ref, 1) || _ <- [1, 2]] end),
    ?assertEqual(lists:seq(0, 199), items(200, Ref)),
    ok = py:stream_demand(Ref, 1),
    ?assertEqual([done], rest(Ref)).

demand_after_the_end_is_nothing(Config) ->
    Ref = start(Config, count, [1]),
    [0, done] = rest(Ref),
    ok = py:stream_demand(Ref, 1),
    ok = py:stream_cancel(Ref),
    ok = py:stream_demand(make_ref(), infinity),
    ok = py:stream_cancel(make_ref()).

%%% What goes on meanwhile

%% A stream without end, for a process that drops its items.
endless(Config, Function) ->
    Owner = spawn(fun py_streaming:drop/0),
    {Owner, start(Config, Function, [none], #{owner => Owner})}.

others_have_their_turn_between_items(Config) ->
    [
        begin
            {Owner, Ref} = endless(Config, Function),
            _ = [{ok, 4.0} = py:call(ctx(Config), math, sqrt, [16]) || _ <- lists:seq(1, 100)],
            ok = py:stream_cancel(Ref),
            py_suite:killed(Owner)
        end
     || Function <- [count, acount]
    ].

the_loop_has_its_turn_between_items(Config) ->
    {ok, Ticking} = py_context:submit(ctx(Config), ct_generators, tick, []),
    [
        begin
            {Owner, Ref} = endless(Config, Function),
            {ok, Before} = py:eval(ctx(Config), "len(__import__('ct_generators').ticks)"),
            ok = py_leaks:eventually(fun() ->
                {ok, Now} = py:eval(ctx(Config), "len(__import__('ct_generators').ticks)"),
                Now > Before + 10
            end),
            ok = py:stream_cancel(Ref),
            py_suite:killed(Owner)
        end
     || Function <- [count, acount]
    ],
    ok = py:cancel(Ticking).

stream_that_waits_keeps_nobody(Config) ->
    Refs = [start(Config, Function, [none], #{demand => 1}) || Function <- [count, acount, count, acount]],
    [[0] = items(1, Ref) || Ref <- Refs],
    ?assertEqual({ok, 4.0}, py:call(ctx(Config), math, sqrt, [16])),
    %% A call may be answered a moment before it is over.
    ok = py_leaks:eventually(fun() -> py:interrupt(ctx(Config)) =:= not_running end),
    ?assertEqual({ok, 1}, py_context:submit_await(ctx(Config), builtins, int, [1])),
    [ok = gone(Ref) || Ref <- Refs].

generators_call_erlang(Config) ->
    Test = self(),
    Double = fun([N]) ->
        %% No process waits for the items, so one of its own runs this.
        true = self() =/= Test,
        {ok, Sum} = py:call(ctx(Config), builtins, sum, [[N, N]]),
        Sum
    end,
    ok = py:register_function(ct_double, Double),
    try
        ?assertEqual([0, 2, 4, done], rest(start(Config, asks, [ct_double, 3]))),
        ok = py:register_function(ct_double, fun([N]) -> 2 * N end),
        ?assertEqual([0, 2, 4, done], rest(start(Config, aasks, [ct_double, 3]))),
        ?assertEqual({ok, [0, 2]}, py:stream(ct_generators, asks, [ct_double, 2]))
    after
        ok = py:unregister_function(ct_double)
    end.

generator_may_run_the_loop(Config) ->
    ?assertEqual([0, 1, 2, done], rest(start(Config, runs_a_loop, []))).

%% The code that called the function waits in that context, and the stream goes on on top of it.
function_that_python_calls_may_stream_from_there(Config) ->
    Stream = fun([Function]) ->
        {ok, Ref} = py:stream_start(ct_generators, Function, [3], #{context => ctx(Config), demand => 1}),
        [0] = items(1, Ref),
        ok = py:stream_demand(Ref, 5),
        rest(Ref)
    end,
    ok = py:register_function(ct_stream, Stream),
    try
        Call = fun() -> py:call(ctx(Config), erlang, call, [ct_stream, count]) end,
        ?assertEqual({ok, [1, 2, <<"done">>]}, Call())
    after
        ok = py:unregister_function(ct_stream)
    end.

%% When the end is told, that was accepted.
streams_print_for_their_starters(Config) ->
    Leader = py_leaders:start(),
    [
        begin
            Items = py_leaders:under(Leader, fun() -> rest(start(Config, Function, [])) end),
            ?assertEqual([1, done], Items),
            ok = py_leaders:printed(Leader, <<"from a stream\n">>)
        end
     || Function <- [prints, aprints]
    ],
    py_leaders:nothing(Leader),
    ok = py_leaders:stop(Leader).

many_streams_at_once_keep_their_orders(Config) ->
    Streams = [
        start(Config, Function, [50], #{demand => Demand})
     || _ <- lists:seq(1, 20), {Function, Demand} <- [{count, 1}, {acount, 7}]
    ],
    Results = [
        py_streaming:in_small_portions(Ref, N rem 5 + 1)
     || {N, Ref} <- lists:zip(lists:seq(1, length(Streams)), Streams)
    ],
    ?assertEqual([lists:seq(0, 49)], lists:usort(Results)).

streams_go_where_calls_go(Config) ->
    ok = py_context_router:start_pool(ct_streams, 1, py_suite:mode(Config)),
    Context = py_context_router:get_context(ct_streams),
    ok = py_suite:python_path(Context),
    ok = py:exec(Context, "def where(): yield __import__('_erlang').interpreter_id(), __name__"),
    There = fun(Started) ->
        {ok, Ref} = Started,
        [Where, done] = rest(Ref),
        Where
    end,
    Explicit = There(py:stream_start('__main__', where, [], #{context => Context})),
    ?assertEqual(Explicit, There(py:stream_start('__main__', where, [], #{pool => ct_streams}))),
    ok = py:register_pool(ct_streams, {'__main__', where}),
    try
        ?assertEqual(Explicit, There(py:stream_start('__main__', where, []))),
        ?assertEqual({ok, [Explicit]}, py:stream('__main__', where, []))
    after
        ok = py:unregister_pool({'__main__', where}),
        ok = py_context_router:stop_pool(ct_streams)
    end,
    ?assertEqual({error, {no_pool, ct_streams}}, py:stream_start('__main__', where, [], #{pool => ct_streams})),
    ?assertMatch({error, {context_died, _}}, py:stream_start('__main__', where, [], #{context => Context})).

full_queue_refuses_a_stream(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), max_queue => 1}),
    ok = py_suite:install(Context),
    ok = py_suite:python_path(Context),
    Gate = py_gates:closed_gate(Config, Context),
    {ok, Ref} = py:stream_start(ct_generators, count, [2], #{context => Context}),
    ?assertEqual({error, {overloaded, 1, 1}}, py:stream_start(ct_generators, count, [2], #{context => Context})),
    ok = py_gates:open_gate(Config, Gate),
    ?assertEqual([0, 1, done], rest(Ref)),
    ok = py_context:stop(Context).

arguments_are_checked(Config) ->
    Ref = start(Config, count, [1], #{demand => 0}),
    Wrong = [
        {fun() -> py:stream(1, f, []) end, "argument 1: not a module's name"},
        {fun() -> py:stream(m, f, [a | b]) end, "argument 3: not a proper list"},
        {fun() -> py:stream(m, f, [], []) end, "argument 4: not a map of keyword arguments"},
        {fun() -> py:stream_eval(1) end, "argument 1: not Python code"},
        {fun() -> py:stream_eval("1", []) end, "argument 2: not a map of names"},
        {fun() -> py:stream_start(m, 1, []) end, "argument 2: not a function's name"},
        {fun() -> py:stream_start(m, f, x, #{}) end, "argument 3: not a list of arguments"},
        {fun() -> py:stream_start(m, f, [], []) end, "argument 4: not a map of options"},
        {fun() -> py:stream_start(m, f, [], #{owner => me}) end, "option owner is me, not a pid"},
        {fun() -> py:stream_start(m, f, [], #{demand => -1}) end, "option demand is -1, not a number of items"},
        {fun() -> py:stream_start(m, f, [], #{demand => 1.0}) end, "option demand is 1.0, not a number of items"},
        {fun() -> py:stream_start(m, f, [], #{demand => 1 bsl 64}) end, "option demand is 18446744073709551616"},
        {fun() -> py:stream_start(m, f, [], #{timeout => x}) end, "option timeout is x, not a time limit"},
        {fun() -> py:stream_start(m, f, [], #{kwargs => []}) end, "option kwargs is [], not a map of keyword"},
        {fun() -> py:stream_start(m, f, [], #{pool => 1}) end, "option pool is 1, not a pool's name"},
        {fun() -> py:stream_start(m, f, [], #{context => 1}) end, "option context is 1, not a context"},
        {fun() -> py:stream_start(m, f, [], #{context => self(), pool => p}) end, "option pool is p"},
        {fun() -> py:stream_start(m, f, [], #{want => 1}) end, "unknown option want; what there is: context, demand"},
        {fun() -> py:stream_demand(x, 1) end, "argument 1: not a stream"},
        {fun() -> py:stream_demand(Ref, 0) end, "argument 2: not a number of items"},
        {fun() -> py:stream_demand(Ref, 1 bsl 64) end, "argument 2: not a number of items"},
        {fun() -> py:stream_cancel(self()) end, "argument 1: not a stream"}
    ],
    [
        ok = py_suite:contains(py_streaming:refusal(Call), Expected)
     || {Call, Expected} <- Wrong
    ],
    ok = gone(Ref).

%% 200 000 items of 100 bytes would be 20 MB if anybody kept them. The first half lets caches fill.
long_stream_takes_no_memory(Config) ->
    ok = py:exec(ctx(Config), "def wide(n):\n    for i in range(n): yield [i, b'x' * 100]"),
    Half = 100_000,
    {ok, Ref} = py:stream_start('__main__', wide, [2 * Half], #{context => ctx(Config), demand => 64}),
    Most = py_streaming:consumed(Half, Ref),
    _ = erlang:garbage_collect(),
    Before = py_streaming:resident(),
    ?assert(max(Most, py_streaming:consumed(Half, Ref)) =< 64),
    ?assertEqual([done], rest(Ref)),
    _ = erlang:garbage_collect(),
    ?assert(py_streaming:resident() - Before < 10 bsl 20).
