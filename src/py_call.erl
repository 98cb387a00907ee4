-module(py_call).
-include("py_doc.hrl").
?MODULEDOC(false).

%% How a process waits for its requests. Every function that makes a reference receives with it in each
%% clause, so that the compiler can skip the messages that were there before (see scripts/check-receive).

-export([pooled/3, explicit/3, explicit/4, explicit/5, request/3]).
-export([spawn_pooled/2, spawn_explicit/2, cast_pooled/2, cast_explicit/2, cast_outcome/1]).
-export([task/3, await/2, cancel/1, parallel/2, longest/2, on_bound/3, limited/1, deadline/1, remaining/1]).

-type payload() :: py_nif:payload().
-type result() :: {ok, term()} | ok | {error, term()}.
-type overloaded() :: {overloaded, Current :: non_neg_integer(), Max :: pos_integer()}.
-export_type([result/0, overloaded/0]).

%% The callback that this process runs, see py_callback_runner.
-define(CURRENT, {py_callback, current}).

%% Inline calls are short, and to wait for another one costs less than the way through the mailbox: so many times is
%% it tried to get in.
-define(TRIES, 3).

%% Contexts that die one after another between a binding and a submission: so many times is it tried anew.
-define(ATTEMPTS, 5).

?DOC(false).
-spec explicit(py_nif:target(), payload(), timeout()) -> result().
explicit(Context, Payload, Timeout) ->
    explicit(Context, Payload, Timeout, own).

?DOC(false).
%% In the namespace that is named.
-spec explicit(py_nif:target(), payload(), timeout(), py_nif:scope()) -> result().
explicit(Context, Payload, Timeout, Scope) ->
    explicit(Context, Payload, Timeout, Scope, py_inline:dispatch(Payload)).

?DOC(false).
%% On the calling scheduler, if that is asked for and can be.
-spec explicit(py_nif:target(), payload(), timeout(), py_nif:scope(), py_inline:dispatch()) -> result().
explicit(Context, Payload, Timeout, Scope, Dispatch) ->
    case py_telemetry_table:listeners() of
        #{calls := true} = Listeners ->
            Call = fun() -> on_context(Context, Payload, Timeout, Scope, Dispatch) end,
            py_telemetry_calls:observed(Listeners, {target, Context}, Payload, Call);
        _ ->
            on_context(Context, Payload, Timeout, Scope, Dispatch)
    end.

on_context(Context, Payload, Timeout, Scope, Dispatch) ->
    case request(Context, Payload, Timeout, Scope, Dispatch) of
        {refused, Reason} -> {error, Reason};
        Result -> Result
    end.

?DOC(false).
%% `default': as long as calls of the pool may take.
-spec pooled(atom(), payload(), timeout() | default) -> result().
pooled(Pool, Payload, default) ->
    pooled(Pool, Payload, py_pool_table:timeout(Pool));
pooled(Pool, Payload, Timeout) ->
    case py_telemetry_table:listeners() of
        #{calls := true} = Listeners ->
            Call = fun() -> in_pool(Pool, Payload, Timeout) end,
            py_telemetry_calls:observed(Listeners, {pool, Pool}, Payload, Call);
        _ ->
            in_pool(Pool, Payload, Timeout)
    end.

in_pool(Pool, Payload, Timeout) ->
    case py_context_router:known(Pool) of
        {ok, Handle} ->
            case lasting(Handle, request(Handle, Payload, Timeout, own, py_inline:dispatch(Pool, Payload))) of
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
            case lasting(Handle, request(Handle, Payload, remaining(Deadline), own, mailbox)) of
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

%% A node that has stopped its application has taken the pool's context along.
lasting(Handle, {refused, not_running}) when is_pid(Handle) -> {refused, {context_died, noproc}};
lasting(_Handle, Result) -> Result.

rebound(Pool, none, Timeout) -> py_context_router:bind(Pool, Timeout);
rebound(Pool, Dead, Timeout) -> py_context_router:rebind(Pool, Dead, Timeout).

?DOC(false).
%% A part of something that is observed as a whole. `refused': nothing was submitted.
-spec request(py_nif:target(), payload(), timeout()) -> result() | {refused, term()}.
request(Target, Payload, Timeout) ->
    request(Target, Payload, Timeout, own, mailbox).

