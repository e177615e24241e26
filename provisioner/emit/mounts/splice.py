"""Change the values of a YAML text: what stays equal keeps every byte, comments and odd spaces included.

A round trip through a YAML library keeps comments, and writes indentation, quotes, `null` and long lines its own way,
in all documents of the file. Here only the places of changed values are cut out of the text and written anew; then the
result is read again and has to say what was wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from provisioner.emit.mounts.nodes import Page, is_empty, key_of, same
from provisioner.emit.yaml import marked
from provisioner.errors import InvalidInput


class _Edit(NamedTuple):
    """Text from `start` to `stop` becomes `text`; several inserts at one place keep their order."""

    start: int
    stop: int
    text: str


def rewritten(page: Page, old: Sequence[Any], new: Sequence[Any]) -> str:
    """The text with its documents changed from the old values to the new ones.

    Raises InvalidInput where the file is written in a way that does not allow it.
    """
    edits = [
        edit
        for node, before, after in zip(page.documents, old, new, strict=True)
        for edit in _changes(page, node, before, after)
    ]
    if not edits:
        return page.text
    text = _apply(page, sorted(edits, key=lambda edit: edit[:2]))
    try:
        if same(Page.of(page.name, text).values, new):
            return text
    except InvalidInput:
        pass
    raise page.unsafe()


def _apply(page: Page, edits: list[_Edit]) -> str:
    parts: list[str] = []
    place = 0
    for start, stop, text in edits:
        if start < place:
            raise page.unsafe()
        parts += (page.text[place:start], text)
        place = stop
    return "".join((*parts, page.text[place:]))


def _changes(page: Page, node: Node, old: Any, new: Any) -> Iterator[_Edit]:
    """The edits inside a collection that stays one."""
    if same(old, new):
        return
    if not _stays(node, new):
        raise page.refusal(node, "the whole of it cannot be changed")
    if id(node) in page.shared:
        raise page.refusal(node, "an anchor is used here, and a change would change other places too")
    if isinstance(node, MappingNode):
        yield from _mapping(page, node, old, new)
    elif isinstance(node, SequenceNode):
        yield from _sequence(page, node, old, new)


def _stays(node: Node, new: Any) -> bool:
    """Whether a node can become the value by changes inside of it."""
    kind = Mapping if isinstance(node, MappingNode) else list if isinstance(node, SequenceNode) else ()
    return bool(kind and isinstance(new, kind) and new and node.value)


# Mappings


def _mapping(page: Page, node: MappingNode, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[_Edit]:
    added = {key: value for key, value in new.items() if key not in old}
    gone = [index for index, (key, _) in enumerate(node.value) if key_of(key) not in new]
    for key, value in node.value:
        if (name := key_of(key)) in new and not same(old[name], new[name]):
            yield from _value(page, key, value, old[name], new[name], flow=bool(node.flow_style))
    if node.flow_style:
        yield from _flow_entries(page, node, gone, added)
    else:
        yield from _block_entries(page, node, gone, added)


def _value(page: Page, key: Node, node: Node, old: Any, new: Any, *, flow: bool) -> Iterator[_Edit]:
    """Another value for a key."""
    if _stays(node, new):
        yield from _changes(page, node, old, new)
        return
    if id(node) in page.shared:
        raise page.refusal(key, "an anchor is used here, and a change would change other places too")
    colon = page.after_colon(key)
    end = colon if is_empty(node) else page.end(node)
    if isinstance(node, ScalarNode) and not is_empty(node) and not _is_block(new):
        yield _Edit(node.start_mark.index, end, json.dumps(new) if flow else scalar(new, node.style))
    elif flow or not _is_block(new):
        yield _Edit(colon, end, " " + (json.dumps(new) if flow else scalar(new)))
    else:
        yield _Edit(colon, end, "")
        below = key.start_mark.column + (page.offset if isinstance(new, list) else 2)
        at = page.end_of_line(end)
        yield _Edit(at, at, _indented(page, _lines(page, new), below, first=True))


def _block_entries(page: Page, node: MappingNode, gone: list[int], added: Mapping[str, Any]) -> Iterator[_Edit]:
    """New entries take the place of the first one that goes, else they follow the last one."""
    spans = [(int(key.start_mark.index), page.end_of_entry(key, value)) for key, value in node.value]
    column = node.value[0][0].start_mark.column
    lines = list(_lines(page, added))
    if added and gone:
        yield _Edit(*spans[gone.pop(0)], _indented(page, lines, column, first=False))
    elif added:
        at = page.end_of_line(spans[-1][1])
        yield _Edit(at, at, _indented(page, lines, column, first=True))
    elif gone and gone[0] == 0 and page.is_after_dash(spans[0][0]):  # what stays has to move up to the dash
        kept = next(index for index in range(len(spans)) if index not in gone)
        yield _Edit(spans[0][0], spans[kept][0], "")
        gone = [index for index in gone if index > kept]
    for index in gone:
        yield _cut_lines(page, *spans[index])


def _flow_entries(page: Page, node: MappingNode, gone: list[int], added: Mapping[str, Any]) -> Iterator[_Edit]:
    spans = [(int(key.start_mark.index), page.end_of_entry(key, value)) for key, value in node.value]
    text = json.dumps(added)[1:-1]
    if added and gone:
        yield _Edit(*spans[gone.pop(0)], text)
    elif added:
        yield _flow_insert(page, node, spans[-1][1], text)
    yield from _flow_cuts(spans, gone)


# Sequences


def _sequence(page: Page, node: SequenceNode, old: list[Any], new: list[Any]) -> Iterator[_Edit]:
    steps = SequenceMatcher(None, [*map(_identity, old)], [*map(_identity, new)], autojunk=False).get_opcodes()
    gone: list[int] = []
    for what, start, stop, new_start, new_stop in steps:
        items = new[new_start:new_stop]
        if what == "equal":
            for index, item in zip(range(start, stop), items, strict=True):
                yield from _item(page, node, index, old[index], item)
        elif not node.flow_style:
            yield from _block_items(page, node, range(start, stop), items)
        elif items:
            yield _flow_items(page, node, start, stop, json.dumps(items)[1:-1])
        else:
            gone += range(start, stop)
    if gone:
        yield from _flow_cuts([(item.start_mark.index, page.end(item)) for item in node.value], gone)


def _flow_items(page: Page, node: SequenceNode, start: int, stop: int, text: str) -> _Edit:
    """Items in the place of others, or between them."""
    if stop > start:
        return _Edit(node.value[start].start_mark.index, page.end(node.value[stop - 1]), text)
    if start == 0:
        at = node.value[0].start_mark.index
        return _Edit(at, at, f"{text}, ")
    return _flow_insert(page, node, page.end(node.value[start - 1]), text)


def _identity(item: Any) -> str:
    """What makes an item the same one although it changes: what Kubernetes and Compose merge lists by."""
    if not isinstance(item, Mapping):
        return json.dumps(item, default=repr)
    marks = [item[key] for key in ("name", "mountPath", "target") if key in item]
    return json.dumps(marks if marks else item, default=repr)


def _item(page: Page, node: SequenceNode, index: int, old: Any, new: Any) -> Iterator[_Edit]:
    item = node.value[index]
    if same(old, new):
        return
    if not _stays(item, new):
        raise page.refusal(item, "this item cannot be changed")
    yield from _changes(page, item, old, new)


def _block_items(page: Page, node: SequenceNode, gone: range, items: list[Any]) -> Iterator[_Edit]:
    """Items in the place of others, one for one so that what is said beside them stays, or between them."""
    column = page.column(node)
    last = min(len(gone), len(items)) - 1
    for number, index in enumerate(gone):
        if id(node.value[index]) in page.shared:
            raise page.refusal(node.value[index], "an anchor is used here")
        dash, end = page.dash(node, index), page.end(node.value[index])
        if number > last:
            yield _cut_lines(page, dash, end)
        else:
            mine = items[number:] if number == last else items[number : number + 1]
            yield _Edit(dash, end, _indented(page, _lines(page, mine), column, first=False))
    if gone or not items:
        return
    lines = list(_lines(page, items))
    if gone.start > 0:
        at = page.end_of_line(page.end(node.value[gone.start - 1]))
        yield _Edit(at, at, _indented(page, lines, column, first=True))
    else:
        dash = page.dash(node, 0)
        text = _indented(page, lines, column, first=False) + page.newline + " " * column
        yield _Edit(dash, dash, text)


# Text


def _cut_lines(page: Page, start: int, end: int) -> _Edit:
    """Whole lines, with the line end before them, so that what is put after them finds its place."""
    line = page.text.rfind("\n", 0, start)
    if line > 0 and page.text[line - 1] == "\r":
        line -= 1
    return _Edit(max(line, 0), page.end_of_line(end), "")


def _flow_cuts(spans: Sequence[tuple[int, int]], gone: Sequence[int]) -> Iterator[_Edit]:
    """Runs of entries between commas."""
    index = 0
    while index < len(spans):
        first = index
        while index in gone:
            index += 1
        if index > first:
            if index < len(spans):
                yield _Edit(spans[first][0], spans[index][0], "")
            else:
                yield _Edit(spans[first - 1][1], spans[-1][1], "")
        index += 1


def _flow_insert(page: Page, node: Node, at: int, text: str) -> _Edit:
    """JSON after an entry; on a line of its own where the entry has one."""
    line = page.text.rfind("\n", 0, at) + 1
    lead = page.text[line:at]
    alone = line > node.start_mark.index
    space = page.newline + lead[: len(lead) - len(lead.lstrip())] if alone else " "
    return _Edit(at, at, f",{space}{text}")


def _is_block(value: Any) -> bool:
    return isinstance(value, Mapping | list) and bool(value)


def _indented(page: Page, lines: Sequence[str] | Iterator[str], column: int, *, first: bool) -> str:
    """The lines at a column; without `first` the first of them stands where it is put."""
    between = page.newline + " " * column
    return (between if first else "") + between.join(lines)


def _lines(page: Page, value: Any) -> Iterator[str]:
    """A collection as block YAML."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if _is_block(one):
                yield f"{scalar(key)}:"
                below = " " * (page.offset if isinstance(one, list) else 2)
                yield from (below + line for line in _lines(page, one))
            else:
                yield f"{scalar(key)}: {scalar(one)}"
    else:
        for one in value:
            inner = list(_lines(page, one)) if _is_block(one) else [scalar(one)]
            yield from (("- " if number == 0 else "  ") + line for number, line in enumerate(inner))


def scalar(value: Any, style: str | None = None) -> str:
    """A scalar or an empty collection; in the quotes of the one it replaces."""
    if not isinstance(value, str):
        return json.dumps(value)
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style != '"' and type(marked(value)) is str:
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())
