-module(py_config).
-include("py_doc.hrl").
?MODULEDOC("""
The application's environment: every key with its default and what it may be.

| key | default | meaning |
|---|---|---|
| `num_contexts` | schedulers online | contexts in the pool `default` |
| `context_mode` | the version's | `owngil` or `worker`, where no mode is given |
| `start_contexts` | `lazy` | for the pool `default`; `lazy`: each at its first use; `eager`: with the application |
| `binding` | `least_loaded` | for the pool `default`: which context a process gets; `scheduler`: that of its scheduler |
| `conversion` | `#{}` | for the pool `default`: see `py_conversion` |
| `max_queue` | `infinity` | requests that may wait in a context of the pool `default`, or in one of no pool |
| `sandbox` | `default` | for the pool `default` and contexts of no pool: what code may do; see `py_sandbox` |
| `memory_limit` | `infinity` | for the same: bytes that a context may have; mode `owngil` only |
| `max_result_size` | `infinity` | for the same: bytes that a result may take in Erlang |
| `output` | `group_leader` | for the same: where what code prints goes; see `docs/logging.md` |
| `dispatch` | `mailbox` | for the pool `default`: how calls run that do not say, `mailbox` or `inline`: see `docs/inline.md` |
| `inline_dispatch` | `true` | whether anything may run inline in this node |
| `inline_limit` | 1000 | milliseconds after which a call that runs inline is interrupted whatever its own time limit |
| `call_timeout` | 30000 | for the pool `default`: milliseconds that a call may take which says nothing of that, or `infinity` |
| `max_concurrent` | `infinity` | requests that may be in flight in the node |
| `max_state_entries` | 100000 | keys of `py_state` that there may be at a time, or `infinity` |
| `max_atoms` | 4096 | names from Python code that may become new atoms in the life of the node |
| `context_start_timeout` | 10000 | milliseconds that a context may take to start |
| `stuck_after` | 5000 | milliseconds that running code may ignore an interrupt |
| `max_nested_runs` | 8 | calls of one context that may be inside `erlang.run` at a time, one in another |
| `event_loop_pool_size` | none | contexts of a pool of its own for `py_event_loop_pool`, which otherwise uses the pool `default` |
| `telemetry_interval` | 5000 | milliseconds between the samples of `py_telemetry`, while somebody listens to them, or `infinity` |
| `imports` | `[]` | modules that every context imports at its start: names, or `{Module, Function}` |
| `paths` | `[]` | folders where every context looks for modules, before all others |
| `venv` | none | the path of a virtual environment whose packages contexts use |
| `preload` | none | Python code that every context runs at its start; see `py_preload` |
| `output_timeout` | 5000 | milliseconds that a group leader may take for what was printed, until that is lost |
| `spare_interpreters` | 1 or 0 | interpreters that wait for new contexts of mode `owngil`; 0 before Python 3.14.1, and with `context_mode` `worker` |
| `max_traces` | 1000 | spans that are kept for `py:get_traces/0` |
| `max_stuck` | 4 | stuck contexts that are replaced at the same time |
| `python_home` | the build's | prefix of the Python installation |
| `python_executable` | the build's | what `sys.executable` says |
| `python` | none | packages that the node needs, and where they are kept; see `docs/environments.md` |

A key that is none of these, nor one of those that `docs/migration.md` says to have no effect, is logged as a warning.
""").

-export([check/0, check_mode/0, get/1, priv_dir/0]).

-include_lib("kernel/include/logger.hrl").

%% Each takes some 5 MB.
-define(MOST_SPARES, 64).

-type key() ::
    num_contexts
    | context_mode
    | start_contexts
    | binding
    | conversion
    | max_queue
    | sandbox
    | memory_limit
    | max_result_size
    | output
    | dispatch
    | inline_dispatch
    | inline_limit
    | call_timeout
    | max_concurrent
    | max_atoms
    | max_state_entries
    | context_start_timeout
    | stuck_after
    | max_stuck
    | output_timeout
    | spare_interpreters
    | max_nested_runs
    | event_loop_pool_size
    | telemetry_interval
    | imports
    | paths
    | venv
    | preload
    | max_traces
    | python_home
    | python_executable
    | python.

keys() ->
    [
        num_contexts,
        context_mode,
        start_contexts,
        binding,
        conversion,
        max_queue,
        sandbox,
        memory_limit,
        max_result_size,
        output,
        dispatch,
        inline_dispatch,
        inline_limit,
        call_timeout,
        max_concurrent,
        max_atoms,
        max_state_entries,
        context_start_timeout,
        stuck_after,
        max_stuck,
        output_timeout,
        spare_interpreters,
        max_nested_runs,
        event_loop_pool_size,
        telemetry_interval,
        imports,
        paths,
        venv,
        preload,
        max_traces,
        python_home,
        python_executable,
        python
    ].

