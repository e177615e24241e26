"""The environment of this process before any library is imported: offline, its release, its threads, its scratch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import MutableMapping

from provisioner.emit.environment import environment
from provisioner.model import Lock
from provisioner.serve import cpus
from provisioner.serve.settings import Settings

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
_WRITTEN = {"HF_HOME": "hf", "HF_MODULES_CACHE": "modules"}


def bound(variables: MutableMapping[str, str], settings: Settings) -> None:
    """Bound the threads of libraries that would make one for each core of the node.

    Before numpy is imported: its linear algebra makes them at once, and reads no variable later.
    """
    threads = max(settings.embedder.threads or 0, settings.reranker.threads or 0) or cpus.threads()
    for name in _THREADS:
        variables.setdefault(name, str(threads))
    # Tokenizers warn at the first fork otherwise, and RAYON_NUM_THREADS bounds them.
    variables.setdefault("TOKENIZERS_PARALLELISM", "true")


def prepare(variables: MutableMapping[str, str], lock: Lock, folder: str) -> None:
    """Change the variables in place: whatever they said, no library asks a network or looks at another release.

    Folders that a library insists on writing to go below TMPDIR, unless somebody chose them.
    """
    variables.update(environment(lock, folder, None))
    scratch = os.path.join(tempfile.gettempdir(), f"provision-serve-{os.getuid()}")
    for name, below in _WRITTEN.items():
        variables.setdefault(name, os.path.join(scratch, below))
