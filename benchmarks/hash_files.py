"""The bare peer of a verify: sha256 of every file below some paths, with two threads and nothing else.

Run as a script (`python hash_files.py PATH...`), so that it pays for an interpreter and hashlib only.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import deque
from pathlib import Path

THREADS = 2
BUFFER = 256 * 1024  # stays in the cache; 1 MiB is slower


def hash_file(path: Path, buffer: bytearray) -> str:
    digest, view = hashlib.sha256(), memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def hash_all(paths: list[Path]) -> dict[Path, str]:
    """The digests, largest file first so that both threads end together."""
    waiting = deque(sorted(paths, key=lambda path: path.stat().st_size, reverse=True))
    digests: dict[Path, str] = {}

    def work() -> None:
        buffer = bytearray(BUFFER)
        while True:
            try:
                path = waiting.popleft()
            except IndexError:
                return
            digests[path] = hash_file(path, buffer)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return digests


def main() -> None:
    files = [file for root in sys.argv[1:] for file in Path(root).rglob("*") if file.is_file()]
    for path, digest in sorted(hash_all(files).items()):
        print(digest, path)


if __name__ == "__main__":
    main()
