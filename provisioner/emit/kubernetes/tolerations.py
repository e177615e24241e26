"""Taints that pods may run beside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from provisioner.emit.kubernetes.names import LabelKey, LabelValue
from provisioner.errors import Problem


class Toleration(Struct, frozen=True, forbid_unknown_fields=True):
    """As the API has it, and calls it.

    Attributes:
        operator: the API server takes None for Equal.
        tolerationSeconds: how long a pod stays beside a taint that evicts.
    """

    key: LabelKey | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


def contradictions(one: Toleration, place: str) -> Iterator[Problem]:
    """What the API server refuses of one whose keys are each right."""
    if one.key is None and one.operator != "Exists":
        yield Problem(f"{place}.key", 'is missing, and only operator = "Exists" means every taint')
    if one.operator == "Exists" and one.value:
        yield Problem(f"{place}.value", 'is not compared by operator = "Exists"')
    if one.tolerationSeconds is not None and one.effect != "NoExecute":
        yield Problem(f"{place}.tolerationSeconds", 'is for effect = "NoExecute" only')
