%% Exceptions on their way from Erlang through Python to Erlang, and the other way round.
-module(exceptions_across_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, gate/0, entered/1, open/2, fail/3, collect/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        every_kind_arrives_as_an_erlang_error,
        text_tells_kind_and_reason,
        text_of_a_large_reason_is_short,
        stacktrace_tells_where_in_erlang,
        stacktrace_goes_back_to_erlang,
        missing_function_of_a_module_is_undef,
        reason_that_cannot_be_converted_is_an_opaque_term,
        opaque_term_goes_through_other_contexts,
        opaque_term_has_no_other_use,

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
        time_out_of_a_nested_call_has_no_cause,

        mnesia_abort_inside_a_transaction_aborts_it,
        mnesia_abort_runs_finally_blocks,
        mnesia_abort_from_deeper_levels_aborts,
        mnesia_abort_of_an_inner_transaction_is_its_value,
        mnesia_abort_outside_a_transaction_is_an_error,
        mnesia_abort_of_a_process_of_its_own_is_an_error,
        other_exits_inside_a_transaction_are_errors,
        mnesia_restarts_after_a_lock_conflict,

        unknown_function_is_an_erlang_error,
        interrupted_passes_handlers_of_exceptions,
        interrupted_caught_by_python_is_over,
        exit_of_the_interpreter_does_not_pass_as_an_exit,
        exceptions_leave_nothing_behind
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun install/1).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    py_suite:all_is_well(Config).

install(Context) ->
    ok = py_callbacks:install(Context),
    py_callbacks:module(Context, "ct_across", <<
        "import erlang\n"
        "def passes(name, *args): return erlang.call(name, *args)\n"
        "def catches(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError as error:\n"
        "        return error.kind, error.reason\n"
        "def again(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError:\n"
        "        raise\n"
        "def anew(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError as error:\n"
        "        raise error\n"
        "def later(name, *args):\n"
        "    kept = None\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError as error:\n"
        "        kept = error\n"
        "    raise kept\n"
        "def instead(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError as error:\n"
        "        raise LookupError('instead') from error\n"
        "def described(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except RuntimeError as error:\n"
        "        cause = error.__cause__\n"
        "        if cause is None: return None\n"
        "        return type(cause).__name__, str(cause), cause.traceback\n"
    >>).

raising() ->
    {raising, fun([Kind, Reason]) -> erlang:raise(binary_to_existing_atom(Kind, utf8), Reason, []) end}.

%% A function that fails with what was put into the process dictionary, so that it need not cross Python.
failing() ->
    {failing, fun([]) ->
        {Kind, Reason} = get(failing),
        case Kind of
            error -> error(Reason);
            exit -> exit(Reason);
            throw -> throw(Reason)
        end
    end}.

with_failure(Kind, Reason, Fun) ->
    _ = put(failing, {Kind, Reason}),
    try
        offering([failing()], Fun)
    after
        erase(failing)
    end.

kinds() -> [error, exit, throw].

%% Reasons, all of which must come back as they were, whatever conversion would make of them.
reasons() ->
    [
        badarg, none, undefined, nil, true, normal, an_atom, 1, 1 bsl 100, -0.0, 1.5, <<"text">>, <<255>>, "text", [], {},
        {badmatch, 5}, {error, {'ValueError', "text"}}, {case_clause, [a | b]}, [a | b], <<1:3>>, #{a => [<<1:3>>]},
        {bytes, <<"b">>}, #{1 => a, 1.0 => b}, self(), make_ref(), hd(erlang:ports()), fun lists:map/2,
        fun() -> self() end, {aborted, why}, lists:seq(1, 10_000), binary:copy(<<"x">>, 1_000_000),
        {stop_iteration, none}, timeout, interrupted
    ].

%%% What Python sees

every_kind_arrives_as_an_erlang_error(Config) ->
    Context = ?config(ctx, Config),
    [
        with_failure(Kind, {badmatch, 5}, fun() ->
            ?assertEqual(
                {ok, {atom_to_binary(Kind, utf8), {<<"badmatch">>, 5}}}, py:call(Context, ct_across, catches, [failing])
            )
        end)
     || Kind <- kinds()
    ],
    with_failure(error, why, fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "try: erlang.failing()\n"
            "except RuntimeError as error:\n"
            "    caught = error\n"
            "assert type(caught) is erlang.ErlangError\n"
            "assert issubclass(erlang.ErlangError, RuntimeError)\n"
            "assert not issubclass(erlang.ErlangError, erlang.Interrupted)\n"
            "assert type(caught.kind) is str and caught.kind == 'error'\n"
            "assert caught.reason == 'why'\n"
            "assert isinstance(caught.stacktrace, list)\n"
            "assert caught.__cause__ is None and caught.__context__ is None\n"
        >>)
    end).

