%% What the kernel refuses to contexts with `seccomp', and to nobody else.
-module(sandbox_seccomp_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(CONFINED, #{base => default, seccomp => required}).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            ctypes_gets_eperm_for_system_calls,
            what_python_does_not_ask_for_is_refused_in_libraries_too,
            threads_of_a_confined_context_are_confined,
            ordinary_code_runs_confined,
            programs_start_beside_confined_contexts,
            contexts_without_it_are_untouched,
            confined_threads_serve_no_other_policy,
            confined_code_that_waits_in_the_system_is_interrupted,
            best_effort_is_confined_where_the_kernel_can,
            starting_fails_where_it_is_required_and_not_to_be_had
        ],
        [confined_interpreters_serve_their_policy_again]
    ).

init_per_group(Mode, Config) ->
    case {os:type(), erlang:system_info(system_architecture)} of
        {{unix, linux}, "x86_64" ++ _} -> start(Mode, Config);
        {{unix, linux}, "aarch64" ++ _} -> start(Mode, Config);
        _ -> {skip, "seccomp is Linux's on x86_64 and aarch64"}
    end.

start(Mode, Config) ->
    %% The library below it keeps itself open for good.
    ok = py_suite:start(#{}),
    {ok, Context} = py_context:new(#{mode => worker}),
    ok = py:exec(Context, <<"import ctypes">>),
    ok = py_suite:stop(),
    case py_suite:init_group(Mode, Config) of
        {skip, _} = Skip -> Skip;
        Started -> with_ctypes(Mode, Started)
    end.

with_ctypes(owngil, Config) ->
    case py_suite:version() of
        {ok, [3, 12 | _]} ->
            ok = py_suite:stop(),
            {skip, "ctypes does not load in an interpreter with a GIL of its own"};
        _ ->
            Config
    end;
with_ctypes(worker, Config) ->
    Config.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

ctypes_gets_eperm_for_system_calls(Config) ->
    with_context(Config, ?CONFINED, fun(Context) ->
        ?assertEqual({ok, [<<"EPERM">>, <<"ENOSYS">>]}, py:eval(Context, <<"[call('kcmp'), call('clone3')]">>))
    end).

%% The C library's own functions, which start programs and send signals.
what_python_does_not_ask_for_is_refused_in_libraries_too(Config) ->
    with_context(Config, ?CONFINED, fun(Context) ->
        ok = py:exec(Context, <<
            "import errno\n"
            "def error_of(result):\n"
            "    return result, errno.errorcode.get(ctypes.get_errno())\n"
            "results = [error_of(libc.kill(libc.getpid(), 0)), error_of(libc.fork())]\n"
        >>),
        ?assertMatch(
            {ok, [{-1, <<"EPERM">>}, {-1, <<"EPERM">>}]},
            py:eval(Context, <<"results">>)
        )
    end).

threads_of_a_confined_context_are_confined(Config) ->
    with_context(Config, ?CONFINED, fun(Context) ->
        ok = py:exec(Context, <<
            "import threading\n"
            "seen = []\n"
            "thread = threading.Thread(target=lambda: seen.append(call('kcmp')))\n"
            "thread.start()\n"
            "thread.join()\n"
        >>),
        ?assertEqual({ok, [<<"EPERM">>]}, py:eval(Context, <<"seen">>))
    end).

ordinary_code_runs_confined(Config) ->
    Folder = ?config(priv_dir, Config),
    with_context(Config, ?CONFINED, fun(Context) ->
        ok = py:exec(Context, <<
            "import asyncio, json, os, pathlib, socket, sqlite3, ssl, tempfile, time\n"
            "from concurrent.futures import ThreadPoolExecutor\n"
            "def work(folder):\n"
            "    with tempfile.NamedTemporaryFile(dir=folder) as file:\n"
            "        file.write(b'x' * 100000)\n"
            "        file.flush()\n"
            "        size = pathlib.Path(file.name).stat().st_size\n"
            "    left, right = socket.socketpair()\n"
            "    with left, right:\n"
            "        left.sendall(b'hello')\n"
            "        word = right.recv(5)\n"
            "    with ThreadPoolExecutor(2) as pool:\n"
            "        squares = list(pool.map(lambda x: x * x, range(10)))\n"
            "    ssl.create_default_context()\n"
            "    with sqlite3.connect(':memory:') as db:\n"
            "        one = db.execute('select 1').fetchone()[0]\n"
            "    socket.getaddrinfo('localhost', 80)\n"
            "    time.sleep(0.001)\n"
            "    return [size, word, sum(squares), one, json.loads('[1]')]\n"
        >>),
        ?assertEqual(
            {ok, [100000, <<"hello">>, 285, 1, [1]]},
            py:call(Context, '__main__', work, [unicode:characters_to_binary(Folder)])
        )
    end).

programs_start_beside_confined_contexts(Config) ->
    Before = open_port({spawn, "cat"}, [binary]),
    with_context(Config, ?CONFINED, fun(Context) ->
        ?assertEqual({ok, <<"EPERM">>}, py:eval(Context, <<"call('kcmp')">>)),
        ?assertEqual("meanwhile\n", os:cmd("echo meanwhile")),
        ?assertEqual(<<"before">>, echoed(Before, <<"before">>)),
        %% Signals of the emulator's own, too.
        {os_pid, Pid} = erlang:port_info(Before, os_pid),
        ?assertEqual([], os:cmd("kill -0 " ++ integer_to_list(Pid)))
    end),
    ?assertEqual("after\n", os:cmd("echo after")),
    ?assertEqual(<<"still">>, echoed(Before, <<"still">>)),
    true = port_close(Before).

contexts_without_it_are_untouched(Config) ->
    with_context(Config, ?CONFINED, fun(_Confined) ->
        with_context(Config, default, fun(Context) ->
            ?assertEqual({ok, <<"no error">>}, py:eval(Context, <<"call('kcmp')">>)),
            ?assertEqual(false, py_nif:context_confined(Context))
        end)
    end).

confined_threads_serve_no_other_policy(Config) ->
    lists:foreach(
        fun(_) ->
            with_context(Config, ?CONFINED, fun(Context) ->
                ?assertEqual({ok, <<"EPERM">>}, py:eval(Context, <<"call('kcmp')">>))
            end),
            with_context(Config, default, fun(Context) ->
                ?assertEqual({ok, <<"no error">>}, py:eval(Context, <<"call('kcmp')">>))
            end)
        end,
        lists:seq(1, 3)
    ).

confined_interpreters_serve_their_policy_again(Config) ->
    %% Of no other case: interpreters with the same policy may wait already.
    Own = maps:put(network, [{any, any}, {<<"again">>, any}], ?CONFINED),
    Before = spares(),
    %% Later versions end interpreters.
    {Interpreters, Given} =
        case py_suite:version() >= {ok, [3, 14, 1]} of
            true -> {4, Before};
            false -> {1, Before + 1}
        end,
    Ids = [
        begin
            Used = with_context(Config, Own, fun(Context) ->
                ?assertEqual({ok, <<"EPERM">>}, py:eval(Context, <<"call('kcmp')">>)),
                {ok, Id} = py_context:get_interp_id(Context),
                Id
            end),
            %% The context has ended a moment before its interpreter is to be had.
            ok = py_leaks:eventually(fun() -> spares() >= Given end),
            Used
        end
     || _ <- lists:seq(1, 4)
    ],
    ?assertEqual(Interpreters, length(lists:usort(Ids))).

spares() ->
    element(2, py_nif:counters()).

%% Also where no thread was ever there that was not confined.
confined_code_that_waits_in_the_system_is_interrupted(Config) ->
    case py_suite:version() >= {ok, [3, 15]} of
        true -> py_suite:in_peer(?MODULE, interrupts_confined_code, Config);
        false -> {skip, "CPython below 3.15 goes on with system calls that a signal has cut short"}
    end.

interrupts_confined_code(Mode) ->
    ok = py_suite:start(#{context_mode => Mode, num_contexts => 1, sandbox => ?CONFINED}),
    {ok, Context} = py_context:new(#{mode => Mode}),
    ?assertEqual(true, py_nif:context_confined(Context)),
    ok = py:exec(Context, <<
        "import os\n"
        "def wait():\n"
        "    os.read(os.pipe()[0], 1)\n"
    >>),
    ?assertEqual({error, timeout}, py:call(Context, '__main__', wait, [], #{timeout => 100})),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    py_suite:stop().

best_effort_is_confined_where_the_kernel_can(Config) ->
    with_context(Config, #{seccomp => best_effort}, fun(Context) ->
        ?assertEqual({ok, <<"EPERM">>}, py:eval(Context, <<"call('kcmp')">>)),
        ?assertMatch({ok, #{seccomp := best_effort}}, py_sandbox:policy(Context))
    end).

%% In a node to which the kernel refuses further filters.
starting_fails_where_it_is_required_and_not_to_be_had(Config) ->
    Script = filename:join([py_suite:checkout(), "test/support/python", "without_seccomp.py"]),
    {ok, Python} = py:eval(<<"__import__('sys').executable">>),
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    {ok, Peer, _Node} = peer:start_link(#{
        connection => standard_io,
        exec => {unicode:characters_to_list(Python), [Script, Erl]},
        args => ["-pa" | code:get_path()]
    }),
    try
        ?assertEqual(ok, peer:call(Peer, ?MODULE, starts_without_seccomp, [py_suite:mode(Config)], 60_000))
    after
        peer:stop(Peer)
    end.

starts_without_seccomp(Mode) ->
    ok = py_suite:start(#{context_mode => Mode}),
    {error, {context_start, Text}} = py_context:new(#{mode => Mode, sandbox => ?CONFINED}),
    ok = py_suite:contains(Text, <<"seccomp">>),
    {ok, Context} = py_context:new(#{mode => Mode, sandbox => #{seccomp => best_effort}}),
    ?assertMatch({ok, #{seccomp := off}}, py_sandbox:policy(Context)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    py_suite:stop().

%%% Helpers

%% `call(Name)' makes a system call, with arguments that do no harm, and gives the name of its error. `kcmp' compares
%% the process with itself.
with_context(Config, Sandbox, Fun) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), sandbox => Sandbox}),
    try
        ok = py:exec(Context, <<
            "import ctypes, errno, os\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "numbers = {'kcmp': 312, 'clone3': 435} if os.uname().machine == 'x86_64' else {'kcmp': 272, 'clone3': 435}\n"
            "arguments = {'kcmp': (os.getpid(), os.getpid(), 2, 0, 0), 'clone3': (0, 0)}\n"
            "def call(name):\n"
            "    result = libc.syscall(numbers[name], *arguments[name])\n"
            "    return 'no error' if result >= 0 else errno.errorcode[ctypes.get_errno()]\n"
        >>),
        Fun(Context)
    after
        ok = py_context:stop(Context)
    end.

echoed(Port, Text) ->
    true = port_command(Port, Text),
    receive
        {Port, {data, Data}} -> Data
    end.
