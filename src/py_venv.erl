-module(py_venv).
-include("py_doc.hrl").
?MODULEDOC("""
Making virtual environments: what `py:ensure_venv/2,3` does, and `build/0,1` for the hooks of build tools.

An environment is made beside its place and renamed when it is whole, by one process at a time. In it stands what it was
made of, so that nothing is done while that stays the same.
""").

-export([ensure/3, build/0, build/1, start/0, place/0]).
-export_type([requirements/0, options/0, reason/0]).

-include_lib("kernel/include/logger.hrl").

-type requirements() :: [string() | binary()] | file:name_all().
%% Requirements as in a requirements file, or the path of such a file, of a project's folder or of its `pyproject.toml`.
-type options() :: #{
    extras => [atom() | string() | binary()],
    editable => boolean(),
    installer => uv | pip,
    installer_options => [string() | binary()],
    python => file:name_all(),
    force => boolean(),
    timeout => timeout(),
    activate => boolean()
}.
-type reason() ::
    {bad_option, Key :: term(), Value :: term()}
    | {no_requirements, Path :: binary()}
    | {no_installer, uv}
    | {no_application, atom()}
    | {no_environment, Path :: binary()}
    | {config, Path :: file:name_all(), Text :: string()}
    | py_venv_installer:reason()
    | not_running.

-define(STAMP, ".erlang_python").

