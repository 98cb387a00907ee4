%% Chains of calls from Erlang to Python and back, for the suites about them.
-module(py_chains).

-export([init_case/1, end_case/1, install/1]).
-export([descender/2, call_down/2, port/1, waiting/1, result/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

%% Every case has contexts of its own.
init_case(Config) ->
    Contexts = [py_suite:new_context(Config) || _ <- [1, 2, 3]],
    [ok = install(Context) || Context <- Contexts],
    [{ctx, hd(Contexts)}, {contexts, Contexts}, {socket, py_suite:open()} | Config].

end_case(Config) ->
    py_suite:close(?config(socket, Config)),
    Alive = [Context || Context <- ?config(contexts, Config), is_process_alive(Context)],
    [?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])) || Context <- Alive],
    {ok, 4.0} = py:call(math, sqrt, [16]),
    [ok = py_context:stop(Context) || Context <- Alive],
    %% Attempts that came too late leave signals and results of theirs.
    IsLate = fun(Message) -> lists:member(element(1, Message), [udp, level]) end,
    ?assertEqual([], [Message || Message <- py_suite:flush(), not IsLate(Message)]).

install(Context) ->
    ok = py_callbacks:install(Context),
    py_callbacks:module(Context, "ct_chain", <<
        "import erlang\n"
        "def down(n): return 0 if n == 0 else erlang.call('down', n - 1) + 1\n"
        "def through(name, *args): return erlang.call(name, *args)\n"
    >>).

%% Descends through the contexts in turn; what cannot go on is thrown through all levels.
descender(Contexts, Call) ->
    fun([N]) ->
        case Call(lists:nth(N rem length(Contexts) + 1, Contexts), N) of
            {ok, Value} -> Value;
            {error, {throw, {stopped, _} = Stopped}} -> throw(Stopped);
            {error, Reason} -> throw({stopped, Reason})
        end
    end.

call_down(Context, N) -> py:call(Context, ct_chain, down, [N]).

port(Config) ->
    py_suite:port(?config(socket, Config)).

%% How many requests wait in a context for its thread.
waiting(Context) ->
    {_Mode, _Id, _Processes, Waiting} = py_nif:context_info(Context),
    Waiting.

result(Caller) ->
    {result, Result} = py_suite:await_down(Caller, 60_000),
    Result.
