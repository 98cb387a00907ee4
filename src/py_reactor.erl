-module(py_reactor).
-include("py_doc.hrl").
?MODULEDOC("""
Listeners whose connections are served by Python contexts: Erlang listens, accepts, supervises and limits; protocol
handlers in Python, one set for each context, do the talking. `docs/reactor.md` is the guide.
""").

-export([start_listener/2, stop_listener/1, stop_listener/2, restart_contexts/1, info/1, port/1, child_spec/2]).
-export([start_link/2]).
-export_type([name/0, options/0, info/0]).

-include("py_arguments.hrl").

%% Milliseconds that contexts may take to end, once their connections have.
-define(END_TIMEOUT, 15_000).

-type name() :: term().
-type options() :: #{
    transport => tcp | ssl | unix,
    port => inet:port_number(),
    ip => inet:ip_address(),
    path => unicode:chardata(),
    backlog => pos_integer(),
    socket_opts => [tuple()],
    ssl_opts => [proplists:property()],
    handshake_timeout => pos_integer() | infinity,
    max_handshakes => pos_integer(),
    acceptors => pos_integer(),
    contexts => pos_integer(),
    mode => py_context:mode(),
    protocol => {py:name(), py:name()},
    setup_code => py:code(),
    paths => [unicode:chardata()],
    on_start => py_reactor_context:call(),
    on_stop => py_reactor_context:call(),
    max_connections => pos_integer() | infinity,
    idle_timeout => pos_integer() | infinity,
    write_timeout => pos_integer() | infinity,
    high_water => pos_integer(),
    low_water => non_neg_integer(),
    drain_timeout => non_neg_integer(),
    lag_warning => pos_integer() | infinity,
    max_queue => pos_integer() | infinity,
    conversion => py_conversion:options(),
    sandbox => py_sandbox:policy(),
    memory_limit => pos_integer() | infinity,
    max_result_size => pos_integer() | infinity,
    venv => node | none | unicode:chardata(),
    preload => node | none | py:code(),
    output => py_output:destination()
}.
-type info() :: #{
    name := name(),
    transport := tcp | ssl | unix,
    address := {inet:ip_address(), inet:port_number()} | binary(),
    acceptors := non_neg_integer(),
    handshakes := non_neg_integer(),
    active_connections := non_neg_integer(),
    max_connections := pos_integer() | infinity,
    contexts := [map()]
}.

?DOC("""
Starts a listener under the application's supervisor. Returns when its contexts are ready and it accepts.

| option | default | |
|---|---|---|
| `protocol` | none | `{Module, Callable}`: what makes the protocol of each connection; `'__main__'` is what `setup_code` defines. Without it, `setup_code` sets the factory |
| `transport` | `tcp` | `tcp`, `ssl` (TLS, terminated in Erlang) or `unix` |
| `port`, `ip` | 0, all IPv4 addresses | where to listen; port 0 is any that is free, see `port/1` |
| `path` | | of the Unix socket |
| `contexts`, `mode` | schedulers, the default mode | how many contexts, of which mode |
| `acceptors` | 1; schedulers, at least 2, with `ssl` | processes that accept |
| `max_connections` | `infinity` | **in each context**. When all are full, nothing is accepted until there is room |
| `backlog` | 1024 | connections that wait in the system's queue |
| `socket_opts` | `[]` | further options of `gen_tcp:listen/2` |
| `ssl_opts` | | options of `ssl:handshake/3` |
| `handshake_timeout`, `max_handshakes` | 5000, 1024 | time for a TLS handshake; how many there may be at a time |

and the options of `py_reactor_context:start_link/3`, but for `app_module` and `app_callable`.

Errors: those of `py_reactor_context:start_link/3`; `{listen, Reason}`; `already_started`.
""").
-spec start_listener(name(), options()) -> {ok, pid()} | {error, term()}.
start_listener(Name, Options) when is_map(Options) ->
    with_options(Options, fun(Checked) ->
        started(Name, py_reactor_sup:start_listener(py_reactor_listener_sup:child_spec(Name, Checked)), fun() ->
            py_reactor_sup:stop_listener(Name)
        end)
    end);
start_listener(Name, Options) ->
    py_badarg:refuse(?FORM([name, options], [Name, Options]), options, wrong).

started(Name, {ok, Supervisor}, Undo) ->
    case py_reactor_listener:await_ready(Name) of
        ok ->
            {ok, Supervisor};
        {error, _} = Error ->
            _ = Undo(),
            Error
    end;
started(_Name, {error, _} = Error, _Undo) ->
    Error.

