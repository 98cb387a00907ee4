%% Connections and the loop that they are served in: what calls, interrupts and ends of either do to the other.
-module(reactor_native_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).
-define(LOCALHOST, {127, 0, 0, 1}).
-define(PYTHON, ct_reactor_native).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        what_came_before_a_drain_is_answered_before_the_end,
        drain_asks_who_holds_input_back_and_does_not_read,
        who_waits_for_a_place_hears_of_the_end_of_the_loop,
        loop_that_a_handler_stops_ends_its_connection_once,
        loop_can_be_stopped_by_who_is_told_of_the_end,
        tasks_that_begin_with_the_end_of_a_connection_end_with_the_loop,
        factory_can_be_interrupted,
        handler_is_interrupted_and_not_the_call_that_runs_the_loop,
        who_holds_input_back_is_not_idle,
        handlers_run_in_the_loop_when_a_call_ends_a_connection,
        protocol_has_one_connection,
        connection_after_the_end_of_a_loop_works_with_the_next,
        datagram_that_nobody_takes_does_not_end_the_socket,
        who_is_told_of_the_last_connection_may_ask_again,
        loop_that_fails_ends_its_connections_and_another_serves_the_next,
        protocol_that_cannot_be_told_its_connection_is_refused,
        who_writes_past_the_buffer_is_not_idle,
        protocol_of_a_loop_that_has_ended_has_no_connection_of_the_next,
        socket_that_was_made_to_block_does_not,
        socket_that_lingers_holds_nobody_up,
        file_is_no_connection,
        duplicate_of_a_descriptor_does_not_keep_the_connection,
        peers_of_a_context_that_is_stuck_see_the_end
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(peers_of_a_context_that_is_stuck_see_the_end, Config) ->
    ok = py_suite:restart(Config, #{stuck_after => 200}),
    with_context(Config);
init_per_testcase(_Case, Config) ->
    with_context(Config).

with_context(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config)}),
    Path = filename:join(py_suite:checkout(), "test/support/python"),
    ok = py:exec(Context, ["import sys; sys.dont_write_bytecode = True; sys.path.insert(0, '", Path, "')"]),
    {ok, Handle} = py_context:handle(Context),
    [{ctx, Context}, {handle, Handle} | Config].

