-module(py_context_router).
-include("py_doc.hrl").
?MODULEDOC("""
Pools, and which context of a pool a process uses.

A process is bound to a context of a pool when it first uses the pool, and stays with it, so that its namespace is
there at the next call. When that context dies, the process is bound to the one that takes its place. Which context
it gets says the pool's option `binding`: the least loaded one, or that of the scheduler the process runs on.
""").

-export([start_pool/2, start_pool/3, stop_pool/1, contexts/0, contexts/1, num_contexts/0, num_contexts/1]).
-export([known/1, bind/2, rebind/3, all/2, context/2]).

-type target() :: {ok, py_nif:handle()} | {error, term()}.
-export_type([target/0]).

?DOC("Starts a pool of `Size` contexts of the default mode; each starts at its first use.").
-spec start_pool(atom(), pos_integer()) -> ok | {error, term()}.
start_pool(Name, Size) ->
    start_pool(Name, Size, #{}).

?DOC("""
Starts a pool of `Size` contexts of a mode, or with options:

| option | default | meaning |
|---|---|---|
| `mode` | setting `context_mode` | `owngil` or `worker` |
| `start` | `lazy` | `lazy`: each context at its first use; `eager`: all now, without waiting for them |
| `binding` | `least_loaded` | which context a process gets at its first use: the least loaded one, or with `scheduler` that of the scheduler on which the process runs |
| `max_queue` | `infinity` | how many requests may wait in each context; a further one is answered `{error, {overloaded, Current, Max}}` |
| `conversion` | `#{}` | see `py_conversion` |

Errors: `{bad_option, Key, Value}`, `{not_supported, Mode}`, `already_started`, `not_running`.
""").
-spec start_pool(atom(), pos_integer(), py_context:mode() | Options) -> ok | {error, term()} when
    Options :: #{
        mode => py_context:mode(),
        start => lazy | eager,
        binding => least_loaded | scheduler,
        max_queue => pos_integer() | infinity,
        conversion => py_conversion:options()
    }.
start_pool(Name, Size, Options) when is_atom(Name), is_integer(Size), Size > 0, is_map(Options) ->
    case py_pool_options:pool(Options) of
        {ok, Checked} -> py_pool_sup:start_pool(Name, Size, Checked);
        {error, _} = Error -> Error
    end;
