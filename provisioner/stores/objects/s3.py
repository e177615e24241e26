"""A bucket through boto3, which knows every way to credentials, endpoints and regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from provisioner.errors import NotFound, Unusable
from provisioner.model import Digest
from provisioner.ports.source import Stream
from provisioner.stores.objects.bucket import SHA256, Object, Part, Stat, Upload, UploadGone
from provisioner.stores.objects.failures import failure
from provisioner.stores.objects.s3_client import Connection, encryption, translated
from provisioner.stores.objects.wire import Wire
from provisioner.transport.http import Http

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

DELETED_AT_ONCE = 1000


class S3Bucket:
    """Control calls by boto3, bytes over our own connections signed by it. Safe to share between threads."""

    def __init__(self, bucket: str) -> None:
        self.name = f"s3://{bucket}"
        self._bucket = bucket
        self._connection = Connection(bucket)
        self._client = self._connection.client
        self._place = f"{self.name} at {self._connection.endpoint}"
        self._encryption: Any = encryption()
        http = Http("AWS_CA_BUNDLE")
        self._wire = Wire(http, self._place, self._connection.sign, self._connection.checksums)

    def _url(self, key: str, **query: str | int) -> str:
        return self._connection.root + quote(key, safe="/~") + (f"?{urlencode(query)}" if query else "")

    def _pages(self, operation: Any, **arguments: Any) -> Iterator[Any]:
        with translated(self._place, self._place):
            yield from self._client.get_paginator(operation).paginate(Bucket=self._bucket, **arguments)

    def list(self, prefix: str) -> Iterator[Object]:
        """Every object whose key begins so."""
        for page in self._pages("list_objects_v2", Prefix=prefix):
            for one in page.get("Contents", ()):
                yield Object(one["Key"], *self._facts(one, "Size"))

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The next step of every key that begins so and goes on after another slash."""
        pages = self._pages("list_objects_v2", Prefix=prefix, Delimiter="/")
        found = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
        return tuple(name.removeprefix(prefix).rstrip("/") for name in found)

    def stat(self, key: str) -> Stat:
        """One object. Raises NotFound."""
        with translated(self._place, key):
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        size, modified = self._facts(found, "ContentLength")
        return Stat(size, found["Metadata"].get(SHA256, ""), modified)

    def _facts(self, answer: Any, size: str) -> tuple[int, float]:
        """Size and time, on which decisions rest. Raises Unusable."""
        try:
            return answer[size], answer["LastModified"].timestamp()
        except KeyError as error:
            raise Unusable(f"{self._place} answers without {error}.", hint="Is there a proxy in between?") from None

    def read(self, key: str, start: int, stop: int) -> AbstractContextManager[Stream]:
        """The bytes `start <= offset < stop` of an object."""
        return self._wire.read(self._url(key), key, start, stop)

    def write(self, key: str, content: bytes | memoryview, digest: Digest, only_new: bool = False) -> bool:
        """Write a whole object of known digest; with `only_new` False when there is one of that name already."""
        headers = {f"x-amz-meta-{SHA256}": str(digest), **self._encryption_headers()}
        return self._wire.write(self._url(key), key, content, digest, headers, only_new)

    def _encryption_headers(self) -> dict[str, str]:
        names = {
            "ServerSideEncryption": "x-amz-server-side-encryption",
            "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
        }
        return {names[name]: value for name, value in self._encryption.items()}

    def copy(self, source: str, target: str, size: int, digest: Digest) -> None:
        """Copy inside the store, in parts where it is large, and record the digest."""
        extra = {"MetadataDirective": "REPLACE", "Metadata": {SHA256: str(digest)}, **self._encryption}
        with translated(self._place, source):
            self._client.copy({"Bucket": self._bucket, "Key": source}, self._bucket, target, ExtraArgs=extra)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, there or not."""
        left = iter(keys)
        while batch := list(islice(left, DELETED_AT_ONCE)):
            for key in batch:
                if not key.isprintable():  # XML cannot hold a control character that a stranger put into a key
                    with translated(self._place, key):
                        self._client.delete_object(Bucket=self._bucket, Key=key)
            if plain := [key for key in batch if key.isprintable()]:
                self._delete_together(plain)

    def _delete_together(self, keys: Sequence[str]) -> None:
        with translated(self._place, self._place):
            objects: Any = [{"Key": key} for key in keys]
            answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        for error in answer.get("Errors", ()):
            code = error.get("Code", "")
            raise failure(403 if code == "AccessDenied" else 500, code, error.get("Key", ""), self._place)

    def begin(self, key: str, digest: Digest) -> str:
        """Begin an upload in parts; its id."""
        checksum: Any = {"ChecksumAlgorithm": "CRC32"} if self._connection.checksums else {}
        with translated(self._place, key):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, Metadata={SHA256: str(digest)}, **checksum, **self._encryption
            )
        return answer["UploadId"]

    def write_part(self, key: str, upload: str, number: int, content: memoryview) -> Part:
        """Write a part, counted from 1."""
        url = self._url(key, partNumber=number, uploadId=upload)
        etag, checksum = self._wire.write_part(url, key, content)
        return Part(number, len(content), etag, checksum)

    def parts(self, key: str, upload: str) -> Iterator[Part]:
        """What an upload holds so far."""
        for page in self._pages("list_parts", Key=key, UploadId=upload):
            for one in page.get("Parts", ()):
                etag, checksum = one["ETag"].strip('"'), one.get("ChecksumCRC32", "")
                yield Part(one["PartNumber"], one["Size"], etag, checksum)

    def finish(self, key: str, upload: str, parts: tuple[Part, ...]) -> None:
        """Make an object of all parts, in order."""
        named = [_completed(part, self._connection.checksums) for part in parts]
        with translated(self._place, key):
            self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": named}
            )

    def abandon(self, key: str, upload: str) -> None:
        """Delete an upload and its parts, there or not."""
        with suppress(NotFound, UploadGone), translated(self._place, key):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Every upload that nobody has completed, of the keys that begin so."""
        for page in self._pages("list_multipart_uploads", Prefix=prefix):
            for one in page.get("Uploads", ()):
                yield Upload(one["Key"], one["UploadId"], one["Initiated"].timestamp())


def _completed(part: Part, checksums: bool) -> CompletedPartTypeDef:
    found: CompletedPartTypeDef = {"PartNumber": part.number, "ETag": part.etag}
    return found | {"ChecksumCRC32": part.checksum} if checksums and part.checksum else found
