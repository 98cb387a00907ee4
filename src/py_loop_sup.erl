-module(py_loop_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

-export([start_link/0, init/1, start_loop/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_loop(py_loop:settings()) -> {ok, pid()} | {error, not_running}.
start_loop(Settings) ->
    try supervisor:start_child(?MODULE, [Settings]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid}
    catch
        exit:_ -> {error, not_running}
    end.

%% Temporary: the loop itself is the context's.
-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Child = #{id => py_loop, start => {py_loop, start_link, []}, restart => temporary, shutdown => 5_000},
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.
