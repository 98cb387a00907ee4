"""The executors of plain CPython, called from Python: takes the turns of one row, as compare_side does in a node.

    executors.py KIND WORKERS

It answers external terms on its input, as port_worker does: ("job", job), ("turn", name, time), ("start", workers).
"""

import functools
import gc
import importlib
import statistics
import sys
import threading
import time
from concurrent import futures

import compare_work
import port_worker

SINGLES = 4000
HELD = 0.02
# For so many seconds all workers are waited for: some come late where the machine is busy.
PATIENCE = 60


class Direct:
    """A floor: no executor."""

    def __init__(self, workers):
        pass

    def call(self, function, *args):
        return function(*args)

    def stop(self):
        pass


class Pool:
    def __init__(self, executor, workers):
        self.executor = executor(max_workers=workers)

    def call(self, function, *args):
        return self.executor.submit(function, *args).result()

    def many(self, function, lists, workers):
        return list(
            self.executor.map(
                function, *zip(*lists), chunksize=max(1, len(lists) // workers)
            )
        )

    def stop(self):
        self.executor.shutdown()


KINDS = {
    "direct": Direct,
    "threads": lambda workers: Pool(futures.ThreadPoolExecutor, workers),
    "processes": lambda workers: Pool(futures.ProcessPoolExecutor, workers),
    "processes_map": lambda workers: Pool(futures.ProcessPoolExecutor, workers),
    "interpreters": lambda workers: Pool(futures.InterpreterPoolExecutor, workers),
}


def operation(kind, pool, workers, job):
    """What is repeated, of which `answer` takes what it gives."""
    function = getattr(importlib.import_module(job["module"]), job["function"])
    args, lists = job["args"], job["lists"]
    naps = compare_work.naps
    if kind == "interpreters":
        # Some functions are sent as code without their module, and then find none of its names.
        function, naps = functools.partial(function), functools.partial(naps)
    if job["way"] == "gather":
        pauses = [[*args, number] for number in range(1, lists + 1)]
        return lambda: pool.call(naps, pauses)
    if kind == "processes_map":
        return lambda: pool.many(function, [args] * lists, workers)
    return lambda: pool.call(function, *args)


def answer(kind, job, value):
    if job["way"] == "gather":
        return "same" if value == list(range(1, job["lists"] + 1)) else "different"
    if kind == "processes_map":
        if any(item != value[0] for item in value):
            return "different"
        value = value[0]
    if job["function"] == "echo":
        return "same" if value == job["args"][0] else "different"
    return value


def batches(step, repeat, until):
    times = []
    end = 0
    while not times or end < until:
        start = time.perf_counter_ns()
        for _ in range(repeat):
            step()
        end = time.perf_counter_ns()
        times.append(end - start)
    return times, []


def singles(step, repeat, until):
    times, each = [], []
    end = 0
    while not times or (end < until and len(each) < SINGLES):
        start = last = time.perf_counter_ns()
        for _ in range(repeat):
            step()
            end = time.perf_counter_ns()
            each.append(end - last)
            last = end
        times.append(end - start)
    return times, each


class Crowd:
    """Threads that call at the same time, and wait for each other in between."""

    def __init__(self, count, step, repeat):
        self.count, self.step, self.repeat = count, step, repeat
        self.barrier = threading.Barrier(count + 1)
        self.part = None
        self.each = []
        self.failure = None
        self.threads = [
            threading.Thread(target=self.run, daemon=True) for _ in range(count)
        ]
        for thread in self.threads:
            thread.start()

    def run(self):
        while True:
            self.barrier.wait()
            if self.part is None:
                return
            try:
                self.each.extend(self.part(self.step, self.repeat, 0)[1])
            except Exception as error:
                self.failure = error
            self.barrier.wait()

    def turn(self, part, until):
        times, each = [], []
        end = 0
        while not times or (end < until and len(each) < SINGLES):
            self.part, self.each = part, []
            start = time.perf_counter_ns()
            self.barrier.wait()
            self.barrier.wait()
            end = time.perf_counter_ns()
            if self.failure is not None:
                raise self.failure
            times.append(end - start)
            each.extend(self.each)
        return times, each

    def stop(self):
        self.part = None
        self.barrier.wait()
        for thread in self.threads:
            thread.join()


def measure(rounds, repeat, budget):
    """Times of several calls, how often there were so many, and times of single ones."""
    start = time.perf_counter_ns()
    if repeat == 1:
        timed, each = rounds(singles, start + budget * 1_000_000)
        return timed, len(timed), each
    timed, _ = rounds(batches, start + budget * 700_000)
    more, each = rounds(singles, start + budget * 1_000_000)
    return timed, len(timed) + len(more), each


def turn(kind, pool, workers, job, budget):
    """(calls, median, times of single calls, what the first came to)."""
    repeat, callers = job["repeat"], job["callers"]
    together = 1
    if kind == "processes_map":
        together, repeat = job["lists"], 1
    step = operation(kind, pool, workers, job)
    first = answer(kind, job, step())
    gc.collect()
    if callers == 1:
        timed, count, each = measure(
            lambda part, until: part(step, repeat, until), repeat, budget
        )
    else:
        crowd = Crowd(callers, step, repeat)
        try:
            timed, count, each = measure(crowd.turn, repeat, budget)
        finally:
            crowd.stop()
    # The first call was one of one caller.
    calls = together * (1 + callers * repeat * count)
    median = statistics.median(timed) / (callers * repeat * together)
    return [calls, median, [float(single) / together for single in each], first]


def started(kind, workers):
    """How long it takes until all workers have answered, and the pool, which stays."""
    begin = time.perf_counter_ns()
    pool = KINDS[kind](workers)
    seen = set()
    late = time.monotonic() + PATIENCE
    while True:
        held = [pool.executor.submit(compare_work.hold, HELD) for _ in range(workers)]
        seen.update(future.result() for future in held)
        if len(seen) >= workers:
            return time.perf_counter_ns() - begin - int(HELD * 1e9), pool
        if time.monotonic() > late:
            raise RuntimeError(f"{len(seen)} of {workers} workers have answered")


def prepared(kind, workers):
    # From this thread, while there are no others: some start methods fork.
    return Direct(workers) if kind == "direct" else started(kind, workers)[1]


def main():
    jobs = {}
    kind, workers = sys.argv[1], int(sys.argv[2])
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    # What code prints by accident is not for the other side.
    sys.stdout = sys.stderr
    pool = None
    if kind == "interpreters" and not hasattr(futures, "InterpreterPoolExecutor"):
        port_worker.write(answers, "skip", "needs Python 3.14 or newer")
        return
    port_worker.write(answers, "ok", sys.version.split()[0])
    while (request := port_worker.read(requests)) is not None:
        try:
            if request[0] == "job":
                jobs[tuple(request[1]["name"])] = request[1]
                port_worker.write(answers, "ok", "known")
            elif request[0] == "turn":
                pool = pool or prepared(kind, workers)
                port_worker.write(
                    answers,
                    "ok",
                    turn(kind, pool, workers, jobs[tuple(request[1])], request[2]),
                )
            else:
                took, pool = started(kind, request[1])
                port_worker.write(answers, "ok", took)
        except Exception as error:
            port_worker.write(answers, "error", repr(error))
    if pool is not None:
        pool.stop()


if __name__ == "__main__":
    main()
