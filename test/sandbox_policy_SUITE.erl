%% Policies: what each key allows and refuses, for whom, and that contexts with different ones live side by side.
-module(sandbox_policy_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        policies_are_checked,
        wrong_keys_of_policies_are_named,
        policies_of_pools_are_checked,
        connections_go_where_the_policy_says,
        names_of_hosts_stand_for_their_addresses,
        servers_listen_where_the_policy_says,
        datagrams_go_where_the_policy_says,
        unix_sockets_are_named_by_their_paths,
        servers_of_names_are_asked_as_the_policy_says,
        sockets_of_other_kinds_are_refused,
        files_are_read_where_the_policy_says,
        files_are_written_where_the_policy_says,
        what_may_be_written_may_be_read_only_if_the_policy_says,
        standard_library_is_read_under_every_policy,
        native_readers_of_files_ask_the_policy,
        databases_are_refused_where_files_are_limited,
        modules_that_open_files_themselves_are_refused,
        modules_are_allowed_by_name,
        modules_are_denied_by_name,
        libraries_import_what_they_need,
        threads_are_refused,
        ctypes_is_refused,
        native_modules_are_refused,
        native_libraries_of_databases_are_refused,
        programs_are_started_where_the_policy_says,
        programs_of_a_context_are_its_own,
        programs_get_the_environment_of_the_context,
        strict_refuses_what_it_says,
        strict_leaves_what_is_harmless,
        policies_live_side_by_side,
        threads_keep_to_the_policy,
        tasks_keep_to_the_policy,
        callbacks_keep_to_the_policy_of_their_context,
        pools_have_policies,
        settings_hold_for_the_pool_default,
        settings_are_checked
    ], [
        environment_is_what_the_policy_says,
        environment_of_recycled_interpreters_is_whole,
        recycled_interpreters_keep_to_their_policy,
        environment_is_refused_where_it_is_shared
    ]).

%% libffi opens itself, once.
init_per_suite(Config) ->
    ok = py_suite:start(#{}),
    {ok, Context} = py_context:new(#{mode => worker}),
    ok = py:exec(Context, "import ctypes"),
    ok = py_suite:stop(),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 64}).

init_per_testcase(Case, Config) ->
    Folder = filename:join(?config(priv_dir, Config), lists:concat([py_suite:mode(Config), "_", Case])),
    [ok = filelib:ensure_path(filename:join(Folder, Part)) || Part <- ["in", "out"]],
    ok = file:write_file(filename:join(Folder, "in/file"), "inside"),
    ok = file:write_file(filename:join(Folder, "out/file"), "outside"),
    [{inside, path(Folder, "in")}, {outside, path(Folder, "out")} | Config].

end_per_testcase(_Case, _Config) ->
    ?assertEqual([], py_suite:flush()).

path(Folder, Name) ->
    unicode:characters_to_binary(filename:join(Folder, Name)).

with(Config, Policy, Fun) ->
    py_sandboxes:with(Config, Policy, Fun).

%% ------------------------------------------------------------------------------------------------
%% Options

