-module(py_birth).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(gen_server).

%% What every context of the node is given: a virtual environment, paths, imports, and code. New contexts get it as the
%% first request of their mailbox, before anything of a user's; those that run get changes in theirs, so that whatever is
%% asked of them after a change finds it. Nobody waits for a context that is busy.
%%
%% What holds now lies in a table, where starting contexts read it; this process makes the changes, one after another. Its
%% successor finds the table, and tells all contexts once more, as this one may not have come to the last of them. A
%% change is told to a context as the whole of what holds, with a number: the interpreter ignores older ones, so the order
%% in which a context hears of a change from here and of what it is born with does not matter.

-export([start_link/0, check/0, first/0, settle_main/0, given/0, change/1]).
-export([born/3, begin_with/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([given/0, birth/0, change/0]).

-include_lib("kernel/include/logger.hrl").

-type import() :: {Module :: binary(), Function :: binary() | all}.
-type given() :: #{
    version := integer(),
    venv := none | py_birth_venv:venv(),
    paths := [binary()],
    imports := [import()],
    preload := none | binary()
}.
-type change() ::
    {venv, none | py_birth_venv:venv()}
    | {add_paths, [binary()]}
    | clear_paths
    | {add_import, import()}
    | clear_imports
    | {preload, none | binary()}.
-type birth() :: #{version := integer(), key := binary(), folders := [binary()], steps := [py_nif:step()]}.
%% `key': contexts with the same may have an interpreter after one another; see `key()'.

%% What a context has of its own stays so; the rest follows the node.
-type key() :: {
    own | node, none | py_birth_venv:venv(), Preload :: none | binary(), Paths :: [binary()]
}.

%% Requests to contexts, whose failures are logged: `#{Request => {Context, What}}'.
-type state() :: #{reference() => {pid(), change() | again}}.

%% Set once the main interpreter was changed, which outlives the application.
-define(MAIN_CHANGED, {?MODULE, main_changed}).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% Whether the application's settings can be used. Python runs.
-spec check() -> ok | {error, term()}.
check() ->
    case venv_set() of
        {ok, _} -> ok;
        {error, Reason} -> {error, {venv, Reason}}
    end.

venv_set() ->
    case {py_config:get(venv), py_venv:place()} of
        {none, none} -> {ok, none};
        {none, Declared} -> py_birth_venv:inspect(Declared);
        {Path, _} -> py_birth_venv:inspect(Path)
    end.

%% What the settings say.
-spec first() -> {ok, given()} | {error, term()}.
first() ->
    case venv_set() of
        {ok, Venv} ->
            {ok, #{
                version => version(),
                venv => Venv,
                paths => py_config:get(paths),
                imports => py_config:get(imports),
                preload => py_config:get(preload)
            }};
        {error, Reason} ->
            {error, {venv, Reason}}
    end.

-spec given() -> given() | {error, not_running}.
given() ->
    py_birth_table:read().

-spec change(change()) -> ok | {error, term()}.
change(Change) ->
    called({change, Change}).

%% The main interpreter has what the settings say: extension modules that other interpreters import begin there.
-spec settle_main() -> ok | {error, term()}.
settle_main() ->
    called(settle_main).

called(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:_ -> {error, not_running}
    end.

%% ------------------------------------------------------------------------------------------------
%% For contexts

%% What a context with these options of its own is given.
-spec born(py_context:mode(), Venv :: node | none | binary(), Preload :: node | none | binary()) ->
    {ok, birth()} | {error, term()}.
born(Mode, Venv, Preload) ->
    case {given(), own_venv(Venv)} of
        {{error, _} = Error, _} -> Error;
        {_, {error, Reason}} -> {error, {context_start, {venv, Reason}}};
        {Given, {ok, Own}} -> {ok, birth(Mode, Own, own(Preload, maps:get(preload, Given)), Given)}
    end.

own_venv(node) ->
    {ok, node};
own_venv(none) ->
    {ok, none};
own_venv(Path) ->
    py_birth_venv:inspect(Path).

own(node, OfNode) -> OfNode;
own(Own, _OfNode) -> Own.

birth(Mode, Own, Preload, #{version := Version, venv := OfNode, paths := Paths, imports := Imports}) ->
    Whose = case Own of node -> node; _ -> own end,
    Venv = own(Own, OfNode),
    Settle = [settling(Version, Venv, Paths) || is_settled(Mode, Venv, Paths)],
    Steps = Settle ++ importing(Imports) ++ [{preload, Code} || Code <- [Preload], Code =/= none],
    _ = Mode =:= worker andalso Settle =/= [] andalso main_is_changed(),
    #{version => Version, key => key({Whose, Venv, Preload, Paths}), folders => folders(Venv, Paths), steps => Steps}.

%% The main interpreter may have what another life of the application gave it.
is_settled(worker, none, []) -> persistent_term:get(?MAIN_CHANGED, false);
is_settled(owngil, none, []) -> false;
is_settled(_Mode, _Venv, _Paths) -> true.

main_is_changed() ->
    persistent_term:put(?MAIN_CHANGED, true).

settling(Version, none, Paths) ->
    {settle, [Version, <<>>, false, [], Paths]};
settling(Version, #{path := Path, system := System, sites := Sites}, Paths) ->
    {settle, [Version, Path, System, Sites, Paths]}.

importing(Imports) ->
    [{import, Module, Function} || {Module, Function} <- Imports].

folders(none, Paths) -> Paths;
folders(#{path := Path}, Paths) -> [Path | Paths].

-spec key(key()) -> binary().
key({node, none, none, []}) -> <<>>;
key(Key) -> term_to_binary(Key).

-spec read_key(binary()) -> key().
read_key(<<>>) -> {node, none, none, []};
read_key(Key) -> binary_to_term(Key).

%% The first request of a context, if there is anything to ask of it; answered to the calling process, the context's
%% own. What has changed since `born/3' the context has been told, or nobody has: it was not there yet.
-spec begin_with(py_nif:handle(), birth()) -> {ok, none | py_nif:request()} | {error, term()}.
begin_with(Handle, #{version := Version, steps := Steps, key := Key}) ->
    case given() of
        #{version := Version} -> begin_with_steps(Handle, Steps);
        #{} = Given -> begin_with_steps(Handle, renewed(Handle, Steps, read_key(Key), Given));
        {error, _} = Error -> Error
    end.

begin_with_steps(_Handle, []) ->
    {ok, none};
begin_with_steps(Handle, Steps) ->
    case py_nif:prepare(Handle, {birth, Steps}) of
        {error, _} = Error -> Error;
        Request -> {ok, Request}
    end.

renewed(Handle, Steps, Key, #{imports := Imports} = Given) ->
    {ok, Settle} = followed(Handle, Key, Given),
    [Settle | importing(Imports)] ++ [Step || {preload, _} = Step <- Steps].

%% What holds in the node, for a context with this key.
followed(Target, {Whose, Own, Preload, _}, #{version := Version, venv := OfNode, paths := Paths}) ->
    Venv = case Whose of own -> Own; node -> OfNode end,
    case py_nif:context_settle(Target, key({Whose, Venv, Preload, Paths}), folders(Venv, Paths)) of
        ok -> {ok, settling(Version, Venv, Paths)};
        {error, _} = Error -> Error
    end.

%% ------------------------------------------------------------------------------------------------
%% The process

-spec init([]) -> {ok, state()} | {ok, state(), {continue, again}}.
init([]) ->
    case py_birth_table:is_first(self()) of
        true -> {ok, #{}};
        false -> {ok, #{}, {continue, again}}
    end.

-spec handle_continue(again, state()) -> {noreply, state()}.
handle_continue(again, State) ->
    Given = (given())#{version := version()},
    case in_main(Given) of
        ok -> ok;
        {error, Reason} -> ?LOG_ERROR("Python's main interpreter may lack paths of packages: ~tp", [Reason])
    end,
    ok = py_birth_table:write(Given),
    {noreply, told(again, fun(Pid, Key) -> retold(Pid, Key, Given) end, State)}.

%% Later ones are greater, in all lives of the application.
version() ->
    erlang:unique_integer([monotonic]).

-spec handle_call(term(), gen_server:from(), state()) -> {reply, ok | {error, term()}, state()}.
handle_call({change, Change}, _From, State) ->
    Given = given(),
    case changed(Change, Given) of
        Given -> {reply, ok, State};
        Changed -> make(Change, Changed#{version := version()}, State)
    end;
handle_call(settle_main, _From, State) ->
    case given() of
        #{venv := none, paths := []} -> {reply, ok, State};
        Given -> {reply, in_main(Given), State}
    end;
handle_call(_Request, _From, State) ->
    {reply, {error, unexpected_call}, State}.

changed({venv, Venv}, Given) -> Given#{venv := Venv};
changed({add_paths, Paths}, #{paths := Before} = Given) -> Given#{paths := Before ++ (uniq(Paths) -- Before)};
changed(clear_paths, Given) -> Given#{paths := []};
changed({add_import, Import}, #{imports := Before} = Given) -> Given#{imports := Before ++ ([Import] -- Before)};
changed(clear_imports, Given) -> Given#{imports := []};
changed({preload, Code}, Given) -> Given#{preload := Code}.

uniq([First | Others]) -> [First | uniq([Other || Other <- Others, Other =/= First])];
uniq([]) -> [].

%% Where packages come from is the main interpreter's concern, too, and its first.
make(Change, Given, State) when element(1, Change) =:= venv; element(1, Change) =:= add_paths; Change =:= clear_paths ->
    case in_main(Given) of
        ok ->
            ok = py_birth_table:write(Given),
            {reply, ok, told(Change, fun(Pid, Key) -> settled(Pid, Key, Given) end, State)};
        {error, _} = Error ->
            {reply, Error, State}
    end;
make({add_import, Import} = Change, Given, State) ->
    ok = py_birth_table:write(Given),
    Steps = importing([Import]),
    {reply, ok, told(Change, fun(Pid, _Key) -> py_nif:prepare(Pid, {birth, Steps}) end, State)};
make(_Change, Given, State) ->
    %% Later contexts are born with it.
    ok = py_birth_table:write(Given),
    {reply, ok, State}.

%% What has nothing now may have had something.
retold(Pid, Key, #{imports := Imports} = Given) ->
    case followed(Pid, Key, Given) of
        {ok, Step} -> py_nif:prepare(Pid, {birth, [Step | importing(Imports)]});
        {error, _} = Error -> Error
    end.

settled(Pid, Key, Given) ->
    case followed(Pid, Key, Given) of
        {ok, Step} -> py_nif:prepare(Pid, {birth, [Step]});
        {error, _} = Error -> Error
    end.

told(Change, Tell, State) ->
    lists:foldl(
        fun({Pid, Key}, Asked) ->
            case Tell(Pid, read_key(Key)) of
                %% It has ended meanwhile.
                {error, _} -> Asked;
                Request -> Asked#{Request => {Pid, Change}}
            end
        end,
        State,
        py_nif:contexts()
    ).

%% A context of mode `worker' that does nothing but being born. Where there are no others, this waits for none.
in_main(Given) ->
    ok = main_is_changed(),
    {ok, Options} = py_pool_options:context(#{
        mode => worker, max_queue => infinity, sandbox => default, memory_limit => infinity, max_result_size => infinity,
        venv => node, preload => none
    }),
    Birth = birth(worker, node, none, Given#{imports := []}),
    %% It does not hold yet, so nothing later is to take its place.
    #{version := Now} = given(),
    case py_context:new_with(Options#{id => main_interpreter, birth => Birth#{version := Now}}) of
        {ok, Context} -> py_context:stop(Context);
        {error, _} = Error -> Error
    end.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({py_response, Request, Result}, State) when is_map_key(Request, State) ->
    {{Pid, Change}, Left} = maps:take(Request, State),
    ok = report(Result, Pid, Change),
    {noreply, Left};
handle_info(_Message, State) ->
    {noreply, State}.

report(ok, _Pid, _Change) ->
    ok;
report({error, {context_died, _}}, _Pid, _Change) ->
    ok;
report({error, Reason}, Pid, Change) ->
    ?LOG_ERROR("Python context ~p: ~p has failed: ~tp", [Pid, named(Change), Reason]).

named({venv, none}) -> deactivate_venv;
named({venv, #{path := Path}}) -> {activate_venv, Path};
named(again) -> what_the_node_says;
named(Change) -> Change.
