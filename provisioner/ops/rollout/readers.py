"""Who reads releases of a volume: workloads that can be brought to another one, and everything a prune has to spare."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from provisioner.cluster.client import Cluster
from provisioner.errors import NotFound, UsageError
from provisioner.ops.job.objects import is_over, name
from provisioner.ops.rollout.state import owner
from provisioner.ops.rollout.workloads import Object, named, uses

KINDS = ("Deployment", "StatefulSet", "DaemonSet")


@dataclass(frozen=True, slots=True)
class Reader:
    """A workload that mounts releases of the volume.

    Attributes:
        releases: those it mounts now.
        owner: who made it and would undo a change, or "".
    """

    kind: str
    name: str
    releases: tuple[str, ...]
    live: Object
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    def has(self, release: str) -> bool:
        """Whether it mounts this release and no other."""
        return self.releases == (release,)


def readers(cluster: Cluster, claims: Collection[str], wanted: Sequence[str] = ()) -> tuple[Reader, ...]:
    """The workloads that mount a release of these claims; with `wanted` only these KIND/NAME or NAME.

    Raises UsageError for a kind that cannot be rolled out, NotFound for one that is not there, or mounts no release.
    """
    for text in wanted:
        if "/" in text and not any(_is_kind(text.partition("/")[0], kind) for kind in KINDS):
            raise UsageError(f"{text} is no workload that can be rolled out.", hint="As in: deployment/NAME")
    every = [found for kind in KINDS for one in cluster.list(kind) if (found := _reader(kind, one, claims))]
    chosen = [one for one in every if not wanted or any(_means(text, one) for text in wanted)]
    there = ", ".join(map(str, every)) or "none"
    for text in wanted:
        if not any(_means(text, one) for one in chosen):
            raise NotFound(
                f"No workload {text} in namespace {cluster.namespace} mounts a release of {', '.join(claims)}.",
                hint=f"Those that do: {there}. `provision emit mount --write FILE` gives a manifest the mount.",
            )
    return tuple(chosen)


def _reader(kind: str, one: Object, claims: Collection[str]) -> Reader | None:
    found = tuple(sorted({use.release for use in uses(one["spec"]["template"], claims)}))
    live = {"apiVersion": "apps/v1", "kind": kind} | one
    return Reader(kind, name(one), found, live, owner(one)) if found else None


def _means(text: str, reader: Reader) -> bool:
    kind, slash, wanted = text.rpartition("/")
    return wanted == reader.name and (not slash or _is_kind(kind, reader.kind))


def _is_kind(text: str, kind: str) -> bool:
    return text.lower() in (kind.lower(), f"{kind.lower()}s")


@dataclass(frozen=True, slots=True)
class InUse:
    """What a prune has to know.

    Attributes:
        releases: mounted or named by something of the namespace that runs or may run.
        unclear: what mounts the whole volume, and does not say which release it reads.
    """

    releases: tuple[str, ...]
    unclear: tuple[str, ...]


def in_use(cluster: Cluster, claims: Collection[str]) -> InUse:
    """The releases that pods, workloads (those scaled to nothing too), CronJobs and unfinished Jobs are about.

    Old revisions of a Deployment are not asked: they would keep ten releases. How far `kubectl rollout undo` reaches
    back is what `--keep` says.
    """
    found: set[str] = set()
    unclear: list[str] = []
    for what, template in _templates(cluster):
        if (releases := named(template, claims)) is None:
            unclear.append(what)
        else:
            found |= releases
    return InUse(tuple(sorted(found)), tuple(sorted(unclear)))


def _templates(cluster: Cluster) -> Iterator[tuple[str, Object]]:
    for pod in cluster.list("Pod"):
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            yield f"pod {name(pod)}", pod
    for kind in KINDS:
        yield from ((f"{kind} {name(one)}", one["spec"]["template"]) for one in cluster.list(kind))
    for job in cluster.list("Job"):
        if not is_over(job):
            yield f"Job {name(job)}", job["spec"]["template"]
    for one in cluster.list("CronJob"):
        yield f"CronJob {name(one)}", one["spec"]["jobTemplate"]["spec"]["template"]
