"""The facts that numbers depend on."""

from __future__ import annotations

import hashlib
import http.client
import os
import platform
import ssl
import statistics
import threading
import time
from pathlib import Path

from benchmarks.hash_files import BUFFER


def hash_speed(threads: int, seconds: float) -> float:
    """Bytes a second of sha256 over a buffer that stays in the cache: the CPU's own limit."""
    data, counts = bytes(BUFFER), [0] * threads
    begin = time.perf_counter()

    def work(index: int) -> None:
        digest = hashlib.sha256()
        while time.perf_counter() - begin < seconds:
            digest.update(data)
            counts[index] += len(data)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begin)


def best_hash_speed(threads: int) -> float:
    """The best of several tries: a limit, so whatever else the machine does must not lower it."""
    return max(hash_speed(threads, 0.4) for _ in range(6))


def cpu() -> tuple[str, bool]:
    """The model's name and whether it has the SHA instructions."""
    info = Path("/proc/cpuinfo")
    fields = dict(
        (part.strip() for part in line.split(":", 1)) for line in info.read_text().splitlines() if ":" in line
    ) if info.exists() else {}  # fmt: skip
    words = f"{fields.get('flags', '')} {fields.get('Features', '')}".split()
    return fields.get("model name", platform.processor() or platform.machine()), bool({"sha_ni", "sha2"} & {*words})


def filesystem(path: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    real = str(path.resolve())
    holding = [(len(at), kind) for at, kind in mounts if real == at or real.startswith(at.rstrip("/") + "/")]
    return max(holding, default=(0, "unknown"))[1]


def request_ms(port: int) -> float:
    """Median milliseconds of one small request on a kept connection."""
    connection, times = http.client.HTTPConnection("127.0.0.1", port), []
    for _ in range(10):
        begin = time.perf_counter()
        connection.request("GET", "/bench/large/resolve/main/config.json")
        connection.getresponse().read()
        times.append((time.perf_counter() - begin) * 1000)
    connection.close()
    return statistics.median(times[1:])


def facts(scratch: Path) -> dict[str, object]:
    model, sha = cpu()
    return {
        "load": os.getloadavg()[0],
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model,
        "sha_instructions": sha,
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "hash_1_thread": best_hash_speed(1),
        "hash_2_threads": best_hash_speed(2),
        "kernel": platform.release(),
        "filesystem": filesystem(scratch),
    }
