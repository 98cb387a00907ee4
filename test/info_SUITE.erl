%% What operators ask: py:info/0,1.
-module(info_SUITE).

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
            every_item_is_there,
            an_item_may_be_asked_alone,
            wrong_items_are_bad_arguments,
            idle_context_is_told_with_its_place,
            running_code_is_told_with_its_process_and_age,
            text_of_code_is_told_up_to_its_first_line,
            code_that_waits_for_erlang_waits,
            tasks_and_queued_requests_are_counted,
            requests_and_interrupts_are_counted,
            context_that_has_ended_is_an_error,
            functions_and_refusals_are_told,
            bounds_that_were_set_meanwhile_count,
            nobody_is_waited_for,
            answers_while_contexts_come_and_go,
            says_not_running_when_it_is_not
        ],
        [memory_of_an_interpreter_is_told, stuck_context_is_told, context_of_another_node_is_told]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 2, stuck_after => 300}).

end_per_group(_Mode, Config) ->
    %% The node has been part of a distribution.
    py_suite:end_group(Config, #{spares => 16, fds => 2}).

init_per_testcase(_Case, Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:install(Context),
    [{ctx, Context}, {socket, py_suite:open()} | Config].

end_per_testcase(_Case, Config) ->
    _ = py_context:stop(ctx(Config)),
    py_suite:close(socket(Config)).

ctx(Config) -> proplists:get_value(ctx, Config).
socket(Config) -> proplists:get_value(socket, Config).

told(Context) ->
    {ok, Told} = py:info(Context),
    Told.

%% Begins with code that says so and waits for a gate; its request and the gate.
at_a_gate(Config) ->
    Socket = socket(Config),
    Request = py:spawn_call(ctx(Config), ct_signals, gate, [py_suite:port(Socket), <<"here">>]),
    {Request, py_suite:await_signal(Socket, <<"here">>)}.

open_gate(Config, {Request, Gate}) ->
    py_suite:release(socket(Config), Gate),
    {ok, <<"here">>} = py:await(Request),
    ok.

%% What is told of a context once it has come to be so.
once(Context, Wanted) ->
    ok = py_leaks:eventually(fun() -> Wanted(told(Context)) end),
    told(Context).

%% ------------------------------------------------------------------------------------------------
%% All of it

every_item_is_there(Config) ->
    {ok, Info} = py:info(),
    {ok, Version} = py:version(),
    ?assertEqual(lists:sort(py_info:items()), lists:sort(maps:keys(Info))),
    #{python := Python, mode := Mode, node := Node, otp := Otp} = Info,
    ?assertEqual({Version, py:execution_mode(), node()}, {Python, Mode, Node}),
    ?assertEqual(erlang:system_info(otp_release), binary_to_list(Otp)),
    #{contexts := Contexts, pools := #{default := Pool}, limits := Limits} = Info,
    ?assert(lists:member(ctx(Config), [Pid || #{context := Pid} <- Contexts])),
    ?assertMatch(#{size := 2, timeout := 30_000, binding := least_loaded}, Pool),
    ?assertMatch(#{max_concurrent := infinity, max_stuck := 4, stuck_after := 300}, Limits).

an_item_may_be_asked_alone(_Config) ->
    {ok, Info} = py:info(),
    lists:foreach(
        fun(Item) ->
            {ok, Value} = py:info(Item),
            ?assertEqual({Item, is_map(maps:get(Item, Info))}, {Item, is_map(Value)})
        end,
        py_info:items()
    ).

wrong_items_are_bad_arguments(_Config) ->
    [?assertError(badarg, py:info(Wrong)) || Wrong <- [nothing_of_that_name, "python", 1, make_ref()]],
    try
        py:info(nothing_of_that_name)
    catch
        error:badarg:Stack ->
            #{1 := Text} = py_badarg:format_error(badarg, Stack),
            py_suite:contains(lists:flatten(Text), "an item of py:info/0")
    end.

%% ------------------------------------------------------------------------------------------------
%% A context

idle_context_is_told_with_its_place(Config) ->
    Context = ctx(Config),
    {ok, 1} = py:eval(Context, <<"1">>),
    Told = once(Context, fun(#{state := State}) -> State =:= idle end),
    Mode = py_suite:mode(Config),
    ?assertMatch(#{context := Context, mode := Mode, queue := 0, max_queue := infinity, running := [], tasks := 0}, Told),
    ?assertMatch(#{running_for := undefined, oldest_task := undefined, processes := Processes} when Processes >= 1, Told),
    ?assert(is_integer(maps:get(id, Told))),
    {ok, Id} = py_context:get_interp_id(Context),
    ?assertEqual(Id, maps:get(interpreter, Told)),
    Pooled = py:context(),
    ?assertMatch(#{id := {default, Index}} when Index >= 1, told(Pooled)).

running_code_is_told_with_its_process_and_age(Config) ->
    Context = ctx(Config),
    Self = self(),
    Gate = at_a_gate(Config),
    #{running := [Running], state := running} = told(Context),
    ?assertMatch(
        #{process := Self, kind := spawn, what := {call, ct_signals, gate, 2}, milliseconds := Age} when Age >= 0,
        Running
    ),
    %% The clock goes on.
    Later = once(Context, fun(#{running_for := Age}) -> Age >= 20 end),
    ?assertEqual(maps:get(running_for, Later) >= 20, true),
    {ok, #{running := All}} = py:info(requests),
    ?assert(All >= 1),
    ok = open_gate(Config, Gate),
    ?assertMatch(#{running := [], running_for := undefined}, once(Context, fun is_idle/1)).

is_idle(#{state := State}) -> State =:= idle.

text_of_code_is_told_up_to_its_first_line(Config) ->
    Context = ctx(Config),
    Port = integer_to_binary(py_suite:port(socket(Config))),
    Padding = binary:copy(<<"#">>, 200),
    Code = <<"\n\nimport ct_signals  ", Padding/binary, "\nct_signals.gate(", Port/binary, ", 'in code')\n">>,
    {Caller, _} = Started = py_suite:spawn_caller(fun() -> py:exec(Context, Code) end),
    Gate = py_suite:await_signal(socket(Config), <<"in code">>),
    #{running := [#{process := Caller, kind := call, what := {exec, Text}}]} = told(Context),
    py_suite:release(socket(Config), Gate),
    ?assertMatch(<<"import ct_signals  ###", _/binary>>, Text),
    ?assertEqual(60, byte_size(Text)),
    ?assertEqual({result, ok}, py_suite:await_down(Started, 30_000)).

code_that_waits_for_erlang_waits(Config) ->
    Context = ctx(Config),
    Test = self(),
    ok = py:register_function(info_waits, fun([]) ->
        Test ! {called, self()},
        receive
            go_on -> 42
        end
    end),
    Request = py_suite:spawn_caller(fun() -> py:eval(Context, <<"__import__('erlang').info_waits()">>) end),
    Called = receive {called, Pid} -> Pid end,
    %% For a moment whoever sends the call to Erlang has the text to itself.
    _ = once(Context, fun(Told) ->
        case Told of
            #{state := waiting, running := [#{what := {eval, <<"__import__", _/binary>>}}]} -> true;
            _ -> false
        end
    end),
    Called ! go_on,
    ?assertEqual({result, {ok, 42}}, py_suite:await_down(Request, 30_000)),
    ok = py:unregister_function(info_waits).

tasks_and_queued_requests_are_counted(Config) ->
    Context = ctx(Config),
    {ok, Task} = py_context:submit(Context, asyncio, sleep, [3600]),
    _ = once(Context, fun(#{tasks := Tasks}) -> Tasks =:= 1 end),
    Gate = at_a_gate(Config),
    Waiting = [py:spawn_call(Context, math, sqrt, [N]) || N <- [1, 4, 9]],
    ?assertMatch(#{queue := 3, tasks := 1, oldest_task := Age} when is_integer(Age), told(Context)),
    {ok, #{queued := Queued, tasks := Tasks}} = py:info(requests),
    ?assert(Queued >= 3 andalso Tasks >= 1),
    ok = open_gate(Config, Gate),
    ?assertEqual([{ok, 1.0}, {ok, 2.0}, {ok, 3.0}], [py:await(One) || One <- Waiting]),
    ok = py:cancel(Task),
    ?assertMatch(#{queue := 0}, once(Context, fun(#{tasks := Left}) -> Left =:= 0 end)).

requests_and_interrupts_are_counted(Config) ->
    Context = ctx(Config),
    #{requests := Before, interrupts := Interrupts} = told(Context),
    _ = [{ok, _} = py:call(Context, math, sqrt, [N]) || N <- lists:seq(1, 10)],
    {error, timeout} = py:call(Context, time, sleep, [3600], #{timeout => 50}),
    #{requests := After, interrupts := InterruptsAfter, cpu_time := Cpu} = told(Context),
    ?assertEqual({Before + 11, Interrupts + 1}, {After, InterruptsAfter}),
    case os:type() of
        {unix, linux} -> ?assert(is_integer(Cpu) andalso Cpu > 0);
        _ -> ?assertEqual(undefined, Cpu)
    end.

memory_of_an_interpreter_is_told(Config) ->
    #{memory := #{used := Used, peak := Peak, limit := infinity}} = told(ctx(Config)),
    ?assert(Used > 0 andalso Peak >= Used),
    {ok, Limited} = py_context:new(#{memory_limit => 1 bsl 30}),
    ?assertMatch(#{memory := #{limit := 1073741824}}, told(Limited)),
    ok = py_context:stop(Limited),
    {ok, #{contexts := All}} = py:info(memory),
    ?assert(All > 0).

stuck_context_is_told(Config) ->
    Socket = socket(Config),
    Stuck = py_suite:new_context(Config),
    ok = py_suite:install(Stuck),
    Request = py_suite:spawn_caller(fun() -> py:call(Stuck, ct_signals, gate, [py_suite:port(Socket), <<"deaf">>]) end),
    Gate = py_suite:await_signal(Socket, <<"deaf">>),
    Monitor = erlang:monitor(process, Stuck),
    py_suite:silently(fun() ->
        ok = py_context:interrupt(Stuck),
        receive
            {'DOWN', Monitor, process, Stuck, _} -> ok
        end
    end),
    ?assertEqual({result, {error, {context_died, stuck}}}, py_suite:await_down(Request, 30_000)),
    {ok, Contexts} = py:info(contexts),
    ?assertMatch([stuck], [State || #{context := Pid, state := State} <- Contexts, Pid =:= Stuck]),
    ?assertMatch({ok, #{stuck := Count}} when Count >= 1, py:info(threads)),
    py_suite:release(Socket, Gate),
    ok = py_leaks:eventually(fun() ->
        {ok, Left} = py:info(contexts),
        not lists:member(Stuck, [Pid || #{context := Pid} <- Left])
    end).

context_that_has_ended_is_an_error(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_context:stop(Context),
    ?assertEqual({error, {context_died, noproc}}, py:info(Context)),
    ?assertEqual({error, {context_died, noproc}}, py:info(self())),
    {ok, Contexts} = py:info(contexts),
    ?assertNot(lists:member(Context, [Pid || #{context := Pid} <- Contexts])).

context_of_another_node_is_told(_Config) ->
    py_suite:with_connected_node(fun(Node) ->
        {ok, _} = erpc:call(Node, application, ensure_all_started, [erlang_python]),
        {ok, Remote} = erpc:call(Node, fun() ->
            {ok, Context} = py_context:new(#{}),
            {ok, Context}
        end),
        ?assertMatch({ok, #{context := Remote, mode := owngil}}, py:info(Remote)),
        ok = erpc:call(Node, application, stop, [erlang_python]),
        ?assertEqual({error, not_running}, py:info(Remote))
    end).

%% ------------------------------------------------------------------------------------------------
%% The node

functions_and_refusals_are_told(Config) ->
    {ok, Before} = py:info(functions),
    ok = py:register_function(info_is_here, fun(_) -> ok end),
    ?assertEqual({ok, Before + 1}, py:info(functions)),
    ok = py:unregister_function(info_is_here),
    {error, {'RuntimeError', _}} = py:call(ctx(Config), os, fork, []),
    {ok, #{<<"os.fork">> := Count}} = py:info(refusals),
    ?assert(Count >= 1).

bounds_that_were_set_meanwhile_count(_Config) ->
    ok = py_semaphore:set_max_concurrent(17),
    ?assertMatch({ok, #{max_concurrent := 17}}, py:info(limits)),
    ok = py_semaphore:set_max_concurrent(infinity),
    ?assertMatch({ok, #{max_concurrent := infinity}}, py:info(limits)).

%% The processes of contexts answer nothing, and the code holds the GIL or waits.
nobody_is_waited_for(Config) ->
    Context = ctx(Config),
    Gate = at_a_gate(Config),
    ok = sys:suspend(Context),
    ?assertMatch({ok, #{contexts := [_ | _]}}, py:info()),
    ?assertMatch(#{state := running}, told(Context)),
    ok = sys:resume(Context),
    ok = open_gate(Config, Gate).

answers_while_contexts_come_and_go(Config) ->
    Askers = 4,
    Test = self(),
    {Makers, Done} = {[spawn_monitor(fun() -> come_and_go(Config, 5) end)], make_ref()},
    Asking = [spawn_monitor(fun() -> ask_until(Test, Done, 0) end) || _ <- lists:seq(1, Askers)],
    _ = [?assertEqual({died, normal}, py_suite:await_down(Maker, 60_000)) || Maker <- Makers],
    _ = [Pid ! Done || {Pid, _} <- Asking],
    _ = [?assertEqual({died, normal}, py_suite:await_down(Asker, 60_000)) || Asker <- Asking],
    ok.

come_and_go(_Config, 0) ->
    ok;
come_and_go(Config, Times) ->
    Context = py_suite:new_context(Config),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    ok = py_context:stop(Context),
    come_and_go(Config, Times - 1).

ask_until(Test, Done, Asked) ->
    {ok, #{contexts := Contexts}} = py:info(),
    true = is_list(Contexts),
    receive
        Done -> ok
    after 0 -> ask_until(Test, Done, Asked + 1)
    end.

says_not_running_when_it_is_not(Config) ->
    ok = py_suite:stop(),
    ?assertEqual({error, not_running}, py:info()),
    ?assertEqual({error, not_running}, py:info(contexts)),
    ?assertEqual({error, not_running}, py:info(self())),
    ok = py_suite:start((proplists:get_value(env, Config))#{context_mode => py_suite:mode(Config)}).
