%% Functions over lists, on all contexts of a pool.
-module(map_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_gates, [closed_gate/2, open_gate/2]).

-define(POOL, mapped).
-define(CONTEXTS, 3).
-define(DEADLINE, 30_000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        results_come_in_the_order_of_the_items,
        every_form_works,
        errors_are_those_of_items,
        keyword_arguments_are_those_of_each_call,
        wrong_arguments_are_explained,
        every_context_gets_four_chunks,
        all_contexts_take_part,
        context_that_is_done_takes_the_next_chunk,
        no_context_has_more_chunks_than_it_may,
        full_queues_are_waited_for,
        queues_that_stay_full_refuse,
        pool_that_is_not_there_refuses,
        time_out_keeps_what_was_done,
        time_out_before_anything_ran,
        death_of_the_caller_ends_all,
        death_of_a_context_loses_its_chunks_only,
        replacement_of_a_dead_context_takes_what_is_left,
        nothing_runs_twice_whatever_dies,
        end_of_the_pool_is_told,
        items_call_processes_of_their_own,
        function_that_an_item_calls_may_map,
        function_that_python_calls_maps_past_dead_contexts,
        function_that_python_calls_maps_with_replacements,
        last_error_tells_of_an_item,
        telemetry_tells_of_a_map_once,
        telemetry_tells_of_chunks_that_are_refused,
        mailbox_is_left_alone,
        many_processes_map_at_once,
        protocol_holds
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 32}).

