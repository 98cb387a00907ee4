%% Code as text: where it runs, what it leaves, and how the interpreter around it differs from a stand-alone one.
-module(eval_exec_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            expression_gives_its_value,
            statements_give_ok,
            code_is_a_binary_or_a_string,
            what_exec_defines_is_there_for_eval_and_calls,
            namespace_is_the_process_s_own,
            namespace_is_the_context_s_own,
            namespace_goes_with_its_process,
            parts_of_calls_run_in_the_caller_s_namespace,
            locals_are_names_of_one_evaluation,
            locals_that_are_no_names_do_no_harm,
            classes_of_exec_can_be_pickled,
            classes_of_exec_work_as_dataclasses,
            classes_of_exec_have_type_hints,
            time_out_of_eval_comes_on_time,
            syntax_error_is_an_answer,
            null_character_in_code_is_an_error,
            invalid_utf8_in_code_is_an_error,
            code_outside_ascii_runs,
            encoding_cookie_means_nothing,
            huge_code_runs,
            deeply_nested_code_is_an_answer,
            same_text_many_times_gives_fresh_results,
            many_texts_do_not_exhaust_the_cache,
            same_text_as_expression_and_statement,
            sleep_takes_what_time_sleep_takes,
            sleep_is_interrupted,
            standard_input_is_empty,
            print_does_no_harm,
            environment_of_the_node_never_changes,
            removed_builtins_do_no_harm,
            namespace_removed_from_sys_modules_does_no_harm,
            interrupted_is_no_exception_that_code_catches_by_habit
        ],
        [
            os_environ_is_the_context_s_own,
            serving_thread_is_the_main_thread,
            new_threads_are_not_daemons,
            modules_are_the_context_s_own
        ]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

end_per_testcase(_Case, Config) ->
    py_suite:both_answer(Config).

%%% Code and namespaces

expression_gives_its_value(Config) ->
    ?assertEqual({ok, 3}, py:eval(<<"1 + 2">>)),
    ?assertEqual({ok, 3}, py:eval(?config(ctx, Config), <<"1 + 2">>)),
    ?assertEqual({ok, 3}, py:eval(<<"  1 + 2\n">>)),
    ?assertEqual({ok, none}, py:eval(<<"None">>)).

statements_give_ok(Config) ->
    ?assertEqual(ok, py:exec(<<"x = 1">>)),
    ?assertEqual(ok, py:exec(?config(ctx, Config), <<"x = 1\nfor i in range(3): pass">>)),
    ?assertEqual(ok, py:exec(<<>>)),
    ?assertEqual(ok, py:exec(<<"5">>)),
    ?assertMatch({error, {'ZeroDivisionError', _}}, py:exec(<<"1 / 0">>)).

code_is_a_binary_or_a_string(Config) ->
    ?assertEqual({ok, <<"é日"/utf8>>}, py:eval("'é日'")),
    ?assertEqual(ok, py:exec("x = 'é日'")),
    ?assertEqual({ok, <<"é日"/utf8>>}, py:eval(["x"])),
    ?assertEqual({ok, 2}, py:eval(?config(ctx, Config), "1 + 1")).

