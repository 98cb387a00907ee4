%% Erlang functions that Python code calls: the names under which it finds them, and where it may call them.
-module(callback_names_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_callbacks, [offering/2, collect/1, signal/2]).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        registered_function_is_found_by_its_name,
        function_registered_later_is_found,
        function_registered_anew_replaces_the_old_one,
        unregistered_function_is_gone,
        missing_names_are_what_python_users_expect,
        names_may_be_unicode_and_long,
        name_that_is_no_text_is_a_type_error,
        keyword_arguments_are_a_type_error_that_says_so,
        module_and_function_are_called_with_one_list,
        changed_code_of_a_module_is_run,
        names_are_looked_up_in_erlang_too,
        bad_registrations_are_badarg,

        functions_of_all_kinds_can_call,
        operators_and_protocols_can_call,
        generators_can_call,
        finalisers_can_call,
        hooks_can_call,
        conversion_of_a_result_can_call,
        text_of_an_exception_can_call,
        module_can_call_while_it_is_imported,
        exit_handler_gets_a_clear_error,
        finaliser_of_a_dead_process_s_object_can_call
    ]).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

%% Every case has a context of its own.
init_per_testcase(_Case, Config) ->
    py_callbacks:init_case(Config).

end_per_testcase(_Case, Config) ->
    py_callbacks:end_case(Config).

%%% Names

sum(Numbers) -> lists:sum(Numbers).

registered_function_is_found_by_its_name(Config) ->
    Context = ?config(ctx, Config),
    offering([{add, fun([A, B]) -> A + B end}, {<<"mul">>, fun([A, B]) -> A * B end}], fun() ->
        ?assertEqual({ok, 3}, py:call(Context, erlang, call, [add, 1, 2])),
        ?assertEqual({ok, 3}, py:call(Context, erlang, add, [1, 2])),
        ?assertEqual({ok, 3}, py:call(erlang, add, [1, 2])),
        ok = py:exec(Context, <<
            "import erlang\n"
            "from erlang import add, mul as times\n"
            "results = [erlang.call('add', 1, 2), erlang.add(3, 4), add(5, 6), times(7, 8), erlang.mul(9, 10)]\n"
        >>),
        ?assertEqual({ok, [3, 7, 11, 56, 90]}, py:eval(Context, <<"results">>))
    end).

function_registered_later_is_found(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang\n"
        "before = hasattr(erlang, 'later')\n"
        "def use(): return erlang.later(1)\n"
        "def fetch():\n"
        "    from erlang import later\n"
        "    return later(2)\n"
    >>),
    ?assertEqual({ok, false}, py:eval(Context, <<"before">>)),
    ?assertMatch({error, {'AttributeError', _}}, py:call(Context, '__main__', use, [])),
    ?assertMatch({error, {'ImportError', _}}, py:call(Context, '__main__', fetch, [])),
    offering([{later, fun([N]) -> N + 1 end}], fun() ->
        ?assertEqual({ok, 2}, py:call(Context, '__main__', use, [])),
        ?assertEqual({ok, 3}, py:call(Context, '__main__', fetch, [])),
        ?assertEqual({ok, true}, py:eval(Context, <<"hasattr(erlang, 'later')">>))
    end).

function_registered_anew_replaces_the_old_one(Config) ->
    Context = ?config(ctx, Config),
    offering([{version, fun([]) -> 1 end}], fun() ->
        ok = py:exec(Context, <<"from erlang import version">>),
        ?assertEqual({ok, 1}, py:eval(Context, <<"version()">>)),
        ok = py:register_function(version, fun([]) -> 2 end),
        ?assertEqual({ok, 2}, py:eval(Context, <<"version()">>)),
        ?assertEqual({ok, 2}, py:call(Context, erlang, version, [])),
        %% The name is one, whether an atom or a binary.
        ok = py:register_function(<<"version">>, fun([]) -> 3 end),
        ?assertEqual({ok, 3}, py:call(Context, erlang, call, [version]))
    end).

