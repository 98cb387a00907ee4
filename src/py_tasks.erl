-module(py_tasks).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Tasks: calls whose function runs on the asyncio loop of a context, beside everything else there. The answer is the
%% message `{async_result, Ref, Result}'; py_call:await/2 and py_call:cancel/1 know it.

-export([awaited/3, explicit/2, pooled/2, submit/2, run/3, run_explicit/3, gather/2]).
-export([cast_pooled/2, forward_explicit/4, forward_pooled/4]).

-type payload() :: py_nif:payload().
-type pool() :: atom().

?DOC(false).
-spec explicit(py_nif:target(), payload()) -> reference().
explicit(Target, Payload) ->
    referred(py_target:task(Target, Payload, own)).

?DOC(false).
-spec pooled(pool(), payload()) -> reference().
pooled(Pool, Payload) ->
    referred(submitted(Pool, Payload, infinity)).

?DOC(false).
-spec submit(py_nif:target(), payload()) -> {ok, reference()} | {error, term()}.
submit(Target, Payload) ->
    case py_target:task(Target, Payload, own) of
        {error, _} = Error -> Error;
        Task -> {ok, Task}
    end.

submitted(Pool, Payload, Timeout) ->
    py_call:on_bound(Pool, fun(Handle) -> py_target:task(Handle, Payload, own) end, Timeout).

%% A refused submission has a reference, too; the error comes as its message.
referred({error, Reason} = Error) ->
    ok = py_telemetry_calls:refused(Reason),
    Ref = make_ref(),
    self() ! {async_result, Ref, Error},
    Ref;
referred(Task) ->
    Task.

?DOC(false).
-spec run(pool(), payload(), timeout() | default) -> py:result().
run(Pool, Payload, default) ->
    run(Pool, Payload, py_pool_table:timeout(Pool));
run(Pool, Payload, Timeout) ->
    observed({pool, Pool}, Payload, fun() -> run_in_pool(Pool, Payload, Timeout) end).

run_in_pool(Pool, Payload, Timeout) ->
    Limit = py_call:limited(Timeout),
    Deadline = py_call:deadline(Limit),
    Run = fun(Handle) -> py_call:task(Handle, Payload, py_call:remaining(Deadline)) end,
    case py_call:on_bound(Pool, Run, Limit) of
        {answered, Result} -> Result;
        {error, _} = Error -> Error
    end.

?DOC(false).
-spec run_explicit(py_nif:target(), payload(), timeout()) -> py:result().
run_explicit(Target, Payload, Timeout) ->
    observed({target, Target}, Payload, fun() -> run_on_context(Target, Payload, Timeout) end).

observed(Where, Payload, Run) ->
    case py_telemetry_table:listeners() of
        #{calls := true} = Listeners -> py_telemetry_calls:observed(Listeners, Where, Payload, Run);
        _ -> Run()
    end.

run_on_context(Target, Payload, Timeout) ->
    case py_call:task(Target, Payload, py_call:limited(Timeout)) of
        {answered, Result} -> Result;
        {error, _} = Error -> Error
    end.

?DOC(false).
%% What users have in hand, a task or a `spawn_call', which must be their own.
-spec awaited(py_badarg:form(), term(), timeout()) -> py:result().
awaited(Form, Ref, Timeout) ->
    case py_call:await(py_arguments:reference(Form, Ref), Timeout) of
        not_owner -> py_badarg:refuse(Form, ref, wrong);
        Result -> Result
    end.

%% What this process has just submitted.
-spec await(reference(), timeout()) -> py:result().
await(Task, Timeout) ->
    case py_call:await(Task, Timeout) of
        {_, _} = Result -> Result
    end.

?DOC(false).
%% All at the same time, under one time limit.
-spec gather([{pool(), payload()}], timeout() | default) -> {ok, [term()]} | {error, term()}.
gather(Requests, Timeout) ->
    case py_nif:python() of
        {error, not_running} = Error ->
            Error;
        _ ->
            Deadline = py_call:deadline(py_call:limited(py_call:longest(Requests, Timeout))),
            Tasks = [pooled(Pool, Payload) || {Pool, Payload} <- Requests],
            gathered([await(Task, py_call:remaining(Deadline)) || Task <- Tasks])
    end.

gathered(Results) ->
    Numbered = lists:zip(lists:seq(1, length(Results)), Results),
    case [{Index, Reason} || {Index, {error, Reason}} <- Numbered] of
        [] -> {ok, [Value || {ok, Value} <- Results]};
        Failed -> {error, {gather_failed, Failed}}
    end.

?DOC(false).
%% Nobody waits for it; it goes on when the caller has ended.
-spec cast_pooled(pool(), payload()) -> ok | {error, term()}.
cast_pooled(Pool, Payload) ->
    Submit = fun(Handle) -> py_target:task_cast(Handle, Payload) end,
    py_call:cast_outcome(py_call:on_bound(Pool, Submit, infinity)).

?DOC(false).
%% The answer goes to a process with a reference of its own choice. The task is that process's: it is cancelled when
%% that process ends.
-spec forward_explicit(py_nif:target(), payload(), pid(), term()) -> ok | {error, term()}.
forward_explicit(Target, Asked, To, Ref) ->
    Asker = self(),
    Payload = py_trace:carried(Asked),
    Tag = make_ref(),
    {Pid, Monitor} = erlang:spawn_monitor(fun() -> forwarder(Asker, Tag, Target, Payload, To, Ref) end),
    receive
        {Tag, Submitted} ->
            _ = erlang:demonitor(Monitor, [flush]),
            Submitted;
        {'DOWN', Monitor, process, Pid, Reason} ->
            {error, Reason}
    end.

?DOC(false).
-spec forward_pooled(pool(), payload(), pid(), term()) -> ok | {error, term()}.
forward_pooled(Pool, Payload, To, Ref) ->
    py_call:on_bound(Pool, fun(Handle) -> forward_explicit(Handle, Payload, To, Ref) end, infinity).

%% What it has submitted ends with it. In the namespace of the process that asked.
forwarder(Asker, Tag, Target, Payload, To, Ref) ->
    Monitor = erlang:monitor(process, To),
    case py_target:task(Target, Payload, Asker) of
        {error, _} = Error ->
            Asker ! {Tag, Error};
        Task ->
            Asker ! {Tag, ok},
            receive
                {async_result, Task, Result} -> To ! {async_result, Ref, Result};
                {'DOWN', Monitor, process, _, _} -> gone
            end
    end.
