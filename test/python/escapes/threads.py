"""Attempts to start threads, which is allowed by default, and to be rid of the policy on them."""

import _thread
import os
import queue
import threading

UNDER = ("default", "strict", "offline")


def on_threads(function):
    """What comes of a function on threads that were made in several ways; nothing for those that were refused."""
    outcomes = queue.Queue()

    def run():
        try:
            outcomes.put(function())
        except BaseException as error:
            outcomes.put(error)

    def joined(thread):
        thread.start()
        thread.join()

    ways = [
        lambda: joined(threading.Thread(target=run)),
        lambda: joined(threading.Thread(target=run, daemon=True)),
        lambda: joined(threading.Timer(0, run)),
        lambda: _thread.start_new_thread(run, ()),
        lambda: _thread.start_new(run, ()),
        lambda: _thread.start_new_thread(threading.Thread(target=run).run, ()),
    ]
    if hasattr(_thread, "start_joinable_thread"):
        ways.append(lambda: _thread.start_joinable_thread(run).join())
        ways.append(lambda: _thread.start_joinable_thread(function=run, daemon=False).join())
    came = []
    for start in ways:
        try:
            start()
        except RuntimeError as error:
            if POLICY != "strict" or " is blocked: " not in str(error):
                raise
            continue
        came.append(outcomes.get(timeout=30))
    return came


def attempt_threads():
    return on_threads(int) if POLICY == "strict" else None


def attempt_executor():
    from concurrent.futures import ThreadPoolExecutor

    if POLICY != "strict":
        return None
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: "ran").result()


def attempt_damage_on_threads():
    """A thread knows whose it is from its first moment."""
    return [o for o in on_threads(lambda: os.system("exit 0")) if not isinstance(o, RuntimeError)]


def attempt_network_on_threads():
    import socket

    if POLICY == "default":
        return None
    outcomes = on_threads(lambda: socket.socket().connect(("127.0.0.1", PORT)))
    return [o for o in outcomes if not isinstance(o, PermissionError)]


def attempt_threads_of_threads():
    if POLICY == "strict":
        return None
    outcomes = []

    def inner():
        try:
            os.system("exit 0")
        except RuntimeError:
            outcomes.append("refused")

    def outer():
        thread = threading.Thread(target=inner)
        thread.start()
        thread.join()

    thread = threading.Thread(target=outer)
    thread.start()
    thread.join()
    return outcomes != ["refused"]


def attempt_local_values():
    """The end of a thread, when what it keeps for itself goes."""
    if POLICY == "strict":
        return None
    outcomes = []
    local = threading.local()

    class Late:
        def __del__(self):
            try:
                os.system("exit 0")
            except RuntimeError:
                outcomes.append("refused")
            else:
                outcomes.append("ran")

    def run():
        local.late = Late()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcomes != ["refused"]
