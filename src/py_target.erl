-module(py_target).
-include("py_doc.hrl").
?MODULEDOC(false).

%% A context, or an object in one, of whatever node: what the native functions of these names do on its own.
%% (A call, which waits, is made in `py_call'.)

-export([spawn/2, part/4, cast/2, task/3, task_cast/2]).
-export([info/1, memory/1, interrupt/1, environment/1, own_environment/1]).

-spec spawn(py_nif:target(), py_nif:payload()) -> reference() | {error, term()}.
spawn(Target, Payload) when node(Target) =/= node() -> py_remote:spawn(Target, py_trace:carried(Payload), own);
spawn(Target, Payload) -> py_nif:spawn(Target, py_trace:carried(Payload), own, py_callback_runner:current()).

%% Answered with the tag, `{Tag, Result}' or `{Tag, Result, Story}'. On another node the time is up to the caller, and
%% a refusal may come later, as the result `{refused, Reason}'.
-spec part(py_nif:target(), py_remote:tag(), py_nif:payload(), timeout()) -> reference() | {error, term()}.
part(Target, Tag, Payload, _Timeout) when node(Target) =/= node() ->
    py_remote:part(Target, Tag, py_trace:carried(Payload));
part(Target, Tag, Payload, Timeout) ->
    py_nif:part(Target, Tag, py_trace:carried(Payload), Timeout).

-spec cast(py_nif:target(), py_nif:payload()) -> ok | py_nif:request() | {error, term()}.
cast(Target, Payload) when node(Target) =/= node() -> py_remote:cast(Target, py_trace:carried(Payload), own);
cast(Target, Payload) -> py_nif:cast(Target, py_trace:carried(Payload), own).

%% In the namespace that is named; on another node it is the calling process's own.
-spec task(py_nif:target(), py_nif:payload(), py_nif:scope()) -> reference() | {error, term()}.
task(Target, Payload, _Scope) when node(Target) =/= node() -> py_remote:task(Target, py_trace:carried(Payload), own);
task(Target, Payload, Scope) -> py_nif:task(Target, py_trace:carried(Payload), Scope, py_callback_runner:current()).

-spec task_cast(py_nif:target(), py_nif:payload()) -> ok | py_nif:request() | {error, term()}.
task_cast(Target, Payload) when node(Target) =/= node() -> py_remote:task_cast(Target, py_trace:carried(Payload), own);
task_cast(Target, Payload) -> py_nif:task_cast(Target, py_trace:carried(Payload), own).

-spec info(py_nif:target()) ->
    {py_context:mode(), Interpreter :: integer(), Processes :: non_neg_integer(), Queue :: non_neg_integer()}
    | {error, term()}.
info(Target) when node(Target) =/= node() -> py_remote:ask(context_info, Target);
info(Target) -> py_nif:context_info(Target).

-spec memory(py_nif:target()) ->
    {Used :: non_neg_integer(), Peak :: non_neg_integer(), Limit :: pos_integer() | infinity} | starting | {error, term()}.
memory(Target) when node(Target) =/= node() -> py_remote:ask(context_memory, Target);
memory(Target) -> py_nif:context_memory(Target).

-spec interrupt(pid()) -> ok | not_running | {error, term()}.
interrupt(Context) when node(Context) =/= node() -> py_remote:ask(interrupt, Context);
interrupt(Context) -> py_nif:interrupt(Context).

-spec environment(pid()) -> {ok, py_nif:environment()} | {error, term()}.
environment(Context) when node(Context) =/= node() -> py_remote:ask(environment, Context);
environment(Context) -> py_nif:environment(Context).

-spec own_environment(pid()) -> {ok, py_nif:environment()} | {error, term()}.
own_environment(Context) when node(Context) =/= node() -> py_remote:ask(own_environment, Context);
own_environment(Context) -> py_nif:own_environment(Context).
