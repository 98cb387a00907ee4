%% Contexts on other nodes: everything as on the own one. What happens when somebody is lost is in
%% remote_loss_SUITE.
-module(remote_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_gates, [running/4, closed_gate/1, open_gate/2, idle/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [
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
        batches_cross,
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
        stop_ends_a_context,
        nothing_is_left_behind
    ].

init_per_suite(Config) ->
    py_peers:with_node(py_peers:init_suite(Config)).

end_per_suite(Config) ->
    py_peers:stop(?config(peer, Config)),
    py_peers:end_suite(Config, #{spares => 2}).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)).

%% Each case is a caller of its own, with its own proxy and session.

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

batches_cross(Config) ->
    Context = ?config(ctx, Config),
    Numbers = lists:seq(1, 1000),
    ?assertEqual([{ok, -N} || N <- Numbers], py:call_many(Context, operator, neg, [[N] || N <- Numbers])),
    ?assertMatch([{ok, 2.0}, {error, {'ValueError', _}}], py:call_many(Context, math, sqrt, [[4], [-1]])),
    ?assertMatch(#{type := 'ValueError'}, py:last_error()),
    %% What was done by then is not known here.
    Timeout = {error, timeout},
    ?assertEqual([Timeout, Timeout], py:call_many(Context, time, sleep, [[0], [1000]], #{timeout => 200})),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])).

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

nothing_is_left_behind(Config) ->
    py_peers:nothing_is_left(Config).
