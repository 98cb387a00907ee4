-module(py_venv_options).
-include("py_doc.hrl").
-include("py_arguments.hrl").
?MODULEDOC(false).

%% What may be said about an environment: in a call, and in the setting `python'.

-export([check/1, declared/1, path/1, text/1]).
-export_type([checked/0, declared/0]).

-type checked() :: #{
    extras := [binary()],
    editable := boolean(),
    installer := uv | pip | any,
    installer_options := [binary()],
    python := binary() | any,
    force := boolean(),
    timeout := timeout(),
    activate := boolean()
}.
-type declared() :: #{
    app := atom(),
    path := binary() | any,
    requirements := py_venv:requirements(),
    make := start | build,
    options := checked()
}.
-type bad() :: {bad_option, Key :: term(), Value :: term()}.

%% A map, or a list of options such as `[{extras, ["dev"]}, force]'.
-spec check(term()) -> {ok, checked()} | {error, bad()}.
check(Options) ->
    checked(Options, #{
        extras => [],
        editable => false,
        installer => any,
        installer_options => [],
        python => any,
        force => false,
        timeout => infinity,
        activate => true
    }).

-spec declared(term()) -> {ok, declared()} | {error, bad()}.
declared(Declared) ->
    case as_map(Declared) of
        %% What is declared is active.
        {ok, #{activate := Value}} -> {error, {bad_option, activate, Value}};
        {ok, #{requirements := _} = Map} -> declared_map(Map);
        {ok, _} -> {error, {bad_option, requirements, undefined}};
        error -> {error, {bad_option, python, Declared}}
    end.

declared_map(Map) ->
    Own = [app, path, requirements, make],
    Defaults = #{app => undefined, path => any, requirements => [], make => start},
    case {checked(maps:with(Own, Map), Defaults), check(maps:without(Own, Map))} of
        {{ok, #{app := undefined, path := any}}, _} -> {error, {bad_option, path, undefined}};
        {{ok, Where}, {ok, Options}} -> {ok, Where#{options => Options}};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end.

as_map(Map) when is_map(Map) -> {ok, Map};
as_map(List) ->
    try
        {ok, maps:from_list(proplists:unfold(List))}
    catch
        error:_ -> error
    end.

checked(Options, Defaults) ->
    case as_map(Options) of
        {ok, Map} -> each(lists:sort(maps:to_list(Map)), Defaults);
        error -> {error, {bad_option, options, Options}}
    end.

each([{Key, Value} | Options], Checked) when is_map_key(Key, Checked) ->
    case value(Key, Value) of
        {ok, Good} -> each(Options, Checked#{Key := Good});
        error -> {error, {bad_option, Key, Value}}
    end;
each([{Key, Value} | _], _Checked) ->
    {error, {bad_option, Key, Value}};
each([], Checked) ->
    {ok, Checked}.

value(extras, Extras) -> all(fun extra/1, Extras);
value(installer_options, Options) -> all(fun text/1, Options);
value(installer, Installer) when Installer =:= uv; Installer =:= pip -> {ok, Installer};
value(python, Python) -> text(Python);
value(path, Path) -> text(Path);
value(make, When) when When =:= start; When =:= build -> {ok, When};
value(app, App) when is_atom(App) -> {ok, App};
value(requirements, Requirements) ->
    case py_venv_requirements:kind(Requirements) of
        error -> error;
        _ -> {ok, Requirements}
    end;
value(Flag, Value) when is_boolean(Value), (Flag =:= editable orelse Flag =:= force orelse Flag =:= activate) ->
    {ok, Value};
value(timeout, Timeout) when ?IS_TIMEOUT(Timeout) -> {ok, Timeout};
value(_Key, _Value) -> error.

all(Check, Values) ->
    try
        {ok, [begin {ok, Good} = Check(Value), Good end || Value <- Values]}
    catch
        error:_ -> error
    end.

%% What stands between the brackets in `project[dev,test]'.
extra(Extra) when is_atom(Extra) -> extra(atom_to_binary(Extra));
extra(Extra) ->
    {ok, Text} = text(Extra),
    case re:run(Text, "^[A-Za-z0-9._-]+$", [{capture, none}]) of
        match -> {ok, Text};
        nomatch -> error
    end.

%% A line of text that is not empty.
-spec text(term()) -> {ok, binary()} | error.
text(Text) when is_binary(Text); is_list(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary), Binary =/= <<>> ->
            case binary:match(Binary, [<<"\n">>, <<"\r">>, <<0>>]) of
                nomatch -> {ok, Binary};
                _ -> error
            end;
        _ ->
            error
    catch
        error:badarg -> error
    end;
text(_) ->
    error.

%% A path from the root on, without a slash at its end.
-spec path(binary()) -> binary().
path(Path) ->
    filename:join([filename:absname(Path)]).
