-module(py_info).
-include("py_doc.hrl").
?MODULEDOC(false).

%% What an operator asks: numbers that are there anyway, put together. Nothing here waits for Python, for a context's
%% process, or for a lock that is held across Python code.

-export([all/0, items/0, item/1, context/1, seen/0]).
-export_type([info/0, context/0, running/0]).

-type info() :: #{
    version := binary(),
    node := node(),
    otp := binary(),
    python := binary(),
    mode := py_context:mode(),
    contexts := [context()],
    pools := #{atom() => pool()},
    threads := #{live := count(), spare := count(), stuck := count(), set_aside := count()},
    requests := #{in_flight := count(), queued := count(), running := count(), tasks := count()},
    memory := #{contexts := count()},
    refusals := #{binary() => pos_integer()},
    functions := count(),
    atoms := count(),
    limits := #{atom() => count() | infinity}
}.
-type pool() :: #{
    size := pos_integer(), ready := count(), binding := py_pool_table:binding(), timeout := timeout()
}.
-type context() :: #{
    context := pid(),
    id := {Pool :: atom(), Index :: pos_integer()} | (Serial :: pos_integer()),
    mode := py_context:mode(),
    state := starting | idle | running | waiting | closing | stuck,
    interpreter := non_neg_integer() | undefined,
    processes := count(),
    queue := count(),
    max_queue := pos_integer() | infinity,
    requests := count(),
    interrupts := count(),
    %% Microseconds.
    cpu_time := count() | undefined,
    memory := #{used := count(), peak := count(), limit := pos_integer() | infinity} | undefined,
    %% Milliseconds.
    running_for := count() | undefined,
    running := [running()],
    tasks := count(),
    inline := py_inline:seen() | undefined,
    %% Milliseconds.
    oldest_task := count() | undefined
}.
-type running() :: #{
    process := pid(),
    kind := call | spawn | cast | task,
    milliseconds := count(),
    what :=
        {call, atom() | binary(), atom() | binary(), arity()}
        | {call_many | map, atom() | binary(), atom() | binary(), Items :: count()}
        | {eval | exec, FirstLine :: binary()}
        | atom()
}.
-type count() :: non_neg_integer().

%% For contexts on other nodes.
-define(REMOTE_TIMEOUT, 5_000).

-spec all() -> {ok, info()} | {error, not_running}.
all() ->
    case py_nif:python() of
        {error, _} = Error ->
            Error;
        {_, _} ->
            Contexts = seen(),
            {ok, maps:from_list([{Item, value(Item, Contexts)} || Item <- items()])}
    end.

-spec items() -> [atom(), ...].
items() ->
    [
        version,
        node,
        otp,
        python,
        mode,
        contexts,
        pools,
        threads,
        requests,
        memory,
        refusals,
        functions,
        atoms,
        limits
    ].

