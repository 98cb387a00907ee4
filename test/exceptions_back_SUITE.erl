%% Exceptions of Erlang functions that go through Python and back to Erlang, over one level and several.
-module(exceptions_back_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, collect/1]).
-import(py_across, [install/1, with_failure/3, kinds/0, reasons/0]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        uncaught_exception_comes_back_exactly_as_it_was,
        uncaught_exception_comes_back_from_every_kind_of_request,
        uncaught_exception_tells_the_python_frames,
        exception_of_a_cast_is_logged,
        exception_raised_again_comes_back_as_it_was,
        exception_kept_and_raised_later_comes_back_as_it_was,
        exception_kept_beyond_its_request_comes_back_as_it_was,
        exception_that_was_changed_or_copied_is_an_exception,
        exception_of_another_thread_comes_back_as_it_was,
        exception_that_python_handles_is_over,
        exception_raised_from_it_is_that_of_python,
        exception_raised_from_one_of_python_tells_its_cause,
        exception_in_an_exception_group_is_a_member,
        exception_while_another_is_handled_tells_both,
        finally_blocks_run,
        generators_and_managers_see_it,
        erlang_error_made_by_python_is_an_exception_of_python,
        class_of_python_exceptions_is_theirs,

        exception_passes_two_levels_as_it_was,
        exception_changes_at_every_level,
        python_exception_of_a_nested_call_is_the_cause,
        cause_is_told_to_erlang,
        cause_of_a_nested_call_in_another_context,
        failure_without_a_nested_one_has_no_cause,
        exception_that_the_function_handled_leaves_the_last_error,
        last_error_of_a_function_is_its_own,
        time_out_of_a_nested_call_has_no_cause
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun py_across:install/1).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    py_suite:all_is_well(Config).

%%% What comes back to Erlang

uncaught_exception_comes_back_exactly_as_it_was(Config) ->
    Context = ?config(ctx, Config),
    [
        with_failure(Kind, Reason, fun() ->
            Result = py:call(Context, ct_across, passes, [failing]),
            ?assert({error, {Kind, Reason}} =:= Result)
        end)
     || Kind <- kinds(), Reason <- reasons()
    ],
    ok.

uncaught_exception_comes_back_from_every_kind_of_request(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "class Fails:\n"
        "    @property\n"
        "    def value(self): return erlang.call('fails')\n"
        "    def method(self): return erlang.call('fails')\n"
        "    def __len__(self): return 1\n"
        "    def __contains__(self, item): return False\n"
        "    def __iter__(self): return erlang.call('fails')\n"
        "class FailsLater:\n"
        "    def __erlang_term__(self): return erlang.call('fails')\n"
        "fails = Fails()\n"
    >>),
    {ok, Ref} = py:eval(Context, <<"fails">>),
    offering([{fails, fun([]) -> throw([a | b]) end}], fun() ->
        Requests = [
            fun() -> py:call(Context, erlang, call, [fails]) end,
            fun() -> py:call(erlang, fails, []) end,
            fun() -> py:eval(Context, <<"erlang.call('fails')">>) end,
            fun() -> py:exec(Context, <<"erlang.call('fails')">>) end,
            fun() -> py:getattr(Ref, value) end,
            fun() -> py:call_method(Ref, method, []) end,
            fun() -> py:to_term(Ref) end,
            fun() -> py:eval(Context, <<"FailsLater()">>) end,
            fun() -> py:eval(Context, <<"[1, FailsLater()]">>) end,
            fun() -> py:await(py:spawn_call(Context, erlang, call, [fails])) end,
            fun() -> py:await(py:spawn_call(Context, '__main__', 'FailsLater', [])) end,
            fun() ->
                {ok, [Result]} = py:parallel([{erlang, fails, []}]),
                Result
            end
        ],
        [
            ?assertEqual({N, {error, {throw, [a | b]}}}, {N, Request()})
         || {N, Request} <- lists:zip(lists:seq(1, length(Requests)), Requests)
        ]
    end),
    ok.

