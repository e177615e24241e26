"""What the server is told, from its environment. Pure: the caller hands the variables in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from provisioner.errors import InvalidDocument, Problem
from provisioner.report import Evidence

DEFAULT_AT = "/models"
EVERYWHERE = "::"  # IPv4 too, and that alone where the kernel has no IPv6
EMBED, RERANK = "embed", "rerank"

# Option of the command -> the variable that it stands for: what a pod sets and what a person types are one setting.
OPTIONS = {
    "at": "PROVISION_SERVE_AT",
    "lock": "PROVISION_SERVE_LOCK",
    "host": "MODEL_SERVER_BIND",
    "port": "MODEL_SERVER_PORT",
    "grpc_port": "GRPC_PORT",
    "verify": "VERIFY",
    "engine": "ENGINE",
    "embedder": "MODEL_EMBEDDER_NAME",
    "reranker": "MODEL_RERANKER_NAME",
    "indexing_only": "INDEXING_ONLY",
}

_T = TypeVar("_T")
_EVIDENCE = {"recorded": Evidence.RECORDED, "full": Evidence.REHASHED}
_LOGS = {"json": True, "text": False}
_TASKS: dict[bool, dict[str, tuple[str, ...]]] = {  # of the indexing server, which never reranks, or not
    True: {EMBED: (EMBED,)},
    False: {"embed,rerank": (EMBED, RERANK), EMBED: (EMBED,), RERANK: (RERANK,)},
}


class Role(StrEnum):
    """What the server is for."""

    INFERENCE = "inference"  # queries: low latency
    INDEXING = "indexing"  # documents in bulk: throughput


class EngineName(StrEnum):
    """What computes. AUTO takes the fastest that is there and gives the right vectors."""

    AUTO = "auto"
    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCH = "torch"
    FASTEMBED = "fastembed"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client can ask of the server.

    Attributes:
        body: bytes of a request.
        texts: of a request; documents of a rerank too.
        characters: of one text.
        concurrent: requests at work or waiting.
        queue: texts that wait for one model.
        body_seconds: for the whole body of a request to arrive.
        seconds: for the answer, from when the body is there.
    """

    body: int = 16 * 2**20
    texts: int = 1024
    characters: int = 200_000
    concurrent: int = 256
    queue: int = 8192
    body_seconds: float = 30.0
    seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How one of the two models is chosen and run.

    Attributes:
        name: ORG/NAME, NAME or an alias of it; None takes the only candidate.
        graph: path of its ONNX file; None takes the usual one.
        threads: None takes the cgroup's CPU limit.
        batch: texts computed at once, at most.
        batch_tokens: texts times the longest of them, at most, unless one text alone is longer.
        max_length: tokens of a text; None is the model's own.
    """

    name: str | None = None
    graph: str | None = None
    threads: int | None = None
    batch: int = 8
    batch_tokens: int = 8 * 512
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything.

    Attributes:
        at: the mounted release, or a mounted store, of which the active release is taken.
        lock: a lock that the release has to be of; None takes the release's own.
        evidence: how the release is checked at the start: recorded or rehashed.
        port: of HTTP; 0 takes a free one.
        tasks: the models to load, as far as the release has them; the indexing server never reranks.
        grpc_port: None has no gRPC.
        wait: seconds a query waits for others to share its batch while the model is busy.
        api_key: bearer token; None lets everybody in.
        drain_delay: seconds after SIGTERM in which new connections are still taken, while `/readyz` already says 503.
        drain: seconds after that for requests at work to end.
    """

    at: str = DEFAULT_AT
    lock: str | None = None
    evidence: Evidence = Evidence.RECORDED
    host: str = EVERYWHERE
    port: int = 9000
    grpc_port: int | None = None
    role: Role = Role.INFERENCE
    tasks: tuple[str, ...] = (EMBED, RERANK)
    engine: EngineName = EngineName.AUTO
    embedder: ModelSettings = field(default_factory=ModelSettings)
    reranker: ModelSettings = field(default_factory=ModelSettings)
    wait: float = 0.002
    limits: Limits = field(default_factory=Limits)
    api_key: str | None = field(default=None, repr=False)
    drain_delay: float = 3.0
    drain: float = 25.0
    json_log: bool = True


