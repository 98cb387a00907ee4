-module(compare_subject).

%% The other side of a row: a node with its adapter, or a Python process that uses an executor.

-export([start/2, start_workers/3, turn/3, stop/1, os_pid/1]).
-export_type([subject/0, row/0, places/0]).

-type row() ::
    #{
        name := atom(),
        kind := erlang,
        adapter := module(),
        variant := term(),
        %% What else is on the code path of its node.
        paths := [file:filename()]
    }
    | #{
        name := atom(),
        kind := python,
        executor := string(),
        title := binary(),
        %% The usual one, or that of embedded.c.
        program => embedded
    }.
-type places() :: #{
    build := file:filename(),
    embedded := file:filename(),
    folder := file:filename(),
    python := file:filename(),
    workers := pos_integer(),
    plan := compare_jobs:plan()
}.
-opaque subject() :: {peer, pid(), string()} | {python, port(), pos_integer()}.

%% Nothing that is measured takes as long; the machine may be busy.
-define(TIMEOUT, 120_000).

%% Ready for turns.
-spec start(row(), places()) ->
    {{ok, subject()} | {skip, binary()} | {failed, term()}, #{title := binary(), skips := map(), batch := boolean()}}.
start(#{kind := erlang, name := Name, adapter := Adapter} = Row, Places) ->
    Peer = start_node(Row, Places),
    case ask(Peer, compare_side, open, [Adapter, settings(Row, Places), maps:get(plan, Places)]) of
        {ok, About} ->
            {{ok, Peer}, About};
        {failed, _} = Failed ->
            ok = stop(Peer),
            {Failed, #{title => atom_to_binary(Name), skips => #{}, batch => false}};
        {Refused, About} ->
            ok = stop(Peer),
            {Refused, About}
    end;
start(#{kind := python, title := Title, executor := Executor} = Row, Places) ->
    About = #{title => Title, skips => skips(Executor), batch => Executor =:= "processes_map"},
    case start_python(Row, Places) of
        {ok, Subject} ->
            lists:foreach(
                fun(Job) -> {done, _} = ask_python(Subject, {job, asked(Job)}) end,
                compare_jobs:all(maps:get(plan, Places))
            ),
            {{ok, Subject}, About};
        Refused ->
            {Refused, About}
    end.

%% Once, not at each turn: some have large arguments.
asked(#{name := {Kind, Busy}} = Job) ->
    (maps:with([module, function, args, way, lists, callers, repeat], Job))#{name => [Kind, Busy]}.

skips("direct") ->
    None = <<"calls by itself, without workers">>,
    #{callers => None, start => None};
skips("processes_map") ->
    #{start => <<"as with submit">>};
skips(_) ->
    #{}.

%% Starts it with so many workers alone: how long they take until they answer, and the memory that they have written
%% to then.
-spec start_workers(row(), places(), pos_integer()) ->
    {done, Time :: integer(), Memory :: non_neg_integer() | unknown} | {skip, binary()} | {failed, term()}.
start_workers(#{kind := erlang, adapter := Adapter} = Row, Places, Workers) ->
    Peer = start_node(Row, Places),
    %% Code is not loaded at the first call only.
    Ready = ask(Peer, code, ensure_loaded, [Adapter]),
    Before = compare_usage:memory(os_pid(Peer)),
    Result =
        case Ready of
            {module, Adapter} -> ask(Peer, compare_side, start, [Adapter, settings(Row, Places), Workers, ?TIMEOUT div 2]);
            {failed, _} -> Ready;
            Other -> {failed, Other}
        end,
    with_memory(Peer, Before, Result);
start_workers(#{kind := python} = Row, Places, Workers) ->
    case start_python(Row, Places) of
        {ok, Subject} ->
            Before = compare_usage:memory(os_pid(Subject)),
            with_memory(Subject, Before, ask_python(Subject, {start, Workers}));
        Refused ->
            Refused
    end.

with_memory(Subject, Before, {done, Time}) ->
    After = compare_usage:memory(os_pid(Subject)),
    ok = stop(Subject),
    {done, Time, case is_integer(Before) andalso is_integer(After) of true -> After - Before; false -> unknown end};
with_memory(Subject, _Before, Refused) ->
    ok = stop(Subject),
    Refused.

-spec turn(subject(), compare_jobs:job(), pos_integer()) -> compare_side:result().
turn({peer, _, _} = Peer, Job, Time) ->
    ask(Peer, compare_side, turn, [maps:get(name, Job), Time, ?TIMEOUT div 2]);
turn({python, _, _} = Subject, #{name := {Kind, Busy}}, Time) ->
    case ask_python(Subject, {turn, [Kind, Busy], Time}) of
        {done, [Count, Median, Singles, Answer]} ->
            {done, #{count => Count, median => Median, singles => Singles, answers => [known(Answer)]}};
        Failed ->
            Failed
    end.

%% Texts of Python are binaries.
known(<<"same">>) -> same;
known(<<"different">>) -> different;
known(Other) -> Other.

-spec os_pid(subject()) -> pos_integer().
os_pid({peer, _, Pid}) -> list_to_integer(Pid);
os_pid({python, _, Pid}) -> Pid.

-spec stop(subject()) -> ok.
stop({peer, Peer, _}) ->
    try peer:stop(Peer) of
        _ -> ok
    catch
        %% It ended before.
        exit:_ -> ok
    end;
stop({python, Port, _}) ->
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% ------------------------------------------------------------------------------------------------

settings(#{variant := Variant}, Places) ->
    (maps:with([workers, folder, python], Places))#{variant => Variant}.

%% Not linked: the end of a node is an answer.
start_node(#{paths := Paths}, #{build := Build}) ->
    Started = peer:start(#{
        connection => standard_io,
        wait_boot => ?TIMEOUT,
        args => ["-kernel", "logger_level", "error" | lists:append([["-pa", Path] || Path <- [Build | Paths]])]
    }),
    Peer =
        case Started of
            {ok, Pid} -> Pid;
            {ok, Pid, nonode@nohost} -> Pid
        end,
    {peer, Peer, peer:call(Peer, os, getpid, [], ?TIMEOUT)}.

ask({peer, Peer, _}, Module, Function, Args) ->
    try
        peer:call(Peer, Module, Function, Args, ?TIMEOUT)
    catch
        Class:Reason -> {failed, {Class, Reason}}
    end.

start_python(#{program := embedded} = Row, #{embedded := Embedded} = Places) ->
    case filelib:is_regular(Embedded) of
        true -> start_python(maps:remove(program, Row), Places#{python := Embedded});
        false -> {skip, <<"no program could be linked with libpython">>}
    end;
start_python(#{executor := Executor}, #{folder := Folder, python := Python, workers := Workers}) ->
    Program = filename:join(Folder, "executors.py"),
    Port = open_port({spawn_executable, Python}, [
        {args, [Program, Executor, integer_to_list(Workers)]},
        {env, [{"PYTHONPATH", Folder}]},
        {packet, 4},
        binary,
        exit_status
    ]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    Subject = {python, Port, Pid},
    case python_answer(Subject) of
        {done, _Version} ->
            {ok, Subject};
        Refused ->
            ok = stop(Subject),
            Refused
    end.

ask_python({python, Port, _} = Subject, Request) ->
    try port_command(Port, term_to_binary(Request)) of
        true -> python_answer(Subject)
    catch
        error:badarg -> {failed, python_ended}
    end.

python_answer({python, Port, _}) ->
    receive
        {Port, {data, Data}} ->
            case binary_to_term(Data) of
                {ok, Value} -> {done, Value};
                {skip, Reason} -> {skip, Reason};
                {error, Text} -> {failed, Text}
            end;
        {Port, {exit_status, Status}} ->
            {failed, {python_ended, Status}}
    after ?TIMEOUT ->
        {failed, timeout}
    end.
