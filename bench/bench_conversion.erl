-module(bench_conversion).

%% Conversion of arguments (there) and of results (back), against loops that only build the same objects and
%% terms (see floor/src/lib.rs), and of large binaries against memcpy.
%%
%% A call does more than convert, and the clock stands outside it. So conversion is what remains when the times
%% of other calls are taken away:
%%
%%   there  call(Value) - call([]) - copy, where copy is refused(Value) - refused([])
%%   back   kept() - nothing(), each with the garbage collection of the caller
%%
%% `call' asks operator.not_, and `refused' a function that does not exist: that request is copied and sent like
%% any other, but answered before its argument is converted, as is checked first. `kept' returns an object that
%% the context has, `nothing' returns None.
%%
%% Both sides free what they made within their time: Python's objects when the call ends, as the floor's loop
%% does; the terms when the caller collects its garbage, as the floor clears its environment.

-export([elements/1, binaries/1, notes/0]).

-type plan() :: #{rounds := pos_integer(), turn := pos_integer()}.
-type variant() :: {atom(), fun(() -> Nanoseconds :: number())}.
%% Of each round, and of each variant, the single measurements.
-type times() :: [#{atom() => [number(), ...]}].

%% A turn takes so many samples even if it gets longer, and no more than that.
-define(FEWEST, 3).
-define(MOST, 5000).

-define(DEFINITIONS, <<
    "def keep(given):\n"
    "    global value\n"
    "    value = given\n"
    "def kept():\n"
    "    return value\n"
    "def nothing():\n"
    "    return None\n"
    "def add_path(path):\n"
    "    import sys\n"
    "    sys.path.append(path)\n"
>>).

-spec notes() -> iodata().
notes() ->
    "there: call(X) - call([]) - copy of the request, where copy is refused(X) - refused([]). `call' asks\n"
    "operator.not_; `refused' a function that does not exist, and is answered before X is converted.\n"
    "back: kept() - nothing(), with the caller's garbage collection; `kept' returns what the context has.\n"
    "The whole call is what its caller waits for. PyX loop, enif loop: the same values built from plain arrays\n"
    "through CPython's C API and through the NIF API. All free what they build within their time. 1 MB: 4 at once.\n".

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
    Times = measure(Plan, there(Context, Value)),
    Unit = {each, Count},
    Floor = {<<"PyX loop">>, floor_there, Times},
    [
        row([Name, " there"], Unit, conversion_there(Times), Floor, {at_most, 1.5}),
        row([Name, " there, whole call"], Unit, samples(call, Times), Floor, none),
        bench_report:compared_row(text([Name, " there, copy"]), Unit, copy(Times), none, [], none)
    ].

-spec back(pid(), plan(), bench_values:value()) -> [bench_report:row()].
back(Context, Plan, {Name, Kind, Count, Make}) ->
    ok = load(Context, Kind, Make()),
    Times = measure(Plan, [{whole, collected(timed(fun() -> own(Context, kept) end))} | back(Context)]),
    Unit = {each, Count},
    Floor = {<<"enif loop">>, floor_back, Times},
    [
        row([Name, " back"], Unit, conversion_back(Times), Floor, {at_most, 1.5}),
        row([Name, " back, whole call"], Unit, samples(whole, Times), Floor, none)
    ].

there(Context, Value) ->
    [
        {call, timed(fun() -> call(Context, Value) end)},
        {call_empty, timed(fun() -> call(Context, []) end)},
        {refused, timed(fun() -> refused(Context, Value) end)},
        {refused_empty, timed(fun() -> refused(Context, []) end)},
        {floor_there, fun() -> python_floor(Context) end}
    ].

conversion_there(Times) ->
    less(call, plus(medians(call_empty, Times), copy(Times)), Times).

copy(Times) ->
    minus(medians(refused, Times), medians(refused_empty, Times)).

back(Context) ->
    [
        {kept, timed(collected(fun() -> own(Context, kept) end))},
        {nothing, timed(collected(fun() -> own(Context, nothing) end))},
        {floor_back, fun bench_floor:build_terms/0}
    ].

conversion_back(Times) ->
    less(kept, medians(nothing, Times), Times).

%% ------------------------------------------------------------------------------------------------
%% Large binaries

-spec binaries(bench:settings()) -> [bench_report:row()].
binaries(Settings) ->
    rows(Settings, [
        fun(Context, Plan) -> binaries(Context, Plan, Name, Kind, Count, Size) end
     || {Name, Count, Size} <- [{<<"1 MB">>, 4, 1_000_000}, {<<"64 MB">>, 1, 64_000_000}],
        Kind <- [bytes, texts]
    ]).

%% Several smaller ones in one call, so that the way there and back is little beside them.
-spec binaries(pid(), plan(), binary(), bytes | texts, pos_integer(), pos_integer()) ->
    [bench_report:row()].
binaries(Context, Plan, Name, Kind, Count, Size) ->
    Binaries = [bench_values:text(Size) || _ <- lists:seq(1, Count)],
    {Class, Value} =
        case Kind of
            bytes -> {"bytes", [{bytes, Binary} || Binary <- Binaries]};
            texts -> {"str", Binaries}
        end,
    ok = load(Context, Kind, Value, Binaries),
    Memcpy = {memcpy, fun() -> bench_floor:copy(Size, Count) end},
    Times = measure(Plan, [Memcpy | there(Context, Value) ++ back(Context)]),
    Row = fun(Way, Samples, Mark) ->
        row([Name, " ", Class, " ", Way], {rate, Size * Count}, Samples, {<<"memcpy">>, memcpy, Times}, Mark)
    end,
    [
        Row("there", conversion_there(Times), {at_most, 1.1}),
        Row("there, PyX loop", samples(floor_there, Times), none),
        Row("back", conversion_back(Times), {at_most, 1.1}),
        Row("back, enif loop", samples(floor_back, Times), none)
    ].

%% ------------------------------------------------------------------------------------------------
%% The context, and what it is asked

%% Runs each measurement in a process of its own, so that none finds the garbage of another.
-spec rows(bench:settings(), [fun((pid(), plan()) -> [bench_report:row()])]) -> [bench_report:row()].
rows(Settings, Measurements) ->
    Plan = bench:plan(Settings, #{rounds => 10, turn => 60}, #{rounds => 4, turn => 15}),
    {ok, Context} = py_context:new(),
    ok = check_refusal(Context),
    Rows = [apart(fun() -> prepared(Context, Plan, Measure) end) || Measure <- Measurements],
    py_context:stop(Context),
    lists:append(Rows).

prepared(Context, Plan, Measure) ->
    ok = py:exec(Context, ?DEFINITIONS),
    Directory = filename:dirname(code:which(bench_floor)),
    {ok, none} = py:call(Context, '__main__', add_path, [unicode:characters_to_binary(Directory)]),
    Measure(Context, Plan).

apart(Fun) ->
    {_, Monitor} = spawn_monitor(fun() -> exit({rows, Fun()}) end),
    receive
        {'DOWN', Monitor, process, _, {rows, Rows}} -> Rows;
        {'DOWN', Monitor, process, _, Reason} -> error(Reason)
    end.

%% Gives the value to the floors and to the context, and makes sure that all three have the same.
load(Context, Kind, Value) ->
    load(Context, Kind, Value, Value).

load(Context, Kind, Value, Returned) ->
    ok = bench_floor:load(Kind, Returned),
    {ok, none} = py:call(Context, '__main__', keep, [Value]),
    {ok, Returned} = py:call(Context, '__main__', kept, []),
    {ok, true} = py:eval(Context, <<"value == __import__('bench_floor').make()">>),
    Returned = bench_floor:make_terms(),
    ok.

%% A refused request must not get as far as its argument, here one that no conversion takes.
check_refusal(Context) ->
    {error, {'TypeError', _}} = py:call(Context, operator, not_, [[1 | 2]]),
    {error, {'AttributeError', _}} = refused(Context, [1 | 2]),
    ok.

call(Context, Value) ->
    {ok, _} = py:call(Context, operator, not_, [Value]).

refused(Context, Value) ->
    {error, {'AttributeError', _}} = py:call(Context, operator, absent, [Value]).

python_floor(Context) ->
    {ok, Nanoseconds} = py:call(Context, bench_floor, build, []),
    Nanoseconds.

%% Forgets what it gets.
own(Context, Function) ->
    {ok, _} = py:call(Context, '__main__', Function, []),
    ok.

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

%% What a caller got is freed when it collects its garbage. Left to itself, it may do so between two samples.
collected(Run) ->
    fun() ->
        Result = Run(),
        true = erlang:garbage_collect(),
        Result
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

samples(Name, Times) ->
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
