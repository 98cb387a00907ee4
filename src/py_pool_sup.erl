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
    case ask(start_child, [pool(Name, Size, Options)]) of
        {ok, _} ->
            ok;
        {error, {already_started, Server}} ->
            case is_pid(Server) andalso py_pool_table:pool(Name) of
                {error, _} ->
                    %% It is being stopped.
                    _ = py_pool:await_end(Server),
                    start_pool(Name, Size, Options);
                _ ->
                    {error, already_started}
            end;
        {error, already_present} ->
            %% It was stopped, and whoever did so has not taken the name back yet, or died before it could.
            _ = ask(delete_child, [Name]),
            start_pool(Name, Size, Options);
        {error, _} = Error ->
            Error
    end.

%% The pool ends its contexts and itself, so that this supervisor waits for none of them.
-spec stop_pool(atom()) -> ok | {error, not_found | not_running}.
stop_pool(Name) ->
    case server(Name) of
        {ok, Server} when is_pid(Server) ->
            case py_pool:stop(Server) of
                ok -> take_back(Name, Server);
                died -> stop_pool(Name)
            end;
        {ok, undefined} ->
            _ = ask(delete_child, [Name]),
            ok;
        {ok, restarting} ->
            _ = ask(terminate_child, [Name]),
            stop_pool(Name);
        {error, _} = Error ->
            Error
    end.

%% Others may have done that meanwhile, and started another one.
take_back(Name, Server) ->
    case ask(delete_child, [Name]) of
        {error, running} ->
            case server(Name) of
                {ok, Server} ->
                    %% The supervisor has not heard of its end yet.
                    true = erlang:yield(),
                    take_back(Name, Server);
                _ ->
                    ok
            end;
        _ ->
            ok
    end.

server(Name) ->
    case ask(which_children, []) of
        {error, not_running} = Error ->
            Error;
        Pools ->
            case lists:keyfind(Name, 1, Pools) of
                {Name, Server, _, _} -> {ok, Server};
                false -> {error, not_found}
            end
    end.

ask(Function, Arguments) ->
    try
        apply(supervisor, Function, [?MODULE | Arguments])
    catch
        exit:_ -> {error, not_running}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, Options} = py_pool_options:default_pool(#{}),
    Default = pool(default, py_config:get(num_contexts), Options),
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, [Default]}}.

pool(Name, Size, Options) ->
    %% One that was stopped ends normally.
    #{
        id => Name,
        start => {py_pool, start_link, [Name, Size, Options]},
        restart => transient,
        shutdown => 15_000
    }.
