-module(compare).

%% The comparison, see run.sh: arguments, the run, and its results as JSON.

-export([main/0, run/1]).

%% `-extra Folder Build Library Python Results [--quick] [--only ROW]... [--adapter FILE [--path FOLDER]...]...'
-spec main() -> no_return().
main() ->
    try
        [Folder, Build, Library, Python, Results | Arguments] = init:get_plain_arguments(),
        Places = #{folder => Folder, build => Build, library => Library, python => Python},
        case options(Arguments, #{quick => false, only => [], adapters => []}) of
            {ok, Options} ->
                ok = file:write_file(Results, compare_json:encode(run(maps:merge(Places, Options)))),
                io:format("written: ~ts~n", [Results]),
                halt(0);
            {unknown, Argument} ->
                io:format(standard_error, "compare: unknown: ~ts~n", [Argument]),
                halt(2)
        end
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "compare: ~p: ~tp~n~tp~n", [Class, Reason, Stack]),
            halt(1)
    end.

options(["--quick" | Rest], Options) ->
    options(Rest, Options#{quick := true});
options(["--only", Row | Rest], #{only := Only} = Options) ->
    options(Rest, Options#{only := [list_to_atom(Row) | Only]});
options(["--adapter", File | Rest], #{adapters := Adapters} = Options) ->
    options(Rest, Options#{adapters := Adapters ++ [{File, []}]});
options(["--path", Path | Rest], #{adapters := [_ | _] = Adapters} = Options) ->
    {File, Paths} = lists:last(Adapters),
    options(Rest, Options#{adapters := lists:droplast(Adapters) ++ [{File, Paths ++ [filename:absname(Path)]}]});
options([Unknown | _], _Options) ->
    {unknown, Unknown};
options([], Options) ->
    {ok, Options}.

%% A run, as it becomes JSON.
-spec run(#{
    folder := file:filename(),
    build := file:filename(),
    library := file:filename(),
    python := file:filename(),
    quick := boolean(),
    only := [atom()],
    %% In place of the usual ones.
    plan => compare_jobs:plan(),
    adapters := [{file:filename(), [file:filename()]}]
}) -> map().
run(#{quick := Quick, only := Only, library := Library, build := Build, adapters := Adapters} = Options) ->
    Plan = #{workers := Workers} = maps:get(plan, Options, plan(Quick)),
    Embedded = filename:join(filename:dirname(Build), "embedded"),
    Places = (maps:with([folder, build, python], Options))#{workers => Workers, plan => Plan, embedded => Embedded},
    Rows = [
        Row
     || #{name := Name} = Row <- compare_rows:all(Library, [adapter(Build, Adapter) || Adapter <- Adapters]),
        Only =:= [] orelse lists:member(Name, Only)
    ],
    Started = erlang:monotonic_time(second),
    {Jobs, Abouts, Out, Results} = compare_rounds:run(Places, Rows),
    Took = erlang:monotonic_time(second) - Started,
    #{
        setting => compare_setting:all(Options, Plan, Took),
        rows => [row(Row, Abouts, Out) || Row <- Rows],
        jobs => [job(Job, Rows, Results) || Job <- Jobs],
        starts => [started(Name, maps:get({Name, {start, 1}}, Results)) || #{name := Name} <- Rows]
    }.

plan(true) ->
    #{rounds => 2, turn => 30, starts => 1, workers => 2, quick => true};
plan(false) ->
    #{rounds => 7, turn => 200, starts => 3, workers => erlang:system_info(schedulers_online), quick => false}.

%% Compiles an adapter of the user's.
adapter(Build, {File, Paths}) ->
    Folder = filename:join(Build, "adapters"),
    ok = filelib:ensure_dir(filename:join(Folder, "x")),
    case compile:file(File, [report, {outdir, Folder}]) of
        {ok, Module} -> compare_rows:own(Module, [Folder | Paths]);
        error -> error({does_not_compile, File})
    end.

%% ------------------------------------------------------------------------------------------------
%% What comes out

row(#{name := Name}, Abouts, Out) ->
    #{Name := #{title := Title}} = Abouts,
    maps:merge(#{name => Name, title => Title}, reason(maps:get(Name, Out, none))).

reason({skip, Reason}) -> #{skipped => Reason};
reason({failed, Reason}) when is_binary(Reason) -> #{failed => Reason};
reason({failed, Reason}) -> #{failed => unicode:characters_to_binary(io_lib:format("~0tp", [Reason]))};
reason(none) -> #{}.

job(#{name := {Kind, Busy} = Key, title := Title, unit := Unit, floor := Floor}, Rows, Results) ->
    #{
        name => Kind,
        busy => Busy,
        title => unicode:characters_to_binary(Title),
        unit => unicode:characters_to_binary(Unit),
        floor => element(1, Floor),
        rows => [cell(Name, maps:get({Name, Key}, Results), Key, Floor, Results) || #{name := Name} <- Rows]
    }.

cell(Name, #{answers := Answers} = Cell, Key, Floor, Results) ->
    case expected(Key, Results) of
        Answers -> (figures(Cell, Key, Floor, Results))#{name => Name};
        Expected -> (reason({failed, {answers, Answers, instead_of, Expected}}))#{name => Name}
    end;
cell(Name, Refused, _Key, _Floor, _Results) ->
    (reason(Refused))#{name => Name}.

%% What Python code comes to elsewhere than in libraries: a wrong value has no time.
expected({Job, _} = Key, Results) ->
    Known = [
        Answers
     || Row <- [{direct, {Job, 1}}, {ports, Key}, {processes, Key}], #{Row := #{answers := Answers}} <- [Results]
    ],
    case Known of
        [Answers | _] -> Answers;
        %% None of them takes part.
        [] -> hd([Answers || {{_, Some}, #{answers := Answers}} <- lists:sort(maps:to_list(Results)), Some =:= Key])
    end.

figures(#{medians := Medians, singles := Singles, count := Count, processor := Times, memory := Sizes}, Key, Floor, Results) ->
    #{
        median => compare_figures:median(Medians),
        rounds => lists:reverse(Medians),
        p99 => compare_figures:percentile(99, Singles),
        singles => length(Singles),
        calls => Count,
        processor_time => known(Times, fun(Known) -> lists:sum(Known) / Count end),
        memory => known(Sizes, fun compare_figures:median/1),
        to_floor => to(Floor, Medians, Results),
        to_ports => to({ports, Key}, Medians, Results)
    }.

known(Values, Figure) ->
    case lists:member(unknown, Values) of
        true -> null;
        false -> Figure(Values)
    end.

%% Round by round, what it took in proportion to another row and job.
to(Other, Medians, Results) ->
    case Results of
        #{Other := #{medians := Theirs}} when length(Theirs) =:= length(Medians) ->
            compare_figures:median(lists:zipwith(fun(A, B) -> A / B end, Medians, Theirs));
        _ ->
            null
    end.

started(Name, [_ | _] = Samples) ->
    Figures = [
        {Key, known([maps:get(Key, Sample) || Sample <- Samples], fun compare_figures:median/1)}
     || Key <- [first_time, first_memory, next_time, next_memory]
    ],
    (maps:from_list(Figures))#{name => Name, samples => length(Samples)};
started(Name, Refused) ->
    (reason(Refused))#{name => Name}.
