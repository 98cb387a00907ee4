%% An adapter of a library that is not there.
-module(compare_absent).

-export([about/1, start/1, client/2, call/4, stop/1]).

about(_Settings) ->
    #{title => <<"absent">>}.

start(_Settings) ->
    {skip, ["no such ", $l, <<"ibrary">>]}.

client(none, _Number) ->
    none.

call(none, _Module, _Function, _Args) ->
    {error, never}.

stop(none) ->
    ok.
