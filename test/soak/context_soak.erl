-module(context_soak).
-export([main/1]).

%% Makes, uses and ends contexts from several processes at once, for a given time, and reports what is left.
%% Ending an interpreter takes no lock of ours (CPython 3.14.1 and later); this is the proof that it need not.
%%
%%   erl -noshell -pa <ebin> -pa <this> -s context_soak main 600

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

main(Arguments) ->
    soak:main(Arguments, fun one/0).

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
