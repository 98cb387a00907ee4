%% The Python package `erlang': what it costs to import, and what its own values are.
-module(python_package_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0]).
-export([init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([in_new_node/1]).
-export([
    import_brings_nothing_heavy/1,
    star_import_has_all_names/1,
    names_of_the_package_come_before_registered_ones/1,
    functions_by_name_are_values/1,
    function_by_name_can_be_pickled/1,
    continuations_check_their_arguments/1,
    time_slices_are_percentages/1,
    any_loop_has_one_descriptor_from_its_first_call_on/1,
    calls_one_after_another_share_a_descriptor/1,
    refused_call_leaves_the_loop_as_it_was/1
]).

suite() ->
    [{timetrap, {minutes, 1}}].

all() ->
    [{group, owngil}, {group, worker}].

%% In the main interpreter anybody may have imported anything.
groups() ->
    py_suite:groups(
        [
            star_import_has_all_names,
            names_of_the_package_come_before_registered_ones,
            functions_by_name_are_values,
            function_by_name_can_be_pickled,
            continuations_check_their_arguments,
            time_slices_are_percentages,
            any_loop_has_one_descriptor_from_its_first_call_on,
            calls_one_after_another_share_a_descriptor,
            refused_call_leaves_the_loop_as_it_was
        ],
        [import_brings_nothing_heavy]
    ).

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    ok = py:register_function(identity, fun([Value]) -> Value end),
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, <<"import erlang">>),
    [{ctx, Context} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:stop(ctx(Config)),
    ok = py:unregister_function(identity).

ctx(Config) ->
    proplists:get_value(ctx, Config).

eval(Code, Config) ->
    {ok, Value} = py:eval(ctx(Config), Code),
    Value.

%% What the Python functions below assert is an AssertionError otherwise.
run(Code, Config) ->
    ?assertEqual(ok, py:exec(ctx(Config), Code)).

%% ------------------------------------------------------------------------------------------------

%% Every context imports the package at its start. A recycled interpreter may have more in it.
import_brings_nothing_heavy(Config) ->
    py_suite:in_peer(?MODULE, in_new_node, Config).

in_new_node(_Mode) ->
    ok = py_suite:start(#{}),
    Heavy = [<<"asyncio">>, <<"logging">>, <<"typing">>, <<"erlang._async">>, <<"erlang._functions">>],
    Code = <<"[name for name in heavy if name in __import__('sys').modules or not __import__('erlang')]">>,
    {ok, []} = py:eval(Code, #{heavy => Heavy}),
    py_suite:stop().

star_import_has_all_names(Config) ->
    run(
        <<
            "from erlang import *\n"
            "assert all(name in globals() for name in erlang.__all__)\n"
            "assert all(callable(getattr(erlang, name)) for name in erlang.__all__)\n"
        >>,
        Config
    ).

names_of_the_package_come_before_registered_ones(Config) ->
    ok = py:register_function(call, fun([]) -> <<"registered">> end),
    ?assertEqual(<<"registered">>, eval(<<"erlang.call('call')">>, Config)),
    ?assertEqual(<<"builtin_function_or_method">>, eval(<<"type(erlang.call).__name__">>, Config)),
    ok = py:unregister_function(call).

functions_by_name_are_values(Config) ->
    ok = py:register_function(other, fun([Value]) -> Value end),
    run(
        <<
            "assert erlang.identity == erlang.identity and hash(erlang.identity) == hash(erlang.identity)\n"
            "assert erlang.identity != erlang.other and erlang.identity != 'identity'\n"
            "assert repr(erlang.identity) == '<Erlang function identity>'\n"
            "assert erlang.identity.__name__ == 'identity'\n"
            "assert list(map(erlang.identity, [1, 2])) == [1, 2]\n"
        >>,
        Config
    ),
    ok = py:unregister_function(other).

function_by_name_can_be_pickled(Config) ->
    run(
        <<
            "import pickle\n"
            "assert pickle.loads(pickle.dumps(erlang.identity))(5) == 5\n"
        >>,
        Config
    ).

continuations_check_their_arguments(Config) ->
    run(
        <<
            "def refused(kind, *args):\n"
            "    try:\n"
            "        kind(*args)\n"
            "    except TypeError:\n"
            "        return True\n"
            "assert refused(erlang.schedule, 1) and refused(erlang.schedule, b'identity')\n"
            "for kind in (erlang.schedule_py, erlang.schedule_inline):\n"
            "    assert refused(kind, 1, 'f') and refused(kind, 'm', None)\n"
            "    assert refused(kind, 'm', 'f', 'abc') and refused(kind, 'm', 'f', 5)\n"
            "    assert refused(kind, 'm', 'f', [], 5)\n"
        >>,
        Config
    ).

time_slices_are_percentages(Config) ->
    run(
        <<
            "for bad in (0, 101, -1):\n"
            "    try:\n"
            "        erlang.consume_time_slice(bad)\n"
            "        assert False\n"
            "    except ValueError:\n"
            "        pass\n"
            "try:\n"
            "    erlang.consume_time_slice('1')\n"
            "    assert False\n"
            "except TypeError:\n"
            "    pass\n"
        >>,
        Config
    ),
    %% Either is right: only code that has just begun knows how much of its turn is left.
    ?assert(is_boolean(eval(<<"erlang.consume_time_slice(1)">>, Config))).

any_loop_has_one_descriptor_from_its_first_call_on(Config) ->
    Self = self(),
    ok = py:register_function(gate, fun([]) ->
        Self ! {reached, self()},
        receive
            go_on -> ok
        end
    end),
    run(watching(), Config),
    Ref = py:spawn_call(ctx(Config), '__main__', outstanding, []),
    Gates = [receive {reached, Gate} -> Gate end || _ <- [1, 2]],
    [Gate ! go_on || Gate <- Gates],
    ?assertEqual({ok, [0, 1, 1]}, py:await(Ref)),
    ok = py:unregister_function(gate).

calls_one_after_another_share_a_descriptor(Config) ->
    run(watching(), Config),
    ?assertEqual({ok, [1, 1]}, py:call(ctx(Config), '__main__', one_after_another, [])).

refused_call_leaves_the_loop_as_it_was(Config) ->
    run(watching(), Config),
    ?assertEqual({ok, 0}, py:call(ctx(Config), '__main__', refused, [])).

%% Counts what is opened, and what the loop watches beside what it did before. The loop is one that asyncio was not
%% asked for: those that it makes have their descriptor from the beginning.
watching() ->
    <<
        "import asyncio, _erlang\n"
        "def run(main):\n"
        "    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:\n"
        "        return runner.run(main())\n"
        "class Watch:\n"
        "    def __init__(self):\n"
        "        self.loop = asyncio.get_running_loop()\n"
        "        self.before = self.all()\n"
        "    def all(self):\n"
        "        return len(self.loop._selector.get_map())\n"
        "    def more(self):\n"
        "        return self.all() - self.before\n"
        "def outstanding():\n"
        "    async def main():\n"
        "        watch = Watch()\n"
        "        first = watch.more()\n"
        "        calls = [asyncio.create_task(erlang.async_call('gate')) for _ in range(2)]\n"
        "        await asyncio.sleep(0)\n"
        "        between = watch.more()\n"
        "        await asyncio.gather(*calls)\n"
        "        return [first, between, watch.more()]\n"
        "    return run(main)\n"
        "def one_after_another():\n"
        "    async def main():\n"
        "        watch = Watch()\n"
        "        seen = set()\n"
        "        add = watch.loop.add_reader\n"
        "        opened = []\n"
        "        watch.loop.add_reader = lambda fd, *rest: (opened.append(fd), add(fd, *rest))\n"
        "        for i in range(5):\n"
        "            assert await erlang.async_call('identity', i) == i\n"
        "        del watch.loop.add_reader\n"
        "        return [len(opened), watch.more()]\n"
        "    return run(main)\n"
        "def refused():\n"
        "    async def main():\n"
        "        watch = Watch()\n"
        "        for bad in (lambda: erlang.async_call(1), lambda: erlang.async_call('identity', x=1)):\n"
        "            try:\n"
        "                await bad()\n"
        "                assert False\n"
        "            except TypeError:\n"
        "                pass\n"
        "        return watch.more()\n"
        "    return run(main)\n"
    >>.
