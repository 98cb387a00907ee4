-module(py_output).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Hands on what the code of a context prints and logs. For each group leader, and for the logger, there is a writer,
%% so that none of them makes the others wait, nor the context.
%%
%%   {output, Request, Client, stdout | stderr, Text, Size}    by way of the context's process
%%   {log, Request, Client, Record, Size}
%%   {output_dropped, Bytes}           so much did not even come: there was no room for too long
%%   {py_output_gone, Writer}          from a writer whose group leader has ended

-export([start_link/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, report/1]).
-export_type([destination/0, message/0]).

-include_lib("kernel/include/logger.hrl").

-type destination() :: group_leader | logger | discard | process.
-type message() ::
    {output, non_neg_integer(), pid() | none, stdout | stderr, binary(), non_neg_integer()}
    | {log, non_neg_integer(), pid() | none, tuple(), non_neg_integer()}.

-record(state, {
    context :: pid(),
    handle :: py_nif:handle(),
    id :: term(),
    to :: destination(),
    %% The context's own group leader.
    leader :: pid(),
    writers = #{} :: #{pid() | logger => pid()},
    %% Whose output came last, and where it went.
    last = none :: {Request :: pos_integer(), pid()} | none,
    %% How often something was lost.
    losses = 0 :: non_neg_integer(),
    context_ended = false :: boolean()
}).

%% Until an idle process lets go of what it has handed on.
-define(IDLE, 1_000).
%% How long writers may take to end with the application, in milliseconds; the supervisor gives 5 seconds.
-define(SHUTDOWN, 4_000).

-spec start_link(pid(), py_nif:handle(), term(), destination()) -> gen_server:start_ret().
start_link(Context, Handle, Id, To) ->
    gen_server:start_link(?MODULE, {Context, Handle, Id, To}, [{hibernate_after, ?IDLE}]).

-spec init({pid(), py_nif:handle(), term(), destination()}) -> {ok, #state{}}.
init({Context, Handle, Id, To}) ->
    process_flag(trap_exit, true),
    _ = erlang:monitor(process, Context),
    {ok, #state{context = Context, handle = Handle, id = Id, to = To, leader = leader_of(Context, group_leader())}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({output, _, _, _, _, _} = Output, #state{to = logger} = State) ->
    {noreply, hand_on(logger, Output, State)};
handle_info({output, Request, Client, _Stream, _Text, _Size} = Output, State) ->
    {Leader, Found} = leader(Request, Client, State),
    {noreply, hand_on(Leader, Output, Found)};
handle_info({log, _, _, _, _} = Record, State) ->
    {noreply, hand_on(logger, Record, State)};
handle_info({output_dropped, Bytes}, State) ->
    {noreply, lost(dropped, Bytes, State)};
handle_info({py_output_gone, Writer}, #state{writers = Writers} = State) ->
    %% Nothing is sent to it from here on, so that its end loses nothing.
    Writer ! stop,
    {noreply, State#state{writers = maps:filter(fun(_, Pid) -> Pid =/= Writer end, Writers), last = none}};
handle_info({py_output_lost, Leader, Bytes}, State) ->
    {noreply, lost(Leader, Bytes, State)};
handle_info({'DOWN', _Monitor, process, Context, _Reason}, #state{context = Context} = State) ->
    ended(State#state{context_ended = true});
handle_info({'EXIT', _Writer, normal}, State) ->
    ended(State);
handle_info({'EXIT', _WriterOrParent, Reason}, State) ->
    %% What a writer had is lost; the context's process sees to those who wait for it.
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% After the context: what it has left behind is still written.
ended(#state{context_ended = false} = State) ->
    {noreply, State};
ended(#state{writers = Writers} = State) ->
    maps:foreach(fun(_, Writer) -> Writer ! stop end, Writers),
    case process_info(self(), links) of
        {links, Links} when length(Links) > 1 -> {noreply, State#state{writers = #{}}};
        _OnlyTheSupervisor -> {stop, normal, State}
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{writers = Writers}) ->
    maps:foreach(fun(_, Writer) -> Writer ! stop end, Writers),
    all_ended(maps:values(Writers), erlang:start_timer(?SHUTDOWN, self(), shutdown)).

all_ended([], _Timer) ->
    ok;
all_ended(Writers, Timer) ->
    receive
        {'EXIT', Writer, _Reason} -> all_ended(lists:delete(Writer, Writers), Timer);
        {py_output_gone, Writer} ->
            Writer ! stop,
            all_ended(Writers, Timer);
        {timeout, Timer, shutdown} -> ok
    end.

%% ------------------------------------------------------------------------------------------------
%% Where it goes

%% That of the calling process, as long as it lives; that of the context for all that nobody has called.
leader(Request, _Client, #state{last = {Request, Leader}} = State) ->
    {Leader, State};
leader(_Request, none, #state{leader = Leader} = State) ->
    {Leader, State};
leader(Request, Client, #state{leader = Own} = State) ->
    Leader = leader_of(Client, Own),
    {Leader, State#state{last = {Request, Leader}}}.

leader_of(Process, Default) ->
    case process_info(Process, group_leader) of
        {group_leader, Leader} -> Leader;
        undefined -> Default
    end.

hand_on(To, Message, #state{writers = Writers, handle = Handle} = State) ->
    case Writers of
        #{To := Writer} ->
            Writer ! Message,
            State;
        _ ->
            Writer = py_output_writer:start_link(To, Handle, State#state.context),
            Writer ! Message,
            State#state{writers = Writers#{To => Writer}}
    end.

%% ------------------------------------------------------------------------------------------------
%% What is lost

%% Logged the 1st, 2nd, 4th, 8th … time.
lost(Where, Bytes, #state{losses = Before} = State) ->
    Losses = Before + 1,
    case Losses band Before of
        0 ->
            ?LOG_WARNING(
                #{label => {?MODULE, lost}, context => State#state.id, bytes => Bytes, where => Where, count => Losses},
                #{report_cb => fun ?MODULE:report/1}
            );
        _ ->
            ok
    end,
    State#state{losses = Losses}.

?DOC(false).
-spec report(logger:report()) -> {io:format(), [term()]}.
report(#{context := Context, bytes := Bytes, where := Where, count := Count}) ->
    Why =
        case Where of
            dropped -> "what it had printed before was not taken for too long";
            _ -> io_lib:format("the group leader ~p did not take it", [Where])
        end,
    Times = [io_lib:format(" (that happened ~b times by now)", [Count]) || Count > 1],
    {"Python context ~p: ~b bytes of output are lost: ~ts~ts", [Context, Bytes, Why, Times]}.
