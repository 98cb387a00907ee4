%% Erlang functions for Python code to call: registered for a case, and waiting until they are released.
-module(py_callbacks).

-export([init_case/1, end_case/1, offering/2, module/3, install/1]).
-export([gate/0, entered/1, open/2, run/2, fail/3]).
-export([await/1, collect/1, signal/2, ended/1, eventually/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(DEADLINE, 30_000).

%% Runs the fun while the functions are registered.
offering(Functions, Fun) ->
    lists:foreach(fun({Name, Function}) -> ok = py:register_function(Name, Function) end, Functions),
    try
        Fun()
    after
        %% The application may have been stopped.
        [_ = py:unregister_function(Name) || {Name, _} <- Functions]
    end.

%% Makes a module of that text in the context. Contexts of mode worker share it.
module(Context, Name, Code) ->
    py:exec(Context, [
        "import sys, types\n_made = sys.modules['", Name, "'] = types.ModuleType('", Name, "')\n"
        "exec(compile(r'''", Code, "''', '", Name, ".py', 'exec'), _made.__dict__)\n"
    ]).

%% The modules `ct_signals' and `ct_frames'. A frame of the latter says by a datagram how it was left.
install(Context) ->
    ok = py_suite:install(Context),
    module(Context, "ct_frames", <<
        "import erlang, time, ct_signals\n"
        "def guarded(port, tag, name, *args):\n"
        "    try:\n"
        "        return erlang.call(name, *args)\n"
        "    except BaseException as error:\n"
        "        ct_signals.signal(port, tag + ' ' + type(error).__name__)\n"
        "        raise\n"
        "def frame(port, tag, name, *args):\n"
        "    try:\n"
        "        return erlang.call(name, *args)\n"
        "    finally:\n"
        "        ct_signals.signal(port, tag)\n"
        "def spin(port, tag):\n"
        "    try:\n"
        "        ct_signals.spin(port, tag)\n"
        "    finally:\n"
        "        ct_signals.signal(port, tag + ' left')\n"
        "def sleep(port, tag):\n"
        "    try:\n"
        "        ct_signals.sleep(port, tag, 1000)\n"
        "    finally:\n"
        "        ct_signals.signal(port, tag + ' left')\n"
    >>).

%% ------------------------------------------------------------------------------------------------
%% Gates: functions that tell the process which made them who runs them, and wait

gate() ->
    Owner = self(),
    fun(Args) ->
        Owner ! {?MODULE, entered, self(), Args},
        receive
            {?MODULE, go, Outcome} -> Outcome()
        end
    end.

%% The process that runs a gate that was called with those arguments.
entered(Args) ->
    receive
        {?MODULE, entered, Pid, Args} -> Pid
    after ?DEADLINE -> ct:fail({nobody_entered, Args, process_info(self(), messages)})
    end.

%% Lets the process give a value at the gate where it waits.
open(Pid, Value) ->
    run(Pid, fun() -> Value end).

%% Lets the process give what the fun gives there.
run(Pid, Fun) ->
    Pid ! {?MODULE, go, Fun},
    ok.

fail(Pid, Kind, Reason) ->
    Pid ! {?MODULE, go, fun() -> erlang:raise(Kind, Reason, []) end},
    ok.

%% ------------------------------------------------------------------------------------------------
%% Messages, signals, ends

await(Message) ->
    receive
        Message -> ok
    after ?DEADLINE -> ct:fail({no_message, Message, process_info(self(), messages)})
    end.

%% What came under that tag, in the order in which it was sent.
collect(Tag) ->
    receive
        {Tag, What} -> [What | collect(Tag)]
    after 0 -> []
    end.

%% Waits for a datagram from Python at the socket of the case.
signal(Config, Tag) ->
    _ = py_suite:await_signal(?config(socket, Config), Tag),
    ok.

ended(Pid) ->
    Monitor = monitor(process, Pid),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after ?DEADLINE -> ct:fail({lives_on, Pid, process_info(Pid)})
    end.

eventually(Fun) ->
    ?assertEqual(ok, py_leaks:eventually(Fun)).

%% A context of its own for a case, with a socket for signals.
init_case(Config) ->
    Context = py_suite:new_context(Config),
    ok = install(Context),
    [{ctx, Context}, {socket, py_suite:open()} | Config].

%% It answers, nothing is left for the process, and it goes.
end_case(Config) ->
    Context = proplists:get_value(ctx, Config),
    py_suite:close(proplists:get_value(socket, Config)),
    ok = py_suite:both_answer(Config),
    ok = py_context:stop(Context),
    ?assertEqual([], py_suite:flush()).
