%% Descriptors that are closed while a loop watches them, whose numbers are used again, that several loops watch: events
%% go to whom they belong, and everything is given back. The cases of the same names are in
%% test/support/python/ct_descriptors.py.
-module(fd_lifetime_SUITE).

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
        number_of_another_file_is_watched_anew,
        reader_of_a_closed_file_is_not_called_for_the_next_one,
        both_directions_are_told_apart,
        stale_watch_is_removed_without_an_error,
        closed_socket_is_removed_without_an_error,
        closed_descriptor_is_refused,
        waiter_for_a_closed_socket_takes_nothing_from_the_next_one,
        file_that_is_closed_while_others_are_ready_is_left_alone,
        duplicate_is_watched_for_itself,
        closed_file_that_lives_on_elsewhere_does_not_wake_its_successor,
        socket_of_a_transport_is_refused,
        number_is_free_when_its_transport_has_closed,
        what_is_ready_before_it_is_watched_is_told,
        what_is_left_unread_is_told_again,
        many_that_are_ready_at_once_are_all_told,
        two_loops_that_watch_the_same_are_both_told,
        loop_that_lets_go_of_a_number_takes_it_from_no_other,
        socket_moves_from_loop_to_loop,
        file_that_a_thread_closes_leaves_the_sleeping_loop_in_peace,
        closed_loop_leaves_what_it_watched_to_others,
        contexts_do_not_take_numbers_from_one_another,
        closed_loops_give_descriptors_back,
        dropped_loops_give_descriptors_back,
        interrupted_run_gives_descriptors_back,
        stopped_contexts_give_descriptors_back,
        killed_contexts_give_descriptors_back,
        ten_thousand_connections_leave_nothing
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun prepare/1).

prepare(Context) ->
    ok = py_suite:python_path(Context),
    ok = py_suite:install(Context),
    {ok, none} = py:call(Context, ct_loops, warm_up, []),
    {ok, none} = py:call(Context, ct_descriptors, socket_moves_from_loop_to_loop, []),
    ok.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(Case, Config) ->
    ok = py_suite:both_answer(Config),
    [{name, Case}, {before, py_leaks:snapshot()}, {signals, py_suite:open()} | Config].

%% No descriptor of a case stays.
end_per_testcase(_Case, Config) ->
    ok = py_suite:close(?config(signals, Config)),
    ok = py_suite:all_is_well(Config),
    Collect = fun() -> {ok, _} = py:call(?config(ctx, Config), gc, collect, []) end,
    py_leaks:check(?config(before, Config), #{spares => 16, settle => Collect}).

%% The Python case of this name.
python(Config) ->
    Result = py:call(?config(ctx, Config), ct_descriptors, ?config(name, Config), []),
    [ct:pal("~tp", [py:last_error()]) || Result =/= {ok, none}],
    ?assertEqual({ok, none}, Result).

number_of_another_file_is_watched_anew(Config) -> python(Config).
reader_of_a_closed_file_is_not_called_for_the_next_one(Config) -> python(Config).
both_directions_are_told_apart(Config) -> python(Config).
stale_watch_is_removed_without_an_error(Config) -> python(Config).
closed_socket_is_removed_without_an_error(Config) -> python(Config).
closed_descriptor_is_refused(Config) -> python(Config).
waiter_for_a_closed_socket_takes_nothing_from_the_next_one(Config) -> python(Config).
file_that_is_closed_while_others_are_ready_is_left_alone(Config) -> python(Config).
duplicate_is_watched_for_itself(Config) -> python(Config).
closed_file_that_lives_on_elsewhere_does_not_wake_its_successor(Config) -> python(Config).
socket_of_a_transport_is_refused(Config) -> python(Config).
number_is_free_when_its_transport_has_closed(Config) -> python(Config).
what_is_ready_before_it_is_watched_is_told(Config) -> python(Config).
what_is_left_unread_is_told_again(Config) -> python(Config).
many_that_are_ready_at_once_are_all_told(Config) -> python(Config).
two_loops_that_watch_the_same_are_both_told(Config) -> python(Config).
loop_that_lets_go_of_a_number_takes_it_from_no_other(Config) -> python(Config).
socket_moves_from_loop_to_loop(Config) -> python(Config).
file_that_a_thread_closes_leaves_the_sleeping_loop_in_peace(Config) -> python(Config).
closed_loop_leaves_what_it_watched_to_others(Config) -> python(Config).

%% ------------------------------------------------------------------------------------------------
%% Contexts

%% One closes what its loop watches; the number becomes that of a file of the other, whose loop watches it.
contexts_do_not_take_numbers_from_one_another(Config) ->
    Mine = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    ok = prepare(Other),
    {ok, Number} = py:call(Mine, ct_descriptors, watch, [one]),
    {ok, none} = py:call(Mine, ct_descriptors, close_watched, [one]),
    %% Whatever else the node opens may have taken the number.
    case py:call(Other, ct_descriptors, receive_at, [Number]) of
        {ok, Number} ->
            ?assertEqual({ok, true}, py:call(Mine, ct_descriptors, let_go, [Number])),
            ?assertEqual({ok, <<"arrived">>}, py:call(Other, ct_descriptors, send_and_receive, []));
        {ok, none} ->
            ct:comment("the number was taken"),
            {ok, true} = py:call(Mine, ct_descriptors, let_go, [Number])
    end,
    ok = py_context:stop(Other).

closed_loops_give_descriptors_back(Config) ->
    {ok, none} = py:call(?config(ctx, Config), ct_descriptors, make_and_close_loops, [200]).

dropped_loops_give_descriptors_back(Config) ->
    {ok, none} = py:call(?config(ctx, Config), ct_descriptors, make_and_drop_loops, [200]).

interrupted_run_gives_descriptors_back(Config) ->
    Sleeping = sleeping(?config(ctx, Config), true, Config),
    ok = py:cancel(Sleeping).

stopped_contexts_give_descriptors_back(Config) ->
    [
        begin
            Context = py_suite:new_context(Config),
            ok = prepare(Context),
            Sleeping = sleeping(Context, false, Config),
            ok = py_context:stop(Context),
            {error, {context_died, _}} = py:await(Sleeping)
        end
     || _ <- lists:seq(1, 5)
    ],
    ok.

killed_contexts_give_descriptors_back(Config) ->
    py_suite:silently(fun() ->
        [
            begin
                Context = py_suite:new_context(Config),
                ok = prepare(Context),
                Sleeping = sleeping(Context, false, Config),
                ok = py_suite:killed(Context),
                {error, {context_died, _}} = py:await(Sleeping)
            end
         || _ <- lists:seq(1, 5)
        ]
    end),
    ok.

%% A request that sleeps in the context's loop, with some hundred descriptors.
sleeping(Context, CleansUp, Config) ->
    Signals = ?config(signals, Config),
    Arguments = [py_suite:port(Signals), 30, CleansUp],
    Sleeping = py:spawn_call(Context, ct_descriptors, sleep_with_descriptors, Arguments),
    _ = py_suite:await_signal(Signals, <<"sleeps">>),
    Sleeping.

ten_thousand_connections_leave_nothing(Config) ->
    Context = ?config(ctx, Config),
    {ok, 1000} = py:call(Context, ct_descriptors, connect_and_close, [1000, 50]),
    Before = py_leaks:resident(),
    {ok, 10_000} = py:call(Context, ct_descriptors, connect_and_close, [10_000, 50]),
    %% In KiB. One that kept 1 KiB for each connection would need more.
    ?assert(py_leaks:resident() - Before < 8192).
