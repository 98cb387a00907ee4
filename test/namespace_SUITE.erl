%% Namespaces: each process has one in each context, others are held by reference; none outlives its use.
-module(namespace_SUITE).

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
    py_suite:groups([
        namespace_is_one_process_s_in_one_context,
        every_way_to_call_uses_the_caller_s_namespace,
        parallel_uses_the_caller_s_namespace_of_each_context,
        namespace_goes_when_its_process_ends,
        namespace_stays_for_the_casts_of_a_dead_process,
        environment_is_new_and_empty,
        environment_serves_many_processes_at_once,
        environment_outlives_the_process_that_made_it,
        environment_goes_with_the_last_reference,
        environment_stays_while_a_request_in_it_runs,
        environments_leave_nothing_behind,
        environment_of_another_context_is_stale,
        environment_of_an_ended_context_is_stale,
        any_other_reference_is_stale,
        own_environment_is_the_namespace_of_the_process,
        own_environment_is_the_same_reference_each_time,
        own_environment_is_stale_once_its_process_has_ended,
        death_of_a_caller_leaves_the_environment_to_the_others,
        time_out_leaves_the_environment_usable,
        classes_of_an_environment_can_be_pickled,
        finalisers_run_in_an_interpreter_that_was_used_before
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Ctx = py_suite:new_context(Config),
    ok = py_suite:install(Ctx),
    [{ctx, Ctx}, {socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_suite:close(?config(socket, Config)),
    ok = py_context:stop(?config(ctx, Config)),
    ?assertEqual([], [Message || Message <- py_suite:flush(), element(1, Message) =/= udp]).

%%% Each process has its own

namespace_is_one_process_s_in_one_context(Config) ->
    Ctx = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    ok = py:exec(Ctx, <<"mine = 1">>),
    ?assertEqual({ok, 1}, py:eval(Ctx, <<"mine">>)),
    ?assertMatch({error, {'NameError', _}}, py:eval(Other, <<"mine">>)),
    ?assertMatch({error, {'NameError', _}}, py:eval(<<"mine">>)),
    ?assertMatch({error, {'NameError', _}}, py_suite:fresh(fun() -> py:eval(Ctx, <<"mine">>) end)),
    ok = py_suite:fresh(fun() -> py_context:exec(Ctx, <<"mine = 2">>) end),
    ?assertEqual({ok, 1}, py:eval(Ctx, <<"mine">>)),
    ok = py_context:stop(Other).

every_way_to_call_uses_the_caller_s_namespace(Config) ->
    Ctx = ?config(ctx, Config),
    Define = <<"seen = []\ndef see(x):\n    seen.append(x)\n    return len(seen)">>,
    ok = py:exec(Define),
    ok = py:exec(Ctx, Define),
    ?assertEqual({ok, 1}, py:call('__main__', see, [a])),
    ?assertEqual({ok, 2}, py:await(py:spawn_call('__main__', see, [b]))),
    ok = py:cast('__main__', see, [c]),
    ok = py:cast(default, "__main__", see, [d]),
    ?assertEqual({ok, 5}, py:await(py:spawn_call(default, <<"__main__">>, see, [e]))),
    ?assertEqual({ok, [<<"a">>, <<"b">>, <<"c">>, <<"d">>, <<"e">>]}, py:eval(<<"seen">>)),
    ?assertEqual({ok, 1}, py_context:call(Ctx, '__main__', see, [f])),
    ok = py:cast(Ctx, '__main__', see, [g]),
    ?assertEqual({ok, 3}, py:await(py:spawn_call(Ctx, '__main__', see, [h]))),
    ?assertEqual({ok, [<<"f">>, <<"g">>, <<"h">>]}, py:eval(Ctx, <<"seen">>)).

parallel_uses_the_caller_s_namespace_of_each_context(_Config) ->
    {ok, Contexts} = py:start_contexts(),
    ?assertEqual(2, length(Contexts)),
    [
        ok = py:exec(Context, ["def which():\n    return ", integer_to_list(N)])
     || {N, Context} <- lists:zip([1, 2], Contexts)
    ],
    {ok, Results} = py:parallel([{'__main__', which, []} || _ <- lists:seq(1, 10)]),
    ?assertEqual([{ok, 1}, {ok, 2}], lists:usort(Results)).

%% An object that says when it goes.
tell_when_gone(Config, Tag) ->
    [
        "import weakref, ct_signals\n"
        "class Thing:\n    pass\n"
        "thing = Thing()\n"
        "weakref.finalize(thing, ct_signals.signal, ",
        integer_to_list(py_suite:port(?config(socket, Config))),
        ", '",
        Tag,
        "')\n"
        %% Classes and functions are parts of cycles, and the namespace with them.
        "del Thing"
    ].

processes(Ctx) ->
    {_Mode, _Id, Processes, _Queue} = py_nif:context_info(Ctx),
    Processes.

namespaces(Ctx) ->
    {ok, Count} = py:eval(Ctx, <<"sum(n.startswith('_erlang_process_') for n in __import__('sys').modules)">>),
    Count.

namespace_goes_when_its_process_ends(Config) ->
    Ctx = ?config(ctx, Config),
    Before = {processes(Ctx), namespaces(Ctx)},
    ok = py_suite:fresh(fun() -> py:exec(Ctx, tell_when_gone(Config, "gone")) end),
    _ = py_suite:await_signal(?config(socket, Config), <<"gone">>),
    ?assertEqual(Before, {processes(Ctx), namespaces(Ctx)}).

namespace_stays_for_the_casts_of_a_dead_process(Config) ->
    Ctx = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Test = self(),
    {Pid, _} = Caller = py_suite:spawn_caller(fun() ->
        ok = py:exec(Ctx, tell_in(Config)),
        Test ! {defined, self()},
        receive
            queue -> ok
        end,
        ok = py:cast(Ctx, '__main__', tell, []),
        Test ! {queued, self()},
        receive
            stop -> ok
        end
    end),
    receive
        {defined, Pid} -> ok
    end,
    Gate = py:spawn_call(Ctx, ct_signals, gate, [Port, <<"busy">>]),
    Held = py_suite:await_signal(Socket, <<"busy">>),
    Pid ! queue,
    receive
        {queued, Pid} -> Pid ! stop
    end,
    {result, ok} = py_suite:await_down(Caller, ?DEADLINE),
    ok = py_suite:release(Socket, Held),
    ?assertEqual({ok, <<"busy">>}, py:await(Gate)),
    _ = py_suite:await_signal(Socket, <<"ran">>).

tell_in(Config) ->
    iolist_to_binary([
        "import ct_signals\ndef tell():\n    ct_signals.signal(",
        integer_to_list(py_suite:port(?config(socket, Config))),
        ", 'ran')"
    ]).

%%% Environments

environment_is_new_and_empty(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:exec(Ctx, <<"mine = 1">>),
    {ok, Env} = py_context:create_local_env(Ctx),
    {ok, Second} = py_context:create_local_env(Ctx),
    ?assertNotEqual(Env, Second),
    ?assertMatch({error, {'NameError', _}}, py_context:eval(Ctx, <<"mine">>, #{}, infinity, Env)),
    ok = py_context:exec(Ctx, <<"mine = 2">>, Env),
    ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"mine">>, #{}, infinity, Env)),
    ?assertMatch({error, {'NameError', _}}, py_context:eval(Ctx, <<"mine">>, #{}, infinity, Second)),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"mine">>)).

environment_serves_many_processes_at_once(Config) ->
    Ctx = ?config(ctx, Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, <<"total = 0\ndef add(n):\n    global total\n    total += n\n    return total">>, Env),
    Sums = py_suite:concurrently(20, fun(I) ->
        [
            {ok, _} = py_context:call(Ctx, '__main__', add, [I], #{}, infinity, Env)
         || _ <- lists:seq(1, 10)
        ],
        I * 10
    end),
    ?assertEqual({ok, lists:sum(Sums)}, py_context:eval(Ctx, <<"total">>, #{}, infinity, Env)).

environment_outlives_the_process_that_made_it(Config) ->
    Ctx = ?config(ctx, Config),
    {ok, Env} = py_suite:fresh(fun() ->
        {ok, Made} = py_context:create_local_env(Ctx),
        ok = py_context:exec(Ctx, <<"kept = 1">>, Made),
        {ok, Made}
    end),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"kept">>, #{}, infinity, Env)).

%% The reference goes from the one process that had it to another, and dies with that.
environment_goes_with_the_last_reference(Config) ->
    Ctx = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Holder = py_suite:spawn_caller(fun() ->
        receive
            {env, Env} ->
                receive
                    {use, From} ->
                        From ! {used, py_context:eval(Ctx, <<"thing is not None">>, #{}, infinity, Env)}
                end,
                receive
                    stop -> Env
                end,
                ok
        end
    end),
    {HolderPid, _} = Holder,
    Before = namespaces(Ctx),
    ok = py_suite:fresh(fun() ->
        {ok, Env} = py_context:create_local_env(Ctx),
        ok = py_context:exec(Ctx, tell_when_gone(Config, "dropped"), Env),
        HolderPid ! {env, Env},
        ok
    end),
    HolderPid ! {use, self()},
    receive
        {used, Result} -> ?assertEqual({ok, true}, Result)
    end,
    ?assertEqual(Before + 1, namespaces(Ctx)),
    HolderPid ! stop,
    {result, ok} = py_suite:await_down(Holder, ?DEADLINE),
    _ = py_suite:await_signal(Socket, <<"dropped">>),
    ?assertEqual(Before, namespaces(Ctx)).

%% A request holds the environment that it runs in.
environment_stays_while_a_request_in_it_runs(Config) ->
    Ctx = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Before = namespaces(Ctx),
    Caller = py_suite:spawn_caller(fun() ->
        {ok, Env} = py_context:create_local_env(Ctx),
        Code = <<"__import__('ct_signals').gate(port, 'in')">>,
        {ok, <<"in">>} = py_context:eval(Ctx, Code, #{port => Port}, infinity, Env),
        ok
    end),
    Gate = py_suite:await_signal(Socket, <<"in">>),
    ok = py_suite:release(Socket, Gate),
    {result, ok} = py_suite:await_down(Caller, ?DEADLINE),
    ?assertEqual(ok, py_leaks:eventually(fun() -> namespaces(Ctx) =:= Before end)).

environments_leave_nothing_behind(Config) ->
    Ctx = ?config(ctx, Config),
    Before = {processes(Ctx), namespaces(Ctx)},
    _ = py_suite:concurrently(10, fun(_) ->
        [
            begin
                {ok, Env} = py_context:create_local_env(Ctx),
                ok = py_context:exec(Ctx, <<"x = 1\ndef f():\n    return x">>, Env),
                {ok, 1} = py_context:call(Ctx, '__main__', f, [], #{}, infinity, Env)
            end
         || _ <- lists:seq(1, 20)
        ]
    end),
    ?assertEqual(ok, py_leaks:eventually(fun() -> {processes(Ctx), namespaces(Ctx)} =:= Before end)).

environment_of_another_context_is_stale(Config) ->
    Ctx = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    check_stale(Other, Env),
    check_stale(Other, py:get_local_env(Ctx)),
    ok = py_context:exec(Ctx, <<"pass">>, Env),
    ok = py_context:stop(Other).

environment_of_an_ended_context_is_stale(Config) ->
    Ctx = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    {ok, Env} = py_context:create_local_env(Other),
    Own = py:get_local_env(Other),
    ok = py_context:stop(Other),
    check_stale(Ctx, Env),
    check_stale(Ctx, Own),
    %% Asked for by its own name, it is the context that is gone.
    ?assertMatch({error, {context_died, _}}, py_context:exec(Other, <<"pass">>, Env)),
    ?assertMatch({error, {context_died, _}}, py_context:create_local_env(Other)),
    ?assertMatch({error, {context_died, _}}, py:get_local_env(Other)).

any_other_reference_is_stale(Config) ->
    Ctx = ?config(ctx, Config),
    check_stale(Ctx, make_ref()),
    check_stale(Ctx, py_context:get_nif_ref(Ctx)).

check_stale(Ctx, Env) ->
    Stale = {error, stale_reference},
    ?assertEqual(Stale, py_context:call(Ctx, math, sqrt, [16], #{}, infinity, Env)),
    ?assertEqual(Stale, py_context:eval(Ctx, <<"1">>, #{}, infinity, Env)),
    ?assertEqual(Stale, py_context:exec(Ctx, <<"pass">>, Env)).

own_environment_is_the_namespace_of_the_process(Config) ->
    Ctx = ?config(ctx, Config),
    Env = py:get_local_env(Ctx),
    ok = py:exec(Ctx, <<"mine = 1">>),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"mine">>, #{}, infinity, Env)),
    ok = py_suite:fresh(fun() -> py_context:exec(Ctx, <<"mine += 1">>, Env) end),
    ?assertEqual({ok, 2}, py:eval(Ctx, <<"mine">>)).

own_environment_is_the_same_reference_each_time(Config) ->
    Ctx = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    Env = py:get_local_env(Ctx),
    ?assert(is_reference(Env)),
    ?assertEqual(Env, py:get_local_env(Ctx)),
    ?assertNotEqual(Env, py:get_local_env(Other)),
    ?assertNotEqual(Env, py_suite:fresh(fun() -> py:get_local_env(Ctx) end)),
    ok = py_context:stop(Other),
    ?assertEqual(Env, py:get_local_env(Ctx)).

own_environment_is_stale_once_its_process_has_ended(Config) ->
    Ctx = ?config(ctx, Config),
    Env = py_suite:fresh(fun() ->
        ok = py:exec(Ctx, <<"mine = 1">>),
        py:get_local_env(Ctx)
    end),
    check_stale(Ctx, Env).

death_of_a_caller_leaves_the_environment_to_the_others(Config) ->
    Ctx = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, <<"kept = 1">>, Env),
    {Pid, _} = Caller = py_suite:spawn_caller(fun() ->
        py_context:call(Ctx, ct_signals, spin, [Port, <<"spins">>], #{}, infinity, Env)
    end),
    _ = py_suite:await_signal(Socket, <<"spins">>),
    ok = py_suite:killed(Pid),
    {died, killed} = py_suite:await_down(Caller, ?DEADLINE),
    ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"kept">>, #{}, infinity, Env)).

time_out_leaves_the_environment_usable(Config) ->
    Ctx = ?config(ctx, Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(Ctx, <<"def spin():\n    while True:\n        pass">>, Env),
    ?assertEqual({error, timeout}, py_context:call(Ctx, '__main__', spin, [], #{}, 50, Env)),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"callable(spin)">>, #{}, infinity, Env)).

classes_of_an_environment_can_be_pickled(Config) ->
    Ctx = ?config(ctx, Config),
    {ok, Env} = py_context:create_local_env(Ctx),
    ok = py_context:exec(
        Ctx,
        <<"import pickle\nclass Point:\n    x = 0\npoint = Point()\npoint.x = 3\n"
          "again = pickle.loads(pickle.dumps(point)).x">>,
        Env
    ),
    ?assertEqual({ok, 3}, py_context:eval(Ctx, <<"again">>, #{}, infinity, Env)).

%% Below Python 3.14.1 a context gets the interpreter of one that has ended, whose exit handlers ran.
finalisers_run_in_an_interpreter_that_was_used_before(Config) ->
    [
        begin
            Ctx = py_suite:new_context(Config),
            ok = py_suite:install(Ctx),
            ok = py_suite:fresh(fun() -> py:exec(Ctx, tell_when_gone(Config, "gone" ++ N)) end),
            _ = py_suite:await_signal(?config(socket, Config), list_to_binary("gone" ++ N)),
            ok = py:exec(Ctx, tell_when_gone(Config, "ended" ++ N)),
            ok = py_context:stop(Ctx),
            _ = py_suite:await_signal(?config(socket, Config), list_to_binary("ended" ++ N))
        end
     || N <- ["1", "2", "3"]
    ].
