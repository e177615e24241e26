"""The paths that are served, as labels of metrics and lines of the log: a bounded number of words, all of them ours."""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "other"


class Paths:
    """Templates such as `/embed` and `/page/{version}/{name}`; those with fields hold everything below them."""

    def __init__(self, templates: Iterable[str]) -> None:
        found = sorted(set(templates))
        self._plain = frozenset(path for path in found if "{" not in path)
        self._prefixes = tuple((path.partition("{")[0], path) for path in found if "{" in path)

    def template(self, path: str) -> str:
        """Of the path that a client asked, or `other`."""
        if path in self._plain:
            return path
        return next((template for prefix, template in self._prefixes if path.startswith(prefix)), OTHER)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.template(path) != OTHER
