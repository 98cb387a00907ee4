-module(py_remote_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

%% What serves contexts on other nodes: proxies for the processes of this node, sessions for those of others.

-export([start_link/0, start_link/1, init/1, start_proxy/2, start_session/1]).

-type kind() :: py_remote_proxy | py_remote_session.

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, all).

-spec start_link(kind()) -> supervisor:startlink_ret().
start_link(Module) ->
    supervisor:start_link({local, name(Module)}, ?MODULE, Module).

-spec start_proxy(Caller :: pid(), node()) -> {ok, pid()} | {error, not_running}.
start_proxy(Caller, Node) ->
    start_child(py_remote_proxy, [Caller, Node]).

-spec start_session(py_remote_session:peer()) -> {ok, pid()} | {error, not_running}.
start_session(Peer) ->
    start_child(py_remote_session, [Peer]).

start_child(Module, Arguments) ->
    try supervisor:start_child(name(Module), Arguments) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid}
    catch
        exit:_ -> {error, not_running}
    end.

name(py_remote_proxy) -> py_remote_proxy_sup;
name(py_remote_session) -> py_remote_session_sup.

%% One for all: without the server's table nobody could answer for a proxy that is killed.
-spec init(all | kind()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(all) ->
    Below = [
        #{id => Module, start => {?MODULE, start_link, [Module]}, type => supervisor}
     || Module <- [py_remote_proxy, py_remote_session]
    ],
    Server = #{id => py_remote_server, start => {py_remote_server, start_link, []}},
    {ok, {#{strategy => one_for_all}, [Server | Below]}};
init(Module) ->
    Child = #{
        id => Module,
        start => {Module, start_link, []},
        restart => temporary,
        shutdown => 5_000
    },
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.
