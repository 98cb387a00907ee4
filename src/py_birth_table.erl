-module(py_birth_table).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% What every context is given, as one row. Its owner does nothing else, so that a death of `py_birth', which makes the
%% changes, loses none.

-export([start_link/0, read/0, write/1, is_first/1]).
-export([init/1, handle_call/3, handle_cast/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec read() -> py_birth:given() | {error, not_running}.
read() ->
    try ets:lookup(?MODULE, given) of
        [{given, Given}] -> Given
    catch
        error:badarg -> {error, not_running}
    end.

-spec write(py_birth:given()) -> ok.
write(Given) ->
    true = ets:insert(?MODULE, {given, Given}),
    ok.

%% Whether there was no server before this one.
-spec is_first(pid()) -> boolean().
is_first(Server) ->
    ets:insert_new(?MODULE, {server, Server}).

-spec init([]) -> {ok, []} | {stop, term()}.
init([]) ->
    case py_birth:first() of
        {ok, Given} ->
            ?MODULE = ets:new(?MODULE, [named_table, public, {read_concurrency, true}]),
            ok = write(Given),
            {ok, []};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), []) -> {reply, {error, unexpected_call}, []}.
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_Message, State) ->
    {noreply, State}.
