"""A bucket, through boto3 or the minio client: everything a build does there, tried once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from provisioner.errors import AccessDenied, NotFound, StoreError
from provisioner.model import Digest
from provisioner.ports.source import RangesIgnored
from provisioner.report.health import Answer, fine, warning
from provisioner.stores.examine import network
from provisioner.stores.examine.check import CONTENT, DOCTOR, Check, scratch_name, shown
from provisioner.stores.examine.holdings import held, leftovers
from provisioner.stores.examine.network import Server
from provisioner.stores.objects.bucket import Bucket
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.reading import read_small
from provisioner.stores.objects.store import ObjectStore
from provisioner.stores.objects.wire import Sign
from provisioner.stores.owner import Life, life
from provisioner.stores.targets import open_store
from provisioner.transport.http import Http

DIGEST = Digest(hashlib.sha256(CONTENT).hexdigest())


@dataclass(frozen=True, slots=True)
class Bare:
    """Requests that no client would make for us.

    Attributes:
        root: the URL of the bucket with a slash at the end.
        wrong: the header that says something else than the bytes are.
    """

    http: Http
    root: str
    sign: Sign
    wrong: Mapping[str, str]


class ObjectExamination:
    """Checks of one prefix of a bucket.

    Args:
        server: where it is; raises MissingExtra, UsageError and what settings can be wrong about.
        kind: which credentials there are; raises AccessDenied for none.
        bare: how to make a request of our own.
    """

    def __init__(
        self, address: str, server: Callable[[], Server], kind: Callable[[], str], bare: Callable[[], Bare]
    ) -> None:
        self.target, self._address = shown(address), address
        self._find_server, self._kind, self._bare = server, kind, bare
        self._name = scratch_name()
        self._server: Server | None = None
        self._store: ObjectStore | None = None
        self._upload = ""

    def checks(self) -> tuple[Check, ...]:
        """In the order to try them in."""
        there, written = ("bucket",), ("write",)
        return (
            Check("endpoint", self._endpoint),
            *network.checks(lambda: self._server),
            Check("credentials", self._credentials, ("endpoint",)),
            Check("bucket", self._open, ("tls", "credentials")),
            Check("releases", self._releases, there),
            Check("write", self._write, there),
            Check("read", self._read, written),
            Check("range read", self._range, written),
            Check("list", self._list, written),
            Check("metadata", self._metadata, written),
            Check("conditional write", self._conditional, written),
            Check("copy", self._copy, written),
            Check("multipart", self._multipart, written),
            Check("checksums", self._checksums, written),
            Check("leftovers", self._leftovers, written),
            Check("delete", self._delete, written),
        )

    def clean(self) -> None:
        """Delete what was written. Raises AccessDenied, Unavailable, StoreError."""
        if self._store is None:
            return
        if self._upload:
            self._bucket.abandon(self._key("parts"), self._upload)
        found = [one.key for one in self._bucket.list(self._key(""))]
        if found:
            self._bucket.delete(found)

    @property
    def _bucket(self) -> Bucket:
        assert self._store is not None
        return self._store.bucket

    @property
    def _keys(self) -> Keys:
        assert self._store is not None
        return self._store.keys

    def _key(self, name: str) -> str:
        return f"{self._keys.staging}{self._name}/{name}"

    def _endpoint(self) -> Answer:
        self._server = self._find_server()
        return fine(self._server.shown)

    def _credentials(self) -> Answer:
        return fine(self._kind())

    def _open(self) -> Answer:
        store = open_store(self._address)
        assert isinstance(store, ObjectStore)
        next(iter(store.bucket.list(f"{store.keys.staging}{self._name}/")), None)
        self._store, self.target = store, store.name
        return fine(f"{store.bucket.name} is there and can be listed")

    def _releases(self) -> Answer:
        assert self._store is not None
        return held(self._store)

    def _write(self) -> Answer:
        self._bucket.write(self._key("a"), CONTENT, DIGEST)
        return fine(f"{len(CONTENT):,} bytes in {self._bucket.name}/{self._keys.staging}")

    def _read(self) -> Answer:
        _require(read_small(self._bucket, self._key("a")) == CONTENT, "What was written is not what is read.")
        return fine("what was written came back")

    def _range(self) -> Answer:
        found = bytearray()
        buffer = memoryview(bytearray(1000))
        try:
            with self._bucket.read(self._key("a"), 5000, 6000) as stream:
                while len(found) < 1000 and (count := stream.readinto(buffer[: 1000 - len(found)])):
                    found += buffer[:count]
        except RangesIgnored as error:
            return warning(str(error), "Large files are read over one connection and from their start.")
        _require(bytes(found) == CONTENT[5000:6000], "A range of an object is not what was written there.")
        return fine()

    def _list(self) -> Answer:
        found = {one.key: one.size for one in self._bucket.list(self._key(""))}
        _require(found == {self._key("a"): len(CONTENT)}, "A listing does not show what was just written.")
        return fine("shows at once what was written")

    def _metadata(self) -> Answer:
        if self._bucket.stat(self._key("a")).sha256 == DIGEST:
            return fine("kept: verify --mode recorded needs no download")
        return warning("the store drops user metadata", "Use verify --mode full; --mode recorded has nothing to go by.")

    def _conditional(self) -> Answer:
        """Two writers that both want to be first."""
        first = self._bucket.write(self._key("once"), CONTENT, DIGEST, only_new=True)
        _require(first, "A new object was refused because it is there already.")
        if self._bucket.write(self._key("once"), CONTENT, DIGEST, only_new=True):
            return warning(
                "If-None-Match is ignored: the second write replaced the first",
                "Let one mirror write a release at a time.",
            )
        return fine("If-None-Match: the second of two writes was refused")

    def _copy(self) -> Answer:
        self._bucket.copy(self._key("a"), self._key("copied"), len(CONTENT), DIGEST)
        copied = read_small(self._bucket, self._key("copied"))
        _require(copied == CONTENT, "A copy made inside the store has other content.")
        return fine("equal files of two releases are not sent twice")

    def _multipart(self) -> Answer:
        key = self._key("parts")
        self._upload = self._bucket.begin(key, DIGEST)
        part = self._bucket.write_part(key, self._upload, 1, memoryview(CONTENT))
        there = [one.number for one in self._bucket.parts(key, self._upload)] == [part.number]
        try:
            listed = self._upload in [one.id for one in self._bucket.uploads(key)]
        except AccessDenied:
            listed = False
        self._bucket.abandon(key, self._upload)
        upload, self._upload = self._upload, ""
        _require(
            upload not in [one.id for one in self._bucket.uploads(key)] if listed else True, "An abort is ignored."
        )
        if not (there and listed):
            return warning(
                "works, but unfinished uploads cannot be listed",
                "Allow s3:ListBucketMultipartUploads and s3:ListMultipartUploadParts: without, nothing is resumed.",
            )
        return fine("begun, one part sent and listed, aborted")

    def _checksums(self) -> Answer:
        """Send bytes with the checksum of others."""
        bare = self._bare()
        url = bare.root + quote(self._key("wrong"))
        headers = bare.sign("PUT", url, dict(bare.wrong), DIGEST)
        response = bare.http.request("PUT", url, {**headers, "Content-Length": str(len(CONTENT))}, CONTENT)
        response.drain_conn()
        name = next(iter(bare.wrong))
        if response.status == 400:
            return fine(f"a wrong {name} is refused")
        if response.status == 200:
            return warning(
                f"a wrong {name} was accepted: the store does not compare it",
                "Run provision verify --mode full after each mirror.",
            )
        return warning(f"a wrong {name} is answered with {response.status}", "Look at the store's log.")

    def _leftovers(self) -> Answer:
        bucket, keys = self._bucket, self._keys
        now = bucket.stat(self._key("a")).modified
        markers = [one for one in bucket.list(keys.staging) if DOCTOR not in one.key]
        alive = sum(life(self._content(one.key), now - one.modified) is Life.ALIVE for one in markers)
        assert self._store is not None
        unfinished = len(set(bucket.folders(keys.releases)) - set(self._store.releases()))
        names = {
            one.key.removeprefix(keys.staging).partition("/")[0] for one in bucket.list(f"{keys.staging}{DOCTOR}.")
        }
        kinds = {
            "dead build": len(markers) - alive,
            "interrupted doctor": len(names - {self._name}),
            "unfinished release": max(unfinished - alive, 0),
            "unfinished upload": 0,
        }
        if not alive:
            with suppress(AccessDenied):  # the probe named multipart has said so
                kinds["unfinished upload"] = sum(1 for _ in bucket.uploads(keys.releases))
        return leftovers(alive, kinds, self.target)

    def _content(self, key: str) -> bytes | None:
        with suppress(NotFound):
            return read_small(self._bucket, key)
        return None

    def _delete(self) -> Answer:
        self._bucket.delete([self._key("a")])
        try:
            self._bucket.stat(self._key("a"))
        except NotFound:
            return fine()
        raise StoreError("A deleted object is still there.", hint="Is the bucket locked (object lock, retention)?")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise StoreError(message, hint="Something between here and the store changes what passes.")
