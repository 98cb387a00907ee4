-module(py_state).
-include("py_doc.hrl").
?MODULEDOC("""
Values that Erlang and all contexts share: terms under keys, as in a public ETS table.

Python code has them as `erlang.state_get` and its like; neither side waits for the other, nor for any process. A key is
any term, and the same key is the same term (`=:=`): what Python calls `"hits"` is `<<"hits">>` here. A value is any term
and comes back as what it was, whoever asks. The table begins empty with each start of the application, and may have
`max_state_entries` keys, 100000 unless it is set.
""").

-export([fetch/1, store/2, remove/1, keys/0, clear/0, incr/1, incr/2, decr/1, decr/2]).
-export([open/0, incr/3, decr/3]).
-export_type([full/0, sum/0]).
-include("py_arguments.hrl").

-type full() :: {state_full, Max :: pos_integer()}.
-type sum() :: integer() | {error, full() | not_an_integer | too_large | not_running}.

%% What the native side adds: 64 bits with a sign.
-define(IS_AMOUNT(N), is_integer(N), (N) >= -16#8000000000000000, (N) =< 16#7FFFFFFFFFFFFFFF).

?DOC("The value under a key.").
-spec fetch(Key :: term()) -> {ok, term()} | {error, not_found | not_running}.
fetch(Key) ->
    py_nif:state_fetch(Key).

?DOC("Puts a value under a key, in the place of the one that is there. A new key needs room: `{error, {state_full, Max}}`.").
-spec store(Key :: term(), Value :: term()) -> ok | {error, full() | not_running}.
store(Key, Value) ->
    py_nif:state_store(Key, Value).

?DOC("Removes a key; ok also when it is not there.").
-spec remove(Key :: term()) -> ok | {error, not_running}.
remove(Key) ->
    py_nif:state_remove(Key).

?DOC("All keys, in no particular order. Keys that come or go meanwhile may or may not be among them.").
-spec keys() -> [term()] | {error, not_running}.
keys() ->
    py_nif:state_keys().

?DOC("Removes all keys.").
-spec clear() -> ok | {error, not_running}.
clear() ->
    py_nif:state_clear().

?DOC("As `incr/2` with 1.").
-spec incr(Key :: term()) -> sum().
incr(Key) ->
    py_nif:state_add(Key, 1).

?DOC("""
Adds to the integer under a key in one step, and gives the sum; a key that is not there counts as 0. Counters have 64
bits: beyond them it is `{error, too_large}`. Another value is `{error, not_an_integer}`. Neither changes anything.
""").
-spec incr(Key :: term(), Amount :: integer()) -> sum().
incr(Key, Amount) ->
    incr(?FORM([key, amount], [Key, Amount]), Key, Amount).

?DOC(false).
-spec incr(py_badarg:form(), Key :: term(), Amount :: integer()) -> sum().
incr(_Form, Key, Amount) when ?IS_AMOUNT(Amount) ->
    py_nif:state_add(Key, Amount);
incr(Form, _Key, _Amount) ->
    py_badarg:refuse(Form, amount, wrong).

?DOC("As `decr/2` with 1.").
-spec decr(Key :: term()) -> sum().
decr(Key) ->
    py_nif:state_add(Key, -1).

?DOC("Subtracts from the integer under a key; see `incr/2`.").
-spec decr(Key :: term(), Amount :: integer()) -> sum().
decr(Key, Amount) ->
    decr(?FORM([key, amount], [Key, Amount]), Key, Amount).

?DOC(false).
-spec decr(py_badarg:form(), Key :: term(), Amount :: integer()) -> sum().
decr(_Form, Key, Amount) when is_integer(Amount), ?IS_AMOUNT(-Amount) ->
    py_nif:state_add(Key, -Amount);
decr(Form, _Key, _Amount) ->
    py_badarg:refuse(Form, amount, wrong).

?DOC(false).
%% Once a start.
-spec open() -> ok.
open() ->
    py_nif:state_open(py_config:get(max_state_entries)).
