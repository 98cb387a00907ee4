%% @doc A Mnesia transaction around a Python call.
%%
%% The function `transfer' of transfers.py reads and writes accounts by calling Erlang. Since these functions run in the
%% process that waits for Python, they are in the transaction of that process:
%%
%%   * an exception in Python takes everything back;
%%   * an abort in Erlang, below Python, ends the Python code and the transaction;
%%   * where Mnesia restarts the transaction, because another one was first, the Python function runs anew.
%%
%% `main/0' shows all that and ends the node; `run.sh' calls it.
-module(mnesia_transfer).

-export([main/0, run/1]).
-export([transfer/4, balance/1, set_balance/1]).

-export_type([options/0, report/0]).

%% Every key may be left out.
-type options() :: #{
    mode => owngil | worker,
    %% the folder that transfers.py is in
    folder => file:name_all(),
    quiet => boolean()
}.
-type report() :: #{
    receipt := map(),
    refused := {aborted, term()},
    aborted := {aborted, term()},
    met := #{runs := pos_integer(), results := [{atomic, map()}]},
    many := #{transfers := pos_integer(), runs := pos_integer(), total := integer()}
}.
-type account() :: binary().

-record(account, {id :: account(), balance :: integer()}).

-define(OFFERED, [balance, set_balance]).
-define(ACCOUNTS, [<<"anna">>, <<"boris">>, <<"clara">>]).
-define(BALANCE, 1000).
-define(TELLERS, 4).
-define(TRANSFERS, 100).

%% @doc Runs the example, and ends the node: with 0, or with 1 when something failed.
-spec main() -> no_return().
main() ->
    Folder = filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv"),
    Status =
        try run(#{folder => Folder}) of
            _Report -> 0
        catch
            Class:Reason:Stack ->
                io:format(standard_error, "~nfailed: ~tp~n", [{Class, Reason, Stack}]),
                1
        end,
    halt(Status).

-spec run(options()) -> report().
run(Opts) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, _} = application:ensure_all_started(mnesia),
    {atomic, ok} = mnesia:create_table(account, [{attributes, record_info(fields, account)}]),
    lists:foreach(fun(Name) -> ok = py:register_function(Name, ?MODULE, Name) end, ?OFFERED),
    reset_runs(),
    [One, _] = Contexts = [new_context(Opts) || _ <- [1, 2]],
    try
        #{
            receipt => goes_through(One, Opts),
            refused => refused_in_python(One, Opts),
            aborted => aborted_in_erlang(One, Opts),
            met => meeting(Contexts, Opts),
            many => many(Contexts, Opts)
        }
    after
        lists:foreach(fun py_context:stop/1, Contexts),
        lists:foreach(fun py:unregister_function/1, ?OFFERED),
        {atomic, ok} = mnesia:delete_table(account)
    end.

