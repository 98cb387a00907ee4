"""Attempts to talk to somebody, or to be talked to."""

import os
import socket

UNDER = ("strict", "offline")

HERE = ("127.0.0.1", PORT)


def attempt_connect():
    socket.socket().connect(HERE)
    return "connected"


def attempt_connect_ex():
    return socket.socket().connect_ex(HERE) == 0


def attempt_connect_natively():
    import _socket

    _socket.socket().connect(HERE)
    return "connected"


def attempt_method_of_the_class():
    import _socket

    _socket.socket.connect(_socket.socket(), HERE)
    return "connected"


def attempt_bytes():
    socket.socket().connect((b"127.0.0.1", PORT))
    return "connected"


def attempt_bytearray():
    socket.socket().connect((bytearray(b"127.0.0.1"), PORT))
    return "connected"


def attempt_other_spellings():
    for host in ("127.1", "0x7f.1", "2130706433", "localhost", "", "0"):
        try:
            socket.socket().connect((host, PORT))
        except OSError:
            continue
        return host


def attempt_version_6():
    for host in ("::1", "::ffff:127.0.0.1"):
        try:
            socket.socket(socket.AF_INET6).connect((host, PORT))
        except OSError as error:
            if error.errno != 1:
                return f"{host}: {error}"
            continue
        return host


def attempt_create_connection():
    return socket.create_connection(HERE)


def attempt_datagram():
    return socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", HERE)


def attempt_message():
    return socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, HERE)


def attempt_fast_open():
    return socket.socket().sendto(b"x", socket.MSG_FASTOPEN, HERE)


def attempt_bind():
    socket.socket().bind(("127.0.0.1", 0))
    return "bound"


def attempt_listen_without_a_bind():
    """The system then chooses an address by itself."""
    server = socket.socket()
    server.listen()
    return server.getsockname()


def attempt_create_server():
    return socket.create_server(("127.0.0.1", 0))


def attempt_unix():
    socket.socket(socket.AF_UNIX).connect("/run/systemd/journal/stdout")
    return "connected"


def attempt_unix_abstract():
    socket.socket(socket.AF_UNIX).bind("\0ct_sandbox_escape")
    return "bound"


def attempt_raw():
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def attempt_packets():
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


def attempt_netlink():
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


def attempt_virtual_machine():
    return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)


def attempt_kernel_crypto():
    return socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)


def attempt_names():
    """A question to a name server carries whatever one puts into the name."""
    return socket.getaddrinfo("secret.example.org", 80)


def attempt_names_in_other_ways():
    for ask in (
        lambda: socket.gethostbyname("secret.example.org"),
        lambda: socket.gethostbyname_ex("secret.example.org"),
        lambda: socket.getaddrinfo(b"secret.example.org", 80),
        lambda: socket.gethostbyaddr("192.0.2.1"),
        lambda: socket.getnameinfo(("192.0.2.1", 80), 0),
    ):
        try:
            ask()
        except PermissionError:
            continue
        except OSError as error:
            return f"asked: {error}"
        return "asked"


def attempt_asyncio():
    import asyncio

    import erlang

    async def attempt():
        reader, writer = await asyncio.open_connection(*HERE)
        return "connected"

    return erlang.run(attempt())


def attempt_asyncio_datagram():
    import asyncio

    import erlang

    async def attempt():
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=HERE
        )
        return "connected"

    return erlang.run(attempt())


def attempt_asyncio_server():
    import asyncio

    import erlang

    async def attempt():
        return bool(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0))

    return erlang.run(attempt())


def attempt_http():
    import http.client

    http.client.HTTPConnection(*HERE, timeout=5).connect()
    return "connected"


def attempt_url():
    import urllib.request

    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5)
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, PermissionError) else error.reason


def attempt_multiprocessing():
    from multiprocessing import connection

    return connection.Listener(("127.0.0.1", 0))


def attempt_a_number_of_my_own():
    class Port:
        def __init__(self, *ports):
            self.ports = list(ports)

        def __index__(self):
            return self.ports.pop(0) if len(self.ports) > 1 else self.ports[0]

    for ports in ((PORT, 1), (1, PORT)):
        try:
            socket.socket().connect(("127.0.0.1", Port(*ports)))
        except (OSError, TypeError):
            continue
        return ports


def attempt_descriptor():
    """A socket by its number is a socket as any other."""
    one, other = socket.socketpair()
    os.close(other.detach())
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=one.detach()).connect(HERE)
    return "connected"
