"""How a command ended, as one line for whoever started the process: a pod's termination message."""

from __future__ import annotations

import json
import os
from typing import Any

LIMIT = 4096  # bytes that Kubernetes keeps of a termination message
MOST_FINDINGS = 40  # more never fit
_LENGTHS = (1500, 700, 300, 100)  # characters of each text, the longest that fit


def line(facts: dict[str, Any]) -> bytes:
    """One JSON document and a newline, at most `LIMIT` bytes.

    The list `verify.first` keeps as many findings as fit, and long texts lose their end.
    """
    listed = list(facts.get("verify", {}).get("first", ()))[:MOST_FINDINGS]
    for length in _LENGTHS:
        for count in range(len(listed), min(len(listed), 1) - 1, -1):
            encoded = _encoded(_with_first(facts, listed[:count]), length)
            if len(encoded) <= LIMIT:
                return encoded
    return _encoded(_with_first({name: facts[name] for name in ("command", "exit_code")}, []), _LENGTHS[-1])


def write(path: str, text: bytes) -> str:
    """Put the line into a file, whose place it cannot take: the file may be a mount. "" or why it cannot be written."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)
    except OSError as error:
        return f"PROVISION_SUMMARY: {path} cannot be written: {error.strerror}."
    return ""


def _with_first(facts: dict[str, Any], first: list[Any]) -> dict[str, Any]:
    if "verify" not in facts:
        return facts
    verify = {name: value for name, value in facts["verify"].items() if name != "first"}
    return facts | {"verify": verify | ({"first": first} if first else {})}


def _encoded(facts: dict[str, Any], length: int) -> bytes:
    return json.dumps(_shortened(facts, length)).encode() + b"\n"


def _shortened(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + "…"
    if isinstance(value, dict):
        return {name: _shortened(one, length) for name, one in value.items()}
    return [_shortened(one, length) for one in value] if isinstance(value, list) else value
