%% What suites share whose cases are Python functions that raise when something is wrong.
-module(py_loop_cases).

-export([init_group/4, init_case/2, end_case/1, run/3]).

-include_lib("stdlib/include/assert.hrl").

%% A context in that mode for the whole group; `First' is a case that loads what the others need.
init_group(Mode, Config, Module, First) ->
    py_suite:init_group_with_context(Mode, Config, fun(Context) ->
        ok = py_suite:python_path(Context),
        ok = py_suite:install(Context),
        {ok, none} = py:call(Context, ct_loops, warm_up, []),
        {ok, none} = py:call(Context, Module, First, []),
        ok
    end).

init_case(Case, Config) ->
    ok = py_suite:both_answer(Config),
    [{name, Case}, {before, py_leaks:snapshot()}, {signals, py_suite:open()} | Config].

%% No descriptor of a case stays.
end_case(Config) ->
    ok = py_suite:close(proplists:get_value(signals, Config)),
    {ok, _} = py:call(proplists:get_value(ctx, Config), gc, collect, []),
    ok = py_suite:all_is_well(Config),
    py_leaks:check(proplists:get_value(before, Config)).

%% The function of the case's name.
run(Config, Module, Arguments) ->
    Context = proplists:get_value(ctx, Config),
    Result = py:call(Context, Module, proplists:get_value(name, Config), Arguments),
    [ct:pal("~tp", [py:last_error()]) || Result =/= {ok, none}],
    ?assertEqual({ok, none}, Result).
