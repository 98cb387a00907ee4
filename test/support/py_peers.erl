%% Other nodes for the suites: peers that are steered over their standard input and output, so that a suite may
%% break the distribution between them and this node.
-module(py_peers).

-export([init_suite/1, end_suite/2, with_node/1, nothing_is_left/1]).
-export([distribute/0, undistribute/1, start/0, start/1, start/2, start_bare/0, start_bare/1, start_nameless/0, stop/1, node/1, call/4]).
-export([context/1, context/2, suspend/1, resume/1, sessions/1, proxies/1]).
-export([bound/2, where/1, let_go/1]).

-define(COOKIE, py_peers).
-define(HOST, "127.0.0.1").

%% Around the cases of a suite: this node is one that others can connect to, and runs the application with one
%% context.
init_suite(Config) ->
    Distributed = distribute(),
    ok = py_suite:start(#{num_contexts => 1}),
    {ok, _} = py:eval("1"),
    ok = py_suite:stop(),
    Before = py_leaks:snapshot(),
    ok = py_suite:start(#{num_contexts => 1}),
    [{distributed, Distributed}, {leaks, Before} | Config].

end_suite(Config, Allowed) ->
    ok = py_suite:stop(),
    ok = py_leaks:check(proplists:get_value(leaks, Config), Allowed),
    undistribute(proplists:get_value(distributed, Config)).

%% With a node for several cases, `peer' and `node', and a context there that knows the signals, `ctx'.
with_node(Config) ->
    Peer = start(),
    Context = context(Peer),
    ok = py_suite:fresh(fun() -> py_suite:install(Context) end),
    Before = call(Peer, py_leaks, snapshot, []),
    [{peer, Peer}, {ctx, Context}, {node, erlang:node(Context)}, {leaks_there, Before} | Config].

%% Fails unless all that those cases used between the nodes is given back.
nothing_is_left(Config) ->
    Peer = proplists:get_value(peer, Config),
    ok = py_leaks:eventually(fun() -> {sessions(Peer), proxies(here)} =:= {0, 0} end),
    [] = ets:tab2list(py_remote_server),
    ok = call(Peer, py_leaks, check, [proplists:get_value(leaks_there, Config), #{spares => 4}]).

%% Makes this node one that others can connect to; gives what undistribute/1 wants.
distribute() ->
    case erlang:is_alive() of
        true ->
            was_distributed;
        false ->
            %% The emulator starts it for named nodes only.
            _ = os:cmd(filename:join(os:getenv("BINDIR"), "epmd") ++ " -daemon"),
            Name = "py_suite_" ++ os:getpid() ++ "@" ?HOST,
            {ok, _} = net_kernel:start([list_to_atom(Name), longnames]),
            true = erlang:set_cookie(node(), ?COOKIE),
            %% Starts the emulator's resolver, which stays.
            _ = inet:gethostbyname("localhost"),
            distributed
    end.

undistribute(was_distributed) -> ok;
undistribute(distributed) -> net_kernel:stop().

%% A node on which the application runs with one context.
start() ->
    start(#{num_contexts => 1}).

start(Env) ->
    start(Env, peer:random_name()).

%% A node of the name that another one had comes in its place.
start(Env, Name) ->
    Peer = start_bare(Name),
    ok = call(Peer, py_suite, start, [Env]),
    Peer.

%% A node that can find the application, but does not run it.
start_bare() ->
    start_bare(peer:random_name()).

start_bare(Name) ->
    {ok, Peer, _Node} = peer:start((options())#{name => Name, host => ?HOST, longnames => true}),
    Peer.

%% A node that is none yet, with the application. (Releases of OTP differ in what else they tell.)
start_nameless() ->
    Peer = element(2, peer:start(options())),
    ok = call(Peer, py_suite, start, [#{num_contexts => 1}]),
    Peer.

options() ->
    Paths = [Path || Path <- code:get_path(), filename:pathtype(Path) =:= absolute, lists:prefix(code:root_dir(), Path) =:= false],
    #{
        connection => standard_io,
        wait_boot => 30_000,
        args =>
            ["-setcookie", atom_to_list(erlang:get_cookie()), "-kernel", "logger_level", "emergency"] ++
            lists:append([["-pa", Path] || Path <- Paths])
    }.

%% A node that has gone before is fine, too.
stop(Peer) ->
    try
        peer:stop(Peer)
    catch
        exit:noproc -> ok
    end.

node(Peer) ->
    call(Peer, erlang, node, []).

%% Not over the distribution.
call(Peer, Module, Function, Arguments) ->
    peer:call(Peer, Module, Function, Arguments, 30_000).

context(Peer) ->
    context(Peer, #{}).

context(Peer, Options) ->
    {ok, Context} = call(Peer, py_context, new, [Options]),
    Context.

%% A node that hangs: the system accepts connections for it, and nobody answers.
suspend(Peer) ->
    Pid = signal("STOP", call(Peer, os, getpid, [])),
    Threads = "/proc/" ++ Pid ++ "/task/",
    ok = py_leaks:eventually(fun() ->
        {ok, Tasks} = file:list_dir(Threads),
        lists:all(fun(Task) -> is_stopped(Threads ++ Task ++ "/stat") end, Tasks)
    end),
    Pid.

%% One thread may still be on its way to a stop when another has arrived.
is_stopped(File) ->
    {ok, Text} = file:read_file(File),
    match =:= re:run(Text, "\\) T ", [{capture, none}]).

resume(Pid) ->
    signal("CONT", Pid).

signal(Signal, Pid) ->
    "" = os:cmd("kill -" ++ Signal ++ " " ++ Pid),
    Pid.

%% How many processes of other nodes a node serves, and how many of its own use other nodes.
sessions(Peer) -> count(Peer, py_remote_session_sup).
proxies(Peer) -> count(Peer, py_remote_proxy_sup).

count(here, Supervisor) ->
    proplists:get_value(active, supervisor:count_children(Supervisor));
count(Peer, Supervisor) ->
    proplists:get_value(active, call(Peer, supervisor, count_children, [Supervisor])).

%% So many processes that are bound to contexts of a pool and stay, with the nodes of these.
bound(Pool, Count) ->
    Owner = self(),
    Holders = [
        spawn(fun() ->
            Owner ! {self(), where(Pool)},
            receive
                stop -> ok
            end
        end)
     || _ <- lists:seq(1, Count)
    ],
    Nodes = [
        receive
            {Holder, Node} -> Node
        end
     || Holder <- Holders
    ],
    {Nodes, Holders}.

let_go(Holders) ->
    _ = [Holder ! stop || Holder <- Holders],
    ok.

%% The node that calls of this process to the pool run on, which Python does not know.
where(Pool) ->
    {ok, 4.0} = py:call(Pool, math, sqrt, [16]),
    erlang:node(py_context_router:get_context(Pool)).
