%% Nothing grows under a mixed load: `make soak' lets it go on for as long as one likes.
-module(soak_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(SECONDS, 12).

%% What may be more in the last quarter than in the second one, however long these are: below Python 3.14.1 interpreters that
%% wait for another context, each with a thread, until there are as many as were ever in use at a time. Memory in KiB.
-define(ALLOWED, #{resident => 96 * 1024, threads => 8, fds => 12, atoms => 64, processes => 16, texts => 4096}).

suite() ->
    [{timetrap, {seconds, 240 + seconds()}}].

all() ->
    [nothing_grows_under_a_mixed_load].

nothing_grows_under_a_mixed_load(_Config) ->
    Seed = env("SOAK_SEED", erlang:phash2(os:system_time())),
    ct:pal("SOAK_SEED=~b SOAK_SECONDS=~b", [Seed, seconds()]),
    Node = py_own_node:start(),
    try
        Summary = py_own_node:call(Node, py_soak, run, [Seed, seconds()], 1000 * (seconds() + 200)),
        #{steps := Steps, samples := Samples, grown := Grown, wrong := Wrong} = Summary,
        ct:pal("~b uses; grown: ~tp~n~tp", [Steps, Grown, Samples]),
        ?assertEqual([], Wrong),
        ?assertEqual(#{}, maps:filter(fun(Key, Growth) -> Growth > maps:get(Key, ?ALLOWED) end, Grown)),
        ?assert(lists:all(fun(#{texts := Texts}) -> Texts =< 4096 end, Samples))
    after
        py_own_node:stop(Node)
    end.

seconds() ->
    env("SOAK_SECONDS", ?SECONDS).

env(Name, Default) ->
    case os:getenv(Name) of
        false -> Default;
        Text -> list_to_integer(Text)
    end.
