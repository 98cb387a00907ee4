-module(py_telemetry_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% None of them keeps what another one needs: who listens is in a table of this process.
-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = py_telemetry_table:make(),
    Workers = [py_telemetry_watcher, py_telemetry_table, py_traces],
    Flags = #{strategy => one_for_one, intensity => 5, period => 10},
    {ok, {Flags, [#{id => Worker, start => {Worker, start_link, []}} || Worker <- Workers]}}.
