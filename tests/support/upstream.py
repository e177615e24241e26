"""Stores of the real weights that come as packages, one release for each layout that is asked for."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from provisioner.demo.upstream import fill, models
from provisioner.lockfile import dump
from provisioner.model import Layout, Lock, Model
from provisioner.ops.documents import LockDocument
from provisioner.stores.directory import DirectoryStore
from tests.support.faults_process import environment, provision
from tests.support.hub_fixture import store
from tests.support.patience import PATIENCE
from tests.support.stores import DirectoryBackend, transfer

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
INT8 = "demo/all-MiniLM-L6-v2-int8"
SENTENCES = ["Every byte of this model matched the lock.", "Das Modell liegt auf einem Band, das niemand beschreibt."]


@dataclass(frozen=True)
class Weights:
    """The packages' models, published below `root`."""

    root: Path

    @cached_property
    def upstream(self) -> DirectoryStore:
        """A store with both models in the layout `hub`, as the demo's own Hub serves it."""
        fill(str(self.root / "upstream"))
        return store(self.root / "upstream")

    @property
    def models(self) -> dict[str, Model]:
        return {str(model.repo): model for model in models()}

    def release(self, layout: Layout, *repos: str) -> Release:
        """A release of some of the models in one layout, in a store that all layouts share."""
        chosen = Lock(
            tuple(dataclasses.replace(model, layouts=(layout,)) for repo, model in self.models.items() if repo in repos)
        )
        backend = DirectoryBackend(self.root / "store")
        report = transfer(LockDocument(chosen, dump(chosen)), backend.open(), self.upstream.as_source()).report
        return Release(backend.root, report.release)


@dataclass(frozen=True)
class Release:
    """One release of a directory store."""

    store: Path
    name: str

    @property
    def path(self) -> Path:
        return self.store / "releases" / self.name

    def environment(self, root: Path, scratch: Path) -> dict[str, str]:
        """What `provision env` prints for a consumer that sees the release at `root`."""
        where = ("--at", self.store, "--release", self.name, "--root", root, "--scratch", scratch)
        done = provision("env", *where, "--format", "json", cwd=self.store)
        assert done.code == 0, done.err
        variables: dict[str, str] = done.json
        return variables


Damage = Callable[[Path], None]


def damaged(good: Release, folder: Path, damage: Damage) -> tuple[Release, Path]:
    """A copy of a release of one model with something wrong in it, and where the model's snapshot is."""
    release = Release(folder / "store", good.name)
    shutil.copytree(good.path, release.path)
    (snapshot,) = (release.path / "hub").glob("models--*/snapshots/*")
    damage(snapshot)
    return release, snapshot


def replace(file: Path, data: bytes | bytearray) -> None:
    """Write a file anew, so that nothing is changed that has the same inode."""
    file.unlink()
    file.write_bytes(data)


def script(text: str, *arguments: object, **variables: str) -> Any:
    """Run a script in a process of its own, where libraries may warn; what its last line says, which is JSON."""
    command = [sys.executable, "-c", text, *map(str, arguments)]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def without(folder: Path, library: str) -> dict[str, str]:
    """Variables for a Python in which a library cannot be found, whether or not it is installed here."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{library!r}] = None\n")
    return {"PYTHONPATH": f"{folder}:{':'.join(path for path in sys.path if path)}"}


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return float(dot / (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5)


def similar(some: list[list[float]], others: list[list[float]]) -> bool:
    """Whether all vectors point the same way; false where one is not finite."""
    return all(cosine(one, other) > 0.99999 for one, other in zip(some, others, strict=True))
