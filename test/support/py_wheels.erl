%% Python packages made on the spot, so that tests of environments need no package index.
-module(py_wheels).

-export([wheel/4, wheel/5, offline/1, python/0]).

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
