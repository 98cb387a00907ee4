%% Building the application: as a dependency, without a usable Python, and for a Python that is not
%% there any more when the node starts.
-module(build_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_consumers, [repository/2, consumer/3, cargo_env/0, run/4, find/1, answer/1]).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([
    dependency_of_a_rebar3_project/1,
    dependency_of_a_mix_project/1,
    missing_python_is_one_sentence/1,
    too_old_python_is_one_sentence/1,
    embedded_release_calls_python/1,
    embedded_release_boots_without_libpython/1,
    python_home_of_another_version_is_an_error/1
]).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [
        dependency_of_a_rebar3_project,
        dependency_of_a_mix_project,
        missing_python_is_one_sentence,
        too_old_python_is_one_sentence,
        embedded_release_calls_python,
        embedded_release_boots_without_libpython,
        python_home_of_another_version_is_an_error
    ].

init_per_suite(Config) ->
    Repository = filename:join(?config(priv_dir, Config), "repository"),
    ok = repository(Repository, fun(_) -> ok end),
    [{root, py_suite:checkout()}, {repository, Repository} | Config].

end_per_suite(_Config) -> ok.

%% Dependencies

%% `rebar3 compile` in a project that depends on this one builds the NIF and finds it at run time.
dependency_of_a_rebar3_project(Config) ->
    Dir = consumer(rebar3_app, ["rebar.config"], Config),
    Env = cargo_env(),
    {0, _} = run(Dir, Env, find("rebar3"), ["compile"]),
    Paths = filelib:wildcard(filename:join(Dir, "_build/default/lib/*/ebin")),
    Args = ["-noshell", "-pa" | Paths] ++ ["-s", "rebar3_app", "main", "-s", "init", "stop"],
    ?assertEqual("answer: {ok,4.0}", answer(run(Dir, Env, find("erl"), Args))).

%% The same with Mix.
dependency_of_a_mix_project(Config) ->
    case os:find_executable("mix") of
        false ->
            {skip, "mix is not installed"};
        Mix ->
            Dir = consumer(mix_app, ["mix.exs"], Config),
            Env = [{"MIX_REBAR3", find("rebar3")}, {"MIX_HOME", Dir ++ "/.mix"} | cargo_env()],
            {0, _} = run(Dir, Env, Mix, ["deps.get"]),
            {0, _} = run(Dir, Env, Mix, ["compile"]),
            Result = run(Dir, Env, Mix, ["run", "-e", "MixApp.main()"]),
            ?assertEqual("answer: {ok,4.0}", answer(Result))
    end.

%% No usable Python

%% The build stops with one sentence, before any compiler runs.
missing_python_is_one_sentence(Config) ->
    Sentence = refused("/nonexistent", Config),
    ?assertMatch({match, _}, re:run(Sentence, "PYTHON=/nonexistent .* does not run")).

%% The same for a Python that runs, but is too old.
too_old_python_is_one_sentence(Config) ->
    case [Python || Python <- old_pythons(), is_older_than_3_12(Python)] of
        [] ->
            {skip, "no Python before 3.12 is installed"};
        [Python | _] ->
            Sentence = refused(Python, Config),
            ?assertMatch({match, _}, re:run(Sentence, "is Python 3\\.\\d+\\.\\d+, not one of"))
    end.

refused(Python, Config) ->
    Env = [{"PYTHON", Python} | cargo_env()],
    {Status, Output} = run(?config(repository, Config), Env, find("rebar3"), ["compile"]),
    ?assertNotEqual(0, Status),
    ?assertEqual(nomatch, re:run(Output, "Compiling py_nif|^error(\\[E\\d+\\])?:", [multiline])),
    Lines = string:split(Output, "\n", all),
    [Sentence] = [Line || "erlang_python: " ++ _ = Line <- Lines],
    Sentence.

old_pythons() ->
    Names = ["python3.11", "python3.10", "python3.9", "python3"],
    Pyenv = filelib:wildcard(os:getenv("PYENV_ROOT", os:getenv("HOME") ++ "/.pyenv") ++ "/versions/3.*/bin/python3"),
    [Path || Path <- lists:map(fun os:find_executable/1, Names), Path =/= false] ++ Pyenv.

is_older_than_3_12(Python) ->
    Code = "import sys; sys.exit(0 if (3, 0) < sys.version_info < (3, 12) else 1)",
    {Status, _} = run("/", [], Python, ["-E", "-S", "-c", Code]),
    Status =:= 0.

%% Not the Python that it was built for

%% In an embedded node all modules are loaded at boot, and the application works.
embedded_release_calls_python(Config) ->
    Release = release("works", fun(_Library) -> ok end, Config),
    ?assertEqual({ok, {ok, 4.0}}, in_release(Release)).

%% A library that the dynamic linker cannot load ends neither the boot nor the node.
embedded_release_boots_without_libpython(Config) ->
    case os:type() of
        {unix, linux} ->
            Release = release("without_libpython", fun rename_libpython/1, Config),
            ?assertMatch({{error, {{python, _}, _}}, {error, not_running}}, in_release(Release));
        _ ->
            {skip, "a changed library would have to be signed again"}
    end.

