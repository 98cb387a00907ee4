%% Erlang functions that Python code calls: their names, who runs them, what becomes of them when somebody dies.
-module(callback_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, gate/0, entered/1, open/2, collect/1]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        registered_function_is_found_by_its_name,
        function_registered_later_is_found,
        function_registered_anew_replaces_the_old_one,
        unregistered_function_is_gone,
        missing_names_are_what_python_users_expect,
        names_may_be_unicode_and_long,
        name_that_is_no_text_is_a_type_error,
        keyword_arguments_are_a_type_error_that_says_so,
        module_and_function_are_called_with_one_list,
        changed_code_of_a_module_is_run,
        names_are_looked_up_in_erlang_too,
        bad_registrations_are_badarg,

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

        functions_of_all_kinds_can_call,
        operators_and_protocols_can_call,
        generators_can_call,
        finalisers_can_call,
        hooks_can_call,
        conversion_of_a_result_can_call,
        text_of_an_exception_can_call,
        module_can_call_while_it_is_imported,
        exit_handler_gets_a_clear_error,
        finaliser_of_a_dead_process_s_object_can_call,

        function_may_register_and_unregister_others,
        contexts_can_be_made_and_stopped_inside_a_function,
        function_unregistered_during_the_call_answers,
        waiting_process_killed_inside_a_function_interrupts_python,
        exit_signal_ends_the_process_inside_a_function,
        context_killed_during_the_call_lets_the_function_end,
        context_stopped_during_the_call_lets_the_function_end,
        function_may_stop_its_own_context,
        answer_for_a_dead_context_is_dropped,
        application_stopped_during_the_call_lets_the_function_end,
        function_may_stop_the_application,
        process_of_its_own_killed_is_an_exit_in_python,
        process_of_its_own_that_gets_an_exit_signal_tells_its_reason,

        interrupt_during_the_call_ends_python_and_not_the_function,
        interrupt_can_be_caught_and_the_next_call_works,
        cancel_during_the_call_ends_python_and_not_the_function,
        death_of_the_spawner_during_the_call_ends_python,

        messages_of_the_process_stay_as_they_are,
        nothing_is_left_in_the_mailbox,
        functions_may_receive_messages,
        callbacks_need_no_permit_and_little_room,
        processes_of_their_own_end,
        callbacks_leave_nothing_behind
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% Every case has a context of its own.
init_per_testcase(_Case, Config) ->
    Context = py_suite:new_context(Config),
    ok = py_callbacks:install(Context),
    [{ctx, Context}, {socket, py_suite:open()} | Config].

%% The cases that stop the application get it started again.
end_per_testcase(Case, Config) when
    Case =:= application_stopped_during_the_call_lets_the_function_end;
    Case =:= function_may_stop_the_application;
    Case =:= callbacks_need_no_permit_and_little_room
->
    py_suite:close(?config(socket, Config)),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual([], py_suite:flush());
end_per_testcase(_Case, Config) ->
    py_suite:close(?config(socket, Config)),
    ok = py_suite:both_answer(Config),
    ok = py_context:stop(?config(ctx, Config)),
    ?assertEqual([], py_suite:flush()).

eventually(Fun) ->
    ?assertEqual(ok, py_leaks:eventually(Fun)).

signal(Config, Tag) ->
    _ = py_suite:await_signal(?config(socket, Config), Tag),
    ok.

%% A process that calls a function from a frame which tells how it was left.
guarded_caller(Config, Context, Tag, Name) ->
    Port = py_suite:port(?config(socket, Config)),
    py_suite:spawn_caller(fun() ->
        {py:call(Context, ct_frames, guarded, [Port, Tag, Name]), py_suite:flush()}
    end).

guarded_spawn(Config, Tag, Name) ->
    py:spawn_call(?config(ctx, Config), ct_frames, guarded, [py_suite:port(?config(socket, Config)), Tag, Name]).

ended(Pid) ->
    Monitor = monitor(process, Pid),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after 30_000 -> ct:fail({lives_on, Pid, process_info(Pid)})
    end.

%%% Names

sum(Numbers) -> lists:sum(Numbers).

registered_function_is_found_by_its_name(Config) ->
    Context = ?config(ctx, Config),
    offering([{add, fun([A, B]) -> A + B end}, {<<"mul">>, fun([A, B]) -> A * B end}], fun() ->
        ?assertEqual({ok, 3}, py:call(Context, erlang, call, [add, 1, 2])),
        ?assertEqual({ok, 3}, py:call(Context, erlang, add, [1, 2])),
        ?assertEqual({ok, 3}, py:call(erlang, add, [1, 2])),
        ok = py:exec(Context, <<
            "import erlang\n"
            "from erlang import add, mul as times\n"
            "results = [erlang.call('add', 1, 2), erlang.add(3, 4), add(5, 6), times(7, 8), erlang.mul(9, 10)]\n"
        >>),
        ?assertEqual({ok, [3, 7, 11, 56, 90]}, py:eval(Context, <<"results">>))
    end).

function_registered_later_is_found(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "before = hasattr(erlang, 'later')\n"
        "def use(): return erlang.later(1)\n"
        "def fetch():\n"
        "    from erlang import later\n"
        "    return later(2)\n"
    >>),
    ?assertEqual({ok, false}, py:eval(Context, <<"before">>)),
    ?assertMatch({error, {'AttributeError', _}}, py:call(Context, '__main__', use, [])),
    ?assertMatch({error, {'ImportError', _}}, py:call(Context, '__main__', fetch, [])),
    offering([{later, fun([N]) -> N + 1 end}], fun() ->
        ?assertEqual({ok, 2}, py:call(Context, '__main__', use, [])),
        ?assertEqual({ok, 3}, py:call(Context, '__main__', fetch, [])),
        ?assertEqual({ok, true}, py:eval(Context, <<"hasattr(erlang, 'later')">>))
    end).

