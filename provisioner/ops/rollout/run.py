"""One workload after the other to another release; what does not come up is put back as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from provisioner.cluster.client import Cluster
from provisioner.cluster.errors import Conflict
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.settings import Settings
from provisioner.errors import NotFound, Unusable, UsageError
from provisioner.ops.job.objects import name, waiting
from provisioner.ops.rollout.workloads import (
    KINDS,
    Object,
    progress,
    repointed,
    restarts_apart,
    stops_first,
    uses,
)

_TRIES = 5  # against others who change the same object


class RolloutFailed(Unusable):
    """A workload whose new pods do not come up."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A workload that mounts releases of the volume.

    Attributes:
        releases: those it mounts now.
    """

    kind: str
    name: str
    releases: tuple[str, ...]
    live: Object

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    def has(self, release: str) -> bool:
        """Whether it mounts this release and no other."""
        return self.releases == (release,)


def readers(cluster: Cluster, claims: Collection[str], wanted: Sequence[str] = ()) -> tuple[Reader, ...]:
    """The workloads that mount a release of these claims; with `wanted` only these KIND/NAME or NAME.

    Raises NotFound for one that is wanted and is not there, or mounts no release of them.
    """
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
    return Reader(kind, name(one), found, {"apiVersion": "apps/v1", "kind": kind} | one) if found else None


def _means(text: str, reader: Reader) -> bool:
    kind, slash, wanted = text.rpartition("/")
    return wanted == reader.name and (not slash or kind.lower() in (reader.kind.lower(), reader.kind.lower() + "s"))


def check(every: Sequence[Reader], settings: Settings, facts: Facts, claims: Collection[str]) -> None:
    """Raise, before anything is changed, what a change of one of these would raise; UsageError for one not to be had.

    Raises NotFound where a workload mounts a model that the lock does not have.
    """
    for reader in every:
        if why := restarts_apart(reader.live):
            raise UsageError(f"{reader} cannot be rolled out: {why}.", hint="Resume or restart it, or name the others.")
        repointed(reader.live["spec"]["template"], settings, facts, claims, str(reader))


@dataclass(frozen=True, slots=True)
class Rollout:
    """What every step of one rollout needs.

    Attributes:
        note: tells a person one sentence.
        timeout: seconds that one workload may take.
        every: seconds between two looks at it.
    """

    cluster: Cluster
    settings: Settings
    facts: Facts
    claims: tuple[str, ...]
    note: Callable[[str], None]
    timeout: float
    every: float = 2.0

    def roll(self, reader: Reader) -> bool:
        """Bring one workload to the release of the lock; False when it was there.

        Raises RolloutFailed when its new pods do not come up in time; then its old template is back.
        """
        if reader.has(self.facts.release):
            return False
        if stops_first(reader.live):
            self.note(f"{reader} has the strategy Recreate: it does not serve until its new pods are ready.")
        self._change(reader, self._new)
        self.note(f"{reader}: {', '.join(reader.releases)} -> {self.facts.release}.")
        try:
            self._wait(reader)
        except RolloutFailed:
            before = reader.live["spec"]["template"]
            self._change(reader, lambda _: before)
            self.note(f"{reader} has its old template back; its old pods were never all taken away.")
            raise
        return True

    def _new(self, template: Object) -> Object:
        result, notes = repointed(template, self.settings, self.facts, self.claims, "It")
        for text in notes:
            self.note(text)
        return result

    def _change(self, reader: Reader, change: Callable[[Object], Object]) -> None:
        """Replace the pod template as it is now, whoever else changes the object meanwhile."""
        for attempt in range(1, _TRIES + 1):
            now = self._get(reader)
            spec = now["spec"] | {"template": change(now["spec"]["template"])}
            try:
                self.cluster.replace({"apiVersion": "apps/v1", "kind": reader.kind} | now | {"spec": spec})
                return
            except Conflict:
                if attempt == _TRIES:
                    raise

    def _get(self, reader: Reader) -> Object:
        found = self.cluster.get(reader.kind, reader.name)
        if found is None:
            raise NotFound(f"{reader} is gone.", hint="Run the same command again: it takes those that are there.")
        return found

    def _wait(self, reader: Reader) -> None:
        until, last = time.monotonic() + self.timeout, -1
        while True:
            now = {"kind": reader.kind} | self._get(reader)
            found = progress(now)
            if found.ready != last:
                last = found.ready
                self.note(f"  {reader}: {found.ready} of {found.wanted} pods serve the new release.")
            if found.done:
                return
            if found.stuck or time.monotonic() > until:
                raise RolloutFailed(
                    f"{reader} does not come up with release {self.facts.release}: {self._why(now)}.",
                    hint=f"kubectl describe {reader} and its logs say more; the release itself is verified and stays.",
                )
            time.sleep(self.every)

    def _why(self, workload: Object) -> str:
        labels = workload["spec"]["selector"].get("matchLabels") or {}
        pods = [
            pod
            for pod in self.cluster.list("Pod", labels)
            if any(use.release == self.facts.release for use in uses(pod, self.claims))
        ]
        return "; ".join(dict.fromkeys(_troubles(pods))) or "its pods are not ready in time"


def _troubles(pods: Sequence[Object]) -> Iterator[str]:
    for pod in pods:
        found = [f"{reason} ({message})" if message else reason for _, reason, message in waiting(pod)]
        if found:
            yield f"pod {name(pod)}: {', '.join(found)}"
        elif (pod.get("status") or {}).get("phase") == "Pending":
            yield f"pod {name(pod)} is Pending"


def in_use(cluster: Cluster, claims: Collection[str]) -> tuple[str, ...]:
    """The releases of these claims that pods of the namespace mount at this moment."""
    found: set[str] = set()
    for pod in cluster.list("Pod"):
        found |= {use.release for use in uses(pod, claims)}
    return tuple(sorted(found))


__all__ = ["Reader", "Rollout", "RolloutFailed", "check", "in_use", "readers"]
