"""Put a Job's objects into a cluster: applied, or attached to where the Job runs already."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from provisioner.cluster.client import Cluster
from provisioner.cluster.errors import Refused
from provisioner.errors import InvalidInput, Unavailable
from provisioner.ops.job.objects import Object, is_complete, is_leaving, is_over, job_claims, name

_GONE = 120.0  # seconds that a deleted Job's pods get to end
_LOOK = 0.5


def start(
    cluster: Cluster,
    objects: Sequence[Object],
    note: Callable[[str], None],
    *,
    force: bool = False,
    attach: bool = True,
) -> tuple[str, ...]:
    """Apply everything; the names of the Jobs.

    A Job that runs is attached to and left as it is; without `attach` it is deleted and made again. So is one that is
    over, either way, for a Job cannot be run twice. Raises InvalidInput, before anything is changed, for a Job of that
    name that fills another target; InvalidInput where the API server refuses an object, Unavailable when an old Job
    does not go.
    """
    jobs = [one for one in objects if one["kind"] == "Job"]
    there = {name(one): _same_target(cluster.get("Job", name(one)), one) for one in jobs}
    running = {one for one, found in there.items() if found and not _makes_way(cluster, found, note, attach)}
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


def _same_target(found: Object | None, wanted: Object) -> Object | None:
    """The Job that is there under the name of the one wanted, if it does the same work for the same target."""
    if found is None or is_leaving(found) or _target(found) == _target(wanted):
        return found
    what = f"Job {name(wanted)} {'was' if is_over(found) else 'runs'} there already"
    raise InvalidInput(
        f"{what} for another target: {_words(found)}, not {_words(wanted)}.",
        hint=f"Give another --name for another target, or delete that Job: provision job delete {name(wanted)}",
    )


def _target(job: Object) -> tuple[tuple[str, ...], str]:
    """The claims that a Job fills, and the address it was given."""
    args = [str(one) for one in job["spec"]["template"]["spec"]["containers"][0].get("args") or []]
    return job_claims(job), next((to for word, to in pairwise(args) if word in ("--to", "--at")), "")


def _words(job: Object) -> str:
    claims, address = _target(job)
    return f"claim {', '.join(claims)}" if claims else address or "no claim"


def _makes_way(cluster: Cluster, found: Object, note: Callable[[str], None], attach: bool) -> bool:
    """Whether the name of a Job is free afterwards; it is not where the Job runs and may be attached to."""
    job = name(found)
    if attach and not is_over(found) and not is_leaving(found):
        note(f"Job {job} runs already; it is followed as it is. Anew: provision job delete {job}, then this again.")
        return False
    if not is_leaving(found):
        how = "is complete" if is_complete(found) else "has failed" if is_over(found) else "runs, for an earlier run"
        note(f"Job {job} {how}; it is deleted and made again.")
        cluster.delete("Job", job, foreground=True)
    until = time.monotonic() + _GONE
    while cluster.get("Job", job) is not None:
        if time.monotonic() > until:
            raise Unavailable(
                f"Job {job} is being deleted and still there.",
                hint="A pod that does not end, or a finalizer, holds it: kubectl describe job shows which.",
            )
        time.sleep(_LOOK)
    return True


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
