"""The echo servers on a reactor."""

from erlang import reactor


class Echo(reactor.Protocol):
    """Is given bytes and leaves them to be written."""

    def data_received(self, data: bytes) -> str:
        self.write_buffer += data
        return "write_pending"


class DirectEcho(reactor.Protocol):
    """Writes what goes at once itself."""

    def data_received(self, data: bytes) -> str:
        sent = self.write(data)
        if sent == len(data):
            return "continue"
        self.write_buffer += data[sent:]
        return "write_pending"
