-module(py_loop).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% What start_loop and stop_loop are about: somebody owns the loop of a context, and hears of its end.
%%
%%   starting ──▶ running ──▶ stopping ──▶ ended
%%
%% The context knows this process while the loop is there, and hands it those that wait for an answer. So nobody is
%% answered about the end before the context has been told and lets this process go:
%%
%%   {stop, From, Grace}           from the context
%%   {py_loop, Loop, ended}        to the context
%%   released                      from the context, the last message
%%
%% The process is not part of the context, so that the owner hears of a context that is killed, too.

-export([start/4, stop/3, release/1, start_link/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([settings/0]).

-type settings() :: #{
    context := pid(),
    handle := py_nif:handle(),
    owner := pid(),
    %% Who waits for the start.
    from := gen_server:from()
}.

-record(state, {
    context :: pid(),
    handle :: py_nif:handle(),
    owner :: pid(),
    %% The request is the first task, or the one that ends the loop.
    phase ::
        {starting, py_nif:request() | none, Timer :: reference(), gen_server:from()}
        | running
        | {stopping, py_nif:request() | none, Timer :: reference() | none}
        | {ended, Result :: term()},
    %% Somebody wants it to end, and has so much patience, in milliseconds.
    grace = none :: non_neg_integer() | none,
    interrupted = false :: boolean(),
    %% The owner has ended.
    orphan = false :: boolean(),
    stoppers = [] :: [gen_server:from()]
}).

-define(GRACE, 5_000).
%% For a loop whose time is over to close what is left, before its thread is interrupted.
-define(CLOSE, 500).
%% For an interrupted thread to come to its senses, before those who wait are told that it does not.
-define(INTERRUPTED, 2_000).
%% Before a request that was refused is made again.
-define(AGAIN, 1_000).

-spec start(pid(), py_nif:handle(), Owner :: pid(), gen_server:from()) -> {ok, pid()} | {error, not_running}.
start(Context, Handle, Owner, From) ->
    py_loop_sup:start_loop(#{context => Context, handle => Handle, owner => Owner, from => From}).

-spec stop(pid(), gen_server:from(), non_neg_integer()) -> ok.
stop(Loop, From, Grace) ->
    gen_server:cast(Loop, {stop, From, Grace}).

-spec release(pid()) -> ok.
release(Loop) ->
    gen_server:cast(Loop, released).

-spec start_link(settings()) -> gen_server:start_ret().
start_link(Settings) ->
    gen_server:start_link(?MODULE, Settings, []).

-spec init(settings()) -> {ok, #state{}, {continue, start}}.
init(#{context := Context, handle := Handle, owner := Owner, from := From}) ->
    process_flag(trap_exit, true),
    _ = erlang:monitor(process, Context),
    _ = erlang:monitor(process, Owner),
    Timer = erlang:start_timer(py_config:get(context_start_timeout), self(), start),
    {ok, #state{context = Context, handle = Handle, owner = Owner, phase = {starting, none, Timer, From}},
        {continue, start}}.

%% The first task makes the loop.
-spec handle_continue(start, #state{}) -> {noreply, #state{}}.
handle_continue(start, #state{phase = {starting, none, Timer, From}} = State) ->
    case py_nif:task(State#state.handle, {call, builtins, bool, [], #{}}, own, none) of
        {error, _} = Error -> {noreply, not_started(Error, State)};
        Task -> {noreply, State#state{phase = {starting, Task, Timer, From}}}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_cast({stop, From, _Grace}, #state{phase = {ended, _}} = State) ->
    gen_server:reply(From, {error, no_loop}),
    {noreply, State};
handle_cast({stop, From, Grace}, #state{stoppers = Stoppers} = State) ->
    {noreply, wanted(Grace, State#state{stoppers = [From | Stoppers]})};
handle_cast(released, #state{phase = {ended, Result}} = State) ->
    answer_stoppers(ok, State),
    told(Result, State),
    {stop, normal, State};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({async_result, Task, Result}, #state{phase = {starting, Task, Timer, From}} = State) ->
    _ = erlang:cancel_timer(Timer),
    case Result of
        {ok, _} ->
            gen_server:reply(From, ok),
            {noreply, stop_if_wanted(State#state{phase = running})};
        {error, _} = Error ->
            {noreply, not_started(Error, State)}
    end;
handle_info({timeout, Timer, start}, #state{phase = {starting, Task, Timer, _From}} = State) ->
    case py_nif:cancel(Task) of
        cancelled -> {noreply, not_started({error, loop_start_timeout}, State)};
        %% The answer has come this very moment.
        _ -> {noreply, State}
    end;
handle_info({py_response, Request, Result}, #state{phase = {stopping, Request, _}} = State) ->
    {noreply, ended(result(Result, State), State)};
handle_info({timeout, Timer, What}, #state{phase = {stopping, _, Timer}} = State) ->
    {noreply, overdue(What, State)};
handle_info({'DOWN', _Monitor, process, Context, Reason}, #state{context = Context} = State) ->
    gone(Reason, State),
    {stop, normal, State};
handle_info({'DOWN', _Monitor, process, Owner, _Reason}, #state{owner = Owner} = State) ->
    {noreply, wanted(?GRACE, State#state{orphan = true})};
handle_info(_Message, State) ->
    {noreply, State}.

%% The application stops, and has ended the context just before.
-spec terminate(term(), #state{}) -> ok.
terminate(shutdown, #state{context = Context} = State) ->
    case is_process_alive(Context) of
        true -> ok;
        false -> receive {'DOWN', _Monitor, process, Context, Reason} -> gone(Reason, State) end
    end;
terminate(_Reason, _State) ->
    ok.

%% ------------------------------------------------------------------------------------------------
%% The start

not_started(Error, #state{phase = {starting, _, Timer, From}} = State) ->
    _ = erlang:cancel_timer(Timer),
    gen_server:reply(From, Error),
    answer_stoppers({error, no_loop}, State),
    ended(none, State#state{stoppers = []}).

%% ------------------------------------------------------------------------------------------------
%% The end

%% Whoever wants it first says how long it may take.
wanted(Grace, #state{grace = none} = State) -> stop_if_wanted(State#state{grace = Grace});
wanted(_Grace, State) -> stop_if_wanted(State).

stop_if_wanted(#state{grace = Grace, phase = running} = State) when is_integer(Grace) -> stop_loop(State);
stop_if_wanted(State) -> State.

stop_loop(#state{grace = Grace, handle = Handle} = State) ->
    Payload = {call, <<"erlang._tasks">>, <<"stop_loop">>, [Grace / 1000], #{}},
    case py_nif:spawn(Handle, Payload, own, none) of
        {error, {context_died, _}} ->
            %% Its end is about to be heard of.
            State#state{phase = {stopping, none, none}};
        {error, _} = Refused ->
            answer_stoppers(Refused, State),
            refused(State#state{stoppers = []});
        Request ->
            Timer = erlang:start_timer(Grace + ?CLOSE, self(), interrupt),
            State#state{phase = {stopping, Request, Timer}}
    end.

%% Those who wanted its end may ask again; a dead owner does not.
refused(#state{orphan = false} = State) ->
    State#state{phase = running, grace = none};
refused(State) ->
    State#state{phase = {stopping, none, erlang:start_timer(?AGAIN, self(), again)}}.

overdue(again, State) ->
    stop_loop(State);
overdue(interrupt, #state{phase = {stopping, Request, _}} = State) ->
    _ = py_nif:interrupt(State#state.handle),
    Timer = erlang:start_timer(?INTERRUPTED, self(), give_up),
    State#state{phase = {stopping, Request, Timer}, interrupted = true};
overdue(give_up, State) ->
    answer_stoppers({error, timeout}, State),
    State#state{stoppers = []}.

result(_, #state{interrupted = true}) -> {error, interrupted};
result({ok, _}, _State) -> {ok, <<"stopped">>};
result({error, _} = Error, _State) -> Error.

ended(Result, #state{context = Context} = State) ->
    Context ! {?MODULE, self(), ended},
    State#state{phase = {ended, Result}}.

%% Those who wait for an answer of the context hear of its end themselves.
gone(_Reason, #state{phase = {starting, _, _, _}}) -> ok;
gone(_Reason, #state{phase = {ended, Result}} = State) -> told(Result, State);
gone(Reason, State) -> told(exit_result(Reason), State).

%% What runs when a context is stopped is interrupted.
exit_result(Reason) when Reason =:= normal; Reason =:= shutdown -> {error, interrupted};
exit_result({shutdown, Reason}) -> {error, {context_died, Reason}};
exit_result(Reason) -> {error, {context_died, Reason}}.

told(none, _State) ->
    ok;
told(Result, #state{owner = Owner, context = Context}) ->
    Owner ! {py_loop_exit, Context, Result},
    ok.

answer_stoppers(Answer, #state{stoppers = Stoppers}) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Stoppers).
