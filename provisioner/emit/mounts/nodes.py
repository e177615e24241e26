"""YAML as nodes that know their place in the text, so that a change touches nothing beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from provisioner.errors import InvalidInput

_PREFIX = "tag:yaml.org,2002:"
_COLON = re.compile(r"[ \t]*:(?=\s|$)")
_DASH = re.compile(r"\n( *)-(?=\s)")
_COLON_FLOW = re.compile(r"\s*:")
_HINT = "Emit a form and merge it yourself: provision emit mount --form patch, helm or compose."


@dataclass(frozen=True, slots=True)
class Token:
    """A scalar that is no text and nothing that we write, such as a number or a date."""

    tag: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """The text of a file and its documents.

    Attributes:
        shared: ids of the nodes that an alias stands for too.
        newline: as the file has it.
        offset: columns by which a list is indented below its key.
    """

    name: str
    text: str
    documents: tuple[Node, ...]
    shared: frozenset[int]
    newline: str
    offset: int

    @classmethod
    def of(cls, name: str, text: str) -> Page:
        """Raises InvalidInput for what is not YAML."""
        try:
            documents = tuple(YAML(typ="safe", pure=True).compose_all(text))
        except (YAMLError, RecursionError) as error:
            raise _invalid(name, error) from None
        shared, offsets = _walk(documents)
        newline = "\r\n" if "\r\n" in text else "\n"
        return cls(name, text, documents, frozenset(shared), newline, offsets[0] if offsets else 2)

    @property
    def values(self) -> tuple[Any, ...]:
        """The documents as plain values. Raises InvalidInput for a key that stands twice."""
        known: dict[int, Any] = {}
        return tuple(self._plain(node, known) for node in self.documents)

    def _plain(self, node: Node, known: dict[int, Any]) -> Any:
        """An aliased node is one value however often it stands, so that aliases of aliases stay cheap."""
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if id(node) in known:
            if known[id(node)] is None:
                raise self.refusal(node, "holds itself")
            return known[id(node)]
        known[id(node)] = None
        if isinstance(node, MappingNode):
            known[id(node)] = self._mapping(node, known)
        else:
            known[id(node)] = [self._plain(item, known) for item in node.value]
        return known[id(node)]

    def _mapping(self, node: MappingNode, known: dict[int, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in node.value:
            if (name := key_of(key)) in result and name != "<<":
                raise self.refusal(key, f"has the key {name} for the second time")
            result[name] = self._plain(value, known)
        return result

    def refusal(self, node: Node, what: str) -> InvalidInput:
        """What to raise for a node that cannot be changed."""
        return InvalidInput(f"{self.name}, line {node.start_mark.line + 1}: {what}.", hint=_HINT)

    def unsafe(self) -> InvalidInput:
        """What to raise when the change did not come out as it should have."""
        return InvalidInput(f"{self.name} is written in a way that this command cannot change.", hint=_HINT)

    def end_of_line(self, place: int) -> int:
        """The place before the line's end."""
        end = self.text.find("\n", place)
        if end < 0:
            return len(self.text)
        return end - 1 if end > place and self.text[end - 1] == "\r" else end

    def after_colon(self, key: Node) -> int:
        """The place after the colon of a key."""
        end = key.end_mark.index
        found = _COLON.match(self.text, end) or _COLON_FLOW.match(self.text, end)
        if found is None:
            raise self.refusal(key, "a key that is written like this cannot be changed")
        return found.end()

    def column(self, sequence: SequenceNode) -> int:
        """The column of the dashes."""
        start = int(sequence.start_mark.index)
        if self.text[start : start + 1] == "-":
            return int(sequence.start_mark.column)
        if (found := _DASH.search(self.text, start)) is None:  # after an anchor or a tag
            raise self.refusal(sequence, "a list that is written like this cannot be changed")
        return len(found[1])

    def dash(self, sequence: SequenceNode, index: int) -> int:
        """The place of an item's dash."""
        item, column = sequence.value[index], self.column(sequence)
        if index == 0 and self.text[sequence.start_mark.index] == "-":
            return int(sequence.start_mark.index)
        line = self.text.rfind("\n", 0, item.start_mark.index) + 1
        while line >= sequence.start_mark.index - sequence.start_mark.column and not is_empty(item):
            if self.text[line : line + column + 1].strip(" ") == "-":
                return line + column
            line = self.text.rfind("\n", 0, max(line - 1, 0)) + 1 if line else -1
        raise self.refusal(item, "an item that is written like this cannot be changed")

    def is_after_dash(self, place: int) -> bool:
        """Whether a place is on the line of its item's dash."""
        return bool(self.text[self.text.rfind("\n", 0, place) + 1 : place].strip(" "))

    def end(self, node: Node) -> int:
        """The place after the last character of a node, without comments and empty lines that follow it."""
        if isinstance(node, ScalarNode):
            return self._end_of_scalar(node)
        if isinstance(node, CollectionNode) and (node.flow_style or not node.value):
            return int(node.end_mark.index)
        if isinstance(node, MappingNode):
            return self.end_of_entry(*node.value[-1])
        assert isinstance(node, SequenceNode)
        last = node.value[-1]
        return self.dash(node, len(node.value) - 1) + 1 if is_empty(last) else self.end(last)

    def end_of_entry(self, key: Node, value: Node) -> int:
        """The place after a key and its value."""
        return self.after_colon(key) if is_empty(value) else self.end(value)

    def _end_of_scalar(self, node: ScalarNode) -> int:
        end = int(node.end_mark.index)
        if node.style not in ("|", ">"):
            return end
        written = self.text[node.start_mark.index : end]
        if "+" in written.split("\n", 1)[0]:  # the empty lines that follow belong to it
            return end - len(written) + len(written.removesuffix("\n").removesuffix("\r"))
        return end - len(written) + len(written.rstrip())


