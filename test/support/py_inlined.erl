%% Calls that run on the calling scheduler, for the suites, and what a context counts of them.
-module(py_inlined).

-include_lib("stdlib/include/assert.hrl").

-export([init_suite/1, init_group/1, init_context/1, prepared/1, end_context/1]).
-export([figures/1, calls/1, refused/2, inlined/2, inlined/3, inlined/4, refusal/1]).

-define(INLINE, #{dispatch => inline}).
-define(DEADLINE, 30_000).

init_suite(Config) ->
    ok = py_suite:start(#{}),
    Supported = py_nif:inline_supported(),
    ok = py_suite:stop(),
    [{supported, Supported} | Config].

%% With the application, for contexts that have GILs of their own.
init_group(Config) ->
    case proplists:get_value(supported, Config) of
        true -> py_suite:init_group(owngil, Config);
        false -> {skip, "CPython measures the stack from 3.14 on"}
    end.

%% Around a case: with a context, `ctx', that knows the functions.
init_context(Config) ->
    Context = py_suite:new_context(Config),
    ok = prepared(Context),
    [{ctx, Context} | Config].

prepared(Context) ->
    ok = py_suite:python_path(Context),
    py:exec(Context, <<"import ct_inline, asyncio, json, socket">>).

end_context(Config) ->
    _ = py_context:stop(proplists:get_value(ctx, Config)),
    ?assertEqual([], py_suite:flush()),
    ok.

figures(Context) ->
    {ok, #{inline := Figures}} = py:info(Context),
    Figures.

calls(Context) ->
    maps:get(calls, figures(Context)).

refused(Context, Reason) ->
    maps:get(Reason, maps:get(mailbox, figures(Context)), 0).

%% The result of a call that has run inline. The first one never does, and the context's thread may be busy for a moment
%% after whatever came by the mailbox.
inlined(Context, Function, Args) ->
    inlined(Context, Function, Args, ?INLINE).

inlined(Context, Function, Args, Options) ->
    inlined(Context, fun() -> py:call(Context, ct_inline, Function, Args, Options) end).

inlined(Context, Call) ->
    until_inlined(Context, Call, erlang:monotonic_time(millisecond) + ?DEADLINE).

until_inlined(Context, Call, Deadline) ->
    Before = calls(Context),
    Result = Call(),
    case calls(Context) of
        Before ->
            ?assert(erlang:monotonic_time(millisecond) < Deadline, figures(Context)),
            until_inlined(Context, Call, Deadline);
        _ ->
            Result
    end.

refusal(Result) ->
    py_suite:contains(py_suite:error_text('RuntimeError', Result), "inline").
