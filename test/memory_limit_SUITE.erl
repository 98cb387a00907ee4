%% Memory of contexts: what is counted, and what becomes of code that takes more than it may.
-module(memory_limit_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(MIB, (1 bsl 20)).
-define(LIMIT, (64 * ?MIB)).
%% How far code may get before it hears of the limit: see docs/limits.md.
-define(SLACK, (8 * ?MIB)).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    [
        {owngil, [], [
            usage_is_told_while_code_runs,
            usage_follows_what_is_held,
            block_up_to_the_limit_is_granted_and_one_beyond_is_refused,
            many_small_objects_end_in_a_memory_error,
            objects_in_circles_are_gone_when_the_answer_arrives,
            c_code_hears_of_the_limit,
            code_that_swallows_the_error_stays_within_the_slack,
            caller_learns_where_memory_ran_out,
            argument_beyond_the_limit_is_a_memory_error,
            the_context_goes_on_after_each_of_many_errors,
            other_contexts_do_not_notice,
            thread_of_python_hears_of_the_limit_itself,
            threads_that_come_and_go_leave_nothing_counted,
            task_hears_of_the_limit_and_the_others_go_on,
            large_results_count_until_erlang_drops_them,
            exit_handlers_run_though_the_limit_was_reached,
            contexts_that_follow_one_another_have_their_own_limits,
            pools_hand_the_limit_on,
            setting_holds_for_new_contexts,
            wrong_limits_are_refused
        ]},
        {worker, [], [a_shared_interpreter_has_no_limit_and_no_usage]}
    ].

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 32}).

init_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}),
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

limited() ->
    limited(?LIMIT).

