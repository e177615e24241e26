"""Where things are in a directory store."""

from __future__ import annotations

import os
from dataclasses import dataclass

CURRENT = "current"
RELEASES = "releases"
STAGING = "staging"

EXPECTED = "expected.json"
OWNER = "owner.json"
TREE = "tree"
PARTIAL = "partial"
SEALED = "sealed"
REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of a store under its root."""

    root: str

    @property
    def current(self) -> str:
        """The text file that names the active release."""
        return os.path.join(self.root, CURRENT)

    @property
    def releases(self) -> str:
        """The folder of published releases."""
        return os.path.join(self.root, RELEASES)

    @property
    def staging(self) -> str:
        """The folder of builds."""
        return os.path.join(self.root, STAGING)

    def release(self, release: str) -> str:
        """One published release."""
        return os.path.join(self.releases, release)

    def build(self, name: str) -> str:
        """One build: `RELEASE.NONCE`, with `tree/`, `partial/`, expected.json and owner.json."""
        return os.path.join(self.staging, name)
