"""Memory for blocks in flight: however many files move at once, all of them together hold no more than this."""

from __future__ import annotations

import threading
from dataclasses import dataclass

BLOCK = 8 * 2**20
BUDGET = 8 * BLOCK


@dataclass(frozen=True, slots=True)
class Block:
    """Borrowed memory.

    Attributes:
        start: where the bytes are in their file.
        bytes: as many as were asked for.
    """

    start: int
    bytes: memoryview
    _memory: bytearray
    _budget: Budget

    def release(self) -> None:
        """Give the memory back; once."""
        self._budget.give_back(self._memory, len(self.bytes))
        self.bytes.release()


class Budget:
    """Hands out blocks while there is room. Safe to share between threads.

    Whoever waits for a block must not hold one that only he can release: see `in_order`.
    """

    def __init__(self, total: int = BUDGET) -> None:
        self._total, self._used = total, 0
        self._spare: list[bytearray] = []  # memory that is new costs page faults, so whole blocks are kept
        self._changed = threading.Condition()

    def take(self, start: int, size: int) -> Block:
        """A block of `size` bytes; one that is larger than the whole budget only when nobody else has any."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._total)
            self._used += size
            memory = self._spare.pop() if size == BLOCK and self._spare else bytearray(size)
        return Block(start, memoryview(memory), memory, self)

    def give_back(self, memory: bytearray, size: int) -> None:
        """Take a block's memory back."""
        with self._changed:
            self._used -= size
            if size == BLOCK:
                self._spare.append(memory)
            self._changed.notify_all()
