%% What calls on schedulers would wait for, and do not.
-module(inline_waits_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_inlined, [figures/1, refusal/1]).

-define(INLINE, #{dispatch => inline}).
-define(DEADLINE, 30_000).
%% So much of what a context prints is on its way at most.
-define(WINDOW, 262_144).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [
        names_are_looked_up_while_they_change,
        refused_records_wait_for_no_answer,
        no_module_is_loaded,
        no_builtin_module_is_made,
        absent_module_is_absent,
        refused_codec_is_there_later,
        common_codecs_are_there,
        tracebacks_can_be_told,
        sockets_are_not_waited_for,
        empty_descriptors_are_not_waited_for,
        what_is_there_is_read,
        output_without_room_is_dropped,
        lines_end_with_the_call
    ].

init_per_suite(Config) ->
    py_inlined:init_group(py_inlined:init_suite(Config)).

end_per_suite(Config) ->
    py_suite:end_group(Config, #{spares => 16}).

init_per_testcase(_Case, Config) ->
    Prepared = py_inlined:init_context(Config),
    ok = load(?config(ctx, Prepared)),
    Prepared.

end_per_testcase(_Case, Config) ->
    py_inlined:end_context(Config).

load(Context) ->
    py:exec(Context, <<"import ct_inline_waits">>).

by_mailbox(Context, Function, Args) ->
    py:call(Context, ct_inline_waits, Function, Args).

inlined(Context, Function, Args) ->
    py_inlined:inlined(Context, fun() -> py:call(Context, ct_inline_waits, Function, Args, ?INLINE) end).

%% The same after another call by the mailbox: what is tried again may go by the mailbox itself.
inlined_after(Context, {Before, BeforeArgs}, Function, Args) ->
    py_inlined:inlined(Context, fun() ->
        {ok, none} = by_mailbox(Context, Before, BeforeArgs),
        py:call(Context, ct_inline_waits, Function, Args, ?INLINE)
    end).

%% ------------------------------------------------------------------------------------------------
%% Locks of the emulator's

%% The emulator waits for the process whose name changes, and the process looks up names. In a node of its own, which
%% hangs for good when they wait for each other.
names_are_looked_up_while_they_change(_Config) ->
    Peer = py_peers:start_nameless(),
    System = py_peers:call(Peer, os, getpid, []),
    try
        ?assertEqual(ok, py_peers:call(Peer, ?MODULE, look_up_while_it_changes, [])),
        py_peers:stop(Peer)
    after
        %% Nothing else ends a node that hangs.
        _ = os:cmd("kill -KILL " ++ System),
        py_peers:stop(Peer)
    end.

look_up_while_it_changes() ->
    {ok, Context} = py_context:new(#{mode => owngil}),
    ok = py_suite:python_path(Context),
    ok = load(Context),
    Looks = py_suite:spawn_caller(fun() ->
        lists:foreach(
            fun(_) -> {ok, none} = inlined(Context, looks_up, [<<"inline_waits">>, 100]) end,
            lists:seq(1, 2000)
        )
    end),
    ok = change_name(Looks),
    py_context:stop(Context).

change_name({Process, Monitor} = Looks) ->
    try
        true = register(inline_waits, Process),
        true = unregister(inline_waits),
        change_name(Looks)
    catch
        error:badarg ->
            receive
                {'DOWN', Monitor, process, Process, {_, result, ok}} -> ok
            after ?DEADLINE -> error(still_there)
            end
    end.

%% ------------------------------------------------------------------------------------------------
%% Erlang's levels

refused_records_wait_for_no_answer(Config) ->
    Context = ?config(ctx, Config),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, error),
    try
        ok = py_leaks:eventually(fun() ->
            {ok, none} = by_mailbox(Context, logs, []),
            {ok, true} =:= by_mailbox(Context, log_is_refused, [])
        end),
        {ok, none} = inlined(Context, logs, []),
        ok = sys:suspend(py_logging),
        ok = py_leaks:eventually(fun() -> asks_and_does_not_wait(Context) end)
    after
        ok = sys:resume(py_logging),
        ok = logger:set_primary_config(level, Level)
    end.

%% Waiting would make every call slow that asks.
asks_and_does_not_wait(Context) ->
    Seen = fun() ->
        {message_queue_len, Questions} = process_info(whereis(py_logging), message_queue_len),
        #{calls := Calls, slow := Slow} = figures(Context),
        {Questions, Calls, Slow}
    end,
    {Questions, Calls, Slow} = Seen(),
    {ok, none} = py:call(Context, ct_inline_waits, logs, [], ?INLINE),
    Seen() =:= {Questions + 1, Calls + 1, Slow}.

%% ------------------------------------------------------------------------------------------------
%% Modules

no_module_is_loaded(Config) ->
    Context = ?config(ctx, Config),
    refusal(inlined_after(Context, {forgets, [<<"colorsys">>]}, imports, [<<"colorsys">>])),
    ?assertEqual({ok, false}, inlined(Context, is_loaded, [<<"colorsys">>])),
    ?assertEqual({ok, <<"colorsys">>}, by_mailbox(Context, imports, [<<"colorsys">>])),
    ?assertEqual({ok, <<"colorsys">>}, inlined(Context, imports, [<<"colorsys">>])),
    %% Part of a package that is there.
    refusal(inlined_after(Context, {forgets, [<<"json.tool">>]}, imports, [<<"json.tool">>])),
    ?assertEqual({ok, <<"json.tool">>}, by_mailbox(Context, imports, [<<"json.tool">>])).

no_builtin_module_is_made(Config) ->
    Context = ?config(ctx, Config),
    {ok, Name} = by_mailbox(Context, finds_builtin, []),
    refusal(inlined(Context, makes_builtin, [])),
    ?assertEqual({ok, Name}, by_mailbox(Context, makes_builtin, [])).

%% Nothing has to be loaded to know that.
absent_module_is_absent(Config) ->
    Context = ?config(ctx, Config),
    {ok, none} = by_mailbox(Context, blocks, [<<"ct_absent">>]),
    [
        ?assertMatch({error, {'ModuleNotFoundError', _}}, Absent)
     || Absent <- [
            inlined(Context, imports, [<<"ct_absent">>]),
            py_inlined:inlined(Context, fun() -> py:eval(Context, <<"__import__('ct_absent')">>, #{}, ?INLINE) end)
        ]
    ],
    {ok, none} = by_mailbox(Context, forgets, [<<"ct_absent">>]).

refused_codec_is_there_later(Config) ->
    Context = ?config(ctx, Config),
    Call = [<<"Γ"/utf8>>, <<"cp737">>],
    refusal(inlined_after(Context, {forgets_codec, [<<"cp737">>]}, encodes, Call)),
    ?assertEqual({ok, <<16#82>>}, by_mailbox(Context, encodes, Call)),
    ?assertEqual({ok, <<16#82>>}, inlined(Context, encodes, Call)).

common_codecs_are_there(Config) ->
    Context = ?config(ctx, Config),
    [
        ?assertMatch({ok, <<_/binary>>}, inlined(Context, encodes, [<<"text">>, Codec]))
     || Codec <- [
            <<"ascii">>, <<"latin-1">>, <<"cp1252">>, <<"utf-8-sig">>, <<"utf-16">>, <<"utf-16-le">>,
            <<"utf-16-be">>, <<"utf-32">>, <<"idna">>
        ]
    ].

%% Which needs modules of its own.
tracebacks_can_be_told(Config) ->
    Context = ?config(ctx, Config),
    [
        begin
            {ok, Told} = inlined(Context, tells_of, [Code]),
            py_suite:contains(Told, Name)
        end
     || {Code, Name} <- [
            {<<"unknwn">>, "NameError"}, {<<"''.unknown">>, "AttributeError"}, {<<"1 +">>, "SyntaxError"},
            {<<"__import__('ct_inline_waits').missing">>, "AttributeError"}, {<<"1 / 0">>, "ZeroDivisionError"}
        ]
    ].

%% ------------------------------------------------------------------------------------------------
%% The system

sockets_are_not_waited_for(Config) ->
    Context = ?config(ctx, Config),
    [refusal(inlined(Context, Function, [])) || Function <- [accepts, receives, receives_into]],
    %% What they do by the mailbox.
    ?assertMatch({error, {'TimeoutError', _}}, by_mailbox(Context, accepts, [])),
    ?assertMatch({error, {'TimeoutError', _}}, by_mailbox(Context, receives, [])).

empty_descriptors_are_not_waited_for(Config) ->
    Context = ?config(ctx, Config),
    {ok, true} = inlined(Context, is_loaded, [<<"os">>]),
    case os:type() of
        {unix, linux} -> refusal(inlined(Context, waits_for_timer, []));
        _ -> {skip, "the system has no descriptor that can be read from after some time"}
    end.

what_is_there_is_read(Config) ->
    Context = ?config(ctx, Config),
    ?assertEqual({ok, <<"x">>}, inlined_after(Context, {fills_pipe, []}, reads_pipe, [])),
    ?assertMatch({error, {'BlockingIOError', _}}, inlined(Context, reads_pipe_that_does_not_block, [])),
    ?assertMatch({ok, <<_:3/binary>>}, inlined(Context, reads_file, [])).

%% ------------------------------------------------------------------------------------------------
%% Output

%% A context whose own group leader is known.
context_under(Leader) ->
    Before = group_leader(),
    true = group_leader(Leader, self()),
    {ok, Context} = py_context:start_link(?MODULE, owngil, #{}),
    true = group_leader(Before, self()),
    ok = py_suite:python_path(Context),
    ok = load(Context),
    Context.

output_without_room_is_dropped(_Config) ->
    Leader = py_leaders:start(),
    Context = context_under(Leader),
    {ok, none} = inlined(Context, writes, [<<>>]),
    Log = py_suite:capture_log(),
    py_leaders:hold(Leader),
    Line = binary:copy(<<"x">>, 16_383),
    Printed = 2 * ?WINDOW div (byte_size(Line) + 1),
    ?assertEqual({ok, none}, inlined(Context, prints, [Line, Printed])),
    %% Others wait for room all the same.
    Caller = py_leaders:caller(Leader, fun() -> by_mailbox(Context, writes, [<<"later\n">>]) end),
    _ = py_leaders:next(Leader),
    py_leaders:go_on(Leader),
    ?assertEqual({result, {ok, none}}, py_suite:await_down(Caller, ?DEADLINE)),
    ?assertEqual(?WINDOW, lost(Context)),
    ok = py_suite:contains(iolist_to_binary(all_printed(Leader)), <<"later\n">>),
    py_suite:release_log(Log),
    ok = py_context:stop(Context),
    py_leaders:stop(Leader).

%% Bytes.
lost(Context) ->
    receive
        {log, #{level := warning, msg := {report, #{label := {py_output, lost}, bytes := Bytes}}}} -> Bytes;
        {log, _} -> lost(Context)
    after ?DEADLINE -> ct:fail({nothing_lost, py_suite:flush()})
    end.

all_printed(Leader) ->
    receive
        {printed, Leader, Text} -> [Text | all_printed(Leader)]
    after 0 -> []
    end.

lines_end_with_the_call(_Config) ->
    Leader = py_leaders:start(),
    Context = context_under(Leader),
    Printed = fun(Text, Result) ->
        ok = py_leaders:printed(Leader, Text),
        Result
    end,
    Writes = fun(Args) -> inlined(Context, writes, Args) end,
    ?assertEqual({ok, none}, Printed(<<"begun">>, Writes([<<"begun">>]))),
    ?assertEqual({ok, none}, Printed(<<"other">>, py_suite:fresh(fun() -> Writes([<<"other">>]) end))),
    ?assertEqual({ok, none}, Printed(<<"error">>, Writes([<<"error">>, true]))),
    Raised = Printed(<<"raised">>, inlined(Context, writes_and_raises, [<<"raised">>])),
    ?assertMatch({error, {'ValueError', _}}, Raised),
    %% One that is no whole character, too.
    Half = {bytes, <<"a", 16#e2, 16#82>>},
    ?assertEqual({ok, none}, Printed(<<"a\x{fffd}"/utf8>>, inlined(Context, writes_bytes, [Half]))),
    py_leaders:nothing(Leader),
    ok = py_context:stop(Context),
    py_leaders:stop(Leader).
