%% An adapter whose first worker answers for the others at first.
-module(compare_late).

-export([about/1, start/1, client/2, call/4, stop/1]).

about(_Settings) ->
    #{title => <<"late">>}.

start(_Settings) ->
    {ok, counters:new(1, [])}.

client(Calls, _Number) ->
    Calls.

call(Calls, compare_work, hold, [_]) ->
    ok = counters:add(Calls, 1, 1),
    {ok, counters:get(Calls, 1) > 1000}.

stop(_Calls) ->
    ok.
