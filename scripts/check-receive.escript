#!/usr/bin/env escript
%% Fails unless the compiler skips old messages in the receives that wait for a reply: without that
%% optimisation a call costs time in proportion to the caller's mailbox.

functions() ->
    [
        {"src/py_call.erl", {submitted, 5}},
        {"src/py_call.erl", {answered, 5}},
        {"src/py_remote.erl", {exchange, 3}},
        {"src/py_map.erl", {awaited, 2}}
    ].

main([]) ->
    ok = file:set_cwd(filename:join(filename:dirname(escript:script_name()), "..")),
    lists:foreach(fun({File, Function}) -> check(File, Function) end, functions()).

check(File, Function) ->
    {First, Last} = lines(File, Function),
    Notes = [Text || {Line, Text} <- notes(File), Line >= First, Line =< Last],
    [io:put_chars([Text, $\n]) || Text <- Notes],
    Marked = lists:any(fun(T) -> lists:prefix("OPTIMIZED: all clauses match reference", T) end, Notes),
    Missed = lists:any(fun(T) -> lists:prefix("NOT OPTIMIZED", T) end, Notes),
    case Marked andalso not Missed of
        true ->
            ok;
        false ->
            io:format(standard_error, "~s: the receive in ~p is not optimised~n", [File, Function]),
            halt(1)
    end.

%% The first and the last line of a function.
lines(File, {Name, Arity}) ->
    {ok, Forms} = epp:parse_file(File, [{includes, ["include", "src"]}]),
    case [Form || {function, _, N, A, _} = Form <- Forms, N =:= Name, A =:= Arity] of
        [Form] ->
            Lines = erl_syntax_lib:fold(
                fun(Node, Acc) -> [erl_anno:line(erl_syntax:get_pos(Node)) | Acc] end, [], Form
            ),
            {lists:min([L || L <- Lines, L > 0]), lists:max(Lines)};
        [] ->
            io:format(standard_error, "~s has no function ~s/~b~n", [File, Name, Arity]),
            halt(1)
    end.

%% What the compiler says about receives.
notes(File) ->
    Options = [binary, return_warnings, report_errors, recv_opt_info, {i, "include"}, {i, "src"}],
    {ok, _, _, Warnings} = compile:file(File, Options),
    [
        {line(Where), lists:flatten(Module:format_error(Reason))}
     || {_, InFile} <- Warnings, {Where, Module, Reason} <- InFile, Where =/= none
    ].

line({Line, _Column}) -> Line;
line(Line) -> Line.
