%% Calls: their forms, and whose answer is whose.
-module(call_SUITE).

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
        import_that_is_put_off_is_made,
        names_are_atoms_binaries_or_strings,
        dotted_function_names_are_looked_up_step_by_step,
        keyword_arguments_arrive_by_name,
        keyword_that_is_no_name_is_an_error,
        call_of_four_tells_its_forms_apart,
        call_of_five_tells_its_forms_apart,
        options_of_an_explicit_call_are_checked,
        spawn_call_takes_all_forms_of_call,
        cast_takes_all_forms,
        failed_cast_is_logged,
        refused_submission_has_a_reference_and_a_message,
        bad_input_is_badarg,
        unknown_pool_is_an_error,
        missing_module_is_an_error,
        missing_attribute_is_an_error,
        what_is_not_callable_is_an_error,
        coroutine_is_no_result,
        callers_get_their_own_answers,
        foreign_messages_stay_as_they_are
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

end_per_testcase(_Case, Config) ->
    py_suite:both_answer(Config).

%%% Forms

names_are_atoms_binaries_or_strings(_Config) ->
    [
        ?assertEqual({ok, 4.0}, py:call(Module, Function, [16]))
     || Module <- [math, <<"math">>, "math"], Function <- [sqrt, <<"sqrt">>, "sqrt"]
    ],
    ok.

dotted_function_names_are_looked_up_step_by_step(_Config) ->
    ?assertEqual({ok, <<"a/b">>}, py:call(os, 'path.join', [a, b])),
    ?assertEqual({ok, <<"a/b">>}, py:call('os.path', join, [a, b])),
    ?assertEqual({ok, <<"AB">>}, py:call(builtins, "str.upper", [<<"ab">>])),
    ?assertMatch({error, {'AttributeError', _}}, py:call(os, 'path.nothing.join', [])).

