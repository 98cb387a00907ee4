-module(py_reactor_listener_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

%% One listener. The socket comes first, and its process does nothing that could fail, so that it outlives all others;
%% who manages the contexts comes last, and finds them again after a restart of its own. They end in the opposite order.

-export([start_link/2, child_spec/2, stop_accepting/1, init/1]).
-export([start_context/3, contexts/1, start_acceptor/1, acceptors/1, start_relay/1, relays/1]).

-type name() :: term().

-spec child_spec(name(), py_reactor_options:listener()) -> supervisor:child_spec().
child_spec(Name, Options) ->
    #{id => Name, start => {?MODULE, start_link, [Name, Options]}, type => supervisor}.

-spec start_link(name(), py_reactor_options:listener()) -> {ok, pid()} | {error, term()}.
start_link(Name, Options) ->
    case supervisor:start_link(?MODULE, {listener, Name, Options}) of
        {ok, Pid} -> {ok, Pid};
        {error, {shutdown, {failed_to_start_child, _Part, Reason}}} -> {error, reason(Reason)};
        {error, Reason} -> {error, Reason};
        ignore -> {error, not_running}
    end.

reason({shutdown, Reason}) -> Reason;
reason(Reason) -> Reason.

%% It tells the manager by `{py_reactor_context, Pid, Result}' once it is ready.
-spec start_context(name(), Id :: term(), Manager :: pid()) -> {ok, pid()} | {error, term()}.
start_context(Name, Id, Manager) -> start_child(Name, contexts, [Id, Manager]).

-spec start_acceptor(name()) -> {ok, pid()} | {error, term()}.
start_acceptor(Name) -> start_child(Name, acceptors, []).

-spec start_relay(name()) -> {ok, pid()} | {error, term()}.
start_relay(Name) -> start_child(Name, relays, []).

start_child(Name, Part, Arguments) ->
    case py_reactor_table:get({Name, Part}) of
        {ok, Supervisor} ->
            try supervisor:start_child(Supervisor, Arguments) of
                {ok, Pid} when is_pid(Pid) -> {ok, Pid};
                {error, Reason} -> {error, Reason}
            catch
                exit:_ -> {error, not_running}
            end;
        none ->
            {error, not_running}
    end.

-spec contexts(name()) -> [pid()].
contexts(Name) -> children(Name, contexts).

-spec acceptors(name()) -> [pid()].
acceptors(Name) -> children(Name, acceptors).

-spec relays(name()) -> [pid()].
relays(Name) -> children(Name, relays).

children(Name, Part) ->
    case py_reactor_table:get({Name, Part}) of
        {ok, Supervisor} ->
            try
                [Pid || {_, Pid, _, _} <- supervisor:which_children(Supervisor), is_pid(Pid)]
            catch
                exit:_ -> []
            end;
        none ->
            []
    end.

%% No manager, which would replace contexts that are stopped, no acceptors, no socket.
-spec stop_accepting(pid()) -> ok.
stop_accepting(Supervisor) ->
    try
        lists:foreach(fun(Part) -> supervisor:terminate_child(Supervisor, Part) end, [manager, acceptors, socket])
    catch
        exit:_ -> ok
    end.

-spec init({listener, name(), py_reactor_options:listener()} | {children, name(), atom(), supervisor:child_spec()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({listener, Name, #{context := #{drain_timeout := Drain} = Context} = Options}) ->
    ok = put_row({Name, supervisor}, Options),
    ok = put_row({Name, handshakes}, counters:new(1, [])),
    Flags = #{strategy => rest_for_one, intensity => 5, period => 10},
    {ok, {Flags, [
        #{id => socket, start => {py_reactor_socket_owner, start_link, [Name, Options]}},
        children(Name, relays, #{
            id => relay, start => {py_reactor_tls, start_link, [Name, Options]}, restart => temporary
        }),
        children(Name, contexts, #{
            id => context,
            start => {py_reactor_context, start_for, [Context]},
            restart => temporary,
            shutdown => Drain + 15_000
        }),
        children(Name, acceptors, #{id => acceptor, start => {acceptor(Options), start_link, [Name, Options]}}),
        #{id => manager, start => {py_reactor_listener, start_link, [Name, Options]}}
    ]}};
init({children, Name, Part, Child}) ->
    ok = put_row({Name, Part}, self()),
    {ok, {#{strategy => simple_one_for_one, intensity => 100, period => 10}, [Child]}}.

acceptor(#{transport := ssl}) -> py_reactor_tls_acceptor;
acceptor(_Options) -> py_reactor_acceptor.

%% The table is there as long as the application.
put_row(Key, Value) ->
    ok = py_reactor_table:put(Key, Value).

children(Name, Part, Child) ->
    #{
        id => Part,
        start => {supervisor, start_link, [?MODULE, {children, Name, Part, Child}]},
        type => supervisor
    }.
