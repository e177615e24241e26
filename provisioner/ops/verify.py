"""Does a release match its lock? Every finding, and the evidence the answer rests on."""

from __future__ import annotations

import threading
import time

from provisioner.errors import NotFound, ProvisionError
from provisioner.layout import tree_of
from provisioner.lockfile import parse as parse_lock
from provisioner.model import Lock, Tree
from provisioner.ports.events import Advanced, Finished, Observer, Started
from provisioner.ports.store import Store
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord
from provisioner.report import Evidence, Finding, Kind, VerifyReport


def chosen_release(store: Store, release: str | None, lock: Lock | None) -> str:
    """The release that was named, else the one of the lock, else the active one. Raises NotFound."""
    if release:
        return release
    if lock is not None:
        return tree_of(lock).release_id
    if active := store.active():
        return active
    if there := store.releases():
        hint = f"Make one active: provision releases activate {there[0]} --at {store.name}"
    else:
        hint = "Check the address, or run provision fetch or mirror first."
    raise NotFound(f"{store.name} has no active release.", hint=hint)


def verify(store: Store, release: str, lock: Lock | None, evidence: Evidence, observer: Observer) -> VerifyReport:
    """Compare a release with the lock at hand, or else with the lock it was built from.

    Raises NotFound when there is no such release; whatever else is wrong is a finding.
    """
    begin, passed, guard = time.monotonic(), [0], threading.Lock()
    findings: list[Finding] = []
    tree = _expected(store, release, lock, findings)

    def advance(count: int) -> None:
        with guard:
            passed[0] += count
        observer(Advanced(release, count))

    if tree is not None:
        observer(Started("verify", len(tree.entries), tree.size))
        findings += store.check(ReleaseRecord(tree, tree.digest), evidence, advance)
        observer(Finished("verify"))
    return VerifyReport(
        store.name,
        release,
        evidence,
        len(tree.entries) if tree else 0,
        passed[0],
        time.monotonic() - begin,
        tuple(sorted(findings, key=lambda finding: (finding.path, finding.kind))),
        "the lock at hand" if lock is not None else "the release's own lock",
    )


def _expected(store: Store, release: str, lock: Lock | None, findings: list[Finding]) -> Tree | None:
    """What the release must consist of; a record or lock in the release that says otherwise is a finding."""
    recorded = _recorded(store, release, findings)
    built_from = _built_from(store, release, findings)
    tree = tree_of(lock) if lock is not None else (built_from or recorded)
    if tree is None or tree.release_id != release:
        findings.append(Finding(Kind.RECORD, LOCK_NAME, "is not the lock that this release is named after"))
    for name, found in ((RECORD_NAME, recorded), (LOCK_NAME, built_from)):
        if tree is not None and found is not None and found.digest != tree.digest:
            findings.append(Finding(Kind.RECORD, name, "describes another tree than the lock"))
    return tree if tree is not None and tree.release_id == release else recorded


def _recorded(store: Store, release: str, findings: list[Finding]) -> Tree | None:
    try:
        return store.record(release).tree
    except NotFound:
        raise
    except ProvisionError as error:
        findings.append(Finding(Kind.RECORD, RECORD_NAME, str(error)))
        return None


def _built_from(store: Store, release: str, findings: list[Finding]) -> Tree | None:
    try:
        return tree_of(parse_lock(store.lock_text(release)))
    except ProvisionError as error:
        findings.append(Finding(Kind.RECORD, LOCK_NAME, str(error)))
        return None
