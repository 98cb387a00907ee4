-module(bench_web).

%% An ASGI application on our web server and on uvicorn, in as many processes as ours has contexts, asked by `wrk':
%% processor time for each request, of all processes of the server. One server at a time works.

-export([rows/1]).

-type kind() :: {ours | uvicorn_uvloop | uvicorn_asyncio | uvicorn_httptools, pos_integer()}.

-define(READY, 30_000).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    case os:find_executable("wrk") of
        false ->
            io:format("  wrk is not installed (Debian: apt-get install wrk): web servers are not measured~n"),
            [];
        Wrk ->
            rows(Wrk, Settings)
    end.

rows(Wrk, Settings) ->
    Client = bench_wire:client(Settings),
    Plan = bench:plan(
        Settings,
        #{rounds => 7, contexts => [1, 2], connections => [1, 10, 100]},
        #{rounds => 3, contexts => [1, 2], connections => [10]}
    ),
    #{contexts := Counts, connections := Connections, rounds := Rounds} = Plan,
    Servers = [{Kind, start(Kind, Settings)} || Count <- Counts, Kind <- kinds(Count, Settings)],
    Measure = fun(Load, Server) -> measure(Wrk, Client, Load, Server) end,
    Loads = [{Path, Number} || Path <- ["/", "/json"], Number <- Connections],
    Rows = [load_rows(Load, Counts, Servers, Measure, Rounds) || Load <- Loads],
    lists:foreach(fun({_, #{stop := Stop}}) -> ok = Stop() end, Servers),
    ok = bench_wire:stop(Client),
    lists:append(Rows).

kinds(Count, Settings) ->
    Theirs = [{Kind, Count} || Kind <- [uvicorn_uvloop, uvicorn_asyncio, uvicorn_httptools]],
    [{ours, Count} | [Kind || Kind <- Theirs, bench_loop_side:has_uvloop(Settings)]].

%% ------------------------------------------------------------------------------------------------
%% Servers

-spec start(kind(), bench:settings()) -> bench_servers:server().
start({ours, Count}, #{dir := Dir}) ->
    Name = list_to_atom("bench_web_" ++ integer_to_list(Count)),
    {ok, _} = py_web:start(Name, #{
        asgi => <<"web_app:app">>,
        ip => {127, 0, 0, 1},
        port => 0,
        contexts => Count,
        paths => [Dir]
    }),
    #{port => py_web:port(Name), pids => [list_to_integer(os:getpid())], stop => fun() -> py_web:stop(Name) end};
start({Kind, Count}, #{dir := Dir} = Settings) ->
    {Loop, Parser} = uvicorn(Kind),
    Args = [filename:join(Dir, "web_process.py"), Loop, Parser, integer_to_list(Count)],
    Program = bench_loop_side:python(bench_loop_side:interpreter(Settings), Args),
    [Port] = bench_loop_side:answer(Program),
    ok = ready(Port, erlang:monotonic_time(millisecond) + ?READY),
    {os_pid, Pid} = erlang:port_info(Program, os_pid),
    Stop = fun() ->
        true = port_close(Program),
        ok
    end,
    #{port => Port, pids => family(Pid), stop => Stop}.

uvicorn(uvicorn_uvloop) -> {"uvloop", "h11"};
uvicorn(uvicorn_asyncio) -> {"asyncio", "h11"};
uvicorn(uvicorn_httptools) -> {"uvloop", "httptools"}.

%% uvicorn does not say when it listens.
ready(Port, Deadline) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}]) of
        {ok, Socket} ->
            ok = gen_tcp:send(Socket, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
            {ok, <<"HTTP/1.1 200", _/binary>>} = gen_tcp:recv(Socket, 0, ?READY),
            gen_tcp:close(Socket);
        {error, econnrefused} ->
            true = erlang:monotonic_time(millisecond) < Deadline,
            timer:sleep(50),
            ready(Port, Deadline)
    end.

%% A process of the operating system and those that it started.
family(Pid) ->
    Text = integer_to_list(Pid),
    {ok, Children} = file:read_file(["/proc/", Text, "/task/", Text, "/children"]),
    [Pid | [Member || Child <- string:lexemes(Children, " \n"), Member <- family(binary_to_integer(Child))]].

%% ------------------------------------------------------------------------------------------------
%% Measuring

load_rows(Load, Counts, Servers, Measure, Rounds) ->
    _Warm = [Measure(Load, Server) || {_, Server} <- Servers],
    Turns = [
        maps:from_list([{Kind, Measure(Load, Server)} || {Kind, Server} <- shuffle(Servers)])
     || _ <- lists:seq(1, Rounds)
    ],
    Theirs = [uvicorn_uvloop, uvicorn_asyncio, uvicorn_httptools],
    [
        row(Load, {ours, Count}, {Kind, Count}, mark(Kind), Turns)
     || Count <- Counts, Kind <- Theirs, lists:keymember({Kind, Count}, 1, Servers)
    ] ++ [row(Load, {ours, 2}, {ours, 1}, {at_most, 1.11}, Turns) || lists:member(2, Counts)].

measure(Wrk, Client, {Path, Connections}, #{port := Port, pids := Pids}) ->
    Before = bench_wire:cpu_time(Client, Pids),
    Said = os:cmd(lists:flatten(io_lib:format(
        "~ts -t1 -c~b -d1s http://127.0.0.1:~b~ts", [Wrk, Connections, Port, Path]
    ))),
    Used = bench_wire:cpu_time(Client, Pids) - Before,
    {match, [Requests]} = re:run(Said, "(\\d+) requests in", [{capture, all_but_first, list}]),
    nomatch = re:run(Said, "Socket errors|Non-2xx"),
    Used / list_to_integer(Requests).

mark(uvicorn_uvloop) -> {at_most, 1.0};
mark(_) -> none.

row({Path, Connections}, {_, Count} = Kind, {Other, _} = Floor, Mark, Turns) ->
    {Times, Floors} = lists:unzip([{maps:get(Kind, Turn), maps:get(Floor, Turn)} || Turn <- Turns]),
    What = io_lib:format("~s, ~b conn., ~b context~s", [
        name(Path), Connections, Count, if Count > 1 -> "s"; true -> "" end
    ]),
    bench_report:compared_row(
        iolist_to_binary(What),
        ns,
        Times,
        {title(Other), bench_rounds:median(Floors)},
        lists:zipwith(fun(Time, Of) -> Time / Of end, Times, Floors),
        Mark
    ).

name("/") -> "hello";
name("/json") -> "JSON".

title(ours) -> <<"1 context">>;
title(uvicorn_uvloop) -> <<"uvicorn, uvloop, h11">>;
title(uvicorn_asyncio) -> <<"uvicorn, asyncio, h11">>;
title(uvicorn_httptools) -> <<"uvicorn, uvloop, httptools">>.

shuffle(List) ->
    [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])].
