"""One release on its way into a bucket."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress

from provisioner.errors import NotFound, ProvisionError, StoreError, Unavailable, VerificationFailed
from provisioner.model import Digest, Tree, TreeEntry
from provisioner.ports.store import Advance, HalfPublished, Held, Pull
from provisioner.record import ReleaseRecord, dump
from provisioner.stores.blocks.budget import Budget
from provisioner.stores.objects.bucket import Bucket
from provisioner.stores.objects.check import by_listing, extras, sizes
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.marker import GOING, builders, lives, new_marker
from provisioner.stores.objects.reading import read_back, read_small
from provisioner.stores.objects.upload import Uploads
from provisioner.stores.owner import Life

log = logging.getLogger(__name__)


class ObjectBuild:
    """Every object is at its final key as soon as it is verified; `release.json`, written last, makes them a release.

    Several processes may build one release at once: whatever one of them writes over is equal, for both compared it
    with the lock. Nothing of a release that is there is written again.
    """

    is_remote = True

    def __init__(
        self,
        bucket: Bucket,
        keys: Keys,
        tree: Tree,
        budget: Budget,
        present: dict[str, int],
        unfinished: dict[str, str],
        replaces: bool = False,
    ) -> None:
        self._bucket, self._keys, self._tree, self._budget = bucket, keys, tree, budget
        self._present = present
        self._uploads = Uploads(bucket, budget, unfinished)
        self._marker = new_marker(bucket, keys, tree.release_id)
        if replaces:  # from here on it is an unfinished release like any other
            try:
                bucket.delete([keys.record(tree.release_id)])
            except BaseException:
                self._marker.remove()
                raise

    def _key(self, entry: TreeEntry) -> str:
        return self._keys.file(self._tree.release_id, entry.path)

    def put(self, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> None:
        """Write an entry from a source. Raises VerificationFailed, StoreError and what the pull raises."""
        self._uploads.put(self._key(entry), entry, pull, advance, connections)

    def share(self, entry: TreeEntry, held: Held, advance: Advance) -> None:
        """Take an entry from bytes the bucket has: read, copied, and read back.

        Read before too, for another run may have put the right bytes where the copy goes, and publish them. What the
        store says about its own copy is no evidence. Raises VerificationFailed, NotFound, StoreError.
        """
        self._take(f"{self._keys.prefix}{held.place}", entry, advance)

    def _take(self, source: str, entry: TreeEntry, advance: Advance) -> None:
        try:
            read_back(self._bucket, source, entry, self._budget, advance)
        except Unavailable as error:
            self._bucket.stat(source)  # a store that does not answer at all is another matter
            raise StoreError(f"{self._bucket.name}/{source} cannot be read: {error}") from error
        self._copy(source, entry)

    def _copy(self, source: str, entry: TreeEntry) -> None:
        """Copy what this run has read; nothing when it is there, digest and all."""
        key = self._key(entry)
        if self._is_there():
            return  # another run was quicker, and what is published is not written to
        if source != key or self._bucket.stat(key).sha256 != entry.sha256:
            self._bucket.copy(source, key, entry.size, entry.sha256)
            read_back(self._bucket, key, entry, self._budget, lambda _: None)

    def repeat(self, entry: TreeEntry, first: TreeEntry) -> None:
        """Give an entry of this build a second path."""
        if self._present.get(entry.path) == entry.size:
            with suppress(VerificationFailed, NotFound, StoreError):
                return self._take(self._key(entry), entry, lambda _: None)
        return self._copy(self._key(first), entry)

    def generate(self, entry: TreeEntry) -> None:
        """Write a generated entry."""
        self._write(self._key(entry), entry.content or b"")

    def _write(self, key: str, content: bytes, only_new: bool = False) -> bool:
        return self._bucket.write(key, content, Digest(hashlib.sha256(content).hexdigest()), only_new)

    def publish(self, record: ReleaseRecord, lock_text: bytes) -> bool:
        """Make the release exist, whole; False when it was there already. Raises Unavailable when files of it went."""
        self._marker.renew()
        if self._is_there():
            return False
        self._require_peace()
        self._write_lock(lock_text)
        self._check_presence(self._drop_extras())
        self._marker.require()
        key, content = self._keys.record(record.release), dump(record)
        if not self._write(key, content, only_new=True) and read_small(self._bucket, key) != content:
            return False  # else it was ours, and only the answer was lost
        try:
            self._marker.require()
        except Unavailable:  # the write took so long that a prune may have come between
            self._confirm(key)
        return True

    def _require_peace(self) -> None:
        """Raise Unavailable when somebody deletes this release; whoever begins to later sees our sign."""
        signs = lives(self._bucket, self._keys, f"{self._tree.release_id}.{GOING}.")
        if Life.ALIVE in signs.values():
            raise Unavailable(f"Release {self._tree.release_id} is being deleted by another run.", hint="Run again.")

    def _write_lock(self, text: bytes) -> None:
        """The lock beside the record. Two locks of one tree may differ, in a license for instance."""
        key = self._keys.lock(self._tree.release_id)
        if self._write(key, text, only_new=True) or read_small(self._bucket, key) == text:
            return
        if builders(self._bucket, self._keys, self._tree.release_id) - {self._marker.key}:
            raise Unavailable("Another run builds this release from another lock.", hint="Run again when it is done.")
        self._write(key, text)

    def _confirm(self, record: str) -> None:
        release = self._tree.release_id
        if lacking := next(by_listing(sizes(self._bucket, self._keys, release), self._tree), None):
            try:
                self._bucket.delete([record])
            except ProvisionError as error:
                raise HalfPublished(
                    f"Release {release} lacks {lacking.path}, which another run deleted, and stays visible: {error}",
                    hint="Run again with --repair.",
                ) from error
            raise Unavailable(f"{lacking.path} was taken from this build by another run.", hint="Run again.")

    def _is_there(self) -> bool:
        try:
            self._bucket.stat(self._keys.record(self._tree.release_id))
        except NotFound:
            return False
        return True

    def _drop_extras(self) -> dict[str, int]:
        """What somebody put below a release that did not exist yet must not become part of it; what is there."""
        release = self._tree.release_id
        found = sizes(self._bucket, self._keys, release)
        for finding, paths in extras(found, self._tree):
            log.warning("%s is no part of release %s and is deleted", finding.path, release)
            self._bucket.delete([self._keys.file(release, path) for path in paths])
        return found

    def _check_presence(self, found: dict[str, int]) -> None:
        for finding in by_listing(found, self._tree):
            raise Unavailable(f"{finding.path} was taken from this build by another run.", hint="Run again.")

    def close(self) -> None:
        """Let go; what was verified stays for the next run."""
        self._marker.remove()
