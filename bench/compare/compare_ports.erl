-module(compare_ports).
-behaviour(compare_adapter).

%% A pool of Python processes over ports, as Erlang programs usually have one: external terms behind their length,
%% and an Erlang process for each port, which serves one caller after the other. The other side is port_worker.py.

-export([about/1, start/1, client/2, call/4, call_many/4, stop/1]).

-spec about(compare_adapter:settings()) -> compare_adapter:about().
about(#{variant := call}) ->
    #{title => <<"Python processes over ports">>};
about(#{variant := batch}) ->
    #{title => <<"Python processes over ports, batches">>, batch => true}.

-spec start(compare_adapter:settings()) -> {ok, tuple()}.
start(#{workers := Workers} = Settings) ->
    {ok, list_to_tuple([spawn_link(fun() -> owner(Settings) end) || _ <- lists:seq(1, Workers)])}.

-spec client(tuple(), pos_integer()) -> pid().
client(Owners, Number) ->
    element((Number - 1) rem tuple_size(Owners) + 1, Owners).

-spec call(pid(), atom(), atom(), [term()]) -> compare_adapter:answer().
call(Owner, Module, Function, Args) ->
    Ref = monitor(process, Owner),
    Owner ! {call, self(), Ref, term_to_binary({Module, Function, Args})},
    receive
        {Ref, Answer} ->
            true = demonitor(Ref, [flush]),
            binary_to_term(Answer);
        {'DOWN', Ref, process, Owner, Reason} ->
            {error, Reason}
    end.

%% One call of a Python function that calls the other for each list.
-spec call_many(pid(), atom(), atom(), [[term()]]) -> [compare_adapter:answer()].
call_many(Owner, Module, Function, Lists) ->
    {ok, Values} = call(Owner, compare_work, many, [Module, Function, Lists]),
    [{ok, Value} || Value <- Values].

-spec stop(tuple()) -> ok.
stop(Owners) ->
    lists:foreach(fun(Owner) -> Owner ! stop end, tuple_to_list(Owners)).

owner(#{python := Python, folder := Folder}) ->
    Program = filename:join(Folder, "port_worker.py"),
    Options = [{args, [Program]}, {packet, 4}, binary, use_stdio, exit_status],
    owner_loop(open_port({spawn_executable, Python}, Options)).

owner_loop(Port) ->
    receive
        {call, From, Ref, Request} ->
            true = port_command(Port, Request),
            receive
                {Port, {data, Answer}} -> From ! {Ref, Answer};
                {Port, {exit_status, Status}} -> exit({python_ended, Status})
            end,
            owner_loop(Port);
        {Port, {exit_status, Status}} ->
            exit({python_ended, Status});
        stop ->
            true = port_close(Port)
    end.
