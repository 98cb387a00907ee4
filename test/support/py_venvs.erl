%% Virtual environments and folders with modules, made by hand.
-module(py_venvs).

-export([venv/3, venv/4, packages/1, folder/3, written/2]).

%% A virtual environment of the test case with these files in its site-packages: `[{"pkg/__init__.py", Text}]'.
venv(Config, Name, Files) ->
    venv(Config, Name, Files, #{}).

%% With these settings in its `pyvenv.cfg'.
venv(Config, Name, Files, Settings) ->
    {ok, Version} = py:version(),
    Path = filename:join(proplists:get_value(priv_dir, Config), unique(Name)),
    All = maps:merge(#{"home" => "/nowhere", "version" => Version, "include-system-site-packages" => "false"}, Settings),
    Lines = [[Key, " = ", Value, "\n"] || {Key, Value} <- maps:to_list(All)],
    ok = written(Path, [{"pyvenv.cfg", Lines}]),
    ok = filelib:ensure_path(packages(Path)),
    ok = written(packages(Path), Files),
    unicode:characters_to_binary(Path).

unique(Name) ->
    Name ++ "-" ++ integer_to_list(erlang:unique_integer([positive])).

%% Its site-packages.
packages(Path) ->
    {ok, [Major, Minor | _]} = py_suite:version(),
    filename:join([Path, "lib", lists:flatten(io_lib:format("python~b.~b", [Major, Minor])), "site-packages"]).

%% A folder of the test case with these files.
folder(Config, Name, Files) ->
    Path = filename:join(proplists:get_value(priv_dir, Config), unique(Name)),
    ok = written(Path, Files),
    unicode:characters_to_binary(Path).

written(Folder, Files) ->
    ok = filelib:ensure_path(Folder),
    lists:foreach(
        fun({Name, Text}) ->
            File = filename:join(Folder, Name),
            ok = filelib:ensure_dir(File),
            ok = file:write_file(File, unicode:characters_to_binary(Text))
        end,
        Files
    ).
