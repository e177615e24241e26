"""Texts into items without holding up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from provisioner.serve.engines.interface import Engine, Input, Item

# Characters that are tokenised in the event loop itself: 0.3 ms for a query, 1.7 ms at the most, measured on a slow
# core; a thread would cost a query more than that where all cores are at work.
INLINE = 2000
# Characters that a thread tokenises at once. In between a request can be given up, and others have their turn.
SLICE = 32_768
THREADS = 2


def characters(one: Input) -> int:
    """Of an input; a token id counts as one."""
    if isinstance(one, str):
        return len(one)
    return sum(len(part) if isinstance(part, str) else 1 for part in one)


class Tokeniser:
    """Tokenises for one engine: short inputs at once, others in threads of its own."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"{name}-tokens")

    async def items(self, inputs: Sequence[Input], max_length: int | None) -> list[Item]:
        """Items of inputs, as Engine.tokenize."""
        if sum(map(characters, inputs)) <= INLINE:
            return self._engine.tokenize(inputs, max_length)
        loop = asyncio.get_running_loop()
        items: list[Item] = []
        for part in _slices(inputs):
            items += await loop.run_in_executor(self._threads, self._engine.tokenize, part, max_length)
        return items

    def close(self) -> None:
        """Ends the threads, when what they do now is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _slices(inputs: Sequence[Input]) -> Iterator[Sequence[Input]]:
    """Runs of inputs, each of at most SLICE characters, or of one input."""
    start = total = 0
    for index, one in enumerate(inputs):
        size = characters(one)
        if index > start and total + size > SLICE:
            yield inputs[start:index]
            start, total = index, 0
        total += size
    yield inputs[start:]
