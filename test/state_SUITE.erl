%% The state that Erlang and all contexts share.
-module(state_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(MOST, 1000).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}, is_not_running_without_the_application, setting_is_checked].

groups() ->
    py_suite:groups([
        terms_come_back_as_they_were,
        both_sides_see_the_same,
        default_is_for_keys_that_are_not_there,
        keys_are_the_same_when_the_terms_are,
        atoms_are_keys_of_their_own_in_python,
        what_only_erlang_has_passes_through_python,
        functions_take_what_they_say,
        counters_lose_no_step,
        counters_have_64_bits,
        what_is_no_integer_is_not_counted,
        bound_is_kept,
        bound_is_kept_by_many_at_once,
        keys_go_one_by_one_and_all_at_once,
        threads_and_tasks_share_it,
        conversion_may_use_the_state_itself,
        what_cannot_be_converted_changes_nothing,
        values_outlive_their_context_and_process,
        objects_are_references,
        large_bytes_keep_no_interpreter,
        memory_comes_back,
        every_start_begins_empty,
        wrong_amounts_are_refused,
        state_is_a_map
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(Case, Config) when Case =:= is_not_running_without_the_application; Case =:= setting_is_checked ->
    Config;
init_per_testcase(_Case, Config) ->
    ok = py_state:clear(),
    [{ctx, py_suite:new_context(Config)} | Config].

end_per_testcase(_Case, Config) ->
    case ?config(ctx, Config) of
        undefined -> ok;
        Context -> py_context:stop(Context)
    end.

%% The application with so much room, and a context in it.
with_room(Config, Most) ->
    ok = py_suite:restart(Config, #{max_state_entries => Most}),
    py_suite:new_context(Config).

%% As the other cases found it.
as_it_was(Config) ->
    ok = py_suite:restart(Config, #{}).

%% ------------------------------------------------------------------------------------------------

terms_come_back_as_they_were(_Config) ->
    Port = hd(erlang:ports()),
    Terms = [
        0, -1, 1 bsl 62, 1 bsl 63, -(1 bsl 63), 1 bsl 2000, 0.1, a, '', nil, true, "text", <<>>, <<"text">>, <<5:3>>,
        binary:copy(<<"0123456789">>, 100_000), self(), make_ref(), Port, fun lists:reverse/1, fun() -> Port end, [], [a | b],
        {}, {a, "b", 1.0}, #{}, #{a => #{1.0 => {}}}, maps:from_list([{N, {N}} || N <- lists:seq(1, 100)]),
        erlang:list_to_tuple(lists:seq(1, 10_000))
    ],
    [
        begin
            ?assertEqual(ok, py_state:store(Key, Term)),
            ?assertEqual({ok, Term}, py_state:fetch(Key)),
            %% And in its place.
            ?assertEqual(ok, py:state_store(Key, {Term})),
            ?assertEqual({ok, {Term}}, py:state_fetch(Key))
        end
     || Term <- Terms, Key <- [<<"key">>, Term]
    ],
    ?assertEqual(lists:sort([<<"key">> | Terms]), lists:sort(py_state:keys())).

both_sides_see_the_same(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_state:store(<<"from erlang">>, #{<<"list">> => [1, 2.5, <<"three">>]}),
    ?assertEqual({ok, true}, py:eval(Ctx, <<"__import__('erlang').state_get('from erlang') == {'list': [1, 2.5, 'three']}">>)),
    ok = py:exec(Ctx, <<
        "from erlang import state_set, state_get, state_delete, state_keys, state_incr\n"
        "state_set('from python', {'a': (1, None), 2: [b'\\xff', '\\u00fc', 2 ** 80]})\n"
        "state_set('gone', 1)\n"
        "state_delete('gone')\n"
        "state_delete('never there')\n"
        "assert state_incr('count') == 1\n"
        "assert sorted(state_keys()) == ['count', 'from erlang', 'from python'], state_keys()\n"
    >>),
    ?assertEqual(
        {ok, #{<<"a">> => {1, none}, 2 => [<<255>>, <<"ü"/utf8>>, 1 bsl 80]}}, py_state:fetch(<<"from python">>)
    ),
    ?assertEqual({error, not_found}, py_state:fetch(<<"gone">>)),
    ?assertEqual(2, py_state:incr(<<"count">>)),
    %% Another context as well.
    Other = py_suite:new_context(Config),
    ?assertEqual({ok, 2}, py:call(Other, erlang, state_get, [<<"count">>])),
    ok = py_context:stop(Other).

default_is_for_keys_that_are_not_there(Config) ->
    ok = py:exec(?config(ctx, Config), <<
        "from erlang import state_set, state_get\n"
        "assert state_get('x') is None\n"
        "assert state_get('x', 1) == 1\n"
        "assert state_get('x', default=1) == 1\n"
        "assert state_get(default=1, key='x') == 1\n"
        "state_set('x', None)\n"
        "assert state_get('x', 1) is None\n"
        "state_set(value=False, key='x')\n"
        "assert state_get('x', 1) is False\n"
    >>).

keys_are_the_same_when_the_terms_are(_Config) ->
    Large = fun(N) -> maps:from_list([{I, I} || I <- lists:seq(1, N)]) end,
    Keys = [1, 1.0, '1', "1", <<"1">>, {1}, [1], <<1:3>>, 1 bsl 70, Large(3), Large(100), (Large(100))#{1 => 2}, self()],
    [ok = py_state:store(Key, Place) || {Place, Key} <- lists:zip(lists:seq(1, length(Keys)), Keys)],
    %% Each made once more.
    Again = [binary_to_term(term_to_binary(Key)) || Key <- Keys],
    ?assertEqual([{ok, Place} || Place <- lists:seq(1, length(Keys))], [py_state:fetch(Key) || Key <- Again]),
    <<_, Part/binary>> = <<"x1">>,
    ?assertEqual({ok, 5}, py_state:fetch(Part)),
    <<_:3, Unaligned/bitstring>> = <<0:3, "1">>,
    ?assertEqual({ok, 5}, py_state:fetch(Unaligned)).

atoms_are_keys_of_their_own_in_python(Config) ->
    ok = py_state:store(hits, 1),
    ok = py_state:store(<<"hits">>, 2),
    ok = py:exec(?config(ctx, Config), <<
        "import erlang\n"
        "assert erlang.state_get('hits') == 2\n"
        "assert erlang.state_get(b'hits') == 2\n"
        "assert erlang.state_get(erlang.atom('hits')) == 1\n"
        "class Text(str):\n    pass\n"
        "assert erlang.state_get(Text('hits')) == 2\n"
        "erlang.state_set((1, 'a'), 3)\n"
    >>),
    ?assertEqual({ok, 3}, py_state:fetch({1, <<"a">>})).

what_only_erlang_has_passes_through_python(Config) ->
    Ref = make_ref(),
    Fun = fun(X) -> {X, Ref} end,
    Values = [self(), Ref, hd(erlang:ports()), Fun],
    ok = py_state:store(<<"values">>, Values),
    ok = py:exec(?config(ctx, Config), <<
        "import erlang\n"
        "values = erlang.state_get('values')\n"
        "erlang.state_set('again', tuple(values))\n"
        "for value in values:\n"
        "    erlang.state_set(value, str(type(value).__name__))\n"
        "erlang.send(erlang.state_get('values')[0], 'reached')\n"
    >>),
    receive
        <<"reached">> -> ok
    after 30_000 -> ct:fail(nothing_came)
    end,
    ?assertEqual({ok, list_to_tuple(Values)}, py_state:fetch(<<"again">>)),
    Names = [<<"Pid">>, <<"Ref">>, <<"Port">>, <<"Fun">>],
    ?assertEqual([{ok, Name} || Name <- Names], [py_state:fetch(Value) || Value <- Values]).

functions_take_what_they_say(Config) ->
    Ctx = ?config(ctx, Config),
    Wrong = [
        {<<"state_get()">>, "erlang.state_get() needs 'key'"},
        {<<"state_get(default=1)">>, "needs 'key'"},
        {<<"state_get('a', 1, 2)">>, "takes at most 2 arguments (3 given)"},
        {<<"state_get('a', key='b')">>, "got 'key' twice"},
        {<<"state_get('a', other='b')">>, "has no parameter 'other'"},
        {<<"state_set('a')">>, "needs 'value'"},
        {<<"state_keys(1)">>, "takes at most 0 arguments (1 given)"},
        {<<"state_clear(1)">>, "takes at most 0"},
        {<<"state_delete()">>, "needs 'key'"},
        {<<"state_incr('a', 'b')">>, "int"},
        {<<"state_decr('a', 1.5)">>, "int"}
    ],
    [
        begin
            Text = py_suite:error_text('TypeError', py:eval(Ctx, <<"__import__('erlang').", Call/binary>>)),
            ok = py_suite:contains(Text, Says)
        end
     || {Call, Says} <- Wrong
    ],
    ?assertMatch({error, {'UnicodeEncodeError', _}}, py:eval(Ctx, <<"__import__('erlang').state_get('\\ud800')">>)),
    ?assertEqual([], py_state:keys()).

%% Each sum is seen once, by processes, contexts and threads at the same time.
counters_lose_no_step(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:exec(Ctx, <<
        "import threading, erlang\n"
        "def count(times):\n"
        "    return [erlang.state_incr('n') for _ in range(times)]\n"
        "def thread(times, into):\n"
        "    into.extend(count(times))\n"
        "def threads(number, times):\n"
        "    sums = []\n"
        "    running = [threading.Thread(target=thread, args=(times, sums)) for _ in range(number)]\n"
        "    for one in running:\n        one.start()\n"
        "    for one in running:\n        one.join()\n"
        "    return sums\n"
    >>),
    Environment = py:get_local_env(Ctx),
    Sums = py_suite:concurrently(6, fun
        (1) ->
            {ok, Counted} = py_context:call(Ctx, '__main__', threads, [4, 500], #{}, infinity, Environment),
            Counted;
        (2) ->
            {ok, Counted} = py:eval(<<"[__import__('erlang').state_incr('n') for _ in range(2000)]">>),
            Counted;
        (_) ->
            [py_state:incr(<<"n">>) || _ <- lists:seq(1, 2000)]
    end),
    ?assertEqual(lists:seq(1, 12_000), lists:sort(lists:append(Sums))),
    ?assertEqual({ok, 12_000}, py_state:fetch(<<"n">>)),
    Left = py_suite:concurrently(4, fun(_) -> [py_state:decr(<<"n">>, 3) || _ <- lists:seq(1, 1000)] end),
    ?assertEqual(0, lists:min(lists:append(Left))).

counters_have_64_bits(Config) ->
    Ctx = ?config(ctx, Config),
    {Most, Least} = {16#7FFFFFFFFFFFFFFF, -16#8000000000000000},
    ?assertEqual(Most, py_state:incr(n, Most)),
    ?assertEqual({error, too_large}, py_state:incr(n)),
    ?assertEqual({error, too_large}, py:state_incr(n, Most)),
    ?assertEqual({ok, Most}, py_state:fetch(n)),
    ?assertEqual(Least, py_state:incr(m, Least)),
    ?assertEqual({error, too_large}, py_state:decr(m)),
    ?assertEqual(0, py_state:incr(k, 0)),
    ok = py_state:store(<<"n">>, Most),
    ?assertMatch({error, {'OverflowError', _}}, py:call(Ctx, erlang, state_incr, [<<"n">>])),
    ?assertMatch({error, {'OverflowError', _}}, py:call(Ctx, erlang, state_incr, [<<"n">>, 1 bsl 63])),
    ?assertMatch({error, {'OverflowError', _}}, py:call(Ctx, erlang, state_decr, [<<"n">>, Least])),
    ?assertEqual({ok, Most - 1}, py:call(Ctx, erlang, state_decr, [<<"n">>], #{kwargs => #{amount => 1}})),
    %% Larger ones are values like others.
    ok = py_state:store(large, Most + 1),
    ?assertEqual({error, not_an_integer}, py_state:incr(large)).

what_is_no_integer_is_not_counted(Config) ->
    Values = [1.0, a, <<"1">>, [1], {1}, #{}, self(), true],
    [
        begin
            ok = py_state:store(<<"n">>, Value),
            ?assertEqual({error, not_an_integer}, py_state:incr(<<"n">>)),
            ?assertEqual({error, not_an_integer}, py:state_decr(<<"n">>)),
            ?assertMatch({error, {'TypeError', _}}, py:call(?config(ctx, Config), erlang, state_incr, [<<"n">>])),
            ?assertEqual({ok, Value}, py_state:fetch(<<"n">>))
        end
     || Value <- Values
    ].

bound_is_kept(Config) ->
    Ctx = with_room(Config, 3),
    ?assertEqual([ok, ok, ok], [py_state:store(N, N) || N <- [1, 2, 3]]),
    ?assertEqual({error, {state_full, 3}}, py_state:store(4, 4)),
    ?assertEqual({error, {state_full, 3}}, py_state:incr(4)),
    ?assertEqual({error, {state_full, 3}}, py:state_decr(<<"4">>, 4)),
    Full = fun(Result) -> py_suite:contains(py_suite:error_text('RuntimeError', Result), "max_state_entries") end,
    ok = Full(py:call(Ctx, erlang, state_set, [<<"4">>, 4])),
    ok = Full(py:call(Ctx, erlang, state_incr, [<<"4">>])),
    ?assertEqual([1, 2, 3], lists:sort(py_state:keys())),
    %% What is there may change.
    ?assertEqual(ok, py_state:store(1, {new})),
    ?assertEqual({ok, 3}, py:call(Ctx, erlang, state_incr, [2])),
    ok = py_state:remove(3),
    ok = py_state:remove(3),
    ?assertEqual({ok, none}, py:call(Ctx, erlang, state_set, [<<"4">>, 4])),
    ?assertEqual({error, {state_full, 3}}, py_state:store(3, 3)),
    ok = py_state:clear(),
    ?assertEqual([ok, ok, ok], [py_state:store(N, N) || N <- [5, 6, 7]]),
    ?assertEqual({error, {state_full, 3}}, py_state:store(8, 8)),
    ok = as_it_was(Config).

%% The same keys are put, counted and removed by all; what there is room for is there in the end.
bound_is_kept_by_many_at_once(Config) ->
    _ = with_room(Config, ?MOST),
    Keys = lists:seq(1, 2 * ?MOST),
    Answers = py_suite:concurrently(4, fun(I) ->
        [case (N + I) rem 2 of 0 -> py_state:store(N, I); 1 -> py_state:incr({N}, I) end || N <- Keys]
    end),
    ?assertEqual(?MOST, length(py_state:keys())),
    ?assertEqual({?MOST, ?MOST}, py_nif:state_counted()),
    ?assert(lists:all(fun(Answer) -> Answer =:= ok orelse is_integer(Answer) orelse Answer =:= {error, {state_full, ?MOST}} end, lists:append(Answers))),
    _ = py_suite:concurrently(4, fun(_) -> [ok = py_state:remove(Key) || N <- Keys, Key <- [N, {N}]] end),
    ?assertEqual({0, ?MOST}, py_nif:state_counted()),
    %% Clearing counts as well, whoever stores meanwhile.
    _ = py_suite:concurrently(4, fun
        (1) -> [ok = py_state:clear() || _ <- lists:seq(1, 50)];
        (I) -> [py_state:store({N, I}, N) || N <- Keys]
    end),
    ?assertEqual({length(py_state:keys()), ?MOST}, py_nif:state_counted()),
    ok = as_it_was(Config).

keys_go_one_by_one_and_all_at_once(Config) ->
    Ctx = ?config(ctx, Config),
    [ok = py_state:store(N, N) || N <- lists:seq(1, 10_000)],
    ?assertEqual(lists:seq(1, 10_000), lists:sort(py_state:keys())),
    {ok, Keys} = py:call(Ctx, erlang, state_keys, []),
    ?assertEqual(lists:seq(1, 10_000), lists:sort(Keys)),
    ?assertEqual(ok, py:state_remove(1)),
    ?assertEqual({error, not_found}, py:state_fetch(1)),
    ?assertEqual(9_999, length(py:state_keys())),
    ?assertEqual({ok, none}, py:call(Ctx, erlang, state_clear, [])),
    ?assertEqual([], py_state:keys()),
    ?assertEqual(ok, py:state_clear()),
    ?assertEqual({ok, []}, py:call(Ctx, erlang, state_keys, [])).

threads_and_tasks_share_it(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py:exec(Ctx, <<
        "import threading, erlang\n"
        "def put():\n"
        "    erlang.state_set('thread', {'of': ('thread', 1)})\n"
        "    erlang.state_set((1, 2), erlang.state_get('thread')['of'])\n"
        "def thread():\n"
        "    one = threading.Thread(target=put)\n"
        "    one.start()\n"
        "    one.join()\n"
        "async def task():\n"
        "    return erlang.state_get('thread')\n"
    >>),
    ?assertEqual({ok, none}, py:call(Ctx, '__main__', thread, [])),
    ?assertEqual({ok, {<<"thread">>, 1}}, py_state:fetch({1, 2})),
    ?assertEqual({ok, #{<<"of">> => {<<"thread">>, 1}}}, py_context:submit_await(Ctx, '__main__', task, [])).

conversion_may_use_the_state_itself(Config) ->
    ok = py:exec(?config(ctx, Config), <<
        "import erlang\n"
        "class Counted:\n"
        "    def __erlang_term__(self):\n"
        "        return erlang.state_incr('asked')\n"
        "erlang.state_set('value', [Counted(), Counted()])\n"
        "erlang.state_set(Counted(), 'key')\n"
        "assert erlang.state_get(3) == 'key'\n"
    >>),
    ?assertEqual({ok, [1, 2]}, py_state:fetch(<<"value">>)).

what_cannot_be_converted_changes_nothing(Config) ->
    Ctx = ?config(ctx, Config),
    ok = py_state:store(<<"a">>, 1),
    ?assertMatch({error, {'RecursionError', _}}, py:exec(Ctx, <<"import erlang\nx = []\nx.append(x)\nerlang.state_set('a', x)">>)),
    ?assertMatch({error, {'UnicodeEncodeError', _}}, py:eval(Ctx, <<"erlang.state_set('a', '\\ud800')">>)),
    ?assertMatch({error, {_, _}}, py:eval(Ctx, <<"erlang.state_set(['\\ud800'], 1)">>)),
    ?assertEqual({ok, 1}, py_state:fetch(<<"a">>)),
    %% A term without a counterpart is an error of the code that asks for it.
    ok = py_state:store(<<"b">>, [a | b]),
    ?assertMatch({error, {_, _}}, py:eval(Ctx, <<"erlang.state_get('b')">>)),
    ?assertEqual([<<"a">>, <<"b">>], lists:sort(py_state:keys())).

values_outlive_their_context_and_process(Config) ->
    Ctx = py_suite:new_context(Config),
    {ok, none} = py:call(Ctx, erlang, state_set, [<<"python">>, [<<"list">>]]),
    _ = py_suite:fresh(fun() -> py_state:store(<<"erlang">>, {tuple, self()}) end),
    ok = py_context:stop(Ctx),
    ?assertEqual({ok, [<<"list">>]}, py_state:fetch(<<"python">>)),
    ?assertMatch({ok, {tuple, _}}, py_state:fetch(<<"erlang">>)),
    Killed = py_suite:new_context(Config),
    {ok, none} = py:call(Killed, erlang, state_set, [<<"killed">>, 1]),
    ok = py_suite:silently(fun() -> py_suite:killed(Killed) end),
    ?assertEqual({ok, 1}, py_state:fetch(<<"killed">>)).

%% They keep the object alive as long as they are there.
objects_are_references(Config) ->
    Ctx = py_suite:new_context(Config),
    ok = py:exec(Ctx, <<
        "import erlang, weakref\n"
        "class Thing:\n"
        "    colour = 'red'\n"
        "thing = Thing()\n"
        "gone = weakref.ref(thing)\n"
        "erlang.state_set('thing', thing)\n"
        "assert erlang.state_get('thing') is thing\n"
        "del thing\n"
    >>),
    {ok, Ref} = py_state:fetch(<<"thing">>),
    ?assert(py:is_ref(Ref)),
    ?assertEqual({ok, <<"red">>}, py:getattr(Ref, colour)),
    ?assertEqual({ok, false}, py:eval(Ctx, <<"gone() is None">>)),
    ok = py_context:stop(Ctx),
    {ok, Stale} = py_state:fetch(<<"thing">>),
    ?assertEqual({error, stale_reference}, py:getattr(Stale, colour)).

%% A result of that size is lent to Erlang, and the interpreter waits until it has gone.
large_bytes_keep_no_interpreter(Config) ->
    Before = py_leaks:snapshot(),
    Ctx = py_suite:new_context(Config),
    ok = py:exec(Ctx, <<"import erlang\nerlang.state_set('large', [bytes(1_000_000)])\nerlang.state_set(bytes(1_000_000), 1)">>),
    ok = py_context:stop(Ctx),
    ok = py_leaks:check(Before, #{spares => 1}),
    ?assertEqual({ok, [<<0:8_000_000>>]}, py_state:fetch(<<"large">>)),
    ?assertEqual({ok, 1}, py_state:fetch(<<0:8_000_000>>)).

memory_comes_back(_Config) ->
    Before = binaries(),
    [ok = py_state:store(N, binary:copy(<<N>>, 1_000_000)) || N <- lists:seq(1, 100)],
    [ok = py_state:store(N, {replaced, binary:copy(<<N>>, 1_000_000)}) || N <- lists:seq(1, 100)],
    ?assertEqual(ok, py_leaks:eventually(fun() -> binaries() < Before + 120_000_000 end)),
    ?assert(binaries() > Before + 90_000_000),
    [ok = py_state:remove(N) || N <- lists:seq(1, 50)],
    ?assertEqual(ok, py_leaks:eventually(fun() -> binaries() < Before + 60_000_000 end)),
    ok = py_state:clear(),
    ?assertEqual(ok, py_leaks:eventually(fun() -> binaries() < Before + 10_000_000 end)).

binaries() ->
    true = erlang:garbage_collect(),
    erlang:memory(binary).

every_start_begins_empty(Config) ->
    ok = py_state:store(a, 1),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual([], py_state:keys()),
    ?assertEqual({0, 100_000}, py_nif:state_counted()),
    ok = py_suite:restart(Config, #{max_state_entries => infinity}),
    ?assertEqual({0, infinity}, py_nif:state_counted()),
    ok = as_it_was(Config).

wrong_amounts_are_refused(_Config) ->
    Wrong = [1.0, a, <<"1">>, 1 bsl 64, -(1 bsl 64)],
    Functions = [{py_state, incr}, {py_state, decr}, {py, state_incr}, {py, state_decr}],
    [
        try Module:Function(key, Amount) of
            Value -> ct:fail({Module, Function, Amount, Value})
        catch
            error:badarg:Stack ->
                [{Module, Function, [key, Amount], _} | _] = Stack,
                #{2 := Text} = py_badarg:format_error(badarg, Stack),
                ok = py_suite:contains(lists:flatten(Text), "an integer of at most 64 bits")
        end
     || Amount <- Wrong, {Module, Function} <- Functions
    ],
    ?assertEqual([], py_state:keys()).

state_is_a_map(Config) ->
    ok = py_suite:restart(Config, #{max_state_entries => 6}),
    {ok, Ctx} = py_context:new(#{mode => py_suite:mode(Config), conversion => #{atoms => atom}}),
    prop_state:check(Ctx),
    ok = as_it_was(Config).

%% ------------------------------------------------------------------------------------------------

is_not_running_without_the_application(_Config) ->
    ok = py_suite:stop(),
    Calls = [
        {fetch, [a]}, {store, [a, 1]}, {remove, [a]}, {keys, []}, {clear, []}, {incr, [a]}, {incr, [a, 2]}, {decr, [a]}, {decr, [a, 2]}
    ],
    [
        ?assertEqual({error, not_running}, apply(Module, Function, Args))
     || {Name, Args} <- Calls,
        {Module, Function} <- [{py_state, Name}, {py, list_to_atom("state_" ++ atom_to_list(Name))}]
    ].

setting_is_checked(_Config) ->
    ok = py_suite:stop(),
    [
        ?assertMatch(
            {error, {erlang_python, {{bad_option, max_state_entries, Wrong, _}, _}}},
            py_suite:silently(fun() -> py_suite:start(#{max_state_entries => Wrong}) end)
        )
     || Wrong <- [0, -1, 1.5, many, 1 bsl 32]
    ],
    ok = py_suite:stop().
