%% An adapter that cannot start.
-module(compare_broken).

-export([about/1, start/1, client/2, call/4, stop/1]).

about(_Settings) ->
    #{title => <<"broken">>}.

start(_Settings) ->
    error(nothing_works).

client(none, _Number) ->
    none.

call(none, _Module, _Function, _Args) ->
    {error, never}.

stop(none) ->
    ok.
