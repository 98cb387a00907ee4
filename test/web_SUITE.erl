%% py_web: applications answer on connections that Erlang accepts. Requests, limits, servers.
-module(web_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_web_cases, [web/2, start/2, options/2, with_packages/3, client/4, silently/1, told/1, connect/1, connect/2]).
-import(py_web_cases, [get/2, post/2, ask/2, response/1, request/2, all/1, status/1, body/1, flooded/1]).

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).
-define(LOCALHOST, {127, 0, 0, 1}).
-define(NAME, web_of_the_case).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        application_is_told_of_the_request,
        connection_goes_on_after_a_response,
        requests_that_came_together_are_answered_in_order,
        more_requests_than_are_answered_at_once_are_all_answered,
        variables_of_a_request_end_with_it,
        body_comes_in_chunks,
        response_goes_out_in_pieces,
        head_is_answered_without_a_body,
        old_versions_are_answered,
        request_waits_to_be_continued,
        answer_arrives_although_the_body_is_not_read,
        half_closed_connection_gets_its_answer,
        answer_arrives_although_more_was_asked,
        what_can_be_read_in_two_ways_is_refused,
        what_is_read_h11_reads_in_the_same_way,
        response_of_another_length_breaks_the_connection,
        failure_is_answered_without_details,
        failure_halfway_breaks_the_connection,
        application_hears_of_disconnects,
        interrupt_ends_the_request_that_blocks,
        application_asks_erlang,
        slow_reader_slows_the_application,
        slow_application_slows_the_sender,
        head_that_does_not_come_is_not_waited_for,
        body_that_does_not_come_is_not_waited_for,
        connection_without_requests_is_closed,
        bodies_have_a_limit,
        heads_have_a_limit,
        lifespan_is_followed,
        application_without_lifespan_is_served,
        lifespan_ends_with_a_context_that_is_replaced,
        application_that_does_not_start_is_not_served,
        what_cannot_be_loaded_is_named,
        options_that_are_wrong_are_named,
        factory_makes_the_application,
        stop_lets_requests_end,
        restart_refuses_nobody,
        tls_is_served,
        unix_socket_is_served,
        supervisor_runs_a_server
    ]).

init_per_suite(Config) ->
    py_web_cases:init_suite(Config).

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config, #{num_contexts => 1}).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(Case, Config) ->
    py_web_cases:init_case(Case, Config).

end_per_testcase(_Case, Config) ->
    py_web_cases:end_case(Config).

%% ------------------------------------------------------------------------------------------------
%% Requests and responses

application_is_told_of_the_request(Config) ->
    Port = web(Config, #{root_path => "/below"}),
    Client = connect(Port),
    {ok, Own} = inet:port(Client),
    ok = gen_tcp:send(Client, <<"GET /scope?a=b%20c HTTP/1.1\r\nHost: here\r\nX-Twice: 1\r\nX-TWICE: \t2 \r\n\r\n">>),
    Scope = told(scope),
    ?assertMatch(
        #{
            <<"method">> := <<"GET">>,
            <<"http_version">> := <<"1.1">>,
            <<"scheme">> := <<"http">>,
            <<"path">> := <<"/below/scope">>,
            <<"root_path">> := <<"/below">>,
            <<"query">> := <<"a=b%20c">>,
            <<"client">> := [<<"127.0.0.1">>, Own],
            <<"server">> := [<<"127.0.0.1">>, Port],
            <<"headers">> := [[<<"host">>, <<"here">>], [<<"x-twice">>, <<"1">>], [<<"x-twice">>, <<"2">>]],
            <<"state">> := #{<<"began">> := <<"with this">>}
        },
        Scope
    ),
    ok = gen_tcp:close(Client).

