-module(bench_wire).

%% The client of the servers that are compared, and the native one among these, see wire/src/main.rs.

-export([client/1, measure/4, cpu_time/2, serve/1, stop/1]).
-export_type([load/0, figures/0]).

%% Connections that stay, or one for each message; how many at once; the bytes of a message.
-type load() :: {echo | connect, Connections :: pos_integer(), Size :: pos_integer()}.
%% Nanoseconds: that the servers were busy and that passed for each message, and the time of each of some round trips.
-type figures() :: #{cpu := float(), wall := float(), trips := [integer()]}.

-spec client(bench:settings()) -> port().
client(Settings) ->
    start(Settings, "client").

-spec start(bench:settings(), string()) -> port().
start(#{build := Build}, Command) ->
    Program = filename:join(Build, "bench_wire"),
    open_port({spawn_executable, Program}, [{args, [Command]}, {line, 1 bsl 20}, exit_status]).

%% The native server, and its port.
-spec serve(bench:settings()) -> {port(), inet:port_number()}.
serve(Settings) ->
    Server = start(Settings, "serve"),
    [Port] = bench_loop_side:answer(Server),
    {Server, Port}.

-spec stop(port()) -> ok.
stop(Program) ->
    true = port_close(Program),
    ok.

%% So many milliseconds of load on a server that these processes of the operating system are.
-spec measure(port(), load(), bench_servers:server(), pos_integer()) -> figures().
measure(Client, {Kind, Connections, Size}, #{port := Port, pids := Pids}, Milliseconds) ->
    Words = [integer_to_list(Number) || Number <- [Port, Connections, Size, Milliseconds | Pids]],
    Line = lists:join($\s, [atom_to_list(Kind) | Words]),
    [Count, Took, Used | Trips] = bench_loop_side:ask(Client, Line),
    #{cpu => Used / Count, wall => Took / Count, trips => Trips}.

-spec cpu_time(port(), [pos_integer()]) -> integer().
cpu_time(Client, Pids) ->
    [Used] = bench_loop_side:ask(Client, lists:join($\s, ["cpu" | [integer_to_list(Pid) || Pid <- Pids]])),
    Used.
