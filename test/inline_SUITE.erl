%% Calls that run on the calling scheduler.
-module(inline_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_inlined, [prepared/1, figures/1, calls/1, refused/2, inlined/2, inlined/3, inlined/4, refusal/1]).

-define(INLINE, #{dispatch => inline}).
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
    [{group, owngil}, {group, elsewhere}].

groups() ->
    [
        {owngil, [], [
            runs_on_the_calling_scheduler,
            values_are_those_of_the_mailbox,
            namespace_is_that_of_the_process,
            evaluates,
            exceptions_come_with_their_story,
            what_waits_is_refused,
            refusals_leave_the_context_as_it_was,
            coroutines_and_continuations_are_refused,
            prints_and_sends,
            earlier_requests_of_the_process_come_first,
            busy_context_is_called_by_the_mailbox,
            taken_context_is_called_by_the_mailbox,
            callbacks_go_by_the_mailbox,
            traced_calls_go_by_the_mailbox,
            module_is_imported_by_the_mailbox,
            context_with_threads_leaves_for_good,
            time_limit_interrupts,
            interrupt_interrupts,
            interrupts_are_repeated,
            no_call_goes_on_for_ever,
            context_is_killed_meanwhile,
            context_is_stopped_meanwhile,
            application_is_stopped_meanwhile,
            recursion_is_an_error,
            recursion_in_small_stacks_is_an_error,
            contexts_come_and_go,
            no_freed_thread_state_is_touched,
            garbage_is_collected_at_home,
            collection_stays_as_it_was_set,
            many_callers_on_two_contexts,
            callers_beside_the_mailbox,
            schedulers_come_and_go,
            slow_calls_are_counted_and_told,
            switch_of_the_node,
            marks,
            pools,
            auto_learns_what_is_short,
            auto_sends_back_what_is_long,
            auto_is_for_marked_functions,
            policies_and_limits_go_by_the_mailbox,
            remote_context_goes_by_the_mailbox
        ]},
        %% Where nothing can run inline, the same calls give the same.
        {elsewhere, [], [mode_worker_goes_by_the_mailbox, bad_options_are_refused, settings_are_checked]}
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
    end;
init_per_group(elsewhere, Config) ->
    py_suite:init_group(worker, Config).

%% A node with a name keeps two descriptors.
end_per_group(_Group, Config) ->
    py_suite:end_group(Config, #{spares => 16, fds => 2}).

init_per_testcase(_Case, Config) ->
    py_inlined:init_context(Config).

end_per_testcase(_Case, Config) ->
    py_inlined:end_context(Config).

%% ------------------------------------------------------------------------------------------------
%% Values

runs_on_the_calling_scheduler(Config) ->
    Context = ?config(ctx, Config),
    {ok, Home} = py:call(Context, ct_inline, ident, []),
    {ok, Home} = py:call(Context, ct_inline, ident, []),
    {ok, Elsewhere} = inlined(Context, ident, []),
    ?assertNotEqual(Home, Elsewhere),
    ?assertEqual({ok, Home}, py:call(Context, ct_inline, ident, [])),
    ?assertEqual(1, refused(Context, first)).

values_are_those_of_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    Values = [
        0, -1, 1 bsl 200, 1.5, <<"text">>, <<255>>, [], [1, [2]], {1, {2}}, #{a => #{<<"b">> => [1]}}, atom, none, true,
        self(), make_ref(), binary:copy(<<"x">>, 100_000), lists:seq(1, 1000), fun() -> ok end,
        maps:from_list([{I, I} || I <- lists:seq(1, 1000)])
    ],
    ok = py:exec(Context, <<"import builtins; ct_inline.same = lambda value: value">>),
    [
        ?assertEqual(py:call(Context, ct_inline, same, [Value]), inlined(Context, same, [Value]))
     || Value <- Values
    ],
    ?assertEqual({ok, 6}, inlined(Context, add, [1, 2], #{kwargs => #{c => 3}, dispatch => inline})),
    {ok, Object} = inlined(Context, 'Key', []),
    ?assert(py:is_ref(Object)),
    ?assertEqual({ok, false}, inlined(Context, fun() ->
        py:call(Context, builtins, hasattr, [Object, <<"missing">>], ?INLINE)
    end)).

namespace_is_that_of_the_process(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"def mine(): return 'mine'">>),
    Call = fun() -> py:call(Context, '__main__', mine, [], ?INLINE) end,
    ?assertEqual({ok, <<"mine">>}, inlined(Context, Call)),
    ?assertEqual({ok, <<"mine">>}, inlined(Context, fun() ->
        py:call(Context, <<"__main__">>, <<"mine">>, [], ?INLINE)
    end)),
    ?assertMatch({error, {'AttributeError', _}}, py_suite:fresh(fun() -> inlined(Context, Call) end)).

evaluates(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"mine = 40">>),
    Eval = fun() -> py:eval(Context, <<"mine + more">>, #{more => 2}, ?INLINE) end,
    ?assertEqual({ok, 42}, inlined(Context, Eval)),
    ?assertMatch({error, {'SyntaxError', _}}, inlined(Context, fun() -> py:eval(Context, <<"1 +">>, #{}, ?INLINE) end)),
    ?assertEqual({ok, 3}, py:eval(Context, <<"1 + 2">>, #{}, #{timeout => 10_000})).

exceptions_come_with_their_story(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({error, {'ValueError', "burst"}}, inlined(Context, burst, [<<"ValueError">>])),
    ?assertMatch(#{type := 'ValueError', module := <<"builtins">>}, py:last_error()),
    ?assertMatch({error, {'SystemExit', _}}, inlined(Context, burst, [<<"SystemExit">>])),
    ?assertMatch({error, {'AttributeError', _}}, inlined(Context, missing, [])),
    ?assertEqual({ok, 3}, inlined(Context, add, [1, 2])).

%% ------------------------------------------------------------------------------------------------
%% What must not be done on a scheduler

what_waits_is_refused(Config) ->
    Context = ?config(ctx, Config),
    ok = py:register_function(identity, fun([X]) -> X end),
    [
        refusal(inlined(Context, Function, []))
     || Function <- [calls, sleeps, starts_thread, connects, runs_loop, makes_loop, imports]
    ],
    %% The same by the mailbox.
    ?assertEqual({ok, 1}, py:call(Context, ct_inline, calls, [])),
    ?assertEqual({ok, <<"colorsys">>}, py:call(Context, ct_inline, imports, [])),
    ?assertEqual({ok, <<"colorsys">>}, inlined(Context, imports, [])),
    ok = py:unregister_function(identity).

refusals_leave_the_context_as_it_was(Config) ->
    Context = ?config(ctx, Config),
    refusal(inlined(Context, makes_loop, [])),
    refusal(inlined(Context, starts_thread, [])),
    ?assertEqual({ok, 1}, py:call(Context, ct_inline, runs_loop, [])),
    %% It was only asked for.
    ?assertEqual({ok, none}, py:call(Context, ct_inline, starts_thread, [])).

coroutines_and_continuations_are_refused(Config) ->
    Context = ?config(ctx, Config),
    Text = py_suite:error_text('TypeError', inlined(Context, coroutine, [])),
    ok = py_suite:contains(Text, "async_call"),
    ok = py:register_function(identity, fun([X]) -> X end),
    refusal(inlined(Context, schedules, [])),
    ok = py:unregister_function(identity).

prints_and_sends(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, none}, inlined(Context, sends, [self(), {to, self()}])),
    receive
        {<<"to">>, Self} when Self =:= self() -> ok
    after ?DEADLINE -> ct:fail(nothing_sent)
    end,
    _ = flush_sent(),
    {Other, Monitor} = spawn_monitor(fun() -> receive <<"stop">> -> ok end end),
    ?assertEqual({ok, none}, inlined(Context, sends, [Other, <<"stop">>])),
    receive
        {'DOWN', Monitor, process, Other, normal} -> ok
    after ?DEADLINE -> ct:fail(nothing_sent)
    end,
    ?assertMatch({ok, none}, inlined(Context, prints, [<<"from a scheduler">>])).

flush_sent() ->
    py_suite:flush().

%% ------------------------------------------------------------------------------------------------
%% Beside the mailbox

earlier_requests_of_the_process_come_first(Config) ->
    Context = ?config(ctx, Config),
    {ok, none} = inlined(Context, note, [0]),
    Count = 2000,
    lists:foreach(
        fun(I) ->
            ok = py:cast(Context, ct_inline, note, [2 * I]),
            {ok, none} = py:call(Context, ct_inline, note, [2 * I + 1], ?INLINE)
        end,
        lists:seq(1, Count)
    ),
    {ok, Noted} = py:call(Context, ct_inline, noted, []),
    ?assertEqual(lists:seq(2, 2 * Count + 1), [N || N <- Noted, N > 0]).

busy_context_is_called_by_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    Self = self(),
    ok = py:register_function(gate, fun([]) -> Self ! {closed, self()}, receive open -> ok end end),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Before = refused(Context, queued),
    Holder = py_suite:spawn_caller(fun() -> py:call(Context, erlang, call, [gate]) end),
    Gate = receive {closed, Pid} -> Pid after ?DEADLINE -> ct:fail(no_gate) end,
    Caller = py_suite:spawn_caller(fun() -> py:call(Context, ct_inline, add, [1, 2], ?INLINE) end),
    ok = py_leaks:eventually(fun() -> refused(Context, queued) > Before end),
    Gate ! open,
    ?assertEqual({result, {ok, 3}}, py_suite:await_down(Caller, ?DEADLINE)),
    ?assertEqual({result, {ok, <<"ok">>}}, py_suite:await_down(Holder, ?DEADLINE)),
    %% Nothing is left of that.
    ?assertEqual({ok, 3}, inlined(Context, add, [1, 2])),
    ok = py:unregister_function(gate).

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

callbacks_go_by_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    ok = py_suite:python_path(Other),
    ok = py:exec(Other, <<"import ct_inline">>),
    {ok, 3} = inlined(Other, add, [1, 2]),
    Before = calls(Other),
    ok = py:register_function(further, fun([]) ->
        [py:call(C, ct_inline, add, [1, 2], ?INLINE) || C <- [Context, Other]]
    end),
    ?assertMatch({ok, [{_, 3}, {_, 3}]}, py:call(Context, erlang, call, [further])),
    ?assertEqual(Before, calls(Other)),
    ok = py:unregister_function(further),
    ok = py_context:stop(Other).

traced_calls_go_by_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Before = calls(Context),
    Headers = #{<<"traceparent">> => <<"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01">>},
    Traced = fun() -> py:call(Context, ct_inline, add, [1, 2], ?INLINE) end,
    ?assertEqual({ok, 3}, py_trace:with(Headers, Traced)),
    ?assertEqual(Before, calls(Context)).

module_is_imported_by_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Ask = fun() -> py:call(Context, colorsys, rgb_to_hsv, [0, 0, 4], ?INLINE) end,
    ok = py_leaks:eventually(fun() ->
        %% The call may go by the mailbox for another reason.
        ok = py:exec(Context, <<"import sys; sys.modules.pop('colorsys', None)">>),
        {ok, 3} = inlined(Context, add, [1, 2]),
        {ok, {_, 1.0, 4}} = Ask(),
        refused(Context, not_loaded) > 0
    end),
    ?assertMatch({ok, {_, 1.0, 4}}, inlined(Context, Ask)).

context_with_threads_leaves_for_good(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    ?assertEqual({ok, true}, py:call(Context, ct_inline, starts_threads_at_home, [])),
    Before = calls(Context),
    [?assertEqual({ok, 3}, py:call(Context, ct_inline, add, [1, 2], ?INLINE)) || _ <- lists:seq(1, 100)],
    ?assertEqual(Before, calls(Context)),
    ?assert(refused(Context, threads) > 0).

%% ------------------------------------------------------------------------------------------------
%% Ends

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

%% Some functions make a million objects first, which may take longer than a call should.
recursion_is_an_error(Config) ->
    ok = py_suite:restart(Config, #{inline_limit => infinity}),
    try
        recursion(py_suite:mode(Config))
    after
        ok = py_suite:restart(Config, #{})
    end.

recursion(Mode) ->
    {ok, Context} = py_context:new(#{mode => Mode}),
    ok = prepared(Context),
    [
        ?assertMatch({Function, {error, {'RecursionError', _}}}, {Function, inlined(Context, Function, [])})
     || Function <- [recursion, sorts, shows, dumps, compares, isinstances]
    ],
    ?assertEqual({ok, true}, inlined(Context, hashes, [])),
    ?assertEqual({ok, 3}, inlined(Context, add, [1, 2])),
    py_context:stop(Context).

%% In a node whose schedulers have stacks of 256 KiB.
recursion_in_small_stacks_is_an_error(_Config) ->
    Args = ["+sss", "32", "-pa" | code:get_path()],
    {ok, Peer, _Node} = peer:start(#{connection => standard_io, args => Args}),
    try
        ?assertEqual(ok, peer:call(Peer, ?MODULE, recursion_here, [], 3 * ?DEADLINE))
    after
        ok = peer:stop(Peer)
    end.

recursion_here() ->
    ok = py_suite:start(#{inline_limit => infinity}),
    ok = recursion(owngil),
    py_suite:stop().

%% Each scheduler has used thread states of interpreters that are no more.
contexts_come_and_go(Config) ->
    Kept = ?config(ctx, Config),
    {ok, 3} = inlined(Kept, add, [1, 2]),
    lists:foreach(
        fun(_) ->
            Contexts = [py_suite:new_context(Config) || _ <- [1, 2]],
            _ = py_suite:concurrently(4, fun(I) ->
                Context = lists:nth(1 + I rem 2, Contexts),
                [{ok, 4.0} = py:call(Context, math, sqrt, [16], ?INLINE) || _ <- lists:seq(1, 100)]
            end),
            lists:foreach(fun py_context:stop/1, Contexts),
            {ok, 3} = py:call(Kept, ct_inline, add, [1, 2], ?INLINE)
        end,
        lists:seq(1, 20)
    ).

%% In a node in which nobody may touch what was freed. The interpreters of the contexts that the schedulers have entered
%% last are no more when they enter others.
no_freed_thread_state_is_touched(Config) ->
    case freed_pages(Config) of
        {skip, _} = Skip ->
            Skip;
        {ok, Library} ->
            Args = ["-pa" | code:get_path()],
            {ok, Peer, _Node} = peer:start(#{
                connection => standard_io, args => Args, env => [{"LD_PRELOAD", Library}]
            }),
            try
                ?assertEqual(ok, peer:call(Peer, ?MODULE, entered_one_after_another, [], 2 * ?DEADLINE))
            after
                peer:stop(Peer)
            end
    end.

freed_pages(Config) ->
    Source = filename:join([py_suite:checkout(), "test", "support", "c", "freed_pages.c"]),
    Library = filename:join(?config(priv_dir, Config), "freed_pages.so"),
    case {erlang:system_info(system_architecture), os:find_executable("cc")} of
        {System, Cc} when is_list(Cc) ->
            case string:find(System, "linux-gnu") of
                nomatch -> {skip, "it stands before the functions of glibc"};
                _ -> compiled(Cc, Source, Library)
            end;
        {_, false} ->
            {skip, "there is no C compiler"}
    end.

compiled(Cc, Source, Library) ->
    Port = open_port({spawn_executable, Cc}, [
        {args, ["-O1", "-shared", "-fPIC", "-o", Library, Source, "-ldl"]}, exit_status, stderr_to_stdout
    ]),
    exit_status(Port, []),
    {ok, Library}.

exit_status(Port, Output) ->
    receive
        {Port, {data, Data}} -> exit_status(Port, [Output | Data]);
        {Port, {exit_status, Status}} -> ?assertEqual(0, Status, Output)
    end.

entered_one_after_another() ->
    ok = py_suite:start(#{}),
    lists:foreach(
        fun(_) ->
            {ok, Context} = py_context:new(#{mode => owngil}),
            Call = fun() -> py:call(Context, math, sqrt, [16], ?INLINE) end,
            {ok, 4.0} = inlined(Context, Call),
            _ = py_suite:concurrently(4, fun(_) -> [{ok, 4.0} = Call() || _ <- lists:seq(1, 100)] end),
            ok = py_context:stop(Context)
        end,
        lists:seq(1, 20)
    ),
    py_suite:stop().

%% ------------------------------------------------------------------------------------------------
%% Garbage

garbage_is_collected_at_home(Config) ->
    Context = ?config(ctx, Config),
    {ok, _} = inlined(Context, circles, [1]),
    Made = circles_made_inline(Context, 0, erlang:monotonic_time(millisecond) + ?DEADLINE),
    {ok, Living} = py:call(Context, ct_inline, living, []),
    ?assert(Living < Made div 2, {Living, Made}).

%% How many were made in all until more than 100 calls had run inline. How many of them do depends on what else runs.
circles_made_inline(Context, Before, Deadline) ->
    Made = Before + 100_000,
    [{ok, none} = py:call(Context, ct_inline, circles, [100], ?INLINE) || _ <- lists:seq(1, 1000)],
    case calls(Context) > 100 of
        true ->
            Made;
        false ->
            ?assert(erlang:monotonic_time(millisecond) < Deadline, figures(Context)),
            circles_made_inline(Context, Made, Deadline)
    end.

collection_stays_as_it_was_set(Config) ->
    Context = ?config(ctx, Config),
    {ok, false} = inlined(Context, collects, []),
    ?assertEqual({ok, true}, py:call(Context, ct_inline, collects, [])),
    %% Inline it would be undone.
    Set = fun(Function) -> inlined(Context, fun() -> py:call(Context, gc, Function, [], ?INLINE) end) end,
    refusal(Set(disable)),
    ?assertEqual({ok, true}, py:call(Context, ct_inline, collects, [])),
    {ok, none} = py:call(Context, gc, disable, []),
    {ok, false} = inlined(Context, collects, []),
    refusal(Set(enable)),
    ?assertEqual({ok, false}, py:call(Context, ct_inline, collects, [])).

%% ------------------------------------------------------------------------------------------------
%% Many

many_callers_on_two_contexts(Config) ->
    Contexts = {?config(ctx, Config), py_suite:new_context(Config)},
    {Callers, Each} = {50, 400},
    Before = requests(Contexts),
    Sums = py_suite:concurrently(Callers, fun(I) ->
        Context = element(1 + I rem 2, Contexts),
        lists:sum([
            begin
                {ok, N} = py:call(Context, operator, add, [I, J], ?INLINE),
                N
            end
         || J <- lists:seq(1, Each)
        ])
    end),
    ?assertEqual([lists:sum([I + J || J <- lists:seq(1, Each)]) || I <- lists:seq(1, Callers)], Sums),
    %% Each ran once, in one place or the other.
    ?assertEqual(Callers * Each, requests(Contexts) - Before),
    ok = py_context:stop(element(2, Contexts)).

requests(Contexts) ->
    lists:sum([
        begin
            {ok, #{requests := Requests, inline := #{calls := Calls}}} = py:info(Context),
            Requests + Calls
        end
     || Context <- tuple_to_list(Contexts)
    ]).

callers_beside_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    Each = 500,
    Results = py_suite:concurrently(8, fun(I) ->
        Options = case I rem 2 of 0 -> ?INLINE; 1 -> #{} end,
        [py:call(Context, ct_inline, add, [I, J], Options) || J <- lists:seq(1, Each)]
    end),
    ?assertEqual([[{ok, I + J} || J <- lists:seq(1, Each)] || I <- lists:seq(1, 8)], Results),
    %% Once the burst is over.
    ?assertEqual({ok, 3}, inlined(Context, add, [1, 2])).

schedulers_come_and_go(Config) ->
    Context = ?config(ctx, Config),
    Online = erlang:system_info(schedulers_online),
    try
        [
            begin
                _ = erlang:system_flag(schedulers_online, Count),
                _ = py_suite:concurrently(4, fun(_) ->
                    [{ok, 3} = py:call(Context, ct_inline, add, [1, 2], ?INLINE) || _ <- lists:seq(1, 200)]
                end),
                ?assertEqual({ok, 3}, inlined(Context, add, [1, 2]))
            end
         || Count <- [1, Online, 1, Online]
        ]
    after
        erlang:system_flag(schedulers_online, Online)
    end.

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

%% ------------------------------------------------------------------------------------------------
%% Who asks for it

switch_of_the_node(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    try
        ok = py:allow_inline(false),
        Before = calls(Context),
        ?assertEqual({ok, 3}, py:call(Context, ct_inline, add, [1, 2], ?INLINE)),
        ?assertEqual(Before, calls(Context)),
        ?assert(refused(Context, off) > 0)
    after
        ok = py:allow_inline(true)
    end,
    {ok, 3} = inlined(Context, add, [1, 2]).

marks(Config) ->
    Context = ?config(ctx, Config),
    Plain = fun() -> py:call(Context, ct_inline, add, [1, 2]) end,
    ?assertEqual([], py:marked_inline()),
    ok = py:mark_inline("ct_inline", <<"add">>),
    ?assertEqual([{{<<"ct_inline">>, <<"add">>}, inline}], py:marked_inline()),
    try
        ?assertEqual({ok, 3}, inlined(Context, Plain)),
        ?assertEqual({ok, 3}, inlined(Context, fun() -> py:call(Context, <<"ct_inline">>, "add", [1, 2]) end)),
        Before = calls(Context),
        %% What the call says counts more.
        ?assertEqual({ok, 3}, py:call(Context, ct_inline, add, [1, 2], #{dispatch => mailbox})),
        ?assertMatch({ok, _}, py:call(Context, ct_inline, ident, [])),
        ?assertEqual(Before, calls(Context))
    after
        ok = py:unmark_inline(ct_inline, add)
    end,
    ?assertEqual([], py:marked_inline()),
    Marked = calls(Context),
    {ok, 3} = Plain(),
    ?assertEqual(Marked, calls(Context)).

pools(_Config) ->
    ok = py_context_router:start_pool(swift, 1, #{dispatch => inline}),
    try
        [{_, Context, _}] = started(swift),
        Call = fun() -> py:call(swift, math, sqrt, [16]) end,
        {ok, 4.0} = Call(),
        ?assertEqual({ok, 4.0}, inlined(Context, Call))
    after
        ok = py_context_router:stop_pool(swift)
    end,
    ?assertEqual({error, {no_pool, swift}}, py:call(swift, math, sqrt, [16])).

started(Pool) ->
    {ok, 4.0} = py:call(Pool, math, sqrt, [16]),
    py_pool_table:ready(Pool).

auto_learns_what_is_short(Config) ->
    ok = py:mark_inline(ct_inline, add, auto),
    try
        Context = trusting(Config, add, [1, 2], {ok, 3}),
        ?assertMatch(#{needed := 100, sent_back := 0}, learned(Context, <<"add">>)),
        ?assert(refused(Context, learning) >= 100),
        ok = py_context:stop(Context)
    after
        ok = py:unmark_inline(ct_inline, add)
    end.

auto_sends_back_what_is_long(Config) ->
    ok = py:mark_inline(ct_inline, busy, auto),
    try
        Context = trusting(Config, busy, [0], {ok, none}),
        {ok, none} = inlined(Context, fun() -> py:call(Context, ct_inline, busy, [0.002]) end),
        ?assertMatch(#{inline := false, needed := 1000, sent_back := 1}, learned(Context, <<"busy">>)),
        ok = py_context:stop(Context)
    after
        ok = py:unmark_inline(ct_inline, busy)
    end.

%% A context that has learned that the function is short, and has run it inline once.
trusting(Config, Function, Args, Result) ->
    trusting(Config, Function, Args, Result, 10).

trusting(Config, Function, Args, Result, Times) ->
    Context = py_suite:new_context(Config),
    ok = prepared(Context),
    ?assertEqual(Result, inlined(Context, fun() -> py:call(Context, ct_inline, Function, Args) end)),
    case learned(Context, atom_to_binary(Function)) of
        #{inline := true} ->
            Context;
        %% The machine had something else to do during the call. Another context has not seen that.
        #{inline := false, sent_back := 1} = Learned ->
            ok = py_context:stop(Context),
            ?assert(Times > 1, Learned),
            trusting(Config, Function, Args, Result, Times - 1)
    end.

learned(Context, Function) ->
    #{learned := #{{<<"ct_inline">>, Function} := Learned}} = figures(Context),
    Learned.

auto_is_for_marked_functions(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Before = calls(Context),
    [{ok, 3} = py:call(Context, ct_inline, add, [1, 2], #{dispatch => auto}) || _ <- lists:seq(1, 300)],
    ?assertEqual(Before, calls(Context)),
    ?assertEqual(#{}, maps:get(learned, figures(Context))).

%% ------------------------------------------------------------------------------------------------
%% Where it is not to be had

policies_and_limits_go_by_the_mailbox(_Config) ->
    lists:foreach(
        fun(Options) ->
            {ok, Context} = py_context:new(Options#{mode => owngil}),
            ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16], ?INLINE)),
            ?assertMatch({ok, #{inline := undefined}}, py:info(Context)),
            ok = py_context:stop(Context)
        end,
        [#{sandbox => strict}, #{sandbox => #{threads => false}}, #{memory_limit => 64 bsl 20}]
    ).

remote_context_goes_by_the_mailbox(_Config) ->
    py_suite:with_connected_node(fun(Node) ->
        {ok, _} = erpc:call(Node, application, ensure_all_started, [erlang_python]),
        {ok, Context} = erpc:call(Node, py_context, new, [#{}]),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16], ?INLINE)),
        ?assertEqual({ok, 3}, py:eval(Context, <<"1 + 2">>, #{}, ?INLINE))
    end).

mode_worker_goes_by_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    [?assertEqual({ok, 3}, py:call(Context, ct_inline, add, [1, 2], ?INLINE)) || _ <- [1, 2]],
    ?assertMatch({ok, #{inline := undefined}}, py:info(Context)).

bad_options_are_refused(Config) ->
    Context = ?config(ctx, Config),
    Refused = fun(Fun) ->
        try
            Fun(),
            ct:fail(accepted)
        catch
            error:badarg:Stack ->
                #{text := Text} = explained(Stack),
                Text
        end
    end,
    Call = fun(Options) -> fun() -> py:call(Context, math, sqrt, [16], Options) end end,
    py_suite:contains(Refused(Call(#{dispatch => soon})), "mailbox, inline or auto"),
    py_suite:contains(Refused(Call(#{dispatched => inline})), "dispatch"),
    py_suite:contains(Refused(Call(inline)), "map of options"),
    py_suite:contains(Refused(fun() -> py:eval(Context, <<"1">>, #{}, #{kwargs => #{}}) end), "unknown option kwargs"),
    %% Only functions are marked.
    py_suite:contains(
        Refused(fun() -> py:eval(Context, <<"1">>, #{}, #{dispatch => auto}) end), "is auto, not mailbox or inline"
    ),
    py_suite:contains(Refused(fun() -> py:mark_inline(1, f) end), "module"),
    py_suite:contains(Refused(fun() -> py:mark_inline(m, f, mailbox) end), "inline or auto"),
    py_suite:contains(Refused(fun() -> py:allow_inline(maybe_later) end), "true or false"),
    [
        ?assertEqual(
            {error, {bad_option, dispatch, Wrong}}, py_context_router:start_pool(swift, 1, #{dispatch => Wrong})
        )
     || Wrong <- [soon, auto]
    ].

explained([{Module, Function, Args, Info} | Stack]) ->
    #{module := Explains} = proplists:get_value(error_info, Info),
    Texts = Explains:format_error(badarg, [{Module, Function, Args, Info} | Stack]),
    #{text => unicode:characters_to_list(lists:join(" ", maps:values(Texts)))}.

settings_are_checked(_Config) ->
    ok = py_suite:stop(),
    [
        ?assertMatch({error, _}, py_suite:silently(fun() -> py_suite:start(Setting) end))
     || Setting <- [#{dispatch => soon}, #{inline_dispatch => 1}, #{inline_limit => 0}]
    ],
    ok = py_suite:start(#{context_mode => worker, inline_dispatch => false}),
    ok = py_suite:stop(),
    ok = py_suite:start(#{context_mode => worker}).