uncaught_exception_tells_the_python_frames(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "def inner(): return erlang.call('failing')\n"
        "def outer(): return inner()\n"
    >>),
    with_failure(error, {badmatch, 5}, fun() ->
        ?assertEqual({error, {error, {badmatch, 5}}}, py:call(Context, '__main__', outer, []))
    end),
    #{type := Type, message := Message, traceback := Frames, traceback_text := Text, cause := Cause} = py:last_error(),
    ?assertEqual('ErlangError', Type),
    ?assertEqual("error: {badmatch,5}", Message),
    ?assertEqual(undefined, Cause),
    ?assertMatch([{_, 3, <<"outer">>, _}, {_, 2, <<"inner">>, _} | _], Frames),
    py_suite:contains(unicode:characters_to_list(Text), "return erlang.call('failing')"),
    py_suite:contains(unicode:characters_to_list(Text), "ErlangError: error: {badmatch,5}").

exception_of_a_cast_is_logged(Config) ->
    Context = ?config(ctx, Config),
    Log = py_suite:capture_log(),
    try
        offering([{fails, fun([]) -> exit({no, good}) end}], fun() ->
            ok = py:cast(Context, ct_across, passes, [fails]),
            receive
                {log, #{level := error, msg := {report, Report}, meta := #{report_cb := Format}}} ->
                    {Text, Values} = Format(Report),
                    Logged = unicode:characters_to_list(io_lib:format(Text, Values)),
                    py_suite:contains(Logged, "ErlangError: exit: {no,good}"),
                    py_suite:contains(Logged, "passes")
            after 30_000 -> ct:fail(not_logged)
            end
        end)
    after
        py_suite:release_log(Log)
    end,
    %% Nothing else was.
    ?assertEqual([], py_suite:flush()).

exception_raised_again_comes_back_as_it_was(Config) ->
    back_as_it_was(Config, [again, anew]).

exception_kept_and_raised_later_comes_back_as_it_was(Config) ->
    back_as_it_was(Config, [later]).

back_as_it_was(Config, Functions) ->
    [
        with_failure(Kind, Reason, fun() ->
            ?assertEqual({error, {Kind, Reason}}, py:call(?config(ctx, Config), ct_across, Function, [failing])),
            ?assertMatch(#{type := 'ErlangError'}, py:last_error())
        end)
     || Kind <- kinds(), Reason <- [none, {badmatch, "text"}, [a | b], #{k => <<1:3>>}], Function <- Functions
    ],
    ok.

exception_kept_beyond_its_request_comes_back_as_it_was(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_kept", <<
        "import erlang\n"
        "kept = []\n"
        "def keep(name):\n"
        "    try: erlang.call(name)\n"
        "    except erlang.ErlangError as error: kept.append(error)\n"
        "def fail(): raise kept[0]\n"
    >>),
    Reason = {self(), [a | b], make_ref()},
    with_failure(throw, Reason, fun() ->
        {ok, none} = py:call(Context, ct_kept, keep, [failing])
    end),
    ?assertEqual({error, {throw, Reason}}, py:call(Context, ct_kept, fail, [])),
    ?assertEqual({error, {throw, Reason}}, py_suite:fresh(fun() -> py:call(Context, ct_kept, fail, []) end)),
    ?assertEqual({error, {throw, Reason}}, py:await(py:spawn_call(Context, ct_kept, fail, []))).

exception_that_was_changed_or_copied_is_an_exception(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import copy, erlang, pickle\n"
        "def caught():\n"
        "    try: erlang.call('failing')\n"
        "    except erlang.ErlangError as error: return error\n"
        "def copied(): raise copy.copy(caught())\n"
        "def changed():\n"
        "    error = caught()\n"
        "    error.kind = 'exit'\n"
        "    error.reason = object()\n"
        "    error.stacktrace = None\n"
        "    error.args = (1, 2)\n"
        "    raise error\n"
        "def stripped():\n"
        "    error = caught()\n"
        "    vars(error).clear()\n"
        "    raise error\n"
        "def spoilt():\n"
        "    error = caught()\n"
        "    for name in list(vars(error)): setattr(error, name, 0)\n"
        "    raise error\n"
        "def pickled():\n"
        "    raise pickle.loads(pickle.dumps(caught()))\n"
        "def noted():\n"
        "    error = caught()\n"
        "    error.add_note('a note')\n"
        "    raise error\n"
    >>),
    with_failure(error, [a | b], fun() ->
        [
            ?assertMatch({Function, {error, {_, _}}}, {Function, py:call(Context, '__main__', Function, [])})
         || Function <- [copied, changed, stripped, spoilt, pickled]
        ],
        ?assertEqual({error, {error, [a | b]}}, py:call(Context, '__main__', noted, [])),
        ?assertMatch(#{notes := [<<"a note">>]}, py:last_error())
    end).

exception_of_another_thread_comes_back_as_it_was(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def threaded(name):\n"
        "    with ThreadPoolExecutor(1) as pool: return pool.submit(erlang.call, name).result()\n"
    >>),
    offering([{fails, fun([]) -> exit([a | b]) end}], fun() ->
        ?assertEqual({error, {exit, [a | b]}}, py:call(Context, '__main__', threaded, [fails]))
    end).

exception_that_python_handles_is_over(Config) ->
    Context = ?config(ctx, Config),
    with_failure(exit, kill, fun() ->
        ?assertEqual({ok, {<<"exit">>, <<"kill">>}}, py:call(Context, ct_across, catches, [failing]))
    end),
    ok = py:exec(Context, <<"import sys\nassert sys.exception() is None">>).

exception_raised_from_it_is_that_of_python(Config) ->
    Context = ?config(ctx, Config),
    with_failure(error, {badmatch, 5}, fun() ->
        ?assertEqual({error, {'LookupError', "instead"}}, py:call(Context, ct_across, instead, [failing]))
    end),
    ?assertMatch(
        #{type := 'LookupError', cause := #{type := 'ErlangError', message := "error: {badmatch,5}"}}, py:last_error()
    ).

exception_raised_from_one_of_python_tells_its_cause(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "def fail():\n"
        "    try: erlang.call('failing')\n"
        "    except erlang.ErlangError as error: raise error from KeyError('key')\n"
    >>),
    with_failure(throw, [a | b], fun() ->
        ?assertEqual({error, {throw, [a | b]}}, py:call(Context, '__main__', fail, []))
    end),
    ?assertMatch(#{type := 'ErlangError', cause := #{type := 'KeyError'}}, py:last_error()).

exception_in_an_exception_group_is_a_member(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "def fail():\n"
        "    failed = []\n"
        "    for _ in range(2):\n"
        "        try: erlang.call('failing')\n"
        "        except erlang.ErlangError as error: failed.append(error)\n"
        "    raise ExceptionGroup('both', failed)\n"
        "def split():\n"
        "    try: fail()\n"
        "    except* erlang.ErlangError as group: reasons = [error.reason for error in group.exceptions]\n"
        "    return reasons\n"
    >>),
    with_failure(error, why, fun() ->
        ?assertMatch({error, {'ExceptionGroup', _}}, py:call(Context, '__main__', fail, [])),
        #{exceptions := Members} = py:last_error(),
        ?assertMatch([#{type := 'ErlangError', message := "error: why"}, #{type := 'ErlangError'}], Members),
        ?assertEqual({ok, [<<"why">>, <<"why">>]}, py:call(Context, '__main__', split, []))
    end).

exception_while_another_is_handled_tells_both(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "def fail():\n"
        "    try: raise KeyError('first')\n"
        "    except KeyError: erlang.call('failing')\n"
    >>),
    with_failure(error, why, fun() ->
        ?assertEqual({error, {error, why}}, py:call(Context, '__main__', fail, []))
    end),
    ?assertMatch(#{type := 'ErlangError', context := #{type := 'KeyError'}}, py:last_error()).

finally_blocks_run(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    ok = py:exec(Context, <<
        "import erlang\n"
        "def fail():\n"
        "    try: erlang.call('failing')\n"
        "    finally: erlang.call('finally')\n"
    >>),
    with_failure(throw, why, fun() ->
        offering([{'finally', fun([]) -> Test ! {finally, ran}, none end}], fun() ->
            ?assertEqual({error, {throw, why}}, py:call(Context, '__main__', fail, []))
        end)
    end),
    ?assertEqual([ran], collect(finally)).

generators_and_managers_see_it(Config) ->
    Context = ?config(ctx, Config),
    with_failure(error, why, fun() ->
        ok = py:exec(Context, <<
            "import contextlib, erlang\n"
            "seen = []\n"
            "@contextlib.contextmanager\n"
            "def manager():\n"
            "    try: yield\n"
            "    except erlang.ErlangError as error:\n"
            "        seen.append(error.reason)\n"
            "with manager(): erlang.call('failing')\n"
            "with contextlib.suppress(erlang.ErlangError): erlang.call('failing')\n"
            "def numbers():\n"
            "    yield 1\n"
            "    yield erlang.call('failing')\n"
            "try: list(numbers())\n"
            "except erlang.ErlangError: seen.append('generator')\n"
        >>),
        ?assertEqual({ok, [<<"why">>, <<"generator">>]}, py:eval(Context, <<"seen">>))
    end).

erlang_error_made_by_python_is_an_exception_of_python(Config) ->
    Context = ?config(ctx, Config),
    Result = py:exec(Context, <<"import erlang\nraise erlang.ErlangError('made up')">>),
    ?assertMatch({error, {Class, _}} when Class =:= 'ErlangError'; Class =:= 'TypeError', Result),
    ?assertMatch(
        {error, {'Mine', _}},
        py:exec(Context, <<"import erlang\nclass Mine(erlang.ErlangError): pass\nraise Mine('made up')">>)
    ),
    ok = py:exec(Context, <<
        "import erlang\n"
        "try: raise erlang.ErlangError('made up')\n"
        "except RuntimeError as error: text = str(error)\n"
    >>).

class_of_python_exceptions_is_theirs(Config) ->
    Context = ?config(ctx, Config),
    %% One that is only called so.
    ?assertMatch(
        {error, {'ErlangError', "x"}},
        py:exec(Context, <<"class ErlangError(Exception): pass\nraise ErlangError('x')">>)
    ).

%%% Several levels

%% The function between two Python frames passes on what its nested call was answered.
passing_on(Context, Inner) ->
    fun(Args) ->
        case py:call(Context, ct_across, Inner, Args) of
            {ok, Value} -> Value;
            {error, {error, Reason}} -> error(Reason);
            {error, {exit, Reason}} -> exit(Reason);
            {error, {throw, Reason}} -> throw(Reason);
            {error, Reason} -> error(Reason)
        end
    end.

exception_passes_two_levels_as_it_was(Config) ->
    Context = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    ok = install(Other),
    [
        with_failure(Kind, Reason, fun() ->
            offering([{between, passing_on(Where, Function)}], fun() ->
                ?assertEqual({error, {Kind, Reason}}, py:call(Context, ct_across, passes, [between, failing]))
            end)
        end)
     || Where <- [Context, Other],
        Kind <- kinds(),
        Reason <- [none, {badmatch, "text"}, [a | b]],
        Function <- [passes, again]
    ],
    ok = py_context:stop(Other).

exception_changes_at_every_level(Config) ->
    Context = ?config(ctx, Config),
    Between = fun([]) ->
        {error, {throw, inner}} = py:call(Context, ct_across, passes, [inner]),
        exit(outer)
    end,
    offering([{inner, fun([]) -> throw(inner) end}, {between, Between}], fun() ->
        ?assertEqual({error, {exit, outer}}, py:call(Context, ct_across, passes, [between])),
        ?assertEqual({error, {'LookupError', "instead"}}, py:call(Context, ct_across, instead, [between])),
        ?assertEqual({ok, {<<"exit">>, <<"outer">>}}, py:call(Context, ct_across, catches, [between]))
    end).

%% A function whose nested call fails in Python, and with it the function.
broken(Context) ->
    fun([]) ->
        {ok, Value} = py:call(Context, builtins, int, [<<"no number">>]),
        Value
    end.

python_exception_of_a_nested_call_is_the_cause(Config) ->
    Context = ?config(ctx, Config),
    offering([{broken, broken(Context)}], fun() ->
        {ok, {Class, Text, Traceback}} = py:call(Context, ct_across, described, [broken]),
        ?assertEqual(<<"PythonError">>, Class),
        py_suite:contains(unicode:characters_to_list(Text), "ValueError: invalid literal for int()"),
        py_suite:contains(unicode:characters_to_list(Traceback), "ValueError: invalid literal for int()"),
        ok = py:exec(Context, <<
            "import erlang\n"
            "try: erlang.call('broken')\n"
            "except erlang.ErlangError as error: caught = error\n"
            "assert caught.kind == 'error'\n"
            "assert caught.reason[0] == 'badmatch'\n"
            "assert isinstance(caught.__cause__, RuntimeError)\n"
            "import traceback\n"
            "text = ''.join(traceback.format_exception(caught))\n"
            "assert 'direct cause' in text and 'no number' in text, text\n"
        >>)
    end),
    %% The frames of the nested call.
    ok = py:exec(Context, <<"def inner():\n    raise KeyError('deep')\n">>),
    Nested = fun([]) ->
        {error, Reason} = py:call(Context, '__main__', inner, []),
        exit(Reason)
    end,
    offering([{nested, Nested}], fun() ->
        {ok, {<<"PythonError">>, <<"KeyError: 'deep'">>, Told}} = py:call(Context, ct_across, described, [nested]),
        py_suite:contains(unicode:characters_to_list(Told), "in inner\n    raise KeyError('deep')")
    end).

cause_is_told_to_erlang(Config) ->
    Context = ?config(ctx, Config),
    offering([{broken, broken(Context)}], fun() ->
        ?assertMatch(
            {error, {error, {badmatch, {error, {'ValueError', _}}}}}, py:call(Context, ct_across, passes, [broken])
        ),
        #{type := 'ErlangError', cause := Cause, traceback_text := Text} = py:last_error(),
        ?assertMatch(#{type := 'PythonError'}, Cause),
        py_suite:contains(maps:get(message, Cause), "ValueError: invalid literal"),
        py_suite:contains(unicode:characters_to_list(Text), "invalid literal for int()")
    end).

cause_of_a_nested_call_in_another_context(Config) ->
    Context = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    offering([{broken, broken(Other)}], fun() ->
        ?assertMatch({ok, {<<"PythonError">>, _, _}}, py:call(Context, ct_across, described, [broken])),
        %% Also of a function that runs in a process of its own.
        ?assertMatch({ok, {<<"PythonError">>, _, _}}, py:await(py:spawn_call(Context, ct_across, described, [broken])))
    end),
    ok = py_context:stop(Other).

failure_without_a_nested_one_has_no_cause(Config) ->
    Context = ?config(ctx, Config),
    %% What went wrong before is not this function's.
    {error, {'ZeroDivisionError', _}} = py:eval(Context, <<"1 / 0">>),
    with_failure(error, why, fun() ->
        ?assertEqual({ok, none}, py:call(Context, ct_across, described, [failing])),
        {error, {'ZeroDivisionError', _}} = py:eval(Context, <<"1 / 0">>),
        ?assertEqual({error, {error, why}}, py:call(Context, ct_across, passes, [failing])),
        ?assertMatch(#{cause := undefined}, py:last_error())
    end).

exception_that_the_function_handled_leaves_the_last_error(Config) ->
    Context = ?config(ctx, Config),
    {error, {'ZeroDivisionError', _}} = py:eval(Context, <<"1 / 0">>),
    Handles = fun([]) ->
        {error, {'ValueError', _}} = py:call(Context, builtins, int, [<<"a">>]),
        #{type := 'ValueError'} = py:last_error(),
        handled
    end,
    offering([{handles, Handles}], fun() ->
        ?assertEqual({ok, <<"handled">>}, py:call(Context, ct_across, passes, [handles]))
    end),
    ?assertMatch(#{type := 'ZeroDivisionError'}, py:last_error()).

last_error_of_a_function_is_its_own(Config) ->
    Context = ?config(ctx, Config),
    Look = fun([]) -> py:last_error() =:= undefined end,
    {error, {'ZeroDivisionError', _}} = py:eval(Context, <<"1 / 0">>),
    offering([{look, Look}], fun() ->
        %% A process of its own has never been answered.
        ?assertEqual({ok, true}, py:await(py:spawn_call(Context, erlang, call, [look])))
    end).

time_out_of_a_nested_call_has_no_cause(Config) ->
    Context = ?config(ctx, Config),
    Slow = fun([]) ->
        {error, Reason} = py:call(Context, time, sleep, [1000], #{timeout => 20}),
        exit(Reason)
    end,
    offering([{slow, Slow}], fun() ->
        ?assertEqual({ok, none}, py:call(Context, ct_across, described, [slow])),
        ?assertEqual({ok, {<<"exit">>, <<"timeout">>}}, py:call(Context, ct_across, catches, [slow])),
        ?assertEqual({error, {exit, timeout}}, py:call(Context, ct_across, passes, [slow]))
    end).
