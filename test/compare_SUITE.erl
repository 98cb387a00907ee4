%% The comparison measures what it says, whatever the figures are.
-module(compare_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([
    all_rows_come_to_the_same/1,
    adapters_of_others_take_part/1,
    adapter_of_the_page_is_one/1,
    failed_jobs_leave_their_row_where_nobody_knows_of_processes/1,
    workers_that_answer_late_are_waited_for/1,
    results_become_text_and_page/1,
    processor_time_and_memory_are_those_of_a_family/1,
    json_is_what_python_reads/1
]).

-define(JOBS, [call, callers, bytes_10k, bytes_10m, document, primes, primes, text, text, syntax, syntax, coroutines]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        all_rows_come_to_the_same,
        adapters_of_others_take_part,
        adapter_of_the_page_is_one,
        failed_jobs_leave_their_row_where_nobody_knows_of_processes,
        workers_that_answer_late_are_waited_for,
        results_become_text_and_page,
        processor_time_and_memory_are_those_of_a_family,
        json_is_what_python_reads
    ].

%% As bench/compare/run.sh does it.
init_per_suite(Config) ->
    Folder = filename:join([py_suite:checkout(), "bench", "compare"]),
    Build = filename:join(?config(priv_dir, Config), "compare"),
    ok = filelib:ensure_dir(filename:join(Build, "x")),
    true = code:add_path(Build),
    Sources = [filename:join(Folder, "compare_adapter.erl") | filelib:wildcard(filename:join(Folder, "*.erl"))],
    [{ok, _} = compile:file(Source, [report, debug_info, warnings_as_errors, {outdir, Build}]) || Source <- Sources],
    ok = py_suite:start(#{}),
    {ok, Python} = py:eval(<<"__import__('sys').executable">>),
    ok = py_suite:stop(),
    Options = #{
        folder => Folder,
        build => Build,
        library => filename:dirname(code:which(py)),
        python => binary_to_list(Python),
        quick => true,
        only => [],
        adapters => [],
        plan => #{rounds => 1, turn => 1, starts => 1, workers => 2, quick => true}
    },
    [{options, Options}, {build, Build} | Config].

end_per_suite(Config) ->
    true = code:del_path(?config(build, Config)),
    ok.

all_rows_come_to_the_same(Config) ->
    #{rows := Rows, jobs := Jobs, starts := Starts} = compare:run(?config(options, Config)),
    ?assertEqual([], [Row || #{failed := _} = Row <- Rows]),
    ?assertEqual(?JOBS, [Name || #{name := Name} <- Jobs]),
    [?assertMatch({_, _, none}, {Job, Name, failure(Cell)}) || #{name := Job, rows := Cells} <- Jobs, #{name := Name} = Cell <- Cells],
    %% What is missing is so for a reason that somebody has thought of.
    Missing = lists:usort([{Name, Job} || #{name := Job, rows := Cells} <- Jobs, #{name := Name, skipped := _} <- Cells]),
    Gone = [Name || #{name := Name, skipped := _} <- Rows],
    ?assertEqual([], Gone -- [direct_library, owngil_inline, interpreters]),
    Work = [primes, text, syntax],
    Expected =
        [{processes, Job} || Job <- [coroutines | Work]] ++ [{Row, Job} || Row <- [direct, direct_library], Job <- [callers | Work]] ++
            [{Row, Job} || Row <- [owngil_batch, ports_batch, processes_map], Job <- [bytes_10m, coroutines | Work]] ++
            [{owngil_inline, Job} || Job <- [bytes_10m, coroutines | Work]],
    ?assertEqual([], [Which || {Name, _} = Which <- Missing -- Expected, not lists:member(Name, Gone)]),
    [
        figures(Cell, [median, p99, singles, calls], 1)
     || #{rows := Cells} <- Jobs, #{median := _} = Cell <- Cells
    ],
    Started = [Name || #{name := Name, first_time := _} = Start <- Starts, ok =:= figures(Start, [first_time, samples], 1)],
    ?assertEqual([], [owngil, worker, ports, processes_executor, threads] -- Started).

adapters_of_others_take_part(Config) ->
    Data = ?config(data_dir, Config),
    Adapters = [
        {filename:join(Data, Name), [Data]}
     || Name <- ["compare_honest", "compare_wrong", "compare_ending", "compare_broken", "compare_absent"]
    ],
    Options = ?config(options, Config),
    Names = [direct, compare_honest, compare_wrong, compare_ending, compare_broken, compare_absent],
    #{rows := Rows, jobs := Jobs} = compare:run(Options#{only := Names, adapters := Adapters}),
    ?assertMatch(
        [
            #{name := direct},
            #{name := compare_honest, title := <<"honest">>},
            #{name := compare_wrong, title := <<"wrong">>},
            #{name := compare_ending, title := <<"ending">>, failed := _},
            #{name := compare_broken, failed := _},
            #{name := compare_absent, title := <<"absent">>, skipped := <<"no such library">>}
        ],
        Rows
    ),
    Of = fun(Job, Row) ->
        [Cell | _] = [C || #{name := J, rows := Cells} <- Jobs, J =:= Job, #{name := R} = C <- Cells, R =:= Row],
        Cell
    end,
    [?assertMatch(#{median := _, p99 := _}, Of(Job, compare_honest)) || Job <- [call, callers, bytes_10m, document, coroutines]],
    ?assertMatch(#{skipped := <<"too hard">>}, Of(primes, compare_honest)),
    %% Neither a wrong value nor an error has a time.
    [?assertMatch(#{failed := _}, Of(Job, compare_wrong)) || Job <- lists:usort(?JOBS)],
    [?assertNot(is_map_key(median, Of(Job, compare_wrong))) || Job <- lists:usort(?JOBS)],
    [?assertMatch(#{failed := _}, Of(Job, Row)) || Job <- lists:usort(?JOBS), Row <- [compare_ending, compare_broken]].

%% It says all that an adapter has to. The library that it calls is nobody's.
adapter_of_the_page_is_one(Config) ->
    {ok, Page} = file:read_file(filename:join([py_suite:checkout(), "docs", "comparison.md"])),
    {match, [Code]} = re:run(
        Page, "```\n(-module\\(my_adapter\\)\\..*?)```", [dotall, {capture, all_but_first, binary}]
    ),
    File = filename:join(?config(priv_dir, Config), "my_adapter.erl"),
    ok = file:write_file(File, Code),
    ?assertEqual({ok, my_adapter, []}, compile:file(File, [{outdir, ?config(priv_dir, Config)}, return])).

%% A system without /proc tells the processor time of no process, be it alive or not.
failed_jobs_leave_their_row_where_nobody_knows_of_processes(Config) ->
    Data = ?config(data_dir, Config),
    Options = #{build := Build} = ?config(options, Config),
    Adapters = [{filename:join(Data, Name), [Data]} || Name <- ["compare_partly", "compare_ending"]],
    Stub = filename:join([Data, "without_proc", "compare_usage.erl"]),
    {ok, compare_usage, Code} = compile:file(Stub, [binary, report, warnings_as_errors]),
    _ = code:purge(compare_usage),
    {module, compare_usage} = code:load_binary(compare_usage, Stub, Code),
    try
        Names = [compare_partly, compare_ending],
        #{rows := Rows, jobs := Jobs} = compare:run(Options#{only := Names, adapters := Adapters}),
        Of = fun(Row) ->
            [{Job, Cell} || #{name := Job, rows := Cells} <- Jobs, #{name := Name} = Cell <- Cells, Name =:= Row]
        end,
        Partly = Of(compare_partly),
        ?assertMatch({_, #{failed := <<"{answered,unheard_of}">>}}, lists:keyfind(bytes_10k, 1, Partly)),
        ?assertMatch({_, #{median := _}}, lists:keyfind(coroutines, 1, Partly)),
        %% Some ends are known all the same.
        ?assertEqual([compare_ending], [Name || #{name := Name, failed := _} <- Rows]),
        ?assertEqual([], [Job || {Job, Cell} <- Of(compare_ending), failure(Cell) =:= none])
    after
        _ = code:purge(compare_usage),
        {module, compare_usage} = code:load_abs(filename:join(Build, "compare_usage"))
    end.

%% One of two workers answers some hundred times before the other does.
workers_that_answer_late_are_waited_for(Config) ->
    #{folder := Folder, python := Python, build := Build} = Options = ?config(options, Config),
    Late =
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import executors\n"
        "from concurrent.futures import Future\n"
        "class Late:\n"
        "    def __init__(self, workers):\n"
        "        self.executor, self.asked = self, 0\n"
        "    def submit(self, function, seconds):\n"
        "        self.asked += 1\n"
        "        future = Future()\n"
        "        future.set_result('late' if self.asked > 500 else 'soon')\n"
        "        return future\n"
        "executors.KINDS['late'] = Late\n"
        "assert executors.started('late', 2)[1].asked > 500\n",
    ?assertEqual(ok, python(Python, ["-c", Late, Folder])),
    {ok, compare_late} = compile:file(
        filename:join(?config(data_dir, Config), "compare_late.erl"), [report, warnings_as_errors, {outdir, Build}]
    ),
    Row = #{name => compare_late, kind => erlang, adapter => compare_late, variant => none, paths => []},
    ?assertMatch({done, _, _}, compare_subject:start_workers(Row, Options#{workers => 2}, 2)).

results_become_text_and_page(Config) ->
    Options = #{folder := Folder, python := Python} = ?config(options, Config),
    Results = compare:run(Options#{only := [processes, direct, ports]}),
    Dir = ?config(priv_dir, Config),
    [Json, Text, Page] = [filename:join(Dir, Name) || Name <- ["results.json", "results.txt", "page.md"]],
    ok = file:write_file(Json, compare_json:encode(Results)),
    {ok, Original} = file:read_file(filename:join([py_suite:checkout(), "docs", "comparison.md"])),
    ok = file:write_file(Page, Original),
    ok = python(Python, [filename:join(Folder, "report.py"), Json, Text, Page, "somewhere/comparison-calls.png"]),
    {ok, Written} = file:read_file(Text),
    {ok, Filled} = file:read_file(Page),
    Titles = [Title || #{title := Title} <- maps:get(rows, Results)],
    [?assertNotEqual(nomatch, binary:match(Out, Title)) || Out <- [Written, Filled], Title <- Titles],
    ?assertNotEqual(nomatch, binary:match(Filled, <<"](assets/comparison-calls.png)">>)),
    %% What is not of the results stays, and the page can be written again.
    [Before, _] = binary:split(Original, <<"<!-- Made by">>),
    ?assertEqual(Before, hd(binary:split(Filled, <<"<!-- Made by">>))),
    ok = python(Python, [filename:join(Folder, "report.py"), Json, Text, Page, "somewhere/comparison-calls.png"]),
    ?assertEqual({ok, Filled}, file:read_file(Page)).

processor_time_and_memory_are_those_of_a_family(Config) ->
    case filelib:is_regular("/proc/self/smaps_rollup") of
        false ->
            {skip, "this system has no /proc/self/smaps_rollup"};
        true ->
            #{python := Python} = ?config(options, Config),
            %% A child and its child, which takes 200 ms of processor time and 64 MiB.
            Code =
                "import os, subprocess, sys, time\n"
                "if len(sys.argv) == 1:\n"
                "    with subprocess.Popen([sys.executable, __file__, 'child']) as child: child.wait()\n"
                "else:\n"
                "    mine = bytearray(b'x') * (64 << 20)\n"
                "    while time.process_time() < 0.2: pass\n"
                "    print('ready', flush=True)\n"
                "    sys.stdin.read()\n",
            File = filename:join(?config(priv_dir, Config), "family.py"),
            ok = file:write_file(File, Code),
            Port = open_port({spawn_executable, Python}, [{args, [File]}, {line, 100}, exit_status]),
            receive
                {Port, {data, {eol, "ready"}}} -> ok;
                {Port, {exit_status, Status}} -> ct:fail({family_ended, Status})
            after 60_000 -> ct:fail(family_is_not_ready)
            end,
            {os_pid, Pid} = erlang:port_info(Port, os_pid),
            %% User and system time are cut down to whole ticks of 10 ms, those of each process for itself.
            ?assert(compare_usage:processor_time(Pid) >= 150_000_000),
            ?assert(compare_usage:memory(Pid) >= 64 bsl 20),
            true = port_close(Port),
            ?assertEqual(unknown, compare_usage:processor_time(1 bsl 30)),
            ?assertEqual(unknown, compare_usage:memory(1 bsl 30))
    end.

json_is_what_python_reads(Config) ->
    #{python := Python} = ?config(options, Config),
    Value = #{
        a => [1, -2, 1.5, 1.0e-3, true, false, null, [], #{}],
        <<"b">> => <<"\"\\\n\t/äöü€"/utf8, 240, 159, 144, 141>>
    },
    File = filename:join(?config(priv_dir, Config), "value.json"),
    ok = file:write_file(File, compare_json:encode(Value)),
    Check = [
        "import json, sys; value = json.load(open(sys.argv[1], encoding='utf-8')); ",
        "assert value == {'a': [1, -2, 1.5, 0.001, True, False, None, [], {}], ",
        "'b': '\"\\\\\\n\\t/\\u00e4\\u00f6\\u00fc\\u20ac\\U0001f40d'}, value"
    ],
    ok = python(Python, ["-c", lists:flatten(Check), File]).

%% ------------------------------------------------------------------------------------------------

failure(#{failed := Reason}) -> Reason;
failure(_) -> none.

figures(Figures, Keys, Rounds) ->
    [?assertMatch(Number when Number > 0, maps:get(Key, Figures)) || Key <- Keys],
    [?assertEqual(Rounds, length(Each)) || #{rounds := Each} <- [Figures]],
    ok.

%% Its output is seen when it fails.
python(Python, Args) ->
    Port = open_port({spawn_executable, Python}, [{args, Args}, exit_status, stderr_to_stdout, binary]),
    ended(Port, []).

ended(Port, Output) ->
    receive
        {Port, {data, Data}} -> ended(Port, [Output, Data]);
        {Port, {exit_status, 0}} -> ok;
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(Output)}
    end.
