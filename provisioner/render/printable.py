"""Text that others wrote, such as names in a bucket, made harmless for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Control characters, terminal escapes and broken UTF-8 as escapes; line ends stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def printable_json(text: str) -> str:
    """A line that may be JSON with the same in the escapes of JSON, which leave its meaning as it is."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
