%% Packages of virtual environments: in the whole node, in contexts and pools of their own, and gone again.
-module(venv_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            packages_are_found_now_and_later,
            activation_changes_what_python_says_of_itself,
            deactivation_takes_everything_away,
            other_environment_takes_the_place_of_the_first,
            packages_that_were_imported_are_imported_anew,
            packages_are_after_the_standard_library,
            packages_of_the_installation_are_hidden_and_come_back,
            packages_of_the_installation_are_found_where_the_environment_says_so,
            pth_files_add_paths_and_run_code,
            editable_installs_are_found_and_gone_again,
            namespace_packages_change_with_the_environment,
            distributions_are_those_of_the_environment,
            setting_activates_from_the_start,
            what_is_no_environment_is_refused,
            environment_that_venv_makes_is_one,
            pth_file_that_fails_harms_nobody,
            pth_file_that_ends_the_start_is_told,
            nothing_is_left_when_the_application_has_stopped,
            several_processes_activate_at_once,
            busy_context_is_not_waited_for,
            dead_caller_leaves_one_environment,
            wrong_arguments_are_refused
        ],
        [
            two_pools_have_different_versions_side_by_side,
            contexts_keep_an_environment_of_their_own,
            web_server_uses_an_environment_of_its_own,
            main_interpreter_has_the_packages_first,
            packages_may_be_read_under_a_policy,
            extension_module_stays_in_no_other_environment
        ]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 64}).

%% Every case has the application to itself.
init_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

new(Config) ->
    py_suite:new_context(Config).

venv(Config, Version) ->
    py_venvs:venv(Config, "venv", [
        {"ct_pkg/__init__.py", ["version = ", integer_to_list(Version), "\n"]},
        {"ct_pkg/part.py", "from . import version\n"},
        {"ct_single.py", ["version = ", integer_to_list(Version), "\n"]},
        {["ct_pkg-", integer_to_list(Version), ".0.dist-info/METADATA"], ["Metadata-Version: 2.1\nName: ct-pkg\nVersion: ", integer_to_list(Version), ".0\n"]}
    ]).

version(Context) ->
    py:eval(Context, "__import__('ct_pkg.part').part.version").

is_missing({error, {'ModuleNotFoundError', _}}) -> true;
is_missing(Other) -> {false, Other}.

path(Context) ->
    {ok, Path} = py:eval(Context, "list(__import__('sys').path)"),
    Path.

%% ------------------------------------------------------------------------------------------------

packages_are_found_now_and_later(Config) ->
    {ok, Others} = py:start_contexts(),
    Before = new(Config),
    true = is_missing(version(Before)),
    ok = py:activate_venv(venv(Config, 1)),
    [{ok, 1} = version(Context) || Context <- [Before, new(Config) | Others]],
    {ok, 1} = py:eval("__import__('ct_single').version").