function_registered_anew_replaces_the_old_one(Config) ->
    Context = ?config(ctx, Config),
    offering([{version, fun([]) -> 1 end}], fun() ->
        ok = py:exec(Context, <<"from erlang import version">>),
        ?assertEqual({ok, 1}, py:eval(Context, <<"version()">>)),
        ok = py:register_function(version, fun([]) -> 2 end),
        ?assertEqual({ok, 2}, py:eval(Context, <<"version()">>)),
        ?assertEqual({ok, 2}, py:call(Context, erlang, version, [])),
        %% The name is one, whether an atom or a binary.
        ok = py:register_function(<<"version">>, fun([]) -> 3 end),
        ?assertEqual({ok, 3}, py:call(Context, erlang, call, [version]))
    end).

unregistered_function_is_gone(Config) ->
    Context = ?config(ctx, Config),
    offering([{fleeting, fun([]) -> here end}], fun() ->
        ok = py:exec(Context, <<"import erlang\nfrom erlang import fleeting">>),
        ?assertEqual({ok, <<"here">>}, py:eval(Context, <<"fleeting()">>))
    end),
    ?assertEqual({error, {error, {not_registered, <<"fleeting">>}}}, py:eval(Context, <<"fleeting()">>)),
    ?assertMatch({error, {'AttributeError', _}}, py:eval(Context, <<"erlang.fleeting()">>)),
    ?assertMatch({error, {'ImportError', _}}, py:exec(Context, <<"from erlang import fleeting">>)),
    ?assertEqual(ok, py:unregister_function(fleeting)).

missing_names_are_what_python_users_expect(Config) ->
    Context = ?config(ctx, Config),
    Text = py_suite:error_text('AttributeError', py:call(Context, erlang, no_such_function, [])),
    py_suite:contains(Text, "no_such_function"),
    ?assertEqual(
        {error, {error, {not_registered, <<"no_such_function">>}}},
        py:call(Context, erlang, call, [no_such_function])
    ),
    ok = py:exec(Context, <<
        "import erlang\n"
        "try:\n"
        "    erlang.call('no_such_function')\n"
        "except erlang.ErlangError as error:\n"
        "    caught = error\n"
        "try:\n"
        "    from erlang import no_such_function\n"
        "except ImportError as error:\n"
        "    refused = str(error)\n"
    >>),
    ?assertEqual({ok, <<"error">>}, py:eval(Context, <<"caught.kind">>)),
    ?assertEqual({ok, {<<"not_registered">>, <<"no_such_function">>}}, py:eval(Context, <<"caught.reason">>)),
    ?assertEqual({ok, true}, py:eval(Context, <<"'no_such_function' in str(caught)">>)),
    ?assertEqual({ok, true}, py:eval(Context, <<"'no_such_function' in refused">>)),
    ?assertEqual({ok, none}, py:eval(Context, <<"getattr(erlang, 'no_such_function', None)">>)),
    %% What is there already stays what it was.
    ?assertEqual({ok, <<"erlang">>}, py:eval(Context, <<"erlang.__name__">>)).

names_may_be_unicode_and_long(Config) ->
    Context = ?config(ctx, Config),
    Long = binary:copy(<<"x">>, 255),
    Names = [<<"größe"/utf8>>, <<"数"/utf8>>, <<"with space">>, <<"with.dot">>, Long],
    offering([{Name, fun([]) -> Name end} || Name <- Names], fun() ->
        [?assertEqual({ok, Name}, py:call(Context, erlang, call, [Name])) || Name <- Names],
        ok = py:exec(Context, <<"import erlang\nresult = erlang.größe(), erlang.数()"/utf8>>),
        ?assertEqual({ok, {<<"größe"/utf8>>, <<"数"/utf8>>}}, py:eval(Context, <<"result">>)),
        ?assertEqual({ok, Long}, py:eval(Context, <<"getattr(erlang, 'x' * 255)()">>))
    end),
    ?assertMatch({error, {_, _}}, py:call(Context, erlang, call, [binary:copy(<<"x">>, 256)])),
    ?assertMatch({error, {_, _}}, py:call(Context, erlang, call, [binary:copy(<<"x">>, 10_000_000)])).

name_that_is_no_text_is_a_type_error(Config) ->
    Context = ?config(ctx, Config),
    [
        ?assertMatch({error, {'TypeError', _}}, py:eval(Context, <<"__import__('erlang').call(", Args/binary, ")">>))
     || Args <- [<<"">>, <<"1">>, <<"None">>, <<"b'sum'">>, <<"['sum']">>]
    ],
    %% Nor one that no Erlang text can be, whose look-up is one of any name that is not there.
    ?assertMatch({error, {'UnicodeEncodeError', _}}, py:eval(Context, <<"__import__('erlang').call('\\ud800')">>)),
    ?assertEqual({ok, false}, py:eval(Context, <<"hasattr(__import__('erlang'), '\\ud800')">>)).

