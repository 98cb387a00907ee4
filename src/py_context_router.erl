-module(py_context_router).
-include("py_doc.hrl").
?MODULEDOC("""
Pools, and which context of a pool a process uses.

A process is bound to a context of a pool when it first uses the pool, and stays with it, so that its namespace is
there at the next call. When that context dies, the process is bound to the one that takes its place. Which context
it gets says the pool's option `binding`: the least loaded one, or that of the scheduler the process runs on;
`bind_context/1,2` binds it to a context of its own choice.
""").

-export([start/0, start/1, stop/0, is_started/0]).
-export([start_pool/2, start_pool/3, stop_pool/1, pool_started/1]).
-export([contexts/0, contexts/1, num_contexts/0, num_contexts/1, get_context/0, get_context/1]).
-export([bind_context/1, bind_context/2, unbind_context/0, unbind_context/1]).
-export([register_pool/2, register_pool/3, unregister_pool/1, unregister_pool/2]).
-export([lookup_pool/2, list_pool_registrations/0]).
-export([known/1, bind/2, rebind/3, all/2, all_places/2]).

-include("py_arguments.hrl").

-type target() :: {ok, py_nif:target()} | {error, term()}.
-type start_options() :: #{contexts => pos_integer(), mode => py_context:mode()}.
-export_type([target/0, start_options/0]).

%% What the dictionary of a process holds for a pool: `{Place, Context, Target}'.
-type place() ::
    %% Of this pool.
    pos_integer()
    %% Of this pool on another node that shares it.
    | shared
    %% Bound explicitly to a context of another pool, or to one of no pool.
    | {Home :: atom(), pos_integer()}
    | none.

-define(DEFAULT_TIMEOUT, 30_000).

?DOC("As `start/1`, with what the application's environment says.").
-spec start() -> {ok, [pid()]} | {error, term()}.
start() ->
    start(#{}).

?DOC("""
Starts every context of the pool `default` and waits until they are ready. `contexts` and `mode` say how many and
of which mode, should the pool have been stopped; a pool that is there stays as it is. When one of a new pool
cannot start, the pool is stopped again.
""").
-spec start(start_options()) -> {ok, [pid()]} | {error, term()}.
start(Options) when is_map(Options) ->
    case start_default(lists:sort(maps:to_list(Options)), Options) of
        {error, already_started} -> every_context(default);
        {error, _} = Error -> Error;
        _Started -> started(every_context(default))
    end;
start(Options) ->
    py_badarg:refuse(?FORM([options], [Options]), options, wrong).

start_default([{contexts, N} | Options], All) when is_integer(N), N > 0 ->
    start_default(Options, All);
start_default([{mode, Mode} | Options], All) when Mode =:= owngil; Mode =:= worker ->
    start_default(Options, All);
start_default([{mode, isolated} | _], _All) ->
    {error, {not_supported, isolated}};
start_default([{Key, Value} | _], _All) ->
    {error, {bad_option, Key, Value}};
start_default([], All) ->
    case py:execution_mode() of
        {error, _} = Error ->
            Error;
        _ ->
            case py_pool_options:default_pool(maps:with([mode], All)) of
                {ok, Options} ->
                    py_pool_sup:start_pool(default, maps:get(contexts, All, py_config:get(num_contexts)), Options);
                {error, _} = Error ->
                    Error
            end
    end.

started({ok, _} = Started) ->
    Started;
started({error, _} = Error) ->
    _ = stop(),
    Error.

every_context(Pool) ->
    case places(Pool, infinity) of
        {ok, Places} ->
            case [Error || {error, _} = Error <- Places] of
                [] -> {ok, [Pid || {ok, _, Pid, _} <- Places]};
                [Error | _] -> Error
            end;
        {error, _} = Error ->
            Error
    end.

?DOC("Stops the pool `default` and its contexts; ok also when it was stopped before.").
-spec stop() -> ok | {error, not_running}.
stop() ->
    case stop_pool(default) of
        {error, not_found} -> ok;
        Stopped -> Stopped
    end.

?DOC("Whether there is a pool `default`.").
-spec is_started() -> boolean().
is_started() ->
    pool_started(default).

?DOC("Whether there is a pool of that name.").
-spec pool_started(atom()) -> boolean().
pool_started(Pool) when is_atom(Pool) ->
    case py_pool_table:size(Pool) of
        {ok, Server, _Size} -> is_process_alive(Server);
        {error, _} -> false
    end;
pool_started(Pool) ->
    py_badarg:refuse(?FORM([pool], [Pool]), pool, wrong).

?DOC("Starts a pool of `Size` contexts of the default mode; each starts at its first use.").
-spec start_pool(atom(), pos_integer()) -> ok | {error, term()}.
start_pool(Name, Size) ->
    start_pool(Name, Size, #{}).

?DOC("""
Starts a pool of `Size` contexts of a mode, or with options:

| option | default | meaning |
|---|---|---|
| `mode` | setting `context_mode` | `owngil` or `worker` |
| `start` | `lazy` | `lazy`: each context at its first use; `eager`: all now, without waiting for them |
| `binding` | `least_loaded` | which context a process gets at its first use: the least loaded one, or with `scheduler` that of the scheduler on which the process runs |
| `nodes` | `[node()]` | the nodes that the places are spread over, in turn; see the guide to distribution |
| `shared` | `false` | whether the nodes that have a pool of this name use each other's contexts |
| `max_queue` | `infinity` | how many requests may wait in each context; a further one is answered `{error, {overloaded, Current, Max}}` |
| `conversion` | `#{}` | see `py_conversion` |
| `sandbox` | `default` | what code may do in each context; see `py_sandbox` |
| `memory_limit` | `infinity` | bytes that each context may have; mode `owngil` only |
| `max_result_size` | `infinity` | bytes that a result may take in Erlang; a larger one is `{error, {result_too_large, Counted, Max}}` |
| `venv` | `node` | the path of a virtual environment whose packages its contexts use, or `none`; `node`: what `py:activate_venv/1` says |
| `preload` | `node` | Python code that its contexts run first, or `none`; `node`: that of `py_preload` |
| `output` | `group_leader` | where what code prints goes: to the `group_leader` of the calling process, to the `logger`, to the OS `process`, or nowhere with `discard` |
| `timeout` | 30000 | milliseconds, or `infinity`: how long calls may take that go to the pool and name no time limit |
| `dispatch` | `mailbox` | `inline`: calls and expressions that go to the pool run on the calling scheduler where they can, see `py:call/5` |

