%% Erlang functions for Python code to call, and when they answer.
-module(py_offered).

-export([with/2, waiting/1, arrived/1, arrived/2, answer/2, fail/3]).

-define(DEADLINE, 30_000).

%% Runs the fun while the functions are registered.
-spec with(#{atom() | binary() => fun(([term()]) -> term())}, fun(() -> Result)) -> Result.
with(Functions, Body) ->
    Names = maps:keys(Functions),
    _ = [ok = py:register_function(Name, Fun) || {Name, Fun} <- maps:to_list(Functions)],
    try
        Body()
    after
        %% The case may have stopped the application.
        _ = [py:unregister_function(Name) || Name <- Names]
    end.

%% A function that tells the process when it is called, and answers when it is told to.
-spec waiting(pid()) -> fun(([term()]) -> term()).
waiting(Test) ->
    fun(Arguments) ->
        Test ! {arrived, self(), Arguments},
        receive
            {answer, Test, Value} -> Value;
            {fail, Test, Kind, Reason} -> erlang:raise(Kind, Reason, [])
        end
    end.

%% The process in which such a function was called with these arguments.
-spec arrived([term()]) -> pid().
arrived(Arguments) ->
    receive
        {arrived, Pid, Arguments} -> Pid
    after ?DEADLINE -> ct:fail({not_called, Arguments})
    end.

%% So many of them, as they came.
-spec arrived(any, non_neg_integer()) -> [{pid(), [term()]}].
arrived(any, 0) ->
    [];
arrived(any, Count) ->
    receive
        {arrived, Pid, Arguments} -> [{Pid, Arguments} | arrived(any, Count - 1)]
    after ?DEADLINE -> ct:fail({not_called, Count})
    end.

-spec answer(pid(), term()) -> ok.
answer(Pid, Value) ->
    Pid ! {answer, self(), Value},
    ok.

-spec fail(pid(), error | exit | throw, term()) -> ok.
fail(Pid, Kind, Reason) ->
    Pid ! {fail, self(), Kind, Reason},
    ok.
