"""Protocols for connections with TLS that Python terminates."""

import asyncio
import ssl

import erlang
import erlang.reactor


def tell(what, value):
    """Send to the test."""
    test = erlang.whereis("reactor_tls_SUITE")
    if test is not None:
        erlang.send(test, (erlang.atom(what), value))


class Echo(erlang.reactor.Protocol):
    """Sends back what comes; some of it is an order."""

    def connection_made(self, fd, client_info):
        tell("made", client_info["tls"]["protocol"])
        self.lines = []

    def data_received(self, data):
        match data:
            case b"close":
                self.write_buffer += b"bye"
                return "close"
            case b"fail":
                raise ValueError("told to fail")
            case b"later":
                asyncio.get_running_loop().call_later(0.01, self._later)
                return "async_pending"
            case b"flood":
                self.flooding = asyncio.get_running_loop().create_task(self._flood())
                return "continue"
            case b"write":
                tell("written", self.write(b"written"))
                return "continue"
        self.write_buffer += data
        return "write_pending"

    def _later(self):
        self.write_buffer += b"now"
        erlang.reactor.signal_write_ready(self)

    async def _flood(self):
        self.room = asyncio.Event()
        self.room.set()
        for _ in range(200):
            await self.room.wait()
            self.write_buffer += b"x" * 50_000
            erlang.reactor.signal_write_ready(self)
        tell("flooded", len(self.write_buffer))

    def pause_writing(self):
        tell("paused", True)
        self.room.clear()

    def resume_writing(self):
        self.room.set()

    def eof_received(self):
        tell("eof", True)
        return None

    def connection_lost(self):
        tell("lost", self.closed)


def serve(certificate, key, alpn=()):
    """Have connections with TLS served by Echo."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    erlang.reactor.set_protocol_factory(erlang.reactor.TLS(context, Echo, handshake_timeout=0.2))


def refused():
    """Name what TLS does not take."""
    texts = []
    for arguments in ((None, Echo), (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None)):
        try:
            erlang.reactor.TLS(*arguments)
        except TypeError as error:
            texts.append(str(error))
    return texts
