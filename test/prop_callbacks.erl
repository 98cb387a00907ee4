%% Trees of calls between Erlang and Python, run over several contexts and compared with what they are worth.
%%
%% A node of Erlang is evaluated by an Erlang process, one of Python by Python code. Every tree is made so that it
%% has one value only: what runs at the same time never needs the same context in a circle.
%%
%% PROPERTY_TESTS in the environment says how often each property is tried.
-module(prop_callbacks).

-export([check/2, import/1, function/1, example/2]).
-export([prop_tree/1, prop_trees_at_once/1]).

-export_type([erlang_node/0, python_node/0]).

-include("support/py_properties.hrl").

-define(TESTS, 100).

%% How long a tree may take, in milliseconds.
-define(DEADLINE, 60_000).

%% What calls that never end may take.
-define(TIMEOUT, 30).

-type place() :: pos_integer().
%% Which of the contexts.
-type value() :: none | integer() | binary() | [value()] | tuple().
%% Crosses as it is.
-type kind() :: error | exit | throw.

-type erlang_node() ::
    {value, value()}
    | {all, [erlang_node()]}
    %% One after the other.
    | {raise, kind(), Reason :: term()}
    | {attempt, erlang_node()}
    | whose
    %% Whether it is evaluated by the process in which the tree began.
    | die
    %% Ends the process that evaluates it.
    | {call | eval | spawned, place(), python_node()}
    | {at_once, [{place(), python_node()}]}
    | {process, erlang_node()}
    %% In a process that nobody knows.
    | {timed | cancelled | killed, place(), python_node()}
    %% What never ends is ended.
    | {dead_context, waiting | calling}.

-type python_node() ::
    {value, value()}
    | {all, [python_node()]}
    | {raise, binary()}
    | {attempt, python_node()}
    | {erlang | function, erlang_node()}
    | {threads, [python_node()]}
    | {gather, [erlang_node()]}
    | nap
    | hang
    %% Returned, so only where a call ends:
    | {tail, erlang_node()}
    | {schedule_py | schedule_inline, python_node()}.

%% Where a tree is run.
-type contexts() :: tuple().

%% ------------------------------------------------------------------------------------------------
%% Checks

%% Tries a property over contexts into which `import/1' has been called, while `function/1' is `ct_tree'.
-spec check(atom(), [pid()]) -> ok.
check(Property, Contexts) ->
    Make = fun() -> ?MODULE:Property(list_to_tuple(Contexts)) end,
    py_properties:check(Property, Make, ?TESTS, [{max_size, 60}, {max_shrinks, 50}]).

%% Runs one tree, for whoever looks into a failure.
-spec example(erlang_node(), [pid()]) -> {Actual :: term(), Expected :: term()}.
example(Tree, Contexts) ->
    {outcome(fun() -> evaluated(Tree, list_to_tuple(Contexts)) end), expected(Tree)}.

prop_tree(Contexts) ->
    ?FORALL(Tree, tree(lists:seq(1, tuple_size(Contexts)), any), are_as_expected([Tree], Contexts)).

%% Trees that wait for one another's contexts, but in one order only.
prop_trees_at_once(Contexts) ->
    ?FORALL(
        Trees,
        proper_types:vector(4, tree(lists:seq(1, tuple_size(Contexts)), ascending)),
        are_as_expected(Trees, Contexts)
    ).

are_as_expected(Trees, Contexts) ->
    Callers = [{Tree, py_suite:spawn_caller(fun() -> evaluated(Tree, Contexts) end)} || Tree <- Trees],
    Wrong = [
        {Tree, {expected, Expected}, {actual, Actual}}
     || {Tree, Caller} <- Callers,
        Expected <- [expected(Tree)],
        Actual <- [ended(Caller)],
        Actual =/= Expected
    ],
    Unwell = [Place || {Place, Context} <- numbered(Contexts), not is_well(Context)],
    case {Wrong, Unwell} of
        {[], []} ->
            true;
        _ ->
            ct:pal("trees ~tp~nwrong ~tp~ncontexts that do not answer ~tp", [Trees, Wrong, Unwell]),
            false
    end.

