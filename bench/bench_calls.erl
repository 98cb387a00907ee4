-module(bench_calls).

%% One caller: the floors, the mailbox without Python, and the ways to call.

-export([rows/1, echo/2, ping/0, nif/0]).

-define(WAITING, 100_000).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 50}),
    Results = bench_rounds:run(variants(), Plan),
    [
        floor(<<"process ping">>, ping, Results),
        floor(<<"process ping, two schedulers">>, far_ping, Results),
        floor(<<"no-op NIF">>, nif, Results),
        floor(<<"no-op NIF, dirty scheduler">>, dirty_nif, Results),
        against(<<"mailbox echo">>, echo, {ping, <<"process ping">>}, 5.0, Results),
        against(<<"py:call(math, sqrt, [I])">>, call, {echo, <<"mailbox echo">>}, 1.25, Results),
        against(<<"py:call, 100 000 messages waiting">>, full, {call, <<"py:call">>}, 1.2, Results),
        against(<<"py:eval(\"x * x\", #{x => I})">>, eval, {call, <<"py:call">>}, 1.5, Results),
        against(<<"py:spawn_call + py:await">>, spawn, {call, <<"py:call">>}, 1.1, Results)
    ].

floor(What, Name, Results) ->
    bench_report:row(What, Name, none, none, Results).

against(What, Name, Floor, Most, Results) ->
    bench_report:row(What, Name, Floor, {at_most, Most}, Results).

variants() ->
    [
        bench_rounds:one(ping, fun(_) -> ping() end),
        bench_rounds:one(far_ping, fun(_) -> far_ping() end),
        bench_rounds:one(nif, fun(_) -> nif() end),
        %% What it asks for exists on Windows only: a dirty NIF that answers at once.
        bench_rounds:one(dirty_nif, fun(_) -> fun(_) -> prim_file:get_cwd("c:") end end),
        bench_rounds:one(echo, fun(_) -> echo() end),
        bench_rounds:one(call, fun(_) -> fun call/1 end),
        bench_rounds:one(full, fun(_) -> call_with_full_mailbox() end),
        bench_rounds:one(eval, fun(_) -> fun eval/1 end),
        bench_rounds:one(spawn, fun(_) -> fun spawned/1 end)
    ].

%% A message to a process and back.
-spec ping() -> fun((integer()) -> term()).
ping() ->
    ping([]).

ping(Options) ->
    Partner = spawn_opt(fun pong/0, [link | Options]),
    fun(I) ->
        Partner ! {self(), I},
        receive
            I -> I
        end
    end.

%% Between two threads of the node: what a request to a thread outside it should be compared with, too.
far_ping() ->
    _ = process_flag(scheduler, 1),
    ping([{scheduler, min(2, erlang:system_info(schedulers_online))}]).

pong() ->
    receive
        {From, I} -> From ! I
    end,
    pong().

%% Reads one field of a buffer: the cheapest NIF that every OTP has.
-spec nif() -> fun((integer()) -> term()).
nif() ->
    Buffer = prim_buffer:new(),
    fun(_) -> prim_buffer:size(Buffer) end.

echo() ->
    {ok, Handle} = py_context:handle(py:context()),
    fun(I) -> echo(Handle, I) end.

%% What py_call does with a call, so far as Python has no part in it.
-spec echo(py_nif:handle(), term()) -> {ok, term()}.
echo(Handle, Term) ->
    Ref = make_ref(),
    case py_nif:call(Handle, Ref, {echo, Term}, own, none, 30_000) of
        {error, Reason} ->
            error(Reason);
        _Request ->
            receive
                {Ref, Result} -> Result
            after 30_000 -> error(timeout)
            end
    end.

call(I) ->
    {ok, _} = py:call(math, sqrt, [I]).

call_with_full_mailbox() ->
    lists:foreach(fun(N) -> self() ! {waiting, N} end, lists:seq(1, ?WAITING)),
    fun call/1.

eval(I) ->
    {ok, _} = py:eval(<<"x * x">>, #{x => I}).

spawned(I) ->
    {ok, _} = py:await(py:spawn_call(math, sqrt, [I])).
