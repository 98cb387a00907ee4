%% Ways around a policy, collected: each is refused under every policy that it is about, or is known to work, and then
%% docs/security.md says so.
-module(sandbox_escape_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [{group, owngil}, {group, worker}, every_attempt_is_tried, known_escapes_are_in_the_documents].

groups() ->
    py_suite:groups([
        originals_are_not_found,
        modules_made_anew_are_guarded,
        values_that_change_are_no_way_around,
        files_are_out_of_reach,
        network_is_out_of_reach,
        processes_are_not_started,
        frames_and_code_are_no_way_around,
        hooks_and_finalizers_are_no_way_around,
        native_code_is_not_loaded,
        threads_are_no_way_around,
        denied_modules_are_not_imported,
        ends_of_contexts_are_no_way_around,
        what_is_known_to_work_works
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

%% Attempts leave descriptors open, whose numbers they have lost.
end_per_group(_Mode, _Config) ->
    py_suite:stop().

init_per_testcase(Case, Config) ->
    Folder = filename:join(?config(priv_dir, Config), lists:concat([py_suite:mode(Config), "_", Case])),
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listener),
    [{folder, Folder}, {listener, Listener}, {port, Port} | Config].

end_per_testcase(_Case, Config) ->
    ok = gen_tcp:close(?config(listener, Config)).

originals_are_not_found(Config) -> contained(Config, "originals").

modules_made_anew_are_guarded(Config) -> contained(Config, "reimport").

values_that_change_are_no_way_around(Config) -> contained(Config, "values").

files_are_out_of_reach(Config) -> contained(Config, "files").

network_is_out_of_reach(Config) ->
    contained(Config, "network"),
    %% Nobody has come by.
    ?assertEqual({error, timeout}, gen_tcp:accept(?config(listener, Config), 0)).

processes_are_not_started(Config) -> contained(Config, "processes").

frames_and_code_are_no_way_around(Config) -> contained(Config, "frames").

hooks_and_finalizers_are_no_way_around(Config) -> contained(Config, "hooks").

native_code_is_not_loaded(Config) -> contained(Config, "native").

threads_are_no_way_around(Config) -> contained(Config, "threads").

denied_modules_are_not_imported(Config) -> contained(Config, "imports").

%% Code that runs when its context ends is still the context's.
ends_of_contexts_are_no_way_around(Config) ->
    #{outside := Outside, inside := Inside} = Paths = prepare(Config, "ends"),
    Context = context(Config, files, Paths),
    ok = py:exec(Context, [
        "import atexit, os\n",
        "def leave(name, open=open, os=os):\n",
        "    try:\n",
        "        open(os.path.join(r'", Outside, "', name), 'w').close()\n",
        "    except PermissionError:\n",
        "        open(os.path.join(r'", Inside, "', name), 'w').close()\n",
        "class Late:\n",
        "    def __init__(self):\n",
        "        self.leave = leave\n",
        "    def __del__(self):\n",
        "        self.leave('finalizer')\n",
        "atexit.register(leave, 'handler')\n",
        "late = Late()\n"
    ]),
    ok = py_context:stop(Context),
    {ok, Left} = file:list_dir(Outside),
    ?assertEqual([], [Name || Name <- Left, lists:member(Name, ["handler", "finalizer"])]),
    %% Contexts of mode worker share their handlers, which run with none of them.
    py_suite:mode(Config) =:= worker orelse ?assert(filelib:is_regular(filename:join(Inside, "handler"))).

what_is_known_to_work_works(Config) ->
    Failed = [
        {Attempt, Outcome}
     || {Attempt, Outcome} <- outcomes(Config, "known", known), not is_escape(Outcome)
    ],
    ?assertEqual([], Failed -- without_ctypes(Config, Failed)).

%% Python 3.12 does not load it in an interpreter with a GIL of its own.
without_ctypes(Config, Failed) ->
    {ok, Version} = py_suite:version(),
    [One || {<<"attempt_ctypes">>, _} = One <- Failed, py_suite:mode(Config) =:= owngil, Version < [3, 13]].

%% ------------------------------------------------------------------------------------------------
%% The collection itself

every_attempt_is_tried(_Config) ->
    {ok, Source} = file:read_file(filename:join(py_suite:checkout(), "test/sandbox_escape_SUITE.erl")),
    Tried = [Name || Name <- names(), binary:match(Source, list_to_binary([$", Name, $"])) =/= nomatch],
    ?assertEqual(names(), Tried).

known_escapes_are_in_the_documents(_Config) ->
    {ok, Source} = file:read_file(filename:join(folder(), "known.py")),
    {ok, Document} = file:read_file(filename:join(py_suite:checkout(), "docs/security.md")),
    {match, Known} = re:run(Source, "^def (attempt_\\w+)", [global, multiline, {capture, [1], binary}]),
    ?assertEqual([], [Name || [Name] <- Known, binary:match(Document, <<"`", Name/binary, "`">>) =:= nomatch]).

folder() ->
    filename:join(py_suite:checkout(), "test/python/escapes").

names() ->
    {ok, Files} = file:list_dir(folder()),
    lists:sort([filename:rootname(File) || File <- Files, filename:extension(File) =:= ".py"]).

%% ------------------------------------------------------------------------------------------------
%% Attempts

%% Under every policy that the file is about, no attempt succeeds.
contained(Config, Name) ->
    {ok, Source} = file:read_file(filename:join(folder(), Name ++ ".py")),
    {match, [Line]} = re:run(Source, "^UNDER = (.*)$", [multiline, {capture, [1], binary}]),
    {match, Under} = re:run(Line, "\\w+", [global, {capture, [0], list}]),
    Escaped = [
        {Policy, Attempt, Outcome}
     || [Policy] <- Under, {Attempt, Outcome} <- outcomes(Config, Name, list_to_atom(Policy)), is_escape(Outcome)
    ],
    case Escaped of
        [] -> ok;
        _ -> ct:fail("~ts", [[io_lib:format("~s: ~ts: ~tp~n", [P, A, O]) || {P, A, O} <- Escaped]])
    end.

%% It gave something that is true.
is_escape({ok, <<"escaped">>}) -> true;
is_escape({ok, [<<"escaped">>, _]}) -> true;
is_escape(_) -> false.

%% What comes of each attempt in a context of its own.
outcomes(Config, Name, Policy) ->
    {ok, Source} = file:read_file(filename:join(folder(), Name ++ ".py")),
    {match, Attempts} = re:run(Source, "^def (attempt_\\w+)", [global, multiline, {capture, [1], binary}]),
    ?assertNotEqual([], Attempts),
    Outcomes = [{Attempt, outcome(Config, Name, Source, Policy, Attempt)} || [Attempt] <- Attempts],
    ct:log("~p", [{Policy, Outcomes}]),
    %% Those that fail because they are wrong prove nothing.
    ?assertEqual([], [Broken || {_, {error, _}} = Broken <- Outcomes]),
    Outcomes.

outcome(Config, Name, Source, Policy, Attempt) ->
    Paths = prepare(Config, [atom_to_list(Policy), $_, Name]),
    Context = context(Config, Policy, Paths),
    try
        py:eval(Context, runner(), #{
            source => Source,
            attempt => Attempt,
            names => names(Config, Policy, Paths)
        })
    after
        ok = py_context:stop(Context)
    end.

%% Runs an attempt, which may raise what refusals are, or what comes of what is not there.
runner() ->
    <<
        "(lambda names: exec('''\n"
        "outcome = None\n"
        "exec(compile(source, 'escape', 'exec'), globals())\n"
        "try:\n"
        "    gave = globals()[attempt]()\n"
        "    outcome = ('escaped', repr(gave)[:500]) if gave else ('contained', '')\n"
        "except (RuntimeError, OSError, ImportError) as error:\n"
        "    outcome = ('refused', f'{type(error).__name__}: {error}')\n"
        "''', names) or list(names['outcome']))"
        "({'__name__': 'escape', 'source': source, 'attempt': attempt, **names})"
    >>.

names(Config, Policy, #{inside := Inside, outside := Outside, copies := Copies}) ->
    #{
        <<"POLICY">> => atom_to_binary(Policy),
        <<"PORT">> => ?config(port, Config),
        <<"INSIDE">> => path(Inside),
        <<"INSIDE_FILE">> => path(filename:join(Inside, "file")),
        <<"SECRET">> => path(filename:join(Outside, "secret_module.py")),
        <<"TARGET">> => path(filename:join(Outside, "target")),
        <<"COPIES">> => path(Copies)
    }.

path(Path) ->
    unicode:characters_to_binary(Path).

%% A folder that policies may allow, with a file; another one with a secret and a file that must stay as it is.
prepare(Config, Name) ->
    Folder = filename:join(?config(folder, Config), Name),
    _ = file:del_dir_r(Folder),
    [Inside, Outside, Copies] = [filename:join(Folder, Part) || Part <- ["inside", "outside", "copies"]],
    [ok = filelib:ensure_path(Part) || Part <- [Inside, Outside, Copies]],
    ok = file:write_file(filename:join(Inside, "file"), "file"),
    ok = file:write_file(filename:join(Outside, "secret_module.py"), "secret"),
    ok = file:write_file(filename:join(Outside, "target"), "target"),
    ok = copy_extension(Copies),
    #{inside => Inside, outside => Outside, copies => Copies}.

copy_extension(Copies) ->
    {ok, Origin} = py:eval(<<"__import__('importlib.machinery').machinery.PathFinder.find_spec('_queue').origin">>),
    {ok, _} = file:copy(Origin, filename:join(Copies, filename:basename(Origin))),
    ok.

context(Config, Policy, Paths) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), sandbox => policy(Policy, Config, Paths)}),
    Context.

policy(default, _Config, _Paths) -> default;
policy(known, _Config, _Paths) -> #{imports => {deny, [json, struct]}};
policy(strict, Config, _Paths) -> py_sandboxes:strict(Config);
policy(files, _Config, #{inside := Inside}) -> #{read => [Inside], write => [Inside]};
policy(offline, _Config, _Paths) -> #{network => none};
policy(no_native, _Config, _Paths) -> #{ctypes => false, native => false};
policy(imports, _Config, _Paths) -> #{imports => {deny, [json, shelve, os, xml]}}.
