%% How calls end that run on the calling scheduler: their limits, what is told of slow ones, and what they cost.
-module(inline_ends_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_inlined, [figures/1, calls/1, refused/2, inlined/3, inlined/4]).

-define(DEADLINE, 30_000).
%% What two processes know of a call: the scheduler of one of them, and when the call was made, in milliseconds.
-define(WHERE, 1).
-define(STARTED, 2).
%% No scheduler has this number.
-define(OVER, 1_000_000).
%% Half of the limit of calls that run inline, so that what was to end one by then has ended it, and not the limit.
-define(IN_TIME, 500).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}].

groups() ->
    [
        {owngil, [], [
            time_limit_interrupts,
            interrupt_interrupts,
            interrupts_are_repeated,
            no_call_goes_on_for_ever,
            context_is_killed_meanwhile,
            context_is_stopped_meanwhile,
            application_is_stopped_meanwhile,
            taken_context_is_called_by_the_mailbox,
            code_that_obeys_is_not_stuck_however_long_it_ran,
            time_is_over_while_it_tells_how_it_failed,
            limit_of_the_node_is_over_while_it_tells_how_it_failed,
            slow_calls_are_counted_and_told,
            every_lasting_call_is_told,
            arguments_of_a_slow_call_are_not_told,
            time_of_short_calls_is_paid,
            context_that_is_switched_off_is_entered_again
        ]}
    ].

init_per_suite(Config) ->
    py_inlined:init_suite(Config).

end_per_suite(_Config) ->
    ok.

init_per_group(owngil, Config) ->
    py_inlined:init_group(Config).

end_per_group(_Group, Config) ->
    py_suite:end_group(Config).

