%% Pools: when contexts start, which one a process gets, and what replaces the dead.
-module(pool_SUITE).

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
        contexts_start_at_first_use,
        contexts_start_with_the_application_on_request,
        processes_spread_evenly,
        process_stays_bound,
        place_of_a_dead_process_is_taken,
        process_is_bound_again_under_the_same_index,
        call_finds_the_replacement_by_itself,
        named_pool_has_its_own_contexts,
        named_pool_stops_with_its_contexts,
        process_that_waits_for_a_place_is_told_what_was_stopped,
        pool_that_takes_its_time_to_end_holds_up_no_other,
        name_of_a_pool_is_taken_once,
        name_is_free_again_when_the_stopper_dies,
        pools_stop_and_start_at_the_same_time,
        pool_arguments_are_checked,
        pool_options_are_checked,
        context_options_are_checked,
        child_spec_may_be_made_before_the_application_runs,
        conversion_is_that_of_the_pool_or_the_context,
        settings_are_checked_at_the_start,
        setting_that_nobody_knows_is_named_in_a_warning,
        mode_that_python_does_not_have_is_refused,
        eager_pool_starts_its_contexts_at_once,
        process_is_bound_to_the_place_of_its_scheduler,
        binding_to_schedulers_is_a_setting,
        bound_process_finds_the_replacement_of_its_place,
        results_of_parallel_are_in_order,
        parallel_gives_each_call_its_error,
        parallel_uses_all_contexts,
        time_limit_of_parallel_is_one_for_all_places,
        one_context_serves_many_processes,
        deaths_do_not_stop_the_application,
        pool_starts_again_after_its_server_was_killed
    ], [
        %% A worker starts in less than the shortest time limit.
        start_errors_reach_their_callers,
        start_that_takes_too_long_is_an_error
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 4}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 24}).

%% Every case has the application to itself.
end_per_testcase(_Case, Config) ->
    py_suite:restart(Config, #{}).

contexts_start_at_first_use(_Config) ->
    ?assertEqual([], py_context_router:contexts()),
    ?assertEqual(4, py_context_router:num_contexts()),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)),
    ?assertMatch([_], py_context_router:contexts()),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)),
    ?assertMatch([_], py_context_router:contexts()),
    ?assertEqual({ok, 1}, py_suite:fresh(fun() -> py:eval(<<"1">>) end)),
    ?assertMatch([_, _], py_context_router:contexts()).

contexts_start_with_the_application_on_request(Config) ->
    ok = py_suite:restart(Config, #{start_contexts => eager, num_contexts => 3}),
    ?assertEqual(ok, py_leaks:eventually(fun() -> length(py_context_router:contexts()) =:= 3 end)),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)).

%% The contexts of as many processes that live at the same time.
bound_at_once(N) ->
    Test = self(),
    Callers = [
        py_suite:spawn_caller(fun() ->
            Context = py:context(),
            {ok, 1} = py:eval(<<"1">>),
            Test ! {bound, self()},
            receive
                stop -> Context
            end
        end)
     || _ <- lists:seq(1, N)
    ],
    [
        receive
            {bound, Pid} -> ok
        end
     || {Pid, _} <- Callers
    ],
    [Pid ! stop || {Pid, _} <- Callers],
    [
        begin
            {result, Context} = py_suite:await_down(Caller, 30_000),
            Context
        end
     || Caller <- Callers
    ].

processes_spread_evenly(_Config) ->
    %% All contexts are ready: while they start, the first ones get more than their share.
    {ok, [{ok, 4.0}]} = py:parallel([{math, sqrt, [16]}]),
    Contexts = bound_at_once(40),
    Shares = [length([C || C <- Contexts, C =:= Context]) || Context <- lists:usort(Contexts)],
    ?assertEqual(4, length(Shares)),
    %% Processes that choose at the same moment may differ by a little.
    ?assert(lists:min(Shares) >= 5),
    ?assert(lists:max(Shares) =< 15).

