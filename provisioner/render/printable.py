"""Text that others wrote, such as names in a bucket, made harmless for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Control characters, terminal escapes and broken UTF-8 as escapes; line ends stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