def key_of(node: Node) -> str:
    """A key as text; one that is a collection is like no other."""
    return str(node.value) if isinstance(node, ScalarNode) else f"\0{node.start_mark.index}"


def is_empty(node: Node) -> bool:
    """Whether there is nothing at all in the value's place; its marks are somewhere else then."""
    return isinstance(node, ScalarNode) and node.style is None and node.start_mark.index == node.end_mark.index


def same(one: Any, other: Any) -> bool:
    """Equal, and of one type: True is not 1."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if _is_list(one) and _is_list(other):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _scalar(node: ScalarNode) -> Any:
    kind, text = str(node.tag).removeprefix(_PREFIX), node.value
    if kind == "str":
        return str(text)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    return int(text) if kind == "int" and text.isdecimal() and text == str(int(text)) else Token(kind, text)


def _walk(documents: tuple[Node, ...]) -> tuple[set[int], list[int]]:
    """The nodes that are reached twice, and how far lists stand to the right of their keys."""
    seen: set[int] = set()
    shared: set[int] = set()
    offsets: list[int] = []
    todo: list[Node] = list(reversed(documents))
    while todo:
        node = todo.pop()
        if id(node) in seen:
            shared.add(id(node))
            continue
        seen.add(id(node))
        if isinstance(node, CollectionNode):
            offsets += _offsets(node)
            todo += reversed([*_children(node)])
    return shared, offsets


def _children(node: CollectionNode) -> Iterator[Node]:
    for one in node.value:
        yield from one if isinstance(one, tuple) else (one,)


def _offsets(node: CollectionNode) -> Iterator[int]:
    for key, value in node.value if isinstance(node, MappingNode) else ():
        if isinstance(value, SequenceNode) and not value.flow_style and value.start_mark.line > key.start_mark.line:
            yield max(0, value.start_mark.column - key.start_mark.column)


def _invalid(name: str, error: Exception) -> InvalidInput:
    where = ""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        where = f" at line {error.problem_mark.line + 1}"
    return InvalidInput(
        f"{name} is not YAML{where}.",
        hint="A Helm template takes the values that --form helm prints.",
    )
