-module(bench_conversion).

%% Conversion of arguments (there) and of results (back), against loops that only build the same objects and
%% terms (see floor/src/lib.rs), and of large binaries against memcpy.
%%
%% A call does more than convert, and the clock stands outside it. So conversion is what remains when the times
%% of other calls are taken away:
%%
%%   there  call(Value) - call([]) - copy, where copy is refused(Value) - refused([])
%%   back   kept() - nothing()
%%
%% `call' asks operator.not_, and `refused' a function that does not exist: that request is copied and sent like
%% any other, but answered before its argument is converted, as is checked before. `kept' returns an object that
%% the context has, `nothing' returns None.
%%
%% Both sides free what they made: Python's objects when the call ends, as the floor's loop does; the terms when
%% the caller collects its garbage, as the floor clears its environment.

-export([elements/1, binaries/1, notes/0]).

-type plan() :: #{rounds := pos_integer(), turn := pos_integer()}.
-type variant() :: {atom(), fun(() -> Nanoseconds :: number())}.
%% Of each round, and of each variant, the single measurements.
-type times() :: [#{atom() => [number(), ...]}].

%% A turn takes so many samples even if it gets longer, and no more than that.
-define(FEWEST, 3).
-define(MOST, 500).

-define(DEFINITIONS, <<
    "values = {}\n"
    "def keep(name, value):\n"
    "    values[name] = value\n"
    "def kept(name):\n"
    "    return values[name]\n"
    "def nothing(name):\n"
    "    return None\n"
    "def add_path(path):\n"
    "    import sys\n"
    "    sys.path.append(path)\n"
>>).

-spec notes() -> iodata().
notes() ->
    "conversion there: call(X) - call([]) - copy of the request; copy: refused(X) - refused([]); `call' asks\n"
    "operator.not_, `refused' a function that is not there, which is answered before X is converted.\n"
    "conversion back: kept() - nothing(); `kept' returns what the context has, `nothing' None.\n"
    "The whole call is what its caller waits. Both sides build and free; the loops build from plain arrays.\n".

%% ------------------------------------------------------------------------------------------------
%% Many elements

-spec elements(bench:settings()) -> [bench_report:row()].
elements(Settings) ->
    rows(Settings, [
        fun(Context, Plan) -> Measure(Context, Plan, Value) end
     || Value <- bench_values:elements(), Measure <- [fun there/3, fun back/3]
    ]).

-spec there(pid(), plan(), bench_values:value()) -> [bench_report:row()].
there(Context, Plan, {Name, Kind, Count, Make}) ->
    Value = Make(),
    ok = load(Context, Kind, Value),
    Times = measure(Plan, [
        {call, timed(fun() -> call(Context, Value) end)},
        {call_empty, timed(fun() -> call(Context, []) end)},
        {refused, timed(fun() -> refused(Context, Value) end)},
        {refused_empty, timed(fun() -> refused(Context, []) end)},
        {floor, fun() -> python_floor(Context) end}
    ]),
    Unit = {each, Count},
    Floor = {<<"PyX loop">>, floor, Times},
    Copy = minus(medians(refused, Times), medians(refused_empty, Times)),
    Others = plus(medians(call_empty, Times), Copy),
    [
        row([Name, " there"], Unit, less(call, Others, Times), Floor, {at_most, 1.5}),
        row([Name, " there, whole call"], Unit, whole(call, Times), Floor, none),
        bench_report:compared_row(text([Name, " there, copy"]), Unit, Copy, none, [], none)
    ].

-spec back(pid(), plan(), bench_values:value()) -> [bench_report:row()].
back(Context, Plan, {Name, Kind, Count, Make}) ->
    ok = load(Context, Kind, Make()),
    Times = measure(Plan, [
        {call, timed(fun() -> own(Context, kept, [value]) end)},
        {call_empty, timed(fun() -> own(Context, nothing, [value]) end)},
        {floor, fun bench_floor:build_terms/0}
    ]),
    Unit = {each, Count},
    Floor = {<<"enif loop">>, floor, Times},
    [
        row([Name, " back"], Unit, less(call, medians(call_empty, Times), Times), Floor, {at_most, 1.5}),
        row([Name, " back, whole call"], Unit, whole(call, Times), Floor, none)
    ].

%% Gives the value to the floors and to the context, and makes sure that all three have the same.
load(Context, Kind, Value) ->
    ok = bench_floor:load(Kind, Value),
    {ok, none} = own(Context, keep, [value, Value]),
    {ok, Value} = own(Context, kept, [value]),
    {ok, true} = py:eval(Context, <<"values['value'] == __import__('bench_floor').make()">>),
    Value = bench_floor:make_terms(),
    ok.

python_floor(Context) ->
    {ok, Nanoseconds} = py:call(Context, bench_floor, build, []),
    Nanoseconds.

%% ------------------------------------------------------------------------------------------------
%% Large binaries

-spec binaries(bench:settings()) -> [bench_report:row()].
binaries(Settings) ->
    rows(Settings, [
        fun(Context, Plan) -> binary(Context, Plan, Megabytes) end
     || Megabytes <- [1, 64]
    ]).

%% The emulator shares large binaries, so there is no copy of the request to take away.
-spec binary(pid(), plan(), pos_integer()) -> [bench_report:row()].
binary(Context, Plan, Megabytes) ->
    Size = Megabytes * 1_000_000,
    Bytes = bench_values:bytes(Size),
    {ok, none} = own(Context, keep, [bytes, {bytes, Bytes}]),
    {ok, none} = own(Context, keep, [text, Bytes]),
    {ok, [<<"bytes">>, <<"str">>]} = py:eval(Context, <<"[type(v).__name__ for v in values.values()]">>),
    {ok, Bytes} = own(Context, kept, [bytes]),
    {ok, Bytes} = own(Context, kept, [text]),
    Times = measure(Plan, [
        {memcpy, fun() -> bench_floor:copy(Size) end},
        {memcpy_new, fun() -> bench_floor:copy_new(Size) end},
        {call_empty, timed(fun() -> call(Context, []) end)},
        {bytes_there, timed(fun() -> call(Context, {bytes, Bytes}) end)},
        {text_there, timed(fun() -> call(Context, Bytes) end)},
        {own_empty, timed(fun() -> own(Context, nothing, [bytes]) end)},
        {bytes_back, timed(fun() -> own(Context, kept, [bytes]) end)},
        {text_back, timed(fun() -> own(Context, kept, [text]) end)}
    ]),
    Row = fun(What, Samples, Mark) ->
        Title = [integer_to_binary(Megabytes), " MB, ", What],
        row(Title, {rate, Size}, Samples, {<<"memcpy">>, memcpy, Times}, Mark)
    end,
    There = medians(call_empty, Times),
    Back = medians(own_empty, Times),
    [
        Row("memcpy into new memory", whole(memcpy_new, Times), none),
        Row("bytes there", less(bytes_there, There, Times), {at_most, 1.1}),
        Row("text there", less(text_there, There, Times), {at_most, 1.1}),
        Row("bytes back", less(bytes_back, Back, Times), {at_most, 1.1}),
        Row("text back", less(text_back, Back, Times), {at_most, 1.1})
    ].

%% ------------------------------------------------------------------------------------------------
%% The context, and what it is asked

%% Runs each measurement in a process of its own, so that none finds the garbage of another.
-spec rows(bench:settings(), [fun((pid(), plan()) -> [bench_report:row()])]) -> [bench_report:row()].
rows(Settings, Measurements) ->
    Plan = bench:plan(Settings, #{rounds => 12, turn => 60}, #{rounds => 4, turn => 15}),
    {ok, Context} = py_context:new(),
    ok = check_refusal(Context),
    Rows = [apart(fun() -> prepared(Context, Plan, Measure) end) || Measure <- Measurements],
    py_context:stop(Context),
    lists:append(Rows).

prepared(Context, Plan, Measure) ->
    ok = py:exec(Context, ?DEFINITIONS),
    Directory = filename:dirname(code:which(bench_floor)),
    {ok, none} = own(Context, add_path, [unicode:characters_to_binary(Directory)]),
    Measure(Context, Plan).

apart(Fun) ->
    {_, Monitor} = spawn_monitor(fun() -> exit({rows, Fun()}) end),
    receive
        {'DOWN', Monitor, process, _, {rows, Rows}} -> Rows;
        {'DOWN', Monitor, process, _, Reason} -> error(Reason)
    end.

%% A refused request must not get as far as its argument, here one that no conversion takes.
check_refusal(Context) ->
    {error, {'TypeError', _}} = py:call(Context, operator, not_, [[1 | 2]]),
    refused(Context, [1 | 2]).

call(Context, Value) ->
    {ok, _} = py:call(Context, operator, not_, [Value]).

refused(Context, Value) ->
    {error, {'AttributeError', _}} = py:call(Context, operator, absent, [Value]),
    ok.

own(Context, Function, Arguments) ->
    {ok, _} = py:call(Context, '__main__', Function, Arguments).

%% ------------------------------------------------------------------------------------------------
%% Measuring

%% Rounds in which each variant has a turn, in random order.
-spec measure(plan(), [variant()]) -> times().
measure(#{rounds := Rounds, turn := Turn}, Variants) ->
    _Warm = round_of(Variants, 0),
    [round_of(Variants, Turn) || _ <- lists:seq(1, Rounds)].

round_of(Variants, Turn) ->
    Mixed = lists:sort([{rand:uniform(), Variant} || Variant <- Variants]),
    maps:from_list([{Name, turn(Run, Turn)} || {_, {Name, Run}} <- Mixed]).

turn(Run, Turn) ->
    %% Garbage of the last turn is not this one's, and the first run after a pause wakes things.
    true = erlang:garbage_collect(),
    _ = Run(),
    samples(Run, erlang:monotonic_time(millisecond) + Turn, 1, [Run()]).

samples(Run, Deadline, Count, Samples) ->
    Enough = Count >= ?FEWEST andalso erlang:monotonic_time(millisecond) >= Deadline,
    case Enough orelse Count >= ?MOST of
        true -> Samples;
        false -> samples(Run, Deadline, Count + 1, [Run() | Samples])
    end.

timed(Run) ->
    fun() ->
        Start = erlang:monotonic_time(nanosecond),
        _ = Run(),
        erlang:monotonic_time(nanosecond) - Start
    end.

medians(Name, Times) ->
    [bench_rounds:median(maps:get(Name, Round)) || Round <- Times].

plus(Ones, Others) ->
    lists:zipwith(fun(One, Other) -> One + Other end, Ones, Others).

minus(Ones, Others) ->
    lists:zipwith(fun(One, Other) -> One - Other end, Ones, Others).

%% The samples of each round, less what else they contain.
less(Name, Others, Times) ->
    lists:zipwith(
        fun(Round, Other) -> [Sample - Other || Sample <- maps:get(Name, Round)] end, Times, Others
    ).

whole(Name, Times) ->
    [maps:get(Name, Round) || Round <- Times].

%% A row of the samples of each round, beside its floor.
row(What, Unit, Samples, {Floor, FloorName, Times}, Mark) ->
    Figures = [bench_rounds:median(Round) || Round <- Samples],
    Floors = medians(FloorName, Times),
    bench_report:compared_row(
        text(What),
        Unit,
        Figures,
        bench_rounds:percentile(99, lists:append(Samples)),
        {Floor, bench_rounds:median(Floors)},
        lists:zipwith(fun(Figure, Least) -> Figure / Least end, Figures, Floors),
        Mark
    ).

text(Words) ->
    iolist_to_binary(Words).
