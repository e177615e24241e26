"""Proving that models load: offline, each in a process of its own, with the library of its layout."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

from provisioner.emit.environment import environment
from provisioner.layout import ROOTS
from provisioner.lockfile import parse as parse_lock
from provisioner.model import Layout, Lock, Model
from provisioner.report import Finding, Kind, VerifyReport
from provisioner.rules.loaders import Library, library_of

LOAD_SECONDS = 600.0  # for one model; the largest load in a few minutes from a slow volume

# What a child needs from our environment; no token and no cache folder of the user is among it.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "OMP_NUM_THREADS", "PYTHONWARNINGS")


class Mounted(Protocol):
    """A store whose releases are folders on this machine."""

    def path(self, release: str, path: str = "") -> str:
        """Where a release, or a file of it, is."""
        ...

    def lock_text(self, release: str) -> bytes:
        """The lock a release was built from."""
        ...


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One model, in one layout, with one library.

    Attributes:
        outcome: "loaded", "failed", "not installed" or "nothing to load".
    """

    repo: str
    layout: str
    library: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0


def load_all(store: Mounted, release: str) -> list[LoadResult]:
    """Load every model of a release. Raises NotFound, InvalidDocument; a model that fails is a result."""
    lock = parse_lock(store.lock_text(release), f"{release}/models.lock")
    root = store.path(release)
    return [load_one(lock, model, layout, root) for model in lock.models for layout in model.layouts]


def load_one(lock: Lock, model: Model, layout: Layout, root: str, **process: Any) -> LoadResult:
    """Load one model from the release folder `root`; `process` goes to `subprocess.run` (another user, say)."""
    library = library_of(model, layout)
    if library is Library.NONE:
        return LoadResult(model.repo, layout, "", "nothing to load", "no weights and no tokenizer of its own")
    if importlib.util.find_spec(library) is None:
        return LoadResult(model.repo, layout, library, "not installed", f"pip install {library.replace('_', '-')}")
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="provision-load-") as scratch:
        os.chmod(scratch, 0o777)  # the child may be another user
        answer = _run(library, _task(model, layout, root), _environment(lock, model, layout, root, scratch), process)
    outcome = "loaded" if answer["ok"] else "failed"
    return LoadResult(model.repo, layout, library, outcome, answer["detail"], time.monotonic() - begin)


def _task(model: Model, layout: Layout, root: str) -> dict[str, Any]:
    flat = layout is Layout.FLAT
    top = os.path.join(root, ROOTS[layout])
    folder = (
        os.path.join(top, model.repo.name)
        if flat
        else os.path.join(top, model.repo.cache_folder, "snapshots", model.commit)
    )
    return {
        "repo": model.repo,
        "target": folder if flat else model.repo,
        "folder": folder,
        "files": [file.path for file in model.files],
        "allow_remote_code": model.allow_remote_code,
    }


def _environment(lock: Lock, model: Model, layout: Layout, root: str, scratch: str) -> dict[str, str]:
    """As the consumer of this layout has it: only models that stand in the layout are there to be found."""
    only = Lock(tuple(replace(other, layouts=(layout,)) for other in lock.models if layout in other.layouts))
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    result = passed_on | environment(only, root, scratch)
    if layout is not Layout.FLAT and "HF_HUB_CACHE" not in result:
        result["HF_HUB_CACHE"] = f"{root}/{ROOTS[layout]}"  # transformers inside reads no other variable
    return result


def _run(library: str, task: dict[str, Any], env: dict[str, str], process: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "provisioner.loading", library]
    process = {"timeout": LOAD_SECONDS} | process
    try:
        done = subprocess.run(
            command, input=json.dumps(task), env=env, text=True, capture_output=True, check=False, **process
        )
    except subprocess.TimeoutExpired as error:
        return {"ok": False, "detail": f"did not load within {error.timeout:g} s"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"ok": False, "detail": f"the process ended with {done.returncode}: {last[:300]}"}


def with_loads(report: VerifyReport, loads: list[LoadResult]) -> VerifyReport:
    """The report with a finding for every model that did not load."""
    failed = tuple(
        Finding(Kind.LOAD, one.repo, f"{one.library} ({one.layout}): {one.detail}")
        for one in loads
        if one.outcome == "failed"
    )
    return replace(report, findings=report.findings + failed)
