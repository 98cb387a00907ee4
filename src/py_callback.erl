-module(py_callback).
-include("py_doc.hrl").
?MODULEDOC("""
The Erlang functions that Python code can call by a name: `erlang.call(Name, ...)` and `erlang.Name(...)`.

A function is a fun of one argument or `{Module, Function}`; it gets the list of the arguments. Names are atoms,
binaries or strings of 1 to 255 characters, and the same name in another form is the same name. A registration goes
with `unregister/1`, or when the application stops.
""").
-behaviour(gen_server).
-include("py_arguments.hrl").

-export([register/2, unregister/1, lookup/1, execute/2]).
-export([count/0]).
-export([start_link/0, new_table/0, find/1, apply_function/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([callable/0]).

-type callable() :: fun(([term()]) -> term()) | {module(), Function :: atom()}.

%% {Name, Function}    one row a registration, the name as a binary
%%
%% The supervisor owns the table, so that it outlives this process, which makes all changes: what the native side
%% knows of names changes in the same order.

?DOC("""
Registers a function under a name; one that was registered under it before is replaced. Calls that run go on with the
function that they began with.
""").
-spec register(py:name(), callable()) -> ok | {error, not_running}.
register(Name, Function) ->
    Form = ?FORM([name, callable], [Name, Function]),
    Key = py_arguments:registration(Form, Name),
    call({register, Key, py_arguments:callable(Form, callable, Function)}).

?DOC("Takes a registration back; without effect where there is none. A call that runs is not disturbed.").
-spec unregister(py:name()) -> ok | {error, not_running}.
unregister(Name) ->
    call({unregister, py_arguments:registration(?FORM([name], [Name]), Name)}).

?DOC("The function that is registered under a name.").
-spec lookup(py:name()) -> {ok, callable()} | {error, not_found | not_running}.
lookup(Name) ->
    find(py_arguments:registration(?FORM([name], [Name]), Name)).

?DOC("""
Runs a registered function in the calling process, as a call from Python would: its value, or the kind (`error`,
`exit` or `throw`), the reason and the stack trace of what it raised.
""").
-spec execute(py:name(), [term()]) ->
    {ok, term()}
    | {error, {not_found, py:name()}}
    | {error, {Kind :: error | exit | throw, Reason :: term(), erlang:stacktrace()}}
    | {error, not_running}.
execute(Name, Args) ->
    Form = ?FORM([name, args], [Name, Args]),
    Key = py_arguments:registration(Form, Name),
    ok = py_arguments:arguments(Form, Args),
    case find(Key) of
        {ok, Function} ->
            try
                {ok, apply_function(Function, Args)}
            catch
                Kind:Reason:Stack -> {error, {Kind, Reason, Stack}}
            end;
        {error, not_found} ->
            {error, {not_found, Name}};
        {error, not_running} = Error ->
            Error
    end.

?DOC(false).
%% By the name as it was registered, which is not checked.
-spec count() -> non_neg_integer().
count() ->
    case ets:info(?MODULE, size) of
        undefined -> 0;
        Size -> Size
    end.

?DOC(false).
-spec find(binary()) -> {ok, callable()} | {error, not_found | not_running}.
find(Key) ->
    try ets:lookup(?MODULE, Key) of
        [{_, Function}] -> {ok, Function};
        [] -> {error, not_found}
    catch
        error:badarg -> {error, not_running}
    end.

?DOC(false).
-spec apply_function(callable(), [term()]) -> term().
apply_function({Module, Function}, Args) -> Module:Function(Args);
apply_function(Function, Args) -> Function(Args).

call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_running}
    end.

?DOC(false).
-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

?DOC(false).
%% The calling process owns it.
-spec new_table() -> ok.
new_table() ->
    ?MODULE = ets:new(?MODULE, [named_table, public, {read_concurrency, true}]),
    ok.

-spec init([]) -> {ok, []} | {stop, not_running}.
init([]) ->
    process_flag(trap_exit, true),
    %% One that was killed may have been in the middle of a change.
    case known([Name || {Name, _} <- ets:tab2list(?MODULE)], true) of
        ok -> {ok, []};
        {error, Reason} -> {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), []) -> {reply, ok | {error, atom()}, []}.
handle_call({register, Name, Function}, _From, State) ->
    true = ets:insert(?MODULE, {Name, Function}),
    {reply, py_nif:function_known(Name, true), State};
handle_call({unregister, Name}, _From, State) ->
    Answer = py_nif:function_known(Name, false),
    true = ets:delete(?MODULE, Name),
    {reply, Answer, State};
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), []) -> {noreply, []}.
handle_info(_Message, State) ->
    {noreply, State}.

%% Python outlives the application, and would find the names at its next start.
-spec terminate(term(), []) -> ok.
terminate(_Reason, []) ->
    _ = known([Name || {Name, _} <- ets:tab2list(?MODULE)], false),
    ok.

known([Name | Names], Known) ->
    case py_nif:function_known(Name, Known) of
        ok -> known(Names, Known);
        {error, _} = Error -> Error
    end;
known([], _Known) ->
    ok.
