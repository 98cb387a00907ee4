-module(py_badarg).
-include("py_doc.hrl").
?MODULEDOC(false).

%% Wrong arguments: `badarg' that says which argument and why (EEP 54). The exception carries the position
%% and a symbolic cause; the words are made here when somebody prints it.

-export([refuse/3, format_error/2]).
-export_type([form/0, role/0, cause/0]).

-type form() :: {module(), Function :: atom(), [role()], [term()]}.
%% A call as the user wrote it: what each argument means in the form that was recognised, and its value.
-type role() ::
    amount
    | args
    | argument_lists
    | attribute
    | bound
    | callable
    | calls
    | code
    | context
    | environment
    | erlang_function
    | erlang_module
    | function
    | generation
    | grace
    | index
    | key
    | dispatch
    | info
    | item
    | items
    | frames
    | function_of_none
    | headers
    | event_handler
    | events
    | handler
    | id
    | kwargs
    | locals
    | loop
    | mode
    | more
    | method
    | module
    | name
    | object
    | options
    | path
    | paths
    | place
    | pool
    | ref
    | registered
    | request
    | requirements
    | size
    | socket
    | stream
    | switch
    | tasks
    | timeout.
-type cause() ::
    wrong
    | improper
    | {not_a_call, Place :: pos_integer()}
    | {not_arguments, Place :: pos_integer()}
    | {unknown_event, Event :: term()}
    | {unknown_option, Key :: term(), Allowed :: [atom()]}
    | {wrong_option, Key :: atom(), Value :: term()}
    | {wrong_option, Key :: atom(), Value :: term(), role()}.

%% Raises `badarg' as if the user's call itself had raised it: no function of this library is above it.
-spec refuse(form(), role(), cause()) -> no_return().
refuse({Module, Function, Roles, Args}, Role, Cause) ->
    Info = #{module => ?MODULE, cause => {position(Role, Roles, 1), Role, Cause}},
    {current_stacktrace, Frames} = erlang:process_info(self(), current_stacktrace),
    Above = lists:dropwhile(fun is_ours/1, Frames),
    erlang:raise(error, badarg, [{Module, Function, Args, [{error_info, Info}]} | Above]).

position(Role, [Role | _], N) -> N;
position(Role, [_ | Roles], N) -> position(Role, Roles, N + 1).

is_ours({Module, _, _, _}) ->
    lists:member(Module, [
        ?MODULE, py_arguments, py, py_memory, py_state, py_context, py_context_router, py_semaphore, py_callback,
        py_event_loop, py_event_loop_pool, py_reactor, py_reactor_context, py_top, py_telemetry, py_trace,
        py_import, py_preload
    ]).

-spec format_error(term(), erlang:stacktrace()) -> #{pos_integer() => unicode:chardata()}.
format_error(_Reason, [{_Module, _Function, _Args, Info} | _]) ->
    #{cause := {Position, Role, Cause}} = proplists:get_value(error_info, Info),
    #{Position => text(Role, Cause)}.

text(Role, wrong) ->
    ["not ", expected(Role)];
text(args, improper) ->
    "not a proper list";
text(calls, improper) ->
    "not a proper list";
text(tasks, improper) ->
    "not a proper list";
text(argument_lists, improper) ->
    "not a proper list";
text(items, improper) ->
    "not a proper list";
text(argument_lists, {not_arguments, Place}) ->
    io_lib:format("element ~b is not a list of arguments", [Place]);
text(calls, {not_a_call, Place}) ->
    io_lib:format("element ~b is not {Module, Function, Args} with names and a list", [Place]);
text(tasks, {not_a_call, Place}) ->
    io_lib:format("element ~b is not {Module, Function, Args} or {Module, Function, Args, Kwargs}", [Place]);
text(events, {unknown_event, Event}) ->
    io_lib:format("~0tP is none of py_telemetry:events/0", [Event, 10]);
text(options, {unknown_option, Key, Allowed}) ->
    Names = lists:join(", ", [atom_to_list(Name) || Name <- Allowed]),
    io_lib:format("unknown option ~0tP; what there is: ~ts", [Key, 10, Names]);
