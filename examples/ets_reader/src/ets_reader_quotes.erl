%% The Python side: a context with quotes.py in it. The two live and die together.
-module(ets_reader_quotes).
-behaviour(gen_server).

-export([start_link/0, quote/0, context/0]).
-export([init/1, handle_call/3, handle_cast/2]).

%% What the basket of the calling process costs. Python runs in the context; what it asks of Erlang runs here.
-spec quote() -> {ok, map()} | {error, term()}.
quote() ->
    py:call(context(), quotes, quote, [], #{timeout => 5000}).

-spec context() -> pid().
context() ->
    gen_server:call(?MODULE, context).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, pid()} | {stop, term()}.
init([]) ->
    Mode = application:get_env(ets_reader, mode, py:execution_mode()),
    {ok, Context} = py_context:start_link(?MODULE, Mode, #{}),
    Folder = unicode:characters_to_binary(code:priv_dir(ets_reader)),
    case py:call(Context, sys, 'path.append', [Folder]) of
        {ok, none} -> {ok, Context};
        {error, Reason} -> {stop, Reason}
    end.

-spec handle_call(context, gen_server:from(), pid()) -> {reply, pid(), pid()}.
handle_call(context, _From, Context) ->
    {reply, Context, Context}.

-spec handle_cast(term(), pid()) -> {noreply, pid()}.
handle_cast(_Message, Context) ->
    {noreply, Context}.
