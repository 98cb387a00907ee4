%% Where a call goes: registrations, bindings, indices, and the start and stop of the pool that serves by default.
-module(pool_routing_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            registered_module_goes_to_its_pool,
            registered_function_counts_more_than_its_module,
            every_spelling_is_the_same_name,
            underscore_as_an_atom_is_every_function,
            registrations_are_listed_as_they_were_given,
            spawned_calls_casts_and_parallel_follow_registrations,
            parallel_gives_each_call_the_error_of_its_pool,
            explicit_contexts_and_pools_ignore_registrations,
            registration_may_come_before_its_pool,
            registration_outlives_its_pool,
            registrations_end_with_the_application,
            registrations_change_while_calls_go_on,
            bound_process_calls_the_context_of_its_choice,
            binding_holds_for_one_pool_only,
            binding_is_the_process_s_own,
            unbound_process_is_bound_anew,
            binding_to_what_is_no_context_is_an_error,
            bound_context_of_the_pool_that_dies_is_replaced,
            bound_context_of_another_pool_that_dies_is_replaced,
            bound_context_of_no_pool_that_dies_is_told,
            bound_context_of_a_stopped_pool_is_told,
            binding_does_not_outlive_the_application,
            index_names_a_context,
            index_of_a_dead_context_names_its_replacement,
            pool_name_gives_the_process_s_context,
            starting_starts_every_context,
            stopped_contexts_are_started_as_asked,
            default_pool_that_is_started_again_has_the_settings,
            wrong_start_options_are_named,
            pools_are_there_or_not,
            start_that_fails_leaves_no_pool,
            contexts_tell_what_they_are
        ]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 2}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 24}).

%% Every case has the application to itself.
init_per_testcase(_Case, Config) ->
    ok = py_context_router:start_pool(io, 2, py_suite:mode(Config)),
    Config.

