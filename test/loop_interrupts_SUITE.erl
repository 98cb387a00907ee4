%% Whoever is interrupted, or runs out of time, on a context with an event loop: it ends, and nothing else does.
-module(loop_interrupts_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_task_gates, [told/2]).

-define(DEADLINE, 30_000).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        time_out_of_a_run_leaves_what_lies_on_another_task,
        time_out_of_a_run_leaves_spawned_tasks,
        run_cleans_up_after_its_time,
        task_is_cancelled_while_its_child_runs,
        task_that_is_taken_back_at_once_ends,
        task_that_swallows_interrupts_makes_the_context_stuck,
        time_out_of_a_task_leaves_long_calls,
        time_out_of_a_task_leaves_long_waits_of_others,
        interrupt_ends_a_step_of_nobody,
        end_of_the_context_ends_a_step_of_nobody,
        timer_in_the_place_of_another_is_seen,
        what_was_put_off_is_served_to_the_last,
        what_belongs_to_a_run_is_served_at_the_limit_of_nesting,
        stranger_waits_for_the_chain_that_holds_the_context
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1, stuck_after => 1_000, max_nested_runs => 1}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% A context for each: some are stuck afterwards.
init_per_testcase(_Case, Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:python_path(Context),
    {ok, none} = py_context:submit_await(Context, ct_interrupts, nothing, []),
    [{ctx, Context} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:stop(ctx(Config)),
    ?assertEqual([], py_suite:flush()).

ctx(Config) ->
    ?config(ctx, Config).

%% A file that lets code go on.
gate(Config, Name) ->
    filename:join(?config(priv_dir, Config), Name).

open(Gate) ->
    ok = file:write_file(Gate, <<>>).

submit(Config, Function, Args) ->
    {ok, Ref} = py_context:submit(ctx(Config), ct_interrupts, Function, Args),
    Ref.

%% A call by another process, the result of which comes as a message.
call(Config, Function, Args, Timeout) ->
    Self = self(),
    Ref = make_ref(),
    _ = spawn_link(fun() ->
        Self ! {Ref, py_context:call(ctx(Config), ct_interrupts, Function, Args, #{}, Timeout)}
    end),
    Ref.

result(Ref) ->
    receive
        {Ref, Result} -> Result
    after ?DEADLINE -> ct:fail(no_result)
    end.

answers(Config) ->
    ?assertEqual({ok, 4.0}, py:call(ctx(Config), math, sqrt, [16])).

%% The task's step runs in the loop of the run, on top of which lies what its function calls.
time_out_of_a_run_leaves_what_lies_on_another_task(Config) ->
    Gate = gate(Config, "lies_on"),
    Name = <<"lies on">>,
    Ctx = ctx(Config),
    Self = self(),
    ok = py:register_function(
        into, fun([]) -> py:call(Ctx, ct_interrupts, spin, [Self, Name, unicode:characters_to_binary(Gate)]) end
    ),
    Run = call(Config, run_wait, [self(), <<"run">>], 500),
    told(<<"waits">>, <<"run">>),
    Task = submit(Config, call, [into]),
    told(<<"runs">>, Name),
    ?assertEqual({error, timeout}, result(Run)),
    open(Gate),
    ?assertEqual({ok, {<<"ok">>, Name}}, py:async_await(Task)),
    told(<<"ended">>, <<"run">>),
    ok = py:unregister_function(into).

time_out_of_a_run_leaves_spawned_tasks(Config) ->
    Gate = gate(Config, "spawned"),
    Name = <<"spawned">>,
    Run = call(Config, run_wait, [self(), <<"run">>], 500),
    told(<<"waits">>, <<"run">>),
    {ok, none} = py:call(ctx(Config), ct_interrupts, spawn_spin, [self(), Name, unicode:characters_to_binary(Gate)]),
    told(<<"runs">>, Name),
    ?assertEqual({error, timeout}, result(Run)),
    open(Gate),
    ?assertEqual(<<"well">>, ended(Name)),
    told(<<"ended">>, <<"run">>).

ended(Name) ->
    receive
        {<<"ended">>, Name, How} -> How
    after ?DEADLINE -> ct:fail({goes_on, Name})
    end.

run_cleans_up_after_its_time(Config) ->
    [
        begin
            ?assertEqual({error, timeout}, py_context:call(ctx(Config), ct_interrupts, F, [self(), F], #{}, 1000)),
            Name = atom_to_binary(F),
            [told(Word, Name) || Word <- [<<"waits">>, <<"ended">>, <<"clean">>]],
            answers(Config)
        end
     || F <- [run_clean_up, asyncio_clean_up]
    ].

task_is_cancelled_while_its_child_runs(Config) ->
    Gate = gate(Config, "child"),
    Name = <<"child">>,
    Task = submit(Config, begin_and_wait, [self(), Name, unicode:characters_to_binary(Gate)]),
    told(<<"waits">>, Name),
    told(<<"runs">>, Name),
    ?assertEqual({error, timeout}, py:async_await(Task, 50)),
    told(<<"ended">>, Name).

%% At whatever moment: while it is queued, made, or there.
task_that_is_taken_back_at_once_ends(Config) ->
    {ok, Before} = py:call(ctx(Config), ct_interrupts, tasks, []),
    [
        begin
            {ok, Ref} = py_context:submit(ctx(Config), asyncio, sleep, [3600]),
            spend(N rem 100),
            ok = py:cancel(Ref)
        end
     || N <- lists:seq(1, 5_000)
    ],
    ?assertEqual(Before, tasks_left(Config, Before, 100)).

spend(0) -> ok;
spend(N) -> erlang:phash2(lists:seq(1, 20)), spend(N - 1).

%% Interrupts are repeated after a while: each look is a call that takes its time.
tasks_left(Config, Wanted, Tries) ->
    {ok, Left} = py:call(ctx(Config), ct_interrupts, tasks, []),
    case Left =:= Wanted orelse Tries =:= 0 of
        true ->
            Left;
        false ->
            {ok, none} = py_context:submit_await(ctx(Config), asyncio, sleep, [0.02]),
            tasks_left(Config, Wanted, Tries - 1)
    end.

task_that_swallows_interrupts_makes_the_context_stuck(Config) ->
    ?assertEqual({shutdown, stuck}, end_of_swallowing(Config, ctx(Config))).

%% How a context ends with such a task.
end_of_swallowing(Config, Context) ->
    Gate = gate(Config, lists:concat([swallows, erlang:unique_integer([positive])])),
    Name = <<"swallows">>,
    Monitor = erlang:monitor(process, Context),
    {ok, Task} = py_context:submit(Context, ct_interrupts, swallow, [self(), Name, unicode:characters_to_binary(Gate)]),
    told(<<"runs">>, Name),
    Why = py_suite:silently(fun() ->
        ?assertEqual({error, timeout}, py:async_await(Task, 10)),
        receive
            {'DOWN', Monitor, process, _, Reason} -> Reason
        after ?DEADLINE -> ct:fail(not_stuck)
        end
    end),
    open(Gate),
    Why.

time_out_of_a_task_leaves_long_calls(Config) ->
    Gate = gate(Config, "hash"),
    Task = submit(Config, wait, [self(), <<"task">>]),
    told(<<"waits">>, <<"task">>),
    Call = call(Config, hash_until, [self(), <<"hash">>, unicode:characters_to_binary(Gate)], infinity),
    told(<<"runs">>, <<"hash">>),
    %% The calls of hashlib in between last longer than code may ignore an interrupt of its own.
    ?assertEqual({error, timeout}, py:async_await(Task, 10)),
    ok = outlast(Config),
    open(Gate),
    ?assertEqual({ok, <<"hash">>}, result(Call)),
    told(<<"ended">>, <<"task">>),
    answers(Config).

time_out_of_a_task_leaves_long_waits_of_others(Config) ->
    Self = self(),
    ok = py:register_function(block, fun([]) -> Self ! {blocks, self()}, receive go -> 5 end end),
    Task = submit(Config, wait, [self(), <<"task">>]),
    told(<<"waits">>, <<"task">>),
    Other = submit(Config, call, [block]),
    Blocker = receive {blocks, Pid} -> Pid after ?DEADLINE -> ct:fail(not_called) end,
    ?assertEqual({error, timeout}, py:async_await(Task, 10)),
    ok = outlast(Config),
    Blocker ! go,
    ?assertEqual({ok, 5}, py:async_await(Other)),
    told(<<"ended">>, <<"task">>),
    answers(Config),
    ok = py:unregister_function(block).

%% Until a context that is really stuck would have been given up: another one that is tells.
outlast(Config) ->
    Other = py_suite:new_context(Config),
    ok = py_suite:python_path(Other),
    {shutdown, stuck} = end_of_swallowing(Config, Other),
    ok.

interrupt_ends_a_step_of_nobody(Config) ->
    Name = <<"nobody's">>,
    Gate = gate(Config, "never"),
    {ok, none} = py:call(ctx(Config), ct_interrupts, spawn_spin, [self(), Name, unicode:characters_to_binary(Gate)]),
    told(<<"runs">>, Name),
    ok = py_context:interrupt(ctx(Config)),
    ?assertEqual(<<"Interrupted">>, ended(Name)),
    answers(Config).

end_of_the_context_ends_a_step_of_nobody(Config) ->
    Name = <<"nobody's">>,
    Gate = gate(Config, "never"),
    Monitor = erlang:monitor(process, ctx(Config)),
    {ok, none} = py:call(ctx(Config), ct_interrupts, spawn_spin, [self(), Name, unicode:characters_to_binary(Gate)]),
    told(<<"runs">>, Name),
    ok = py_context:stop(ctx(Config)),
    ?assertEqual(<<"Interrupted">>, ended(Name)),
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    after ?DEADLINE -> ct:fail(goes_on)
    end.

timer_in_the_place_of_another_is_seen(Config) ->
    Task = submit(Config, wait_for_a_timer, [self(), <<"timer">>]),
    told(<<"waits">>, <<"timer">>),
    {ok, none} = py:call(ctx(Config), ct_interrupts, put_another_timer, []),
    ?assertEqual({ok, <<"in time">>}, py:async_await(Task)).

%% More than are served in one go.
what_was_put_off_is_served_to_the_last(Config) ->
    Self = self(),
    ok = py:register_function(block, fun([]) -> Self ! {blocks, self()}, receive go -> 5 end end),
    First = call(Config, call, [block], infinity),
    Blocker = receive {blocks, Pid} -> Pid after ?DEADLINE -> ct:fail(not_called) end,
    Refs = [{N, py:spawn_call(ctx(Config), ct_interrupts, value, [N])} || N <- lists:seq(1, 300)],
    Blocker ! go,
    ?assertEqual({ok, 5}, result(First)),
    [?assertEqual({N, {ok, N}}, {N, py:await(Ref)}) || {N, Ref} <- Refs],
    ok = py:unregister_function(block).

what_belongs_to_a_run_is_served_at_the_limit_of_nesting(Config) ->
    Ctx = ctx(Config),
    Self = self(),
    ok = py:register_function(first, fun([]) ->
        Self ! {first, self()},
        receive go -> ok end,
        Ref = py:spawn_call(Ctx, ct_interrupts, value, [5]),
        Self ! asked,
        py:await(Ref)
    end),
    ok = py:register_function(second, fun([]) -> Self ! {second, self()}, receive go -> 6 end end),
    Run = call(Config, run_call_and_be_called, [first, second], infinity),
    First = receive {first, P1} -> P1 after ?DEADLINE -> ct:fail(not_called) end,
    Second = receive {second, P2} -> P2 after ?DEADLINE -> ct:fail(not_called) end,
    First ! go,
    receive asked -> ok after ?DEADLINE -> ct:fail(not_asked) end,
    Second ! go,
    ?assertEqual({ok, {<<"ok">>, 5}}, result(Run)),
    [ok = py:unregister_function(F) || F <- [first, second]].

%% This context calls another one, which calls this one, where a loop waits then. Who comes from elsewhere and calls the
%% other one would wait there for what lies below it here.
stranger_waits_for_the_chain_that_holds_the_context(Config) ->
    %% Where loops may lie on top of each other.
    ok = application:set_env(erlang_python, max_nested_runs, 8),
    Here = py_suite:new_context(Config),
    There = py_suite:new_context(Config),
    ok = application:set_env(erlang_python, max_nested_runs, 1),
    [ok = py_suite:python_path(Context) || Context <- [Here, There]],
    Self = self(),
    Called = fun(Context, Function, Args) -> py:call(Context, ct_interrupts, Function, Args) end,
    Functions = #{
        to_there => fun([]) -> Called(There, call, [back_here]) end,
        back_here => fun([]) -> Called(Here, run_async_call, [wait]) end,
        wait => fun([]) ->
            Self ! {waits, self()},
            receive go -> ok end,
            Answer = Called(Here, value, [4]),
            Self ! {answer, Answer},
            Answer
        end,
        of_stranger => fun([]) -> Called(There, value, [5]) end
    },
    [ok = py:register_function(Name, Function) || {Name, Function} <- maps:to_list(Functions)],
    Chain = call([{ctx, Here}], call, [to_there], infinity),
    Waiter = receive {waits, Pid} -> Pid after ?DEADLINE -> ct:fail(not_called) end,
    Stranger = py:spawn_call(Here, ct_interrupts, call, [of_stranger]),
    Waiter ! go,
    Ok = fun(Value) -> {ok, {<<"ok">>, Value}} end,
    ?assertMatch({ok, _}, result(Chain)),
    receive {answer, Answered} -> ?assertEqual({ok, 4}, Answered) after ?DEADLINE -> ct:fail(not_called) end,
    ?assertEqual(Ok(5), py:await(Stranger)),
    [ok = py:unregister_function(Name) || Name <- maps:keys(Functions)],
    [ok = py_context:stop(Context) || Context <- [Here, There]],
    ok.
