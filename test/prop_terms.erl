%% Any term, on any way into Python and back, with each conversion: an answer, and the same one when that goes once more.
-module(prop_terms).

-export([setup/0, input/1, holds/2, renew/1]).

-include("support/py_properties.hrl").

%% Names that exist as atoms, so that keys become some.
setup() ->
    [
        begin
            {ok, Context} = py_context:new(#{mode => Mode, conversion => Conversion}),
            Context
        end
     || Mode <- [py:execution_mode(), worker],
        Conversion <- [
            #{},
            #{binaries => bytes, atoms => atom, dict_keys => existing_atom, arrays => binary},
            #{map_keys => text, dict_keys => existing_atom}
        ]
    ].

input(Contexts) ->
    proper_types:tuple([
        proper_types:range(1, length(Contexts)),
        proper_types:elements([locals, args, kwargs, method, environment, task, callback, fun_value, cast, sent]),
        py_odd:described()
    ]).

holds({Which, Way, Description}, Contexts) ->
    Context = lists:nth(Which, Contexts),
    Term = py_odd:built(Description),
    case through(Way, Context, Term) of
        {ok, Back} ->
            Again = through(Way, Context, Back),
            verdict(same(Again, Back), {not_the_same, Again}, Context);
        Other ->
            verdict(is_refusal(Other), {answer, Other}, Context)
    end.

verdict(true, _Why, Context) ->
    case {py:call(Context, math, sqrt, [16], #{timeout => 30_000}), py_suite:flush()} of
        {{ok, 4.0}, []} -> true;
        Other -> {false, {afterwards, Other}}
    end;
verdict(false, Why, _Context) ->
    {false, Why}.

through(locals, Context, Term) ->
    py:eval(Context, <<"x">>, #{x => Term});
through(args, Context, Term) ->
    py:call(Context, copy, copy, [Term]);
through(kwargs, Context, Term) ->
    case py:call(Context, builtins, dict, [], #{kwargs => #{<<"x">> => Term}}) of
        {ok, #{<<"x">> := Back}} -> {ok, Back};
        {ok, #{x := Back}} -> {ok, Back};
        Other -> Other
    end;
through(method, Context, Term) ->
    {ok, Queue} = py:call(Context, collections, deque, []),
    case py:call_method(Queue, append, [Term]) of
        {ok, none} -> py:call_method(Queue, pop, []);
        Other -> Other
    end;
through(environment, Context, Term) ->
    {ok, Environment} = py_context:create_local_env(Context),
    py_context:eval(Context, <<"[x][0]">>, #{x => Term}, infinity, Environment);
through(task, Context, Term) ->
    ok = py:exec(Context, <<"async def same(x):\n    return x\n">>),
    py_context:submit_await(Context, '__main__', same, [Term]);
through(callback, Context, Term) ->
    ok = py:register_function(prop_terms, fun([X]) -> X end),
    py:call(Context, erlang, call, [prop_terms, Term]);
through(fun_value, Context, Term) ->
    py:eval(Context, <<"f()">>, #{f => fun() -> Term end});
through(cast, Context, Term) ->
    ok = py:exec(Context, <<"kept = [None]\ndef keep(x):\n    kept[0] = x\n">>),
    ok = py:cast(Context, '__main__', keep, [Term]),
    py:eval(Context, <<"kept[0]">>);
through(sent, Context, Term) ->
    case py:call(Context, erlang, send, [self(), {sent, Term}]) of
        {ok, none} ->
            receive
                {<<"sent">>, Back} -> {ok, Back};
                {sent, Back} -> {ok, Back}
            end;
        Other ->
            Other
    end.

same({ok, Back}, Back) -> true;
same(_, _) -> false.

is_refusal({error, {Class, Text}}) -> lists:member(Class, ['TypeError', 'ValueError', 'RecursionError']) andalso py_odd:is_text(Text);
is_refusal(_) -> false.

renew(Contexts) ->
    {ok, Contexts}.
