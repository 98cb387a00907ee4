%% Functions that are offered to Python: under what names, until when, and what becomes of wrong ones.
-module(callback_registry_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        function_is_found_until_it_is_taken_back,
        name_is_the_same_in_every_form,
        name_may_be_any_text_of_255_characters,
        later_registration_replaces_an_earlier_one,
        py_registers_in_the_same_place,
        execute_gives_the_value_or_the_exception,
        execute_runs_in_the_calling_process,
        execute_finds_what_is_not_loaded_and_misses_what_is_not_there,
        unregistering_disturbs_no_call_that_runs,
        replacing_disturbs_no_call_that_runs,
        function_outlives_the_process_that_registered_it,
        functions_outlive_a_killed_server,
        python_finds_the_names_that_are_registered,
        wrong_names_are_refused,
        wrong_functions_are_refused,
        wrong_arguments_are_refused,
        restart_of_the_application_forgets,
        everything_is_not_running_without_the_application,
        storm_of_registrations_leaves_what_was_registered_last
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Config.

%% No case leaves a function to the next.
end_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}).

%% ------------------------------------------------------------------------------------------------
%% Functions to register

sum([A, B]) -> A + B.

%% Tells that it runs and goes on when it is told to.
gate([Test, Value]) ->
    Test ! {running, self()},
    receive
        go -> Value
    end.

through_gate(Test) ->
    Caller = py_suite:spawn_caller(fun() -> py_callback:execute(gate, [Test, old]) end),
    receive
        {running, Pid} -> {Pid, Caller}
    end.

goes_on({Pid, Caller}) ->
    Pid ! go,
    ?assertEqual({result, {ok, old}}, py_suite:await_down(Caller, 30_000)).

%% ------------------------------------------------------------------------------------------------

function_is_found_until_it_is_taken_back(_Config) ->
    Fun = fun([X]) -> X end,
    ?assertEqual({error, not_found}, py_callback:lookup(identity)),
    ?assertEqual(ok, py_callback:register(identity, Fun)),
    ?assertEqual(ok, py_callback:register(sum, {?MODULE, sum})),
    ?assertEqual({ok, Fun}, py_callback:lookup(identity)),
    ?assertEqual({ok, {?MODULE, sum}}, py_callback:lookup(sum)),
    ?assertEqual(ok, py_callback:unregister(identity)),
    ?assertEqual({error, not_found}, py_callback:lookup(identity)),
    ?assertEqual({ok, {?MODULE, sum}}, py_callback:lookup(sum)),
    %% What is not there need not be taken back.
    ?assertEqual([ok, ok], [py_callback:unregister(Name) || Name <- [identity, never]]).

name_is_the_same_in_every_form(_Config) ->
    Forms = ['größe', <<"größe"/utf8>>, "größe"],
    [
        begin
            ok = py_callback:register(Form, {?MODULE, sum}),
            ?assertEqual([{ok, {?MODULE, sum}}], lists:usort([py_callback:lookup(Other) || Other <- Forms])),
            ?assertEqual([{ok, 3}], lists:usort([py_callback:execute(Other, [1, 2]) || Other <- Forms])),
            ok = py_callback:unregister(Taken),
            ?assertEqual([{error, not_found}], lists:usort([py_callback:lookup(Other) || Other <- Forms]))
        end
     || Form <- Forms, Taken <- Forms
    ].

