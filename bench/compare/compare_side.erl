-module(compare_side).

%% In the node of a row: keeps the adapter's state, and does the row's turns. A turn repeats a job until its time is
%% up. Each process that calls repeats it so often that reading the clock counts for nothing, which gives the
%% median, and then takes the time of single calls, which give the p99.

-export([open/3, start/4, turn/3]).
-export_type([result/0]).

-type result() ::
    {done, #{
        %% Calls, also those that were not timed.
        count := pos_integer(),
        %% The median time of a call, and the times of single ones, in nanoseconds.
        median := number(),
        singles := [number(), ...],
        %% What the first call of each caller came to.
        answers := [term(), ...]
    }}
    | {failed, term()}.

%% Enough of one turn for a p99.
-define(SINGLES, 4000).
%% For how long start/4 keeps each worker busy, in seconds.
-define(HELD, 0.02).

-spec open(module(), compare_adapter:settings(), compare_jobs:plan()) ->
    {ok | {skip, binary()} | {failed, term()}, compare_adapter:about()}.
open(Adapter, Settings, Plan) ->
    %% Their arguments are made here: some are too large to be sent for each turn.
    Jobs = maps:from_list([{Name, Job} || #{name := Name} = Job <- compare_jobs:all(Plan)]),
    {start_server(Adapter, Settings, Jobs), text(Adapter:about(Settings))}.

text(#{title := Title} = About) ->
    Skips = maps:map(fun(_, Reason) -> unicode:characters_to_binary(Reason) end, maps:get(skips, About, #{})),
    #{title => unicode:characters_to_binary(Title), skips => Skips, batch => maps:get(batch, About, false)}.

start_server(Adapter, Settings, Jobs) ->
    Self = self(),
    {Server, Monitor} = spawn_monitor(fun() ->
        case Adapter:start(Settings) of
            {ok, State} ->
                true = register(?MODULE, self()),
                Self ! {self(), ok},
                serve(Adapter, Settings, State, Jobs);
            {skip, Reason} ->
                Self ! {self(), {skip, unicode:characters_to_binary(Reason)}}
        end
    end),
    receive
        {Server, Answer} ->
            true = demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, Server, Reason} ->
            {failed, Reason}
    end.

serve(Adapter, Settings, State, Jobs) ->
    receive
        {From, Ref, Name, Time} ->
            From ! {Ref, turn(Adapter, Settings, State, maps:get(Name, Jobs), Time)},
            serve(Adapter, Settings, State, Jobs)
    end.

-spec turn(compare_jobs:name(), non_neg_integer(), timeout()) -> result().
turn(Name, Time, Timeout) ->
    Ref = monitor(process, ?MODULE),
    ?MODULE ! {self(), Ref, Name, Time},
    receive
        {Ref, Result} ->
            true = demonitor(Ref, [flush]),
            Result;
        {'DOWN', Ref, process, _, Reason} ->
            {failed, Reason}
    after Timeout ->
        {failed, timeout}
    end.

%% Starts the adapter, and takes the time until so many workers have answered, in nanoseconds. It waits for them as many
%% milliseconds as for one turn.
-spec start(module(), compare_adapter:settings(), pos_integer(), pos_integer()) ->
    {done, integer()} | {skip, binary()} | {failed, term()}.
start(Adapter, Settings, Workers, Timeout) ->
    Begin = now_ns(),
    Name = {start, Workers},
    case start_server(Adapter, Settings#{workers := Workers}, #{Name => compare_jobs:hold(Name, ?HELD)}) of
        ok -> all_answer(Workers, Begin + Timeout * 1_000_000, Begin, [], Timeout);
        Refused -> Refused
    end.

%% Each is busy for a moment, so that one does not answer for another; a library may still give two callers the same.
all_answer(Workers, Deadline, Begin, Before, Timeout) ->
    case turn({start, Workers}, 0, Timeout) of
        {done, #{answers := Names}} ->
            Seen = lists:usort(Names ++ Before),
            case {length(Seen) >= Workers, now_ns()} of
                {true, Now} -> {done, Now - Begin - round(?HELD * 1_000_000_000)};
                {false, Now} when Now < Deadline -> all_answer(Workers, Deadline, Begin, Seen, Timeout);
                {false, _} -> {failed, {workers_that_answered, length(Seen), 'of', Workers}}
            end;
        Failed ->
            Failed
    end.

%% ------------------------------------------------------------------------------------------------
%% A turn

turn(Adapter, Settings, State, Asked, Time) ->
    Job = #{callers := Count} = fitted(Asked, Adapter:about(Settings)),
    Self = self(),
    Callers = [
        spawn_monitor(fun() -> caller(Self, Adapter, operation(Adapter, Adapter:client(State, Number), Job), Job) end)
     || Number <- lists:seq(1, Count)
    ],
    try
        Answers = [answered(Caller) || Caller <- Callers],
        timed(Callers, Answers, Job, Time)
    catch
        throw:{failed, Reason} -> {failed, Reason}
    after
        lists:foreach(fun ended/1, Callers)
    end.

%% Only some adapters take several lists of arguments at once.
fitted(#{way := gather} = Job, _About) -> Job;
fitted(#{lists := Lists} = Job, #{batch := true}) when Lists > 1 -> Job#{way := batch, repeat := 1};
fitted(Job, _About) -> Job#{lists := 1}.

timed(Callers, Answers, #{callers := Count, repeat := Repeat, way := Way, lists := Lists}, Time) ->
    Start = now_ns(),
    {Batches, Count1, Singles} =
        case Repeat of
            1 ->
                %% Reading the clock counts for nothing anyway.
                {Each, Times} = together(Callers, singles, Start + Time * 1_000_000),
                {Each, length(Each), Times};
            _ ->
                {Some, []} = together(Callers, batches, Start + Time * 700_000),
                {More, Times} = together(Callers, singles, Start + Time * 1_000_000),
                {Some, length(Some) + length(More), Times}
        end,
    Together = case Way of batch -> Lists; _ -> 1 end,
    {done, #{
        count => Count * Together * (1 + Repeat * Count1),
        median => compare_figures:median(Batches) / (Count * Repeat * Together),
        singles => [Single / Together || Single <- Singles],
        answers => Answers
    }}.

operation(Adapter, Client, #{way := call, module := Module, function := Function, args := Args}) ->
    fun() -> Adapter:call(Client, Module, Function, Args) end;
operation(Adapter, Client, #{way := batch, module := Module, function := Function, args := Args, lists := Lists}) ->
    Many = lists:duplicate(Lists, Args),
    fun() -> {ok, Adapter:call_many(Client, Module, Function, Many)} end;
operation(Adapter, Client, #{way := gather, module := Module, function := Function, lists := Lists, args := Args}) ->
    Many = [Args ++ [Number] || Number <- lists:seq(1, Lists)],
    case erlang:function_exported(Adapter, gather, 4) of
        true -> fun() -> {ok, Adapter:gather(Client, Module, Function, Many)} end;
        false -> fun() -> Adapter:call(Client, compare_work, naps, [Many]) end
    end.

%% What it came to, of all that one operation has asked for.
checked(Adapter, #{way := Way} = Job, {ok, Values}) when Way =:= batch; Way =:= gather ->
    Plain =
        case Way =:= batch orelse erlang:function_exported(Adapter, gather, 4) of
            true -> [value(Value) || Value <- Values];
            false -> Values
        end,
    compare_jobs:answer(Job, Plain);
checked(_Adapter, Job, Answer) ->
    compare_jobs:answer(Job, value(Answer)).

value({ok, Value}) -> Value;
value({error, Reason}) -> exit({answered, Reason}).

%% ------------------------------------------------------------------------------------------------
%% Processes that call

caller(Server, Adapter, Operation, Job) ->
    Answer = checked(Adapter, Job, Operation()),
    true = garbage_collect(),
    Server ! {self(), Answer},
    calling(Server, Operation, Job).

calling(Server, Operation, #{repeat := Repeat} = Job) ->
    receive
        {batches, Until} -> Server ! {self(), {batches(Operation, Repeat, Until, []), []}};
        {singles, Until} -> Server ! {self(), singles(Operation, Repeat, Until, [], [], 0)}
    end,
    calling(Server, Operation, Job).

%% Until that time, which may have passed, but once at least.
batches(Operation, Repeat, Until, Batches) ->
    Start = now_ns(),
    repeat(Operation, Repeat),
    End = now_ns(),
    More = [End - Start | Batches],
    case End < Until of
        true -> batches(Operation, Repeat, Until, More);
        false -> More
    end.

singles(Operation, Repeat, Until, Batches, Singles, Count) ->
    Start = now_ns(),
    MoreSingles = each(Operation, Repeat, Start, Singles),
    End = now_ns(),
    More = [End - Start | Batches],
    case End < Until andalso Count + Repeat < ?SINGLES of
        true -> singles(Operation, Repeat, Until, More, MoreSingles, Count + Repeat);
        false -> {More, MoreSingles}
    end.

repeat(_Operation, 0) ->
    ok;
repeat(Operation, Left) ->
    {ok, _} = Operation(),
    repeat(Operation, Left - 1).

each(_Operation, 0, _Last, Singles) ->
    Singles;
each(Operation, Left, Last, Singles) ->
    {ok, _} = Operation(),
    Now = now_ns(),
    each(Operation, Left - 1, Now, [Now - Last | Singles]).

%% One caller goes on by itself; several begin together and wait for each other.
together([{Caller, _} = Only], Part, Until) ->
    Caller ! {Part, Until},
    answered(Only);
together(Callers, Part, Until) ->
    together(Callers, Part, Until, [], []).

together(Callers, Part, Until, Batches, Singles) ->
    Start = now_ns(),
    lists:foreach(fun({Caller, _}) -> Caller ! {Part, Start} end, Callers),
    Parts = [answered(Caller) || Caller <- Callers],
    End = now_ns(),
    More = [End - Start | Batches],
    MoreSingles = lists:append([Each || {_, Each} <- Parts]) ++ Singles,
    case End < Until andalso length(MoreSingles) < ?SINGLES of
        true -> together(Callers, Part, Until, More, MoreSingles);
        false -> {More, MoreSingles}
    end.

answered({Caller, Monitor}) ->
    receive
        {Caller, Answer} -> Answer;
        {'DOWN', Monitor, process, Caller, Reason} -> throw({failed, Reason})
    end.

ended({Caller, Monitor}) ->
    true = exit(Caller, kill),
    true = demonitor(Monitor, [flush]),
    answered_too(Caller).

%% What nobody has taken after another failed.
answered_too(Caller) ->
    receive
        {Caller, _} -> answered_too(Caller)
    after 0 -> ok
    end.

now_ns() ->
    erlang:monotonic_time(nanosecond).
