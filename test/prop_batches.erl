%% Batches of all sorts of items, several at once on one context, which are finished or not.
%%
%% Whoever waits gets a result for each item, in order: what the item gives alone, up to where the batch was ended, and the
%% reason from there on. What has a result has run once, what has none at most the one item that was cut short.
%%
%% PROPERTY_TESTS in the environment says how often each property is tried.
-module(prop_batches).

-export([check/2, check_map/2]).
-export([prop_batches/1, prop_map/1]).

-include("support/py_properties.hrl").

-define(TESTS, 60).
-define(DEADLINE, 30_000).

-type item() :: {value | fail | call | batch, 0..1000}.
-type caller() :: {[item()], finish | {time_out, 0..20} | interrupt | kill}.
-export_type([item/0, caller/0]).

%% Tries it over a context that finds `ct_batches'.
-spec check(atom(), pid()) -> ok.
check(Property, Context) ->
    ok = py:register_function(prop_batches_add, fun([A, B]) -> A + B end),
    ok = py:register_function(prop_batches_batch, fun([N]) -> inner(Context, N) end),
    try
        py_properties:check(Property, fun() -> ?MODULE:Property(Context) end, ?TESTS, [{max_size, 40}])
    after
        ok = py:unregister_function(prop_batches_add),
        ok = py:unregister_function(prop_batches_batch)
    end.

%% Tries it over a pool.
-spec check_map(atom(), atom()) -> ok.
check_map(Property, Pool) ->
    py_properties:check(Property, fun() -> ?MODULE:Property(Pool) end, ?TESTS, [{max_size, 60}]).

%% What a list becomes does not depend on how it is split.
prop_map(Pool) ->
    ?FORALL(
        {Items, Chunk, InFlight},
        {
            proper_types:list(proper_types:tuple([proper_types:elements([value, fail]), proper_types:integer(0, 1000)])),
            proper_types:integer(1, 20),
            proper_types:integer(1, 4)
        },
        begin
            Asked = [case Kind of value -> N; fail -> integer_to_binary(N) end || {Kind, N} <- Items],
            Results = py:map(Pool, operator, neg, Asked, #{chunk_size => Chunk, max_in_flight => InFlight}),
            length(Results) =:= length(Items) andalso
                lists:all(
                    fun
                        ({{value, N}, Result}) -> Result =:= {ok, -N};
                        ({{fail, _}, {error, {'TypeError', _}}}) -> true;
                        (_) -> false
                    end,
                    lists:zip(Items, Results)
                )
        end
    ).

inner(Context, N) ->
    [{ok, Negative}] = py:call_many(Context, operator, neg, [[N]]),
    Negative.

prop_batches(Context) ->
    ?FORALL(
        Batches,
        proper_types:resize(4, proper_types:non_empty(proper_types:list(caller()))),
        begin
            Started = [start(Context, Batch, Tag) || {Tag, Batch} <- lists:enumerate(Batches)],
            Wrong = [{Batch, What} || {Batch, Caller} <- lists:zip(Batches, Started), What <- wrong(Context, Batch, Caller)],
            case {Wrong, py:call(Context, math, sqrt, [16])} of
                {[], {ok, 4.0}} ->
                    true;
                Failed ->
                    ct:pal("batches ~tp~nwhat is wrong, and what the context says ~tp", [Batches, Failed]),
                    false
            end
        end
    ).

caller() ->
    proper_types:tuple([
        proper_types:resize(40, proper_types:list(item())),
        proper_types:frequency([
            {4, finish},
            {2, proper_types:tuple([time_out, proper_types:integer(0, 20)])},
            {1, interrupt},
            {1, kill}
        ])
    ]).

item() ->
    proper_types:tuple([
        proper_types:frequency([{6, value}, {2, fail}, {1, call}, {1, batch}]), proper_types:integer(0, 1000)
    ]).

start(Context, {Items, End}, Tag) ->
    Args = [[atom_to_binary(Kind), N, Tag] || {Kind, N} <- Items],
    Options = case End of {time_out, Timeout} -> #{timeout => Timeout}; _ -> #{} end,
    Caller = py_suite:spawn_caller(fun() -> py:call_many(Context, ct_batches, act, Args, Options) end),
    case End of
        kill -> true = exit(element(1, Caller), kill);
        interrupt -> _ = py:interrupt(Context);
        _ -> true
    end,
    Caller.

wrong(_Context, {Items, End}, Caller) ->
    case {End, py_suite:await_down(Caller, ?DEADLINE)} of
        {kill, {died, killed}} -> [];
        {_, {result, Results}} -> [{End, Results} || not fits(Items, Results, [timeout || is_tuple(End)] ++ [interrupted])];
        Other -> [Other]
    end.

%% An interrupt is of whatever runs at the time.
fits([Item | Items], [Result | Results], Reasons) ->
    case Result of
        {error, Reason} when is_atom(Reason) ->
            lists:member(Reason, Reasons) andalso length(Items) =:= length(Results) andalso
                lists:usort([Result | Results]) =:= [Result];
        _ ->
            is_result(Item, Result) andalso fits(Items, Results, Reasons)
    end;
fits([], [], _Reasons) ->
    true;
fits(_Items, _Results, _Reasons) ->
    false.

is_result({value, N}, Result) -> Result =:= {ok, N};
is_result({fail, N}, Result) -> Result =:= {error, {'ValueError', integer_to_list(N)}};
is_result({call, N}, Result) -> Result =:= {ok, N + 1};
is_result({batch, N}, Result) -> Result =:= {ok, -N} orelse is_interrupted(Result).

%% The inner batch was, and its function fails.
is_interrupted({error, {error, {badmatch, [{error, interrupted}]}}}) -> true;
is_interrupted(_) -> false.