init_per_testcase(code_that_obeys_is_not_stuck_however_long_it_ran, Config) ->
    ok = py_suite:restart(Config, #{inline_limit => infinity, stuck_after => 300}),
    py_inlined:init_context(Config);
init_per_testcase(limit_of_the_node_is_over_while_it_tells_how_it_failed, Config) ->
    ok = py_suite:restart(Config, #{inline_limit => 100}),
    py_inlined:init_context(Config);
init_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    py_inlined:init_context(Config).

end_per_testcase(_Case, Config) ->
    py_inlined:end_context(Config).

%% ------------------------------------------------------------------------------------------------
%% By whom

time_limit_interrupts(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Options = #{timeout => 20, dispatch => inline},
    ?assertEqual({error, timeout}, inlined(Context, endless, [self()], Options)),
    ok = inside(),
    ?assert(maps:get(interrupted, figures(Context)) > 0),
    ?assertEqual({ok, 3}, inlined(Context, add, [1, 2])).

%% One message for each call, however often it was made.
inside() ->
    receive
        {<<"inside">>, _Thread} -> inside()
    after 0 -> ok
    end.

%% A call that runs inline until somebody ends it: its result, and what the end gave. It tells whoever ends it that it
%% runs, and in which thread. A try shows nothing where the call has gone by the mailbox, or where its end has not come
%% well before its limit, since whoever ends it was in the queue of the scheduler that the call holds up.
ended_by(Config, Function, End) ->
    case erlang:system_info(schedulers_online) of
        1 -> {skip, "a second scheduler has to end what the first one runs"};
        _ -> ended_by(Config, Function, End, 50)
    end.

ended_by(Config, Function, End, Times) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:python_path(Context),
    ok = py:exec(Context, <<"import ct_inline">>),
    {ok, Home} = py:call(Context, ct_inline, ident, []),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Place = atomics:new(2, []),
    {Pid, _} = Ender = py_suite:spawn_caller(fun() -> ended_inside(Context, Home, Place, End) end),
    ok = until_elsewhere(Place),
    ok = atomics:put(Place, ?STARTED, erlang:monotonic_time(millisecond)),
    Result = py:call(Context, ct_inline, Function, [Pid], #{dispatch => inline, timeout => 5_000}),
    ok = atomics:put(Place, ?WHERE, ?OVER),
    {result, Ended} = py_suite:await_down(Ender, ?DEADLINE),
    _ = py_context:stop(Context),
    case Ended of
        {in_time, Value} ->
            {Result, Value};
        missed ->
            ?assert(Times > 1, Result),
            ended_by(Config, Function, End, Times - 1)
    end.

%% Without a pause: a process that sleeps may be woken in the queue of the scheduler that is held up.
ended_inside(Context, Home, Place, End) ->
    case atomics:get(Place, ?WHERE) of
        ?OVER ->
            missed;
        _ ->
            ok = atomics:put(Place, ?WHERE, erlang:system_info(scheduler_id)),
            receive
                {<<"inside">>, Home} ->
                    _ = py:interrupt(Context),
                    missed;
                {<<"inside">>, _Scheduler} ->
                    End(Context, atomics:get(Place, ?STARTED) + ?IN_TIME)
            after 0 -> ended_inside(Context, Home, Place, End)
            end
    end.

%% The call must have ended for this reason if it has come by then.
in_time(Until, Value) ->
    case erlang:monotonic_time(millisecond) < Until of
        true -> {in_time, Value};
        false -> missed
    end.

interrupt_in_time(Context, Until) ->
    case py:interrupt(Context) of
        ok -> in_time(Until, ok);
        not_running -> missed
    end.

%% The context's process may have to wait for the scheduler as well.
closed_in_time(Context, Until, Value) ->
    case {py:info(Context), in_time(Until, Value)} of
        {_, missed} -> missed;
        {{ok, #{state := running}}, _} -> closed_in_time(Context, Until, Value);
        {_, InTime} -> InTime
    end.

until_idle(Context) ->
    case py:info(Context) of
        {ok, #{state := running}} -> until_idle(Context);
        _ -> ok
    end.

until_elsewhere(Place) ->
    Here = erlang:system_info(scheduler_id),
    case atomics:get(Place, ?WHERE) of
        There when There =/= 0, There =/= Here -> ok;
        _ -> until_elsewhere(Place)
    end.

interrupt_interrupts(Config) ->
    expect(fun({{error, interrupted}, ok}) -> ok end, ended_by(Config, endless, fun interrupt_in_time/2)).

expect(_Fun, {skip, _} = Skip) -> Skip;
expect(Fun, Result) -> Fun(Result).

interrupts_are_repeated(Config) ->
    Interrupt = fun(Context, Until) ->
        case interrupt_in_time(Context, Until) of
            {in_time, ok} ->
                ok = until_idle(Context),
                {in_time, maps:get(interrupted, figures(Context))};
            missed ->
                missed
        end
    end,
    expect(fun({{error, interrupted}, Count}) when Count >= 2 -> ok end, ended_by(Config, endless_twice, Interrupt)).

no_call_goes_on_for_ever(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    ?assertEqual(
        {error, {inline_limit, 1000}}, inlined(Context, endless, [self()], #{dispatch => inline, timeout => 5_000})
    ),
    ok = inside(),
    ?assertEqual({ok, 3}, inlined(Context, add, [1, 2])).

context_is_killed_meanwhile(Config) ->
    Kill = fun(Context, Until) -> closed_in_time(Context, Until, exit(Context, kill)) end,
    expect(fun({{error, {context_died, killed}}, true}) -> ok end, ended_by(Config, endless, Kill)).

context_is_stopped_meanwhile(Config) ->
    Stop = fun(Context, Until) ->
        Stopper = py_suite:spawn_caller(fun() -> py_context:stop(Context) end),
        InTime = closed_in_time(Context, Until, ok),
        ?assertEqual({result, ok}, py_suite:await_down(Stopper, ?DEADLINE)),
        InTime
    end,
    expect(fun({{error, {context_died, normal}}, ok}) -> ok end, ended_by(Config, endless, Stop)).

application_is_stopped_meanwhile(Config) ->
    Stop = fun(_Context, Until) ->
        case in_time(Until, ok) of
            {in_time, ok} -> {in_time, py_suite:restart(Config, #{})};
            missed -> missed
        end
    end,
    %% Those who stop it may have to wait for the scheduler.
    expect(fun({{error, _}, ok}) -> ok end, ended_by(Config, endless, Stop)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%% It tries more than once, and that is one call which goes by the mailbox.
taken_context_is_called_by_the_mailbox(Config) ->
    Meet = fun(Context, Until) ->
        Before = refused(Context, busy),
        Met = py:call(Context, ct_inline, add, [1, 2], #{dispatch => inline, timeout => 1}),
        Busy = refused(Context, busy) - Before,
        case interrupt_in_time(Context, Until) of
            {in_time, ok} -> {in_time, {Met, Busy}};
            missed -> missed
        end
    end,
    expect(fun({{error, interrupted}, {{error, timeout}, 1}}) -> ok end, ended_by(Config, endless, Meet)).

%% ------------------------------------------------------------------------------------------------
%% Limits

%% What counts is how long it has ignored interrupts, not how long it ran before the first one.
code_that_obeys_is_not_stuck_however_long_it_ran(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Options = #{dispatch => inline, timeout => 600},
    ?assertEqual({error, timeout}, inlined(Context, busy, [3600], Options)),
    ?assertEqual({ok, 3}, inlined(Context, add, [1, 2])),
    ?assert(is_process_alive(Context)).

time_is_over_while_it_tells_how_it_failed(Config) ->
    ?assertEqual({error, timeout}, fails_for_ever(Config, #{dispatch => inline, timeout => 50})).

limit_of_the_node_is_over_while_it_tells_how_it_failed(Config) ->
    ?assertEqual({error, {inline_limit, 100}}, fails_for_ever(Config, #{dispatch => inline, timeout => 60_000})).

fails_for_ever(Config, Options) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    inlined(Context, fails_for_ever, [], Options).

%% ------------------------------------------------------------------------------------------------
%% What is told, and what it costs

slow_calls_are_counted_and_told(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Self = self(),
    ok = py_telemetry:attach(?MODULE, [erlang_python, inline, slow], fun(_, Measured, _) -> Self ! Measured end),
    {ok, none} = inlined(Context, busy, [0.06]),
    receive
        #{count := Count, microseconds := Microseconds} ->
            ?assert(Count >= 1),
            ?assert(Microseconds >= 50_000)
    after ?DEADLINE -> ct:fail(not_told)
    end,
    ok = py_telemetry:detach(?MODULE),
    ?assert(maps:get(slow, figures(Context)) > 0),
    _ = py_suite:flush(),
    ok.

every_lasting_call_is_told(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    told(fun() ->
        [
            begin
                {ok, none} = inlined(Context, busy, [0.05]),
                receive
                    {slow, #{microseconds := Microseconds}} when Microseconds >= 50_000 -> ok
                after ?DEADLINE -> ct:fail({not_told, Time})
                end
            end
         || Time <- lists:seq(1, 3)
        ]
    end).

%% They may be large, and nobody is told of them.
arguments_of_a_slow_call_are_not_told(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    1 = erlang:trace(Context, true, ['receive']),
    told(fun() ->
        {ok, none} = inlined(Context, busy, [0.05]),
        receive
            {trace, Context, 'receive', {py_context, _Serial, {inline_slow, What, _Microseconds, _Count}}} ->
                ?assertEqual({call, ct_inline, busy, 1}, What)
        after ?DEADLINE -> ct:fail(not_told)
        end
    end),
    1 = erlang:trace(Context, false, ['receive']),
    _ = py_suite:flush(),
    ok.

told(Fun) ->
    Self = self(),
    Tell = fun(_Event, Measured, _Of) -> Self ! {slow, Measured} end,
    ok = py_telemetry:attach(?MODULE, [erlang_python, inline, slow], Tell),
    try
        py_suite:silently(Fun)
    after
        ok = py_telemetry:detach(?MODULE),
        _ = py_suite:flush()
    end.

%% Each takes less than a hundredth of a time slice, which is a millisecond and 4000 reductions; all together take more
%% than two.
time_of_short_calls_is_paid(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Cost = fun(Seconds) ->
        Before = calls(Context),
        {reductions, First} = process_info(self(), reductions),
        [{ok, none} = py:call(Context, ct_inline, busy, [Seconds], #{dispatch => inline}) || _ <- lists:seq(1, 1000)],
        {reductions, Last} = process_info(self(), reductions),
        ?assert(calls(Context) - Before > 500, figures(Context)),
        Last - First
    end,
    Short = Cost(-1),
    ?assert(Cost(0.000_006) - Short > 2 * 4000, Short).

%% Off, its thread keeps the interpreter to itself.
context_that_is_switched_off_is_entered_again(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    ok = py:allow_inline(false),
    Before = refused(Context, off),
    [{ok, 3} = py:call(Context, ct_inline, add, [1, 2], #{dispatch => inline}) || _ <- lists:seq(1, 100)],
    ?assertEqual(100, refused(Context, off) - Before),
    ok = py:allow_inline(true),
    ?assertEqual({ok, 3}, inlined(Context, add, [1, 2])).
