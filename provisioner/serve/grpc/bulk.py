"""Many texts, embedded a chunk at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import replace

from provisioner.serve import asks
from provisioner.serve.backend import Backend, EmbedAsk, Embedded
from provisioner.serve.refusals import Busy, NotServed, TimedOut
from provisioner.serve.settings import Limits

# Times the texts that one request may have otherwise: no more than two chunks are ever at work.
TIMES = 64
# Texts: eight batches of eight, so that the lane finds texts of like lengths.
CHUNK = 64
AHEAD = 2


def check(ask: EmbedAsk, backend: Backend, limits: Limits) -> None:
    """Refuse what could not be embedded before any of it is. Raises NotServed, Invalid, TooLarge."""
    served = next((one for one in backend.status().models if one.task == "embed"), None)
    if served is None:
        raise NotServed("No embedder is served here.", param="model")
    asks.resolve(served, ask.model)
    most = limits.texts * TIMES
    asks.embed_inputs(ask, served.about, replace(limits, texts=most, queue=most))


async def embed(ask: EmbedAsk, backend: Backend, limits: Limits) -> AsyncGenerator[tuple[int, Embedded], None]:
    """Vectors with the place of the first of them, in order. What is not asked for any more is cancelled.

    Raises what the backend raises.
    """
    # Two chunks fill half of the queue at most: other requests come in between.
    size = max(1, min(CHUNK, limits.texts, limits.queue // (2 * AHEAD)))
    ahead: deque[asyncio.Task[Embedded]] = deque()
    began = given = 0
    try:
        while given < len(ask.inputs):
            while began < len(ask.inputs) and len(ahead) < AHEAD:
                part = replace(ask, inputs=ask.inputs[began : began + size])
                ahead.append(asyncio.create_task(_part(part, backend, limits, patient=began > 0)))
                began += size
            embedded = await ahead[0]
            ahead.popleft()
            yield given, embedded
            given += size
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


async def _part(ask: EmbedAsk, backend: Backend, limits: Limits, patient: bool) -> Embedded:
    """One chunk. Once a client has some of its vectors, the others wait for room in the queue."""
    try:
        async with asyncio.timeout(limits.seconds):
            while True:
                try:
                    return await backend.embed(ask)
                except Busy as busy:
                    if not patient:
                        raise
                    await asyncio.sleep(busy.retry_after or 1)
    except TimeoutError:
        raise TimedOut(f"The next vectors were not ready within {limits.seconds:g} seconds.") from None
