"""How far a workload is with its last change, and whether a change of its template replaces its pods at all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def owner(one: Mapping[str, Any]) -> str:
    """KIND/NAME of the controller that made this workload and would undo a change of it, or ""."""
    for reference in one["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            return f"{reference.get('kind')}/{reference.get('name')}"
    return ""


def restarts_apart(one: Mapping[str, Any]) -> str:
    """Why a change of this workload's pod template would not replace all of its pods by itself, or ""."""
    spec = one["spec"]
    strategy = spec.get("updateStrategy") or {}
    if spec.get("paused"):
        return "it is paused"
    if strategy.get("type") == "OnDelete":
        return "its pods are only replaced when somebody deletes them (OnDelete)"
    if partition := (strategy.get("rollingUpdate") or {}).get("partition"):
        return f"its partition of {partition} keeps pods below that number on the old template"
    return ""


def stops_first(one: Mapping[str, Any]) -> bool:
    """Whether all pods end before the first new one starts."""
    return (one["spec"].get("strategy") or {}).get("type") == "Recreate"


def back_again(one: Mapping[str, Any]) -> str:
    """What to say when a workload's old template was put back."""
    if one["kind"] == "StatefulSet" and one["spec"].get("podManagementPolicy") != "Parallel":
        # https://github.com/kubernetes/kubernetes/issues/67250
        return "Its old template is back; delete its broken pod, which a StatefulSet does not replace by itself."
    return "Its old template is back."


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a workload is.

    Attributes:
        ready: pods of the new template that serve.
        wanted: pods there will be.
        stuck: whether its controller has given up waiting.
    """

    ready: int
    wanted: int
    done: bool
    stuck: bool = False


def progress(one: Mapping[str, Any]) -> Progress:
    """What the status says of the change that was last made to the spec."""
    spec, status = one["spec"], one.get("status") or {}
    seen = int(status.get("observedGeneration") or 0) >= int(one["metadata"].get("generation") or 0)
    if one["kind"] == "DaemonSet":
        wanted = int(status.get("desiredNumberScheduled") or 0)
        new, serving = _number(status, "updatedNumberScheduled"), _number(status, "numberAvailable")
        return Progress(min(new, serving), wanted, seen and new >= wanted and serving >= wanted)
    wanted = 1 if spec.get("replicas") is None else int(spec["replicas"])
    new, serving = _number(status, "updatedReplicas"), _number(status, "availableReplicas")
    done = seen and new >= wanted and serving >= wanted and _number(status, "replicas") <= wanted
    return Progress(min(new, serving), wanted, done, seen and _gave_up(status))


def _number(status: Mapping[str, Any], key: str) -> int:
    return int(status.get(key) or 0)


def _gave_up(status: Mapping[str, Any]) -> bool:
    return any(
        one.get("type") == "Progressing" and one.get("reason") == "ProgressDeadlineExceeded"
        for one in status.get("conditions") or []
    )
