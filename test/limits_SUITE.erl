%% Bounds that are not on queues, permits or memory: what is just within each is done, what is just beyond is refused.
-module(limits_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        result_up_to_the_bound_comes_and_one_beyond_is_refused,
        every_kind_of_value_counts,
        elements_of_containers_count,
        every_kind_of_request_has_its_result_bounded,
        arguments_and_errors_are_not_results,
        nothing_big_is_built_of_a_result_that_is_refused,
        without_a_bound_any_result_comes,
        pool_and_setting_bound_results,
        wrong_bounds_of_results_are_refused,
        calls_of_a_pool_have_its_time_limit,
        call_that_names_a_time_limit_has_that,
        explicit_contexts_have_no_time_limit_of_a_pool,
        several_pools_give_the_longest_time,
        setting_is_the_time_limit_of_the_default_pool,
        wrong_time_limits_are_refused,
        names_become_atoms_up_to_the_bound,
        classes_of_exceptions_are_binaries_beyond_it,
        bound_on_atoms_holds_for_the_life_of_the_node
    ], [every_documented_bound_has_a_test]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 32}).

init_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

%% ------------------------------------------------------------------------------------------------
%% Sizes of results

bounded(Config, Max) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), max_result_size => Max}),
    Context.

refused(Max, Result) ->
    ?assertMatch({error, {result_too_large, Size, Max}} when Size > Max, Result).

%% A binary counts with three words besides its bytes.
result_up_to_the_bound_comes_and_one_beyond_is_refused(Config) ->
    Context = bounded(Config, 10_000),
    Bytes = fun(Size) -> py:eval(Context, <<"b'x' * n">>, #{n => Size}) end,
    [{ok, Value} = Bytes(Size) || Size <- [0, 5_000, 9_976], Value <- [binary:copy(<<"x">>, Size)]],
    ?assertEqual({error, {result_too_large, 10_001, 10_000}}, Bytes(9_977)),
    refused(10_000, Bytes(1 bsl 20)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

every_kind_of_value_counts(Config) ->
    Context = bounded(Config, 1_000),
    ok = py:exec(Context, <<
        "class Str(str): pass\n"
        "class Bytes(bytes): pass\n"
        "class Int(int): pass\n"
        "class Simpler:\n"
        "    def __erlang_term__(self):\n"
        "        return 'x' * 1000\n"
    >>),
    lists:foreach(
        fun({Within, Beyond}) ->
            ?assertMatch({ok, _}, py:eval(Context, Within)),
            refused(1_000, py:eval(Context, Beyond))
        end,
        [
            {<<"'x' * 976">>, <<"'x' * 977">>},
            %% As UTF-8.
            {<<"'\\u00e9' * 488">>, <<"'\\u00e9' * 489">>},
            {<<"Str('x' * 976)">>, <<"Str('x' * 977)">>},
            {<<"Bytes(b'x' * 976)">>, <<"Bytes(b'x' * 977)">>},
            {<<"bytearray(976)">>, <<"bytearray(977)">>},
            {<<"memoryview(bytes(976))">>, <<"memoryview(bytes(977))">>},
            {<<"1 << 7800">>, <<"1 << 8000">>},
            {<<"Int(1 << 7800)">>, <<"Int(-1 << 8000)">>},
            {<<"1">>, <<"Simpler()">>}
        ]
    ).

elements_of_containers_count(Config) ->
    Context = bounded(Config, 16_000),
    lists:foreach(
        fun({Within, Beyond}) ->
            ?assertMatch({ok, _}, py:eval(Context, Within)),
            refused(16_000, py:eval(Context, Beyond))
        end,
        [
            {<<"[1] * 1000">>, <<"[1] * 1001">>},
            {<<"[1.5] * 500">>, <<"[1.5] * 501">>},
            {<<"(1,) * 1999">>, <<"(1,) * 2000">>},
            {<<"set(range(1000))">>, <<"set(range(1001))">>},
            {<<"{i: i for i in range(998)}">>, <<"{i: i for i in range(999)}">>},
            {<<"[[1] * 9] * 100">>, <<"[[1] * 10] * 100">>},
            {<<"['x' * 100] * 100">>, <<"['x' * 100] * 115">>},
            {<<"[{}] * 300">>, <<"[{}] * 400">>}
        ]
    ).

every_kind_of_request_has_its_result_bounded(Config) ->
    Context = bounded(Config, 1_000),
    ok = py:exec(Context, <<
        "class Holder:\n"
        "    big = 'x' * 1000\n"
        "    def method(self): return self.big\n"
        "async def task(): return 'x' * 1000\n"
        "async def small(): return 1\n"
    >>),
    refused(1_000, py:call(Context, operator, mul, [<<"x">>, 1_000])),
    refused(1_000, py:await(py:spawn_call(Context, operator, mul, [<<"x">>, 1_000]))),
    {ok, Holder} = py:eval(Context, <<"Holder()">>),
    refused(1_000, py:getattr(Holder, big)),
    refused(1_000, py:call_method(Holder, method, [])),
    refused(1_000, py_context:submit_await(Context, '__main__', task, [])),
    {ok, Task} = py_context:submit(Context, '__main__', task, []),
    refused(1_000, py_event_loop:await(Task)),
    ?assertEqual({ok, 1}, py_context:submit_await(Context, '__main__', small, [])),
    ?assertEqual(ok, py:cast(Context, operator, mul, [<<"x">>, 1_000])),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

arguments_and_errors_are_not_results(Config) ->
    Context = bounded(Config, 100),
    ?assertEqual({ok, 100_000}, py:call(Context, builtins, len, [binary:copy(<<"x">>, 100_000)])),
    Text = py_suite:error_text('ValueError', py:eval(Context, <<"int('x' * 1000)">>)),
    ?assert(byte_size(unicode:characters_to_binary(Text)) > 100).

%% A list of a hundred million elements would take 1.6 GB.
nothing_big_is_built_of_a_result_that_is_refused(Config) ->
    Context = bounded(Config, 1 bsl 20),
    Before = py_leaks:resident(),
    refused(1 bsl 20, py:eval(Context, <<"[None] * 20_000_000">>)),
    refused(1 bsl 20, py:eval(Context, <<"[['x' * 1000] * 1000] * 1000">>)),
    ?assert(py_leaks:resident() - Before < 300 bsl 20).

without_a_bound_any_result_comes(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), max_result_size => infinity}),
    {ok, List} = py:eval(Context, <<"[1.5] * 1_000_000">>),
    ?assertEqual(1_000_000, length(List)).

