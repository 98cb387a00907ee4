-module(bench_loop).

%% asyncio's own work: the loop of a context beside the standard library's in another context and, where it is
%% installed, uvloop in a Python process of its own; then tasks from Erlang.

-export([rows/1]).

%% Operations in a batch.
-define(COUNT, 5000).
-define(TIMEOUT, 600_000).
%% Callers at the same time.
-define(CALLERS, 100).
%% The nanoseconds by which a sleeping task may be late.
-define(LATE, 1.0e8).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Ours = bench_loop_side:context(Settings),
    Stock = bench_loop_side:context(Settings),
    Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 100}),
    Rows = lists:append([work_rows(Work, Ours, Stock, Settings, Plan) || Work <- works()]),
    Sleeps = lists:append([sleep_rows(Count, Ours, Stock, Plan) || Count <- [24, 2400]]),
    Tasks = task_rows(Ours, Plan),
    ok = py_context:stop(Stock),
    ok = py_context:stop(Ours),
    Rows ++ Sleeps ++ Tasks.

%% What is measured, and how much less time than with the standard library's loop it may take.
works() ->
    [
        {call_soon, <<"call_soon">>, 1.0},
        {call_soon_threadsafe, <<"call_soon_threadsafe">>, 0.1},
        {timers, <<"call_later, cancelled">>, 1.0},
        {sleep_zero, <<"sleep(0)">>, 1.0},
        {tasks, <<"create_task, awaited">>, 1.0}
    ].

work_rows({Name, What, Most}, Ours, Stock, Settings, Plan) ->
    Uvloop = bench_loop_side:has_uvloop(Settings),
    Variants =
        [
            bench_rounds:inside(Kind, ?COUNT, fun() -> in_context(Context, Kind, Name) end)
         || {Kind, Context} <- [{erlang, Ours}, {stock, Stock}]
        ] ++
            [bench_rounds:inside(uvloop, ?COUNT, fun() -> outside(Settings, Name) end) || Uvloop],
    Results = bench_rounds:run(Variants, Plan),
    [
        bench_report:row(What, erlang, {stock, <<"stock loop">>}, {at_most, Most}, Results)
        | [
            bench_report:row(What, erlang, {uvloop, <<"uvloop outside">>}, none, Results)
         || Uvloop
        ]
    ].

in_context(Context, Kind, Name) ->
    fun(Part, Count) -> run(Context, Kind, [Name, Count, Part =:= singles]) end.

run(Context, Kind, Args) ->
    {ok, Times} = py:call(Context, loop_context, work, [Kind | Args], #{timeout => ?TIMEOUT}),
    Times.

outside(Settings, Name) ->
    Port = bench_loop_side:uvloop(Settings, ["work"]),
    fun(Part, Count) ->
        Timed = atom_to_list(Part =:= singles),
        bench_loop_side:ask(Port, [atom_to_list(Name), $\s, integer_to_list(Count), $\s, Timed])
    end.

%% ------------------------------------------------------------------------------------------------
%% Timers

sleep_rows(Count, Ours, Stock, #{rounds := Rounds}) ->
    Seconds = 0.05,
    Turns = [
        maps:from_list([
            {Kind, run(Context, Kind, [late, Count, Seconds])}
         || {Kind, Context} <- shuffle([{erlang, Ours}, {stock, Stock}])
        ])
     || _ <- lists:seq(1, Rounds)
    ],
    Last = [lists:max(Late) || #{erlang := Late} <- Turns],
    Middles = [{bench_rounds:median(Late), bench_rounds:median(Floor)} || #{erlang := Late, stock := Floor} <- Turns],
    {Middle, Floors} = lists:unzip(Middles),
    What = io_lib:format("~b x sleep(0.05), late", [Count]),
    [
        bench_report:compared_row(
            iolist_to_binary([What, ", the last"]),
            ns,
            Last,
            {<<"0.1 s">>, ?LATE},
            [Late / ?LATE || Late <- Last],
            {at_most, 1.0}
        ),
        bench_report:compared_row(
            iolist_to_binary(What),
            ns,
            Middle,
            {<<"stock loop">>, bench_rounds:median(Floors)},
            [Late / Floor || {Late, Floor} <- Middles],
            {at_most, 1.0}
        )
    ].

shuffle(List) ->
    [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])].

%% ------------------------------------------------------------------------------------------------
%% Tasks from Erlang

task_rows(Context, Plan) ->
    Call = fun(I) -> {ok, I} = py:call(Context, loop_work, answer_now, [I]) end,
    Submit = fun(I) -> {ok, I} = py_context:submit_await(Context, loop_work, answer, [I]) end,
    Results = bench_rounds:run(
        [
            bench_rounds:one(call, fun(_) -> Call end),
            bench_rounds:one(submit, fun(_) -> Submit end),
            bench_rounds:many(calls, ?CALLERS, fun(_) -> Call end),
            bench_rounds:many(submits, ?CALLERS, fun(_) -> Submit end)
        ],
        Plan
    ),
    [
        bench_report:row(<<"submit_await">>, submit, {call, <<"py:call">>}, {at_most, 3.0}, Results),
        bench_report:row(
            <<"submit_await, 100 callers">>, submits, {calls, <<"py:call, 100">>}, {at_most, 3.0}, Results
        )
    ].
