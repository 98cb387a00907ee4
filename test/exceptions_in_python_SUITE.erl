%% Exceptions of Erlang functions as Python code sees them.
-module(exceptions_in_python_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, gate/0, entered/1, open/2, fail/3, collect/1]).
-import(py_across, [raising/0, failing/0, with_failure/3, kinds/0]).

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

        unknown_function_is_an_erlang_error,
        interrupted_passes_handlers_of_exceptions,
        interrupted_caught_by_python_is_over,
        exit_of_the_interpreter_does_not_pass_as_an_exit,
        exceptions_leave_nothing_behind
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
    py_suite:contains(unicode:characters_to_list(File), "exceptions_in_python_SUITE.erl"),
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
