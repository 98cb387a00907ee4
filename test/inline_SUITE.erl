%% Calls that run on the calling scheduler.
-module(inline_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_inlined, [prepared/1, figures/1, calls/1, refused/2, inlined/2, inlined/3, inlined/4, refusal/1]).

-define(INLINE, #{dispatch => inline}).
-define(DEADLINE, 30_000).

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
            callbacks_go_by_the_mailbox,
            traced_calls_go_by_the_mailbox,
            module_is_imported_by_the_mailbox,
            context_with_threads_leaves_for_good,
            recursion_is_an_error,
            recursion_in_small_stacks_is_an_error,
            contexts_come_and_go,
            no_freed_thread_state_is_touched,
            garbage_is_collected_at_home,
            collection_stays_as_it_was_set,
            many_callers_on_two_contexts,
            callers_beside_the_mailbox,
            schedulers_come_and_go,
            policies_and_limits_go_by_the_mailbox,
            remote_context_goes_by_the_mailbox
        ]},
        %% Where nothing can run inline, the same calls give the same.
        {elsewhere, [], [mode_worker_goes_by_the_mailbox]}
    ].

init_per_suite(Config) ->
    py_inlined:init_suite(Config).

end_per_suite(_Config) ->
    ok.

init_per_group(owngil, Config) ->
    py_inlined:init_group(Config);
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
%% Stacks and thread states

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
