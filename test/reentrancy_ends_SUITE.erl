%% What ends a chain of calls from Erlang to Python and back: time limits, cancel, interrupts and death at each level.
-module(reentrancy_ends_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, gate/0, entered/1, open/2, await/1, collect/1, signal/2, ended/1]).
-import(py_chains, [install/1, port/1, result/1]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        time_limit_ends_every_level_that_waits,
        time_limit_ends_every_level_that_spins,
        time_limit_ends_every_level_that_sleeps,
        nested_requests_after_the_time_limit_are_refused_at_once,
        nested_request_ends_at_the_earlier_limit,
        time_limit_of_a_nested_request_ends_that_one_only,
        time_limit_of_a_middle_level_leaves_the_outer_ones,
        late_value_is_dropped_and_the_context_free_meanwhile,
        value_in_time_counts_although_the_next_call_is_late,
        time_limit_of_await_ends_the_chain,
        awaiting_inside_ends_at_the_time_limit_around_it,

        cancel_ends_python_of_every_level,
        death_of_the_caller_ends_python_of_every_level,
        cancel_at_any_level_ends_python_of_the_inner_ones,
        death_at_any_level_ends_python_of_the_inner_ones,
        death_of_the_context_ends_a_chain_of_many_levels,
        function_of_any_level_may_stop_the_context,
        death_of_the_context_below_is_an_error_above,
        death_of_the_outer_context_leaves_the_inner_call,
        interrupt_hits_the_innermost_level,
        interrupt_of_an_outer_context_unwinds_through_the_inner_call
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    py_chains:init_case(Config).

end_per_testcase(_Case, Config) ->
    py_chains:end_case(Config).

%%% Time limits

%% A chain of that many levels, which goes through the contexts in turn. The innermost function does what it is
%% told; each nested call tells its result.
descent(Config, Contexts, Depth, Innermost) ->
    Test = self(),
    Port = port(Config),
    fun
        ([N, Attempt]) when N =:= Depth ->
            Result = Innermost(lists:nth(N rem length(Contexts) + 1, Contexts), Attempt),
            Test ! {level, {Attempt, N, Result}},
            late;
        ([N, Attempt]) ->
            Next = lists:nth(N rem length(Contexts) + 1, Contexts),
            Result = py:call(Next, ct_frames, frame, [Port, left(N + 1, Attempt), level, N + 1, Attempt]),
            Test ! {level, {Attempt, N, Result}},
            late
    end.

left(N, Attempt) -> iolist_to_binary(io_lib:format("left ~b of ~b", [N, Attempt])).

innermost(Attempt) -> <<"innermost of ", (integer_to_binary(Attempt))/binary>>.

%% The results of the nested calls, from the inside out.
levels(0, _Attempt) ->
    [];
levels(Depth, Attempt) ->
    receive
        {level, {Attempt, Depth, Result}} -> [{Depth, Result} | levels(Depth - 1, Attempt)]
    after 30_000 -> ct:fail({no_result_of_level, Depth, process_info(self(), messages)})
    end.

%% All depths, in one context and through several.
descents(Config, Innermost, Check) ->
    [First, Second, Third] = ?config(contexts, Config),
    [
        offering([{level, descent(Config, Contexts, Depth, Innermost)}], fun() ->
            in_time(Config, First, Depth, Check, 100)
        end)
     || Contexts <- [[First], [First, Second], [First, Second, Third]], Depth <- [1, 2, 3, 5]
    ],
    ok.

%% On a busy machine the time may be over before the innermost level is reached: then once more, with more time.
in_time(Config, Context, Depth, Check, Timeout) ->
    Port = port(Config),
    Socket = ?config(socket, Config),
    Innermost = innermost(Timeout),
    Caller = {Pid, Monitor} = py_suite:spawn_caller(fun() ->
        Frame = [Port, left(1, Timeout), level, 1, Timeout],
        {py:call(Context, ct_frames, frame, Frame, #{timeout => Timeout}), py_suite:flush()}
    end),
    receive
        {innermost, Pid} -> Check(Caller, Depth, Timeout);
        {udp, Socket, _, _, Innermost} -> Check(Caller, Depth, Timeout);
        {'DOWN', Monitor, process, Pid, _} -> in_time(Config, Context, Depth, Check, 2 * Timeout)
    end.

time_limit_ends_every_level_that_waits(Config) ->
    Test = self(),
    Wait = fun(_, _) ->
        Test ! {innermost, self()},
        receive
            go -> waited
        end
    end,
    descents(Config, Wait, fun({Pid, _} = Caller, Depth, Attempt) ->
        %% Python is unwound at the deadline, although the function goes on.
        [signal(Config, left(N, Attempt)) || N <- lists:seq(Depth, 1, -1)],
        [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- ?config(contexts, Config)],
        ?assert(is_process_alive(Pid)),
        Pid ! go,
        ?assertEqual({{error, timeout}, []}, result(Caller)),
        [{Depth, waited} | Levels] = levels(Depth, Attempt),
        ?assertEqual([], [Level || {_, Result} = Level <- Levels, Result =/= {error, timeout}])
    end).

time_limit_ends_every_level_that_spins(Config) ->
    busy_descents(Config, spin).

time_limit_ends_every_level_that_sleeps(Config) ->
    busy_descents(Config, sleep).

busy_descents(Config, Function) ->
    Port = port(Config),
    Run = fun(Context, Attempt) -> py:call(Context, ct_frames, Function, [Port, innermost(Attempt)]) end,
    descents(Config, Run, fun(Caller, Depth, Attempt) ->
        ?assertEqual({{error, timeout}, []}, result(Caller)),
        ?assertEqual([], [Level || {_, Result} = Level <- levels(Depth, Attempt), Result =/= {error, timeout}]),
        signal(Config, <<(innermost(Attempt))/binary, " left">>),
        [signal(Config, left(N, Attempt)) || N <- lists:seq(Depth, 1, -1)],
        [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- ?config(contexts, Config)]
    end).

nested_requests_after_the_time_limit_are_refused_at_once(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    [ok = py_callbacks:module(Context, "ct_ran", <<"ran = []\n">>) || Context <- [First, Second]],
    {ok, Ref} = py:eval(First, <<"type('Thing', (), {'value': 1})()">>),
    Late = fun([]) ->
        await(go),
        [
            {error, timeout} = Request(Context)
         || Context <- [First, Second],
            Request <- [
                fun(C) -> py:call(C, ct_ran, 'ran.append', [1]) end,
                fun(C) -> py:call(C, ct_ran, 'ran.append', [1], #{timeout => 60_000}) end,
                fun(C) -> py:eval(C, <<"__import__('ct_ran').ran.append(1)">>) end,
                fun(C) -> py:exec(C, <<"__import__('ct_ran').ran.append(1)">>) end,
                fun(_) -> py:getattr(Ref, value) end,
                fun(_) -> py:call(builtins, len, [[]]) end
            ]
        ],
        %% What others do is not bound by it.
        {ok, 4.0} = py_suite:fresh(fun() -> py:call(Second, math, sqrt, [16]) end),
        refused
    end,
    offering([{late, Late}], fun() ->
        Port = port(Config),
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            Outcome = py:call(First, ct_frames, frame, [Port, <<"left">>, late], #{timeout => 100}),
            {Outcome, py:call(First, math, sqrt, [16])}
        end),
        signal(Config, <<"left">>),
        Pid ! go,
        ?assertEqual({{error, timeout}, {ok, 4.0}}, result(Caller))
    end),
    [?assertEqual({ok, []}, py:eval(Context, <<"__import__('ct_ran').ran">>)) || Context <- [First, Second]],
    ok.

nested_request_ends_at_the_earlier_limit(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Port = port(Config),
    [
        begin
            Nested = fun([]) ->
                {error, timeout} = py:call(Context, ct_frames, spin, [Port, <<"spins">>], #{timeout => Inner}),
                late
            end,
            offering([{nested, Nested}], fun() ->
                ?assertEqual(
                    {error, timeout}, py:call(First, erlang, call, [nested], #{timeout => 300})
                )
            end)
        end
     || Context <- [First, Second], Inner <- [infinity, 60_000]
    ],
    ok.

time_limit_of_a_nested_request_ends_that_one_only(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Port = port(Config),
    ok = py:exec(First, <<
        "import erlang\n"
        "def outer():\n"
        "    return [erlang.call('nested', function) for function in ('spin', 'sleep')]\n"
    >>),
    [
        begin
            Nested = fun([Function]) ->
                Ended = py:call(Context, ct_frames, Function, [Port, <<"runs">>], #{timeout => 50}),
                {error, timeout} = Ended,
                {ok, 5.0} = py:call(Context, math, sqrt, [25]),
                Function
            end,
            offering([{nested, Nested}], fun() ->
                [
                    ?assertEqual({ok, [<<"spin">>, <<"sleep">>]}, py:call(First, '__main__', outer, [], Options))
                 || Options <- [#{}, #{timeout => 60_000}]
                ]
            end)
        end
     || Context <- [First, Second]
    ],
    ok.

time_limit_of_a_middle_level_leaves_the_outer_ones(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Port = port(Config),
    Test = self(),
    [
        begin
            Middle = fun([]) ->
                Result = py:call(Context, ct_frames, frame, [Port, <<"middle left">>, inner], #{timeout => 200}),
                Test ! {middle, Result},
                {ok, 5.0} = py:call(Context, math, sqrt, [25]),
                middle
            end,
            Inner = fun([]) ->
                Test ! {inner, py:call(First, ct_frames, spin, [Port, <<"spins">>])},
                late
            end,
            offering([{middle, Middle}, {inner, Inner}], fun() ->
                ?assertEqual(
                    {ok, <<"middle">>}, py:call(First, erlang, call, [middle], #{timeout => 60_000})
                ),
                ?assertEqual([{error, timeout}], collect(middle)),
                ?assertEqual([], [Result || Result <- collect(inner), Result =/= {error, timeout}])
            end)
        end
     || Context <- [First, Second]
    ],
    ok.

late_value_is_dropped_and_the_context_free_meanwhile(Config) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    offering([{wait, gate()}], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            Late = py:call(Context, ct_frames, frame, [Port, <<"left">>, wait], #{timeout => 500}),
            {Late, py_suite:flush(), py:call(Context, erlang, call, [wait]), py_suite:flush()}
        end),
        Pid = entered([]),
        signal(Config, <<"left">>),
        %% The next one is inside already when the late value comes.
        Next = py:spawn_call(Context, erlang, call, [wait]),
        Inside = entered([]),
        open(Pid, late),
        open(Inside, next),
        ?assertEqual({ok, <<"next">>}, py:await(Next)),
        Pid = entered([]),
        open(Pid, again),
        ?assertEqual({{error, timeout}, [], {ok, <<"again">>}, []}, result(Caller))
    end).

value_in_time_counts_although_the_next_call_is_late(Config) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    ok = py_callbacks:module(Context, "ct_twice", <<
        "import erlang, ct_signals\n"
        "def twice(port):\n"
        "    first = erlang.call('at_once')\n"
        "    try:\n"
        "        erlang.call('wait')\n"
        "    except BaseException as error:\n"
        "        ct_signals.signal(port, f'{first} {type(error).__name__}')\n"
        "        raise\n"
    >>),
    offering([{at_once, fun([]) -> first end}, {wait, gate()}], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            py:call(Context, ct_twice, twice, [Port], #{timeout => 500})
        end),
        Pid = entered([]),
        signal(Config, <<"first Interrupted">>),
        open(Pid, late),
        ?assertEqual({error, timeout}, result(Caller))
    end).

time_limit_of_await_ends_the_chain(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Test = self(),
    Port = port(Config),
    [
        begin
            Nested = fun([]) ->
                Test ! {nested, py:call(Context, ct_frames, spin, [Port, <<"spins">>])},
                late
            end,
            offering([{nested, Nested}], fun() ->
                Ref = py:spawn_call(First, ct_frames, frame, [Port, <<"left">>, nested]),
                signal(Config, <<"spins">>),
                ?assertEqual({error, timeout}, py:await(Ref, 10)),
                signal(Config, <<"left">>),
                signal(Config, <<"spins left">>),
                receive
                    {nested, Result} -> ?assertMatch({error, _}, Result)
                end,
                ?assertEqual({ok, 4.0}, py:call(First, math, sqrt, [16])),
                ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
            end)
        end
     || Context <- [First, Second]
    ],
    ok.

awaiting_inside_ends_at_the_time_limit_around_it(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Test = self(),
    Port = port(Config),
    Spin = fun() -> py:spawn_call(Second, ct_frames, spin, [Port, <<"spins">>]) end,
    Awaits = fun([]) ->
        Test ! {awaited, py:await(Spin(), infinity)},
        late
    end,
    offering([{awaits, Awaits}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(First, erlang, call, [awaits], #{timeout => 500}) end),
        signal(Config, <<"spins">>),
        signal(Config, <<"spins left">>),
        await({awaited, {error, timeout}}),
        ?assertEqual({error, timeout}, result(Caller))
    end).

%%% Cancel and death

%% A chain through three levels whose innermost one runs Python code; started by spawn_call.
spawned_descent(Config, Contexts) ->
    Test = self(),
    Port = port(Config),
    Nth = fun(N) -> lists:nth(N rem length(Contexts) + 1, Contexts) end,
    Level = fun
        ([3]) ->
            Test ! {inside, self()},
            Test ! {level, {0, 3, py:call(Nth(3), ct_frames, spin, [Port, <<"spins">>])}},
            late;
        ([N]) ->
            Test ! {inside, self()},
            Test ! {level, {0, N, py:call(Nth(N), ct_frames, frame, [Port, left(N + 1, 0), level, N + 1])}},
            late
    end,
    {Level, fun() -> py:spawn_call(hd(Contexts), ct_frames, frame, [Port, left(1, 0), level, 1]) end}.

inside() ->
    receive
        {inside, Pid} -> Pid
    after 30_000 -> ct:fail({nobody_inside, process_info(self(), messages)})
    end.

cancel_ends_python_of_every_level(Config) ->
    [First, Second, Third] = ?config(contexts, Config),
    [
        begin
            {Level, Begin} = spawned_descent(Config, Contexts),
            offering([{level, Level}], fun() ->
                Ref = Begin(),
                Pid = inside(),
                [Pid, Pid] = [inside(), inside()],
                signal(Config, <<"spins">>),
                ok = py:cancel(Ref),
                [signal(Config, Tag) || Tag <- [<<"spins left">>, left(3, 0), left(2, 0), left(1, 0)]],
                [?assertMatch({error, _}, Result) || {_, Result} <- levels(3, 0)],
                ended(Pid),
                [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts]
            end)
        end
     || Contexts <- [[First], [First, Second], [First, Second, Third]]
    ],
    ok.

death_of_the_caller_ends_python_of_every_level(Config) ->
    [First, Second, Third] = ?config(contexts, Config),
    Port = port(Config),
    [
        begin
            {Level, _} = spawned_descent(Config, Contexts),
            offering([{level, Level}], fun() ->
                Caller = spawn(fun() -> py:call(hd(Contexts), ct_frames, frame, [Port, left(1, 0), level, 1]) end),
                [Caller, Caller, Caller] = [inside(), inside(), inside()],
                signal(Config, <<"spins">>),
                ok = py_suite:killed(Caller),
                [signal(Config, Tag) || Tag <- [<<"spins left">>, left(3, 0), left(2, 0), left(1, 0)]],
                [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts]
            end)
        end
     || Contexts <- [[First], [First, Second], [First, Second, Third]]
    ],
    ok.

%% A chain through spawned calls, so that every level has a process of its own, which may be told to take back
%% what it waits for.
awaiting_descent(Config, Context) ->
    Test = self(),
    Port = port(Config),
    fun([N]) ->
        Ref =
            case N of
                3 -> py:spawn_call(Context, ct_frames, spin, [Port, <<"spins">>]);
                _ -> py:spawn_call(Context, ct_frames, frame, [Port, left(N + 1, 0), level, N + 1])
            end,
        Test ! {inside, self()},
        receive
            {py_response, Ref, _} ->
                passed;
            cancel ->
                ok = py:cancel(Ref),
                cancelled
        end
    end.

cancel_at_any_level_ends_python_of_the_inner_ones(Config) ->
    at_any_level(Config, fun(Pid) ->
        Pid ! cancel,
        <<"cancelled">>
    end).

death_at_any_level_ends_python_of_the_inner_ones(Config) ->
    at_any_level(Config, fun(Pid) ->
        exit(Pid, kill),
        killed
    end).

at_any_level(Config, End) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    [
        offering([{level, awaiting_descent(Config, Context)}], fun() ->
            Ref = py:spawn_call(Context, ct_frames, frame, [Port, left(1, 0), level, 1]),
            Pids = [inside(), inside(), inside()],
            signal(Config, <<"spins">>),
            Outcome = End(lists:nth(N, Pids)),
            [signal(Config, Tag) || Tag <- [<<"spins left">>, left(3, 0), left(2, 0), left(1, 0)]],
            Result = py:await(Ref),
            case {Outcome, N} of
                {killed, 1} -> ?assertMatch({error, {exit, _}}, Result);
                {killed, _} -> ?assertEqual({ok, <<"passed">>}, Result);
                {_, 1} -> ?assertEqual({ok, Outcome}, Result);
                {_, _} -> ?assertEqual({ok, <<"passed">>}, Result)
            end,
            %% The processes of the inner levels learn of the end of what they wait for.
            [ended(Pid) || Pid <- lists:sublist(Pids, N)],
            [exit(Pid, kill) || Pid <- Pids],
            [ended(Pid) || Pid <- Pids],
            ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
        end)
     || N <- [1, 2, 3]
    ],
    ok.

death_of_the_context_ends_a_chain_of_many_levels(Config) ->
    [_, _, Victim] = ?config(contexts, Config),
    Test = self(),
    Port = port(Config),
    Descend = fun
        ([0]) ->
            Test ! {innermost, self()},
            receive go -> late end;
        ([N]) ->
            Test ! {level, {0, N, py:call(Victim, ct_frames, frame, [Port, left(N, 0), level, N - 1])}},
            late
    end,
    offering([{level, Descend}], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            py:call(Victim, ct_frames, frame, [Port, left(50, 0), level, 49])
        end),
        await({innermost, Pid}),
        ok = py_suite:killed(Victim),
        [signal(Config, left(N, 0)) || N <- lists:seq(1, 50)],
        Pid ! go,
        ?assertEqual({error, {context_died, killed}}, result(Caller)),
        [
            receive
                {level, {0, N, Result}} -> ?assertEqual({N, {error, {context_died, killed}}}, {N, Result})
            end
         || N <- lists:seq(1, 49)
        ]
    end).

function_of_any_level_may_stop_the_context(Config) ->
    Test = self(),
    [
        begin
            Context = py_suite:new_context(Config),
            ok = install(Context),
            Descend = fun
                ([0]) ->
                    ok = py_context:stop(Context),
                    Test ! {stopped, py:call(Context, math, sqrt, [16])},
                    late;
                ([N]) ->
                    Test ! {nested, py:call(Context, ct_chain, through, [descend, N - 1])},
                    late
            end,
            offering([{descend, Descend}], fun() ->
                ?assertEqual({error, {context_died, normal}}, py:call(Context, ct_chain, through, [descend, Depth]))
            end),
            ?assertMatch([{error, {context_died, _}}], collect(stopped)),
            ?assertEqual(lists:duplicate(Depth, {error, {context_died, normal}}), collect(nested))
        end
     || Depth <- [1, 5]
    ],
    ok.

death_of_the_context_below_is_an_error_above(Config) ->
    [First, _, Victim] = ?config(contexts, Config),
    Port = port(Config),
    Below = fun([]) ->
        {error, {context_died, killed}} = py:call(Victim, ct_signals, spin, [Port, <<"spins">>]),
        {error, {context_died, noproc}} = py:call(Victim, math, sqrt, [16]),
        {ok, 4.0} = py:call(First, math, sqrt, [16]),
        outlived
    end,
    offering([{below, Below}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(First, erlang, call, [below]) end),
        signal(Config, <<"spins">>),
        ok = py_suite:killed(Victim),
        ?assertEqual({ok, <<"outlived">>}, result(Caller))
    end).

death_of_the_outer_context_leaves_the_inner_call(Config) ->
    [First, _, Victim] = ?config(contexts, Config),
    Test = self(),
    Socket = ?config(socket, Config),
    Port = port(Config),
    Inner = fun([]) ->
        Test ! {inner, py:call(First, ct_signals, gate, [Port, <<"gate">>])},
        late
    end,
    offering([{inner, Inner}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(Victim, ct_frames, frame, [Port, <<"left">>, inner]) end),
        Gate = py_suite:await_signal(Socket, <<"gate">>),
        ok = py_suite:killed(Victim),
        signal(Config, <<"left">>),
        py_suite:release(Socket, Gate),
        %% Its value is of use to the function, not to the dead context.
        receive
            {inner, Result} ->
                ?assert(lists:member(Result, [{ok, <<"gate">>}, {error, interrupted}, {error, {context_died, killed}}]))
        end,
        ?assertEqual({error, {context_died, killed}}, result(Caller))
    end).

interrupt_hits_the_innermost_level(Config) ->
    Context = ?config(ctx, Config),
    Port = port(Config),
    Inner = fun([]) ->
        {error, interrupted} = py:call(Context, ct_frames, spin, [Port, <<"spins">>]),
        {ok, 4.0} = py:call(Context, math, sqrt, [16]),
        went_on
    end,
    offering([{inner, Inner}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(Context, erlang, call, [inner]) end),
        signal(Config, <<"spins">>),
        ?assertEqual(ok, py:interrupt(Context)),
        ?assertEqual({ok, <<"went_on">>}, result(Caller)),
        signal(Config, <<"spins left">>)
    end).

interrupt_of_an_outer_context_unwinds_through_the_inner_call(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Test = self(),
    Socket = ?config(socket, Config),
    Port = port(Config),
    Inner = fun([]) ->
        Test ! {inner, py:call(Second, ct_signals, gate, [Port, <<"gate">>])},
        late
    end,
    offering([{inner, Inner}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(First, ct_frames, frame, [Port, <<"left">>, inner]) end),
        Gate = py_suite:await_signal(Socket, <<"gate">>),
        ?assertEqual(ok, py:interrupt(First)),
        signal(Config, <<"left">>),
        py_suite:release(Socket, Gate),
        receive
            {inner, Result} -> ?assert(lists:member(Result, [{ok, <<"gate">>}, {error, interrupted}]))
        end,
        ?assertEqual({error, interrupted}, result(Caller))
    end).
