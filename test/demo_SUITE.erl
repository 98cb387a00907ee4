%% The example `examples/source_metrics' does what it shows.
-module(demo_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0]).
-export([init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([
    counts_are_exact/1,
    module_level_code_is_counted/1,
    nesting_is_counted_by_statements/1,
    at_most_ten_functions_are_named/1,
    bad_sources_are_errors_not_exceptions/1,
    warnings_about_a_source_are_not_printed/1,
    both_runs_agree_with_a_third/1,
    ten_most_complex_are_the_top_in_order/1,
    more_contexts_than_files/1,
    failing_worker_fails_the_run/1,
    disagreement_fails_the_run/1,
    progress_is_printed_by_quarters/1,
    progress_is_drawn_on_a_terminal/1,
    quiet_run_prints_nothing/1,
    troubles_end_well/1,
    exception_is_worded_as_python_does/1,
    command_runs_everything/1
]).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [
        counts_are_exact,
        module_level_code_is_counted,
        nesting_is_counted_by_statements,
        at_most_ten_functions_are_named,
        bad_sources_are_errors_not_exceptions,
        warnings_about_a_source_are_not_printed,
        {group, owngil},
        {group, worker},
        progress_is_printed_by_quarters,
        progress_is_drawn_on_a_terminal,
        quiet_run_prints_nothing,
        exception_is_worded_as_python_does,
        command_runs_everything
    ].

groups() ->
    Runs = [
        both_runs_agree_with_a_third,
        ten_most_complex_are_the_top_in_order,
        more_contexts_than_files,
        failing_worker_fails_the_run,
        disagreement_fails_the_run,
        troubles_end_well
    ],
    [{owngil, [], Runs}, {worker, [], Runs}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    Example = example_folder(code:lib_dir(erlang_python)),
    Ebin = ?config(priv_dir, Config),
    {ok, source_metrics} = compile:file(filename:join(Example, "source_metrics"), [
        {outdir, Ebin}, report, debug_info, warnings_as_errors
    ]),
    true = code:add_patha(Ebin),
    [{example, Example} | Config].

end_per_suite(Config) ->
    ok = application:stop(erlang_python),
    true = code:del_path(?config(priv_dir, Config)),
    _ = code:purge(source_metrics),
    true = code:delete(source_metrics),
    ok.

init_per_group(Mode, Config) ->
    [{mode, Mode} | Config].

end_per_group(_Mode, _Config) ->
    ok.

%% The built application is somewhere below the project's root, whatever the profile. The folder is known by its source:
%% what run.sh compiles is in one of the same name.
example_folder(Folder) ->
    Example = filename:join([Folder, "examples", "source_metrics"]),
    case {filelib:is_file(filename:join(Example, "source_metrics.erl")), filename:dirname(Folder)} of
        {true, _} -> Example;
        {false, Folder} -> ct:fail("no folder examples/source_metrics above the application");
        {false, Above} -> example_folder(Above)
    end.

%%% The measures of known sources

counts_are_exact(Config) ->
    Source = [
        "import os",
        "",
        "class Shape:",
        "    # The conditional default is evaluated by the class body, not by area.",
        "    def area(self, scale=1 if os else 2):",
        "        return scale and self and 2",
        "",
        "    async def walk(self, items):",
        "        async for item in items:",
        "            if item:",
        "                try:",
        "                    yield item",
        "                except (ValueError, OSError):",
        "                    continue",
        "            elif item is None or not items:",
        "                return",
        "",
        "def outer(n):",
        "    def inner(k):",
        "        return [i for i in range(k) if i if i > 2]",
        "    while n:",
        "        match n:",
        "            case 1 | 2:",
        "                n -= 1",
        "            case int() if n > 5:",
        "                break",
        "            case _:",
        "                return inner(n)",
        "    with os.scandir() as found:",
        "        return lambda: 1 if found else 2"
    ],
    {Path, Measures} = measure("counted.py", lists:join($\n, Source), Config),
    ?assertEqual(
        #{
            <<"path">> => Path,
            <<"lines">> => 30,
            <<"functions">> => 4,
            <<"classes">> => 1,
            <<"branches">> => 15,
            <<"nesting">> => 5,
            <<"most_complex">> => [
                function(<<"Shape.walk">>, 8, 6),
                function(<<"outer">>, 18, 5),
                function(<<"outer.inner">>, 19, 4),
                function(<<"Shape.area">>, 5, 3)
            ]
        },
        Measures
    ).

module_level_code_is_counted(Config) ->
    {_, Measures} = measure("module_level.py", "for i in ():\n    if i: pass\n    else: pass\nx = 1 or 2\n", Config),
    ?assertMatch(
        #{
            <<"lines">> := 4,
            <<"functions">> := 0,
            <<"classes">> := 0,
            <<"branches">> := 3,
            <<"nesting">> := 2,
            <<"most_complex">> := []
        },
        Measures
    ),
    {_, Empty} = measure("empty.py", "", Config),
    ?assertMatch(#{<<"lines">> := 0, <<"branches">> := 0, <<"nesting">> := 0}, Empty).

nesting_is_counted_by_statements(Config) ->
    Nesting = fun(Source) ->
        {_, #{<<"nesting">> := Depth}} = measure("nesting.py", Source, Config),
        Depth
    end,
    ?assertEqual(0, Nesting("x = [[[1]]]\n")),
    ?assertEqual(1, Nesting("if 1: pass\nelif 2: pass\nelif 3: pass\n")),
    ?assertEqual(2, Nesting("if 1: pass\nelse:\n    if 2: pass\n")),
    ?assertEqual(2, Nesting("if 1: pass\nelif 2:\n    with 3: pass\n")),
    ?assertEqual(3, Nesting("class A:\n    def f(self):\n        class B: pass\n")),
    ?assertEqual(2, Nesting("try: pass\nexcept* E:\n    for x in y: pass\n")).

at_most_ten_functions_are_named(Config) ->
    %% Of twelve functions, f12 has the most branches; each `or' is one.
    Source = [
        io_lib:format("def f~b(x): return x~ts~n", [N, lists:duplicate(N, " or x")])
     || N <- lists:seq(1, 12)
    ],
    {_, Measures} = measure("twelve.py", Source, Config),
    Expected = [function(<<"f", (integer_to_binary(N))/binary>>, N, N + 1) || N <- lists:seq(12, 3, -1)],
    ?assertMatch(#{<<"functions">> := 12, <<"branches">> := 78, <<"most_complex">> := Expected}, Measures).

bad_sources_are_errors_not_exceptions(Config) ->
    Bad = [
        {"syntax.py", <<"def (:\n">>, <<"SyntaxError: ">>},
        {"indentation.py", <<"if 1:\n    x\n  y\n">>, <<"IndentationError: ">>},
        {"null.py", <<"x = 1", 0, "\n">>, <<"SyntaxError: ">>},
        {"not_utf8.py", <<"x = '", 255, "'\n">>, <<"SyntaxError: ">>},
        {"unknown_encoding.py", <<"# coding: no-such-encoding\n">>, <<"SyntaxError: ">>},
        {"brackets.py", [lists:duplicate(1000, $(), lists:duplicate(1000, $))], <<"SyntaxError: ">>}
    ],
    [
        begin
            {Path, Measures} = measure(Name, Source, Config),
            ?assertMatch({Name, #{<<"path">> := Path, <<"error">> := _}}, {Name, Measures}),
            #{<<"error">> := Why} = Measures,
            ?assertEqual({Name, Class}, {Name, binary:part(Why, 0, min(byte_size(Why), byte_size(Class)))}),
            ?assertEqual([<<"error">>, <<"path">>], lists:sort(maps:keys(Measures)))
        end
     || {Name, Source, Class} <- Bad
    ],
    Missing = unicode:characters_to_binary(filename:join(?config(priv_dir, Config), "missing.py")),
    ?assertMatch(#{<<"error">> := <<"FileNotFoundError: ", _/binary>>}, measure_path(Missing, Config)).

warnings_about_a_source_are_not_printed(Config) ->
    %% An invalid escape sequence is a SyntaxWarning, which the filter `error' would raise.
    Path = write("escape.py", "x = '\\d'\n", Config),
    Code =
        <<"import source_metrics, warnings\n"
          "\n"
          "def strictly(path):\n"
          "    with warnings.catch_warnings():\n"
          "        warnings.simplefilter('error')\n"
          "        return source_metrics.measure(path)\n">>,
    with_metrics(Config, fun(Context) ->
        ok = py:exec(Context, Code),
        ?assertMatch({ok, #{<<"lines">> := 1}}, py:call(Context, '__main__', strictly, [Path]))
    end).

function(Name, Line, Complexity) ->
    #{<<"name">> => Name, <<"line">> => Line, <<"complexity">> => Complexity}.

measure(Name, Source, Config) ->
    Path = write(Name, Source, Config),
    {Path, measure_path(Path, Config)}.

write(Name, Source, Config) ->
    Path = filename:join(?config(priv_dir, Config), Name),
    ok = file:write_file(Path, Source),
    unicode:characters_to_binary(Path).

measure_path(Path, Config) ->
    with_metrics(Config, fun(Context) ->
        {ok, Measures} = py:call(Context, source_metrics, measure, [Path]),
        Measures
    end).

with_metrics(Config, Fun) ->
    Folder = unicode:characters_to_binary(?config(example, Config)),
    {ok, Context} = py_context:new(#{}),
    try
        AddFolder = <<"folder in sys.path or sys.path.insert(0, folder)">>,
        ok = py:exec(Context, <<"import sys">>),
        {ok, _} = py:eval(Context, AddFolder, #{folder => Folder}),
        Fun(Context)
    after
        py_context:stop(Context)
    end.

%%% The runs over the standard library

both_runs_agree_with_a_third(Config) ->
    Report = source_metrics:run(options(#{limit => 40}, Config)),
    #{measures := Measures, files := Files, contexts := Contexts, mode := Mode} = Report,
    ?assertEqual(?config(mode, Config), Mode),
    ?assertEqual(erlang:system_info(schedulers_online), Contexts),
    ?assertEqual(40, length(Measures)),
    ?assertEqual({40, []}, {Files, maps:get(unreadable, Report)}),
    with_metrics(Config, fun(Context) ->
        [
            ?assertEqual({ok, Measured}, py:call(Context, source_metrics, measure, [Path]))
         || {Path, Measured} <- Measures
        ]
    end),
    [
        ?assertEqual({Key, lists:sum([maps:get(atom_to_binary(Key), M) || {_, M} <- Measures])}, {
            Key, maps:get(Key, Report)
        })
     || Key <- [lines, functions, classes, branches]
    ],
    [?assert(maps:get(Key, Report) > 0) || Key <- [lines, functions, classes, branches, one, many]],
    {Deepest, Where} = maps:get(nesting, Report),
    ?assertEqual(Deepest, lists:max([maps:get(<<"nesting">>, M) || {_, M} <- Measures])),
    ?assertMatch(#{<<"nesting">> := Deepest}, proplists:get_value(Where, Measures)),
    ?assertEqual(maps:get(one, Report) / maps:get(many, Report), maps:get(speed_up, Report)),
    nothing_is_left().

ten_most_complex_are_the_top_in_order(Config) ->
    #{measures := Measures, most_complex := MostComplex} = source_metrics:run(options(#{limit => 40}, Config)),
    Complexities = [Complexity || {Complexity, _, _, _} <- MostComplex],
    All = [C || {_, #{<<"most_complex">> := Fs}} <- Measures, #{<<"complexity">> := C} <- Fs],
    ?assertEqual(lists:sublist(lists:reverse(lists:sort(All)), 10), Complexities),
    [
        ?assert(
            lists:member(
                function(Name, Line, Complexity),
                maps:get(<<"most_complex">>, proplists:get_value(Path, Measures))
            )
        )
     || {Complexity, Path, Line, Name} <- MostComplex
    ].

more_contexts_than_files(Config) ->
    Report = source_metrics:run(options(#{limit => 2, contexts => 3}, Config)),
    ?assertMatch(#{files := 2, contexts := 3}, Report).

failing_worker_fails_the_run(Config) ->
    Source = "def measure(path):\n    raise RuntimeError('no measures today')\n",
    _ = write("broken_metrics.py", Source, Config),
    Folder = ?config(priv_dir, Config),
    Opts = options(#{limit => 20, module => broken_metrics, folder => Folder}, Config),
    ?assertExit(
        {source_metrics, {worker_failed, <<_/binary>>, {error, {'RuntimeError', "no measures today"}}}},
        source_metrics:run(Opts)
    ),
    nothing_is_left().

disagreement_fails_the_run(Config) ->
    Source = "import time\n\ndef measure(path):\n    return {'lines': time.perf_counter_ns()}\n",
    _ = write("wavering_metrics.py", Source, Config),
    Folder = ?config(priv_dir, Config),
    Opts = options(#{limit => 3, module => wavering_metrics, folder => Folder}, Config),
    ?assertExit({source_metrics, {runs_disagree, [_, _, _]}}, source_metrics:run(Opts)),
    nothing_is_left().

options(Opts, Config) ->
    Opts#{quiet => true, mode => ?config(mode, Config)}.

%% No reply and no monitor message came late into the caller's mailbox.
nothing_is_left() ->
    ?assertEqual({messages, []}, process_info(self(), messages)),
    ?assertEqual({monitors, []}, process_info(self(), monitors)).

%%% What is printed

progress_is_printed_by_quarters(_Config) ->
    Output = captured(fun() -> source_metrics:run(#{limit => 8, contexts => 2}) end),
    [
        ?assertMatch({_, [_]}, {Line, [L || L <- string:split(Output, "\n", all), L =:= Line]})
     || Label <- ["1 context   ", "2 contexts  "],
        {Percent, Done} <- [{25, 2}, {50, 4}, {75, 6}, {100, 8}],
        Line <- [lists:flatten(io_lib:format("~ts ~3b %  ~b of 8", [Label, Percent, Done]))]
    ],
    ?assertEqual(nomatch, string:find(Output, "\r")),
    ?assertNotEqual(nomatch, string:find(Output, "both runs agree")).

progress_is_drawn_on_a_terminal(_Config) ->
    Output = captured(fun() -> source_metrics:run(#{limit => 4, contexts => 2, terminal => true}) end),
    Half = [lists:duplicate(20, $#), lists:duplicate(20, $.)],
    ?assertNotEqual(nomatch, string:find(Output, lists:flatten(["\r1 context    [", Half, "] 2/4"]))),
    ?assertEqual(nomatch, string:find(Output, "%")).

quiet_run_prints_nothing(_Config) ->
    Output = captured(fun() ->
        source_metrics:run(#{limit => 4, quiet => true}),
        source_metrics:trouble(#{quiet => true})
    end),
    ?assertEqual("", Output).

captured(Fun) ->
    ok = ct:capture_start(),
    try
        Fun()
    after
        ct:capture_stop()
    end,
    unicode:characters_to_list(ct:capture_get([])).

%%% What happens when things go wrong

troubles_end_well(Config) ->
    #{exception := Exception, timeout := Timeout, kill := Kill} = source_metrics:trouble(options(#{}, Config)),
    #{reason := {'ZeroDivisionError', Message}, last_error := Error} = Exception,
    ?assertMatch(#{message := Message, traceback := [{_, 5, <<"ratios">>, _}, {_, 2, <<"ratio">>, _}]}, Error),
    Worded = unicode:characters_to_list(source_metrics:format_exception(Error)),
    ?assertMatch("Traceback (most recent call last):\n" ++ _, Worded),
    ?assertNotEqual(nomatch, string:find(Worded, "\nZeroDivisionError: " ++ Message)),
    %% 100 ms were allowed; the rest is room for a busy machine, far below the example's own limits.
    #{turns := Turns, stopped_after := Stopped, answered_after := Answered} = Timeout,
    ?assert(Turns > 0),
    ?assert(Stopped >= 100_000 andalso Stopped < 5_000_000),
    ?assert(Answered < 5_000_000),
    #{killed := Killed, replaced_by := Replacement, callers := Callers, answers := Answers} = Kill,
    ?assertNot(is_process_alive(Killed)),
    ?assert(is_process_alive(Replacement)),
    ?assert(Callers > 0 orelse erlang:system_info(schedulers_online) =:= 1),
    %% Each caller had one answer before the kill and one after it.
    ?assert(Answers >= 2 * Callers),
    nothing_is_left().

exception_is_worded_as_python_does(_Config) ->
    Error = #{
        type => <<"TooLarge">>,
        module => <<"shop.prices">>,
        message => "3 €",
        traceback => [
            {<<"shop/prices.py">>, 12, <<"total">>, <<"    return add(rows)\n">>},
            {<<"<string>">>, 3, <<"add">>, <<>>}
        ]
    },
    ?assertEqual(
        "Traceback (most recent call last):\n"
        "  File \"shop/prices.py\", line 12, in total\n"
        "    return add(rows)\n"
        "  File \"<string>\", line 3, in add\n"
        "shop.prices.TooLarge: 3 €\n",
        unicode:characters_to_list(source_metrics:format_exception(Error))
    ),
    Bare = #{type => 'KeyError', module => <<"builtins">>, message => "", traceback => []},
    ?assertEqual("KeyError\n", unicode:characters_to_list(source_metrics:format_exception(Bare))).

%%% The command

command_runs_everything(Config) ->
    Command = filename:join(?config(example, Config), "run.sh"),
    {Status, Output} = py_suite:run(Command),
    ?assertEqual(0, Status),
    [
        ?assertNotEqual({Text, nomatch}, {Text, string:find(Output, Text)})
     || Text <- [
            "both runs agree",
            "the 10 most complex functions",
            "ZeroDivisionError: ",
            "{error, timeout}",
            " was killed"
        ]
    ].
