-module(py_streams).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% The streams of this node: a process for each, and the table by which they are found:
%%
%%   {Ref, Process, Owner, Request | none, Direct :: boolean()}
%%   {{starting, Ref}, ReplyTo}                                      who is to be told that it has begun, or why not
%%
%% `Direct' says that the request itself can be asked for more. Whoever takes the row tells the owner of the end, so that
%% there is one: the process of the stream, or this one when that was killed. The same goes for the other kind of row. When
%% this process is killed, and the table with it, each stream ends, and tells its owner.

-export([start_link/0, start/1, start_for/3, find/1, begun/2, submitted/3, answer/2, ended/2, tell/4, forget/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([asked/0]).

-type ref() :: reference().
-type asked() :: #{
    ref := ref(),
    owner := pid(),
    %% In whose namespace the code runs, and who is asked to stay until it does.
    starter := pid(),
    %% Where the code prints, and what its log entries carry: what the starter has.
    leader := pid(),
    metadata := logger:metadata() | undefined,
    source := py_stream:source(),
    demand := non_neg_integer() | infinity,
    timeout := timeout()
}.
-type running() :: #{pid() => ref()}.
-type reply_to() :: {reply, gen_server:from()} | {send, pid(), reference()}.

-define(TABLE, ?MODULE).
%% How long a process may take to end before it is killed.
-define(SHUTDOWN, 5_000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

?DOC(false).
%% Answers when the stream was submitted, or refused.
-spec start(asked()) -> {ok, pid()} | {error, term()}.
start(Asked) ->
    try
        gen_server:call(?MODULE, {start, Asked}, infinity)
    catch
        exit:{_Reason, {gen_server, call, _}} -> {error, not_running}
    end.

?DOC(false).
%% The same; `{Ref, {ok, Process} | {refused, Reason}}' goes to a process instead.
-spec start_for(pid(), reference(), asked()) -> ok.
start_for(To, Ref, Asked) ->
    gen_server:cast(?MODULE, {start, {send, To, Ref}, Asked}).

?DOC(false).
-spec find(ref()) -> {pid(), py_nif:request() | none} | none.
find(Ref) ->
    try ets:lookup(?TABLE, Ref) of
        [{_, Process, _, Request, true}] -> {Process, Request};
        [{_, Process, _, _, false}] -> {Process, none};
        [] -> none
    catch
        error:badarg -> none
    end.

?DOC(false).
%% Called by the process of the stream, as is what follows.
-spec begun(ref(), Owner :: pid()) -> ok.
begun(Ref, Owner) ->
    true = ets:insert(?TABLE, {Ref, self(), Owner, none, false}),
    ok.

?DOC(false).
-spec submitted(ref(), py_nif:request(), Direct :: boolean()) -> ok.
submitted(Ref, Request, Direct) ->
    true = ets:update_element(?TABLE, Ref, [{4, Request}, {5, Direct}]),
    ok.

?DOC(false).
%% Whoever has asked for the stream.
-spec answer(ref(), {ok, pid()} | {error, term()}) -> ok.
answer(Ref, Answer) ->
    case ets:take(?TABLE, {starting, Ref}) of
        [{_, ReplyTo}] -> reply(ReplyTo, Answer);
        [] -> ok
    end.

-spec reply(reply_to(), {ok, pid()} | {error, term()}) -> ok.
reply({reply, From}, Answer) ->
    gen_server:reply(From, Answer);
reply({send, To, Ref}, {error, Reason}) ->
    To ! {Ref, {refused, Reason}},
    ok;
reply({send, To, Ref}, Answer) ->
    To ! {Ref, Answer},
    ok.

?DOC(false).
%% Tells the owner; nothing comes after it. `gone': the table is.
-spec ended(ref(), done | {error, term()}) -> ok | gone.
ended(Ref, End) ->
    try ets:take(?TABLE, Ref) of
        [{_, _, Owner, Request, _}] -> tell(Ref, Owner, Request, End);
        [] -> ok
    catch
        error:badarg -> gone
    end.

?DOC(false).
-spec tell(ref(), Owner :: pid(), py_nif:request() | none, done | {error, term()}) -> ok.
tell(Ref, Owner, Request, End) ->
    _ = Request =/= none andalso py_nif:stream_end(Request),
    Owner ! {py_stream, Ref, End},
    ok.

?DOC(false).
%% There is nobody to be told.
-spec forget(ref()) -> ok.
forget(Ref) ->
    try ets:delete(?TABLE, Ref) of
        true -> ok
    catch
        error:badarg -> ok
    end.

-spec init([]) -> {ok, running()}.
init([]) ->
    process_flag(trap_exit, true),
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}, {write_concurrency, true}]),
    {ok, #{}}.

%% Supervisors are asked the first two.
-spec handle_call(term(), gen_server:from(), running()) -> {reply, term(), running()} | {noreply, running()}.
handle_call(which_children, _From, Running) ->
    {reply, [{undefined, Pid, worker, [py_stream]} || Pid <- maps:keys(Running)], Running};
handle_call(count_children, _From, Running) ->
    Count = map_size(Running),
    {reply, [{specs, 1}, {active, Count}, {supervisors, 0}, {workers, Count}], Running};
handle_call({start, Asked}, From, Running) ->
    {noreply, started({reply, From}, Asked, Running)};
handle_call(_Request, _From, Running) ->
    {reply, {error, unexpected_call}, Running}.

-spec handle_cast(term(), running()) -> {noreply, running()}.
handle_cast({start, ReplyTo, Asked}, Running) ->
    {noreply, started(ReplyTo, Asked, Running)};
%% Asked on another node.
handle_cast({demand, Ref, More}, Running) ->
    ok = py_stream:demand(Ref, More),
    {noreply, Running};
handle_cast({cancel, Ref}, Running) ->
    ok = py_stream:cancel(Ref),
    {noreply, Running};
handle_cast(_Message, Running) ->
    {noreply, Running}.

-spec handle_info(term(), running()) -> {noreply, running()}.
handle_info({'EXIT', Pid, Reason}, Running) ->
    {noreply, died(Pid, Reason, Running)};
handle_info(_Message, Running) ->
    {noreply, Running}.

started(ReplyTo, #{ref := Ref} = Asked, Running) ->
    true = ets:insert(?TABLE, {{starting, Ref}, ReplyTo}),
    Running#{py_stream:start_link(Asked) => Ref}.

died(Pid, Reason, Running) ->
    case maps:take(Pid, Running) of
        {_, Rest} when Reason =:= normal ->
            Rest;
        {Ref, Rest} ->
            ok = answer(Ref, {error, Reason}),
            _ = ended(Ref, {error, Reason}),
            Rest;
        %% Of a process that linked itself.
        error ->
            Running
    end.

-spec terminate(term(), running()) -> ok.
terminate(_Reason, Running) ->
    Pids = maps:keys(Running),
    _ = [ended(Ref, {error, not_running}) || Ref <- maps:values(Running)],
    _ = [exit(Pid, shutdown) || Pid <- Pids],
    all_ended(Running, erlang:start_timer(?SHUTDOWN, self(), shutdown)).

all_ended(Running, _Timer) when map_size(Running) =:= 0 ->
    ok;
all_ended(Running, Timer) ->
    receive
        {'EXIT', Pid, Reason} ->
            all_ended(died(Pid, Reason, Running), Timer);
        {timeout, Timer, shutdown} ->
            _ = [exit(Pid, kill) || Pid <- maps:keys(Running)],
            all_ended(Running, none)
    end.
