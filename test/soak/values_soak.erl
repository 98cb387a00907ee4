-module(values_soak).
-export([main/1]).

%% Lets Erlang and Python hold values of one another while contexts come and go: references to objects, bytes
%% that Python lends and binaries that Erlang lends, environments, in tables that outlive the contexts.
%%
%%   erl -noshell -pa <ebin> -pa <this> -s values_soak main 600

-define(KEPT, 64).
-define(LARGE, 100_000).

main(Arguments) ->
    ?MODULE = ets:new(?MODULE, [named_table, public]),
    soak:main(Arguments, fun one/0).

%% One context: a few uses of values that are its own or were kept by anybody, then a stop or a kill.
one() ->
    {ok, Context} = py_context:new(#{mode => element(rand:uniform(2), {owngil, worker})}),
    Failed = lists:append([use(rand:uniform(7), Context) || _ <- lists:seq(1, rand:uniform(20))]),
    case rand:uniform(4) of
        1 -> exit(Context, kill);
        2 -> spawn(fun() -> py_context:stop(Context) end);
        _ -> py_context:stop(Context)
    end,
    Failed.

use(1, Context) ->
    {ok, Object} = py:call(Context, collections, deque, [[1, 2, 3]]),
    keep({object, Object}),
    wrong({ok, 3}, py:call(Context, builtins, len, [Object]));
use(2, Context) ->
    {ok, Bytes} = py:eval(Context, <<"b'\\xff' * n">>, #{n => ?LARGE}),
    keep({bytes, Bytes}),
    wrong(?LARGE, byte_size(Bytes));
use(3, Context) ->
    Binary = rand:bytes(?LARGE),
    keep({bytes, Binary}),
    Sum = lists:sum(binary_to_list(Binary)),
    wrong({ok, Sum}, py:call(Context, builtins, sum, [{memoryview, Binary}]));
use(4, Context) ->
    {ok, Environment} = py_context:create_local_env(Context),
    keep({environment, Environment}),
    ok = py_context:exec(Context, <<"x = [object() for _ in range(100)]">>, Environment),
    wrong({ok, 100}, py_context:eval(Context, <<"len(x)">>, #{}, infinity, Environment));
use(5, Context) ->
    %% A process that ends in the middle of a call.
    {Pid, Monitor} = spawn_monitor(fun() -> py:eval(Context, <<"[object() for _ in range(100_000)]">>) end),
    true = erlang:yield(),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, process, Pid, _} -> []
    end;
use(6, Context) ->
    Term = [#{<<"k">> => [I, I * 1.5, {I, <<"text">>}], self() => make_ref()} || I <- lists:seq(1, 200)],
    wrong({ok, Term}, py:eval(Context, <<"x">>, #{x => Term}));
use(7, Context) ->
    kept(ets:lookup(?MODULE, rand:uniform(?KEPT)), Context).

%% Whatever was there is forgotten.
keep(Value) ->
    ets:insert(?MODULE, {rand:uniform(?KEPT), Value}).

%% What belongs to another interpreter, or to a context that has ended, must be refused; nothing may break.
kept([], _Context) ->
    [];
kept([{_, {bytes, Bytes}}], Context) ->
    Size = byte_size(Bytes),
    wrong({ok, Size}, py:call(Context, builtins, len, [Bytes])) ++
        wrong({ok, Size}, py:call(Context, builtins, len, [{memoryview, Bytes}]));
kept([{_, {object, Object}}], Context) ->
    answered(py:call(Context, builtins, len, [Object])) ++ answered(py:getattr(Object, maxlen));
kept([{_, {environment, Environment}}], Context) ->
    answered(py_context:eval(Context, <<"len(x)">>, #{}, infinity, Environment)).

wrong(Expected, Expected) -> [];
wrong(_, {error, {context_died, _}}) -> [];
wrong(Expected, Other) -> [{expected, Expected, got, Other}].

answered({ok, _}) -> [];
answered({error, stale_reference}) -> [];
answered({error, {context_died, _}}) -> [];
answered({error, {'ValueError', "this reference is to an object of another interpreter" ++ _}}) -> [];
answered(Other) -> [{unexpected, Other}].
