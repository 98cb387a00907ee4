%% What Python code logs: as which events of Erlang's logger it comes, and what is not even made.
-module(logging_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    py_suite:groups([
        %% Without being asked.
        warnings_and_errors_go_to_the_logger,
        records_come_once_whatever_is_set_up,
        basic_configuration_is_with_the_logger,
        handlers_of_pythons_come_first,
        warnings_are_logged,
        warnings_go_where_they_are_sent,
        exceptions_that_nobody_handles_are_logged,
        telling_of_an_exception_has_an_end,
        what_asyncio_reports_is_logged,
        contexts_start_without_logging,
        %% Records.
        records_say_where_they_come_from,
        exceptions_come_with_their_traceback,
        metadata_of_the_process_goes_along,
        threads_log_for_the_context,
        remote_callers_are_named,
        extra_values_go_along,
        any_text_can_be_logged,
        format_is_pythons,
        levels_are_erlangs,
        %% Levels.
        levels_of_erlang_are_asked_before_a_record_is_made,
        levels_of_modules_are_those_of_loggers,
        level_of_python_counts_as_well,
        other_handlers_get_what_erlang_refuses,
        level_that_rises_stops_records_at_once,
        %% Setting up.
        every_context_is_set_up_now_and_later,
        later_setup_replaces_the_one_before,
        python_sets_up_one_interpreter,
        wrong_format_is_told_and_not_used,
        wrong_options_are_refused,
        nothing_is_set_up_after_a_restart,
        next_context_begins_anew,
        what_ends_with_an_interpreter_is_told,
        %% What may end.
        answer_comes_after_the_record,
        slow_handler_holds_up_nobody_else,
        broken_record_harms_nobody,
        killed_server_comes_back,
        many_callers_log_at_once
    ]).

init_per_suite(Config) ->
    ok = py_suite:with_connected_node(fun(_Node) -> ok end),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    py_suite:init_group(Mode, Config).

end_per_group(_Mode, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    #{level := Level} = logger:get_primary_config(),
    Context = py_suite:new_context(Config),
    %% Whatever others have left in the interpreter.
    ok = py:exec(Context, <<
        "import logging\n"
        "logging.disable(logging.NOTSET)\n"
        "for handler in list(logging.root.handlers): logging.root.removeHandler(handler)\n"
        "logging.root.setLevel(logging.WARNING)\n"
    >>),
    [{ctx, Context}, {level, Level}, {log, py_suite:capture_log()} | Config].

end_per_testcase(_Case, Config) ->
    py_suite:release_log(?config(log, Config)),
    ok = logger:set_primary_config(level, ?config(level, Config)),
    ok = logger:unset_module_level(),
    ok = py_context:stop(?config(ctx, Config)),
    ok = py_suite:restart(Config, #{}).

%% ------------------------------------------------------------------------------------------------

%% The next event of Python's: level, text and metadata.
event() ->
    receive
        {log, #{level := Level, msg := {string, Text}, meta := #{py_context := _} = Meta}} ->
            {Level, Text, Meta}
    after 30_000 -> ct:fail({nothing_logged, py_suite:flush()})
    end.

texts(Count) ->
    [{Level, Text} || {Level, Text, _} <- [event() || _ <- lists:seq(1, Count)]].

%% Nothing more has come: what code logs is logged before its call is answered.
silent() ->
    ?assertEqual([], [Event || {log, #{meta := #{py_context := _}}} = Event <- py_suite:flush()]).

set_level(Level) ->
    ok = logger:set_primary_config(level, Level).

%% The levels that the native side knows are those of the moment.
levels_known() ->
    py_logging ! py_levels,
    _ = sys:get_state(py_logging),
    ok.

logs(Context, Call) ->
    py:exec(Context, ["import logging\nlog = logging.getLogger('a.b')\nlog.", Call]).

%% ------------------------------------------------------------------------------------------------
%% Without being asked

warnings_and_errors_go_to_the_logger(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = logs(Context, "info('no')"),
    ok = logs(Context, "warning('careful: %s', 'x')"),
    ok = logs(Context, "error('wrong')"),
    ?assertEqual([{warning, <<"careful: x">>}, {error, <<"wrong">>}], texts(2)),
    silent().

records_come_once_whatever_is_set_up(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = py:exec(Context, "import erlang, logging\nlogging.basicConfig(force=True)"),
    ok = py:configure_logging(#{level => info}),
    ok = py:exec(Context, "logging.info('once')"),
    ok = py:exec(Context, "logging.basicConfig(force=True)\nerlang.setup_logging('INFO')\nlogging.info('again')"),
    ?assertEqual([{info, <<"once">>}, {info, <<"again">>}], texts(2)),
    silent().

basic_configuration_is_with_the_logger(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    set_level(all),
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, <<
            "import io, logging\n"
            "logging.warning('by itself')\n"
            "logging.basicConfig(level=logging.DEBUG, force=True)\n"
            "logging.debug('simple')\n"
            "logging.basicConfig(format='%(levelname)s %(message)s', force=True)\n"
            "logging.debug('formatted')\n"
            "stream = io.StringIO()\n"
            "logging.basicConfig(stream=stream, force=True)\n"
            "logging.debug('elsewhere')\n"
        >>),
        {ok, <<"DEBUG:root:elsewhere\n">>} = py:eval(Context, "stream.getvalue()")
    end),
    ?assertEqual([{warning, <<"by itself">>}, {debug, <<"simple">>}, {debug, <<"DEBUG formatted">>}], texts(3)),
    silent(),
    py_leaders:nothing(Leader).

handlers_of_pythons_come_first(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:under(Leader, fun() ->
        ok = py:exec(Context, <<
            "import logging, sys\n"
            "handler = logging.StreamHandler(sys.stderr)\n"
            "logging.root.addHandler(handler)\n"
            "logging.warning('to stderr')\n"
            "logging.root.removeHandler(handler)\n"
        >>)
    end),
    ok = py_leaders:printed(Leader, <<"to stderr\n">>),
    silent().

warnings_are_logged(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import warnings\n"
        "with warnings.catch_warnings():\n"
        "    warnings.simplefilter('always')\n"
        "    warnings.warn('old', UserWarning)\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    warnings.warn('caught')\n"
    >>),
    ?assertMatch({warning, <<"UserWarning: old">>, #{logger_name := <<"py.warnings">>, line := 4}}, event()),
    ?assertEqual({ok, 1}, py:eval(Context, "len(caught)")),
    silent(),
    set_level(error),
    ok = levels_known(),
    ok = py:exec(Context, "with warnings.catch_warnings():\n    warnings.simplefilter('always')\n    warnings.warn('quiet')"),
    silent().

warnings_go_where_they_are_sent(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import contextlib, io, warnings\n"
        "with contextlib.redirect_stderr(io.StringIO()) as kept, warnings.catch_warnings():\n"
        "    warnings.simplefilter('always')\n"
        "    warnings.warn('there')\n"
    >>),
    {ok, Text} = py:eval(Context, "kept.getvalue()"),
    py_suite:contains(Text, "UserWarning: there"),
    silent().

exceptions_that_nobody_handles_are_logged(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import sys, threading\n"
        "def fail(): raise ValueError('in a thread')\n"
        "thread = threading.Thread(target=fail, name='unlucky')\n"
        "thread.start()\n"
        "thread.join()\n"
    >>),
    {error, Text, #{logger_name := <<"threading.excepthook">>, thread := <<"unlucky">>} = Meta} = event(),
    py_suite:contains(Text, "Exception in thread unlucky\nTraceback (most recent call last):\n"),
    py_suite:contains(Text, "ValueError: in a thread"),
    ?assertMatch(#{exception := #{type := <<"ValueError">>, message := <<"in a thread">>}}, Meta),
    ok = py:exec(Context, "class Odd:\n    def __del__(self): 1/0\nOdd()\n"),
    {error, Unraisable, #{logger_name := <<"sys.unraisablehook">>}} = event(),
    py_suite:contains(Unraisable, "ZeroDivisionError"),
    ok = py:exec(Context, "try: 1/0\nexcept ZeroDivisionError: sys.excepthook(*sys.exc_info())"),
    ?assertMatch({error, <<"Uncaught exception\n", _/binary>>, #{logger_name := <<"sys.excepthook">>}}, event()),
    %% No failures.
    ok = py:exec(Context, "thread = threading.Thread(target=sys.exit)\nthread.start()\nthread.join()"),
    silent().

telling_of_an_exception_has_an_end(Config) ->
    Context = ?config(ctx, Config),
    %% Whoever asks for its text comes to two more of its kind.
    ok = py:exec(Context, <<
        "import weakref\n"
        "class Thing: pass\n"
        "class Odd(Exception):\n"
        "    def __str__(self):\n"
        "        fail()\n"
        "        fail()\n"
        "        return 'an odd one'\n"
        "def raises(_ref): raise Odd\n"
        "def fail():\n"
        "    thing = Thing()\n"
        "    ref = weakref.ref(thing, raises)\n"
        "    del thing\n"
        "fail()\n"
    >>),
    Told = fun() ->
        {error, First, #{logger_name := <<"sys.unraisablehook">>}} = event(),
        py_suite:contains(First, "an odd one"),
        {error, <<"Exceptions ignored while that was told: ", More/binary>>, #{}} = event(),
        ?assertEqual(0, binary_to_integer(More) rem 2),
        ?assert(binary_to_integer(More) > 0)
    end,
    Told(),
    %% And the next one is told of as the first was.
    ok = py:exec(Context, "fail()"),
    Told(),
    silent().

what_asyncio_reports_is_logged(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import asyncio, erlang\n"
        "async def main():\n"
        "    asyncio.get_running_loop().call_soon(lambda: 1/0)\n"
        "    await asyncio.sleep(0)\n"
        "    await asyncio.sleep(0)\n"
        "erlang.run(main())\n"
    >>),
    {error, Text, #{logger_name := <<"asyncio">>, exception := #{type := <<"ZeroDivisionError">>}}} = event(),
    py_suite:contains(Text, "Exception in callback").

contexts_start_without_logging(Config) ->
    case py_suite:mode(Config) of
        worker ->
            %% One interpreter for all.
            ok;
        owngil ->
            Peer = py_suite:in_peer(?MODULE, has_no_logging, Config),
            Peer
    end.

has_no_logging(Mode) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, Context} = py_context:new(#{mode => Mode}),
    {ok, [false, false]} = py:eval(Context, "['logging' in __import__('sys').modules, 'traceback' in __import__('sys').modules]"),
    ok.

%% ------------------------------------------------------------------------------------------------
%% Records

records_say_where_they_come_from(Config) ->
    Context = ?config(ctx, Config),
    Before = erlang:system_time(microsecond),
    ok = py:exec(Context, <<"import logging\ndef work():\n    logging.getLogger('a.b').error('here')\nwork()\n">>),
    {error, <<"here">>, Meta} = event(),
    ?assertMatch(#{logger_name := <<"a.b">>, function := <<"work">>, line := 3, pid := _, py_context := Context}, Meta),
    #{file := File, time := Time} = Meta,
    ?assert(io_lib:char_list(File)),
    %% Python's clock has been read, in another way.
    ?assert(abs(Time - Before) < 60_000_000),
    Known = maps:get(pid, Meta),
    ?assertEqual(self(), Known),
    ?assertNot(is_map_key(domain, Meta)),
    %% As OTP's formatter has it.
    Line = logger_formatter:format(
        #{level => error, msg => {string, <<"here">>}, meta => Meta},
        #{template => [level, " ", logger_name, " ", function, ":", line, " ", msg], single_line => true}
    ),
    ?assertEqual(<<"error <<\"a.b\">> <<\"work\">>:3 here">>, unicode:characters_to_binary(Line)).

exceptions_come_with_their_traceback(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import logging\n"
        "def inner(): raise KeyError('k')\n"
        "try: inner()\n"
        "except KeyError: logging.getLogger('x').exception('failed')\n"
        "logging.getLogger('x').error('no exception', exc_info=True)\n"
        "logging.getLogger('x').error('stack', stack_info=True)\n"
    >>),
    {error, Text, #{exception := Exception}} = event(),
    py_suite:contains(Text, "failed\nTraceback (most recent call last):\n"),
    py_suite:contains(Text, "KeyError: 'k'"),
    ?assertMatch(#{type := <<"KeyError">>, module := <<"builtins">>, message := <<"'k'">>}, Exception),
    #{traceback := Frames, traceback_text := Whole} = Exception,
    ?assertMatch({_, 2, <<"inner">>, _}, lists:last(Frames)),
    py_suite:contains(Whole, "KeyError"),
    {error, <<"no exception">>, None} = event(),
    ?assertNot(is_map_key(exception, None)),
    {error, Stack, _} = event(),
    py_suite:contains(Stack, "stack\nStack (most recent call last):").

metadata_of_the_process_goes_along(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    {Pid, _} = Caller = py_leaders:caller(Leader, fun() ->
        ok = logger:set_process_metadata(#{request_id => <<"r1">>, domain => [mine], line => 1}),
        ok = logs(Context, "error('first')"),
        ok = logger:update_process_metadata(#{request_id => <<"r2">>}),
        ok = logs(Context, "error('second')"),
        {ok, none} = py_context:submit_await(Context, '__main__', 'log.error', [<<"task">>])
    end),
    {result, {ok, none}} = py_suite:await_down(Caller, 30_000),
    ?assertMatch({_, <<"first">>, #{request_id := <<"r1">>, pid := Pid, gl := Leader, domain := [mine], line := 3}}, event()),
    ?assertMatch({_, <<"second">>, #{request_id := <<"r2">>, pid := Pid}}, event()),
    ?assertMatch({_, <<"task">>, #{request_id := <<"r2">>, pid := Pid}}, event()).

threads_log_for_the_context(Config) ->
    Context = ?config(ctx, Config),
    ok = logger:set_process_metadata(#{request_id => 1}),
    ok = py:exec(Context, <<
        "import logging, threading\n"
        "thread = threading.Thread(target=logging.error, args=['from a thread'], name='t')\n"
        "thread.start()\n"
        "thread.join()\n"
    >>),
    {error, <<"from a thread">>, #{pid := Pid, thread := <<"t">>} = Meta} = event(),
    ok = logger:unset_process_metadata(),
    ?assertNot(is_map_key(request_id, Meta)),
    ?assertEqual({py_context_process, init, 1}, proc_lib:translate_initial_call(Pid)),
    _ = Context.

remote_callers_are_named(Config) ->
    Context = ?config(ctx, Config),
    py_suite:with_connected_node(fun(Node) ->
        {ok, _} = erpc:call(Node, application, ensure_all_started, [erlang_python]),
        Self = self(),
        Pid = spawn(Node, fun() -> Self ! {done, self(), logs(Context, "error('from afar')")} end),
        receive
            {done, Pid, Result} -> ?assertEqual(ok, Result)
        end,
        ?assertMatch({error, <<"from afar">>, #{pid := Pid}}, event())
    end).

extra_values_go_along(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, <<
        "import erlang, logging\n"
        "class Odd:\n"
        "    def __str__(self): return 'odd'\n"
        "logging.error('x', extra={'user': 17, 'where': {'a': [1, 2.5, None]}, 'odd': Odd(), 'kind': erlang.atom('error')})\n"
        "logging.error('y')\n"
    >>),
    {error, <<"x">>, #{extra := Extra}} = event(),
    ?assertEqual(
        #{<<"user">> => 17, <<"where">> => #{<<"a">> => [1, 2.5, none]}, <<"odd">> => <<"odd">>, <<"kind">> => error}, Extra
    ),
    {error, <<"y">>, Meta} = event(),
    ?assertNot(is_map_key(extra, Meta)).

any_text_can_be_logged(Config) ->
    Context = ?config(ctx, Config),
    ok = logs(Context, "error('caf\\u00e9 \\u20ac')"),
    ok = logs(Context, "error('half \\ud800', extra={'\\ud801': '\\ud802'})"),
    ok = logs(Context, "error('x' * 1_000_000)"),
    ok = logs(Context, "error({'not': 'a text'})"),
    ok = logs(Context, "error('')"),
    ?assertMatch({_, <<"café €"/utf8>>, _}, event()),
    ?assertMatch({_, <<"half \\ud800">>, #{extra := #{<<"\\ud801">> := <<"\\ud802">>}}}, event()),
    {_, Long, _} = event(),
    ?assertEqual(1_000_000, byte_size(Long)),
    ?assertMatch({_, <<"{'not': 'a text'}">>, _}, event()),
    ?assertMatch({_, <<>>, _}, event()).

format_is_pythons(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "import erlang\nerlang.setup_logging('warning', '[%(name)s] %(levelname)s %(message)s')"),
    ok = logs(Context, "warning('w')"),
    ok = py:exec(Context, "try: 1/0\nexcept ZeroDivisionError: log.exception('e')"),
    ?assertMatch({warning, <<"[a.b] WARNING w">>, _}, event()),
    {error, Text, _} = event(),
    %% The traceback comes once.
    ?assertMatch([_, _], binary:split(Text, <<"ZeroDivisionError: division">>, [global])),
    ?assertMatch({error, {'ValueError', _}}, py:exec(Context, "erlang.setup_logging('warning', '%(odd')")).

levels_are_erlangs(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = py:exec(Context, "import erlang\nerlang.setup_logging()"),
    Levels = [
        {1, debug}, {10, debug}, {19, debug}, {20, info}, {25, notice}, {30, warning}, {40, error}, {50, critical}, {60, alert},
        {70, emergency}, {1_000, emergency}
    ],
    lists:foreach(
        fun({Number, Level}) ->
            ok = logs(Context, ["log(", integer_to_list(Number), ", 'x')"]),
            ?assertMatch({Level, <<"x">>, _}, event())
        end,
        Levels
    ).

%% ------------------------------------------------------------------------------------------------
%% Levels

%% A text that counts how often it is made.
counted(Context) ->
    ok = py:exec(Context, <<
        "import erlang, logging\n"
        "erlang.setup_logging()\n"
        "made = []\n"
        "class Factory(logging.LogRecord):\n"
        "    def __init__(self, *args, **kwargs):\n"
        "        made.append(args[1])\n"
        "        super().__init__(*args, **kwargs)\n"
        "logging.setLogRecordFactory(Factory)\n"
    >>).

uncounted(Context) ->
    ok = py:exec(Context, "logging.setLogRecordFactory(logging.LogRecord)").

made(Context) ->
    {ok, Made} = py:eval(Context, "[made.copy(), made.clear()][0]"),
    Made.

levels_of_erlang_are_asked_before_a_record_is_made(Config) ->
    Context = ?config(ctx, Config),
    set_level(warning),
    ok = levels_known(),
    ok = counted(Context),
    ok = logs(Context, "debug('d')"),
    ok = logs(Context, "info('i')"),
    ok = logs(Context, "warning('w')"),
    ?assertEqual([30], made(Context)),
    ?assertEqual([{warning, <<"w">>}], texts(1)),
    ?assertEqual({ok, [false, true]}, py:eval(Context, "[log.isEnabledFor(20), log.isEnabledFor(30)]")),
    set_level(none),
    ok = levels_known(),
    ok = logs(Context, "critical('c')"),
    ?assertEqual([], made(Context)),
    set_level(all),
    %% Nobody tells Python, which finds out by itself.
    ok = py_leaks:eventually(fun() ->
        ok = logs(Context, "debug('d')"),
        made(Context) =/= []
    end),
    ok = uncounted(Context).

levels_of_modules_are_those_of_loggers(Config) ->
    Context = ?config(ctx, Config),
    set_level(error),
    ok = logger:set_module_level('a', debug),
    ok = logger:set_module_level('a.b.c', none),
    ok = levels_known(),
    ok = counted(Context),
    ok = py:exec(Context, "for name in ['a', 'a.b', 'a.b.c', 'a.b.c.d', 'ab', 'b']: logging.getLogger(name).info(name)"),
    ?assertEqual([20, 20], made(Context)),
    ?assertEqual([{info, <<"a">>}, {info, <<"a.b">>}], texts(2)),
    silent(),
    ok = uncounted(Context).

level_of_python_counts_as_well(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = py:configure_logging(#{level => warning}),
    ok = logs(Context, "info('i')"),
    ok = logs(Context, "warning('w')"),
    ?assertEqual([{warning, <<"w">>}], texts(1)),
    ok = py:exec(Context, "log.setLevel(logging.DEBUG)"),
    ok = logs(Context, "debug('d')"),
    ?assertEqual([{debug, <<"d">>}], texts(1)),
    ok = py:exec(Context, "log.setLevel(logging.NOTSET)"),
    silent().

other_handlers_get_what_erlang_refuses(Config) ->
    Context = ?config(ctx, Config),
    set_level(error),
    ok = levels_known(),
    ok = counted(Context),
    ok = py:exec(Context, <<
        "import io\n"
        "stream = io.StringIO()\n"
        "handler = logging.StreamHandler(stream)\n"
        "logging.getLogger('a').addHandler(handler)\n"
        "logging.getLogger('a').addHandler(logging.NullHandler())\n"
        "logging.getLogger('a.b').info('kept')\n"
        "logging.getLogger('c').info('lost')\n"
        "logging.getLogger('a').handlers.clear()\n"
    >>),
    ?assertEqual({ok, <<"kept\n">>}, py:eval(Context, "stream.getvalue()")),
    ?assertEqual([20], made(Context)),
    silent(),
    ok = uncounted(Context).

level_that_rises_stops_records_at_once(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = py:exec(Context, "import erlang\nerlang.setup_logging()"),
    ok = logs(Context, "info('1')"),
    set_level(error),
    ok = logs(Context, "info('2')"),
    ?assertEqual([{info, <<"1">>}], texts(1)),
    silent().

%% ------------------------------------------------------------------------------------------------
%% Setting up

every_context_is_set_up_now_and_later(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = logs(Context, "info('before')"),
    ok = py:configure_logging(),
    Later = py_suite:new_context(Config),
    ok = logs(Context, "info('now')"),
    ok = logs(Later, "info('later')"),
    {ok, none} = py:eval("__import__('logging').getLogger('a').debug('pool')"),
    ?assertEqual([{info, <<"now">>}, {info, <<"later">>}, {debug, <<"pool">>}], texts(3)),
    silent(),
    ok = py_context:stop(Later).

later_setup_replaces_the_one_before(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = py:configure_logging(#{level => info, format => "one %(message)s"}),
    ok = logs(Context, "info('x')"),
    ok = py:configure_logging(#{level => debug, format => <<"two %(message)s">>}),
    ok = logs(Context, "debug('x')"),
    ok = py:exec(Context, "import erlang\nerlang.setup_logging(logging.WARNING)"),
    ok = logs(Context, "info('x')"),
    ok = logs(Context, "warning('three')"),
    ?assertEqual([{info, <<"one x">>}, {debug, <<"two x">>}, {warning, <<"three">>}], texts(3)),
    silent().

python_sets_up_one_interpreter(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = py:exec(Context, "import erlang, logging\nerlang.setup_logging('INFO')"),
    ok = logs(Context, "info('here')"),
    ?assertEqual([{info, <<"here">>}], texts(1)),
    ok = py:exec(Context, "logging.root.handlers.clear()\nlogging.root.setLevel(0)"),
    ok = py:exec(Context, "logging.root.addHandler(erlang.ErlangHandler(logging.ERROR))"),
    ok = logs(Context, "info('no')"),
    ok = logs(Context, "error('by a handler')"),
    ?assertEqual([{error, <<"by a handler">>}], texts(1)),
    silent(),
    [
        ?assertMatch({error, {Class, _}}, py:exec(Context, ["erlang.setup_logging(", Wrong, ")"]))
     || {Class, Wrong} <- [{'ValueError', "'loud'"}, {'TypeError', "1.5"}, {'TypeError', "True"}]
    ].

wrong_format_is_told_and_not_used(Config) ->
    Context = ?config(ctx, Config),
    ok = py:configure_logging(#{level => warning, format => "%(message"}),
    ok = logs(Context, "warning('as it is')"),
    {warning, Told, #{logger_name := <<"erlang">>}} = event(),
    py_suite:contains(Told, "'%(message' is not used"),
    ?assertMatch({warning, <<"as it is">>, _}, event()).

wrong_options_are_refused(_Config) ->
    [
        ?assertEqual({error, {bad_option, Key, Value}}, py:configure_logging(#{Key => Value}))
     || {Key, Value} <- [{level, loud}, {level, 10}, {level, "info"}, {format, 1}, {format, <<255>>}, {format, [a]}, {odd, 1}]
    ],
    ?assertError(badarg, py:configure_logging([])),
    ok = py_suite:stop(),
    ?assertEqual({error, not_running}, py:configure_logging()).

nothing_is_set_up_after_a_restart(Config) ->
    set_level(all),
    ok = py:configure_logging(),
    Context = py_suite:new_context(Config),
    ok = logs(Context, "info('before')"),
    ?assertEqual([{info, <<"before">>}], texts(1)),
    ok = py_context:stop(Context),
    ok = py_suite:restart(Config, #{}),
    Next = py_suite:new_context(Config),
    ok = logs(Next, "info('after')"),
    silent(),
    ok = py_context:stop(Next).

%% Where interpreters are used again. What is not Erlang's was closed at the end of the first context.
next_context_begins_anew(Config) ->
    case ?config(mode, Config) of
        owngil -> begins_anew(Config);
        worker -> {comment, "contexts of mode worker share what they set up"}
    end.

begins_anew(Config) ->
    set_level(all),
    Folder = ?config(priv_dir, Config),
    File = unicode:characters_to_binary(filename:join(Folder, "kept.log")),
    ok = used_as(Config, <<
        "import atexit, erlang, logging.handlers\n"
        "erlang.setup_logging('DEBUG')\n"
        "logging.disable(logging.ERROR)\n"
        "logging.captureWarnings(True)\n"
        "log = logging.getLogger('a.b')\n"
        "log.setLevel('CRITICAL')\n"
        "log.propagate = False\n"
        "log.addFilter(lambda record: False)\n"
    >>),
    ok = used_as(Config, [
        "import logging, logging.handlers, warnings\n"
        "log = logging.getLogger('a.b')\n"
        "assert (log.level, log.propagate, log.filters, log.handlers) == (0, True, [], [])\n"
        "assert (logging.root.level, logging.root.handlers) == (logging.WARNING, [])\n"
        "log.info('not wanted')\n"
        "log.warning('wanted')\n"
        "warnings.warn('heard')\n"
        %% It writes when logging ends.
        "file = logging.FileHandler(r\"", File, "\")\n"
        "log.addHandler(logging.handlers.MemoryHandler(10, logging.CRITICAL, file))\n"
        "log.warning('kept')\n"
    ]),
    ?assertMatch([{warning, <<"wanted">>}, {warning, <<"UserWarning: heard">>}], texts(2)),
    silent(),
    ?assertEqual({ok, <<"kept\n">>}, file:read_file(File)).

%% When modules are gone already: from 3.14.1 on, where interpreters end.
what_ends_with_an_interpreter_is_told(Config) ->
    case {?config(mode, Config), py_leaks:recycles()} of
        {owngil, false} -> told_at_the_end(Config);
        _ -> {comment, "no interpreter ends"}
    end.

told_at_the_end(Config) ->
    Context = py_suite:new_context(Config),
    ok = py_callbacks:module(Context, "ct_kept", <<
        "import asyncio\n"
        "async def waits(): await asyncio.sleep(3600)\n"
        "async def fails(): raise ValueError('nobody asks')\n"
        "loop = asyncio.new_event_loop()\n"
        "tasks = [loop.create_task(waits()), loop.create_task(fails())]\n"
        "loop.run_until_complete(asyncio.sleep(0))\n"
    >>),
    ok = py_context:stop(Context),
    Told = lists:sort([{Text, maps:get(exception, Meta, none)} || {error, Text, Meta} <- [event(), event()]]),
    [{Destroyed, none}, {Failed, Exception}] = lists:reverse(Told),
    py_suite:contains(Destroyed, "Task was destroyed but it is pending!"),
    py_suite:contains(Failed, "Task exception was never retrieved"),
    ?assertMatch(#{type := <<"ValueError">>, message := <<"nobody asks">>}, Exception).

%% A context that runs some code and ends, in the one interpreter that waits to be used again if any does.
used_as(Config, Code) ->
    ok = py_suite:restart(Config, #{num_contexts => 1, spare_interpreters => 0}),
    Context = py_suite:new_context(Config),
    ok = py:exec(Context, Code),
    py_context:stop(Context).

%% ------------------------------------------------------------------------------------------------
%% What may end

answer_comes_after_the_record(Config) ->
    Context = ?config(ctx, Config),
    Count = fun() -> length([x || {log, #{msg := {string, <<"x">>}}} <- py_suite:flush()]) end,
    [
        begin
            ok = logs(Context, "error('x')"),
            ?assertEqual(1, Count())
        end
     || _ <- lists:seq(1, 20)
    ].

%% A handler that waits until it may go on.
log(#{msg := {string, <<"wait">>}}, #{config := Test}) ->
    Test ! {waits, self()},
    receive
        {Test, go_on} -> ok
    end;
log(_Event, _Handler) ->
    ok.

slow_handler_holds_up_nobody_else(Config) ->
    Context = ?config(ctx, Config),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => self(), level => all}),
    Caller = py_suite:spawn_caller(fun() -> logs(Context, "error('wait')") end),
    Waits =
        receive
            {waits, Pid} -> Pid
        end,
    Leader = py_leaders:start(),
    ?assertEqual({ok, none}, py_leaders:under(Leader, fun() -> py:eval(Context, "print('on')") end)),
    ok = py_leaders:printed(Leader, <<"on\n">>),
    ?assertEqual({ok, 1}, py:eval(Context, "1")),
    Waits ! {self(), go_on},
    ?assertEqual({result, ok}, py_suite:await_down(Caller, 30_000)),
    ok = logger:remove_handler(?MODULE).

broken_record_harms_nobody(Config) ->
    Context = ?config(ctx, Config),
    Leader = py_leaders:start(),
    py_leaders:under(Leader, fun() -> ok = logs(Context, "error('%d', 'no number')") end),
    %% Python's own words for it, where they belong.
    py_suite:contains(py_leaders:next(Leader), "--- Logging error ---"),
    ok = logs(Context, "error('good')"),
    ?assertEqual([{error, <<"good">>}], texts(1)),
    ?assertMatch({error, {'TypeError', _}}, py:exec(Context, "import _erlang\n_erlang.log(1)")),
    ?assertMatch({error, {'TypeError', _}}, py:exec(Context, "_erlang.log_allows('x', 1)")).

killed_server_comes_back(Config) ->
    Context = ?config(ctx, Config),
    set_level(all),
    ok = py:configure_logging(#{level => info}),
    Server = whereis(py_logging),
    exit(Server, kill),
    ok = py_leaks:eventually(fun() ->
        Now = whereis(py_logging),
        is_pid(Now) andalso Now =/= Server
    end),
    %% Nothing else has to end for that, and how logging is set up is remembered.
    ok = logs(Context, "info('x')"),
    ?assertEqual([{info, <<"x">>}], texts(1)),
    set_level(error),
    ok = levels_known(),
    ?assertEqual({ok, false}, py:eval(Context, "log.isEnabledFor(20)")).

many_callers_log_at_once(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, "import logging"),
    Results = py_suite:concurrently(50, fun(I) ->
        ok = logger:set_process_metadata(#{number => I}),
        [py:call(Context, logging, error, [integer_to_binary(I)]) || _ <- lists:seq(1, 10)]
    end),
    ?assertEqual([{ok, none}], lists:usort(lists:append(Results))),
    Events = [{binary_to_integer(Text), Number} || {error, Text, #{number := Number}} <- [event() || _ <- lists:seq(1, 500)]],
    ?assertEqual(500, length([x || {I, I} <- Events])).
