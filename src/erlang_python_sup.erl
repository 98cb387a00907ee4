-module(erlang_python_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% Contexts before pools, which start theirs below that supervisor; what serves their code, what answers other nodes, and
%% what tells of the ends of their loops before the contexts, so that it is still there for their last requests and
%% answers. Deaths of contexts never reach this level, so its restart intensity is about the few processes here alone.
-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Flags = #{strategy => rest_for_one, intensity => 5, period => 10},
    {ok, {Flags, [
        #{id => py_birth_table, start => {py_birth_table, start_link, []}},
        #{id => py_pool_table, start => {py_pool_table, start_link, []}},
        #{id => py_inline, start => {py_inline, start_link, []}},
        #{id => py_telemetry_sup, start => {py_telemetry_sup, start_link, []}, type => supervisor},
        #{id => py_output_sup, start => {py_output_sup, start_link, []}, type => supervisor},
        #{id => py_callback_sup, start => {py_callback_sup, start_link, []}, type => supervisor},
        #{id => py_streams, start => {py_streams, start_link, []}, type => supervisor},
        #{id => py_remote_sup, start => {py_remote_sup, start_link, []}, type => supervisor},
        #{id => py_loop_sup, start => {py_loop_sup, start_link, []}, type => supervisor},
        #{id => py_context_sup, start => {py_context_sup, start_link, []}, type => supervisor},
        #{id => py_reactor_sup, start => {py_reactor_sup, start_link, []}, type => supervisor},
        #{id => py_pool_sup, start => {py_pool_sup, start_link, []}, type => supervisor},
        #{id => py_semaphore, start => {py_semaphore, start_link, []}},
        #{id => py_routes, start => {py_routes, start_link, []}},
        #{id => py_pool_scope, start => {py_pool_share, start_scope, []}},
        #{id => py_pool_share, start => {py_pool_share, start_link, []}},
        #{id => py_birth, start => {py_birth, start_link, []}},
        #{id => py_logging, start => {py_logging, start_link, []}}
    ]}}.
