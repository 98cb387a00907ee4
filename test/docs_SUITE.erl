%% What the documents show is what happens, and what they point to is there.
-module(docs_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([
    shell_examples_give_what_they_show/1,
    numpy_examples_give_what_they_show/1,
    python_blocks_compile/1,
    relative_links_lead_somewhere/1,
    every_setting_is_in_the_table/1,
    what_migration_calls_missing_is_missing/1,
    matcher_is_no_rubber_stamp/1
]).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [
        shell_examples_give_what_they_show,
        numpy_examples_give_what_they_show,
        python_blocks_compile,
        relative_links_lead_somewhere,
        every_setting_is_in_the_table,
        what_migration_calls_missing_is_missing,
        matcher_is_no_rubber_stamp
    ].

init_per_suite(Config) ->
    [{root, checkout(filename:absname(code:lib_dir(erlang_python)))} | Config].

end_per_suite(_Config) ->
    _ = application:stop(erlang_python),
    ok.

%% ------------------------------------------------------------------------------------------------
%% Tests

shell_examples_give_what_they_show(Config) ->
    Results = [run_examples(File, false) || File <- files(Config)],
    report([Wrong || {_Count, Wrongs} <- Results, Wrong <- Wrongs]),
    %% None found would mean that the documents are no longer read as they are written.
    ?assert(lists:sum([Count || {Count, _} <- Results]) > 50).

numpy_examples_give_what_they_show(Config) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, Version} = py:version(),
    [Major, Minor | _] = string:lexemes(binary_to_list(Version), "."),
    Folder = "_build/venv/lib/python" ++ Major ++ "." ++ Minor ++ "/site-packages",
    Site = filename:join(root(Config), Folder),
    case filelib:is_dir(filename:join(Site, "numpy")) of
        false ->
            {skip, "no NumPy in " ++ Site ++ "; scripts/test-venv.sh puts it there"};
        true ->
            Results = [run_examples(File, Site) || File <- files(Config)],
            report([Wrong || {_Count, Wrongs} <- Results, Wrong <- Wrongs]),
            ?assert(lists:sum([Count || {Count, _} <- Results]) > 0)
    end.

