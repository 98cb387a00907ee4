-module(py_arguments).
-include("py_doc.hrl").
?MODULEDOC(false).

%% What the public functions do with their arguments before anything else: each check gives what goes to the
%% native side, or raises `badarg' for the form that the user wrote.

-export([call/5, method/4, arguments/2, calls/2, tasks/2, evaluation/3, statements/2, options/2, options/3]).
-export([call_options/2, eval_options/2, dispatch/2, function/3, switch/2]).
-export([stream/2, stream_options/2, demand/2]).
-export([batch/5, items/2, batch_options/2, map_options/2]).
-export([name/3, context/2, environment/2, kwargs/2, object/2, pool/2, reference/2, timeout/2, registered/2]).
-export([registration/2, callable/3, erlang_name/3, owner/2, grace/2, loop/2, request/2]).
-include("py_arguments.hrl").

%% Characters of the name of a registered function.
-define(NAME_LIMIT, 255).

-type form() :: py_badarg:form().
-type name() :: atom() | binary().

%% `{call, _, _, _, _}' as py_nif takes it.
-spec call(form(), term(), term(), term(), term()) -> py_nif:payload().
%% What nearly every call is, in one guard; length/1 fails there for anything but a proper list.
call(_Form, Module, Function, Args, Kwargs) when
    (is_atom(Module) orelse is_binary(Module)),
    (is_atom(Function) orelse is_binary(Function)),
    length(Args) >= 0,
    is_map(Kwargs)
->
    {call, Module, Function, Args, Kwargs};
call(Form, Module, Function, Args, Kwargs) ->
    Checked = {call, name(Form, module, Module), name(Form, function, Function), Args, Kwargs},
    ok = arguments(Form, Args),
    _ = kwargs(Form, Kwargs),
    Checked.

