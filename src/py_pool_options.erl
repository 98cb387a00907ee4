-module(py_pool_options).
-include("py_doc.hrl").
-include("py_arguments.hrl").
?MODULEDOC(false).

%% The one place that knows the options of contexts and pools: what each may be, and what holds where it is
%% missing. An option of both is checked by the same clause.

-export([pool/1, default_pool/1, context/1, context_keys/0, mode/2, is_valid/2, allowed/1]).
-export_type([pool/0, context/0, place_node/0]).

-type place_node() :: here | node().
%% Where a place is. A node may get its name when its pools have long been there.

-type pool() :: #{
    mode := py_context:mode(),
    binding := least_loaded | scheduler,
    start := lazy | eager,
    nodes := [place_node(), ...],
    shared := boolean(),
    max_queue := pos_integer() | infinity,
    conversion := py_conversion:checked(),
    sandbox := py_sandbox:checked(),
    memory_limit := pos_integer() | infinity,
    max_result_size := pos_integer() | infinity,
    venv := node | none | binary(),
    preload := node | none | binary(),
    output := py_output:destination(),
    dispatch := mailbox | inline,
    timeout := timeout()
}.
-type context() :: #{
    mode := py_context:mode(),
    max_queue := pos_integer() | infinity,
    conversion := py_conversion:checked(),
    sandbox := py_sandbox:checked(),
    memory_limit := pos_integer() | infinity,
    max_result_size := pos_integer() | infinity,
    venv := node | none | binary(),
    preload := node | none | binary(),
    output := py_output:destination()
}.
-type reason() ::
    {bad_option, Key :: term(), Value :: term()} | {not_supported, atom()} | not_running.

?DOC(false).
%% Of a pool with a name; the application's settings are those of the pool `default'.
-spec pool(map()) -> {ok, pool()} | {error, reason()}.
pool(Options) ->
    Defaults = #{
        mode => fun() -> py_config:get(context_mode) end,
        binding => least_loaded,
        start => lazy,
        nodes => [node()],
        shared => false,
        max_queue => infinity,
        conversion => #{},
        sandbox => default,
        memory_limit => infinity,
        max_result_size => infinity,
        venv => node,
        preload => node,
        output => group_leader,
        dispatch => mailbox,
        timeout => 30_000
    },
    placed(checked(Options, Defaults)).