policies_are_checked(_Config) ->
    {ok, Default} = py_sandbox:check(default),
    ?assertEqual({ok, Default}, py_sandbox:check(#{})),
    ?assertEqual(py_sandbox:check(strict), py_sandbox:check(#{base => strict})),
    {ok, Cwd} = file:get_cwd(),
    ?assertEqual(
        {ok, Default#{
            network => [{any, 0}, {<<"127.0.0.1">>, any}, {<<"::1">>, 80}, {<<"example.org">>, 443}],
            read => lists:sort([<<"/tmp">>, path(Cwd, "here")]),
            write => [],
            subprocess => true,
            ctypes => false,
            imports => {allow, [<<"json">>, <<"os.path">>]},
            environment => [<<"HOME">>],
            seccomp => off
        }},
        py_sandbox:check(#{
            base => default,
            network => [{"Example.org", 443}, {<<"127.0.0.1">>, any}, {"0:0:0:0:0:0:0:1", 80}, {any, 0}],
            read => ["here", <<"/tmp">>],
            write => none,
            subprocess => true,
            ctypes => false,
            imports => {allow, [json, "os.path"]},
            environment => ['HOME'],
            seccomp => off
        })
    ).

wrong_keys_of_policies_are_named(Config) ->
    Wrong = [
        {{base, loose}, #{base => loose}},
        {{netwrok, none}, #{netwrok => none}},
        {{network, some}, #{network => some}},
        {{network, [{"host", 65536}]}, #{network => [{"host", 65536}]}},
        {{network, [{"host", 80} | x]}, #{network => [{"host", 80} | x]}},
        {{network, [{"", 80}]}, #{network => [{"", 80}]}},
        {{read, "/tmp"}, #{read => "/tmp"}},
        {{read, [""]}, #{read => [""]}},
        {{write, ["a\0b"]}, #{write => ["a\0b"]}},
        {{subprocess, yes}, #{subprocess => yes}},
        {{ctypes, 1}, #{ctypes => 1}},
        {{native, none}, #{native => none}},
        {{threads, 4}, #{threads => 4}},
        {{imports, [json]}, #{imports => [json]}},
        {{imports, {allow, ["a..b"]}}, #{imports => {allow, ["a..b"]}}},
        {{environment, ["A=B"]}, #{environment => ["A=B"]}},
        {{seccomp, on}, #{seccomp => on}},
        {{subprocess, seccomp}, #{base => strict, subprocess => true}},
        {loose, loose},
        {[], []}
    ],
    [
        ?assertEqual(
            {error, {bad_option, sandbox, What}}, py_context:new(#{mode => py_suite:mode(Config), sandbox => Policy})
        )
     || {What, Policy} <- Wrong
    ].

policies_of_pools_are_checked(_Config) ->
    ?assertEqual(
        {error, {bad_option, sandbox, {raed, all}}},
        py_context_router:start_pool(wrong_policy, 1, #{sandbox => #{raed => all}})
    ).

%% ------------------------------------------------------------------------------------------------
%% Network

with_listener(Fun) ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listener),
    try
        Fun(Port)
    after
        gen_tcp:close(Listener)
    end.

connect(Host) ->
    ["(lambda s: (s.connect((", Host, ", port)), s.close()))(socket.socket()) and None"].

connections_go_where_the_policy_says(Config) ->
    with_listener(fun(Port) ->
        with_listener(fun(Other) ->
            with(Config, #{network => [{"127.0.0.1", Port}]}, fun(Context) ->
                _ = reaches(Context, connect("'127.0.0.1'"), Port),
                refuses(Context, connect("'127.0.0.1'"), Other),
                refuses(Context, connect("'127.0.0.2'"), Port)
            end),
            with(Config, #{network => [{any, Port}]}, fun(Context) ->
                _ = reaches(Context, connect("'127.0.0.1'"), Port),
                refuses(Context, connect("'127.0.0.1'"), Other)
            end),
            with(Config, #{network => [{"127.0.0.1", any}]}, fun(Context) ->
                _ = reaches(Context, connect("'127.0.0.1'"), Other)
            end),
            with(Config, #{network => none}, fun(Context) ->
                refuses(Context, connect("'127.0.0.1'"), Port),
                refuses(Context, "socket.create_connection(('127.0.0.1', port))", Port)
            end)
        end)
    end).

reaches(Context, Code, Port) ->
    py_sandboxes:allowed(Context, ["__import__('ct_refusals').evaluate(code, {'port': port})"], #{
        code => iolist_to_binary(Code), port => Port
    }).

refuses(Context, Code, Port) ->
    py_sandboxes:denied(Context, <<"socket.connect">>, 'PermissionError', Code, #{port => Port}).

names_of_hosts_stand_for_their_addresses(Config) ->
    with_listener(fun(Port) ->
        with(Config, #{network => [{"localhost", Port}]}, fun(Context) ->
            _ = reaches(Context, "socket.create_connection(('localhost', port)).close()", Port),
            refuses(Context, connect("'127.0.0.9'"), Port)
        end)
    end).

servers_listen_where_the_policy_says(Config) ->
    with(Config, #{network => [{"127.0.0.1", 0}]}, fun(Context) ->
        _ = reaches(Context, "socket.create_server(('127.0.0.1', 0)).close()", 0),
        Denied = fun(Code) -> py_sandboxes:denied(Context, <<"socket.bind">>, 'PermissionError', Code) end,
        Denied("socket.create_server(('', 0))"),
        Denied("socket.create_server(('127.0.0.1', 40001))"),
        Denied("socket.socket().listen()")
    end),
    with(Config, #{network => [{any, any}]}, fun(Context) ->
        _ = reaches(Context, "(lambda s: (s.listen(), s.close()))(socket.socket()) and None", 0)
    end).

datagrams_go_where_the_policy_says(Config) ->
    {ok, Socket} = gen_udp:open(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Socket),
    Send = "(lambda s: (s.sendto(b'x', ('127.0.0.1', port)), s.close()))(socket.socket(type=socket.SOCK_DGRAM)) and None",
    with(Config, #{network => [{"127.0.0.1", Port}]}, fun(Context) -> _ = reaches(Context, Send, Port) end),
    with(Config, #{network => [{"127.0.0.1", 1}]}, fun(Context) ->
        py_sandboxes:denied(Context, <<"socket.sendto">>, 'PermissionError', Send, #{port => Port})
    end),
    gen_udp:close(Socket).

unix_sockets_are_named_by_their_paths(Config) ->
    %% Their paths are short.
    Path = unicode:characters_to_binary(["/tmp/ct_", os:getpid(), "_", atom_to_list(py_suite:mode(Config))]),
    {ok, Listener} = gen_tcp:listen(0, [{ifaddr, {local, Path}}]),
    Code = "(lambda s: (s.connect(path), s.close()))(socket.socket(socket.AF_UNIX)) and None",
    with(Config, #{network => [{Path, any}]}, fun(Context) ->
        py_sandboxes:allowed(Context, "__import__('ct_refusals').evaluate(code, {'path': path})", #{
            code => list_to_binary(Code), path => Path
        })
    end),
    with(Config, #{network => [{"localhost", any}]}, fun(Context) ->
        py_sandboxes:denied(Context, <<"socket.connect">>, 'PermissionError', Code, #{path => Path})
    end),
    ok = gen_tcp:close(Listener),
    ok = file:delete(Path).

servers_of_names_are_asked_as_the_policy_says(Config) ->
    Ask = fun(Code) -> fun(Context) -> py_sandboxes:denied(Context, <<"socket.getaddrinfo">>, 'PermissionError', Code) end end,
    with(Config, #{network => [{"localhost", any}]}, fun(Context) ->
        _ = reaches(Context, "socket.getaddrinfo('localhost', 80) and None", 0),
        _ = reaches(Context, "socket.getaddrinfo('192.0.2.1', 80) and None", 0),
        (Ask("socket.getaddrinfo('secret.example.org', 80)"))(Context),
        (Ask("socket.gethostbyname('secret.example.org')"))(Context),
        (Ask("socket.gethostbyaddr('192.0.2.1')"))(Context),
        (Ask("socket.getnameinfo(('192.0.2.1', 80), 0)"))(Context)
    end).

sockets_of_other_kinds_are_refused(Config) ->
    with(Config, #{network => [{any, any}]}, fun(Context) ->
        _ = reaches(Context, "[s.close() for s in socket.socketpair()] and None", 0),
        Denied = fun(Code) -> py_sandboxes:denied(Context, <<"socket.socket">>, 'PermissionError', Code) end,
        Denied("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
        case os:type() of
            {unix, linux} -> Denied("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)");
            _ -> ok
        end
    end).

%% ------------------------------------------------------------------------------------------------
%% Files

files_are_read_where_the_policy_says(Config) ->
    Locals = files(Config),
    with(Config, #{read => [?config(inside, Config)]}, fun(Context) ->
        ?assertEqual(<<"inside">>, py_sandboxes:allowed(Context, "open(inside + '/file').read()", Locals)),
        ?assertEqual([<<"file">>], py_sandboxes:allowed(Context, "__import__('os').listdir(inside)", Locals)),
        Read = [
            "open(outside + '/file')",
            "open(inside + '/../out/file')",
            "open(outside.encode() + b'/file')",
            "io.FileIO(outside + '/file')",
            "os.open(outside + '/file', os.O_RDONLY)",
            "in_folder(inside, lambda d: os.open('../out/file', os.O_RDONLY, dir_fd=d))",
            "pathlib.Path(outside, 'file').read_text()",
            "shutil.copy(outside + '/file', outside + '/copy')"
        ],
        [py_sandboxes:denied(Context, <<"open">>, 'PermissionError', Code, Locals) || Code <- Read],
        List = ["os.listdir(outside)", "os.scandir(outside)", "next(pathlib.Path(outside).iterdir())"],
        [py_sandboxes:denied(Context, <<"os.listdir">>, 'PermissionError', Code, Locals) || Code <- List]
    end),
    ok = file:make_symlink(filename:join(?config(outside, Config), "file"), filename:join(?config(inside, Config), "link")),
    with(Config, #{read => [?config(inside, Config)]}, fun(Context) ->
        py_sandboxes:denied(Context, <<"open">>, 'PermissionError', "open(inside + '/link')", Locals)
    end),
    %% A folder that is named by a link is where that leads.
    ok = file:make_symlink(?config(inside, Config), filename:join(?config(outside, Config), "folder")),
    with(Config, #{read => [filename:join(?config(outside, Config), "folder")]}, fun(Context) ->
        ?assertEqual(<<"inside">>, py_sandboxes:allowed(Context, "open(outside + '/folder/file').read()", Locals))
    end).

files(Config) ->
    #{inside => ?config(inside, Config), outside => ?config(outside, Config)}.

files_are_written_where_the_policy_says(Config) ->
    Locals = files(Config),
    with(Config, #{write => [?config(inside, Config)]}, fun(Context) ->
        ?assertEqual(3, py_sandboxes:allowed(Context, "open(inside + '/new', 'w').write('new')", Locals)),
        [
            py_sandboxes:allowed(Context, ["__import__('os').", Code, " and None"], Locals)
         || Code <- [
                "mkdir(inside + '/folder')",
                "rename(inside + '/new', inside + '/folder/new')",
                "symlink('new', inside + '/folder/link')",
                "truncate(inside + '/folder/new', 1)",
                "remove(inside + '/folder/new')"
            ]
        ],
        %% Reading is not limited.
        ?assertEqual(<<"outside">>, py_sandboxes:allowed(Context, "open(outside + '/file').read()", Locals)),
        Write = [
            "open(outside + '/file', 'w')",
            "open(outside + '/file', 'r+')",
            "open(outside + '/new', 'x')",
            "open(inside + '/../out/new', 'a')",
            "os.open(outside + '/new', os.O_RDONLY | os.O_CREAT)",
            "in_folder(inside, lambda d: os.open('../out/new', os.O_WRONLY | os.O_CREAT, dir_fd=d))",
            "tempfile.TemporaryFile(dir=outside)"
        ],
        [py_sandboxes:denied(Context, <<"open for writing">>, 'PermissionError', Code, Locals) || Code <- Write],
        Change = [
            "os.remove(outside + '/file')",
            "os.rename(inside + '/file', outside + '/file')",
            "os.replace(outside + '/file', inside + '/file')",
            "os.link(outside + '/file', inside + '/hard')",
            "os.symlink(inside + '/file', outside + '/link')",
            "os.truncate(outside + '/file', 0)",
            "os.mkdir(outside + '/folder')",
            "os.rmdir(outside)",
            "os.chmod(outside + '/file', 0o777)",
            "os.utime(outside + '/file', (0, 0))",
            "os.mkfifo(outside + '/pipe')",
            "os.mknod(outside + '/node')",
            "in_folder(inside, lambda d: os.mkdir('../out/folder', dir_fd=d))"
        ],
        [py_sandboxes:denied(Context, <<"os.rename">>, 'PermissionError', Code, Locals) || Code <- Change]
    end),
    ?assertEqual({ok, <<"outside">>}, file:read_file(filename:join(?config(outside, Config), "file"))),
    ?assertEqual({ok, ["file"]}, file:list_dir(?config(outside, Config))).

what_may_be_written_may_be_read_only_if_the_policy_says(Config) ->
    Locals = files(Config),
    with(Config, #{read => none, write => [?config(inside, Config)]}, fun(Context) ->
        ?assertEqual(3, py_sandboxes:allowed(Context, "open(inside + '/new', 'w').write('new')", Locals)),
        py_sandboxes:denied(Context, <<"open">>, 'PermissionError', "open(inside + '/new')", Locals)
    end).

standard_library_is_read_under_every_policy(Config) ->
    with(Config, #{read => none, write => none}, fun(Context) ->
        Code = "__import__('json').dumps([1]) + __import__('decimal').Decimal(1).__str__() + __import__('optparse').__name__",
        ?assertEqual(<<"[1]1optparse">>, py_sandboxes:allowed(Context, Code))
    end).

native_readers_of_files_ask_the_policy(Config) ->
    Locals = files(Config),
    with(Config, #{read => [?config(inside, Config)]}, fun(Context) ->
        TLS = "__import__('ssl').SSLContext(__import__('ssl').PROTOCOL_TLS_CLIENT)",
        [
            py_sandboxes:denied(Context, <<"open">>, 'PermissionError', [TLS, Code], Locals)
         || Code <- [
                ".load_verify_locations(outside + '/file')",
                ".load_verify_locations(capath=outside)",
                ".load_cert_chain(outside + '/file')",
                ".load_cert_chain(inside + '/file', outside + '/file')",
                ".load_cert_chain(certfile=inside + '/file', keyfile=outside + '/file')"
            ]
        ],
        py_suite:error_text('SSLError', py:eval(Context, [TLS, ".load_cert_chain(inside + '/file')"], Locals))
    end).

databases_are_refused_where_files_are_limited(Config) ->
    with(Config, #{write => [?config(inside, Config)]}, fun(Context) ->
        py_sandboxes:denied(Context, <<"sqlite3.connect">>, 'PermissionError', "sqlite3.connect(':memory:')")
    end),
    with(Config, default, fun(Context) ->
        none = py_sandboxes:allowed(Context, "__import__('sqlite3').connect(':memory:').close()")
    end).

%% A Python need not have all of them.
modules_that_open_files_themselves_are_refused(Config) ->
    with(Config, #{write => [?config(inside, Config)]}, fun(Context) ->
        py_sandboxes:imports(Context, ['_dbm', '_gdbm', '_posixshmem', readline, spwd])
    end),
    with(Config, default, fun(Context) ->
        none = py_sandboxes:allowed(Context, "__import__('_posixshmem') and None")
    end).

%% ------------------------------------------------------------------------------------------------
%% Modules

modules_are_allowed_by_name(Config) ->
    Policy = #{imports => {allow, ["json", "xml.sax", "importlib", "_imp", "sys"]}},
    py_sandboxes:with_bare(Config, Policy, fun(Context) ->
        [
            py_sandboxes:allowed(Context, ["__import__('", Name, "') and None"])
         || Name <- ["json", "json.decoder", "xml.sax.handler"]
        ],
        Denied = fun(Name) -> denied_import(Context, Name) end,
        [Denied(Name) || Name <- ["decimal", "xml.dom", "socket", "os"]]
    end).

denied_import(Context, Name) ->
    Text = py_suite:error_text('ImportError', py:exec(Context, ["import ", Name])),
    py_suite:contains(Text, " is blocked: ").

modules_are_denied_by_name(Config) ->
    py_sandboxes:with_bare(Config, #{imports => {deny, [decimal, "xml.dom", os]}}, fun(Context) ->
        [denied_import(Context, Name) || Name <- ["decimal", "xml.dom", "xml.dom.minidom", "os", "os.path"]],
        [
            py_sandboxes:allowed(Context, ["__import__('", Name, "') and None"])
         || Name <- ["json", "xml", "xml.sax", "posixpath", "optparse"]
        ],
        Text = py_suite:error_text('ImportError', py:exec(Context, "from os import path")),
        py_suite:contains(Text, "os")
    end).

%% What they import is theirs: a policy is about the code of users.
libraries_import_what_they_need(Config) ->
    py_sandboxes:with_bare(Config, #{imports => {deny, [re, enum]}}, fun(Context) ->
        ?assertEqual([1], py_sandboxes:allowed(Context, "__import__('json').loads('[1]')")),
        denied_import(Context, "re")
    end).

native_modules_are_refused(Config) ->
    {ok, Origin} = py:eval(<<"__import__('importlib.machinery').machinery.PathFinder.find_spec('resource').origin">>),
    Copy = filename:join(?config(inside, Config), filename:basename(Origin)),
    {ok, _} = file:copy(Origin, Copy),
    Code =
        "(lambda i, path: __import__('_imp').create_dynamic(i.ModuleSpec('resource', None, origin=path)) and None)"
        "(__import__('importlib.machinery').machinery, path)",
    with(Config, #{native => false}, fun(Context) ->
        Denied = fun(Path) ->
            py_sandboxes:denied(Context, <<"import of an extension module">>, 'ImportError', Code, #{path => Path})
        end,
        Denied(Copy),
        none = py_sandboxes:allowed(Context, Code, #{path => Origin})
    end),
    with(Config, default, fun(Context) -> none = py_sandboxes:allowed(Context, Code, #{path => Copy}) end).

native_libraries_of_databases_are_refused(Config) ->
    Code = "sqlite3.connect(':memory:').enable_load_extension(True)",
    with(Config, #{native => false}, fun(Context) ->
        case py:eval(Context, <<"hasattr(__import__('sqlite3').Connection, 'enable_load_extension')">>) of
            {ok, true} -> py_sandboxes:denied(Context, <<"sqlite3.load_extension">>, 'RuntimeError', Code);
            {ok, false} -> ct:comment("this Python's sqlite3 loads no libraries")
        end
    end).

ctypes_is_refused(Config) ->
    %% Contexts of mode worker share an interpreter, in which the module is then loaded already.
    {ok, Version} = py_suite:version(),
    %% Python 3.12 does not load it in an interpreter with a GIL of its own.
    [
        with(Config, default, fun(Context) ->
            ?assert(is_integer(py_sandboxes:allowed(Context, "__import__('ctypes').CDLL(None).getpid()")))
        end)
     || Version >= [3, 13] orelse py_suite:mode(Config) =:= worker
    ],
    with(Config, #{ctypes => false}, fun(Context) ->
        %% Which exception it is depends on whether another context in this interpreter has loaded it.
        {error, {_, Text}} = py:exec(Context, "import ctypes\nctypes.CDLL(None)\n"),
        py_suite:contains(Text, " is blocked: "),
        py_sandboxes:imports(Context, ['_ctypes'])
    end).

%% ------------------------------------------------------------------------------------------------
%% Threads, programs, environment

threads_are_refused(Config) ->
    with(Config, #{threads => false}, fun(Context) ->
        Denied = fun(Code) -> py_sandboxes:denied(Context, <<"threading">>, 'RuntimeError', Code) end,
        Denied("threading.Thread(target=int).start()"),
        Denied("_thread.start_new_thread(int, ())"),
        Denied("__import__('concurrent.futures').futures.ThreadPoolExecutor(1).submit(int)"),
        Text = py_suite:error_text('RuntimeError', py:exec(Context, [
            "import asyncio, erlang\n"
            "erlang.run(asyncio.to_thread(int))\n"
        ])),
        py_suite:contains(Text, "asyncio")
    end).

programs() ->
    #{subprocess => true}.

programs_are_started_where_the_policy_says(Config) ->
    Code = <<"__import__('subprocess').run(['/bin/sh', '-c', 'echo $0; exit 3'], capture_output=True)">>,
    with(Config, programs(), fun(Context) ->
        ?assertEqual(
            {<<"/bin/sh\n">>, 3},
            py_sandboxes:allowed(Context, ["(lambda r: (r.stdout.decode(), r.returncode))(", Code, ")"])
        ),
        ?assertEqual(
            2,
            py_sandboxes:allowed(
                Context,
                "(lambda os: os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 2'], {}), 0)[1]))"
                "(__import__('os'))"
            )
        ),
        %% Copies of the node's process are none of them.
        py_sandboxes:denied(Context, <<"os.fork">>, 'RuntimeError', "os.fork()")
    end),
    with(Config, #{}, fun(Context) ->
        py_sandboxes:denied(Context, <<"subprocess.Popen">>, 'RuntimeError', "subprocess.run(['/bin/sh'])")
    end).

programs_of_a_context_are_its_own(Config) ->
    with(Config, programs(), fun(One) ->
        with(Config, programs(), fun(Other) ->
            ok = py:exec(One, [
                "import subprocess\n"
                "program = subprocess.Popen(['/bin/sh', '-c', 'read line'], stdin=subprocess.PIPE)\n"
            ]),
            Number = py_sandboxes:allowed(One, "program.pid"),
            Locals = #{number => Number},
            py_sandboxes:denied(Other, <<"os.kill">>, 'RuntimeError', "os.kill(number, 9)", Locals),
            py_sandboxes:denied(Other, <<"os.wait">>, 'RuntimeError', "os.waitpid(number, 0)", Locals),
            py_sandboxes:denied(One, <<"os.wait">>, 'RuntimeError', "os.waitpid(-1, 0)"),
            ?assertEqual(-9, py_sandboxes:allowed(One, "(program.kill(), program.wait())[1]")),
            %% Its number may soon be that of another process.
            py_sandboxes:denied(One, <<"os.kill">>, 'RuntimeError', "os.kill(number, 9)", Locals)
        end)
    end).

programs_get_the_environment_of_the_context(Config) ->
    Run = "__import__('subprocess').run(['/usr/bin/env'], capture_output=True).stdout.decode()",
    with(Config, programs(), fun(Context) ->
        ok = py:exec(Context, "import os\nos.environ['CT_OF_THE_CONTEXT'] = 'yes'\n"),
        py_suite:contains(py_sandboxes:allowed(Context, Run), "CT_OF_THE_CONTEXT=yes")
    end),
    case py_suite:mode(Config) of
        worker ->
            ok;
        owngil ->
            with(Config, (programs())#{environment => ["PATH"]}, fun(Context) ->
                Got = py_sandboxes:allowed(Context, Run),
                %% That of the emulator.
                ?assertEqual(nomatch, string:find(Got, "ROOTDIR=")),
                py_suite:contains(Got, "PATH="),
                py_sandboxes:denied(
                    Context, <<"a program with the node's environment">>, 'RuntimeError', "os.system('env')"
                )
            end)
    end.

environment_is_what_the_policy_says(Config) ->
    with(Config, #{environment => ["PATH", "CT_IS_NOT_THERE"]}, fun(Context) ->
        ?assertMatch(#{<<"PATH">> := _}, py_sandboxes:allowed(Context, "dict(__import__('os').environ)")),
        [
            ?assertEqual([<<"PATH">>], py_sandboxes:allowed(Context, Code))
         || Code <- [
                "list(__import__('os').environ)",
                "[k.decode() for k in __import__('os').environb]",
                "[k.decode() for k in __import__('posix').environ]"
            ]
        ],
        ?assertEqual(none, py_sandboxes:allowed(Context, "__import__('os').getenv('ROOTDIR')"))
    end),
    with(Config, #{environment => none}, fun(Context) ->
        ?assertEqual(#{}, py_sandboxes:allowed(Context, "dict(__import__('os').environ)"))
    end).

environment_of_recycled_interpreters_is_whole(Config) ->
    [
        begin
            with(Config, #{environment => none}, fun(Context) ->
                ?assertEqual(0, py_sandboxes:allowed(Context, "len(__import__('os').environ)"))
            end),
            with(Config, default, fun(Context) ->
                ?assert(py_sandboxes:allowed(Context, "len(__import__('os').environ)") > 0)
            end)
        end
     || _ <- lists:seq(1, 3)
    ].

environment_is_refused_where_it_is_shared(_Config) ->
    ?assertEqual(
        {error, {bad_option, sandbox, {environment, worker}}},
        py_context:new(#{mode => worker, sandbox => strict})
    ).

%% ------------------------------------------------------------------------------------------------
%% Strict

strict_refuses_what_it_says(Config) ->
    with(Config, py_sandboxes:strict(Config), fun(Context) ->
        Refused = [
            {<<"open">>, 'PermissionError', "open('/etc/hostname')"},
            {<<"open for writing">>, 'PermissionError', "open('/tmp/ct_strict', 'w')"},
            {<<"os.listdir">>, 'PermissionError', "os.listdir('/')"},
            {<<"socket.connect">>, 'PermissionError', "socket.create_connection(('127.0.0.1', 1))"},
            {<<"socket.bind">>, 'PermissionError', "socket.create_server(('127.0.0.1', 0))"},
            {<<"threading">>, 'RuntimeError', "threading.Thread(target=int).start()"},
            {<<"subprocess.Popen">>, 'RuntimeError', "subprocess.run(['/bin/true'])"},
            {<<"sqlite3.connect">>, 'PermissionError', "sqlite3.connect(':memory:')"}
        ],
        [py_sandboxes:denied(Context, Name, Class, Code) || {Name, Class, Code} <- Refused],
        %% Which exception it is depends on whether another context in this interpreter has loaded it.
        {error, {_, Text}} = py:exec(Context, "import ctypes\nctypes.CDLL(None)\n"),
        py_suite:contains(Text, " is blocked: ")
    end).

strict_leaves_what_is_harmless(Config) ->
    with(Config, py_sandboxes:strict(Config), fun(Context) ->
        ok = py:exec(Context, [
            "import asyncio, collections, dataclasses, datetime, decimal, hashlib, json, random, re, statistics\n"
            "import erlang\n"
            "async def work():\n"
            "    await asyncio.sleep(0)\n"
            "    return json.dumps({'n': str(decimal.Decimal(1)), 'h': hashlib.sha256(b'').hexdigest()[:4]})\n"
            "assert re.match('a', 'abc') and random.random() < 1 and datetime.date.today()\n"
            "result = erlang.run(work())\n"
        ]),
        ?assertEqual(<<"{\"n\": \"1\", \"h\": \"e3b0\"}">>, py_sandboxes:allowed(Context, "result")),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end).

%% ------------------------------------------------------------------------------------------------
%% Whose policy

policies_live_side_by_side(Config) ->
    with(Config, default, fun(Open) ->
        with(Config, #{write => none}, fun(Closed) ->
            with(Config, #{threads => false}, fun(Single) ->
                Rounds = lists:seq(1, 20),
                Test = fun(Context, Code) -> py:eval(Context, Code) end,
                Write = <<"open('/dev/null', 'w').close()">>,
                Thread = <<"(lambda t: (t.start(), t.join()))(__import__('threading').Thread(target=int)) and None">>,
                Results = py_suite:concurrently(6, fun(I) ->
                    {Context, Written, Started} = lists:nth(I rem 3 + 1, [
                        {Open, ok, ok}, {Closed, 'PermissionError', ok}, {Single, ok, 'RuntimeError'}
                    ]),
                    [
                        {Written, Started} =:= {came(Test(Context, Write)), came(Test(Context, Thread))}
                     || _ <- Rounds
                    ]
                end),
                ?assertEqual([true], lists:usort(lists:append(Results)))
            end)
        end)
    end).

came({ok, _}) -> ok;
came({error, {Class, _}}) -> Class.

threads_keep_to_the_policy(Config) ->
    with(Config, #{write => none}, fun(Context) ->
        ok = py:exec(Context, [
            "import concurrent.futures, threading\n"
            "came = []\n"
            "def write():\n"
            "    try:\n"
            "        open('/dev/null', 'w').close()\n"
            "        came.append('written')\n"
            "    except PermissionError:\n"
            "        came.append('refused')\n"
            "thread = threading.Thread(target=write)\n"
            "thread.start()\n"
            "thread.join()\n"
            "with concurrent.futures.ThreadPoolExecutor(1) as pool:\n"
            "    pool.submit(write).result()\n"
        ]),
        ?assertEqual([<<"refused">>, <<"refused">>], py_sandboxes:allowed(Context, "came"))
    end).

tasks_keep_to_the_policy(Config) ->
    with(Config, #{write => none}, fun(Context) ->
        ok = py:exec(Context, [
            "import asyncio\n"
            "async def write():\n"
            "    await asyncio.sleep(0)\n"
            "    open('/dev/null', 'w').close()\n"
        ]),
        _ = py_suite:error_text('PermissionError', py_context:submit_await(Context, '__main__', write, []))
    end).

%% An Erlang function that Python calls may call Python elsewhere, under another policy.
callbacks_keep_to_the_policy_of_their_context(Config) ->
    Write = <<"open('/dev/null', 'w').close()">>,
    with(Config, default, fun(Open) ->
        with(Config, #{write => none}, fun(Closed) ->
            ok = py_callback:register(ct_write_elsewhere, fun([]) -> came(py:eval(Open, Write)) end),
            ?assertEqual(<<"ok">>, py_sandboxes:allowed(Closed, "str(__import__('erlang').call('ct_write_elsewhere'))")),
            py_sandboxes:denied(Closed, <<"open for writing">>, 'PermissionError', Write),
            ok = py_callback:unregister(ct_write_elsewhere)
        end)
    end).

recycled_interpreters_keep_to_their_policy(Config) ->
    Write = <<"open('/dev/null', 'w').close()">>,
    [
        begin
            with(Config, #{write => none}, fun(Context) -> 'PermissionError' = came(py:eval(Context, Write)) end),
            with(Config, default, fun(Context) -> ok = came(py:eval(Context, Write)) end)
        end
     || _ <- lists:seq(1, 5)
    ].

pools_have_policies(Config) ->
    Options = #{mode => py_suite:mode(Config), sandbox => #{write => none}},
    ok = py_context_router:start_pool(ct_policy_pool, 2, Options),
    Results = py_suite:concurrently(4, fun(_) ->
        came(py:eval(py_context_router:get_context(ct_policy_pool), <<"open('/dev/null', 'w').close()">>))
    end),
    ?assertEqual(['PermissionError'], lists:usort(Results)),
    ?assertEqual(ok, came(py:eval(<<"open('/dev/null', 'w').close()">>))),
    ok = py_context_router:stop_pool(ct_policy_pool).

settings_hold_for_the_pool_default(Config) ->
    Write = <<"open('/dev/null', 'w').close()">>,
    ok = py_suite:restart(Config, #{sandbox => #{write => none}}),
    ?assertEqual('PermissionError', came(py:eval(Write))),
    Alone = py_suite:new_context(Config),
    ?assertEqual('PermissionError', came(py:eval(Alone, Write))),
    %% A pool with a name says itself.
    ok = py_context_router:start_pool(ct_policy_pool, 1, #{mode => py_suite:mode(Config)}),
    ?assertEqual(ok, came(py:eval(py_context_router:get_context(ct_policy_pool), Write))),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual(ok, came(py:eval(Write))).

settings_are_checked(Config) ->
    ok = py_suite:stop(),
    Result = py_suite:silently(fun() ->
        py_suite:start(#{context_mode => py_suite:mode(Config), sandbox => #{wirte => none}})
    end),
    ok = py_suite:start((?config(env, Config))#{context_mode => py_suite:mode(Config)}),
    ?assertMatch({error, {erlang_python, {{bad_option, sandbox, #{wirte := none}, _}, _}}}, Result).
