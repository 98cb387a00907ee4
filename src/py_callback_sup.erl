-module(py_callback_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

%% What serves Python code that calls Erlang: the registered functions, the processes of those that nobody waits for,
%% and the relays of messages to other nodes.

-export([start_link/0, start_relays/0, init/1, start_relay/1]).

-define(RELAYS, py_relay_sup).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, all).

-spec start_relays() -> supervisor:startlink_ret().
start_relays() ->
    supervisor:start_link({local, ?RELAYS}, ?MODULE, relays).

-spec start_relay(Context :: pid()) -> {ok, pid()} | {error, noproc}.
start_relay(Context) ->
    try supervisor:start_child(?RELAYS, [Context]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid}
    catch
        exit:_ -> {error, noproc}
    end.

%% One for one: none of them keeps anything that another one needs.
-spec init(all | relays) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(all) ->
    ok = py_callback:new_table(),
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, [
        #{id => py_callback, start => {py_callback, start_link, []}},
        #{id => ?RELAYS, start => {?MODULE, start_relays, []}, type => supervisor},
        #{id => py_callback_dispatcher, start => {py_callback_dispatcher, start_link, []}, type => supervisor}
    ]}};
init(relays) ->
    Child = #{
        id => py_relay,
        start => {py_relay, start_link, []},
        restart => temporary,
        shutdown => 5_000
    },
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.
