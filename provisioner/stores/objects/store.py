"""A store in a bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from provisioner.errors import AccessDenied, InvalidDocument, NotFound, Problem, ProvisionError, VerificationFailed
from provisioner.model import Digest, Tree
from provisioner.ports.store import Advance, Capabilities, Held, Observed
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord, is_release_id, parse
from provisioner.report import Evidence, Finding, Kind
from provisioner.stores.blocks.budget import Budget
from provisioner.stores.objects import check as checking
from provisioner.stores.objects.bucket import Bucket, NoBucket
from provisioner.stores.objects.build import ObjectBuild
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.leftovers import remove, sweep, uploads
from provisioner.stores.objects.reading import read_small
from provisioner.stores.source import Index, StoreSource

CAPABILITIES = Capabilities(hard_links=False, chmod=False, free=None)
ASKERS = 8


class ObjectStore:
    """The keys under one prefix of a bucket.

    Attributes:
        bucket, keys: where it is.
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket, self.keys, self._budget = bucket, Keys(prefix), Budget()
        self._present: dict[str, int] = {}
        self._unfinished: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The address."""
        return f"{self.bucket.name}/{self.keys.prefix}".rstrip("/")

    def exists(self) -> bool:
        """Whether there is anything of a release."""
        return next(iter(self.bucket.list(self.keys.releases)), None) is not None

    def releases(self) -> tuple[str, ...]:
        """Names of the published releases, newest first."""
        names = [name for name in self.bucket.folders(self.keys.releases) if is_release_id(name)]
        with ThreadPoolExecutor(ASKERS, thread_name_prefix="ask") as pool:
            found = [(when, name) for when, name in zip(pool.map(self._published, names), names, strict=True) if when]
        return tuple(name for _, name in sorted(found, reverse=True))

    def _published(self, release: str) -> float:
        """When, in seconds since the epoch; 0 for a release that is not finished."""
        with suppress(NotFound):
            return self.bucket.stat(self.keys.record(release)).modified
        return 0.0

    def record(self, release: str) -> ReleaseRecord:
        """The record of a release. Raises NotFound, InvalidDocument, StoreError."""
        name = f"{self.name}/releases/{release}/{RECORD_NAME}"
        record = parse(self._read(release, RECORD_NAME), name)
        if record.release != release:
            raise InvalidDocument(name, (Problem("release", f"is the record of {record.release}"),))
        return record

    def lock_text(self, release: str) -> bytes:
        """The lock a release was built from. Raises NotFound, StoreError."""
        self._require(release)
        return self._read(release, LOCK_NAME)

    def _require(self, release: str) -> None:
        if not (is_release_id(release) and self._published(release)):
            raise self._no_release(release)

    def _read(self, release: str, name: str) -> bytes:
        if not is_release_id(release):
            raise self._no_release(release)
        try:
            return read_small(self.bucket, self.keys.file(release, name))
        except NoBucket:
            raise
        except NotFound:
            if not self.exists():
                raise self._absent() from None
            raise self._no_release(release) from None

    def _no_release(self, release: str) -> NotFound:
        return NotFound(
            f"{self.name} holds no release {release!r}.", hint=f"See: provision releases list --at {self.name}"
        )

    def _absent(self) -> NotFound:
        return NotFound(f"There is no store at {self.name}.", hint="Check the bucket and the prefix.")

    def active(self) -> str | None:
        """The active release's name, or None."""
        try:
            text = read_small(self.bucket, self.keys.current, 4096).decode("ascii", "replace").strip()
        except NoBucket:
            raise
        except (NotFound, AccessDenied):  # whoever may not list a key is refused when it is not there
            return None
        return text if is_release_id(text) else None

    def marks_active(self) -> bool:
        """Whether something says which release is active, readable or not."""
        with suppress(NotFound):
            self.bucket.stat(self.keys.current)
            return True
        return False

    def activate(self, release: str) -> None:
        """Make a release the active one, in one write.

        Raises NotFound, and VerificationFailed for one that is not complete by its record and sizes.
        """
        tree = self.record(release).tree
        if damage := next(checking.by_listing(checking.sizes(self.bucket, self.keys, release), tree), None):
            raise VerificationFailed(
                f"Release {release} is damaged: {damage.path}: {damage.kind}, {damage.detail}.",
                hint=f"See all of it with: provision verify --release {release} --at {self.name}",
            )
        content = f"{release}\n".encode()
        self.bucket.write(self.keys.current, content, Digest(hashlib.sha256(content).hexdigest()))

    def remove(self, release: str) -> int:
        """Delete a release, first of all the record that makes it one; bytes of it. Raises NotFound, Unavailable."""
        self._require(release)
        try:
            size = self.record(release).tree.size
        except (NotFound, InvalidDocument):  # a damaged release can be deleted all the same
            size = 0
        remove(self.bucket, self.keys, release)
        return size

    def sweep(self, release: str | None = None) -> tuple[str, ...]:
        """Delete what dead runs left behind, of one release or of all; the names of it."""
        return sweep(self.bucket, self.keys, release)

    def create(self) -> None:
        """Nothing: a prefix needs no making, and a bucket is made by whoever pays for it."""

    def observe(self, tree: Tree, anew: bool = False) -> Observed:
        """Everything a planner needs to know; nothing is written.

        With `anew` as if the release of the tree were not there, but for the bytes that it holds.
        """
        damage = None if anew else self._damage(tree)
        if damage is not None:
            return Observed(not damage, damage, {}, {}, CAPABILITIES)
        self._present = checking.sizes(self.bucket, self.keys, tree.release_id)
        left = uploads(self.bucket, self.keys.release(tree.release_id))
        self._unfinished = {upload.key: upload.id for upload in left}
        return Observed(False, (), self._held(tree, movable=not anew), {}, CAPABILITIES)

    def _damage(self, tree: Tree) -> tuple[Finding, ...] | None:
        """What is wrong with the release of this tree by its record and sizes; None when it is not there."""
        try:
            record = self.record(tree.release_id)
        except NoBucket:
            raise
        except NotFound:
            return None
        except ProvisionError as error:
            return (Finding(Kind.RECORD, RECORD_NAME, str(error)),)
        if record.tree.digest != tree.digest:
            return (Finding(Kind.RECORD, RECORD_NAME, "is the record of another tree"),)
        return tuple(checking.by_listing(checking.sizes(self.bucket, self.keys, tree.release_id), tree))

    def _held(self, tree: Tree, movable: bool) -> dict[Digest, Held]:
        """First what an unfinished run has put where it belongs, then what other releases have."""
        found: dict[Digest, Held] = {}
        for entry in tree.entries:
            if self._present.get(entry.path) == entry.size:
                place = self.keys.place(self.keys.file(tree.release_id, entry.path))
                found.setdefault(entry.sha256, Held(entry.sha256, entry.size, place, movable))
        wanted = {entry.sha256 for entry in tree.entries}
        if wanted - found.keys():
            for digest, key, size in self._released():
                if digest in wanted:
                    found.setdefault(digest, Held(digest, size, self.keys.place(key)))
        return found

    def _released(self) -> Iterator[tuple[Digest, str, int]]:
        """Digest, key and size of every file of every release, the active release first."""
        active = self.active()
        for release in sorted(self.releases(), key=lambda name: name != active):
            with suppress(NotFound, InvalidDocument):
                for entry in self.record(release).tree.entries:
                    yield entry.sha256, self.keys.file(release, entry.path), entry.size

    def build(self, tree: Tree, replaces: bool = False) -> ObjectBuild:
        """Begin, or take up again, the release of a tree that was just observed; `replaces` a damaged one."""
        present, unfinished = self._present, dict(self._unfinished)
        return ObjectBuild(self.bucket, self.keys, tree, self._budget, present, unfinished, replaces)

    def check(self, record: ReleaseRecord, evidence: Evidence, advance: Advance) -> Iterator[Finding]:
        """Compare a release with a record, each finding as soon as it is known."""
        return checking.check(self.bucket, self.keys, record.release, record.tree, evidence, self._budget, advance)

    def as_source(self) -> StoreSource:
        """The store as somewhere to read locked bytes from. Raises NotFound when there is none."""
        if not self.exists():
            raise self._absent()
        return StoreSource(self.name, True, self._index, self.bucket.read)

    def _index(self) -> Index:
        index: Index = {}
        for digest, key, _ in self._released():
            index.setdefault(digest, key)
        return index
