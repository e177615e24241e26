"""Where things are in a bucket."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.record import LOCK_NAME, RECORD_NAME


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a store under its prefix, which is "" or ends with a slash."""

    prefix: str

    @property
    def current(self) -> str:
        """The object that names the active release."""
        return f"{self.prefix}current"

    @property
    def releases(self) -> str:
        """Before every release."""
        return f"{self.prefix}releases/"

    @property
    def staging(self) -> str:
        """Before every marker: `RELEASE.NONCE`, there as long as a process builds the release."""
        return f"{self.prefix}staging/"

    def release(self, release: str) -> str:
        """Before every object of a release."""
        return f"{self.releases}{release}/"

    def file(self, release: str, path: str) -> str:
        """One file of a release."""
        return f"{self.releases}{release}/{path}"

    def record(self, release: str) -> str:
        """The object that makes a release exist."""
        return self.file(release, RECORD_NAME)

    def lock(self, release: str) -> str:
        """The lock that a release was built from."""
        return self.file(release, LOCK_NAME)

    def marker(self, name: str) -> str:
        """The sign of life of one build."""
        return f"{self.staging}{name}"

    def place(self, key: str) -> str:
        """A key as an address within the store."""
        return key.removeprefix(self.prefix)
