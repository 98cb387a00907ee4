-module(py_reactor_context).
-include("py_doc.hrl").
?MODULEDOC("""
A reactor context: a Python context that serves connections which Erlang hands over to it.

Reading, writing and buffering are native; Python code sees the methods of an `erlang.reactor.Protocol` for each
connection. The process is what users link to, monitor and supervise; it owns the context. Connections do not pass
through it. `docs/reactor.md` is the guide.
""").
-behaviour(gen_server).

-export([start_link/2, start_link/3, child_spec/1, stop/1, stats/1, context/1, handoff/2, handoff/3]).
-export([start_options/2, start_for/3, init_it/3, stop/2, handoff_fd/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([options/0, stats/0, call/0]).

-include_lib("kernel/include/logger.hrl").
-include("py_arguments.hrl").

-type call() :: {py:name(), py:name(), [term()]}.
-type options() :: #{
    app_module => py:name(),
    app_callable => py:name(),
    setup_code => py:code(),
    paths => [unicode:chardata()],
    on_start => call(),
    on_stop => call(),
    max_connections => pos_integer() | infinity,
    idle_timeout => pos_integer() | infinity,
    write_timeout => pos_integer() | infinity,
    high_water => pos_integer(),
    low_water => non_neg_integer(),
    drain_timeout => non_neg_integer(),
    lag_warning => pos_integer() | infinity,
    max_queue => pos_integer() | infinity,
    conversion => py_conversion:options(),
    sandbox => py_sandbox:policy(),
    memory_limit => pos_integer() | infinity,
    max_result_size => pos_integer() | infinity,
    venv => node | none | unicode:chardata(),
    preload => node | none | py:code(),
    output => py_output:destination()
}.
-type stats() :: #{
    id := term(),
    active_connections := non_neg_integer(),
    total_connections := non_neg_integer(),
    total_requests := non_neg_integer(),
    max_connections := pos_integer() | infinity,
    busy := non_neg_integer()
}.

-record(state, {
    id :: term(),
    context :: pid(),
    handle :: py_nif:handle(),
    listed :: boolean(),
    on_stop :: call() | undefined,
    drain_timeout :: non_neg_integer(),
    lag_warning :: pos_integer() | infinity,
    %% How long the handler had run that was warned of, in microseconds.
    warned = 0 :: non_neg_integer()
}).

