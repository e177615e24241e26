"""The lines of a stream of bytes, in bounded memory. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

LONGEST = 2**20  # bytes of one line; a log is made by others, and may have no line end at all


def lines(chunks: Iterable[bytes], longest: int = LONGEST) -> Iterator[str]:
    """Text line by line, without line ends; of a longer line the beginning, and how much was left out.

    Broken UTF-8 becomes U+FFFD.
    """
    held, dropped, open_ = bytearray(), 0, False
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            end = chunk.find(b"\n", start)
            part = memoryview(chunk)[start : len(chunk) if end < 0 else end]
            room = longest - len(held)
            held += part[:room]
            dropped += max(len(part) - room, 0)
            open_ = end < 0
            start = len(chunk) if open_ else end + 1
            if not open_:
                yield _text(held, dropped)
                held, dropped = bytearray(), 0
    if open_:
        yield _text(held, dropped)


def _text(held: bytearray, dropped: int) -> str:
    text = held.removesuffix(b"\r").decode(errors="replace")
    return f"{text} ... ({dropped} more bytes of this line were left out)" if dropped else text
