%% The private native functions with arguments that are wrong, or right but not meant for one another: an answer or
%% `badarg', and the node goes on.
-module(prop_native).

-export([setup/0, input/1, holds/2, renew/1]).

-include("support/py_properties.hrl").

%% Contexts whose handles are used at will, and one that nobody touches; a service, and what it has.
setup() ->
    {ok, Untouched} = py_context:new(#{}),
    {ok, Fd} = py_context:eval(Untouched, listening()),
    {ok, Listener} = py_nif:listener_open(Fd),
    refreshed(#{untouched => Untouched, listener => Listener, age => 0}).

%% The descriptor of a socket that is the listener's to close.
listening() ->
    <<"(lambda s: (s.bind(('127.0.0.1', 0)), s.listen(), s.detach())[2])(__import__('socket').socket())">>.

refreshed(State) ->
    {ok, Context} = py_context:new(#{mode => element(rand:uniform(2), {py:execution_mode(), worker})}),
    {ok, Handle} = py_context:handle(Context),
    {ok, Closed} = py_context:new(#{}),
    {ok, ClosedHandle} = py_context:handle(Closed),
    ok = py_context:stop(Closed),
    {ok, Environment} = py_nif:environment(Handle),
    {ok, Own} = py_nif:own_environment(Handle),
    {ok, Object} = py:call(Context, collections, deque, []),
    Used = [py_context:new(#{}) || _ <- [1, 2, 3]],
    [{ok, Sleeping}, {ok, Calling}, {ok, Serving}] = [py_context:handle(Each) || {ok, Each} <- Used],
    ok = py_nif:reactor_open(Serving, #{
        max_connections => infinity, idle_timeout => infinity, write_timeout => 1000, high_water => 1000, low_water => 10
    }),
    State#{
        age := 0,
        used => [Context | [Each || {ok, Each} <- Used]],
        kinds => #{
            context => [Handle, Sleeping, Calling, Serving, ClosedHandle],
            environment => [Environment, Own],
            object => [Object],
            listener => [maps:get(listener, State)],
            request => [
                request(Handle, <<"1">>), request(Sleeping, <<"__import__('time').sleep(1000)">>), request(Sleeping, <<"1">>)
            ],
            callback => [over(Context), waiting(Calling)]
        }
    }.

request(Handle, Code) ->
    py_nif:spawn(Handle, {eval, Code, #{}}, own, none).

%% One that its context waits for.
waiting(Handle) ->
    Ref = make_ref(),
    _ = py_nif:call(Handle, Ref, {eval, <<"__import__('erlang').prop_native()">>, #{}}, own, none, infinity),
    receive
        {Ref, Callback, _Function, _Args, _Left} -> Callback
    end.

%% One that is over.
over(Context) ->
    ok = py:register_function(prop_native, fun([]) -> 1 end),
    Ref = make_ref(),
    {ok, Handle} = py_context:handle(Context),
    _ = py_nif:call(Handle, Ref, {eval, <<"__import__('erlang').prop_native()">>, #{}}, own, none, infinity),
    receive
        {Ref, Callback, _Function, _Args, _Left} ->
            Next = make_ref(),
            ok = py_nif:callback_answer(Callback, Next, {ok, 1}),
            receive
                {Next, {ok, 1}} -> Callback
            end
    end.

input(#{kinds := Kinds}) ->
    Any = proper_types:oneof([
        proper_types:elements(lists:append(maps:values(Kinds))),
        proper_types:elements([self(), own, none, infinity, 0, 1, 100]),
        payload(Kinds),
        settings(),
        py_odd:term()
    ]),
    ?LET(
        Function,
        proper_types:elements(functions()),
        %% Most arguments are of the right kind, so that the others are looked at.
        ?LET(
            Arguments,
            [proper_types:frequency([{5, kind(Kind, Kinds)}, {1, Any}]) || Kind <- signature(Function)],
            {Function, fitted(Function, Arguments)}
        )
    ).

%% But what other processes of the node alone may do: end the runtime, answer callbacks, count permits.
functions() ->
    Others = [
        runtime_stop, callbacks_open, permits_open, permits_max, permits_wait, permits_stop_waiting, permits_release
    ],
    [Name || {Name, _} <- py_nif:module_info(nifs), not lists:member(Name, Others)].

signature(runtime_start) -> [text, text, text];
signature(context_start) -> [settings];
signature(context_close) -> [context, atom];
signature(context_adopt) -> [context, context];
signature(Name) when Name =:= context_info; Name =:= environment; Name =:= own_environment; Name =:= interrupt -> [target];
signature(call) -> [target, ref, payload, scope, parent, timeout];
signature(forward) -> [target, ref, payload, scope];
signature(Name) when Name =:= spawn; Name =:= task -> [target, payload, scope, parent];
signature(Name) when Name =:= cast; Name =:= task_cast -> [target, payload, scope];
signature(run_task) -> [target, ref, payload, scope, parent];
signature(reactor_open) -> [context, settings];
signature(reactor_handoff) -> [context, integer, map];
signature(reactor_when_free) -> [context, atom];
signature(Name) when Name =:= listener_open; Name =:= close_fd; Name =:= reactor_taken -> [integer];
signature(listener_arm) -> [listener, atom];
signature(listener_accept) -> [listener, context, map, integer];
signature(listener_close) -> [listener];
signature(Name) when Name =:= cancel; Name =:= is_mine -> [request];
signature(Name) when Name =:= callback_begin; Name =:= callback_cancel -> [callback];
signature(callback_answer) -> [callback, ref, answer];
signature(callback_finish) -> [callback, answer];
signature(function_known) -> [text, atom];
signature(relayed) -> [context, integer];
signature(is_object) -> [object];
signature(least_loaded) -> [contexts];
signature(Name) ->
    {Name, Arity} = lists:keyfind(Name, 1, py_nif:module_info(nifs)),
    lists:duplicate(Arity, context).

kind(target, Kinds) -> proper_types:oneof([kind(context, Kinds), kind(object, Kinds)]);
kind(ref, _Kinds) -> ?LET(_, proper_types:exactly(ref), make_ref());
kind(payload, Kinds) -> payload(Kinds);
kind(scope, Kinds) -> proper_types:oneof([kind(environment, Kinds), proper_types:elements([own, self()])]);
kind(parent, Kinds) -> proper_types:oneof([none, kind(callback, Kinds)]);
kind(timeout, _Kinds) -> proper_types:elements([0, 1, 100, infinity]);
kind(settings, _Kinds) -> settings();
kind(text, _Kinds) -> py_odd:text();
kind(atom, _Kinds) -> py_odd:atom();
kind(integer, _Kinds) -> py_odd:integer();
kind(map, _Kinds) -> proper_types:elements([#{}, #{peer => undefined}, #{client => x}]);
kind(answer, _Kinds) -> proper_types:elements([{ok, 1}, {error, x}, {raised, error, x, <<"x">>, []}, {raised, error, x, <<"x">>, [], none}]);
kind(contexts, Kinds) -> py_odd:few(kind(context, Kinds));
kind(Kind, Kinds) -> proper_types:elements(maps:get(Kind, Kinds)).

payload(Kinds) ->
    Part = proper_types:frequency([
        {4, proper_types:elements([math, <<"sqrt">>, <<"1 + 1">>, [], [4], #{}, #{x => 1}, '__main__'])},
        {1, kind(object, Kinds)},
        {1, py_odd:term()}
    ]),
    proper_types:oneof([
        proper_types:tuple([call, Part, Part, Part, Part]),
        proper_types:tuple([eval, Part, Part]),
        proper_types:tuple([exec, Part]),
        proper_types:tuple([getattr, Part, Part]),
        proper_types:tuple([call_method, Part, Part, Part, Part]),
        proper_types:tuple([to_term, Part]),
        proper_types:tuple([echo, Part]),
        proper_types:tuple([proper_types:elements([call, eval, exec, none]), Part])
    ]).

%% Of contexts, and of reactors.
settings() ->
    Value = proper_types:oneof([proper_types:elements([0, 1, 5, infinity, owngil, worker, py_conversion:default()]), py_odd:leaf()]),
    Keys = [
        mode, stuck_after, max_queue, max_nested_runs, conversion, max_connections, idle_timeout, write_timeout, high_water,
        low_water
    ],
    ?LET(Values, proper_types:vector(length(Keys), Value), maps:from_list(lists:zip(Keys, Values))).

%% Numbers of descriptors that are nobody's: those of the node are not to be closed or read.
fitted(Function, Arguments) when Function =:= close_fd; Function =:= listener_open; Function =:= reactor_handoff; Function =:= reactor_taken ->
    [case is_integer(Argument) andalso Argument >= 0 of true -> 1_000_000 + Argument; false -> Argument end || Argument <- Arguments];
%% Descriptors that nobody would close.
fitted(socketpair, []) ->
    [];
fitted(_Function, Arguments) ->
    Arguments.

holds({Function, Arguments}, #{untouched := Untouched}) ->
    Result =
        try apply(py_nif, Function, Arguments) of
            {ok, Handle, Serial} when Function =:= context_start ->
                %% Nobody else would end it.
                _ = py_nif:context_close(Handle, normal),
                {answer, started, Serial};
            {ok, A, B} when Function =:= socketpair ->
                {ok, ok} = {py_nif:close_fd(A), py_nif:close_fd(B)},
                ok;
            {ok, Listener} when Function =:= listener_open ->
                py_nif:listener_close(Listener);
            Answer ->
                {answer, Answer}
        catch
            error:badarg -> badarg;
            error:<<"Could not decode", _/binary>> -> badarg;
            Class:Reason -> {raised, Class, Reason}
        end,
    case {Result, py:call(Untouched, math, sqrt, [16], #{timeout => 30_000})} of
        {{raised, _, _}, _} -> {false, Result};
        {_, {ok, 4.0}} -> true;
        {_, Other} -> {false, {afterwards, Result, Other}}
    end.

%% What was ended is made anew.
renew(#{age := Age, used := [Context | _] = Used} = State) ->
    case Age >= 50 orelse not is_process_alive(Context) of
        true ->
            _ = [py_context:stop(Each) || Each <- Used],
            {ok, refreshed(State)};
        false ->
            {ok, State#{age := Age + 1}}
    end.
