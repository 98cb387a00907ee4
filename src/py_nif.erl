-module(py_nif).
-include("py_doc.hrl").
?MODULEDOC("""
The native library. Private but for `owngil_supported/0` and `subinterp_supported/0`.

Loading never fails: a library that cannot be loaded keeps its reason for `application:start/1`, and every
function answers `{error, not_running}`.
""").

-export([owngil_supported/0, subinterp_supported/0, load_error/0]).
-export([
    runtime_start/3,
    runtime_stop/0,
    python/0,
    counters/0,
    atoms_max/1,
    refusals/0,
    context_refusals/1,
    refusal_names/0,
    context_start/1,
    context_close/2,
    context_adopt/2,
    context_info/1,
    context_confined/1,
    context_memory/1,
    contexts/0,
    context_settle/3,
    prepare/2,
    call/6,
    inline_call/5,
    inline_mark/2,
    inline_marks/1,
    inline_allow/1,
    inline_limit/1,
    inline_supported/0,
    inline_seen/1,
    forward/4,
    spawn/4,
    cast/3,
    task/4,
    run_task/5,
    task_cast/3,
    loop_arm/1,
    loop_ready/1,
    loop_end/1,
    reactor_open/2,
    reactor_handoff/3,
    reactor_stats/1,
    reactor_drain/1,
    reactor_taken/1,
    listener_open/1,
    listener_arm/2,
    listener_accept/4,
    listener_close/1,
    reactor_when_free/2,
    socketpair/0,
    close_fd/1,
    environment/1,
    own_environment/1,
    cancel/1,
    callbacks_open/0,
    callback_begin/1,
    callback_answer/3,
    callback_cancel/1,
    callback_finish/2,
    function_known/2,
    relayed/2,
    output_accepted/4,
    output_lost/1,
    log_open/0,
    log_levels/2,
    log_set_up/2,
    is_mine/1,
    is_object/1,
    interrupt/1,
    least_loaded/1,
    context_serials/0,
    context_serial/1,
    context_pid/1,
    record_spans/1,
    context_seen/1,
    context_sample/1,
    observe/2,
    atoms_created/0,
    permits/0,
    permits_open/0,
    permits_max/1,
    permits_wait/0,
    permits_stop_waiting/0,
    permits_release/0,
    state_open/1,
    state_fetch/1,
    state_store/2,
    state_remove/1,
    state_add/2,
    state_keys/0,
    state_clear/0,
    state_counted/0,
    built_for/0,
    stream_demand/2,
    stream_end/1,
    spares_open/2,
    spares_close/0,
    spares/0,
    part/4,
    so_far/2
]).
-export_type([callback/0, answer/0, handle/0, request/0, target/0, payload/0, scope/0, environment/0, object/0, settings/0]).
-export_type([listener/0, step/0]).

-nifs([
    runtime_start/3,
    runtime_stop/0,
    python/0,
    counters/0,
    atoms_max/1,
    refusals/0,
    context_refusals/1,
    refusal_names/0,
    context_start/1,
    context_close/2,
    context_adopt/2,
    context_info/1,
    context_confined/1,
    context_memory/1,
    contexts/0,
    context_settle/3,
    prepare/2,
    call/6,
    inline_call/5,
    inline_mark/2,
    inline_marks/1,
    inline_allow/1,
    inline_limit/1,
    inline_supported/0,
    inline_seen/1,
    forward/4,
    spawn/4,
    cast/3,
    task/4,
    run_task/5,
    task_cast/3,
    loop_arm/1,
    loop_ready/1,
    loop_end/1,
    reactor_open/2,
    reactor_handoff/3,
    reactor_stats/1,
    reactor_drain/1,
    reactor_taken/1,
    listener_open/1,
    listener_arm/2,
    listener_accept/4,
    listener_close/1,
    reactor_when_free/2,
    socketpair/0,
    close_fd/1,
    environment/1,
    own_environment/1,
    cancel/1,
    callbacks_open/0,
    callback_begin/1,
    callback_answer/3,
    callback_cancel/1,
    callback_finish/2,
    function_known/2,
    relayed/2,
    output_accepted/4,
    output_lost/1,
    log_open/0,
    log_levels/2,
    log_set_up/2,
    is_mine/1,
    is_object/1,
    interrupt/1,
    least_loaded/1,
    context_serials/0,
    context_serial/1,
    context_pid/1,
    record_spans/1,
    context_seen/1,
    context_sample/1,
    observe/2,
    atoms_created/0,
    permits/0,
    permits_open/0,
    permits_max/1,
    permits_wait/0,
    permits_stop_waiting/0,
    permits_release/0,
    state_open/1,
    state_fetch/1,
    state_store/2,
    state_remove/1,
    state_add/2,
    state_keys/0,
    state_clear/0,
    state_counted/0,
    built_for/0,
    stream_demand/2,
    stream_end/1,
    spares_open/2,
    spares_close/0,
    spares/0,
    part/4,
    so_far/2
]).
-on_load(load/0).

