-module(bench_load).

%% Many callers at once, on one context and on two.

-export([rows/1]).

-define(CALLERS, 50).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 14, turn => 250}, #{rounds => 5, turn => 100}),
    Pools = [{bench_one, 1}, {bench_two, 2}],
    Handles = maps:from_list([{Pool, start(Pool, Size)} || {Pool, Size} <- Pools]),
    Variants = [
        caller(echo_one, fun(I) -> echo(I, maps:get(bench_one, Handles)) end),
        caller(echo_two, fun(I) -> echo(I, maps:get(bench_two, Handles)) end),
        caller(call_one, fun(_) -> call(bench_one) end),
        caller(call_two, fun(_) -> call(bench_two) end)
    ],
    Results = bench_rounds:run(Variants, Plan),
    lists:foreach(fun({Pool, _}) -> ok = py_context_router:stop_pool(Pool) end, Pools),
    Echo = <<"mailbox echo">>,
    [
        bench_report:row(<<"mailbox echo from 50, one context">>, echo_one, none, none, Results),
        bench_report:row(<<"mailbox echo from 50, two contexts">>, echo_two, none, none, Results),
        bench_report:row(
            <<"py:call from 50, one context">>, call_one, {echo_one, Echo}, {at_most, 1.25}, Results
        ),
        bench_report:row(
            <<"py:call from 50, two contexts">>, call_two, {echo_two, Echo}, {at_most, 1.25}, Results
        ),
        bench_report:row(
            <<"py:call from 50, two contexts to one">>,
            call_two,
            {call_one, <<"py:call, one">>},
            {at_most, 1.0},
            Results
        )
    ].

%% Starts a pool with all its contexts, and gives their handles.
start(Pool, Size) ->
    ok = py_context_router:start_pool(Pool, Size),
    lists:foreach(fun(_) -> use(Pool) end, lists:seq(1, Size)),
    Contexts = py_context_router:contexts(Pool),
    Size = length(Contexts),
    lists:map(
        fun(Context) ->
            {ok, Handle} = py_context:handle(Context),
            Handle
        end,
        Contexts
    ).

%% By a process of its own, which the pool gives a context that nobody has used.
use(Pool) ->
    {_, Monitor} = spawn_monitor(fun() -> {ok, _} = py:call(Pool, math, sqrt, [1]) end),
    receive
        {'DOWN', Monitor, process, _, normal} -> ok
    end.

caller(Name, Maker) ->
    bench_rounds:many(Name, ?CALLERS, Maker).

echo(Number, Handles) ->
    Handle = lists:nth(Number rem length(Handles) + 1, Handles),
    fun(I) -> bench_calls:echo(Handle, I) end.

call(Pool) ->
    fun(I) -> {ok, _} = py:call(Pool, math, sqrt, [I]) end.
