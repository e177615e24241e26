"""Texts into items without holding up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from provisioner.serve.engines.interface import Engine, Input, Item
from provisioner.serve.refusals import NotReady

# What is tokenised in the event loop itself: 0.3 ms for a query, 1.7 ms at the most, measured on a slow core; a thread
# would cost a query more than that where all cores are at work.
INLINE_CHARACTERS, INLINE_TEXTS = 2000, 8
# What goes to a thread that bulk has no part in: some 8 ms.
SHORT_CHARACTERS, SHORT_TEXTS = 8000, 128
# Characters that a thread tokenises at once. In between a request can be given up, and others have their turn.
SLICE = 32_768
BULK_THREADS = 2


def characters(one: Input) -> int:
    """Of an input; a token id counts as one."""
    if isinstance(one, str):
        return len(one)
    return sum(len(part) if isinstance(part, str) else 1 for part in one)


_Tokenize = Callable[[Sequence[Input], int | None], list[Item]]


class Tokeniser:
    """Tokenises for one engine: a query at once, a longer one in a thread for these, bulk in others."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._short = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-tokens-short")
        self._bulk = ThreadPoolExecutor(BULK_THREADS, thread_name_prefix=f"{name}-tokens-bulk")
        self._closed = False

    async def items(self, inputs: Sequence[Input], max_length: int | None) -> list[Item]:
        """Items of inputs, as Engine.tokenize. Raises NotReady after `close`."""
        size, count = sum(map(characters, inputs)), len(inputs)
        if size <= INLINE_CHARACTERS and count <= INLINE_TEXTS:
            return self._each(inputs, max_length)
        if size <= SHORT_CHARACTERS and count <= SHORT_TEXTS:
            return await self._in(self._short, self._each, inputs, max_length)
        items: list[Item] = []
        for part in _slices(inputs):
            items += await self._in(self._bulk, self._engine.tokenize, part, max_length)
        return items

    async def _in(
        self, threads: ThreadPoolExecutor, work: _Tokenize, inputs: Sequence[Input], max_length: int | None
    ) -> list[Item]:
        if self._closed:
            raise NotReady("The server is ending.", retry_after=1)
        return await asyncio.get_running_loop().run_in_executor(threads, work, inputs, max_length)

    def _each(self, inputs: Sequence[Input], max_length: int | None) -> list[Item]:
        """One by one: tokenizers has one pool of threads for several texts, whoever asks, and two short ones waited 70
        ms in it for those of bulk; one alone it tokenises in the thread that asks."""
        return [item for one in inputs for item in self._engine.tokenize([one], max_length)]

    def close(self) -> None:
        """Ends the threads, when what they do now is done."""
        self._closed = True
        for threads in (self._short, self._bulk):
            threads.shutdown(wait=False, cancel_futures=True)


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
