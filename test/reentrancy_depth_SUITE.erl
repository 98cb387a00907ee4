%% How deep calls from inside a callback may go, and the order in which the requests of others run meanwhile.
-module(reentrancy_depth_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, gate/0, entered/1, open/2, await/1, eventually/1, signal/2]).
-import(py_chains, [port/1, waiting/1, result/1, descender/2, call_down/2]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        mutual_recursion_200_deep_in_one_context,
        mutual_recursion_200_deep_between_two_contexts,
        mutual_recursion_200_deep_through_awaited_calls,
        endless_recursion_is_a_recursion_error,
        endless_recursion_without_python_frames_is_a_recursion_error,
        endless_recursion_between_two_contexts_is_a_recursion_error,
        endless_recursion_through_awaited_calls_is_a_recursion_error,
        endless_recursion_through_c_code_is_a_recursion_error,
        endless_recursion_through_conversions_is_a_recursion_error,

        requests_of_others_wait_and_run_in_their_order,
        nested_requests_overtake_those_that_wait,
        two_chains_in_one_context_do_not_mix,
        requests_that_were_put_off_can_be_taken_back,
        requests_that_were_put_off_are_answered_when_the_context_dies,
        requests_that_were_put_off_move_to_the_replacement_of_a_stuck_context
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    py_chains:init_case(Config).

end_per_testcase(_Case, Config) ->
    py_chains:end_case(Config).

%%% Depth

mutual_recursion_200_deep_in_one_context(Config) ->
    Context = ?config(ctx, Config),
    offering([{down, descender([Context], fun py_chains:call_down/2)}], fun() ->
        ?assertEqual({ok, 200}, call_down(Context, 200)),
        ?assertEqual({ok, 200}, py:call(Context, ct_chain, down, [200], #{timeout => 60_000}))
    end).

mutual_recursion_200_deep_between_two_contexts(Config) ->
    [First, Second, Third] = ?config(contexts, Config),
    offering([{down, descender([First, Second], fun py_chains:call_down/2)}], fun() ->
        ?assertEqual({ok, 200}, call_down(First, 200)),
        ?assertEqual({ok, 200}, call_down(Second, 200))
    end),
    offering([{down, descender([First, Second, Third], fun py_chains:call_down/2)}], fun() ->
        ?assertEqual({ok, 200}, call_down(First, 200))
    end).

mutual_recursion_200_deep_through_awaited_calls(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Await = fun(Context, N) -> py:await(py:spawn_call(Context, ct_chain, down, [N]), infinity) end,
    [
        offering([{down, descender(Contexts, Await)}], fun() ->
            ?assertEqual({ok, 200}, Await(First, 200))
        end)
     || Contexts <- [[First], [First, Second]]
    ],
    ok.

endless_recursion_is_a_recursion_error(Config) ->
    Context = ?config(ctx, Config),
    offering([{down, descender([Context], fun py_chains:call_down/2)}], fun() ->
        recursion_error(fun() -> call_down(Context, 10_000) end),
        ?assertEqual({ok, 100}, call_down(Context, 100))
    end).

endless_recursion_without_python_frames_is_a_recursion_error(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    Call = fun
        (_Context, 0) -> {ok, 0};
        (Context, N) -> py:call(Context, erlang, call, [down, N - 1])
    end,
    [
        offering([{down, descender(Contexts, Call)}], fun() ->
            ?assertEqual({ok, 0}, Call(First, 200)),
            recursion_error(fun() -> Call(First, 10_000) end),
            ?assertEqual({ok, 0}, Call(First, 100))
        end)
     || Contexts <- [[First], [First, Second]]
    ],
    ok.

endless_recursion_between_two_contexts_is_a_recursion_error(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    offering([{down, descender([First, Second], fun py_chains:call_down/2)}], fun() ->
        recursion_error(fun() -> call_down(First, 10_000) end),
        ?assertEqual({ok, 100}, call_down(First, 100))
    end).

endless_recursion_through_awaited_calls_is_a_recursion_error(Config) ->
    Context = ?config(ctx, Config),
    Await = fun(Where, N) -> py:await(py:spawn_call(Where, ct_chain, down, [N]), infinity) end,
    offering([{down, descender([Context], Await)}], fun() ->
        recursion_error(fun() -> Await(Context, 10_000) end),
        ?assertEqual({ok, 100}, Await(Context, 100))
    end).

endless_recursion_through_c_code_is_a_recursion_error(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_deep", <<
        "import erlang, functools, json, re\n"
        "class Asks:\n"
        "    def __init__(self, n): self.n = n\n"
        "    def __repr__(self): return str(erlang.call('down', self.n))\n"
        "def sort(n): return sorted([0], key=lambda _: erlang.call('down', n))\n"
        "def reduce(n): return functools.reduce(lambda a, b: erlang.call('down', n), [0, 0])\n"
        "def substitute(n): return re.sub('a', lambda _: str(erlang.call('down', n)), 'a')\n"
        "def show(n): return repr([[[Asks(n)]]])\n"
        "def dump(n): return json.dumps([[object()]], default=lambda _: erlang.call('down', n))\n"
        "def first(n):\n"
        "    def inner(m): return erlang.call('down', n) if m == 0 else inner(m - 1)\n"
        "    return inner(100)\n"
    >>),
    [
        begin
            Call = fun(Where, N) -> py:call(Where, ct_deep, Function, [N + 1]) end,
            offering([{down, descender([Context], Call)}], fun() ->
                recursion_error(fun() -> Call(Context, 0) end),
                ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
            end)
        end
     || Function <- [sort, reduce, substitute, show, dump, first]
    ],
    ok.

%% The function of a conversion must not come back to the context, but may go on to another one.
endless_recursion_through_conversions_is_a_recursion_error(Config) ->
    [First, Second, _] = ?config(contexts, Config),
    [
        ok = py_callbacks:module(Context, "ct_converts", <<
            "import erlang\n"
            "class Asks:\n"
            "    def __init__(self, n): self.n = n\n"
            "    def __erlang_term__(self): return erlang.call('down', self.n)\n"
        >>)
     || Context <- [First, Second]
    ],
    Call = fun(Where, N) -> py:call(Where, ct_converts, 'Asks', [N + 1]) end,
    offering([{down, descender([First, Second], Call)}], fun() ->
        Reason = innermost_reason(Call(First, 0)),
        ?assertMatch({deadlock, [_ | _]}, Reason)
    end).

innermost_reason({error, {throw, {stopped, Reason}}}) -> Reason;
innermost_reason({error, Reason}) -> Reason.

recursion_error(Call) ->
    Result = Call(),
    case Result of
        {error, {throw, {stopped, {'RecursionError', _}}}} -> ok;
        {error, {'RecursionError', _}} -> ok;
        _ -> ct:fail({no_recursion_error, Result})
    end.

%%% The others

requests_of_others_wait_and_run_in_their_order(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_order", <<"order = []\n">>),
    offering([{wait, gate()}], fun() ->
        Caller = py_suite:spawn_caller(fun() ->
            {py:call(Context, erlang, call, [wait]), py:call(Context, ct_order, 'order.append', [<<"caller">>])}
        end),
        Pid = entered([]),
        Others = [
            begin
                Other = py_suite:spawn_caller(fun() -> py:call(Context, ct_order, 'order.append', [I]) end),
                eventually(fun() -> waiting(Context) =:= I end),
                Other
            end
         || I <- lists:seq(1, 10)
        ],
        Mine = [py:spawn_call(Context, ct_order, 'order.append', [I]) || I <- lists:seq(11, 20)],
        ?assertEqual(20, waiting(Context)),
        open(Pid, done),
        ?assertEqual({{ok, <<"done">>}, {ok, none}}, result(Caller)),
        [?assertEqual({ok, none}, result(Other)) || Other <- Others],
        [?assertEqual({ok, none}, py:await(Ref)) || Ref <- Mine],
        {ok, Order} = py:eval(Context, <<"__import__('ct_order').order">>),
        ?assertEqual(lists:seq(1, 20), Order -- [<<"caller">>])
    end).

nested_requests_overtake_those_that_wait(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_order", <<"order = []\n">>),
    Test = self(),
    Append = fun(What) -> py:call(Context, ct_order, 'order.append', [What]) end,
    Work = fun([]) ->
        Test ! submit,
        await(submitted),
        [{ok, none} = Append({<<"nested">>, I}) || I <- lists:seq(1, 5)],
        none
    end,
    offering([{work, Work}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(Context, erlang, call, [work]) end),
        await(submit),
        Refs = [py:spawn_call(Context, ct_order, 'order.append', [I]) || I <- lists:seq(1, 5)],
        element(1, Caller) ! submitted,
        ?assertEqual({ok, none}, result(Caller)),
        [?assertEqual({ok, none}, py:await(Ref)) || Ref <- Refs]
    end),
    ?assertEqual(
        {ok, [{<<"nested">>, I} || I <- lists:seq(1, 5)] ++ lists:seq(1, 5)},
        py:eval(Context, <<"__import__('ct_order').order">>)
    ).

two_chains_in_one_context_do_not_mix(Config) ->
    Context = ?config(ctx, Config),
    Nested = fun([I, 0]) ->
            I = get(me);
        ([I, N]) ->
            I = get(me),
            {ok, I} = py:call(Context, ct_chain, through, [nested, I, N - 1]),
            I
    end,
    offering([{nested, Nested}], fun() ->
        Results = py_suite:concurrently(50, fun(I) ->
            _ = put(me, I),
            [{ok, I} = py:call(Context, ct_chain, through, [nested, I, J rem 4]) || J <- lists:seq(1, 20)],
            py_suite:flush()
        end),
        ?assertEqual([[]], lists:usort(Results))
    end).

requests_that_were_put_off_can_be_taken_back(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_order", <<"order = []\n">>),
    Append = fun(What) -> py:spawn_call(Context, ct_order, 'order.append', [What]) end,
    offering([{wait, gate()}], fun() ->
        Ref = py:spawn_call(Context, erlang, call, [wait]),
        Pid = entered([]),
        [Cancelled, Kept] = [Append(What) || What <- [<<"cancelled">>, <<"kept">>]],
        Test = self(),
        Dying = spawn(fun() ->
            _ = Append(<<"dead">>),
            Test ! {submitted, self()},
            receive never -> ok end
        end),
        await({submitted, Dying}),
        Late = py_suite:spawn_caller(fun() ->
            py:call(Context, ct_order, 'order.append', [<<"late">>], #{timeout => 20})
        end),
        ?assertEqual({error, timeout}, result(Late)),
        ok = py:cancel(Cancelled),
        ok = py_suite:killed(Dying),
        open(Pid, done),
        ?assertEqual({ok, <<"done">>}, py:await(Ref)),
        ?assertEqual({ok, none}, py:await(Kept)),
        ?assertEqual({ok, [<<"kept">>]}, py:eval(Context, <<"__import__('ct_order').order">>))
    end).

requests_that_were_put_off_are_answered_when_the_context_dies(Config) ->
    [_, _, Victim] = ?config(contexts, Config),
    Port = port(Config),
    offering([{wait, gate()}], fun() ->
        Caller = {Pid, _} = py_suite:spawn_caller(fun() ->
            py:call(Victim, ct_frames, frame, [Port, <<"left">>, wait])
        end),
        Pid = entered([]),
        Mine = [py:spawn_call(Victim, operator, pos, [I]) || I <- lists:seq(1, 100)],
        Others = [py_suite:spawn_caller(fun() -> py:call(Victim, operator, pos, [I]) end) || I <- lists:seq(1, 10)],
        eventually(fun() -> waiting(Victim) =:= 110 end),
        ok = py_suite:killed(Victim),
        [?assertEqual({error, {context_died, killed}}, py:await(Ref)) || Ref <- Mine],
        [?assertEqual({error, {context_died, killed}}, result(Other)) || Other <- Others],
        signal(Config, <<"left">>),
        open(Pid, late),
        ?assertEqual({error, {context_died, killed}}, result(Caller))
    end).

requests_that_were_put_off_move_to_the_replacement_of_a_stuck_context(Config) ->
    ok = py_suite:restart(Config, #{stuck_after => 300, num_contexts => 1}),
    Stuck = py:context(1),
    ok = py_callbacks:install(Stuck),
    Socket = ?config(socket, Config),
    Port = port(Config),
    %% Code that ignores interrupts runs on top of code that waits.
    Hang = fun([]) ->
        {error, timeout} = py:call(Stuck, ct_signals, gate, [Port, <<"gate">>], #{timeout => 100}),
        late
    end,
    ok = py:register_function(hang, Hang),
    ok = py:register_function(wait, gate()),
    Waiting = py_suite:spawn_caller(fun() -> py:call(Stuck, ct_frames, frame, [Port, <<"left">>, wait]) end),
    Pid = entered([]),
    Queued = [py:spawn_call(operator, pos, [I]) || I <- lists:seq(1, 10)],
    ?assertEqual(10, waiting(Stuck)),
    %% The process that runs the function makes the context stuck, and goes on.
    Pid ! {py_callbacks, go, fun() -> Hang([]) end},
    Gate = py_suite:await_signal(Socket, <<"gate">>),
    py_suite:silently(fun() ->
        ?assertEqual([{ok, I} || I <- lists:seq(1, 10)], [py:await(Ref) || Ref <- Queued]),
        ?assertEqual({error, {context_died, stuck}}, result(Waiting))
    end),
    ?assertNotEqual(Stuck, py:context(1)),
    py_suite:release(Socket, Gate).
