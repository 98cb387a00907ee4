-module(bench_births).

%% What it costs a context to be given something at its start, and the node to change it for all contexts.
%%
%% Every context ends before the next one starts, so that below Python 3.14.1 each gets an interpreter that waits for its
%% like: what is measured there is the birth alone.

-export([rows/1]).

%% Contexts of a kind in one round.
-define(TOGETHER, 5).
%% Contexts that a change is told to.
-define(MANY, 8).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    #{rounds := Rounds} = bench:plan(Settings, #{rounds => 14}, #{rounds => 5}),
    Folder = environment(),
    Kinds = [
        {nothing, #{}},
        {venv, #{venv => Folder}},
        {preload, #{preload => <<"import json, re\ndef f(x):\n    return json.loads(x)\n">>}}
    ],
    _ = [started(Options) || {_, Options} <- Kinds],
    Starts = maps:from_list([{Kind, [median(Options) || _ <- lists:seq(1, Rounds)]} || {Kind, Options} <- Kinds]),
    {ok, Others} = many(),
    Changes = [changed(N) || N <- lists:seq(1, 4 * Rounds)],
    ok = py_import:clear_paths(),
    lists:foreach(fun py_context:stop/1, Others),
    ok = file:del_dir_r(Folder),
    Nothing = maps:get(nothing, Starts),
    [
        bench_report:time_row(<<"start with nothing">>, Nothing),
        beside(<<"start with an environment">>, venv, Nothing, Starts),
        beside(<<"start with code that imports json and re">>, preload, Nothing, Starts),
        bench_report:time_row(<<"py_import:add_path, 8 contexts">>, Changes)
    ].

beside(What, Kind, Nothing, Starts) ->
    Times = maps:get(Kind, Starts),
    Ratios = lists:zipwith(fun(Time, Floor) -> Time / Floor end, Times, Nothing),
    bench_report:compared_row(What, ns, Times, {<<"with nothing">>, bench_rounds:median(Nothing)}, Ratios, none).

median(Options) ->
    bench_rounds:median([started(Options) || _ <- lists:seq(1, ?TOGETHER)]).

started(Options) ->
    Start = erlang:monotonic_time(nanosecond),
    {ok, Context} = py_context:new(Options),
    Time = erlang:monotonic_time(nanosecond) - Start,
    ok = py_context:stop(Context),
    Time.

many() ->
    {ok, [element(2, {ok, _} = py_context:new()) || _ <- lists:seq(1, ?MANY)]}.

changed(N) ->
    Start = erlang:monotonic_time(nanosecond),
    ok = py_import:add_path("/bench/" ++ integer_to_list(N)),
    erlang:monotonic_time(nanosecond) - Start.

%% An environment without packages.
environment() ->
    {ok, Version} = py:version(),
    [Major, Minor | _] = binary:split(Version, <<".">>, [global]),
    Folder = filename:join(filename:basedir(user_cache, "erlang_python"), "bench-venv"),
    Packages = filename:join([Folder, "lib", <<"python", Major/binary, ".", Minor/binary>>, "site-packages"]),
    ok = filelib:ensure_path(Packages),
    ok = file:write_file(filename:join(Folder, "pyvenv.cfg"), ["version = ", Version, "\n"]),
    Folder.
