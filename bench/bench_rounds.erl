-module(bench_rounds).

%% Measures variants of something against each other: in every round each has one turn, in random order, so
%% that what disturbs the machine disturbs all of them, and ratios are taken within a round.
%%
%% A turn has two parts. Batches, timed as a whole, give the time of one operation without the clock's share:
%% from them come medians. Single operations, each timed, give the distribution: from them comes the p99.

-export([one/2, many/3, inside/3, around/3, run/2]).
-export([value/2, p99/2, spread/2, ratios/3, median/1, percentile/2]).
-export_type([variant/0, maker/0, loop/0, results/0, plan/0]).

%% Runs in the measuring process and gives the operation; the integer is the number of the process.
-type maker() :: fun((pos_integer()) -> operation()).
-type operation() :: fun((integer()) -> term()).
%% Repeats an operation itself, so many times. For singles it gives the time of each, in nanoseconds.
-type loop() :: fun((part(), pos_integer()) -> [number()] | ok).
-type part() :: batches | singles.
-type sampler() :: fun((part(), Deadline :: integer()) -> [number()]).
-opaque variant() :: {atom(), fun(() -> sampler())}.
-type plan() :: #{rounds := pos_integer(), turn := pos_integer()}.
%% Per variant the medians of its rounds, and all single operations; in nanoseconds.
-type results() :: #{atom() => {[number()], [number()]}}.

-define(BATCH, 40).
-define(SINGLES, 200).
%% Operations of each process in a burst.
-define(BURST, 40).

%% One process that repeats an operation.
-spec one(atom(), maker()) -> variant().
one(Name, Maker) ->
    {Name, fun() ->
        Operation = Maker(1),
        repeat(Operation, ?SINGLES),
        fun(Part, Deadline) -> sample(Part, Operation, Deadline, []) end
    end}.

%% One process that has an operation repeated elsewhere, so many times at once.
-spec inside(atom(), pos_integer(), fun(() -> loop())) -> variant().
inside(Name, Count, Maker) ->
    {Name, fun() ->
        Loop = Maker(),
        _ = Loop(batches, Count),
        fun(Part, Deadline) -> looped(Part, Count, Loop, Deadline, []) end
    end}.

%% The same with something that is so during its turns alone.
-spec around(fun(() -> term()), fun(() -> term()), variant()) -> variant().
around(Before, After, {Name, Start}) ->
    {Name, fun() ->
        Sampler = Start(),
        fun(Part, Deadline) ->
            _ = Before(),
            try
                Sampler(Part, Deadline)
            after
                After()
            end
        end
    end}.

%% So many processes that repeat it at the same time. The time of one operation is that of a burst divided by
%% the number of operations; single operations are timed by the processes.
-spec many(atom(), pos_integer(), maker()) -> variant().
many(Name, Count, Maker) ->
    {Name, fun() ->
        Coordinator = self(),
        Workers = [
            spawn_link(fun() -> worker(Coordinator, Maker(Number)) end)
         || Number <- lists:seq(1, Count)
        ],
        _ = burst(Workers, batches),
        fun(Part, Deadline) -> bursts(Part, Workers, Deadline, []) end
    end}.

-spec run([variant()], plan()) -> results().
run(Variants, #{rounds := Rounds, turn := Turn}) ->
    Runner = self(),
    Started = [
        {Name, spawn_link(fun() -> variant(Runner, Start()) end)}
     || {Name, Start} <- Variants
    ],
    _Warm = round_of(Started, max(1, Turn div 4)),
    All = [round_of(shuffle(Started), Turn) || _ <- lists:seq(1, Rounds)],
    Results = maps:from_list([{Name, collect(Name, All)} || {Name, _} <- Started]),
    lists:foreach(fun({_, Pid}) -> stop(Pid) end, Started),
    Results.

collect(Name, Rounds) ->
    Turns = [maps:get(Name, Round) || Round <- Rounds],
    {[Median || {Median, _} <- Turns], lists:append([Singles || {_, Singles} <- Turns])}.

round_of(Started, Turn) ->
    maps:from_list([{Name, turn(Pid, Turn)} || {Name, Pid} <- Started]).

turn(Pid, Turn) ->
    Ref = make_ref(),
    Pid ! {turn, Ref, Turn},
    receive
        {Ref, Batches, Singles} -> {median(Batches), Singles}
    end.

stop(Pid) ->
    Monitor = monitor(process, Pid),
    unlink(Pid),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    end.

shuffle(List) ->
    [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])].

