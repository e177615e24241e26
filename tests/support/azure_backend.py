"""Stores in the stand-in for Azure Files, and on a real share, to test against.

`PROVISION_TEST_AZURE_FILES="CONNECTION STRING;SHARE"` names the share; only a folder of its own is touched there.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.ports.store import Modes
from provisioner.stores.azurefiles import AzureFilesStore, open_azure_files
from provisioner.stores.azurefiles.client import Retries
from provisioner.stores.azurefiles.share import Share
from provisioner.stores.azurefiles.walking import delete_all, make_folders, walk
from tests.support.azure_files import AzureFiles

SHARE = "models"
REAL = os.environ.get("PROVISION_TEST_AZURE_FILES", "").strip().rstrip(";")
QUICK = Retries(total=3, base=0.01, cap=0.02, longest=0.05)


@dataclass
class AzureFilesBackend:
    """A store in a folder of a share; the share is made when it is not there."""

    server: AzureFiles
    root: str = "a team/store"
    retries: Retries = QUICK
    hard_links: bool = field(default=False, init=False)
    chmod: bool = field(default=False, init=False)
    in_place: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if not self.server.path(SHARE).exists():
            self.server.create_share(SHARE)

    @property
    def address(self) -> str:
        return f"azurefiles://{self.server.account}/{SHARE}/{self.root}".rstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        return {"AZURE_STORAGE_CONNECTION_STRING": self.server.connection_string}

    def open(self, modes: Modes | None = None) -> AzureFilesStore:
        return open_azure_files(self.address, modes, self.environment, self.retries)

    def path(self, release: str, path: str = "") -> Path:
        """Where a file of a release lies on the server's disk."""
        return self.server.path(SHARE, self.root) / "releases" / release / path

    @property
    def staging(self) -> Path:
        return self.server.path(SHARE, self.root) / "staging"

    def read(self, release: str, path: str) -> bytes:
        return self.path(release, path).read_bytes()

    def overwrite(self, release: str, path: str, content: bytes) -> None:
        target = self.path(release, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def delete(self, release: str, path: str) -> None:
        self.path(release, path).unlink()

    def unfinished(self) -> list[str]:
        return sorted(os.listdir(self.staging)) if self.staging.exists() else []


@dataclass
class RealAzureFilesBackend:
    """A store in a folder of a real share."""

    address: str
    environment: dict[str, str]
    hard_links: bool = field(default=False, init=False)
    chmod: bool = field(default=False, init=False)
    in_place: bool = field(default=False, init=False)

    def open(self, modes: Modes | None = None) -> AzureFilesStore:
        return open_azure_files(self.address, modes, self.environment)

    @property
    def share(self) -> Share:
        return self.open()._share

    @property
    def root(self) -> str:
        return self.address.split("/", 4)[4]

    def path(self, release: str, path: str) -> str:
        """A file of a release, as the share names it."""
        return f"{self.root}/releases/{release}/{path}"

    def read(self, release: str, path: str) -> bytes:
        return self.share.read_small(self.path(release, path))

    def overwrite(self, release: str, path: str, content: bytes) -> None:
        parts = self.path(release, path).split("/")[:-1]
        make_folders(self.share, ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)])
        self.share.write(self.path(release, path), content)

    def delete(self, release: str, path: str) -> None:
        self.share.delete(self.path(release, path))

    def unfinished(self) -> list[str]:
        share, staging = self.share, f"{self.root}/staging"
        return sorted(child.name for child in share.list(staging)) if share.is_folder(staging) else []


@contextmanager
def real_share(given: str = REAL) -> Iterator[RealAzureFilesBackend]:
    """An empty store; its folder is deleted afterwards."""
    connection, _, name = given.rpartition(";")
    account = dict(part.split("=", 1) for part in connection.split(";") if "=" in part)["AccountName"]
    folder = f"provisioner-test-{uuid.uuid4().hex}"
    variables = {"AZURE_STORAGE_CONNECTION_STRING": connection}
    backend = RealAzureFilesBackend(f"azurefiles://{account}/{name}/{folder}/a team/store", variables)
    try:
        yield backend
    finally:
        delete_all(backend.share, folder)
        assert not backend.share.is_folder(folder), walk(backend.share, folder)
