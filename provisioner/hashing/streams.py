"""Reading and hashing in blocks that stay in the processor's cache."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

from provisioner.ports.store import Advance

if TYPE_CHECKING:
    from hashlib import _Hash

# 256 KiB beats 1 MiB where bytes are read, hashed and written again: they are still in the cache.
BLOCK = 256 * 1024

Buffer = memoryview
_local = threading.local()


def new_buffer() -> Buffer:
    """This thread's block, used again for every file."""
    buffer: Buffer | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = memoryview(bytearray(BLOCK))
    return buffer


def hash_range(fd: int, start: int, stop: int, advance: Advance, digest: _Hash | None = None) -> _Hash:
    """Hash `start <= offset < stop` of an open file, or up to its end.

    Continues `digest` when one is given. Raises OSError.
    """
    digest = digest or hashlib.sha256()
    buffer = new_buffer()
    while start < stop:
        count = os.preadv(fd, [buffer[: stop - start]], start)
        if not count:
            break
        digest.update(buffer[:count])
        start += count
        advance(count)
    return digest
