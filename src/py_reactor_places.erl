-module(py_reactor_places).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Finding a context of a listener for a connection, and waiting while there is none: then nothing is accepted, and new
%% connections wait in the system's queue.

-export([set/2, await/1, give/3]).

%% Milliseconds until all contexts are asked again, when none has taken a connection.
-define(SOON, 2).
-define(LATE, 50).

%% The contexts that take connections now; the calling process manages them.
-spec set(term(), [py_nif:handle()]) -> ok | {error, not_running}.
set(Name, Handles) ->
    py_reactor_table:put({Name, places}, Handles).

%% Returns when some context has room.
-spec await(term()) -> ok.
await(Name) ->
    await(Name, ?SOON).

await(Name, Milliseconds) ->
    case lists:any(fun has_room/1, handles(Name)) of
        true ->
            ok;
        false ->
            ok = wait(Milliseconds),
            await(Name, longer(Milliseconds))
    end.

has_room(Handle) ->
    case py_nif:reactor_stats(Handle) of
        {Active, _, _, Max, _} -> Active < Max;
        {error, _} -> false
    end.

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
