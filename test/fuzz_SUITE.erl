%% Inputs made at random: nothing but answers, and a node that goes on. By `make fuzz' for as long as one likes.
-module(fuzz_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

%% Inputs of a property where nothing is said.
-define(TRIALS, 100).

suite() ->
    [{timetrap, {seconds, 120 + 2 * env("FUZZ_SECONDS", 0)}}].

all() ->
    [
        any_term_comes_back_or_is_refused,
        any_object_is_converted_or_refused,
        any_code_is_answered,
        any_options_are_taken_or_refused_by_name,
        any_arguments_are_taken_or_refused_with_words,
        any_use_of_native_functions_is_answered_or_refused,
        nothing_is_adopted_of_a_context_that_is_not_stuck
    ].

%% Each fails, too, when what was used is not given back in the end.
any_term_comes_back_or_is_refused(Config) -> holds(prop_terms, Config).

any_object_is_converted_or_refused(Config) -> holds(prop_objects, Config).

any_code_is_answered(Config) -> holds(prop_code, Config).

any_options_are_taken_or_refused_by_name(Config) -> holds(prop_options, Config).

any_arguments_are_taken_or_refused_with_words(Config) -> holds(prop_arguments, Config).

any_use_of_native_functions_is_answered_or_refused(Config) -> holds(prop_native, Config).

%% Its queue has a thread that serves it; and taking from one's own would never end.
nothing_is_adopted_of_a_context_that_is_not_stuck(_Config) ->
    ok = py_suite:start(#{}),
    try
        [{ok, Own}, {ok, Other}] = [py_context:handle(py_suite:new_context([{mode, worker}])) || _ <- [1, 2]],
        ?assertEqual({0, 0}, {py_nif:context_adopt(Own, Own), py_nif:context_adopt(Own, Other)})
    after
        py_suite:stop()
    end.

holds(Property, Config) ->
    Seed = env("FUZZ_SEED", erlang:phash2({os:system_time(), Property})),
    From = env("FUZZ_FROM", 1),
    Amount =
        case env("FUZZ_SECONDS", none) of
            none -> {trials, env("FUZZ_TRIALS", ?TRIALS)};
            Seconds -> {seconds, Seconds}
        end,
    ct:pal("~p: FUZZ_SEED=~b FUZZ_FROM=~b, ~tp", [Property, Seed, From, Amount]),
    case py_fuzz:run(Property, {Seed, From}, Amount, ?config(priv_dir, Config)) of
        {ok, Last} -> {comment, io_lib:format("up to input ~b of seed ~b", [Last, Seed])};
        {failed, Story} -> ct:fail(Story#{seed => Seed})
    end.

env(Name, Default) ->
    case os:getenv(Name) of
        false -> Default;
        Text -> list_to_integer(Text)
    end.