%% For `on_stop', and for the context to end once its connections have.
-define(END_TIMEOUT, 15_000).
%% Milliseconds between looks, where nobody tells.
-define(LOOK, 10).

?DOC("As `start_link/3`, without options: the factory of protocols is set later, by Python code in the context.").
-spec start_link(Id :: term(), py_context:mode()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode) ->
    start_link(Id, Mode, #{}).

?DOC("""
Starts a reactor context linked to the caller; `Id` names it in logs and in `stats/1`. Returns when it can take
connections.

| option | default | |
|---|---|---|
| `paths` | `[]` | folders that Python looks for modules in, before all others |
| `setup_code` | none | Python statements that run first |
| `app_module`, `app_callable` | none | where the factory of protocols is; without `app_module`, what the setup code defines |
| `on_start`, `on_stop` | none | `{Module, Function, Args}`, run on the context's asyncio loop before the first connection and after the last |
| `max_connections` | `infinity` | connections at a time |
| `idle_timeout` | `infinity` | milliseconds without a byte in either direction |
| `write_timeout` | 30000 | milliseconds that the peer may take nothing of what waits to be written |
| `high_water`, `low_water` | 65536, 16384 | bytes in a write buffer at which `pause_writing` and `resume_writing` are called |
| `drain_timeout` | 5000 | milliseconds that connections may take to end when the context is stopped |
| `lag_warning` | 1000 | milliseconds that a handler may run before a warning is logged |
| `max_queue`, `conversion`, `sandbox`, `memory_limit`, `max_result_size`, `venv`, `preload`, `output` | as in `py_context` | |

Errors: `{bad_option, Key, Value, Allowed}`, `{not_supported, Mode}`, `not_running`; `{Option, Reason}` when `paths`,
`setup_code`, `app_callable` or `on_start` fail; those of `py_context:start_link/3`.
""").
-spec start_link(Id :: term(), py_context:mode(), options()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode, Options) when is_map(Options) ->
    start_options(Id, Options#{mode => Mode});
start_link(Id, Mode, Options) ->
    py_badarg:refuse(?FORM([id, mode, options], [Id, Mode, Options]), options, wrong).

?DOC("""
A child specification for a supervisor of your own: `id`, `mode` and the options of `start_link/3`, all of which may be
left out. The supervisor gives it the time that `drain_timeout` says.
""").
-spec child_spec(map()) -> supervisor:child_spec().
child_spec(Options) when is_map(Options) ->
    Id = maps:get(id, Options, ?MODULE),
    #{
        id => Id,
        start => {?MODULE, start_options, [Id, maps:remove(id, Options)]},
        shutdown => shutdown(Options)
    };
child_spec(Options) ->
    py_badarg:refuse(?FORM([options], [Options]), options, wrong).

%% A wrong value is found at the start.
shutdown(#{drain_timeout := Drain}) when is_integer(Drain), Drain >= 0 -> Drain + ?END_TIMEOUT;
shutdown(_Options) -> 5_000 + ?END_TIMEOUT.

?DOC(false).
-spec start_options(Id :: term(), map()) -> {ok, pid()} | {error, term()}.
start_options(Id, Options) ->
    case py_nif:python() of
        {error, _} = Error ->
            Error;
        _ ->
            case py_reactor_options:context(Options) of
                {ok, Checked} -> proc_lib:start_link(?MODULE, init_it, [Id, Checked, starter]);
                {error, _} = Error -> Error
            end
    end.

?DOC(false).
%% For a listener, whose manager is told of the outcome. Nobody else finds it by `handoff/2'.
-spec start_for(py_reactor_options:context(), Id :: term(), Manager :: pid()) -> {ok, pid()}.
start_for(Options, Id, Manager) ->
    {ok, proc_lib:spawn_link(?MODULE, init_it, [Id, Options, Manager])}.

?DOC("""
Stops it: no new connections; those that wait for input are closed, others when they have written what they have; after
`drain_timeout` all that are left. Then the context ends. Returns when it has.
""").
-spec stop(pid()) -> ok.
stop(Reactor) ->
    stopped(?FORM([context], [Reactor]), Reactor, none).

?DOC(false).
%% With another time than the context's own.
-spec stop(pid(), timeout()) -> ok.
stop(Reactor, Timeout) ->
    stopped(?FORM([context, timeout], [Reactor, Timeout]), Reactor, {drain_timeout, Timeout}).

stopped(Form, Reactor, Order) ->
    _ = is_ours(Reactor) orelse py_badarg:refuse(Form, context, wrong),
    _ = [gen_server:cast(Reactor, Order) || Order =/= none],
    try
        gen_server:stop(Reactor)
    catch
        %% It ended before or meanwhile, for whatever reason.
        exit:_ -> ok
    end.

%% Any OTP process would obey a stop.
is_ours(Pid) when is_pid(Pid), node(Pid) =:= node() ->
    element(1, py_reactor_table:context(Pid)) =:= ok orelse not is_process_alive(Pid) orelse
        proc_lib:translate_initial_call(Pid) =:= {?MODULE, init_it, 3};
is_ours(_) ->
    false.

?DOC("""
What it serves now, and has served: `active_connections`, `total_connections`, and `total_requests`, the calls of
`data_received`. `busy` is how many microseconds the handler that runs now has been running, 0 when none does.
""").
-spec stats(pid()) -> stats() | {error, term()}.
stats(Reactor) ->
    case found(?FORM([context], [Reactor]), Reactor) of
        {ok, {Handle, _Context, Id, _State, _Listed}} -> stats_of(Handle, Id);
        {error, _} = Error -> Error
    end.

stats_of(Handle, Id) ->
    case py_nif:reactor_stats(Handle) of
        {error, _} = Error ->
            Error;
        {Active, Total, Requests, Max, Busy} ->
            #{
                id => Id,
                active_connections => Active,
                total_connections => Total,
                total_requests => Requests,
                max_connections => Max,
                busy => Busy
            }
    end.

