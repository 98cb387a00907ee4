"""Work that never ends, most of it in C code that gives the GIL up, for nodes that end meanwhile."""

import hashlib
import json as json_module
import threading
import time


def _tell(port, tag):
    import ct_signals

    ct_signals.signal(port, tag)


def ssl(port):
    """Handshakes over memory, each with contexts of its own."""
    import ssl

    def handshake():
        client = ssl.create_default_context()
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
        for end in ends * 2:
            try:
                end.do_handshake()
            except ssl.SSLError:
                pass

    handshake()
    _tell(port, "ssl")
    while True:
        handshake()


def json(port):
    value = {str(i): [i, str(i), {"x": i / 7}] for i in range(20_000)}
    _tell(port, "json")
    while True:
        json_module.loads(json_module.dumps(value))


def threads(port):
    """Threads of Python's own, which hash without a GIL."""
    data = bytes(1 << 20)

    def work():
        while True:
            hashlib.sha256(data).digest()

    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    _tell(port, "threads")
    while True:
        hashlib.sha512(data).digest()


def asyncio(port):
    import asyncio

    import erlang

    async def echo(reader, writer):
        try:
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        except erlang.Interrupted:
            # The context is stopped; asyncio would print that, and printing is what is not expected.
            writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        _tell(port, "asyncio")
        while True:
            writer.write(bytes(1024))
            await reader.readexactly(1024)

    asyncio.run(main())


def sleep(port):
    _tell(port, "sleep")
    time.sleep(100_000)


def numpy(port):
    import numpy

    matrix = numpy.random.random((300, 300))
    _tell(port, "numpy")
    while True:
        matrix @ matrix
