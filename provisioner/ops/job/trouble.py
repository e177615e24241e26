"""The usual trouble of a Job in one sentence each, by reasons and statuses; messages are quoted, never read. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.ops.job import containers, refusals, volumes
from provisioner.ops.job.objects import is_done, is_over, job_claims
from provisioner.ops.job.scene import Scene, Trouble


def troubles(scene: Scene) -> list[Trouble]:
    """All trouble that is seen now, the deepest cause of each pod only."""
    if is_over(scene.job):
        return []
    found = list(refusals.of_job(scene))
    for pod in scene.pods:
        if is_done(pod):
            continue
        every = (containers.not_starting(scene, pod), volumes.of_pod(scene, pod), refusals.not_scheduled(scene, pod))
        first = next((one for some in every for one in some), None)
        found += [first] if first else []
    if not scene.pods and not found:
        found += _of_claims(scene)
    return list(dict.fromkeys(found))


def _of_claims(scene: Scene) -> Iterator[Trouble]:
    for one in job_claims(scene.job):
        if one in scene.claims:
            yield from volumes.of_claim(scene, one)
