%% Python values of every kind, and exceptions with them, on every way to Erlang; native functions of the package with
%% such values: an answer that is well-formed, an exception that can be told, and a context that goes on.
-module(prop_objects).

-export([setup/0, input/1, holds/2, renew/1]).

-include("support/py_properties.hrl").

setup() ->
    {ok, Untouched} = py_context:new(#{}),
    ok = py:register_function(prop_objects, fun(Args) -> {seen, Args} end),
    refreshed(#{untouched => Untouched, ended => []}).

%% One of each mode, and an object whose context has ended.
refreshed(State) ->
    {ok, Gone} = py_context:new(#{}),
    {ok, Stale} = py:call(Gone, collections, deque, []),
    ok = py_context:stop(Gone),
    Contexts = [new(Mode, Conversion) || {Mode, Conversion} <- [{py:execution_mode(), #{}}, {worker, #{atoms => atom, arrays => binary}}]],
    State#{contexts => Contexts, stale => Stale, age => 0}.

new(Mode, Conversion) ->
    {ok, Context} = py_context:new(#{mode => Mode, conversion => Conversion}),
    ok = py_suite:python_path(Context),
    ok = py:exec(Context, <<"import ct_fuzz">>),
    Context.

input(_State) ->
    proper_types:tuple([
        proper_types:range(1, 2),
        proper_types:elements([given, given, raised, called, task, sent, called_back, attribute, contents, iterated]),
        proper_types:list(proper_types:range(0, 250))
    ]).

holds({Which, Way, Tape}, #{contexts := Contexts, untouched := Untouched, stale := Stale}) ->
    Context = lists:nth(Which, Contexts),
    Extra = [self(), make_ref(), fun() -> 1 end, hd(erlang:ports()), {bytes, <<"bytes">>}, {memoryview, binary:copy(<<"m">>, 100)}],
    Result = through(Way, Context, [Tape | Extra], Stale),
    Story = py:last_error(),
    Well =
        case {Story, io_lib:format("~tp", [Story])} of
            {undefined, _} -> true;
            {#{traceback_text := Text, message := _}, _} -> is_binary(Text);
            _ -> false
        end,
    After = py:call(Untouched, math, sqrt, [16], #{timeout => 30_000}),
    case {is_answer(Result), Well, After} of
        {true, true, {ok, 4.0}} -> true;
        _ -> {false, {Result, Story, After}}
    end.

-define(OPTIONS, #{timeout => 5_000}).

through(given, Context, Args, _) ->
    py:call(Context, ct_fuzz, made, Args, ?OPTIONS);
through(raised, Context, Args, _) ->
    py:call(Context, ct_fuzz, raises, Args, ?OPTIONS);
through(called, Context, Args, _) ->
    py:call(Context, ct_fuzz, called, Args, ?OPTIONS);
through(task, Context, Args, _) ->
    ok = py:exec(Context, <<"async def task(*args):\n    return ct_fuzz.made(*args)\nimport ct_fuzz">>),
    py_context:submit_await(Context, '__main__', task, Args, #{}, 5_000);
through(sent, Context, [Tape | _] = Args, _) ->
    Code = <<"__import__('_erlang').send(to, ['sent', __import__('ct_fuzz').made(tape, *extra)])">>,
    case py_context:eval(Context, Code, #{to => self(), tape => Tape, extra => tl(Args)}, 5_000) of
        {ok, none} ->
            receive
                [_, Sent] -> {ok, Sent}
            after 5_000 -> not_sent
            end;
        Other ->
            Other
    end;
through(called_back, Context, [Tape | Extra], Stale) ->
    Code = <<"__import__('erlang').call('prop_objects', __import__('ct_fuzz').made(tape, *extra))">>,
    py_context:eval(Context, Code, #{tape => Tape, extra => [Stale | Extra]}, 5_000);
through(attribute, Context, Args, _) ->
    with_object(py:call(Context, ct_fuzz, made, Args, ?OPTIONS), fun(Object) -> py:getattr(Object, '__doc__') end);
through(contents, Context, Args, _) ->
    with_object(py:call(Context, ct_fuzz, made, Args, ?OPTIONS), fun(Object) -> py:to_term(Object) end);
through(iterated, Context, Args, _) ->
    with_object(py:call(Context, ct_fuzz, made, Args, ?OPTIONS), fun(Object) -> py:call_method(Object, '__iter__', []) end).

with_object({ok, Object} = Result, Fun) ->
    case py:is_ref(Object) of
        true -> Fun(Object);
        false -> Result
    end;
with_object(Other, _Fun) ->
    Other.

is_answer({ok, _}) -> true;
is_answer({error, Reason}) when Reason =:= stale_reference; Reason =:= timeout; Reason =:= interrupted -> true;
is_answer({error, {stop_iteration, _}}) -> true;
is_answer({error, {Class, Text}}) when is_atom(Class); is_binary(Class) -> py_odd:is_text(Text) orelse is_raised(Class);
is_answer(_) -> false.

%% What an Erlang function raised goes back as it was.
is_raised(Class) -> lists:member(Class, [error, exit, throw, <<"error">>, <<"exit">>, <<"throw">>]).

%% Contexts that were used long enough are given up for others, and with them whatever is left in them.
renew(#{age := Age, contexts := Contexts} = State) ->
    case Age >= 200 orelse not lists:all(fun is_process_alive/1, Contexts) of
        true ->
            _ = [py_context:stop(Context) || Context <- Contexts],
            {ok, refreshed(State)};
        false ->
            {ok, State#{age := Age + 1}}
    end.
