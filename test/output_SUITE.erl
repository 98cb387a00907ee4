%% What Python code prints: where it goes, when the answer comes, and what happens when nobody takes it.
-module(output_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            %% Where it goes.
            output_goes_to_the_group_leader_of_the_caller,
            each_caller_has_its_own,
            group_leader_is_that_of_the_moment,
            nested_calls_print_for_their_own_callers,
            tasks_print_for_their_callers,
            threads_and_spawned_tasks_print_for_the_context,
            cast_of_a_dead_process_prints_for_the_context,
            remote_callers_see_what_is_printed,
            %% What goes there.
            lines_come_whole,
            lines_of_threads_do_not_mix,
            flush_sends_what_there_is,
            text_is_unicode,
            long_output_comes_in_order,
            streams_are_what_programs_expect,
            closed_stream_refuses,
            what_goes_elsewhere_stays_there,
            %% When the answer comes.
            answer_comes_after_the_output,
            others_are_served_meanwhile,
            errors_and_tails_come_after_the_output,
            time_limit_ends_the_waiting,
            end_of_the_context_ends_the_waiting,
            %% When nobody takes it.
            dead_group_leader_takes_nothing_and_harms_nothing,
            slow_group_leader_is_given_up_and_found_again,
            endless_output_waits_and_can_be_interrupted,
            other_group_leaders_are_not_held_up,
            device_of_latin1_gets_escapes,
            %% What may end.
            killed_relay_lets_answers_go,
            killed_caller_leaves_nothing,
            relay_ends_with_its_context,
            what_was_printed_before_the_end_comes,
            many_callers_print_at_once,
            calls_that_print_nothing_need_no_relay,
            %% Options.
            output_can_be_discarded,
            output_can_go_to_the_logger,
            output_can_go_to_the_process,
            pools_and_settings_say_where_output_goes,
            wrong_options_are_refused
        ],
        [replaced_streams_do_not_outlive_the_context]
    ).

