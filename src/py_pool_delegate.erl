-module(py_pool_delegate).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Stands in a pool for a context on another node: starts it there, so that the pool waits for no node, tells the
%% pool `{py_context_ready, Delegate, Context}', and ends with the reason of its end. The context in turn ends
%% with its delegate: one that was started while the connection broke is nobody's, and does not stay.

-export([start_link/2, init/3]).

%% How long a context on another node may take to end before the pool goes without it.
-define(END_TIMEOUT, 5_000).

-spec start_link(node(), py_context_process:options()) -> pid().
start_link(Node, Options) ->
    erlang:spawn_link(?MODULE, init, [self(), Node, Options]).

-spec init(pid(), node(), py_context_process:options()) -> no_return().
init(Pool, Node, Options) ->
    process_flag(trap_exit, true),
    %% Reaching a node may take long, and the pool may end meanwhile.
    Request = erpc:send_request(Node, py_remote_server, start_context, [
        py_remote_server:version(), Options#{pool => self()}
    ]),
    starting(Pool, Request).

starting(Pool, Request) ->
    receive
        {'EXIT', Pool, Reason} ->
            exit(Reason);
        %% That the context is ready may be heard before that it was started; it is left for later.
        Message when element(1, Message) =/= py_context_ready ->
            try erpc:check_response(Message, Request) of
                {response, {ok, Context}} -> started(Pool, Context, erlang:monitor(process, Context));
                {response, {error, Reason}} -> not_started(Reason);
                no_response -> starting(Pool, Request)
            catch
                error:{erpc, noconnection} -> not_started({context_died, noconnection});
                %% There is no such application.
                error:{exception, undef, _} -> not_started(not_running);
                Class:Reason -> not_started({context_start, {Class, Reason}})
            end
    end.

-spec not_started(term()) -> no_return().
not_started(Reason) ->
    exit({shutdown, {not_started, Reason}}).

started(Pool, Context, Monitor) ->
    receive
        {py_context_ready, Context, _Handle} ->
            Pool ! {py_context_ready, self(), Context},
            started(Pool, Context, Monitor);
        {'DOWN', Monitor, process, Context, Reason} ->
            exit(Reason);
        {'EXIT', Pool, Reason} ->
            true = exit(Context, shutdown),
            receive
                {'DOWN', Monitor, process, Context, _} -> ok
            after ?END_TIMEOUT -> ok
            end,
            exit(Reason);
        _ ->
            started(Pool, Context, Monitor)
    end.
