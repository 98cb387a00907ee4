-module(py_memory).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Memory as Python sees it, in the calling process's context of the pool `default'.

-export([stats/1, collect/2, start_tracing/2, stop_tracing/1]).
-export_type([stats/0]).

-type stats() :: #{
    gc_stats := [#{binary() => non_neg_integer()}],
    gc_count := tuple(),
    gc_threshold := tuple(),
    traced_memory_current => non_neg_integer(),
    traced_memory_peak => non_neg_integer()
}.

-spec stats(timeout()) -> {ok, stats()} | {error, term()}.
stats(Timeout) ->
    case call(<<"stats">>, [], Timeout) of
        {ok, {Stats, Count, Threshold, Traced}} ->
            Always = #{gc_stats => Stats, gc_count => Count, gc_threshold => Threshold},
            {ok, with_traced(Traced, Always)};
        {error, _} = Error ->
            Error
    end.

with_traced(none, Stats) ->
    Stats;
with_traced({Current, Peak}, Stats) ->
    Stats#{traced_memory_current => Current, traced_memory_peak => Peak}.

-spec collect(0..2, timeout()) -> {ok, non_neg_integer()} | {error, term()}.
collect(Generation, Timeout) ->
    call(<<"collect">>, [Generation], Timeout).

-spec start_tracing(pos_integer(), timeout()) -> ok | {error, term()}.
start_tracing(Frames, Timeout) ->
    done(call(<<"start_tracing">>, [Frames], Timeout)).

-spec stop_tracing(timeout()) -> ok | {error, term()}.
stop_tracing(Timeout) ->
    done(call(<<"stop_tracing">>, [], Timeout)).

call(Function, Args, Timeout) ->
    py_call:pooled(default, {call, <<"erlang._memory">>, Function, Args, #{}}, Timeout).

done({ok, none}) -> ok;
done({error, _} = Error) -> Error.
