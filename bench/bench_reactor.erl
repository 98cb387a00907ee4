-module(bench_reactor).

%% Echo servers on reactors, in comparison: processor time of the whole server for each message, acceptors and all.
%% One server at a time works.

-export([rows/1]).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Client = bench_wire:client(Settings),
    Kinds = [{reactor, 1}, {reactor, 2} | others(Settings)],
    Servers = [{Kind, bench_servers:start(Kind, Settings)} || Kind <- Kinds],
    Plan = bench:plan(Settings, #{rounds => 9, turn => 200}, #{rounds => 5, turn => 80}),
    Rows = lists:append([load_rows(Load, Client, Servers, Plan) || Load <- loads(Settings)]),
    lists:foreach(fun({_, #{stop := Stop}}) -> ok = Stop() end, Servers),
    ok = bench_wire:stop(Client),
    Rows.

others(Settings) ->
    HasUvloop = bench_loop_side:has_uvloop(Settings),
    [Kind || Kind <- [uvloop, stock, erlang, gen_tcp, native], Kind =/= uvloop orelse HasUvloop].

loads(Settings) ->
    Full = [{Kind, Count, Size} || Kind <- [echo, connect], Size <- [64, 1024, 16_384], Count <- [1, 10, 100]],
    Quick =
        [{echo, Count, Size} || Size <- [64, 16_384], Count <- [1, 100]] ++
            [{connect, Count, 64} || Count <- [1, 10]],
    #{loads := Loads} = bench:plan(Settings, #{loads => Full}, #{loads => Quick}),
    Loads.

load_rows(Load, Client, Servers, #{rounds := Rounds, turn := Turn}) ->
    Turns = [
        maps:from_list([
            {Kind, bench_wire:measure(Client, Load, Server, Turn)}
         || {Kind, Server} <- shuffle(Servers)
        ])
     || _ <- lists:seq(1, Rounds)
    ],
    [
        row(Load, {reactor, 1}, Kind, mark(Load, Kind), cpu, Turns)
     || {Kind, _} <- Servers, Kind =/= {reactor, 1}, Kind =/= {reactor, 2}
    ] ++
        second(Load, Turns) ++
        [
            row(Load, {reactor, 1}, uvloop, {at_most, 1.0}, wall, Turns)
         || element(1, Load) =:= connect, lists:keymember(uvloop, 1, Servers)
        ].

%% Twice a context's messages in the same time need the processor time of each to stay what it is: where client and
%% servers share all the cores there are, this tells, and the time that passes does not.
second({_, 1, _}, _Turns) -> [];
second(Load, Turns) -> [row(Load, {reactor, 2}, {reactor, 1}, {at_most, 1.11}, cpu, Turns)].

mark({echo, _, _}, uvloop) -> {at_most, 0.8};
mark({connect, _, _}, uvloop) -> {at_most, 1.0};
mark(_, _) -> none.

row(Load, Kind, Floor, Mark, Figure, Turns) ->
    {Times, Floors} = lists:unzip([{time(Kind, Figure, Turn), time(Floor, Figure, Turn)} || Turn <- Turns]),
    bench_report:compared_row(
        iolist_to_binary([what(Load), [", 2 contexts" || Kind =:= {reactor, 2}], [", elapsed" || Figure =:= wall]]),
        ns,
        Times,
        {title(Floor), bench_rounds:median(Floors)},
        lists:zipwith(fun(Time, Of) -> Time / Of end, Times, Floors),
        Mark
    ).

time(Kind, Figure, Turn) ->
    maps:get(Figure, maps:get(Kind, Turn)).

what({Kind, Connections, Size}) ->
    io_lib:format("~s, ~s, ~b conn.", [Kind, bytes(Size), Connections]).

bytes(Bytes) when Bytes < 1024 -> io_lib:format("~b B", [Bytes]);
bytes(Bytes) -> io_lib:format("~b KiB", [Bytes div 1024]).

title({reactor, 1}) -> <<"1 context">>;
title(uvloop) -> <<"uvloop outside">>;
title(stock) -> <<"stock loop outside">>;
title(erlang) -> <<"loop of a context">>;
title(gen_tcp) -> <<"gen_tcp">>;
title(native) -> <<"native outside">>.

shuffle(List) ->
    [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])].
