-module(py_telemetry_table).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Who listens to which events. What an event looks at is one persistent term, which is missing while nobody listens; the
%% process only puts changes in line.

-export([start_link/0, attach/3, detach/1, failed/2, look_for_library/0, forget/0]).
-export([listeners/0, calls_are_heard/1, emit/3, emit/4, sampled/0]).
-export([init/1, handle_call/3, handle_cast/2]).
-export_type([listeners/0]).

-include_lib("kernel/include/logger.hrl").

-type listeners() :: #{
    handlers := #{py_telemetry:event() => [{Id :: term(), py_telemetry:handler()}]},
    %% Whether the library `telemetry' is there.
    library := boolean(),
    %% Whether anybody listens to calls.
    calls := boolean()
}.

-define(KEY, ?MODULE).

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
    persistent_term:get(?KEY, none).

-spec calls_are_heard(listeners()) -> boolean().
calls_are_heard(#{calls := Heard}) -> Heard.

-spec emit(py_telemetry:event(), py_telemetry:measurements(), py_telemetry:metadata()) -> ok.
emit(Event, Measurements, Metadata) ->
    case listeners() of
        none -> ok;
        Listeners -> emit(Listeners, Event, Measurements, Metadata)
    end.

-spec emit(listeners(), py_telemetry:event(), py_telemetry:measurements(), py_telemetry:metadata()) -> ok.
emit(#{handlers := Handlers, library := Library}, Event, Measurements, Metadata) ->
    ok = handled(maps:get(Event, Handlers, []), Event, Measurements, Metadata),
    case Library of
        true -> told(Event, Measurements, Metadata);
        false -> ok
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
    _ = persistent_term:erase(?KEY),
    ok.

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
    ok = store(handlers()),
    {ok, []}.

-spec handle_call(term(), gen_server:from(), []) -> {reply, ok | {error, atom()}, []}.
handle_call({attach, Id, Events, Handler}, _From, State) ->
    Handlers = handlers(),
    case is_known(Id, Handlers) of
        true -> {reply, {error, already_exists}, State};
        false -> {reply, store(added(Id, Events, Handler, Handlers)), State}
    end;
handle_call({detach, Id}, _From, State) ->
    Handlers = handlers(),
    case is_known(Id, Handlers) of
        true -> {reply, store(without(fun({Other, _}) -> Other =:= Id end, Handlers)), State};
        false -> {reply, {error, not_found}, State}
    end;
handle_call(look_for_library, _From, State) ->
    {reply, store(handlers()), State};
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast({failed, Id, Handler}, State) ->
    %% Not one that was attached under that name since.
    ok = store(without(fun(One) -> One =:= {Id, Handler} end, handlers())),
    {noreply, State};
handle_cast(look_for_library, State) ->
    ok = store(handlers()),
    {noreply, State};
handle_cast(_Message, State) ->
    {noreply, State}.

handlers() ->
    case listeners() of
        none -> #{};
        #{handlers := Handlers} -> Handlers
    end.

is_known(Id, Handlers) ->
    lists:any(fun(Of) -> lists:keymember(Id, 1, Of) end, maps:values(Handlers)).

added(Id, Events, Handler, Handlers) ->
    lists:foldl(fun(Event, All) -> All#{Event => maps:get(Event, All, []) ++ [{Id, Handler}]} end, Handlers, Events).

without(Gone, Handlers) ->
    Left = maps:map(fun(_Event, Of) -> [One || One <- Of, not Gone(One)] end, Handlers),
    maps:filter(fun(_Event, Of) -> Of =/= [] end, Left).

%% Replacing the term makes every process look whether it has a copy, so only what differs is stored.
store(Handlers) ->
    Library = has_library(),
    New =
        case map_size(Handlers) of
            0 when not Library ->
                none;
            _ ->
                Calls = [Event || [_, call | _] = Event <- maps:keys(Handlers)],
                #{handlers => Handlers, library => Library, calls => Library orelse Calls =/= []}
        end,
    case listeners() of
        New -> ok;
        _ when New =:= none -> forget();
        _ -> persistent_term:put(?KEY, New)
    end,
    Sampled = [Event || Event <- sampled(), is_map_key(Event, Handlers)],
    _ = py_nif:observe(interrupts, New =/= none),
    py_telemetry_watcher:sampling(Sampled =/= [], Library).

%% Loading it would take a look at the disk at each change. Where it is an application that does not run, it would complain
%% of every event.
has_library() ->
    erlang:function_exported(telemetry, execute, 3) andalso
        case application:get_application(telemetry) of
            {ok, Application} -> lists:keymember(Application, 1, application:which_applications(infinity));
            undefined -> true
        end.
