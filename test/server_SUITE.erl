%% erlang.server: Erlang opens sockets, and Python's protocols and applications answer on them.
-module(server_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).
-define(LOCALHOST, {127, 0, 0, 1}).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        listener_of_gen_tcp_is_served,
        listener_of_the_socket_module_is_served,
        bound_socket_that_does_not_listen_yet_is_served,
        unix_socket_is_served,
        datagrams_are_served,
        stream_handler_is_served,
        object_with_a_coroutine_call_is_served,
        tls_is_served,
        server_outlives_the_run_that_started_it,
        queue_of_the_listener_keeps_its_length,
        backlog_sets_the_length_of_the_queue,
        calls_are_answered_while_connections_wait,
        exception_of_a_protocol_ends_its_connection_alone,
        connection_of_gen_tcp_is_adopted,
        connection_of_the_socket_module_is_adopted,
        tls_connection_is_adopted,
        end_of_an_adopted_connection_is_seen_while_erlang_holds_it,
        abort_of_an_adopted_connection_is_seen_while_erlang_holds_it,
        erlang_accepts_on_what_python_no_longer_serves,
        python_serves_on_what_erlang_has_closed,
        contexts_serve_one_listener_together,
        end_of_the_context_ends_its_connections_alone,
        stop_waits_for_connections,
        stop_does_not_wait_when_told_so,
        stop_of_one_leaves_the_others,
        what_is_not_right_is_refused,
        refused_descriptor_stays_open_once,
        asgi_application_answers,
        asgi_connection_goes_on_after_a_response,
        asgi_body_comes_in_chunks,
        asgi_response_goes_out_in_pieces,
        asgi_request_waits_to_be_continued,
        asgi_answer_arrives_although_the_body_is_not_read,
        asgi_failure_is_answered_and_logged,
        asgi_failure_halfway_breaks_the_connection,
        asgi_refuses_what_can_be_read_in_two_ways,
        asgi_application_hears_of_disconnects,
        asgi_lifespan_is_followed,
        asgi_application_that_cannot_start_is_not_served,
        stop_ends_idle_http_connections,
        thousands_of_connections_leave_nothing
    ]).

init_per_group(Mode, Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    case py_suite:init_group(Mode, Config, #{num_contexts => 1}) of
        {skip, _} = Skip -> Skip;
        Started -> certificate(Started)
    end.

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    Context = py:context(),
    ok = py_suite:python_path(Context),
    [{ctx, Context} | Config].

end_per_testcase(_Case, Config) ->
    {ok, none} = run(stop, []),
    py_suite:all_is_well(Config).

%% ------------------------------------------------------------------------------------------------
%% Serving

listener_of_gen_tcp_is_served(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)]),
        ?assertEqual(<<"hello">>, ask(Port, <<"hello">>))
    end).

listener_of_the_socket_module_is_served(_Config) ->
    {Listener, Port} = bound_socket(),
    ok = socket:listen(Listener),
    {ok, none} = run(serve, [socket_fd(Listener)]),
    ?assertEqual(<<"hello">>, ask(Port, <<"hello">>)),
    ok = socket:close(Listener).

bound_socket_that_does_not_listen_yet_is_served(_Config) ->
    {Listener, Port} = bound_socket(),
    {ok, none} = run(serve, [socket_fd(Listener)]),
    ?assertEqual(<<"hello">>, ask(Port, <<"hello">>)),
    ok = socket:close(Listener).

unix_socket_is_served(Config) ->
    Path = filename:join("/tmp", "py_server_" ++ os:getpid() ++ atom_to_list(py_suite:mode(Config))),
    _ = file:delete(Path),
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ifaddr, {local, Path}}]),
    {ok, none} = run(serve, [fd(Listener)]),
    {ok, Client} = gen_tcp:connect({local, Path}, 0, [local, binary, {active, false}]),
    ?assertEqual(<<"hello">>, exchange(Client, <<"hello">>)),
    ok = gen_tcp:close(Client),
    ok = gen_tcp:close(Listener),
    ok = file:delete(Path).