text_tells_kind_and_reason(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            with_failure(Kind, Reason, fun() ->
                ok = py:exec(Context, <<
                    "import erlang\n"
                    "try: erlang.call('failing')\n"
                    "except erlang.ErlangError as error: text = str(error)\n"
                >>)
            end),
            ?assertEqual({ok, Text}, py:eval(Context, <<"text">>))
        end
     || {Kind, Reason, Text} <- [
            {error, {badmatch, 5}, <<"error: {badmatch,5}">>},
            {exit, normal, <<"exit: normal">>},
            {throw, [a | b], <<"throw: [a|b]">>},
            {error, <<"größe"/utf8>>, <<"error: <<\"größe\"/utf8>>"/utf8>>}
        ]
    ],
    ok.

text_of_a_large_reason_is_short(Config) ->
    Context = ?config(ctx, Config),
    with_failure(error, lists:duplicate(1_000_000, <<"word">>), fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "try: erlang.call('failing')\n"
            "except erlang.ErlangError as error:\n"
            "    size = len(str(error))\n"
            "    words = len(error.reason)\n"
        >>),
        {ok, {Size, 1_000_000}} = py:eval(Context, <<"(size, words)">>),
        ?assert(Size < 2_000)
    end).

deep(Args) -> [deeper(Args)].

deeper(Args) -> [hd(Args)].

stacktrace_tells_where_in_erlang(Config) ->
    Context = ?config(ctx, Config),
    offering([{deep, fun ?MODULE:deep/1}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "try: erlang.call('deep')\n"
            "except erlang.ErlangError as error: stack = error.stacktrace\n"
            "def same(): return stack\n"
        >>)
    end),
    {ok, Stack} = py:eval(Context, <<"stack">>),
    ?assertMatch([_, _ | _], Stack),
    Module = atom_to_binary(?MODULE, utf8),
    Ours = [Frame || Frame = {M, _, _, _} <- Stack, M =:= Module],
    [{Module, <<"deeper">>, 1, Deeper}, {Module, <<"deep">>, 1, _} | _] = Ours,
    #{<<"file">> := File, <<"line">> := Line} = Deeper,
    py_suite:contains(unicode:characters_to_list(File), "exceptions_across_SUITE.erl"),
    ?assert(is_integer(Line) andalso Line > 0),
    %% What lies below the function is nobody's business.
    ?assertEqual([], [Frame || Frame = {<<"py_", _/binary>>, _, _, _} <- Stack]).

stacktrace_goes_back_to_erlang(Config) ->
    Context = ?config(ctx, Config),
    offering([{deep, fun ?MODULE:deep/1}, {identity, fun([Value]) -> Value end}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "try: erlang.call('deep')\n"
            "except erlang.ErlangError as error:\n"
            "    assert erlang.call('identity', error.stacktrace) == error.stacktrace\n"
        >>)
    end).

missing_function_of_a_module_is_undef(Config) ->
    Context = ?config(ctx, Config),
    ok = py:register_function(missing, no_such_module, no_such_function),
    try
        ?assertEqual({error, {error, undef}}, py:call(Context, ct_across, passes, [missing])),
        ok = py:exec(Context, <<
            "import erlang\n"
            "try: erlang.call('missing')\n"
            "except erlang.ErlangError as error: text = str(error)\n"
        >>),
        %% Which one.
        {ok, Text} = py:eval(Context, <<"text">>),
        py_suite:contains(unicode:characters_to_list(Text), "no_such_function")
    after
        ok = py:unregister_function(missing)
    end.

