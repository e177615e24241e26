"""What was measured, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.serving.servers import Server
from benchmarks.serving.sides import Side, ratios

KINDS = ("32", "256", "mixed")


def throughput(sides: Sequence[Side]) -> None:
    print("| side | 32 tokens, texts/s | 256 tokens | mixed lengths | one query p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    for side in sides:
        rates = " | ".join(f"{side.rate(kind, 32):.1f}" for kind in KINDS)
        print(f"| {side.name} | {rates} | {_quantile(side, 0.5)} | {_quantile(side, 0.99)} |")


def _quantile(side: Side, part: float) -> str:
    return f"{side.quantile('32', 1, part):.1f}" if ("32", 1) in side.found else ""


def compared(servers: Sequence[Side], to: Side) -> None:
    print("\n| texts/s, median of the rounds' ratios (quartiles) | to | 32 tokens | 256 tokens | mixed lengths |")
    print("|---|---|---|---|---|")
    for side in servers:
        found = " | ".join(_spread(ratios(side, to, kind, 32)) for kind in KINDS)
        print(f"| {side.name} | {to.name} | {found} |")


def _spread(found: Sequence[float]) -> str:
    if len(found) < 2:
        return f"{found[0]:.2f}"
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def started(servers: Mapping[str, Server]) -> None:
    print("\n| server | start to ready, s | RSS after the load, MiB |\n|---|---|---|")
    for name, one in servers.items():
        print(f"| {name} | {one.seconds:.2f} | {one.rss():.0f} |")


def beside(query: Side, alone: int, busy: int) -> None:
    print("\n| one query, inference server on one CPU | p50 ms | p99 ms |\n|---|---|---|")
    for name, batch in (("alone", alone), ("while the indexing server works on another CPU", busy)):
        print(f"| {name} | {query.quantile('32', batch, 0.5):.1f} | {query.quantile('32', batch, 0.99):.1f} |")