%% A standard library of another version is refused when the application starts.
python_home_of_another_version_is_an_error(Config) ->
    Made = filename:join(?config(priv_dir, Config), "home"),
    ok = filelib:ensure_dir(filename:join(Made, "lib/python3.99/os.py")),
    ok = file:write_file(filename:join(Made, "lib/python3.99/os.py"), ""),
    [
        begin
            ct:pal("python_home: ~ts", [Home]),
            Ebin = filename:join(code:lib_dir(erlang_python), "ebin"),
            Args = ["-pa", Ebin, "-erlang_python", "python_home", io_lib:format("~p", [Home])],
            ?assertMatch({{error, {{python, _}, _}}, {error, not_running}}, start_and_call(Args))
        end
     || Home <- [Made | other_homes(?config(root, Config))]
    ],
    ok.

%% The prefixes of installed Pythons of other versions than the one that a build here chooses.
other_homes(Root) ->
    Home = fun(Arguments) ->
        case run(Root, [], filename:join(Root, "scripts/find-python.sh"), Arguments) of
            {0, Python} ->
                Code = "import sys; print(sys.version_info[1], sys.base_prefix, sep='\\n')",
                {0, Output} = run(Root, [], string:trim(Python), ["-E", "-S", "-c", Code]),
                [Minor, Prefix | _] = string:split(Output, "\n", all),
                [{Minor, Prefix}];
            {_, _} ->
                []
        end
    end,
    [{Minor, Prefix}] = Home([]),
    Others = lists:append([Home([Version]) || Version <- ["3.12", "3.13", "3.14", "3.15"]]),
    [P || {M, P} <- Others, M =/= Minor, P =/= Prefix].

%% A boot script for a node in embedded mode that holds a copy of the application. The application
%% is loaded but not started, since the node ends when a permanent application cannot start.
release(Name, Change, Config) ->
    Dir = filename:join(?config(priv_dir, Config), Name),
    Source = code:lib_dir(erlang_python),
    Vsn = version(erlang_python),
    Copy = filename:join([Dir, "lib", "erlang_python-" ++ Vsn]),
    ok = filelib:ensure_dir(filename:join(Copy, "x")),
    Parts = [filename:join(Source, Part) || Part <- ["ebin", "priv"]],
    {0, _} = run(Dir, [], find("cp"), ["-RL" | Parts] ++ [Copy]),
    ok = Change(filename:join(Copy, "priv/py_nif.so")),
    Applications = [{A, version(A)} || A <- needed([erlang_python], []), A =/= erlang_python],
    Rel =
        {release, {Name, "1"}, {erts, erlang:system_info(version)},
            Applications ++ [{erlang_python, Vsn, load}]},
    File = filename:join(Dir, Name),
    ok = file:write_file(File ++ ".rel", io_lib:format("~p.~n", [Rel])),
    Path = [filename:join(Copy, "ebin")],
    ok = systools:make_script(File, [local, no_warn_sasl, {path, Path}, {outdir, Dir}]),
    File.

in_release(Boot) -> start_and_call(["-boot", Boot, "-mode", "embedded"]).

rename_libpython(Library) ->
    {ok, Bytes} = file:read_file(Library),
    Changed = binary:replace(Bytes, <<"libpython3.">>, <<"libmissing.">>, [global]),
    ?assertEqual(byte_size(Bytes), byte_size(Changed)),
    ?assertNotEqual(Bytes, Changed),
    file:write_file(Library, Changed).

%% Starts a node, and in it the application; what that and a call returned.
start_and_call(Args) ->
    Expression =
        "Started = application:start(erlang_python),"
        "Called = py:call(math, sqrt, [16]),"
        "Called = py:await(py:spawn_call(math, sqrt, [16])),"
        "ok = py:cancel(py:spawn_call(math, sqrt, [16])),"
        "Answer = base64:encode(term_to_binary({Started, Called})),"
        "io:format(\"~nanswer: ~s~n\", [Answer]),"
        "halt().",
    Result = run("/", [], find("erl"), Args ++ ["-noshell", "-noinput", "-eval", Expression]),
    "answer: " ++ Answer = answer(Result),
    {Started, Called} = binary_to_term(base64:decode(Answer)),
    {case Started of ok -> ok; {error, _} -> Started end, Called}.

version(Application) ->
    _ = application:load(Application),
    {ok, Vsn} = application:get_key(Application, vsn),
    Vsn.

%% The applications and all that they need.
needed([], Known) ->
    Known;
needed([Application | More], Known) ->
    case lists:member(Application, Known) of
        true ->
            needed(More, Known);
        false ->
            _ = application:load(Application),
            {ok, Needs} = application:get_key(Application, applications),
            needed(Needs ++ More, [Application | Known])
    end.
