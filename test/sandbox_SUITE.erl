%% What damages the node is refused under every policy, however code comes by it: by import, by a reference from another
%% module, by importing again, by making the module anew without the import system, and from a thread.
-module(sandbox_SUITE).

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
        ends_of_the_node_are_refused,
        forks_are_refused,
        replacing_the_process_is_refused,
        starting_processes_is_refused,
        processes_by_the_standard_library_are_refused,
        signals_are_refused,
        signals_by_timers_are_refused,
        waiting_for_signals_is_refused,
        setting_the_clock_is_refused,
        handlers_of_crashes_are_refused,
        waiting_for_processes_of_others_is_refused,
        changing_the_directory_is_refused,
        changing_the_mask_is_refused,
        changing_the_identity_is_refused,
        changing_the_session_is_refused,
        changing_priorities_is_refused,
        changing_the_scheduling_is_refused,
        changing_namespaces_is_refused,
        terminals_are_refused,
        changing_limits_is_refused,
        naming_the_machine_is_refused,
        changing_the_locale_is_refused,
        recursion_beyond_the_stack_is_refused,
        what_asyncio_has_ended_is_not_found,
        code_for_other_processes_is_refused,
        mixing_interpreters_is_refused,
        interpreters_are_refused,
        tests_of_python_itself_are_refused,
        looking_at_frames_is_allowed,
        what_harms_nobody_is_allowed,
        refusals_are_counted,
        refusals_are_logged,
        refusals_that_repeat_are_logged_seldom,
        asyncio_comes_without_a_warning,
        counts_of_the_dead_stay,
        policy_can_be_asked_for
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{ctx, py_sandboxes:context(Config, default)} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:stop(?config(ctx, Config)),
    py_suite:both_answer([{ctx, py:context()} | Config]).

%% ------------------------------------------------------------------------------------------------
%% Refused under every policy

ends_of_the_node_are_refused(Config) ->
    refused(Config, ends).

forks_are_refused(Config) ->
    refused(Config, forks),
    refused(Config, [{"os.fork", 'RuntimeError', "__import__('os').spawnv(0, '/nonexistent', ['nothing'])"}]).

replacing_the_process_is_refused(Config) ->
    refused(Config, execs).

starting_processes_is_refused(Config) ->
    refused(Config, spawns).

processes_by_the_standard_library_are_refused(Config) ->
    refused(Config, [
        {"subprocess.Popen", 'RuntimeError', "__import__('subprocess').run(['/nonexistent'])"},
        {"subprocess.Popen", 'RuntimeError', "__import__('os').popen('exit 0')"},
        {"pty.spawn", 'RuntimeError', "__import__('pty').spawn(['/nonexistent'])"}
    ]).

signals_are_refused(Config) ->
    refused(Config, signals).

signals_by_timers_are_refused(Config) ->
    refused(Config, timers).

waiting_for_signals_is_refused(Config) ->
    refused(Config, signal_waits).

setting_the_clock_is_refused(Config) ->
    refused(Config, clock).

%% Only the main interpreter has it.
handlers_of_crashes_are_refused(Config) ->
    case py_suite:mode(Config) of
        owngil ->
            py_sandboxes:imports(?config(ctx, Config), [faulthandler]);
        worker ->
            {ok, Known} = py:eval(?config(ctx, Config), <<"dir(__import__('faulthandler'))">>),
            Calls = ["_sigsegv()", "_sigabrt()", "_sigfpe()", "_stack_overflow()", "_read_null()",
                     "dump_traceback_later(3600, exit=True)", "enable()", "register(10)"],
            refused(Config, [
                {"faulthandler", 'RuntimeError', "__import__('faulthandler')." ++ Call}
             || Call <- Calls, lists:member(list_to_binary(hd(string:lexemes(Call, "("))), Known)
            ])
    end.

waiting_for_processes_of_others_is_refused(Config) ->
    refused(Config, waits).

changing_the_directory_is_refused(Config) ->
    refused(Config, directory).

changing_the_mask_is_refused(Config) ->
    refused(Config, umask).

changing_the_identity_is_refused(Config) ->
    refused(Config, identity).

changing_the_session_is_refused(Config) ->
    refused(Config, session).

changing_priorities_is_refused(Config) ->
    refused(Config, priority).

changing_the_scheduling_is_refused(Config) ->
    refused(Config, scheduling).

changing_namespaces_is_refused(Config) ->
    refused(Config, namespaces).

terminals_are_refused(Config) ->
    refused(Config, terminal).

changing_limits_is_refused(Config) ->
    refused(Config, limits).

naming_the_machine_is_refused(Config) ->
    refused(Config, hostname).

changing_the_locale_is_refused(Config) ->
    refused(Config, locale).