process_stays_bound(_Config) ->
    Context = py:context(),
    _ = bound_at_once(10),
    ok = py:exec(<<"mark = 1">>),
    [?assertEqual({ok, 1}, py:eval(<<"mark">>)) || _ <- lists:seq(1, 100)],
    ?assertEqual(Context, py:context()).

place_of_a_dead_process_is_taken(_Config) ->
    %% One process stays on each context; of those that come and go none is left behind in the count.
    _ = bound_at_once(40),
    Test = self(),
    Holders = [
        py_suite:spawn_caller(fun() ->
            Test ! {bound, py:context()},
            receive
                stop -> ok
            end
        end)
     || _ <- lists:seq(1, 4)
    ],
    Held = [
        receive
            {bound, Context} -> Context
        end
     || _ <- Holders
    ],
    [Pid ! stop || {Pid, _} <- Holders],
    [{result, ok} = py_suite:await_down(Holder, 30_000) || Holder <- Holders],
    ?assert(length(lists:usort(Held)) >= 2).

process_is_bound_again_under_the_same_index(_Config) ->
    %% All places are taken, so that an index is known by the order of the contexts.
    _ = bound_at_once(8),
    Before = py_context_router:contexts(),
    ?assertEqual(4, length(Before)),
    Mine = py:context(),
    ok = py:exec(<<"mark = 1">>),
    py_suite:silently(fun() -> py_suite:killed(Mine) end),
    ?assertMatch({error, {'NameError', _}}, py:eval(<<"mark">>)),
    New = py:context(),
    ?assertNotEqual(Mine, New),
    After = py_context_router:contexts(),
    ?assertEqual(Before, [case C of New -> Mine; _ -> C end || C <- After]).

call_finds_the_replacement_by_itself(_Config) ->
    [
        begin
            py_suite:silently(fun() -> py_suite:killed(py:context()) end),
            ?assertEqual({ok, 4.0}, Call())
        end
     || Call <- [
            fun() -> py:call(math, sqrt, [16]) end,
            fun() -> py:await(py:spawn_call(math, sqrt, [16])) end,
            fun() -> py:eval(<<"4.0">>) end,
            fun() ->
                ok = py:exec(<<"1">>),
                {ok, 4.0}
            end
        ]
    ].

