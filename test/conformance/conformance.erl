%% CPython's own tests in a context: those of asyncio on the standard library's loop as the control, and on ours; or
%% others in a process of Python's own as the control, and under a policy. See scripts/conformance.sh for how to run it.
%%
%% Each module of tests runs in a node of its own with a bound on its memory, each class in a new context, each test
%% with a time limit. A test that hangs or takes its node along has a result like others, and the rest goes on in
%% another node.
-module(conformance).

-export([main/0, defaults/1, run/2]).

-export_type([key/0, result/0, results/0]).

-type key() :: {Module :: binary(), Class :: binary(), Test :: binary()}.
-type outcome() :: passed | failed | skipped | hangs | crashed.
-type result() :: {outcome(), Seconds :: float(), Texts :: binary()}.
-type results() :: #{key() => #{Loop :: binary() => result()}}.
%% Where only some tests of a module are to run: these.
-type wanted() :: all | [{binary(), [binary()]}].
-type job() :: {Loop :: binary(), Module :: binary(), wanted()}.

%% The longest first, so that no one ends long after the others.
-define(MODULES, [
    <<"test_tasks">>,
    <<"test_events">>,
    <<"test_ssl">>,
    <<"test_taskgroups">>,
    <<"test_sslproto">>,
    <<"test_sock_lowlevel">>,
    <<"test_sendfile">>,
    <<"test_base_events">>,
    <<"test_unix_events">>,
    <<"test_waitfor">>,
    <<"test_eager_task_factory">>,
    <<"test_locks">>,
    <<"test_streams">>,
    <<"test_timeouts">>,
    <<"test_queues">>,
    <<"test_server">>,
    <<"test_futures2">>,
    <<"test_staggered">>,
    <<"test_threads">>,
    <<"test_pep492">>,
    <<"test_buffered_proto">>
]).

-spec main() -> no_return().
main() ->
    [Folder | Arguments] = init:get_plain_arguments(),
    {Options, Names} = options(Arguments, defaults(Folder)),
    Begun = erlang:monotonic_time(second),
    case run(Options, Names) of
        {skip, Reason} ->
            io:format("~ts~n", [Reason]),
            halt(77);
        {ok, Ran} ->
            Failed = conformance_report:print(Options, Ran#{seconds => erlang:monotonic_time(second) - Begun}),
            halt(min(1, Failed))
    end.

%% The options, with the folder of this file.
-spec defaults(file:filename()) -> map().
defaults(Folder) ->
    #{
        folder => Folder,
        %% The control, and those that are compared with it.
        loops => [<<"stock">>, <<"erlang">>, <<"context">>],
        package => <<"test.test_asyncio">>,
        mode => owngil,
        limit => 60_000,
        jobs => min(4, erlang:system_info(schedulers_online)),
        %% KiB of address space. The emulator itself reserves more than one GiB.
        memory => 6 * 1024 * 1024,
        log => "conformance.log",
        %% What came out differently on the two loops is tried again so often, alone. If it then comes out the same it
        %% is told of, but no failure: on a busy machine some of CPython's tests fail with any loop.
        retries => 2,
        exceptions => filename:join(Folder, "exceptions.eterm")
    }.

