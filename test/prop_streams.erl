%% Streams whose owners want items in any portions, and give them up at any moment, several at once on one context.
%%
%% Of `N' items the owner gets, in order, as many as it has wanted and there are; and one end, after which nothing comes:
%% `done' where it wanted more than there are, the one that it asked for where it gave up.
%%
%% PROPERTY_TESTS in the environment says how often each property is tried.
-module(prop_streams).

-export([check/2]).
-export([prop_streams/1]).

-include("support/py_properties.hrl").

-define(TESTS, 100).
-define(DEADLINE, 30_000).

-type step() ::
    {want, pos_integer()}
    %% Waits for all that was wanted, as far as there is so much.
    | await
    | {other, pos_integer()}
    %% Somebody else wants it.
    | call.
-type stream() ::
    {generator(), N :: non_neg_integer(), Demand :: non_neg_integer(), [step()], finish | cancel | kill | leave}.
-type generator() :: count | acount | 'Countdown' | 'ACountdown'.
-export_type([step/0, stream/0]).

%% Tries it over a context that finds `ct_generators'.
-spec check(atom(), pid()) -> ok.
check(Property, Context) ->
    py_properties:check(Property, fun() -> ?MODULE:Property(Context) end, ?TESTS, [{max_size, 30}]).

prop_streams(Context) ->
    ?FORALL(
        Streams,
        proper_types:resize(4, proper_types:list(stream())),
        begin
            Owners = [py_suite:spawn_caller(fun() -> run(Context, Stream) end) || Stream <- Streams],
            Results = [py_suite:await_down(Owner, ?DEADLINE) || Owner <- Owners],
            Wrong = [{Stream, Result} || {Stream, Result} <- lists:zip(Streams, Results), Result =/= {result, ok}],
            Left = py_leaks:eventually(fun() -> ets:info(py_streams, size) =:= 0 end),
            case {Wrong, Left, py:call(Context, math, sqrt, [16])} of
                {[], ok, {ok, 4.0}} ->
                    true;
                Failed ->
                    ct:pal("streams ~tp~nwrong, left, and what the context says ~tp", [Streams, Failed]),
                    false
            end
        end
    ).

stream() ->
    proper_types:tuple([
        proper_types:elements([count, acount, 'Countdown', 'ACountdown']),
        proper_types:integer(0, 60),
        proper_types:integer(0, 20),
        proper_types:resize(8, proper_types:list(step())),
        proper_types:elements([finish, cancel, kill, leave])
    ]).

step() ->
    proper_types:frequency([
        {4, {want, proper_types:integer(1, 20)}},
        {3, await},
        {2, {other, proper_types:integer(1, 10)}},
        {1, call}
    ]).

%% In the process of an owner.
run(Context, {Function, N, Demand, Steps, End}) ->
    {ok, Ref} = py:stream_start(ct_generators, Function, [N], #{context => Context, demand => Demand}),
    {Wanted, Taken} = lists:foldl(fun(Step, State) -> step(Step, Ref, N, Context, State) end, {Demand, []}, Steps),
    ended(End, Ref, Function, N, Wanted, Taken).

step({want, More}, Ref, _N, _Context, {Wanted, Taken}) ->
    ok = py:stream_demand(Ref, More),
    {Wanted + More, Taken};
step({other, More}, Ref, _N, _Context, {Wanted, Taken}) ->
    ok = py_suite:fresh(fun() -> py:stream_demand(Ref, More) end),
    {Wanted + More, Taken};
step(await, Ref, N, _Context, {Wanted, Taken}) ->
    {Wanted, taken(min(N, Wanted) - length(Taken), Ref, Taken)};
step(call, _Ref, _N, Context, State) ->
    {ok, 4.0} = py:call(Context, math, sqrt, [16]),
    State.

taken(0, _Ref, Taken) ->
    Taken;
taken(More, Ref, Taken) ->
    receive
        {py_stream, Ref, {data, Item}} -> taken(More - 1, Ref, [Item | Taken])
    end.

ended(leave, _Ref, Function, N, _Wanted, Taken) ->
    %% Its generator is closed with it.
    all_in_order(Function, N, Taken);
ended(finish, Ref, Function, N, _Wanted, Taken) ->
    ok = py:stream_demand(Ref, infinity),
    {done, All} = rest(Ref, Taken),
    true = length(All) =:= N,
    all_in_order(Function, N, All);
ended(End, Ref, Function, N, Wanted, Taken) ->
    Expected = give_up(End, Ref),
    case rest(Ref, Taken) of
        {{error, Expected}, Some} ->
            true = length(Some) =< Wanted,
            all_in_order(Function, N, Some);
        {done, All} ->
            true = length(All) =:= N,
            all_in_order(Function, N, All)
    end.

give_up(cancel, Ref) ->
    ok = py:stream_cancel(Ref),
    <<"cancelled">>;
give_up(kill, Ref) ->
    _ = [exit(Process, kill) || {_, Process, _, _, _} <- ets:lookup(py_streams, Ref)],
    killed.

rest(Ref, Taken) ->
    receive
        {py_stream, Ref, {data, Item}} ->
            rest(Ref, [Item | Taken]);
        {py_stream, Ref, End} ->
            receive
                {py_stream, Ref, _} = More -> exit({after_the_end, More})
            after 0 -> {End, Taken}
            end
    end.

%% The last comes first.
all_in_order(Function, N, Taken) ->
    Count = length(Taken),
    Items =
        case Function of
            _ when Count =:= 0 -> [];
            _ when Function =:= count; Function =:= acount -> lists:seq(0, Count - 1);
            _ -> lists:seq(N - 1, N - Count, -1)
        end,
    case lists:reverse(Taken) of
        Items -> ok;
        Others -> {wrong, Others}
    end.
