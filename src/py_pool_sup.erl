-module(py_pool_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

-export([start_link/0, init/1, start_pool/3, stop_pool/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_pool(atom(), pos_integer(), py_pool_options:pool()) -> ok | {error, term()}.
start_pool(Name, Size, Options) ->
    try supervisor:start_child(?MODULE, pool(Name, Size, Options)) of
        {ok, _} ->
            ok;
        {error, {already_started, _}} ->
            {error, already_started};
        {error, already_present} ->
            %% It was stopped, and whoever did so has not taken the name back yet, or died before it could.
            _ = supervisor:delete_child(?MODULE, Name),
            start_pool(Name, Size, Options);
        {error, Reason} ->
            {error, Reason}
    catch
        exit:_ -> {error, not_running}
    end.

-spec stop_pool(atom()) -> ok | {error, not_found | not_running}.
stop_pool(Name) ->
    try supervisor:terminate_child(?MODULE, Name) of
        ok ->
            %% Others may have done that meanwhile, and started another one.
            _ = supervisor:delete_child(?MODULE, Name),
            ok;
        {error, not_found} ->
            {error, not_found}
    catch
        exit:_ -> {error, not_running}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, Options} = py_pool_options:default_pool(#{}),
    Default = pool(default, py_config:get(num_contexts), Options),
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, [Default]}}.

pool(Name, Size, Options) ->
    #{id => Name, start => {py_pool, start_link, [Name, Size, Options]}, shutdown => 15_000}.
