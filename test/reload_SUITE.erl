%% Modules that are loaded anew in all contexts.
-module(reload_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}, is_not_running_without_the_application].

groups() ->
    py_suite:groups([
        all_contexts_have_the_new_one,
        interpreter_loads_it_once,
        who_has_it_not_loaded_does_not_load_it,
        module_that_fails_is_told_of_and_stays,
        module_that_is_gone_is_told_of,
        busy_context_has_its_turn,
        context_that_ends_is_left_out,
        end_of_the_caller_takes_it_back,
        function_of_a_callback_may_do_it,
        many_do_it_at_once,
        wrong_names_are_refused
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 2, start_contexts => eager}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% A module of a name of its own, with value 1, and three contexts that have it loaded. It counts how often it is loaded.
init_per_testcase(is_not_running_without_the_application, Config) ->
    Config;
init_per_testcase(Case, Config) ->
    Folder = filename:join([?config(priv_dir, Config), py_suite:mode(Config), Case]),
    Name = atom_to_list(Case) ++ "_" ++ atom_to_list(py_suite:mode(Config)),
    File = filename:join(Folder, Name ++ ".py"),
    ok = filelib:ensure_dir(File),
    ok = write(File, "1"),
    ok = py_state:clear(),
    Contexts = [py:context(1), py:context(2), py_suite:new_context(Config)],
    [
        begin
            ok = py:exec(Context, ["import sys\nsys.dont_write_bytecode = True\nif '", Folder, "' not in sys.path:\n    sys.path.insert(0, '", Folder, "')"]),
            ok = py:exec(Context, ["import ", Name])
        end
     || Context <- Contexts
    ],
    [{name, list_to_binary(Name)}, {file, File}, {contexts, Contexts}, {loads, loads()} | Config].

end_per_testcase(is_not_running_without_the_application, _Config) ->
    ok;
end_per_testcase(_Case, Config) ->
    ok = py_context:stop(lists:last(?config(contexts, Config))).

write(File, Value) ->
    file:write_file(File, ["import erlang\nerlang.state_incr('loads')\nvalue = ", Value, "\n"]).

loads() ->
    {ok, Loads} = py_state:fetch(<<"loads">>),
    Loads.

values(Config) ->
    Name = ?config(name, Config),
    [
        begin
            {ok, Value} = py:eval(Context, <<"sys.modules[name].value">>, #{name => Name}),
            Value
        end
     || Context <- ?config(contexts, Config)
    ].

%% How many interpreters there are for the three.
interpreters(Config) ->
    case py_suite:mode(Config) of
        owngil -> 3;
        worker -> 1
    end.

%% A context that is busy until the gate opens.
busy(Context, Socket) ->
    ok = py_suite:install(Context),
    Port = py_suite:port(Socket),
    _ = spawn_link(fun() -> {ok, _} = py:call(Context, ct_signals, gate, [Port, <<"busy">>]) end),
    py_suite:await_signal(Socket, <<"busy">>).

waits_in(Context) ->
    ok = py_leaks:eventually(fun() -> element(4, py_nif:context_info(Context)) =:= 1 end).

%% ------------------------------------------------------------------------------------------------

all_contexts_have_the_new_one(Config) ->
    ?assertEqual([1, 1, 1], values(Config)),
    ok = write(?config(file, Config), "22"),
    ?assertEqual(ok, py:reload(?config(name, Config))),
    ?assertEqual([22, 22, 22], values(Config)),
    ok = write(?config(file, Config), "333"),
    ?assertEqual(ok, py:reload(binary_to_atom(?config(name, Config)))),
    ?assertEqual([333, 333, 333], values(Config)),
    ?assertEqual([], py_suite:flush()).

interpreter_loads_it_once(Config) ->
    ?assertEqual(interpreters(Config), ?config(loads, Config)),
    ok = py:reload(?config(name, Config)),
    ?assertEqual(2 * interpreters(Config), loads()).

who_has_it_not_loaded_does_not_load_it(Config) ->
    Name = ?config(name, Config),
    [First | _] = ?config(contexts, Config),
    ok = py:exec(First, <<"del sys.modules['", Name/binary, "']">>),
    ok = py:reload(Name),
    ?assertEqual(2 * interpreters(Config) - 1, loads()),
    ?assertEqual({ok, false}, py:eval(First, <<"name in sys.modules">>, #{name => Name})),
    ?assertEqual(ok, py:reload(nowhere_at_all)).

module_that_fails_is_told_of_and_stays(Config) ->
    Contexts = ?config(contexts, Config),
    ok = write(?config(file, Config), "22 +"),
    {error, Failures} = py:reload(?config(name, Config)),
    ?assertEqual(interpreters(Config), length(Failures)),
    [
        begin
            ?assert(lists:member(Context, Contexts)),
            ?assertMatch({'SyntaxError', _}, Reason)
        end
     || {Context, Reason} <- Failures
    ],
    ?assertEqual([1, 1, 1], values(Config)),
    %% Where it fails in one of them only, the others have it.
    Last = lists:last(Contexts),
    ok = file:write_file(?config(file, Config), "value = 22\nimport sys\nassert not hasattr(sys, 'unwilling')\n"),
    ok = py:exec(Last, <<"sys.unwilling = True">>),
    {error, [{Unwilling, {'AssertionError', _}}]} = py:reload(?config(name, Config)),
    case py_suite:mode(Config) of
        owngil -> ?assertEqual(Last, Unwilling);
        worker -> ok
    end,
    ?assertEqual([22, 22, 22], values(Config)),
    ok = py:exec(Last, <<"del sys.unwilling">>).

module_that_is_gone_is_told_of(Config) ->
    ok = file:delete(?config(file, Config)),
    {error, Failures} = py:reload(?config(name, Config)),
    ?assertEqual(interpreters(Config), length(Failures)),
    [?assertMatch({_, {'ModuleNotFoundError', _}}, Failure) || Failure <- Failures].

%% One of its own waits for it; the main interpreter does it in another context.
busy_context_has_its_turn(Config) ->
    Socket = py_suite:open(),
    Last = lists:last(?config(contexts, Config)),
    Gate = busy(Last, Socket),
    ok = write(?config(file, Config), "22"),
    Caller = py_suite:spawn_caller(fun() -> {py:reload(?config(name, Config)), py:gc(0)} end),
    case py_suite:mode(Config) of
        owngil ->
            ok = waits_in(Last),
            ok = py_suite:release(Socket, Gate),
            {result, {ok, {ok, _}}} = py_suite:await_down(Caller, 30_000);
        worker ->
            {result, {ok, {ok, _}}} = py_suite:await_down(Caller, 30_000),
            ok = py_suite:release(Socket, Gate)
    end,
    ?assertEqual([22, 22, 22], values(Config)),
    ?assertEqual(2 * interpreters(Config), loads()),
    py_suite:close(Socket).

context_that_ends_is_left_out(Config) ->
    Socket = py_suite:open(),
    Ending = py_suite:new_context(Config),
    ok = py_suite:install(Ending),
    Port = py_suite:port(Socket),
    Busy = py_suite:spawn_caller(fun() -> py:call(Ending, ct_signals, sleep, [Port, <<"asleep">>, 3600]) end),
    _ = py_suite:await_signal(Socket, <<"asleep">>),
    ok = write(?config(file, Config), "22"),
    Caller = py_suite:spawn_caller(fun() -> py:reload(?config(name, Config)) end),
    ok =
        case py_suite:mode(Config) of
            owngil -> waits_in(Ending);
            worker -> ok
        end,
    ok = py_suite:silently(fun() -> py_suite:killed(Ending) end),
    {result, ok} = py_suite:await_down(Caller, 30_000),
    {result, {error, {context_died, _}}} = py_suite:await_down(Busy, 30_000),
    ?assertEqual([22, 22, 22], values(Config)),
    py_suite:close(Socket).

end_of_the_caller_takes_it_back(Config) ->
    Socket = py_suite:open(),
    Gates = [{Context, busy(Context, Socket)} || Context <- ?config(contexts, Config)],
    {Caller, Monitor} = spawn_monitor(fun() -> py:reload(?config(name, Config)) end),
    [ok = waits_in(Context) || {Context, _Gate} <- Gates],
    exit(Caller, kill),
    receive
        {'DOWN', Monitor, process, Caller, killed} -> ok
    end,
    %% Its requests are dropped when they have their turn.
    ok = py_leaks:eventually(fun() -> [] =:= [Pid || Pid <- processes(), is_at_work(Pid)] end),
    [ok = py_suite:release(Socket, Gate) || {_Context, Gate} <- Gates],
    ?assertEqual([1, 1, 1], values(Config)),
    ?assertEqual(?config(loads, Config), loads()),
    py_suite:close(Socket).

is_at_work(Pid) ->
    case process_info(Pid, current_stacktrace) of
        {current_stacktrace, Stack} -> lists:keymember(py_everywhere, 1, Stack);
        undefined -> false
    end.

%% The context in whose code it is called does it on top of that.
function_of_a_callback_may_do_it(Config) ->
    Name = ?config(name, Config),
    ok = py:register_function(reload_suite, fun([]) -> {py:reload(Name), element(1, py:gc())} end),
    ok = write(?config(file, Config), "22"),
    [Context | _] = ?config(contexts, Config),
    ?assertEqual({ok, {<<"ok">>, <<"ok">>}}, py:eval(Context, <<"__import__('erlang').reload_suite()">>)),
    ?assertEqual([22, 22, 22], values(Config)),
    ok = py:unregister_function(reload_suite).

many_do_it_at_once(Config) ->
    Name = ?config(name, Config),
    Answers = py_suite:concurrently(8, fun
        (N) when N rem 2 =:= 0 -> py:reload(Name);
        (_) -> element(1, py:gc(0))
    end),
    ?assertEqual([ok], lists:usort(Answers)),
    %% CPython does it once for those who want it at the same time.
    Loads = loads() div interpreters(Config),
    ?assert(Loads >= 2 andalso Loads =< 5).

wrong_names_are_refused(_Config) ->
    [?assertError(badarg, py:reload(Wrong)) || Wrong <- [1, {a}, #{}, [a | b]]].

is_not_running_without_the_application(_Config) ->
    ok = py_suite:stop(),
    ?assertEqual({error, not_running}, py:reload(json)),
    ?assertEqual({error, not_running}, py:gc()),
    ?assertEqual({error, not_running}, py:gc(1)),
    ?assertEqual({error, not_running}, py:memory_stats()).
