%% Python packages made on the spot, so that tests of environments need no package index.
-module(py_wheels).

-export([wheel/4, wheel/5, offline/1, python/0, with_pip/1]).

%% A wheel of a pure package with these files, in a folder; its path.
wheel(Folder, Name, Version, Files) ->
    wheel(Folder, Name, Version, Files, []).

%% With further lines of metadata, or `{entry_points, Text}'.
wheel(Folder, Name, Version, Files, Metadata) ->
    Info = [Name, "-", Version, ".dist-info/"],
    Lines = [Line || Line <- Metadata, is_list(Line)],
    Texts =
        Files ++
            [
                {[Info, "METADATA"], [
                    "Metadata-Version: 2.1\nName: ", Name, "\nVersion: ", Version, "\n", [[L, $\n] || L <- Lines]
                ]},
                {[Info, "WHEEL"], "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
            ] ++ [{[Info, "entry_points.txt"], Text} || {entry_points, Text} <- Metadata],
    Record = {[Info, "RECORD"], [[[Path, ",,\n"] || {Path, _} <- Texts], Info, "RECORD,,\n"]},
    Path = filename:join(Folder, lists:concat([Name, "-", Version, "-py3-none-any.whl"])),
    ok = filelib:ensure_dir(Path),
    {ok, _} = zip:create(Path, [
        {lists:flatten(File), unicode:characters_to_binary(Text)}
     || {File, Text} <- Texts ++ [Record]
    ]),
    Path.

%% Options of an installer that looks into a folder alone.
offline(Folder) ->
    ["--no-index", "--find-links", Folder].

%% The program of the Python in use.
python() ->
    {_Version, Program} = py_nif:built_for(),
    binary_to_list(Program).

%% The option that names a Python with pip, where the one in use has none: running it from a wheel takes seconds each time.
with_pip(Folder) ->
    case py_consumers:run("/", [], python(), ["-I", "-c", "import pip"]) of
        {0, _} ->
            #{};
        {_, _} ->
            Tools = filename:join(Folder, "tools"),
            case py_consumers:run("/", [], python(), ["-I", "-m", "venv", Tools]) of
                {0, _} -> #{python => filename:join(Tools, "bin/python")};
                {_, _} -> #{}
            end
    end.
