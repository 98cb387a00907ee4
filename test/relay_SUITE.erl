%% Messages of Python code to other nodes: their order, and what becomes of them when something ends.
-module(relay_SUITE).

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
        %% The relay itself, for a process that stands for a context.
        messages_reach_another_node_in_their_order,
        reports_add_up_to_what_was_sent,
        receivers_that_are_not_there_hold_nothing_up,
        what_came_before_the_end_of_the_context_is_sent,
        what_came_before_the_end_of_the_application_is_sent,
        stray_messages_do_nothing,
        %% The relay of a context.
        context_has_one_relay_from_its_first_message_on,
        python_sends_to_another_node_in_order,
        messages_wait_up_to_a_bound,
        killed_relay_leaves_room_for_others,
        what_was_accepted_before_the_end_is_sent,
        what_was_accepted_during_the_end_is_sent
    ]).

init_per_suite(Config) ->
    %% What the distribution takes with its first start stays.
    ok = py_suite:with_connected_node(fun(_Node) -> ok end),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, Config) ->
    ok = py_suite:restart(Config, #{}).

%% ------------------------------------------------------------------------------------------------

%% Tells the test how many messages have come in which order.
receiver(Test, Count) ->
    Got = [
        receive
            N when is_integer(N) -> N
        end
     || _ <- lists:seq(1, Count)
    ],
    Test ! {got, self(), Got}.

got(Receiver) ->
    receive
        {got, Receiver, Got} -> Got
    after 30_000 -> ct:fail({not_all_came, py_suite:flush()})
    end.

%% What the relay says that it has sent, until it is so many.
reported(_Relay, 0) ->
    [];
reported(Relay, Count) when Count > 0 ->
    receive
        {py_relay, Relay, Sent} -> [Sent | reported(Relay, Count - Sent)]
    after 30_000 -> ct:fail({not_reported, Count})
    end.

relay(Context) ->
    {ok, Relay} = py_callback_sup:start_relay(Context),
    Relay.

%% Messages wait in its mailbox until it goes on.
held(Relay) ->
    true = erlang:suspend_process(Relay),
    Relay.

%% ------------------------------------------------------------------------------------------------

messages_reach_another_node_in_their_order(_Config) ->
    py_suite:with_connected_node(fun(Node) ->
        Relay = relay(self()),
        Count = 1_000,
        ByPid = spawn(Node, ?MODULE, receiver, [self(), Count]),
        ByName = spawn(Node, ?MODULE, named_receiver, [self(), Count]),
        receive
            {named, ByName} -> ok
        end,
        [
            ok = py_relay:send(Relay, To, N)
         || N <- lists:seq(1, Count), To <- [ByPid, {?MODULE, Node}]
        ],
        ?assertEqual(lists:seq(1, Count), got(ByPid)),
        ?assertEqual(lists:seq(1, Count), got(ByName)),
        _ = reported(Relay, 2 * Count)
    end).

%% The case before may just have told what it got, and end with its name.
take_name() ->
    Monitor = erlang:monitor(process, ?MODULE),
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end,
    true = register(?MODULE, self()),
    ok.

named_receiver(Test, Count) ->
    ok = take_name(),
    Test ! {named, self()},
    receiver(Test, Count).

reports_add_up_to_what_was_sent(_Config) ->
    Relay = held(relay(self())),
    [
        begin
            Receiver = spawn_link(?MODULE, receiver, [self(), Count]),
            [ok = py_relay:send(Relay, Receiver, N) || N <- lists:seq(1, Count)],
            true = erlang:resume_process(Relay),
            Reports = reported(Relay, Count),
            ?assertEqual(lists:seq(1, Count), got(Receiver)),
            %% No report for each message.
            ?assert(length(Reports) =< 2 + Count div 64),
            _ = held(Relay)
        end
     || Count <- [1, 63, 64, 65, 1_000]
    ],
    true = erlang:resume_process(Relay),
    _ = sys:get_state(Relay),
    ?assertEqual([], py_suite:flush()).

receivers_that_are_not_there_hold_nothing_up(_Config) ->
    Relay = relay(self()),
    Dead = spawn(fun() -> ok end),
    [
        ok = py_relay:send(Relay, To, 1)
     || To <- [Dead, {no_such_name, node()}, {?MODULE, 'no_such_node@no.such.host'}, {?MODULE, no_node}]
    ],
    _ = reported(Relay, 4),
    Receiver = spawn_link(?MODULE, receiver, [self(), 1]),
    ok = py_relay:send(Relay, Receiver, 5),
    ?assertEqual([5], got(Receiver)).

what_came_before_the_end_of_the_context_is_sent(_Config) ->
    Context = spawn(fun() ->
        receive
            never -> ok
        end
    end),
    Relay = held(relay(Context)),
    Monitor = erlang:monitor(process, Relay),
    Receiver = spawn_link(?MODULE, receiver, [self(), 200]),
    [ok = py_relay:send(Relay, Receiver, N) || N <- lists:seq(1, 200)],
    ok = py_suite:killed(Context),
    true = erlang:resume_process(Relay),
    ?assertEqual(lists:seq(1, 200), got(Receiver)),
    receive
        {'DOWN', Monitor, process, Relay, Reason} -> ?assertEqual(normal, Reason)
    end.

what_came_before_the_end_of_the_application_is_sent(_Config) ->
    Relay = held(relay(self())),
    Receiver = spawn_link(?MODULE, receiver, [self(), 200]),
    [ok = py_relay:send(Relay, Receiver, N) || N <- lists:seq(1, 200)],
    {Stopping, Monitor} = spawn_monitor(fun() ->
        %% The holder of a process lets it go with its own end.
        py_suite:stop()
    end),
    %% It stops in the supervisor that waits for the relay.
    ?assertEqual(ok, py_leaks:eventually(fun() -> has_exit_signal(Relay) end)),
    true = erlang:resume_process(Relay),
    ?assertEqual(lists:seq(1, 200), got(Receiver)),
    receive
        {'DOWN', Monitor, process, Stopping, Reason} -> ?assertEqual(normal, Reason)
    end,
    ?assertNot(is_process_alive(Relay)).

has_exit_signal(Relay) ->
    {messages, Messages} = process_info(Relay, messages),
    lists:keymember('EXIT', 1, Messages).

stray_messages_do_nothing(_Config) ->
    Relay = relay(self()),
    Relay ! stray,
    Relay ! {relay, too, many, elements},
    ok = gen_server:cast(Relay, stray),
    ?assertEqual({error, unexpected_call}, gen_server:call(Relay, stray)),
    ok = py_relay:send(Relay, self(), hello),
    receive
        hello -> ok
    end,
    ?assertEqual([1], reported(Relay, 1)).

%% ------------------------------------------------------------------------------------------------

%% Names with a node go to the relay whatever the node.
sends(Context, Numbers) ->
    py:eval(
        Context,
        <<"[__import__('erlang').send((name, node), n) for n in numbers] and None">>,
        #{name => ?MODULE, node => node(), numbers => Numbers}
    ).

relays() ->
    [Relay || {_, Relay, _, _} <- supervisor:which_children(py_relay_sup)].

%% Under the name that `sends' sends to.
named(Count) ->
    Receiver = spawn_link(?MODULE, named_receiver, [self(), Count]),
    receive
        {named, Receiver} -> Receiver
    end.

context_has_one_relay_from_its_first_message_on(Config) ->
    Context = py_suite:new_context(Config),
    Other = py_suite:new_context(Config),
    {ok, none} = py:eval(Context, <<"__import__('erlang').send(to, 0)">>, #{to => self()}),
    ?assertEqual([], relays()),
    Receiver = named(3),
    [?assertEqual({ok, none}, sends(Context, [N])) || N <- [1, 2, 3]],
    ?assertEqual([1, 2, 3], got(Receiver)),
    [Relay] = relays(),
    {ok, none} = sends(Other, [4]),
    ?assertEqual(ok, py_leaks:eventually(fun() -> length(relays()) =:= 2 end)),
    Monitor = erlang:monitor(process, Relay),
    ok = py_context:stop(Context),
    receive
        {'DOWN', Monitor, process, Relay, Reason} -> ?assertEqual(normal, Reason)
    end,
    ok = py_context:stop(Other),
    ?assertEqual(ok, py_leaks:eventually(fun() -> relays() =:= [] end)),
    ?assertEqual([0], py_suite:flush()).

python_sends_to_another_node_in_order(Config) ->
    Context = py_suite:new_context(Config),
    py_suite:with_connected_node(fun(Node) ->
        Count = 5_000,
        ByPid = spawn(Node, ?MODULE, receiver, [self(), Count]),
        ByName = spawn(Node, ?MODULE, named_receiver, [self(), Count]),
        receive
            {named, ByName} -> ok
        end,
        ?assertEqual(
            {ok, none},
            py:eval(
                Context,
                <<"[e.send(to, n) for n in range(1, count + 1) for to in (pid, (name, node))] and None">>,
                #{e => module(Context), pid => ByPid, name => ?MODULE, node => Node, count => Count}
            )
        ),
        ?assertEqual(lists:seq(1, Count), got(ByPid)),
        ?assertEqual(lists:seq(1, Count), got(ByName))
    end),
    ok = py_context:stop(Context).

%% The package, as a value for the code.
module(Context) ->
    {ok, Module} = py:eval(Context, <<"__import__('erlang')">>),
    Module.

messages_wait_up_to_a_bound(Config) ->
    Context = py_suite:new_context(Config),
    Relay = held(first_relay(Context)),
    %% The report of that first message may be on its way.
    Receiver = named(9_999),
    ?assertEqual({ok, none}, sends(Context, lists:seq(1, 5_000))),
    Refused = sends(Context, lists:seq(5_001, 15_000)),
    py_suite:contains(py_suite:error_text('ProcessError', Refused), "10000 messages to other nodes wait"),
    true = erlang:resume_process(Relay),
    ?assertEqual(lists:seq(1, 9_999), got(Receiver)),
    %% What is sent makes room.
    Next = named(9_999),
    [
        ?assertEqual(ok, py_leaks:eventually(fun() -> {ok, none} =:= sends(Context, [N]) end))
     || N <- lists:seq(1, 9_999)
    ],
    ?assertEqual(lists:seq(1, 9_999), got(Next)),
    ok = py_context:stop(Context).

%% Of a context, and the message that it was started for has been sent.
first_relay(Context) ->
    Receiver = named(1),
    {ok, none} = sends(Context, [0]),
    [0] = got(Receiver),
    [Relay] = relays(),
    Relay.

killed_relay_leaves_room_for_others(Config) ->
    Context = py_suite:new_context(Config),
    Relay = held(first_relay(Context)),
    ?assertEqual({ok, none}, sends(Context, lists:seq(1, 9_000))),
    _ = sys:get_state(Context),
    py_suite:silently(fun() -> py_suite:killed(Relay) end),
    _ = sys:get_state(Context),
    Receiver = named(9_000),
    ?assertEqual({ok, none}, sends(Context, lists:seq(1, 9_000))),
    ?assertEqual(lists:seq(1, 9_000), got(Receiver)),
    ?assertNotEqual([Relay], relays()),
    ok = py_context:stop(Context).

what_was_accepted_before_the_end_is_sent(Config) ->
    Context = py_suite:new_context(Config),
    Receiver = named(2_000),
    {ok, none} = sends(Context, lists:seq(1, 1_000)),
    ok = py_context:stop(Context),
    Killed = py_suite:new_context(Config),
    {ok, none} = sends(Killed, lists:seq(1_001, 2_000)),
    _ = sys:get_state(Killed),
    ok = py_suite:silently(fun() -> py_suite:killed(Killed) end),
    ?assertEqual(lists:seq(1, 2_000), lists:sort(got(Receiver))).

%% A thread of Python's own sends until it is told that the context has ended, and tells the test what it sent.
what_was_accepted_during_the_end_is_sent(Config) ->
    Context = py_suite:new_context(Config),
    Receiver = spawn_link(?MODULE, named_collector, [self()]),
    receive
        {named, Receiver} -> ok
    end,
    ok = py:exec(Context, <<
        "import erlang, threading\n"
        "def run(name, node, test):\n"
        "    n = 0\n"
        "    while True:\n"
        "        try:\n"
        "            erlang.send((name, node), n)\n"
        "            erlang.send(test, n)\n"
        "            n += 1\n"
        "        except RuntimeError as error:\n"
        "            if 'wait to be sent' not in str(error):\n"
        "                break\n"
        "def start(*args):\n"
        "    threading.Thread(target=run, args=args).start()\n"
    >>),
    {ok, none} = py:call(Context, '__main__', start, [?MODULE, node(), self()]),
    receive
        100 -> ok
    end,
    ok = py_context:stop(Context),
    ?assertEqual(ok, py_leaks:eventually(fun() -> relays() =:= [] end)),
    Receiver ! {how_many, self()},
    receive
        %% The last one may have been sent without the test being told.
        {so_many, Receiver, Count} -> ?assert(lists:member(Count - 1 - lists:max([100 | py_suite:flush()]), [0, 1]))
    end.

named_collector(Test) ->
    ok = take_name(),
    Test ! {named, self()},
    collect(0).

collect(Next) ->
    receive
        Next -> collect(Next + 1);
        {how_many, Test} -> Test ! {so_many, self(), Next}
    end.