text(options, {wrong_option, Key, Value}) ->
    text(options, {wrong_option, Key, Value, Key});
text(options, {wrong_option, Key, Value, Role}) ->
    io_lib:format("option ~ts is ~0tP, not ~ts", [Key, Value, 10, expected(Role)]).

expected(amount) -> "an integer of at most 64 bits";
expected(args) -> "a list of arguments";
expected(argument_lists) -> "a list of lists of arguments";
expected(attribute) -> "an attribute's name: an atom, a binary or a string";
expected(bound) -> "a bound: an integer from 1 to 4294967294, or infinity";
expected(callable) -> "a fun of one argument, the list of arguments, or {Module, Function}";
expected(calls) -> "a list of {Module, Function, Args}";
expected(code) -> "Python code: a binary or a string";
expected(context) -> "a context: its pid";
expected(dispatch) -> "mailbox, inline or auto";
expected(demand) -> "a number of items: an integer from 0, or infinity";
expected(environment) -> "an environment: the reference that create_local_env or get_local_env gave";
expected(eval_dispatch) -> "mailbox or inline";
expected(erlang_function) -> "the name of an Erlang function: an atom";
expected(erlang_module) -> "the name of an Erlang module: an atom";
expected(event_handler) -> "a fun of three arguments: event, measurements and metadata";
expected(events) -> "an event of py_telemetry:events/0, or a list of them";
expected(frames) -> "a number of frames: a positive integer";
expected(function) -> "a function's name: an atom, a binary or a string";
expected(function_of_none) -> "a fun without arguments";
expected(headers) -> "a map or a list of headers: names and values, as binaries or strings";
expected(generation) -> "a generation: 0, 1 or 2";
expected(grace) -> "a time to end in: milliseconds from 0 to 4294967295";
expected(handler) -> "a fun of one argument, the list of arguments";
expected(id) -> "an identifier";
expected(index) -> "the index of a context, from 1, or a pool's name (an atom)";
expected(info) -> "a map, which becomes client_info";
expected(interval) -> "a positive number of milliseconds";
expected(item) -> "an item of py:info/0 (an atom), or a context: its pid";
expected(items) -> "a list";
expected(chunk_size) -> "a positive integer";
expected(max_in_flight) -> "a positive integer";
expected(kwargs) -> "a map of keyword arguments";
expected(locals) -> "a map of names to values";
expected(loop) -> "a loop: the reference that get_loop or loop_ref gave";
expected(method) -> "a method's name: an atom, a binary or a string";
expected(more) -> "a number of items: a positive integer, or infinity";
expected(mode) -> "owngil or worker";
expected(module) -> "a module's name: an atom, a binary or a string";
expected(name) -> "a name of 1 to 255 characters: an atom, a binary or a string";
expected(object) -> "a reference to a Python object";
expected(options) -> "a map of options";
expected(owner) -> "a pid";
expected(path) -> "a path: a string or a binary";
expected(paths) -> "a list of paths";
expected(place) -> "the index of a context, from 1";
expected(pool) -> "a pool's name: an atom";
expected(ref) -> "a reference of spawn_call or of a task that this process made";
expected(registered) -> "a module's name or {Module, Function}, with atoms, binaries or strings";
expected(request) ->
    "a map with ref, caller (a pid), module, func, args and, if need be, kwargs";
expected(requirements) -> "a list of requirements, or the path of a requirements file or of a project";
expected(size) -> "a number of contexts: a positive integer";
expected(sort) -> "cpu, requests, queue, memory or time";
expected(socket) -> "a socket of gen_tcp, gen_udp or socket, or the number of a descriptor";
expected(stream) -> "a stream: the reference that stream_start gave";
expected(switch) -> "true or false";
expected(tasks) -> "a list of {Module, Function, Args} and {Module, Function, Args, Kwargs}";
expected(timeout) -> "a time limit: milliseconds from 0 to 4294967295, or infinity".
