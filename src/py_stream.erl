-module(py_stream).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% The process of one stream. The native side sends items straight to an owner on this node; this process sees
%% to the beginning and the end, for which it watches the owner, and is the one whose death ends the code.
%%
%%   owner here, context here:   thread ──items──▶ owner           (direct)
%%   owner elsewhere:            thread ──items──▶ this process ══▶ owner
%%   context elsewhere:          such a process there ══▶ this process ──▶ owner

-export([start/3, demand/2, cancel/1, start_link/1, run/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([source/0, options/0]).

-type source() ::
    {here, py_nif:target(), py_nif:payload(), Parent :: py_nif:callback() | none}
    %% The other node is asked by whoever starts the stream.
    | {there, py_nif:target()}.
-type options() :: #{
    owner := pid(),
    demand := non_neg_integer() | infinity,
    timeout := timeout(),
    atom() => term()
}.

-record(state, {
    ref :: reference(),
    owner :: pid(),
    watched :: reference(),
    %% The request; a process on the context's node, and what it has not been told yet.
    source :: none | {request, py_nif:request()} | {remote, pid()} | {starting, pid()},
    %% What the owner wants of a stream whose items pass through here, and the request was not asked for yet; how many it
    %% was asked for and has not sent.
    wanted = 0 :: non_neg_integer() | infinity,
    asked = 0 :: non_neg_integer() | direct
}).

%% So many items may be on their way through this process.
-define(WINDOW, 128).

?DOC(false).
-spec start(py_nif:payload(), {context, pid()} | {pool, atom()}, options()) -> {ok, reference()} | {error, term()}.
start(Asked, At, Options) ->
    Payload = py_trace:carried(Asked),
    Ref = make_ref(),
    Start = fun(Target) -> started(Target, Payload, Ref, Options) end,
    Started =
        case At of
            {context, Context} -> Start(Context);
            {pool, Pool} -> py_call:on_bound(Pool, Start, infinity)
        end,
    case Started of
        {ok, _Process} -> {ok, Ref};
        {error, _} = Error -> Error
    end.

started(Target, Payload, Ref, #{demand := Demand} = Options) when node(Target) =/= node() ->
    case py_streams:start(asked(Ref, {there, Target}, Options)) of
        {ok, Process} ->
            There = #{ref => Ref, owner => Process, demand => Demand, timeout => infinity},
            case py_remote:stream(Target, Payload, There) of
                {ok, Remote} ->
                    Process ! {?MODULE, remote, Remote},
                    {ok, Process};
                {error, _} = Error ->
                    Process ! {?MODULE, refused},
                    Error
            end;
        {error, _} = Error ->
            Error
    end;
started(Target, Payload, Ref, Options) ->
    py_streams:start(asked(Ref, {here, Target, Payload, py_callback_runner:current()}, Options)).

asked(Ref, Source, Options) ->
    (maps:with([owner, demand, timeout], Options))#{
        ref => Ref,
        starter => self(),
        leader => group_leader(),
        metadata => logger:get_process_metadata(),
        source => Source
    }.

?DOC(false).
%% Of a stream that has ended nothing more comes, whatever is wanted.
-spec demand(reference(), pos_integer() | infinity) -> ok.
demand(Ref, More) when node(Ref) =/= node() ->
    gen_server:cast({py_streams, node(Ref)}, {demand, Ref, More});
demand(Ref, More) ->
    case py_streams:find(Ref) of
        {Process, none} ->
            Process ! {?MODULE, demand, More},
            ok;
        {_Process, Request} ->
            _ = py_nif:stream_demand(Request, More),
            ok;
        none ->
            ok
    end.

?DOC(false).
-spec cancel(reference()) -> ok.
cancel(Ref) when node(Ref) =/= node() ->
    gen_server:cast({py_streams, node(Ref)}, {cancel, Ref});
cancel(Ref) ->
    case py_streams:find(Ref) of
        {Process, _} ->
            Process ! {?MODULE, cancel},
            ok;
        none ->
            ok
    end.

?DOC(false).
%% Nobody waits for it to begin: it answers whoever has asked.
-spec start_link(py_streams:asked()) -> pid().
start_link(Asked) ->
    proc_lib:spawn_link(?MODULE, run, [Asked]).

?DOC(false).
-spec run(py_streams:asked()) -> no_return() | ok.
run(#{ref := Ref, owner := Owner, timeout := Timeout, leader := Leader, metadata := Metadata} = Asked) ->
    process_flag(trap_exit, true),
    true = group_leader(Leader, self()),
    _ = Metadata =/= undefined andalso logger:set_process_metadata(Metadata),
    ok = py_streams:begun(Ref, Owner),
    Watched = erlang:monitor(process, Owner),
    State = #state{ref = Ref, owner = Owner, watched = Watched, source = none},
    case submitted(Asked, State) of
        {ok, Submitted} ->
            _ = Timeout =/= infinity andalso erlang:start_timer(Timeout, self(), limit),
            ok = py_streams:answer(Ref, {ok, self()}),
            gen_server:enter_loop(?MODULE, [], Submitted);
        {error, _} = Error ->
            ok = py_streams:forget(Ref),
            py_streams:answer(Ref, Error)
    end.

submitted(#{source := {there, _}, starter := Starter}, State) ->
    %% Whoever starts it says where it runs, unless that process dies before.
    _ = erlang:monitor(process, Starter),
    {ok, State#state{source = {starting, Starter}}};
submitted(#{source := {here, Target, Source, Parent}, starter := Starter, demand := Demand}, State) ->
    #state{ref = Ref, owner = Owner} = State,
    case node(Owner) =:= node() of
        true ->
            Payload = streamed(Source, Owner, Ref, Demand),
            requested(py_nif:spawn(Target, Payload, Starter, Parent), State#state{asked = direct});
        false ->
            Payload = streamed(Source, self(), Ref, 0),
            requested(py_nif:spawn(Target, Payload, Starter, Parent), State#state{wanted = Demand})
    end.

%% What it is a part of is so of the whole stream.
streamed({traced, Trace, Source}, Owner, Ref, Demand) -> {traced, Trace, streamed(Source, Owner, Ref, Demand)};
streamed(Source, Owner, Ref, Demand) -> {stream, Source, Owner, Ref, Demand}.

requested({error, _} = Error, _State) ->
    Error;
requested(Request, #state{ref = Ref, asked = Asked} = State) ->
    ok = py_streams:submitted(Ref, Request, Asked =:= direct),
    {ok, asked_for(State#state{source = {request, Request}})}.

-spec init(term()) -> ignore.
init(_) ->
    ignore.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({py_stream, Ref, {data, _}} = Item, #state{ref = Ref, owner = Owner} = State) ->
    Owner ! Item,
    {noreply, passed(State)};
handle_info({py_stream, Ref, End}, #state{ref = Ref} = State) ->
    over(End, State);
handle_info({py_response, Request, Result}, #state{source = {request, Request}} = State) ->
    over(outcome(Result), State);
handle_info({?MODULE, demand, More}, State) ->
    {noreply, wanted(More, State)};
handle_info({?MODULE, cancel}, State) ->
    over({error, <<"cancelled">>}, withdrawn(State));
handle_info({timeout, _Timer, limit}, State) ->
    over({error, timeout}, withdrawn(State));
handle_info({?MODULE, remote, Remote}, #state{source = {starting, _}, wanted = Wanted} = State) ->
    %% What was wanted at first the other one knows.
    _ = erlang:monitor(process, Remote),
    {noreply, tell(Remote, Wanted, State#state{source = {remote, Remote}, wanted = 0})};
handle_info({?MODULE, refused}, #state{ref = Ref} = State) ->
    ok = py_streams:forget(Ref),
    {stop, normal, State};
handle_info({'DOWN', Watched, process, _, _}, #state{watched = Watched, ref = Ref} = State) ->
    ok = py_streams:forget(Ref),
    {stop, normal, withdrawn(State)};
handle_info({'DOWN', _, process, Remote, Reason}, #state{source = {remote, Remote}} = State) ->
    over({error, {context_died, Reason}}, State);
handle_info({'DOWN', _, process, Starter, _}, #state{source = {starting, Starter}, ref = Ref} = State) ->
    ok = py_streams:forget(Ref),
    {stop, normal, State};
handle_info(_Message, State) ->
    {noreply, State}.

outcome({error, _} = Error) -> Error;
outcome(_Nothing) -> done.

over(End, #state{ref = Ref} = State) ->
    ok = ended(Ref, End, State),
    {stop, normal, State}.

%% The one by whom it was started has ended.
-spec terminate(term(), #state{}) -> ok.
terminate(normal, _State) ->
    ok;
terminate(_Reason, #state{ref = Ref} = State) ->
    ended(Ref, {error, not_running}, withdrawn(State)).

ended(Ref, End, #state{owner = Owner, source = Source}) ->
    case {py_streams:ended(Ref, End), Source} of
        {ok, _} -> ok;
        {gone, {request, Request}} -> py_streams:tell(Ref, Owner, Request, End);
        {gone, _} -> py_streams:tell(Ref, Owner, none, End)
    end.

%% First nothing is sent any more, then the code is ended.
withdrawn(#state{source = {request, Request}} = State) ->
    _ = py_nif:stream_end(Request),
    _ = py_nif:cancel(Request),
    State;
withdrawn(#state{source = {remote, Remote}} = State) ->
    Remote ! {?MODULE, cancel},
    State;
withdrawn(State) ->
    State.

%% ------------------------------------------------------------------------------------------------
%% Demand

wanted(More, #state{source = {request, Request}, asked = direct} = State) ->
    _ = py_nif:stream_demand(Request, More),
    State;
wanted(More, #state{source = {request, _}, wanted = Wanted} = State) ->
    asked_for(State#state{wanted = sum(Wanted, More)});
wanted(More, #state{source = {remote, Remote}} = State) ->
    tell(Remote, More, State);
wanted(More, #state{source = {starting, _}, wanted = Wanted} = State) ->
    State#state{wanted = sum(Wanted, More)}.

sum(infinity, _) -> infinity;
sum(_, infinity) -> infinity;
sum(Wanted, More) -> Wanted + More.

tell(_Remote, 0, State) ->
    State;
tell(Remote, More, State) ->
    Remote ! {?MODULE, demand, More},
    State.

%% Sending to another node may take long; so much is on its way here meanwhile, and no more.
passed(#state{asked = Asked} = State) when is_integer(Asked), Asked > 0 -> asked_for(State#state{asked = Asked - 1});
passed(State) -> State.

asked_for(#state{source = {request, Request}, asked = Asked, wanted = Wanted} = State) when
    is_integer(Asked), Asked =< ?WINDOW div 2, Wanted =/= 0
->
    More = min(?WINDOW - Asked, Wanted),
    _ = py_nif:stream_demand(Request, More),
    State#state{asked = Asked + More, wanted = less(Wanted, More)};
asked_for(State) ->
    State.

less(infinity, _) -> infinity;
less(Wanted, Asked) -> Wanted - Asked.
