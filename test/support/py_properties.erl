%% Checks properties.
-module(py_properties).

-export([check/4]).

%% Fails with a counterexample unless the property of that name, which the fun gives, holds. It is tried `Tests' times
%% unless PROPERTY_TESTS in the environment says how often; the options are further ones of PropEr.
-spec check(atom(), fun(() -> term()), pos_integer(), [term()]) -> ok.
check(Name, Property, Tests, Options) ->
    case code:ensure_loaded(proper) of
        {module, proper} -> ok;
        {error, _} -> ct:fail("PropEr is not in the code path; `scripts/setup.sh test' installs it")
    end,
    Log = fun(Text, Values) -> ct:log(Text, Values) end,
    All = [long_result, {numtests, tests(Tests)}, {on_output, Log} | Options],
    case proper:quickcheck(Property(), All) of
        true ->
            ok;
        Counterexample ->
            ct:pal("~ts does not hold for~n~tp", [Name, Counterexample]),
            ct:fail({Name, does_not_hold_for, Counterexample})
    end.

tests(Tests) ->
    case os:getenv("PROPERTY_TESTS") of
        false -> Tests;
        Text -> list_to_integer(Text)
    end.
