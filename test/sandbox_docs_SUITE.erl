%% The table of docs/security.md is whole: what the native side refuses is in it, and what it says is tested.
-module(sandbox_docs_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

all() ->
    [
        every_refusal_has_a_row,
        every_row_is_of_a_refusal,
        every_event_is_in_the_table,
        every_guarded_function_is_in_the_table,
        every_row_names_tests_that_exist,
        every_key_of_a_policy_is_in_the_guide
    ].

every_refusal_has_a_row(_Config) ->
    Refusals = refusals(),
    ?assert(length(Refusals) > 50),
    ?assertEqual([], Refusals -- [Name || [Name | _] <- rows()]).

every_row_is_of_a_refusal(_Config) ->
    ?assertEqual([], [Name || [Name | _] <- rows()] -- refusals()).

every_event_is_in_the_table(_Config) ->
    Events = [Event || Event <- found("hook.rs", "b\"([\\w.]+)\""), Event =/= <<"ctypes.">>],
    ?assert(length(Events) > 30),
    Text = words(),
    ?assertEqual([], [Event || Event <- Events, not is_in(Event, Text), not is_in(last(Event), Text)]).

every_guarded_function_is_in_the_table(_Config) ->
    Functions =
        found("replaced.rs", "^        \"(\\w+)\" => ") ++
            found("replaced.rs", "name: \"(\\w+)\"") ++
            found("methods.rs", "^        \"(\\w+)\" => "),
    ?assert(length(Functions) > 60),
    Text = words(),
    ?assertEqual([], [Function || Function <- Functions, not is_in(Function, Text)]).

%% Of whatever sandbox suite.
every_row_names_tests_that_exist(_Config) ->
    Suites = filelib:wildcard(filename:join(py_suite:checkout(), "test/sandbox_*_SUITE.erl")),
    Tests = lists:append([captured(read(File), "^(\\w+)\\(_?Config\\) ->") || File <- ["sandbox_SUITE.erl" | Suites]]),
    Rows = rows(),
    ?assertEqual([], [{Name, Test} || [Name | Cells] <- Rows, Test <- tests(lists:last(Cells)), not lists:member(Test, Tests)]),
    ?assertEqual([], [Name || [Name | Cells] <- Rows, tests(lists:last(Cells)) =:= []]).

every_key_of_a_policy_is_in_the_guide(_Config) ->
    {ok, Policy} = py_sandbox:check(default),
    Text = read("docs/security.md"),
    ?assertEqual([], [Key || Key <- [base | maps:keys(Policy)], not is_in(atom_to_binary(Key), Text)]).

%% ------------------------------------------------------------------------------------------------
%% Sources and the document

read("sandbox_SUITE.erl") -> read("test/sandbox_SUITE.erl");
read(Path) ->
    {ok, Text} = file:read_file(filename:join(py_suite:checkout(), Path)),
    Text.

captured(Text, Pattern) ->
    case re:run(Text, Pattern, [global, multiline, {capture, [1], binary}]) of
        {match, Found} -> lists:usort([Name || [Name] <- Found]);
        nomatch -> []
    end.

found(File, Pattern) ->
    captured(read("native/src/sandbox/" ++ File), Pattern).

refusals() ->
    found("refusal.rs", "^    \\w+: (?:Damage|Policy|Permission|Import) \"([^\"]+)\"").

%% The cells of the rows that begin with the name of a refusal, in the tables with a column of tests.
rows() ->
    Lines = binary:split(section(), <<"\n">>, [global]),
    [cells(Line) || <<"| `", _/binary>> = Line <- Lines, length(cells(Line)) =:= 5].

cells(Line) ->
    [<<>> | Cells] = [string:trim(Cell) || Cell <- binary:split(Line, <<"|">>, [global])],
    [First | Rest] = lists:droplast(Cells),
    [binary:part(First, 1, byte_size(First) - 2) | Rest].

tests(Cell) ->
    [Test || Test <- binary:split(Cell, <<", ">>, [global]), Test =/= <<>>].

section() ->
    [_, Rest] = binary:split(read("docs/security.md"), <<"\n## What is refused\n">>),
    hd(binary:split(Rest, <<"\n## ">>)).

words() ->
    section().

%% As a whole word in backquotes, whatever module stands before it.
is_in(Word, Text) ->
    re:run(Text, <<"`(?:\\w+\\.)*", Word/binary, "`">>) =/= nomatch.

last(Event) ->
    lists:last(binary:split(Event, <<".">>, [global])).
