%% py_web: WebSockets, WSGI, and the clients and frameworks that people use.
-module(web_apps_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_web_cases, [web/2, wsgi/2, start/2, with_packages/3, client/4, silently/1, told/1, connect/1]).
-import(py_web_cases, [get/2, post/2, ask/2, request_once/2, response/1, request/2, status/1, body/1, flooded/1]).
-import(py_web_cases, [handshake/1, websocket/1, websocket/2, frame/2, frame/1]).

-compile(export_all).
-compile(nowarn_export_all).

-define(DEADLINE, 30_000).
-define(NAME, web_of_the_case).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups(
        [
            websocket_echoes,
            websocket_is_refused_without_a_right_handshake,
            websocket_application_refuses,
            websocket_failure_is_told_by_its_code,
            websocket_ends_with_the_server,
            silent_websocket_is_asked_and_ended,
            websocket_client_of_python_talks,
            wsgi_application_answers,
            wsgi_environment_is_whole,
            wsgi_response_goes_out_in_pieces,
            wsgi_requests_run_side_by_side,
            wsgi_failures_end_their_connection_alone,
            wsgi_application_asks_erlang,
            wsgi_slow_reader_slows_the_application,
            wsgi_body_is_read_as_it_comes,
            curl_is_served,
            httpx_is_served,
            starlette_is_served,
            flask_is_served,
            fastapi_is_served_or_says_why_not,
            thousands_of_requests_leave_nothing
        ],
        [websocket_by_wsproto, websocket_without_a_package_is_refused]
    ).

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
%% WebSockets

websocket_echoes(Config) ->
    with_packages(web, Config, fun(More) ->
        Client = websocket(web(Config, More)),
        [
            begin
                ok = gen_tcp:send(Client, frame(Opcode, Data)),
                ?assertEqual({Opcode, Data}, frame(Client))
            end
         || {Opcode, Data} <- [{1, <<"text">>}, {2, <<0, 255>>}, {1, binary:copy(<<"x">>, 100_000)}, {2, <<>>}]
        ],
        ok = gen_tcp:send(Client, frame(9, <<"there?">>)),
        ?assertEqual({10, <<"there?">>}, frame(Client)),
        ok = gen_tcp:send(Client, frame(8, <<1000:16>>)),
        ?assertEqual({8, <<1000:16>>}, frame(Client)),
        ?assertEqual(1000, told(websocket)),
        ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE))
    end).

