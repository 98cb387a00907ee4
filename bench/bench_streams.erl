-module(bench_streams).

%% Items of streams, beside one call for each.

-export([rows/1]).

%% Items of a batch.
-define(BATCH, 20_000).
-define(DEMAND, 1_000).
%% What the memory is looked at after.
-define(MANY, 10_000_000).

-define(CODE, <<
    "import itertools\n"
    "counter = itertools.count()\n"
    "def one():\n    return next(counter)\n"
    "def count(n=None):\n    for i in itertools.count() if n is None else range(n):\n        yield i\n"
    "async def acount():\n    for i in itertools.count():\n        yield i\n"
>>).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 50}),
    Results = bench_rounds:run(variants(), Plan),
    Call = {call, <<"py:call">>},
    [
        bench_report:row(<<"py:call of a function that gives the next item">>, call, none, none, Results),
        bench_report:row(<<"an item of a process, demand 1000">>, floor, none, none, Results),
        bench_report:row(<<"an item of a generator, demand 1000">>, generator, Call, {at_most, 0.2}, Results),
        bench_report:row(<<"an item of an async generator, demand 1000">>, async, Call, {at_most, 0.2}, Results),
        bench_report:row(<<"an item of a generator, demand 1">>, single, Call, {at_most, 1.5}, Results),
        memory(bench:plan(Settings, #{items => ?MANY}, #{items => 1_000_000}))
    ].

variants() ->
    [
        bench_rounds:one(call, fun(_) ->
            ok = py:exec(?CODE),
            fun(_) -> {ok, _} = py:call('__main__', one, []) end
        end),
        bench_rounds:inside(floor, ?BATCH, fun floor/0),
        bench_rounds:inside(generator, ?BATCH, fun() -> stream(count, ?DEMAND) end),
        bench_rounds:inside(async, ?BATCH, fun() -> stream(acount, ?DEMAND) end),
        bench_rounds:inside(single, ?BATCH div 40, fun() -> stream(count, 1) end)
    ].

floor() ->
    Ref = make_ref(),
    Owner = self(),
    Sender = spawn_link(fun() -> sender(Owner, Ref, 0) end),
    loop(Ref, ?DEMAND, fun(More) -> Sender ! {more, More} end).

sender(Owner, Ref, I) ->
    receive
        {more, More} -> sent(Owner, Ref, I, More)
    end.

sent(Owner, Ref, I, 0) ->
    sender(Owner, Ref, I);
sent(Owner, Ref, I, More) ->
    Owner ! {py_stream, Ref, {data, I}},
    sent(Owner, Ref, I + 1, More - 1).

stream(Function, Demand) ->
    ok = py:exec(?CODE),
    {ok, Ref} = py:stream_start('__main__', Function, [], #{demand => 0}),
    loop(Ref, Demand, fun(More) -> py:stream_demand(Ref, More) end).

%% So many items are wanted ahead, and none when the batch is over.
loop(Ref, Demand, Want) ->
    fun(Part, Count) ->
        First = min(Demand, Count),
        _ = Want(First),
        Portion = max(1, Demand div 2),
        received(Part, Ref, Want, Portion, Portion, Count - First, Count, erlang:monotonic_time(nanosecond), [])
    end.

received(_Part, _Ref, _Want, _Portion, _Due, _Unasked, 0, _Before, Times) ->
    Times;
received(Part, Ref, Want, Portion, 0, Unasked, Left, Before, Times) ->
    More = min(Portion, Unasked),
    _ = More > 0 andalso Want(More),
    received(Part, Ref, Want, Portion, Portion, Unasked - More, Left, Before, Times);
received(Part, Ref, Want, Portion, Due, Unasked, Left, Before, Times) ->
    receive
        {py_stream, Ref, {data, _}} -> ok
    end,
    case Part of
        batches ->
            received(Part, Ref, Want, Portion, Due - 1, Unasked, Left - 1, Before, []);
        singles ->
            Now = erlang:monotonic_time(nanosecond),
            received(Part, Ref, Want, Portion, Due - 1, Unasked, Left - 1, Now, [Now - Before | Times])
    end.

%% What the node holds after many items, beside what it held after some.
memory(#{items := Items}) ->
    ok = py:exec(?CODE),
    {ok, Ref} = py:stream_start('__main__', count, [], #{demand => 0}),
    Loop = loop(Ref, ?DEMAND, fun(More) -> py:stream_demand(Ref, More) end),
    [] = Loop(batches, Items div 10),
    Before = held(),
    [] = Loop(batches, Items),
    After = held(),
    ok = py:stream_cancel(Ref),
    What = iolist_to_binary(io_lib:format("memory after ~b items, demand 1000", [Items])),
    bench_report:compared_row(What, mb, [After], {<<"before">>, Before}, [After - Before], {at_most_more, 1.0}).

held() ->
    lists:foreach(fun erlang:garbage_collect/1, processes()),
    bench_contexts:resident() / 1.0e6.
