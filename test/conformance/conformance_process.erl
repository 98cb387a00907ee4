%% CPython's own tests in a process of Python's own, without Erlang: what there is to compare with.
-module(conformance_process).

-export([run/3]).

-spec run(map(), binary(), all | [{binary(), [binary()]}]) ->
    {ok, [{binary(), binary(), conformance:result()}]} | {error, term()}.
run(#{folder := Folder, package := Package, limit := Limit}, Module, Wanted) ->
    Scratch = string:trim(os:cmd("mktemp -d")),
    Results = filename:join(Scratch, "results"),
    Script = filename:join(Folder, "conformance_tests.py"),
    Names = [<<Class/binary, $., Test/binary>> || Wanted =/= all, {Class, Tests} <- Wanted, Test <- Tests],
    Port = open_port({spawn_executable, python()}, [
        {args, ["-B", Script, Results, integer_to_list(Limit div 1000), Package, Module | Names]},
        {cd, Scratch},
        {env, [{"PYTHONPATH", Folder}]},
        exit_status,
        stderr_to_stdout,
        binary
    ]),
    Output = output(Port, []),
    Told =
        case file:read_file(Results) of
            {ok, Text} -> [binary:split(Line, <<"\t">>, [global]) || Line <- binary:split(Text, <<"\n">>, [global])];
            {error, _} -> []
        end,
    ok = file:del_dir_r(Scratch),
    case Told of
        [] ->
            {error, iolist_to_binary(Output)};
        [[<<"missing">>, Reason] | _] ->
            io:format("~ts without Erlang: left out: ~ts~n", [Module, Reason]),
            {ok, []};
        _ ->
            {ok, [{Class, Test, result(Class, Test, Told, Output)} || [<<"begun">>, Class, Test] <- Told]}
    end.

python() ->
    case os:getenv("PYTHON") of
        false -> os:find_executable("python3");
        Python -> Python
    end.

output(Port, Output) ->
    receive
        {Port, {data, Data}} -> output(Port, [Output, Data]);
        {Port, {exit_status, _}} -> Output
    end.

result(Class, Test, Told, Output) ->
    case [Rest || [<<"ended">>, C, T | Rest] <- Told, C =:= Class, T =:= Test] of
        [[Outcome, Seconds, Texts]] ->
            {outcome(Outcome), binary_to_float(Seconds), binary:replace(Texts, <<"\\n">>, <<"\n">>, [global])};
        [] ->
            %% Its end was that of the process.
            {hangs, 0.0, iolist_to_binary(Output)}
    end.

outcome(<<"passed">>) -> passed;
outcome(<<"failed">>) -> failed;
outcome(<<"skipped">>) -> skipped.
