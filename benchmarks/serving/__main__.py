"""`python -m benchmarks.serving`: measure, print tables. It asserts no time; it fails only where a side fails."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.machine import facts
from benchmarks.serving import report
from benchmarks.serving.servers import Server, infinity, ours
from benchmarks.serving.sides import Side, client

LIBRARIES = ("onnxruntime", "openvino", "fastembed", "sentence-transformers")
BUSY = 2  # where results of queries beside bulk are kept


def folders(root: Path) -> tuple[Path, Path]:
    """The fp32 model as a folder, and a release of it. The export needs torch (make test-torch installs it)."""
    from tests.support.serve_models import shared
    from tests.support.serve_models_fp32 import fp32_embedder
    from tests.support.served import release

    folder = shared(fp32_embedder)
    return folder, release(root / "store", {"bench/all-MiniLM-L6-v2": folder})


def throughput(sides: Sequence[Side], rounds: int, seconds: float) -> None:
    queries = [side for side in sides if len(side.processes) == 1]
    for number in range(rounds):
        turn = 1 if number % 2 else -1
        for side in queries[::turn]:
            side.run("32", 1, seconds)
        for kind in report.KINDS:
            for side in sides[::turn]:
                side.run(kind, 32, seconds)


def beside_bulk(release: Path, seconds: float, rounds: int) -> None:
    """One query of the inference server, alone and while the indexing server works; each on a CPU of its own, as pods
    with CPU limits are."""
    with ExitStack() as stack:
        one = stack.enter_context(ours(release, 19301, 1, cpus="0"))
        two = stack.enter_context(ours(release, 19302, 1, cpus="1", INDEXING_ONLY="True"))
        query = stack.enter_context(client("ours", one.url, cpus="0"))
        bulk = stack.enter_context(client("ours", two.url, cpus="1"))
        for _ in range(rounds):
            query.run("32", 1, seconds)
            bulk.begin("256", 64, seconds)
            query.run("mixed", 1, 0.2)  # the bulk job is under way
            query.begin("32", 1, seconds)
            query.found.setdefault(("32", BUSY), []).append(query.end())
            bulk.end()
        report.beside(query, 1, BUSY)


def servers(stack: ExitStack, release: Path, folder: Path, threads: int, interpreter: str | None) -> dict[str, Server]:
    """By name; infinity-emb where there is one."""
    found = {
        "ours, inference": stack.enter_context(ours(release, 19311, threads)),
        "ours, indexing": stack.enter_context(ours(release, 19312, threads, INDEXING_ONLY="True")),
    }
    if interpreter:
        found["infinity-emb"] = stack.enter_context(infinity(interpreter, folder, 19313, threads))
    return found


def clients(stack: ExitStack, started: dict[str, Server]) -> list[Side]:
    """Of each server: one that asks alone, and two that ask together, as indexing with several workers does."""
    return [
        stack.enter_context(
            client("infinity" if "infinity" in name else "ours", one.url, name=f"{name}{word}", count=count)
        )
        for count, word in ((1, ""), (2, ", two clients"))
        for name, one in started.items()
    ]


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
        started = servers(stack, release, folder, chosen.threads, chosen.infinity)
        local = [stack.enter_context(client(name, str(folder), chosen.threads)) for name in LIBRARIES]
        asking = clients(stack, started)
        throughput([*local, *asking], chosen.rounds, chosen.seconds)
        report.throughput([*local, *asking])
        mine = [side for side in asking if side.name.startswith("ours")]
        report.compared(mine, local[0])
        for peer in (side for side in asking if side not in mine):
            report.compared([side for side in mine if len(side.processes) == len(peer.processes)], peer)
        report.started(started)
        stack.close()
        beside_bulk(release, chosen.seconds, chosen.rounds)


if __name__ == "__main__":
    main()
