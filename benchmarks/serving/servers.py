"""The servers that are measured, as processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.sides import ROOT


@dataclass
class Server:
    """A server that was started, seconds until it was ready, and its process."""

    url: str
    seconds: float
    pid: int

    def rss(self) -> float:
        """MiB of it and its children."""
        total = 0
        for place in Path("/proc").glob("[0-9]*"):
            try:
                status = (place / "status").read_text()
                parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if str(self.pid) in (place.name, parent) and "VmRSS" in status:
                total += int(status.split("VmRSS:")[1].split()[0])
        return total / 1024


@contextmanager
def server(command: Sequence[str], url: str, probe: str, *, cpus: str = "", **variables: str) -> Iterator[Server]:
    begin = time.perf_counter()
    pinned = ["taskset", "-c", cpus] if cpus else []
    process = subprocess.Popen(
        [*pinned, *command], env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"{command} ended with {process.returncode}")
            try:
                urllib.request.urlopen(url + probe, timeout=5)
                break
            except OSError:
                time.sleep(0.01)
        yield Server(url, time.perf_counter() - begin, process.pid)
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def ours(release: Path, port: int, threads: int, *, cpus: str = "", **variables: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "provisioner", "serve", "--at", str(release), "--port", str(port)]
    more = {"EMBEDDER_OMP_NUM_THREADS": str(threads), "DRAIN_DELAY": "0", **variables}
    with server(command, f"http://127.0.0.1:{port}", "/readyz", cpus=cpus, **more) as found:
        yield found


@contextmanager
def infinity(interpreter: str, folder: Path, port: int, threads: int) -> Iterator[Server]:
    command = [str(Path(interpreter).with_name("infinity_emb")), "v2", "--model-id", str(folder), "--engine", "torch"]
    command += ["--device", "cpu", "--no-bettertransformer", "--served-model-name", "minilm", "--port", str(port)]
    more = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    with server(command, f"http://127.0.0.1:{port}", "/health", **more) as found:
        yield found
