-module(py_everywhere).
-include("py_doc.hrl").
?MODULEDOC(false).

%% What is done in every interpreter of this node that serves contexts.

-export([contexts/0, call/3]).
-export([ask/5]).
-export_type([context/0, outcome/0]).

-type context() :: {pid(), owngil | worker, Interpreter :: non_neg_integer()}.
-type outcome() :: {[pid(), ...], {ok, term()} | {error, term()}}.
%% The contexts of one interpreter; in an error the first is the one that answered it.

%% As py_callback_runner has it.
-define(CURRENT, {py_callback, current}).

%% The contexts that are ready.
-spec contexts() -> [context()].
contexts() ->
    [
        {Pid, Mode, Interpreter}
     || {Pid, _Birth} <- py_nif:contexts(),
        {Mode, Interpreter, _Processes, _Queue} <- [py_nif:context_info(Pid)],
        Interpreter >= 0
    ].

%% Calls a function of `erlang._everywhere' once in each interpreter, in all of them at the same time. One that has
%% several contexts is asked by way of each, as some may be busy, and does it the first time. What ends meanwhile is left
%% out. By a process of its own, whose requests go with it; what it asks is a part of the callback that the caller runs.
-spec call(binary(), [term()], timeout()) -> [outcome()].
call(Function, Args, Timeout) ->
    {Caller, Part, Deadline} = {self(), get(?CURRENT), py_call:deadline(py_call:limited(Timeout))},
    {Pid, Monitor} = spawn_monitor(?MODULE, ask, [Function, Args, Caller, Part, Deadline]),
    receive
        {'DOWN', Monitor, process, Pid, {?MODULE, Outcomes}} -> Outcomes;
        {'DOWN', Monitor, process, Pid, Reason} -> exit(Reason)
    end.

%% The process that asks, and exits with the outcomes.
-spec ask(binary(), [term()], pid(), term(), infinity | integer()) -> no_return().
ask(Function, Args, Caller, Part, Deadline) ->
    Of = erlang:monitor(process, Caller),
    _ = put(?CURRENT, Part),
    exit({?MODULE, asked(Function, Args, Of, Deadline)}).

asked(Function, Args, Of, Deadline) ->
    Token = erlang:unique_integer([positive]),
    Payload = {call, <<"erlang._everywhere">>, <<"once">>, [Token, Function, Args], #{}},
    Asked = [
        {py_call:spawn_explicit(Pid, Payload), Interpreter, Pid}
     || {Pid, _Mode, Interpreter} <- contexts()
    ],
    Groups = lists:foldl(
        fun({_Ref, Interpreter, Pid}, All) ->
            maps:update_with(Interpreter, fun(Pids) -> [Pid | Pids] end, [Pid], All)
        end,
        #{},
        Asked
    ),
    Pending = maps:from_list([{Ref, {Interpreter, Pid}} || {Ref, Interpreter, Pid} <- Asked]),
    Answers = collect(Pending, #{}, Of, Deadline),
    [
        outcome(Pids, maps:get(Interpreter, Answers, {hd(Pids), {error, timeout}}))
     || {Interpreter, Pids} <- lists:sort(maps:to_list(Groups)),
        not is_gone(Pids, maps:get(Interpreter, Answers, none))
    ].

outcome(Pids, {_Pid, {ok, _} = Ok}) -> {Pids, Ok};
outcome(Pids, {Pid, Error}) -> {[Pid | lists:delete(Pid, Pids)], Error}.

is_gone(_Pids, {_Pid, {error, {context_died, _}}}) -> true;
is_gone(_Pids, _Answer) -> false.

%% The answer of each interpreter: the first that is more than `none', which says that somebody else does it, and than
%% that of a context that has ended.
collect(Pending, Answers, _Of, _Deadline) when map_size(Pending) =:= 0 ->
    Answers;
collect(Pending, Answers, Of, Deadline) ->
    receive
        {py_response, Ref, Result} when is_map_key(Ref, Pending) ->
            {{Interpreter, Pid}, Left} = maps:take(Ref, Pending),
            case Result of
                {ok, none} ->
                    collect(Left, Answers, Of, Deadline);
                {error, {context_died, _}} ->
                    collect(Left, maps:merge(#{Interpreter => {Pid, Result}}, Answers), Of, Deadline);
                _ ->
                    collect(without(Interpreter, Left), Answers#{Interpreter => {Pid, value(Result)}}, Of, Deadline)
            end;
        {'DOWN', Of, process, _Caller, _Reason} ->
            exit(normal)
    after py_call:remaining(Deadline) ->
        _ = without_all(Pending),
        Answers
    end.

value({ok, {Value}}) -> {ok, Value};
value({error, _} = Error) -> Error.

%% The other contexts of the interpreter need not answer any more.
without(Interpreter, Pending) ->
    maps:filter(
        fun
            (Ref, {Of, _Pid}) when Of =:= Interpreter ->
                ok = py_call:cancel(Ref),
                false;
            (_Ref, _Other) ->
                true
        end,
        Pending
    ).

without_all(Pending) ->
    [ok = py_call:cancel(Ref) || Ref <- maps:keys(Pending)].
