"""stdout and stderr as a process was given them: full, closed, or read by nobody any more."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, ClassVar, TextIO

from provisioner.errors import ProvisionError, StoreError


class Gone(ProvisionError):
    """Whoever read the output went away."""

    exit_code: ClassVar[int] = 128 + signal.SIGPIPE  # as a shell says it of any command


class Stream:
    """One of the two, with a guard around every write: click and rich would end with 1 where the reader is gone."""

    def __init__(self, stream: TextIO, guard: Callable[[], AbstractContextManager[None]]) -> None:
        self._stream, self._guard = stream, guard

    def write(self, text: str) -> int:
        """Raises what the guard raises."""
        with self._guard():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Raises what the guard raises."""
        with self._guard():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _results() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise Gone("Whoever read the output went away.") from None
    except OSError as error:
        raise StoreError(
            f"The results cannot be written to stdout: {error.strerror or error}.",
            hint="What the command did stays done. Give stdout another place and run it again.",
        ) from None


def _notes() -> AbstractContextManager[None]:
    """What cannot be said goes nowhere: a log that is full ends no mirror."""
    return suppress(OSError)


def prepare() -> None:
    """Make both usable. Python has None for a closed one, and prints what is for stderr to stdout then.

    To write results to a closed stdout fails; what is for a closed stderr goes nowhere.
    """
    results: Any = Stream(sys.stdout or _stand_in(os.O_RDONLY), _results)
    notes: Any = Stream(sys.stderr or _stand_in(os.O_WRONLY), _notes)
    sys.stdout, sys.stderr = results, notes


def _stand_in(flags: int) -> TextIO:
    """For a closed one; the lowest free number is its own, so that no file of ours gets it."""
    return open(os.open(os.devnull, flags), "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def let_go() -> None:
    """Write what is left to stdout, or drop it: the interpreter would fail at exit, with a code of its own."""
    try:
        sys.stdout.flush()
    except ProvisionError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
