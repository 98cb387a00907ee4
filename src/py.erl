-module(py).
-include("py_doc.hrl").
?MODULEDOC("""
Python inside the BEAM.

    1> application:ensure_all_started(erlang_python).
    2> py:call(math, sqrt, [16]).
    {ok,4.0}

Modules and functions are named by atoms, binaries or strings. Results are `{ok, Value}` or
`{error, Reason}`; a Python exception is `{error, {Class, Message}}`, and `last_error/0` tells the rest.
Calls that pick a context themselves wait 30 seconds at most unless told otherwise; calls to an explicit
context wait for ever unless told otherwise. Every process has a namespace of its own in each context; the
module `'__main__'` is that namespace.

An argument of the wrong type is `error:badarg`, and the shell says which one and why. While the application
does not run, every function answers `{error, not_running}`; what asks whether something is there says `false`.
""").

-export([call/3, call/4, call/5, cast/3, cast/4, cast/5]).
-export([spawn_call/3, spawn_call/4, spawn_call/5, await/1, await/2, cancel/1]).
-export([async_call/3, async_call/4, async_await/1, async_await/2, async_gather/1, async_gather/2]).
-export([stream/3, stream/4, stream_eval/1, stream_eval/2]).
-export([stream_start/3, stream_start/4, stream_demand/2, stream_cancel/1]).
-export([eval/1, eval/2, eval/3, eval/4, exec/1, exec/2, parallel/1, interrupt/1]).
-export([is_ref/1, getattr/2, call_method/3, to_term/1]).
-export([context/0, context/1, start_contexts/0, start_contexts/1, stop_contexts/0, contexts_started/0]).
-export([register_pool/2, unregister_pool/1, get_local_env/1]).
-export([register_function/2, register_function/3, unregister_function/1]).
-export([memory_stats/0, gc/0, gc/1, tracemalloc_start/0, tracemalloc_start/1, tracemalloc_stop/0]).
-export([reload/1]).
-export([state_fetch/1, state_store/2, state_remove/1, state_keys/0, state_clear/0]).
-export([state_incr/1, state_incr/2, state_decr/1, state_decr/2]).
-export([ensure_venv/2, ensure_venv/3]).
-export([configure_logging/0, configure_logging/1]).
-export([last_error/0, version/0, execution_mode/0, subinterp_supported/0]).
-export([info/0, info/1]).
-export([activate_venv/1, deactivate_venv/0, venv_info/0]).
-export([mark_inline/2, mark_inline/3, unmark_inline/2, marked_inline/0, allow_inline/1]).
-export([call_many/3, call_many/4, call_many/5, map/3, map/4, map/5]).

%% ------------------------------------------------------------------------------------------------
-export([enable_tracing/0, disable_tracing/0, get_traces/0, clear_traces/0]).
-export_type([batch_options/0, map_options/0]).
-export_type([name/0, result/0, kwargs/0, code/0, async_call/0, stream_options/0]).

-include("py_arguments.hrl").

-type name() :: atom() | binary() | string().
%% A module's or function's name.
-type kwargs() :: #{atom() | binary() => term()}.
%% Keyword arguments.
-type code() :: binary() | string().
-type async_call() ::
    {Module :: name(), Function :: name(), Args :: [term()]}
    | {Module :: name(), Function :: name(), Args :: [term()], kwargs()}.
-type result() :: {ok, term()} | {error, term()}.
-type stream_options() :: #{
    owner => pid(),
    demand => non_neg_integer() | infinity,
    kwargs => kwargs(),
    timeout => timeout(),
    context => pid(),
    pool => atom()
}.

-type batch_options() :: #{kwargs => kwargs(), timeout => timeout()}.
-type map_options() :: #{
    kwargs => kwargs(),
    timeout => timeout(),
    chunk_size => pos_integer(),
    max_in_flight => pos_integer()
}.

-define(DEFAULT_TIMEOUT, 30_000).

%% ------------------------------------------------------------------------------------------------
%% Calls

