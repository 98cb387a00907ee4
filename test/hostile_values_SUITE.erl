%% Values that are made to harm the node.
-module(hostile_values_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        pids_and_references_can_be_pickled,
        other_terms_are_not_unpickled,
        tuple_larger_than_erlang_s_is_an_error
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

pids_and_references_can_be_pickled(_Config) ->
    ok = py:exec(<<"import pickle">>),
    %% In the external format, so that no other node has to run.
    Remote = binary_to_term(<<131, 88, 119, 13, "other@nowhere", 123:32, 4:32, 77:32>>),
    [Port | _] = erlang:ports(),
    Terms = [self(), make_ref(), Port, Remote],
    ?assertEqual({ok, Terms}, py:eval(<<"pickle.loads(pickle.dumps(a))">>, #{a => Terms})).

%% A large map in there would take the node down where the emulator makes none on this thread.
other_terms_are_not_unpickled(_Config) ->
    ok = py:exec(<<"import _erlang">>),
    Refused = fun(Bytes) ->
        Result = py:eval(<<"_erlang.from_external(data)">>, #{data => {bytes, Bytes}}),
        py_suite:contains(py_suite:error_text('ValueError', Result), "no pid")
    end,
    Large = maps:from_list([{I, I} || I <- lists:seq(1, 2000)]),
    lists:foreach(Refused, [<<>>, <<131>>, <<131, 88>>, <<"pid">>, term_to_binary([])]),
    lists:foreach(Refused, [term_to_binary(Large), term_to_binary(Large, [compressed]), term_to_binary(ok)]).

%% The emulator's C API would make one, which matches tuples of another size.
tuple_larger_than_erlang_s_is_an_error(_Config) ->
    Text = py_suite:error_text('OverflowError', py:eval(<<"(None,) * (1 << 24)">>)),
    py_suite:contains(Text, "use a list"),
    Nested = py_suite:error_text('OverflowError', py:eval(<<"[[(None,) * (1 << 24)]]">>)),
    py_suite:contains(Nested, "use a list").
