%% The text of a traceback, and the lines of code that was given as text.
-module(traceback_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            traceback_text_is_python_s,
            text_of_a_syntax_error_is_python_s,
            cut_stories_say_so_in_the_text,

            texts_have_names,
            frames_show_lines_of_the_text,
            lines_end_as_for_the_compiler,
            python_finds_the_lines,
            lines_last_as_long_as_their_code,
            texts_do_not_pile_up,
            spoilt_tables_do_no_harm,
            files_that_are_none_are_not_read,
            linecache_is_not_imported_at_birth
        ],
        [
            next_user_of_an_interpreter_finds_no_texts
        ]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

end_per_testcase(_Case, Config) ->
    py_suite:all_is_well(Config).

%%% As Python prints it

traceback_text_is_python_s(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            Code = [
                "import traceback\n"
                "text = None\n"
                "def run():\n",
                [["    ", Line, $\n] || Line <- string:split(Body, "\n", all)],
                "try:\n"
                "    run()\n"
                "except BaseException:\n"
                "    text = traceback.format_exc()\n"
                "    raise\n"
            ],
            {error, _} = py:exec(Context, Code),
            #{traceback_text := Text} = py:last_error(),
            {ok, Expected} = py:eval(Context, <<"text">>),
            ?assertEqual({Body, without_marks(Expected)}, {Body, without_marks(Text)})
        end
     || Body <- raising()
    ],
    ok.

%% Marks below parts of a line are the one thing that Python knows better.
without_marks(Text) ->
    [Line || Line <- string:split(Text, "\n", all), re:run(Line, "^[ |]*[~^]+[ ~^]*$") =:= nomatch].

raising() ->
    [
        "raise ValueError('x')",
        "raise ValueError",
        "raise ValueError('two\\nlines\\n')",
        "raise KeyError('k') from ValueError('never raised')",
        "try: 1/0\nexcept ZeroDivisionError: raise KeyError('k')",
        "try: 1/0\nexcept ZeroDivisionError as e: raise KeyError('k') from e",
        "try: 1/0\nexcept ZeroDivisionError: raise KeyError('k') from None",
        "try:\n    try: 1/0\n    except ZeroDivisionError: raise KeyError('k')\nexcept KeyError as e: raise OSError(1, 'o') from e",
        "e = ValueError('v')\ne.add_note('first')\ne.add_note('second\\nthird\\n')\nraise e",
        "a, b = ValueError('a'), ValueError('b')\na.__context__, b.__context__ = b, a\nraise a",
        "class C(Exception): pass\nraise C('local')",
        "class C(Exception): pass\nC.__module__ = 5\nC.__qualname__ = 'Q.R'\nraise C('local')",
        "class C:\n    def m(self): return (lambda: 1/0)()\nC().m()",
        "def down(n): 1/0 if n == 0 else down(n - 1)\ndown(2)",
        "def down(n): 1/0 if n == 0 else down(n - 1)\ndown(4)",
        "def down(n): 1/0 if n == 0 else down(n - 1)\ndown(50)",
        "compile('x = (', 'a file', 'exec')",
        "compile('if 1:\\npass', 'a file', 'exec')",
        "sys = __import__('sys')\nsys.exit(3)",
        "raise ExceptionGroup('g', [ValueError('a'), KeyError('b')])",
        "raise ExceptionGroup('g', [ValueError(i) for i in range(15)])",
        "raise ExceptionGroup('g', [ValueError(i) for i in range(16)])",
        "raise ExceptionGroup('g', [ValueError(i) for i in range(40)])",
        "raise BaseExceptionGroup('g', [ExceptionGroup('in', [ValueError('a\\nb')]), KeyboardInterrupt()])",
        "raise ExceptionGroup('g', [ValueError('a'), ExceptionGroup('in', [ValueError('b')])])",
        "e = ExceptionGroup('g', [ValueError('a')])\nraise KeyError('k') from e",
        "e = ExceptionGroup('g', [KeyError('k')])\nx = OSError('o')\nx.__cause__ = e\nraise ExceptionGroup('h', [ValueError(), x])",
        "e = ExceptionGroup('g', [KeyError('k')])\ne.__context__ = ExceptionGroup('h', [ValueError()])\nraise e",
        "known = []\nfor f in (lambda: 1/0, lambda: int('a')):\n    try: f()\n    except Exception as e: known.append(e)\n"
        "known[1].__cause__ = known[0]\nknown[0].add_note('n')\nraise ExceptionGroup('g', known)",
        "g = ValueError('deep')\nfor i in range(9): g = ExceptionGroup(str(i), [g])\nraise g",
        "g = ValueError('deep')\nfor i in range(14): g = ExceptionGroup(str(i), [KeyError(i), g])\nraise g"
    ].