keyword_arguments_arrive_by_name(Config) ->
    Context = ?config(ctx, Config),
    Names = #{a => 1, <<"b">> => 2, 'Größe' => 3},
    Expected = {ok, #{<<"a">> => 1, <<"b">> => 2, <<"Größe"/utf8>> => 3}},
    ?assertEqual(Expected, py:call(builtins, dict, [], Names)),
    ?assertEqual(Expected, py:call(Context, builtins, dict, [], #{kwargs => Names})),
    ?assertEqual({ok, [3, 2, 1]}, py:call(builtins, sorted, [[3, 1, 2]], #{reverse => true})).

keyword_that_is_no_name_is_an_error(_Config) ->
    ?assertMatch({error, {'TypeError', _}}, py:call(builtins, dict, [], #{1 => 2})),
    ?assertMatch({error, {'TypeError', _}}, py:call(builtins, dict, [], #{"name" => 2})),
    ?assertMatch({error, {'ValueError', _}}, py:call(builtins, dict, [], #{<<255>> => 2})),
    ?assertMatch({error, {'TypeError', _}}, py:call(builtins, dict, [], #{a => 1, <<"a">> => 2})).

call_of_four_tells_its_forms_apart(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(Context, "math", <<"sqrt">>, [16])),
    ?assertEqual({ok, 4.0}, py:call(default, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(default, "math", sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16], #{})),
    ?assertEqual({ok, 4.0}, py:call("math", "sqrt", [16], #{})),
    %% A pool is named by an atom, and then so is the function.
    ?assertError(badarg, py:call(<<"default">>, math, sqrt, [16])),
    ?assertError(badarg, py:call(default, math, "sqrt", [16])).

call_of_five_tells_its_forms_apart(Config) ->
    Context = ?config(ctx, Config),
    Reverse = #{reverse => true},
    Expected = {ok, [3, 2, 1]},
    ?assertEqual(Expected, py:call(Context, builtins, sorted, [[3, 1, 2]], #{kwargs => Reverse})),
    ?assertEqual(Expected, py:call(default, builtins, sorted, [[3, 1, 2]], Reverse)),
    ?assertEqual(Expected, py:call(builtins, sorted, [[3, 1, 2]], Reverse, 20_000)),
    ?assertEqual(Expected, py:call("builtins", "sorted", [[3, 1, 2]], Reverse, infinity)).

options_of_an_explicit_call_are_checked(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16], #{})),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16], #{timeout => 20_000})),
    [
        ?assertError(badarg, py:call(Context, math, sqrt, [16], Options))
     || Options <- [#{reverse => true}, #{timeout => -1}, #{timeout => soon}, #{kwargs => []}, [], 5000]
    ],
    ok.

spawn_call_takes_all_forms_of_call(Config) ->
    Context = ?config(ctx, Config),
    Refs = [
        py:spawn_call(math, sqrt, [16]),
        py:spawn_call(math, sqrt, [16], #{}),
        py:spawn_call(default, math, sqrt, [16]),
        py:spawn_call(default, math, sqrt, [16], #{}),
        py:spawn_call(Context, math, sqrt, [16]),
        py:spawn_call(Context, "math", "sqrt", [16], #{})
    ],
    [
        receive
            {py_response, Ref, Result} -> ?assertEqual({ok, 4.0}, Result)
        end
     || Ref <- lists:reverse(Refs)
    ],
    ?assertEqual({ok, [3, 1]}, py:await(py:spawn_call(builtins, sorted, [[1, 3]], #{reverse => true}))),
    ?assertEqual({ok, 4.0}, py:await(py:spawn_call(math, sqrt, [16]), infinity)).

cast_takes_all_forms(Config) ->
    Context = ?config(ctx, Config),
    Mine = py:context(),
    Add = fun(In) -> py:exec(In, <<"casts = []\ndef add(x, y=0): casts.append(x + y)">>) end,
    ok = Add(Context),
    ok = Add(Mine),
    ok = py:cast('__main__', add, [1]),
    ok = py:cast('__main__', add, [1], #{y => 1}),
    ok = py:cast(Context, '__main__', add, [3]),
    ok = py:cast(Context, '__main__', add, [3], #{y => 1}),
    %% Requests of one process to one context are served in order.
    ?assertEqual({ok, [1, 2]}, py:eval(Mine, <<"casts">>)),
    ?assertEqual({ok, [3, 4]}, py:eval(Context, <<"casts">>)),
    ?assertEqual([], py_suite:flush()).

failed_cast_is_logged(Config) ->
    Log = py_suite:capture_log(),
    try
        ok = py:cast(?config(ctx, Config), builtins, int, [<<"no number at all">>]),
        receive
            {log, #{level := error, msg := {report, Report}, meta := #{report_cb := Format}}} ->
                {Text, Values} = Format(Report),
                py_suite:contains(lists:flatten(io_lib:format(Text, Values)), "no number at all")
        end
    after
        py_suite:release_log(Log)
    end,
    ?assertEqual([], py_suite:flush()).

refused_submission_has_a_reference_and_a_message(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_context:stop(Context),
    ?assertEqual({error, {context_died, noproc}}, py:await(py:spawn_call(Context, math, sqrt, [16]))),
    ?assertMatch({error, {no_pool, nowhere}}, py:await(py:spawn_call(nowhere, math, sqrt, [16]))),
    Ref = py:spawn_call(Context, math, sqrt, [16]),
    ok = py:cancel(Ref),
    ?assertEqual([], py_suite:flush()),
    ?assertEqual(ok, py:cast(Context, math, sqrt, [16])).

bad_input_is_badarg(Config) ->
    Context = ?config(ctx, Config),
    Calls = [
        fun() -> py:call(1, sqrt, [16]) end,
        fun() -> py:call(math, {sqrt}, [16]) end,
        fun() -> py:call(math, sqrt, 16) end,
        fun() -> py:call(math, sqrt, [16 | 17]) end,
        fun() -> py:call([1114112], sqrt, [16]) end,
        fun() -> py:call([math], sqrt, [16]) end,
        fun() -> py:call(math, sqrt, [16], []) end,
        fun() -> py:call(math, sqrt, [16], #{}, -1) end,
        fun() -> py:call(math, sqrt, [16], #{}, 1.5) end,
        fun() -> py:call(math, sqrt, [16], #{}, forever) end,
        fun() -> py:call(math, sqrt, [16], [], 1000) end,
        fun() -> py:call(Context, math, sqrt, 16) end,
        fun() -> py:call(Context, 1, sqrt, [16]) end,
        fun() -> py:cast(math, sqrt, 16) end,
        fun() -> py:cast(math, sqrt, [16], 1) end,
        fun() -> py:cast(Context, math, sqrt, 16) end,
        fun() -> py:spawn_call(math, sqrt, 16) end,
        fun() -> py:spawn_call(math, sqrt, [16], 1) end,
        fun() -> py:spawn_call(Context, math, sqrt, [16], []) end,
        fun() -> py:spawn_call("pool", math, sqrt, [16], #{}) end,
        fun() -> py:await(ref) end,
        fun() -> py:await(make_ref(), -1) end,
        fun() -> py:cancel(ref) end,
        fun() -> py:eval(1) end,
        fun() -> py:eval(atom) end,
        fun() -> py:eval([atom]) end,
        fun() -> py:eval(<<"1">>, []) end,
        fun() -> py:eval(<<"1">>, #{}, soon) end,
        fun() -> py:eval(Context, 1) end,
        fun() -> py:eval(Context, <<"1">>, []) end,
        fun() -> py:exec(1) end,
        fun() -> py:exec(<<1:3>>) end,
        fun() -> py:eval(<<1:3>>) end,
        fun() -> py:exec(Context, 1) end,
        fun() -> py:exec(context, <<"1">>) end,
        fun() -> py:parallel(math) end,
        fun() -> py:parallel([{math, sqrt}]) end,
        fun() -> py:parallel([{math, sqrt, 16}]) end,
        fun() -> py:parallel([{math, sqrt, [16]} | tail]) end,
        fun() -> py:interrupt(context) end
    ],
    Wrong = [
        {Call, Other}
     || Call <- Calls,
        Other <- [outcome(Call)],
        Other =/= {error, badarg}
    ],
    ?assertEqual([], Wrong),
    ?assertEqual([], py_suite:flush()).

outcome(Call) ->
    try
        {returned, Call()}
    catch
        Class:Reason -> {Class, Reason}
    end.

unknown_pool_is_an_error(_Config) ->
    ?assertEqual({error, {no_pool, nowhere}}, py:call(nowhere, math, sqrt, [16])),
    ?assertEqual({error, {no_pool, nowhere}}, py:call(nowhere, math, sqrt, [16], #{})).

%%% Errors

missing_module_is_an_error(_Config) ->
    Text = py_suite:error_text('ModuleNotFoundError', py:call(no_such_module, f, [])),
    py_suite:contains(Text, "no_such_module"),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:call('os.no_such_module', f, [])),
    ?assertMatch({error, {_, _}}, py:call(<<>>, f, [])),
    ?assertMatch({error, {_, _}}, py:call(<<"a\0b">>, f, [])),
    ?assertMatch({error, {_, _}}, py:call(<<"..">>, f, [])).

missing_attribute_is_an_error(_Config) ->
    Text = py_suite:error_text('AttributeError', py:call(math, no_such_function, [])),
    py_suite:contains(Text, "no_such_function"),
    ?assertMatch({error, {'AttributeError', _}}, py:call('__main__', no_such_function, [])),
    ?assertMatch({error, {'AttributeError', _}}, py:call(math, <<>>, [])),
    ?assertMatch({error, {'AttributeError', _}}, py:call(math, <<".">>, [])).

what_is_not_callable_is_an_error(_Config) ->
    ?assertMatch({error, {'TypeError', _}}, py:call(math, pi, [])),
    ?assertMatch({error, {'TypeError', _}}, py:call(math, sqrt, [])),
    ?assertMatch({error, {'TypeError', _}}, py:call(math, sqrt, [<<"a">>])).

%%% Many callers

%% It would never run, and nobody would know.
coroutine_is_no_result(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import warnings\n"
        "kept = warnings.catch_warnings()\n"
        "kept.__enter__()\n"
        "async def answer(): return 42\n"
        "def with_warnings_as_errors():\n"
        "    warnings.simplefilter('error')\n"
        "    return answer()\n"
    >>),
    Named = fun({error, {'TypeError', Text}}) -> py_suite:contains(unicode:characters_to_binary(Text), "py:async_call") end,
    ok = Named(py:call(Context, '__main__', answer, [])),
    ok = Named(py:eval(Context, <<"with_warnings_as_errors()">>)),
    %% Contexts of mode worker have one list of filters.
    ok = py:exec(Context, <<"kept.__exit__(None, None, None)">>),
    ?assertEqual({ok, 42}, py_context:submit_await(Context, '__main__', answer, [])),
    ?assertMatch({ok, _}, py:eval(Context, <<"[answer]">>)).

callers_get_their_own_answers(Config) ->
    Context = ?config(ctx, Config),
    Wrong = py_suite:concurrently(200, fun(I) ->
        [
            {I, J, Other}
         || J <- lists:seq(1, 25),
            Other <- [
                py:call(Context, operator, add, [I * 1000, J]),
                py:call(operator, add, [I * 1000, J]),
                py:await(py:spawn_call(operator, add, [I * 1000, J])),
                py:eval(<<"i * 1000 + j">>, #{i => I, j => J})
            ],
            Other =/= {ok, I * 1000 + J}
        ] ++ py_suite:flush()
    end),
    ?assertEqual([], lists:append(Wrong)).

foreign_messages_stay_as_they_are(Config) ->
    Context = ?config(ctx, Config),
    py_suite:fresh(fun() ->
        Messages = [
            case I rem 4 of
                0 -> {py_response, make_ref(), {ok, I}};
                1 -> {make_ref(), {ok, I}};
                2 -> {make_ref(), {error, I}, story};
                3 -> I
            end
         || I <- lists:seq(1, 10_000)
        ],
        [self() ! Message || Message <- Messages],
        {ok, 4.0} = py:call(math, sqrt, [16]),
        {ok, 4.0} = py:call(Context, math, sqrt, [16]),
        {ok, 4.0} = py:await(py:spawn_call(math, sqrt, [16])),
        {error, {'ValueError', _}} = py:call(math, sqrt, [-1]),
        {error, timeout} = py:call(Context, time, sleep, [60], #{timeout => 10}),
        {error, timeout} = py:await(py:spawn_call(time, sleep, [60]), 10),
        ok = py:cancel(py:spawn_call(time, sleep, [60])),
        ok = py:exec(<<"x = 1">>),
        {ok, [{ok, 4.0}, {ok, 5.0}]} = py:parallel([{math, sqrt, [16]}, {math, sqrt, [25]}]),
        ok = py:cast(math, sqrt, [16]),
        {ok, 1} = py:eval(<<"x">>),
        {messages, Left} = erlang:process_info(self(), messages),
        ?assertEqual(Messages, Left)
    end).

%% What lies in the module until then is no function.
import_that_is_put_off_is_made(Config) ->
    Context = py_suite:new_context(Config),
    {ok, Version} = py_suite:version(),
    try
        case Version >= [3, 15] of
            true ->
                ok = py:exec(Context, <<
                    "import sys, types\n"
                    "sys.modules['ct_put_off'] = types.ModuleType('ct_put_off')\n"
                    "exec('lazy from json import dumps', sys.modules['ct_put_off'].__dict__)\n"
                >>),
                ?assertEqual({ok, <<"[1]">>}, py:call(Context, ct_put_off, dumps, [[1]]));
            false ->
                {skip, "Python puts imports off from 3.15 on"}
        end
    after
        py_context:stop(Context)
    end.
