"""What calls on schedulers come by, and must not wait for."""

import codecs
import encodings
import importlib
import importlib.machinery
import importlib.util
import logging
import os
import socket
import sys
import time
import traceback

import erlang

import _erlang

listener = socket.create_server(("127.0.0.1", 0))
listener.settimeout(0.01)
pair = socket.socketpair()
pair[0].settimeout(0.01)
reader, writer = map(open, os.pipe(), ("rb", "wb"), (0, 0))
spec = None


def looks_up(name, times):
    for _ in range(times):
        erlang.whereis(name)


def logs():
    logging.warning("nobody reads this")


def log_is_refused():
    return not _erlang.log_allows(logging.WARNING, "root")


def forgets(name):
    sys.modules.pop(name, None)


def imports(name):
    return importlib.import_module(name).__name__


def is_loaded(name):
    return name in sys.modules


def finds_builtin():
    """One that has not been loaded."""
    global spec
    name = next(name for name in sys.builtin_module_names if name not in sys.modules)
    spec = importlib.machinery.BuiltinImporter.find_spec(name)
    return name


def makes_builtin():
    return importlib.util.module_from_spec(spec).__name__


def blocks(name):
    sys.modules[name] = None


def forgets_codec(name):
    codecs.unregister(encodings.search_function)
    codecs.register(encodings.search_function)
    encodings._cache.pop(name, None)
    forgets("encodings." + name)


def encodes(text, codec):
    return text.encode(codec)


def accepts():
    listener.accept()


def receives():
    pair[0].recvmsg(1)


def receives_into():
    pair[0].recvmsg_into([bytearray(1)])


def waits_for_timer():
    """Ends after some seconds where it is not refused."""
    timer = os.timerfd_create(time.CLOCK_MONOTONIC)
    try:
        os.timerfd_settime(timer, initial=3)
        os.read(timer, 8)
    finally:
        os.close(timer)


def fills_pipe():
    writer.write(b"x")


def reads_pipe():
    return os.read(reader.fileno(), 1)


def reads_pipe_that_does_not_block():
    os.set_blocking(reader.fileno(), False)
    os.read(reader.fileno(), 1)


def reads_file():
    fd = os.open(__file__, os.O_RDONLY)
    try:
        return os.read(fd, 3)
    finally:
        os.close(fd)


def prints(text, times):
    for _ in range(times):
        print(text)


def writes(text, error=False):
    (sys.stderr if error else sys.stdout).write(text)


def writes_and_raises(text):
    sys.stdout.write(text)
    raise ValueError(text)


def writes_bytes(data):
    sys.stdout.buffer.write(data)


def tells_of(code):
    try:
        eval(code)
    except Exception:
        return traceback.format_exc()
