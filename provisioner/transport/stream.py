"""The body of a response, as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.transport.http import translated

if TYPE_CHECKING:
    import urllib3


class HttpStream:
    """The body of one response."""

    def __init__(self, response: urllib3.BaseHTTPResponse, name: str, length: int) -> None:
        self._response = response
        self._name = name
        self._left = length

    def readinto(self, buffer: memoryview, /) -> int:
        """What has arrived, at most the buffer; 0 at the end. Raises Unavailable.

        `read1` returns what one receive gave, so that a trickle is noticed instead of waited for.
        """
        import urllib3

        if not self._left:
            return 0
        try:
            data = self._response.read1(min(len(buffer), self._left))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise translated(error, self._name) from error
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else drop it."""
        if self._left:
            self._response.close()
        else:
            self._response.drain_conn()
            self._response.release_conn()
