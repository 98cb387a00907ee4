-module(compare_rounds).

%% Has the rows take turns, job by job and in random order, so that what disturbs the machine disturbs all of them.

-export([run/2]).

%% The rows whose subject runs, and what is known of each row and job.
-record(state, {
    places :: compare_subject:places(),
    rows :: [compare_subject:row()],
    subjects = #{} :: #{atom() => compare_subject:subject()},
    abouts = #{} :: #{atom() => map()},
    %% Rows that cannot take part (any more).
    out = #{} :: #{atom() => {skip | failed, term()}},
    results = #{} :: #{{Row :: atom(), Job :: term()} => cell()}
}).

-type cell() :: {skip, binary()} | {failed, term()} | figures().
-type figures() :: #{
    medians := [number()],
    singles := [number()],
    count := non_neg_integer(),
    processor := [non_neg_integer() | unknown],
    memory := [non_neg_integer() | unknown],
    answers := [term()]
}.

%% The further workers of the second start.
-define(MORE, 4).

-spec run(compare_subject:places(), [compare_subject:row()]) ->
    {[compare_jobs:job()], #{atom() => map()}, #{atom() => term()}, #{{atom(), term()} => cell()}}.
run(#{plan := #{rounds := Rounds, turn := Turn, starts := Starts} = Plan} = Places, Rows) ->
    Jobs = compare_jobs:all(Plan),
    Started = lists:foldl(fun started/2, #state{places = Places, rows = Rows}, Rows),
    try
        say("first calls", []),
        Warm = round_of(Jobs, max(1, Turn div 2), Started),
        Measured = lists:foldl(
            fun(Round, State) ->
                say("round ~b of ~b", [Round, Rounds]),
                round_of(Jobs, Turn, State)
            end,
            forgotten(Warm),
            lists:seq(1, Rounds)
        ),
        ok = stop_all(Measured),
        Done = starts(Starts, Measured#state{subjects = #{}}),
        {Jobs, Done#state.abouts, Done#state.out, Done#state.results}
    catch
        Class:Reason:Stack ->
            ok = stop_all(Started),
            erlang:raise(Class, Reason, Stack)
    end.

started(#{name := Name} = Row, #state{places = Places} = State) ->
    say("starting ~ts", [Name]),
    {Outcome, About} = compare_subject:start(Row, Places),
    Known = State#state{abouts = (State#state.abouts)#{Name => About}},
    case Outcome of
        {ok, Subject} ->
            Known#state{subjects = (State#state.subjects)#{Name => Subject}};
        {Kind, Reason} ->
            say("~ts: ~ts, ~0tp", [Name, Kind, Reason]),
            Known#state{out = (State#state.out)#{Name => Outcome}}
    end.

stop_all(#state{subjects = Subjects}) ->
    lists:foreach(fun compare_subject:stop/1, maps:values(Subjects)).

%% The figures of the first calls; what failed or was left out stays so.
forgotten(#state{results = Results} = State) ->
    State#state{results = maps:filter(fun(_, Cell) -> is_tuple(Cell) end, Results)}.

round_of(Jobs, Turn, State) ->
    lists:foldl(fun(Job, Before) -> lists:foldl(turn(Job, Turn), Before, shuffled(Before#state.rows)) end, State, Jobs).

shuffled(List) ->
    [Item || {_, Item} <- lists:sort([{rand:uniform(), Item} || Item <- List])].

turn(#{name := JobName} = Job, Turn) ->
    fun(#{name := Name} = Row, #state{results = Results, subjects = Subjects} = State) ->
        Key = {Name, JobName},
        case Results of
            #{Key := Refused} when is_tuple(Refused) ->
                State;
            _ when is_map_key(Name, Subjects) ->
                About = maps:get(Name, State#state.abouts),
                case left_out(Row, Job, About) of
                    none -> measured(Key, maps:get(Name, Subjects), Job, Turn, State);
                    Reason -> State#state{results = Results#{Key => {skip, Reason}}}
                end;
            _ ->
                State#state{results = Results#{Key => maps:get(Name, State#state.out)}}
        end
    end.

left_out(Row, #{name := {Kind, _}} = Job, #{skips := Skips, batch := Batch}) ->
    case {Skips, Job, Row} of
        {#{Kind := Reason}, _, _} -> Reason;
        {_, #{way := Way, lists := Lists}, _} when Batch, (Way =:= gather orelse Lists =:= 1) -> <<"no job for a batch">>;
        {_, #{callers := Callers}, #{executor := "direct"}} when Callers > 1 -> <<"calls by itself, without workers">>;
        _ -> none
    end.

measured({Name, _} = Key, Subject, Job, Turn, #state{results = Results} = State) ->
    Pid = compare_subject:os_pid(Subject),
    Before = compare_usage:processor_time(Pid),
    Result = compare_subject:turn(Subject, Job, Turn),
    After = compare_usage:processor_time(Pid),
    case Result of
        {done, Done} ->
            Cell = added(maps:get(Key, Results, none), Done, difference(Before, After), compare_usage:memory(Pid)),
            State#state{results = Results#{Key => Cell}};
        {failed, Reason} ->
            say("~0tp failed: ~0tp", [Key, Reason]),
            Failed = State#state{results = Results#{Key => {failed, Reason}}},
            case is_busy_for_good(Reason) orelse has_ended(Before, After, Reason) of
                true -> without(Name, Subject, Reason, Failed);
                false -> Failed
            end
    end.

is_busy_for_good(Reason) -> Reason =:= timeout.

%% Its node or its Python process. Where the system tells nothing of processes, that it told nothing says nothing.
has_ended(_Before, _After, {exit, _}) -> true;
has_ended(_Before, _After, {python_ended, _}) -> true;
has_ended(_Before, _After, python_ended) -> true;
has_ended(Before, After, _Reason) -> is_integer(Before) andalso After =:= unknown.

without(Name, Subject, Reason, #state{subjects = Subjects, out = Out} = State) ->
    ok = compare_subject:stop(Subject),
    State#state{subjects = maps:remove(Name, Subjects), out = Out#{Name => {failed, Reason}}}.

added(none, Done, Processor, Memory) ->
    added(#{medians => [], singles => [], count => 0, processor => [], memory => [], answers => []}, Done, Processor, Memory);
added(Cell, #{count := Count, median := Median, singles := Singles, answers := Answers}, Processor, Memory) ->
    #{medians := Medians, singles := Before, count := Counted, processor := Times, memory := Sizes, answers := Known} = Cell,
    Cell#{
        medians := [Median | Medians],
        singles := Singles ++ Before,
        count := Counted + Count,
        processor := [Processor | Times],
        memory := [Memory | Sizes],
        answers := lists:usort(Answers ++ Known)
    }.

difference(Before, After) when is_integer(Before), is_integer(After) -> After - Before;
difference(_, _) -> unknown.

%% ------------------------------------------------------------------------------------------------
%% Starting workers, in a process of its own for each time

starts(Times, State) ->
    lists:foldl(
        fun(Time, Before) ->
            say("starting workers, ~b of ~b", [Time, Times]),
            lists:foldl(fun start_workers/2, Before, shuffled(Before#state.rows))
        end,
        State,
        lists:seq(1, Times)
    ).

start_workers(#{name := Name} = Row, #state{results = Results, places = Places, out = Out, abouts = Abouts} = State) ->
    Key = {Name, {start, 1}},
    case {Results, Out, Abouts} of
        {#{Key := Refused}, _, _} when is_tuple(Refused) -> State;
        {_, #{Name := Refused}, _} -> State#state{results = Results#{Key => Refused}};
        {_, _, #{Name := #{skips := #{start := Reason}}}} -> State#state{results = Results#{Key => {skip, Reason}}};
        {_, _, #{Name := #{batch := true}}} -> State#state{results = Results#{Key => {skip, <<"as without batches">>}}};
        _ -> State#state{results = Results#{Key => with_workers(Row, Places, maps:get(Key, Results, []))}}
    end.

%% One worker, and then some more than one: what each of those takes by itself. The workers start together.
with_workers(Row, Places, Before) ->
    case {compare_subject:start_workers(Row, Places, 1), compare_subject:start_workers(Row, Places, 1 + ?MORE)} of
        {{done, Time, Memory}, {done, MoreTime, MoreMemory}} ->
            [
                #{
                    first_time => Time,
                    first_memory => Memory,
                    next_time => max(0, MoreTime - Time) / ?MORE,
                    next_memory => each(Memory, MoreMemory)
                }
                | Before
            ];
        {{done, _, _}, Refused} ->
            Refused;
        {Refused, _} ->
            Refused
    end.

each(One, Several) when is_integer(One), is_integer(Several) -> max(0, Several - One) / ?MORE;
each(_, _) -> unknown.

say(Format, Arguments) ->
    io:format("compare: " ++ Format ++ "~n", Arguments).