keyword_arguments_are_a_type_error_that_says_so(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    offering([{never, fun(Args) -> Test ! {called, Args} end}], fun() ->
        ok = py:exec(Context, <<"import erlang\nfrom erlang import never">>),
        [
            py_suite:contains(py_suite:error_text('TypeError', py:eval(Context, Call)), "keyword")
         || Call <- [<<"erlang.call('never', 1, a=2)">>, <<"erlang.never(a=2)">>, <<"never(1, b=3)">>]
        ]
    end),
    ?assertEqual([], collect(called)).

module_and_function_are_called_with_one_list(Config) ->
    Context = ?config(ctx, Config),
    ok = py:register_function(ct_sum, ?MODULE, sum),
    ok = py:register_function(<<"ct_length">>, erlang, length),
    ?assertEqual({ok, 6}, py:call(Context, erlang, ct_sum, [1, 2, 3])),
    ?assertEqual({ok, 0}, py:call(Context, erlang, ct_sum, [])),
    ?assertEqual({ok, 2}, py:call(Context, erlang, ct_length, [[], []])),
    ok = py:register_function(ct_sum, ?MODULE, no_such_function),
    ?assertEqual({error, {error, undef}}, py:call(Context, erlang, ct_sum, [1])),
    ok = py:unregister_function(ct_sum),
    ok = py:unregister_function(<<"ct_length">>).

changed_code_of_a_module_is_run(Config) ->
    Context = ?config(ctx, Config),
    Load = fun(Value) ->
        Forms = [
            {attribute, 1, module, callback_SUITE_loaded},
            {attribute, 1, export, [{value, 1}]},
            {function, 1, value, 1, [{clause, 1, [{var, 1, '_'}], [], [{integer, 1, Value}]}]}
        ],
        {ok, Module, Binary} = compile:forms(Forms),
        {module, Module} = code:load_binary(Module, "callback_SUITE_loaded.erl", Binary)
    end,
    _ = Load(1),
    ok = py:register_function(ct_value, callback_SUITE_loaded, value),
    ?assertEqual({ok, 1}, py:call(Context, erlang, ct_value, [])),
    _ = Load(2),
    ?assertEqual({ok, 2}, py:call(Context, erlang, ct_value, [])),
    _ = code:purge(callback_SUITE_loaded),
    true = code:delete(callback_SUITE_loaded),
    _ = code:purge(callback_SUITE_loaded),
    ?assertEqual({error, {error, undef}}, py:call(Context, erlang, ct_value, [])),
    ok = py:unregister_function(ct_value).

names_are_looked_up_in_erlang_too(_Config) ->
    Double = fun([N]) -> 2 * N end,
    ?assertEqual({error, not_found}, py_callback:lookup(double)),
    ?assertEqual({error, {not_found, double}}, py_callback:execute(double, [4])),
    ok = py_callback:register(double, Double),
    ?assertEqual({ok, Double}, py_callback:lookup(double)),
    ?assertEqual({ok, Double}, py_callback:lookup(<<"double">>)),
    ?assertEqual({ok, 8}, py_callback:execute(double, [4])),
    ?assertMatch({error, {error, badarith, [_ | _]}}, py_callback:execute(double, [four])),
    ok = py_callback:unregister(double),
    ?assertEqual({error, not_found}, py_callback:lookup(double)),
    ok = py_callback:register(ct_sum, {?MODULE, sum}),
    ?assertEqual({ok, {?MODULE, sum}}, py_callback:lookup(ct_sum)),
    ?assertEqual({ok, 3}, py_callback:execute(ct_sum, [1, 2])),
    ok = py_callback:unregister(ct_sum).

bad_registrations_are_badarg(_Config) ->
    Fun = fun(_) -> ok end,
    [
        ?assertError(badarg, py:register_function(Name, Function))
     || {Name, Function} <- [
            {[], Fun}, {[-1], Fun}, {1, Fun}, {<<255>>, Fun}, {<<>>, Fun}, {binary:copy(<<"x">>, 256), Fun},
            {name, fun() -> ok end}, {name, fun(_, _) -> ok end}, {name, function}, {name, {m, f, 1}}
        ]
    ],
    ?assertError(badarg, py:register_function(name, "module", function)),
    ?assertError(badarg, py:register_function(name, module, <<"function">>)),
    ?assertError(badarg, py:unregister_function(1)),
    ?assertEqual({error, not_found}, py_callback:lookup(name)).

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

%%% Where in Python

%% Runs code in which `ask(tag)' calls Erlang; the tags in the order of the calls.
asked(Config, Code) ->
    Context = ?config(ctx, Config),
    Test = self(),
    Ask = fun([Tag]) ->
        Test ! {asked, {self() =:= Test, Tag}},
        Tag
    end,
    offering([{ask, Ask}], fun() ->
        ?assertEqual(ok, py:exec(Context, [<<"import erlang\nfrom erlang import ask\n">>, Code]))
    end),
    Asked = collect(asked),
    ?assertEqual([], [Tag || {false, Tag} <- Asked]),
    [Tag || {true, Tag} <- Asked].

functions_of_all_kinds_can_call(Config) ->
    ?assertEqual(
        [
            <<"function">>, <<"default">>, <<"lambda">>, <<"closure">>, <<"method">>, <<"class">>, <<"static">>,
            <<"property">>, <<"init">>, <<"call">>, <<"nested">>, <<"decorated">>, 0, 1, 2, <<"partial">>,
            <<"class body">>
        ],
        asked(Config, <<
            "import functools\n"
            "def function(value=None): return ask('function')\n"
            "function()\n"
            "def default(value=ask('default')): pass\n"
            "default()\n"
            "(lambda: ask('lambda'))()\n"
            "def outer():\n"
            "    tag = 'closure'\n"
            "    def inner(): return ask(tag)\n"
            "    return inner\n"
            "outer()()\n"
            "class Thing:\n"
            "    def method(self): return ask('method')\n"
            "    @classmethod\n"
            "    def make(cls): return ask('class')\n"
            "    @staticmethod\n"
            "    def plain(): return ask('static')\n"
            "    @property\n"
            "    def value(self): return ask('property')\n"
            "    def __call__(self): return ask('call')\n"
            "class Other(Thing):\n"
            "    def __init__(self): ask('init')\n"
            "thing = Thing()\n"
            "thing.method(); Thing.make(); Thing.plain(); thing.value; Other()()\n"
            "def nested(): return eval(\"ask('nested')\")\n"
            "nested()\n"
            "@functools.lru_cache\n"
            "def decorated(): return ask('decorated')\n"
            "decorated(); decorated()\n"
            "assert [ask(i) for i in range(3)] == [0, 1, 2]\n"
            "functools.partial(ask, 'partial')()\n"
            "class Body:\n"
            "    value = ask('class body')\n"
        >>)
    ).

operators_and_protocols_can_call(Config) ->
    ?assertEqual(
        [
            <<"enter">>, <<"exit">>, <<"eq">>, <<"hash">>, <<"getattr">>, <<"getitem">>, <<"add">>, <<"str">>,
            2, 1, 3, <<"reduce">>, <<"meta">>, <<"set_name">>, <<"handler">>, <<"finally">>, <<"replaced">>
        ],
        asked(Config, <<
            "import functools, re\n"
            "class Thing:\n"
            "    def __enter__(self): ask('enter')\n"
            "    def __exit__(self, *what): ask('exit')\n"
            "    def __eq__(self, other): return ask('eq') == 'eq'\n"
            "    def __hash__(self): return len(ask('hash'))\n"
            "    def __getattr__(self, name): return ask('getattr')\n"
            "    def __getitem__(self, key): return ask('getitem')\n"
            "    def __add__(self, other): return ask('add')\n"
            "    def __str__(self): return ask('str')\n"
            "thing = Thing()\n"
            "with thing: pass\n"
            "assert thing == 1\n"
            "table = {thing: 1}\n"
            "thing.missing; thing[1]; thing + 1; f'{thing}'\n"
            "assert sorted([2, 1, 3], key=lambda x: -ask(x)) == [3, 2, 1]\n"
            "functools.reduce(lambda a, b: ask('reduce'), [1, 2])\n"
            "class Meta(type):\n"
            "    def __call__(cls): return ask('meta')\n"
            "class Made(metaclass=Meta): pass\n"
            "Made()\n"
            "class Named:\n"
            "    def __set_name__(self, owner, name): ask('set_name')\n"
            "class Owner: field = Named()\n"
            "try:\n"
            "    1 / 0\n"
            "except ZeroDivisionError:\n"
            "    ask('handler')\n"
            "finally:\n"
            "    ask('finally')\n"
            "assert re.sub('a', lambda m: ask('replaced'), 'a') == 'replaced'\n"
        >>)
    ).

generators_can_call(Config) ->
    ?assertEqual(
        [1, 2, <<"after">>, 10, 11, <<"sent">>, <<"thrown">>, <<"closed">>, <<"dropped">>, <<"coroutine">>],
        asked(Config, <<
            "def numbers():\n"
            "    yield ask(1)\n"
            "    yield ask(2)\n"
            "    ask('after')\n"
            "assert list(numbers()) == [1, 2]\n"
            "def outer():\n"
            "    yield from (ask(n) for n in (10, 11))\n"
            "assert sum(outer()) == 21\n"
            "def consumer():\n"
            "    while True:\n"
            "        try: ask((yield))\n"
            "        except KeyError: ask('thrown')\n"
            "        except GeneratorExit:\n"
            "            ask('closed')\n"
            "            return\n"
            "c = consumer(); next(c); c.send('sent'); c.throw(KeyError()); c.close()\n"
            "def dropped():\n"
            "    try: yield 1\n"
            "    finally: ask('dropped')\n"
            "d = dropped(); next(d); del d\n"
            "async def coroutine(): return ask('coroutine')\n"
            "try: coroutine().send(None)\n"
            "except StopIteration as stop: assert stop.value == 'coroutine'\n"
        >>)
    ).

finalisers_can_call(Config) ->
    ?assertEqual(
        [<<"del">>, <<"cycle">>, <<"finalize">>, <<"weakref">>],
        asked(Config, <<
            "import gc, weakref\n"
            "class Mourned:\n"
            "    def __init__(self, tag): self.tag = tag\n"
            "    def __del__(self): ask(self.tag)\n"
            "thing = Mourned('del')\n"
            "del thing\n"
            "thing = Mourned('cycle')\n"
            "thing.self = thing\n"
            "del thing\n"
            "gc.collect()\n"
            "class Plain: pass\n"
            "thing = Plain()\n"
            "weakref.finalize(thing, ask, 'finalize')\n"
            "del thing\n"
            "thing = Plain()\n"
            "reference = weakref.ref(thing, lambda _: ask('weakref'))\n"
            "del thing\n"
        >>)
    ).

hooks_can_call(Config) ->
    Asked = asked(Config, <<
        "import gc, sys, warnings\n"
        "def collected(phase, info): ask('gc ' + phase)\n"
        "gc.callbacks.append(collected)\n"
        "try: gc.collect()\n"
        "finally: gc.callbacks.remove(collected)\n"
        "def tracer(frame, event, argument):\n"
        "    sys.settrace(None)\n"
        "    ask('trace ' + event)\n"
        "def traced(): pass\n"
        "sys.settrace(tracer)\n"
        "traced()\n"
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None): ask('find ' + name)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "try:\n"
        "    import no_such_module_at_all\n"
        "except ModuleNotFoundError: pass\n"
        "finally: sys.meta_path.remove(Finder)\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('always')\n"
        "    warnings.showwarning = lambda message, *rest: ask('warning ' + str(message))\n"
        "    warnings.warn('careful')\n"
    >>),
    ?assertEqual(
        [
            <<"gc start">>, <<"gc stop">>, <<"trace call">>, <<"find no_such_module_at_all">>, <<"warning careful">>
        ],
        Asked
    ).

conversion_of_a_result_can_call(Config) ->
    Context = ?config(ctx, Config),
    Self = self(),
    offering([{ask, fun([Tag]) -> {self() =:= Self, Tag} end}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "class Asks:\n"
            "    def __erlang_term__(self): return erlang.call('ask', 'converted')\n"
        >>),
        ?assertEqual({ok, [{true, <<"converted">>}]}, py:eval(Context, <<"[Asks()]">>)),
        ?assertEqual({ok, {false, <<"converted">>}}, py:await(py:spawn_call(Context, '__main__', 'Asks', []))),
        %% So can that of an argument.
        ?assertEqual({ok, {true, {true, <<"converted">>}}}, py:eval(Context, <<"erlang.call('ask', Asks())">>))
    end).

text_of_an_exception_can_call(Config) ->
    Context = ?config(ctx, Config),
    offering([{ask, fun([Tag]) -> Tag end}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "class Asks(Exception):\n"
            "    def __str__(self): return erlang.call('ask', 'told')\n"
            "def fail(): raise Asks()\n"
        >>),
        ?assertEqual({error, {'Asks', "told"}}, py:call(Context, '__main__', fail, [])),
        ?assertEqual({error, {'Asks', "told"}}, py:await(py:spawn_call(Context, '__main__', fail, [])))
    end).

module_can_call_while_it_is_imported(Config) ->
    Context = ?config(ctx, Config),
    Folder = filename:join(?config(priv_dir, Config), "imports"),
    ok = filelib:ensure_dir(filename:join(Folder, "any")),
    ok = file:write_file(filename:join(Folder, "ct_imported.py"), <<
        "import erlang\nvalue = erlang.call('ask', 'import')\nbefore = 1\nerlang.call('back')\nend = 2\n"
    >>),
    Back = fun([]) ->
        %% What is imported is there, half made as in any circle of imports.
        {ok, 1} = py:eval(Context, <<"__import__('ct_imported').before">>),
        {error, {'AttributeError', _}} = py:eval(Context, <<"__import__('ct_imported').end">>),
        {ok, _} = py:eval(Context, <<"__import__('colorsys').ONE_THIRD">>),
        none
    end,
    offering([{ask, fun([Tag]) -> Tag end}, {back, Back}], fun() ->
        Code = <<"__import__('sys').path.insert(0, folder)">>,
        {ok, _} = py:eval(Context, Code, #{folder => unicode:characters_to_binary(Folder)}),
        ok = py:exec(Context, <<"import sys\nsys.dont_write_bytecode = True\nimport ct_imported">>),
        ?assertEqual({ok, {<<"import">>, 2}}, py:eval(Context, <<"(ct_imported.value, ct_imported.end)">>)),
        ok = py:exec(Context, <<
            "del sys.modules['ct_imported'], sys.path[0]\nsys.dont_write_bytecode = False\n"
        >>)
    end).

exit_handler_gets_a_clear_error(Config) ->
    %% Contexts of mode worker share the main interpreter, which lives on.
    Context = py_suite:new_context(Config),
    ok = py_callbacks:install(Context),
    Test = self(),
    Port = py_suite:port(?config(socket, Config)),
    offering([{never, fun(Args) -> Test ! {called, Args} end}], fun() ->
        ok = py:exec(Context, <<
            "import atexit, erlang, ct_signals\n"
            "def say_goodbye(port, call, signal):\n"
            "    try:\n"
            "        call('never')\n"
            "    except RuntimeError as error:\n"
            "        signal(port, type(error).__name__ + ': ' + str(error))\n"
        >>),
        case py_suite:mode(Config) of
            owngil ->
                Register = <<"atexit.register(say_goodbye, port, erlang.call, ct_signals.signal)">>,
                {ok, _} = py:eval(Context, Register, #{port => Port}),
                ok = py_context:stop(Context),
                Text = receive {udp, _, _, _, Told} -> unicode:characters_to_list(Told) end,
                py_suite:contains(Text, "Error: "),
                py_suite:contains(Text, "context");
            worker ->
                ok = py_context:stop(Context)
        end
    end),
    ?assertEqual([], collect(called)).

finaliser_of_a_dead_process_s_object_can_call(Config) ->
    Context = ?config(ctx, Config),
    Port = py_suite:port(?config(socket, Config)),
    ok = py_callbacks:module(Context, "ct_mourned", <<
        "import erlang, ct_signals\n"
        "class Mourned:\n"
        "    def __init__(self, port): self.port = port\n"
        "    def __del__(self, ask=erlang.call, signal=ct_signals.signal):\n"
        "        signal(self.port, ask('ask'))\n"
    >>),
    offering([{ask, fun([]) -> asked end}], fun() ->
        py_suite:fresh(fun() ->
            Code = <<"globals().update(thing=__import__('ct_mourned').Mourned(port))">>,
            {ok, none} = py:eval(Context, Code, #{port => Port})
        end),
        %% Nobody waits for it, so a process of its own runs the function.
        signal(Config, <<"asked">>),
        {ok, 4.0} = py:call(Context, math, sqrt, [16])
    end).

%%% What a function may do

function_may_register_and_unregister_others(Config) ->
    Context = ?config(ctx, Config),
    Make = fun([Name]) -> py:register_function(Name, fun([]) -> Name end) end,
    Forget = fun([Name]) -> py:unregister_function(Name) end,
    offering([{make, Make}, {forget, Forget}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "erlang.make('made')\n"
            "assert erlang.made() == 'made'\n"
            "erlang.forget('made')\n"
            "assert not hasattr(erlang, 'made')\n"
            "erlang.forget('forget')\n"
            "assert not hasattr(erlang, 'forget')\n"
        >>)
    end).

contexts_can_be_made_and_stopped_inside_a_function(Config) ->
    Context = ?config(ctx, Config),
    Make = fun([]) ->
        Other = py_suite:new_context(Config),
        {ok, 4.0} = py:call(Other, math, sqrt, [16]),
        ok = py_context:stop(Other),
        made
    end,
    offering([{make, Make}], fun() ->
        ?assertEqual({ok, <<"made">>}, py:call(Context, erlang, make, []))
    end).

function_unregistered_during_the_call_answers(Config) ->
    Context = ?config(ctx, Config),
    offering([{wait, gate()}], fun() ->
        Ref = py:spawn_call(Context, erlang, call, [wait]),
        Pooled = py:context(1),
        ok = py_callbacks:install(Pooled),
        Caller = guarded_caller(Config, Pooled, <<"pool">>, wait),
        Inside = [entered([]), entered([])],
        ok = py:unregister_function(wait),
        ?assertEqual({error, {error, {not_registered, <<"wait">>}}}, py:call(py:context(2), erlang, call, [wait])),
        [open(Pid, answered) || Pid <- Inside],
        ?assertEqual({ok, <<"answered">>}, py:await(Ref)),
        ?assertEqual({result, {{ok, <<"answered">>}, []}}, py_suite:await_down(Caller, 30_000))
    end).

%%% Deaths

waiting_process_killed_inside_a_function_interrupts_python(Config) ->
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, ?config(ctx, Config), <<"frame">>, wait),
        ?assertEqual(Pid, entered([])),
        Queued = py:spawn_call(?config(ctx, Config), math, sqrt, [16]),
        exit(Pid, kill),
        signal(Config, <<"frame Interrupted">>),
        ?assertEqual({died, killed}, py_suite:await_down(Caller, 30_000)),
        ?assertEqual({ok, 4.0}, py:await(Queued))
    end).

exit_signal_ends_the_process_inside_a_function(Config) ->
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, ?config(ctx, Config), <<"frame">>, wait),
        Pid = entered([]),
        exit(Pid, no_more),
        signal(Config, <<"frame Interrupted">>),
        ?assertEqual({died, no_more}, py_suite:await_down(Caller, 30_000))
    end).

context_killed_during_the_call_lets_the_function_end(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_callbacks:install(Context),
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, Context, <<"frame">>, wait),
        Pid = entered([]),
        ok = py_suite:killed(Context),
        signal(Config, <<"frame Interrupted">>),
        ?assert(is_process_alive(Pid)),
        ?assertEqual({error, {context_died, noproc}}, py:call(Context, math, sqrt, [16])),
        open(Pid, late),
        ?assertEqual({result, {{error, {context_died, killed}}, []}}, py_suite:await_down(Caller, 30_000))
    end).

context_stopped_during_the_call_lets_the_function_end(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_callbacks:install(Context),
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, Context, <<"frame">>, wait),
        Pid = entered([]),
        %% It does not wait for the function.
        ok = py_context:stop(Context),
        signal(Config, <<"frame Interrupted">>),
        ?assert(is_process_alive(Pid)),
        open(Pid, late),
        ?assertEqual({result, {{error, {context_died, normal}}, []}}, py_suite:await_down(Caller, 30_000))
    end).

function_may_stop_its_own_context(Config) ->
    Test = self(),
    [
        begin
            Context = py_suite:new_context(Config),
            Stop = fun([]) ->
                ok = py_context:stop(Context),
                Test ! {stopped, py:call(Context, math, sqrt, [16])},
                late
            end,
            offering([{stop, Stop}], fun() ->
                ?assertEqual({error, {context_died, normal}}, Call(Context)),
                receive
                    {stopped, Result} -> ?assertMatch({error, {context_died, _}}, Result)
                end
            end)
        end
     || Call <- [
            fun(Context) -> py:call(Context, erlang, call, [stop]) end,
            fun(Context) -> py:await(py:spawn_call(Context, erlang, call, [stop])) end
        ]
    ],
    ok.

%% Of a function that runs in a process of its own.
answer_for_a_dead_context_is_dropped(Config) ->
    Context = py_suite:new_context(Config),
    offering([{wait, gate()}], fun() ->
        Ref = py:spawn_call(Context, erlang, call, [wait]),
        Pid = entered([]),
        ok = py_suite:killed(Context),
        ?assertEqual({error, {context_died, killed}}, py:await(Ref)),
        ?assert(is_process_alive(Pid)),
        open(Pid, late),
        ended(Pid)
    end).

application_stopped_during_the_call_lets_the_function_end(Config) ->
    Test = self(),
    %% The registration goes with the application, the function does not.
    ok = py:register_function(wait, gate()),
    Callers = [guarded_caller(Config, Context, <<"frame">>, wait) || Context <- [?config(ctx, Config)]],
    Inside = [entered([]) || _ <- Callers],
    Ref = py:spawn_call(py:context(), erlang, call, [wait]),
    Spawned = entered([]),
    Monitor = monitor(process, Spawned),
    ok = py_suite:stop(),
    receive
        {'DOWN', Monitor, process, Spawned, Reason} -> Test ! {ended, Reason}
    after 0 -> ct:fail({outlives_the_application, Spawned})
    end,
    [_] = collect(ended),
    ?assertMatch({error, {context_died, _}}, py:await(Ref)),
    [?assert(is_process_alive(Pid)) || Pid <- Inside],
    [open(Pid, late) || Pid <- Inside],
    [
        ?assertMatch({result, {{error, {context_died, _}}, []}}, py_suite:await_down(Caller, 30_000))
     || Caller <- Callers
    ],
    signal(Config, <<"frame Interrupted">>),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual({error, not_found}, py_callback:lookup(wait)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

function_may_stop_the_application(Config) ->
    Test = self(),
    Stop = fun([]) ->
        ok = py_suite:stop(),
        Test ! {stopped, py:call(math, sqrt, [16])},
        late
    end,
    ok = py:register_function(stop, Stop),
    ?assertMatch({error, {context_died, _}}, py:call(?config(ctx, Config), erlang, call, [stop])),
    ?assertEqual([{error, not_running}], collect(stopped)),
    ok = py_suite:restart(Config, #{}),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

process_of_its_own_killed_is_an_exit_in_python(Config) ->
    Context = ?config(ctx, Config),
    offering([{wait, gate()}], fun() ->
        Ref = guarded_spawn(Config, <<"frame">>, wait),
        Pid = entered([]),
        exit(Pid, kill),
        signal(Config, <<"frame ErlangError">>),
        {error, {exit, Reason}} = py:await(Ref),
        ?assert(lists:member(Reason, [killed, noproc])),
        %% Python may catch it and go on.
        ok = py_callbacks:module(Context, "ct_retries", <<
            "import erlang\n"
            "def retry():\n"
            "    try:\n"
            "        return erlang.call('wait')\n"
            "    except erlang.ErlangError as error:\n"
            "        return error.kind, erlang.call('wait')\n"
        >>),
        Again = py:spawn_call(Context, ct_retries, retry, []),
        exit(entered([]), kill),
        open(entered([]), second),
        ?assertEqual({ok, {<<"exit">>, <<"second">>}}, py:await(Again))
    end).

process_of_its_own_that_gets_an_exit_signal_tells_its_reason(Config) ->
    offering([{wait, gate()}], fun() ->
        Ref = guarded_spawn(Config, <<"frame">>, wait),
        exit(entered([]), no_more),
        {error, {exit, Reason}} = py:await(Ref),
        ?assert(lists:member(Reason, [no_more, noproc])),
        signal(Config, <<"frame ErlangError">>)
    end).

%%% Interrupts

interrupt_during_the_call_ends_python_and_not_the_function(Config) ->
    Context = ?config(ctx, Config),
    offering([{wait, gate()}], fun() ->
        {Pid, _} = Caller = guarded_caller(Config, Context, <<"frame">>, wait),
        Pid = entered([]),
        ?assertEqual(ok, py:interrupt(Context)),
        signal(Config, <<"frame Interrupted">>),
        ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
        ?assert(is_process_alive(Pid)),
        open(Pid, late),
        ?assertEqual({result, {{error, interrupted}, []}}, py_suite:await_down(Caller, 30_000)),
        %% Of a function in a process of its own.
        Ref = guarded_spawn(Config, <<"spawned">>, wait),
        Own = entered([]),
        ?assertEqual(ok, py:interrupt(Context)),
        signal(Config, <<"spawned Interrupted">>),
        ?assertEqual({error, interrupted}, py:await(Ref)),
        open(Own, late),
        ended(Own)
    end).

interrupt_can_be_caught_and_the_next_call_works(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_catches", <<
        "import erlang\n"
        "def catches():\n"
        "    try:\n"
        "        erlang.call('wait', 1)\n"
        "    except erlang.Interrupted:\n"
        "        return 'caught', erlang.call('answer', 2)\n"
    >>),
    offering([{wait, gate()}, {answer, fun([N]) -> N end}], fun() ->
        Ref = py:spawn_call(Context, ct_catches, catches, []),
        First = entered([1]),
        ?assertEqual(ok, py:interrupt(Context)),
        %% The late answer of the first is not taken for that of the second.
        ?assertEqual({ok, {<<"caught">>, 2}}, py:await(Ref)),
        open(First, late),
        ended(First)
    end).

cancel_during_the_call_ends_python_and_not_the_function(Config) ->
    offering([{wait, gate()}], fun() ->
        Ref = guarded_spawn(Config, <<"frame">>, wait),
        Pid = entered([]),
        ok = py:cancel(Ref),
        signal(Config, <<"frame Interrupted">>),
        ?assert(is_process_alive(Pid)),
        ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16])),
        open(Pid, late),
        ended(Pid)
    end).

death_of_the_spawner_during_the_call_ends_python(Config) ->
    offering([{wait, gate()}], fun() ->
        Spawner = spawn(fun() ->
            _ = guarded_spawn(Config, <<"frame">>, wait),
            receive never -> ok end
        end),
        Pid = entered([]),
        ok = py_suite:killed(Spawner),
        signal(Config, <<"frame Interrupted">>),
        ?assert(is_process_alive(Pid)),
        open(Pid, late),
        ended(Pid)
    end).

%%% Mailboxes, room, what stays

messages_of_the_process_stay_as_they_are(Config) ->
    Context = ?config(ctx, Config),
    ok = py_callbacks:module(Context, "ct_many", <<
        "import erlang\n"
        "def many(n): return sum(erlang.call('one', i) for i in range(n))\n"
    >>),
    py_suite:fresh(fun() ->
        Messages = [
            case I rem 5 of
                0 -> {py_response, make_ref(), {ok, I}};
                1 -> {make_ref(), {ok, I}};
                2 -> {make_ref(), make_ref(), <<"one">>, [I]};
                3 -> {py_callback, make_ref(), <<"one">>, [I]};
                4 -> I
            end
         || I <- lists:seq(1, 100_000)
        ],
        [self() ! Message || Message <- Messages],
        offering([{one, fun([_]) -> 1 end}, {fail, fun([]) -> error(why) end}], fun() ->
            {ok, 1000} = py:call(Context, ct_many, many, [1000]),
            {ok, 10} = py:call(Context, ct_many, many, [10], #{timeout => 20_000}),
            {error, {error, why}} = py:call(Context, erlang, call, [fail]),
            {ok, 10} = py:await(py:spawn_call(Context, ct_many, many, [10])),
            ok = py:cast(Context, ct_many, many, [10]),
            {ok, 1} = py:eval(Context, <<"__import__('erlang').one(0)">>)
        end),
        {messages, Left} = process_info(self(), messages),
        ?assert(Messages =:= Left)
    end).

nothing_is_left_in_the_mailbox(Config) ->
    Context = ?config(ctx, Config),
    Nap = fun([Milliseconds]) ->
        receive
        after Milliseconds -> slept
        end
    end,
    offering([{nap, Nap}], fun() ->
        %% Time limits that are over about when the function is.
        [
            begin
                Timeout = I rem 6,
                Result = py:call(Context, erlang, call, [nap, (I * 7) rem 5], #{timeout => Timeout}),
                ?assert(lists:member(Result, [{ok, <<"slept">>}, {error, timeout}])),
                Ref = py:spawn_call(Context, erlang, call, [nap, (I * 7) rem 5]),
                Awaited = py:await(Ref, Timeout),
                ?assert(lists:member(Awaited, [{ok, <<"slept">>}, {error, timeout}])),
                ok = py:cancel(py:spawn_call(Context, erlang, call, [nap, I rem 3])),
                ?assertEqual({ok, <<"slept">>}, py:call(Context, erlang, call, [nap, 0]))
            end
         || I <- lists:seq(1, 200)
        ],
        ?assertEqual([], py_suite:flush())
    end).

functions_may_receive_messages(Config) ->
    Context = ?config(ctx, Config),
    self() ! {before, 1},
    Receive = fun([]) ->
        receive
            {before, N} -> N
        end
    end,
    offering([{'receive', Receive}], fun() ->
        ?assertEqual({ok, 1}, py:call(Context, erlang, 'receive', []))
    end).

callbacks_need_no_permit_and_little_room(Config) ->
    ok = py_suite:restart(Config, #{num_contexts => 1, max_concurrent => 1, max_queue => 1}),
    Context = py:context(),
    Nested = fun([]) ->
        1 = py_semaphore:current(),
        {ok, 4.0} = py:call(Context, math, sqrt, [16]),
        {ok, 5.0} = py:await(py:spawn_call(Context, math, sqrt, [25])),
        ok = py:exec(Context, <<"x = 1">>),
        nested
    end,
    ok = py:register_function(nested, Nested),
    ok = py:register_function(wait, gate()),
    ?assertEqual({ok, <<"nested">>}, py:call(Context, erlang, nested, [])),
    ?assertEqual(0, py_semaphore:current()),
    %% One that uses up both.
    Caller = py_suite:spawn_caller(fun() ->
        {py:call(Context, erlang, call, [wait]), py:call(Context, erlang, nested, [])}
    end),
    Pid = entered([]),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(Context, math, sqrt, [16])),
    open(Pid, free),
    ?assertEqual({result, {{ok, <<"free">>}, {ok, <<"nested">>}}}, py_suite:await_down(Caller, 30_000)),
    %% A full queue of others' requests is none of the chain's business.
    ok = py_suite:restart(Config, #{num_contexts => 1, max_queue => 1}),
    Narrow = py:context(),
    Room = fun([]) ->
        Queued = py_suite:fresh(fun() -> py:spawn_call(Narrow, math, sqrt, [16]), py_suite:flush() end),
        [] = Queued,
        Filler = py_suite:spawn_caller(fun() -> py:call(Narrow, math, sqrt, [16]) end),
        eventually(fun() -> element(4, py_nif:context_info(Narrow)) =:= 1 end),
        {ok, 5.0} = py:call(Narrow, math, sqrt, [25]),
        _ = put(filler, Filler),
        room
    end,
    ok = py:register_function(room, Room),
    ?assertEqual({ok, <<"room">>}, py:call(Narrow, erlang, room, [])),
    ?assertEqual({result, {ok, 4.0}}, py_suite:await_down(erase(filler), 30_000)).

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

callbacks_leave_nothing_behind(Config) ->
    Context = ?config(ctx, Config),
    {ok, _} = py:call(math, sqrt, [16]),
    Before = py_leaks:snapshot(),
    Infos = [py_nif:context_info(Where) || Where <- [Context, py:context()]],
    Functions = [{one, fun([_]) -> 1 end}, {fail, fun(_) -> throw(why) end}],
    offering(Functions, fun() ->
        _ = py_suite:concurrently(20, fun(I) ->
            [
                begin
                    {ok, 1} = py:call(Context, erlang, one, [J]),
                    {error, {throw, why}} = py:call(Context, erlang, fail, [J]),
                    {ok, 1} = py:await(py:spawn_call(Context, erlang, one, [J])),
                    {error, {throw, why}} = py:await(py:spawn_call(Context, erlang, fail, [I]))
                end
             || J <- lists:seq(1, 50)
            ]
        end)
    end),
    ok = py_leaks:check(Before),
    %% Nor namespaces of processes that ran a function.
    eventually(fun() -> [py_nif:context_info(Where) || Where <- [Context, py:context()]] =:= Infos end).
