%% Tasks that tell what happens to them, with the functions of `ct_tasks' (see test/support/python).
-module(py_task_gates).

-export([task/3, waits/1, told/2, nothing_told/1, open/2, gate/2, gate/3]).

-define(DEADLINE, 30_000).

%% A task of the calling process that waits at a gate, and does so now.
gate(Context, Name) ->
    gate(Context, gate, Name).

gate(Context, Function, Name) ->
    Ref = task(Context, Function, [self(), Name]),
    waits(Name),
    Ref.

task(Context, Function, Args) ->
    {ok, Ref} = py_context:submit(Context, ct_tasks, Function, Args),
    Ref.

waits(Name) ->
    told(<<"waits">>, Name).

%% Waits until the task has sent the word.
told(Word, Name) ->
    receive
        {Word, Name} -> ok
    after ?DEADLINE -> ct:fail({not_told, Word, Name, erlang:process_info(self(), messages)})
    end.

%% For words that would have come by now.
nothing_told(Name) ->
    receive
        {Word, Name} -> ct:fail({told, Word, Name})
    after 0 -> ok
    end.

open(Context, Name) ->
    {ok, Name} = py:call(Context, ct_tasks, release, [Name]),
    ok.
