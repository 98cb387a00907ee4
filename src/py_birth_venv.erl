-module(py_birth_venv).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Virtual environments as they lie on disk.

-export([inspect/1, as_path/1]).
-export_type([venv/0]).

-type venv() :: #{path := binary(), sites := [binary(), ...], system := boolean()}.
%% `sites': its folders for packages; `system': it lets those of the Python installation be found, too.

-type reason() :: {invalid_venv, binary(), no_config | no_site_packages | {python, binary()} | file:posix()}.

%% What is at a path; it must be of the minor version of the Python in use.
-spec inspect(binary()) -> {ok, venv()} | {error, reason() | not_running}.
inspect(Path) ->
    case {py_nif:python(), file:read_file(filename:join(Path, <<"pyvenv.cfg">>))} of
        {{error, not_running} = Error, _} -> Error;
        {_, {error, enoent}} -> invalid(Path, no_config);
        {_, {error, Reason}} -> invalid(Path, Reason);
        {{Version, _Mode}, {ok, Text}} -> of_version(Path, minor(Version), settings(Text))
    end.

invalid(Path, Why) ->
    {error, {invalid_venv, Path, Why}}.

of_version(Path, Minor, Settings) ->
    %% venv and uv name it differently; virtualenv has both.
    Made = maps:get(<<"version">>, Settings, maps:get(<<"version_info">>, Settings, Minor)),
    case minor(Made) of
        Minor ->
            case sites(Path, Minor) of
                [] -> invalid(Path, no_site_packages);
                Sites -> {ok, #{path => Path, sites => Sites, system => has_system_packages(Settings)}}
            end;
        _ ->
            invalid(Path, {python, Made})
    end.

%% `3.13' of `3.13.1', `3.13.0rc1' and `3.13'.
minor(Version) ->
    case binary:split(Version, <<".">>, [global]) of
        [Major, Minor | _] -> <<Major/binary, ".", Minor/binary>>;
        _ -> Version
    end.

settings(Text) ->
    Lines = [binary:split(Line, <<"=">>) || Line <- binary:split(Text, [<<"\r\n">>, <<"\n">>], [global])],
    maps:from_list([{string:lowercase(string:trim(Key)), string:trim(Value)} || [Key, Value] <- Lines]).

has_system_packages(Settings) ->
    string:lowercase(maps:get(<<"include-system-site-packages">>, Settings, <<"false">>)) =:= <<"true">>.

%% `lib64' is a link to `lib' mostly. Builds without a GIL have folders of their own.
sites(Path, Minor) ->
    Pythons = [<<"python", Minor/binary>>, <<"python", Minor/binary, "t">>],
    Folders = [
        filename:join([Path, Lib, Python, <<"site-packages">>])
     || Lib <- libs(Path), Python <- Pythons
    ],
    [Folder || Folder <- Folders, filelib:is_dir(Folder)].

libs(Path) ->
    case file:read_link(filename:join(Path, <<"lib64">>)) of
        {ok, _} -> [<<"lib">>];
        {error, _} -> [<<"lib64">>, <<"lib">>]
    end.

%% An absolute path, or `error'.
-spec as_path(term()) -> {ok, binary()} | error.
as_path(Path) when is_binary(Path); is_list(Path) ->
    try unicode:characters_to_binary(Path) of
        Binary when is_binary(Binary), Binary =/= <<>> ->
            case binary:match(Binary, <<0>>) of
                nomatch -> {ok, filename:absname(Binary)};
                _ -> error
            end;
        _ ->
            error
    catch
        error:badarg -> error
    end;
as_path(_) ->
    error.
