-module(py_callback_process).
-include("py_doc.hrl").
?MODULEDOC(false).

%% The process of a function that nobody waits for: it was called by a `spawn_call', a `cast', a thread, a task or a
%% caller on another node.

-include_lib("kernel/include/logger.hrl").

-export([start_link/4, run/4, report/1]).
-export_type([kind/0]).

-type kind() :: callback | tail.
%% Python code waits for the value; the value is the answer of a request.

-spec start_link(kind(), py_nif:callback(), py_callback_runner:called(), [term()]) ->
    {ok, pid()}.
start_link(Kind, Callback, Function, Args) ->
    {ok, proc_lib:spawn_link(?MODULE, run, [Kind, Callback, Function, Args])}.

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
    Result = py_callback_runner:tail(Callback, Function, Args),
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
report(#{function := Function, kind := Kind, reason := Reason}) ->
    {"a cast went on with the Erlang function ~tp, which failed~n~ts: ~tp", [Function, Kind, Reason]}.
