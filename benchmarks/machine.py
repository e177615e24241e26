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
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.hash_files import BUFFER
from benchmarks.shards import SHARDS, shard_name


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


def hash_speeds(before: Mapping[str, Any]) -> dict[str, float]:
    """The best speeds so far; they are a limit, so whatever else the machine does must not lower them."""
    return {
        f"hash_{threads}": max(before.get(f"hash_{threads}", 0.0), *(hash_speed(threads, 0.3) for _ in range(3)))
        for threads in (1, 2)
    }


def cpu() -> tuple[str, bool]:
    """The model's name and whether it has the SHA instructions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
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


def discard_speed(port: int) -> float:
    """Bytes a second that the hub alone gives four connections that throw them away, after one round to warm up."""
    paths = [f"/bench/large/resolve/main/{shard_name(index)}" for index in range(SHARDS)]
    for _ in range(2):
        begin = time.perf_counter()
        with ThreadPoolExecutor(SHARDS) as pool:
            total = sum(pool.map(discard, [port] * SHARDS, paths))
        speed = total / (time.perf_counter() - begin)
    return speed


def discard(port: int, path: str) -> int:
    connection, buffer, total = http.client.HTTPConnection("127.0.0.1", port), bytearray(BUFFER), 0
    connection.request("GET", path)
    answer = connection.getresponse()
    while count := answer.readinto(buffer):
        total += count
    connection.close()
    return total


def hub_facts(near: int, far: int) -> dict[str, Any]:
    return {
        f"{name}_{what}": measure(port)
        for name, port in (("near", near), ("far", far))
        for what, measure in (("ms", request_ms), ("speed", discard_speed))
    }


def facts(scratch: Path) -> dict[str, Any]:
    model, sha = cpu()
    return {
        "load": os.getloadavg()[0],
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model,
        "sha_instructions": sha,
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        **hash_speeds({}),
        "kernel": platform.release(),
        "filesystem": filesystem(scratch),
    }
