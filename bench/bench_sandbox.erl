-module(bench_sandbox).

%% What sandboxes cost: processor time of operations that the audit hook is asked about, in contexts of three policies,
%% and in Python processes without a hook and with one that does nothing.

-export([rows/1]).

%% Each operation with its number in a turn, and whether policies look closer at it.
operations() ->
    [
        {"plain", 200_000, <<"call without an event">>, []},
        {"event", 200_000, <<"event that is nobody's concern">>, []},
        {"close", 20_000, <<"os.dup and os.close">>, []},
        {"load", 300, <<"import of a module">>, [limited]},
        {"open", 3_000, <<"open and close of a file">>, [limited]},
        {"connect", 20_000, <<"socket.connect of UDP">>, [limited]}
    ].

-spec rows(bench:settings()) -> [bench_report:row()].
rows(#{dir := Dir, build := Build} = Settings) ->
    #{rounds := Rounds} = bench:plan(Settings, #{rounds => 31}, #{rounds => 5}),
    Folder = filename:join(Build, "audited"),
    ok = filelib:ensure_path(Folder),
    Mode = #{mode => owngil},
    Default = context(Dir, Folder, Mode),
    Limited = context(Dir, Folder, Mode#{
        sandbox => #{
            read => [Folder, Dir, "/nowhere", "/nowhere/else"],
            write => [Folder],
            network => [{"192.0.2.1", any}, {"192.0.2.2", 80}, {"127.0.0.1", 9}]
        }
    }),
    Ports = [{Hook, process(Dir, Folder, Hook)} || Hook <- ["none", "empty"]],
    Rows = [row(Operation, Rounds, Default, Limited, Ports) || Operation <- operations()],
    _ = [ok = bench_process:stop(Port) || {_, Port} <- Ports],
    _ = [ok = py_context:stop(Context) || Context <- [Default, Limited]],
    lists:append(Rows).

context(Dir, Folder, Options) ->
    {ok, Context} = py_context:new(Options),
    {ok, _} = py:eval(Context, <<"__import__('sys').path.append(folder)">>, #{folder => list_to_binary(Dir)}),
    {ok, _} = py:call(Context, audited, prepare, [list_to_binary(Folder)]),
    Context.

process(Dir, Folder, Hook) ->
    bench_process:start(Dir, "audited.py", [Folder, Hook]).

row({Operation, Count, What, More}, Rounds, Default, Limited, Ports) ->
    Takers =
        [{none, {port, proplists:get_value("none", Ports)}}, {empty, {port, proplists:get_value("empty", Ports)}}] ++
            [{default, {context, Default}}] ++ [{limited, {context, Limited}} || lists:member(limited, More)],
    Measured = [round_of(Takers, Operation, Count) || _ <- lists:seq(0, Rounds)],
    %% The first round fills caches.
    Turns = tl(Measured),
    [
        bench_report:compared_row(
            <<What/binary, Under/binary>>,
            {each, Count},
            column(Name, Turns),
            {Title, bench_rounds:median(column(Floor, Turns))},
            [maps:get(Name, Turn) / maps:get(Floor, Turn) || Turn <- Turns],
            none
        )
     || {Name, Under, Floor, Title} <- compared(More)
    ].

compared(More) ->
    [
        {empty, <<", process with an empty hook">>, none, <<"no hook">>},
        {default, <<", context">>, empty, <<"empty hook">>}
    ] ++ [{limited, <<", context with a policy">>, default, <<"context">>} || lists:member(limited, More)].

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
    {ok, Time} = py:call(Context, audited, measure, [list_to_binary(Operation), Count]),
    Time.
