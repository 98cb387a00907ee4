-module(bench_idle).

%% How often the library's own threads wake up while nobody asks for anything.

-export([rows/1]).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(#{quick := Quick}) ->
    Seconds = if Quick -> 3; true -> 10 end,
    {ok, _} = py:call(math, sqrt, [1]),
    %% What earlier work has left to do later is over by then.
    timer:sleep(3_000),
    Before = switches(),
    timer:sleep(Seconds * 1000),
    After = switches(),
    Counts = [Count - maps:get(Thread, Before, 0) || {Thread, Count} <- maps:to_list(After)],
    What = io_lib:format("wake-ups of ~b idle threads in ~b s", [map_size(After), Seconds]),
    [
        bench_report:compared_row(
            iolist_to_binary(What), count, [lists:sum(Counts)], none, [lists:sum(Counts)], {at_most, 0}
        )
    ].

%% Context switches, of either kind, of each of our threads so far.
switches() ->
    Tasks = filelib:wildcard("/proc/self/task/*"),
    maps:from_list([
        {Task, Count}
     || Task <- Tasks, {ok, Status} <- [file:read_file(Task ++ "/status")], Count <- counted(Status)
    ]).

counted(<<"Name:\tpy-", _/binary>> = Status) ->
    {match, Counts} = re:run(
        Status, "voluntary_ctxt_switches:\\s+(\\d+)", [global, {capture, all_but_first, list}]
    ),
    [lists:sum([list_to_integer(Count) || [Count] <- Counts])];
counted(_) ->
    [].
