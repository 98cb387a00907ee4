%% What Erlang asks about Python's memory.
-module(memory_stats_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    [
        {owngil, [], common() ++ [memory_is_not_traced_in_an_interpreter_of_its_own]},
        {worker, [], common() ++ [
            memory_is_traced,
            memory_is_not_traced_beside_interpreters_of_their_own,
            interpreters_of_their_own_do_not_start_while_memory_is_traced,
            tracing_that_fails_to_start_keeps_nobody_out
        ]}
    ].

common() ->
    [collector_tells_what_it_did, every_context_is_told_of, garbage_is_collected, garbage_of_all_contexts_is_collected, generations_are_collected_one_by_one].

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% Threads of Python's own may go on in an interpreter that was set aside, by whatever suite ran before.
init_per_testcase(Case, Config) ->
    Traces = lists:member(Case, [memory_is_traced, interpreters_of_their_own_do_not_start_while_memory_is_traced]),
    case py_nif:counters() of
        {_, _, _, SetAside} when SetAside > 0, Traces ->
            check_refused(),
            {skip, "an interpreter with threads of its own was set aside in this node"};
        _ ->
            Config
    end.

end_per_testcase(_Case, _Config) ->
    ok = py:tracemalloc_stop().

check_refused() ->
    Text = py_suite:error_text('RuntimeError', py:tracemalloc_start()),
    ok = py_suite:contains(Text, "contexts of mode owngil").

collector_tells_what_it_did(_Config) ->
    {ok, Stats} = py:memory_stats(),
    ?assertEqual([contexts, gc_count, gc_stats, gc_threshold], lists:sort(maps:keys(Stats))),
    #{gc_count := Count, gc_stats := Generations, gc_threshold := Threshold} = Stats,
    [?assert(is_tuple(Numbers) andalso lists:all(fun is_integer/1, tuple_to_list(Numbers))) || Numbers <- [Count, Threshold]],
    [
        ?assertMatch(#{<<"collected">> := _, <<"collections">> := _, <<"uncollectable">> := _}, Generation)
     || Generation <- Generations
    ],
    ?assertEqual(3, length(Generations)),
    {ok, _} = py:gc(),
    {ok, #{gc_stats := After}} = py:memory_stats(),
    ?assertEqual(collections(Generations) + 1, collections(After)).

collections(Generations) ->
    #{<<"collections">> := Number} = lists:last(Generations),
    Number.

every_context_is_told_of(Config) ->
    Mode = py_suite:mode(Config),
    Own = py:context(),
    Other = py_suite:new_context(Config),
    {ok, #{contexts := Contexts}} = py:memory_stats(),
    ?assertEqual(lists:sort([Own, Other]), lists:sort(maps:keys(Contexts))),
    Always = [gc_count, gc_stats, gc_threshold, interpreter, mode],
    Account = [Key || Mode =:= owngil, Key <- [limit, peak, used]],
    [
        begin
            ?assertEqual(lists:sort(Always ++ Account), lists:sort(maps:keys(Stats))),
            ?assertMatch(#{mode := Mode}, Stats),
            ?assertEqual({ok, maps:get(interpreter, Stats)}, py_context:get_interp_id(Context))
        end
     || {Context, Stats} <- maps:to_list(Contexts)
    ],
    ok = py_context:stop(Other).

garbage_of_all_contexts_is_collected(Config) ->
    Others = [py_suite:new_context(Config) || _ <- [1, 2]],
    [
        begin
            ok = make_cycles(Context, 50),
            ok = py:exec(Context, <<"import erlang, weakref\nknots = [weakref.ref(one) for one in gc.get_objects() if type(one) is Knot]">>)
        end
     || Context <- [py:context() | Others]
    ],
    {ok, Collected} = py:gc(),
    %% In the main interpreter each collects what the one before has made.
    Interpreters =
        case py_suite:mode(Config) of
            owngil -> 3;
            worker -> 1
        end,
    ?assert(Collected >= Interpreters * 100),
    [
        ?assertEqual({ok, true}, py:eval(Context, <<"len(knots) == 100 and all(knot() is None for knot in knots)">>))
     || Context <- [py:context() | Others]
    ],
    [ok = py:exec(Context, <<"gc.enable()">>) || Context <- [py:context() | Others]],
    [ok = py_context:stop(Context) || Context <- Others].

%% Two objects that only know each other.
make_cycles(N) ->
    make_cycles(py:context(), N).

make_cycles(Context, N) ->
    ok = py:exec(Context, [
        "import gc\ngc.collect()\ngc.disable()\n"
        "class Knot:\n    pass\n"
        "def tie():\n    a = Knot()\n    b = Knot()\n    a.other = b\n    b.other = a\n"
        "for _ in range(", integer_to_list(N), "):\n    tie()\n"
    ]).

garbage_is_collected(_Config) ->
    ok = make_cycles(50),
    {ok, Collected} = py:gc(),
    ?assert(Collected >= 100),
    {ok, Again} = py:gc(),
    ?assert(Again < 100),
    ok = py:exec(<<"gc.enable()">>).

generations_are_collected_one_by_one(_Config) ->
    [
        begin
            ok = make_cycles(50),
            {ok, Collected} = py:gc(Generation),
            {ok, Rest} = py:gc(),
            ?assert(Collected + Rest >= 100)
        end
     || Generation <- [0, 1, 2]
    ],
    ok = py:exec(<<"gc.enable()">>).

memory_is_traced(_Config) ->
    ?assertEqual(ok, py:tracemalloc_stop()),
    ?assertEqual(ok, py:tracemalloc_start()),
    ok = py:exec(<<"block = bytearray(10_000_000)">>),
    {ok, #{traced_memory_current := Current, traced_memory_peak := Peak}} = py:memory_stats(),
    ?assert(Current >= 10_000_000),
    ?assert(Peak >= Current),
    ok = py:exec(<<"del block">>),
    {ok, #{traced_memory_current := Less, traced_memory_peak := Peak2}} = py:memory_stats(),
    ?assert(Less < 10_000_000),
    ?assert(Peak2 >= 10_000_000),
    ?assertEqual(ok, py:tracemalloc_stop()),
    {ok, Stats} = py:memory_stats(),
    ?assertNot(maps:is_key(traced_memory_current, Stats)),
    ?assertEqual(ok, py:tracemalloc_start(10)),
    ?assertEqual({ok, 10}, py:call(tracemalloc, get_traceback_limit, [])),
    ?assertEqual(ok, py:tracemalloc_stop()),
    ?assertMatch({error, {'ValueError', _}}, py:tracemalloc_start(1_000_000)).

memory_is_not_traced_in_an_interpreter_of_its_own(_Config) ->
    Text = py_suite:error_text('ImportError', py:tracemalloc_start()),
    ok = py_suite:contains(Text, "mode => worker"),
    ?assertEqual(ok, py:tracemalloc_stop()),
    {ok, Stats} = py:memory_stats(),
    ?assertNot(maps:is_key(traced_memory_current, Stats)).

%% Whoever starts it: tracing and interpreters with their own GILs would corrupt memory together.
memory_is_not_traced_beside_interpreters_of_their_own(_Config) ->
    {ok, Owngil} = py_context:new(#{mode => owngil}),
    check_refused(),
    ?assertMatch({error, {'RuntimeError', _}}, py:call(tracemalloc, start, [])),
    ?assertMatch({error, {'RuntimeError', _}}, py:call('_tracemalloc', start, [])),
    ?assertEqual({ok, false}, py:call(tracemalloc, is_tracing, [])),
    ok = py_context:stop(Owngil).

interpreters_of_their_own_do_not_start_while_memory_is_traced(_Config) ->
    ok = py:tracemalloc_start(),
    ?assertEqual({error, memory_traced}, py_context:new(#{mode => owngil})),
    ok = py_context_router:start_pool(parallel, 1, owngil),
    ?assertEqual({error, memory_traced}, py:call(parallel, math, sqrt, [16])),
    {ok, Worker} = py_context:new(#{mode => worker}),
    ?assertEqual({ok, true}, py:call(Worker, tracemalloc, is_tracing, [])),
    ?assertEqual({ok, none}, py:call(Worker, tracemalloc, stop, [])),
    {ok, Owngil} = py_context:new(#{mode => owngil}),
    ?assertEqual({ok, 4.0}, py:call(Owngil, math, sqrt, [16])),
    [ok = py_context:stop(Context) || Context <- [Worker, Owngil]],
    ok = py_context_router:stop_pool(parallel).

tracing_that_fails_to_start_keeps_nobody_out(_Config) ->
    ?assertMatch({error, {_, _}}, py:tracemalloc_start(1_000_000)),
    {ok, Owngil} = py_context:new(#{mode => owngil}),
    ok = py_context:stop(Owngil).
