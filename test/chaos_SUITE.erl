%% What holds whatever ends: `make chaos' lets it go on for as long as one likes.
-module(chaos_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(SECONDS, 8).

suite() ->
    [{timetrap, {seconds, 240 + seconds()}}].

all() ->
    [everything_is_answered_once_and_given_back_whatever_ends].

everything_is_answered_once_and_given_back_whatever_ends(_Config) ->
    Seed = env("CHAOS_SEED", erlang:phash2(os:system_time())),
    ct:pal("CHAOS_SEED=~b CHAOS_SECONDS=~b", [Seed, seconds()]),
    Node = py_own_node:start(),
    try
        Summary = py_own_node:call(Node, py_chaos, run, [Seed, 1000 * seconds()], 1000 * (seconds() + 200)),
        ct:pal("~tp", [Summary]),
        #{uses := Uses, answers := Answers, ended := Ended, wrong := Wrong} = Summary,
        ?assertEqual([], Wrong),
        ?assert(Uses > 0),
        ?assert(maps:size(Ended) > 0),
        %% In a minute every use was right at some time, and everything was ended.
        ?assertEqual([], [calls || seconds() >= 60, Uses =< 1000]),
        ?assertEqual([], [Use || seconds() >= 60, Use <- lists:seq(1, 20), not lists:member(Use, [3, 4, 16, 18]), not is_map_key({Use, right}, Answers)]),
        All = [application, calls, contexts, contexts_of_pools, processes],
        ?assertEqual([], [What || seconds() >= 60, What <- All, not is_map_key(What, Ended)])
    after
        py_own_node:stop(Node)
    end.

seconds() ->
    env("CHAOS_SECONDS", ?SECONDS).

env(Name, Default) ->
    case os:getenv(Name) of
        false -> Default;
        Text -> list_to_integer(Text)
    end.
