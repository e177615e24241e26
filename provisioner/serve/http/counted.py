"""The backend, as routes get it: what it is asked is counted on the way, for the log, metrics and traces."""

from __future__ import annotations

from dataclasses import replace

from provisioner.serve.backend import Backend, EmbedAsk, Embedded, Ranked, RerankAsk, Status
from provisioner.serve.http import ids
from provisioner.serve.http.admission import Gate
from provisioner.serve.http.tracing import Tracing
from provisioner.serve.instruments import Instruments

ENDING = "The server is ending."


class Counted:
    """A Backend in front of another one, which is not ready any more once the server is to end."""

    def __init__(self, backend: Backend, instruments: Instruments, tracing: Tracing | None, gate: Gate) -> None:
        self._backend = backend
        self._instruments = instruments
        self._tracing = tracing
        self._gate = gate

    async def embed(self, ask: EmbedAsk) -> Embedded:
        """Vectors of texts."""
        if self._tracing is None:
            embedded = await self._backend.embed(ask)
        else:
            with self._tracing.work("embed") as parts:
                embedded = await self._backend.embed(ask)
                parts(embedded.spent)
        self._note("embed", len(ask.inputs), embedded)
        return embedded

    async def rerank(self, ask: RerankAsk) -> Ranked:
        """Scores of documents."""
        if self._tracing is None:
            ranked = await self._backend.rerank(ask)
        else:
            with self._tracing.work("rerank") as parts:
                ranked = await self._backend.rerank(ask)
                parts(ranked.spent)
        self._note("rerank", len(ask.documents), ranked)
        return ranked

    def status(self) -> Status:
        """What is served."""
        status = self._backend.status()
        return replace(status, ready=False, detail=ENDING) if self._gate.draining else status

    def _note(self, task: str, texts: int, done: Embedded | Ranked) -> None:
        self._instruments.worked(task, texts, done.tokens)
        if asked := ids.current():
            asked.texts += texts
            asked.tokens += done.tokens
            asked.waiting += done.spent.waiting
            asked.computing += done.spent.computing
