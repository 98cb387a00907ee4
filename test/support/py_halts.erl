%% A node that ends while its contexts are busy: what halt_SUITE, and scripts/halts.sh, start and watch.
-module(py_halts).

-export([end_one/3, many/1, node_main/1]).

%% How long a node may take to end once it was told to.
-define(PROMPTLY, 10_000).

%% Ends a node of its own in this way, with contexts of this mode busy; the exit status, and how long it took. A node
%% that a signal ended has a status above 128.
-spec end_one(owngil | worker, halt | halt_at_once | stop, 0..127) -> {status, integer(), Milliseconds :: integer()}.
end_one(Mode, Way, Status) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path()]),
    Socket = py_suite:open(),
    Told = [atom_to_list(Mode), atom_to_list(Way), integer_to_list(Status), integer_to_list(py_suite:port(Socket))],
    Main = ["-s", "py_halts", "node_main" | Told],
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Port = open_port({spawn_executable, Erl}, [
        {args, ["-noinput", "-kernel", "logger_level", "emergency"] ++ Paths ++ Main},
        exit_status,
        stderr_to_stdout,
        {line, 1000}
    ]),
    try
        await_busy(Port, Socket, [])
    after
        py_suite:close(Socket)
    end.

%% Its last words before the end do not come by its output, which a halt may cut off.
await_busy(Port, Socket, Lines) ->
    receive
        {udp, Socket, _, _, <<"busy">>} -> ended(Port, erlang:monotonic_time(millisecond), Lines);
        {Port, {data, {_, Line}}} -> await_busy(Port, Socket, [Line | Lines]);
        {Port, {exit_status, Status}} -> {failed, Status, lists:reverse(Lines)}
    after 60_000 -> {never_busy, lists:reverse(Lines)}
    end.

ended(Port, Since, Lines) ->
    receive
        {Port, {data, {_, Line}}} ->
            ended(Port, Since, [Line | Lines]);
        {Port, {exit_status, Status}} ->
            %% What interrupted code has to say meanwhile does not matter.
            {status, Status, erlang:monotonic_time(millisecond) - Since}
    after ?PROMPTLY ->
        {os_pid, Pid} = erlang:port_info(Port, os_pid),
        _ = os:cmd("kill -KILL " ++ integer_to_list(Pid)),
        {hangs, lists:reverse(Lines)}
    end.

%% Ends that many nodes, in each way in turn, says how it went, and ends this one: status 1 if it did not go well.
-spec many([string()]) -> no_return().
many([Count]) ->
    Ways = [{Mode, Way} || Mode <- [owngil, worker], Way <- [halt, halt_at_once, stop]],
    Ends = [
        begin
            Kind = {Mode, Way} = lists:nth(1 + I rem length(Ways), Ways),
            Status = I rem 128,
            case end_one(Mode, Way, Status) of
                {status, Status, Milliseconds} ->
                    {Kind, Milliseconds};
                Other ->
                    io:format("~p: ~p instead of ~b~n", [Kind, Other, Status]),
                    {Kind, wrong}
            end
        end
     || I <- lists:seq(1, list_to_integer(Count))
    ],
    _ = [
        io:format("~6s ~12s: ~b as asked for, ~b not; milliseconds: median ~b, most ~b~n", [
            Mode, Way, length(Right), length([wrong || {Kind, wrong} <- Ends, Kind =:= {Mode, Way}]),
            lists:nth(1 + length(Right) div 2, Right ++ [0]), lists:max([0 | Right])
        ])
     || {Mode, Way} <- Ways,
        Right <- [lists:sort([Took || {Kind, Took} <- Ends, Kind =:= {Mode, Way}, is_integer(Took)])]
    ],
    erlang:halt(length([wrong || {_, wrong} <- Ends])).

%% The node itself.
-spec node_main([atom()]) -> no_return().
node_main([Mode, Way, Status, Parent]) ->
    ok = py_suite:start(#{context_mode => Mode}),
    Socket = py_suite:open(),
    Port = py_suite:port(Socket),
    %% All is imported before anything is busy: contexts of mode worker wait for one another's GIL.
    Works = [
        {Work, prepared(Mode, Work)}
     || Work <- [<<"sleep">>, <<"asyncio">>, <<"json">>, <<"ssl">>, <<"threads">>] ++ numpy(Mode)
    ],
    _ = [
        begin
            ok = py:cast(Context, ct_busy, Work, [Port]),
            py_suite:await_signal(Socket, Work)
        end
     || {Work, Context} <- Works
    ],
    ok = gen_udp:send(Socket, {127, 0, 0, 1}, list_to_integer(atom_to_list(Parent)), <<"busy">>),
    finish(Way, list_to_integer(atom_to_list(Status))).

prepared(Mode, Work) ->
    {ok, Context} = py_context:new(#{mode => Mode}),
    ok = py_suite:install(Context),
    ok = py_suite:python_path(Context),
    _ = Work =:= <<"numpy">> andalso add_numpy(Context),
    ok = py:exec(Context, [<<"import ct_busy, ct_signals, ">>, module(Work)]),
    Context.

module(<<"sleep">>) -> <<"time">>;
module(<<"threads">>) -> <<"threading">>;
module(Work) -> Work.

finish(halt, Status) -> erlang:halt(Status);
finish(halt_at_once, Status) -> erlang:halt(Status, [{flush, false}]);
finish(stop, Status) -> init:stop(Status).

numpy(worker) -> [<<"numpy">> || {ok, _} <- [py_suite:venv(code:lib_dir(erlang_python))]];
numpy(owngil) -> [].

add_numpy(Context) ->
    {ok, Packages} = py_suite:venv(code:lib_dir(erlang_python)),
    {ok, _} = py:eval(Context, <<"__import__('sys').path.append(p)">>, #{p => Packages}).
