-module(py_pool_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

-export([start_link/0, init/1, start_pool/3, stop_pool/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_pool(atom(), pos_integer(), py_context:mode()) -> ok | {error, term()}.
start_pool(Name, Size, Mode) ->
    try supervisor:start_child(?MODULE, pool(Name, Size, Mode, lazy)) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> {error, already_started};
        {error, Reason} -> {error, Reason}
    catch
        exit:_ -> {error, not_running}
    end.

-spec stop_pool(atom()) -> ok | {error, not_found | not_running}.
stop_pool(Name) ->
    try supervisor:terminate_child(?MODULE, Name) of
        ok -> supervisor:delete_child(?MODULE, Name);
        {error, not_found} -> {error, not_found}
    catch
        exit:_ -> {error, not_running}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Default = pool(
        default,
        py_config:get(num_contexts),
        py_config:get(context_mode),
        py_config:get(start_contexts)
    ),
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, [Default]}}.

pool(Name, Size, Mode, When) ->
    #{id => Name, start => {py_pool, start_link, [Name, Size, Mode, When]}, shutdown => 15_000}.
