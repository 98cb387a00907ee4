%% What the suites share: the application in a mode, signals between test and Python code, processes.
-module(py_suite).

-include_lib("stdlib/include/assert.hrl").

-export([groups/1, groups/2, init_group/2, init_group/3, init_group_with_context/2, init_group_with_context/3]).
-export([end_group/1, end_group/2, start/1, restart/2, stop/0, both_answer/1, all_is_well/1]).
-export([new_context/1, mode/1, version/0, venv/1, checkout/0, with_numpy/2, load_numpy/0, python_path/1]).
-export([install/0, install/1, open/0, close/1, port/1, await_signal/2, release/2]).
-export([fresh/1, concurrently/2, spawn_caller/1, await_down/2, killed/1, in_peer/3, with_connected_node/1, run/1]).
-export([error_text/2, story/2, contains/2, flush/0, silently/1, log/2, capture_log/0, release_log/1]).

-define(DEADLINE, 30_000).

%% ------------------------------------------------------------------------------------------------
%% The application in a mode

%% The same cases in both modes.
groups(Cases) ->
    groups(Cases, []).

groups(Cases, OwngilOnly) ->
    [{owngil, [], Cases ++ OwngilOnly}, {worker, [], Cases}].

init_group(Mode, Config) ->
    init_group(Mode, Config, #{num_contexts => 2}).

%% Starts the application with contexts of that mode. What it leaves behind is measured against the node as
%% it is once the application has run and stopped: CPython itself stays for good.
init_group(Mode, Config, Env) ->
    ok = start(Env#{context_mode => Mode}),
    case Mode =:= owngil andalso py:execution_mode() =/= owngil of
        true ->
            ok = stop(),
            {skip, "this Python has no interpreters with GILs of their own"};
        false ->
            {ok, _} = py:eval(<<"1">>),
            ok = stop(),
            Before = py_leaks:snapshot(),
            ok = start(Env#{context_mode => Mode}),
            [{mode, Mode}, {env, Env}, {leaks, Before} | Config]
    end.

%% With a context in that mode for all cases of the group, as `ctx'.
init_group_with_context(Mode, Config) ->
    case init_group(Mode, Config) of
        {skip, _} = Skip -> Skip;
        Started -> [{ctx, new_context(Started)} | Started]
    end.

%% With a context that the fun prepares.
init_group_with_context(Mode, Config, Prepare) ->
    case init_group_with_context(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            ok = Prepare(proplists:get_value(ctx, Started)),
            Started
    end.

%% After every case the context that it used answers, and so does the pool.
both_answer(Config) ->
    {ok, 4.0} = py:call(proplists:get_value(ctx, Config), math, sqrt, [16]),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ok.

%% The same, and nothing is left in the mailbox.
all_is_well(Config) ->
    ok = both_answer(Config),
    ?assertEqual([], flush()).

end_group(Config) ->
    end_group(Config, #{spares => 16}).

end_group(Config, Allowed) ->
    %% What contexts of mode worker have left in circles stays in the main interpreter until somebody collects it.
    _ = mode(Config) =:= worker andalso py:gc(),
    ok = stop(),
    py_leaks:check(proplists:get_value(leaks, Config), Allowed).

start(Env) ->
    _ = application:load(erlang_python),
    forget_env(),
    maps:foreach(fun(Key, Value) -> application:set_env(erlang_python, Key, Value) end, Env),
    case application:ensure_all_started(erlang_python) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

%% The application anew, with the group's settings and these.
restart(Config, Env) ->
    ok = stop(),
    start(maps:merge((proplists:get_value(env, Config))#{context_mode => mode(Config)}, Env)).

%% No suite inherits the settings of another.
forget_env() ->
    lists:foreach(
        fun({Key, _}) -> application:unset_env(erlang_python, Key) end,
        application:get_all_env(erlang_python)
    ).

stop() ->
    forget_env(),
    silently(fun() ->
        case application:stop(erlang_python) of
            ok -> ok;
            {error, {not_started, erlang_python}} -> ok
        end
    end).

mode(Config) ->
    proplists:get_value(mode, Config).

%% Stopped by whoever asked for it, or with the application.
new_context(Config) ->
    {ok, Context} = py_context:new(#{mode => mode(Config)}),
    Context.

%% As a list of numbers, so that versions can be compared.
version() ->
    case py:version() of
        {ok, Text} ->
            {match, Parts} = re:run(Text, "^(\\d+)\\.(\\d+)\\.(\\d+)", [{capture, all_but_first, list}]),
            {ok, [list_to_integer(Part) || Part <- Parts]};
        {error, _} = Error ->
            Error
    end.

%% The folder of the sources.
checkout() ->
    above(code:lib_dir(erlang_python), "native/Cargo.toml").

above(Folder, Path) ->
    case {filelib:is_regular(filename:join(Folder, Path)), filename:dirname(Folder)} of
        {true, _} -> Folder;
        {false, Folder} -> ct:fail({not_above, code:lib_dir(erlang_python), Path});
        {false, Above} -> above(Above, Path)
    end.

%% Makes the modules of test/support/python importable in the context.
python_path(Context) ->
    Folder = unicode:characters_to_binary(filename:join(checkout(), "test/support/python")),
    py:exec(Context, <<
        "import sys\n"
        "sys.dont_write_bytecode = True\n"
        "sys.path.append(r'''", Folder/binary, "''')\n"
    >>).

%% The packages of the virtual environment that scripts/test-venv.sh makes for the Python in use.
venv(Folder) ->
    {ok, [Major, Minor, _]} = version(),
    Tail = lists:flatten(io_lib:format("_build/venv/lib/python~b.~b/site-packages", [Major, Minor])),
    Packages = filename:join(Folder, Tail),
    case {filelib:is_dir(filename:join(Packages, "numpy")), filename:dirname(Folder)} of
        {true, _} -> {ok, unicode:characters_to_binary(Packages)};
        {false, Folder} -> none;
        {false, Above} -> venv(Above)
    end.

%% Runs the fun with a new context, stopped afterwards, that finds NumPy; a reason to skip where there is none.
with_numpy(Options, Fun) ->
    case venv(code:lib_dir(erlang_python)) of
        {ok, Packages} ->
            {ok, Context} = py_context:new(Options),
            try
                {ok, _} = py:eval(Context, <<"__import__('sys').path.append(p)">>, #{p => Packages}),
                Fun(Context)
            after
                ok = py_context:stop(Context)
            end;
        none ->
            {skip, "no NumPy: scripts/test-venv.sh installs it where there is a wheel for this Python"}
    end.

%% Loads NumPy, where there is one, before anything is measured: the threads and descriptors of the libraries
%% below it stay for good.
load_numpy() ->
    ok = start(#{}),
    _ = with_numpy(#{mode => worker}, fun(Context) -> ok = py:exec(Context, <<"import numpy">>) end),
    stop().

%% ------------------------------------------------------------------------------------------------
%% Signals: Python code says by a datagram that it runs, and a gate waits for one to go on

%% The functions of the module `ct_signals', for the context of the calling process.
install() ->
    ok = py:exec(signals()).

install(Context) ->
    ok = py:exec(Context, signals()).

signals() ->
    <<
        "import sys, types\n"
        "_m = types.ModuleType('ct_signals')\n"
        "exec('''\n"
        "import socket, time\n"
        "def _socket():\n"
        "    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "def signal(port, tag):\n"
        "    with _socket() as s:\n"
        "        s.sendto(tag.encode(), ('127.0.0.1', port))\n"
        "    return tag\n"
        "def gate(port, tag):\n"
        "    with _socket() as s:\n"
        "        s.bind(('127.0.0.1', 0))\n"
        "        told = []\n"
        "        opened = bytearray(16)\n"
        "        while not opened[0]:\n"
        "            # An interrupt may come between the signal and the wait.\n"
        "            try:\n"
        "                if not told:\n"
        "                    told.append(tag)\n"
        "                    s.sendto(tag.encode(), ('127.0.0.1', port))\n"
        "                s.recv_into(opened)\n"
        "            except BaseException:\n"
        "                pass\n"
        "    return tag\n"
        "def spin(port, tag):\n"
        "    signal(port, tag)\n"
        "    while True:\n"
        "        pass\n"
        "def sleep(port, tag, seconds):\n"
        "    signal(port, tag)\n"
        "    time.sleep(seconds)\n"
        "def stubborn(port, tag):\n"
        "    caught = 0\n"
        "    while caught < 3:\n"
        "        try:\n"
        "            if caught == 0:\n"
        "                signal(port, tag)\n"
        "            while True:\n"
        "                len(tag)\n"
        "        except BaseException:\n"
        "            caught += 1\n"
        "            signal(port, tag + str(caught))\n"
        "    while True:\n"
        "        pass\n"
        "''', _m.__dict__)\n"
        "sys.modules['ct_signals'] = _m\n"
    >>.

open() ->
    {ok, Socket} = gen_udp:open(0, [binary, {ip, {127, 0, 0, 1}}, {active, true}, {recbuf, 1 bsl 20}]),
    Socket.

close(Socket) ->
    gen_udp:close(Socket).

port(Socket) ->
    {ok, Port} = inet:port(Socket),
    Port.

%% Where the gate is that was reached.
await_signal(Socket, Tag) ->
    receive
        {udp, Socket, _Ip, Port, Tag} -> Port
    after ?DEADLINE -> ct:fail({no_signal, Tag})
    end.

release(Socket, Port) ->
    ok = gen_udp:send(Socket, {127, 0, 0, 1}, Port, <<"go">>).

%% ------------------------------------------------------------------------------------------------
%% Processes

%% What a fun gives in a process of its own, which has ended when this returns.
fresh(Fun) ->
    [Result] = concurrently(1, fun(_) -> Fun() end),
    Result.

%% The results of as many processes, in order.
concurrently(N, Fun) ->
    Callers = [spawn_caller(fun() -> Fun(I) end) || I <- lists:seq(1, N)],
    [killed_or_result(Caller) || Caller <- Callers].

killed_or_result(Caller) ->
    case await_down(Caller, ?DEADLINE) of
        {result, Result} -> Result;
        {died, Reason} -> ct:fail({caller_died, Reason})
    end.

%% A process whose end tells the fun's result.
spawn_caller(Fun) ->
    spawn_monitor(fun() -> exit({?MODULE, result, Fun()}) end).

await_down({Pid, Monitor}, Timeout) ->
    receive
        {'DOWN', Monitor, process, Pid, {?MODULE, result, Result}} -> {result, Result};
        {'DOWN', Monitor, process, Pid, Reason} -> {died, Reason}
    after Timeout ->
        ct:fail({hangs, Pid, erlang:process_info(Pid, current_stacktrace)})
    end.

%% Runs the fun with another node that this one is connected to, and that has its code.
with_connected_node(Fun) ->
    Cookie = atom_to_list(?MODULE),
    %% It starts epmd as well, which this node needs in order to get a name.
    {ok, Peer, Node} = peer:start_link(#{
        name => peer:random_name(),
        connection => standard_io,
        args => ["-setcookie", Cookie, "-pa" | code:get_path()]
    }),
    WasAlive = is_alive(),
    try
        _ = [{ok, _} = net_kernel:start([list_to_atom(peer:random_name()), shortnames]) || not WasAlive],
        true = erlang:set_cookie(Node, list_to_atom(Cookie)),
        pong = net_adm:ping(Node),
        Fun(Node)
    after
        _ = [net_kernel:stop() || not WasAlive],
        peer:stop(Peer)
    end.

%% The exit status and the output of a command that is to use the same build.
run(Command) ->
    %% .../_build/<profile>/lib/erlang_python
    Profile = filename:basename(filename:dirname(filename:dirname(code:lib_dir(erlang_python)))),
    Port = open_port({spawn_executable, Command}, [
        exit_status, stderr_to_stdout, binary, {cd, "/"}, {env, [{"REBAR_PROFILE", Profile}]}
    ]),
    {Status, Output} = finished(Port, []),
    ct:log("~ts", [Output]),
    {Status, Output}.

finished(Port, Output) ->
    receive
        {Port, {data, Data}} -> finished(Port, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, unicode:characters_to_binary(Output)}
    end.

%% Kills a process that somebody monitors or not, and waits for its end.
killed(Pid) ->
    Monitor = erlang:monitor(process, Pid),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after ?DEADLINE -> ct:fail({cannot_be_killed, Pid})
    end.

%% Runs a function, which gets the mode and gives ok, in a node of its own: for what a node does once.
in_peer(Module, Function, Config) ->
    {ok, Peer, _Node} = peer:start_link(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
    try
        ?assertEqual(ok, peer:call(Peer, Module, Function, [mode(Config)], 4 * ?DEADLINE))
    after
        peer:stop(Peer)
    end.

%% ------------------------------------------------------------------------------------------------
%% Assertions

%% The text of `{error, {Class, Text}}'.
error_text(Class, Result) ->
    ?assertMatch({error, {Class, _}}, Result),
    {error, {Class, Text}} = Result,
    ?assert(io_lib:char_list(Text) orelse is_list(Text)),
    Text.

%% What py:last_error/0 tells about the exception that the code raises in the group's context.
story(Config, Code) ->
    {error, _} = py:exec(proplists:get_value(ctx, Config), Code),
    py:last_error().

contains(Text, Part) ->
    case string:find(Text, Part) of
        nomatch -> ct:fail({text, Text, does_not_contain, Part});
        _ -> ok
    end.

flush() ->
    receive
        Message -> [Message | flush()]
    after 0 -> []
    end.

%% Without the reports of what ends meanwhile.
silently(Fun) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    try
        Fun()
    after
        ok = logger:set_primary_config(level, Level)
    end.

%% Log events come to the calling process as `{log, Event}'.
capture_log() ->
    Id = list_to_atom("py_suite_" ++ integer_to_list(erlang:phash2(self()))),
    ok = logger:add_handler(Id, ?MODULE, #{config => self(), level => all}),
    Id.

release_log(Id) ->
    ok = logger:remove_handler(Id).

log(Event, #{config := Pid}) ->
    Pid ! {log, Event},
    ok.
