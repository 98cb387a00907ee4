-module(py_error).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The story of a Python exception: kept for the process that was answered with it, and told on request.

-export([keep/1, last/0, from_story/1, report/1]).
-export_type([story/0, error/0]).

-type story() ::
    {Class :: binary(), Module :: binary(), Message :: binary(),
        [{File :: binary(), Line :: non_neg_integer(), Function :: binary()}]}.
-type error() :: #{
    type := atom() | binary(),
    module := binary(),
    message := string(),
    traceback := [{File :: binary(), Line :: non_neg_integer(), Function :: binary(), Text :: binary()}]
}.

-spec keep(story()) -> ok.
keep(Story) ->
    _ = put(?MODULE, Story),
    ok.

-spec last() -> error() | undefined.
last() ->
    case get(?MODULE) of
        undefined -> undefined;
        Story -> from_story(Story)
    end.

-spec from_story(story()) -> error().
from_story({Class, Module, Message, Frames}) ->
    #{
        type => class(Class),
        module => Module,
        message => unicode:characters_to_list(Message),
        traceback => [{File, Line, Function, text(File, Line)} || {File, Line, Function} <- Frames]
    }.

%% For logger: how Python itself would print it.
-spec report(logger:report()) -> {io:format(), [term()]}.
report(#{context := Context, error := Error}) ->
    #{type := Type, message := Message, traceback := Frames} = Error,
    Lines = [
        io_lib:format("~n  File \"~ts\", line ~b, in ~ts", [File, Line, Function])
     || {File, Line, Function, _} <- Frames
    ],
    Heading = ["\nTraceback (most recent call last):" || Lines =/= []],
    {"Python context ~p: a cast failed~ts~ts~n~ts: ~ts", [Context, Heading, Lines, Type, Message]}.

class(<<"Interrupted">>) ->
    'Interrupted';
class(Class) ->
    try
        binary_to_existing_atom(Class)
    catch
        error:badarg -> Class
    end.

%% The source line, where the frame lies in a file that can be read.
text(File, Line) ->
    case Line > 0 andalso file:open(File, [read, binary, raw, read_ahead]) of
        {ok, Device} ->
            try
                string:trim(nth_line(Device, Line))
            after
                file:close(Device)
            end;
        _ ->
            <<>>
    end.

nth_line(Device, N) ->
    case file:read_line(Device) of
        {ok, Line} when N =:= 1 -> Line;
        {ok, _} -> nth_line(Device, N - 1);
        _ -> <<>>
    end.