%% One of `items/0'.
-spec item(atom()) -> {ok, term()} | {error, not_running}.
item(Item) ->
    case py_nif:python() of
        {error, _} = Error -> Error;
        {_, _} -> {ok, value(Item, needed(Item))}
    end.

needed(Item) when Item =:= contexts; Item =:= requests; Item =:= memory -> seen();
needed(_Item) -> [].

value(version, _) ->
    _ = application:load(erlang_python),
    {ok, Version} = application:get_key(erlang_python, vsn),
    list_to_binary(Version);
value(node, _) ->
    node();
value(otp, _) ->
    list_to_binary(erlang:system_info(otp_release));
value(python, _) ->
    known(py_nif:python(), fun({Version, _}) -> Version end, <<>>);
value(mode, _) ->
    known(py_nif:python(), fun({_, Mode}) -> Mode end, worker);
value(contexts, Contexts) ->
    Contexts;
value(pools, _) ->
    maps:from_list([{Pool, pool(Pool, Size, Binding)} || {Pool, Size, Binding} <- py_pool_table:pools()]);
value(threads, _) ->
    Count = fun({Live, Spare, Stuck, SetAside}) ->
        #{live => Live, spare => Spare, stuck => Stuck, set_aside => SetAside}
    end,
    known(py_nif:counters(), Count, Count({0, 0, 0, 0}));
value(requests, Contexts) ->
    #{
        in_flight => known(py_nif:permits(), fun({Current, _}) -> Current end, 0),
        queued => sum(queue, Contexts),
        running => lists:sum([length(Running) || #{running := Running} <- Contexts]),
        tasks => sum(tasks, Contexts)
    };
value(memory, Contexts) ->
    Used = [Used || #{memory := #{used := Used}} <- Contexts],
    %% Erlang's own would take an answer of every scheduler.
    #{contexts => lists:sum(Used)};
value(refusals, _) ->
    maps:from_list(known(py_nif:refusals(), fun(Refusals) -> Refusals end, []));
value(functions, _) ->
    py_callback:count();
value(atoms, _) ->
    known(py_nif:atoms_created(), fun(Created) -> Created end, 0);
value(limits, _) ->
    Keys = [max_queue, max_stuck, max_atoms, max_nested_runs, memory_limit, max_result_size, call_timeout, stuck_after],
    Bounds = maps:from_list([{Key, py_config:get(Key)} || Key <- Keys]),
    %% What was set since counts.
    Bounds#{max_concurrent => known(py_nif:permits(), fun({_, Max}) -> Max end, infinity)}.

%% The application may be stopped at any moment.
known({error, not_running}, _Fun, Else) -> Else;
known(Known, Fun, _Else) -> Fun(Known).

sum(Key, Maps) -> lists:sum([maps:get(Key, Map) || Map <- Maps]).

pool(Pool, Size, Binding) ->
    #{
        size => Size,
        ready => length(py_pool_table:ready(Pool)),
        binding => Binding,
        timeout => py_pool_table:timeout(Pool)
    }.

%% All contexts of this node.
-spec seen() -> [context()].
seen() ->
    Places = py_pool_table:places(),
    Serials = known(py_nif:context_serials(), fun(Found) -> Found end, []),
    lists:append([seen(Serial, Places) || Serial <- Serials]).

seen(Serial, Places) ->
    case py_nif:context_seen(Serial) of
        %% Just now.
        gone -> [];
        {error, not_running} -> [];
        Seen -> [told(Serial, Seen, Places)]
    end.

told(Serial, Seen, Places) ->
    {
        Pid, Mode, State, Interpreter, Processes, Queue, MaxQueue, Requests, Interrupts, CpuTime, Memory, Running, Tasks,
        OldestTask
    } = Seen,
    #{
        context => Pid,
        id => maps:get(Pid, Places, Serial),
        mode => Mode,
        state => State,
        interpreter => if Interpreter < 0 -> undefined; true -> Interpreter end,
        processes => Processes,
        queue => Queue,
        max_queue => MaxQueue,
        requests => Requests,
        interrupts => Interrupts,
        cpu_time => if is_integer(CpuTime) -> CpuTime div 1_000; true -> undefined end,
        memory => memory(Memory),
        running_for => running_for(Running),
        running => [running(One) || One <- Running],
        tasks => Tasks,
        inline => py_inline:seen(Serial),
        oldest_task => OldestTask
    }.

memory({Used, Peak, Limit}) -> #{used => Used, peak => Peak, limit => Limit};
memory(undefined) -> undefined.

%% The outermost one began first.
running_for([{_, _, Milliseconds, _} | _]) -> Milliseconds;
running_for([]) -> undefined.

running({Process, Kind, Milliseconds, What}) ->
    #{process => Process, kind => Kind, milliseconds => Milliseconds, what => What}.

%% One context, of whatever node.
-spec context(pid()) -> {ok, context()} | {error, term()}.
context(Context) when node(Context) =:= node() ->
    case py_nif:context_serial(Context) of
        {error, _} = Error ->
            Error;
        Serial ->
            case seen(Serial, py_pool_table:places()) of
                [Seen] -> {ok, Seen};
                [] -> {error, {context_died, noproc}}
            end
    end;
context(Context) ->
    try
        erpc:call(node(Context), ?MODULE, context, [Context], ?REMOTE_TIMEOUT)
    catch
        error:{erpc, timeout} -> {error, timeout};
        error:{erpc, noconnection} -> {error, {context_died, noconnection}};
        error:{exception, undef, _} -> {error, not_running}
    end.