Errors: `{bad_option, Key, Value}`, `{not_supported, Mode}`, `already_started`, `not_running`.
""").
-spec start_pool(atom(), pos_integer(), py_context:mode() | Options) -> ok | {error, term()} when
    Options :: #{
        mode => py_context:mode(),
        start => lazy | eager,
        binding => least_loaded | scheduler,
        nodes => [node(), ...],
        shared => boolean(),
        max_queue => pos_integer() | infinity,
        conversion => py_conversion:options(),
        sandbox => py_sandbox:policy(),
        memory_limit => pos_integer() | infinity,
        max_result_size => pos_integer() | infinity,
        venv => node | none | unicode:chardata(),
        preload => node | none | py:code(),
        output => py_output:destination(),
        timeout => timeout(),
        dispatch => mailbox | inline
    }.
start_pool(Name, Size, Options) when is_atom(Name), is_integer(Size), Size > 0, is_map(Options) ->
    case py_pool_options:pool(Options) of
        {ok, Checked} -> py_pool_sup:start_pool(Name, Size, Checked);
        {error, _} = Error -> Error
    end;
start_pool(Name, Size, Mode) when is_atom(Name), is_integer(Size), Size > 0, is_atom(Mode) ->
    start_pool(Name, Size, #{mode => Mode});
start_pool(Name, Size, Options) ->
    Form = ?FORM([pool, size, options], [Name, Size, Options]),
    _ = py_arguments:pool(Form, Name),
    _ = (is_integer(Size) andalso Size > 0) orelse py_badarg:refuse(Form, size, wrong),
    py_badarg:refuse(Form, options, wrong).

?DOC("Stops a pool and its contexts.").
-spec stop_pool(atom()) -> ok | {error, not_found | not_running}.
stop_pool(Name) when is_atom(Name) ->
    py_pool_sup:stop_pool(Name);
stop_pool(Name) ->
    py_badarg:refuse(?FORM([pool], [Name]), pool, wrong).

?DOC("The contexts of the pool `default` that are ready.").
-spec contexts() -> [pid()].
contexts() ->
    contexts(default).

?DOC("The contexts of a pool that are ready.").
-spec contexts(atom()) -> [pid()].
contexts(Pool) when is_atom(Pool) ->
    [Pid || {_, Pid, _} <- py_pool_table:ready(Pool)];
contexts(Pool) ->
    py_badarg:refuse(?FORM([pool], [Pool]), pool, wrong).

?DOC("How many places the pool `default` has.").
-spec num_contexts() -> non_neg_integer().
num_contexts() ->
    num_contexts(default).

?DOC("How many places a pool has; 0 when there is no such pool.").
-spec num_contexts(atom()) -> non_neg_integer().
num_contexts(Pool) when is_atom(Pool) ->
    case py_pool_table:size(Pool) of
        {ok, _Server, Size} -> Size;
        {error, _} -> 0
    end;
num_contexts(Pool) ->
    py_badarg:refuse(?FORM([pool], [Pool]), pool, wrong).

?DOC("The process's context of the pool `default`; it is bound to one now if it was not.").
-spec get_context() -> pid() | {error, term()}.
get_context() ->
    bound(default, ?DEFAULT_TIMEOUT).

?DOC("""
The context of the pool `default` that has that index, from 1, started if need be; or the process's context of
the pool of that name.
""").
-spec get_context(pos_integer() | atom()) -> pid() | {error, term()}.
get_context(Index) when is_integer(Index), Index > 0 ->
    case py_pool_table:size(default) of
        {ok, Server, Size} when Index =< Size -> at(Server, Index);
        {ok, _Server, _Size} -> {error, {no_context, Index}};
        {error, _} = Error -> Error
    end;
get_context(Pool) when is_atom(Pool) ->
    bound(Pool, ?DEFAULT_TIMEOUT);
get_context(Other) ->
    py_badarg:refuse(?FORM([index], [Other]), index, wrong).

at(Server, Index) ->
    case living(py_pool_table:context(default, Index)) of
        {ok, Pid} ->
            Pid;
        {dead, Pid} ->
            case py_pool:replacement(default, Server, Index, Pid, ?DEFAULT_TIMEOUT) of
                {ok, Index, New, _Handle} -> New;
                {error, _} = Error -> Error
            end
    end.

%% A context that has just died may still be in the table.
living({ok, Pid, _Handle}) ->
    case py_target:info(Pid) of
        {error, _} -> {dead, Pid};
        _ -> {ok, Pid}
    end;
living(none) ->
    {dead, self()}.

?DOC("Binds the process to a context: its calls that name neither context nor pool go there.").
-spec bind_context(pid()) -> ok | {error, term()}.
bind_context(Context) ->
    bind_to(default, py_arguments:context(?FORM([context], [Context]), Context)).

?DOC("""
Binds the process to a context for its calls to a pool, of which the context need not be one. A context of any
pool that dies is replaced as usual; with any other the calls are `{error, {context_died, _}}` until the
process is unbound. Nobody else is bound, and the binding ends with the process.
""").
-spec bind_context(atom(), pid()) -> ok | {error, term()}.
bind_context(Pool, Context) ->
    Form = ?FORM([pool, context], [Pool, Context]),
    bind_to(py_arguments:pool(Form, Pool), py_arguments:context(Form, Context)).

bind_to(Pool, Context) ->
    case py_target:info(Context) of
        {error, _} = Error ->
            Error;
        _ ->
            case py_pool_table:place_of(Context) of
                {ok, Pool, Index, Handle} -> put_binding(Pool, Index, Context, Handle);
                {ok, Home, Index, Handle} -> put_binding(Pool, {Home, Index}, Context, Handle);
                none -> put_binding(Pool, none, Context, Context)
            end
    end.

?DOC("Ends what binds the process in the pool `default`; at its next call it is bound anew.").
-spec unbind_context() -> ok | {error, not_running}.
unbind_context() ->
    unbind_context(default).

?DOC("Ends what binds the process in a pool.").
-spec unbind_context(atom()) -> ok | {error, not_running}.
unbind_context(Pool) when is_atom(Pool) ->
    _ = erase({?MODULE, Pool}),
    case py_nif:python() of
        {error, _} = Error -> Error;
        _ -> ok
    end;
unbind_context(Pool) ->
    py_badarg:refuse(?FORM([pool], [Pool]), pool, wrong).

?DOC("As `py:register_pool/2` with a module.").
-spec register_pool(atom(), py:name()) -> ok | {error, not_running}.
register_pool(Pool, Module) ->
    Form = ?FORM([pool, module], [Pool, Module]),
    Name = py_arguments:name(Form, module, Module),
    py_routes:register(py_arguments:pool(Form, Pool), {Name, '_'}).

?DOC("As `py:register_pool/2` with a function; the atom `'_'` stands for every function.").
-spec register_pool(atom(), py:name(), py:name()) -> ok | {error, not_running}.
register_pool(Pool, Module, Function) ->
    Form = ?FORM([pool, module, function], [Pool, Module, Function]),
    _ = py_arguments:pool(Form, Pool),
    py_routes:register(Pool, names(Form, Module, Function)).

?DOC("Takes the registration of a module back.").
-spec unregister_pool(py:name()) -> ok | {error, not_running}.
unregister_pool(Module) ->
    py_routes:unregister({py_arguments:name(?FORM([module], [Module]), module, Module), '_'}).

?DOC("Takes the registration of a function back.").
-spec unregister_pool(py:name(), py:name()) -> ok | {error, not_running}.
unregister_pool(Module, Function) ->
    py_routes:unregister(names(?FORM([module, function], [Module, Function]), Module, Function)).

?DOC("The pool that a call of the function goes to when it names none: `default` unless it was registered.").
-spec lookup_pool(py:name(), py:name()) -> atom() | {error, not_running}.
lookup_pool(Module, Function) ->
    {M, F} = names(?FORM([module, function], [Module, Function]), Module, Function),
    py_routes:lookup(M, F).

?DOC("All registrations, with the names as they were given; `'_'` as function is the whole module.").
-spec list_pool_registrations() ->
    [{{Module :: atom() | binary(), Function :: atom() | binary()}, Pool :: atom()}] | {error, not_running}.
list_pool_registrations() ->
    py_routes:list().

names(Form, Module, Function) ->
    {py_arguments:name(Form, module, Module), py_arguments:name(Form, function, Function)}.

%% ------------------------------------------------------------------------------------------------
%% Bindings

?DOC(false).
%% The context that the calling process is bound to in a pool.
-spec known(atom()) -> {ok, py_nif:target()} | none.
known(Pool) ->
    case get({?MODULE, Pool}) of
        {_Place, _Pid, Target} when is_reference(Target) -> {ok, Target};
        {Place, _Pid, Context} -> on_node(Pool, Place, Context);
        undefined -> none
    end.

%% A node that is gone, or a context there, is not asked: the process is bound anew.
on_node(Pool, shared, Context) ->
    case py_pool_share:is_offered(Pool, Context) of
        true -> {ok, Context};
        false -> none
    end;
on_node(Pool, Index, Context) when is_integer(Index) ->
    case py_pool_table:context(Pool, Index) of
        {ok, Context, Context} -> {ok, Context};
        _ -> none
    end;
on_node(_Pool, _Elsewhere, Context) ->
    {ok, Context}.

%% The process of that context, which is alive or has died since the last submission.
bound(Pool, Timeout) ->
    Bound =
        case known(Pool) of
            none -> bind(Pool, Timeout);
            Known -> Known
        end,
    case Bound of
        {ok, Target} ->
            %% By the pid, which names a context only as long as it lives; a handle outlives it.
            {_Place, Pid, Target} = get({?MODULE, Pool}),
            case py_target:info(Pid) of
                {error, {context_died, _}} -> bound_again(Pool, Target, Timeout);
                {error, _} = Error -> Error;
                _ -> Pid
            end;
        {error, _} = Error ->
            Error
    end.

bound_again(Pool, Dead, Timeout) ->
    case rebind(Pool, Dead, Timeout) of
        {ok, _} -> bound(Pool, Timeout);
        {error, _} = Error -> Error
    end.

?DOC(false).
%% The bound context refused: it is dead. Binds the process to the one that takes its place.
-spec rebind(atom(), py_nif:target(), timeout()) -> target().
rebind(Pool, Target, Timeout) ->
    case get({?MODULE, Pool}) of
        {none, _Pid, Target} ->
            died(Target);
        {{Home, Index}, Pid, Target} ->
            case py_pool_table:size(Home) of
                {ok, Server, Size} when Index =< Size ->
                    keep(Pool, {Home, Index}, py_pool:replacement(Home, Server, Index, Pid, Timeout));
                {error, not_running} = Error ->
                    Error;
                _ ->
                    died(Target)
            end;
        _ ->
            rebind_ordinary(Pool, Target, Timeout)
    end.

died(Target) ->
    case py_target:info(Target) of
        {error, _} = Error -> Error;
        _ -> {error, {context_died, noproc}}
    end.

rebind_ordinary(Pool, Handle, Timeout) ->
    case {erase({?MODULE, Pool}), py_pool_table:pool(Pool)} of
        %% With several nodes there is something else than to wait.
        {{Index, Pid, Handle}, {ok, Server, Size, Binding}} when Index =< Size, Binding =/= turn ->
            keep(Pool, py_pool:replacement(Pool, Server, Index, Pid, Timeout));
        {{_Place, Dead, _}, {ok, _, _, _}} ->
            bind(Pool, Dead, Timeout);
        {undefined, {ok, _, _, _}} ->
            bind(Pool, Timeout);
        {_, {error, _} = Error} ->
            Error
    end.

?DOC(false).
%% Handles of all places of a pool, started if need be.
-spec all(atom(), timeout()) -> {ok, [py_nif:target()]} | {error, term()}.
all(Pool, Timeout) ->
    case all_places(Pool, Timeout) of
        {ok, Places} -> {ok, [Handle || {ok, _, _, Handle} <- Places]};
        {error, _} = Error -> Error
    end.

?DOC(false).
%% The same with what they are of.
-spec all_places(atom(), timeout()) -> {ok, [{ok, pos_integer(), pid(), py_nif:target()}, ...]} | {error, term()}.
all_places(Pool, Timeout) ->
    case places(Pool, Timeout) of
        {ok, Places} ->
            case [Place || {ok, _, _, _} = Place <- Places] of
                [] -> hd(Places);
                Found -> {ok, Found}
            end;
        {error, _} = Error ->
            Error
    end.

%% All places of a pool in the order of their indices: what is ready, what was started, or why not.
places(Pool, Timeout) ->
    case py_pool_table:size(Pool) of
        {ok, Server, Size} ->
            Ready = maps:from_list([{I, {ok, I, Pid, H}} || {I, Pid, H} <- py_pool_table:ready(Pool)]),
            %% One time limit for all of them.
            Deadline = py_call:deadline(Timeout),
            {ok, [place(Pool, Index, Ready, Server, Deadline) || Index <- lists:seq(1, Size)]};
        {error, _} = Error ->
            Error
    end.

place(Pool, Index, Ready, Server, Deadline) ->
    case Ready of
        #{Index := Place} -> Place;
        _ -> py_pool:replacement(Pool, Server, Index, self(), py_call:remaining(Deadline))
    end.

?DOC(false).
%% Binds the calling process to a context of a pool.
-spec bind(atom(), timeout()) -> target().
bind(Pool, Timeout) ->
    bind(Pool, none, Timeout).

bind(Pool, Dead, Timeout) ->
    case py_pool_table:pool(Pool) of
        {ok, Server, Size, scheduler} ->
            keep(Pool, of_scheduler(Pool, Server, Size, Timeout));
        {ok, Server, Size, turn} ->
            keep(Pool, in_turn(Pool, Server, Size, Dead, py_call:deadline(Timeout)));
        {ok, Server, _Size, shared} ->
            case py_pool_share:choose(Pool, py_pool_table:ready(Pool), Dead) of
                {ok, {Index, Pid, Handle}} -> keep(Pool, {ok, Index, Pid, Handle});
                none -> keep(Pool, py_pool:replacement(Pool, Server, 1, self(), Timeout))
            end;
        {ok, Server, Size, least_loaded} ->
            Ready = py_pool_table:ready(Pool),
            case length(Ready) < Size andalso py_pool:claim(Pool, Server, Timeout) of
                {ok, _, _, _} = Found -> keep(Pool, Found);
                {error, _} = Error -> Error;
                _ -> least_loaded(Pool, Server, Timeout)
            end;
        {error, _} = Error ->
            Error
    end.

%% The process may move to another scheduler later, and stays bound.
of_scheduler(Pool, Server, Size, Timeout) ->
    Index = (erlang:system_info(scheduler_id) - 1) rem Size + 1,
    case py_pool_table:context(Pool, Index) of
        {ok, Pid, Handle} -> {ok, Index, Pid, Handle};
        none -> py_pool:replacement(Pool, Server, Index, self(), Timeout)
    end.

%% Places that nobody has used yet come first, then those that are ready, in turn. A node that is away may turn up
%% with each place once.
in_turn(Pool, Server, Attempts, Dead, Deadline) ->
    case py_pool:claim(Pool, Server, py_call:remaining(Deadline)) of
        {ok, _, _, _} = Found ->
            Found;
        {error, timeout} = Error ->
            Error;
        Other ->
            case [Place || {_, Pid, _} = Place <- py_pool_table:ready(Pool), Pid =/= Dead] of
                [] when Attempts > 1 ->
                    in_turn(Pool, Server, Attempts - 1, Dead, Deadline);
                [] when Other =:= all_started ->
                    {error, {context_died, noproc}};
                [] ->
                    Other;
                Ready ->
                    {Index, Pid, Handle} = lists:nth(py_pool_table:turn(Pool, length(Ready)) + 1, Ready),
                    {ok, Index, Pid, Handle}
            end
    end.

least_loaded(Pool, Server, Timeout) ->
    Ready = py_pool_table:ready(Pool),
    case py_nif:least_loaded([Handle || {_, _, Handle} <- Ready]) of
        none ->
            keep(Pool, py_pool:replacement(Pool, Server, 1, self(), Timeout));
        Nth when is_integer(Nth) ->
            {Index, Pid, Handle} = lists:nth(Nth, Ready),
            keep(Pool, {ok, Index, Pid, Handle})
    end.

keep(Pool, {ok, Index, _Pid, _Handle} = Found) -> keep(Pool, Index, Found);
keep(_Pool, {error, _} = Error) -> Error.

keep(Pool, Place, {ok, _Index, Pid, Handle}) ->
    ok = put_binding(Pool, Place, Pid, Handle),
    {ok, Handle};
keep(_Pool, _Place, {error, _} = Error) ->
    Error.

-spec put_binding(atom(), place(), pid(), py_nif:target()) -> ok.
put_binding(Pool, Place, Pid, Target) ->
    _ = put({?MODULE, Pool}, {Place, Pid, Target}),
    ok.