text_of_a_syntax_error_is_python_s(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import traceback\n"
        "def told(e):\n"
        "    global text\n"
        "    text = ''.join(traceback.format_exception_only(e))\n"
        "    raise e.with_traceback(None)\n"
        "def check(code):\n"
        "    try: compile(code, 'a file', 'exec')\n"
        "    except SyntaxError as e: error = e\n"
        "    told(error)\n"
        "def make(*fields): told(SyntaxError('made', fields))\n"
    >>),
    Same = fun(Function, Args) ->
        {error, _} = py:call(Context, '__main__', Function, Args),
        #{traceback_text := Whole} = py:last_error(),
        [_, Text] = string:split(Whole, "raise e.with_traceback(None)\n"),
        {ok, Expected} = py:eval(Context, <<"text">>),
        %% From 3.15 the mark is placed by the width of characters on a terminal.
        Padded = fun(Told) ->
            case py:version() of
                {ok, <<"3.15", _/binary>>} -> re:replace(Told, "\n\\s*\\^", "\n^", [{return, binary}]);
                _ -> Told
            end
        end,
        ?assertEqual({Args, Padded(Expected)}, {Args, Padded(Text)})
    end,
    [
        Same(check, [Code])
     || Code <- [
            <<"1 +* 2">>,
            <<"x = (">>,
            <<"x = 'open">>,
            <<"x = '''open\nmore">>,
            <<"if 1:\npass">>,
            <<"if 1:\n        x=1\n\ty=2">>,
            <<"    x = 1\n  y = 2">>,
            <<"def f():\n\treturn 1 +* 2">>,
            <<"  \tf(a b)">>,
            <<"f(a for a in b, c)">>,
            <<"f(a for a in b\n  , c)">>,
            <<"größe = '日' 5"/utf8>>,
            <<"return 1">>,
            <<"x = 1\nx + 1 = 2">>,
            <<"print 'x'">>,
            <<"nonlocal x">>,
            <<"f'{a b}'">>
        ]
    ],
    [
        Same(make, Fields)
     || Fields <- [
            [<<"f">>, 3, 5, <<"some text">>, 3, 6],
            [<<"f">>, 3, 5, <<"some text\n">>, 3, 9],
            [<<"f">>, 3, 1, <<"  some text">>, 3, 2],
            [<<"f">>, 3, 2, <<"text">>, 3, 0],
            [<<"f">>, 3, none, <<"  text">>],
            [<<"f">>, none, none, none],
            [none, 3, 2, <<"text">>, 3, 3],
            [none, none, none, none],
            [<<"f">>, 3, 2, none],
            [<<"f">>, 3, 2, <<"\ttabs">>, 3, 4]
        ]
    ],
    ok.

cut_stories_say_so_in_the_text(Config) ->
    Text = maps:get(traceback_text, py_suite:story(Config, <<
        "def down(n):\n"
        "    down(n - 1) if n else 1/0\n"
        "down(300)\n"
    >>)),
    py_suite:contains(Text, "  [Previous line repeated 96 more times]\n  [102 frames left out]\n"),
    py_suite:contains(Text, "  [Previous line repeated 97 more times]\nZeroDivisionError").

%%% Lines of code that was given as text

