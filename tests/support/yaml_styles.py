"""One value as YAML in any of the ways that people write it: hypothesis draws indentation, quotes, comments, flow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

Draw = st.DrawFn


@dataclass
class Hand:
    """Who writes.

    Attributes:
        flow: how many of eight collections are written in flow style.
        bare: keys whose values have no comments inside.
        comments: what was put beside the values, each once.
    """

    draw: Draw
    flow: int = 1
    bare: frozenset[str] = frozenset()
    silent: bool = False
    comments: list[str] = field(default_factory=list)

    def document(self, value: Any) -> str:
        """A document without its `---`."""
        return "\n".join(self._block(value)) + "\n"

    def _chance(self, of_eight: int) -> bool:
        return self.draw(st.integers(0, 7)) < of_eight

    def _comment(self, lead: str) -> str:
        if self.silent or not self._chance(1):
            return ""
        self.comments.append(f'# note {len(self.comments)}: it\'s "so" [{{')
        return lead + self.comments[-1]

    def _block(self, value: Any) -> list[str]:
        """The lines of a collection that is not empty."""
        lines: list[str] = []
        entries = value.items() if isinstance(value, dict) else ((None, item) for item in value)
        for key, one in entries:
            if comment := self._comment(""):
                lines += [""] * self._chance(3) + [comment]
            lines += self._item(one) if key is None else self._entry(key, one)
            lines += [""] * self._chance(1)
        return lines

    def _entry(self, key: str, value: Any) -> list[str]:
        head = f"{self._scalar(key)}{' ' * self._chance(1)}:"
        if not self._in_block(value):
            return [head + self._inline(value) + self._comment("  ")]
        offset = self.draw(st.sampled_from((0, 2, 2, 4))) if isinstance(value, list) else self.draw(st.integers(1, 4))
        hand = replace(self, silent=True) if key in self.bare else self
        return [head + hand._comment(" "), *(" " * offset + line if line else "" for line in hand._block(value))]

    def _item(self, value: Any) -> list[str]:
        if not self._in_block(value):
            return ["-" + (self._inline(value) or " null") + self._comment(" ")]
        space = self.draw(st.sampled_from((1, 1, 1, 3)))
        first, *rest = self._block(value)
        while not first or first.startswith("#"):  # keep the dash on the line of something
            first, *rest = *rest, first
        return ["-" + " " * space + first, *(" " * (space + 1) + line if line else "" for line in rest)]

    def _in_block(self, value: Any) -> bool:
        return isinstance(value, dict | list) and bool(value) and not self._chance(self.flow)

    def _inline(self, value: Any) -> str:
        """After a colon or a dash; nothing at all for some nulls."""
        if value is None and self._chance(4):
            return ""
        return " " * self.draw(st.integers(1, 3)) + self._flow(value)

    def _flow(self, value: Any) -> str:
        pad, comma = " " * self._chance(4), "," + " " * (1 + self._chance(2))
        if isinstance(value, dict):
            return "{" + pad + comma.join(f"{self._scalar(k)}: {self._flow(v)}" for k, v in value.items()) + pad + "}"
        if isinstance(value, list):
            return "[" + pad + comma.join(self._flow(one) for one in value) + pad + "]"
        return self._scalar(value)

    def _scalar(self, value: Any) -> str:
        if value is None:
            return self.draw(st.sampled_from(("null", "~")))
        if not isinstance(value, str):
            return json.dumps(value)
        styles = [json.dumps(value), "'" + value.replace("'", "''") + "'"]
        if _is_plain(value):
            styles += [value, value, value]
        return self.draw(st.sampled_from(styles))


def _is_plain(text: str) -> bool:
    return text.replace("-", "").replace("/", "").replace(".", "").replace("_", "").isalpha() and text[0].isalpha()
