"""What a container asks for."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, structs

from provisioner.emit.kubernetes.names import Quantity
from provisioner.emit.kubernetes.quantities import amount
from provisioner.errors import Problem


class Resources(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests and limits of one container; no limit where it is empty."""

    cpu: Quantity = Quantity("1")
    memory: Quantity = Quantity("512Mi")
    cpu_limit: Quantity | None = None
    memory_limit: Quantity | None = Quantity("1Gi")


def above_limits(table: Struct, place: str) -> Iterator[Problem]:
    """The requests above their limit, which the API server refuses, in a table and all that are in it."""
    if isinstance(table, Resources):
        for key, wanted, limit in (("cpu", table.cpu, table.cpu_limit), ("memory", table.memory, table.memory_limit)):
            if limit is not None and (amount(wanted) or 0) > (amount(limit) or 0):
                yield Problem(f"{place}.{key}", f"{wanted} is above {key}_limit, which is {limit}")
    for name, value in structs.asdict(table).items():
        if isinstance(value, Struct):
            yield from above_limits(value, f"{place}.{name}")