?DOC("""
The context itself, for the functions of `py` and `py_context`: calls are served between handlers, and
`py:interrupt/1` ends a handler that blocks, with its connection.
""").
-spec context(pid()) -> {ok, pid()} | {error, term()}.
context(Reactor) ->
    case found(?FORM([context], [Reactor]), Reactor) of
        {ok, Entry} -> {ok, element(2, Entry)};
        {error, _} = Error -> Error
    end.

found(_Form, Reactor) when is_pid(Reactor), node(Reactor) =:= node() -> py_reactor_table:context(Reactor);
found(Form, _Reactor) -> py_badarg:refuse(Form, context, wrong).

?DOC("""
Hands a connection to the context with the fewest, of those that were started by `start_link/2,3` or `child_spec/1` on
this node. `{error, no_context}` when there is none. Otherwise as `handoff/3`.
""").
-spec handoff(py_reactor_socket:socket(), Info :: map()) -> ok | {error, term()}.
handoff(Socket, Info) when is_map(Info) ->
    Form = ?FORM([socket, info], [Socket, Info]),
    case py_reactor_table:listed() of
        [] -> {error, no_context};
        Handles -> given(Form, fewest(Handles), Socket, Info)
    end;
handoff(Socket, Info) ->
    py_badarg:refuse(?FORM([socket, info], [Socket, Info]), info, wrong).

?DOC("""
Hands a connection to a reactor context: a passive socket of `gen_tcp`, `gen_udp` or `socket`, or the number of a
descriptor, whatever can be read and written. `Info` becomes the `client_info` of its protocol. Any process may do so,
and it waits for nothing.

- `ok`: the context has the connection. A socket of Erlang's has been closed, which the connection does not notice. A
  number is duplicated, and stays the caller's to close.
- `{error, {overloaded, Active, Max}}`: there are `max_connections`. The connection has been closed; of a number, it has
  been shut down.
- `{error, {bad_socket, What, Remedy}}`: the socket is not passive, listens, or Erlang has bytes of it that are not read
  or not sent yet. Nothing has been done to it; the same holds for all further errors.
- `{error, closed | ebadf | emfile | draining | {context_died, Reason} | not_running}`.
""").
-spec handoff(pid(), py_reactor_socket:socket(), Info :: map()) -> ok | {error, term()}.
handoff(Reactor, Socket, Info) when is_map(Info) ->
    Form = ?FORM([context, socket, info], [Reactor, Socket, Info]),
    case found(Form, Reactor) of
        {ok, Entry} -> given(Form, element(1, Entry), Socket, Info);
        {error, _} = Error -> Error
    end;
handoff(Reactor, Socket, Info) ->
    py_badarg:refuse(?FORM([context, socket, info], [Reactor, Socket, Info]), info, wrong).

given(Form, Handle, Socket, Info) ->
    case py_reactor_socket:fd(Socket) of
        {ok, Fd} -> handed(py_nif:reactor_handoff(Handle, Fd, Info), Socket);
        {error, _} = Error -> Error;
        badarg -> py_badarg:refuse(Form, socket, wrong)
    end.

handed(ok, Socket) ->
    py_reactor_socket:close(Socket);
handed({error, {overloaded, _, _}} = Error, Socket) ->
    ok = py_reactor_socket:refuse(Socket),
    Error;
handed({error, _} = Error, _Socket) ->
    Error.

?DOC(false).
%% To the first of these contexts that takes it, those with the fewest connections first. Nothing is closed.
-spec handoff_fd([py_nif:handle()], non_neg_integer(), map()) -> ok | {error, term()}.
handoff_fd([], _Fd, _Info) ->
    {error, no_context};
handoff_fd([Handle], Fd, Info) ->
    py_nif:reactor_handoff(Handle, Fd, Info);
handoff_fd(Handles, Fd, Info) ->
    Handle = fewest(Handles),
    case py_nif:reactor_handoff(Handle, Fd, Info) of
        {error, Reason} when Reason =/= emfile, Reason =/= ebadf ->
            handoff_fd(lists:delete(Handle, Handles), Fd, Info);
        Result ->
            Result
    end.

fewest([Handle]) -> Handle;
fewest(Handles) -> element(2, lists:min([{load(Handle), Handle} || Handle <- Handles])).

