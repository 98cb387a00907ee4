"""The echo server on a reactor."""

from erlang import reactor


class Echo(reactor.Protocol):
    """Is given bytes and leaves them to be written."""

    def data_received(self, data: bytes) -> str:
        self.write_buffer += data
        return "write_pending"
