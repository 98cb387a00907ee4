%% What the module of this name tells on a system without /proc.
-module(compare_usage).

-export([processor_time/1, memory/1]).

processor_time(_Root) ->
    unknown.

memory(_Root) ->
    unknown.
