%% Bytes that both sides use without a copy: what is seen of them, who keeps them alive, and until when.
-module(shared_memory_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_objects, [another_context/1, objects/3]).

-define(LARGE, 100_000).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        large_bytes_are_not_copied,
        part_of_large_bytes_keeps_them,
        small_and_other_bytes_are_copied,
        bytes_outlive_their_context,
        many_large_bytes_are_released,
        memoryview_shows_the_binary_itself,
        memoryview_outlives_call_and_process,
        memoryview_goes_with_its_context
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun py_objects:install/1).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

end_per_testcase(_Case, Config) ->
    py_suite:both_answer(Config).

%%% Large bytes

references(Config, Name) ->
    {ok, Count} = objects(?config(ctx, Config), references, [Name]),
    Count.

large_bytes_are_not_copied(Config) ->
    Context = ?config(ctx, Config),
    {ok, none} = objects(Context, make_bytes, [large, ?LARGE]),
    Before = references(Config, large),
    Holder = py_holder:holding(fun() ->
        {ok, Binary} = objects(Context, get, [large]),
        Binary
    end),
    ?assertEqual(Before + 1, references(Config, large)),
    ?assert(py_holder:in_holder(Holder, fun(Binary) -> Binary =:= pattern(?LARGE) end)),
    %% Copies of the term are no copies of the bytes.
    {First, _} = Holder,
    Second = py_holder:holding(fun() ->
        First ! {get, self()},
        receive
            {held, First, Binary} -> Binary
        end
    end),
    ?assertEqual(Before + 1, references(Config, large)),
    ok = py_holder:drop(Holder),
    ?assertEqual(Before + 1, references(Config, large)),
    ok = py_holder:drop(Second),
    ?assertEqual(ok, py_leaks:eventually(fun() -> references(Config, large) =:= Before end)),
    {ok, none} = objects(Context, forget, [large]).

pattern(Size) ->
    binary:part(binary:copy(<<"0123456789abcdef">>, Size div 16 + 1), 0, Size).

part_of_large_bytes_keeps_them(Config) ->
    Context = ?config(ctx, Config),
    {ok, none} = objects(Context, make_bytes, [part, ?LARGE]),
    Before = references(Config, part),
    Holder = py_holder:holding(fun() ->
        {ok, Binary} = objects(Context, get, [part]),
        binary:part(Binary, 1000, 100)
    end),
    true = py_holder:in_holder(Holder, fun(_) -> erlang:garbage_collect() end),
    ?assertEqual(Before + 1, references(Config, part)),
    {ok, none} = objects(Context, forget, [part]),
    ?assert(py_holder:in_holder(Holder, fun(Part) -> Part =:= binary:part(pattern(?LARGE), 1000, 100) end)),
    ok = py_holder:drop(Holder).

small_and_other_bytes_are_copied(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "class Bytes(bytes): pass\n"
        "size = 100_000\n"
        "for name, value in [('small', bytes(65_535)), ('bytes', Bytes(size)), ('bytearray', bytearray(size)),\n"
        "                    ('memoryview', memoryview(bytearray(size))), ('str', 'x' * size)]:\n"
        "    ct_objects.keep(name, value)\n"
    >>),
    [
        begin
            Before = references(Config, Name),
            Holder = py_holder:holding(fun() ->
                {ok, Binary} = objects(Context, get, [Name]),
                Binary
            end),
            ?assertEqual({Name, Before}, {Name, references(Config, Name)}),
            ok = py_holder:drop(Holder)
        end
     || Name <- [small, bytes, bytearray, memoryview, str]
    ],
    %% What changes later does not change the binary.
    {ok, Copy} = objects(Context, get, [bytearray]),
    ok = py:exec(Context, <<"ct_objects.get('bytearray')[:] = b'x' * size">>),
    ?assert(Copy =:= <<0:800_000>>),
    ok = py:exec(Context, <<"ct_objects.kept.clear()">>).

bytes_outlive_their_context(Config) ->
    Holders = [
        begin
            Context = another_context(Config),
            Holder = py_holder:holding(fun() ->
                {ok, Binaries} = py:eval(Context, <<"[bytes([i]) * (70_000 + i) for i in range(20)]">>),
                {ok, Map} = py:eval(Context, <<"{1: b'x' * 1_000_000, 2: [b'y' * 65_536]}">>),
                {Binaries, Map}
            end),
            ok =
                case Round rem 2 of
                    0 -> py_context:stop(Context);
                    1 -> py_suite:silently(fun() -> py_suite:killed(Context) end)
                end,
            Holder
        end
     || Round <- lists:seq(1, 10)
    ],
    [
        ?assert(py_holder:in_holder(Holder, fun({Binaries, #{1 := Xs, 2 := [Ys]}}) ->
            true = erlang:garbage_collect(),
            Binaries =:= [binary:copy(<<I>>, 70_000 + I) || I <- lists:seq(0, 19)] andalso
                Xs =:= binary:copy(<<"x">>, 1_000_000) andalso Ys =:= binary:copy(<<"y">>, 65_536)
        end))
     || Holder <- Holders
    ],
    lists:foreach(fun py_holder:drop/1, Holders),
    %% Whoever comes next finds all in order.
    Context = another_context(Config),
    ?assertEqual({ok, <<"ok">>}, py:eval(Context, <<"'ok'">>)),
    ok = py_context:stop(Context).

many_large_bytes_are_released(Config) ->
    Context = ?config(ctx, Config),
    Round = fun() ->
        py_suite:concurrently(4, fun(_) ->
            [
                {ok, 1_000_000} =
                    case py:eval(Context, <<"bytes(1_000_000)">>) of
                        {ok, Binary} -> {ok, byte_size(Binary)};
                        Error -> Error
                    end
             || _ <- lists:seq(1, 50)
            ],
            ok
        end)
    end,
    _ = Round(),
    Before = py_leaks:resident(),
    [_ = Round() || _ <- lists:seq(1, 5)],
    %% A thousand of a megabyte each went by.
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_leaks:resident() - Before < 400_000 end)).

