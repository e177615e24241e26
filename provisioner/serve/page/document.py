"""What `/status.json` says: a document that other programs may rely on, so names are added to it and never changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from provisioner.serve.backend import Checked, Served, Status
from provisioner.serve.settings import Role


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """The release.

    Attributes:
        tree, lock: their sha256.
        created: when it was published, ISO 8601.
        evidence: `recorded` or `rehashed`.
        checked_at: UTC, ISO 8601.
        check_seconds: that the check took.
    """

    release: str
    tree: str
    lock: str
    created: str
    evidence: str
    checked_at: str
    check_seconds: float
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model that is served.

    Attributes:
        task: `embed` or `rerank`.
        repo, commit: in the lock.
        aliases: other names that requests may use.
        files: how many of it are locked.
        load_seconds: from the first byte to the end of the warm-up.
        threads: that compute.
        batches: that they compute at once.
        dimensions: of a vector; 0 for scores.
        max_length: tokens of a text that are taken by default.
        limit: tokens that the model can take.
        prompts: names of the model's own.
    """

    task: str
    repo: str
    commit: str
    aliases: tuple[str, ...]
    files: int
    load_seconds: float
    engine: str
    device: str
    precision: str
    threads: int
    batches: int
    dimensions: int
    max_length: int
    limit: int
    normalized: bool
    prompts: tuple[str, ...]
    default_prompt: str | None


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """A stretch of time of one route.

    Attributes:
        at: its end, in seconds since 1970.
        requests: that ended in it.
        p50_ms, p99_ms: of their latencies.
    """

    at: float
    requests: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class RouteLatency:
    """The last minutes of one route, oldest first; stretches without a request are left out."""

    route: str
    points: tuple[LatencyPoint, ...]


@dataclass(frozen=True, slots=True)
class LatencyFacts:
    """Latencies of the last minutes.

    Attributes:
        now: seconds since 1970, by the server's clock.
        window_seconds: how far back they go.
        step_seconds: of one point.
    """

    now: float
    window_seconds: float
    step_seconds: float
    routes: tuple[RouteLatency, ...]


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """What is served, how it was checked, and how fast it answers.

    Attributes:
        ready: whether requests are answered.
        detail: one sentence why not, or "".
        release: None until it is found.
    """

    ready: bool
    detail: str
    role: Role
    version: str
    start_seconds: float
    release: ReleaseFacts | None
    models: tuple[ModelFacts, ...]
    latencies: LatencyFacts


def status_document(status: Status, latencies: LatencyFacts) -> StatusDocument:
    """The document of a status."""
    return StatusDocument(
        ready=status.ready,
        detail=status.detail,
        role=status.role,
        version=status.version,
        start_seconds=status.start_seconds,
        release=_release(status.release) if status.release else None,
        models=models(status.models),
        latencies=latencies,
    )


def _release(checked: Checked) -> ReleaseFacts:
    return ReleaseFacts(
        release=checked.release,
        tree=checked.tree,
        lock=checked.lock,
        created=checked.created,
        evidence=checked.evidence,
        checked_at=checked.at,
        check_seconds=checked.seconds,
        files=checked.files,
        bytes=checked.size,
    )


def models(served: Iterable[Served]) -> tuple[ModelFacts, ...]:
    """Facts of models."""
    return tuple(map(_model, served))


def _model(served: Served) -> ModelFacts:
    about = served.about
    return ModelFacts(
        task=served.task,
        repo=served.repo,
        commit=served.commit,
        aliases=tuple(served.aliases),
        files=served.files,
        load_seconds=served.load_seconds,
        engine=about.engine,
        device=about.device,
        precision=about.precision,
        threads=about.threads,
        batches=about.batches,
        dimensions=about.dimensions,
        max_length=about.max_length,
        limit=about.limit,
        normalized=about.normalized,
        prompts=tuple(name for name, _ in about.prompts),
        default_prompt=about.default_prompt,
    )