pool_and_setting_bound_results(Config) ->
    Mode = py_suite:mode(Config),
    ok = py_context_router:start_pool(bounded, 1, #{mode => Mode, max_result_size => 1_000}),
    refused(1_000, py:call(bounded, operator, mul, [<<"x">>, 1_000])),
    ok = py_context_router:stop_pool(bounded),
    ?assertMatch({ok, _}, py:call(operator, mul, [<<"x">>, 1_000])),
    ok = py_suite:restart(Config, #{max_result_size => 500}),
    refused(500, py:call(operator, mul, [<<"x">>, 1_000])),
    refused(500, py:call(py_suite:new_context(Config), operator, mul, [<<"x">>, 1_000])).

wrong_bounds_of_results_are_refused(Config) ->
    [
        ?assertEqual(
            {error, {bad_option, max_result_size, Wrong}},
            py_context:new(#{mode => py_suite:mode(Config), max_result_size => Wrong})
        )
     || Wrong <- [0, -1, 1.5, none]
    ].

%% ------------------------------------------------------------------------------------------------
%% Time

sleep() ->
    [time, sleep, [60]].

started(Config, Options) ->
    ok = py_context_router:start_pool(timed, 1, Options#{mode => py_suite:mode(Config)}),
    %% Its context starts at the first use, and that may take longer.
    {ok, _} = py:call(py_context_router:get_context(timed), math, sqrt, [16]),
    ok.

within(Ms, Fun) ->
    Start = erlang:monotonic_time(millisecond),
    Result = Fun(),
    Took = erlang:monotonic_time(millisecond) - Start,
    ?assert(Took < Ms),
    Result.

calls_of_a_pool_have_its_time_limit(Config) ->
    ok = started(Config, #{timeout => 500}),
    ?assertEqual({ok, none}, py:call(timed, time, sleep, [0.01])),
    ?assertEqual({error, timeout}, within(30_000, fun() -> py:call(timed, time, sleep, [60]) end)),
    ?assertEqual({error, timeout}, within(30_000, fun() -> py:call(timed, time, sleep, [60], #{}) end)),
    ok = py:register_pool(timed, time),
    ?assertEqual({error, timeout}, within(30_000, fun() -> py:call(time, sleep, [60]) end)),
    ?assertEqual({ok, [{error, timeout}]}, within(30_000, fun() -> py:parallel([{time, sleep, [60]}]) end)),
    ?assertMatch(
        {error, {gather_failed, [{1, timeout}]}}, within(30_000, fun() -> py:async_gather([{time, sleep, [60]}]) end)
    ),
    ok = py:unregister_pool(time),
    ?assertEqual({ok, 4.0}, py:call(timed, math, sqrt, [16])),
    ok = py_context_router:stop_pool(timed).

call_that_names_a_time_limit_has_that(Config) ->
    ok = started(Config, #{timeout => 50}),
    ok = py:register_pool(timed, time),
    ?assertEqual({ok, none}, py:call(time, sleep, [0.2], #{}, 30_000)),
    ok = py:unregister_pool(time),
    ok = py_context_router:stop_pool(timed).

explicit_contexts_have_no_time_limit_of_a_pool(Config) ->
    ok = started(Config, #{timeout => 50}),
    Context = py_context_router:get_context(timed),
    ?assertEqual({ok, none}, py:call(Context, time, sleep, [0.2])),
    ok = py_context_router:stop_pool(timed).

several_pools_give_the_longest_time(Config) ->
    ok = started(Config, #{timeout => 50}),
    ok = py:register_pool(timed, math),
    ?assertEqual({ok, [{ok, 4.0}, {ok, none}]}, py:parallel([{math, sqrt, [16]}, {time, sleep, [0.2]}])),
    ok = py:unregister_pool(math),
    ok = py_context_router:stop_pool(timed).

setting_is_the_time_limit_of_the_default_pool(Config) ->
    ok = py_suite:restart(Config, #{call_timeout => 500}),
    {ok, _} = py:call(math, sqrt, [16], #{}, 30_000),
    ?assertEqual({error, timeout}, within(30_000, fun() -> py:call(time, sleep, [60]) end)),
    ?assertEqual({error, timeout}, within(30_000, fun() -> py:eval(<<"__import__('time').sleep(60)">>) end)),
    ?assertEqual({error, timeout}, within(30_000, fun() -> py:exec(<<"__import__('time').sleep(60)">>) end)),
    ?assertEqual({error, timeout}, within(30_000, fun() -> py_event_loop:run(time, sleep, [60]) end)),
    ok = py_suite:restart(Config, #{call_timeout => infinity}),
    ?assertEqual({ok, none}, py:call(time, sleep, [0.1])).

wrong_time_limits_are_refused(Config) ->
    [
        ?assertEqual({error, {bad_option, timeout, Wrong}}, py_context_router:start_pool(timed, 1, #{timeout => Wrong}))
     || Wrong <- [-1, 1.5, 1 bsl 32, never]
    ],
    ?assertEqual({error, {bad_option, timeout, 5}}, py_context:new(#{mode => py_suite:mode(Config), timeout => 5})).

%% ------------------------------------------------------------------------------------------------
%% Atoms

%% The application with room for so many new atoms.
with_room_for(Config, Count) ->
    ok = py_suite:restart(Config, #{}),
    %% Whatever the suites use of their own is an atom by now.
    {error, {'ValueError', _}} = py:eval(<<"int('x')">>),
    Created = py_nif:atoms_max(0),
    ok = py_suite:restart(Config, #{max_atoms => Created + Count}).

new_name(I) ->
    <<"ct_", (integer_to_binary(erlang:unique_integer([positive])))/binary, "_", (integer_to_binary(I))/binary>>.

atom(Name) ->
    py:eval(<<"__import__('erlang').Atom(name)">>, #{name => Name}).

names_become_atoms_up_to_the_bound(Config) ->
    ok = with_room_for(Config, 3),
    [First | _] = Names = [new_name(I) || I <- [1, 2, 3]],
    [?assertEqual({ok, Name}, atom_text(atom(Name))) || Name <- Names],
    Text = py_suite:error_text('ValueError', atom(new_name(4))),
    ok = py_suite:contains(Text, "too many new atoms"),
    %% Those that there are cost nothing.
    ?assertEqual({ok, First}, atom_text(atom(First))),
    ?assertEqual({ok, true}, atom(<<"true">>)).

atom_text({ok, Atom}) when is_atom(Atom) -> {ok, atom_to_binary(Atom)};
atom_text(Other) -> Other.

classes_of_exceptions_are_binaries_beyond_it(Config) ->
    ok = with_room_for(Config, 1),
    Raise = fun(Name) -> py:exec(<<"raise type('", Name/binary, "', (Exception,), {})('text')">>) end,
    First = new_name(1),
    {error, {Class, _}} = Raise(First),
    ?assertEqual(First, atom_to_binary(Class)),
    Second = new_name(2),
    ?assertEqual({error, {Second, <<"text">>}}, error_with_binary(Raise(Second))).

error_with_binary({error, {Class, Text}}) -> {error, {Class, unicode:characters_to_binary(Text)}}.

bound_on_atoms_holds_for_the_life_of_the_node(Config) ->
    ok = with_room_for(Config, 1),
    ?assertMatch({ok, _}, atom(new_name(1))),
    ok = py_suite:stop(),
    ok = py_suite:start(#{context_mode => py_suite:mode(Config), max_atoms => 0}),
    ?assertMatch({error, {'ValueError', _}}, atom(new_name(2))),
    ok = py_suite:stop(),
    ?assertMatch({error, _}, py_suite:start(#{max_atoms => -1})),
    ok = py_suite:start(#{context_mode => py_suite:mode(Config)}).

%% ------------------------------------------------------------------------------------------------
%% All of them

every_documented_bound_has_a_test(_Config) ->
    {ok, Text} = file:read_file(filename:join(py_suite:checkout(), "docs/limits.md")),
    {match, Named} = re:run(Text, "`([a-z_]+_SUITE):([a-z0-9_]+)`", [global, {capture, all_but_first, list}]),
    Rows = [Row || <<"| `", _/binary>> = Row <- binary:split(Text, <<"\n">>, [global])],
    ?assert(length(Rows) >= 11),
    [?assertMatch({match, _}, re:run(Row, "_SUITE:"), Row) || Row <- Rows],
    [
        begin
            Module = list_to_atom(Suite),
            {module, Module} = code:ensure_loaded(Module),
            ?assert(erlang:function_exported(Module, list_to_atom(Case), 1), {Suite, Case})
        end
     || [Suite, Case] <- Named
    ].
