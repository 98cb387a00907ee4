%% Contexts that are kept busy, with the functions of `ct_signals' (see py_suite) and the case's `socket'.
-module(py_gates).

-export([running/4, running/5, closed_gate/1, closed_gate/2, open_gate/2, idle/1]).

%% Starts a function of `ct_signals' and waits until it runs.
running(Config, Context, Function, Tag) ->
    running(Config, Context, Function, Tag, []).

running(Config, Context, Function, Tag, More) ->
    Socket = proplists:get_value(socket, Config),
    Ref = py:spawn_call(Context, ct_signals, Function, [py_suite:port(Socket), Tag | More]),
    _ = py_suite:await_signal(Socket, Tag),
    Ref.

%% Closes the gate of the context: what follows is queued until it opens, whatever interrupts the code.
closed_gate(Config) ->
    closed_gate(Config, proplists:get_value(ctx, Config)).

closed_gate(Config, Context) ->
    Socket = proplists:get_value(socket, Config),
    Ref = py:spawn_call(Context, ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
    {Ref, py_suite:await_signal(Socket, <<"gate">>)}.

open_gate(Config, {Ref, Port}) ->
    ok = py_suite:release(proplists:get_value(socket, Config), Port),
    {ok, <<"gate">>} = py:await(Ref),
    ok.

%% Returns when no code runs in the context.
idle(Context) ->
    ok = py_leaks:eventually(fun() -> py:interrupt(Context) =:= not_running end).
