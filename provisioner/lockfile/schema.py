"""The shape of `models.lock`, version 1, and every way in which a document misses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct, ValidationError, convert, field
from msgspec.structs import fields

from provisioner.errors import Problem
from provisioner.model import Commit, Digest, GitSha1, Layout, RelPath, RepoId, Revision

VERSION = 1
MAX_SIZE = 2**53  # what every JSON reader can hold

_Glob = Annotated[str, Meta(min_length=1, max_length=1024)]


class FileSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of `files`."""

    path: RelPath
    size: Annotated[int, Meta(ge=0, le=MAX_SIZE)]
    sha256: Digest
    git_sha1: GitSha1 | None = None


class ModelSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[models]]` table."""

    repo: RepoId
    revision: Revision
    commit: Commit
    layouts: Annotated[tuple[Layout, ...], Meta(min_length=1)]
    files: Annotated[tuple[FileSchema, ...], Meta(min_length=1)]
    include: tuple[_Glob, ...] = ()
    exclude: tuple[_Glob, ...] = ()
    license: str | None = None
    allow_pickle: bool = False
    allow_remote_code: bool = False


class LockSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole document."""

    version: Literal[1]
    models: tuple[ModelSchema, ...] = field(default=())


def read(data: dict[str, Any]) -> LockSchema:
    """The document as values. Raises msgspec.ValidationError at the first thing that is wrong."""
    return convert(data, LockSchema, dec_hook=parsed)


def parsed(kind: type, value: Any) -> Any:
    """Our validated strings; they raise ValueError, which becomes msgspec's error with the place.

    Those with `takes_numbers` are given numbers too.
    """
    is_number = type(value) in (int, float) and getattr(kind, "takes_numbers", False)
    if not isinstance(value, str) and not is_number:
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


def problems(value: Any, kind: Any, place: str = "") -> Iterator[Problem]:
    """Everything that is wrong with a document, where msgspec itself stops at the first."""
    item = _item(kind)
    if isinstance(kind, type) and issubclass(kind, Struct) and isinstance(value, dict):
        yield from _table(value, kind, place)
    elif get_origin(kind) is dict and isinstance(value, dict):
        yield from _pairs(value, kind, place)
    elif item is not None and isinstance(value, list) and value:
        for index, element in enumerate(value):
            yield from problems(element, item, f"{place}[{index}]")
    else:
        try:
            convert(value, kind, dec_hook=parsed)
        except ValidationError as error:
            yield Problem(place, _words(error))


def _item(kind: Any) -> Any:
    """The type of an array's elements, or None for what is no array."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return get_args(plain)[0] if get_origin(plain) is tuple else None


def _pairs(value: dict[str, Any], kind: Any, place: str) -> Iterator[Problem]:
    """A table whose keys are data."""
    of_key, of_value = get_args(kind)
    for name, element in value.items():
        where = f"{place}.{name}".lstrip(".")
        if wrong := next(iter(problems(name, of_key)), None):
            yield Problem(where, wrong.message)
        else:
            yield from problems(element, of_value, where)


def _table(value: dict[str, Any], kind: type[Struct], place: str) -> Iterator[Problem]:
    known = {info.encode_name: info for info in fields(kind)}
    for name in value:
        if name not in known:
            yield Problem(f"{place}.{name}".lstrip("."), "unknown key")
    for name, info in known.items():
        where = f"{place}.{name}".lstrip(".")
        if name in value:
            yield from problems(value[name], info.type, where)
        elif info.default is NODEFAULT and info.default_factory is NODEFAULT:
            yield Problem(where, "missing")


def _words(error: ValidationError) -> str:
    """msgspec's sentence without the path it adds: the place is ours."""
    text = str(error).partition(" - at `")[0]
    return text[:1].lower() + text[1:]


__all__ = ["VERSION", "FileSchema", "LockSchema", "ModelSchema", "parsed", "problems", "read"]
