-module(bench_process).

%% A Python process of its own that answers lines: process.py, or another program.

-export([start/1, start/3, stop/1, ask/3, send/3, answer/1]).

%% Starts one with the Python that the library embeds.
-spec start(file:filename()) -> port().
start(Dir) ->
    start(Dir, "process.py", []).

-spec start(file:filename(), string(), [string()]) -> port().
start(Dir, Program, Arguments) ->
    {ok, Python} = py:eval(<<"__import__('sys').executable">>),
    Options = [{args, ["-I", "-B", filename:join(Dir, Program) | Arguments]}, {line, 65536}, exit_status],
    open_port({spawn_executable, Python}, Options).

-spec stop(port()) -> ok.
stop(Port) ->
    true = port_close(Port),
    ok.

-spec ask(port(), string(), pos_integer()) -> [integer()].
ask(Port, Command, Number) ->
    ok = send(Port, Command, Number),
    answer(Port).

-spec send(port(), string(), pos_integer()) -> ok.
send(Port, Command, Number) ->
    true = port_command(Port, [Command, $\s, integer_to_list(Number), $\n]),
    ok.

-spec answer(port()) -> [integer()].
answer(Port) ->
    receive
        {Port, {data, {eol, Line}}} -> [list_to_integer(Word) || Word <- string:lexemes(Line, " ")];
        {Port, {exit_status, Status}} -> error({python_ended, Status})
    end.
