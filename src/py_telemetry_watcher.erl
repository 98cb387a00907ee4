-module(py_telemetry_watcher).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Emits the events that no user's process stands behind. It monitors contexts, so that the end of one that is killed is an
%% event, too; and takes samples while somebody listens to them.

-export([start_link/0, ready/4, event/3, sampling/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    contexts = #{} :: #{reference() => {Since :: integer(), py_telemetry:metadata()}},
    timer :: reference() | undefined
}).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% The context that the calling process is has become ready, in so much time.
-spec ready(Id :: term(), py_context:mode(), Took :: integer(), Serial :: pos_integer()) -> ok.
ready(Id, Mode, Took, Serial) ->
    gen_server:cast(?MODULE, {ready, self(), Took, metadata(self(), Id, Mode, Serial)}).

metadata(Context, Id, Mode, Serial) ->
    #{context => Context, id => Id, mode => Mode, serial => Serial}.

%% Has one emitted, if anybody listens.
-spec event(py_telemetry:event(), py_telemetry:measurements(), py_telemetry:metadata()) -> ok.
event(Event, Measurements, Metadata) ->
    case py_telemetry_table:listeners() =/= none orelse erlang:function_exported(telemetry, execute, 3) of
        true -> gen_server:cast(?MODULE, {event, Event, Measurements, Metadata});
        false -> ok
    end.

%% Whether somebody listens to samples, and whether the library may ask for them.
-spec sampling(boolean(), boolean()) -> ok.
sampling(Wanted, Library) ->
    gen_server:cast(?MODULE, {sampling, Wanted, Library}).

%% Those that were ready before.
-spec init([]) -> {ok, #state{}}.
init([]) ->
    Now = erlang:monotonic_time(),
    Seen = [
        {erlang:monitor(process, Context), {Now, metadata(Context, Id, Mode, 0)}}
     || #{context := Context, id := Id, mode := Mode, state := State} <- py_info:seen(),
        lists:member(State, [idle, running, waiting])
    ],
    %% The table tells when it is started later, and has told a predecessor.
    Timer =
        case py_telemetry_table:samples_are_heard() of
            true -> timer();
            false -> undefined
        end,
    {ok, #state{contexts = maps:from_list(Seen), timer = Timer}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unexpected_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({ready, Context, Took, Metadata}, #state{contexts = Contexts} = State) ->
    Monitor = erlang:monitor(process, Context),
    Measurements = #{duration => Took, system_time => erlang:system_time()},
    _ = py_telemetry_table:look_for_library(),
    ok = py_telemetry_table:emit([erlang_python, context, start], Measurements, Metadata),
    {noreply, State#state{contexts = Contexts#{Monitor => {erlang:monotonic_time(), Metadata}}}};
handle_cast({event, Event, Measurements, Metadata}, State) ->
    _ = py_telemetry_table:look_for_library(),
    ok = py_telemetry_table:emit(Event, Measurements, Metadata),
    {noreply, State};
handle_cast({sampling, true, _Library}, #state{timer = undefined} = State) ->
    _ = py_nif:observe(samples, true),
    {noreply, State#state{timer = timer()}};
handle_cast({sampling, true, _Library}, State) ->
    {noreply, State};
handle_cast({sampling, false, Library}, #state{timer = Timer} = State) ->
    _ = [erlang:cancel_timer(Timer) || Timer =/= undefined],
    _ = [py_nif:observe(samples, false) || not Library],
    {noreply, State#state{timer = undefined}};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({timeout, Timer, sample}, #state{timer = Timer} = State) ->
    _ = py_telemetry_samples:emit(),
    {noreply, State#state{timer = timer()}};
handle_info({'DOWN', Monitor, process, _Pid, Reason}, #state{contexts = Contexts} = State) ->
    case maps:take(Monitor, Contexts) of
        {{Since, Metadata}, Left} ->
            ok = ended(Reason, erlang:monotonic_time() - Since, Metadata),
            {noreply, State#state{contexts = Left}};
        error ->
            {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

ended(Reason, Lived, Metadata) ->
    _ = [
        py_telemetry_table:emit([erlang_python, context, stuck], #{count => 1}, Metadata)
     || Reason =:= {shutdown, stuck}
    ],
    Ended = Metadata#{reason => Reason},
    py_telemetry_table:emit([erlang_python, context, stop], #{duration => Lived}, Ended).

timer() ->
    case py_config:get(telemetry_interval) of
        infinity -> undefined;
        Interval -> erlang:start_timer(Interval, self(), sample)
    end.
