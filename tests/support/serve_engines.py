"""Engines that compute nothing much, so that a test can decide when a batch begins and ends."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from provisioner.serve.engines.interface import About, Floats, Input, Item
from tests.support.patience import PATIENCE

DIMENSIONS = 4
LIMIT = 512
PATIENCE_S = PATIENCE


def value(one: Input) -> float:
    """The number that an input's row is made of: its own, whatever else is in its batch."""
    text = one if isinstance(one, str) else repr(one)
    return float(sum(place * ord(letter) for place, letter in enumerate(text, 1)) % 9973 + 1)


class Plain:
    """Each character is a token. A vector is (value, length, 0, 0); a score is the value.

    Attributes:
        batches: what was computed, batch by batch.
        threads: the names of the threads that tokenised.
    """

    def __init__(self, *, scores: bool = False, max_length: int = 256, **more: object) -> None:
        self.about = About(
            "plain",
            "cpu",
            "fp32",
            1,
            0 if scores else DIMENSIONS,
            max_length,
            LIMIT,
            **more,  # type: ignore[arg-type]
        )
        self.batches: list[list[Input]] = []
        self.threads: list[str] = []

    def tokenize(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Item]:
        self.threads.append(threading.current_thread().name)
        most = min(max_length or self.about.max_length, LIMIT)
        return [Item(max(min(_length(one), most), 1), one, _length(one) > most) for one in inputs]

    def run(self, items: Sequence[Item]) -> Floats:
        self.batches.append([item.data for item in items])
        values = np.array([value(item.data) for item in items], dtype=np.float32)
        if not self.about.dimensions:
            return values
        rows = np.zeros((len(items), DIMENSIONS), dtype=np.float32)
        rows[:, 0] = values
        rows[:, 1] = [item.length for item in items]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if self.about.normalized else rows


class Gated(Plain):
    """Every batch waits until it is let through, `free` lets all through. A batch with a text that has `poison` in it
    fails."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self._tickets = threading.Semaphore(0)
        self._begun = threading.Semaphore(0)
        self._free = threading.Event()

    def run(self, items: Sequence[Item]) -> Floats:
        self._begun.release()
        if not self._free.is_set():
            assert self._tickets.acquire(timeout=PATIENCE_S)
        if any("poison" in str(item.data) for item in items):
            raise RuntimeError(f"cannot compute {items[0].data}")
        return super().run(items)

    def begun(self) -> None:
        """Waits for the next batch to begin. Blocks."""
        assert self._begun.acquire(timeout=PATIENCE_S)

    def let(self, batches: int = 1) -> None:
        """Lets batches through."""
        self._tickets.release(batches)

    def free(self) -> None:
        """Lets everything through from now on."""
        self._free.set()
        self._tickets.release(64)  # for the threads that wait now


def _length(one: Input) -> int:
    return sum(_length(part) if isinstance(part, str) else 1 for part in one) if isinstance(one, tuple) else len(one)
