"""The small JSON documents of a model, read once and asked by key; whatever is wrong is named with its place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from provisioner.errors import InvalidDocument, NotFound, Problem
from provisioner.rules.documents import MAX_DOCUMENT, load

_MOST = 2**31 - 1  # a tokenizer without a length says 1e30


@dataclass(frozen=True, slots=True)
class Section:
    """A JSON object of a document; `place` is where it is in it."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    def __contains__(self, key: str) -> bool:
        """Whether there is a value other than null."""
        return self.data.get(key) is not None

    def wrong(self, key: str, message: str) -> NoReturn:
        """Raise InvalidDocument for one key."""
        place = f"{self.place}.{key}" if self.place and key else self.place or key
        raise InvalidDocument(self.name, (Problem(place, message),), hint="The model's publisher has to correct it.")

    def section(self, key: str) -> Section:
        """An object below this one; an empty one where there is none."""
        value = self.data.get(key)
        if not isinstance(value, dict | None):
            self.wrong(key, "is not an object")
        return Section(self.name, value or {}, f"{self.place}.{key}" if self.place else key)

    def text(self, key: str) -> str | None:
        """A string, or None."""
        value = self.data.get(key)
        if not isinstance(value, str | None):
            self.wrong(key, "is not a text")
        return value

    def yes(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(key, "is neither true nor false")
        return value

    def whole(self, key: str, low: int = 1) -> int | None:
        """A whole number of at least `low`; None where there is none, or one so large that it means none."""
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            self.wrong(key, f"is not a whole number of {low} or more")
        return value if value <= _MOST else None

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; () where there is none."""
        value = self.data.get(key)
        if not isinstance(value, list | None) or not all(isinstance(one, str) for one in value or ()):
            self.wrong(key, "is not a list of texts")
        return tuple(value or ())


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one model.

    Attributes:
        folder: where its files are.
        files: the paths that are locked; nothing else is read.
    """

    folder: str
    files: frozenset[str]

    @classmethod
    def of(cls, folder: str | os.PathLike[str], files: Sequence[str]) -> Documents:
        """The documents among some files."""
        return cls(os.fspath(folder), frozenset(map(str, files)))

    def __contains__(self, path: str) -> bool:
        """Whether it is locked."""
        return path in self.files

    def section(self, path: str) -> Section:
        """An object; an empty one where the file is not locked. Raises InvalidDocument."""
        value = self.value(path)
        if not isinstance(value, dict | None):
            Section(path).wrong("", "is not a JSON object")
        return Section(path, value or {})

    def value(self, path: str) -> Any:
        """Whatever JSON it holds; None where it is not locked. Raises InvalidDocument, NotFound."""
        if path not in self.files:
            return None
        try:
            with open(os.path.join(self.folder, path), "rb") as file:
                data = file.read(MAX_DOCUMENT + 1)
        except OSError as error:
            raise NotFound(f"{path} of {self.folder} cannot be read: {error.strerror}.") from error
        if len(data) > MAX_DOCUMENT:
            Section(path).wrong("", f"is larger than {MAX_DOCUMENT >> 20} MiB")
        try:
            return load(data)
        except ValueError as error:
            Section(path).wrong("", f"is not JSON: {error}")
