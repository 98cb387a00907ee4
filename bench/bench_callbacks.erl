-module(bench_callbacks).

%% Python calls Erlang: one callback beside the way to a context's thread and back, nested calls, threads, messages.

-export([rows/1, identity/1, nested/1]).

-define(TIMEOUT, 600_000).
-define(LOOP, 400).
-define(THREADS, 100).
%% Calls that the threads share.
-define(SHARED, 4000).
-define(MESSAGES, 10_000).
%% Nanoseconds of a message where there are 500 000 in a second.
-define(MESSAGE, 2000).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(#{dir := Dir} = Settings) ->
    ok = py:register_function(bench_identity, ?MODULE, identity),
    ok = py:register_function(bench_nested, ?MODULE, nested),
    {ok, Context} = py_context:new(),
    {ok, none} = py:call(Context, sys, 'path.append', [unicode:characters_to_binary(Dir)]),
    %% First, while nothing else has left holes.
    Memory = memory(Context, bench:plan(Settings, #{callbacks => 1_000_000}, #{callbacks => 100_000})),
    Plan = bench:plan(Settings, #{rounds => 14, turn => 300}, #{rounds => 5, turn => 100}),
    Results = bench_rounds:run(variants(Context), Plan),
    none = call(Context, 'end', []),
    ok = py_context:stop(Context),
    ok = py:unregister_function(bench_identity),
    ok = py:unregister_function(bench_nested),
    [
        bench_report:row(<<"mailbox echo">>, echo, none, none, Results),
        against(<<"erlang.call(\"identity\", i)">>, callback, {echo, <<"mailbox echo">>}, 2.5, Results),
        against(<<"erlang.call of what does py:call">>, nested, {callback, <<"erlang.call">>}, 2.0, Results),
        bench_report:row(<<"erlang.call from a Python thread">>, thread, none, none, Results),
        against(<<"erlang.call from 100 Python threads">>, threads, {thread, <<"from one">>}, 3.0, Results),
        bench_report:row(<<"await erlang.async_call">>, await, none, none, Results),
        messages(Results),
        Memory
    ].

against(What, Name, Floor, Most, Results) ->
    bench_report:row(What, Name, Floor, {at_most, Most}, Results).

messages(Results) ->
    #{send := {Rounds, Singles}} = Results,
    bench_report:compared_row(
        <<"erlang.send(pid, i), received">>,
        ns,
        Rounds,
        bench_rounds:percentile(99, Singles),
        {<<"500 000 a second">>, ?MESSAGE},
        [Round / ?MESSAGE || Round <- Rounds],
        {at_most, 1.0}
    ).

variants(Context) ->
    [
        bench_rounds:one(echo, fun(_) ->
            {ok, Handle} = py_context:handle(Context),
            fun(I) -> bench_calls:echo(Handle, I) end
        end),
        bench_rounds:inside(callback, ?LOOP, fun() -> calls(Context, <<"bench_identity">>) end),
        bench_rounds:inside(nested, ?LOOP, fun() ->
            %% The process that runs the callback is this one.
            undefined = put(?MODULE, Context),
            calls(Context, <<"bench_nested">>)
        end),
        bench_rounds:inside(await, ?LOOP, fun() ->
            fun(Part, Count) -> call(Context, awaits, [<<"bench_identity">>, Count, Part =:= singles]) end
        end),
        bench_rounds:inside(thread, ?LOOP, fun() -> threads(Context, 1) end),
        bench_rounds:inside(threads, ?SHARED, fun() -> threads(Context, ?THREADS) end),
        bench_rounds:inside(send, ?MESSAGES, fun() -> sends(Context) end)
    ].

-spec identity([Term]) -> Term.
identity([Term]) -> Term.

-spec nested([number()]) -> float().
nested([I]) ->
    {ok, Root} = py:call(get(?MODULE), math, sqrt, [I]),
    Root.

calls(Context, Name) ->
    fun(Part, Count) -> call(Context, calls, [Name, Count, Part =:= singles]) end.

call(Context, Function, Args) ->
    {ok, Times} = py:call(Context, callbacks, Function, Args, #{timeout => ?TIMEOUT}),
    Times.

threads(Context, Number) ->
    {ok, Threads} = py:call(Context, callbacks, 'Threads', [Number]),
    fun(Part, Count) ->
        {ok, Times} = py:call_method(Threads, calls, [<<"bench_identity">>, Count, Part =:= singles]),
        Times
    end.

%% Until the last one was received.
sends(Context) ->
    Receiver = spawn_link(fun receiver/0),
    fun(Part, Count) ->
        Receiver ! {expect, Count, self()},
        Times = call(Context, sends, [Receiver, Count, Part =:= singles]),
        receive
            {received, Receiver} -> Times
        end
    end.

receiver() ->
    receive
        {expect, Count, From} ->
            received(Count),
            From ! {received, self()}
    end,
    receiver().

received(0) ->
    ok;
received(Left) ->
    receive
        I when is_integer(I) -> received(Left - 1)
    end.

%% What the node holds after many callbacks, beside what it held after some.
memory(Context, #{callbacks := Callbacks}) ->
    [] = call(Context, calls, [<<"bench_identity">>, Callbacks div 5, false]),
    Before = held(),
    [] = call(Context, calls, [<<"bench_identity">>, Callbacks, false]),
    After = held(),
    What = io_lib:format("memory after ~b callbacks", [Callbacks]),
    bench_report:compared_row(
        iolist_to_binary(What), mb, [After], {<<"before">>, Before}, [After - Before], {at_most_more, 1.0}
    ).

held() ->
    lists:foreach(fun erlang:garbage_collect/1, processes()),
    bench_contexts:resident() / 1.0e6.
