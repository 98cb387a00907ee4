-module(py_web).
-include("py_doc.hrl").
?MODULEDOC("""
Web servers for Python applications: ASGI 3, with WebSockets, and WSGI.

Each is a listener of `py_reactor`, whose functions work for it, too. `docs/web.md` is the guide.
""").

-export([start/2, stop/1, stop/2, restart/1, info/1, port/1, child_spec/2]).
-export([start_link/2]).
-export_type([options/0]).

-include("py_arguments.hrl").

-type options() :: #{
    asgi => unicode:chardata(),
    wsgi => unicode:chardata(),
    factory => boolean(),
    root_path => unicode:chardata(),
    threads => pos_integer(),
    max_head => pos_integer(),
    max_body => pos_integer() | infinity,
    max_message => pos_integer() | infinity,
    head_timeout => pos_integer() | infinity,
    body_timeout => pos_integer() | infinity,
    keep_alive_timeout => pos_integer() | infinity,
    ping_interval => pos_integer() | infinity,
    transport => tcp | ssl | unix,
    port => inet:port_number(),
    ip => inet:ip_address(),
    path => unicode:chardata(),
    backlog => pos_integer(),
    socket_opts => [tuple()],
    ssl_opts => [term()],
    handshake_timeout => pos_integer() | infinity,
    max_handshakes => pos_integer(),
    acceptors => pos_integer(),
    contexts => pos_integer(),
    mode => py_context:mode(),
    setup_code => py:code(),
    paths => [unicode:chardata()],
    max_connections => pos_integer() | infinity,
    write_timeout => pos_integer() | infinity,
    drain_timeout => non_neg_integer(),
    lag_warning => pos_integer() | infinity,
    max_queue => pos_integer() | infinity,
    sandbox => py_sandbox:policy(),
    memory_limit => pos_integer() | infinity,
    max_result_size => pos_integer() | infinity,
    venv => node | none | unicode:chardata(),
    preload => node | none | py:code(),
    output => py_output:destination()
}.

?DOC("""
Starts a server under the application's supervisor. Returns when the application has started in every context, and
connections are accepted.

| option | default | |
|---|---|---|
| `asgi` or `wsgi` | | the application, `"module:attribute"` |
| `factory` | `false` | the attribute is a function that makes the application |
| `root_path` | `""` | the path below which the application is, behind a proxy |
| `threads` | 4 | of each context, in which a WSGI application runs |
| `max_head`, `max_body` | 65536, `infinity` | bytes of a request |
| `max_message` | 16777216 | bytes of a WebSocket message |
| `head_timeout`, `body_timeout` | 10000, 60000 | milliseconds for the head of a request; for the next piece of its body |
| `keep_alive_timeout` | 75000 | milliseconds that a connection may wait for its next request |
| `ping_interval` | 30000 | milliseconds after which a silent WebSocket is asked, and after as many more ended |

and the options of `py_reactor:start_listener/2`, but for `protocol`, `on_start`, `on_stop`, `idle_timeout`,
`high_water`, `low_water` and `conversion`.

Errors: `{app, Reason}` when the application cannot be loaded or does not start, and those of `start_listener/2`.
""").
-spec start(py_reactor:name(), options()) -> {ok, pid()} | {error, term()}.
start(Name, Options) when is_map(Options) ->
    case listener(Options) of
        {ok, Listener} -> told(py_reactor:start_listener(Name, Listener));
        {error, _} = Error -> Error
    end;
start(Name, Options) ->
    py_badarg:refuse(?FORM([name, options], [Name, Options]), options, wrong).

?DOC("A child specification of a server, for a supervisor of your own; the options are those of `start/2`.").
-spec child_spec(py_reactor:name(), options()) -> supervisor:child_spec().
child_spec(Name, Options) when is_map(Options) ->
    #{id => {?MODULE, Name}, start => {?MODULE, start_link, [Name, Options]}, type => supervisor};
child_spec(Name, Options) ->
    py_badarg:refuse(?FORM([name, options], [Name, Options]), options, wrong).

?DOC(false).
-spec start_link(py_reactor:name(), options()) -> {ok, pid()} | {error, term()}.
start_link(Name, Options) ->
    case listener(Options) of
        {ok, Listener} -> told(py_reactor:start_link(Name, Listener));
        {error, _} = Error -> Error
    end.

?DOC("As `py_reactor:stop_listener/1`.").
-spec stop(py_reactor:name()) -> ok | {error, not_found | not_running}.
stop(Name) ->
    py_reactor:stop_listener(Name).

?DOC("""
Stops a server: it accepts no more, requests that are being answered may take so many milliseconds, then the application
is told to shut down. As `py_reactor:stop_listener/2`.
""").
-spec stop(py_reactor:name(), non_neg_integer()) -> ok | {error, not_found | not_running}.
stop(Name, Timeout) ->
    py_reactor:stop_listener(Name, Timeout).

