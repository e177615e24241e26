"""What an update of a lock would change, file by file."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.model import FileEntry, Lock, Model


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that is added (no before), removed (no after) or changed (both)."""

    path: str
    before: FileEntry | None
    after: FileEntry | None


@dataclass(frozen=True, slots=True)
class ModelChange:
    """One model that is added, removed or changed; `files` lists only what differs."""

    repo: str
    before: Model | None
    after: Model | None
    files: tuple[FileChange, ...]


def diff(before: Lock, after: Lock) -> tuple[ModelChange, ...]:
    """The changes from one lock to another, by repository."""
    repos = sorted({model.repo for lock in (before, after) for model in lock.models})
    pairs = ((repo, before.find(repo), after.find(repo)) for repo in repos)
    return tuple(ModelChange(repo, old, new, _files(old, new)) for repo, old, new in pairs if old != new)


def _files(before: Model | None, after: Model | None) -> tuple[FileChange, ...]:
    old = {file.path: file for file in before.files} if before else {}
    new = {file.path: file for file in after.files} if after else {}
    return tuple(
        FileChange(path, old.get(path), new.get(path))
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    )
