"""Attempts with frames, code objects and the namespaces of others."""

import builtins
import sys
import types

UNDER = ("default", "strict")


def blocked(function, *arguments):
    try:
        function(*arguments)
    except (RuntimeError, PermissionError, ImportError) as error:
        return " is blocked: " in str(error)
    return False


def attempt_code_in_the_library():
    """Code that runs with a library's namespace and name is still the context's."""
    import os

    code = compile("def f():\n    return _exit()\n", os.__file__, "exec")
    names = dict(vars(os))
    exec(code, names)
    return not blocked(names["f"])


def attempt_replaced_code():
    import os

    def mine():
        return _exit()  # noqa: F821

    before = os.fspath
    function = os.path.join
    code = function.__code__
    try:
        function.__code__ = mine.__code__.replace(co_filename=code.co_filename)
        os_names = function.__globals__
        os_names["_exit"] = os._exit
        return not blocked(function)
    finally:
        function.__code__ = code
        function.__globals__.pop("_exit", None)
        assert os.fspath is before


def attempt_new_function():
    import os

    code = compile("os._exit()", "<x>", "eval")
    function = types.FunctionType(code, {"os": os})
    return not blocked(function)


def attempt_other_builtins():
    names = {"__builtins__": {}, "module": sys.modules["posix"]}
    return not blocked(lambda: eval("module._exit()", names))


def attempt_frames_below():
    """What called this code has nothing to give."""
    frame = sys._getframe()
    while frame is not None:
        for names in (frame.f_globals, frame.f_locals):
            for value in list(names.values()):
                if isinstance(value, type(len)) and value.__name__ in ("_exit", "abort", "raise_signal"):
                    return frame.f_code.co_filename
        frame = frame.f_back


def attempt_generator_frames():
    def generator():
        import os

        yield os

    running = generator()
    os = next(running)
    return not blocked(running.gi_frame.f_locals["os"]._exit) or not blocked(os._exit)


def attempt_marshalled_code():
    import marshal

    code = marshal.loads(marshal.dumps(compile("posix._exit()", "<x>", "eval")))
    return not blocked(lambda: eval(code, {"posix": sys.modules["posix"]}))


def attempt_trace():
    """A trace function that runs in the middle of the library's code."""
    import os

    outcomes = []

    def trace(frame, event, _argument):
        if not outcomes:
            outcomes.append(blocked(os._exit))
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        os.path.join("a", "b")
    finally:
        sys.settrace(before)
    return outcomes != [True]


def attempt_builtins_of_my_own():
    before = builtins.__import__
    builtins.__import__ = lambda *_: sys.modules["posix"]
    try:
        import posix
    finally:
        builtins.__import__ = before
    return not blocked(posix._exit)


def attempt_descriptor_protocol():
    """A guarded function does not bind, as a built-in function does not."""
    import os

    class Holder:
        exit = os._exit

    return not blocked(Holder().exit) or not blocked(Holder.exit)


def attempt_partial():
    import functools
    import operator
    import os

    return not all(
        blocked(call)
        for call in (
            functools.partial(os._exit),
            lambda: operator.call(os._exit),
            lambda: operator.methodcaller("_exit")(os),
            lambda: list(map(os._exit, [0])),
            lambda: sorted([1], key=os._exit),
            lambda: next(iter(os.abort, None)),
        )
    )
