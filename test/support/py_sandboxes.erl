%% What suites of sandboxes share: contexts under a policy, and what they refuse.
-module(py_sandboxes).

-include_lib("stdlib/include/assert.hrl").

-export([with/3, with_bare/3, strict/1, context/2, install/1, allowed/2, allowed/3, denied/4, denied/5, imports/2, report/1]).

%% What the fun gives for a new context under the policy, which is stopped afterwards.
with(Config, Policy, Fun) ->
    Context = context(Config, Policy),
    try
        Fun(Context)
    after
        ok = py_context:stop(Context)
    end.

%% As with/3, where a policy does not let the context have `ct_refusals'.
with_bare(Config, Policy, Fun) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), sandbox => Policy}),
    try
        Fun(Context)
    after
        ok = py_context:stop(Context)
    end.

context(Config, Policy) ->
    {ok, Context} = py_context:new(#{mode => py_suite:mode(Config), sandbox => Policy}),
    ok = install(Context),
    Context.

%% The module `ct_refusals', which a policy may not let the context read.
install(Context) ->
    {ok, Source} = file:read_file(filename:join(py_suite:checkout(), "test/support/python/ct_refusals.py")),
    {ok, none} = py:eval(
        Context,
        <<
            "(lambda m, source: __import__('sys').modules.__setitem__('ct_refusals', m) or exec(source, m.__dict__))"
            "(type(__import__('sys'))('ct_refusals'), source)"
        >>,
        #{source => Source}
    ),
    ok.

%% The value of an expression that the policy allows.
allowed(Context, Code) ->
    allowed(Context, Code, #{}).

allowed(Context, Code, Locals) ->
    case py:eval(Context, Code, Locals) of
        {ok, Value} -> Value;
        {error, Reason} -> ct:fail({not_allowed, Code, Reason})
    end.

%% An expression is refused by an exception of that class, under that name.
denied(Context, Refusal, Class, Code) ->
    denied(Context, Refusal, Class, Code, #{}).

denied(Context, Refusal, Class, Code, Locals) ->
    {ok, Wrong} = py:call(Context, ct_refusals, refused, [Refusal, Class, iolist_to_binary(Code), Locals]),
    report(Wrong).

%% Modules are refused, however they are imported.
imports(Context, Names) ->
    report(lists:append([Wrong || Name <- Names, {ok, Wrong} <- [py:call(Context, ct_refusals, imports, [Name])]])).

%% A list of what is wrong, as ct_refusals gives it.
report([]) ->
    ok;
report(Wrong) ->
    ct:fail("~ts", [lists:join("\n", [unicode:characters_to_binary(Text) || Text <- Wrong])]).

%% Strict, as far as it goes everywhere: contexts of mode worker share an environment, and not every system has seccomp.
strict(Config) ->
    Strict = #{base => strict, seccomp => best_effort},
    case py_suite:mode(Config) of
        worker -> Strict#{environment => all};
        owngil -> Strict
    end.
