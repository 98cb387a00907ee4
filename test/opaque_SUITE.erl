%% References to Python objects: how they are used, and how long the objects live.
-module(opaque_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_objects, [another_context/1, objects/3]).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}, {group, workers}].

groups() ->
    py_suite:groups([
        object_stays_the_same_wherever_its_reference_is_used,
        any_function_takes_references,
        attributes_are_read_and_methods_called,
        contents_are_told,
        references_are_told_from_other_terms,
        bad_input_is_badarg,
        object_goes_with_its_last_reference_while_the_context_is_idle,
        object_goes_with_its_last_reference_while_the_context_is_busy,
        object_stays_until_the_last_of_its_references_goes,
        object_goes_when_the_holder_is_killed,
        reference_lives_in_messages,
        reference_lives_in_tables,
        reference_lives_in_external_format_as_long_as_its_object,
        reference_lives_on_another_node_as_long_as_its_object,
        many_references_of_many_processes_are_released,
        references_take_no_memory_for_good,
        finalisers_that_misbehave_do_no_harm,
        methods_of_one_object_are_called_by_many,
        death_of_the_context_ends_a_method,
        reference_is_stale_when_its_context_was_stopped,
        reference_is_stale_when_its_context_was_killed,
        object_is_released_when_its_context_ends
    ], [
        reference_is_refused_by_another_interpreter
    ]) ++ [{workers, [], [worker_contexts_share_objects, object_goes_with_the_worker_that_gave_it_out]}].

init_per_group(workers, Config) ->
    init_per_group(worker, Config);
init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun py_objects:install/1).

%% Distribution leaves the program behind that looks up names of hosts.
end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 16, fds => 2}).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    py_suite:both_answer(Config).

%% An object that says when it goes.
watched(Config, Tag) ->
    watched(?config(ctx, Config), Config, Tag).

watched(Context, Config, Tag) ->
    {ok, Ref} = objects(Context, 'Watched', [py_suite:port(?config(socket, Config)), Tag]),
    Ref.

%% A process that makes such an object and holds the reference until it is told to end.
holder(Config, Tag) ->
    py_holder:holding(fun() -> watched(Config, Tag) end).

%% Waits until the object has gone, and sees that this was on the context's own thread.
await_gone(Config, Tag) ->
    await_gone(?config(ctx, Config), Config, Tag).

await_gone(Context, Config, Tag) ->
    {ok, Thread} = py:call(Context, threading, get_ident, []),
    ?assertEqual(Thread, gone_on(Config, Tag)).

gone_on(Config, Tag) ->
    Socket = ?config(socket, Config),
    Size = byte_size(Tag),
    receive
        {udp, Socket, _Ip, _Port, <<Tag:Size/binary, " ", Thread/binary>>} -> binary_to_integer(Thread)
    after 30_000 -> ct:fail({still_there, Tag})
    end.

%%% Use

