%% A node for what may end its node.
-module(py_own_node).

-export([start/0, call/5, stop/1]).

%% With this node's code, without a name, and silent.
-spec start() -> pid().
start() ->
    Given = [Path || Path <- code:get_path(), filename:pathtype(Path) =:= absolute, not lists:prefix(code:root_dir(), Path)],
    %% Wherever PropEr is.
    Paths = [filename:dirname(File) || File <- [code:which(proper)], is_list(File)] ++ Given,
    Started = peer:start(#{
        connection => standard_io,
        wait_boot => 60_000,
        env => [{"ERL_CRASH_DUMP_SECONDS", "0"}],
        args => ["-kernel", "logger_level", "none" | lists:append([["-pa", Path] || Path <- Paths])]
    }),
    %% Releases of OTP differ in what else they tell.
    element(2, Started).

-spec call(pid(), module(), atom(), [term()], timeout()) -> term().
call(Node, Module, Function, Arguments, Timeout) ->
    peer:call(Node, Module, Function, Arguments, Timeout).

-spec stop(pid()) -> ok.
stop(Node) ->
    try
        peer:stop(Node)
    catch
        %% It has ended already.
        exit:_ -> ok
    end.
