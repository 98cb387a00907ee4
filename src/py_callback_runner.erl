-module(py_callback_runner).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Runs a function for Python code, in whatever process it is called, and makes of every end that it can have what
%% the native side hands on.

-export([serve/4, exited/1, tail/4, current/0]).
-export_type([called/0, kind/0, frame/0]).

-type called() :: binary() | function() | {traced, py_trace:trace(), called()}.
%% A name that was registered, or a fun that Python code held; and of what trace the call is a part.
-type kind() :: error | exit | throw.
-type frame() ::
    {module(), Function :: atom(), arity(), #{file => binary(), line => pos_integer()}}.
%% As the native side makes Python values of it.

%% In the process dictionary while a function runs: `{Callback, Deadline}'. What the process asks of contexts
%% meanwhile names it as its parent, and ends at that deadline.
-define(CURRENT, {py_callback, current}).
%% Characters of a text, which is for people: the reason itself goes along.
-define(TEXT_LIMIT, 1_000).
%% The other limit alone takes time where lists are nested deep.
-define(DEPTH_LIMIT, 30).

%% A story that is kept meanwhile is that of a Python call which the function made; the caller's own comes back.
-spec serve(py_nif:callback(), called(), [term()], integer() | infinity) -> py_nif:answer().
serve(Callback, {traced, Trace, Function}, Args, Deadline) ->
    Before = py_trace:entered(Trace),
    Answer = serve(Callback, Function, Args, Deadline),
    ok = py_trace:left(Before),
    Answer;
serve(Callback, Function, Args, Deadline) ->
    case found(Function) of
        {error, Reason} ->
            {raised, error, Reason, text(error, Reason, []), [], none};
        Found ->
            Outer = put(?CURRENT, {Callback, Deadline}),
            Before = py_error:take(),
            Answer = answer(Found, Args),
            ok = py_error:restore(Before),
            ok = restore(Outer),
            Answer
    end.

answer(Found, Args) ->
    try
        {ok, run(Found, Args)}
    catch
        Kind:Reason:Stack ->
            {raised, Kind, Reason, text(Kind, Reason, Stack), frames(Stack), cause(py_error:take())}
    end.

%% As if the function had raised what ended its process.
-spec exited(Reason :: term()) -> py_nif:answer().
exited(Reason) ->
    {raised, exit, Reason, text(exit, Reason, []), [], none}.

%% The callback whose function this process runs.
-spec current() -> py_nif:callback() | none.
current() ->
    case get(?CURRENT) of
        {Callback, _Deadline} -> Callback;
        undefined -> none
    end.

%% The Python exception that a call of the function's own ended with, as Python shall tell it.
cause(none) ->
    none;
cause({Class, Module, Message, _Frames, _Details} = Story) ->
    {Class, Module, Message, py_traceback:text(py_error:with_lines(Story))}.

%% What comes instead of the value of a call, so it ends as the call would, and is a part of what the call was.
-spec tail(py_nif:callback() | none, called(), [term()], integer() | infinity) ->
    {ok, term()} | {error, {kind(), term()}}.
tail(Callback, Function, Args, Deadline) ->
    case found(Function) of
        {error, Reason} ->
            {error, {error, Reason}};
        Found ->
            Outer = put(?CURRENT, {Callback, Deadline}),
            Result =
                try
                    {ok, run(Found, Args)}
                catch
                    Kind:Reason -> {error, {Kind, Reason}}
                end,
            ok = restore(Outer),
            Result
    end.

restore(undefined) ->
    _ = erase(?CURRENT),
    ok;
restore(Outer) ->
    _ = put(?CURRENT, Outer),
    ok.

%% These calls are the last ones, so that the stack has no frames but this module's below the function's.
run({registered, Function}, Args) -> py_callback:apply_function(Function, Args);
run({held, Function}, Args) -> apply(Function, Args).

found(Name) when is_binary(Name) ->
    case py_callback:find(Name) of
        {ok, Function} -> {registered, Function};
        {error, not_found} -> {error, {not_registered, Name}};
        {error, not_running} = Error -> Error
    end;
found(Function) ->
    {held, Function}.

%% ------------------------------------------------------------------------------------------------
%% Words

text(error, {not_registered, Name}, []) ->
    <<"error: no Erlang function is registered as ", Name/binary>>;
text(Kind, Reason, Stack) ->
    Text = [atom_to_list(Kind), ": ", limited(Reason) | place(Kind, Reason, Stack)],
    <<_/binary>> = unicode:characters_to_binary(Text).

limited(Term) ->
    io_lib:format("~0tP", [Term, ?DEPTH_LIMIT], [{chars_limit, ?TEXT_LIMIT}]).

%% These reasons say nothing without the function.
place(error, Reason, [{Module, Function, Args, _} | _]) when Reason =:= undef; Reason =:= function_clause ->
    io_lib:format(": ~tp:~tp/~b", [Module, Function, arity(Args)]);
place(_Kind, _Reason, _Stack) ->
    [].

%% ------------------------------------------------------------------------------------------------
%% Stack traces

%% From where the exception was raised to the function that was called; what called that is nobody's business.
frames(Stack) ->
    Above = lists:takewhile(fun(Frame) -> element(1, Frame) =/= ?MODULE end, Stack),
    [
        {Module, Function, arity(Args), location(Location)}
     || {Module, Function, Args, Location} <- Above
    ].

%% Code that raises with a stack of its own may say nearly anything there.
arity(Arity) when is_integer(Arity) -> Arity;
arity(Args) when length(Args) >= 0 -> length(Args);
arity(_Improper) -> 0.

location([{line, Line} | More]) when is_integer(Line), Line > 0 ->
    (location(More))#{line => Line};
location([{file, File} | More]) when is_list(File) ->
    try unicode:characters_to_binary(File) of
        Name when is_binary(Name) -> (location(More))#{file => Name};
        _ -> location(More)
    catch
        error:badarg -> location(More)
    end;
location([_ | More]) ->
    location(More);
location(_) ->
    #{}.