python_blocks_compile(Config) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    Blocks = [
        {File, Line, Text}
     || File <- files(Config), {"python", Line, Text} <- blocks(File)
    ],
    ?assertNotEqual([], Blocks),
    report([
        at(File, Line, "~tp", [Error])
     || {File, Line, Text} <- Blocks,
        Locals <- [#{text => Text, file => unicode:characters_to_binary(File)}],
        Error <- [py:eval("compile(text, file, 'exec') and None", Locals)],
        Error =/= {ok, none}
    ]).

relative_links_lead_somewhere(Config) ->
    Links = [
        {File, Line, Link}
     || File <- files(Config), {Line, Text} <- prose(File), Link <- links(Text)
    ],
    ?assertNotEqual([], Links),
    report([
        at(File, Line, "~ts leads nowhere", [Link])
     || {File, Line, Link} <- Links, not leads_somewhere(File, Link)
    ]).

every_setting_is_in_the_table(Config) ->
    {ok, Source} = file:read_file(filename:join(root(Config), "src/py_config.erl")),
    {match, Keys} = re:run(Source, "^default\\((\\w+)\\)", [global, multiline, {capture, [1], list}]),
    {ok, Guide} = file:read_file(filename:join(root(Config), "docs/getting-started.md")),
    Wanted = ["python_home", "python_executable" | lists:append(Keys)],
    ?assertEqual([], [Key || Key <- Wanted, re:run(Guide, "^\\| `" ++ Key ++ "` \\|", [multiline]) =:= nomatch]).

what_migration_calls_missing_is_missing(Config) ->
    {ok, Page} = file:read_file(filename:join(root(Config), "docs/migration.md")),
    [_, Missing] = binary:split(Page, <<"## Not there yet">>),
    {match, Names} = re:run(Missing, "`(py\\w*):(\\w+)/([0-9.,]+)`", [
        global, {capture, all_but_first, list}
    ]),
    Present = [
        {Module, Function, Arity}
     || [M, F, A] <- Names,
        Module <- [list_to_atom(M)],
        Function <- [list_to_atom(F)],
        Arity <- arities(A),
        is_there(Module),
        erlang:function_exported(Module, Function, Arity)
    ],
    ?assertEqual([], Present),
    [_, AfterModules] = binary:split(Missing, <<"### Whole modules">>),
    [ModuleList, _] = binary:split(AfterModules, <<"###">>),
    {match, Modules} = re:run(ModuleList, "`(py_\\w+)`", [global, {capture, [1], list}]),
    ?assertEqual([], [Module || [M] <- Modules, Module <- [list_to_atom(M)], is_there(Module)]).

matcher_is_no_rubber_stamp(_Config) ->
    ?assert(matches("{ok,[1,2]}", {value, {ok, [1, 2]}})),
    ?assertNot(matches("{ok,[1,2]}", {value, {ok, [1, 3]}})),
    ?assertNot(matches("{ok,4.0}", {value, {ok, 4}})),
    ?assert(matches("{ok,...}", {value, {ok, anything}})),
    ?assertNot(matches("{ok,...}", {value, {error, anything}})),
    ?assert(matches("[a,...]", {value, [a, b, c]})),
    ?assert(matches("{error,{'E',\"one ... three\"}}", {value, {error, {'E', "one two three"}}})),
    ?assertNot(matches("{error,{'E',\"one ... three\"}}", {value, {error, {'E', "one two"}}})),
    ?assert(matches("<<\"3...\">>", {value, <<"3.14.1">>})),
    ?assert(matches("<0.1.0>", {value, self()})),
    ?assertNot(matches("<0.1.0>", {value, make_ref()})),
    ?assert(matches("#Ref<0.1.2.3>", {value, make_ref()})),
    ?assert(matches("#{a => 1,b => ...}", {value, #{b => 2, a => 1}})),
    ?assertNot(matches("#{a => 1}", {value, #{b => 2, a => 1}})),
    ?assert(matches("** exception error: bad argument...", {raised, error, badarg})),
    ?assertNot(matches("** exception error: bad argument...", {raised, exit, badarg})),
    ?assertNot(matches("ok", {raised, error, badarg})).

%% ------------------------------------------------------------------------------------------------
%% Documents

%% Under rebar3 the application's folder lies in _build and holds links into the checkout.
checkout(Dir) ->
    IsRoot = filelib:is_regular(filename:join(Dir, "README.md")) andalso
        filelib:is_dir(filename:join(Dir, "docs")) andalso
        filelib:is_regular(filename:join(Dir, "rebar.config")),
    case filename:dirname(Dir) of
        _ when IsRoot -> Dir;
        Dir -> error(no_checkout);
        Parent -> checkout(Parent)
    end.

root(Config) ->
    proplists:get_value(root, Config).

files(Config) ->
    Root = root(Config),
    [filename:join(Root, Name) || Name <- ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]] ++
        lists:sort(filelib:fold_files(filename:join(Root, "docs"), "\\.md$", true, fun(F, Fs) -> [F | Fs] end, [])).

lines(File) ->
    {ok, Text} = file:read_file(File),
    Lines = string:split(unicode:characters_to_list(Text), "\n", all),
    lists:zip(lists:seq(1, length(Lines)), Lines).

%% `{Language, Line, Text}' for every fenced block.
blocks(File) ->
    {Blocks, none} = lists:foldl(fun block/2, {[], none}, lines(File)),
    lists:reverse(Blocks).

block({Line, "```" ++ Language}, {Blocks, none}) ->
    {Blocks, {Language, Line, []}};
block({_, "```" ++ _}, {Blocks, {Language, Line, Lines}}) ->
    Text = unicode:characters_to_binary(lists:join($\n, lists:reverse(["" | Lines]))),
    {[{Language, Line, Text} | Blocks], none};
block(_, {Blocks, none}) ->
    {Blocks, none};
block({_, Text}, {Blocks, {Language, Line, Lines}}) ->
    {Blocks, {Language, Line, [Text | Lines]}}.

%% The lines outside of fenced blocks.
prose(File) ->
    {Prose, false} = lists:foldl(
        fun
            ({_, "```" ++ _}, {Lines, Inside}) -> {Lines, not Inside};
            (_, {Lines, true}) -> {Lines, true};
            (Line, {Lines, false}) -> {[Line | Lines], false}
        end,
        {[], false},
        lines(File)
    ),
    lists:reverse(Prose).

links(Text) ->
    case re:run(Text, "\\]\\(([^)\\s]+)\\)", [global, unicode, {capture, [1], list}]) of
        {match, Found} -> [Link || [Link] <- Found, string:find(Link, "://") =:= nomatch];
        nomatch -> []
    end.

leads_somewhere(File, Link) ->
    {Path, Anchor} =
        case string:split(Link, "#") of
            [P, A] -> {P, A};
            [P] -> {P, none}
        end,
    Target =
        case Path of
            "" -> File;
            _ -> filename:join(filename:dirname(File), Path)
        end,
    filelib:is_file(Target) andalso (Anchor =:= none orelse lists:member(Anchor, anchors(Target))).

%% As GitHub makes them of headings.
anchors(File) ->
    [
        re:replace(
            re:replace(string:lowercase(Heading), "[^\\w\\s-]", "", [global, unicode, ucp]),
            "\\s",
            "-",
            [global, unicode, {return, list}]
        )
     || {_, "#" ++ Rest} <- prose(File), Heading <- [string:trim(Rest, leading, "# ")]
    ].

is_there(Module) ->
    code:ensure_loaded(Module) =:= {module, Module}.

arities(Text) ->
    case string:split(Text, "..") of
        [First, Last] -> lists:seq(list_to_integer(First), list_to_integer(Last));
        [_] -> [list_to_integer(A) || A <- string:lexemes(Text, ",")]
    end.

at(File, Line, Format, Args) ->
    lists:flatten(io_lib:format("~ts:~b: " ++ Format, [File, Line | Args])).

report([]) -> ok;
report(Wrong) -> ct:fail("~ts", [lists:join($\n, Wrong)]).

%% ------------------------------------------------------------------------------------------------
%% Shell sessions

%% Runs a document's examples in a process of their own, in an application that was just started. `Site' is
%% the folder that has NumPy, for the blocks that mention it, or false for those that do not.
run_examples(File, Site) ->
    Mentions = fun(Text) -> re:run(Text, "numpy") =/= nomatch end,
    Examples = [
        Example
     || {"erlang", Line, Text} <- blocks(File),
        Mentions(Text) =:= (Site =/= false),
        Example <- examples(Line + 1, unicode:characters_to_list(Text))
    ],
    _ = application:stop(erlang_python),
    Site =/= false andalso application:ensure_all_started(erlang_python),
    Bindings = [{'Site', unicode:characters_to_binary(Site)} || Site =/= false],
    {Pid, Monitor} = spawn_monitor(fun() -> exit({wrongs, run(File, Examples, Bindings)}) end),
    receive
        {'DOWN', Monitor, process, Pid, {wrongs, Wrongs}} -> {length(Examples), Wrongs};
        {'DOWN', Monitor, process, Pid, Reason} -> {length(Examples), [at(File, 0, "~tp", [Reason])]}
    end.

run(File, [{Line, Expressions, Expected} | Examples], Bindings) ->
    {Outcome, After} = evaluate(Expressions, Bindings),
    case matches(Expected, Outcome) of
        true ->
            run(File, Examples, After);
        false ->
            Wrong = at(File, Line, "shows~n~ts~nbut gives~n~tp~n", [Expected, Outcome]),
            [Wrong | run(File, Examples, After)]
    end;
run(_File, [], _Bindings) ->
    [].

evaluate(Expressions, Bindings) ->
    try erl_eval:exprs(Expressions, Bindings) of
        {value, Value, After} -> {{value, Value}, After}
    catch
        Class:Reason -> {{raised, Class, Reason}, Bindings}
    end.

%% `{Line, Expressions, Expected}' for every prompt. An expression ends with its full stop, on whatever line.
examples(First, Text) ->
    Lines = string:split(string:trim(Text, trailing), "\n", all),
    sessions(lists:zip(lists:seq(First, First + length(Lines) - 1), Lines)).

sessions([]) ->
    [];
sessions([{Line, Text} | Lines]) ->
    case prompted(Text) of
        {ok, Start} ->
            {Expressions, AfterExpression} = expression(Start, Lines),
            {Expected, Rest} = lists:splitwith(fun({_, T}) -> prompted(T) =:= none end, AfterExpression),
            Shown = lists:flatten(lists:join($\n, [T || {_, T} <- Expected])),
            [{Line, Expressions, Shown} | sessions(Rest)];
        none ->
            error({no_prompt, Line, Text})
    end.

prompted(Text) ->
    case re:run(Text, "^[0-9]+> (.*)$", [unicode, {capture, [1], list}]) of
        {match, [Expression]} -> {ok, Expression};
        nomatch -> none
    end.

expression(Text, Lines) ->
    case erl_scan:string(Text) of
        {ok, Tokens, _} when Tokens =/= [] ->
            case {lists:last(Tokens), Lines} of
                {{dot, _}, _} ->
                    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
                    {Expressions, Lines};
                {_, [{_, Next} | Rest]} ->
                    expression(Text ++ "\n" ++ Next, Rest)
            end;
        %% A string that goes on in the next line.
        {error, _, _} ->
            [{_, Next} | Rest] = Lines,
            expression(Text ++ "\n" ++ Next, Rest)
    end.

%% ------------------------------------------------------------------------------------------------
%% Comparing

matches("", {value, _}) ->
    true;
matches("** " ++ Expected, {raised, Class, Reason}) ->
    Text = erl_error:format_exception(Class, Reason, [], #{}),
    like(Expected, lists:flatten(Text));
matches(_, {raised, _, _}) ->
    false;
matches("** " ++ _, {value, _}) ->
    false;
matches(Expected, {value, Value}) ->
    same(pattern(Expected), Value).

%% What the shell prints as a term, with atoms of odd names for what stands for others.
pattern(Text) ->
    Named = lists:foldl(
        fun({Expression, Name}, T) ->
            re:replace(T, Expression, Name, [global, unicode, {return, list}])
        end,
        Text,
        [
            {"#Ref<[0-9.]+>", "'$ref'"},
            {"<[0-9]+\\.[0-9]+\\.[0-9]+>", "'$pid'"},
            %% Not within a string, where it is left to like/2.
            {"\\.\\.\\.(?=[^\"]*(\"[^\"]*\"[^\"]*)*$)", "'$any'"}
        ]
    ),
    {ok, Tokens, _} = erl_scan:string(Named ++ "."),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term.

same('$any', _) -> true;
same('$pid', Value) -> is_pid(Value);
same('$ref', Value) -> is_reference(Value);
same(Expected, Value) when is_binary(Expected), is_binary(Value) -> like(Expected, Value);
same([Last | '$any'], [Value | _]) -> same(Last, Value);
same(['$any'], Value) when is_list(Value) -> true;
same([_ | _] = Expected, [_ | _] = Value) ->
    case io_lib:printable_unicode_list(Expected) andalso io_lib:printable_unicode_list(Value) of
        true -> like(Expected, Value);
        false -> same(hd(Expected), hd(Value)) andalso same(tl(Expected), tl(Value))
    end;
same(Expected, Value) when is_tuple(Expected), is_tuple(Value) ->
    tuple_size(Expected) =:= tuple_size(Value) andalso
        lists:all(fun({E, V}) -> same(E, V) end, lists:zip(tuple_to_list(Expected), tuple_to_list(Value)));
same(Expected, Value) when is_map(Expected), is_map(Value) ->
    lists:sort(maps:keys(Expected)) =:= lists:sort(maps:keys(Value)) andalso
        lists:all(fun({K, E}) -> same(E, maps:get(K, Value)) end, maps:to_list(Expected));
same(Expected, Value) ->
    Expected =:= Value.

%% Text with `...' for any text.
like(Expected, Value) ->
    case string:find(Expected, "...") of
        nomatch ->
            Expected =:= Value;
        _ ->
            Parts = [quoted(Part) || Part <- string:split(Expected, "...", all)],
            Pattern = ["^", lists:join(".*", Parts), "$"],
            re:run(Value, Pattern, [unicode, dotall]) =/= nomatch
    end.

quoted(Text) ->
    re:replace(Text, "[\\\\^$.|?*+()\\[\\]{}]", "\\\\&", [global, unicode, {return, list}]).
