"""One model in one process, asked through a deployment handle."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import ray

from provisioner.errors import ProvisionError
from provisioner.serve import start
from provisioner.serve.backend import Checked, EmbedAsk, Embedded, Ranked, RerankAsk, Served
from provisioner.serve.local import LocalBackend
from provisioner.serve.raying.metrics import RayWatch
from provisioner.serve.raying.refused import StartRefused
from provisioner.serve.raying.scaling import CHECK_PERIOD_S
from provisioner.serve.raying.variables import merged
from provisioner.serve.refusals import Busy, Refused
from provisioner.serve.settings import EMBED, ModelSettings, Settings, parse

_PROBE = "a query"


@dataclass(frozen=True, slots=True)
class Described:
    """A replica's release and model."""

    checked: Checked
    served: Served


class Replica:
    """The deployments Embedder and Reranker.

    What a request is refused for comes back as a value: an exception would be logged with a traceback by Serve, and
    counted by it as a failure of the replica.

    Args:
        task: `embed` or `rerank`.
        given: variables, before those of the environment.
        release: the only one to serve.
    """

    def __init__(self, task: str, given: Mapping[str, str], release: str) -> None:
        self._task = task
        self._watch = RayWatch()
        try:
            self._backend, self._described = _loaded(task, given, release, self._watch)
        except ProvisionError as error:
            raise StartRefused.of(error) from None

    async def embed(self, ask: EmbedAsk) -> Embedded | Refused:
        """Vectors of texts."""
        try:
            return await self._backend.embed(ask)
        except Refused as refused:
            return refused

    async def rerank(self, ask: RerankAsk) -> Ranked | Refused:
        """Scores of documents."""
        try:
            return await self._backend.rerank(ask)
        except Refused as refused:
            return refused

    async def describe(self) -> Described:
        """What this replica serves."""
        return self._described

    async def check_health(self) -> None:
        """Computes one short text where nothing was computed for a while; Serve replaces a replica that raises.

        A full queue is no illness. One that does not move is, and then Serve's time-out ends the wait.
        """
        if time.monotonic() - self._watch.last < CHECK_PERIOD_S:
            return
        if self._task == EMBED:
            refused: object = await self.embed(EmbedAsk((_PROBE,)))
        else:
            refused = await self.rerank(RerankAsk(_PROBE, (_PROBE,)))
        if isinstance(refused, Refused) and not isinstance(refused, Busy):
            raise refused


def _loaded(task: str, given: Mapping[str, str], release: str, watch: RayWatch) -> tuple[LocalBackend, Described]:
    """Raises ProvisionError for variables, a release or a model that is not right."""
    settings = _threaded(parse(merged(given)))
    backend = LocalBackend(settings.role, settings.limits, settings.wait, watch)
    start.load(settings, backend, (task,))
    status = backend.status()
    assert status.release is not None  # start.load has set it
    if status.release.release != release:
        raise StartRefused(
            f"Release {status.release.release} is mounted at {settings.at}, and the application was deployed with "
            f"{release}. Mount the same release on every node, or deploy the application again."
        )
    return backend, Described(status.release, status.models[0])


def _threaded(settings: Settings) -> Settings:
    """As many threads as Ray gave this replica CPUs, whatever a serveConfigV2 made of `num_cpus`."""
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
    return replace(settings, embedder=_counted(settings.embedder, cpus), reranker=_counted(settings.reranker, cpus))


def _counted(model: ModelSettings, cpus: float) -> ModelSettings:
    return replace(model, threads=math.ceil(cpus)) if cpus > 0 else model
