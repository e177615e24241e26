"""Reading on where a connection broke off, for what is read without a transfer's patience around it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from provisioner.errors import ProvisionError, Unavailable
from provisioner.ports.source import Stream
from provisioner.stores.blocks.ordered import Open
from provisioner.stores.objects.bucket import Bucket

ATTEMPTS = 5  # failures in a row without one byte between them
BASE_SECONDS = 0.2
LONGEST_SECONDS = 300.0  # that a Retry-After may ask for


def steady(bucket: Bucket, key: str) -> Open:
    """Ranges of an object whose streams open it again."""
    return partial(_opened, bucket, key)


@contextmanager
def _opened(bucket: Bucket, key: str, start: int, stop: int) -> Iterator[Stream]:
    stream = _SteadyStream(bucket, key, start, stop)
    try:
        yield stream
    finally:
        stream.close()


class _SteadyStream:
    def __init__(self, bucket: Bucket, key: str, start: int, stop: int) -> None:
        self._bucket, self._key = bucket, key
        self._offset, self._stop = start, stop
        self._failures = 0
        self._opened: AbstractContextManager[Stream] | None = None
        self._stream: Stream | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of the buffer; 0 at the end."""
        while self._offset < self._stop:
            try:
                return self._read(buffer)
            except ProvisionError as error:
                self.close()
                self._failures += 1
                if not error.retryable or self._failures == ATTEMPTS:
                    raise
                delay = random.uniform(0.5, 1.0) * BASE_SECONDS * 2**self._failures
                time.sleep(max(delay, min(getattr(error, "retry_after", None) or 0.0, LONGEST_SECONDS)))
        return 0

    def _read(self, buffer: memoryview) -> int:
        if self._stream is None:
            self._opened = self._bucket.read(self._key, self._offset, self._stop)
            self._stream = self._opened.__enter__()
        count = self._stream.readinto(buffer[: self._stop - self._offset])
        if not count:
            raise Unavailable(f"{self._bucket.name}/{self._key} ended early.")
        self._offset, self._failures = self._offset + count, 0
        return count

    def close(self) -> None:
        opened, self._opened, self._stream = self._opened, None, None
        if opened is not None:
            opened.__exit__(None, None, None)
