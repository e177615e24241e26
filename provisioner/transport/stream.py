"""The body of a response, as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.transport.http import translated

if TYPE_CHECKING:
    import urllib3


PIECE = 256 * 1024  # memory for all that is asked for is taken at once, however little comes


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
            data = self._response.read1(min(len(buffer), self._left, PIECE))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise translated(error, self._name) from error
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        """Give the connection back when the body ends where it should, else drop it: it may never end."""
        if self._left or self._more():
            self._response.close()
        else:
            self._response.release_conn()

    def _more(self) -> bool:
        import urllib3

        try:
            return bool(self._response.read1(1))
        except (urllib3.exceptions.HTTPError, OSError):
            return True
