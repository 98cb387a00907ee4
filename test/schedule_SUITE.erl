%% What a call returns to run next: its result is the result of the call, and others have their turns in between.
-module(schedule_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        result_of_an_erlang_function_is_the_result,
        result_of_an_erlang_function_is_left_as_it_is,
        result_of_a_python_function_is_the_result,
        every_kind_of_request_goes_on,
        erlang_function_runs_in_the_waiting_process,
        erlang_function_of_others_runs_in_a_supervised_process,
        erlang_function_calls_the_same_context,
        namespace_is_the_caller_s_own,
        arguments_arrive_by_position_and_by_name,
        long_chain_gives_its_result,
        long_chain_takes_no_stack,
        long_chain_takes_no_memory,
        long_chains_of_both_kinds_mix,
        others_have_their_turns_during_a_chain,
        chains_of_many_callers_give_their_own_results,
        python_exception_ends_a_chain,
        erlang_exception_ends_a_chain,
        unknown_function_ends_a_chain,
        unknown_python_function_ends_a_chain,
        failed_chain_of_a_cast_is_logged,
        time_out_ends_a_chain,
        time_out_ends_a_function_in_a_chain,
        late_erlang_function_is_a_time_out,
        cancel_ends_a_chain,
        interrupt_ends_a_chain,
        death_of_the_caller_ends_a_chain,
        death_of_the_context_ends_a_chain,
        stop_of_the_context_ends_a_chain,
        stop_of_the_application_ends_a_chain,
        death_of_a_supervised_process_ends_a_chain,
        links_call_erlang,
        chain_in_a_nested_call_gives_its_result,
        chain_in_a_function_of_a_chain_gives_its_result,
        wrong_arguments_are_errors_that_say_so,
        kinds_are_told_apart_when_printed,
        continuation_inside_another_value_is_an_error,
        continuation_as_an_argument_is_an_error,
        continuation_of_a_thread_is_a_value_of_its_own,
        parts_of_a_time_slice_are_used_up,
        wrong_parts_of_a_time_slice_are_errors
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{ctx, another_context(Config)}, {socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ok = py_context:stop(?config(ctx, Config)).

another_context(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:python_path(Context),
    ok = py_suite:install(Context),
    ok = py:exec(Context, <<
        "import builtins, erlang, ct_schedule\nbuiltins.ct_schedule, builtins.erlang = ct_schedule, erlang"
    >>),
    Context.

schedule(Config, Function, Arguments) ->
    py:call(context(Config), ct_schedule, Function, Arguments).

context(Context) when is_pid(Context) -> Context;
context(Config) -> ?config(ctx, Config).

port(Config) -> py_suite:port(?config(socket, Config)).

kinds() -> [<<"schedule_py">>, <<"schedule_inline">>].

%%% Results

result_of_an_erlang_function_is_the_result(Config) ->
    Context = ?config(ctx, Config),
    py_offered:with(#{ct_sum => fun lists:sum/1, ct_none => fun([]) -> ok end}, fun() ->
        ?assertEqual({ok, 6}, schedule(Config, then, [<<"ct_sum">>, 1, 2, 3])),
        ?assertEqual({ok, ok}, schedule(Config, then, [<<"ct_none">>])),
        ?assertEqual({ok, 6}, py:eval(Context, <<"erlang.schedule('ct_sum', 1, 2, x)">>, #{x => 3})),
        %% As a function of the package, too.
        ?assertEqual({ok, 6}, py:call(Context, erlang, schedule, [<<"ct_sum">>, 1, 2, 3]))
    end).

%% It never was in Python, and need not be what Python could hold.
result_of_an_erlang_function_is_left_as_it_is(Config) ->
    Terms = [
        hello, [1 | 2], <<1:3>>, #{1 => a, 1.0 => b}, #{[] => self()}, undefined, nil, fun() -> 1 end,
        {bytes, <<"x">>}, make_ref()
    ],
    py_offered:with(#{ct_nth => fun([N]) -> lists:nth(N, Terms) end}, fun() ->
        [
            begin
                {ok, Result} = schedule(Config, then, [<<"ct_nth">>, N]),
                ?assert(Result =:= Term)
            end
         || {N, Term} <- lists:zip(lists:seq(1, length(Terms)), Terms)
        ]
    end).

result_of_a_python_function_is_the_result(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            ?assertEqual({ok, 4.0}, schedule(Config, Function, [<<"math">>, <<"sqrt">>, [16]])),
            ?assertEqual({ok, 4.0}, schedule(Config, Function, [<<"math">>, <<"sqrt">>, {16}])),
            ?assertEqual({ok, <<"a/b">>}, schedule(Config, Function, [<<"os">>, <<"path.join">>, [a, b]])),
            ?assertEqual({ok, #{<<"x">> => 1}}, schedule(Config, Function, [<<"builtins">>, <<"dict">>, [], #{x => 1}])),
            ?assertEqual({ok, {}}, schedule(Config, Function, [<<"builtins">>, <<"tuple">>]))
        end
     || Function <- [then_python, then_inline]
    ],
    [
        begin
            ?assertEqual({ok, 4.0}, py:eval(Context, <<"erlang.", Kind/binary, "('math', 'sqrt', [16])">>)),
            ?assertEqual({ok, []}, py:eval(Context, <<"erlang.", Kind/binary, "('builtins', 'list')">>)),
            ?assertEqual(
                {ok, #{<<"x">> => 1}},
                py:eval(Context, <<"erlang.", Kind/binary, "(module='builtins', func='dict', args=(), kwargs={'x': 1})">>)
            ),
            {ok, Object} = py:eval(Context, <<"erlang.", Kind/binary, "('builtins', 'object')">>),
            ?assert(py:is_ref(Object))
        end
     || Kind <- kinds()
    ],
    ok.

every_kind_of_request_goes_on(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    Functions = #{ct_sum => fun lists:sum/1, ct_tell => fun([Tag]) -> Test ! {told, Tag}, ok end},
    py_offered:with(Functions, fun() ->
        Sum = [<<"ct_sum">>, 1, 2],
        Sqrt = [<<"math">>, <<"sqrt">>, [16]],
        ?assertEqual({ok, 3}, py:await(py:spawn_call(Context, ct_schedule, then, Sum))),
        ?assertEqual({ok, 4.0}, py:await(py:spawn_call(Context, ct_schedule, then_python, Sqrt))),
        ?assertEqual({ok, 3}, py:call(Context, ct_schedule, then, Sum, #{timeout => 30_000})),
        ok = py:cast(Context, ct_schedule, then, [<<"ct_tell">>, 1]),
        ok = py:cast(Context, ct_schedule, fail_in_erlang, [3, <<"ct_tell">>, 2]),
        [
            receive
                {told, Tag} -> ok
            end
         || Tag <- [1, 2]
        ],
        %% And from a pool.
        ok = py_suite:python_path(py:context()),
        ok = py_suite:install(),
        ?assertEqual({ok, 3}, py:call(ct_schedule, then, Sum)),
        ?assertEqual({ok, 4.0}, py:eval(<<"__import__('erlang').schedule_py('math', 'sqrt', [16])">>)),
        ?assertEqual({ok, 3}, py:await(py:spawn_call(erlang, schedule, Sum))),
        ?assertEqual({ok, [{ok, 3}, {ok, 4.0}]}, py:parallel([{erlang, schedule, Sum}, {erlang, schedule_py, Sqrt}])),
        %% A method of an object.
        {ok, Holder} = py:eval(Context, <<"ct_schedule.Holder()">>),
        ?assertEqual({ok, 3}, py:call_method(Holder, then, Sum))
    end),
    ?assertEqual([], py_suite:flush()).

erlang_function_runs_in_the_waiting_process(Config) ->
    Context = ?config(ctx, Config),
    py_offered:with(#{ct_who => fun([]) -> {self(), get(?MODULE)} end}, fun() ->
        _ = put(?MODULE, mine),
        ?assertEqual({ok, {self(), mine}}, schedule(Config, then, [<<"ct_who">>])),
        ?assertEqual({ok, {self(), mine}}, py:eval(Context, <<"erlang.schedule('ct_who')">>)),
        ?assertEqual({ok, {self(), mine}}, schedule(Config, fail_in_erlang, [5, <<"ct_who">>])),
        _ = erase(?MODULE)
    end).

erlang_function_of_others_runs_in_a_supervised_process(Config) ->
    Test = self(),
    Who = fun([]) -> {self(), get('$ancestors'), process_info(self(), links)} end,
    py_offered:with(#{ct_who => Who, ct_tell => fun([]) -> Test ! {told, Who([])} end}, fun() ->
        {ok, First} = py:await(py:spawn_call(?config(ctx, Config), ct_schedule, then, [<<"ct_who">>])),
        ok = py:cast(?config(ctx, Config), ct_schedule, then, [<<"ct_tell">>]),
        receive
            {told, Second} ->
                [
                    begin
                        ?assertNotEqual(Test, Pid),
                        Known = [erlang_python_sup, whereis(erlang_python_sup)],
                        ?assertMatch([_ | _], [Each || Each <- Ancestors, lists:member(Each, Known)]),
                        ?assertNot(lists:member(Test, Links))
                    end
                 || {Pid, Ancestors, {links, Links}} <- [First, Second]
                ]
        end
    end).

%% The Python code has ended by then, and the context is free.
erlang_function_calls_the_same_context(Config) ->
    Context = ?config(ctx, Config),
    Functions = #{
        ct_again => fun([N]) -> py:call(Context, math, sqrt, [N]) end,
        ct_chain => fun([N]) -> schedule(Config, add_up, [N]) end
    },
    py_offered:with(Functions, fun() ->
        ?assertEqual({ok, {ok, 4.0}}, schedule(Config, then, [<<"ct_again">>, 16])),
        ?assertEqual({ok, {ok, 5050}}, schedule(Config, then, [<<"ct_chain">>, 100])),
        ?assertEqual({ok, {ok, 4.0}}, py:await(py:spawn_call(Context, ct_schedule, then, [<<"ct_again">>, 16]))),
        %% Not even others' requests that wait for the context meanwhile can be in the way.
        Others = [py:spawn_call(Context, ct_schedule, add_up, [1_000]) || _ <- lists:seq(1, 10)],
        ?assertEqual({ok, {ok, 4.0}}, schedule(Config, then, [<<"ct_again">>, 16])),
        [?assertEqual({ok, 500_500}, py:await(Other)) || Other <- Others]
    end).

namespace_is_the_caller_s_own(Config) ->
    Context = ?config(ctx, Config),
    Run = fun(I) ->
        ok = py:exec(Context, <<
            "def down(n, mine):\n"
            "    global last\n"
            "    last = mine\n"
            "    return erlang.schedule_py('__main__', 'down', [n - 1, mine]) if n else (mine, last)\n"
        >>),
        [py:call(Context, '__main__', down, [50, I]), py:eval(Context, <<"down(50, i)">>, #{i => I})]
    end,
    ?assertEqual([[{ok, {I, I}}, {ok, {I, I}}] || I <- lists:seq(1, 10)], py_suite:concurrently(10, Run)),
    %% Also that of a process that has ended.
    Test = self(),
    py_offered:with(#{ct_tell => fun([X]) -> Test ! {told, X} end}, fun() ->
        py_suite:fresh(fun() ->
            ok = py:exec(Context, <<
                "def down(n):\n"
                "    if n: return erlang.schedule_py('__main__', 'down', [n - 1])\n"
                "    return erlang.schedule('ct_tell', 7)\n"
            >>),
            ok = py:cast(Context, '__main__', down, [100])
        end),
        receive
            {told, 7} -> ok
        end
    end),
    %% And a named one.
    {ok, Environment} = py_context:create_local_env(Context),
    ok = py_context:exec(Context, <<"x = 5\ndef get(): return x">>, Environment),
    Code = <<"erlang.schedule_py('__main__', 'get')">>,
    ?assertEqual({ok, 5}, py_context:eval(Context, Code, #{}, infinity, Environment)).

arguments_arrive_by_position_and_by_name(Config) ->
    [
        ?assertEqual(
            {ok, {[1, <<"two">>], #{<<"a">> => [3], <<"b">> => none}}},
            schedule(Config, Function, [<<"ct_schedule">>, <<"kwargs">>, [1, two], #{a => [3], b => none}])
        )
     || Function <- [then_python, then_inline]
    ],
    %% Objects of Python stay what they are, since they never leave it.
    ?assertEqual(
        {ok, true},
        py:eval(?config(ctx, Config), <<"erlang.schedule_py('operator', 'is_', (x := object(), x))">>)
    ).

%%% Chains

long_chain_gives_its_result(Config) ->
    ?assertEqual({ok, 100_000 * 100_001 div 2}, schedule(Config, add_up, [100_000])).

long_chain_takes_no_stack(Config) ->
    [
        begin
            {ok, {First, Last}} = schedule(Config, count_down, [Kind, 100_000]),
            ?assertEqual({Kind, First}, {Kind, Last})
        end
     || Kind <- kinds()
    ].

long_chain_takes_no_memory(Config) ->
    [
        begin
            {ok, _} = schedule(Config, count_down, [Kind, 10_000]),
            Before = py_leaks:resident(),
            {ok, _} = schedule(Config, count_down, [Kind, 100_000]),
            ?assert(py_leaks:resident() - Before < 20_000)
        end
     || Kind <- kinds()
    ].

long_chains_of_both_kinds_mix(Config) ->
    py_offered:with(#{ct_end => fun([X]) -> {ended, X} end}, fun() ->
        ?assertEqual({ok, {ended, true}}, schedule(Config, alternate, [10_001])),
        ?assertEqual({ok, {ended, true}}, schedule(Config, alternate, [0]))
    end).

%% The chain only ends if somebody else's call is served in between.
others_have_their_turns_during_a_chain(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            Ref = py:spawn_call(Context, ct_schedule, until_said, [Kind, I]),
            [?assertEqual({ok, N * 1.0}, py:call(Context, math, sqrt, [N * N])) || N <- lists:seq(1, 10)],
            ?assertEqual({ok, none}, schedule(Config, say, [I, {Kind, I}])),
            ?assertEqual({ok, {Kind, I}}, py:await(Ref))
        end
     || Kind <- kinds(), I <- [1, 2, 3]
    ].

chains_of_many_callers_give_their_own_results(Config) ->
    Sum = fun(I) -> I * (I + 1) div 2 end,
    Results = py_suite:concurrently(50, fun(I) -> [schedule(Config, add_up, [I * 10]) || _ <- lists:seq(1, 5)] end),
    ?assertEqual([lists:duplicate(5, {ok, Sum(I * 10)}) || I <- lists:seq(1, 50)], Results).

%%% Failures

python_exception_ends_a_chain(Config) ->
    [
        begin
            ?assertEqual({error, {'ValueError', "broken"}}, schedule(Config, fail, [N, <<"broken">>])),
            #{type := 'ValueError', traceback := Frames} = py:last_error(),
            ?assertMatch({_, _, <<"fail">>, <<"raise ValueError(text)">>}, lists:last(Frames))
        end
     || N <- [0, 1, 10, 1_000]
    ],
    Ref = py:spawn_call(?config(ctx, Config), ct_schedule, fail, [3, <<"broken">>]),
    ?assertEqual({error, {'ValueError', "broken"}}, py:await(Ref)),
    ?assertEqual(
        {error, {stop_iteration, none}},
        py:eval(?config(ctx, Config), <<"erlang.schedule_py('builtins', 'next', [iter([])])">>)
    ).

erlang_exception_ends_a_chain(Config) ->
    Raise = fun([Kind, Index]) -> erlang:raise(binary_to_existing_atom(Kind), lists:nth(Index, reasons()), []) end,
    py_offered:with(#{ct_raise => Raise}, fun() ->
        [
            begin
                Arguments = [3, <<"ct_raise">>, Kind, Index],
                ?assertEqual({error, {Kind, Reason}}, schedule(Config, fail_in_erlang, Arguments)),
                Ref = py:spawn_call(?config(ctx, Config), ct_schedule, fail_in_erlang, Arguments),
                ?assertEqual({error, {Kind, Reason}}, py:await(Ref))
            end
         || Kind <- [error, exit, throw], {Index, Reason} <- lists:zip(lists:seq(1, length(reasons())), reasons())
        ]
    end).

reasons() -> [boom, {badmatch, [1 | 2]}, #{1 => whereis(init)}, "text"].

unknown_function_ends_a_chain(Config) ->
    Name = <<"ct_no_such_function">>,
    Unknown = {error, {error, {not_registered, Name}}},
    ?assertEqual(Unknown, schedule(Config, then, [Name, 1])),
    ?assertEqual(Unknown, py:await(py:spawn_call(?config(ctx, Config), ct_schedule, then, [Name]))).

unknown_python_function_ends_a_chain(Config) ->
    [
        ?assertMatch({Arguments, {error, {Class, _}}}, {Arguments, schedule(Config, Function, Arguments)})
     || Function <- [then_python, then_inline],
        {Class, Arguments} <- [
            {'ModuleNotFoundError', [<<"ct_no_such_module">>, <<"f">>]},
            {'AttributeError', [<<"math">>, <<"no_such_function">>]},
            {'TypeError', [<<"math">>, <<"pi">>]},
            {'TypeError', [<<"math">>, <<"sqrt">>]},
            {'TypeError', [<<"math">>, <<"sqrt">>, [1, 2, 3]]},
            {'TypeError', [<<"math">>, <<"sqrt">>, [1], #{x => 1}]}
        ]
    ].

failed_chain_of_a_cast_is_logged(Config) ->
    Log = py_suite:capture_log(),
    try
        py_offered:with(#{ct_boom => fun([]) -> error(broken_in_erlang) end}, fun() ->
            [
                begin
                    ok = py:cast(?config(ctx, Config), ct_schedule, Function, Arguments),
                    receive
                        {log, #{level := error} = Event} ->
                            Text = unicode:characters_to_list(logger_formatter:format(Event, #{})),
                            py_suite:contains(Text, Part)
                    end
                end
             || {Function, Arguments, Part} <- [
                    {fail, [2, <<"broken in python">>], "broken in python"},
                    {then, [<<"ct_boom">>], "broken_in_erlang"}
                ]
            ]
        end)
    after
        py_suite:release_log(Log)
    end.

%%% Ends

time_out_ends_a_chain(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            ?assertEqual({error, timeout}, py:call(Context, ct_schedule, go_on, [Kind], #{timeout => 50})),
            ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
            ?assertEqual({error, timeout}, py:await(py:spawn_call(Context, ct_schedule, go_on, [Kind]), 50)),
            idle(Context)
        end
     || Kind <- kinds()
    ],
    ?assertEqual([], py_suite:flush()).

%% Nothing of the chain goes on.
idle(Context) ->
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py:interrupt(Context) =:= not_running end)).

time_out_ends_a_function_in_a_chain(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({error, timeout}, py:call(Context, ct_schedule, spin, [port(Config), <<"spin">>], #{timeout => 100})),
    idle(Context).

%% Erlang code is never killed.
late_erlang_function_is_a_time_out(Config) ->
    Context = ?config(ctx, Config),
    Functions = #{
        ct_late => fun([]) ->
            Over = erlang:monotonic_time(millisecond) + 60,
            ok = py_leaks:eventually(fun() -> erlang:monotonic_time(millisecond) > Over end),
            late
        end,
        ct_nested => fun([]) -> py:call(Context, time, sleep, [1000]) end
    },
    py_offered:with(Functions, fun() ->
        [
            ?assertEqual({Name, {error, timeout}}, {Name, py:call(Context, ct_schedule, then, [Name], #{timeout => 30})})
         || Name <- [<<"ct_late">>, <<"ct_nested">>]
        ]
    end),
    idle(Context),
    ?assertEqual([], py_suite:flush()).

cancel_ends_a_chain(Config) ->
    ended_chain(Config, fun(Context, Kind, Begun) ->
        Ref = py:spawn_call(Context, ct_schedule, for_ever, [Kind, port(Config), <<"begun">>]),
        Begun(),
        ?assertEqual(ok, py:cancel(Ref))
    end).

interrupt_ends_a_chain(Config) ->
    ended_chain(Config, fun(Context, Kind, Begun) ->
        Ref = py:spawn_call(Context, ct_schedule, for_ever, [Kind, port(Config), <<"begun">>]),
        Begun(),
        %% It may wait for its next turn, and run nothing just then.
        ?assertEqual(ok, py_leaks:eventually(fun() -> py:interrupt(Context) =:= ok end)),
        ?assertEqual({error, interrupted}, py:await(Ref))
    end).

death_of_the_caller_ends_a_chain(Config) ->
    ended_chain(Config, fun(Context, Kind, Begun) ->
        Arguments = [Kind, port(Config), <<"begun">>],
        {Pid, _} = Caller = py_suite:spawn_caller(fun() -> py:call(Context, ct_schedule, for_ever, Arguments) end),
        Begun(),
        exit(Pid, kill),
        {died, killed} = py_suite:await_down(Caller, 30_000)
    end).

ended_chain(Config, End) ->
    [
        begin
            _ = End(?config(ctx, Config), Kind, fun() -> py_suite:await_signal(?config(socket, Config), <<"begun">>) end),
            idle(?config(ctx, Config)),
            ?assertEqual([], py_suite:flush())
        end
     || Kind <- kinds()
    ].

death_of_the_context_ends_a_chain(Config) ->
    dead_chain(Config, killed, fun(Context) -> py_suite:silently(fun() -> py_suite:killed(Context) end) end).

stop_of_the_context_ends_a_chain(Config) ->
    dead_chain(Config, normal, fun py_context:stop/1).

dead_chain(Config, Why, End) ->
    [
        begin
            Context = another_context(Config),
            Ref = py:spawn_call(Context, ct_schedule, for_ever, [Kind, port(Config), <<"begun">>]),
            _ = py_suite:await_signal(?config(socket, Config), <<"begun">>),
            ok = End(Context),
            ?assertEqual({error, {context_died, Why}}, py:await(Ref))
        end
     || Kind <- kinds()
    ].

stop_of_the_application_ends_a_chain(Config) ->
    Context = ?config(ctx, Config),
    Refs = [py:spawn_call(Context, ct_schedule, for_ever, [Kind, port(Config), <<"begun">>]) || Kind <- kinds()],
    [_ = py_suite:await_signal(?config(socket, Config), <<"begun">>) || _ <- kinds()],
    ok = py_suite:stop(),
    [?assertMatch({error, {context_died, _}}, py:await(Ref)) || Ref <- Refs],
    ok = py_suite:restart(Config, #{}).

death_of_a_supervised_process_ends_a_chain(Config) ->
    py_offered:with(#{ct_wait => py_offered:waiting(self())}, fun() ->
        Ref = py:spawn_call(?config(ctx, Config), ct_schedule, then, [<<"ct_wait">>, 1]),
        exit(py_offered:arrived([1]), kill),
        {error, {exit, Reason}} = py:await(Ref),
        ?assert(lists:member(Reason, [killed, noproc]))
    end).

%%% Calls and chains in one another

links_call_erlang(Config) ->
    Test = self(),
    py_offered:with(#{ct_link => fun([N]) -> Test ! {link, N}, N end}, fun() ->
        ?assertEqual({ok, 0}, schedule(Config, call_then, [<<"ct_link">>, 100])),
        ?assertEqual([{link, N} || N <- lists:seq(100, 0, -1)], py_suite:flush())
    end).

%% While Python code below it waits, on the same stack.
chain_in_a_nested_call_gives_its_result(Config) ->
    Context = ?config(ctx, Config),
    Functions = #{
        ct_nested => fun([N]) ->
            {ok, Sum} = schedule(Config, add_up, [N]),
            Sum
        end,
        ct_sum => fun lists:sum/1,
        ct_tail => fun([]) ->
            {ok, Sum} = schedule(Config, then, [<<"ct_sum">>, 1, 2, 3]),
            Sum
        end,
        ct_fail => fun([]) -> schedule(Config, fail, [5, <<"broken">>]) end
    },
    py_offered:with(Functions, fun() ->
        ?assertEqual({ok, 500_500}, py:call(Context, erlang, call, [<<"ct_nested">>, 1_000])),
        ?assertEqual({ok, 6}, py:call(Context, erlang, call, [<<"ct_tail">>])),
        ?assertEqual({ok, {<<"error">>, {<<"ValueError">>, "broken"}}}, py:call(Context, erlang, call, [<<"ct_fail">>])),
        %% Of a chain that goes on after each of them.
        ?assertEqual({ok, 0}, schedule(Config, call_then, [<<"ct_nested">>, 20]))
    end).

chain_in_a_function_of_a_chain_gives_its_result(Config) ->
    Down = fun([N]) ->
        case N of
            0 -> bottom;
            _ ->
                {ok, Result} = schedule(Config, then, [<<"ct_down">>, N - 1]),
                Result
        end
    end,
    py_offered:with(#{ct_down => Down}, fun() ->
        ?assertEqual({ok, bottom}, schedule(Config, then, [<<"ct_down">>, 200]))
    end).

%%% Wrong use

wrong_arguments_are_errors_that_say_so(Config) ->
    [
        begin
            Text = py_suite:error_text('TypeError', py:eval(?config(ctx, Config), Code)),
            ?assertMatch({Code, [_ | _]}, {Code, string:find(Text, Part)})
        end
     || {Code, Part} <-
            [
                {<<"erlang.schedule()">>, "name"},
                {<<"erlang.schedule(1)">>, "name"},
                {<<"erlang.schedule(None, 1)">>, "name"},
                {<<"erlang.schedule('ct_end', x=1)">>, "keyword"}
            ] ++
            [
                {<<"erlang.", Kind/binary, Arguments/binary>>, Part}
             || Kind <- kinds(),
                {Arguments, Part} <- [
                    {<<"()">>, "module"},
                    {<<"('math')">>, "func"},
                    {<<"(1, 'sqrt')">>, "module"},
                    {<<"('math', 1)">>, "func"},
                    {<<"('math', len)">>, "func"},
                    {<<"('math', 'sqrt', 5)">>, "args"},
                    {<<"('math', 'sqrt', [5], 5)">>, "kwargs"},
                    {<<"('math', 'sqrt', [5], {1: 2})">>, "kwargs"},
                    {<<"('math', 'sqrt', [5], {}, 1)">>, "argument"},
                    {<<"('math', 'sqrt', x=1)">>, "keyword"}
                ]
            ]
    ].

%% Whoever finds one where it should not be can see what it is.
kinds_are_told_apart_when_printed(Config) ->
    [
        begin
            {ok, Text} = py:eval(?config(ctx, Config), <<"repr(erlang.", Code/binary, ")">>),
            [py_suite:contains(Text, Part) || Part <- Parts]
        end
     || {Code, Parts} <- [
            {<<"schedule('ct_end', 1)">>, ["ct_end"]},
            {<<"schedule_py('math', 'sqrt', [16])">>, ["math", "sqrt"]},
            {<<"schedule_inline('math', 'sqrt', [16])">>, ["math", "sqrt"]}
        ]
    ],
    ok.

continuation_inside_another_value_is_an_error(Config) ->
    [
        begin
            Text = py_suite:error_text('TypeError', py:eval(?config(ctx, Config), Code)),
            ?assertMatch({Code, [_ | _]}, {Code, string:find(Text, "return")})
        end
     || One <- [
            <<"erlang.schedule('ct_end')">>,
            <<"erlang.schedule_py('math', 'sqrt', [16])">>,
            <<"erlang.schedule_inline('math', 'sqrt', [16])">>
        ],
        Code <- [
            <<"[", One/binary, "]">>,
            <<"(1, ", One/binary, ")">>,
            <<"{'a': ", One/binary, "}">>,
            <<"[{'a': (", One/binary, ",)}]">>
        ]
    ],
    ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16])).

continuation_as_an_argument_is_an_error(Config) ->
    py_offered:with(#{ct_echo => fun([X]) -> X end}, fun() ->
        [
            ?assertMatch({Code, {error, {'TypeError', _}}}, {Code, py:eval(?config(ctx, Config), Code, #{pid => self()})})
         || Code <- [
                <<"erlang.call('ct_echo', erlang.schedule('ct_end'))">>,
                <<"erlang.send(pid, erlang.schedule('ct_end'))">>
            ]
        ]
    end),
    ?assertEqual([], py_suite:flush()).

%% A thread returns to nobody: what it has is a value as any other.
continuation_of_a_thread_is_a_value_of_its_own(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import threading\n"
        "def f():\n"
        "    made = []\n"
        "    t = threading.Thread(target=lambda: made.append(erlang.schedule_py('math', 'sqrt', [16])))\n"
        "    t.start()\n"
        "    t.join()\n"
        "    return made[0]\n"
    >>),
    ?assertEqual({ok, 4.0}, py:call(Context, '__main__', f, [])).

%%% Time slices

parts_of_a_time_slice_are_used_up(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            {ok, Used} = py:call(Context, erlang, consume_time_slice, [Percent]),
            ?assert(is_boolean(Used))
        end
     || Percent <- [1, 2, 50, 99, 100]
    ],
    ?assertEqual({ok, true}, py:call(Context, erlang, consume_time_slice, [100])),
    %% A hundred parts of a hundred are all of it.
    [
        begin
            {ok, Count} = schedule(Config, slices, [Percent, 1000]),
            ?assert(Count > 0 andalso Count =< 100 div Percent + 1)
        end
     || Percent <- [1, 10, 50]
    ],
    ok.

wrong_parts_of_a_time_slice_are_errors(Config) ->
    Context = ?config(ctx, Config),
    [
        ?assertMatch({Percent, {error, {Class, _}}}, {Percent, py:call(Context, erlang, consume_time_slice, [Percent])})
     || {Percent, Class} <- [
            {0, 'ValueError'},
            {101, 'ValueError'},
            {-1, 'ValueError'},
            {1 bsl 100, 'ValueError'},
            {1.5, 'TypeError'},
            {none, 'TypeError'},
            {<<"1">>, 'TypeError'}
        ]
    ],
    ?assertMatch({error, {'TypeError', _}}, py:call(Context, erlang, consume_time_slice, [])).
