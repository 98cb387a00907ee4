%% py:ensure_venv: what is made, when nothing is done, and what is left when things go wrong.
-module(ensure_venv_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("kernel/include/file.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 60_000).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [{group, best}, {group, pip}, {group, arguments}].

%% Everything with the quick installer, if it is there; what installers have a part in with the other one, too.
groups() ->
    Installed = [
        packages_are_installed,
        failure_leaves_what_was_there,
        project_is_installed_with_extras,
        installer_ends_with_its_caller
    ],
    More = [
        nothing_is_done_twice,
        other_requirements_replace_the_environment,
        editable_project_stays_where_it_is,
        odd_paths_are_paths,
        files_are_read_with_those_they_name,
        changed_project_is_installed_again,
        force_makes_it_anew,
        programs_find_their_python,
        bytecode_outlives_a_copy,
        time_limit_ends_the_installer,
        killed_installer_leaves_nothing,
        calls_at_the_same_time_install_once,
        nothing_else_is_replaced
    ],
    Arguments = [
        wrong_types_are_badarg,
        bad_options_are_named,
        missing_requirements_are_named,
        missing_installer_is_named,
        unfit_python_is_named,
        python_may_be_chosen,
        not_running_is_said
    ],
    [{best, [], Installed ++ More}, {pip, [], Installed}, {arguments, [], Arguments}].

init_per_suite(Config) ->
    Wheels = filename:join(?config(priv_dir, Config), "wheels"),
    Metadata = [{entry_points, "[console_scripts]\nsome-program = some_package:main\n"}],
    [
        py_wheels:wheel(Wheels, "some_package", Version, [{"some_package/__init__.py", source(Version)}], Metadata)
     || Version <- ["1.0", "2.0"]
    ],
    [{wheels, Wheels} | Config].

source(Version) ->
    ["version = '", Version, "'\n\n\ndef main():\n    import sys\n    print(version, sys.prefix)\n"].

end_per_suite(_Config) ->
    ok.

init_per_group(best, Config) ->
    case uv() of
        false ->
            init_group(pip, Config);
        Uv ->
            Path = os:getenv("PATH"),
            true = os:putenv("PATH", filename:dirname(Uv) ++ ":" ++ Path),
            init_group(uv, [{path, Path} | Config])
    end;
init_per_group(pip, Config) ->
    case uv() of
        false -> {skip, "uv is not installed, so that the group before was of pip"};
        _ -> init_group(pip, Config)
    end;
init_per_group(arguments, Config) ->
    init_group(pip, Config).

init_group(Installer, Config) ->
    ok = py_suite:start(#{num_contexts => 1}),
    Python = case Installer of pip -> py_wheels:with_pip(?config(priv_dir, Config)); uv -> #{} end,
    [{installer, Installer}, {python, Python} | Config].

end_per_group(_Group, Config) ->
    [true = os:putenv("PATH", Path) || {path, Path} <- Config],
    py_suite:stop().

%% scripts/setup.sh puts it there.
uv() ->
    case os:find_executable("uv") of
        false -> os:find_executable("uv", filename:join(py_suite:checkout(), "_build/tools/bin"));
        Uv -> Uv
    end.

init_per_testcase(Case, Config) ->
    Folder = filename:join([?config(priv_dir, Config), ?config(installer, Config), Case]),
    ok = filelib:ensure_dir(filename:join(Folder, "file")),
    [{folder, Folder}, {venv, filename:join(Folder, "venv")}, {leaks, py_leaks:snapshot()} | Config].

end_per_testcase(_Case, Config) ->
    ?assertEqual([], py_suite:flush()),
    py_leaks:check(?config(leaks, Config), #{spares => 16}).

%% ------------------------------------------------------------------------------------------------
%% What is made

packages_are_installed(Config) ->
    ok = ensure(["some-package==1.0"], Config),
    ?assertEqual("1.0", version(Config)),
    ?assertEqual(["venv"], beside(Config)).

%% The second time there is nothing to install from.
nothing_is_done_twice(Config) ->
    ok = ensure(["some-package==1.0"], Config),
    Before = identity(Config),
    Wheels = ?config(wheels, Config),
    ok = file:rename(Wheels, Wheels ++ "-away"),
    try
        ?assertEqual(ok, ensure([<<"some-package==1.0">>], Config)),
        ?assertEqual(Before, identity(Config)),
        ?assertMatch({error, {install, _}}, ensure(["some-package==2.0"], Config))
    after
        ok = file:rename(Wheels ++ "-away", Wheels)
    end.

other_requirements_replace_the_environment(Config) ->
    ok = ensure(["some-package==1.0"], Config),
    ok = ensure(["some-package"], Config),
    ?assertEqual("2.0", version(Config)),
    ok = ensure([], Config),
    ?assertEqual(none, version(Config)),
    ?assertEqual(["venv"], beside(Config)).

failure_leaves_what_was_there(Config) ->
    ok = ensure(["some-package==1.0"], Config),
    {error, {install, Output}} = ensure(["no-such-package"], Config),
    py_suite:contains(Output, "no-such-package"),
    ?assertEqual("1.0", version(Config)),
    ?assertEqual(["venv"], beside(Config)),
    ?assertMatch({error, {install, _}}, ensure(["some-package==1.0 ; this is nothing"], Config)).

files_are_read_with_those_they_name(Config) ->
    File = write("requirements.txt", "# Some.\n-r more/others.txt\n", Config),
    Other = write("more/others.txt", "-c bounds.txt\nsome-package\n", Config),
    Bounds = write("more/bounds.txt", "some-package<2\n", Config),
    ok = ensure(File, Config),
    ?assertEqual("1.0", version(Config)),
    ok = file:write_file(Bounds, "some-package<3\n"),
    ok = ensure(unicode:characters_to_binary(File), Config),
    ?assertEqual("2.0", version(Config)),
    ok = file:write_file(Other, ""),
    ok = ensure(File, Config),
    ?assertEqual(none, version(Config)).

project_is_installed_with_extras(Config) ->
    Project = project(Config),
    ok = ensure(Project, Config),
    ?assertEqual(none, version(Config)),
    ?assertMatch({0, _}, python(["-c", "import some_project"], Config)),
    ok = ensure(filename:join(Project, "pyproject.toml"), #{extras => [dev]}, Config),
    ?assertEqual("2.0", version(Config)),
    {0, Where} = python(["-c", "import some_project; print(some_project.where)"], Config),
    ?assertNotEqual(nomatch, string:find(Where, "site-packages")).

editable_project_stays_where_it_is(Config) ->
    Project = project(Config),
    ok = ensure(Project, #{editable => true}, Config),
    Print = ["-c", "import some_project; print(some_project.where)"],
    ?assertEqual({0, filename:join(Project, "some_project.py") ++ "\n"}, python(Print, Config)),
    %% Its modules are no reason to make the environment anew, what says how to install it is.
    Before = identity(Config),
    ok = file:write_file(filename:join(Project, "some_project.py"), "where = 'changed'\n"),
    ok = ensure(Project, #{editable => true}, Config),
    ?assertEqual(Before, identity(Config)),
    ?assertEqual({0, "changed\n"}, python(Print, Config)),
    ok = file:write_file(filename:join(Project, "setup.cfg"), ""),
    ok = ensure(Project, #{editable => true}, Config),
    ?assertNotEqual(Before, identity(Config)).

changed_project_is_installed_again(Config) ->
    Project = project(Config),
    ok = ensure(Project, Config),
    ok = file:write_file(filename:join(Project, "some_project.py"), "where = 'changed'\n"),
    ok = ensure(Project, Config),
    ?assertEqual({0, "changed\n"}, python(["-c", "import some_project; print(some_project.where)"], Config)),
    %% What building leaves there is none of it.
    Before = identity(Config),
    ok = filelib:ensure_dir(filename:join(Project, "build/lib/file")),
    ok = file:write_file(filename:join(Project, "build/lib/file"), "made"),
    ok = ensure(Project, Config),
    ?assertEqual(Before, identity(Config)).

force_makes_it_anew(Config) ->
    ok = ensure(["some-package"], Config),
    Extra = filename:join(?config(venv, Config), "extra"),
    ok = file:write_file(Extra, ""),
    ok = ensure(["some-package"], Config),
    ?assert(filelib:is_regular(Extra)),
    ok = ensure(["some-package"], [force], Config),
    ?assertNot(filelib:is_regular(Extra)).

programs_find_their_python(Config) ->
    ok = ensure(["some-package==1.0"], Config),
    Program = filename:join(?config(venv, Config), "bin/some-program"),
    ?assertEqual({0, "1.0 " ++ ?config(venv, Config) ++ "\n"}, run(Program, [])).

%% Copying gives the files new times; what was compiled is still used.
bytecode_outlives_a_copy(Config) ->
    ok = ensure(["some-package==1.0"], Config),
    [Source] = filelib:wildcard(filename:join(site_packages(Config), "some_package/__init__.py")),
    {ok, Text} = file:read_file(Source),
    ok = file:write_file(Source, Text),
    ok = file:change_time(Source, {{2020, 1, 1}, {0, 0, 0}}),
    {0, Messages} = python(["-v", "-c", "import some_package"], Config),
    py_suite:contains(Messages, "code object from '" ++ filename:dirname(Source) ++ "/__pycache__").

odd_paths_are_paths(Config) ->
    Odd = filename:join(?config(folder, Config), "$(touch here) 'é\" ;&"),
    ok = ensure(["some-package==1.0"], [{venv, Odd} | Config]),
    ?assertEqual("1.0", version([{venv, Odd} | Config])),
    ?assertMatch([_], beside(Config)).

%% ------------------------------------------------------------------------------------------------
%% What ends early

%% Somebody asks for an environment, and is killed in the middle.
installer_ends_with_its_caller(Config) ->
    ok = ensure(["some-package==1.0"], Config),
    {Project, Listener} = gated_project(Config),
    {Caller, Monitor} = py_suite:spawn_caller(fun() -> ensure(Project, Config) end),
    Connection = accept(Listener),
    ?assertMatch([".venv.lock", ".venv.making-" ++ _, "venv"], beside(Config)),
    exit(Caller, kill),
    receive
        {'DOWN', Monitor, process, Caller, killed} -> ok
    end,
    ?assertEqual({error, closed}, gen_tcp:recv(Connection, 0, ?DEADLINE)),
    ok = gen_tcp:close(Listener),
    ok = py_leaks:eventually(fun() -> beside(Config) =:= ["venv"] end),
    ?assertEqual("1.0", version(Config)),
    ok = ensure(["some-package==2.0"], Config),
    ?assertEqual("2.0", version(Config)).

time_limit_ends_the_installer(Config) ->
    {Project, Listener} = gated_project(Config),
    ?assertEqual({error, timeout}, ensure(Project, #{timeout => 500}, Config)),
    ?assertEqual([], beside(Config) -- ["project"]),
    ok = gen_tcp:close(Listener),
    ?assertEqual({error, timeout}, ensure(["some-package"], #{timeout => 0}, Config)),
    ?assertEqual([], beside(Config) -- ["project"]).

%% What it started holds the lock, so that nobody else writes there, and goes on to its end.
killed_installer_leaves_nothing(Config) ->
    {Project, Listener} = gated_project(Config),
    Caller = py_suite:spawn_caller(fun() -> ensure(Project, Config) end),
    Connection = accept(Listener),
    [Staging] = [Name || ".venv.making-" ++ _ = Name <- beside(Config)],
    ".venv.making-" ++ Pid = Staging,
    {0, _} = run(os:find_executable("kill"), ["-KILL", Pid]),
    Next = py_suite:spawn_caller(fun() -> ensure(["some-package==1.0"], Config) end),
    ok = gen_tcp:close(Connection),
    ok = gen_tcp:close(Listener),
    ?assertMatch({error, {install, _}}, result(Caller)),
    ?assertEqual(ok, result(Next)),
    ?assertEqual("1.0", version(Config)),
    ?assertEqual(["venv"], beside(Config)).

calls_at_the_same_time_install_once(Config) ->
    {Project, Listener} = gated_project(Config),
    Callers = [py_suite:spawn_caller(fun() -> ensure(Project, Config) end) || _ <- [1, 2, 3]],
    Connection = accept(Listener),
    %% The others wait now, or come later.
    ok = gen_tcp:send(Connection, "x"),
    ?assertEqual([ok, ok, ok], [result(Caller) || Caller <- Callers]),
    ?assertEqual({error, timeout}, gen_tcp:accept(Listener, 0)),
    ok = gen_tcp:close(Connection),
    ok = gen_tcp:close(Listener),
    ?assertEqual(["venv"], beside(Config)).

nothing_else_is_replaced(Config) ->
    Venv = ?config(venv, Config),
    Path = unicode:characters_to_binary(Venv),
    Precious = filename:join(Venv, "precious"),
    ok = filelib:ensure_dir(Precious),
    ok = file:write_file(Precious, "kept"),
    ?assertEqual({error, {not_an_environment, Path}}, ensure([], Config)),
    ?assertEqual({error, {not_an_environment, Path}}, ensure([], [force], Config)),
    ?assertEqual({ok, <<"kept">>}, file:read_file(Precious)),
    ok = file:delete(Precious),
    %% An empty folder is as good as none.
    ok = ensure([], Config),
    %% Somebody else's environment is replaced if that is wanted.
    ok = file:delete(filename:join(Venv, ".erlang_python")),
    ?assertEqual({error, {not_an_environment, Path}}, ensure([], Config)),
    ok = ensure(["some-package==1.0"], [force], Config),
    ?assertEqual("1.0", version(Config)),
    File = write("file/venv", "", Config),
    ?assertMatch({error, {not_an_environment, _}}, ensure([], [{venv, File} | Config])),
    ?assertMatch({error, {file, _}}, ensure([], [{venv, filename:join(File, "below")} | Config])).

%% ------------------------------------------------------------------------------------------------
%% Arguments

wrong_types_are_badarg(_Config) ->
    [
        ?assertError(badarg, Call())
     || Call <- [
            fun() -> py:ensure_venv(venv, []) end,
            fun() -> py:ensure_venv("", []) end,
            fun() -> py:ensure_venv("venv\n", []) end,
            fun() -> py:ensure_venv("venv", requirements) end,
            fun() -> py:ensure_venv("venv", ["some", 7]) end,
            fun() -> py:ensure_venv("venv", ["some" | "more"]) end,
            fun() -> py:ensure_venv("venv", ["one\n--index-url=elsewhere"]) end,
            fun() -> py:ensure_venv("venv", [], force) end
        ]
    ],
    try py:ensure_venv("venv", requirements) of
        _ -> ct:fail(no_exception)
    catch
        error:badarg:Stack ->
            #{2 := Text} = py_badarg:format_error(badarg, Stack),
            py_suite:contains(iolist_to_binary(Text), "list of requirements")
    end.

bad_options_are_named(Config) ->
    [
        ?assertEqual({error, {bad_option, Key, Value}}, py:ensure_venv(?config(venv, Config), [], Options))
     || {Key, Value, Options} <- [
            {extra, [], #{extra => []}},
            {extras, "dev", #{extras => "dev"}},
            {extras, ["a]b"], #{extras => ["a]b"]}},
            {installer, conda, #{installer => conda}},
            {installer, conda, [{installer, conda}]},
            {installer_options, "--pre", #{installer_options => "--pre"}},
            {force, yes, #{force => yes}},
            {editable, 1, #{editable => 1}},
            {activate, no, #{activate => no}},
            {python, python, #{python => python}},
            {timeout, -1, #{timeout => -1}}
        ]
    ],
    ?assertEqual({error, {bad_option, options, [7]}}, py:ensure_venv(?config(venv, Config), [], [7])),
    ?assertEqual([], beside(Config)).

missing_requirements_are_named(Config) ->
    Missing = filename:join(?config(folder, Config), "missing.txt"),
    Binary = unicode:characters_to_binary(Missing),
    ?assertEqual({error, {no_requirements, Binary}}, py:ensure_venv(?config(venv, Config), Missing)),
    Folder = ?config(folder, Config),
    ?assertEqual(
        {error, {no_requirements, unicode:characters_to_binary(filename:join(Folder, "pyproject.toml"))}},
        py:ensure_venv(?config(venv, Config), Folder)
    ).

missing_installer_is_named(Config) ->
    Path = os:getenv("PATH"),
    true = os:putenv("PATH", ?config(folder, Config)),
    try
        ?assertEqual({error, {no_installer, uv}}, py:ensure_venv(?config(venv, Config), [], #{installer => uv}))
    after
        true = os:putenv("PATH", Path)
    end.

unfit_python_is_named(Config) ->
    Venv = ?config(venv, Config),
    Missing = <<"/nonexistent/python">>,
    ?assertEqual({error, {python, {not_found, Missing}}}, py:ensure_venv(Venv, [], #{python => Missing})),
    File = unicode:characters_to_binary(write("python", "", Config)),
    ?assertEqual({error, {python, {not_executable, File}}}, py:ensure_venv(Venv, [], #{python => File})),
    {Version, _} = py_nif:built_for(),
    Others = [Python || {Minor, Python} <- pythons(), Minor =/= Version],
    [
        begin
            {error, {python, {wrong_version, Other}}} = py:ensure_venv(Venv, [], #{python => Python}),
            ?assertNotEqual(Version, Other)
        end
     || Python <- Others
    ],
    ?assertEqual(["python"], beside(Config)).

%% Those of the versions that are supported which a build here finds.
pythons() ->
    Find = filename:join(py_suite:checkout(), "scripts/find-python.sh"),
    Found = [{Version, run("/usr/bin/env", ["-u", "PYTHON", Find, Version])} || Version <- ["3.12", "3.13", "3.14"]],
    [{list_to_binary(Version), string:trim(Path)} || {Version, {0, Path}} <- Found].

%% With pip as it comes with Python.
python_may_be_chosen(Config) ->
    Options = #{python => py_wheels:python(), installer => pip},
    Offline = Options#{installer_options => py_wheels:offline(?config(wheels, Config)), activate => false},
    ok = py:ensure_venv(?config(venv, Config), ["some-package==1.0"], Offline),
    ?assertEqual("1.0", version(Config)).

%% The last one: the group's application is stopped.
not_running_is_said(Config) ->
    ok = py_suite:stop(),
    ?assertEqual({error, not_running}, py:ensure_venv(?config(venv, Config), [])),
    ?assertEqual([], beside(Config)).

%% ------------------------------------------------------------------------------------------------
%% Support

ensure(Requirements, Config) ->
    ensure(Requirements, #{}, Config).

ensure(Requirements, Options, Config) ->
    Offline = (?config(python, Config))#{
        installer => ?config(installer, Config), installer_options => py_wheels:offline(?config(wheels, Config))
    },
    Map = maps:from_list(proplists:unfold(case Options of #{} -> maps:to_list(Options); _ -> Options end)),
    %% That it is activated is tested where it is declared.
    py:ensure_venv(?config(venv, Config), Requirements, maps:merge(Offline#{activate => false}, Map)).

%% The version of the package that the environment holds.
version(Config) ->
    case python(["-c", "import some_package; print(some_package.version)"], Config) of
        {0, Version} -> string:trim(Version);
        {_, _} -> none
    end.

python(Arguments, Config) ->
    run(filename:join(?config(venv, Config), "bin/python"), Arguments).

%% What another environment in the same place does not have.
identity(Config) ->
    {ok, #file_info{inode = Inode, mtime = Written, ctime = Changed}} =
        file:read_file_info(filename:join(?config(venv, Config), ".erlang_python")),
    {Inode, Written, Changed}.

site_packages(Config) ->
    [Folder] = filelib:wildcard(filename:join(?config(venv, Config), "lib/python*/site-packages")),
    Folder.

%% What there is beside the environment, and the environment.
beside(Config) ->
    {ok, Names} = file:list_dir(?config(folder, Config)),
    lists:sort(Names) -- ["project"].

write(Name, Text, Config) ->
    Path = filename:join(?config(folder, Config), Name),
    ok = filelib:ensure_dir(Path),
    ok = file:write_file(Path, Text),
    Path.

project(Config) ->
    Source = filename:join(py_suite:checkout(), "test/support/python/project"),
    Project = filename:join(?config(folder, Config), "project"),
    {0, _} = run(os:find_executable("cp"), ["-R", Source, Project]),
    Project.

%% One whose installation waits until it is told to go on.
gated_project(Config) ->
    Project = project(Config),
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listener),
    ok = file:write_file(filename:join(Project, "gate"), integer_to_list(Port)),
    {Project, Listener}.

accept(Listener) ->
    {ok, Connection} = gen_tcp:accept(Listener, ?DEADLINE),
    Connection.

result({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {py_suite, result, Result}} -> Result
    end.

run(Program, Arguments) ->
    Port = open_port({spawn_executable, Program}, [{args, Arguments}, exit_status, stderr_to_stdout, binary, hide]),
    collect(Port, []).

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, unicode:characters_to_list(iolist_to_binary(Output))}
    end.
