-module(py_venv_requirements).
-include("py_doc.hrl").
?MODULEDOC(false).

%% What an environment is to hold: what the installer is told, and a text that differs whenever that does.

-export([kind/1, find/2]).
-export_type([found/0]).

-type found() :: #{arguments := [binary()], content := iodata()}.

-spec kind(term()) -> {lines, [binary()]} | {path, binary()} | error.
kind([]) -> {lines, []};
kind([First | _] = Requirements) when is_list(First); is_binary(First) ->
    try
        {lines, [begin {ok, Text} = py_venv_options:text(Line), Text end || Line <- Requirements]}
    catch
        error:_ -> error
    end;
kind(Path) ->
    case py_venv_options:text(Path) of
        {ok, Text} -> {path, Text};
        error -> error
    end.

%% The path of a file, of a folder that is a project, or of its `pyproject.toml'.
-spec find({lines, [binary()]} | {path, binary()}, py_venv_options:checked()) ->
    {ok, found()} | {error, {no_requirements, binary()}}.
find({lines, Lines}, _Options) ->
    {ok, #{
        arguments => [<<"--requirement=", Line/binary>> || Line <- Lines],
        content => [<<"lines\n">> | included(Lines, <<>>, [])]
    }};
find({path, Path}, Options) ->
    Absolute = py_venv_options:path(Path),
    case {filename:basename(Absolute), filelib:is_dir(Absolute), file:read_file(Absolute)} of
        {<<"pyproject.toml">>, false, {ok, _}} -> project(filename:dirname(Absolute), Options);
        {_, true, _} -> project(Absolute, Options);
        {_, false, {ok, Content}} -> {ok, file(Absolute, Content)};
        {_, false, {error, _}} -> {error, {no_requirements, Absolute}}
    end.

file(Path, Content) ->
    Folder = filename:dirname(Path),
    Lines = binary:split(Content, [<<"\n">>, <<"\r">>], [global]),
    #{
        arguments => [<<"--requirements-file=", Path/binary>>, <<"--folder=", Folder/binary>>],
        content => [<<"file\n">> | included(Lines, Folder, [Path])]
    }.

%% The lines, and those of the files that they name, in which further files may be named.
included(Lines, Folder, Above) ->
    [[Line, $\n, other(Line, Folder, Above)] || Line <- Lines].

other(Line, Folder, Above) ->
    Pattern = "^\\s*(?:-r|-c|--requirement|--constraint)[\\s=]*(\\S.*?)\\s*$",
    case re:run(Line, Pattern, [{capture, all_but_first, binary}]) of
        {match, [Name]} ->
            Path = filename:absname(Name, case Folder of <<>> -> filename:absname(<<>>); _ -> Folder end),
            case lists:member(Path, Above) orelse file:read_file(Path) of
                {ok, Content} ->
                    included(binary:split(Content, <<"\n">>, [global]), filename:dirname(Path), [Path | Above]);
                %% The installer says what is wrong with it.
                _ ->
                    []
            end;
        nomatch ->
            []
    end.

%% ------------------------------------------------------------------------------------------------
%% Projects

project(Folder, #{extras := Extras, editable := Editable}) ->
    Present = [Name || Name <- metadata(), filelib:is_regular(filename:join(Folder, Name))],
    case Present of
        [] ->
            {error, {no_requirements, filename:join(Folder, "pyproject.toml")}};
        _ ->
            Brackets = case Extras of [] -> []; _ -> [$[, lists:join($,, Extras), $]] end,
            {ok, #{
                arguments => [iolist_to_binary(["--project=", Folder, Brackets]) | [<<"--editable">> || Editable]],
                content => [
                    <<"project\n">>,
                    case Editable of
                        %% Its modules stay where they are.
                        true -> [Folder | [digest(Folder, Name) || Name <- Present]];
                        false -> tree(Folder, <<>>)
                    end
                ]
            }}
    end.

metadata() -> ["pyproject.toml", "setup.cfg", "setup.py"].

%% All files, but for those that are made in the course of work.
tree(Root, Below) ->
    {ok, Names} = file:list_dir_all(filename:join(Root, Below)),
    Relative = [filename:join([B || B <- [Below], B =/= <<>>] ++ [Name]) || Name <- lists:sort(binaries(Names))],
    [entry(Root, Path) || Path <- Relative, not is_made(Path), not is_hidden(Path)].

binaries(Names) ->
    [case Name of _ when is_binary(Name) -> Name; _ -> unicode:characters_to_binary(Name) end || Name <- Names].

entry(Root, Path) ->
    Whole = filename:join(Root, Path),
    case file:read_link_all(Whole) of
        {ok, Target} ->
            [Path, $\n, binaries([Target])];
        {error, _} ->
            case filelib:is_dir(Whole) of
                false -> digest(Root, Path);
                true ->
                    case filelib:is_regular(filename:join(Whole, "pyvenv.cfg")) of
                        true -> [];
                        false -> tree(Root, Path)
                    end
            end
    end.

digest(Root, Path) ->
    case file:read_file(filename:join(Root, Path)) of
        {ok, Content} -> [Path, $\n, erlang:md5(Content)];
        {error, _} -> []
    end.

is_made(Path) ->
    lists:member(Path, [<<"build">>, <<"dist">>, <<"_build">>]) orelse
        filename:basename(Path) =:= <<"__pycache__">> orelse
        filename:extension(Path) =:= <<".egg-info">>.

is_hidden(Path) ->
    binary:first(filename:basename(Path)) =:= $..
