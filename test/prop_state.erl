%% Steps of Erlang and Python on the shared state, one after another, compared with a map that takes the same steps.
-module(prop_state).

-export([check/1]).

-include("support/py_properties.hrl").

-define(TESTS, 300).
-define(MOST, 6).

%% The context keeps atoms, and the state may have MOST entries.
check(Context) ->
    Holds = fun() -> ?FORALL(Steps, proper_types:list(step()), agrees(Context, Steps)) end,
    py_properties:check(state_is_a_map, Holds, ?TESTS, [{max_size, 40}]).

step() ->
    {proper_types:oneof([erlang, python]), operation()}.

operation() ->
    proper_types:oneof([
        {fetch, key()},
        {store, key(), value()},
        {remove, key()},
        {incr, key(), amount()},
        {decr, key(), amount()},
        keys,
        proper_types:frequency([{1, clear}, {9, keys}])
    ]).

%% More of them than there is room for; some are equal and not the same.
key() ->
    proper_types:elements([<<"a">>, a, "a", {a}, 1, 1.0, 1 bsl 70, #{a => 1}, <<255>>, <<>>]).

%% What comes back from Python as it went.
value() ->
    proper_types:oneof([
        amount(),
        proper_types:elements([16#7FFFFFFFFFFFFFFF, -16#8000000000000000, 1 bsl 64, 0.5, a, <<"text">>, <<128, 255>>, self()]),
        ?LET(Values, proper_types:list(amount()), proper_types:elements([Values, list_to_tuple(Values), #{<<"k">> => Values}]))
    ]).

amount() ->
    proper_types:oneof([proper_types:integer(), proper_types:elements([16#7FFFFFFFFFFFFFFF, -16#7FFFFFFFFFFFFFFF])]).

agrees(Context, Steps) ->
    ok = py_state:clear(),
    lists:foldl(
        fun
            (_Step, false) ->
                false;
            ({Side, Operation} = Step, Model) ->
                {Expected, Next} = expected(Operation, Model),
                case done(Side, Context, Operation) of
                    Expected ->
                        Next;
                    Other ->
                        ct:log("~tp gave ~tp, not ~tp, in ~tp", [Step, Other, Expected, Model]),
                        false
                end
        end,
        #{},
        Steps
    ) =/= false.

expected({fetch, Key}, Model) ->
    {maps:find(Key, Model), Model};
expected({store, Key, Value}, Model) ->
    case is_map_key(Key, Model) orelse map_size(Model) < ?MOST of
        true -> {ok, Model#{Key => Value}};
        false -> {full, Model}
    end;
expected({remove, Key}, Model) ->
    {ok, maps:remove(Key, Model)};
expected({decr, Key, Amount}, Model) ->
    expected({incr, Key, -Amount}, Model);
expected({incr, Key, Amount}, Model) ->
    case Model of
        #{Key := There} when not is_integer(There); There =/= (There bsl 64) bsr 64 -> {wrong, Model};
        #{Key := There} -> summed(Key, There + Amount, Model);
        #{} when map_size(Model) < ?MOST -> summed(Key, Amount, Model);
        #{} -> {full, Model}
    end;
expected(keys, Model) ->
    {sorted(maps:keys(Model)), Model};
expected(clear, _Model) ->
    {ok, #{}}.

%% 1 and 1.0 have no order.
sorted(Keys) ->
    lists:sort([term_to_binary(Key) || Key <- Keys]).

summed(_Key, Sum, Model) when Sum > 16#7FFFFFFFFFFFFFFF; Sum < -16#8000000000000000 -> {wrong, Model};
summed(Key, Sum, Model) -> {Sum, Model#{Key => Sum}}.

done(erlang, _Context, Operation) ->
    case of_erlang(Operation) of
        {error, not_found} -> error;
        {error, {state_full, ?MOST}} -> full;
        {error, Wrong} when Wrong =:= not_an_integer; Wrong =:= too_large -> wrong;
        Keys when Operation =:= keys -> sorted(Keys);
        Other -> Other
    end;
done(python, Context, Operation) ->
    case {Operation, of_python(Context, Operation)} of
        {{fetch, _}, {ok, missing}} -> error;
        {{fetch, _}, {ok, Value}} -> {ok, Value};
        {keys, {ok, Keys}} -> sorted(Keys);
        {_, {ok, none}} -> ok;
        {_, {ok, Sum}} -> Sum;
        {_, {error, {'RuntimeError', _}}} -> full;
        {_, {error, {Class, _}}} when Class =:= 'TypeError'; Class =:= 'OverflowError' -> wrong
    end.

of_erlang({fetch, Key}) -> py_state:fetch(Key);
of_erlang({store, Key, Value}) -> py_state:store(Key, Value);
of_erlang({remove, Key}) -> py_state:remove(Key);
of_erlang({incr, Key, Amount}) -> py_state:incr(Key, Amount);
of_erlang({decr, Key, Amount}) -> py_state:decr(Key, Amount);
of_erlang(keys) -> py_state:keys();
of_erlang(clear) -> py_state:clear().

of_python(Context, {fetch, Key}) -> py:call(Context, erlang, state_get, [Key, missing]);
of_python(Context, {store, Key, Value}) -> py:call(Context, erlang, state_set, [Key, Value]);
of_python(Context, {remove, Key}) -> py:call(Context, erlang, state_delete, [Key]);
of_python(Context, {incr, Key, Amount}) -> py:call(Context, erlang, state_incr, [Key, Amount]);
of_python(Context, {decr, Key, Amount}) -> py:call(Context, erlang, state_decr, [Key, Amount]);
of_python(Context, keys) -> py:call(Context, erlang, state_keys, []);
of_python(Context, clear) -> py:call(Context, erlang, state_clear, []).
