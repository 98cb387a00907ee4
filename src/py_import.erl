-module(py_import).
-include("py_doc.hrl").
?MODULEDOC("""
Modules that every context imports, and folders where every context looks for modules.

What is added here holds for the contexts that run and for those that come. A context that runs gets it through its
mailbox: what is asked of it later finds it, and nobody waits for a context that is busy. The settings `imports` and
`paths` are what there is when the application starts.
""").

-export([ensure_imported/1, ensure_imported/2, is_imported/1, is_imported/2]).
-export([all_imports/0, import_list/0, clear_imports/0]).
-export([add_path/1, add_paths/1, all_paths/0, clear_paths/0, is_path_added/1]).
-export([read/2]).

-include("py_arguments.hrl").

?DOC("""
Has every context import a module, now and at its start. It is imported in the calling process's context of the pool
`default` first: what fails there is the answer, and nothing is changed.

A context that cannot import it later, at its start, does not start: `{error, {context_start, {imports, Reason}}}`.
What fails in other contexts that run is logged. `'__main__'` is `{error, main_not_cacheable}`.
""").
-spec ensure_imported(py:name()) -> ok | {error, term()}.
ensure_imported(Module) ->
    Form = ?FORM([module], [Module]),
    imported(binary(py_arguments:name(Form, module, Module)), all).

?DOC("As `ensure_imported/1`; the module must have the function, too.").
-spec ensure_imported(py:name(), py:name()) -> ok | {error, term()}.
ensure_imported(Module, Function) ->
    Form = ?FORM([module, function], [Module, Function]),
    Name = binary(py_arguments:name(Form, module, Module)),
    imported(Name, binary(py_arguments:name(Form, function, Function))).

imported(<<"__main__">>, _Function) ->
    {error, main_not_cacheable};
imported(Module, Function) ->
    case py_call:pooled(default, {birth, [{import, Module, Function}]}, default) of
        ok -> py_birth:change({add_import, {Module, Function}});
        {error, {imports, Reason}} -> {error, Reason};
        {error, _} = Error -> Error
    end.

?DOC("Whether contexts import the module, or something of it.").
-spec is_imported(py:name()) -> boolean().
is_imported(Module) ->
    Name = binary(py_arguments:name(?FORM([module], [Module]), module, Module)),
    lists:keymember(Name, 1, all_imports()).

?DOC("Whether contexts import the module as a whole, or with this function.").
-spec is_imported(py:name(), py:name()) -> boolean().
is_imported(Module, Function) ->
    Form = ?FORM([module, function], [Module, Function]),
    Name = binary(py_arguments:name(Form, module, Module)),
    Wanted = binary(py_arguments:name(Form, function, Function)),
    Imports = all_imports(),
    lists:member({Name, Wanted}, Imports) orelse lists:member({Name, all}, Imports).

?DOC("What contexts import, in the order in which it was added.").
-spec all_imports() -> [{Module :: binary(), Function :: binary() | all}].
all_imports() ->
    given(imports).

