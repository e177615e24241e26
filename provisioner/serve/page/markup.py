"""HTML in which every text is escaped, because names come from a lock and Host headers from anybody."""

from __future__ import annotations

from html import escape


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def put(part: str) -> Html:
    """Markup as it is, anything else escaped."""
    return part if isinstance(part, Html) else Html(escape(part))


def join(*parts: str) -> Html:
    """Parts one after the other."""
    return Html("".join(map(put, parts)))


def tag(name: str, *parts: str, **attributes: str | bool) -> Html:
    """An element. `class_` stands for class, `data_x` for data-x; True is an attribute without a value, False none."""
    head = "".join(_attribute(key, value) for key, value in attributes.items() if value is not False)
    return Html(f"<{name}{head}>{join(*parts)}</{name}>")


def _attribute(key: str, value: str | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
