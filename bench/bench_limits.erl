-module(bench_limits).

%% What a memory limit costs: processor time of work that takes much memory, in contexts without and with a limit, and
%% in Python processes, whose memory nobody counts.

-export([rows/1]).

%% Each operation with its number in a turn.
operations() ->
    [
        {"small", 30, <<"6000 small objects">>},
        {"blocks", 100_000, <<"block of 1000 bytes">>},
        {"buffers", 300, <<"growing list and dict, 50 blocks of 4 KiB">>},
        {"document", 60, <<"document of JSON, read and written">>}
    ].

-spec rows(bench:settings()) -> [bench_report:row()].
rows(#{dir := Dir} = Settings) ->
    #{rounds := Rounds} = bench:plan(Settings, #{rounds => 61}, #{rounds => 7}),
    Unlimited = context(Dir, infinity),
    Limited = context(Dir, 1 bsl 30),
    Port = bench_process:start(Dir, "allocating.py", []),
    Takers = [{process, {port, Port}}, {unlimited, {context, Unlimited}}, {limited, {context, Limited}}],
    Rows = [row(Operation, Rounds, Takers) || Operation <- operations()],
    ok = bench_process:stop(Port),
    _ = [ok = py_context:stop(Context) || Context <- [Unlimited, Limited]],
    lists:append(Rows).

context(Dir, Limit) ->
    {ok, Context} = py_context:new(#{mode => owngil, memory_limit => Limit}),
    {ok, _} = py:eval(Context, <<"__import__('sys').path.append(folder)">>, #{folder => list_to_binary(Dir)}),
    Context.

row({Operation, Count, What}, Rounds, Takers) ->
    %% The first rounds fill caches, and specialise code.
    Turns = lists:nthtail(3, [round_of(Takers, Operation, Count) || _ <- lists:seq(1, Rounds + 3)]),
    [
        compared(<<What/binary, ", context">>, Count, unlimited, process, <<"process">>, none, Turns),
        compared(<<What/binary, ", with a limit">>, Count, limited, unlimited, <<"no limit">>, {at_most, 1.03}, Turns)
    ].

compared(What, Count, Name, Floor, Title, Mark, Turns) ->
    bench_report:compared_row(
        What,
        {each, Count},
        column(Name, Turns),
        {Title, bench_rounds:median(column(Floor, Turns))},
        [maps:get(Name, Turn) / maps:get(Floor, Turn) || Turn <- Turns],
        Mark
    ).

column(Name, Turns) ->
    [maps:get(Name, Turn) || Turn <- Turns].

%% In random order, as what disturbs the machine has no order either.
round_of(Takers, Operation, Count) ->
    Shuffled = [Taker || {_, Taker} <- lists:sort([{rand:uniform(), Taker} || Taker <- Takers])],
    maps:from_list([{Name, time(Where, Operation, Count)} || {Name, Where} <- Shuffled]).

time({port, Port}, Operation, Count) ->
    [Time] = bench_process:ask(Port, Operation, Count),
    Time;
time({context, Context}, Operation, Count) ->
    {ok, Time} = py:call(Context, allocating, measure, [list_to_binary(Operation), Count]),
    Time.
