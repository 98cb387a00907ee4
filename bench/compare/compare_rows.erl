-module(compare_rows).

%% What is compared.

-export([all/2, own/2]).

%% `Library' is the folder with the library's modules.
-spec all(file:filename(), [compare_subject:row()]) -> [compare_subject:row()].
all(Library, Others) ->
    [
        erlang(processes, compare_processes, default, []),
        python(direct, <<"Python function, called directly (floor)">>),
        (python(direct_library, "direct", <<"Python function, called in libpython (floor)">>))#{program => embedded},
        erlang(owngil, compare_py, {owngil, mailbox}, [Library]),
        erlang(owngil_inline, compare_py, {owngil, inline}, [Library]),
        erlang(owngil_batch, compare_py, {owngil, batch}, [Library]),
        erlang(worker, compare_py, {worker, mailbox}, [Library]),
        erlang(ports, compare_ports, call, []),
        erlang(ports_batch, compare_ports, batch, []),
        python(processes_executor, "processes", <<"ProcessPoolExecutor.submit">>),
        python(processes_map, <<"ProcessPoolExecutor.map, batches">>),
        python(threads, <<"ThreadPoolExecutor.submit">>),
        python(interpreters, <<"InterpreterPoolExecutor.submit">>)
    ] ++ Others.

%% An adapter that the user points at.
-spec own(module(), [file:filename()]) -> compare_subject:row().
own(Adapter, Paths) ->
    erlang(Adapter, Adapter, default, Paths).

erlang(Name, Adapter, Variant, Paths) ->
    #{name => Name, kind => erlang, adapter => Adapter, variant => Variant, paths => Paths}.

python(Name, Title) ->
    python(Name, atom_to_list(Name), Title).

python(Name, Executor, Title) ->
    #{name => Name, kind => python, executor => Executor, title => Title}.
