-module(context_soak).
-export([main/1, run/2]).

%% Makes, uses and ends contexts from several processes at once, for a given time, and reports what is left.
%% Ending an interpreter takes no lock of ours (CPython 3.14.1 and later); this is the proof that it need not.
%%
%%   erl -noshell -pa <ebin> -pa <this> -s context_soak main 600

-define(WORKERS, 8).

-define(USES, [
    <<"import json, re, hashlib; json.loads(json.dumps({'a': [1, 2.5, None]})); re.match('a+', 'aaa')">>,
    <<"import datetime, decimal, zoneinfo; str(decimal.Decimal(1) / 3) + str(datetime.datetime.now())">>,
    <<"import sqlite3; c = sqlite3.connect(':memory:'); c.execute('select 1').fetchall(); c.close()">>,
    <<"import asyncio; asyncio.run(asyncio.sleep(0))">>,
    <<"import os\nfor i in range(100): os.environ[f'SOAK_{i}'] = str(i)">>,
    <<"import threading; t = threading.Thread(target=sum, args=([1],)); t.start(); t.join()">>,
    <<"import concurrent.futures as f; e = f.ThreadPoolExecutor(2); e.submit(sum, [1]).result()">>,
    <<"import ssl, socket, subprocess, typing, dataclasses, enum; ssl.create_default_context()">>
]).

main([Seconds]) ->
    Summary = run(list_to_integer(atom_to_list(Seconds)), rand:uniform(1 bsl 30)),
    io:format("~p~n", [Summary]),
    halt(
        case Summary of
            #{failed := []} -> 0;
            _ -> 1
        end
    ).

%% Runs for a number of seconds; gives the number of contexts made, resident memory (in KiB) after a tenth of
%% the time and at the end, and every failure.
-spec run(pos_integer(), integer()) -> map().
run(Seconds, Seed) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    End = erlang:monotonic_time(second) + Seconds,
    First = cycle(erlang:monotonic_time(second) + max(1, Seconds div 10), Seed),
    Early = resident(),
    Rest = cycle(End, Seed + 1),
    ok = application:stop(erlang_python),
    #{
        seed => Seed,
        contexts => lists:sum([N || {N, _} <- First ++ Rest]),
        resident_early => Early,
        resident_late => resident(),
        counters => py_nif:counters(),
        failed => lists:append([F || {_, F} <- First ++ Rest])
    }.

cycle(End, Seed) ->
    Workers = [
        spawn_monitor(fun() ->
            _ = rand:seed(exsss, {Seed, I, 1}),
            exit({counted, worker(End, 0, [])})
        end)
     || I <- lists:seq(1, ?WORKERS)
    ],
    [
        receive
            {'DOWN', Monitor, process, _, {counted, Counted}} -> Counted;
            {'DOWN', Monitor, process, _, Reason} -> {0, [{worker, Reason}]}
        end
     || {_, Monitor} <- Workers
    ].

worker(End, Count, Failed) ->
    case erlang:monotonic_time(second) < End of
        true -> worker(End, Count + 1, one() ++ Failed);
        false -> {Count, Failed}
    end.

%% One context: a few uses, then a stop or a kill. Gives its failures.
one() ->
    {ok, Context} = py_context:new(),
    Uses = [lists:nth(rand:uniform(length(?USES)), ?USES) || _ <- lists:seq(1, rand:uniform(3))],
    Results = [{Use, py:exec(Context, Use)} || Use <- Uses],
    case rand:uniform(4) of
        1 -> exit(Context, kill);
        _ -> py_context:stop(Context)
    end,
    [{failed, Use, Result} || {Use, Result} <- Results, Result =/= ok].

resident() ->
    {ok, Text} = file:read_file("/proc/self/status"),
    {match, [Size]} = re:run(Text, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, binary}]),
    binary_to_integer(Size).
