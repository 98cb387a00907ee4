%% Every public function with arguments of which some are odd: an answer, or a refusal that says which argument is wrong and
%% why; and the node's contexts go on.
-module(prop_arguments).

-export([setup/0, input/1, holds/2, renew/1]).

-include("support/py_properties.hrl").

setup() ->
    {ok, Untouched} = py_context:new(#{}),
    refreshed(#{untouched => Untouched}).

refreshed(State) ->
    {ok, Context} = py_context:new(#{mode => element(rand:uniform(2), {py:execution_mode(), worker})}),
    ok = py:exec(Context, <<"async def soon(*args, **kwargs):\n    return args\n">>),
    {ok, Closed} = py_context:new(#{}),
    {ok, Stale} = py:call(Closed, collections, deque, []),
    ok = py_context:stop(Closed),
    {ok, Object} = py:call(Context, collections, deque, []),
    {ok, Environment} = py_context:create_local_env(Context),
    {ok, Loop} = py_event_loop:get_loop(),
    Over = py:spawn_call(Context, math, sqrt, [16]),
    {ok, 4.0} = py:await(Over),
    {ok, Task} = py_context:submit(Context, '__main__', soon, []),
    State#{age => 0, context => Context, known => [Context, Closed, Object, Stale, Environment, Loop, Over, Task, default, none_such]}.

input(#{known := Known}) ->
    Argument = proper_types:frequency([
        {8, proper_types:elements(Known)},
        {8, proper_types:elements([math, <<"sqrt">>, "sqrt", [], [4], #{}, #{timeout => 5}, #{x => 1}, 0, 5, <<"1 + 1">>, '__main__', soon])},
        {2, proper_types:elements([[{math, sqrt, [4]}], [{math, sqrt, [4], #{}}], fun(X) -> X end, fun lists:last/1, infinity, owngil])},
        {3, py_odd:term()}
    ]),
    ?LET(
        {Module, Function, Arity},
        proper_types:elements(functions()),
        ?LET(Arguments, proper_types:vector(Arity, Argument), {Module, Function, fitted(Function, Arguments)})
    ).

%% But what waits for a long time, what stops everything, and callbacks of behaviours.
functions() ->
    Modules = [py, py_context, py_context_router, py_event_loop, py_event_loop_pool, py_semaphore, py_callback, py_reactor, py_web],
    [
        {Module, Function, Arity}
     || Module <- Modules,
        {Function, Arity} <- exported(Module),
        not lists:member({Module, Function}, not_here()),
        not lists:member({Function, Arity}, [{await, 1}, {async_await, 1}]),
        not lists:member(Function, [module_info, behaviour_info])
    ].

%% What is documented.
exported(Module) ->
    {ok, {Module, [{abstract_code, {raw_abstract_v1, Forms}}]}} = beam_lib:chunks(code:which(Module), [abstract_code]),
    Specified = [Name || {attribute, _, spec, {Name, _}} <- Forms],
    [Name || Name <- Module:module_info(exports), lists:member(Name, Specified), not lists:member(element(1, Name), private())].

private() ->
    [init, handle_call, handle_cast, handle_info, terminate, start_default, handle, start_link, new_table, find,
     apply_function, known, bind, rebind, all, all_places, configure, is_valid].

%% Tracing memory refuses interpreters with GILs of their own from then on.
not_here() ->
    [{py, tracemalloc_start}, {py, tracemalloc_stop}, {py, stop_contexts}, {py_context_router, stop}, {py_semaphore, acquire}].

%% So many contexts are nobody's error but that of who asks for them.
fitted(start_pool, [Name, Size | More]) when is_integer(Size), Size > 2 -> [Name, 2 | More];
%% They would be waited for.
fitted(Function, Arguments) when Function =:= set_max_concurrent -> [case is_integer(A) of true -> 100_000; false -> A end || A <- Arguments];
%% A reference may be that of a request to another node, so any is waited for.
fitted(Function, [Ref, Timeout]) when Function =:= await; Function =:= async_await ->
    [Ref, case Timeout =:= infinity orelse is_integer(Timeout) andalso Timeout > 10 of true -> 10; false -> Timeout end];
fitted(_Function, Arguments) ->
    Arguments.

holds({Module, Function, Arguments}, #{untouched := Untouched}) ->
    Result =
        try apply(Module, Function, Arguments) of
            {ok, Pid} when Function =:= new, is_pid(Pid) -> py_context:stop(Pid);
            Answer -> {answer, Answer}
        catch
            error:badarg:Stack -> {badarg, words(Stack)};
            Class:Reason:Stack -> {raised, Class, Reason, Stack}
        end,
    After = py:call(Untouched, math, sqrt, [16], #{timeout => 30_000}),
    case is_fine(Result) of
        true when After =:= {ok, 4.0} -> true;
        _ -> {false, {Result, After}}
    end.

is_fine(ok) -> true;
is_fine({answer, {error, {Class, Text}}}) when is_atom(Class), is_list(Text) -> py_odd:is_text(Text) orelse Class =:= bad_option orelse Class =:= deadlock;
is_fine({answer, _}) -> true;
is_fine({badarg, Words}) -> py_odd:is_text(Words) andalso Words =/= [];
is_fine(_) -> false.

words([{_, _, Args, Info} | _] = Stack) when is_list(Args) ->
    case proplists:get_value(error_info, Info) of
        #{module := Format} ->
            unicode:characters_to_list(lists:join("; ", maps:values(maps:without([general, reason], Format:format_error(badarg, Stack)))));
        undefined ->
            {no_words, Stack}
    end;
words(Stack) ->
    {no_words, Stack}.

renew(#{age := Age, context := Context} = State) ->
    _ = py_semaphore:set_max_concurrent(infinity),
    _ = [py_context_router:unregister_pool(Module, Function) || {{Module, Function}, _} <- py_context_router:list_pool_registrations(), Function =/= '_'],
    _ = [py_context_router:unregister_pool(Module) || {{Module, '_'}, _} <- py_context_router:list_pool_registrations()],
    ok = started(py:contexts_started()),
    case Age >= 100 orelse not is_process_alive(Context) of
        true ->
            _ = py_context:stop(Context),
            {ok, refreshed(State)};
        false ->
            {ok, State#{age := Age + 1}}
    end.

%% It was stopped by its name.
started(true) ->
    ok;
started(false) ->
    {ok, _} = py:start_contexts(),
    ok.