?DOC("Checks every key that is set; the error names the key, its value and what is allowed.").
-spec check() -> ok | {error, {bad_option, key(), term(), Allowed :: string()}}.
check() ->
    lists:foreach(fun warn/1, lists:sort(unknown())),
    check(keys()).

%% A key that is misspelt would change nothing, silently. The application starts all the same: the key may be that
%% of another version.
warn(Key) ->
    ?LOG_WARNING("erlang_python: the application has no setting ~p; its value is ignored", [Key]).

unknown() ->
    [Key || {Key, _} <- application:get_all_env(erlang_python)] -- (keys() ++ without_effect()).

%% Settings of the C library that belong to what is not there yet, and what the application controller adds.
without_effect() ->
    [
        enable_memory_limits,
        included_applications
    ].

?DOC("Whether the Python in use, which must have been started, has contexts of the mode that is set.").
-spec check_mode() -> ok | {error, {bad_option, context_mode, term(), Allowed :: string()}}.
check_mode() ->
    Mode = ?MODULE:get(context_mode),
    case py_pool_options:mode(Mode, py:execution_mode()) of
        {ok, _} -> ok;
        {error, _} -> {error, {bad_option, context_mode, Mode, "worker: this Python has no GIL"}}
    end.

check([Key | Keys]) ->
    case application:get_env(erlang_python, Key) of
        undefined ->
            check(Keys);
        {ok, Value} ->
            case is_valid(Key, Value) of
                true -> check(Keys);
                false -> {error, {bad_option, Key, Value, allowed(Key)}}
            end
    end;
check([]) ->
    ok.

?DOC("The value of a key, or its default.").
-spec get(key()) -> term().
get(Key) when Key =:= python_home; Key =:= python_executable ->
    case application:get_env(erlang_python, Key) of
        {ok, Path} -> unicode:characters_to_binary(Path);
        undefined -> undefined
    end;
get(Key) when Key =:= imports; Key =:= paths; Key =:= venv; Key =:= preload ->
    {ok, Value} = py_import:read(Key, application:get_env(erlang_python, Key, undefined)),
    Value;
get(Key) ->
    case application:get_env(erlang_python, Key) of
        {ok, Value} -> Value;
        undefined -> default(Key)
    end.

?DOC("The folder of the native library and of the Python package.").
-spec priv_dir() -> file:filename_all().
priv_dir() ->
    case code:priv_dir(erlang_python) of
        {error, bad_name} ->
            %% Loaded from a plain code path, without an application folder of the right name.
            filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv");
        Dir ->
            Dir
    end.

default(num_contexts) -> erlang:system_info(schedulers_online);
default(context_mode) -> py:execution_mode();
default(start_contexts) -> lazy;
default(binding) -> least_loaded;
default(conversion) -> #{};
default(max_queue) -> infinity;
default(sandbox) -> default;
default(memory_limit) -> infinity;
default(max_result_size) -> infinity;
default(output) -> group_leader;
default(dispatch) -> mailbox;
default(inline_dispatch) -> true;
default(inline_limit) -> 1_000;
default(call_timeout) -> 30_000;
default(max_concurrent) -> infinity;
default(max_atoms) -> 4096;
default(max_state_entries) -> 100_000;
default(context_start_timeout) -> 10_000;
default(stuck_after) -> 5_000;
default(max_stuck) -> 4;
default(output_timeout) -> 5_000;
default(spare_interpreters) -> default;
default(max_nested_runs) -> 8;
default(telemetry_interval) -> 5_000;
default(max_traces) -> 1_000;
default(event_loop_pool_size) -> undefined.

