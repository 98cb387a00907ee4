%% Descriptors belong to whoever opened them: by their numbers nobody gets at those of the node, or of another context.
-module(sandbox_descriptors_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            functions_refuse_descriptors_of_the_node,
            constructors_refuse_descriptors_of_the_node,
            ranges_with_descriptors_of_the_node_are_left_alone,
            numbers_in_use_are_not_taken_over,
            numbers_that_the_node_reuses_are_not_closed,
            openers_give_descriptors_of_the_context_only,
            signals_are_not_asked_for,
            standard_output_can_be_written_and_nothing_else,
            questions_about_any_descriptor_are_answered,
            what_is_not_open_is_an_oserror,
            what_the_context_opened_is_its_own,
            objects_give_numbers_that_are_the_context_s,
            what_c_code_opened_is_adopted,
            descriptors_that_arrive_by_a_socket_are_the_context_s,
            modules_made_anew_refuse_too,
            threads_are_refused_too,
            connections_are_handed_over,
            sockets_of_erlang_are_handed_over_to_servers
        ],
        [descriptors_of_another_context_are_strange]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group_with_context(Mode, Config, fun install/1).

install(Context) ->
    ok = py_suite:python_path(Context),
    py:exec(Context, <<"import ct_fds">>).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% A socket of the node's, with something to read; every case finds it as it was.
init_per_testcase(_Case, Config) ->
    {ok, Socket} = gen_udp:open(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_udp:send(Socket, {127, 0, 0, 1}, Port, <<"whole">>),
    {ok, Fd} = inet:getfd(Socket),
    [{socket, Socket}, {fd, Fd} | Config].

end_per_testcase(_Case, Config) ->
    Socket = ?config(socket, Config),
    ?assertMatch({ok, {_, _, <<"whole">>}}, gen_udp:recv(Socket, 0, 1000)),
    ok = gen_udp:close(Socket),
    ok = py_suite:both_answer(Config).

functions_refuse_descriptors_of_the_node(Config) -> all_refused(Config, functions).

constructors_refuse_descriptors_of_the_node(Config) -> all_refused(Config, constructors).

ranges_with_descriptors_of_the_node_are_left_alone(Config) -> run(Config, ranges).

numbers_in_use_are_not_taken_over(Config) -> run(Config, taking_over).

%% A socket's number that was closed, and that the node has opened something else by meanwhile.
numbers_that_the_node_reuses_are_not_closed(Config) ->
    Context = ?config(ctx, Config),
    {ok, Freed} = py:call(Context, ct_fds, close_one, []),
    Sockets = until_used(Freed, []),
    ?assertMatch({error, {'RuntimeError', _}}, py:call(Context, ct_fds, close_again, [Freed])),
    lists:foreach(fun(Socket) -> ok = gen_udp:close(Socket) end, Sockets).

until_used(Freed, Sockets) ->
    {ok, Socket} = gen_udp:open(0),
    case inet:getfd(Socket) of
        {ok, Freed} -> [Socket | Sockets];
        {ok, _} when length(Sockets) < 100 -> until_used(Freed, [Socket | Sockets])
    end.

openers_give_descriptors_of_the_context_only(Config) -> run(Config, openers).

signals_are_not_asked_for(Config) -> run(Config, signals).

standard_output_can_be_written_and_nothing_else(Config) -> run(Config, standard).

questions_about_any_descriptor_are_answered(Config) -> run(Config, questions).

what_is_not_open_is_an_oserror(Config) -> run(Config, not_open).

what_the_context_opened_is_its_own(Config) -> run(Config, own).

objects_give_numbers_that_are_the_context_s(Config) -> run(Config, objects).

%% The code says so itself, and nobody can prove it wrong; what is known to be another's is not adopted.
what_c_code_opened_is_adopted(Config) ->
    ok = run(Config, adopted),
    Sandbox = #{ctypes => false, native => false},
    {ok, Limited} = py_context:new(#{mode => py_suite:mode(Config), sandbox => Sandbox}),
    ok = install(Limited),
    ?assertEqual({ok, none}, py:call(Limited, ct_fds, adopts_nothing, [?config(fd, Config)])),
    ok = py_context:stop(Limited).

descriptors_that_arrive_by_a_socket_are_the_context_s(Config) -> run(Config, passed).

modules_made_anew_refuse_too(Config) -> run(Config, anew).

threads_are_refused_too(Config) -> run(Config, threads).

descriptors_of_another_context_are_strange(Config) ->
    Other = py_suite:new_context(Config),
    ok = install(Other),
    {ok, Fd} = py:call(Other, ct_fds, keep_one, []),
    ?assertMatch({error, {'RuntimeError', _}}, py:call(?config(ctx, Config), ct_fds, close_again, [Fd])),
    ?assertMatch({error, {'RuntimeError', _}}, py:call(?config(ctx, Config), erlang, adopt_descriptor, [Fd])),
    ?assertEqual({ok, none}, py:call(Other, ct_fds, close_again, [Fd])),
    ok = py_context:stop(Other).

%% Erlang means the code to have it.
connections_are_handed_over(Config) ->
    py_reactors:with(Config, 'Direct', #{app_module => ct_fds}, fun(Reactor) ->
        {Client, Accepted} = py_reactors:connection(),
        ?assertEqual(ok, py_reactor_context:handoff(Reactor, Accepted, #{})),
        ?assertEqual(<<"HELLO">>, py_reactors:exchange(Client, <<"hello">>)),
        ?assertEqual(<<"AGAIN">>, py_reactors:exchange(Client, <<"again">>)),
        ok = gen_tcp:close(Client)
    end).

sockets_of_erlang_are_handed_over_to_servers(Config) ->
    ?assertEqual({ok, true}, py:call(?config(ctx, Config), ct_fds, duplicates, [?config(fd, Config)])).

%%% Helpers

run(Config, Case) ->
    ?assertEqual({ok, none}, py:call(?config(ctx, Config), ct_fds, Case, [?config(fd, Config)])).

%% Each of them, by its name.
all_refused(Config, Table) ->
    {ok, Outcomes} = py:call(?config(ctx, Config), ct_fds, outcomes, [Table, ?config(fd, Config)]),
    ?assert(map_size(Outcomes) > 5),
    ?assertEqual(#{}, maps:filter(fun(_, Outcome) -> Outcome =/= <<"RuntimeError">> end, Outcomes)).
