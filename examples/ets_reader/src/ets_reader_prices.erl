%% The price list: a table that everybody reads, and only its owner writes.
-module(ets_reader_prices).
-behaviour(gen_server).

-export([start_link/0, set/2, price/1]).
-export([init/1, handle_call/3, handle_cast/2]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Sets the price of an article, in cents.
-spec set(binary(), non_neg_integer()) -> ok.
set(Article, Cents) ->
    gen_server:call(?MODULE, {set, Article, Cents}).

%% Python's erlang.price(article). It runs in the process that waits for Python, so there is no process here that all
%% would have to queue for.
-spec price([binary()]) -> non_neg_integer().
price([Article]) ->
    case ets:lookup(?MODULE, Article) of
        [{Article, Cents}] -> Cents;
        [] -> throw({unknown_article, Article})
    end.

-spec init([]) -> {ok, none}.
init([]) ->
    ?MODULE = ets:new(?MODULE, [named_table, protected, {read_concurrency, true}]),
    {ok, none}.

-spec handle_call({set, binary(), non_neg_integer()}, gen_server:from(), none) -> {reply, ok, none}.
handle_call({set, Article, Cents}, _From, none) ->
    true = ets:insert(?MODULE, {Article, Cents}),
    {reply, ok, none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_Message, none) ->
    {noreply, none}.