%% An error of the system, or its number where it has no name here.
-type posix() :: atom() | integer().
-type handoff_error() ::
    {overloaded, non_neg_integer(), pos_integer()}
    | draining
    | not_reactor
    | not_running
    | {context_died, atom()}
    | posix().
-type listener() :: reference().
-type reactor_options() :: #{
    max_connections := pos_integer() | infinity,
    idle_timeout := non_neg_integer() | infinity,
    write_timeout := non_neg_integer() | infinity,
    high_water := non_neg_integer(),
    low_water := non_neg_integer()
}.
-type handle() :: reference().
-type request() :: reference().
-type callback() :: reference().
%% Python waits for its answer.
-type answer() ::
    {ok, term()}
    | {
        raised,
        error | exit | throw,
        Reason :: term(),
        Text :: binary(),
        Stack :: [term()],
        %% The Python exception that a call of the function's own ended with: class, module, message, traceback.
        none | {atom() | binary(), binary(), binary(), binary()}
    }.
-type object() :: reference().
%% Stands for a Python object.
-type target() :: handle() | pid() | object().
-type payload() ::
    {call, module_name(), name(), [term()], map()}
    | {eval, binary(), map()}
    | {exec, binary()}
    | {getattr, object(), name()}
    | {call_method, object(), name(), [term()], map()}
    | {to_term, object()}
    | {echo, term()}
    %% What gives the items; who gets them, with a reference; how many at first.
    | {stream, payload(), pid(), reference(), non_neg_integer() | infinity}
    | {collect, payload()}
    %% Of which it is learned how long it takes.
    | {learn, payload()}
    %% A list of arguments, or one argument, for each call.
    | {call_many, module_name(), name(), [[term()]], map()}
    | {map, module_name(), name(), [term()], map()}
    %% Made as a part of a trace.
    | {traced, py_trace:trace(), payload()}
    | {birth, [step(), ...]}.
-type step() ::
    {settle, [term()]}
    | {import, name(), name() | all}
    | {preload, binary()}.
