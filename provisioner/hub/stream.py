"""A file as an HTTP answer: whole, a range, or only its headers."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from provisioner.hub.answers import Damaged
from provisioner.hub.catalog import Blob

log = logging.getLogger(__name__)

CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*", re.ASCII)


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes `start <= offset < stop` that a Range header asks for; None where it is to be ignored.

    An empty span (`start == stop`) cannot be satisfied. Several ranges are ignored, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(header) if header else None
    if not match or match.group(1, 2) == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    start = int(first)
    if last and int(last) < start:
        return None
    stop = min(int(last) + 1, size) if last else size
    return min(start, stop), stop


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names the content."""
    if header is None:
        return False
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in header.split(","))
    return any(tag in ("*", etag) for tag in tags)


class FileAnswer:
    """One file of a snapshot, refused where what is on disk is not what was recorded."""

    def __init__(self, blob: Blob, path: str, commit: str) -> None:
        self._blob = blob
        self._path = path
        self._headers = {
            "x-repo-commit": commit,
            "etag": f'"{blob.etag}"',
            "accept-ranges": "bytes",
            "content-type": "application/octet-stream",
        }
        if blob.lfs:
            self._headers |= {"x-linked-etag": f'"{blob.etag}"', "x-linked-size": str(blob.file.size)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises Damaged, before anything was sent where that is already known."""
        get = scope["method"] == "GET"
        status, more, start, stop = self._choose(Headers(scope=scope), get)
        headers = [(k.encode(), v.encode()) for k, v in (self._headers | more).items()]
        head = {"type": "http.response.start", "status": status, "headers": headers}
        if status in (304, 416):
            await send(head)
            await send({"type": "http.response.body", "body": b""})
            return
        want = min(stop - start, CHUNK) if get else 0
        # Opening, checking and the first bytes in one trip to a thread: the trips are what small files cost.
        file, chunk = await to_thread.run_sync(_open, self._path, self._blob.file.size, start, want)
        try:
            await send(head)
            if get:
                chunk = await self._stream(receive, send, file, chunk, start, stop)
            await send({"type": "http.response.body", "body": chunk})
        finally:
            os.close(file)

    def _choose(self, asked: Headers, get: bool) -> tuple[int, dict[str, str], int, int]:
        """Status, further headers and the span of bytes."""
        tag, size = self._blob.etag, self._blob.file.size
        if matches(asked.get("if-none-match"), tag):
            return 304, {}, 0, 0
        # A Range has no meaning but for GET (RFC 9110, 14.2), and none when the client holds other bytes.
        wanted = asked.get("range") if get and asked.get("if-range", f'"{tag}"') == f'"{tag}"' else None
        part = span(wanted, size)
        if part is None:
            return 200, {"content-length": str(size)}, 0, size
        start, stop = part
        if start == stop:
            return 416, {"content-range": f"bytes */{size}", "content-length": "0"}, 0, 0
        place = {"content-range": f"bytes {start}-{stop - 1}/{size}", "content-length": str(stop - start)}
        return 206, place, start, stop

    async def _stream(self, receive: Receive, send: Send, file: int, chunk: bytes, start: int, stop: int) -> bytes:
        """Send all but the last chunk, always reading one ahead; the last chunk."""
        if len(chunk) == stop - start:
            return chunk
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            while (start := start + len(chunk)) < stop and not gone.done():
                want = min(CHUNK, stop - start)
                ahead = asyncio.ensure_future(to_thread.run_sync(_read, self._path, file, start, want))
                try:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                finally:
                    chunk = await ahead
            return chunk
        finally:
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    """Until the client is gone: uvicorn's `send` says nothing then, and the rest would be read for nobody."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _open(path: str, size: int, start: int, want: int) -> tuple[int, bytes]:
    """The open file and its first bytes; the caller closes. Raises Damaged."""
    try:
        # O_NONBLOCK: a pipe that somebody put in the place would block the thread for ever.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise _damaged(path, "it is not a regular file")
        if found.st_size != size:
            raise _damaged(path, f"it has {found.st_size} bytes where {size} are recorded")
        return file, _read(path, file, start, want)
    except BaseException:
        os.close(file)
        raise


def _read(path: str, file: int, start: int, want: int) -> bytes:
    """Some of the wanted bytes. Raises Damaged where there are none."""
    if not want:
        return b""
    try:
        chunk = os.pread(file, want, start)
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from None
    if not chunk:
        raise _damaged(path, f"it ends at {start} bytes")
    return chunk


def _damaged(path: str, why: str) -> Damaged:
    log.error("refused: %s does not match its record: %s", path, why)
    return Damaged("The file in the store does not match its record; run `provision verify` there.")
