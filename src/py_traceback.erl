-module(py_traceback).
-include("py_doc.hrl").
?MODULEDOC(false).

%% A story in the words of Python's own traceback module, made when somebody asks: formatting each exception
%% there, when it is raised, would cost several times as much as answering it. What that module finds out by
%% looking into frames is missing: marks below parts of a line, and proposals for misspelt names.

-export([text/1]).

%% As Python does: a frame that comes again and again is shown so often, groups are shown so wide and so deep.
-define(REPEATS, 3).
-define(WIDTH, 15).
-define(DEPTH, 10).

%% Whose frames have four elements, see py_error.
-type story() :: tuple().
-type line() :: unicode:chardata().

-spec text(story()) -> binary().
text(Story) ->
    {Lines, _Closed} = chain(Story, 0),
    %% What Python holds in a str can be said in UTF-8: the native side has seen to it.
    <<_/binary>> = unicode:characters_to_binary([[Line, $\n] || Line <- Lines]).

%% The exceptions that led to it, then itself. Also whether a group among them has drawn its lower frame,
%% which then serves for the groups around it.
-spec chain(story(), non_neg_integer()) -> {[line()], boolean()}.
chain({_, _, _, _, Details} = Story, Depth) ->
    {Before, Closed} = before(Details, Depth),
    {Own, OwnClosed} = own(Story, Depth),
    {Before ++ Own, Closed orelse OwnClosed}.

before(Details, Depth) ->
    case {lists:keyfind(cause, 1, Details), lists:keyfind(context, 1, Details)} of
        {{cause, Story}, _} ->
            before(Story, "The above exception was the direct cause of the following exception:", Depth);
        {false, {context, Story}} ->
            before(Story, "During handling of the above exception, another exception occurred:", Depth);
        {false, false} ->
            {[], false}
    end.

before(Story, Words, Depth) ->
    {Lines, Closed} = chain(Story, Depth),
    {Lines ++ indented(["", Words, ""], Depth), Closed}.

own({_, _, _, Frames, Details} = Story, Depth) ->
    case lists:keyfind(exceptions, 1, Details) of
        {exceptions, _} when Depth > ?DEPTH ->
            {indented([io_lib:format("... (max_group_depth is ~b)", [?DEPTH])], Depth), false};
        {exceptions, Members} ->
            {group(Story, Members, Depth), true};
        false ->
            Heading = ["Traceback (most recent call last):" || Frames =/= []],
            {indented(Heading ++ frames(Frames, Details) ++ exception(Story), Depth), false}
    end.

%% ------------------------------------------------------------------------------------------------
%% Groups

group({_, _, _, Frames, Details} = Story, Members, Around) ->
    Depth = max(Around, 1),
    Margin =
        case Around of
            0 -> $+;
            _ -> $|
        end,
    Heading = ["Exception Group Traceback (most recent call last):" || Frames =/= []],
    indented(Heading, Depth, Margin) ++
        indented(frames(Frames, Details) ++ exception(Story), Depth) ++
        members(Members, omitted(exceptions, Details), Depth).

members(Members, Omitted, Depth) ->
    Shown = lists:sublist(Members, ?WIDTH),
    Rest = length(Members) - length(Shown) + Omitted,
    Parts = [{integer_to_list(I), Member} || {I, Member} <- numbered(Shown)] ++ [{"...", Rest} || Rest > 0],
    members(Parts, "+-", Depth, []).

numbered(List) ->
    lists:zip(lists:seq(1, length(List)), List).

members([], _Corner, _Depth, Lines) ->
    lists:append(lists:reverse(Lines));
members([{Title, Part} | Parts], Corner, Depth, Lines) ->
    Indent = lists:duplicate(2 * Depth, $\s),
    Above = [Indent, Corner, "+---------------- ", Title, " ----------------"],
    {Inside, Closed} = member(Part, Depth + 1),
    Below = [["  ", Indent, "+------------------------------------"] || Parts =:= [], not Closed],
    members(Parts, "  ", Depth, [[Above | Inside] ++ Below | Lines]).

member(1, Depth) -> {indented(["and 1 more exception"], Depth), false};
member(Rest, Depth) when is_integer(Rest) -> {indented([io_lib:format("and ~b more exceptions", [Rest])], Depth), false};
member(Story, Depth) -> chain(Story, Depth).

indented(Lines, Depth) ->
    indented(Lines, Depth, $|).

indented(Lines, 0, _Margin) ->
    Lines;
indented(Lines, Depth, Margin) ->
    Indent = [lists:duplicate(2 * Depth, $\s), Margin, $\s],
    [[Indent, Part] || Line <- Lines, Part <- string:split(Line, "\n", all)].

