"""What happens during long work. Libraries emit these; only `render` turns them into something to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """Work begins.

    Attributes:
        task: "fetch", "mirror", "verify", "lock".
        files, bytes: what will pass through, as far as is known.
    """

    task: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FileStarted:
    """The bytes of one file begin to flow."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Advanced:
    """More bytes of a file were dealt with; negative after a restart of the file."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class FileDone:
    """A file is whole and verified.

    Attributes:
        how: "moved", "shared", "generated", "resumed" or "hashed".
        origin: the source that had it, or "".
    """

    path: str
    size: int
    how: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Retrying:
    """A source failed in a way that may pass.

    Attributes:
        delay: seconds until the next try.
        reason: the failure in one sentence.
    """

    path: str
    attempt: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the operator should know that is no failure."""

    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Work ended well."""

    task: str


Event = Started | FileStarted | Advanced | FileDone | Retrying | Notice | Finished
Observer = Callable[[Event], None]


def silent(_event: Event) -> None:
    """The observer for callers that do not look."""
