%% Functions that fail, and Python code that calls them, for the suites about exceptions on their way across.
-module(py_across).

-export([install/1, raising/0, failing/0, with_failure/3, kinds/0, reasons/0]).

-import(py_callbacks, [offering/2]).

install(Context) ->
    ok = py_callbacks:install(Context),
    py_callbacks:module(Context, "ct_across", <<
        "import erlang\n"
        "def passes(name, *args): return erlang.call(name, *args)\n"
        "def catches(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError as error:\n"
        "        return error.kind, error.reason\n"
        "def again(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError:\n"
        "        raise\n"
        "def anew(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError as error:\n"
        "        raise error\n"
        "def later(name, *args):\n"
        "    kept = None\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError as error:\n"
        "        kept = error\n"
        "    raise kept\n"
        "def instead(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except erlang.ErlangError as error:\n"
        "        raise LookupError('instead') from error\n"
        "def described(name, *args):\n"
        "    try:\n"
        "        erlang.call(name, *args)\n"
        "    except RuntimeError as error:\n"
        "        cause = error.__cause__\n"
        "        if cause is None: return None\n"
        "        return type(cause).__name__, str(cause), cause.traceback\n"
    >>).

raising() ->
    {raising, fun([Kind, Reason]) -> erlang:raise(binary_to_existing_atom(Kind, utf8), Reason, []) end}.

%% A function that fails with what was put into the process dictionary, so that it need not cross Python.
failing() ->
    {failing, fun([]) ->
        {Kind, Reason} = get(failing),
        case Kind of
            error -> error(Reason);
            exit -> exit(Reason);
            throw -> throw(Reason)
        end
    end}.

with_failure(Kind, Reason, Fun) ->
    _ = put(failing, {Kind, Reason}),
    try
        offering([failing()], Fun)
    after
        erase(failing)
    end.

kinds() -> [error, exit, throw].

%% Reasons, all of which must come back as they were, whatever conversion would make of them.
reasons() ->
    [
        badarg, none, undefined, nil, true, normal, an_atom, 1, 1 bsl 100, -0.0, 1.5, <<"text">>, <<255>>, "text", [], {},
        {badmatch, 5}, {error, {'ValueError', "text"}}, {case_clause, [a | b]}, [a | b], <<1:3>>, #{a => [<<1:3>>]},
        {bytes, <<"b">>}, #{1 => a, 1.0 => b}, self(), make_ref(), hd(erlang:ports()), fun lists:map/2,
        fun() -> self() end, {aborted, why}, lists:seq(1, 10_000), binary:copy(<<"x">>, 1_000_000),
        {stop_iteration, none}, timeout, interrupted
    ].