?DOC("The same by module, with the functions that were named.").
-spec import_list() -> {ok, #{Module :: binary() => [Function :: binary()]}} | {error, not_running}.
import_list() ->
    case py_birth:given() of
        #{imports := Imports} ->
            Modules = maps:from_list([{Module, []} || {Module, _} <- Imports]),
            {ok, lists:foldr(fun listed/2, Modules, Imports)};
        {error, _} = Error ->
            Error
    end.

listed({_Module, all}, Modules) -> Modules;
listed({Module, Function}, Modules) -> Modules#{Module := [Function | maps:get(Module, Modules)]}.

?DOC("Later contexts import nothing. What contexts have imported stays so.").
-spec clear_imports() -> ok | {error, not_running}.
clear_imports() ->
    py_birth:change(clear_imports).

?DOC("Has every context look for modules in a folder, now and later; see `add_paths/1`.").
-spec add_path(unicode:chardata() | atom()) -> ok | {error, term()}.
add_path(Path) ->
    py_birth:change({add_paths, [path(?FORM([path], [Path]), path, Path)]}).

?DOC("""
Has every context look for modules in these folders, now and later: before all others, the one that was added first
before those that were added after it. A relative path is made absolute. The folders need not be there yet.

Extension modules begin in the main interpreter, so that gets the folders first: where code of a `worker` context holds
it up, the answer is `{error, {context_start, main_interpreter_busy}}` after the setting `context_start_timeout`, and
nothing is changed.
""").
-spec add_paths([unicode:chardata() | atom()]) -> ok | {error, term()}.
add_paths(Paths) when is_list(Paths) ->
    Form = ?FORM([paths], [Paths]),
    _ = length_of(Form, Paths),
    py_birth:change({add_paths, [path(Form, paths, Path) || Path <- Paths]});
add_paths(Paths) ->
    py_badarg:refuse(?FORM([paths], [Paths]), paths, wrong).

length_of(Form, List) ->
    try
        length(List)
    catch
        error:badarg -> py_badarg:refuse(Form, paths, wrong)
    end.

path(_Form, _Role, Path) when is_atom(Path), Path =/= '' ->
    filename:absname(atom_to_binary(Path));
path(Form, Role, Path) ->
    case py_birth_venv:as_path(Path) of
        {ok, Absolute} -> Absolute;
        error -> py_badarg:refuse(Form, Role, wrong)
    end.

?DOC("The folders that were added, in that order.").
-spec all_paths() -> [binary()].
all_paths() ->
    given(paths).

?DOC("""
Takes the folders away again, from all contexts. Modules that were imported from there stay.
""").
-spec clear_paths() -> ok | {error, term()}.
clear_paths() ->
    py_birth:change(clear_paths).

?DOC("Whether the folder was added.").
-spec is_path_added(unicode:chardata() | atom()) -> boolean().
is_path_added(Path) ->
    lists:member(path(?FORM([path], [Path]), path, Path), all_paths()).

given(What) ->
    case py_birth:given() of
        {error, not_running} -> [];
        Given -> maps:get(What, Given)
    end.

?DOC(false).
%% A setting, in order, or `error'.
-spec read(imports | paths | venv | preload, term()) -> {ok, term()} | error.
read(Key, undefined) when Key =:= imports; Key =:= paths -> {ok, []};
read(_Key, undefined) -> {ok, none};
read(venv, none) -> {ok, none};
read(venv, Path) -> py_birth_venv:as_path(Path);
read(preload, none) -> {ok, none};
read(preload, Code) -> py_preload:as_code(Code);
read(imports, Imports) -> each(fun import/1, Imports);
read(paths, Paths) -> each(fun py_birth_venv:as_path/1, Paths).

each(Read, List) ->
    try [Read(Element) || Element <- List, length(List) > 0] of
        Elements ->
            case lists:member(error, Elements) of
                true -> error;
                false -> {ok, [Good || {ok, Good} <- Elements]}
            end
    catch
        error:_ -> error
    end.

import({Module, Function}) ->
    case {name(Module), name(Function)} of
        {{ok, Name}, {ok, Wanted}} when Name =/= <<"__main__">> -> {ok, {Name, Wanted}};
        _ -> error
    end;
import(Module) ->
    case name(Module) of
        {ok, Name} when Name =/= <<"__main__">> -> {ok, {Name, all}};
        _ -> error
    end.

name('') ->
    error;
name(Name) when is_atom(Name) ->
    {ok, atom_to_binary(Name)};
name(Name) when is_binary(Name); is_list(Name) ->
    try unicode:characters_to_binary(Name) of
        Text when is_binary(Text), Text =/= <<>> -> {ok, Text};
        _ -> error
    catch
        error:badarg -> error
    end;
name(_) ->
    error.

binary(Name) when is_atom(Name) -> atom_to_binary(Name);
binary(Name) -> Name.