class Reader:
    """Reads variables one by one and keeps every problem, so that all are named at once.

    Attributes:
        names: of all variables that were asked for.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.problems: list[Problem] = []
        self.names: set[str] = set()

    def text(self, name: str) -> str | None:
        """The value; an empty one is none, as `value: ""` in a manifest means."""
        self.names.add(name)
        return self._variables.get(name, "").strip() or None

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number between two others."""
        text = self.text(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if low <= value <= high:
            return value
        self.problems.append(Problem(name, f"{text!r} is not a number from {low:g} to {high:g}"))
        return default

    def whole(self, name: str, default: int | None, low: int, high: int) -> int | None:
        """A whole number between two others."""
        text = self.text(name)
        if text is None:
            return default
        if text.isascii() and text.isdecimal() and len(text) < 16 and low <= int(text) <= high:
            return int(text)
        self.problems.append(Problem(name, f"{text!r} is not a whole number from {low} to {high}"))
        return default

    def count(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number that is always there."""
        value = self.whole(name, default, low, high)
        return default if value is None else value

    def yes(self, name: str, default: bool = False) -> bool:
        """True or False, as people write them."""
        text = (self.text(name) or str(default)).lower()
        if text in ("true", "t", "1", "yes", "y", "on"):
            return True
        if text not in ("false", "f", "0", "no", "n", "off"):
            self.problems.append(Problem(name, f"{text!r} is neither True nor False"))
        return False

    def choice(self, name: str, choices: Mapping[str, _T], default: str) -> _T:
        """One of several words."""
        text = (self.text(name) or default).lower()
        if text not in choices:
            self.problems.append(Problem(name, f"{text!r} is none of {', '.join(choices)}"))
            return choices[default]
        return choices[text]


def parse(variables: Mapping[str, str]) -> Settings:
    """The settings that environment variables give. Raises InvalidDocument with every variable that is wrong."""
    read = Reader(variables)
    settings = _settings(read)
    if settings.limits.queue < settings.limits.texts:
        problem = f"{settings.limits.queue} is less than MAX_TEXTS: a request of {settings.limits.texts} never had room"
        read.problems.append(Problem("MAX_QUEUE", problem))
    if read.problems:
        raise InvalidDocument("The environment", tuple(read.problems), hint="docs/serve.md lists the variables.")
    return settings


def with_options(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables, and what options of the command say in variables of their own; these win, as options do.

    click reads those for the command; another server around the application reads nothing. Where that listens is its
    own affair. An empty value is none.
    """
    names = OPTIONS.keys() - {"host", "port"}
    given = {OPTIONS[name]: variables.get(_option(name), "").strip() for name in names}
    return dict(variables) | {name: value for name, value in given.items() if value}


def _option(name: str) -> str:
    return f"PROVISION_SERVE_{name.upper()}"


def known() -> frozenset[str]:
    """The names of all variables that are settings, or stand for options of the command that are."""
    read = Reader({})
    _settings(read)
    return frozenset({*read.names, *map(_option, OPTIONS)})


def _settings(read: Reader) -> Settings:
    plain = Settings()
    indexing = read.yes("INDEXING_ONLY")
    return Settings(
        at=read.text("PROVISION_SERVE_AT") or DEFAULT_AT,
        lock=read.text("PROVISION_SERVE_LOCK"),
        evidence=read.choice("VERIFY", _EVIDENCE, "recorded"),
        host=read.text("MODEL_SERVER_BIND") or plain.host,
        port=read.count("MODEL_SERVER_PORT", plain.port, 0, 65535),
        grpc_port=read.whole("GRPC_PORT", None, 0, 65535),
        role=Role.INDEXING if indexing else Role.INFERENCE,
        tasks=read.choice("TASKS", _TASKS[indexing], "embed" if indexing else "embed,rerank"),
        engine=read.choice("ENGINE", {name.value: name for name in EngineName}, EngineName.AUTO),
        embedder=_model(read, "EMBEDDER"),
        reranker=_model(read, "RERANKER"),
        wait=read.number("BATCH_WAIT_MS", plain.wait * 1000, 0, 1000) / 1000,
        limits=_limits(read),
        api_key=read.text("API_KEY"),
        drain_delay=read.number("DRAIN_DELAY", plain.drain_delay, 0, 3600),
        drain=read.number("DRAIN_SECONDS", plain.drain, 0, 3600),
        json_log=read.choice("LOG_FORMAT", _LOGS, "json"),
    )


def _model(read: Reader, role: str) -> ModelSettings:
    plain = ModelSettings()
    return ModelSettings(
        name=read.text(f"MODEL_{role}_NAME"),
        graph=read.text(f"{role}_ONNX_PATH"),
        threads=read.whole(f"{role}_OMP_NUM_THREADS", None, 1, 1024),
        batch=read.count(f"{role}_BATCH_MAX_SIZE", plain.batch, 1, 4096),
        batch_tokens=read.count(f"{role}_BATCH_MAX_TOKENS", plain.batch_tokens, 1, 2**24),
        max_length=read.whole(f"{role}_MAX_LENGTH", None, 2, 2**20),
    )


def _limits(read: Reader) -> Limits:
    plain = Limits()
    return Limits(
        body=read.count("MAX_BODY_BYTES", plain.body, 1024, 2**30),
        texts=read.count("MAX_TEXTS", plain.texts, 1, 100_000),
        characters=read.count("MAX_CHARACTERS", plain.characters, 1, 2**26),
        concurrent=read.count("MAX_CONCURRENT", plain.concurrent, 1, 65536),
        queue=read.count("MAX_QUEUE", plain.queue, 1, 2**20),
        body_seconds=read.number("BODY_TIMEOUT", plain.body_seconds, 0.1, 3600),
        seconds=read.number("REQUEST_TIMEOUT", plain.seconds, 0.1, 3600),
    )
