%% Memory for large objects of Python is not fetched from the system anew for each.
-module(large_blocks_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([large_objects_reuse_their_pages/1, large_arguments_reuse_their_pages/1]).
-export([context_that_has_ended_keeps_nothing/1]).

-define(SIZE, 10_000_000).
-define(TIMES, 50).

suite() ->
    [{timetrap, {minutes, 2}}].

all() ->
    [{group, owngil}, {group, worker}].

groups() ->
    Cases = [large_objects_reuse_their_pages, large_arguments_reuse_their_pages],
    %% First: the emulator gives large binaries back to the system after a while.
    [{owngil, [], [context_that_has_ended_keeps_nothing | Cases]}, {worker, [], Cases}].

init_per_suite(Config) ->
    case {os:type(), os:getenv("GLIBC_TUNABLES", "") ++ os:getenv("MALLOC_MMAP_THRESHOLD_", ""), pages_are_huge()} of
        {{unix, linux}, "", false} -> Config;
        {{unix, linux}, "", true} -> {skip, "pages of 2 MiB are so few that fetching all of them anew cannot be seen"};
        {{unix, linux}, _, _} -> {skip, "the environment says how the C library allocates"};
        _ -> {skip, "only the C library of Linux has such thresholds"}
    end.

%% Whether the system gives large pages to whoever has not asked for them. Without that file it has none.
pages_are_huge() ->
    case file:read_file("/sys/kernel/mm/transparent_hugepage/enabled") of
        {ok, Modes} -> binary:match(Modes, <<"[always]">>) =/= nomatch;
        {error, _} -> false
    end.

end_per_suite(_Config) ->
    ok.

init_per_group(Mode, Config) ->
    case py_suite:init_group_with_context(Mode, Config) of
        {skip, _} = Skip ->
            Skip;
        Started ->
            Code =
                <<"import platform, resource\n"
                  "def faults():\n"
                  "    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt\n"
                  "def copies(size, times):\n"
                  "    before = faults()\n"
                  "    for _ in range(times): bytearray(b'x') * size\n"
                  "    return faults() - before\n"
                  "def length(value): return len(value)\n">>,
            Context = ?config(ctx, Started),
            ok = py:exec(Context, Code),
            case py:eval(Context, <<"platform.libc_ver()[0]">>) of
                {ok, <<"glibc">>} ->
                    %% Each process has names of its own.
                    [{code, Code} | Started];
                {ok, Other} ->
                    ok = py_suite:end_group(Started),
                    {skip, "no thresholds in the C library " ++ binary_to_list(Other)}
            end
    end.

end_per_group(_Group, Config) ->
    py_suite:end_group(Config).

large_objects_reuse_their_pages(Config) ->
    Context = prepared(Config),
    {ok, _} = py:call(Context, '__main__', copies, [?SIZE, 3]),
    {ok, Faults} = py:call(Context, '__main__', copies, [?SIZE, ?TIMES]),
    ?assert(Faults < pages() div 2, {Faults, pages()}).

large_arguments_reuse_their_pages(Config) ->
    Context = prepared(Config),
    Bytes = binary:copy(<<16#FF>>, ?SIZE),
    Length = fun() -> ?assertEqual({ok, ?SIZE}, py:call(Context, '__main__', length, [Bytes])) end,
    [Length() || _ <- lists:seq(1, 3)],
    {ok, Before} = py:call(Context, '__main__', faults, []),
    [Length() || _ <- lists:seq(1, ?TIMES)],
    {ok, After} = py:call(Context, '__main__', faults, []),
    ?assert(After - Before < pages() div 2, {After - Before, pages()}).

%% Its thread lives on as long as Erlang has bytes of it.
context_that_has_ended_keeps_nothing(Config) ->
    Context = py_suite:new_context(Config),
    {ok, Held} = py:eval(Context, <<"bytes(1_000_000)">>),
    ok = py:exec(Context, <<"blocks = [bytearray(b'x') * 8_000_000 for _ in range(3)]\ndel blocks">>),
    Before = py_leaks:resident(),
    ok = py_context:stop(Context),
    ok = py_leaks:eventually(fun() -> Before - py_leaks:resident() > 20 * 1024 end),
    ?assertEqual(1_000_000, byte_size(Held)).

prepared(Config) ->
    Context = ?config(ctx, Config),
    ok = py:exec(Context, ?config(code, Config)),
    Context.

%% What all of them have together.
pages() ->
    ?TIMES * ?SIZE div 4096.
