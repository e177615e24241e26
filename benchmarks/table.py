"""The results as markdown and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measure import Series
from benchmarks.rows import Row

COLUMNS = (
    "row", "ours", "peer", "ratio (min-max)", "goal", "CPU s", "RSS MiB", "CPU floor s", "pairs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """One row's runs against one peer. `size`: bytes to hash at least, 0 where the row is not about bytes."""

    row: Row
    ours: Series
    peer: Series
    size: int

    @property
    def goal(self) -> str:
        return self.row.goals.get(self.peer.side.name.split()[0], self.row.goal)

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours.samples, self.peer.samples, strict=False)
        return [ours.seconds / peer.seconds for ours, peer in pairs]

    def floor(self, facts: Mapping[str, Any]) -> float | None:
        """Seconds that hashing the bytes takes with two threads and nothing else."""
        return self.size / facts["hash_2"] if self.size else None

    def as_json(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        sides = {
            key: {
                "name": series.side.name,
                "runs": [asdict(sample) for sample in series.samples],
                "failure": series.failure,
            }
            for key, series in (("ours", self.ours), ("peer", self.peer))
        }
        return {"row": self.row.name, "goal": self.goal, "ratios": self.ratios, "floor": self.floor(facts), **sides}


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def spread(ratios: list[float]) -> str:
    if not ratios:
        return "-"
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})"


def cells(result: Result, facts: Mapping[str, Any]) -> tuple[str, ...]:
    sides = (result.ours, result.peer)
    wall = [f"{series.side.name}: {number(series.median('seconds'))}" for series in sides]
    cpu, rss = (" / ".join(number(series.median(what)) for series in sides) for what in ("cpu", "rss"))
    pairs = str(min(len(series.samples) for series in sides) or "-")
    return (
        result.row.title,
        *wall,
        spread(result.ratios),
        result.goal or "-",
        cpu,
        rss,
        number(result.floor(facts)),
        pairs,
    )


def markdown(results: list[Result], facts: Mapping[str, Any]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(cells(result, facts) for result in results)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    failures = [
        f"- {result.row.name}, {series.side.name}: {series.failure}"
        for result in results
        for series in (result.ours, result.peer)
        if series.failed
    ]
    failures = list(dict.fromkeys(failures))  # ours stands beside each of its peers
    return "\n".join([text, *(["", "Failed:", *failures] if failures else [])])


def heading(facts: Mapping[str, Any]) -> str:
    sha = "with" if facts["sha_instructions"] else "without"
    speeds = " / ".join(f"{facts[key] / 1e9:.2f}" for key in ("hash_1", "hash_2"))
    return "\n".join([
        f"{facts['cores']} cores, {facts['cpu']}, {sha} SHA instructions;"
        f" kernel {facts['kernel']}, {facts['filesystem']}",
        f"Python {facts['python']}, {facts['openssl']}; sha256 with 1 / 2 threads: {speeds} GB/s;"
        f" load average at the start {facts['load']:.1f}",
        f"One small request: {facts['near_ms']:.1f} ms directly, {facts['far_ms']:.1f} ms behind the round trip;"
        f" bytes thrown away, 4 connections: {facts['near_speed'] / 1e9:.2f} / {facts['far_speed'] / 1e9:.2f} GB/s",
        "A: one model of 4 shards and 10 small files. B: 2,000 files of 4-64 KiB in 50 folders."
        " C: 20,000 files of 1 KiB in 50 folders."
        f" Scale: {facts['scale']}.",
        "Seconds, CPU and RSS are medians; RSS is the largest single process,"
        f" never less than the measuring process's own {facts['own_rss']:.0f} MiB.",
    ])  # fmt: skip