datagrams_are_served(_Config) ->
    {ok, Socket} = gen_udp:open(0, [binary, {active, false}, {ip, ?LOCALHOST}]),
    {ok, Port} = inet:port(Socket),
    {ok, none} = run(serve, [fd(Socket), <<"EchoDatagrams">>], #{udp => true}),
    {ok, Client} = gen_udp:open(0, [binary, {active, false}, {ip, ?LOCALHOST}]),
    ok = gen_udp:send(Client, ?LOCALHOST, Port, <<"hello">>),
    ?assertEqual({ok, {?LOCALHOST, Port, <<"hello">>}}, gen_udp:recv(Client, 0, ?DEADLINE)),
    %% What comes later is Erlang's again.
    {ok, none} = run(stop, []),
    ok = gen_udp:send(Client, ?LOCALHOST, Port, <<"later">>),
    ?assertMatch({ok, {?LOCALHOST, _, <<"later">>}}, gen_udp:recv(Socket, 0, ?DEADLINE)),
    ok = gen_udp:close(Client),
    ok = gen_udp:close(Socket).

stream_handler_is_served(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener), shout]),
        ?assertEqual(<<"HELLO\n">>, ask(Port, <<"hello\n">>))
    end).

object_with_a_coroutine_call_is_served(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener), <<"Shout">>]),
        ?assertEqual(<<"HELLO\n">>, ask(Port, <<"hello\n">>))
    end).

tls_is_served(Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve_tls, [fd(Listener) | ?config(certificate, Config)]),
        {ok, Client} = ssl:connect(?LOCALHOST, Port, [binary, {active, false}, {verify, verify_none}], ?DEADLINE),
        ok = ssl:send(Client, <<"hello">>),
        ?assertEqual({ok, <<"hello">>}, ssl:recv(Client, 5, ?DEADLINE)),
        ok = ssl:close(Client)
    end).

server_outlives_the_run_that_started_it(Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = py:call(?config(ctx, Config), ct_server, run_serve, [fd(Listener)]),
        ?assertEqual(<<"hello">>, ask(Port, <<"hello">>))
    end).

queue_of_the_listener_keeps_its_length(_Config) ->
    with_listener(fun(Listener, Port) ->
        Length = queue_length(Listener),
        {ok, none} = run(serve, [fd(Listener)]),
        ?assertEqual(<<"hello">>, ask(Port, <<"hello">>)),
        ?assertEqual(Length, queue_length(Listener))
    end).

backlog_sets_the_length_of_the_queue(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)], #{backlog => 7}),
        ?assertEqual(<<"hello">>, ask(Port, <<"hello">>)),
        ?assertEqual(7, queue_length(Listener))
    end).

calls_are_answered_while_connections_wait(Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)]),
        Clients = [connect(Port) || _ <- lists:seq(1, 50)],
        [?assertEqual({ok, N}, py:call(?config(ctx, Config), builtins, int, [N])) || N <- lists:seq(1, 100)],
        [?assertEqual(<<"hello">>, exchange(Client, <<"hello">>)) || Client <- Clients],
        [ok = gen_tcp:close(Client) || Client <- Clients]
    end).

exception_of_a_protocol_ends_its_connection_alone(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)]),
        Other = connect(Port),
        ?assertEqual(<<"hello">>, exchange(Other, <<"hello">>)),
        py_suite:silently(fun() ->
            Failing = connect(Port),
            ok = gen_tcp:send(Failing, <<"fail">>),
            ?assertEqual({error, closed}, gen_tcp:recv(Failing, 0, ?DEADLINE))
        end),
        ?assertEqual(<<"again">>, exchange(Other, <<"again">>)),
        ok = gen_tcp:close(Other)
    end).

