%% The smaller examples do what they show. (demo_SUITE has the large one.)
-module(examples_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0]).
-export([init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2, end_per_testcase/2]).
-export([
    quotes_follow_the_tables/1,
    application_takes_its_functions_back/1,
    transactions_abort_and_restart/1,
    pipeline_counts_as_erlang_does/1,
    pipeline_ends_as_a_whole/1,
    short_log_goes_through/1,
    scraper_finds_every_page/1,
    scraper_copes_with_a_single_page/1,
    redis_like_counts_every_increment/1,
    redis_like_serves_one_client/1,
    websockets_echo_and_announce/1,
    guest_book_loses_no_entry/1,
    data_pipeline_comes_to_what_erlang_knows/1,
    echo_is_spread_over_contexts/1,
    chat_is_heard_by_all_in_one_order/1,
    both_sides_log_in_one_stream/1,
    commands_run/1
]).

-define(EXAMPLES, [
    ets_reader, mnesia_transfer, actor_pipeline, async_scraper, redis_like, websocket_echo, guest_book, echo, chat, data_pipeline,
    one_log
]).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [{group, owngil}, {group, worker}, commands_run].

groups() ->
    py_suite:groups([
        quotes_follow_the_tables,
        application_takes_its_functions_back,
        transactions_abort_and_restart,
        pipeline_counts_as_erlang_does,
        pipeline_ends_as_a_whole,
        short_log_goes_through,
        scraper_finds_every_page,
        scraper_copes_with_a_single_page,
        redis_like_counts_every_increment,
        redis_like_serves_one_client,
        websockets_echo_and_announce,
        guest_book_loses_no_entry,
        data_pipeline_comes_to_what_erlang_knows,
        echo_is_spread_over_contexts,
        chat_is_heard_by_all_in_one_order,
        both_sides_log_in_one_stream
    ]).

init_per_suite(Config) ->
    Build = ?config(priv_dir, Config),
    lists:foreach(fun(Name) -> build(Name, filename:join(py_suite:checkout(), "examples"), Build) end, ?EXAMPLES),
    Config.

end_per_suite(Config) ->
    lists:foreach(
        fun(Name) -> true = code:del_path(filename:join([?config(priv_dir, Config), Name, "ebin"])) end, ?EXAMPLES
    ).

%% As scripts/run-example.sh does it.
build(Name, Examples, Build) ->
    Example = filename:join(Examples, Name),
    Ebin = filename:join([Build, Name, "ebin"]),
    ok = filelib:ensure_dir(filename:join(Ebin, "file")),
    [
        {ok, _} = compile:file(Source, [{outdir, Ebin}, report, debug_info, warnings_as_errors])
     || Source <- filelib:wildcard(filename:join(Example, "*.erl")) ++ filelib:wildcard(filename:join(Example, "src/*.erl"))
    ],
    [
        copy(Source, filename:join(Ebin, filename:rootname(filename:basename(Source))))
     || Source <- filelib:wildcard(filename:join(Example, "src/*.app.src"))
    ],
    [
        copy(Source, filename:join([Build, Name, "priv", filename:basename(Source)]))
     || Source <- filelib:wildcard(filename:join(Example, "*.py")) ++ filelib:wildcard(filename:join(Example, "priv/*"))
    ],
    true = code:add_patha(Ebin).

copy(Source, Target) ->
    ok = filelib:ensure_dir(Target),
    {ok, _} = file:copy(Source, Target).

%% Mnesia stays where it has been once, and what it keeps is none of ours.
init_per_group(Mode, Config) ->
    {ok, _} = application:ensure_all_started(mnesia),
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

end_per_testcase(_Case, _Config) ->
    ?assertEqual([], py_suite:flush()).

%% ------------------------------------------------------------------------------------------------
%% ets_reader

