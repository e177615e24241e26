"""The models of known deployments, for `provision lock add --preset NAME`. Strictly parsed TOML, one file each."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Annotated

from msgspec import Meta, Struct, convert

from provisioner.errors import InvalidDocument, NotFound, Problem
from provisioner.lockfile.schema import problems
from provisioner.model import Layout, RepoId, Revision


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """One model of a preset; exactly one of the first three names it.

    Attributes:
        repo: a Hub repository.
        fastembed: fastembed's name for a model.
        sentence_transformers: sentence-transformers' name for a model.
        revision: a branch, tag or commit.
    """

    revision: Revision
    repo: RepoId | None = None
    fastembed: str | None = None
    sentence_transformers: str | None = None
    layouts: Annotated[tuple[Layout, ...], Meta(min_length=1)] = (Layout.HUB,)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_pickle: bool = False
    allow_remote_code: bool = False


class Preset(Struct, frozen=True, forbid_unknown_fields=True):
    """The models of one deployment."""

    description: str
    models: Annotated[tuple[Wanted, ...], Meta(min_length=1)]


def names() -> tuple[str, ...]:
    """The presets there are."""
    found = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def preset(name: str) -> Preset:
    """One preset. Raises NotFound."""
    if name not in names():
        raise NotFound(f"There is no preset {name}.", hint=f"There are: {', '.join(names())}.")
    return parse((resources.files(__name__) / f"{name}.toml").read_bytes(), f"preset {name}")


def parse(text: bytes, name: str) -> Preset:
    """Read a preset. Raises InvalidDocument with every problem and its place."""
    try:
        data = tomllib.loads(text.decode())
    except ValueError as error:
        raise InvalidDocument(name, (Problem("", f"not TOML: {error}"),)) from None
    if found := tuple(problems(data, Preset)):
        raise InvalidDocument(name, found)
    document = convert(data, Preset, dec_hook=lambda kind, value: kind(value))
    unclear = tuple(
        Problem(f"models[{index}]", "exactly one of repo, fastembed and sentence_transformers is needed")
        for index, model in enumerate(document.models)
        if [model.repo, model.fastembed, model.sentence_transformers].count(None) != 2
    )
    if unclear:
        raise InvalidDocument(name, unclear)
    return document
