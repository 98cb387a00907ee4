-module(py_trace).
-include("py_doc.hrl").
?MODULEDOC("""
The trace that a process works for, as the W3C headers `traceparent` and `tracestate` name it.

What a process calls in Python is a part of its trace: spans there (`erlang.Span`) have it as their parent, and Erlang
functions that Python calls from within a span find that span here. A process without a trace of its own works for that
which OpenTelemetry has for it, where that is in the node. See `docs/observability.md`.
""").

-export([headers/0, set/1, clear/0, with/2, new/0]).
-export([carried/1, entered/1, left/1]).
-export_type([headers/0, trace/0, before/0]).

-include("py_arguments.hrl").

-type headers() :: [{Name :: binary(), Value :: binary()}].
%% As HTTP clients, and the propagators of OpenTelemetry, take and give them.
-type trace() :: {Parent :: binary(), State :: binary()}.
-opaque before() :: undefined | {binary(), binary(), OpenTelemetry :: term()}.

%% In the process dictionary: `{Parent, State, OpenTelemetry}', where the last is what OpenTelemetry had there at that time.
%% When it has something else the process has begun with another span since, which counts.
-define(OWN, '$py_trace').
-define(OTEL, '$__current_otel_ctx').

?DOC("The headers of the calling process's trace; none when it has none.").
-spec headers() -> headers().
headers() ->
    case current(get(?OWN), get(?OTEL)) of
        none -> [];
        {Parent, <<>>} -> [{<<"traceparent">>, Parent}];
        {Parent, State} -> [{<<"traceparent">>, Parent}, {<<"tracestate">>, State}]
    end.

?DOC("""
Makes the calling process a part of the trace that these headers name, until `clear/0`. Headers of other names, such as the
others of an HTTP request, are skipped, and names may be in any case. Without a valid `traceparent` the process has no trace
afterwards, as the standard wants it; `false` says so.
""").
-spec set([{iodata(), iodata()}] | #{iodata() => iodata()}) -> boolean().
set(Headers) when is_map(Headers) ->
    set(?FORM([headers], [Headers]), maps:to_list(Headers));
set(Headers) ->
    set(?FORM([headers], [Headers]), Headers).

set(Form, Headers) ->
    Header = fun({Name, Value}) -> {string:lowercase(iolist_to_binary(Name)), iolist_to_binary(Value)} end,
    try lists:map(Header, Headers) of
        Known -> set_known(proplists:get_value(<<"traceparent">>, Known), Known)
    catch
        error:_ -> py_badarg:refuse(Form, headers, wrong)
    end.

set_known(Parent, Known) ->
    case is_valid(Parent) of
        true ->
            State = lists:join($,, [Value || {<<"tracestate">>, Value} <- Known, Value =/= <<>>]),
            _ = put(?OWN, {Parent, iolist_to_binary(State), get(?OTEL)}),
            true;
        false ->
            ok = clear(),
            false
    end.

?DOC("Ends what `set/1` began.").
-spec clear() -> ok.
clear() ->
    _ = erase(?OWN),
    ok.

?DOC("Calls a function as a part of the trace that these headers name; the process's own trace is back afterwards.").
-spec with([{iodata(), iodata()}] | #{iodata() => iodata()}, fun(() -> Result)) -> Result.
with(Headers, Fun) when is_function(Fun, 0) ->
    Before = get(?OWN),
    _ = set(Headers),
    try
        Fun()
    after
        ok = left(Before)
    end;
with(Headers, Fun) ->
    py_badarg:refuse(?FORM([headers, function_of_none], [Headers, Fun]), function_of_none, wrong).

?DOC("Headers of a new trace, which is to be recorded.").
-spec new() -> headers().
new() ->
    <<Trace:128, Span:64>> = random(24),
    Parent = io_lib:format("00-~32.16.0b-~16.16.0b-01", [max(1, Trace), max(1, Span)]),
    [{<<"traceparent">>, iolist_to_binary(Parent)}].

%% Not a secret.
random(Size) ->
    << <<(rand:uniform(256) - 1)>> || _ <- lists:seq(1, Size) >>.

%% ------------------------------------------------------------------------------------------------

?DOC(false).
%% What is asked of Python, as a part of the process's trace.
-spec carried(py_nif:payload()) -> py_nif:payload().
carried(Payload) ->
    case get(?OWN) of
        undefined ->
            case get(?OTEL) of
                undefined -> Payload;
                Otel -> carried(Payload, current(undefined, Otel))
            end;
        Own ->
            carried(Payload, current(Own, get(?OTEL)))
    end.

carried(Payload, none) -> Payload;
carried({traced, _, _} = Payload, _Trace) -> Payload;
carried(Payload, Trace) -> {traced, Trace, Payload}.

current({Parent, State, Otel}, Otel) -> {Parent, State};
current(undefined, undefined) -> none;
current(Own, Otel) -> otherwise(Own, of_otel(Otel)).

%% What it has now is no span.
otherwise({Parent, State, _}, none) -> {Parent, State};
otherwise(_Own, Trace) -> none_or(Trace).

none_or(none) -> none;
none_or({Parent, _State} = Trace) ->
    case is_valid(Parent) of
        true -> Trace;
        false -> none
    end.

%% Not a dependency, and its propagators have had another argument for some time.
of_otel(Context) when is_map(Context), map_size(Context) > 0 ->
    Propagator = otel_propagator_trace_context,
    Set = fun(Name, Value, Headers) -> Headers#{iolist_to_binary(Name) => iolist_to_binary(Value)} end,
    _ = erlang:module_loaded(Propagator) orelse code:ensure_loaded(Propagator),
    try
        case erlang:function_exported(Propagator, inject, 4) of
            true -> Propagator:inject(Context, #{}, Set, []);
            false -> Propagator:inject(Context, #{}, Set)
        end
    of
        #{<<"traceparent">> := Parent} = Headers -> {Parent, maps:get(<<"tracestate">>, Headers, <<>>)};
        _ -> none
    catch
        error:_ -> none
    end;
of_otel(_None) ->
    none.

?DOC(false).
%% A function is called by Python code that is a part of this trace. Gives what `left/1' puts back.
-spec entered(trace()) -> before().
entered({Parent, State}) ->
    put(?OWN, {Parent, State, get(?OTEL)}).

?DOC(false).
-spec left(before()) -> ok.
left(undefined) ->
    clear();
left(Before) ->
    _ = put(?OWN, Before),
    ok.

is_valid(<<"00-", Trace:32/binary, $-, Span:16/binary, $-, Flags:2/binary>>) ->
    is_number_of_trace(Trace) andalso is_number_of_trace(Span) andalso is_hexadecimal(Flags);
is_valid(<<"00-", _/binary>>) ->
    false;
is_valid(<<Version:2/binary, $-, Trace:32/binary, $-, Span:16/binary, $-, Flags:2/binary, Rest/binary>>) ->
    Version =/= <<"ff">> andalso is_hexadecimal(<<Version/binary, Flags/binary>>) andalso
        is_number_of_trace(Trace) andalso is_number_of_trace(Span) andalso
        (Rest =:= <<>> orelse binary:first(Rest) =:= $-);
is_valid(_) ->
    false.

is_number_of_trace(Text) ->
    is_hexadecimal(Text) andalso binary:replace(Text, <<"0">>, <<>>, [global]) =/= <<>>.

is_hexadecimal(Text) ->
    lists:all(fun(C) -> (C >= $0 andalso C =< $9) orelse (C >= $a andalso C =< $f) end, binary_to_list(Text)).
