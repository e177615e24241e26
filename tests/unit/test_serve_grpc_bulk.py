"""A long list of texts in chunks, where the queue is full at times."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from provisioner.serve.backend import EmbedAsk, Embedded
from provisioner.serve.grpc import bulk
from provisioner.serve.local import LocalBackend
from provisioner.serve.refusals import Busy
from provisioner.serve.settings import Limits, Role

LIMITS = Limits(texts=2)


class Crowded(LocalBackend):
    """Has no room from the third text on, for a while."""

    def __init__(self, times: int, since: str) -> None:
        super().__init__(Role.INDEXING, LIMITS, 0.0)
        self.times = times
        self.since = since
        self.asked: list[tuple[str | tuple[int, ...], ...]] = []

    async def embed(self, ask: EmbedAsk) -> Embedded:
        self.asked.append(ask.inputs)
        if self.since in ask.inputs and self.times:
            self.times -= 1
            raise Busy("Full.", retry_after=1)
        return Embedded(np.array([[float(str(one))] for one in ask.inputs], np.float32), len(ask.inputs), "a/b")


def collected(backend: LocalBackend, *texts: str) -> list[tuple[int, list[float]]]:
    async def all_of_it() -> list[tuple[int, list[float]]]:
        ask = EmbedAsk(texts)
        return [(at, one.vectors[:, 0].tolist()) async for at, one in bulk.embed(ask, backend, LIMITS)]

    return asyncio.run(all_of_it())


def test_a_stream_that_has_begun_waits_for_room() -> None:
    backend = Crowded(1, "3")
    assert collected(backend, "1", "2", "3", "4", "5") == [(0, [1, 2]), (2, [3, 4]), (4, [5])]
    assert backend.asked.count(("3", "4")) == 2


def test_a_stream_that_has_not_begun_is_refused() -> None:
    with pytest.raises(Busy):
        collected(Crowded(1, "1"), "1", "2", "3")
