"""A release's digests as `sha256sum -c` and rclone read them. Pure."""

from __future__ import annotations

from provisioner.errors import NotFound, UsageError
from provisioner.layout import ROOTS
from provisioner.model import Layout, Lock, Model
from provisioner.record import LOCK_NAME, ReleaseRecord


def sums(record: ReleaseRecord, folder: str = "") -> str:
    """One line `SHA256  PATH` for every file, the paths relative to the release or to a folder of it.

    A release's own lock is listed too; its record is not, for no file can hold its own digest.
    GNU's escapes are not needed: no path of a release holds a backslash or a line break.
    """
    lines = {str(entry.path): entry.sha256 for entry in record.tree.entries} | {LOCK_NAME: record.lock}
    start = f"{folder}/" if folder else ""
    chosen = sorted((path for path in lines if path.startswith(start)), key=str.encode)
    return "".join(f"{lines[path]}  {path.removeprefix(start)}\n" for path in chosen)


def folder_of(lock: Lock, name: str, layout: Layout | None) -> str:
    """The folder of a model in the release: `models/NAME` where it has one, else its folder of the first layout.

    Args:
        name: ORG/NAME, or NAME where one model alone is called so.
        layout: which of its folders, or None.

    Raises:
        NotFound: no such model, or not in this layout.
        UsageError: several models are called so.
    """
    model = _model(lock, name)
    if layout is not None and layout not in model.layouts:
        raise NotFound(
            f"{model.repo} is not there in the layout {layout}.", hint=f"It has: {', '.join(model.layouts)}."
        )
    chosen = layout or (Layout.FLAT if Layout.FLAT in model.layouts else model.layouts[0])
    return f"{ROOTS[chosen]}/{model.repo.name if chosen is Layout.FLAT else model.repo.cache_folder}"


def _model(lock: Lock, name: str) -> Model:
    folded = name.lower()
    found = [model for model in lock.models if folded in (model.repo.lower(), model.repo.name.lower())]
    if not found:
        raise NotFound(f"The release holds no model {name}.", hint=_there(lock))
    if len(found) > 1:
        raise UsageError(
            f"Several models are called {name}.", hint=f"Name one: {', '.join(model.repo for model in found)}."
        )
    return found[0]


def _there(lock: Lock) -> str:
    return f"It holds: {', '.join(model.repo for model in lock.models)}."
