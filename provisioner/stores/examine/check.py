"""What a doctor's visit consists of."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from provisioner.report.health import Answer

CONTENT = bytes(range(256)) * 256  # what is written: more than a page, so that a full file system says so
DOCTOR = "provision-doctor"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try.

    Attributes:
        run: raises a ProvisionError when it does not hold.
        needs: names of the checks without which it makes no sense.
    """

    name: str
    run: Callable[[], Answer]
    needs: tuple[str, ...] = ()


class Examination(Protocol):
    """All checks of one target. What they write is in one place of its own, below `staging/`."""

    @property
    def target(self) -> str:
        """The address for people."""
        ...

    def checks(self) -> tuple[Check, ...]:
        """In the order to try them in."""
        ...

    def clean(self) -> None:
        """Delete everything that was written, however far the checks came. Raises what keeps it from being deleted."""
        ...


def shown(address: str) -> str:
    """An address for people before anybody has looked whether it holds a login or a signature."""
    if any(sign in address for sign in ("@", "?", "sig=")):
        return f"{address.partition('://')[0]}://..." if "://" in address else "the target"
    return address


def scratch_name() -> str:
    """A name below `staging/` that nobody else uses."""
    return f"{DOCTOR}.{secrets.token_hex(6)}"
