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
        """Give the memory back. A second time does nothing."""
        try:
            size = len(self.bytes)
        except ValueError:
            return
        self.bytes.release()
        self._budget.give_back(self._memory, size)


class Budget:
    """Hands out blocks while there is room. Safe to share between threads.

    Whoever waits for a block must not hold one that only he can release: see `in_order`.
    """

    def __init__(self, total: int = BUDGET, block: int = BLOCK) -> None:
        self._total, self._block, self._used = total, block, 0
        self._spare: list[bytearray] = []  # memory that is new costs page faults, so whole blocks are kept
        self._changed = threading.Condition()

    def take(self, start: int, size: int) -> Block:
        """A block of `size` bytes; one that is larger than the whole budget only when nobody else has any."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._total)
            memory = self._spare.pop() if size == self._block and self._spare else None
            self._used += size
            while self._spare and self._used + self._block * len(self._spare) > self._total:
                self._spare.pop()  # what is kept for later counts too
            memory = bytearray(size) if memory is None else memory
        return Block(start, memoryview(memory), memory, self)

    def give_back(self, memory: bytearray, size: int) -> None:
        """Take a block's memory back."""
        with self._changed:
            self._used -= size
            if size == self._block:
                self._spare.append(memory)
            self._changed.notify_all()
