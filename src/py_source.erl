-module(py_source).
-include("py_doc.hrl").
-include_lib("kernel/include/file.hrl").
?MODULEDOC(false).

%% Lines of source files, for tracebacks. The names come from Python code, so they may lead anywhere.

-export([lines/1]).

%% Larger files are not read, and longer lines are cut.
-define(LARGEST, 16#1000000).
-define(LONGEST, 1000).

-type place() :: {File :: binary(), Line :: non_neg_integer()}.

%% The texts of those lines that can be read, without the blanks around them.
-spec lines([place()]) -> #{place() => binary()}.
lines(Places) ->
    Files = lists:foldl(fun by_file/2, #{}, lists:usort(Places)),
    maps:fold(fun lines/3, #{}, Files).

%% Names in brackets are no files: frozen modules, and code given as text.
by_file({<<$<, _/binary>>, _Line}, Files) ->
    Files;
by_file({File, Line}, Files) ->
    maps:update_with(File, fun(Numbers) -> [Line | Numbers] end, [Line], Files).

lines(File, Numbers, Found) ->
    pick(split(contents(File)), 1, lists:reverse(Numbers), File, Found).

%% Only what is a file, and no longer than it says: devices and pipes may never end.
contents(File) ->
    case file:read_file_info(File, [raw]) of
        {ok, #file_info{type = regular, size = Size}} when Size > 0, Size =< ?LARGEST ->
            read(File, Size);
        _ ->
            <<>>
    end.

read(File, Size) ->
    case file:open(File, [read, binary, raw]) of
        {ok, Device} ->
            try file:read(Device, Size) of
                {ok, Contents} -> Contents;
                _ -> <<>>
            after
                file:close(Device)
            end;
        {error, _} ->
            <<>>
    end.

split(Contents) ->
    binary:split(Contents, [<<"\r\n">>, <<"\n">>, <<"\r">>], [global]).

pick([Text | Texts], Number, [Number | Numbers], File, Found) ->
    pick(Texts, Number + 1, Numbers, File, Found#{{File, Number} => line(Text)});
pick([_ | Texts], Number, [_ | _] = Numbers, File, Found) when Number < hd(Numbers) ->
    pick(Texts, Number + 1, Numbers, File, Found);
pick(Texts, Number, [Line | Numbers], File, Found) when Line < Number ->
    pick(Texts, Number, Numbers, File, Found);
pick(_Texts, _Number, _Numbers, _File, Found) ->
    Found.

line(Text) ->
    cut(string:trim(readable(Text))).

%% What is not UTF-8 is taken for Latin-1, in which everything is a character.
readable(Text) ->
    case unicode:characters_to_binary(Text) of
        Readable when is_binary(Readable) -> Readable;
        _ -> unicode:characters_to_binary(Text, latin1)
    end.

cut(Text) when byte_size(Text) =< ?LONGEST -> Text;
cut(Text) -> cut(Text, Text, ?LONGEST).

cut(Text, <<>>, _Left) ->
    Text;
cut(Text, Rest, 0) ->
    Head = binary:part(Text, 0, byte_size(Text) - byte_size(Rest)),
    Missing = integer_to_binary(length(unicode:characters_to_list(Rest))),
    <<Head/binary, " ... [", Missing/binary, " more characters]">>;
cut(Text, <<_/utf8, Rest/binary>>, Left) ->
    cut(Text, Rest, Left - 1).
