-module(bench_report).

%% Rows of results, as a table and as a picture.

-export([row/5, time_row/2, compared_row/6, compared_row/7, text/3, picture/2]).
-export_type([row/0]).

%% `each' and `rate' are times of so many elements or bytes, in nanoseconds, and printed as what one element
%% takes, or how many bytes go in a second.
-type unit() :: ns | times | mb | count | {each | rate, pos_integer()}.
%% `at_most' and `at_least': of the ratio; `at_most_more': of the difference to the floor.
-type mark() :: none | {at_most | at_least | at_most_more, number()}.
-type row() :: #{
    what := binary(),
    unit := unit(),
    median := number(),
    p99 := number() | none,
    spread := {number(), number()},
    floor := none | {binary(), number()},
    %% One of each round; a count where there is no floor.
    ratios := [number()],
    mark := mark()
}.

-spec row(binary(), atom(), none | {atom(), binary()}, mark(), bench_rounds:results()) -> row().
row(What, Name, Against, Mark, Results) ->
    {Floor, Ratios} =
        case Against of
            none ->
                {none, []};
            {Other, Title} ->
                {
                    {Title, bench_rounds:value(Other, Results)},
                    bench_rounds:ratios(Name, Other, Results)
                }
        end,
    #{
        what => What,
        unit => ns,
        median => bench_rounds:value(Name, Results),
        p99 => bench_rounds:p99(Name, Results),
        spread => bench_rounds:spread(Name, Results),
        floor => Floor,
        ratios => Ratios,
        mark => Mark
    }.

%% A time that only stands beside others.
-spec time_row(binary(), [number(), ...]) -> row().
time_row(What, Times) ->
    compared_row(What, ns, Times, none, [], none).

-spec compared_row(
    binary(), unit(), [number(), ...], none | {binary(), number()}, [number()], mark()
) -> row().
compared_row(What, Unit, Figures, Floor, Ratios, Mark) ->
    compared_row(What, Unit, Figures, none, Floor, Ratios, Mark).

-spec compared_row(
    binary(),
    unit(),
    [number(), ...],
    P99 :: number() | none,
    none | {binary(), number()},
    [number()],
    mark()
) -> row().
compared_row(What, Unit, Figures, P99, Floor, Ratios, Mark) ->
    #{
        what => What,
        unit => Unit,
        median => bench_rounds:median(Figures),
        p99 => P99,
        spread => {lists:min(Figures), lists:max(Figures)},
        floor => Floor,
        ratios => Ratios,
        mark => Mark
    }.

%% ------------------------------------------------------------------------------------------------
%% The verdict

%% Of the median ratio. `?': at least a quarter of the rounds, taken alone, say otherwise.
met(#{mark := none}) ->
    "";
met(#{mark := {Kind, Bound}, ratios := Ratios}) ->
    Verdict = holds(Kind, bench_rounds:median(Ratios), Bound),
    Others = [Ratio || Ratio <- Ratios, holds(Kind, Ratio, Bound) =/= Verdict],
    Doubt = if 4 * length(Others) >= length(Ratios) -> "?"; true -> "" end,
    case Verdict of
        true -> "yes" ++ Doubt;
        false -> "NO" ++ Doubt
    end.

holds(at_least, Ratio, Bound) -> Ratio >= Bound;
holds(_, Ratio, Bound) -> Ratio =< Bound.

%% ------------------------------------------------------------------------------------------------
%% The table

-spec text([iodata()], [{iodata(), [row()]}], Notes :: [iodata()]) -> unicode:chardata().
text(Setting, Sections, Notes) ->
    Head = ["what", "median", "p99", "rounds", "floor", "", "ratio", "rounds", "mark", "met"],
    Lines = [Head | lists:append([section_cells(Section) || Section <- Sections])],
    Widths = widths([Line || Line <- Lines, is_list(Line)]),
    [
        [[Line, $\n] || Line <- Setting],
        $\n,
        [[format(Line, Widths), $\n] || Line <- Lines],
        "\nRatios are taken round by round; `rounds' is the smallest and the largest of all rounds. The p99 is\n"
        "of single operations. `?': a quarter or more of the rounds, taken alone, say otherwise.\n",
        [[$\n, Note] || Note <- Notes]
    ].

section_cells({Title, Rows}) ->
    [{title, Title} | [cells(Row) || Row <- Rows]].