%% What a context is given by the node; see py_birth.
-type module_name() :: name().
-type name() :: atom() | binary().
-type environment() :: reference().
-type cancelled() :: cancelled | flush | calling | sending | sent.
-type scope() :: own | pid() | environment().
%% Whose namespace a request uses: the caller's, that of another process of this node, a named one.
-type settings() :: #{
    mode := owngil | worker,
    %% Milliseconds.
    stuck_after := pos_integer(),
    max_queue := pos_integer() | infinity,
    max_nested_runs := pos_integer(),
    conversion := py_conversion:checked(),
    sandbox := py_sandbox:checked(),
    %% Bytes.
    memory_limit := pos_integer() | infinity,
    max_result_size := pos_integer() | infinity,
    %% Interpreters are handed on between contexts with the same, which means nothing else here.
    birth := binary(),
    %% Where modules come from besides `sys.path'.
    folders := [binary()],
    output := py_output:destination(),
    %% Milliseconds.
    output_timeout := pos_integer()
}.
-type refused() ::
    {error,
        not_running
        | stale_reference
        | {context_died, atom()}
        | {not_supported, atom()}
        | timeout
        | {deadlock, [pid()]}
        | {overloaded, Current :: non_neg_integer(), Max :: pos_integer()}}.

load() ->
    Library = filename:join(py_config:priv_dir(), "py_nif"),
    case erlang:load_nif(Library, makes_large_maps_anywhere()) of
        ok ->
            ok;
        {error, {upgrade, _Text}} ->
            %% Threads of the library work for the module that is loaded. This one is discarded.
            logger:error(
                "erlang_python: py_nif cannot be upgraded in a running node; the version that was loaded goes on "
                "until the node is restarted"
            ),
            {error, upgrade};
        {error, {_Kind, Text}} ->
            logger:error("erlang_python: the native library cannot be loaded: ~ts", [Text]),
            persistent_term:put({?MODULE, load_error}, unicode:characters_to_binary(Text))
    end.

%% Since ERTS 15.2.3 (see native/src/beam/words.rs); the patches of older releases are not told apart.
makes_large_maps_anywhere() ->
    Version = [list_to_integer(Part) || Part <- string:lexemes(erlang:system_info(version), ".")],
    Version >= [15, 2, 3].

?DOC("Whether contexts can have interpreters with their own GILs on the Python in use.").
-spec owngil_supported() -> boolean().
owngil_supported() ->
    %% `{Version, Mode}' or `{error, not_running}'.
    element(2, python()) =:= owngil.

?DOC("The same as `owngil_supported/0`: subinterpreters are only used with their own GILs.").
-spec subinterp_supported() -> boolean().
subinterp_supported() ->
    owngil_supported().

?DOC(false).
-spec load_error() -> binary() | none.
load_error() ->
    persistent_term:get({?MODULE, load_error}, none).

%% What stands in for every function below until the library is loaded. The value is fetched so that no
%% tool takes it for the only one.
not_loaded() ->
    persistent_term:get({?MODULE, not_loaded}, {error, not_running}).

-spec runtime_start(binary(), binary() | undefined, binary() | undefined) ->
    boolean() | {error, not_running}.
runtime_start(_Package, _Home, _Executable) -> not_loaded().

-spec runtime_stop() -> boolean() | {error, not_running}.
runtime_stop() -> not_loaded().

-spec python() -> {binary(), owngil | worker} | {error, not_running}.
python() -> not_loaded().

-spec counters() ->
    {Threads :: non_neg_integer(), Spares :: non_neg_integer(), Stuck :: non_neg_integer(),
        SetAside :: non_neg_integer()}
    | {error, not_running}.
counters() -> not_loaded().

?DOC(false).
%% What was refused to Python code in this node, and how often.
-spec refusals() -> [{binary(), pos_integer()}].
refusals() -> not_loaded().

?DOC(false).
-spec context_refusals(target()) -> [{binary(), pos_integer()}] | refused().
context_refusals(_Target) -> not_loaded().

?DOC(false).
%% Everything that may be refused.
-spec refusal_names() -> [binary(), ...].
refusal_names() -> not_loaded().

-spec atoms_max(non_neg_integer()) -> Created :: non_neg_integer() | {error, not_running}.
atoms_max(_Max) -> not_loaded().

-spec context_start(settings()) -> {ok, handle(), Serial :: pos_integer()} | {error, term()}.
context_start(_Settings) -> not_loaded().

-spec context_close(handle(), atom()) -> ok.
context_close(_Handle, _Reason) -> not_loaded().

-spec context_adopt(handle(), handle()) -> non_neg_integer().
context_adopt(_New, _Old) -> not_loaded().

-spec context_info(target()) ->
    {owngil | worker, InterpreterId :: integer(), Processes :: non_neg_integer(),
        Queue :: non_neg_integer()}
    | refused().
context_info(_Target) -> not_loaded().

-spec context_confined(target()) -> boolean() | refused().
context_confined(_Target) -> not_loaded().
-spec context_memory(target()) ->
    {Used :: non_neg_integer(), Peak :: non_neg_integer(), Limit :: pos_integer() | infinity}
    | starting
    | {error, {not_supported, worker | memory_limit}}
    | refused().
context_memory(_Target) -> not_loaded().

%% Those of this node that have not closed, the ones that are starting among them.
-spec contexts() -> [{pid(), Birth :: binary()}].
contexts() -> not_loaded().

