%% Projects that depend on this one, as test/consumers has them: copies that fetch what is checked out here.
-module(py_consumers).

-export([repository/2, consumer/3, cargo_env/0, run/4, find/1, answer/1]).

-include_lib("common_test/include/ct.hrl").

%% A git repository of the checkout, in which something may be changed before it is committed.
repository(Folder, Change) ->
    {0, _} = run("/", [], filename:join(py_suite:checkout(), "scripts/copy-checkout.sh"), [Folder]),
    ok = Change(Folder),
    {0, _} = run(Folder, [], find("git"), ["add", "--all", "--force"]),
    As = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"],
    {0, _} = run(Folder, [], find("git"), As ++ ["commit", "--quiet", "--no-verify", "--allow-empty", "--message", "change"]),
    ok.

%% A copy of a project, in whose files the names of what the test provides are replaced: the repository of
%% `Config' for REPOSITORY, and its packages for WHEELS.
consumer(Name, Files, Config) ->
    Dir = filename:join(?config(priv_dir, Config), Name),
    Source = filename:join([py_suite:checkout(), "test/consumers", Name]),
    {0, _} = run("/", [], find("cp"), ["-R", Source, Dir]),
    [replace(filename:join(Dir, File), Config) || File <- Files],
    Dir.

replace(File, Config) ->
    {ok, Text} = file:read_file(File),
    %% A URL, since not every rebar3 takes a path.
    Url = unicode:characters_to_binary("file://" ++ ?config(repository, Config)),
    Wheels = unicode:characters_to_binary(proplists:get_value(wheels, Config, "")),
    Changed = lists:foldl(
        fun({Marker, Value}, T) -> binary:replace(T, <<Marker/binary, $">>, <<Value/binary, $">>) end,
        Text,
        [{<<"REPOSITORY">>, Url}, {<<"WHEELS">>, Wheels}]
    ),
    ok = file:write_file(File, Changed).

%% The builds of one run share what cargo compiled for them.
cargo_env() ->
    Target = os:getenv("CARGO_TARGET_DIR", filename:join(py_suite:checkout(), "target")),
    [{"CARGO_TARGET_DIR", filename:join(Target, "consumers")}].

find(Program) ->
    case os:find_executable(Program) of
        false -> error({not_installed, Program});
        Path -> Path
    end.

answer({0, Output}) ->
    [Answer] = [Line || "answer: " ++ _ = Line <- string:split(Output, "\n", all)],
    Answer;
answer({Status, _}) ->
    error({exit_status, Status}).

%% Runs a program to its end; its exit status, and what it printed.
run(Dir, Env, Program, Args) ->
    Port = open_port({spawn_executable, Program}, [
        {args, Args}, {cd, Dir}, {env, Env}, exit_status, stderr_to_stdout, in, binary, hide
    ]),
    {Status, Output} = collect(Port, []),
    ct:log("~ts ~tp -> ~p~n~ts", [Program, Args, Status, Output]),
    {Status, Output}.

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Output, Data]);
        {Port, {exit_status, Status}} -> {Status, unicode:characters_to_list(plain(Output))}
    end.

%% rebar3 colours what it prints.
plain(Output) -> iolist_to_binary(re:replace(Output, "\\e\\[[0-9;]*m", "", [global])).