named_pool_has_its_own_contexts(Config) ->
    ok = py_context_router:start_pool(extra, 2, py_suite:mode(Config)),
    ?assertEqual(2, py_context_router:num_contexts(extra)),
    ?assertEqual([], py_context_router:contexts(extra)),
    ?assertEqual({ok, 4.0}, py:call(extra, math, sqrt, [16])),
    ?assertEqual({ok, [3, 1]}, py:call(extra, builtins, sorted, [[1, 3]], #{reverse => true})),
    ?assertEqual({ok, 4.0}, py:await(py:spawn_call(extra, math, sqrt, [16]))),
    ?assertMatch([_], py_context_router:contexts(extra)),
    ?assertEqual([], py_context_router:contexts()),
    [Extra] = py_context_router:contexts(extra),
    ok = py:exec(<<"where = 'default'">>),
    ok = py:exec(Extra, <<"where = 'extra'">>),
    ?assertEqual({ok, <<"default">>}, py:eval(<<"where">>)),
    ?assertEqual({ok, <<"extra">>}, py:eval(Extra, <<"where">>)).

named_pool_stops_with_its_contexts(Config) ->
    ok = py_context_router:start_pool(extra, 2, py_suite:mode(Config)),
    {ok, 4.0} = py:call(extra, math, sqrt, [16]),
    [Context] = py_context_router:contexts(extra),
    Monitor = erlang:monitor(process, Context),
    ok = py_context_router:stop_pool(extra),
    receive
        {'DOWN', Monitor, process, Context, _} -> ok
    end,
    ?assertEqual(0, py_context_router:num_contexts(extra)),
    ?assertEqual({error, {no_pool, extra}}, py:call(extra, math, sqrt, [16])),
    ?assertMatch({error, {context_died, _}}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({error, not_found}, py_context_router:stop_pool(extra)),
    %% The name is free again.
    ok = py_context_router:start_pool(extra, 1, py_suite:mode(Config)),
    ?assertEqual({ok, 4.0}, py:call(extra, math, sqrt, [16])),
    ok = py_context_router:stop_pool(extra).

name_of_a_pool_is_taken_once(Config) ->
    ok = py_context_router:start_pool(extra, 1, py_suite:mode(Config)),
    ?assertEqual({error, already_started}, py_context_router:start_pool(extra, 1)),
    ?assertEqual({error, already_started}, py_context_router:start_pool(default, 1)).

%% A pool whose context does not end before its gate is opened.
busy_pool(Name, Socket, Config) ->
    ok = py_context_router:start_pool(Name, 1, py_suite:mode(Config)),
    Context = py_context_router:get_context(Name),
    ok = py_suite:install(Context),
    _ = py:spawn_call(Context, ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
    py_suite:await_signal(Socket, <<"gate">>).

%% A process that stops the pool, which has begun to end.
stopper(Name) ->
    Stopper = py_suite:spawn_caller(fun() -> py_context_router:stop_pool(Name) end),
    ok = py_leaks:eventually(fun() -> py_context_router:num_contexts(Name) =:= 0 end),
    Stopper.

name_is_free_again_when_the_stopper_dies(Config) ->
    Socket = py_suite:open(),
    Gate = busy_pool(extra, Socket, Config),
    {Pid, _} = Stopper = stopper(extra),
    ok = py_suite:killed(Pid),
    {died, killed} = py_suite:await_down(Stopper, 30_000),
    Starter = py_suite:spawn_caller(fun() -> py_context_router:start_pool(extra, 1, py_suite:mode(Config)) end),
    ok = py_suite:release(Socket, Gate),
    ?assertEqual({result, ok}, py_suite:await_down(Starter, 30_000)),
    ?assertEqual({ok, 4.0}, py:call(extra, math, sqrt, [16])),
    ok = py_context_router:stop_pool(extra),
    ok = py_suite:close(Socket).

pool_that_takes_its_time_to_end_holds_up_no_other(Config) ->
    Socket = py_suite:open(),
    Gate = busy_pool(slow, Socket, Config),
    {Pid, _} = Stopper = stopper(slow),
    ?assertEqual({error, {no_pool, slow}}, py:call(slow, math, sqrt, [16])),
    ?assertEqual(ok, py_context_router:start_pool(extra, 1, py_suite:mode(Config))),
    ?assertEqual({ok, 4.0}, py:call(extra, math, sqrt, [16])),
    ?assertEqual(ok, py_context_router:stop_pool(extra)),
    ?assert(is_process_alive(Pid)),
    ok = py_suite:release(Socket, Gate),
    ?assertEqual({result, ok}, py_suite:await_down(Stopper, 30_000)),
    ok = py_suite:close(Socket).

process_that_waits_for_a_place_is_told_what_was_stopped(Config) ->
    ok = py_context_router:start_pool(extra, 1, py_suite:mode(Config)),
    ?assertEqual({error, {no_pool, extra}}, waiting_while(extra, fun() -> py_context_router:stop_pool(extra) end)),
    ?assertEqual({error, not_running}, waiting_while(default, fun py_context_router:stop/0)),
    ok = py_context_router:start_pool(extra, 1, py_suite:mode(Config)),
    ?assertEqual({error, not_running}, waiting_while(extra, fun py_suite:stop/0)).

%% What a call to the pool answers that waits for its first context when the pool is stopped.
waiting_while(Pool, Stop) ->
    {ok, Server, _} = py_pool_table:size(Pool),
    ok = sys:suspend(py_context_sup),
    Caller = py_suite:spawn_caller(fun() -> py:call(Pool, math, sqrt, [16]) end),
    ok = awaits_message(whereis(py_context_sup)),
    Stopper = py_suite:spawn_caller(Stop),
    ok = awaits_message(Server),
    ok = sys:resume(py_context_sup),
    {result, Answer} = py_suite:await_down(Caller, 30_000),
    {result, ok} = py_suite:await_down(Stopper, 30_000),
    Answer.

%% Returns when a message has come that the process does not take yet.
awaits_message(Pid) ->
    py_leaks:eventually(fun() -> process_info(Pid, message_queue_len) =:= {message_queue_len, 1} end).

pools_stop_and_start_at_the_same_time(Config) ->
    Mode = py_suite:mode(Config),
    Answers = py_suite:concurrently(8, fun(N) ->
        [
            case N rem 2 of
                0 -> py_context_router:start_pool(extra, 1, Mode);
                1 -> py_context_router:stop_pool(extra)
            end
         || _ <- lists:seq(1, 100)
        ]
    end),
    ?assertEqual([], lists:usort(lists:append(Answers)) -- [ok, {error, already_started}, {error, not_found}]),
    _ = py_context_router:stop_pool(extra),
    ?assertEqual(ok, py_context_router:start_pool(extra, 1, Mode)),
    ?assertEqual({ok, 4.0}, py:call(extra, math, sqrt, [16])).

pool_arguments_are_checked(_Config) ->
    [
        ?assertError(badarg, py_context_router:start_pool(Name, Size, Mode))
     || {Name, Size, Mode} <- [
            {"extra", 1, worker}, {extra, 0, worker}, {extra, 1.0, worker}, {extra, 1, "worker"}, {extra, 1, []}
        ]
    ],
    ?assertError(badarg, py_context_router:start_pool(extra, -1)).

pool_options_are_checked(Config) ->
    [
        ?assertEqual({error, Reason}, py_context_router:start_pool(extra, 1, Options))
     || {Options, Reason} <- [
            {fast, {bad_option, mode, fast}},
            {isolated, {not_supported, isolated}},
            {#{binding => random}, {bad_option, binding, random}},
            {#{start => later}, {bad_option, start, later}}
            | wrong_options()
        ]
    ],
    ?assertEqual(0, py_context_router:num_contexts(extra)),
    Options = #{
        mode => py_suite:mode(Config),
        binding => least_loaded,
        start => lazy,
        max_queue => 10,
        conversion => #{atoms => text}
    },
    ok = py_context_router:start_pool(extra, 1, Options),
    ?assertEqual({ok, 4.0}, py:call(extra, math, sqrt, [16])),
    ok = py_context_router:stop_pool(extra).

context_options_are_checked(Config) ->
    Mode = py_suite:mode(Config),
    [
        ?assertEqual({error, Reason}, New())
     || {Options, Reason} <- [{#{start => eager}, {bad_option, start, eager}} | wrong_options()],
        New <- [
            fun() -> py_context:new(Options) end,
            fun() ->
                py_context:start_link(mine, maps:get(mode, Options, Mode), maps:remove(mode, Options))
            end,
            fun() ->
                #{start := {Module, Function, Args}} = py_context:child_spec(Options),
                apply(Module, Function, Args)
            end
        ]
    ],
    ?assertError(badarg, py_context:new([])),
    ?assertError(badarg, py_context:start_link(mine, Mode, [])),
    Options = #{mode => Mode, max_queue => 10, conversion => #{binaries => text}},
    {ok, Context} = py_context:new(Options),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ok = py_context:stop(Context),
    #{id := mine, start := {Module, Function, Args}} = py_context:child_spec(Options#{id => mine}),
    {ok, Child} = apply(Module, Function, Args),
    ?assertEqual({ok, 4.0}, py:call(Child, math, sqrt, [16])),
    ok = py_context:stop(Child).

child_spec_may_be_made_before_the_application_runs(Config) ->
    ok = py_suite:stop(),
    #{start := {Module, Function, Args}} = py_context:child_spec(#{id => early}),
    ?assertEqual({error, not_running}, apply(Module, Function, Args)),
    ok = py_suite:restart(Config, #{}),
    {ok, Context} = apply(Module, Function, Args),
    ?assertEqual(py_suite:mode(Config) =:= owngil, py_context:is_subinterp(Context)),
    ok = py_context:stop(Context).

conversion_is_that_of_the_pool_or_the_context(Config) ->
    Mode = py_suite:mode(Config),
    ok = py_suite:restart(Config, #{num_contexts => 1, conversion => #{atoms => atom}}),
    Code = <<"[type(a).__name__, type(b).__name__]">>,
    Locals = #{a => some_atom, b => <<"text">>},
    ?assertEqual({ok, [<<"Atom">>, <<"str">>]}, py:eval(Code, Locals)),
    %% The setting is for the pool `default' alone.
    {ok, Plain} = py_context:new(#{mode => Mode}),
    ?assertEqual({ok, [<<"str">>, <<"str">>]}, py:eval(Plain, Code, Locals)),
    {ok, Bytes} = py_context:new(#{mode => Mode, conversion => #{binaries => bytes}}),
    ?assertEqual({ok, [<<"str">>, <<"bytes">>]}, py:eval(Bytes, Code, Locals)),
    ok = py_context_router:start_pool(extra, 1, #{mode => Mode, conversion => #{atoms => atom, binaries => bytes}}),
    {ok, 1} = py:call(extra, builtins, len, [[1]]),
    [Pooled] = py_context_router:contexts(extra),
    ?assertEqual({ok, [<<"Atom">>, <<"bytes">>]}, py:eval(Pooled, Code, Locals)),
    ok = py_context_router:stop_pool(extra).

%% Of pools and contexts alike.
wrong_options() ->
    [
        {#{mode => fast}, {bad_option, mode, fast}},
        {#{mode => isolated}, {not_supported, isolated}},
        {#{max_queue => 0}, {bad_option, max_queue, 0}},
        {#{max_queue => -1}, {bad_option, max_queue, -1}},
        {#{max_queue => 1.5}, {bad_option, max_queue, 1.5}},
        {#{max_queue => many}, {bad_option, max_queue, many}},
        {#{conversion => []}, {bad_option, conversion, []}},
        {#{conversion => #{atoms => binary}}, {bad_option, {conversion, atoms}, binary}},
        {#{conversion => #{colour => red}}, {bad_option, {conversion, colour}, red}},
        {#{memory_limits => 1}, {bad_option, memory_limits, 1}},
        {#{max_que => 1}, {bad_option, max_que, 1}}
    ].

settings_are_checked_at_the_start(Config) ->
    ok = py_suite:stop(),
    [
        begin
            Started = py_suite:start(#{Key => Value}),
            ?assertMatch({error, {erlang_python, {{bad_option, Key, Value, [_ | _]}, _}}}, Started)
        end
     || {Key, Value} <- [
            {num_contexts, 0},
            {context_mode, isolated},
            {start_contexts, soon},
            {binding, random},
            {conversion, #{atoms => binary}},
            {conversion, text},
            {max_queue, 0},
            {max_queue, unlimited},
            {max_concurrent, 0},
            {max_concurrent, 16#FFFFFFFF},
            {max_concurrent, 2.0}
        ]
    ],
    ok = py_suite:restart(Config, #{
        max_concurrent => 100, max_queue => 100, binding => scheduler, conversion => #{atoms => text}
    }),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

setting_that_nobody_knows_is_named_in_a_warning(Config) ->
    Handler = py_suite:capture_log(),
    %% Those of the C library that have no effect are known.
    ok = py_suite:restart(Config, #{max_concurent => 3, enable_memory_limits => true, max_state_entries => 5}),
    ok = py_suite:release_log(Handler),
    Warnings = [
        lists:flatten(io_lib:format(Format, Args))
     || {log, #{level := warning, msg := {Format, Args}}} <- py_suite:flush()
    ],
    ?assertMatch([_], Warnings),
    py_suite:contains(hd(Warnings), "max_concurent"),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%% What a Python without a GIL has is not to be had with this one; the decision is.
mode_that_python_does_not_have_is_refused(_Config) ->
    ?assertEqual({ok, owngil}, py_pool_options:mode(owngil, owngil)),
    ?assertEqual({ok, worker}, py_pool_options:mode(worker, owngil)),
    ?assertEqual({ok, worker}, py_pool_options:mode(worker, worker)),
    ?assertEqual({error, {not_supported, owngil}}, py_pool_options:mode(owngil, worker)),
    ?assertEqual(py:execution_mode() =:= owngil, py:subinterp_supported()).

eager_pool_starts_its_contexts_at_once(Config) ->
    ok = py_context_router:start_pool(extra, 3, #{mode => py_suite:mode(Config), start => eager}),
    ?assertEqual(ok, py_leaks:eventually(fun() -> length(py_context_router:contexts(extra)) =:= 3 end)),
    ok = py_context_router:stop_pool(extra).

%% A process that runs on a given scheduler calls.
on_scheduler(Scheduler, Fun) ->
    Test = self(),
    {Pid, Monitor} = erlang:spawn_opt(
        fun() -> Test ! {self(), erlang:system_info(scheduler_id), Fun()} end,
        %% Undocumented, but the only way to say where a process runs.
        [monitor, {scheduler, Scheduler}]
    ),
    receive
        {Pid, At, Result} ->
            true = erlang:demonitor(Monitor, [flush]),
            ?assertEqual(Scheduler, At),
            Result;
        {'DOWN', Monitor, process, Pid, Reason} ->
            ct:fail(Reason)
    end.

bound_by_schedulers(Pool, Size) ->
    Schedulers = lists:seq(1, erlang:system_info(schedulers_online)),
    Bound = fun() ->
        [
            on_scheduler(Scheduler, fun() ->
                {ok, 4.0} = py:call(Pool, math, sqrt, [16]),
                {ok, Ident} = py:call(Pool, threading, get_ident, []),
                Ident
            end)
         || Scheduler <- Schedulers
        ]
    end,
    Threads = Bound(),
    %% As many as there are schedulers, or places if those are fewer; and always the same ones.
    ?assertEqual(min(Size, length(Schedulers)), length(lists:usort(Threads))),
    [?assertEqual(Threads, Bound()) || _ <- lists:seq(1, 5)],
    ?assertEqual(min(Size, length(Schedulers)), length(py_context_router:contexts(Pool))).

process_is_bound_to_the_place_of_its_scheduler(Config) ->
    [
        begin
            Options = #{mode => py_suite:mode(Config), binding => scheduler},
            ok = py_context_router:start_pool(extra, Size, Options),
            bound_by_schedulers(extra, Size),
            ok = py_context_router:stop_pool(extra)
        end
     || Size <- [1, 2, 5]
    ].

binding_to_schedulers_is_a_setting(Config) ->
    ok = py_suite:restart(Config, #{binding => scheduler}),
    bound_by_schedulers(default, 4).

bound_process_finds_the_replacement_of_its_place(Config) ->
    ok = py_suite:restart(Config, #{binding => scheduler}),
    Before = py:context(),
    ok = py:exec(<<"mark = 1">>),
    ?assertEqual({ok, 1}, py:eval(<<"mark">>)),
    py_suite:silently(fun() -> py_suite:killed(Before) end),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertNotEqual(Before, py:context()),
    ?assertMatch([_], py_context_router:contexts()).

results_of_parallel_are_in_order(_Config) ->
    Calls = [{operator, mul, [I, I]} || I <- lists:seq(1, 500)],
    ?assertEqual({ok, [{ok, I * I} || I <- lists:seq(1, 500)]}, py:parallel(Calls)),
    ?assertEqual({ok, []}, py:parallel([])),
    ?assertEqual([], py_suite:flush()).

parallel_gives_each_call_its_error(_Config) ->
    ?assertMatch(
        {ok, [{ok, 4.0}, {error, {'ValueError', _}}, {error, {'ModuleNotFoundError', _}}, {ok, 5.0}]},
        py:parallel([{math, sqrt, [16]}, {math, sqrt, [-1]}, {no_such_module, f, []}, {"math", <<"sqrt">>, [25]}])
    ).

parallel_uses_all_contexts(_Config) ->
    Expected = py_context_router:num_contexts(),
    {ok, Results} = py:parallel([{threading, get_ident, []} || _ <- lists:seq(1, 4 * Expected)]),
    ?assertEqual(Expected, length(lists:usort(Results))),
    ?assertEqual(Expected, length(py_context_router:contexts())).

%% The pool does not answer: the time is over with the first place, and nothing is left for the others.
time_limit_of_parallel_is_one_for_all_places(_Config) ->
    {ok, Server, 4} = py_pool_table:size(default),
    ok = sys:suspend(Server),
    {Caller, _} = Calling = py_suite:spawn_caller(fun() ->
        receive
            go -> py_call:parallel([{default, {call, math, sqrt, [16], #{}}}], 20)
        end
    end),
    1 = erlang:trace_pattern({py_pool, replacement, 5}, true, []),
    1 = erlang:trace(Caller, true, [call]),
    Caller ! go,
    ?assertEqual({result, {error, timeout}}, py_suite:await_down(Calling, 30_000)),
    Delivered = erlang:trace_delivered(Caller),
    receive
        {trace_delivered, Caller, Delivered} -> ok
    end,
    1 = erlang:trace_pattern({py_pool, replacement, 5}, false, []),
    ok = sys:resume(Server),
    Limits = [Limit || {trace, _, call, {py_pool, replacement, [_, _, _, _, Limit]}} <- py_suite:flush()],
    ?assertMatch([_, 0, 0, 0], Limits).

one_context_serves_many_processes(Config) ->
    ok = py_suite:restart(Config, #{num_contexts => 1}),
    Results = py_suite:concurrently(300, fun(I) ->
        ok = py:exec(<<"total = 0\ndef add(x):\n    global total\n    total += x\n    return total">>),
        [py:call('__main__', add, [I]) || _ <- lists:seq(1, 10)]
    end),
    ?assertEqual([[{ok, I * J} || J <- lists:seq(1, 10)] || I <- lists:seq(1, 300)], Results),
    ?assertMatch([_], py_context_router:contexts()).

deaths_do_not_stop_the_application(Config) ->
    Sup = whereis(erlang_python_sup),
    py_suite:silently(fun() ->
        [
            begin
                Context = py_suite:new_context(Config),
                py_suite:killed(Context)
            end
         || _ <- lists:seq(1, 150)
        ],
        %% Those of the pool die faster than it replaces them.
        {ok, _} = py:eval(<<"1">>),
        [
            [py_suite:killed(Context) || Context <- supervised()]
         || _ <- lists:seq(1, 50)
        ]
    end),
    ?assertEqual(Sup, whereis(erlang_python_sup)),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)).

supervised() ->
    [Pid || {_, Pid, _, _} <- supervisor:which_children(py_context_sup), is_pid(Pid)].

pool_starts_again_after_its_server_was_killed(_Config) ->
    {ok, 1} = py:eval(<<"1">>),
    [{default, Server, _, _}] = supervisor:which_children(py_pool_sup),
    Contexts = supervised(),
    py_suite:silently(fun() -> py_suite:killed(Server) end),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_suite:fresh(fun() -> py:eval(<<"1">>) end) =:= {ok, 1} end)),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)),
    %% Contexts whose pool is gone do not live on unused.
    ?assertEqual(ok, py_leaks:eventually(fun() -> [C || C <- Contexts, is_process_alive(C)] =:= [] end)).

start_errors_reach_their_callers(Config) ->
    %% A start that fails cannot be had at will; one that takes longer than allowed can.
    ok = py_suite:restart(Config, #{context_start_timeout => 1, num_contexts => 1}),
    py_suite:silently(fun() ->
        Results = py_suite:concurrently(5, fun(_) -> py:call(math, sqrt, [16]) end),
        [?assertMatch({error, {context_start, _}}, Result) || Result <- Results, Result =/= {ok, 4.0}]
    end).

start_that_takes_too_long_is_an_error(Config) ->
    ok = py_suite:restart(Config, #{context_start_timeout => 1}),
    py_suite:silently(fun() ->
        Results = [py_context:new(#{mode => owngil}) || _ <- lists:seq(1, 5)],
        [
            case Result of
                {ok, Context} -> ok = py_context:stop(Context);
                {error, {context_start, Reason}} -> ?assertEqual(main_interpreter_busy, Reason)
            end
         || Result <- Results
        ]
    end).
