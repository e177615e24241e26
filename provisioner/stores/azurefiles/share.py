"""An Azure file share in the few steps that releases need; the only place that calls the SDK."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from provisioner.errors import NotFound, ProvisionError, StoreError
from provisioner.stores.azurefiles.errors import Exists, Garbled, NoShare, translated

if TYPE_CHECKING:
    from azure.storage.fileshare import ShareClient, ShareDirectoryClient, ShareFileClient

    Client = ShareFileClient | ShareDirectoryClient

RANGE = 4 * 2**20  # the most that one request may write
SHA256, WRITTEN, BUILD = "sha256", "written", "build"  # names of our metadata
_GARBLED_TRIES = 3
_COPY_STALL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Child:
    """One name in a folder.

    Attributes:
        size: bytes; None for a folder.
        modified: UTC, ISO 8601, to be compared; "" where the listing does not say.
    """

    name: str
    size: int | None
    modified: str


@dataclass(frozen=True, slots=True)
class Stat:
    """What the service says about a file without sending its bytes.

    Attributes:
        metadata: ours; names in lower case.
        age: seconds since it was last written, by the service's clock.
    """

    size: int
    metadata: Mapping[str, str]
    age: float


class Share:
    """One share. Paths are relative to it, without a slash at their ends. Safe to share between threads.

    Every method raises NotFound, AccessDenied, Unavailable, StoreError or StoreFull; what passes was retried before.
    """

    def __init__(self, client: ShareClient, name: str) -> None:
        self._client, self.name = client, name

    def place(self, path: str) -> str:
        """A path for people."""
        return f"{self.name}/{path}".rstrip("/")

    def _file(self, path: str) -> ShareFileClient:
        return self._client.get_file_client(path)

    def _folder(self, path: str) -> ShareDirectoryClient:
        return self._client.get_directory_client(path)

    def read(self, path: str, start: int, stop: int, patient: bool = True) -> bytes:
        """The bytes `start <= offset < stop`, all in memory; without patience the first failure is told."""
        options: dict[str, Any] = {} if patient else {"retry_total": 0}
        with translated(self.place(path)):
            data = self._file(path).download_file(offset=start, length=stop - start, **options).readall()
        if len(data) != stop - start:
            raise Garbled(f"{self.place(path)} gave {len(data)} bytes instead of {stop - start}.")
        return data

    def read_small(self, path: str, limit: int = 256 * 2**20) -> bytes:
        """A whole file. Raises StoreError when it is larger than anything we write."""
        with translated(self.place(path)):
            stream = self._file(path).download_file()
            if stream.size > limit:
                raise StoreError(f"{self.place(path)} is too large to be ours.")
            return stream.readall()

    def stat(self, path: str) -> Stat:
        """One file."""
        heard = _Heard()
        with translated(self.place(path)):
            found = self._file(path).get_file_properties(raw_response_hook=heard)
            metadata = {name.lower(): value for name, value in (found.metadata or {}).items()}
            return Stat(int(found.size), metadata, heard.age(found.last_modified))

    def folder_age(self, path: str) -> float:
        """Seconds since a folder was last changed, by the service's clock."""
        heard = _Heard()
        with translated(self.place(path)):
            found = self._folder(path).get_directory_properties(raw_response_hook=heard)
            return heard.age(found.last_modified)

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder. Raises NoShare when the share itself is not there."""
        try:
            with translated(self.place(path)):
                self._folder(path).get_directory_properties()
        except NoShare:
            raise
        except (NotFound, Exists):  # or a file has the name
            return False
        return True

    def list(self, path: str) -> list[Child]:
        """What is in a folder, all pages of it."""
        with translated(self.place(path)):
            found = self._folder(path).list_directories_and_files(include=["timestamps"])
            return [_child(one) for one in found]

    def create(self, path: str, size: int, metadata: dict[str, str] | None = None) -> bool:
        """A file of zeros, instead of whatever file is there.

        False when the SDK asked more than once: the first may be carried out later, and then empties the file again.
        """
        again: list[object] = []
        with translated(self.place(path)):
            self._file(path).create_file(size, metadata=metadata, retry_hook=lambda **seen: again.append(seen))
        return not again

    def write_range(self, path: str, start: int, data: bytes | memoryview) -> None:
        """Write up to `RANGE` bytes; the service compares their MD5.

        The SDK's own `validate_content` would have the bytes copied first.
        """
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        for attempt in range(_GARBLED_TRIES):
            try:
                with translated(self.place(path)):
                    # The SDK sends a memoryview as it is, and its type says bytes.
                    self._file(path).upload_range(data, start, len(data), content_md5=md5)  # type: ignore[arg-type]
                return
            except Garbled:
                if attempt == _GARBLED_TRIES - 1:
                    raise

    def write(self, path: str, content: bytes | memoryview, metadata: dict[str, str] | None = None) -> bool:
        """A whole file; not atomic. False when it may be emptied later, as by `create`."""
        certain = self.create(path, len(content), metadata)
        for start in range(0, len(content), RANGE):
            self.write_range(path, start, content[start : start + RANGE])
        return certain

    def mark(self, path: str, metadata: dict[str, str]) -> None:
        """Replace a file's metadata."""
        with translated(self.place(path)):
            self._file(path).set_file_metadata(metadata)

    def prefix(self, path: str) -> int:
        """How many bytes from a file's start were written without a gap, as far as the service knows."""
        with translated(self.place(path)), warnings.catch_warnings():
            # Its successor, list_ranges, asks for a version of the service that not every cloud has.
            warnings.simplefilter("ignore", DeprecationWarning)
            ranges = self._file(path).get_ranges()
        stop = 0
        for one in sorted(ranges, key=lambda one: one["start"]):
            if one["start"] > stop:
                break
            stop = max(stop, one["end"] + 1)
        return stop

    def make_folder(self, path: str) -> None:
        """One folder, there already or not. Raises NotFound when the one above is not there."""
        try:
            with translated(self.place(path)):
                self._folder(path).create_directory()
        except Exists:
            pass

    def delete(self, path: str) -> None:
        """Delete a file."""
        with translated(self.place(path)):
            self._file(path).delete_file()

    def delete_folder(self, path: str) -> None:
        """Delete an empty folder."""
        with translated(self.place(path)):
            self._folder(path).delete_directory()

    def move(self, source: str, target: str) -> None:
        """Rename a file to a name that is free. Raises Exists."""
        self._rename(self._file(source), self._file(target), source, lambda: self._file(source).rename_file(target))

    def replace(self, source: str, target: str) -> None:
        """Rename a file over another, in one step."""
        one = self._file(source)
        self._rename(one, self._file(target), target, lambda: one.rename_file(target, overwrite=True))

    def move_folder(self, source: str, target: str) -> None:
        """Rename a folder to a name that is free, in one step. Raises Exists."""
        one = self._folder(source)
        self._rename(one, self._folder(target), source, lambda: one.rename_directory(target))

    def _rename(self, source: Client, target: Client, place: str, rename: Callable[[], object]) -> None:
        """The answer to a rename may be lost; tried again by the SDK it fails, but the source is at its target."""
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        with translated(self.place(place)):
            try:
                rename()
            except (ResourceExistsError, ResourceNotFoundError):
                if source.exists() or not target.exists():
                    raise

    def copy(self, source: str, target: str, metadata: dict[str, str]) -> None:
        """Copy a file inside the service to a name that is free, however long that takes.

        Raises StoreError when the service will not; then nothing is left at the target, as far as that can be had.
        """
        try:
            status = self._copy(source, self._file(target), metadata)
            if status != "success":
                raise StoreError(f"{self.place(source)} could not be copied inside the service ({status}).")
        except ProvisionError:
            self._drop_copy(target)
            raise

    def _copy(self, source: str, target: ShareFileClient, metadata: dict[str, str]) -> str:
        with translated(self.place(source)):
            status = str(target.start_copy_from_url(self._file(source).url, metadata=metadata)["copy_status"])
            delay, progress, since = 0.05, "", time.monotonic()
            while status == "pending" and time.monotonic() - since < _COPY_STALL_SECONDS:
                time.sleep(delay)
                delay = min(delay * 1.5, 5.0)
                copying = target.get_file_properties().copy
                status = str(copying.status)
                if copying.progress != progress:
                    progress, since = str(copying.progress), time.monotonic()
        return status

    def _drop_copy(self, path: str) -> None:
        """What a copy goes on with can neither be written nor deleted."""
        with suppress(ProvisionError), translated(self.place(path)):
            copying = self._file(path).get_file_properties().copy
            if copying.status == "pending":
                self._file(path).abort_copy(str(copying.id))
            self._file(path).delete_file()

    def free(self) -> int | None:
        """Bytes up to the share's quota, or None where the credentials may not ask."""
        try:
            with translated(self.name):
                quota = self._client.get_share_properties().quota
                return max(int(quota) * 2**30 - self._client.get_share_stats(), 0)
        except NotFound:
            raise
        except ProvisionError:
            return None


class _Heard:
    """Listens for the service's clock."""

    now: float | None = None

    def __call__(self, response: Any) -> None:
        date = response.http_response.headers.get("Date")
        self.now = parsedate_to_datetime(date).timestamp() if date else time.time()

    def age(self, modified: datetime) -> float:
        """Seconds since then. The SDK's hook hears nothing once it tried again: then what is there counts as new."""
        since = modified.timestamp()
        return 0.0 if self.now is None else self.now - since


def _child(found: Any) -> Child:
    size = None if found.is_directory else int(found.size)
    return Child(str(found.name), size, str(found.get("last_write_time") or ""))
