-module(py_traces).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Keeps the spans that Python sends, the last so many.

-export([start_link/0, enable/0, disable/0, spans/0, clear/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([span/0]).

-type span() :: #{
    name := binary(),
    trace_id := binary(),
    span_id := binary(),
    parent_id := binary() | undefined,
    %% Microseconds of the system clock.
    start_time := integer(),
    end_time := integer(),
    duration_us := non_neg_integer(),
    status := ok | error,
    attributes := #{binary() => term()},
    end_attrs := #{binary() => term()},
    events := [#{name := binary(), attrs := #{binary() => term()}, time := integer()}]
}.

-record(state, {
    spans = queue:new() :: queue:queue(span()),
    count = 0 :: non_neg_integer(),
    most :: pos_integer()
}).

%% When so many messages wait, spans come faster than anybody could read them.
-define(MOST_WAITING, 10_000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec enable() -> ok | {error, not_running}.
enable() -> call({record, true}).

-spec disable() -> ok | {error, not_running}.
disable() -> call({record, false}).

%% Those that have ended, in the order of that.
-spec spans() -> {ok, [span()]} | {error, not_running}.
spans() -> call(spans).

-spec clear() -> ok | {error, not_running}.
clear() -> call(clear).

call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_running}
    end.

-spec init([]) -> {ok, #state{}}.
init([]) ->
    {ok, #state{most = py_config:get(max_traces)}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call({record, On}, _From, State) ->
    case py_nif:record_spans(On) of
        {error, _} = Error -> {reply, Error, State};
        _ -> {reply, ok, State}
    end;
handle_call(spans, _From, #state{spans = Spans} = State) ->
    {reply, {ok, queue:to_list(Spans)}, State};
handle_call(clear, _From, State) ->
    {reply, ok, State#state{spans = queue:new(), count = 0}};
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(Message, State) when element(1, Message) =:= py_span, tuple_size(Message) =:= 11 ->
    {message_queue_len, Waiting} = process_info(self(), message_queue_len),
    _ = [dropped() || Waiting > ?MOST_WAITING],
    {noreply, kept(Message, State)};
handle_info(_Message, State) ->
    {noreply, State}.

dropped() ->
    receive
        Span when element(1, Span) =:= py_span -> dropped()
    after 0 -> ok
    end.

kept({py_span, Name, Trace, Id, Parent, Start, Took, Good, Attributes, Ended, Events}, State) ->
    Span = #{
        name => Name,
        trace_id => Trace,
        span_id => Id,
        parent_id => if is_binary(Parent) -> Parent; true -> undefined end,
        start_time => Start,
        end_time => Start + Took,
        duration_us => Took,
        status => if Good -> ok; true -> error end,
        attributes => maps:from_list(Attributes),
        end_attrs => maps:from_list(Ended),
        events => [#{name => Event, attrs => maps:from_list(Attrs), time => Time} || {Event, Attrs, Time} <- Events]
    },
    Duration = erlang:convert_time_unit(Took, microsecond, native),
    ok = py_telemetry_watcher:event([erlang_python, span, stop], #{duration => Duration}, Span),
    entered(Span, State).

entered(Span, #state{spans = Spans, count = Count, most = Most} = State) when Count >= Most ->
    State#state{spans = queue:in(Span, queue:drop(Spans))};
entered(Span, #state{spans = Spans, count = Count} = State) ->
    State#state{spans = queue:in(Span, Spans), count = Count + 1}.