quotes_follow_the_tables(Config) ->
    #{first := First, after_change := Changed, with_unknown := Unknown} = ets_reader:run(options(Config)),
    ?assertEqual(#{<<"total">> => 1685, <<"unknown">> => []}, First),
    ?assertEqual(#{<<"total">> => 1845, <<"unknown">> => []}, Changed),
    ?assertEqual(#{<<"total">> => 1845, <<"unknown">> => [<<"cocoa">>]}, Unknown).

application_takes_its_functions_back(_Config) ->
    {ok, _} = application:ensure_all_started(ets_reader),
    ?assertMatch({ok, _}, py_callback:lookup(price)),
    Context = ets_reader_quotes:context(),
    Monitor = monitor(process, Context),
    ok = py_suite:silently(fun() -> application:stop(ets_reader) end),
    ?assertEqual({error, not_found}, py_callback:lookup(price)),
    ?assertEqual({error, not_found}, py_callback:lookup(basket)),
    receive
        {'DOWN', Monitor, process, Context, _} -> ok
    end.

%% ------------------------------------------------------------------------------------------------
%% mnesia_transfer

transactions_abort_and_restart(Config) ->
    Report = py_suite:fresh(fun() -> mnesia_transfer:run(options(mnesia_transfer, Config)) end),
    #{receipt := Receipt, refused := Refused, aborted := Aborted, met := Met, many := Many} = Report,
    ?assertEqual(#{<<"amount">> => 300, <<"left">> => 700}, Receipt),
    ?assertEqual({aborted, {'Refused', "anna is short of 500"}}, Refused),
    ?assertEqual({aborted, {no_account, <<"zoe">>}}, Aborted),
    #{runs := Runs, results := Results} = Met,
    ?assert(Runs > 2),
    ?assertMatch([{atomic, #{<<"amount">> := 100}}, {atomic, #{<<"amount">> := 100}}], Results),
    ?assertMatch(#{total := 3000}, Many).

%% ------------------------------------------------------------------------------------------------
%% actor_pipeline

pipeline_counts_as_erlang_does(Config) ->
    Report = actor_pipeline:run((options(actor_pipeline, Config))#{lines => 5000}),
    #{rejected := Rejected, most_waiting := Most, totals := #{<<"requests">> := Requests}} = Report,
    ?assertEqual(5000 div 97, Rejected),
    ?assertEqual(5000 - Rejected, lists:sum(maps:values(Requests))),
    %% Four batches, four requests for more, and the end.
    ?assert(Most =< 9).

pipeline_ends_as_a_whole(Config) ->
    Opts = (options(actor_pipeline, Config))#{stages => ['Parse', 'NoSuchStage', 'Total']},
    py_suite:silently(fun() ->
        ?assertExit({pipeline_failed, {{badmatch, {error, {'AttributeError', _}}}, _}}, actor_pipeline:run(Opts))
    end),
    ended(whereis(actor_pipeline_rejects)).

%% The end of one process reaches the others a little later.
ended(undefined) ->
    ok;
ended(Pid) ->
    Monitor = monitor(process, Pid),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    end.

short_log_goes_through(Config) ->
    #{rejected := 0} = actor_pipeline:run((options(actor_pipeline, Config))#{lines => 1}).

%% ------------------------------------------------------------------------------------------------
%% async_scraper

scraper_finds_every_page(Config) ->
    #{found := Found, calls := Calls, three := Three} = async_scraper:run((options(async_scraper, Config))#{pages => 150}),
    #{<<"titles">> := Titles} = Found,
    ?assertEqual(147, map_size(Titles)),
    ?assertEqual(map_size(Titles), Calls),
    ?assertEqual([Found, Found, Found], Three).

scraper_copes_with_a_single_page(Config) ->
    #{found := Found} = async_scraper:run((options(async_scraper, Config))#{pages => 1, delay => 0}),
    ?assertEqual(#{<<"titles">> => #{<<"/0">> => <<"Page 0">>}, <<"broken">> => #{<<"/missing">> => 404}}, Found).

%% ------------------------------------------------------------------------------------------------
%% redis_like

redis_like_counts_every_increment(Config) ->
    Report = redis_like:run((options(redis_like, Config))#{clients => 20, increments => 250}),
    ?assertMatch(
        #{
            counter := 5000,
            keys := [<<"counter">>],
            heard := [<<"from a client">>, <<"from Erlang">>],
            expired := true,
            served := 22,
            refused := 1
        },
        Report
    ).

redis_like_serves_one_client(Config) ->
    ?assertMatch(#{counter := 1}, redis_like:run((options(redis_like, Config))#{clients => 1, increments => 1})).

%% ------------------------------------------------------------------------------------------------
%% echo, chat

echo_is_spread_over_contexts(Config) ->
    ?assertMatch(
        #{echoed := 1000, per_context := [500, 500], replaced := 2},
        echo:run((options(echo, Config))#{clients => 10, messages => 100})
    ).

chat_is_heard_by_all_in_one_order(Config) ->
    ?assertMatch(
        #{heard := 50, same_order := true, left := [_, _, _, _]},
        chat:run((options(chat, Config))#{members => 5, lines => 2})
    ).

%% ------------------------------------------------------------------------------------------------
%% one_log

both_sides_log_in_one_stream(Config) ->
    Report = one_log:run(options(one_log, Config)),
    ?assertMatch(#{shipped := 3, tracebacks := 1}, Report),
    #{orders := Orders} = Report,
    Shipped = [{erlang, info}, {python, info}, {erlang, info}],
    ?assertEqual(
        #{
            1 => Shipped,
            2 => Shipped,
            3 => [{erlang, info}, {python, warning}, {erlang, notice}],
            4 => Shipped,
            5 => [{python, error}]
        },
        Orders
    ).

%% ------------------------------------------------------------------------------------------------
%% websocket_echo, guest_book

websockets_echo_and_announce(Config) ->
    with_packages(websocket_echo, Config, fun(Opts) ->
        ?assertMatch(#{echoed := 50, told := 10, heard := 10}, websocket_echo:run(Opts#{clients => 10, messages => 5}))
    end).

guest_book_loses_no_entry(Config) ->
    with_packages(guest_book, Config, fun(Opts) ->
        ?assertEqual(
            #{written => 40, found => 40, refused => 422}, guest_book:run(Opts#{visitors => 4, entries => 10})
        )
    end).

%% ------------------------------------------------------------------------------------------------
%% data_pipeline

data_pipeline_comes_to_what_erlang_knows(Config) ->
    Opts = options(data_pipeline, Config),
    Work = filename:join(?config(priv_dir, Config), "data_pipeline_work"),
    case py:ensure_venv(filename:join(Work, "venv"), filename:join(maps:get(folder, Opts), "requirements.txt"), [{activate, false}]) of
        ok ->
            #{rows := Rows, refused := Refused} = data_pipeline:run(Opts#{work => Work, days => 4, orders => 300}),
            ?assertEqual({1200, 4 * 300 div 50}, {Rows, lists:sum(maps:values(Refused))}),
            ?assertEqual(3, map_size(Refused));
        {error, {install, Output}} ->
            {skip, ["the package cannot be installed here: ", Output]}
    end.

%% With the packages that the example needs, in a virtual environment.
with_packages(Name, Config, Fun) ->
    Venv = filename:join(?config(priv_dir, Config), "venv_" ++ atom_to_list(Name)),
    Requirements = filename:join([py_suite:checkout(), "examples", Name, "requirements.txt"]),
    Output = os:cmd(lists:join($\s, [filename:join(py_suite:checkout(), "scripts/venv.sh"), Venv, Requirements, "2>&1"])),
    {ok, Text} = file:read_file(Requirements),
    [Package, _Version] = string:lexemes(string:trim(binary_to_list(Text)), "="),
    case filelib:wildcard(filename:join([Venv, "lib/python*/site-packages", Package])) of
        [Folder] -> Fun((options(Name, Config))#{packages => filename:dirname(Folder)});
        [] -> {skip, "the package cannot be installed here: " ++ Output}
    end.

%% ------------------------------------------------------------------------------------------------
%% Commands

commands_run(_Config) ->
    Expected = [
        {ets_reader, ["no price: cocoa", "all quotes are right"]},
        {mnesia_transfer, ["anna is short of 500", "no_account", "both went through", "still 3000"]},
        {actor_pipeline, ["rejected", "the totals are right"]},
        {async_scraper, ["196 pages and 5 broken", "answered 196 calls", "given up"]},
        {redis_like, ["100000 increments", "the counter is right", "one more was refused"]},
        {websocket_echo, ["1000 messages came back", "50 heard it"]},
        {data_pipeline, ["petl 1.7.30", "56000 orders", "1120 refused", "those that Erlang knows"]},
        {guest_book, ["500 entries were written", "500 are in the book", "refused with 422"]},
        {echo, ["20000 messages echoed", "10000, 10000", "2 contexts were replaced"]},
        {chat, ["members by context: 10, 10", "4000 lines were heard", "one left, 19 stayed"]},
        {one_log, ["side=python at=stock.py:23 text=\"4 of tea taken\" left=36", "13 lines of 5 orders, 3 shipped"]}
    ],
    [command_runs(Name, Texts) || {Name, Texts} <- Expected].

command_runs(Name, Texts) ->
    Command = filename:join([py_suite:checkout(), "examples", Name, "run.sh"]),
    {Status, Output} = py_suite:run(Command),
    ?assertEqual({Name, 0}, {Name, Status}),
    [?assertNotEqual({Name, Text, nomatch}, {Name, Text, string:find(Output, Text)}) || Text <- Texts].

options(Config) ->
    #{quiet => true, mode => py_suite:mode(Config)}.

options(Name, Config) ->
    (options(Config))#{folder => filename:join([?config(priv_dir, Config), Name, "priv"])}.
