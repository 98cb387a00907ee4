"""An echo, on connections that Erlang has accepted."""

from __future__ import annotations

import erlang.reactor


class Echo(erlang.reactor.Protocol):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> str:
        self.write_buffer += data
        return "write_pending"
