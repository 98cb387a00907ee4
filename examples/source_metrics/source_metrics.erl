%% @doc Real Python work, done in parallel inside one Erlang node.
%%
%% `run/1' measures the source files of Python's own standard library. One Erlang process per file asks a context to
%% parse it and to count what is in it (`source_metrics.py' beside this file does that): first all of them ask one
%% context, then they are spread over one context per core. Both runs must give the same measures.
%%
%% `trouble/1' shows what happens when things go wrong: an exception, a time-out, a context that is killed.
%%
%% `main/0' does both and ends the node; `run.sh' calls it.
-module(source_metrics).

-include_lib("kernel/include/file.hrl").

-export([main/0, run/1, trouble/1, format_exception/1]).

-export_type([options/0, report/0, troubles/0]).

%% Every key may be left out.
-type options() :: #{
    %% how many files at most; all by default
    limit => pos_integer() | infinity,
    %% how many contexts the second run uses; one per core by default
    contexts => pos_integer(),
    %% the contexts' mode; the default is the library's
    mode => owngil | worker,
    %% the Python module whose function `measure' is asked, and the folder that it is in
    module => atom(),
    folder => file:name_all(),
    %% print nothing
    quiet => boolean(),
    %% whether a line that was printed can be drawn again
    terminal => boolean()
}.

-type measures() :: #{binary() => term()}.

-type report() :: #{
    python := binary(),
    mode := owngil | worker,
    files := non_neg_integer(),
    unreadable := [{Path :: binary(), Why :: binary()}],
    lines := non_neg_integer(),
    functions := non_neg_integer(),
    classes := non_neg_integer(),
    branches := non_neg_integer(),
    nesting := {Deepest :: non_neg_integer(), Path :: binary()},
    most_complex := [{Complexity :: pos_integer(), Path :: binary(), Line :: pos_integer(), Name :: binary()}],
    measures := [{Path :: binary(), measures()}],
    contexts := pos_integer(),
    %% wall-clock microseconds on one context and on all
    one := pos_integer(),
    many := pos_integer(),
    speed_up := float()
}.

-type troubles() :: #{
    exception := #{reason := term(), last_error := map()},
    timeout := #{turns := pos_integer(), stopped_after := integer(), answered_after := integer()},
    kill := #{killed := pid(), replaced_by := pid(), refused := 0 | 1, callers := integer(), answers := integer()}
}.

-define(MOST_COMPLEX, 10).
-define(TIMEOUT, 100).

%% @doc Runs both parts, prints what they find, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Opts = #{terminal => init:get_argument(source_metrics) =:= {ok, [["terminal"]]}},
    Status =
        try
            _ = run(Opts),
            _ = trouble(Opts),
            0
        catch
            exit:{?MODULE, Reason} ->
                complain("~nfailed: ~ts~n", [explain(Reason)]);
            Class:Reason:Stack ->
                complain("~nfailed: ~tp~n", [{Class, Reason, Stack}])
        end,
    _ = application:stop(erlang_python),
    halt(Status).

complain(Format, Args) ->
    io:format(standard_error, Format, Args),
    1.

%%% The measures

%% @doc Measures the standard library twice; exits with `{source_metrics, Reason}' when anything goes wrong.
-spec run(options()) -> report().
run(Opts) ->
    start_application(),
    {ok, Version} = py:version(),
    [Python | _] = string:split(Version, " "),
    Mode = maps:get(mode, Opts, py:execution_mode()),
    say(Opts, "Python ~ts, contexts in ~ts mode~n", [Python, Mode]),
    Library = standard_library(),
    Paths = largest_first(lists:sublist(sources(Library), limit(Opts))),
    Paths =:= [] andalso fail({no_sources, Library}),
    say(Opts, "~b files of the standard library in ~ts~n~n", [length(Paths), Library]),
    {One, Measures} = timed_run(1, Paths, Opts),
    Contexts = maps:get(contexts, Opts, erlang:system_info(schedulers_online)),
    {Many, Again} = timed_run(Contexts, Paths, Opts),
    check_agreement(Measures, Again),
    Report = (totals(Measures))#{
        python => Python,
        mode => Mode,
        measures => Measures,
        contexts => Contexts,
        one => One,
        many => Many,
        speed_up => One / Many
    },
    print_report(Report, Library, Opts),
    Report.

start_application() ->
    case application:ensure_all_started(erlang_python) of
        {ok, _} -> ok;
        {error, Reason} -> fail({not_started, Reason})
    end.

