-module(bench_inline).

%% Calls on the calling scheduler, beside those by the mailbox; and what they do to whatever else wants the schedulers.

-export([rows/1]).

-define(CALLERS, 50).
-define(INLINE, #{dispatch => inline}).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    case py_nif:inline_supported() of
        true -> one_caller(Settings) ++ many_callers(Settings) ++ timers(Settings);
        %% Nothing runs inline before Python 3.14.
        false -> []
    end.

one_caller(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 50}),
    {ok, Context} = py_context:new(#{}),
    ok = warm(Context),
    ok = py:mark_inline(operator, neg),
    {ok, _} = py:call(Context, operator, neg, [1]),
    Results = bench_rounds:run(
        [
            bench_rounds:one(ping, fun(_) -> bench_calls:ping() end),
            bench_rounds:one(nif, fun(_) -> bench_calls:nif() end),
            bench_rounds:one(mailbox, fun(_) -> fun(I) -> {ok, _} = py:call(Context, math, sqrt, [I]) end end),
            bench_rounds:one(inline, fun(_) -> inline(Context) end),
            bench_rounds:one(marked, fun(_) -> fun(I) -> {ok, _} = py:call(Context, operator, neg, [I]) end end),
            bench_rounds:one(eval, fun(_) -> eval(Context) end)
        ],
        Plan
    ),
    ok = py:unmark_inline(operator, neg),
    ok = py_context:stop(Context),
    Ping = {ping, <<"process ping">>},
    Inline = {inline, <<"inline">>},
    [
        bench_report:row(<<"process ping">>, ping, none, none, Results),
        bench_report:row(<<"no-op NIF">>, nif, none, none, Results),
        bench_report:row(<<"py:call(math, sqrt, [I]), inline">>, inline, Ping, {at_most, 1.35}, Results),
        bench_report:row(<<"py:eval(\"x * x\", #{x => I}), inline">>, eval, Ping, {at_most, 2.7}, Results),
        bench_report:row(<<"py:call of a marked function">>, marked, Inline, {at_most, 1.25}, Results),
        bench_report:row(<<"py:call(math, sqrt, [I]) by the mailbox">>, mailbox, Inline, none, Results)
    ].

many_callers(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 14, turn => 250}, #{rounds => 5, turn => 100}),
    Contexts = contexts(2),
    Call = fun(Options) ->
        fun(Number) ->
            Context = element(1 + Number rem 2, Contexts),
            fun(I) -> {ok, _} = py:call(Context, math, sqrt, [I], Options) end
        end
    end,
    Results = bench_rounds:run(
        [
            bench_rounds:many(mailbox, ?CALLERS, Call(#{})),
            bench_rounds:many(inline, ?CALLERS, Call(?INLINE))
        ],
        Plan
    ),
    stop(Contexts),
    [
        bench_report:row(<<"py:call by the mailbox from 50, two contexts">>, mailbox, none, none, Results),
        bench_report:row(
            <<"py:call inline from 50, two contexts">>,
            inline,
            {mailbox, <<"mailbox">>},
            {at_most, 0.33},
            Results
        )
    ].

%% How late a timer of a millisecond is while all schedulers are busy: with Erlang code, and with calls inline.
timers(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 10, turn => 400}, #{rounds => 3, turn => 150}),
    Contexts = contexts(2),
    Erlang = fun(I) -> lists:seq(1, 40 + I rem 2) end,
    Inline = fun(I) -> {ok, _} = py:call(element(1 + I rem 2, Contexts), math, sqrt, [I], ?INLINE) end,
    Results = bench_rounds:run(
        [
            bench_rounds:one(idle, fun(_) -> fun timer/1 end),
            loaded(erlang, Erlang),
            loaded(inline, Inline)
        ],
        Plan
    ),
    stop(Contexts),
    [
        bench_report:row(<<"a timer of 1 ms, nothing else to do">>, idle, none, none, Results),
        bench_report:row(<<"a timer of 1 ms beside 50 busy processes">>, erlang, none, none, Results),
        bench_report:row(
            <<"a timer of 1 ms beside 50 that call inline">>,
            inline,
            {erlang, <<"busy processes">>},
            {at_most, 1.25},
            Results
        )
    ].

loaded(Name, Work) ->
    Key = {?MODULE, Name},
    Before = fun() ->
        put(Key, [spawn_link(fun() -> endless(Work, Number) end) || Number <- lists:seq(1, ?CALLERS)])
    end,
    After = fun() ->
        [
            begin
                unlink(Pid),
                exit(Pid, kill)
            end
         || Pid <- erase(Key)
        ]
    end,
    bench_rounds:around(Before, After, bench_rounds:one(Name, fun(_) -> fun timer/1 end)).

endless(Work, I) ->
    _ = Work(I),
    endless(Work, I + 1).

timer(_) ->
    Timer = erlang:start_timer(1, self(), go),
    receive
        {timeout, Timer, go} -> ok
    end.

inline(Context) ->
    fun(I) -> {ok, _} = py:call(Context, math, sqrt, [I], ?INLINE) end.

eval(Context) ->
    fun(I) -> {ok, _} = py:eval(Context, <<"x * x">>, #{x => I}, ?INLINE) end.

contexts(Count) ->
    list_to_tuple([
        begin
            {ok, Context} = py_context:new(#{}),
            ok = warm(Context),
            Context
        end
     || _ <- lists:seq(1, Count)
    ]).

%% Until calls do run inline.
warm(Context) ->
    {ok, 4.0} = py:call(Context, math, sqrt, [16], ?INLINE),
    {ok, 16} = py:eval(Context, <<"x * x">>, #{x => 4}, ?INLINE),
    {ok, -1} = py:call(Context, operator, neg, [1]),
    case py:info(Context) of
        {ok, #{inline := #{calls := Calls}}} when Calls > 0 -> ok;
        _ -> warm(Context)
    end.

stop(Contexts) ->
    lists:foreach(fun py_context:stop/1, tuple_to_list(Contexts)).