%% See `settings()'.
-spec context_settle(target(), Birth :: binary(), Folders :: [binary()]) -> ok | refused().
context_settle(_Target, _Birth, _Folders) -> not_loaded().

%% As `spawn', outside all bounds.
-spec prepare(target(), payload()) -> request() | refused().
prepare(_Target, _Payload) -> not_loaded().

-spec call(target(), reference(), payload(), scope(), none | callback(), timeout()) -> request() | refused().
call(_Target, _Ref, _Payload, _Scope, _Parent, _Timeout) -> not_loaded().

%% Runs it on this scheduler. `mailbox': not now; `learn': neither, and the one that goes by the mailbox is to tell how long
%% it took, as `{learn, Payload}'; `again': somebody was in the way, and the caller is patient.
-spec inline_call(target(), payload(), timeout(), Learned :: boolean(), Patient :: boolean()) ->
    mailbox
    | again
    | learn
    | {ok, term()}
    | {error, term()}
    | {raised, {error, term()}, Story :: term()}
    | {error, not_running}.
inline_call(_Target, _Payload, _Limit, _Learned, _Patient) -> not_loaded().

%% The switch of the node.
%% Names that are atoms.
-spec inline_mark(atom(), atom()) -> none | inline | auto | {error, not_running}.
inline_mark(_Module, _Function) -> not_loaded().

-spec inline_marks([{atom(), atom(), inline | auto}]) -> ok | {error, not_running}.
inline_marks(_Marks) -> not_loaded().

-spec inline_allow(boolean()) -> ok | {error, not_running}.
inline_allow(_On) -> not_loaded().

%% Milliseconds that any call may take.
-spec inline_limit(pos_integer() | infinity) -> ok | {error, not_running}.
inline_limit(_Limit) -> not_loaded().

-spec inline_supported() -> boolean() | {error, not_running}.
inline_supported() -> not_loaded().

-spec inline_seen(Serial :: pos_integer()) ->
    undefined
    | {Calls :: non_neg_integer(), Slow :: non_neg_integer(), Interrupted :: non_neg_integer(),
        [{Refusal :: atom(), pos_integer()}],
        [{binary(), binary(), boolean(), non_neg_integer(), pos_integer(), non_neg_integer()}]}
    | {error, not_running}.
inline_seen(_Serial) -> not_loaded().

-spec forward(target(), reference(), payload(), scope()) -> request() | refused().
forward(_Target, _Ref, _Payload, _Scope) -> not_loaded().

-spec spawn(target(), payload(), scope(), none | callback()) -> request() | refused().
spawn(_Target, _Payload, _Scope, _Parent) -> not_loaded().

-spec cast(target(), payload(), scope()) -> request() | refused().
cast(_Target, _Payload, _Scope) -> not_loaded().

-spec task(target(), payload(), scope(), none | callback()) -> request() | refused().
task(_Target, _Payload, _Scope, _Parent) -> not_loaded().

-spec run_task(target(), reference(), payload(), scope(), none | callback()) -> request() | refused().
run_task(_Target, _Ref, _Payload, _Scope, _Parent) -> not_loaded().

-spec task_cast(target(), payload(), scope()) -> request() | refused().
task_cast(_Target, _Payload, _Scope) -> not_loaded().

-spec loop_arm(handle()) -> ok.
loop_arm(_Handle) -> not_loaded().

-spec loop_ready(handle()) -> ok.
loop_ready(_Handle) -> not_loaded().

-spec loop_end(handle()) -> ok.
loop_end(_Handle) -> not_loaded().

-spec reactor_open(handle(), reactor_options()) -> ok | {error, already_open}.
reactor_open(_Handle, _Options) -> not_loaded().

-spec reactor_handoff(handle(), integer(), map()) ->
    ok
    | {error, handoff_error()}.
reactor_handoff(_Handle, _Fd, _Info) -> not_loaded().

%% The last is for how many microseconds the handler has run that runs now.
-spec reactor_stats(handle()) ->
    {
        Active :: non_neg_integer(),
        Total :: non_neg_integer(),
        Requests :: non_neg_integer(),
        Max :: pos_integer() | infinity,
        Busy :: non_neg_integer()
    }
    | {error, not_reactor}.
