"""Stores in the stand-in for Azure Files, to test against."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.ports.store import Modes
from provisioner.stores.azurefiles import AzureFilesStore, open_azure_files
from provisioner.stores.azurefiles.client import Retries
from tests.support.azure_files import AzureFiles

SHARE = "models"
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