unregistered_function_is_gone(Config) ->
    Context = ?config(ctx, Config),
    offering([{fleeting, fun([]) -> here end}], fun() ->
        ok = py:exec(Context, <<"import erlang\nfrom erlang import fleeting">>),
        ?assertEqual({ok, <<"here">>}, py:eval(Context, <<"fleeting()">>))
    end),
    ?assertEqual({error, {error, {not_registered, <<"fleeting">>}}}, py:eval(Context, <<"fleeting()">>)),
    ?assertMatch({error, {'AttributeError', _}}, py:eval(Context, <<"erlang.fleeting()">>)),
    ?assertMatch({error, {'ImportError', _}}, py:exec(Context, <<"from erlang import fleeting">>)),
    ?assertEqual(ok, py:unregister_function(fleeting)).

missing_names_are_what_python_users_expect(Config) ->
    Context = ?config(ctx, Config),
    Text = py_suite:error_text('AttributeError', py:call(Context, erlang, no_such_function, [])),
    py_suite:contains(Text, "no_such_function"),
    ?assertEqual(
        {error, {error, {not_registered, <<"no_such_function">>}}},
        py:call(Context, erlang, call, [no_such_function])
    ),
    ok = py:exec(Context, <<
        "import erlang\n"
        "try:\n"
        "    erlang.call('no_such_function')\n"
        "except erlang.ErlangError as error:\n"
        "    caught = error\n"
        "try:\n"
        "    from erlang import no_such_function\n"
        "except ImportError as error:\n"
        "    refused = str(error)\n"
    >>),
    ?assertEqual({ok, <<"error">>}, py:eval(Context, <<"caught.kind">>)),
    ?assertEqual({ok, {<<"not_registered">>, <<"no_such_function">>}}, py:eval(Context, <<"caught.reason">>)),
    ?assertEqual({ok, true}, py:eval(Context, <<"'no_such_function' in str(caught)">>)),
    ?assertEqual({ok, true}, py:eval(Context, <<"'no_such_function' in refused">>)),
    ?assertEqual({ok, none}, py:eval(Context, <<"getattr(erlang, 'no_such_function', None)">>)),
    %% What is there already stays what it was.
    ?assertEqual({ok, <<"erlang">>}, py:eval(Context, <<"erlang.__name__">>)).

names_may_be_unicode_and_long(Config) ->
    Context = ?config(ctx, Config),
    Long = binary:copy(<<"x">>, 255),
    Names = [<<"größe"/utf8>>, <<"数"/utf8>>, <<"with space">>, <<"with.dot">>, Long],
    offering([{Name, fun([]) -> Name end} || Name <- Names], fun() ->
        [?assertEqual({ok, Name}, py:call(Context, erlang, call, [Name])) || Name <- Names],
        ok = py:exec(Context, <<"import erlang\nresult = erlang.größe(), erlang.数()"/utf8>>),
        ?assertEqual({ok, {<<"größe"/utf8>>, <<"数"/utf8>>}}, py:eval(Context, <<"result">>)),
        ?assertEqual({ok, Long}, py:eval(Context, <<"getattr(erlang, 'x' * 255)()">>))
    end),
    ?assertMatch({error, {_, _}}, py:call(Context, erlang, call, [binary:copy(<<"x">>, 256)])),
    ?assertMatch({error, {_, _}}, py:call(Context, erlang, call, [binary:copy(<<"x">>, 10_000_000)])).

name_that_is_no_text_is_a_type_error(Config) ->
    Context = ?config(ctx, Config),
    [
        ?assertMatch({error, {'TypeError', _}}, py:eval(Context, <<"__import__('erlang').call(", Args/binary, ")">>))
     || Args <- [<<"">>, <<"1">>, <<"None">>, <<"b'sum'">>, <<"['sum']">>]
    ],
    %% Nor one that no Erlang text can be, whose look-up is one of any name that is not there.
    ?assertMatch({error, {'UnicodeEncodeError', _}}, py:eval(Context, <<"__import__('erlang').call('\\ud800')">>)),
    ?assertEqual({ok, false}, py:eval(Context, <<"hasattr(__import__('erlang'), '\\ud800')">>)).

keyword_arguments_are_a_type_error_that_says_so(Config) ->
    Context = ?config(ctx, Config),
    Test = self(),
    offering([{never, fun(Args) -> Test ! {called, Args} end}], fun() ->
        ok = py:exec(Context, <<"import erlang\nfrom erlang import never">>),
        [
            py_suite:contains(py_suite:error_text('TypeError', py:eval(Context, Call)), "keyword")
         || Call <- [<<"erlang.call('never', 1, a=2)">>, <<"erlang.never(a=2)">>, <<"never(1, b=3)">>]
        ]
    end),
    ?assertEqual([], collect(called)).