end_per_testcase(peers_of_a_context_that_is_stuck_see_the_end, Config) ->
    py_suite:restart(Config, #{});
end_per_testcase(_Case, Config) ->
    ok = py_context:stop(?config(ctx, Config)).

%% ------------------------------------------------------------------------------------------------
%% Ends

what_came_before_a_drain_is_answered_before_the_end(Config) ->
    Handle = open(Config, 'Echo', #{}),
    Client = connect(Config),
    Gate = closed_gate(Config),
    ok = gen_tcp:send(Client, <<"early">>),
    ok = py_nif:reactor_drain(Handle),
    Gate ! go,
    ?assertEqual({ok, <<"early">>}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    told({<<"lost">>}),
    nothing_more(Config).

drain_asks_who_holds_input_back_and_does_not_read(Config) ->
    Handle = open(Config, 'Held', #{}),
    Client = connect(Config, #{held => true}),
    ok = gen_tcp:send(Client, <<"later">>),
    ok = py_nif:reactor_drain(Handle),
    told({<<"stopping">>}),
    {ok, _} = python(Config, resume, []),
    ?assertEqual({ok, <<"later">>}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    ok = gen_tcp:close(Client),
    told({<<"lost">>}),
    nothing_more(Config).

who_waits_for_a_place_hears_of_the_end_of_the_loop(Config) ->
    Handle = open(Config, 'Echo', #{max_connections => 1}),
    Client = connect(Config),
    ok = py_nif:reactor_when_free(Handle, free),
    {ok, true} = py:call(?config(ctx, Config), 'erlang._tasks', stop_loop, [1]),
    told({<<"lost">>}),
    told(free),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    nothing_more(Config).

loop_that_a_handler_stops_ends_its_connection_once(Config) ->
    Handle = open(Config, 'Stops', #{}),
    Client = connect(Config),
    ok = register_stop(Config),
    ok = gen_tcp:send(Client, <<"stop">>),
    told({<<"stopped">>, true}),
    told({<<"lost">>}),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    nothing_more(Config),
    ?assertMatch({0, 1, 1, infinity, _}, py_nif:reactor_stats(Handle)).

loop_can_be_stopped_by_who_is_told_of_the_end(Config) ->
    Handle = open(Config, 'StopsAtEnd', #{}),
    Client = connect(Config),
    ok = register_stop(Config),
    ok = gen_tcp:send(Client, <<"end">>),
    told({<<"stopped">>, true}),
    told({<<"lost">>}),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    nothing_more(Config),
    ?assertMatch({0, 1, 1, infinity, _}, py_nif:reactor_stats(Handle)).

tasks_that_begin_with_the_end_of_a_connection_end_with_the_loop(Config) ->
    _ = open(Config, 'CleansUp', #{}),
    Client = connect(Config),
    ?assertEqual({ok, true}, py:call(?config(ctx, Config), 'erlang._tasks', stop_loop, [5])),
    told({<<"lost">>}),
    told({<<"cleaned">>}),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    nothing_more(Config).

connection_after_the_end_of_a_loop_works_with_the_next(Config) ->
    _ = open(Config, 'Greets', #{}),
    Context = ?config(ctx, Config),
    First = connect(Config),
    ?assertEqual({ok, <<"hello">>}, gen_tcp:recv(First, 0, ?DEADLINE)),
    Gate = closed_gate(Config),
    %% Both wait now for the end of that call.
    ok = py:cast(Context, 'erlang._tasks', stop_loop, [1]),
    Second = handed_over(Config, #{}),
    Gate ! go,
    told({<<"lost">>}),
    told({<<"made">>}),
    ?assertEqual({error, closed}, gen_tcp:recv(First, 0, ?DEADLINE)),
    ?assertEqual({ok, <<"hello">>}, gen_tcp:recv(Second, 0, ?DEADLINE)),
    nothing_more(Config).

loop_that_fails_ends_its_connections_and_another_serves_the_next(Config) ->
    Handle = open(Config, 'Echo', #{}),
    Client = connect(Config),
    {ok, _} = python(Config, break_loop, []),
    told({<<"lost">>}),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    echo(connect(Config)),
    ?assertMatch({1, 2, 1, infinity, _}, py_nif:reactor_stats(Handle)),
    nothing_more(Config).

who_is_told_of_the_last_connection_may_ask_again(Config) ->
    _ = open(Config, 'Echo', #{}),
    Client = connect(Config),
    {ok, _} = python(Config, when_empty, [3]),
    ok = gen_tcp:close(Client),
    told({<<"lost">>}),
    _ = [told({<<"empty">>}) || _ <- lists:seq(1, 3)],
    nothing_more(Config).

%% ------------------------------------------------------------------------------------------------
%% Interrupts

factory_can_be_interrupted(Config) ->
    _ = open(Config, spinning, #{}),
    Client = handed_over(Config, #{}),
    told({<<"spins">>}),
    ok = py:interrupt(?config(ctx, Config)),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    echo(connect(Config)),
    nothing_more(Config).

handler_is_interrupted_and_not_the_call_that_runs_the_loop(Config) ->
    _ = open(Config, 'Spins', #{}),
    Other = connect(Config),
    Test = self(),
    _ = spawn_link(fun() -> Test ! {ran, python(Config, run, [])} end),
    told({<<"runs">>}),
    lists:foreach(
        fun(Text) ->
            Client = connect(Config),
            ok = gen_tcp:send(Client, Text),
            told({<<"spins">>}),
            ok = py:interrupt(?config(ctx, Config)),
            told({<<"lost">>}),
            ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
            echo(Other)
        end,
        [<<"spin">>, <<"sleep">>]
    ),
    {ok, _} = python(Config, tell_task, []),
    told({ran, {ok, 5}}),
    nothing_more(Config).

%% ------------------------------------------------------------------------------------------------
%% The rest

who_holds_input_back_is_not_idle(Config) ->
    _ = open(Config, 'Held', #{idle_timeout => 100}),
    Held = connect(Config, #{held => true}),
    Idle = connect(Config, #{held => false}),
    told({<<"lost">>}),
    ?assertEqual({error, closed}, gen_tcp:recv(Idle, 0, ?DEADLINE)),
    {ok, _} = python(Config, resume, []),
    echo(Held),
    told({<<"lost">>}),
    nothing_more(Config).

handlers_run_in_the_loop_when_a_call_ends_a_connection(Config) ->
    _ = open(Config, 'Running', #{}),
    Client = connect(Config),
    {ok, _} = python(Config, close, []),
    told({<<"lost">>, true}),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    nothing_more(Config).

protocol_has_one_connection(Config) ->
    Handle = open(Config, one, #{}),
    First = connect(Config),
    Second = handed_over(Config, #{}),
    ?assertEqual({error, closed}, gen_tcp:recv(Second, 0, ?DEADLINE)),
    echo(First),
    ?assertMatch({1, 2, 1, infinity, _}, py_nif:reactor_stats(Handle)),
    nothing_more(Config).

datagram_that_nobody_takes_does_not_end_the_socket(Config) ->
    Handle = open(Config, 'Echo', #{}),
    Options = [binary, {active, false}, {ip, ?LOCALHOST}],
    {ok, Socket} = gen_udp:open(0, Options),
    {ok, Port} = inet:port(Socket),
    {ok, Fd} = inet:getfd(Socket),
    ok = py_nif:reactor_handoff(Handle, Fd, #{}),
    told({<<"made">>}),
    ok = gen_udp:close(Socket),
    {ok, Client} = gen_udp:open(0, Options),
    ask(Client, Port),
    {ok, _} = python(Config, send_too_much, []),
    ask(Client, Port),
    nothing_more(Config).

protocol_that_cannot_be_told_its_connection_is_refused(Config) ->
    Handle = open(Config, 'Rigid', #{}),
    Client = handed_over(Config, #{}),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    nothing_more(Config),
    ?assertMatch({0, 1, 0, infinity, _}, py_nif:reactor_stats(Handle)).

who_writes_past_the_buffer_is_not_idle(Config) ->
    _ = open(Config, 'Ticks', #{idle_timeout => 500}),
    Busy = connect(Config, #{ticks => true}),
    Idle = connect(Config, #{ticks => false}),
    told({<<"ticked">>, false}),
    ?assertEqual({error, closed}, gen_tcp:recv(Idle, 0, ?DEADLINE)),
    told({<<"lost">>}),
    ok = gen_tcp:close(Busy),
    told({<<"lost">>}),
    nothing_more(Config).

protocol_of_a_loop_that_has_ended_has_no_connection_of_the_next(Config) ->
    _ = open(Config, 'Echo', #{}),
    Last = lists:foldl(
        fun(_, Before) ->
            {ok, true} = py:call(?config(ctx, Config), 'erlang._tasks', stop_loop, [1]),
            told({<<"lost">>}),
            ?assertEqual({error, closed}, gen_tcp:recv(Before, 0, ?DEADLINE)),
            %% Its descriptor is for the next one.
            ok = gen_tcp:close(Before),
            connect(Config)
        end,
        connect(Config),
        lists:seq(1, 8)
    ),
    {ok, _} = python(Config, close_all_but_last, []),
    echo(Last),
    nothing_more(Config).

%% That is what `socket' does before it closes its own descriptor.
socket_that_was_made_to_block_does_not(Config) ->
    Handle = open(Config, 'Floods', #{}),
    {ok, Listen} = socket:open(inet, stream, tcp),
    ok = socket:bind(Listen, #{family => inet, addr => ?LOCALHOST, port => 0}),
    ok = socket:listen(Listen),
    {ok, #{port := Port}} = socket:sockname(Listen),
    {ok, Client} = gen_tcp:connect(?LOCALHOST, Port, [binary, {active, false}]),
    {ok, Accepted} = socket:accept(Listen),
    {ok, Fd} = socket:getopt(Accepted, {otp, fd}),
    ok = py_nif:reactor_handoff(Handle, Fd, #{}),
    told({<<"made">>}),
    ok = socket:close(Accepted),
    ok = socket:close(Listen),
    ok = gen_tcp:send(Client, <<"flood">>),
    told({<<"paused">>}),
    {ok, 4.0} = py:call(?config(ctx, Config), math, sqrt, [16]),
    ok = gen_tcp:close(Client),
    told({<<"lost">>}),
    nothing_more(Config).

socket_that_lingers_holds_nobody_up(Config) ->
    Handle = open(Config, 'Floods', #{write_timeout => 100}),
    {ok, Listen} = gen_tcp:listen(0, [{active, false}, {ip, ?LOCALHOST}, {linger, {true, 300}}]),
    {ok, Port} = inet:port(Listen),
    {ok, Client} = gen_tcp:connect(?LOCALHOST, Port, [binary, {active, false}]),
    {ok, Accepted} = gen_tcp:accept(Listen),
    {ok, Fd} = inet:getfd(Accepted),
    ok = py_nif:reactor_handoff(Handle, Fd, #{}),
    told({<<"made">>}),
    ok = gen_tcp:close(Accepted),
    ok = gen_tcp:close(Listen),
    ok = gen_tcp:send(Client, <<"flood">>),
    told({<<"paused">>}),
    told({<<"lost">>}),
    %% Far sooner than after the time for which the close would wait.
    nothing_more(Config),
    ok = gen_tcp:close(Client).

file_is_no_connection(Config) ->
    Handle = open(Config, 'Echo', #{}),
    {ok, Fd} = py:call(?config(ctx, Config), os, open, [list_to_binary(code:which(?MODULE)), 0]),
    ?assertEqual({error, einval}, py_nif:reactor_handoff(Handle, Fd, #{})),
    ok = py_nif:close_fd(Fd),
    ?assertMatch({0, 0, 0, infinity, _}, py_nif:reactor_stats(Handle)),
    nothing_more(Config).

duplicate_of_a_descriptor_does_not_keep_the_connection(Config) ->
    Handle = open(Config, 'Doubled', #{}),
    {ok, Listen} = gen_tcp:listen(0, [{active, false}, {ip, ?LOCALHOST}]),
    {ok, Port} = inet:port(Listen),
    {ok, Fd} = inet:getfd(Listen),
    {ok, Listener} = py_nif:listener_open(Fd),
    {ok, Client} = gen_tcp:connect(?LOCALHOST, Port, [binary, {active, false}]),
    ?assertMatch({1, _}, py_nif:listener_accept(Listener, Handle, #{}, 1)),
    ok = py_nif:listener_close(Listener),
    ok = gen_tcp:close(Listen),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    {ok, _} = python(Config, close_doubles, []),
    nothing_more(Config).

peers_of_a_context_that_is_stuck_see_the_end(Config) ->
    Signals = py_suite:open(),
    ok = py_suite:install(?config(ctx, Config)),
    Handle = open(Config, 'Gated', #{}),
    Other = connect(Config),
    Client = connect(Config),
    ok = gen_tcp:send(Client, integer_to_binary(py_suite:port(Signals))),
    Gate = py_suite:await_signal(Signals, <<"deaf">>),
    exit(?config(ctx, Config), kill),
    ?assertEqual({error, closed}, gen_tcp:recv(Other, 0, ?DEADLINE)),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
    ?assertMatch({2, 2, 1, infinity, _}, py_nif:reactor_stats(Handle)),
    ok = py_suite:release(Signals, Gate),
    told({<<"lost">>}),
    told({<<"lost">>}),
    ok = py_suite:close(Signals).

%% ------------------------------------------------------------------------------------------------

%% The context serves connections, and this process hears of them.
open(Config, Protocol, Options) ->
    true = register(reactor_native, self()),
    Handle = ?config(handle, Config),
    {ok, _} = python(Config, serve, [Protocol]),
    Default = #{
        max_connections => infinity,
        idle_timeout => infinity,
        write_timeout => infinity,
        high_water => 65_536,
        low_water => 16_384
    },
    ok = py_nif:reactor_open(Handle, maps:merge(Default, Options)),
    Handle.

python(Config, Function, Arguments) ->
    py:call(?config(ctx, Config), ?PYTHON, Function, Arguments).

connect(Config) ->
    connect(Config, #{}).

connect(Config, Info) ->
    Client = handed_over(Config, Info),
    told({<<"made">>}),
    Client.

handed_over(Config, Info) ->
    {ok, Listen} = gen_tcp:listen(0, [{active, false}, {ip, ?LOCALHOST}]),
    {ok, Port} = inet:port(Listen),
    {ok, Client} = gen_tcp:connect(?LOCALHOST, Port, [binary, {active, false}]),
    {ok, Accepted} = gen_tcp:accept(Listen),
    {ok, Fd} = inet:getfd(Accepted),
    ok = py_nif:reactor_handoff(?config(handle, Config), Fd, Info),
    ok = gen_tcp:close(Accepted),
    ok = gen_tcp:close(Listen),
    Client.

echo(Client) ->
    ok = gen_tcp:send(Client, <<"echo">>),
    ?assertEqual({ok, <<"echo">>}, gen_tcp:recv(Client, 0, ?DEADLINE)).

ask(Client, Port) ->
    ok = gen_udp:send(Client, ?LOCALHOST, Port, <<"echo">>),
    ?assertMatch({ok, {?LOCALHOST, Port, <<"echo">>}}, gen_udp:recv(Client, 0, ?DEADLINE)).

%% The thread of the context waits in a call until the process gets `go'.
closed_gate(Config) ->
    Test = self(),
    ok = py:register_function(reactor_native_gate, fun([]) ->
        Test ! {gate, self()},
        receive
            go -> open
        end
    end),
    _ = spawn_link(fun() -> {ok, <<"open">>} = python(Config, gate, []) end),
    receive
        {gate, Gate} -> Gate
    after ?DEADLINE -> ct:fail(no_gate)
    end.

register_stop(Config) ->
    Context = ?config(ctx, Config),
    py:register_function(reactor_native_stop, fun([]) ->
        {ok, Stopped} = py:call(Context, 'erlang._tasks', stop_loop, [1]),
        Stopped
    end).

told(Message) ->
    receive
        Message -> ok
    after ?DEADLINE -> ct:fail({not_told, Message, py_suite:flush()})
    end.

%% Everything was told once: what a context has sent before it answers is here before the answer.
nothing_more(Config) ->
    {ok, 4.0} = py:call(?config(ctx, Config), math, sqrt, [16]),
    ?assertEqual([], py_suite:flush()).
