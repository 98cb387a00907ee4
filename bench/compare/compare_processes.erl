-module(compare_processes).
-behaviour(compare_adapter).

%% A floor: Erlang processes as workers, without any Python. What a call costs that goes to another process and back.

-export([about/1, start/1, client/2, call/4, stop/1]).

-spec about(compare_adapter:settings()) -> compare_adapter:about().
about(_Settings) ->
    None = <<"runs no Python">>,
    #{
        title => <<"Erlang process, no Python (floor)">>,
        skips => maps:from_list([{Job, None} || Job <- [primes, text, syntax, coroutines, start]])
    }.

-spec start(compare_adapter:settings()) -> {ok, tuple()}.
start(#{workers := Workers}) ->
    {ok, list_to_tuple([spawn_link(fun worker/0) || _ <- lists:seq(1, Workers)])}.

-spec client(tuple(), pos_integer()) -> pid().
client(Workers, Number) ->
    element((Number - 1) rem tuple_size(Workers) + 1, Workers).

-spec call(pid(), atom(), atom(), [term()]) -> compare_adapter:answer().
call(Worker, _Module, Function, Args) ->
    Ref = make_ref(),
    Worker ! {self(), Ref, Function, Args},
    receive
        {Ref, Answer} -> Answer
    end.

-spec stop(tuple()) -> ok.
stop(Workers) ->
    lists:foreach(fun(Worker) -> Worker ! stop end, tuple_to_list(Workers)).

worker() ->
    receive
        {From, Ref, sqrt, [Number]} ->
            From ! {Ref, {ok, math:sqrt(Number)}},
            worker();
        %% Large binaries are not copied with messages. One copy is the least that bytes take to get from one memory
        %% to another.
        {From, Ref, echo, [Value]} when is_binary(Value) ->
            From ! {Ref, {ok, binary:copy(Value)}},
            worker();
        {From, Ref, echo, [Value]} ->
            From ! {Ref, {ok, Value}},
            worker();
        stop ->
            ok
    end.
