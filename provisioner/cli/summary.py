"""PROVISION_SUMMARY=FILE: at its end every command writes one line there, such as a pod's termination message."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from provisioner.errors import ProvisionError

if TYPE_CHECKING:
    from provisioner.report import VerifyReport

VARIABLE = "PROVISION_SUMMARY"


def remember(**facts: Any) -> None:
    """What the running command wants in its line."""
    if (chosen := click.get_current_context().find_object(dict)) is not None:
        chosen.setdefault("summary", {}).update(facts)


def verdict(report: VerifyReport) -> dict[str, Any]:
    """A verify in a few words, with its findings, of which the line keeps as many as fit."""
    first = [asdict(finding) for finding in report.findings[:100]]
    facts = {"ok": report.ok, "evidence": str(report.evidence), "findings": len(report.findings)}
    return facts | ({"first": first} if first else {})


def failure(report: VerifyReport) -> dict[str, Any]:
    """What to say of a verify that ended with findings; nothing of one that did not."""
    if report.ok:
        return {}
    number = "1 finding" if len(report.findings) == 1 else f"{len(report.findings)} findings"
    return {
        "error": f"Release {report.release} in {report.store} is not what the lock says: {number}.",
        "hint": f"To mend it: provision mirror --to {report.store} --repair",
        "retryable": False,
    }


class Ending:
    """Writes the line, once the exit code is known."""

    def __init__(self, chosen: dict[str, Any]) -> None:
        self._chosen = chosen
        self._path = os.environ.get(VARIABLE, "")
        self._begin = time.monotonic()

    def write(self, code: int, **failure: Any) -> int:
        """One line for a command that ends with a code; the code. A file that cannot be written is only a warning."""
        if not self._path:
            return code
        from provisioner.render import summary
        from provisioner.render.output import Output

        facts = {"command": self._chosen.get("command", ""), "exit_code": code} | failure
        facts |= self._chosen.get("summary", {}) | {"seconds": round(time.monotonic() - self._begin, 3)}
        if problem := summary.write(self._path, summary.line(facts)):
            Output(as_json=self._chosen["json"]).warn(problem)
        return code

    def failed(self, error: Exception, code: int) -> int:
        """As `write`, for what stopped the command; of a bug the type only."""
        if isinstance(error, ProvisionError):
            return self.write(code, error=str(error), hint=error.hint, retryable=error.retryable)
        return self.write(code, error=type(error).__name__, hint="", retryable=False)
