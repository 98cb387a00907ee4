%% What the suites of reactors share: contexts with the protocols of ct_reactor, connections, what protocols tell.
-module(py_reactors).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([start/2, start/3, options/1, folder/0, with/3, with/4]).
-export([connection/0, connection/1, connected/2, given/2, given/3, told/1, untold/1]).
-export([connect/1, ask/2, exchange/2, all/1, closed/1]).

-define(DEADLINE, 30_000).
-define(LOCALHOST, {127, 0, 0, 1}).

start(Config, Protocol) ->
    start(Config, Protocol, #{}).

start(Config, Protocol, Options) ->
    All = maps:merge(options(Protocol), Options),
    {ok, Reactor} = py_reactor_context:start_link(Protocol, py_suite:mode(Config), All),
    Reactor.

options(Protocol) ->
    #{paths => [folder()], setup_code => <<"import sys; sys.dont_write_bytecode = True">>, app_module => ct_reactor,
        app_callable => Protocol}.

folder() ->
    filename:join(py_suite:checkout(), "test/support/python").

%% Runs the fun with a reactor context.
with(Config, Protocol, Fun) ->
    with(Config, Protocol, #{}, Fun).

with(Config, Protocol, Options, Fun) ->
    Reactor = start(Config, Protocol, Options),
    Result = Fun(Reactor),
    ok = py_reactor_context:stop(Reactor),
    Result.

%% Both ends of a connection.
connection() ->
    connection([]).

connection(Opts) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, ?LOCALHOST} | Opts]),
    {ok, Port} = inet:port(Listener),
    Client = connect(Port),
    {ok, Accepted} = gen_tcp:accept(Listener, ?DEADLINE),
    ok = gen_tcp:close(Listener),
    {Client, Accepted}.

%% A client of the context, whose protocol tells this process; and its descriptor there.
given(Reactor, Info) ->
    given(Reactor, Info, []).

given(Reactor, Info, Opts) ->
    {Client, Accepted} = connection(Opts),
    ok = py_reactor_context:handoff(Reactor, Accepted, Info#{tell => self()}),
    {<<"made">>, Fd} = told(<<"made">>),
    {Client, Fd}.

connected(Reactor, Info) ->
    element(1, given(Reactor, Info)).

%% The next that a protocol tells of that kind.
told(Tag) ->
    receive
        Told when is_tuple(Told), element(1, Told) =:= Tag -> Told
    after ?DEADLINE -> ct:fail({not_told, Tag, erlang:process_info(self(), messages)})
    end.

untold(Tag) ->
    receive
        Told when is_tuple(Told), element(1, Told) =:= Tag -> ct:fail({told, Told})
    after 0 -> ok
    end.

connect(Port) ->
    {ok, Client} = gen_tcp:connect(?LOCALHOST, Port, [binary, {active, false}, {nodelay, true}]),
    Client.

exchange(Client, Data) ->
    ok = gen_tcp:send(Client, Data),
    {ok, Answer} = gen_tcp:recv(Client, 0, ?DEADLINE),
    Answer.

%% With a connection of its own.
ask(Port, Data) ->
    Client = connect(Port),
    Answer = exchange(Client, Data),
    ok = gen_tcp:close(Client),
    Answer.

%% All that comes until the end.
all(Client) ->
    iolist_to_binary(pieces(Client)).

pieces(Client) ->
    case gen_tcp:recv(Client, 0, ?DEADLINE) of
        {ok, Data} -> [Data | pieces(Client)];
        {error, closed} -> []
    end.

closed(Client) ->
    ?assertMatch({error, Reason} when Reason =:= closed; Reason =:= econnreset, gen_tcp:recv(Client, 0, ?DEADLINE)),
    gen_tcp:close(Client).