name_may_be_any_text_of_255_characters(_Config) ->
    Names = [
        binary:copy(<<Character/utf8>>, Count)
     || Character <- [$a, $., 0, $\s, 16#E9, 16#20AC, 16#1F600], Count <- [1, 255]
    ],
    [?assertEqual(ok, py_callback:register(Name, fun(Args) -> {Name, Args} end)) || Name <- Names],
    [?assertEqual({ok, {Name, [x]}}, py_callback:execute(Name, [x])) || Name <- Names],
    %% As an atom, it is as long as atoms can be.
    ?assertMatch({ok, _}, py_callback:lookup(list_to_atom(lists:duplicate(255, $a)))).

later_registration_replaces_an_earlier_one(_Config) ->
    ok = py_callback:register(name, fun(_) -> first end),
    ok = py_callback:register("name", fun(_) -> second end),
    ?assertEqual({ok, second}, py_callback:execute(name, [])),
    ok = py_callback:unregister(<<"name">>),
    ?assertEqual({error, {not_found, name}}, py_callback:execute(name, [])).

py_registers_in_the_same_place(_Config) ->
    Fun = fun(Args) -> length(Args) end,
    ?assertEqual(ok, py:register_function(count, Fun)),
    ?assertEqual(ok, py:register_function("sum", ?MODULE, sum)),
    ?assertEqual({ok, Fun}, py_callback:lookup(count)),
    ?assertEqual({ok, {?MODULE, sum}}, py_callback:lookup(sum)),
    ?assertEqual({ok, 3}, py_callback:execute(<<"count">>, [a, b, c])),
    ?assertEqual([ok, ok, ok], [py:unregister_function(Name) || Name <- ["count", sum, never]]),
    ?assertEqual([{error, not_found}], lists:usort([py_callback:lookup(Name) || Name <- [count, sum]])).

execute_gives_the_value_or_the_exception(_Config) ->
    ok = py_callback:register(sum, {?MODULE, sum}),
    ok = py_callback:register(raise, fun([Kind, Reason]) -> erlang:raise(Kind, Reason, []) end),
    ok = py_callback:register(answer, fun([Value]) -> Value end),
    ?assertEqual({ok, 3}, py_callback:execute(sum, [1, 2])),
    %% Whatever it looks like, it is the value.
    [
        ?assertEqual({ok, Value}, py_callback:execute(answer, [Value]))
     || Value <- [{error, reason}, {ok, value}, undefined, {'EXIT', x}, self(), []]
    ],
    [
        ?assertMatch({error, {Kind, {reason, 1}, _}}, py_callback:execute(raise, [Kind, {reason, 1}]))
     || Kind <- [error, exit, throw]
    ],
    {error, {error, badarith, [{erlang, '+', [a, 1], _}, {?MODULE, sum, 1, _} | _]}} =
        py_callback:execute(sum, [a, 1]),
    {error, {error, function_clause, [{?MODULE, sum, [[1]], _} | _]}} = py_callback:execute(sum, [1]),
    %% The name as it was given.
    ?assertEqual({error, {not_found, "never"}}, py_callback:execute("never", [])).

execute_runs_in_the_calling_process(_Config) ->
    ok = py_callback:register(mine, fun([Key]) -> {self(), put(Key, done)} end),
    _ = put({?MODULE, key}, before),
    ?assertEqual({ok, {self(), before}}, py_callback:execute(mine, [{?MODULE, key}])),
    ?assertEqual(done, erase({?MODULE, key})).

execute_finds_what_is_not_loaded_and_misses_what_is_not_there(_Config) ->
    ok = py_callback:register(later, {conversion_rows, no_such_function}),
    ok = py_callback:register(never, {no_such_module, f}),
    _ = code:purge(conversion_rows),
    _ = code:delete(conversion_rows),
    {error, {error, undef, [{conversion_rows, no_such_function, [[]], _} | _]}} = py_callback:execute(later, []),
    ?assertMatch({file, _}, code:is_loaded(conversion_rows)),
    {error, {error, undef, [{no_such_module, f, [[1]], _} | _]}} = py_callback:execute(never, [1]).

unregistering_disturbs_no_call_that_runs(_Config) ->
    ok = py_callback:register(gate, {?MODULE, gate}),
    Gates = [through_gate(self()) || _ <- lists:seq(1, 10)],
    ok = py_callback:unregister(gate),
    ?assertEqual({error, {not_found, gate}}, py_callback:execute(gate, [self(), new])),
    [goes_on(Gate) || Gate <- Gates].

replacing_disturbs_no_call_that_runs(_Config) ->
    ok = py_callback:register(gate, {?MODULE, gate}),
    Gate = through_gate(self()),
    ok = py_callback:register(gate, fun([_Test, Value]) -> Value end),
    ?assertEqual({ok, new}, py_callback:execute(gate, [self(), new])),
    goes_on(Gate).

function_outlives_the_process_that_registered_it(_Config) ->
    ?assertEqual(ok, py_suite:fresh(fun() -> py_callback:register(sum, {?MODULE, sum}) end)),
    ?assertEqual({ok, 3}, py_callback:execute(sum, [1, 2])).

%% A program registers its functions once, when it starts, and does not hear of the server.
functions_outlive_a_killed_server(_Config) ->
    Fun = fun(Args) -> Args end,
    ok = py_callback:register(gate, {?MODULE, gate}),
    ok = py_callback:register(kept, Fun),
    Gate = through_gate(self()),
    py_suite:silently(fun() -> py_suite:killed(whereis(py_callback)) end),
    ?assertEqual({ok, Fun}, py_callback:lookup(kept)),
    ?assertEqual({ok, [1]}, py_callback:execute(kept, [1])),
    goes_on(Gate),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_callback:register(new, Fun) =:= ok end)),
    ?assertEqual([{ok, Fun}], lists:usort([py_callback:lookup(Name) || Name <- [kept, new]])),
    ok = py_callback:unregister(kept),
    ?assertEqual({error, not_found}, py_callback:lookup(kept)).

