"""Observers of long work: bars for a terminal, lines for a log, JSON lines for a machine."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from provisioner.ports.events import (
    Advanced,
    Event,
    FileDone,
    FileStarted,
    Finished,
    Notice,
    Observer,
    Retrying,
    Started,
)
from provisioner.render.printable import printable
from provisioner.render.sizes import count, duration, size

OWN_BAR = 8 * 2**20  # smaller files pass too fast to be read
EVERY = 10.0  # seconds between two lines of a log that say how far it is


@contextmanager
def json_lines() -> Iterator[Observer]:
    """Every event but `Advanced` as one JSON object per line, and how far it is every few seconds."""
    lock = threading.Lock()
    tally = _Tally()

    def observe(event: Event) -> None:
        with lock:
            if isinstance(event, Advanced):
                if tally.advance(event.bytes):
                    _err(json.dumps({"event": "progress", "bytes": tally.done, "total": tally.total}))
                return
            tally.note(event)
            name = "".join("_" + c.lower() if c.isupper() else c for c in type(event).__name__)[1:]
            _err(json.dumps({"event": name} | asdict(event)))

    yield observe


@contextmanager
def lines() -> Iterator[Observer]:
    """One line per event, and how far it is every few seconds."""
    lock = threading.Lock()
    tally = _Tally()

    def observe(event: Event) -> None:
        with lock:
            if isinstance(event, Advanced):
                if tally.advance(event.bytes):
                    _err("  " + tally.sentence())
            else:
                tally.note(event)
                if text := event_line(event):
                    _err(text)

    yield observe


def event_line(event: Event) -> str:
    """An event as a line of a log, or "" for one that needs none."""
    match event:
        case Started(task, files, total):
            return f"{task}: {count(files, 'file')}, {size(total)}"
        case FileDone(path, length, how, origin):
            return f"  {how:9} {path} ({size(length)})" + (f" from {origin}" if origin else "")
        case Retrying(path, attempt, delay, reason):
            return f"  retry {attempt} in {delay:.1f} s: {path}: {reason}"
        case Notice(message):
            return f"  {message}"
    return ""


class _Tally:
    """How far the whole is."""

    def __init__(self) -> None:
        self.total = 0
        self.done = 0
        self.begin = self.last = time.monotonic()

    def note(self, event: Event) -> None:
        if isinstance(event, Started):
            self.total, self.done, self.begin = event.bytes, 0, time.monotonic()

    def advance(self, amount: int) -> bool:
        """Count; whether it is time to say so."""
        self.done += amount
        now = time.monotonic()
        if now - self.last < EVERY:
            return False
        self.last = now
        return True

    def sentence(self) -> str:
        rate = self.done / max(time.monotonic() - self.begin, 0.001)
        left = duration(max(self.total - self.done, 0) / rate) if rate > 0 else "unknown time"
        return f"{size(self.done)} of {size(self.total)}, {size(round(rate))}/s, {left} left"


def _err(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def bars() -> Iterator[Observer]:
    """A bar for the whole and one for every large file, with rate and time left."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = _stderr()
    labels = max(16, console.width * 35 // 100)  # what a bar, the bytes, the rate and the time leave of 80 columns
    progress = Progress(
        TextColumn("{task.description}", markup=False, table_column=_one_line(labels)),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        expand=True,
    )
    with progress:
        yield _Bars(progress, labels).observe


class _Bars:
    """Translates events to a rich progress display, which may be fed from any thread."""

    def __init__(self, progress: Any, labels: int) -> None:
        self.progress = progress
        self.labels = labels
        self.files: dict[str, Any] = {}
        self.whole: Any = None
        self.left = 0
        self.task = ""

    def observe(self, event: Event) -> None:
        match event:
            case Started(task, files, total):
                self.task, self.left = task, files
                self.whole = self.progress.add_task(self._title(), total=total)
            case FileStarted(path, length) if length >= OWN_BAR:
                self.files[path] = self.progress.add_task(tail(path, self.labels), total=length)
            case Advanced(path, amount):
                self._advance(path, amount)
            case FileDone(path):
                self._done(path)
            case Retrying(path, attempt, delay, reason):
                self.progress.console.print(
                    printable(f"retry {attempt} in {delay:.1f} s: {path}: {reason}"), style="yellow"
                )
            case Notice(message):
                self.progress.console.print(printable(message))
            case Finished() if self.whole is not None:
                self.progress.remove_task(self.whole)

    def _title(self) -> str:
        return f"{self.task}: {count(self.left, 'file')} left"

    def _advance(self, path: str, amount: int) -> None:
        for bar in (self.whole, self.files.get(path)):
            if bar is not None:
                self.progress.advance(bar, amount)

    def _done(self, path: str) -> None:
        self.left -= 1
        if self.whole is not None:
            self.progress.update(self.whole, description=self._title())
        if (bar := self.files.pop(path, None)) is not None:
            self.progress.remove_task(bar)


def tail(text: str, width: int) -> str:
    """At most `width` characters; the end of a path says more than its beginning."""
    return text if len(text) <= width else "…" + text[-(width - 1) :]


def _one_line(width: int) -> Any:
    from rich.table import Column

    return Column(no_wrap=True, overflow="ellipsis", width=width)


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True, markup=False)
