"""The pod templates and Compose services of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.errors import InvalidInput, NotFound, UsageError

SERVICE = "service"
_TEMPLATES = (("spec", "jobTemplate", "spec", "template"), ("spec", "template"))


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that runs containers.

    Attributes:
        kind: as the manifest has it; "service" for one of Compose.
        path: the document, and the keys from there to the pod template or the service.
    """

    kind: str
    name: str
    path: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    def within(self, documents: Sequence[Any]) -> Any:
        """The pod template or service."""
        value: Any = documents
        for step in self.path:
            value = value[step]
        return value


def choose(file: str, documents: Sequence[Any], wanted: str | None) -> Workload:
    """The workload called KIND/NAME or NAME, or the only one. Raises NotFound, UsageError, InvalidInput."""
    every = list(workloads(documents))
    if not every:
        raise InvalidInput(
            f"{file} has no pod template and no Compose service.",
            hint="It takes a Deployment, StatefulSet, DaemonSet, Job, CronJob, Pod or the like, or a Compose file.",
        )
    kind, slash, name = (wanted or "").rpartition("/")
    found = [
        one for one in every if wanted is None or (one.name == name and (not slash or one.kind.lower() == kind.lower()))
    ]
    if len(found) == 1:
        return found[0]
    there = " | ".join(dict.fromkeys(map(str, every)))
    if not found:
        raise NotFound(f"{file} has no {wanted}.", hint=f"Choose: --workload {there}")
    raise UsageError(f"{file} has several {'workloads' if wanted is None else wanted}.", hint=_several(there, wanted))


def _several(there: str, wanted: str | None) -> str:
    return f"Choose: --workload {there}" if wanted is None or "/" not in wanted else "Keep each in a file of its own."


def workloads(documents: Sequence[Any]) -> Iterator[Workload]:
    """Everything with a pod template, also in a List and of kinds that we do not know, and every Compose service."""
    for index, document in enumerate(documents):
        if isinstance(document, Mapping):
            yield from _services(document, index) if "kind" not in document else _objects(document, (index,))


def _services(document: Mapping[str, Any], index: int) -> Iterator[Workload]:
    if isinstance(services := document.get("services"), Mapping):
        yield from (Workload(SERVICE, name, (index, "services", name)) for name in services if name != "<<")


def _objects(document: Mapping[str, Any], path: tuple[int | str, ...]) -> Iterator[Workload]:
    if isinstance(items := document.get("items"), list):
        for index, item in enumerate(items):
            if isinstance(item, Mapping):
                yield from _objects(item, (*path, "items", index))
    for steps in ((), *_TEMPLATES) if document.get("kind") == "Pod" else _TEMPLATES:
        if _is_template(_at(document, steps)):
            metadata = document.get("metadata")
            name = metadata.get("name") if isinstance(metadata, Mapping) else None
            yield Workload(str(document.get("kind")), str(name or ""), (*path, *steps))
            return


def _at(value: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _is_template(value: Any) -> bool:
    containers = _at(value, ("spec", "containers"))
    return isinstance(containers, list) and bool(containers)
