%% What a context is given before anything of a user's runs in it: when that fails, when it takes long, when somebody dies.
-module(birth_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            options_that_are_none_are_refused,
            settings_that_are_none_keep_the_application_from_starting,
            start_tells_what_failed,
            pool_tells_what_failed,
            linked_start_that_fails_harms_nobody,
            start_that_takes_too_long_is_interrupted,
            context_that_is_killed_while_it_is_born_is_gone,
            birth_can_be_interrupted,
            what_is_asked_meanwhile_comes_after,
            bounds_are_not_for_births,
            birth_does_not_depend_on_conversions,
            birth_may_call_erlang,
            birth_is_under_the_policy,
            contexts_that_start_amid_changes_have_them_all,
            changes_while_the_application_stops_are_answered,
            server_that_dies_loses_nothing,
            reactor_context_is_born_like_any_other
        ],
        [
            interpreters_go_to_contexts_with_the_same_birth,
            main_interpreter_that_is_busy_refuses_changes
        ]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 64}).

%% Every case has the application to itself.
init_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

mode(Config) ->
    py_suite:mode(Config).

new(Config, Options) ->
    py_context:new(Options#{mode => mode(Config)}).

threads() ->
    element(1, py_nif:counters()).

%% Code that says so at a gate, and waits there for as long as nobody interrupts it.
waits(Config) ->
    Port = integer_to_list(py_suite:port(?config(socket, Config))),
    "import socket, time\n"
    "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
    "    s.sendto(b'waits', ('127.0.0.1', " ++ Port ++ "))\n"
    "    time.sleep(3600)\n".

%% ------------------------------------------------------------------------------------------------

options_that_are_none_are_refused(Config) ->
    Wrong = [
        {venv, 1}, {venv, ""}, {venv, <<>>}, {venv, <<"a", 0>>}, {venv, <<255>>}, {venv, yes}, {venv, [a]},
        {preload, 1}, {preload, <<255>>}, {preload, yes}, {preload, [a]}, {preload, #{}}
    ],
    [
        begin
            ?assertEqual({error, {bad_option, Key, Value}}, new(Config, #{Key => Value})),
            ?assertEqual(
                {error, {bad_option, Key, Value}},
                py_context_router:start_pool(births, 1, #{mode => mode(Config), Key => Value})
            ),
            ?assertMatch(
                {error, {bad_option, Key, Value, [_ | _]}},
                py_reactor_context:start_link(births, mode(Config), #{Key => Value})
            )
        end
     || {Key, Value} <- Wrong
    ].

settings_that_are_none_keep_the_application_from_starting(Config) ->
    Nowhere = py_venvs:folder(Config, "no_venv", []),
    ok = py_suite:stop(),
    Wrong = [
        {venv, 1}, {preload, 1}, {imports, json}, {imports, [1]}, {imports, [{json, 1}]}, {imports, ['__main__']},
        {imports, [json | dumps]}, {paths, "/tmp"}, {paths, [1]}, {paths, [""]}, {paths, ["/tmp" | "/var"]}
    ],
    [
        ?assertMatch(
            {error, {erlang_python, {{bad_option, Key, Value, [_ | _]}, _}}},
            py_suite:silently(fun() -> py_suite:start(#{Key => Value}) end)
        )
     || {Key, Value} <- Wrong
    ],
    ?assertMatch(
        {error, {erlang_python, {{venv, {invalid_venv, Nowhere, no_config}}, _}}},
        py_suite:silently(fun() -> py_suite:start(#{venv => Nowhere}) end)
    ),
    ok = py_suite:restart(Config, #{}),
    {ok, 2} = py:eval("1 + 1").

start_tells_what_failed(Config) ->
    Before = threads(),
    {error, {context_start, {preload, {'ZeroDivisionError', "division by zero"}}}} = new(Config, #{preload => "1 / 0"}),
    {error, {context_start, {preload, {'SyntaxError', _}}}} = new(Config, #{preload => <<"(">>}),
    {error, {context_start, {preload, {'SystemExit', _}}}} = new(Config, #{preload => "import sys; sys.exit(1)"}),
    ok = py_leaks:eventually(fun() -> threads() =< Before + py_spares() end),
    ok = py_suite:restart(Config, #{imports => [{json, dumps}, ct_nowhere]}),
    {error, {context_start, {imports, {'ModuleNotFoundError', _}}}} = new(Config, #{}),
    {error, {context_start, {imports, {'ModuleNotFoundError', _}}}} = py:eval("1"),
    ok = py_suite:restart(Config, #{imports => [{json, ct_nothing}]}),
    {error, {context_start, {imports, {'AttributeError', _}}}} = new(Config, #{}).

%% Below Python 3.14.1 they wait with their threads.
py_spares() ->
    element(2, py_nif:counters()).

pool_tells_what_failed(Config) ->
    ok = py_context_router:start_pool(births, 2, #{mode => mode(Config), preload => "1 / 0"}),
    {error, {context_start, {preload, {'ZeroDivisionError', _}}}} = py:call(births, math, sqrt, [16]),
    ok = py_context_router:stop_pool(births),
    ok = py_context_router:start_pool(births, 2, #{mode => mode(Config), preload => "x = 1"}),
    [{ok, 1}, {ok, 1}] = py_suite:concurrently(2, fun(_) -> pool_eval() end).

pool_eval() ->
    py:eval(py_context_router:get_context(births), "x").

linked_start_that_fails_harms_nobody(Config) ->
    Failed = {error, {context_start, {preload, {'NameError', "name 'x' is not defined"}}}},
    Failed = py_suite:fresh(fun() -> linked(Config, #{preload => "x"}) end),
    case mode(Config) of
        owngil ->
            {error, {context_start, {venv, {invalid_venv, <<"/nowhere">>, no_config}}}} =
                py_suite:fresh(fun() -> py_context:start_link(a, owngil, #{venv => "/nowhere"}) end);
        worker ->
            {error, {bad_option, venv, "nowhere"}} = new(Config, #{venv => "nowhere"}),
            {error, {bad_option, venv, none}} = new(Config, #{venv => none})
    end.

%% As with any process that does not start, a caller that traps exits is told twice.
linked(Config, Options) ->
    process_flag(trap_exit, true),
    Result = py_context:start_link(a, mode(Config), Options),
    receive
        {'EXIT', _, {shutdown, Reason}} -> {error, Reason} = Result
    end.

start_that_takes_too_long_is_interrupted(Config) ->
    ok = py_suite:restart(Config, #{context_start_timeout => 500}),
    Before = threads(),
    {error, {context_start, timeout}} = new(Config, #{preload => "import time\ntime.sleep(3600)"}),
    ok = py_leaks:eventually(fun() -> threads() =< Before + py_spares() end),
    {_, _, 0, _} = py_nif:counters().

context_that_is_killed_while_it_is_born_is_gone(Config) ->
    Before = threads(),
    {_, Monitor} = Starter = py_suite:spawn_caller(fun() -> new(Config, #{preload => waits(Config)}) end),
    _ = py_suite:await_signal(?config(socket, Config), <<"waits">>),
    [Context] = [Pid || {Pid, Key} <- py_nif:contexts(), Key =/= <<>>],
    ok = py_suite:killed(Context),
    {result, {error, {context_died, killed}}} = py_suite:await_down(Starter, 30_000),
    true = is_reference(Monitor),
    ok = py_leaks:eventually(fun() -> threads() =< Before + py_spares() end),
    [] = [Pid || {Pid, _} <- py_nif:contexts(), Pid =:= Context].

birth_can_be_interrupted(Config) ->
    Starter = py_suite:spawn_caller(fun() -> new(Config, #{preload => waits(Config)}) end),
    _ = py_suite:await_signal(?config(socket, Config), <<"waits">>),
    [Context] = [Pid || {Pid, Key} <- py_nif:contexts(), Key =/= <<>>],
    ok = py_context:interrupt(Context),
    {result, {error, {context_start, {preload, interrupted}}}} = py_suite:await_down(Starter, 30_000).

what_is_asked_meanwhile_comes_after(Config) ->
    Code =
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'born', ('127.0.0.1', " ++ integer_to_list(py_suite:port(?config(socket, Config))) ++ "))\n"
        "s.recv(10)\n"
        "s.close()\n"
        "x = 1\n",
    Starter = py_suite:spawn_caller(fun() -> new(Config, #{preload => Code}) end),
    Port = py_suite:await_signal(?config(socket, Config), <<"born">>),
    [Context] = [Pid || {Pid, Key} <- py_nif:contexts(), Key =/= <<>>],
    Ref = py:spawn_call(Context, builtins, eval, [<<"x + 1">>, #{x => 1}]),
    ok = py_suite:release(?config(socket, Config), Port),
    {result, {ok, Context}} = py_suite:await_down(Starter, 30_000),
    {ok, 2} = py:await(Ref),
    {ok, 1} = py:eval(Context, "x").

bounds_are_not_for_births(Config) ->
    ok = py_suite:restart(Config, #{max_concurrent => 1, max_queue => 1, paths => ["/nowhere"], preload => "x = 1"}),
    ok = py_semaphore:acquire(0),
    {ok, Context} = new(Config, #{max_result_size => 1}),
    {error, {overloaded, 1, 1}} = py:eval(Context, "x"),
    ok = py_import:add_path("/elsewhere"),
    ok = py_semaphore:release(),
    {ok, true} = py:eval(Context, "'/elsewhere' in __import__('sys').path").

birth_does_not_depend_on_conversions(Config) ->
    Folder = py_venvs:folder(Config, "déjà", [{"ct_vu.py", "x = 1"}]),
    ok = py_import:add_path(Folder),
    Conversion = #{binaries => bytes, atoms => atom, map_keys => text},
    {ok, Context} = new(Config, #{conversion => Conversion, preload => <<"import ct_vu">>}),
    {ok, 1} = py:eval(Context, "ct_vu.x"),
    ok = py_import:add_path("/elsewhere"),
    {ok, true} = py:eval(Context, "'/elsewhere' in __import__('sys').path").

birth_may_call_erlang(Config) ->
    ok = py:register_function(ct_answer, fun([]) -> 42 end),
    {ok, Context} = new(Config, #{preload => "import erlang\nanswer = erlang.call('ct_answer')"}),
    {ok, 42} = py:eval(Context, "answer"),
    {error, {context_start, {preload, {error, oops}}}} =
        begin
            ok = py:register_function(ct_answer, fun([]) -> error(oops) end),
            new(Config, #{preload => "import erlang\nanswer = erlang.call('ct_answer')"})
        end.

birth_is_under_the_policy(Config) ->
    Strict = #{imports => {deny, [csv]}},
    {error, {context_start, {preload, {'ImportError', _}}}} = new(Config, #{sandbox => Strict, preload => "import csv"}),
    ok = py_import:ensure_imported(json),
    {ok, _} = new(Config, #{sandbox => Strict, preload => "import json"}),
    ok = py_import:ensure_imported(csv),
    case {mode(Config), new(Config, #{sandbox => Strict})} of
        {owngil, {error, {context_start, {imports, {'ImportError', _}}}}} -> ok;
        %% What others have loaded there is loaded.
        {worker, {ok, _}} -> ok
    end,
    ok = py_import:clear_imports(),
    %% What the node's operator names may be read, and its code is a library's.
    Folder = py_venvs:folder(Config, "trusted", [{"ct_trusted.py", "import csv\nx = 1"}]),
    ok = py_import:add_path(Folder),
    {ok, Context} = new(Config, #{sandbox => Strict#{read => [], imports => {allow, [ct_trusted]}}}),
    {ok, 1} = py:eval(Context, "__import__('ct_trusted').x"),
    %% Modules that are part of the interpreter are libraries as well, wherever they stand in the way.
    {ok, Allowed} = new(Config, #{sandbox => #{imports => {allow, [pathlib]}}, preload => "import pathlib"}),
    {ok, <<"b">>} = py:eval(Allowed, "pathlib.PurePath('a/b').name").

contexts_that_start_amid_changes_have_them_all(Config) ->
    Rounds = lists:seq(1, 8),
    {Changer, Monitor} = spawn_monitor(fun() ->
        [ok = py_import:add_path("/ct/" ++ integer_to_list(N)) || N <- Rounds]
    end),
    Missing = py_suite:concurrently(4, fun(_) -> [started_amid(Config) || _ <- [1, 2, 3]] end),
    receive
        {'DOWN', Monitor, process, Changer, Reason} -> ?assertEqual(normal, Reason)
    end,
    ?assertEqual([], lists:append(lists:append(Missing))),
    %% One that has seen them come has them as one that is born with them.
    {ok, Paths} = py:eval("[p for p in __import__('sys').path if p.startswith('/ct/')]"),
    ?assertEqual([iolist_to_binary(["/ct/", integer_to_list(N)]) || N <- Rounds], Paths).

%% What was added before the start and is missing.
started_amid(Config) ->
    Before = py_import:all_paths(),
    {ok, Context} = new(Config, #{}),
    {ok, Paths} = py:eval(Context, "list(__import__('sys').path)"),
    Known = py_import:all_paths(),
    ok = py_import:add_path("/after"),
    {ok, Later} = py:eval(Context, "list(__import__('sys').path)"),
    ok = py_context:stop(Context),
    (Before -- Paths) ++ (Known -- Later).

changes_while_the_application_stops_are_answered(Config) ->
    Self = self(),
    {Changer, Monitor} = spawn_monitor(fun() -> change_until_stopped(Self, 0) end),
    receive
        {Changer, changes} -> ok
    end,
    ok = py_suite:stop(),
    receive
        {'DOWN', Monitor, process, Changer, Reason} -> ?assertEqual(normal, Reason)
    end,
    {error, not_running} = py_import:add_path("/nowhere"),
    {error, not_running} = py_import:clear_paths(),
    {error, not_running} = py_import:ensure_imported(json),
    {error, not_running} = py_import:import_list(),
    {error, not_running} = py_preload:set_code("x = 1"),
    {error, not_running} = py_preload:clear_code(),
    {error, not_running} = py:activate_venv("/nowhere"),
    {error, not_running} = py:deactivate_venv(),
    {error, not_running} = py:venv_info(),
    {[], [], undefined} = {py_import:all_imports(), py_import:all_paths(), py_preload:get_code()},
    {false, false, false} = {py_import:is_imported(json), py_import:is_path_added("/nowhere"), py_preload:has_preload()},
    ok = py_suite:restart(Config, #{}),
    {ok, []} = py:eval("[p for p in __import__('sys').path if p.startswith('/ct')]").

server_that_dies_loses_nothing(Config) ->
    {ok, Before} = new(Config, #{}),
    ok = py_import:add_path("/ct/before"),
    ok = py_import:ensure_imported(json),
    ok = py_preload:set_code("x = 1"),
    Dead = whereis(py_birth),
    ok = py_suite:killed(Dead),
    %% Contexts go on starting.
    {ok, Between} = new(Config, #{}),
    ok = py_leaks:eventually(fun() -> is_pid(whereis(py_birth)) andalso whereis(py_birth) =/= Dead end),
    {[<<"/ct/before">>], true, <<"x = 1">>} = {py_import:all_paths(), py_import:is_imported(json), py_preload:get_code()},
    ok = py_import:add_path("/ct/after"),
    {ok, After} = new(Config, #{}),
    [
        {ok, [<<"/ct/before">>, <<"/ct/after">>]} = py:eval(C, "__import__('sys').path[:2]")
     || C <- [Before, Between, After]
    ],
    {ok, 1} = py:eval(After, "x").

change_until_stopped(Parent, N) ->
    case py_import:add_path("/ct" ++ integer_to_list(N)) of
        ok ->
            _ = [Parent ! {self(), changes} || N =:= 0],
            change_until_stopped(Parent, N + 1);
        {error, _} ->
            ok
    end.

reactor_context_is_born_like_any_other(Config) ->
    Folder = py_venvs:folder(Config, "reactor", [{"ct_born.py", "x = 1"}]),
    ok = py_import:add_path(Folder),
    {ok, Reactor} = py_reactor_context:start_link(births, mode(Config), #{preload => "import ct_born"}),
    {ok, Context} = py_reactor_context:context(Reactor),
    {ok, 1} = py:eval(Context, "ct_born.x"),
    ok = py_reactor_context:stop(Reactor).

interpreters_go_to_contexts_with_the_same_birth(Config) ->
    Births = [
        #{},
        #{preload => "a = 1"},
        #{preload => "a = 2"},
        #{venv => py_venvs:venv(Config, "one", [])},
        #{venv => py_venvs:venv(Config, "two", [])},
        #{venv => none}
    ],
    Ids = [born_in(Config, Birth) || Birth <- Births],
    ?assertEqual(length(Births), length(lists:usort(Ids))),
    Again = [born_in(Config, Birth) || Birth <- Births],
    case py_leaks:recycles() of
        true -> ?assertEqual(tl(Ids), tl(Again));
        false -> ?assertEqual([], [Id || Id <- Again, lists:member(Id, Ids)])
    end.

%% The number of its interpreter, which is free again.
born_in(Config, Birth) ->
    Before = py_spares(),
    {ok, Context} = new(Config, Birth),
    {ok, Id} = py_context:get_interp_id(Context),
    ok = py_context:stop(Context),
    ok = py_leaks:eventually(fun() -> not py_leaks:recycles() orelse py_spares() >= max(1, Before) end),
    Id.

main_interpreter_that_is_busy_refuses_changes(Config) ->
    ok = py_suite:restart(Config, #{context_start_timeout => 500}),
    ok = py_suite:install(),
    {ok, Worker} = py_context:new(#{mode => worker}),
    ok = py_suite:install(Worker),
    Hold =
        "import ctypes, socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('127.0.0.1', 0))\n"
        "s.sendto(b'holds', ('127.0.0.1', port))\n"
        "ctypes.PyDLL(None).recv(s.fileno(), None, 0, 0)\n",
    Held = py:spawn_call(Worker, builtins, exec, [list_to_binary(Hold), #{port => py_suite:port(?config(socket, Config))}]),
    Port = py_suite:await_signal(?config(socket, Config), <<"holds">>),
    {error, {context_start, main_interpreter_busy}} = py_import:add_path("/nowhere"),
    [] = py_import:all_paths(),
    {ok, false} = py:eval("'/nowhere' in __import__('sys').path"),
    ok = py_suite:release(?config(socket, Config), Port),
    {ok, none} = py:await(Held),
    ok = py_import:add_path("/nowhere"),
    {ok, true} = py:eval("'/nowhere' in __import__('sys').path").