what_exec_defines_is_there_for_eval_and_calls(_Config) ->
    ok = py:exec(<<"n = 1\ndef double(x, times=2): return x * times * n">>),
    ?assertEqual({ok, 1}, py:eval(<<"n">>)),
    ?assertEqual({ok, 6}, py:eval(<<"double(3)">>)),
    [
        ?assertEqual({ok, 6}, py:call(Main, double, [3]))
     || Main <- ['__main__', <<"__main__">>, "__main__"]
    ],
    ?assertEqual({ok, 9}, py:call('__main__', double, [3], #{times => 3})),
    ok = py:exec(<<"n = 2">>),
    ?assertEqual({ok, 12}, py:call('__main__', double, [3])),
    ok = py:exec(<<"def set_n(x):\n    global n\n    n = x">>),
    {ok, none} = py:call('__main__', set_n, [5]),
    ?assertEqual({ok, 5}, py:eval(<<"n">>)).

namespace_is_the_process_s_own(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"mine = 'first'">>),
    py_suite:fresh(fun() ->
        ?assertMatch({error, {'NameError', _}}, py:eval(Context, <<"mine">>)),
        ok = py:exec(Context, <<"mine = 'second'">>)
    end),
    ?assertEqual({ok, <<"first">>}, py:eval(Context, <<"mine">>)).

namespace_is_the_context_s_own(Config) ->
    Other = py_suite:new_context(Config),
    ok = py:exec(?config(ctx, Config), <<"where = 1">>),
    ?assertMatch({error, {'NameError', _}}, py:eval(Other, <<"where">>)),
    ok = py_context:stop(Other).

namespace_goes_with_its_process(Config) ->
    Context = ?config(ctx, Config),
    Socket = py_suite:open(),
    ok = py_suite:install(Context),
    Port = py_suite:port(Socket),
    Name = py_suite:fresh(fun() ->
        ok = py:exec(Context, <<
            "import weakref, ct_signals, sys\n"
            "class Thing: pass\n"
            "thing = Thing()\n"
        >>),
        {ok, _} = py:eval(Context, <<"weakref.finalize(thing, ct_signals.signal, port, 'gone') and None">>, #{port => Port}),
        {ok, Own} = py:eval(Context, <<"__name__">>),
        {ok, true} = py:eval(Context, <<"__name__ in sys.modules">>),
        Own
    end),
    ?assertMatch(<<"_erlang_process_", _/binary>>, Name),
    %% A class belongs to a cycle of its own, so the collector is asked.
    {ok, _} = py:call(Context, gc, collect, []),
    _ = py_suite:await_signal(Socket, <<"gone">>),
    ?assertEqual({ok, false}, py:eval(Context, <<"n in __import__('sys').modules">>, #{n => Name})),
    py_suite:close(Socket).

parts_of_calls_run_in_the_caller_s_namespace(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"seen = []\ndef see(x):\n    seen.append(x)\n    return len(seen)">>),
    ?assertEqual({ok, 1}, py:await(py:spawn_call(Context, '__main__', see, [a]))),
    ok = py:cast(Context, '__main__', see, [b]),
    ?assertEqual({ok, [<<"a">>, <<"b">>]}, py:eval(Context, <<"seen">>)).

locals_are_names_of_one_evaluation(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, 7}, py:eval(Context, <<"x + y">>, #{x => 3, <<"y">> => 4})),
    ?assertMatch({error, {'NameError', _}}, py:eval(Context, <<"x">>)),
    ok = py:exec(Context, <<"x = 1">>),
    ?assertEqual({ok, 2}, py:eval(Context, <<"x">>, #{x => 2})),
    ?assertEqual({ok, 1}, py:eval(Context, <<"x">>)),
    ?assertEqual({ok, 9}, py:eval(<<"x * x">>, #{x => 3}, 20_000)),
    ?assertEqual({ok, 9}, py:eval(<<"größe * größe"/utf8>>, #{'größe' => 3})).

locals_that_are_no_names_do_no_harm(_Config) ->
    ?assertEqual({ok, 1}, py:eval(<<"1">>, #{1 => 2})),
    ?assertMatch({error, {'TypeError', _}}, py:eval(<<"1">>, #{[] => 2})),
    ?assertMatch({error, {'TypeError', _}}, py:eval(<<"1">>, #{x => [1 | 2]})).

classes_of_exec_can_be_pickled(_Config) ->
    ok = py:exec(<<
        "import pickle\n"
        "class Point:\n"
        "    def __init__(self, x): self.x = x\n"
        "def f(): return 'f'\n"
    >>),
    ?assertEqual({ok, 5}, py:eval(<<"pickle.loads(pickle.dumps(Point(5))).x">>)),
    ?assertEqual({ok, <<"f">>}, py:eval(<<"pickle.loads(pickle.dumps(f))()">>)),
    ?assertEqual({ok, true}, py:eval(<<"Point.__module__ == __name__ == f.__module__">>)).

classes_of_exec_work_as_dataclasses(_Config) ->
    ok = py:exec(<<
        "from dataclasses import dataclass, field, asdict, KW_ONLY\n"
        "from typing import ClassVar\n"
        "@dataclass\n"
        "class Item:\n"
        "    name: 'str'\n"
        "    n: int = 1\n"
        "    count: 'ClassVar[int]' = 0\n"
        "    _: 'KW_ONLY' = None\n"
        "    tags: list = field(default_factory=list)\n"
    >>),
    ?assertEqual(
        {ok, #{<<"name">> => <<"a">>, <<"n">> => 2, <<"tags">> => []}},
        py:eval(<<"asdict(Item('a', 2))">>)
    ).

classes_of_exec_have_type_hints(_Config) ->
    ok = py:exec(<<
        "import typing\n"
        "class Node:\n"
        "    next: 'Node'\n"
        "    value: 'typing.List[int]'\n"
    >>),
    ?assertEqual({ok, true}, py:eval(<<"typing.get_type_hints(Node)['next'] is Node">>)).

time_out_of_eval_comes_on_time(_Config) ->
    Begin = erlang:monotonic_time(millisecond),
    ?assertEqual({error, timeout}, py:eval(<<"all(iter(int, 1)) or [0 for _ in iter(int, 1)]">>, #{}, 100)),
    ?assert(erlang:monotonic_time(millisecond) - Begin < 5_000),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)).

syntax_error_is_an_answer(_Config) ->
    ?assertMatch({error, {'SyntaxError', _}}, py:eval(<<"1 +">>)),
    ?assertMatch({error, {'SyntaxError', _}}, py:eval(<<>>)),
    ?assertMatch({error, {'SyntaxError', _}}, py:eval(<<"x = 1">>)),
    ?assertMatch({error, {'SyntaxError', _}}, py:exec(<<"def">>)),
    ?assertMatch({error, {'IndentationError', _}}, py:exec(<<"if 1:\npass">>)),
    ?assertMatch({error, {'TabError', _}}, py:exec(<<"if 1:\n        x=1\n\ty=2">>)),
    ?assertMatch(#{type := 'TabError', module := <<"builtins">>}, py:last_error()).

null_character_in_code_is_an_error(_Config) ->
    ?assertMatch({error, {_, "source code" ++ _}}, py:eval(<<"1\0">>)),
    ?assertMatch({error, {_, "source code" ++ _}}, py:exec(<<"x = 1\0y = 2">>)),
    ?assertMatch({error, {_, "source code" ++ _}}, py:exec(<<0>>)).

invalid_utf8_in_code_is_an_error(_Config) ->
    py_suite:contains(py_suite:error_text('ValueError', py:eval(<<"'", 255, "'">>)), "UTF-8"),
    py_suite:contains(py_suite:error_text('ValueError', py:exec(<<"# ", 16#c3>>)), "UTF-8").

code_outside_ascii_runs(_Config) ->
    ok = py:exec(<<"größe = '日本'; 𝔘 = 1"/utf8>>),
    ?assertEqual({ok, <<"日本"/utf8>>}, py:eval(<<"größe"/utf8>>)),
    ?assertMatch({error, {'SyntaxError', _}}, py:eval(<<"“x”"/utf8>>)).

encoding_cookie_means_nothing(_Config) ->
    ok = py:exec(<<"# -*- coding: latin-1 -*-\nx = 'é'"/utf8>>),
    ?assertEqual({ok, <<"é"/utf8>>}, py:eval(<<"x">>)).

huge_code_runs(_Config) ->
    Lines = [["v", integer_to_list(I), " = ", integer_to_list(I), "\n"] || I <- lists:seq(1, 50_000)],
    ok = py:exec(iolist_to_binary(Lines)),
    ?assertEqual({ok, 50_000}, py:eval(<<"v50000">>)),
    Text = binary:copy(<<"x">>, 16 bsl 20),
    ?assertEqual({ok, byte_size(Text)}, py:eval(<<"len('", Text/binary, "')">>)).

deeply_nested_code_is_an_answer(_Config) ->
    [
        begin
            Code = iolist_to_binary([binary:copy(Open, N), "1", binary:copy(Close, N)]),
            %% Some depths are fine for some versions.
            ?assertMatch({Outcome, _} when Outcome =:= ok; Outcome =:= error, py:eval(Code))
        end
     || {Open, Close} <- [{<<"(">>, <<")">>}, {<<"[">>, <<"]">>}, {<<"-">>, <<>>}, {<<"f(">>, <<")">>}],
        N <- [5_000, 200_000]
    ],
    ?assertMatch({Outcome, _} when Outcome =:= ok; Outcome =:= error, py:eval(binary:copy(<<"1+">>, 100_000))),
    Sum = iolist_to_binary(["1", binary:copy(<<"+1">>, 100_000)]),
    ?assertMatch({Outcome, _} when Outcome =:= ok; Outcome =:= error, py:eval(Sum)).

same_text_many_times_gives_fresh_results(_Config) ->
    ok = py:exec(<<"n = 0">>),
    [ok = py:exec(<<"n += 1">>) || _ <- lists:seq(1, 2_000)],
    ?assertEqual({ok, 2_000}, py:eval(<<"n">>)),
    ?assertEqual([{ok, I * I} || I <- lists:seq(1, 2_000)], [py:eval(<<"x * x">>, #{x => I}) || I <- lists:seq(1, 2_000)]),
    %% Code that failed once is not remembered as failing.
    ?assertMatch({error, {'NameError', _}}, py:eval(<<"later">>)),
    ok = py:exec(<<"later = 1">>),
    ?assertEqual({ok, 1}, py:eval(<<"later">>)).

many_texts_do_not_exhaust_the_cache(_Config) ->
    [
        ?assertEqual({ok, I + 1}, py:eval(iolist_to_binary([integer_to_list(I), " + 1"])))
     || I <- lists:seq(1, 5_000)
    ],
    ?assertEqual({ok, 2}, py:eval(<<"1 + 1">>)).

same_text_as_expression_and_statement(_Config) ->
    [
        begin
            ?assertEqual({ok, 2}, py:eval(<<"1 + 1">>)),
            ?assertEqual(ok, py:exec(<<"1 + 1">>))
        end
     || _ <- [1, 2]
    ],
    ok.

%%% The interpreter

sleep_takes_what_time_sleep_takes(_Config) ->
    ?assertEqual({ok, none}, py:call(time, sleep, [0])),
    ?assertEqual({ok, none}, py:call(time, sleep, [0.001])),
    ?assertEqual({ok, none}, py:eval(<<"__import__('time').sleep(True and 0)">>)),
    ?assertMatch({error, {'ValueError', _}}, py:call(time, sleep, [-1])),
    ?assertMatch({error, {'ValueError', _}}, py:eval(<<"__import__('time').sleep(float('nan'))">>)),
    ?assertMatch({error, {'OverflowError', _}}, py:call(time, sleep, [1.0e300])),
    ?assertMatch({error, {'TypeError', _}}, py:call(time, sleep, [<<"1">>])),
    ?assertMatch({error, {'TypeError', _}}, py:call(time, sleep, [])),
    ok = py:exec(<<"import time\nb = time.monotonic()\ntime.sleep(0.05)\ne = time.monotonic()">>),
    ?assertEqual({ok, true}, py:eval(<<"e - b >= 0.05">>)).

sleep_is_interrupted(Config) ->
    Begin = erlang:monotonic_time(millisecond),
    ?assertEqual({error, timeout}, py:call(?config(ctx, Config), time, sleep, [1000], #{timeout => 50})),
    ?assertEqual({ok, 2}, py:eval(?config(ctx, Config), <<"1 + 1">>)),
    ?assert(erlang:monotonic_time(millisecond) - Begin < 5_000).

standard_input_is_empty(_Config) ->
    ?assertEqual({ok, <<>>}, py:eval(<<"__import__('sys').stdin.read()">>)),
    ?assertMatch({error, {'RuntimeError', "breakpoint() waits for a terminal" ++ _}}, py:eval(<<"breakpoint()">>)),
    ?assertMatch({error, {'EOFError', _}}, py:eval(<<"input()">>)).

print_does_no_harm(_Config) ->
    ?assertEqual({ok, none}, py:call(builtins, print, [<<>>], #{'end' => <<>>, flush => true})),
    ?assertEqual({ok, none}, py:eval(<<"print('', end='', file=__import__('sys').stderr, flush=True)">>)),
    ok = py:exec(<<
        "import sys\n"
        "out, sys.stdout = sys.stdout, None\n"
        "try: print('nowhere')\n"
        "finally: sys.stdout = out\n"
    >>).

environment_of_the_node_never_changes(_Config) ->
    false = os:getenv("CT_FROM_PYTHON"),
    ok = py:exec(<<
        "import os\n"
        "os.environ['CT_FROM_PYTHON'] = '1'\n"
        "os.putenv('CT_FROM_PYTHON', '2')\n"
        "old = os.environ.get('HOME')\n"
        "os.environ.pop('HOME', None)\n"
        "os.unsetenv('PATH')\n"
    >>),
    try
        ?assertEqual({ok, <<"1">>}, py:eval(<<"os.environ['CT_FROM_PYTHON']">>)),
        ?assertEqual(false, os:getenv("CT_FROM_PYTHON")),
        ?assertNotEqual(false, os:getenv("PATH"))
    after
        ok = py:exec(<<"del os.environ['CT_FROM_PYTHON']\nif old is not None: os.environ['HOME'] = old">>)
    end.

removed_builtins_do_no_harm(_Config) ->
    py_suite:fresh(fun() ->
        ok = py:exec(<<"del __builtins__">>),
        %% Python gives a namespace without builtins new ones, or none at all.
        ?assertMatch({Outcome, _} when Outcome =:= ok; Outcome =:= error, py:eval(<<"len([])">>)),
        ok = py:exec(<<"globals().clear()">>),
        ?assertMatch({Outcome, _} when Outcome =:= ok; Outcome =:= error, py:eval(<<"len([])">>)),
        ok
    end).

namespace_removed_from_sys_modules_does_no_harm(_Config) ->
    py_suite:fresh(fun() ->
        ok = py:exec(<<"import sys\nx = 1\ndel sys.modules[__name__]">>),
        ?assertEqual({ok, 1}, py:eval(<<"x">>)),
        ok
    end),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)).

interrupted_is_no_exception_that_code_catches_by_habit(_Config) ->
    ?assertEqual(
        {ok, [true, false, false, false]},
        py:eval(<<
            "[issubclass(__import__('erlang').Interrupted, c)"
            " for c in (BaseException, Exception, KeyboardInterrupt, SystemExit)]"
        >>)
    ).

os_environ_is_the_context_s_own(Config) ->
    Other = py_suite:new_context(Config),
    ok = py:exec(?config(ctx, Config), <<"import os\nos.environ['CT_OWN'] = '1'">>),
    ?assertEqual({ok, none}, py:eval(Other, <<"__import__('os').environ.get('CT_OWN')">>)),
    ?assertEqual({ok, <<"1">>}, py:eval(?config(ctx, Config), <<"os.environ['CT_OWN']">>)),
    ok = py:exec(?config(ctx, Config), <<"del os.environ['CT_OWN']">>),
    ok = py_context:stop(Other).

serving_thread_is_the_main_thread(Config) ->
    ?assertEqual(
        {ok, [true, false, true]},
        py:eval(?config(ctx, Config), <<
            "[(t := __import__('threading')).main_thread() is t.current_thread(),"
            " t.current_thread().daemon, t.main_thread().ident == t.get_ident()]"
        >>)
    ).

new_threads_are_not_daemons(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import threading\n"
        "seen = []\n"
        "t = threading.Thread(target=lambda: seen.append(threading.current_thread().daemon))\n"
        "t.start()\n"
        "t.join()\n"
    >>),
    ?assertEqual({ok, [false]}, py:eval(Context, <<"seen">>)).

modules_are_the_context_s_own(Config) ->
    Other = py_suite:new_context(Config),
    ok = py:exec(?config(ctx, Config), <<"import math\nmath.ct_mark = 1">>),
    ?assertEqual({ok, false}, py:eval(Other, <<"hasattr(__import__('math'), 'ct_mark')">>)),
    ok = py:exec(?config(ctx, Config), <<"del math.ct_mark">>),
    ok = py_context:stop(Other).
