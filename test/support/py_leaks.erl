%% What the node holds now, and whether it has come back to what it held before.
-module(py_leaks).

-export([recycles/0, snapshot/0, check/1, check/2, eventually/1, eventually/2, threads/0, spares/0, resident/0]).

-type snapshot() :: #{atom() => term()}.

%% Atoms are never given back: names of exception classes may take 4096 in all, the suites' own code the rest.
-define(ATOMS, 8192).

%% How long threads, fds and processes that are about to go may take.
-define(DEADLINE, 15_000).

-spec snapshot() -> snapshot().
snapshot() ->
    %% The two that stay for ever once CPython has started. A thread has its name when it runs for the first time.
    _ = eventually(fun() -> lists:member("py-reaper", threads()) =:= lists:member("py-main", threads()) end),
    #{
        threads => threads(),
        fds => length([Fd || Fd <- entries("/proc/self/fd"), not is_of_libffi(Fd)]),
        processes => processes(),
        ports => erlang:ports(),
        ets => ets:all(),
        atoms => erlang:system_info(atom_count),
        counters => py_nif:counters()
    }.

%% Fails unless everything is given back that was taken since the snapshot. To be called with the application
%% stopped or as it was.
-spec check(snapshot()) -> ok.
check(Before) ->
    check(Before, #{}).

%% `spares': so many threads more may wait with recycled interpreters, below Python 3.14.1.
%% `fds': so many files may stay open.
%% `settle': done before each look, such as a collection of what a thread that ends late leaves behind.
-spec check(snapshot(), #{
    spares => non_neg_integer(), fds => non_neg_integer(), settle => fun(() -> term())
}) -> ok.
check(Before, Allowed) ->
    Settle = maps:get(settle, Allowed, fun() -> ok end),
    Settled = fun() ->
        _ = Settle(),
        leaked(Before, snapshot(), Allowed) =:= #{}
    end,
    case eventually(Settled) of
        ok -> ok;
        {error, deadline} -> ct:fail({leaked, leaked(Before, snapshot(), Allowed)})
    end.

leaked(Before, After, Allowed) ->
    #{threads := Threads, fds := Fds, atoms := Atoms} = After,
    Spares =
        case recycles() of
            true -> maps:get(spares, Allowed, 0);
            false -> 0
        end,
    Grown = [
        {threads, length(Threads) > length(maps:get(threads, Before)) + Spares, fun() ->
            {lists:sort(maps:get(threads, Before)), lists:sort(Threads), maps:get(counters, After)}
        end},
        {fds, Fds > maps:get(fds, Before) + maps:get(fds, Allowed, 0), fun() ->
            {maps:get(fds, Before), Fds, [file:read_link("/proc/self/fd/" ++ Fd) || Fd <- entries("/proc/self/fd")]}
        end},
        {processes, gone(processes, Before, After) =/= [], fun() ->
            [erlang:process_info(Pid, [initial_call, dictionary, current_stacktrace, registered_name])
             || Pid <- gone(processes, Before, After)]
        end},
        {ports, gone(ports, Before, After) =/= [], fun() ->
            [erlang:port_info(Port) || Port <- gone(ports, Before, After)]
        end},
        {ets, gone(ets, Before, After) =/= [], fun() ->
            [ets:info(Table) || Table <- gone(ets, Before, After)]
        end},
        {atoms, Atoms > maps:get(atoms, Before) + ?ATOMS, fun() -> {maps:get(atoms, Before), Atoms} end}
    ],
    maps:from_list([{What, Story()} || {What, true, Story} <- Grown]).

gone(Key, Before, After) ->
    [One || One <- maps:get(Key, After) -- maps:get(Key, Before), is_ours(Key, One)].

%% Common Test and the emulator start and end some of their own at their own time.
is_ours(processes, Pid) ->
    case erlang:process_info(Pid, [initial_call, dictionary]) of
        undefined ->
            false;
        [{initial_call, {Module, _, _}}, {dictionary, Dictionary}] ->
            Modules = [Module | tuple_to_list(proplists:get_value('$initial_call', Dictionary, {}))],
            lists:any(fun(Name) -> is_atom(Name) andalso is_our_name(atom_to_list(Name)) end, Modules)
    end;
is_ours(ports, Port) ->
    %% Sockets of the cases; the files of Common Test are none.
    erlang:port_info(Port, name) =:= {name, "udp_inet"};
is_ours(ets, Table) ->
    case {ets:info(Table, owner), ets:info(Table, name)} of
        {undefined, _} -> false;
        {Owner, Name} -> is_ours(processes, Owner) orelse is_our_name(atom_to_list(Name))
    end.

%% A context that lives on has them from its first output on; that they end with it is a case of output_SUITE.
is_our_name("py_output" ++ _) -> false;
is_our_name("py_" ++ _) -> true;
is_our_name("erlang_python" ++ _) -> true;
is_our_name(_) -> false.

%% The names of the threads that this library made, but for those that make interpreters ahead, at their own time; see
%% spares_SUITE.
-spec threads() -> [string()].
threads() ->
    [
        Name
     || Name <- [name(Task) || Task <- entries("/proc/self/task")],
        string:prefix(Name, "py-") =/= nomatch,
        Name =/= "py-spare",
        %% It stays once there was a call that ran inline.
        Name =/= "py-inline"
    ].

%% The threads that wait with an interpreter that was made ahead, or make one.
-spec spares() -> non_neg_integer().
spares() ->
    length([Task || Task <- entries("/proc/self/task"), name(Task) =:= "py-spare"]).

name(Task) ->
    case file:read_file("/proc/self/task/" ++ Task ++ "/comm") of
        {ok, Name} -> string:trim(unicode:characters_to_list(Name));
        {error, _} -> ""
    end.

%% It opens itself, once, when ctypes is loaded for the first time, for the code that it makes.
is_of_libffi(Fd) ->
    case file:read_link("/proc/self/fd/" ++ Fd) of
        {ok, Path} -> string:find(Path, "/libffi.so") =/= nomatch;
        {error, _} -> false
    end.

entries(Folder) ->
    case file:list_dir(Folder) of
        {ok, Entries} -> Entries;
        {error, _} -> []
    end.

%% Resident memory in KiB.
-spec resident() -> non_neg_integer().
resident() ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Text]} = re:run(Status, "VmRSS:\\s+([0-9]+)", [{capture, all_but_first, list}]),
    list_to_integer(Text).

%% Below 3.14.1 interpreters are not ended but wait, each with its thread, for another context.
recycles() ->
    case persistent_term:get({?MODULE, recycles}, unknown) of
        unknown ->
            %% Only a running application knows its Python.
            Started = application:ensure_all_started(erlang_python),
            {ok, Version} = py_suite:version(),
            _ = [ok = application:stop(App) || {ok, Apps} <- [Started], App <- lists:reverse(Apps)],
            persistent_term:put({?MODULE, recycles}, Version < [3, 14, 1]),
            recycles();
        Recycles ->
            Recycles
    end.

-spec eventually(fun(() -> boolean())) -> ok | {error, deadline}.
eventually(Condition) ->
    eventually(Condition, ?DEADLINE).

%% For what no event tells: asks again and again until it holds or the time is over.
-spec eventually(fun(() -> boolean()), timeout()) -> ok | {error, deadline}.
eventually(Condition, Milliseconds) ->
    poll(Condition, erlang:monotonic_time(millisecond) + Milliseconds).

poll(Condition, Deadline) ->
    case Condition() of
        true ->
            ok;
        false ->
            case erlang:monotonic_time(millisecond) >= Deadline of
                true ->
                    {error, deadline};
                false ->
                    receive
                    after 10 -> poll(Condition, Deadline)
                    end
            end
    end.
