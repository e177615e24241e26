"""One locked file out of one source, with patience: what passes is waited for, at the byte where it stopped."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from provisioner.errors import ProvisionError, Unavailable
from provisioner.model import LockedFile
from provisioner.ports.events import Observer, Retrying
from provisioner.ports.source import Source, Stream


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with a source.

    Attributes:
        attempts: failures in a row before giving up; progress of `worth` bytes starts a new row.
        base, cap: seconds; the delay doubles from the one to the other, with full jitter.
        longest: seconds that a Retry-After may ask for.
        stall_seconds, stall_bytes: a stream that gives fewer bytes in that time counts as failed.
    """

    attempts: int = 6
    base: float = 0.5
    cap: float = 30.0
    longest: float = 900.0  # the Hub's rate limits are counted in windows of 300 s
    worth: int = 2**20
    stall_seconds: float = 60.0
    stall_bytes: int = 64 * 1024

    def delay(self, failures: int, asked: float | None) -> float:
        """Seconds to wait after the n-th failure in a row."""
        if asked is not None:
            return min(asked, self.longest) + random.uniform(0, self.base)
        return random.uniform(0.5, 1.0) * min(self.cap, self.base * 2.0 ** (failures - 1))


class Cancelled(Exception):
    """Another thread has failed, so this one stops; never shown."""


class PatientPull:
    """The bytes of one file from one source.

    Attributes:
        bytes: how many really came, on all connections.
        failed: whether patience with the source came to its end.
    """

    def __init__(
        self, source: Source, file: LockedFile, patience: Patience, observer: Observer, cancelled: threading.Event
    ) -> None:
        self.source, self.file = source, file
        self.patience, self.observer, self.cancelled = patience, observer, cancelled
        self.bytes, self.failed = 0, False
        self._lock = threading.Lock()

    def count(self, amount: int) -> None:
        """Note bytes that came."""
        with self._lock:
            self.bytes += amount

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[Stream]:
        """A stream that opens the source again where it broke off."""
        stream = _PatientStream(self, start, stop)
        try:
            yield stream
        finally:
            stream.close()


class _PatientStream:
    def __init__(self, pull: PatientPull, start: int, stop: int) -> None:
        self._pull = pull
        self._offset, self._stop = start, stop
        self._failures, self._failed_at = 0, start
        self._opened: AbstractContextManager[Stream] | None = None
        self._stream: Stream | None = None
        self._watch = _Watch(pull.patience)

    def readinto(self, buffer: memoryview, /) -> int:
        if self._offset == self._stop:
            return 0
        while True:
            if self._pull.cancelled.is_set():
                raise Cancelled
            try:
                return self._read(buffer)
            except ProvisionError as error:
                self.close()
                if not error.retryable:
                    self._pull.failed = True
                    raise
                self._wait(error)

    def _read(self, buffer: memoryview) -> int:
        if self._stream is None:
            self._opened = self._pull.source.open(self._pull.file, self._offset, self._stop)
            self._stream = self._opened.__enter__()
            self._watch.restart()
        count = self._stream.readinto(buffer[: self._stop - self._offset])
        if not count:
            raise Unavailable(f"{self._pull.source.name} ended {self._pull.file.file.path} early.")
        self._watch.saw(count, self._pull.source.name)
        self._offset += count
        self._pull.count(count)
        return count

    def _wait(self, error: ProvisionError) -> None:
        """Sleep before the next try. Raises the error when patience is at its end."""
        patience = self._pull.patience
        if self._offset - self._failed_at >= patience.worth:
            self._failures = 0
        self._failures, self._failed_at = self._failures + 1, self._offset
        if self._failures >= patience.attempts:
            self._pull.failed = True
            raise error
        delay = patience.delay(self._failures, getattr(error, "retry_after", None))
        label = f"{self._pull.file.repo}/{self._pull.file.file.path}"
        self._pull.observer(Retrying(label, self._failures, delay, str(error)))
        self._pull.cancelled.wait(delay)

    def close(self) -> None:
        opened, self._opened, self._stream = self._opened, None, None
        if opened is not None:
            opened.__exit__(None, None, None)


class _Watch:
    """Notices a stream that still gives bytes, but too few to ever end."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.restart()

    def restart(self) -> None:
        self._since, self._seen = time.monotonic(), 0

    def saw(self, count: int, name: str) -> None:
        self._seen += count
        if self._seen >= self._patience.stall_bytes:
            self.restart()
        elif time.monotonic() - self._since > self._patience.stall_seconds:
            seconds = self._patience.stall_seconds
            raise Unavailable(f"{name} sends almost nothing: {self._seen} bytes in {seconds:.0f} s.")
