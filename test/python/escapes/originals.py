"""Attempts to find the functions that guarded ones stand in for."""

import copy
import gc
import os
import pickle
import sys
import types

UNDER = ("default", "strict")

BUILTIN = type(len)

#: Functions of the system's that no context may have, by their modules.
NAMES = {
    "posix": ("_exit", "abort", "umask", "setuid", "chroot", "waitpid", "setsid"),
    "_signal": ("raise_signal", "alarm", "setitimer"),
    "_imp": ("create_builtin", "create_dynamic"),
    "sys": ("setrecursionlimit",),
    "_thread": ("start_new_thread",),
    "_locale": ("setlocale",),
}


def guarded():
    """All that must be there, and is not what it was."""
    for module, names in NAMES.items():
        for name in names:
            function = getattr(__import__(module), name)
            assert not isinstance(function, BUILTIN), f"{module}.{name} is not guarded"
            yield module, name, function


def is_original(thing):
    """Whether it is one of those functions as CPython has made it."""
    return issubclass(type(thing), BUILTIN) and thing.__name__ in NAMES.get(thing.__module__, ())


def attempt_attributes():
    found = []
    for _, _, function in guarded():
        for name in [*dir(function), "__self__", "__wrapped__", "__func__", "__dict__", "__objclass__"]:
            value = getattr(function, name, None)
            found += [name] if is_original(value) or is_original(getattr(value, "__self__", None)) else []
    return found


def attempt_copies():
    for _, _, function in guarded():
        for made in (copy.copy(function), copy.deepcopy(function), pickle.loads(pickle.dumps(function))):
            if is_original(made):
                return made.__name__


def attempt_pickles():
    return [
        name
        for module, name, _ in guarded()
        if is_original(pickle.loads(f"c{module}\n{name}\n.".encode()))
    ]


def attempt_referents():
    return [name for _, name, function in guarded() if any(map(is_original, gc.get_referents(function)))]


def attempt_referrers():
    found = []
    for module in NAMES:
        found += [o for o in gc.get_referrers(__import__(module)) if is_original(o)]
    return found


def attempt_collector():
    return [o.__name__ for o in gc.get_objects() if is_original(o)]


def attempt_everything_reachable():
    """Walks over whatever the garbage collector knows, from the modules and from all objects."""
    seen = set()
    found = []
    left = [list(sys.modules.values()), gc.get_objects()]
    while left:
        for thing in gc.get_referents(left.pop()):
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if is_original(thing):
                found.append(thing.__name__)
            left.append(thing)
    return found


def attempt_class_of_guarded_functions():
    cls = type(os._exit)
    for make in (cls, lambda: object.__new__(cls), lambda: type("Sub", (cls,), {}), lambda: cls(len)):
        try:
            make()
        except TypeError:
            continue
        return "made one"
    try:
        cls.__call__ = lambda *_: None
    except TypeError:
        return None
    return "changed the class"


def attempt_another_class():
    class Other:
        pass

    try:
        os._exit.__class__ = Other
    except (AttributeError, TypeError):
        return None
    return "changed its class"


def attempt_sets_of_functions():
    sets = [os.supports_dir_fd, os.supports_effective_ids, os.supports_fd, os.supports_follow_symlinks]
    return [f for names in sets for f in names if is_original(f)]


def attempt_methods_of_the_module():
    """A module's own table of functions is not to be had by Python code, nor by another object of its class."""
    import posix

    again = types.ModuleType("posix")
    again.__dict__.update(posix.__dict__)
    return [name for name in NAMES["posix"] if is_original(getattr(again, name))]


def attempt_traceback():
    """What a refusal leaves behind leads to no original."""
    try:
        os._exit()
    except RuntimeError as error:
        trace = error.__traceback__
        while trace:
            for value in trace.tb_frame.f_locals.values():
                if is_original(value):
                    return value.__name__
            trace = trace.tb_next


def attempt_erlang_package():
    """Nor does what Erlang's package needs itself."""
    import erlang

    left = [erlang, __import__("_erlang")]
    return [
        name
        for module in left + [m for n, m in list(sys.modules.items()) if n.startswith("erlang.")]
        for name, value in vars(module).items()
        if is_original(value)
    ]
