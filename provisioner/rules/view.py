"""A model as the structure rules look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from provisioner.errors import Problem
from provisioner.model import Layout, Model, RelPath
from provisioner.rules.formats import Format, format_of, is_weights


@dataclass(frozen=True)
class View:
    """A model as the rules look at it.

    Attributes:
        documents: the contents that are known, parsed; None means that none are.
        repository: every path of the repository, or None when unknown.
    """

    model: Model
    documents: Mapping[RelPath, Any] | None
    repository: frozenset[str] | None

    @cached_property
    def names(self) -> frozenset[str]:
        """The paths of the model."""
        return frozenset(str(file.path) for file in self.model.files)

    @cached_property
    def weights(self) -> dict[str, Format]:
        """The weights among them."""
        heavy = (name for name in sorted(self.names) if is_weights(name, self.names))
        return {name: format_ for name in heavy if (format_ := format_of(name, self.names))}

    @property
    def bare(self) -> bool:
        """Just the files the operator named, for a server that wants no more."""
        return self.model.layouts == (Layout.FLAT,) and bool(self.model.include)

    def missing(self, path: str, why: str) -> Problem:
        """A file that has to be there."""
        if self.repository is None:
            return self.problem(path, f"missing: {why}")
        where = "include it" if path in self.repository else "the repository does not have it"
        return self.problem(path, f"missing: {why}; {where}")

    def problem(self, path: str, message: str) -> Problem:
        """Something wrong with a file, placed like `ORG/NAME/config.json`."""
        return Problem(f"{self.model.repo}/{path}", message)
