%% Code of the application is loaded anew, deleted and purged while contexts live and work: the node goes on.
%% Each case has a node of its own, since what it does to the code cannot be undone.
-module(upgrade_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        new_versions_load_beside_live_contexts,
        calls_in_flight_survive_a_new_version,
        reloading_py_nif_leaves_the_old_one_working_and_says_why,
        purging_py_nif_ends_its_contexts_and_nothing_else,
        values_of_purged_contexts_can_still_be_dropped,
        rounds_of_purging_lose_no_thread,
        application_restarts_after_purging_py_nif,
        deleted_py_nif_comes_back_when_it_is_purged
    ]).

init_per_group(Mode, Config) ->
    case py_suite:init_group(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            %% Only whether the mode is supported was to be known.
            ok = py_suite:stop(),
            Started
    end.

end_per_group(_Mode, _Config) ->
    py_suite:stop().

%%% Versions of the modules above the native one

new_versions_load_beside_live_contexts(Config) ->
    py_suite:in_peer(?MODULE, new_versions, Config).

new_versions(Mode) ->
    {Context, Socket} = started(Mode),
    ok = py:exec(Context, <<"x = 41\nimport asyncio\nasync def later(v):\n    await asyncio.sleep(0)\n    return v">>),
    Pool = py:context(),
    _ = py_callback:register(upgrade_adder, fun([A, B]) -> A + B end),
    Each = fun() ->
        ?assertEqual({ok, 42}, py:eval(Context, <<"x + 1">>)),
        ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
        ?assertEqual({ok, 5}, py:eval(Context, <<"__import__('erlang').call('upgrade_adder', 2, 3)">>)),
        {ok, Task} = py_context:submit(Context, '__main__', later, [7]),
        ?assertEqual({ok, 7}, py_event_loop:await(Task)),
        ?assertEqual(Pool, py:context()),
        ?assert(is_process_alive(Context))
    end,
    Each(),
    {ok, Modules} = application:get_key(erlang_python, modules),
    %% Twice: the second time the old version, in which a process might linger, has to go.
    _ = [
        begin
            ?assert(py_leaks:eventually(fun() -> code:soft_purge(Module) end) =:= ok, Module),
            {module, Module} = code:load_binary(Module, "changed", changed(Module)),
            Each()
        end
     || Round <- [1, 2], Module <- Modules, Module =/= py_nif, is_integer(Round)
    ],
    _ = [?assertEqual(ok, py_leaks:eventually(fun() -> code:soft_purge(Module) end)) || Module <- Modules, Module =/= py_nif],
    Each(),
    py_suite:close(Socket).

calls_in_flight_survive_a_new_version(Config) ->
    py_suite:in_peer(?MODULE, in_flight, Config).

in_flight(Mode) ->
    {Context, Socket} = started(Mode),
    Caller = py_suite:spawn_caller(fun() -> py:call(Context, ct_signals, gate, [py_suite:port(Socket), <<"gate">>]) end),
    Gate = py_suite:await_signal(Socket, <<"gate">>),
    {ok, Modules} = application:get_key(erlang_python, modules),
    _ = [{module, Module} = code:load_binary(Module, "changed", changed(Module)) || Module <- Modules, Module =/= py_nif],
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    ok = py_suite:release(Socket, Gate),
    ?assertEqual({result, {ok, <<"gate">>}}, py_suite:await_down(Caller, 30_000)),
    ?assertEqual({ok, 4.0}, py:await(Queued)),
    py_suite:close(Socket).

%%% The module with the native functions

reloading_py_nif_leaves_the_old_one_working_and_says_why(Config) ->
    py_suite:in_peer(?MODULE, reloading, Config).

reloading(Mode) ->
    {Context, Socket} = started(Mode),
    ok = py:exec(Context, <<"x = 41">>),
    Ref = py:spawn_call(Context, ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
    Gate = py_suite:await_signal(Socket, <<"gate">>),
    ?assertEqual(refused, refused(fun() -> code:load_file(py_nif) end)),
    ?assertEqual(refused, refused(fun() -> code:load_binary(py_nif, "changed", changed(py_nif)) end)),
    ok = py_suite:release(Socket, Gate),
    ?assertEqual({ok, <<"gate">>}, py:await(Ref)),
    ?assertEqual({ok, 42}, py:eval(Context, <<"x + 1">>)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual(none, py_nif:load_error()),
    {ok, Another} = py_context:new(#{mode => Mode}),
    ?assertEqual({ok, 4.0}, py:call(Another, math, sqrt, [16])),
    py_suite:close(Socket).

%% Whether a load is refused, and the log says why.
refused(Load) ->
    Log = py_suite:capture_log(),
    Result = Load(),
    Texts = lists:append([logged(Event) || {log, Event} <- py_suite:flush()]),
    ok = py_suite:release_log(Log),
    Why = string:find(Texts, "py_nif cannot be upgraded in a running node") =/= nomatch,
    case {Result, Why} of
        {{error, on_load_failure}, true} -> refused;
        _ -> {Result, Texts}
    end.

logged(#{msg := {string, Text}}) -> unicode:characters_to_list(Text);
logged(#{msg := {report, Report}}) -> lists:flatten(io_lib:format("~p", [Report]));
logged(#{msg := {Format, Args}}) -> lists:flatten(io_lib:format(Format, Args)).

purging_py_nif_ends_its_contexts_and_nothing_else(Config) ->
    py_suite:in_peer(?MODULE, purging, Config).

purging(Mode) ->
    {Context, Socket} = started(Mode),
    Port = py_suite:port(Socket),
    Mine = py:context(),
    Running = py:spawn_call(Context, ct_signals, spin, [Port, <<"spin">>]),
    _ = py_suite:await_signal(Socket, <<"spin">>),
    Queued = [py:spawn_call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 20)],
    Waiting = py_suite:spawn_caller(fun() -> py:call(Context, math, sqrt, [16]) end),
    Monitors = [erlang:monitor(process, Pid) || Pid <- [Context, Mine]],
    ok = py_suite:silently(fun() ->
        ok = purged(),
        [
            receive
                {'DOWN', Monitor, process, _, _} -> ok
            end
         || Monitor <- Monitors, py_nif:load_error() =:= none
        ],
        ok
    end),
    Died = {error, {context_died, unloaded}},
    [?assertEqual(Died, py:await(Ref)) || Ref <- [Running | Queued]],
    %% It may have asked after the context had gone.
    {result, Answer} = py_suite:await_down(Waiting, 30_000),
    ?assert(lists:member(Answer, [Died, {error, {context_died, noproc}}])),
    ?assertMatch({error, {context_died, _}}, py:call(Context, math, sqrt, [16])),
    ?assertMatch({error, {context_died, _}}, py:call(Mine, math, sqrt, [16])),
    %% The pool has others, and whoever asks has one.
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertNot(lists:member(py:context(), [Context, Mine])),
    {ok, Another} = py_context:new(#{mode => Mode}),
    ?assertEqual({ok, 4.0}, py:call(Another, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()),
    py_suite:close(Socket).

values_of_purged_contexts_can_still_be_dropped(Config) ->
    py_suite:in_peer(?MODULE, values, Config).

values(Mode) ->
    {Context, Socket} = started(Mode),
    {ok, Object} = py:eval(Context, <<"object()">>),
    {ok, Lent} = py:eval(Context, <<"bytes(100_000)">>),
    {ok, Environment} = py_context:create_local_env(Context),
    Request = py:spawn_call(Context, math, sqrt, [16]),
    ?assert(is_reference(Object)),
    ok = py_suite:silently(fun purged/0),
    Collected = py_suite:fresh(fun() ->
        ?assertEqual({error, stale_reference}, py:getattr(Object, '__class__')),
        ?assertMatch({error, _}, py_context:eval(Context, <<"1">>, #{}, 1000, Environment)),
        ?assertEqual(100_000, byte_size(Lent)),
        ?assertEqual(0, binary:last(Lent)),
        true
    end),
    ?assert(Collected),
    _ = py:await(Request),
    %% They go with this process; then everything still works.
    {_, Monitor} = spawn_monitor(fun() -> exit({Object, Lent, Environment}) end),
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end,
    true = erlang:garbage_collect(),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    py_suite:close(Socket).

rounds_of_purging_lose_no_thread(Config) ->
    py_suite:in_peer(?MODULE, rounds, Config).

rounds(Mode) ->
    {Context, Socket} = started(Mode),
    ok = py_context:stop(Context),
    Round = fun() ->
        {ok, Busy} = py_context:new(#{mode => Mode}),
        ok = py_suite:install(Busy),
        ok = py:cast(Busy, ct_signals, spin, [py_suite:port(Socket), <<"spin">>]),
        _ = py_suite:await_signal(Socket, <<"spin">>),
        {ok, 4.0} = py:call(math, sqrt, [16]),
        ok = purged(),
        {ok, 4.0} = py:call(math, sqrt, [16])
    end,
    py_suite:silently(fun() ->
        Round(),
        ok = py_suite:stop(),
        Before = py_leaks:snapshot(),
        ok = py_suite:start(#{num_contexts => 2, context_mode => Mode}),
        _ = [Round() || _ <- lists:seq(1, 10)],
        ok = py_suite:stop(),
        %% What waits to be used again may be more by the contexts of a round.
        py_leaks:check(Before, #{spares => 4})
    end),
    py_suite:close(Socket).

application_restarts_after_purging_py_nif(Config) ->
    py_suite:in_peer(?MODULE, restarting, Config).

restarting(Mode) ->
    {_Context, Socket} = started(Mode),
    py_suite:silently(fun() ->
        ok = purged(),
        ok = py_suite:stop(),
        ok = purged(),
        ok = py_suite:start(#{num_contexts => 2, context_mode => Mode})
    end),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    py_suite:close(Socket).

deleted_py_nif_comes_back_when_it_is_purged(Config) ->
    py_suite:in_peer(?MODULE, deleted, Config).

deleted(Mode) ->
    {Context, Socket} = started(Mode),
    py_suite:silently(fun() ->
        true = code:delete(py_nif),
        ?assertError(undef, py:call(Context, math, sqrt, [16])),
        _ = code:purge(py_nif),
        ?assertMatch({error, {context_died, _}}, py:call(Context, math, sqrt, [16])),
        {ok, Another} = py_context:new(#{mode => Mode}),
        ?assertEqual({ok, 4.0}, py:call(Another, math, sqrt, [16])),
        ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16]))
    end),
    py_suite:close(Socket).

%%% Helpers, in the node of a case

started(Mode) ->
    ok = py_suite:start(#{num_contexts => 2, context_mode => Mode}),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    {ok, Context} = py_context:new(#{mode => Mode}),
    ok = py_suite:install(Context),
    {Context, py_suite:open()}.

%% Whoever runs code of the module meanwhile is not waited for.
purged() ->
    true = code:delete(py_nif),
    _ = code:purge(py_nif),
    ok.

%% Another version of a module.
changed(Module) ->
    File = code:lib_dir(erlang_python) ++ "/ebin/" ++ atom_to_list(Module) ++ ".beam",
    {ok, {Module, [{abstract_code, {raw_abstract_v1, Forms}}]}} = beam_lib:chunks(File, [abstract_code]),
    {File1, [ModuleForm | Rest]} = lists:splitwith(fun(Form) -> element(3, Form) =/= module end, Forms),
    Mark = {attribute, erl_anno:new(1), upgraded, erlang:unique_integer([positive])},
    {ok, Module, Binary} = compile:forms(File1 ++ [ModuleForm, Mark | Rest], [debug_info]),
    Binary.
