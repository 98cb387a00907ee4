%% Interpreters that are made ahead.
-module(spares_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(SPARES, 2).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, setting_is_checked].

groups() ->
    [
        {owngil, [], [
            spares_wait_and_are_replaced,
            context_starts_while_no_interpreter_can_be_made,
            context_has_what_any_other_has,
            spares_are_no_contexts,
            context_of_mode_worker_takes_none,
            context_of_another_policy_takes_none,
            spares_have_the_policy_that_is_set,
            policy_with_imports_has_nothing_loaded,
            context_gets_what_it_is_given_at_birth,
            many_contexts_start_at_once,
            context_that_is_killed_as_it_starts_takes_one_at_most,
            application_may_stop_while_they_are_made,
            spares_end_with_the_application,
            memory_is_traced_beside_spares,
            spares_sleep,
            there_are_none_on_request,
            there_is_one_where_interpreters_end
        ]}
    ].

%% In a node of its own: below Python 3.14.1 interpreters cannot be ended, and these cases have many made.
init_per_group(Mode, Config) ->
    case py_suite:init_group(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            {ok, Peer, _Node} = peer:start(#{connection => standard_io, args => ["-pa" | code:get_path()]}),
            Env = #{context_mode => Mode, num_contexts => 1, spare_interpreters => ?SPARES},
            [{peer, Peer}, {env, Env} | lists:keydelete(env, 1, Started)]
    end.

end_per_group(_Mode, Config) ->
    ok = peer:stop(?config(peer, Config)),
    py_suite:end_group(Config).

there(Case, Config) ->
    ?assertEqual(ok, peer:call(?config(peer, Config), ?MODULE, in_node, [Case, Config], 60_000)).

%% Interpreters that were used are taken first, where they cannot be ended.
in_node(Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    Used = [taken(One) || One <- used()],
    ok = all_wait(?SPARES),
    _ = body(Case, [{used, Used} | Config]),
    lists:foreach(fun py_context:stop/1, Used).

used() ->
    {_Threads, Used, _, _} = py_nif:counters(),
    lists:seq(1, Used).

taken(_) ->
    {ok, Context} = py_context:new(#{mode => owngil}),
    Context.

all_wait(Number) ->
    case py_leaks:eventually(fun() -> py_nif:spares() =:= {Number, Number} end) of
        ok -> ok;
        Error -> ct:fail({Error, py_nif:spares(), py_leaks:spares()})
    end.

%% The number of an interpreter is that of its place in the order in which they were made.
interpreter(Context) ->
    {ok, Number} = py_context:get_interp_id(Context),
    Number.

interpreters_end() ->
    {ok, Version} = py_suite:version(),
    Version >= [3, 14, 1].

%% A context without C modules that wait in a spare would have to load them.
is_of_a_spare(Context) ->
    {ok, Loaded} = py:eval(Context, <<"'_json' in __import__('sys').modules">>),
    Loaded.

%% ------------------------------------------------------------------------------------------------

spares_wait_and_are_replaced(Config) -> there(spares_wait_and_are_replaced, Config).
context_starts_while_no_interpreter_can_be_made(Config) -> there(context_starts_while_no_interpreter_can_be_made, Config).
context_has_what_any_other_has(Config) -> there(context_has_what_any_other_has, Config).
spares_are_no_contexts(Config) -> there(spares_are_no_contexts, Config).
context_of_mode_worker_takes_none(Config) -> there(context_of_mode_worker_takes_none, Config).
context_of_another_policy_takes_none(Config) -> there(context_of_another_policy_takes_none, Config).
spares_have_the_policy_that_is_set(Config) -> there(spares_have_the_policy_that_is_set, Config).
policy_with_imports_has_nothing_loaded(Config) -> there(policy_with_imports_has_nothing_loaded, Config).
context_gets_what_it_is_given_at_birth(Config) -> there(context_gets_what_it_is_given_at_birth, Config).
many_contexts_start_at_once(Config) -> there(many_contexts_start_at_once, Config).
context_that_is_killed_as_it_starts_takes_one_at_most(Config) -> there(context_that_is_killed_as_it_starts_takes_one_at_most, Config).
application_may_stop_while_they_are_made(Config) -> there(application_may_stop_while_they_are_made, Config).
spares_end_with_the_application(Config) -> there(spares_end_with_the_application, Config).
memory_is_traced_beside_spares(Config) -> there(memory_is_traced_beside_spares, Config).
spares_sleep(Config) -> there(spares_sleep, Config).
there_are_none_on_request(Config) -> there(there_are_none_on_request, Config).
there_is_one_where_interpreters_end(Config) -> there(there_is_one_where_interpreters_end, Config).

body(spares_wait_and_are_replaced, _Config) ->
    Contexts = [
        begin
            {ok, Context} = py_context:new(#{mode => owngil}),
            ?assert(is_of_a_spare(Context)),
            ok = all_wait(?SPARES),
            Context
        end
     || _ <- lists:seq(1, 5)
    ],
    ?assertEqual(5, length(lists:usort([interpreter(Context) || Context <- Contexts]))),
    [ok = py_context:stop(Context) || Context <- Contexts];
%% The main GIL is needed for making one, and C code has it.
body(context_starts_while_no_interpreter_can_be_made, _Config) ->
    {ok, Worker} = py_context:new(#{mode => worker, sandbox => #{ctypes => true}}),
    Socket = py_suite:open(),
    ok = py:exec(Worker, <<
        "import ctypes, socket\n"
        "def hold(port):\n"
        "    read = ctypes.PyDLL(None).recv\n"
        "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        "        s.bind(('127.0.0.1', 0))\n"
        "        s.sendto(b'held', ('127.0.0.1', port))\n"
        "        return read(s.fileno(), bytearray(8) and ctypes.create_string_buffer(8), 8, 0)\n"
    >>),
    Environment = py:get_local_env(Worker),
    Port = py_suite:port(Socket),
    Holder = py_suite:spawn_caller(fun() ->
        py_context:call(Worker, '__main__', hold, [Port], #{}, infinity, Environment)
    end),
    Gate = py_suite:await_signal(Socket, <<"held">>),
    Contexts = [
        begin
            {ok, Context} = py_context:new(#{mode => owngil}),
            ?assertEqual({ok, [1, 2]}, py:call(Context, json, loads, [<<"[1, 2]">>])),
            Context
        end
     || _ <- lists:seq(1, ?SPARES)
    ],
    ?assertEqual({?SPARES, 0}, py_nif:spares()),
    ok = py_suite:release(Socket, Gate),
    {result, {ok, 2}} = py_suite:await_down(Holder, 30_000),
    ok = all_wait(?SPARES),
    [ok = py_context:stop(Context) || Context <- [Worker | Contexts]],
    py_suite:close(Socket);
body(context_has_what_any_other_has, _Config) ->
    {ok, Context} = py_context:new(#{
        mode => owngil, memory_limit => 64_000_000, max_result_size => 1000, max_queue => 7, conversion => #{atoms => atom}
    }),
    ?assert(is_of_a_spare(Context)),
    ?assertMatch({ok, #{limit := 64_000_000}}, py_context:memory_usage(Context)),
    ?assertMatch({error, {'MemoryError', _}}, py:eval(Context, <<"len(bytearray(100_000_000))">>)),
    ?assertMatch({error, {result_too_large, _, 1000}}, py:eval(Context, <<"bytes(2000)">>)),
    ?assertEqual({ok, a}, py:call(Context, copy, copy, [a])),
    ok = py:exec(Context, <<
        "import os, sys, threading\n"
        "assert threading.current_thread() is threading.main_thread()\n"
        "assert not threading.Thread().daemon\n"
        "assert 'asyncio' not in sys.modules and 'typing' not in sys.modules and 'logging' not in sys.modules\n"
    >>),
    %% Its thread has the name of one.
    ?assert(lists:any(fun("py-ctx-" ++ _) -> true; (_) -> false end, py_leaks:threads())),
    ?assertMatch({error, {'RuntimeError', _}}, py:eval(Context, <<"os.fork()">>)),
    ?assertEqual({ok, [1]}, py_context:submit_await(Context, builtins, sorted, [[1]])),
    ok = py_context:stop(Context);
body(spares_are_no_contexts, Config) ->
    Used = ?config(used, Config),
    ?assertEqual(length(Used), length(py_nif:contexts())),
    ?assertEqual({length(Used), 0}, begin {Threads, Idle, _, _} = py_nif:counters(), {Threads, Idle} end),
    ?assertEqual([], py_context_router:contexts()),
    {ok, #{contexts := Contexts}} = py:memory_stats(),
    ?assertEqual(length(Used) + 1, map_size(Contexts));
body(context_of_mode_worker_takes_none, _Config) ->
    {ok, Context} = py_context:new(#{mode => worker}),
    ?assertEqual({?SPARES, ?SPARES}, py_nif:spares()),
    ok = py_context:stop(Context);
body(context_of_another_policy_takes_none, _Config) ->
    {ok, Context} = py_context:new(#{mode => owngil, sandbox => #{network => none}}),
    ?assertEqual({?SPARES, ?SPARES}, py_nif:spares()),
    ?assertMatch({error, {_, _}}, py:exec(Context, <<"import socket\nsocket.create_connection(('127.0.0.1', 1))">>)),
    ?assertNot(is_of_a_spare(Context)),
    ok = py_context:stop(Context);
body(spares_have_the_policy_that_is_set, Config) ->
    ok = py_suite:restart(Config, #{sandbox => #{network => none, environment => [<<"PATH">>]}}),
    ok = all_wait(?SPARES),
    {ok, Context} = py_context:new(#{mode => owngil}),
    ?assert(is_of_a_spare(Context)),
    {error, {Class, Text}} = py:exec(Context, <<"import socket\nsocket.create_connection(('127.0.0.1', 1))">>),
    ?assertNotEqual('ConnectionRefusedError', Class),
    ok = py_suite:contains(Text, "blocked"),
    ?assertMatch({ok, #{<<"socket.connect">> := 1}}, py_sandbox:refusals(Context)),
    ok = py_context:stop(Context);
body(policy_with_imports_has_nothing_loaded, Config) ->
    ok = py_suite:restart(Config, #{sandbox => #{imports => {deny, [<<"json">>]}}}),
    ok = all_wait(?SPARES),
    {ok, Context} = py_context:new(#{mode => owngil}),
    ?assertNot(is_of_a_spare(Context)),
    ?assertMatch({error, {_, _}}, py:exec(Context, <<"import json">>)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ok = py_context:stop(Context);
body(context_gets_what_it_is_given_at_birth, Config) ->
    ok = py_suite:restart(Config, #{preload => <<"given = 7">>, imports => [colorsys]}),
    ok = all_wait(?SPARES),
    {ok, Context} = py_context:new(#{mode => owngil}),
    ?assert(is_of_a_spare(Context)),
    ?assertEqual({ok, 7}, py:eval(Context, <<"given">>)),
    ?assertEqual({ok, true}, py:eval(Context, <<"'colorsys' in __import__('sys').modules">>)),
    ok = py_context:stop(Context),
    %% One with something else does not get what was given there.
    {ok, Other} = py_context:new(#{mode => owngil, preload => <<"other = 8">>}),
    ?assertEqual({ok, 8}, py:eval(Other, <<"other">>)),
    ok = py_context:stop(Other);
body(many_contexts_start_at_once, _Config) ->
    Contexts = py_suite:concurrently(8, fun(_) ->
        {ok, Context} = py_context:new(#{mode => owngil}),
        {ok, 4.0} = py:call(Context, math, sqrt, [16]),
        Context
    end),
    ?assertEqual(8, length(lists:usort([interpreter(Context) || Context <- Contexts]))),
    ok = all_wait(?SPARES),
    _ = py_suite:concurrently(8, fun(I) -> ok = py_context:stop(lists:nth(I, Contexts)) end),
    ok = all_wait(?SPARES);
%% The first two find the spares, others one that is being made.
body(context_that_is_killed_as_it_starts_takes_one_at_most, _Config) ->
    py_suite:silently(fun() ->
        Callers = [spawn_monitor(fun() -> {ok, _} = py_context:start_link(I, owngil), exit(done) end) || I <- lists:seq(1, 6)],
        [exit(Pid, kill) || {Pid, _} <- Callers],
        [receive {'DOWN', Monitor, process, Pid, _} -> ok end || {Pid, Monitor} <- Callers]
    end),
    ok = all_wait(?SPARES),
    {ok, Context} = py_context:new(#{mode => owngil}),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ok = py_context:stop(Context);
body(application_may_stop_while_they_are_made, Config) ->
    [
        begin
            ok = py_suite:restart(Config, #{spare_interpreters => N}),
            {ok, Context} = py_context:new(#{mode => owngil}),
            {ok, 4.0} = py:call(Context, math, sqrt, [16])
        end
     || N <- [1, 2, 1, 2, 2]
    ],
    ok = all_wait(?SPARES);
%% Where interpreters cannot be ended they wait for the next start.
body(spares_end_with_the_application, Config) ->
    Ends = interpreters_end(),
    ok = py_suite:stop(),
    Left =
        case Ends of
            true -> 0;
            false -> py_leaks:spares()
        end,
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_leaks:spares() =:= Left end)),
    ?assertMatch({0, _}, py_nif:spares()),
    [ok = py_suite:restart(Config, #{}) || _ <- lists:seq(1, 5)],
    ok = all_wait(?SPARES),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_leaks:spares() =:= max(Left, ?SPARES) end)),
    ok = py_suite:stop(),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_leaks:spares() =:= Left end)),
    ok = py_suite:start(?config(env, Config)),
    ok = all_wait(?SPARES);
%% As they lie idle. None is made meanwhile, and no context starts.
body(memory_is_traced_beside_spares, Config) ->
    [ok = py_context:stop(Context) || Context <- ?config(used, Config)],
    {_, _, _, SetAside} = py_nif:counters(),
    {ok, Worker} = py_context:new(#{mode => worker}),
    case py:call(Worker, tracemalloc, start, []) of
        {ok, none} ->
            ?assertEqual({error, memory_traced}, py_context:new(#{mode => owngil})),
            ?assertEqual({?SPARES, ?SPARES}, py_nif:spares()),
            {ok, none} = py:call(Worker, tracemalloc, stop, []),
            {ok, Context} = py_context:new(#{mode => owngil}),
            ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
            ok = py_context:stop(Context);
        %% An interpreter with threads of its own was set aside by an earlier suite.
        {error, {'RuntimeError', _}} when SetAside > 0 ->
            ok
    end,
    ok = py_context:stop(Worker);
%% Nothing wakes them but a context that starts.
body(spares_sleep, _Config) ->
    {ok, Context} = py_context:new(#{mode => worker}),
    Before = switches(),
    ?assert(length(Before) >= ?SPARES),
    [{ok, 4.0} = py:call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 1000)],
    ?assertEqual(Before, switches()),
    ok = py_context:stop(Context);
body(there_are_none_on_request, Config) ->
    ok = py_suite:restart(Config, #{spare_interpreters => 0}),
    {ok, Context} = py_context:new(#{mode => owngil}),
    ?assertMatch({0, _}, py_nif:spares()),
    ok = py_context:stop(Context);
body(there_is_one_where_interpreters_end, Config) ->
    Default = maps:remove(spare_interpreters, ?config(env, Config)),
    Expected =
        case interpreters_end() of
            true -> 1;
            false -> 0
        end,
    ok = py_suite:stop(),
    ok = py_suite:start(Default#{context_mode => owngil}),
    ?assertMatch({Expected, _}, py_nif:spares()),
    ok = py_suite:stop(),
    ok = py_suite:start(Default#{context_mode => worker}),
    ?assertMatch({0, _}, py_nif:spares()),
    ok = py_suite:stop(),
    ok = py_suite:start(Default#{context_mode => worker, spare_interpreters => 1}),
    ?assertMatch({1, _}, py_nif:spares()).

%% How often the threads of spares have gone to sleep.
switches() ->
    {ok, Tasks} = file:list_dir("/proc/self/task"),
    lists:sort([
        {Task, Count}
     || Task <- Tasks,
        {ok, <<"py-spare\n">>} <- [file:read_file("/proc/self/task/" ++ Task ++ "/comm")],
        {ok, Status} <- [file:read_file("/proc/self/task/" ++ Task ++ "/status")],
        {match, [Count]} <- [re:run(Status, "^voluntary_ctxt_switches:\\s+(\\d+)", [multiline, {capture, [1], list}])]
    ]).

%% ------------------------------------------------------------------------------------------------

setting_is_checked(_Config) ->
    [
        begin
            ok = py_suite:stop(),
            ?assertMatch(
                {error, {erlang_python, {{bad_option, spare_interpreters, Wrong, _}, _}}},
                py_suite:silently(fun() -> py_suite:start(#{spare_interpreters => Wrong}) end)
            )
        end
     || Wrong <- [-1, 65, 1.0, infinity, default]
    ],
    ok = py_suite:stop().