texts_have_names(Config) ->
    Context = ?config(ctx, Config),
    File = fun(Answered) ->
        {error, _} = Answered,
        #{traceback := [{Name, 1, <<"<module>">>, Line} | _]} = py:last_error(),
        {Name, Line}
    end,
    {Eval, <<"1/0">>} = File(py:eval(Context, <<"1/0">>)),
    {Exec, <<"1/0">>} = File(py:exec(Context, <<"1/0">>)),
    {Other, <<"2/0">>} = File(py:eval(Context, <<"2/0">>)),
    ?assertMatch({match, _}, re:run(Eval, "^<erlang eval [0-9a-f]{12}>$")),
    ?assertMatch({match, _}, re:run(Exec, "^<erlang exec [0-9a-f]{12}>$")),
    ?assertNotEqual(Eval, Other),
    %% The same text has the same name everywhere.
    ?assertEqual({Eval, <<"1/0">>}, File(py:eval(Context, <<"  1/0">>))),
    ?assertEqual({Eval, <<"1/0">>}, File(py:eval(<<"1/0">>))),
    ?assertEqual({ok, Eval}, py:eval(Context, <<"n if n in __import__('erlang._sources')._sources.texts else None">>, #{n => Eval})).

frames_show_lines_of_the_text(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "def outer():\n"
        "\n"
        "    inner()   # größe\n"
        "def inner():\n"
        "    raise ValueError('é')"/utf8
    >>),
    ok = py:exec(Context, <<"def third(): outer()">>),
    {error, _} = py:call(Context, '__main__', third, []),
    #{traceback := Frames} = py:last_error(),
    ?assertMatch(
        [
            {_, 1, <<"third">>, <<"def third(): outer()">>},
            {_, 3, <<"outer">>, <<"inner()   # größe"/utf8>>},
            {_, 5, <<"inner">>, <<"raise ValueError('é')"/utf8>>}
        ],
        Frames
    ),
    %% Longer lines are cut, and longer texts not kept.
    {error, _} = py:eval(Context, ["1/0 #", lists:duplicate(2000, $x)]),
    #{traceback := [{_, _, _, Long}]} = py:last_error(),
    ?assertMatch(<<"1/0 #", _:995/binary, " ... [1005 more characters]">>, Long),
    {error, _} = py:eval(Context, ["1/0 #", lists:duplicate(5_000_000, $x)]),
    ?assertMatch(#{traceback := [{<<"<erlang eval ", _/binary>>, 1, _, <<>>}]}, py:last_error()).

lines_end_as_for_the_compiler(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            Code = lists:join(End, ["a = '\x{2028}\f'", "b = 2", "raise ValueError", "c = 4"]),
            {error, _} = py:exec(Context, Code),
            ?assertMatch(#{traceback := [{_, 3, _, <<"raise ValueError">>}]}, py:last_error())
        end
     || End <- ["\n", "\r\n", "\r"]
    ],
    ok.

python_finds_the_lines(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import inspect, linecache, traceback, warnings\n"
        "def first():\n"
        "    return 1\n"
        "\n"
        "def second():\n"
        "    warnings.warn('careful')\n"
        "    1/0 # here\n"
        "def formatted():\n"
        "    try: second()\n"
        "    except ZeroDivisionError: return traceback.format_exc()\n"
    >>),
    Source = {ok, <<"def first():\n    return 1\n">>},
    ?assertEqual(Source, py:eval(Context, <<"inspect.getsource(first)">>)),
    ok = py:exec(Context, <<
        "import io, sys\n"
        "kept, sys.stderr = sys.stderr, io.StringIO()\n"
        "try:\n"
        "    with warnings.catch_warnings():\n"
        "        warnings.simplefilter('always')\n"
        "        text = formatted()\n"
        "    warned = sys.stderr.getvalue()\n"
        "finally: sys.stderr = kept\n"
    >>),
    {ok, Text} = py:eval(Context, <<"text">>),
    py_suite:contains(Text, "\", line 7, in second\n    1/0 # here\n"),
    {ok, Warned} = py:eval(Context, <<"warned">>),
    py_suite:contains(Warned, ":6: UserWarning: careful\n  warnings.warn('careful')"),
    %% Also after somebody has emptied the cache.
    {ok, none} = py:eval(Context, <<"linecache.clearcache()">>),
    ?assertEqual(Source, py:eval(Context, <<"inspect.getsource(first)">>)),
    {ok, none} = py:eval(Context, <<"linecache.checkcache()">>),
    ?assertEqual(Source, py:eval(Context, <<"inspect.getsource(first)">>)),
    %% Other files are found as before.
    {ok, Lines} = py:eval(Context, <<"len(linecache.getlines(inspect.__file__))">>),
    ?assert(Lines > 1000),
    ?assertEqual({ok, []}, py:eval(Context, <<"linecache.getlines('<erlang exec 0>') + linecache.getlines('no such file')">>)),
    ?assertEqual(
        {ok, true},
        py:eval(Context, <<"linecache.__loader__ is linecache.__spec__.loader and 'erlang' not in type(linecache.__loader__).__module__">>)
    ).

%% Whatever else is compiled meanwhile; then they go with the code.
lines_last_as_long_as_their_code(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"def lasting():\n    1/0 # lasts">>),
    Other = fun(I) -> ok = py:exec(Context, ["x = ", integer_to_list(I)]) end,
    lists:foreach(Other, lists:seq(1, 10_000)),
    {error, _} = py:call(Context, '__main__', lasting, []),
    ?assertMatch(#{traceback := [{_, 2, <<"lasting">>, <<"1/0 # lasts">>}]}, py:last_error()),
    Known = <<"any('# lasts' in text for _, text in __import__('erlang._sources')._sources.texts.values())">>,
    ?assertEqual({ok, true}, py:eval(Context, Known)),
    ok = py:exec(Context, <<"del lasting">>),
    {error, _} = py:eval(Context, <<"1/0">>),
    lists:foreach(Other, lists:seq(10_001, 20_000)),
    ?assertEqual({ok, false}, py:eval(Context, <<"any('# la' 'sts' in text for _, text in __import__('erlang._sources')._sources.texts.values() if 'for _' not in text)">>)).

texts_do_not_pile_up(Config) ->
    Context = ?config(ctx, Config),
    %% Code that lives for ever.
    ok = py:exec(Context, <<"alive = []">>),
    [ok = py:exec(Context, ["alive.append(lambda: ", integer_to_list(I), ")"]) || I <- lists:seq(1, 10_000)],
    {ok, Count} = py:eval(Context, <<"len(__import__('erlang._sources')._sources.texts)">>),
    ?assert(Count =< 4096),
    Padding = lists:duplicate(1_000_000, $x),
    [ok = py:exec(Context, ["alive.append(lambda: ", integer_to_list(I), ") #", Padding]) || I <- lists:seq(1, 60)],
    {ok, Size} = py:eval(Context, <<"sum(len(t) for _, t in __import__('erlang._sources')._sources.texts.values())">>),
    ?assert(Size < 32_000_000),
    ?assertEqual({ok, 10_060}, py:eval(Context, <<"len(alive)">>)),
    ok = py:exec(Context, <<"del alive">>).

%% Code of users can reach what is kept.
spoilt_tables_do_no_harm(Config) ->
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, <<"from erlang import _sources\ndef fail(): 1/0">>),
    [
        begin
            ok = py:exec(Context, ["for name in list(_sources.texts): _sources.texts[name] = ", Value]),
            ?assertEqual({error, {'ZeroDivisionError', "division by zero"}}, py:call(Context, '__main__', fail, [])),
            #{traceback := [{_, 2, <<"fail">>, Line}]} = py:last_error(),
            ?assertEqual(Expected, Line),
            ?assertMatch({ok, 5}, py:eval(Context, ["5 #", Value]))
        end
     || {Value, Expected} <- [
            {"None", <<>>},
            {"()", <<>>},
            {"(1, 2)", <<>>},
            {"('a', 5)", <<>>},
            {"('a', '\\ud800')", <<>>},
            {"('a', '')", <<>>},
            {"('a', 'x\\ny')", <<"y">>}
        ]
    ],
    ok = py:exec(Context, <<"_sources.texts.clear()">>),
    ?assertEqual({ok, 6}, py:eval(Context, <<"6">>)),
    ok = py_context:stop(Context).

%% File names come from Python code.
files_that_are_none_are_not_read(Config) ->
    Context = ?config(ctx, Config),
    Fifo = filename:join(?config(priv_dir, Config), "fifo_" ++ atom_to_list(py_suite:mode(Config))),
    ok = py:exec(Context, <<"import os\ndef fail(file): exec(compile('1/0', file, 'exec'))">>),
    {ok, none} = py:call(Context, os, mkfifo, [unicode:characters_to_binary(Fifo)]),
    Empty = filename:join(?config(priv_dir, Config), "empty"),
    ok = file:write_file(Empty, <<>>),
    Latin = filename:join(?config(priv_dir, Config), "latin.py"),
    ok = file:write_file(Latin, <<"1/0 # ", 16#e9, "\r\n2">>),
    [
        begin
            {error, _} = py:call(Context, '__main__', fail, [unicode:characters_to_binary(File)]),
            #{traceback := Frames} = py:last_error(),
            ?assertEqual({File, Line}, {File, element(4, lists:last(Frames))})
        end
     || {File, Line} <- [
            {Fifo, <<>>},
            {"/dev/zero", <<>>},
            {"/dev/null", <<>>},
            {"/", <<>>},
            {"", <<>>},
            {"no such file", <<>>},
            {Empty, <<>>},
            {Latin, <<"1/0 # é"/utf8>>}
        ]
    ],
    ok = file:delete(Fifo).

%% In a node of its own, where no code has imported anything yet.
linecache_is_not_imported_at_birth(Config) ->
    py_suite:in_peer(?MODULE, modules_at_birth, Config).

modules_at_birth(Mode) ->
    ok = py_suite:start(#{context_mode => Mode, num_contexts => 1}),
    Imported = <<"[m for m in ('linecache', 'traceback', 'tokenize', 're') if m in __import__('sys').modules]">>,
    ?assertEqual({ok, []}, py:eval(Imported)),
    %% Showing lines imports nothing either.
    {error, _} = py:eval(<<"1/0">>),
    #{traceback := [{_, 1, _, <<"1/0">>}]} = py:last_error(),
    ?assertEqual({ok, []}, py:eval(Imported)),
    ok = py_suite:stop().

next_user_of_an_interpreter_finds_no_texts(Config) ->
    Contexts = [py_suite:new_context(Config) || _ <- [1, 2, 3]],
    [ok = py:exec(Context, <<"secret = 'do not tell'">>) || Context <- Contexts],
    [ok = py_context:stop(Context) || Context <- Contexts],
    Next = [py_suite:new_context(Config) || _ <- [1, 2, 3]],
    [
        ?assertEqual({ok, []}, py:eval(Context, <<"[n for n in __import__('erlang._sources')._sources.texts if 'exec' in n]">>))
     || Context <- Next
    ],
    [ok = py_context:stop(Context) || Context <- Next],
    ok.
