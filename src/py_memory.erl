-module(py_memory).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Memory as Python sees it, and modules, in all contexts of the node; tracing in the main interpreter.

-export([stats/1, collect/2, reload/2, start_tracing/2, stop_tracing/1]).
-export_type([stats/0, context_stats/0, failures/0]).

-type collector() :: #{
    gc_stats := [#{binary() => non_neg_integer()}],
    gc_count := tuple(),
    gc_threshold := tuple(),
    traced_memory_current => non_neg_integer(),
    traced_memory_peak => non_neg_integer()
}.
-type stats() :: #{
    gc_stats := [#{binary() => non_neg_integer()}],
    gc_count := tuple(),
    gc_threshold := tuple(),
    traced_memory_current => non_neg_integer(),
    traced_memory_peak => non_neg_integer(),
    contexts := #{pid() => context_stats()}
}.
-type context_stats() :: #{
    mode := owngil | worker,
    interpreter := non_neg_integer(),
    used => non_neg_integer(),
    peak => non_neg_integer(),
    limit => pos_integer() | infinity,
    gc_stats => [#{binary() => non_neg_integer()}],
    gc_count => tuple(),
    gc_threshold => tuple(),
    traced_memory_current => non_neg_integer(),
    traced_memory_peak => non_neg_integer(),
    error => term()
}.
-type failures() :: [{pid(), Reason :: term()}].

%% Those of the calling process's context at the top.
-spec stats(timeout()) -> {ok, stats()} | {error, term()}.
stats(Timeout) ->
    Deadline = py_call:deadline(Timeout),
    case pooled(<<"stats">>, [], Timeout) of
        {ok, Stats} -> {ok, (named(Stats))#{contexts => all(py_call:remaining(Deadline))}};
        {error, _} = Error -> Error
    end.

all(Timeout) ->
    Told = maps:from_list([
        {Pid, Stats}
     || {Pids, Outcome} <- py_everywhere:call(<<"stats">>, [], Timeout), Stats <- [told(Outcome)], Pid <- Pids
    ]),
    maps:from_list([
        {Pid, maps:merge(maps:merge(#{mode => Mode, interpreter => Interpreter}, account(Pid, Mode)), maps:get(Pid, Told))}
     || {Pid, Mode, Interpreter} <- py_everywhere:contexts(), is_map_key(Pid, Told)
    ]).

told({ok, Stats}) -> named(Stats);
told({error, Reason}) -> #{error => Reason}.

%% The main interpreter has none, and others only where the library counts.
account(_Pid, worker) ->
    #{};
account(Pid, owngil) ->
    case py_context:memory_usage(Pid) of
        {ok, Account} -> Account;
        {error, _} -> #{}
    end.

-spec named({list(), tuple(), tuple(), none | tuple()}) -> collector().
named({Stats, Count, Threshold, Traced}) ->
    with_traced(Traced, #{gc_stats => Stats, gc_count => Count, gc_threshold => Threshold}).

with_traced(none, Stats) ->
    Stats;
with_traced({Current, Peak}, Stats) ->
    Stats#{traced_memory_current => Current, traced_memory_peak => Peak}.

-spec collect(0..2, timeout()) -> {ok, non_neg_integer()} | {error, failures() | not_running}.
collect(Generation, Timeout) ->
    case everywhere(<<"collect">>, [Generation], Timeout) of
        {ok, Collected} -> {ok, lists:sum(Collected)};
        {error, _} = Error -> Error
    end.

-spec reload(py:name(), timeout()) -> ok | {error, failures() | not_running}.
reload(Module, Timeout) ->
    case everywhere(<<"reload">>, [Module], Timeout) of
        {ok, _WereThere} -> ok;
        {error, _} = Error -> Error
    end.

everywhere(Function, Args, Timeout) ->
    case py_nif:python() of
        {error, _} = Error ->
            Error;
        _ ->
            Outcomes = py_everywhere:call(Function, Args, Timeout),
            case [{Pid, Reason} || {[Pid | _], {error, Reason}} <- Outcomes] of
                [] -> {ok, [Value || {_, {ok, Value}} <- Outcomes]};
                Failures -> {error, Failures}
            end
    end.

-spec start_tracing(pos_integer(), timeout()) -> ok | {error, term()}.
start_tracing(Frames, Timeout) ->
    done(pooled(<<"start_tracing">>, [Frames], Timeout)).

-spec stop_tracing(timeout()) -> ok | {error, term()}.
stop_tracing(Timeout) ->
    done(pooled(<<"stop_tracing">>, [], Timeout)).

pooled(Function, Args, Timeout) ->
    py_call:pooled(default, {call, <<"erlang._memory">>, Function, Args, #{}}, Timeout).

done({ok, none}) -> ok;
done({error, _} = Error) -> Error.
