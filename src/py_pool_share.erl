-module(py_pool_share).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Pools that nodes share. The server of each node tells those of the others how loaded its contexts are: at
%% most once a second, only what has changed, and once in a while that nothing has. A `pg' scope of its own says
%% who the others are.
%%
%%   {{Pool, Server}, [{Context, Load}], ReceivedAt}    one row a pool and other node

-export([start_link/0, start_scope/0, offer/1, choose/3, is_offered/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-type load() :: {Queue :: non_neg_integer(), Processes :: non_neg_integer()}.
-type loads() :: [{pid(), load()}].
-type place() :: {pos_integer() | shared, pid(), py_nif:target()}.

-record(pool, {
    server :: pid(),
    %% What each of the others was told last, and when.
    told = #{} :: #{pid() => {loads(), integer()}}
}).

-record(state, {
    pools = #{} :: #{atom() => #pool{}},
    others = #{} :: #{pid() => reference()},
    timer = none :: none | reference()
}).

%% Milliseconds.
-define(INTERVAL, 1_000).
-define(SIGN_OF_LIFE, 10_000).
-define(STALE, 30_000).

-define(SCOPE, py_pool_scope).

-spec start_scope() -> {ok, pid()} | {error, term()}.
start_scope() ->
    pg:start_link(?SCOPE).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Called by the server of a pool: from now until its end the pool is shared.
-spec offer(atom()) -> ok.
offer(Pool) ->
    gen_server:cast(?MODULE, {offer, Pool, self()}).

%% The less loaded of two contexts, taken at random from all that are known but `Dead'; `Ready' are those of this node.
%% Two are enough to keep loads even, and no crowd runs after the same figure for a second.
-spec choose(atom(), [{pos_integer(), pid(), py_nif:handle()}], pid() | none) -> {ok, place()} | none.
choose(Pool, Ready, Dead) ->
    Known = [{live, Place} || Place <- Ready] ++ elsewhere(Pool),
    case two([Candidate || {_, {_, Pid, _}} = Candidate <- Known, Pid =/= Dead]) of
        [] -> none;
        [{_, Place}] -> {ok, Place};
        [One, Other] -> {ok, lighter(One, Other)}
    end.

%% Contexts of nodes that are connected and have been heard of lately.
elsewhere(Pool) ->
    Since = erlang:monotonic_time(millisecond) - ?STALE,
    Pattern = {{{Pool, '_'}, '$1', '$2'}, [{'>=', '$2', Since}], ['$1']},
    try ets:select(?MODULE, [Pattern]) of
        [] ->
            [];
        Rows ->
            Nodes = nodes(connected),
            [
                {Load, {shared, Pid, Pid}}
             || Loads <- Rows, {Pid, Load} <- Loads, lists:member(node(Pid), Nodes)
            ]
    catch
        error:badarg -> []
    end.

%% Whether a context of another node is still one of the pool's, as far as this node knows.
-spec is_offered(atom(), pid()) -> boolean().
is_offered(Pool, Context) ->
    lists:any(fun({_, {_, Pid, _}}) -> Pid =:= Context end, elsewhere(Pool)).

two([]) ->
    [];
two([_] = One) ->
    One;
two(Many) ->
    Count = length(Many),
    First = rand:uniform(Count),
    %% Any but the first.
    Second = (First + rand:uniform(Count - 1) - 1) rem Count + 1,
    [lists:nth(First, Many), lists:nth(Second, Many)].

%% With equal loads a context of this node is better.
lighter({A, PlaceA}, {B, PlaceB}) ->
    case {rank(A, PlaceA), rank(B, PlaceB)} of
        {RankA, RankB} when RankA =< RankB -> PlaceA;
        _ -> PlaceB
    end.

rank(live, {_, _, Handle}) ->
    case load(Handle) of
        {ok, Load} -> {Load, here};
        %% More than any number.
        error -> {{infinity, infinity}, here}
    end;
rank(Load, _Place) ->
    {Load, there}.

load(Handle) ->
    case py_nif:context_info(Handle) of
        {_Mode, _Interpreter, Processes, Queue} -> {ok, {Queue, Processes}};
        {error, _} -> error
    end.

%% ------------------------------------------------------------------------------------------------
%% The server

