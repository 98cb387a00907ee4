-module(py_reactor_places).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Finding a context of a listener for a connection, and waiting while there is none: then nothing is accepted, and new
%% connections wait in the system's queue.

-export([set/2, by_load/1, tell_when_free/2, give/3]).

%% Milliseconds until all contexts are asked again, when none has taken a connection.
-define(SOON, 2).
-define(LATE, 50).

%% The contexts that take connections now; the calling process manages them.
-spec set(term(), [py_nif:handle()]) -> ok | {error, not_running}.
set(Name, Handles) ->
    Set = py_reactor_table:put({Name, places}, Handles),
    %% One that waits for a place may have none of these in view.
    _ = [Acceptor ! {py_reactor_acceptor, changed} || Acceptor <- py_reactor_listener_sup:acceptors(Name)],
    Set.

%% Those that have room, the one with the fewest connections first.
-spec by_load(term()) -> [py_nif:handle()].
by_load(Name) ->
    case handles(Name) of
        [_] = Only -> Only;
        Handles -> [Handle || {_, Handle} <- lists:keysort(1, lists:flatmap(fun room/1, Handles))]
    end.

room(Handle) ->
    case py_nif:reactor_stats(Handle) of
        {Active, _, _, Max, _} when Active < Max -> [{Active, Handle}];
        _ -> []
    end.

%% The calling process, an acceptor, gets the message when there may be room; it is told, too, when there are others to
%% ask.
-spec tell_when_free(term(), term()) -> ok.
tell_when_free(Name, Message) ->
    lists:foreach(fun(Handle) -> py_nif:reactor_when_free(Handle, Message) end, handles(Name)).

%% Hands a descriptor over, and waits for a context that takes it as long as it takes.
-spec give(term(), non_neg_integer(), map()) -> ok | {error, ebadf}.
give(Name, Fd, Info) ->
    give(Name, Fd, Info, ?SOON).

give(Name, Fd, Info, Milliseconds) ->
    case py_reactor_context:handoff_fd(handles(Name), Fd, Info) of
        ok ->
            ok;
        {error, ebadf} = Error ->
            Error;
        %% All are full or about to go, or the system has no descriptors left.
        {error, _} ->
            ok = wait(Milliseconds),
            give(Name, Fd, Info, longer(Milliseconds))
    end.

handles(Name) ->
    case py_reactor_table:get({Name, places}) of
        {ok, Handles} -> Handles;
        none -> []
    end.

wait(Milliseconds) ->
    receive
    after Milliseconds -> ok
    end.

longer(Milliseconds) -> min(2 * Milliseconds, ?LATE).
