"""Fetch and mirror: one operation with different ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from provisioner.errors import NotFound, ProvisionError, StoreFull, VerificationFailed
from provisioner.layout import tree_of
from provisioner.ops.documents import LockDocument
from provisioner.ops.execute import Execution, Settings, Tally
from provisioner.ops.verify import verify
from provisioner.plan import Plan, plan
from provisioner.ports.events import Finished, Notice, Observer, Started, silent
from provisioner.ports.source import Source
from provisioner.ports.store import HalfPublished, Store
from provisioner.record import ReleaseRecord
from provisioner.report import Evidence


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What a transfer did.

    Attributes:
        changed: whether a release appeared; False when it was there already.
        moved, shared, resumed: bytes from sources, from other releases, from an interrupted run.
        origins: source -> (files, bytes).
    """

    store: str
    release: str
    changed: bool
    files: int
    bytes: int
    moved: int = 0
    shared: int = 0
    resumed: int = 0
    seconds: float = 0.0
    origins: dict[str, tuple[int, int]] = field(default_factory=dict)


def prepare(document: LockDocument, store: Store, anew: bool = False) -> Plan:
    """What has to happen to the store; nothing of it happens. With `anew` the release is made again though it is there.

    Raises VerificationFailed when the release is there but damaged, StoreError when the store cannot be written.
    """
    tree = tree_of(document.lock)
    observed = store.observe(tree, anew)
    if observed.damage:
        first = observed.damage[0]
        raise VerificationFailed(
            f"Release {tree.release_id} in {store.name} is damaged: {first.path}: {first.kind}, {first.detail}"
            + (f", and {len(observed.damage) - 1} more." if len(observed.damage) > 1 else "."),
            hint=f"See all of it: provision verify --at {store.name}; mend it by running this again with --repair.",
        )
    return plan(tree, observed, anew)


def is_damaged(document: LockDocument, store: Store, observer: Observer = silent) -> bool:
    """Whether the lock's release is there but, every byte read, not whole. Raises StoreError."""
    tree = tree_of(document.lock)
    if tree.release_id not in store.releases():
        return False
    try:
        report = verify(store, tree.release_id, document.lock, Evidence.REHASHED, observer)
    except NotFound:
        observer(Notice(f"Release {tree.release_id} has no record and is made anew."))
        return True
    if not report.ok:
        observer(Notice(f"Release {report.release} is damaged and is made anew: {_findings(len(report.findings))}."))
    return not report.ok


def _findings(number: int) -> str:
    return "1 finding" if number == 1 else f"{number} findings"


def carry_out(
    work: Plan,
    document: LockDocument,
    store: Store,
    sources: Sequence[Source],
    settings: Settings,
    observer: Observer = silent,
    task: str = "transfer",
) -> TransferReport:
    """Execute a plan and publish the release.

    Raises StoreFull before the first byte when there is no room, and whatever stopped the transfer; then what was
    verified stays in the store, invisible, for the next run.
    """
    begin = time.monotonic()
    tree, tally = work.tree, Tally()
    if not work.is_empty:
        require_room(work, store)
        observer(Started(task, len(work.actions), sum(action.entries[0].size for action in work.actions)))
        try:
            _build(work, document, store, Execution(sources, settings, observer, tally))
        except StoreFull as error:
            raise _with_missing(error, _still_missing(work, document, store, tally)) from error
        observer(Finished(task))
    return TransferReport(
        store.name,
        tree.release_id,
        not work.is_empty,
        len(tree.entries),
        tree.size,
        tally.moved,
        tally.shared,
        tally.resumed,
        time.monotonic() - begin,
        tally.origins,
    )


def plan_facts(work: Plan, store: str) -> dict[str, object]:
    """A plan as a document for machines."""
    return {
        "store": store,
        "release": work.tree.release_id,
        "empty": work.is_empty,
        "files": len(work.tree.entries),
        "bytes": work.tree.size,
        "files_to_move": work.files_to_move,
        "bytes_to_move": work.bytes_to_move,
        "bytes_shared": work.bytes_shared,
        "bytes_resumed": work.bytes_resumed,
        "bytes_needed": work.bytes_needed,
        "bytes_free": work.free,
        "bytes_missing": work.bytes_missing,
    }


def require_room(work: Plan, store: Store) -> None:
    """Raise StoreFull, with what is missing, when the plan needs more than is free."""
    if missing := work.bytes_missing:
        raise StoreFull(
            f"{store.name} has {work.free} bytes free and needs {work.bytes_needed}: {missing} are missing.",
            missing=missing,
            hint="Enlarge the volume, or free space with: provision releases prune --keep 2",
        )


def _with_missing(error: StoreFull, missing: int) -> StoreFull:
    """Somebody else filled the volume meanwhile: say how much it lacks now."""
    return StoreFull(f"{error} Up to {missing} bytes are missing.", missing=missing, hint=error.hint)


def _still_missing(work: Plan, document: LockDocument, store: Store, tally: Tally) -> int:
    """Bytes that have to be freed, what was verified or begun counted as there."""
    try:
        again = prepare(document, store)
    except ProvisionError:  # not even one block is free to look with
        return max(work.bytes_needed - tally.moved, 1)
    return max(again.bytes_missing, 1)


def _build(work: Plan, document: LockDocument, store: Store, execution: Execution) -> None:
    build = store.build(work.tree, work.replaces)
    try:
        execution.run(work, build)
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if not build.publish(ReleaseRecord(work.tree, document.digest, created), document.text):
            execution.observer(Notice("Another run published this release first; its bytes were verified by it."))
    except ProvisionError as error:
        if work.replaces or isinstance(error, HalfPublished) or not _is_published(store, work):
            raise
        execution.observer(Notice(f"Another run published this release while this one stopped: {error}"))
    finally:
        build.close()
    store.sweep(work.tree.release_id)


def _is_published(store: Store, work: Plan) -> bool:
    try:
        return store.record(work.tree.release_id).tree.digest == work.tree.digest
    except (NotFound, ProvisionError):
        return False
