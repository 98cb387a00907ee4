%% What docs/reliability.md promises is tested: every promise names tests, and these are there.
-module(reliability_docs_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

all() ->
    [every_promise_names_tests, every_test_that_is_named_is_run, what_is_said_of_long_runs_is_so].

every_promise_names_tests(_Config) ->
    ?assert(length(promises()) > 25),
    ?assertEqual([], [Promise || {Promise, []} <- promises()]).

every_test_that_is_named_is_run(_Config) ->
    Named = lists:usort(lists:append([Tests || {_, Tests} <- promises()])),
    ?assertEqual([], [Test || {Suite, Case} = Test <- Named, not is_run(Suite, Case)]).

what_is_said_of_long_runs_is_so(_Config) ->
    Said = fun(Suite, Pattern) ->
        {match, [Number]} = re:run(read(["test/", Suite, ".erl"]), Pattern, [{capture, all_but_first, binary}]),
        Number
    end,
    Rows = [
        {<<"chaos">>, Said("chaos_SUITE", "define\\(SECONDS, (\\d+)\\)"), <<" seconds">>},
        {<<"soak">>, Said("soak_SUITE", "define\\(SECONDS, (\\d+)\\)"), <<" seconds">>},
        {<<"fuzz">>, Said("fuzz_SUITE", "define\\(TRIALS, (\\d+)\\)"), <<" of each kind">>}
    ],
    Document = read("docs/reliability.md"),
    [
        ?assertMatch({match, _}, re:run(Document, <<"`make ", Name/binary, " [^|]*\\|[^|]*\\| ", Number/binary, Unit/binary, " \\|">>))
     || {Name, Number, Unit} <- Rows
    ].

%% The rows of tables whose last cell is of tests.
promises() ->
    Lines = binary:split(read("docs/reliability.md"), <<"\n">>, [global]),
    tables(Lines, false).

tables([<<"| promise | tests |">> | Lines], _) -> tables(Lines, true);
tables([<<"|---", _/binary>> | Lines], In) -> tables(Lines, In);
tables([<<"| ", Row/binary>> | Lines], true) -> [row(Row) | tables(Lines, true)];
tables([_ | Lines], _) -> tables(Lines, false);
tables([], _) -> [].

row(Row) ->
    [Promise, Cell | _] = binary:split(Row, <<" | ">>),
    Found =
        case re:run(Cell, "`(\\w+):(\\w+)`", [global, {capture, all_but_first, list}]) of
            {match, Pairs} -> Pairs;
            nomatch -> []
        end,
    {Promise, [{list_to_atom(Suite), list_to_atom(Case)} || [Suite, Case] <- Found]}.

is_run(Suite, Case) ->
    {module, Suite} = code:ensure_loaded(Suite),
    Groups =
        case erlang:function_exported(Suite, groups, 0) of
            true -> [element(tuple_size(Group), Group) || Group <- Suite:groups()];
            false -> []
        end,
    erlang:function_exported(Suite, Case, 1) andalso lists:any(fun(Cases) -> is_in(Case, Cases) end, [Suite:all() | Groups]).

is_in(Case, Cases) ->
    lists:any(
        fun
            ({testcase, Name, _}) -> Name =:= Case;
            ({group, _}) -> false;
            ({_, _, More}) -> is_in(Case, More);
            ({_, More}) when is_list(More) -> is_in(Case, More);
            (Name) -> Name =:= Case
        end,
        Cases
    ).

read(Path) ->
    {ok, Text} = file:read_file(filename:join(py_suite:checkout(), Path)),
    Text.