activation_changes_what_python_says_of_itself(Config) ->
    Venv = venv(Config, 1),
    {ok, #{<<"active">> := false} = None} = py:venv_info(),
    1 = map_size(None),
    Code = "(__import__('sys').prefix, __import__('sys').exec_prefix, __import__('os').environ.get('VIRTUAL_ENV'))",
    {ok, {Prefix, ExecPrefix, _} = Before} = py:eval(Code),
    ok = py:activate_venv(unicode:characters_to_list(Venv)),
    Site = unicode:characters_to_binary(py_venvs:packages(Venv)),
    {ok, #{<<"active">> := true, <<"venv_path">> := Venv, <<"site_packages">> := Site, <<"sys_path">> := Path}} = py:venv_info(),
    true = lists:member(Site, Path),
    {ok, {Venv, Venv, Venv}} = py:eval(Code),
    {ok, {Prefix, ExecPrefix}} = py:eval("(__import__('sys').base_prefix, __import__('sys').base_exec_prefix)"),
    ok = py:deactivate_venv(),
    {ok, Before} = py:eval(Code),
    {ok, None} = py:venv_info().

deactivation_takes_everything_away(Config) ->
    Context = new(Config),
    Path = path(Context),
    ok = py:activate_venv(venv(Config, 1)),
    {ok, 1} = version(Context),
    {ok, 1} = py:eval(Context, "__import__('ct_single').version"),
    ok = py:deactivate_venv(),
    true = is_missing(version(Context)),
    true = is_missing(py:eval(Context, "__import__('ct_single')")),
    true = is_missing(version(new(Config))),
    Path = path(Context),
    {ok, []} = py:eval(Context, "[name for name in __import__('sys').modules if name.startswith(('ct_pkg', 'ct_single'))]"),
    ok = py:deactivate_venv().

other_environment_takes_the_place_of_the_first(Config) ->
    Context = new(Config),
    [One, Two] = [venv(Config, Version) || Version <- [1, 2]],
    ok = py:activate_venv(One),
    {ok, 1} = version(Context),
    ok = py:activate_venv(Two),
    {{ok, 2}, {ok, 2}} = {version(Context), version(new(Config))},
    [] = [Entry || Entry <- path(Context), string:prefix(Entry, One) =/= nomatch],
    ok = py:activate_venv(Two),
    {ok, 2} = version(Context).

packages_that_were_imported_are_imported_anew(Config) ->
    Folder = py_venvs:folder(Config, "other", [{"ct_other.py", "x = 1\n"}]),
    ok = py_import:add_path(Folder),
    Context = new(Config),
    ok = py:exec(Context, "import ct_other, json, types, sys\nct_other.x = 2\nsys.modules['ct_made'] = types.ModuleType('ct_made')"),
    ok = py:activate_venv(venv(Config, 1)),
    %% They are found where they were, or nowhere at all: nothing has changed for them.
    {ok, 2} = py:eval(Context, "__import__('ct_other').x"),
    {ok, true} = py:eval(Context, "sys.modules['json'] is json"),
    {ok, _} = py:eval(Context, "str(__import__('ct_made'))"),
    ok = py:deactivate_venv(),
    {ok, 2} = py:eval(Context, "__import__('ct_other').x").

packages_are_after_the_standard_library(Config) ->
    Venv = py_venvs:venv(Config, "shadow", [{"fractions.py", "shadow = True"}, {"ct_shadow.py", "shadow = False"}]),
    ok = py:activate_venv(Venv),
    {ok, false} = py:eval("hasattr(__import__('fractions'), 'shadow')"),
    Folder = py_venvs:folder(Config, "first", [{"ct_shadow.py", "shadow = True"}]),
    ok = py_import:add_path(Folder),
    {ok, true} = py:eval(new(Config), "__import__('ct_shadow').shadow").

packages_of_the_installation_are_hidden_and_come_back(Config) ->
    Context = new(Config),
    {ok, [_ | _] = Installed} = py:eval(Context, "__import__('erlang._boot')._boot.installed_packages()"),
    ok = py:activate_venv(venv(Config, 1)),
    [false = lists:member(Entry, path(C)) || Entry <- Installed, C <- [Context, new(Config)]],
    ok = py:deactivate_venv(),
    [true = lists:member(Entry, path(C)) || Entry <- Installed, C <- [Context, new(Config)]].

packages_of_the_installation_are_found_where_the_environment_says_so(Config) ->
    Context = new(Config),
    {ok, [_ | _] = Installed} = py:eval(Context, "__import__('erlang._boot')._boot.installed_packages()"),
    Venv = py_venvs:venv(Config, "system", [], #{"include-system-site-packages" => "true"}),
    Site = unicode:characters_to_binary(py_venvs:packages(Venv)),
    ok = py:activate_venv(Venv),
    Tail = [Site | Installed],
    [Tail = lists:nthtail(length(path(C)) - length(Tail), path(C)) || C <- [Context, new(Config)]],
    ok = py:deactivate_venv(),
    Installed = lists:nthtail(length(path(Context)) - length(Installed), path(Context)).

pth_files_add_paths_and_run_code(Config) ->
    Source = py_venvs:folder(Config, "source", [{"ct_linked.py", "x = 1\n"}]),
    Venv = py_venvs:venv(Config, "pth", [
        {"linked.pth", [Source, "\n# no path\n/nowhere/at/all\n"]},
        {"code.pth", "import sys; sys.ct_pth_has_run = True\n"}
    ]),
    Context = new(Config),
    ok = py:activate_venv(Venv),
    [{ok, {1, true}} = py:eval(C, "(__import__('ct_linked').x, __import__('sys').ct_pth_has_run)") || C <- [Context, new(Config)]],
    ok = py:deactivate_venv(),
    true = is_missing(py:eval(Context, "__import__('ct_linked')")),
    false = lists:member(Source, path(Context)).

%% As setuptools makes them: a finder that a `.pth' file puts into the import system.
editable_installs_are_found_and_gone_again(Config) ->
    Source = py_venvs:folder(Config, "source", [{"ct_editable/__init__.py", "x = 1\n"}]),
    Finder = [
        "import sys\n"
        "from importlib.util import spec_from_file_location\n"
        "class Finder:\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        if name == 'ct_editable':\n"
        "            return spec_from_file_location(name, r'", Source, "/ct_editable/__init__.py')\n"
        "def install():\n"
        "    if Finder not in sys.meta_path:\n"
        "        sys.meta_path.append(Finder)\n"
    ],
    Venv = py_venvs:venv(Config, "editable", [
        {"__editable___ct_finder.py", Finder},
        {"__editable__.ct.pth", "import __editable___ct_finder; __editable___ct_finder.install()"}
    ]),
    Context = new(Config),
    {ok, Finders} = py:eval(Context, "len(__import__('sys').meta_path)"),
    [
        begin
            ok = py:activate_venv(Venv),
            [{ok, 1} = py:eval(C, "__import__('ct_editable').x") || C <- [Context, new(Config)]],
            ok = py:deactivate_venv(),
            true = is_missing(py:eval(Context, "__import__('ct_editable')")),
            {ok, Finders} = py:eval(Context, "len(__import__('sys').meta_path)")
        end
     || _ <- [1, 2]
    ].

namespace_packages_change_with_the_environment(Config) ->
    [One, Two] = [
        py_venvs:venv(Config, "spaces", [{"ct_space/" ++ Part ++ ".py", "x = 1\n"}])
     || Part <- ["one", "two"]
    ],
    Context = new(Config),
    ok = py:activate_venv(One),
    {ok, 1} = py:eval(Context, "__import__('ct_space.one').one.x"),
    ok = py:activate_venv(Two),
    {ok, 1} = py:eval(Context, "__import__('ct_space.two').two.x"),
    true = is_missing(py:eval(Context, "__import__('ct_space.one')")),
    ok = py:deactivate_venv(),
    true = is_missing(py:eval(Context, "__import__('ct_space')")).

distributions_are_those_of_the_environment(Config) ->
    Code = "__import__('importlib.metadata').metadata.version('ct-pkg')",
    Context = new(Config),
    {error, {'PackageNotFoundError', _}} = py:eval(Context, Code),
    ok = py:activate_venv(venv(Config, 1)),
    {ok, <<"1.0">>} = py:eval(Context, Code),
    ok = py:activate_venv(venv(Config, 2)),
    {ok, <<"2.0">>} = py:eval(Context, Code),
    ok = py:deactivate_venv(),
    {error, {'PackageNotFoundError', _}} = py:eval(Context, Code).

setting_activates_from_the_start(Config) ->
    ok = py_suite:restart(Config, #{venv => unicode:characters_to_list(venv(Config, 1))}),
    {{ok, 1}, {ok, 1}} = {version(py:context()), version(new(Config))},
    ok = py:deactivate_venv(),
    true = is_missing(version(py:context())).

what_is_no_environment_is_refused(Config) ->
    Folder = py_venvs:folder(Config, "empty", []),
    {error, {invalid_venv, Folder, no_config}} = py:activate_venv(Folder),
    {error, {invalid_venv, <<"/nowhere">>, no_config}} = py:activate_venv("/nowhere"),
    Config3 = py_venvs:folder(Config, "config", [{"pyvenv.cfg", "version = 3.9.1\n"}]),
    {error, {invalid_venv, Config3, {python, <<"3.9.1">>}}} = py:activate_venv(Config3),
    Uv = py_venvs:folder(Config, "config", [{"pyvenv.cfg", "implementation = CPython\nversion_info = 2.7.18.final.0\n"}]),
    {error, {invalid_venv, Uv, {python, <<"2.7.18.final.0">>}}} = py:activate_venv(Uv),
    Bare = py_venvs:folder(Config, "config", [{"pyvenv.cfg", "home = /usr/bin\n"}]),
    {error, {invalid_venv, Bare, no_site_packages}} = py:activate_venv(Bare),
    File = filename:join(Folder, "file"),
    ok = file:write_file(File, ""),
    {error, {invalid_venv, File, enotdir}} = py:activate_venv(File),
    {ok, #{<<"active">> := false}} = py:venv_info(),
    Relative = list_to_binary(filename:absname("ct_nowhere")),
    {error, {invalid_venv, Relative, no_config}} = py:activate_venv("ct_nowhere").

environment_that_venv_makes_is_one(Config) ->
    {ok, {Base, Executable}} = py:eval("(__import__('sys').base_prefix, 'python%d.%d' % __import__('sys').version_info[:2])"),
    Venv = unicode:characters_to_binary(filename:join(?config(priv_dir, Config), "made")),
    Python = filename:join([Base, "bin", Executable]),
    Port = open_port({spawn_executable, Python}, [exit_status, stderr_to_stdout, {args, ["-m", "venv", "--without-pip", Venv]}]),
    case exit_status(Port) of
        0 ->
            ok = py:activate_venv(Venv),
            {ok, #{<<"active">> := true, <<"venv_path">> := Venv, <<"site_packages">> := Site}} = py:venv_info(),
            ok = file:write_file(filename:join(Site, "ct_made_up.py"), "x = 1"),
            {ok, 1} = py:eval(new(Config), "__import__('ct_made_up').x");
        _ ->
            {skip, "this Python has no module venv, or lies elsewhere"}
    end.

exit_status(Port) ->
    receive
        {Port, {exit_status, Status}} -> Status;
        {Port, _} -> exit_status(Port)
    end.

%% Python reports the line and goes on, as it does at any start.
pth_file_that_fails_harms_nobody(Config) ->
    Venv = py_venvs:venv(Config, "fails", [{"a.pth", "import ct_is_not_there\n"}, {"ct_there.py", "x = 1"}]),
    ok = py:activate_venv(Venv),
    {ok, 1} = py:eval("__import__('ct_there').x"),
    {ok, 1} = py:eval(new(Config), "__import__('ct_there').x").

pth_file_that_ends_the_start_is_told(Config) ->
    Venv = py_venvs:venv(Config, "ends", [{"a.pth", "import sys; sys.exit(3)\n"}, {"ct_there.py", "x = 1"}]),
    Context = new(Config),
    {error, {context_start, {venv, {'SystemExit', "3"}}}} = py:activate_venv(Venv),
    {ok, #{<<"active">> := false}} = py:venv_info(),
    true = is_missing(py:eval(Context, "__import__('ct_there')")),
    %% What there was before is there again, in the main interpreter, too.
    ok = py:activate_venv(venv(Config, 1)),
    {error, {context_start, {venv, {'SystemExit', "3"}}}} = py:activate_venv(Venv),
    {ok, Worker} = py_context:new(#{mode => worker}),
    [{ok, 1} = version(C) || C <- [Context, new(Config), Worker]],
    [true = is_missing(py:eval(C, "__import__('ct_there')")) || C <- [Context, new(Config), Worker]].

nothing_is_left_when_the_application_has_stopped(Config) ->
    {ok, Worker} = py_context:new(#{mode => worker}),
    Path = path(Worker),
    ok = py:activate_venv(venv(Config, 1)),
    {ok, 1} = version(Worker),
    {ok, 1} = version(py:context()),
    ok = py_suite:restart(Config, #{}),
    {ok, #{<<"active">> := false}} = py:venv_info(),
    true = is_missing(version(py:context())),
    {ok, Later} = py_context:new(#{mode => worker}),
    Path = path(Later),
    true = is_missing(version(Later)).

several_processes_activate_at_once(Config) ->
    Venvs = [venv(Config, Version) || Version <- [1, 2, 3, 4]],
    Contexts = [new(Config) || _ <- [1, 2]],
    _ = py_suite:concurrently(4, fun(N) -> [ok = py:activate_venv(lists:nth(N, Venvs)) || _ <- [1, 2, 3]] end),
    {ok, #{<<"venv_path">> := Venv}} = py:venv_info(),
    [{Version, _}] = [{N, V} || {N, V} <- lists:zip([1, 2, 3, 4], Venvs), V =:= Venv],
    [{ok, Version} = version(Context) || Context <- [new(Config) | Contexts]],
    %% Nothing is there twice, or of another one.
    [[_] = [Entry || Entry <- path(C), binary:match(Entry, <<"/venv-">>) =/= nomatch] || C <- Contexts].

busy_context_is_not_waited_for(Config) ->
    Context = new(Config),
    ok = py_suite:install(Context),
    Gate = py_gates:closed_gate(Config, Context),
    ok = py:activate_venv(venv(Config, 1)),
    Ref = py:spawn_call(Context, importlib, import_module, [<<"ct_pkg">>]),
    ok = py_gates:open_gate(Config, Gate),
    {ok, Package} = py:await(Ref),
    {ok, 1} = py:getattr(Package, version).

dead_caller_leaves_one_environment(Config) ->
    Venvs = [venv(Config, Version) || Version <- [1, 2]],
    Context = new(Config),
    [
        begin
            {Caller, Monitor} = spawn_monitor(fun() -> py:activate_venv(Venv) end),
            exit(Caller, kill),
            receive
                {'DOWN', Monitor, process, Caller, _} -> ok
            end
        end
     || _ <- [1, 2, 3], Venv <- Venvs
    ],
    ok = py:activate_venv(hd(Venvs)),
    {{ok, 1}, {ok, 1}} = {version(Context), version(new(Config))}.

wrong_arguments_are_refused(_Config) ->
    [?assertError(badarg, py:activate_venv(Path)) || Path <- [1, venv, "", <<>>, <<"a", 0>>, <<255>>, [a], #{}]],
    {ok, #{<<"active">> := false}} = py:venv_info().

two_pools_have_different_versions_side_by_side(Config) ->
    [
        ok = py_context_router:start_pool(Pool, 2, #{mode => owngil, venv => venv(Config, Version)})
     || {Pool, Version} <- [{one, 1}, {two, 2}]
    ],
    Versions = [
        py_suite:fresh(fun() -> version(py_context_router:get_context(Pool)) end)
     || _ <- [1, 2, 3], Pool <- [one, two]
    ],
    [{ok, 1}, {ok, 2}, {ok, 1}, {ok, 2}, {ok, 1}, {ok, 2}] = Versions,
    true = is_missing(version(py:context())),
    %% Their replacements as well.
    ok = py_suite:killed(py_context_router:get_context(one)),
    {ok, 4.0} = py:call(one, math, sqrt, [16]),
    {ok, 1} = version(py_context_router:get_context(one)).

contexts_keep_an_environment_of_their_own(Config) ->
    {ok, Own} = py_context:new(#{venv => venv(Config, 1)}),
    {ok, None} = py_context:new(#{venv => none}),
    {ok, Node} = py_context:new(#{venv => node}),
    ok = py:activate_venv(venv(Config, 2)),
    {{ok, 1}, {ok, 2}} = {version(Own), version(Node)},
    true = is_missing(version(None)),
    Folder = py_venvs:folder(Config, "path", [{"ct_path.py", "x = 1"}]),
    ok = py_import:add_path(Folder),
    [{ok, 1} = py:eval(Context, "__import__('ct_path').x") || Context <- [Own, None, Node]],
    ok = py:deactivate_venv(),
    {ok, 1} = version(Own),
    [true = is_missing(version(Context)) || Context <- [None, Node]],
    {ok, Later} = py_context:new(#{venv => venv(Config, 3)}),
    {ok, 3} = version(Later).

web_server_uses_an_environment_of_its_own(Config) ->
    Application =
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [b'from the environment']\n",
    Venv = py_venvs:venv(Config, "web", [{"ct_web_in_venv.py", Application}]),
    {ok, _} = py_web:start(ct_in_venv, #{wsgi => "ct_web_in_venv:app", venv => Venv, port => 0, ip => {127, 0, 0, 1}}),
    Port = py_web:port(ct_in_venv),
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [{active, false}]),
    ok = gen_tcp:send(Socket, "GET / HTTP/1.0\r\n\r\n"),
    "HTTP/1." ++ Answer = all_of(Socket),
    ok = gen_tcp:close(Socket),
    py_suite:contains(Answer, "from the environment"),
    ok = py_web:stop(ct_in_venv).

all_of(Socket) ->
    case gen_tcp:recv(Socket, 0, 30_000) of
        {ok, Text} -> Text ++ all_of(Socket);
        {error, closed} -> ""
    end.

main_interpreter_has_the_packages_first(Config) ->
    {ok, Context} = py_context:new(),
    {ok, Id} = py_context:get_interp_id(Context),
    Log = filename:join(?config(priv_dir, Config), "entered"),
    Code = ["import _erlang; open(r'", Log, "', 'a').write(f'{_erlang.interpreter_id()} ')\n"],
    ok = py:activate_venv(py_venvs:venv(Config, "main", [{"a.pth", Code}])),
    {ok, _} = py:eval(Context, "1"),
    ?assertEqual({ok, iolist_to_binary(["0 ", integer_to_list(Id), " "])}, file:read_file(Log)),
    ok = file:delete(Log).

packages_may_be_read_under_a_policy(Config) ->
    Venv = py_venvs:venv(Config, "read", [{"ct_read.py", "import csv\nx = open(__file__).read()"}, {"a.pth", "import sys; sys.ct_read = 1"}]),
    Policy = #{read => [], imports => {allow, [ct_read, sys]}},
    {ok, Own} = py_context:new(#{venv => Venv, sandbox => Policy}),
    {ok, Running} = py_context:new(#{sandbox => Policy}),
    ok = py:activate_venv(Venv),
    [{ok, {<<_/binary>>, 1}} = py:eval(C, "(__import__('ct_read').x, __import__('sys').ct_read)") || C <- [Own, Running]],
    ok = py:deactivate_venv(),
    {error, {'PermissionError', _}} = py:eval(Running, "open(file).read()", #{file => filename:join(py_venvs:packages(Venv), "ct_read.py")}).

%% One of the standard library's, copied: any extension module will do.
extension_module_stays_in_no_other_environment(Config) ->
    case [{Name, File} || Name <- ["_csv", "_lsprof", "_queue", "_bz2", "_lzma"], {ok, File} <- [file_of(Name)]] of
        [{Name, File} | _] ->
            {ok, Text} = file:read_file(File),
            Native = py_venvs:venv(Config, "native", [{"ct_native/__init__.py", ["from . import ", Name, "\n"]}]),
            Copy = filename:join([py_venvs:packages(Native), "ct_native", filename:basename(File)]),
            ok = file:write_file(Copy, Text),
            natively(Native);
        [] ->
            {skip, "this Python has no extension modules outside of itself"}
    end.

file_of(Name) ->
    py:eval("__import__(name).__file__", #{name => list_to_binary(Name)}).

natively(Native) ->
    {ok, First} = py_context:new(#{venv => Native}),
    {ok, Id} = py_context:get_interp_id(First),
    {ok, _} = py:eval(First, "str(__import__('ct_native'))"),
    ok = py_context:stop(First),
    {ok, Second} = py_context:new(#{}),
    ?assertNotEqual({ok, Id}, py_context:get_interp_id(Second)),
    true = is_missing(py:eval(Second, "__import__('ct_native')")),
    %% It was active there for a while, and cannot be taken out: the interpreter is nobody's any more.
    {_, Spares, _, Aside} = py_nif:counters(),
    ok = py:activate_venv(Native),
    {ok, _} = py:eval(Second, "str(__import__('ct_native'))"),
    ok = py:deactivate_venv(),
    {ok, _} = py:eval(Second, "str(__import__('ct_native'))"),
    ok = py_context:stop(Second),
    case py_leaks:recycles() of
        true -> ok = py_leaks:eventually(fun() -> {_, S, _, A} = py_nif:counters(), {S, A} =:= {Spares, Aside + 1} end);
        false -> ok
    end.