end_per_testcase(_Case, Config) ->
    py_suite:restart(Config, #{}).

%% The context that a call of threading's function ran in; asked in a process of its own, each has two threads
%% to choose from.
thread(Context) ->
    {ok, Thread} = py:call(Context, threading, get_ident, []),
    Thread.

%% The threads of the process's contexts: what calls that go there answer.
threads() ->
    {{ok, thread(py_context_router:get_context(default))}, {ok, thread(py_context_router:get_context(io))}}.

%%% Registrations

registered_module_goes_to_its_pool(_Config) ->
    {Default, Io} = threads(),
    Call = fun() -> py:call(threading, get_ident, []) end,
    ?assertEqual(default, py_context_router:lookup_pool(threading, get_ident)),
    ?assertEqual(Default, Call()),
    ok = py:register_pool(io, threading),
    ?assertEqual(io, py_context_router:lookup_pool(threading, get_ident)),
    ?assertEqual(default, py_context_router:lookup_pool(math, sqrt)),
    ?assertEqual(Io, Call()),
    ?assertEqual(Io, py:call(threading, get_ident, [], #{})),
    ?assertEqual(Io, py:call(threading, get_ident, [], #{}, 5000)),
    ok = py:unregister_pool(threading),
    ?assertEqual(Default, Call()),
    ok = py_context_router:register_pool(io, threading),
    ?assertEqual(Io, Call()),
    ok = py_context_router:unregister_pool(threading),
    ?assertEqual(Default, Call()),
    %% Taking back what is not there is no error.
    ?assertEqual(ok, py:unregister_pool(threading)),
    ?assertEqual(ok, py:unregister_pool({threading, get_ident})).

registered_function_counts_more_than_its_module(_Config) ->
    {Default, Io} = threads(),
    ok = py:register_pool(io, {threading, get_ident}),
    ?assertEqual(Io, py:call(threading, get_ident, [])),
    ?assertEqual(default, py_context_router:lookup_pool(threading, active_count)),
    ok = py:register_pool(io, threading),
    ok = py:register_pool(default, {threading, get_ident}),
    ?assertEqual(Default, py:call(threading, get_ident, [])),
    ?assertEqual(io, py_context_router:lookup_pool(threading, active_count)),
    ok = py_context_router:unregister_pool(threading, get_ident),
    ?assertEqual(Io, py:call(threading, get_ident, [])),
    %% The last registration of a name counts.
    ok = py_context_router:register_pool(io, threading, get_ident),
    ok = py_context_router:register_pool(default, threading, get_ident),
    ?assertEqual(Default, py:call(threading, get_ident, [])).

every_spelling_is_the_same_name(_Config) ->
    {Default, Io} = threads(),
    Modules = [threading, <<"threading">>, "threading"],
    Functions = [get_ident, <<"get_ident">>, "get_ident"],
    [
        begin
            ok = py:register_pool(io, Given),
            [?assertEqual(Io, py:call(M, F, [])) || M <- Modules, F <- Functions],
            [?assertEqual(io, py_context_router:lookup_pool(M, F)) || M <- Modules, F <- Functions],
            ok = py:unregister_pool(Back),
            ?assertEqual(Default, py:call(threading, get_ident, []))
        end
     || {Given, Back} <- [{M, N} || M <- Modules, N <- Modules] ++
            [{{M, F}, {N, G}} || M <- Modules, F <- Functions, N <- Modules, G <- Functions]
    ].

underscore_as_an_atom_is_every_function(_Config) ->
    ok = py:register_pool(io, {threading, '_'}),
    ?assertEqual([{{threading, '_'}, io}], py_context_router:list_pool_registrations()),
    ?assertEqual(io, py_context_router:lookup_pool(threading, get_ident)),
    ok = py:unregister_pool(threading),
    ok = py:register_pool(io, {gettext, <<"_">>}),
    ?assertEqual(io, py_context_router:lookup_pool(gettext, <<"_">>)),
    ?assertEqual(default, py_context_router:lookup_pool(gettext, gettext)).

registrations_are_listed_as_they_were_given(_Config) ->
    ?assertEqual([], py_context_router:list_pool_registrations()),
    ok = py:register_pool(io, json),
    ok = py:register_pool(default, {json, dumps}),
    ok = py:register_pool(nowhere, {<<"zlib">>, "compress"}),
    ?assertEqual(
        [{{json, '_'}, io}, {{json, dumps}, default}, {{<<"zlib">>, <<"compress">>}, nowhere}],
        py_context_router:list_pool_registrations()
    ),
    ok = py:unregister_pool("json"),
    ?assertEqual(
        [{{json, dumps}, default}, {{<<"zlib">>, <<"compress">>}, nowhere}],
        py_context_router:list_pool_registrations()
    ).

spawned_calls_casts_and_parallel_follow_registrations(_Config) ->
    {_Default, Io} = threads(),
    ok = py:register_pool(io, threading),
    ok = py:register_pool(io, {'__main__', note}),
    ?assertEqual(Io, py:await(py:spawn_call(threading, get_ident, []))),
    ?assertEqual(Io, py:await(py:spawn_call(threading, get_ident, [], #{}))),
    Context = py_context_router:get_context(io),
    ok = py:exec(Context, <<"notes = []\ndef note(x):\n    notes.append(x)">>),
    ok = py:cast('__main__', note, [1]),
    ok = py:cast('__main__', note, [2], #{}),
    ?assertEqual({ok, [1, 2]}, py:eval(Context, <<"notes">>)),
    {ok, Results} = py:parallel([{threading, get_ident, []} || _ <- lists:seq(1, 10)]),
    {ok, Contexts} = {ok, py_context_router:contexts(io)},
    ?assertEqual(2, length(Contexts)),
    ?assertEqual(lists:sort([{ok, thread(C)} || C <- Contexts]), lists:usort(Results)),
    %% Each goes its own way, and the results keep their order.
    {ok, [{ok, 4.0}, {ok, Thread}, {ok, 5.0}]} =
        py:parallel([{math, sqrt, [16]}, {"threading", get_ident, []}, {math, sqrt, [25]}]),
    ?assert(lists:member({ok, Thread}, Results)).

parallel_gives_each_call_the_error_of_its_pool(_Config) ->
    ok = py:register_pool(nowhere, json),
    ?assertEqual(
        {ok, [{ok, 4.0}, {error, {no_pool, nowhere}}]},
        py:parallel([{math, sqrt, [16]}, {json, dumps, [1]}])
    ),
    ?assertEqual({error, {no_pool, nowhere}}, py:parallel([{json, dumps, [1]}])),
    ?assertEqual([], py_suite:flush()).

explicit_contexts_and_pools_ignore_registrations(_Config) ->
    {Default, Io} = threads(),
    Context = py_context_router:get_context(default),
    ok = py:register_pool(io, threading),
    ok = py:register_pool(nowhere, builtins),
    ?assertEqual(Default, py:call(default, threading, get_ident, [])),
    ?assertEqual(Default, py:call(Context, threading, get_ident, [])),
    ?assertEqual(Default, py:eval(<<"__import__('threading').get_ident()">>)),
    ok = py:unregister_pool(threading),
    ?assertEqual(Io, py:call(io, threading, get_ident, [])).

registration_may_come_before_its_pool(Config) ->
    ok = py:register_pool(later, math),
    NoPool = {error, {no_pool, later}},
    ?assertEqual(NoPool, py:call(math, sqrt, [16])),
    ?assertEqual(NoPool, py:await(py:spawn_call(math, sqrt, [16]))),
    ?assertEqual(NoPool, py:cast(math, sqrt, [16])),
    ok = py_context_router:start_pool(later, 1, py_suite:mode(Config)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

registration_outlives_its_pool(Config) ->
    ok = py:register_pool(io, math),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok = py_context_router:stop_pool(io),
    ?assertEqual({error, {no_pool, io}}, py:call(math, sqrt, [16])),
    ?assertEqual({error, {no_pool, io}}, py:call(math, sqrt, [16])),
    ok = py_context_router:start_pool(io, 1, py_suite:mode(Config)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok = py_context_router:stop_pool(io),
    ok = py:unregister_pool(math),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

registrations_end_with_the_application(Config) ->
    ok = py:register_pool(nowhere, math),
    ?assertEqual({error, {no_pool, nowhere}}, py:call(math, sqrt, [16])),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual([], py_context_router:list_pool_registrations()),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

registrations_change_while_calls_go_on(_Config) ->
    {Default, Io} = threads(),
    Test = self(),
    Changers = [
        py_suite:spawn_caller(fun() ->
            [
                begin
                    ok = py:register_pool(io, {threading, get_ident}),
                    ok = py:register_pool(io, list_to_atom("m" ++ integer_to_list(N))),
                    ok = py:unregister_pool({threading, get_ident}),
                    ok = py:unregister_pool(list_to_atom("m" ++ integer_to_list(N)))
                end
             || _ <- lists:seq(1, 100)
            ],
            Test ! done,
            ok
        end)
     || N <- lists:seq(1, 4)
    ],
    Results = until_done(4, []),
    [{result, ok} = py_suite:await_down(Changer, ?DEADLINE) || Changer <- Changers],
    ?assertEqual([], lists:usort(Results) -- [Default, Io]),
    ?assertEqual([], py_context_router:list_pool_registrations()),
    %% The count is right, too: nothing is registered any more.
    ?assertEqual(Default, py:call(threading, get_ident, [])).

until_done(0, Results) ->
    Results;
until_done(N, Results) ->
    Result = py:call(threading, get_ident, []),
    receive
        done -> until_done(N - 1, [Result | Results])
    after 0 -> until_done(N, [Result | Results])
    end.

%%% Bindings

bound_process_calls_the_context_of_its_choice(Config) ->
    Own = py_suite:new_context(Config),
    Thread = {ok, thread(Own)},
    _ = py:context(),
    ok = py_context_router:bind_context(Own),
    ?assertEqual(Own, py:context()),
    ?assertEqual(Own, py_context_router:get_context()),
    ?assertEqual(Own, py_context_router:get_context(default)),
    ok = py:exec(<<"mine = 1">>),
    ?assertEqual({ok, 1}, py:eval(Own, <<"mine">>)),
    ?assertEqual(Thread, py:call(threading, get_ident, [])),
    ?assertEqual(Thread, py:call(default, threading, get_ident, [])),
    ?assertEqual(Thread, py:await(py:spawn_call(threading, get_ident, []))),
    ok = py:cast('__main__', exec, [<<"0">>]),
    %% Another context takes its place.
    First = py:context(1),
    ok = py_context_router:bind_context(First),
    ?assertEqual(First, py:context()),
    ?assertEqual({ok, thread(First)}, py:call(threading, get_ident, [])).

binding_holds_for_one_pool_only(_Config) ->
    {Default, Io} = threads(),
    Other = hd(py_context_router:contexts(io)),
    ok = py_context_router:bind_context(extra, Other),
    ?assertEqual({Default, Io}, threads()),
    %% A name that no pool has serves as well.
    ?assertEqual({ok, thread(Other)}, py:call(extra, threading, get_ident, [])),
    ok = py_context_router:unbind_context(extra),
    ?assertEqual({error, {no_pool, extra}}, py:call(extra, threading, get_ident, [])).

binding_is_the_process_s_own(Config) ->
    Own = py_suite:new_context(Config),
    ok = py_context_router:bind_context(Own),
    ?assertEqual(Own, py:context()),
    ?assertNotEqual(Own, py_suite:fresh(fun py:context/0)),
    ?assert(lists:member(py_suite:fresh(fun py:context/0), py_context_router:contexts())).

unbound_process_is_bound_anew(Config) ->
    Own = py_suite:new_context(Config),
    ok = py_context_router:bind_context(Own),
    ok = py_context_router:unbind_context(),
    Context = py:context(),
    ?assert(lists:member(Context, py_context_router:contexts())),
    ?assertEqual(Context, py:context()),
    ok = py_context_router:unbind_context(),
    ok = py_context_router:unbind_context(),
    ok = py_context_router:unbind_context(nowhere).

binding_to_what_is_no_context_is_an_error(Config) ->
    Own = py_suite:new_context(Config),
    ok = py_context:stop(Own),
    ?assertMatch({error, {context_died, _}}, py_context_router:bind_context(Own)),
    ?assertMatch({error, {context_died, _}}, py_context_router:bind_context(self())),
    ?assertMatch({error, {context_died, _}}, py_context_router:bind_context(io, self())),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

bound_context_of_the_pool_that_dies_is_replaced(_Config) ->
    Second = py:context(2),
    ok = py_context_router:bind_context(Second),
    py_suite:silently(fun() -> py_suite:killed(Second) end),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    New = py:context(),
    ?assertNotEqual(Second, New),
    ?assertEqual(New, py:context(2)).

bound_context_of_another_pool_that_dies_is_replaced(_Config) ->
    Io = py_context_router:get_context(io),
    ok = py_context_router:bind_context(default, Io),
    ?assertEqual(Io, py:context()),
    py_suite:silently(fun() -> py_suite:killed(Io) end),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    New = py:context(),
    ?assertNotEqual(Io, New),
    ?assert(lists:member(New, py_context_router:contexts(io))).

bound_context_of_no_pool_that_dies_is_told(Config) ->
    Own = py_suite:new_context(Config),
    ok = py_context_router:bind_context(Own),
    py_suite:silently(fun() -> py_suite:killed(Own) end),
    [?assertMatch({error, {context_died, _}}, py:call(math, sqrt, [16])) || _ <- lists:seq(1, 3)],
    ?assertMatch({error, {context_died, _}}, py:context()),
    ?assertMatch({error, {context_died, _}}, py:await(py:spawn_call(math, sqrt, [16]))),
    ?assertEqual(ok, py:cast(math, sqrt, [16])),
    ok = py_context_router:unbind_context(),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

bound_context_of_a_stopped_pool_is_told(_Config) ->
    Io = py_context_router:get_context(io),
    ok = py_context_router:bind_context(default, Io),
    ok = py_context_router:stop_pool(io),
    ?assertMatch({error, {context_died, _}}, py:call(math, sqrt, [16])),
    ?assertMatch({error, {context_died, _}}, py:call(math, sqrt, [16])),
    ok = py_context_router:unbind_context(),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

binding_does_not_outlive_the_application(Config) ->
    ok = py_context_router:bind_context(py:context(2)),
    ok = py_suite:restart(Config, #{num_contexts => 1}),
    %% That index is not there any more.
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual([py:context()], py_context_router:contexts()),
    ok = py_context_router:bind_context(py:context()),
    ok = py_suite:stop(),
    ?assertEqual({error, not_running}, py:call(math, sqrt, [16])),
    ?assertEqual({error, not_running}, py:context()).

%%% Indices and names

index_names_a_context(_Config) ->
    First = py:context(1),
    ?assertEqual(First, py:context(1)),
    ?assertEqual(First, py_context_router:get_context(1)),
    ?assertEqual([First], py_context_router:contexts()),
    Second = py:context(2),
    ?assertNotEqual(First, Second),
    ?assertEqual([First, Second], py_context_router:contexts()),
    ?assertEqual({error, {no_context, 3}}, py:context(3)),
    ?assertEqual(First, py_suite:fresh(fun() -> py:context(1) end)),
    %% Asking binds nobody.
    ok = py_context_router:bind_context(Second),
    _ = py:context(1),
    ?assertEqual(Second, py:context()).

index_of_a_dead_context_names_its_replacement(_Config) ->
    [
        begin
            First = py:context(1),
            py_suite:silently(fun() -> py_suite:killed(First) end),
            Next = py:context(1),
            ?assertNotEqual(First, Next),
            ?assertEqual({ok, 4.0}, py:call(Next, math, sqrt, [16]))
        end
     || _ <- lists:seq(1, 3)
    ].

pool_name_gives_the_process_s_context(_Config) ->
    Io = py_context_router:get_context(io),
    ?assertEqual(Io, py_context_router:get_context(io)),
    ?assert(lists:member(Io, py_context_router:contexts(io))),
    ?assertEqual({ok, thread(Io)}, py:call(io, threading, get_ident, [])),
    ?assertEqual({error, {no_pool, nowhere}}, py_context_router:get_context(nowhere)).

%%% Starting and stopping

starting_starts_every_context(_Config) ->
    ?assertEqual([], py_context_router:contexts()),
    {ok, [_, _] = Contexts} = py:start_contexts(),
    ?assertEqual(Contexts, py_context_router:contexts()),
    ?assertEqual({ok, Contexts}, py:start_contexts()),
    ?assertEqual({ok, Contexts}, py_context_router:start()),
    %% What is there stays as it is.
    ?assertEqual({ok, Contexts}, py:start_contexts(#{contexts => 1})),
    ?assertEqual([true, true], [is_process_alive(C) || C <- Contexts]).

stopped_contexts_are_started_as_asked(_Config) ->
    {ok, Before} = py:start_contexts(),
    ?assert(py:contexts_started()),
    ok = py:stop_contexts(),
    ?assertNot(py:contexts_started()),
    ?assertNot(py_context_router:is_started()),
    ?assertEqual([false, false], [is_process_alive(C) || C <- Before]),
    ?assertEqual(0, py_context_router:num_contexts()),
    ?assertEqual({error, not_running}, py:call(math, sqrt, [16])),
    ?assertEqual({error, not_running}, py:context()),
    ?assertEqual({error, not_running}, py:context(1)),
    %% The other pools go on.
    ?assertEqual({ok, 4.0}, py:call(io, math, sqrt, [16])),
    ?assertEqual(ok, py:stop_contexts()),
    ?assertEqual(ok, py_context_router:stop()),
    {ok, [One]} = py_context_router:start(#{contexts => 1, mode => worker}),
    ?assertEqual(false, py_context:is_subinterp(One)),
    ?assertEqual(1, py_context_router:num_contexts()),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok = py:stop_contexts(),
    {ok, [_, _, _]} = py:start_contexts(#{contexts => 3}),
    ok = py:stop_contexts(),
    {ok, [_, _]} = py:start_contexts().

default_pool_that_is_started_again_has_the_settings(Config) ->
    Settings = #{num_contexts => 2, max_queue => 3, binding => scheduler, conversion => #{binaries => bytes}},
    ok = py_suite:restart(Config, Settings),
    Kind = fun() -> py:eval(<<"type(x).__name__">>, #{x => <<"text">>}) end,
    ?assertEqual({ok, <<"bytes">>}, Kind()),
    [
        begin
            ok = py:stop_contexts(),
            {ok, _} = Start(),
            ?assertEqual({ok, <<"bytes">>}, Kind()),
            ?assertMatch({ok, _, 2, scheduler}, py_pool_table:pool(default)),
            full_queue_refuses(3)
        end
     || Start <- [
            fun() -> py:start_contexts() end,
            fun() -> py:start_contexts(#{mode => py_suite:mode(Config)}) end,
            fun() -> py_context_router:start(#{contexts => 2}) end
        ]
    ].

%% So many may wait in the process's context, and no more.
full_queue_refuses(Max) ->
    Socket = py_suite:open(),
    Context = py:context(),
    ok = py_suite:install(Context),
    Running = py:spawn_call(Context, ct_signals, gate, [py_suite:port(Socket), gate]),
    Gate = py_suite:await_signal(Socket, <<"gate">>),
    Waiting = [py:spawn_call(Context, math, sqrt, [16]) || _ <- lists:seq(1, Max)],
    ?assertEqual({error, {overloaded, Max, Max}}, py:call(Context, math, sqrt, [16])),
    py_suite:release(Socket, Gate),
    {ok, _} = py:await(Running),
    ?assertEqual([{ok, 4.0} || _ <- Waiting], [py:await(Ref) || Ref <- Waiting]),
    ok = py_suite:close(Socket).

wrong_start_options_are_named(_Config) ->
    [
        ?assertEqual({error, Reason}, py:start_contexts(Options))
     || {Reason, Options} <- [
            {{bad_option, contexts, 0}, #{contexts => 0}},
            {{bad_option, contexts, many}, #{contexts => many}},
            {{bad_option, mode, fast}, #{mode => fast}},
            {{bad_option, contextz, 2}, #{contextz => 2}},
            {{not_supported, isolated}, #{mode => isolated}}
        ]
    ],
    ?assertEqual([], py_context_router:contexts()).

%% A worker cannot start while C code has the main GIL, here for much longer than the time limit.
start_that_fails_leaves_no_pool(Config) ->
    ok = py:stop_contexts(),
    {ok, Busy} = py_context:new(#{mode => worker}),
    ok = py_suite:install(Busy),
    Socket = py_suite:open(),
    Code = <<"__import__('ct_signals').signal(port, 'busy') and 3 ** 4_000_000 > 0">>,
    Caller = py_suite:spawn_caller(fun() -> py:eval(Busy, Code, #{port => py_suite:port(Socket)}) end),
    ok = application:set_env(erlang_python, context_start_timeout, 1),
    _ = py_suite:await_signal(Socket, <<"busy">>),
    py_suite:silently(fun() ->
        Started = py:start_contexts(#{contexts => 3, mode => worker}),
        ?assertEqual({error, {context_start, main_interpreter_busy}}, Started)
    end),
    ?assertNot(py:contexts_started()),
    ok = application:unset_env(erlang_python, context_start_timeout),
    {result, {ok, true}} = py_suite:await_down(Caller, ?DEADLINE),
    ok = py_suite:close(Socket),
    ok = py_context:stop(Busy),
    ?assertMatch({ok, [_, _]}, py:start_contexts(#{mode => py_suite:mode(Config)})).

pools_are_there_or_not(_Config) ->
    ?assert(py_context_router:pool_started(default)),
    ?assert(py_context_router:pool_started(io)),
    ?assertNot(py_context_router:pool_started(nowhere)),
    ok = py_context_router:stop_pool(io),
    ?assertNot(py_context_router:pool_started(io)).

%%% What contexts are

contexts_tell_what_they_are(Config) ->
    Own = py_suite:new_context(Config),
    Worker = element(2, py_context:new(#{mode => worker})),
    IsOwngil = py_suite:mode(Config) =:= owngil,
    ?assertEqual(IsOwngil, py_context:is_subinterp(Own)),
    ?assertEqual(false, py_context:is_subinterp(Worker)),
    {ok, Id} = py_context:get_interp_id(Own),
    ?assertEqual(IsOwngil, Id > 0),
    ?assertEqual({ok, 0}, py_context:get_interp_id(Worker)),
    ?assert(is_reference(py_context:get_nif_ref(Own))),
    ?assertEqual(py_context:get_nif_ref(Own), py_context:get_nif_ref(Own)),
    ?assertEqual(ok, py_context:destroy(Own)),
    ?assertNot(is_process_alive(Own)),
    ?assertEqual(ok, py_context:destroy(Own)),
    [
        ?assertMatch({error, {context_died, _}}, Ask(Dead))
     || Dead <- [Own, self()],
        Ask <- [
            fun py_context:is_subinterp/1,
            fun py_context:get_interp_id/1,
            fun py_context:get_nif_ref/1,
            fun py_context:create_local_env/1,
            fun py:get_local_env/1,
            fun py_context:interrupt/1
        ]
    ],
    ok = py_context:stop(Worker).
