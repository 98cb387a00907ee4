%% Values of Erlang in Python: processes that get messages, functions that are called, names that are looked up.
-module(pid_types_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        message_arrives,
        messages_keep_their_values,
        messages_keep_their_order,
        messages_to_several_keep_their_order,
        messages_of_threads_keep_their_order,
        message_to_itself_is_there_when_the_call_returns,
        message_is_sent_although_the_call_fails,
        message_to_a_dead_process_is_an_error,
        message_to_what_is_no_process_is_an_error,
        message_to_names_that_nobody_knows_is_an_error,
        message_that_cannot_cross_is_an_error,
        wrong_calls_of_send_are_errors,
        message_to_a_name_arrives,
        messages_of_finalisers_arrive,
        messages_of_a_transaction_arrive,
        messages_of_nested_calls_keep_their_order,
        messages_of_casts_and_threads_arrive_after_the_sender_has_ended,
        messages_take_nothing_for_good,
        known_name_is_its_process,
        unknown_name_is_none,
        names_looked_up_make_no_atoms,
        wrong_name_is_an_error,
        values_are_equal_when_they_are_the_same,
        values_print_as_in_erlang,
        values_are_the_same_in_every_interpreter,
        values_outlive_the_context_that_they_were_in,
        atoms_are_text,
        fun_is_called_by_the_waiting_process,
        fun_of_a_thread_is_called_by_a_supervised_process,
        fun_takes_as_many_arguments_as_it_has,
        exported_fun_is_called,
        wrong_calls_of_funs_are_errors,
        exceptions_of_funs_arrive,
        fun_calls_python,
        fun_is_given_to_another_fun,
        fun_keeps_what_it_has_closed_over,
        fun_comes_back_as_it_was,
        message_reaches_a_process_of_another_node,
        messages_to_another_node_keep_their_order,
        message_to_a_name_on_another_node_arrives,
        messages_of_threads_to_another_node_keep_their_order,
        messages_to_another_node_take_one_process_for_each_context,
        messages_to_another_node_go_before_their_context_ends,
        message_to_a_dead_process_of_another_node_is_no_error,
        message_to_a_lost_node_is_no_error,
        messages_that_wait_are_bounded,
        name_may_be_one_of_the_own_node,
        message_to_another_node_without_distribution_is_no_error
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

%% Distribution leaves the program behind that looks up names of hosts.
end_per_group(_Mode, Config) ->
    py_suite:end_group(Config, #{spares => 16, fds => 2}).

init_per_testcase(_Case, Config) ->
    [{ctx, another_context(Config)}, {relays, relays()} | Config].

end_per_testcase(_Case, Config) ->
    {ok, 4.0} = py:call(math, sqrt, [16]),
    ok = py_context:stop(?config(ctx, Config)).

another_context(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:python_path(Context),
    ok = py:exec(Context, <<"import builtins, erlang, ct_pids\nbuiltins.ct_pids, builtins.erlang = ct_pids, erlang">>),
    Context.

pids(Config, Function, Arguments) ->
    py:call(context(Config), ct_pids, Function, Arguments).

context(Context) when is_pid(Context) -> Context;
context(Config) -> ?config(ctx, Config).

send(Config, To, Term) ->
    py:call(context(Config), erlang, send, [To, Term]).

attempt(Config, Code, Locals) ->
    py:eval(context(Config), <<"ct_pids.attempt(", Code/binary, ")">>, Locals).

%% A process that has ended.
dead() ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive
        {'DOWN', Monitor, process, Pid, _} -> Pid
    end.

%% The numbers that came with the tag, in order, when there should be so many.
numbers(_Tag, 0) ->
    [];
numbers(Tag, Count) ->
    receive
        {Tag, I} -> [I | numbers(Tag, Count - 1)]
    after 30_000 -> ct:fail({no_message, Tag, Count})
    end.

%%% Messages

message_arrives(Config) ->
    ?assertEqual({ok, none}, send(Config, self(), hello)),
    receive
        <<"hello">> -> ok
    end,
    Code = <<"erlang.send(pid, erlang.atom('hello'))">>,
    ?assertEqual({ok, none}, py:eval(?config(ctx, Config), Code, #{pid => self()})),
    receive
        hello -> ok
    end,
    %% To another process, and from the pool.
    {Pid, _} = Receiver = py_suite:spawn_caller(fun() ->
        receive
            Message -> Message
        end
    end),
    ?assertEqual({ok, none}, py:call(erlang, send, [Pid, #{1 => 2}])),
    ?assertEqual({result, #{1 => 2}}, py_suite:await_down(Receiver, 30_000)),
    ?assertEqual([], py_suite:flush()).

messages_keep_their_values(Config) ->
    Terms = [
        0, -1, 1 bsl 200, 1.5, true, none, <<>>, <<"text">>, <<255, 0>>, [], [1, [2]], {}, {1, {2}}, #{},
        #{<<"k">> => [self(), make_ref(), hd(erlang:ports()), fun lists:seq/2]}, binary:copy(<<"x">>, 1_000_000),
        lists:seq(1, 10_000), fun() -> Config end
    ],
    [
        begin
            ?assertEqual({ok, none}, send(Config, self(), {I, Term})),
            receive
                {I, Message} -> ?assert(Message =:= Term)
            end
        end
     || {I, Term} <- lists:zip(lists:seq(1, length(Terms)), Terms)
    ],
    ok.

messages_keep_their_order(Config) ->
    ?assertEqual({ok, none}, pids(Config, send_many, [self(), order, 20_000])),
    ?assertEqual(lists:seq(1, 20_000), numbers(<<"order">>, 20_000)),
    ?assertEqual([], py_suite:flush()).

messages_to_several_keep_their_order(Config) ->
    Receivers = [py_suite:spawn_caller(fun() -> numbers(<<"each">>, 500) end) || _ <- lists:seq(1, 10)],
    ?assertEqual({ok, none}, pids(Config, send_many_to_each, [[Pid || {Pid, _} <- Receivers], each, 500])),
    [?assertEqual({result, lists:seq(1, 500)}, py_suite:await_down(Receiver, 30_000)) || Receiver <- Receivers],
    ok.

messages_of_threads_keep_their_order(Config) ->
    ?assertEqual({ok, none}, pids(Config, send_from_threads, [self(), 20, 500])),
    [?assertEqual(lists:seq(1, 500), numbers(I, 500)) || I <- lists:seq(1, 20)],
    ?assertEqual([], py_suite:flush()).

%% As for two messages of one process: what was sent before the answer is there before it.
message_to_itself_is_there_when_the_call_returns(Config) ->
    [
        begin
            {ok, none} = send(Config, self(), I),
            ?assertEqual([I], py_suite:flush())
        end
     || I <- lists:seq(1, 1_000)
    ],
    ok.

message_is_sent_although_the_call_fails(Config) ->
    ?assertMatch({error, {'ValueError', _}}, pids(Config, send_and_raise, [self(), 1])),
    ?assertEqual([1], py_suite:flush()).

message_to_a_dead_process_is_an_error(Config) ->
    Dead = dead(),
    Text = py_suite:error_text('ProcessError', send(Config, Dead, hello)),
    py_suite:contains(Text, pid_to_list(Dead)),
    ?assertMatch({ok, {<<"ProcessError">>, _}}, attempt(Config, <<"erlang.send, pid, 1">>, #{pid => Dead})),
    ?assertEqual({ok, {true, <<"erlang">>}}, pids(Config, is_process_error, [])),
    %% It is known at once, and only of the one that is dead.
    ?assertEqual({ok, none}, send(Config, self(), 1)),
    ?assertEqual([1], py_suite:flush()).

message_to_what_is_no_process_is_an_error(Config) ->
    [
        ?assertMatch({To, {error, {'TypeError', _}}}, {To, send(Config, To, hello)})
     || To <- [
            1, none, <<"init">>, make_ref(), hd(erlang:ports()), fun lists:seq/2, [self()], {self()}, {self(), node()},
            {init, 1}, {1, node()}, {init, node(), 1}, {}, #{}
        ]
    ],
    ?assertEqual([], py_suite:flush()).

%% Names that are no atoms yet belong to no process and no node, and make no atoms.
message_to_names_that_nobody_knows_is_an_error(Config) ->
    [
        begin
            Code = <<"erlang.send(", To/binary, ", 1)">>,
            Text = py_suite:error_text('ValueError', py:eval(?config(ctx, Config), Code)),
            py_suite:contains(Text, "ct nobody")
        end
     || To <- [<<"('ct nobody ' + 'here', 'nonode@nohost')">>, <<"('init', 'ct nobody ' + 'there')">>]
    ].

message_that_cannot_cross_is_an_error(Config) ->
    Send = fun(Code) ->
        py:eval(?config(ctx, Config), <<"erlang.send(pid, ", Code/binary, ")">>, #{pid => self()})
    end,
    [
        ?assertMatch({Code, {error, {Class, _}}}, {Code, Send(Code)})
     || {Code, Class} <- [
            {<<"'\\ud800'">>, 'UnicodeEncodeError'},
            {<<"{'a': 1, b'a': 2}">>, 'ValueError'},
            {<<"[x := [], x.append(x)][0]">>, 'RecursionError'}
        ]
    ],
    ?assertEqual([], py_suite:flush()).

wrong_calls_of_send_are_errors(Config) ->
    [
        ?assertMatch({Code, {ok, {<<"TypeError">>, _}}}, {Code, attempt(Config, Code, #{pid => self()})})
     || Code <- [
            <<"erlang.send">>, <<"erlang.send, pid">>, <<"erlang.send, pid, 1, 2">>, <<"erlang.send, pid, 1, wait=True">>,
            <<"erlang.whereis">>, <<"erlang.whereis, 'init', 1">>, <<"erlang.whereis, 'init', node='here'">>
        ]
    ],
    ?assertEqual([], py_suite:flush()).

message_to_a_name_arrives(Config) ->
    true = register(?MODULE, self()),
    [
        begin
            Code = <<"erlang.send(", To/binary, ", i)">>,
            ?assertEqual({ok, none}, py:eval(?config(ctx, Config), Code, #{i => I, node => atom_to_binary(node())})),
            receive
                I -> ok
            end
        end
     || {I, To} <- [
            {1, <<"('pid_types_SUITE', node)">>},
            {2, <<"(erlang.atom('pid_types_SUITE'), erlang.atom(node))">>},
            {3, <<"erlang.whereis('pid_types_SUITE')">>}
        ]
    ],
    true = unregister(?MODULE).

messages_of_finalisers_arrive(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<"def make(pid):\n    ct_pids.Sending(pid, 'count')">>),
    {ok, none} = py:call(Context, '__main__', make, [self()]),
    ?assertEqual([<<"count">>], py_suite:flush()),
    {ok, none} = pids(Config, leave_pair, [self(), collected]),
    {ok, _} = py:call(Context, gc, collect, []),
    ?assertEqual([<<"collected">>], py_suite:flush()),
    %% With the namespace of a process, while nothing is asked of the context.
    Test = self(),
    ok = py_suite:fresh(fun() ->
        {ok, none} = py:eval(Context, <<"globals().update(kept=ct_pids.Sending(pid, 'namespace'))">>, #{pid => Test}),
        ok
    end),
    receive
        <<"namespace">> -> ok
    end,
    %% One that is refused harms nobody: what a finaliser raises is told on standard error only.
    ok = py:exec(Context, <<"import sys\nhook, sys.unraisablehook = sys.unraisablehook, lambda *_: None">>),
    {ok, none} = py:call(Context, '__main__', make, [dead()]),
    ok = py:exec(Context, <<"sys.unraisablehook = hook">>),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])).

messages_of_a_transaction_arrive(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    ok = application:set_env(mnesia, dir, filename:join(?config(priv_dir, Config), "mnesia")),
    {ok, _} = application:ensure_all_started(mnesia),
    try
        {atomic, ok} = mnesia:create_table(?MODULE, []),
        Write = fun([Key, Value]) ->
            ok = mnesia:write({?MODULE, Key, Value}),
            mnesia:read(?MODULE, Key)
        end,
        ok = py:exec(Context, <<
            "def work(pid):\n"
            "    erlang.send(pid, 'before')\n"
            "    read = erlang.call('ct_write', 'key', 5)\n"
            "    erlang.send(pid, ('after', read))\n"
            "    return read\n"
        >>),
        py_offered:with(#{ct_write => Write}, fun() ->
            Row = {atom_to_binary(?MODULE), <<"key">>, 5},
            Work = fun() -> py:call(Context, '__main__', work, [Test]) end,
            ?assertEqual({atomic, {ok, [Row]}}, mnesia:transaction(Work)),
            ?assertEqual([<<"before">>, {<<"after">>, [Row]}], py_suite:flush()),
            ?assertEqual([{?MODULE, <<"key">>, 5}], mnesia:dirty_read(?MODULE, <<"key">>))
        end)
    after
        py_suite:silently(fun() -> application:stop(mnesia) end)
    end.

%% Of one process, whatever interpreter sends for it.
messages_of_nested_calls_keep_their_order(Config) ->
    Context = ?config(ctx, Config),
    Other = another_context(Config),
    Down = fun
        ([0, _]) -> ok;
        ([N, Pid]) ->
            Where = lists:nth(1 + N rem 2, [Context, Other]),
            {ok, none} = py:call(Where, '__main__', down, [N, Pid]),
            ok
    end,
    [
        ok = py:exec(Each, <<
            "def down(n, pid):\n"
            "    erlang.send(pid, ('down', n))\n"
            "    erlang.call('ct_down', n - 1, pid)\n"
            "    erlang.send(pid, ('up', n))\n"
        >>)
     || Each <- [Context, Other]
    ],
    py_offered:with(#{ct_down => Down}, fun() ->
        ok = Down([20, self()]),
        ?assertEqual(
            [{<<"down">>, N} || N <- lists:seq(20, 1, -1)] ++ [{<<"up">>, N} || N <- lists:seq(1, 20)],
            py_suite:flush()
        )
    end),
    ok = py_context:stop(Other).

messages_of_casts_and_threads_arrive_after_the_sender_has_ended(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    ok = py_suite:fresh(fun() ->
        ok = py:cast(Context, ct_pids, send_many, [Test, cast, 100]),
        ok = py:cast(Context, ct_pids, send_from_threads, [Test, 2, 100])
    end),
    [?assertEqual(lists:seq(1, 100), numbers(Tag, 100)) || Tag <- [<<"cast">>, 1, 2]],
    ok.

messages_take_nothing_for_good(Config) ->
    Round = fun() ->
        {Pid, _} = Receiver = py_suite:spawn_caller(fun() -> length(numbers(<<"round">>, 20_000)) end),
        {ok, none} = pids(Config, send_many, [Pid, round, 20_000]),
        {result, 20_000} = py_suite:await_down(Receiver, 30_000)
    end,
    Round(),
    Before = py_leaks:snapshot(),
    Resident = py_leaks:resident(),
    [Round() || _ <- lists:seq(1, 20)],
    ok = py_leaks:check(Before),
    ?assert(py_leaks:resident() - Resident < 50_000).

%%% Names

known_name_is_its_process(Config) ->
    Init = whereis(init),
    [
        ?assertEqual({Code, {ok, Init}}, {Code, py:eval(?config(ctx, Config), Code)})
     || Code <- [<<"erlang.whereis('init')">>, <<"erlang.whereis(erlang.atom('init'))">>]
    ],
    true = register('日本', self()),
    ?assertEqual({ok, self()}, py:call(?config(ctx, Config), erlang, whereis, [<<"日本"/utf8>>])),
    true = unregister('日本'),
    ?assertEqual({ok, none}, py:call(?config(ctx, Config), erlang, whereis, [<<"日本"/utf8>>])).

unknown_name_is_none(Config) ->
    [
        ?assertEqual({Name, {ok, none}}, {Name, py:call(?config(ctx, Config), erlang, whereis, [Name])})
     || Name <- [<<"ct no such name">>, <<>>, <<"undefined">>, <<"a\0b">>, ?MODULE]
    ].

%% A node has room for so many atoms only.
names_looked_up_make_no_atoms(Config) ->
    Code = <<"[erlang.whereis(f'ct no name {n} {i}') for i in range(2000)] == [None] * 2000">>,
    {ok, true} = py:eval(?config(ctx, Config), Code, #{n => 0}),
    Before = erlang:system_info(atom_count),
    {ok, true} = py:eval(?config(ctx, Config), Code, #{n => 1}),
    ?assert(erlang:system_info(atom_count) - Before < 1_000).

wrong_name_is_an_error(Config) ->
    [
        ?assertMatch({Name, {error, {'TypeError', _}}}, {Name, py:call(?config(ctx, Config), erlang, whereis, [Name])})
     || Name <- [1, none, self(), <<255>>, {init, node()}, [init], "init"]
    ].

%%% Values

%% Each with another of its kind.
values() ->
    [
        {self(), whereis(init)},
        {make_ref(), make_ref()},
        {hd(erlang:ports()), far(<<89>>, <<5:32, 77:32>>)},
        {fun lists:seq/2, fun lists:seq/3},
        {own_fun(1), own_fun(2)},
        {far_pid(), self()}
    ].

own_fun(X) -> fun() -> X end.

far_pid() -> far(<<88>>, <<123:32, 4:32, 77:32>>).

%% Of another node, which need not run.
far(Tag, Numbers) ->
    Node = <<"other@nowhere">>,
    binary_to_term(<<131, Tag/binary, 119, (byte_size(Node)), Node/binary, Numbers/binary>>).

values_are_equal_when_they_are_the_same(Config) ->
    [
        begin
            {ok, none} = pids(Config, keep, [value, Value]),
            ?assertEqual({Value, {ok, true}}, {Value, pids(Config, kept_is, [value, Value])}),
            ?assertEqual({ok, false}, pids(Config, kept_is, [value, Other])),
            ?assertEqual({ok, false}, pids(Config, kept_is, [value, list_to_binary(io_lib:format("~p", [Value]))])),
            %% What Python got by itself is no other.
            {ok, none} = pids(Config, keep, [value, self()]),
            ok
        end
     || {Value, Other} <- values()
    ],
    true = register(?MODULE, self()),
    {ok, none} = pids(Config, keep, [value, self()]),
    Code = <<"ct_pids.kept_is('value', erlang.whereis('pid_types_SUITE'))">>,
    ?assertEqual({ok, true}, py:eval(?config(ctx, Config), Code)),
    true = unregister(?MODULE).

values_print_as_in_erlang(Config) ->
    [
        ?assertEqual(
            {ok, lists:duplicate(3, list_to_binary(io_lib:format("~w", [Value])))},
            py:eval(?config(ctx, Config), <<"[str(x), repr(x), f'{x}']">>, #{x => Value})
        )
     || {Value, _} <- values()
    ],
    ?assertEqual({ok, list_to_binary(pid_to_list(self()))}, py:eval(?config(ctx, Config), <<"str(x)">>, #{x => self()})).

values_are_the_same_in_every_interpreter(Config) ->
    Context = ?config(ctx, Config),
    Other = another_context(Config),
    {ok, Worker} = py_context:new(#{mode => worker}),
    ok = py_suite:python_path(Worker),
    ok = py:exec(Worker, <<"import ct_pids">>),
    [
        begin
            {ok, none} = pids(From, keep, [value, Value]),
            {ok, none} = py:eval(From, <<"erlang.send(pid, ct_pids.kept['value'])">>, #{pid => self()}),
            receive
                Copy -> ?assert(Copy =:= Value)
            end,
            {ok, none} = pids(To, keep, [value, Value]),
            ?assertEqual({Value, {ok, true}}, {Value, pids(To, kept_is, [value, Value])})
        end
     || {Value, _} <- values(), From <- [Context, Other], To <- [Context, Other, Worker]
    ],
    ok = py_context:stop(Worker),
    ok = py_context:stop(Other).

values_outlive_the_context_that_they_were_in(Config) ->
    Other = another_context(Config),
    Values = [Value || {Value, _} <- values()],
    {ok, Kept} = py:eval(Other, <<"[*x, erlang.whereis('init')]">>, #{x => Values}),
    ok = py_context:stop(Other),
    ?assertEqual(Values ++ [whereis(init)], Kept),
    ?assertEqual({ok, Kept}, py:call(?config(ctx, Config), builtins, list, [Kept])),
    ?assertEqual({ok, none}, send(Config, hd(Kept), outlived)),
    receive
        <<"outlived">> -> ok
    end.

atoms_are_text(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual(
        {ok, [true, true, true, true, <<"hello">>]},
        py:eval(Context, <<"[(a := erlang.atom('hello')) == 'hello', hash(a) == hash('hello'), isinstance(a, str), "
            "type(a) is erlang.Atom, {'hello': str(a)}[a]]">>)
    ),
    ?assertEqual({ok, {hello, <<"hello">>}}, py:eval(Context, <<"(erlang.atom('hello'), 'hello')">>)),
    [
        ?assertMatch({Code, {error, {Class, _}}}, {Code, py:eval(Context, Code)})
     || {Code, Class} <- [
            {<<"erlang.atom(1)">>, 'TypeError'},
            {<<"erlang.atom('x' * 256)">>, 'ValueError'}
        ]
    ],
    ok.

%%% Functions

fun_is_called_by_the_waiting_process(Config) ->
    _ = put(?MODULE, mine),
    Fun = fun() -> {self(), get(?MODULE)} end,
    Mine = {self(), <<"mine">>},
    ?assertEqual({ok, [Mine, Mine]}, pids(Config, call_twice, [Fun])),
    ?assertEqual({ok, Mine}, py:eval(?config(ctx, Config), <<"f()">>, #{f => Fun})),
    ok = py:exec(?config(ctx, Config), <<"def call(f): return f()">>),
    {ok, {Other, none}} = py:await(py:spawn_call(?config(ctx, Config), '__main__', call, [Fun])),
    ?assertNotEqual(self(), Other),
    _ = erase(?MODULE),
    ok.

fun_of_a_thread_is_called_by_a_supervised_process(Config) ->
    {ok, {<<"ok">>, {Pid, Ancestors}}} = pids(Config, call_in_thread, [fun() -> {self(), get('$ancestors')} end]),
    ?assertNotEqual(self(), Pid),
    Known = [<<"erlang_python_sup">>, whereis(erlang_python_sup)],
    ?assertMatch([_ | _], [Ancestor || Ancestor <- Ancestors, lists:member(Ancestor, Known)]).

fun_takes_as_many_arguments_as_it_has(Config) ->
    [
        begin
            ?assertEqual({ok, [Answer, Answer]}, pids(Config, call_twice, [Fun | Arguments])),
            ?assertEqual({ok, {<<"ok">>, Answer}}, pids(Config, call_in_thread, [Fun | Arguments]))
        end
     || {Fun, Arguments, Answer} <- [
            {fun() -> 0 end, [], 0},
            {fun(X) -> X end, [[1, 2]], [1, 2]},
            {fun(X, Y) -> {Y, X} end, [1, <<"2">>], {<<"2">>, 1}},
            {fun(A, B, C, D, E, F, G, H, I) -> lists:sum([A, B, C, D, E, F, G, H, I]) end, lists:seq(1, 9), 45}
        ]
    ],
    ok.

exported_fun_is_called(Config) ->
    ?assertEqual({ok, [[1, 2, 3], [1, 2, 3]]}, pids(Config, call_twice, [fun lists:seq/2, 1, 3])),
    ?assertEqual({ok, [6, 6]}, pids(Config, call_twice, [fun ?MODULE:exported/2, 2, 3])),
    NoSuch = fun no_such_module:f/1,
    ?assertEqual({error, {error, undef}}, pids(Config, call_twice, [NoSuch, 1])),
    ?assertEqual({ok, {<<"error">>, <<"undef">>}}, pids(Config, attempt, [NoSuch, 1])).

exported(X, Y) -> X * Y.

wrong_calls_of_funs_are_errors(Config) ->
    Context = ?config(ctx, Config),
    Fun = fun(X) -> X end,
    [
        begin
            ?assertEqual({error, {error, {badarity, {Fun, Arguments}}}}, pids(Config, call_twice, [Fun | Arguments])),
            Seen = {ok, {<<"error">>, {<<"badarity">>, {Fun, Arguments}}}},
            ?assertEqual(Seen, pids(Config, attempt, [Fun | Arguments])),
            ?assertEqual(Seen, pids(Config, call_in_thread, [Fun | Arguments]))
        end
     || Arguments <- [[], [1, 2]]
    ],
    {ok, {<<"TypeError">>, Text}} = py:call(Context, ct_pids, attempt, [Fun], #{kwargs => #{x => 1}}),
    py_suite:contains(Text, "keyword"),
    ?assertEqual({ok, <<"UnicodeEncodeError">>}, py:eval(Context, <<"ct_pids.attempt(f, '\\ud800')[0]">>, #{f => Fun})),
    ?assertMatch({ok, {<<"TypeError">>, _}}, pids(Config, attempt, [fun() -> [1 | 2] end])).

exceptions_of_funs_arrive(Config) ->
    [
        begin
            Raise = fun() -> erlang:raise(Kind, Reason, []) end,
            ?assertEqual({error, {Kind, Reason}}, pids(Config, call_twice, [Raise])),
            Seen = {ok, {atom_to_binary(Kind), Converted}},
            ?assertEqual(Seen, pids(Config, attempt, [Raise])),
            ?assertEqual(Seen, pids(Config, call_in_thread, [Raise]))
        end
     || Kind <- [error, exit, throw],
        {Reason, Converted} <- [
            {boom, <<"boom">>},
            {{a, [1]}, {<<"a">>, [1]}},
            {#{k => self()}, #{<<"k">> => self()}}
        ]
    ],
    ok.

fun_calls_python(Config) ->
    Context = ?config(ctx, Config),
    Other = another_context(Config),
    Nested = fun(Where, X) ->
        {ok, Y} = py:call(Where, operator, add, [X, 1]),
        Y
    end,
    [?assertEqual({ok, [6, 6]}, pids(Config, call_twice, [Nested, Where, 5])) || Where <- [Context, Other]],
    ?assertEqual({ok, {<<"ok">>, 6}}, pids(Config, call_in_thread, [Nested, Other, 5])),
    %% A fun that Python calls calls itself through Python.
    Down = fun(Self, N) ->
        case N of
            0 -> 0;
            _ ->
                {ok, [Sum, Sum]} = {ok, [_, _]} = py:call(Context, builtins, list, [[N, N]]),
                {ok, Rest} = py:eval(Context, <<"f(f, n - 1)">>, #{f => Self, n => N}),
                Sum + Rest
        end
    end,
    ?assertEqual({ok, 55}, py:eval(Context, <<"f(f, 10)">>, #{f => Down})),
    ok = py_context:stop(Other).

fun_is_given_to_another_fun(Config) ->
    Apply = fun(F, X) -> F(F, X) end,
    ?assertEqual({ok, 7}, py:eval(?config(ctx, Config), <<"f(g, 7)">>, #{f => Apply, g => fun(_, X) -> X end})),
    %% Funs that Erlang gives to Python by a call.
    Make = fun(N) -> fun(X) -> X + N end end,
    ?assertEqual({ok, 12}, py:eval(?config(ctx, Config), <<"make(5)(7)">>, #{make => Make})).

fun_keeps_what_it_has_closed_over(Config) ->
    Large = binary:copy(<<"x">>, 1_000_000),
    {ok, none} = py_suite:fresh(fun() ->
        Pid = self(),
        pids(Config, keep, [closure, fun(Add) -> {Add + byte_size(Large), is_process_alive(Pid)} end])
    end),
    ?assertEqual({ok, {1_000_001, false}}, py:eval(?config(ctx, Config), <<"ct_pids.kept['closure'](1)">>)).

fun_comes_back_as_it_was(Config) ->
    Fun = fun(X) -> {X, Config} end,
    ?assertEqual({ok, [Fun]}, py:eval(?config(ctx, Config), <<"[f]">>, #{f => Fun})),
    {ok, Back} = py:eval(?config(ctx, Config), <<"f">>, #{f => Fun}),
    ?assertEqual({1, Config}, Back(1)).

%%% Other nodes

%% Gives the numbers that came with the tag to the process that asks.
collector(Tag, Count, Test) ->
    Test ! {collected, self(), numbers(Tag, Count)}.

collected(Pid) ->
    receive
        {collected, Pid, Numbers} -> Numbers
    after 30_000 -> ct:fail({nothing_from, Pid})
    end.

%% Those of the contexts that the case uses: others may have sent for threads that belong to none.
relays(Config) ->
    relays() -- ?config(relays, Config).

relays() ->
    [Pid || Pid <- processes(), element(1, proc_lib:translate_initial_call(Pid)) =:= py_relay].

message_reaches_a_process_of_another_node(Config) ->
    py_suite:with_connected_node(fun(Node) ->
        Pid = spawn(Node, ?MODULE, collector, [<<"far">>, 2, self()]),
        ?assertEqual({ok, none}, send(Config, Pid, {far, 1})),
        ?assertEqual({ok, none}, py:eval(?config(ctx, Config), <<"erlang.send(pid, ('far', 2))">>, #{pid => Pid})),
        ?assertEqual([1, 2], collected(Pid))
    end).

messages_to_another_node_keep_their_order(Config) ->
    py_suite:with_connected_node(fun(Node) ->
        Pid = spawn(Node, ?MODULE, collector, [<<"far">>, 5_000, self()]),
        ?assertEqual({ok, none}, pids(Config, send_many, [Pid, far, 5_000])),
        ?assertEqual(lists:seq(1, 5_000), collected(Pid)),
        Pids = [spawn(Node, ?MODULE, collector, [Tag, 200, self()]) || Tag <- [1, 2, 3]],
        ok = py:exec(?config(ctx, Config), <<
            "def fan(pids):\n"
            "    for i in range(1, 201):\n"
            "        for n, pid in enumerate(pids, 1): erlang.send(pid, (n, i))\n"
        >>),
        {ok, none} = py:call(?config(ctx, Config), '__main__', fan, [Pids]),
        [?assertEqual(lists:seq(1, 200), collected(Each)) || Each <- Pids]
    end).

message_to_a_name_on_another_node_arrives(Config) ->
    py_suite:with_connected_node(fun(Node) ->
        Pid = spawn(Node, ?MODULE, collector, [<<"named">>, 300, self()]),
        true = erpc:call(Node, erlang, register, [ct_far, Pid]),
        [
            {ok, none} = py:eval(?config(ctx, Config), Code, #{node => atom_to_binary(Node), i => I})
         || I <- lists:seq(1, 300),
            Code <- [
                case I rem 2 of
                    0 -> <<"erlang.send(('ct_far', node), ('named', i))">>;
                    1 -> <<"erlang.send((erlang.atom('ct_far'), erlang.atom(node)), ('named', i))">>
                end
            ]
        ],
        ?assertEqual(lists:seq(1, 300), collected(Pid)),
        %% Nobody has the name now.
        ?assertEqual({ok, none}, send(Config, {<<"ct_far">>, atom_to_binary(Node)}, lost))
    end).

messages_of_threads_to_another_node_keep_their_order(Config) ->
    py_suite:with_connected_node(fun(Node) ->
        Pids = [spawn(Node, ?MODULE, collector, [I, 200, self()]) || I <- lists:seq(1, 10)],
        [
            ?assertEqual({ok, none}, pids(Config, start_sending, [Pid, I, 200]))
         || {I, Pid} <- lists:zip(lists:seq(1, 10), Pids)
        ],
        [?assertEqual(lists:seq(1, 200), collected(Pid)) || Pid <- Pids]
    end).

messages_to_another_node_take_one_process_for_each_context(Config) ->
    Other = another_context(Config),
    ?assertEqual([], relays(Config)),
    py_suite:with_connected_node(fun(Node) ->
        Pids = [spawn(Node, ?MODULE, collector, [I, 100, self()]) || I <- lists:seq(1, 10)],
        _ = py_suite:concurrently(10, fun(I) -> {ok, none} = pids(Config, send_many, [lists:nth(I, Pids), I, 100]) end),
        _ = [collected(Pid) || Pid <- Pids],
        ?assertMatch([_], relays(Config)),
        Again = spawn(Node, ?MODULE, collector, [<<"other">>, 100, self()]),
        ?assertEqual({ok, none}, pids(Other, send_many, [Again, other, 100])),
        _ = collected(Again),
        Relays = relays(Config),
        ?assertMatch([_, _], Relays),
        Monitors = [erlang:monitor(process, Relay) || Relay <- Relays],
        ok = py_context:stop(Other),
        receive
            {'DOWN', Monitor, process, _, _} -> ?assert(lists:member(Monitor, Monitors))
        end,
        ?assertMatch([_], relays(Config))
    end).

messages_to_another_node_go_before_their_context_ends(Config) ->
    py_suite:with_connected_node(fun(Node) ->
        [
            begin
                Context = another_context(Config),
                Pid = spawn(Node, ?MODULE, collector, [<<"last">>, 3_000, self()]),
                {ok, none} = pids(Context, send_many, [Pid, last, 3_000]),
                ok = End(Context),
                ?assertEqual(lists:seq(1, 3_000), collected(Pid))
            end
         || End <- [fun py_context:stop/1]
        ],
        ?assertEqual(ok, py_leaks:eventually(fun() -> relays(Config) =:= [] end))
    end).

message_to_a_dead_process_of_another_node_is_no_error(Config) ->
    py_suite:with_connected_node(fun(Node) ->
        Pid = spawn(Node, erlang, self, []),
        [?assertEqual({ok, none}, send(Config, Pid, I)) || I <- lists:seq(1, 10)]
    end).

message_to_a_lost_node_is_no_error(Config) ->
    Pid = py_suite:with_connected_node(fun(Node) ->
        Far = spawn(Node, ?MODULE, collector, [<<"far">>, 1, self()]),
        {ok, none} = send(Config, Far, {far, 1}),
        [1] = collected(Far),
        Far
    end),
    ?assertEqual({ok, none}, send(Config, Pid, lost)),
    ?assertEqual({ok, none}, send(Config, {<<"ct_far">>, atom_to_binary(node(Pid))}, lost)),
    ?assertEqual({ok, none}, send(Config, self(), 1)),
    ?assertEqual([1], py_suite:flush()).

messages_that_wait_are_bounded(Config) ->
    py_suite:with_connected_node(fun(Node) ->
        First = spawn(Node, ?MODULE, collector, [<<"first">>, 1, self()]),
        {ok, none} = send(Config, First, {first, 1}),
        [1] = collected(First),
        [Relay] = relays(Config),
        Sink = spawn(Node, ?MODULE, sink, [self()]),
        true = erlang:suspend_process(Relay),
        {ok, {Count, Text}} = pids(Config, send_until_refused, [Sink, waits, 2_000_000]),
        ?assert(is_binary(Text)),
        %% Local processes are not concerned.
        ?assertEqual({ok, none}, send(Config, self(), 1)),
        ?assertEqual([1], py_suite:flush()),
        true = erlang:resume_process(Relay),
        %% There is room again after a while.
        ?assertEqual(ok, py_leaks:eventually(fun() -> {ok, none} =:= send(Config, Sink, {waits, Count + 1}) end)),
        ?assertEqual({ok, none}, send(Config, Sink, stop)),
        receive
            {sunk, Sink, Numbers} -> ?assertEqual(lists:seq(1, Count + 1), Numbers)
        end
    end).

sink(Test) ->
    Test ! {sunk, self(), sunk()}.

sunk() ->
    receive
        {<<"waits">>, I} -> [I | sunk()];
        <<"stop">> -> []
    end.

name_may_be_one_of_the_own_node(Config) ->
    py_suite:with_connected_node(fun(_) ->
        true = register(?MODULE, self()),
        Name = {atom_to_binary(?MODULE), atom_to_binary(node())},
        [?assertEqual({ok, none}, send(Config, Name, {mine, I})) || I <- lists:seq(1, 100)],
        ?assertEqual(lists:seq(1, 100), numbers(<<"mine">>, 100)),
        true = unregister(?MODULE)
    end).

message_to_another_node_without_distribution_is_no_error(Config) ->
    ?assertEqual({ok, none}, send(Config, far_pid(), 1)),
    ?assertEqual({ok, none}, send(Config, {<<"init">>, atom_to_binary(node(far_pid()))}, 1)),
    ?assertEqual({ok, 4.0}, py:call(?config(ctx, Config), math, sqrt, [16])).
