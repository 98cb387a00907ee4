-module(py_own_environment).
-include("py_doc.hrl").
?MODULEDOC(false).

-export([get/1]).

-spec get(pid()) -> reference() | {error, term()}.
%% The reference of the calling process's own namespace in a context: always the same one, as long as both live. On
%% another node it is kept there.
get(Context) when node(Context) =/= node() ->
    case py_target:own_environment(Context) of
        {ok, Environment} -> Environment;
        {error, _} = Error -> Error
    end;
get(Context) ->
    Known = case erlang:get(?MODULE) of undefined -> #{}; Map -> Map end,
    case {Known, py_target:info(Context)} of
        {_, {error, _} = Error} ->
            Error;
        {#{Context := Environment}, _} ->
            Environment;
        _ ->
            case py_nif:own_environment(Context) of
                {ok, Environment} ->
                    %% Contexts come and go during the life of a process.
                    Alive = maps:filter(fun(Pid, _) -> is_process_alive(Pid) end, Known),
                    _ = put(?MODULE, Alive#{Context => Environment}),
                    Environment;
                {error, _} = Error ->
                    Error
            end
    end.
