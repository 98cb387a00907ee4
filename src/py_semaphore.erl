-module(py_semaphore).
-include("py_doc.hrl").
?MODULEDOC("""
How many requests may be in flight in the whole node: the setting `max_concurrent`.

Where there is a bound, every request holds a permit from its submission until its code has ended, and one that
finds none is answered `{error, {overloaded, Current, Max}}` at once. A process may also take permits itself, with
`acquire/1`, which waits: around work that is not a call, or to keep room free. A call made by such a process needs a
permit of its own.

Permits go back when the process ends. Processes that wait get theirs in the order in which they asked, and before
any request that was submitted meanwhile.
""").
-behaviour(gen_server).
-include("py_arguments.hrl").

-export([acquire/1, release/0, max_concurrent/0, current/0, set_max_concurrent/1]).
-export([start_link/0, configure/0, is_valid/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% Who waits has an entry in `line', under the number of its arrival. The native side knows only how many wait, and
%% says how many of them may go on; those are the first. One that gave up meanwhile is the next one's gain.
-record(state, {
    next = 1 :: pos_integer(),
    line = gb_trees:empty() :: gb_trees:tree(pos_integer(), waiter()),
    holders = #{} :: #{pid() => {reference(), pos_integer()}},
    %% The monitors of those who wait.
    monitors = #{} :: #{reference() => pos_integer()}
}).
-type waiter() ::
    {gen_server:from(), Monitor :: reference(), Timer :: reference() | undefined}.

%% Where the native counter ends.
-define(LARGEST, 16#FFFFFFFE).

?DOC("""
Takes a permit for the calling process, which waits for one until the time is over; with 0 it does not wait. A
process may take several. They go back by `release/0`, or when the process ends.
""").
-spec acquire(timeout()) -> ok | {error, max_concurrent | not_running}.
acquire(Timeout) ->
    call({acquire, py_arguments:timeout(?FORM([timeout], [Timeout]), Timeout)}).

?DOC("Gives one permit of the calling process back; without effect when it has none.").
-spec release() -> ok | {error, not_running}.
release() ->
    call(release).

?DOC("The bound, or `infinity`.").
-spec max_concurrent() -> pos_integer() | infinity | {error, not_running}.
max_concurrent() ->
    case py_nif:permits() of
        {error, _} = Error -> Error;
        {_Current, Max} -> Max
    end.

?DOC("""
How many permits are taken: by requests in flight and by processes. Requests that were submitted while there was no
bound have none.
""").
-spec current() -> non_neg_integer() | {error, not_running}.
current() ->
    case py_nif:permits() of
        {error, _} = Error -> Error;
        {Current, _Max} -> Current
    end.

?DOC("""
Sets another bound until the application starts again. A lower one takes nobody's permit away: it is reached as
permits come back.
""").
-spec set_max_concurrent(pos_integer() | infinity) -> ok | {error, not_running}.
set_max_concurrent(Max) ->
    case is_valid(Max) of
        true -> call({set_max_concurrent, Max});
        false -> py_badarg:refuse(?FORM([bound], [Max]), bound, wrong)
    end.

?DOC(false).
-spec is_valid(term()) -> boolean().
is_valid(Max) ->
    Max =:= infinity orelse (is_integer(Max) andalso Max > 0 andalso Max =< ?LARGEST).

?DOC(false).
-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

?DOC(false).
%% Once a start: a server that comes after a killed one finds the bound that was set meanwhile.
-spec configure() -> ok | {error, not_running}.
configure() ->
    case py_nif:permits_max(py_config:get(max_concurrent)) of
        {error, _} = Error -> Error;
        %% To whom it granted any ended with the application.
        _Granted -> ok
    end.

%% The time limit of `acquire' is kept here.
call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_running}
    end.

-spec init([]) -> {ok, #state{}} | {stop, not_running}.
init([]) ->
    case py_nif:permits_open() of
        ok -> {ok, #state{}};
        {error, Reason} -> {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({acquire, Timeout}, From, State) ->
    case py_nif:permits_wait() of
        {error, _} = Error -> {reply, Error, State};
        Granted -> {noreply, started(State#state.next, Timeout, grant(Granted, joined(From, State)))}
    end;
handle_call(release, {Pid, _}, #state{holders = Holders} = State) ->
    case Holders of
        #{Pid := {Monitor, 1}} ->
            true = erlang:demonitor(Monitor, [flush]),
            {reply, py_nif:permits_release(), State#state{holders = maps:remove(Pid, Holders)}};
        #{Pid := {Monitor, Count}} ->
            {reply, py_nif:permits_release(), State#state{holders = Holders#{Pid := {Monitor, Count - 1}}}};
        #{} ->
            {reply, ok, State}
    end;
handle_call({set_max_concurrent, Max}, _From, State) ->
    case py_nif:permits_max(Max) of
        {error, _} = Error -> {reply, Error, State};
        Granted -> {reply, ok, grant(Granted, State)}
    end;
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({py_permits, Granted}, State) ->
    {noreply, grant(Granted, State)};
handle_info({timeout, Timer, {acquire, Key}}, State) ->
    case gb_trees:lookup(Key, State#state.line) of
        {value, {_, _, Timer}} -> {noreply, refused(Key, State)};
        _ -> {noreply, State}
    end;
handle_info({'DOWN', Monitor, process, Pid, _}, #state{holders = Holders, monitors = Monitors} = State) ->
    case {Monitors, Holders} of
        {#{Monitor := Key}, _} ->
            {_Waiter, Left} = left(Key, State),
            {noreply, Left};
        {_, #{Pid := {Monitor, Count}}} ->
            lists:foreach(fun(_) -> ok = py_nif:permits_release() end, lists:seq(1, Count)),
            {noreply, State#state{holders = maps:remove(Pid, Holders)}};
        _ ->
            {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

%% ------------------------------------------------------------------------------------------------

joined({Pid, _} = From, #state{next = Key} = State) ->
    Monitor = erlang:monitor(process, Pid),
    State#state{
        next = Key + 1,
        line = gb_trees:insert(Key, {From, Monitor, undefined}, State#state.line),
        monitors = (State#state.monitors)#{Monitor => Key}
    }.

%% Its time begins, unless it has its permit already.
started(Key, Timeout, #state{line = Line} = State) ->
    case {gb_trees:lookup(Key, Line), Timeout} of
        {none, _} ->
            State;
        {_, infinity} ->
            State;
        {_, 0} ->
            refused(Key, State);
        {{value, {From, Monitor, undefined}}, _} ->
            Timer = erlang:start_timer(Timeout, self(), {acquire, Key}),
            State#state{line = gb_trees:update(Key, {From, Monitor, Timer}, Line)}
    end.

refused(Key, State) ->
    {{From, Monitor, _}, Left} = left(Key, State),
    true = erlang:demonitor(Monitor, [flush]),
    gen_server:reply(From, {error, max_concurrent}),
    Left.

%% Nobody waits under that number any more. If its permit is on the way, the next one gets it.
left(Key, #state{line = Line} = State) ->
    {Waiter, Rest} = gb_trees:take(Key, Line),
    _ = py_nif:permits_stop_waiting(),
    {Waiter, State#state{line = Rest, monitors = maps:remove(element(2, Waiter), State#state.monitors)}}.

%% So many more of the line have a permit.
grant(0, State) ->
    State;
grant(Granted, #state{line = Line, monitors = Monitors} = State) ->
    case gb_trees:is_empty(Line) of
        true ->
            ok = py_nif:permits_release(),
            grant(Granted - 1, State);
        false ->
            {_Key, {{Pid, _} = From, Monitor, Timer}, Rest} = gb_trees:take_smallest(Line),
            _ = [erlang:cancel_timer(Timer) || is_reference(Timer)],
            gen_server:reply(From, ok),
            Next = State#state{line = Rest, monitors = maps:remove(Monitor, Monitors)},
            grant(Granted - 1, hold(Pid, Monitor, Next))
    end.

hold(Pid, Monitor, #state{holders = Holders} = State) ->
    case Holders of
        #{Pid := {First, Count}} ->
            true = erlang:demonitor(Monitor, [flush]),
            State#state{holders = Holders#{Pid := {First, Count + 1}}};
        #{} ->
            State#state{holders = Holders#{Pid => {Monitor, 1}}}
    end.
