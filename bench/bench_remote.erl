-module(bench_remote).

%% A context on another node of the same machine, beside what the distribution itself takes.

-export([rows/1, echo/0]).

-define(WAITING, 100_000).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Stop = distributed(),
    {ok, Peer, Node} = peer:start(#{
        name => peer:random_name(),
        host => "127.0.0.1",
        longnames => true,
        connection => standard_io,
        args => ["-setcookie", atom_to_list(erlang:get_cookie()) | paths()]
    }),
    try
        {ok, _} = erpc:call(Node, application, ensure_all_started, [erlang_python]),
        {ok, Context} = erpc:call(Node, py_context, new, []),
        Server = erpc:call(Node, erlang, spawn, [?MODULE, echo, []]),
        Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 50}),
        report(bench_rounds:run(variants(Context, Server), Plan))
    after
        peer:stop(Peer),
        Stop()
    end.

report(Results) ->
    Floor = {floor, <<"gen_server:call">>},
    [
        bench_report:row(<<"gen_server:call to another node">>, floor, none, none, Results),
        bench_report:row(<<"py:call(Context, math, sqrt, [I]) there">>, call, Floor, {at_most, 1.5}, Results),
        bench_report:row(
            <<"py:call there, 100 000 messages waiting">>, full, {call, <<"py:call there">>}, {at_most, 1.2}, Results
        ),
        bench_report:row(<<"py:spawn_call + py:await there">>, spawn, Floor, {at_most, 1.5}, Results),
        bench_report:row(<<"py:call here">>, here, none, none, Results)
    ].

variants(Context, Server) ->
    [
        bench_rounds:one(floor, fun(_) -> fun(I) -> I = gen_server:call(Server, I) end end),
        bench_rounds:one(call, fun(_) -> fun(I) -> {ok, _} = py:call(Context, math, sqrt, [I]) end end),
        bench_rounds:one(full, fun(_) ->
            lists:foreach(fun(N) -> self() ! {waiting, N} end, lists:seq(1, ?WAITING)),
            fun(I) -> {ok, _} = py:call(Context, math, sqrt, [I]) end
        end),
        bench_rounds:one(spawn, fun(_) ->
            fun(I) -> {ok, _} = py:await(py:spawn_call(Context, math, sqrt, [I])) end
        end),
        bench_rounds:one(here, fun(_) -> fun(I) -> {ok, _} = py:call(math, sqrt, [I]) end end)
    ].

%% Answers as a gen_server would, with nothing around it.
-spec echo() -> no_return().
echo() ->
    receive
        {'$gen_call', From, Request} -> gen_server:reply(From, Request)
    end,
    echo().

paths() ->
    lists:append([["-pa", filename:absname(Path)] || Path <- code:get_path(), not lists:prefix(code:root_dir(), Path)]).

%% Makes this node a named one, and gives what undoes it.
distributed() ->
    case erlang:is_alive() of
        true ->
            fun() -> ok end;
        false ->
            %% The emulator starts it for nodes that have their names from the command line.
            _ = os:cmd(filename:join(os:getenv("BINDIR"), "epmd") ++ " -daemon"),
            {ok, _} = net_kernel:start([list_to_atom("bench_" ++ os:getpid() ++ "@127.0.0.1"), longnames]),
            true = erlang:set_cookie(node(), list_to_atom("bench_" ++ os:getpid())),
            fun net_kernel:stop/0
    end.