%% Submits and waits. `refused': nothing was submitted. In a function that Python has called, the time limit of the
%% call around it counts as well, and nothing runs inline.
request(Target, Asked, Timeout, Scope, Dispatch) ->
    Payload = py_trace:carried(Asked),
    case get(?CURRENT) of
        undefined when Dispatch =/= mailbox, Scope =:= own, node(Target) =:= node() ->
            inline(Target, Payload, Timeout, Dispatch =:= auto, ?TRIES);
        undefined ->
            submitted(Target, Payload, Timeout, Scope, none);
        {Callback, Deadline} ->
            submitted(Target, Payload, min(Timeout, remaining(Deadline)), Scope, Callback)
    end.

%% On this scheduler, or else as ever.
inline(Target, Payload, Timeout, Learned, Tries) ->
    case py_nif:inline_call(Target, Payload, Timeout, Learned, Tries > 1) of
        again ->
            Deadline = deadline(Timeout),
            true = erlang:yield(),
            case remaining(Deadline) of
                0 -> submitted(Target, Payload, 0, own, none);
                Left -> inline(Target, Payload, Left, Learned, Tries - 1)
            end;
        mailbox ->
            submitted(Target, Payload, Timeout, own, none);
        learn ->
            submitted(Target, {learn, Payload}, Timeout, own, none);
        {raised, Error, Story} ->
            py_error:keep(Story),
            Error;
        Result ->
            Result
    end.

submitted(Target, Payload, Timeout, Scope, _Parent) when node(Target) =/= node() ->
    py_remote:call(Target, Payload, Timeout, Scope);
submitted(Target, Payload, Timeout, Scope, Parent) ->
    Ref = make_ref(),
    case py_nif:call(Target, Ref, Payload, Scope, Parent, Timeout) of
        {error, Reason} ->
            {refused, Reason};
        Request ->
            receive
                {Ref, Result} ->
                    Result;
                {Ref, Result, Story} ->
                    py_error:keep(Story),
                    Result;
                {Ref, Callback, Function, Args, Left} ->
                    called_back(Request, Ref, Callback, Function, Args, deadline(Left))
            after Timeout ->
                take_back(Request, Ref)
            end
    end.

?DOC(false).
%% A task whose end the process waits for. An error: nothing was submitted.
-spec task(py_nif:target(), payload(), timeout()) -> {answered, result()} | {error, term()}.
task(Target, Payload, Timeout) when node(Target) =/= node() ->
    case py_target:task(Target, Payload, own) of
        {error, _} = Error -> Error;
        Task -> {answered, await(Task, Timeout)}
    end;
task(Target, Payload, Timeout) ->
    Ref = make_ref(),
    case py_nif:run_task(Target, Ref, py_trace:carried(Payload), own, py_callback_runner:current()) of
        {error, _} = Error ->
            Error;
        Request ->
            receive
                {Ref, Result} ->
                    {answered, Result};
                {Ref, Result, Story} ->
                    py_error:keep(Story),
                    {answered, Result}
            after Timeout ->
                {answered, take_back(Request, Ref)}
            end
    end.

%% Python calls a function, and this process runs it; `tail' is one that takes the place of the call.
called_back(_Request, _Ref, tail, Function, Args, Deadline) ->
    tail(Function, Args, Deadline);
called_back(Request, Ref, Callback, Function, Args, Deadline) ->
    reraised(served(Request, Ref, Callback, Function, Args, Deadline)).

served(Request, Ref, Callback, Function, Args, Deadline) ->
    Answer = py_callback_runner:serve(Callback, Function, Args, Deadline),
    case remaining(Deadline) of
        0 ->
            %% Its value comes too late.
            late(Request, taken_back(py_nif:callback_cancel(Callback), Request, Ref));
        _ ->
            answered(Request, Ref, Callback, Answer, Deadline)
    end.

%% What comes next has another reference, made here for the sake of the receive (see scripts/check-receive).
answered(Request, OldRef, Callback, Answer, Deadline) ->
    Ref = make_ref(),
    case py_nif:callback_answer(Callback, Ref, Answer) of
        ok ->
            receive
                {Ref, Result} ->
                    Result;
                {Ref, Result, Story} ->
                    py_error:keep(Story),
                    Result;
                {Ref, tail, Function, Args, _Left} ->
                    tail(Function, Args, Deadline);
                {Ref, Next, Function, Args, _Left} ->
                    served(Request, Ref, Next, Function, Args, Deadline)
            after remaining(Deadline) ->
                take_back(Request, Ref)
            end;
        expired ->
            expired(Request, OldRef, Deadline)
    end.

tail(Function, Args, Deadline) ->
    Parent = py_callback_runner:current(),
    Result = reraised(py_callback_runner:tail(Parent, Function, Args, Deadline)),
    case remaining(Deadline) of
        0 -> {error, timeout};
        _ -> Result
    end.

