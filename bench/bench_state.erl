-module(bench_state).

%% The shared state, from Erlang beside ETS, and from Python beside a registered function that reads ETS.

-export([rows/1, lookup/1, count/1]).

-define(LOOP, 2000).
-define(TABLE, ?MODULE).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(#{dir := Dir} = Settings) ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}, {write_concurrency, true}]),
    Value = #{<<"name">> => <<"value">>, <<"list">> => [1, 2, 3]},
    true = ets:insert(?TABLE, [{<<"key">>, Value}, {<<"count">>, 0}]),
    ok = py_state:store(<<"key">>, Value),
    ok = py:register_function(bench_lookup, ?MODULE, lookup),
    ok = py:register_function(bench_count, ?MODULE, count),
    {ok, Context} = py_context:new(),
    {ok, none} = py:call(Context, sys, 'path.append', [unicode:characters_to_binary(Dir)]),
    Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 60}),
    Results = bench_rounds:run(variants(Context, Value), Plan),
    ok = py_context:stop(Context),
    [ok = py:unregister_function(Name) || Name <- [bench_lookup, bench_count]],
    ok = py_state:clear(),
    true = ets:delete(?TABLE),
    [
        bench_report:row(<<"ets:lookup, a small map">>, ets_lookup, none, none, Results),
        against(<<"py_state:fetch">>, fetch, {ets_lookup, <<"ets:lookup">>}, 3.0, Results),
        bench_report:row(<<"ets:insert, a small map">>, ets_insert, none, none, Results),
        against(<<"py_state:store">>, store, {ets_insert, <<"ets:insert">>}, 3.0, Results),
        bench_report:row(<<"ets:update_counter">>, ets_counter, none, none, Results),
        against(<<"py_state:incr">>, incr, {ets_counter, <<"ets:update_counter">>}, 2.0, Results),
        bench_report:row(<<"erlang.call of ets:lookup">>, called, none, none, Results),
        against(<<"erlang.state_get, the same">>, python_get, {called, <<"erlang.call">>}, 0.2, Results),
        bench_report:row(<<"erlang.state_set">>, python_set, none, none, Results),
        bench_report:row(<<"erlang.call of ets:update_counter">>, counted, none, none, Results),
        against(<<"erlang.state_incr">>, python_incr, {counted, <<"erlang.call">>}, 0.1, Results)
    ].

against(What, Name, Floor, Most, Results) ->
    bench_report:row(What, Name, Floor, {at_most, Most}, Results).

variants(Context, Value) ->
    Python = fun(Name, Function) ->
        bench_rounds:inside(Name, ?LOOP, fun() ->
            fun(Part, Count) ->
                {ok, Times} = py:call(Context, state, Function, [Count, Part =:= singles]),
                Times
            end
        end)
    end,
    [
        bench_rounds:one(ets_lookup, fun(_) -> fun(_) -> ets:lookup(?TABLE, <<"key">>) end end),
        bench_rounds:one(fetch, fun(_) -> fun(_) -> {ok, _} = py_state:fetch(<<"key">>) end end),
        bench_rounds:one(ets_insert, fun(_) -> fun(_) -> ets:insert(?TABLE, {<<"key">>, Value}) end end),
        bench_rounds:one(store, fun(_) -> fun(_) -> ok = py_state:store(<<"key">>, Value) end end),
        bench_rounds:one(ets_counter, fun(_) -> fun(_) -> ets:update_counter(?TABLE, <<"count">>, 1) end end),
        bench_rounds:one(incr, fun(_) -> fun(_) -> py_state:incr(<<"count">>) end end),
        Python(called, called),
        Python(python_get, gets),
        Python(python_set, sets),
        Python(counted, counted),
        Python(python_incr, counts)
    ].

-spec lookup([binary()]) -> map().
lookup([Key]) ->
    [{Key, Value}] = ets:lookup(?TABLE, Key),
    Value.

-spec count([binary()]) -> integer().
count([Key]) ->
    ets:update_counter(?TABLE, Key, 1).
