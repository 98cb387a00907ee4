%% What happens between two steps of a callback: requests that come while another one just ends, ends of all kinds
%% that meet a context which waits.
-module(callback_races_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, await/1]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        request_right_after_a_large_one_is_no_deadlock,
        request_that_an_answered_callback_led_to_is_no_deadlock,
        function_whose_callback_was_interrupted_runs_on_top_of_the_outer_one,
        death_of_a_caller_many_levels_deep_frees_the_context_at_once,
        interrupt_reaches_a_context_that_waits_while_threads_are_busy,
        finaliser_on_top_of_a_callback_calls_in_its_own_right,
        cast_goes_on_in_the_namespace_of_a_process_that_has_ended,
        spawned_call_has_its_own_time_after_the_function,
        turn_begins_with_the_request,
        replaced_class_is_an_error
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% Every case has contexts of its own.
init_per_testcase(_Case, Config) ->
    Contexts = [py_suite:new_context(Config) || _ <- [1, 2]],
    [ok = py_callbacks:install(Context) || Context <- Contexts],
    [{ctx, hd(Contexts)}, {contexts, Contexts}, {socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    Contexts = ?config(contexts, Config),
    [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Contexts],
    {ok, 4.0} = py:call(math, sqrt, [16]),
    [ok = py_context:stop(Context) || Context <- Contexts],
    ?assertEqual([], py_suite:flush()).

result(Caller) ->
    {result, Result} = py_suite:await_down(Caller, 60_000),
    Result.

%%% Circles that are none

%% What was asked is freed after the answer was sent, and before the thread waits again.
request_right_after_a_large_one_is_no_deadlock(Config) ->
    Context = ?config(ctx, Config),
    Large = [[N] || N <- lists:seq(1, 1_000_000)],
    Twice = fun([]) ->
        {ok, 1_000_000} = py:call(Context, builtins, len, [Large]),
        {ok, 4.0} = py:call(Context, math, sqrt, [16]),
        twice
    end,
    offering([{twice, Twice}], fun() ->
        [?assertEqual({ok, <<"twice">>}, py:call(Context, erlang, call, [twice])) || _ <- lists:seq(1, 5)]
    end).

request_that_an_answered_callback_led_to_is_no_deadlock(Config) ->
    [First, Second] = ?config(contexts, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Test = self(),
    ok = py_callbacks:module(First, "ct_spawns", <<
        "import erlang, ct_signals\n"
        "def spawns(port):\n"
        "    erlang.call('spawns')\n"
        "    return ct_signals.gate(port, 'gate')\n"
    >>),
    Spawns = fun([]) ->
        Test ! {ref, py:spawn_call(Second, erlang, call, [asks])},
        ok
    end,
    Asks = fun([]) ->
        Test ! {asks, self()},
        receive
            {ask, Test} -> ok
        end,
        {ok, Root} = py:call(First, math, sqrt, [16]),
        Root
    end,
    offering([{spawns, Spawns}, {asks, Asks}], fun() ->
        Caller = py_suite:spawn_caller(fun() ->
            Result = py:call(First, ct_spawns, spawns, [Port]),
            receive
                {await, Ref} -> {Result, py:await(Ref)}
            end
        end),
        Gate = py_suite:await_signal(Socket, <<"gate">>),
        Asking =
            receive
                {asks, Pid} -> Pid
            end,
        %% Not before: on top of the callback it would be served at once.
        Asking ! {ask, Test},
        py_callbacks:eventually(fun() -> py_chains:waiting(First) =:= 1 end),
        py_suite:release(Socket, Gate),
        receive
            {ref, Ref} -> element(1, Caller) ! {await, Ref}
        end,
        ?assertEqual({{ok, <<"gate">>}, {ok, 4.0}}, result(Caller))
    end).

%%% Interrupts and deaths

function_whose_callback_was_interrupted_runs_on_top_of_the_outer_one(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    Outer = fun([]) ->
        Result = py:call(Context, ct_frames, frame, [py_suite:port(?config(socket, Config)), <<"left">>, inner]),
        Test ! {inner, Result},
        outer
    end,
    Inner = fun([]) ->
        Test ! {inside, self()},
        receive
            go -> Test ! {nested, py:call(Context, math, sqrt, [16], #{timeout => 30_000})}
        end,
        late
    end,
    offering([{outer, Outer}, {inner, Inner}], fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(Context, erlang, call, [outer]) end),
        Pid =
            receive
                {inside, Inside} -> Inside
            end,
        ?assertEqual(ok, py:interrupt(Context)),
        _ = py_suite:await_signal(?config(socket, Config), <<"left">>),
        Pid ! go,
        await({nested, {ok, 4.0}}),
        await({inner, {error, interrupted}}),
        ?assertEqual({ok, <<"outer">>}, result(Caller))
    end).

death_of_a_caller_many_levels_deep_frees_the_context_at_once(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    Down = fun
        ([0]) ->
            Test ! {deepest, self()},
            receive
                never -> ok
            end;
        ([N]) ->
            {ok, Value} = py:call(Context, erlang, call, [down, N - 1]),
            Value
    end,
    offering([{down, Down}], fun() ->
        Caller = spawn(fun() -> py:call(Context, erlang, call, [down, 200]) end),
        await({deepest, Caller}),
        ok = py_suite:killed(Caller),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end).

%% Whichever thread comes first delivers an interrupt, and one that waits is never the first.
interrupt_reaches_a_context_that_waits_while_threads_are_busy(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    ok = py:exec(Context, <<
        "import threading\n"
        "ending = False\n"
        "def work():\n"
        "    while not ending: pass\n"
        "threads = [threading.Thread(target=work) for _ in range(2)]\n"
        "for thread in threads: thread.start()\n"
    >>),
    Waits = fun([]) ->
        Test ! {waits, self()},
        receive
            go -> late
        end
    end,
    offering([{waits, Waits}], fun() ->
        [
            begin
                %% Its function runs in a process of its own, so the answer comes when the code has ended.
                Ref = py:spawn_call(Context, erlang, call, [waits]),
                Pid =
                    receive
                        {waits, Waiting} -> Waiting
                    end,
                ?assertEqual(ok, py:interrupt(Context)),
                ?assertEqual({error, interrupted}, py:await(Ref)),
                Pid ! go
            end
         || _ <- lists:seq(1, 10)
        ]
    end),
    ok = py:exec(Context, <<"ending = True\nfor thread in threads: thread.join()">>).

finaliser_on_top_of_a_callback_calls_in_its_own_right(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    ok = py_callbacks:module(Context, "ct_final", <<
        "import erlang\n"
        "class Final:\n"
        "    def __del__(self): erlang.call('finalised')\n"
    >>),
    Drops = fun([]) ->
        ok = dropped(Context),
        true = erlang:garbage_collect(),
        receive
            go -> ok
        end
    end,
    offering([{drops, Drops}, {finalised, fun([]) -> Test ! {finalised, self()} end}], fun() ->
        {Pid, _} = Caller = py_suite:spawn_caller(fun() -> py:call(Context, erlang, call, [drops]) end),
        receive
            {finalised, By} -> ?assertNotEqual(Pid, By)
        after 30_000 -> ct:fail(not_finalised)
        end,
        Pid ! go,
        ?assertEqual({ok, <<"ok">>}, result(Caller))
    end).

dropped(Context) ->
    {ok, Final} = py:call(Context, ct_final, 'Final', []),
    true = py:is_ref(Final),
    ok.

%%% Turns

cast_goes_on_in_the_namespace_of_a_process_that_has_ended(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    {Pid, Monitor} = spawn_monitor(fun() ->
        ok = py:exec(Context, <<
            "import erlang, ct_signals\n"
            "def first(port):\n"
            "    ct_signals.gate(port, 'first')\n"
            "    return erlang.schedule_py('__main__', 'second', [port])\n"
            "def second(port):\n"
            "    ct_signals.signal(port, 'second')\n"
            "    return erlang.schedule_py('__main__', 'third', [port])\n"
            "def third(port):\n"
            "    ct_signals.signal(port, 'third')\n"
        >>),
        py:cast(Context, '__main__', first, [Port])
    end),
    Gate = py_suite:await_signal(Socket, <<"first">>),
    receive
        {'DOWN', Monitor, process, Pid, normal} -> ok
    end,
    py_suite:release(Socket, Gate),
    _ = py_suite:await_signal(Socket, <<"second">>),
    _ = py_suite:await_signal(Socket, <<"third">>),
    %% It goes when the cast is over.
    Third = <<
        "any(hasattr(module, 'third') for name, module in [*__import__('sys').modules.items()]"
        " if name.startswith('_erlang_process_'))"
    >>,
    ?assertEqual(ok, py_leaks:eventually(fun() -> py:eval(Context, Third) =:= {ok, false} end)).

%%% What requests leave to others

%% The time limit around a function ends what it spawned only as long as the function runs.
spawned_call_has_its_own_time_after_the_function(Config) ->
    [Context, Other] = ?config(contexts, Config),
    Test = self(),
    Hold = fun([Value]) ->
        Test ! {holds, self()},
        receive
            go -> Value
        end
    end,
    Spawns = fun([]) -> Test ! {spawned, py:spawn_call(Other, erlang, call, [hold, 5])}, 1 end,
    offering([{hold, Hold}, {spawns, Spawns}], fun() ->
        Limit = erlang:start_timer(2_000, self(), limit),
        ?assertEqual({ok, 1}, py:call(Context, erlang, call, [spawns], #{timeout => 1_000})),
        Ref =
            receive
                {spawned, Spawned} -> Spawned
            end,
        Pid =
            receive
                {holds, Holding} -> Holding
            end,
        receive
            {timeout, Limit, limit} -> ok
        end,
        Pid ! go,
        ?assertEqual({ok, 5}, py:await(Ref))
    end).

turn_begins_with_the_request(Config) ->
    Context = ?config(ctx, Config),
    [?assertEqual({ok, false}, py:call(Context, erlang, consume_time_slice, [60])) || _ <- lists:seq(1, 3)],
    Code = <<"[__import__('erlang').consume_time_slice(60) for _ in range(3)]">>,
    ?assertEqual({ok, [false, true, false]}, py:eval(Context, Code)).

%% Code can put anything into a module; it is not taken for what was there.
replaced_class_is_an_error(Config) ->
    ok = py:exec(?config(ctx, Config), <<
        "import _erlang, erlang, pickle, threading\n"
        "class Small: __slots__ = ()\n"
        "told = []\n"
        "def calls():\n"
        "    try:\n"
        "        erlang.whereis('init')\n"
        "    except RuntimeError as error:\n"
        "        told.append(str(error))\n"
        "kept = _erlang.Pid\n"
        "text = pickle.dumps(erlang.whereis('init'))\n"
        "try:\n"
        "    for other in (Small, int, 5):\n"
        "        _erlang.Pid = other\n"
        "        thread = threading.Thread(target=calls)\n"
        "        thread.start()\n"
        "        thread.join()\n"
        "        try:\n"
        "            pickle.loads(text)\n"
        "        except RuntimeError as error:\n"
        "            told.append(str(error))\n"
        "finally:\n"
        "    _erlang.Pid = kept\n"
        "assert told == ['a class of the module _erlang was replaced'] * 6, told\n"
        "assert pickle.loads(text) == erlang.whereis('init')\n"
    >>).
