"""Locked bytes from a Hub endpoint.

URLs and headers are huggingface_hub's; the bytes come through urllib3, because the client's own transport spends
5 ms of processor time on every file and cannot resume across processes (docs/performance.md).
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from provisioner.errors import (
    AccessDenied,
    NotFound,
    ProvisionError,
    Unavailable,
    Unusable,
    UsageError,
    VerificationFailed,
)
from provisioner.model import Commit, LockedFile, RelPath, RepoId
from provisioner.ports.source import RangesIgnored
from provisioner.transport.http import Http, origin, translated, without_secrets
from provisioner.transport.stream import HttpStream

if TYPE_CHECKING:
    import urllib3

DEFAULT_ENDPOINT = "https://huggingface.co"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_BUSY = {408, 425, 429, 500, 502, 503, 504}


def endpoint_of(chosen: str | None) -> str:
    """The endpoint that was chosen, or HF_ENDPOINT's, or the public Hub's; without a slash at the end.

    Raises UsageError for what is no URL.
    """
    endpoint = (chosen or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    try:
        scheme, host, _ = origin(endpoint)
    except ValueError:
        scheme, host = "", ""
    if scheme not in ("http", "https") or not host:
        raise UsageError(
            f"{without_secrets(endpoint)} is not the URL of a Hub.", hint="Check --endpoint and HF_ENDPOINT."
        )
    return endpoint


def without_telemetry() -> None:
    """Keep the client from asking the public Hub which coding agent calls it, whatever endpoint was chosen.

    It does so while it builds headers (huggingface_hub 1.33, utils/_detect_agent.py), waits 3 s where there is no
    internet, and writes to the home folder.
    """
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True


def token_to_send() -> str | bool:
    """The token as the client finds it, or False for none.

    HOME may be another user's folder, as in an image that was built for root: a file that cannot be read is no token.
    """
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return False
    try:
        return get_token() or False
    except OSError:
        return False


class HubSource:
    """A Hub endpoint. Safe to share between threads."""

    is_remote = True

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = endpoint_of(endpoint)
        self.name = without_secrets(self.endpoint)
        self._http = Http()
        self._lock = threading.Lock()
        self._headers: dict[str, str] | None = None
        self._roots: dict[tuple[str, str], str] = {}
        self._located: dict[tuple[str, str, str], str] = {}

    def has(self, file: LockedFile) -> bool:
        """Always worth asking."""
        return True

    @contextmanager
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[HttpStream]:
        """The bytes `start <= offset < stop`.

        Raises NotFound, AccessDenied, Unavailable, RangesIgnored, and VerificationFailed for another size.
        """
        whole = (start, stop) == (0, file.file.size)
        headers = {} if whole else {"Range": f"bytes={start}-{stop - 1}"}
        response = self._get(file.repo, file.commit, file.file.path, headers)
        stream = HttpStream(response, self.name, stop - start)
        try:
            _check_extent(response, file, start, stop)
            yield stream
        finally:
            stream.close()

    def read(self, repo: RepoId, commit: Commit, path: RelPath, limit: int) -> bytes:
        """A whole small file. Raises Unavailable when it is larger than `limit` bytes."""
        import urllib3

        response = self._get(repo, commit, path, {})
        try:
            data = response.read(limit + 1)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise translated(error, self.endpoint) from error
        finally:
            response.close()
        if len(data) > limit:
            raise Unavailable(f"{repo}: {path} is larger than the Hub's listing says.")
        return data

    def _get(self, repo: RepoId, commit: Commit, path: RelPath, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """GET, straight from where an earlier request was redirected to while that still works."""
        key = (repo, commit, path)
        if known := self._located.get(key):
            response, _ = self._http.get(known, {"Accept-Encoding": "identity"} | headers)
            if response.status < 400:
                return response
            response.drain_conn()  # a signed address has run out
            self._located.pop(key, None)
        url = self._url(repo, commit, path)
        response, final = self._http.get(url, self._base_headers() | headers)
        _raise_for_status(response, repo, path, self.name)
        if final != url and "Range" in headers:
            self._located[key] = final
        return response

    def _url(self, repo: RepoId, commit: Commit, path: RelPath) -> str:
        """As huggingface_hub makes it; once for each commit, since that takes 0.2 ms."""
        with self._lock:
            if (root := self._roots.get((repo, commit))) is None:
                from huggingface_hub import hf_hub_url

                url = hf_hub_url(str(repo), "x", revision=str(commit), endpoint=self.endpoint)
                root = self._roots[repo, commit] = url.removesuffix("x")
        return root + quote(path)

    def _base_headers(self) -> dict[str, str]:
        with self._lock:
            if self._headers is None:
                without_telemetry()
                from huggingface_hub.utils._headers import build_hf_headers

                from provisioner import __version__

                base = build_hf_headers(
                    token=token_to_send(), library_name="model-provisioner", library_version=__version__
                )
                # A compressed answer would be other bytes than the locked ones.
                self._headers = base | {"Accept-Encoding": "identity"}
            return self._headers


def _check_extent(response: urllib3.BaseHTTPResponse, file: LockedFile, start: int, stop: int) -> None:
    """Whether the answer is about the bytes that were asked for, before the first of them is taken."""
    size: int | None = None
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if not match or (int(match[1]), int(match[2])) != (start, stop - 1):
            raise RangesIgnored(f"{file.repo}: {file.file.path}: another range came than the one asked for.")
        size = None if match[3] == "*" else int(match[3])
    elif (start, stop) != (0, file.file.size):
        raise RangesIgnored(f"{file.repo}: {file.file.path}: the whole file came instead of a range.")
    elif (length := response.headers.get("content-length", "")).isdigit():
        size = int(length)
    if size is not None and size != file.file.size:
        raise VerificationFailed(
            f"{file.repo}: {file.file.path} has {size} bytes at the source, {file.file.size} in the lock."
        )


def _raise_for_status(response: urllib3.BaseHTTPResponse, repo: RepoId, path: RelPath, name: str) -> None:
    if response.status < 400:
        return
    code = response.headers.get("x-error-code", "")
    retry_after = _seconds(response.headers.get("retry-after"))
    status = response.status
    response.close()
    raise _failure(status, code, f"{repo}: {path}", str(repo), name, retry_after)


def _failure(status: int, code: str, what: str, repo: str, name: str, retry_after: float | None) -> ProvisionError:
    if code == "GatedRepo":
        return AccessDenied(
            f"{repo} is gated on {name}.",
            hint="Accept its terms on the model's page and set HF_TOKEN to a token of that account.",
        )
    if status in (404, 410) or code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound"):
        return NotFound(
            f"{name} does not have {what} at the locked commit.",
            hint="A private repository needs HF_TOKEN; otherwise run: provision lock update",
        )
    if status in (401, 403, 407):
        return AccessDenied(
            f"{name} refuses {what} ({status}).", hint="Set HF_TOKEN, or ask for access to the repository."
        )
    if status in _BUSY:
        return Unavailable(f"{name} answers {status} for {what}.", retry_after=retry_after)
    return Unusable(f"{name} answers {status} for {what}.", hint="Check HF_ENDPOINT and the proxy.")


def _seconds(value: str | None) -> float | None:
    """Retry-After as seconds; the form with a date is read too."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    from datetime import UTC, datetime

    when = when if when.tzinfo else when.replace(tzinfo=UTC)  # a zone of -0000 says none
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)
