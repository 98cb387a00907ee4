"""Attempts to start another program, or to copy the node."""

import os
import sys

UNDER = ("default", "strict")


def attempt_subprocess():
    import subprocess

    return subprocess.run([sys.executable, "-c", ""])


def attempt_shell():
    return os.system("exit 0") == 0


def attempt_popen():
    return os.popen("echo x").read()


def attempt_posix_spawn():
    return os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {})


def attempt_spawn():
    return os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", "exit 0"]) == 0


def attempt_native_function():
    from multiprocessing import util

    return util.spawnv_passfds(b"/bin/sh", [b"sh", b"-c", b"exit 0"], [])


def attempt_multiprocessing():
    import multiprocessing

    started = []
    for method in ("spawn", "forkserver", "fork"):
        try:
            context = multiprocessing.get_context(method)
            process = context.Process(target=int)
            process.start()
        except (RuntimeError, OSError):
            continue
        started.append(method)
    return started


def attempt_process_pool():
    import concurrent.futures

    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        return pool.submit(int).result()


def attempt_asyncio():
    import asyncio

    import erlang

    async def attempt():
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 0")
        return await process.wait() == 0

    return erlang.run(attempt())


def attempt_terminal():
    import pty

    return pty.spawn(["/bin/sh", "-c", "exit 0"]) == 0


def attempt_fork():
    return os.fork()


def attempt_fork_by_pickle():
    """An exception while unpickling is as good as any."""
    import pickle

    return pickle.loads(b"cposix\nsystem\n(S'exit 0'\ntR.") == 0


def attempt_subclasses():
    """From any object to what the standard library has imported."""
    for cls in ().__class__.__base__.__subclasses__():
        names = getattr(getattr(cls, "__init__", None), "__globals__", {})
        for module in ("os", "posix", "sys"):
            found = names.get(module)
            system = getattr(found, "system", None) or names.get("system")
            if system is not None and system("exit 0") == 0:
                return cls.__name__


def attempt_library_that_starts_programs():
    import ctypes.util

    found = ctypes.util._findLib_gcc("c") if hasattr(ctypes.util, "_findLib_gcc") else None
    return found


def attempt_preexec():
    import subprocess

    return subprocess.Popen(["/bin/sh", "-c", "exit 0"], preexec_fn=int)


def attempt_stop_the_parent():
    os.kill(os.getppid(), 9)
    return "killed"


def attempt_stop_the_group():
    os.killpg(2**22 + 7, 9)
    return "killed"
