"""Lines of the log on stderr, JSON or text. Never an exception's message that a text of a request may be in."""

from __future__ import annotations

import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import msgspec

from provisioner.errors import ProvisionError
from provisioner.serve.refusals import Refused

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is answered, or ""; every line has it."""

FRAMES = 40
_FIELDS = "fields"
# Messages of these libraries' own exceptions speak of shapes and nodes: numbers are all that they are given.
_NUMBERS_ONLY = ("onnxruntime", "openvino")


def configure(*, json: bool, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send every logger's lines, those of uvicorn and of Python's warnings too, to stderr or another stream."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if json else TextLines())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    # What no line has is not looked up: https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # ours has no query strings and no raw paths


def fields(**values: object) -> dict[str, dict[str, object]]:
    """For `extra=` of a logger's method: values that become fields of the line."""
    return {_FIELDS: values}


def trace(error: BaseException) -> list[str]:
    """Types and places of an error and of what caused it, the last first; messages only where they hold no text."""
    lines: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen and len(lines) < 4 * FRAMES:
        seen.add(id(cause))
        lines += [_named(cause), *_frames(cause.__traceback__)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return lines


def _named(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, ProvisionError | Refused) or kind.__module__.split(".")[0] in _NUMBERS_ONLY:
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    return name


def _frames(where: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(where)[-FRAMES:]
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


class _Lines(logging.Formatter):
    """What both forms have in common."""

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        """The parts of one line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts: dict[str, Any] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if asked := request_id.get():
            facts["request_id"] = asked
        facts |= getattr(record, _FIELDS, {})
        if record.exc_info and record.exc_info[1] is not None:
            facts["trace"] = trace(record.exc_info[1])
        return facts


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.name == "asyncio":  # behind the first line it prints tasks with their exceptions, messages and all
        return message.split("\n", 1)[0]
    return message


class JsonLines(_Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts = self.facts(record)
        try:
            return msgspec.json.encode(facts, enc_hook=str).decode()
        except UnicodeEncodeError:  # a lone surrogate, as in a file name that is no UTF-8
            return msgspec.json.encode({key: ascii(value) for key, value in facts.items()}).decode()


class TextLines(_Lines):
    """One line for a person; a trace comes below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts = self.facts(record)
        head = " ".join(str(facts.pop(key)) for key in ("time", "level", "logger"))
        message, below = str(facts.pop("message")), facts.pop("trace", [])
        rest = [f"{key}={value}" for key, value in facts.items()]
        line = " ".join([head, message.replace("\r", "\\r").replace("\n", "\\n"), *rest])
        return "\n".join([line.encode(errors="backslashreplace").decode(), *below])
