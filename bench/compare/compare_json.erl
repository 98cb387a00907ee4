-module(compare_json).

%% JSON of maps, lists, numbers, booleans, `null' and texts, which are binaries or atoms. (OTP has it from 27 on.)

-export([encode/1]).

-spec encode(term()) -> iodata().
encode(Map) when is_map(Map) ->
    Pairs = [[text(Key), $:, encode(Value)] || {Key, Value} <- lists:sort(maps:to_list(Map))],
    [${, lists:join(",\n", Pairs), $}];
encode(List) when is_list(List) ->
    [$[, lists:join($,, [encode(Item) || Item <- List]), $]];
encode(Number) when is_integer(Number) ->
    integer_to_binary(Number);
encode(Number) when is_float(Number) ->
    float_to_binary(Number, [{decimals, 6}, compact]);
encode(Atom) when Atom =:= true; Atom =:= false; Atom =:= null ->
    atom_to_binary(Atom);
encode(Text) ->
    text(Text).

text(Atom) when is_atom(Atom) ->
    text(atom_to_binary(Atom));
text(Text) when is_binary(Text) ->
    [$", [character(C) || C <- unicode:characters_to_list(Text)], $"].

character($") -> "\\\"";
character($\\) -> "\\\\";
character(C) when C < 32 -> io_lib:format("\\u~4.16.0b", [C]);
character(C) -> <<C/utf8>>.
