"""What emission has to know about a lock."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.errors import InvalidInput, NotFound, UsageError
from provisioner.layout import tree_of
from provisioner.model import Layout, Lock, Model

CONFIG_MAP_LIMIT = 1_048_576 - 8_192  # bytes of data that the API server takes, less the keys and a reserve


@dataclass(frozen=True, slots=True)
class Facts:
    """A lock and the release it describes.

    Attributes:
        text: the lock's text, byte for byte.
        digest: sha256 of the text.
        release: the name of the release.
        size: bytes of all files of the release.
        largest: bytes of its largest file.
    """

    lock: Lock
    text: str
    digest: str
    release: str
    size: int
    files: int
    largest: int

    @classmethod
    def of(cls, lock: Lock, text: bytes, digest: str) -> Facts:
        """Raises InvalidDocument when the lock describes no possible release."""
        tree = tree_of(lock)
        largest = max((entry.size for entry in tree.entries), default=0)
        return cls(lock, text.decode(), digest, tree.release_id, tree.size, len(tree.entries), largest)

    def require_small(self) -> None:
        """Raises InvalidInput when the lock does not fit a ConfigMap."""
        if (size := len(self.text.encode())) > CONFIG_MAP_LIMIT:
            raise InvalidInput(
                f"The lock has {size} bytes and a ConfigMap holds {CONFIG_MAP_LIMIT}.",
                hint="Split it, one lock and one volume for each deployment; or build it into an image and set "
                "kubernetes.job.lock_path to where it is there.",
            )

    def model(self, name: str | None, layout: Layout | None = None) -> Model:
        """The model called ORG/NAME or NAME, or the only one; with a layout only among those that have it.

        Raises NotFound, UsageError.
        """
        there = [model for model in self.lock.models if layout is None or layout in model.layouts]
        found = [m for m in there if name is None or name.lower() in (m.repo.lower(), m.repo.name.lower())]
        if len(found) == 1:
            return found[0]
        where = f" in the layout {layout}" if layout else ""
        if found:
            raise UsageError(
                f"The lock has several models{where}.", hint=f"Choose: --model {' | '.join(m.repo for m in found)}"
            )
        raise NotFound(
            f"The lock has no model{f' {name}' if name else ''}{where}.",
            hint=f"Lock it: provision lock add {name or 'ORG/NAME'}" + (f" --layout {layout}" if layout else ""),
        )
