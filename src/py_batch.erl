-module(py_batch).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Batches: a function with one list of arguments after another, as one request.

-export([explicit/3, pooled/3, each/2]).
-export_type([result/0, results/0]).

-type result() :: {ok, term()} | {error, term()}.
-type results() :: [result()] | {error, term()}.
%% An error says why nothing has run.

-spec explicit(pid(), py_nif:payload(), timeout() | default) -> results().
explicit(Context, Payload, default) -> explicit(Context, Payload, infinity);
explicit(Context, Payload, Timeout) -> results(py_call:explicit(Context, Payload, Timeout), Payload).

-spec pooled(atom(), py_nif:payload(), timeout() | default) -> results().
pooled(Pool, Payload, Timeout) -> results(py_call:pooled(Pool, Payload, Timeout), Payload).

results({ok, Results}, _Payload) ->
    Results;
results({error, Reason} = Error, {_Kind, _Module, _Function, Items, _Kwargs}) when
    Reason =:= timeout; element(1, Reason) =:= context_died
->
    %% Some may have run, of which nothing is known any more.
    each(Items, Error);
results({error, _} = Error, _Payload) ->
    Error.

%% The same for each item.
-spec each([term()], result()) -> [result()].
each(Items, Result) -> [Result || _ <- Items].
