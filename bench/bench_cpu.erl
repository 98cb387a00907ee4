-module(bench_cpu).

%% CPU-bound work: what a second context gains, and what a second OS process with the same Python gains.

-export([rows/1]).

%% How long a unit of work should take, in nanoseconds.
-define(UNIT, 120_000_000).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(#{dir := Dir} = Settings) ->
    #{rounds := Rounds} = bench:plan(Settings, #{rounds => 12}, #{rounds => 4}),
    {ok, Code} = file:read_file(filename:join(Dir, "workload.py")),
    {Contexts, Callers} = lists:unzip([start_context(Code) || _ <- [1, 2]]),
    Ports = [bench_process:start(Dir) || _ <- [1, 2]],
    Work = calibrate(Callers, Ports),
    Variants = [
        {contexts_1, fun() -> on_contexts([hd(Callers)], Work) end},
        {contexts_2, fun() -> on_contexts(Callers, Work) end},
        {processes_1, fun() -> on_processes([hd(Ports)], Work) end},
        {processes_2, fun() -> on_processes(Ports, Work) end}
    ],
    Times = [round_of(Variants) || _ <- lists:seq(1, Rounds)],
    lists:foreach(fun bench_process:stop/1, Ports),
    lists:foreach(fun(Caller) -> Caller ! stop end, Callers),
    lists:foreach(fun py_context:stop/1, Contexts),
    [
        time(<<"one unit of work on one context">>, contexts_1, Times),
        time(<<"two on two contexts">>, contexts_2, Times),
        time(<<"one in one Python process">>, processes_1, Times),
        time(<<"two in two Python processes">>, processes_2, Times),
        gain(Times)
    ].

%% A context, and the process that works there.
start_context(Code) ->
    {ok, Context} = py_context:new(),
    Caller = spawn_link(fun() ->
        ok = py:exec(Context, Code),
        caller(Context)
    end),
    {Context, Caller}.

caller(Context) ->
    receive
        {work, From, Work} ->
            From ! {self(), py:eval(Context, <<"work(n)">>, #{n => Work})},
            caller(Context);
        stop ->
            ok
    end.

%% How much work makes a unit. Both have done some then, and Python has specialised its code.
calibrate([Caller | _] = Callers, Ports) ->
    Some = 20_000,
    _ = [on_contexts(Callers, Some) || _ <- lists:seq(1, 5)],
    _ = [on_processes(Ports, Some) || _ <- lists:seq(1, 5)],
    Time = bench_rounds:median([
        timed(fun() -> on_contexts([Caller], Some) end)
     || _ <- lists:seq(1, 5)
    ]),
    max(Some, round(Some * ?UNIT / Time)).

round_of(Variants) ->
    Mixed = lists:sort([{rand:uniform(), Variant} || Variant <- Variants]),
    maps:from_list([{Name, timed(Work)} || {_, {Name, Work}} <- Mixed]).

timed(Work) ->
    Start = erlang:monotonic_time(nanosecond),
    _ = Work(),
    erlang:monotonic_time(nanosecond) - Start.

on_contexts(Callers, Work) ->
    lists:foreach(fun(Caller) -> Caller ! {work, self(), Work} end, Callers),
    [
        receive
            {Caller, {ok, Result}} -> Result
        end
     || Caller <- Callers
    ].

on_processes(Ports, Work) ->
    lists:foreach(fun(Port) -> ok = bench_process:send(Port, "work", Work) end, Ports),
    [bench_process:answer(Port) || Port <- Ports].

of_variant(Name, Times) ->
    [maps:get(Name, Round) || Round <- Times].

time(What, Name, Times) ->
    bench_report:time_row(What, of_variant(Name, Times)).

gain(Times) ->
    Gains = [
        {2 * C1 / C2, 2 * P1 / P2}
     || #{contexts_1 := C1, contexts_2 := C2, processes_1 := P1, processes_2 := P2} <- Times
    ],
    {Ours, Theirs} = lists:unzip(Gains),
    bench_report:compared_row(
        <<"gain of the second context">>,
        times,
        Ours,
        {<<"second process">>, bench_rounds:median(Theirs)},
        [A / B || {A, B} <- Gains],
        {at_least, 0.95}
    ).
