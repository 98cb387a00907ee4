%% @doc Files of orders go through Python code that uses a package from PyPI, in parallel, and Erlang puts together what
%% comes out.
%%
%%     files of days ──▶ processes ──▶ contexts of a pool, with petl in an environment of their own ──▶ totals
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(data_pipeline).

-export([main/0, run/1]).

-export_type([options/0, report/0]).

%% Every key may be left out but the first two.
-type options() :: #{
    %% the folder that clean.py and requirements.txt are in
    folder => file:name_all(),
    %% the folder for the environment, and for the files of orders
    work => file:name_all(),
    mode => owngil | worker,
    days => pos_integer(),
    orders => pos_integer(),
    quiet => boolean()
}.
-type report() :: #{
    rows := non_neg_integer(),
    refused := #{binary() => pos_integer()},
    totals := #{binary() => {Orders :: pos_integer(), Cents :: pos_integer()}}
}.

-define(DAYS, 28).
-define(ORDERS, 2000).
-define(COUNTRIES, ["at", "br", "ca", "de", "fr", "jp"]).

%% @doc Runs the example, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Build = filename:dirname(filename:dirname(code:which(?MODULE))),
    Status =
        try run(#{folder => filename:join(Build, "priv"), work => Build}) of
            _Report -> 0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "~nfailed: ~tp~n", [{Class, Reason, Stack}]),
                1
        end,
    halt(Status).

%% @doc Exits when Python's totals are not those that Erlang knows.
-spec run(options()) -> report().
run(#{folder := Folder, work := Work} = Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    Venv = filename:join(Work, "venv"),
    Mode = maps:get(mode, Opts, py:execution_mode()),
    %% Contexts of mode `worker' share their packages with the whole node; others have some of their own.
    {Activate, Own} = case Mode of worker -> {true, #{}}; owngil -> {false, #{venv => Venv}} end,
    Ensure = fun() -> ok = py:ensure_venv(Venv, filename:join(Folder, "requirements.txt"), #{activate => Activate}) end,
    Made = timed(Ensure),
    Again = timed(Ensure),
    say(Opts, "the environment was there after ~b ms; asked for once more, after ~b ms~n", [Made, Again]),
    ok = py_context_router:start_pool(?MODULE, 2, Own#{
        mode => Mode,
        preload => ["import sys; sys.path.append('", Folder, "')"]
    }),
    try
        {ok, Version} = py:call(?MODULE, clean, version, []),
        say(Opts, "contexts of the pool have petl ~ts~n", [Version]),
        Days = maps:get(days, Opts, ?DAYS),
        Orders = maps:get(orders, Opts, ?ORDERS),
        Files = [{Day, write(Day, Orders, filename:join(Work, "orders"))} || Day <- lists:seq(1, Days)],
        Report = merged([Result || {ok, Result} <- cleaned([File || {_, File} <- Files])]),
        Report = expected(Days, Orders),
        show(Opts, Report),
        Report
    after
        ok = py_context_router:stop_pool(?MODULE)
    end.

%% ------------------------------------------------------------------------------------------------
%% The pipeline

%% A process for each file; the pool has a queue for each of its contexts.
cleaned(Files) ->
    Workers = [spawn_monitor(fun() -> exit(py:call(?MODULE, clean, day, [unicode:characters_to_binary(File)])) end) || File <- Files],
    [receive {'DOWN', Monitor, process, Pid, Result} -> Result end || {Pid, Monitor} <- Workers].

merged(Days) ->
    lists:foldl(
        fun(#{<<"rows">> := Rows, <<"refused">> := Refused, <<"totals">> := Totals}, Report) ->
            #{rows := Before, refused := Reasons, totals := Sums} = Report,
            Report#{
                rows := Before + Rows,
                refused := lists:foldl(fun counted/2, Reasons, maps:values(Refused)),
                totals := maps:fold(fun added/3, Sums, Totals)
            }
        end,
        #{rows => 0, refused => #{}, totals => #{}},
        Days
    ).

counted(Reason, Reasons) ->
    maps:update_with(Reason, fun(N) -> N + 1 end, 1, Reasons).

added(Country, {Orders, Worth}, Sums) ->
    maps:update_with(Country, fun({O, W}) -> {O + Orders, W + Worth} end, {Orders, Worth}, Sums).

%% ------------------------------------------------------------------------------------------------
%% Orders

write(Day, Orders, Folder) ->
    File = filename:join(Folder, io_lib:format("day-~2..0b.csv", [Day])),
    ok = filelib:ensure_dir(File),
    Rows = [row(order(Day, N)) || N <- lists:seq(1, Orders)],
    ok = file:write_file(File, ["country,items,cents\n" | Rows]),
    File.

row({Country, Items, Cents}) ->
    io_lib:format("~s,~p,~p~n", [Country, Items, Cents]).

%% Every fiftieth is broken, in one of three ways.
order(Day, N) ->
    Country = lists:nth(1 + (N + Day) rem length(?COUNTRIES), ?COUNTRIES),
    Good = {Country, 1 + (N * 7 + Day) rem 9, 100 + (N * 37 + Day * 11) rem 5000},
    case {N rem 50, N rem 3} of
        {0, 0} -> setelement(1, Good, "??");
        {0, 1} -> setelement(2, Good, 0);
        {0, 2} -> setelement(3, Good, none);
        _ -> Good
    end.

expected(Days, Orders) ->
    lists:foldl(fun expect/2, #{rows => 0, refused => #{}, totals => #{}}, [
        order(Day, N)
     || Day <- lists:seq(1, Days), N <- lists:seq(1, Orders)
    ]).

expect(Order, #{rows := Rows, refused := Reasons, totals := Sums} = Report) ->
    Counted = Report#{rows := Rows + 1},
    case Order of
        {"??", _, _} -> Counted#{refused := counted(<<"unknown country">>, Reasons)};
        {_, 0, _} -> Counted#{refused := counted(<<"no number of items">>, Reasons)};
        {_, _, none} -> Counted#{refused := counted(<<"no price">>, Reasons)};
        {Country, Items, Cents} -> Counted#{totals := added(list_to_binary(Country), {1, Items * Cents}, Sums)}
    end.

%% ------------------------------------------------------------------------------------------------
%% What it says

show(Opts, #{rows := Rows, refused := Refused, totals := Totals}) ->
    say(Opts, "~b orders were read, and ~b refused:~n", [Rows, lists:sum(maps:values(Refused))]),
    [say(Opts, "  ~6b ~ts~n", [N, Reason]) || {Reason, N} <- lists:sort(maps:to_list(Refused))],
    [
        say(Opts, "~ts ~8b orders ~10b.~2..0b~n", [Country, Orders, Cents div 100, Cents rem 100])
     || {Country, {Orders, Cents}} <- lists:sort(maps:to_list(Totals))
    ],
    say(Opts, "the totals are those that Erlang knows~n", []).

timed(Fun) ->
    {Microseconds, _} = timer:tc(Fun),
    Microseconds div 1000.

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
