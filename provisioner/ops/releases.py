"""The releases of a store: what is there, which one is active, which ones may go."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from provisioner.errors import ProvisionError, UsageError
from provisioner.layout import tree_of
from provisioner.lockfile import parse as parse_lock
from provisioner.model import Lock
from provisioner.ports.store import Store


@dataclass(frozen=True, slots=True)
class ReleaseSummary:
    """One release at a glance.

    Attributes:
        models: `repository@commit` of each.
        problem: why its record or lock cannot be read, or "".
    """

    release: str
    active: bool
    created: str = ""
    files: int = 0
    bytes: int = 0
    models: tuple[str, ...] = ()
    problem: str = ""


def summaries(store: Store) -> Iterator[ReleaseSummary]:
    """Every release, newest first."""
    active = store.active()
    for release in newest_first(store):
        try:
            record = store.record(release)
            lock = parse_lock(store.lock_text(release), f"{release}/models.lock")
        except ProvisionError as error:
            yield ReleaseSummary(release, release == active, problem=str(error))
            continue
        models = tuple(f"{model.repo}@{model.commit[:12]}" for model in lock.models)
        tree = record.tree
        yield ReleaseSummary(release, release == active, record.created, len(tree.entries), tree.size, models)


def to_prune(store: Store, keep: int, spare: Collection[str] = ()) -> tuple[str, ...]:
    """The releases beyond the `keep` newest; never the active one, nor one to be spared.

    Raises UsageError, also when a release is marked as active but none of those that are there: readers may be using
    any of them.
    """
    if keep < 1:
        raise UsageError("--keep must be at least 1.")
    releases, active = newest_first(store), store.active()
    if active not in releases if active else releases and store.marks_active():
        raise UsageError(
            f"What {store.name} calls its active release is not there.",
            hint=f"Say which one is: provision releases activate {releases[0]} --at {store.name}"
            if releases
            else f"Mirror it again: an interrupted --repair is completed by provision mirror --to {store.name}",
        )
    return tuple(release for release in releases[keep:] if release != active and release not in spare)


def prune(store: Store, doomed: tuple[str, ...]) -> dict[str, int]:
    """Delete releases, but for one that was activated meanwhile; name and bytes of those that went."""
    return {release: store.remove(release) for release in doomed if store.active() != release}


def newest_first(store: Store) -> tuple[str, ...]:
    """The releases by when they were published, as their records say: a copied folder has another time.

    One whose record does not say it stays behind its newer neighbour in the store's own order.
    """
    known, last = {}, float("inf")
    for release in store.releases():
        last = known[release] = _created(store, release, last)
    return tuple(sorted(known, key=lambda release: -known[release]))


def _created(store: Store, release: str, otherwise: float) -> float:
    try:
        return datetime.fromisoformat(store.record(release).created).timestamp()
    except (ProvisionError, ValueError, OverflowError):
        return otherwise


@dataclass(frozen=True, slots=True)
class Status:
    """The lock against a store.

    Attributes:
        wanted: the release of the lock.
        present: whether it is there, complete by its record and sizes.
        active: the active release, or None.
        missing: models of the lock that the active release does not have at their commit.
    """

    store: str
    wanted: str
    present: bool
    active: str | None
    missing: tuple[str, ...]
    problem: str = ""

    @property
    def up_to_date(self) -> bool:
        """Whether readers see what the lock says."""
        return self.present and self.active == self.wanted


def status(store: Store, lock: Lock) -> Status:
    """Compare a lock with a store; nothing is hashed and nothing is written. Raises StoreError."""
    wanted = tree_of(lock).release_id
    present, problem = _present(store, lock)
    active = store.active()
    have = _models(store, active)
    missing = tuple(f"{m.repo}@{m.commit[:12]}" for m in lock.models if (m.repo, m.commit) not in have)
    return Status(store.name, wanted, present, active, missing, problem)


def _present(store: Store, lock: Lock) -> tuple[bool, str]:
    from provisioner.report import Evidence

    tree = tree_of(lock)
    if tree.release_id not in store.releases():
        return False, ""
    try:
        record = store.record(tree.release_id)
    except ProvisionError as error:
        return False, str(error)
    if record.tree.digest != tree.digest:  # a folder of another release under this name
        return False, "damaged: its record is that of another release"
    findings = tuple(store.check(record, Evidence.SIZE_ONLY, lambda _: None))
    first = f"damaged: {findings[0].path}: {findings[0].kind}" if findings else ""
    return not findings, first + (f" and {len(findings) - 1} more" if len(findings) > 1 else "")


def _models(store: Store, release: str | None) -> set[tuple[str, str]]:
    if release is None:
        return set()
    try:
        lock = parse_lock(store.lock_text(release))
    except ProvisionError:
        return set()
    return {(model.repo, model.commit) for model in lock.models}
