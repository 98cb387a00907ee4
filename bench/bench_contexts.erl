-module(bench_contexts).

%% What a context costs to start and to keep, and what a bare interpreter costs in a Python process.
%%
%% The contexts are kept until the end, as a Python before 3.14.1 does not end interpreters: later ones would
%% get used ones. For the same reason the spare interpreters that are there already are taken first.

-export([rows/1, resident/0]).

%% Contexts of one round.
-define(TOGETHER, 4).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(#{dir := Dir} = Settings) ->
    #{rounds := Rounds} = bench:plan(Settings, #{rounds => 7}, #{rounds => 3}),
    Port = bench_process:start(Dir),
    ok = py_nif:spares_close(),
    {_Threads, Spares, _Stuck, _SetAside} = py_nif:counters(),
    %% The first ones also read files and grow tables.
    First = [new() || _ <- lists:seq(1, Spares + ?TOGETHER)],
    _ = bench_process:ask(Port, "create", ?TOGETHER),
    {Contexts, Measured} = rounds(Rounds, Port, [], []),
    ok = bench_process:stop(Port),
    {Waited, WaitedTimes} = lists:unzip([with_a_spare() || _ <- lists:seq(1, Rounds * ?TOGETHER)]),
    ok = py_nif:spares_close(),
    lists:foreach(fun py_context:stop/1, First ++ Contexts ++ Waited),
    {Ours, Bare} = lists:unzip(Measured),
    {OurTimes, OurMemory} = lists:unzip(Ours),
    {BareTimes, BareMemory} = lists:unzip(Bare),
    [
        bench_report:compared_row(
            <<"context start">>,
            ns,
            OurTimes,
            {<<"bare interpreter">>, bench_rounds:median(BareTimes)},
            lists:zipwith(fun(A, B) -> A / B end, OurTimes, BareTimes),
            {at_most, 1.2}
        ),
        bench_report:compared_row(
            <<"context start, a spare waits">>,
            ns,
            WaitedTimes,
            {<<"context start">>, bench_rounds:median(OurTimes)},
            [Time / bench_rounds:median(OurTimes) || Time <- WaitedTimes],
            {at_most, 0.1}
        ),
        bench_report:compared_row(
            <<"memory of an idle context">>,
            mb,
            OurMemory,
            {<<"bare interpreter">>, bench_rounds:median(BareMemory)},
            lists:zipwith(fun(A, B) -> A - B end, OurMemory, BareMemory),
            {at_most_more, 0.5}
        )
    ].

rounds(0, _Port, Contexts, Measured) ->
    {Contexts, Measured};
rounds(Left, Port, Contexts, Measured) ->
    {Started, Ours} = start_some(),
    Answer = bench_process:ask(Port, "create", ?TOGETHER),
    {Times, [Memory]} = lists:split(?TOGETHER, Answer),
    Bare = {bench_rounds:median(Times), Memory / ?TOGETHER / 1.0e6},
    rounds(Left - 1, Port, Started ++ Contexts, [{Ours, Bare} | Measured]).

start_some() ->
    true = erlang:garbage_collect(),
    Before = resident(),
    {Contexts, Times} = lists:unzip([timed_new() || _ <- lists:seq(1, ?TOGETHER)]),
    {Contexts, {bench_rounds:median(Times), (resident() - Before) / ?TOGETHER / 1.0e6}}.

%% One that is made ahead; the next is not begun before the context is there.
with_a_spare() ->
    {ok, Policy} = py_sandbox:check(default),
    ok = py_nif:spares_open(1, Policy),
    ok = until_ready(),
    timed_new().

until_ready() ->
    case py_nif:spares() of
        {1, 1} ->
            ok;
        _ ->
            ok = timer:sleep(5),
            until_ready()
    end.

timed_new() ->
    Start = erlang:monotonic_time(nanosecond),
    Context = new(),
    {Context, erlang:monotonic_time(nanosecond) - Start}.

new() ->
    {ok, Context} = py_context:new(),
    Context.

%% The resident memory of this node, in bytes.
-spec resident() -> pos_integer().
resident() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kilobytes]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kilobytes) * 1024.
