-module(py_reactor_telemetry).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Events for the library `telemetry', in a node that has it.

-export([lag/3]).

%% `[erlang_python, reactor, lag]': a handler has been running for so many microseconds.
-spec lag(Id :: term(), pid(), Microseconds :: non_neg_integer()) -> ok.
lag(Id, Context, Microseconds) ->
    execute([erlang_python, reactor, lag], #{microseconds => Microseconds}, #{id => Id, context => Context}).

execute(Event, Measurements, Metadata) ->
    %% Not a dependency: the module may be missing.
    Telemetry = telemetry,
    case erlang:function_exported(Telemetry, execute, 3) of
        true ->
            _ = Telemetry:execute(Event, Measurements, Metadata),
            ok;
        false ->
            ok
    end.
