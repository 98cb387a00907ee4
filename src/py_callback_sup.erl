-module(py_callback_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

%% What serves Python code that calls Erlang: the registered functions, the processes of those that nobody waits for,
%% and the relays of messages to other nodes.

-export([start_link/0, start_link/1, init/1, start_process/4, start_relay/1]).

-type kind() :: py_callback_process | py_relay.

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, all).

-spec start_link(kind()) -> supervisor:startlink_ret().
start_link(Module) ->
    supervisor:start_link({local, name(Module)}, ?MODULE, Module).

-spec start_process(
    py_callback_process:kind(), py_nif:callback(), py_callback_runner:called(), [term()]
) -> ok | {error, noproc}.
start_process(Kind, Callback, Function, Args) ->
    case start_child(py_callback_process, [Kind, Callback, Function, Args]) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

-spec start_relay(Context :: pid()) -> {ok, pid()} | {error, noproc}.
start_relay(Context) ->
    start_child(py_relay, [Context]).

start_child(Module, Arguments) ->
    try supervisor:start_child(name(Module), Arguments) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid}
    catch
        exit:_ -> {error, noproc}
    end.

name(py_callback_process) -> py_callback_process_sup;
name(py_relay) -> py_relay_sup.

%% One for one: none of them keeps anything that another one needs.
-spec init(all | kind()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(all) ->
    ok = py_callback:new_table(),
    Processes = [
        #{id => Module, start => {?MODULE, start_link, [Module]}, type => supervisor}
     || Module <- [py_callback_process, py_relay]
    ],
    Registry = #{id => py_callback, start => {py_callback, start_link, []}},
    Dispatcher = #{id => py_callback_dispatcher, start => {py_callback_dispatcher, start_link, []}},
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, [Registry] ++ Processes ++ [Dispatcher]}};
init(Module) ->
    Child = #{
        id => Module,
        start => {Module, start_link, []},
        restart => temporary,
        shutdown => 5_000
    },
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.
