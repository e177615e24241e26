"""From what the operator names to requests: repositories, library names and presets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    allow_pickle: bool = False,
    allow_remote_code: bool = False,
) -> tuple[Request, ...]:
    """Requests in the order of their kinds. The globs, layouts and flags go to every model, presets apart.

    Raises UsageError, InvalidInput, NotFound, MissingExtra.
    """
    named = [Request(*naming.repository(name)) for name in repositories]
    named += map(naming.fastembed, fastembed)
    named += map(naming.sentence_transformers, sentence_transformers)
    if not named and not presets:
        raise UsageError("No model is named.", hint="Give ORG/NAME, --preset, --fastembed or --sentence-transformers.")
    chosen = tuple(Layout(layout) for layout in layouts) or (Layout.HUB,)
    asked = [
        replace(
            request,
            layouts=chosen,
            include=(*request.include, *include),
            exclude=tuple(dict.fromkeys((*request.exclude, *exclude))),
            allow_pickle=allow_pickle,
            allow_remote_code=allow_remote_code,
        )
        for request in named
    ]
    return (*asked, *(request for name in presets for request in _of_preset(name)))


def _of_preset(name: str) -> Iterator[Request]:
    for wanted in preset(name).models:
        request = _named(wanted)
        yield replace(
            request,
            layouts=wanted.layouts,
            include=(*request.include, *wanted.include),
            exclude=(*request.exclude, *wanted.exclude),
            allow_pickle=wanted.allow_pickle,
            allow_remote_code=wanted.allow_remote_code,
        )


def _named(wanted: Wanted) -> Request:
    if wanted.fastembed is not None:
        return replace(naming.fastembed(wanted.fastembed), revision=wanted.revision)
    if wanted.sentence_transformers is not None:
        request = naming.sentence_transformers(wanted.sentence_transformers)
        return replace(request, revision=wanted.revision)
    assert wanted.repo is not None  # a preset without any name was refused when it was read
    return Request(wanted.repo, wanted.revision)