variant(Runner, Sampler) ->
    receive
        {turn, Ref, Turn} ->
            %% Garbage of the last turn is not this one's, and the first operations after a pause wake things.
            true = erlang:garbage_collect(),
            _ = Sampler(batches, now_ns() + Turn * 50_000),
            Batches = Sampler(batches, now_ns() + Turn * 600_000),
            Singles = Sampler(singles, now_ns() + Turn * 350_000),
            Runner ! {Ref, Batches, Singles},
            variant(Runner, Sampler)
    end.

%% ------------------------------------------------------------------------------------------------
%% One process

sample(Part, Operation, Deadline, Samples) ->
    More = sample(Part, Operation) ++ Samples,
    case now_ns() < Deadline of
        true -> sample(Part, Operation, Deadline, More);
        false -> More
    end.

sample(batches, Operation) ->
    Start = now_ns(),
    repeat(Operation, ?BATCH),
    [(now_ns() - Start) / ?BATCH];
sample(singles, Operation) ->
    singles(Operation, ?SINGLES, []).

repeat(_Operation, 0) ->
    ok;
repeat(Operation, Left) ->
    _ = Operation(Left),
    repeat(Operation, Left - 1).

singles(_Operation, 0, Samples) ->
    Samples;
singles(Operation, Left, Samples) ->
    Start = now_ns(),
    _ = Operation(Left),
    Sample = now_ns() - Start,
    singles(Operation, Left - 1, [Sample | Samples]).

%% ------------------------------------------------------------------------------------------------
%% A loop elsewhere

looped(Part, Count, Loop, Deadline, Samples) ->
    Start = now_ns(),
    Answer = Loop(Part, Count),
    Took = now_ns() - Start,
    More =
        case Part of
            batches -> [Took / Count | Samples];
            singles -> Answer ++ Samples
        end,
    case now_ns() < Deadline of
        true -> looped(Part, Count, Loop, Deadline, More);
        false -> More
    end.

%% ------------------------------------------------------------------------------------------------
%% Many processes

bursts(Part, Workers, Deadline, Samples) ->
    More = burst(Workers, Part) ++ Samples,
    case now_ns() < Deadline of
        true -> bursts(Part, Workers, Deadline, More);
        false -> More
    end.

burst(Workers, Part) ->
    Start = now_ns(),
    lists:foreach(fun(Worker) -> Worker ! Part end, Workers),
    Singles = [
        receive
            {done, Worker, Samples} -> Samples
        end
     || Worker <- Workers
    ],
    case Part of
        batches -> [(now_ns() - Start) / (length(Workers) * ?BURST)];
        singles -> lists:append(Singles)
    end.

worker(Coordinator, Operation) ->
    receive
        batches ->
            repeat(Operation, ?BURST),
            Coordinator ! {done, self(), []};
        singles ->
            Coordinator ! {done, self(), singles(Operation, ?BURST, [])}
    end,
    worker(Coordinator, Operation).

now_ns() ->
    erlang:monotonic_time(nanosecond).

%% ------------------------------------------------------------------------------------------------
%% What comes out

%% The time of one operation: the median of the rounds' medians.
-spec value(atom(), results()) -> number().
value(Name, Results) ->
    {Rounds, _} = maps:get(Name, Results),
    median(Rounds).

-spec p99(atom(), results()) -> number().
p99(Name, Results) ->
    {_, Singles} = maps:get(Name, Results),
    percentile(99, Singles).

-spec spread(atom(), results()) -> {number(), number()}.
spread(Name, Results) ->
    {Rounds, _} = maps:get(Name, Results),
    {lists:min(Rounds), lists:max(Rounds)}.

%% Round by round, what the first took in proportion to the second.
-spec ratios(atom(), atom(), results()) -> [number()].
ratios(Name, Floor, Results) ->
    {Rounds, _} = maps:get(Name, Results),
    {Floors, _} = maps:get(Floor, Results),
    lists:zipwith(fun(A, B) -> A / B end, Rounds, Floors).

-spec median([number(), ...]) -> number().
median(Numbers) ->
    Sorted = lists:sort(Numbers),
    Length = length(Sorted),
    case Length rem 2 of
        1 -> lists:nth(Length div 2 + 1, Sorted);
        0 -> (lists:nth(Length div 2, Sorted) + lists:nth(Length div 2 + 1, Sorted)) / 2
    end.

-spec percentile(1..100, [number(), ...]) -> number().
percentile(Percent, Numbers) ->
    Sorted = lists:sort(Numbers),
    lists:nth(max(1, ceil(length(Sorted) * Percent / 100)), Sorted).
