-module(py_reactor_places).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Finding a context of a listener for a connection, and waiting while there is none: then nothing is accepted, and new
%% connections wait in the system's queue.

-export([set/2, fewest/2, give/3]).

%% Milliseconds until all contexts are tried again, when none has taken a connection.
-define(SOON, 2).
-define(LATE, 50).
%% Microseconds after which a handler that runs is one that blocks: others come first.
-define(BLOCKS, 100_000).

%% The contexts that take connections now; the calling process manages them.
-spec set(term(), [py_nif:handle()]) -> ok | {error, not_running}.
set(Name, Handles) ->
    py_reactor_table:put({Name, places}, Handles).

%% The context with the fewest connections, and how many it may get before another one has fewer.
-spec fewest(term(), pos_integer()) -> {free, py_nif:handle(), pos_integer()} | {full, [py_nif:handle()]}.
fewest(Name, Most) ->
    Handles = handles(Name),
    case lists:sort([{Load, Handle} || Handle <- Handles, Load <- load(py_nif:reactor_stats(Handle))]) of
        [] -> {full, Handles};
        [{_Load, Handle}] -> {free, Handle, Most};
        [{{Blocks, Active, _}, Handle}, {{Blocks, Next, _}, _} | _] -> {free, Handle, min(Most, Next - Active + 1)};
        [{_Load, Handle} | _] -> {free, Handle, 1}
    end.

%% Of two with as many connections the one that has had fewer comes first.
load({Active, Total, _, Max, Busy}) when Active < Max -> [{Busy > ?BLOCKS, Active, Total}];
load(_Full) -> [].

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
