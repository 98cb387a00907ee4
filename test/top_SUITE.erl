%% The screen of py_top: what it shows, as text, and how it ends.
-module(top_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [
        head_tells_of_the_node,
        rows_tell_of_contexts,
        rates_need_a_screen_before,
        largest_is_on_top,
        no_line_is_wider_than_the_screen,
        contexts_that_do_not_fit_are_counted,
        names_cannot_move_the_cursor,
        screen_comes_again_and_again,
        key_ends_the_screen,
        keys_sort,
        stop_ends_the_screen,
        stopping_nothing_is_no_error,
        screen_ends_with_its_process,
        screen_ends_with_its_terminal,
        there_is_one_screen_at_a_time,
        without_a_terminal_there_are_no_escapes,
        screen_ends_with_the_application,
        wrong_options_are_bad_arguments,
        application_has_to_run
    ].

init_per_suite(Config) ->
    ok = py_suite:start(#{num_contexts => 1}),
    Config.

end_per_suite(_Config) ->
    py_suite:stop().

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    ok = py_top:stop().

%% ------------------------------------------------------------------------------------------------
%% Text

info(Contexts) ->
    #{
        version => <<"1.2.3">>,
        node => 'a@b',
        otp => <<"28">>,
        python => <<"3.14.2">>,
        mode => owngil,
        contexts => Contexts,
        pools => #{},
        threads => #{live => 6, spare => 2, stuck => 1, set_aside => 0},
        requests => #{in_flight => 3, queued => 4, running => 2, tasks => 5},
        memory => #{contexts => 50 bsl 20},
        refusals => #{<<"os.fork">> => 7, <<"os._exit">> => 1},
        functions => 0,
        atoms => 0,
        limits => #{max_concurrent => infinity}
    }.

context(Number) ->
    #{
        context => list_to_pid("<0." ++ integer_to_list(Number) ++ ".0>"),
        id => {default, Number},
        mode => owngil,
        state => idle,
        interpreter => Number,
        processes => 1,
        queue => 0,
        max_queue => infinity,
        requests => 100,
        interrupts => 0,
        cpu_time => 1_000_000,
        memory => #{used => 3 bsl 20, peak => 4 bsl 20, limit => infinity},
        running_for => undefined,
        running => [],
        tasks => 0,
        oldest_task => undefined
    }.

running(Number, What, Milliseconds) ->
    (context(Number))#{
        state => running,
        running_for => Milliseconds,
        running => [#{process => self(), kind => call, milliseconds => Milliseconds, what => What}]
    }.

view() ->
    #{columns => 120, rows => 40, sort => cpu, clock => {7, 8, 9}, erlang => 2 bsl 30}.

text(Info, Before, View) ->
    [unicode:characters_to_list(Line) || Line <- py_top_text:lines(Info, Before, View)].

head_tells_of_the_node(_Config) ->
    Info = info([context(1), running(2, {call, json, dumps, 1}, 5)]),
    [First, Contexts, Requests, Memory, "" | _] = text(Info, none, view()),
    ?assertEqual("py_top  a@b  Python 3.14.2  OTP 28  owngil  07:08:09", First),
    ?assertEqual("contexts  2: 1 running, 1 idle; threads 6, spare 2, stuck 1, set aside 0", Contexts),
    ?assertEqual("requests  -/s, 2 running, 4 queued, 5 tasks, 8 refused by sandboxes", Requests),
    ?assertEqual("memory    50.0 MiB in contexts, 2.0 GiB in Erlang; cpu -%; sorted by cpu", Memory),
    Bounded = Info#{limits => #{max_concurrent => 10}},
    py_suite:contains(lists:nth(3, text(Bounded, none, view())), "3 of 10 in flight").

rows_tell_of_contexts(_Config) ->
    Shown = [
        (context(1))#{queue => 12, processes => 3, tasks => 4},
        running(2, {call, json, <<"dumps">>, 1}, 1_500),
        (running(3, {eval, <<"1 + 1">>}, 61_000))#{id => 17, memory => undefined},
        (running(4, to_term, 20))#{state => waiting},
        running(5, {map, math, <<"sqrt">>, 100}, 20)
    ],
    [_, _, _, _, "", Titles | Rows] = text(info(Shown), none, view()),
    ?assertEqual(
        ["CONTEXT", "STATE", "CPU%", "REQ/S", "QUEUE", "PROCS", "TASKS", "MEMORY", "FOR", "WHAT"],
        string:lexemes(Titles, " ")
    ),
    ?assertEqual(
        [
            ["default/1", "idle", "-", "-", "12", "3", "4", "3.0", "MiB", "-"],
            ["default/2", "running", "-", "-", "0", "1", "0", "3.0", "MiB", "1.5", "s", "json.dumps/1"],
            ["#17", "running", "-", "-", "0", "1", "0", "-", "1:01", "eval", "1", "+", "1"],
            ["default/4", "waiting", "-", "-", "0", "1", "0", "3.0", "MiB", "20", "ms", "to_term"],
            ["default/5", "running", "-", "-", "0", "1", "0", "3.0", "MiB", "20", "ms", "map", "math.sqrt,", "100", "items"]
        ],
        [string:lexemes(Row, " ") || Row <- Rows]
    ).

