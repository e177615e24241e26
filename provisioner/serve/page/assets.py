"""The page's own files, read once. A hash of all of them is in their addresses, so that browsers keep them for good."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    body: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Assets:
    """Everything that is sent.

    Attributes:
        version: of all files together.
        files: by name.
        page: the frame that the facts are put into.
    """

    version: str
    files: Mapping[str, Asset]
    page: Template


@cache
def assets() -> Assets:
    """The files of the package."""
    found: dict[str, Asset] = {}
    for file in sorted((files(__package__) / "static").iterdir(), key=lambda file: file.name):
        kind = TYPES.get(file.name[file.name.rfind(".") :])
        if kind:
            body = file.read_bytes()
            found[file.name] = Asset(body, kind, etag(body))
    version = hashlib.sha256("".join(one.etag for one in found.values()).encode()).hexdigest()[:16]
    return Assets(version, found, Template((files(__package__) / "page.html").read_text("utf-8")))


def etag(body: bytes) -> str:
    """A strong validator."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
