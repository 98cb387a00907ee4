%% Batches: one function with one list of arguments after another, as one request.
-module(batch_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_gates, [closed_gate/1, closed_gate/2, open_gate/2]).

%% Items that take 200 microseconds each until somebody stops them.
-define(MANY, 400_000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        results_come_in_the_order_of_the_items,
        every_form_works,
        keyword_arguments_are_those_of_each_call,
        code_of_the_namespace_is_called,
        objects_are_results,
        wrong_arguments_are_explained_and_nothing_runs,
        missing_function_is_the_error_of_each_item,
        last_error_tells_of_the_first_item_that_failed,
        what_is_no_value_is_the_error_of_its_item,
        batch_is_refused_as_a_call_is,
        results_are_bounded_together,
        batch_is_one_request_with_one_answer,
        items_call_the_process_that_waits,
        function_that_an_item_calls_may_make_a_batch,
        time_out_keeps_what_was_done,
        time_out_during_a_function_keeps_what_was_done,
        answer_that_came_before_the_time_was_over_is_kept,
        time_out_of_a_queued_batch_runs_nothing,
        interrupt_ends_the_rest,
        interrupt_ends_code_that_is_no_bytecode,
        death_of_the_caller_ends_the_rest,
        death_of_the_context_keeps_what_was_done,
        death_of_the_context_is_told_of_a_queued_batch,
        dead_context_is_told_of_each_item,
        others_have_their_turn_between_items,
        others_have_their_turn_between_items_that_wait,
        the_loop_has_its_turn_between_items,
        threads_have_their_turn_between_items,
        time_out_between_two_turns_keeps_what_was_done,
        death_of_the_context_between_two_turns_is_told,
        batches_of_many_processes_do_not_mix,
        information_says_what_runs,
        telemetry_tells_of_a_batch,
        protocol_holds
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun prepared/1).

prepared(Context) ->
    ok = py_suite:install(Context),
    py_suite:python_path(Context).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    {ok, none} = py:call(?config(ctx, Config), ct_batches, reset, []),
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    py_suite:all_is_well(Config).

ctx(Config) ->
    ?config(ctx, Config).

ran(Config) ->
    {ok, Ran} = py:call(ctx(Config), ct_batches, what_ran, []),
    Ran.

%% A context of the case's own, which it may kill.
own(Config) ->
    Context = py_suite:new_context(Config),
    ok = prepared(Context),
    Context.

%%% Results

results_come_in_the_order_of_the_items(Config) ->
    Context = ctx(Config),
    ?assertEqual([], py:call_many(Context, math, sqrt, [])),
    ?assertEqual([{ok, 4.0}], py:call_many(Context, math, sqrt, [[16]])),
    ?assertMatch(
        [{ok, 2.0}, {error, {'ValueError', _}}, {error, {'TypeError', _}}, {error, {'TypeError', _}}, {ok, 3.0}],
        py:call_many(Context, math, sqrt, [[4], [-1], [x], [], [9]])
    ),
    Numbers = lists:seq(1, 100_000),
    ?assertEqual([{ok, -N} || N <- Numbers], py:call_many(Context, operator, neg, [[N] || N <- Numbers])),
    Several = [lists:seq(1, N) || N <- lists:seq(1, 20)],
    ?assertEqual([{ok, lists:max(Args)} || Args <- Several], py:call_many(Context, builtins, max, [[1, 1 | A] || A <- Several])).

