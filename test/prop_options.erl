%% Every public function that takes options, with options that are partly wrong: it does its work, or says which option is
%% wrong, or refuses the argument with words. Then nothing is left of it.
-module(prop_options).

-export([setup/0, input/1, holds/2, renew/1]).

-include("support/py_properties.hrl").

setup() ->
    {ok, Context} = py_context:new(#{}),
    ok = py:exec(Context, <<"async def soon():\n    return 1\n">>),
    #{context => Context}.

%% A function; its options: those that it knows, with a value that is right and two that may be, and others.
input(_State) ->
    ?LET(
        {Function, Known},
        proper_types:elements(functions()),
        {Function, proper_types:frequency([{9, options(Known)}, {1, py_odd:term()}])}
    ).

options(Known) ->
    Value = fun(Right) -> proper_types:frequency([{4, proper_types:elements(Right)}, {1, py_odd:term()}]) end,
    Pair = proper_types:frequency([
        {8, ?LET({Key, Right}, proper_types:elements(Known), {Key, Value(Right)})},
        {1, {py_odd:term(), py_odd:term()}}
    ]),
    %% The application that a server needs, mostly.
    Needed = [{Key, proper_types:elements(Right)} || {Key, Right} <- Known, lists:member(Key, [asgi, setup_code, protocol])],
    ?LET(Pairs, py_odd:few(Pair), ?LET(First, proper_types:oneof([[], Needed]), maps:from_list(First ++ Pairs))).

functions() ->
    Any = [
        {mode, [owngil, worker]},
        {max_queue, [1, 100, infinity]},
        {conversion, [#{}, #{atoms => atom}, #{binaries => bytes, arrays => list}, #{atoms => bytes}, #{1 => 2}]},
        {sandbox, [default, strict, #{base => strict, seccomp => off}, #{network => none, imports => {deny, [json]}}, #{read => ["/tmp"]}]},
        {memory_limit, [infinity, 100_000_000]},
        {max_result_size, [infinity, 1_000_000]},
        {venv, [node, none, "/nowhere"]},
        {preload, [node, none, "x = 1", <<"1/0">>, "("]},
        {output, [group_leader, discard, logger]}
    ],
    Pool = Any ++ [{binding, [least_loaded, scheduler]}, {start, [lazy, eager]}, {nodes, [[node()], [other@nowhere]]}, {shared, [true, false]}],
    Limits = [
        {max_connections, [1, infinity]}, {idle_timeout, [1, infinity]}, {write_timeout, [1, infinity]}, {high_water, [100, 10]},
        {low_water, [0, 100]}, {drain_timeout, [0, 1]}, {lag_warning, [1, infinity]}, {paths, [[], ["/nowhere"], [<<"a">>, "b"]]},
        {setup_code, [<<"import asyncio\nclass P(asyncio.Protocol):\n    pass\nx = 1">>, <<"1/0">>, "("]},
        {on_start, [{builtins, len, [[]]}, {math, sqrt, [-1]}]}, {on_stop, [{builtins, len, [[]]}, {math, sqrt, [-1]}]}
    ],
    Served = [
        {transport, [tcp, unix, ssl]}, {port, [0]}, {ip, [{127, 0, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 1}]}, {path, ["/tmp/prop_options.sock", <<"/tmp/prop_options.2">>]},
        {backlog, [1, 10]}, {socket_opts, [[], [{nodelay, true}], [{raw, 6, 1, <<1:32/native>>}]]}, {ssl_opts, [[], [{versions, ['tlsv1.3']}]]},
        {handshake_timeout, [1, infinity]}, {max_handshakes, [1]}, {acceptors, [1, 2]}, {contexts, [1, 2]}
    ],
    Web = [
        {asgi, ["wsgiref.simple_server:demo_app", <<"nowhere:app">>, "setup:x"]}, {wsgi, ["wsgiref.simple_server:demo_app", "a"]},
        {factory, [false, true]}, {root_path, ["", "/a"]}, {threads, [1, 2]}, {max_head, [1, 65_536]}, {max_body, [1, infinity]},
        {max_message, [1, infinity]}, {head_timeout, [1, infinity]}, {body_timeout, [1, infinity]}, {keep_alive_timeout, [1, infinity]},
        {ping_interval, [1, infinity]}
    ],
    Call = [{kwargs, [#{}, #{x => 1}]}, {timeout, [0, 1, 5_000]}],
    [
        {new, Any}, {start_link, Any}, {child_spec, [{id, [a, 1]} | Any]}, {start_pool, Pool}, {start_contexts, Pool},
        {reactor_context, Any ++ Limits ++ [{app_module, ['__main__', asyncio]}, {app_callable, ['P', 'Protocol']}]},
        {listener, Any ++ Limits ++ Served ++ [{protocol, [{'__main__', 'P'}, {asyncio, 'Protocol'}]}]},
        {web, Any ++ Limits ++ Served ++ Web}, {call, Call}, {call_pool, [{x, [1]}]}, {await_task, [{x, [1]}]},
        {start_loop, [{owner, [self()]}]}, {locals, [{x, [1]}, {<<"y">>, [2]}]}, {environment, environment()}
    ].

environment() ->
    [
        {num_contexts, [1, 3]}, {context_mode, [owngil, worker]}, {start_contexts, [lazy, eager]}, {binding, [least_loaded, scheduler]},
        {conversion, [#{}]}, {max_queue, [1, infinity]}, {sandbox, [default, strict]}, {memory_limit, [infinity, 100_000_000]},
        {max_result_size, [infinity, 1]}, {output, [group_leader, discard]}, {max_concurrent, [1, infinity]}, {context_start_timeout, [1, 1000]},
        {stuck_after, [1, 1000]}, {max_stuck, [0, 1]}, {max_nested_runs, [1, 2]}, {event_loop_pool_size, [1]},
        {imports, [[], [json], [{json, dumps}], [nowhere]]}, {paths, [[], ["/nowhere"], [<<"a">>]]}, {venv, [none, "/nowhere"]},
        {preload, [none, "x = 1", <<"1/0">>]}, {python_home, ["/"]}, {python_executable, ["/bin/python"]}
    ].

holds({Function, Options}, #{context := Context}) ->
    Result =
        try
            done(Function, Options, Context)
        catch
            error:badarg:Stack -> {badarg, words(Stack)};
            Class:Reason:Stack -> {raised, Class, Reason, Stack}
        end,
    After = {py:call(Context, math, sqrt, [16], #{timeout => 30_000}), py:call(math, sqrt, [16])},
    case is_fine(Result, Options) of
        true when After =:= {{ok, 4.0}, {ok, 4.0}} -> true;
        _ -> {false, {Result, After}}
    end.

is_fine(ok, _) -> true;
is_fine({badarg, Words}, _) -> py_odd:is_text(Words);
is_fine({error, {bad_option, Key, Value}}, Options) -> names(Key, Value, Options);
is_fine({error, {bad_option, Key, Value, Allowed}}, Options) -> py_odd:is_text(Allowed) andalso names(Key, Value, Options);
is_fine({error, _}, _) -> true;
is_fine(_, _) -> false.

%% What is missing has its default, which may not go with the rest.
%% A mode may stand for the options.
names(mode, Mode, Mode) when is_atom(Mode) -> true;
names({conversion, Key}, Value, #{conversion := Conversion}) -> maps:find(Key, Conversion) =:= {ok, Value};
%% It says what of it is wrong.
names(sandbox, _, #{sandbox := _}) -> true;
names(Key, Value, Options) when is_map(Options) ->
    Given = maps:get(Key, Options, Value),
    Given =:= Value orelse (is_binary(Value) andalso Value =:= text(Given));
names(_, _, _) ->
    false.

%% Texts are told as binaries.
text(Given) ->
    try
        unicode:characters_to_binary(Given)
    catch
        error:badarg -> none
    end.

words([{Module, _, Args, Info} | _] = Stack) when is_list(Args) ->
    #{module := Format} = proplists:get_value(error_info, Info),
    true = lists:member(Module, [py, py_context, py_context_router, py_reactor, py_reactor_context, py_web, py_event_loop]),
    unicode:characters_to_list(lists:join("; ", maps:values(maps:without([general, reason], Format:format_error(badarg, Stack))))).

done(new, Options, _) ->
    ended(py_context:new(Options));
done(start_link, Options, _) ->
    unlinked(fun() -> py_context:start_link(here, py:execution_mode(), Options) end);
done(child_spec, Options, _) ->
    #{start := {_, _, [_ | _]}} = py_context:child_spec(Options),
    ok;
done(start_pool, Options, _) ->
    case py_context_router:start_pool(prop_options, 1, Options) of
        ok -> py_context_router:stop_pool(prop_options);
        {ok, [_ | _]} -> py_context_router:stop_pool(prop_options);
        Other -> Other
    end;
done(start_contexts, Options, _) ->
    ok = py:stop_contexts(),
    try py:start_contexts(Options) of
        {ok, [_ | _]} -> ok;
        Other -> Other
    after
        ok = py:stop_contexts(),
        {ok, [_ | _]} = py:start_contexts()
    end;
done(reactor_context, Options, _) ->
    unlinked(fun() -> py_reactor_context:start_link(here, py:execution_mode(), Options) end);
done(listener, Options, _) ->
    case py_reactor:start_listener(prop_options, Options) of
        {ok, _} -> py_reactor:stop_listener(prop_options, 100);
        Other -> Other
    end;
done(web, Options, _) ->
    case py_web:start(prop_options, Options) of
        {ok, _} -> py_web:stop(prop_options, 100);
        Other -> Other
    end;
done(call, Options, Context) ->
    answered(py:call(Context, builtins, dict, [], Options));
done(call_pool, Options, _) ->
    answered(py:call(builtins, dict, [], Options));
done(locals, Options, Context) ->
    answered(py:eval(Context, <<"1">>, Options));
done(await_task, Options, Context) ->
    answered(py_context:submit_await(Context, '__main__', soon, [], Options, 5_000));
done(start_loop, Options, Context) ->
    case py_context:start_loop(Context, Options) of
        {error, already_running} -> py_context:stop_loop(Context);
        Started when Started =:= ok; element(1, Started) =:= ok -> py_context:stop_loop(Context);
        Other -> Other
    end;
done(environment, Options, _) when is_map(Options) ->
    Keys = [Key || {Key, _} <- environment()],
    Before = application:get_all_env(erlang_python),
    _ = [application:set_env(erlang_python, Key, Value) || {Key, Value} <- maps:to_list(Options), lists:member(Key, Keys)],
    try
        py_config:check()
    after
        _ = [application:unset_env(erlang_python, Key) || Key <- Keys],
        application:set_env([{erlang_python, Before}])
    end;
done(environment, _Options, _) ->
    ok.

answered({ok, _}) -> ok;
answered(Other) -> Other.

ended({ok, Context}) -> py_context:stop(Context);
ended(Other) -> Other.

%% A process that fails to start must not take its parent along.
unlinked(Start) ->
    _ = process_flag(trap_exit, true),
    case Start() of
        {ok, Pid} ->
            exit(Pid, shutdown),
            receive
                {'EXIT', Pid, _} -> ok
            end;
        Other ->
            Other
    end.

renew(State) ->
    case [Info || Info <- [py:contexts_started()], Info =/= true] of
        [] -> {ok, State};
        Wrong -> {error, Wrong}
    end.
