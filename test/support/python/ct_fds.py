"""Descriptors by number: those of the node, and those of the context."""

import array
import contextlib
import fcntl
import importlib
import importlib.util
import io
import mmap
import os
import re
import select
import socket
import sys
import tempfile
import termios
import threading

import erlang
from erlang import reactor


@contextlib.contextmanager
def pipe():
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)


def functions(fd):
    """Functions that do something to the descriptor, by name; those that the system has."""
    with pipe() as (reading, writing):
        yield from functions_between(fd, reading, writing)


def functions_between(fd, reading, writing):
    yield "close", lambda: os.close(fd)
    yield "dup", lambda: os.dup(fd)
    yield "dup2 from", lambda: os.dup2(fd, reading)
    yield "dup2 to", lambda: os.dup2(reading, fd)
    yield "dup2 by name", lambda: os.dup2(fd=reading, fd2=fd)
    yield "set_blocking", lambda: os.set_blocking(fd, True)
    yield "set_inheritable", lambda: os.set_inheritable(fd, True)
    yield "read", lambda: os.read(fd, 1)
    yield "readv", lambda: os.readv(fd, [bytearray(1)])
    yield "pread", lambda: os.pread(fd, 1, 0)
    yield "write", lambda: os.write(fd, b"x")
    yield "writev", lambda: os.writev(fd, [b"x"])
    yield "pwrite", lambda: os.pwrite(fd, b"x", 0)
    yield "lseek", lambda: os.lseek(fd, 0, os.SEEK_SET)
    yield "ftruncate", lambda: os.ftruncate(fd, 0)
    yield "truncate", lambda: os.truncate(fd, 0)
    yield "lockf", lambda: os.lockf(fd, os.F_LOCK, 0)
    yield "sendfile from", lambda: os.sendfile(writing, fd, 0, 1)
    yield "sendfile to", lambda: os.sendfile(fd, reading, 0, 1)
    if hasattr(os, "splice"):
        yield "splice from", lambda: os.splice(fd, writing, 1)
        yield "splice to", lambda: os.splice(reading, fd, 1)
        yield "copy_file_range", lambda: os.copy_file_range(fd, writing, 1)
        yield "eventfd_read", lambda: os.eventfd_read(fd)
        yield "eventfd_write", lambda: os.eventfd_write(fd, 1)
    yield "fcntl", lambda: fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    yield "fcntl dup", lambda: fcntl.fcntl(fd, fcntl.F_DUPFD, 0)
    yield "fcntl by fileno", lambda: fcntl.fcntl(Claims(fd), fcntl.F_SETFL, 0)
    yield "ioctl", lambda: fcntl.ioctl(fd, termios.TIOCEXCL)
    yield "flock", lambda: fcntl.flock(fd, fcntl.LOCK_EX)
    yield "lockf of fcntl", lambda: fcntl.lockf(fd, fcntl.LOCK_EX)
    yield "tcsetattr", lambda: termios.tcsetattr(fd, termios.TCSANOW, [0] * 6 + [[b"x"] * 32])
    yield "socket.close", lambda: socket.close(fd)
    yield "socket.dup", lambda: socket.dup(fd)
    yield "mmap", lambda: mmap.mmap(fd, 1)
    yield "posix", lambda: sys.modules["posix"].close(fd)


def constructors(fd):
    yield "open", lambda: open(fd)
    yield "open without closing", lambda: open(fd, closefd=False)
    yield "open to write", lambda: open(fd, "wb", buffering=0, closefd=False)
    yield "fdopen", lambda: os.fdopen(fd)
    yield "FileIO", lambda: io.FileIO(fd)
    yield "FileIO by name", lambda: io.FileIO(file=fd)
    yield "FileIO.__init__", lambda: io.FileIO.__init__(io.FileIO("/dev/null"), fd)
    yield "FileIO by a class of its own", lambda: type("Own", (io.FileIO,), {})(fd)
    yield "socket", lambda: socket.socket(fileno=fd)
    yield "socket by position", lambda: socket.socket(-1, -1, -1, fd)
    yield "_socket", lambda: sys.modules["_socket"].socket(fileno=fd)
    yield "_socket.__init__", lambda: sys.modules["_socket"].socket.__init__(socket.socket(), -1, -1, -1, fd)
    yield "fromfd", lambda: socket.fromfd(fd, socket.AF_INET, socket.SOCK_DGRAM)
    if hasattr(select, "epoll"):
        yield "epoll", lambda: select.epoll.fromfd(fd)


