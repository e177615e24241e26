"""Answers from engines in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from provisioner import __version__
from provisioner.errors import VerificationFailed
from provisioner.serve import asks
from provisioner.serve.backend import Checked, EmbedAsk, Embedded, Ranked, RerankAsk, Served, Status
from provisioner.serve.batching.lanes import Computed, Lanes
from provisioner.serve.batching.order import Bounds
from provisioner.serve.batching.watch import Unwatched, Watch
from provisioner.serve.engines.interface import Engine, Floats, Input
from provisioner.serve.recipe.activation import sigmoid
from provisioner.serve.refusals import Failed, NotReady, NotServed, TimedOut, WrongRole
from provisioner.serve.settings import Limits, ModelSettings, Role

Activation = Callable[[Floats], Floats]
_SHORT = "a query"
_MEDIUM = "A passage of a document, about as long as many of them are. " * 8


@dataclass(frozen=True, slots=True)
class _Entry:
    served: Served
    lanes: Lanes
    activation: Activation | None


class LocalBackend:
    """A Backend. Models are added when they are loaded and warmed up; requests are answered after `ready`.

    Args:
        wait: seconds that a query waits for others, see Lane.
        watch: told of batches and queues.
    """

    def __init__(self, role: Role, limits: Limits, wait: float, watch: Watch | None = None) -> None:
        self._role = role
        self._limits = limits
        self._wait = wait
        self._watch = watch or Unwatched()
        self._entries: dict[str, _Entry] = {}
        self._release: Checked | None = None
        self._ready = False
        self._detail = "The models are being loaded."
        self._start_seconds = 0.0
        self._closed = False

    def checked(self, release: Checked) -> None:
        """The release that is served, once it is checked."""
        self._release = release

    def add(
        self, served: Served, engine: Engine, settings: ModelSettings, activation: Activation | None = None
    ) -> None:
        """A model that is loaded, at most one of each task. `activation` makes scores of logits; None leaves them."""
        bounds = Bounds(settings.batch, settings.batch_tokens)
        lanes = Lanes(
            served.task, engine, self._role, bounds, wait=self._wait, limit=self._limits.queue, watch=self._watch
        )
        self._entries[served.task] = _Entry(served, lanes, activation)
        if self._closed:  # while it was loaded
            lanes.abandon()

    def ready(self, start_seconds: float) -> None:
        """Everything is loaded: requests are answered from now on."""
        self._start_seconds = start_seconds
        if not self._closed:  # SIGTERM may have come while the models were loaded
            self._ready, self._detail = True, ""

    def failed(self, detail: str) -> None:
        """Requests are not answered, or no longer, for a reason in one sentence."""
        self._ready, self._detail = False, detail

    def abandon(self) -> None:
        """As `close` without any seconds, where no event loop runs any more; its threads may still be at work."""
        self._closed = True
        self.failed("The server is ending.")
        for entry in list(self._entries.values()):
            entry.lanes.abandon()

    async def close(self, seconds: float = 0.0) -> None:
        """Refuses new requests, and after so many seconds those that still wait; ends the threads."""
        self._closed = True
        self.failed("The server is ending.")
        await asyncio.gather(*(entry.lanes.close(seconds) for entry in self._entries.values()))

    def status(self) -> Status:
        """What is served."""
        models = tuple(entry.served for entry in self._entries.values())
        return Status(self._ready, self._detail, self._role, __version__, self._release, models, self._start_seconds)

    async def embed(self, ask: EmbedAsk) -> Embedded:
        """Vectors of texts."""
        entry = self._entry("embed", ask.model)
        about = entry.served.about
        inputs = asks.embed_inputs(ask, about, self._limits)
        computed = await self._compute(entry, inputs, ask.max_length, ask.truncate, "inputs")
        vectors = asks.shape(computed.rows, about, ask.normalize, ask.dimensions)
        return Embedded(vectors, computed.tokens, entry.served.repo, computed.spent)

    async def rerank(self, ask: RerankAsk) -> Ranked:
        """Scores of documents."""
        if self._role is Role.INDEXING:
            raise WrongRole("This is the indexing server, which does not rerank; ask the inference server.")
        entry = self._entry("rerank", ask.model)
        inputs = asks.rerank_inputs(ask, self._limits)
        computed = await self._compute(entry, inputs, None, ask.truncate, "documents")
        scores = _activated(computed.rows, ask, entry.activation)
        return Ranked(scores, computed.tokens, entry.served.repo, computed.spent)

    def _entry(self, task: str, model: str | None) -> _Entry:
        if not self._ready:
            raise NotReady(self._detail, retry_after=1)
        entry = self._entries.get(task)
        if entry is None:
            raise NotServed(f"No {asks.NOUNS[task]} is served here.", param="model")
        asks.resolve(entry.served, model)
        return entry

    async def _compute(
        self, entry: _Entry, inputs: Sequence[Input], max_length: int | None, truncate: bool, param: str
    ) -> Computed:
        check = asks.any_length if truncate else asks.not_cut(param)
        async with _at_most(self._limits.seconds):
            computed = await entry.lanes.compute(inputs, max_length, check)
        if not np.isfinite(computed.rows).all():
            raise Failed("The model gave numbers that are not finite.")
        return computed


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """Raises TimedOut after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimedOut(f"The answer was not ready within {seconds:g} seconds.") from None


def _activated(logits: Floats, ask: RerankAsk, activation: Activation | None) -> Floats:
    if ask.raw:
        return logits
    if ask.sigmoid:
        return sigmoid(logits)
    return activation(logits) if activation else logits


def warm(engine: Engine, batch: int = 8) -> None:
    """Runs an engine on a query and on a batch, as its lanes will. Raises VerificationFailed if it gives no numbers:
    libraries load damaged weights without a word, and compute NaN."""
    pairs = not engine.about.dimensions
    for text, count in ((_SHORT, 1), (_MEDIUM, batch), (_SHORT, 1)):
        inputs: list[Input] = [(_SHORT, text) if pairs else text] * count
        if not np.isfinite(engine.run(engine.tokenize(inputs))).all():
            raise VerificationFailed(
                "The model gives numbers that are not finite.",
                hint="The graph may not fit this engine: set another ENGINE, or lock another graph.",
            )
