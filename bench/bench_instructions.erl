-module(bench_instructions).

%% What instructions.sh has counted: each operation so many times, and what was counted meanwhile written down under its
%% name and that number. The node has one scheduler, which does not spin, and one core, so that its threads do not
%% either: what is left are the instructions that the work takes.

-export([main/0, identity/1]).

-type operation() :: {binary(), pos_integer(), fun((pos_integer()) -> term())}.

%% The report takes the least of them: what the emulator does by the clock comes on top, the more the slower it runs.
-define(ROUNDS, 4).
-define(CALLS, 2000).
-define(CALLBACKS, 400).
-define(ECHOES, 300).
-define(ELEMENTS, 20_000).
-define(RECORDS, 500).
-define(TIMEOUT, 600_000).

-define(DEFINITIONS, <<
    "def keep(given):\n"
    "    global value\n"
    "    value = given\n"
    "def kept():\n"
    "    return value\n"
    "def nothing():\n"
    "    return None\n"
    "def add_paths(*paths):\n"
    "    import sys\n"
    "    sys.path.extend(paths)\n"
>>).

%% `-extra SourceDirectory'.
-spec main() -> no_return().
main() ->
    try
        [Dir] = init:get_plain_arguments(),
        {ok, _} = application:ensure_all_started(erlang_python),
        {ok, Python} = py:version(),
        io:format("~ts ~ts~n", [erlang:system_info(otp_release), Python]),
        {ok, Context} = py_context:new(),
        ok = prepare(Context, Dir),
        true = bench_floor:bare_start(),
        ok = py:register_function(bench_identity, ?MODULE, identity),
        _ = [count(Operation) || Operation <- operations(Context), _ <- lists:seq(1, ?ROUNDS)],
        lists:foreach(fun(Value) -> conversion(Context, Value) end, values()),
        halt(0)
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "bench_instructions: ~p: ~tp~n~tp~n", [Class, Reason, Stack]),
            halt(1)
    end.

prepare(Context, Dir) ->
    ok = py:exec(Context, ?DEFINITIONS),
    Paths = [Dir, filename:dirname(code:which(bench_floor))],
    {ok, none} = py:call(Context, '__main__', add_paths, [unicode:characters_to_binary(Path) || Path <- Paths]),
    ok.

-spec identity([Term]) -> Term.
identity([Term]) -> Term.

%% First so many times uncounted: what is made at the first use has been made then.
-spec count(operation()) -> ok.
count({Name, Times, Run}) ->
    _ = Run(max(1, Times div 10)),
    true = erlang:garbage_collect(),
    ok = bench_floor:counting(true),
    _ = Run(max(1, Times div 10)),
    ok = bench_floor:count_anew(),
    _ = Run(Times),
    ok = bench_floor:counted(<<Name/binary, $=, (integer_to_binary(Times))/binary>>),
    bench_floor:counting(false).

-spec operations(pid()) -> [operation()].
operations(Context) ->
    {ok, Handle} = py_context:handle(Context),
    inline(Context) ++ [
        {<<"bare path">>, ?CALLS, repeated(fun bare/1)},
        {<<"way to the thread and back">>, ?CALLS, repeated(fun(I) -> bench_calls:echo(Handle, I) end)},
        {<<"py:call">>, ?CALLS, repeated(fun(I) -> {ok, _} = py:call(math, sqrt, [I]) end)},
        {<<"py:call of a context">>, ?CALLS, repeated(fun(I) -> {ok, _} = py:call(Context, math, sqrt, [I]) end)},
        {<<"py:eval">>, ?CALLS, repeated(fun(I) -> {ok, _} = py:eval(Context, <<"x * x">>, #{x => I}) end)},
        {<<"item of py:call_many">>, ?CALLS, fun(Times) ->
            {ok, _} = {ok, py:call_many(Context, math, sqrt, [[I] || I <- lists:seq(1, Times)])}
        end},
        {<<"callback">>, ?CALLBACKS, within(Context, callbacks)},
        {<<"message to a process">>, ?CALLBACKS, fun(Times) ->
            {ok, none} = py:call(Context, instructions, messages, [self(), Times]),
            [receive I -> ok end || I <- lists:seq(0, Times - 1)]
        end},
        {<<"echo of the loop">>, ?ECHOES, within(Context, echoes)},
        {<<"echo of the standard loop">>, ?ECHOES, within(Context, standard_echoes)}
    ].

%% Where this Python can be entered by schedulers.
inline(Context) ->
    Inline = #{dispatch => inline},
    [
        Operation
     || py_nif:inline_supported(),
        Operation <- [
            {<<"py:call, inline">>, ?CALLS, repeated(fun(I) -> {ok, _} = py:call(Context, math, sqrt, [I], Inline) end)},
            {<<"py:eval, inline">>, ?CALLS,
                repeated(fun(I) -> {ok, _} = py:eval(Context, <<"x * x">>, #{x => I}, Inline) end)}
        ]
    ].

repeated(Run) ->
    fun(Times) -> repeat(Run, Times) end.

repeat(_Run, 0) ->
    ok;
repeat(Run, Left) ->
    _ = Run(Left),
    repeat(Run, Left - 1).

within(Context, Function) ->
    fun(Times) ->
        {ok, none} = py:call(Context, instructions, Function, [Times], #{timeout => ?TIMEOUT})
    end.

bare(I) ->
    Ref = make_ref(),
    ok = bench_floor:bare_submit(Ref, [I]),
    receive
        {Ref, Result} -> {ok, _} = Result
    end.

%% ------------------------------------------------------------------------------------------------
%% Conversion, as bench_conversion takes it apart

values() ->
    [
        {<<"integers">>, ints, ?ELEMENTS, [I * 7919 || I <- lists:seq(1, ?ELEMENTS)]},
        {<<"floats">>, floats, ?ELEMENTS, [I / 7 || I <- lists:seq(1, ?ELEMENTS)]},
        {<<"texts">>, texts, ?ELEMENTS, [text(I) || I <- lists:seq(1, ?ELEMENTS)]},
        {<<"map">>, map, ?ELEMENTS, maps:from_list([{text(I), I} || I <- lists:seq(1, ?ELEMENTS)])},
        {<<"JSON">>, tree, ?RECORDS * 12, [record(I) || I <- lists:seq(1, ?RECORDS)]}
    ].

text(I) ->
    <<"text ", (integer_to_binary(1_000_000 + I))/binary>>.

%% Twelve nodes: itself and the values within it.
record(I) ->
    #{
        <<"id">> => I,
        <<"name">> => text(I),
        <<"active">> => I rem 2 =:= 0,
        <<"score">> => I / 7,
        <<"parent">> => none,
        <<"tags">> => [text(I + 1), text(I + 2)],
        <<"position">> => #{<<"x">> => I / 3, <<"y">> => I / 11}
    }.

conversion(Context, {Name, Kind, Elements, Value}) ->
    ok = bench_floor:load(Kind, Value),
    {ok, none} = py:call(Context, '__main__', keep, [Value]),
    {ok, Value} = py:call(Context, '__main__', kept, []),
    Once = fun(Part, Run) -> count({<<Name/binary, ", ", Part/binary>>, Elements, fun(_) -> Run() end}) end,
    ok = Once(<<"there">>, fun() -> {ok, _} = py:call(Context, operator, not_, [Value]) end),
    ok = Once(<<"there, copy">>, fun() -> {error, _} = py:call(Context, operator, absent, [Value]) end),
    ok = Once(<<"there, floor">>, fun() -> {ok, _} = py:call(Context, bench_floor, build, []) end),
    %% Nobody gets the result, so that no process has to take it in, and to collect it as garbage.
    ok = Once(<<"back">>, fun() ->
        ok = py:cast(Context, '__main__', kept, []),
        {ok, none} = py:call(Context, '__main__', nothing, [])
    end),
    Once(<<"back, floor">>, fun bench_floor:build_terms/0).