limited(Limit) ->
    %% Interpreters are used again under the same policy only: these have not been other suites'.
    Own = #{network => [{any, any}, {<<"memory_limit_SUITE">>, any}]},
    {ok, Context} = py_context:new(#{mode => owngil, memory_limit => Limit, sandbox => Own}),
    ok = py_context:exec(Context, <<
        "import collections, itertools, json\n"
        "class Node:\n"
        "    def __init__(self, next):\n"
        "        self.next, self.me = next, self\n"
        "def chain():\n"
        "    node = None\n"
        "    while True:\n"
        "        node = Node(node)\n"
    >>),
    Context.

used(Context) ->
    {ok, #{used := Used}} = py_context:memory_usage(Context),
    Used.

peak(Context) ->
    {ok, #{peak := Peak}} = py_context:memory_usage(Context),
    Peak.

out_of_memory(Result) ->
    ?assertMatch({error, {'MemoryError', _}}, Result).

%% After whatever it met, the context runs code that needs some memory.
goes_on(Context) ->
    ?assertMatch({ok, #{used := Used}} when Used < ?LIMIT div 2, py_context:memory_usage(Context)),
    ?assertEqual({ok, 100000}, py:eval(Context, <<"len([object() for _ in range(100000)])">>)).

usage_is_told_while_code_runs(Config) ->
    Context = limited(),
    ok = py_suite:install(Context),
    Socket = ?config(socket, Config),
    Ref = py:spawn_call(Context, ct_signals, gate, [py_suite:port(Socket), <<"at the gate">>]),
    Port = py_suite:await_signal(Socket, <<"at the gate">>),
    {ok, #{used := Used, peak := Peak, limit := ?LIMIT}} = py_context:memory_usage(Context),
    ?assert(Used > 0 andalso Peak >= Used),
    py_suite:release(Socket, Port),
    ?assertEqual({ok, <<"at the gate">>}, py:await(Ref)).

usage_follows_what_is_held(_Config) ->
    {ok, Context} = py_context:new(#{mode => owngil}),
    Before = used(Context),
    ok = py_context:exec(Context, <<"held = bytearray(32 << 20)">>),
    Held = used(Context) - Before,
    ?assert(Held >= 32 * ?MIB andalso Held < 34 * ?MIB),
    ok = py_context:exec(Context, <<"del held">>),
    ?assert(abs(used(Context) - Before) < 2 * ?MIB),
    ?assert(peak(Context) >= Before + 32 * ?MIB),
    %% Smaller ones may find room in arenas that are there.
    ok = py_context:exec(Context, <<"held = [bytes(1000) for _ in range(30_000)]">>),
    ?assert(used(Context) - Before >= 30_000_000),
    ?assertMatch({ok, #{limit := infinity}}, py_context:memory_usage(Context)).

block_up_to_the_limit_is_granted_and_one_beyond_is_refused(_Config) ->
    Context = limited(),
    Take = fun(Size) -> py:eval(Context, <<"len(bytearray(n))">>, #{n => Size}) end,
    {ok, _} = Take(1),
    Room = ?LIMIT - used(Context),
    ?assertEqual({ok, Room div 2}, Take(Room div 2)),
    %% Blocks are rounded up to pages.
    At = Room - 32 * 1024,
    ?assertEqual({ok, At}, Take(At)),
    out_of_memory(Take(Room + 1)),
    ?assert(peak(Context) =< ?LIMIT),
    out_of_memory(Take(1 bsl 40)),
    goes_on(Context).

many_small_objects_end_in_a_memory_error(_Config) ->
    Context = limited(),
    out_of_memory(py:eval(Context, <<"[object() for _ in itertools.count()]">>)),
    out_of_memory(py:eval(Context, <<"{n: str(n) for n in itertools.count()}">>)),
    ?assert(peak(Context) =< ?LIMIT + ?SLACK),
    goes_on(Context).

objects_in_circles_are_gone_when_the_answer_arrives(_Config) ->
    Context = limited(),
    ok = py_context:exec(Context, <<"import gc\ngc.disable()">>),
    out_of_memory(py:call(Context, '__main__', chain, [])),
    goes_on(Context),
    ?assertEqual({ok, false}, py:eval(Context, <<"gc.isenabled()">>)).

c_code_hears_of_the_limit(_Config) ->
    Context = limited(),
    lists:foreach(
        fun(Code) ->
            out_of_memory(py:eval(Context, Code)),
            ?assertMatch({ok, #{peak := Peak}} when Peak =< 2 * ?LIMIT, py_context:memory_usage(Context)),
            goes_on(Context)
        end,
        [
            <<"list(itertools.count())">>,
            <<"collections.deque(itertools.count())">>,
            <<"collections.deque(map(float, itertools.count()))">>,
            <<"set(map(str, itertools.count()))">>,
            <<"dict.fromkeys(itertools.count())">>,
            <<"' '.join(map(str, itertools.count()))">>,
            <<"json.loads('[' + '{\"a\": [1.5]},' * 1_000_000 + '1]')">>,
            <<"1 << (1 << 40)">>,
            <<"'x' * (1 << 40)">>
        ]
    ).

code_that_swallows_the_error_stays_within_the_slack(_Config) ->
    Context = limited(),
    ok = py_context:exec(Context, <<
        "def fill(held):\n"
        "    while True:\n"
        "        held.append([object()])\n"
        "def some(held, caught):\n"
        "    while len(caught) < 50:\n"
        "        try:\n"
        "            fill(held)\n"
        "        except MemoryError:\n"
        "            caught.append(1)\n"
        "def stubborn():\n"
        "    held, caught = [], []\n"
        "    # The error may come just where the loop goes back to its try.\n"
        "    while len(caught) < 50:\n"
        "        try:\n"
        "            some(held, caught)\n"
        "        except MemoryError:\n"
        "            caught.append(1)\n"
        "    return min(len(caught), 50)\n"
    >>),
    ?assertEqual({ok, 50}, py:call(Context, '__main__', stubborn, [])),
    ?assertMatch({ok, #{peak := Peak}} when Peak =< 2 * ?LIMIT, py_context:memory_usage(Context)),
    goes_on(Context).

caller_learns_where_memory_ran_out(_Config) ->
    Context = limited(),
    out_of_memory(py:call(Context, '__main__', chain, [])),
    #{type := 'MemoryError', traceback := [{_File, _Line, Function, _Code} | _]} = py:last_error(),
    ?assertEqual(<<"chain">>, Function).

argument_beyond_the_limit_is_a_memory_error(_Config) ->
    Context = limited(),
    out_of_memory(py:call(Context, builtins, len, [lists:seq(1, 10_000_000)])),
    out_of_memory(py:call(Context, builtins, len, [binary:copy(<<"x">>, ?LIMIT)])),
    ?assertEqual({ok, ?MIB}, py:call(Context, builtins, len, [binary:copy(<<"x">>, ?MIB)])),
    goes_on(Context).

the_context_goes_on_after_each_of_many_errors(_Config) ->
    Context = limited(32 * ?MIB),
    [
        begin
            out_of_memory(py:call(Context, '__main__', chain, [])),
            ?assertEqual({ok, N}, py:eval(Context, <<"n">>, #{n => N}))
        end
     || N <- lists:seq(1, 20)
    ],
    ?assertMatch({ok, #{used := Used}} when Used < 24 * ?MIB, py_context:memory_usage(Context)),
    ?assertEqual([], py_suite:flush()).

other_contexts_do_not_notice(_Config) ->
    Context = limited(),
    {ok, Other} = py_context:new(#{mode => owngil}),
    ok = py_context:exec(Other, <<"held = bytearray(100 << 20)">>),
    Before = used(Other),
    out_of_memory(py:call(Context, '__main__', chain, [])),
    ?assertEqual({ok, 100 * ?MIB}, py:eval(Other, <<"len(held)">>)),
    ?assert(abs(used(Other) - Before) < 2 * ?MIB),
    goes_on(Context).

thread_of_python_hears_of_the_limit_itself(_Config) ->
    Context = limited(),
    ok = py_context:exec(Context, <<
        "import threading\n"
        "caught = []\n"
        "def greedy():\n"
        "    try:\n"
        "        chain()\n"
        "    except MemoryError as error:\n"
        "        caught.append(threading.current_thread().name)\n"
        "thread = threading.Thread(target=greedy, name='greedy')\n"
        "thread.start()\n"
        "thread.join()\n"
    >>),
    ?assertEqual({ok, [<<"greedy">>]}, py:eval(Context, <<"caught">>)),
    ?assert(peak(Context) > ?LIMIT),
    {ok, _} = py:eval(Context, <<"__import__('gc').collect()">>),
    goes_on(Context).

threads_that_come_and_go_leave_nothing_counted(_Config) ->
    Context = limited(),
    ok = py_context:exec(Context, <<
        "import threading\n"
        "def some(n):\n"
        "    for _ in range(n):\n"
        "        thread = threading.Thread(target=bytearray, args=(200_000,))\n"
        "        thread.start()\n"
        "        thread.join()\n"
    >>),
    {ok, none} = py:call(Context, '__main__', some, [10]),
    Before = used(Context),
    {ok, none} = py:call(Context, '__main__', some, [300]),
    ?assert(abs(used(Context) - Before) < ?MIB).

task_hears_of_the_limit_and_the_others_go_on(_Config) ->
    Context = limited(),
    ok = py_context:exec(Context, <<
        "import asyncio\n"
        "async def greedy():\n"
        "    await asyncio.sleep(0)\n"
        "    chain()\n"
        "async def modest(event):\n"
        "    for _ in range(100):\n"
        "        await asyncio.sleep(0)\n"
        "    await asyncio.sleep(0.05)\n"
        "    return event\n"
    >>),
    {ok, Modest} = py_context:submit(Context, '__main__', modest, [1]),
    {ok, Greedy} = py_context:submit(Context, '__main__', greedy, []),
    out_of_memory(py_event_loop:await(Greedy)),
    %% What a task leaves in circles goes when its loop waits next.
    ?assertEqual({ok, 1}, py_event_loop:await(Modest)),
    goes_on(Context).

large_results_count_until_erlang_drops_them(_Config) ->
    Context = limited(),
    {ok, _} = py:eval(Context, <<"b''">>),
    Before = used(Context),
    {Held, After} = py_suite:fresh(fun() ->
        {ok, Bytes} = py:eval(Context, <<"b'x' * (16 << 20)">>),
        Held = used(Context),
        ?assertEqual(16 * ?MIB, byte_size(Bytes)),
        {Held, Bytes =/= <<>>}
    end),
    ?assert(After),
    ?assert(Held - Before >= 16 * ?MIB),
    ?assertEqual(ok, py_leaks:eventually(fun() -> abs(used(Context) - Before) < 2 * ?MIB end)).

exit_handlers_run_though_the_limit_was_reached(Config) ->
    Context = limited(),
    ok = py_suite:install(Context),
    Socket = ?config(socket, Config),
    ok = py_context:exec(Context, <<
        "import atexit\n"
        "held = []\n"
        "def fill():\n"
        "    try:\n"
        "        while True:\n"
        "            held.append([object()])\n"
        "    except MemoryError:\n"
        "        pass\n"
        "fill()\n"
    >>),
    Port = integer_to_binary(py_suite:port(Socket)),
    ok = py_context:exec(Context, <<"import ct_signals\natexit.register(ct_signals.signal, ", Port/binary, ", 'at exit')">>),
    {_, _, _, Before} = py_nif:counters(),
    ok = py_context:stop(Context),
    _ = py_suite:await_signal(Socket, <<"at exit">>),
    ?assertMatch({_, _, _, Before}, py_nif:counters()).

contexts_that_follow_one_another_have_their_own_limits(_Config) ->
    First = limited(),
    out_of_memory(py:call(First, '__main__', chain, [])),
    ok = py_context:stop(First),
    Second = limited(2 * ?LIMIT),
    ?assert(peak(Second) < ?LIMIT),
    ?assertEqual({ok, 100 * ?MIB}, py:eval(Second, <<"len(bytearray(100 << 20))">>)),
    ok = py_context:stop(Second),
    {ok, Third} = py_context:new(#{mode => owngil}),
    ?assertEqual({ok, 2 * ?LIMIT}, py:eval(Third, <<"len(bytearray(n))">>, #{n => 2 * ?LIMIT})).

pools_hand_the_limit_on(_Config) ->
    ok = py_context_router:start_pool(limited, 1, #{mode => owngil, memory_limit => ?LIMIT}),
    Context = py_context_router:get_context(limited),
    ?assertMatch({ok, #{limit := ?LIMIT}}, py_context:memory_usage(Context)),
    out_of_memory(py:eval(Context, <<"bytearray(n)">>, #{n => ?LIMIT})),
    ok = py_context_router:stop_pool(limited).

setting_holds_for_new_contexts(Config) ->
    ok = py_suite:restart(Config, #{memory_limit => ?LIMIT}),
    {ok, Context} = py_context:new(),
    ?assertMatch({ok, #{limit := ?LIMIT}}, py_context:memory_usage(Context)),
    out_of_memory(py:eval(<<"bytearray(n)">>, #{n => ?LIMIT})),
    %% It is for those that can have one.
    {ok, Worker} = py_context:new(#{mode => worker}),
    ?assertEqual({ok, 2 * ?LIMIT}, py:eval(Worker, <<"len(bytearray(n))">>, #{n => 2 * ?LIMIT})).

wrong_limits_are_refused(_Config) ->
    [
        ?assertEqual({error, {bad_option, memory_limit, Wrong}}, py_context:new(#{mode => owngil, memory_limit => Wrong}))
     || Wrong <- [0, -1, 1.5, none, <<"64M">>]
    ].

a_shared_interpreter_has_no_limit_and_no_usage(_Config) ->
    {ok, Context} = py_context:new(#{mode => worker}),
    ?assertEqual({error, {not_supported, worker}}, py_context:memory_usage(Context)),
    ?assertEqual({error, {bad_option, memory_limit, ?LIMIT}}, py_context:new(#{mode => worker, memory_limit => ?LIMIT})).