init_per_suite(Config) ->
    ok = py_suite:with_connected_node(fun(_Node) -> ok end),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{ctx, py_suite:new_context(Config)} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:stop(?config(ctx, Config)),
    ok = py_suite:restart(Config, #{}).

%% ------------------------------------------------------------------------------------------------

%% A context whose own group leader is known.
context_under(Leader, Config) ->
    context_under(Leader, #{}, Config).

context_under(Leader, Options, Config) ->
    Before = group_leader(),
    true = group_leader(Leader, self()),
    {ok, Context} = py_context:start_link(?FUNCTION_NAME, py_suite:mode(Config), Options),
    true = group_leader(Before, self()),
    Context.

relay_of(Context) ->
    {monitors, Monitors} = process_info(Context, monitors),
    [Relay] = [
        Pid
     || {process, Pid} <- Monitors, proc_lib:translate_initial_call(Pid) =:= {py_output, init, 1}
    ],
    Relay.

relays() ->
    proplists:get_value(active, supervisor:count_children(py_output_sup)).

no_relay() ->
    ok = py_leaks:eventually(fun() -> relays() =:= 0 end).

%% ------------------------------------------------------------------------------------------------
%% Where it goes

output_goes_to_the_group_leader_of_the_caller(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    Calls = [
        fun() -> {ok, none} = py:eval(Context, "print('a', 1)") end,
        fun() -> ok = py:exec(Context, "print('a', 1)") end,
        fun() -> {ok, none} = py:call(Context, builtins, print, [<<"a">>, 1]) end,
        fun() -> {ok, none} = py:call(Context, builtins, print, [<<"a">>, 1], #{timeout => 30_000}) end,
        fun() -> {ok, 4} = py:eval(Context, "__import__('sys').stderr.write('a 1\\n')") end,
        fun() -> {ok, none} = py:await(py:spawn_call(Context, builtins, print, [<<"a">>, 1]), 30_000) end,
        fun() -> {ok, [{ok, none}]} = py:parallel([{builtins, print, [<<"a">>, 1]}]) end
    ],
    lists:foreach(
        fun(Call) ->
            _ = py_leaders:under(Leader, Call),
            ok = py_leaders:printed(Leader, <<"a 1\n">>)
        end,
        Calls
    ),
    py_leaders:nothing(Leader),
    ?assertEqual([], py_suite:flush()).

each_caller_has_its_own(Config) ->
    Context = ?config(ctx, Config),
    Leaders = [{py_leaders:start(), integer_to_binary(I)} || I <- lists:seq(1, 20)],
    Callers = [
        py_leaders:caller(Leader, fun() -> [py:call(Context, builtins, print, [Name]) || _ <- lists:seq(1, 10)] end)
     || {Leader, Name} <- Leaders
    ],
    [{result, _} = py_suite:await_down(Caller, 30_000) || Caller <- Callers],
    lists:foreach(
        fun({Leader, Name}) -> ok = py_leaders:printed(Leader, binary:copy(<<Name/binary, "\n">>, 10)) end, Leaders
    ).

group_leader_is_that_of_the_moment(Config) ->
    Context = ?config(ctx, Config),
    [One, Other] = [py_leaders:start(), py_leaders:start()],
    py_leaders:under(One, fun() ->
        {ok, none} = py:eval(Context, "print(1)"),
        true = group_leader(Other, self()),
        {ok, none} = py:eval(Context, "print(2)")
    end),
    ok = py_leaders:printed(One, <<"1\n">>),
    ok = py_leaders:printed(Other, <<"2\n">>).

nested_calls_print_for_their_own_callers(Config) ->
    Context = ?config(ctx, Config),
    [Outer, Inner] = [py_leaders:start(), py_leaders:start()],
    ok = py:register_function(ct_inner, fun([]) ->
        Before = group_leader(),
        true = group_leader(Inner, self()),
        {ok, none} = py:eval(Context, "print('inner')"),
        true = group_leader(Before, self())
    end),
    py_leaders:under(Outer, fun() ->
        ok = py:exec(Context, "import erlang\nprint('out', end='')\nerlang.call('ct_inner')\nprint('er')")
    end),
    ok = py_leaders:printed(Inner, <<"inner\n">>),
    ok = py_leaders:printed(Outer, <<"outer\n">>),
    ok = py:unregister_function(ct_inner).

tasks_print_for_their_callers(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    Code = "import asyncio\nasync def speak(n):\n    print(n, end='')\n    await asyncio.sleep(0)\n    print('!')\n",
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, Code),
        {ok, none} = py_context:submit_await(Context, '__main__', speak, [1]),
        {ok, Ref} = py_context:submit(Context, '__main__', speak, [2]),
        {ok, none} = py_event_loop:await(Ref, 30_000)
    end),
    ok = py_leaders:printed(Leader, <<"1!\n2!\n">>).

threads_and_spawned_tasks_print_for_the_context(Config) ->
    [Own, Leader] = [py_leaders:start(), py_leaders:start()],
    Context = context_under(Own, Config),
    %% In mode worker, threads belong to whatever context there is.
    Others = [Other || Other <- [?config(ctx, Config)], py_suite:mode(Config) =:= worker],
    lists:foreach(fun py_context:stop/1, Others),
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, <<
            "import threading\n"
            "thread = threading.Thread(target=print, args=['thread'])\n"
            "thread.start()\n"
            "thread.join()\n"
        >>)
    end),
    ok = py_leaders:printed(Own, <<"thread\n">>),
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "async def speak(): print('task')\n"
            "async def main(): await erlang.spawn_task(speak())\n"
            "erlang.run(main())\n"
        >>)
    end),
    ok = py_leaders:printed(Own, <<"task\n">>),
    py_leaders:nothing(Leader),
    ok = py_context:stop(Context).

cast_of_a_dead_process_prints_for_the_context(Config) ->
    [Own, Leader] = [py_leaders:start(), py_leaders:start()],
    Context = context_under(Own, Config),
    Socket = py_suite:open(),
    ok = py_suite:install(Context),
    Dead = py_leaders:caller(Leader, fun() ->
        ok = py:exec(Context, "def late(port):\n    import ct_signals\n    ct_signals.gate(port, 'here')\n    print('late')\n"),
        ok = py:cast(Context, '__main__', late, [py_suite:port(Socket)])
    end),
    {result, ok} = py_suite:await_down(Dead, 30_000),
    Gate = py_suite:await_signal(Socket, <<"here">>),
    py_suite:release(Socket, Gate),
    ok = py_leaders:printed(Own, <<"late\n">>),
    py_leaders:nothing(Leader),
    py_suite:close(Socket),
    ok = py_context:stop(Context).

