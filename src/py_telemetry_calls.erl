-module(py_telemetry_calls).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The events of calls. They are emitted in the process that calls, around the whole of it: waiting for a context, for a
%% place in its queue, and for the answer.

-export([observed/4, refused/1]).

%% `Fun' makes the call. Where it is made is known beforehand or, for a pool, afterwards; on all `places' of a pool there
%% is no one context to tell of.
-spec observed(py_telemetry_table:listeners(), Where, py_nif:payload(), Fun) -> Result when
    Where :: {pool | places, atom()} | {target, py_nif:target()},
    Fun :: fun(() -> Result),
    Result :: py_call:result() | py_batch:results().
observed(Listeners, Where, Payload, Fun) ->
    Call = (asked(Payload))#{telemetry_span_context => make_ref()},
    Begun = erlang:monotonic_time(),
    Start = #{monotonic_time => Begun, system_time => erlang:system_time()},
    ok = emit(Listeners, start, Start, maps:merge(Call, before(Where))),
    try Fun() of
        Result ->
            ok = ended(Listeners, Result, Begun, maps:merge(Call, afterwards(Where))),
            Result
    catch
        Class:Reason:Stack ->
            Ended = maps:merge(Call, afterwards(Where)),
            ok = emit(Listeners, exception, since(Begun), Ended#{kind => Class, reason => Reason, stacktrace => Stack}),
            erlang:raise(Class, Reason, Stack)
    end.

ended(Listeners, {error, Reason}, Begun, Call) ->
    ok = refused(Listeners, Reason, Call),
    emit(Listeners, exception, since(Begun), Call#{kind => error, reason => Reason, stacktrace => []});
ended(Listeners, _Ok, Begun, Call) ->
    emit(Listeners, stop, since(Begun), Call).

since(Begun) ->
    Now = erlang:monotonic_time(),
    #{duration => Now - Begun, monotonic_time => Now}.

%% Of something that nobody waits for, a cast, a `spawn_call', a task; or of a chunk of a map.
-spec refused(term()) -> ok.
refused(Reason) ->
    case py_telemetry_table:listeners() of
        none -> ok;
        Listeners -> refused(Listeners, Reason, #{})
    end.

refused(Listeners, {overloaded, Current, Max}, Call) ->
    emit(Listeners, refused, #{current => Current, max => Max}, Call);
refused(_Listeners, _Reason, _Call) ->
    ok.

emit(Listeners, Name, Measurements, Metadata) ->
    py_telemetry_table:emit(Listeners, [erlang_python, call, Name], Measurements, Metadata).

asked({call, Module, Function, Args, _Kwargs}) ->
    #{request => call, module => Module, function => Function, arity => length(Args)};
asked({call_method, _Object, Function, Args, _Kwargs}) ->
    #{request => call_method, function => Function, arity => length(Args)};
asked({Kind, Module, Function, Items, _Kwargs}) when Kind =:= call_many; Kind =:= map ->
    #{request => Kind, module => Module, function => Function, items => length(Items)};
asked(Payload) ->
    #{request => element(1, Payload)}.

before({Of, Pool}) when Of =:= pool; Of =:= places -> #{pool => Pool};
before({target, Target}) -> #{context => pid_of(Target)}.

%% The context that the process is bound to now, which may have taken the place of another one.
afterwards({pool, Pool}) ->
    case py_context_router:known(Pool) of
        {ok, Target} -> #{pool => Pool, context => pid_of(Target)};
        none -> #{pool => Pool, context => undefined}
    end;
afterwards(Where) ->
    before(Where).

pid_of(Pid) when is_pid(Pid) -> Pid;
pid_of(Target) when node(Target) =/= node() -> undefined;
pid_of(Target) ->
    case py_nif:context_pid(Target) of
        {error, _} -> undefined;
        Pid -> Pid
    end.
