%% Processes that hold terms, so that a test decides when these become garbage.
-module(py_holder).

-export([holding/1, drop/1, in_holder/2]).

%% A process that holds a term of its own making; others can have it.
holding(Make) ->
    Test = self(),
    {Pid, _} =
        Holder = py_suite:spawn_caller(fun() ->
            Term = Make(),
            Test ! {holds, self()},
            hold(Term)
        end),
    receive
        {holds, Pid} -> Holder
    end.

hold(Term) ->
    receive
        {get, To} ->
            To ! {held, self(), Term},
            hold(Term);
        {run, To, Fun} ->
            To ! {done, self(), Fun(Term)},
            hold(Term);
        stop ->
            ok
    end.

drop({Pid, _} = Holder) ->
    Pid ! stop,
    {result, ok} = py_suite:await_down(Holder, 30_000),
    ok.

%% Runs the fun with the term in the process that holds it.
in_holder({Pid, _}, Fun) ->
    Pid ! {run, self(), Fun},
    receive
        {done, Pid, Result} -> Result
    end.