%% ------------------------------------------------------------------------------------------------
%% Frames

frames(Frames, Details) ->
    case omitted(frames, Details) of
        0 ->
            repeated(Frames);
        Count ->
            %% As many were kept at each end; an odd one at the outer.
            {Outer, Inner} = lists:split((length(Frames) + 1) div 2, Frames),
            repeated(Outer) ++ [io_lib:format("  [~b frames left out]", [Count])] ++ repeated(Inner)
    end.

repeated([]) ->
    [];
repeated([Frame | Frames]) ->
    {Same, Others} = lists:splitwith(fun(Other) -> Other =:= Frame end, Frames),
    Shown = lists:append(lists:duplicate(min(1 + length(Same), ?REPEATS), frame(Frame))),
    More =
        case 1 + length(Same) - ?REPEATS of
            1 -> ["  [Previous line repeated 1 more time]"];
            N when N > 1 -> [io_lib:format("  [Previous line repeated ~b more times]", [N])];
            _ -> []
        end,
    Shown ++ More ++ repeated(Others).

frame({File, Line, Function, Text}) ->
    Name = lists:last(binary:split(Function, <<".">>, [global])),
    [
        ["  File \"", File, "\", line ", integer_to_list(Line), ", in ", Name]
        | [["    ", Text] || Text =/= <<>>]
    ].

%% ------------------------------------------------------------------------------------------------
%% The exception itself

exception({Type, Module, Message, _, Details}) ->
    Name = name(Type, Module, Details),
    Said =
        case lists:keyfind(syntax, 1, Details) of
            {syntax, Syntax} -> syntax(Name, Syntax);
            false when Message =:= <<>> -> [Name];
            false -> [[Name, ": ", Message]]
        end,
    Notes = proplists:get_value(notes, Details, []),
    Omitted =
        case omitted(notes, Details) of
            0 -> [];
            Count -> [io_lib:format("[~b notes left out]", [Count])]
        end,
    Said ++ Notes ++ Omitted.

name(Type, Module, Details) ->
    Name = proplists:get_value(qualname, Details, Type),
    Text =
        case is_atom(Name) of
            true -> atom_to_binary(Name);
            false -> Name
        end,
    case Module of
        <<"builtins">> -> Text;
        <<"__main__">> -> Text;
        _ -> [Module, $., Text]
    end.

omitted(Kind, Details) ->
    proplists:get_value(Kind, proplists:get_value(omitted, Details, []), 0).

%% ------------------------------------------------------------------------------------------------
%% Syntax errors show their own line

syntax(Name, {File, Line, Column, EndLine, EndColumn, Text, Message}) ->
    Place = [
        ["  File \"", known(File, <<"<string>">>), "\", line ", integer_to_list(Line)]
     || Line =/= undefined
    ],
    Suffix = [[" (", File, ")"] || Line =:= undefined, File =/= undefined],
    Place ++ marked(Text, Column, {Line, EndLine}, EndColumn) ++
        [[Name, ": ", known(Message, <<"<no detail available>">>), Suffix]].

known(undefined, Default) -> Default;
known(<<>>, Default) -> Default;
known(Value, _Default) -> Value.

marked(undefined, _, _, _) ->
    [];
marked(Text, Column, Lines, EndColumn) ->
    Line = string:trim(Text, trailing, "\n"),
    Shown = string:trim(Line, leading, " \n\f"),
    Length = length(unicode:characters_to_list(Line)),
    Characters = unicode:characters_to_list(Shown),
    [["    ", Shown] | marks(Characters, Length, Column, Lines, EndColumn)].

%% Columns count from 1; they are those of the whole line, of which the blanks in front are not shown.
marks(_Shown, _Length, undefined, _Lines, _EndColumn) ->
    [];
marks(Shown, Length, Column, Lines, EndColumn) ->
    Begin = min(Column, Length + 1),
    Wanted =
        case {Lines, EndColumn} of
            {{Line, Line}, Known} when Known =:= undefined; Known =:= 0 -> Begin;
            {{Line, Line}, _} -> EndColumn;
            _ -> Length + 1
        end,
    End =
        case min(Wanted, Length + 1) of
            Last when Last > Begin -> Last;
            _ -> Begin + 1
        end,
    First = Begin - 1 - (Length - length(Shown)),
    case First >= 0 of
        true -> [["    ", [blank(C) || C <- lists:sublist(Shown, First)], lists:duplicate(End - Begin, $^)]];
        false -> []
    end.

%% Tabs stay, so that the marks are below what they mean.
blank(C) when C =:= $\t; C =:= $\v; C =:= $\f; C =:= $\r -> C;
blank(_) -> $\s.
