%% Streams of the functions of `ct_generators', for the suites.
-module(py_streaming).

-export([start/3, start/4, items/2, rest/1, gone/1, told/1, is_idle/1, drop/0, in_small_portions/2, consumed/2]).
-export([refusal/1, resident/0, nothing_is_left/0, process_of/1, begun_in_time/1, is_closed_last/0]).

-define(DEADLINE, 30_000).

%% In the group's context.
start(Config, Function, Args) ->
    start(Config, Function, Args, #{}).

start(Config, Function, Args, Options) ->
    Here = #{context => proplists:get_value(ctx, Config)},
    {ok, Ref} = py:stream_start(ct_generators, Function, Args, maps:merge(Here, Options)),
    Ref.

%% The next so many.
items(0, _Ref) ->
    [];
items(N, Ref) ->
    receive
        {py_stream, Ref, {data, Item}} -> [Item | items(N - 1, Ref)];
        {py_stream, Ref, End} -> ct:fail({ended, End, N})
    after ?DEADLINE -> ct:fail({no_item, N})
    end.

%% All that still come, and the end.
rest(Ref) ->
    rest(Ref, []).

rest(Ref, Items) ->
    receive
        {py_stream, Ref, {data, Item}} -> rest(Ref, [Item | Items]);
        {py_stream, Ref, End} -> lists:reverse(Items, [End])
    after ?DEADLINE -> ct:fail({no_end, lists:sublist(Items, 10)})
    end.

%% Takes a stream back that goes on, and what has come of it.
gone(Ref) ->
    ok = py:stream_cancel(Ref),
    {error, <<"cancelled">>} = lists:last(rest(Ref)),
    ok.

%% By Python code.
told(What) ->
    receive
        What -> ok
    after ?DEADLINE -> ct:fail({not_told, What, erlang:process_info(self(), messages)})
    end.

%% Nothing comes while nothing is wanted. (A machine that is slow may miss what should not come; none finds what does not.)
is_idle(Ref) ->
    [{_, Process, _, _, _}] = ets:lookup(py_streams, Ref),
    %% Told of all demand so far.
    _ = sys:get_state(Process),
    receive
        {py_stream, Ref, What} -> ct:fail({not_idle, What})
    after 20 -> ok
    end.

%% Tries something under a time limit, and under longer ones until the code had begun by then. Each time in a process of its
%% own, which alone hears of it.
begun_in_time(Try) ->
    begun_in_time(Try, 100).

begun_in_time(Try, Timeout) ->
    case py_suite:fresh(fun() -> Try(Timeout) end) of
        true -> ok;
        false -> begun_in_time(Try, 2 * Timeout)
    end.

%% Whether busy code had got so far that it was interrupted; it has been closed then.
is_closed_last() ->
    receive
        <<"busy">> ->
            ok = told(<<"closed">>),
            true
    after 0 -> false
    end.

process_of(Ref) ->
    [{_, Process, _, _, _}] = ets:lookup(py_streams, Ref),
    Process.

%% The life of an owner that wants nothing but that something comes.
drop() ->
    receive
        _ -> drop()
    end.

%% All items, of which so many more are wanted whenever one has come.
in_small_portions(Ref, More) ->
    receive
        {py_stream, Ref, {data, Item}} ->
            ok = py:stream_demand(Ref, More),
            [Item | in_small_portions(Ref, More)];
        {py_stream, Ref, done} ->
            []
    after ?DEADLINE -> ct:fail(no_item)
    end.

%% Takes so many items, and asks for another for each; how many there were at once at most.
consumed(N, Ref) ->
    consumed(N, Ref, 0).

consumed(0, _Ref, Most) ->
    Most;
consumed(N, Ref, Most) ->
    receive
        {py_stream, Ref, {data, _}} ->
            {message_queue_len, Waiting} = erlang:process_info(self(), message_queue_len),
            ok = py:stream_demand(Ref, 1),
            consumed(N - 1, Ref, max(Most, Waiting + 1))
    after ?DEADLINE -> ct:fail({no_item, N})
    end.

%% What the shell says of a wrong argument.
refusal(Call) ->
    try Call() of
        Value -> ct:fail({not_refused, Value})
    catch
        error:badarg:Stack ->
            [{_, _, _, Info} | _] = Stack,
            #{module := Module} = proplists:get_value(error_info, Info),
            [{Position, Text}] = maps:to_list(Module:format_error(badarg, Stack)),
            lists:flatten(io_lib:format("argument ~b: ~ts", [Position, Text]))
    end.

resident() ->
    py_leaks:resident().

%% The processes of streams that have ended are about to end.
nothing_is_left() ->
    ok = py_leaks:eventually(fun() ->
        ets:info(py_streams, size) =:= 0 andalso supervisor:count_children(py_streams) =:= none()
    end).

none() ->
    [{specs, 1}, {active, 0}, {supervisors, 0}, {workers, 0}].
