"""JSON of a body, read no further than a model's fields go.

A body of some megabytes can hold millions of lists, which take a second and a gigabyte as Python's objects. So unknown
fields are passed over by msgspec, which makes nothing of them, and lists are counted before they are made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from provisioner.serve.refusals import Invalid
from provisioner.serve.settings import Limits

Fields = Mapping[str, msgspec.Raw]

_ABSENT = msgspec.Raw()
_FEW = 2**12  # items, of which the backend says how many there are
_STRANGE = re.compile(r"Object contains unknown field `([A-Za-z_][A-Za-z0-9_]{0,63})`")
_NO_TEXT: dict[str, Any] = {}  # stands for an object where none can be


@dataclass(frozen=True, slots=True)
class Most:
    """What lists may have: texts or lists of tokens, and tokens."""

    items: int
    tokens: int

    @classmethod
    def of(cls, limits: Limits) -> Most:
        """As the backend has them."""
        return cls(min(limits.texts, limits.queue), limits.characters)


def _number(text: str) -> int | float:
    """JSON does not tell 2.0 from 2, and no body has a field for fractions."""
    value = float(text)
    return int(value) if value.is_integer() else value


_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=_number)
_ITEMS = msgspec.json.Decoder(list[str | list[int]])


@cache
def _decoder(names: frozenset[str], *, closed: bool = False) -> msgspec.json.Decoder[Any]:
    fields = [(name, msgspec.Raw, _ABSENT) for name in sorted(names)]
    return msgspec.json.Decoder(msgspec.defstruct("Fields", fields, forbid_unknown_fields=closed))


def fields(document: bytes | msgspec.Raw, names: Iterable[str]) -> Fields:
    """Those of an object that are there, as they came. Raises Invalid."""
    wanted = frozenset(names)
    try:
        found = _decoder(wanted).decode(document)
    except msgspec.ValidationError:
        raise Invalid("The body is not a JSON object.") from None
    except (ValueError, RecursionError):  # msgspec's own error is a ValueError
        raise Invalid("The body is not JSON.") from None
    values = ((name, getattr(found, name)) for name in wanted)
    return {name: value for name, value in values if value is not _ABSENT}


def nothing_else(document: bytes, names: Iterable[str]) -> None:
    """Check an object, of which `fields` has been read, for fields that are none of these. Raises Invalid."""
    known = frozenset(names)
    try:
        _decoder(known, closed=True).decode(document)
    except msgspec.ValidationError as error:  # the values are not looked into, so it can be nothing but a name
        found = _STRANGE.fullmatch(str(error))
        name = f"field `{found[1]}`" if found else "such field"  # anything else may be a text of somebody's
        raise Invalid(f"There is no {name}; there are {', '.join(sorted(known))}.") from None
    except ValueError:  # a name that is no UTF-8
        raise Invalid("The body is not JSON.") from None


def is_object(value: msgspec.Raw | None) -> bool:
    """Whether the JSON is one."""
    return value is not None and bytes(memoryview(value)[:1]) == b"{"


def value(name: str, given: msgspec.Raw, most: Most) -> Any:
    """A text, a number, or a list of texts or tokens. Raises Invalid where it is of too many."""
    data = bytes(given)
    try:
        if data.startswith(b"{"):
            return _NO_TEXT
        if not data.startswith(b"[") or data.count(b",") < _FEW:
            return _ANY.decode(data)
        return _items(name, data, most)
    except msgspec.ValidationError:
        raise Invalid(f"{name}: There are items that are neither texts nor token ids.", param=name) from None
    except (ValueError, RecursionError):  # bytes that are no UTF-8 too
        raise Invalid("The body is not JSON.") from None


def _items(name: str, data: bytes, most: Most) -> Any:
    """A list that may be too long. It is JSON for certain, so quotes and brackets can just be counted."""
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    texts = bare.count(b'"') // 2
    if texts > most.items:
        raise _too_many(name, most.items)
    outside = b"".join(bare.split(b'"')[::2]) if texts else bare
    lists = outside.count(b"[") - 1
    if texts + lists > most.items:
        raise _too_many(name, most.items)
    if outside.count(b",") >= max(1, texts + lists) * most.tokens:
        raise _too_many(name, most.tokens)
    return (_ITEMS if texts or lists or b"{" in outside else _ANY).decode(data)


def _too_many(name: str, most: int) -> Invalid:
    return Invalid(f"{name}: There are too many items; the most that a request may have is {most}.", param=name)
