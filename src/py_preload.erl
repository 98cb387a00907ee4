-module(py_preload).
-include("py_doc.hrl").
?MODULEDOC("""
Python code that every new context runs before anything else.

Each namespace of the context, of a process or of its own, begins as a copy of what the code has defined: names are
everybody's own, the objects behind them are shared. Functions and classes are those of the code's own namespace, whose
names they go on to see.

Contexts that run are not changed. The setting `preload` is the code when the application starts; the option `preload`
of contexts and pools takes its place there, and is `none` for none. Where the code fails, the context does not start:
`{error, {context_start, {preload, Reason}}}`.
""").

-export([set_code/1, get_code/0, clear_code/0, has_preload/0]).
-export([as_code/1]).

-include("py_arguments.hrl").

?DOC("Contexts that start from now on run this code first. It is not compiled here: what is wrong with it they say.").
-spec set_code(iodata() | py:code()) -> ok | {error, not_running}.
set_code(Code) ->
    case as_code(Code) of
        {ok, Text} -> py_birth:change({preload, Text});
        error -> py_badarg:refuse(?FORM([code], [Code]), code, wrong)
    end.

?DOC("The code, or `undefined`.").
-spec get_code() -> binary() | undefined.
get_code() ->
    case py_birth:given() of
        #{preload := Code} when is_binary(Code) -> Code;
        _ -> undefined
    end.

?DOC("Contexts that start from now on run no such code.").
-spec clear_code() -> ok | {error, not_running}.
clear_code() ->
    py_birth:change({preload, none}).

?DOC("Whether there is such code.").
-spec has_preload() -> boolean().
has_preload() ->
    get_code() =/= undefined.

?DOC(false).
-spec as_code(term()) -> {ok, binary()} | error.
as_code(Code) when is_binary(Code); is_list(Code) ->
    try unicode:characters_to_binary(Code) of
        Text when is_binary(Text) -> {ok, Text};
        _ -> error
    catch
        error:badarg -> error
    end;
as_code(_) ->
    error.
