-module(py_output_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

%% What hands on the output of contexts.

-export([start_link/0, init/1, start_output/4]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_output(Context :: pid(), py_nif:handle(), Id :: term(), py_output:destination()) ->
    {ok, pid()} | {error, noproc}.
start_output(Context, Handle, Id, To) ->
    try supervisor:start_child(?MODULE, [Context, Handle, Id, To]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid}
    catch
        exit:_ -> {error, noproc}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Child = #{
        id => py_output,
        start => {py_output, start_link, []},
        restart => temporary,
        shutdown => 5_000
    },
    {ok, {#{strategy => simple_one_for_one}, [Child]}}.
