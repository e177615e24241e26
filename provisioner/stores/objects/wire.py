"""The bytes of objects over HTTP; an SDK holds the credentials and signs.

boto3 spends milliseconds of processor time on every small object, so only the control calls go through the SDKs
(docs/adr/0006-object-transport.md).
"""

from __future__ import annotations

import base64
import hashlib
import logging
import random
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from provisioner.errors import ProvisionError, Unavailable
from provisioner.model import Digest
from provisioner.ports.source import RangesIgnored, Stream
from provisioner.stores.objects.bucket import UploadGone
from provisioner.stores.objects.failures import Unproved, Unsupported, failure
from provisioner.transport.http import Http
from provisioner.transport.stream import HttpStream

if TYPE_CHECKING:
    import urllib3

ATTEMPTS = 6
BASE_SECONDS = 0.3
CAP_SECONDS = 20.0
LONGEST_SECONDS = 300.0  # that a Retry-After may ask for
UNSIGNED = "UNSIGNED-PAYLOAD"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/")
_MD5 = re.compile(r"[0-9a-f]{32}")

Sign = Callable[[str, str, dict[str, str], str], Mapping[str, str]]  # method, URL, headers, payload's sha256 -> headers

log = logging.getLogger(__name__)


class Wire:
    """GET and PUT of one endpoint. Safe to share between threads.

    Attributes:
        checksums: send the checksums that S3 knows since 2022; else Content-MD5, which everything knows.
    """

    def __init__(self, http: Http, store: str, sign: Sign, checksums: bool = True) -> None:
        self._http, self._store, self._sign = http, store, sign
        self._checksums = checksums

    @contextmanager
    def read(self, url: str, what: str, start: int, stop: int) -> Iterator[Stream]:
        """The bytes `start <= offset < stop` of an object.

        Raises NotFound, AccessDenied, Unavailable, RangesIgnored.
        """
        if start == stop:
            yield _Nothing()
            return
        asked = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        response = self._http.request("GET", url, {**self._sign("GET", url, {}, UNSIGNED), **asked})
        if response.status >= 400:
            raise self._failure(response, what)
        stream = HttpStream(response, url, stop - start)
        try:
            if not _is_range(response, start, stop):
                raise RangesIgnored(f"{self._store}: {what}: another range came than the one asked for.")
            yield stream
        finally:
            stream.close()

    def write(
        self,
        url: str,
        what: str,
        content: bytes | memoryview,
        digest: Digest,
        headers: Mapping[str, str],
        only_new: bool = False,
    ) -> bool:
        """PUT a whole object; with `only_new` False when there is one already, where the store knows conditions.

        The sha256 that we know anyway is the signature's payload hash and the store's checksum.
        """
        if only_new:
            with suppress(Unsupported):  # a store without conditions: two writers write the same
                return self._write(url, what, content, digest, {**headers, "If-None-Match": "*"}) != 412
        return self._write(url, what, content, digest, headers) != 412

    def _write(
        self, url: str, what: str, content: bytes | memoryview, digest: Digest, headers: Mapping[str, str]
    ) -> int:
        """The status, which is 200 or 412."""
        own = self._own_checksum("sha256", bytes.fromhex(digest), content)
        response = self._send(url, what, content, {**headers, **own}, digest)
        if response.status == 200:
            self._prove(response, what, content, own)
        return response.status

    def write_part(self, url: str, what: str, content: memoryview) -> tuple[str, str]:
        """PUT a part; its ETag without quotes and its CRC32 in base64, "" where none was sent."""
        own = self._own_checksum("crc32", zlib.crc32(content).to_bytes(4, "big"), content)
        response = self._send(url, what, content, own, UNSIGNED)
        self._prove(response, what, content, own)
        return response.headers.get("etag", "").strip('"'), own.get("x-amz-checksum-crc32", "")

    def _own_checksum(self, name: str, value: bytes, content: bytes | memoryview) -> dict[str, str]:
        if self._checksums:
            return {f"x-amz-checksum-{name}": base64.b64encode(value).decode()}
        return {"Content-MD5": base64.b64encode(_md5(content).digest()).decode()}

    def _prove(
        self, response: urllib3.BaseHTTPResponse, what: str, content: bytes | memoryview, own: Mapping[str, str]
    ) -> None:
        """The store has the bytes we sent: it repeats our checksum, or refuses a wrong MD5, or names the right one.

        An ETag alone that is no MD5 says nothing, one that is another MD5 says that something else was stored.
        """
        name, value = next(iter(own.items()))
        etag = response.headers.get("etag", "").strip('"')
        if name == "Content-MD5":
            right = not _MD5.fullmatch(etag) or _sealed(response) or bytes.fromhex(etag) == base64.b64decode(value)
            hint = "Something on the way to it changes what is written."
        else:
            returned = response.headers.get(name)
            right = returned == value if returned else etag == _md5(content).hexdigest()
            hint = "A store that knows no checksums wants AWS_REQUEST_CHECKSUM_CALCULATION=when_required."
        if not right:
            raise Unproved(f"{self._store} does not say that it has the bytes that were sent for {what}.", hint=hint)

    def _send(
        self, url: str, what: str, content: bytes | memoryview, headers: Mapping[str, str], payload: str
    ) -> urllib3.BaseHTTPResponse:
        """PUT with patience; the content is in memory, so it can be sent again."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._put(url, what, content, headers, payload)
            except ProvisionError as error:
                if not isinstance(error, Unavailable) or not error.retryable or attempt == ATTEMPTS:
                    raise
                if isinstance(error, UploadGone):  # the whole upload may be tried again, this part may not
                    raise
                delay = random.uniform(0.5, 1.0) * min(CAP_SECONDS, BASE_SECONDS * 2**attempt)
                delay = max(delay, min(error.retry_after or 0.0, LONGEST_SECONDS))
                log.log(logging.WARNING if attempt > 2 else logging.INFO, "%s Again in %.1f s.", error, delay)
                time.sleep(delay)
        raise AssertionError("unreachable")

    def _put(
        self, url: str, what: str, content: bytes | memoryview, headers: Mapping[str, str], payload: str
    ) -> urllib3.BaseHTTPResponse:
        signed = self._sign("PUT", url, dict(headers), payload)
        response = self._http.request("PUT", url, {**signed, "Content-Length": str(len(content))}, content)
        if response.status == 200 or (response.status == 412 and "If-None-Match" in headers):
            response.drain_conn()
            return response
        raise self._failure(response, what)

    def _failure(self, response: urllib3.BaseHTTPResponse, what: str) -> ProvisionError:
        code = _code(response)
        date, after = response.headers.get("date", ""), response.headers.get("retry-after", "")
        seconds = float(after) if after.isascii() and after.isdigit() else None
        return failure(response.status, code, what, self._store, seconds, date)


def _is_range(response: urllib3.BaseHTTPResponse, start: int, stop: int) -> bool:
    """Whether the answer holds just these bytes; some gateways send a whole object as 200."""
    if response.status == 200:
        return start == 0 and response.headers.get("content-length") == str(stop)
    match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    return response.status == 206 and match is not None and (int(match[1]), int(match[2])) == (start, stop - 1)


def _code(response: urllib3.BaseHTTPResponse) -> str:
    """The error code in an answer, "" when there is none."""
    try:
        body = response.read(65536)
        response.drain_conn()
        return ElementTree.fromstring(body).findtext("Code") or ""
    except Exception:
        return ""


def _sealed(response: urllib3.BaseHTTPResponse) -> bool:
    """Encrypted with a key of its own, so that the ETag looks like an MD5 and is none."""
    with_kms = response.headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return with_kms or "x-amz-server-side-encryption-customer-algorithm" in response.headers


def _md5(content: bytes | memoryview) -> hashlib._Hash:
    return hashlib.md5(content, usedforsecurity=False)


class _Nothing:
    def readinto(self, _buffer: memoryview, /) -> int:
        return 0
