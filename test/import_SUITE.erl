%% Modules that every context imports, and folders where every context looks for them.
-module(import_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        module_is_imported_now_and_later,
        module_with_a_function_must_have_it,
        what_cannot_be_imported_is_not_registered,
        names_are_the_same_however_they_are_written,
        imports_are_listed,
        cleared_imports_are_not_for_later_contexts,
        main_is_no_module_to_import,
        settings_are_there_from_the_start,
        paths_are_there_now_and_later,
        paths_come_first_in_their_order,
        paths_that_are_there_already_are_not_added,
        cleared_paths_are_gone,
        path_of_the_interpreter_itself_survives_being_cleared,
        busy_context_is_not_waited_for,
        several_processes_change_at_once,
        dead_caller_leaves_a_whole_change,
        failure_elsewhere_is_logged,
        wrong_arguments_are_refused,
        main_interpreter_keeps_nothing_of_an_application_that_has_stopped
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 64}).

%% Every case has the application to itself, and modules of its own: contexts of mode `worker' share what was imported.
init_per_testcase(Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    Module = "ct_" ++ atom_to_list(Case),
    Folder = py_venvs:folder(Config, "modules", [{Module ++ ".py", "import itertools\nhere = True\ndef f():\n    return 1\n"}]),
    [{socket, py_suite:open()}, {module, list_to_binary(Module)}, {folder, Folder} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

new(Config) ->
    py_suite:new_context(Config).

%% Whether a context has imported the case's module.
has(Config, Context) ->
    {ok, Has} = py:eval(Context, "name in __import__('sys').modules", #{name => ?config(module, Config)}),
    Has.

looks_in(Context, Folder) ->
    {ok, Count} = py:eval(Context, "__import__('sys').path.count(folder)", #{folder => Folder}),
    Count.

%% ------------------------------------------------------------------------------------------------

module_is_imported_now_and_later(Config) ->
    {ok, Others} = py:start_contexts(),
    Before = new(Config),
    false = has(Config, Before),
    ok = py_import:add_path(?config(folder, Config)),
    ok = py_import:ensure_imported(?config(module, Config)),
    [true] = lists:usort([has(Config, Context) || Context <- [Before, new(Config) | Others]]),
    true = py_import:is_imported(?config(module, Config)).

module_with_a_function_must_have_it(Config) ->
    ok = py_import:add_path(?config(folder, Config)),
    Module = ?config(module, Config),
    {error, {'AttributeError', _}} = py_import:ensure_imported(Module, g),
    false = py_import:is_imported(Module),
    ok = py_import:ensure_imported(Module, f),
    {true, true, false} = {
        py_import:is_imported(Module), py_import:is_imported(Module, f), py_import:is_imported(Module, g)
    },
    true = has(Config, new(Config)).

what_cannot_be_imported_is_not_registered(Config) ->
    {error, {'ModuleNotFoundError', _}} = py_import:ensure_imported(?config(module, Config)),
    Folder = py_venvs:folder(Config, "broken", [{"ct_broken.py", "1 / 0"}]),
    ok = py_import:add_path(Folder),
    {error, {'ZeroDivisionError', _}} = py_import:ensure_imported(ct_broken),
    [] = py_import:all_imports(),
    _ = new(Config).

names_are_the_same_however_they_are_written(_Config) ->
    [ok = py_import:ensure_imported(Name) || Name <- [json, "json", <<"json">>]],
    [ok = py_import:ensure_imported("json", Name) || Name <- [dumps, "dumps", <<"dumps">>]],
    [{<<"json">>, all}, {<<"json">>, <<"dumps">>}] = py_import:all_imports(),
    {true, true, true} = {py_import:is_imported("json"), py_import:is_imported(json, "loads"), py_import:is_imported(<<"json">>)}.

imports_are_listed(_Config) ->
    {ok, Empty} = py_import:import_list(),
    0 = map_size(Empty),
    ok = py_import:ensure_imported(json, loads),
    ok = py_import:ensure_imported(os),
    ok = py_import:ensure_imported(json, dumps),
    {ok, #{<<"json">> := [<<"loads">>, <<"dumps">>], <<"os">> := []} = List} = py_import:import_list(),
    2 = map_size(List),
    [{<<"json">>, <<"loads">>}, {<<"os">>, all}, {<<"json">>, <<"dumps">>}] = py_import:all_imports().

cleared_imports_are_not_for_later_contexts(Config) ->
    ok = py_import:add_path(?config(folder, Config)),
    ok = py_import:ensure_imported(?config(module, Config)),
    ok = py_import:clear_imports(),
    {[], false} = {py_import:all_imports(), py_import:is_imported(?config(module, Config))},
    {ok, _} = py:eval("__import__('sys').modules[name]", #{name => ?config(module, Config)}),
    %% In mode `worker' it is imported anyway.
    Expected = py_suite:mode(Config) =:= worker,
    Expected = has(Config, new(Config)).

