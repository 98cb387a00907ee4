-module(ets_reader_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Children = [
        #{id => Module, start => {Module, start_link, []}}
     || Module <- [ets_reader_prices, ets_reader_quotes]
    ],
    {ok, {#{strategy => one_for_one}, Children}}.