%% ------------------------------------------------------------------------------------------------
%% Adopting

connection_of_gen_tcp_is_adopted(_Config) ->
    with_connection(fun(Client, Accepted) ->
        {ok, none} = run(adopt, [fd(Accepted)]),
        ok = gen_tcp:close(Accepted),
        ?assertEqual(<<"hello">>, exchange(Client, <<"hello">>)),
        ok = gen_tcp:send(Client, <<"close">>),
        ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE))
    end).

connection_of_the_socket_module_is_adopted(_Config) ->
    {Listener, Port} = bound_socket(),
    ok = socket:listen(Listener),
    Client = connect(Port),
    {ok, Accepted} = socket:accept(Listener, ?DEADLINE),
    {ok, none} = run(adopt, [socket_fd(Accepted)]),
    ok = socket:close(Accepted),
    ?assertEqual(<<"hello">>, exchange(Client, <<"hello">>)),
    ok = gen_tcp:close(Client),
    ok = socket:close(Listener).

tls_connection_is_adopted(Config) ->
    with_connection(fun(Client, Accepted) ->
        Adopting = py:async_call(ct_server, adopt_tls, [fd(Accepted) | ?config(certificate, Config)]),
        {ok, Secure} = ssl:connect(Client, [{verify, verify_none}], ?DEADLINE),
        {ok, none} = py:async_await(Adopting),
        ok = gen_tcp:close(Accepted),
        ok = ssl:send(Secure, <<"hello">>),
        ?assertEqual({ok, <<"hello">>}, ssl:recv(Secure, 5, ?DEADLINE)),
        ok = ssl:close(Secure)
    end).

end_of_an_adopted_connection_is_seen_while_erlang_holds_it(_Config) ->
    adopted_ends(<<"close">>).

abort_of_an_adopted_connection_is_seen_while_erlang_holds_it(_Config) ->
    adopted_ends(<<"abort">>).

adopted_ends(Order) ->
    with_connection(fun(Client, Accepted) ->
        {ok, none} = run(adopt, [fd(Accepted)]),
        ok = gen_tcp:send(Client, Order),
        ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
        ok = gen_tcp:close(Accepted)
    end).

%% ------------------------------------------------------------------------------------------------
%% Whose descriptor it is

erlang_accepts_on_what_python_no_longer_serves(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)]),
        ?assertEqual(<<"hello">>, ask(Port, <<"hello">>)),
        {ok, none} = run(stop, []),
        Client = connect(Port),
        {ok, Accepted} = gen_tcp:accept(Listener, ?DEADLINE),
        ok = gen_tcp:send(Accepted, <<"from Erlang">>),
        ?assertEqual({ok, <<"from Erlang">>}, gen_tcp:recv(Client, 0, ?DEADLINE)),
        ok = gen_tcp:close(Client),
        ok = gen_tcp:close(Accepted)
    end).

python_serves_on_what_erlang_has_closed(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)]),
        ok = gen_tcp:close(Listener),
        ?assertEqual(<<"hello">>, ask(Port, <<"hello">>)),
        {ok, none} = run(stop, []),
        ?assertEqual({error, econnrefused}, gen_tcp:connect(?LOCALHOST, Port, []))
    end).

contexts_serve_one_listener_together(Config) ->
    with_listener(fun(Listener, Port) ->
        Names = [<<"first">>, <<"second">>],
        Contexts = [serving_context(Config, Listener, Name) || Name <- Names],
        %% Whoever of them is served by both in turn has met both.
        ?assertEqual(Names, met(Port, Names, [])),
        [ok = py_context:stop(Context) || Context <- Contexts],
        %% The listener is still Erlang's.
        Client = connect(Port),
        {ok, Accepted} = gen_tcp:accept(Listener, ?DEADLINE),
        [ok = gen_tcp:close(Socket) || Socket <- [Client, Accepted]]
    end).

