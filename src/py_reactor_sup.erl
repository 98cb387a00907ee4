-module(py_reactor_sup).
-include("py_doc.hrl").
?MODULEDOC(false).
-behaviour(supervisor).

%% What is known of reactors, and the listeners of this node.

-export([start_link/0, start_listeners/0, start_listener/1, stop_listener/1, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, top).

-spec start_listeners() -> supervisor:startlink_ret().
start_listeners() ->
    supervisor:start_link({local, py_reactor_listeners}, ?MODULE, listeners).

-spec start_listener(supervisor:child_spec()) -> {ok, pid()} | {error, term()}.
start_listener(#{id := Id} = Spec) ->
    case ask(start_child, [Spec]) of
        {ok, Pid} when is_pid(Pid) ->
            {ok, Pid};
        {error, already_present} ->
            %% It was stopped by somebody who has not taken the name back yet.
            _ = ask(delete_child, [Id]),
            start_listener(Spec);
        {error, {already_started, _}} ->
            {error, already_started};
        {error, {Reason, Child}} when is_tuple(Child), element(1, Child) =:= child ->
            {error, Reason};
        {error, _} = Error ->
            Error
    end.

-spec stop_listener(term()) -> ok | {error, not_found | not_running}.
stop_listener(Id) ->
    case ask(terminate_child, [Id]) of
        ok ->
            _ = ask(delete_child, [Id]),
            ok;
        {error, _} = Error ->
            Error
    end.

ask(Function, Arguments) ->
    try
        apply(supervisor, Function, [py_reactor_listeners | Arguments])
    catch
        exit:_ -> {error, not_running}
    end.

%% Without the table nobody finds anything, so what is listed in it goes with it.
-spec init(top | listeners) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(top) ->
    {ok, {#{strategy => rest_for_one, intensity => 5, period => 10}, [
        #{id => py_reactor_table, start => {py_reactor_table, start_link, []}},
        #{id => py_reactor_listeners, start => {?MODULE, start_listeners, []}, type => supervisor}
    ]}};
init(listeners) ->
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, []}}.
