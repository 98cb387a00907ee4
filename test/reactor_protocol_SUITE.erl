%% Protocols of the reactor: what their methods are given, and what becomes of what they answer.
-module(reactor_protocol_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        begin_and_end_are_told_once,
        none_reads_on,
        close_writes_first,
        answer_may_come_from_a_task,
        nothing_is_read_while_an_answer_is_awaited,
        erlang_process_signals_an_answer,
        call_of_any_context_signals_an_answer,
        large_output_arrives_whole,
        water_marks_pause_and_resume,
        protocol_may_write_by_hand,
        handler_may_read_and_write_at_once,
        peer_that_sends_no_more_is_answered,
        end_of_input_ends_the_connection,
        handlers_may_use_the_loop,
        each_connection_has_its_own_context_variables,
        idle_connection_ends,
        peer_that_never_reads_ends,
        flood_does_not_starve_others,
        exception_ends_its_connection_alone,
        exception_at_the_beginning_ends_the_connection,
        exception_at_the_end_is_logged,
        unknown_action_ends_the_connection,
        interrupt_ends_the_connection_that_blocks_alone,
        blocking_handler_is_seen,
        blocking_handler_is_seen_by_telemetry,
        interrupt_finds_nothing_in_an_idle_context,
        reset_is_told,
        ended_connection_is_not_known
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    ?assertEqual([], py_suite:flush()).

%% ------------------------------------------------------------------------------------------------
%% Actions

begin_and_end_are_told_once(Config) ->
    Reactor = py_reactors:start(Config, 'Echo'),
    Clients = [py_reactors:connected(Reactor, #{}) || _ <- lists:seq(1, 20)],
    {Closing, Others} = lists:split(5, Clients),
    {Ending, Left} = lists:split(5, Others),
    [ok = gen_tcp:close(Client) || Client <- Closing],
    [?assertEqual(<<"bye">>, py_reactors:exchange(Client, <<"close">>)) || Client <- Ending],
    _ = [py_reactors:told(<<"lost">>) || _ <- Closing ++ Ending],
    ok = py_reactor_context:stop(Reactor),
    _ = [py_reactors:told(<<"lost">>) || _ <- Left],
    [ok = gen_tcp:close(Client) || Client <- Ending ++ Left],
    py_reactors:untold(<<"lost">>).

none_reads_on(Config) ->
    with_client(Config, 'Listening', fun(Client) ->
        ok = gen_tcp:send(Client, <<"one">>),
        ?assertEqual({<<"data">>, <<"one">>}, bytes(py_reactors:told(<<"data">>))),
        ok = gen_tcp:send(Client, <<"two">>),
        ?assertEqual({<<"data">>, <<"two">>}, bytes(py_reactors:told(<<"data">>))),
        ok = gen_tcp:shutdown(Client, write),
        _ = py_reactors:told(<<"eof">>)
    end).

close_writes_first(Config) ->
    with_client(Config, 'Echo', fun(Client) ->
        ok = gen_tcp:send(Client, <<"close">>),
        ?assertEqual(<<"bye">>, py_reactors:all(Client))
    end).

answer_may_come_from_a_task(Config) ->
    with_client(Config, 'Later', fun(Client) ->
        [
            begin
                ?assertEqual(<<"HELLO">>, py_reactors:exchange(Client, <<"hello">>)),
                _ = [py_reactors:told(Tag) || Tag <- [<<"data">>, <<"replying">>]]
            end
         || _ <- [1, 2, 3]
        ]
    end).

nothing_is_read_while_an_answer_is_awaited(Config) ->
    py_reactors:with(Config, 'Waiting', fun(Reactor) ->
        {Client, Fd} = py_reactors:given(Reactor, #{}),
        {ok, Context} = py_reactor_context:context(Reactor),
        ok = gen_tcp:send(Client, <<"one">>),
        _ = py_reactors:told(<<"data">>),
        ok = gen_tcp:send(Client, <<"two">>),
        %% Another connection shows that the loop has had its turns.
        Other = py_reactors:connected(Reactor, #{}),
        ok = gen_tcp:send(Other, <<"other">>),
        ?assertEqual({<<"data">>, <<"other">>}, bytes(py_reactors:told(<<"data">>))),
        py_reactors:untold(<<"data">>),
        ?assertEqual({ok, true}, py:call(Context, ct_reactor, signal, [Fd])),
        ?assertEqual({ok, <<"one">>}, gen_tcp:recv(Client, 3, ?DEADLINE)),
        ?assertEqual({<<"data">>, <<"two">>}, bytes(py_reactors:told(<<"data">>))),
        [ok = gen_tcp:close(Socket) || Socket <- [Client, Other]],
        ?assertEqual({ok, true}, py:call(Context, ct_reactor, signal, [Fd]))
    end),
    _ = [py_reactors:told(<<"lost">>) || _ <- [1, 2]].

erlang_process_signals_an_answer(Config) ->
    py_reactors:with(Config, 'Waiting', fun(Reactor) ->
        {Client, Fd} = py_reactors:given(Reactor, #{}),
        {ok, Context} = py_reactor_context:context(Reactor),
        [
            begin
                ok = gen_tcp:send(Client, <<"hello">>),
                _ = py_reactors:told(<<"data">>),
                ?assertEqual({ok, true}, py_suite:fresh(fun() -> py:call(Context, ct_reactor, signal, [Fd]) end)),
                ?assertEqual({ok, <<"hello">>}, gen_tcp:recv(Client, 5, ?DEADLINE))
            end
         || _ <- [1, 2, 3]
        ],
        ok = gen_tcp:close(Client),
        _ = py_reactors:told(<<"lost">>)
    end).

call_of_any_context_signals_an_answer(Config) ->
    py_reactors:with(Config, 'Waiting', fun(Reactor) ->
        {Client, Fd} = py_reactors:given(Reactor, #{}),
        ok = gen_tcp:send(Client, <<"hello">>),
        _ = py_reactors:told(<<"data">>),
        Code = <<"__import__('importlib').import_module('erlang.reactor').signal_write_ready(fd)">>,
        ?assertEqual({ok, true}, py:eval(Code, #{fd => Fd})),
        ?assertEqual({ok, <<"hello">>}, gen_tcp:recv(Client, 5, ?DEADLINE)),
        ok = gen_tcp:close(Client),
        _ = py_reactors:told(<<"lost">>)
    end).

%% ------------------------------------------------------------------------------------------------
%% Writing

large_output_arrives_whole(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, _Fd} = py_reactors:given(Reactor, #{}, [{sndbuf, 4096}]),
        ok = gen_tcp:send(Client, <<"give 10000000">>),
        {ok, Data} = gen_tcp:recv(Client, 10_000_000, ?DEADLINE),
        ?assertEqual(binary:copy(<<"x">>, 10_000_000), Data),
        %% And it reads on.
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        ok = gen_tcp:close(Client),
        _ = py_reactors:told(<<"lost">>)
    end).

water_marks_pause_and_resume(Config) ->
    py_reactors:with(Config, 'Flooding', #{high_water => 50_000, low_water => 5_000}, fun(Reactor) ->
        {Client, _Fd} = py_reactors:given(Reactor, #{}, [{sndbuf, 4096}]),
        ok = gen_tcp:send(Client, <<"8000000">>),
        {_, Paused} = py_reactors:told(<<"paused">>),
        ?assert(Paused > 50_000),
        {ok, Data} = gen_tcp:recv(Client, 8_000_000, ?DEADLINE),
        ?assertEqual(8_000_000, byte_size(Data)),
        {_, Resumed} = py_reactors:told(<<"resumed">>),
        ?assert(Resumed =< 5_000),
        ok = gen_tcp:close(Client),
        _ = py_reactors:told(<<"lost">>),
        %% Each pause has its end.
        Rest = py_suite:flush(),
        Count = fun(Tag) -> length([Told || Told <- Rest, element(1, Told) =:= Tag]) end,
        ?assertEqual(Count(<<"paused">>), Count(<<"resumed">>))
    end).

protocol_may_write_by_hand(Config) ->
    with_client(Config, 'ByHand', fun(Client) ->
        ok = gen_tcp:send(Client, <<"twenty-four characters!!">>),
        ?assertEqual({ok, <<"twenty-four characters!!">>}, gen_tcp:recv(Client, 24, ?DEADLINE)),
        ?assertEqual({<<"turns">>, 4}, py_reactors:told(<<"turns">>))
    end).

handler_may_read_and_write_at_once(Config) ->
    with_client(Config, 'Reading', fun(Client) ->
        ?assertEqual(<<"hello|">>, py_reactors:exchange(Client, <<"hello">>)),
        ?assertEqual(<<"again|">>, py_reactors:exchange(Client, <<"again">>))
    end).

%% ------------------------------------------------------------------------------------------------
%% Ends

peer_that_sends_no_more_is_answered(Config) ->
    with_client(Config, 'HalfOpen', fun(Client) ->
        ok = gen_tcp:send(Client, <<"hello">>),
        ok = gen_tcp:shutdown(Client, write),
        ?assertEqual(<<"hello, and goodbye">>, py_reactors:all(Client))
    end).

end_of_input_ends_the_connection(Config) ->
    with_client(Config, 'Echo', fun(Client) ->
        ok = gen_tcp:send(Client, <<"give 5000000">>),
        ok = gen_tcp:shutdown(Client, write),
        ?assertEqual(5_000_000, byte_size(py_reactors:all(Client)))
    end).

reset_is_told(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {Client, Fd} = py_reactors:given(Reactor, #{}),
        ok = inet:setopts(Client, [{linger, {true, 0}}]),
        ok = gen_tcp:close(Client),
        ?assertEqual({<<"lost">>, Fd}, py_reactors:told(<<"lost">>)),
        py_reactors:untold(<<"lost">>)
    end).

ended_connection_is_not_known(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {ok, Context} = py_reactor_context:context(Reactor),
        {Client, Fd} = py_reactors:given(Reactor, #{}),
        ?assertEqual({ok, true}, py:call(Context, ct_reactor, is_known, [Fd])),
        ok = gen_tcp:close(Client),
        _ = py_reactors:told(<<"lost">>),
        ?assertEqual({ok, false}, py:call(Context, ct_reactor, is_known, [Fd])),
        ?assertEqual({ok, false}, py:call(Context, ct_reactor, signal, [Fd])),
        ?assertEqual({ok, false}, py:call(Context, ct_reactor, signal, [1 bsl 20]))
    end).

idle_connection_ends(Config) ->
    py_reactors:with(Config, 'Echo', #{idle_timeout => 50}, fun(Reactor) ->
        Client = py_reactors:connected(Reactor, #{}),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        ok = py_reactors:closed(Client),
        _ = py_reactors:told(<<"lost">>)
    end).

peer_that_never_reads_ends(Config) ->
    py_reactors:with(Config, 'Echo', #{write_timeout => 50}, fun(Reactor) ->
        Client = py_reactors:connected(Reactor, #{}),
        ok = gen_tcp:send(Client, <<"give 50000000">>),
        _ = py_reactors:told(<<"lost">>),
        gen_tcp:close(Client)
    end).

%% ------------------------------------------------------------------------------------------------
%% The loop

handlers_may_use_the_loop(Config) ->
    with_client(Config, 'Tasks', fun(Client) ->
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>))
    end).

each_connection_has_its_own_context_variables(Config) ->
    py_reactors:with(Config, 'Scoped', fun(Reactor) ->
        [One, Two] = Clients = [py_reactors:connected(Reactor, #{}) || _ <- [1, 2]],
        ?assertEqual(<<"nobody">>, py_reactors:exchange(One, <<"one">>)),
        ?assertEqual(<<"nobody">>, py_reactors:exchange(Two, <<"two">>)),
        ?assertEqual(<<"one">>, py_reactors:exchange(One, <<"three">>)),
        ?assertEqual(<<"two">>, py_reactors:exchange(Two, <<"four">>)),
        [ok = gen_tcp:close(Client) || Client <- Clients],
        _ = [py_reactors:told(<<"lost">>) || _ <- Clients]
    end).

%% Five that send as fast as they can, and are read as fast, do not keep one more from its answers.
flood_does_not_starve_others(Config) ->
    %% The port of one that was killed stays until it has sent what was left, which may be never: nobody reads answers.
    py_reactors:with(Config, 'Echo', #{write_timeout => 3_000}, fun(Reactor) ->
        Data = binary:copy(<<"x">>, 1 bsl 16),
        Floods = [flood(Reactor, Data) || _ <- lists:seq(1, 5)],
        _ = [py_reactors:told(flooding) || _ <- Floods],
        Client = py_reactors:connected(Reactor, #{}),
        [?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)) || _ <- lists:seq(1, 100)],
        [exit(Pid, kill) || Flood <- Floods, Pid <- Flood],
        ok = gen_tcp:close(Client),
        _ = [py_reactors:told(<<"lost">>) || _ <- [Client | Floods]],
        _ = [py_reactors:told(<<"made">>) || _ <- Floods]
    end).

flood(Reactor, Data) ->
    Test = self(),
    Writer = spawn(fun() ->
        receive
            {go, Client} -> repeat(fun() -> ok = gen_tcp:send(Client, Data) end)
        end
    end),
    Reader = spawn(fun() ->
        {Client, Accepted} = py_reactors:connection(),
        ok = py_reactor_context:handoff(Reactor, Accepted, #{tell => Test}),
        Writer ! {go, Client},
        {ok, _} = gen_tcp:recv(Client, 0, ?DEADLINE),
        Test ! {flooding},
        repeat(fun() -> {ok, _} = gen_tcp:recv(Client, 0, ?DEADLINE) end)
    end),
    %% The reader first: the writer would see its socket closed.
    [Writer, Reader].

repeat(Fun) ->
    _ = Fun(),
    repeat(Fun).

%% ------------------------------------------------------------------------------------------------
%% Failures

exception_ends_its_connection_alone(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        Other = py_reactors:connected(Reactor, #{}),
        Text = logged(fun() ->
            Client = py_reactors:connected(Reactor, #{}),
            ok = gen_tcp:send(Client, <<"fail">>),
            ok = py_reactors:closed(Client),
            _ = py_reactors:told(<<"lost">>)
        end),
        py_suite:contains(Text, "Traceback (most recent call last)"),
        py_suite:contains(Text, "in data_received"),
        py_suite:contains(Text, "ValueError: told to fail"),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Other, <<"hello">>)),
        ok = gen_tcp:close(Other),
        _ = py_reactors:told(<<"lost">>)
    end).

exception_at_the_beginning_ends_the_connection(Config) ->
    py_reactors:with(Config, 'FailingStart', fun(Reactor) ->
        Text = logged(fun() ->
            Client = py_reactors:connected(Reactor, #{}),
            ok = py_reactors:closed(Client),
            _ = py_reactors:told(<<"lost">>)
        end),
        py_suite:contains(Text, "ValueError: failed to begin")
    end).

exception_at_the_end_is_logged(Config) ->
    py_reactors:with(Config, 'FailingEnd', fun(Reactor) ->
        Text = logged(fun() ->
            Client = py_reactors:connected(Reactor, #{}),
            ok = gen_tcp:close(Client),
            _ = py_reactors:told(<<"lost">>)
        end),
        py_suite:contains(Text, "ValueError: failed to end"),
        ok = py_leaks:eventually(fun() -> maps:get(active_connections, py_reactor_context:stats(Reactor)) =:= 0 end)
    end).

unknown_action_ends_the_connection(Config) ->
    py_reactors:with(Config, 'Wrong', fun(Reactor) ->
        Text = logged(fun() ->
            Client = py_reactors:connected(Reactor, #{}),
            ok = gen_tcp:send(Client, <<"hello">>),
            ok = py_reactors:closed(Client),
            _ = py_reactors:told(<<"lost">>)
        end),
        py_suite:contains(Text, "onwards")
    end).

interrupt_ends_the_connection_that_blocks_alone(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {ok, Context} = py_reactor_context:context(Reactor),
        Other = py_reactors:connected(Reactor, #{}),
        py_suite:silently(fun() ->
            Client = py_reactors:connected(Reactor, #{}),
            ok = gen_tcp:send(Client, <<"spin">>),
            _ = py_reactors:told(<<"spinning">>),
            ?assertEqual(ok, py:interrupt(Context)),
            ok = py_reactors:closed(Client),
            _ = py_reactors:told(<<"lost">>)
        end),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Other, <<"hello">>)),
        ok = gen_tcp:close(Other),
        _ = py_reactors:told(<<"lost">>)
    end).

interrupt_finds_nothing_in_an_idle_context(Config) ->
    py_reactors:with(Config, 'Echo', fun(Reactor) ->
        {ok, Context} = py_reactor_context:context(Reactor),
        Client = py_reactors:connected(Reactor, #{}),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        ok = py_leaks:eventually(fun() -> maps:get(busy, py_reactor_context:stats(Reactor)) =:= 0 end),
        ?assertEqual(not_running, py:interrupt(Context)),
        ?assertEqual(<<"hello">>, py_reactors:exchange(Client, <<"hello">>)),
        ok = gen_tcp:close(Client),
        _ = py_reactors:told(<<"lost">>)
    end).

blocking_handler_is_seen(Config) ->
    py_reactors:with(Config, 'Echo', #{lag_warning => 20}, fun(Reactor) ->
        {ok, Context} = py_reactor_context:context(Reactor),
        Client = py_reactors:connected(Reactor, #{}),
        Handler = py_suite:capture_log(),
        ok = gen_tcp:send(Client, <<"spin">>),
        _ = py_reactors:told(<<"spinning">>),
        Text = next_log("a handler has been running"),
        py_suite:contains(Text, pid_to_list(Context)),
        ?assert(maps:get(busy, py_reactor_context:stats(Reactor)) >= 20_000),
        ?assertEqual(ok, py:interrupt(Context)),
        ok = py_reactors:closed(Client),
        _ = py_reactors:told(<<"lost">>),
        ok = py_suite:release_log(Handler),
        py_suite:flush()
    end).

blocking_handler_is_seen_by_telemetry(Config) ->
    Test = self(),
    Event = [erlang_python, reactor, lag],
    Tell = fun(Told, Measurements, Metadata) -> Test ! {event, Told, Measurements, Metadata} end,
    ok = py_telemetry:attach(?FUNCTION_NAME, Event, Tell),
    py_suite:silently(fun() ->
        py_reactors:with(Config, 'Echo', #{lag_warning => 20}, fun(Reactor) ->
            {ok, Context} = py_reactor_context:context(Reactor),
            Client = py_reactors:connected(Reactor, #{}),
            ok = gen_tcp:send(Client, <<"spin">>),
            _ = py_reactors:told(<<"spinning">>),
            {event, Event, #{microseconds := Lag}, Metadata} = py_reactors:told(event),
            ?assertEqual(#{id => 'Echo', context => Context}, Metadata),
            ?assert(Lag >= 20_000),
            ?assertEqual(ok, py_telemetry:detach(?FUNCTION_NAME)),
            ?assertEqual(ok, py:interrupt(Context)),
            ok = py_reactors:closed(Client),
            _ = py_reactors:told(<<"lost">>)
        end)
    end),
    %% Another warning may have come before the handler was detached.
    _ = sys:get_state(py_telemetry_watcher),
    flush_events().

flush_events() ->
    receive
        {event, _, _, _} -> flush_events()
    after 0 -> ok
    end.

%% ------------------------------------------------------------------------------------------------

%% A connection that the fun has, and that has ended afterwards.
with_client(Config, Protocol, Fun) ->
    py_reactors:with(Config, Protocol, fun(Reactor) ->
        Client = py_reactors:connected(Reactor, #{}),
        _ = Fun(Client),
        ok = gen_tcp:close(Client),
        _ = py_reactors:told(<<"lost">>)
    end).

bytes({Tag, {bytes, Data}}) -> {Tag, Data};
bytes(Told) -> Told.

%% The text of the first log event that comes while the fun runs.
logged(Fun) ->
    Handler = py_suite:capture_log(),
    _ = Fun(),
    Text = next_log("Python context"),
    ok = py_suite:release_log(Handler),
    Text.

next_log(Part) ->
    receive
        {log, Event} ->
            Text = lists:flatten(logger_formatter:format(Event, #{})),
            case string:find(Text, Part) of
                nomatch -> next_log(Part);
                _ -> Text
            end
    after ?DEADLINE -> ct:fail({not_logged, Part})
    end.
