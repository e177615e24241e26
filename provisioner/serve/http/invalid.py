"""What pydantic found wrong with a request, without what it found there: its errors quote the value that was sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.serve.refusals import Invalid

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PARTS = ("body", "query", "path", "header")
# The messages of these have parts of the value in them.
_QUOTING = {
    "union_tag_invalid": "The kind is none of those that there are",
    "json_invalid": "The body is not JSON",
    "extra_forbidden": "There is no such field",
}


def invalid(errors: Sequence[Mapping[str, Any]]) -> Invalid:
    """One sentence about the first error, and how many more there are."""
    if not errors:
        return Invalid("The request is not of the form that is read here.")
    first = errors[0]
    kind = str(first.get("type", ""))
    field = "" if kind == "json_invalid" else place(first.get("loc", ()))
    message = _QUOTING.get(kind) or str(first.get("msg", "This is wrong")).rstrip(".")
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return Invalid(f"{field}: {message}{more}." if field else f"{message}{more}.", param=field or None)


def place(where: Sequence[int | str]) -> str:
    """As `texts[3]`. Names that cannot be a field's are left out: the client chose them."""
    parts = where[1:] if where and where[0] in _PARTS else where
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _NAME.fullmatch(part):
            text += f".{part}" if text else part
    return text
