-module(py_call).
-include("py_doc.hrl").
?MODULEDOC(false).

%% How a process waits for its requests. Every function that makes a reference receives with it in each
%% clause, so that the compiler can skip the messages that were there before (see scripts/check-receive).

-export([pooled/3, explicit/3, spawn_pooled/2, spawn_explicit/2, cast_pooled/2, cast_explicit/2]).
-export([await/2, cancel/1, parallel/2]).

-type payload() :: py_nif:payload().
-type result() :: {ok, term()} | ok | {error, term()}.
-type overloaded() :: {overloaded, Current :: non_neg_integer(), Max :: pos_integer()}.
-export_type([result/0, overloaded/0]).

%% Contexts that die one after another between a binding and a submission: so many times is it tried anew.
-define(ATTEMPTS, 5).

?DOC(false).
-spec explicit(pid(), payload(), timeout()) -> result().
explicit(Context, Payload, Timeout) ->
    case request(Context, Payload, Timeout) of
        {refused, Reason} -> {error, Reason};
        Result -> Result
    end.

?DOC(false).
-spec pooled(atom(), payload(), timeout()) -> result().
pooled(Pool, Payload, Timeout) ->
    case py_context_router:known(Pool) of
        {ok, Handle} ->
            case request(Handle, Payload, Timeout) of
                {refused, {context_died, _}} ->
                    elsewhere(Pool, Handle, Payload, deadline(Timeout), ?ATTEMPTS);
                {refused, Reason} ->
                    {error, Reason};
                Result ->
                    Result
            end;
        none ->
            elsewhere(Pool, none, Payload, deadline(Timeout), ?ATTEMPTS)
    end.

%% The process has no context yet, or a dead one. The time limit covers the start of another.
elsewhere(Pool, Dead, Payload, Deadline, Attempts) ->
    case rebound(Pool, Dead, remaining(Deadline)) of
        {ok, Handle} ->
            case request(Handle, Payload, remaining(Deadline)) of
                {refused, {context_died, _}} when Attempts > 1 ->
                    elsewhere(Pool, Handle, Payload, Deadline, Attempts - 1);
                {refused, Reason} ->
                    {error, Reason};
                Result ->
                    Result
            end;
        {error, _} = Error ->
            Error
    end.

rebound(Pool, none, Timeout) -> py_context_router:bind(Pool, Timeout);
rebound(Pool, Dead, Timeout) -> py_context_router:rebind(Pool, Dead, Timeout).

