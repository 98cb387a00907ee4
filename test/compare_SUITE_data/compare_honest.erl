%% An adapter with nothing but what it must have: Python is not needed to come to the right answers.
-module(compare_honest).

-export([about/1, start/1, client/2, call/4, stop/1]).

about(_Settings) ->
    Work = [{Job, <<"too hard">>} || Job <- [primes, text, syntax]],
    #{title => <<"honest">>, skips => maps:from_list(Work)}.

start(#{workers := Workers}) ->
    {ok, Workers}.

client(Workers, Number) ->
    Number rem Workers.

call(_Worker, math, sqrt, [Number]) -> {ok, math:sqrt(Number)};
call(_Worker, compare_work, echo, [Value]) -> {ok, Value};
call(_Worker, compare_work, naps, [Arguments]) -> {ok, [Number || [_, Number] <- Arguments]};
call(Worker, compare_work, hold, [_]) -> {ok, Worker}.

stop(_Workers) ->
    ok.
