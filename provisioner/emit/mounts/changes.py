"""What changes of pod templates and Compose services have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioner.emit.environment import POINTERS
from provisioner.emit.kubernetes.mount import is_below
from provisioner.errors import InvalidInput, UsageError

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Log:
    """What a change has to tell, and whether it may take the place of what somebody else wrote.

    Attributes:
        where: the workload, for messages.
        replace: conflicts are settled for us, and noted.
    """

    where: str
    replace: bool
    notes: list[str] = field(default_factory=list)

    def conflict(self, what: str) -> None:
        """Something of somebody else is in our place. Raises UsageError unless that may be replaced."""
        if not self.replace:
            raise UsageError(f"{self.where} has {what}.", hint="--replace takes its place; --path mounts elsewhere.")
        self.note(f"replaced {what}")

    def note(self, what: str) -> None:
        """Something that a person should know."""
        self.notes.append(f"{self.where}: {what}.")


def table(parent: Table, key: str, where: str) -> Table:
    """The mapping under a key, made where there is none. Raises InvalidInput for something else."""
    if isinstance(found := _child(parent, key, where, {}), dict):
        return found
    raise InvalidInput(f"{where}: {key} is no mapping.")


def items(parent: Table, key: str, where: str) -> list[Any]:
    """The list under a key, made where there is none. Raises InvalidInput for something else."""
    if isinstance(found := _child(parent, key, where, []), list):
        return found
    raise InvalidInput(f"{where}: {key} is no list.")


def _child(parent: Table, key: str, where: str, empty: Any) -> Any:
    if parent.get(key) is None:
        if key in merged(parent):
            raise InvalidInput(
                f"{where} takes {key} from an anchor (<<), and what is written here would hide that.",
                hint="Write it out for this one, or emit a form and merge it yourself.",
            )
        parent[key] = empty
    return parent[key]


def merged(parent: Mapping[str, Any]) -> Table:
    """What `<<` brings into a mapping."""
    result: Table = {}
    sources = parent.get("<<", ())
    for source in (sources,) if isinstance(sources, Mapping) else sources or ():
        if isinstance(source, Mapping):
            result = merged(source) | dict(source) | result
    return result


def stale(name: str, value: Any, wanted: Mapping[str, str], roots: Sequence[str]) -> bool:
    """Whether a variable points into a release as only an earlier run made it do.

    Of all that the environment of a release can have only its pointers differ between releases, and a pointer lies
    below the mount; so nothing has to be remembered about what was written before.
    """
    return (
        name in POINTERS
        and name not in wanted
        and isinstance(value, str)
        and any(is_below(value, root) for root in roots)
    )
