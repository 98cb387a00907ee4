#!/usr/bin/env escript
%% -*- erlang -*-
%% Makes the virtual environment that a configuration declares for erlang_python. For hooks of rebar3:
%%
%%   ensure-venv.escript CONFIG     a file such as config/sys.config

main([Config]) ->
    Script = filename:absname(escript:script_name()),
    Libraries = filename:dirname(filename:dirname(filename:dirname(Script))),
    Environment = os:getenv("REBAR_BUILD_DIR"),
    Folders = [Libraries] ++ [filename:join(Environment, "lib") || Environment =/= false],
    ok = code:add_pathsa(lists:append([filelib:wildcard(filename:join(F, "*/ebin")) || F <- Folders])),
    case py_venv:build(Config) of
        ok ->
            ok;
        {error, Reason} ->
            io:format(standard_error, "erlang_python: the virtual environment was not made: ~0tp~n", [Reason]),
            halt(1)
    end;
main(_) ->
    io:format(standard_error, "usage: ensure-venv.escript CONFIG~n", []),
    halt(2).
