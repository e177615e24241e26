"""A store in an Azure file share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from provisioner.errors import InvalidDocument, NotFound, Problem, ProvisionError, StoreError, VerificationFailed
from provisioner.model import Digest, Tree
from provisioner.ports.store import Advance, Capabilities, Held, Modes, Observed
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord, is_release_id, parse
from provisioner.report import Evidence, Finding, Kind
from provisioner.stores.azurefiles import check as checking
from provisioner.stores.azurefiles.address import parse_address
from provisioner.stores.azurefiles.build import AzureFilesBuild
from provisioner.stores.azurefiles.client import Retries, connect
from provisioner.stores.azurefiles.leftovers import Abandoned, Leftover, abandoned, sweep
from provisioner.stores.azurefiles.login import login
from provisioner.stores.azurefiles.names import require_names
from provisioner.stores.azurefiles.reading import MEMORY, opened
from provisioner.stores.azurefiles.share import RANGE, Share
from provisioner.stores.azurefiles.walking import delete_all, discard, each, join, make_folders, walk
from provisioner.stores.blocks.budget import Budget
from provisioner.stores.directory.files import unique
from provisioner.stores.directory.places import RELEASES, Places
from provisioner.stores.source import Index, StoreSource


def open_azure_files(
    address: str,
    modes: Modes | None = None,
    environment: Mapping[str, str] | None = None,
    retries: Retries | None = None,
) -> AzureFilesStore:
    """The store at `azurefiles://ACCOUNT/SHARE/PATH`; nothing is sent yet.

    The modes have no meaning there: whoever mounts the share says them. Raises UsageError, MissingExtra.
    """
    where = parse_address(address)
    client = connect(where, login(where, os.environ if environment is None else environment), retries or Retries())
    return AzureFilesStore(Share(client, f"azurefiles://{where.account}/{where.share}"), where.path)


class AzureFilesStore:
    """A folder of an Azure file share, over REST; the same files as a directory store on the mounted share."""

    def __init__(self, share: Share, root: str) -> None:
        self._share, self._places, self._budget = share, Places(root), Budget(MEMORY, RANGE)
        self._leftovers: dict[Digest, Leftover] = {}

    @property
    def name(self) -> str:
        """The address."""
        return self._share.place(self._places.root)

    def exists(self) -> bool:
        """Whether the folder of releases is there. Raises NotFound when the share is not."""
        return self._share.is_folder(self._places.releases)

    def releases(self) -> tuple[str, ...]:
        """Names of the published releases, newest first."""
        try:
            children = self._share.list(self._places.releases)
        except NotFound:
            return ()
        found = [(one.modified, one.name) for one in children if one.size is None and is_release_id(one.name)]
        return tuple(name for _, name in sorted(found, reverse=True))

    def record(self, release: str) -> ReleaseRecord:
        """The record of a release. Raises NotFound, InvalidDocument, StoreError."""
        name = self._share.place(self._in(release, RECORD_NAME))
        record = parse(self._read(release, RECORD_NAME), name)
        if record.release != release:
            raise InvalidDocument(name, (Problem("release", f"is the record of {record.release}"),))
        return record

    def lock_text(self, release: str) -> bytes:
        """The lock a release was built from. Raises NotFound, StoreError."""
        return self._read(release, LOCK_NAME)

    def _in(self, release: str, path: str) -> str:
        return join(self._places.release(release), path)

    def _read(self, release: str, name: str) -> bytes:
        hint = f"See: provision releases list --at {self.name}"
        if not is_release_id(release):
            raise NotFound(f"{release!r} is not the name of a release.", hint=hint)
        try:
            return self._share.read_small(self._in(release, name))
        except NotFound as error:
            if not self._share.is_folder(self._places.releases):
                raise self._absent() from None
            if self._share.is_folder(self._places.release(release)):
                raise error
            raise NotFound(f"{self.name} holds no release {release}.", hint=hint) from None

    def _absent(self) -> NotFound:
        return NotFound(f"There is no store at {self.name}.", hint="Check the account, the share and the path.")

    def active(self) -> str | None:
        """The active release's name, or None. Raises StoreError."""
        try:
            text = self._share.read_small(self._places.current, 4096).decode("ascii", "replace").strip()
        except NotFound:
            return None
        return text if is_release_id(text) else None

    def marks_active(self) -> bool:
        """Whether something says which release is active, readable or not."""
        try:
            self._share.stat(self._places.current)
        except NotFound:
            return False
        return True

    def activate(self, release: str) -> None:
        """Make a release the active one, atomically.

        Raises NotFound, StoreError, and VerificationFailed for one that is not complete by its record and sizes.
        """
        if damage := self._damage(self.record(release).tree):
            raise VerificationFailed(
                f"Release {release} is damaged: {damage[0].path}: {damage[0].kind}, {damage[0].detail}.",
                hint=f"See all of it with: provision verify --release {release} --at {self.name}",
            )
        temporary = unique(self._places.current)
        try:
            self._share.write(temporary, f"{release}\n".encode())
            self._share.replace(temporary, self._places.current)
        except BaseException:
            with suppress(ProvisionError):
                self._share.delete(temporary)
            raise

    def remove(self, release: str) -> int:
        """Delete a release: out of sight by one rename first. Bytes of it. Raises NotFound, StoreError."""
        try:
            size = self.record(release).tree.size
        except (NotFound, InvalidDocument):  # a damaged release can be deleted all the same
            if not (is_release_id(release) and self._share.is_folder(self._places.release(release))):
                raise
            size = 0
        self.create()
        discard(self._share, self._places, self._places.release(release))
        return size

    def sweep(self, release: str | None = None) -> tuple[str, ...]:
        """Delete what dead runs left behind, of one release or of all; the names of it. Raises StoreError."""
        return sweep(self._share, self._places, release)

    def observe(self, tree: Tree, anew: bool = False) -> Observed:
        """Everything a planner needs to know; nothing stays written, and nothing at all where no store is yet.

        With `anew` as if the release of the tree were not there, but for the bytes that it holds. Raises InvalidInput
        for a tree that cannot be in a share.
        """
        require_names(tree, self._places.root)
        damage = None if anew else self._damage(tree)
        if damage is not None:
            return Observed(not damage, damage, {}, {}, Capabilities(False, False, None))
        capabilities = Capabilities(hard_links=False, chmod=False, free=self._share.free())
        if not self._share.is_folder(self._places.staging):
            return Observed(False, (), self._held(tree, Abandoned()), {}, capabilities)
        self._probe()
        left = abandoned(self._share, self._places)
        self._leftovers = left.partial
        partial = {digest: leftover.bytes for digest, leftover in left.partial.items()}
        return Observed(False, (), self._held(tree, left), partial, capabilities)

    def _probe(self) -> None:
        """Try what a build needs: write, rename and delete. Raises what stands in the way."""
        folder = self._places.build(unique("probe"))
        renamed = unique(folder)
        self._share.make_folder(folder)
        try:
            self._share.write(join(folder, "a"), b"a")
            self._share.move_folder(folder, renamed)
            if self._share.read_small(join(renamed, "a")) != b"a":
                raise StoreError(f"{self.name}: renaming a folder does not work.")
        finally:
            delete_all(self._share, renamed)
            delete_all(self._share, folder)

    def _damage(self, tree: Tree) -> tuple[Finding, ...] | None:
        """What is wrong with the release of this tree by its record and sizes; None when it is not there."""
        folder = self._places.release(tree.release_id)
        try:
            record = self.record(tree.release_id)
        except (NotFound, InvalidDocument, StoreError) as error:
            if not self._share.is_folder(folder):
                return None
            return (Finding(Kind.RECORD, RECORD_NAME, str(error)),)
        if record.tree.digest != tree.digest:
            return (Finding(Kind.RECORD, RECORD_NAME, "is the record of another tree"),)
        found = walk(self._share, folder)
        return tuple(filter(None, (checking.inspect(found, entry) for entry in tree.entries)))

    def create(self) -> None:
        """Make the folders of a store, there already or not. Raises NotFound for the share, StoreError."""
        ours = [self._places.releases, self._places.staging]
        try:
            each(self._share.make_folder, ours)
        except NotFound:
            root = self._places.root.split("/")
            above = ["/".join(root[:depth]) for depth in range(1, len(root) + 1)] if self._places.root else []
            make_folders(self._share, [*above, *ours])

    def _held(self, tree: Tree, left: Abandoned) -> dict[Digest, Held]:
        """Unfinished builds first: their files can be had without a copy. Last the release itself, if it is damaged."""
        wanted = {entry.sha256 for entry in tree.entries}
        found = {digest: held for digest, held in left.files.items() if digest in wanted}
        for digest, place, size in self._released():
            if digest in wanted and digest not in found:
                found[digest] = Held(digest, size, place)
        with suppress(NotFound):
            there = walk(self._share, self._places.release(tree.release_id)).files
            for entry in tree.entries:
                if entry.sha256 not in found and entry.path in there:
                    place = f"{RELEASES}/{tree.release_id}/{entry.path}"
                    found[entry.sha256] = Held(entry.sha256, entry.size, place)
        return found

    def _released(self) -> Iterator[tuple[Digest, str, int]]:
        """Digest, place and size of every file of every release, the active release first."""
        active = self.active()
        releases = sorted(self.releases(), key=lambda name: name != active)
        for release, record in zip(releases, each(self._record_or_none, releases), strict=True):
            for entry in record.tree.entries if record else ():
                yield entry.sha256, f"{RELEASES}/{release}/{entry.path}", entry.size

    def _record_or_none(self, release: str) -> ReleaseRecord | None:
        with suppress(NotFound, InvalidDocument):
            return self.record(release)
        return None

    def build(self, tree: Tree, replaces: bool = False) -> AzureFilesBuild:
        """Begin, or take up again, the release of a tree that was just observed; `replaces` a damaged one."""
        require_names(tree, self._places.root)
        self.create()
        return AzureFilesBuild(self._share, self._places, tree, dict(self._leftovers), self._budget, replaces)

    def check(self, record: ReleaseRecord, evidence: Evidence, advance: Advance) -> Iterator[Finding]:
        """Compare a release with a record, each finding as soon as it is known."""
        folder = self._places.release(record.release)
        return checking.check(self._share, folder, record.tree, evidence, self._budget, advance)

    def as_source(self) -> StoreSource:
        """The store as somewhere to read locked bytes from. Raises NotFound when there is none."""
        if not self.exists():
            raise self._absent()
        return StoreSource(
            self.name,
            True,
            self._index,
            lambda path, start, stop: opened(self._share, path, start, stop, patient=False),
        )

    def _index(self) -> Index:
        index: Index = {}
        for digest, place, _ in self._released():
            index.setdefault(digest, join(self._places.root, place))
        return index
