%% What goes wrong in Python, as the caller is answered, and the story that py:last_error/0 tells about it.
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
        class_names_do_not_fill_the_atom_table,

        last_error_tells_the_whole_story,
        last_error_is_each_process_s_own,
        stories_of_many_callers_do_not_mix,
        only_calls_that_wait_change_the_last_error,
        failed_cast_logs_the_traceback,
        plain_exception_has_every_key,
        cause_is_told,
        context_is_told_where_python_shows_it,
        chains_that_bite_their_tail_end,
        long_chains_are_cut,
        members_of_groups_are_told,
        wide_and_deep_groups_are_cut,
        notes_are_told,
        notes_may_be_anything,
        many_notes_are_cut,
        properties_do_not_hide_what_happened,
        module_of_a_class_may_be_anything,
        long_tracebacks_are_cut_in_the_middle,
        long_names_are_cut,
        syntax_error_tells_its_place,
        fields_of_a_syntax_error_may_be_anything
    ]).

init_per_group(Mode, Config) ->
    case py_suite:init_group(Mode, Config) of
        {skip, _} = Skip -> Skip;
        Started -> [{ctx, py_suite:new_context(Started)} | Started]
    end.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% After every case the context that it used answers, and nothing is left in the mailbox.
end_per_testcase(_Case, Config) ->
    {ok, 4.0} = py:call(?config(ctx, Config), math, sqrt, [16]),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ?assertEqual([], py_suite:flush()),
    ok.

%% The story of what a text raises.
story(Config, Code) ->
    {error, _} = py:exec(?config(ctx, Config), Code),
    py:last_error().

%%% Answers

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