%% Connects, many at once, until each name has answered.
met(_Port, Names, Met) when length(Met) =:= length(Names) ->
    lists:sort(Met);
met(Port, Names, Met) ->
    Clients = [connect(Port) || _ <- lists:seq(1, 20)],
    Answers = [exchange(Client, <<"who">>) || Client <- Clients],
    [ok = gen_tcp:close(Client) || Client <- Clients],
    [?assert(lists:member(Answer, Names)) || Answer <- Answers],
    met(Port, Names, lists:usort(Answers ++ Met)).

end_of_the_context_ends_its_connections_alone(Config) ->
    with_listener(fun(Listener, Port) ->
        Ending = serving_context(Config, Listener, <<"ending">>),
        Client = connect(Port),
        ?assertEqual(<<"ending">>, exchange(Client, <<"who">>)),
        Staying = serving_context(Config, Listener, <<"staying">>),
        ok = py_context:stop(Ending),
        ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
        ?assertEqual(<<"staying">>, ask(Port, <<"who">>)),
        ok = py_context:stop(Staying)
    end).

serving_context(Config, Listener, Name) ->
    Context = py_suite:new_context(Config),
    ok = py_suite:python_path(Context),
    {ok, none} = py_context:submit_await(Context, ct_server, serve_as, [fd(Listener), Name]),
    Context.

%% ------------------------------------------------------------------------------------------------
%% Stopping

stop_waits_for_connections(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)]),
        Client = connect(Port),
        ?assertEqual(<<"hello">>, exchange(Client, <<"hello">>)),
        Stopping = py:async_call(ct_server, stop, []),
        %% The connection still works, and it has worked when this is answered, so the task has begun by then.
        ?assertEqual(<<"again">>, exchange(Client, <<"again">>)),
        ok = gen_tcp:close(Client),
        ?assertEqual({ok, none}, py:async_await(Stopping))
    end).

stop_does_not_wait_when_told_so(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)]),
        Client = connect(Port),
        ?assertEqual(<<"hello">>, exchange(Client, <<"hello">>)),
        {ok, none} = run(stop, [], #{wait_closed => false}),
        ?assertEqual(<<"again">>, exchange(Client, <<"again">>)),
        ok = gen_tcp:close(Client)
    end).

stop_of_one_leaves_the_others(_Config) ->
    with_listener(fun(Kept, Port) ->
        with_listener(fun(Stopped, _) ->
            {ok, none} = run(serve_and_stop_one, [fd(Kept), fd(Stopped)]),
            ?assertEqual(<<"hello">>, ask(Port, <<"hello">>))
        end)
    end).

%% ------------------------------------------------------------------------------------------------
%% What is refused

