%% What an event loop does natively for every packet and callback: in no case can it be told from what the standard
%% library does. The cases of the same names are in test/support/python/ct_native_loop.py.
-module(native_loop_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        methods_are_looked_up_for_every_message,
        kind_of_protocol_may_change_at_any_time,
        buffers_that_do_not_serve_end_the_connection,
        bytes_like_objects_of_every_kind_are_written,
        what_does_not_go_at_once_is_kept,
        method_that_was_kept_knows_of_the_end,
        first_error_of_a_socket_is_told,
        sockets_of_derived_classes_keep_their_ways,
        transport_is_freed_with_its_connection,
        callbacks_run_in_their_order_and_contexts,
        handles_are_those_of_the_library,
        exception_of_a_callback_is_told_with_its_handle,
        debug_mode_begins_and_ends_in_mid_run,
        timers_come_in_their_order_and_cancelled_ones_never,
        derived_loops_keep_their_ways,
        closed_loop_refuses,
        exit_of_a_callback_ends_the_run_and_keeps_the_others,
        loop_is_freed
    ]).

init_per_suite(Config) ->
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun(Context) ->
        ok = py_suite:python_path(Context),
        {ok, none} = py:call(Context, ct_loops, warm_up, []),
        ok
    end).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(Case, Config) ->
    [{name, Case} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:all_is_well(Config).

%% The Python case of this name.
python(Config) ->
    Result = py:call(?config(ctx, Config), ct_native_loop, ?config(name, Config), []),
    [ct:pal("~tp", [py:last_error()]) || Result =/= {ok, none}],
    ?assertEqual({ok, none}, Result).

methods_are_looked_up_for_every_message(Config) -> python(Config).
kind_of_protocol_may_change_at_any_time(Config) -> python(Config).
buffers_that_do_not_serve_end_the_connection(Config) -> python(Config).
bytes_like_objects_of_every_kind_are_written(Config) -> python(Config).
what_does_not_go_at_once_is_kept(Config) -> python(Config).
method_that_was_kept_knows_of_the_end(Config) -> python(Config).
first_error_of_a_socket_is_told(Config) -> python(Config).
sockets_of_derived_classes_keep_their_ways(Config) -> python(Config).
transport_is_freed_with_its_connection(Config) -> python(Config).
callbacks_run_in_their_order_and_contexts(Config) -> python(Config).
handles_are_those_of_the_library(Config) -> python(Config).
exception_of_a_callback_is_told_with_its_handle(Config) -> python(Config).
debug_mode_begins_and_ends_in_mid_run(Config) -> python(Config).
timers_come_in_their_order_and_cancelled_ones_never(Config) -> python(Config).
derived_loops_keep_their_ways(Config) -> python(Config).
closed_loop_refuses(Config) -> python(Config).
exit_of_a_callback_ends_the_run_and_keeps_the_others(Config) -> python(Config).
loop_is_freed(Config) -> python(Config).
