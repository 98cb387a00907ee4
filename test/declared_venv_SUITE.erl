%% The setting python: packages that a node declares, made at its start or before.
-module(declared_venv_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [{group, owngil}, {group, worker}, {group, refused}].

groups() ->
    Refused = [
        declaration_is_checked,
        failure_keeps_the_application_from_starting,
        missing_environment_keeps_it_from_starting,
        environment_of_another_version_keeps_it_from_starting,
        two_environments_for_the_node_are_refused,
        paths_are_below_the_application,
        nothing_declared_is_nothing_to_build
    ],
    py_suite:groups([
        declared_packages_are_there_from_the_start,
        what_was_built_is_found,
        call_makes_and_activates,
        call_may_leave_it_at_making
    ]) ++ [{refused, [], Refused}].

init_per_suite(Config) ->
    Wheels = filename:join(?config(priv_dir, Config), "wheels"),
    _ = [
        py_wheels:wheel(Wheels, Name, "1.0", [{[Name, "/__init__.py"], "version = '1.0'\n"}], [])
     || Name <- ["declared_package", "other_package"]
    ],
    Offline = (py_wheels:with_pip(?config(priv_dir, Config)))#{installer_options => py_wheels:offline(Wheels)},
    [{offline, Offline} | Config].

end_per_suite(_Config) ->
    ok.

init_per_group(refused, Config) ->
    [{mode, owngil} | Config];
init_per_group(Mode, Config) ->
    case py_suite:init_group(Mode, Config, #{num_contexts => 1}) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            ok = py_suite:stop(),
            Started
    end.

end_per_group(refused, _Config) ->
    ok;
end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(Case, Config) ->
    Venv = filename:join([?config(priv_dir, Config), ?config(mode, Config), Case]),
    [{venv, Venv} | Config].

end_per_testcase(_Case, _Config) ->
    ok = py_suite:stop(),
    ?assertEqual([], py_suite:flush()).

%% ------------------------------------------------------------------------------------------------
%% What is declared

declared_packages_are_there_from_the_start(Config) ->
    Preload = #{start_contexts => eager, preload => "import declared_package"},
    ok = start(declared(["declared-package"], Config), Preload, Config),
    ?assertEqual({ok, <<"1.0">>}, py:eval("declared_package.version")),
    ?assertEqual({ok, <<"1.0">>}, imported("declared_package")),
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config)}),
    ?assertEqual({ok, <<"1.0">>}, py:eval(Context, "__import__('declared_package').version")),
    ok = py_suite:stop(),
    %% The next life of the application has what is declared then.
    ok = py_suite:start(#{context_mode => py_suite:mode(Config), num_contexts => 1}),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, imported("declared_package")).

what_was_built_is_found(Config) ->
    Declared = (declared(["declared-package"], Config))#{make => build},
    ok = build(Declared),
    ok = start(Declared#{requirements => ["no-such-package"]}, #{}, Config),
    ?assertEqual({ok, <<"1.0">>}, imported("declared_package")).

call_makes_and_activates(Config) ->
    ok = start(declared([], Config), #{}, Config),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, imported("other_package")),
    Other = ?config(venv, Config) ++ "_other",
    Offline = maps:to_list(?config(offline, Config)),
    ok = py:ensure_venv(Other, ["other-package"], Offline),
    ?assertEqual({ok, <<"1.0">>}, imported("other_package")),
    ok = py:deactivate_venv(),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, imported("other_package")),
    %% It is there by now.
    ok = py:ensure_venv(Other, ["other-package"], Offline),
    ?assertEqual({ok, <<"1.0">>}, imported("other_package")).

call_may_leave_it_at_making(Config) ->
    ok = start(declared([], Config), #{}, Config),
    Other = ?config(venv, Config) ++ "_other",
    Offline = ?config(offline, Config),
    ok = py:ensure_venv(Other, ["other-package"], Offline#{activate => false}),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, imported("other_package")),
    case py_suite:mode(Config) of
        owngil ->
            {ok, Context} = py_context:new(#{mode => owngil, venv => Other}),
            ?assertEqual({ok, <<"1.0">>}, py:eval(Context, "__import__('other_package').version"));
        %% These share what the node has.
        worker ->
            ok
    end.

%% ------------------------------------------------------------------------------------------------
%% What keeps the application from starting

declaration_is_checked(Config) ->
    Good = declared([], Config),
    [
        ?assertMatch({error, {erlang_python, {{bad_option, python, Declared, _}, _}}}, start(Declared, #{}, Config))
     || Declared <- [
            #{},
            none,
            [7],
            maps:remove(requirements, Good),
            maps:remove(path, Good),
            Good#{requirements => 7},
            Good#{make => never},
            Good#{app => "shop"},
            Good#{installer => conda},
            Good#{extra => []},
            Good#{activate => false}
        ]
    ].

failure_keeps_the_application_from_starting(Config) ->
    {error, {venv, {install, Output}}} = refused(declared(["no-such-package"], Config), #{}, Config),
    py_suite:contains(Output, "no-such-package"),
    ?assertEqual({error, not_running}, py:eval("1")).

missing_environment_keeps_it_from_starting(Config) ->
    Declared = (declared([], Config))#{make => build},
    Path = unicode:characters_to_binary(?config(venv, Config)),
    ?assertEqual({error, {venv, {no_environment, Path}}}, refused(Declared, #{}, Config)).

environment_of_another_version_keeps_it_from_starting(Config) ->
    Declared = (declared([], Config))#{make => build},
    ok = build(Declared),
    Stamp = filename:join(?config(venv, Config), ".erlang_python"),
    {ok, Text} = file:read_file(Stamp),
    [Digest | _] = binary:split(Text, <<"\n">>),
    ok = file:write_file(Stamp, [Digest, "\n3.99\n"]),
    ?assertEqual({error, {venv, {python, {wrong_version, <<"3.99">>}}}}, refused(Declared, #{}, Config)).

two_environments_for_the_node_are_refused(Config) ->
    Other = ?config(venv, Config),
    ?assertMatch({error, {bad_option, venv, Other, _}}, refused(declared([], Config), #{venv => Other}, Config)).

paths_are_below_the_application(Config) ->
    Declared = #{app => no_such_application, requirements => []},
    ?assertEqual({error, {venv, {no_application, no_such_application}}}, refused(Declared, #{}, Config)),
    Missing = #{app => erlang_python, requirements => "no/such/file.txt"},
    {error, {venv, {no_requirements, Path}}} = refused(Missing, #{}, Config),
    ?assertEqual(filename:join(code:priv_dir(erlang_python), "no/such/file.txt"), binary_to_list(Path)).

nothing_declared_is_nothing_to_build(_Config) ->
    _ = application:unset_env(erlang_python, python),
    ?assertEqual(ok, py_venv:build()).

%% ------------------------------------------------------------------------------------------------
%% Support

declared(Requirements, Config) ->
    (?config(offline, Config))#{path => ?config(venv, Config), requirements => Requirements}.

start(Declared, More, Config) ->
    py_suite:start(More#{python => Declared, context_mode => py_suite:mode(Config), num_contexts => 1}).

refused(Declared, More, Config) ->
    {error, {erlang_python, {Reason, {erlang_python_app, start, _}}}} = start(Declared, More, Config),
    {error, Reason}.

%% As a build tool does it, whose output is not that of the tests.
build(Declared) ->
    ok = application:set_env(erlang_python, python, Declared),
    ct:capture_start(),
    try
        py_venv:build()
    after
        ct:capture_stop(),
        ct:log("~ts", [ct:capture_get()])
    end.

imported(Name) ->
    py:eval(["__import__('", Name, "').version"]).
