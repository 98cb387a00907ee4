%% Random trees of calls between Erlang and Python.
-module(callback_tree_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {minutes, 15}}].

all() ->
    [{group, owngil}, {group, worker}, {group, mixed}].

groups() ->
    Cases = [
        branches_of_a_tree_wait_for_one_another,
        any_tree_has_its_value,
        trees_at_the_same_time_have_their_values
    ],
    py_suite:groups(Cases) ++ [{mixed, [], Cases}].

init_per_group(mixed, Config) ->
    init_group(owngil, [owngil, worker, owngil, worker], Config);
init_per_group(Mode, Config) ->
    init_group(Mode, [Mode, Mode, Mode], Config).

init_group(Mode, Modes, Config) ->
    case py_suite:init_group(Mode, Config) of
        {skip, _} = Skip -> Skip;
        Started -> [{modes, Modes} | Started]
    end.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% A function asks for two things at the same time. One runs on top of the code that called it; the other's function
%% asks the same context, and is served after the first.
branches_of_a_tree_wait_for_one_another(Config) ->
    Test = self(),
    Socket = py_suite:open(),
    [First, Second | _] = Contexts = contexts(Config),
    ok = py_suite:install(First),
    Functions = #{
        ct_fork => fun([]) ->
            Gate = py:spawn_call(First, ct_signals, gate, [py_suite:port(Socket), <<"gate">>]),
            Other = py:spawn_call(Second, erlang, call, [<<"ct_other">>]),
            [py:await(Gate, infinity), py:await(Other, infinity)]
        end,
        ct_other => fun([]) ->
            Test ! {asks, self()},
            receive
                {ask, Test} -> py:call(First, math, sqrt, [16])
            end
        end
    },
    py_offered:with(Functions, fun() ->
        Caller = py_suite:spawn_caller(fun() -> py:call(First, erlang, call, [<<"ct_fork">>]) end),
        Gate = py_suite:await_signal(Socket, <<"gate">>),
        receive
            {asks, Pid} ->
                Pid ! {ask, Test},
                %% Nothing tells that it waits for the context.
                _ = py_leaks:eventually(fun() -> is_waiting_for_a_call(Pid) end)
        end,
        py_suite:release(Socket, Gate),
        ?assertEqual(
            {result, {ok, [{<<"ok">>, <<"gate">>}, {<<"ok">>, {<<"ok">>, 4.0}}]}}, py_suite:await_down(Caller, 30_000)
        )
    end),
    py_suite:close(Socket),
    [ok = py_context:stop(Context) || Context <- Contexts],
    ok.

%% Or has ended.
is_waiting_for_a_call(Pid) ->
    case process_info(Pid, [status, current_function]) of
        [{status, waiting}, {current_function, {py_call, _, _}}] -> true;
        undefined -> true;
        _ -> false
    end.

any_tree_has_its_value(Config) -> holds(prop_tree, Config).

trees_at_the_same_time_have_their_values(Config) -> holds(prop_trees_at_once, Config).

contexts(Config) ->
    [
        begin
            {ok, Context} = py_context:new(#{mode => Mode}),
            ok = prop_callbacks:import(Context),
            Context
        end
     || Mode <- ?config(modes, Config)
    ].

holds(Property, Config) ->
    Contexts = contexts(Config),
    %% Contexts are killed, and functions fail, all the time.
    py_suite:silently(fun() ->
        py_offered:with(#{ct_tree => prop_callbacks:function(Contexts)}, fun() ->
            ok = prop_callbacks:check(Property, Contexts)
        end)
    end),
    [?assertEqual(ok, idle(Context)) || Context <- Contexts],
    [ok = py_context:stop(Context) || Context <- Contexts],
    ok.

%% Nothing of a tree goes on.
idle(Context) ->
    py_leaks:eventually(fun() -> py:interrupt(Context) =:= not_running end).
