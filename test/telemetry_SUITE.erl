%% Events: what is told, when, to whom, and what becomes of those who listen.
-module(telemetry_SUITE).

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
            events_have_names,
            call_in_a_pool_begins_and_ends,
            call_of_a_context_begins_and_ends,
            kinds_of_requests_are_told,
            tasks_that_are_waited_for_are_calls,
            python_exception_is_an_exception,
            time_that_is_over_is_an_exception,
            exit_out_of_a_call_is_an_exception,
            refusals_of_calls_are_told,
            refusals_of_what_nobody_waits_for_are_told,
            context_begins_and_ends,
            context_that_is_killed_ends,
            interrupt_is_told,
            refusal_of_a_sandbox_is_told,
            sample_tells_of_queues,
            sample_tells_of_waiting_for_the_gil,
            sample_tells_of_the_loop,
            samples_come_by_themselves,
            nobody_samples_for_nobody,
            handler_is_attached_once,
            one_handler_hears_of_several_events,
            wrong_arguments_are_refused,
            handler_that_fails_is_detached,
            handler_may_detach_itself,
            nothing_is_left_when_the_last_one_goes,
            listeners_outlive_their_table,
            contexts_are_watched_by_a_successor,
            listeners_come_and_go_while_calls_are_made,
            library_hears_of_everything,
            library_that_comes_later_is_found,
            library_that_goes_is_missed_by_nobody,
            application_that_ends_forgets_listeners
        ],
        [context_that_is_stuck_is_told, sample_tells_of_memory]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, env()).

env() ->
    #{num_contexts => 2, stuck_after => 300, telemetry_interval => 20}.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:install(Context),
    [{ctx, Context}, {socket, py_suite:open()} | Config].

end_per_testcase(Case, Config) ->
    _ = py_telemetry:detach(Case),
    _ = py_context:stop(ctx(Config)),
    py_suite:close(socket(Config)).

ctx(Config) -> proplists:get_value(ctx, Config).
socket(Config) -> proplists:get_value(socket, Config).

%% ------------------------------------------------------------------------------------------------
%% Listening

name(Name) -> [erlang_python | Name].

listen(Case, Names) ->
    ok = py_telemetry:attach(Case, [name(Name) || Name <- Names], teller()).

teller() ->
    Test = self(),
    fun(Event, Measurements, Metadata) -> Test ! {event, Event, Measurements, Metadata} end.

heard(Name) ->
    heard(Name, fun(_) -> true end).

%% The next one whose metadata is wanted.
heard(Name, Wanted) ->
    Event = name(Name),
    receive
        {event, Event, Measurements, Metadata} ->
            case Wanted(Metadata) of
                true -> {Measurements, Metadata};
                false -> heard(Name, Wanted)
            end
    after 30_000 -> ct:fail({not_heard, Name})
    end.

