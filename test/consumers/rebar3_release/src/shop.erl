-module(shop).
-behaviour(application).
-export([start/2, stop/1]).

%% Says what the package says, where it is, where Python's own modules and its library are, and ends.
start(_Type, _Args) ->
    ok = py:exec("
import os
import some_package


def library():
    try:
        with open('/proc/self/maps') as maps:
            return next(line.split()[-1] for line in maps if 'libpython' in line)
    except FileNotFoundError:
        return ''
"),
    io:format("answer: ~0tp~n", [py:eval("[some_package.version, some_package.__file__, os.__file__, library()]")]),
    init:stop(),
    {ok, spawn_link(fun() -> receive stop -> ok end end)}.

stop(_State) ->
    ok.
