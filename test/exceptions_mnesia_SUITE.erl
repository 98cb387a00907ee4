%% Python code inside Mnesia transactions: aborts and restarts go through it, other exceptions do not.
-module(exceptions_mnesia_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2]).
-import(py_across, [install/1, with_failure/3]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        mnesia_abort_inside_a_transaction_aborts_it,
        mnesia_abort_runs_finally_blocks,
        mnesia_abort_from_deeper_levels_aborts,
        mnesia_abort_of_an_inner_transaction_is_its_value,
        mnesia_abort_outside_a_transaction_is_an_error,
        mnesia_abort_of_a_process_of_its_own_is_an_error,
        other_exits_inside_a_transaction_are_errors,
        mnesia_restarts_after_a_lock_conflict
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
