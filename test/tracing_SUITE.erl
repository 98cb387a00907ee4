%% Spans in Python, and the trace that goes with calls in both directions.
-module(tracing_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(TRACE, <<"0af7651916cd43dd8448eb211c80319c">>).
-define(SPAN, <<"b7ad6b7169203331">>).
-define(PARENT, <<"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01">>).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            span_is_recorded,
            spans_are_nested,
            attributes_and_events_are_kept,
            values_that_are_no_data_are_kept_as_text,
            exception_ends_a_span_with_an_error,
            nothing_is_recorded_while_it_is_not_enabled,
            functions_of_every_kind_are_traced,
            spans_follow_awaits_and_tasks,
            generators_are_nobodys_parents,
            wrong_names_are_refused,
            erlang_functions_see_the_span,
            nested_calls_are_children,
            awaited_erlang_functions_see_the_span,
            trace_of_a_process_is_the_parent,
            every_kind_of_request_carries_the_trace,
            next_request_is_no_part_of_it,
            continuation_is_a_part_of_it,
            stream_is_a_part_of_it,
            trace_that_is_not_sampled_is_not_recorded,
            tracestate_comes_along,
            headers_that_are_none_are_dropped,
            function_is_a_part_of_a_trace_for_its_time,
            new_traces_differ,
            headers_are_set_in_python,
            trace_of_opentelemetry_is_taken_up,
            span_within_a_callback_counts,
            spans_are_bounded,
            keeper_that_dies_loses_spans_only,
            contexts_record_at_the_same_time,
            end_of_a_span_is_an_event,
            application_that_ends_records_no_more
        ],
        [trace_goes_to_other_nodes]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 16, fds => 2}).

