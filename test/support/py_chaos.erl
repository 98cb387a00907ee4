%% Processes that use contexts in every way, while processes, contexts and the application itself are ended at random.
%%
%% Each process knows what its uses may answer, that every one is answered within its time, and that nothing else comes
%% to its mailbox. Its choices are made of a seed.
-module(py_chaos).

-export([run/2]).

-define(ACTORS, 24).
-define(CONTEXTS, 4).
%% Milliseconds that any use may take, whatever happens meanwhile.
-define(PATIENCE, 60_000).
-define(MAX_CONCURRENT, 10_000).
%% Interpreters that wait for another context, below Python 3.14.1; and what their loops keep open.
-define(SPARES, 16).
-define(FDS, 32).

-type summary() :: #{uses := pos_integer(), answers := #{term() => pos_integer()}, ended := #{atom() => pos_integer()}, wrong := [term()]}.

-record(shared, {
    seed :: integer(),
    table :: ets:table(),
    %% The contexts that are in use, by place.
    contexts :: ets:table(),
    over :: atomics:atomics_ref(),
    owner :: pid()
}).

%% Lets them for so many milliseconds, then checks that all is back where it was.
-spec run(integer(), pos_integer()) -> summary().
run(Seed, Milliseconds) ->
    ok = started(),
    {ok, _} = py:eval(<<"1">>),
    ok = py_suite:stop(),
    Before = py_leaks:snapshot(),
    ok = started(),
    Shared = #shared{
        seed = Seed,
        table = ets:new(answers, [public]),
        contexts = ets:new(contexts, [public]),
        over = atomics:new(1, []),
        owner = self()
    },
    _ = rand:seed(exsss, {Seed, 0, 0}),
    _ = [renewed(Place, Shared) || Place <- lists:seq(1, ?CONTEXTS)],
    Actors = maps:from_list([actor(I, 1, Shared) || I <- lists:seq(1, ?ACTORS)]),
    Last = disturb(erlang:monotonic_time(millisecond) + Milliseconds, Actors, Shared),
    ok = atomics:put(Shared#shared.over, 1, 1),
    Left = rested(Last, Shared),
    ok = balanced(Shared),
    ok = py_suite:stop(),
    %% What comes now would be an answer that is one too many.
    _ = [Pid ! {self(), finish} || Pid <- Left],
    _ = [
        receive
            {Pid, finished, Stray} -> wrong(Shared, [{stray_in_the_end, Each} || Each <- Stray])
        end
     || Pid <- Left
    ],
    Summary = summary(ets:tab2list(Shared#shared.table)),
    _ = [ets:delete(Table) || Table <- [Shared#shared.table, Shared#shared.contexts]],
    try py_leaks:check(Before, #{spares => ?SPARES, fds => ?FDS}) of
        ok -> Summary
    catch
        exit:Leak -> Summary#{wrong := [Leak | maps:get(wrong, Summary)]}
    end.

summary(Counted) ->
    Answers = maps:from_list([{Key, Count} || {{answer, Key}, Count} <- Counted]),
    #{
        uses => lists:sum(maps:values(Answers)),
        answers => Answers,
        ended => maps:from_list([{What, Count} || {{ended, What}, Count} <- Counted]),
        wrong => [Story || {{wrong, _}, Story} <- Counted]
    }.

started() ->
    ok = py_suite:start(#{
        num_contexts => 2,
        stuck_after => 300,
        max_stuck => 100,
        max_concurrent => ?MAX_CONCURRENT
    }),
    ok = py_context_router:start_pool(chaos_worker, 2, worker),
    ok = py_context_router:start_pool(chaos_strict, 1, #{sandbox => #{base => strict, seccomp => best_effort}}),
    ok = py:register_function(chaos_give, fun([X]) -> X end),
    ok = py:register_function(chaos_fail, fun([X]) -> throw(X) end),
    ok = py:register_function(chaos_wait, fun([X]) -> receive after rand:uniform(20) -> X end end),
    ok = py:register_function(chaos_back, fun([To, X]) -> nested(py:call(To, operator, pos, [X], #{timeout => 1_000})) end),
    ok = py:register_function(chaos_die, fun([X]) -> exit(self(), kill), X end).

nested({ok, X}) -> X;
nested({error, Reason}) -> exit({nested, Reason}).

%% ------------------------------------------------------------------------------------------------
%% What disturbs

disturb(End, Actors, Shared) ->
    receive
        {'DOWN', _, process, Pid, Reason} ->
            disturb(End, replaced(Pid, Reason, Actors, Shared), Shared)
    after rand:uniform(20) ->
        case erlang:monotonic_time(millisecond) < End of
            true ->
                %% Some ended because they were stuck.
                _ = [renewed(Place, Shared) || Place <- lists:seq(1, ?CONTEXTS), not is_process_alive(context(Place, Shared))],
                ok = disturbance(rand:uniform(200), Actors, Shared),
                disturb(End, Actors, Shared);
            false ->
                Actors
        end
    end.

%% Whoever was killed has a successor; who ended otherwise has found something, or was not meant to.
replaced(Pid, Reason, Actors, Shared) ->
    {{I, Generation}, Others} = maps:take(Pid, Actors),
    _ = [wrong(Shared, [{ended, I, Generation, Reason}]) || Reason =/= killed],
    {New, What} = actor(I, Generation + 1, Shared),
    Others#{New => What}.

disturbance(N, Actors, Shared) when N =< 60 ->
    ended(processes, Shared),
    Pids = maps:keys(Actors),
    _ = exit(lists:nth(rand:uniform(length(Pids)), Pids), kill),
    ok;
disturbance(N, _Actors, Shared) when N =< 90 ->
    ended(contexts, Shared),
    Place = rand:uniform(?CONTEXTS),
    Context = context(Place, Shared),
    case N rem 3 of
        0 -> exit(Context, kill);
        1 -> exit(Context, shutdown);
        2 -> py_context:stop(Context)
    end,
    renewed(Place, Shared);
disturbance(N, _Actors, Shared) when N =< 110 ->
    %% Of a pool, which starts another one.
    ended(contexts_of_pools, Shared),
    Pool = lists:nth(rand:uniform(2), [default, chaos_worker]),
    _ = [exit(Context, kill) || {ok, Contexts} <- [contexts(Pool)], Context <- Contexts, rand:uniform(2) =:= 1],
    ok;
disturbance(N, _Actors, Shared) when N =< 150 ->
    ended(calls, Shared),
    _ = py:interrupt(context(rand:uniform(?CONTEXTS), Shared)),
    ok;
disturbance(N, _Actors, Shared) when N =< 152 ->
    ended(application, Shared),
    ok = py_suite:stop(),
    ok = started(),
    _ = [renewed(Place, Shared) || Place <- lists:seq(1, ?CONTEXTS)],
    ok;
disturbance(_, _Actors, _Shared) ->
    ok.

contexts(Pool) ->
    try py_context_router:contexts(Pool) of
        [_ | _] = Contexts -> {ok, Contexts};
        Other -> Other
    catch
        exit:Reason -> {error, Reason}
    end.

renewed(Place, #shared{contexts = Contexts}) ->
    {ok, Context} = py_context:new(maps:merge(#{mode => mode(Place)}, limited(mode(Place), options(rand:uniform(4))))),
    true = ets:insert(Contexts, {Place, Context}),
    ok.

mode(1) -> worker;
mode(_) -> py:execution_mode().

options(1) -> #{sandbox => #{base => strict, environment => all, threads => true, seccomp => best_effort}};
options(2) -> #{max_queue => 10};
options(3) -> #{max_result_size => 500_000};
options(4) -> #{memory_limit => 64_000_000}.

%% The main interpreter's memory is nobody's own.
limited(worker, Options) -> maps:remove(memory_limit, Options);
limited(owngil, Options) -> Options.

context(Place, #shared{contexts = Contexts}) ->
    ets:lookup_element(Contexts, Place, 2).

ended(What, #shared{table = Table}) ->
    _ = ets:update_counter(Table, {ended, What}, 1, {{ended, What}, 0}),
    ok.

%% All have made their last use; gives those that live.
rested(Actors, Shared) ->
    lists:filter(
        fun(Pid) ->
            receive
                {Pid, rests} ->
                    true;
                {'DOWN', _, process, Pid, Reason} ->
                    _ = [wrong(Shared, [{ended, maps:get(Pid, Actors), Reason}]) || Reason =/= killed],
                    false
            after 2 * ?PATIENCE ->
                wrong(Shared, [{hangs, maps:get(Pid, Actors), erlang:process_info(Pid, current_stacktrace)}]),
                false
            end
        end,
        maps:keys(Actors)
    ).

%% Nothing is in flight, nothing waits, and nobody is known but who lives.
balanced(Shared) ->
    case py_leaks:eventually(fun() -> py_nif:permits() =:= {0, ?MAX_CONCURRENT} end) of
        ok -> ok;
        {error, deadline} -> wrong(Shared, [{in_flight, py_nif:permits(), queues(Shared)}])
    end,
    Contexts = [context(Place, Shared) || Place <- lists:seq(1, ?CONTEXTS)],
    Alive = length(erlang:processes()),
    lists:foreach(
        fun(Context) ->
            Settled = fun() ->
                case py_nif:context_info(Context) of
                    {_Mode, _Interpreter, Processes, Queue} -> Queue =:= 0 andalso Processes =< Alive andalso Processes =< ?ACTORS + 1;
                    %% It was ended last.
                    {error, {context_died, _}} -> true
                end
            end,
            case py_leaks:eventually(Settled) of
                ok -> ok;
                {error, deadline} -> wrong(Shared, [{not_settled, py_nif:context_info(Context)}])
            end
        end,
        Contexts
    ).

queues(Shared) ->
    All = [context(Place, Shared) || Place <- lists:seq(1, ?CONTEXTS)] ++
        lists:append([Contexts || Pool <- [default, chaos_worker, chaos_strict], {ok, Contexts} <- [contexts(Pool)]]),
    [{Context, py_nif:context_info(Context)} || Context <- All].

%% ------------------------------------------------------------------------------------------------
%% Who uses contexts

actor(I, Generation, Shared) ->
    {Pid, _} = spawn_monitor(fun() ->
        _ = rand:seed(exsss, {Shared#shared.seed, I, Generation}),
        act(1, Shared)
    end),
    {Pid, {I, Generation}}.

act(N, #shared{over = Over, owner = Owner} = Shared) ->
    case atomics:get(Over, 1) of
        0 ->
            Use = rand:uniform(20),
            Started = erlang:monotonic_time(millisecond),
            Result = use(Use, {self(), N}, Shared),
            Took = erlang:monotonic_time(millisecond) - Started,
            _ = [wrong(Shared, [{use, Use, N, took, Took}]) || Took > ?PATIENCE],
            count(Use, Result, Shared),
            wrong(Shared, [{use, Use, N, stray, Stray} || Stray <- py_suite:flush()]),
            act(N + 1, Shared);
        1 ->
            Owner ! {self(), rests},
            receive
                {Owner, finish} -> Owner ! {self(), finished, py_suite:flush()}
            end
    end.

count(Use, ok, Shared) -> answer({Use, right}, Shared);
count(Use, {refused, Reason}, Shared) ->
    answer({Use, Reason}, Shared),
    %% Until there is another one.
    _ = [receive after 2 -> ok end || Reason =:= context_died orelse Reason =:= not_running],
    ok;
count(Use, {wrong, Result}, Shared) -> wrong(Shared, [{use, Use, Result}]).

answer(Key, #shared{table = Table}) ->
    _ = ets:update_counter(Table, {answer, Key}, 1, {{answer, Key}, 0}),
    ok.

wrong(#shared{table = Table}, Stories) ->
    lists:foreach(fun(Story) -> true = ets:insert(Table, {{wrong, make_ref()}, Story}) end, Stories).

%% A context by itself, or that of a pool.
anywhere(Shared) ->
    case rand:uniform(8) of
        1 -> default;
        2 -> chaos_worker;
        3 -> chaos_strict;
        _ -> context(rand:uniform(?CONTEXTS), Shared)
    end.

somewhere(Shared) ->
    context(rand:uniform(?CONTEXTS), Shared).

%% `Own' is nobody else's value.
use(1, Own, Shared) ->
    called(anywhere(Shared), operator, pos_of(Own), Own);
use(2, Own, Shared) ->
    Limit = rand:uniform(30) - 1,
    expect({ok, Own}, [timeout], py:call(somewhere(Shared), copy, copy, [Own], #{timeout => Limit}));
use(3, _Own, Shared) ->
    %% Never ends by itself.
    expect(never, [timeout], py:call(somewhere(Shared), builtins, exec, [<<"while True: pass">>, #{}], #{timeout => rand:uniform(50)}));
use(4, _Own, Shared) ->
    expect(never, [timeout], py:call(somewhere(Shared), time, sleep, [100], #{timeout => rand:uniform(50)}));
use(5, Own, Shared) ->
    expect({ok, Own}, [timeout], py:call(somewhere(Shared), erlang, call, [chaos_give, Own], #{timeout => 5_000}));
use(6, Own, Shared) ->
    expect({error, {throw, Own}}, [timeout], py:call(somewhere(Shared), erlang, call, [chaos_fail, Own], #{timeout => 5_000}));
use(7, Own, Shared) ->
    expect({ok, Own}, [timeout], py:call(somewhere(Shared), erlang, call, [chaos_wait, Own], #{timeout => rand:uniform(30)}));
use(8, Own, Shared) ->
    Args = [chaos_back, somewhere(Shared), element(2, Own)],
    expect({ok, element(2, Own)}, [timeout, nested, deadlock], py:call(somewhere(Shared), erlang, call, Args, #{timeout => 5_000}));
use(9, Own, Shared) ->
    case py:spawn_call(somewhere(Shared), copy, copy, [Own]) of
        {error, _} = Error -> expect(never, [], Error);
        Ref -> expect({ok, Own}, [timeout], py:await(Ref, 10_000))
    end;
use(10, Own, Shared) ->
    %% As a message, after the answer of a later request.
    case py:spawn_call(somewhere(Shared), copy, copy, [Own]) of
        {error, _} = Error ->
            expect(never, [], Error);
        Ref ->
            receive
                {py_response, Ref, Result} -> expect({ok, Own}, [], Result)
            after ?PATIENCE -> {wrong, {no_response, Ref}}
            end
    end;
use(11, Own, Shared) ->
    case py:spawn_call(somewhere(Shared), time, sleep, [100]) of
        {error, _} = Error ->
            expect(never, [], Error);
        Ref ->
            ok = py:cancel(Ref),
            called(somewhere(Shared), operator, pos_of(Own), Own)
    end;
use(12, Own, Shared) ->
    case py_context:submit(somewhere(Shared), asyncio, sleep, [rand:uniform(10) / 1000, Own]) of
        {ok, Task} ->
            receive
                {async_result, Task, Result} -> expect({ok, Own}, ['CancelledError'], Result)
            after ?PATIENCE -> {wrong, {no_result, Task}}
            end;
        Error ->
            expect(never, [], Error)
    end;
use(13, Own, Shared) ->
    Result = py_context:submit_await(somewhere(Shared), asyncio, sleep, [100 * (rand:uniform(2) - 1), Own], #{}, rand:uniform(50)),
    expect({ok, Own}, [timeout, 'CancelledError'], Result);
use(14, Own, Shared) ->
    _ = py:cast(somewhere(Shared), erlang, call, [chaos_die, Own]),
    ok;
use(15, Own, Shared) ->
    Context = somewhere(Shared),
    case py:call(Context, collections, deque, [[Own]], #{timeout => 5_000}) of
        {ok, Object} -> expect({ok, Own}, [stale_reference], py:call_method(Object, pop, []));
        Error -> expect(never, [timeout], Error)
    end;
use(16, _Own, Shared) ->
    %% What would end the node is refused.
    {Module, Function, Args} = lists:nth(rand:uniform(4), [{os, '_exit', [1]}, {os, abort, []}, {os, fork, []}, {signal, raise_signal, [9]}]),
    expect(never, [timeout, 'RuntimeError', 'PermissionError', 'ImportError'], py:call(somewhere(Shared), Module, Function, Args, #{timeout => 5_000}));
use(17, _Own, Shared) ->
    %% Bytes that are lent, or too large where there is a limit.
    case py:call(somewhere(Shared), builtins, bytes, [1_000_000], #{timeout => 5_000}) of
        {ok, Bytes} when byte_size(Bytes) =:= 1_000_000 -> ok;
        Other -> expect(never, [timeout, result_too_large, 'MemoryError'], Other)
    end;
use(18, _Own, Shared) ->
    case rand:uniform(10) of
        %% It may be over before its caller gets a turn.
        1 -> expect(never, [timeout, 'ValueError'], py:call(somewhere(Shared), builtins, exec, [stubborn(), #{}], #{timeout => 50}));
        _ -> ok
    end;
use(19, Own, Shared) ->
    %% Dies while it waits, with a function of its own running.
    {Pid, Monitor} = spawn_monitor(fun() -> py:call(somewhere(Shared), erlang, call, [chaos_wait, Own]) end),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after rand:uniform(10) ->
        exit(Pid, kill),
        receive
            {'DOWN', Monitor, process, Pid, _} -> ok
        end
    end;
use(20, _Own, Shared) ->
    %% Too much for those that have a limit.
    Code = <<"len([bytes(1000) for _ in range(100_000)])">>,
    expect({ok, 100_000}, [timeout, 'MemoryError'], py:call(somewhere(Shared), builtins, eval, [Code, #{}], #{timeout => 5_000})).

%% Ignores interrupts for longer than a context may, then goes on.
stubborn() ->
    <<
        "import time\n"
        "end = time.monotonic() + 0.6\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        while time.monotonic() < end: pass\n"
        "    except BaseException: pass\n"
        "raise ValueError('over')\n"
    >>.

pos_of({_, N}) -> N.

called(Where, operator, N, _Own) when is_pid(Where) ->
    expect({ok, N}, [timeout], py:call(Where, operator, pos, [N], #{timeout => 5_000}));
called(Pool, operator, N, _Own) ->
    expect({ok, N}, [timeout], py:call(Pool, operator, pos, [N])).

%% The answer, or a reason that this use may have, or one of those that any may have.
expect(Right, _Reasons, Right) ->
    ok;
expect(Right, Reasons, {error, Reason} = Result) ->
    Name = name(Reason),
    case lists:member(Name, [context_died, not_running, interrupted, overloaded, no_pool, context_start, noproc, no_context | Reasons]) of
        true -> {refused, Name};
        false -> {wrong, {expected, Right, got, Result}}
    end;
expect(Right, _Reasons, Result) ->
    {wrong, {expected, Right, got, Result}}.

name(Reason) when is_atom(Reason) -> Reason;
name({exit, {nested, _}}) -> nested;
name(Reason) when is_tuple(Reason) -> element(1, Reason).
