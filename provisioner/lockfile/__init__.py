"""`models.lock` as text: strict reading, canonical writing, differences. No I/O."""

from provisioner.lockfile.diff import FileChange, ModelChange, diff
from provisioner.lockfile.read import parse
from provisioner.lockfile.write import dump

__all__ = ["FileChange", "ModelChange", "diff", "dump", "parse"]
