%% How calls end that run on the calling scheduler: their limits, what is told of slow ones, and what they cost.
-module(inline_ends_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_inlined, [figures/1, calls/1, refused/2, inlined/3, inlined/4]).

-define(DEADLINE, 30_000).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}].

groups() ->
    [
        {owngil, [], [
            code_that_obeys_is_not_stuck_however_long_it_ran,
            time_is_over_while_it_tells_how_it_failed,
            limit_of_the_node_is_over_while_it_tells_how_it_failed,
            every_lasting_call_is_told,
            arguments_of_a_slow_call_are_not_told,
            time_of_short_calls_is_paid,
            context_that_is_switched_off_is_entered_again
        ]}
    ].

init_per_suite(Config) ->
    ok = py_suite:start(#{}),
    Supported = py_nif:inline_supported(),
    ok = py_suite:stop(),
    [{supported, Supported} | Config].

end_per_suite(_Config) ->
    ok.

init_per_group(owngil, Config) ->
    case ?config(supported, Config) of
        true -> py_suite:init_group(owngil, Config);
        false -> {skip, "CPython measures the stack from 3.14 on"}
    end.

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
