"""From what the operator names to requests: repositories, library names and presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from provisioner.errors import UsageError
from provisioner.model import Layout
from provisioner.ops import naming
from provisioner.ops.locking import Request
from provisioner.presets import Wanted, preset


def requests(
    repositories: tuple[str, ...] = (),
    *,
    presets: tuple[str, ...] = (),
    fastembed: tuple[str, ...] = (),
    sentence_transformers: tuple[str, ...] = (),
    layouts: tuple[str, ...] = (),
    **options: Any,
) -> tuple[Request, ...]:
    """Requests in the order of their kinds. `options` are fields of Request, for every model; presets have their own.

    Raises UsageError, InvalidInput, NotFound, MissingExtra.
    """
    if presets and (given := [name for name, value in {"layouts": layouts, **options}.items() if value]):
        flags = ", ".join(f"--{name.replace('_', '-').replace('layouts', 'layout')}" for name in given)
        raise UsageError(
            f"A preset says itself what {flags} would say.", hint="Add the preset first, then other models by name."
        )
    named = [Request(*naming.repository(name)) for name in repositories]
    named += map(naming.fastembed, fastembed)
    named += map(naming.sentence_transformers, sentence_transformers)
    if not named and not presets:
        raise UsageError("No model is named.", hint="Give ORG/NAME, --preset, --fastembed or --sentence-transformers.")
    options["layouts"] = tuple(map(Layout, layouts)) or (Layout.HUB,)
    asked = [_shaped(request, options) for request in named]
    return (*asked, *(request for name in presets for request in _of_preset(name)))


def _shaped(request: Request, options: dict[str, Any]) -> Request:
    """A request with the operator's options; what the library's own name says about files stays."""
    added = {key: (*getattr(request, key), *options.get(key, ())) for key in ("include", "exclude")}
    return replace(request, **options | {key: tuple(dict.fromkeys(globs)) for key, globs in added.items()})


def _of_preset(name: str) -> Iterator[Request]:
    for wanted in preset(name).models:
        fields = ("layouts", "include", "exclude", "allow_pickle", "allow_remote_code")
        yield _shaped(_named(wanted), {field: getattr(wanted, field) for field in fields})


def _named(wanted: Wanted) -> Request:
    if wanted.fastembed is not None:
        return replace(naming.fastembed(wanted.fastembed), revision=wanted.revision)
    if wanted.sentence_transformers is not None:
        request = naming.sentence_transformers(wanted.sentence_transformers)
        return replace(request, revision=wanted.revision)
    assert wanted.repo is not None  # a preset without any name was refused when it was read
    return Request(wanted.repo, wanted.revision)