object_stays_the_same_wherever_its_reference_is_used(Config) ->
    Context = ?config(ctx, Config),
    Ref = watched(Config, <<"same">>),
    ?assertEqual({ok, none}, objects(Context, keep, [same, Ref])),
    {ok, Again} = objects(Context, get, [same]),
    ?assert(py:is_ref(Again)),
    ?assertEqual({ok, true}, objects(Context, are_same, [Ref, Again, Ref])),
    [
        ?assertEqual({Code, {ok, true}}, {Code, py:eval(Context, <<"ct_objects.is_kept('same', ", Code/binary, ")">>, #{x => Term})})
     || {Code, Term} <- [
            {<<"x">>, Ref},
            {<<"x">>, Again},
            {<<"x[1]">>, [Ref, Again]},
            {<<"x[0]">>, {Ref, 1}},
            {<<"x['k']">>, #{k => Ref}},
            {<<"[*x][0]">>, #{Ref => 1}},
            {<<"[*x][0][1][0]">>, #{{1, {Ref}} => 1}},
            {<<"x[0][0]['k'][0]">>, [{#{k => [Again]}}]}
        ]
    ],
    {ok, [Inner, {Inner2}]} = py:eval(Context, <<"[x, (x,)]">>, #{x => Ref}),
    ?assertEqual({ok, true}, objects(Context, are_same, [Ref, Inner, Inner2])),
    {ok, Map} = py:eval(Context, <<"{x: 1, 'x': x}">>, #{x => Ref}),
    ?assertMatch(#{<<"x">> := _}, Map),
    ?assertEqual({ok, true}, objects(Context, are_same, [Ref | [maps:get(<<"x">>, Map) | maps:keys(maps:remove(<<"x">>, Map))]])),
    {ok, none} = objects(Context, forget, [same]).

any_function_takes_references(Config) ->
    Context = ?config(ctx, Config),
    Ref = watched(Config, <<"taken">>),
    ?assertEqual({ok, true}, py:call(Context, ct_objects, are_same, [Ref], #{kwargs => #{a => Ref, <<"b">> => Ref}})),
    ?assertEqual({ok, true}, py:await(py:spawn_call(Context, ct_objects, are_same, [Ref, Ref]))),
    ok = py:cast(Context, ct_objects, keep, [cast, Ref]),
    ?assertEqual({ok, true}, objects(Context, is_kept, [cast, Ref])),
    {ok, none} = objects(Context, forget, [cast]),
    %% Objects of the pool's context, for the process that is bound to it.
    {ok, Pooled} = py:call(collections, deque, [[1, 2]]),
    ?assertEqual({ok, 2}, py:call(builtins, len, [Pooled])),
    ?assertEqual({ok, 2}, py:eval(<<"x[1]">>, #{x => Pooled})).

attributes_are_read_and_methods_called(Config) ->
    Context = ?config(ctx, Config),
    Ref = watched(Config, <<"attributes">>),
    [?assertEqual({ok, <<"attributes">>}, py:getattr(Ref, Name)) || Name <- [tag, <<"tag">>, "tag"]],
    [?assertEqual({ok, N}, py:call_method(Ref, Name, [N])) || {N, Name} <- [{1, add}, {2, <<"add">>}, {3, "add"}]],
    ?assertEqual({ok, [1, 2, 3]}, py:getattr(Ref, items)),
    {ok, Itself} = py:call_method(Ref, itself, []),
    ?assertEqual({ok, true}, objects(Context, are_same, [Ref, Itself])),
    {ok, Method} = py:getattr(Ref, add),
    ?assert(py:is_ref(Method)),
    ?assertEqual({ok, 4}, py:call_method(Method, '__call__', [Ref])),
    ?assertMatch({error, {'AttributeError', _}}, py:getattr(Ref, no_such_attribute)),
    ?assertMatch({error, {'AttributeError', _}}, py:call_method(Ref, no_such_method, [])),
    ?assertMatch({error, {'TypeError', _}}, py:call_method(Ref, add, [])),
    ?assertMatch({error, {'TypeError', _}}, py:call_method(Ref, tag, [])),
    ?assertMatch({error, {'TypeError', _}}, py:call_method(Ref, add, [[1 | 2]])),
    ?assertMatch(#{type := 'TypeError'}, py:last_error()),
    %% From any process, whatever context it is bound to.
    ?assertEqual([{ok, <<"attributes">>}], lists:usort(py_suite:concurrently(8, fun(_) -> py:getattr(Ref, tag) end))).

contents_are_told(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            {ok, Ref} = py:eval(Context, Code),
            ?assert(py:is_ref(Ref)),
            ?assertEqual({Code, {ok, Term}}, {Code, py:to_term(Ref)})
        end
     || {Code, Term} <- [
            {<<"range(3)">>, [0, 1, 2]},
            {<<"__import__('collections').deque([1, (2,)])">>, [1, {2}]},
            {<<"__import__('collections').UserDict(a=1)">>, #{<<"a">> => 1}},
            {<<"__import__('types').MappingProxyType({1: [2]})">>, #{1 => [2]}},
            {<<"{1: 2}.keys()">>, [1]},
            {<<"{1: 2}.items()">>, [{1, 2}]}
        ]
    ],
    [
        begin
            {ok, Ref} = py:eval(Context, Code),
            ?assertMatch({Code, {error, {'TypeError', _}}}, {Code, py:to_term(Ref)})
        end
     || Code <- [<<"object()">>, <<"len">>, <<"(x for x in [1])">>, <<"iter([])">>, <<"1j">>, <<"__import__('math')">>, <<"ct_objects.Watched">>]
    ],
    ok.

references_are_told_from_other_terms(Config) ->
    Ref = watched(Config, <<"told">>),
    ?assert(is_reference(Ref)),
    ?assert(py:is_ref(Ref)),
    [?assertNot(py:is_ref(Term)) || Term <- [make_ref(), self(), 1, [Ref], {Ref}, <<>>, atom, #{}, erlang:alias([explicit_unalias]), fun() -> Ref end]],
    %% An ordinary reference stays one.
    ?assertEqual({ok, <<"Ref">>}, py:eval(?config(ctx, Config), <<"type(x).__name__">>, #{x => make_ref()})),
    ?assertEqual({ok, <<"Watched">>}, py:eval(?config(ctx, Config), <<"type(x).__name__">>, #{x => Ref})).

bad_input_is_badarg(Config) ->
    Ref = watched(Config, <<"badarg">>),
    [
        ?assertError(badarg, Call())
     || Call <- [
            fun() -> py:getattr(1, tag) end,
            fun() -> py:getattr(self(), tag) end,
            fun() -> py:getattr(Ref, 1) end,
            fun() -> py:getattr(Ref, {tag}) end,
            fun() -> py:call_method(Ref, 1, []) end,
            fun() -> py:call_method(Ref, add, 1) end,
            fun() -> py:call_method(Ref, add, [1 | 2]) end,
            fun() -> py:call_method(ref, add, []) end,
            fun() -> py:to_term(<<>>) end
        ]
    ],
    %% What was a reference to an object and is none any more looks the same as one that never was.
    [
        ?assertEqual({error, stale_reference}, Call(make_ref()))
     || Call <- [
            fun(Other) -> py:getattr(Other, tag) end,
            fun(Other) -> py:call_method(Other, add, [1]) end,
            fun(Other) -> py:to_term(Other) end
        ]
    ],
    ok.

%%% Life

object_goes_with_its_last_reference_while_the_context_is_idle(Config) ->
    Holder = holder(Config, <<"idle">>),
    ?assertEqual({ok, <<"idle">>}, py_holder:in_holder(Holder, fun(Ref) -> py:getattr(Ref, tag) end)),
    {ok, Thread} = py:call(?config(ctx, Config), threading, get_ident, []),
    ok = py_holder:drop(Holder),
    %% Nothing is asked of the context meanwhile.
    ?assertEqual(Thread, gone_on(Config, <<"idle">>)).

object_goes_with_its_last_reference_while_the_context_is_busy(Config) ->
    Socket = ?config(socket, Config),
    Holder = holder(Config, <<"busy">>),
    Gate = py:spawn_call(?config(ctx, Config), ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
    Port = py_suite:await_signal(Socket, <<"gate">>),
    ok = py_holder:drop(Holder),
    py_suite:release(Socket, Port),
    {ok, <<"gate">>} = py:await(Gate),
    await_gone(Config, <<"busy">>).

object_stays_until_the_last_of_its_references_goes(Config) ->
    Context = ?config(ctx, Config),
    First = holder(Config, <<"last">>),
    {ok, none} = py_holder:in_holder(First, fun(Ref) -> objects(Context, weak, [Ref]) end),
    %% A copy of the reference, and another reference to the object.
    {Pid, _} = First,
    Copy = py_holder:holding(fun() ->
        Pid ! {get, self()},
        receive
            {held, Pid, Ref} -> Ref
        end
    end),
    Other = py_holder:holding(fun() ->
        Pid ! {get, self()},
        receive
            {held, Pid, Ref} ->
                {ok, Itself} = py:call_method(Ref, itself, []),
                Itself
        end
    end),
    true = py_holder:in_holder(Other, fun(_) -> erlang:garbage_collect() end),
    lists:foreach(
        fun(Holder) ->
            ok = py_holder:drop(Holder),
            ?assertEqual({ok, true}, objects(Context, is_living, []))
        end,
        [First, Copy]
    ),
    ok = py_holder:drop(Other),
    await_gone(Config, <<"last">>),
    ?assertEqual({ok, false}, objects(Context, is_living, [])).

object_goes_when_the_holder_is_killed(Config) ->
    {Pid, _} = holder(Config, <<"killed">>),
    ok = py_suite:killed(Pid),
    await_gone(Config, <<"killed">>).

reference_lives_in_messages(Config) ->
    {First, _} = Holder = holder(Config, <<"message">>),
    {Second, _} = Receiver = py_suite:spawn_caller(fun() ->
        receive
            go -> ok
        end,
        Answer =
            receive
                {held, First, Ref} -> py:getattr(Ref, tag)
            end,
        Answer
    end),
    First ! {get, Second},
    ok = py_holder:drop(Holder),
    %% Only the message has it now.
    Second ! go,
    ?assertEqual({result, {ok, <<"message">>}}, py_suite:await_down(Receiver, 30_000)),
    await_gone(Config, <<"message">>).

reference_lives_in_tables(Config) ->
    Table = ets:new(?MODULE, [public]),
    ok = py_suite:fresh(fun() ->
        true = ets:insert(Table, {key, [watched(Config, <<"table">>)]}),
        ok
    end),
    ?assertEqual({ok, <<"table">>}, py_suite:fresh(fun() ->
        [{key, [Ref]}] = ets:lookup(Table, key),
        py:getattr(Ref, tag)
    end)),
    true = ets:delete(Table, key),
    await_gone(Config, <<"table">>),
    true = ets:delete(Table).

reference_lives_in_external_format_as_long_as_its_object(Config) ->
    Context = ?config(ctx, Config),
    Holder = holder(Config, <<"external">>),
    External = py_holder:in_holder(Holder, fun term_to_binary/1),
    ?assertEqual({ok, <<"external">>}, py_suite:fresh(fun() -> py:getattr(binary_to_term(External), tag) end)),
    ok = py_holder:drop(Holder),
    await_gone(Config, <<"external">>),
    is_late(Context, binary_to_term(External)).

reference_lives_on_another_node_as_long_as_its_object(Config) ->
    Context = ?config(ctx, Config),
    py_suite:with_connected_node(fun(Node) ->
        Holder = holder(Config, <<"node">>),
        Far = spawn(Node, ?MODULE, far, []),
        ok = py_holder:in_holder(Holder, fun(Ref) -> Far ! {keep, Ref}, ok end),
        Fetch = fun() ->
            Far ! {fetch, self()},
            receive
                {fetched, Ref} -> Ref
            end
        end,
        ?assertEqual({ok, <<"node">>}, py_suite:fresh(fun() -> py:getattr(Fetch(), tag) end)),
        ?assertEqual({ok, true}, py_suite:fresh(fun() ->
            Copy = Fetch(),
            in_holder_of(Holder, Copy, Context)
        end)),
        ok = py_holder:drop(Holder),
        await_gone(Config, <<"node">>),
        is_late(Context, Fetch()),
        true = exit(Far, kill)
    end).

in_holder_of(Holder, Copy, Context) ->
    py_holder:in_holder(Holder, fun(Ref) ->
        {ok, true} = objects(Context, are_same, [Ref, Copy]),
        {ok, py:is_ref(Copy)}
    end).

far() ->
    receive
        {keep, Ref} -> far(Ref)
    end.

far(Ref) ->
    receive
        {fetch, To} ->
            To ! {fetched, Ref},
            far(Ref)
    end.

%% A copy that came back after the object had gone.
is_late(Context, Ref) ->
    ?assert(is_reference(Ref)),
    ?assertNot(py:is_ref(Ref)),
    ?assertEqual({error, stale_reference}, py:getattr(Ref, tag)),
    ?assertEqual({error, stale_reference}, py:call_method(Ref, add, [1])),
    ?assertEqual({error, stale_reference}, py:to_term(Ref)),
    ?assertEqual({ok, <<"Ref">>}, py:eval(Context, <<"type(x).__name__">>, #{x => Ref})).

many_references_of_many_processes_are_released(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    {ok, none} = objects(Context, expect, [py_suite:port(Socket), 50 * 100]),
    Wrong = py_suite:concurrently(50, fun(_) ->
        Refs = [Ref || _ <- lists:seq(1, 50), {ok, Ref} <- [objects(Context, 'Counted', [])]],
        {ok, More} = py:eval(Context, <<"[ct_objects.Counted() for _ in range(50)]">>),
        [Ref || Ref <- Refs ++ More, {ok, <<>>} =/= py:getattr(Ref, data)]
    end),
    ?assertEqual(50, length([[] || [] <- Wrong])),
    _ = py_suite:await_signal(Socket, <<"all gone">>),
    %% The last one says so before it has quite gone.
    ?assertEqual(ok, py_leaks:eventually(fun() -> objects(Context, living, []) =:= {ok, 0} end)).

references_take_no_memory_for_good(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Round = fun() ->
        {ok, none} = objects(Context, expect, [py_suite:port(Socket), 5_000]),
        true = py_suite:fresh(fun() ->
            {ok, Refs} = py:eval(Context, <<"[ct_objects.Counted(10_000) for _ in range(5_000)]">>),
            lists:all(fun py:is_ref/1, Refs)
        end),
        _ = py_suite:await_signal(Socket, <<"all gone">>)
    end,
    Round(),
    Before = py_leaks:resident(),
    [Round() || _ <- lists:seq(1, 10)],
    %% Ten rounds take 500 MB if nothing is given back.
    ?assert(py_leaks:resident() - Before < 150_000),
    %% The last one says so before it has quite gone.
    ?assertEqual(ok, py_leaks:eventually(fun() -> objects(Context, living, []) =:= {ok, 0} end)).

finalisers_that_misbehave_do_no_harm(Config) ->
    Context = ?config(ctx, Config),
    Log = py_suite:capture_log(),
    try
        true = py_suite:fresh(fun() ->
            {ok, Raising} = objects(Context, 'Raising', []),
            {ok, Risen} = objects(Context, 'Risen', []),
            py:is_ref(Raising) andalso py:is_ref(Risen)
        end),
        Kept = fun() -> {ok, true} =:= py:eval(Context, <<"'risen' in ct_objects.kept">>) end,
        ?assertEqual(ok, py_leaks:eventually(Kept)),
        %% It can be referred to again.
        {ok, Again} = objects(Context, get, [risen]),
        ?assert(py:is_ref(Again)),
        {ok, none} = objects(Context, forget, [risen])
    after
        py_suite:release_log(Log)
    end.

methods_of_one_object_are_called_by_many(Config) ->
    Ref = watched(Config, <<"many">>),
    Counts = py_suite:concurrently(50, fun(I) -> [py:call_method(Ref, add, [I]) || _ <- lists:seq(1, 20)] end),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 1000)], lists:sort(lists:append(Counts))).

%%% The end of a context

death_of_the_context_ends_a_method(Config) ->
    Socket = ?config(socket, Config),
    Context = another_context(Config),
    Ref = watched(Context, Config, <<"method">>),
    Caller = py_suite:spawn_caller(fun() -> py:call_method(Ref, gate, [py_suite:port(Socket), <<"gate">>]) end),
    Gate = py_suite:await_signal(Socket, <<"gate">>),
    ok = py_suite:silently(fun() -> py_suite:killed(Context) end),
    ?assertEqual({result, {error, {context_died, killed}}}, py_suite:await_down(Caller, 30_000)),
    py_suite:release(Socket, Gate),
    _ = gone_on(Config, <<"method">>),
    is_stale(Config, Ref).

reference_is_stale_when_its_context_was_stopped(Config) ->
    Context = another_context(Config),
    Ref = watched(Context, Config, <<"stopped">>),
    ok = py_context:stop(Context),
    is_stale(Config, Ref).

reference_is_stale_when_its_context_was_killed(Config) ->
    Context = another_context(Config),
    Ref = watched(Context, Config, <<"killed">>),
    ok = py_suite:silently(fun() -> py_suite:killed(Context) end),
    _ = gone_on(Config, <<"killed">>),
    is_stale(Config, Ref).

is_stale(Config, Ref) ->
    Other = ?config(ctx, Config),
    [
        ?assertEqual({error, stale_reference}, Answer)
     || Answer <- [
            py:getattr(Ref, tag),
            py:call_method(Ref, add, [1]),
            py:to_term(Ref),
            py:eval(Other, <<"x">>, #{x => Ref}),
            py:call(Other, builtins, repr, [[{Ref}]]),
            py:call(Other, builtins, dict, [], #{kwargs => #{a => Ref}}),
            py:await(py:spawn_call(Other, builtins, repr, [Ref])),
            py:call(builtins, repr, [Ref])
        ]
    ],
    %% It stays so, and no mistake is made about references of later contexts.
    New = watched(Config, <<"new">>),
    ?assertEqual({ok, <<"new">>}, py:getattr(New, tag)),
    ?assertEqual({error, stale_reference}, py:getattr(Ref, tag)).

object_is_released_when_its_context_ends(Config) ->
    Context = another_context(Config),
    {ok, Thread} = py:call(Context, threading, get_ident, []),
    Holder = py_holder:holding(fun() -> watched(Context, Config, <<"ended">>) end),
    ok = py_context:stop(Context),
    ?assertEqual(Thread, gone_on(Config, <<"ended">>)),
    ok = py_holder:drop(Holder).

%%% Interpreters

reference_is_refused_by_another_interpreter(Config) ->
    Ref = watched(Config, <<"foreign">>),
    Other = another_context(Config),
    {ok, Worker} = py_context:new(#{mode => worker}),
    [
        [
            ?assertMatch({error, {'ValueError', _}}, Answer)
         || Answer <- [
                py:eval(Foreign, <<"x">>, #{x => Ref}),
                py:call(Foreign, builtins, repr, [[{#{1 => Ref}}]]),
                py:call(Foreign, builtins, dict, [], #{kwargs => #{a => Ref}})
            ]
        ]
     || Foreign <- [Other, Worker]
    ],
    %% Where it belongs it goes on.
    ?assertEqual({ok, <<"foreign">>}, py:getattr(Ref, tag)),
    ok = py_context:stop(Other),
    ok = py_context:stop(Worker).

%%% Contexts of mode `worker'

worker_contexts_share_objects(Config) ->
    Other = another_context(Config),
    Ref = watched(Config, <<"shared">>),
    {ok, none} = objects(Other, keep, [shared, Ref]),
    ?assertEqual({ok, true}, objects(?config(ctx, Config), is_kept, [shared, Ref])),
    {ok, Again} = objects(Other, get, [shared]),
    ?assertEqual({ok, true}, objects(?config(ctx, Config), are_same, [Ref, Again])),
    {ok, none} = objects(Other, forget, [shared]),
    ok = py_context:stop(Other).

object_goes_with_the_worker_that_gave_it_out(Config) ->
    Other = another_context(Config),
    Ref = watched(Other, Config, <<"first">>),
    {ok, none} = objects(?config(ctx, Config), keep, [first, Ref]),
    {ok, Mine} = objects(?config(ctx, Config), get, [first]),
    ok = py_context:stop(Other),
    ?assertEqual({error, stale_reference}, py:getattr(Ref, tag)),
    %% The object itself lives where others keep it, and their references with it.
    ?assertEqual({ok, <<"first">>}, py:getattr(Mine, tag)),
    {ok, none} = objects(?config(ctx, Config), forget, [first]).
