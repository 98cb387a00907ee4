%% What a `receive' accepts after `after'.
-define(IS_TIMEOUT(T), (T =:= infinity orelse (is_integer(T) andalso T >= 0 andalso T =< 16#FFFFFFFF))).
%% A call as the user wrote it; see py_badarg.
-define(FORM(Roles, Args), {?MODULE, ?FUNCTION_NAME, Roles, Args}).
