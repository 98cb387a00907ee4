-module(py_pool_table).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% The table of the pools' contexts. Its owner does nothing else, so that the table outlives any pool.
%%
%%   {Pool, Server, Size, Binding, Timeout}   one row a pool
%%   {{Pool, Index}, Pid, Handle}             one row a context that is ready; on another node the pid is its handle
%%   {{turn, Pool}, Count}                    one row a pool that spans nodes

-export([start_link/0, size/1, pool/1, ready/1, context/2, place_of/1, shared/0, timeout/1, turn/2]).
-export([pools/0, places/0]).
-export([put_pool/4, put_context/4, delete_context/2, delete_pool/1]).
-export([init/1, handle_call/3, handle_cast/2]).
-export_type([binding/0]).

-define(TIMEOUT, 30_000).

-type binding() :: least_loaded | scheduler | turn | shared.
%% How a place is chosen; `turn' for pools that span nodes, `shared' for those that nodes share.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% The server and the size of a pool.
-spec size(atom()) -> {ok, pid(), pos_integer()} | {error, not_running | {no_pool, atom()}}.
size(Pool) ->
    case pool(Pool) of
        {ok, Server, Size, _Binding} -> {ok, Server, Size};
        {error, _} = Error -> Error
    end.

%% The same with what chooses the context of a process.
-spec pool(atom()) ->
    {ok, pid(), pos_integer(), binding()}
    | {error, not_running | {no_pool, atom()}}.
pool(Pool) ->
    try ets:lookup(?MODULE, Pool) of
        [{_, Server, Size, Binding, _Timeout}] -> {ok, Server, Size, Binding};
        %% There is always a default pool while the application runs; it is about to start or to stop.
        [] when Pool =:= default -> {error, not_running};
        [] -> {error, {no_pool, Pool}}
    catch
        error:badarg -> {error, not_running}
    end.

%% The contexts of a pool that are ready, in the order of their indices.
-spec ready(atom()) -> [{pos_integer(), pid(), py_nif:target()}].
ready(Pool) ->
    try ets:select(?MODULE, [{{{Pool, '$1'}, '$2', '$3'}, [], [{{'$1', '$2', '$3'}}]}]) of
        Rows -> lists:sort(Rows)
    catch
        error:badarg -> []
    end.

%% The context of a place, if it is ready.
-spec context(atom(), pos_integer()) -> {ok, pid(), py_nif:target()} | none.
context(Pool, Index) ->
    try ets:lookup(?MODULE, {Pool, Index}) of
        [{_, Pid, Handle}] -> {ok, Pid, Handle};
        [] -> none
    catch
        error:badarg -> none
    end.

%% Which place a context has, if it is a pool's.
-spec place_of(pid()) -> {ok, atom(), pos_integer(), py_nif:target()} | none.
place_of(Pid) ->
    try ets:select(?MODULE, [{{{'$1', '$2'}, Pid, '$3'}, [], [{{'$1', '$2', '$3'}}]}]) of
        [{Pool, Index, Handle}] -> {ok, Pool, Index, Handle};
        [] -> none
    catch
        error:badarg -> none
    end.

%% The pools that are shared with other nodes, and their servers.
-spec shared() -> [{atom(), pid()}].
shared() ->
    try
        ets:select(?MODULE, [{{'$1', '$2', '_', shared, '_'}, [], [{{'$1', '$2'}}]}])
    catch
        error:badarg -> []
    end.

%% All pools.
-spec pools() -> [{atom(), pos_integer(), binding()}].
pools() ->
    try
        ets:select(?MODULE, [{{'$1', '_', '$2', '$3', '_'}, [{is_atom, '$1'}], [{{'$1', '$2', '$3'}}]}])
    catch
        error:badarg -> []
    end.

%% Which places the contexts of pools have.
-spec places() -> #{pid() => {atom(), pos_integer()}}.
places() ->
    try
        maps:from_list(ets:select(?MODULE, [{{{'$1', '$2'}, '$3', '_'}, [], [{{'$3', {{'$1', '$2'}}}}]}]))
    catch
        error:badarg -> #{}
    end.

%% How long calls may take that go to the pool and do not say. Where there is no pool they fail for that.
-spec timeout(atom()) -> timeout().
timeout(Pool) ->
    %% Each call asks: an atom as key needs no hash, and the rest of the row stays where it is.
    try
        ets:lookup_element(?MODULE, Pool, 5)
    catch
        error:badarg -> ?TIMEOUT
    end.

%% A number below `Count', another one each time.
-spec turn(atom(), pos_integer()) -> non_neg_integer().
turn(Pool, Count) ->
    try
        ets:update_counter(?MODULE, {turn, Pool}, {2, 1}, {{turn, Pool}, -1}) rem Count
    catch
        error:badarg -> 0
    end.

-spec put_pool(atom(), pos_integer(), binding(), timeout()) -> true.
put_pool(Pool, Size, Binding, Timeout) ->
    ets:insert(?MODULE, {Pool, self(), Size, Binding, Timeout}).

-spec put_context(atom(), pos_integer(), pid(), py_nif:target()) -> true.
put_context(Pool, Index, Pid, Handle) ->
    ets:insert(?MODULE, {{Pool, Index}, Pid, Handle}).

-spec delete_context(atom(), pos_integer()) -> true.
delete_context(Pool, Index) ->
    ets:delete(?MODULE, {Pool, Index}).

-spec delete_pool(atom()) -> true.
delete_pool(Pool) ->
    ets:match_delete(?MODULE, {{Pool, '_'}, '_', '_'}),
    ets:delete(?MODULE, {turn, Pool}),
    ets:delete(?MODULE, Pool).

-spec init([]) -> {ok, []}.
init([]) ->
    ?MODULE = ets:new(?MODULE, [named_table, public, {read_concurrency, true}]),
    {ok, []}.

-spec handle_call(term(), gen_server:from(), []) -> {noreply, []}.
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_Request, State) ->
    {noreply, State}.
