%% The story that py:last_error/0 tells about what went wrong in Python.
-module(error_story_SUITE).

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
    py_suite:init_group_with_context(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

end_per_testcase(_Case, Config) ->
    py_suite:all_is_well(Config).

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
    Story = py_suite:story(Config, <<"raise ValueError('x')">>),
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
    #{type := 'ValueError', context := undefined, cause := Cause} = py_suite:story(Config, <<
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
    Both = py_suite:story(Config, <<
        "e = ValueError('v')\n"
        "e.__context__ = TypeError()\n"
        "e.__cause__ = KeyError()\n"
        "e.__suppress_context__ = False\n"
        "raise e\n"
    >>),
    ?assertMatch(#{cause := #{type := 'KeyError'}, context := undefined}, Both).

context_is_told_where_python_shows_it(Config) ->
    Raise = fun(How) ->
        py_suite:story(Config, ["try: 1/0\nexcept ZeroDivisionError: raise ValueError('v')", How])
    end,
    ?assertMatch(#{cause := undefined, context := #{type := 'ZeroDivisionError'}}, Raise("")),
    ?assertMatch(#{cause := undefined, context := undefined}, Raise(" from None")),
    ?assertMatch(#{cause := #{type := 'KeyError'}, context := undefined}, Raise(" from KeyError()")).

chains_that_bite_their_tail_end(Config) ->
    Own = py_suite:story(Config, <<"e = ValueError('own')\ne.__cause__ = e\nraise e">>),
    ?assertMatch(#{cause := undefined, context := undefined, omitted := #{cause := 1}}, Own),
    Ring = py_suite:story(Config, <<
        "a, b, c = ValueError('a'), ValueError('b'), ValueError('c')\n"
        "a.__context__, b.__context__, c.__cause__ = b, c, a\n"
        "raise a\n"
    >>),
    ?assertMatch(
        #{message := "a", context := #{message := "b", context := #{message := "c", cause := undefined, omitted := #{cause := 1}}}},
        Ring
    ),
    Group = py_suite:story(Config, <<"g = ExceptionGroup('g', [e := ValueError()])\ne.__cause__ = g\nraise g">>),
    ?assertMatch(#{exceptions := [#{type := 'ValueError', cause := undefined, omitted := #{cause := 1}}]}, Group).

long_chains_are_cut(Config) ->
    [
        begin
            Story = py_suite:story(Config, [
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
    Story = py_suite:story(Config, <<
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
    Derived = py_suite:story(Config, <<
        "class Mine(BaseExceptionGroup):\n"
        "    exceptions = property(lambda self: 1/0)\n"
        "raise Mine('m', [KeyboardInterrupt()])\n"
    >>),
    ?assertMatch(#{type := 'Mine', exceptions := [#{type := 'KeyboardInterrupt'}]}, Derived).

wide_and_deep_groups_are_cut(Config) ->
    Wide = py_suite:story(Config, <<"raise ExceptionGroup('w', [ValueError(i) for i in range(1000)])">>),
    #{exceptions := Members, omitted := #{exceptions := 901}} = Wide,
    ?assertEqual([integer_to_list(I) || I <- lists:seq(0, 98)], [M || #{message := M} <- Members]),
    py_suite:contains(maps:get(traceback_text, Wide), "and 985 more exceptions"),
    Deep = py_suite:story(Config, <<
        "g = ValueError()\n"
        "for i in range(500): g = ExceptionGroup(str(i), [g])\n"
        "raise g"
    >>),
    ?assertEqual(100, depth(Deep)),
    py_suite:contains(maps:get(traceback_text, Deep), "max_group_depth is 10"),
    %% As a tree it has more leaves than there are atoms in the universe.
    Doubled = py_suite:story(Config, <<
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
    Story = py_suite:story(Config, <<
        "e = ValueError('v')\n"
        "e.add_note('first')\n"
        "e.add_note('z\\u00f6\\u65e5\\nlines')\n"
        "raise e\n"
    >>),
    ?assertMatch(#{notes := [<<"first">>, <<"zö日\nlines"/utf8>>]}, Story),
    py_suite:contains(maps:get(traceback_text, Story), <<"ValueError: v\nfirst\nzö日\nlines\n"/utf8>>).

notes_may_be_anything(Config) ->
    Notes = fun(Code) -> maps:get(notes, py_suite:story(Config, ["e = ValueError()\n", Code, "\nraise e"])) end,
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
    Raised = py_suite:story(Config, <<
        "class C(Exception):\n"
        "    @property\n"
        "    def __notes__(self): raise ValueError('no notes')\n"
        "raise C\n"
    >>),
    ?assertMatch(#{type := 'C', notes := [<<"<the __notes__ of this C failed>">>]}, Raised),
    Attributes = py_suite:story(Config, <<
        "class C(Exception):\n"
        "    def __getattribute__(self, name): raise SystemExit\n"
        "raise C('c')\n"
    >>),
    ?assertMatch(#{type := 'C', message := "c", notes := [_]}, Attributes).

many_notes_are_cut(Config) ->
    #{notes := Notes, omitted := #{notes := 900}} = Story = py_suite:story(Config, <<
        "e = ValueError()\n"
        "e.__notes__ = [str(i) for i in range(1000)]\n"
        "raise e\n"
    >>),
    ?assertEqual([integer_to_binary(I) || I <- lists:seq(0, 99)], Notes),
    py_suite:contains(maps:get(traceback_text, Story), "[900 notes left out]"),
    #{notes := [Long | _] = Longs, omitted := #{notes := LeftOut}} = py_suite:story(Config, <<
        "e = ValueError()\n"
        "e.__notes__ = ['x' * 1_000_000 for i in range(100)]\n"
        "raise e\n"
    >>),
    py_suite:contains(Long, " ... [990000 more characters]"),
    ?assertEqual(100, length(Longs) + LeftOut),
    ?assert(iolist_size(Longs) < 300_000).

properties_do_not_hide_what_happened(Config) ->
    Story = py_suite:story(Config, <<
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
        #{module := Name, traceback_text := Text} = py_suite:story(Config, ["class C(Exception): pass\n", Code, "\nraise C()"]),
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
    Story = py_suite:story(Config, <<
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
    Story = py_suite:story(Config, <<
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
        #{traceback_text := _, syntax := Told} = py_suite:story(Config, [
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
