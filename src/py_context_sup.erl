-module(py_context_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

-export([start_link/0, init/1, start_context/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% Starts a context's process; it may not be ready yet.
-spec start_context(py_context_process:options()) -> {ok, pid()} | {error, term()}.
start_context(Options) ->
    try supervisor:start_child(?MODULE, [Options]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, Reason} -> {error, Reason}
    catch
        exit:_ -> {error, not_running}
    end.

%% Temporary: a pool replaces its own, and whoever made another one hears of its end by a monitor.
-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Child = #{
        id => context,
        start => {py_context_process, start_link, []},
        restart => temporary,
        shutdown => 10_000
    },
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.
