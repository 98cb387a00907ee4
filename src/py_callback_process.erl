-module(py_callback_process).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The process of a function that nobody waits for: it was called by a `spawn_call', a `cast', a thread, a task or a
%% caller on another node.

-include_lib("kernel/include/logger.hrl").

-export([start_link/4, run/4, died/4, report/1]).
-export_type([kind/0]).

-type kind() :: callback | tail.
%% Python code waits for the value; the value is the answer of a request.

-spec start_link(kind(), py_nif:callback(), py_callback_runner:called(), [term()]) -> pid().
start_link(Kind, Callback, Function, Args) ->
    proc_lib:spawn_link(?MODULE, run, [Kind, Callback, Function, Args]).

%% Who waited may have gone before this process came to run.
-spec run(kind(), py_nif:callback(), py_callback_runner:called(), [term()]) -> ok.
run(Kind, Callback, Function, Args) ->
    case py_nif:callback_begin(Callback) of
        ok -> begun(Kind, Callback, Function, Args);
        _Expired -> ok
    end.

begun(callback, Callback, Function, Args) ->
    Answer = py_callback_runner:serve(Callback, Function, Args, infinity),
    _ = py_nif:callback_answer(Callback, none, Answer),
    ok;
begun(tail, Callback, Function, Args) ->
    finished(Callback, Function, py_callback_runner:tail(Callback, Function, Args, infinity)).

%% For the process that it was linked to. Without effect where it had answered, or was never to.
-spec died(kind(), py_nif:callback(), py_callback_runner:called(), term()) -> ok.
died(callback, Callback, _Function, Reason) ->
    _ = py_nif:callback_answer(Callback, none, py_callback_runner:exited(Reason)),
    ok;
died(tail, Callback, Function, Reason) ->
    finished(Callback, Function, {error, {exit, Reason}}).

finished(Callback, Function, Result) ->
    case {py_nif:callback_finish(Callback, Result), Result} of
        {cast, {error, {Kind, Reason}}} ->
            ?LOG_ERROR(
                #{label => {?MODULE, cast_failed}, function => Function, kind => Kind, reason => Reason},
                #{report_cb => fun ?MODULE:report/1}
            );
        _ ->
            ok
    end.

%% For logger.
-spec report(logger:report()) -> {io:format(), [term()]}.
report(#{function := Name, kind := Kind, reason := Reason}) when is_binary(Name) ->
    {"a cast went on with the Erlang function ~ts, which failed~n~ts: ~tp", [Name, Kind, Reason]};
report(#{function := Fun, kind := Kind, reason := Reason}) ->
    {"a cast went on with ~tp, which failed~n~ts: ~tp", [Fun, Kind, Reason]}.