reactor_stats(_Handle) -> not_loaded().

-spec reactor_drain(handle()) -> ok | {error, not_reactor}.
reactor_drain(_Handle) -> not_loaded().

-spec reactor_when_free(handle(), term()) -> ok | {error, not_reactor}.
reactor_when_free(_Handle, _Message) -> not_loaded().

-spec listener_open(integer()) -> {ok, listener()} | {error, posix()}.
listener_open(_Fd) -> not_loaded().

-spec listener_arm(listener(), term()) -> ok.
listener_arm(_Listener, _Message) -> not_loaded().

-spec listener_accept(listener(), handle(), map(), pos_integer()) ->
    {Count :: non_neg_integer(), more | empty | {error, closed | handoff_error()}}.
listener_accept(_Listener, _Handle, _Info, _Most) -> not_loaded().

-spec listener_close(listener()) -> ok.
listener_close(_Listener) -> not_loaded().

-spec reactor_taken(integer()) -> non_neg_integer() | undefined.
reactor_taken(_Fd) -> not_loaded().

-spec socketpair() -> {ok, integer(), integer()} | {error, posix()}.
socketpair() -> not_loaded().

-spec close_fd(integer()) -> ok | {error, posix()}.
close_fd(_Fd) -> not_loaded().

-spec environment(target()) -> {ok, environment()} | refused().
environment(_Target) -> not_loaded().

-spec own_environment(target()) -> {ok, environment()} | refused().
own_environment(_Target) -> not_loaded().

-spec cancel(request()) -> cancelled() | not_owner | {error, not_running}.
cancel(_Request) -> not_loaded().

-spec callbacks_open() -> ok | {error, not_running}.
callbacks_open() -> not_loaded().

-spec callback_begin(callback()) -> ok | expired.
callback_begin(_Callback) -> not_loaded().

-spec callback_answer(callback(), none | reference(), answer()) -> ok | expired.
callback_answer(_Callback, _Tag, _Answer) -> not_loaded().

-spec callback_finish(callback(), {ok, term()} | {error, term()}) -> ok | expired | cast.
callback_finish(_Callback, _Result) -> not_loaded().

-spec callback_cancel(callback()) -> cancelled().
callback_cancel(_Callback) -> not_loaded().

-spec function_known(binary(), boolean()) -> ok | {error, not_running}.
function_known(_Name, _Known) -> not_loaded().

-spec output_accepted(handle(), Request :: non_neg_integer(), Items :: non_neg_integer(), Bytes :: non_neg_integer()) ->
    ok | {error, not_running}.
output_accepted(_Context, _Request, _Items, _Bytes) -> not_loaded().

-spec output_lost(handle()) -> ok | {error, not_running}.
output_lost(_Context) -> not_loaded().

-spec log_open() -> ok | {error, not_running}.
log_open() -> not_loaded().

-spec log_levels(integer(), [{binary(), integer()}]) -> ok | {error, not_running}.
log_levels(_Primary, _Modules) -> not_loaded().

-spec log_set_up(integer(), binary() | none) -> ok | {error, not_running}.
log_set_up(_Level, _Format) -> not_loaded().

-spec relayed(handle(), non_neg_integer()) -> ok.
relayed(_Handle, _Count) -> not_loaded().

-spec is_mine(request()) -> boolean() | {error, not_running}.
is_mine(_Request) -> not_loaded().

-spec is_object(term()) -> boolean() | {error, not_running}.
is_object(_Term) -> not_loaded().

-spec interrupt(target()) -> ok | not_running | refused().
interrupt(_Target) -> not_loaded().

-spec least_loaded([handle()]) -> pos_integer() | none.
least_loaded(_Handles) -> not_loaded().

-spec permits() ->
    {Current :: non_neg_integer(), Max :: pos_integer() | infinity} | {error, not_running}.
permits() -> not_loaded().

-spec permits_open() -> ok | {error, not_running}.
permits_open() -> not_loaded().

