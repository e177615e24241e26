"""The models of known deployments, for `provision lock add --preset NAME`. Strictly parsed TOML, one file each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from provisioner.errors import InvalidDocument, NotFound, Problem
from provisioner.lockfile.read import place
from provisioner.model import Layout

if TYPE_CHECKING:
    from provisioner.presets.schema import ModelSchema


@dataclass(frozen=True, slots=True)
class Wanted:
    """One model of a preset; exactly one of the first three names it.

    Attributes:
        repo: a Hub repository.
        fastembed: fastembed's name for a model.
        sentence_transformers: sentence-transformers' name for a model.
        revision: a branch, tag or commit.
    """

    repo: str | None
    fastembed: str | None
    sentence_transformers: str | None
    revision: str
    layouts: tuple[Layout, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    allow_pickle: bool
    allow_remote_code: bool


@dataclass(frozen=True, slots=True)
class Preset:
    """The models of one deployment."""

    name: str
    description: str
    models: tuple[Wanted, ...]


def names() -> tuple[str, ...]:
    """The presets there are."""
    found = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def preset(name: str) -> Preset:
    """One preset. Raises NotFound."""
    if name not in names():
        raise NotFound(f"There is no preset {name}.", hint=f"There are: {', '.join(names())}.")
    return parse((resources.files(__name__) / f"{name}.toml").read_bytes(), name)


def parse(text: bytes, name: str) -> Preset:
    """Read a preset. Raises InvalidDocument with every problem and its place."""
    import tomllib

    from pydantic import ValidationError

    from provisioner.presets.schema import PresetSchema

    try:
        document = PresetSchema.model_validate(tomllib.loads(text.decode()))
    except ValidationError as error:
        raise InvalidDocument(f"preset {name}", tuple(_problems(error.errors(include_url=False)))) from None
    except ValueError as error:
        raise InvalidDocument(f"preset {name}", (Problem("", f"not TOML: {error}"),)) from None
    return Preset(name, document.description, tuple(map(_wanted, document.models)))


def _wanted(model: ModelSchema) -> Wanted:
    return Wanted(
        model.repo,
        model.fastembed,
        model.sentence_transformers,
        model.revision,
        tuple(model.layouts),
        tuple(model.include),
        tuple(model.exclude),
        model.allow_pickle,
        model.allow_remote_code,
    )


def _problems(details: list[Any]) -> Iterator[Problem]:
    for detail in details:
        unknown = detail["type"] == "extra_forbidden"
        message = "unknown key" if unknown else detail["msg"].removeprefix("Value error, ")
        yield Problem(place(detail["loc"]), message[:1].lower() + message[1:])
