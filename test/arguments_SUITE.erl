%% The forms of arguments: how each is read, what a wrong one says, and what is answered while nothing runs.
-module(arguments_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [
        {group, owngil},
        {group, worker},
        every_public_function_answers_not_running
    ].

groups() ->
    py_suite:groups([
        every_form_of_call,
        every_form_of_spawn_call,
        every_form_of_cast,
        every_form_of_eval_and_exec,
        every_form_of_the_functions_of_a_context,
        every_form_of_a_task,
        names_are_atoms_binaries_or_strings,
        wrong_arguments_are_named_with_the_reason,
        every_public_function_explains_a_wrong_argument,
        explanation_is_for_the_call_of_the_user,
        refused_arguments_leave_nothing_behind
    ]).

init_per_group(Mode, Config) ->
    case py_suite:init_group(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            ok = py_context_router:start_pool(extra, 1, Mode),
            [{ctx, py_suite:new_context(Started)} | Started]
    end.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% ------------------------------------------------------------------------------------------------
%% How the forms are read

%% One row a form: what is called, and where it must have run. `where' names the contexts apart.
forms_of_call(Ctx, F) ->
    [
        {default, fun() -> F([threading, get_ident, []]) end},
        {default, fun() -> F([threading, get_ident, [], #{}]) end},
        {default, fun() -> F([<<"threading">>, <<"get_ident">>, [], #{}]) end},
        {default, fun() -> F(["threading", "get_ident", [], #{}]) end},
        {ctx, fun() -> F([Ctx, threading, get_ident, []]) end},
        {ctx, fun() -> F([Ctx, "threading", <<"get_ident">>, []]) end},
        {extra, fun() -> F([extra, threading, get_ident, []]) end},
        {extra, fun() -> F([extra, <<"threading">>, get_ident, []]) end},
        {extra, fun() -> F([extra, threading, get_ident, [], #{}]) end}
    ].

where() ->
    <<"__import__('threading').get_ident()">>.

%% The thread of each context.
threads(Ctx) ->
    maps:from_list([
        {Name, element(2, py:eval(Context, where()))}
     || {Name, Context} <- [
            {default, py:context()},
            {ctx, Ctx},
            {extra, py_context_router:get_context(extra)}
        ]
    ]).

check_forms(Config, F, More) ->
    Ctx = ?config(ctx, Config),
    Threads = threads(Ctx),
    ?assertEqual(3, length(lists:usort(maps:values(Threads)))),
    [?assertEqual({Where, {ok, maps:get(Where, Threads)}}, {Where, Form()}) || {Where, Form} <- forms_of_call(Ctx, F) ++ More].

every_form_of_call(Config) ->
    Ctx = ?config(ctx, Config),
    check_forms(Config, fun(Args) -> apply(py, call, Args) end, [
        {default, fun() -> py:call(threading, get_ident, [], #{}, 5000) end},
        {default, fun() -> py:call(threading, get_ident, [], #{}, infinity) end},
        {default, fun() -> py:call("threading", <<"get_ident">>, [], #{}, 5000) end},
        {ctx, fun() -> py:call(Ctx, threading, get_ident, [], #{}) end},
        {ctx, fun() -> py:call(Ctx, threading, get_ident, [], #{kwargs => #{}, timeout => 5000}) end},
        {ctx, fun() -> py:call(Ctx, threading, get_ident, [], #{timeout => infinity}) end}
    ]),
    %% The fifth argument of an explicit context is options; that of the others is keyword arguments.
    Sorted = {ok, [3, 2, 1]},
    ?assertEqual(Sorted, py:call(builtins, sorted, [[1, 3, 2]], #{reverse => true})),
    ?assertEqual(Sorted, py:call(extra, builtins, sorted, [[1, 3, 2]], #{reverse => true})),
    ?assertEqual(Sorted, py:call(builtins, sorted, [[1, 3, 2]], #{reverse => true}, 5000)),
    ?assertEqual(Sorted, py:call(Ctx, builtins, sorted, [[1, 3, 2]], #{kwargs => #{reverse => true}})).

every_form_of_spawn_call(Config) ->
    Ctx = ?config(ctx, Config),
    check_forms(Config, fun(Args) -> py:await(apply(py, spawn_call, Args)) end, [
        {ctx, fun() -> py:await(py:spawn_call(Ctx, threading, get_ident, [], #{})) end}
    ]),
    Reverse = #{<<"reverse">> => true},
    [
        ?assertEqual({ok, [3, 2, 1]}, py:await(Ref))
     || Ref <- [
            py:spawn_call(builtins, sorted, [[1, 3, 2]], Reverse),
            py:spawn_call(extra, builtins, sorted, [[1, 3, 2]], Reverse),
            py:spawn_call(Ctx, builtins, sorted, [[1, 3, 2]], Reverse)
        ]
    ].

%% A cast leaves its result in the process's namespace of the context that it ran in.
every_form_of_cast(Config) ->
    Ctx = ?config(ctx, Config),
    Contexts = #{default => py:context(), ctx => Ctx, extra => py_context_router:get_context(extra)},
    [
        ok = py:exec(Context, <<"heard = []\ndef hear(*said, **also):\n    heard.append([said, also])">>)
     || Context <- maps:values(Contexts)
    ],
    Forms = [
        {default, ['__main__', hear, [1]], [1], #{}},
        {default, ["__main__", <<"hear">>, [2], #{k => 3}], [2], #{<<"k">> => 3}},
        {extra, [extra, '__main__', hear, [4]], [4], #{}},
        {extra, [extra, '__main__', hear, [5], #{k => 6}], [5], #{<<"k">> => 6}},
        {ctx, [Ctx, '__main__', hear, [7]], [7], #{}},
        {ctx, [Ctx, '__main__', hear, [8], #{k => 9}], [8], #{<<"k">> => 9}}
    ],
    [
        begin
            ?assertEqual(ok, apply(py, cast, Args)),
            %% Requests of one process to one context keep their order.
            ?assertEqual(
                {Args, {ok, [list_to_tuple(Said), Also]}},
                {Args, heard(maps:get(Where, Contexts))}
            )
        end
     || {Where, Args, Said, Also} <- Forms
    ],
    %% What is known to be wrong at once is the answer.
    ?assertEqual({error, {no_pool, nowhere}}, py:cast(nowhere, math, sqrt, [16])).

heard(Context) ->
    case py:eval(Context, <<"heard[-1]">>) of
        {ok, [Said, Also]} when is_list(Said) -> {ok, [list_to_tuple(Said), Also]};
        Other -> Other
    end.

every_form_of_eval_and_exec(Config) ->
    Ctx = ?config(ctx, Config),
    #{default := Default, ctx := Own} = threads(Ctx),
    [
        ?assertEqual({ok, Thread}, Form())
     || {Thread, Form} <- [
            {Default, fun() -> py:eval(where()) end},
            {Default, fun() -> py:eval(binary_to_list(where())) end},
            {Own, fun() -> py:eval(Ctx, where()) end},
            {Own, fun() -> py:eval(Ctx, binary_to_list(where())) end},
            {Default, fun() -> py:eval(where(), #{}) end},
            {Own, fun() -> py:eval(Ctx, where(), #{}) end},
            {Default, fun() -> py:eval(where(), #{}, 5000) end},
            {Default, fun() -> py:eval(where(), #{}, infinity) end}
        ]
    ],
    ?assertEqual({ok, 3}, py:eval(<<"x + 1">>, #{x => 2})),
    ?assertEqual({ok, 3}, py:eval(Ctx, "x + 1", #{<<"x">> => 2})),
    ?assertEqual({ok, 3}, py:eval(<<"x + 1">>, #{x => 2}, 5000)),
    [?assertEqual(ok, Form()) || Form <- [
        fun() -> py:exec(<<"mark = 'default'">>) end,
        fun() -> py:exec("mark = 'default'") end,
        fun() -> py:exec(Ctx, <<"mark = 'ctx'">>) end
    ]],
    ?assertEqual({ok, <<"default">>}, py:eval(<<"mark">>)),
    ?assertEqual({ok, <<"ctx">>}, py:eval(Ctx, <<"mark">>)).

every_form_of_the_functions_of_a_context(Config) ->
    Ctx = ?config(ctx, Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, <<"here = 'own'\ndef f(a, k='-'):\n    return [here, a, k]">>),
    ok = py_context:exec(Ctx, <<"here = 'env'\ndef f(a, k='-'):\n    return [here, a, k]">>, Env),
    Own = fun(A, K) -> {ok, [<<"own">>, A, K]} end,
    [
        ?assertEqual(Expected, Form())
     || {Expected, Form} <- [
            {Own(1, <<"-">>), fun() -> py_context:call(Ctx, '__main__', f, [1]) end},
            {Own(1, 2), fun() -> py_context:call(Ctx, "__main__", <<"f">>, [1], #{k => 2}) end},
            {Own(1, 2), fun() -> py_context:call(Ctx, '__main__', f, [1], #{k => 2}, 5000) end},
            {Own(1, 2), fun() -> py_context:call(Ctx, '__main__', f, [1], #{k => 2}, infinity) end},
            {{ok, [<<"env">>, 1, 2]}, fun() -> py_context:call(Ctx, '__main__', f, [1], #{k => 2}, 5000, Env) end},
            {{ok, <<"own">>}, fun() -> py_context:eval(Ctx, <<"here">>) end},
            {{ok, 5}, fun() -> py_context:eval(Ctx, "x", #{x => 5}) end},
            {{ok, <<"own">>}, fun() -> py_context:eval(Ctx, <<"here">>, #{}, 5000) end},
            {{ok, <<"env">>}, fun() -> py_context:eval(Ctx, <<"here">>, #{}, infinity, Env) end},
            {{error, timeout}, fun() -> py_context:eval(Ctx, <<"__import__('time').sleep(60)">>, #{}, 0) end},
            {{error, timeout}, fun() -> py_context:call(Ctx, time, sleep, [60], #{}, 0) end},
            {{error, timeout}, fun() -> py_context:call(Ctx, time, sleep, [60], #{}, 0, Env) end}
        ]
    ],
    %% What timed out is over once another request is answered.
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"1">>)),
    ?assertEqual(not_running, py_context:interrupt(Ctx)).

%% Threads tell the contexts apart; a task runs on that of its loop.
every_form_of_a_task(Config) ->
    Ctx = ?config(ctx, Config),
    #{default := Default, ctx := Own} = threads(Ctx),
    Request = #{ref => r, caller => self(), module => threading, func => get_ident, args => []},
    {ok, Loop} = py_context:loop_ref(Ctx),
    Submitted = fun({ok, Ref}) -> py:async_await(Ref, 5000) end,
    Forwarded = fun(ok) -> receive {async_result, r, Result} -> Result end end,
    Everywhere = [
        [
            {Default, fun() -> Module:run(threading, get_ident, []) end},
            {Default, fun() -> Module:run("threading", <<"get_ident">>, [], #{}) end},
            {Default, fun() -> Module:run(threading, get_ident, [], #{timeout => infinity, kwargs => #{}}) end},
            {Default, fun() -> Module:await(Module:create_task(threading, get_ident, [])) end},
            {Default, fun() -> Module:await(Module:create_task(threading, get_ident, [], #{}), 5000) end},
            {Default, fun() -> Forwarded(Module:run_async(Request)) end},
            {Default, fun() -> Forwarded(Module:run_async(Request#{kwargs => #{}})) end},
            {Own, fun() -> Forwarded(Module:run_async(Loop, Request)) end},
            {Default, fun() -> Module:eval(where()) end},
            {Own, fun() -> Module:eval(Loop, where()) end}
        ]
     || Module <- [py_event_loop, py_event_loop_pool]
    ],
    [
        ?assertEqual({ok, Thread}, Form())
     || {Thread, Form} <- lists:append(Everywhere) ++ [
            {Default, fun() -> py:async_await(py:async_call(threading, get_ident, [])) end},
            {Default, fun() -> py:async_await(py:async_call("threading", <<"get_ident">>, [], #{}), 5000) end},
            {Default, fun() -> py:await(py:async_call(threading, get_ident, [])) end},
            {Own, fun() -> Submitted(py_context:submit(Ctx, threading, get_ident, [])) end},
            {Own, fun() -> Submitted(py_context:submit(Ctx, threading, get_ident, [], #{})) end},
            {Own, fun() -> py_context:submit_await(Ctx, threading, get_ident, []) end},
            {Own, fun() -> py_context:submit_await(Ctx, threading, get_ident, [], #{}) end},
            {Own, fun() -> py_context:submit_await(Ctx, threading, get_ident, [], #{}, 5000) end}
        ]
    ],
    Sorted = {ok, [3, 2, 1]},
    ?assertEqual({ok, [Default, [3, 2, 1]]}, py:async_gather([
        {threading, get_ident, []}, {"builtins", <<"sorted">>, [[1, 3, 2]], #{reverse => true}}
    ])),
    ?assertEqual(Sorted, py_event_loop:run(builtins, sorted, [[1, 3, 2]], #{kwargs => #{reverse => true}})),
    ?assertEqual(Sorted, py_context:submit_await(Ctx, builtins, sorted, [[1, 3, 2]], #{reverse => true})).

names_are_atoms_binaries_or_strings(_Config) ->
    [
        ?assertEqual({ok, 4.0}, py:call(Module, Function, [16]))
     || Module <- [math, <<"math">>, "math"], Function <- [sqrt, <<"sqrt">>, "sqrt"]
    ],
    ok = py:exec(<<"größe = 3\ndef größer():\n    return größe + 1"/utf8>>),
    [?assertEqual({ok, 4}, py:call('__main__', Name, [])) || Name <- ['größer', <<"größer"/utf8>>, "größer"]],
    [?assertEqual({ok, 4}, py:call(Main, 'größer', [])) || Main <- ['__main__', <<"__main__">>, "__main__"]].

%% ------------------------------------------------------------------------------------------------
%% What a wrong argument says

%% One row a cause: the call, the position, and a part of the reason.
wrong_arguments_are_named_with_the_reason(Config) ->
    Ctx = ?config(ctx, Config),
    [
        check_explained(Args, Position, Part)
     || {Args, Position, Part} <- [
            {{py, call, [1, sqrt, [16]]}, 1, "not a module's name: an atom, a binary or a string"},
            {{py, call, [math, {sqrt}, [16]]}, 2, "not a function's name"},
            {{py, call, [[1114112], sqrt, [16]]}, 1, "not a module's name"},
            {{py, call, [math, sqrt, 16]}, 3, "not a list of arguments"},
            {{py, call, [math, sqrt, [16 | 17]]}, 3, "not a proper list"},
            {{py, call, [math, sqrt, [16], []]}, 4, "not a map of keyword arguments"},
            {{py, call, [default, math, sqrt, 16]}, 4, "not a list of arguments"},
            {{py, call, [default, math, "sqrt", [16]]}, 4, "not a map of keyword arguments"},
            {{py, call, [<<"default">>, math, sqrt, [16]]}, 3, "not a list of arguments"},
            {{py, call, [default, 1, sqrt, [16]]}, 2, "not a module's name"},
            {{py, call, [Ctx, math, sqrt, #{}]}, 4, "not a list of arguments"},
            {{py, call, [math, sqrt, [16], #{}, -1]}, 5, "not a time limit: milliseconds"},
            {{py, call, [math, sqrt, [16], #{}, 16#100000000]}, 5, "not a time limit"},
            {{py, call, [math, sqrt, [16], #{}, 1.5]}, 5, "not a time limit"},
            {{py, call, [default, math, sqrt, [16], []]}, 3, "not a list of arguments"},
            {{py, call, [default, math, sqrt, 16, #{}]}, 4, "not a list of arguments"},
            {{py, call, [Ctx, math, sqrt, [16], #{tiemout => 5}]}, 5, "unknown option tiemout; what there is: kwargs, timeout"},
            {{py, call, [Ctx, math, sqrt, [16], #{timeout => soon}]}, 5, "option timeout is soon, not a time limit"},
            {{py, call, [Ctx, math, sqrt, [16], #{kwargs => []}]}, 5, "option kwargs is [], not a map of keyword arguments"},
            {{py, call, [Ctx, math, sqrt, [16], 5000]}, 5, "not a map of options"},
            {{py, cast, ["pool", math, sqrt, [16], #{}]}, 1, "not a pool's name: an atom"},
            {{py, cast, [Ctx, math, sqrt, [16], []]}, 5, "not a map of keyword arguments"},
            {{py, spawn_call, ["pool", math, sqrt, [16], #{}]}, 1, "not a pool's name: an atom"},
            {{py, spawn_call, [math, sqrt, [16], 1]}, 4, "not a map of keyword arguments"},
            {{py, await, [ref]}, 1, "not a reference of spawn_call or of a task that this process made"},
            {{py, async_call, [math, sqrt, 16]}, 3, "not a list of arguments"},
            {{py, async_call, [math, sqrt, [16], []]}, 4, "not a map of keyword arguments"},
            {{py, async_await, [ref]}, 1, "not a reference of spawn_call or of a task"},
            {{py, async_await, [make_ref(), soon]}, 2, "not a time limit"},
            {{py, async_gather, [math]}, 1, "not a list of {Module, Function, Args} and"},
            {{py, async_gather, [[{math, sqrt, [1]}, {math, sqrt}]]}, 1, "element 2 is not {Module, Function, Args} or"},
            {{py, async_gather, [[{math, sqrt, [1], []}]]}, 1, "element 1 is not"},
            {{py, async_gather, [[{math, sqrt, [1]} | tail]]}, 1, "not a proper list"},
            {{py, async_gather, [[], -1]}, 2, "not a time limit"},
            {{py_event_loop, run, [math, sqrt, [16], #{tiemout => 5}]}, 4, "unknown option tiemout"},
            {{py_event_loop_pool, run, [math, sqrt, [16], #{kwargs => 5}]}, 4, "option kwargs is 5"},
            {{py_event_loop, run_async, [#{ref => r}]}, 1, "not a map with ref, caller (a pid)"},
            {{py_event_loop, run_async, [make_ref(), #{ref => r, caller => me, module => m, func => f, args => []}]}, 2,
                "not a map with ref"},
            {{py_event_loop, exec, [loop, <<"1">>]}, 1, "not a loop: the reference that get_loop or loop_ref gave"},
            {{py_event_loop_pool, eval, [make_ref(), 1]}, 2, "not Python code"},
            {{py_context, submit, [ctx, math, sqrt, [16]]}, 1, "not a context"},
            {{py_context, submit_await, [Ctx, math, sqrt, [16], #{}, soon]}, 6, "not a time limit"},
            {{py_context, start_loop, [Ctx, #{owner => me}]}, 2, "option owner is me, not a pid"},
            {{py_context, start_loop, [Ctx, #{onwer => self()}]}, 2, "unknown option onwer; what there is: owner"},
            {{py_context, start_loop, [Ctx, []]}, 2, "not a map of options"},
            {{py_context, stop_loop, [Ctx, infinity]}, 2, "not a time to end in"},
            {{py, await, [make_ref(), -1]}, 2, "not a time limit"},
            {{py, await, [make_ref(), 16#100000000]}, 2, "not a time limit"},
            {{py, cancel, [self()]}, 1, "not a reference of spawn_call"},
            {{py, eval, [1]}, 1, "not Python code: a binary or a string"},
            {{py, eval, [atom]}, 1, "not Python code"},
            {{py, eval, [<<1:3>>]}, 1, "not Python code"},
            {{py, eval, [Ctx, [atom]]}, 2, "not Python code"},
            {{py, eval, [<<"1">>, []]}, 2, "not a map of names to values"},
            {{py, eval, [Ctx, <<"1">>, 1]}, 3, "not a map of names to values"},
            {{py, eval, [<<"1">>, #{}, soon]}, 3, "not a time limit"},
            {{py, exec, [1]}, 1, "not Python code"},
            {{py, exec, [context, <<"1">>]}, 1, "not a context: its pid"},
            {{py, parallel, [math]}, 1, "not a list of {Module, Function, Args}"},
            {{py, parallel, [[{math, sqrt, [1]}, {math, sqrt}]]}, 1, "element 2 is not {Module, Function, Args}"},
            {{py, parallel, [[{math, sqrt, 1}]]}, 1, "element 1 is not"},
            {{py, parallel, [[{math, sqrt, [1]} | tail]]}, 1, "not a proper list"},
            {{py, context, [0]}, 1, "not the index of a context, from 1"},
            {{py, register_pool, ["io", math]}, 1, "not a pool's name: an atom"},
            {{py, register_pool, [io, {math, sqrt, 1}]}, 2, "not a module's name or {Module, Function}"},
            {{py, register_pool, [io, {math, 1}]}, 2, "not a module's name or {Module, Function}"},
            {{py, getattr, [ref, name]}, 1, "not a reference to a Python object"},
            {{py, getattr, [make_ref(), 1]}, 2, "not an attribute's name"},
            {{py, call_method, [make_ref(), 1, []]}, 2, "not a method's name"},
            {{py, call_method, [make_ref(), name, none]}, 3, "not a list of arguments"},
            {{py_context, call_method, [none, make_ref(), name, []]}, 1, "not a context"},
            {{py_context, call_method, [self(), none, name, []]}, 2, "not a reference to a Python object"},
            {{py_context, to_term, [none]}, 1, "not a reference to a Python object"},
            {{py, gc, [3]}, 1, "not a generation: 0, 1 or 2"},
            {{py, state_incr, [key, 1.5]}, 2, "not an integer of at most 64 bits"},
            {{py, state_decr, [key, 1 bsl 64]}, 2, "not an integer of at most 64 bits"},
            {{py, reload, [1]}, 1, "not a module's name"},
            {{py, tracemalloc_start, [0]}, 1, "not a number of frames: a positive integer"},
            {{py_context, call, [Ctx, math, sqrt, [16], #{}, infinity, env]}, 7, "not an environment"},
            {{py_context, call, [Ctx, math, sqrt, [16], #{}, soon]}, 6, "not a time limit"},
            {{py_context, eval, [Ctx, <<"1">>, #{}, 5, env]}, 5, "not an environment"},
            {{py_context, exec, [Ctx, <<"1">>, env]}, 3, "not an environment"},
            {{py_context_router, get_context, [<<"default">>]}, 1, "not the index of a context, from 1, or a pool's name"},
            {{py_context_router, get_context, [0]}, 1, "not the index of a context"},
            {{py_context_router, bind_context, [default, ctx]}, 2, "not a context: its pid"},
            {{py_context_router, register_pool, [io, math, 1]}, 3, "not a function's name"}
        ]
    ].

%% A call of each exported function with arguments that can never be right.
every_public_function_explains_a_wrong_argument(_Config) ->
    Wrong = fun(Arity) -> [{wrong, N} || N <- lists:seq(1, Arity)] end,
    [check_explained({Module, Function, Wrong(Arity)}, any, "not ") || {Module, Function, Arity} <- with_arguments()].

with_arguments() ->
    [MFA || {_, _, Arity} = MFA <- public(), Arity > 0].

%% What these modules export for users, but for what other suites see to.
public() ->
    [
        {Module, Function, Arity}
     || Module <- [py, py_context, py_context_router, py_event_loop, py_event_loop_pool],
        {Function, Arity} <- Module:module_info(exports),
        not lists:member({Function, Arity}, private(Module))
    ].

private(Module) ->
    [{module_info, 0}, {module_info, 1}] ++
        maps:get(Module, #{
            %% Any term may be asked about, and be a key.
            py => [{state_fetch, 1}, {state_store, 2}, {state_remove, 1}, {state_incr, 1}, {state_decr, 1}, {is_ref, 1}],
            py_context => [
                {new_with, 1},
                {handle, 1},
                %% Any identifier, and options that are answered.
                {start_link, 2},
                {sandbox, 2},
                {start_default, 2}
            ],
            py_context_router => [
                {known, 1},
                {bind, 2},
                {rebind, 3},
                {all, 2},
                {all_places, 2},
                {start_pool, 2},
                {start_pool, 3}
            ]
        }, []).

check_explained({Module, Function, Args} = Call, Position, Part) ->
    Text = explanation(Call),
    Called = io_lib:format("called as ~ts:~ts(", [Module, Function]),
    ?assertMatch({Call, Text, [_ | _]}, {Call, Text, string:find(Text, Called)}),
    {match, [Found, Reason]} = re:run(Text, "\\*\\*\\* argument ([0-9]+): (.*)", [
        unicode, {capture, all_but_first, list}
    ]),
    ?assert(list_to_integer(Found) =< length(Args)),
    ?assertEqual({Call, Position}, {Call, if Position =:= any -> any; true -> list_to_integer(Found) end}),
    ?assertMatch({Call, Reason, [_ | _]}, {Call, Reason, string:find(Reason, Part)}).

explanation({Module, Function, Args} = Call) ->
    try apply(Module, Function, Args) of
        Result -> ct:fail({Call, gives, Result})
    catch
        error:badarg:Stack ->
            lists:flatten(erl_error:format_exception(error, badarg, Stack, #{column => 1}))
    end.

%% No function of the library stands above the one that the user called, and the caller follows.
explanation_is_for_the_call_of_the_user(Config) ->
    Ctx = ?config(ctx, Config),
    try caller(Ctx)
    catch
        error:badarg:Stack ->
            [First, Second | _] = Stack,
            ?assertMatch({py, call, [Ctx, math, sqrt, [16], #{tiemout := 5}], _}, First),
            ?assertMatch({?MODULE, caller, 1, _}, Second)
    end.

caller(Ctx) ->
    {ok, Value} = py:call(Ctx, math, sqrt, [16], #{tiemout => 5}),
    {here, Value}.

refused_arguments_leave_nothing_behind(Config) ->
    Ctx = ?config(ctx, Config),
    ?assertError(badarg, py:call(Ctx, math, sqrt, [16], #{tiemout => 5})),
    ?assertError(badarg, py:spawn_call(math, sqrt, 16)),
    ?assertError(badarg, py:parallel([{math, sqrt, [16]}, wrong])),
    ?assertEqual({ok, 2}, py:eval(Ctx, <<"1 + 1">>)),
    ?assertEqual([], py_suite:flush()).

%% ------------------------------------------------------------------------------------------------
%% While nothing runs

every_public_function_answers_not_running(_Config) ->
    ok = py_suite:start(#{num_contexts => 1}),
    {ok, Ctx} = py_context:new(),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_suite:stop(),
    Wrong = [
        {MFA, Got}
     || {_, Function, _} = MFA <- public(),
        {Arguments, Expected} <- [idle(MFA, Ctx, Env)],
        Got <- [outcome(MFA, Arguments)],
        Got =/= Expected,
        not (Expected =:= reference andalso response(Got, Function))
    ],
    ?assertEqual([], Wrong),
    ?assertEqual([], py_suite:flush()).

outcome({Module, Function, _}, Arguments) ->
    try
        apply(Module, Function, Arguments)
    catch
        Class:Reason -> {Class, Reason}
    end.

%% A refused spawn_call has a reference, too, and so has a refused task.
response(Ref, Function) ->
    Word = case Function of spawn_call -> py_response; _ -> async_result end,
    is_reference(Ref) andalso
        receive
            {Word, Ref, {error, not_running}} -> true
        after 0 -> false
        end.

%% Good arguments, and what a node without the application says.
idle({Module, Function, Arity}, Ctx, Env) ->
    No = {error, not_running},
    case {Module, Function, Arity} of
        {py, call, 3} -> {[math, sqrt, [16]], No};
        {py, call, 4} -> {[Ctx, math, sqrt, [16]], No};
        {py, call, 5} -> {[math, sqrt, [16], #{}, 5000], No};
        {py, cast, 3} -> {[math, sqrt, [16]], No};
        {py, cast, 4} -> {[default, math, sqrt, [16]], No};
        {py, cast, 5} -> {[Ctx, math, sqrt, [16], #{}], No};
        {py, spawn_call, 3} -> {[math, sqrt, [16]], reference};
        {py, spawn_call, 4} -> {[default, math, sqrt, [16]], reference};
        {py, spawn_call, 5} -> {[Ctx, math, sqrt, [16], #{}], reference};
        {py, await, 1} -> {[answered(No)], No};
        {py, await, 2} -> {[answered(No), 0], No};
        {py, cancel, 1} -> {[answered(No)], ok};
        {py, async_call, 3} -> {[math, sqrt, [16]], reference};
        {py, async_call, 4} -> {[math, sqrt, [16], #{}], reference};
        {py, async_await, 1} -> {[answered(No)], No};
        {py, async_await, 2} -> {[answered(No), 0], No};
        {py, async_gather, 1} -> {[[{math, sqrt, [16]}]], No};
        {py, async_gather, 2} -> {[[], 0], No};
        {py_context, submit, 4} -> {[Ctx, math, sqrt, [16]], No};
        {py_context, submit, 5} -> {[Ctx, math, sqrt, [16], #{}], No};
        {py_context, submit_await, 4} -> {[Ctx, math, sqrt, [16]], No};
        {py_context, submit_await, 5} -> {[Ctx, math, sqrt, [16], #{}], No};
        {py_context, submit_await, 6} -> {[Ctx, math, sqrt, [16], #{}, 5000], No};
        {py_context, start_loop, 2} -> {[Ctx, #{}], No};
        {py_context, stop_loop, 2} -> {[Ctx, 0], No};
        {_, run, 3} -> {[math, sqrt, [16]], No};
        {_, run, 4} -> {[math, sqrt, [16], #{}], No};
        {_, create_task, 3} -> {[math, sqrt, [16]], reference};
        {_, create_task, 4} -> {[math, sqrt, [16], #{}], reference};
        {_, await, 1} -> {[answered(No)], No};
        {_, await, 2} -> {[answered(No), 0], No};
        {_, spawn_task, 3} -> {[math, sqrt, [16]], No};
        {_, spawn_task, 4} -> {[math, sqrt, [16], #{}], No};
        {_, run_async, 1} -> {[request()], No};
        {_, run_async, 2} -> {[Env, request()], No};
        {Loops, exec, 1} when Loops =:= py_event_loop; Loops =:= py_event_loop_pool -> {[<<"1">>], No};
        {Loops, exec, 2} when Loops =:= py_event_loop; Loops =:= py_event_loop_pool -> {[Env, <<"1">>], No};
        {Loops, eval, 1} when Loops =:= py_event_loop; Loops =:= py_event_loop_pool -> {[<<"1">>], No};
        {Loops, eval, 2} when Loops =:= py_event_loop; Loops =:= py_event_loop_pool -> {[Env, <<"1">>], No};
        {py, eval, 1} -> {[<<"1">>], No};
        {py, eval, 2} -> {[Ctx, <<"1">>], No};
        {py, eval, 3} -> {[<<"1">>, #{}, 5000], No};
        {py, exec, 1} -> {[<<"1">>], No};
        {py, parallel, 1} -> {[[{math, sqrt, [16]}]], No};
        {py, call_many, 3} -> {[math, sqrt, [[16]]], No};
        {py, call_many, 4} -> {[Ctx, math, sqrt, [[16]]], No};
        {py, eval, 4} -> {[Ctx, <<"1">>, #{}, #{}], No};
        {py, mark_inline, 2} -> {[math, sqrt], No};
        {py, mark_inline, 3} -> {[math, sqrt, auto], No};
        {py, unmark_inline, 2} -> {[math, sqrt], No};
        {py, marked_inline, 0} -> {[], No};
        {py, allow_inline, 1} -> {[true], No};
        {py, call_many, 5} -> {[default, math, sqrt, [[16]], #{}], No};
        {py, map, 3} -> {[math, sqrt, [16]], No};
        {py, map, 4} -> {[default, math, sqrt, [16]], No};
        {py, map, 5} -> {[default, math, sqrt, [16], #{}], No};
        {py, stream, 3} -> {[math, sqrt, [16]], No};
        {py, stream, 4} -> {[math, sqrt, [16], #{}], No};
        {py, stream_eval, 1} -> {[<<"[1]">>], No};
        {py, stream_eval, 2} -> {[<<"[1]">>, #{}], No};
        {py, stream_start, 3} -> {[math, sqrt, [16]], No};
        {py, stream_start, 4} -> {[math, sqrt, [16], #{context => Ctx}], No};
        %% One that has ended.
        {py, stream_demand, 2} -> {[make_ref(), 1], ok};
        {py, stream_cancel, 1} -> {[make_ref()], ok};
        {py, context, 1} -> {[1], No};
        {py, start_contexts, 1} -> {[#{contexts => 1}], No};
        {py, contexts_started, 0} -> {[], false};
        {py, register_pool, 2} -> {[io, math], No};
        {py, register_function, 2} -> {[name, fun(Arguments) -> Arguments end], No};
        {py, register_function, 3} -> {[name, lists, reverse], No};
        {py, unregister_function, 1} -> {[name], No};
        {py, unregister_pool, 1} -> {[math], No};
        {py, activate_venv, 1} -> {["venv"], No};
        {py, ensure_venv, 2} -> {["venv", []], No};
        {py, ensure_venv, 3} -> {["venv", [], #{}], No};
        {py, configure_logging, 1} -> {[#{}], No};
        {py, info, 1} -> {[version], No};
        {py, gc, 1} -> {[0], No};
        {py, tracemalloc_start, 1} -> {[5], No};
        {py, state_store, 2} -> {[key, value], No};
        {py, state_incr, 2} -> {[key, 2], No};
        {py, state_decr, 2} -> {[key, 2], No};
        {py, reload, 1} -> {[math], No};
        {py, is_ref, 1} -> {[Ctx], false};
        {py, getattr, 2} -> {[Env, name], No};
        {py, call_method, 3} -> {[Env, name, []], No};
        {py, to_term, 1} -> {[Env], No};
        %% What this process was answered before, if anything.
        {py, last_error, 0} -> {[], py:last_error()};
        {py, subinterp_supported, 0} -> {[], false};
        {py_context, new, 1} -> {[#{}], No};
        {py_context, start_link, 3} -> {[id, worker, #{}], No};
        %% A child that the application will have time to start.
        {py_context, child_spec, 1} -> {[#{}], py_context:child_spec(#{})};
        %% It has ended.
        {py_context, stop, 1} -> {[Ctx], ok};
        {py_context, destroy, 1} -> {[Ctx], ok};
        {py_context, call_method, 4} -> {[Ctx, Env, name, []], No};
        {py_context, to_term, 1} -> {[Env], No};
        {py_context, call, 4} -> {[Ctx, math, sqrt, [16]], No};
        {py_context, call, 5} -> {[Ctx, math, sqrt, [16], #{}], No};
        {py_context, call, 6} -> {[Ctx, math, sqrt, [16], #{}, 5000], No};
        {py_context, call, 7} -> {[Ctx, math, sqrt, [16], #{}, 5000, Env], No};
        {py_context, eval, 2} -> {[Ctx, <<"1">>], No};
        {py_context, eval, 3} -> {[Ctx, <<"1">>, #{}], No};
        {py_context, eval, 4} -> {[Ctx, <<"1">>, #{}, 5000], No};
        {py_context, eval, 5} -> {[Ctx, <<"1">>, #{}, 5000, Env], No};
        {py_context, exec, 3} -> {[Ctx, <<"1">>, Env], No};
        {_, exec, 2} -> {[Ctx, <<"1">>], No};
        {py_context_router, start, 1} -> {[#{}], No};
        {py_context_router, get_context, 1} -> {[1], No};
        {py_context_router, bind_context, 1} -> {[Ctx], No};
        {py_context_router, bind_context, 2} -> {[default, Ctx], No};
        {py_context_router, unbind_context, 1} -> {[default], No};
        {py_context_router, is_started, 0} -> {[], false};
        {py_context_router, pool_started, 1} -> {[default], false};
        {py_context_router, num_contexts, 0} -> {[], 0};
        {py_context_router, num_contexts, 1} -> {[default], 0};
        {py_context_router, contexts, 0} -> {[], []};
        {py_context_router, contexts, 1} -> {[default], []};
        {py_context_router, stop_pool, 1} -> {[default], No};
        {py_context_router, register_pool, 2} -> {[io, math], No};
        {py_context_router, register_pool, 3} -> {[io, math, sqrt], No};
        {py_context_router, unregister_pool, 1} -> {[math], No};
        {py_context_router, unregister_pool, 2} -> {[math, sqrt], No};
        {py_context_router, lookup_pool, 2} -> {[math, sqrt], No};
        {_, _, 0} -> {[], No};
        {_, _, 1} -> {[Ctx], No}
    end.

request() ->
    #{ref => r, caller => self(), module => math, func => sqrt, args => [16]}.

%% The reference of a refused spawn_call.
answered(Answer) ->
    Ref = make_ref(),
    self() ! {py_response, Ref, Answer},
    Ref.