what_is_not_right_is_refused(_Config) ->
    {ok, Datagrams} = gen_udp:open(0, [{ip, ?LOCALHOST}]),
    with_listener(fun(Listener, _Port) ->
        Refusals = [
            {serve, [fd(Datagrams), <<"Echo">>], #{}, <<"ValueError">>, "not one for streams"},
            {serve, [fd(Listener), <<"EchoDatagrams">>], #{udp => true}, <<"ValueError">>, "not one for datagrams"},
            {serve, [fd(Datagrams), shout], #{udp => true}, <<"TypeError">>, "protocol factory"},
            {serve, [fd(Datagrams), <<"EchoDatagrams">>], #{udp => true, backlog => 1}, <<"ValueError">>, "backlog"},
            {adopt, [fd(Listener), <<"Echo">>], #{}, <<"ValueError">>, "the socket listens"},
            {serve, [fd(Listener), '_names'], #{}, <<"TypeError">>, "not dict"},
            {serve, [fd(Listener), stop], #{}, <<"TypeError">>, "(reader, writer)"},
            {serve, [1 bsl 20, <<"Echo">>], #{}, <<"OSError">>, "Bad file descriptor"},
            {serve, [-1, <<"Echo">>], #{}, <<"OSError">>, "Bad file descriptor"}
        ],
        lists:foreach(
            fun({Function, Args, Kwargs, Class, Part}) ->
                {ok, {Raised, Text}} = run(outcome, [Function | Args], Kwargs),
                ?assertEqual({Args, Class}, {Args, Raised}),
                py_suite:contains(Text, Part)
            end,
            Refusals
        )
    end),
    ok = gen_udp:close(Datagrams).

refused_descriptor_stays_open_once(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, _} = run(outcome, [adopt, fd(Listener), <<"Echo">>]),
        Before = py_leaks:snapshot(),
        [{ok, _} = run(outcome, [adopt, fd(Listener), <<"Echo">>]) || _ <- lists:seq(1, 20)],
        py_leaks:check(Before),
        {ok, none} = run(serve, [fd(Listener)]),
        ?assertEqual(<<"hello">>, ask(Port, <<"hello">>))
    end).

%% ------------------------------------------------------------------------------------------------
%% ASGI

asgi_application_answers(_Config) ->
    with_web(fun(Port) ->
        Response = request(Port, <<"GET /a%20page?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n">>),
        ?assertMatch(<<"HTTP/1.1 200 OK\r\n", _/binary>>, Response),
        py_suite:contains(Response, "content-type: text/plain\r\n"),
        ?assertEqual(<<"GET /a page x=1 ">>, body(Response))
    end).

asgi_connection_goes_on_after_a_response(_Config) ->
    with_web(fun(Port) ->
        Response = request(Port, <<
            "POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
            "GET /second HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        >>),
        py_suite:contains(Response, "POST /first  hello"),
        ?assertEqual(<<"GET /second  ">>, body(Response))
    end).

asgi_body_comes_in_chunks(_Config) ->
    with_web(fun(Port) ->
        Response = request(Port, <<
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
        >>),
        ?assertEqual(<<"POST /  hello world">>, body(Response))
    end).

asgi_response_goes_out_in_pieces(_Config) ->
    with_web(fun(Port) ->
        Chunked = request(Port, <<"GET /pieces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n">>),
        ?assertEqual(<<"4\r\none \r\n4\r\ntwo \r\n12\r\nGET /pieces  three\r\n0\r\n\r\n">>, body(Chunked)),
        Old = request(Port, <<"GET /pieces HTTP/1.0\r\n\r\n">>),
        ?assertEqual(<<"one two GET /pieces  three">>, body(Old))
    end).

asgi_request_waits_to_be_continued(_Config) ->
    with_web(fun(Port) ->
        Client = connect(Port),
        Head = <<"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n">>,
        ?assertEqual(<<"HTTP/1.1 100 Continue\r\n\r\n">>, exchange(Client, Head, 25)),
        ok = gen_tcp:send(Client, <<"hello">>),
        ?assertEqual(<<"POST /  hello">>, body(all(Client)))
    end).

asgi_answer_arrives_although_the_body_is_not_read(_Config) ->
    with_web(fun(Port) ->
        Small = request(Port, <<
            "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        >>),
        py_suite:contains(Small, "too much"),
        ?assertEqual(<<"GET /  ">>, body(Small)),
        Body = binary:copy(<<"x">>, 5_000_000),
        Large = request(Port, [<<"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n">>, Body]),
        py_suite:contains(Large, "connection: close\r\n"),
        ?assertEqual(<<"too much">>, body(Large))
    end).

asgi_failure_is_answered_and_logged(_Config) ->
    with_web(fun(Port) ->
        py_suite:silently(fun() ->
            Response = request(Port, <<"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n">>),
            ?assertMatch(<<"HTTP/1.1 500 ", _/binary>>, Response)
        end),
        ?assertMatch(<<"HTTP/1.1 200 ", _/binary>>, request(Port, <<"GET / HTTP/1.0\r\n\r\n">>))
    end).

asgi_failure_halfway_breaks_the_connection(_Config) ->
    with_web(fun(Port) ->
        py_suite:silently(fun() ->
            Response = request(Port, <<"GET /half HTTP/1.1\r\nHost: x\r\n\r\n">>),
            %% The last chunk, which is empty, is missing.
            ?assertEqual(nomatch, string:find(Response, "\r\n0\r\n"))
        end)
    end).

asgi_refuses_what_can_be_read_in_two_ways(_Config) ->
    with_web(fun(Port) ->
        Refused = [
            {400, <<"GET / HTTP/1.1\r\n\r\n">>},
            {400, <<"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n">>},
            {400, <<"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n">>},
            {400, <<"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n">>},
            {400, <<"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n">>},
            {400, <<"GET / HTTP/1.1\r\nHost : x\r\n\r\n">>},
            {400, <<"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n">>},
            {400, <<"nonsense\r\n\r\n">>},
            {400, <<"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n">>},
            {501, <<"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n">>},
            {505, <<"GET / HTTP/2.0\r\nHost: x\r\n\r\n">>},
            {431, <<"GET / HTTP/1.1\r\nHost: x\r\nX: ", (binary:copy(<<"x">>, 70_000))/binary>>}
        ],
        lists:foreach(
            fun({Status, Request}) ->
                <<"HTTP/1.1 ", Code:3/binary, _/binary>> = request(Port, Request),
                ?assertEqual({Request, Status}, {Request, binary_to_integer(Code)})
            end,
            Refused
        )
    end).

asgi_application_hears_of_disconnects(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve_telling, [fd(Listener), self()]),
        ok = py_callbacks:await({lifespan, <<"lifespan.startup">>}),
        Client = connect(Port),
        ok = gen_tcp:send(Client, <<"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n">>),
        ok = py_callbacks:await(waiting),
        ok = gen_tcp:close(Client),
        ok = py_callbacks:await({received, <<"http.disconnect">>}),
        {ok, none} = run(stop, []),
        ok = py_callbacks:await({lifespan, <<"lifespan.shutdown">>})
    end).

asgi_lifespan_is_followed(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve_telling, [fd(Listener), self()]),
        ok = py_callbacks:await({lifespan, <<"lifespan.startup">>}),
        ?assertEqual(<<"started">>, body(request(Port, <<"GET / HTTP/1.0\r\n\r\n">>))),
        {ok, none} = run(stop, []),
        ok = py_callbacks:await({lifespan, <<"lifespan.shutdown">>})
    end).

asgi_application_that_cannot_start_is_not_served(_Config) ->
    with_listener(fun(Listener, _Port) ->
        {ok, {<<"RuntimeError">>, Text}} = run(outcome, [serve, fd(Listener), failing_start]),
        py_suite:contains(Text, "no database")
    end).

stop_ends_idle_http_connections(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener), web]),
        Client = connect(Port),
        ok = gen_tcp:send(Client, <<"GET / HTTP/1.1\r\nHost: x\r\n\r\n">>),
        {ok, <<"HTTP/1.1 200 ", _/binary>>} = gen_tcp:recv(Client, 0, ?DEADLINE),
        ?assertEqual({ok, none}, run(stop, [])),
        ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE))
    end).

%% ------------------------------------------------------------------------------------------------
%% Leaks

thousands_of_connections_leave_nothing(_Config) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener)]),
        Some = fun() -> [?assertEqual(<<"hello">>, ask(Port, <<"hello">>)) || _ <- lists:seq(1, 500)] end,
        _ = Some(),
        Before = py_leaks:snapshot(),
        [_ = Some() || _ <- lists:seq(1, 4)],
        py_leaks:check(Before)
    end).

