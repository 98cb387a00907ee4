%% What Erlang and Python keep alive for one another, and when they let it go.
-module(ownership_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        objects_go_although_another_context_is_busy,
        cancelled_request_lets_go_of_its_arguments
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Socket = py_suite:open(),
    [{socket, Socket}, {port, py_suite:port(Socket)} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:close(proplists:get_value(socket, Config)).

%% ------------------------------------------------------------------------------------------------
%% Objects that Erlang refers to

objects_go_although_another_context_is_busy(Config) ->
    One = py_suite:new_context(Config),
    Other = py_suite:new_context(Config),
    check_objects_go(Config, One, Other),
    check_objects_go(Config, Other, One).

check_objects_go(Config, Idle, Busy) ->
    Socket = proplists:get_value(socket, Config),
    {Caller, Gate} = occupied(Config, Busy),
    ok = py_suite:fresh(fun() ->
        _ = thing(Config, Idle),
        ok
    end),
    _ = py_suite:await_signal(Socket, <<"gone">>),
    py_suite:release(Socket, Gate),
    ?assertMatch({result, {ok, _}}, py_suite:await_down(Caller, 30_000)).

%% What it was asked with may be large, and the context busy for long.
cancelled_request_lets_go_of_its_arguments(Config) ->
    Socket = proplists:get_value(socket, Config),
    Idle = py_suite:new_context(Config),
    Busy = py_suite:new_context(Config),
    {Caller, Gate} = occupied(Config, Busy),
    Result = py_suite:fresh(fun() ->
        Thing = thing(Config, Idle),
        py_context:call(Busy, builtins, id, [Thing], #{}, 0)
    end),
    ?assertEqual({error, timeout}, Result),
    _ = py_suite:await_signal(Socket, <<"gone">>),
    py_suite:release(Socket, Gate),
    ?assertMatch({result, {ok, _}}, py_suite:await_down(Caller, 30_000)).

%% ------------------------------------------------------------------------------------------------

%% A reference to an object that tells its end.
thing(Config, Context) ->
    py_suite:install(Context),
    ok = py:exec(Context, <<
        "import ct_signals, weakref\n"
        "class Thing: pass\n"
        "def make(port):\n"
        "    thing = Thing()\n"
        "    weakref.finalize(thing, ct_signals.signal, port, 'gone')\n"
        "    return thing\n"
    >>),
    {ok, Thing} = py:eval(Context, <<"make(port)">>, #{port => proplists:get_value(port, Config)}),
    ?assert(py:is_ref(Thing)),
    Thing.

%% A call that has begun and ends when its gate is opened.
occupied(Config, Context) ->
    py_suite:install(Context),
    Arguments = [proplists:get_value(port, Config), <<"busy">>],
    Caller = py_suite:spawn_caller(fun() -> py:call(Context, ct_signals, gate, Arguments) end),
    {Caller, py_suite:await_signal(proplists:get_value(socket, Config), <<"busy">>)}.
