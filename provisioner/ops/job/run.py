"""Put a Job's objects into a cluster: applied, or attached to where the Job runs already."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from provisioner.cluster.client import Cluster
from provisioner.cluster.errors import Refused
from provisioner.errors import InvalidInput, Unavailable
from provisioner.ops.job.objects import Object, is_complete, is_leaving, is_over, name

_GONE = 120.0  # seconds that a deleted Job's pods get to end
_LOOK = 0.5


def start(
    cluster: Cluster, objects: Sequence[Object], note: Callable[[str], None], *, force: bool = False
) -> tuple[str, ...]:
    """Apply everything; the names of the Jobs.

    A Job that runs is attached to and left as it is. One that is over, either way, is deleted and made again, for a
    Job cannot be run twice. Raises InvalidInput where the API server refuses an object, Unavailable when an old Job
    does not go.
    """
    jobs = [one for one in objects if one["kind"] == "Job"]
    running = {name(one) for one in jobs if _makes_way(cluster, name(one), note)}
    for one in objects:
        if one["kind"] != "Job":
            _apply(cluster, one, force)
        elif name(one) not in running:
            _apply(cluster, one, force)
            note(f"Job {name(one)} was created in namespace {cluster.namespace}.")
    return tuple(name(one) for one in jobs)


def ask(cluster: Cluster, objects: Sequence[Object]) -> None:
    """Let the API server check everything without keeping it. Raises what `start` does."""
    for one in objects:
        _apply(cluster, one, force=True, dry_run=True)


def _makes_way(cluster: Cluster, job: str, note: Callable[[str], None]) -> bool:
    """Whether a Job of this name runs; one that is over is gone afterwards."""
    found = cluster.get("Job", job)
    if found is None:
        return False
    if not is_over(found) and not is_leaving(found):
        note(f"Job {job} runs already; it is followed as it is. Anew: provision job delete {job}, then this again.")
        return True
    if not is_leaving(found):
        note(f"Job {job} {'is complete' if is_complete(found) else 'has failed'}; it is deleted and made again.")
        cluster.delete("Job", job, foreground=True)
    until = time.monotonic() + _GONE
    while cluster.get("Job", job) is not None:
        if time.monotonic() > until:
            raise Unavailable(
                f"Job {job} is being deleted and still there.",
                hint="A pod that does not end, or a finalizer, holds it: kubectl describe job shows which.",
            )
        time.sleep(_LOOK)
    return False


def _apply(cluster: Cluster, one: Object, force: bool, *, dry_run: bool = False) -> None:
    try:
        cluster.apply(one, dry_run=dry_run, force=force)
    except Refused as error:
        kind = one["kind"]
        if kind not in ("Job", "ConfigMap") or cluster.get(kind, name(one)) is None:
            raise
        raise InvalidInput(
            f"{kind} {name(one)} is there already with other content, which cannot be changed.",
            hint=f"Delete it first: provision job delete {name(one)}" if kind == "Job" else f"Delete it first. {error}",
        ) from None
