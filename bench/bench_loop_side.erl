-module(bench_loop_side).

%% What the benchmarks of event loops are run on: contexts, and Python processes of their own.

-export([context/1, has_uvloop/1, interpreter/1, uvloop/2, python/2]).
-export([ask/2, answer/1]).

%% A context that knows the Python modules.
-spec context(bench:settings()) -> pid().
context(#{dir := Dir}) ->
    {ok, Context} = py_context:new(),
    {ok, none} = py:call(Context, sys, 'path.append', [unicode:characters_to_binary(Dir)]),
    Context.

-spec has_uvloop(bench:settings()) -> boolean().
has_uvloop(Settings) ->
    filelib:is_regular(interpreter(Settings)).

-spec interpreter(bench:settings()) -> file:filename().
interpreter(#{build := Build}) ->
    filename:join([Build, "uvloop", "bin", "python"]).

%% loop_process.py on uvloop. It ends with the process that calls this.
-spec uvloop(bench:settings(), [string()]) -> port().
uvloop(#{dir := Dir} = Settings, Args) ->
    python(interpreter(Settings), [filename:join(Dir, "loop_process.py"), "uvloop" | Args]).

-spec python(file:filename(), [string()]) -> port().
python(Python, Args) ->
    open_port({spawn_executable, Python}, [{args, ["-B" | Args]}, {line, 1 bsl 20}, exit_status]).

%% One line, and the line that answers it.
-spec ask(port(), iodata()) -> [integer()].
ask(Port, Line) ->
    true = port_command(Port, [Line, $\n]),
    answer(Port).

-spec answer(port()) -> [integer()].
answer(Port) ->
    receive
        {Port, {data, {eol, Line}}} -> [list_to_integer(Word) || Word <- string:lexemes(Line, " ")];
        {Port, {exit_status, Status}} -> error({python_ended, Status})
    end.