cells(#{what := What, unit := Unit, median := Median, p99 := P99, spread := Spread} = Row) ->
    {FloorName, FloorValue} =
        case Row of
            #{floor := {Name, Value}} -> {Name, figure(Unit, Value)};
            #{floor := none} -> {"", ""}
        end,
    {Ratio, Range} = ratio_cells(Row),
    [
        What,
        figure(Unit, Median),
        if P99 =:= none -> ""; true -> figure(Unit, P99) end,
        range(Unit, Spread),
        FloorName,
        FloorValue,
        Ratio,
        Range,
        mark(Row),
        met(Row)
    ].

ratio_cells(#{unit := count}) ->
    {"", ""};
ratio_cells(#{ratios := []}) ->
    {"", ""};
ratio_cells(#{ratios := Ratios, mark := Mark} = Row) ->
    {Format, Unit} =
        case Mark of
            {at_most_more, _} -> {"~s~.2f", more(Row)};
            _ -> {"~s~.2f", ""}
        end,
    Show = fun(Number) ->
        Sign = if Unit =/= "", Number >= 0 -> "+"; true -> "" end,
        %% Rounded before, lest a trifle below zero be printed as one.
        io_lib:format(Format, [Sign, round(Number * 100) / 100])
    end,
    Median = bench_rounds:median(Ratios),
    {[Show(Median), Unit], [Show(lists:min(Ratios)), "..", Show(lists:max(Ratios))]}.

mark(#{mark := none}) -> "";
mark(#{mark := {at_most, Bound}, unit := count}) -> io_lib:format("<= ~b", [Bound]);
mark(#{mark := {at_most, Bound}}) -> io_lib:format("<= ~.2f", [Bound]);
mark(#{mark := {at_least, Bound}}) -> io_lib:format(">= ~.2f", [Bound]);
mark(#{mark := {at_most_more, Bound}} = Row) -> io_lib:format("<= +~.2f~s", [Bound, more(Row)]).

%% Of a difference.
more(#{unit := ns}) -> " ns";
more(#{unit := mb}) -> " MB".

%% So many bytes in a nanosecond are not copied by any machine, and a difference of times as small as that may
%% be below zero.
-define(NO_COPY, 500).

figure(Unit, Number) ->
    {Text, Name} = scaled(Unit, Number),
    [Text, Name].

range(count, {Same, Same}) ->
    "";
range(Unit, {Low, High}) ->
    {LowText, LowName} = scaled(Unit, Low),
    {HighText, HighName} = scaled(Unit, High),
    [LowText, [LowName || LowName =/= HighName], "..", HighText, HighName].

scaled(ns, Ns) when Ns < 1000 -> {decimals(0, Ns), " ns"};
scaled(ns, Ns) when Ns < 1000_000 -> {decimals(2, Ns / 1000), " us"};
scaled(ns, Ns) -> {decimals(2, Ns / 1000_000), " ms"};
scaled({each, Count}, Ns) when Ns < 1000 * Count -> {decimals(1, Ns / Count), " ns"};
scaled({each, Count}, Ns) -> scaled(ns, Ns / Count);
scaled({rate, Bytes}, Ns) when Ns * ?NO_COPY < Bytes -> {["> ", integer_to_list(?NO_COPY)], " GB/s"};
scaled({rate, Bytes}, Ns) -> {decimals(1, Bytes / Ns), " GB/s"};
scaled(times, Times) -> {decimals(2, Times), " x"};
scaled(mb, Megabytes) -> {decimals(2, Megabytes), " MB"};
scaled(count, Count) -> {integer_to_list(Count), ""}.

decimals(Decimals, Number) ->
    float_to_list(float(Number), [{decimals, Decimals}]).

widths(Lines) ->
    lists:foldl(
        fun(Line, Widths) ->
            lists:zipwith(fun(Cell, Width) -> max(string:length(Cell), Width) end, Line, Widths)
        end,
        [0 || _ <- hd(Lines)],
        Lines
    ).

format({title, Title}, Widths) ->
    Padding = lists:sum(Widths) + 2 * length(Widths) - string:length(Title) - 4,
    ["-- ", Title, $\s, lists:duplicate(max(0, Padding), $-)];
format([What | Cells], [Width | Widths]) ->
    %% Words to the left, figures to the right.
    Sides = [leading, leading, leading, trailing, leading, leading, leading, trailing, trailing],
    Padded = [
        [string:pad(Cell, W, Side), "  "]
     || {Cell, W, Side} <- lists:zip3(Cells, Widths, Sides)
    ],
    string:trim(lists:flatten([string:pad(What, Width), "  ", Padded]), trailing).

%% ------------------------------------------------------------------------------------------------
%% The picture: for every mark that is a ratio a bar, the range of the rounds, and the mark.

-define(WIDTH, 1000).
-define(LEFT, 300).
-define(SCALE, 550).
-define(PITCH, 30).
%% A longer bar is cut.
-define(LONGEST, 8.0).

-spec picture([iodata()], [{iodata(), [row()]}]) -> unicode:chardata().
picture(Setting, Sections) ->
    Rows = [Row || {_, All} <- Sections, #{mark := Mark} = Row <- All, Mark =/= none],
    {Bars, Words} = lists:partition(fun is_ratio/1, Rows),
    End = lists:max([1.0 | [float(X) || Row <- Bars, X <- extent(Row)]]),
    Axis = min(?LONGEST, End * 1.05),
    Top = 50 + 18 * length(Setting),
    Bottom = Top + ?PITCH * length(Bars),
    Height = Bottom + 50 + 22 * length(Words),
    [
        io_lib:format(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"~b\" height=\"~b\" "
            "viewBox=\"0 0 ~b ~b\" font-family=\"sans-serif\" font-size=\"13\">~n"
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>~n",
            [?WIDTH, Height, ?WIDTH, Height]
        ),
        text_at(16, 26, "font-size=\"17\" font-weight=\"bold\"", "What it costs, as a ratio to the floor"),
        [
            text_at(16, 46 + 18 * I, "fill=\"#555\" font-size=\"12\"", Line)
         || {I, Line} <- numbered(Setting)
        ],
        grid(Axis, Top, Bottom),
        [bar(Row, Axis, Top + ?PITCH * I) || {I, Row} <- numbered(Bars)],
        [words(Row, Bottom + 50 + 22 * I) || {I, Row} <- numbered(Words)],
        "</svg>\n"
    ].

is_ratio(#{mark := {at_most_more, _}}) -> false;
is_ratio(#{unit := count}) -> false;
is_ratio(_) -> true.

extent(#{ratios := Ratios, mark := {_, Bound}}) ->
    [Bound, lists:max(Ratios)].

numbered(List) ->
    lists:zip(lists:seq(0, length(List) - 1), List).

%% What is too small to measure may come out below zero.
x(Ratio, Axis) ->
    ?LEFT + ?SCALE * max(0, min(Ratio, Axis)) / Axis.

grid(Axis, Top, Bottom) ->
    Steps = [I || I <- lists:seq(0, floor(Axis))],
    [
        [
            line(x(I, Axis), Top, x(I, Axis), Bottom + 4, "stroke=\"#ddd\""),
            text_at(x(I, Axis), Bottom + 18, "text-anchor=\"middle\" fill=\"#555\"", integer_to_list(I))
        ]
     || I <- Steps
    ].

bar(#{what := What, ratios := Ratios, mark := {_, Bound}, floor := {Floor, _}} = Row, Axis, Y) ->
    Median = bench_rounds:median(Ratios),
    Middle = Y + ?PITCH / 2,
    {Low, High} = {lists:min(Ratios), lists:max(Ratios)},
    [
        text_at(?LEFT - 10, Middle - 1, "text-anchor=\"end\"", What),
        text_at(
            ?LEFT - 10,
            Middle + 11,
            "text-anchor=\"end\" font-size=\"10\" fill=\"#777\"",
            ["to ", Floor]
        ),
        io_lib:format(
            "<rect x=\"~b\" y=\"~.1f\" width=\"~.1f\" height=\"14\" fill=\"~s\"/>~n",
            [?LEFT, Middle - 7, x(Median, Axis) - ?LEFT, colour(met(Row))]
        ),
        [
            text_at(x(Axis, Axis) - 8, Middle + 4, "text-anchor=\"end\" fill=\"white\"", "more")
         || Median > Axis
        ],
        line(x(Low, Axis), Middle, x(High, Axis), Middle, "stroke=\"#444\" stroke-width=\"1.5\""),
        line(x(Bound, Axis), Middle - 11, x(Bound, Axis), Middle + 11, "stroke=\"#000\" stroke-width=\"3\""),
        text_at(?WIDTH - 16, Middle + 4, "text-anchor=\"end\"", [
            decimals(2, Median), " (", mark(Row), ")"
        ])
    ].

words(#{what := What, unit := Unit, median := Median} = Row, Y) ->
    {Ratio, _} = ratio_cells(Row),
    Compared =
        case Row of
            #{floor := {Floor, Value}} -> [", ", Floor, " ", figure(Unit, Value), ": ", Ratio];
            #{floor := none} -> ""
        end,
    Text = [What, ": ", figure(Unit, Median), Compared, " (", mark(Row), ")"],
    [
        io_lib:format("<rect x=\"16\" y=\"~b\" width=\"12\" height=\"12\" fill=\"~s\"/>~n", [
            Y - 11, colour(met(Row))
        ]),
        text_at(36, Y, "", Text)
    ].

colour("yes" ++ _) -> "#5a9e6f";
colour("NO" ++ _) -> "#d07a54".

line(X1, Y1, X2, Y2, Style) ->
    io_lib:format("<line x1=\"~.1f\" y1=\"~.1f\" x2=\"~.1f\" y2=\"~.1f\" ~s/>~n", [
        float(X1), float(Y1), float(X2), float(Y2), Style
    ]).

text_at(X, Y, Style, Text) ->
    io_lib:format("<text x=\"~.1f\" y=\"~.1f\" ~s>~ts</text>~n", [
        float(X), float(Y), Style, escaped(Text)
    ]).

escaped(Text) ->
    lists:map(
        fun
            ($<) -> "&lt;";
            ($>) -> "&gt;";
            ($&) -> "&amp;";
            (Char) -> Char
        end,
        unicode:characters_to_list(Text)
    ).