class Claims:
    """An object that says of some number that it is its descriptor."""

    def __init__(self, fd):
        self._fd = fd

    def fileno(self):
        return self._fd


def outcome(function):
    try:
        function()
    except BaseException as error:
        return type(error).__name__
    return "done"


def outcomes(table, fd):
    return {name: outcome(function) for name, function in globals()[table](fd)}


def refused(function):
    try:
        function()
    except RuntimeError as error:
        assert "is blocked" in str(error), error
    else:
        raise AssertionError("it was done")


def fails_with(number, function):
    try:
        function()
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError("it was done")


def ranges(fd):
    refused(lambda: os.closerange(3, 1 << 20))
    refused(lambda: os.closerange(fd, fd + 1))
    with pipe() as (reading, _writing):
        high = os.dup2(reading, free())
        os.closerange(high, high + 3)
        fails_with(9, lambda: os.close(high))


def free():
    """A number far above all that are in use."""
    number = 700
    while True:
        try:
            os.fstat(number)
        except OSError:
            return number
        number += 10


def taking_over(fd):
    with pipe() as (reading, _writing):
        refused(lambda: os.dup2(reading, fd))
        for standard in (0, 1, 2):
            refused(lambda standard=standard: os.dup2(reading, standard))
        other = os.dup2(reading, free())
        assert os.get_inheritable(other)
        os.close(other)
        other = free()
        assert os.dup2(reading, other, inheritable=False) == other
        assert not os.get_inheritable(other)
        os.close(other)


def close_one():
    """A number that was the context's."""
    one = socket.socket()
    number = one.fileno()
    one.close()
    return number


def keep_one():
    return os.open("/dev/null", os.O_RDONLY)


def close_again(fd):
    os.close(fd)


def openers(fd):
    refused(lambda: open("/nowhere", opener=lambda _path, _flags: fd))
    refused(lambda: io.FileIO("/nowhere", "r", True, lambda _path, _flags: fd))
    with open("/dev/null", opener=os.open) as file:
        assert file.read() == ""
    try:
        open("/dev/null", opener=lambda _path, _flags: "none")
    except TypeError:
        pass


def signals(_fd):
    with pipe() as (reading, _writing):
        refused(lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, os.getpid()))
        refused(lambda: fcntl.fcntl(reading, fcntl.F_SETFL, os.O_NONBLOCK | getattr(os, "O_ASYNC", 0x2000)))
        if hasattr(fcntl, "F_NOTIFY"):
            refused(lambda: fcntl.fcntl(reading, fcntl.F_NOTIFY, 0))
            refused(lambda: fcntl.fcntl(reading, fcntl.F_SETSIG, 9))


def standard(_fd):
    for number in (1, 2):
        assert os.write(number, b"") == 0
        with open(number, "wb", buffering=0, closefd=False) as file:
            assert file.write(b"") == 0
            refused(lambda file=file: os.close(file.fileno()))
        os.close(os.dup(number))
        refused(lambda number=number: open(number, "wb"))
        refused(lambda number=number: os.read(number, 1))
        refused(lambda number=number: os.set_blocking(number, False))
    refused(lambda: os.close(0))
    refused(lambda: os.read(0, 1))
    refused(lambda: open(0, closefd=False))
    assert isinstance(os.isatty(1), bool)


def questions(fd):
    os.fstat(fd)
    assert os.isatty(fd) is False
    os.get_inheritable(fd)
    os.get_blocking(fd)
    fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_GETFD)
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8)
    assert select.select([fd], [], [], 0) == ([fd], [], [])


def not_open(_fd):
    with pipe() as (reading, _writing):
        number = os.dup2(reading, free())
    os.close(number)
    for function in (
        lambda: os.close(number),
        lambda: os.read(number, 1),
        lambda: os.dup(number),
        lambda: os.dup2(number, free()),
        lambda: os.close(-1),
        lambda: open(number),
        lambda: fcntl.fcntl(number, fcntl.F_SETFL, 0),
        lambda: socket.socket(fileno=number),
    ):
        fails_with(9, function)


