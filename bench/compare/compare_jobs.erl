-module(compare_jobs).

%% What is called, by how many, and what comes of it.

-export([all/1, hold/2, answer/2]).
-export_type([job/0, name/0, plan/0]).

-type plan() :: #{rounds := pos_integer(), turn := pos_integer(), starts := pos_integer(), workers := pos_integer(), quick := boolean()}.
%% That of compare_adapter, and how many workers are busy.
-type name() :: {compare_adapter:job(), pos_integer()}.
-type job() :: #{
    name := name(),
    title := unicode:chardata(),
    %% What the time is of.
    unit := unicode:chardata(),
    module := atom(),
    function := atom(),
    args := [term()],
    %% So many lists of arguments go into a batch; into one gather/4, if that is the way.
    way := call | batch | gather,
    lists := pos_integer(),
    %% Processes that call at the same time, and how often each does before the clock is read.
    callers := pos_integer(),
    repeat := pos_integer(),
    floor := {Row :: atom(), name()}
}.

-define(PAUSE, 0.05).
-define(SLEEPERS, 1000).

-spec all(plan()) -> [job()].
all(#{workers := Workers} = Plan) ->
    [
        job(call, <<"tiny call: math.sqrt, one caller">>, math, sqrt, [16.0], #{repeat => 40, lists => 1000}),
        job(callers, <<"tiny call: math.sqrt, 50 callers">>, math, sqrt, [16.0], #{
            callers => 50, repeat => 20, lists => 100
        }),
        job(bytes_10k, <<"10 KB of bytes there and back">>, compare_work, echo, [bytes(10_000)], #{
            repeat => 20, lists => 100
        }),
        job(bytes_10m, <<"10 MB of bytes there and back">>, compare_work, echo, [bytes(10_000_000)], #{}),
        job(document, <<"a JSON document of 1000 nodes there and back">>, compare_work, echo, [document()], #{
            lists => 10
        })
    ] ++
        [
            job({Name, Busy}, [Title, " on ", integer_to_binary(Busy), " of the workers"], compare_work, Name, Args, #{
                unit => [<<"unit of work, ">>, integer_to_binary(Busy), " at a time"],
                callers => Busy,
                floor => {direct, {Name, 1}}
            })
         || {Name, Title, Args} <- heavy(Plan), Busy <- steps(1, Workers)
        ] ++
        [
            job(coroutines, <<"1000 coroutines that sleep 50 ms at the same time">>, compare_work, nap, [?PAUSE], #{
                unit => <<"until the last has ended">>, way => gather, lists => ?SLEEPERS, floor => {direct, {coroutines, 1}}
            })
        ].

heavy(#{quick := true}) ->
    [{primes, <<"prime numbers">>, [2000]}, {text, <<"text">>, [500]}, {syntax, <<"syntax trees">>, [[<<"keyword.py">>]]}];
heavy(#{quick := false}) ->
    [
        {primes, <<"prime numbers">>, [25_000]},
        {text, <<"text">>, [12_000]},
        {syntax, <<"syntax trees of the standard library">>, [[<<"heapq.py">>, <<"shlex.py">>, <<"textwrap.py">>]]}
    ].

%% Keeps so many workers busy at the same time, in seconds.
-spec hold(name(), float()) -> job().
hold({start, Workers} = Name, Seconds) ->
    job(Name, <<"until workers answer">>, compare_work, hold, [Seconds], #{callers => Workers}).

%% 1, 2, 4 and so on, and the last.
steps(Step, Last) when Step < Last -> [Step | steps(2 * Step, Last)];
steps(_Step, Last) -> [Last].

job(Name, Title, Module, Function, Args, More) when is_atom(Name) ->
    job({Name, 1}, Title, Module, Function, Args, More);
job(Name, Title, Module, Function, Args, More) ->
    maps:merge(
        #{
            name => Name,
            title => Title,
            unit => <<"call">>,
            module => Module,
            function => Function,
            args => Args,
            way => call,
            lists => 1,
            callers => 1,
            repeat => 1,
            floor => {processes, Name}
        },
        More
    ).

%% No UTF-8.
bytes(Size) ->
    binary:copy(<<16#FF, 16#00, 16#7F, 16#80, 16#41>>, Size div 5).

document() ->
    [
        #{
            <<"id">> => Number * 1_000_003,
            <<"name">> => <<"item ", (integer_to_binary(Number))/binary>>,
            <<"price">> => Number * 1.25,
            <<"sold">> => Number rem 2 =:= 0,
            <<"tags">> => [<<"red">>, <<"äöü"/utf8>>, Number],
            <<"size">> => #{<<"width">> => Number, <<"height">> => -Number}
        }
     || Number <- lists:seq(1, 91)
    ].

%% What a job came to, small enough to be compared with what it came to elsewhere: whether echoes are the same, and
%% numbers as they are. Of several at once it is one, if they are equal.
-spec answer(job(), term()) -> term().
answer(#{way := gather, lists := Lists}, Numbers) ->
    same(Numbers =:= lists:seq(1, Lists));
answer(#{way := batch, lists := Lists} = Job, [First | _] = Values) ->
    case Values =:= lists:duplicate(Lists, First) of
        true -> answer(Job#{way := call}, First);
        false -> different
    end;
answer(#{function := echo, args := [Value]}, Echo) ->
    same(Value =:= Echo);
answer(_Job, Value) ->
    Value.

same(true) -> same;
same(false) -> different.
