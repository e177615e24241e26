"""Locks and their changes, as tables for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from provisioner.render.sizes import count, size
from provisioner.render.tables import table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from provisioner.lockfile import FileChange, ModelChange
    from provisioner.model import FileEntry, Lock, Model
    from provisioner.ops.lock_edits import Edited
    from provisioner.ops.locking import Locked

_SHORT = 12  # hex digits of a commit


def model(one: Model) -> dict[str, Any]:
    """A model as JSON."""
    return {
        "repo": one.repo,
        "revision": one.revision,
        "commit": one.commit,
        "layouts": list(one.layouts),
        "include": list(one.include),
        "exclude": list(one.exclude),
        "license": one.license,
        "allow_pickle": one.allow_pickle,
        "allow_remote_code": one.allow_remote_code,
        "bytes": one.size,
        "files": [_file(file) for file in one.files],
    }


def chosen(locked: Locked) -> dict[str, Any]:
    """A model that was pinned, with what was left out and why, as JSON."""
    left_out = [{"path": path, "reason": reason} for path, reason in locked.choice.left_out]
    return model(locked.model) | {"left_out": left_out}


def change(one: ModelChange) -> dict[str, Any]:
    """What changes in a model, as JSON."""
    return {
        "repo": one.repo,
        "change": _verb(one),
        "commit": {"before": one.before and one.before.commit, "after": one.after and one.after.commit},
        "files": [
            {"path": f.path, "before": f.before and _file(f.before), "after": f.after and _file(f.after)}
            for f in one.files
        ],
    }


def models(lock: Lock, path: str) -> RenderableType:
    """Every model of a lock."""
    result = table(path, "model", "revision", "commit", "layouts", "licence", "#files", "#size")
    for one in lock.models:
        _row(
            result,
            one.repo,
            _short(one.revision),
            _short(one.commit),
            ", ".join(one.layouts),
            one.license or "",
            f"{len(one.files):,}",
            size(one.size),
        )
    return result


def added(edited: Edited, path: str, dry_run: bool) -> RenderableType:
    """What `lock add` pinned; a dry run shows every file with the reason it is left out for."""
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = []
    for locked in edited.locked:
        one = locked.model
        left = f", {len(locked.choice.left_out):,} left out" if locked.choice.left_out else ""
        verb = "Would lock" if dry_run else "Locked"
        lines.append(
            f"{verb} {one.repo} at {_short(one.commit)}: {count(len(one.files), 'file')}, {size(one.size)}{left}."
        )
        if dry_run:
            lines.append(_choice(locked))
    lines.append("Nothing was written." if dry_run else f"See {path}.")
    return Group(*(Text(line) if isinstance(line, str) else line for line in lines))


def _choice(locked: Locked) -> RenderableType:
    result = table("", "file", "#size", "why not")
    for file in locked.model.files:
        _row(result, file.path, size(file.size), "")
    for path, reason in locked.choice.left_out:
        _row(result, path, "", reason)
    return result


def changes(found: Iterable[ModelChange], verb: str, path: str) -> RenderableType:
    """What an update changes, file by file."""
    from rich.text import Text

    found = tuple(found)
    if not found:
        return Text(f"{path} is up to date.")
    result = table(f"{verb} {path}", "model", "file", "change", "#before", "#after")
    for one in found:
        _row(result, one.repo, "", _commits(one), "", "")
        for file in one.files:
            _row(result, "", file.path, _verb(file), _size(file.before), _size(file.after))
    return result


def _row(result: Table, *cells: str) -> None:
    """A row of plain text: a file's name is no markup."""
    from rich.text import Text

    result.add_row(*map(Text, cells))


def _commits(one: ModelChange) -> str:
    if one.before and one.after and one.before.commit != one.after.commit:
        return f"{_short(one.before.commit)} -> {_short(one.after.commit)}"
    return _verb(one)


def _verb(one: ModelChange | FileChange) -> str:
    if one.before is None:
        return "added"
    return "removed" if one.after is None else "changed"


def _size(file: FileEntry | None) -> str:
    return size(file.size) if file else ""


def _short(text: str) -> str:
    is_hex = len(text) == 40 and set(text) <= set("0123456789abcdef")
    return text[:_SHORT] if is_hex else text


def _file(file: FileEntry) -> dict[str, Any]:
    return {"path": file.path, "size": file.size, "sha256": file.sha256, "git_sha1": file.git_sha1}