interrupt_of_a_message_in_the_making_is_an_interrupt(Config) ->
    Context = ?config(ctx, Config),
    Socket = py_suite:open(),
    ok = py_suite:install(Context),
    Fail = fun() ->
        ok = py:exec(Context, <<
            "import ct_signals\n"
            "class Endless(Exception):\n"
            "    def __str__(self):\n"
            "        ct_signals.spin(self.args[0], 'told')\n"
            "def fail(port): raise Endless(port)\n"
        >>),
        Result = py:call(Context, '__main__', fail, [py_suite:port(Socket)]),
        {Result, py:last_error()}
    end,
    Caller = py_suite:spawn_caller(Fail),
    _ = py_suite:await_signal(Socket, <<"told">>),
    ok = py:interrupt(Context),
    {result, {Result, Story}} = py_suite:await_down(Caller, 30_000),
    ?assertEqual({error, interrupted}, Result),
    ?assertMatch(#{type := 'Interrupted'}, Story),
    py_suite:close(Socket).

%% Each of them would go on for ever; the context is not given up as stuck, so one after the other ends.
one_interrupt_ends_all_messages_of_a_chain(Config) ->
    Context = ?config(ctx, Config),
    Socket = py_suite:open(),
    ok = py_suite:install(Context),
    Fail = fun() ->
        ok = py:exec(Context, <<
            "import ct_signals\n"
            "class Endless(Exception):\n"
            "    def __str__(self):\n"
            "        ct_signals.spin(self.args[0], 'told')\n"
            "def fail(port):\n"
            "    e = None\n"
            "    for _ in range(90):\n"
            "        below, e = e, Endless(port)\n"
            "        e.__context__ = below\n"
            "    last = ValueError('last')\n"
            "    last.__context__ = e\n"
            "    raise last\n"
        >>),
        Result = py:call(Context, '__main__', fail, [py_suite:port(Socket)]),
        {Result, py:last_error()}
    end,
    Caller = py_suite:spawn_caller(Fail),
    _ = py_suite:await_signal(Socket, <<"told">>),
    ok = py:interrupt(Context),
    {result, {Result, Story}} = py_suite:await_down(Caller, 30_000),
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
        ok = py:exec(Context, <<
            "import ct_signals\n"
            "class Endless(Exception):\n"
            "    def __str__(self):\n"
            "        ct_signals.spin(self.args[0], 'told')\n"
        >>),
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

%%% Stories

last_error_tells_the_whole_story(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "class Custom(Exception): pass\n"
        "def inner(): raise Custom('why')\n"
        "def outer(): inner()\n"
    >>),
    ?assertEqual({error, {'Custom', "why"}}, py:call(Context, '__main__', outer, [])),
    #{type := 'Custom', module := Module, message := "why", traceback := Frames} = py:last_error(),
    ?assertMatch(<<"_erlang_process_", _/binary>>, Module),
    ?assertMatch([{_, 3, <<"outer">>, _}, {_, 2, <<"inner">>, _}], Frames),
    {error, {'JSONDecodeError', _}} = py:call(Context, json, loads, [<<>>]),
    #{type := 'JSONDecodeError', module := <<"json.decoder">>, traceback := JsonFrames} = py:last_error(),
    {File, _, _, Source} = lists:last(JsonFrames),
    ?assert(filelib:is_regular(File)),
    py_suite:contains(unicode:characters_to_list(Source), "raise JSONDecodeError"),
    %% A call that succeeds changes nothing.
    {ok, _} = py:call(Context, math, sqrt, [16]),
    ?assertMatch(#{type := 'JSONDecodeError'}, py:last_error()),
    {error, {stop_iteration, none}} = py:eval(Context, <<"next(iter([]))">>),
    ?assertMatch(#{type := 'StopIteration'}, py:last_error()).

last_error_is_each_process_s_own(_Config) ->
    {error, {'ValueError', _}} = py:call(builtins, int, [<<"a">>]),
    ?assertMatch(#{type := 'ValueError'}, py:last_error()),
    ?assertEqual(undefined, py_suite:fresh(fun py:last_error/0)),
    ?assertMatch(#{type := 'ValueError'}, py:last_error()).

stories_of_many_callers_do_not_mix(Config) ->
    Context = ?config(ctx, Config),
    Messages = py_suite:concurrently(20, fun(I) ->
        Expected = integer_to_list(I),
        Code = ["raise ValueError(", Expected, ") from KeyError(", Expected, ")"],
        lists:usort([
            begin
                {error, {'ValueError', Expected}} = py:exec(Where, Code),
                #{message := Message, cause := #{message := Cause}} = py:last_error(),
                {Message, Cause}
            end
         || _ <- lists:seq(1, 20), Where <- [Context, py:context()]
        ])
    end),
    ?assertEqual([[{integer_to_list(I), integer_to_list(I)}] || I <- lists:seq(1, 20)], Messages).

only_calls_that_wait_change_the_last_error(Config) ->
    Context = ?config(ctx, Config),
    {error, {'ZeroDivisionError', _}} = py:eval(Context, <<"1/0">>),
    {error, {'ValueError', _}} = py:await(py:spawn_call(Context, builtins, int, [<<"a">>])),
    {ok, [{error, {'ValueError', _}}]} = py:parallel([{builtins, int, [<<"a">>]}]),
    {error, timeout} = py:call(Context, time, sleep, [60], #{timeout => 10}),
    ?assertMatch(#{type := 'ZeroDivisionError'}, py:last_error()).

failed_cast_logs_the_traceback(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"def fail():\n    raise ValueError('b') from KeyError('a')">>),
    Log = py_suite:capture_log(),
    try
        ok = py:cast(Context, '__main__', fail, []),
        receive
            {log, #{level := error, msg := {report, #{error := Error} = Report}, meta := #{report_cb := Format}}} ->
                {Text, Values} = Format(Report),
                Logged = unicode:characters_to_list(io_lib:format(Text, Values)),
                py_suite:contains(Logged, "KeyError: 'a'\n\nThe above exception was"),
                py_suite:contains(Logged, "    raise ValueError('b') from KeyError('a')\nValueError: b"),
                ?assertMatch(#{type := 'ValueError', cause := #{type := 'KeyError'}}, Error)
        end
    after
        py_suite:release_log(Log)
    end.

plain_exception_has_every_key(Config) ->
    Story = story(Config, <<"raise ValueError('x')">>),
    ?assertEqual(
        [cause, context, message, module, notes, traceback, traceback_text, type],
        lists:sort(maps:keys(Story))
    ),
    ?assertMatch(
        #{
            type := 'ValueError',
            module := <<"builtins">>,
            message := "x",
            traceback := [{<<"<erlang exec ", _/binary>>, 1, <<"<module>">>, <<"raise ValueError('x')">>}],
            notes := [],
            cause := undefined,
            context := undefined
        },
        Story
    ),
    %% One that was never raised, or not by Python code.
    {error, _} = py:call(?config(ctx, Config), builtins, int, [<<"a">>]),
    #{traceback := [], traceback_text := Text} = py:last_error(),
    ?assertEqual(<<"ValueError: invalid literal for int() with base 10: 'a'\n">>, Text).

cause_is_told(Config) ->
    #{type := 'ValueError', context := undefined, cause := Cause} = story(Config, <<
        "def low():\n"
        "    raise KeyError('k')\n"
        "try:\n"
        "    low()\n"
        "except KeyError as e:\n"
        "    raise ValueError('v') from e\n"
    >>),
    ?assertMatch(
        #{
            type := 'KeyError',
            module := <<"builtins">>,
            message := "'k'",
            cause := undefined,
            context := undefined,
            notes := [],
            traceback := [{_, 4, <<"<module>">>, <<"low()">>}, {_, 2, <<"low">>, <<"raise KeyError('k')">>}]
        },
        Cause
    ),
    ?assertEqual(lists:sort(maps:keys(py:last_error())), lists:sort(maps:keys(Cause))),
    %% A cause hides the context, even if Python code asks for that again.
    Both = story(Config, <<
        "e = ValueError('v')\n"
        "e.__context__ = TypeError()\n"
        "e.__cause__ = KeyError()\n"
        "e.__suppress_context__ = False\n"
        "raise e\n"
    >>),
    ?assertMatch(#{cause := #{type := 'KeyError'}, context := undefined}, Both).

context_is_told_where_python_shows_it(Config) ->
    Raise = fun(How) ->
        story(Config, ["try: 1/0\nexcept ZeroDivisionError: raise ValueError('v')", How])
    end,
    ?assertMatch(#{cause := undefined, context := #{type := 'ZeroDivisionError'}}, Raise("")),
    ?assertMatch(#{cause := undefined, context := undefined}, Raise(" from None")),
    ?assertMatch(#{cause := #{type := 'KeyError'}, context := undefined}, Raise(" from KeyError()")).

chains_that_bite_their_tail_end(Config) ->
    Own = story(Config, <<"e = ValueError('own')\ne.__cause__ = e\nraise e">>),
    ?assertMatch(#{cause := undefined, context := undefined, omitted := #{cause := 1}}, Own),
    Ring = story(Config, <<
        "a, b, c = ValueError('a'), ValueError('b'), ValueError('c')\n"
        "a.__context__, b.__context__, c.__cause__ = b, c, a\n"
        "raise a\n"
    >>),
    ?assertMatch(
        #{message := "a", context := #{message := "b", context := #{message := "c", cause := undefined, omitted := #{cause := 1}}}},
        Ring
    ),
    Group = story(Config, <<"g = ExceptionGroup('g', [e := ValueError()])\ne.__cause__ = g\nraise g">>),
    ?assertMatch(#{exceptions := [#{type := 'ValueError', cause := undefined, omitted := #{cause := 1}}]}, Group).

long_chains_are_cut(Config) ->
    [
        begin
            Story = story(Config, [
                "e = None\n"
                "for i in range(20_000):\n"
                "    below, e = e, ValueError(str(i))\n"
                "    e.", Link, " = below\n"
                "raise e\n"
            ]),
            Chain = chain(Story),
            ?assertEqual([integer_to_list(I) || I <- lists:seq(19_999, 19_900, -1)], [M || #{message := M} <- Chain]),
            ?assertMatch(#{cause := undefined, context := undefined, omitted := #{Key := 1}}, lists:last(Chain))
        end
     || {Key, Link} <- [{cause, "__cause__"}, {context, "__context__"}]
    ],
    %% Taken apart step by step: some versions of Python end the node when they free a long chain at once.
    ok = py:exec(?config(ctx, Config), <<"e = None">>).

chain(undefined) -> [];
chain(#{cause := undefined, context := Below} = Story) -> [Story | chain(Below)];
chain(#{cause := Below} = Story) -> [Story | chain(Below)].

members_of_groups_are_told(Config) ->
    Story = story(Config, <<
        "def low(): raise KeyError('k')\n"
        "try: low()\n"
        "except KeyError as e: known = e\n"
        "raise ExceptionGroup('outer', [known, ExceptionGroup('inner', [TypeError('t')])])\n"
    >>),
    ?assertMatch(
        #{
            type := 'ExceptionGroup',
            message := "outer (2 sub-exceptions)",
            exceptions := [
                #{type := 'KeyError', traceback := [_, {_, 1, <<"low">>, _}]},
                #{type := 'ExceptionGroup', exceptions := [#{type := 'TypeError', message := "t"}]}
            ]
        },
        Story
    ),
    #{exceptions := [Plain | _]} = Story,
    ?assertNot(is_map_key(exceptions, Plain)),
    Derived = story(Config, <<
        "class Mine(BaseExceptionGroup):\n"
        "    exceptions = property(lambda self: 1/0)\n"
        "raise Mine('m', [KeyboardInterrupt()])\n"
    >>),
    ?assertMatch(#{type := 'Mine', exceptions := [#{type := 'KeyboardInterrupt'}]}, Derived).

wide_and_deep_groups_are_cut(Config) ->
    Wide = story(Config, <<"raise ExceptionGroup('w', [ValueError(i) for i in range(1000)])">>),
    #{exceptions := Members, omitted := #{exceptions := 901}} = Wide,
    ?assertEqual([integer_to_list(I) || I <- lists:seq(0, 98)], [M || #{message := M} <- Members]),
    py_suite:contains(maps:get(traceback_text, Wide), "and 985 more exceptions"),
    Deep = story(Config, <<
        "g = ValueError()\n"
        "for i in range(500): g = ExceptionGroup(str(i), [g])\n"
        "raise g"
    >>),
    ?assertEqual(100, depth(Deep)),
    py_suite:contains(maps:get(traceback_text, Deep), "max_group_depth is 10"),
    %% As a tree it has more leaves than there are atoms in the universe.
    Doubled = story(Config, <<
        "g = ValueError()\n"
        "for i in range(300): g = ExceptionGroup(str(i), [g, g])\n"
        "raise g"
    >>),
    ?assertEqual(100, count(Doubled)),
    ok = py:exec(?config(ctx, Config), <<"g = None">>).

depth(#{exceptions := [Member | _]}) -> 1 + depth(Member);
depth(#{}) -> 1.

count(#{exceptions := Members}) -> 1 + lists:sum([count(Member) || Member <- Members]);
count(#{}) -> 1.

notes_are_told(Config) ->
    Story = story(Config, <<
        "e = ValueError('v')\n"
        "e.add_note('first')\n"
        "e.add_note('z\\u00f6\\u65e5\\nlines')\n"
        "raise e\n"
    >>),
    ?assertMatch(#{notes := [<<"first">>, <<"zö日\nlines"/utf8>>]}, Story),
    py_suite:contains(maps:get(traceback_text, Story), <<"ValueError: v\nfirst\nzö日\nlines\n"/utf8>>).

notes_may_be_anything(Config) ->
    Notes = fun(Code) -> maps:get(notes, story(Config, ["e = ValueError()\n", Code, "\nraise e"])) end,
    ?assertEqual([], Notes("e.__notes__ = None")),
    ?assertEqual([], Notes("e.__notes__ = []")),
    ?assertEqual([<<"5">>], Notes("e.__notes__ = 5")),
    ?assertEqual([<<"'text'">>], Notes("e.__notes__ = 'text'")),
    ?assertEqual([<<"a">>, <<"1">>, <<"None">>], Notes("e.__notes__ = ('a', 1, None)")),
    ?assertEqual([<<"note str() failed">>], [string:trim(N, both, "<>") || N <- Notes(
        "class Bad:\n    def __str__(self): raise SystemExit\ne.__notes__ = [Bad()]"
    )]),
    ?assertEqual([<<"<__notes__ repr() failed>">>], Notes(
        "class Bad:\n    def __repr__(self): return 5\ne.__notes__ = Bad()"
    )),
    %% A note that changes the list that it is in.
    ?assertEqual([<<"shrinks">>], Notes(
        "class Bad:\n"
        "    def __str__(self):\n"
        "        e.__notes__.clear()\n"
        "        return 'shrinks'\n"
        "e.__notes__ = [Bad(), 'gone']"
    )),
    Raised = story(Config, <<
        "class C(Exception):\n"
        "    @property\n"
        "    def __notes__(self): raise ValueError('no notes')\n"
        "raise C\n"
    >>),
    ?assertMatch(#{type := 'C', notes := [<<"<the __notes__ of this C failed>">>]}, Raised),
    Attributes = story(Config, <<
        "class C(Exception):\n"
        "    def __getattribute__(self, name): raise SystemExit\n"
        "raise C('c')\n"
    >>),
    ?assertMatch(#{type := 'C', message := "c", notes := [_]}, Attributes).

many_notes_are_cut(Config) ->
    #{notes := Notes, omitted := #{notes := 900}} = Story = story(Config, <<
        "e = ValueError()\n"
        "e.__notes__ = [str(i) for i in range(1000)]\n"
        "raise e\n"
    >>),
    ?assertEqual([integer_to_binary(I) || I <- lists:seq(0, 99)], Notes),
    py_suite:contains(maps:get(traceback_text, Story), "[900 notes left out]"),
    #{notes := [Long | _] = Longs, omitted := #{notes := LeftOut}} = story(Config, <<
        "e = ValueError()\n"
        "e.__notes__ = ['x' * 1_000_000 for i in range(100)]\n"
        "raise e\n"
    >>),
    py_suite:contains(Long, " ... [990000 more characters]"),
    ?assertEqual(100, length(Longs) + LeftOut),
    ?assert(iolist_size(Longs) < 300_000).

properties_do_not_hide_what_happened(Config) ->
    Story = story(Config, <<
        "def no(self): raise SystemExit\n"
        "class Hides(Exception):\n"
        "    __cause__ = __context__ = __traceback__ = __suppress_context__ = __dict__ = property(no)\n"
        "try: 1/0\n"
        "except ZeroDivisionError: raise Hides('x')\n"
    >>),
    ?assertMatch(
        #{type := 'Hides', message := "x", traceback := [{_, 5, _, _}], context := #{type := 'ZeroDivisionError'}},
        Story
    ).

module_of_a_class_may_be_anything(Config) ->
    Module = fun(Code) ->
        #{module := Name, traceback_text := Text} = story(Config, ["class C(Exception): pass\n", Code, "\nraise C()"]),
        py_suite:contains(Text, [Name, ".C\n"]),
        Name
    end,
    ?assertEqual(<<"a.b">>, Module("C.__module__ = 'a.b'")),
    ?assertEqual(<<"<unknown>">>, Module("C.__module__ = 5")),
    ?assertEqual(<<"<unknown>">>, Module("C.__module__ = None")),
    ?assertEqual(<<"<unknown>">>, Module(
        "class M(type):\n"
        "    __module__ = property(lambda cls: 1/0)\n"
        "class C(Exception, metaclass=M): pass"
    )),
    ?assertEqual(<<"<unknown>">>, Module(
        "class M(type):\n"
        "    def __getattribute__(cls, name): raise SystemExit\n"
        "class C(Exception, metaclass=M): pass"
    )),
    ?assertMatch(<<_:10_000/binary, " ... [990000 more characters]">>, Module("C.__module__ = 'x' * 1_000_000")).

long_tracebacks_are_cut_in_the_middle(Config) ->
    Story = story(Config, <<
        "def down(n):\n"
        "    if n: down(n - 1)\n"
        "    else: raise ValueError\n"
        "def start(): down(500)\n"
        "start()\n"
    >>),
    #{traceback := Frames, omitted := #{frames := 303}} = Story,
    ?assertEqual(200, length(Frames)),
    ?assertMatch([{_, 5, <<"<module>">>, _}, {_, 4, <<"start">>, _}, {_, 2, <<"down">>, _} | _], Frames),
    ?assertMatch({_, 3, <<"down">>, <<"else: raise ValueError">>}, lists:last(Frames)),
    py_suite:contains(maps:get(traceback_text, Story), "\n  [303 frames left out]\n").

%% Each would be too much for every frame and every exception of a story.
long_names_are_cut(Config) ->
    Story = story(Config, <<
        "Big = type('B' * 10_000_000, (Exception,), {'__qualname__': 'Q' * 10_000_000})\n"
        "made = compile('raise Big from Big()', 'f' * 10_000_000, 'exec')\n"
        "exec(made.replace(co_qualname='q' * 10_000_000))\n"
    >>),
    #{type := Type, traceback := Frames, traceback_text := Text, cause := #{type := Type}} = Story,
    py_suite:contains(Type, " ... [9990000 more characters]"),
    {File, 1, Function, <<>>} = lists:last(Frames),
    py_suite:contains(File, " ... [9995904 more characters]"),
    py_suite:contains(Function, " ... [9995904 more characters]"),
    ?assert(byte_size(Text) < 100_000).

syntax_error_tells_its_place(Config) ->
    Context = ?config(ctx, Config),
    {error, {'SyntaxError', _}} = py:exec(Context, <<"x = 1\ny = 2 +* 3\n">>),
    #{syntax := Syntax, traceback := [], traceback_text := Text} = py:last_error(),
    ?assertMatch(
        #{
            file := <<"<erlang exec ", _/binary>>,
            line := 2,
            column := 8,
            end_line := 2,
            end_column := 9,
            text := <<"y = 2 +* 3\n">>
        },
        Syntax
    ),
    #{file := File} = Syntax,
    ?assertEqual(
        <<"  File \"", File/binary, "\", line 2\n    y = 2 +* 3\n           ^\nSyntaxError: invalid syntax\n">>,
        Text
    ),
    {error, {'SyntaxError', _}} = py:eval(Context, <<"1 +* 2">>),
    ?assertMatch(#{syntax := #{file := <<"<erlang eval ", _/binary>>, line := 1, column := 4}}, py:last_error()).

fields_of_a_syntax_error_may_be_anything(Config) ->
    Syntax = fun(Fields) ->
        #{traceback_text := _, syntax := Told} = story(Config, [
            "e = SyntaxError('m')\n",
            [["e.", Name, " = ", Value, $\n] || {Name, Value} <- Fields],
            "raise e"
        ]),
        Told
    end,
    Nothing = #{
        file => undefined,
        line => undefined,
        column => undefined,
        end_line => undefined,
        end_column => undefined,
        text => undefined
    },
    ?assertEqual(Nothing, Syntax([])),
    ?assertEqual(Nothing, Syntax([{Name, "object()"} || Name <- fields()])),
    ?assertEqual(Nothing, Syntax([{Name, "b'x'"} || Name <- fields()])),
    ?assertEqual(
        Nothing#{line := 7, file := <<"f">>, text := <<"t">>},
        Syntax([{"lineno", "7"}, {"filename", "'f'"}, {"text", "'t'"}, {"offset", "2**100"}])
    ),
    %% No marks without end.
    [
        ?assertMatch(#{column := N, end_column := N}, Syntax([
            {"lineno", "1"}, {"end_lineno", "1"}, {"text", "'text'"}, {"offset", integer_to_list(N)}, {"end_offset", integer_to_list(N)}
        ]))
     || N <- [0, -1, 1, 4, 5, 6, 1_000_000_000_000, -1_000_000_000_000]
    ],
    ok.

fields() ->
    ["msg", "filename", "lineno", "offset", "end_lineno", "end_offset", "text", "print_file_and_line"].
