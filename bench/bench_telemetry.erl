-module(bench_telemetry).

%% What a call pays for whoever listens, and what the questions of operators cost.

-export([rows/1]).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 50}),
    Results = bench_rounds:run(variants(), Plan),
    Floor = {none, <<"nobody">>},
    [
        bench_report:row(<<"mailbox echo">>, echo, none, none, Results),
        row(<<"py:call, nobody listens">>, none, {echo, <<"mailbox echo">>}, 1.25, Results),
        row(<<"py:call, somebody listens to contexts">>, contexts, Floor, 1.02, Results),
        row(<<"py:call, GIL and loop are measured">>, samples, Floor, 1.1, Results),
        row(<<"py:call, a listener to stop">>, stop, Floor, 1.5, Results),
        row(<<"py:call, listeners to start, stop, exception">>, all, Floor, 1.6, Results),
        bench_report:row(<<"py:info()">>, info, none, none, Results),
        bench_report:row(<<"py:info(Context)">>, context, none, none, Results)
    ].

row(What, Name, Floor, Most, Results) ->
    bench_report:row(What, Name, Floor, {at_most, Most}, Results).

variants() ->
    [
        bench_rounds:one(echo, fun(_) -> echo() end),
        bench_rounds:one(none, fun(_) -> fun call/1 end),
        listening(contexts, [[context, stop]]),
        listening(samples, [[gil, wait]]),
        listening(stop, [[call, stop]]),
        listening(all, [[call, start], [call, stop], [call, exception]]),
        bench_rounds:one(info, fun(_) -> fun(_) -> {ok, _} = py:info() end end),
        bench_rounds:one(context, fun(_) -> info(py:context()) end)
    ].

listening(Name, Events) ->
    Attach = fun() ->
        ok = py_telemetry:attach(Name, [[erlang_python | Event] || Event <- Events], fun(_, _, _) -> ok end)
    end,
    Detach = fun() -> ok = py_telemetry:detach(Name) end,
    bench_rounds:around(Attach, Detach, bench_rounds:one(Name, fun(_) -> fun call/1 end)).

echo() ->
    {ok, Handle} = py_context:handle(py:context()),
    fun(I) -> bench_calls:echo(Handle, I) end.

call(I) ->
    {ok, _} = py:call(math, sqrt, [I]).

info(Context) ->
    fun(_) -> {ok, _} = py:info(Context) end.
