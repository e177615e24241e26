"""`python -m benchmarks`: measure, print a table. It asserts no time; it fails only where a command fails."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import hub, objects
from benchmarks.machine import facts, hash_speeds, hub_facts
from benchmarks.measure import SKIPPED, Series, Unusable, in_turn, remove
from benchmarks.rows import ROOT, ROUND_TRIP, Bench, Row
from benchmarks.rows import ROWS as HUB_ROWS
from benchmarks.servers import Servers
from benchmarks.shards import MODELS
from benchmarks.table import Result, heading, markdown

GROUPS = {"hub": HUB_ROWS, "objects": objects.ROWS}
ROWS = HUB_ROWS + objects.ROWS


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*GROUPS, *(row.name for row in ROWS)]
    parser.add_argument("--rows", nargs="+", metavar="NAME", choices=names, default=[*GROUPS], help=", ".join(names))
    parser.add_argument("--runs", type=int, default=3, help="pairs of each row (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every run")
    parser.add_argument("--scale", choices=("full", "small"), default="full", help="small: a quick smoke")
    parser.add_argument("--peers-only", action="store_true", help="the baselines, without any command of ours")
    return parser.parse_args()


@contextmanager
def scratch() -> Iterator[Path]:
    """$BENCH_DIR, whose data is kept for the next run, or a temporary folder."""
    if kept := os.environ.get("BENCH_DIR"):
        yield Path(kept).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="provision-bench-") as folder:
        yield Path(folder).resolve()


def prepare(root: Path, scale: str) -> Path:
    data = root / f"data-{scale}"
    manifest = data / "manifest.json"
    if not manifest.exists() or json.loads(manifest.read_text()).keys() != MODELS or not (data / "maps.conf").exists():
        remove(data)
        say(f"writing the data into {data}")
        subprocess.run([sys.executable, "-m", "benchmarks.data", str(data), scale], cwd=ROOT, check=True)
    return data


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure_row(row: Row, bench: Bench, runs: int) -> list[Result]:
    """The row against each of its peers."""
    say(f"{row.name} ...")
    ours, *peers = (Series(side) for side in row.make(bench))
    if bench.peers_only:
        ours.failure = SKIPPED
    in_turn([ours, *peers], max(runs, row.runs), ROOT)
    for series in (ours, *peers):  # what is measured is not lost when the rest is stopped
        say(f"    {series.side.name}: {progress(series)}")
    size = bench.amount(row.model)[1] if row.model else 0
    return [Result(row, ours, peer, size) for peer in peers]


def progress(series: Series) -> str:
    """Seconds of every run, or why there are none."""
    return series.failure or " ".join(f"{sample.seconds:.2f}" for sample in series.samples)


def wanted(names: list[str]) -> list[Row]:
    return [row for row in ROWS if row.name in names or any(row in GROUPS.get(name, ()) for name in names)]


def measure_all(args: argparse.Namespace, root: Path) -> tuple[dict[str, Any], list[Result]]:
    data, work = prepare(root, args.scale), root / "work"
    remove(work)
    about = facts(root) | {"scale": args.scale}
    with hub.nginx(data, work / "nginx") as near, hub.delayed(near, ROUND_TRIP) as far, Servers(work) as servers:
        about |= hub_facts(near, far)
        bench = Bench(data, work, near, far, args.peers_only, servers)
        results = []
        for row in wanted(args.rows):
            results += measure_row(row, bench, args.runs)
            about |= hash_speeds(about)
    remove(work)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return about | {"own_rss": own}, results


def main() -> int:
    args = options()
    try:
        with scratch() as root:
            about, results = measure_all(args, root)
    except Unusable as error:
        say(str(error))
        return 1
    print(heading(about), markdown(results, about), sep="\n\n")
    if args.json:
        document = {"machine": about, "rows": [result.as_json(about) for result in results]}
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    measured = [series for result in results for series in (result.ours, result.peer)]
    return int(any(series.failed for series in measured))


if __name__ == "__main__":
    sys.exit(main())
