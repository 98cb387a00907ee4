%% Tries inputs that are made at random, in a node of their own: one that ends the node is found as well.
%%
%% An input is made of a seed and of its number, so it can be had again; pids and references in it are those of the
%% node that it was tried in. Inputs to be tried each time are in test/corpus.
-module(py_fuzz).

-export([run/4]).
-export([start/2, try_kept/1, try_some/3, finish/0]).

-include("py_properties.hrl").

%% What inputs are made of and tried with.
-callback setup() -> State :: term().

%% A type of PropEr's.
-callback input(State :: term()) -> term().

%% Called in a process of its own.
-callback holds(Input :: term(), State :: term()) -> true | {false, Why :: term()}.

%% After each input, in the process that called setup/0: what the next ones are tried with.
-callback renew(State :: term()) -> {ok, State :: term()} | {error, Why :: term()}.

-type amount() :: {trials, pos_integer()} | {seconds, pos_integer()}.

%% Milliseconds for one input.
-define(TRIAL, 60_000).
%% Inputs between two words from the node.
-define(CHUNK, 20).
-define(LARGEST, 40).

%% Tries what is kept, then inputs from that number on. Gives how many were tried, or the first that does not hold.
%% The folder is for the input that is being tried.
-spec run(module(), {Seed :: integer(), From :: pos_integer()}, amount(), file:filename()) -> {ok, pos_integer()} | {failed, map()}.
run(Module, {Seed, From}, Amount, Folder) ->
    File = filename:join(Folder, atom_to_list(Module) ++ ".input"),
    Node = py_own_node:start(),
    Call = fun(Function, Arguments) -> py_own_node:call(Node, ?MODULE, Function, Arguments, ?CHUNK * ?TRIAL) end,
    try
        ok = Call(start, [Module, File]),
        case Call(try_kept, [kept(Module)]) of
            ok -> finished(proceed(Call, Seed, From, limit(Amount, From)), Call);
            {failed, _} = Failed -> Failed
        end
    catch
        exit:Reason -> {failed, (last_input(File))#{module => Module, why => {node_ended, Reason}}}
    after
        py_own_node:stop(Node)
    end.

limit({trials, Count}, From) -> {number, From + Count};
limit({seconds, Seconds}, _From) -> {time, erlang:monotonic_time(second) + Seconds}.

proceed(Call, Seed, From, Limit) ->
    Count =
        case Limit of
            {number, End} -> min(?CHUNK, End - From);
            {time, End} when From > 1 -> ?CHUNK * min(1, max(0, End - erlang:monotonic_time(second)));
            {time, _} -> ?CHUNK
        end,
    case Count > 0 andalso Call(try_some, [Seed, From, Count]) of
        false -> {ok, From - 1};
        ok -> proceed(Call, Seed, From + Count, Limit);
        {failed, _} = Failed -> Failed
    end.

finished({ok, _} = Tried, Call) ->
    ok = Call(finish, []),
    Tried;
finished(Failed, _Call) ->
    Failed.

kept(Module) ->
    {ok, Inputs} = file:consult(filename:join([py_suite:checkout(), "test/corpus", atom_to_list(Module) ++ ".eterm"])),
    Inputs.

last_input(File) ->
    case file:read_file(File) of
        {ok, <<_, _/binary>> = Bytes} ->
            {Number, Input} = binary_to_term(Bytes),
            #{number => Number, input => Input};
        _ ->
            #{number => none}
    end.

%% ------------------------------------------------------------------------------------------------
%% In the node

-spec start(module(), file:filename()) -> ok.
start(Module, File) ->
    Starter = self(),
    Server = spawn(fun() ->
        true = group_leader(spawn_link(fun sink/0), self()),
        {ok, Fd} = file:open(File, [write, raw, binary]),
        ok = py_suite:start(#{}),
        {ok, _} = py:eval(<<"1">>),
        ok = py_suite:stop(),
        Before = py_leaks:snapshot(),
        ok = py_suite:start(#{num_contexts => 2}),
        State = Module:setup(),
        Starter ! {self(), started},
        serve(Module, Fd, State, Before)
    end),
    true = register(?MODULE, Server),
    answer_of(Server, started).

-spec try_kept([term()]) -> ok | {failed, map()}.
try_kept(Inputs) ->
    asked({try_kept, Inputs}).

-spec try_some(integer(), pos_integer(), pos_integer()) -> ok | {failed, map()}.
try_some(Seed, From, Count) ->
    asked({try_some, Seed, From, Count}).

%% Fails unless all is given back.
-spec finish() -> ok.
finish() ->
    {before, Before} = asked(finish),
    ok = py_suite:stop(),
    py_leaks:check(Before, #{spares => 16}).

asked(Request) ->
    Server = whereis(?MODULE),
    Server ! {self(), Request},
    answer_of(Server, answered).

answer_of(Server, Kind) ->
    Monitor = erlang:monitor(process, Server),
    receive
        {Server, Kind} -> ok;
        {Server, Kind, Answer} -> Answer;
        {'DOWN', Monitor, process, Server, Reason} -> exit(Reason)
    end.

%% PropEr writes a warning for each input that has a fun in it.
sink() ->
    receive
        {io_request, From, As, _} ->
            From ! {io_reply, As, ok},
            sink()
    end.

serve(Module, Fd, State, Before) ->
    receive
        {From, {try_kept, Inputs}} ->
            Made = [fun() -> {kept, Input} end || Input <- Inputs],
            answer(From, tried(Made, Module, Fd, State), Module, Fd, Before);
        {From, {try_some, Seed, First, Count}} ->
            Made = [fun() -> {N, made(Module, State, Seed, N)} end || N <- lists:seq(First, First + Count - 1)],
            answer(From, tried(Made, Module, Fd, State), Module, Fd, Before);
        {From, finish} ->
            %% What it holds goes with this process.
            From ! {self(), answered, {before, Before}}
    end.

answer(From, {ok, State}, Module, Fd, Before) ->
    From ! {self(), answered, ok},
    serve(Module, Fd, State, Before);
answer(From, Failed, _Module, _Fd, _Before) ->
    From ! {self(), answered, Failed}.

made(Module, State, Seed, Number) ->
    {ok, Input} = proper_gen:pick(Module:input(State), 1 + Number rem ?LARGEST, {Seed, Number, 1}),
    Input.

tried([Make | Makes], Module, Fd, State) ->
    {Number, Input} = Make(),
    ok = file:pwrite(Fd, 0, term_to_binary({Number, Input})),
    case held(Module, Input, State) of
        {ok, Renewed} -> tried(Makes, Module, Fd, Renewed);
        {error, Why} -> {failed, #{module => Module, number => Number, input => Input, why => Why}}
    end;
tried([], _Module, _Fd, State) ->
    {ok, State}.

held(Module, Input, State) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({?MODULE, Module:holds(Input, State)}) end),
    receive
        {'DOWN', Monitor, process, Pid, {?MODULE, true}} -> Module:renew(State);
        {'DOWN', Monitor, process, Pid, {?MODULE, {false, Why}}} -> {error, Why};
        {'DOWN', Monitor, process, Pid, Reason} -> {error, {died, Reason}}
    after ?TRIAL ->
        {error, {hangs, erlang:process_info(Pid, current_stacktrace)}}
    end.