every_form_works(Config) ->
    Context = ctx(Config),
    Items = [[4], [9]],
    Roots = [{ok, 2.0}, {ok, 3.0}],
    ?assertEqual(Roots, py:call_many(math, sqrt, Items)),
    ?assertEqual(Roots, py:call_many(<<"math">>, "sqrt", Items)),
    ?assertEqual(Roots, py:call_many("math", "sqrt", Items, #{timeout => 30_000})),
    ?assertEqual(Roots, py:call_many(math, sqrt, Items, #{timeout => infinity})),
    ?assertEqual(Roots, py:call_many(default, math, sqrt, Items)),
    ?assertEqual(Roots, py:call_many(default, "math", "sqrt", Items, #{})),
    ?assertEqual(Roots, py:call_many(Context, "math", "sqrt", Items)),
    ?assertEqual(Roots, py:call_many(Context, math, sqrt, Items, #{kwargs => #{}, timeout => 30_000})),
    %% Where calls go.
    ok = py:register_pool(no_such_pool, {math, sqrt}),
    ?assertEqual({error, {no_pool, no_such_pool}}, py:call_many(math, sqrt, Items)),
    ok = py:unregister_pool({math, sqrt}),
    ?assertEqual(Roots, py:call_many(math, sqrt, Items)).

keyword_arguments_are_those_of_each_call(Config) ->
    Options = #{kwargs => #{reverse => true, <<"key">> => none}},
    ?assertEqual(
        [{ok, [3, 2, 1]}, {ok, []}, {ok, [5, 4]}],
        py:call_many(ctx(Config), builtins, sorted, [[[1, 2, 3]], [[]], [[4, 5]]], Options)
    ),
    %% Each call has values of its own.
    ok = py:exec(ctx(Config), "def add(item, into):\n    into.append(item)\n    return into"),
    ?assertEqual(
        [{ok, [0, 1]}, {ok, [0, 2]}],
        py:call_many(ctx(Config), '__main__', add, [[1], [2]], #{kwargs => #{into => [0]}})
    ),
    ?assertMatch(
        [{error, {'TypeError', _}}],
        py:call_many(ctx(Config), builtins, sorted, [[[1]]], #{kwargs => #{reverse => true, <<"reverse">> => true}})
    ).

code_of_the_namespace_is_called(Config) ->
    ok = py:exec(ctx(Config), "def own(n): return n + offset\noffset = 10"),
    ?assertEqual([{ok, 11}, {ok, 12}], py:call_many(ctx(Config), '__main__', own, [[1], [2]])),
    Other = py_suite:fresh(fun() -> py:call_many(ctx(Config), '__main__', own, [[1]]) end),
    ?assertMatch([{error, {'AttributeError', _}}], Other).

objects_are_results(Config) ->
    [{ok, One}, {ok, Two}] = py:call_many(ctx(Config), ct_batches, 'Opaque', [[1], [two]]),
    ?assertEqual([{ok, 1}, {ok, <<"two">>}], [py:call_method(Object, get, []) || Object <- [One, Two]]),
    Large = binary:copy(<<"x">>, 100_000),
    ?assertEqual([{ok, Large}, {ok, Large}], py:call_many(ctx(Config), ct_batches, step, [[Large], [Large]])).

wrong_arguments_are_explained_and_nothing_runs(Config) ->
    Context = ctx(Config),
    Wrong = [
        {[[1], 2], "element 2 is not a list of arguments"},
        {[[1], [2 | 3]], "element 2 is not a list of arguments"},
        {[[1] | 2], "not a proper list"},
        {2, "not a list of lists of arguments"}
    ],
    [
        ?assertMatch({Items, {4, [_ | _]}}, {Items, explained(fun() -> py:call_many(Context, ct_batches, step, Items) end, Text)})
     || {Items, Text} <- Wrong
    ],
    Options = [
        {#{timeout => soon}, "option timeout is soon"},
        {#{kwargs => []}, "option kwargs is []"},
        {#{chunk_size => 1}, "unknown option chunk_size"},
        {[], "not a map of options"}
    ],
    [
        ?assertMatch(
            {Map, {5, [_ | _]}},
            {Map, explained(fun() -> py:call_many(Context, ct_batches, step, [[1]], Map) end, Text)}
        )
     || {Map, Text} <- Options
    ],
    ?assertEqual([], ran(Config)).

%% The position, and the text from there on where the part is.
explained(Fun, Part) ->
    try Fun() of
        Result -> {gives, Result}
    catch
        error:badarg:Stack ->
            Text = lists:flatten(erl_error:format_exception(error, badarg, Stack, #{column => 1})),
            {match, [Position]} = re:run(Text, "argument ([0-9]+):", [{capture, all_but_first, list}]),
            {list_to_integer(Position), string:find(Text, Part)}
    end.

missing_function_is_the_error_of_each_item(Config) ->
    ?assertMatch(
        [{error, {'AttributeError', _}}, {error, {'AttributeError', _}}],
        py:call_many(ctx(Config), math, no_such_function, [[1], [2]])
    ),
    ?assertMatch(
        [{error, {'ModuleNotFoundError', _}}], py:call_many(ctx(Config), no_such_module, any, [[1]])
    ),
    ?assertEqual([], py:call_many(ctx(Config), no_such_module, any, [])).

last_error_tells_of_the_first_item_that_failed(Config) ->
    _ = py:call_many(ctx(Config), operator, truediv, [[1, 1], [1, 0], [x, 1]]),
    ?assertMatch(#{type := 'ZeroDivisionError'}, py:last_error()).

what_is_no_value_is_the_error_of_its_item(Config) ->
    ?assertMatch(
        [{ok, 2}, {error, {'TypeError', "an item of a batch cannot" ++ _}}, {ok, 4}],
        py:call_many(ctx(Config), ct_batches, schedule, [[2], [3], [4]])
    ),
    ?assertMatch(
        [{error, {'TypeError', "the result is a coroutine" ++ _}}], py:call_many(ctx(Config), ct_batches, coroutine, [[]])
    ).

batch_is_refused_as_a_call_is(Config) ->
    ?assertEqual({error, {no_pool, nowhere}}, py:call_many(nowhere, math, sqrt, [[1], [2]])),
    {ok, Context} = py_context:new(#{mode => ?config(mode, Config), max_queue => 1}),
    ok = prepared(Context),
    Gate = closed_gate(Config, Context),
    Queued = py:spawn_call(Context, math, sqrt, [4]),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call_many(Context, ct_batches, step, [[1], [2]])),
    ok = open_gate(Config, Gate),
    ?assertEqual({ok, 2.0}, py:await(Queued)),
    ?assertEqual([{ok, 1}, {ok, 2}], py:call_many(Context, ct_batches, step, [[1], [2]])),
    ok = py_context:stop(Context).

results_are_bounded_together(Config) ->
    {ok, Context} = py_context:new(#{mode => ?config(mode, Config), max_result_size => 1000}),
    Results = py:call_many(Context, operator, mul, [[<<"abcdefgh">>, 50] || _ <- lists:seq(1, 5)]),
    ?assertMatch(
        [{ok, _}, {ok, _}, {error, {result_too_large, _, 1000}}, {error, {result_too_large, _, 1000}}, {error, _}],
        Results
    ),
    ?assertMatch([{ok, _}, {ok, _}], py:call_many(Context, operator, mul, [[<<"abcdefgh">>, 50], [<<"a">>, 2]])),
    ok = py_context:stop(Context).

batch_is_one_request_with_one_answer(Config) ->
    Context = ctx(Config),
    {ok, #{requests := Before}} = py:info(Context),
    _ = py:call_many(Context, math, sqrt, [[N] || N <- lists:seq(1, 1000)]),
    {ok, #{requests := After}} = py:info(Context),
    ?assertEqual(Before + 1, After),
    ?assertEqual([], py_suite:flush()).

%%% Calls back

items_call_the_process_that_waits(Config) ->
    Self = self(),
    ok = py:register_function(add_here, fun([A, B]) -> Self = self(), A + B end),
    ?assertEqual(
        [{ok, N + 1} || N <- lists:seq(1, 50)],
        py:call_many(ctx(Config), erlang, call, [[add_here, N, 1] || N <- lists:seq(1, 50)])
    ),
    ?assertMatch(
        [{error, {error, {badmatch, _}}}], py_suite:fresh(fun() -> py:call_many(ctx(Config), erlang, call, [[add_here, 1, 1]]) end)
    ),
    ok = py:unregister_function(add_here).

function_that_an_item_calls_may_make_a_batch(Config) ->
    Context = ctx(Config),
    Sum = fun([N]) -> lists:sum([Value || {ok, Value} <- py:call_many(Context, operator, neg, [[I] || I <- lists:seq(1, N)])]) end,
    ok = py:register_function(sum_of_batch, Sum),
    ?assertEqual(
        [{ok, -1}, {ok, -3}, {ok, -6}], py:call_many(Context, erlang, call, [[sum_of_batch, N] || N <- [1, 2, 3]])
    ),
    ok = py:unregister_function(sum_of_batch).

%%% Ends

%% Of five items the third tells a process that it runs, and never ends by itself.
spinning(Context, Told, Options) ->
    py:call_many(Context, ct_batches, spin_at, [[N, 3, Told] || N <- lists:seq(1, 5)], Options).

%% The third item runs when this returns.
spinning_caller(Context) ->
    Test = self(),
    Caller = py_suite:spawn_caller(fun() -> spinning(Context, Test, #{}) end),
    receive
        <<"runs">> -> Caller
    after 30_000 -> ct:fail(nothing_runs)
    end.

%% What a batch gives whose time is over after one of its items has told its process that it runs. Where that was not
%% so, it is given more time. Each try has a process of its own, which takes with it what it is told too late.
timed_out(Batch) ->
    timed_out(Batch, 500).

timed_out(Batch, Timeout) ->
    Tried = py_suite:fresh(fun() ->
        Results = Batch(#{timeout => Timeout}),
        receive
            <<"runs">> -> {in_time, Results}
        after 0 -> too_soon
        end
    end),
    case Tried of
        {in_time, Results} -> Results;
        too_soon -> timed_out(Batch, 2 * Timeout)
    end.

time_out_keeps_what_was_done(Config) ->
    Context = ctx(Config),
    Results = timed_out(fun(Options) ->
        {ok, none} = py:call(Context, ct_batches, reset, []),
        spinning(Context, self(), Options)
    end),
    Late = {error, timeout},
    ?assertEqual([{ok, 1}, {ok, 2}, Late, Late, Late], Results),
    ?assertEqual([1, 2, 3], ran(Config)).

time_out_during_a_function_keeps_what_was_done(Config) ->
    %% The function runs in the process of the batch, and ends when the time of the batch is over.
    Late = fun
        ([3, Context]) ->
            self() ! <<"runs">>,
            py:call(Context, time, sleep, [1000]);
        ([N, _]) ->
            N
    end,
    ok = py:register_function(late, Late),
    Context = ctx(Config),
    Items = [[late, N, Context] || N <- lists:seq(1, 4)],
    Results = timed_out(fun(Options) -> py:call_many(Context, erlang, call, Items, Options) end),
    ?assertEqual([{ok, 1}, {ok, 2}, {error, timeout}, {error, timeout}], Results),
    ok = py:unregister_function(late).

%% The batch is answered while an item's function runs, which then outlasts the batch's time.
answer_that_came_before_the_time_was_over_is_kept(Config) ->
    Context = ctx(Config),
    Limit = 1000,
    Began = erlang:monotonic_time(millisecond),
    Outlasts = fun
        ([1]) ->
            1;
        ([2]) ->
            ok = py:interrupt(Context),
            ok = py_leaks:eventually(fun() -> is_idle(Context) end),
            until(Began + Limit + 1)
    end,
    ok = py:register_function(outlasts, Outlasts),
    Results = py:call_many(Context, erlang, call, [[outlasts, N] || N <- [1, 2, 3]], #{timeout => Limit}),
    ok = py:unregister_function(outlasts),
    ?assertEqual([{ok, 1}, {error, interrupted}, {error, interrupted}], Results).

is_idle(Context) ->
    {ok, #{running := Running}} = py:info(Context),
    Running =:= [].

until(Time) ->
    case erlang:monotonic_time(millisecond) of
        Now when Now < Time -> until(Time);
        _ -> ok
    end.

time_out_of_a_queued_batch_runs_nothing(Config) ->
    Gate = closed_gate(Config),
    ?assertEqual(
        [{error, timeout}, {error, timeout}], py:call_many(ctx(Config), ct_batches, step, [[1], [2]], #{timeout => 20})
    ),
    ok = open_gate(Config, Gate),
    ?assertEqual([], ran(Config)).

interrupt_ends_the_rest(Config) ->
    Caller = spinning_caller(ctx(Config)),
    ?assertEqual(ok, py:interrupt(ctx(Config))),
    Interrupted = {error, interrupted},
    ?assertEqual({result, [{ok, 1}, {ok, 2}, Interrupted, Interrupted, Interrupted]}, py_suite:await_down(Caller, 30_000)),
    ?assertEqual([1, 2, 3], ran(Config)).

interrupt_ends_code_that_is_no_bytecode(Config) ->
    Context = ctx(Config),
    Caller = py_suite:spawn_caller(fun() ->
        py:call_many(Context, math, factorial, [[2000] || _ <- lists:seq(1, 20_000)])
    end),
    ok = py_leaks:eventually(fun() -> py:interrupt(Context) =:= ok end),
    {result, Results} = py_suite:await_down(Caller, 50_000),
    Rest = lists:dropwhile(fun({Outcome, _}) -> Outcome =:= ok end, Results),
    ?assertEqual(20_000, length(Results)),
    ?assertMatch([{error, interrupted} | _], Rest),
    ?assertEqual([{error, interrupted}], lists:usort(Rest)).

death_of_the_caller_ends_the_rest(Config) ->
    {Pid, _} = Caller = spinning_caller(ctx(Config)),
    true = exit(Pid, kill),
    ?assertEqual({died, killed}, py_suite:await_down(Caller, 30_000)),
    ?assertEqual([1, 2, 3], ran(Config)).

death_of_the_context_keeps_what_was_done(Config) ->
    Context = own(Config),
    Caller = spinning_caller(Context),
    true = exit(Context, kill),
    Died = {error, {context_died, killed}},
    ?assertEqual({result, [{ok, 1}, {ok, 2}, Died, Died, Died]}, py_suite:await_down(Caller, 30_000)).

death_of_the_context_is_told_of_a_queued_batch(Config) ->
    Context = own(Config),
    First = spinning_caller(Context),
    Second = py_suite:spawn_caller(fun() -> py:call_many(Context, ct_batches, step, [[1], [2]]) end),
    ok = py_leaks:eventually(fun() -> maps:get(queue, element(2, py:info(Context))) > 0 end),
    true = exit(Context, kill),
    ?assertMatch({result, [{ok, 1} | _]}, py_suite:await_down(First, 30_000)),
    Died = {error, {context_died, killed}},
    ?assertEqual({result, [Died, Died]}, py_suite:await_down(Second, 30_000)).

dead_context_is_told_of_each_item(Config) ->
    Context = own(Config),
    ok = py_context:stop(Context),
    Died = {error, {context_died, noproc}},
    ?assertEqual([Died, Died], py:call_many(Context, math, sqrt, [[4], [9]])).

%%% Turns

%% A batch of many more items than there is time for, if nobody stopped them. The second one tells that it runs.
until_stopped(Context, Options) ->
    Told = {self(), make_ref()},
    Caller = py_suite:spawn_caller(fun() ->
        Items = [[1], [Told] | [[N] || N <- lists:seq(3, ?MANY)]],
        py:call_many(Context, ct_batches, until_stopped, Items, Options)
    end),
    {Caller, element(2, Told)}.

%% Whether its second item has begun, or else the batch has ended.
has_begun({{Pid, Monitor}, Tag}) ->
    receive
        Tag -> true;
        {'DOWN', Monitor, process, Pid, _} -> false
    after 30_000 -> ct:fail({hangs, Pid})
    end.

others_have_their_turn_between_items(Config) ->
    Context = ctx(Config),
    {Batch, _} = Begun = until_stopped(Context, #{}),
    true = has_begun(Begun),
    Others = py_suite:concurrently(10, fun(N) -> py:call(Context, math, sqrt, [N * N]) end),
    ?assertEqual([{ok, N * 1.0} || N <- lists:seq(1, 10)], Others),
    ?assertEqual({ok, none}, py:call(Context, ct_batches, stop, [])),
    {result, Results} = py_suite:await_down(Batch, 50_000),
    ?assertEqual({ok, true}, lists:last(Results)).

%% What comes while an item waits for Erlang is put off.
others_have_their_turn_between_items_that_wait(Config) ->
    Context = ctx(Config),
    Test = self(),
    Callback = fun([Item]) ->
        %% The other one is there before the first item goes on.
        Item =:= 1 andalso begin Test ! {waits, self()}, receive go_on -> ok end end,
        Item
    end,
    ok = py:register_function(item, Callback),
    Batch = py_suite:spawn_caller(fun() ->
        py:call_many(Context, ct_batches, told_until_stopped, [[N] || N <- lists:seq(1, 200_000)])
    end),
    Waiting = receive {waits, Pid} -> Pid after 30_000 -> ct:fail(nothing_waits) end,
    Other = py:spawn_call(Context, ct_batches, stop, []),
    ok = py_leaks:eventually(fun() -> maps:get(queue, element(2, py:info(Context))) > 0 end),
    Waiting ! go_on,
    ?assertEqual({ok, none}, py:await(Other)),
    {result, Results} = py_suite:await_down(Batch, 50_000),
    ?assertEqual({ok, true}, lists:last(Results)),
    ok = py:unregister_function(item).

the_loop_has_its_turn_between_items(Config) ->
    Context = own(Config),
    {ok, none} = py_context:submit_await(Context, ct_batches, reset_in_the_loop, []),
    {Batch, _} = Begun = until_stopped(Context, #{}),
    true = has_begun(Begun),
    ?assertEqual({ok, none}, py_context:submit_await(Context, ct_batches, stop_in_the_loop, [])),
    {result, Results} = py_suite:await_down(Batch, 50_000),
    ?assertEqual({ok, true}, lists:last(Results)),
    ok = py_context:stop(Context).

%% Functions in C alone would keep the GIL. The first item lets a thread go on, while many others are to come.
threads_have_their_turn_between_items(Config) ->
    Context = ctx(Config),
    Told = make_ref(),
    {ok, First} = py:call(Context, ct_batches, start_a_thread, [self(), Told]),
    %% Takes some hundred microseconds, and little memory.
    Slow = [3, 1 bsl 400, (1 bsl 401) - 1],
    Batch = py_suite:spawn_caller(fun() ->
        py:call_many(Context, builtins, pow, [[First, 1] | lists:duplicate(20_000, Slow)])
    end),
    receive
        Told -> ok
    after 30_000 -> ct:fail(no_turn)
    end,
    %% Nothing runs for the moment in which the context looks who else wants a turn.
    ?assertEqual(ok, py_leaks:eventually(fun() -> py:interrupt(Context) =:= ok end)),
    {result, Results} = py_suite:await_down(Batch, 50_000),
    ?assertEqual({ok, 1}, hd(Results)),
    ?assertEqual({error, interrupted}, lists:last(Results)),
    ?assertEqual({ok, none}, py:call(Context, ct_batches, join_the_thread, [])).

time_out_between_two_turns_keeps_what_was_done(Config) ->
    some_were_done({error, timeout}, timed_out_between_two_turns(Config, 500)).

%% The time of the batch is over while another request has its turn. Where it was over before, it is given more.
timed_out_between_two_turns(Config, Timeout) ->
    {{Pid, _} = Batch, _} = Begun = until_stopped(ctx(Config), #{timeout => Timeout}),
    Tried =
        case has_begun(Begun) of
            true ->
                Gate = closed_gate(Config),
                InTime = is_process_alive(Pid),
                {result, Results} = py_suite:await_down(Batch, 50_000),
                ok = open_gate(Config, Gate),
                {InTime, Results};
            false ->
                {false, []}
        end,
    case Tried of
        {true, Kept} -> Kept;
        {false, _} -> timed_out_between_two_turns(Config, 2 * Timeout)
    end.

death_of_the_context_between_two_turns_is_told(Config) ->
    Context = own(Config),
    {Batch, _} = Begun = until_stopped(Context, #{}),
    true = has_begun(Begun),
    {Gate, Port} = closed_gate(Config, Context),
    Killed = {error, {context_died, killed}},
    true = exit(Context, kill),
    {result, Results} = py_suite:await_down(Batch, 50_000),
    some_were_done(Killed, Results),
    ?assertEqual(Killed, py:await(Gate)),
    ok = py_suite:release(?config(socket, Config), Port).

some_were_done(Reason, Results) ->
    ?assertEqual(?MANY, length(Results)),
    {Done, Rest} = lists:splitwith(fun(Result) -> Result =:= {ok, false} end, Results),
    ?assertNotEqual([], Done),
    ?assertEqual([Reason], lists:usort(Rest)).

%%% Many

batches_of_many_processes_do_not_mix(Config) ->
    Context = ctx(Config),
    Results = py_suite:concurrently(20, fun(Caller) ->
        [py:call_many(Context, operator, add, [[Caller * 1000, N] || N <- lists:seq(1, 200)]) || _ <- lists:seq(1, 10)]
    end),
    Expected = [
        lists:duplicate(10, [{ok, Caller * 1000 + N} || N <- lists:seq(1, 200)])
     || Caller <- lists:seq(1, 20)
    ],
    ?assertEqual(Expected, Results).

information_says_what_runs(Config) ->
    Caller = spinning_caller(ctx(Config)),
    {ok, Info} = py:info(ctx(Config)),
    ?assertNotEqual(nomatch, string:find(io_lib:format("~0tp", [Info]), "{call_many,ct_batches,spin_at,5}")),
    ok = py:interrupt(ctx(Config)),
    ?assertMatch({result, _}, py_suite:await_down(Caller, 30_000)).

telemetry_tells_of_a_batch(Config) ->
    Self = self(),
    Handler = fun(_Event, _Measurements, Metadata) -> Self ! {called, Metadata} end,
    ok = py_telemetry:attach(?MODULE, [[erlang_python, call, stop]], Handler),
    _ = py:call_many(ctx(Config), math, sqrt, [[4], [9]]),
    receive
        {called, Metadata} ->
            ?assertMatch(#{request := call_many, module := math, function := sqrt, items := 2}, Metadata)
    after 0 -> ct:fail(nothing_was_told)
    end,
    ok = py_telemetry:detach(?MODULE).

protocol_holds(Config) ->
    prop_batches:check(prop_batches, ctx(Config)).
