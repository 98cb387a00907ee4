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
        bytes_outlive_their_context,
        bytes_lent_twice_outlive_their_context,
        interpreter_ends_when_its_bytes_are_back,
        bytes_come_and_go_while_contexts_end,
        objects_go_although_another_context_is_busy,
        cancelled_request_lets_go_of_its_arguments
    ], [
        bytes_of_an_ended_context_are_freed
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

-define(SIZE, 1 bsl 20).

%% ------------------------------------------------------------------------------------------------
%% Bytes that Erlang reads in Python's memory

bytes_outlive_their_context(Config) ->
    Context = py_suite:new_context(Config),
    {ok, Bytes} = py:eval(Context, <<"b'a' * size">>, #{size => ?SIZE}),
    ok = py_context:stop(Context),
    disturb(Config),
    ?assertEqual(binary:copy(<<"a">>, ?SIZE), Bytes).

bytes_lent_twice_outlive_their_context(Config) ->
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, <<"data = b'a' * (1 << 20)">>),
    {ok, First} = py:eval(Context, <<"data">>),
    {ok, Second} = py:eval(Context, <<"data">>),
    _ = put(second, Second),
    ok = py_context:stop(Context),
    let_go(second),
    disturb(Config),
    ?assertEqual(binary:copy(<<"a">>, ?SIZE), First).

%% A finaliser that runs while the interpreter ends tells when it does.
interpreter_ends_when_its_bytes_are_back(Config) ->
    case {py_suite:mode(Config), py_suite:version() >= {ok, [3, 14, 1]}} of
        {owngil, true} -> check_interpreter_ends_when_its_bytes_are_back(Config);
        {worker, _} -> {skip, "the main interpreter never ends"};
        {owngil, false} -> {skip, "interpreters of this version are used again"}
    end.

check_interpreter_ends_when_its_bytes_are_back(Config) ->
    Socket = proplists:get_value(socket, Config),
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, <<
        "import socket, sys, types\n"
        "def make(port, data):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    s.bind(('127.0.0.1', 0))\n"
        "    class Last:\n"
        "        def __del__(self):\n"
        "            s.sendto(b'ending', ('127.0.0.1', port))\n"
        "            s.recv(16)\n"
        "            self.size = len(data)\n"
        "    return Last()\n"
        "data = b'a' * (1 << 20)\n"
    >>),
    {ok, Bytes} = py:eval(Context, <<"data">>),
    _ = put(bytes, Bytes),
    {ok, _} = py:eval(Context, <<
        "sys.modules.setdefault('held', types.ModuleType('held')).__dict__.update(last=make(port, data))"
    >>, #{port => proplists:get_value(port, Config)}),
    %% The context ends at once, its interpreter when the bytes are back: it cannot free its memory before.
    ok = py_context:stop(Context),
    let_go(bytes),
    Gate = py_suite:await_signal(Socket, <<"ending">>),
    disturb(Config),
    py_suite:release(Socket, Gate),
    disturb(Config).

%% An interpreter that waits for another context keeps nothing of the last one.
bytes_of_an_ended_context_are_freed(Config) ->
    Size = 256 bsl 20,
    Context = py_suite:new_context(Config),
    {ok, Bytes} = py:eval(Context, <<"b'a' * size">>, #{size => Size}),
    _ = put(bytes, Bytes),
    ok = py_context:stop(Context),
    Before = resident(),
    let_go(bytes),
    await_resident(Before - Size div 2, 1000).

%% Nothing tells that memory was freed.
await_resident(Most, Looks) ->
    case resident() of
        Bytes when Bytes =< Most -> ok;
        Bytes when Looks =:= 0 -> ct:fail({resident, Bytes, most, Most});
        _ -> receive after 10 -> await_resident(Most, Looks - 1) end
    end.

resident() ->
    {ok, Text} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Text, <<" ">>, [global]),
    binary_to_integer(Pages) * 4096.

bytes_come_and_go_while_contexts_end(Config) ->
    Expected = binary:copy(<<"a">>, ?SIZE),
    Results = py_suite:concurrently(4, fun(_) -> [come_and_go(Config, Expected) || _ <- lists:seq(1, 8)] end),
    ?assertEqual([lists:duplicate(8, ok) || _ <- lists:seq(1, 4)], Results).

come_and_go(Config, Expected) ->
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, <<"import types\ntypes.data = b'a' * (1 << 20)">>),
    Self = self(),
    Keepers = [spawn_monitor(fun() -> keep(Self, Context, Expected) end) || _ <- lists:seq(1, 4)],
    [receive {Keeper, has} -> ok end || {Keeper, _} <- Keepers],
    %% Half of them go while the context ends, the others later.
    [exit(Keeper, kill) || {Keeper, _} <- lists:sublist(Keepers, 2)],
    ok = py_context:stop(Context),
    [Keeper ! check || {Keeper, _} <- Keepers],
    Reasons = [receive {'DOWN', Monitor, process, _, Reason} -> Reason end || {_, Monitor} <- Keepers],
    ?assertEqual([killed, killed, normal, normal], Reasons),
    ok.

keep(Parent, Context, Expected) ->
    {ok, Bytes} = py:eval(Context, <<"__import__('types').data">>),
    Parent ! {self(), has},
    receive
        check -> Expected = Bytes
    end.

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

%% The calling process no longer has what it has kept under that key.
let_go(Key) ->
    _ = erase(Key),
    true = erlang:garbage_collect(),
    ok.

%% Memory that is free is written to.
disturb(Config) ->
    Context = py_suite:new_context(Config),
    {ok, 64} = py:eval(Context, <<"len([bytearray(b'z' * (1 << 20)) for _ in range(64)])">>),
    ok = py_context:stop(Context).
