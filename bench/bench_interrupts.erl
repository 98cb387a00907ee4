-module(bench_interrupts).

%% How long it takes to interrupt code that runs bytecode: from `py:interrupt/1' to the answer of the call. On the machine
%% as it is, and with a process that computes on each scheduler and code that computes in another context. Beside it what
%% a message to another process and back takes at the same time.

-export([rows/1]).

-define(SPIN, <<
    "def spin(told):\n"
    "    import erlang\n"
    "    erlang.send(told, 'spins')\n"
    "    while True:\n"
    "        pass\n"
>>).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    #{rounds := Rounds} = bench:plan(Settings, #{rounds => 301}, #{rounds => 51}),
    Context = context(),
    Quiet = row(<<"interrupt of running code">>, Context, Rounds),
    Other = context(),
    ok = py:cast(Other, '__main__', spin, [self()]),
    ok = told(),
    Load = [spawn_link(fun compute/0) || _ <- lists:seq(1, erlang:system_info(schedulers_online))],
    Loaded = row(<<"the same, all schedulers and another context busy">>, Context, Rounds),
    _ = [exit(Pid, kill) || Pid <- Load, unlink(Pid)],
    ok = py_context:stop(Other),
    ok = py_context:stop(Context),
    [Quiet, Loaded].

context() ->
    {ok, Context} = py_context:new(),
    ok = py:exec(Context, ?SPIN),
    Context.

row(What, Context, Rounds) ->
    Echo = spawn_link(fun echo/0),
    {Ours, Pings} = lists:unzip([{interrupt(Context), ping(Echo)} || _ <- lists:seq(1, Rounds)]),
    true = unlink(Echo),
    true = exit(Echo, kill),
    bench_report:compared_row(
        What,
        ns,
        Ours,
        bench_rounds:percentile(99, Ours),
        {<<"message there and back">>, bench_rounds:median(Pings)},
        lists:zipwith(fun(A, B) -> A / B end, Ours, Pings),
        none
    ).

interrupt(Context) ->
    Ref = py:spawn_call(Context, '__main__', spin, [self()]),
    ok = told(),
    Start = erlang:monotonic_time(nanosecond),
    ok = py:interrupt(Context),
    {error, interrupted} = py:await(Ref),
    erlang:monotonic_time(nanosecond) - Start.

told() ->
    receive
        <<"spins">> -> ok
    end.

ping(Echo) ->
    Start = erlang:monotonic_time(nanosecond),
    Echo ! {self(), ping},
    receive
        pong -> erlang:monotonic_time(nanosecond) - Start
    end.

echo() ->
    receive
        {From, ping} ->
            From ! pong,
            echo()
    end.

compute() ->
    compute().
