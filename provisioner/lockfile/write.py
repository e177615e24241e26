"""Canonical writing: the same lock gives the same bytes, one file per line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.lockfile.schema import VERSION
from provisioner.model import FileEntry, Lock, Model

if TYPE_CHECKING:
    from tomlkit.items import Array, InlineTable, Item, Table

_HEADER = "Pinned models. Written by `provision lock`; the format is docs/lock-format.md."


def dump(lock: Lock) -> bytes:
    """The lock as TOML; models by repository, files by path."""
    import tomlkit  # 150 ms, and only writers need it

    document = tomlkit.document()
    document.add(tomlkit.comment(_HEADER))
    document["version"] = VERSION
    if lock.models:
        models = tomlkit.aot()
        for model in sorted(lock.models, key=lambda model: model.repo.lower()):
            models.append(_model(model))
        document["models"] = models
    return tomlkit.dumps(document).encode()


def _model(model: Model) -> Table:
    import tomlkit

    table = tomlkit.table()
    table["repo"] = str(model.repo)
    table["revision"] = str(model.revision)
    table["commit"] = str(model.commit)
    table["layouts"] = [layout.value for layout in model.layouts]
    for key in ("include", "exclude"):
        if globs := getattr(model, key):
            table[key] = list(globs)
    if model.license is not None:
        table["license"] = model.license
    for flag in ("allow_pickle", "allow_remote_code"):
        if getattr(model, flag):
            table[flag] = True
    table["files"] = _files(model.files)
    return table


def _files(files: tuple[FileEntry, ...]) -> Array:
    import tomlkit

    lines: list[Item] = [_line(file) for file in sorted(files, key=lambda file: file.path.encode())]
    # Appending to an array renders it anew each time: 22,000 files would take minutes.
    return tomlkit.items.Array(lines, tomlkit.items.Trivia(), multiline=True)


def _line(file: FileEntry) -> InlineTable:
    import tomlkit

    line = tomlkit.inline_table()
    line["path"] = str(file.path)
    line["size"] = file.size
    line["sha256"] = str(file.sha256)
    if file.git_sha1 is not None:
        line["git_sha1"] = str(file.git_sha1)
    return line
