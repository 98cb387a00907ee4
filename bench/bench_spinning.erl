-module(bench_spinning).

%% What looking for work before sleeping gains and costs, see spinning.sh: how long calls take, what processor time the
%% node uses for one, and how often the context's thread sleeps.

-export([main/0]).

-define(CALLERS, 50).
-define(MILLISECONDS, 1500).
-define(ROUNDS, 3).

%% `-extra Name': a line for each way to call.
-spec main() -> no_return().
main() ->
    [Name] = init:get_plain_arguments(),
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, Context} = py_context:new(),
    {ok, _} = py:call(Context, math, sqrt, [1]),
    Ways = [{"one caller", 1, 0}, {"a call each millisecond", 1, 1}, {"50 callers", ?CALLERS, 0}],
    [line(Name, Way, [measured(Context, Way) || _ <- lists:seq(1, ?ROUNDS)]) || Way <- Ways],
    idle(Name),
    halt(0).

line(Name, {Way, _, _}, Rounds) ->
    Columns = [bench_rounds:median([element(I, Round) || Round <- Rounds]) || I <- lists:seq(1, 5)],
    io:format("~-28ts ~-25ts ~8.1f ~8.1f ~8.1f ~8.1f ~8.2f~n", [Name, Way | Columns]).

measured(Context, {_, Callers, Pause}) ->
    Before = used(),
    End = erlang:monotonic_time(millisecond) + ?MILLISECONDS,
    Pids = [spawn_monitor(fun() -> exit({took, calls(Context, Pause, End, [])}) end) || _ <- lists:seq(1, Callers)],
    Took = lists:append([
        receive
            {'DOWN', Monitor, process, Pid, {took, Samples}} -> Samples
        end
     || {Pid, Monitor} <- Pids
    ]),
    {Node, Threads, Sleeps} = since(Before),
    Count = length(Took),
    {
        bench_rounds:median(Took) / 1000,
        bench_rounds:percentile(99, Took) / 1000,
        Node / Count,
        Threads / Count,
        Sleeps / Count
    }.

calls(Context, Pause, End, Samples) ->
    Start = erlang:monotonic_time(nanosecond),
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    Took = erlang:monotonic_time(nanosecond) - Start,
    _ = [timer:sleep(Pause) || Pause > 0],
    case erlang:monotonic_time(millisecond) < End of
        true -> calls(Context, Pause, End, [Took | Samples]);
        false -> [Took | Samples]
    end.

idle(Name) ->
    timer:sleep(2000),
    Before = used(),
    timer:sleep(3000),
    {Node, Threads, Sleeps} = since(Before),
    io:format("~-28ts ~-25ts ~8ts ~8ts ~8.1f ~8.1f ~8.2f~n", [
        Name, "idle, in a second", "", "", Node / 3, Threads / 3, Sleeps / 3
    ]).

%% Microseconds of processor time, of the node and of our threads, and how often those have gone to sleep.
used() ->
    {ok, Stat} = file:read_file("/proc/self/stat"),
    {match, [Rest]} = re:run(Stat, "^.*\\) \\S+ (.+)", [{capture, all_but_first, binary}, dotall]),
    [User, System | _] = lists:nthtail(10, string:lexemes(Rest, " ")),
    Ours = [
        of_thread(Task, Status)
     || Task <- filelib:wildcard("/proc/self/task/*"),
        {ok, <<"Name:\tpy-", _/binary>> = Status} <- [file:read_file(Task ++ "/status")]
    ],
    {Times, Sleeps} = lists:unzip(Ours),
    {(binary_to_integer(User) + binary_to_integer(System)) * 10_000, lists:sum(Times), lists:sum(Sleeps)}.

of_thread(Task, Status) ->
    {ok, Scheduled} = file:read_file(Task ++ "/schedstat"),
    [Nanoseconds | _] = string:lexemes(Scheduled, " "),
    {match, [Sleeps]} = re:run(Status, "\nvoluntary_ctxt_switches:\\s+(\\d+)", [{capture, all_but_first, binary}]),
    {binary_to_integer(Nanoseconds) / 1000, binary_to_integer(Sleeps)}.

since(Before) ->
    list_to_tuple([Now - Then || {Now, Then} <- lists:zip(tuple_to_list(used()), tuple_to_list(Before))]).