of_context(Context) ->
    fun(#{context := Of}) -> Of =:= Context end.

unheard(Name) ->
    Event = name(Name),
    receive
        {event, Event, _, _} = Heard -> ct:fail(Heard)
    after 0 -> ok
    end.

events_have_names(_Config) ->
    Events = py_telemetry:events(),
    ?assertEqual(lists:usort(Events), lists:sort(Events)),
    ?assert(lists:all(fun([erlang_python, A, B]) -> is_atom(A) andalso is_atom(B) end, Events)).

%% ------------------------------------------------------------------------------------------------
%% Calls

call_in_a_pool_begins_and_ends(_Config) ->
    Context = py:context(),
    listen(?FUNCTION_NAME, [[call, start], [call, stop], [call, exception]]),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    {#{monotonic_time := Begun, system_time := _}, Start} = heard([call, start]),
    {#{duration := Duration, monotonic_time := Ended}, Stop} = heard([call, stop]),
    ?assertEqual(Ended - Begun, Duration),
    ?assert(Duration > 0),
    ?assertMatch(#{request := call, module := math, function := sqrt, arity := 1, pool := default}, Start),
    ?assertMatch(#{pool := default, context := Context}, Stop),
    ?assertEqual(maps:get(telemetry_span_context, Start), maps:get(telemetry_span_context, Stop)),
    unheard([call, exception]).

call_of_a_context_begins_and_ends(Config) ->
    Context = ctx(Config),
    listen(?FUNCTION_NAME, [[call, start], [call, stop]]),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    ?assertMatch({_, #{context := Context}}, heard([call, start])),
    ?assertMatch({_, #{context := Context}}, heard([call, stop])).

kinds_of_requests_are_told(Config) ->
    Context = ctx(Config),
    ok = py:exec(Context, <<"class Odd:\n    def f(self, x):\n        return x\nodd = Odd()">>),
    {ok, Object} = py:eval(Context, <<"odd">>),
    listen(?FUNCTION_NAME, [[call, stop]]),
    {ok, 2} = py:eval(Context, <<"1 + 1">>),
    ok = py:exec(Context, <<"x = 1">>),
    {ok, 5} = py:call_method(Object, f, [5]),
    {ok, _} = py:getattr(Object, f),
    Kinds = [begin {_, #{context := Context, request := Kind}} = heard([call, stop]), Kind end || _ <- lists:seq(1, 4)],
    ?assertEqual([eval, exec, call_method, getattr], Kinds).

tasks_that_are_waited_for_are_calls(Config) ->
    Context = ctx(Config),
    listen(?FUNCTION_NAME, [[call, stop]]),
    {ok, none} = py_context:submit_await(Context, asyncio, sleep, [0]),
    ?assertMatch({_, #{context := Context, module := asyncio, function := sleep}}, heard([call, stop])),
    {ok, none} = py_event_loop:run(asyncio, sleep, [0]),
    ?assertMatch({_, #{pool := default, module := asyncio}}, heard([call, stop])).

python_exception_is_an_exception(Config) ->
    listen(?FUNCTION_NAME, [[call, stop], [call, exception]]),
    {error, Reason} = py:eval(ctx(Config), <<"1 / 0">>),
    ?assertMatch({'ZeroDivisionError', _}, Reason),
    {#{duration := _}, Metadata} = heard([call, exception]),
    ?assertMatch(#{kind := error, reason := Reason, stacktrace := [], request := eval}, Metadata),
    unheard([call, stop]).

time_that_is_over_is_an_exception(Config) ->
    listen(?FUNCTION_NAME, [[call, exception]]),
    {error, timeout} = py:call(ctx(Config), time, sleep, [3600], #{timeout => 20}),
    ?assertMatch({_, #{reason := timeout, function := sleep}}, heard([call, exception])).

%% Mnesia's exits go through.
exit_out_of_a_call_is_an_exception(Config) ->
    ok = py:register_function(telemetry_aborts, fun([]) -> exit({aborted, never}) end),
    listen(?FUNCTION_NAME, [[call, exception]]),
    put(mnesia_activity_state, in_a_transaction),
    ?assertExit({aborted, never}, py:eval(ctx(Config), <<"__import__('erlang').telemetry_aborts()">>)),
    _ = erase(mnesia_activity_state),
    ?assertMatch({_, #{kind := exit, reason := {aborted, never}}}, heard([call, exception])),
    ok = py:unregister_function(telemetry_aborts).

refusals_of_calls_are_told(Config) ->
    full(Config, fun(Context) ->
        listen(?FUNCTION_NAME, [[call, refused], [call, exception]]),
        {error, {overloaded, 1, 1}} = py:call(Context, math, sqrt, [1]),
        ?assertMatch({#{current := 1, max := 1}, #{context := Context}}, heard([call, refused])),
        ?assertMatch({_, #{reason := {overloaded, 1, 1}}}, heard([call, exception]))
    end).

refusals_of_what_nobody_waits_for_are_told(Config) ->
    full(Config, fun(Context) ->
        listen(?FUNCTION_NAME, [[call, refused]]),
        {error, {overloaded, 1, 1}} = py:cast(Context, math, sqrt, [1]),
        ?assertMatch({#{current := 1, max := 1}, _}, heard([call, refused])),
        {error, {overloaded, 1, 1}} = py:await(py:spawn_call(Context, math, sqrt, [1])),
        ?assertMatch({#{current := 1, max := 1}, _}, heard([call, refused]))
    end).

%% With a context that runs something, and whose queue of one place is full.
full(Config, Fun) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), max_queue => 1}),
    ok = py_suite:install(Context),
    Socket = socket(Config),
    Running = py:spawn_call(Context, ct_signals, gate, [py_suite:port(Socket), <<"full">>]),
    Gate = py_suite:await_signal(Socket, <<"full">>),
    Waiting = py:spawn_call(Context, math, sqrt, [4]),
    Fun(Context),
    py_suite:release(Socket, Gate),
    {ok, _} = py:await(Running),
    {ok, 2.0} = py:await(Waiting),
    ok = py_context:stop(Context).

%% ------------------------------------------------------------------------------------------------
%% Contexts

context_begins_and_ends(Config) ->
    Mode = py_suite:mode(Config),
    listen(?FUNCTION_NAME, [[context, start], [context, stop], [context, stuck]]),
    Context = py_suite:new_context(Config),
    {#{duration := Took, system_time := _}, Start} = heard([context, start], of_context(Context)),
    ?assert(Took > 0),
    ?assertMatch(#{context := Context, mode := Mode, id := _}, Start),
    ok = py_context:stop(Context),
    {#{duration := Lived}, Stop} = heard([context, stop], of_context(Context)),
    ?assert(Lived > 0),
    ?assertMatch(#{mode := Mode, reason := _}, Stop),
    unheard([context, stuck]).

context_that_is_killed_ends(Config) ->
    listen(?FUNCTION_NAME, [[context, stop]]),
    Context = py_suite:new_context(Config),
    ok = py_suite:silently(fun() -> py_suite:killed(Context) end),
    ?assertMatch({_, #{reason := killed}}, heard([context, stop], of_context(Context))).

context_that_is_stuck_is_told(Config) ->
    listen(?FUNCTION_NAME, [[context, stuck], [context, stop]]),
    Context = py_suite:new_context(Config),
    ok = py_suite:install(Context),
    Socket = socket(Config),
    Caller = py_suite:spawn_caller(fun() -> py:call(Context, ct_signals, gate, [py_suite:port(Socket), <<"deaf">>]) end),
    Gate = py_suite:await_signal(Socket, <<"deaf">>),
    py_suite:silently(fun() ->
        ok = py_context:interrupt(Context),
        ?assertMatch({#{count := 1}, _}, heard([context, stuck], of_context(Context))),
        ?assertMatch({_, #{reason := {shutdown, stuck}}}, heard([context, stop], of_context(Context)))
    end),
    {result, {error, {context_died, stuck}}} = py_suite:await_down(Caller, 30_000),
    py_suite:release(Socket, Gate),
    ok = py_leaks:eventually(fun() -> element(3, py_nif:counters()) =:= 0 end).

interrupt_is_told(Config) ->
    Context = ctx(Config),
    listen(?FUNCTION_NAME, [[context, interrupt]]),
    {error, timeout} = py:call(Context, time, sleep, [3600], #{timeout => 20}),
    ?assertMatch({#{count := 1}, #{context := Context}}, heard([context, interrupt], of_context(Context))).

refusal_of_a_sandbox_is_told(Config) ->
    Context = ctx(Config),
    listen(?FUNCTION_NAME, [[sandbox, refused]]),
    py_suite:silently(fun() ->
        {error, {'RuntimeError', _}} = py:call(Context, os, fork, []),
        ?assertMatch(
            {#{count := Count}, #{refused := <<"os.fork">>}} when Count >= 1, heard([sandbox, refused], of_context(Context))
        )
    end).

%% ------------------------------------------------------------------------------------------------
%% Samples

sample_tells_of_queues(Config) ->
    full(Config, fun(Context) ->
        listen(?FUNCTION_NAME, [[queue, length]]),
        ok = py_telemetry:sample(),
        {#{length := 1, processes := Processes, tasks := 0}, #{id := _}} = heard([queue, length], of_context(Context)),
        %% What gives contexts their paths and modules may be one of them.
        ?assert(Processes >= 1)
    end).

sample_tells_of_waiting_for_the_gil(Config) ->
    Context = ctx(Config),
    listen(?FUNCTION_NAME, [[gil, wait]]),
    %% From the first sample on, also for what began before.
    ok = py_telemetry:sample(),
    Measured = fun Measured(Count, Total) ->
        {ok, _} = py:call(Context, math, sqrt, [4]),
        ok = py_telemetry:sample(),
        {#{count := More, total := Longer, max := Max}, _} = heard([gil, wait], of_context(Context)),
        ?assert(Max =< Longer),
        case Count + More of
            Enough when Enough >= 3 -> Total + Longer;
            Sum -> Measured(Sum, Total + Longer)
        end
    end,
    ?assert(Measured(0, 0) >= 0).

%% A callback of the loop that takes long is what all others wait for.
sample_tells_of_the_loop(Config) ->
    Context = ctx(Config),
    Code = <<
        "import asyncio, time\n"
        "async def blocks(seconds):\n"
        "    await asyncio.sleep(0)\n"
        "    until = time.monotonic() + seconds\n"
        "    while time.monotonic() < until:\n"
        "        pass\n"
        "    await asyncio.sleep(0)\n"
    >>,
    ok = py:exec(Context, Code),
    listen(?FUNCTION_NAME, [[loop, lag]]),
    ok = py_telemetry:sample(),
    Lag = erlang:convert_time_unit(50, millisecond, native),
    Measured = fun Measured() ->
        {ok, none} = py_context:submit_await(Context, '__main__', blocks, [0.05]),
        ok = py_telemetry:sample(),
        {#{max := Max, count := Count, total := Total}, _} = heard([loop, lag], of_context(Context)),
        %% A sample of its own may have come in between.
        case Max >= Lag of
            true -> ?assert(Count >= 1 andalso Total >= Max);
            false -> Measured()
        end
    end,
    Measured().

sample_tells_of_memory(Config) ->
    Context = ctx(Config),
    listen(?FUNCTION_NAME, [[memory, usage]]),
    ok = py_telemetry:sample(),
    {#{used := Used}, _} = heard([memory, usage], of_context(Context)),
    ?assert(Used > 0).

samples_come_by_themselves(Config) ->
    Context = ctx(Config),
    listen(?FUNCTION_NAME, [[queue, length]]),
    _ = [heard([queue, length], of_context(Context)) || _ <- lists:seq(1, 3)],
    ok.

%% With nobody who listens there is no timer, and nothing is measured.
nobody_samples_for_nobody(_Config) ->
    listen(?FUNCTION_NAME, [[queue, length]]),
    _ = heard([queue, length]),
    ok = py_telemetry:detach(?FUNCTION_NAME),
    %% After this the watcher has heard of it.
    State = sys:get_state(py_telemetry_watcher),
    ?assertEqual(undefined, element(3, State)),
    ?assertEqual(false, py_nif:observe(samples, false)),
    ?assertEqual(false, py_nif:observe(interrupts, false)).

%% ------------------------------------------------------------------------------------------------
%% Those who listen

handler_is_attached_once(_Config) ->
    listen(?FUNCTION_NAME, [[call, stop]]),
    ?assertEqual({error, already_exists}, py_telemetry:attach(?FUNCTION_NAME, name([call, start]), teller())),
    ?assertEqual(ok, py_telemetry:detach(?FUNCTION_NAME)),
    ?assertEqual({error, not_found}, py_telemetry:detach(?FUNCTION_NAME)),
    {ok, _} = py:call(math, sqrt, [4]),
    unheard([call, stop]).

one_handler_hears_of_several_events(_Config) ->
    ok = py_telemetry:attach(?FUNCTION_NAME, [name([call, stop]), name([call, stop]), name([call, start])], teller()),
    {ok, _} = py:call(math, sqrt, [4]),
    _ = heard([call, start]),
    _ = heard([call, stop]),
    unheard([call, stop]).

wrong_arguments_are_refused(_Config) ->
    [
        ?assertError(badarg, py_telemetry:attach(wrong, Events, Handler))
     || {Events, Handler} <- [
            {[erlang_python, call, middle], teller()},
            {[name([call, stop]), [other, event, stop]], teller()},
            {[], teller()},
            {call, teller()},
            {name([call, stop]), fun(_, _) -> ok end},
            {name([call, stop]), {io, format}}
        ]
    ],
    ?assertEqual({error, not_found}, py_telemetry:detach(wrong)).

handler_that_fails_is_detached(_Config) ->
    listen(?FUNCTION_NAME, [[call, stop]]),
    ok = py_telemetry:attach(failing, name([call, stop]), fun(_, _, _) -> error(on_purpose) end),
    Log = py_suite:capture_log(),
    {ok, 2.0} = py:call(math, sqrt, [4]),
    receive
        {log, #{level := error, msg := {Format, Args}}} ->
            py_suite:contains(lists:flatten(io_lib:format(Format, Args)), "on_purpose")
    after 30_000 -> ct:fail(not_logged)
    end,
    ok = py_suite:release_log(Log),
    %% Asked by the same process as the call above.
    ok = py_leaks:eventually(fun() -> py_telemetry:detach(failing) =:= {error, not_found} end),
    _ = heard([call, stop]),
    {ok, 2.0} = py:call(math, sqrt, [4]),
    _ = heard([call, stop]),
    ok.

%% Also in the process that emits for contexts.
handler_may_detach_itself(Config) ->
    Test = self(),
    Once = fun(Event, _, _) ->
        Test ! {once, Event},
        ok = py_telemetry:detach(once)
    end,
    lists:foreach(
        fun({Event, Do}) ->
            ok = py_telemetry:attach(once, name(Event), Once),
            Do(),
            receive {once, _} -> ok after 30_000 -> ct:fail({not_heard, Event}) end,
            ok = py_leaks:eventually(fun() -> py_telemetry:detach(once) =:= {error, not_found} end)
        end,
        [
            {[call, stop], fun() -> {ok, _} = py:call(math, sqrt, [4]) end},
            {[context, start], fun() -> ok = py_context:stop(py_suite:new_context(Config)) end}
        ]
    ).

nothing_is_left_when_the_last_one_goes(_Config) ->
    listen(?FUNCTION_NAME, [[call, stop]]),
    ?assertMatch(#{calls := true}, py_telemetry_table:listeners()),
    ok = py_telemetry:attach(other, name([context, stop]), teller()),
    ok = py_telemetry:detach(?FUNCTION_NAME),
    ?assertMatch(#{calls := false}, py_telemetry_table:listeners()),
    ok = py_telemetry:detach(other),
    ?assertEqual(none, py_telemetry_table:listeners()).

listeners_outlive_their_table(_Config) ->
    listen(?FUNCTION_NAME, [[call, stop]]),
    Table = whereis(py_telemetry_table),
    ok = py_suite:silently(fun() -> py_suite:killed(Table) end),
    ok = py_leaks:eventually(fun() -> is_pid(whereis(py_telemetry_table)) end),
    {ok, _} = py:call(math, sqrt, [4]),
    _ = heard([call, stop]),
    ?assertEqual(ok, py_telemetry:detach(?FUNCTION_NAME)).

contexts_are_watched_by_a_successor(Config) ->
    listen(?FUNCTION_NAME, [[context, stop], [queue, length]]),
    Context = py_suite:new_context(Config),
    Watcher = whereis(py_telemetry_watcher),
    ok = py_suite:silently(fun() -> py_suite:killed(Watcher) end),
    ok = py_leaks:eventually(fun() -> is_pid(whereis(py_telemetry_watcher)) end),
    _ = sys:get_state(py_telemetry_watcher),
    _ = py_suite:flush(),
    _ = heard([queue, length], of_context(Context)),
    ok = py_context:stop(Context),
    _ = heard([context, stop], of_context(Context)),
    ok.

listeners_come_and_go_while_calls_are_made(_Config) ->
    Nothing = fun(_, _, _) -> ok end,
    Callers = [
        fun(N) -> [{ok, _} = py:call(math, sqrt, [N]) || _ <- lists:seq(1, 200)] end,
        fun(N) ->
            [
                begin
                    ok = py_telemetry:attach({coming, N}, py_telemetry:events(), Nothing),
                    ok = py_telemetry:detach({coming, N})
                end
             || _ <- lists:seq(1, 50)
            ]
        end
    ],
    _ = py_suite:concurrently(8, fun(N) -> (lists:nth(1 + N rem 2, Callers))(N) end),
    ?assertEqual(none, py_telemetry_table:listeners()).

%% ------------------------------------------------------------------------------------------------
%% The library

%% A module of its name, with what is used of it, that sends events to whoever is registered.
load_library() ->
    Forms = [
        {attribute, 1, module, telemetry},
        {attribute, 1, export, [{execute, 3}]},
        {function, 1, execute, 3, [
            {clause, 1, [{var, 1, 'E'}, {var, 1, 'M'}, {var, 1, 'D'}], [], [
                {op, 1, '!', {atom, 1, ?MODULE},
                    {tuple, 1, [{atom, 1, event}, {var, 1, 'E'}, {var, 1, 'M'}, {var, 1, 'D'}]}}
            ]}
        ]}
    ],
    {ok, telemetry, Binary} = compile:forms(Forms),
    {module, telemetry} = code:load_binary(telemetry, "telemetry.beam", Binary),
    true = register(?MODULE, self()).

unload_library() ->
    true = unregister(?MODULE),
    true = code:delete(telemetry),
    _ = code:purge(telemetry),
    ok.

with_library(Fun) ->
    true = load_library(),
    try
        Fun()
    after
        unload_library()
    end.

library_hears_of_everything(Config) ->
    with_library(fun() ->
        ok = py_telemetry_table:look_for_library(),
        {ok, 4.0} = py:call(ctx(Config), math, sqrt, [16]),
        ?assertMatch({_, #{function := sqrt}}, heard([call, start])),
        ?assertMatch({#{duration := _}, #{function := sqrt}}, heard([call, stop])),
        ok = py_telemetry:sample(),
        _ = heard([queue, length], of_context(ctx(Config))),
        %% Both hear.
        listen(?FUNCTION_NAME, [[call, stop]]),
        {ok, 4.0} = py:call(ctx(Config), math, sqrt, [16]),
        _ = heard([call, stop]),
        _ = heard([call, stop]),
        unheard([call, stop])
    end),
    ok = py_telemetry:detach(?FUNCTION_NAME),
    ok = py_leaks:eventually(fun() -> py_telemetry_table:listeners() =:= none end).

library_that_comes_later_is_found(Config) ->
    ?assertEqual(none, py_telemetry_table:listeners()),
    with_library(fun() ->
        Context = py_suite:new_context(Config),
        _ = heard([context, start], of_context(Context)),
        {ok, _} = py:call(Context, math, sqrt, [4]),
        _ = heard([call, stop], of_context(Context)),
        ok = py_context:stop(Context)
    end),
    _ = py:call(ctx(Config), math, sqrt, [4]),
    ok = py_leaks:eventually(fun() -> py_telemetry_table:listeners() =:= none end).

library_that_goes_is_missed_by_nobody(Config) ->
    with_library(fun() -> ok = py_telemetry_table:look_for_library() end),
    ?assertEqual({ok, 2.0}, py:call(ctx(Config), math, sqrt, [4])),
    ok = py_leaks:eventually(fun() -> py_telemetry_table:listeners() =:= none end).

application_that_ends_forgets_listeners(Config) ->
    listen(?FUNCTION_NAME, [[call, stop]]),
    ok = py_suite:stop(),
    ?assertEqual(none, py_telemetry_table:listeners()),
    ?assertEqual({error, not_running}, py_telemetry:attach(other, name([call, stop]), teller())),
    ?assertEqual({error, not_running}, py_telemetry:detach(other)),
    ?assertEqual({error, not_running}, py_telemetry:sample()),
    ok = py_suite:start((env())#{context_mode => py_suite:mode(Config)}).