-spec permits_max(pos_integer() | infinity) -> Granted :: non_neg_integer() | {error, not_running}.
permits_max(_Max) -> not_loaded().

-spec permits_wait() -> Granted :: non_neg_integer() | {error, not_running}.
permits_wait() -> not_loaded().

-spec permits_stop_waiting() -> boolean() | {error, not_running}.
permits_stop_waiting() -> not_loaded().

-spec permits_release() -> ok | {error, not_running}.
permits_release() -> not_loaded().

-spec state_open(pos_integer() | infinity | 0) -> ok.
state_open(_Max) -> not_loaded().

-spec state_fetch(term()) -> {ok, term()} | {error, not_found | not_running}.
state_fetch(_Key) -> not_loaded().

-spec state_store(term(), term()) -> ok | {error, py_state:full() | not_running}.
state_store(_Key, _Value) -> not_loaded().

-spec state_remove(term()) -> ok | {error, not_running}.
state_remove(_Key) -> not_loaded().

-spec state_add(term(), integer()) ->
    integer() | {error, py_state:full() | not_an_integer | too_large | not_running}.
state_add(_Key, _Amount) -> not_loaded().

-spec state_keys() -> [term()] | {error, not_running}.
state_keys() -> not_loaded().

-spec state_clear() -> ok | {error, not_running}.
state_clear() -> not_loaded().

-spec state_counted() ->
    {Entries :: non_neg_integer(), Max :: pos_integer() | infinity} | {error, not_running}.
state_counted() -> not_loaded().

?DOC(false).
%% The serial numbers of the contexts that are there, also of such as end or are stuck.
-spec context_serials() -> [pos_integer()] | {error, not_running}.
context_serials() -> not_loaded().

?DOC(false).
-spec context_serial(target()) -> pos_integer() | refused().
context_serial(_Target) -> not_loaded().

?DOC(false).
%% See native/src/nif/watch.rs.
-spec context_seen(pos_integer()) -> tuple() | gone.
context_seen(_Serial) -> not_loaded().

?DOC(false).
-spec context_sample(pos_integer()) -> tuple() | gone.
context_sample(_Serial) -> not_loaded().

?DOC(false).
%% Gives what was so before.
-spec observe(samples | interrupts, boolean()) -> boolean() | {error, not_running}.
observe(_What, _On) -> not_loaded().

?DOC(false).
%% How many names from Python code have become new atoms.
-spec atoms_created() -> non_neg_integer() | {error, not_running}.
atoms_created() -> not_loaded().

-spec built_for() -> {Version :: binary(), Executable :: binary()} | {error, not_running}.
built_for() -> not_loaded().

-spec stream_demand(request(), pos_integer() | infinity) -> ok | {error, not_running}.
stream_demand(_Request, _More) -> not_loaded().

-spec stream_end(request()) -> ok | {error, not_running}.
stream_end(_Request) -> not_loaded().

?DOC(false).
%% The process of the context that a handle or a reference to an object is of.
-spec context_pid(target()) -> pid() | refused().
context_pid(_Target) -> not_loaded().

-spec spares_open(non_neg_integer() | default, py_sandbox:checked()) -> ok.
spares_open(_Wanted, _Policy) -> not_loaded().

-spec spares_close() -> ok.
spares_close() -> not_loaded().

-spec spares() -> {Wanted :: non_neg_integer(), Ready :: non_neg_integer()} | {error, not_running}.
spares() -> not_loaded().

?DOC(false).
%% Gives what was so before.
-spec record_spans(boolean()) -> boolean() | {error, not_running}.
record_spans(_On) -> not_loaded().

?DOC(false).
%% As `forward', with any term in place of the reference.
-spec part(target(), term(), payload(), timeout()) -> request() | refused().
part(_Target, _Tag, _Payload, _Timeout) -> not_loaded().

?DOC(false).
%% What was made of a batch that was cancelled, with the reason in place of the rest; `sent' where its answer was sent;
%% an error for other requests.
-spec so_far(request(), Reason) -> {ok, [{ok, term()} | {error, term()}]} | sent | {error, Reason | not_running}.
so_far(_Request, _Reason) -> not_loaded().
