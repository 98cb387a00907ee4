"""A Python process of its own, with uvloop or the standard library's loop.

loop_process.py LOOP serve CERTIFICATE    serves, and says on which ports
loop_process.py LOOP echo                 the same, with the one server that reactors are compared with
loop_process.py LOOP work                 answers each line of its input, NAME COUNT TIMED, with the times
"""

import asyncio
import contextlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import loop_servers
import loop_work

loop: asyncio.AbstractEventLoop
if sys.argv[1] == "uvloop":
    import uvloop

    loop = uvloop.new_event_loop()
else:
    loop = asyncio.SelectorEventLoop()

if sys.argv[2] == "serve":
    loop.run_until_complete(
        loop_servers.serve(sys.argv[3], lambda ports: print(*ports, flush=True))
    )
elif sys.argv[2] == "echo":
    serving = loop.create_task(
        loop_servers.serve_echo(lambda ports: print(*ports, flush=True))
    )
    # The end of the input is the end of the process.
    loop.add_reader(sys.stdin.fileno(), serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(serving)
else:
    for line in sys.stdin:
        name, count, timed = line.split()
        work = getattr(loop_work, name)(int(count), timed == "true")
        print(*loop.run_until_complete(work), flush=True)
