"""The model server as a process of its own, on a release of real weights."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.lockfile import dump
from provisioner.model import Layout, Lock, Model
from provisioner.ops.documents import LockDocument
from tests.support.faults_process import REPOSITORY, environment
from tests.support.patience import PATIENCE, until
from tests.support.serve_models import (
    EMBEDDER_REPO,
    RERANKER_REPO,
    FolderSource,
    int8_embedder,
    locked,
    made_reranker,
    shared,
)
from tests.support.stores import DirectoryBackend, transfer

PATIENCE_S = PATIENCE


def release(root: Path, folders: Mapping[str, Path], *layouts: Layout) -> Path:
    """Publish models of folders in a store at `root`, as `provision fetch` does; the folder of the release."""
    models = [locked(repo, folder, *layouts) for repo, folder in sorted(folders.items())]
    return published(root, dict(folders), *models)


def published(root: Path, folders: dict[str, Path], *models: Model) -> Path:
    """Publish locked models whose bytes are in folders."""
    lock = Lock(models)
    backend = DirectoryBackend(root)
    report = transfer(LockDocument(lock, dump(lock)), backend.open(), FolderSource(folders)).report
    backend.open().activate(report.release)
    return backend.path(report.release)


def int8_release(root: Path) -> Path:
    """A release with the int8 embedder and the made reranker."""
    return release(root, {EMBEDDER_REPO: shared(int8_embedder), RERANKER_REPO: shared(made_reranker)})


@dataclass
class Served:
    """A running server.

    Attributes:
        log: the file that its standard error goes to.
    """

    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""
    grpc: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it logged: one JSON document a line. The last one may not be whole yet."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def event(self, name: str) -> dict[str, Any] | None:
        """The first log line of an event."""
        return next((line for line in self.lines if line.get("event") == name), None)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """GET, or POST where there is a body: the status, and the answer, read as JSON where it is."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **self.headers})
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, _read(answer)
        except urllib.error.HTTPError as error:
            return error.code, _read(error)

    @property
    def rss(self) -> int:
        """Bytes that it holds in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def _read(answer: Any) -> Any:
    text = answer.read()
    return json.loads(text) if answer.headers.get_content_type() == "application/json" else text.decode()


@contextmanager
def serving(at: Path, folder: Path, *options: str, ready: bool = True, **variables: str) -> Iterator[Served]:
    """`provision serve` on a free port; keywords in capitals are environment variables.

    With `ready` it is waited for; the block then fails with the server's own words when it does not start.
    """
    served = start(at, folder, *options, **variables)
    try:
        if ready:
            await_ready(served)
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait()


def start(at: Path, folder: Path, *options: str, **variables: str) -> Served:
    """Start it, and do not wait."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "provisioner", "serve", "--at", str(at), *options]
    own = {"MODEL_SERVER_PORT": "0", "MODEL_SERVER_BIND": "127.0.0.1", "TMPDIR": str(folder), "DRAIN_DELAY": "0.2"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment(**(own | variables)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
    return Served(process, log)


def await_ready(served: Served) -> None:
    """Wait until it says that it is ready. Fails with its own words when it ends before."""
    await_event(served, "ready")
    served.url = served.event("listening")["url"]  # type: ignore[index]
    if found := served.event("listening_grpc"):
        served.grpc = found["address"]


def await_event(served: Served, name: str) -> dict[str, Any]:
    """Wait for a line of its log."""
    until = time.monotonic() + PATIENCE_S
    while (found := served.event(name)) is None:
        assert served.process.poll() is None, f"exit {served.process.returncode}: {served.log.read_text()[-3000:]}"
        assert time.monotonic() < until, served.log.read_text()[-3000:]
        time.sleep(0.02)
    return found


def at_work(served: Served, threads: Executor, count: int, body: Any) -> list[Future[tuple[int, Any]]]:
    """So many requests at `/embed`: the server has taken all of them, and not answered all. A server that is quicker
    than this process gets more of them."""
    asked: list[Future[tuple[int, Any]]] = []

    def taken() -> bool:
        if all(one.done() for one in asked):
            asked.extend(threads.submit(served.ask, "/embed", body) for _ in range(count))
        now, answered = _counted(served)
        return now > 0 and now + answered == len(asked)

    until(taken)
    return asked


def _counted(served: Served) -> tuple[int, int]:
    """Requests for work that are at work, and that were answered at `/embed`."""
    text = served.ask("/metrics")[1]
    names = ("requests_in_flight", 'requests_total{method="POST",route="/embed",status="200"}')
    found = (re.search(rf"^provision_serve_{re.escape(name)} (\S+)$", text, re.MULTILINE) for name in names)
    now, answered = (int(float(one[1])) if one else 0 for one in found)
    return now, answered


def in_own_network(command: list[str]) -> list[str]:
    """A command in a network namespace with nothing but a loopback of its own (root)."""
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
