"""Where results go, and which observer watches long work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provisioner.ports.events import Observer, silent
from provisioner.render.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType


class Output:
    """Results on stdout as a table or as JSON; progress on stderr to fit."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def result(self, data: Any, human: Callable[[], RenderableType]) -> None:
        """Print one result; `human` is asked only when no JSON is wanted."""
        if self.as_json:
            print(json.dumps(data, indent=1))
        elif isinstance(shown := human(), str):
            print(shown)
        else:
            _console().print(shown)

    def text(self, text: str) -> None:
        """Print a result that is text already."""
        print(text)

    def note(self, text: str) -> None:
        """Tell the operator something on stderr."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Tell the operator on stderr what he has to know even when he asked for quiet."""
        print(json.dumps({"event": "note", "message": text}) if self.as_json else printable(text), file=sys.stderr)

    @contextmanager
    def watching(self) -> Iterator[Observer]:
        """An observer for long work: bars on a terminal, lines in a log, JSON lines for machines."""
        if self.quiet:
            yield silent
            return
        from provisioner.render import progress

        watch = progress.json_lines if self.as_json else progress.bars if _is_terminal() else progress.lines
        with watch() as observer:
            yield observer


def _is_terminal() -> bool:
    return sys.stderr.isatty()


def _console() -> Any:
    from rich.console import Console

    # Rich wraps at 80 columns into a pipe, which breaks paths apart; and a file may be named [red].
    return Console(soft_wrap=False, highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
