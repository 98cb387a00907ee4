%% An adapter that some jobs are too much for.
-module(compare_partly).

-export([about/1, start/1, client/2, call/4, stop/1]).

about(_Settings) ->
    #{title => <<"partly">>}.

start(_Settings) ->
    {ok, none}.

client(none, _Number) ->
    none.

call(none, compare_work, naps, [Arguments]) -> {ok, [Number || [_, Number] <- Arguments]};
call(none, _Module, _Function, _Args) -> {error, unheard_of}.

stop(none) ->
    ok.
