-module(py_conversion).
-include("py_doc.hrl").
?MODULEDOC("""
How a context converts values where reasonable people want different things. Given as the option `conversion`
of a context or a pool.

| key | default | meaning |
|---|---|---|
| `binaries` | `text` | `text`: a binary that is valid UTF-8 is a `str`; `bytes`: every binary is `bytes` |
| `atoms` | `text` | `text`: an atom is a `str`; `atom`: it is an `erlang.Atom`, which goes back as the atom |
| `map_keys` | `value` | keys of maps on the way to Python: `value`: as other values; `text`: atoms and UTF-8 binaries are `str` whatever the keys above say |
| `dict_keys` | `binary` | `str` keys of dicts on the way to Erlang: `binary`, or `existing_atom`: the atom of that name where there is one, else a binary |
| `arrays` | `list` | NumPy arrays: `list`, or `binary`: `#{dtype => Binary, shape => Tuple, data => Binary}` |

Atoms that stand for Python's constants (`true`, `false`, `none`, `nil`, `undefined`) always do.
""").

-export([check/1, default/0]).
-export_type([options/0, checked/0]).

-type options() :: #{
    binaries => text | bytes,
    atoms => text | atom,
    map_keys => value | text,
    dict_keys => binary | existing_atom,
    arrays => list | binary
}.
-type checked() :: #{
    binaries := text | bytes,
    atoms := text | atom,
    map_keys := value | text,
    dict_keys := binary | existing_atom,
    arrays := list | binary
}.

?DOC("The options with the defaults of those that are missing.").
-spec check(term()) -> {ok, checked()} | {error, {bad_option, Key :: term(), Value :: term()}}.
check(Options) when is_map(Options) ->
    Wrong = [
        Option
     || {Key, Value} = Option <- maps:to_list(Options), not lists:member(Value, allowed(Key))
    ],
    case lists:sort(Wrong) of
        [] -> {ok, maps:merge(default(), Options)};
        [{Key, Value} | _] -> {error, {bad_option, {conversion, Key}, Value}}
    end;
check(Options) ->
    {error, {bad_option, conversion, Options}}.

?DOC("What holds where nothing is said.").
-spec default() -> checked().
default() ->
    #{binaries => text, atoms => text, map_keys => value, dict_keys => binary, arrays => list}.

allowed(binaries) -> [text, bytes];
allowed(atoms) -> [text, atom];
allowed(map_keys) -> [value, text];
allowed(dict_keys) -> [binary, existing_atom];
allowed(arrays) -> [list, binary];
allowed(_) -> [].