module_and_function_are_called_with_one_list(Config) ->
    Context = ?config(ctx, Config),
    ok = py:register_function(ct_sum, ?MODULE, sum),
    ok = py:register_function(<<"ct_length">>, erlang, length),
    ?assertEqual({ok, 6}, py:call(Context, erlang, ct_sum, [1, 2, 3])),
    ?assertEqual({ok, 0}, py:call(Context, erlang, ct_sum, [])),
    ?assertEqual({ok, 2}, py:call(Context, erlang, ct_length, [[], []])),
    ok = py:register_function(ct_sum, ?MODULE, no_such_function),
    ?assertEqual({error, {error, undef}}, py:call(Context, erlang, ct_sum, [1])),
    ok = py:unregister_function(ct_sum),
    ok = py:unregister_function(<<"ct_length">>).

changed_code_of_a_module_is_run(Config) ->
    Context = ?config(ctx, Config),
    Load = fun(Value) ->
        Forms = [
            {attribute, 1, module, callback_names_SUITE_loaded},
            {attribute, 1, export, [{value, 1}]},
            {function, 1, value, 1, [{clause, 1, [{var, 1, '_'}], [], [{integer, 1, Value}]}]}
        ],
        {ok, Module, Binary} = compile:forms(Forms),
        {module, Module} = code:load_binary(Module, "callback_names_SUITE_loaded.erl", Binary)
    end,
    _ = Load(1),
    ok = py:register_function(ct_value, callback_names_SUITE_loaded, value),
    ?assertEqual({ok, 1}, py:call(Context, erlang, ct_value, [])),
    _ = Load(2),
    ?assertEqual({ok, 2}, py:call(Context, erlang, ct_value, [])),
    _ = code:purge(callback_names_SUITE_loaded),
    true = code:delete(callback_names_SUITE_loaded),
    _ = code:purge(callback_names_SUITE_loaded),
    ?assertEqual({error, {error, undef}}, py:call(Context, erlang, ct_value, [])),
    ok = py:unregister_function(ct_value).

names_are_looked_up_in_erlang_too(_Config) ->
    Double = fun([N]) -> 2 * N end,
    ?assertEqual({error, not_found}, py_callback:lookup(double)),
    ?assertEqual({error, {not_found, double}}, py_callback:execute(double, [4])),
    ok = py_callback:register(double, Double),
    ?assertEqual({ok, Double}, py_callback:lookup(double)),
    ?assertEqual({ok, Double}, py_callback:lookup(<<"double">>)),
    ?assertEqual({ok, 8}, py_callback:execute(double, [4])),
    ?assertMatch({error, {error, badarith, [_ | _]}}, py_callback:execute(double, [four])),
    ok = py_callback:unregister(double),
    ?assertEqual({error, not_found}, py_callback:lookup(double)),
    ok = py_callback:register(ct_sum, {?MODULE, sum}),
    ?assertEqual({ok, {?MODULE, sum}}, py_callback:lookup(ct_sum)),
    ?assertEqual({ok, 3}, py_callback:execute(ct_sum, [1, 2])),
    ok = py_callback:unregister(ct_sum).

bad_registrations_are_badarg(_Config) ->
    Fun = fun(_) -> ok end,
    [
        ?assertError(badarg, py:register_function(Name, Function))
     || {Name, Function} <- [
            {[], Fun}, {[-1], Fun}, {1, Fun}, {<<255>>, Fun}, {<<>>, Fun}, {binary:copy(<<"x">>, 256), Fun},
            {name, fun() -> ok end}, {name, fun(_, _) -> ok end}, {name, function}, {name, {m, f, 1}}
        ]
    ],
    ?assertError(badarg, py:register_function(name, "module", function)),
    ?assertError(badarg, py:register_function(name, module, <<"function">>)),
    ?assertError(badarg, py:unregister_function(1)),
    ?assertEqual({error, not_found}, py_callback:lookup(name)).

%%% Where in Python