init_per_testcase(_Case, Config) ->
    ok = start_pool(Config, ?CONTEXTS, #{}),
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    _ = py_context_router:stop_pool(?POOL),
    ok = py:unregister_function(item),
    py_suite:close(?config(socket, Config)),
    py_suite:all_is_well(Config).

%% Contexts that find `ct_batches', and so do those that take their places.
start_pool(Config, Size, Options) ->
    Folder = unicode:characters_to_binary(filename:join(py_suite:checkout(), "test/support/python")),
    Preload = <<"import sys\nsys.dont_write_bytecode = True\nsys.path.append(r'''", Folder/binary, "''')">>,
    py_context_router:start_pool(?POOL, Size, Options#{mode => ?config(mode, Config), preload => Preload}).

restart_pool(Config, Size, Options) ->
    ok = py_context_router:stop_pool(?POOL),
    start_pool(Config, Size, Options).

%% No case's time limit includes their start.
all_started() ->
    [{ok, -1}] = py:map(?POOL, operator, neg, [1]),
    ok.

%% Items that wait until the test lets each go on: `{begun, Item, Process}'.
gated() ->
    Test = self(),
    py:register_function(item, fun([Item]) -> held(Test, Item) end).

held(Test, Item) ->
    Test ! {begun, Item, self()},
    receive
        {go_on, Value} -> Value
    end.

begun() ->
    receive
        {begun, Item, Process} -> {Item, Process}
    after ?DEADLINE -> ct:fail(no_item_has_begun)
    end.

begun(Item) ->
    receive
        {begun, Item, Process} -> Process
    after ?DEADLINE -> ct:fail({has_not_begun, Item})
    end.

go_on({Item, Process}) ->
    Process ! {go_on, Item}.

%% In a process of its own.
mapping(Items, Options) ->
    py_suite:spawn_caller(fun() -> py:map(?POOL, ct_batches, told, Items, Options) end).

result(Caller) ->
    {result, Results} = py_suite:await_down(Caller, ?DEADLINE),
    Results.

%%% Results

results_come_in_the_order_of_the_items(_Config) ->
    ?assertEqual([], py:map(?POOL, math, sqrt, [])),
    Numbers = lists:seq(1, 20_000),
    Expected = [{ok, -N} || N <- Numbers],
    ?assertEqual(Expected, py:map(?POOL, operator, neg, Numbers)),
    [
        ?assertEqual({Options, Expected}, {Options, py:map(?POOL, operator, neg, Numbers, Options)})
     || Options <- [#{chunk_size => 7}, #{chunk_size => 100_000}, #{chunk_size => 50, max_in_flight => 1}, #{max_in_flight => 100}]
    ],
    Few = lists:seq(1, 50),
    ?assertEqual([{ok, -N} || N <- Few], py:map(?POOL, operator, neg, Few, #{chunk_size => 1})).

every_form_works(_Config) ->
    Roots = [{ok, 2.0}, {ok, 3.0}],
    ?assertEqual(Roots, py:map(math, sqrt, [4, 9])),
    ?assertEqual(Roots, py:map("math", <<"sqrt">>, [4, 9])),
    ?assertEqual(Roots, py:map("math", "sqrt", [4, 9], #{chunk_size => 1})),
    ?assertEqual(Roots, py:map(?POOL, math, sqrt, [4, 9])),
    ?assertEqual(Roots, py:map(?POOL, "math", "sqrt", [4, 9], #{timeout => infinity})),
    ok = py:register_pool(no_such_pool, math),
    ?assertEqual({error, {no_pool, no_such_pool}}, py:map(math, sqrt, [4, 9])),
    ok = py:unregister_pool(math).

errors_are_those_of_items(_Config) ->
    ?assertMatch(
        [{ok, 2.0}, {error, {'ValueError', _}}, {error, {'TypeError', _}}, {ok, 3.0}],
        py:map(?POOL, math, sqrt, [4, -1, x, 9], #{chunk_size => 2})
    ),
    ?assertMatch(
        [{error, {'AttributeError', _}}, {error, {'AttributeError', _}}], py:map(?POOL, math, no_such_function, [1, 2])
    ).

keyword_arguments_are_those_of_each_call(_Config) ->
    ?assertEqual(
        [{ok, [2, 1]}, {ok, [4, 3]}, {ok, []}],
        py:map(?POOL, builtins, sorted, [[1, 2], [3, 4], []], #{kwargs => #{reverse => true}, chunk_size => 1})
    ).

wrong_arguments_are_explained(_Config) ->
    Wrong = [
        {4, fun() -> py:map(?POOL, math, sqrt, nothing) end, "not a list"},
        {4, fun() -> py:map(?POOL, math, sqrt, [1 | 2]) end, "not a proper list"},
        {5, fun() -> py:map(?POOL, math, sqrt, [1], #{chunk_size => 0}) end, "option chunk_size is 0"},
        {5, fun() -> py:map(?POOL, math, sqrt, [1], #{max_in_flight => none}) end, "option max_in_flight is none"},
        {5, fun() -> py:map(?POOL, math, sqrt, [1], #{tiemout => 1}) end, "unknown option tiemout"},
        {4, fun() -> py:map(math, sqrt, [1], #{timeout => -1}) end, "option timeout is -1"},
        {1, fun() -> py:map("pool", math, sqrt, [1]) end, "not a pool's name"}
    ],
    [?assertMatch({Part, {Place, [_ | _]}}, {Part, batch_SUITE:explained(Fun, Part)}) || {Place, Fun, Part} <- Wrong].

%%% Contexts

every_context_gets_four_chunks(Config) ->
    ok = restart_pool(Config, 1, #{}),
    [{ok, -1}] = py:map(?POOL, operator, neg, [1]),
    [Context] = py_context_router:contexts(?POOL),
    Requests = fun() -> maps:get(requests, element(2, py:info(Context))) end,
    Chunks = fun(Items) ->
        Before = Requests(),
        _ = py:map(?POOL, operator, neg, lists:seq(1, Items)),
        Requests() - Before
    end,
    ?assertEqual(
        [{0, 0}, {1, 1}, {4, 4}, {5, 3}, {7, 4}, {8, 4}, {4_000, 4}, {4_001, 5}],
        [{Items, Chunks(Items)} || Items <- [0, 1, 4, 5, 7, 8, 4_000, 4_001]]
    ).

all_contexts_take_part(_Config) ->
    %% They would wait for ever in fewer contexts.
    ok = gated(),
    Caller = mapping([1, 2, 3], #{chunk_size => 1, max_in_flight => 1}),
    Begun = [begun() || _ <- [1, 2, 3]],
    [go_on(One) || One <- Begun],
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], result(Caller)).

context_that_is_done_takes_the_next_chunk(_Config) ->
    ok = gated(),
    Items = lists:seq(1, 20),
    Caller = mapping(Items, #{chunk_size => 1, max_in_flight => 1}),
    %% The first one is held up until all others were done.
    First = begun(1),
    [go_on(begun()) || _ <- tl(Items)],
    First ! {go_on, 1},
    ?assertEqual([{ok, N} || N <- Items], result(Caller)).

no_context_has_more_chunks_than_it_may(Config) ->
    ok = restart_pool(Config, 1, #{}),
    ok = gated(),
    Caller = mapping(lists:seq(1, 20), #{chunk_size => 2, max_in_flight => 3}),
    First = begun(),
    [Context] = py_context_router:contexts(?POOL),
    ok = queued(2, Context),
    go_on(First),
    [
        begin
            One = begun(),
            ?assert(queue(Context) =< 2),
            go_on(One)
        end
     || _ <- lists:seq(2, 20)
    ],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], result(Caller)).

full_queues_are_waited_for(Config) ->
    ok = restart_pool(Config, 2, #{max_queue => 1}),
    Numbers = lists:seq(1, 200),
    ?assertEqual(
        [{ok, -N} || N <- Numbers], py:map(?POOL, operator, neg, Numbers, #{chunk_size => 1, max_in_flight => 50})
    ).

queues_that_stay_full_refuse(Config) ->
    ok = restart_pool(Config, 1, #{max_queue => 1}),
    {ok, _} = py:call(?POOL, math, sqrt, [4]),
    [Context] = py_context_router:contexts(?POOL),
    ok = py_suite:install(Context),
    Gate = closed_gate(Config, Context),
    Queued = py:spawn_call(Context, math, sqrt, [4]),
    Refused = {error, {overloaded, 1, 1}},
    ?assertEqual([Refused, Refused, Refused], py:map(?POOL, operator, neg, [1, 2, 3], #{chunk_size => 2})),
    ok = open_gate(Config, Gate),
    ?assertEqual({ok, 2.0}, py:await(Queued)),
    ?assertEqual([{ok, -1}], py:map(?POOL, operator, neg, [1])).

pool_that_is_not_there_refuses(_Config) ->
    ?assertEqual({error, {no_pool, nowhere}}, py:map(nowhere, math, sqrt, [4, 9])),
    ?assertEqual({error, {no_pool, nowhere}}, py:map(nowhere, math, sqrt, [])).

%%% Ends

time_out_keeps_what_was_done(_Config) ->
    ok = all_started(),
    ok = gated(),
    Caller = mapping([1, 2, 3, 4], #{chunk_size => 2, max_in_flight => 1, timeout => 2_000}),
    First = begun(1),
    First ! {go_on, 1},
    _Second = begun(2),
    _Third = begun(3),
    Timeout = {error, timeout},
    ?assertEqual([{ok, 1}, Timeout, Timeout, Timeout], result(Caller)),
    %% Their contexts are free again, or will be as soon as the functions have ended.
    ?assertEqual([{ok, -1}], py:map(?POOL, operator, neg, [1])).

time_out_before_anything_ran(_Config) ->
    Timeout = {error, timeout},
    ?assertEqual([Timeout, Timeout], py:map(?POOL, ct_batches, told, [1, 2], #{timeout => 0})),
    ?assertEqual([{ok, -1}], py:map(?POOL, operator, neg, [1])).

death_of_the_caller_ends_all(_Config) ->
    ok = gated(),
    {Pid, _} = Caller = mapping(lists:seq(1, 10), #{chunk_size => 1, max_in_flight => 2}),
    Begun = [begun() || _ <- lists:seq(1, ?CONTEXTS)],
    true = exit(Pid, kill),
    ?assertEqual({died, killed}, py_suite:await_down(Caller, ?DEADLINE)),
    ?assertEqual([{ok, -N} || N <- [1, 2, 3, 4]], py:map(?POOL, operator, neg, [1, 2, 3, 4], #{chunk_size => 1})),
    [go_on(One) || One <- Begun],
    %% What was queued never begins.
    ?assertEqual([], [Message || {begun, _, _} = Message <- py_suite:flush()]).

death_of_a_context_loses_its_chunks_only(Config) ->
    ok = restart_pool(Config, 1, #{}),
    ok = gated(),
    Caller = mapping(lists:seq(1, 6), #{chunk_size => 3, max_in_flight => 1}),
    go_on({1, begun(1)}),
    _Second = begun(2),
    [Context] = py_context_router:contexts(?POOL),
    true = exit(Context, kill),
    %% The next chunk is for whoever takes its place.
    [go_on({N, begun(N)}) || N <- [4, 5, 6]],
    Died = {error, {context_died, killed}},
    ?assertEqual([{ok, 1}, Died, Died, {ok, 4}, {ok, 5}, {ok, 6}], result(Caller)).

%% The answers of two chunks that were lost lie on both sides of the arrival of the new context.
replacement_of_a_dead_context_takes_what_is_left(Config) ->
    ok = restart_pool(Config, 1, #{}),
    ok = all_started(),
    ok = gated(),
    [Context] = py_context_router:contexts(?POOL),
    {Pid, _} = Caller = mapping(lists:seq(1, 8), #{chunk_size => 1, max_in_flight => 2}),
    First = begun(1),
    ok = queued(1, Context),
    true = erlang:suspend_process(Pid),
    ok = py_suite:killed(Context),
    First ! {go_on, 1},
    ok = py_leaks:eventually(fun() ->
        process_info(Pid, message_queue_len) =:= {message_queue_len, 2} andalso
            py_context_router:contexts(?POOL) -- [Context] =/= []
    end),
    [New] = py_context_router:contexts(?POOL),
    true = erlang:resume_process(Pid),
    Third = begun(3),
    ok = queued(1, New),
    go_on({3, Third}),
    [
        begin
            One = begun(N),
            ?assert(queue(New) =< 1),
            go_on({N, One})
        end
     || N <- lists:seq(4, 8)
    ],
    Died = {error, {context_died, killed}},
    ?assertEqual([Died, Died | [{ok, N} || N <- lists:seq(3, 8)]], result(Caller)).

queue(Context) ->
    {ok, #{queue := Queue}} = py:info(Context),
    Queue.

queued(Count, Context) ->
    py_leaks:eventually(fun() -> queue(Context) =:= Count end).

nothing_runs_twice_whatever_dies(_Config) ->
    Table = ets:new(ran, [public]),
    Test = self(),
    Held = [200, 600],
    ok = py:register_function(item, fun([Item]) ->
        Count = ets:update_counter(Table, Item, 1, {Item, 0}),
        _ = lists:member(Item, Held) andalso held(Test, Item),
        Count
    end),
    Items = lists:seq(1, 1_000),
    Caller = mapping(Items, #{chunk_size => 5, max_in_flight => 3}),
    %% Each time one of them runs an item that cannot end before.
    [
        begin
            Process = begun(Item),
            [ok = py_suite:killed(Context) || Context <- py_context_router:contexts(?POOL)],
            go_on({Item, Process})
        end
     || Item <- Held
    ],
    Results = result(Caller),
    ?assertEqual(1_000, length(Results)),
    [?assertEqual({error, {context_died, killed}}, lists:nth(Item, Results)) || Item <- Held],
    Counts = maps:from_list(ets:tab2list(Table)),
    ?assertEqual([], [Item || {Item, Count} <- maps:to_list(Counts), Count =/= 1]),
    Wrong = [
        {Item, Result}
     || {Item, Result} <- lists:zip(Items, Results),
        case Result of
            {ok, 1} -> not is_map_key(Item, Counts);
            {error, {context_died, _}} -> false;
            _ -> true
        end
    ],
    ?assertEqual([], Wrong).

end_of_the_pool_is_told(_Config) ->
    ok = gated(),
    Caller = mapping(lists:seq(1, 20), #{chunk_size => 1, max_in_flight => 1}),
    _ = [begun() || _ <- lists:seq(1, ?CONTEXTS)],
    ok = py_context_router:stop_pool(?POOL),
    Results = result(Caller),
    ?assertEqual(20, length(Results)),
    Unknown = [
        Result
     || Result <- Results,
        case Result of
            {error, {context_died, _}} -> false;
            {error, {no_pool, ?POOL}} -> false;
            {error, not_running} -> false;
            _ -> true
        end
    ],
    ?assertEqual([], Unknown).

%%% Calls back

items_call_processes_of_their_own(_Config) ->
    Test = self(),
    ok = py:register_function(item, fun([Item]) -> {Item, self() =:= Test} end),
    ?assertEqual([{ok, {1, false}}, {ok, {2, false}}], py:map(?POOL, ct_batches, told, [1, 2])).

function_that_an_item_calls_may_map(_Config) ->
    Inner = fun([N]) -> lists:sum([Value || {ok, Value} <- py:map(?POOL, operator, neg, lists:seq(1, N), #{chunk_size => 1})]) end,
    ok = py:register_function(item, Inner),
    ?assertEqual(
        [{ok, -N * (N + 1) div 2} || N <- lists:seq(1, 9)],
        py:map(?POOL, ct_batches, told, lists:seq(1, 9), #{chunk_size => 1})
    ).

%% The pool does not know of their deaths yet.
function_that_python_calls_maps_past_dead_contexts(_Config) ->
    ok = all_started(),
    Numbers = lists:seq(1, 9),
    Test = self(),
    ok = py:register_function(item, fun([_]) ->
        Test ! {mapped, py:map(?POOL, operator, neg, Numbers, #{chunk_size => 1})},
        none
    end),
    Own = py_context_router:get_context(?POOL),
    {ok, Server, ?CONTEXTS} = py_pool_table:size(?POOL),
    ok = sys:suspend(Server),
    try
        [ok = py_suite:killed(Context) || Context <- py_context_router:contexts(?POOL), Context =/= Own],
        ?assertEqual({ok, none}, py:call(?POOL, ct_batches, told, [1])),
        ?assertEqual([{mapped, [{ok, -N} || N <- Numbers]}], py_suite:flush())
    after
        ok = sys:resume(Server)
    end.

function_that_python_calls_maps_with_replacements(Config) ->
    ok = restart_pool(Config, 1, #{}),
    ok = all_started(),
    ok = gated(),
    Test = self(),
    ok = py:register_function(outer, fun([]) ->
        Test ! {mapped, py:map(?POOL, ct_batches, told, [1, 2, 3], #{chunk_size => 1})},
        none
    end),
    Caller = py_suite:spawn_caller(fun() -> py:call(?config(ctx, Config), erlang, call, [outer]) end),
    First = begun(1),
    [ok = py_suite:killed(Context) || Context <- py_context_router:contexts(?POOL)],
    go_on({1, First}),
    [go_on({N, begun(N)}) || N <- [2, 3]],
    ?assertEqual({ok, none}, result(Caller)),
    ?assertEqual([{mapped, [{error, {context_died, killed}}, {ok, 2}, {ok, 3}]}], py_suite:flush()),
    ok = py:unregister_function(outer).

last_error_tells_of_an_item(_Config) ->
    _ = py:map(?POOL, math, sqrt, [4, -1], #{chunk_size => 1}),
    ?assertMatch(#{type := 'ValueError'}, py:last_error()).

telemetry_tells_of_a_map_once(_Config) ->
    Numbers = lists:seq(1, 20),
    Map = fun() -> py:map(?POOL, operator, neg, Numbers, #{chunk_size => 1}) end,
    ok = py:register_function(item, fun([_]) -> Map() end),
    Call = #{request => map, module => operator, function => neg, items => 20, pool => ?POOL},
    Expected = [{start, Call}, {stop, Call}],
    ?assertEqual(Expected, events(Map)),
    InFunction = events(fun() -> py:call(?POOL, ct_batches, told, [1]) end),
    ?assertEqual(Expected, [Event || {_, #{request := map}} = Event <- InFunction]),
    Nowhere = Call#{pool := nowhere},
    ?assertEqual(
        [{start, Nowhere}, {exception, Nowhere#{kind => error, reason => {no_pool, nowhere}, stacktrace => []}}],
        events(fun() -> py:map(nowhere, operator, neg, Numbers) end)
    ).

telemetry_tells_of_chunks_that_are_refused(Config) ->
    ok = restart_pool(Config, 1, #{max_queue => 1}),
    ok = all_started(),
    [Context] = py_context_router:contexts(?POOL),
    ok = py_suite:install(Context),
    Gate = closed_gate(Config, Context),
    Queued = py:spawn_call(Context, math, sqrt, [4]),
    Events = events(fun() -> py:map(?POOL, operator, neg, [1, 2, 3], #{chunk_size => 2}) end),
    ok = open_gate(Config, Gate),
    ?assertEqual({ok, 2.0}, py:await(Queued)),
    ?assertMatch([{start, #{request := map}}, {refused, _}, {refused, _}, {stop, #{request := map}}], Events).

%% Those of calls that this process makes in a function, in their order.
events(Fun) ->
    Test = self(),
    Handler = fun([_, _, Name], _Measurements, Metadata) ->
        Test ! {event, Name, maps:remove(telemetry_span_context, Metadata)}
    end,
    Events = [[erlang_python, call, Name] || Name <- [start, stop, exception, refused]],
    ok = py_telemetry:attach(?MODULE, Events, Handler),
    try
        _ = Fun(),
        told()
    after
        ok = py_telemetry:detach(?MODULE)
    end.

told() ->
    receive
        {event, Name, Metadata} -> [{Name, Metadata} | told()]
    after 0 -> []
    end.

mailbox_is_left_alone(_Config) ->
    Before = [self() ! {N, any} || N <- lists:seq(1, 100)],
    _ = py:map(?POOL, math, sqrt, lists:seq(1, 100), #{chunk_size => 3}),
    _ = py:map(?POOL, time, sleep, [0, 1000], #{chunk_size => 1, timeout => 50}),
    ?assertEqual(Before, py_suite:flush()).

many_processes_map_at_once(_Config) ->
    Results = py_suite:concurrently(10, fun(Caller) ->
        Numbers = lists:seq(Caller, Caller + 300),
        {[{ok, -N} || N <- Numbers], py:map(?POOL, operator, neg, Numbers, #{chunk_size => 10})}
    end),
    [?assertEqual(Expected, Got) || {Expected, Got} <- Results].

protocol_holds(_Config) ->
    prop_batches:check_map(prop_map, ?POOL).