standard_library() ->
    answer(py:eval(<<"__import__('sysconfig').get_paths()['stdlib']">>)).

limit(Opts) ->
    case maps:get(limit, Opts, infinity) of
        infinity -> 1 bsl 32;
        Limit -> Limit
    end.

%% All Python files below a folder, in alphabetical order, without tests and what was installed into it.
sources(Folder) ->
    case file:list_dir(Folder) of
        {ok, Names} -> lists:append([source(filename:join(Folder, Name), Name) || Name <- lists:sort(Names)]);
        {error, Reason} -> fail({unreadable_folder, Folder, Reason})
    end.

source(Path, Name) ->
    %% Links are not followed: they could lead back to a folder above.
    case file:read_link_info(Path) of
        {ok, #file_info{type = directory}} ->
            case lists:member(Name, ["test", "tests", "idle_test", "site-packages", "dist-packages"]) of
                true -> [];
                false -> sources(Path)
            end;
        {ok, #file_info{type = regular}} ->
            [Path || filename:extension(Name) =:= ".py"];
        _ ->
            []
    end.

%% The files are dealt out in turn, so that each context gets about as much work as the others if they come by size.
%% Reading them here also means that the first run does not pay for the disk while the second one finds a warm cache.
largest_first(Paths) ->
    Sized = [{size_of(Path), Path} || Path <- Paths],
    [Path || {_, Path} <- lists:sort(fun({A, _}, {B, _}) -> A >= B end, Sized)].

size_of(Path) ->
    case file:read_file(Path) of
        {ok, Source} -> byte_size(Source);
        {error, _} -> 0
    end.

timed_run(Count, Paths, Opts) ->
    with_contexts(Count, Opts, fun(Contexts) ->
        lists:foreach(fun(Context) -> prepare(Context, Opts) end, Contexts),
        Label = label(Count),
        Started = erlang:monotonic_time(microsecond),
        Workers = start_workers(Contexts, Paths, maps:get(module, Opts, ?MODULE)),
        Measures = collect(Workers, progress(Label, length(Paths), Opts), []),
        Elapsed = max(1, erlang:monotonic_time(microsecond) - Started),
        say(Opts, "~ts ~6.2f s~n", [string:pad(Label, 12), Elapsed / 1.0e6]),
        {Elapsed, lists:sort(Measures)}
    end).

label(1) -> "1 context";
label(Count) -> io_lib:format("~b contexts", [Count]).

%% Contexts are stopped on the way out, whatever happened; also when a later one could not be started.
with_contexts(Count, Opts, Fun) ->
    with_contexts(Count, maps:with([mode], Opts), Fun, []).

with_contexts(0, _ContextOpts, Fun, Contexts) ->
    Fun(lists:reverse(Contexts));
with_contexts(Count, ContextOpts, Fun, Contexts) ->
    case py_context:new(ContextOpts) of
        {ok, Context} ->
            try
                with_contexts(Count - 1, ContextOpts, Fun, [Context | Contexts])
            after
                py_context:stop(Context)
            end;
        {error, Reason} ->
            fail({no_context, Reason})
    end.

%% `sys.path' and the loaded modules belong to the interpreter, so each context imports the module once.
prepare(Context, Opts) ->
    Folder = unicode:characters_to_binary(maps:get(folder, Opts, source_folder())),
    AddFolder = <<"folder in sys.path or sys.path.insert(0, folder)">>,
    ok = done(py:exec(Context, <<"import sys">>)),
    _ = answer(py:eval(Context, AddFolder, #{folder => Folder})),
    ok = done(py:exec(Context, <<"import ", (atom_to_binary(maps:get(module, Opts, ?MODULE)))/binary>>)).

source_folder() ->
    filename:dirname(proplists:get_value(source, module_info(compile))).

%% One process per file. Each leaves its measures as its exit reason: a monitor tells of success and failure alike.
start_workers(Contexts, Paths, Module) ->
    InTurn = list_to_tuple(Contexts),
    Numbered = lists:zip(lists:seq(0, length(Paths) - 1), Paths),
    maps:from_list([
        begin
            Context = element(Number rem tuple_size(InTurn) + 1, InTurn),
            {Pid, Monitor} = spawn_monitor(fun() -> exit(py:call(Context, Module, measure, [Path])) end),
            {Monitor, {Pid, Path}}
        end
     || {Number, Path} <- Numbered
    ]).

collect(Workers, _Progress, Measures) when map_size(Workers) =:= 0 ->
    Measures;
collect(Workers, Progress, Measures) ->
    receive
        {'DOWN', Monitor, process, _, Reason} when is_map_key(Monitor, Workers) ->
            {{_, Path}, Others} = maps:take(Monitor, Workers),
            case Reason of
                {ok, Measured} when is_map(Measured) ->
                    collect(Others, step(Progress), [{Path, Measured} | Measures]);
                _ ->
                    abandon(Others),
                    fail({worker_failed, Path, Reason})
            end
    end.

abandon(Workers) ->
    maps:foreach(
        fun(Monitor, {Pid, _Path}) ->
            demonitor(Monitor, [flush]),
            exit(Pid, kill)
        end,
        Workers
    ).

check_agreement(Same, Same) ->
    ok;
check_agreement(One, Many) ->
    fail({runs_disagree, [Path || {{Path, A}, {Path, B}} <- lists:zip(One, Many), A =/= B]}).

totals(Measures) ->
    Good = [Entry || {_, File} = Entry <- Measures, not is_map_key(<<"error">>, File)],
    #{
        files => length(Good),
        unreadable => [{Path, Why} || {Path, #{<<"error">> := Why}} <- Measures],
        lines => sum(<<"lines">>, Good),
        functions => sum(<<"functions">>, Good),
        classes => sum(<<"classes">>, Good),
        branches => sum(<<"branches">>, Good),
        nesting => lists:max([{0, <<>>} | [{maps:get(<<"nesting">>, File), Path} || {Path, File} <- Good]]),
        most_complex => most_complex(Good)
    }.

sum(Key, Measures) ->
    lists:sum([maps:get(Key, File) || {_, File} <- Measures]).

most_complex(Measures) ->
    Ranked = lists:sort([
        {-Complexity, Path, Line, Name}
     || {Path, #{<<"most_complex">> := Functions}} <- Measures,
        #{<<"name">> := Name, <<"line">> := Line, <<"complexity">> := Complexity} <- Functions
    ]),
    [{-Rank, Path, Line, Name} || {Rank, Path, Line, Name} <- lists:sublist(Ranked, ?MOST_COMPLEX)].

print_report(Report, Library, Opts) ->
    #{nesting := {Deepest, Where}, most_complex := MostComplex, unreadable := Unreadable} = Report,
    say(Opts, "~nspeed-up ~.2f with ~b contexts; both runs agree~n~n", [
        maps:get(speed_up, Report), maps:get(contexts, Report)
    ]),
    [
        say(Opts, "~ts ~9ts~n", [string:pad(atom_to_list(Key), 16), thousands(maps:get(Key, Report))])
     || Key <- [files, lines, functions, classes, branches]
    ],
    say(Opts, "deepest nesting  ~9b   ~ts~n", [Deepest, below(Library, Where)]),
    [say(Opts, "not measured: ~ts: ~ts~n", [below(Library, Path), Why]) || {Path, Why} <- Unreadable],
    say(Opts, "~nthe ~b most complex functions~n", [length(MostComplex)]),
    [
        say(Opts, "~6b  ~ts  ~ts:~b~n", [Complexity, string:pad(Name, 40), below(Library, Path), Line])
     || {Complexity, Path, Line, Name} <- MostComplex
    ],
    ok.

%% A path without the folder that all of them are in.
below(Folder, Path) ->
    case string:prefix(Path, [Folder, "/"]) of
        nomatch -> Path;
        Rest -> Rest
    end.

thousands(Number) when Number < 1000 ->
    integer_to_list(Number);
thousands(Number) ->
    thousands(Number div 1000) ++ io_lib:format(",~3..0b", [Number rem 1000]).

%%% What happens when things go wrong

%% @doc Shows an exception, a time-out and a killed context; exits with `{source_metrics, Reason}' when one of them does
%% not go as it should.
-spec trouble(options()) -> troubles().
trouble(Opts) ->
    start_application(),
    say(Opts, "~nWhen things go wrong~n", []),
    {Exception, Timeout} = with_contexts(1, Opts, fun([Context]) ->
        {exception(Context, Opts), timeout(Context, Opts)}
    end),
    #{exception => Exception, timeout => Timeout, kill => kill(Opts)}.

exception(Context, Opts) ->
    say(Opts, "~n1. An exception comes back as a value, with its traceback at hand~n", []),
    Code = <<
        "def ratio(part, whole):\n"
        "    return part / whole\n"
        "\n"
        "def ratios(rows):\n"
        "    return [ratio(part, whole) for part, whole in rows]\n"
    >>,
    ok = done(py:exec(Context, Code)),
    case py:call(Context, '__main__', ratios, [[{1, 2}, {3, 0}]]) of
        {error, {'ZeroDivisionError', Message} = Reason} ->
            Error = py:last_error(),
            say(Opts, "   py:call answers {error, {'ZeroDivisionError', \"~ts\"}}; py:last_error() tells the rest:~n", [
                Message
            ]),
            say(Opts, "~ts", [indent(format_exception(Error))]),
            #{reason => Reason, last_error => Error};
        Other ->
            fail({unexpected, "a division by zero", Other})
    end.

%% @doc Words an exception, as `py:last_error/0' gives it, in the way Python does.
-spec format_exception(map()) -> unicode:chardata().
format_exception(#{type := Type, module := Module, message := Message, traceback := Traceback}) ->
    Name =
        case Module of
            <<"builtins">> -> [to_text(Type)];
            _ -> [to_text(Module), $., to_text(Type)]
        end,
    [
        [["Traceback (most recent call last):\n", [format_frame(Frame) || Frame <- Traceback]] || Traceback =/= []],
        Name,
        [[": ", Message] || Message =/= [], Message =/= <<>>],
        $\n
    ].

format_frame({File, Line, Function, Text}) ->
    [
        io_lib:format("  File \"~ts\", line ~b, in ~ts~n", [File, Line, Function]),
        [["    ", string:trim(Text), $\n] || is_binary(Text), Text =/= <<>>]
    ].

to_text(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
to_text(Binary) -> Binary.

indent(Text) ->
    [["   | ", Line, $\n] || Line <- string:split(string:trim(Text), "\n", all)].

timeout(Context, Opts) ->
    say(Opts, "~n2. A time-out stops the code, not only the waiting for it~n", []),
    Code = <<
        "turns = 0\n"
        "\n"
        "def spin():\n"
        "    global turns\n"
        "    while True:\n"
        "        turns += 1\n"
    >>,
    ok = done(py:exec(Context, Code)),
    {Waited, Spun} = timer:tc(fun() -> py:call(Context, '__main__', spin, [], #{timeout => ?TIMEOUT}) end),
    Spun =:= {error, timeout} orelse fail({unexpected, "an endless loop with a time-out", Spun}),
    {Next, Root} = timer:tc(fun() -> py:call(Context, math, sqrt, [16], #{timeout => 10000}) end),
    Root =:= {ok, 4.0} orelse fail({unexpected, "the call after a time-out", Root}),
    Turns = answer(py:eval(Context, <<"turns">>)),
    say(Opts, "   an endless loop called with ~b ms answers {error, timeout} after ~.1f ms and ~ts turns;~n", [
        ?TIMEOUT, Waited / 1000, thousands(Turns)
    ]),
    say(Opts, "   the same context answers the next call after ~.1f ms~n", [Next / 1000]),
    #{turns => Turns, stopped_after => Waited, answered_after => Next}.

kill(Opts) ->
    say(Opts, "~n3. A killed context is replaced while others work on~n", []),
    4.0 = answer(py:call(math, sqrt, [16])),
    Victim = py:context(),
    Callers = start_callers(Victim),
    Monitor = monitor(process, Victim),
    exit(Victim, kill),
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end,
    %% The first call may be told that the context it was bound to is gone; the next one has to be answered.
    Refused =
        case py:call(math, sqrt, [16]) of
            {ok, 4.0} -> 0;
            {error, {context_died, _}} -> 1;
            Other -> fail({unexpected, "a call after its context was killed", Other})
        end,
    4.0 = answer(py:call(math, sqrt, [16])),
    Replacement = py:context(),
    Replacement =/= Victim orelse fail({unexpected, "the context after a kill", Victim}),
    Answers = lists:sum([answers(Caller) || Caller <- Callers]),
    say(Opts, "   ~w was killed; the process that was bound to it was refused ~b time(s), then served by ~w~n", [
        Victim, Refused, Replacement
    ]),
    case Callers of
        [] -> say(Opts, "   (the pool has one context, so nobody else was calling)~n", []);
        _ ->
            say(Opts, "   ~b processes on other contexts called on: ~ts answers, all of them right~n", [
                length(Callers), thousands(Answers)
            ])
    end,
    #{
        killed => Victim,
        replaced_by => Replacement,
        refused => Refused,
        callers => length(Callers),
        answers => Answers
    }.

%% Processes that call without a pause on contexts other than the victim, each with its first answer in hand.
start_callers(Victim) ->
    Parent = self(),
    Started = [
        spawn_monitor(fun() -> caller(Parent, Victim) end)
     || _ <- lists:seq(1, 4 * erlang:system_info(schedulers_online))
    ],
    [Caller || Caller <- Started, is_calling(Caller)].

caller(Parent, Victim) ->
    case py:context() of
        Victim -> exit(bound_to_the_victim);
        _ -> keep_calling(Parent, monitor(process, Parent), 0)
    end.

keep_calling(Parent, Monitor, Answers) ->
    case py:call(math, sqrt, [16]) of
        {ok, 4.0} ->
            Answers =:= 0 andalso (Parent ! {calling, self()}),
            receive
                stop -> exit({answers, Answers + 1});
                {'DOWN', Monitor, process, Parent, _} -> exit(orphaned)
            after 0 ->
                keep_calling(Parent, Monitor, Answers + 1)
            end;
        Other ->
            exit({refused, Other})
    end.

is_calling({Pid, Monitor}) ->
    receive
        {calling, Pid} -> true;
        {'DOWN', Monitor, process, _, bound_to_the_victim} -> false;
        {'DOWN', Monitor, process, _, Reason} -> fail({caller_failed, Reason})
    end.

answers({Pid, Monitor}) ->
    Pid ! stop,
    receive
        {'DOWN', Monitor, process, _, {answers, Answers}} -> Answers;
        {'DOWN', Monitor, process, _, Reason} -> fail({caller_failed, Reason})
    end.

%%% Progress

progress(Label, Total, Opts) ->
    Style =
        case Opts of
            #{quiet := true} -> none;
            #{terminal := true} -> bar;
            _ -> lines
        end,
    #{label => Label, style => Style, done => 0, total => Total}.

step(#{style := Style, done := Before, total := Total} = Progress) ->
    Done = Before + 1,
    case Style of
        bar when Before * 100 div Total =/= Done * 100 div Total -> draw_bar(Progress, Done);
        lines when Before * 4 div Total =/= Done * 4 div Total -> print_line(Progress, Done);
        _ -> ok
    end,
    Progress#{done := Done}.

draw_bar(#{label := Label, total := Total}, Done) ->
    Filled = Done * 40 div Total,
    io:format("\r~ts [~ts~ts] ~b/~b", [
        string:pad(Label, 12), lists:duplicate(Filled, $#), lists:duplicate(40 - Filled, $.), Done, Total
    ]),
    %% The time is printed over the finished bar.
    Done =:= Total andalso io:format("\r\e[K"),
    ok.

print_line(#{label := Label, total := Total}, Done) ->
    io:format("~ts ~3b %  ~b of ~b~n", [string:pad(Label, 12), Done * 100 div Total, Done, Total]).

%%% Helpers

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).

answer({ok, Value}) -> Value;
answer(Other) -> fail({unexpected, "Python", Other}).

done(ok) -> ok;
done(Other) -> fail({unexpected, "Python", Other}).

-spec fail(term()) -> no_return().
fail(Reason) -> exit({?MODULE, Reason}).

explain({not_started, Reason}) ->
    io_lib:format("the application erlang_python did not start: ~tp", [Reason]);
explain({no_sources, Folder}) ->
    io_lib:format("there are no Python files in ~ts", [Folder]);
explain({unreadable_folder, Folder, Reason}) ->
    io_lib:format("cannot list ~ts: ~ts", [Folder, file:format_error(Reason)]);
explain({no_context, Reason}) ->
    io_lib:format("no context could be started: ~tp", [Reason]);
explain({worker_failed, Path, Reason}) ->
    io_lib:format("~ts could not be measured: ~tp", [Path, Reason]);
explain({runs_disagree, Paths}) ->
    io_lib:format("the two runs disagree on ~b files, ~ts first", [length(Paths), hd(Paths)]);
explain({caller_failed, Reason}) ->
    io_lib:format("a process on another context was disturbed by the kill: ~tp", [Reason]);
explain({unexpected, Asked, Answer}) ->
    io_lib:format("~ts answered ~tp", [Asked, Answer]).
