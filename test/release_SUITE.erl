%% Releases that carry a virtual environment, made by a hook of the build, and run from another folder.
-module(release_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_consumers, [repository/2, consumer/3, run/4, find/1, answer/1]).

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        rebar3_release_runs_elsewhere,
        rebar3_release_carries_its_python,
        mix_release_runs_elsewhere,
        hook_says_why_it_fails,
        hook_reads_configurations_only
    ].

%% The native library is the one that is tested here: whether it builds is build_SUITE's matter.
init_per_suite(Config) ->
    Private = ?config(priv_dir, Config),
    Wheels = filename:join(Private, "wheels"),
    Files = [{"some_package/__init__.py", "version = '1.0'\n"}],
    _ = py_wheels:wheel(Wheels, "some_package", "1.0", Files, []),
    Repository = filename:join(Private, "repository"),
    ok = repository(Repository, fun with_library/1),
    [{wheels, Wheels}, {repository, Repository} | Config].

end_per_suite(_Config) ->
    ok.

with_library(Folder) ->
    {ok, Text} = file:read_file(filename:join(Folder, "rebar.config")),
    Changed = re:replace(Text, "^\\{(pre|post)_hooks,.*$", "", [global, multiline]),
    ok = file:write_file(filename:join(Folder, "rebar.config"), Changed),
    Library = "priv/py_nif.so",
    {ok, _} = file:copy(filename:join(code:lib_dir(erlang_python), Library), filename:join(Folder, Library)),
    ok.

%% ------------------------------------------------------------------------------------------------
%% rebar3

rebar3_release_runs_elsewhere(Config) ->
    Dir = consumer(rebar3_release, ["rebar.config", "config/sys.config"], Config),
    {0, First} = run(Dir, environment(), find("rebar3"), ["release"]),
    ?assertNotEqual(nomatch, string:find(First, "making " ++ Dir)),
    %% The second build has nothing to make, and nothing to make it from.
    {0, Second} = run(Dir, environment() ++ [{"UV_OFFLINE", "1"}], find("rebar3"), ["release"]),
    ?assertEqual(nomatch, string:find(Second, "making " ++ Dir)),
    Elsewhere = moved(filename:join(Dir, "_build/default/rel/shop"), Dir, Config),
    Started = run("/", environment(), filename:join(Elsewhere, "bin/shop"), ["foreground"]),
    said(Elsewhere, Started).

%% With a copy of the installation, named by the environment of the release.
rebar3_release_carries_its_python(Config) ->
    Release = filename:join(?config(priv_dir, Config), "elsewhere"),
    case {os:type(), filelib:is_dir(Release)} of
        {{unix, linux}, true} ->
            Python = filename:join(Release, "python"),
            Carry = filename:join(py_suite:checkout(), "scripts/carry-python.sh"),
            {0, _} = run("/", [{"PYTHON", py_wheels:python()}], Carry, [Python]),
            Flags = lists:flatten(io_lib:format("-erlang_python python_home '~0p'", [Python])),
            Env = [{"LD_LIBRARY_PATH", filename:join(Python, "lib")}, {"ERL_ZFLAGS", Flags}],
            Started = run("/", environment() ++ Env, filename:join(Release, "bin/shop"), ["foreground"]),
            said(Release, Started),
            [_, _, Os, Library] = values(Started),
            [?assertEqual({0, length(Python)}, binary:match(Path, list_to_binary(Python))) || Path <- [Os, Library]];
        {{unix, linux}, false} ->
            ct:fail("the release before was not built");
        _ ->
            {skip, "where libraries are found is said otherwise"}
    end.

%% ------------------------------------------------------------------------------------------------
%% Mix

mix_release_runs_elsewhere(Config) ->
    case os:find_executable("mix") of
        false ->
            {skip, "mix is not installed"};
        Mix ->
            Dir = consumer(mix_release, ["mix.exs", "config/config.exs"], Config),
            Mixes = [{"MIX_REBAR3", find("rebar3")}, {"MIX_HOME", Dir ++ "/.mix"}, {"MIX_ENV", "prod"}],
            Env = environment() ++ Mixes,
            {0, _} = run(Dir, Env, Mix, ["deps.get"]),
            {0, Output} = run(Dir, Env, Mix, ["release"]),
            ?assertNotEqual(nomatch, string:find(Output, "making " ++ Dir)),
            Elsewhere = moved(filename:join(Dir, "_build/prod/rel/shop"), Dir, Config),
            said(Elsewhere, run("/", environment(), filename:join(Elsewhere, "bin/shop"), ["start"]))
    end.

