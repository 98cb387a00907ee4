%% What goes wrong in Python, as the caller is answered. Its story is told in error_story_SUITE.
-module(errors_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        every_exception_is_an_answer,
        every_situation_has_its_answer,
        claims_about_the_class_are_not_believed,
        exception_without_a_usable_text_is_an_answer,
        long_messages_say_what_they_leave_out,
        lone_surrogates_are_written_out,
        endless_recursion_is_an_answer,
        module_that_refuses_the_interpreter_names_the_remedy,
        interrupt_of_a_message_in_the_making_is_an_interrupt,
        one_interrupt_ends_all_messages_of_a_chain,
        caller_that_dies_during_a_message_does_no_harm,
        class_names_do_not_fill_the_atom_table
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

end_per_testcase(_Case, Config) ->
    py_suite:all_is_well(Config).

every_exception_is_an_answer(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "class Custom(Exception): pass\n"
        "class Quiet(BaseException): pass\n"
        "def fail(code):\n"
        "    exec('raise ' + code, globals())\n"
    >>),
    Fail = fun(Code) -> py:call(Context, '__main__', fail, [Code]) end,
    ?assertEqual({error, {'ValueError', "x"}}, Fail(<<"ValueError('x')">>)),
    ?assertEqual({error, {'ValueError', ""}}, Fail(<<"ValueError">>)),
    ?assertEqual({error, {'ValueError', [16#65e5, 0, $x]}}, Fail(<<"ValueError('\\u65e5\\0x')">>)),
    ?assertEqual({error, {'KeyError', "'k'"}}, Fail(<<"KeyError('k')">>)),
    ?assertEqual({error, {'Custom', "(1, 2)"}}, Fail(<<"Custom(1, 2)">>)),
    ?assertEqual({error, {'Quiet', "q"}}, Fail(<<"Quiet('q')">>)),
    ?assertEqual({error, {'SystemExit', "3"}}, Fail(<<"SystemExit(3)">>)),
    ?assertEqual({error, {'SystemExit', ""}}, py:call(Context, sys, exit, [])),
    ?assertEqual({error, {'KeyboardInterrupt', ""}}, Fail(<<"KeyboardInterrupt">>)),
    ?assertEqual({error, {'GeneratorExit', ""}}, Fail(<<"GeneratorExit">>)),
    ?assertEqual({error, {'MemoryError', ""}}, Fail(<<"MemoryError">>)),
    ?assertEqual({error, {stop_iteration, none}}, Fail(<<"StopIteration(5)">>)),
    ?assertEqual({error, {stop_iteration, none}}, py:eval(Context, <<"next(iter([]))">>)),
    ?assertEqual({error, {'StopAsyncIteration', ""}}, Fail(<<"StopAsyncIteration">>)),
    ?assertEqual(
        {error, {'ExceptionGroup', "both (2 sub-exceptions)"}},
        Fail(<<"ExceptionGroup('both', [ValueError(1), Custom(2)])">>)
    ),
    ?assertMatch({error, {'BaseExceptionGroup', _}}, Fail(<<"BaseExceptionGroup('b', [KeyboardInterrupt()])">>)),
    ?assertMatch({error, {'TypeError', _}}, Fail(<<"5">>)),
    ?assertMatch({error, {'UnicodeDecodeError', _}}, py:call(Context, builtins, 'bytes.decode', [{bytes, <<255>>}])).

exception_without_a_usable_text_is_an_answer(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "class Mute(Exception):\n"
        "    def __str__(self): raise ValueError('cannot say')\n"
        "class Odd(Exception):\n"
        "    def __str__(self): return 5\n"
        "class Exits(Exception):\n"
        "    def __str__(self): raise SystemExit\n"
        "class Deep(Exception):\n"
        "    def __str__(self): return str(self)\n"
        "def fail(cls): raise globals()[cls]()\n"
        "def named():\n"
        "    raise type('Zo\\u00eb\\u65e5', (Exception,), {})('x')\n"
        "def long_named():\n"
        "    raise type('L' * 1000, (Exception,), {})('x')\n"
        "def nameless():\n"
        "    raise type('', (Exception,), {})('x')\n"
    >>),
    [
        begin
            Text = py_suite:error_text(list_to_atom(Class), py:call(Context, '__main__', fail, [list_to_binary(Class)])),
            py_suite:contains(Text, Class)
        end
     || Class <- ["Mute", "Odd", "Exits", "Deep"]
    ],
    ?assertMatch({error, {_, "x"}}, py:call(Context, '__main__', named, [])),
    ?assertMatch({error, {_, "x"}}, py:call(Context, '__main__', long_named, [])),
    ?assertMatch({error, {'', "x"}}, py:call(Context, '__main__', nameless, [])).

endless_recursion_is_an_answer(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "def down(): return down()\n"
        "class Get:\n"
        "    def __getattr__(self, name): return getattr(self, name + 'x')\n"
        "class Str:\n"
        "    def __repr__(self): return repr([self])\n"
    >>),
    ?assertMatch({error, {'RecursionError', _}}, py:call(Context, '__main__', down, [])),
    ?assertMatch({error, {'RecursionError', _}}, py:eval(Context, <<"Get().a">>)),
    ?assertMatch({error, {'RecursionError', _}}, py:eval(Context, <<"repr(Str())">>)),
    %% Deeper than the default limit of Python, on the context's own stack.
    ?assertMatch(
        {error, {'RecursionError', _}},
        py:eval(Context, <<"sorted([3, 1, 2], key=lambda x: down())">>)
    ).

every_situation_has_its_answer(Config) ->
    Context = py_suite:new_context(Config),
    ?assertEqual({error, {'ValueError', "message"}}, py:exec(Context, <<"raise ValueError('message')">>)),
    ?assertEqual({error, {stop_iteration, none}}, py:eval(Context, <<"next(iter(()))">>)),
    ok = py:exec(Context, <<"class Mine(StopIteration): pass">>),
    ?assertEqual({error, {stop_iteration, none}}, py:exec(Context, <<"raise Mine(1)">>)),
    ?assertEqual({error, interrupted}, py:exec(Context, <<"import erlang\nraise erlang.Interrupted">>)),
    ?assertMatch(#{type := 'Interrupted', module := <<"erlang">>}, py:last_error()),
    ?assertEqual({error, timeout}, py:call(Context, time, sleep, [60], #{timeout => 10})),
    ?assertError(badarg, py:call(Context, math, sqrt, 16)),
    ok = py_suite:install(Context),
    Socket = py_suite:open(),
    Caller = py_suite:spawn_caller(fun() ->
        py:call(Context, ct_signals, sleep, [py_suite:port(Socket), <<"runs">>, 60])
    end),
    _ = py_suite:await_signal(Socket, <<"runs">>),
    ok = py:interrupt(Context),
    ?assertEqual({result, {error, interrupted}}, py_suite:await_down(Caller, 30_000)),
    py_suite:close(Socket),
    ok = py_context:stop(Context),
    ?assertEqual({error, {context_died, noproc}}, py:eval(Context, <<"1">>)).

%% Answers that mean something else are given by the type alone.
claims_about_the_class_are_not_believed(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "class Claims(Exception):\n"
        "    def __init__(self, cls): self.cls = cls\n"
        "    @property\n"
        "    def __class__(self): return self.cls\n"
        "    def __str__(self): return 'claims'\n"
        "class Raises(Exception):\n"
        "    @property\n"
        "    def __class__(self): raise SystemExit\n"
    >>),
    [
        ?assertEqual({error, {'Claims', "claims"}}, py:exec(Context, ["raise Claims(", Class, ")"]))
     || Class <- ["StopIteration", "erlang.Interrupted", "SyntaxError", "BaseExceptionGroup", "ImportError", "5"]
    ],
    ?assertEqual({error, {'Raises', ""}}, py:exec(Context, <<"raise Raises">>)),
    ?assertMatch(#{type := 'Raises', cause := undefined}, py:last_error()).

long_messages_say_what_they_leave_out(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"def big(n): raise ValueError('x' * n)">>),
    {error, {'ValueError', Whole}} = py:call(Context, '__main__', big, [10_000_000]),
    ?assertEqual(10_000_000, length(Whole)),
    {error, {'ValueError', Cut}} = py:call(Context, '__main__', big, [100_000_000]),
    ?assertEqual(" ... [90000000 more characters]", lists:nthtail(10_000_000, Cut)),
    #{message := Message} = py:last_error(),
    ?assert(Message =:= Cut),
    %% It is not kept for longer than anybody wants it.
    {error, _} = py:eval(Context, <<"1/0">>),
    ok.

lone_surrogates_are_written_out(Config) ->
    Context = ?config(ctx, Config),
    Code = <<
        "class Odd(Exception): pass\n"
        "Odd.__module__ = 'm\\udc80'\n"
        "e = Odd('a\\ud800b')\n"
        "e.add_note('n\\udfff')\n"
        "raise e"
    >>,
    ?assertEqual({error, {'Odd', "a\\ud800b"}}, py:exec(Context, Code)),
    #{message := "a\\ud800b", module := <<"m\\udc80">>, notes := [<<"n\\udfff">>]} = Story = py:last_error(),
    py_suite:contains(maps:get(traceback_text, Story), "m\\udc80.Odd: a\\ud800b\nn\\udfff\n").

module_that_refuses_the_interpreter_names_the_remedy(Config) ->
    Context = ?config(ctx, Config),
    Code = <<"raise ImportError('module x does not support loading in subinterpreters')">>,
    Text = py_suite:error_text('ImportError', py:exec(Context, Code)),
    py_suite:contains(Text, "mode => worker"),
    py_suite:contains(Text, "module x does not"),
    py_suite:contains(maps:get(traceback_text, py:last_error()), "mode => worker").

%% A class of exceptions whose text never ends.
endless() ->
    <<
        "import ct_signals\n"
        "class Endless(Exception):\n"
        "    def __str__(self):\n"
        "        ct_signals.spin(self.args[0], 'told')\n"
    >>.

%% What a call of the function `fail' answers that is interrupted while its exception is asked, and the story.
interrupted_while_told(Config, Socket, Fail) ->
    Context = ?config(ctx, Config),
    ok = py_suite:install(Context),
    Caller = py_suite:spawn_caller(fun() ->
        ok = py:exec(Context, [endless(), Fail]),
        Result = py:call(Context, '__main__', fail, [py_suite:port(Socket)]),
        {Result, py:last_error()}
    end),
    _ = py_suite:await_signal(Socket, <<"told">>),
    ok = py:interrupt(Context),
    {result, Told} = py_suite:await_down(Caller, 30_000),
    Told.

interrupt_of_a_message_in_the_making_is_an_interrupt(Config) ->
    Socket = py_suite:open(),
    {Result, Story} = interrupted_while_told(Config, Socket, "def fail(port): raise Endless(port)\n"),
    ?assertEqual({error, interrupted}, Result),
    ?assertMatch(#{type := 'Interrupted'}, Story),
    py_suite:close(Socket).

%% Each of them would go on for ever; the context is not given up as stuck, so one after the other ends.
one_interrupt_ends_all_messages_of_a_chain(Config) ->
    Socket = py_suite:open(),
    {Result, Story} = interrupted_while_told(Config, Socket, <<
        "def fail(port):\n"
        "    e = None\n"
        "    for _ in range(90):\n"
        "        below, e = e, Endless(port)\n"
        "        e.__context__ = below\n"
        "    last = ValueError('last')\n"
        "    last.__context__ = e\n"
        "    raise last\n"
    >>),
    ?assertEqual({error, {'ValueError', "last"}}, Result),
    #{type := 'ValueError', context := #{type := 'Endless', context := #{message := Below}}} = Story,
    py_suite:contains(Below, "interrupted"),
    %% Only the first one was asked.
    receive
        {udp, Socket, _, _, Tag} -> ct:fail({asked, Tag})
    after 0 -> ok
    end,
    py_suite:close(Socket).

caller_that_dies_during_a_message_does_no_harm(Config) ->
    Context = ?config(ctx, Config),
    Socket = py_suite:open(),
    ok = py_suite:install(Context),
    {Caller, Monitor} = py_suite:spawn_caller(fun() ->
        ok = py:exec(Context, endless()),
        py:eval(Context, <<"(_ for _ in ()).throw(Endless(port))">>, #{port => py_suite:port(Socket)})
    end),
    _ = py_suite:await_signal(Socket, <<"told">>),
    ok = py_suite:killed(Caller),
    receive
        {'DOWN', Monitor, process, Caller, killed} -> ok
    end,
    ?assertEqual({ok, 1}, py:eval(Context, <<"1">>)),
    py_suite:close(Socket).

%% In a node of its own, since it uses up what a node allows.
class_names_do_not_fill_the_atom_table(Config) ->
    py_suite:in_peer(?MODULE, use_up_class_names, Config).

use_up_class_names(Mode) ->
    ok = py_suite:start(#{context_mode => Mode, num_contexts => 1}),
    ok = py:exec(<<
        "def boom(i): raise type(f'Made{i}By', (Exception,), {})('x')\n"
        "def chained(i):\n"
        "    try: boom(i)\n"
        "    except Exception as e: raise ValueError from e\n"
        "def grouped(i, n):\n"
        "    raise ExceptionGroup('g', [type(f'Made{i + k}By', (Exception,), {})('x') for k in range(n)])\n"
    >>),
    Before = erlang:system_info(atom_count),
    Name = fun(I) -> iolist_to_binary(io_lib:format("Made~bBy", [I])) end,
    Types = [
        begin
            {error, {Class, "x"}} = py:call('__main__', boom, [I]),
            #{type := Class} = py:last_error(),
            ?assertEqual(Name(I), text(Class)),
            Class
        end
     || I <- lists:seq(1, 5_000)
    ],
    %% Atoms as long as there is room, then binaries.
    {Atoms, Binaries} = lists:splitwith(fun is_atom/1, Types),
    ?assert(length(Atoms) > 4_000),
    ?assert(length(Binaries) > 900),
    ?assertEqual([], [Class || Class <- Binaries, is_atom(Class)]),
    %% The same bound holds for every exception of a story.
    {error, {'ValueError', ""}} = py:call('__main__', chained, [10_000]),
    ?assertMatch(#{type := 'ValueError', cause := #{type := <<"Made10000By">>}}, py:last_error()),
    [
        begin
            {error, {'ExceptionGroup', _}} = py:call('__main__', grouped, [20_000 + 50 * I, 50]),
            #{exceptions := Members} = py:last_error(),
            ?assertEqual([Name(20_000 + 50 * I + K) || K <- lists:seq(0, 49)], [T || #{type := T} <- Members])
        end
     || I <- lists:seq(1, 20)
    ],
    ?assert(erlang:system_info(atom_count) - Before =< 4_400),
    %% Known classes stay atoms.
    {error, {'LookupError', ""}} = py:exec(<<"raise LookupError">>),
    ?assertMatch(#{type := 'LookupError'}, py:last_error()),
    ok = py_suite:stop().

text(Class) when is_atom(Class) -> atom_to_binary(Class);
text(Class) -> Class.

