-module(py_context).
-include("py_doc.hrl").
?MODULEDOC("""
A context: an Erlang process that owns a Python interpreter with the one thread that runs it.

The process is what users link to, monitor and supervise. Calls do not pass through it: callers submit to
the context's mailbox themselves, and its thread answers them.
""").
-export([new/0, new/1, start_link/2, start_link/3, child_spec/1, stop/1, destroy/1]).
-export([call/4, call/5, call/6, call/7, eval/2, eval/3, eval/4, eval/5, exec/2, exec/3, interrupt/1]).
-export([call_method/4, to_term/1]).
-export([memory_usage/1, get_interp_id/1, is_subinterp/1, create_local_env/1, get_nif_ref/1]).
-export([submit/4, submit/5, submit_await/4, submit_await/5, submit_await/6]).
-export([start_loop/1, start_loop/2, stop_loop/1, stop_loop/2, loop_ref/1]).
-export([start_default/2, new_with/1, handle/1, sandbox/2]).
-export_type([mode/0, settings/0]).

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
    start(Options, fun(Checked) -> py_context_process:start_link(Checked#{id => Id}) end).

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
        proc_lib:translate_initial_call(Pid) =/= {py_context_process, init, 1} andalso
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
%% Options that were checked.
-spec new_with(py_context_process:options()) -> {ok, pid()} | {error, term()}.
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
            case py_context_process:birth(Checked) of
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
