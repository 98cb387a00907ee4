-module(compare_figures).

-export([median/1, percentile/2]).

-spec median([number(), ...]) -> number().
median(Numbers) ->
    Sorted = lists:sort(Numbers),
    Length = length(Sorted),
    case Length rem 2 of
        1 -> lists:nth(Length div 2 + 1, Sorted);
        0 -> (lists:nth(Length div 2, Sorted) + lists:nth(Length div 2 + 1, Sorted)) / 2
    end.

-spec percentile(1..100, [number(), ...]) -> number().
percentile(Percent, Numbers) ->
    Sorted = lists:sort(Numbers),
    lists:nth(max(1, ceil(length(Sorted) * Percent / 100)), Sorted).