websocket_is_refused_without_a_right_handshake(Config) ->
    Port = web(Config, #{}),
    Upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    Old = request(Port, get("/", [Upgrade, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"])),
    ?assertEqual(426, status(Old)),
    py_suite:contains(Old, "sec-websocket-version: 13\r\n"),
    Bad = request(Port, get("/", [Upgrade, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"])),
    ?assertEqual(400, status(Bad)).

websocket_application_refuses(Config) ->
    with_packages(web, Config, fun(More) ->
        ?assertEqual(403, status(request(web(Config, More), handshake("/refuse"))))
    end).

websocket_failure_is_told_by_its_code(Config) ->
    with_packages(web, Config, fun(More) ->
        Client = websocket(web(Config, More)),
        silently(fun() ->
            ok = gen_tcp:send(Client, frame(1, <<"fail">>)),
            ?assertEqual({8, <<1011:16>>}, frame(Client))
        end),
        ok = gen_tcp:close(Client)
    end).

websocket_ends_with_the_server(Config) ->
    with_packages(web, Config, fun(More) ->
        Client = websocket(web(Config, More)),
        Stopping = py_suite:spawn_caller(fun() -> py_web:stop(?NAME, ?DEADLINE) end),
        ?assertEqual({8, <<1001:16>>}, frame(Client)),
        ok = gen_tcp:send(Client, frame(8, <<1001:16>>)),
        ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
        ?assertEqual(1001, told(websocket)),
        ?assertEqual({result, ok}, py_suite:await_down(Stopping, ?DEADLINE))
    end).

silent_websocket_is_asked_and_ended(Config) ->
    with_packages(web, Config, fun(More) ->
        Client = websocket(web(Config, More#{ping_interval => 50})),
        {9, Payload} = frame(Client),
        ok = gen_tcp:send(Client, frame(10, Payload)),
        %% Answered once, it is asked again, and then is silent.
        ?assertMatch({9, _}, frame(Client)),
        ?assertEqual({error, closed}, gen_tcp:recv(Client, 0, ?DEADLINE)),
        ?assertEqual(1006, told(websocket))
    end).

websocket_client_of_python_talks(Config) ->
    with_packages(web, Config, fun(More) ->
        ?assertEqual({ok, [<<"chat">>, 4000, <<"told to">>]}, client(Config, ct_web, websocket_client, [web(Config, More)]))
    end).

websocket_by_wsproto(Config) ->
    with_packages(web, Config, fun(More) ->
        Port = web(Config, More#{asgi => "ct_web:without_websockets", factory => true}),
        ?assertEqual({ok, [<<"chat">>, 4000, <<"told to">>]}, client(Config, ct_web, websocket_client, [Port]))
    end).

websocket_without_a_package_is_refused(Config) ->
    Port = web(Config, #{asgi => "ct_web:without_any", factory => true}),
    silently(fun() -> ?assertEqual(501, status(request(Port, handshake("/")))) end).

%% ------------------------------------------------------------------------------------------------
%% WSGI

wsgi_application_answers(Config) ->
    Client = connect(wsgi(Config, #{})),
    ?assertEqual({200, <<"hello">>}, ask(Client, post("/echo", <<"hello">>))),
    Large = binary:copy(<<"x">>, 3_000_000),
    Sender = spawn_link(fun() -> ok = gen_tcp:send(Client, post("/echo", Large)) end),
    ?assertEqual({200, Large}, response(Client)),
    ok = py_callbacks:ended(Sender),
    ?assertEqual({200, <<"ONE\nTWO">>}, ask(Client, post("/lines", <<"one\ntwo">>))),
    ?assertEqual({413, <<"too much">>}, ask(Client, post("/unread", <<"hello">>))),
    ok = gen_tcp:close(Client).

wsgi_environment_is_whole(Config) ->
    Port = wsgi(Config, #{root_path => "/below"}),
    Request = <<"GET /below/environ?a=b HTTP/1.1\r\nHost: here\r\nX-One: 1\r\nX_One: 2\r\nContent-Type: a/b\r\n\r\n">>,
    _ = request_once(Port, Request),
    Number = integer_to_binary(Port),
    Environ = told(environ),
    ?assertMatch(
        #{
            <<"REQUEST_METHOD">> := <<"GET">>,
            <<"SCRIPT_NAME">> := <<"/below">>,
            <<"PATH_INFO">> := <<"/environ">>,
            <<"QUERY_STRING">> := <<"a=b">>,
            <<"SERVER_NAME">> := <<"127.0.0.1">>,
            <<"SERVER_PORT">> := Number,
            <<"SERVER_PROTOCOL">> := <<"HTTP/1.1">>,
            <<"REMOTE_ADDR">> := <<"127.0.0.1">>,
            <<"CONTENT_TYPE">> := <<"a/b">>,
            <<"HTTP_HOST">> := <<"here">>,
            <<"HTTP_X_ONE">> := <<"1">>,
            <<"wsgi.url_scheme">> := <<"http">>
        },
        Environ
    ).

wsgi_response_goes_out_in_pieces(Config) ->
    Port = wsgi(Config, #{}),
    Pieces = request(Port, get("/pieces", "Connection: close\r\n")),
    ?assertEqual(<<"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n">>, body(Pieces)),
    ?assertEqual(<<"result">>, told(closed)),
    Written = request(Port, get("/write", "Connection: close\r\n")),
    ?assertEqual(<<"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n">>, body(Written)).

wsgi_requests_run_side_by_side(Config) ->
    Port = wsgi(Config, #{threads => 4}),
    Asked = py_suite:concurrently(4, fun(_) -> ask(Port, get("/together", "")) end),
    ?assertEqual([{200, <<"together">>} || _ <- [1, 2, 3, 4]], Asked).

wsgi_failures_end_their_connection_alone(Config) ->
    Port = wsgi(Config, #{}),
    Other = connect(Port),
    silently(fun() ->
        Response = request(Port, get("/fail", "")),
        ?assertEqual(500, status(Response)),
        ?assertEqual(nomatch, string:find(Response, "secret")),
        ?assertEqual(nomatch, string:find(request(Port, get("/half", "")), "\r\n0\r\n"))
    end),
    ?assertEqual({200, <<"hi">>}, ask(Other, post("/echo", <<"hi">>))),
    ok = gen_tcp:close(Other).

wsgi_application_asks_erlang(Config) ->
    ?assertEqual({200, <<"42">>}, ask(wsgi(Config, #{}), get("/ask", ""))).

wsgi_slow_reader_slows_the_application(Config) ->
    flooded(wsgi(Config, #{})).

wsgi_body_is_read_as_it_comes(Config) ->
    Client = connect(wsgi(Config, #{})),
    ok = gen_tcp:send(Client, <<"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n">>),
    ?assertEqual({ok, <<"HTTP/1.1 100 Continue\r\n\r\n">>}, gen_tcp:recv(Client, 25, ?DEADLINE)),
    ok = gen_tcp:send(Client, <<"hel">>),
    ?assertEqual({200, <<"hello">>}, ask(Client, <<"lo">>)),
    ok = gen_tcp:close(Client).

%% ------------------------------------------------------------------------------------------------
%% Clients and frameworks

curl_is_served(Config) ->
    case os:find_executable("curl") of
        false ->
            {skip, "no curl"};
        Curl ->
            Url = "http://127.0.0.1:" ++ integer_to_list(web(Config, #{})),
            File = filename:join(?config(priv_dir, Config), "body"),
            Body = rand:bytes(3_000_000),
            ok = file:write_file(File, Body),
            Chunked = [Curl, " -sS -H 'Transfer-Encoding: chunked' --data-binary @", File, " ", Url, "/echo | cmp - ", File],
            ?assertEqual("", os:cmd(lists:append(Chunked))),
            Continued = [Curl, " -sS -H 'Expect: 100-continue' --data-binary @", File, " ", Url, "/echo | cmp - ", File],
            ?assertEqual("", os:cmd(lists:append(Continued))),
            ?assertEqual("onetwothree", os:cmd(lists:append([Curl, " -sS ", Url, "/pieces"])))
    end.

httpx_is_served(Config) ->
    Port = web(Config, #{}),
    with_packages(web, Config, fun(_) ->
        ?assertEqual({ok, [1_000_000, <<"onetwothree">>, true]}, client(Config, ct_web, httpx_client, [Port]))
    end).

starlette_is_served(Config) ->
    with_packages(web, Config, fun(More) ->
        Port = web(Config, More#{asgi => "ct_web:starlette", factory => true}),
        Client = connect(Port),
        ?assertEqual({200, <<"{\"item\":7,\"body\":\"some\"}">>}, ask(Client, post("/items/7", <<"some">>))),
        %% In one thread, which outlives the first request.
        ?assertEqual({200, <<"1">>}, ask(Client, get("/blocking", ""))),
        ?assertEqual({200, <<"2">>}, ask(Client, get("/blocking", ""))),
        ?assertMatch({404, _}, ask(Client, get("/nothing", ""))),
        py_suite:contains(request(Port, get("/stream", "Connection: close\r\n")), "2\r\n0 \r\n"),
        ok = gen_tcp:close(Client),
        Socket = websocket(Port, "/socket"),
        ok = gen_tcp:send(Socket, frame(1, <<"loud">>)),
        ?assertEqual({1, <<"LOUD">>}, frame(Socket)),
        ok = gen_tcp:close(Socket)
    end).

flask_is_served(Config) ->
    with_packages(web, Config, fun(More) ->
        Port = web(Config, More#{wsgi => "ct_web:flask", factory => true}),
        Form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n\r\nfield=value",
        ?assertEqual({200, <<"you value">>}, ask(Port, ["POST /hello/you HTTP/1.1\r\nHost: x\r\n", Form])),
        ?assertMatch({404, _}, ask(Port, get("/nothing", "")))
    end).

fastapi_is_served_or_says_why_not(Config) ->
    with_packages(fastapi, Config, fun(More) ->
        Options = More#{asgi => "ct_web:fastapi", factory => true},
        case py_suite:mode(Config) of
            worker ->
                ?assertEqual({200, <<"42">>}, ask(web(Config, Options), get("/double/21", "")));
            owngil ->
                {error, {app, {'ImportError', Text}}} = silently(fun() -> start(Config, Options) end),
                py_suite:contains(Text, "pydantic_core"),
                py_suite:contains(Text, "mode => worker")
        end
    end).

thousands_of_requests_leave_nothing(Config) ->
    Port = web(Config, #{}),
    Some = fun() -> [?assertEqual({200, <<"hi">>}, ask(Port, post("/echo", <<"hi">>))) || _ <- lists:seq(1, 500)] end,
    _ = Some(),
    Before = py_leaks:snapshot(),
    [_ = Some() || _ <- [1, 2, 3]],
    py_leaks:check(Before).
