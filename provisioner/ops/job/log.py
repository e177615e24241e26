"""A pod's log as what it was: events, one result, one failure. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from provisioner.ops.job.parse import parsed
from provisioner.ports.events import FileDone, Finished, Notice, Retrying, Started


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pod is, in bytes of the last `Started`."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure that a pod's `provision` ended with."""

    message: str
    hint: str = ""
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """The JSON document that a pod's `provision` printed."""

    data: dict[str, Any]


Said = Started | FileDone | Retrying | Notice | Finished | Progress | Failure | Result

_KINDS: dict[str, type[Said]] = {
    "started": Started,
    "file_done": FileDone,
    "retrying": Retrying,
    "notice": Notice,
    "note": Notice,
    "finished": Finished,
    "progress": Progress,
    "error": Failure,
}
_LONGEST_RESULT = 2**26  # characters; the findings of a verify of 100,000 files have 20 MB
_PASSED_OVER = ("file_started",)  # its bytes are not followed one file at a time


@dataclass(slots=True)
class Reader:
    """Turns the lines of one container back. stdout and stderr arrive mixed, so a line of one may split the other."""

    _document: list[str] = field(default_factory=list)
    _length: int = 0

    def read(self, line: str) -> Said | None:
        """What a line says; None in the middle of the result and for an empty line. Any text is taken."""
        if line == "{":
            self._document, self._length = [line], 0
            return None
        if self._document and line.startswith(" "):
            self._length += len(line)
            if self._length > _LONGEST_RESULT:
                self._document = []
                return Notice(f"It prints a document of more than {_LONGEST_RESULT >> 20} MiB, which is not shown.")
            self._document.append(line)
            return None
        if self._document and line == "}":
            text, self._document = "\n".join([*self._document, line]), []
            return _result(text)
        return said(line) if line.strip() else None


def said(line: str) -> Said | None:
    """One line: an event, a result in one line, or text of somebody else, which is a notice."""
    import msgspec

    found = parsed(line)
    if not isinstance(found, dict):
        return Notice(line)
    event = found.get("event")
    if event is None:
        return Result(found)
    if event in _PASSED_OVER:
        return None
    try:
        told = msgspec.convert(found, _KINDS[event])
    except (KeyError, TypeError, msgspec.ValidationError):  # of a newer version than ours
        return Notice(line)
    # the name of a task becomes the title of a bar
    return Notice(line) if isinstance(told, Started | Finished) and not told.task.isidentifier() else told


def _result(text: str) -> Said:
    found = parsed(text)
    return Result(found) if isinstance(found, dict) else Notice(text)


_LONGEST_TEXT = 200  # of a line that is remembered as it is
_OVERLAP = 2  # seconds read again after a cut: the server counts whole ones, and two streams may swap lines


@dataclass(slots=True)
class Tail:
    """Where a log was cut, so that reading on gives no line twice and leaves none out.

    Attributes:
        given: how many lines were given out.
    """

    given: int = 0
    _last: int = 0  # the latest time, in whole seconds
    _recent: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    _again: Counter[tuple[int, str, str]] = field(default_factory=Counter)

    @property
    def since(self) -> str | None:
        """From when to read on, RFC 3339; None for the beginning."""
        if not self._last:
            return None
        return datetime.fromtimestamp(self._last - _OVERLAP, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def cut(self) -> None:
        """The stream ended and another one begins at `since`."""
        self._again = self._recent.copy()

    def fresh(self, line: str) -> str | None:
        """The text of a line with its time in front, or None when it was there before the cut."""
        time, _, text = line.partition(" ")
        second = _second(time)
        if second is None:
            self.given += 1
            return line
        if self._again[key := (second, time, _short(text))] > 0:
            self._again[key] -= 1
            return None
        if second > self._last:
            self._last = second
            old = [one for one in self._recent if one[0] < second - _OVERLAP]
            for one in old:
                del self._recent[one]
        if second >= self._last - _OVERLAP:
            self._recent[key] += 1
        self.given += 1
        return text


def _short(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _second(time: str) -> int | None:
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return None
