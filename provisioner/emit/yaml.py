"""Objects as YAML that every reader understands alike: kubectl, Helm and KubeRay read YAML 1.1, others 1.2. Pure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

# Only what no version of YAML takes for anything but text: 1e3, 0x1f, 12:30, on and y are none of it.
_PLAIN = re.compile(r"(?:[A-Za-z_/][A-Za-z0-9_./-]*|[A-Za-z_/][A-Za-z0-9_./-]*(?::[A-Za-z0-9_./-]+)+)")
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"])


def dump(objects: Iterable[Any], comment: str = "") -> str:
    """One document for each object, with `---` between them, keys in the order they were given."""
    documents = [text(one) for one in objects]
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "---\n".join(documents)


def text(value: Any) -> str:
    """One value as a YAML document."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 10_000  # a folded line is the same value, and a worse diff
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_quoted(value) if isinstance(value, str) else marked(value), stream)
    return stream.getvalue()


def _quoted(value: str) -> Any:
    """A text that is a whole document: the lines of a block would stand at its margin, where `#` and `%` mean more."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    return DoubleQuotedScalarString(value)


def marked(value: Any) -> Any:
    """The value with every text quoted, or a block, that some reader could take for something else."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

    if isinstance(value, dict):
        return {marked(str(key)): marked(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [marked(one) for one in value]
    if not isinstance(value, str):
        return value
    if _is_block(value):
        return LiteralScalarString(value)
    return str(value) if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else DoubleQuotedScalarString(value)


def _is_block(value: str) -> bool:
    """Whether a literal block gives the same text back: it ends in one line break, and begins with no white space."""
    *lines, last = value.split("\n")
    clean = all(line.isprintable() and line == line.rstrip() for line in lines)
    return len(lines) > 1 and not last and bool(lines[-1]) and clean and not value[0].isspace()
