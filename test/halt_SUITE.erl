%% Nodes that end while their contexts are busy: promptly, with the exit status asked for, never by a signal.
%% scripts/halts.sh does the same a hundred times.
-module(halt_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

%% Each way, so often.
-define(TIMES, 4).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        halt_ends_busy_contexts,
        halt_without_flushing_ends_busy_contexts,
        stop_ends_busy_contexts
    ]).

init_per_group(Mode, Config) ->
    case py_suite:init_group(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            ok = py_suite:stop(),
            Started
    end.

end_per_group(_Mode, _Config) ->
    ok.

halt_ends_busy_contexts(Config) ->
    ends(halt, Config).

halt_without_flushing_ends_busy_contexts(Config) ->
    ends(halt_at_once, Config).

stop_ends_busy_contexts(Config) ->
    ends(stop, Config).

ends(Way, Config) ->
    [
        ?assertMatch({status, Status, _}, py_halts:end_one(py_suite:mode(Config), Way, Status))
     || Status <- [0 | lists:seq(1, ?TIMES - 1)]
    ],
    ok.
