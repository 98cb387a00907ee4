%% What a `receive' accepts after `after'.
-define(IS_TIMEOUT(T), (T =:= infinity orelse (is_integer(T) andalso T >= 0 andalso T =< 16#FFFFFFFF))).
%% What py_arguments:call/5 gives. The form is made where something is wrong alone: it would be garbage of every call.
-define(CALL(Form, Module, Function, Args, Kwargs),
    if
        is_atom(Module) orelse is_binary(Module),
        is_atom(Function) orelse is_binary(Function),
        length(Args) >= 0,
        is_map(Kwargs) ->
            {call, Module, Function, Args, Kwargs};
        true ->
            py_arguments:call(Form, Module, Function, Args, Kwargs)
    end
).
%% A call as the user wrote it; see py_badarg.
-define(FORM(Roles, Args), {?MODULE, ?FUNCTION_NAME, Roles, Args}).