%% A call of an object's method.
-spec method(form(), term(), term(), term()) -> py_nif:payload().
method(Form, Object, Method, Args) ->
    _ = object(Form, Object),
    Name = name(Form, method, Method),
    ok = arguments(Form, Args),
    {call_method, Object, Name, Args, #{}}.

%% length/1 refuses an improper list, on which the native side would stop short.
-spec arguments(form(), term()) -> ok.
arguments(Form, Args) ->
    try length(Args) of
        _ -> ok
    catch
        error:badarg when is_list(Args) -> py_badarg:refuse(Form, args, improper);
        error:badarg -> py_badarg:refuse(Form, args, wrong)
    end.

%% `[{Module, Function, Args}]'.
-spec calls(form(), term()) -> [py_nif:payload()].
calls(Form, Calls) when is_list(Calls) -> calls(Form, Calls, 1);
calls(Form, _Calls) -> py_badarg:refuse(Form, calls, wrong).

calls(Form, [{Module, Function, Args} | Calls], N) ->
    case is_text(Module) andalso is_text(Function) andalso is_proper(Args) of
        true -> [{call, text(Module), text(Function), Args, #{}} | calls(Form, Calls, N + 1)];
        false -> py_badarg:refuse(Form, calls, {not_a_call, N})
    end;
calls(_Form, [], _N) ->
    [];
calls(Form, [_ | _], N) ->
    py_badarg:refuse(Form, calls, {not_a_call, N});
calls(Form, _Tail, _N) ->
    py_badarg:refuse(Form, calls, improper).

%% `[{Module, Function, Args} | {Module, Function, Args, Kwargs}]'.
-spec tasks(form(), term()) -> [py_nif:payload()].
tasks(Form, Tasks) when is_list(Tasks) -> tasks(Form, Tasks, 1);
tasks(Form, _Tasks) -> py_badarg:refuse(Form, tasks, wrong).

tasks(Form, [{Module, Function, Args} | Tasks], N) ->
    tasks(Form, [{Module, Function, Args, #{}} | Tasks], N);
tasks(Form, [{Module, Function, Args, Kwargs} | Tasks], N) ->
    case is_text(Module) andalso is_text(Function) andalso is_proper(Args) andalso is_map(Kwargs) of
        true -> [{call, text(Module), text(Function), Args, Kwargs} | tasks(Form, Tasks, N + 1)];
        false -> py_badarg:refuse(Form, tasks, {not_a_call, N})
    end;
tasks(_Form, [], _N) ->
    [];
tasks(Form, [_ | _], N) ->
    py_badarg:refuse(Form, tasks, {not_a_call, N});
tasks(Form, _Tail, _N) ->
    py_badarg:refuse(Form, tasks, improper).

%% An expression and the names that it sees beside the namespace.
-spec evaluation(form(), term(), term()) -> py_nif:payload().
evaluation(Form, Code, Locals) when is_map(Locals) -> {eval, code(Form, Code), Locals};
evaluation(Form, Code, _Locals) ->
    _ = code(Form, Code),
    py_badarg:refuse(Form, locals, wrong).

-spec statements(form(), term()) -> py_nif:payload().
statements(Form, Code) -> {exec, code(Form, Code)}.

code(_Form, Code) when is_binary(Code) ->
    Code;
code(Form, Code) ->
    case is_list(Code) andalso is_text(Code) of
        true -> text(Code);
        false -> py_badarg:refuse(Form, code, wrong)
    end.

%% `#{kwargs => map(), timeout => timeout()}' of a call to an explicit context.
-spec options(form(), term()) -> {map(), timeout()}.
options(Form, Options) ->
    options(Form, Options, infinity).

-spec options(form(), term(), timeout()) -> {map(), timeout()}.
options(Form, Options, Default) ->
    plain_options(Form, Options, Default, [kwargs, timeout]).

plain_options(Form, Options, Default, Allowed) when is_map(Options) ->
    case maps:keys(maps:without([kwargs, timeout], Options)) of
        [] ->
            Kwargs = maps:get(kwargs, Options, #{}),
            Timeout = maps:get(timeout, Options, Default),
            _ = is_map(Kwargs) orelse py_badarg:refuse(Form, options, {wrong_option, kwargs, Kwargs}),
            _ = ?IS_TIMEOUT(Timeout) orelse
                py_badarg:refuse(Form, options, {wrong_option, timeout, Timeout}),
            {Kwargs, Timeout};
        [Unknown | _] ->
            py_badarg:refuse(Form, options, {unknown_option, Unknown, Allowed})
    end;
plain_options(Form, _Options, _Default, _Allowed) ->
    py_badarg:refuse(Form, options, wrong).

%% The same with `dispatch', which may be missing.
-spec call_options(form(), term()) -> {map(), timeout(), py_inline:dispatch() | default}.
call_options(Form, Options) ->
    {Dispatch, Rest} = dispatched(Form, Options, dispatch, [mailbox, inline, auto]),
    {Kwargs, Timeout} = plain_options(Form, Rest, infinity, [kwargs, timeout, dispatch]),
    {Kwargs, Timeout, Dispatch}.

%% `#{timeout, dispatch}' of an evaluation.
-spec eval_options(form(), term()) -> {timeout(), mailbox | inline | default}.
eval_options(Form, Options) ->
    {Dispatch, Rest} = dispatched(Form, Options, eval_dispatch, [mailbox, inline]),
    _ = is_map_key(kwargs, Rest) andalso py_badarg:refuse(Form, options, {unknown_option, kwargs, [timeout, dispatch]}),
    {_, Timeout} = plain_options(Form, Rest, infinity, [timeout, dispatch]),
    {Timeout, Dispatch}.

dispatched(Form, #{dispatch := Dispatch} = Options, Role, Allowed) ->
    _ = lists:member(Dispatch, Allowed) orelse
        py_badarg:refuse(Form, options, {wrong_option, dispatch, Dispatch, Role}),
    {Dispatch, maps:remove(dispatch, Options)};
dispatched(_Form, Options, _Role, _Allowed) when is_map(Options) ->
    {default, Options};
dispatched(Form, _Options, _Role, _Allowed) ->
    py_badarg:refuse(Form, options, wrong).

%% How a marked function is called.
-spec dispatch(form(), term()) -> inline | auto.
dispatch(_Form, Dispatch) when Dispatch =:= inline; Dispatch =:= auto -> Dispatch;
dispatch(Form, _Dispatch) -> py_badarg:refuse(Form, dispatch, wrong).

-spec switch(form(), term()) -> boolean().
switch(_Form, On) when is_boolean(On) -> On;
switch(Form, _On) -> py_badarg:refuse(Form, switch, wrong).

-spec function(form(), term(), term()) -> {name(), name()}.
function(Form, Module, Function) ->
    {name(Form, module, Module), name(Form, function, Function)}.

%% A stream, and what is said of it: `#{kwargs, owner, demand, timeout}', and where it is, with `context' or `pool'.
-spec stream(form(), term()) -> reference().
stream(_Form, Stream) when is_reference(Stream) -> Stream;
stream(Form, _Stream) -> py_badarg:refuse(Form, stream, wrong).

-spec stream_options(form(), term()) ->
    {map(), #{owner := pid(), demand := non_neg_integer() | infinity, timeout := timeout(), context => pid(), pool => atom()}}.
stream_options(Form, Options) when is_map(Options) ->
    Wrong = [{Key, Value} || {Key, Value} <- lists:sort(maps:to_list(Options)), not is_stream_option(Key, Value)],
    case Wrong of
        [] when is_map_key(context, Options), is_map_key(pool, Options) ->
            py_badarg:refuse(Form, options, {wrong_option, pool, maps:get(pool, Options)});
        [] ->
            Defaults = #{owner => self(), demand => infinity, timeout => infinity},
            {maps:get(kwargs, Options, #{}), maps:merge(Defaults, maps:remove(kwargs, Options))};
        [{Key, Value} | _] ->
            refuse_option(Form, Key, Value, [context, demand, kwargs, owner, pool, timeout])
    end;
stream_options(Form, _Options) ->
    py_badarg:refuse(Form, options, wrong).

is_stream_option(context, Context) -> is_pid(Context);
is_stream_option(demand, Demand) -> Demand =:= infinity orelse is_number_of_items(Demand, 0);
is_stream_option(kwargs, Kwargs) -> is_map(Kwargs);
is_stream_option(owner, Owner) -> is_pid(Owner);
is_stream_option(pool, Pool) -> is_atom(Pool);
is_stream_option(timeout, Timeout) -> ?IS_TIMEOUT(Timeout);
is_stream_option(_Unknown, _Value) -> false.

-spec demand(form(), term()) -> pos_integer() | infinity.
demand(_Form, infinity) -> infinity;
demand(Form, More) ->
    _ = is_number_of_items(More, 1) orelse py_badarg:refuse(Form, more, wrong),
    More.

%% What the native side counts.
is_number_of_items(N, Least) -> is_integer(N) andalso N >= Least andalso N < 1 bsl 59.

%% `{call_many, _, _, _, _}' as py_nif takes it.
-spec batch(form(), term(), term(), term(), map()) -> py_nif:payload().
batch(Form, Module, Function, ListOfArgs, Kwargs) ->
    Checked = {call_many, name(Form, module, Module), name(Form, function, Function), ListOfArgs, Kwargs},
    ok = argument_lists(Form, ListOfArgs, 1),
    Checked.

argument_lists(Form, [Args | Rest], N) when length(Args) >= 0 -> argument_lists(Form, Rest, N + 1);
argument_lists(_Form, [], _N) -> ok;
argument_lists(Form, [_ | _], N) -> py_badarg:refuse(Form, argument_lists, {not_arguments, N});
argument_lists(Form, _NoList, 1) -> py_badarg:refuse(Form, argument_lists, wrong);
argument_lists(Form, _Tail, _N) -> py_badarg:refuse(Form, argument_lists, improper).

-spec items(form(), term()) -> [term()].
items(_Form, Items) when length(Items) >= 0 -> Items;
items(Form, Items) when is_list(Items) -> py_badarg:refuse(Form, items, improper);
items(Form, _Items) -> py_badarg:refuse(Form, items, wrong).

%% What is said of a batch: `#{kwargs, timeout}'.
-spec batch_options(form(), term()) -> {map(), timeout() | default}.
batch_options(Form, Options) ->
    {Kwargs, #{timeout := Timeout}} = known_options(Form, Options, [kwargs, timeout]),
    {Kwargs, Timeout}.

%% Those, and how a list is split: `#{chunk_size, max_in_flight}'.
-spec map_options(form(), term()) -> {map(), py_map:options()}.
map_options(Form, Options) ->
    known_options(Form, Options, [chunk_size, kwargs, max_in_flight, timeout]).

known_options(Form, Options, Known) when is_map(Options) ->
    Wrong = [
        {Key, Value}
     || {Key, Value} <- lists:sort(maps:to_list(Options)),
        not (lists:member(Key, Known) andalso is_batch_option(Key, Value))
    ],
    case Wrong of
        [] ->
            Defaults = #{timeout => default, chunk_size => default, max_in_flight => 2},
            {maps:get(kwargs, Options, #{}), maps:merge(Defaults, maps:remove(kwargs, Options))};
        [{Key, Value} | _] ->
            refuse_option(Form, Key, Value, Known)
    end;
known_options(Form, _Options, _Known) ->
    py_badarg:refuse(Form, options, wrong).

%% One that is not known, or whose value is wrong.
-spec refuse_option(form(), term(), term(), [atom()]) -> no_return().
refuse_option(Form, Key, Value, Known) ->
    Cause =
        case lists:member(Key, Known) of
            true -> {wrong_option, Key, Value};
            false -> {unknown_option, Key, Known}
        end,
    py_badarg:refuse(Form, options, Cause).

is_batch_option(kwargs, Kwargs) -> is_map(Kwargs);
is_batch_option(timeout, Timeout) -> ?IS_TIMEOUT(Timeout);
is_batch_option(chunk_size, Size) -> is_integer(Size) andalso Size > 0;
is_batch_option(max_in_flight, Most) -> is_integer(Most) andalso Most > 0.

%% Who owns a loop: `#{owner => pid()}', or the calling process.
-spec owner(form(), term()) -> pid().
owner(Form, Options) when is_map(Options) ->
    case maps:keys(maps:remove(owner, Options)) of
        [] ->
            Owner = maps:get(owner, Options, self()),
            _ = is_pid(Owner) orelse py_badarg:refuse(Form, options, {wrong_option, owner, Owner}),
            Owner;
        [Unknown | _] ->
            py_badarg:refuse(Form, options, {unknown_option, Unknown, [owner]})
    end;
owner(Form, _Options) ->
    py_badarg:refuse(Form, options, wrong).

%% How long the end of a loop may take.
-spec grace(form(), term()) -> non_neg_integer().
grace(_Form, Grace) when is_integer(Grace), ?IS_TIMEOUT(Grace) -> Grace;
grace(Form, _Grace) -> py_badarg:refuse(Form, grace, wrong).

-spec loop(form(), term()) -> reference().
loop(_Form, Loop) when is_reference(Loop) -> Loop;
loop(Form, _Loop) -> py_badarg:refuse(Form, loop, wrong).

%% A task whose result goes to `caller' with `ref'.
-spec request(form(), term()) -> {py_nif:payload(), pid(), term()}.
request(Form, #{ref := Ref, caller := Caller, module := Module, func := Function, args := Args} = Request) ->
    Kwargs = maps:get(kwargs, Request, #{}),
    case
        is_pid(Caller) andalso is_text(Module) andalso is_text(Function) andalso is_proper(Args) andalso is_map(Kwargs)
    of
        true -> {{call, text(Module), text(Function), Args, Kwargs}, Caller, Ref};
        false -> py_badarg:refuse(Form, request, wrong)
    end;
request(Form, _Request) ->
    py_badarg:refuse(Form, request, wrong).

%% The name of a module or of something in it; strings become binaries.
-spec name(form(), module | function | attribute | method, term()) -> name().
name(_Form, _Role, Name) when is_atom(Name); is_binary(Name) ->
    Name;
name(Form, Role, Name) ->
    case is_text(Name) of
        true -> text(Name);
        false -> py_badarg:refuse(Form, Role, wrong)
    end.

%% A module or one function of it, as registrations name them.
-spec registered(form(), term()) -> {name(), name()}.
registered(Form, {Module, Function}) ->
    case is_text(Module) andalso is_text(Function) of
        true -> {text(Module), text(Function)};
        false -> py_badarg:refuse(Form, registered, wrong)
    end;
registered(Form, Module) ->
    case is_text(Module) of
        true -> {text(Module), '_'};
        false -> py_badarg:refuse(Form, registered, wrong)
    end.

%% What Python knows an Erlang function by; longer names would be no atoms there.
-spec registration(form(), term()) -> binary().
registration(Form, Name) ->
    case is_text(Name) andalso registered_name(text(Name)) of
        Key when is_binary(Key) -> Key;
        _ -> py_badarg:refuse(Form, name, wrong)
    end.

registered_name(Name) when is_atom(Name) -> registered_name(atom_to_binary(Name));
registered_name(Name) when byte_size(Name) > 0, byte_size(Name) =< 4 * ?NAME_LIMIT ->
    case unicode:characters_to_list(Name) of
        Characters when length(Characters) =< ?NAME_LIMIT -> Name;
        _ -> false
    end;
registered_name(_Name) ->
    false.

%% A function that gets the list of its arguments.
-spec callable(form(), callable | handler, term()) -> py_callback:callable().
callable(_Form, _Role, Function) when is_function(Function, 1) ->
    Function;
callable(_Form, callable, {Module, Function} = Named) when is_atom(Module), is_atom(Function) ->
    Named;
callable(Form, Role, _Function) ->
    py_badarg:refuse(Form, Role, wrong).

-spec erlang_name(form(), erlang_module | erlang_function, term()) -> atom().
erlang_name(_Form, _Role, Name) when is_atom(Name) -> Name;
erlang_name(Form, Role, _Name) -> py_badarg:refuse(Form, Role, wrong).

-spec context(form(), term()) -> pid().
context(_Form, Context) when is_pid(Context) -> Context;
context(Form, _Context) -> py_badarg:refuse(Form, context, wrong).

-spec environment(form(), term()) -> reference().
environment(_Form, Environment) when is_reference(Environment) -> Environment;
environment(Form, _Environment) -> py_badarg:refuse(Form, environment, wrong).

-spec kwargs(form(), term()) -> map().
kwargs(_Form, Kwargs) when is_map(Kwargs) -> Kwargs;
kwargs(Form, _Kwargs) -> py_badarg:refuse(Form, kwargs, wrong).

-spec object(form(), term()) -> reference().
object(_Form, Object) when is_reference(Object) -> Object;
object(Form, _Object) -> py_badarg:refuse(Form, object, wrong).

-spec pool(form(), term()) -> atom().
pool(_Form, Pool) when is_atom(Pool) -> Pool;
pool(Form, _Pool) -> py_badarg:refuse(Form, pool, wrong).

-spec reference(form(), term()) -> reference().
reference(_Form, Ref) when is_reference(Ref) -> Ref;
reference(Form, _Ref) -> py_badarg:refuse(Form, ref, wrong).

-spec timeout(form(), term()) -> timeout().
timeout(_Form, Timeout) when ?IS_TIMEOUT(Timeout) -> Timeout;
timeout(Form, _Timeout) -> py_badarg:refuse(Form, timeout, wrong).

is_proper(List) ->
    is_list(List) andalso
        try length(List) of
            _ -> true
        catch
            error:badarg -> false
        end.

is_text(Text) when is_list(Text) -> is_binary(converted(Text));
is_text(Text) -> is_atom(Text) orelse is_binary(Text).

text(Text) when is_list(Text) -> converted(Text);
text(Text) -> Text.

converted(Text) ->
    try
        unicode:characters_to_binary(Text)
    catch
        error:badarg -> error
    end.