recursion_beyond_the_stack_is_refused(Config) ->
    refused(Config, recursion),
    ?assertEqual(
        {ok, 5000},
        py:eval(?config(ctx, Config), <<"[s.setrecursionlimit(5000), s.getrecursionlimit()][1]">>, #{
            s => sys(?config(ctx, Config))
        })
    ).

%% Before 3.13 it keeps iterators that have ended, and showed them to whoever asked.
what_asyncio_has_ended_is_not_found(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, [
        "import asyncio, gc, sys\n",
        "async def wait(future): await future\n",
        "async def main():\n",
        "    futures = [asyncio.get_running_loop().create_future() for _ in range(20)]\n",
        "    waiting = [asyncio.ensure_future(wait(future)) for future in futures]\n",
        "    await asyncio.sleep(0)\n",
        "    for future in futures: future.set_result(None)\n",
        "    await asyncio.gather(*waiting)\n",
        "asyncio.run(main())\n",
        "def found():\n",
        "    referents = gc.get_referents(sys.modules['_asyncio'], (1,), gc)\n",
        "    return any(type(one).__name__ == 'FutureIter' for one in referents), 1 in referents, vars(gc) in referents\n"
    ]),
    [?assertEqual({ok, {false, true, true}}, py:eval(Context, <<"found()">>)) || _ <- lists:seq(1, 10)].

sys(Context) ->
    {ok, Sys} = py:eval(Context, <<"__import__('sys')">>),
    Sys.

code_for_other_processes_is_refused(Config) ->
    {ok, Version} = py_suite:version(),
    case Version >= [3, 14, 0] of
        true -> refused(Config, remote);
        false -> {skip, "this Python runs no code in other processes"}
    end.

mixing_interpreters_is_refused(Config) ->
    refused(Config, override).

interpreters_are_refused(Config) ->
    {ok, Version} = py_suite:version(),
    Names =
        case Version >= [3, 13, 0] of
            true -> ['_interpreters', '_interpchannels', '_interpqueues'];
            false -> ['_xxsubinterpreters', '_xxinterpchannels']
        end,
    py_sandboxes:imports(?config(ctx, Config), Names).

tests_of_python_itself_are_refused(Config) ->
    Names = ['_testcapi', '_testinternalcapi', '_testlimitedcapi'],
    py_sandboxes:imports(?config(ctx, Config), [Name || Name <- Names, is_there(Config, Name)]).

