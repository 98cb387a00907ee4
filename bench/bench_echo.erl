-module(bench_echo).

%% Echo servers on the loop of a context, on the standard library's in another context, and on uvloop in a Python
%% process of its own, where that is installed. One server at a time works; a client in a process of its own asks what
%% processor time that took, of the whole process that the server is in.

-export([rows/1]).

%% The ports, and what has ended when the server has.
-type server() :: {[inet:port_number()], pid() | port()}.

-define(TIMEOUT, 60_000).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(#{dir := Dir} = Settings) ->
    {ok, Python} = py:eval(<<"__import__('sys').executable">>),
    Client = bench_loop_side:python(Python, ["-I", filename:join(Dir, "loop_client.py")]),
    Servers = servers(Settings),
    Plan = bench:plan(Settings, #{rounds => 9, turn => 250}, #{rounds => 5, turn => 80}),
    Rows = lists:append([case_rows(Case, Client, Servers, Plan) || Case <- cases(Settings)]),
    lists:foreach(fun(Server) -> stop(Client, Server) end, maps:values(Servers)),
    true = port_close(Client),
    Rows.

%% Kind, bytes, connections.
cases(Settings) ->
    Quick = [{Kind, 1024, Count} || Kind <- kinds(), Count <- [1, 10]],
    Full = [
        {Kind, Size, Count}
     || Kind <- kinds(), Size <- [1024, 10_240, 102_400], Count <- [1, 10, 100]
    ],
    #{cases := Cases} = bench:plan(Settings, #{cases => Full}, #{cases => Quick}),
    Cases.

kinds() ->
    [protocol, buffered, streams, sock, tls].

servers(Settings) ->
    Certificate = certificate(Settings),
    Contexts = maps:from_list([{Kind, in_context(Kind, Certificate, Settings)} || Kind <- [erlang, stock]]),
    case bench_loop_side:has_uvloop(Settings) of
        true -> Contexts#{uvloop => outside(Certificate, Settings)};
        false -> Contexts
    end.

%% ------------------------------------------------------------------------------------------------
%% Servers

-spec in_context(erlang | stock, file:filename(), bench:settings()) -> server().
in_context(Kind, Certificate, Settings) ->
    Owner = self(),
    {Server, Monitor} = spawn_monitor(fun() ->
        Context = bench_loop_side:context(Settings),
        Args = [Kind, unicode:characters_to_binary(Certificate), Owner],
        {ok, none} = py:call(Context, loop_context, serve, Args, #{timeout => infinity}),
        ok = py_context:stop(Context)
    end),
    receive
        [_ | _] = Ports ->
            true = demonitor(Monitor, [flush]),
            {Ports, Server};
        {'DOWN', Monitor, process, Server, Reason} ->
            error({server_ended, Reason})
    end.

-spec outside(file:filename(), bench:settings()) -> server().
outside(Certificate, Settings) ->
    Port = bench_loop_side:uvloop(Settings, ["serve", Certificate]),
    {bench_loop_side:answer(Port), Port}.

stop(Client, {[Control | _], Server}) ->
    [] = bench_loop_side:ask(Client, ["end ", integer_to_list(Control)]),
    ended(Server).

ended(Server) when is_pid(Server) ->
    Monitor = monitor(process, Server),
    receive
        {'DOWN', Monitor, process, Server, _} -> ok
    after ?TIMEOUT -> error({server_goes_on, Server})
    end;
ended(Server) ->
    receive
        {Server, {exit_status, 0}} -> ok
    after ?TIMEOUT -> error({server_goes_on, Server})
    end.

%% A certificate that nobody checks, and its key, in one file.
certificate(#{build := Build}) ->
    Signed = [{digest, sha256}, {key, {namedCurve, secp256r1}}],
    Chain = #{root => Signed, intermediates => [], peer => Signed},
    #{server_config := Config} = public_key:pkix_test_data(#{server_chain => Chain, client_chain => Chain}),
    {KeyType, Key} = proplists:get_value(key, Config),
    Entries = [{KeyType, Key}, {'Certificate', proplists:get_value(cert, Config)}],
    File = filename:join(Build, "echo.pem"),
    ok = file:write_file(File, public_key:pem_encode([{Type, Der, not_encrypted} || {Type, Der} <- Entries])),
    File.

%% ------------------------------------------------------------------------------------------------
%% Measuring

case_rows(Case, Client, Servers, #{rounds := Rounds, turn := Turn}) ->
    Turns = [
        maps:from_list([
            {Name, measured(Case, Client, Server, Turn)}
         || {Name, Server} <- shuffle(maps:to_list(Servers))
        ])
     || _ <- lists:seq(1, Rounds)
    ],
    [
        row(Case, stock, <<"stock loop">>, Turns)
        | [row(Case, uvloop, <<"uvloop outside">>, Turns) || is_map_key(uvloop, Servers)]
    ] ++ round_trips(Case, Turns).

%% Processor time of a message, and the time of each of some round trips.
measured({Kind, Size, Connections}, Client, {[Control | Ports], _}, Turn) ->
    Port = maps:get(Kind, maps:from_list(lists:zip(kinds(), Ports))),
    Tls = if Kind =:= tls -> 1; true -> 0 end,
    Words = [integer_to_list(Number) || Number <- [Port, Control, Connections, Size, Turn, Tls]],
    [Count, _Took, Process, _Thread | Trips] = bench_loop_side:ask(Client, lists:join($\s, Words)),
    {Process / Count, Trips}.

row(Case, Floor, Title, Turns) ->
    {Times, Floors} = lists:unzip([{time(erlang, Turn), time(Floor, Turn)} || Turn <- Turns]),
    bench_report:compared_row(
        what(Case),
        ns,
        Times,
        {Title, bench_rounds:median(Floors)},
        lists:zipwith(fun(Time, Of) -> Time / Of end, Times, Floors),
        mark(Case, Floor)
    ).

time(Name, Turn) ->
    {Time, _} = maps:get(Name, Turn),
    Time.

%% A quarter more messages than the standard library's loop is four fifths of the time for each.
mark({Kind, 1024, _}, stock) when Kind =/= tls -> {at_most, 0.8};
mark(_, stock) -> {at_most, 1.0};
mark({Kind, 1024, _}, uvloop) when Kind =/= tls -> {at_most, 1.0};
mark(_, uvloop) -> none.

what({Kind, Size, Connections}) ->
    iolist_to_binary(io_lib:format("~s, ~b KiB, ~b conn.", [Kind, Size div 1024, Connections])).

%% On one connection out of one, so that nobody else is in the way.
round_trips({Kind, Size, 1}, Turns) ->
    Trips = fun(Name) -> [element(2, maps:get(Name, Turn)) || Turn <- Turns] end,
    {Times, Floors} = {lists:map(fun bench_rounds:median/1, Trips(erlang)), lists:map(fun bench_rounds:median/1, Trips(stock))},
    [
        bench_report:compared_row(
            iolist_to_binary([atom_to_list(Kind), ", ", integer_to_list(Size div 1024), " KiB, round trip"]),
            ns,
            Times,
            bench_rounds:percentile(99, lists:append(Trips(erlang))),
            {<<"stock loop">>, bench_rounds:median(Floors)},
            lists:zipwith(fun(Time, Of) -> Time / Of end, Times, Floors),
            {at_most, 1.0}
        )
    ];
round_trips(_, _) ->
    [].

shuffle(List) ->
    [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])].
