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
context wait for ever unless told otherwise. Every process has a namespace of its own in each context.
""").

-export([call/3, call/4, call/5, cast/3, cast/4, cast/5]).
-export([spawn_call/3, spawn_call/4, spawn_call/5, await/1, await/2, cancel/1]).
-export([eval/1, eval/2, eval/3, exec/1, exec/2, parallel/1, interrupt/1]).
-export([is_ref/1, getattr/2, call_method/3, to_term/1]).
-export([context/0, last_error/0, version/0, execution_mode/0, subinterp_supported/0]).
-export_type([name/0, result/0, kwargs/0, code/0]).

-type name() :: atom() | binary() | string().
%% A module's or function's name.
-type kwargs() :: #{atom() | binary() => term()}.
%% Keyword arguments.
-type code() :: binary() | string().
-type result() :: {ok, term()} | {error, term()}.

-define(DEFAULT_TIMEOUT, 30_000).
-define(IS_NAME(N), (is_atom(N) orelse is_binary(N) orelse is_list(N))).
-define(IS_CODE(C), (is_binary(C) orelse is_list(C))).
-define(IS_TIMEOUT(T), (T =:= infinity orelse (is_integer(T) andalso T >= 0))).

%% ------------------------------------------------------------------------------------------------
%% Calls

?DOC("Calls a function on the process's context of the pool `default`; waits 30 seconds at most.").
-spec call(name(), name(), [term()]) -> result().
call(Module, Function, Args) ->
    call(Module, Function, Args, #{}, ?DEFAULT_TIMEOUT).

?DOC("""
One of

  * `call(Context, Module, Function, Args)`: on an explicit context, without a time limit;
  * `call(Pool, Module, Function, Args)`: on the process's context of a named pool (`Pool` and `Function` atoms);
  * `call(Module, Function, Args, Kwargs)`.
""").
-spec call(pid() | atom() | name(), name(), name() | [term()], [term()] | kwargs()) -> result().
call(Context, Module, Function, Args) when is_pid(Context) ->
    call(Context, Module, Function, Args, #{});
call(Pool, Module, Function, Args) when is_atom(Pool), is_atom(Function), is_list(Args) ->
    call(Pool, Module, Function, Args, #{});
call(Module, Function, Args, Kwargs) ->
    call(Module, Function, Args, Kwargs, ?DEFAULT_TIMEOUT).

?DOC("""
One of

  * `call(Context, Module, Function, Args, Options)` with `#{kwargs => map(), timeout => timeout()}`;
  * `call(Pool, Module, Function, Args, Kwargs)` (`Pool` and `Function` atoms);
  * `call(Module, Function, Args, Kwargs, Timeout)`.

