"""Ways to misbehave. A fault is said once per request, before it is carried out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.support.patience import PATIENCE

from .wire import Asked


@dataclass(frozen=True)
class Answer:
    """Answer this instead of doing anything."""

    status: int
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True)
class CutUpload:
    """Read so many bytes of the request's body, then close the connection; nothing is stored."""

    after: int = 0


@dataclass(frozen=True)
class CutDownload:
    """Send the headers and so many bytes of the answer's body, then close the connection."""

    after: int = 0


@dataclass(frozen=True)
class LoseAnswer:
    """Do what was asked, then close the connection without a word."""


@dataclass(frozen=True)
class FlipBit:
    """Flip one bit of the answer's body (nothing at rest changes)."""

    at: int = 0


@dataclass(frozen=True)
class Lie:
    """Do what was asked, but answer with other headers (an empty value leaves one out)."""

    headers: Mapping[str, str]


@dataclass(frozen=True)
class Stall:
    """Wait before doing what was asked; closing the server ends the wait."""

    seconds: float


@dataclass(frozen=True)
class Late:
    """Close the connection without a word, and do what was asked only once `when` is set; `done` is set then."""

    when: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def carry_out(self) -> None:
        """Let it be done, and wait for that."""
        self.when.set()
        assert self.done.wait(PATIENCE)


@dataclass(frozen=True)
class Hold:
    """Wait for an event before doing what was asked; `held` is set meanwhile."""

    until: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)


Action = Answer | CutUpload | CutDownload | LoseAnswer | FlipBit | Lie | Stall | Late | Hold

BUSY = Answer(503, "ServerBusy", {"Retry-After": "1"})
BROKEN = Answer(500, "InternalError")
EXPIRED = Answer(403, "AuthenticationFailed", detail="Signature not valid in the specified time frame")
FULL = Answer(413, "ShareSizeLimitReached")


@dataclass
class Fault:
    """An action for the next `times` requests that match.

    Attributes:
        operation: `Asked.operation`, such as `PUT range`; empty for any.
        path: Part of the path; empty for any.
        after: So many matching requests go well first.
    """

    action: Action
    operation: str = ""
    path: str = ""
    times: int = 1
    after: int = 0
    hits: int = 0

    def __call__(self, asked: Asked) -> Action | None:
        if (self.operation and asked.operation != self.operation) or self.path not in asked.path:
            return None
        self.hits += 1
        return self.action if self.after < self.hits <= self.after + self.times else None


Hook = Callable[[Asked], Action | None]
