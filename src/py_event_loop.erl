-module(py_event_loop).
-include("py_doc.hrl").
?MODULEDOC("""
Python functions on the asyncio loop of the process's context.

    1> py_event_loop:exec("import asyncio\nasync def later(x):\n    await asyncio.sleep(0.1)\n    return x").
    ok
    2> py_event_loop:run('__main__', later, [5]).
    {ok,5}

A task calls a function on the loop: an awaitable that it returns is awaited, any other value is the result. Tasks of
many processes, sockets and timers share the loop, and the context goes on serving calls meanwhile. The result comes as
`{async_result, Ref, {ok, Value} | {error, Reason}}`, with the reasons that `py:call/3` gives.

A task belongs to the process that made it: it is cancelled when the process ends, when the process stops waiting for it
(`await/2` at its time-out), and by `py:cancel/1`. Its `finally` blocks run then. These functions use the process's
context of the pool `default`; `py_context:submit/5` names one.
""").

-export([get_loop/0, run/3, run/4, create_task/3, create_task/4, await/1, await/2, spawn_task/3, spawn_task/4]).
-export([run_async/1, run_async/2, exec/1, exec/2, eval/1, eval/2]).

-include("py_arguments.hrl").

-define(DEFAULT_TIMEOUT, 30_000).

?DOC("The loop of the process's context; as long as the context lives, there is one.").
-spec get_loop() -> {ok, reference()} | {error, term()}.
get_loop() ->
    case py_context_router:get_context() of
        {error, _} = Error -> Error;
        Context -> py_context:handle(Context)
    end.

?DOC("As `run/4` without options.").
-spec run(py:name(), py:name(), [term()]) -> py:result().
run(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    py_tasks:run(default, py_arguments:call(Form, Module, Function, Args, #{}), default).

?DOC("""
Makes a task and waits for it, as long as `py:call/3` unless `Options` say otherwise: `#{kwargs => map(), timeout => timeout()}`.
""").
-spec run(py:name(), py:name(), [term()], #{kwargs => py:kwargs(), timeout => timeout()}) -> py:result().
run(Module, Function, Args, Options) ->
    Form = ?FORM([module, function, args, options], [Module, Function, Args, Options]),
    {Kwargs, Timeout} = py_arguments:options(Form, Options, py_pool_table:timeout(default)),
    py_tasks:run(default, py_arguments:call(Form, Module, Function, Args, Kwargs), Timeout).

?DOC("As `create_task/4` without keyword arguments.").
-spec create_task(py:name(), py:name(), [term()]) -> reference().
create_task(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    py_tasks:pooled(default, py_arguments:call(Form, Module, Function, Args, #{})).

?DOC("""
Makes a task and returns at once; the process gets `{async_result, Ref, Result}`. A task that is refused has a
reference, too; the error comes as its message.
""").
-spec create_task(py:name(), py:name(), [term()], py:kwargs()) -> reference().
create_task(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    py_tasks:pooled(default, py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("Waits for a task, 30 seconds at most; only for the process that made it.").
-spec await(reference()) -> py:result().
await(Ref) ->
    py_tasks:awaited(?FORM([ref], [Ref]), Ref, ?DEFAULT_TIMEOUT).

?DOC("As `await/1`; at the time-out the task is cancelled and no message of it comes any more.").
-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) ->
    Form = ?FORM([ref, timeout], [Ref, Timeout]),
    py_tasks:awaited(Form, Ref, py_arguments:timeout(Form, Timeout)).

?DOC("As `spawn_task/4` without keyword arguments.").
-spec spawn_task(py:name(), py:name(), [term()]) -> ok | {error, term()}.
spawn_task(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    py_tasks:cast_pooled(default, py_arguments:call(Form, Module, Function, Args, #{})).

?DOC("""
Makes a task that nobody waits for: its result is dropped, an exception is logged. It goes on when the process has
ended. What refuses it at once (a full queue) is the answer.
""").
-spec spawn_task(py:name(), py:name(), [term()], py:kwargs()) -> ok | {error, term()}.
spawn_task(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    py_tasks:cast_pooled(default, py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("""
Makes a task for another process: `#{ref := Ref, caller := Pid, module := _, func := _, args := _, kwargs => _}`.
The result goes to `caller` as `{async_result, Ref, Result}`, whatever term `Ref` is; the task is cancelled when that
process ends.
""").
-spec run_async(map()) -> ok | {error, term()}.
run_async(Request) ->
    {Payload, Caller, Ref} = py_arguments:request(?FORM([request], [Request]), Request),
    py_tasks:forward_pooled(default, Payload, Caller, Ref).

?DOC("As `run_async/1` on a loop of `get_loop/0` or `py_context:loop_ref/1`.").
-spec run_async(reference(), map()) -> ok | {error, term()}.
run_async(Loop, Request) ->
    Form = ?FORM([loop, request], [Loop, Request]),
    _ = py_arguments:loop(Form, Loop),
    {Payload, Caller, Ref} = py_arguments:request(Form, Request),
    py_tasks:forward_explicit(Loop, Payload, Caller, Ref).

?DOC("As `py:exec/1`: what it defines in the process's namespace is there for its tasks.").
-spec exec(py:code()) -> ok | {error, term()}.
exec(Code) ->
    py_call:pooled(default, py_arguments:statements(?FORM([code], [Code]), Code), default).

?DOC("As `exec/1` in the context of a loop, without a time limit.").
-spec exec(reference(), py:code()) -> ok | {error, term()}.
exec(Loop, Code) ->
    Form = ?FORM([loop, code], [Loop, Code]),
    _ = py_arguments:loop(Form, Loop),
    py_call:explicit(Loop, py_arguments:statements(Form, Code), infinity).

?DOC("As `py:eval/1`, in the process's namespace.").
-spec eval(py:code()) -> py:result().
eval(Code) ->
    py_call:pooled(default, py_arguments:evaluation(?FORM([code], [Code]), Code, #{}), default).

?DOC("As `eval/1` in the context of a loop, without a time limit.").
-spec eval(reference(), py:code()) -> py:result().
eval(Loop, Code) ->
    Form = ?FORM([loop, code], [Loop, Code]),
    _ = py_arguments:loop(Form, Loop),
    py_call:explicit(Loop, py_arguments:evaluation(Form, Code, #{}), infinity).