%% What hangs is shown, and goes.
ended({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {py_suite, result, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> {died, Reason}
    after ?DEADLINE ->
        Stack = erlang:process_info(Pid, current_stacktrace),
        ok = py_suite:killed(Pid),
        {hangs, Stack}
    end.

is_well(Context) ->
    {ok, 4.0} =:= py:call(Context, math, sqrt, [16], #{timeout => 10_000}).

numbered(Tuple) -> lists:zip(lists:seq(1, tuple_size(Tuple)), tuple_to_list(Tuple)).

%% ------------------------------------------------------------------------------------------------
%% What a tree is worth

-spec expected(erlang_node()) -> term().
expected(Tree) ->
    case worth(Tree, own) of
        {ok, Value} -> {ok, Value};
        {raise, Kind, Reason} -> {raised, Kind, Reason}
    end.

%% Who: whether the process is the one in which the tree began.
worth({value, Value}, _Who) -> {ok, Value};
worth({all, Nodes}, Who) -> in_order(fun(Node) -> worth(Node, Who) end, Nodes);
worth({raise, Kind, Reason}, _Who) -> {raise, Kind, Reason};
worth({attempt, Node}, Who) ->
    case worth(Node, Who) of
        {ok, Value} -> {ok, {<<"ok">>, Value}};
        {raise, Kind, Reason} -> {ok, {<<"raised">>, atom_to_binary(Kind), text(Reason)}};
        died -> died
    end;
worth(whose, Who) -> {ok, atom_to_binary(Who)};
worth(die, _Who) -> died;
worth({Call, _Place, Node}, Who) when Call =:= call; Call =:= eval -> {ok, answer(python(Node, Who))};
worth({spawned, _Place, Node}, _Who) -> {ok, answer(python(Node, other))};
worth({at_once, Branches}, _Who) -> {ok, [answer(python(Node, other)) || {_Place, Node} <- Branches]};
worth({process, Node}, _Who) -> worth({attempt, Node}, other);
worth({timed, _Place, _Node}, _Who) -> {ok, <<"timeout">>};
worth({Ended, _Place, _Node}, _Who) when Ended =:= cancelled; Ended =:= killed -> {ok, atom_to_binary(Ended)};
worth({dead_context, _When}, _Who) -> {ok, {<<"context_died">>, <<"killed">>}}.

python({value, Value}, _Who) -> {ok, Value};
python({all, Nodes}, Who) -> in_order(fun(Node) -> python(Node, Who) end, Nodes);
python(nap, _Who) -> {ok, none};
python({raise, Text}, _Who) -> {python, <<"ValueError">>, Text};
python({attempt, Node}, Who) -> {ok, attempted(python(Node, Who))};
python({Call, Node}, Who) when Call =:= erlang; Call =:= function; Call =:= tail ->
    case worth(Node, Who) of
        {ok, Value} -> {ok, Value};
        {raise, Kind, Reason} -> {erlang, Kind, Reason};
        died -> {erlang, exit, killed}
    end;
python({threads, Nodes}, _Who) -> {ok, [attempted(python(Node, other)) || Node <- Nodes]};
python({gather, Nodes}, _Who) -> {ok, [attempted(python({erlang, Node}, other)) || Node <- Nodes]};
python({Schedule, Node}, Who) when Schedule =:= schedule_py; Schedule =:= schedule_inline -> python(Node, Who).

attempted({ok, Value}) -> {<<"ok">>, Value};
attempted({python, Class, Text}) -> {Class, Text};
attempted({erlang, Kind, _Reason}) -> {<<"erlang">>, atom_to_binary(Kind)}.

%% As `described/1' gives it.
answer({ok, Value}) -> {<<"ok">>, Value};
answer({python, Class, Text}) -> {<<"python">>, Class, Text};
answer({erlang, Kind, Reason}) -> {<<"erlang">>, atom_to_binary(Kind), text(Reason)}.

%% The first that fails ends it.
in_order(Evaluate, [Node | Nodes]) ->
    case Evaluate(Node) of
        {ok, Value} ->
            case in_order(Evaluate, Nodes) of
                {ok, Values} -> {ok, [Value | Values]};
                Failed -> Failed
            end;
        Failed ->
            Failed
    end;
in_order(_Evaluate, []) ->
    {ok, []}.

text(Term) -> unicode:characters_to_binary(io_lib:format("~0tp", [Term])).

%% ------------------------------------------------------------------------------------------------
%% How a tree is run

%% Makes a context ready, for every process.
-spec import(pid()) -> ok.
import(Context) ->
    ok = py_suite:python_path(Context),
    py:exec(Context, <<"import builtins, ct_tree\nbuiltins.ct_tree = ct_tree">>).

%% What Python calls.
-spec function([pid()]) -> fun(([binary()]) -> term()).
function(Contexts) ->
    All = list_to_tuple(Contexts),
    fun([Node]) -> run(binary_to_term(Node), All) end.

evaluated(Tree, Contexts) ->
    _ = put(?MODULE, own),
    Outcome = outcome(fun() -> run(Tree, Contexts) end),
    case py_suite:flush() of
        [] -> Outcome;
        Left -> {messages_left, Left, Outcome}
    end.

outcome(Fun) ->
    try
        {ok, Fun()}
    catch
        Kind:Reason -> {raised, Kind, Reason}
    end.

-spec run(erlang_node() | {tell, pid(), reference()} | {kill, pid()}, contexts()) -> term().
run({value, Value}, _Contexts) -> Value;
run({all, Nodes}, Contexts) -> [run(Node, Contexts) || Node <- Nodes];
run({raise, Kind, Reason}, _Contexts) -> erlang:raise(Kind, Reason, []);
run({attempt, Node}, Contexts) ->
    case outcome(fun() -> run(Node, Contexts) end) of
        {ok, Value} -> {<<"ok">>, Value};
        {raised, Kind, Reason} -> {<<"raised">>, atom_to_binary(Kind), text(Reason)}
    end;
run(whose, _Contexts) ->
    case get(?MODULE) of
        own -> <<"own">>;
        undefined -> <<"other">>
    end;
run(die, _Contexts) ->
    exit(self(), kill),
    receive
    after infinity -> ok
    end;
run({call, Place, Node}, Contexts) ->
    described(py:call(element(Place, Contexts), ct_tree, run, [encoded(Node, Contexts)]));
run({eval, Place, Node}, Contexts) ->
    described(py:eval(element(Place, Contexts), <<"ct_tree.run(node)">>, #{node => encoded(Node, Contexts)}));
run({spawned, Place, Node}, Contexts) ->
    [Answer] = run({at_once, [{Place, Node}]}, Contexts),
    Answer;
run({at_once, Branches}, Contexts) ->
    Refs = [py:spawn_call(element(Place, Contexts), ct_tree, run, [encoded(Node, Contexts)]) || {Place, Node} <- Branches],
    [described(py:await(Ref, infinity)) || Ref <- Refs];
run({process, Node}, Contexts) ->
    case ended(py_suite:spawn_caller(fun() -> outcome(fun() -> run(Node, Contexts) end) end)) of
        {ok, Value} -> {<<"ok">>, Value};
        {raised, Kind, Reason} -> {<<"raised">>, atom_to_binary(Kind), text(Reason)};
        Other -> Other
    end;
run({timed, Place, Node}, Contexts) ->
    Options = #{timeout => ?TIMEOUT},
    described(py:call(element(Place, Contexts), ct_tree, run, [encoded(Node, Contexts)], Options));
run({cancelled, Place, Node}, Contexts) ->
    {Told, Telling} = telling_last(Node),
    Ref = py:spawn_call(element(Place, Contexts), ct_tree, run, [encoded(Telling, Contexts)]),
    await(Told),
    ok = py:cancel(Ref),
    <<"cancelled">>;
run({killed, Place, Node}, Contexts) ->
    {Told, Telling} = telling(Node),
    {Pid, Monitor} = spawn_monitor(fun() -> run({call, Place, Telling}, Contexts) end),
    await(Told),
    exit(Pid, kill),
    receive
        {'DOWN', Monitor, process, Pid, Reason} -> atom_to_binary(Reason)
    end;
run({dead_context, When}, Contexts) ->
    {ok, Context} = py_context:new(#{mode => element(rand:uniform(2), {py:execution_mode(), worker})}),
    ok = import(Context),
    dead_context(When, Context, Contexts);
run({tell, Pid, Ref}, _Contexts) ->
    Pid ! Ref,
    0;
run({kill, Context}, _Contexts) ->
    ok = py_suite:killed(Context),
    0.

dead_context(waiting, Context, Contexts) ->
    {Told, Telling} = telling(hang),
    Ref = py:spawn_call(Context, ct_tree, run, [encoded(Telling, Contexts)]),
    await(Told),
    ok = py_suite:killed(Context),
    described(py:await(Ref, infinity));
dead_context(calling, Context, Contexts) ->
    case described(py:call(Context, ct_tree, run, [encoded({all, [{erlang, {kill, Context}}]}, Contexts)])) of
        %% The function was answered before the native side had learnt of the end.
        {<<"ok">>, [0]} -> {<<"context_died">>, <<"killed">>};
        Other -> Other
    end.

%% The node, and what comes when it has begun.
telling(Node) ->
    Ref = make_ref(),
    {Ref, {all, [{erlang, {tell, self(), Ref}}, Node]}}.

%% Just before it waits for ever: what its own functions ask for is a part of it once it has begun.
telling_last(Node) ->
    {Ref, Telling} = telling(hang),
    {Ref, with_last(Node, Telling)}.

with_last(hang, Last) -> Last;
with_last({call, Place, Node}, Last) -> {call, Place, with_last(Node, Last)};
with_last({eval, Place, Node}, Last) -> {eval, Place, with_last(Node, Last)};
with_last({all, Nodes}, Last) -> {all, lists:droplast(Nodes) ++ [with_last(lists:last(Nodes), Last)]};
with_last({One, Node}, Last) -> {One, with_last(Node, Last)}.

await(Ref) ->
    receive
        Ref -> ok
    end.

%% As a term that crosses as it is.
described({ok, Value}) -> {<<"ok">>, Value};
described({error, Reason}) when is_atom(Reason) -> atom_to_binary(Reason);
described({error, {deadlock, Contexts}}) -> {<<"deadlock">>, length(Contexts)};
described({error, {context_died, Reason}}) -> {<<"context_died">>, atom_to_binary(Reason)};
described({error, {exit, noproc}}) -> described({error, {exit, killed}});
described({error, {Kind, Reason}}) when Kind =:= error; Kind =:= exit; Kind =:= throw ->
    {<<"erlang">>, atom_to_binary(Kind), text(Reason)};
described({error, {Class, Text}}) when is_atom(Class), is_list(Text) ->
    {<<"python">>, atom_to_binary(Class), unicode:characters_to_binary(Text)};
described(Other) ->
    {<<"unexpected">>, text(Other)}.

%% As Python gets it.
encoded({value, Value}, _Contexts) -> {<<"value">>, Value};
encoded({raise, Text}, _Contexts) -> {<<"raise">>, Text};
encoded(Sleep, _Contexts) when Sleep =:= nap; Sleep =:= hang -> {atom_to_binary(Sleep)};
encoded({erlang, Node}, _Contexts) -> {<<"erlang">>, term_to_binary(Node)};
encoded({tail, Node}, _Contexts) -> {<<"tail">>, term_to_binary(Node)};
encoded({function, Node}, Contexts) -> {<<"function">>, fun() -> run(Node, Contexts) end};
encoded({gather, Nodes}, _Contexts) -> list_to_tuple([<<"gather">> | [term_to_binary(Node) || Node <- Nodes]]);
encoded({Many, Nodes}, Contexts) when Many =:= all; Many =:= threads ->
    list_to_tuple([atom_to_binary(Many) | [encoded(Node, Contexts) || Node <- Nodes]]);
encoded({One, Node}, Contexts) when One =:= attempt; One =:= schedule_py; One =:= schedule_inline ->
    {atom_to_binary(One), encoded(Node, Contexts)}.

%% ------------------------------------------------------------------------------------------------
%% How a tree is made

%% What a node may use.
-record(may, {
    %% Contexts that wait for this branch of the tree: they run what it asks for on top.
    held = [] :: [place()],
    %% Contexts that wait for this branch and for others beside it.
    shared = [] :: [place()],
    %% Contexts that do not wait for anything around it.
    free :: [place()],
    %% In which order they are taken: what runs at the same time and takes the same contexts needs one order.
    order :: any | ascending,
    %% Whether the process that evaluates it was started for it.
    spawned = false :: boolean()
}).

tree(Places, Order) ->
    Part = ?SIZED(Size, {attempt, erlang_node(Size, #may{free = Places, order = Order})}),
    ?LET(Length, proper_types:range(1, 4), {all, proper_types:vector(Length, Part)}).

erlang_node(Size, May) when Size < 1 ->
    erlang_leaf(May);
erlang_node(Size, May) ->
    Smaller = Size div 2,
    proper_types:frequency(
        [
            {1, erlang_leaf(May)},
            {2, {all, few(?LAZY(erlang_node(Size div 3, May)))}},
            {1, {attempt, ?LAZY(erlang_node(Size - 1, May))}},
            {1, {process, ?LAZY(erlang_node(Smaller, (apart(May))#may{spawned = false}))}},
            {1, {dead_context, proper_types:elements([waiting, calling])}}
        ] ++ [{20, call(Size, May)} || usable(May) =/= []]
    ).

erlang_leaf(#may{spawned = Spawned}) ->
    proper_types:frequency(
        [
            {4, {value, value()}},
            {2, {raise, proper_types:elements([error, exit, throw]), proper_types:elements(reasons())}},
            {2, whose}
        ] ++ [{1, die} || Spawned]
    ).

%% Some of them can be no value in Python.
reasons() -> [boom, {badmatch, 5}, <<"text">>, [a | b], #{1 => [x], 1.0 => y}, normal, {shutdown, "because"}].

call(Size, May) ->
    ?LET(
        Place,
        proper_types:elements(usable(May)),
        begin
            Smaller = Size - 1,
            Called = entered(Place, May),
            Ending = fun(Spawned) -> last(Smaller, May#may{spawned = Spawned}, Called#may{spawned = Spawned}) end,
            proper_types:frequency(
                [
                    {6, {proper_types:elements([call, eval]), Place, Ending(false)}},
                    {3, {spawned, Place, Ending(true)}},
                    {2, {at_once, branches(Smaller, May#may{spawned = true})}},
                    {1, {at_once, same(Place, Size div 3, May#may{spawned = true})}},
                    {1, {timed, Place, endless(Size div 3, Called)}},
                    %% What is nested in another context is not cancelled with it.
                    {1, {cancelled, Place, endless(Size div 3, only(Place, Called))}}
                ] ++
                    [
                        {1, {killed, Place, endless(Size div 3, entered(Place, apart(May)))}}
                     || lists:member(Place, May#may.free)
                    ]
            )
        end
    ).

usable(#may{held = Held, shared = Shared, free = Free}) -> Held ++ Shared ++ Free.

%% For what runs while the context waits.
entered(Place, #may{held = Held, shared = Shared, free = Free, order = Order} = May) ->
    case lists:member(Place, Held) of
        true ->
            May;
        false ->
            Left = fun(Places) ->
                case Order of
                    any -> Places -- [Place];
                    ascending -> [Other || Other <- Places, Other > Place]
                end
            end,
            May#may{held = [Place | Held], shared = Left(Shared), free = Left(Free)}
    end.

only(Place, May) ->
    kept(fun(Other) -> Other =:= Place end, May).

kept(IsKept, #may{held = Held, shared = Shared, free = Free} = May) ->
    May#may{
        held = lists:filter(IsKept, Held), shared = lists:filter(IsKept, Shared), free = lists:filter(IsKept, Free)
    }.

%% For what nothing ties to the code around it: contexts that wait for that would never serve it.
apart(May) ->
    May#may{held = [], shared = []}.

%% At the same time: either every context is for one of them only, or all take them in the same order.
branches(Size, May) ->
    ?LET(
        Parts,
        proper_types:oneof([parts(May), few(together(May))]),
        [
            ?LET(
                Place,
                proper_types:elements(usable(Part)),
                {Place, last(Size div length(Parts), Part, entered(Place, Part))}
            )
         || Part <- Parts
        ]
    ).

%% At the same time, but each only needs the one context.
same(Place, Size, May) ->
    Part = only(Place, May),
    few({Place, ?LAZY(last(Size, Part, entered(Place, Part)))}).

together(#may{held = Held, shared = Shared} = May) ->
    proper_types:exactly(May#may{held = [], shared = Held ++ Shared, order = ascending}).

parts(May) ->
    Places = usable(May),
    ?LET(
        Numbers,
        proper_types:vector(length(Places), proper_types:range(1, 3)),
        begin
            Parts = [
                kept(fun(Place) -> lists:member({Place, I}, lists:zip(Places, Numbers)) end, May)
             || I <- [1, 2, 3]
            ],
            [Part || Part <- Parts, usable(Part) =/= []]
        end
    ).

%% What ends a call: before it the context was not held.
last(Size, Before, Called) ->
    proper_types:frequency([
        {8, ?LAZY(python_node(Size, Called))},
        {1, {tail, ?LAZY(erlang_node(Size div 2, Before))}},
        {1, {proper_types:elements([schedule_py, schedule_inline]), ?LAZY(last_of_chain(Size div 2, Before, Called))}}
    ]).

last_of_chain(Size, _Before, Called) when Size < 1 -> python_leaf(Called);
last_of_chain(Size, Before, Called) -> last(Size, Before, Called).

python_node(Size, May) when Size < 1 ->
    python_leaf(May);
python_node(Size, May) ->
    %% The context cannot run what its own threads ask for: it waits for them.
    Threads = (apart(May))#may{spawned = true},
    proper_types:frequency([
        {1, python_leaf(May)},
        {2, {all, few(?LAZY(python_node(Size div 3, May)))}},
        {2, {attempt, ?LAZY(python_node(Size - 1, May))}},
        {8, {proper_types:elements([erlang, function]), ?LAZY(erlang_node(Size - 1, May))}},
        {2, {threads, ?LAZY(all_parts(fun python_node/2, Size div 3, Threads))}},
        {2, {gather, ?LAZY(all_parts(fun erlang_node/2, Size div 3, Threads))}}
    ]).

python_leaf(_May) ->
    proper_types:frequency([{3, {value, value()}}, {1, {raise, text()}}, {1, nap}]).

%% At the same time, with or without contexts.
all_parts(Make, Size, May) ->
    ?LET(Parts, parts(May), [Make(Size, Part) || Part <- Parts] ++ [Make(Size, May#may{free = []})]).

%% Never ends by itself.
endless(Size, May) when Size < 1 ->
    _ = May,
    hang;
endless(Size, May) ->
    Smaller = ?LAZY(endless(Size div 2, May)),
    proper_types:frequency(
        [
            {2, hang},
            {1, {attempt, Smaller}},
            {1, ?LET({Nodes, Last}, proper_types:tuple([few(harmless()), Smaller]), {all, Nodes ++ [Last]})}
        ] ++ [{3, endless_call(Size, May)} || usable(May) =/= []]
    ).

endless_call(Size, May) ->
    ?LET(
        Place,
        proper_types:elements(usable(May)),
        begin
            Call = {proper_types:elements([call, eval]), Place, ?LAZY(endless(Size div 2, entered(Place, May)))},
            {proper_types:elements([erlang, function]), proper_types:oneof([Call, {attempt, Call}])}
        end
    ).

%% May be ended anywhere.
harmless() ->
    proper_types:oneof([{value, value()}, {attempt, {raise, text()}}, {erlang, {value, value()}}]).

few(Type) -> ?LET(Length, proper_types:range(0, 3), proper_types:vector(Length, Type)).

value() ->
    proper_types:oneof([
        proper_types:integer(),
        text(),
        few(proper_types:integer()),
        {text(), proper_types:integer()}
    ]).

text() -> proper_types:elements([<<>>, <<"a">>, <<"text">>, <<"é日"/utf8>>]).
