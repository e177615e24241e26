"""An Azure file share, over REST: everything a build does there, tried once."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from provisioner.errors import NotFound, ProvisionError, StoreError
from provisioner.report.health import Answer, fine, not_tried, warning
from provisioner.stores.azurefiles.address import Address, parse_address
from provisioner.stores.azurefiles.client import Retries, connect
from provisioner.stores.azurefiles.errors import Exists, Garbled, translated
from provisioner.stores.azurefiles.leftovers import life_of
from provisioner.stores.azurefiles.login import Login, login
from provisioner.stores.azurefiles.share import SHA256, Share
from provisioner.stores.azurefiles.store import AzureFilesStore
from provisioner.stores.azurefiles.walking import delete_all, join
from provisioner.stores.directory.places import REMOVED, Places
from provisioner.stores.examine import network
from provisioner.stores.examine.check import CONTENT, DOCTOR, Check, scratch_name, shown
from provisioner.stores.examine.holdings import held, leftovers
from provisioner.stores.examine.network import Server
from provisioner.stores.examine.volume import LITTLE_BYTES
from provisioner.stores.owner import Life

if TYPE_CHECKING:
    from azure.storage.fileshare import ShareClient

SCOPE = "https://storage.azure.com/.default"
IMPATIENT = Retries(total=2, cap=2.0, longest=5.0)
_DIGEST = hashlib.sha256(CONTENT).hexdigest()
_WRONG = hashlib.md5(CONTENT[::-1], usedforsecurity=False).digest()


class AzureFilesExamination:
    """Checks of one folder of a share."""

    def __init__(self, address: str) -> None:
        self.target, self._text = shown(address), address
        self._name = scratch_name()
        self._address: Address | None = None
        self._login: Login | None = None
        self._connected: tuple[ShareClient, Share] | None = None
        self._made: list[str] = []

    def checks(self) -> tuple[Check, ...]:
        """In the order to try them in."""
        there, written = ("share",), ("write",)
        return (
            Check("endpoint", self._endpoint),
            *network.checks(self._server),
            Check("credentials", self._credentials, ("tls",)),
            Check("share", self._open, ("credentials",)),
            Check("quota", self._quota, there),
            Check("releases", self._releases, there),
            Check("write", self._write, there),
            Check("read", self._read, written),
            Check("range read", self._range, written),
            Check("list", self._list, written),
            Check("metadata", self._metadata, written),
            Check("checksums", self._checksums, written),
            Check("replace by rename", self._replace, written),
            Check("folder rename", self._folder_rename, written),
            Check("copy", self._copy, written),
            Check("delete", self._delete, written),
            Check("leftovers", self._leftovers, there),
        )

    def clean(self) -> None:
        """Delete the scratch folder, and the folders above that were not there before. Raises StoreError."""
        if self._connected is None:
            return
        delete_all(self._share, self._in())
        for folder in reversed(self._made):
            with suppress(ProvisionError):  # somebody else has put something there meanwhile
                self._share.delete_folder(folder)
        if self._share.is_folder(self._in()):
            place = self._share.place(self._in())
            raise StoreError(f"{place} could not be deleted.", hint="Delete it, or find out who holds it open.")

    def _server(self) -> Server:
        assert self._login
        return Server(self._login.endpoint)

    @property
    def _share(self) -> Share:
        assert self._connected
        return self._connected[1]

    @property
    def _places(self) -> Places:
        assert self._address
        return Places(self._address.path)

    def _in(self, name: str = "") -> str:
        return join(self._places.build(self._name), name)

    def _endpoint(self) -> Answer:
        self._address = parse_address(self._text)
        self.target = str(self._address)
        self._login = login(self._address, os.environ)
        return fine(self._server().shown)

    def _credentials(self) -> Answer:
        assert self._login
        credential = self._login.credential
        if hasattr(credential, "get_token"):
            with translated(self.target):
                credential.get_token(SCOPE)
            return fine("signed in with azure-identity")
        kind = "a shared access signature" if isinstance(credential, str) else "an account key"
        return fine(f"{kind} from {self._login.source}")

    def _open(self) -> Answer:
        assert self._address and self._login
        client = connect(self._address, self._login, IMPATIENT)
        share = Share(client, f"azurefiles://{self._address.account}/{self._address.share}")
        there = share.is_folder(self._places.root)
        self._connected = client, share
        if there:
            return fine(self.target)
        return warning(f"the share is there, {self.target} not yet", "A mirror makes it; check the path.")

    def _quota(self) -> Answer:
        assert self._connected
        try:
            with translated(self._share.name):
                quota = int(self._connected[0].get_share_properties().quota) * 2**30
                used = int(self._connected[0].get_share_stats())
        except ProvisionError:
            return not_tried("these credentials may not ask")
        detail = f"{used / 10**9:.1f} GB of {quota / 10**9:.1f} GB are used"
        if quota - used < LITTLE_BYTES:
            return warning(detail, "Raise the share's quota, or free space with: provision releases prune --keep 2")
        return fine(detail)

    def _releases(self) -> Answer:
        return held(AzureFilesStore(self._share, self._places.root))

    def _write(self) -> Answer:
        steps = self._in().split("/")
        for folder in ("/".join(steps[:depth]) for depth in range(1, len(steps) + 1)):
            if not self._share.is_folder(folder):
                self._share.make_folder(folder)
                self._made.append(folder)
        self._share.write(self._in("a"), CONTENT, {SHA256: _DIGEST})
        return fine(f"{len(CONTENT):,} bytes in {self._share.place(self._places.staging)}")

    def _read(self) -> Answer:
        _require(self._share.read_small(self._in("a")) == CONTENT, "What was written is not what is read.")
        return fine("what was written came back")

    def _range(self) -> Answer:
        found = self._share.read(self._in("a"), 5000, 6000)
        _require(found == CONTENT[5000:6000], "A range of a file is not what was written there.")
        return fine()

    def _list(self) -> Answer:
        found = {one.name: one.size for one in self._share.list(self._in())}
        _require(found == {"a": len(CONTENT)}, "A listing does not show what was just written.")
        return fine("shows at once what was written")

    def _metadata(self) -> Answer:
        if self._share.stat(self._in("a")).metadata.get(SHA256) == _DIGEST:
            return fine("kept: verify --mode recorded needs no download")
        return warning("the share drops metadata", "Use verify --mode full; --mode recorded has nothing to go by.")

    def _checksums(self) -> Answer:
        """Send a range with the MD5 of other bytes."""
        assert self._connected
        self._share.create(self._in("wrong"), len(CONTENT))
        client: Any = self._connected[0].get_file_client(self._in("wrong"))
        try:
            with translated(self._share.place(self._in("wrong"))):
                client.upload_range(CONTENT, 0, len(CONTENT), content_md5=_WRONG, retry_total=0)
        except Garbled:
            return fine("a range with a wrong MD5 is refused")
        return warning(
            "a range with a wrong MD5 was accepted: the service does not compare it",
            "Run provision verify --mode full after each mirror.",
        )

    def _replace(self) -> Answer:
        for name in ("new", "old"):
            self._share.write(self._in(name), name.encode())
        self._share.replace(self._in("new"), self._in("old"))
        _require(self._share.read_small(self._in("old")) == b"new", "Replacing a file by a rename does not work.")
        return fine("in one step")

    def _folder_rename(self) -> Answer:
        first, second, renamed = self._in("first"), self._in("second"), self._in("renamed")
        for folder in (first, second):
            self._share.make_folder(folder)
            self._share.write(join(folder, "b"), folder.encode())
        self._share.move_folder(first, renamed)
        moved = self._share.read_small(join(renamed, "b"))
        _require(moved == first.encode(), "A renamed folder lost what was in it.")
        try:
            self._share.move_folder(renamed, second)
        except Exists:
            return fine("in one step; onto another folder it is refused")
        return warning(
            "a folder can be renamed onto another one", "Let one mirror write at a time: two could mix a release."
        )

    def _copy(self) -> Answer:
        self._share.copy(self._in("a"), self._in("copied"), {SHA256: _DIGEST})
        copied = self._share.read_small(self._in("copied"))
        _require(copied == CONTENT, "A copy made inside the service has other content.")
        return fine("equal files of two releases are not sent twice")

    def _delete(self) -> Answer:
        self._share.delete(self._in("a"))
        try:
            self._share.stat(self._in("a"))
        except NotFound:
            return fine()
        raise StoreError("A deleted file is still there.", hint="Close it where the share is mounted.")

    def _leftovers(self) -> Answer:
        try:
            found = self._share.list(self._places.staging)
        except NotFound:
            return fine("none")
        names = [one.name for one in found if one.size is None and one.name != self._name]
        doctors = sum(name.startswith(DOCTOR) for name in names)
        removed = sum(name.startswith(REMOVED) for name in names)
        builds = [name for name in names if not name.startswith((DOCTOR, REMOVED))]
        alive = sum(life_of(self._share, self._places.build(name)) is Life.ALIVE for name in builds)
        kinds = {"dead build": len(builds) - alive, "half deleted folder": removed, "interrupted doctor": doctors}
        return leftovers(alive, kinds, self.target)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise StoreError(message, hint="Something between here and the share changes what passes.")
