"""How the deployments grow, and what one replica takes. Pure: the caller hands the variables in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.errors import InvalidDocument, Problem
from provisioner.serve.settings import Reader, Settings

CHECK_PERIOD_S, CHECK_TIMEOUT_S = 10, 60
# Above what the server itself refuses, so that the refusal is ours and probes still come through.
PROBES = 32


@dataclass(frozen=True, slots=True)
class Scaling:
    """Of one deployment.

    Attributes:
        cpus: of a replica; a model's thread count is the same.
        least, most: replicas.
        target: requests at work in a replica that Serve aims at.
        ongoing: requests that one replica takes at once; the rest wait for any replica.
        up, down: seconds that a need for more, or fewer, must last.
    """

    cpus: int
    least: int
    most: int
    target: float
    ongoing: int
    up: float
    down: float


@dataclass(frozen=True, slots=True)
class Scalings:
    """Of all of them."""

    api: Scaling
    embedder: Scaling
    reranker: Scaling


_MODEL = Scaling(cpus=1, least=1, most=4, target=8, ongoing=32, up=10, down=300)
_API = Scaling(cpus=1, least=1, most=4, target=32, ongoing=0, up=10, down=300)


def parse(variables: Mapping[str, str], settings: Settings) -> Scalings:
    """What the variables say. Raises InvalidDocument with every variable that is wrong."""
    read = Reader(variables)
    found = _scalings(read, settings)
    if read.problems:
        raise InvalidDocument("The environment", tuple(read.problems), hint="docs/ray.md lists the variables.")
    return found


def known() -> frozenset[str]:
    """The names of all variables that are read here."""
    read = Reader({})
    _scalings(read, Settings())
    return frozenset(read.names)


def _scalings(read: Reader, settings: Settings) -> Scalings:
    return Scalings(
        api=_scaling(read, "API", _API, "API_CPUS", settings.limits.concurrent + PROBES),
        embedder=_scaling(read, "EMBEDDER", _MODEL, "EMBEDDER_OMP_NUM_THREADS"),
        reranker=_scaling(read, "RERANKER", _MODEL, "RERANKER_OMP_NUM_THREADS"),
    )


def _scaling(read: Reader, name: str, plain: Scaling, cpus: str, ongoing: int | None = None) -> Scaling:
    """Without `ongoing` it is read too."""
    found = Scaling(
        cpus=read.count(cpus, plain.cpus, 1, 1024),
        least=read.count(f"{name}_MIN_REPLICAS", plain.least, 1, 4096),
        most=read.count(f"{name}_MAX_REPLICAS", plain.most, 1, 4096),
        target=read.number(f"{name}_TARGET_ONGOING", plain.target, 0.1, 65536),
        ongoing=ongoing or read.count(f"{name}_MAX_ONGOING", plain.ongoing, 1, 65536),
        up=read.number(f"{name}_UPSCALE_DELAY", plain.up, 0, 86400),
        down=read.number(f"{name}_DOWNSCALE_DELAY", plain.down, 0, 86400),
    )
    if found.most < found.least:
        message = f"{found.most} is less than {name}_MIN_REPLICAS, {found.least}"
        read.problems.append(Problem(f"{name}_MAX_REPLICAS", message))
    if found.target > found.ongoing:
        message = f"{found.target:g} is more than a replica takes at once, {found.ongoing}"
        read.problems.append(Problem(f"{name}_TARGET_ONGOING", message))
    return found


def options(name: str, scaling: Scaling, settings: Settings) -> dict[str, Any]:
    """The options of a deployment, as Serve takes them; a serveConfigV2 may set each of them otherwise."""
    return {
        "name": name,
        "autoscaling_config": {
            "min_replicas": scaling.least,
            "max_replicas": scaling.most,
            "target_ongoing_requests": scaling.target,
            "upscale_delay_s": scaling.up,
            "downscale_delay_s": scaling.down,
        },
        "max_ongoing_requests": scaling.ongoing,
        "max_queued_requests": settings.limits.concurrent,
        "ray_actor_options": {"num_cpus": scaling.cpus},
        "health_check_period_s": CHECK_PERIOD_S,
        "health_check_timeout_s": CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": settings.drain,
        "graceful_shutdown_wait_loop_s": 1.0,
    }
