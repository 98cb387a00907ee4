-module(bench_output).

%% What printing and logging cost, beside the same from Erlang; and what they cost a call that does neither.

-export([rows/1]).
%% For logger.
-export([log/2]).

-spec rows(bench:settings()) -> [bench_report:row()].
rows(Settings) ->
    Plan = bench:plan(Settings, #{rounds => 14, turn => 200}, #{rounds => 5, turn => 50}),
    Leader = spawn_link(fun leader/0),
    {ok, Discarding} = py_context:new(#{output => discard}),
    {ok, Context} = py_context:new(),
    Before = logger:get_primary_config(),
    Results = quietly(fun() -> bench_rounds:run(variants(Leader, Context, Discarding), Plan) end),
    ok = logger:set_primary_config(Before),
    _ = [ok = py_context:stop(One) || One <- [Context, Discarding]],
    true = unlink(Leader),
    true = exit(Leader, kill),
    Call = {call, <<"py_context:call">>},
    Put = {put, <<"io:put_chars">>},
    Refused = {refused, <<"by Python's level">>},
    [
        bench_report:row(<<"py_context:call, output discarded">>, call, none, none, Results),
        bench_report:row(<<"py_context:call, that has printed before">>, printed, Call, {at_most, 1.05}, Results),
        bench_report:row(<<"io:put_chars of a line">>, put, none, none, Results),
        bench_report:row(<<"py_context:call that prints a line">>, print, Call, none, Results),
        bench_report:row(<<"100 lines of one py_context:call">>, lines, Put, none, Results),
        bench_report:row(<<"?LOG_INFO, a handler that drops it">>, logger, none, none, Results),
        bench_report:row(<<"py_context:call that logs a record">>, logs, Call, none, Results),
        bench_report:row(<<"100 records refused by Python's level">>, refused, Call, none, Results),
        bench_report:row(<<"100 records refused by Erlang's level">>, unwanted, Refused, none, Results)
    ].

%% One handler, which takes no time, and levels that let `info' through.
quietly(Fun) ->
    Handlers = logger:get_handler_config(),
    _ = [ok = logger:remove_handler(Id) || #{id := Id} <- Handlers],
    ok = logger:add_handler(?MODULE, ?MODULE, #{}),
    ok = logger:set_primary_config(level, info),
    try
        Fun()
    after
        ok = logger:remove_handler(?MODULE),
        [ok = logger:add_handler(Id, Module, Config) || #{id := Id, module := Module} = Config <- Handlers]
    end.

-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(_Event, _Config) ->
    ok.

leader() ->
    receive
        {io_request, From, ReplyAs, _} ->
            From ! {io_reply, ReplyAs, ok},
            leader()
    end.

variants(Leader, Context, Discarding) ->
    [
        bench_rounds:one(call, fun(_) -> sqrt(Discarding) end),
        bench_rounds:one(printed, fun(_) ->
            true = group_leader(Leader, self()),
            {ok, none} = py:eval(Context, "print(1)"),
            sqrt(Context)
        end),
        bench_rounds:one(put, fun(_) ->
            true = group_leader(Leader, self()),
            fun(_) -> ok = io:put_chars("a line\n") end
        end),
        bench_rounds:one(print, fun(_) ->
            true = group_leader(Leader, self()),
            fun(_) -> {ok, none} = py_context:call(Context, builtins, print, [<<"a line">>]) end
        end),
        bench_rounds:one(lines, fun(_) ->
            true = group_leader(Leader, self()),
            defined(Context, <<"def work():\n    for _ in range(100): print('a line')\n">>)
        end),
        bench_rounds:one(logger, fun(_) -> fun(_) -> ok = logger:info("a line") end end),
        bench_rounds:one(logs, fun(_) ->
            defined(Context, <<
                "import erlang, logging\n"
                "erlang.setup_logging('INFO')\n"
                "log = logging.getLogger('a.b')\n"
                "def work(): log.info('a line')\n"
            >>)
        end),
        bench_rounds:one(refused, fun(_) ->
            defined(Context, <<
                "import logging\n"
                "log = logging.getLogger('a.refused')\n"
                "log.setLevel(logging.ERROR)\n"
                "def work():\n    for _ in range(100): log.debug('a line')\n"
            >>)
        end),
        bench_rounds:one(unwanted, fun(_) ->
            defined(Context, <<
                "import logging\n"
                "log = logging.getLogger('a.unwanted')\n"
                "log.setLevel(logging.DEBUG)\n"
                "def work():\n    for _ in range(100): log.debug('a line')\n"
            >>)
        end)
    ].

sqrt(Context) ->
    fun(I) -> {ok, _} = py_context:call(Context, math, sqrt, [abs(I)]) end.

defined(Context, Code) ->
    ok = py:exec(Context, Code),
    fun(_) -> {ok, none} = py_context:call(Context, '__main__', work, []) end.
