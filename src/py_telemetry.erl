-module(py_telemetry).
-include("py_doc.hrl").
?MODULEDOC("""
Events about calls and contexts, for whoever wants to count, measure or watch.

    1> py_telemetry:attach(slow_calls, [erlang_python, call, stop], fun(_Event, #{duration := Duration}, Call) ->
           Ms = erlang:convert_time_unit(Duration, native, millisecond),
           [logger:notice("~p took ~b ms", [Call, Ms]) || Ms > 1000]
       end).

Where the library `telemetry` is in the node, every event goes there as well, under the same name and in the same shape, so
that what listens to other applications listens to this one. Times are in Erlang's native unit, as is the custom there;
`docs/observability.md` lists the events with their measurements and metadata.

Handlers of calls run in the process that calls, all others in one process of this application: they should be quick, and
hand on what takes time. One that raises an exception is detached, and that is logged.
""").

-export([attach/3, detach/1, events/0, sample/0]).
-export_type([event/0, measurements/0, metadata/0, handler/0]).

-include("py_arguments.hrl").

-type event() :: [atom(), ...].
-type measurements() :: #{atom() => number()}.
-type metadata() :: #{atom() => term()}.
-type handler() :: fun((event(), measurements(), metadata()) -> term()).

?DOC("""
Has a function called for each of these events, which are some of `events/0`, until `detach/1` or the end of the application.
The identifier, any term, is nobody else's.
""").
-spec attach(Id :: term(), event() | [event()], handler()) -> ok | {error, already_exists | not_running}.
attach(Id, Events, Handler) ->
    Form = ?FORM([id, events, event_handler], [Id, Events, Handler]),
    is_function(Handler, 3) orelse py_badarg:refuse(Form, event_handler, wrong),
    py_telemetry_table:attach(Id, checked(Form, Events), Handler).

checked(Form, [[_ | _] | _] = Events) when length(Events) > 0 ->
    [lists:member(Event, events()) orelse py_badarg:refuse(Form, events, {unknown_event, Event}) || Event <- Events],
    lists:usort(Events);
checked(Form, [Name | _] = Event) when is_atom(Name) ->
    checked(Form, [Event]);
checked(Form, _) ->
    py_badarg:refuse(Form, events, wrong).

?DOC("Ends what `attach/3` began. An event that is under way may still reach the function.").
-spec detach(Id :: term()) -> ok | {error, not_found | not_running}.
detach(Id) ->
    py_telemetry_table:detach(Id).

?DOC("The names of all events.").
-spec events() -> [event(), ...].
events() ->
    [[erlang_python | Name] || Name <- [
        [call, start],
        [call, stop],
        [call, exception],
        [call, refused],
        [context, start],
        [context, stop],
        [context, stuck],
        [context, interrupt],
        [inline, slow],
        [sandbox, refused],
        [reactor, lag],
        [span, stop]
    ]] ++ py_telemetry_table:sampled().

?DOC("""
Emits the events that tell how things are, of every context: queue length, waiting for the GIL, loop lag and memory, since the
sample before. Done by itself every `telemetry_interval` milliseconds while `attach/3` has somebody listen to them; for the
library `telemetry` it is a measurement for `telemetry_poller`: `{py_telemetry, sample, []}`. Waiting and lag are measured from
the first sample on.
""").
-spec sample() -> ok | {error, not_running}.
sample() ->
    py_telemetry_samples:emit().