init_per_testcase(_Case, Config) ->
    ok = py:enable_tracing(),
    ok = py:clear_traces(),
    [{ctx, py_suite:new_context(Config)} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_trace:clear(),
    _ = py:disable_tracing(),
    _ = py_context:stop(ctx(Config)),
    ok.

ctx(Config) -> proplists:get_value(ctx, Config).

exec(Config, Lines) ->
    py:exec(ctx(Config), lists:join("\n", ["import erlang" | Lines])).

%% Sent by the same thread before the answer, so they are there.
spans() ->
    {ok, Spans} = py:get_traces(),
    Spans.

span(Name) ->
    [Span] = [Span || #{name := Of} = Span <- spans(), Of =:= Name],
    Span.

%% For those of other threads.
awaited(Count) ->
    ok = py_leaks:eventually(fun() -> length(spans()) >= Count end),
    spans().

%% ------------------------------------------------------------------------------------------------
%% Spans

span_is_recorded(Config) ->
    Before = erlang:system_time(microsecond),
    ok = exec(Config, ["with erlang.Span('work') as span:", "    ids = (span.trace_id, span.span_id)"]),
    After = erlang:system_time(microsecond),
    #{name := <<"work">>, trace_id := Trace, span_id := Id, parent_id := undefined} = Span = span(<<"work">>),
    #{start_time := Start, end_time := End, duration_us := Took, status := ok} = Span,
    ?assertEqual({32, 16}, {byte_size(Trace), byte_size(Id)}),
    ?assertEqual({ok, {Trace, Id}}, py:eval(ctx(Config), <<"ids">>)),
    ?assertEqual(End, Start + Took),
    %% Both clocks are the system's, which may be set at any time, by little.
    ?assert(abs(Start - Before) < 60_000_000 andalso abs(After - End) < 60_000_000),
    ?assertMatch(#{attributes := Empty, end_attrs := Empty, events := []} when Empty =:= #{}, Span).

spans_are_nested(Config) ->
    ok = exec(Config, [
        "with erlang.Span('outer'):",
        "    with erlang.Span('first'):",
        "        pass",
        "    with erlang.Span('second'):",
        "        with erlang.Span('inner'):",
        "            pass",
        "with erlang.Span('apart'):",
        "    pass"
    ]),
    #{span_id := Outer, trace_id := Trace, parent_id := undefined} = span(<<"outer">>),
    ?assertMatch(#{parent_id := Outer, trace_id := Trace}, span(<<"first">>)),
    #{span_id := Second} = span(<<"second">>),
    ?assertMatch(#{parent_id := Second, trace_id := Trace}, span(<<"inner">>)),
    ?assertMatch(#{parent_id := undefined}, span(<<"apart">>)),
    ?assertNotEqual(Trace, maps:get(trace_id, span(<<"apart">>))),
    %% In the order of their ends.
    ?assertEqual(
        [<<"first">>, <<"inner">>, <<"second">>, <<"outer">>, <<"apart">>],
        [Name || #{name := Name} <- spans()]
    ).

attributes_and_events_are_kept(Config) ->
    ok = exec(Config, [
        "with erlang.Span('work', user=7, path='/a', ratio=0.5, ok=True, nothing=None, many=[1, 'two']) as span:",
        "    span.event('half', items=10)",
        "    span.event('done')",
        "    span.attributes['late'] = 1"
    ]),
    #{attributes := Attributes, events := [Half, Done], start_time := Start, end_time := End} = span(<<"work">>),
    ?assertEqual(
        #{
            <<"user">> => 7,
            <<"path">> => <<"/a">>,
            <<"ratio">> => 0.5,
            <<"ok">> => true,
            <<"nothing">> => none,
            <<"many">> => [1, <<"two">>],
            <<"late">> => 1
        },
        Attributes
    ),
    #{name := <<"half">>, attrs := #{<<"items">> := 10}, time := First} = Half,
    #{name := <<"done">>, time := Second} = Done,
    ?assert(Start =< First andalso First =< Second andalso Second =< End).

values_that_are_no_data_are_kept_as_text(Config) ->
    ok = exec(Config, [
        "class Odd:",
        "    def __str__(self):",
        "        raise ValueError('no text')",
        "circle = []",
        "circle.append(circle)",
        "with erlang.Span('work', big=10 ** 5000, circle=circle, a=Odd(), b={'x': 1}, c='\\udc80', d='x' * 10000, **{str(n): n for n in range(300)}):",
        "    pass",
        "with erlang.Span('many') as span:",
        "    for n in range(1000):",
        "        span.event('again')"
    ]),
    #{attributes := #{<<"a">> := A, <<"b">> := B, <<"c">> := C, <<"d">> := D} = All} = span(<<"work">>),
    ?assertEqual({<<"<Odd>">>, <<"{'x': 1}">>, <<"?">>, 4096}, {A, B, C, byte_size(D)}),
    ?assertMatch(#{<<"big">> := <<"<int>">>, <<"circle">> := [<<"[[...]]">>]}, All),
    ?assertEqual(128, map_size(All)),
    ?assertEqual(128, length(maps:get(events, span(<<"many">>)))).

exception_ends_a_span_with_an_error(Config) ->
    {error, {'ValueError', _}} = exec(Config, ["with erlang.Span('fails'):", "    raise ValueError('why')"]),
    #{status := error, end_attrs := Ended} = span(<<"fails">>),
    ?assertEqual(#{<<"exception">> => <<"why">>, <<"exception.type">> => <<"ValueError">>}, Ended),
    %% What comes after it is no child of it.
    ok = exec(Config, ["with erlang.Span('next'):", "    pass"]),
    ?assertMatch(#{parent_id := undefined, status := ok}, span(<<"next">>)).

nothing_is_recorded_while_it_is_not_enabled(Config) ->
    ok = py:disable_tracing(),
    ok = exec(Config, ["with erlang.Span('unseen') as span:", "    span.event('nothing')", "    ids = span.span_id"]),
    ?assertEqual([], spans()),
    ?assertEqual({ok, <<>>}, py:eval(ctx(Config), <<"ids">>)),
    %% What has begun before is recorded.
    ok = py:enable_tracing(),
    ok = exec(Config, ["kept = erlang.Span('kept')", "kept.__enter__()"]),
    ok = py:disable_tracing(),
    ok = exec(Config, ["kept.__exit__(None, None, None)"]),
    ?assertMatch([#{name := <<"kept">>}], spans()).

functions_of_every_kind_are_traced(Config) ->
    ok = exec(Config, [
        "import asyncio, inspect",
        "@erlang.trace",
        "def plain(x): return x",
        "@erlang.trace()",
        "def called(x): return x",
        "@erlang.trace('by name')",
        "def named(x): return x",
        "@erlang.trace",
        "async def coroutine(x):",
        "    await asyncio.sleep(0)",
        "    return x",
        "@erlang.trace",
        "def generator(n):",
        "    yield from range(n)",
        "    return 'end'",
        "@erlang.trace",
        "async def agenerator(n):",
        "    for i in range(n):",
        "        yield i",
        "async def everything():",
        "    assert plain(1) == called(1) == named(1) == await coroutine(1) == 1",
        "    assert list(generator(3)) == [0, 1, 2] == [i async for i in agenerator(3)]",
        "erlang.run(everything())",
        "assert plain.__name__ == 'plain' and inspect.iscoroutinefunction(coroutine)"
    ]),
    Names = [<<"plain">>, <<"called">>, <<"by name">>, <<"coroutine">>, <<"generator">>, <<"agenerator">>],
    ?assertEqual(Names, [Name || #{name := Name} <- spans()]).

spans_follow_awaits_and_tasks(Config) ->
    ok = exec(Config, [
        "import asyncio",
        "async def child(n):",
        "    async with erlang.Span(f'child {n}'):",
        "        await asyncio.sleep(0)",
        "        with erlang.Span(f'grandchild {n}'):",
        "            await asyncio.sleep(0)",
        "async def parent():",
        "    with erlang.Span('parent'):",
        "        await asyncio.gather(child(1), child(2), asyncio.create_task(child(3)))",
        "    return 5"
    ]),
    {ok, 5} = py_context:submit_await(ctx(Config), '__main__', parent, []),
    #{span_id := Parent, trace_id := Trace} = span(<<"parent">>),
    lists:foreach(
        fun(N) ->
            #{parent_id := Parent, trace_id := Trace, span_id := Child} = span(<<"child ", N>>),
            ?assertMatch(#{parent_id := Child, trace_id := Trace}, span(<<"grandchild ", N>>))
        end,
        "123"
    ).

generators_are_nobodys_parents(Config) ->
    ok = exec(Config, [
        "@erlang.trace",
        "def items():",
        "    yield 1",
        "    yield 2",
        "with erlang.Span('consumer'):",
        "    for item in items():",
        "        with erlang.Span('between'):",
        "            pass"
    ]),
    #{span_id := Consumer} = span(<<"consumer">>),
    ?assertEqual([Consumer, Consumer, Consumer], [Of || #{parent_id := Of, name := Name} <- spans(), Name =/= <<"consumer">>]).

wrong_names_are_refused(Config) ->
    [
        ?assertMatch({error, {'TypeError', _}}, py:eval(ctx(Config), Code))
     || Code <- [<<"__import__('erlang').Span(5)">>, <<"__import__('erlang').trace(5)">>]
    ],
    {error, {'RuntimeError', _}} = exec(Config, ["span = erlang.Span('twice')", "with span:", "    with span:", "        pass"]).

%% ------------------------------------------------------------------------------------------------
%% Both sides

%% `{Trace, Span}' of the calling process.
here() ->
    [{<<"traceparent">>, <<"00-", Trace:32/binary, "-", Span:16/binary, "-01">>} | _] = py_trace:headers(),
    {Trace, Span}.

erlang_functions_see_the_span(Config) ->
    Test = self(),
    ok = py:register_function(tracing_seen, fun([]) ->
        Test ! {seen, here()},
        none
    end),
    ok = exec(Config, ["with erlang.Span('caller'):", "    erlang.tracing_seen()"]),
    #{trace_id := Trace, span_id := Span} = span(<<"caller">>),
    receive {seen, Seen} -> ?assertEqual({Trace, Span}, Seen) end,
    ?assertEqual([], py_trace:headers()),
    %% From a thread, in a process of its own, too; it has no trace but the one that it makes.
    ok = exec(Config, [
        "import threading",
        "def work():",
        "    with erlang.Span('in a thread'):",
        "        erlang.tracing_seen()",
        "thread = threading.Thread(target=work)",
        "thread.start()",
        "thread.join()"
    ]),
    #{trace_id := Other, span_id := InThread, parent_id := undefined} = span(<<"in a thread">>),
    receive {seen, ThreadSaw} -> ?assertEqual({Other, InThread}, ThreadSaw) end,
    ok = py:unregister_function(tracing_seen).

nested_calls_are_children(Config) ->
    Context = ctx(Config),
    ok = py:register_function(tracing_nested, fun([Code]) ->
        ok = py:exec(Context, Code),
        ok = py:exec(Code),
        none
    end),
    ok = exec(Config, [
        "with erlang.Span('outer'):",
        "    erlang.tracing_nested('import erlang\\nwith erlang.Span(\"inner\"): pass')",
        "    with erlang.Span('after'):",
        "        pass"
    ]),
    #{span_id := Outer, trace_id := Trace} = span(<<"outer">>),
    %% On top of the code that waits, and in another context.
    ?assertMatch(
        [#{parent_id := Outer, trace_id := Trace}, #{parent_id := Outer, trace_id := Trace}],
        [Span || #{name := <<"inner">>} = Span <- spans()]
    ),
    ?assertMatch(#{parent_id := Outer}, span(<<"after">>)),
    ok = py:unregister_function(tracing_nested).

awaited_erlang_functions_see_the_span(Config) ->
    Test = self(),
    ok = py:register_function(tracing_awaited, fun([N]) ->
        Test ! {seen, N, here()},
        N
    end),
    ok = exec(Config, [
        "import asyncio",
        "async def one(n):",
        "    with erlang.Span(f'one {n}'):",
        "        return await erlang.async_call('tracing_awaited', n)",
        "async def both():",
        "    return await asyncio.gather(one(1), one(2))"
    ]),
    {ok, [1, 2]} = py_context:submit_await(ctx(Config), '__main__', both, []),
    lists:foreach(
        fun(N) ->
            #{trace_id := Trace, span_id := Span} = span(<<"one ", (integer_to_binary(N))/binary>>),
            receive {seen, N, Seen} -> ?assertEqual({Trace, Span}, Seen) end
        end,
        [1, 2]
    ),
    ok = py:unregister_function(tracing_awaited).

%% Has whatever is asked record a span of this name.
define(Config) ->
    exec(Config, [
        "def record(name):",
        "    with erlang.Span(name):",
        "        pass",
        "    return name"
    ]).

trace_of_a_process_is_the_parent(Config) ->
    ok = define(Config),
    true = py_trace:set([{<<"Host">>, <<"example">>}, {<<"TraceParent">>, ?PARENT}]),
    ?assertEqual([{<<"traceparent">>, ?PARENT}], py_trace:headers()),
    {ok, _} = py:call(ctx(Config), '__main__', record, [<<"child">>]),
    ?assertMatch(#{trace_id := ?TRACE, parent_id := ?SPAN}, span(<<"child">>)).

every_kind_of_request_carries_the_trace(Config) ->
    Context = ctx(Config),
    ok = define(Config),
    ok = py:exec("import erlang\ndef record(name):\n    with erlang.Span(name):\n        return name"),
    true = py_trace:set(#{"traceparent" => ?PARENT}),
    Record = fun(Name) -> io_lib:format("record('~s')", [Name]) end,
    {ok, _} = py:eval(Context, Record("eval")),
    ok = py:exec(Context, Record("exec")),
    {ok, _} = py:call('__main__', record, [<<"pooled">>]),
    {ok, _} = py:await(py:spawn_call(Context, '__main__', record, [<<"spawn_call">>])),
    ok = py:cast(Context, '__main__', record, [<<"cast">>]),
    {ok, _} = py:async_await(py:async_call('__main__', record, [<<"async_call">>])),
    {ok, Task} = py_context:submit(Context, '__main__', record, [<<"submit">>]),
    {ok, _} = py_event_loop:await(Task),
    {ok, _} = py_context:submit_await(Context, '__main__', record, [<<"submit_await">>]),
    Spans = awaited(8),
    Wanted = lists:sort([
        <<"eval">>, <<"exec">>, <<"pooled">>, <<"spawn_call">>, <<"cast">>, <<"async_call">>, <<"submit">>,
        <<"submit_await">>
    ]),
    Found = lists:sort([Name || #{name := Name, parent_id := ?SPAN, trace_id := ?TRACE} <- Spans]),
    ?assertEqual(Wanted, Found).

next_request_is_no_part_of_it(Config) ->
    ok = define(Config),
    true = py_trace:set([{"traceparent", ?PARENT}]),
    {error, {'ZeroDivisionError', _}} = py:eval(ctx(Config), <<"1 / 0">>),
    ok = py_trace:clear(),
    ?assertEqual([], py_trace:headers()),
    {ok, _} = py:call(ctx(Config), '__main__', record, [<<"apart">>]),
    ?assertMatch(#{parent_id := undefined}, span(<<"apart">>)),
    ?assertEqual({ok, #{}}, py:eval(ctx(Config), <<"__import__('erlang').trace_headers()">>)).

continuation_is_a_part_of_it(Config) ->
    ok = define(Config),
    ok = exec(Config, ["def begin():", "    return erlang.schedule_py('__main__', 'record', ['later'])"]),
    true = py_trace:set([{"traceparent", ?PARENT}]),
    {ok, <<"later">>} = py:call(ctx(Config), '__main__', <<"begin">>, []),
    ?assertMatch(#{trace_id := ?TRACE, parent_id := ?SPAN}, span(<<"later">>)).

stream_is_a_part_of_it(Config) ->
    ok = exec(Config, [
        "def items():",
        "    for n in range(3):",
        "        with erlang.Span(f'item {n}'):",
        "            pass",
        "        yield n"
    ]),
    true = py_trace:set([{"traceparent", ?PARENT}]),
    {ok, Ref} = py:stream_start('__main__', items, [], #{context => ctx(Config)}),
    ?assertEqual([0, 1, 2], streamed(Ref)),
    ?assertMatch([#{parent_id := ?SPAN}, #{parent_id := ?SPAN}, #{parent_id := ?SPAN}], awaited(3)).

streamed(Ref) ->
    receive
        {py_stream, Ref, {data, Item}} -> [Item | streamed(Ref)];
        {py_stream, Ref, done} -> [];
        {py_stream, Ref, Other} -> ct:fail(Other)
    after 30_000 -> ct:fail(no_item)
    end.

trace_that_is_not_sampled_is_not_recorded(Config) ->
    ok = define(Config),
    Unsampled = <<"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00">>,
    true = py_trace:set([{"traceparent", Unsampled}]),
    {ok, _} = py:call(ctx(Config), '__main__', record, [<<"unseen">>]),
    ?assertEqual([], spans()),
    %% It goes on all the same.
    Headers = py:eval(ctx(Config), <<"__import__('erlang').trace_headers()">>),
    ?assertEqual({ok, #{<<"traceparent">> => Unsampled}}, Headers).

tracestate_comes_along(Config) ->
    Test = self(),
    ok = py:register_function(tracing_state, fun([]) -> Test ! {seen, py_trace:headers()}, none end),
    true = py_trace:set([{"traceparent", ?PARENT}, {"tracestate", "a=1"}, {"tracestate", "b=2"}]),
    ok = exec(Config, ["with erlang.Span('one'):", "    erlang.tracing_state()"]),
    receive
        {seen, Headers} ->
            ?assertEqual(<<"a=1,b=2">>, proplists:get_value(<<"tracestate">>, Headers)),
            <<"00-", Trace:32/binary, _/binary>> = proplists:get_value(<<"traceparent">>, Headers),
            ?assertEqual(?TRACE, Trace)
    end,
    ok = py:unregister_function(tracing_state).

headers_that_are_none_are_dropped(_Config) ->
    Wrong = [
        <<"">>,
        <<"00">>,
        <<"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01">>,
        <<"00-00000000000000000000000000000000-b7ad6b7169203331-01">>,
        <<"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01">>,
        <<"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01">>,
        <<"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more">>,
        <<"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more">>,
        <<"00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01">>,
        <<"00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01">>
    ],
    lists:foreach(
        fun(Parent) ->
            true = py_trace:set([{"traceparent", ?PARENT}]),
            ?assertEqual({Parent, false, []}, {Parent, py_trace:set([{"traceparent", Parent}]), py_trace:headers()})
        end,
        Wrong
    ),
    Later = <<"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more">>,
    ?assert(py_trace:set([{"traceparent", Later}])),
    ?assertNot(py_trace:set([])),
    [?assertError(badarg, py_trace:set(Bad)) || Bad <- [atom, [{a, b}], [1]]],
    ?assertError(badarg, py_trace:with([], fun(_) -> ok end)).

function_is_a_part_of_a_trace_for_its_time(_Config) ->
    true = py_trace:set([{"traceparent", ?PARENT}]),
    Other = py_trace:new(),
    ?assertEqual(Other, py_trace:with(Other, fun py_trace:headers/0)),
    ?assertEqual([{<<"traceparent">>, ?PARENT}], py_trace:headers()),
    ?assertError(on_purpose, py_trace:with(Other, fun() -> error(on_purpose) end)),
    ?assertEqual([{<<"traceparent">>, ?PARENT}], py_trace:headers()),
    ?assertEqual([], py_trace:with([], fun py_trace:headers/0)).

new_traces_differ(_Config) ->
    Traces = [py_trace:new() || _ <- lists:seq(1, 100)],
    ?assertEqual(100, length(lists:usort(Traces))),
    ?assert(lists:all(fun py_trace:set/1, Traces)).

headers_are_set_in_python(Config) ->
    ok = exec(Config, [
        "outside = erlang.trace_headers()",
        "with erlang.with_trace({'Traceparent': '" ++ binary_to_list(?PARENT) ++ "', 'tracestate': 'a=1'}):",
        "    inside = erlang.trace_headers()",
        "    with erlang.Span('child') as child:",
        "        below = erlang.trace_headers()['traceparent'] == child.traceparent",
        "    with erlang.with_trace(None):",
        "        none = erlang.trace_headers()",
        "after = erlang.trace_headers()"
    ]),
    Inside = #{<<"traceparent">> => ?PARENT, <<"tracestate">> => <<"a=1">>},
    ?assertEqual(
        {ok, {#{}, Inside, true, #{}, #{}}}, py:eval(ctx(Config), <<"(outside, inside, below, none, after)">>)
    ),
    ?assertMatch(#{parent_id := ?SPAN}, span(<<"child">>)),
    ?assertMatch({error, {'ValueError', _}}, exec(Config, ["erlang.with_trace({'traceparent': 'x'})"])).

%% ------------------------------------------------------------------------------------------------
%% OpenTelemetry

%% A module of that name, whose contexts are `#{span => Traceparent}'.
with_opentelemetry(Fun) ->
    Module = otel_propagator_trace_context,
    Forms = [
        {attribute, 1, module, Module},
        {attribute, 1, export, [{inject, 4}]},
        {function, 1, inject, 4, [
            {clause, 1,
                [
                    {map, 1, [{map_field_exact, 1, {atom, 1, span}, {var, 1, 'Span'}}]},
                    {var, 1, 'Headers'},
                    {var, 1, 'Set'},
                    {nil, 1}
                ],
                [],
                [
                    {call, 1, {var, 1, 'Set'}, [
                        {bin, 1, [{bin_element, 1, {string, 1, "traceparent"}, default, default}]},
                        {var, 1, 'Span'},
                        {var, 1, 'Headers'}
                    ]}
                ]}
        ]}
    ],
    {ok, Module, Binary} = compile:forms(Forms),
    {module, Module} = code:load_binary(Module, "otel_propagator_trace_context.beam", Binary),
    try
        Fun()
    after
        _ = erase('$__current_otel_ctx'),
        true = code:delete(Module),
        code:purge(Module)
    end.

otel(Span) ->
    _ = put('$__current_otel_ctx', #{span => Span}),
    ok.

trace_of_opentelemetry_is_taken_up(Config) ->
    ok = define(Config),
    with_opentelemetry(fun() ->
        ok = otel(?PARENT),
        ?assertEqual([{<<"traceparent">>, ?PARENT}], py_trace:headers()),
        {ok, _} = py:call(ctx(Config), '__main__', record, [<<"child">>]),
        ?assertMatch(#{parent_id := ?SPAN, trace_id := ?TRACE}, span(<<"child">>)),
        %% What cannot be read, or is none, is no trace.
        ok = otel(<<"nonsense">>),
        ?assertEqual([], py_trace:headers()),
        _ = put('$__current_otel_ctx', #{unknown => 1}),
        ?assertEqual([], py_trace:headers())
    end),
    otel(?PARENT),
    ?assertEqual([], py_trace:headers()),
    _ = erase('$__current_otel_ctx').

%% The innermost is the parent: Python's span in the function that it calls, until that begins with one of its own.
span_within_a_callback_counts(Config) ->
    ok = define(Config),
    Context = ctx(Config),
    Inner = <<"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01">>,
    ok = py:register_function(tracing_otel, fun([]) ->
        {ok, _} = py:call(Context, '__main__', record, [<<"below python">>]),
        ok = otel(Inner),
        {ok, _} = py:call(Context, '__main__', record, [<<"below erlang">>]),
        ok = otel(?PARENT),
        none
    end),
    with_opentelemetry(fun() ->
        ok = otel(?PARENT),
        ok = exec(Config, ["with erlang.Span('python'):", "    erlang.tracing_otel()"])
    end),
    #{span_id := Python, parent_id := ?SPAN} = span(<<"python">>),
    ?assertMatch(#{parent_id := Python}, span(<<"below python">>)),
    ?assertMatch(#{parent_id := <<"00f067aa0ba902b7">>}, span(<<"below erlang">>)),
    ok = py:unregister_function(tracing_otel).

%% ------------------------------------------------------------------------------------------------
%% Those that are kept

spans_are_bounded(Config) ->
    ok = py_suite:restart(Config, #{max_traces => 5}),
    ok = py:enable_tracing(),
    ok = py:exec("import erlang\nfor n in range(12):\n    with erlang.Span(str(n)):\n        pass"),
    ?assertEqual([<<"7">>, <<"8">>, <<"9">>, <<"10">>, <<"11">>], [Name || #{name := Name} <- spans()]),
    ok = py:clear_traces(),
    ?assertEqual([], spans()),
    ok = py_suite:stop(),
    [
        ?assertMatch({error, _}, py_suite:silently(fun() -> py_suite:start(#{max_traces => Wrong}) end))
     || Wrong <- [0, -1, many, infinity]
    ],
    ok = py_suite:restart(Config, #{}).

keeper_that_dies_loses_spans_only(_Config) ->
    ok = py:exec("import erlang\nwith erlang.Span('lost'):\n    pass"),
    Keeper = whereis(py_traces),
    ok = py_suite:silently(fun() -> py_suite:killed(Keeper) end),
    ok = py_leaks:eventually(fun() -> is_pid(whereis(py_traces)) end),
    ok = py:exec("import erlang\nwith erlang.Span('kept'):\n    pass"),
    ?assertMatch([#{name := <<"kept">>}], spans()).

contexts_record_at_the_same_time(Config) ->
    _ = py_suite:concurrently(4, fun(N) ->
        Context = py_suite:new_context(Config),
        Code = io_lib:format(
            "import erlang\n"
            "with erlang.Span('outer ~b'):\n"
            "    for _ in range(20):\n"
            "        with erlang.Span('inner ~b'):\n"
            "            pass\n",
            [N, N]
        ),
        ok = py:exec(Context, Code),
        ok = py_context:stop(Context)
    end),
    Spans = awaited(84),
    lists:foreach(
        fun(N) ->
            #{span_id := Outer, trace_id := Trace} = span(iolist_to_binary(io_lib:format("outer ~b", [N]))),
            Inner = iolist_to_binary(io_lib:format("inner ~b", [N])),
            ?assertEqual(
                20, length([Id || #{name := I, span_id := Id, parent_id := O, trace_id := T} <- Spans, I =:= Inner, O =:= Outer, T =:= Trace])
            )
        end,
        [1, 2, 3, 4]
    ),
    ?assertEqual(84, length(lists:usort([Id || #{span_id := Id} <- Spans]))).

end_of_a_span_is_an_event(_Config) ->
    Test = self(),
    Tell = fun(_, Measurements, Span) -> Test ! {span, Measurements, Span} end,
    ok = py_telemetry:attach(?FUNCTION_NAME, [erlang_python, span, stop], Tell),
    ok = py:exec("import erlang\nwith erlang.Span('told', n=1):\n    pass"),
    receive
        {span, #{duration := Duration}, Span} ->
            ?assert(Duration >= 0),
            ?assertMatch(#{name := <<"told">>, attributes := #{<<"n">> := 1}}, Span)
    after 30_000 -> ct:fail(not_told)
    end,
    ok = py_telemetry:detach(?FUNCTION_NAME).

application_that_ends_records_no_more(Config) ->
    ok = py_suite:stop(),
    ?assertEqual(
        [{error, not_running}, {error, not_running}, {error, not_running}, {error, not_running}],
        [py:enable_tracing(), py:disable_tracing(), py:get_traces(), py:clear_traces()]
    ),
    ok = py_suite:restart(Config, #{}),
    ok = py:exec("import erlang\nwith erlang.Span('unseen'):\n    pass"),
    ?assertEqual({ok, []}, py:get_traces()).

trace_goes_to_other_nodes(_Config) ->
    py_suite:with_connected_node(fun(Node) ->
        {ok, _} = erpc:call(Node, application, ensure_all_started, [erlang_python]),
        {ok, Remote} = erpc:call(Node, fun() -> {ok, _} = py_context:new(#{}) end),
        ok = erpc:call(Node, py, enable_tracing, []),
        true = py_trace:set([{"traceparent", ?PARENT}]),
        ok = py:exec(Remote, "import erlang\nwith erlang.Span('remote'):\n    pass"),
        ?assertMatch({ok, [#{name := <<"remote">>, parent_id := ?SPAN}]}, erpc:call(Node, py, get_traces, []))
    end).