%% Nobody waits for the answer: the time is over, the code was interrupted, or its context has ended.
expired(Request, Ref, Deadline) ->
    case remaining(Deadline) of
        0 ->
            late(Request, take_back(Request, Ref));
        Timeout ->
            receive
                {Ref, Result} ->
                    Result;
                {Ref, Result, Story} ->
                    py_error:keep(Story),
                    Result;
                {Ref, tail, Function, Args, _Left} ->
                    tail(Function, Args, Deadline);
                {Ref, Callback, Function, Args, _Left} ->
                    served(Request, Ref, Callback, Function, Args, Deadline)
            after Timeout ->
                take_back(Request, Ref)
            end
    end.

%% Mnesia ends and restarts transactions by exits, which must not stop at Python code.
reraised({error, {exit, {aborted, _} = Reason}} = Result) ->
    case get(mnesia_activity_state) of
        undefined -> Result;
        _InTransaction -> exit(Reason)
    end;
reraised(Result) ->
    Result.

%% The time is over. Either no message comes any more, or one is certain to.
take_back(Request, Ref) ->
    taken_back(py_nif:cancel(Request), Request, Ref).

taken_back(cancelled, Request, _Ref) ->
    late(Request);
taken_back(flush, Request, Ref) ->
    receive
        {Ref, _Callback, _Function, _Args, _Left} -> taken_back(flush, Request, Ref)
    after 0 -> late(Request)
    end;
taken_back(calling, Request, Ref) ->
    receive
        {Ref, Callback, _Function, _Args, _Left} ->
            taken_back(py_nif:callback_cancel(Callback), Request, Ref)
    end;
taken_back(_SendingOrSent, Request, Ref) ->
    receive
        {Ref, Result} ->
            Result;
        {Ref, Result, Story} ->
            py_error:keep(Story),
            Result;
        {Ref, tail, _Function, _Args, _Left} ->
            {error, timeout};
        {Ref, _Callback, _Function, _Args, _Left} ->
            taken_back(sent, Request, Ref)
    end.

%% Of a batch that much is known.
late(Request) -> late(Request, {error, timeout}).

%% The same where an answer may have come when the time was over: that of a batch is what it had done by then.
late(Request, Answer) ->
    case py_nif:so_far(Request, timeout) of
        sent -> Answer;
        Late -> Late
    end.

?DOC(false).
-spec spawn_explicit(py_nif:target(), payload()) -> reference().
spawn_explicit(Target, Payload) ->
    case py_target:spawn(Target, Payload) of
        {error, _} = Error -> refused(Error);
        Request -> Request
    end.

?DOC(false).
-spec spawn_pooled(atom(), payload()) -> reference().
spawn_pooled(Pool, Payload) ->
    case on_bound(Pool, fun(Handle) -> py_target:spawn(Handle, Payload) end, infinity) of
        {error, _} = Error -> refused(Error);
        Request -> Request
    end.

%% A refused submission has a reference, too; the error comes as its message.
refused({error, Reason} = Error) ->
    ok = py_telemetry_calls:refused(Reason),
    Ref = make_ref(),
    self() ! {py_response, Ref, Error},
    Ref.

?DOC(false).
-spec cast_explicit(pid(), payload()) -> ok | {error, term()}.
cast_explicit(Target, Payload) ->
    cast_outcome(py_target:cast(Target, Payload)).

?DOC(false).
-spec cast_pooled(atom(), payload()) -> ok | {error, term()}.
cast_pooled(Pool, Payload) ->
    cast_outcome(on_bound(Pool, fun(Handle) -> py_target:cast(Handle, Payload) end, infinity)).

?DOC(false).
%% As with gen_server:cast, it does not matter whether anybody is there any more.
-spec cast_outcome(ok | py_nif:request() | {error, term()}) -> ok | {error, term()}.
cast_outcome({error, {context_died, _}}) -> ok;
cast_outcome({error, Reason} = Error) ->
    ok = py_telemetry_calls:refused(Reason),
    Error;
cast_outcome(_Request) -> ok.

?DOC(false).
%% Submits to the process's context of a pool. The time limit is that of the start of a context.
-spec on_bound(atom(), fun((py_nif:target()) -> Submitted), timeout()) -> Submitted | {error, term()}.
on_bound(Pool, Submit, Timeout) ->
    case py_context_router:known(Pool) of
        {ok, Handle} ->
            on_bound(Pool, {ok, Handle}, Submit, deadline(Timeout), ?ATTEMPTS);
        none ->
            on_bound(Pool, rebound(Pool, none, Timeout), Submit, deadline(Timeout), ?ATTEMPTS)
    end.

on_bound(Pool, {ok, Handle}, Submit, Deadline, Attempts) ->
    case Submit(Handle) of
        {error, {context_died, _}} when Attempts > 1 ->
            on_bound(Pool, rebound(Pool, Handle, remaining(Deadline)), Submit, Deadline, Attempts - 1);
        Submitted ->
            Submitted
    end;
