-module(py_remote_server).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Where other nodes knock, and the owner of the table of `spawn_call's, tasks and chunks of maps on other nodes:
%%
%%   {Ref, Caller, Proxy, Form}    one row a request without an answer
%%
%% A proxy answers its requests itself; for one that is killed this process does, and at its own end for those that
%% proxies left behind.

-export([start_link/0, version/0, watch/1, answered/1, message/3, start_context/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% What nodes say to one another. To be raised with every change of a message between nodes.
-define(VERSION, 3).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec version() -> pos_integer().
version() ->
    ?VERSION.

%% A proxy announces itself before anybody can use it.
-spec watch(pid()) -> ok.
watch(Proxy) ->
    gen_server:cast(?MODULE, {watch, Proxy}).

%% Takes a request out of the table, which may have gone with this process: then its proxy is about to end.
-spec answered(reference()) -> ok.
answered(Ref) ->
    try ets:delete(?MODULE, Ref) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% What the caller is sent.
-spec message(py_remote:form(), reference(), term()) ->
    {py_response | async_result, reference(), term()} | {py_remote:tag(), term()}.
message({part, Tag}, _Ref, Result) -> {Tag, Result};
message(spawn, Ref, Result) -> {py_response, Ref, Result};
message(task, Ref, Result) -> {async_result, Ref, Result}.

%% Called by other nodes: a context for a pool there. What is stuck here counts here.
-spec start_context(pos_integer(), py_context_process:options()) -> {ok, pid()} | {error, term()}.
start_context(?VERSION, Options) ->
    case py_nif:counters() of
        {error, not_running} = Error ->
            Error;
        {_Threads, _Spares, Stuck, _SetAside} ->
            case Stuck =< py_config:get(max_stuck) of
                true -> py_context_sup:start_context(Options);
                false -> {error, {context_died, stuck}}
            end
    end;
start_context(Version, _Options) ->
    {error, {remote_protocol, #{node => node(), here => Version, there => ?VERSION}}}.

-spec init([]) -> {ok, []}.
init([]) ->
    process_flag(trap_exit, true),
    ?MODULE = ets:new(?MODULE, [named_table, public, {write_concurrency, true}]),
    {ok, []}.

-spec handle_call(term(), gen_server:from(), []) -> {reply, {error, unexpected_call}, []}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast({watch, Proxy}, State) ->
    _ = erlang:monitor(process, Proxy),
    {noreply, State};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), []) -> {noreply, []}.
handle_info({py_remote, connect, ?VERSION, Ref, Proxy, Caller}, State) ->
    case py_remote_sup:start_session({Proxy, Ref, Caller}) of
        {ok, _} -> ok;
        {error, Reason} -> refuse(Proxy, Ref, Reason)
    end,
    {noreply, State};
handle_info({py_remote, connect, _Version, Ref, Proxy, _Details}, State) ->
    refuse(Proxy, Ref, {version, ?VERSION}),
    {noreply, State};
handle_info({'DOWN', _Monitor, process, Proxy, Reason}, State) ->
    ok = answer(Proxy, {context_died, Reason}),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% The proxies have ended by now. What one was sent at its very end it has not seen.
-spec terminate(term(), []) -> ok.
terminate(_Reason, []) ->
    answer('_', not_running).

%% All requests of a proxy.
answer(Proxy, Reason) ->
    Rows = ets:select(?MODULE, [{{'$1', '_', Proxy, '$2'}, [], [{{'$1', '$2'}}]}]),
    _ = [Ref ! message(Form, Ref, {error, Reason}) || {Ref, Form} <- Rows, ets:take(?MODULE, Ref) =/= []],
    ok.

%% Sending to another node may have to wait.
refuse(Proxy, Ref, Reason) ->
    _ = erlang:spawn(fun() -> Proxy ! {py_remote, refused, Ref, Reason} end),
    ok.
