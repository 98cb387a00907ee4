-module(py_context_process).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% The process of a context: it starts the thread, hears what that has to say, and ends with it. Requests do not pass through
%% it.

-export([start_link/1, birth/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([options/0]).

-include_lib("kernel/include/logger.hrl").

%% `id' is for logs only; `pool' hears of the start by `{py_context_ready, Pid, Handle}'.
-type options() :: #{
    mode := py_context:mode(),
    max_queue := pos_integer() | infinity,
    conversion := py_conversion:checked(),
    sandbox := py_sandbox:checked(),
    memory_limit := pos_integer() | infinity,
    max_result_size := pos_integer() | infinity,
    %% Contexts for pools on other nodes may be asked for without.
    venv => node | none | binary(),
    preload => node | none | binary(),
    output => py_output:destination(),
    id => term(),
    pool => pid(),
    birth => py_birth:birth()
}.

-define(IS_OUTPUT(Message),
    (element(1, Message) =:= output orelse element(1, Message) =:= log orelse element(1, Message) =:= output_dropped)
).

-record(state, {
    id :: term(),
    handle :: py_nif:handle(),
    serial :: pos_integer(),
    pool :: pid() | undefined,
    policy :: py_sandbox:checked(),
    %% Why the start is not over yet: its time limit, and who waits for it.
    starting :: reference() | ready,
    %% What it is given first, once its interpreter is there.
    birth = none :: none | py_nif:request(),
    is_born = false :: boolean(),
    waiting = [] :: [gen_server:from()],
    %% Why it did not start, until somebody has asked.
    failed = none :: none | {context_start, term()},
    %% What sends to other nodes, once there was something to send, and how much of that it has not reported yet.
    relay = none :: {pid(), Unsent :: non_neg_integer()} | none,
    %% What its code prints and logs goes there; made when there was something.
    output = none :: pid() | none,
    to :: py_output:destination(),
    %% See py_loop.
    loop = none :: pid() | none,
    %% For whoever listens to telemetry.
    began :: integer(),
    mode :: py_context:mode()
}).

%% How long a thread may take to end before its process goes without it.
-define(END_TIMEOUT, 8_000).

-spec start_link(options()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    case gen_server:start_link(?MODULE, Options, []) of
        {ok, Pid} -> {ok, Pid};
        {error, {shutdown, {context_start, _} = Reason}} -> {error, Reason};
        {error, Reason} -> {error, Reason};
        ignore -> {error, not_running}
    end.

-spec init(options()) -> {ok, #state{}} | {stop, term()}.
init(Options) ->
    process_flag(trap_exit, true),
    ok = py_sandbox:prepare(maps:get(sandbox, Options)),
    case birth(Options) of
        {ok, Birth} -> init(Options, Birth);
        {error, Reason} -> {stop, {shutdown, Reason}}
    end.

%% What it is given first.
-spec birth(options()) -> {ok, py_birth:birth()} | {error, term()}.
birth(#{birth := Birth}) ->
    {ok, Birth};
birth(#{mode := Mode} = Options) ->
    py_birth:born(Mode, maps:get(venv, Options, node), maps:get(preload, Options, node)).

init(Options, #{key := Key, folders := Folders} = Birth) ->
    Settings = (maps:with(py_pool_options:context_keys(), Options))#{
        output => maps:get(output, Options, group_leader),
        stuck_after => py_config:get(stuck_after),
        max_nested_runs => py_config:get(max_nested_runs),
        birth => Key,
        folders => Folders,
        output_timeout => py_config:get(output_timeout)
    },
    Began = erlang:monotonic_time(),
    case py_nif:context_start(Settings) of
        {ok, Handle, Serial} ->
            %% Nobody knows the context yet, so nothing can be before that in its mailbox.
            First = first_request(py_birth:begin_with(Handle, Birth)),
            Pool = maps:get(pool, Options, undefined),
            %% A pool that was killed could not end its contexts.
            _ = [erlang:monitor(process, Pool) || is_pid(Pool)],
            Timer = erlang:start_timer(py_config:get(context_start_timeout), self(), start),
            {ok, #state{
                id = maps:get(id, Options, Serial),
                handle = Handle,
                serial = Serial,
                pool = Pool,
                policy = maps:get(sandbox, Options),
                to = maps:get(output, Options, group_leader),
                starting = Timer,
                began = Began,
                mode = maps:get(mode, Options),
                birth = First
            }};
        {error, Reason} ->
            {stop, Reason}
    end.

%% Of a context that closes at once its end tells.
first_request({ok, Request}) -> Request;
first_request({error, _}) -> none.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}} | {stop, term(), term(), #state{}}.
handle_call(handle, _From, State) ->
    {reply, {ok, State#state.handle}, State};
handle_call({sandbox, policy}, _From, State) ->
    {reply, {ok, in_force(State)}, State};
handle_call({sandbox, refusals}, _From, State) ->
    {reply, {ok, maps:from_list(py_nif:context_refusals(State#state.handle))}, State};
handle_call(await_ready, _From, #state{starting = ready} = State) ->
    {reply, ok, State};
handle_call(await_ready, _From, #state{failed = {context_start, _} = Reason} = State) ->
    {stop, {shutdown, Reason}, {error, Reason}, State};
handle_call(await_ready, From, State) ->
    {noreply, State#state{waiting = [From | State#state.waiting]}};
handle_call({start_loop, Owner}, From, #state{loop = none, handle = Handle} = State) ->
    case py_loop:start(self(), Handle, Owner, From) of
        {ok, Loop} ->
            _ = erlang:monitor(process, Loop),
            {noreply, State#state{loop = Loop}};
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call({start_loop, _Owner}, _From, State) ->
    {reply, {error, already_running}, State};
handle_call({stop_loop, _Grace}, _From, #state{loop = none} = State) ->
    {reply, {error, no_loop}, State};
handle_call({stop_loop, Grace}, From, #state{loop = Loop} = State) ->
    ok = py_loop:stop(Loop, From, Grace),
    {noreply, State};
handle_call(Request, {Pid, _}, State) ->
    ?LOG_WARNING("context ~p: unexpected call ~p from ~p", [State#state.id, Request, Pid]),
    {reply, {error, unexpected_call}, State}.

%% What the kernel could not do is off.
in_force(#state{policy = #{seccomp := best_effort} = Policy, handle = Handle}) ->
    case py_nif:context_confined(Handle) of
        true -> Policy;
        _ -> Policy#{seccomp := off}
    end;
in_force(#state{policy = Policy}) ->
    Policy.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({py_context, Serial, What}, #state{serial = Serial} = State) ->
    native(What, State);
handle_info({timeout, Timer, start}, #state{starting = Timer, failed = {context_start, _} = Reason} = State) ->
    {stop, {shutdown, Reason}, State};
handle_info({timeout, Timer, start}, #state{starting = Timer, is_born = true} = State) ->
    {stop, {shutdown, {context_start, timeout}}, State};
handle_info({timeout, Timer, start}, #state{starting = Timer} = State) ->
    {stop, {shutdown, {context_start, main_interpreter_busy}}, State};
handle_info({py_response, Birth, ok}, #state{birth = Birth} = State) when is_reference(Birth) ->
    {noreply, announce(State#state{birth = none})};
handle_info({py_response, Birth, {error, Reason}}, #state{birth = Birth, handle = Handle} = State) when is_reference(Birth) ->
    _ = py_nif:context_close(Handle, context_start),
    not_started(Reason, State);
handle_info({py_relay, Relay, Sent}, #state{relay = {Relay, _}} = State) ->
    {noreply, relayed(Sent, State)};
handle_info({'DOWN', _Monitor, process, Relay, _Reason}, #state{relay = {Relay, Unsent}} = State) ->
    %% Nobody waits for what went with it.
    {noreply, (relayed(Unsent, State))#state{relay = none}};
handle_info({'DOWN', _Monitor, process, Output, _Reason}, #state{output = Output} = State) ->
    {noreply, output_lost(State)};
handle_info({py_loop, Loop, ended}, #state{loop = Loop} = State) ->
    ok = py_loop:release(Loop),
    {noreply, State#state{loop = none}};
handle_info({'DOWN', _Monitor, process, Loop, _Reason}, #state{loop = Loop} = State) ->
    {noreply, State#state{loop = none}};
handle_info({'DOWN', _Monitor, process, Pool, _Reason}, #state{pool = Pool} = State) ->
    {stop, {shutdown, pool_died}, State};
handle_info({'EXIT', _From, normal}, State) ->
    %% As for any process that does not trap exits; the parent's end takes another way.
    {noreply, State};
handle_info({'EXIT', _From, Reason}, State) ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% What the context's thread, or the reaper in its place, has to say.
native({ready, _InterpreterId}, #state{birth = none} = State) ->
    {noreply, announce(State)};
native({ready, _InterpreterId}, State) ->
    {noreply, State#state{is_born = true}};
native({failed, Text}, State) ->
    not_started(Text, State);
native(stuck, State) ->
    ?LOG_ERROR("Python context ~p is stuck: its code ignores interrupts; it is given up", [
        State#state.id
    ]),
    {stop, {shutdown, stuck}, State};
native({cast_failed, Story}, State) ->
    ?LOG_ERROR(
        #{
            label => {py_context, cast_failed},
            context => State#state.id,
            error => py_error:from_story(Story)
        },
        #{report_cb => fun py_error:report/1}
    ),
    {noreply, State};
native({handler_failed, Story}, State) ->
    ?LOG_ERROR(
        #{
            label => {py_context, handler_failed},
            context => State#state.id,
            error => py_error:from_story(Story)
        },
        #{report_cb => fun py_error:report/1}
    ),
    {noreply, State};
native({interrupted, Count}, State) ->
    ok = py_telemetry_watcher:event([erlang_python, context, interrupt], #{count => Count}, told_of(State)),
    {noreply, State};
native({refused, Refusal, Count}, State) ->
    Of = (told_of(State))#{refused => Refusal},
    ok = py_telemetry_watcher:event([erlang_python, sandbox, refused], #{count => Count}, Of),
    ok = py_sandbox:log_refusal(State#state.id, Refusal, Count),
    {noreply, State};
native({inline_slow, What, Microseconds, Count}, State) ->
    ok = py_telemetry_watcher:event(
        [erlang_python, inline, slow], #{count => Count, microseconds => Microseconds}, told_of(State)
    ),
    ok = py_inline:slow(State#state.id, What, Microseconds, Count),
    {noreply, State};
native({relay, To, Term}, State) ->
    {noreply, relay(To, Term, State)};
native(Output, State) when ?IS_OUTPUT(Output) ->
    {noreply, output(Output, State)};
native(arm, State) ->
    ok = py_nif:loop_arm(State#state.handle),
    {noreply, State};
native(readable, State) ->
    ok = py_nif:loop_ready(State#state.handle),
    {noreply, State};
native({loop_failed, Text}, State) ->
    ?LOG_ERROR("Python context ~p: its event loop has ended: ~ts", [State#state.id, Text]),
    {noreply, State};
native(ended, #state{failed = {context_start, _}} = State) ->
    {noreply, State};
native(ended, State) ->
    {stop, {shutdown, ended}, State}.

told_of(#state{id = Id, mode = Mode, serial = Serial}) ->
    #{context => self(), id => Id, mode => Mode, serial => Serial}.

announce(State) ->
    _ = erlang:cancel_timer(State#state.starting),
    ok = py_telemetry_watcher:ready(
        State#state.id, State#state.mode, erlang:monotonic_time() - State#state.began, State#state.serial
    ),
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, State#state.waiting),
    _ = [Pool ! {py_context_ready, self(), State#state.handle} || Pool <- [State#state.pool], is_pid(Pool)],
    State#state{starting = ready, waiting = []}.

not_started(Reason, #state{pool = undefined, waiting = []} = State) ->
    %% Whoever starts it is about to ask.
    {noreply, State#state{failed = {context_start, Reason}}};
not_started(Reason, State) ->
    {stop, {shutdown, {context_start, Reason}}, State}.

relay(To, Term, #state{relay = none} = State) ->
    case py_callback_sup:start_relay(self()) of
        {ok, Relay} ->
            _ = erlang:monitor(process, Relay),
            relay(To, Term, State#state{relay = {Relay, 0}});
        {error, _} ->
            ?LOG_ERROR("Python context ~p: a message to ~p is lost", [State#state.id, To]),
            _ = py_nif:relayed(State#state.handle, 1),
            State
    end;
relay(To, Term, #state{relay = {Relay, Unsent}} = State) ->
    ok = py_relay:send(Relay, To, Term),
    State#state{relay = {Relay, Unsent + 1}}.

%% The thread lets its code send so many more.
relayed(0, State) ->
    State;
relayed(Sent, #state{relay = {Relay, Unsent}} = State) ->
    _ = py_nif:relayed(State#state.handle, Sent),
    State#state{relay = {Relay, Unsent - Sent}}.

output(Output, #state{output = none} = State) ->
    case py_output_sup:start_output(self(), State#state.handle, State#state.id, State#state.to) of
        {ok, Pid} ->
            _ = erlang:monitor(process, Pid),
            output(Output, State#state{output = Pid});
        {error, _} ->
            output_lost(State)
    end;
output(Output, #state{output = Pid} = State) ->
    Pid ! Output,
    State.

%% Nobody waits for what went with it.
output_lost(State) ->
    _ = py_nif:output_lost(State#state.handle),
    State#state{output = none}.

-spec terminate(term(), #state{}) -> ok.
terminate(Reason, State) ->
    ok = finish(Reason, State),
    py_nif:loop_end(State#state.handle).

finish({shutdown, stuck}, #state{pool = Pool}) when is_pid(Pool), node(Pool) =:= node() ->
    %% The queue is left for the replacement.
    ok;
finish({shutdown, stuck}, State) ->
    py_nif:context_close(State#state.handle, stuck);
finish({shutdown, {context_start, _} = Reason}, State) ->
    %% The thread ends when it gets the GIL that it waits for; nobody waits for that.
    py_nif:context_close(State#state.handle, element(1, Reason));
finish({shutdown, ended}, _State) ->
    ok;
finish(Reason, State) ->
    _ = py_nif:context_close(State#state.handle, reason_atom(Reason)),
    await_end(erlang:start_timer(?END_TIMEOUT, self(), ended), State).

%% Its code may have had messages to send until then.
await_end(Timer, #state{serial = Serial, relay = Known} = State) ->
    receive
        {py_context, Serial, ended} ->
            ok;
        {py_context, Serial, {relay, To, Term}} ->
            await_end(Timer, relay(To, Term, State));
        {py_context, Serial, Output} when ?IS_OUTPUT(Output) ->
            await_end(Timer, output(Output, State));
        {py_relay, Relay, Sent} when is_tuple(Known), element(1, Known) =:= Relay ->
            await_end(Timer, relayed(Sent, State));
        {timeout, Timer, ended} ->
            ?LOG_ERROR("Python context ~p: its thread does not end", [State#state.id])
    end.

reason_atom(Reason) when is_atom(Reason) -> Reason;
reason_atom({shutdown, Reason}) when is_atom(Reason) -> Reason;
reason_atom({shutdown, {Reason, _}}) when is_atom(Reason) -> Reason;
reason_atom(_) -> crashed.
