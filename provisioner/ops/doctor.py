"""Find out, one probe after the other, whether a target is fit to be mirrored to and read from."""

from __future__ import annotations

import time
from collections.abc import Callable

from provisioner.errors import ProvisionError
from provisioner.report.health import Answer, Health, Outcome, Probe, fine
from provisioner.stores.examine import Check, Examination

FAR = ("s3", "minio", "azurefiles")


def examination(address: str) -> Examination:
    """The checks that fit an address; nothing is imported, opened or tried yet but the module that has them."""
    scheme = address.partition("://")[0]
    if scheme == "azurefiles":
        from provisioner.stores.examine.azure import AzureFilesExamination

        return AzureFilesExamination(address)
    if scheme in FAR:
        from provisioner.stores.examine import endpoints

        return endpoints.s3(address) if scheme == "s3" else endpoints.minio(address)
    from provisioner.stores.examine.directory import DirectoryExamination

    return DirectoryExamination(address)


def examine(subject: Examination) -> Health:
    """Try everything; what was written is deleted again, also when somebody interrupts."""
    done: list[Probe] = []
    blocked: set[str] = set()
    try:
        for check in subject.checks():
            done.append(_attempt(check, blocked))
    finally:
        done.append(_attempt(_cleanup(subject.clean), set()))
    return Health(subject.target, tuple(done))


def _cleanup(clean: Callable[[], None]) -> Check:
    def run() -> Answer:
        clean()
        return fine("nothing of this is left")

    return Check("cleanup", run)


def _attempt(check: Check, blocked: set[str]) -> Probe:
    """One row; a check whose ground is missing is not tried, and blocks those that build on it."""
    if missing := next((name for name in check.needs if name in blocked), ""):
        blocked.add(check.name)
        return Probe(check.name, Outcome.SKIPPED, f"needs {missing}", "", 0, 0.0)
    begun = time.monotonic()
    code = 0
    try:
        answer = check.run()
    except ProvisionError as error:
        answer, code = Answer(Outcome.FAILED, str(error), error.hint), error.exit_code
        blocked.add(check.name)
    return Probe(check.name, answer.outcome, answer.detail, answer.advice, code, round(time.monotonic() - begun, 3))
