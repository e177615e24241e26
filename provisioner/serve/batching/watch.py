"""What lanes report about themselves, for metrics. Numbers and fixed words only, never anything of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ran:
    """One batch that an engine ran.

    Attributes:
        task: `embed` or `rerank`.
        lane: `query` or `bulk`.
        size: texts, or pairs of query and document.
        tokens: of them.
        padded: size times the longest of them: what was computed.
        waits: seconds that each of them waited in the queue, tokenising not included.
        seconds: that the engine took.
        failed: whether it raised.
    """

    task: str
    lane: str
    size: int
    tokens: int
    padded: int
    waits: tuple[float, ...]
    seconds: float
    failed: bool = False


class Watch(Protocol):
    """Told by lanes, from their own threads or the event loop: must be thread-safe, quick and raise nothing."""

    def ran(self, ran: Ran) -> None:
        """After each batch, before its answers are handed out."""

    def waiting(self, task: str, texts: int) -> None:
        """How many texts wait for a model now (being tokenised, or queued); after each change."""


class Unwatched:
    """Keeps nothing."""

    def ran(self, ran: Ran) -> None:
        """Nothing."""

    def waiting(self, task: str, texts: int) -> None:
        """Nothing."""
