"""Stores of the real weights that come as packages, one release for each layout that is asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from provisioner.demo.upstream import fill, models
from provisioner.lockfile import dump
from provisioner.model import Layout, Lock, Model
from provisioner.ops.documents import LockDocument
from provisioner.stores.directory import DirectoryStore
from tests.support.faults_process import provision
from tests.support.hub_fixture import store
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
        chosen = Lock(tuple(replace(model, layouts=(layout,)) for repo, model in self.models.items() if repo in repos))
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


def without(folder: Path, library: str) -> dict[str, str]:
    """Variables for a Python in which a library cannot be found, whether or not it is installed here."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{library!r}] = None\n")
    return {"PYTHONPATH": f"{folder}:{':'.join(path for path in sys.path if path)}"}


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return float(dot / (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5)