python_finds_the_names_that_are_registered(Config) ->
    Finds = fun() -> py:eval(<<"[hasattr(__import__('erlang'), n) for n in names]">>, #{names => [kept, 'größe', <<"a b">>]}) end,
    ?assertEqual({ok, [false, false, false]}, Finds()),
    [ok = py_callback:register(Name, {?MODULE, sum}) || Name <- ["kept", <<"größe"/utf8>>, 'a b']],
    ?assertEqual({ok, [true, true, true]}, Finds()),
    ok = py_callback:unregister('größe'),
    ?assertEqual({ok, [true, false, true]}, Finds()),
    py_suite:silently(fun() -> py_suite:killed(whereis(py_callback)) end),
    ?assertEqual({ok, [true, false, true]}, Finds()),
    ?assertEqual(ok, py_leaks:eventually(fun() -> py_callback:unregister("a b") =:= ok end)),
    ?assertEqual({ok, [true, false, false]}, Finds()),
    %% Python outlives the application.
    ok = py_suite:restart(Config, #{}),
    ?assertEqual({ok, [false, false, false]}, Finds()).

wrong_names_are_refused(_Config) ->
    Fun = fun(Args) -> Args end,
    Wrong = [
        '',
        <<>>,
        "",
        binary:copy(<<"a">>, 256),
        lists:duplicate(256, 16#20AC),
        binary:copy(<<"a">>, 10_000_000),
        <<255>>,
        <<"a", 16#ED, 16#A0, 16#80>>,
        <<1:7>>,
        [$a | b],
        [-1],
        [16#D800],
        1,
        1.0,
        {a, b},
        #{},
        self()
    ],
    [
        explained(Module, Function, "argument 1: not a name of 1 to 255 characters", Refused)
     || Name <- Wrong,
        {Module, Function, Refused} <- [
            {py_callback, register, fun() -> py_callback:register(Name, Fun) end},
            {py_callback, unregister, fun() -> py_callback:unregister(Name) end},
            {py_callback, lookup, fun() -> py_callback:lookup(Name) end},
            {py_callback, execute, fun() -> py_callback:execute(Name, []) end},
            {py, register_function, fun() -> py:register_function(Name, Fun) end},
            {py, register_function, fun() -> py:register_function(Name, ?MODULE, sum) end},
            {py, unregister_function, fun() -> py:unregister_function(Name) end}
        ]
    ].

wrong_functions_are_refused(_Config) ->
    Wrong = [fun() -> ok end, fun(_, _) -> ok end, sum, {?MODULE, sum, 1}, {"lists", sum}, {lists, <<"sum">>}, undefined],
    [
        explained(py_callback, register, "argument 2: not a fun of one argument, the list", fun() ->
            py_callback:register(name, Function)
        end)
     || Function <- Wrong
    ],
    [
        explained(py, register_function, "argument 2: not a fun of one argument, the list", fun() ->
            py:register_function(name, Function)
        end)
     || Function <- [{lists, sum} | Wrong]
    ],
    explained(py, register_function, "argument 2: not the name of an Erlang module", fun() ->
        py:register_function(name, "lists", sum)
    end),
    explained(py, register_function, "argument 3: not the name of an Erlang function", fun() ->
        py:register_function(name, lists, <<"sum">>)
    end),
    ?assertEqual({error, not_found}, py_callback:lookup(name)).

wrong_arguments_are_refused(_Config) ->
    ok = py_callback:register(length, fun(Args) -> length(Args) end),
    explained(py_callback, execute, "argument 2: not a list of arguments", fun() -> py_callback:execute(length, x) end),
    explained(py_callback, execute, "argument 2: not a proper list", fun() -> py_callback:execute(length, [x | y]) end).

%% As if the call itself had raised it, with words for the shell.
explained(Module, Function, Text, Refused) ->
    try Refused() of
        Result -> ct:fail({gives, Result})
    catch
        error:badarg:Stack ->
            ?assertMatch([{Module, Function, [_ | _], _}, {?MODULE, _, _, _} | _], Stack),
            Said = lists:flatten(erl_error:format_exception(error, badarg, Stack, #{column => 1})),
            ?assertMatch({_, [_ | _]}, {Said, string:find(Said, Text)})
    end.

restart_of_the_application_forgets(Config) ->
    ok = py_callback:register(sum, {?MODULE, sum}),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual({error, not_found}, py_callback:lookup(sum)),
    ?assertEqual({error, {not_found, sum}}, py_callback:execute(sum, [1, 2])),
    ok = py_callback:register(sum, {?MODULE, sum}),
    ?assertEqual({ok, 3}, py_callback:execute(sum, [1, 2])).

everything_is_not_running_without_the_application(_Config) ->
    ok = py_callback:register(sum, {?MODULE, sum}),
    ok = py_suite:stop(),
    ?assertEqual(
        [{error, not_running}],
        lists:usort([
            py_callback:register(sum, {?MODULE, sum}),
            py_callback:unregister(sum),
            py_callback:lookup(sum),
            py_callback:execute(sum, [1, 2]),
            py:register_function(sum, fun(Args) -> Args end),
            py:register_function(sum, ?MODULE, sum),
            py:unregister_function(sum)
        ])
    ),
    %% Wrong is wrong all the same.
    ?assertError(badarg, py_callback:lookup(1)).

storm_of_registrations_leaves_what_was_registered_last(_Config) ->
    Shared = [shared_1, shared_2, shared_3],
    Results = py_suite:concurrently(20, fun(I) ->
        Own = "own_" ++ integer_to_list(I),
        _ = rand:seed(exsss, {I, I, I}),
        [
            begin
                Fun = fun(_) -> {I, J} end,
                ok = py_callback:register(Own, Fun),
                {ok, {I, J}} = py_callback:execute(Own, []),
                Name = lists:nth(rand:uniform(3), Shared),
                _ = [ok = py_callback:register(Name, Fun) || rand:uniform(2) =:= 1],
                _ = [ok = py_callback:unregister(Name) || rand:uniform(2) =:= 1],
                case py_callback:execute(Name, []) of
                    {ok, {_, _}} -> ok;
                    {error, {not_found, Name}} -> ok
                end
            end
         || J <- lists:seq(1, 100)
        ],
        py_callback:execute(Own, [])
    end),
    ?assertEqual([{ok, {I, 100}} || I <- lists:seq(1, 20)], Results).
