"""uvicorn in processes of its own: ``web_process.py LOOP PARSER WORKERS`` says on which port it serves.

It ends when its input does.
"""

import os
import signal
import socket
import sys
import threading

import uvicorn


def end_with_input() -> None:
    """Wait for the end of the input."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    threading.Thread(target=end_with_input, daemon=True).start()
    print(port, flush=True)
    uvicorn.run(
        "web_app:app",
        app_dir=os.path.dirname(os.path.abspath(__file__)),
        host="127.0.0.1",
        port=port,
        loop=sys.argv[1],
        http=sys.argv[2],  # type: ignore[arg-type]
        workers=int(sys.argv[3]),
        access_log=False,
        log_level="warning",
    )