%% Runs code in which `ask(tag)' calls Erlang; the tags in the order of the calls.
asked(Config, Code) ->
    Context = ?config(ctx, Config),
    Test = self(),
    Ask = fun([Tag]) ->
        Test ! {asked, {self() =:= Test, Tag}},
        Tag
    end,
    offering([{ask, Ask}], fun() ->
        ?assertEqual(ok, py:exec(Context, [<<"import erlang\nfrom erlang import ask\n">>, Code]))
    end),
    Asked = collect(asked),
    ?assertEqual([], [Tag || {false, Tag} <- Asked]),
    [Tag || {true, Tag} <- Asked].

functions_of_all_kinds_can_call(Config) ->
    ?assertEqual(
        [
            <<"function">>, <<"default">>, <<"lambda">>, <<"closure">>, <<"method">>, <<"class">>, <<"static">>,
            <<"property">>, <<"init">>, <<"call">>, <<"nested">>, <<"decorated">>, 0, 1, 2, <<"partial">>,
            <<"class body">>
        ],
        asked(Config, <<
            "import functools\n"
            "def function(value=None): return ask('function')\n"
            "function()\n"
            "def default(value=ask('default')): pass\n"
            "default()\n"
            "(lambda: ask('lambda'))()\n"
            "def outer():\n"
            "    tag = 'closure'\n"
            "    def inner(): return ask(tag)\n"
            "    return inner\n"
            "outer()()\n"
            "class Thing:\n"
            "    def method(self): return ask('method')\n"
            "    @classmethod\n"
            "    def make(cls): return ask('class')\n"
            "    @staticmethod\n"
            "    def plain(): return ask('static')\n"
            "    @property\n"
            "    def value(self): return ask('property')\n"
            "    def __call__(self): return ask('call')\n"
            "class Other(Thing):\n"
            "    def __init__(self): ask('init')\n"
            "thing = Thing()\n"
            "thing.method(); Thing.make(); Thing.plain(); thing.value; Other()()\n"
            "def nested(): return eval(\"ask('nested')\")\n"
            "nested()\n"
            "@functools.lru_cache\n"
            "def decorated(): return ask('decorated')\n"
            "decorated(); decorated()\n"
            "assert [ask(i) for i in range(3)] == [0, 1, 2]\n"
            "functools.partial(ask, 'partial')()\n"
            "class Body:\n"
            "    value = ask('class body')\n"
        >>)
    ).

operators_and_protocols_can_call(Config) ->
    ?assertEqual(
        [
            <<"enter">>, <<"exit">>, <<"eq">>, <<"hash">>, <<"getattr">>, <<"getitem">>, <<"add">>, <<"str">>,
            2, 1, 3, <<"reduce">>, <<"meta">>, <<"set_name">>, <<"handler">>, <<"finally">>, <<"replaced">>
        ],
        asked(Config, <<
            "import functools, re\n"
            "class Thing:\n"
            "    def __enter__(self): ask('enter')\n"
            "    def __exit__(self, *what): ask('exit')\n"
            "    def __eq__(self, other): return ask('eq') == 'eq'\n"
            "    def __hash__(self): return len(ask('hash'))\n"
            "    def __getattr__(self, name): return ask('getattr')\n"
            "    def __getitem__(self, key): return ask('getitem')\n"
            "    def __add__(self, other): return ask('add')\n"
            "    def __str__(self): return ask('str')\n"
            "thing = Thing()\n"
            "with thing: pass\n"
            "assert thing == 1\n"
            "table = {thing: 1}\n"
            "thing.missing; thing[1]; thing + 1; f'{thing}'\n"
            "assert sorted([2, 1, 3], key=lambda x: -ask(x)) == [3, 2, 1]\n"
            "functools.reduce(lambda a, b: ask('reduce'), [1, 2])\n"
            "class Meta(type):\n"
            "    def __call__(cls): return ask('meta')\n"
            "class Made(metaclass=Meta): pass\n"
            "Made()\n"
            "class Named:\n"
            "    def __set_name__(self, owner, name): ask('set_name')\n"
            "class Owner: field = Named()\n"
            "try:\n"
            "    1 / 0\n"
            "except ZeroDivisionError:\n"
            "    ask('handler')\n"
            "finally:\n"
            "    ask('finally')\n"
            "assert re.sub('a', lambda m: ask('replaced'), 'a') == 'replaced'\n"
        >>)
    ).

generators_can_call(Config) ->
    ?assertEqual(
        [1, 2, <<"after">>, 10, 11, <<"sent">>, <<"thrown">>, <<"closed">>, <<"dropped">>, <<"coroutine">>],
        asked(Config, <<
            "def numbers():\n"
            "    yield ask(1)\n"
            "    yield ask(2)\n"
            "    ask('after')\n"
            "assert list(numbers()) == [1, 2]\n"
            "def outer():\n"
            "    yield from (ask(n) for n in (10, 11))\n"
            "assert sum(outer()) == 21\n"
            "def consumer():\n"
            "    while True:\n"
            "        try: ask((yield))\n"
            "        except KeyError: ask('thrown')\n"
            "        except GeneratorExit:\n"
            "            ask('closed')\n"
            "            return\n"
            "c = consumer(); next(c); c.send('sent'); c.throw(KeyError()); c.close()\n"
            "def dropped():\n"
            "    try: yield 1\n"
            "    finally: ask('dropped')\n"
            "d = dropped(); next(d); del d\n"
            "async def coroutine(): return ask('coroutine')\n"
            "try: coroutine().send(None)\n"
            "except StopIteration as stop: assert stop.value == 'coroutine'\n"
        >>)
    ).

finalisers_can_call(Config) ->
    ?assertEqual(
        [<<"del">>, <<"cycle">>, <<"finalize">>, <<"weakref">>],
        asked(Config, <<
            "import gc, weakref\n"
            "class Mourned:\n"
            "    def __init__(self, tag): self.tag = tag\n"
            "    def __del__(self): ask(self.tag)\n"
            "thing = Mourned('del')\n"
            "del thing\n"
            "thing = Mourned('cycle')\n"
            "thing.self = thing\n"
            "del thing\n"
            "gc.collect()\n"
            "class Plain: pass\n"
            "thing = Plain()\n"
            "weakref.finalize(thing, ask, 'finalize')\n"
            "del thing\n"
            "thing = Plain()\n"
            "reference = weakref.ref(thing, lambda _: ask('weakref'))\n"
            "del thing\n"
        >>)
    ).

hooks_can_call(Config) ->
    Asked = asked(Config, <<
        "import gc, sys, warnings\n"
        "def collected(phase, info): ask('gc ' + phase)\n"
        "gc.callbacks.append(collected)\n"
        "try: gc.collect()\n"
        "finally: gc.callbacks.remove(collected)\n"
        "def tracer(frame, event, argument):\n"
        "    sys.settrace(None)\n"
        "    ask('trace ' + event)\n"
        "def traced(): pass\n"
        "sys.settrace(tracer)\n"
        "traced()\n"
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None): ask('find ' + name)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "try:\n"
        "    import no_such_module_at_all\n"
        "except ModuleNotFoundError: pass\n"
        "finally: sys.meta_path.remove(Finder)\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('always')\n"
        "    warnings.showwarning = lambda message, *rest: ask('warning ' + str(message))\n"
        "    warnings.warn('careful')\n"
    >>),
    ?assertEqual(
        [
            <<"gc start">>, <<"gc stop">>, <<"trace call">>, <<"find no_such_module_at_all">>, <<"warning careful">>
        ],
        Asked
    ).

conversion_of_a_result_can_call(Config) ->
    Context = ?config(ctx, Config),
    Self = self(),
    offering([{ask, fun([Tag]) -> {self() =:= Self, Tag} end}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "class Asks:\n"
            "    def __erlang_term__(self): return erlang.call('ask', 'converted')\n"
        >>),
        ?assertEqual({ok, [{true, <<"converted">>}]}, py:eval(Context, <<"[Asks()]">>)),
        ?assertEqual({ok, {false, <<"converted">>}}, py:await(py:spawn_call(Context, '__main__', 'Asks', []))),
        %% So can that of an argument.
        ?assertEqual({ok, {true, {true, <<"converted">>}}}, py:eval(Context, <<"erlang.call('ask', Asks())">>))
    end).

text_of_an_exception_can_call(Config) ->
    Context = ?config(ctx, Config),
    offering([{ask, fun([Tag]) -> Tag end}], fun() ->
        ok = py:exec(Context, <<
            "import erlang\n"
            "class Asks(Exception):\n"
            "    def __str__(self): return erlang.call('ask', 'told')\n"
            "def fail(): raise Asks()\n"
        >>),
        ?assertEqual({error, {'Asks', "told"}}, py:call(Context, '__main__', fail, [])),
        ?assertEqual({error, {'Asks', "told"}}, py:await(py:spawn_call(Context, '__main__', fail, [])))
    end).

module_can_call_while_it_is_imported(Config) ->
    Context = ?config(ctx, Config),
    Folder = filename:join(?config(priv_dir, Config), "imports"),
    ok = filelib:ensure_dir(filename:join(Folder, "any")),
    ok = file:write_file(filename:join(Folder, "ct_imported.py"), <<
        "import erlang\nvalue = erlang.call('ask', 'import')\nbefore = 1\nerlang.call('back')\nend = 2\n"
    >>),
    Back = fun([]) ->
        %% What is imported is there, half made as in any circle of imports.
        {ok, 1} = py:eval(Context, <<"__import__('ct_imported').before">>),
        {error, {'AttributeError', _}} = py:eval(Context, <<"__import__('ct_imported').end">>),
        {ok, _} = py:eval(Context, <<"__import__('colorsys').ONE_THIRD">>),
        none
    end,
    offering([{ask, fun([Tag]) -> Tag end}, {back, Back}], fun() ->
        Code = <<"__import__('sys').path.insert(0, folder)">>,
        {ok, _} = py:eval(Context, Code, #{folder => unicode:characters_to_binary(Folder)}),
        ok = py:exec(Context, <<"import sys\nsys.dont_write_bytecode = True\nimport ct_imported">>),
        ?assertEqual({ok, {<<"import">>, 2}}, py:eval(Context, <<"(ct_imported.value, ct_imported.end)">>)),
        ok = py:exec(Context, <<
            "del sys.modules['ct_imported'], sys.path[0]\nsys.dont_write_bytecode = False\n"
        >>)
    end).

exit_handler_gets_a_clear_error(Config) ->
    %% Contexts of mode worker share the main interpreter, which lives on.
    Context = py_suite:new_context(Config),
    ok = py_callbacks:install(Context),
    Test = self(),
    Port = py_suite:port(?config(socket, Config)),
    offering([{never, fun(Args) -> Test ! {called, Args} end}], fun() ->
        ok = py:exec(Context, <<
            "import atexit, erlang, ct_signals\n"
            "def say_goodbye(port, call, signal):\n"
            "    try:\n"
            "        call('never')\n"
            "    except RuntimeError as error:\n"
            "        signal(port, type(error).__name__ + ': ' + str(error))\n"
        >>),
        case py_suite:mode(Config) of
            owngil ->
                Register = <<"atexit.register(say_goodbye, port, erlang.call, ct_signals.signal)">>,
                {ok, _} = py:eval(Context, Register, #{port => Port}),
                ok = py_context:stop(Context),
                Text = receive {udp, _, _, _, Told} -> unicode:characters_to_list(Told) end,
                py_suite:contains(Text, "Error: "),
                py_suite:contains(Text, "context");
            worker ->
                ok = py_context:stop(Context)
        end
    end),
    ?assertEqual([], collect(called)).

finaliser_of_a_dead_process_s_object_can_call(Config) ->
    Context = ?config(ctx, Config),
    Port = py_suite:port(?config(socket, Config)),
    ok = py_callbacks:module(Context, "ct_mourned", <<
        "import erlang, ct_signals\n"
        "class Mourned:\n"
        "    def __init__(self, port): self.port = port\n"
        "    def __del__(self, ask=erlang.call, signal=ct_signals.signal):\n"
        "        signal(self.port, ask('ask'))\n"
    >>),
    offering([{ask, fun([]) -> asked end}], fun() ->
        py_suite:fresh(fun() ->
            Code = <<"globals().update(thing=__import__('ct_mourned').Mourned(port))">>,
            {ok, none} = py:eval(Context, Code, #{port => Port})
        end),
        %% Nobody waits for it, so a process of its own runs the function.
        signal(Config, <<"asked">>),
        {ok, 4.0} = py:call(Context, math, sqrt, [16])
    end).