load(Handle) ->
    case py_nif:reactor_stats(Handle) of
        %% What is full, or gone, comes last; of two with as many connections the one that has had fewer comes first.
        {Active, _, _, Max, _} when Active >= Max -> {full, Active};
        {Active, Total, _, _, _} -> {Active, Total};
        {error, _} -> {gone, 0}
    end.

%% ------------------------------------------------------------------------------------------------
%% The process

?DOC(false).
%% A start that fails ends it normally: whoever is linked to it is told by the result alone.
-spec init_it(term(), py_reactor_options:context(), starter | pid()) -> no_return().
init_it(Id, Options, Starter) ->
    _ = process_flag(trap_exit, true),
    case opened(Id, Options, Starter =:= starter) of
        {ok, State} ->
            ok = tell(Starter, {ok, self()}),
            gen_server:enter_loop(?MODULE, [], State);
        {error, _} = Error ->
            ok = tell(Starter, Error),
            exit(normal)
    end.

tell(starter, Result) ->
    proc_lib:init_ack(Result);
tell(Manager, Result) ->
    Manager ! {?MODULE, self(), case Result of {ok, _} -> ok; Error -> Error end},
    ok.

?DOC(false).
-spec init(term()) -> {stop, not_started_so}.
init(_) ->
    {stop, not_started_so}.

opened(Id, Options, Listed) ->
    case py_context:start_link(Id, maps:get(mode, Options, py:execution_mode()), context_options(Options)) of
        {ok, Context} ->
            case prepared(Context, Options) of
                {ok, Handle} ->
                    entered(#state{
                        id = Id,
                        context = Context,
                        handle = Handle,
                        listed = Listed,
                        on_stop = maps:get(on_stop, Options),
                        drain_timeout = maps:get(drain_timeout, Options),
                        lag_warning = maps:get(lag_warning, Options)
                    });
                {error, _} = Error ->
                    _ = py_context:stop(Context),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

context_options(Options) ->
    maps:with(py_pool_options:context_keys() -- [mode], Options).

