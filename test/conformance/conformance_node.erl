%% What runs in the node of the tests: a context at a time, and a test at a time in it.
-module(conformance_node).

-export([start/2, open/3, run/3]).

-define(SECONDS, 1000).

%% The version of Python; `{skip, Reason}' where it cannot do what the mode needs.
-spec start(py_context:mode(), file:filename()) -> {ok, [non_neg_integer()]} | {skip, string()}.
start(Mode, Folder) ->
    ok = logger:set_primary_config(level, none),
    %% For the exit statuses of child processes.
    ok = os:set_signal(sigchld, default),
    ok = application:load(erlang_python),
    ok = application:set_env(erlang_python, num_contexts, 1),
    ok = application:set_env(erlang_python, context_mode, Mode),
    {ok, _} = application:ensure_all_started(erlang_python),
    persistent_term:put({?MODULE, folder}, unicode:characters_to_binary(Folder)),
    persistent_term:put({?MODULE, mode}, Mode),
    case Mode =:= owngil andalso py:execution_mode() =/= owngil of
        true -> {skip, "this Python has no interpreters with GILs of their own"};
        false -> py:eval(<<"list(__import__('sys').version_info[:3])">>)
    end.

%% A new context in the place of the one before, and the classes with their tests.
-spec open(binary(), binary(), binary()) -> {ok, [{binary(), [binary()]}]} | {missing, binary()} | {error, term()}.
open(Loop, Package, Module) ->
    ok = close(persistent_term:get({?MODULE, context}, none)),
    {ok, Context} = py_context:new(maps:merge(policy(Loop), #{mode => persistent_term:get({?MODULE, mode})})),
    persistent_term:put({?MODULE, context}, Context),
    ok = py:exec(Context, <<
        "import sys\n"
        "sys.dont_write_bytecode = True\n"
        "sys.path.insert(0, r'''", (persistent_term:get({?MODULE, folder}))/binary, "''')\n"
    >>),
    Load =
        case is_policy(Loop) of
            true -> {conformance_tests, [Package, Module]};
            false -> {conformance, [Package, Module, Loop]}
        end,
    case py:call(Context, element(1, Load), load, element(2, Load), #{timeout => 60 * ?SECONDS}) of
        {ok, Classes} when is_list(Classes) -> {ok, Classes};
        {ok, Reason} -> {missing, Reason};
        {error, Reason} -> {error, Reason}
    end.

is_policy(Loop) -> lists:member(Loop, [<<"default">>, <<"strict">>]).

policy(<<"strict">>) -> #{sandbox => strict};
policy(_) -> #{}.

close(none) -> ok;
close(Context) -> py_context:stop(Context).

-spec run(binary(), binary(), timeout()) -> {passed | failed | skipped | hangs, float(), binary()}.
run(Class, Test, Limit) ->
    Context = persistent_term:get({?MODULE, context}),
    case py:call(Context, conformance_tests, run, [Class, Test], #{timeout => Limit}) of
        {ok, {Outcome, Seconds, Texts}} -> {outcome(Outcome), Seconds, Texts};
        {error, timeout} -> {hangs, Limit / ?SECONDS, where_it_hung(Context)};
        {error, Reason} -> {failed, 0.0, iolist_to_binary(io_lib:format("~0tp", [Reason]))}
    end.

outcome(<<"passed">>) -> passed;
outcome(<<"failed">>) -> failed;
outcome(<<"skipped">>) -> skipped.

%% The traceback of the interrupt, where the test took notice of it.
where_it_hung(Context) ->
    case py:call(Context, conformance_tests, last_texts, [], #{timeout => 3 * ?SECONDS}) of
        {ok, Texts} -> Texts;
        {error, _} -> <<"goes on in spite of its interrupt">>
    end.
