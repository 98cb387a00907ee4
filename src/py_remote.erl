-module(py_remote).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Contexts on other nodes, as a calling process sees them.
%%
%%   caller ──▶ proxy (this node) ══▶ session (the context's node) ──▶ context
%%
%% A process has one proxy for each node on which it uses contexts, and that proxy one session there. The session
%% submits as if it were the caller: the namespace is its own, and goes with it. One line for everything
%% keeps the order of what the caller submits. The caller itself never touches the distribution, so no
%% connection that is slow, busy or not there makes it wait longer than it wants to.

-export([call/4, spawn/3, part/3, cast/3, task/3, task_cast/3, stream/3, ask/2]).
-export([is_mine/1, cancel/1]).

-export_type([tag/0, form/0]).

-type tag() :: {reference(), pos_integer()}.
-type form() :: spawn | task | {part, tag()}.
%% How a request is answered that nobody waits for here, see py_remote_server:message/3.
-type refused() :: {refused, Reason :: term()}.

-define(TABLE, py_remote_server).

?DOC(false).
%% Submits to a context, or to that of an object, and waits. `refused': it did not run.
-spec call(py_nif:target(), py_nif:payload(), timeout(), py_nif:scope()) -> py_call:result() | refused().
call(Context, Payload, Timeout, Scope) ->
    request(node(Context), {call, Context, Payload, Scope}, Timeout).

?DOC(false).
%% What the native function of that name says about the context.
-spec ask(context_info | context_memory | interrupt | environment | own_environment, py_nif:target()) -> term().
ask(Function, Context) ->
    case request(node(Context), {ask, Context, Function}, infinity) of
        {refused, Reason} -> {error, Reason};
        Answer -> Answer
    end.

?DOC(false).
%% Starts a stream; its process there. The owner is a process of this node.
-spec stream(py_nif:target(), py_nif:payload(), py_remote_session:stream()) -> {ok, pid()} | {error, term()}.
stream(Context, Payload, Stream) ->
    case request(node(Context), {stream, Context, Payload, Stream}, infinity) of
        {ok, Process} when is_pid(Process) -> {ok, Process};
        {refused, not_running} -> {error, {context_died, noproc}};
        {refused, Reason} -> {error, Reason};
        {error, _} = Error -> Error
    end.

request(Node, Submission, Timeout) ->
    case proxy(Node) of
        {ok, Proxy} ->
            case exchange(Proxy, Submission, Timeout) of
                %% The application was restarted since.
                gone -> again(Node, Submission, Timeout);
                Result -> Result
            end;
        {error, Reason} ->
            {refused, Reason}
    end.

again(Node, Submission, Timeout) ->
    _ = erase({?MODULE, Node}),
    case proxy(Node) of
        {ok, Proxy} ->
            case exchange(Proxy, Submission, Timeout) of
                gone -> {refused, not_running};
                Result -> Result
            end;
        {error, Reason} ->
            {refused, Reason}
    end.

%% The reference is made here, and every clause matches it: see scripts/check-receive.
exchange(Proxy, Submission, Timeout) ->
    Ref = erlang:monitor(process, Proxy, [{alias, reply_demonitor}]),
    Proxy ! {request, Ref, Submission},
    receive
        {Ref, Result} ->
            Result;
        {Ref, Result, Story} ->
            py_error:keep(Story),
            Result;
        {'DOWN', Ref, process, _, noproc} ->
            gone;
        {'DOWN', Ref, process, _, Reason} ->
            {error, {context_died, Reason}}
    after Timeout ->
        take_back(Proxy, Ref)
    end.

%% The time is over. From the end of the alias on nothing comes any more; what came before counts.
take_back(Proxy, Ref) ->
    _ = erlang:demonitor(Ref, [flush]),
    receive
        {Ref, Result} ->
            Result;
        {Ref, Result, Story} ->
            py_error:keep(Story),
            Result
    after 0 ->
        Proxy ! {cancel, Ref},
        {error, timeout}
    end.

?DOC(false).
-spec spawn(py_nif:target(), py_nif:payload(), py_nif:scope()) -> reference() | {error, term()}.
spawn(Context, Payload, Scope) ->
    submit(spawn, node(Context), {call, Context, Payload, Scope}).

?DOC(false).
%% Answered with that tag, as `py_nif:part/4', or with `{Tag, {refused, Reason}}'.
-spec part(py_nif:target(), tag(), py_nif:payload()) -> reference() | {error, term()}.
part(Context, Tag, Payload) ->
    submit({part, Tag}, node(Context), {call, Context, Payload, own}).

?DOC(false).
-spec task(py_nif:target(), py_nif:payload(), py_nif:scope()) -> reference() | {error, term()}.
task(Context, Payload, Scope) ->
    submit(task, node(Context), {task, Context, Payload, Scope}).

%% The reference is an alias for one message, so that whoever is first to answer is the only one.
submit(Form, Node, Submission) ->
    case living_proxy(Node) of
        {ok, Proxy} ->
            Ref = erlang:alias([reply]),
            case listed(Ref, Proxy, Form) of
                true ->
                    Proxy ! {Form, Ref, Submission},
                    Ref;
                false ->
                    _ = erlang:unalias(Ref),
                    {error, not_running}
            end;
        {error, _} = Error ->
            Error
    end.

%% A proxy that is alive now has its requests answered whatever becomes of it, since they are in the list that
%% is read after its death.
listed(Ref, Proxy, Form) ->
    try
        true = ets:insert(?TABLE, {Ref, self(), Proxy, Form}),
        %% Gone from the list of a dead one means answered.
        is_process_alive(Proxy) orelse ets:take(?TABLE, Ref) =:= []
    catch
        error:badarg -> false
    end.

?DOC(false).
-spec cast(py_nif:target(), py_nif:payload(), py_nif:scope()) -> ok | {error, not_running}.
cast(Context, Payload, Scope) ->
    submit_cast(node(Context), {cast, Context, Payload, Scope}).

?DOC(false).
-spec task_cast(py_nif:target(), py_nif:payload(), py_nif:scope()) -> ok | {error, not_running}.
task_cast(Context, Payload, Scope) ->
    submit_cast(node(Context), {task_cast, Context, Payload, Scope}).

submit_cast(Node, Submission) ->
    case living_proxy(Node) of
        {ok, Proxy} ->
            Proxy ! {cast, Submission},
            ok;
        {error, _} = Error ->
            Error
    end.

?DOC(false).
%% Whether the calling process made the request, as far as anybody still knows.
-spec is_mine(reference()) -> boolean().
is_mine(Ref) ->
    try ets:lookup(?TABLE, Ref) of
        [{_, Caller, _, _}] -> Caller =:= self();
        [] -> true
    catch
        error:badarg -> true
    end.

?DOC(false).
%% No message of the request comes any more; one may have come.
-spec cancel(reference()) -> ok.
cancel(Ref) ->
    _ = erlang:unalias(Ref),
    try ets:take(?TABLE, Ref) of
        [{_, _, Proxy, _}] ->
            Proxy ! {cancel, Ref},
            ok;
        [] ->
            ok
    catch
        error:badarg -> ok
    end.

living_proxy(Node) ->
    case proxy(Node) of
        {ok, Proxy} = Found ->
            case is_process_alive(Proxy) of
                true ->
                    Found;
                false ->
                    _ = erase({?MODULE, Node}),
                    proxy(Node)
            end;
        {error, _} = Error ->
            Error
    end.

proxy(Node) ->
    case get({?MODULE, Node}) of
        undefined ->
            case py_remote_sup:start_proxy(self(), Node) of
                {ok, Proxy} = Started ->
                    _ = put({?MODULE, Node}, Proxy),
                    Started;
                {error, _} = Error ->
                    Error
            end;
        Proxy ->
            {ok, Proxy}
    end.
