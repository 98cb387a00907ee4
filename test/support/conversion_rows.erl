%% Examples for every line of the tables in docs/conversion.md.
-module(conversion_rows).

-include_lib("stdlib/include/assert.hrl").

-export([tables/0, rows/1, lines/1]).
-export([use_up_atoms/1]).

-export_type([example/0]).

-type table() :: {Heading :: binary(), Nth :: pos_integer()}.
%% `in': a term, what Python says about it as `x', and what comes back.
%% `out': an expression with its variables, and the term, or a fun that says whether the term is right.
%% `refused': the same two, with the exception's class, or all that is answered after `error'.
%% Names in expressions are those of test/support/python/ct_values.py.
-type example() ::
    {in, py_conversion:options(), term(), binary(), term()}
    | {out, py_conversion:options(), binary(), map(), term() | fun((term()) -> boolean())}
    | {refused_in, py_conversion:options(), term(), atom()}
    | {refused_out, py_conversion:options(), binary(), atom()}
    | fun((py_context:mode()) -> ok).

%% The deepest that containers may lie in one another.
-define(DEEPEST, 2_000_000).

-spec tables() -> [table()].
tables() ->
    [
        {<<"Erlang to Python">>, 1},
        {<<"Erlang to Python">>, 2},
        {<<"Python to Erlang">>, 1},
        {<<"Python to Erlang">>, 2},
        {<<"Options">>, 1}
    ].

%% ------------------------------------------------------------------------------------------------
%% The page

%% The first cells of the tables of a page in Markdown: `#{{Heading, Nth} => [Cell]}'.
-spec lines(binary()) -> #{table() => [binary()]}.
lines(Page) ->
    lines(binary:split(Page, <<"\n">>, [global]), {<<>>, 0}, outside, #{}).

lines([<<"## ", Heading/binary>> | Lines], _Table, _Where, Found) ->
    lines(Lines, {Heading, 0}, outside, Found);
lines([<<"|", Line/binary>> | Lines], {Heading, Nth}, Where, Found) ->
    Table = {Heading, Nth},
    case Where of
        outside -> lines(Lines, {Heading, Nth + 1}, head, Found);
        head -> lines(Lines, Table, rows, Found);
        rows -> lines(Lines, Table, rows, Found#{Table => maps:get(Table, Found, []) ++ [first_cell(Line)]})
    end;
lines([_ | Lines], Table, _Where, Found) ->
    lines(Lines, Table, outside, Found);
lines([], _Table, _Where, Found) ->
    Found.

first_cell(Line) ->
    [Cell | _] = binary:split(Line, <<" |">>),
    string:trim(Cell).

%% ------------------------------------------------------------------------------------------------
%% Erlang to Python

-spec rows(table()) -> [{Line :: binary(), [example()]}].
rows({<<"Erlang to Python">>, 1}) ->
    [
        {<<"`true`, `false`">>, [
            in(true, <<"x is True">>),
            in(false, <<"x is False">>),
            in(#{atoms => atom}, true, <<"x is True">>, true),
            in(#{atoms => atom}, false, <<"x is False">>, false)
        ]},
        {<<"`undefined`, `none`, `nil`">>, [
            in(Options, Atom, <<"x is None">>, none)
         || Options <- [#{}, #{atoms => atom}], Atom <- [undefined, none, nil]
        ]},
        {<<"any other atom">>, [
            in(hello, <<"type(x) is str and x == 'hello'">>, <<"hello">>),
            in('', <<"type(x) is str and x == ''">>, <<>>),
            in('None', <<"type(x) is str and x == 'None'">>, <<"None">>),
            in('True', <<"type(x) is str and x == 'True'">>, <<"True">>),
            in('日本 𝔘', <<"type(x) is str and x == '\\u65e5\\u672c \\U0001d518'">>, <<"日本 𝔘"/utf8>>),
            in('é', <<"x == '\\xe9'">>, <<"é"/utf8>>),
            in('a\0b', <<"x == 'a\\0b'">>, <<"a\0b">>),
            in(#{atoms => atom}, hello, <<"type(x) is erlang.Atom and x == 'hello'">>, hello),
            in(#{atoms => atom}, '', <<"type(x) is erlang.Atom and x == ''">>, ''),
            in(#{atoms => atom}, '日本 𝔘', <<"type(x) is erlang.Atom and len(x) == 4">>, '日本 𝔘')
        ]},
        {<<"integer of any size">>, [
            in(0, <<"type(x) is int and x == 0">>),
            in(-1, <<"type(x) is int and x == -1">>),
            in(1 bsl 63, <<"type(x) is int and x == 2**63">>),
            in(-(1 bsl 64), <<"type(x) is int and x == -2**64">>),
            in((1 bsl 20_000) - 1, <<"type(x) is int and x == 2**20_000 - 1">>)
        ]},
        {<<"float">>, [
            in(1.0, <<"type(x) is float and x == 1">>),
            in(-2.5, <<"x == -2.5">>),
            in(1.0e308, <<"x == 1e308">>)
        ]},
        {<<"binary that is valid UTF-8">>, [
            in(<<"héé"/utf8>>, <<"type(x) is str and x == 'h\\xe9\\xe9'">>),
            in(<<>>, <<"type(x) is str and not x">>),
            in(<<"a\0">>, <<"x == 'a\\0'">>),
            in(#{binaries => bytes}, <<"abc">>, <<"type(x) is bytes and x == b'abc'">>, <<"abc">>),
            in(#{binaries => bytes}, <<>>, <<"type(x) is bytes and not x">>, <<>>)
        ]},
        {<<"any other binary">>, [
            in(<<255>>, <<"type(x) is bytes and x == b'\\xff'">>),
            in(<<"abc", 16#c3>>, <<"type(x) is bytes and x == b'abc\\xc3'">>),
            in(#{binaries => bytes}, <<255>>, <<"type(x) is bytes">>, <<255>>)
        ]},
        {<<"`{bytes, Binary}`">>, [
            in({bytes, <<"abc">>}, <<"type(x) is bytes and x == b'abc'">>, <<"abc">>),
            in({bytes, <<255>>}, <<"type(x) is bytes and x == b'\\xff'">>, <<255>>),
            in({bytes, <<>>}, <<"type(x) is bytes and not x">>, <<>>),
            in({bytes, 1}, <<"x == ('bytes', 1)">>, {<<"bytes">>, 1}),
            in({bytes, "abc"}, <<"x == ('bytes', [97, 98, 99])">>, {<<"bytes">>, "abc"}),
            in({bytes, <<"a">>, 1}, <<"x == ('bytes', 'a', 1)">>, {<<"bytes">>, <<"a">>, 1}),
            in(#{atoms => atom}, {bytes, <<"abc">>}, <<"x == b'abc'">>, <<"abc">>)
        ]},
        {<<"`{memoryview, Binary}`">>, [
            in({memoryview, Binary}, <<"type(x) is memoryview and x.readonly and x.format == 'B' and x.ndim == 1">>, Binary)
         || Binary <- [<<>>, <<"abc">>, <<255>>, binary:copy(<<"x">>, 100_000)]
        ] ++ [
            in({memoryview, <<"abc">>}, <<"x == b'abc' and bytes(x[1:]) == b'bc'">>, <<"abc">>),
            in({memoryview, 1}, <<"x == ('memoryview', 1)">>, {<<"memoryview">>, 1})
        ]},
        {<<"proper list">>, [
            in([], <<"type(x) is list and not x">>),
            in([1, [2.0, []]], <<"type(x) is list and same(x, [1, [2.0, []]])">>),
            in("abc", <<"x == [97, 98, 99]">>)
        ]},
        {<<"tuple">>, [
            in({}, <<"type(x) is tuple and not x">>),
            in({1, {2, {}}}, <<"same(x, (1, (2, ())))">>)
        ]},
        {<<"map">>, [
            in(#{}, <<"type(x) is dict and not x">>),
            in(#{a => 1, 2 => #{}}, <<"same(x, {'a': 1, 2: {}})">>, #{<<"a">> => 1, 2 => #{}}),
            in(#{{1, <<"b">>} => <<255>>, 1.5 => []}, <<"same(x, {(1, 'b'): b'\\xff', 1.5: []})">>),
            in(
                #{map_keys => text, binaries => bytes, atoms => atom},
                #{a => a, <<"b">> => <<"b">>, 5 => 1, <<255>> => 2, true => 3},
                <<"same(x, {'a': erlang.atom('a'), 'b': b'b', 5: 1, b'\\xff': 2, True: 3})">>,
                #{<<"a">> => a, <<"b">> => <<"b">>, 5 => 1, <<255>> => 2, true => 3}
            )
        ]},
        {<<"pid, local or remote">>, [
            in(Pid, <<"type(x) is erlang.Pid">>)
         || Pid <- [self(), remote(pid), whereis(init)]
        ]},
        {<<"reference">>, [in(Ref, <<"type(x) is erlang.Ref">>)
         || Ref <- [make_ref(), remote(reference), erlang:alias([explicit_unalias])]
        ]},
        {<<"port">>, [in(Port, <<"type(x) is erlang.Port">>) || Port <- [hd(erlang:ports()), remote(port)]]},
        {<<"fun">>, [
            in(Fun, <<"type(x) is erlang.Fun">>)
         || Fun <- [fun() -> ok end, closure(self()), fun lists:seq/2, fun no_such_module:f/0]
        ]},
        {<<"reference to a Python object">>, [fun object_is_itself/1]}
    ];
rows({<<"Erlang to Python">>, 2}) ->
    [
        {<<"improper list, bitstring that is no binary">>, [
            refused_in(Term, 'TypeError')
         || Term <- [[1 | 2], [1, 2, 3 | <<"x">>], [[a | b]], [a | #{}], <<1:1>>, <<"abc", 0:7>>, <<0:9>>]
        ] ++ [refused_in(#{binaries => bytes}, <<1:3>>, 'TypeError')]},
        {<<"map with keys that are equal in Python, such as `1` and `1.0`">>, [
            refused_in(Map, 'ValueError')
         || Map <- [
                #{1 => a, 1.0 => b},
                #{a => 1, <<"a">> => 2},
                #{true => 1, 1 => 2},
                #{false => 1, 0.0 => 2},
                #{nil => 1, none => 2},
                #{undefined => 1, none => 2},
                #{{1} => a, {1.0} => b},
                #{{bytes, <<255>>} => 1, <<255>> => 2},
                maps:from_list([{I, I} || I <- lists:seq(1, 100)] ++ [{77.0, x}])
            ]
        ] ++ [
            refused_in(#{atoms => atom}, #{a => 1, <<"a">> => 2}, 'ValueError'),
            refused_in(#{map_keys => text, binaries => bytes}, #{a => 1, <<"a">> => 2}, 'ValueError'),
            in(#{binaries => bytes}, #{a => 1, <<"a">> => 2}, <<"x == {'a': 1, b'a': 2}">>, {error, 'ValueError'}),
            in(#{1 => a, <<"1">> => b}, <<"len(x) == 2">>, #{1 => <<"a">>, <<"1">> => <<"b">>})
        ]},
        {<<"map with a list or a map in a key, which Python cannot hash">>, [
            refused_in(Map, 'TypeError')
         || Map <- [#{[] => 1}, #{"a" => 1}, #{#{} => 1}, #{{1, [2]} => 3}, #{{1, {#{}}} => 2}]
        ]},
        {<<"map with a key that is nested more than 1000 levels deep">>, [
            in(#{conversion_values:nested(tuple, 1000) => 1}, <<"len(x) == 1">>),
            refused_in(#{conversion_values:nested(tuple, 1001) => 1}, 'RecursionError'),
            refused_in(#{conversion_values:nested(tuple, 1_000_000) => 1}, 'RecursionError')
        ]},
        {<<"containers more than 2 000 000 levels deep">>, [fun deepest_term/1]},
        {<<"reference to an object of another interpreter">>, [fun foreign_object/1]},
        {<<"reference to an object whose context has ended">>, [fun stale_object/1]}
    ];
%% ------------------------------------------------------------------------------------------------
%% Python to Erlang

rows({<<"Python to Erlang">>, 1}) ->
    [
        {<<"`True`, `False`">>, [out(<<"True">>, true), out(<<"False">>, false)]},
        {<<"`None`">>, [out(<<"None">>, none)]},
        {<<"`int` of any size">>, [
            out(<<"0">>, 0),
            out(<<"-2**63">>, -(1 bsl 63)),
            out(<<"2**64">>, 1 bsl 64),
            out(<<"-10**5000">>, -binary_to_integer(<<"1", (binary:copy(<<"0">>, 5000))/binary>>)),
            out(<<"Int(7)">>, 7),
            out(<<"Int(2**70)">>, 1 bsl 70)
        ]},
        {<<"`float`">>, [out(<<"1.0">>, 1.0), out(<<"-1e-300">>, -1.0e-300), out(<<"Float(0.1)">>, 0.1)]},
        {<<"`nan`, `inf`, `-inf`">>, [
            out(<<"float('nan')">>, nan),
            out(<<"-float('nan')">>, nan),
            out(<<"float('inf')">>, infinity),
            out(<<"-float('inf')">>, neg_infinity),
            out(<<"Float('inf')">>, infinity)
        ]},
        {<<"`str`">>, [
            out(<<"'h\\xe9\\0\\U0001d518'">>, <<"hé\0𝔘"/utf8>>),
            out(<<"''">>, <<>>),
            out(<<"Str('abc')">>, <<"abc">>)
        ]},
        {<<"`erlang.Atom`">>, [
            out(<<"erlang.atom('hello')">>, hello),
            out(<<"erlang.atom('')">>, ''),
            out(<<"erlang.atom('\\u65e5')">>, '日'),
            out(<<"erlang.atom('true')">>, true),
            out(<<"{erlang.atom('hello'): 1}">>, #{hello => 1}),
            fun(Mode) -> longest_atom(Mode) end
        ]},
        {<<"`bytes`, `bytearray`, `memoryview`">>, [
            out(<<"b'a\\xff\\0'">>, <<"a", 255, 0>>),
            out(<<"b''">>, <<>>),
            out(<<"bytearray(b'abc')">>, <<"abc">>),
            out(<<"memoryview(b'abc')">>, <<"abc">>),
            out(<<"memoryview(bytearray(b'abcdef'))[::2]">>, <<"ace">>),
            out(<<"memoryview(bytes(range(6))).cast('B', (2, 3))">>, <<0, 1, 2, 3, 4, 5>>),
            out(<<"memoryview(b'\\1\\0\\2\\0').cast('H')">>, <<1, 0, 2, 0>>),
            out(<<"Bytes(b'abc')">>, <<"abc">>),
            out(<<"Blob(b'abc')">>, <<"abc">>),
            out(<<"bytes(100_000)">>, <<0:800_000>>),
            out(<<"Bytes(100_000)">>, <<0:800_000>>),
            out(<<"bytearray(100_000)">>, <<0:800_000>>)
        ]},
        {<<"`list`, `set`, `frozenset`">>, [
            out(<<"[1, [2.0]]">>, [1, [2.0]]),
            out(<<"[]">>, []),
            out(<<"List([1])">>, [1]),
            out(<<"set()">>, []),
            out(<<"{1}">>, [1]),
            out(<<"{3, 1, 2}">>, fun(List) -> lists:sort(List) =:= [1, 2, 3] end),
            out(<<"frozenset(('a', b'a'))">>, [<<"a">>, <<"a">>]),
            out(<<"{frozenset([1]): {2}}">>, #{[1] => [2]}),
            out(<<"Set([1])">>, [1]),
            out(<<"Frozen([1])">>, [1])
        ]},
        {<<"`tuple`">>, [
            out(<<"(1, (2.0,))">>, {1, {2.0}}),
            out(<<"()">>, {}),
            out(<<"Tuple((1,))">>, {1}),
            out(<<"Point(1, y=2)">>, {1, 2})
        ]},
        {<<"`dict`">>, [
            out(<<"{1: 'int', 'one': (1, None)}">>, #{1 => <<"int">>, <<"one">> => {1, none}}),
            out(<<"{}">>, #{}),
            out(<<"{1.5: 1, (1,): 2, b'k': 3, None: 4, True: 5}">>, #{1.5 => 1, {1} => 2, <<"k">> => 3, none => 4, true => 5}),
            out(<<"{'none': 1, None: 2}">>, #{<<"none">> => 1, none => 2}),
            out(<<"Dict(a=1)">>, #{<<"a">> => 1}),
            out(<<"collections.OrderedDict(a=1)">>, #{<<"a">> => 1}),
            out(<<"collections.defaultdict(list, a=1)">>, #{<<"a">> => 1}),
            out(<<"collections.Counter('aab')">>, #{<<"a">> => 2, <<"b">> => 1}),
            out(
                #{dict_keys => existing_atom},
                <<"{'ok': 'ok', 'no atom of this name': {'error': 1}, ('ok',): 2, b'ok': 3}">>,
                #{ok => <<"ok">>, <<"no atom of this name">> => #{error => 1}, {<<"ok">>} => 2, <<"ok">> => 3}
            )
        ]},
        {<<"`erlang.Pid`, `erlang.Ref`, `erlang.Port`, `erlang.Fun`">>, [
            {out, #{}, Code, #{x => Term}, Result(Term)}
         || {Code, Result} <- [
                {<<"x">>, fun(Term) -> Term end},
                {<<"{x: x}">>, fun(Term) -> #{Term => Term} end},
                {<<"{x}">>, fun(Term) -> [Term] end}
            ],
            Term <- [
                self(), make_ref(), hd(erlang:ports()), closure(self()), fun lists:seq/2, remote(pid),
                remote(reference), remote(port)
            ]
        ]},
        {<<"object with a method `__erlang_term__(self)`">>, [
            out(<<"Term(1)">>, 1),
            out(<<"Term(Term([Term(None)]))">>, [none]),
            out(<<"{'a': Term(erlang.atom('ok'))}">>, #{<<"a">> => ok}),
            out(<<"{Term('key'): 1}">>, #{<<"key">> => 1}),
            out(<<"TermDict(a=1)">>, {<<"instead">>, 1}),
            out(<<"TermEnum.ONE">>, <<"instead">>),
            out(<<"FieldsAsTerm()">>, [<<"instead">>, 1]),
            out(<<"Term">>, fun py:is_ref/1),
            out(<<"TermByAttribute()">>, fun py:is_ref/1)
        ]},
        {<<"`Enum` member">>, [
            out(<<"Colour.RED">>, <<"red">>),
            out(<<"Colour.SPOT">>, {1, none}),
            out(<<"Level.LOW">>, 1),
            out(<<"Name.A">>, <<"a">>),
            out(<<"Bits.ONE | Bits.TWO">>, 3),
            out(<<"{Colour.RED: Level.LOW}">>, #{<<"red">> => 1}),
            out(<<"Colour">>, fun py:is_ref/1)
        ]},
        {<<"dataclass instance">>, [
            out(<<"Fields('n', [Fields('m')])">>, #{
                <<"name">> => <<"n">>,
                <<"value">> => [#{<<"name">> => <<"m">>, <<"value">> => none}]
            }),
            out(<<"Nested(Nested(1))">>, #{<<"inner">> => #{<<"inner">> => 1}}),
            out(<<"Table()">>, #{<<"a">> => 1}),
            out(<<"Fields">>, fun py:is_ref/1)
        ]},
        {<<"`datetime`, `date`, `time`">>, [
            out(<<"datetime.datetime(2024, 2, 29, 12, 30, 15)">>, <<"2024-02-29T12:30:15">>),
            out(<<"datetime.datetime(1, 1, 1, tzinfo=datetime.timezone.utc)">>, <<"0001-01-01T00:00:00+00:00">>),
            out(<<"datetime.date(2024, 2, 29)">>, <<"2024-02-29">>),
            out(<<"datetime.time(1, 2, 3, 4)">>, <<"01:02:03.000004">>)
        ]},
        {<<"`Decimal`, `UUID`, `Path`">>, [
            out(<<"decimal.Decimal('1.10')">>, <<"1.10">>),
            out(<<"decimal.Decimal('NaN')">>, <<"NaN">>),
            out(<<"uuid.UUID(int=1)">>, <<"00000000-0000-0000-0000-000000000001">>),
            out(<<"pathlib.Path('a') / '\\xe9'">>, <<"a/é"/utf8>>)
        ]},
        {<<"object with `tolist()` and `ndim`: NumPy arrays and scalars">>, [
            out(<<"array([[1, 2.0], []], 2)">>, [[1, 2.0], []]),
            out(<<"array(5, 0)">>, 5),
            out(<<"array(None, 0)">>, none),
            out(<<"array">>, fun py:is_ref/1),
            fun numpy_arrays/1
        ]},
        {<<"any other object">>, [
            out(Code, fun py:is_ref/1)
         || Code <- [
                <<"object()">>, <<"1j">>, <<"print">>, <<"range(3)">>, <<"...">>, <<"NotImplemented">>,
                <<"Plain()">>, <<"Mutable()">>, <<"Plain">>, <<"int">>, <<"(x for x in [])">>, <<"iter([])">>,
                <<"lambda: 1">>, <<"{}.keys()">>, <<"slice(1)">>, <<"fractions.Fraction(1, 2)">>, <<"collections.deque([1])">>,
                <<"types.SimpleNamespace(tolist=1, ndim=2)">>, <<"datetime.timedelta(1)">>, <<"types">>, <<"ValueError(1)">>,
                <<"__import__('unittest.mock').mock.Mock()">>, <<"__import__('unittest.mock').mock.MagicMock()">>,
                <<"types.MappingProxyType({})">>, <<"collections.UserDict()">>
            ]
        ]}
    ];
rows({<<"Python to Erlang">>, 2}) ->
    [
        {<<"`str` with a lone surrogate">>, [
            refused_out(Code, 'UnicodeEncodeError')
         || Code <- [
                <<"'\\ud800'">>, <<"'a\\udfffb'">>, <<"{'\\udc80': 1}">>, <<"Str('\\ud800')">>,
                <<"erlang.atom('\\ud800')">>, <<"pathlib.Path('\\udc80')">>, <<"Term('\\ud800')">>
            ]
        ] ++ [refused_out(#{dict_keys => existing_atom}, <<"{'\\ud800': 1}">>, 'UnicodeEncodeError')]},
        {<<"`erlang.Atom` of more than 255 characters">>, [
            refused_out(<<"erlang.atom('x' * 256)">>, 'ValueError'),
            refused_out(<<"erlang.atom('\\u65e5' * 256)">>, 'ValueError')
        ]},
        {<<"`erlang.Atom` that is new, when Python code has brought up 4096 new atoms before">>, [fun too_many_atoms/1]},
        {<<"`dict` with keys that are the same Erlang term, such as `'a'` and `b'a'`">>, [
            refused_out(Code, 'ValueError')
         || Code <- [
                <<"{'a': 1, b'a': 2}">>,
                <<"{('a',): 1, (b'a',): 2}">>,
                <<"{float('nan'): 1, float('nan'): 2}">>,
                <<"{Term(1): 1, 1: 2}">>,
                <<"{Colour.RED: 1, 'red': 2}">>,
                <<"{erlang.atom('true'): 1, True: 2}">>,
                <<"{frozenset([1]): 1, Term([1]): 2}">>,
                <<"dict.fromkeys(range(100)) | {Term(77): 1}">>
            ]
        ] ++ [
            refused_out(#{dict_keys => existing_atom}, <<"{'none': 1, None: 2}">>, 'ValueError'),
            out(#{dict_keys => existing_atom}, <<"{'ok': 1, b'ok': 2}">>, #{ok => 1, <<"ok">> => 2}),
            out(<<"{1: 'a', '1': 'b', (1,): 'c'}">>, #{1 => <<"a">>, <<"1">> => <<"b">>, {1} => <<"c">>})
        ]},
        {<<"`int` beyond Erlang's largest">>, [
            refused_out(<<"1 << (1 << 30)">>, 'OverflowError'),
            refused_out(<<"-1 << (1 << 30)">>, 'OverflowError')
        ]},
        {<<"container that contains itself, or is nested more than 2 000 000 levels deep">>, [
            refused_out(<<"[x := [], x.append(x)][0]">>, 'RecursionError'),
            refused_out(<<"[x := {}, x.update(a=x)][0]">>, 'RecursionError'),
            refused_out(<<"[x := [], x.append({'a': (x,)})][0]">>, 'RecursionError'),
            refused_out(<<"[x := Fields('n'), setattr(x, 'value', [x])][0]">>, 'RecursionError'),
            refused_out(<<"[x := Term(1), setattr(x, 'term', x)][0]">>, 'RecursionError'),
            refused_out(<<"[x := Term(1), setattr(x, 'term', [x])][0]">>, 'RecursionError'),
            refused_out(<<"[x := array(1, 1), setattr(x, 'value', [x])][0]">>, 'RecursionError'),
            out(<<"[x := [1], [x, x, (x, {1: x})]][1]">>, [[1], [1], {[1], #{1 => [1]}}]),
            fun deepest_object/1
        ]},
        {<<"`tuple` of more than 16 777 215 elements">>, [fun too_long_tuple/1]},
        {<<"object whose `__erlang_term__` gives another such object, 1000 times">>, [fun endless_terms/1]}
    ];
rows({<<"Options">>, 1}) ->
    [
        {<<"`binaries`">>, [
            in(#{binaries => text}, {<<"a">>, <<255>>}, <<"same(x, ('a', b'\\xff'))">>, {<<"a">>, <<255>>}),
            in(#{binaries => bytes}, {<<"a">>, <<255>>}, <<"same(x, (b'a', b'\\xff'))">>, {<<"a">>, <<255>>}),
            in(#{binaries => bytes}, #{<<"k">> => a}, <<"same(x, {b'k': 'a'})">>, #{<<"k">> => <<"a">>})
        ]},
        {<<"`atoms`">>, [
            in(#{atoms => text}, ok, <<"same(x, 'ok')">>, <<"ok">>),
            in(#{atoms => atom}, [ok, true, nil], <<"same(x, [erlang.atom('ok'), True, None])">>, [ok, true, none]),
            in(#{atoms => atom}, #{ok => error}, <<"x['ok'] == 'error' and type([*x][0]) is erlang.Atom">>, #{ok => error})
        ]},
        {<<"`map_keys`">>, [
            in(#{map_keys => value, binaries => bytes}, #{<<"k">> => 1}, <<"same(x, {b'k': 1})">>, #{<<"k">> => 1}),
            in(#{map_keys => text, binaries => bytes}, #{<<"k">> => <<"v">>}, <<"same(x, {'k': b'v'})">>, #{
                <<"k">> => <<"v">>
            }),
            in(#{map_keys => text, atoms => atom}, #{k => #{v => w}}, <<"type([*x][0]) is type([*x['k']][0]) is str">>, #{
                <<"k">> => #{<<"v">> => w}
            }),
            in(#{map_keys => text, atoms => atom}, #{nil => 1, true => 2}, <<"same(x, {None: 1, True: 2})">>, #{
                none => 1, true => 2
            })
        ]},
        {<<"`dict_keys`">>, [
            out(#{dict_keys => binary}, <<"{'ok': 1}">>, #{<<"ok">> => 1}),
            out(#{dict_keys => existing_atom}, <<"{'ok': {'error': 'ok'}}">>, #{ok => #{error => <<"ok">>}}),
            out(#{dict_keys => existing_atom}, <<"{'x' * 256: 1}">>, #{binary:copy(<<"x">>, 256) => 1}),
            out(#{dict_keys => existing_atom}, <<"{'no atom of that name': 1}">>, #{<<"no atom of that name">> => 1})
        ]},
        {<<"`arrays`">>, [
            out(#{arrays => list}, <<"array([1], 1)">>, [1]),
            fun numpy_arrays_as_bytes/1
        ]}
    ].

%% ------------------------------------------------------------------------------------------------
%% The shapes of examples

in(Term, Check) -> in(Term, Check, Term).
in(Term, Check, Back) -> in(#{}, Term, Check, Back).
in(Options, Term, Check, Back) -> {in, Options, Term, Check, Back}.

out(Code, Term) -> out(#{}, Code, Term).
out(Options, Code, Term) -> {out, Options, Code, #{}, Term}.

refused_in(Term, Class) -> refused_in(#{}, Term, Class).
refused_in(Options, Term, Class) -> {refused_in, Options, Term, Class}.

refused_out(Code, Class) -> refused_out(#{}, Code, Class).
refused_out(Options, Code, Class) -> {refused_out, Options, Code, Class}.

closure(Pid) -> fun() -> Pid end.

%% In the external format, so that no other node has to run.
remote(Kind) ->
    Node = <<"other@nowhere">>,
    Name = <<119, (byte_size(Node)), Node/binary>>,
    Term = binary_to_term(
        case Kind of
            pid -> <<131, 88, Name/binary, 123:32, 4:32, 77:32>>;
            reference -> <<131, 90, 3:16, Name/binary, 77:32, 1:32, 2:32, 3:32>>;
            port -> <<131, 89, Name/binary, 5:32, 77:32>>
        end
    ),
    ?assertEqual('other@nowhere', node(Term)),
    Term.

%% ------------------------------------------------------------------------------------------------
%% Examples that need more than one expression

with_context(Mode, Options, Fun) ->
    {ok, Context} = py_context:new(#{mode => Mode, conversion => Options}),
    try
        ok = py_suite:python_path(Context),
        ok = py:exec(Context, <<"from ct_values import *">>),
        Fun(Context)
    after
        ok = py_context:stop(Context)
    end.

object_is_itself(Mode) ->
    with_context(Mode, #{}, fun(Context) ->
        ok = py:exec(Context, <<"kept = Plain()">>),
        {ok, Ref} = py:eval(Context, <<"kept">>),
        ?assert(py:is_ref(Ref)),
        ?assertEqual({ok, true}, py:eval(Context, <<"x is kept">>, #{x => Ref})),
        ?assertEqual({ok, true}, py:eval(Context, <<"x[0][0]['k'] is kept">>, #{x => [{#{k => Ref}}]})),
        ok
    end).

foreign_object(Mode) ->
    Other =
        case Mode of
            owngil -> worker;
            worker -> py:execution_mode()
        end,
    with_context(Mode, #{}, fun(Context) ->
        case Other of
            worker when Mode =:= worker ->
                %% All contexts share the one interpreter of a free-threaded Python.
                ok;
            _ ->
                with_context(Other, #{}, fun(Foreign) ->
                    {ok, Ref} = py:eval(Foreign, <<"Plain()">>),
                    [
                        ?assertMatch({error, {'ValueError', _}}, py:eval(Context, <<"x">>, #{x => Term}))
                     || Term <- [Ref, [Ref], {Ref}, #{1 => Ref}, #{Ref => 1}]
                    ],
                    ok
                end)
        end
    end).

stale_object(Mode) ->
    Ref = with_context(Mode, #{}, fun(Context) ->
        {ok, Ref} = py:eval(Context, <<"Plain()">>),
        Ref
    end),
    with_context(Mode, #{}, fun(Context) ->
        [
            ?assertEqual({error, stale_reference}, py:eval(Context, <<"x">>, #{x => Term}))
         || Term <- [Ref, [Ref], {Ref}, #{1 => Ref}, #{Ref => 1}]
        ],
        ok
    end).

longest_atom(Mode) ->
    with_context(Mode, #{atoms => atom}, fun(Context) ->
        Atom = binary_to_atom(binary:copy(<<"日"/utf8>>, 255)),
        ?assertEqual({ok, 255}, py:eval(Context, <<"len(x)">>, #{x => Atom})),
        ?assertEqual({ok, Atom}, py:eval(Context, <<"x">>, #{x => Atom})),
        ?assertEqual({ok, Atom}, py:eval(Context, <<"erlang.atom('\\u65e5' * 255)">>)),
        ok
    end).

%% In a node of its own, since the atoms count for as long as a node lives.
too_many_atoms(Mode) ->
    py_suite:in_peer(?MODULE, use_up_atoms, [{mode, Mode}]).

-spec use_up_atoms(py_context:mode()) -> ok.
use_up_atoms(Mode) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, Context} = py_context:new(#{mode => Mode}),
    ok = py:exec(Context, <<"import erlang\ndef new(i): return erlang.atom(f'ct_new_{i}')">>),
    {ok, Atoms} = py:eval(Context, <<"[new(i) for i in range(4096)]">>),
    %% As text, since an atom of this module would not be new.
    ?assertEqual(
        [<<"ct_new_", (integer_to_binary(I))/binary>> || I <- lists:seq(0, 4095)],
        [atom_to_binary(Atom) || Atom <- Atoms]
    ),
    [?assertMatch({error, {'ValueError', _}}, py:eval(Context, <<"new(4096)">>)) || _ <- [1, 2]],
    Seventh = lists:nth(7, Atoms),
    ?assertEqual({ok, [Seventh, ok]}, py:eval(Context, <<"[new(6), erlang.atom('ok')]">>)),
    ok.

deepest_term(Mode) ->
    with_context(Mode, #{}, fun(Context) ->
        Deep = conversion_values:nested(list, ?DEEPEST + 1),
        ?assertMatch({error, {'RecursionError', _}}, py:eval(Context, <<"len(x)">>, #{x => Deep})),
        ok
    end).

deepest_object(Mode) ->
    with_context(Mode, #{}, fun(Context) ->
        ok = py:exec(Context, <<"def deep(n):\n    x = ()\n    for _ in range(n): x = (x,)\n    return x">>),
        ?assertMatch({error, {'RecursionError', _}}, py:call(Context, '__main__', deep, [?DEEPEST + 1])),
        ok
    end).

%% What comes if it is not refused is no valid term, and must not be printed.
too_long_tuple(Mode) ->
    with_context(Mode, #{}, fun(Context) ->
        {error, {Class, _}} = py:eval(Context, <<"(0,) * 16_777_216">>),
        ?assertEqual('OverflowError', Class),
        ok
    end).

endless_terms(Mode) ->
    with_context(Mode, #{}, fun(Context) ->
        ok = py:exec(Context, <<
            "class Endless:\n"
            "    def __init__(self, left): self.left = left\n"
            "    def __erlang_term__(self): return Endless(self.left - 1) if self.left else 'end'\n"
        >>),
        ?assertEqual({ok, <<"end">>}, py:eval(Context, <<"Endless(900)">>)),
        ?assertMatch({error, {'RecursionError', _}}, py:eval(Context, <<"Endless(1100)">>)),
        ok
    end).

numpy_arrays(Mode) ->
    with_numpy(Mode, #{}, fun(Context) ->
        [
            ?assertEqual({Code, {ok, Term}}, {Code, py:eval(Context, Code)})
         || {Code, Term} <- [
                {<<"np.arange(6).reshape(2, 3)">>, [[0, 1, 2], [3, 4, 5]]},
                {<<"np.array([1.5, float('nan')])">>, [1.5, nan]},
                {<<"np.array([True, False])">>, [true, false]},
                {<<"np.array(['a', 'b'])">>, [<<"a">>, <<"b">>]},
                {<<"np.array([])">>, []},
                {<<"np.array(5)">>, 5},
                {<<"np.float64(1.5)">>, 1.5},
                {<<"np.float32(0.5)">>, 0.5},
                {<<"np.int8(-3)">>, -3},
                {<<"np.bool_(True)">>, true},
                {<<"np.str_('a')">>, <<"a">>},
                {<<"[{'a': np.int64(2**63 - 1)}]">>, [#{<<"a">> => 16#7fffffffffffffff}]}
            ]
        ],
        ok
    end).

numpy_arrays_as_bytes(Mode) ->
    with_numpy(Mode, #{arrays => binary}, fun(Context) ->
        [
            ?assertMatch(
                {Code, {ok, #{dtype := <<_, _/binary>>, shape := Shape, data := Data}}}, {Code, py:eval(Context, Code)}
            )
         || {Code, Shape, Data} <- [
                {<<"np.arange(6, dtype='u1').reshape(2, 3)">>, {2, 3}, <<0, 1, 2, 3, 4, 5>>},
                {<<"np.arange(6, dtype='u1').reshape(2, 3).T">>, {3, 2}, <<0, 3, 1, 4, 2, 5>>},
                {<<"np.arange(6, dtype='u1')[::2]">>, {3}, <<0, 2, 4>>},
                {<<"np.array([1.5], dtype='<f8')">>, {1}, <<1.5/float-little>>},
                {<<"np.array([], dtype='<i4')">>, {0}, <<>>}
            ]
        ],
        ok
    end).

with_numpy(owngil, _Options, _Fun) ->
    %% NumPy refuses interpreters with a GIL of their own.
    ok;
with_numpy(worker, Options, Fun) ->
    Done = py_suite:with_numpy(#{mode => worker, conversion => Options}, fun(Context) ->
        ok = py:exec(Context, <<"import numpy as np">>),
        Fun(Context)
    end),
    case Done of
        ok -> ok;
        {skip, Why} -> ct:log("~ts", [Why])
    end.
