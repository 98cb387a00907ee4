%% Code that every new context runs first, and what namespaces have of it.
-module(preload_SUITE).

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
        code_is_kept_until_it_is_cleared,
        namespaces_begin_with_what_the_code_has_defined,
        names_are_everybodys_own,
        objects_are_shared,
        contexts_that_run_are_not_changed,
        option_takes_the_place_of_the_nodes_code,
        setting_is_the_code_from_the_start,
        pools_have_code_of_their_own,
        replacement_of_a_dead_context_runs_it_again,
        it_runs_once_for_each_context,
        classes_can_be_pickled_and_described,
        traceback_shows_its_lines,
        names_of_the_namespace_itself_stay,
        tasks_and_callbacks_find_it,
        nothing_is_left_of_it,
        wrong_code_is_refused
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 64}).

%% Every case has the application to itself.
init_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    Config.

end_per_testcase(_Case, _Config) ->
    ok.

new(Config, Options) ->
    {ok, Context} = py_context:new(Options#{mode => py_suite:mode(Config)}),
    Context.

%% ------------------------------------------------------------------------------------------------

code_is_kept_until_it_is_cleared(_Config) ->
    {undefined, false} = {py_preload:get_code(), py_preload:has_preload()},
    [
        begin
            ok = py_preload:set_code(Code),
            {<<"x = 1\ny = 2">>, true} = {py_preload:get_code(), py_preload:has_preload()}
        end
     || Code <- [<<"x = 1\ny = 2">>, "x = 1\ny = 2", [<<"x = 1">>, $\n, ["y", " = 2"]]]
    ],
    ok = py_preload:set_code("x = 'é'"),
    <<"x = 'é'"/utf8>> = py_preload:get_code(),
    ok = py_preload:clear_code(),
    {undefined, false} = {py_preload:get_code(), py_preload:has_preload()},
    ok = py_preload:clear_code().

namespaces_begin_with_what_the_code_has_defined(Config) ->
    ok = py_preload:set_code("import json\nCONFIG = {'debug': True}\ndef double(x):\n    return x * 2\n"),
    Context = new(Config, #{}),
    {ok, 10} = py:eval(Context, "double(5)"),
    {ok, 10} = py:call(Context, '__main__', double, [5]),
    {ok, <<"[1]">>} = py:eval(Context, "json.dumps([1])"),
    {ok, 6} = py_suite:fresh(fun() -> py:eval(Context, "double(3)") end),
    {ok, Environment} = py_context:create_local_env(Context),
    {ok, 8} = py_context:eval(Context, "double(4)", #{}, 30_000, Environment),
    {ok, 2} = py:eval("double(1)").

names_are_everybodys_own(Config) ->
    Context = new(Config, #{preload => "x = 1"}),
    ok = py:exec(Context, "x = 2\ny = 3"),
    {ok, 2} = py:eval(Context, "x"),
    {ok, 1} = py_suite:fresh(fun() -> py:eval(Context, "x") end),
    {error, {'NameError', _}} = py_suite:fresh(fun() -> py:eval(Context, "y") end),
    ok = py:exec(Context, "del x"),
    {ok, 1} = py_suite:fresh(fun() -> py:eval(Context, "x") end).

objects_are_shared(Config) ->
    Context = new(Config, #{preload => "seen = []\ncount = 0\ndef see():\n    global count\n    count += 1\n    return count"}),
    ok = py_suite:fresh(fun() -> py:exec(Context, "seen.append(1)") end),
    {ok, [1]} = py:eval(Context, "seen"),
    {ok, 1} = py:eval(Context, "see()"),
    {ok, 2} = py_suite:fresh(fun() -> py:eval(Context, "see()") end),
    %% The function's names are those of the code.
    {ok, 0} = py:eval(Context, "count").

contexts_that_run_are_not_changed(Config) ->
    Before = new(Config, #{}),
    ok = py_preload:set_code("x = 1"),
    With = new(Config, #{}),
    {error, {'NameError', _}} = py:eval(Before, "x"),
    ok = py_preload:clear_code(),
    {ok, 1} = py:eval(With, "x"),
    {ok, 1} = py_suite:fresh(fun() -> py:eval(With, "x") end),
    {error, {'NameError', _}} = py:eval(new(Config, #{}), "x").

option_takes_the_place_of_the_nodes_code(Config) ->
    ok = py_preload:set_code("x = 1\ny = 1"),
    {ok, 1} = py:eval(new(Config, #{preload => node}), "x"),
    Own = new(Config, #{preload => <<"x = 2">>}),
    {ok, 2} = py:eval(Own, "x"),
    {error, {'NameError', _}} = py:eval(Own, "y"),
    {error, {'NameError', _}} = py:eval(new(Config, #{preload => none}), "x").

setting_is_the_code_from_the_start(Config) ->
    ok = py_suite:restart(Config, #{preload => "x = 1"}),
    {ok, 1} = py:eval("x"),
    {ok, 1} = py:eval(new(Config, #{}), "x"),
    <<"x = 1">> = py_preload:get_code(),
    ok = py_suite:restart(Config, #{preload => none}),
    {error, {'NameError', _}} = py:eval("x").

pools_have_code_of_their_own(Config) ->
    [
        ok = py_context_router:start_pool(Pool, 1, #{mode => py_suite:mode(Config), preload => Code})
     || {Pool, Code} <- [{one, "def f(): return 1"}, {two, "def f(): return 2"}]
    ],
    {{ok, 1}, {ok, 2}} = {py:call(one, '__main__', f, []), py:call(two, '__main__', f, [])},
    {error, _} = py:call('__main__', f, []).

replacement_of_a_dead_context_runs_it_again(Config) ->
    ok = py_context_router:start_pool(one, 1, #{mode => py_suite:mode(Config), preload => "def f(): return 1"}),
    {ok, 1} = py:call(one, '__main__', f, []),
    Dead = py_context_router:get_context(one),
    ok = py_suite:killed(Dead),
    {ok, 1} = py:call(one, '__main__', f, []),
    true = py_context_router:get_context(one) =/= Dead.

it_runs_once_for_each_context(Config) ->
    Self = self(),
    ok = py:register_function(ct_born, fun([]) -> Self ! born, none end),
    Context = new(Config, #{preload => "import erlang\nerlang.call('ct_born')"}),
    _ = py_suite:concurrently(4, fun(_) -> {ok, 1} = py:eval(Context, "1") end),
    [born] = py_suite:flush(),
    _ = new(Config, #{preload => "import erlang\nerlang.call('ct_born')"}),
    [born] = py_suite:flush().

classes_can_be_pickled_and_described(Config) ->
    Code =
        "from dataclasses import dataclass\n"
        "from typing import get_type_hints\n"
        "@dataclass\n"
        "class Point:\n"
        "    x: 'Number'\n"
        "    y: int = 0\n"
        "Number = int\n",
    Context = new(Config, #{preload => Code}),
    ok = py:exec(Context, "import pickle"),
    {ok, true} = py:eval(Context, "pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)"),
    {ok, true} = py:eval(Context, "get_type_hints(Point) == {'x': int, 'y': int}"),
    %% Two contexts of the same interpreter do not take each other's.
    Other = new(Config, #{preload => Code}),
    ok = py:exec(Other, "import pickle"),
    [{ok, true} = py:eval(C, "type(pickle.loads(pickle.dumps(Point(1)))) is Point") || C <- [Other, Context]].

traceback_shows_its_lines(Config) ->
    Context = new(Config, #{preload => "def fails():\n    raise ValueError('no')  # here\n"}),
    {error, {'ValueError', "no"}} = py:eval(Context, "fails()"),
    #{traceback := Frames} = py:last_error(),
    {_File, 2, <<"fails">>, <<"raise ValueError('no')  # here">>} = lists:last(Frames).

names_of_the_namespace_itself_stay(Config) ->
    Context = new(Config, #{preload => "__name__ = 'other'\n__doc__ = 'other'\n_hidden = 1"}),
    {ok, Name} = py:eval(Context, "__name__"),
    {ok, true} = py:eval(Context, "__import__('sys').modules[__name__].__dict__ is globals()"),
    ?assertNotEqual(<<"other">>, Name),
    {ok, 1} = py:eval(Context, "_hidden").

tasks_and_callbacks_find_it(Config) ->
    ok = py_preload:set_code("import asyncio\nasync def soon(x):\n    await asyncio.sleep(0)\n    return x + 1\ndef twice(x): return 2 * x"),
    ok = py_suite:restart(Config, #{preload => py_preload:get_code()}),
    {ok, 2} = py:async_await(py:async_call('__main__', soon, [1])),
    {ok, 4} = py:await(py:spawn_call('__main__', twice, [2])),
    {ok, [6, 8]} = py_parallel().

py_parallel() ->
    {ok, Results} = py:parallel([{'__main__', twice, [3]}, {'__main__', twice, [4]}]),
    {ok, [Value || {ok, Value} <- Results]}.

nothing_is_left_of_it(Config) ->
    Witness = new(Config, #{}),
    File = filename:join(?config(priv_dir, Config), "gone"),
    Code =
        "class Loud:\n"
        "    def __del__(self, open=open):\n"
        "        open(r'" ++ File ++ "', 'a').write('gone ')\n"
        "loud = Loud()\n",
    [
        begin
            Context = new(Config, #{preload => Code}),
            {ok, true} = py:eval(Context, "loud is not None"),
            ok = py_context:stop(Context)
        end
     || _ <- [1, 2]
    ],
    %% Functions and their namespace refer to one another.
    ok = py_leaks:eventually(fun() ->
        {ok, _} = py:eval(Witness, "__import__('gc').collect()"),
        file:read_file(File) =:= {ok, <<"gone gone ">>}
    end),
    ok = file:delete(File),
    {ok, []} = py:eval(Witness, "[name for name in __import__('sys').modules if name.startswith('_erlang_preload')]").

wrong_code_is_refused(_Config) ->
    [?assertError(badarg, py_preload:set_code(Code)) || Code <- [1, atom, #{}, {a}, <<255>>, [a], ["x" | y]]],
    undefined = py_preload:get_code().