?DOC("""
Replaces the contexts, one after the other, each by one that has loaded the application anew; no connection is refused
meanwhile. As `py_reactor:restart_contexts/1`.
""").
-spec restart(py_reactor:name()) -> ok | {error, term()}.
restart(Name) ->
    py_reactor:restart_contexts(Name).

?DOC("What it serves: as `py_reactor:info/1`.").
-spec info(py_reactor:name()) -> py_reactor:info() | {error, not_found}.
info(Name) ->
    py_reactor:info(Name).

?DOC("The port it listens on: as `py_reactor:port/1`.").
-spec port(py_reactor:name()) -> inet:port_number() | {error, not_found | no_port}.
port(Name) ->
    py_reactor:port(Name).

told({error, {on_start, Reason}}) -> {error, {app, Reason}};
told(Result) -> Result.

%% ------------------------------------------------------------------------------------------------
%% Options

listener(Options) ->
    Own = defaults(),
    Names = maps:keys(Own) ++ [asgi, wsgi] ++ listener_keys(),
    case lists:sort(maps:keys(maps:without(Names, Options))) of
        [Unknown | _] ->
            Known = lists:join(", ", [atom_to_list(Name) || Name <- lists:sort(Names)]),
            refused(Unknown, maps:get(Unknown, Options), ["nothing; what there is: " | Known]);
        [] ->
            checked(lists:sort(maps:to_list(maps:with([asgi, wsgi | maps:keys(Own)], Options))), Own, Options)
    end.

checked([{Key, Value} | More], Checked, Options) ->
    case is_valid(Key, Value) of
        true -> checked(More, Checked#{Key => as_python(Value)}, Options);
        false -> refused(Key, Value, allowed(Key))
    end;
checked([], #{asgi := _, wsgi := Wsgi}, _Options) ->
    refused(wsgi, Wsgi, "only without asgi");
checked([], #{asgi := App} = Checked, Options) ->
    {ok, served(<<"asgi">>, App, Checked, Options)};
checked([], #{wsgi := App} = Checked, Options) ->
    {ok, served(<<"wsgi">>, App, Checked, Options)};
checked([], _Checked, _Options) ->
    refused(asgi, undefined, "an application, or wsgi => one").

served(Kind, App, Checked, Options) ->
    Settings = maps:map(fun(_, Value) -> as_python(Value) end, maps:without([asgi, wsgi], Checked)),
    (maps:with(listener_keys(), Options))#{
        on_start => {'erlang._web', start, [Kind, App, Settings]},
        on_stop => {'erlang._web', stop, []}
    }.

as_python(infinity) -> none;
as_python(Text) when is_list(Text) -> unicode:characters_to_binary(Text);
as_python(Value) -> Value.

refused(Key, Value, Allowed) ->
    {error, {bad_option, Key, Value, lists:flatten(Allowed)}}.

defaults() ->
    #{
        factory => false,
        root_path => <<>>,
        threads => 4,
        max_head => 65_536,
        max_body => infinity,
        max_message => 16_777_216,
        head_timeout => 10_000,
        body_timeout => 60_000,
        keep_alive_timeout => 75_000,
        ping_interval => 30_000
    }.

%% What is the listener's, which checks it.
listener_keys() ->
    [
        transport, port, ip, path, backlog, socket_opts, ssl_opts, handshake_timeout, max_handshakes, acceptors,
        contexts, mode, setup_code, paths, max_connections, write_timeout, drain_timeout, lag_warning, max_queue,
        sandbox, memory_limit, max_result_size, venv, preload, output
    ].

is_valid(asgi, App) -> is_app(App);
is_valid(wsgi, App) -> is_app(App);
is_valid(factory, Factory) -> is_boolean(Factory);
is_valid(root_path, Path) -> is_text(Path);
is_valid(threads, N) -> is_positive(N);
is_valid(max_head, N) -> is_positive(N);
is_valid(_Limit, Value) -> Value =:= infinity orelse is_positive(Value).

is_app(App) ->
    is_text(App) andalso re:run(App, "^[^:]+:[^:]+$", [unicode, {capture, none}]) =:= match.

is_text(Text) when is_binary(Text); is_list(Text) ->
    try
        is_binary(unicode:characters_to_binary(Text))
    catch
        error:badarg -> false
    end;
is_text(_) ->
    false.

is_positive(N) -> is_integer(N) andalso N > 0 andalso N =< 16#FFFFFFFF.

allowed(App) when App =:= asgi; App =:= wsgi -> "\"module:attribute\"";
allowed(factory) -> "true or false";
allowed(root_path) -> "a path";
allowed(Key) when Key =:= threads; Key =:= max_head -> "a positive integer";
allowed(_) -> "a positive integer or infinity".