%% Python may have been built without.
is_there(Config, Name) ->
    Code = <<"__import__('importlib.machinery').machinery.PathFinder.find_spec(name) is not None">>,
    {ok, true} =:= py:eval(?config(ctx, Config), Code, #{name => Name}).

looking_at_frames_is_allowed(Config) ->
    Code = <<"[f.f_code.co_name for f in s._current_frames().values()] and s._getframe().f_lineno">>,
    ?assertMatch({ok, _}, py:eval(?config(ctx, Config), Code, #{s => sys(?config(ctx, Config))})).

what_harms_nobody_is_allowed(Config) ->
    Allowed = [
        <<"__import__('os').getpid()">>,
        <<"__import__('os').kill(__import__('os').getpid(), 0)">>,
        <<"__import__('os').listdir('/')">>,
        <<"open('/dev/null', 'w').write('')">>,
        <<"__import__('socket').socket().close()">>,
        <<"__import__('threading').Thread(target=int).start()">>,
        <<"__import__('signal').strsignal(9) and None">>,
        <<"__import__('locale').setlocale(__import__('locale').LC_ALL) and None">>,
        <<"__import__('resource').getrlimit(3) and None">>,
        <<"__import__('os').environ.__setitem__('CT', '1')">>,
        <<"__import__('sys').setrecursionlimit(__import__('sys').getrecursionlimit())">>
    ],
    [?assertMatch({_, {ok, _}}, {Code, py:eval(?config(ctx, Config), Code)}) || Code <- Allowed].

%% All rows of a kind, or expressions with what refuses them.
refused(Config, Kind) when is_atom(Kind) ->
    {ok, {Tried, Wrong}} = py:call(?config(ctx, Config), ct_refusals, check, [Kind]),
    ct:log("~b attempts", [Tried]),
    ?assert(Tried > 0),
    py_sandboxes:report(Wrong);
refused(Config, Expressions) ->
    [
        py_sandboxes:denied(?config(ctx, Config), list_to_binary(Refusal), Class, Code)
     || {Refusal, Class, Code} <- Expressions
    ].

%% ------------------------------------------------------------------------------------------------
%% What Erlang is told

try_to_exit(Context) ->
    Text = py_suite:error_text('RuntimeError', py:exec(Context, <<"import os\nos._exit(3)">>)),
    py_suite:contains(Text, "erlang:halt/1").

refusals_are_counted(Config) ->
    Context = ?config(ctx, Config),
    Before = maps:get(<<"os._exit">>, py_sandbox:refusals(), 0),
    ?assertEqual({ok, #{}}, py_sandbox:refusals(Context)),
    try_to_exit(Context),
    try_to_exit(Context),
    ?assertEqual({ok, #{<<"os._exit">> => 2}}, py_sandbox:refusals(Context)),
    ?assertEqual(Before + 2, maps:get(<<"os._exit">>, py_sandbox:refusals())).

refusals_are_logged(Config) ->
    Context = ?config(ctx, Config),
    Log = py_suite:capture_log(),
    try
        try_to_exit(Context),
        Event = await_refusal(Context),
        ?assertMatch(#{level := warning, msg := {report, #{refusal := <<"os._exit">>, count := 1}}}, Event),
        #{msg := {report, Report}, meta := #{report_cb := Words} = Meta} = Event,
        %% The handler that every node has takes it.
        {ok, #{filters := Filters, filter_default := stop}} = logger:get_handler_config(default),
        {_, {Filter, Argument}} = lists:keyfind(no_domain, 1, Filters),
        ?assertMatch(#{}, Filter(Event, Argument)),
        ?assertNot(is_map_key(domain, Meta)),
        {Format, Arguments} = Words(Report),
        py_suite:contains(lists:flatten(io_lib:format(Format, Arguments)), "os._exit")
    after
        py_suite:release_log(Log)
    end.

%% The 1st, 2nd and 4th of five.
refusals_that_repeat_are_logged_seldom(Config) ->
    Context = ?config(ctx, Config),
    Log = py_suite:capture_log(),
    try
        [try_to_exit(Context) || _ <- lists:seq(1, 5)],
        Counts = [count(await_refusal(Context)) || _ <- lists:seq(1, 3)],
        ?assertEqual([1, 2, 4], Counts),
        %% Whatever the context was told of the fifth comes before this answer.
        {ok, _} = py_sandbox:policy(Context),
        ?assertEqual([], [Event || {log, #{msg := {report, #{refusal := _}}} = Event} <- py_suite:flush()])
    after
        py_suite:release_log(Log)
    end.

%% What the standard library only tries is nothing to be warned of; who tries it again is.
asyncio_comes_without_a_warning(Config) ->
    Context = py_suite:new_context(Config),
    Log = py_suite:capture_log(),
    try
        ok = py:exec(Context, <<"import asyncio, concurrent.futures">>),
        {ok, Refused} = py_sandbox:refusals(Context),
        Tried = maps:get(<<"_interpreters">>, Refused, 0),
        ?assertEqual([], maps:to_list(Refused) -- [{<<"_interpreters">>, Tried}]),
        ?assert(Tried =< 1),
        {error, {'ImportError', _}} = py:exec(Context, <<"import _interpreters">>),
        {error, {'ImportError', _}} = py:exec(Context, <<"import _interpreters">>),
        Again = await_warning(Context),
        ?assertMatch(#{msg := {report, #{refusal := <<"_interpreters">>, count := 2}}}, Again)
    after
        py_suite:release_log(Log)
    end,
    ok = py_context:stop(Context).

await_warning(Context) ->
    case await_refusal(Context) of
        #{level := warning} = Event -> Event;
        #{level := info} -> await_warning(Context)
    end.

count(#{msg := {report, #{count := Count}}}) -> Count.

await_refusal(Context) ->
    receive
        {log, #{msg := {report, #{label := {py_sandbox, refused}, pid := Context}}} = Event} -> Event
    after 30_000 -> ct:fail(no_refusal_logged)
    end.

counts_of_the_dead_stay(Config) ->
    Context = py_suite:new_context(Config),
    try_to_exit(Context),
    Before = maps:get(<<"os._exit">>, py_sandbox:refusals()),
    ok = py_context:stop(Context),
    ?assertMatch({error, {context_died, _}}, py_sandbox:refusals(Context)),
    ?assertEqual(Before, maps:get(<<"os._exit">>, py_sandbox:refusals())).

policy_can_be_asked_for(Config) ->
    {ok, Default} = py_sandbox:check(default),
    ?assertEqual({ok, Default#{seccomp => off}}, py_sandbox:policy(?config(ctx, Config))),
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), sandbox => #{network => [{"Localhost", 80}]}}),
    ?assertMatch({ok, #{network := [{<<"localhost">>, 80}]}}, py_sandbox:policy(Context)),
    ok = py_context:stop(Context),
    ?assertMatch({error, {context_died, _}}, py_sandbox:policy(Context)).
