-module(py_venv_installer).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The program that makes an environment, and the process that waits for it.

-export([run/4, start/5]).
-export_type([reason/0]).

-type reason() ::
    {python, {not_found | not_executable, binary()} | {wrong_version, binary()}}
    | {install, Output :: binary()}
    | {no_installer, pip}
    | {not_an_environment, binary()}
    | {file, Text :: binary()}
    | timeout.

%% Of what an installer says, the end tells what went wrong.
-define(MAX_LINES, 200).

%% Runs it to its end, or until time is up or the calling process ends. The messages of the port go to a process of
%% its own.
-spec run(Python :: binary(), [binary()], timeout(), fun((binary()) -> term())) -> ok | {error, reason()}.
run(Python, Arguments, Timeout, Report) ->
    Caller = self(),
    {Pid, Monitor} = spawn_monitor(?MODULE, start, [Caller, Python, Arguments, Timeout, Report]),
    receive
        {'DOWN', Monitor, process, Pid, {ended, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> exit(Reason)
    end.

-spec start(pid(), binary(), [binary()], timeout(), fun((binary()) -> term())) -> no_return().
start(Caller, Python, Arguments, Timeout, Report) ->
    exit({ended, made(Caller, Python, Arguments, Timeout, Report)}).

made(Caller, Python, Arguments, Timeout, Report) ->
    process_flag(trap_exit, true),
    Monitor = monitor(process, Caller),
    Timer = [erlang:start_timer(Timeout, self(), timeout) || Timeout =/= infinity],
    Program = filename:join([py_config:priv_dir(), "python", "erlang", "_make_venv.py"]),
    Options = [
        {args, ["-I", "-B", "-u", "-X", "utf8", Program | Arguments]},
        {line, 4096},
        exit_status,
        stderr_to_stdout,
        use_stdio,
        binary,
        hide
    ],
    try open_port({spawn_executable, Python}, Options) of
        Port -> wait(#{port => Port, monitor => Monitor, timer => Timer, report => Report, ended => none}, [])
    catch
        error:enoent -> {error, {python, {not_found, Python}}};
        error:_ -> {error, {python, {not_executable, Python}}}
    end.

wait(#{port := Port, monitor := Monitor, timer := Timer, report := Report, ended := Ended} = State, Lines) ->
    receive
        {Port, {data, {_Eol, Line}}} ->
            _ = Report(Line),
            wait(State, lists:sublist([Line | Lines], ?MAX_LINES));
        {Port, {exit_status, _}} when Ended =/= none ->
            Ended;
        {Port, {exit_status, Status}} ->
            outcome(Status, Lines);
        %% It was told to end when it had ended already, by force.
        {'EXIT', Port, _} ->
            case Ended of none -> outcome(killed, Lines); _ -> Ended end;
        {'DOWN', Monitor, process, _, _} ->
            wait(told(State, {error, timeout}), Lines);
        {timeout, Running, timeout} when [Running] =:= Timer ->
            wait(told(State, {error, timeout}), Lines)
    end.

%% The program tidies up before it ends.
told(#{port := Port} = State, Result) ->
    _ = try port_command(Port, <<"end">>) catch error:badarg -> true end,
    State#{ended := Result}.

outcome(0, _Lines) -> ok;
outcome(10, [Version | _]) -> {error, {python, {wrong_version, Version}}};
outcome(12, _Lines) -> {error, {no_installer, pip}};
outcome(13, [Path | _]) -> {error, {not_an_environment, Path}};
outcome(14, [Text | _]) -> {error, {file, Text}};
outcome(_Status, Lines) -> {error, {install, iolist_to_binary(lists:join($\n, lists:reverse(Lines)))}}.
