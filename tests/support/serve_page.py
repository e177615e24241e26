"""The server's application in this process, in any state that a test wants to look at."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import uvicorn
from starlette.types import ASGIApp

from provisioner.serve.backend import Checked, EmbedAsk, Embedded, Ranked, RerankAsk, Served, Status
from provisioner.serve.engines.interface import About, Floats
from provisioner.serve.http.app import Application, create_app
from provisioner.serve.instruments import Instruments
from provisioner.serve.refusals import NotReady
from provisioner.serve.settings import Role, Settings
from tests.support.patience import PATIENCE, until

PATIENCE_S = PATIENCE
ABOUT = About("onnxruntime 1.31.1", "cpu", "fp32", 2, 8, 256, 512, normalized=True)
EMBEDDER = Served("embed", "org/embedder", "a" * 40, ("org/embedder", "embedder"), 11, 0.41, ABOUT)
RERANKER = Served("rerank", "org/reranker", "b" * 40, ("reranker",), 8, 1.5, replace(ABOUT, dimensions=0))
RELEASE = Checked(
    release="7f3c9a1b2d4e",
    tree="7f3c9a1b2d4e" + "5" * 52,
    lock="c" * 64,
    created="2026-05-02T10:11:12+00:00",
    evidence="recorded",
    at="2026-05-03T01:02:03+00:00",
    files=19,
    size=90_868_376,
    seconds=0.031,
)
READY = Status(True, "", Role.INFERENCE, "1.2.3", RELEASE, (EMBEDDER, RERANKER), 1.31)
LOADING = replace(READY, ready=False, detail="The models are being loaded.", models=(), start_seconds=0.0)


@dataclass
class States:
    """A backend whose status a test sets; its vectors follow from the texts."""

    now: Status = READY
    asks: list[EmbedAsk] = field(default_factory=list)

    async def embed(self, ask: EmbedAsk) -> Embedded:
        self._must_be_ready()
        self.asks.append(ask)
        prompt = ask.prompt_name or ""
        vectors = np.stack([_vector(prompt + str(one)) for one in ask.inputs])
        return Embedded(vectors, 3 * len(ask.inputs), EMBEDDER.repo)

    async def rerank(self, ask: RerankAsk) -> Ranked:
        self._must_be_ready()
        query = _vector(ask.query)
        scores = np.array([float(_vector(one) @ query) for one in ask.documents], np.float32)
        return Ranked(scores, 5 * len(ask.documents), RERANKER.repo)

    def status(self) -> Status:
        return self.now

    def _must_be_ready(self) -> None:
        if not self.now.ready:
            raise NotReady(self.now.detail)


def _vector(text: str) -> Floats:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    vector = np.random.default_rng(seed).normal(size=ABOUT.dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


def application(states: States, **settings: object) -> Application:
    """The real application in front of it."""
    return create_app(states, replace(Settings(), **settings), Instruments())  # type: ignore[arg-type]


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """An application on a free port of the loopback: its URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert server.started
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE_S)