main_is_no_module_to_import(_Config) ->
    [{error, main_not_cacheable} = py_import:ensure_imported(Name) || Name <- ['__main__', "__main__", <<"__main__">>]],
    {error, main_not_cacheable} = py_import:ensure_imported('__main__', f),
    [] = py_import:all_imports().

settings_are_there_from_the_start(Config) ->
    Folder = ?config(folder, Config),
    Module = ?config(module, Config),
    ok = py_suite:restart(Config, #{
        paths => [Folder, unicode:characters_to_list(Folder)], imports => [json, {Module, f}, {"os", <<"getcwd">>}]
    }),
    true = has(Config, new(Config)),
    {ok, 1} = py:call(Module, f, []),
    [Folder, Folder] = py_import:all_paths(),
    [{<<"json">>, all}, {Module, <<"f">>}, {<<"os">>, <<"getcwd">>}] = py_import:all_imports().

paths_are_there_now_and_later(Config) ->
    {ok, Others} = py:start_contexts(),
    Before = new(Config),
    Folder = ?config(folder, Config),
    false = py_import:is_path_added(Folder),
    ok = py_import:add_path(Folder),
    true = py_import:is_path_added(unicode:characters_to_list(Folder)),
    [1] = lists:usort([looks_in(Context, Folder) || Context <- [Before, new(Config) | Others]]),
    [{ok, 1} = py:call(Context, ?config(module, Config), f, []) || Context <- Others].

paths_come_first_in_their_order(Config) ->
    ok = py_import:add_paths(["/ct/a", <<"/ct/b">>, '/ct/c', "/ct/a"]),
    ok = py_import:add_path("/ct/d"),
    ok = py_import:add_path("/ct/b"),
    Paths = [<<"/ct/a">>, <<"/ct/b">>, <<"/ct/c">>, <<"/ct/d">>],
    Paths = py_import:all_paths(),
    {ok, Paths} = py:eval("__import__('sys').path[:4]"),
    {ok, Paths} = py:eval(new(Config), "__import__('sys').path[:4]"),
    ok = py_import:add_path("relative"),
    true = py_import:is_path_added(filename:absname("relative")).

paths_that_are_there_already_are_not_added(Config) ->
    Context = new(Config),
    Folder = ?config(folder, Config),
    ok = py_import:add_path(Folder),
    ok = py_import:add_path(Folder),
    1 = looks_in(Context, Folder),
    [Folder] = py_import:all_paths().

cleared_paths_are_gone(Config) ->
    Context = new(Config),
    Folder = ?config(folder, Config),
    ok = py_import:add_path(Folder),
    {ok, 1} = py:call(Context, ?config(module, Config), f, []),
    ok = py_import:clear_paths(),
    {[], false} = {py_import:all_paths(), py_import:is_path_added(Folder)},
    [0] = lists:usort([looks_in(C, Folder) || C <- [Context, new(Config)]]),
    %% What was imported stays.
    {ok, 1} = py:call(Context, ?config(module, Config), f, []).

path_of_the_interpreter_itself_survives_being_cleared(Config) ->
    Context = new(Config),
    {ok, Path} = py:eval(Context, "list(__import__('sys').path)"),
    ok = py_import:add_paths(Path),
    ok = py_import:clear_paths(),
    {ok, Path} = py:eval(Context, "list(__import__('sys').path)").

