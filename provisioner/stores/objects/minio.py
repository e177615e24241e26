"""A bucket through the minio client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from provisioner.errors import NotFound, ProvisionError, Unavailable
from provisioner.model import Digest
from provisioner.ports.source import Stream
from provisioner.stores.objects.bucket import SHA256, Object, Part, Stat, Upload, UploadGone
from provisioner.stores.objects.failures import failure
from provisioner.stores.objects.minio_client import Connection
from provisioner.stores.objects.wire import Wire

if TYPE_CHECKING:
    from minio.datatypes import ListMultipartUploadsResult

COPY_AT_ONCE = 2**28  # bytes; the server is silent while it copies, and a request has a minute to be answered
COPIERS = 4
MOST_PARTS = 10_000


class MinioBucket:
    """Control calls by the minio client, bytes over our own connections signed by it. Safe to share between threads.

    The client neither names the checksums of parts when it completes an upload nor lists them, so parts carry a
    Content-MD5, which every version of MinIO looks at.
    """

    def __init__(self, host: str, bucket: str) -> None:
        self._bucket = bucket
        self._connection = Connection(host, bucket)
        self._translated = self._connection.translated
        self._multipart = _Multipart(self._connection, bucket)
        self._wire = Wire(self._connection.http, self.name, self._connection.sign, checksums=False)

    @property
    def name(self) -> str:
        """The address, as it was given."""
        return self._connection.name

    def _url(self, key: str, **query: str | int) -> str:
        return self._connection.root + quote(key) + (f"?{urlencode(query, quote_via=quote)}" if query else "")

    def list(self, prefix: str) -> Iterator[Object]:
        """Every object whose key begins so."""
        with self._translated(self.name):
            for one in self._connection.client.list_objects(self._bucket, prefix, recursive=True):
                yield Object(one.object_name or "", one.size or 0, _seconds(one.last_modified))

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The next step of every key that begins so and goes on after another slash."""
        with self._translated(self.name):
            found = list(self._connection.client.list_objects(self._bucket, prefix))
        # An object whose key ends with a slash looks the same, but has a size.
        names = [one.object_name or "" for one in found if one.is_dir and one.size is None]
        return tuple(name.removeprefix(prefix).rstrip("/") for name in names)

    def stat(self, key: str) -> Stat:
        """One object. Raises NotFound."""
        with self._translated(key):
            found = self._connection.client.stat_object(self._bucket, key)
        metadata: Any = found.metadata  # the headers of the answer
        return Stat(found.size or 0, metadata.get(f"x-amz-meta-{SHA256}", ""), _seconds(found.last_modified))

    def read(self, key: str, start: int, stop: int) -> AbstractContextManager[Stream]:
        """The bytes `start <= offset < stop` of an object."""
        return self._wire.read(self._url(key), key, start, stop)

    def write(self, key: str, content: bytes | memoryview, digest: Digest, only_new: bool = False) -> bool:
        """Write a whole object of known digest; with `only_new` False when there is one of that name already."""
        return self._wire.write(self._url(key), key, content, digest, _metadata(digest), only_new)

    def copy(self, source: str, target: str, size: int, digest: Digest) -> None:
        """Copy inside the store, in parts where it is large, and record the digest."""
        if size > COPY_AT_ONCE:
            self._copy_parts(source, target, size, digest)
            return
        from minio.commonconfig import REPLACE, CopySource

        with self._translated(source):
            self._connection.client.copy_object(
                self._bucket,
                target,
                CopySource(self._bucket, source),
                metadata={**_metadata(digest)},
                metadata_directive=REPLACE,
            )

    def _copy_parts(self, source: str, target: str, size: int, digest: Digest) -> None:
        step = max(COPY_AT_ONCE, -(-size // MOST_PARTS))
        upload = self.begin(target, digest)

        def copied(start: int) -> Part:
            stop = min(start + step, size)
            with self._translated(source):
                etag = self._multipart.copy(source, target, upload, start // step + 1, start, stop)
            return Part(start // step + 1, stop - start, etag)

        try:
            with ThreadPoolExecutor(COPIERS, thread_name_prefix="copy") as pool:
                parts = tuple(pool.map(copied, range(0, size, step)))
            self.finish(target, upload, parts)
        except BaseException:
            with suppress(ProvisionError):
                self.abandon(target, upload)
            raise

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, there or not."""
        from minio.deleteobjects import DeleteObject

        with self._translated(self.name):
            for error in self._connection.client.remove_objects(self._bucket, map(DeleteObject, keys)):
                denied = error.code == "AccessDenied"
                raise failure(403 if denied else 500, error.code, error.name or "", self.name)

    def begin(self, key: str, digest: Digest) -> str:
        """Begin an upload in parts; its id."""
        with self._translated(key):
            return self._multipart.begin(key, _metadata(digest))

    def write_part(self, key: str, upload: str, number: int, content: memoryview) -> Part:
        """Write a part, counted from 1."""
        url = self._url(key, partNumber=number, uploadId=upload)
        etag, checksum = self._wire.write_part(url, key, content)
        return Part(number, len(content), etag, checksum)

    def parts(self, key: str, upload: str) -> Iterator[Part]:
        """What an upload holds so far."""
        with self._translated(key):
            yield from self._multipart.parts(key, upload)

    def finish(self, key: str, upload: str, parts: tuple[Part, ...]) -> None:
        """Make an object of all parts, in order."""
        with self._translated(key):
            done = self._multipart.finish(key, upload, parts)
        if not done:  # it may fail after it has sent its 200, and the client does not look
            raise Unavailable(f"{self.name} did not complete the upload of {key}.")

    def abandon(self, key: str, upload: str) -> None:
        """Delete an upload and its parts, there or not."""
        with suppress(NotFound, UploadGone), self._translated(key):
            self._multipart.abandon(key, upload)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Every upload that nobody has completed, of the keys that begin so."""
        with self._translated(self.name):
            yield from self._multipart.uploads(prefix)


class _Multipart:
    """The client's own calls for uploads in parts, which it offers under names with an underscore only.

    They are those of minio 7.2.20: 7.2.0 answers with other types, and a later minor version has to be looked at here.
    """

    def __init__(self, connection: Connection, bucket: str) -> None:
        self._connection, self._bucket = connection, bucket

    def begin(self, key: str, headers: dict[str, Any]) -> str:
        return self._connection.client._create_multipart_upload(self._bucket, key, headers)

    def copy(self, source: str, key: str, upload: str, number: int, start: int, stop: int) -> str:
        """A part of another object's bytes; its ETag."""
        from minio.commonconfig import CopySource

        headers: dict[str, Any] = {**CopySource(self._bucket, source).gen_copy_headers()}
        headers["x-amz-copy-source-range"] = f"bytes={start}-{stop - 1}"
        return self._connection.client._upload_part_copy(self._bucket, key, upload, number, headers)[0]

    def parts(self, key: str, upload: str) -> Iterator[Part]:
        marker: str | None = None
        while True:
            page = self._connection.client._list_parts(self._bucket, key, upload, part_number_marker=marker)
            for one in page.parts:
                yield Part(one.part_number, one.size or 0, one.etag)
            marker = page.next_part_number_marker
            if not page.is_truncated or not marker:
                return

    def finish(self, key: str, upload: str, parts: tuple[Part, ...]) -> bool:
        """Whether the answer names the object that was made."""
        from minio.datatypes import Part as Named

        named = [Named(part.number, part.etag) for part in parts]
        return bool(self._connection.client._complete_multipart_upload(self._bucket, key, upload, named).etag)

    def abandon(self, key: str, upload: str) -> None:
        self._connection.client._abort_multipart_upload(self._bucket, key, upload)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        key: str | None = None
        upload: str | None = None
        while True:
            page = self._connection.client._list_multipart_uploads(
                self._bucket, prefix=prefix, key_marker=key, upload_id_marker=upload
            )
            for one in page.uploads:
                yield Upload(one.object_name, one.upload_id or "", _seconds(one.initiated_time))
            key, upload = page.next_key_marker, _next_upload(page)
            if not page.is_truncated or not (key or upload):  # SeaweedFS names the upload alone
                return


def _next_upload(page: ListMultipartUploadsResult) -> str | None:
    """minio 7.2 keeps this marker under a name that was meant to be an attribute's."""
    return page.next_upload_id_marker or vars(page).get("self._next_upload_id_marker")


def _metadata(digest: Digest) -> dict[str, str]:
    return {f"x-amz-meta-{SHA256}": str(digest)}


def _seconds(when: datetime | None) -> float:
    return when.timestamp() if when else 0.0
