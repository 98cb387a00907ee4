%% A supervisor of the user's own.
-module(py_supervisor).
-behaviour(supervisor).

-export([start_link/1, stop/1, init/1]).

start_link(Children) ->
    supervisor:start_link(?MODULE, Children).

stop(Supervisor) ->
    true = unlink(Supervisor),
    gen_server:stop(Supervisor, shutdown, infinity).

init(Children) ->
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, Children}}.