%% ------------------------------------------------------------------------------------------------
%% Tasks, sockets, requests

run(Function, Args) ->
    run(Function, Args, #{}).

run(Function, Args, Kwargs) ->
    py:async_await(py:async_call(ct_server, Function, Args, Kwargs)).

with_listener(Fun) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, ?LOCALHOST}, {backlog, 50}]),
    {ok, Port} = inet:port(Listener),
    _ = Fun(Listener, Port),
    _ = gen_tcp:close(Listener),
    ok.

with_connection(Fun) ->
    with_listener(fun(Listener, Port) ->
        Client = connect(Port),
        {ok, Accepted} = gen_tcp:accept(Listener, ?DEADLINE),
        _ = Fun(Client, Accepted),
        gen_tcp:close(Client)
    end).

with_web(Fun) ->
    with_listener(fun(Listener, Port) ->
        {ok, none} = run(serve, [fd(Listener), web]),
        Fun(Port)
    end).

fd(Socket) ->
    {ok, Fd} = inet:getfd(Socket),
    Fd.

bound_socket() ->
    {ok, Socket} = socket:open(inet, stream, tcp),
    ok = socket:bind(Socket, #{family => inet, addr => ?LOCALHOST, port => 0}),
    {ok, #{port := Port}} = socket:sockname(Socket),
    {Socket, Port}.

socket_fd(Socket) ->
    {ok, Fd} = socket:getopt(Socket, otp, fd),
    Fd.

connect(Port) ->
    {ok, Client} = gen_tcp:connect(?LOCALHOST, Port, [binary, {active, false}]),
    Client.

ask(Port, Data) ->
    Client = connect(Port),
    Answer = exchange(Client, Data),
    ok = gen_tcp:close(Client),
    Answer.

exchange(Client, Data) ->
    exchange(Client, Data, 0).

exchange(Client, Data, Length) ->
    ok = gen_tcp:send(Client, Data),
    {ok, Answer} = gen_tcp:recv(Client, Length, ?DEADLINE),
    Answer.

%% The whole answer, until the server closes.
request(Port, Data) ->
    Client = connect(Port),
    ok = gen_tcp:send(Client, Data),
    all(Client).

all(Client) ->
    case gen_tcp:recv(Client, 0, ?DEADLINE) of
        {ok, Data} ->
            <<Data/binary, (all(Client))/binary>>;
        {error, Reason} ->
            %% The server may close with a request half read.
            ?assert(lists:member(Reason, [closed, econnreset])),
            ok = gen_tcp:close(Client),
            <<>>
    end.

%% Of the last response.
body(Response) ->
    [_Head | Parts] = binary:split(Response, <<"\r\n\r\n">>, [global]),
    case Parts of
        [Body] -> Body;
        [Chunks, <<>>] -> <<Chunks/binary, "\r\n\r\n">>;
        _ -> lists:last(Parts)
    end.

%% `tcpi_sacked' of TCP_INFO, which holds this for sockets that listen.
queue_length(Listener) ->
    {ok, [{raw, 6, 11, <<_:28/binary, Length:32/native, _/binary>>}]} = inet:getopts(Listener, [{raw, 6, 11, 32}]),
    Length.

certificate(Config) ->
    Options = [{key, {namedCurve, secp256r1}}, {digest, sha256}],
    #{server_config := Server} = public_key:pkix_test_data(#{
        server_chain => #{root => Options, intermediates => [], peer => Options},
        client_chain => #{root => Options, intermediates => [], peer => Options}
    }),
    {KeyType, Key} = proplists:get_value(key, Server),
    Folder = ?config(priv_dir, Config),
    Write = fun(Name, Entry) ->
        File = filename:join(Folder, Name),
        ok = file:write_file(File, public_key:pem_encode([Entry])),
        unicode:characters_to_binary(File)
    end,
    Certificate = Write("certificate.pem", {'Certificate', proplists:get_value(cert, Server), not_encrypted}),
    [{certificate, [Certificate, Write("key.pem", {KeyType, Key, not_encrypted})]} | Config].
