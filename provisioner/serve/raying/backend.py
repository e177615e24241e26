"""Answers from deployments of Ray Serve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from provisioner.serve.asks import NOUNS
from provisioner.serve.backend import EmbedAsk, Embedded, Ranked, RerankAsk, Status
from provisioner.serve.raying.watch import Watch
from provisioner.serve.refusals import Busy, NotReady, NotServed, Refused, TimedOut, WrongRole
from provisioner.serve.settings import Role

TRIES = 3  # of a request whose replica died under it


class RayBackend:
    """A Backend over deployment handles.

    Args:
        handles: by task.
        seconds: for an answer, waiting for a free replica included.
        watch: knows what the deployments are and do.
    """

    def __init__(self, handles: Mapping[str, Any], role: Role, seconds: float, watch: Watch) -> None:
        self._handles = handles
        self._role = role
        self._seconds = seconds
        self._watch = watch

    async def embed(self, ask: EmbedAsk) -> Embedded:
        """Vectors of texts."""
        answer: Embedded = await self._asked("embed", ask)
        return answer

    async def rerank(self, ask: RerankAsk) -> Ranked:
        """Scores of documents."""
        if self._role is Role.INDEXING:
            raise WrongRole("This is the indexing server, which does not rerank; ask the inference server.")
        answer: Ranked = await self._asked("rerank", ask)
        return answer

    def status(self) -> Status:
        """What is served."""
        return self._watch.status

    async def _asked(self, task: str, ask: EmbedAsk | RerankAsk) -> Any:
        if task not in self._handles:
            raise NotServed(f"No {NOUNS[task]} is served here.", param="model")
        if not self._watch.described:
            raise NotReady(self.status().detail, retry_after=1)
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._answered(getattr(self._handles[task], task), ask)
        except TimeoutError:
            raise TimedOut(f"The answer was not ready within {self._seconds:g} seconds.") from None
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def _answered(self, method: Any, ask: EmbedAsk | RerankAsk) -> Any:
        """Asks again where a replica dies: the same question has the same answer anywhere."""
        for _ in range(TRIES):
            try:
                return await _once(method, ask)
            except BackPressureError:
                raise Busy("Too many requests wait for a replica.", retry_after=1) from None
            except DeploymentUnavailableError:
                raise NotReady("The deployment of this model failed.", retry_after=10) from None
            except RayActorError:
                continue
        raise NotReady("The replicas of this model ended before they answered.", retry_after=1)


async def _once(method: Any, ask: EmbedAsk | RerankAsk) -> Any:
    response = method.remote(ask)
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()  # the client went away, or its time is over: the replica need not compute it
        raise