options(["--" ++ Name, Value | Rest], Options) ->
    Key = list_to_existing_atom(Name),
    options(Rest, Options#{Key := option(Key, Value)});
options(Names, Options) ->
    {Options, [unicode:characters_to_binary(Name) || Name <- Names]}.

option(package, Value) -> list_to_binary(Value);
option(loops, Value) -> [list_to_binary(Loop) || Loop <- string:lexemes(Value, ",")];
option(mode, Value) -> list_to_existing_atom(Value);
option(limit, Value) -> list_to_integer(Value) * 1000;
option(Key, Value) when Key =:= jobs; Key =:= retries -> list_to_integer(Value);
option(memory, Value) -> list_to_integer(Value) * 1024;
option(Key, Value) when Key =:= log; Key =:= exceptions -> Value.

%% ------------------------------------------------------------------------------------------------
%% All of it

%% Runs what is named, or everything.
-spec run(map(), [binary()]) -> {ok, conformance_report:ran()} | {skip, string()}.
run(Options, Names) ->
    case start(Options) of
        {skip, _} = Skip ->
            Skip;
        {ok, Node, Python} ->
            stop(Node),
            Jobs = [{Loop, Module, Tests} || {Module, Tests} <- wanted(Names), Loop <- maps:get(loops, Options)],
            {First, Errors} = in_parallel(Options, Jobs),
            {Results, Unsteady} = again(Options#{jobs := 1}, First, maps:get(retries, Options), []),
            {ok, #{
                python => Python,
                complete => Names =:= [],
                results => Results,
                unsteady => Unsteady,
                errors => Errors
            }}
    end.

%% Arguments are `test_events', `test_events.Class' or `test_events.Class.test'.
wanted([]) -> [{Module, all} || Module <- ?MODULES];
wanted(Names) -> [wanted_one(binary:split(Name, <<".">>, [global])) || Name <- Names].

wanted_one([Module]) -> {Module, all};
wanted_one([Module, Class]) -> {Module, [{Class, all}]};
wanted_one([Module, Class, Test]) -> {Module, [{Class, [Test]}]}.

%% Runs once more, alone, what came out differently, and keeps the last result.
again(_Options, Results, 0, Unsteady) ->
    {Results, Unsteady};
again(Options, Results, Left, Unsteady) ->
    case [Key || Key <- lists:sort(maps:keys(Results)), differs(maps:get(Key, Results))] of
        [] ->
            {Results, Unsteady};
        Keys ->
            Jobs = [
                {Loop, Module, [{Class, [Test]}]}
             || {Module, Class, Test} = Key <- Keys, Loop <- maps:keys(maps:get(Key, Results))
            ],
            {Second, _} = in_parallel(Options, Jobs),
            Now = [{Key, maps:get(Key, Results), Tried} || {Key, Tried} <- maps:to_list(Second)],
            Steady = [{Key, First, Tried} || {Key, First, Tried} <- Now, not differs(Tried)],
            Update = maps:from_list([{Key, Tried} || {Key, _, Tried} <- Steady]),
            again(Options, maps:merge(Results, Update), Left - 1, Unsteady ++ [{Key, First} || {Key, First, _} <- Steady])
    end.

%% A node that dies is no matter of a busy machine.
differs(Result) ->
    Outcomes = [Outcome || {Outcome, _, _} <- maps:values(Result)],
    length(lists:usort(Outcomes)) > 1 andalso not lists:member(crashed, Outcomes).

in_parallel(Options, Jobs) ->
    Main = self(),
    Workers = [spawn_monitor(fun() -> worker(Main, Options) end) || _ <- lists:seq(1, maps:get(jobs, Options))],
    collect(Workers, Jobs, #{}, []).

worker(Main, Options) ->
    Main ! {next, self()},
    receive
        {job, Job} ->
            Main ! {done, Job, job(Options, Job)},
            worker(Main, Options);
        stop ->
            ok
    end.

collect([], _Jobs, Results, Errors) ->
    {Results, Errors};
collect(Workers, Jobs, Results, Errors) ->
    receive
        {next, Worker} when Jobs =:= [] ->
            Worker ! stop,
            collect(Workers, Jobs, Results, Errors);
        {next, Worker} ->
            Worker ! {job, hd(Jobs)},
            collect(Workers, tl(Jobs), Results, Errors);
        {done, {Loop, Module, _}, {error, Reason}} ->
            collect(Workers, Jobs, Results, [{Loop, Module, Reason} | Errors]);
        {done, {Loop, Module, _}, {ok, Got}} ->
            collect(Workers, Jobs, lists:foldl(fun(One, All) -> add(Loop, Module, One, All) end, Results, Got), Errors);
        {'DOWN', Monitor, process, Pid, normal} ->
            collect(lists:delete({Pid, Monitor}, Workers), Jobs, Results, Errors);
        {'DOWN', _, process, _, Reason} ->
            exit(Reason)
    end.

add(Loop, Module, {Class, Test, Result}, Results) ->
    Key = {Module, Class, Test},
    Results#{Key => (maps:get(Key, Results, #{}))#{Loop => Result}}.

%% ------------------------------------------------------------------------------------------------
%% A module of tests on a loop, in a node

-spec job(map(), job()) -> {ok, [{binary(), binary(), result()}]} | {error, term()}.
job(Options, {<<"process">>, Module, Wanted}) ->
    conformance_process:run(Options, Module, Wanted);
job(Options, {Loop, Module, Wanted}) ->
    Load = [Loop, maps:get(package, Options), Module],
    {ok, Node, _} = start(Options),
    case call(Node, open, Load) of
        {ok, {ok, Classes}} ->
            {ok, classes(Options, Load, {opened, Node}, selected(Wanted, Classes), [])};
        {ok, {missing, Reason}} ->
            stop(Node),
            io:format("~ts with ~ts: left out: ~ts~n", [Module, Loop, Reason]),
            {ok, []};
        {_, Reason} ->
            stop(Node),
            {error, Reason}
    end.

selected(all, Classes) ->
    Classes;
selected(Wanted, Classes) ->
    [
        {Class, [Test || Test <- Tests, These =:= all orelse lists:member(Test, These)]}
     || {Class, Tests} <- Classes, {Name, These} <- Wanted, Name =:= Class
    ].

%% The node is `{opened, Node}' where its context has run nothing yet.
classes(_Options, _Load, {_, Node}, [], Done) ->
    stop(Node),
    Done;
classes(Options, Load, {opened, Node}, [{Class, Tests} | Rest], Done) ->
    case tests(Options, Node, Class, Tests, Done) of
        {ok, More} ->
            classes(Options, Load, {used, Node}, Rest, More);
        {lost, Left, More} ->
            stop(Node),
            {ok, Another, _} = start(Options),
            classes(Options, Load, {used, Another}, [{Class, Left} || Left =/= []] ++ Rest, More)
    end;
classes(Options, Load, {used, Node}, Classes, Done) ->
    case call(Node, open, Load) of
        {ok, {ok, _}} ->
            classes(Options, Load, {opened, Node}, Classes, Done);
        {_, Reason} ->
            %% The class before left something behind that the node does not survive.
            io:format("~0tp: a new context after ~0tp fails: ~0tp~n", [Load, hd(Done), Reason]),
            stop(Node),
            {ok, Another, _} = start(Options),
            {ok, {ok, _}} = call(Another, open, Load),
            classes(Options, Load, {opened, Another}, Classes, Done)
    end.

%% `{lost, Left, Done}': the node cannot be used any more, and these tests are left.
tests(_Options, _Node, _Class, [], Done) ->
    {ok, Done};
tests(Options, Node, Class, [Test | Rest], Done) ->
    case call(Node, run, [Class, Test, maps:get(limit, Options)]) of
        {ok, {hangs, _, _} = Result} ->
            {lost, Rest, [{Class, Test, Result} | Done]};
        {ok, Result} ->
            tests(Options, Node, Class, Rest, [{Class, Test, Result} | Done]);
        {died, Reason} ->
            Text = iolist_to_binary(io_lib:format("the node died: ~0tp", [Reason])),
            {lost, Rest, [{Class, Test, {crashed, 0.0, Text}} | Done]}
    end.

%% ------------------------------------------------------------------------------------------------
%% Nodes

start(#{memory := Memory, folder := Folder, mode := Mode}) ->
    Shell = os:find_executable("sh"),
    Limited = "ulimit -v " ++ integer_to_list(Memory) ++ "; exec \"$@\"",
    %% The tests write files into the working directory.
    Scratch = string:trim(os:cmd("mktemp -d")),
    {ok, Peer, _} = peer:start(#{
        connection => standard_io,
        exec => {Shell, ["-c", Limited, "sh", os:find_executable("erl")]},
        args => ["-pa" | code:get_path()],
        env => [{"ERL_CRASH_DUMP_BYTES", "0"}, {"HOME", Scratch}]
    }),
    ok = peer:call(Peer, file, set_cwd, [Scratch]),
    Node = {Peer, peer:call(Peer, os, getpid, []), Scratch},
    case peer:call(Peer, conformance_node, start, [Mode, Folder], 60_000) of
        {ok, Version} ->
            {ok, Node, Version};
        {skip, Reason} ->
            stop(Node),
            {skip, Reason}
    end.

call({Peer, _, _}, Function, Arguments) ->
    try
        {ok, peer:call(Peer, conformance_node, Function, Arguments, infinity)}
    catch
        exit:Reason -> {died, Reason}
    end.

%% A node with a test that hangs may take long to end by itself.
stop({Peer, OsPid, Scratch}) ->
    _ = os:cmd("kill -KILL " ++ OsPid),
    try
        peer:stop(Peer)
    catch
        exit:_ -> ok
    end,
    file:del_dir_r(Scratch).