?DOC("""
Calls a function on the process's context of the pool `default`, or of the pool that `register_pool/2` gave
the function or its module; waits as long as calls of the pool may take, 30 seconds unless
its option `timeout`, or the setting `call_timeout`, says otherwise.
""").
-spec call(name(), name(), [term()]) -> result().
call(Module, Function, Args) ->
    routed(?CALL(?FORM([module, function, args], [Module, Function, Args]), Module, Function, Args, #{}), default).

?DOC("""
One of

  * `call(Context, Module, Function, Args)`: on an explicit context, without a time limit;
  * `call(Pool, Module, Function, Args)`: on the process's context of a named pool (`Pool` and `Function` atoms);
  * `call(Module, Function, Args, Kwargs)`.
""").
-spec call(pid() | atom() | name(), name(), name() | [term()], [term()] | kwargs()) -> result().
call(Context, Module, Function, Args) when is_pid(Context) ->
    Payload = ?CALL(
        ?FORM([context, module, function, args], [Context, Module, Function, Args]), Module, Function, Args, #{}
    ),
    py_call:explicit(Context, Payload, infinity);
call(Pool, Module, Function, Args) when is_atom(Pool), is_atom(Function) ->
    Payload = ?CALL(?FORM([pool, module, function, args], [Pool, Module, Function, Args]), Module, Function, Args, #{}),
    py_call:pooled(Pool, Payload, default);
call(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    routed(py_arguments:call(Form, Module, Function, Args, Kwargs), default).

?DOC("""
One of

  * `call(Context, Module, Function, Args, Options)` with
    `#{kwargs => map(), timeout => timeout(), dispatch => mailbox | inline | auto}`;
  * `call(Pool, Module, Function, Args, Kwargs)` (`Pool` and `Function` atoms, `Kwargs` a map);
  * `call(Module, Function, Args, Kwargs, Timeout)`.

`{error, timeout}` comes on time whatever the code does; the code is interrupted, and nothing else is.

With `dispatch => inline` the function runs on the calling scheduler, as a NIF would, where that can be had at once, and
by the mailbox of the context elsewhere; it is for functions that take microseconds. `auto`: once a function that was marked
with `mark_inline/2,3` has shown that it is short. See `docs/inline.md`.
""").
-spec call(
    pid() | atom() | name(), name(), name() | [term()], [term()] | kwargs(), map() | timeout()
) -> result().
call(Context, Module, Function, Args, #{dispatch := inline} = Options) when is_pid(Context), map_size(Options) =:= 1 ->
    Payload = ?CALL(
        ?FORM([context, module, function, args, options], [Context, Module, Function, Args, Options]),
        Module,
        Function,
        Args,
        #{}
    ),
    py_call:explicit(Context, Payload, infinity, own, inline);
call(Context, Module, Function, Args, Options) when is_pid(Context) ->
    Form = ?FORM([context, module, function, args, options], [Context, Module, Function, Args, Options]),
    {Kwargs, Timeout, Dispatch} = py_arguments:call_options(Form, Options),
    dispatched(Context, py_arguments:call(Form, Module, Function, Args, Kwargs), Timeout, Dispatch);
call(Pool, Module, Function, Args, Kwargs) when is_atom(Pool), is_atom(Function), is_map(Kwargs) ->
    Form = ?FORM([pool, module, function, args, kwargs], [Pool, Module, Function, Args, Kwargs]),
    py_call:pooled(Pool, py_arguments:call(Form, Module, Function, Args, Kwargs), default);
call(Module, Function, Args, Kwargs, Timeout) ->
    Form = ?FORM([module, function, args, kwargs, timeout], [Module, Function, Args, Kwargs, Timeout]),
    Payload = py_arguments:call(Form, Module, Function, Args, Kwargs),
    routed(Payload, py_arguments:timeout(Form, Timeout)).

?DOC("""
Calls a function without waiting: the result is dropped, an exception is logged. It runs in the process's
namespace, also after the process has ended. Nothing is said of a context that dies; what refuses the call
before (no such pool, a full queue) is the answer.
""").
-spec cast(name(), name(), [term()]) -> ok | {error, term()}.
cast(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    cast_routed(py_arguments:call(Form, Module, Function, Args, #{})).

?DOC("The forms of `call/4`.").
-spec cast(pid() | atom() | name(), name(), name() | [term()], [term()] | kwargs()) ->
    ok | {error, term()}.
cast(Context, Module, Function, Args) when is_pid(Context) ->
    Form = ?FORM([context, module, function, args], [Context, Module, Function, Args]),
    py_call:cast_explicit(Context, py_arguments:call(Form, Module, Function, Args, #{}));
cast(Pool, Module, Function, Args) when is_atom(Pool), is_atom(Function) ->
    Form = ?FORM([pool, module, function, args], [Pool, Module, Function, Args]),
    py_call:cast_pooled(Pool, py_arguments:call(Form, Module, Function, Args, #{}));
cast(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    cast_routed(py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("`cast(Context | Pool, Module, Function, Args, Kwargs)`.").
-spec cast(pid() | atom(), name(), name(), [term()], kwargs()) -> ok | {error, term()}.
cast(Context, Module, Function, Args, Kwargs) when is_pid(Context) ->
    Form = ?FORM([context, module, function, args, kwargs], [Context, Module, Function, Args, Kwargs]),
    py_call:cast_explicit(Context, py_arguments:call(Form, Module, Function, Args, Kwargs));
cast(Pool, Module, Function, Args, Kwargs) ->
    Form = ?FORM([pool, module, function, args, kwargs], [Pool, Module, Function, Args, Kwargs]),
    _ = py_arguments:pool(Form, Pool),
    py_call:cast_pooled(Pool, py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("""
Starts a call and returns at once; the process gets `{py_response, Ref, Result}`, with `await/1,2` or its own
`receive`. A request that is refused has a reference, too; the error comes as its message.
""").
-spec spawn_call(name(), name(), [term()]) -> reference().
spawn_call(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    spawn_routed(py_arguments:call(Form, Module, Function, Args, #{})).

?DOC("The forms of `call/4`.").
-spec spawn_call(pid() | atom() | name(), name(), name() | [term()], [term()] | kwargs()) ->
    reference().
spawn_call(Context, Module, Function, Args) when is_pid(Context) ->
    Form = ?FORM([context, module, function, args], [Context, Module, Function, Args]),
    py_call:spawn_explicit(Context, py_arguments:call(Form, Module, Function, Args, #{}));
spawn_call(Pool, Module, Function, Args) when is_atom(Pool), is_atom(Function) ->
    Form = ?FORM([pool, module, function, args], [Pool, Module, Function, Args]),
    py_call:spawn_pooled(Pool, py_arguments:call(Form, Module, Function, Args, #{}));
spawn_call(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    spawn_routed(py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("`spawn_call(Context | Pool, Module, Function, Args, Kwargs)`.").
-spec spawn_call(pid() | atom(), name(), name(), [term()], kwargs()) -> reference().
spawn_call(Context, Module, Function, Args, Kwargs) when is_pid(Context) ->
    Form = ?FORM([context, module, function, args, kwargs], [Context, Module, Function, Args, Kwargs]),
    py_call:spawn_explicit(Context, py_arguments:call(Form, Module, Function, Args, Kwargs));
spawn_call(Pool, Module, Function, Args, Kwargs) ->
    Form = ?FORM([pool, module, function, args, kwargs], [Pool, Module, Function, Args, Kwargs]),
    _ = py_arguments:pool(Form, Pool),
    py_call:spawn_pooled(Pool, py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("Waits for a `spawn_call`, 30 seconds at most; only for the process that made it.").
-spec await(reference()) -> result().
await(Ref) ->
    py_tasks:awaited(?FORM([ref], [Ref]), Ref, ?DEFAULT_TIMEOUT).

?DOC("As `await/1`; at the time-out the request is cancelled and no message of it comes any more.").
-spec await(reference(), timeout()) -> result().
await(Ref, Timeout) ->
    Form = ?FORM([ref, timeout], [Ref, Timeout]),
    py_tasks:awaited(Form, Ref, py_arguments:timeout(Form, Timeout)).

?DOC("""
Takes a `spawn_call` or a task back: its code is interrupted, or the task cancelled, and no message of it comes any
more.
""").
-spec cancel(reference()) -> ok.
cancel(Ref) ->
    Form = ?FORM([ref], [Ref]),
    case py_call:cancel(py_arguments:reference(Form, Ref)) of
        not_owner -> py_badarg:refuse(Form, ref, wrong);
        ok -> ok
    end.

?DOC("""
Calls `[{Module, Function, Args}]` in parallel, on all contexts of the pool `default` or of those that the
functions were registered to; the results come in the order of the calls. What is not done when calls of these pools
may take no longer, after 30 seconds unless said otherwise, is `{error, timeout}`.
""").
-spec parallel([{name(), name(), [term()]}]) -> {ok, [result()]} | {error, term()}.
parallel(Calls) ->
    Payloads = py_arguments:calls(?FORM([calls], [Calls]), Calls),
    py_call:parallel([{pool_of(Payload), Payload} || Payload <- Payloads], default).

?DOC("As `async_call/4` without keyword arguments.").
-spec async_call(name(), name(), [term()]) -> reference().
async_call(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    async_routed(py_arguments:call(Form, Module, Function, Args, #{})).

?DOC("""
Calls a function on the asyncio loop of the process's context, and returns at once; the process gets
`{async_result, Ref, Result}`, with `async_await/1,2` or its own `receive`. An awaitable that the function returns is
awaited, any other value is the result. The task is cancelled when the process ends. As with `spawn_call/4`,
a task that is refused has a reference, too, and registrations by `register_pool/2` count. More such functions are in
`py_event_loop`.
""").
-spec async_call(name(), name(), [term()], kwargs()) -> reference().
async_call(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    async_routed(py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("Waits for an `async_call`, 30 seconds at most; only for the process that made it.").
-spec async_await(reference()) -> result().
async_await(Ref) ->
    py_tasks:awaited(?FORM([ref], [Ref]), Ref, ?DEFAULT_TIMEOUT).

?DOC("As `async_await/1`; at the time-out the task is cancelled and no message of it comes any more.").
-spec async_await(reference(), timeout()) -> result().
async_await(Ref, Timeout) ->
    Form = ?FORM([ref, timeout], [Ref, Timeout]),
    py_tasks:awaited(Form, Ref, py_arguments:timeout(Form, Timeout)).

?DOC("As `async_gather/2`, for as long as calls of the pools may take: 30 seconds unless said otherwise.").
-spec async_gather([async_call()]) -> {ok, [term()]} | {error, term()}.
async_gather(Calls) ->
    gathered(?FORM([tasks], [Calls]), Calls, default).

?DOC("""
Calls functions as `async_call/3,4` does, all at the same time; the values come in the order of the calls. When one or
more have failed, it is `{error, {gather_failed, [{Index, Reason}]}}` with the index of each, from 1, after the last has
ended. The time limit is one for all; those that have not ended by then are cancelled, with the reason `timeout`.
""").
-spec async_gather([async_call()], timeout()) -> {ok, [term()]} | {error, term()}.
async_gather(Calls, Timeout) ->
    Form = ?FORM([tasks, timeout], [Calls, Timeout]),
    gathered(Form, Calls, py_arguments:timeout(Form, Timeout)).

gathered(Form, Calls, Timeout) ->
    Payloads = py_arguments:tasks(Form, Calls),
    py_tasks:gather([{pool_of(Payload), Payload} || Payload <- Payloads], Timeout).

async_routed(Payload) -> py_tasks:pooled(pool_of(Payload), Payload).

routed(Payload, Timeout) -> py_call:pooled(pool_of(Payload), Payload, Timeout).

cast_routed(Payload) -> py_call:cast_pooled(pool_of(Payload), Payload).

spawn_routed(Payload) -> py_call:spawn_pooled(pool_of(Payload), Payload).

dispatched(Context, Payload, Timeout, default) ->
    py_call:explicit(Context, Payload, Timeout);
dispatched(Context, Payload, Timeout, Dispatch) ->
    py_call:explicit(Context, Payload, Timeout, own, py_inline:asked(Dispatch, Payload)).

pool_of({call, Module, Function, _Args, _Kwargs}) -> py_routes:pool(Module, Function).

%% ------------------------------------------------------------------------------------------------
%% Code as text

?DOC("The value of a Python expression, in the process's namespace.").
-spec eval(code()) -> result().
eval(Code) ->
    Form = ?FORM([code], [Code]),
    py_call:pooled(default, py_arguments:evaluation(Form, Code, #{}), default).

?DOC("`eval(Context, Code)` or `eval(Code, Locals)`, `Locals` being a map of names to values.").
-spec eval(pid() | code(), code() | map()) -> result().
eval(Context, Code) when is_pid(Context) ->
    Form = ?FORM([context, code], [Context, Code]),
    py_call:explicit(Context, py_arguments:evaluation(Form, Code, #{}), infinity);
eval(Code, Locals) ->
    Form = ?FORM([code, locals], [Code, Locals]),
    py_call:pooled(default, py_arguments:evaluation(Form, Code, Locals), default).

?DOC("`eval(Context, Code, Locals)`, without a time limit, or `eval(Code, Locals, Timeout)`.").
-spec eval(pid() | code(), code() | map(), map() | timeout()) -> result().
eval(Context, Code, Locals) when is_pid(Context) ->
    Form = ?FORM([context, code, locals], [Context, Code, Locals]),
    py_call:explicit(Context, py_arguments:evaluation(Form, Code, Locals), infinity);
eval(Code, Locals, Timeout) ->
    Form = ?FORM([code, locals, timeout], [Code, Locals, Timeout]),
    Payload = py_arguments:evaluation(Form, Code, Locals),
    py_call:pooled(default, Payload, py_arguments:timeout(Form, Timeout)).

?DOC("""
As `eval/3` on an explicit context, with `#{timeout => timeout(), dispatch => mailbox | inline}`; `dispatch` is that of
`call/5`.
""").
-spec eval(pid(), code(), map(), map()) -> result().
eval(Context, Code, Locals, Options) ->
    Form = ?FORM([context, code, locals, options], [Context, Code, Locals, Options]),
    _ = py_arguments:context(Form, Context),
    {Timeout, Dispatch} = py_arguments:eval_options(Form, Options),
    dispatched(Context, py_arguments:evaluation(Form, Code, Locals), Timeout, Dispatch).

?DOC("Runs Python statements in the process's namespace; what they define is there at the next call.").
-spec exec(code()) -> ok | {error, term()}.
exec(Code) ->
    py_call:pooled(default, py_arguments:statements(?FORM([code], [Code]), Code), default).

?DOC("As `exec/1` on an explicit context, without a time limit.").
-spec exec(pid(), code()) -> ok | {error, term()}.
exec(Context, Code) ->
    Form = ?FORM([context, code], [Context, Code]),
    _ = py_arguments:context(Form, Context),
    py_call:explicit(Context, py_arguments:statements(Form, Code), infinity).

%% ------------------------------------------------------------------------------------------------
%% References to Python objects

?DOC("Whether a term is a reference to a Python object.").
-spec is_ref(term()) -> boolean().
is_ref(Term) ->
    py_nif:is_object(Term) =:= true.

?DOC("""
An attribute of the object that a reference stands for. Runs in the object's context, 30 seconds at most;
`{error, stale_reference}` when the object went with its context.
""").
-spec getattr(py_nif:object(), name()) -> result().
getattr(Ref, Name) ->
    Form = ?FORM([object, attribute], [Ref, Name]),
    _ = py_arguments:object(Form, Ref),
    py_call:explicit(Ref, {getattr, Ref, py_arguments:name(Form, attribute, Name)}, ?DEFAULT_TIMEOUT).

?DOC("Calls a method of the object that a reference stands for, as `getattr/2` finds it.").
-spec call_method(py_nif:object(), name(), [term()]) -> result().
call_method(Ref, Method, Args) ->
    Form = ?FORM([object, method, args], [Ref, Method, Args]),
    py_call:explicit(Ref, py_arguments:method(Form, Ref, Method, Args), ?DEFAULT_TIMEOUT).

?DOC("""
The contents of the object that a reference stands for: of a mapping as a map, of another collection with a
length as a list; `{error, {'TypeError', _}}` for an object without contents.
""").
-spec to_term(py_nif:object()) -> result().
to_term(Ref) ->
    _ = py_arguments:object(?FORM([object], [Ref]), Ref),
    py_call:explicit(Ref, {to_term, Ref}, ?DEFAULT_TIMEOUT).

%% ------------------------------------------------------------------------------------------------
%% Contexts and pools

?DOC("The process's context of the pool `default`; it is bound to one now if it was not.").
-spec context() -> pid() | {error, term()}.
context() ->
    py_context_router:get_context().

?DOC("The context of the pool `default` that has that index, from 1; it is started if need be.").
-spec context(pos_integer()) -> pid() | {error, term()}.
context(Index) when is_integer(Index), Index > 0 ->
    py_context_router:get_context(Index);
context(Index) ->
    py_badarg:refuse(?FORM([place], [Index]), place, wrong).

?DOC("As `start_contexts/1`, with what the application's environment says.").
-spec start_contexts() -> {ok, [pid()]} | {error, term()}.
start_contexts() ->
    py_context_router:start().

?DOC("""
Starts every context of the pool `default` and waits until they are ready. `contexts` and `mode` say how many and
of which mode, should the pool have been stopped; a pool that is there stays as it is.
""").
-spec start_contexts(py_context_router:start_options()) -> {ok, [pid()]} | {error, term()}.
start_contexts(Options) when is_map(Options) ->
    py_context_router:start(Options);
start_contexts(Options) ->
    py_badarg:refuse(?FORM([options], [Options]), options, wrong).

?DOC("Stops the pool `default` and its contexts; what goes there is `{error, not_running}` until it is started.").
-spec stop_contexts() -> ok | {error, not_running}.
stop_contexts() ->
    py_context_router:stop().

?DOC("Whether there is a pool `default`.").
-spec contexts_started() -> boolean().
contexts_started() ->
    py_context_router:is_started().

?DOC("""
From now on calls of the module, or of `{Module, Function}`, that name neither context nor pool go to that pool.
A function's registration counts more than its module's. The pool need not be there yet; a call that finds
none is `{error, {no_pool, Pool}}`.
""").
-spec register_pool(atom(), name() | {name(), name()}) -> ok | {error, not_running}.
register_pool(Pool, Registered) ->
    Form = ?FORM([pool, registered], [Pool, Registered]),
    py_routes:register(py_arguments:pool(Form, Pool), py_arguments:registered(Form, Registered)).

?DOC("Takes the registration of a module, or of `{Module, Function}`, back.").
-spec unregister_pool(name() | {name(), name()}) -> ok | {error, not_running}.
unregister_pool(Registered) ->
    py_routes:unregister(py_arguments:registered(?FORM([registered], [Registered]), Registered)).

?DOC("""
The process's own namespace in a context, as a reference that others can name in `py_context:call/7`,
`py_context:eval/5` and `py_context:exec/3`. When the process has ended, it is `{error, stale_reference}`.
""").
-spec get_local_env(pid()) -> reference() | {error, term()}.
get_local_env(Context) ->
    py_own_environment:get(py_arguments:context(?FORM([context], [Context]), Context)).

?DOC("Raises `erlang.Interrupted` in the code that runs in the context now; `not_running` when none does.").
-spec interrupt(pid()) -> ok | not_running | {error, term()}.
interrupt(Context) ->
    py_target:interrupt(py_arguments:context(?FORM([context], [Context]), Context)).

%% ------------------------------------------------------------------------------------------------
%% Functions offered to Python

?DOC("""
Offers a function to Python code, which calls it as `erlang.call(Name, ...)` or `erlang.Name(...)`. It gets the list of
the arguments; its value is the value of the call, and what it raises is an `erlang.ErlangError` there.

It runs in the process that waits for the Python code; where none waits (`spawn_call`, `cast`, `parallel`, Python's
own threads, callers on other nodes), in a process of its own. Nothing limits its time, and nothing ends it: when the
caller's time is over its value is dropped. A name that is taken is given to the new function; a registration lasts until
`unregister_function/1` or the end of the application. See `py_callback` for names and for what is registered.
""").
-spec register_function(name(), fun(([term()]) -> term())) -> ok | {error, not_running}.
register_function(Name, Fun) ->
    Form = ?FORM([name, handler], [Name, Fun]),
    Key = py_arguments:registration(Form, Name),
    py_callback:register(Key, py_arguments:callable(Form, handler, Fun)).

?DOC("As `register_function/2`; the function is called as `Module:Function(Args)`, with one list.").
-spec register_function(name(), module(), atom()) -> ok | {error, not_running}.
register_function(Name, Module, Function) ->
    Form = ?FORM([name, erlang_module, erlang_function], [Name, Module, Function]),
    Key = py_arguments:registration(Form, Name),
    _ = py_arguments:erlang_name(Form, erlang_module, Module),
    _ = py_arguments:erlang_name(Form, erlang_function, Function),
    py_callback:register(Key, {Module, Function}).

?DOC("Takes a function back, without disturbing calls that run; without effect where there is none.").
-spec unregister_function(name()) -> ok | {error, not_running}.
unregister_function(Name) ->
    py_callback:unregister(py_arguments:registration(?FORM([name], [Name]), Name)).

%% ------------------------------------------------------------------------------------------------
%% Memory

?DOC("""
What the garbage collector of the process's context has done: `gc_stats` (a map for each generation), `gc_count`
and `gc_threshold` (a number for each generation), and while memory is traced, `traced_memory_current` and
`traced_memory_peak` in bytes.

`contexts` has the same for every context of the node that is ready, with its `mode`, the number of its `interpreter`,
and in mode `owngil` the memory that it has `used`, its `peak` and its `limit`. One that is too busy to answer within 30
seconds has an `error` instead of the collector's figures.
""").
-spec memory_stats() -> {ok, py_memory:stats()} | {error, term()}.
memory_stats() ->
    py_memory:stats(?DEFAULT_TIMEOUT).

?DOC("Collects garbage in all contexts of the node that are ready; how many objects could not be reached. See `gc/1`.").
-spec gc() -> {ok, non_neg_integer()} | {error, py_memory:failures() | not_running}.
gc() ->
    py_memory:collect(2, ?DEFAULT_TIMEOUT).

?DOC("""
Collects the garbage of a generation and of those that are younger: 0, 1, or 2 for all. Each interpreter does it once, all at
the same time. Contexts that fail, or are too busy to do it within 30 seconds, are `{error, [{Context, Reason}]}`.
""").
-spec gc(0..2) -> {ok, non_neg_integer()} | {error, py_memory:failures() | not_running}.
gc(Generation) when Generation =:= 0; Generation =:= 1; Generation =:= 2 ->
    py_memory:collect(Generation, ?DEFAULT_TIMEOUT);
gc(Generation) ->
    py_badarg:refuse(?FORM([generation], [Generation]), generation, wrong).

?DOC("As `tracemalloc_start/1` with one frame.").
-spec tracemalloc_start() -> ok | {error, term()}.
tracemalloc_start() ->
    py_memory:start_tracing(1, ?DEFAULT_TIMEOUT).

?DOC("""
Traces the memory that Python takes from now on, so many frames for each block. Python traces the whole process,
and cannot do that while interpreters have GILs of their own: it takes a pool `default` of mode `worker`.
""").
-spec tracemalloc_start(pos_integer()) -> ok | {error, term()}.
tracemalloc_start(Frames) when is_integer(Frames), Frames > 0 ->
    py_memory:start_tracing(Frames, ?DEFAULT_TIMEOUT);
tracemalloc_start(Frames) ->
    py_badarg:refuse(?FORM([frames], [Frames]), frames, wrong).

?DOC("Ends tracing; ok also when there was none.").
-spec tracemalloc_stop() -> ok | {error, term()}.
tracemalloc_stop() ->
    py_memory:stop_tracing(?DEFAULT_TIMEOUT).

%% ------------------------------------------------------------------------------------------------
%% What there is to know

?DOC("""
The last Python exception that the calling process was answered with; `undefined` when there was none.

The keys are `type`, `module`, `message`, `traceback` (`{File, Line, Function, SourceLine}`, outermost first),
`traceback_text` (what Python would print), `notes`, `cause` and `context`; `exceptions` for a group, `syntax` for a
syntax error, and `omitted` where something was left out. The page on errors tells about each.
""").
-spec last_error() -> py_error:error() | undefined.
last_error() ->
    py_error:last().

?DOC("The version of Python, such as `<<\"3.14.2\">>`.").
-spec version() -> {ok, binary()} | {error, not_running}.
version() ->
    case py_nif:python() of
        {error, _} = Error -> Error;
        {Version, _Mode} -> {ok, Version}
    end.

?DOC("The default mode of contexts: the safest one that runs in parallel on the Python in use.").
-spec execution_mode() -> owngil | worker | {error, not_running}.
execution_mode() ->
    case py_nif:python() of
        {error, _} = Error -> Error;
        {_Version, Mode} -> Mode
    end.

?DOC("Whether contexts can have interpreters of their own.").
-spec subinterp_supported() -> boolean().
subinterp_supported() ->
    py_nif:subinterp_supported().

%% ------------------------------------------------------------------------------------------------
%% State that Erlang and all contexts share

?DOC("The same as `py_state:fetch/1`: the value under a key that Erlang and all contexts share.").
-spec state_fetch(Key :: term()) -> {ok, term()} | {error, not_found | not_running}.
state_fetch(Key) ->
    py_state:fetch(Key).

?DOC("The same as `py_state:store/2`.").
-spec state_store(Key :: term(), Value :: term()) -> ok | {error, py_state:full() | not_running}.
state_store(Key, Value) ->
    py_state:store(Key, Value).

?DOC("The same as `py_state:remove/1`.").
-spec state_remove(Key :: term()) -> ok | {error, not_running}.
state_remove(Key) ->
    py_state:remove(Key).

?DOC("The same as `py_state:keys/0`.").
-spec state_keys() -> [term()] | {error, not_running}.
state_keys() ->
    py_state:keys().

?DOC("The same as `py_state:clear/0`.").
-spec state_clear() -> ok | {error, not_running}.
state_clear() ->
    py_state:clear().

?DOC("The same as `py_state:incr/1`.").
-spec state_incr(Key :: term()) -> py_state:sum().
state_incr(Key) ->
    py_state:incr(Key).

?DOC("The same as `py_state:incr/2`.").
-spec state_incr(Key :: term(), Amount :: integer()) -> py_state:sum().
state_incr(Key, Amount) ->
    py_state:incr(?FORM([key, amount], [Key, Amount]), Key, Amount).

?DOC("The same as `py_state:decr/1`.").
-spec state_decr(Key :: term()) -> py_state:sum().
state_decr(Key) ->
    py_state:decr(Key).

?DOC("The same as `py_state:decr/2`.").
-spec state_decr(Key :: term(), Amount :: integer()) -> py_state:sum().
state_decr(Key, Amount) ->
    py_state:decr(?FORM([key, amount], [Key, Amount]), Key, Amount).

%% ------------------------------------------------------------------------------------------------
%% Modules in all contexts

?DOC("""
Loads a module anew, from its file as it is now, in every context of the node that has it loaded. Names that code has taken
out of it (`from module import name`) stay as they were, and so do objects of its classes. Contexts in which that fails, or
that are too busy to do it within 30 seconds, are `{error, [{Context, Reason}]}`; the others have it.
""").
-spec reload(name()) -> ok | {error, py_memory:failures() | not_running}.
reload(Module) ->
    Name = py_arguments:name(?FORM([module], [Module]), module, Module),
    py_memory:reload(Name, ?DEFAULT_TIMEOUT).

%% ------------------------------------------------------------------------------------------------
%% For operators

?DOC("""
What the node's Python is at, in one map: versions, contexts with what runs there and for how long, pools, counters,
memory, refusals and bounds; `docs/observability.md` tells about each key. It takes microseconds, and waits neither for
Python nor for the process of a context, so it answers whatever those do. The numbers are not of one moment.
""").
-spec info() -> {ok, py_info:info()} | {error, not_running}.
info() ->
    py_info:all().

?DOC("""
One item of `info/0`, or what it says of one context, which may be on another node: that is asked for 5 seconds at most.
""").
-spec info(atom() | pid()) -> {ok, term()} | {error, term()}.
info(Context) when is_pid(Context) ->
    py_info:context(Context);
info(Item) ->
    case lists:member(Item, py_info:items()) of
        true -> py_info:item(Item);
        false -> py_badarg:refuse(?FORM([item], [Item]), item, wrong)
    end.

%% ------------------------------------------------------------------------------------------------
%% Environments

?DOC("As `ensure_venv/3` without options.").
-spec ensure_venv(file:name_all(), py_venv:requirements()) -> ok | {error, py_venv:reason()}.
ensure_venv(Path, Requirements) ->
    ensure_venv(?FORM([path, requirements], [Path, Requirements]), Path, Requirements, #{}).

?DOC("""
Makes a virtual environment that holds the requirements, unless it is there already, and activates it for all contexts.
`Requirements` is a list such as `["requests>=2", "six"]`, or the path of a requirements file, of a project's folder or
of its `pyproject.toml`.

The options are `extras` (of a project), `editable` (a project's modules stay where they are), `installer` (`uv` or
`pip`; otherwise `uv` if it is there), `installer_options` (further arguments of `uv pip install` or `pip install`),
`python` (its program, instead of the one that this library was built for), `force` (make it anew), `timeout` (in
milliseconds) and `activate` (`false`: only make it). They may be a map or a list.
""").
-spec ensure_venv(file:name_all(), py_venv:requirements(), py_venv:options() | [term()]) ->
    ok | {error, py_venv:reason()}.
ensure_venv(Path, Requirements, Options) ->
    ensure_venv(?FORM([path, requirements, options], [Path, Requirements, Options]), Path, Requirements, Options).

ensure_venv(Form, Path, Requirements, Options) ->
    case {py_venv_options:text(Path), py_venv_requirements:kind(Requirements), py_nif:python()} of
        {error, _, _} -> py_badarg:refuse(Form, path, wrong);
        {_, error, _} -> py_badarg:refuse(Form, requirements, wrong);
        {_, _, {error, _} = Error} -> Error;
        {{ok, Text}, Kind, _} when is_map(Options); is_list(Options) -> py_venv:ensure(Text, Kind, Options);
        _ -> py_badarg:refuse(Form, options, wrong)
    end.

%% ------------------------------------------------------------------------------------------------
%% Streams

?DOC("As `stream/4` without keyword arguments.").
-spec stream(name(), name(), [term()]) -> {ok, [term()]} | {error, term()}.
stream(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    collected(py_arguments:call(Form, Module, Function, Args, #{})).

?DOC("""
Calls a function and collects the items of what it returns: a generator, or another iterator or iterable, asynchronous
or not. It is a call like any other, with the time limit of the pool; `stream_start/4` gives the items one by one.
""").
-spec stream(name(), name(), [term()], kwargs()) -> {ok, [term()]} | {error, term()}.
stream(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    collected(py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("As `stream_eval/2` without names of its own.").
-spec stream_eval(code()) -> {ok, [term()]} | {error, term()}.
stream_eval(Code) ->
    Form = ?FORM([code], [Code]),
    py_call:pooled(default, {collect, py_arguments:evaluation(Form, Code, #{})}, default).

?DOC("The items of an expression in the process's namespace, as `stream/4` collects them.").
-spec stream_eval(code(), map()) -> {ok, [term()]} | {error, term()}.
stream_eval(Code, Locals) ->
    Form = ?FORM([code, locals], [Code, Locals]),
    py_call:pooled(default, {collect, py_arguments:evaluation(Form, Code, Locals)}, default).

collected(Payload) ->
    py_call:pooled(pool_of(Payload), {collect, Payload}, default).

?DOC("As `stream_start/4`, for the calling process, with all items as they come.").
-spec stream_start(name(), name(), [term()]) -> {ok, reference()} | {error, term()}.
stream_start(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    stream_started(Form, Module, Function, Args, #{}).

?DOC("""
Calls a function, and sends the items of what it returns as messages: a generator, or another iterator or iterable,
asynchronous or not.

  * `{py_stream, Ref, {data, Item}}` for each, in order;
  * `{py_stream, Ref, done}` after the last one, or `{py_stream, Ref, {error, Reason}}`; nothing comes after that.

The options are `owner` (who gets them, the calling process by default), `demand` (how many, until `stream_demand/2` asks
for more; `infinity` by default), `kwargs`, `timeout` (milliseconds until the last item; `infinity` by default), and
`context` or `pool` (where; by default as `call/3` finds it). When the owner ends, the generator is closed.
""").
-spec stream_start(name(), name(), [term()], stream_options()) -> {ok, reference()} | {error, term()}.
stream_start(Module, Function, Args, Options) ->
    Form = ?FORM([module, function, args, options], [Module, Function, Args, Options]),
    stream_started(Form, Module, Function, Args, Options).

stream_started(Form, Module, Function, Args, Options) ->
    {Kwargs, Checked} = py_arguments:stream_options(Form, Options),
    Payload = py_arguments:call(Form, Module, Function, Args, Kwargs),
    At =
        case Checked of
            #{context := Context} -> {context, Context};
            #{pool := Pool} -> {pool, Pool};
            _ -> {pool, pool_of(Payload)}
        end,
    py_stream:start(Payload, At, Checked).

?DOC("""
So many more items of a stream are wanted, or all, with `infinity`. Any process may say so; of a stream that has
ended, nothing comes.
""").
-spec stream_demand(reference(), pos_integer() | infinity) -> ok.
stream_demand(Ref, More) ->
    Form = ?FORM([stream, more], [Ref, More]),
    py_stream:demand(py_arguments:stream(Form, Ref), py_arguments:demand(Form, More)).

?DOC("""
Ends a stream: its owner gets `{py_stream, Ref, {error, <<"cancelled">>}}`, unless it has ended before, and the
generator is closed; one that computes is interrupted. Any process may do so.
""").
-spec stream_cancel(reference()) -> ok.
stream_cancel(Ref) ->
    py_stream:cancel(py_arguments:stream(?FORM([stream], [Ref]), Ref)).

%% ------------------------------------------------------------------------------------------------
%% Packages

?DOC("""
Has every context use the packages of a virtual environment, now and later, in place of those of the Python
installation, and of any other environment; `.pth` files and editable installs work as they do elsewhere. Contexts and
pools that were started with the option `venv` keep theirs.

A context that runs gets it through its mailbox: what is asked of it later finds the packages, and nobody waits for a
context that is busy. Packages in Python that were imported from elsewhere are imported anew when they are next asked
for; those with native parts stay until their context ends.

Errors: `{invalid_venv, Path, Reason}`, where the reason is `no_config` (there is no `pyvenv.cfg`), `{python, Version}`
(it was made for another minor version), `no_site_packages`, or that of the file system; `{context_start, Reason}` where
the main interpreter cannot use it. Nothing is changed then.
""").
-spec activate_venv(unicode:chardata()) -> ok | {error, term()}.
activate_venv(Path) ->
    case py_birth_venv:as_path(Path) of
        {ok, Absolute} ->
            case py_birth_venv:inspect(Absolute) of
                {ok, Venv} -> py_birth:change({venv, Venv});
                {error, _} = Error -> Error
            end;
        error ->
            py_badarg:refuse(?FORM([path], [Path]), path, wrong)
    end.

?DOC("""
Takes the environment away again from every context: its paths, what its `.pth` files have put into the import system,
and its packages in Python, which are not imported any more. ok also when there is none.
""").
-spec deactivate_venv() -> ok | {error, term()}.
deactivate_venv() ->
    py_birth:change({venv, none}).

?DOC("""
The environment in use, as the calling process's context of the pool `default` has it: `active`, and where that is true
`venv_path`, `site_packages` and `sys_path`.
""").
-spec venv_info() -> {ok, #{binary() => term()}} | {error, term()}.
venv_info() ->
    py_call:pooled(default, {call, <<"erlang._birth">>, <<"info">>, [], #{}}, ?DEFAULT_TIMEOUT).

%% ------------------------------------------------------------------------------------------------
%% Logging

?DOC("As `configure_logging/1` with the levels of Erlang's logger, and messages as they are.").
-spec configure_logging() -> ok | {error, not_running}.
configure_logging() ->
    configure_logging(#{}).

?DOC("""
Sends what Python code logs to Erlang's logger, in every context, now and later: a handler is added to Python's root
logger when code logs next. `level` is the level from which on that is done, `all` by default; the levels of Erlang's
logger count as well. `format` is one of Python's `logging.Formatter`; without it messages are sent as they are. Python's
`erlang.setup_logging` does the same in one interpreter. Without either, warnings and errors are sent that no handler of
Python's takes.

Errors: `{bad_option, Key, Value}`, `not_running`.
""").
-spec configure_logging(#{level => logger:level() | all | none, format => unicode:chardata()}) ->
    ok | {error, {bad_option, term(), term()} | not_running}.
configure_logging(Options) when is_map(Options) ->
    py_logging:configure(Options);
configure_logging(Options) ->
    py_badarg:refuse(?FORM([options], [Options]), options, wrong).

%% ------------------------------------------------------------------------------------------------
%% Spans

?DOC("Has Python record spans, in all contexts, from now on: `erlang.Span` and `erlang.trace` there.").
-spec enable_tracing() -> ok | {error, not_running}.
enable_tracing() ->
    py_traces:enable().

?DOC("Ends that. Spans that are under way are still recorded, and those that are kept stay.").
-spec disable_tracing() -> ok | {error, not_running}.
disable_tracing() ->
    py_traces:disable().

?DOC("""
The last spans that have ended, as many as the setting `max_traces` says, in that order. Each is a map with `name`, `trace_id`,
`span_id`, `parent_id` (or `undefined`), `start_time` and `end_time` (microseconds of the system's clock), `duration_us`,
`status` (`ok` or `error`), `attributes`, `end_attrs` (those of an exception), and `events`, maps with `name`, `attrs` and
`time`.
""").
-spec get_traces() -> {ok, [py_traces:span()]} | {error, not_running}.
get_traces() ->
    py_traces:spans().

?DOC("Forgets the spans that are kept.").
-spec clear_traces() -> ok | {error, not_running}.
clear_traces() ->
    py_traces:clear().

%% ------------------------------------------------------------------------------------------------
%% Inline dispatch

?DOC("As `mark_inline/3` with `inline`.").
-spec mark_inline(name(), name()) -> ok | {error, not_running}.
mark_inline(Module, Function) ->
    py_inline:mark(py_arguments:function(?FORM([module, function], [Module, Function]), Module, Function), inline).

?DOC("""
Says that a Python function is short and may run on whatever thread: it keeps nothing in `threading.local` or context
variables. Calls of it that do not say otherwise run `inline`, see `call/5`; with `auto`, once they have taken less than
50 microseconds for a while, and until one takes more than a millisecond.
""").
-spec mark_inline(name(), name(), inline | auto) -> ok | {error, not_running}.
mark_inline(Module, Function, Dispatch) ->
    Form = ?FORM([module, function, dispatch], [Module, Function, Dispatch]),
    py_inline:mark(py_arguments:function(Form, Module, Function), py_arguments:dispatch(Form, Dispatch)).

?DOC("Takes a mark back, if there is one.").
-spec unmark_inline(name(), name()) -> ok | {error, not_running}.
unmark_inline(Module, Function) ->
    py_inline:unmark(py_arguments:function(?FORM([module, function], [Module, Function]), Module, Function)).

?DOC("The functions that were marked.").
-spec marked_inline() -> [{{name(), name()}, inline | auto}] | {error, not_running}.
marked_inline() ->
    py_inline:marked().

?DOC("""
The node's switch for inline dispatch: with `false` all calls go by the mailboxes of their contexts. At the start it is what
the setting `inline_dispatch` says, `true` unless set.
""").
-spec allow_inline(boolean()) -> ok | {error, not_running}.
allow_inline(On) ->
    Form = ?FORM([switch], [On]),
    py_inline:allow(py_arguments:switch(Form, On)).

%% ------------------------------------------------------------------------------------------------
%% Many calls at once

?DOC("As `call_many/5` on the process's context, where `call/3` goes, without options.").
-spec call_many(name(), name(), [[term()]]) -> [result()] | {error, term()}.
call_many(Module, Function, ListOfArgs) ->
    Form = ?FORM([module, function, argument_lists], [Module, Function, ListOfArgs]),
    batch_routed(py_arguments:batch(Form, Module, Function, ListOfArgs, #{}), default).

?DOC("""
One of

  * `call_many(Context, Module, Function, ListOfArgs)`: on an explicit context, without a time limit;
  * `call_many(Pool, Module, Function, ListOfArgs)`: on the process's context of a named pool;
  * `call_many(Module, Function, ListOfArgs, Options)`, `Options` being a map.
""").
-spec call_many(pid() | atom() | name(), name(), name() | [[term()]], [[term()]] | batch_options()) ->
    [result()] | {error, term()}.
call_many(Module, Function, ListOfArgs, Options) when is_map(Options), not is_pid(Module) ->
    Form = ?FORM([module, function, argument_lists, options], [Module, Function, ListOfArgs, Options]),
    {Kwargs, Timeout} = py_arguments:batch_options(Form, Options),
    batch_routed(py_arguments:batch(Form, Module, Function, ListOfArgs, Kwargs), Timeout);
call_many(Context, Module, Function, ListOfArgs) when is_pid(Context) ->
    Form = ?FORM([context, module, function, argument_lists], [Context, Module, Function, ListOfArgs]),
    py_batch:explicit(Context, py_arguments:batch(Form, Module, Function, ListOfArgs, #{}), default);
call_many(Pool, Module, Function, ListOfArgs) ->
    Form = ?FORM([pool, module, function, argument_lists], [Pool, Module, Function, ListOfArgs]),
    _ = py_arguments:pool(Form, Pool),
    py_batch:pooled(Pool, py_arguments:batch(Form, Module, Function, ListOfArgs, #{}), default).

?DOC("""
Calls a function once with each list of arguments, one call after another, in one request to a context or to the
process's context of a pool. The results come in the order of the lists, `{ok, Value}` or `{error, Reason}` each, as
`call/5` gives them. `{error, Reason}` alone says that nothing has run: there is no such pool, or its queue is full.

The options are `kwargs`, for each call, and `timeout`, for all together; without it, as long as calls may take. What was
not done by then is `{error, timeout}`; what was is kept. See the guide to batches.
""").
-spec call_many(pid() | atom(), name(), name(), [[term()]], batch_options()) -> [result()] | {error, term()}.
call_many(Context, Module, Function, ListOfArgs, Options) when is_pid(Context) ->
    Form = ?FORM(
        [context, module, function, argument_lists, options], [Context, Module, Function, ListOfArgs, Options]
    ),
    {Kwargs, Timeout} = py_arguments:batch_options(Form, Options),
    py_batch:explicit(Context, py_arguments:batch(Form, Module, Function, ListOfArgs, Kwargs), Timeout);
call_many(Pool, Module, Function, ListOfArgs, Options) ->
    Form = ?FORM([pool, module, function, argument_lists, options], [Pool, Module, Function, ListOfArgs, Options]),
    _ = py_arguments:pool(Form, Pool),
    {Kwargs, Timeout} = py_arguments:batch_options(Form, Options),
    py_batch:pooled(Pool, py_arguments:batch(Form, Module, Function, ListOfArgs, Kwargs), Timeout).

batch_routed({call_many, Module, Function, _, _} = Payload, Timeout) ->
    py_batch:pooled(py_routes:pool(Module, Function), Payload, Timeout).

?DOC("As `map/5` in the pool where calls of the function go, without options.").
-spec map(name(), name(), [term()]) -> [result()] | {error, term()}.
map(Module, Function, Items) ->
    Form = ?FORM([module, function, items], [Module, Function, Items]),
    mapped(Form, routed, Module, Function, Items, #{}).

?DOC("`map(Pool, Module, Function, Items)`, or `map(Module, Function, Items, Options)`, `Options` being a map.").
-spec map(atom() | name(), name(), name() | [term()], [term()] | map_options()) -> [result()] | {error, term()}.
map(Module, Function, Items, Options) when is_map(Options) ->
    Form = ?FORM([module, function, items, options], [Module, Function, Items, Options]),
    mapped(Form, routed, Module, Function, Items, Options);
map(Pool, Module, Function, Items) ->
    Form = ?FORM([pool, module, function, items], [Pool, Module, Function, Items]),
    mapped(Form, {pool, py_arguments:pool(Form, Pool)}, Module, Function, Items, #{}).

?DOC("""
Calls a function with each item of a list, on all contexts of a pool at the same time; the results come in the order of
the items, `{ok, Value}` or `{error, Reason}` each. `{error, Reason}` alone says that nothing has run.

The list is cut into chunks, and a context that has done one gets the next. Items of a chunk whose context dies are
`{error, {context_died, _}}` unless they were done: nothing runs twice.

The options are `kwargs`, for each call; `timeout`, for all together, and without it, as long as calls of the pool may
take; `chunk_size`, how many items go to a context at once; and `max_in_flight`, how many chunks a context may have at
a time, 2 if nothing is said. See the guide to batches.
""").
-spec map(atom(), name(), name(), [term()], map_options()) -> [result()] | {error, term()}.
map(Pool, Module, Function, Items, Options) ->
    Form = ?FORM([pool, module, function, items, options], [Pool, Module, Function, Items, Options]),
    mapped(Form, {pool, py_arguments:pool(Form, Pool)}, Module, Function, Items, Options).

mapped(Form, At, Module, Function, Items, Options) ->
    {Kwargs, Checked} = py_arguments:map_options(Form, Options),
    Called = {py_arguments:name(Form, module, Module), py_arguments:name(Form, function, Function), Kwargs},
    Pool =
        case {At, Called} of
            {{pool, Named}, _} -> Named;
            {routed, {M, F, _}} -> py_routes:pool(M, F)
        end,
    py_map:run(Pool, Called, py_arguments:items(Form, Items), Checked).
