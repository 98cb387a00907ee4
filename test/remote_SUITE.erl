%% Contexts on other nodes: everything as on the own one, and what happens when somebody is lost.
-module(remote_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [
        {group, shared_node},
        {group, own_node}
    ].

groups() ->
    [
        {shared_node, [], [
            every_form_of_call_works,
            code_as_text_works,
            cast_runs,
            spawn_call_is_answered,
            namespace_is_the_callers_own,
            namespaces_of_callers_are_separate,
            values_of_the_distribution_cross,
            large_values_cross,
            exceptions_and_their_stories_cross,
            source_lines_are_those_of_the_contexts_node,
            arguments_are_checked_here,
            order_of_submission_is_kept,
            many_callers_at_once,
            time_out_interrupts,
            time_out_of_zero,
            queued_request_never_runs_after_its_time_out,
            await_takes_the_message_along,
            result_that_is_there_is_no_time_out,
            cancel_interrupts,
            cancel_takes_back_what_is_done,
            only_the_spawner_may_await_and_cancel,
            interrupt_stops_what_runs,
            mailbox_is_left_alone,
            information_is_that_of_the_context,
            environments_live_as_long_as_the_caller,
            references_to_objects_stay_where_they_are,
            death_of_the_caller_interrupts,
            death_of_the_caller_drops_its_namespace,
            cast_survives_its_sender,
            dead_context_is_an_error,
            death_of_the_context_answers_everybody,
            stop_ends_a_context,
            lost_connection_answers_everybody,
            lost_connection_interrupts_and_drops_the_namespace,
            session_that_is_killed_answers_everybody,
            proxy_that_is_killed_answers_everybody,
            server_that_is_killed_answers_everybody,
            request_at_the_very_end_is_answered,
            other_version_of_the_protocol_is_refused,
            stopped_application_here_is_an_error,
            nothing_is_left_behind
        ]},
        {own_node, [], [
            death_of_the_contexts_node_answers_everybody,
            death_of_the_callers_node_interrupts,
            stop_of_the_application_answers_everybody,
            node_without_the_application_is_an_error,
            node_of_another_version_is_an_error,
            context_of_an_earlier_life_of_its_node_is_dead,
            time_out_covers_connecting,
            callers_go_while_a_node_hangs,
            session_keeps_nothing_of_contexts_that_have_ended
        ]}
    ].

init_per_suite(Config) ->
    Distributed = py_peers:distribute(),
    ok = py_suite:start(#{num_contexts => 1}),
    {ok, _} = py:eval("1"),
    ok = py_suite:stop(),
    Before = py_leaks:snapshot(),
    ok = py_suite:start(#{num_contexts => 1}),
    [{distributed, Distributed}, {leaks, Before} | Config].

end_per_suite(Config) ->
    ok = py_suite:stop(),
    ok = py_leaks:check(?config(leaks, Config), #{spares => 2}),
    py_peers:undistribute(?config(distributed, Config)).

init_per_group(shared_node, Config) ->
    Peer = py_peers:start(),
    Context = py_peers:context(Peer),
    ok = py_suite:fresh(fun() -> py_suite:install(Context) end),
    Before = py_peers:call(Peer, py_leaks, snapshot, []),
    [{peer, Peer}, {ctx, Context}, {node, node(Context)}, {leaks_there, Before} | Config];
init_per_group(own_node, Config) ->
    Config.

end_per_group(shared_node, Config) ->
    py_peers:stop(?config(peer, Config));
end_per_group(own_node, _Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

%% Each case is a caller of its own, with its own proxy and session.

running(Config, Context, Function, Tag) ->
    Socket = ?config(socket, Config),
    Ref = py:spawn_call(Context, ct_signals, Function, [py_suite:port(Socket), Tag]),
    _ = py_suite:await_signal(Socket, Tag),
    Ref.

closed_gate(Config) ->
    Socket = ?config(socket, Config),
    Ref = py:spawn_call(?config(ctx, Config), ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
    {Ref, py_suite:await_signal(Socket, <<"gate">>)}.

open_gate(Config, {Ref, Port}) ->
    py_suite:release(?config(socket, Config), Port),
    {ok, <<"gate">>} = py:await(Ref),
    ok.

idle(Context) ->
    ok = py_leaks:eventually(fun() -> py:interrupt(Context) =:= not_running end).

%%% As on the own node

every_form_of_call_works(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(Context, <<"math">>, "sqrt", [16], #{timeout => 10_000})),
    ?assertEqual(
        {ok, [3, 2, 1]},
        py:call(Context, builtins, sorted, [[1, 3, 2]], #{kwargs => #{reverse => true}})
    ).

code_as_text_works(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual(ok, py:exec(Context, "answer = 42")),
    ?assertEqual({ok, 42}, py:eval(Context, "answer")),
    ?assertEqual({ok, 43}, py:eval(Context, <<"answer + n">>, #{n => 1})),
    ?assertMatch({error, {'SyntaxError', _}}, py:eval(Context, "1 +")).

cast_runs(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    ?assertEqual(ok, py:cast(Context, ct_signals, signal, [py_suite:port(Socket), <<"cast">>])),
    _ = py_suite:await_signal(Socket, <<"cast">>),
    ?assertEqual(
        ok, py:cast(Context, ct_signals, signal, [py_suite:port(Socket)], #{tag => <<"named">>})
    ),
    _ = py_suite:await_signal(Socket, <<"named">>).

spawn_call_is_answered(Config) ->
    Context = ?config(ctx, Config),
    Refs = [py:spawn_call(Context, math, sqrt, [N * N]) || N <- lists:seq(1, 20)],
    ?assertEqual([{ok, N * 1.0} || N <- lists:seq(1, 20)], [py:await(Ref) || Ref <- Refs]),
    Ref = py:spawn_call(Context, builtins, sorted, [[1, 2]], #{reverse => true}),
    receive
        {py_response, Ref, Result} -> ?assertEqual({ok, [2, 1]}, Result)
    end,
    ?assertEqual([], py_suite:flush()).

namespace_is_the_callers_own(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "def double(x): return 2 * x"),
    ?assertEqual({ok, 4}, py:call(Context, '__main__', double, [2])),
    ?assertEqual({ok, 6}, py:await(py:spawn_call(Context, '__main__', double, [3]))),
    ok = py:exec(Context, "kept = []"),
    ok = py:cast(Context, '__main__', 'kept.append', [1]),
    ?assertEqual({ok, [1]}, py:eval(Context, "kept")).

namespaces_of_callers_are_separate(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "mine = 1"),
    Unknown = fun() -> py:eval(Context, "mine") end,
    ?assertMatch({error, {'NameError', _}}, py_suite:fresh(Unknown)),
    ?assertMatch({error, {'NameError', _}}, py_peers:call(?config(peer, Config), py, eval, [Context, "mine"])),
    ?assertEqual({ok, 1}, py:eval(Context, "mine")).

values_of_the_distribution_cross(Config) ->
    Context = ?config(ctx, Config),
    Values = [self(), make_ref(), Context, atom_to_binary(node()), 1 bsl 200, #{<<"a">> => [{1, 2.5}]}, <<255, 0>>],
    ?assertEqual({ok, Values}, py:call(Context, builtins, list, [Values])),
    ok = py:exec(Context, "def same(a, b): return a == b and hash(a) == hash(b)"),
    ?assertEqual({ok, true}, py:call(Context, '__main__', same, [self(), self()])),
    ?assertEqual({ok, false}, py:call(Context, '__main__', same, [self(), Context])).

large_values_cross(Config) ->
    Context = ?config(ctx, Config),
    Binary = binary:copy(<<0, 255>>, 2_000_000),
    ?assertEqual({ok, Binary}, py:call(Context, builtins, bytes, [Binary])),
    List = lists:seq(1, 100_000),
    ?assertEqual({ok, lists:reverse(List)}, py:call(Context, builtins, sorted, [List], #{kwargs => #{reverse => true}})).

exceptions_and_their_stories_cross(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "def half(n):\n    raise ValueError(f'{n} is odd')"),
    ?assertEqual({error, {'ValueError', "3 is odd"}}, py:call(Context, '__main__', half, [3])),
    ?assertMatch(
        #{type := 'ValueError', message := "3 is odd", traceback := [{<<"<erlang", _/binary>>, 2, <<"half">>, <<"raise", _/binary>>}]},
        py:last_error()
    ).

%% The file is gone, and known there only, when the caller asks.
source_lines_are_those_of_the_contexts_node(Config) ->
    Context = ?config(ctx, Config),
    File = filename:join(?config(priv_dir, Config), "failing_there.py"),
    ok = file:write_file(File, "def fail():\n    raise ValueError('there')\n"),
    {ok, _} = py:call(Context, sys, 'path.insert', [0, list_to_binary(?config(priv_dir, Config))]),
    ?assertEqual({error, {'ValueError', "there"}}, py:call(Context, failing_there, fail, [])),
    ok = file:delete(File),
    #{traceback := Frames} = py:last_error(),
    ?assertMatch({_, 2, <<"fail">>, <<"raise ValueError('there')">>}, lists:last(Frames)).

arguments_are_checked_here(Config) ->
    Context = ?config(ctx, Config),
    ?assertError(badarg, py:call(Context, math, sqrt, 16)),
    ?assertError(badarg, py:call(Context, math, sqrt, [16 | 17])),
    ?assertError(badarg, py:call(Context, math, sqrt, [16], #{timeout => -1})),
    ?assertError(badarg, py:eval(Context, 1)),
    ?assertError(badarg, py:exec(Context, 1)),
    ?assertError(badarg, py:cast(Context, 1, sqrt, [])),
    ?assertError(badarg, py:spawn_call(Context, math, sqrt, none)).

order_of_submission_is_kept(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "seen = []"),
    lists:foreach(
        fun(Round) ->
            ok = py:exec(Context, "seen.clear()"),
            %% Large ones cross in pieces, which must not let the small ones overtake them.
            Size = 200_000 * (Round rem 2),
            Submit = fun
                (I) when I rem 3 =:= 0 ->
                    py:spawn_call(Context, '__main__', 'seen.append', [{I, binary:copy(<<"x">>, Size)}]);
                (I) ->
                    ok = py:cast(Context, '__main__', 'seen.append', [{I, binary:copy(<<"x">>, Size rem I)}])
            end,
            _ = [Submit(I) || I <- lists:seq(1, 30)],
            ?assertEqual({ok, lists:seq(1, 30)}, py:eval(Context, "[i for i, _ in seen]"))
        end,
        lists:seq(1, 10)
    ).

many_callers_at_once(Config) ->
    Context = ?config(ctx, Config),
    Own = fun(I) ->
        ok = py:exec(Context, io_lib:format("mine = ~b", [I])),
        [?assertEqual({ok, I * N}, py:eval(Context, "mine * n", #{n => N})) || N <- lists:seq(1, 30)],
        I
    end,
    ?assertEqual(lists:seq(1, 30), py_suite:concurrently(30, Own)).

%%% Time-outs and cancelling

time_out_interrupts(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Arguments = [py_suite:port(Socket), <<"spin">>],
    ?assertEqual({error, timeout}, py:call(Context, ct_signals, spin, Arguments, #{timeout => 100})),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], [M || M <- py_suite:flush(), element(1, M) =/= udp]).

time_out_of_zero(Config) ->
    Context = ?config(ctx, Config),
    Gate = closed_gate(Config),
    ?assertEqual({error, timeout}, py:call(Context, math, sqrt, [16], #{timeout => 0})),
    ok = open_gate(Config, Gate),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

queued_request_never_runs_after_its_time_out(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "ran = []"),
    Gate = closed_gate(Config),
    [
        ?assertEqual({error, timeout}, py:call(Context, '__main__', 'ran.append', [I], #{timeout => 20}))
     || I <- lists:seq(1, 5)
    ],
    %% What was cancelled is cancelled there once something later is answered.
    {ok, _} = py_context:get_interp_id(Context),
    ok = open_gate(Config, Gate),
    ?assertEqual({ok, []}, py:eval(Context, "ran")),
    ?assertEqual([], py_suite:flush()).

await_takes_the_message_along(Config) ->
    Context = ?config(ctx, Config),
    Running = running(Config, Context, spin, <<"spin">>),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    ?assertEqual({error, timeout}, py:await(Queued, 20)),
    ?assertEqual({error, timeout}, py:await(Running, 20)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

result_that_is_there_is_no_time_out(Config) ->
    Context = ?config(ctx, Config),
    Done = py:spawn_call(Context, math, sqrt, [16]),
    {ok, 5.0} = py:call(Context, math, sqrt, [25]),
    ?assertEqual({ok, 4.0}, py:await(Done, 0)).

cancel_interrupts(Config) ->
    Context = ?config(ctx, Config),
    Running = running(Config, Context, spin, <<"spin">>),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    ?assertEqual(ok, py:cancel(Queued)),
    ?assertEqual(ok, py:cancel(Running)),
    ?assertEqual(ok, py:cancel(Running)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

cancel_takes_back_what_is_done(Config) ->
    Context = ?config(ctx, Config),
    Done = py:spawn_call(Context, math, sqrt, [16]),
    {ok, 5.0} = py:call(Context, math, sqrt, [25]),
    ?assertEqual(ok, py:cancel(Done)),
    ?assertEqual([], py_suite:flush()).

only_the_spawner_may_await_and_cancel(Config) ->
    Running = running(Config, ?config(ctx, Config), spin, <<"spin">>),
    py_suite:fresh(fun() ->
        ?assertError(badarg, py:await(Running, 0)),
        ?assertError(badarg, py:cancel(Running))
    end),
    ?assertEqual(ok, py:cancel(Running)).

interrupt_stops_what_runs(Config) ->
    Context = ?config(ctx, Config),
    idle(Context),
    Running = running(Config, Context, spin, <<"spin">>),
    ?assertEqual(ok, py:interrupt(Context)),
    ?assertEqual({error, interrupted}, py:await(Running)),
    ?assertEqual(not_running, py:interrupt(Context)).

mailbox_is_left_alone(Config) ->
    Context = ?config(ctx, Config),
    Others = lists:seq(1, 10_000),
    _ = [self() ! I || I <- Others],
    ok = py:exec(Context, "import time"),
    _ = [py:call(Context, time, sleep, [N / 1000], #{timeout => 1}) || N <- lists:seq(0, 30)],
    Refs = [py:spawn_call(Context, math, sqrt, [N]) || N <- lists:seq(1, 50)],
    _ = [ok = py:cancel(Ref) || Ref <- Refs],
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({messages, Others}, process_info(self(), messages)),
    ?assertEqual({monitors, []}, process_info(self(), monitors)).

information_is_that_of_the_context(Config) ->
    Context = ?config(ctx, Config),
    There = fun(Function) -> py_peers:call(?config(peer, Config), py_context, Function, [Context]) end,
    ?assertEqual(There(get_interp_id), py_context:get_interp_id(Context)),
    ?assertEqual(There(is_subinterp), py_context:is_subinterp(Context)),
    ?assertEqual(There(get_nif_ref), py_context:get_nif_ref(Context)).

environments_live_as_long_as_the_caller(Config) ->
    Context = ?config(ctx, Config),
    {ok, Environment} = py_context:create_local_env(Context),
    ok = py_context:exec(Context, "def named(): return 1", Environment),
    ?assertEqual({ok, 1}, py_context:eval(Context, "named()", #{}, infinity, Environment)),
    ?assertEqual({ok, 1}, py_context:call(Context, '__main__', named, [], #{}, infinity, Environment)),
    ?assertMatch({error, {'NameError', _}}, py:eval(Context, "named")),
    ok = py:exec(Context, "own = 2"),
    Own = py:get_local_env(Context),
    ?assertEqual(Own, py:get_local_env(Context)),
    ?assertEqual({ok, 2}, py_context:eval(Context, "own", #{}, infinity, Own)),
    ?assertEqual({ok, 2}, py_suite:fresh(fun() -> py_context:eval(Context, "own", #{}, infinity, Own) end)),
    %% Another process may use what it was given, until its owner ends.
    Owner = self(),
    Stranger = spawn_monitor(fun() ->
        {ok, Theirs} = py_context:create_local_env(Context),
        Owner ! {theirs, Theirs},
        receive
            stop -> ok
        end
    end),
    Theirs =
        receive
            {theirs, E} -> E
        end,
    %% In a session of its own each time: until it is collected, what a session has seen lives on.
    Try = fun() -> py_context:eval(Context, "3", #{}, infinity, Theirs) end,
    ?assertEqual({ok, 3}, py_suite:fresh(Try)),
    element(1, Stranger) ! stop,
    _ = py_suite:await_down(Stranger, 10_000),
    ok = py_leaks:eventually(fun() -> py_suite:fresh(Try) =:= {error, stale_reference} end).

%% Whoever holds the reference on the object's node keeps the object; its copies elsewhere do not.
references_to_objects_stay_where_they_are(Config) ->
    Context = ?config(ctx, Config),
    Holder = py_peers:call(?config(peer, Config), erlang, spawn, [?MODULE, holder, [Context, self()]]),
    Object =
        receive
            {Holder, O} -> O
        end,
    %% In a session of its own each time, see above.
    Uses = fun() ->
        {
            py:getattr(Object, numerator),
            py:call_method(Object, limit_denominator, [10]),
            py:to_term(Object)
        }
    end,
    ?assertMatch(
        {{ok, 1}, {ok, Third}, {error, {'TypeError', _}}} when is_reference(Third),
        py_suite:fresh(Uses)
    ),
    ?assertEqual({ok, <<"Fraction(1, 3)">>}, py_suite:fresh(fun() -> py:call(Context, builtins, repr, [Object]) end)),
    Holder ! stop,
    Gone = {error, stale_reference},
    ok = py_leaks:eventually(fun() -> py_suite:fresh(Uses) =:= {Gone, Gone, Gone} end).

holder(Context, Owner) ->
    {ok, Object} = py:call(Context, fractions, 'Fraction', [1, 3]),
    Owner ! {self(), Object},
    receive
        stop -> Object
    end.

%%% Deaths

death_of_the_caller_interrupts(Config) ->
    Context = ?config(ctx, Config),
    Peer = ?config(peer, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Sessions = py_peers:sessions(Peer),
    Caller = spawn(fun() -> py:call(Context, ct_signals, spin, [Port, <<"spin">>]) end),
    _ = py_suite:await_signal(Socket, <<"spin">>),
    ok = py_suite:killed(Caller),
    idle(Context),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ok = py_leaks:eventually(fun() -> py_peers:sessions(Peer) =< Sessions + 1 end).

death_of_the_caller_drops_its_namespace(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "import sys"),
    Count = "sum(name.startswith('_erlang_process_') for name in sys.modules)",
    {ok, Before} = py:eval(Context, Count),
    10 = length(py_suite:concurrently(10, fun(_) -> ok = py:exec(Context, "x = 1") end)),
    ok = py_leaks:eventually(fun() -> py:eval(Context, Count) =:= {ok, Before} end).

cast_survives_its_sender(Config) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Gate = closed_gate(Config),
    {_, _} = py_suite:fresh(fun() ->
        %% The call that follows tells that the cast has arrived.
        ok = py:cast(Context, ct_signals, signal, [Port, <<"cast">>]),
        py_context:get_interp_id(Context)
    end),
    ok = open_gate(Config, Gate),
    _ = py_suite:await_signal(Socket, <<"cast">>).

dead_context_is_an_error(Config) ->
    Context = py_peers:context(?config(peer, Config)),
    ok = py_peers:call(?config(peer, Config), py_context, stop, [Context]),
    ?assertEqual({error, {context_died, noproc}}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({error, {context_died, noproc}}, py:exec(Context, "x = 1")),
    ?assertEqual({error, {context_died, noproc}}, py:interrupt(Context)),
    ?assertEqual({error, {context_died, noproc}}, py:await(py:spawn_call(Context, math, sqrt, [16]))),
    ?assertEqual(ok, py:cast(Context, math, sqrt, [16])),
    ?assertEqual({error, {context_died, noproc}}, py_context:get_interp_id(Context)),
    ?assertEqual({error, {context_died, noproc}}, py_context:create_local_env(Context)),
    ?assertEqual({error, {context_died, noproc}}, py:get_local_env(Context)),
    ?assertEqual(ok, py_context:stop(Context)),
    ?assertEqual([], py_suite:flush()).

death_of_the_context_answers_everybody(Config) ->
    Context = py_peers:context(?config(peer, Config)),
    ok = py_suite:install(Context),
    Running = running(Config, Context, spin, <<"spin">>),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    true = exit(Context, kill),
    ?assertMatch({error, {context_died, _}}, py:await(Queued)),
    ?assertMatch({error, {context_died, _}}, py:await(Running)),
    ?assertEqual([], py_suite:flush()).

stop_ends_a_context(Config) ->
    Context = py_peers:context(?config(peer, Config)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    Monitor = erlang:monitor(process, Context),
    ?assertEqual(ok, py_context:stop(Context)),
    receive
        {'DOWN', Monitor, process, Context, Reason} -> ?assertEqual(normal, Reason)
    end,
    ?assertEqual(ok, py_context:stop(Context)),
    ?assertEqual({error, {context_died, noproc}}, py:eval(Context, "1")).

%% What is called, spawned and waited for when something breaks.
all_lost(Config, Break, Expected) ->
    Context = ?config(ctx, Config),
    Socket = ?config(socket, Config),
    Port = py_suite:port(Socket),
    Running = running(Config, Context, spin, <<"spin">>),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    Break(get({py_remote, ?config(node, Config)})),
    ?assertEqual(Expected, py:await(Running)),
    ?assertEqual(Expected, py:await(Queued)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    %% One who waits.
    Owner = self(),
    Waiting = py_suite:spawn_caller(fun() ->
        ok = py:exec(Context, "mine = 1"),
        Owner ! {proxy, get({py_remote, ?config(node, Config)})},
        Lost = py:call(Context, ct_signals, spin, [Port, <<"called">>]),
        Namespace = py:eval(Context, "mine"),
        {Lost, Namespace, py_suite:flush(), process_info(self(), monitors)}
    end),
    Proxy =
        receive
            {proxy, P} -> P
        end,
    _ = py_suite:await_signal(Socket, <<"called">>),
    Break(Proxy),
    {result, {Lost, Namespace, Messages, Monitors}} = py_suite:await_down(Waiting, 20_000),
    ?assertEqual(Expected, Lost),
    ?assertMatch({error, {'NameError', _}}, Namespace),
    ?assertEqual([], Messages),
    ?assertEqual({monitors, []}, Monitors),
    idle(Context),
    ?assertEqual([], py_suite:flush()).

lost_connection_answers_everybody(Config) ->
    Node = ?config(node, Config),
    all_lost(Config, fun(_) -> true = erlang:disconnect_node(Node) end, {error, {context_died, noconnection}}).

lost_connection_interrupts_and_drops_the_namespace(Config) ->
    Context = ?config(ctx, Config),
    Peer = ?config(peer, Config),
    Count = "sum(name.startswith('_erlang_process_') for name in __import__('sys').modules)",
    {ok, Before} = py_peers:call(Peer, py, eval, [Context, Count]),
    ok = py:exec(Context, "mine = 1"),
    Running = running(Config, Context, spin, <<"spin">>),
    true = py_peers:call(Peer, erlang, disconnect_node, [node()]),
    %% Seen from there: this node does not touch the connection.
    ok = py_leaks:eventually(fun() -> py_peers:call(Peer, py, interrupt, [Context]) =:= not_running end),
    ok = py_leaks:eventually(fun() -> py_peers:call(Peer, py, eval, [Context, Count]) =:= {ok, Before} end),
    ?assertEqual({error, {context_died, noconnection}}, py:await(Running)).

session_that_is_killed_answers_everybody(Config) ->
    Peer = ?config(peer, Config),
    Kill = fun(_) ->
        [exit(Pid, kill) || {_, Pid, _, _} <- py_peers:call(Peer, supervisor, which_children, [py_remote_session_sup])]
    end,
    all_lost(Config, Kill, {error, {context_died, killed}}).

proxy_that_is_killed_answers_everybody(Config) ->
    all_lost(Config, fun(Proxy) -> exit(Proxy, kill) end, {error, {context_died, killed}}).

%% The proxies end with the server, whose table then is gone.
server_that_is_killed_answers_everybody(Config) ->
    Context = ?config(ctx, Config),
    Running = running(Config, Context, spin, <<"spin">>),
    Queued = py:spawn_call(Context, math, sqrt, [16]),
    py_suite:silently(fun() -> py_suite:killed(whereis(py_remote_server)) end),
    ?assertEqual({error, not_running}, py:await(Running)),
    ?assertEqual({error, not_running}, py:await(Queued)),
    ok = py_leaks:eventually(fun() -> py:call(Context, math, sqrt, [16]) =:= {ok, 4.0} end),
    ?assertEqual([], py_suite:flush()).

%% Its proxy has not seen it when everything ends, and the server has not heard of the proxy's end.
request_at_the_very_end_is_answered(Config) ->
    Context = ?config(ctx, Config),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    ok = sys:suspend(get({py_remote, ?config(node, Config)})),
    Ref = py:spawn_call(Context, math, sqrt, [16]),
    ok = sys:suspend(py_remote_server),
    ok = py_suite:stop(),
    ok = py_suite:start(#{num_contexts => 1}),
    ?assertEqual({error, not_running}, py:await(Ref)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

other_version_of_the_protocol_is_refused(Config) ->
    Ref = make_ref(),
    Here = py_remote_server:version(),
    {py_remote_server, ?config(node, Config)} ! {py_remote, connect, 99, Ref, self(), #{}},
    receive
        {py_remote, refused, Ref, {version, Here}} -> ok
    end.

stopped_application_here_is_an_error(Config) ->
    Context = ?config(ctx, Config),
    Running = running(Config, Context, spin, <<"spin">>),
    ok = py_suite:stop(),
    ?assertEqual({error, not_running}, py:await(Running)),
    ?assertEqual({error, not_running}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({error, not_running}, py:exec(Context, "1")),
    ?assertEqual({error, not_running}, py:interrupt(Context)),
    ?assertEqual({error, not_running}, py:cast(Context, math, sqrt, [16])),
    ?assertEqual({error, not_running}, py:await(py:spawn_call(Context, math, sqrt, [16]))),
    ok = py_suite:start(#{num_contexts => 1}),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()).

nothing_is_left_behind(Config) ->
    Peer = ?config(peer, Config),
    ok = py_leaks:eventually(fun() -> {py_peers:sessions(Peer), py_peers:proxies(here)} =:= {0, 0} end),
    ?assertEqual([], ets:tab2list(py_remote_server)),
    ok = py_peers:call(Peer, py_leaks, check, [?config(leaks_there, Config), #{spares => 4}]).

%%% Nodes of their own

with_context(Config, Test) ->
    Peer = py_peers:start(),
    try
        Context = py_peers:context(Peer),
        ok = py_suite:fresh(fun() -> py_suite:install(Context) end),
        Test(Peer, Context, [{ctx, Context} | Config])
    after
        py_peers:stop(Peer)
    end.

death_of_the_contexts_node_answers_everybody(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        Socket = ?config(socket, Config),
        Port = py_suite:port(Socket),
        Running = running(Config, Context, spin, <<"spin">>),
        Owner = self(),
        Waiting = py_suite:spawn_caller(fun() ->
            ok = py:cast(Context, math, sqrt, [16]),
            Owner ! waits,
            py:call(Context, ct_signals, spin, [Port, <<"never">>])
        end),
        receive
            waits -> ok
        end,
        Lost = {error, {context_died, noconnection}},
        py_peers:stop(Peer),
        ?assertEqual(Lost, py:await(Running)),
        ?assertEqual({result, Lost}, py_suite:await_down(Waiting, 20_000)),
        ?assertEqual(Lost, py:call(Context, math, sqrt, [16])),
        ?assertEqual(Lost, py:interrupt(Context)),
        ?assertEqual(Lost, py:await(py:spawn_call(Context, math, sqrt, [16]))),
        ?assertEqual(Lost, py_context:get_nif_ref(Context)),
        ?assertEqual(Lost, py_context:is_subinterp(Context)),
        ?assertEqual(Lost, py_context:stop(Context)),
        ?assertEqual(ok, py:cast(Context, math, sqrt, [16])),
        ?assertEqual([], py_suite:flush())
    end).

death_of_the_callers_node_interrupts(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        Socket = ?config(socket, Config),
        Other = py_peers:start(),
        Call = [Context, ct_signals, spin, [py_suite:port(Socket), <<"spin">>]],
        _ = py_peers:call(Other, erlang, spawn, [py, call, Call]),
        _ = py_suite:await_signal(Socket, <<"spin">>),
        py_peers:stop(Other),
        idle(Context),
        %% Ours is the only one left.
        ok = py_leaks:eventually(fun() -> py_peers:sessions(Peer) =:= 1 end)
    end).

stop_of_the_application_answers_everybody(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        Running = running(Config, Context, spin, <<"spin">>),
        Queued = py:spawn_call(Context, math, sqrt, [16]),
        ok = py_peers:call(Peer, py_suite, stop, []),
        ?assertMatch({error, {context_died, _}}, py:await(Running)),
        ?assertMatch({error, {context_died, _}}, py:await(Queued)),
        ?assertEqual({error, not_running}, py:call(Context, math, sqrt, [16])),
        ok = py_peers:call(Peer, py_suite, start, [#{}]),
        ?assertEqual({error, {context_died, noproc}}, py:call(Context, math, sqrt, [16])),
        ?assertEqual({ok, 4.0}, py:call(py_peers:context(Peer), math, sqrt, [16]))
    end).

node_without_the_application_is_an_error(_Config) ->
    Peer = py_peers:start_bare(),
    Pid = py_peers:call(Peer, erlang, whereis, [init]),
    ?assertEqual({error, not_running}, py:call(Pid, math, sqrt, [16])),
    ?assertEqual({error, not_running}, py:eval(Pid, "1", #{})),
    ?assertEqual({error, not_running}, py:interrupt(Pid)),
    ?assertEqual({error, not_running}, py:await(py:spawn_call(Pid, math, sqrt, [16]))),
    ?assertEqual(ok, py:cast(Pid, math, sqrt, [16])),
    ?assertEqual([], py_suite:flush()),
    py_peers:stop(Peer).

context_of_an_earlier_life_of_its_node_is_dead(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        [Name, _] = string:split(atom_to_list(node(Context)), "@"),
        py_peers:stop(Peer),
        Again = py_peers:start(#{num_contexts => 1}, Name),
        Dead = {error, {context_died, noproc}},
        ok = py_leaks:eventually(fun() -> py:call(Context, math, sqrt, [16]) =:= Dead end),
        ?assertEqual(Dead, py:interrupt(Context)),
        ?assertEqual(Dead, py:await(py:spawn_call(Context, math, sqrt, [16]))),
        ?assertEqual({ok, 4.0}, py:call(py_peers:context(Again), math, sqrt, [16])),
        py_peers:stop(Again)
    end).

%% Stands for the server of a node of the future.
node_of_another_version_is_an_error(_Config) ->
    Peer = py_peers:start_bare(),
    Server = py_peers:call(Peer, erlang, spawn, [?MODULE, future_server, []]),
    true = py_peers:call(Peer, erlang, register, [py_remote_server, Server]),
    Reason = {remote_protocol, #{node => py_peers:node(Peer), here => py_remote_server:version(), there => 99}},
    ?assertEqual({error, Reason}, py:call(Server, math, sqrt, [16])),
    ?assertEqual({error, Reason}, py:await(py:spawn_call(Server, math, sqrt, [16]))),
    py_peers:stop(Peer).

future_server() ->
    receive
        {py_remote, connect, _, Ref, Proxy, _} -> Proxy ! {py_remote, refused, Ref, {version, 99}}
    end,
    future_server().

time_out_covers_connecting(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        true = erlang:disconnect_node(node(Context)),
        System = py_peers:suspend(Peer),
        try
            ?assertEqual({error, timeout}, py:call(Context, math, sqrt, [16], #{timeout => 100})),
            Ref = py:spawn_call(Context, math, sqrt, [16]),
            ?assertEqual({error, timeout}, py:await(Ref, 100)),
            ?assertEqual([], py_suite:flush())
        after
            py_peers:resume(System)
        end,
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end).

callers_go_while_a_node_hangs(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        Many = binary:copy(<<0>>, 1_000_000),
        Proxies = py_peers:proxies(here),
        System = py_peers:suspend(Peer),
        try
            %% More than the connection holds: whoever sends itself would have to wait.
            Results = py_suite:concurrently(5, fun(_) ->
                _ = [ok = py:cast(Context, builtins, len, [Many]) || _ <- lists:seq(1, 10)],
                py:call(Context, math, sqrt, [16], #{timeout => 10})
            end),
            ?assertEqual([{error, timeout}], lists:usort(Results))
        after
            py_peers:resume(System)
        end,
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        ok = py_leaks:eventually(fun() -> py_peers:proxies(here) =< Proxies + 1 end),
        ok = py_leaks:eventually(fun() -> py_peers:sessions(Peer) =:= 1 end)
    end).

session_keeps_nothing_of_contexts_that_have_ended(Config) ->
    with_context(Config, fun(Peer, Context, _) ->
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        %% Ours is the only one left.
        ok = py_leaks:eventually(fun() -> py_peers:sessions(Peer) =:= 1 end),
        Held = py_peers:call(Peer, ?MODULE, held_by_the_session, []),
        Others = [py_peers:context(Peer) || _ <- lists:seq(1, 3)],
        [
            begin
                {ok, _} = py_context:create_local_env(Other),
                {ok, _} = py_context:create_local_env(Other),
                Own = py:get_local_env(Other),
                ?assertEqual(Own, py:get_local_env(Other))
            end
         || Other <- Others
        ],
        ?assert(py_peers:call(Peer, ?MODULE, held_by_the_session, []) > Held),
        [ok = py_context:stop(Other) || Other <- Others],
        ok = py_leaks:eventually(fun() -> py_peers:call(Peer, ?MODULE, held_by_the_session, []) =:= Held end),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16]))
    end).

%% In words of memory, and monitors.
held_by_the_session() ->
    [{_, Session, _, _}] = supervisor:which_children(py_remote_session_sup),
    {monitors, Monitors} = process_info(Session, monitors),
    {erts_debug:flat_size(sys:get_state(Session)), length(Monitors)}.
