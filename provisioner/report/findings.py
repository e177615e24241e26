"""The findings of a verify."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """How a verify knows."""

    REHASHED = "rehashed"
    RECORDED = "recorded"
    SIZE_ONLY = "size-only"


class Kind(StrEnum):
    """What is wrong with a path."""

    MISSING = "missing"
    EXTRA = "extra"
    SIZE = "size"
    DIGEST = "digest"
    UNREADABLE = "unreadable"
    WRONG_TYPE = "wrong-type"
    RECORD = "record"
    LOAD = "load"


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation from the lock.

    Attributes:
        path: inside the release; a repository for `LOAD`.
        detail: expected and found, in words.
    """

    kind: Kind
    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of one verify.

    Attributes:
        release: the release's name.
        evidence: what the result rests on.
        files: how many paths were expected.
        bytes: how many bytes were read (`rehashed`) or vouched for.
        seconds: how long it took.
        against: the lock it was compared with, in words.
    """

    store: str
    release: str
    evidence: Evidence
    files: int
    bytes: int
    seconds: float
    findings: tuple[Finding, ...]
    against: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
