"""The client of the echo servers, a process of its own. It answers each line of its input with one line.

PORT CONTROL CONNECTIONS SIZE MILLISECONDS TLS

sends a message on every connection and reads all the echoes, again and again for so long, and answers with the number
of messages, the nanoseconds that passed, those that the server's process and its thread were busy, and then the time of
each of some round trips on one connection.

end CONTROL

ends the servers and answers with nothing.
"""

import socket
import ssl
import sys
from time import perf_counter_ns

SINGLES = 300


def connect(port: int, tls: bool) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # So that a large message goes while the server has not read it yet.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    if not tls:
        return client
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(client)


def receive(client: socket.socket, buffer: bytearray, size: int) -> None:
    left = size
    while left:
        count = client.recv_into(buffer, left)
        if not count:
            raise ConnectionError("the server closed the connection")
        left -= count


def rounds(clients: list[socket.socket], size: int, duration: int) -> int:
    message, buffer = bytes(size), bytearray(size)
    deadline = perf_counter_ns() + duration
    count = 0
    while perf_counter_ns() < deadline:
        for client in clients:
            client.sendall(message)
        for client in clients:
            receive(client, buffer, size)
        count += 1
    return count * len(clients)


def singles(client: socket.socket, size: int) -> list[int]:
    message, buffer = bytes(size), bytearray(size)
    times = []
    for _ in range(SINGLES):
        start = perf_counter_ns()
        client.sendall(message)
        receive(client, buffer, size)
        times.append(perf_counter_ns() - start)
    return times


def busy(control: socket.socket) -> list[int]:
    control.sendall(b"t")
    return [int(word) for word in control.recv(100).split()]


def measure(
    port: int, control_port: int, connections: int, size: int, duration: int, tls: int
) -> list[int]:
    control = connect(control_port, False)
    clients = [connect(port, bool(tls)) for _ in range(connections)]
    rounds(clients, size, duration * 250_000)
    before = busy(control)
    start = perf_counter_ns()
    count = rounds(clients, size, duration * 750_000)
    took = perf_counter_ns() - start
    after = busy(control)
    times = singles(clients[0], size)
    for client in [*clients, control]:
        client.close()
    used = [b - a for a, b in zip(before, after, strict=True)]
    return [count, took, *used, *times]


for line in sys.stdin:
    if line.startswith("end "):
        with connect(int(line.split()[1]), False) as ending:
            ending.sendall(b"q")
        print(flush=True)
    else:
        print(*measure(*map(int, line.split())), flush=True)
