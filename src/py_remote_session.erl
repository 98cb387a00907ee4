-module(py_remote_session).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% A process of another node, for the contexts of this one. It submits as itself, so the caller's namespaces are
%% its own, and its end does natively what the caller's end would do: it interrupts what runs, drops what is
%% queued, and removes the namespaces. It never waits for an answer, so what it is sent keeps its order.

-export([start_link/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([peer/0, submission/0, stream/0]).

-type peer() :: {Proxy :: pid(), Ref :: reference(), Caller :: pid()}.
-type stream() :: #{
    ref := reference(),
    owner := pid(),
    demand := non_neg_integer() | infinity,
    timeout := infinity
}.
-type submission() ::
    {call | cast | task | task_cast, py_nif:target(), py_nif:payload(), py_nif:scope()}
    | {stream, py_nif:target(), py_nif:payload(), stream()}
    | {ask, py_nif:target(), context_info | context_memory | interrupt | environment | own_environment}.

%% Environments of one context, which is monitored.
-record(given, {
    own = none :: py_nif:environment() | none,
    others = [] :: [py_nif:environment()]
}).

-record(state, {
    proxy :: pid(),
    caller :: pid(),
    requests = #{} :: #{reference() => py_nif:request()},
    %% Tasks are answered with the native reference.
    tasks = #{} :: #{py_nif:request() => reference()},
    %% A reference on another node keeps nothing alive; what the caller was given lives as long as it does, or until
    %% the context ends.
    given = #{} :: #{Context :: pid() => #given{}}
}).

-spec start_link(peer()) -> gen_server:start_ret().
start_link(Peer) ->
    gen_server:start_link(?MODULE, Peer, []).

-spec init(peer()) -> {ok, #state{}, {continue, {greet, reference()}}}.
init({Proxy, Ref, Caller}) ->
    process_flag(trap_exit, true),
    {ok, #state{proxy = Proxy, caller = Caller}, {continue, {greet, Ref}}}.

%% Anything sent to another node may have to wait, which whoever starts this process must not.
-spec handle_continue({greet, reference()}, #state{}) -> {noreply, #state{}}.
handle_continue({greet, Ref}, #state{proxy = Proxy, caller = Caller} = State) ->
    _ = erlang:monitor(process, Proxy),
    _ = erlang:monitor(process, Caller),
    %% What Python code logs is logged for the caller.
    ok = logger:set_process_metadata(#{pid => Caller}),
    Proxy ! {py_remote, session, Ref, self()},
    {noreply, State}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({Ref, {call, Context, Payload, Scope}}, State) ->
    %% This process waits for nothing, so it runs no functions for the code either.
    case py_nif:forward(Context, Ref, Payload, Scope) of
        {error, Reason} ->
            {noreply, answer({Ref, {refused, Reason}}, State)};
        Request ->
            {noreply, State#state{requests = maps:put(Ref, Request, State#state.requests)}}
    end;
handle_info({Ref, {task, Context, Payload, Scope}}, #state{requests = Requests, tasks = Tasks} = State) ->
    case py_nif:task(Context, Payload, Scope, none) of
        {error, Reason} ->
            {noreply, answer({Ref, {refused, Reason}}, State)};
        Request ->
            {noreply, State#state{requests = Requests#{Ref => Request}, tasks = Tasks#{Request => Ref}}}
    end;
handle_info({async_result, Request, Result}, #state{requests = Requests, tasks = Tasks} = State) when
    is_map_key(Request, Tasks)
->
    {Ref, Others} = maps:take(Request, Tasks),
    {noreply, answer({Ref, Result}, State#state{requests = maps:remove(Ref, Requests), tasks = Others})};
handle_info({Ref, {stream, Context, Payload, Stream}}, #state{proxy = Proxy} = State) ->
    %% It lives as long as its owner does. What it answers is for the proxy.
    Source = {here, Context, Payload, none},
    ok = py_streams:start_for(Proxy, Ref, Stream#{
        starter => self(),
        leader => group_leader(),
        metadata => logger:get_process_metadata(),
        source => Source
    }),
    {noreply, State};
handle_info({Ref, {ask, Context, Function}}, State) ->
    {Answer, Kept} = ask(Function, Context, State),
    {noreply, answer({Ref, Answer}, Kept)};
handle_info({cast, Context, Payload, Scope}, State) ->
    %% As with gen_server:cast, it does not matter whether anybody is there.
    _ = py_nif:cast(Context, Payload, Scope),
    {noreply, State};
handle_info({task_cast, Context, Payload, Scope}, State) ->
    _ = py_nif:task_cast(Context, Payload, Scope),
    {noreply, State};
handle_info({cancel, Ref}, State) ->
    case maps:take(Ref, State#state.requests) of
        {Request, Requests} ->
            _ = py_nif:cancel(Request),
            {noreply, State#state{requests = Requests, tasks = maps:remove(Request, State#state.tasks)}};
        error ->
            {noreply, State}
    end;
handle_info({leader, Leader}, State) ->
    %% What Python code prints for the caller goes where it would print itself.
    true = group_leader(Leader, self()),
    {noreply, State};
handle_info(close, State) ->
    {stop, normal, State};
handle_info({'DOWN', _Monitor, process, Context, _Reason}, #state{given = Given} = State) when
    is_map_key(Context, Given)
->
    {noreply, State#state{given = maps:remove(Context, Given)}};
handle_info({'DOWN', _Monitor, process, _ProxyOrCaller, _Reason}, State) ->
    {stop, normal, State};
handle_info(Answer, #state{requests = Requests} = State) when is_map_key(element(1, Answer), Requests) ->
    {noreply, answer(told(Answer), State#state{requests = maps:remove(element(1, Answer), Requests)})};
handle_info(_Message, State) ->
    %% The answer to what was cancelled while it was being sent.
    {noreply, State}.

%% The files are here, and may be gone or others when somebody asks.
told({Ref, Result, Story}) -> {Ref, Result, py_error:with_lines(Story)};
told(Answer) -> Answer.

answer(Answer, #state{proxy = Proxy} = State) ->
    Proxy ! Answer,
    State.

ask(context_memory, Context, State) ->
    {py_nif:context_memory(Context), State};
ask(context_info, Context, State) ->
    {py_nif:context_info(Context), State};
ask(interrupt, Context, State) ->
    {py_nif:interrupt(Context), State};
ask(environment, Context, State) ->
    keep(py_nif:environment(Context), Context, State);
ask(own_environment, Context, #state{given = Given} = State) ->
    case Given of
        #{Context := #given{own = Environment}} when Environment =/= none -> {{ok, Environment}, State};
        _ -> keep_own(py_nif:own_environment(Context), Context, State)
    end.

keep({ok, Environment} = Answer, Context, State) ->
    #given{others = Others} = Kept = given(Context, State),
    {Answer, put_given(Context, Kept#given{others = [Environment | Others]}, State)};
keep({error, _} = Error, _Context, State) ->
    {Error, State}.

keep_own({ok, Environment} = Answer, Context, State) ->
    Kept = given(Context, State),
    {Answer, put_given(Context, Kept#given{own = Environment}, State)};
keep_own({error, _} = Error, _Context, State) ->
    {Error, State}.

%% Of a context that gives something for the first time the end is watched.
given(Context, #state{given = Given}) ->
    case Given of
        #{Context := Kept} ->
            Kept;
        _ ->
            _ = erlang:monitor(process, Context),
            #given{}
    end.

put_given(Context, Kept, #state{given = Given} = State) ->
    State#state{given = Given#{Context => Kept}}.