connection_goes_on_after_a_response(Config) ->
    Client = connect(web(Config, #{})),
    [?assertEqual({200, <<"hello">>}, ask(Client, post("/echo", <<"hello">>))) || _ <- lists:seq(1, 5)],
    ok = gen_tcp:close(Client).

requests_that_came_together_are_answered_in_order(Config) ->
    Client = connect(web(Config, #{})),
    Bodies = [integer_to_binary(N) || N <- lists:seq(1, 5)],
    ok = gen_tcp:send(Client, [post("/echo", Body) || Body <- Bodies]),
    ?assertEqual([{200, Body} || Body <- Bodies], [response(Client) || _ <- Bodies]),
    ok = gen_tcp:close(Client).

more_requests_than_are_answered_at_once_are_all_answered(Config) ->
    Client = connect(web(Config, #{})),
    Bodies = [integer_to_binary(N) || N <- lists:seq(1, 2_000)],
    Sender = spawn_link(fun() -> ok = gen_tcp:send(Client, [post("/echo", Body) || Body <- Bodies]) end),
    ?assertEqual([{200, Body} || Body <- Bodies], [response(Client) || _ <- Bodies]),
    ok = py_callbacks:ended(Sender),
    ok = gen_tcp:close(Client).

variables_of_a_request_end_with_it(Config) ->
    Client = connect(web(Config, #{})),
    ok = gen_tcp:send(Client, [get("/variable", "") || _ <- [1, 2, 3]]),
    ?assertEqual([{200, <<"unset">>} || _ <- [1, 2, 3]], [response(Client) || _ <- [1, 2, 3]]),
    ok = gen_tcp:close(Client).

body_comes_in_chunks(Config) ->
    Response = request(web(Config, #{}), <<
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
    >>),
    ?assertEqual(<<"hello world">>, body(Response)).

response_goes_out_in_pieces(Config) ->
    Port = web(Config, #{}),
    Chunked = request(Port, get("/pieces", "Connection: close\r\n")),
    py_suite:contains(Chunked, "transfer-encoding: chunked\r\n"),
    ?assertEqual(<<"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n">>, body(Chunked)).

head_is_answered_without_a_body(Config) ->
    Response = request(web(Config, #{}), <<"HEAD /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n">>),
    py_suite:contains(Response, "content-length: 5\r\n"),
    ?assertEqual(<<>>, body(Response)).

old_versions_are_answered(Config) ->
    Port = web(Config, #{}),
    Pieces = request(Port, <<"GET /pieces HTTP/1.0\r\n\r\n">>),
    ?assertEqual(<<"onetwothree">>, body(Pieces)),
    Client = connect(Port),
    Request = <<"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi">>,
    [?assertEqual({200, <<"hi">>}, ask(Client, Request)) || _ <- [1, 2]],
    ok = gen_tcp:close(Client).

request_waits_to_be_continued(Config) ->
    Client = connect(web(Config, #{})),
    Head = <<"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n">>,
    ok = gen_tcp:send(Client, Head),
    ?assertEqual({ok, <<"HTTP/1.1 100 Continue\r\n\r\n">>}, gen_tcp:recv(Client, 25, ?DEADLINE)),
    ?assertEqual({200, <<"hello">>}, ask(Client, <<"hello">>)),
    ok = gen_tcp:close(Client).

answer_arrives_although_the_body_is_not_read(Config) ->
    Port = web(Config, #{}),
    Client = connect(Port),
    ?assertEqual({413, <<"too much">>}, ask(Client, post("/unread", <<"hello">>))),
    ?assertEqual({200, <<"hello">>}, ask(Client, post("/echo", <<"hello">>))),
    ok = gen_tcp:close(Client),
    Large = request(Port, post("/unread", binary:copy(<<"x">>, 5_000_000))),
    py_suite:contains(Large, "connection: close\r\n"),
    ?assertEqual(<<"too much">>, body(Large)).

half_closed_connection_gets_its_answer(Config) ->
    Client = connect(web(Config, #{})),
    ok = gen_tcp:send(Client, [post("/echo", <<"one">>), post("/echo", <<"two">>)]),
    ok = gen_tcp:shutdown(Client, write),
    ?assertEqual([{200, <<"one">>}, {200, <<"two">>}], [response(Client), response(Client)]),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)).

%% What comes behind the last request would have the system reset the connection.
answer_arrives_although_more_was_asked(Config) ->
    Port = web(Config, #{}),
    Last = <<"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlast">>,
    Response = request(Port, [Last | lists:duplicate(1_000, post("/echo", <<"more">>))]),
    ?assertEqual(<<"last">>, body(Response)).

what_can_be_read_in_two_ways_is_refused(Config) ->
    Port = web(Config, #{}),
    Refused = [
        {400, <<"GET / HTTP/1.1\r\n\r\n">>},
        {400, <<"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n">>},
        {400, <<"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n">>},
        {400, <<"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n">>},
        {400, <<"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n">>},
        {400, <<"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n">>},
        {400, <<"GET / HTTP/1.1\r\nHost : x\r\n\r\n">>},
        {400, <<"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n">>},
        {400, <<"GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n">>},
        {400, <<"GET / HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n">>},
        {400, <<"GET  / HTTP/1.1\r\nHost: x\r\n\r\n">>},
        {400, <<"nonsense\r\n\r\n">>},
        {400, <<"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n">>},
        {400, <<"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n">>},
        {501, <<"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n">>},
        {505, <<"GET / HTTP/2.0\r\nHost: x\r\n\r\n">>}
    ],
    [?assertEqual({Request, Status}, {Request, status(request(Port, Request))}) || {Status, Request} <- Refused].

what_is_read_h11_reads_in_the_same_way(Config) ->
    with_packages(web, Config, fun(_) ->
        {ok, [Read, Wrong]} = client(Config, ct_h11, compare, [5_000]),
        ?assertEqual([], Wrong),
        ?assert(Read > 1_000)
    end).

response_of_another_length_breaks_the_connection(Config) ->
    Port = web(Config, #{}),
    silently(fun() ->
        %% Nothing was written yet when it was found out.
        ?assertEqual(500, status(request(Port, get("/length", "Connection: close\r\n"))))
    end).

failure_is_answered_without_details(Config) ->
    Port = web(Config, #{}),
    silently(fun() ->
        Response = request(Port, get("/fail", "")),
        ?assertEqual(500, status(Response)),
        ?assertEqual(nomatch, string:find(Response, "secret"))
    end),
    ?assertEqual({200, <<"hi">>}, ask(Port, post("/echo", <<"hi">>))).

failure_halfway_breaks_the_connection(Config) ->
    Port = web(Config, #{}),
    silently(fun() ->
        %% The last chunk, which is empty, is missing.
        ?assertEqual(nomatch, string:find(request(Port, get("/half", "")), "\r\n0\r\n"))
    end).

application_hears_of_disconnects(Config) ->
    Client = connect(web(Config, #{})),
    ok = gen_tcp:send(Client, get("/wait", "")),
    _ = told(waiting),
    ok = gen_tcp:close(Client),
    ?assertEqual(<<"http.disconnect">>, told(then)).

interrupt_ends_the_request_that_blocks(Config) ->
    Port = web(Config, #{}),
    Other = connect(Port),
    ?assertEqual({200, <<"hi">>}, ask(Other, post("/echo", <<"hi">>))),
    Client = connect(Port),
    #{contexts := [#{pid := Reactor}]} = py_web:info(?NAME),
    {ok, Context} = py_reactor_context:context(Reactor),
    silently(fun() ->
        ok = gen_tcp:send(Client, get("/spin", "")),
        _ = told(spinning),
        ok = py:interrupt(Context),
        ?assertMatch({error, _}, gen_tcp:recv(Client, 0, ?DEADLINE))
    end),
    ?assertEqual({200, <<"hi">>}, ask(Other, post("/echo", <<"hi">>))),
    ok = gen_tcp:close(Other).

application_asks_erlang(Config) ->
    ?assertEqual({200, <<"42">>}, ask(web(Config, #{}), get("/ask", ""))).

%% ------------------------------------------------------------------------------------------------
%% Limits

slow_reader_slows_the_application(Config) ->
    flooded(web(Config, #{})).

slow_application_slows_the_sender(Config) ->
    ok = py:register_function(web_answer, py_callbacks:gate()),
    Client = connect(web(Config, #{body_timeout => infinity}), [{sndbuf, 65_536}]),
    Piece = binary:copy(<<"x">>, 1_000_000),
    Head = <<"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n">>,
    Sender = spawn_link(fun() ->
        [ok = gen_tcp:send(Client, Data) || Data <- [Head | lists:duplicate(20, Piece)]]
    end),
    First = py_callbacks:entered([]),
    %% The sender cannot be done: nobody has taken anything.
    ?assert(is_process_alive(Sender)),
    ok = py:register_function(web_answer, fun([]) -> 1 end),
    ok = py_callbacks:open(First, 1),
    ?assertEqual({200, <<"20000000">>}, response(Client)),
    ok = py_callbacks:ended(Sender),
    _ = py_callbacks:collect(taken),
    ok = gen_tcp:close(Client).

head_that_does_not_come_is_not_waited_for(Config) ->
    Port = web(Config, #{head_timeout => 50}),
    ?assertEqual(<<>>, request(Port, <<>>)),
    ?assertEqual(408, status(request(Port, <<"GET / HTTP/1.1\r\nHost:">>))).

body_that_does_not_come_is_not_waited_for(Config) ->
    Port = web(Config, #{body_timeout => 50}),
    ?assertEqual(408, status(request(Port, <<"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel">>))),
    ?assertEqual(<<"cut">>, told(body)).

connection_without_requests_is_closed(Config) ->
    Client = connect(web(Config, #{keep_alive_timeout => 50})),
    ?assertEqual({200, <<"hi">>}, ask(Client, post("/echo", <<"hi">>))),
    ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)).

bodies_have_a_limit(Config) ->
    Port = web(Config, #{max_body => 10}),
    ?assertEqual({200, <<"0123456789">>}, ask(Port, post("/echo", <<"0123456789">>))),
    ?assertEqual(413, status(request(Port, post("/echo", <<"01234567890">>)))),
    Chunked = <<"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n">>,
    ?assertEqual(413, status(request(Port, Chunked))).

heads_have_a_limit(Config) ->
    Port = web(Config, #{max_head => 1_000}),
    Long = ["X: ", binary:copy(<<"x">>, 1_000), "\r\n"],
    ?assertEqual(431, status(request(Port, get("/pieces", Long)))).

%% ------------------------------------------------------------------------------------------------
%% Applications and servers

lifespan_is_followed(Config) ->
    _ = web(Config, #{contexts => 2}),
    ?assertEqual([<<"startup">>, <<"startup">>], py_callbacks:collect(lifespan)),
    ok = py_web:stop(?NAME),
    ?assertEqual([<<"shutdown">>, <<"shutdown">>], py_callbacks:collect(lifespan)).

application_without_lifespan_is_served(Config) ->
    Port = web(Config, #{asgi => "ct_web:without_lifespan"}),
    ?assertEqual({200, <<"none">>}, ask(Port, get("/", ""))).

lifespan_ends_with_a_context_that_is_replaced(Config) ->
    _ = web(Config, #{}),
    ok = py_web:restart(?NAME),
    ?assertEqual([<<"shutdown">>, <<"startup">>, <<"startup">>], lists:sort(py_callbacks:collect(lifespan))).

application_that_does_not_start_is_not_served(Config) ->
    {error, {app, {'RuntimeError', Text}}} = start(Config, #{asgi => "ct_web:not_starting"}),
    py_suite:contains(Text, "no database").

what_cannot_be_loaded_is_named(Config) ->
    Outcomes = [
        {asgi, "no_such_module:app", 'ModuleNotFoundError', "no_such_module"},
        {asgi, "ct_web:nothing", 'AttributeError', "nothing"},
        {asgi, "ct_web:no_application", 'TypeError', "ct_web:no_application"},
        {asgi, "ct_web:wsgi", 'TypeError', "wsgi => "},
        {wsgi, "ct_web:app", 'TypeError', "asgi => "}
    ],
    silently(fun() ->
        [
            begin
                {error, {app, {Class, Text}}} = start(Config, #{Kind => App}),
                py_suite:contains(Text, Named)
            end
         || {Kind, App, Class, Named} <- Outcomes
        ]
    end).

options_that_are_wrong_are_named(_Config) ->
    Wrong = [
        {asgi, #{}},
        {asgi, #{asgi => "no attribute"}},
        {wsgi, #{asgi => "a:b", wsgi => "a:b"}},
        {threads, #{wsgi => "a:b", threads => 0}},
        {head_timeout, #{wsgi => "a:b", head_timeout => -1}},
        {nonsense, #{asgi => "a:b", nonsense => 1}},
        {protocol, #{asgi => "a:b", protocol => {a, b}}},
        {port, #{asgi => "a:b", port => -1}}
    ],
    [
        begin
            {error, {bad_option, Key, _, Allowed}} = py_web:start(?NAME, Options),
            ?assertNotEqual("", Allowed)
        end
     || {Key, Options} <- Wrong
    ],
    ?assertError(badarg, py_web:start(?NAME, not_a_map)).

factory_makes_the_application(Config) ->
    Port = web(Config, #{asgi => "ct_web:make", factory => true}),
    ?assertEqual({200, <<"hi">>}, ask(Port, post("/echo", <<"hi">>))).

stop_lets_requests_end(Config) ->
    ok = py:register_function(web_answer, py_callbacks:gate()),
    Port = web(Config, #{}),
    Idle = connect(Port),
    ?assertEqual({200, <<"hi">>}, ask(Idle, post("/echo", <<"hi">>))),
    Client = connect(Port),
    ok = gen_tcp:send(Client, get("/ask", "")),
    Asked = py_callbacks:entered([]),
    Stopping = py_suite:spawn_caller(fun() -> py_web:stop(?NAME, ?DEADLINE) end),
    ?assertEqual({error, closed}, gen_tcp:recv(Idle, 0, ?DEADLINE)),
    ok = py_callbacks:open(Asked, 1),
    py_suite:contains(all(Client), "connection: close\r\n"),
    ?assertEqual({result, ok}, py_suite:await_down(Stopping, ?DEADLINE)),
    ?assertMatch({error, econnrefused}, gen_tcp:connect(?LOCALHOST, Port, [])).

restart_refuses_nobody(Config) ->
    Port = web(Config, #{contexts => 2}),
    Clients = [py_suite:spawn_caller(fun() -> keep_asking(Port, 0) end) || _ <- [1, 2, 3]],
    ok = py_web:restart(?NAME),
    [Client ! enough || {Client, _} <- Clients],
    [?assertMatch({result, Count} when Count > 0, py_suite:await_down(Client, ?DEADLINE)) || Client <- Clients].

%% A new connection for each: one that is idle may be closed.
keep_asking(Port, Count) ->
    {200, <<"hi">>} = ask(Port, post("/echo", <<"hi">>)),
    receive
        enough -> Count + 1
    after 0 -> keep_asking(Port, Count + 1)
    end.

tls_is_served(Config) ->
    Folder = ?config(priv_dir, Config),
    Options = [{certfile, filename:join(Folder, "cert.pem")}, {keyfile, filename:join(Folder, "key.pem")}],
    Port = web(Config, #{transport => ssl, ssl_opts => Options}),
    Trusted = [{cacertfile, filename:join(Folder, "cacerts.pem")}, {server_name_indication, "localhost"}],
    {ok, Client} = ssl:connect(?LOCALHOST, Port, [binary, {active, false}, {verify, verify_peer} | Trusted], ?DEADLINE),
    ok = ssl:send(Client, get("/scope", "")),
    ?assertMatch(#{<<"scheme">> := <<"https">>}, told(scope)),
    {ok, <<"HTTP/1.1 200 OK\r\n", _/binary>>} = ssl:recv(Client, 0, ?DEADLINE),
    ok = ssl:close(Client).

unix_socket_is_served(Config) ->
    Path = filename:join("/tmp", "py_web_" ++ os:getpid() ++ atom_to_list(py_suite:mode(Config))),
    _ = file:delete(Path),
    {ok, _} = start(Config, #{transport => unix, path => Path}),
    {ok, Client} = gen_tcp:connect({local, Path}, 0, [local, binary, {active, false}]),
    ?assertEqual({200, <<"hi">>}, ask(Client, post("/echo", <<"hi">>))),
    ok = gen_tcp:close(Client),
    ok = py_web:stop(?NAME),
    _ = file:delete(Path),
    ok.

supervisor_runs_a_server(Config) ->
    #{start := {Module, Function, Args}} = py_web:child_spec(?NAME, options(Config, #{})),
    {ok, Server} = apply(Module, Function, Args),
    ?assertEqual({200, <<"hi">>}, ask(py_web:port(?NAME), post("/echo", <<"hi">>))),
    ?assertMatch(#{active_connections := _}, py_web:info(?NAME)),
    true = unlink(Server),
    exit(Server, shutdown),
    ok = py_callbacks:ended(Server).
