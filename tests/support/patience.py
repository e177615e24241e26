"""Waiting for what must come: so long that only what never comes takes it, on however busy a machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 300.0  # seconds


def until(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """The first answer that is true. An AssertionError in the condition ends the wait."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not happen in {seconds:g} s"
        time.sleep(0.01)
    return found