rates_need_a_screen_before(_Config) ->
    Before = info([context(1)]),
    Now = info([(context(1))#{requests => 1100, cpu_time => 2_500_000}, context(2)]),
    [_, _, Requests, Memory, "", _, First, Second] = text(Now, {Before, 2_000}, view()),
    %% 1000 requests and 1.5 seconds in 2 seconds; the second one is new.
    ?assertMatch(["default/1", "idle", "75.0", "500" | _], string:lexemes(First, " ")),
    ?assertMatch(["default/2", "idle", "-", "-" | _], string:lexemes(Second, " ")),
    py_suite:contains(Requests, "500/s"),
    py_suite:contains(Memory, "cpu 75.0%").

largest_is_on_top(_Config) ->
    Before = info([context(N) || N <- [1, 2, 3]]),
    Now = info([
        (context(1))#{cpu_time => 1_100_000, queue => 9},
        (context(2))#{requests => 500, memory => undefined},
        (running(3, {exec, <<"x">>}, 99))#{memory => #{used => 9 bsl 20, peak => 9 bsl 20, limit => infinity}}
    ]),
    Top = fun(Sort) ->
        [Id | _] = string:lexemes(lists:nth(7, text(Now, {Before, 1_000}, (view())#{sort => Sort})), " "),
        Id
    end,
    ?assertEqual(
        ["default/1", "default/2", "default/1", "default/3", "default/3"],
        [Top(Sort) || Sort <- [cpu, requests, queue, memory, time]]
    ).

no_line_is_wider_than_the_screen(_Config) ->
    Long = binary:copy(<<"é"/utf8>>, 300),
    Lines = text(info([running(1, {eval, Long}, 1)]), none, (view())#{columns => 60}),
    ?assertEqual([], [Line || Line <- Lines, string:length(Line) > 60]).

contexts_that_do_not_fit_are_counted(_Config) ->
    Lines = text(info([context(N) || N <- lists:seq(1, 30)]), none, (view())#{rows => 12}),
    ?assertEqual(12, length(Lines)),
    ?assertEqual("... and 25 more", lists:last(Lines)).

names_cannot_move_the_cursor(_Config) ->
    Row = lists:last(text(info([running(1, {call, <<"\e[2J\n">>, <<"\r\x{9b}"/utf8>>, 0}, 1)]), none, view())),
    ?assertEqual([], [C || C <- Row, C < 32 orelse (C >= 127 andalso C < 160)]).

%% ------------------------------------------------------------------------------------------------
%% The screen

screen_comes_again_and_again(_Config) ->
    Screen = start(#{interval => 1}, terminal),
    _ = [shown(Screen) || _ <- lists:seq(1, 3)],
    ended(Screen, fun py_top:stop/0).

key_ends_the_screen(_Config) ->
    Screen = start(#{interval => 3_600_000}, terminal),
    _ = shown(Screen),
    ended(Screen, fun() -> type(Screen, "q\n") end).

keys_sort(_Config) ->
    Screen = start(#{interval => 3_600_000, sort => memory}, terminal),
    py_suite:contains(shown(Screen), "sorted by memory"),
    lists:foreach(
        fun({Key, Sort}) ->
            type(Screen, Key ++ "\n"),
            py_suite:contains(shown(Screen), "sorted by " ++ Sort)
        end,
        [{"c", "cpu"}, {"r", "requests"}, {"u", "queue"}, {"m", "memory"}, {"t", "time"}, {"", "time"}]
    ),
    ended(Screen, fun() -> type(Screen, "q\n") end).

stop_ends_the_screen(_Config) ->
    Screen = start(#{interval => 3_600_000}, terminal),
    _ = shown(Screen),
    ended(Screen, fun py_top:stop/0),
    ?assertEqual(undefined, whereis(py_top)).

stopping_nothing_is_no_error(_Config) ->
    ?assertEqual(ok, py_top:stop()).

screen_ends_with_its_process(_Config) ->
    {{Pid, _}, _} = Screen = start(#{interval => 3_600_000}, terminal),
    _ = shown(Screen),
    Monitor = erlang:monitor(process, py_top),
    ok = py_suite:killed(Pid),
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end,
    hung_up(Screen).

screen_ends_with_its_terminal(_Config) ->
    {{_, Terminal}, Monitor} = Screen = start(#{interval => 3_600_000}, terminal),
    _ = shown(Screen),
    ok = py_suite:killed(Terminal),
    receive
        {'DOWN', Monitor, process, _, {result, Result}} -> ?assertEqual(ok, Result)
    end,
    ?assertEqual(undefined, whereis(py_top)).

there_is_one_screen_at_a_time(_Config) ->
    Screen = start(#{interval => 3_600_000}, terminal),
    _ = shown(Screen),
    ?assertEqual({error, {already_started, whereis(py_top)}}, py_top:start()),
    ended(Screen, fun py_top:stop/0).

without_a_terminal_there_are_no_escapes(_Config) ->
    Screen = start(#{interval => 3_600_000}, file),
    Text = shown(Screen),
    ?assertEqual(nomatch, string:find(Text, "\e")),
    py_suite:contains(Text, "py_top  "),
    ended(Screen, fun py_top:stop/0).

screen_ends_with_the_application(_Config) ->
    {_, Monitor} = Screen = start(#{interval => 1}, terminal),
    _ = shown(Screen),
    ok = py_suite:stop(),
    receive
        {'DOWN', Monitor, process, _, {result, Result}} -> ?assertEqual({error, not_running}, Result)
    end,
    hung_up(Screen),
    ok = py_suite:start(#{num_contexts => 1}).

wrong_options_are_bad_arguments(_Config) ->
    [
        ?assertError(badarg, py_top:start(Wrong))
     || Wrong <- [#{interval => 0}, #{interval => fast}, #{sort => color}, #{size => 3}, [], 7]
    ],
    ?assertEqual(undefined, whereis(py_top)).

application_has_to_run(_Config) ->
    ok = py_suite:stop(),
    ?assertEqual({error, not_running}, py_top:start()),
    ok = py_suite:start(#{num_contexts => 1}).

%% ------------------------------------------------------------------------------------------------
%% A terminal, of 120 columns and 40 rows, that tells the test what is put there, and gives what is typed

start(Options, Kind) ->
    Test = self(),
    Terminal = spawn(fun() -> terminal(Test, Kind, [], []) end),
    {Pid, Monitor} = spawn_monitor(fun() ->
        true = group_leader(Terminal, self()),
        exit({result, py_top:start(Options)})
    end),
    {{Pid, Terminal}, Monitor}.

shown({{_, Terminal}, _}) ->
    receive
        {put, Terminal, Text} -> Text
    after 30_000 -> ct:fail(nothing_is_shown)
    end.

type({{_, Terminal}, _}, Text) ->
    Terminal ! {typed, Text},
    ok.

ended({_, Monitor} = Screen, End) ->
    ok = End(),
    receive
        {'DOWN', Monitor, process, _, {result, Result}} -> ?assertEqual(ok, Result)
    end,
    hung_up(Screen).

hung_up({{_, Terminal}, _}) ->
    ok = py_suite:killed(Terminal).

terminal(Test, Kind, Typed, Readers) ->
    receive
        {typed, Text} ->
            {Left, Waiting} = served(Typed ++ [Text], Readers),
            terminal(Test, Kind, Left, Waiting);
        {io_request, From, As, {get_line, _, _}} ->
            {Left, Waiting} = served(Typed, Readers ++ [{From, As}]),
            terminal(Test, Kind, Left, Waiting);
        {io_request, From, As, {put_chars, unicode, Text}} ->
            Test ! {put, self(), unicode:characters_to_list(Text)},
            From ! {io_reply, As, ok},
            terminal(Test, Kind, Typed, Readers);
        {io_request, From, As, {get_geometry, What}} ->
            From ! {io_reply, As, geometry(Kind, What)},
            terminal(Test, Kind, Typed, Readers);
        {io_request, From, As, _} ->
            From ! {io_reply, As, {error, request}},
            terminal(Test, Kind, Typed, Readers)
    end.

served([Text | Typed], [{From, As} | Readers]) ->
    From ! {io_reply, As, Text},
    served(Typed, Readers);
served(Typed, Readers) ->
    {Typed, Readers}.

geometry(terminal, columns) -> 120;
geometry(terminal, rows) -> 40;
geometry(file, _) -> {error, enotsup}.