remote_callers_see_what_is_printed(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_suite:with_connected_node(fun(Node) ->
        {ok, _} = erpc:call(Node, application, ensure_all_started, [erlang_python]),
        {ok, Remote} = erpc:call(Node, py_context, new, [#{}]),
        py_leaders:under(Leader, fun() ->
            {ok, none} = py:eval(Remote, "print('from afar')"),
            {ok, none} = py:await(py:spawn_call(Remote, builtins, print, [<<"again">>]), 30_000)
        end),
        ok = py_leaders:printed(Leader, <<"from afar\nagain\n">>),
        %% The other way round: somebody there, with a group leader here.
        ok = erpc:call(Node, fun() ->
            true = group_leader(Leader, self()),
            {ok, none} = py:eval(Context, "print('hither')"),
            ok
        end),
        ok = py_leaders:printed(Leader, <<"hither\n">>)
    end).

%% ------------------------------------------------------------------------------------------------
%% What goes there

lines_come_whole(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, <<
            "import sys\n"
            "print('a', 'b', end='')\n"
            "print('on stderr', file=sys.stderr)\n"
            "print('c')\n"
            "print('1\\n2\\n3', end='')\n"
        >>)
    end),
    ok = py_leaders:printed(Leader, <<"on stderr\na bc\n1\n2\n3">>).

lines_of_threads_do_not_mix(Config) ->
    Own = py_leaders:start(),
    Context = context_under(Own, Config),
    Others = [Other || Other <- [?config(ctx, Config)], py_suite:mode(Config) =:= worker],
    lists:foreach(fun py_context:stop/1, Others),
    ok = py:exec(Context, <<
        "import threading\n"
        "def speak(n):\n"
        "    for _ in range(50):\n"
        "        for part in 'abcdefgh': print(n, end='')\n"
        "        print()\n"
        "threads = [threading.Thread(target=speak, args=[n]) for n in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    >>),
    ok = py_context:stop(Context),
    Lines = binary:split(everything(Own, 4 * 50 * 9, <<>>), <<"\n">>, [global, trim]),
    Expected = lists:sort([binary:copy(N, 8) || N <- [<<"0">>, <<"1">>, <<"2">>, <<"3">>], _ <- lists:seq(1, 50)]),
    ?assertEqual(Expected, lists:sort(Lines)).

everything(_Leader, Size, Text) when byte_size(Text) >= Size -> Text;
everything(Leader, Size, Text) -> everything(Leader, Size, <<Text/binary, (py_leaders:next(Leader))/binary>>).

flush_sends_what_there_is(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    Socket = py_suite:open(),
    ok = py_suite:install(Context),
    Code = "import ct_signals\nprint('50 %', end='', flush=True)\nct_signals.gate(port, 'here')\nprint(' 100 %')\n",
    Caller = py_leaders:caller(Leader, fun() ->
        ok = py:exec(Context, ["port = ", integer_to_list(py_suite:port(Socket)), "\n", Code])
    end),
    ok = py_leaders:printed(Leader, <<"50 %">>),
    py_suite:release(Socket, py_suite:await_signal(Socket, <<"here">>)),
    {result, ok} = py_suite:await_down(Caller, 30_000),
    ok = py_leaders:printed(Leader, <<" 100 %\n">>),
    py_suite:close(Socket).

text_is_unicode(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, <<
            "import sys\n"
            "print('caf\\u00e9 \\u20ac \\U0001F40D')\n"
            "print('half \\ud800')\n"
            "sys.stdout.buffer.write(b'raw \\xff\\n')\n"
            "for byte in '\\u20ac'.encode():\n"
            "    sys.stdout.buffer.write(bytes([byte]))\n"
            "    sys.stdout.flush()\n"
            "sys.stdout.buffer.write(memoryview(b'\\n'))\n"
        >>)
    end),
    ok = py_leaders:printed(Leader, <<"café € 🐍\nhalf \\ud800\nraw \x{fffd}\n€\n"/utf8>>).

long_output_comes_in_order(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, "print('\\u20ac' * 1_000_000)\nfor i in range(20_000): print(i)")
    end),
    Numbers = <<<<(integer_to_binary(I))/binary, "\n">> || I <- lists:seq(0, 19_999)>>,
    Expected = <<(binary:copy(<<"€"/utf8>>, 1_000_000))/binary, "\n", Numbers/binary>>,
    ?assert(Expected =:= everything(Leader, byte_size(Expected), <<>>)).

streams_are_what_programs_expect(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "import io, sys"),
    ?assertEqual(
        {ok, [<<"utf-8">>, <<"<stdout>">>, false, true, <<"w">>]},
        py:eval(Context, "[sys.stdout.encoding, sys.stdout.name, sys.stdout.isatty(), sys.stdout.writable(), sys.stdout.mode]")
    ),
    ?assertEqual({ok, [<<"<stderr>">>, true]}, py:eval(Context, "[sys.stderr.name, sys.stderr is sys.__stderr__]")),
    ?assertMatch({error, {'UnsupportedOperation', _}}, py:eval(Context, "sys.stdout.fileno()")),
    ?assertMatch({error, {'TypeError', _}}, py:eval(Context, "sys.stdout.write(b'bytes')")),
    ?assertMatch({error, {'TypeError', _}}, py:eval(Context, "sys.stdout.buffer.write('text')")),
    ?assertEqual({ok, none}, py:eval(Context, "sys.stdout.reconfigure(errors='replace')")).

closed_stream_refuses(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "import sys\nkept = sys.stdout, sys.__stdout__\n"),
    ok = py:exec(Context, "from erlang import _output\n_output.install()\nsys.stdout.close()"),
    ?assertMatch({error, {'ValueError', _}}, py:eval(Context, "print('nowhere')")),
    ok = py:exec(Context, "sys.stdout, sys.__stdout__ = kept").

what_goes_elsewhere_stays_there(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, <<
            "import contextlib, io\n"
            "with contextlib.redirect_stdout(io.StringIO()) as kept: print('kept')\n"
            "print('printed')\n"
        >>),
        {ok, <<"kept\n">>} = py:eval(Context, "kept.getvalue()")
    end),
    ok = py_leaders:printed(Leader, <<"printed\n">>).

%% ------------------------------------------------------------------------------------------------
%% When the answer comes

answer_comes_after_the_output(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    Test = self(),
    py_leaders:hold(Leader),
    Caller = py_leaders:caller(Leader, fun() ->
        {ok, none} = py:eval(Context, "print('first')"),
        Test ! answered
    end),
    ok = py_leaders:printed(Leader, <<"first\n">>),
    %% Whoever asks later is answered: the thread is done with it.
    ?assertEqual({ok, 1}, py:eval(Context, "1")),
    receive
        answered -> ct:fail(answered_before_the_output_was_accepted)
    after 0 -> ok
    end,
    py_leaders:go_on(Leader),
    {result, answered} = py_suite:await_down(Caller, 30_000),
    receive
        answered -> ok
    end.

others_are_served_meanwhile(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:hold(Leader),
    Callers = [py_leaders:caller(Leader, fun() -> py:call(Context, builtins, print, [I]) end) || I <- lists:seq(1, 10)],
    _ = py_leaders:next(Leader),
    ?assertEqual([{ok, 4.0} || _ <- lists:seq(1, 10)], [py:call(Context, math, sqrt, [16]) || _ <- lists:seq(1, 10)]),
    py_leaders:go_on(Leader),
    [{result, {ok, none}} = py_suite:await_down(Caller, 30_000) || Caller <- Callers].

errors_and_tails_come_after_the_output(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    ok = py:register_function(ct_tail, fun([X]) -> X end),
    py_leaders:under(Leader, fun() ->
        {error, {'ZeroDivisionError', _}} = py:exec(Context, "print('before', end='')\n1/0"),
        ok = py_leaders_said(<<"ZeroDivisionError">>),
        ok = py:exec(Context, "import erlang\ndef tail():\n    print('tail', end='')\n    return erlang.schedule('ct_tail', 7)\n"),
        {ok, 7} = py:call(Context, '__main__', tail, [])
    end),
    ok = py_leaders:printed(Leader, <<"beforetail">>),
    ok = py:unregister_function(ct_tail).

py_leaders_said(Class) ->
    #{type := Type} = py:last_error(),
    Class = atom_to_binary(Type),
    ok.

time_limit_ends_the_waiting(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:hold(Leader),
    Left = py_leaders:under(Leader, fun() ->
        {error, timeout} = py:call(Context, builtins, print, [<<"x">>], #{timeout => 100}),
        Ref = py:spawn_call(Context, builtins, print, [<<"y">>]),
        ok = py:cancel(Ref),
        %% Served after both.
        {ok, 1} = py:eval(Context, "1"),
        py_suite:flush()
    end),
    ?assertEqual([], Left),
    py_leaders:go_on(Leader),
    ?assertEqual({ok, 1}, py:eval(Context, "1")).

end_of_the_context_ends_the_waiting(Config) ->
    Context = py_suite:new_context(Config),
    Leader = py_leaders:start(),
    py_leaders:hold(Leader),
    Caller = py_leaders:caller(Leader, fun() -> py:eval(Context, "print('x')") end),
    ok = py_leaders:printed(Leader, <<"x\n">>),
    {ok, 1} = py:eval(Context, "1"),
    ok = py_context:stop(Context),
    %% It had ended already.
    ?assertEqual({result, {ok, none}}, py_suite:await_down(Caller, 30_000)),
    py_leaders:go_on(Leader),
    no_relay().

%% ------------------------------------------------------------------------------------------------
%% When nobody takes it

dead_group_leader_takes_nothing_and_harms_nothing(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    Log = py_suite:capture_log(),
    py_leaders:stop(Leader),
    Print = fun() -> [{ok, none} = py:eval(Context, "print('x')") || _ <- lists:seq(1, 5)] end,
    _ = py_leaders:under(Leader, Print),
    ?assertEqual(#{bytes => 2, where => Leader, count => 1}, lost()),
    %% While somebody prints there.
    Other = py_leaders:start(),
    py_leaders:hold(Other),
    Caller = py_leaders:caller(Other, fun() -> py:eval(Context, "print('y')") end),
    ok = py_leaders:printed(Other, <<"y\n">>),
    py_leaders:stop(Other),
    ?assertEqual({result, {ok, none}}, py_suite:await_down(Caller, 30_000)),
    py_suite:release_log(Log).

lost() ->
    receive
        {log, #{level := warning, msg := {report, #{label := {py_output, lost}} = Report}}} ->
            _ = py_output:report(Report),
            maps:with([bytes, where, count], Report)
    after 30_000 -> ct:fail({not_logged, py_suite:flush()})
    end.

slow_group_leader_is_given_up_and_found_again(Config) ->
    ok = py_suite:restart(Config, #{output_timeout => 50}),
    Context = py_suite:new_context(Config),
    Leader = py_leaders:start(),
    Log = py_suite:capture_log(),
    py_leaders:hold(Leader),
    Print = fun(N) -> fun() -> py:call(Context, builtins, print, [N]) end end,
    ?assertEqual({ok, none}, py_leaders:under(Leader, Print(1))),
    ok = py_leaders:printed(Leader, <<"1\n">>),
    ?assertMatch(#{bytes := 2, where := Leader}, lost()),
    %% Not asked any more: it has not answered yet.
    ?assertEqual({ok, none}, py_leaders:under(Leader, Print(2))),
    ?assertMatch(#{bytes := 2, count := 2}, lost()),
    py_leaders:nothing(Leader),
    py_leaders:go_on(Leader),
    ?assertEqual({ok, none}, py_leaders:under(Leader, Print(3))),
    ok = py_leaders:printed(Leader, <<"3\n">>),
    py_suite:release_log(Log),
    ok = py_context:stop(Context).

endless_output_waits_and_can_be_interrupted(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:hold(Leader),
    Caller = py_leaders:caller(Leader, fun() -> py:exec(Context, "while True: print('x' * 1000)") end),
    _ = py_leaders:next(Leader),
    Relay = relay_of(Context),
    ok = py_leaks:eventually(fun() -> py_context:interrupt(Context) =:= ok end),
    ?assertEqual({result, {error, interrupted}}, py_suite:await_down(Caller, 30_000)),
    ?assert(is_process_alive(Relay)),
    py_leaders:go_on(Leader),
    ?assertEqual({ok, 1}, py:eval(Context, "1")).

other_group_leaders_are_not_held_up(Config) ->
    Context = ?config(ctx, Config),
    [Slow, Good] = [py_leaders:start(), py_leaders:start()],
    py_leaders:hold(Slow),
    Caller = py_leaders:caller(Slow, fun() -> py:eval(Context, "print('slow')") end),
    ok = py_leaders:printed(Slow, <<"slow\n">>),
    ?assertEqual({ok, none}, py_leaders:under(Good, fun() -> py:eval(Context, "print('good')") end)),
    ok = py_leaders:printed(Good, <<"good\n">>),
    py_leaders:go_on(Slow),
    {result, {ok, none}} = py_suite:await_down(Caller, 30_000).

device_of_latin1_gets_escapes(Config) ->
    Context = ?config(ctx, Config),
    File = filename:join(?config(priv_dir, Config), "latin1.txt"),
    {ok, Device} = file:open(File, [write]),
    ?assertEqual({ok, none}, py_leaders:under(Device, fun() -> py:eval(Context, "print('caf\\u00e9 \\u20ac')") end)),
    ok = file:close(Device),
    ?assertEqual({ok, <<"caf", 16#E9, " \\x{20ac}\n">>}, file:read_file(File)).

%% ------------------------------------------------------------------------------------------------
%% What may end

killed_relay_lets_answers_go(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:hold(Leader),
    Print = fun() -> py:eval(Context, "print('x')") end,
    Caller = py_leaders:caller(Leader, Print),
    ok = py_leaders:printed(Leader, <<"x\n">>),
    Relay = relay_of(Context),
    exit(Relay, kill),
    ?assertEqual({result, {ok, none}}, py_suite:await_down(Caller, 30_000)),
    py_leaders:go_on(Leader),
    ?assertEqual({ok, none}, py_leaders:under(Leader, Print)),
    ok = py_leaders:printed(Leader, <<"x\n">>),
    ?assertNotEqual(Relay, relay_of(Context)).

killed_caller_leaves_nothing(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:hold(Leader),
    {Pid, _} = Caller = py_leaders:caller(Leader, fun() -> py:eval(Context, "print('x')") end),
    ok = py_leaders:printed(Leader, <<"x\n">>),
    exit(Pid, kill),
    {died, killed} = py_suite:await_down(Caller, 30_000),
    py_leaders:go_on(Leader),
    ?assertEqual({ok, none}, py_leaders:under(Leader, fun() -> py:eval(Context, "print('y')") end)),
    ok = py_leaders:printed(Leader, <<"y\n">>).

relay_ends_with_its_context(Config) ->
    Context = py_suite:new_context(Config),
    Leader = py_leaders:start(),
    ?assertEqual({ok, none}, py_leaders:under(Leader, fun() -> py:eval(Context, "print('x')") end)),
    Relay = relay_of(Context),
    Monitor = monitor(process, Relay),
    ok = py_context:stop(Context),
    receive
        {'DOWN', Monitor, process, Relay, normal} -> ok
    end,
    no_relay(),
    {links, Links} = process_info(Leader, links),
    ?assertEqual([self()], Links),
    ?assertEqual({monitored_by, []}, process_info(Leader, monitored_by)).

what_was_printed_before_the_end_comes(Config) ->
    Own = py_leaders:start(),
    Context = context_under(Own, Config),
    py_leaders:hold(Own),
    Code = "import erlang\nfor i in range(100): print(i)\nprint('end', end='')\n",
    ok = py:exec(Context, ["def work():\n", [["    ", Line, "\n"] || Line <- string:lexemes(Code, "\n")]]),
    %% Of a cast, whose sender is not there any more.
    ok = py_suite:fresh(fun() ->
        ok = py:exec(Context, ["def work():\n", [["    ", Line, "\n"] || Line <- string:lexemes(Code, "\n")]]),
        true = group_leader(Own, self()),
        py:cast(Context, '__main__', work, [])
    end),
    {ok, 1} = py:eval(Context, "1"),
    ok = py_context:stop(Context),
    py_leaders:go_on(Own),
    ok = py_leaders:printed(Own, <<<<<<(integer_to_binary(I))/binary, "\n">> || I <- lists:seq(0, 99)>>/binary, "end">>),
    no_relay().

many_callers_print_at_once(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    Callers = [
        py_leaders:caller(Leader, fun() -> [py:call(Context, builtins, print, [I]) || _ <- lists:seq(1, 20)] end)
     || I <- lists:seq(100, 199)
    ],
    [?assertMatch({result, [{ok, none} | _]}, py_suite:await_down(Caller, 30_000)) || Caller <- Callers],
    Lines = binary:split(everything(Leader, 100 * 20 * 4, <<>>), <<"\n">>, [global, trim]),
    Expected = [integer_to_binary(I) || I <- lists:seq(100, 199), _ <- lists:seq(1, 20)],
    ?assertEqual(Expected, lists:sort(Lines)).

calls_that_print_nothing_need_no_relay(Config) ->
    Context = ?config(ctx, Config),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    {ok, none} = py:eval(Context, "print('', end='')"),
    ?assertEqual(0, relays()).

%% ------------------------------------------------------------------------------------------------
%% Options

output_can_be_discarded(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), output => discard}),
    Leader = py_leaders:start(),
    ?assertEqual({ok, none}, py_leaders:under(Leader, fun() -> py:eval(Context, "print('x')") end)),
    py_leaders:nothing(Leader),
    ?assertEqual(0, relays()),
    ok = py_context:stop(Context).

output_can_go_to_the_logger(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), output => logger}),
    Leader = py_leaders:start(),
    Log = py_suite:capture_log(),
    ok = py_suite:fresh(fun() ->
        true = group_leader(Leader, self()),
        ok = logger:set_process_metadata(#{request_id => 17}),
        py:exec(Context, "import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('two\\nlines')")
    end),
    Said = [
        receive
            {log, #{msg := {string, Text}, level := Level, meta := #{request_id := 17, logger_name := Name}}} ->
                {Level, Name, Text}
        after 30_000 -> ct:fail({not_logged, py_suite:flush()})
        end
     || _ <- lists:seq(1, 4)
    ],
    ?assertEqual(
        [
            {notice, <<"stdout">>, <<"out">>},
            {warning, <<"stderr">>, <<"err">>},
            {notice, <<"stdout">>, <<"two">>},
            {notice, <<"stdout">>, <<"lines">>}
        ],
        Said
    ),
    py_suite:release_log(Log),
    py_leaders:nothing(Leader),
    ok = py_context:stop(Context).

%% In a node of its own, whose output is a pipe.
output_can_go_to_the_process(Config) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Code = io_lib:format(
        "{ok, _} = application:ensure_all_started(erlang_python), "
        "{ok, C} = py_context:new(#{mode => ~p, output => process}), "
        "true = group_leader(whereis(init), self()), "
        "ok = py:exec(C, \"import sys\\nprint('to stdout')\\nprint('to stderr', file=sys.stderr)\"), halt().",
        [py_suite:mode(Config)]
    ),
    Port = open_port({spawn_executable, Erl}, [
        {args, ["-noinput", "-pa" | code:get_path()] ++ ["-eval", lists:flatten(Code)]}, exit_status, stderr_to_stdout, binary
    ]),
    {0, Output} = collected(Port, <<>>),
    py_suite:contains(Output, "to stdout\n"),
    py_suite:contains(Output, "to stderr\n").

collected(Port, Text) ->
    receive
        {Port, {data, More}} -> collected(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Text}
    end.

pools_and_settings_say_where_output_goes(Config) ->
    Leader = py_leaders:start(),
    Print = fun(Pool) -> fun() -> py:call(Pool, builtins, print, [1]) end end,
    ok = py_context_router:start_pool(ct_silent, 1, #{mode => py_suite:mode(Config), output => discard}),
    ok = py_context_router:start_pool(ct_loud, 1, #{mode => py_suite:mode(Config)}),
    {ok, none} = py_leaders:under(Leader, Print(ct_silent)),
    py_leaders:nothing(Leader),
    {ok, none} = py_leaders:under(Leader, Print(ct_loud)),
    ok = py_leaders:printed(Leader, <<"1\n">>),
    ok = py_suite:restart(Config, #{output => discard}),
    {ok, none} = py_leaders:under(Leader, fun() -> py:call(builtins, print, [2]) end),
    py_leaders:nothing(Leader).

wrong_options_are_refused(Config) ->
    Mode = py_suite:mode(Config),
    [
        ?assertEqual({error, {bad_option, output, Wrong}}, py_context:new(#{mode => Mode, output => Wrong}))
     || Wrong <- [none, true, 1, "logger", undefined]
    ],
    ok = py_suite:stop(),
    ?assertMatch(
        {error, {erlang_python, {{bad_option, output, elsewhere, _}, _}}}, py_suite:start(#{output => elsewhere})
    ),
    ?assertMatch({error, {erlang_python, {{bad_option, output_timeout, 0, _}, _}}}, py_suite:start(#{output_timeout => 0})).

replaced_streams_do_not_outlive_the_context(Config) ->
    Leader = py_leaders:start(),
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, "import sys\nsys.stdout = sys.stderr = None"),
    ok = py_context:stop(Context),
    Next = py_suite:new_context(Config),
    ?assertEqual({ok, none}, py_leaders:under(Leader, fun() -> py:eval(Next, "print('x')") end)),
    ok = py_leaders:printed(Leader, <<"x\n">>),
    ok = py_context:stop(Next).
