-module(py_event_loop_pool).
-include("py_doc.hrl").
?MODULEDOC("""
The functions of `py_event_loop` over several asyncio loops, each in a context with a thread of its own.

All tasks of one process go to the same loop, so that they begin in the order in which they were made; those of
different processes are spread. The loops are those of the pool `default`, unless the setting `event_loop_pool_size`
gives this module a pool of its own with so many contexts, each of which starts at its first use.
""").

-export([get_loop/0, run/3, run/4, create_task/3, create_task/4, await/1, await/2, spawn_task/3, spawn_task/4]).
-export([run_async/1, run_async/2, exec/1, exec/2, eval/1, eval/2, get_stats/0, get_all_loops/0]).

-include("py_arguments.hrl").

-define(DEFAULT_TIMEOUT, 30_000).

?DOC("The loop of the process: always the same one, as long as its context lives.").
-spec get_loop() -> {ok, reference()} | {error, term()}.
get_loop() ->
    case py_context_router:get_context(pool()) of
        {error, _} = Error -> Error;
        Context -> py_context:handle(Context)
    end.

?DOC("""
`num_loops`, and how many contexts have been started for them, `started`; how many requests wait in these, `queue`.
`supported` is always true.
""").
-spec get_stats() ->
    #{
        num_loops := pos_integer(),
        started := non_neg_integer(),
        queue := non_neg_integer(),
        supported := true
    }
    | {error, not_running}.
get_stats() ->
    Pool = pool(),
    case py_context_router:num_contexts(Pool) of
        0 ->
            {error, not_running};
        Loops ->
            Known = [py_target:info(Context) || Context <- py_context_router:contexts(Pool)],
            Queues = [Queue || {_Mode, _Id, _Processes, Queue} <- Known],
            #{num_loops => Loops, started => length(Queues), queue => lists:sum(Queues), supported => true}
    end.

?DOC("The loops whose contexts have been started, with these.").
-spec get_all_loops() -> {ok, [{reference(), Context :: pid()}]} | {error, not_running}.
get_all_loops() ->
    Pool = pool(),
    case py_context_router:pool_started(Pool) of
        true ->
            Contexts = py_context_router:contexts(Pool),
            {ok, [{Loop, Context} || Context <- Contexts, {ok, Loop} <- [py_context:handle(Context)]]};
        false ->
            {error, not_running}
    end.

?DOC("As `py_event_loop:run/3`.").
-spec run(py:name(), py:name(), [term()]) -> py:result().
run(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    py_tasks:run(pool(), py_arguments:call(Form, Module, Function, Args, #{}), default).

?DOC("As `py_event_loop:run/4`.").
-spec run(py:name(), py:name(), [term()], #{kwargs => py:kwargs(), timeout => timeout()}) -> py:result().
run(Module, Function, Args, Options) ->
    Form = ?FORM([module, function, args, options], [Module, Function, Args, Options]),
    {Kwargs, Timeout} = py_arguments:options(Form, Options, py_pool_table:timeout(pool())),
    py_tasks:run(pool(), py_arguments:call(Form, Module, Function, Args, Kwargs), Timeout).

?DOC("As `py_event_loop:create_task/3`.").
-spec create_task(py:name(), py:name(), [term()]) -> reference().
create_task(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    py_tasks:pooled(pool(), py_arguments:call(Form, Module, Function, Args, #{})).

?DOC("As `py_event_loop:create_task/4`.").
-spec create_task(py:name(), py:name(), [term()], py:kwargs()) -> reference().
create_task(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    py_tasks:pooled(pool(), py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("The same as `py_event_loop:await/1`.").
-spec await(reference()) -> py:result().
await(Ref) ->
    py_tasks:awaited(?FORM([ref], [Ref]), Ref, ?DEFAULT_TIMEOUT).

?DOC("The same as `py_event_loop:await/2`.").
-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) ->
    Form = ?FORM([ref, timeout], [Ref, Timeout]),
    py_tasks:awaited(Form, Ref, py_arguments:timeout(Form, Timeout)).

?DOC("As `py_event_loop:spawn_task/3`.").
-spec spawn_task(py:name(), py:name(), [term()]) -> ok | {error, term()}.
spawn_task(Module, Function, Args) ->
    Form = ?FORM([module, function, args], [Module, Function, Args]),
    py_tasks:cast_pooled(pool(), py_arguments:call(Form, Module, Function, Args, #{})).

?DOC("As `py_event_loop:spawn_task/4`.").
-spec spawn_task(py:name(), py:name(), [term()], py:kwargs()) -> ok | {error, term()}.
spawn_task(Module, Function, Args, Kwargs) ->
    Form = ?FORM([module, function, args, kwargs], [Module, Function, Args, Kwargs]),
    py_tasks:cast_pooled(pool(), py_arguments:call(Form, Module, Function, Args, Kwargs)).

?DOC("As `py_event_loop:run_async/1`.").
-spec run_async(map()) -> ok | {error, term()}.
run_async(Request) ->
    {Payload, Caller, Ref} = py_arguments:request(?FORM([request], [Request]), Request),
    py_tasks:forward_pooled(pool(), Payload, Caller, Ref).

?DOC("The same as `py_event_loop:run_async/2`.").
-spec run_async(reference(), map()) -> ok | {error, term()}.
run_async(Loop, Request) ->
    Form = ?FORM([loop, request], [Loop, Request]),
    _ = py_arguments:loop(Form, Loop),
    {Payload, Caller, Ref} = py_arguments:request(Form, Request),
    py_tasks:forward_explicit(Loop, Payload, Caller, Ref).

?DOC("Runs statements in the process's namespace of its loop's context.").
-spec exec(py:code()) -> ok | {error, term()}.
exec(Code) ->
    py_call:pooled(pool(), py_arguments:statements(?FORM([code], [Code]), Code), default).

?DOC("The same as `py_event_loop:exec/2`.").
-spec exec(reference(), py:code()) -> ok | {error, term()}.
exec(Loop, Code) ->
    Form = ?FORM([loop, code], [Loop, Code]),
    _ = py_arguments:loop(Form, Loop),
    py_call:explicit(Loop, py_arguments:statements(Form, Code), infinity).

?DOC("The value of an expression in the process's namespace of its loop's context.").
-spec eval(py:code()) -> py:result().
eval(Code) ->
    py_call:pooled(pool(), py_arguments:evaluation(?FORM([code], [Code]), Code, #{}), default).

?DOC("The same as `py_event_loop:eval/2`.").
-spec eval(reference(), py:code()) -> py:result().
eval(Loop, Code) ->
    Form = ?FORM([loop, code], [Loop, Code]),
    _ = py_arguments:loop(Form, Loop),
    py_call:explicit(Loop, py_arguments:evaluation(Form, Code, #{}), infinity).

%% A pool of its own is made at its first use. Others may be making it at the same moment; and that it could not be made
%% will be found by its use.
pool() ->
    case py_config:get(event_loop_pool_size) of
        undefined ->
            default;
        Size ->
            _ = [make_pool(Size) || element(1, py_pool_table:size(?MODULE)) =:= error],
            ?MODULE
    end.

make_pool(Size) ->
    case py_pool_options:default_pool(#{}) of
        {ok, Options} -> py_pool_sup:start_pool(?MODULE, Size, Options);
        {error, _} = Error -> Error
    end.