%% ------------------------------------------------------------------------------------------------
%% The hook

hook_says_why_it_fails(Config) ->
    {2, Usage} = hook([]),
    ?assertNotEqual(nomatch, string:find(Usage, "usage")),
    File = filename:join(?config(priv_dir, Config), "failing.config"),
    Declared = #{path => filename:join(?config(priv_dir, Config), "failing"), requirements => ["no-such-package"],
        installer_options => py_wheels:offline(?config(wheels, Config))},
    ok = config(File, [{erlang_python, [{python, Declared}]}]),
    {1, Output} = hook([File]),
    ?assertNotEqual(nomatch, string:find(Output, "no-such-package")),
    ?assertNot(filelib:is_dir(filename:join(?config(priv_dir, Config), "failing"))),
    ok = config(File, [{erlang_python, [{python, #{requirements => [], path => "venv", extra => 1}}]}]),
    {1, Bad} = hook([File]),
    ?assertNotEqual(nomatch, string:find(Bad, "{bad_option,extra,1}")),
    ok = config(File, [{erlang_python, [{python, #{requirements => [], app => no_such_application}}]}]),
    {1, NoApp} = hook([File]),
    ?assertNotEqual(nomatch, string:find(NoApp, "{no_application,no_such_application}")).

hook_reads_configurations_only(Config) ->
    File = filename:join(?config(priv_dir, Config), "odd.config"),
    {1, Missing} = hook([File]),
    ?assertNotEqual(nomatch, string:find(Missing, "no such file")),
    ok = file:write_file(File, "[{erlang_python, [{python, ${PYTHON}}]}].\n"),
    {1, Unreadable} = hook([File]),
    ?assertNotEqual(nomatch, string:find(Unreadable, "{config,")),
    ok = config(File, other),
    {1, _} = hook([File]),
    %% Nothing declared is nothing to do.
    ok = config(File, [{kernel, []}, {erlang_python, [{num_contexts, 1}]}, "other.config"]),
    ?assertMatch({0, _}, hook([File])).

%% As rebar3 runs it.
hook(Arguments) ->
    Build = filename:dirname(filename:dirname(code:lib_dir(erlang_python))),
    run("/", environment() ++ [{"REBAR_BUILD_DIR", Build}], find("escript"), [
        filename:join(py_suite:checkout(), "scripts/ensure-venv.escript") | Arguments
    ]).

config(File, Term) ->
    file:write_file(File, io_lib:format("~tp.~n", [Term])).

%% ------------------------------------------------------------------------------------------------
%% Support

%% What the emulator that runs the tests, and rebar3, say to the programs that they start.
environment() ->
    [
        {Name, false}
     || Name <- [
            "ROOTDIR", "BINDIR", "EMU", "PROGNAME", "ERL_FLAGS", "ERL_AFLAGS", "ERL_ZFLAGS", "ERL_LIBS", "REBAR_BUILD_DIR",
            "REBAR_DEPS_DIR", "REBAR_PROFILE", "RELEASE_ROOT", "MIX_ENV"
        ]
    ].

%% Nothing is left of where it was built.
moved(Release, Dir, Config) ->
    Elsewhere = filename:join(?config(priv_dir, Config), "elsewhere"),
    {0, _} = run("/", [], find("rm"), ["-rf", Elsewhere]),
    ok = file:rename(Release, Elsewhere),
    {0, _} = run("/", [], find("rm"), ["-rf", Dir]),
    Elsewhere.

said(Release, Started) ->
    [Version, File | _] = values(Started),
    ?assertEqual(<<"1.0">>, Version),
    Expected = unicode:characters_to_binary(filename:join(Release, "lib/shop-1.0.0/priv/venv/")),
    ?assertEqual({0, byte_size(Expected)}, binary:match(File, Expected)).

values(Started) ->
    "answer: " ++ Text = answer(Started),
    {ok, Tokens, _} = erl_scan:string(Text ++ "."),
    {ok, {ok, Values}} = erl_parse:parse_term(Tokens),
    Values.
