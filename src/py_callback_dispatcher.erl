-module(py_callback_dispatcher).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Where the native side asks for functions that no process waits for, and the supervisor of the processes that run
%% them. One of OTP's would have every function wait for a second process first, which takes as long as the
%% rest of the call; and it would not know to whom the death of a child has to be told.

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-type running() :: #{pid() => {py_callback_process:kind(), py_nif:callback(), py_callback_runner:called()}}.

%% Until an idle process lets go of what it has handed on.
-define(IDLE, 1_000).
%% How long a process may take to end before it is killed.
-define(SHUTDOWN, 5_000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], [{hibernate_after, ?IDLE}]).

-spec init([]) -> {ok, running()} | {stop, not_running}.
init([]) ->
    process_flag(trap_exit, true),
    case py_nif:callbacks_open() of
        ok -> {ok, #{}};
        {error, Reason} -> {stop, Reason}
    end.

%% What supervisors are asked.
-spec handle_call(term(), gen_server:from(), running()) -> {reply, term(), running()}.
handle_call(which_children, _From, Running) ->
    {reply, [{undefined, Pid, worker, [py_callback_process]} || Pid <- maps:keys(Running)], Running};
handle_call(count_children, _From, Running) ->
    Count = map_size(Running),
    {reply, [{specs, 1}, {active, Count}, {supervisors, 0}, {workers, Count}], Running};
handle_call(_Request, _From, Running) ->
    {reply, {error, unexpected_call}, Running}.

-spec handle_cast(term(), running()) -> {noreply, running()}.
handle_cast(_Message, Running) ->
    {noreply, Running}.

-spec handle_info(term(), running()) -> {noreply, running()}.
handle_info({py_callback, Callback, Function, Args}, Running) ->
    {noreply, started(callback, Callback, Function, Args, Running)};
handle_info({py_tail, Callback, Function, Args}, Running) ->
    {noreply, started(tail, Callback, Function, Args, Running)};
handle_info({'EXIT', Pid, Reason}, Running) ->
    {noreply, ended(Pid, Reason, Running)};
handle_info(_Message, Running) ->
    {noreply, Running}.

started(Kind, Callback, Function, Args, Running) ->
    Pid = py_callback_process:start_link(Kind, Callback, Function, Args),
    Running#{Pid => {Kind, Callback, Function}}.

ended(Pid, Reason, Running) ->
    case maps:take(Pid, Running) of
        {{Kind, Callback, Function}, Rest} ->
            ok = py_callback_process:died(Kind, Callback, Function, Reason),
            Rest;
        %% Of a process that linked itself.
        error ->
            Running
    end.

-spec terminate(term(), running()) -> ok.
terminate(_Reason, Running) ->
    _ = [exit(Pid, shutdown) || Pid <- maps:keys(Running)],
    all_ended(Running, erlang:start_timer(?SHUTDOWN, self(), shutdown)).

all_ended(Running, _Timer) when map_size(Running) =:= 0 ->
    ok;
all_ended(Running, Timer) ->
    receive
        {'EXIT', Pid, Reason} ->
            all_ended(ended(Pid, Reason, Running), Timer);
        {timeout, Timer, shutdown} ->
            _ = [exit(Pid, kill) || Pid <- maps:keys(Running)],
            all_ended(Running, none)
    end.
