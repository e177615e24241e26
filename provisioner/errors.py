"""Every failure an operator can meet, with its exit code and what to do next.

Backends translate the errors of their SDK into these at their own border, by type and status code. Anything that is not
a `ProvisionError` is a bug and keeps its traceback.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class ProvisionError(Exception):
    """A failure with one sentence for the operator, a hint and an exit code.

    Attributes:
        hint: what to do next, one sentence, or "".
        exit_code: the process's exit status (the table in the README).
        retryable: whether the same call may succeed a little later.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ProvisionError):
    """The command line does not say what to do."""

    exit_code = 2


class VerificationFailed(ProvisionError):
    """Bytes that do not match the lock."""

    exit_code = 3


class InvalidInput(ProvisionError):
    """A lock, a release record or settings that cannot be accepted."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document.

    Attributes:
        place: where, as `models[3].files[1].sha256`; "" for the whole document.
        message: what is wrong there.
    """

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class InvalidDocument(InvalidInput):
    """A document with all of its problems at once."""

    def __init__(self, name: str, problems: tuple[Problem, ...], *, hint: str = "") -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{name} has {count}: " + "; ".join(map(str, problems)), hint=hint)
        self.name = name
        self.problems = problems


class PolicyRefused(InvalidDocument):
    """The lock's policy does not allow a file (pickle weights, remote code)."""


class Unavailable(ProvisionError):
    """A source or store that does not answer now.

    Attributes:
        retry_after: seconds the other side asked to wait, or None.
    """

    exit_code = 5
    retryable = True

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Unusable(Unavailable):
    """A source that answers, but in a way no retry will change (an untrusted certificate, a strange status)."""

    retryable = False


class AccessDenied(ProvisionError):
    """Token missing or refused, gated repository, wrong credentials."""

    exit_code = 6


class NotFound(ProvisionError):
    """No such repository, revision, file, store or release."""

    exit_code = 7


class StoreError(ProvisionError):
    """A store that cannot be written: full, read-only, not writable by this uid."""

    exit_code = 8


class StoreFull(StoreError):
    """Disk full.

    Attributes:
        missing: bytes that have to be freed, or None where the store cannot say.
    """

    def __init__(self, message: str, *, missing: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.missing = missing


class Interrupted(ProvisionError):
    """Ctrl-C, or SIGTERM from whoever runs the Job."""

    exit_code = 130
    retryable = True


class MissingExtra(UsageError):
    """An optional dependency that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs an optional package that is not installed.",
            hint=f"Install it from a clone of the project with: pip install '.[{extra}]'",
        )
