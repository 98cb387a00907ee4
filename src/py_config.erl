-module(py_config).
-include("py_doc.hrl").
?MODULEDOC("""
The application's environment: every key with its default and what it may be.

| key | default | meaning |
|---|---|---|
| `num_contexts` | schedulers online | contexts in the pool `default` |
| `context_mode` | the version's | `owngil` or `worker`, for the pool `default` |
| `start_contexts` | `lazy` | `lazy`: each at its first use; `eager`: with the application |
| `context_start_timeout` | 10000 | milliseconds that a context may take to start |
| `stuck_after` | 5000 | milliseconds that running code may ignore an interrupt |
| `max_stuck` | 4 | stuck contexts that are replaced at the same time |
| `python_home` | the build's | prefix of the Python installation |
| `python_executable` | the build's | what `sys.executable` says |
""").

-export([check/0, get/1, priv_dir/0]).

-type key() ::
    num_contexts
    | context_mode
    | start_contexts
    | context_start_timeout
    | stuck_after
    | max_stuck
    | python_home
    | python_executable.

keys() ->
    [
        num_contexts,
        context_mode,
        start_contexts,
        context_start_timeout,
        stuck_after,
        max_stuck,
        python_home,
        python_executable
    ].

?DOC("Checks every key that is set; the error names the key, its value and what is allowed.").
-spec check() -> ok | {error, {bad_option, key(), term(), Allowed :: string()}}.
check() ->
    check(keys()).

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
default(context_start_timeout) -> 10_000;
default(stuck_after) -> 5_000;
default(max_stuck) -> 4.

is_valid(num_contexts, N) -> is_integer(N) andalso N > 0;
is_valid(context_mode, Mode) -> lists:member(Mode, [owngil, worker]);
is_valid(start_contexts, When) -> lists:member(When, [lazy, eager]);
is_valid(context_start_timeout, Ms) -> is_integer(Ms) andalso Ms > 0;
is_valid(stuck_after, Ms) -> is_integer(Ms) andalso Ms > 0;
is_valid(max_stuck, N) -> is_integer(N) andalso N >= 0;
is_valid(python_home, Path) -> is_path(Path);
is_valid(python_executable, Path) -> is_path(Path).

is_path(Path) ->
    try
        is_binary(unicode:characters_to_binary(Path))
    catch
        error:badarg -> false
    end.

allowed(num_contexts) -> "a positive integer";
allowed(context_mode) -> "owngil or worker";
allowed(start_contexts) -> "lazy or eager";
allowed(context_start_timeout) -> "a positive number of milliseconds";
allowed(stuck_after) -> "a positive number of milliseconds";
allowed(max_stuck) -> "an integer, 0 or more";
allowed(python_home) -> "a path, as a string or a binary";
allowed(python_executable) -> "a path, as a string or a binary".