is_valid(num_contexts, N) -> is_integer(N) andalso N > 0;
is_valid(context_mode, Mode) -> lists:member(Mode, [owngil, worker]);
is_valid(start_contexts, When) -> py_pool_options:is_valid(start, When);
is_valid(binding, Binding) -> py_pool_options:is_valid(binding, Binding);
is_valid(conversion, Conversion) -> element(1, py_conversion:check(Conversion)) =:= ok;
is_valid(max_queue, Max) -> py_pool_options:is_valid(max_queue, Max);
is_valid(sandbox, Policy) -> element(1, py_sandbox:check(Policy)) =:= ok;
is_valid(memory_limit, Limit) -> py_pool_options:is_valid(memory_limit, Limit);
is_valid(max_result_size, Max) -> py_pool_options:is_valid(max_result_size, Max);
is_valid(output, Output) -> py_pool_options:is_valid(output, Output);
is_valid(dispatch, Dispatch) -> py_pool_options:is_valid(dispatch, Dispatch);
is_valid(inline_dispatch, Allow) -> is_boolean(Allow);
is_valid(inline_limit, Ms) -> Ms =:= infinity orelse (is_integer(Ms) andalso Ms > 0);
is_valid(call_timeout, Timeout) -> py_pool_options:is_valid(timeout, Timeout);
is_valid(max_concurrent, Max) -> py_semaphore:is_valid(Max);
is_valid(max_atoms, N) -> is_integer(N) andalso N >= 0 andalso N < 1 bsl 32;
is_valid(max_state_entries, Max) -> Max =:= infinity orelse (is_integer(Max) andalso Max > 0 andalso Max < 1 bsl 32);
is_valid(context_start_timeout, Ms) -> is_integer(Ms) andalso Ms > 0;
is_valid(stuck_after, Ms) -> is_integer(Ms) andalso Ms > 0;
is_valid(max_stuck, N) -> is_integer(N) andalso N >= 0;
is_valid(output_timeout, Ms) -> is_integer(Ms) andalso Ms > 0;
is_valid(spare_interpreters, N) -> is_integer(N) andalso N >= 0 andalso N =< ?MOST_SPARES;
is_valid(max_nested_runs, N) -> is_integer(N) andalso N > 0;
is_valid(event_loop_pool_size, N) -> is_integer(N) andalso N > 0;
is_valid(max_traces, N) -> is_integer(N) andalso N > 0;
is_valid(telemetry_interval, Ms) -> Ms =:= infinity orelse (is_integer(Ms) andalso Ms > 0 andalso Ms < 1 bsl 32);
is_valid(Key, Value) when Key =:= imports; Key =:= paths; Key =:= venv; Key =:= preload ->
    py_import:read(Key, Value) =/= error;
is_valid(python_home, Path) -> is_path(Path);
is_valid(python_executable, Path) -> is_path(Path);
is_valid(python, Declared) -> element(1, py_venv_options:declared(Declared)) =:= ok.

is_path(Path) ->
    try
        is_binary(unicode:characters_to_binary(Path))
    catch
        error:badarg -> false
    end.

allowed(num_contexts) -> "a positive integer";
allowed(context_mode) -> "owngil or worker";
allowed(start_contexts) -> py_pool_options:allowed(start);
allowed(binding) -> py_pool_options:allowed(binding);
allowed(conversion) -> "a map with the options of py_conversion";
allowed(max_queue) -> py_pool_options:allowed(max_queue);
allowed(sandbox) -> "default, strict, or a map with the options of py_sandbox";
allowed(memory_limit) -> py_pool_options:allowed(memory_limit);
allowed(max_result_size) -> py_pool_options:allowed(max_result_size);
allowed(output) -> py_pool_options:allowed(output);
allowed(dispatch) -> py_pool_options:allowed(dispatch);
allowed(inline_dispatch) -> "true or false";
allowed(inline_limit) -> "a positive number of milliseconds, or infinity";
allowed(call_timeout) -> py_pool_options:allowed(timeout);
allowed(max_concurrent) -> "a positive integer below 4294967295, or infinity";
allowed(max_atoms) -> "an integer from 0 to 4294967295";
allowed(max_state_entries) -> "an integer from 1 to 4294967295, or infinity";
allowed(context_start_timeout) -> "a positive number of milliseconds";
allowed(stuck_after) -> "a positive number of milliseconds";
allowed(max_stuck) -> "an integer, 0 or more";
allowed(output_timeout) -> "a positive number of milliseconds";
allowed(spare_interpreters) -> "an integer from 0 to 64";
allowed(max_nested_runs) -> "a positive integer";
allowed(event_loop_pool_size) -> "a positive integer";
allowed(max_traces) -> "a positive integer";
allowed(telemetry_interval) -> "a positive number of milliseconds below 4294967296, or infinity";
allowed(imports) -> "a list of names of modules, or {Module, Function}";
allowed(paths) -> "a list of folders, as strings or binaries";
allowed(venv) -> "the path of a virtual environment, as a string or a binary, or none";
allowed(preload) -> "Python code, as a binary or a string, or none";
allowed(python_home) -> "a path, as a string or a binary";
allowed(python_executable) -> "a path, as a string or a binary";
allowed(python) -> "a map or a list with requirements, app or path, make, and the options of py:ensure_venv/3".
