-module(py_inline).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% Which calls run on the calling scheduler, where their context allows it.
%%
%%   {{Module, Function}, inline | auto, {Module, Function}}    the names as binaries; the names as given
%%   {[pool | Pool], inline | auto}                             what holds for the calls of a pool
%%
%% See py_rows. A look into the table costs as much as a third of a call that runs inline, so the native library has
%% the marks as well, by names that are atoms, as most calls give them.

-export([start_link/0, dispatch/1, dispatch/2, asked/2, mark/2, unmark/1, marked/0, put_pool/2, allow/1]).
-export([seen/1, slow/4]).
-export([init/1, handle_call/3, handle_cast/2]).
-export_type([dispatch/0, named/0, seen/0]).

-include_lib("kernel/include/logger.hrl").

-type dispatch() :: mailbox | inline | auto.
-type name() :: atom() | binary().
-type named() :: {Module :: name(), Function :: name()}.
-type seen() :: #{
    calls := non_neg_integer(),
    slow := non_neg_integer(),
    interrupted := non_neg_integer(),
    mailbox := #{atom() => pos_integer()},
    learned := #{
        {binary(), binary()} => #{
            inline := boolean(), short := non_neg_integer(), needed := pos_integer(), sent_back := non_neg_integer()
        }
    }
}.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% ------------------------------------------------------------------------------------------------
%% For each call

%% How a call of a context goes that says nothing of it.
-spec dispatch(py_nif:payload()) -> dispatch().
dispatch(Payload) ->
    case py_rows:is_empty(?MODULE) of
        true -> mailbox;
        false -> marked(Payload, mailbox)
    end.

%% The same for one that goes to a pool. A function's mark counts more than its pool.
-spec dispatch(atom(), py_nif:payload()) -> dispatch().
dispatch(Pool, Payload) ->
    case py_rows:is_empty(?MODULE) of
        true -> mailbox;
        false -> chosen(Pool, Payload)
    end.

chosen(Pool, {eval, _Code, _Locals}) ->
    of_pool(Pool);
chosen(Pool, {call, _, _, _, _} = Payload) ->
    case marked(Payload, none) of
        none -> of_pool(Pool);
        Marked -> Marked
    end;
chosen(_Pool, _Payload) ->
    mailbox.

marked({call, Module, Function, _Args, _Kwargs}, Default) -> mark_of(Module, Function, Default);
marked(_Payload, Default) -> Default.

%% How a call goes that says it.
-spec asked(dispatch(), py_nif:payload()) -> dispatch().
asked(auto, Payload) ->
    case marked(Payload, none) of
        %% Whether it may run on any thread is not known.
        none -> mailbox;
        _ -> auto
    end;
asked(Dispatch, _Payload) ->
    Dispatch.

mark_of(Module, Function, Default) when is_atom(Module), is_atom(Function) ->
    case py_nif:inline_mark(Module, Function) of
        none -> Default;
        {error, not_running} -> Default;
        Dispatch -> Dispatch
    end;
mark_of(Module, Function, Default) ->
    looked_up({binary(Module), binary(Function)}, Default).

of_pool(Pool) ->
    looked_up([pool | Pool], mailbox).

looked_up(Key, Default) ->
    try ets:lookup(?MODULE, Key) of
        [Row] -> element(2, Row);
        [] -> Default
    catch
        %% The application does not run.
        error:badarg -> Default
    end.

binary(Name) when is_binary(Name) -> Name;
binary(Name) -> atom_to_binary(Name).

%% ------------------------------------------------------------------------------------------------
%% Changes

-spec mark(named(), inline | auto) -> ok | {error, not_running}.
mark({Module, Function} = Given, Dispatch) ->
    call({put, [{{binary(Module), binary(Function)}, Dispatch, Given}]}).

-spec unmark(named()) -> ok | {error, not_running}.
unmark({Module, Function}) ->
    call({delete, [{binary(Module), binary(Function)}]}).

-spec marked() -> [{named(), inline | auto}] | {error, not_running}.
marked() ->
    try
        [{Given, Dispatch} || {_, Dispatch, Given} <- lists:sort(mark_rows())]
    catch
        error:badarg -> {error, not_running}
    end.

mark_rows() ->
    ets:match_object(?MODULE, {'_', '_', '_'}).

%% What holds for the calls of a pool; `mailbox' also when it is gone.
-spec put_pool(atom(), dispatch()) -> ok | {error, not_running}.
put_pool(Pool, mailbox) -> call({delete, [[pool | Pool]]});
put_pool(Pool, Dispatch) -> call({put, [{[pool | Pool], Dispatch}]}).

%% The switch of the node.
-spec allow(boolean()) -> ok | {error, not_running}.
allow(On) ->
    call({allow, On}).

call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_running}
    end.

%% ------------------------------------------------------------------------------------------------
%% What was seen

%% Of the context with this number; `undefined' where nothing can run inline.
-spec seen(pos_integer()) -> seen() | undefined.
seen(Serial) ->
    case py_nif:inline_seen(Serial) of
        {Calls, Slow, Interrupted, Refused, Learned} ->
            #{
                calls => Calls,
                slow => Slow,
                interrupted => Interrupted,
                mailbox => maps:from_list(Refused),
                learned => maps:from_list([learned(One) || One <- Learned])
            };
        _ ->
            undefined
    end.

learned({Module, Function, Trusted, Streak, Needed, Disappointments}) ->
    {{Module, Function}, #{inline => Trusted, short => Streak, needed => Needed, sent_back => Disappointments}}.

%% A call has held its scheduler up; `Count' have, in this context.
-spec slow(term(), What, non_neg_integer(), pos_integer()) -> ok when
    What :: {call, name(), name(), arity()} | {eval, binary()}.
slow(Context, What, Microseconds, Count) ->
    ?LOG_WARNING(
        "Python context ~0p: ~ts held a scheduler of Erlang for ~.1f ms, as it ran inline; ~b such calls so far",
        [Context, what(What), Microseconds / 1000, Count]
    ).

what({call, Module, Function, Arity}) ->
    io_lib:format("~ts:~ts/~b", [binary(Module), binary(Function), Arity]);
what({eval, Code}) ->
    io_lib:format("~0tP", [Code, 20]).

%% ------------------------------------------------------------------------------------------------
%% The owner of the table

-spec init([]) -> {ok, []}.
init([]) ->
    ok = py_rows:open(?MODULE),
    ok = publish_marks(),
    ok = py_nif:inline_allow(py_config:get(inline_dispatch)),
    ok = py_nif:inline_limit(py_config:get(inline_limit)),
    {ok, []}.

-spec handle_call(term(), gen_server:from(), []) -> {reply, term(), []}.
handle_call({put, Rows}, _From, State) ->
    ok = py_rows:insert(?MODULE, Rows),
    {reply, publish_marks(), State};
handle_call({allow, On}, _From, State) ->
    {reply, py_nif:inline_allow(On), State};
handle_call({delete, Keys}, _From, State) ->
    ok = py_rows:delete(?MODULE, Keys),
    {reply, publish_marks(), State};
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

-spec handle_cast(term(), []) -> {noreply, []}.
handle_cast(_Request, State) ->
    {noreply, State}.

publish_marks() ->
    py_nif:inline_marks([
        {Module, Function, Dispatch}
     || {Named, Dispatch, _Given} <- mark_rows(), {Module, Function} <- atoms(Named)
    ]).

%% An atom has no more characters.
atoms({Module, Function}) ->
    try
        [{binary_to_atom(Module), binary_to_atom(Function)}]
    catch
        error:_ -> []
    end.