new_context(Opts) ->
    {ok, Context} = py_context:new(#{mode => maps:get(mode, Opts, py:execution_mode())}),
    Folder = unicode:characters_to_binary(maps:get(folder, Opts)),
    {ok, none} = py:call(Context, sys, 'path.append', [Folder]),
    Context.

%%% The transaction, and what Python calls in it

%% @doc Moves an amount from one account to another, by the rules in Python.
-spec transfer(pid(), account(), account(), integer()) -> {atomic, map()} | {aborted, term()}.
transfer(Context, Source, Target, Amount) ->
    mnesia:transaction(fun() ->
        ok = counters:add(runs(), 1, 1),
        case py:call(Context, transfers, transfer, [Source, Target, Amount], #{timeout => 30_000}) of
            {ok, Receipt} -> Receipt;
            {error, Reason} -> mnesia:abort(Reason)
        end
    end).

%% @doc erlang.balance(account)
-spec balance([account()]) -> integer().
balance([Id]) ->
    %% A lock for writing, which the transfer will want.
    case mnesia:read(account, Id, write) of
        [#account{balance = Balance}] ->
            after_first_lock(),
            Balance;
        [] ->
            mnesia:abort({no_account, Id})
    end.

%% @doc erlang.set_balance(account, balance)
-spec set_balance([account() | integer()]) -> ok.
set_balance([Id, Balance]) ->
    mnesia:write(#account{id = Id, balance = Balance}).

%%% One at a time

goes_through(Context, Opts) ->
    fill(),
    {atomic, Receipt} = transfer(Context, <<"anna">>, <<"boris">>, 300),
    [700, 1300, 1000] = balances(),
    say(Opts, "a transfer         ~tp~n", [Receipt]),
    Receipt.

refused_in_python(Context, Opts) ->
    fill(),
    {aborted, {'Refused', "anna is short of 500"}} = Result = transfer(Context, <<"anna">>, <<"boris">>, 1500),
    untouched(),
    say(Opts, "refused in Python  ~tp~n", [Result]),
    Result.

aborted_in_erlang(Context, Opts) ->
    fill(),
    {aborted, {no_account, <<"zoe">>}} = Result = transfer(Context, <<"anna">>, <<"zoe">>, 1),
    untouched(),
    say(Opts, "aborted in Erlang  ~tp~n", [Result]),
    Result.

%%% Two that want the same two accounts, in opposite order

%% Each has locked its first account before either wants its second. Mnesia lets one go on, and restarts the other.
meeting([One, Two], Opts) ->
    fill(),
    reset_runs(),
    Main = self(),
    Meet = fun() ->
        Main ! {locked, self()},
        receive
            go_on -> ok
        end
    end,
    Tellers = [
        teller(fun() ->
            _ = put(after_first_lock, Meet),
            transfer(Context, Source, Target, 100)
        end)
     || {Context, Source, Target} <- [{One, <<"anna">>, <<"boris">>}, {Two, <<"boris">>, <<"anna">>}]
    ],
    lists:foreach(fun({Pid, _}) -> receive {locked, Pid} -> ok end end, Tellers),
    lists:foreach(fun({Pid, _}) -> Pid ! go_on end, Tellers),
    Results = [{atomic, _}, {atomic, _}] = lists:map(fun result/1, Tellers),
    untouched(),
    Runs = counters:get(runs(), 1),
    true = Runs > 2,
    say(Opts, "two that met       both went through, in ~b runs of the Python function~n", [Runs]),
    #{runs => Runs, results => Results}.

%% The process that waits for Python has the lock, and this, in its dictionary.
after_first_lock() ->
    case erase(after_first_lock) of
        undefined -> ok;
        Meet -> Meet()
    end.

%%% Many at the same time

many(Contexts, Opts) ->
    fill(),
    reset_runs(),
    Tellers = [
        teller(fun() -> random_transfers(Context, ?TRANSFERS) end)
     || _ <- lists:seq(1, ?TELLERS div length(Contexts)), Context <- Contexts
    ],
    lists:foreach(fun(Teller) -> ok = result(Teller) end, Tellers),
    Total = lists:sum(balances()),
    Total = ?BALANCE * length(?ACCOUNTS),
    Runs = counters:get(runs(), 1),
    say(Opts, "~b at once          ~b transfers in ~b runs of the Python function; the total is still ~b~n", [
        ?TELLERS, ?TELLERS * ?TRANSFERS, Runs, Total
    ]),
    #{transfers => ?TELLERS * ?TRANSFERS, runs => Runs, total => Total}.

random_transfers(_Context, 0) ->
    ok;
random_transfers(Context, Left) ->
    [{_, Source}, {_, Target} | _] = lists:sort([{rand:uniform(), Account} || Account <- ?ACCOUNTS]),
    case transfer(Context, Source, Target, rand:uniform(400)) of
        {atomic, _} -> ok;
        {aborted, {'Refused', _}} -> ok
    end,
    random_transfers(Context, Left - 1).

teller(Work) ->
    spawn_monitor(fun() -> exit({result, Work()}) end).

result({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {result, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> exit({teller_failed, Reason})
    end.

%%% Helpers

fill() ->
    {atomic, ok} = mnesia:transaction(fun() ->
        lists:foreach(fun(Id) -> ok = set_balance([Id, ?BALANCE]) end, ?ACCOUNTS)
    end),
    ok.

balances() ->
    {atomic, Balances} = mnesia:transaction(fun() -> [balance([Id]) || Id <- ?ACCOUNTS] end),
    Balances.

untouched() ->
    [?BALANCE, ?BALANCE, ?BALANCE] = balances(),
    ok.

%% How often the transaction's function has run, restarts included.
runs() ->
    persistent_term:get(?MODULE).

reset_runs() ->
    persistent_term:put(?MODULE, counters:new(1, [])).

say(#{quiet := true}, _Format, _Args) -> ok;
say(_Opts, Format, Args) -> io:format(Format, Args).
