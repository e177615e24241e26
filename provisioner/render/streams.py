"""stdout and stderr as a process was given them: full, closed, or read by nobody any more."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TextIO

from provisioner.errors import ProvisionError, StoreError


class Gone(ProvisionError):
    """Whoever read the output went away."""

    exit_code: ClassVar[int] = 128 + signal.SIGPIPE  # as a shell says it of any command


class Results:
    """stdout, whose failures are ours wherever somebody prints: click and rich end with 1 where the reader is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Raises Gone, StoreError."""
        with _translated():
            return self._stream.write(text)

    def flush(self) -> None:
        """Raises Gone, StoreError."""
        with _translated():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise Gone("Whoever read the output went away.") from None
    except OSError as error:
        raise StoreError(
            f"The results cannot be written to stdout: {error.strerror or error}.",
            hint="What the command did stays done. Give stdout another place and run it again.",
        ) from None


def prepare() -> None:
    """Make both usable. Python has None for a closed one, and prints what is for stderr to stdout then."""
    # The lowest free number is the closed one's own, so that no file of ours gets it. To write to it fails.
    results: Any = Results(sys.stdout or _opened(os.O_RDONLY))
    sys.stdout = results
    sys.stderr = sys.stderr or _opened(os.O_WRONLY)


def _opened(flags: int) -> TextIO:
    return os.fdopen(os.open(os.devnull, flags), "w", encoding="utf-8", errors="backslashreplace")


def let_go() -> None:
    """Write what is left to stdout, or drop it: the interpreter would fail at exit, with a code of its own."""
    try:
        sys.stdout.flush()
    except ProvisionError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
