-module(bench_batches).

%% Items of batches and of maps, beside one call for each, and what the conversion of their values takes.

-export([rows/1]).

-define(ITEMS, 1_000).
-define(MANY, 20_000).
-define(POOL, bench_batches).

%% Nanoseconds of an item above conversion.
-define(ABOVE, 300.0).

-define(CODE, <<
    "results = []\n"
    "def made():\n    return results\n"
    "def make(n):\n    results[:] = [('ok', float(i) + 0.5) for i in range(n)]\n"
    "def count(items):\n    return len(items)\n"
>>).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 50}),
    ok = py_context_router:start_pool(?POOL, 2, #{start => eager}),
    Results = bench_rounds:run(variants(), Plan),
    ok = py_context_router:stop_pool(?POOL),
    Call = {call, <<"py:call">>},
    [
        bench_report:row(<<"py:call(math, sqrt, [I])">>, call, none, none, Results),
        bench_report:row(<<"lists of one float to Python, and {ok, Float} back">>, conversion, none, none, Results),
        above(<<"py:call_many(math, sqrt, 1000 items), an item">>, many, Results),
        above(<<"py:map(math, sqrt, 20 000 items), two contexts, an item">>, map, Results),
        bench_report:row(<<"py:call_many(math, sqrt, 20 items), an item">>, few, Call, {at_most, 0.2}, Results)
    ].

%% What is above the conversion of as many values.
above(What, Name, #{conversion := {Floors, _}} = Results) ->
    #{Name := {Figures, _}} = Results,
    Differences = lists:zipwith(fun(Figure, Floor) -> Figure - Floor end, Figures, Floors),
    Floor = {<<"conversion">>, bench_rounds:value(conversion, Results)},
    bench_report:compared_row(What, ns, Figures, Floor, Differences, {at_most_more, ?ABOVE}).

variants() ->
    [
        bench_rounds:one(call, fun(_) -> fun(I) -> {ok, _} = py:call(math, sqrt, [I + 0.5]) end end),
        bench_rounds:inside(conversion, ?ITEMS, fun conversion/0),
        bench_rounds:inside(many, ?ITEMS, fun() -> batches(?ITEMS) end),
        bench_rounds:inside(few, ?ITEMS, fun() -> batches(20) end),
        bench_rounds:inside(map, ?MANY, fun map/0)
    ].

%% The same values as a batch has, in one call there and one back; what these two take is counted as well.
conversion() ->
    ok = py:exec(?CODE),
    {ok, none} = py:call('__main__', make, [?ITEMS]),
    Args = arguments(?ITEMS),
    repeated(?ITEMS, fun() ->
        {ok, ?ITEMS} = py:call('__main__', count, [Args]),
        {ok, _} = py:call('__main__', made, [])
    end).

batches(Size) ->
    Args = arguments(Size),
    repeated(Size, fun() -> [{ok, _} | _] = py:call_many(math, sqrt, Args) end).

map() ->
    Items = [I + 0.5 || I <- lists:seq(1, ?MANY)],
    repeated(?MANY, fun() -> [{ok, _} | _] = py:map(?POOL, math, sqrt, Items) end).

arguments(Count) ->
    [[I + 0.5] || I <- lists:seq(1, Count)].

%% Items by so many at once; a single one is as long as its share.
repeated(Size, Fun) ->
    fun(Part, Count) ->
        Begun = erlang:monotonic_time(nanosecond),
        lists:foreach(fun(_) -> Fun() end, lists:seq(1, Count div Size)),
        Each = (erlang:monotonic_time(nanosecond) - Begun) / Count,
        case Part of
            batches -> ok;
            singles -> [Each]
        end
    end.
