-module(py_relay).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Sends a context's messages to other nodes, in their order. A connection that is slow, busy or not there yet makes
%% this process wait, and neither the context nor its thread, which goes by what it hears of this one: so many
%% messages were sent on.
%%
%%   {relay, To, Term}            from the context
%%   {py_relay, Relay, Count}     to the context

-export([start_link/1, send/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-type destination() :: pid() | {Name :: atom(), node()}.
-export_type([destination/0]).

-record(state, {
    context :: pid(),
    %% Not reported yet.
    sent = 0 :: non_neg_integer()
}).

%% Reported together, unless there is nothing left to do.
-define(BATCH, 64).

-spec start_link(Context :: pid()) -> gen_server:start_ret().
start_link(Context) ->
    gen_server:start_link(?MODULE, Context, []).

-spec send(pid(), destination(), term()) -> ok.
send(Relay, To, Term) ->
    Relay ! {relay, To, Term},
    ok.

-spec init(pid()) -> {ok, #state{}}.
init(Context) ->
    %% So that what came before is sent when the supervisor wants an end.
    process_flag(trap_exit, true),
    _ = erlang:monitor(process, Context),
    {ok, #state{context = Context}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}, 0}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State, 0}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}, 0}.
handle_cast(_Message, State) ->
    {noreply, State, 0}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, 0} | {stop, normal, #state{}}.
handle_info({relay, To, Term}, #state{sent = Sent} = State) ->
    _ = erlang:send(To, Term),
    case Sent + 1 of
        ?BATCH -> {noreply, reported(State#state{sent = ?BATCH})};
        More -> {noreply, State#state{sent = More}, 0}
    end;
handle_info(timeout, State) ->
    {noreply, reported(State)};
handle_info({'DOWN', _Monitor, process, Context, _Reason}, #state{context = Context} = State) ->
    {stop, normal, State};
handle_info(_Message, State) ->
    {noreply, State, 0}.

reported(#state{sent = 0} = State) ->
    State;
reported(#state{context = Context, sent = Sent} = State) ->
    Context ! {py_relay, self(), Sent},
    State#state{sent = 0}.
