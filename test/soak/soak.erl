-module(soak).
-export([main/2, run/3]).

%% Repeats a step in several processes at once for a given time, and reports what is left: the frame of the
%% modules beside this one.

-define(WORKERS, 8).

%% A step gives its failures.
-type step() :: fun(() -> [term()]).

%% For the command line: `Seconds' is the argument of -s. The exit code tells whether anything failed.
-spec main([atom()], step()) -> no_return().
main([Seconds], Step) ->
    Summary = run(list_to_integer(atom_to_list(Seconds)), rand:uniform(1 bsl 30), Step),
    io:format("~p~n", [Summary]),
    halt(
        case Summary of
            #{failed := []} -> 0;
            _ -> 1
        end
    ).

%% Runs for a number of seconds; gives the number of steps, resident memory (in KiB) after a tenth of the time
%% and at the end, and every failure.
-spec run(pos_integer(), integer(), step()) -> map().
run(Seconds, Seed, Step) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    End = erlang:monotonic_time(second) + Seconds,
    First = cycle(erlang:monotonic_time(second) + max(1, Seconds div 10), Seed, Step),
    Early = resident(),
    Rest = cycle(End, Seed + 1, Step),
    ok = application:stop(erlang_python),
    #{
        seed => Seed,
        steps => lists:sum([N || {N, _} <- First ++ Rest]),
        resident_early => Early,
        resident_late => resident(),
        counters => py_nif:counters(),
        failed => lists:append([F || {_, F} <- First ++ Rest])
    }.

cycle(End, Seed, Step) ->
    Workers = [
        spawn_monitor(fun() ->
            _ = rand:seed(exsss, {Seed, I, 1}),
            exit({counted, worker(End, Step, 0, [])})
        end)
     || I <- lists:seq(1, ?WORKERS)
    ],
    [
        receive
            {'DOWN', Monitor, process, _, {counted, Counted}} -> Counted;
            {'DOWN', Monitor, process, _, Reason} -> {0, [{worker, Reason}]}
        end
     || {_, Monitor} <- Workers
    ].

worker(End, Step, Count, Failed) ->
    case erlang:monotonic_time(second) < End of
        true -> worker(End, Step, Count + 1, Step() ++ Failed);
        false -> {Count, Failed}
    end.

resident() ->
    {ok, Text} = file:read_file("/proc/self/status"),
    {match, [Size]} = re:run(Text, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, binary}]),
    binary_to_integer(Size).