on_bound(_Pool, {error, _} = Error, _Submit, _Deadline, _Attempts) ->
    Error.

?DOC(false).
%% For a `spawn_call' or a task.
-spec await(reference(), timeout()) -> result() | not_owner.
await(Ref, Timeout) ->
    case is_mine(Ref) of
        true ->
            receive
                {py_response, Ref, Result} -> Result;
                {async_result, Ref, Result} -> Result
            after limited(Timeout) ->
                case taken_back(Ref) of
                    none -> {error, timeout};
                    {came, Result} -> Result
                end
            end;
        false ->
            not_owner
    end.

?DOC(false).
-spec cancel(reference()) -> ok | not_owner.
cancel(Ref) ->
    case is_mine(Ref) of
        true ->
            _ = taken_back(Ref),
            ok;
        false ->
            not_owner
    end.

%% Ordinary references are those of requests to other nodes, and those of refused submissions, whose messages are
%% in the mailbox already.
is_mine(Ref) ->
    try py_nif:is_mine(Ref) of
        %% Without the native library all submissions are refused.
        {error, not_running} -> true;
        Mine -> Mine
    catch
        error:badarg -> py_remote:is_mine(Ref)
    end.

taken_back(Ref) ->
    try py_nif:cancel(Ref) of
        cancelled -> none;
        %% It has come, and may have been received long ago.
        sent -> flush(Ref);
        %% It is being sent this very moment, or was just now and has been received already.
        sending -> flushed_or_sent(Ref, flush(Ref));
        {error, not_running} -> flush(Ref)
    catch
        error:badarg ->
            ok = py_remote:cancel(Ref),
            flush(Ref)
    end.

flushed_or_sent(Ref, none) ->
    true = erlang:yield(),
    taken_back(Ref);
flushed_or_sent(_Ref, Came) ->
    Came.

flush(Ref) ->
    receive
        {py_response, Ref, Result} -> {came, Result};
        {async_result, Ref, Result} -> {came, Result}
    after 0 -> none
    end.

?DOC(false).
%% Spreads requests over all contexts of their pools; the results in the order of the requests.
-spec parallel([{atom(), payload()}], timeout() | default) -> {ok, [result()]} | {error, term()}.
parallel([], _Timeout) ->
    {ok, []};
parallel(Requests, Timeout) ->
    Deadline = deadline(limited(longest(Requests, Timeout))),
    Pools = lists:usort([Pool || {Pool, _} <- Requests]),
    Found = [{Pool, py_context_router:all(Pool, remaining(Deadline))} || Pool <- Pools],
    case [Handles || {_, {ok, Handles}} <- Found] of
        [] ->
            %% Nowhere to go for any of them.
            {_, {error, _} = Error} = hd(Found),
            Error;
        _ ->
            Refs = spread(Requests, maps:from_list([{Pool, turns(All)} || {Pool, All} <- Found])),
            {ok, [await(Ref, remaining(Deadline)) || Ref <- Refs]}
    end.

?DOC(false).
%% One time limit for several requests: that of the pool which gives the most.
-spec longest([{atom(), payload()}], timeout() | default) -> timeout().
longest([_ | _] = Requests, default) -> lists:max([py_pool_table:timeout(Pool) || {Pool, _} <- Requests]);
longest([], default) -> 0;
longest(_Requests, Timeout) -> Timeout.

turns({ok, Handles}) -> {Handles, Handles};
turns({error, _} = Error) -> Error.

spread([{Pool, Payload} | Requests], Turns) ->
    case maps:get(Pool, Turns) of
        {[Handle | Handles], All} ->
            Ref = spawn_explicit(Handle, Payload),
            [Ref | spread(Requests, Turns#{Pool := {Handles, All}})];
        {[], All} ->
            spread([{Pool, Payload} | Requests], Turns#{Pool := {All, All}});
        {error, _} = Error ->
            Ref = refused(Error),
            [Ref | spread(Requests, Turns)]
    end;
spread([], _Turns) ->
    [].

?DOC(false).
%% In a function that Python has called, the time limit of the call around it counts as well.
-spec limited(timeout()) -> timeout().
limited(Timeout) ->
    case get(?CURRENT) of
        undefined -> Timeout;
        {_Callback, Deadline} -> min(Timeout, remaining(Deadline))
    end.

?DOC(false).
-spec deadline(timeout()) -> infinity | integer().
deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

?DOC(false).
-spec remaining(infinity | integer()) -> timeout().
remaining(infinity) -> infinity;
remaining(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