%% Loads are known of this node's contexts only, schedulers likewise, and nodes share what is their own.
placed({ok, #{nodes := Named, binding := Binding, shared := Shared} = Options}) ->
    Nodes = [case Node =:= node() of true -> here; false -> Node end || Node <- Named],
    Placed = Options#{nodes := Nodes},
    case Nodes =:= [here] of
        true when Shared, Binding =:= scheduler -> {error, {bad_option, binding, scheduler}};
        false when Shared -> {error, {bad_option, shared, true}};
        false when Binding =:= scheduler -> {error, {bad_option, binding, scheduler}};
        %% Others cannot use what has not started.
        true when Shared -> {ok, Placed#{start := eager}};
        _ -> {ok, Placed}
    end;
placed({error, _} = Error) ->
    Error.

?DOC(false).
%% Of the pool `default': the application's settings where an option is missing.
-spec default_pool(map()) -> {ok, pool()} | {error, reason()}.
default_pool(Options) ->
    Settings = #{
        mode => py_config:get(context_mode),
        binding => py_config:get(binding),
        start => py_config:get(start_contexts),
        max_queue => py_config:get(max_queue),
        conversion => py_config:get(conversion),
        sandbox => py_config:get(sandbox),
        memory_limit => py_config:get(memory_limit),
        max_result_size => py_config:get(max_result_size),
        output => py_config:get(output),
        dispatch => py_config:get(dispatch),
        timeout => py_config:get(call_timeout)
    },
    pool(maps:merge(Settings, Options)).

?DOC(false).
%% Of a context in no pool.
-spec context(map()) -> {ok, context()} | {error, reason()}.
context(Options) ->
    Defaults = #{
        mode => fun() -> py_config:get(context_mode) end,
        max_queue => fun() -> py_config:get(max_queue) end,
        conversion => #{},
        sandbox => fun() -> py_config:get(sandbox) end,
        %% The setting is for those that can have a limit.
        memory_limit => fun() ->
            case Options of
                #{mode := worker} -> infinity;
                _ -> py_config:get(memory_limit)
            end
        end,
        max_result_size => fun() -> py_config:get(max_result_size) end,
        venv => node,
        preload => node,
        output => fun() -> py_config:get(output) end
    },
    checked(Options, Defaults).

?DOC(false).
%% The options that a pool hands on to its contexts.
-spec context_keys() -> [atom(), ...].
context_keys() ->
    [mode, max_queue, conversion, sandbox, memory_limit, max_result_size, venv, preload, output].

%% Options that nobody knows are found before values that are wrong.
checked(Options, Defaults) ->
    case lists:sort(maps:keys(maps:without(maps:keys(Defaults), Options))) of
        [Unknown | _] ->
            {error, {bad_option, Unknown, maps:get(Unknown, Options)}};
        [] ->
            Missing = maps:map(fun(_, Default) -> default(Default) end, maps:without(maps:keys(Options), Defaults)),
            together(Options, each(lists:sort(maps:to_list(maps:merge(Missing, Options))), #{}))
    end.

%% The contexts of mode `worker' share one interpreter, and with it its memory, its `os.environ' and its modules.
together(_Given, {ok, #{mode := worker, memory_limit := Limit}}) when Limit =/= infinity ->
    {error, {bad_option, memory_limit, Limit}};
together(_Given, {ok, #{mode := worker, sandbox := #{environment := Names}}}) when Names =/= all ->
    {error, {bad_option, sandbox, {environment, worker}}};
together(#{venv := Given}, {ok, #{mode := worker, venv := Venv}}) when Venv =/= node ->
    {error, {bad_option, venv, Given}};
together(_Given, Checked) ->
    Checked.

default(Default) when is_function(Default, 0) -> Default();
default(Default) -> Default.

each([{Key, Value} | Options], Checked) ->
    case check(Key, Value) of
        {ok, Good} -> each(Options, Checked#{Key => Good});
        {error, _} = Error -> Error
    end;
each([], Checked) ->
    {ok, Checked}.

check(mode, {error, not_running} = Error) ->
    Error;
check(mode, Mode) ->
    case py_nif:python() of
        {error, not_running} = Error -> Error;
        {_Version, Default} -> mode(Mode, Default)
    end;
check(conversion, Conversion) ->
    py_conversion:check(Conversion);
check(sandbox, Policy) ->
    py_sandbox:check(Policy);
check(venv, Venv) ->
    path_or_word(venv, Venv, fun py_birth_venv:as_path/1);
check(preload, Code) ->
    path_or_word(preload, Code, fun py_preload:as_code/1);
check(Key, Value) ->
    case is_valid(Key, Value) of
        true -> {ok, Value};
        false -> {error, {bad_option, Key, Value}}
    end.

path_or_word(_Key, Word, _Read) when Word =:= node; Word =:= none ->
    {ok, Word};
path_or_word(Key, Value, Read) ->
    case Read(Value) of
        {ok, Good} -> {ok, Good};
        error -> {error, {bad_option, Key, Value}}
    end.

?DOC(false).
%% A mode on a Python whose contexts are of mode `Default' where nothing is said. That is `worker' where Python
%% has no GIL: the contexts of the main interpreter run in parallel there, and others are not to be had.
-spec mode(term(), py_context:mode()) -> {ok, py_context:mode()} | {error, reason()}.
mode(owngil, worker) -> {error, {not_supported, owngil}};
mode(isolated, _Default) -> {error, {not_supported, isolated}};
mode(Mode, _Default) when Mode =:= owngil; Mode =:= worker -> {ok, Mode};
mode(Mode, _Default) -> {error, {bad_option, mode, Mode}}.

?DOC(false).
-spec is_valid(
    binding | start | nodes | shared | max_queue | memory_limit | max_result_size | timeout | venv | preload | output
    | dispatch,
    term()
) -> boolean().
is_valid(binding, Binding) -> lists:member(Binding, [least_loaded, scheduler]);
is_valid(start, When) -> lists:member(When, [lazy, eager]);
is_valid(nodes, Nodes) ->
    try
        Nodes =/= [] andalso lists:all(fun is_atom/1, Nodes)
    catch
        error:_ -> false
    end;
is_valid(shared, Shared) -> is_boolean(Shared);
is_valid(output, Output) -> lists:member(Output, [group_leader, logger, discard, process]);
is_valid(dispatch, Dispatch) -> lists:member(Dispatch, [mailbox, inline]);
is_valid(timeout, Timeout) -> ?IS_TIMEOUT(Timeout);
is_valid(Key, Value) when Key =:= venv; Key =:= preload -> element(1, check(Key, Value)) =:= ok;
is_valid(_Bound, Max) -> Max =:= infinity orelse (is_integer(Max) andalso Max > 0).

?DOC(false).
-spec allowed(binding | start | max_queue | memory_limit | max_result_size | timeout | venv | preload | output | dispatch) ->
    string().
allowed(binding) -> "least_loaded or scheduler";
allowed(start) -> "lazy or eager";
allowed(max_queue) -> "a positive integer or infinity";
allowed(venv) -> "the path of a virtual environment, none, or node";
allowed(preload) -> "Python code, a binary or a string, none, or node";
allowed(dispatch) -> "mailbox or inline";
allowed(output) -> "group_leader, logger, discard or process";
allowed(timeout) -> "a number of milliseconds, or infinity";
allowed(_Size) -> "a positive number of bytes, or infinity".
