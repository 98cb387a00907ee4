%% The listener: accepts connections, and hands each to the event loop of a Python context.
%%
%% It decides who comes in. What is said on a connection is Python's, and Erlang never sees it.
-module(redis_like_server).

-export([start_link/1, stop/1, info/1, context/1]).
-export([init/1]).

-export_type([server/0]).

-type server() :: pid().

%% `limit': how many connections may be open at once; one more is refused with an answer.
-spec start_link(#{folder := file:name_all(), mode := owngil | worker, limit := pos_integer()}) ->
    {ok, server()} | {error, term()}.
start_link(Opts) ->
    proc_lib:start_link(?MODULE, init, [Opts]).

-spec stop(server()) -> ok.
stop(Server) ->
    ask(Server, stop).

%% Where it listens, and how many it has served and refused.
-spec info(server()) -> #{port := inet:port_number(), served := non_neg_integer(), refused := non_neg_integer()}.
info(Server) ->
    ask(Server, info).

%% The context that serves, and its store, for calls from Erlang.
-spec context(server()) -> {py_context:context(), term()}.
context(Server) ->
    ask(Server, context).

ask(Server, Question) ->
    Monitor = monitor(process, Server),
    Server ! {Question, self(), Monitor},
    receive
        {Monitor, Answer} ->
            _ = demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, Server, Reason} ->
            exit(Reason)
    end.

-spec init(map()) -> no_return().
init(#{folder := Folder, mode := Mode, limit := Limit}) ->
    {ok, Context} = py_context:start_link(redis_like, Mode, #{}),
    {ok, none} = py:call(Context, sys, 'path.append', [unicode:characters_to_binary(Folder)]),
    {ok, Store} = py:call(Context, store, new, []),
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}, {backlog, 1024}, {nodelay, true}]),
    {ok, Port} = inet:port(Listener),
    Server = self(),
    Acceptor = spawn_link(fun() -> accept(Listener, Server) end),
    proc_lib:init_ack({ok, self()}),
    loop(#{
        context => Context,
        store => Store,
        listener => Listener,
        acceptor => Acceptor,
        port => Port,
        limit => Limit,
        served => 0,
        refused => 0
    }).

accept(Listener, Server) ->
    case gen_tcp:accept(Listener) of
        {ok, Connection} ->
            ok = gen_tcp:controlling_process(Connection, Server),
            Server ! {accepted, Connection},
            accept(Listener, Server);
        {error, closed} ->
            ok
    end.

loop(#{context := Context, store := Store} = State) ->
    receive
        {accepted, Connection} ->
            loop(admit(Connection, State));
        {info, From, Ref} ->
            From ! {Ref, maps:with([port, served, refused], State)},
            loop(State);
        {context, From, Ref} ->
            From ! {Ref, {Context, Store}},
            loop(State);
        {stop, From, Ref} ->
            ok = gen_tcp:close(maps:get(listener, State)),
            %% Its connections end with it.
            ok = py_context:stop(Context),
            From ! {Ref, ok}
    end.

admit(Connection, #{served := Served, limit := Limit, refused := Refused} = State) when Served >= Limit ->
    _ = gen_tcp:send(Connection, <<"-ERR max number of clients reached\r\n">>),
    ok = gen_tcp:close(Connection),
    State#{refused := Refused + 1};
admit(Connection, #{context := Context, store := Store, served := Served} = State) ->
    {ok, Fd} = inet:getfd(Connection),
    {ok, none} = py_context:submit_await(Context, store, adopt, [Store, Fd]),
    %% Python has a descriptor of its own by now.
    ok = gen_tcp:close(Connection),
    State#{served := Served + 1}.
