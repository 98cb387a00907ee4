%% An adapter whose node ends at the first call.
-module(compare_ending).

-export([about/1, start/1, client/2, call/4, stop/1]).

about(_Settings) ->
    #{title => <<"ending">>}.

start(_Settings) ->
    {ok, none}.

client(none, _Number) ->
    none.

call(none, _Module, _Function, _Args) ->
    erlang:halt(3, [{flush, false}]).

stop(none) ->
    ok.
