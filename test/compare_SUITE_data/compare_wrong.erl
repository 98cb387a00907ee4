%% An adapter that is fast and wrong, and answers some calls with errors.
-module(compare_wrong).

-export([about/1, start/1, client/2, call/4, stop/1]).

about(_Settings) ->
    #{title => <<"wrong">>}.

start(_Settings) ->
    {ok, none}.

client(none, _Number) ->
    none.

call(none, math, sqrt, _Args) -> {ok, 5.0};
call(none, compare_work, echo, [Value]) when is_binary(Value) -> {ok, <<>>};
call(none, _Module, _Function, _Args) -> {error, unheard_of}.

stop(none) ->
    ok.
