%% The comparison with the standard library's loop tells every kind of outcome, and accepts no list of exceptions that
%% does not fit.
-module(conformance_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(MODULES, [conformance, conformance_node, conformance_process, conformance_report]).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [
        outcomes_are_told_apart,
        a_test_that_hangs_leaves_the_rest,
        a_test_that_kills_the_node_leaves_the_rest,
        memory_is_bounded,
        a_difference_counts_unless_excused,
        a_difference_is_excused_by_what_it_says,
        a_process_without_erlang_is_a_control,
        an_exception_that_no_longer_applies_counts,
        an_exception_for_no_test_counts,
        nothing_compared_is_no_success
    ].

%% The sample runs once; the cases look at what came of it.
init_per_suite(Config) ->
    Folder = filename:join(py_suite:checkout(), "test/conformance"),
    Build = ?config(priv_dir, Config),
    [{ok, _} = compile:file(filename:join(Folder, Module), [{outdir, Build}, report]) || Module <- ?MODULES],
    true = code:add_patha(Build),
    Options = (conformance:defaults(Folder))#{
        package := <<"sample">>,
        loops := [<<"stock">>, <<"sample.loops:Tested">>],
        mode := worker,
        limit := 1000,
        jobs := 1,
        retries := 1,
        log := filename:join(Build, "log.txt")
    },
    {ok, Ran} = conformance:run(Options, [<<"test_sample">>]),
    [{options, Options}, {ran, Ran#{complete := true}} | Config].

end_per_suite(Config) ->
    true = code:del_path(?config(priv_dir, Config)),
    lists:foreach(fun code:purge/1, ?MODULES),
    lists:foreach(fun code:delete/1, ?MODULES).

key(Class, Test) ->
    {<<"test_sample">>, Class, Test}.

%% Those of the control and of the loop under test.
outcomes(Config, Class, Test) ->
    #{results := Results} = ?config(ran, Config),
    #{<<"stock">> := {Control, _, _}, <<"sample.loops:Tested">> := {Tested, _, _}} = maps:get(key(Class, Test), Results),
    {Control, Tested}.

outcomes_are_told_apart(Config) ->
    Of = fun(Test) -> outcomes(Config, <<"Outcomes">>, Test) end,
    ?assertEqual({passed, passed}, Of(<<"test_passes">>)),
    ?assertEqual({failed, failed}, Of(<<"test_fails_with_both">>)),
    ?assertEqual({passed, failed}, Of(<<"test_fails">>)),
    ?assertEqual({passed, skipped}, Of(<<"test_skips">>)),
    ?assertEqual({passed, passed}, Of(<<"test_fails_as_expected">>)),
    ?assertEqual({passed, failed}, Of(<<"test_fails_in_part">>)).

a_test_that_hangs_leaves_the_rest(Config) ->
    ?assertEqual({passed, hangs}, outcomes(Config, <<"Ends">>, <<"test_1_hangs">>)),
    ?assertEqual({passed, passed}, outcomes(Config, <<"Ends">>, <<"test_4_runs_nevertheless">>)).

a_test_that_kills_the_node_leaves_the_rest(Config) ->
    ?assertEqual({passed, crashed}, outcomes(Config, <<"Ends">>, <<"test_2_kills_the_node">>)),
    ?assertEqual({passed, passed}, outcomes(Config, <<"Ends">>, <<"test_4_runs_nevertheless">>)).

memory_is_bounded(Config) ->
    ?assertEqual({passed, failed}, outcomes(Config, <<"Ends">>, <<"test_3_eats_memory">>)).

%% How many failures there are with that list of exceptions.
failures(Config, Exceptions) ->
    File = filename:join(?config(priv_dir, Config), "exceptions.eterm"),
    ok = file:write_file(File, [io_lib:format("~p.~n", [Exception]) || Exception <- Exceptions]),
    ct:capture_start(),
    Failures = conformance_report:print((?config(options, Config))#{exceptions := File}, ?config(ran, Config)),
    ct:capture_stop(),
    {Failures, lists:flatten(ct:capture_get())}.

exception(Class, Test, When) ->
    {"test_sample", Class, Test, When, #{}, "a reason"}.

a_difference_counts_unless_excused(Config) ->
    {6, Text} = failures(Config, []),
    py_suite:contains(Text, "test_sample.Outcomes.test_fails failed: AssertionError"),
    {5, Less} = failures(Config, [exception("Outcomes", "test_fails", always)]),
    nomatch = string:find(Less, "test_sample.Outcomes.test_fails failed"),
    {5, _} = failures(Config, [exception("Outcomes", "test_fails", sometimes)]),
    Elsewhere = {"test_sample", "Outcomes", "test_fails", always, #{before => [3, 12]}, "a reason"},
    {6, _} = failures(Config, [Elsewhere]).

a_difference_is_excused_by_what_it_says(Config) ->
    {6, _} = failures(Config, [{text, "^NameError: ", "a reason"}]),
    {Less, Text} = failures(Config, [{text, "^AssertionError: True is not false", "a reason"}]),
    ?assert(Less < 6),
    nomatch = string:find(Text, "test_sample.Outcomes.test_fails failed").

a_process_without_erlang_is_a_control(Config) ->
    Options = ?config(options, Config),
    {ok, Ran} = conformance_process:run(
        Options, <<"test_sample">>, [{<<"Outcomes">>, [<<"test_passes">>, <<"test_fails_with_both">>, <<"test_skips">>]}]
    ),
    ?assertMatch(
        [{<<"test_fails_with_both">>, failed}, {<<"test_passes">>, passed}, {<<"test_skips">>, passed}],
        lists:sort([{Test, Outcome} || {<<"Outcomes">>, Test, {Outcome, _, _}} <- Ran])
    ).

an_exception_that_no_longer_applies_counts(Config) ->
    {7, Text} = failures(Config, [exception("Outcomes", "test_passes", always)]),
    py_suite:contains(Text, "test_sample.Outcomes.test_passes: it passes"),
    {7, _} = failures(Config, [exception("Outcomes", "test_fails_with_both", always)]),
    {6, _} = failures(Config, [exception("Outcomes", "test_passes", sometimes)]).

an_exception_for_no_test_counts(Config) ->
    {7, Text} = failures(Config, [exception("Outcomes", "test_that_was_renamed", sometimes)]),
    py_suite:contains(Text, "there is no such test").

nothing_compared_is_no_success(Config) ->
    Ran = (?config(ran, Config))#{results := #{}},
    ct:capture_start(),
    Failures = conformance_report:print(?config(options, Config), Ran#{complete := false}),
    ct:capture_stop(),
    ?assertEqual(1, Failures).
