"""The partial files of a build, each under a name that is used once.

A request whose answer never came may be carried out much later, after the SDK repeated it and others followed. So no
two contents are ever sent to one name: every try gets a new one, and what an earlier try or run wrote is renamed before
it is read back and continued. A late request finds nothing then.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from provisioner.errors import AccessDenied, NotFound, ProvisionError, StoreError
from provisioner.model import Digest, TreeEntry
from provisioner.stores.azurefiles.leftovers import Leftover
from provisioner.stores.azurefiles.share import WRITTEN, Share
from provisioner.stores.azurefiles.walking import join
from provisioner.stores.directory.files import unique


@dataclass(frozen=True, slots=True)
class Part:
    """A partial file that is ours alone.

    Attributes:
        bytes: from its start, that the service has; they count for nothing until the whole file was hashed.
    """

    path: str
    bytes: int = 0


@dataclass
class Parts:
    """Those in the folder of one build.

    Attributes:
        doubtful: paths in the tree of what a late request may have emptied; added to.
    """

    share: Share
    folder: str
    leftovers: dict[Digest, Leftover]
    doubtful: set[str]
    _begun: dict[Digest, Part] = field(default_factory=dict)

    def name(self, entry: TreeEntry) -> str:
        """A name that was never used."""
        return unique(join(self.folder, entry.sha256))

    def has(self, entry: TreeEntry) -> bool:
        """Whether an earlier try or run left something of an entry."""
        return entry.sha256 in self._begun or entry.sha256 in self.leftovers

    def begin(self, entry: TreeEntry) -> Part:
        """A file to go on with, under a new name, else an empty one."""
        begun, leftover = self._begun.pop(entry.sha256, Part("")), self.leftovers.pop(entry.sha256, None)
        with suppress(NotFound, AccessDenied, StoreError):  # then it comes anew
            if begun.bytes:
                return self._renamed(entry, begun)
            if leftover is not None and leftover.size == entry.size:
                return self._taken(entry, leftover)
        return self.create(entry)

    def create(self, entry: TreeEntry) -> Part:
        """An empty one."""
        part = Part(self.name(entry))
        if not self.share.create(part.path, entry.size):
            self.doubtful.add(entry.path)
        return part

    def _renamed(self, entry: TreeEntry, part: Part) -> Part:
        path = self.name(entry)
        self.share.move(part.path, path)
        return Part(path, part.bytes)

    def _taken(self, entry: TreeEntry, leftover: Leftover) -> Part:
        """By rename, else by copy: nobody else may hold what we verify. A copy, too, may begin again later."""
        part = Part(leftover.path, leftover.bytes)
        if not leftover.free:
            part = Part(self.name(entry), leftover.bytes)
            self.share.copy(leftover.path, part.path, {WRITTEN: str(leftover.bytes)})
        part = self._renamed(entry, part)
        if leftover.free:
            self.share.mark(part.path, {})
        return part

    def keep(self, entry: TreeEntry, part: Part) -> None:
        """Remember what the next try can go on with."""
        self._begun[entry.sha256] = part

    def keep_beginning(self, entry: TreeEntry, data: memoryview) -> None:
        """The first bytes of a file of which nothing was written yet; what fails is let be."""
        part = Part(self.name(entry), len(data))
        with suppress(ProvisionError):
            self.share.create(part.path, entry.size, {WRITTEN: str(part.bytes)})
            self.share.write_range(part.path, 0, data)
            self.keep(entry, part)

    def forget(self, entry: TreeEntry) -> None:
        """It is where it belongs."""
        self._begun.pop(entry.sha256, None)

    def drop(self, entry: TreeEntry, part: Part) -> None:
        """Wrong bytes, or none that are of use."""
        self.forget(entry)
        with suppress(ProvisionError):  # its name is not used again in any case
            self.share.delete(part.path)
