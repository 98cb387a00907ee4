%% Python objects of the module ct_objects for the suites.
-module(py_objects).

-export([install/1, another_context/1, objects/3]).

%% Makes the module importable, with a name that the code of every process knows.
install(Context) ->
    ok = py_suite:python_path(Context),
    ok = py_suite:install(Context),
    py:exec(Context, <<"import builtins, ct_objects\nbuiltins.ct_objects = ct_objects">>).

another_context(Config) ->
    Context = py_suite:new_context(Config),
    ok = install(Context),
    Context.

objects(Context, Function, Arguments) ->
    py:call(Context, ct_objects, Function, Arguments).
