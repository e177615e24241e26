"""Strict reading: every problem of a lock, each with its place, in one error."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from typing import Any

from provisioner.errors import InvalidDocument, Problem
from provisioner.lockfile.schema import VERSION, FileSchema, LockSchema, ModelSchema, problems, read
from provisioner.model import FileEntry, Layout, Lock, Model, collisions

MAX_BYTES = 64 * 2**20


def parse(text: bytes, name: str = "models.lock") -> Lock:
    """Read a lock.

    Raises InvalidDocument with all problems, each placed like `models[3].files[1].sha256`.
    """
    data = _toml(text, name)
    if (version := data.get("version", VERSION)) != VERSION or isinstance(version, bool):
        raise InvalidDocument(
            name,
            (Problem("version", f"{_shown(version)} is not known; this tool reads version {VERSION}"),),
            hint="Use a newer model-provisioner.",
        )
    lock = _validated(data, name)
    if clashes := tuple(_clashes(lock)):
        raise InvalidDocument(name, clashes)
    return lock


def _toml(text: bytes, name: str) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise InvalidDocument(name, (Problem("", f"larger than {MAX_BYTES} bytes"),))
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError, OverflowError) as error:  # a number of 5,000 digits is a ValueError
        raise InvalidDocument(name, (Problem("", f"not TOML: {error}"),)) from None


def _shown(value: Any) -> str:
    try:
        return repr(value)[:100]
    except ValueError:  # a hexadecimal number too long to be written in decimal
        return "a number of thousands of digits"


def _validated(data: dict[str, Any], name: str) -> Lock:
    from msgspec import ValidationError

    try:
        document = read(data)
    except ValidationError as error:
        found = tuple(problems(data, LockSchema)) or (Problem("", str(error)),)
        raise InvalidDocument(name, found) from None
    return Lock(tuple(map(_model, document.models)))


def _model(model: ModelSchema) -> Model:
    return Model(
        repo=model.repo,
        revision=model.revision,
        commit=model.commit,
        layouts=tuple(layout for layout in Layout if layout in model.layouts),
        files=tuple(sorted(map(_file, model.files), key=lambda file: file.path.encode())),
        include=model.include,
        exclude=model.exclude,
        license=model.license,
        allow_pickle=model.allow_pickle,
        allow_remote_code=model.allow_remote_code,
    )


def _file(file: FileSchema) -> FileEntry:
    return FileEntry(file.path, file.size, file.sha256, file.git_sha1)


def _clashes(lock: Lock) -> Iterator[Problem]:
    """What no schema can say: paths and names that cannot stand beside each other."""
    for index, model in enumerate(lock.models):
        for first, second in collisions(tuple(file.path for file in model.files)):
            yield Problem(f"models[{index}].files", f"{second!r} collides with {first!r}")
        for key in ("layouts", "include", "exclude"):
            if len(set(values := getattr(model, key))) != len(values):
                yield Problem(f"models[{index}].{key}", "the same value twice")
        if _meets_main(model):
            yield Problem(f"models[{index}].revision", f"{str(model.revision)!r} collides with refs/main")
    yield from _repeated(lock, "repo", lambda model: model.repo.lower())
    yield from _repeated(lock, "layouts", _flat_name)


def _meets_main(model: Model) -> bool:
    """Every Hub cache has refs/main beside the revision that was asked for."""
    if set(model.layouts) <= {Layout.FLAT} or model.revision in ("main", str(model.commit)):
        return False
    return model.revision.lower().partition("/")[0] == "main"


def _flat_name(model: Model) -> str | None:
    """The folder under `models/`, where two organisations' models may meet."""
    return model.repo.name.lower() if Layout.FLAT in model.layouts else None


def _repeated(lock: Lock, key: str, of: Callable[[Model], str | None]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, model in enumerate(lock.models):
        if (value := of(model)) is None:
            continue
        if (first := seen.setdefault(value, index)) != index:
            yield Problem(f"models[{index}].{key}", f"{model.repo} collides with models[{first}]")
