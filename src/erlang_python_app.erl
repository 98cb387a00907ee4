-module(erlang_python_app).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(application).

-export([start/2, stop/1]).

%% Starting CPython reads its standard library from disk; on a cold, busy disk that takes a while.
-define(START_TIMEOUT, 60_000).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case steps([fun py_config:check/0, fun py_venv:start/0, fun start_python/0]) of
        ok -> start_processes();
        {error, _} = Error -> Error
    end.

steps([Step | Steps]) ->
    case Step() of
        ok -> steps(Steps);
        {error, _} = Error -> Error
    end;
steps([]) ->
    ok.

%% Python runs from here on.
start_processes() ->
    Steps = [
        fun py_config:check_mode/0, fun py_birth:check/0, fun py_semaphore:configure/0, fun py_state:open/0, fun bound_atoms/0
    ],
    case steps(Steps) of
        ok ->
            case erlang_python_sup:start_link() of
                {ok, Pid} -> settled(Pid, py_birth:settle_main());
                {error, _} = Error -> stopped(Error)
            end;
        {error, _} = Refused ->
            stopped(Refused)
    end.

settled(Pid, ok) ->
    ok = make_spares(),
    {ok, Pid};
settled(Pid, {error, _} = Error) ->
    true = unlink(Pid),
    ok = gen_server:stop(Pid, shutdown, infinity),
    stopped(Error).

%% For contexts of the default policy. Where they are not expected to have GILs of their own, only if that is set.
make_spares() ->
    {ok, Policy} = py_sandbox:check(py_config:get(sandbox)),
    case {py_config:get(spare_interpreters), py_config:get(context_mode)} of
        {default, worker} -> ok;
        {Number, _Mode} -> py_nif:spares_open(Number, Policy)
    end.

bound_atoms() ->
    case py_nif:atoms_max(py_config:get(max_atoms)) of
        {error, _} = Error -> Error;
        _Created -> ok
    end.

stopped(Error) ->
    _ = py_nif:runtime_stop(),
    Error.

-spec stop(term()) -> ok.
stop(_State) ->
    ok = py_telemetry_table:forget(),
    _ = py_nif:record_spans(false),
    _ = py_nif:runtime_stop(),
    _ = py_nif:spares_close(),
    %% A stuck context may go on.
    py_nif:state_open(0).

start_python() ->
    Package = filename:join([py_config:priv_dir(), "python"]),
    Home = py_config:get(python_home),
    Executable = py_config:get(python_executable),
    case py_nif:runtime_start(unicode:characters_to_binary(Package), Home, Executable) of
        true ->
            receive
                {py_runtime, ok} -> known_to_schedulers();
                {py_runtime, {error, Text}} -> {error, {python, Text}}
            after ?START_TIMEOUT -> {error, {python, start_timeout}}
            end;
        false ->
            {error, {python, already_running}};
        {error, _} ->
            {error, {python, py_nif:load_error()}}
    end.

%% The library sees to the end of the OS process on each scheduler that has called it, so that none of them runs the
%% exit handlers of other libraries under their threads. That processes can be bound to schedulers is undocumented;
%% without it, fewer schedulers are known, and from OTP 26 on only halts that do not flush make use of this.
-dialyzer({nowarn_function, known_to_schedulers/0}).
known_to_schedulers() ->
    try
        _ = [
            spawn_opt(fun py_nif:python/0, [{scheduler, Scheduler}])
         || Scheduler <- lists:seq(1, erlang:system_info(schedulers_online))
        ],
        ok
    catch
        error:badarg -> ok
    end.