entered(#state{handle = Handle, context = Context, id = Id, listed = Listed} = State) ->
    case py_reactor_table:put_context(Handle, Context, Id, {open, Listed}) of
        ok ->
            ok = look_again(State),
            {ok, State};
        {error, _} = Error ->
            _ = py_context:stop(Context),
            Error
    end.

prepared(Context, Options) ->
    Steps = [
        {paths, fun() -> add_paths(Context, maps:get(paths, Options)) end},
        {setup_code, fun() -> set_up(Context, maps:get(setup_code, Options)) end},
        {app_callable, fun() -> set_factory(Context, Options) end},
        {reactor, fun() -> open(Context, Options) end},
        {on_start, fun() -> run(Context, maps:get(on_start, Options)) end}
    ],
    case steps(Steps) of
        ok -> py_context:handle(Context);
        {error, _} = Error -> Error
    end.

steps([{Name, Step} | Steps]) ->
    case Step() of
        ok -> steps(Steps);
        {ok, _} -> steps(Steps);
        {error, {context_died, _}} = Error -> Error;
        {error, not_running} = Error -> Error;
        {error, Reason} -> {error, {Name, Reason}}
    end;
steps([]) ->
    ok.

add_paths(_Context, []) ->
    ok;
add_paths(Context, Paths) ->
    Folders = [unicode:characters_to_binary(Path) || Path <- Paths],
    py_context:eval(Context, <<"__import__('sys').path.__setitem__(slice(0, 0), paths)">>, #{paths => Folders}).

set_up(_Context, undefined) -> ok;
set_up(Context, Code) -> py_context:exec(Context, Code).

set_factory(_Context, #{app_callable := undefined}) ->
    ok;
set_factory(Context, #{app_module := undefined, app_callable := Callable}) ->
    py_context:eval(
        Context,
        <<"__import__('importlib').import_module('erlang.reactor').set_protocol_factory(eval(factory))">>,
        #{factory => text(Callable)}
    );
set_factory(Context, #{app_module := Module, app_callable := Callable}) ->
    py_context:eval(
        Context,
        <<
            "__import__('importlib').import_module('erlang.reactor').set_protocol_factory("
            "__import__('operator').attrgetter(factory)(__import__('importlib').import_module(module)))"
        >>,
        #{factory => text(Callable), module => text(Module)}
    ).

text(Name) when is_atom(Name) -> atom_to_binary(Name);
text(Name) -> unicode:characters_to_binary(Name).

open(Context, Options) ->
    Keys = [max_connections, idle_timeout, write_timeout, high_water, low_water],
    case py_context:handle(Context) of
        {ok, Handle} -> py_nif:reactor_open(Handle, maps:with(Keys, Options));
        {error, _} = Error -> Error
    end.

run(_Context, undefined) -> ok;
run(Context, {Module, Function, Args}) -> py_context:submit_await(Context, Module, Function, Args).

?DOC(false).
-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

?DOC(false).
-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({drain_timeout, Timeout}, State) ->
    {noreply, State#state{drain_timeout = Timeout}};
handle_cast(_Message, State) ->
    {noreply, State}.

?DOC(false).
-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(lag, State) ->
    ok = look_again(State),
    {noreply, looked(State)};
handle_info({'EXIT', Context, Reason}, #state{context = Context} = State) ->
    {stop, {context_died, died_of(Reason)}, State};
handle_info({'EXIT', _From, normal}, State) ->
    {noreply, State};
handle_info({'EXIT', _From, Reason}, State) ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

died_of({shutdown, Reason}) -> Reason;
died_of(Reason) -> Reason.

%% A handler that does not come back keeps all connections waiting.
look_again(#state{lag_warning = infinity}) ->
    ok;
look_again(#state{lag_warning = Milliseconds}) ->
    _ = erlang:send_after(Milliseconds, self(), lag),
    ok.

looked(#state{handle = Handle, id = Id, lag_warning = Milliseconds, warned = Warned} = State) ->
    case py_nif:reactor_stats(Handle) of
        {_, _, _, _, Busy} when is_integer(Busy), Busy >= Milliseconds * 1000 ->
            %% One that runs still, and was warned of, has run for longer by now.
            _ = [warn(Id, Busy, State) || Warned =:= 0 orelse Busy < Warned],
            State#state{warned = Busy};
        _ ->
            State#state{warned = 0}
    end.

warn(Id, Busy, #state{context = Context}) ->
    ?LOG_WARNING("Python reactor ~p: a handler has been running for ~b ms; py:interrupt(~p) ends it", [
        Id, Busy div 1000, Context
    ]),
    py_telemetry_watcher:event([erlang_python, reactor, lag], #{microseconds => Busy}, #{id => Id, context => Context}).

?DOC(false).
-spec terminate(term(), #state{}) -> ok.
terminate({context_died, _}, _State) ->
    ok;
terminate(_Reason, #state{context = Context, handle = Handle, id = Id, listed = Listed} = State) ->
    _ = py_reactor_table:put_context(Handle, Context, Id, {draining, Listed}),
    ok = drained(py_nif:reactor_drain(Handle), State),
    _ = py_context:stop(Context),
    true = py_reactor_table:delete({context, self()}),
    ok.

drained(ok, #state{context = Context, drain_timeout = Timeout, on_stop = OnStop} = State) ->
    _ =
        case wait_for(Context, 'erlang.reactor', drained, [], Timeout) of
            %% Its queue has no room for the question.
            {error, {overloaded, _, _}} -> look_until_drained(State, erlang:monotonic_time(millisecond) + Timeout);
            Drained -> Drained
        end,
    case OnStop of
        undefined -> ok;
        {Module, Function, Args} -> stopped_python(wait_for(Context, Module, Function, Args, Timeout))
    end;
drained({error, _}, _State) ->
    ok.

look_until_drained(#state{handle = Handle} = State, Deadline) ->
    case {py_nif:reactor_stats(Handle), erlang:monotonic_time(millisecond) < Deadline} of
        {{Active, _, _, _, _}, true} when Active > 0 ->
            receive
            after ?LOOK -> look_until_drained(State, Deadline)
            end;
        _ ->
            drained
    end.

wait_for(Context, Module, Function, Args, Timeout) ->
    case py_context:submit_await(Context, Module, Function, Args, #{}, Timeout) of
        {error, timeout} -> timeout;
        Result -> Result
    end.

stopped_python({error, Reason}) ->
    ?LOG_ERROR("Python reactor: on_stop failed: ~tp", [Reason]);
stopped_python(_) ->
    ok.
