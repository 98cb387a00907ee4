-module(py_reactor_options).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The options of reactor contexts and of listeners: what each may be, and what holds where it is missing.

-export([context/1, listener/1]).
-export_type([context/0, listener/0, reason/0, milliseconds/0]).

-type milliseconds() :: pos_integer() | infinity.
-type mfargs() :: {py:name(), py:name(), [term()]}.

%% What is missing in it is missing in the options that py_context gets, too: those of
%% `py_pool_options:context_keys/0'.
-type context() :: #{
    mode => py_context:mode(),
    max_queue => pos_integer() | infinity,
    conversion => py_conversion:options(),
    sandbox => py_sandbox:policy(),
    memory_limit => pos_integer() | infinity,
    max_result_size => pos_integer() | infinity,
    venv => node | none | unicode:chardata(),
    preload => node | none | py:code(),
    output => py_output:destination(),
    paths := [unicode:chardata()],
    setup_code := py:code() | undefined,
    app_module := py:name() | undefined,
    app_callable := py:name() | undefined,
    on_start := mfargs() | undefined,
    on_stop := mfargs() | undefined,
    max_connections := pos_integer() | infinity,
    idle_timeout := milliseconds(),
    write_timeout := milliseconds(),
    high_water := pos_integer(),
    low_water := non_neg_integer(),
    drain_timeout := non_neg_integer(),
    lag_warning := milliseconds()
}.
-type listener() :: #{
    transport := tcp | ssl | unix,
    port := inet:port_number(),
    ip := inet:ip_address(),
    path := binary() | undefined,
    backlog := pos_integer(),
    socket_opts := [tuple()],
    %% A fun, so that no report of a supervisor shows a key.
    ssl_opts := fun(() -> [term()]),
    handshake_timeout := milliseconds(),
    max_handshakes := pos_integer(),
    acceptors := pos_integer(),
    contexts := pos_integer(),
    context := context()
}.
-type reason() :: {bad_option, Key :: term(), Value :: term(), Allowed :: string()} | {not_supported, atom()}.

-spec context(map()) -> {ok, context()} | {error, reason()}.
context(Options) ->
    case checked(Options, context_keys(), context_defaults()) of
        {ok, #{high_water := High, low_water := Low}} when Low > High ->
            refused(low_water, Low, "at most high_water");
        {ok, #{app_module := Module, app_callable := undefined}} when Module =/= undefined ->
            refused(app_callable, undefined, "the name of a protocol factory in app_module");
        Checked ->
            Checked
    end.

%% Contexts get what is theirs.
-spec listener(map()) -> {ok, listener()} | {error, reason()}.
listener(Options) ->
    Own = [
        transport, port, ip, path, backlog, socket_opts, ssl_opts, handshake_timeout, max_handshakes, acceptors,
        contexts, protocol
    ],
    Keys = Own ++ (context_keys() -- [app_module, app_callable]),
    case checked(Options, Keys, listener_defaults()) of
        {ok, Checked} -> placed(maps:with(Own, Checked), context_options(Options, Own));
        {error, _} = Error -> Error
    end.

context_options(Options, Own) ->
    Factory =
        case Options of
            #{protocol := {Module, Callable}} -> #{app_module => module(Module), app_callable => Callable};
            #{} -> #{}
        end,
    maps:merge(maps:without(Own, Options), Factory).

placed(#{transport := unix, path := undefined}, _Context) ->
    refused(path, undefined, "the path of the Unix socket");
placed(#{transport := Transport, path := Path}, _Context) when Transport =/= unix, Path =/= undefined ->
    refused(path, Path, "only with transport => unix");
placed(#{transport := ssl, ssl_opts := []}, _Context) ->
    refused(ssl_opts, [], "the options of ssl:handshake/3, with a certificate and a key");
placed(#{transport := Transport, ssl_opts := [_ | _] = Opts}, _Context) when Transport =/= ssl ->
    refused(ssl_opts, Opts, "only with transport => ssl");
placed(#{ssl_opts := SslOpts} = Listener, ContextOptions) ->
    case context(ContextOptions) of
        {ok, Context} ->
            Acceptors =
                case Listener of
                    #{acceptors := undefined} -> acceptors(Listener);
                    #{acceptors := Given} -> Given
                end,
            {ok, (maps:remove(protocol, Listener))#{
                ssl_opts := fun() -> SslOpts end, context => Context, acceptors := Acceptors
            }};
        {error, _} = Error -> Error
    end.

%% One accepts natively what several contexts can serve. With TLS each connection has its processes.
acceptors(#{transport := ssl}) -> max(2, erlang:system_info(schedulers_online));
acceptors(_) -> 1.

context_keys() ->
    py_pool_options:context_keys() ++ maps:keys(context_defaults()).

context_defaults() ->
    #{
        paths => [],
        setup_code => undefined,
        app_module => undefined,
        app_callable => undefined,
        on_start => undefined,
        on_stop => undefined,
        max_connections => infinity,
        idle_timeout => infinity,
        write_timeout => 30_000,
        high_water => 65_536,
        low_water => 16_384,
        drain_timeout => 5_000,
        lag_warning => 1_000
    }.

listener_defaults() ->
    Schedulers = erlang:system_info(schedulers_online),
    #{
        transport => tcp,
        port => 0,
        ip => {0, 0, 0, 0},
        path => undefined,
        backlog => 1_024,
        socket_opts => [],
        ssl_opts => [],
        handshake_timeout => 5_000,
        max_handshakes => 1_024,
        acceptors => undefined,
        contexts => Schedulers,
        protocol => undefined
    }.

%% What the setup code defines.
module(Main) when Main =:= '__main__'; Main =:= <<"__main__">>; Main =:= "__main__" -> undefined;
module(Module) -> Module.

%% Options that nobody knows are found before values that are wrong.
checked(Options, Keys, Defaults) ->
    case lists:sort(maps:keys(maps:without(Keys, Options))) of
        [Unknown | _] ->
            Names = lists:join(", ", [atom_to_list(Key) || Key <- lists:sort(Keys)]),
            refused(Unknown, maps:get(Unknown, Options), lists:append(["nothing; what there is: " | Names]));
        [] ->
            each(lists:sort(maps:to_list(Options)), maps:merge(Defaults, Options))
    end.

each([{Key, Value} | Options], All) ->
    case check(Key, Value) of
        {ok, Good} -> each(Options, All#{Key := Good});
        {error, {not_supported, _}} = Error -> Error;
        {error, _} -> refused(Key, Value, allowed(Key));
        false -> refused(Key, Value, allowed(Key))
    end;
each([], All) ->
    {ok, All}.

refused(Key, Value, Allowed) ->
    {error, {bad_option, Key, Value, lists:flatten(Allowed)}}.

check(Key, undefined) when
    Key =:= setup_code; Key =:= app_module; Key =:= app_callable; Key =:= on_start; Key =:= on_stop; Key =:= path;
    Key =:= protocol
->
    {ok, undefined};
check(mode, Mode) ->
    py_pool_options:mode(Mode, py:execution_mode());
check(conversion, Conversion) ->
    case py_conversion:check(Conversion) of
        {ok, _} -> {ok, Conversion};
        {error, _} = Error -> Error
    end;
check(sandbox, Policy) ->
    case py_sandbox:check(Policy) of
        {ok, _} -> {ok, Policy};
        {error, _} = Error -> Error
    end;
check(path, Path) ->
    as_path(Path);
check(Key, Value) ->
    is_valid(Key, Value) andalso {ok, Value}.

as_path(Path) ->
    try unicode:characters_to_binary(Path) of
        %% The system's own limit.
        Binary when is_binary(Binary), Binary =/= <<>>, byte_size(Binary) < 104 -> {ok, Binary};
        _ -> false
    catch
        error:badarg -> false
    end.

is_valid(Key, Value) when
    Key =:= max_queue; Key =:= memory_limit; Key =:= max_result_size; Key =:= venv; Key =:= preload; Key =:= output
->
    py_pool_options:is_valid(Key, Value);
is_valid(paths, Paths) -> is_proper(Paths) andalso lists:all(fun is_text/1, Paths);
is_valid(setup_code, Code) -> is_text(Code);
is_valid(app_module, Name) -> is_name(Name);
is_valid(app_callable, Name) -> is_name(Name);
is_valid(on_start, Call) -> is_call(Call);
is_valid(on_stop, Call) -> is_call(Call);
is_valid(max_connections, Max) -> Max =:= infinity orelse is_positive(Max);
is_valid(idle_timeout, Ms) -> is_milliseconds(Ms);
is_valid(write_timeout, Ms) -> is_milliseconds(Ms);
is_valid(high_water, Bytes) -> is_positive(Bytes);
is_valid(low_water, Bytes) -> is_integer(Bytes) andalso Bytes >= 0;
is_valid(drain_timeout, Ms) -> is_integer(Ms) andalso Ms >= 0 andalso Ms =< 16#FFFFFFFF;
is_valid(lag_warning, Ms) -> is_milliseconds(Ms);
is_valid(transport, Transport) -> lists:member(Transport, [tcp, ssl, unix]);
is_valid(port, Port) -> is_integer(Port) andalso Port >= 0 andalso Port =< 65_535;
is_valid(ip, Ip) -> is_address(Ip);
is_valid(backlog, N) -> is_positive(N);
is_valid(socket_opts, Opts) -> is_proper(Opts) andalso lists:all(fun is_socket_option/1, Opts);
is_valid(ssl_opts, Opts) -> is_proper(Opts);
is_valid(handshake_timeout, Ms) -> is_milliseconds(Ms);
is_valid(max_handshakes, N) -> is_positive(N);
is_valid(acceptors, N) -> is_positive(N);
is_valid(contexts, N) -> is_positive(N);
is_valid(protocol, {Module, Callable}) -> is_name(Module) andalso is_name(Callable);
is_valid(protocol, _) -> false.

is_positive(N) -> is_integer(N) andalso N > 0.

is_milliseconds(infinity) -> true;
is_milliseconds(Ms) -> is_positive(Ms) andalso Ms =< 16#FFFFFFFF.

is_proper(List) -> is_list(List) andalso length_or_false(List) =/= false.

length_or_false(List) ->
    try
        length(List)
    catch
        error:badarg -> false
    end.

is_text(Text) when is_binary(Text); is_list(Text) ->
    try
        is_binary(unicode:characters_to_binary(Text))
    catch
        error:badarg -> false
    end;
is_text(_) ->
    false.

is_name(Name) when is_atom(Name) -> true;
is_name(Name) -> is_text(Name) andalso Name =/= "" andalso Name =/= <<>>.

is_call({Module, Function, Args}) -> is_name(Module) andalso is_name(Function) andalso is_proper(Args);
is_call(_) -> false.

is_address(Ip) ->
    try
        inet:is_ip_address(Ip)
    catch
        error:_ -> false
    end.

is_socket_option({Key, _}) when is_atom(Key) -> lists:member(Key, socket_options());
is_socket_option(Raw) -> is_tuple(Raw) andalso tuple_size(Raw) =:= 4 andalso element(1, Raw) =:= raw.

socket_options() -> [nodelay, keepalive, recbuf, sndbuf, priority, tos, linger, ipv6_v6only].

allowed(mode) -> "owngil or worker";
allowed(conversion) -> "a map with the options of py_conversion";
allowed(sandbox) -> "default, strict, or a map with the options of py_sandbox";
allowed(memory_limit) -> py_pool_options:allowed(memory_limit);
allowed(max_result_size) -> py_pool_options:allowed(max_result_size);
allowed(output) -> py_pool_options:allowed(output);
allowed(max_queue) -> py_pool_options:allowed(max_queue);
allowed(venv) -> py_pool_options:allowed(venv);
allowed(preload) -> py_pool_options:allowed(preload);
allowed(paths) -> "a list of folders, as strings or binaries";
allowed(setup_code) -> "Python code: a binary or a string";
allowed(app_module) -> "a module's name: an atom, a binary or a string";
allowed(app_callable) -> "the name of a protocol factory: an atom, a binary or a string";
allowed(Key) when Key =:= on_start; Key =:= on_stop -> "{Module, Function, Args}";
allowed(max_connections) -> "a positive integer or infinity";
allowed(Key) when
    Key =:= idle_timeout; Key =:= write_timeout; Key =:= lag_warning; Key =:= handshake_timeout
->
    "a positive number of milliseconds, or infinity";
allowed(high_water) -> "a positive number of bytes";
allowed(low_water) -> "a number of bytes, 0 or more";
allowed(drain_timeout) -> "a number of milliseconds, 0 or more";
allowed(transport) -> "tcp, ssl or unix";
allowed(port) -> "a port's number, 0 for any that is free";
allowed(ip) -> "an address: a tuple of 4 or of 8 integers";
allowed(path) -> "a path of 1 to 103 bytes";
allowed(socket_opts) ->
    Names = lists:join(", ", [atom_to_list(Name) || Name <- socket_options()]),
    ["a list of {Name, Value} with " | Names] ++ [", and of {raw, Protocol, Option, Value}"];
allowed(ssl_opts) -> "a list of options of ssl:handshake/3";
allowed(Key) when
    Key =:= backlog; Key =:= acceptors; Key =:= contexts; Key =:= max_handshakes
->
    "a positive integer";
allowed(protocol) -> "{Module, Callable}: the names of a Python module and of a protocol factory in it".
