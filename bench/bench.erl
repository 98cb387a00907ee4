-module(bench).

%% The benchmarks, see run.sh: arguments, the order of groups, and where results go.

-export([main/0, plan/3]).
-export_type([settings/0]).

-type settings() :: #{quick := boolean(), dir := file:filename(), build := file:filename()}.

groups() ->
    [
        {"calls", "one caller", fun bench_calls:rows/1},
        {"load", "50 callers", fun bench_load:rows/1},
        {"callbacks", "Python calls Erlang", fun bench_callbacks:rows/1},
        {"state", "the shared state", fun bench_state:rows/1},
        {"streams", "items of generators", fun bench_streams:rows/1},
        {"inline", "calls on the calling scheduler", fun bench_inline:rows/1},
        {"batches", "items of batches", fun bench_batches:rows/1},
        {"telemetry", "calls that somebody watches", fun bench_telemetry:rows/1},
        {"output", "printing and logging", fun bench_output:rows/1},
        {"loop", "event loops", fun bench_loop:rows/1},
        {"echo", "echo servers on event loops, processor time per message", fun bench_echo:rows/1},
        {"reactor", "echo servers on reactors, processor time per message", fun bench_reactor:rows/1},
        {"web", "web servers, processor time per request", fun bench_web:rows/1},
        %% First what depends most on what the allocators have at hand.
        {"conversion", "conversion of large binaries", fun bench_conversion:binaries/1},
        {"conversion", "conversion, time per element", fun bench_conversion:elements/1},
        {"cpu", "CPU-bound work", fun bench_cpu:rows/1},
        {"remote", "a context on another node", fun bench_remote:rows/1},
        {"contexts", "contexts", fun bench_contexts:rows/1},
        {"births", "what contexts are given at their start", fun bench_births:rows/1},
        {"sandbox", "sandboxes, processor time", fun bench_sandbox:rows/1},
        {"limits", "memory limits, processor time", fun bench_limits:rows/1},
        {"interrupts", "interrupts", fun bench_interrupts:rows/1},
        {"idle", "an idle node", fun bench_idle:rows/1}
    ].

%% `-extra SourceDirectory BuildDirectory [--quick] [Name...]'.
-spec main() -> no_return().
main() ->
    try
        [Dir, Build | Arguments] = init:get_plain_arguments(),
        {Options, Names} = lists:partition(fun(A) -> lists:prefix("-", A) end, Arguments),
        case {Options -- ["--quick"], Names -- names()} of
            {[], []} -> run(Names, #{quick => Options =/= [], dir => Dir, build => Build}, Build);
            {MoreOptions, MoreNames} -> usage(MoreOptions ++ MoreNames)
        end
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "bench: ~p: ~tp~n~tp~n", [Class, Reason, Stack]),
            halt(1)
    end.

%% A name may stand for more than one group.
names() ->
    lists:uniq([Name || {Name, _, _} <- groups()]).

-spec usage([string()]) -> no_return().
usage(Unknown) ->
    io:format(standard_error, "bench: unknown: ~ts~nusage: bench/run.sh [--quick] [~ts]~n", [
        lists:join(" ", Unknown), lists:join("] [", names())
    ]),
    halt(2).

-spec run([string()], settings(), file:filename()) -> no_return().
run(Names, Settings, Build) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, _} = py:call(math, sqrt, [16]),
    Started = erlang:monotonic_time(millisecond),
    Chosen = [Group || {Name, _, _} = Group <- groups(), Names =:= [] orelse lists:member(Name, Names)],
    Sections = [section(Title, Rows, Settings) || {_, Title, Rows} <- Chosen],
    Took = (erlang:monotonic_time(millisecond) - Started) / 1000,
    Setting = setting(Settings, Took),
    Notes = [bench_conversion:notes() || lists:keymember("conversion", 1, Chosen)],
    Text = bench_report:text(Setting, Sections, Notes),
    io:put_chars(["\n", Text]),
    write(filename:join(Build, "results.txt"), Text),
    write(filename:join(Build, "results.svg"), bench_report:picture(Setting, Sections)),
    ok = application:stop(erlang_python),
    halt(0).

section(Title, Rows, Settings) ->
    io:format("measuring: ~ts~n", [Title]),
    Before = cpu_time(),
    Measured = Rows(Settings),
    {[Title, outside(Before, cpu_time())], Measured}.

%% What else was busy meanwhile: with no core free, whatever needs two threads takes several times as long.
outside({Busy0, Own0, At0}, {Busy1, Own1, At1}) ->
    Cores = max(0, (Busy1 - Busy0) - (Own1 - Own0)) * 10 / (At1 - At0),
    io_lib:format(", ~.1f cores busy outside this node", [Cores]);
outside(_, _) ->
    "".

%% The time that all cores were busy, that this node used, both in hundredths of a second, and the clock.
cpu_time() ->
    case {file:read_file("/proc/stat"), file:read_file("/proc/self/stat")} of
        {{ok, All}, {ok, Own}} ->
            {match, [Line]} = re:run(All, "^cpu +(.+)", [{capture, all_but_first, list}]),
            [User, Nice, System, _Idle, _Wait, Irq, Soft, Steal | _] = numbers(Line),
            %% The name, in parentheses, may hold anything.
            {match, [Rest]} = re:run(Own, "^.*\\) \\S+ (.+)", [{capture, all_but_first, list}, dotall]),
            [OwnUser, OwnSystem | _] = lists:nthtail(10, numbers(Rest)),
            Now = erlang:monotonic_time(millisecond),
            {User + Nice + System + Irq + Soft + Steal, OwnUser + OwnSystem, Now};
        _ ->
            unknown
    end.

numbers(Text) ->
    [list_to_integer(Word) || Word <- string:lexemes(Text, " \n")].

write(File, Text) ->
    ok = file:write_file(File, unicode:characters_to_binary(Text)),
    io:format("written: ~ts~n", [File]).

%% What the figures were measured on, in one line each.
setting(#{quick := Quick}, Took) ->
    {ok, Python} = py:version(),
    {{Y, M, D}, {H, Min, _}} = calendar:local_time(),
    [
        io_lib:format("OTP ~ts, Python ~ts, mode ~ts, ~b schedulers", [
            erlang:system_info(otp_release),
            Python,
            py:execution_mode(),
            erlang:system_info(schedulers_online)
        ]),
        io_lib:format("~b-~2..0b-~2..0b ~2..0b:~2..0b, ~ts, took ~b s, load average at the end ~ts", [
            Y, M, D, H, Min, processor(), round(Took), load()
        ])
        | ["quick: few and short rounds, for a first look only" || Quick]
    ].

processor() ->
    first(file:read_file("/proc/cpuinfo"), "model name\\s*:\\s*(.+)", "unknown processor").

load() ->
    first(file:read_file("/proc/loadavg"), "^(\\S+)", "unknown").

first({ok, Text}, Pattern, Else) ->
    case re:run(Text, Pattern, [{capture, all_but_first, binary}]) of
        {match, [Found]} -> Found;
        nomatch -> Else
    end;
first({error, _}, _Pattern, Else) ->
    Else.

-spec plan(settings(), Plan, Plan) -> Plan when Plan :: map().
plan(#{quick := false}, Full, _Quick) -> Full;
plan(#{quick := true}, _Full, Quick) -> Quick.
