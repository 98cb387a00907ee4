-module(py_context).
-include("py_doc.hrl").
?MODULEDOC("""
A context: an Erlang process that owns a Python interpreter with the one thread that runs it.

The process is what users link to, monitor and supervise. Calls do not pass through it: callers submit to
the context's mailbox themselves, and its thread answers them.
""").
-behaviour(gen_server).

-export([new/0, new/1, start_link/2, start_link/3, child_spec/1, stop/1, destroy/1]).
-export([call/4, call/5, call/6, call/7, eval/2, eval/3, eval/4, eval/5, exec/2, exec/3, interrupt/1]).
-export([call_method/4, to_term/1]).
-export([memory_usage/1, get_interp_id/1, is_subinterp/1, create_local_env/1, get_nif_ref/1]).
-export([submit/4, submit/5, submit_await/4, submit_await/5, submit_await/6]).
-export([start_loop/1, start_loop/2, stop_loop/1, stop_loop/2, loop_ref/1]).
-export([start_default/2, start_process/1, new_with/1, handle/1, sandbox/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([mode/0, options/0, settings/0]).

-include_lib("kernel/include/logger.hrl").
-include("py_arguments.hrl").

-type mode() :: owngil | worker.
-type settings() :: #{
    mode => mode(),
    max_queue => pos_integer() | infinity,
    conversion => py_conversion:options(),
    sandbox => py_sandbox:policy(),
    memory_limit => pos_integer() | infinity,
    max_result_size => pos_integer() | infinity,
    venv => node | none | unicode:chardata(),
    preload => node | none | py:code(),
    output => py_output:destination()
}.
%% `id' is for logs only; `pool' hears of the start by `{py_context_ready, Pid, Handle}'.
-type options() :: #{
    mode := mode(),
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
    mode :: mode()
}).

%% How long a thread may take to end before its process goes without it.
-define(END_TIMEOUT, 8_000).

