%% Code that was spoilt: bytes and lines taken out, doubled and changed, nested too deep, too long: an answer, an exception
%% that can be told with its lines, and a context that goes on.
-module(prop_code).

-export([setup/0, input/1, holds/2, renew/1]).

-include("support/py_properties.hrl").

-define(OPTIONS, #{timeout => 5_000}).

setup() ->
    [
        begin
            {ok, Context} = py_context:new(#{mode => Mode}),
            ok = py:exec(Context, <<"import warnings; warnings.simplefilter('ignore')">>),
            Context
        end
     || Mode <- [py:execution_mode(), worker]
    ].

input(_Contexts) ->
    proper_types:tuple([
        proper_types:range(1, 2),
        proper_types:elements([eval, exec, text, task, environment, setup, named]),
        proper_types:frequency([{6, spoilt()}, {1, nested()}, {1, proper_types:binary()}, {1, py_odd:text()}])
    ]).

%% Each harmless, whatever becomes of it.
fragments() ->
    [
        <<"def f(a, *b, c=1, **d):\n    return [x for x in b if x]\nf(1, 2)\n">>,
        <<"class C(list):\n    def __getattr__(self, name):\n        raise KeyError(name)\nC().x\n">>,
        <<"try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('é') from e\nfinally:\n    x = 1\n">>,
        <<"match [1, {'a': 2}]:\n    case [int(y), {'a': z}] if z:\n        pass\n    case _:\n        pass\n">>,
        <<"async def g():\n    async with a as b, c:\n        await d\n    yield 1\n">>,
        <<"x: int = (lambda *, q: q)(q=f'{1!r:>{3}} {{}} {\"a\"}')\n">>,
        <<"# coding: latin-1\ns = '\\N{BULLET}' + \"\"\"\n\\\n\"\"\" + r'\\' 'b'\n">>,
        <<"import math, json as j\nfrom math import (sin,\n    cos)\nassert not math.sqrt(4) - 2, 'no'\n">>,
        <<"raise ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [KeyError(2)])])\n">>,
        <<"@staticmethod\ndef h[T](t: T) -> T: return t\ntype A[T] = list[T]\n">>,
        <<"e = ValueError(); e.add_note('n'); e.__cause__ = e\nraise e\n">>,
        <<"global k; k = 0xFF_FF + 0b1 - 0o7 ** 1e3 // 1j if 1 else not 2 @ 3\ndel k\n">>,
        <<"(1 + 2) * [3][0] or {**{}, 'a': {1, *()}}">>
    ].

spoilt() ->
    ?LET(
        {Fragments, Changes},
        proper_types:tuple([
            proper_types:non_empty(proper_types:list(proper_types:elements(fragments()))),
            py_odd:few(proper_types:tuple([
                proper_types:elements([take, double, set, indent, join]), proper_types:range(0, 1000), proper_types:range(0, 255)
            ]))
        ]),
        lists:foldl(fun change/2, iolist_to_binary(lists:sublist(Fragments, 3)), Changes)
    ).

change({Kind, At, Byte}, Code) ->
    Place = At rem byte_size(Code),
    <<Before:Place/binary, Found, After/binary>> = Code,
    case Kind of
        take when After =:= <<>>, Before =:= <<>> -> Code;
        take -> <<Before/binary, After/binary>>;
        double -> <<Before/binary, Found, Found, After/binary>>;
        set -> <<Before/binary, Byte, After/binary>>;
        indent -> <<Before/binary, Found, (binary:copy(<<" ">>, Byte rem 9))/binary, After/binary>>;
        join -> <<Before/binary, After/binary, Before/binary, Found>>
    end.

%% Beyond what the parser, the compiler or the frame bears.
nested() ->
    ?LET(
        {Part, Count, Inner},
        proper_types:tuple([
            proper_types:elements([
                {"(", ")"}, {"[", "]"}, {"{1:", "}"}, {"-", ""}, {"not ", ""}, {"f(", ")"}, {"(lambda: ", ")"}, {"1 if ", " else 0"}, {"1+", ""},
                {"x.", "a"}, {"x[", "]"}, {"f'{", "}'"}, {"\\\n", ""}, {"if 1:\n", ""}, {"a = ", "1"}, {"*", ""}, {"await ", "x"}
            ]),
            proper_types:elements([10, 90, 110, 200, 1_000, 20_000]),
            proper_types:elements(["1", "", "x", "**", "\""])
        ]),
        iolist_to_binary([lists:duplicate(Count, element(1, Part)), Inner, lists:duplicate(Count, element(2, Part))])
    ).

holds({Which, Way, Code}, Contexts) ->
    Context = lists:nth(Which, Contexts),
    Result = through(Way, Context, Code),
    Story = py:last_error(),
    Well =
        case Story of
            undefined -> is_binary(unicode:characters_to_binary(io_lib:format("~tp", [Result])));
            #{traceback_text := Text} -> is_binary(Text) andalso is_list(unicode:characters_to_list(Text))
        end,
    After = py:call(Context, math, sqrt, [16], #{timeout => 30_000}),
    case {is_answer(Result), Well, After} of
        {true, true, {ok, 4.0}} -> true;
        _ -> {false, {Result, Story, After}}
    end.

through(eval, Context, Code) ->
    py_context:eval(Context, Code, #{}, 5_000);
through(exec, Context, Code) ->
    py:exec(Context, Code);
%% As a string, which may be none; or as the name of what it is not.
through(text, Context, Code) ->
    try
        py:exec(Context, binary_to_list(Code))
    catch
        error:badarg -> badarg
    end;
through(task, Context, Code) ->
    py_context:submit_await(Context, builtins, eval, [Code], #{}, 5_000);
through(environment, Context, Code) ->
    {ok, Environment} = py_context:create_local_env(Context),
    py_context:exec(Context, Code, Environment);
%% Compiled with a file's name, so that the lines of its traceback come from elsewhere.
through(setup, Context, Code) ->
    py:call(Context, builtins, exec, [Code, #{}], ?OPTIONS);
through(named, Context, Code) ->
    py:call(Context, '__main__', Code, [], ?OPTIONS).

is_answer(ok) -> true;
is_answer(badarg) -> true;
is_answer({ok, _}) -> true;
is_answer({error, Reason}) when Reason =:= timeout; Reason =:= interrupted -> true;
is_answer({error, {stop_iteration, _}}) -> true;
is_answer({error, {Class, Text}}) -> (is_atom(Class) orelse is_binary(Class)) andalso py_odd:is_text(Text);
is_answer(_) -> false.

renew(Contexts) ->
    {ok, Contexts}.
