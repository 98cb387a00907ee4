-module(py_remote_proxy).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% A process of this node, on its way to the contexts of another node. It lives as long as that process;
%% sessions come and go with the connection. What is submitted before there is a session waits here, in order.

-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-type submission() :: py_remote_session:submission().

-record(state, {
    caller :: pid(),
    node :: node(),
    %% The monitor is of the session, or of the server that should make one.
    session = none :: none | {connecting, Monitor :: reference()} | {pid(), Monitor :: reference()},
    %% What waits for a session, the last first.
    waiting = [] :: [{request | cast, reference() | none, submission()}],
    %% What has no answer yet, and in which form it is wanted.
    unanswered = #{} :: #{reference() => request | py_remote:form()}
}).

-spec start_link(pid(), node()) -> gen_server:start_ret().
start_link(Caller, Node) ->
    gen_server:start_link(?MODULE, {Caller, Node}, []).

-spec init({pid(), node()}) -> {ok, #state{}}.
init({Caller, Node}) ->
    process_flag(trap_exit, true),
    ok = py_remote_server:watch(self()),
    _ = erlang:monitor(process, Caller),
    {ok, #state{caller = Caller, node = Node}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({Form, Ref, Submission}, State) when Form =:= request; Form =:= spawn; Form =:= task ->
    {noreply, request(Form, Ref, Submission, State)};
handle_info({{part, _Tag} = Form, Ref, Submission}, State) ->
    {noreply, request(Form, Ref, Submission, State)};
handle_info({cast, Submission}, State) ->
    {noreply, submit({cast, none, Submission}, State)};
handle_info({cancel, Ref}, State) ->
    {noreply, cancel(Ref, State)};
handle_info({py_remote, session, Ref, Session}, #state{session = {connecting, Ref}} = State) ->
    _ = erlang:demonitor(Ref, [flush]),
    Monitor = erlang:monitor(process, Session),
    _ = [Session ! {leader, Leader} || {group_leader, Leader} <- [process_info(State#state.caller, group_leader)]],
    Waiting = lists:reverse(State#state.waiting),
    Connected = State#state{session = {Session, Monitor}, waiting = []},
    {noreply, lists:foldl(fun submit/2, Connected, Waiting)};
handle_info({py_remote, session, _Ref, Session}, State) ->
    %% Of an attempt that was given up.
    Session ! close,
    {noreply, State};
handle_info({py_remote, refused, Ref, Reason}, #state{session = {connecting, Ref}} = State) ->
    _ = erlang:demonitor(Ref, [flush]),
    {noreply, disconnected({refused, refusal(Reason, State)}, State)};
handle_info({'DOWN', Ref, process, _, Reason}, #state{session = {connecting, Ref}} = State) ->
    {noreply, disconnected({refused, no_server(Reason)}, State)};
handle_info({'DOWN', Ref, process, _, Reason}, #state{session = {_, Ref}} = State) ->
    {noreply, disconnected({error, no_session(Reason)}, State)};
handle_info({'DOWN', _Monitor, process, Caller, _Reason}, #state{caller = Caller} = State) ->
    {stop, normal, State};
handle_info(Answer, State) when is_reference(element(1, Answer)) ->
    Ref = element(1, Answer),
    case maps:take(Ref, State#state.unanswered) of
        {Form, Unanswered} ->
            deliver(Form, Ref, Answer),
            {noreply, State#state{unanswered = Unanswered}};
        error ->
            %% It was cancelled meanwhile.
            {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    answer_all({error, not_running}, State).

request(Form, Ref, Submission, #state{unanswered = Unanswered} = State) ->
    submit({request, Ref, Submission}, State#state{unanswered = Unanswered#{Ref => Form}}).

submit(Submitted, #state{session = none, node = Node} = State) ->
    Server = {py_remote_server, Node},
    Ref = erlang:monitor(process, Server),
    _ = erlang:send(Server, {py_remote, connect, py_remote_server:version(), Ref, self(), State#state.caller}),
    submit(Submitted, State#state{session = {connecting, Ref}});
submit(Submitted, #state{session = {connecting, _}, waiting = Waiting} = State) ->
    State#state{waiting = [Submitted | Waiting]};
submit({cast, none, Submission}, #state{session = {Session, _}} = State) ->
    Session ! Submission,
    State;
submit({request, Ref, Submission}, #state{session = {Session, _}} = State) ->
    %% It may have been cancelled while it waited.
    _ = [Session ! {Ref, Submission} || is_map_key(Ref, State#state.unanswered)],
    State.

cancel(Ref, #state{unanswered = Unanswered, session = Session} = State) ->
    case {maps:take(Ref, Unanswered), Session} of
        {error, _} ->
            State;
        {{_, Rest}, {Pid, _}} when is_pid(Pid) ->
            Pid ! {cancel, Ref},
            State#state{unanswered = Rest};
        {{_, Rest}, _} ->
            Waiting = [Waits || {_, Of, _} = Waits <- State#state.waiting, Of =/= Ref],
            State#state{unanswered = Rest, waiting = Waiting}
    end.

disconnected(Answer, State) ->
    ok = answer_all(Answer, State),
    State#state{session = none, waiting = [], unanswered = #{}}.

answer_all(Answer, State) ->
    maps:foreach(fun(Ref, Form) -> deliver(Form, Ref, {Ref, Answer}) end, State#state.unanswered).

%% Through the alias: nothing arrives where nobody waits any more.
deliver(request, Ref, Answer) ->
    Ref ! Answer,
    ok;
deliver({part, Tag}, Ref, Answer) ->
    %% Its story goes along, and whether it was refused.
    ok = py_remote_server:answered(Ref),
    Ref ! setelement(1, Answer, Tag),
    ok;
deliver(Form, Ref, Answer) ->
    ok = py_remote_server:answered(Ref),
    Ref ! py_remote_server:message(Form, Ref, result(element(2, Answer))),
    ok.

result({refused, Reason}) -> {error, Reason};
result(Result) -> Result.

refusal({version, There}, #state{node = Node}) ->
    {remote_protocol, #{node => Node, here => py_remote_server:version(), there => There}};
refusal(Reason, _State) ->
    Reason.

no_server(noconnection) -> {context_died, noconnection};
no_server(_) -> not_running.

%% The sessions end when their application does, after the contexts.
no_session(shutdown) -> not_running;
no_session(Reason) -> {context_died, Reason}.
