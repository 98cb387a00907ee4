-module(py_error).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The story of a Python exception: kept for the process that was answered with it, and told on request.

-export([keep/1, take/0, restore/1, last/0, from_story/1, with_lines/1, report/1]).
-export_type([story/0, class/0, error/0, syntax/0]).

%% What the native side tells, see native/src/interp/failure/story.rs.
-type story() ::
    {class(), Module :: binary(), Message :: binary(), [raw_frame()], [detail()]}.
-type raw_frame() ::
    {File :: binary(), Line :: non_neg_integer(), Function :: binary()}
    | {File :: binary(), Line :: non_neg_integer(), Function :: binary(), Text :: binary()}.
-type detail() ::
    {qualname, binary()}
    | {notes, [binary()]}
    | {cause | context, story()}
    | {exceptions, [story()]}
    | {syntax, raw_syntax()}
    | {omitted, [{kind(), pos_integer()}]}.
-type raw_syntax() ::
    {
        File :: known(binary()),
        Line :: known(integer()),
        Column :: known(integer()),
        EndLine :: known(integer()),
        EndColumn :: known(integer()),
        Text :: known(binary()),
        Message :: known(binary())
    }.
-type known(Type) :: Type | undefined.
-type kind() :: frames | notes | cause | context | exceptions.

-type class() :: atom() | binary().
-type syntax() :: #{
    file := known(binary()),
    line := known(integer()),
    column := known(integer()),
    end_line := known(integer()),
    end_column := known(integer()),
    text := known(binary())
}.
-type error() :: #{
    type := class(),
    module := binary(),
    message := string(),
    traceback := [{File :: binary(), Line :: non_neg_integer(), Function :: binary(), Text :: binary()}],
    traceback_text := binary(),
    notes := [binary()],
    cause := error() | undefined,
    context := error() | undefined,
    exceptions => [error()],
    syntax => syntax(),
    omitted => #{kind() => pos_integer()}
}.

-spec keep(story()) -> ok.
keep(Story) ->
    _ = put(?MODULE, Story),
    ok.

%% What is kept from now on is told apart from what was before, until that comes back.
-spec take() -> story() | none.
take() ->
    case erase(?MODULE) of
        undefined -> none;
        Story -> Story
    end.

-spec restore(story() | none) -> ok.
restore(none) ->
    _ = erase(?MODULE),
    ok;
restore(Story) ->
    keep(Story).

-spec last() -> error() | undefined.
last() ->
    case get(?MODULE) of
        undefined -> undefined;
        Story -> from_story(Story)
    end.

-spec from_story(story()) -> error().
from_story(Story) ->
    told(with_lines(Story)).

%% For logger.
-spec report(logger:report()) -> {io:format(), [term()]}.
report(#{label := {_, Label}, context := Context, error := #{traceback_text := Text}}) ->
    What =
        case Label of
            cast_failed -> "a cast";
            handler_failed -> "the protocol of a connection"
        end,
    {"Python context ~p: ~s failed~n~ts", [Context, What, string:trim(Text, trailing, "\n")]}.

told({Type, Module, Message, Frames, Details} = Story) ->
    Error = #{
        type => Type,
        module => Module,
        message => unicode:characters_to_list(Message),
        traceback => Frames,
        traceback_text => py_traceback:text(Story),
        notes => proplists:get_value(notes, Details, []),
        cause => undefined,
        context => undefined
    },
    lists:foldl(fun detail/2, Error, Details).

detail({cause, Story}, Error) ->
    Error#{cause := told(Story)};
detail({context, Story}, Error) ->
    Error#{context := told(Story)};
detail({exceptions, Stories}, Error) ->
    Error#{exceptions => [told(Story) || Story <- Stories]};
detail({syntax, {File, Line, Column, EndLine, EndColumn, Text, _Message}}, Error) ->
    Error#{
        syntax => #{
            file => File,
            line => Line,
            column => Column,
            end_line => EndLine,
            end_column => EndColumn,
            text => Text
        }
    };
detail({omitted, Counts}, Error) ->
    Error#{omitted => maps:from_list(Counts)};
detail({_, _}, Error) ->
    Error.

%% Every frame gets the text of its line, on the node where the files are. A file is read once, however many frames lie in it.
-spec with_lines(story()) -> story().
with_lines(Story) ->
    Found = py_source:lines(wanted(Story, [])),
    with_lines(Story, Found).

with_lines({Type, Module, Message, Frames, Details}, Found) ->
    {Type, Module, Message, [with_line(Frame, Found) || Frame <- Frames], [
        in_detail(Detail, fun(Story) -> with_lines(Story, Found) end)
     || Detail <- Details
    ]}.

with_line({File, Line, Function}, Found) ->
    {File, Line, Function, maps:get({File, Line}, Found, <<>>)};
with_line({_, _, _, _} = Frame, _Found) ->
    Frame.

in_detail({exceptions, Stories}, Do) -> {exceptions, [Do(Story) || Story <- Stories]};
in_detail({Key, Story}, Do) when Key =:= cause; Key =:= context -> {Key, Do(Story)};
in_detail(Detail, _Do) -> Detail.

wanted({_, _, _, Frames, Details}, More) ->
    Behind = lists:foldl(fun behind/2, More, Details),
    [{File, Line} || {File, Line, _Function} <- Frames] ++ Behind.

behind({exceptions, Stories}, More) -> lists:foldl(fun wanted/2, More, Stories);
behind({Key, Story}, More) when Key =:= cause; Key =:= context -> wanted(Story, More);
behind(_Detail, More) -> More.
