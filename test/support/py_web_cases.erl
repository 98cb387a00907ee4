%% What the suites of web servers share: servers, clients, requests and frames.
-module(py_web_cases).

-export([init_suite/1, init_case/2, end_case/1, web/2, wsgi/2, start/2, options/2, with_packages/3, client/4]).
-export([silently/1, told/1, connect/1, connect/2, get/2, post/2, ask/2, request_once/2, response/1, request/2]).
-export([all/1, status/1, body/1, flooded/1, handshake/1, websocket/1, websocket/2, frame/1, frame/2]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(DEADLINE, 30_000).
-define(LOCALHOST, {127, 0, 0, 1}).
-define(NAME, web_of_the_case).

init_suite(Config) ->
    {ok, _} = application:ensure_all_started(ssl),
    ok = py_certificates:write(?config(priv_dir, Config)),
    [{web, packages("web")}, {fastapi, packages("fastapi")} | Config].

%% The folder of packages from PyPI, or why there is none.
packages(Name) ->
    Checkout = py_suite:checkout(),
    Venv = filename:join(Checkout, "_build/venv-" ++ Name),
    Requirements = filename:join(Checkout, "test/support/python/requirements-" ++ Name ++ ".txt"),
    Command = [filename:join(Checkout, "scripts/venv.sh"), " ", Venv, " ", Requirements, " 2>&1 && echo made"],
    Output = os:cmd(lists:append(Command)),
    case {lists:suffix("made\n", Output), filelib:wildcard(filename:join(Venv, "lib/python*/site-packages"))} of
        {true, [Folder]} -> {ok, Folder};
        _ -> {skip, "the packages cannot be installed here: " ++ Output}
    end.

%% The application under test tells the process of the case, by this name.
init_case(_Case, Config) ->
    true = register(web_test, self()),
    ok = py:register_function(web_answer, fun([]) -> 42 end),
    [{ctx, py:context()} | Config].

end_case(Config) ->
    _ = py_web:stop(?NAME, 0),
    ok = py:unregister_function(web_answer),
    true = unregister(web_test),
    _ = py_callbacks:collect(lifespan),
    py_suite:all_is_well(Config).

%% ------------------------------------------------------------------------------------------------
%% Servers, applications

web(Config, Options) ->
    {ok, _} = start(Config, Options),
    py_web:port(?NAME).

wsgi(Config, Options) ->
    web(Config, Options#{wsgi => "ct_web:wsgi"}).

start(Config, Options) ->
    py_web:start(?NAME, options(Config, Options)).

options(Config, Options) ->
    Own = filename:join(py_suite:checkout(), "test/support/python"),
    Paths = maps:get(paths, Options, []) ++ [Own],
    App = case Options of #{wsgi := _} -> #{}; #{} -> #{asgi => "ct_web:app"} end,
    Where = case Options of #{transport := unix} -> #{}; #{} -> #{ip => ?LOCALHOST} end,
    maps:merge(maps:merge(App, Where#{contexts => 1, mode => py_suite:mode(Config)}), Options#{paths => Paths}).

%% With the option that has Python find them.
with_packages(Name, Config, Fun) ->
    case ?config(Name, Config) of
        {ok, Folder} -> Fun(#{paths => [Folder]});
        {skip, _} = Skip -> Skip
    end.

%% What a function gives that runs in a context of its own, with the packages.
client(Config, Module, Function, Args) ->
    {ok, Folder} = ?config(web, Config),
    Context = py_suite:new_context(Config),
    ok = py_suite:python_path(Context),
    Code = ["import sys\nsys.path.append(r'''", Folder, "''')\n"],
    ok = py:exec(Context, unicode:characters_to_binary(Code)),
    Result = py_context:submit_await(Context, Module, Function, Args, #{}, ?DEADLINE),
    ok = py_context:stop(Context),
    Result.

%% What was sent is little more than what the peer and the system have taken.
flooded(Port) ->
    Client = connect(Port, [{recbuf, 65_536}, {buffer, 65_536}]),
    ok = gen_tcp:send(Client, get("/flood", "")),
    _ = told(flood),
    {ok, _} = gen_tcp:recv(Client, 1_000_000, ?DEADLINE),
    ok = gen_tcp:close(Client),
    ?assert(told(flooded) < 500).

silently(Fun) ->
    py_suite:silently(Fun).

told(What) ->
    receive
        {What, Value} -> Value
    after ?DEADLINE -> ct:fail({not_told, What, process_info(self(), messages)})
    end.

connect(Port) ->
    connect(Port, []).

connect(Port, Options) ->
    {ok, Client} = gen_tcp:connect(?LOCALHOST, Port, [binary, {active, false} | Options]),
    Client.

get(Path, Headers) ->
    ["GET ", Path, " HTTP/1.1\r\nHost: x\r\n", Headers, "\r\n"].

post(Path, Body) ->
    ["POST ", Path, " HTTP/1.1\r\nHost: x\r\nContent-Length: ", integer_to_list(byte_size(Body)), "\r\n\r\n", Body].

%% On a connection, or on a new one.
ask(Port, Request) when is_integer(Port) ->
    request_once(Port, Request);
ask(Client, Request) ->
    ok = gen_tcp:send(Client, Request),
    response(Client).

request_once(Port, Request) ->
    Client = connect(Port),
    Response = ask(Client, Request),
    ok = gen_tcp:close(Client),
    Response.

%% Status and body of a response that says how long it is.
response(Client) ->
    ok = inet:setopts(Client, [{packet, http_bin}]),
    {ok, {http_response, _, Status, _}} = gen_tcp:recv(Client, 0, ?DEADLINE),
    Length = headers(Client, 0),
    ok = inet:setopts(Client, [{packet, raw}]),
    {Status, received(Client, Length)}.

headers(Client, Length) ->
    case gen_tcp:recv(Client, 0, ?DEADLINE) of
        {ok, {http_header, _, 'Content-Length', _, Value}} -> headers(Client, binary_to_integer(Value));
        {ok, {http_header, _, _, _, _}} -> headers(Client, Length);
        {ok, http_eoh} -> Length
    end.

received(_Client, 0) ->
    <<>>;
received(Client, Length) ->
    {ok, Data} = gen_tcp:recv(Client, Length, ?DEADLINE),
    Data.

%% All that comes until the server closes.
request(Port, Request) ->
    Client = connect(Port),
    ok = gen_tcp:send(Client, Request),
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

status(<<"HTTP/1.1 ", Status:3/binary, _/binary>>) -> binary_to_integer(Status).

body(Response) ->
    [_Head, Body] = binary:split(Response, <<"\r\n\r\n">>),
    Body.

handshake(Path) ->
    get(Path, [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    ]).

websocket(Port) ->
    websocket(Port, "/").

websocket(Port, Path) ->
    Client = connect(Port),
    ok = gen_tcp:send(Client, handshake(Path)),
    ok = inet:setopts(Client, [{packet, http_bin}]),
    {ok, {http_response, _, 101, _}} = gen_tcp:recv(Client, 0, ?DEADLINE),
    ?assertEqual(<<"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=">>, accepted(Client, none)),
    ok = inet:setopts(Client, [{packet, raw}]),
    Client.

accepted(Client, Key) ->
    case gen_tcp:recv(Client, 0, ?DEADLINE) of
        {ok, {http_header, _, <<"Sec-Websocket-Accept">>, _, Value}} -> accepted(Client, Value);
        {ok, {http_header, _, _, _, _}} -> accepted(Client, Key);
        {ok, http_eoh} -> Key
    end.

%% A frame of a client, with the mask 0, which leaves it as it is.
frame(Opcode, Data) ->
    Length =
        case byte_size(Data) of
            Short when Short < 126 -> <<Short:7>>;
            Long when Long < 65_536 -> <<126:7, Long:16>>;
            Longer -> <<127:7, Longer:64>>
        end,
    <<8:4, Opcode:4, 1:1, Length/bitstring, 0:32, Data/binary>>.

frame(Client) ->
    {ok, <<8:4, Opcode:4, 0:1, Short:7>>} = gen_tcp:recv(Client, 2, ?DEADLINE),
    Length =
        case Short of
            126 ->
                {ok, <<Long:16>>} = gen_tcp:recv(Client, 2, ?DEADLINE),
                Long;
            127 ->
                {ok, <<Longer:64>>} = gen_tcp:recv(Client, 8, ?DEADLINE),
                Longer;
            _ ->
                Short
        end,
    {Opcode, received(Client, Length)}.
