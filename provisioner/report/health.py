"""What `provision doctor` found out about a target."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

RETRYABLE = 5  # the one class of failures that may pass by itself


class Outcome(StrEnum):
    """How a probe ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one probe has to say.

    Attributes:
        detail: what was seen.
        advice: what to do, one sentence, or "".
    """

    outcome: Outcome
    detail: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One row of the table.

    Attributes:
        exit_code: the class of the failure, 0 where nothing failed.
        seconds: how long it took.
    """

    name: str
    outcome: Outcome
    detail: str
    advice: str
    exit_code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Health:
    """All rows, in the order they were tried."""

    target: str
    probes: tuple[Probe, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.exit_code

    @property
    def exit_code(self) -> int:
        """The class of the worst failure: the first that no retry will change, else any; 0 without one."""
        codes = [probe.exit_code for probe in self.probes if probe.exit_code]
        return next((code for code in codes if code != RETRYABLE), codes[0] if codes else 0)


def fine(detail: str = "", advice: str = "") -> Answer:
    """It holds."""
    return Answer(Outcome.OK, detail, advice)


def warning(detail: str, advice: str) -> Answer:
    """It works, but somebody should look at it."""
    return Answer(Outcome.WARNING, detail, advice)


def not_tried(why: str) -> Answer:
    """There is nothing to try."""
    return Answer(Outcome.SKIPPED, why)
