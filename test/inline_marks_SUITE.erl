%% Who says that calls run on the calling scheduler: the call, its function, its pool, and the switch of the node.
-module(inline_marks_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(py_inlined, [prepared/1, figures/1, calls/1, refused/2, inlined/2, inlined/3]).

-define(INLINE, #{dispatch => inline}).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    [
        {owngil, [], [
            switch_of_the_node,
            marks,
            pools,
            auto_learns_what_is_short,
            auto_sends_back_what_is_long,
            auto_is_for_marked_functions
        ]},
        %% Whether anything can run inline or not.
        {worker, [], [bad_options_are_refused, settings_are_checked]}
    ].

init_per_suite(Config) ->
    py_inlined:init_suite(Config).

end_per_suite(_Config) ->
    ok.

init_per_group(owngil, Config) ->
    py_inlined:init_group(Config);
init_per_group(worker, Config) ->
    py_suite:init_group(worker, Config).

end_per_group(_Group, Config) ->
    py_suite:end_group(Config).

init_per_testcase(_Case, Config) ->
    py_inlined:init_context(Config).

end_per_testcase(_Case, Config) ->
    py_inlined:end_context(Config).

switch_of_the_node(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    try
        ok = py:allow_inline(false),
        Before = calls(Context),
        ?assertEqual({ok, 3}, py:call(Context, ct_inline, add, [1, 2], ?INLINE)),
        ?assertEqual(Before, calls(Context)),
        ?assert(refused(Context, off) > 0)
    after
        ok = py:allow_inline(true)
    end,
    {ok, 3} = inlined(Context, add, [1, 2]).

marks(Config) ->
    Context = ?config(ctx, Config),
    Plain = fun() -> py:call(Context, ct_inline, add, [1, 2]) end,
    ?assertEqual([], py:marked_inline()),
    ok = py:mark_inline("ct_inline", <<"add">>),
    ?assertEqual([{{<<"ct_inline">>, <<"add">>}, inline}], py:marked_inline()),
    try
        ?assertEqual({ok, 3}, inlined(Context, Plain)),
        ?assertEqual({ok, 3}, inlined(Context, fun() -> py:call(Context, <<"ct_inline">>, "add", [1, 2]) end)),
        Before = calls(Context),
        %% What the call says counts more.
        ?assertEqual({ok, 3}, py:call(Context, ct_inline, add, [1, 2], #{dispatch => mailbox})),
        ?assertMatch({ok, _}, py:call(Context, ct_inline, ident, [])),
        ?assertEqual(Before, calls(Context))
    after
        ok = py:unmark_inline(ct_inline, add)
    end,
    ?assertEqual([], py:marked_inline()),
    Marked = calls(Context),
    {ok, 3} = Plain(),
    ?assertEqual(Marked, calls(Context)).

pools(_Config) ->
    ok = py_context_router:start_pool(swift, 1, #{dispatch => inline}),
    try
        [{_, Context, _}] = started(swift),
        Call = fun() -> py:call(swift, math, sqrt, [16]) end,
        {ok, 4.0} = Call(),
        ?assertEqual({ok, 4.0}, inlined(Context, Call))
    after
        ok = py_context_router:stop_pool(swift)
    end,
    ?assertEqual({error, {no_pool, swift}}, py:call(swift, math, sqrt, [16])).

started(Pool) ->
    {ok, 4.0} = py:call(Pool, math, sqrt, [16]),
    py_pool_table:ready(Pool).

auto_learns_what_is_short(Config) ->
    ok = py:mark_inline(ct_inline, add, auto),
    try
        Context = trusting(Config, add, [1, 2], {ok, 3}),
        ?assertMatch(#{needed := 100, sent_back := 0}, learned(Context, <<"add">>)),
        ?assert(refused(Context, learning) >= 100),
        ok = py_context:stop(Context)
    after
        ok = py:unmark_inline(ct_inline, add)
    end.

auto_sends_back_what_is_long(Config) ->
    ok = py:mark_inline(ct_inline, busy, auto),
    try
        Context = trusting(Config, busy, [0], {ok, none}),
        {ok, none} = inlined(Context, fun() -> py:call(Context, ct_inline, busy, [0.002]) end),
        ?assertMatch(#{inline := false, needed := 1000, sent_back := 1}, learned(Context, <<"busy">>)),
        ok = py_context:stop(Context)
    after
        ok = py:unmark_inline(ct_inline, busy)
    end.

%% A context that has learned that the function is short, and has run it inline once.
trusting(Config, Function, Args, Result) ->
    trusting(Config, Function, Args, Result, 10).

trusting(Config, Function, Args, Result, Times) ->
    Context = py_suite:new_context(Config),
    ok = prepared(Context),
    ?assertEqual(Result, inlined(Context, fun() -> py:call(Context, ct_inline, Function, Args) end)),
    case learned(Context, atom_to_binary(Function)) of
        #{inline := true} ->
            Context;
        %% The machine had something else to do during the call. Another context has not seen that.
        #{inline := false, sent_back := 1} = Learned ->
            ok = py_context:stop(Context),
            ?assert(Times > 1, Learned),
            trusting(Config, Function, Args, Result, Times - 1)
    end.

learned(Context, Function) ->
    #{learned := #{{<<"ct_inline">>, Function} := Learned}} = figures(Context),
    Learned.

auto_is_for_marked_functions(Config) ->
    Context = ?config(ctx, Config),
    {ok, 3} = inlined(Context, add, [1, 2]),
    Before = calls(Context),
    [{ok, 3} = py:call(Context, ct_inline, add, [1, 2], #{dispatch => auto}) || _ <- lists:seq(1, 300)],
    ?assertEqual(Before, calls(Context)),
    ?assertEqual(#{}, maps:get(learned, figures(Context))).

%% ------------------------------------------------------------------------------------------------
%% What is refused

bad_options_are_refused(Config) ->
    Context = ?config(ctx, Config),
    Refused = fun(Fun) ->
        try
            Fun(),
            ct:fail(accepted)
        catch
            error:badarg:Stack ->
                #{text := Text} = explained(Stack),
                Text
        end
    end,
    Call = fun(Options) -> fun() -> py:call(Context, math, sqrt, [16], Options) end end,
    py_suite:contains(Refused(Call(#{dispatch => soon})), "mailbox, inline or auto"),
    py_suite:contains(Refused(Call(#{dispatched => inline})), "dispatch"),
    py_suite:contains(Refused(Call(inline)), "map of options"),
    py_suite:contains(Refused(fun() -> py:eval(Context, <<"1">>, #{}, #{kwargs => #{}}) end), "unknown option kwargs"),
    %% Only functions are marked.
    py_suite:contains(
        Refused(fun() -> py:eval(Context, <<"1">>, #{}, #{dispatch => auto}) end), "is auto, not mailbox or inline"
    ),
    py_suite:contains(Refused(fun() -> py:mark_inline(1, f) end), "module"),
    py_suite:contains(Refused(fun() -> py:mark_inline(m, f, mailbox) end), "inline or auto"),
    py_suite:contains(Refused(fun() -> py:allow_inline(maybe_later) end), "true or false"),
    [
        ?assertEqual(
            {error, {bad_option, dispatch, Wrong}}, py_context_router:start_pool(swift, 1, #{dispatch => Wrong})
        )
     || Wrong <- [soon, auto]
    ].

explained([{Module, Function, Args, Info} | Stack]) ->
    #{module := Explains} = proplists:get_value(error_info, Info),
    Texts = Explains:format_error(badarg, [{Module, Function, Args, Info} | Stack]),
    #{text => unicode:characters_to_list(lists:join(" ", maps:values(Texts)))}.

settings_are_checked(_Config) ->
    ok = py_suite:stop(),
    [
        ?assertMatch({error, _}, py_suite:silently(fun() -> py_suite:start(Setting) end))
     || Setting <- [#{dispatch => soon}, #{inline_dispatch => 1}, #{inline_limit => 0}]
    ],
    ok = py_suite:start(#{context_mode => worker, inline_dispatch => false}),
    ok = py_suite:stop(),
    ok = py_suite:start(#{context_mode => worker}).
