"""From a mounted release to models that answer: check it, set the environment, load, warm up."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from provisioner.errors import MissingExtra, VerificationFailed
from provisioner.report import Evidence
from provisioner.serve import catalog, cpus, offline, release
from provisioner.serve.backend import Served, Status
from provisioner.serve.local import LocalBackend, warm
from provisioner.serve.logs import fields
from provisioner.serve.misspelt import misspelt
from provisioner.serve.settings import EMBED, RERANK, ModelSettings, Role, Settings, known

if TYPE_CHECKING:
    from provisioner.serve.engines.interface import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be loaded: a release that was checked, and the model for each task."""

    mounted: release.Mounted
    chosen: tuple[tuple[catalog.Candidate, ModelSettings], ...]


def name_misspelt(variables: Mapping[str, str], more: frozenset[str] = frozenset()) -> None:
    """Log variables that were probably meant as settings; `more` are names of further ones."""
    for name, meant in misspelt(variables, known() | more).items():
        facts = fields(event="misspelt", variable=name)
        log.warning("%s is no setting of this server: did you mean %s?", name, meant, extra=facts)


def plan(settings: Settings, tasks: tuple[str, ...] | None = None) -> Plan:
    """Check the release, set the offline environment of this process, and choose its models. Nothing is loaded.

    Raises NotFound, VerificationFailed, InvalidInput.
    """
    mounted = release.opened(settings.at, settings.lock, settings.evidence)
    done = mounted.checked
    log.info(
        "release checked",
        extra=fields(
            event="checked",
            release=done.release,
            evidence=done.evidence,
            files=done.files,
            bytes=done.size,
            seconds=round(done.seconds, 3),
        ),
    )
    if not mounted.read_only:
        log.warning("the release is mounted writable: mount it read-only", extra=fields(event="writable"))
    offline.prepare(os.environ, mounted.lock, mounted.folder)  # before the first library, fastembed's names included
    chosen = tuple(_chosen(mounted, settings, tasks or settings.tasks))
    if not chosen:
        verbs = " or ".join(f"{task}s" for task in tasks or settings.tasks)
        other = "" if settings.role is Role.INDEXING or tasks else ", or set other TASKS"
        raise VerificationFailed(
            f"Release {mounted.checked.release} has no model that {verbs}.",
            hint=f"Lock one with its ONNX file and tokenizer.json (an embedder: modules.json too){other}.",
        )
    return Plan(mounted, chosen)


def _chosen(
    mounted: release.Mounted, settings: Settings, tasks: tuple[str, ...]
) -> Iterator[tuple[catalog.Candidate, ModelSettings]]:
    found = catalog.candidates(mounted.lock, mounted.folder)
    for task, model in ((EMBED, settings.embedder), (RERANK, settings.reranker)):
        if task in tasks:
            variable = "MODEL_EMBEDDER_NAME" if task == EMBED else "MODEL_RERANKER_NAME"
            if (one := catalog.choose(found, task, model.name, variable)) is not None:
                yield one, model


def load(settings: Settings, backend: LocalBackend, tasks: tuple[str, ...] | None = None) -> None:
    """Do all of it; afterwards the backend answers. In a thread of its own: this takes as long as the models are large.

    Raises NotFound, VerificationFailed, InvalidInput, MissingExtra.
    """
    todo = plan(settings, tasks)
    backend.checked(todo.mounted.checked)
    try:
        for candidate, model in todo.chosen:
            _add(backend, candidate, model, settings)
    except Exception:
        _blame(settings)
        raise
    _give_back()
    backend.ready(age())


def _give_back() -> None:
    """Hand memory of the load back, a third of what a small model's process holds; only glibc keeps it so."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def say_ready(settings: Settings) -> None:
    """Log that requests are answered, and since when the process is there."""
    log.info("ready", extra=fields(event="ready", role=settings.role, seconds=round(age(), 3)))


def age() -> float:
    """Seconds since this process was made, the start of Python and all imports included."""
    with open("/proc/self/stat", "rb") as stat, open("/proc/uptime", "rb") as uptime:
        ticks = int(stat.read().rpartition(b")")[2].split()[19])
        return float(uptime.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def _blame(settings: Settings) -> None:
    """Raises VerificationFailed where a model that cannot be loaded has other bytes than its lock says: no library's
    own words tell that."""
    if settings.evidence is not Evidence.REHASHED:
        log.info("a model does not load: every byte is read now", extra=fields(event="rehash"))
        release.opened(settings.at, settings.lock, Evidence.REHASHED)


def checked(settings: Settings) -> Status:
    """Everything that a start does but for listening; what would be served. Raises as `load` does."""
    if settings.grpc_port is not None and find_spec("grpc_health") is None:
        raise MissingExtra("gRPC", "grpc")
    name_misspelt(os.environ)
    backend = LocalBackend(settings.role, settings.limits, settings.wait)
    load(settings, backend)
    status = backend.status()
    asyncio.run(backend.close())
    return status


def _add(backend: LocalBackend, candidate: catalog.Candidate, model: ModelSettings, settings: Settings) -> None:
    from provisioner.serve import engines
    from provisioner.serve.recipe.activation import activation

    began = time.monotonic()
    threads = model.threads or cpus.threads()
    bulk = settings.role is Role.INDEXING
    engine = engines.load(candidate.folder, candidate.files, candidate.task, model, settings.engine, threads, bulk=bulk)
    warm(engine, model.batch)
    served = _served(candidate, model.name, engine, time.monotonic() - began)
    backend.add(served, engine, model, activation(candidate.folder) if candidate.task == RERANK else None)
    log.info("model loaded", extra=fields(event="loaded", **_words(served)))


def _served(candidate: catalog.Candidate, name: str | None, engine: Engine, seconds: float) -> Served:
    aliases = dict.fromkeys((*catalog.names(candidate.model), *([name.lower()] if name else ())))
    return Served(
        candidate.task,
        str(candidate.model.repo),
        str(candidate.model.commit),
        tuple(aliases),
        len(candidate.files),
        seconds,
        engine.about,
    )


def _words(served: Served) -> dict[str, object]:
    about = served.about
    return {
        "task": served.task,
        "model": served.repo,
        "commit": served.commit,
        "engine": about.engine,
        "device": about.device,
        "precision": about.precision,
        "threads": about.threads,
        "batches": about.batches,
        "seconds": round(served.load_seconds, 3),
    }
