"""What a model server serves, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.render.printable import printable
from provisioner.render.sizes import count, duration, size
from provisioner.render.tables import facts, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from provisioner.serve.backend import Checked, Served, Status


def served_table(status: Status) -> RenderableType:
    """The release, how it was checked, and each model with what computes it."""
    from rich.console import Group

    models = table("Models", "task", "model", "commit", "engine", "#threads", "#tokens", "#seconds")
    for served in status.models:
        models.add_row(*map(printable, _row(served)))
    head = f"Ready in {duration(status.start_seconds)}, as the {status.role} server"
    return Group(facts(head, _release(status.release)), models)


def _row(served: Served) -> tuple[str, ...]:
    about = served.about
    return (
        served.task,
        served.repo,
        served.commit[:12],
        f"{about.engine} {about.precision} on {about.device}",
        str(about.threads),
        str(about.max_length),
        f"{served.load_seconds:.2f}",
    )


def _release(release: Checked | None) -> list[tuple[str, str]]:
    if release is None:
        return []
    return [
        ("release", release.release),
        ("content", f"{count(release.files, 'file')}, {size(release.size)}"),
        ("evidence", f"{release.evidence}, in {duration(release.seconds)}"),
        ("published", release.created or "unknown"),
    ]