start_pool(Name, Size, Mode) when is_atom(Name), is_integer(Size), Size > 0, is_atom(Mode) ->
    start_pool(Name, Size, #{mode => Mode});
start_pool(Name, Size, Options) ->
    erlang:error(badarg, [Name, Size, Options]).

?DOC("Stops a pool and its contexts.").
-spec stop_pool(atom()) -> ok | {error, not_found | not_running}.
stop_pool(Name) when is_atom(Name) ->
    py_pool_sup:stop_pool(Name).

?DOC("The contexts of the pool `default` that are ready.").
-spec contexts() -> [pid()].
contexts() ->
    contexts(default).

?DOC("The contexts of a pool that are ready.").
-spec contexts(atom()) -> [pid()].
contexts(Pool) ->
    [Pid || {_, Pid, _} <- py_pool_table:ready(Pool)].

?DOC("How many places the pool `default` has.").
-spec num_contexts() -> non_neg_integer().
num_contexts() ->
    num_contexts(default).

?DOC("How many places a pool has; 0 when there is no such pool.").
-spec num_contexts(atom()) -> non_neg_integer().
num_contexts(Pool) ->
    case py_pool_table:size(Pool) of
        {ok, _Server, Size} -> Size;
        {error, _} -> 0
    end.

?DOC(false).
%% The context that the calling process is bound to in a pool.
-spec known(atom()) -> {ok, py_nif:handle()} | none.
known(Pool) ->
    case get({?MODULE, Pool}) of
        {_Index, _Pid, Handle} -> {ok, Handle};
        undefined -> none
    end.

?DOC(false).
%% The process of that context, which is alive or has died since the last submission.
-spec context(atom(), timeout()) -> pid() | {error, term()}.
context(Pool, Timeout) ->
    Bound =
        case known(Pool) of
            none -> bind(Pool, Timeout);
            Known -> Known
        end,
    case Bound of
        {ok, Handle} ->
            {_Index, Pid, Handle} = get({?MODULE, Pool}),
            case py_nif:context_info(Pid) of
                {error, {context_died, _}} -> living(Pool, Handle, Timeout);
                {error, _} = Error -> Error;
                _ -> Pid
            end;
        {error, _} = Error ->
            Error
    end.

living(Pool, Handle, Timeout) ->
    case rebind(Pool, Handle, Timeout) of
        {ok, _} -> context(Pool, Timeout);
        {error, _} = Error -> Error
    end.

?DOC(false).
%% The bound context refused: it is dead. Binds the process to the one that takes its place.
-spec rebind(atom(), py_nif:handle(), timeout()) -> target().
rebind(Pool, Handle, Timeout) ->
    case {erase({?MODULE, Pool}), py_pool_table:size(Pool)} of
        {{Index, Pid, Handle}, {ok, Server, Size}} when Index =< Size ->
            keep(Pool, py_pool:replacement(Server, Index, Pid, Timeout));
        {_, {ok, _, _}} ->
            bind(Pool, Timeout);
        {_, {error, _} = Error} ->
            Error
    end.

?DOC(false).
%% Handles of all places of a pool, started if need be.
-spec all(atom(), timeout()) -> {ok, [py_nif:handle()]} | {error, term()}.
all(Pool, Timeout) ->
    case py_pool_table:size(Pool) of
        {ok, Server, Size} ->
            Ready = py_pool_table:ready(Pool),
            Missing = lists:seq(1, Size) -- [Index || {Index, _, _} <- Ready],
            Started = [py_pool:replacement(Server, Index, self(), Timeout) || Index <- Missing],
            case [Handle || {_, _, Handle} <- Ready] ++ [Handle || {ok, _, _, Handle} <- Started] of
                [] -> hd(Started);
                Handles -> {ok, Handles}
            end;
        {error, _} = Error ->
            Error
    end.

?DOC(false).
%% Binds the calling process to a context of a pool.
-spec bind(atom(), timeout()) -> target().
bind(Pool, Timeout) ->
    case py_pool_table:pool(Pool) of
        {ok, Server, Size, scheduler} ->
            keep(Pool, of_scheduler(Pool, Server, Size, Timeout));
        {ok, Server, Size, least_loaded} ->
            Ready = py_pool_table:ready(Pool),
            case length(Ready) < Size andalso py_pool:claim(Server, Timeout) of
                {ok, _, _, _} = Found -> keep(Pool, Found);
                {error, _} = Error -> Error;
                _ -> least_loaded(Pool, Server, Timeout)
            end;
        {error, _} = Error ->
            Error
    end.

%% The process may move to another scheduler later, and stays bound.
of_scheduler(Pool, Server, Size, Timeout) ->
    Index = (erlang:system_info(scheduler_id) - 1) rem Size + 1,
    case py_pool_table:context(Pool, Index) of
        {ok, Pid, Handle} -> {ok, Index, Pid, Handle};
        none -> py_pool:replacement(Server, Index, self(), Timeout)
    end.

least_loaded(Pool, Server, Timeout) ->
    Ready = py_pool_table:ready(Pool),
    case py_nif:least_loaded([Handle || {_, _, Handle} <- Ready]) of
        none -> keep(Pool, py_pool:replacement(Server, 1, self(), Timeout));
        Place when is_integer(Place) ->
            {Index, Pid, Handle} = lists:nth(Place, Ready),
            keep(Pool, {ok, Index, Pid, Handle})
    end.

keep(Pool, {ok, Index, Pid, Handle}) ->
    _ = put({?MODULE, Pool}, {Index, Pid, Handle}),
    {ok, Handle};
keep(_Pool, {error, _} = Error) ->
    Error.