def own(_fd):
    ends = [*os.pipe(), *os.pipe2(os.O_CLOEXEC), *os.openpty()] if hasattr(os, "pipe2") else [*os.pipe()]
    ends.append(os.open("/dev/null", os.O_RDWR))
    ends.append(os.dup(ends[-1]))
    ends.append(fcntl.fcntl(ends[-1], fcntl.F_DUPFD, 0))
    ends.append(socket.dup(ends[-1]))
    for name, arguments in [
        ("memfd_create", ["name"]),
        ("eventfd", [0]),
        ("timerfd_create", [0]),
        ("pidfd_open", [os.getpid()]),
        ("posix_openpt", [os.O_RDWR]),
    ]:
        if hasattr(os, name):
            ends.append(getattr(os, name)(*arguments))
    for end in ends:
        os.set_inheritable(end, False)
        os.close(end)
    with tempfile.TemporaryFile() as file:
        file.write(b"some text")
        file.flush()
        assert os.pread(file.fileno(), 4, 0) == b"some"
        with mmap.mmap(file.fileno(), 4) as memory:
            assert memory[:] == b"some"
    handle, path = tempfile.mkstemp()
    with os.fdopen(handle, "w") as file:
        file.write("text")
    os.unlink(path)


def objects(_fd):
    left, right = socket.socketpair()
    os.write(left.fileno(), b"x")
    assert os.read(right.fileno(), 1) == b"x"
    number = left.detach()
    with socket.socket(fileno=number), right:
        pass
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            os.write(accepted.fileno(), b"y")
            assert client.recv(1) == b"y"
    with open("/dev/null") as file:
        os.close(os.dup(file.fileno()))
    if hasattr(select, "epoll"):
        with select.epoll() as epoll:
            os.close(os.dup(epoll.fileno()))
            with select.epoll.fromfd(os.dup(epoll.fileno())):
                pass


def adopted(_fd):
    # What this tells of itself nobody notes, as with descriptors of C code.
    unseen = sys.modules["_socket"].socket()
    number = int(re.search(r"fd=(\d+)", repr(unseen))[1])
    refused(lambda: os.dup(number))
    erlang.adopt_descriptor(number)
    os.close(os.dup(number))
    unseen.close()
    fails_with(9, lambda: erlang.adopt_descriptor(free()))
    for standard_one in (0, 1, 2):
        refused(lambda standard_one=standard_one: erlang.adopt_descriptor(standard_one))


def adopts_nothing(fd):
    refused(lambda: erlang.adopt_descriptor(fd))


def passed(_fd):
    left, right = socket.socketpair()
    with left, right, pipe() as (reading, writing):
        socket.send_fds(left, [b"x"], [reading])
        _data, fds, _flags, _address = socket.recv_fds(right, 1, 4)
        os.write(writing, b"z")
        assert os.read(fds[0], 1) == b"z"
        os.close(fds[0])
        left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [reading]))])
        place = bytearray(1)
        _size, ancillary, _flags, _address = right.recvmsg_into([place], socket.CMSG_SPACE(4))
        os.close(int.from_bytes(ancillary[0][2], sys.byteorder))


def anew(fd):
    uses = [
        ("posix", lambda module: module.close(fd)),
        ("fcntl", lambda module: module.fcntl(fd, fcntl.F_SETFL, 0)),
        ("_socket", lambda module: module.close(fd)),
        ("_socket", lambda module: module.socket(fileno=fd)),
        ("_io", lambda module: module.FileIO(fd)),
        ("_io", lambda module: module.open(fd)),
    ]
    for name, use in uses:
        spec = importlib.util.find_spec(name)
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        refused(lambda made=made, use=use: use(made))
    kept = sys.modules.pop("_socket")
    try:
        again = importlib.import_module("_socket")
        refused(lambda: again.socket(fileno=fd))
        refused(lambda: again.close(fd))
    finally:
        sys.modules["_socket"] = kept


def threads(fd):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(outcome(lambda: os.close(fd))))
    thread.start()
    thread.join()
    assert seen == ["RuntimeError"], seen


def duplicates(fd):
    from erlang.server import _Datagrams

    number = sys.modules["_erlang"].duplicate_socket(fd)
    with socket.socket(fileno=number) as own:
        return own.type == _Datagrams.kind


class Direct(reactor.Protocol):
    """Answers past the buffers, on the descriptor itself."""

    def data_received(self, data):
        os.write(self.fd, data.upper())