busy_context_is_not_waited_for(Config) ->
    Context = new(Config),
    ok = py_suite:install(Context),
    Gate = py_gates:closed_gate(Config, Context),
    case py_suite:mode(Config) of
        owngil ->
            ok = py_import:add_path(?config(folder, Config)),
            ok = py_import:ensure_imported(?config(module, Config));
        worker ->
            ok = py_import:add_path(?config(folder, Config))
    end,
    Ref = py:spawn_call(Context, ?config(module, Config), f, []),
    ok = py_gates:open_gate(Config, Gate),
    {ok, 1} = py:await(Ref).

several_processes_change_at_once(Config) ->
    Before = new(Config),
    Folders = [iolist_to_binary(["/ct/", integer_to_list(N)]) || N <- lists:seq(1, 16)],
    _ = py_suite:concurrently(16, fun(N) -> ok = py_import:add_path(lists:nth(N, Folders)) end),
    ?assertEqual(lists:sort(Folders), lists:sort(py_import:all_paths())),
    Paths = py_import:all_paths(),
    [{ok, Paths} = py:eval(Context, "__import__('sys').path[:16]") || Context <- [Before, new(Config)]].

%% What a process asks for that is killed meanwhile is done as a whole or not at all.
dead_caller_leaves_a_whole_change(Config) ->
    Context = new(Config),
    [
        begin
            {Caller, Monitor} = spawn_monitor(fun() -> py_import:add_path("/ct/" ++ integer_to_list(N)) end),
            exit(Caller, kill),
            receive
                {'DOWN', Monitor, process, Caller, _} -> ok
            end
        end
     || N <- lists:seq(1, 20)
    ],
    %% After all of them.
    ok = py_import:add_path("/ct/last"),
    Paths = py_import:all_paths(),
    {ok, Paths} = py:eval(Context, "__import__('sys').path[:n]", #{n => length(Paths)}).

failure_elsewhere_is_logged(Config) ->
    {ok, Denied} = py_context:new(#{mode => py_suite:mode(Config), sandbox => #{imports => {deny, [?config(module, Config)]}}}),
    ok = py_import:add_path(?config(folder, Config)),
    Log = py_suite:capture_log(),
    ok = py_import:ensure_imported(?config(module, Config)),
    case py_suite:mode(Config) of
        owngil -> ok = logged(Denied);
        worker -> ok
    end,
    ok = py_suite:release_log(Log),
    {ok, 2} = py:eval(Denied, "1 + 1").

logged(Context) ->
    receive
        {log, #{level := error, msg := {Format, Args}}} ->
            Text = lists:flatten(io_lib:format(Format, Args)),
            case string:find(Text, pid_to_list(Context)) of
                nomatch -> logged(Context);
                _ -> ok
            end;
        {log, _} ->
            logged(Context)
    after 30_000 -> ct:fail(not_logged)
    end.

wrong_arguments_are_refused(_Config) ->
    Wrong = [1, 1.0, {a}, #{}, self(), make_ref()],
    [
        ?assertError(badarg, py_import:F(Value))
     || F <- [ensure_imported, is_imported, add_path, is_path_added, add_paths], Value <- Wrong
    ],
    [?assertError(badarg, py_import:F(json, Value)) || F <- [ensure_imported, is_imported], Value <- Wrong],
    [?assertError(badarg, py_import:F(Value)) || F <- [add_path, is_path_added], Value <- ["", <<>>, '', <<"a", 0>>, <<255>>]],
    [?assertError(badarg, py_import:add_paths(Value)) || Value <- [["/a", 1], ["/a" | "/b"], [""], json]],
    {[], []} = {py_import:all_imports(), py_import:all_paths()}.

main_interpreter_keeps_nothing_of_an_application_that_has_stopped(Config) ->
    ok = py_import:add_path(?config(folder, Config)),
    ok = py_suite:restart(Config, #{}),
    {ok, Worker} = py_context:new(#{mode => worker}),
    0 = looks_in(Worker, ?config(folder, Config)).
