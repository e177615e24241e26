"""A volume on which the room runs out in the middle of a transfer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from provisioner.model import LockedFile
from provisioner.ports.source import Stream
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource

BIG = make("org/big", {"config.json": b"{}", "model.safetensors": bytes(3 * 2**20), "tokenizer.json": b"[]"})


class Filling(MemorySource):
    """A source of `BIG` during whose large file somebody else takes all the room there is."""

    def __init__(self, root: Path) -> None:
        super().__init__(BIG)
        self._ballast = root / "ballast"

    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[Stream]:  # type: ignore[override]
        if file.file.size > 2**20 and not self._ballast.exists():
            fill(self._ballast)
        return super().open(file, start, stop)  # type: ignore[return-value]


def fill(ballast: Path) -> None:
    """Write until not a block is left; network file systems say so late, at fsync."""
    fd = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for block in (bytes(2**16), bytes(512)):
            with suppress(OSError):
                while os.write(fd, block):
                    os.fsync(fd)
    finally:
        with suppress(OSError):
            os.close(fd)
