-module(py_telemetry_samples).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The events that tell how things are, of every context.

-export([emit/0]).

-spec emit() -> ok | {error, not_running}.
emit() ->
    case {py_nif:python(), py_telemetry_table:listeners()} of
        {{error, _} = Error, _} ->
            Error;
        {_, none} ->
            ok;
        {_, Listeners} ->
            _ = py_nif:observe(samples, true),
            Places = py_pool_table:places(),
            lists:foreach(fun(Serial) -> sample(Serial, Places, Listeners) end, py_nif:context_serials())
    end.

sample(Serial, Places, Listeners) ->
    case py_nif:context_sample(Serial) of
        {Context, Processes, Queue, Tasks, Gil, Turns, Used} ->
            Metadata = #{context => Context, id => maps:get(Context, Places, Serial)},
            Emit = fun(Name, Measurements) ->
                py_telemetry_table:emit(Listeners, [erlang_python | Name], Measurements, Metadata)
            end,
            ok = Emit([queue, length], #{length => Queue, processes => Processes, tasks => Tasks}),
            ok = Emit([gil, wait], spans(Gil)),
            ok = Emit([loop, lag], spans(Turns)),
            _ = [Emit([memory, usage], #{used => Used}) || is_integer(Used)],
            ok;
        %% Just now.
        _Gone ->
            ok
    end.

%% Of nanoseconds.
spans({Count, Total, Most}) ->
    #{count => Count, total => native(Total), max => native(Most)}.

native(Nanoseconds) ->
    erlang:convert_time_unit(Nanoseconds, nanosecond, native).
