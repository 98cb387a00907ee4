-module(py_telemetry_table).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Who listens to which events. What an event looks at is one number, 0 while nobody listens, in an atomics array that a
%% persistent term names and that is never replaced; the listeners are in a table, which outlives the process that puts
%% changes in line.

-export([make/0, start_link/0, attach/3, detach/1, failed/2, look_for_library/0, forget/0]).
-export([listeners/0, emit/3, emit/4, sampled/0, samples_are_heard/0]).
-export([init/1, handle_call/3, handle_cast/2]).
-export_type([listeners/0]).

-include_lib("kernel/include/logger.hrl").

-type listeners() :: #{
    %% Whether the library `telemetry' is there.
    library := boolean(),
    %% Whether anybody listens to calls.
    calls := boolean()
}.

%% The number, from its lowest bit on: somebody listens; to calls; through the library.
-define(LISTENED, 1).
-define(CALLS, 2).
-define(LIBRARY, 4).

-spec sampled() -> [py_telemetry:event(), ...].
sampled() ->
    [
        [erlang_python, queue, length],
        [erlang_python, gil, wait],
        [erlang_python, loop, lag],
        [erlang_python, memory, usage]
    ].

%% ------------------------------------------------------------------------------------------------
%% Emitting, in whatever process

-spec listeners() -> listeners() | none.
listeners() ->
    case persistent_term:get(?MODULE, none) of
        none ->
            none;
        Number ->
            case atomics:get(Number, 1) of
                0 -> none;
                Bits -> #{calls => Bits band ?CALLS =/= 0, library => Bits band ?LIBRARY =/= 0}
            end
    end.

-spec emit(py_telemetry:event(), py_telemetry:measurements(), py_telemetry:metadata()) -> ok.
emit(Event, Measurements, Metadata) ->
    case listeners() of
        none -> ok;
        Listeners -> emit(Listeners, Event, Measurements, Metadata)
    end.

-spec emit(listeners(), py_telemetry:event(), py_telemetry:measurements(), py_telemetry:metadata()) -> ok.
emit(#{library := Library}, Event, Measurements, Metadata) ->
    ok = handled(of_event(Event), Event, Measurements, Metadata),
    case Library of
        true -> told(Event, Measurements, Metadata);
        false -> ok
    end.

of_event(Event) ->
    try ets:lookup(?MODULE, Event) of
        [{_, Handlers}] -> Handlers;
        [] -> []
    catch
        error:badarg -> []
    end.

handled([{Id, Handler} | Handlers], Event, Measurements, Metadata) ->
    _ =
        try
            Handler(Event, Measurements, Metadata)
        catch
            Class:Reason:Stack ->
                ?LOG_ERROR("py_telemetry: the handler ~0tp of ~0tp has failed and is detached~n~ts", [
                    Id, Event, erl_error:format_exception(Class, Reason, Stack)
                ]),
                failed(Id, Handler)
        end,
    handled(Handlers, Event, Measurements, Metadata);
handled([], _Event, _Measurements, _Metadata) ->
    ok.

%% No dependency: the module may be missing, or go.
told(Event, Measurements, Metadata) ->
    Telemetry = telemetry,
    try
        Telemetry:execute(Event, Measurements, Metadata)
    of
        _ -> ok
    catch
        error:undef:_ -> gen_server:cast(?MODULE, look_for_library)
    end.

%% ------------------------------------------------------------------------------------------------
%% Changes

%% The table belongs to the calling process, the supervisor.
-spec make() -> ok.
make() ->
    ?MODULE = ets:new(?MODULE, [named_table, public, {read_concurrency, true}]),
    _ = [persistent_term:put(?MODULE, atomics:new(1, [])) || persistent_term:get(?MODULE, none) =:= none],
    ok.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec attach(term(), [py_telemetry:event()], py_telemetry:handler()) -> ok | {error, already_exists | not_running}.
attach(Id, Events, Handler) ->
    call({attach, Id, Events, Handler}).

-spec detach(term()) -> ok | {error, not_found | not_running}.
detach(Id) ->
    call({detach, Id}).

%% Nobody waits for it: a handler may run in any process.
-spec failed(term(), py_telemetry:handler()) -> ok.
failed(Id, Handler) ->
    gen_server:cast(?MODULE, {failed, Id, Handler}).

%% It may have come since the application was started. Not for handlers of what this process does.
-spec look_for_library() -> ok | {error, not_running}.
look_for_library() ->
    case listeners() of
        #{library := true} ->
            ok;
        _ ->
            case erlang:function_exported(telemetry, execute, 3) of
                true -> call(look_for_library);
                false -> ok
            end
    end.

%% The application ends.
-spec forget() -> ok.
forget() ->
    case persistent_term:get(?MODULE, none) of
        none -> ok;
        Number -> atomics:put(Number, 1, 0)
    end.

call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_running}
    end.

%% What a predecessor has left counts.
-spec init([]) -> {ok, []}.
init([]) ->
    _ = code:ensure_loaded(telemetry),
    ok = tell(),
    {ok, []}.

-spec handle_call(term(), gen_server:from(), []) -> {reply, ok | {error, atom()}, []}.
handle_call({attach, Id, Events, Handler}, _From, State) ->
    case is_known(Id) of
        true -> {reply, {error, already_exists}, State};
        false -> {reply, added(Id, Events, Handler), State}
    end;
handle_call({detach, Id}, _From, State) ->
    case is_known(Id) of
        true -> {reply, without(fun({Other, _}) -> Other =:= Id end), State};
        false -> {reply, {error, not_found}, State}
    end;
handle_call(look_for_library, _From, State) ->
    {reply, tell(), State};
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast({failed, Id, Handler}, State) ->
    %% Not one that was attached under that name since.
    ok = without(fun(One) -> One =:= {Id, Handler} end),
    {noreply, State};
handle_cast(look_for_library, State) ->
    ok = tell(),
    {noreply, State};
handle_cast(_Message, State) ->
    {noreply, State}.

is_known(Id) ->
    lists:any(fun({_Event, Handlers}) -> lists:keymember(Id, 1, Handlers) end, ets:tab2list(?MODULE)).

added(Id, Events, Handler) ->
    true = ets:insert(?MODULE, [{Event, of_event(Event) ++ [{Id, Handler}]} || Event <- Events]),
    tell().

without(Gone) ->
    lists:foreach(
        fun({Event, Handlers}) ->
            case lists:partition(Gone, Handlers) of
                {[], _} -> true;
                {_, []} -> ets:delete(?MODULE, Event);
                {_, Left} -> ets:insert(?MODULE, {Event, Left})
            end
        end,
        ets:tab2list(?MODULE)
    ),
    tell().

%% Whether there is somebody now: every process, the native side, and whoever takes samples.
tell() ->
    Library = has_library(),
    Events = [Event || {Event, _} <- ets:tab2list(?MODULE)],
    Listened = Library orelse Events =/= [],
    Calls = Library orelse [Event || [_, call | _] = Event <- Events] =/= [],
    Bits = [{Listened, ?LISTENED}, {Calls, ?CALLS}, {Library, ?LIBRARY}],
    ok = atomics:put(persistent_term:get(?MODULE), 1, lists:sum([Bit || {true, Bit} <- Bits])),
    _ = py_nif:observe(interrupts, Listened),
    py_telemetry_watcher:sampling(samples_are_heard(), Library).

%% Whether somebody listens to what is sampled.
-spec samples_are_heard() -> boolean().
samples_are_heard() ->
    lists:any(fun(Event) -> of_event(Event) =/= [] end, sampled()).

%% Loading it would take a look at the disk at each change. Where it is an application that does not run, it would complain
%% of every event.
has_library() ->
    erlang:function_exported(telemetry, execute, 3) andalso
        case application:get_application(telemetry) of
            {ok, Application} -> lists:keymember(Application, 1, application:which_applications(infinity));
            undefined -> true
        end.