`{error, timeout}` comes on time whatever the code does; the code is interrupted, and nothing else is.
""").
-spec call(
    pid() | atom() | name(), name(), name() | [term()], [term()] | kwargs(), map() | timeout()
) -> result().
call(Context, Module, Function, Args, Options) when is_pid(Context) ->
    {Kwargs, Timeout} = call_options(Options, [Context, Module, Function, Args, Options]),
    Payload = payload(Module, Function, Args, Kwargs, [Context, Module, Function, Args, Options]),
    py_call:explicit(Context, Payload, Timeout);
call(Pool, Module, Function, Args, Kwargs) when is_atom(Pool), is_atom(Function), is_map(Kwargs) ->
    Payload = payload(Module, Function, Args, Kwargs, [Pool, Module, Function, Args, Kwargs]),
    py_call:pooled(Pool, Payload, ?DEFAULT_TIMEOUT);
call(Module, Function, Args, Kwargs, Timeout) when ?IS_TIMEOUT(Timeout) ->
    Payload = payload(Module, Function, Args, Kwargs, [Module, Function, Args, Kwargs, Timeout]),
    py_call:pooled(default, Payload, Timeout);
call(A, B, C, D, E) ->
    erlang:error(badarg, [A, B, C, D, E]).

?DOC("""
Calls a function without waiting: the result is dropped, an exception is logged. A refusal for overload is answered.
""").
-spec cast(name(), name(), [term()]) -> ok | {error, not_running | py_call:overloaded()}.
cast(Module, Function, Args) ->
    cast(Module, Function, Args, #{}).

?DOC("`cast(Context, Module, Function, Args)` or `cast(Module, Function, Args, Kwargs)`.").
-spec cast(pid() | name(), name(), name() | [term()], [term()] | kwargs()) ->
    ok | {error, not_running | py_call:overloaded()}.
cast(Context, Module, Function, Args) when is_pid(Context) ->
    cast(Context, Module, Function, Args, #{});
cast(Module, Function, Args, Kwargs) ->
    Payload = payload(Module, Function, Args, Kwargs, [Module, Function, Args, Kwargs]),
    py_call:cast_pooled(default, Payload).

?DOC("A cast to an explicit context, with keyword arguments.").
-spec cast(pid(), name(), name(), [term()], kwargs()) -> ok | {error, not_running | py_call:overloaded()}.
cast(Context, Module, Function, Args, Kwargs) when is_pid(Context) ->
    Payload = payload(Module, Function, Args, Kwargs, [Context, Module, Function, Args, Kwargs]),
    py_call:cast_explicit(Context, Payload);
cast(A, B, C, D, E) ->
    erlang:error(badarg, [A, B, C, D, E]).

?DOC("""
Starts a call and returns at once; the process gets `{py_response, Ref, Result}`, with `await/1,2` or its own
`receive`.
""").
-spec spawn_call(name(), name(), [term()]) -> reference().
spawn_call(Module, Function, Args) ->
    spawn_call(Module, Function, Args, #{}).

?DOC("The forms of `call/4`.").
-spec spawn_call(pid() | atom() | name(), name(), name() | [term()], [term()] | kwargs()) ->
    reference().
spawn_call(Context, Module, Function, Args) when is_pid(Context) ->
    spawn_call(Context, Module, Function, Args, #{});
spawn_call(Pool, Module, Function, Args) when is_atom(Pool), is_atom(Function), is_list(Args) ->
    spawn_call(Pool, Module, Function, Args, #{});
spawn_call(Module, Function, Args, Kwargs) ->
    Payload = payload(Module, Function, Args, Kwargs, [Module, Function, Args, Kwargs]),
    py_call:spawn_pooled(default, Payload).

?DOC("`spawn_call(Context | Pool, Module, Function, Args, Kwargs)`.").
-spec spawn_call(pid() | atom(), name(), name(), [term()], kwargs()) -> reference().
spawn_call(Context, Module, Function, Args, Kwargs) when is_pid(Context) ->
    Payload = payload(Module, Function, Args, Kwargs, [Context, Module, Function, Args, Kwargs]),
    py_call:spawn_explicit(Context, Payload);
spawn_call(Pool, Module, Function, Args, Kwargs) when is_atom(Pool), is_atom(Function) ->
    Payload = payload(Module, Function, Args, Kwargs, [Pool, Module, Function, Args, Kwargs]),
    py_call:spawn_pooled(Pool, Payload);
spawn_call(A, B, C, D, E) ->
    erlang:error(badarg, [A, B, C, D, E]).

?DOC("Waits for a `spawn_call`, 30 seconds at most; only for the process that made it.").
-spec await(reference()) -> result().
await(Ref) ->
    await(Ref, ?DEFAULT_TIMEOUT).

?DOC("As `await/1`; at the time-out the request is cancelled and no message of it comes any more.").
-spec await(reference(), timeout()) -> result().
await(Ref, Timeout) when is_reference(Ref), ?IS_TIMEOUT(Timeout) ->
    py_call:await(Ref, Timeout);
await(Ref, Timeout) ->
    erlang:error(badarg, [Ref, Timeout]).

?DOC("Takes a `spawn_call` back: its code is interrupted, and no message of it comes any more.").
-spec cancel(reference()) -> ok.
cancel(Ref) when is_reference(Ref) ->
    py_call:cancel(Ref);
cancel(Ref) ->
    erlang:error(badarg, [Ref]).

?DOC("""
Calls `[{Module, Function, Args}]` on all contexts of the pool `default` in parallel; the results come in the
order of the calls. After 30 seconds what is not done is `{error, timeout}`.
""").
-spec parallel([{name(), name(), [term()]}]) -> {ok, [result()]} | {error, term()}.
parallel(Calls) ->
    py_call:parallel(payloads(Calls, [Calls]), ?DEFAULT_TIMEOUT).

payloads([{Module, Function, Args} | Calls], Called) ->
    [payload(Module, Function, Args, #{}, Called) | payloads(Calls, Called)];
payloads([], _Called) ->
    [];
payloads(_, Called) ->
    erlang:error(badarg, Called).

%% ------------------------------------------------------------------------------------------------
%% Code as text

?DOC("The value of a Python expression, in the process's namespace.").
-spec eval(code()) -> result().
eval(Code) ->
    eval(Code, #{}, ?DEFAULT_TIMEOUT).

?DOC("`eval(Context, Code)` or `eval(Code, Locals)`, `Locals` being a map of names to values.").
-spec eval(pid() | code(), code() | map()) -> result().
eval(Context, Code) when is_pid(Context) ->
    eval(Context, Code, #{});
eval(Code, Locals) ->
    eval(Code, Locals, ?DEFAULT_TIMEOUT).

?DOC("`eval(Context, Code, Locals)`, without a time limit, or `eval(Code, Locals, Timeout)`.").
-spec eval(pid() | code(), code() | map(), map() | timeout()) -> result().
eval(Context, Code, Locals) when is_pid(Context), ?IS_CODE(Code), is_map(Locals) ->
    py_call:explicit(Context, {eval, text(Code, [Context, Code, Locals]), Locals}, infinity);
eval(Code, Locals, Timeout) when ?IS_CODE(Code), is_map(Locals), ?IS_TIMEOUT(Timeout) ->
    py_call:pooled(default, {eval, text(Code, [Code, Locals, Timeout]), Locals}, Timeout);
eval(A, B, C) ->
    erlang:error(badarg, [A, B, C]).

?DOC("Runs Python statements in the process's namespace; what they define is there at the next call.").
-spec exec(code()) -> ok | {error, term()}.
exec(Code) when ?IS_CODE(Code) ->
    statements(py_call:pooled(default, {exec, text(Code, [Code])}, ?DEFAULT_TIMEOUT));
exec(Code) ->
    erlang:error(badarg, [Code]).

?DOC("As `exec/1` on an explicit context, without a time limit.").
-spec exec(pid(), code()) -> ok | {error, term()}.
exec(Context, Code) when is_pid(Context), ?IS_CODE(Code) ->
    statements(py_call:explicit(Context, {exec, text(Code, [Context, Code])}, infinity));
exec(Context, Code) ->
    erlang:error(badarg, [Context, Code]).

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
getattr(Ref, Name) when is_reference(Ref) ->
    py_call:explicit(Ref, {getattr, Ref, name(Name, [Ref, Name])}, ?DEFAULT_TIMEOUT);
getattr(Ref, Name) ->
    erlang:error(badarg, [Ref, Name]).

?DOC("Calls a method of the object that a reference stands for, as `getattr/2` finds it.").
-spec call_method(py_nif:object(), name(), [term()]) -> result().
call_method(Ref, Method, Args) when is_reference(Ref) ->
    {call, _, Name, Args, Kwargs} = payload(none, Method, Args, #{}, [Ref, Method, Args]),
    py_call:explicit(Ref, {call_method, Ref, Name, Args, Kwargs}, ?DEFAULT_TIMEOUT);
call_method(Ref, Method, Args) ->
    erlang:error(badarg, [Ref, Method, Args]).

?DOC("""
The contents of the object that a reference stands for: of a mapping as a map, of another collection with a
length as a list; `{error, {'TypeError', _}}` for an object without contents.
""").
-spec to_term(py_nif:object()) -> result().
to_term(Ref) when is_reference(Ref) ->
    py_call:explicit(Ref, {to_term, Ref}, ?DEFAULT_TIMEOUT);
to_term(Ref) ->
    erlang:error(badarg, [Ref]).

%% ------------------------------------------------------------------------------------------------
%% Contexts, and what there is to know

?DOC("Raises `erlang.Interrupted` in the code that runs in the context now; `not_running` when none does.").
-spec interrupt(pid()) -> ok | not_running | {error, term()}.
interrupt(Context) when is_pid(Context) ->
    py_nif:interrupt(Context);
interrupt(Context) ->
    erlang:error(badarg, [Context]).

?DOC("The process's context of the pool `default`; it is bound to one now if it was not.").
-spec context() -> pid() | {error, term()}.
context() ->
    py_context_router:context(default, ?DEFAULT_TIMEOUT).

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

statements({ok, _}) -> ok;
statements(Other) -> Other.

payload(Module, Function, Args, Kwargs, Called) when is_map(Kwargs), is_list(Args) ->
    %% length/1 refuses an improper list, on which the native side would stop short.
    try length(Args) of
        _ -> {call, name(Module, Called), name(Function, Called), Args, Kwargs}
    catch
        error:badarg -> erlang:error(badarg, Called)
    end;
payload(_Module, _Function, _Args, _Kwargs, Called) ->
    erlang:error(badarg, Called).

name(Name, _Called) when is_atom(Name); is_binary(Name) -> Name;
name(Name, Called) when is_list(Name) -> text(Name, Called);
name(_Name, Called) -> erlang:error(badarg, Called).

text(Text, _Called) when is_binary(Text) ->
    Text;
text(Text, Called) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> erlang:error(badarg, Called)
    catch
        error:badarg -> erlang:error(badarg, Called)
    end.

call_options(Options, Called) when is_map(Options) ->
    Kwargs = maps:get(kwargs, Options, #{}),
    Timeout = maps:get(timeout, Options, infinity),
    Rest = maps:without([kwargs, timeout], Options),
    case ?IS_TIMEOUT(Timeout) andalso map_size(Rest) =:= 0 of
        true -> {Kwargs, Timeout};
        false -> erlang:error(badarg, Called)
    end;
call_options(_Options, Called) ->
    erlang:error(badarg, Called).
