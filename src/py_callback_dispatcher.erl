-module(py_callback_dispatcher).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Where the native side asks for functions that no process waits for. Each gets a process of its own; this one does
%% nothing that could take time.

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, []} | {stop, not_running}.
init([]) ->
    case py_nif:callbacks_open() of
        ok -> {ok, []};
        {error, Reason} -> {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), []) -> {reply, {error, unexpected_call}, []}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), []) -> {noreply, []}.
handle_info({py_callback, Callback, Function, Args}, State) ->
    case py_callback_sup:start_process(callback, Callback, Function, Args) of
        ok -> ok;
        {error, Reason} -> told(py_nif:callback_answer(Callback, none, raised(Reason)))
    end,
    {noreply, State};
handle_info({py_tail, Callback, Function, Args}, State) ->
    case py_callback_sup:start_process(tail, Callback, Function, Args) of
        ok -> ok;
        {error, Reason} -> told(py_nif:callback_finish(Callback, {error, {exit, Reason}}))
    end,
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% It does not matter whether anybody still waits.
told(_Outcome) -> ok.

%% As if the process had been there and had died.
raised(Reason) ->
    {raised, exit, Reason, <<"exit: ", (atom_to_binary(Reason))/binary>>, [], none}.