?DOC(false).
-spec ensure(binary(), {lines, [binary()]} | {path, binary()}, map() | [term()]) -> ok | {error, reason()}.
ensure(Path, Requirements, Options) ->
    case py_venv_options:check(Options) of
        {ok, #{activate := Activate} = Checked} ->
            case ensure(Path, Requirements, Checked, fun log/1) of
                ok when Activate -> py:activate_venv(py_venv_options:path(Path));
                Result -> Result
            end;
        {error, _} = Error ->
            Error
    end.

ensure(Path, Requirements, Options, Report) ->
    case {py_venv_requirements:find(Requirements, Options), py_nif:built_for()} of
        {_, {error, _} = Error} ->
            Error;
        {{ok, #{content := Content} = Found}, {Version, BuiltFor}} ->
            Place = py_venv_options:path(Path),
            Key = key(Version, Content, Options),
            case Options of
                #{force := false} ->
                    case stamp(Place) of
                        {ok, [Key | _]} -> ok;
                        _ -> make(Place, Key, Version, BuiltFor, Found, Options, Report)
                    end;
                #{force := true} ->
                    make(Place, Key, Version, BuiltFor, Found, Options, Report)
            end;
        {{error, _} = Error, _} ->
            Error
    end.

make(Path, Key, Version, BuiltFor, #{arguments := What}, Options, Report) ->
    #{force := Force, installer_options := More, timeout := Timeout} = Options,
    case uv(Options) of
        {ok, Uv} ->
            Arguments =
                [<<"--path=", Path/binary>>, <<"--key=", Key/binary>>, <<"--version=", Version/binary>>] ++
                    [<<"--force">> || Force] ++
                    [<<"--uv=", Program/binary>> || Program <- Uv] ++
                    [<<"--installer-option=", Option/binary>> || Option <- More] ++ What,
            Installer = case Uv of [] -> "pip"; _ -> "uv" end,
            _ = Report(unicode:characters_to_binary(["making ", Path, " with ", Installer])),
            py_venv_installer:run(python(Options, BuiltFor), Arguments, Timeout, Report);
        {error, _} = Error ->
            Error
    end.

log(Line) ->
    ?LOG_INFO("erlang_python: ~ts", [Line]).

uv(#{installer := pip}) ->
    {ok, []};
uv(#{installer := Installer}) ->
    case {os:find_executable("uv"), Installer} of
        {false, uv} -> {error, {no_installer, uv}};
        {false, any} -> {ok, []};
        {Program, _} -> {ok, [unicode:characters_to_binary(Program)]}
    end.

%% The Python that makes it. The setting names it where the one of the build is elsewhere.
python(#{python := any}, BuiltFor) ->
    case py_config:get(python_executable) of
        undefined -> BuiltFor;
        Executable -> Executable
    end;
python(#{python := Python}, _BuiltFor) ->
    case os:find_executable(unicode:characters_to_list(Python)) of
        false -> Python;
        Program -> unicode:characters_to_binary(Program)
    end.

%% What decides over what is installed. Paths of programs do not: an environment may be used where they are others.
key(Version, Content, #{installer := Installer, installer_options := More, python := Python} = Options) ->
    [Architecture | _] = string:split(erlang:system_info(system_architecture), "-"),
    Of = [
        {version, Version, Architecture, os:type()},
        {asked_for, Installer, More, Python, maps:get(extras, Options), maps:get(editable, Options)},
        erlang:md5(Content)
    ],
    Digest = erlang:md5(io_lib:format("~w", [Of])),
    <<<<(integer_to_binary(Half, 16))/binary>> || <<Half:4>> <= Digest>>.

%% What it was made of, and for which version of Python.
stamp(Path) ->
    case file:read_file(filename:join(Path, ?STAMP)) of
        {ok, Text} -> {ok, binary:split(Text, <<"\n">>, [global, trim])};
        {error, _} -> error
    end.

%% ------------------------------------------------------------------------------------------------
%% What the setting declares

?DOC(false).
%% The environment that the setting `python' declares is made if that is due now, or found. Python need not run.
-spec start() -> ok | {error, {venv, reason()} | {bad_option, venv, term(), string()}}.
start() ->
    case {application:get_env(erlang_python, python), application:get_env(erlang_python, venv, none)} of
        {undefined, _} ->
            ok;
        {{ok, Declared}, Other} when Other =:= none; Other =:= undefined ->
            case resolved(Declared) of
                {ok, #{make := build, path := Path}} -> started(found(Path));
                {ok, #{make := start} = Resolved} -> started(made(Resolved, fun log/1));
                {error, _} = Error -> started(Error)
            end;
        {{ok, _}, Other} ->
            {error, {bad_option, venv, Other, "none where the setting python is given, which names one"}}
    end.

started(ok) -> ok;
started({error, Reason}) -> {error, {venv, Reason}}.

?DOC(false).
%% Where it is.
-spec place() -> none | binary().
place() ->
    case application:get_env(erlang_python, python) of
        undefined ->
            none;
        {ok, Declared} ->
            {ok, #{path := Path}} = resolved(Declared),
            py_venv_options:path(Path)
    end.

%% Made when the program was built, perhaps on another machine.
found(Path) ->
    case {stamp(Path), py_nif:built_for()} of
        {{ok, [_Key, Version | _]}, {Version, _}} -> ok;
        {{ok, [_Key, Version | _]}, {_, _}} -> {error, {python, {wrong_version, Version}}};
        {_, {error, _} = Error} -> Error;
        _ -> {error, {no_environment, Path}}
    end.

made(#{path := Path, requirements := Requirements, options := Options}, Report) ->
    ensure(Path, Requirements, Options, Report).

%% Paths are below the application's folder `priv', where one is named.
resolved(Declared) ->
    case py_venv_options:declared(Declared) of
        {ok, #{app := App, path := Path, requirements := Requirements} = Checked} ->
            case below(App) of
                {ok, Folder} ->
                    {ok, Checked#{
                        path := filename:join(Folder, case Path of any -> <<"venv">>; _ -> Path end),
                        requirements :=
                            case py_venv_requirements:kind(Requirements) of
                                {path, File} -> {path, filename:join(Folder, File)};
                                Lines -> Lines
                            end
                    }};
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

below(undefined) ->
    {ok, filename:absname(<<>>)};
below(App) ->
    case code:priv_dir(App) of
        {error, bad_name} -> {error, {no_application, App}};
        Folder -> {ok, unicode:characters_to_binary(filename:absname(Folder))}
    end.

?DOC("""
Makes the environment that the setting `python` of the application declares, for a build tool that has loaded the
configuration, such as Mix. The application need not run. What the installer says goes to standard output.
""").
-spec build() -> ok | {error, reason()}.
build() ->
    case application:get_env(erlang_python, python) of
        undefined -> ok;
        {ok, Declared} -> build_declared(Declared)
    end.

?DOC("As `build/0`, for the setting in a file such as `config/sys.config`.").
-spec build(file:name_all()) -> ok | {error, reason()}.
build(File) ->
    case file:consult(File) of
        {ok, [Config]} when is_list(Config) ->
            Settings = [S || {erlang_python, S} <- Config],
            case [Declared || S <- Settings, {python, Declared} <- S] of
                [] -> ok;
                [Declared | _] -> build_declared(Declared)
            end;
        {ok, _} ->
            {error, {config, File, "not a list of applications and their settings"}};
        {error, Reason} ->
            {error, {config, File, lists:flatten(file:format_error(Reason))}}
    end.

build_declared(Declared) ->
    case resolved(Declared) of
        {ok, Resolved} ->
            made(Resolved, fun(Line) -> io:format("erlang_python: ~ts~n", [Line]) end);
        {error, _} = Error ->
            Error
    end.
