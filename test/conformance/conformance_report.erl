%% Compares what came out on the control and on the loop under test, with the list of exceptions, and prints it.
-module(conformance_report).

-export([print/2]).

-export_type([ran/0]).

%% `always': the test must fail on our loop. `sometimes': it may.
-type exception() :: {conformance:key(), always | sometimes, Reason :: binary()}.

%% What was run: whether it was everything; what differed at first only; modules that could not be run.
-type ran() :: #{
    python := [non_neg_integer()],
    complete := boolean(),
    results := conformance:results(),
    unsteady := [{conformance:key(), #{binary() => conformance:result()}}],
    errors := [{Loop :: binary(), Module :: binary(), Reason :: term()}],
    seconds => non_neg_integer()
}.

%% How many tests differ without a reason, exceptions do not apply, and modules could not be run.
-spec print(map(), ran()) -> non_neg_integer().
print(#{loops := [Control | Loops]} = Options, #{unsteady := Unsteady, errors := Errors} = Ran) ->
    ok = log(Options, Ran),
    Compared = [compared(Options, Control, Loop, Ran) || Loop <- Loops],
    [io:format("~nAlike only when tried again:~n") || Unsteady =/= []],
    [
        io:format("  ~ts~ts~n", [name(Key), [[" ", L, " ", atom_to_list(O)] || {L, {O, _, _}} <- maps:to_list(First)]])
     || {Key, First} <- Unsteady
    ],
    [io:format("~ncannot run ~ts with ~ts: ~0tp~n", [Module, L, Reason]) || {L, Module, Reason} <- Errors],
    Passed = lists:sum([P || {P, _} <- Compared]),
    Failed = lists:sum([F || {_, F} <- Compared]) + length(Errors),
    io:format("~nconformance in ~b s: ~b passed, ~b failed~n", [maps:get(seconds, Ran, 0), Passed, Failed]),
    %% Nothing compared is no success.
    max(Failed, 1 - min(1, Passed)).

%% How many tests passed with both, and how many failures there are.
compared(Options, Control, Loop, #{results := All} = Ran) ->
    case maps:filter(fun(_Key, Result) -> is_map_key(Loop, Result) end, All) of
        None when map_size(None) =:= 0 -> {0, 0};
        Results -> compared(Options, Control, Loop, Ran, Results)
    end.

compared(Options, Control, Loop, #{unsteady := Unsteady, complete := Complete} = Ran, Results) ->
    Pairs = [{Key, outcome(Control, Result), outcome(Loop, Result)} || {Key, Result} <- lists:sort(maps:to_list(Results))],
    Exceptions = exceptions(Options, Loop, maps:get(python, Ran)),
    Differing = [Key || {Key, passed, Ours} <- Pairs, Ours =/= passed],
    Texts = [Text || {text, Text, _Why} <- consulted(Options)],
    Excused = [
        Key
     || Key <- Differing,
        lists:keymember(Key, 1, Exceptions) orelse is_excused(text(Loop, maps:get(Key, Results)), Texts)
    ],
    Wrong = Differing -- Excused,
    Stale = stale(Complete, Exceptions, Pairs),
    ok = table(Control, Loop, Results, Pairs, Excused, Wrong, Unsteady),
    [io:format("~nOnly with the loop ~ts:~n", [Loop]) || Wrong =/= []],
    [
        io:format("  ~ts ~s: ~ts~n", [name(Key), outcome(Loop, Result), last_line(text(Loop, Result))])
     || Key <- Wrong, Result <- [maps:get(Key, Results)]
    ],
    [io:format("~nExceptions that do not apply:~n") || Stale =/= []],
    [io:format("  ~ts: ~ts~n", [name(Key), Why]) || {Key, Why} <- Stale],
    Odd = [Key || {Key, Outcome, _} <- Pairs, Outcome =/= passed, Outcome =/= skipped],
    [io:format("~nNot compared, as they do not pass with the loop ~ts:~n", [Control]) || Odd =/= []],
    [
        io:format("  ~ts ~s, with ~ts ~s~n", [name(Key), outcome(Control, Result), Loop, outcome(Loop, Result)])
     || Key <- Odd, Result <- [maps:get(Key, Results)]
    ],
    io:nl(),
    {length([Key || {Key, passed, passed} <- Pairs]), length(Wrong) + length(Stale)}.

outcome(Loop, Result) ->
    case Result of
        #{Loop := {Outcome, _, _}} -> Outcome;
        _ -> missing
    end.

text(Loop, Result) ->
    case Result of
        #{Loop := {_, _, Text}} -> Text;
        _ -> <<>>
    end.

name({Module, Class, Test}) ->
    [Module, ".", Class, ".", Test].

last_line(Text) ->
    case lists:reverse(string:lexemes(Text, "\n")) of
        [] -> "";
        Lines -> string:slice(summary(Lines), 0, 150)
    end.

%% The line that names the exception; what the test wrote comes after it.
summary([Last | _] = Lines) ->
    case [Line || Line <- Lines, re:run(Line, "^[\\w.]*(Error|Interrupted|Exception|Timeout|Group)\\b") =/= nomatch] of
        [Line | _] -> Line;
        [] -> Last
    end.

%% ------------------------------------------------------------------------------------------------
%% Exceptions

%% Those of them that are about this loop, this Python and this mode.
-spec exceptions(map(), binary(), [non_neg_integer()]) -> [exception()].
exceptions(#{mode := Mode, loops := [_, First | _]} = Options, Loop, Python) ->
    [
        {{list_to_binary(Module), list_to_binary(Class), list_to_binary(Test)}, When, unicode:characters_to_binary(Why)}
     || {Module, Class, Test, When, Where, Why} <- consulted(Options),
        lists:member(Loop, [unicode:characters_to_binary(Name) || Name <- maps:get(loops, Where, [First])]),
        applies(Where, Mode, Python)
    ].

consulted(#{exceptions := File}) ->
    {ok, Terms} = file:consult(File),
    Terms.

%% By what it says itself, in the line that names the exception or the reason for leaving it out.
is_excused(Text, Texts) ->
    case lists:reverse(string:lexemes(Text, "\n")) of
        [] -> false;
        Lines -> lists:any(fun(Pattern) -> re:run(summary(Lines), Pattern, [unicode]) =/= nomatch end, Texts)
    end.

applies(Where, Mode, Python) ->
    lists:member(Mode, maps:get(modes, Where, [owngil, worker])) andalso
        maps:get(since, Where, [3]) =< Python andalso Python < maps:get(before, Where, [4]).

stale(Complete, Exceptions, Pairs) ->
    lists:append([
        case lists:keyfind(Key, 1, Pairs) of
            {_, passed, passed} when When =:= always -> [{Key, <<"it passes">>}];
            {_, passed, passed} -> [];
            {_, passed, _} -> [];
            {_, Control, _} when When =:= always -> [{Key, [<<"the control: ">>, atom_to_list(Control)]}];
            {_, _, _} -> [];
            false -> [{Key, <<"there is no such test">>} || Complete]
        end
     || {Key, When, _} <- Exceptions
    ]).

%% ------------------------------------------------------------------------------------------------
%% Output

table(Control, Loop, Results, Pairs, Excused, Wrong, Unsteady) ->
    line(["module", "tests", Control, Loop, "skipped", "excused", "differ", "unsteady", "s " ++ binary_to_list(Control),
          "s " ++ binary_to_list(Loop)]),
    Modules = lists:usort([Module || {{Module, _, _}, _, _} <- Pairs]),
    Rows = [row(Module, Control, Loop, Results, Pairs, Excused, Wrong, Unsteady) || Module <- Modules],
    [line([Name | Numbers]) || {Name, Numbers} <- Rows],
    line(["all" | sums([Numbers || {_, Numbers} <- Rows])]).

row(Module, Control, Loop, Results, Pairs, Excused, Wrong, Unsteady) ->
    Mine = [Pair || {{M, _, _}, _, _} = Pair <- Pairs, M =:= Module],
    Of = fun(Keys) -> length([M || {M, _, _} <- Keys, M =:= Module]) end,
    {Module, [
        length(Mine),
        length([1 || {_, passed, _} <- Mine]),
        length([1 || {_, _, passed} <- Mine]),
        length([1 || {_, skipped, _} <- Mine]),
        Of(Excused),
        Of(Wrong),
        Of([Key || {Key, _} <- Unsteady]),
        seconds(Control, Mine, Results),
        seconds(Loop, Mine, Results)
    ]}.

seconds(Loop, Pairs, Results) ->
    lists:sum([Seconds || {Key, _, _} <- Pairs, #{Loop := {_, Seconds, _}} <- [maps:get(Key, Results)]]).

sums([]) -> [];
sums([First | Rest]) -> lists:foldl(fun(Row, Sum) -> lists:zipwith(fun erlang:'+'/2, Row, Sum) end, First, Rest).

line([Name | Cells]) ->
    io:format("~-25ts~ts~n", [Name, [io_lib:format("~11ts", [cell(Cell)]) || Cell <- Cells]]).

cell(Cell) when is_float(Cell) -> float_to_list(Cell, [{decimals, 1}]);
cell(Cell) when is_integer(Cell) -> integer_to_list(Cell);
cell(Cell) -> Cell.

%% All that is known of what failed, in a file.
log(#{log := File}, #{results := Results}) ->
    Failed = [
        {Key, Loop, One}
     || {Key, Result} <- lists:sort(maps:to_list(Results)),
        {Loop, {Outcome, _, _} = One} <- maps:to_list(Result),
        Outcome =/= passed andalso Outcome =/= skipped
    ],
    Texts = [
        io_lib:format("==== ~ts with ~ts: ~s (~.1f s)~n~ts~n", [name(Key), Loop, Outcome, Seconds, Text])
     || {Key, Loop, {Outcome, Seconds, Text}} <- Failed
    ],
    file:write_file(File, unicode:characters_to_binary(Texts)).