%% Submits and waits. `refused': nothing was submitted.
request(Target, Payload, Timeout) ->
    Ref = make_ref(),
    case py_nif:call(Target, Ref, Payload, own) of
        {error, Reason} ->
            {refused, Reason};
        Request ->
            receive
                {Ref, Result} ->
                    Result;
                {Ref, Result, Story} ->
                    py_error:keep(Story),
                    Result
            after Timeout ->
                take_back(Request, Ref)
            end
    end.

%% The time is over. Either no message comes any more, or one is certain to.
take_back(Request, Ref) ->
    case py_nif:cancel(Request) of
        cancelled ->
            {error, timeout};
        _SendingOrSent ->
            receive
                {Ref, Result} ->
                    Result;
                {Ref, Result, Story} ->
                    py_error:keep(Story),
                    Result
            end
    end.

?DOC(false).
-spec spawn_explicit(py_nif:target(), payload()) -> reference().
spawn_explicit(Target, Payload) ->
    case py_nif:spawn(Target, Payload, own) of
        {error, _} = Error -> refused(Error);
        Request -> Request
    end.

?DOC(false).
-spec spawn_pooled(atom(), payload()) -> reference().
spawn_pooled(Pool, Payload) ->
    case on_bound(Pool, fun(Handle) -> py_nif:spawn(Handle, Payload, own) end) of
        {error, _} = Error -> refused(Error);
        Request -> Request
    end.

%% A refused submission has a reference, too; the error comes as its message.
refused(Error) ->
    Ref = make_ref(),
    self() ! {py_response, Ref, Error},
    Ref.

?DOC(false).
-spec cast_explicit(pid(), payload()) -> ok | {error, not_running | overloaded()}.
cast_explicit(Target, Payload) ->
    cast_outcome(py_nif:cast(Target, Payload, own)).

?DOC(false).
-spec cast_pooled(atom(), payload()) -> ok | {error, not_running | overloaded()}.
cast_pooled(Pool, Payload) ->
    cast_outcome(on_bound(Pool, fun(Handle) -> py_nif:cast(Handle, Payload, own) end)).

%% As with gen_server:cast, it does not matter whether anybody is there.
cast_outcome({error, not_running} = Error) -> Error;
cast_outcome({error, {overloaded, _, _}} = Error) -> Error;
cast_outcome(_) -> ok.

on_bound(Pool, Submit) ->
    case py_context_router:known(Pool) of
        {ok, Handle} -> on_bound(Pool, {ok, Handle}, Submit, ?ATTEMPTS);
        none -> on_bound(Pool, rebound(Pool, none, infinity), Submit, ?ATTEMPTS)
    end.

on_bound(Pool, {ok, Handle}, Submit, Attempts) ->
    case Submit(Handle) of
        {error, {context_died, _}} when Attempts > 1 ->
            on_bound(Pool, rebound(Pool, Handle, infinity), Submit, Attempts - 1);
        Submitted ->
            Submitted
    end;
on_bound(_Pool, {error, _} = Error, _Submit, _Attempts) ->
    Error.

?DOC(false).
-spec await(reference(), timeout()) -> result().
await(Ref, Timeout) ->
    case is_mine(Ref) of
        true ->
            receive
                {py_response, Ref, Result} -> Result
            after Timeout ->
                case taken_back(Ref) of
                    none -> {error, timeout};
                    {came, Result} -> Result
                end
            end;
        false ->
            erlang:error(badarg, [Ref, Timeout])
    end.

?DOC(false).
-spec cancel(reference()) -> ok.
cancel(Ref) ->
    case is_mine(Ref) of
        true ->
            _ = taken_back(Ref),
            ok;
        false ->
            erlang:error(badarg, [Ref])
    end.

%% The reference of a refused submission is an ordinary one; its message is in the mailbox already.
is_mine(Ref) ->
    try
        py_nif:is_mine(Ref)
    catch
        error:badarg -> true
    end.

taken_back(Ref) ->
    try py_nif:cancel(Ref) of
        cancelled -> none;
        %% It has come, and may have been received long ago.
        sent -> flush(Ref);
        %% It is being sent this very moment, or was just now and has been received already.
        sending -> flushed_or_sent(Ref, flush(Ref))
    catch
        error:badarg -> flush(Ref)
    end.

flushed_or_sent(Ref, none) ->
    true = erlang:yield(),
    taken_back(Ref);
flushed_or_sent(_Ref, Came) ->
    Came.

flush(Ref) ->
    receive
        {py_response, Ref, Result} -> {came, Result}
    after 0 -> none
    end.

?DOC(false).
%% Spreads requests over all contexts of a pool; the results in the order of the requests.
-spec parallel([payload()], timeout()) -> {ok, [result()]} | {error, term()}.
parallel([], _Timeout) ->
    {ok, []};
parallel(Payloads, Timeout) ->
    Deadline = deadline(Timeout),
    case py_context_router:all(default, Timeout) of
        {ok, Handles} ->
            Refs = spread(Payloads, Handles, Handles),
            {ok, [await(Ref, remaining(Deadline)) || Ref <- Refs]};
        {error, _} = Error ->
            Error
    end.

spread([Payload | Payloads], [Handle | Handles], All) ->
    [spawn_explicit(Handle, Payload) | spread(Payloads, Handles, All)];
spread([], _, _) ->
    [];
spread(Payloads, [], All) ->
    spread(Payloads, All, All).

deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

remaining(infinity) -> infinity;
remaining(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