with_options(Options, Fun) ->
    case py_nif:python() of
        {error, _} = Error ->
            Error;
        _ ->
            case py_reactor_options:listener(Options) of
                {ok, #{transport := ssl} = Checked} -> with_ssl(application:ensure_all_started(ssl), Checked, Fun);
                {ok, Checked} -> Fun(Checked);
                {error, _} = Error -> Error
            end
    end.

with_ssl({ok, _}, Checked, Fun) -> Fun(Checked);
with_ssl({error, Reason}, _Checked, _Fun) -> {error, {ssl, Reason}}.

?DOC("A child specification of a listener, for a supervisor of your own; the options are those of `start_listener/2`.").
-spec child_spec(name(), options()) -> supervisor:child_spec().
child_spec(Name, Options) when is_map(Options) ->
    #{id => {?MODULE, Name}, start => {?MODULE, start_link, [Name, Options]}, type => supervisor};
child_spec(Name, Options) ->
    py_badarg:refuse(?FORM([name, options], [Name, Options]), options, wrong).

?DOC(false).
-spec start_link(name(), options()) -> {ok, pid()} | {error, term()}.
start_link(Name, Options) ->
    with_options(Options, fun(Checked) ->
        Started = py_reactor_listener_sup:start_link(Name, Checked),
        started(Name, Started, fun() -> end_linked(Started) end)
    end).

%% The error is the answer, not a signal.
end_linked({ok, Supervisor}) ->
    true = unlink(Supervisor),
    gen_server:stop(Supervisor, shutdown, infinity).

?DOC("As `stop_listener/2`, with the listener's `drain_timeout`.").
-spec stop_listener(name()) -> ok | {error, not_found | not_running}.
stop_listener(Name) ->
    case py_reactor_table:get({Name, supervisor}) of
        {ok, #{context := #{drain_timeout := Timeout}}} -> stop_listener(Name, Timeout);
        none -> {error, not_found}
    end.

?DOC("""
Stops a listener: it accepts no more, and its connections may take so many milliseconds to end. Those that wait for
input are closed at once. Returns when everything has ended.
""").
-spec stop_listener(name(), non_neg_integer()) -> ok | {error, not_found | not_running}.
stop_listener(Name, Timeout) ->
    Checked = py_arguments:grace(?FORM([name, grace], [Name, Timeout]), Timeout),
    case py_reactor_table:owner({Name, supervisor}) of
        {ok, Supervisor} ->
            ok = py_reactor_listener_sup:stop_accepting(Supervisor),
            ok = drained(Name, Checked),
            ended(Name, Supervisor);
        none ->
            {error, not_found}
    end.

%% What TLS has still to send is the relays' by the time that the contexts have ended.
drained(Name, Timeout) ->
    Contexts = [
        begin
            _ = spawn(fun() -> py_reactor_context:stop(Context, Timeout) end),
            {Context, erlang:monitor(process, Context)}
        end
     || Context <- py_reactor_listener_sup:contexts(Name)
    ],
    %% One that is still starting would not hear of it.
    Kill = erlang:monotonic_time(millisecond) + Timeout + ?END_TIMEOUT,
    lists:foreach(
        fun({Context, Monitor}) ->
            down(Monitor, max(0, Kill - erlang:monotonic_time(millisecond))),
            exit(Context, kill)
        end,
        Contexts
    ),
    Relays = [erlang:monitor(process, Relay) || Relay <- py_reactor_listener_sup:relays(Name)],
    Deadline = erlang:monotonic_time(millisecond) + Timeout,
    lists:foreach(fun(Monitor) -> down(Monitor, max(0, Deadline - erlang:monotonic_time(millisecond))) end, Relays).

down(Monitor, Timeout) ->
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    after Timeout ->
        true = erlang:demonitor(Monitor, [flush]),
        ok
    end.

%% A supervisor of the user's own decides itself what becomes of a child that ends.
ended(Name, Supervisor) ->
    case py_reactor_sup:stop_listener(Name) of
        {error, not_found} ->
            try
                gen_server:stop(Supervisor, shutdown, infinity)
            catch
                exit:_ -> ok
            end;
        Result ->
            Result
    end.

?DOC("""
Replaces all contexts, one after the other: a new one starts and takes connections, then an old one drains for at most
its `drain_timeout`, and ends. No connection is refused meanwhile. Code that has changed is loaded by the new contexts, in
mode `owngil`; contexts of mode `worker` share their modules. Returns when all have been replaced.

`{error, Reason}` when a new context cannot start: the old ones that are left go on.
""").
-spec restart_contexts(name()) -> ok | {error, term()}.
restart_contexts(Name) ->
    py_reactor_listener:restart(Name).

?DOC("""
What a listener does now. `contexts` has a map for each: that of `py_reactor_context:stats/1`, and its `pid`.
""").
-spec info(name()) -> info() | {error, not_found}.
info(Name) ->
    case {py_reactor_table:get({Name, supervisor}), py_reactor_table:get({Name, socket})} of
        {{ok, #{transport := Transport, context := #{max_connections := Max}}}, {ok, {_Socket, Address}}} ->
            Contexts = [
                Stats#{pid => Pid}
             || Pid <- py_reactor_listener_sup:contexts(Name),
                #{} = Stats <- [py_reactor_context:stats(Pid)]
            ],
            #{
                name => Name,
                transport => Transport,
                address => Address,
                acceptors => length(py_reactor_listener_sup:acceptors(Name)),
                handshakes => py_reactor_tls:pending(Name),
                active_connections => lists:sum([Active || #{active_connections := Active} <- Contexts]),
                max_connections => total(Max, length(Contexts)),
                contexts => Contexts
            };
        _ ->
            {error, not_found}
    end.

total(infinity, _Contexts) -> infinity;
total(Max, Contexts) -> Max * Contexts.

?DOC("The port that a listener has.").
-spec port(name()) -> inet:port_number() | {error, not_found | no_port}.
port(Name) ->
    case py_reactor_table:get({Name, socket}) of
        {ok, {_Socket, {_Ip, Port}}} -> Port;
        {ok, _} -> {error, no_port};
        none -> {error, not_found}
    end.
