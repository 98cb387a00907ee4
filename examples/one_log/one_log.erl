%% @doc One log for both sides: what Erlang and Python log for an order are lines of one stream, with the number of the
%% order, although the Python code knows nothing of it.
%%
%% Each order is a process, whose logger metadata has that number. The lines are in the form `key=value', one for each event.
%%
%% `main/0' runs it and ends the node; `run.sh' calls it.
-module(one_log).

-include_lib("kernel/include/logger.hrl").

-export([main/0, run/1]).
%% For logger.
-export([log/2, format/2, of_orders/2]).

-export_type([options/0, report/0]).

%% Every key may be left out but the folder.
-type options() :: #{
    mode => owngil | worker,
    %% the folder that stock.py is in
    folder => file:name_all(),
    quiet => boolean()
}.
-type report() :: #{
    %% the lines of each order, in their order: who has logged, and how loud
    orders := #{pos_integer() => [{erlang | python, logger:level()}]},
    shipped := non_neg_integer(),
    tracebacks := non_neg_integer()
}.

-define(ORDERS, [{1, tea, 4}, {2, coffee, 20}, {3, cocoa, 5}, {4, coffee, 5}]).
-define(DEADLINE, 30_000).

%% @doc Runs the example, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Folder = filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv"),
    %% It would show the same events in another form.
    _ = logger:remove_handler(default),
    Status =
        try run(#{folder => Folder}) of
            _Report -> 0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "~nfailed: ~tp~n", [{Class, Reason, Stack}]),
                1
        end,
    halt(Status).

%% @doc Handles the orders, and compares what was logged with what must be.
-spec run(options()) -> report().
run(Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    #{level := Before} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, info),
    ok = logger:add_handler(?MODULE, ?MODULE, #{
        config => self(),
        filters => [{orders, {fun ?MODULE:of_orders/2, []}}],
        formatter => {?MODULE, #{}}
    }),
    %% Python's levels let everything through; Erlang's keep `debug' out, before Python makes a record.
    ok = py:configure_logging(),
    {ok, Context} = py_context:new(#{mode => maps:get(mode, Opts, py:execution_mode())}),
    try
        ok = py:exec(Context, ["import sys\nsys.path.insert(0, '", maps:get(folder, Opts), "')"]),
        Shipped = length([shipped || Order <- ?ORDERS, in_process(fun() -> order(Context, Order) end) =:= shipped]),
        ok = in_process(fun() -> stocktaking(Context, 5) end),
        report(Shipped, lines(), maps:get(quiet, Opts, false))
    after
        ok = py_context:stop(Context),
        ok = logger:remove_handler(?MODULE),
        ok = logger:set_primary_config(level, Before)
    end.

order(Context, {Number, Article, Amount}) ->
    ok = logger:set_process_metadata(#{order => Number}),
    ?LOG_INFO("~b of ~ts ordered", [Amount, Article]),
    case py:call(Context, stock, take, [Article, Amount]) of
        {ok, -1} ->
            ?LOG_NOTICE("not shipped"),
            refused;
        {ok, Left} ->
            ?LOG_INFO("shipped", #{left => Left}),
            shipped
    end.

stocktaking(Context, Number) ->
    ok = logger:set_process_metadata(#{order => Number}),
    {ok, none} = py:call(Context, stock, count, []),
    ok.

in_process(Fun) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({done, Fun()}) end),
    receive
        {'DOWN', Monitor, process, Pid, {done, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    after ?DEADLINE -> error(hangs)
    end.

%% ------------------------------------------------------------------------------------------------
%% The handler and the formatter

%% @private
-spec of_orders(logger:log_event(), term()) -> logger:filter_return().
of_orders(#{meta := #{order := _}} = Event, _) -> Event;
of_orders(_Event, _) -> stop.

%% @private
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(#{level := Level, meta := #{order := Order}} = Event, #{config := Pid, formatter := {Formatter, Config}}) ->
    Pid ! {?MODULE, Order, side(Event), Level, unicode:characters_to_binary(Formatter:format(Event, Config))},
    ok.

side(#{meta := #{py_context := _}}) -> python;
side(_Event) -> erlang.

%% @private
-spec format(logger:log_event(), logger:formatter_config()) -> unicode:chardata().
format(#{level := Level, msg := Message, meta := #{order := Order} = Meta} = Event, _Config) ->
    Fields = [
        {order, integer_to_list(Order)},
        {level, atom_to_list(Level)},
        {side, atom_to_list(side(Event))},
        {at, place(Meta)},
        {text, quoted(hd(string:split(text(Message), "\n")))}
        | [{Name, io_lib:format("~tp", [Value])} || {Name, Value} <- further(Meta)]
    ],
    [lists:join($\s, [[io_lib:format("~ts", [Name]), $=, Value] || {Name, Value} <- Fields]), $\n].

place(#{file := File, line := Line}) -> [filename:basename(File), $:, integer_to_list(Line)].

text({string, Text}) -> unicode:characters_to_list(Text);
text({Format, Args}) -> unicode:characters_to_list(io_lib:format(Format, Args)).

quoted(Text) -> [$", string:replace(Text, "\"", "'", all), $"].

further(Meta) ->
    maps:to_list(maps:with([left], Meta)) ++
        maps:to_list(maps:get(extra, Meta, #{})) ++
        [{exception, binary_to_atom(Type)} || #{exception := #{type := Type}} <- [Meta]].

%% ------------------------------------------------------------------------------------------------
%% What has come

lines() ->
    receive
        {?MODULE, Order, Side, Level, Line} -> [{Order, Side, Level, Line} | lines()]
    after 0 -> []
    end.

report(Shipped, Lines, Quiet) ->
    _ = [io:put_chars(Line) || {_, _, _, Line} <- Lines, not Quiet],
    Orders = maps:from_list([
        {Order, [{Side, Level} || {Of, Side, Level, _} <- Lines, Of =:= Order]}
     || {Order, _, _, _} <- Lines
    ]),
    #{1 := [{erlang, info}, {python, info}, {erlang, info}], 3 := [{erlang, info}, {python, warning}, {erlang, notice}]} = Orders,
    Tracebacks = length([Line || {_, _, error, Line} <- Lines, string:find(Line, "KeyError") =/= nomatch]),
    _ = Quiet orelse
        io:format("~n~b lines of ~b orders, ~b shipped~n", [length(Lines), map_size(Orders), Shipped]),
    #{orders => Orders, shipped => Shipped, tracebacks => Tracebacks}.