-spec init([]) -> {ok, #state{}}.
init([]) ->
    ?MODULE = ets:new(?MODULE, [named_table, protected, {read_concurrency, true}]),
    %% Pools that were there before.
    {ok, lists:foldl(fun share/2, #state{}, py_pool_table:shared())}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({offer, Name, Server}, State) ->
    {noreply, share({Name, Server}, State)};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({?MODULE, Version, Name, Server, Loads}, State) ->
    case Version =:= py_remote_server:version() andalso is_map_key(Name, State#state.pools) of
        true ->
            true = ets:insert(?MODULE, {{Name, Server}, Loads, erlang:monotonic_time(millisecond)}),
            {noreply, known(Server, State)};
        false ->
            {noreply, State}
    end;
handle_info({timeout, Timer, publish}, #state{timer = Timer} = State) ->
    Pools = maps:map(fun publish/2, State#state.pools),
    {noreply, timed(State#state{pools = Pools, timer = none})};
handle_info({'DOWN', _Monitor, process, Pid, _Reason}, #state{others = Others} = State) when
    is_map_key(Pid, Others)
->
    true = ets:match_delete(?MODULE, {{'_', Pid}, '_', '_'}),
    Forget = fun(_, #pool{told = Told} = Pool) -> Pool#pool{told = maps:remove(Pid, Told)} end,
    {noreply, State#state{
        others = maps:remove(Pid, Others), pools = maps:map(Forget, State#state.pools)
    }};
handle_info({'DOWN', _Monitor, process, Server, _Reason}, State) ->
    Ended = [Name || {Name, #pool{server = S}} <- maps:to_list(State#state.pools), S =:= Server],
    {noreply, lists:foldl(fun withdraw/2, State, Ended)};
handle_info(_Message, State) ->
    {noreply, State}.

share({Name, Server}, #state{pools = Pools} = State) ->
    _ = erlang:monitor(process, Server),
    %% The end of its predecessor may not have been heard of yet.
    _ = [ok = pg:join(?SCOPE, Name, self()) || not is_map_key(Name, Pools)],
    timed(State#state{pools = maps:put(Name, #pool{server = Server}, Pools)}).

%% A new one is told at the next turn, which is soon, since it is new.
known(Server, #state{others = Others} = State) when is_map_key(Server, Others) ->
    State;
known(Server, #state{others = Others} = State) ->
    State#state{others = maps:put(Server, erlang:monitor(process, Server), Others)}.

withdraw(Name, #state{pools = Pools} = State) ->
    {#pool{told = Told}, Rest} = maps:take(Name, Pools),
    _ = pg:leave(?SCOPE, Name, self()),
    _ = [tell(Server, Name, []) || Server <- maps:keys(Told)],
    true = ets:match_delete(?MODULE, {{Name, '_'}, '_', '_'}),
    timed(State#state{pools = Rest}).

%% A node that shares nothing is not woken.
timed(#state{timer = none, pools = Pools} = State) when map_size(Pools) > 0 ->
    State#state{timer = erlang:start_timer(?INTERVAL, self(), publish)};
timed(#state{timer = Timer, pools = Pools} = State) when Timer =/= none, map_size(Pools) =:= 0 ->
    _ = erlang:cancel_timer(Timer),
    State#state{timer = none};
timed(State) ->
    State.

publish(Name, #pool{told = Told} = Pool) ->
    Now = erlang:monotonic_time(millisecond),
    Loads = [{Pid, Load} || {_, Pid, Handle} <- py_pool_table:ready(Name), {ok, Load} <- [load(Handle)]],
    Members = [Pid || Pid <- pg:get_members(?SCOPE, Name), node(Pid) =/= node()],
    Pool#pool{told = maps:from_list([{Pid, publish(Pid, Name, Loads, Now, Told)} || Pid <- Members])}.

publish(Server, Name, Loads, Now, Told) ->
    case Told of
        #{Server := {Loads, At} = Last} when Now - At < ?SIGN_OF_LIFE ->
            Last;
        _ ->
            case tell(Server, Name, Loads) of
                ok -> {Loads, Now};
                %% The connection is busy, or has just gone: again at the next turn.
                _ -> {none, Now}
            end
    end.

tell(Server, Name, Loads) ->
    Message = {?MODULE, py_remote_server:version(), Name, self(), Loads},
    erlang:send(Server, Message, [nosuspend, noconnect]).
