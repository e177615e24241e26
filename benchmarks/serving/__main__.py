"""`python -m benchmarks.serving`: measure, print tables. It asserts no time; it fails only where a side fails."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import facts

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).parent / "runner.py"
KINDS = ("32", "256", "mixed")


@dataclass
class Side:
    """A runner that was started, and what it measured: (kind, batch) -> one result a round."""

    name: str
    process: subprocess.Popen[str]
    found: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)

    def run(self, kind: str, batch: int, seconds: float) -> None:
        assert self.process.stdin and self.process.stdout
        print(json.dumps({"kind": kind, "batch": batch, "seconds": seconds}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended")
        self.found.setdefault((kind, batch), []).append(json.loads(line))

    def rate(self, kind: str, batch: int) -> float:
        return statistics.median(one["rate"] for one in self.found[kind, batch])

    def quantile(self, kind: str, batch: int, part: float) -> float:
        calls = sorted(ms for one in self.found[kind, batch] for ms in one["ms"])
        return calls[min(len(calls) - 1, int(part * len(calls)))]


@contextmanager
def runner(name: str, place: str, threads: int, *, interpreter: str = sys.executable, cpus: str = "") -> Iterator[Side]:
    pinned = ["taskset", "-c", cpus] if cpus else []
    with subprocess.Popen(
        [*pinned, interpreter, str(RUNNER), name, place, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{name} did not start")
        try:
            yield Side(name, process)
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait()


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


def folders(root: Path) -> tuple[Path, Path]:
    """The fp32 model as a folder, and a release of it. The export needs torch (make test-torch installs it)."""
    from tests.support.serve_models import shared
    from tests.support.serve_models_fp32 import fp32_embedder
    from tests.support.served import release

    folder = shared(fp32_embedder)
    return folder, release(root / "store", {"bench/all-MiniLM-L6-v2": folder})


def throughput(sides: Sequence[Side], rounds: int, seconds: float) -> None:
    for number in range(rounds):
        for kind, batch in (("32", 1), *((kind, 32) for kind in KINDS)):
            for side in sides if number % 2 else list(reversed(sides)):
                side.run(kind, batch, seconds)


def print_throughput(sides: Sequence[Side]) -> None:
    print("| side | 32 tokens, texts/s | 256 tokens | mixed lengths | one query p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    for side in sides:
        rates = " | ".join(f"{side.rate(kind, 32):.1f}" for kind in KINDS)
        print(f"| {side.name} | {rates} | {side.quantile('32', 1, 0.5):.1f} | {side.quantile('32', 1, 0.99):.1f} |")


def beside_bulk(release: Path, seconds: float, rounds: int) -> None:
    """One query of the inference server, alone and while the indexing server works; each on a CPU of its own, as pods
    with CPU limits are."""
    with ExitStack() as stack:
        one = stack.enter_context(ours(release, 19301, 1, cpus="0"))
        two = stack.enter_context(ours(release, 19302, 1, cpus="1", INDEXING_ONLY="True"))
        query = stack.enter_context(runner("ours", one.url, 1, cpus="0"))
        bulk = stack.enter_context(runner("ours", two.url, 1, cpus="1"))
        for _ in range(rounds):
            query.run("32", 1, seconds)
            assert bulk.process.stdin and bulk.process.stdout
            print(json.dumps({"kind": "256", "batch": 64, "seconds": seconds}), file=bulk.process.stdin, flush=True)
            query.run("mixed", 1, 0.2)  # the bulk job is under way
            query.found.setdefault(("32", 2), [])
            before = query.found.pop(("32", 1))
            query.run("32", 1, seconds)
            query.found["32", 2] += query.found.pop(("32", 1))
            query.found["32", 1] = before
            bulk.process.stdout.readline()
        print("| one query, inference server on one CPU | p50 ms | p99 ms |\n|---|---|---|")
        for name, batch in (("alone", 1), ("while the indexing server works on another CPU", 2)):
            print(f"| {name} | {query.quantile('32', batch, 0.5):.1f} | {query.quantile('32', batch, 0.99):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--infinity", metavar="PYTHON", help="of an environment with infinity-emb[server,torch]")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="provision-bench-") as root, ExitStack() as stack:
        folder, release = folders(Path(root))
        print(json.dumps(facts(Path(root))))
        inference = stack.enter_context(ours(release, 19311, chosen.threads))
        indexing = stack.enter_context(ours(release, 19312, chosen.threads, INDEXING_ONLY="True"))
        sides = [
            stack.enter_context(runner(name, str(folder), chosen.threads))
            for name in ("onnxruntime", "openvino", "fastembed", "sentence-transformers")
        ]
        sides.append(stack.enter_context(runner("ours", inference.url, 1)))
        sides.append(stack.enter_context(runner("ours", indexing.url, 1)))
        sides[-2].name, sides[-1].name = "ours over HTTP, inference", "ours over HTTP, indexing"
        started = {"ours, inference": inference, "ours, indexing": indexing}
        if chosen.infinity:
            peer = stack.enter_context(infinity(chosen.infinity, folder, 19313, chosen.threads))
            sides.append(stack.enter_context(runner("infinity", peer.url, 1)))
            sides[-1].name, started["infinity-emb"] = "infinity-emb over HTTP", peer
        throughput(sides, chosen.rounds, chosen.seconds)
        print_throughput(sides)
        print("\n| server | start to ready, s | RSS after the load, MiB |\n|---|---|---|")
        for name, one in started.items():
            print(f"| {name} | {one.seconds:.2f} | {one.rss():.0f} |")
        print()
        stack.close()
        beside_bulk(release, chosen.seconds, chosen.rounds)


if __name__ == "__main__":
    main()