%%% Memory of Erlang in Python

%% How many hold the binary of that size: references from heaps, tables, and Python.
holders_of(Binary) ->
    Size = binary:referenced_byte_size(Binary),
    true = erlang:garbage_collect(),
    {binary, Binaries} = erlang:process_info(self(), binary),
    [Count] = lists:usort([Count || {_, S, Count} <- Binaries, S =:= Size]),
    Count.

memoryview_shows_the_binary_itself(Config) ->
    Context = ?config(ctx, Config),
    Binary = pattern(1_234_567),
    ?assertEqual(
        {ok, {true, 1_234_567, <<"B">>, 1, 1}},
        py:eval(Context, <<"(x.readonly, x.nbytes, x.format, x.itemsize, x.ndim)">>, #{x => {memoryview, Binary}})
    ),
    ?assertMatch({error, {'TypeError', _}}, py:eval(Context, <<"x.__setitem__(0, 1)">>, #{x => {memoryview, Binary}})),
    ?assertMatch({error, {'TypeError', _}}, py:eval(Context, <<"memoryview(x).cast('B').__setitem__(0, 1)">>, #{x => {memoryview, Binary}})),
    ?assertMatch({error, {_, _}}, py:eval(Context, <<"__import__('io').BytesIO(b'y' * 100).readinto(x)">>, #{x => {memoryview, Binary}})),
    ?assert({ok, Binary} =:= py:eval(Context, <<"bytes(x)">>, #{x => {memoryview, Binary}})),
    ?assert({ok, Binary} =:= py:eval(Context, <<"x">>, #{x => {memoryview, Binary}})),
    ?assertEqual({ok, true}, py:eval(Context, <<"hash(x) == hash(bytes(x))">>, #{x => {memoryview, Binary}})),
    Part = binary:part(Binary, 5, 100_000),
    ?assert({ok, Part} =:= py:eval(Context, <<"bytes(x)">>, #{x => {memoryview, Part}})),
    %% No second copy while Python has it.
    Before = erlang:memory(binary),
    Large = pattern(50_000_000),
    {ok, none} = objects(Context, keep, [view, {memoryview, Large}]),
    ?assert(erlang:memory(binary) - Before < 2 * 50_000_000),
    {ok, none} = objects(Context, forget, [view]),
    ?assertEqual(50_000_000, byte_size(Large)).

memoryview_outlives_call_and_process(Config) ->
    Context = ?config(ctx, Config),
    Binary = pattern(?LARGE),
    Before = holders_of(Binary),
    {ok, none} = py_suite:fresh(fun() -> objects(Context, keep, [view, {memoryview, Binary}]) end),
    ?assert(holders_of(Binary) > Before),
    ?assert({ok, Binary} =:= py:eval(Context, <<"bytes(ct_objects.kept['view'])">>)),
    %% What is made of it keeps it, too.
    ok = py:exec(Context, <<"ct_objects.kept['part'] = ct_objects.kept.pop('view')[10:20]">>),
    ?assert(holders_of(Binary) > Before),
    ?assertEqual({ok, <<"abcdef0123">>}, py:eval(Context, <<"ct_objects.kept['part']">>)),
    ok = py:exec(Context, <<"ct_objects.kept.pop('part').release()">>),
    ?assertEqual(ok, py_leaks:eventually(fun() -> holders_of(Binary) =:= Before end)),
    %% The binary's last owner may be Python.
    {ok, none} = py_suite:fresh(fun() -> objects(Context, keep, [only, {memoryview, pattern(?LARGE + 1)}]) end),
    Expected = pattern(?LARGE + 1),
    ?assert({ok, Expected} =:= py:eval(Context, <<"ct_objects.kept.pop('only')">>)),
    %% A time-out or an exception leaves nothing behind.
    ?assertMatch({error, {'TypeError', _}}, py:call(Context, builtins, int, [[{memoryview, Binary}]])),
    {ok, none} = py:eval(Context, <<"None">>),
    ok.

memoryview_goes_with_its_context(Config) ->
    Binary = pattern(?LARGE),
    Before = holders_of(Binary),
    Context = another_context(Config),
    {ok, none} = py:eval(Context, <<"globals().__setitem__('view', x)">>, #{x => {memoryview, Binary}}),
    ?assert(holders_of(Binary) > Before),
    ok = py_context:stop(Context),
    ?assertEqual(ok, py_leaks:eventually(fun() -> holders_of(Binary) =:= Before end)),
    ?assert(Binary =:= pattern(?LARGE)).
