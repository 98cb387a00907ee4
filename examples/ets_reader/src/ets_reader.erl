%% @doc An OTP application whose Python code reads ETS tables.
%%
%% `run/1' shows what that gives: a price that changes is seen by the next quote, a table that only one process may
%% read is read by Python on its behalf, and many processes ask at once.
%%
%% `main/0' does it and ends the node; `run.sh' calls it.
-module(ets_reader).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out.
-type options() :: #{mode => owngil | worker, quiet => boolean()}.
-type report() :: #{
    first := map(),
    after_change := map(),
    with_unknown := map(),
    customers := pos_integer(),
    quotes := pos_integer()
}.

-define(CUSTOMERS, 20).
-define(QUOTES, 50).

%% @doc Runs the example, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Status =
        try run(#{}) of
            _Report -> 0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "~nfailed: ~tp~n", [{Class, Reason, Stack}]),
                1
        end,
    halt(Status).

-spec run(options()) -> report().
run(Opts) ->
    _ = application:load(ets_reader),
    _ = [ok = application:set_env(ets_reader, mode, Mode) || #{mode := Mode} <- [Opts]],
    {ok, _} = application:ensure_all_started(ets_reader),
    try
        Report = maps:merge(one_customer(Opts), many_customers(Opts)),
        say(Opts, "~nall quotes are right~n", []),
        Report
    after
        ok = application:stop(ets_reader),
        ok = application:unload(ets_reader)
    end.

one_customer(Opts) ->
    ok = ets_reader_prices:set(<<"tea">>, 320),
    ok = ets_reader_prices:set(<<"milk">>, 110),
    ok = ets_reader_basket:empty(),
    ok = ets_reader_basket:add(<<"tea">>, 2),
    ok = ets_reader_basket:add(<<"milk">>, 10),
    First = quote(Opts, "2 tea, 10 milk"),
    expect(First, 2 * 320 + 10 * 110 - 55, []),
    ok = ets_reader_prices:set(<<"tea">>, 400),
    Changed = quote(Opts, "the same, tea is dearer now"),
    expect(Changed, 2 * 400 + 10 * 110 - 55, []),
    ok = ets_reader_basket:add(<<"cocoa">>, 1),
    Unknown = quote(Opts, "and 1 cocoa, which has no price"),
    expect(Unknown, 2 * 400 + 10 * 110 - 55, [<<"cocoa">>]),
    #{first => First, after_change => Changed, with_unknown => Unknown}.

quote(Opts, What) ->
    {ok, #{<<"total">> := Total, <<"unknown">> := Unknown} = Quote} = ets_reader_quotes:quote(),
    say(Opts, "~-40ts ~6.2f  ~ts~n", [What, Total / 100, [["no price: ", lists:join(", ", Unknown)] || Unknown =/= []]]),
    Quote.

expect(#{<<"total">> := Total, <<"unknown">> := Unknown}, Total, Unknown) -> ok.

%% Each has a basket of its own, and the price of what is in it rises meanwhile.
many_customers(Opts) ->
    ok = ets_reader_prices:set(<<"coffee">>, 0),
    Customers = [
        spawn_monitor(fun() -> exit({total, customer(Number)}) end)
     || Number <- lists:seq(1, ?CUSTOMERS)
    ],
    lists:foreach(fun(Cents) -> ok = ets_reader_prices:set(<<"coffee">>, Cents) end, lists:seq(1, 1000)),
    lists:foreach(fun ended/1, Customers),
    say(Opts, "~n~b processes made ~b quotes each, of private baskets, while the price rose~n", [
        ?CUSTOMERS, ?QUOTES
    ]),
    #{customers => ?CUSTOMERS, quotes => ?CUSTOMERS * ?QUOTES}.

customer(Number) ->
    ok = ets_reader_basket:add(<<"coffee">>, Number),
    rising(Number, 0, ?QUOTES).

%% Nobody else's basket is seen, and no price that was there before.
rising(_Number, Total, 0) ->
    Total;
rising(Number, Before, Left) ->
    {ok, #{<<"total">> := Total, <<"unknown">> := []}} = ets_reader_quotes:quote(),
    true = Total >= Before,
    true = Number >= 10 orelse Total rem Number =:= 0,
    rising(Number, Total, Left - 1).

ended({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {total, _}} -> ok;
        {'DOWN', Monitor, process, Pid, Reason} -> exit({customer_failed, Reason})
    end.

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