?DOC("Starts a context of the default mode; see `new/1`.").
-spec new() -> {ok, pid()} | {error, term()}.
new() ->
    new(#{}).

?DOC("""
Starts a context under the application's supervisor, and waits until it is ready.

`mode` is `owngil` (an interpreter and a GIL of its own) or `worker` (the main interpreter, for extension
modules that refuse any other); the default is the safest one that runs in parallel on the Python in use.
`max_queue` is how many requests may wait in it (the setting `max_queue` where it is missing); a further one is
answered `{error, {overloaded, Current, Max}}` at once. `conversion` is a map as `py_conversion` describes it.
`venv` is the path of a virtual environment, `none`, or `node` for what `py:activate_venv/1` says; `preload` is code
that runs first, `none`, or `node` for that of `py_preload`.
It is not linked to the caller and not restarted when it ends. Errors: `{bad_option, Key, Value}`,
`{not_supported, Mode}`, `{context_start, Reason}`, `not_running`.
""").
-spec new(settings()) -> {ok, pid()} | {error, term()}.
new(Options) when is_map(Options) ->
    start(Options, fun py_context_sup:start_context/1);
new(Options) ->
    py_badarg:refuse(?FORM([options], [Options]), options, wrong).

?DOC("Starts a context linked to the caller; `Id` names it in logs.").
-spec start_link(Id :: term(), mode()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode) ->
    start_link(Id, Mode, #{}).

?DOC("As `start_link/2`, with the further options of `new/1`.").
-spec start_link(Id :: term(), mode(), settings()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode, Options) when is_map(Options) ->
    start_default(Id, Options#{mode => Mode});
start_link(Id, Mode, Options) ->
    py_badarg:refuse(?FORM([id, mode, options], [Id, Mode, Options]), options, wrong).

?DOC("""
A child specification for a supervisor of your own. All options are optional: `id`, `mode`, and the others of
`start_link/3`, which checks them when the supervisor starts the context.
""").
-spec child_spec(#{
    id => term(),
    mode => mode(),
    max_queue => pos_integer() | infinity,
    conversion => py_conversion:options(),
    sandbox => py_sandbox:policy(),
    memory_limit => pos_integer() | infinity,
    max_result_size => pos_integer() | infinity,
    venv => node | none | unicode:chardata(),
    preload => node | none | py:code(),
    output => py_output:destination()
}) -> supervisor:child_spec().
child_spec(Options) when is_map(Options) ->
    Id = maps:get(id, Options, ?MODULE),
    #{id => Id, start => start_of(Id, maps:remove(id, Options)), shutdown => 10_000};
child_spec(Options) ->
    py_badarg:refuse(?FORM([options], [Options]), options, wrong).

%% The default mode is that of the moment of the start: before the application runs nobody knows it.
start_of(Id, #{mode := Mode} = Options) -> {?MODULE, start_link, [Id, Mode, maps:remove(mode, Options)]};
start_of(Id, Options) -> {?MODULE, start_default, [Id, Options]}.

?DOC(false).
-spec start_default(Id :: term(), map()) -> {ok, pid()} | {error, term()}.
start_default(Id, Options) ->
    start(Options, fun(Checked) -> start_process(Checked#{id => Id}) end).

?DOC("Ends a context and waits for it. What is queued or runs there is answered `{error, {context_died, _}}`.").
-spec stop(pid()) -> ok | {error, {context_died, noconnection}}.
stop(Context) ->
    ended(?FORM([context], [Context]), Context).

?DOC("The same as `stop/1`.").
-spec destroy(pid()) -> ok | {error, {context_died, noconnection}}.
destroy(Context) ->
    ended(?FORM([context], [Context]), Context).

ended(Form, Context) ->
    _ = py_arguments:context(Form, Context),
    %% Any OTP process would obey.
    _ = is_something_else(Context) andalso py_badarg:refuse(Form, context, wrong),
    try
        gen_server:stop(Context)
    catch
        %% Who knows what became of it?
        exit:Reason when Reason =:= noconnection; element(1, element(1, Reason)) =:= nodedown ->
            {error, {context_died, noconnection}};
        %% It ended before or meanwhile, for whatever reason.
        exit:_ -> ok
    end.

is_something_else(Pid) ->
    node(Pid) =:= node() andalso
        proc_lib:translate_initial_call(Pid) =/= {?MODULE, init, 1} andalso
        %% Of a process that has ended the call is not known any more.
        is_process_alive(Pid).

%% ------------------------------------------------------------------------------------------------
%% Requests

?DOC("Calls a function in the process's namespace of the context, without a time limit.").
-spec call(pid(), py:name(), py:name(), [term()]) -> py:result().
call(Context, Module, Function, Args) ->
    Form = ?FORM([context, module, function, args], [Context, Module, Function, Args]),
    called(Form, Context, Module, Function, Args, #{}, infinity, own).

?DOC("As `call/4`, with keyword arguments.").
-spec call(pid(), py:name(), py:name(), [term()], py:kwargs()) -> py:result().
call(Context, Module, Function, Args, Kwargs) ->
    Form = ?FORM([context, module, function, args, kwargs], [Context, Module, Function, Args, Kwargs]),
    called(Form, Context, Module, Function, Args, Kwargs, infinity, own).

?DOC("As `call/5`, with a time limit.").
-spec call(pid(), py:name(), py:name(), [term()], py:kwargs(), timeout()) -> py:result().
call(Context, Module, Function, Args, Kwargs, Timeout) ->
    Values = [Context, Module, Function, Args, Kwargs, Timeout],
    Form = ?FORM([context, module, function, args, kwargs, timeout], Values),
    called(Form, Context, Module, Function, Args, Kwargs, Timeout, own).

?DOC("""
As `call/6`, in an environment of the context: `'__main__'` is that environment. One of another context, or of
a process that has ended, is `{error, stale_reference}`.
""").
-spec call(pid(), py:name(), py:name(), [term()], py:kwargs(), timeout(), reference()) -> py:result().
call(Context, Module, Function, Args, Kwargs, Timeout, Environment) ->
    Form = ?FORM(
        [context, module, function, args, kwargs, timeout, environment],
        [Context, Module, Function, Args, Kwargs, Timeout, Environment]
    ),
    Scope = py_arguments:environment(Form, Environment),
    called(Form, Context, Module, Function, Args, Kwargs, Timeout, Scope).

called(Form, Context, Module, Function, Args, Kwargs, Timeout, Scope) ->
    _ = py_arguments:context(Form, Context),
    Payload = py_arguments:call(Form, Module, Function, Args, Kwargs),
    py_call:explicit(Context, Payload, py_arguments:timeout(Form, Timeout), Scope).

?DOC("The value of an expression in the process's namespace of the context, without a time limit.").
-spec eval(pid(), py:code()) -> py:result().
eval(Context, Code) ->
    evaluated(?FORM([context, code], [Context, Code]), Context, Code, #{}, infinity, own).

?DOC("As `eval/2`, with a map of names to values that this expression alone sees.").
-spec eval(pid(), py:code(), map()) -> py:result().
eval(Context, Code, Locals) ->
    Form = ?FORM([context, code, locals], [Context, Code, Locals]),
    evaluated(Form, Context, Code, Locals, infinity, own).

?DOC("As `eval/3`, with a time limit.").
-spec eval(pid(), py:code(), map(), timeout()) -> py:result().
eval(Context, Code, Locals, Timeout) ->
    Form = ?FORM([context, code, locals, timeout], [Context, Code, Locals, Timeout]),
    evaluated(Form, Context, Code, Locals, Timeout, own).

?DOC("As `eval/4`, in an environment of the context; see `call/7`.").
-spec eval(pid(), py:code(), map(), timeout(), reference()) -> py:result().
eval(Context, Code, Locals, Timeout, Environment) ->
    Form = ?FORM([context, code, locals, timeout, environment], [Context, Code, Locals, Timeout, Environment]),
    Scope = py_arguments:environment(Form, Environment),
    evaluated(Form, Context, Code, Locals, Timeout, Scope).

evaluated(Form, Context, Code, Locals, Timeout, Scope) ->
    _ = py_arguments:context(Form, Context),
    Payload = py_arguments:evaluation(Form, Code, Locals),
    py_call:explicit(Context, Payload, py_arguments:timeout(Form, Timeout), Scope).

?DOC("Runs statements in the process's namespace of the context, without a time limit.").
-spec exec(pid(), py:code()) -> ok | {error, term()}.
exec(Context, Code) ->
    executed(?FORM([context, code], [Context, Code]), Context, Code, own).

?DOC("As `exec/2`, in an environment of the context; see `call/7`.").
-spec exec(pid(), py:code(), reference()) -> ok | {error, term()}.
exec(Context, Code, Environment) ->
    Form = ?FORM([context, code, environment], [Context, Code, Environment]),
    executed(Form, Context, Code, py_arguments:environment(Form, Environment)).

executed(Form, Context, Code, Scope) ->
    _ = py_arguments:context(Form, Context),
    py_call:explicit(Context, py_arguments:statements(Form, Code), infinity, Scope).

?DOC("""
Calls a method of an object of the context's interpreter, without a time limit; see `py:call_method/3`, which finds
the context itself.
""").
-spec call_method(pid(), py_nif:object(), py:name(), [term()]) -> py:result().
call_method(Context, Ref, Method, Args) ->
    Form = ?FORM([context, object, method, args], [Context, Ref, Method, Args]),
    _ = py_arguments:context(Form, Context),
    py_call:explicit(Context, py_arguments:method(Form, Ref, Method, Args), infinity).

?DOC("The same as `py:to_term/1`, without a time limit.").
-spec to_term(py_nif:object()) -> py:result().
to_term(Ref) ->
    _ = py_arguments:object(?FORM([object], [Ref]), Ref),
    py_call:explicit(Ref, {to_term, Ref}, infinity).

%% ------------------------------------------------------------------------------------------------
%% Tasks, and the asyncio loop that they run on

?DOC("As `submit/5` without keyword arguments.").
-spec submit(pid(), py:name(), py:name(), [term()]) -> {ok, reference()} | {error, term()}.
submit(Context, Module, Function, Args) ->
    Form = ?FORM([context, module, function, args], [Context, Module, Function, Args]),
    submitted(Form, Context, Module, Function, Args, #{}).

?DOC("""
Calls a function on the asyncio loop of the context and returns at once. An awaitable that it returns is awaited; any
other value is the result. The process gets `{async_result, Ref, Result}`, with `py_event_loop:await/1,2` or its own
`receive`; `py:cancel/1` cancels the task, and so does the end of the process. The context goes on serving calls
meanwhile. `start_loop/1` is not needed for it.
""").
-spec submit(pid(), py:name(), py:name(), [term()], py:kwargs()) -> {ok, reference()} | {error, term()}.
submit(Context, Module, Function, Args, Kwargs) ->
    Form = ?FORM([context, module, function, args, kwargs], [Context, Module, Function, Args, Kwargs]),
    submitted(Form, Context, Module, Function, Args, Kwargs).

submitted(Form, Context, Module, Function, Args, Kwargs) ->
    _ = py_arguments:context(Form, Context),
    py_tasks:submit(Context, py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("As `submit_await/6` without keyword arguments and time limit.").
-spec submit_await(pid(), py:name(), py:name(), [term()]) -> py:result().
submit_await(Context, Module, Function, Args) ->
    Form = ?FORM([context, module, function, args], [Context, Module, Function, Args]),
    run(Form, Context, Module, Function, Args, #{}, infinity).

?DOC("As `submit_await/6` without a time limit.").
-spec submit_await(pid(), py:name(), py:name(), [term()], py:kwargs()) -> py:result().
submit_await(Context, Module, Function, Args, Kwargs) ->
    Form = ?FORM([context, module, function, args, kwargs], [Context, Module, Function, Args, Kwargs]),
    run(Form, Context, Module, Function, Args, Kwargs, infinity).

?DOC("As `submit/5`, and waits for the result. At the time-out the task is cancelled.").
-spec submit_await(pid(), py:name(), py:name(), [term()], py:kwargs(), timeout()) -> py:result().
submit_await(Context, Module, Function, Args, Kwargs, Timeout) ->
    Values = [Context, Module, Function, Args, Kwargs, Timeout],
    Form = ?FORM([context, module, function, args, kwargs, timeout], Values),
    run(Form, Context, Module, Function, Args, Kwargs, Timeout).

run(Form, Context, Module, Function, Args, Kwargs, Timeout) ->
    _ = py_arguments:context(Form, Context),
    Payload = py_arguments:call(Form, Module, Function, Args, Kwargs),
    py_tasks:run_explicit(Context, Payload, py_arguments:timeout(Form, Timeout)).

?DOC("As `start_loop/2`, owned by the calling process.").
-spec start_loop(pid()) -> ok | {error, term()}.
start_loop(Context) ->
    asked(?FORM([context], [Context]), Context, {start_loop, self()}).

?DOC("""
Makes the asyncio loop of the context now, and gives it an `owner`, the calling process by default. The owner is
told of its end, whatever the reason, by `{py_loop_exit, Context, Result}`; when the owner ends, the loop is stopped.
`Result` is `{ok, <<"stopped">>}`, or `{error, Reason}`: `interrupted` where code had to be, or where the context was
stopped, `{context_died, _}` where it died.

Errors: `already_running`; `loop_start_timeout` when the context does something else for longer than the setting
`context_start_timeout`.
""").
-spec start_loop(pid(), #{owner => pid()}) -> ok | {error, term()}.
start_loop(Context, Options) ->
    Form = ?FORM([context, options], [Context, Options]),
    asked(Form, Context, {start_loop, py_arguments:owner(Form, Options)}).

?DOC("As `stop_loop/2` with 5 seconds.").
-spec stop_loop(pid()) -> ok | {error, term()}.
stop_loop(Context) ->
    asked(?FORM([context], [Context]), Context, {stop_loop, 5_000}).

?DOC("""
Ends what `start_loop/1,2` began, and waits for it: every task of the loop is cancelled and runs its `finally`
blocks, for so many milliseconds at most; then transports and asynchronous generators are closed, and the loop. Code
that does not let the loop have its turn is interrupted after that time. The context goes on, and its next task has a
new loop.

Errors: `no_loop` when none was started, `timeout` when the code ignores the interrupt, too.
""").
-spec stop_loop(pid(), non_neg_integer()) -> ok | {error, term()}.
stop_loop(Context, Grace) ->
    Form = ?FORM([context, grace], [Context, Grace]),
    asked(Form, Context, {stop_loop, py_arguments:grace(Form, Grace)}).

?DOC("The asyncio loop of the context, as `py_event_loop:exec/2`, `eval/2` and `run_async/2` take it.").
-spec loop_ref(pid()) -> {ok, reference()} | {error, term()}.
loop_ref(Context) ->
    asked(?FORM([context], [Context]), Context, handle).

%% ------------------------------------------------------------------------------------------------
%% What there is to know, and environments

?DOC("""
CPython's number of the interpreter: 0 is the main one, which all contexts of mode `worker` share. Below Python
3.14.1 a later context may get the interpreter, and so the number, of one that has ended.
""").
-spec get_interp_id(pid()) -> {ok, non_neg_integer()} | {error, term()}.
get_interp_id(Context) ->
    case py_target:info(py_arguments:context(?FORM([context], [Context]), Context)) of
        {error, _} = Error -> Error;
        {_Mode, Id, _Processes, _Queue} when Id >= 0 -> {ok, Id};
        _Starting -> once_ready(Context, fun() -> get_interp_id(Context) end)
    end.

once_ready(Context, Fun) ->
    case server_call(Context, await_ready) of
        ok -> Fun();
        {error, _} = Error -> Error
    end.

?DOC("""
What the interpreter of the context has of memory, in bytes: `used` now, `peak` since the context began, and the
`limit` that it was started with. Never waits. Memory that C libraries take for themselves is not in it; below Python
3.14.1 what former contexts of the interpreter have left is. In mode `worker`, where contexts share one interpreter, it
is `{error, {not_supported, worker}}`.
""").
-spec memory_usage(pid()) ->
    {ok, #{used := non_neg_integer(), peak := non_neg_integer(), limit := pos_integer() | infinity}} | {error, term()}.
memory_usage(Context) ->
    case py_target:memory(py_arguments:context(?FORM([context], [Context]), Context)) of
        {error, _} = Error -> Error;
        {Used, Peak, Limit} -> {ok, #{used => Used, peak => max(Used, Peak), limit => Limit}};
        starting -> once_ready(Context, fun() -> memory_usage(Context) end)
    end.

?DOC("Whether the context has an interpreter of its own, with its own GIL: the mode `owngil`.").
-spec is_subinterp(pid()) -> boolean() | {error, term()}.
is_subinterp(Context) ->
    case py_target:info(py_arguments:context(?FORM([context], [Context]), Context)) of
        {error, _} = Error -> Error;
        Info -> element(1, Info) =:= owngil
    end.

?DOC("""
A new, empty namespace in the context, which any process may name in `call/7`, `eval/5` and `exec/3`.
It goes with the last reference to it, or with the context.
""").
-spec create_local_env(pid()) -> {ok, reference()} | {error, term()}.
create_local_env(Context) ->
    py_target:environment(py_arguments:context(?FORM([context], [Context]), Context)).

?DOC("The native reference of the context; it keeps the context's memory, not the context, alive.").
-spec get_nif_ref(pid()) -> reference() | {error, term()}.
get_nif_ref(Context) ->
    case asked(?FORM([context], [Context]), Context, handle) of
        {ok, Handle} -> Handle;
        Error -> Error
    end.

%% What its process answers, if it is a context.
asked(Form, Context, Request) ->
    case py_target:info(py_arguments:context(Form, Context)) of
        {error, _} = Error -> Error;
        _ -> server_call(Context, Request)
    end.

?DOC("Raises `erlang.Interrupted` in the code that runs in the context now; `not_running` when none does.").
-spec interrupt(pid()) -> ok | not_running | {error, term()}.
interrupt(Context) ->
    py_target:interrupt(py_arguments:context(?FORM([context], [Context]), Context)).

?DOC(false).
-spec start_process(options()) -> {ok, pid()} | {error, term()}.
start_process(Options) ->
    case gen_server:start_link(?MODULE, Options, []) of
        {ok, Pid} -> {ok, Pid};
        {error, {shutdown, {context_start, _} = Reason}} -> {error, Reason};
        {error, Reason} -> {error, Reason};
        ignore -> {error, not_running}
    end.

?DOC(false).
%% Options that were checked.
-spec new_with(options()) -> {ok, pid()} | {error, term()}.
new_with(Options) ->
    ready(py_context_sup:start_context(Options)).

?DOC(false).
-spec handle(pid()) -> {ok, py_nif:handle()} | {error, term()}.
handle(Context) ->
    server_call(Context, handle).

?DOC(false).
%% For py_sandbox.
-spec sandbox(pid(), policy) -> {ok, py_sandbox:checked()} | {error, term()};
    (pid(), refusals) -> {ok, #{binary() => pos_integer()}} | {error, term()}.
sandbox(Context, What) ->
    server_call(Context, {sandbox, What}).

start(Options, Start) ->
    %% A process that fails to start would take a linked caller along.
    case {py_nif:python(), py_pool_options:context(Options)} of
        {{error, _} = Error, _} ->
            Error;
        {_, {ok, Checked}} ->
            case birth(Checked) of
                {ok, Birth} -> ready(Start(Checked#{birth => Birth}));
                {error, _} = Error -> Error
            end;
        {_, {error, _} = Error} ->
            Error
    end.

ready({ok, Pid}) -> await_ready(Pid);
ready({error, _} = Error) -> Error.

await_ready(Pid) ->
    case server_call(Pid, await_ready) of
        ok -> {ok, Pid};
        {error, _} = Error -> Error
    end.

%% The time limit of a start is the context's own.
server_call(Context, Request) ->
    try
        gen_server:call(Context, Request, infinity)
    catch
        exit:{{shutdown, {context_start, _} = Reason}, _} -> {error, Reason};
        exit:{{nodedown, _}, _} -> {error, {context_died, noconnection}};
        exit:{Reason, _} -> {error, {context_died, Reason}}
    end.

%% ------------------------------------------------------------------------------------------------
%% The process

-spec init(options()) -> {ok, #state{}} | {stop, term()}.
init(Options) ->
    process_flag(trap_exit, true),
    ok = py_sandbox:prepare(maps:get(sandbox, Options)),
    case birth(Options) of
        {ok, Birth} -> init(Options, Birth);
        {error, Reason} -> {stop, {shutdown, Reason}}
    end.

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
native({inline_slow, Payload, Microseconds, Count}, State) ->
    ok = py_telemetry_watcher:event(
        [erlang_python, inline, slow], #{count => Count, microseconds => Microseconds}, told_of(State)
    ),
    ok = py_inline:slow(State#state.id, Payload, Microseconds, Count),
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
