"""The release that is mounted: found, and checked before anything of it is used."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from provisioner.errors import InvalidInput, NotFound, ProvisionError, VerificationFailed
from provisioner.layout import tree_of
from provisioner.lockfile import parse as parse_lock
from provisioner.model import Lock, Tree
from provisioner.ops.documents import read_lock
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord
from provisioner.record import parse as parse_record
from provisioner.report import Evidence, Finding
from provisioner.serve.backend import Checked
from provisioner.stores.directory.check import check
from provisioner.stores.directory.files import read_small
from provisioner.stores.targets import open_mounted

_AGAIN = "Mirror it again (provision mirror --to STORE --repair), then start the server again."
_MEANT = "Mount the release of this lock, or give the server the lock that it is to serve."


@dataclass(frozen=True, slots=True)
class Mounted:
    """A release whose files are all there.

    Attributes:
        folder: where it is.
        read_only: whether the mount refuses writes, so that what was checked stays as it is.
    """

    folder: str
    lock: Lock
    checked: Checked
    read_only: bool


def find(at: str) -> str:
    """The folder of a release: the one that is mounted, or the active one of a mounted store.

    Raises NotFound where there is neither, UsageError for an address that is no folder here.
    """
    if os.path.lexists(os.path.join(at, RECORD_NAME)):
        return os.path.abspath(at)
    store = open_mounted(at)  # knows `pvc`, and says why a bucket cannot be served
    if active := store.active():
        return os.path.abspath(store.path(active))
    if there := store.releases():
        raise NotFound(
            f"{store.name} is a store without an active release.",
            hint=f"Make one active: provision releases activate {there[0]} --at {store.name}",
        )
    raise NotFound(
        f"There is no release at {store.name}: it has no {RECORD_NAME}, and is no store.",
        hint="Mount a release there (provision emit mount), or name another folder with --at.",
    )


def opened(at: str, lock: str | None, evidence: Evidence) -> Mounted:
    """Find the release and hold it against its lock, and against a lock at hand.

    Raises NotFound where there is none, VerificationFailed for whatever is missing, changed or of another commit.
    """
    began, folder = time.monotonic(), find(at)
    record, text = _record(folder), _read(folder, LOCK_NAME)
    own = _own_lock(folder, text, record)
    if lock is not None:
        _same_commits(read_lock(lock).lock, own, lock, record.release)
    _whole(folder, record.tree, evidence)
    return Mounted(
        folder,
        own,
        Checked(
            release=record.release,
            tree=record.tree.digest,
            lock=hashlib.sha256(text).hexdigest(),
            created=record.created,
            evidence=evidence.value,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            files=len(record.tree.entries),
            size=record.tree.size,
            seconds=time.monotonic() - began,
        ),
        bool(os.statvfs(folder).f_flag & os.ST_RDONLY),
    )


def _read(folder: str, name: str) -> bytes:
    path = os.path.join(folder, name)
    try:
        return read_small(path)
    except (OSError, ProvisionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise VerificationFailed(f"{path} cannot be read: {why}.", hint=_AGAIN) from None


def _record(folder: str) -> ReleaseRecord:
    try:
        return parse_record(_read(folder, RECORD_NAME), os.path.join(folder, RECORD_NAME))
    except InvalidInput as error:
        raise VerificationFailed(str(error), hint=_AGAIN) from None


def _own_lock(folder: str, text: bytes, record: ReleaseRecord) -> Lock:
    """The lock that the release was built from, which its record must agree with."""
    path = os.path.join(folder, LOCK_NAME)
    try:
        lock = parse_lock(text, path)
        tree = tree_of(lock)
    except InvalidInput as error:
        raise VerificationFailed(str(error), hint=_AGAIN) from None
    if tree.digest != record.tree.digest:
        raise VerificationFailed(f"{path} does not describe the release {record.release} that it is in.", hint=_AGAIN)
    return lock


def _same_commits(wanted: Lock, own: Lock, path: str, release: str) -> None:
    """Raises VerificationFailed unless the release is the one that the lock at hand describes."""
    for model in wanted.models:
        found = own.find(model.repo)
        if found is None:
            raise VerificationFailed(f"Release {release} has no {model.repo}, which {path} locks.", hint=_MEANT)
        if found.commit != model.commit:
            raise VerificationFailed(
                f"Release {release} has {model.repo} at commit {found.commit}, and {path} locks {model.commit}.",
                hint=_MEANT,
            )
    if (meant := tree_of(wanted).release_id) != release:
        raise VerificationFailed(f"Release {release} is mounted, and {path} describes release {meant}.", hint=_MEANT)


def _whole(folder: str, tree: Tree, evidence: Evidence) -> None:
    findings = sorted(check(folder, tree, evidence, lambda count: None), key=lambda one: (one.path, one.kind))
    if findings:
        raise VerificationFailed(_sentence(folder, findings), hint=_AGAIN)


def _sentence(folder: str, findings: list[Finding]) -> str:
    first = findings[0]
    more = f", and {len(findings) - 1} more findings" if len(findings) > 1 else ""
    return f"The release at {folder} does not match its lock: {first.path}: {first.kind}, {first.detail}{more}."
