"""The workloads of a rollout as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from provisioner.render.sizes import count

if TYPE_CHECKING:
    from rich.console import RenderableType

    from provisioner.ops.rollout.readers import Reader


def table(found: Sequence[Reader], release: str, done: Mapping[str, Any] | None) -> RenderableType:
    """Which workloads mount which release; with `done` after a rollout, without it before one."""
    from rich.console import Group
    from rich.table import Table

    if not found:
        return f"No workload mounts a release of this volume; {release} is for the next one: provision emit mount."
    rows = Table(box=None, pad_edge=False)
    for title in ("workload", "mounts", "would mount" if done is None else "wanted"):
        rows.add_column(title, no_wrap=True)
    for one in found:
        rows.add_row(str(one), ", ".join(one.releases), release)
    return Group(rows, *_sentences(found, release, done))


def _sentences(found: Sequence[Reader], release: str, done: Mapping[str, Any] | None) -> list[str]:
    if done is None:
        left = sum(not one.has(release) for one in found)
        return [f"{count(left, 'workload')} of {len(found)} would change; nothing was changed."]
    left = sum(not one.has(release) for one in found)
    rest = f", {left} not" if left else ""
    return [f"{count(len(done['changed']), 'workload')} changed{rest}; release {release}."]
