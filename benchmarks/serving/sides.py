"""Who is measured: clients as processes, one or several that ask together, and what they found."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).parent / "runner.py"
_Process = subprocess.Popen[str]
_CLIENTS = 8  # of a side, at most


@dataclass
class Side:
    """Clients that were started, and what they measured: (kind, batch) -> one result a round."""

    name: str
    processes: list[_Process]
    found: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)

    def run(self, kind: str, batch: int, seconds: float) -> None:
        """One round: all clients together."""
        self.begin(kind, batch, seconds)
        self.found.setdefault((kind, batch), []).append(self.end())

    def begin(self, kind: str, batch: int, seconds: float) -> None:
        """The same texts for the first client of each side in a round, and other ones for the second."""
        rounds = len(self.found.get((kind, batch), ()))
        for number, process in enumerate(self.processes):
            seed = (rounds * _CLIENTS + number) * 100_000
            job = {"kind": kind, "batch": batch, "seconds": seconds, "seed": seed}
            print(json.dumps(job), file=process.stdin, flush=True)

    def end(self) -> dict[str, Any]:
        """Texts a second of all clients, and the milliseconds of all calls."""
        results = [json.loads(self._line(process)) for process in self.processes]
        # Not the sum of their rates: the one whose request is answered first had all cores.
        rate = sum(one["texts"] for one in results) / max(one["seconds"] for one in results)
        return {"rate": rate, "ms": [ms for one in results for ms in one["ms"]]}

    def _line(self, process: _Process) -> str:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended")
        return line

    def rates(self, kind: str, batch: int) -> list[float]:
        """Of each round."""
        return [one["rate"] for one in self.found[kind, batch]]

    def rate(self, kind: str, batch: int) -> float:
        return statistics.median(self.rates(kind, batch))

    def quantile(self, kind: str, batch: int, part: float) -> float:
        calls: list[float] = sorted(ms for one in self.found[kind, batch] for ms in one["ms"])
        return calls[min(len(calls) - 1, int(part * len(calls)))]


@contextmanager
def client(
    side: str, place: str, threads: int = 1, *, name: str = "", count: int = 1, cpus: str = ""
) -> Iterator[Side]:
    """`count` runners of one side."""
    with ExitStack() as stack:
        yield Side(name or side, [stack.enter_context(_process(side, place, threads, cpus)) for _ in range(count)])


@contextmanager
def _process(side: str, place: str, threads: int, cpus: str) -> Iterator[_Process]:
    pinned = ["taskset", "-c", cpus] if cpus else []
    with subprocess.Popen(
        [*pinned, sys.executable, str(RUNNER), side, place, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout and process.stdin
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{side} did not start")
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait()


def ratios(ours: Side, theirs: Side, kind: str, batch: int) -> Sequence[float]:
    """Of the rates, round by round, sorted: the machine's speed changes, and in one round both had much the same."""
    return sorted(one / other for one, other in zip(ours.rates(kind, batch), theirs.rates(kind, batch), strict=True))
