"""One workload after the other to another release; what does not come up is put back as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from provisioner.cluster.client import Cluster
from provisioner.cluster.errors import Conflict
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.settings import Settings
from provisioner.errors import NotFound, ProvisionError, Unavailable, Unusable, UsageError
from provisioner.ops.job.objects import name, waiting
from provisioner.ops.rollout.readers import Reader
from provisioner.ops.rollout.state import back_again, progress, restarts_apart, stops_first
from provisioner.ops.rollout.workloads import Object, repointed, uses

_TRIES = 5  # against others who change the same object
_GIVEN_UP = 3  # looks in a row: what a controller said of an earlier change may stand there for a moment
_PATIENCE = 300.0  # seconds without an answer of the API server, as when a Job is followed

_T = TypeVar("_T")


class RolloutFailed(Unusable):
    """A workload whose new pods do not come up."""


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

    def check(self, readers: Sequence[Reader]) -> None:
        """Raise, before anything is changed, what changing these would raise, missing rights included.

        Raises UsageError for one that cannot be rolled out, NotFound where a model is mounted that the lock lacks.
        """
        for reader in readers:
            if reader.has(self.facts.release):
                continue
            if why := restarts_apart(reader.live):
                raise UsageError(f"{reader} cannot be rolled out: {why}.", hint="Mend that, or name the others.")
            made = self._made(reader.live["spec"]["template"], str(reader))[0]
            with suppress(Conflict):  # it was changed since it was listed; later it is read again
                self.cluster.replace(_with_template(reader.live, made), dry_run=True)

    def roll(self, reader: Reader) -> bool:
        """Bring one workload to the release of the lock, until its pods serve; False when it had it.

        Raises RolloutFailed when its new pods do not come up in time; then its old template is back, unless somebody
        else has changed it meanwhile, or it had the release before.
        """
        if reader.has(self.facts.release):
            self._wait(reader)
            return False
        if stops_first(reader.live):
            self.note(f"{reader} has the strategy Recreate: it does not serve until its new pods are ready.")
        before, after = self._repoint(reader)
        self.note(f"{reader}: {', '.join(reader.releases)} -> {self.facts.release}.")
        try:
            self._wait(reader)
        except RolloutFailed as error:
            raise RolloutFailed(f"{error} {self._back(reader, before, after)}", hint=error.hint) from None
        return True

    def _made(self, template: Object, where: str) -> tuple[Object, tuple[str, ...]]:
        return repointed(template, self.settings, self.facts, self.claims, where)

    def _repoint(self, reader: Reader) -> tuple[Object, Object]:
        """Change the template as it is now; what it was, and what the API server made of it."""

        def change() -> tuple[Object, Object]:
            now = self._get(reader)
            before = now["spec"]["template"]
            made, notes = self._made(before, str(reader))
            if made == before:
                return before, before  # an answer was lost, and the change was made
            found = self.cluster.replace(_with_template(now, made))
            for text in notes:
                self.note(text)
            return before, found["spec"]["template"]

        return self._patiently(lambda: self._unopposed(change, reader))

    def _back(self, reader: Reader, before: Object, after: Object) -> str:
        """Put the old template back where ours still stands; one sentence about it."""

        def change() -> str:
            now = self._get(reader)
            if now["spec"]["template"] == before:
                return back_again(now)
            if now["spec"]["template"] != after:
                return "Its template was changed by somebody else meanwhile, so it is left as it is."
            self.cluster.replace(_with_template(now, before))
            return back_again(now)

        try:
            return self._patiently(lambda: self._unopposed(change, reader))
        except ProvisionError as error:
            return f"Its old template could not be put back: {error}"

    def _unopposed(self, change: Callable[[], _T], reader: Reader) -> _T:
        """A change of an object that others change too."""
        for _ in range(_TRIES):
            try:
                return change()
            except Conflict:
                continue
        raise Unavailable(f"{reader} is changed by somebody else all the time.", hint="Find out by whom; then again.")

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """An answer of the API server, which may be away for a while."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return ask()
            except Unavailable as error:
                if not error.retryable or time.monotonic() > until:
                    raise
                time.sleep(self.every)

    def _get(self, reader: Reader) -> Object:
        found = self.cluster.get(reader.kind, reader.name)
        if found is None:
            raise NotFound(f"{reader} is gone.", hint="Run the same command again: it takes those that are there.")
        return {"apiVersion": "apps/v1", "kind": reader.kind} | found

    def _wait(self, reader: Reader) -> None:
        until, last, given_up = time.monotonic() + self.timeout, -1, 0
        while True:
            now = self._patiently(lambda: self._get(reader))
            found = progress(now)
            if found.ready != last:
                last = found.ready
                self.note(f"  {reader}: {found.ready} of {found.wanted} pods serve release {self.facts.release}.")
            if found.done:
                return
            given_up = given_up + 1 if found.stuck else 0
            if given_up >= _GIVEN_UP or time.monotonic() > until:
                raise RolloutFailed(
                    f"{reader} does not come up with release {self.facts.release}: {self._why(now)}.",
                    hint=f"kubectl describe {reader} and its logs say more; the release itself is verified and stays.",
                )
            time.sleep(self.every)

    def _why(self, workload: Object) -> str:
        labels = workload["spec"]["selector"].get("matchLabels") or {}
        pods = [
            pod
            for pod in self._patiently(lambda: self.cluster.list("Pod", labels))
            if any(use.release == self.facts.release for use in uses(pod, self.claims))
        ]
        return "; ".join(dict.fromkeys(_troubles(pods))) or "its pods are not ready in time"


def _with_template(one: Object, template: Object) -> Object:
    return one | {"spec": one["spec"] | {"template": template}}


def _troubles(pods: Sequence[Object]) -> Iterator[str]:
    for pod in pods:
        found = [f"{reason} ({message})" if message else reason for _, reason, message in waiting(pod)]
        if found:
            yield f"pod {name(pod)}: {', '.join(found)}"
        elif (pod.get("status") or {}).get("phase") == "Pending":
            yield f"pod {name(pod)} is Pending"
