"""What the APIs ask for, whoever answers: the models in this process, or deployments of Ray Serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from provisioner.serve.engines.interface import About, Floats
from provisioner.serve.settings import Role


@dataclass(frozen=True, slots=True)
class EmbedAsk:
    """Texts to embed.

    Attributes:
        inputs: texts, or token ids of the model as they are.
        model: the name asked for; None takes what is served.
        prompt: put before each text as it is; None leaves that to `prompt_name`.
        prompt_name: one of the model's own prompts; None takes its default one; "" takes none.
        max_length: tokens; None is the model's own length.
        truncate: whether longer texts are cut; else they are refused with TooLarge.
        normalize: None does as the model's files say.
        dimensions: how many numbers of each vector are kept, renormalised; None keeps all.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    model: str | None = None
    prompt: str | None = None
    prompt_name: str | None = None
    max_length: int | None = None
    truncate: bool = True
    normalize: bool | None = None
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of a request.

    Attributes:
        waiting: in the queue, until the first of its texts was in a batch.
        computing: from then on, until the last one was done.
    """

    waiting: float = 0.0
    computing: float = 0.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors (n, dimensions) in the order asked, the tokens they took, and the model's name in the lock."""

    vectors: Floats
    tokens: int
    model: str
    spent: Spent = Spent()


@dataclass(frozen=True, slots=True)
class RerankAsk:
    """Documents to score against a query.

    Attributes:
        raw: logits instead of what the model's activation makes of them.
        sigmoid: a sigmoid instead of the model's own activation, as TEI does it.
    """

    query: str
    documents: tuple[str, ...]
    model: str | None = None
    raw: bool = False
    sigmoid: bool = False
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class Ranked:
    """Scores (n,) in the order of the documents, the tokens they took, and the model's name in the lock."""

    scores: Floats
    tokens: int
    model: str
    spent: Spent = Spent()


@dataclass(frozen=True, slots=True)
class Served:
    """One model that is served.

    Attributes:
        task: `embed` or `rerank`.
        repo, commit: in the lock.
        aliases: other names that requests may use.
        files: how many of it are locked.
        load_seconds: from the first byte to the end of the warm-up.
    """

    task: str
    repo: str
    commit: str
    aliases: tuple[str, ...]
    files: int
    load_seconds: float
    about: About


@dataclass(frozen=True, slots=True)
class Checked:
    """The release, and what was checked at the start.

    Attributes:
        tree, lock: their sha256.
        created: when it was published, ISO 8601.
        evidence: `recorded` or `rehashed`.
        at: when it was checked, UTC, ISO 8601.
        files, size: how many, and their bytes.
        seconds: that it took.
    """

    release: str
    tree: str
    lock: str
    created: str
    evidence: str
    at: str
    files: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """What a person or a probe wants to know.

    Attributes:
        ready: whether requests are answered.
        detail: one sentence why not, or "".
    """

    ready: bool
    detail: str
    role: Role
    version: str
    release: Checked | None
    models: Sequence[Served]
    start_seconds: float


class Backend(Protocol):
    """Raises Refused and its kinds; anything else is a bug."""

    async def embed(self, ask: EmbedAsk) -> Embedded:
        """Vectors of texts."""

    async def rerank(self, ask: RerankAsk) -> Ranked:
        """Scores of documents."""

    def status(self) -> Status:
        """What is served."""
