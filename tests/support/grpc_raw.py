"""gRPC's frames from a client that stops in the middle."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, RemoteSettingsChanged, StreamEnded, StreamReset

from tests.support.http_core import PATIENCE_S

_QUIET_S = 1.0  # without a word of the server: it lets no more be sent
_PART = 2**14


class Raw:
    """One connection.

    Attributes:
        ended: streams that the server has ended.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._greeted = False
        self.ended: set[int] = set()
        while not self._greeted:
            self._flush()
            assert self._receive(PATIENCE_S)

    @property
    def streams(self) -> int:
        """How many the server takes at once."""
        return self._h2.remote_settings.max_concurrent_streams

    def call(self, method: str) -> int:
        """A call without its message; the number of its stream."""
        stream = self._h2.get_next_available_stream_id()
        head = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "x"}
        self._h2.send_headers(stream, [*head.items(), ("content-type", "application/grpc"), ("te", "trailers")])
        self._flush()
        return stream

    def fill(self, streams: list[int], size: int) -> int:
        """All but the last bytes of a message of that size on each, as far as they are taken; the bytes sent."""
        left = {stream: b"\0" + size.to_bytes(4, "big") + b"\0" * (size - 10) for stream in streams}
        sent = 0
        while any(left.values()):
            for stream in streams:
                sent += self._send(stream, left)
            if not self._receive(_QUIET_S):
                break
        return sent

    def await_end(self, stream: int) -> None:
        """Until the server has ended it."""
        while stream not in self.ended:
            assert self._receive(PATIENCE_S), "the server says nothing"

    def _send(self, stream: int, left: dict[int, bytes]) -> int:
        before = len(left[stream])
        while left[stream] and stream not in self.ended:
            room = min(self._h2.local_flow_control_window(stream), _PART)
            if room <= 0:
                break
            self._h2.send_data(stream, left[stream][:room])
            left[stream] = left[stream][room:]
            self._flush()
        return before - len(left[stream])

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def _receive(self, seconds: float) -> bool:
        if not select.select([self._socket], [], [], seconds)[0]:
            return False
        data = self._socket.recv(2**16)
        assert data, "the server has ended the connection"
        for event in self._h2.receive_data(data):
            assert not isinstance(event, ConnectionTerminated)
            self._greeted = self._greeted or isinstance(event, RemoteSettingsChanged)
            if isinstance(event, StreamEnded | StreamReset):
                self.ended.add(event.stream_id)
        self._flush()
        return True


@contextmanager
def opened(port: int) -> Iterator[Raw]:
    """A connection to a server of this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        yield Raw(connection)