reason_that_cannot_be_converted_is_an_opaque_term(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    Take = fun([Reason]) -> Test ! {taken, Reason}, none end,
    ok = py:exec(Context, <<
        "import erlang\n"
        "def take():\n"
        "    try: erlang.call('failing')\n"
        "    except erlang.ErlangError as error:\n"
        "        erlang.call('take', error.reason)\n"
        "        erlang.call('take', [error.reason])\n"
        "        return error.reason\n"
    >>),
    [
        with_failure(error, Reason, fun() ->
            offering([{take, Take}], fun() ->
                %% It goes back as an argument, within others, and as a result.
                ?assertEqual({ok, Reason}, py:call(Context, '__main__', take, [])),
                ?assertEqual([Reason, [Reason]], collect(taken)),
                ?assertEqual({ok, <<"Term">>}, py:eval(Context, <<"type(take()).__name__">>)),
                [_, _] = collect(taken)
            end)
        end)
     || Reason <- [[a | b], <<1:3>>, {case_clause, #{k => [a | b]}}, #{1 => a, 1.0 => b}]
    ],
    ok.

opaque_term_goes_through_other_contexts(Config) ->
    Context = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    ok = py_callbacks:install(Other),
    Forward = fun([Reason]) ->
        %% What Erlang has is the term itself, which other contexts cannot have either.
        [a | b] = Reason,
        {error, {'TypeError', _}} = py:call(Other, operator, is_, [Reason, Reason]),
        forwarded
    end,
    with_failure(error, [a | b], fun() ->
        offering([{forward, Forward}], fun() ->
            ok = py:exec(Context, <<
                "import erlang\n"
                "try: erlang.call('failing')\n"
                "except erlang.ErlangError as error: assert erlang.call('forward', error.reason) == 'forwarded'\n"
            >>)
        end)
    end),
    ok = py_context:stop(Other).

opaque_term_has_no_other_use(Config) ->
    Context = ?config(ctx, Config),
    with_failure(error, [a | b], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "try: erlang.call('failing')\n"
            "except erlang.ErlangError as error: term = error.reason\n"
            "kept = [term] * 3\n"
            "assert isinstance(repr(term), str)\n"
            "for attempt in (lambda: len(term), lambda: list(term), lambda: type(term)(), lambda: term + term):\n"
            "    try: attempt()\n"
            "    except TypeError: pass\n"
            "    else: raise AssertionError(attempt)\n"
            "import gc\n"
            "del term; gc.collect()\n"
        >>),
        ?assertEqual({ok, [[a | b], [a | b], [a | b]]}, py:eval(Context, <<"kept">>)),
        ok = py:exec(Context, <<"del kept">>)
    end).

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

%%% Mnesia

with_mnesia(Fun) ->
    ok = mnesia:start(),
    try
        {atomic, ok} = mnesia:create_table(ct_rows, [{attributes, [key, value]}]),
        Fun()
    after
        py_suite:silently(fun mnesia:stop/0)
    end.

mnesia_abort_inside_a_transaction_aborts_it(Config) ->
    Context = ?config(ctx, Config),
    with_mnesia(fun() ->
        [
            offering([{abort, fun([]) -> mnesia:abort(Reason) end}], fun() ->
                [
                    ?assertEqual(
                        {aborted, Reason},
                        mnesia:transaction(fun() ->
                            ok = mnesia:write({ct_rows, 1, 1}),
                            Result = Call(),
                            %% It is raised at the call.
                            ct:fail({came_back, Result})
                        end)
                    )
                 || Call <- [
                        fun() -> py:call(Context, ct_across, passes, [abort]) end,
                        fun() -> py:call(Context, ct_across, again, [abort]) end,
                        fun() -> py:call(erlang, call, [abort]) end,
                        fun() -> py:eval(Context, <<"__import__('erlang').call('abort')">>) end,
                        fun() -> py:exec(Context, <<"__import__('erlang').call('abort')">>) end
                    ]
                ]
            end)
         || Reason <- [why, {no, "good"}, [a | b]]
        ],
        ?assertEqual([], mnesia:dirty_read(ct_rows, 1)),
        %% In Python it is an exception as any other.
        offering([{abort, fun([]) -> mnesia:abort(why) end}], fun() ->
            ?assertEqual(
                {atomic, {ok, {<<"exit">>, {<<"aborted">>, <<"why">>}}}},
                mnesia:transaction(fun() -> py:call(Context, ct_across, catches, [abort]) end)
            )
        end)
    end).

mnesia_abort_runs_finally_blocks(Config) ->
    Context = ?config(ctx, Config),
    Port = py_suite:port(?config(socket, Config)),
    with_mnesia(fun() ->
        offering([{abort, fun([]) -> mnesia:abort(why) end}], fun() ->
            ?assertEqual(
                {aborted, why},
                mnesia:transaction(fun() -> py:call(Context, ct_frames, frame, [Port, <<"left">>, abort]) end)
            )
        end)
    end),
    _ = py_suite:await_signal(?config(socket, Config), <<"left">>),
    ok.

mnesia_abort_from_deeper_levels_aborts(Config) ->
    Context = ?config(ctx, Config),
    Descend = fun
        ([0]) -> mnesia:abort(deep);
        ([N]) -> {ok, _} = py:call(Context, ct_across, passes, [descend, N - 1])
    end,
    with_mnesia(fun() ->
        offering([{descend, Descend}], fun() ->
            ?assertEqual(
                {aborted, deep},
                mnesia:transaction(fun() ->
                    ok = mnesia:write({ct_rows, 1, 1}),
                    {ok, _} = py:call(Context, ct_across, passes, [descend, 5])
                end)
            )
        end),
        ?assertEqual([], mnesia:dirty_read(ct_rows, 1))
    end).

mnesia_abort_of_an_inner_transaction_is_its_value(Config) ->
    Context = ?config(ctx, Config),
    Inner = fun([Reason]) ->
        {aborted, Reason} = mnesia:transaction(fun() ->
            ok = mnesia:write({ct_rows, 2, 2}),
            mnesia:abort(Reason)
        end),
        inner
    end,
    with_mnesia(fun() ->
        offering([{inner, Inner}], fun() ->
            ?assertEqual({ok, <<"inner">>}, py:call(Context, ct_across, passes, [inner, 1])),
            ?assertEqual(
                {atomic, {ok, <<"inner">>}},
                mnesia:transaction(fun() ->
                    ok = mnesia:write({ct_rows, 1, 1}),
                    py:call(Context, ct_across, passes, [inner, 1])
                end)
            )
        end),
        ?assertMatch([{ct_rows, 1, 1}], mnesia:dirty_read(ct_rows, 1)),
        ?assertEqual([], mnesia:dirty_read(ct_rows, 2))
    end).

mnesia_abort_outside_a_transaction_is_an_error(Config) ->
    Context = ?config(ctx, Config),
    with_failure(exit, {aborted, why}, fun() ->
        ?assertEqual({error, {exit, {aborted, why}}}, py:call(Context, ct_across, passes, [failing])),
        with_mnesia(fun() ->
            ?assertEqual({error, {exit, {aborted, why}}}, py:call(Context, ct_across, passes, [failing]))
        end)
    end).

mnesia_abort_of_a_process_of_its_own_is_an_error(Config) ->
    Context = ?config(ctx, Config),
    with_mnesia(fun() ->
        offering([{abort, fun([]) -> mnesia:abort(why) end}], fun() ->
            ?assertMatch(
                {atomic, {error, {exit, {aborted, _}}}},
                mnesia:transaction(fun() -> py:await(py:spawn_call(Context, ct_across, passes, [abort])) end)
            )
        end)
    end).

other_exits_inside_a_transaction_are_errors(Config) ->
    Context = ?config(ctx, Config),
    with_mnesia(fun() ->
        [
            with_failure(Kind, Reason, fun() ->
                ?assertEqual(
                    {atomic, {error, {Kind, Reason}}},
                    mnesia:transaction(fun() -> py:call(Context, ct_across, passes, [failing]) end)
                )
            end)
         || {Kind, Reason} <- [
                {exit, why}, {error, {aborted, why}}, {throw, {aborted, why}}, {exit, {aborted, why, more}}
            ]
        ]
    end),
    ok.

%% Two transactions take two locks in opposite orders: Mnesia has one of them begin anew.
mnesia_restarts_after_a_lock_conflict(Config) ->
    Test = self(),
    Contexts = [py_suite:new_context(Config) || _ <- [1, 2]],
    [ok = install(Context) || Context <- Contexts],
    with_mnesia(fun() ->
        {atomic, ok} = mnesia:transaction(fun() -> [ok = mnesia:write({ct_rows, Key, []}) || Key <- [a, b]], ok end),
        Append = fun([Key, Value]) ->
            [{_, Row, Values}] = mnesia:wread({ct_rows, binary_to_existing_atom(Key, utf8)}),
            ok = mnesia:write({ct_rows, Row, [Value | Values]})
        end,
        offering([{append, Append}], fun() ->
            Callers = [
                py_suite:spawn_caller(fun() ->
                    _ = put(runs, 0),
                    Outcome = mnesia:transaction(fun() ->
                        Run = put(runs, get(runs) + 1) + 1,
                        {ok, <<"ok">>} = py:call(Context, ct_across, passes, [append, First, I]),
                        %% Both hold their first lock before either asks for its second.
                        _ = [begin Test ! {locked, self()}, receive go -> ok end end || Run =:= 1],
                        {ok, <<"ok">>} = py:call(Context, ct_across, passes, [append, Second, I]),
                        done
                    end),
                    {Outcome, get(runs), py_suite:flush()}
                end)
             || {I, Context, First, Second} <- [{1, hd(Contexts), a, b}, {2, lists:last(Contexts), b, a}]
            ],
            [receive {locked, Pid} -> ok end || {Pid, _} <- Callers],
            [Pid ! go || {Pid, _} <- Callers],
            Results = [py_suite:await_down(Caller, 30_000) || Caller <- Callers],
            ?assertMatch([{result, {{atomic, done}, _, []}}, {result, {{atomic, done}, _, []}}], Results),
            Runs = [N || {result, {_, N, _}} <- Results],
            ?assert(lists:sum(Runs) > 2, Runs),
            %% Each transaction counts once.
            [
                ?assertEqual([1, 2], lists:sort(Values))
             || Key <- [a, b], [{_, _, Values}] <- [mnesia:dirty_read(ct_rows, Key)]
            ]
        end)
    end),
    [ok = py_context:stop(Context) || Context <- Contexts],
    ok.

%%% Others

unknown_function_is_an_erlang_error(Config) ->
    Context = ?config(ctx, Config),
    Reason = {not_registered, <<"no_such_function">>},
    ?assertEqual({error, {error, Reason}}, py:call(Context, ct_across, passes, [no_such_function])),
    ?assertEqual({error, {error, Reason}}, py:await(py:spawn_call(Context, ct_across, passes, [no_such_function]))),
    ?assertEqual(
        {ok, {<<"error">>, {<<"not_registered">>, <<"no_such_function">>}}},
        py:call(Context, ct_across, catches, [no_such_function])
    ).

interrupted_passes_handlers_of_exceptions(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_handles", <<
        "import erlang\n"
        "def handles():\n"
        "    try: return erlang.call('wait')\n"
        "    except Exception: return 'handled'\n"
        "    except KeyboardInterrupt: return 'keyboard'\n"
    >>),
    offering([{wait, gate()}], fun() ->
        Ref = py:spawn_call(Context, ct_handles, handles, []),
        Pid = entered([]),
        ok = py:interrupt(Context),
        ?assertEqual({error, interrupted}, py:await(Ref)),
        Monitor = monitor(process, Pid),
        fail(Pid, error, late),
        receive
            {'DOWN', Monitor, process, Pid, _} -> ok
        end
    end).

interrupted_caught_by_python_is_over(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_caught", <<
        "import erlang\n"
        "def caught():\n"
        "    try: return erlang.call('wait')\n"
        "    except erlang.Interrupted as error:\n"
        "        return isinstance(error, Exception), erlang.call('raising', 'throw', 'next')\n"
    >>),
    offering([{wait, gate()}, raising()], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() -> py:call(Context, ct_caught, caught, []) end),
        Pid = entered([]),
        ok = py:interrupt(Context),
        %% The next function runs in the same process, which is in the first one still.
        open(Pid, late),
        ?assertEqual({result, {error, {throw, <<"next">>}}}, py_suite:await_down(Caller, 30_000))
    end).

%% SystemExit is an exception as any other, in both directions.
exit_of_the_interpreter_does_not_pass_as_an_exit(Config) ->
    Context = ?config(ctx, Config),
    Nested = fun([]) ->
        {error, {'SystemExit', _}} = py:exec(Context, <<"raise SystemExit(3)">>),
        {error, {'KeyboardInterrupt', _}} = py:exec(Context, <<"raise KeyboardInterrupt">>),
        nested
    end,
    offering([{nested, Nested}], fun() ->
        ?assertEqual({ok, <<"nested">>}, py:call(Context, ct_across, passes, [nested]))
    end).

exceptions_leave_nothing_behind(Config) ->
    Context = ?config(ctx, Config),
    Before = py_leaks:snapshot(),
    Reasons = [why, [a | b], {badmatch, "text"}],
    offering([failing()], fun() ->
        py_suite:concurrently(10, fun(_) ->
            [
                begin
                    _ = put(failing, {Kind, Reason}),
                    {error, {Kind, Reason}} = py:call(Context, ct_across, Function, [failing])
                end
             || Kind <- kinds(), Reason <- Reasons, Function <- [passes, again, later], _ <- lists:seq(1, 20)
            ]
        end)
    end),
    ok = py_leaks:check(Before).
