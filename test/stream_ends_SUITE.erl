%% Streams that end before their time: by their own failure, by somebody's wish, by the death of one of those who take
%% part. Generators are closed, owners hear of it once, and nothing comes after that.
-module(stream_ends_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_streaming, [start/3, start/4, items/2, rest/1, gone/1, told/1, is_idle/1]).

-define(CANCELLED, {error, <<"cancelled">>}).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        exception_is_the_end_and_the_generator_was_closed,
        what_is_no_iterator_is_an_error,
        item_that_cannot_be_converted_is_the_end,
        item_that_is_too_large_is_the_end,
        exception_of_a_function_is_the_reason,
        cancel_closes_a_generator_that_waits,
        cancel_ends_one_that_is_busy,
        cancel_ends_one_that_sleeps,
        cancel_ends_one_that_waits_for_erlang,
        cancel_before_the_code_runs,
        cancel_while_items_come_is_the_end,
        cancel_by_others_and_again,
        what_closes_badly_harms_nobody,
        generator_may_call_erlang_when_it_is_closed,
        iterator_with_close_is_closed,
        generator_that_others_hold_is_closed,
        time_limit_is_for_all_items,
        death_of_the_owner_closes,
        owner_that_is_dead_already,
        death_of_the_starter_does_not_matter,
        interrupt_is_the_end,
        interrupt_leaves_those_that_wait_alone,
        stop_of_the_context_closes,
        stop_of_the_context_ends_what_is_busy,
        death_of_the_context_is_told,
        death_of_the_process_of_a_stream_is_told,
        nothing_comes_after_the_end,
        any_demand_gives_what_is_wanted,
        a_stream_holds_its_permit_to_its_end,
        %% These take the group's context along.
        stuck_generator_is_told,
        end_of_what_starts_streams_is_told,
        end_of_the_application_is_told
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun(Context) ->
        ok = py_suite:install(Context),
        py_suite:python_path(Context)
    end).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    [{socket, py_suite:open()} | Config].

end_per_testcase(Case, Config) when
    Case =:= stuck_generator_is_told;
    Case =:= end_of_what_starts_streams_is_told;
    Case =:= end_of_the_application_is_told
->
    py_suite:close(?config(socket, Config)),
    ?assertEqual([], py_suite:flush());
end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    ok = py_streaming:nothing_is_left(),
    py_suite:all_is_well(Config).

ctx(Config) ->
    ?config(ctx, Config).

