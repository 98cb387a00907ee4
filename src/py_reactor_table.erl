-module(py_reactor_table).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% What whoever hands a connection over has to know without asking a process. The owner of the table does nothing but
%% take out what belonged to a process that has ended.
%%
%%   {{context, Pid}, Pid, #context{}}          a reactor context
%%   {{Listener, Part}, Owner, Value}           what the processes of a listener tell one another

-export([start_link/0, put/2, get/1, delete/1, owner/1]).
-export([put_context/4, context/1, listed/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([entry/0]).

-type entry() :: {py_nif:handle(), Context :: pid(), Id :: term(), open | draining, Listed :: boolean()}.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% A row of the calling process, which goes with it.
-spec put(term(), term()) -> ok | {error, not_running}.
put(Key, Value) ->
    try ets:insert(?MODULE, {Key, self(), Value}) of
        true -> gen_server:cast(?MODULE, {monitor, self()})
    catch
        error:badarg -> {error, not_running}
    end.

-spec get(term()) -> {ok, term()} | none.
get(Key) ->
    case row(Key) of
        {_, _, Value} -> {ok, Value};
        none -> none
    end.

-spec owner(term()) -> {ok, pid()} | none.
owner(Key) ->
    case row(Key) of
        {_, Owner, _} -> {ok, Owner};
        none -> none
    end.

%% Whoever has seen a process end may ask before this table has heard of it.
row(Key) ->
    try ets:lookup(?MODULE, Key) of
        [{_, Owner, _} = Row] ->
            case is_process_alive(Owner) of
                true -> Row;
                false -> none
            end;
        [] ->
            none
    catch
        error:badarg -> none
    end.

-spec delete(term()) -> true.
delete(Key) ->
    try
        ets:delete(?MODULE, Key)
    catch
        error:badarg -> true
    end.

%% The calling process is that reactor context.
-spec put_context(py_nif:handle(), pid(), term(), {open | draining, boolean()}) -> ok | {error, not_running}.
put_context(Handle, Context, Id, {State, Listed}) ->
    ?MODULE:put({context, self()}, {Handle, Context, Id, State, Listed}).

-spec context(pid()) -> {ok, entry()} | {error, not_running | {context_died, noproc}}.
context(Pid) ->
    try ets:lookup(?MODULE, {context, Pid}) of
        [{_, _, Entry}] -> {ok, Entry};
        [] -> {error, {context_died, noproc}}
    catch
        error:badarg -> {error, not_running}
    end.

%% Those that belong to no listener.
-spec listed() -> [py_nif:handle()].
listed() ->
    try
        ets:select(?MODULE, [{{{context, '_'}, '_', {'$1', '_', '_', open, true}}, [], ['$1']}])
    catch
        error:badarg -> []
    end.

-spec init([]) -> {ok, #{pid() => reference()}}.
init([]) ->
    ?MODULE = ets:new(?MODULE, [named_table, public, {read_concurrency, true}]),
    {ok, #{}}.

-spec handle_call(term(), gen_server:from(), State) -> {reply, {error, unexpected_call}, State}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), State) -> {noreply, State} when State :: #{pid() => reference()}.
handle_cast({monitor, Pid}, State) when is_map_key(Pid, State) ->
    {noreply, State};
handle_cast({monitor, Pid}, State) ->
    {noreply, State#{Pid => erlang:monitor(process, Pid)}};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), State) -> {noreply, State} when State :: #{pid() => reference()}.
handle_info({'DOWN', _Monitor, process, Pid, _Reason}, State) ->
    true = ets:match_delete(?MODULE, {'_', Pid, '_'}),
    {noreply, maps:remove(Pid, State)};
handle_info(_Message, State) ->
    {noreply, State}.
