-module(py_routes).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Which modules and functions were registered to which pool.
%%
%%   {{Module, Function | '_'}, Pool, {Module, Function | '_'}}    the names as binaries; the names as given
%%
%% See py_rows.

-export([start_link/0, pool/2, lookup/2, register/2, unregister/1, list/0]).
-export([init/1, handle_call/3, handle_cast/2]).

-type name() :: atom() | binary().
%% `'_'' as function: every function of the module.
-type registered() :: {Module :: name(), Function :: name()}.
-export_type([registered/0]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Where a call goes that names no pool.
-spec pool(name(), name()) -> atom().
pool(Module, Function) ->
    case py_rows:is_empty(?MODULE) of
        true ->
            default;
        false ->
            case lookup(Module, Function) of
                %% The call itself will say so.
                {error, not_running} -> default;
                Pool -> Pool
            end
    end.

%% A function's registration counts more than its module's.
-spec lookup(name(), name()) -> atom() | {error, not_running}.
lookup(Module, Function) ->
    Name = binary(Module),
    try ets:lookup(?MODULE, {Name, binary(Function)}) of
        [{_, Pool, _}] ->
            Pool;
        [] ->
            case ets:lookup(?MODULE, {Name, '_'}) of
                [{_, Pool, _}] -> Pool;
                [] -> default
            end
    catch
        error:badarg -> {error, not_running}
    end.

-spec register(atom(), registered()) -> ok | {error, not_running}.
register(Pool, Given) ->
    call({register, key(Given), Pool, Given}).

-spec unregister(registered()) -> ok | {error, not_running}.
unregister(Given) ->
    call({unregister, key(Given)}).

-spec list() -> [{registered(), atom()}] | {error, not_running}.
list() ->
    try ets:tab2list(?MODULE) of
        Rows -> [{Given, Pool} || {_, Pool, Given} <- lists:sort(Rows)]
    catch
        error:badarg -> {error, not_running}
    end.

call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_running}
    end.

key({Module, '_'}) -> {binary(Module), '_'};
key({Module, Function}) -> {binary(Module), binary(Function)}.

binary(Name) when is_binary(Name) -> Name;
binary(Name) -> atom_to_binary(Name).

-spec init([]) -> {ok, []}.
init([]) ->
    ok = py_rows:open(?MODULE),
    {ok, []}.

-spec handle_call(term(), gen_server:from(), []) -> {reply, term(), []}.
handle_call({register, Key, Pool, Given}, _From, State) ->
    {reply, py_rows:insert(?MODULE, [{Key, Pool, Given}]), State};
handle_call({unregister, Key}, _From, State) ->
    {reply, py_rows:delete(?MODULE, [Key]), State};
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_Request, State) ->
    {noreply, State}.