%% A context of this case's own.
with_context(Config, Fun) ->
    with_context(Config, #{}, Fun).

with_context(Config, Options, Fun) ->
    {ok, Context} = py_context:new(Options#{mode => py_suite:mode(Config)}),
    ok = py_suite:install(Context),
    ok = py_suite:python_path(Context),
    try
        Fun(Context)
    after
        ok = py_context:stop(Context)
    end.

%%% By itself

exception_is_the_end_and_the_generator_was_closed(Config) ->
    [
        begin
            ?assertEqual([0, {error, {'ValueError', "no more"}}], rest(start(Config, Function, [self()]))),
            %% Before the end was told.
            ?assertEqual([<<"closed">>], py_suite:flush())
        end
     || Function <- [fails, afails]
    ].

what_is_no_iterator_is_an_error(Config) ->
    [?assertMatch([{error, {Class, _}}], rest(start(Config, Function, Args)))
     || {Function, Args, Class} <- [
            {before_the_first, [1], 'ValueError'},
            {coroutine, [], 'TypeError'},
            {missing, [], 'AttributeError'},
            {count, [], 'TypeError'}
        ]],
    {ok, Number} = py:stream_start(math, sqrt, [4], #{context => ctx(Config)}),
    ?assertMatch([{error, {'TypeError', "'float' object is not iterable"}}], rest(Number)).

item_that_cannot_be_converted_is_the_end(Config) ->
    [
        begin
            ?assertMatch([1, {error, {'UnicodeEncodeError', _}}], rest(start(Config, Function, [self()]))),
            ?assertEqual([<<"closed">>], py_suite:flush())
        end
     || Function <- [unsendable, aunsendable]
    ].

item_that_is_too_large_is_the_end(Config) ->
    with_context(Config, #{max_result_size => 100_000}, fun(Context) ->
        [
            begin
                {ok, Fits} = py:stream_start(ct_generators, count, [1000], #{context => Context}),
                ?assertEqual(1001, length(rest(Fits))),
                {ok, Ref} = py:stream_start(ct_generators, Function, [self(), 200_000], #{context => Context}),
                ?assertMatch([1, {error, {result_too_large, _, 100_000}}], rest(Ref)),
                ok = told(<<"closed">>)
            end
         || Function <- [large, alarge]
        ]
    end).

exception_of_a_function_is_the_reason(Config) ->
    ok = py:register_function(ct_fails, fun(_) -> throw(no_item) end),
    try
        [
            ?assertEqual([{error, {throw, no_item}}], rest(start(Config, Function, [ct_fails, 2])))
         || Function <- [asks, aasks]
        ]
    after
        ok = py:unregister_function(ct_fails)
    end.

%%% By somebody's wish

cancel_closes_a_generator_that_waits(Config) ->
    [
        begin
            Ref = start(Config, Function, [none, self()], #{demand => 1}),
            [0] = items(1, Ref),
            ok = is_idle(Ref),
            ok = py:stream_cancel(Ref),
            ok = told(<<"closed">>),
            ?assertEqual([?CANCELLED], rest(Ref))
        end
     || Function <- [count, acount]
    ].

cancel_ends_one_that_is_busy(Config) ->
    [
        begin
            Ref = start(Config, Function, [self()]),
            [1] = items(1, Ref),
            ok = told(<<"busy">>),
            ok = py:stream_cancel(Ref),
            ?assertEqual([?CANCELLED], rest(Ref)),
            ok = told(<<"closed">>)
        end
     || Function <- [busy, abusy]
    ].

cancel_ends_one_that_sleeps(Config) ->
    Ref = start(Config, asleeps, [self()]),
    [1] = items(1, Ref),
    ok = told(<<"busy">>),
    ok = py:stream_cancel(Ref),
    ?assertEqual([?CANCELLED], rest(Ref)),
    ok = told(<<"closed">>).

cancel_ends_one_that_waits_for_erlang(Config) ->
    Test = self(),
    Wait = fun([]) ->
        Test ! {waits, self()},
        receive
            go_on -> 1
        end
    end,
    ok = py:register_function(ct_waits, Wait),
    try
        Ref = start(Config, waits, [ct_waits, self()]),
        [1] = items(1, Ref),
        receive
            {waits, Function} ->
                ok = py:stream_cancel(Ref),
                ?assertEqual([?CANCELLED], rest(Ref)),
                ok = told(<<"closed">>),
                Function ! go_on
        end
    after
        ok = py:unregister_function(ct_waits)
    end.

cancel_before_the_code_runs(Config) ->
    Gate = py_gates:closed_gate(Config),
    Ref = start(Config, pulled, [self()]),
    ok = py:stream_cancel(Ref),
    ?assertEqual([?CANCELLED], rest(Ref)),
    ok = py_gates:open_gate(Config, Gate),
    ok = py_suite:both_answer(Config),
    ?assertEqual([], py_suite:flush()).

%% Items without end, and a cancel in the middle of it.
cancel_while_items_come_is_the_end(Config) ->
    [
        begin
            Ref = start(Config, Function, [none, self()], #{demand => 10_000_000}),
            _ = items(100, Ref),
            ok = py:stream_cancel(Ref),
            ?assertEqual(?CANCELLED, lists:last(rest(Ref))),
            ok = told(<<"closed">>),
            ?assertEqual([], py_suite:flush())
        end
     || Function <- [count, acount, count, acount]
    ].

cancel_by_others_and_again(Config) ->
    Ref = start(Config, count, [none, self()], #{demand => 1}),
    [0] = items(1, Ref),
    _ = py_suite:concurrently(10, fun(_) -> ok = py:stream_cancel(Ref) end),
    ok = py:stream_cancel(Ref),
    ?assertEqual([?CANCELLED], rest(Ref)),
    ok = told(<<"closed">>).

what_closes_badly_harms_nobody(Config) ->
    [
        begin
            Ref = start(Config, Function, [self()], #{demand => 1}),
            [1] = items(1, Ref),
            ok = gone(Ref),
            ok = told(What),
            ok = py_suite:both_answer(Config),
            %% Its memory is given back, so it is asked once more.
            _ = py_suite:flush()
        end
     || {Function, What} <- [{stubborn, <<"refuses">>}, {fails_to_close, <<"closed">>}]
    ].

generator_may_call_erlang_when_it_is_closed(Config) ->
    ok = py:register_function(ct_last, fun([]) -> <<"last">> end),
    try
        Ref = start(Config, asks_at_the_end, [ct_last, self()], #{demand => 1}),
        [1] = items(1, Ref),
        ok = gone(Ref),
        ok = told(<<"last">>)
    after
        ok = py:unregister_function(ct_last)
    end.

iterator_with_close_is_closed(Config) ->
    Ref = start(Config, 'Countdown', [3, self()], #{demand => 1}),
    [2] = items(1, Ref),
    ok = gone(Ref),
    ok = told(<<"closed">>),
    %% It was read to its end, so it has seen to that itself.
    ?assertEqual([1, 0, done], rest(start(Config, 'Countdown', [2, self()]))),
    ?assertEqual([], py_suite:flush()).

generator_that_others_hold_is_closed(Config) ->
    [
        begin
            Ref = start(Config, keeps, [Function, none, self()], #{demand => 1}),
            [0] = items(1, Ref),
            ok = gone(Ref),
            ok = told(<<"closed">>)
        end
     || Function <- [count, acount]
    ],
    [
        begin
            [1, {error, {'UnicodeEncodeError', _}}] = rest(start(Config, keeps, [Function, self()])),
            ok = told(<<"closed">>)
        end
     || Function <- [unsendable, aunsendable]
    ],
    %% With its context, too.
    with_context(Config, fun(Context) ->
        Refs = [
            element(2, py:stream_start(ct_generators, keeps, [Function, none, self()], #{context => Context, demand => 1}))
         || Function <- [count, acount]
        ],
        [[0] = items(1, Ref) || Ref <- Refs],
        ok = py_context:stop(Context),
        [?assertMatch([{error, {context_died, _}}], rest(Ref)) || Ref <- Refs],
        [ok = told(<<"closed">>) || _ <- Refs]
    end).

time_limit_is_for_all_items(Config) ->
    [
        py_streaming:begun_in_time(fun(Timeout) ->
            Ref = start(Config, Function, Args ++ [self()], #{demand => Demand, timeout => Timeout}),
            Items = rest(Ref),
            ?assertEqual({error, timeout}, lists:last(Items)),
            length(Items) =:= 2 andalso told(<<"closed">>) =:= ok
        end)
     || {Function, Args, Demand} <- [{count, [none], 1}, {acount, [none], 1}]
    ],
    [
        py_streaming:begun_in_time(fun(Timeout) ->
            Ref = start(Config, Function, [self()], #{timeout => Timeout}),
            Items = rest(Ref),
            ?assertEqual({error, timeout}, lists:last(Items)),
            length(Items) =:= 2 andalso py_streaming:is_closed_last()
        end)
     || Function <- [busy, abusy, asleeps]
    ],
    %% Not one that never had its turn.
    Gate = py_gates:closed_gate(Config),
    Late = start(Config, pulled, [self()], #{timeout => 1}),
    ?assertEqual([{error, timeout}], rest(Late)),
    ok = py_gates:open_gate(Config, Gate),
    %% In time.
    ?assertEqual([0, done], rest(start(Config, count, [1], #{timeout => 30_000}))).

%%% By a death

death_of_the_owner_closes(Config) ->
    [
        begin
            Owner = spawn(fun py_streaming:drop/0),
            _ = start(Config, Function, Args ++ [self()], #{owner => Owner, demand => Demand}),
            [ok = told(What) || What <- Told],
            py_suite:killed(Owner),
            ok = told(<<"closed">>)
        end
     || {Function, Args, Demand, Told} <- [
            {busy, [], 2, [<<"busy">>]},
            {abusy, [], 2, [<<"busy">>]},
            {asleeps, [], 2, [<<"busy">>]}
        ]
    ],
    [
        begin
            {Owner, Ref} = waiting(Config, Function),
            py_suite:killed(Owner),
            ok = told(<<"closed">>),
            ok = py:stream_demand(Ref, 1)
        end
     || Function <- [count, acount]
    ].

%% A stream of which nothing more is wanted, and its owner.
waiting(Config, Function) ->
    Test = self(),
    Owner = spawn(fun() ->
        receive
            {py_stream, _, {data, 0}} -> Test ! came
        end,
        py_streaming:drop()
    end),
    Ref = start(Config, Function, [none, self()], #{owner => Owner, demand => 1}),
    ok = told(came),
    {Owner, Ref}.

owner_that_is_dead_already(Config) ->
    Owner = spawn(fun() -> ok end),
    py_suite:killed(Owner),
    Gate = py_gates:closed_gate(Config),
    _ = start(Config, count, [none], #{owner => Owner}),
    ok = py_streaming:nothing_is_left(),
    ok = py_gates:open_gate(Config, Gate).

death_of_the_starter_does_not_matter(Config) ->
    Test = self(),
    [
        begin
            Ref = py_suite:fresh(fun() ->
                ok = py:exec(ctx(Config), "import ct_generators\nfrom ct_generators import *"),
                Options = #{context => ctx(Config), owner => Test, demand => 1},
                {ok, Started} = py:stream_start('__main__', Function, [3, Test], Options),
                Started
            end),
            ?assertEqual([0], items(1, Ref)),
            %% The namespace goes, and does not keep the context busy with that.
            ok = is_idle(Ref),
            ?assertEqual(not_running, py:interrupt(ctx(Config))),
            ok = py:stream_demand(Ref, infinity),
            ?assertEqual([1, 2, done], rest(Ref)),
            ok = told(<<"closed">>)
        end
     || Function <- [count, acount]
    ].

interrupt_is_the_end(Config) ->
    [
        begin
            Ref = start(Config, Function, [self()]),
            [1] = items(1, Ref),
            ok = told(<<"busy">>),
            ok = py:interrupt(ctx(Config)),
            ?assertEqual([{error, interrupted}], rest(Ref)),
            ok = told(<<"closed">>)
        end
     || Function <- [busy, abusy]
    ].

interrupt_leaves_those_that_wait_alone(Config) ->
    Refs = [start(Config, Function, [2], #{demand => 1}) || Function <- [count, acount]],
    [[0] = items(1, Ref) || Ref <- Refs],
    [ok = is_idle(Ref) || Ref <- Refs],
    not_running = py:interrupt(ctx(Config)),
    [ok = py:stream_demand(Ref, infinity) || Ref <- Refs],
    [?assertEqual([1, done], rest(Ref)) || Ref <- Refs].

stop_of_the_context_closes(Config) ->
    with_context(Config, fun(Context) ->
        Refs = [
            element(2, py:stream_start(ct_generators, Function, [none, self()], #{context => Context, demand => 1}))
         || Function <- [count, acount]
        ],
        [[0] = items(1, Ref) || Ref <- Refs],
        ok = py_context:stop(Context),
        [?assertMatch([{error, {context_died, _}}], rest(Ref)) || Ref <- Refs],
        [ok = told(<<"closed">>) || _ <- Refs]
    end).

stop_of_the_context_ends_what_is_busy(Config) ->
    [
        with_context(Config, fun(Context) ->
            {ok, Ref} = py:stream_start(ct_generators, Function, [self()], #{context => Context}),
            [1] = items(1, Ref),
            ok = told(<<"busy">>),
            ok = py_context:stop(Context),
            ?assertMatch([{error, {context_died, _}}], rest(Ref)),
            ok = told(<<"closed">>)
        end)
     || Function <- [busy, abusy]
    ].

death_of_the_context_is_told(Config) ->
    [
        with_context(Config, fun(Context) ->
            {ok, Ref} = py:stream_start(ct_generators, Function, [none], #{context => Context, demand => 1}),
            [0] = items(1, Ref),
            py_suite:silently(fun() -> py_suite:killed(Context) end),
            ?assertMatch([{error, {context_died, killed}}], rest(Ref)),
            ?assertMatch(
                {error, {context_died, _}}, py:stream_start(ct_generators, Function, [1], #{context => Context})
            )
        end)
     || Function <- [count, acount]
    ].

death_of_the_process_of_a_stream_is_told(Config) ->
    [
        begin
            Ref = start(Config, Function, [none, self()], #{demand => 1}),
            [0] = items(1, Ref),
            py_suite:killed(py_streaming:process_of(Ref)),
            ?assertEqual([{error, killed}], rest(Ref)),
            ok = told(<<"closed">>)
        end
     || Function <- [count, acount]
    ].

a_stream_holds_its_permit_to_its_end(Config) ->
    ok = py_semaphore:set_max_concurrent(1),
    try
        [
            begin
                Ref = start(Config, Function, [none, self()], #{demand => 1}),
                [0] = items(1, Ref),
                ok = is_idle(Ref),
                ?assertEqual({error, {overloaded, 1, 1}}, py:call(ctx(Config), math, sqrt, [16])),
                ?assertEqual(
                    {error, {overloaded, 1, 1}}, py:stream_start(ct_generators, count, [1], #{context => ctx(Config)})
                ),
                ok = gone(Ref),
                ok = told(<<"closed">>),
                ok = py_leaks:eventually(fun() -> py_semaphore:current() =:= 0 end),
                ?assertEqual({ok, 4.0}, py:call(ctx(Config), math, sqrt, [16])),
                %% Also where it is over by itself.
                ?assertEqual([0, done], rest(start(Config, Function, [1]))),
                ok = py_leaks:eventually(fun() -> py_semaphore:current() =:= 0 end)
            end
         || Function <- [count, acount]
        ]
    after
        ok = py_semaphore:set_max_concurrent(infinity)
    end.

%% Nothing is heard of it any more, also when it comes back.
stuck_generator_is_told(Config) ->
    ok = py_suite:restart(Config, #{stuck_after => 300}),
    Socket = ?config(socket, Config),
    Context = py_suite:new_context(Config),
    ok = py_suite:install(Context),
    ok = py:exec(Context, "import ct_signals\ndef sticks(port):\n    yield ct_signals.gate(port, 'stuck')\n    yield 2"),
    {ok, Ref} = py:stream_start('__main__', sticks, [py_suite:port(Socket)], #{context => Context}),
    Gate = py_suite:await_signal(Socket, <<"stuck">>),
    py_suite:silently(fun() ->
        ok = py:interrupt(Context),
        ?assertEqual([{error, {context_died, stuck}}], rest(Ref))
    end),
    ok = py_suite:release(Socket, Gate),
    ?assertEqual(ok, py_leaks:eventually(fun() -> element(3, py_nif:counters()) =:= 0 end)),
    ok = py_suite:restart(Config, #{}).

end_of_what_starts_streams_is_told(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config)}),
    ok = py_suite:python_path(Context),
    Refs = [
        element(2, py:stream_start(ct_generators, Function, [none], #{context => Context, demand => 1}))
     || Function <- [count, acount]
    ],
    [[0] = items(1, Ref) || Ref <- Refs],
    py_suite:silently(fun() -> py_suite:killed(whereis(py_streams)) end),
    [?assertMatch([{error, _}], rest(Ref)) || Ref <- Refs],
    ok = py_leaks:eventually(fun() -> py:stream(builtins, range, [1]) =:= {ok, [0]} end),
    [ok = py:stream_demand(Ref, 1) || Ref <- Refs].

end_of_the_application_is_told(Config) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config)}),
    ok = py_suite:python_path(Context),
    Refs = [
        element(2, py:stream_start(ct_generators, Function, [none], #{context => Context, demand => 1}))
     || Function <- [count, acount]
    ],
    [[0] = items(1, Ref) || Ref <- Refs],
    ok = py_suite:stop(),
    [?assertMatch([{error, _}], rest(Ref)) || Ref <- Refs],
    ?assertEqual({error, not_running}, py:stream(builtins, range, [1])),
    ?assertEqual({error, not_running}, py:stream_start(builtins, range, [1])),
    ?assertEqual({error, not_running}, py:stream_start(builtins, range, [1], #{context => Context})),
    [ok = py:stream_demand(Ref, 1) || Ref <- Refs],
    [ok = py:stream_cancel(Ref) || Ref <- Refs],
    ok = py_suite:restart(Config, #{}),
    {ok, Range} = py:stream_start(builtins, range, [1]),
    ?assertEqual([0, done], rest(Range)).

any_demand_gives_what_is_wanted(Config) ->
    prop_streams:check(prop_streams, ctx(Config)).

%% Whoever ends it, at whatever moment.
nothing_comes_after_the_end(Config) ->
    with_context(Config, fun(Context) ->
        Ends = [
            fun py:stream_cancel/1,
            fun(Ref) -> exit(py_streaming:process_of(Ref), kill) end,
            fun(_) -> py:interrupt(Context) end
        ],
        [
            begin
                Options = #{context => Context, demand => 10_000_000},
                {ok, Ref} = py:stream_start(ct_generators, Function, [none], Options),
                _ = items(N, Ref),
                _ = End(Ref),
                _ = py:stream_cancel(Ref),
                ?assertMatch({error, _}, lists:last(rest(Ref))),
                %% What the context did before it is done.
                {ok, 4.0} = py:call(Context, math, sqrt, [16]),
                ?assertEqual([], py_suite:flush())
            end
         || Function <- [count, acount], N <- lists:seq(1, 10), End <- Ends
        ]
    end).
