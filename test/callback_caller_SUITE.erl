%% Erlang functions that Python code calls: the process that runs them, and the values that cross.
-module(callback_caller_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, gate/0, entered/1, open/2, collect/1, eventually/1, ended/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        function_runs_in_the_process_that_waits,
        every_request_that_waits_has_its_process_run_the_function,
        function_may_change_the_process_that_runs_it,
        mnesia_transaction_of_the_caller_is_joined,
        call_with_a_time_limit_runs_the_function_in_the_caller,
        spawn_call_has_a_supervised_process_run_the_function,
        spawn_call_that_is_awaited_has_another_process_run_the_function,
        cast_has_another_process_run_the_function,
        parallel_has_other_processes_run_the_functions,
        processes_of_their_own_run_at_the_same_time,
        callers_get_what_their_own_functions_give,

        values_of_erlang_come_back_as_they_were,
        values_of_python_come_back_as_they_were,
        objects_come_back_as_the_same_objects,
        large_values_cross,
        many_arguments_and_none,
        value_that_cannot_be_converted_is_an_error_in_python,
        argument_that_cannot_be_converted_is_an_error_before_the_call,
        function_that_is_a_value_can_be_called,

        processes_of_their_own_end
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% Every case has a context of its own.
init_per_testcase(_Case, Config) ->
    py_callbacks:init_case(Config).

end_per_testcase(_Case, Config) ->
    py_callbacks:end_case(Config).

%%% Who runs the function

function_runs_in_the_process_that_waits(Config) ->
    Context = ?config(ctx, Config),
    py_suite:fresh(fun() ->
        Self = self(),
        _ = put(mine, kept),
        ok = logger:set_process_metadata(#{request => 7}),
        Linked = spawn_link(fun() -> receive stop -> ok end end),
        Look = fun([]) ->
            Self = self(),
            kept = get(mine),
            #{request := 7} = logger:get_process_metadata(),
            {links, Links} = process_info(self(), links),
            true = lists:member(Linked, Links),
            {group_leader, Leader} = process_info(self(), group_leader),
            Leader =:= group_leader()
        end,
        offering([{look, Look}], fun() ->
            ?assertEqual({ok, true}, py:call(Context, erlang, call, [look])),
            ?assertEqual({ok, true}, py:call(erlang, look, []))
        end),
        Linked ! stop,
        %% Nothing of ours stays in the process dictionary.
        ?assertEqual([], [Key || {{py_callback, _} = Key, _} <- get()])
    end).

every_request_that_waits_has_its_process_run_the_function(Config) ->
    Context = ?config(ctx, Config),
    Mine = py:context(),
    Self = self(),
    Code = <<
        "import erlang\n"
        "def ask(): return erlang.call('who')\n"
        "class Asks:\n"
        "    @property\n"
        "    def who(self): return ask()\n"
        "    def ask(self): return ask()\n"
        "    def __len__(self): return 1\n"
        "    def __contains__(self, item): return False\n"
        "    def __iter__(self): return iter([ask()])\n"
        "asks = Asks()\n"
    >>,
    [ok = py:exec(Where, Code) || Where <- [Context, Mine]],
    {ok, Ref} = py:eval(Context, <<"asks">>),
    {ok, Environment} = py_context:create_local_env(Context),
    ok = py_context:exec(Context, Code, Environment),
    Requests = [
        fun() -> py:call('__main__', ask, []) end,
        fun() -> py:call('__main__', ask, [], #{}) end,
        fun() -> py:call('__main__', ask, [], #{}, 20_000) end,
        fun() -> py:call(default, '__main__', ask, []) end,
        fun() -> py:call(Context, '__main__', ask, []) end,
        fun() -> py:call(Context, '__main__', ask, [], #{timeout => 20_000}) end,
        fun() -> py:eval(<<"ask()">>) end,
        fun() -> py:eval(<<"ask()">>, #{a => 1}) end,
        fun() -> py:eval(Context, <<"ask()">>) end,
        fun() -> py:eval(Context, <<"ask()">>, #{a => 1}) end,
        fun() -> {py:exec(<<"answer = ask()">>), py:eval(<<"answer">>)} end,
        fun() -> {py:exec(Context, <<"answer = ask()">>), py:eval(Context, <<"answer">>)} end,
        fun() -> py_context:call(Context, '__main__', ask, []) end,
        fun() -> py_context:call(Context, '__main__', ask, [], #{}, infinity, Environment) end,
        fun() -> py_context:eval(Context, <<"ask()">>, #{}, infinity, Environment) end,
        fun() -> py_context:exec(Context, <<"assert ask()">>, Environment) end,
        fun() -> py_context:call_method(Context, Ref, ask, []) end,
        fun() -> py:getattr(Ref, who) end,
        fun() -> py:call_method(Ref, ask, []) end,
        fun() -> py:to_term(Ref) end
    ],
    Who = fun([]) -> Self ! {ran, self()}, true end,
    offering([{who, Who}], fun() ->
        [
            begin
                ?assertMatch({N, {ok, _}}, {N, as_result(Request())}),
                ?assertEqual({N, [Self]}, {N, collect(ran)})
            end
         || {N, Request} <- lists:zip(lists:seq(1, length(Requests)), Requests)
        ]
    end),
    ok.

as_result({ok, {ok, _} = Result}) -> Result;
as_result(ok) -> {ok, none};
as_result(Result) -> Result.

function_may_change_the_process_that_runs_it(Config) ->
    Context = ?config(ctx, Config),
    py_suite:fresh(fun() ->
        Change = fun([]) ->
            _ = put(mine, changed),
            _ = process_flag(trap_exit, true),
            true = register(callback_suite_process, self()),
            spawn_link(fun() -> receive stop -> ok end end)
        end,
        offering([{change, Change}], fun() ->
            {ok, Linked} = py:call(Context, erlang, call, [change]),
            ?assertEqual(changed, get(mine)),
            ?assertEqual({trap_exit, true}, process_info(self(), trap_exit)),
            ?assertEqual(self(), whereis(callback_suite_process)),
            ?assert(lists:member(Linked, element(2, process_info(self(), links)))),
            Linked ! stop,
            receive
                {'EXIT', Linked, normal} -> ok
            end
        end)
    end).

mnesia_transaction_of_the_caller_is_joined(Config) ->
    Context = ?config(ctx, Config),
    ok = mnesia:start(),
    try
        {atomic, ok} = mnesia:create_table(ct_accounts, [{attributes, [name, balance]}]),
        {atomic, ok} = mnesia:transaction(fun() -> mnesia:write({ct_accounts, <<"a">>, 1}) end),
        Read = fun([Name]) -> [{_, _, Balance}] = mnesia:read(ct_accounts, Name), Balance end,
        Write = fun([Name, Balance]) -> mnesia:write({ct_accounts, Name, Balance}) end,
        ok = py:exec(Context, <<
            "import erlang\n"
            "def move(source, target, amount):\n"
            "    erlang.call('write', target, amount)\n"
            "    erlang.call('write', source, erlang.call('read', source) - amount)\n"
            "    return erlang.call('read', source), erlang.call('read', target)\n"
        >>),
        offering([{read, Read}, {write, Write}], fun() ->
            Transaction = fun(End) ->
                mnesia:transaction(fun() ->
                    true = mnesia:is_transaction(),
                    {ok, Balances} = py:call(Context, '__main__', move, [<<"a">>, <<"b">>, 5]),
                    End(Balances)
                end)
            end,
            ?assertEqual({aborted, why}, Transaction(fun(_) -> mnesia:abort(why) end)),
            ?assertEqual([], mnesia:dirty_read(ct_accounts, <<"b">>)),
            ?assertEqual({atomic, {-4, 5}}, Transaction(fun(Balances) -> Balances end)),
            ?assertEqual([{ct_accounts, <<"b">>, 5}], mnesia:dirty_read(ct_accounts, <<"b">>)),
            %% Without a transaction Mnesia refuses.
            ?assertMatch({error, {exit, {aborted, no_transaction}}}, py:call(Context, erlang, read, [<<"a">>]))
        end)
    after
        py_suite:silently(fun mnesia:stop/0)
    end.

call_with_a_time_limit_runs_the_function_in_the_caller(Config) ->
    Context = ?config(ctx, Config),
    Self = self(),
    offering([{who, fun([]) -> self() =:= Self end}], fun() ->
        [
            ?assertEqual({ok, true}, py:call(Context, erlang, call, [who], #{timeout => 20_000}))
         || _ <- lists:seq(1, 100)
        ]
    end),
    ok.

%% What a function tells about the process that runs it.
teller() ->
    Test = self(),
    fun(Args) ->
        Test ! {ran, {self(), get('$ancestors'), Args}},
        told
    end.

spawn_call_has_a_supervised_process_run_the_function(Config) ->
    Context = ?config(ctx, Config),
    offering([{tell, teller()}], fun() ->
        Ref = py:spawn_call(Context, erlang, call, [tell, 1]),
        receive
            {py_response, Ref, Result} -> ?assertEqual({ok, <<"told">>}, Result)
        end,
        [{Pid, Ancestors, [1]}] = collect(ran),
        ?assertNotEqual(self(), Pid),
        ?assert(lists:member(erlang_python_sup, Ancestors)),
        ended(Pid),
        ?assertEqual({ok, <<"told">>}, py:await(py:spawn_call(erlang, tell, [2]))),
        [{Other, _, [2]}] = collect(ran),
        ?assertNotEqual(Pid, Other)
    end).

spawn_call_that_is_awaited_has_another_process_run_the_function(Config) ->
    py_suite:fresh(fun() ->
        Test = self(),
        offering([{tell, gate()}], fun() ->
            Ref = py:spawn_call(?config(ctx, Config), erlang, call, [tell]),
            Helper = spawn_link(fun() ->
                receive
                    {entered, Pid} ->
                        %% Now the other one waits for its answer.
                        eventually(fun() -> process_info(Test, status) =:= {status, waiting} end),
                        open(Pid, waited)
                end
            end),
            Pid = entered([]),
            ?assertNotEqual(Test, Pid),
            Helper ! {entered, Pid},
            ?assertEqual({ok, <<"waited">>}, py:await(Ref)),
            unlink(Helper)
        end)
    end).

cast_has_another_process_run_the_function(Config) ->
    Context = ?config(ctx, Config),
    offering([{tell, teller()}], fun() ->
        %% Also when the sender has ended.
        py_suite:fresh(fun() -> ok = py:cast(Context, erlang, call, [tell, 1]) end),
        {Pid, Ancestors, [1]} = receive {ran, What} -> What end,
        ?assertNotEqual(self(), Pid),
        ?assert(lists:member(erlang_python_sup, Ancestors)),
        ok = py:cast(Context, erlang, tell, [2]),
        receive {ran, {_, _, [2]}} -> ok end
    end).

parallel_has_other_processes_run_the_functions(_Config) ->
    offering([{tell, teller()}], fun() ->
        {ok, Results} = py:parallel([{erlang, tell, [I]} || I <- lists:seq(1, 10)]),
        ?assertEqual([{ok, <<"told">>}], lists:usort(Results)),
        Ran = collect(ran),
        ?assertEqual([[I] || I <- lists:seq(1, 10)], lists:sort([Args || {_, _, Args} <- Ran])),
        ?assertNot(lists:keymember(self(), 1, Ran))
    end).

processes_of_their_own_run_at_the_same_time(Config) ->
    Context = ?config(ctx, Config),
    Other = py_suite:new_context(Config),
    offering([{wait, gate()}], fun() ->
        Refs = [py:spawn_call(Where, erlang, call, [wait, I]) || {I, Where} <- [{1, Context}, {2, Other}]],
        [First, Second] = [entered([I]) || I <- [1, 2]],
        ?assertNotEqual(First, Second),
        open(Second, second),
        open(First, first),
        ?assertEqual([{ok, <<"first">>}, {ok, <<"second">>}], [py:await(Ref) || Ref <- Refs])
    end),
    ok = py_context:stop(Other).

callers_get_what_their_own_functions_give(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_twice", <<
        "import erlang\ndef twice(v): return erlang.call('whose', v), erlang.call('whose', v)\n"
    >>),
    offering([{whose, fun([V]) -> {get(me), V} end}], fun() ->
        Wrong = py_suite:concurrently(50, fun(I) ->
            _ = put(me, I),
            [
                {I, J, Other}
             || J <- lists:seq(1, 25),
                {Expected, Other} <- [
                    {{{I, J}, {I, J}}, py:call(Context, ct_twice, twice, [J])},
                    {{I, J}, py:call(erlang, whose, [J])},
                    {{none, J}, py:await(py:spawn_call(Context, erlang, whose, [J]))}
                ],
                Other =/= {ok, Expected}
            ] ++ py_suite:flush()
        end),
        ?assertEqual([], lists:append(Wrong))
    end).

processes_of_their_own_end(Config) ->
    Context = ?config(ctx, Config),
    offering([{tell, teller()}, {fail, fun(_) -> exit(why) end}], fun() ->
        Refs = [py:spawn_call(Context, erlang, tell, [I]) || I <- lists:seq(1, 100)],
        [?assertEqual({ok, <<"told">>}, py:await(Ref)) || Ref <- Refs],
        Ran = [Pid || {Pid, _, _} <- collect(ran)],
        ?assertEqual(100, length(Ran)),
        [ended(Pid) || Pid <- Ran],
        %% One that fails is no report of a crash.
        Log = py_suite:capture_log(),
        ?assertEqual({error, {exit, why}}, py:await(py:spawn_call(Context, erlang, fail, []))),
        py_suite:release_log(Log),
        ?assertEqual([], py_suite:flush())
    end).

%%% Values

same(Context, Value) ->
    ?assertEqual({ok, Value}, py:call(Context, erlang, call, [identity, Value])).

values_of_erlang_come_back_as_they_were(Config) ->
    Context = ?config(ctx, Config),
    Values = [
        0, -1, 1 bsl 62, -(1 bsl 64), 1 bsl 4000, 0.0, -1.5, 1.0e300, true, false, none,
        <<>>, <<"text">>, <<"größe"/utf8>>, <<0, 255>>, [], [1, [2.0, [<<"3">>]]], {}, {1, {<<"a">>}},
        #{}, #{<<"k">> => [#{1 => {}}]}, self(), make_ref(), hd(erlang:ports()), fun lists:reverse/1,
        fun(X) -> {X, Context} end
    ],
    Test = self(),
    Identity = fun([Value]) -> Test ! {got, Value}, Value end,
    offering([{identity, Identity}], fun() ->
        [
            begin
                same(Context, Value),
                ?assertEqual([Value], collect(got))
            end
         || Value <- [Values | Values]
        ]
    end),
    %% What Erlang alone has becomes in Python what it always becomes.
    Gives = [{an_atom, <<"an_atom">>}, {undefined, none}, {nil, none}, {"ab", [97, 98]}, {{bytes, <<"b">>}, <<"b">>}],
    [
        offering([{give, fun([]) -> Value end}], fun() ->
            ?assertEqual({ok, Expected}, py:call(Context, erlang, give, []))
        end)
     || {Value, Expected} <- Gives
    ],
    ok.

values_of_python_come_back_as_they_were(Config) ->
    Context = ?config(ctx, Config),
    offering([{identity, fun([Value]) -> Value end}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "values = [0, 10**100, 1.5, True, False, None, '', 'größe', b'\\xff', [], [1, [2]], (), (1, ('a',)), {},\n"
            "          {'k': [{1: ()}]}]\n"
            "wrong = [(value, back) for value in values for back in [erlang.call('identity', value)]\n"
            "         if back != value or type(back) is not type(value)]\n"
            "assert not wrong, wrong\n"
            "assert erlang.call('identity', values) == values\n"
            "assert erlang.call('identity', {1}) == [1]\n"
            "assert erlang.call('identity', float('inf')) == 'infinity'\n"
            "assert erlang.call('identity', erlang.atom('an_atom')) == 'an_atom'\n"/utf8
        >>)
    end).

objects_come_back_as_the_same_objects(Config) ->
    Context = ?config(ctx, Config),
    Keep = fun([Value]) -> put(callback_kept, Value), none end,
    Kept = fun([]) -> get(callback_kept) end,
    offering([{identity, fun([Value]) -> Value end}, {keep, Keep}, {kept, Kept}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "class Thing: pass\n"
            "thing = Thing()\n"
            "assert erlang.call('identity', thing) is thing\n"
            "assert erlang.call('identity', [thing, Thing])[1] is Thing\n"
            "erlang.call('keep', Thing())\n"
        >>),
        ?assert(py:is_ref(get(callback_kept))),
        ok = py:exec(Context, <<"assert isinstance(erlang.call('kept'), Thing)">>)
    end),
    _ = erase(callback_kept),
    ok.

large_values_cross(Config) ->
    Context = ?config(ctx, Config),
    Values = [
        binary:copy(<<"x">>, 10_000_000), binary:copy(<<255>>, 10_000_000), lists:seq(1, 100_000),
        maps:from_list([{I, integer_to_binary(I)} || I <- lists:seq(1, 10_000)]), 1 bsl 1_000_000
    ],
    offering([{identity, fun([Value]) -> Value end}], fun() ->
        [?assert({ok, Value} =:= py:call(Context, erlang, call, [identity, Value])) || Value <- Values]
    end),
    ok.

many_arguments_and_none(Config) ->
    Context = ?config(ctx, Config),
    offering([{args, fun(Args) -> Args end}], fun() ->
        ?assertEqual({ok, []}, py:call(Context, erlang, args, [])),
        ?assertEqual({ok, [none]}, py:call(Context, erlang, args, [none])),
        Many = lists:seq(1, 10_000),
        ?assertEqual({ok, Many}, py:call(Context, erlang, args, Many)),
        ?assertEqual({ok, Many}, py:eval(Context, <<"__import__('erlang').call('args', *range(1, 10001))">>))
    end).

value_that_cannot_be_converted_is_an_error_in_python(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    Values = [{[a | b], 'TypeError'}, {<<1:3>>, 'TypeError'}, {#{1 => a, 1.0 => b}, 'ValueError'}],
    [
        offering([{give, fun([]) -> Test ! {ran, self()}, Value end}], fun() ->
            ?assertMatch({error, {Class, _}}, py:call(Context, erlang, call, [give])),
            ?assertEqual([Test], collect(ran)),
            ok = py:exec(Context, [
                "import erlang\ntry: erlang.call('give')\nexcept ", atom_to_list(Class), ": caught = True\n"
            ]),
            ?assertMatch({error, {Class, _}}, py:await(py:spawn_call(Context, erlang, call, [give]))),
            [_, _] = collect(ran)
        end)
     || {Value, Class} <- Values
    ],
    ok.

argument_that_cannot_be_converted_is_an_error_before_the_call(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    offering([{never, fun(Args) -> Test ! {called, Args} end}], fun() ->
        ?assertMatch(
            {error, {'UnicodeEncodeError', _}}, py:eval(Context, <<"__import__('erlang').call('never', '\\ud800')">>)
        ),
        ?assertEqual([], collect(called)),
        %% Converting runs code of the object.
        ok = py:exec(Context, <<
            "import erlang\n"
            "class Fails:\n"
            "    def __erlang_term__(self): raise KeyError('why')\n"
            "try: erlang.call('never', Fails())\n"
            "except KeyError: caught = True\n"
        >>),
        ?assertEqual({ok, true}, py:eval(Context, <<"caught">>))
    end),
    ?assertEqual([], collect(called)).

function_that_is_a_value_can_be_called(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    _ = put(mine, kept),
    Fun = fun(A, B) -> {self() =:= Test, get(mine), A, B} end,
    ok = py:exec(Context, <<
        "def apply(f, *args): return f(*args)\n"
        "def after(f): return [f(i, i) for i in range(2)]\n"
    >>),
    ?assertEqual({ok, {true, <<"kept">>, 1, 2}}, py:call(Context, '__main__', apply, [Fun, 1, 2])),
    ?assertEqual(
        {ok, [{true, <<"kept">>, 0, 0}, {true, <<"kept">>, 1, 1}]}, py:call(Context, '__main__', 'after', [Fun])
    ),
    ?assertEqual({ok, [3, 2, 1]}, py:call(Context, '__main__', apply, [fun lists:reverse/1, [1, 2, 3]])),
    ?assertEqual({error, {error, {badarity, {Fun, [1]}}}}, py:call(Context, '__main__', apply, [Fun, 1])),
    ?assertEqual(
        {ok, {false, none, 1, 2}}, py:await(py:spawn_call(Context, '__main__', apply, [Fun, 1, 2]))
    ),
    _ = erase(mine),
    ok.
