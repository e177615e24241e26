"""What computes vectors and scores, as the rest of the server sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Input = str | tuple[str, str] | tuple[int, ...]  # a text, a query with a document, or token ids as they are


@dataclass(frozen=True, slots=True)
class Item:
    """One input, ready for its engine.

    Attributes:
        length: tokens after truncation; what a batch is padded to is the greatest of its items.
        data: whatever the engine's own `run` needs.
        cut: whether tokens were cut off.
    """

    length: int
    data: Any
    cut: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """An engine in words, for the status page, the log and metrics.

    Attributes:
        engine: library and version, as `onnxruntime 1.31.1`.
        device: `cpu` or `cuda`.
        precision: as `fp32`, `bf16`, `int8`, of the computation.
        threads: that compute.
        dimensions: of a vector; 0 for scores.
        max_length: tokens that the model takes by default.
        limit: tokens that it can take at most.
        normalized: whether vectors have the length 1 by the model's own files.
        prompts: the model's own, by name.
        default_prompt: the name of one of them, or None.
        note: why it is not the engine that would be expected, one sentence, or "".
        batches: that are computed at once, where there are so many; they share the threads.
    """

    engine: str
    device: str
    precision: str
    threads: int
    dimensions: int
    max_length: int
    limit: int
    normalized: bool = False
    prompts: tuple[tuple[str, str], ...] = ()
    default_prompt: str | None = None
    note: str = ""
    batches: int = 1


class Engine(Protocol):
    """One loaded model. Both methods may be called from several threads at once, and neither holds the GIL for long."""

    @property
    def about(self) -> About:
        """What this is."""

    def tokenize(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Item]:
        """Items of inputs, truncated to `max_length` tokens (at most `about.limit`), or to the model's own length.

        Raises Invalid for token ids that the model does not have.
        """

    def run(self, items: Sequence[Item]) -> Floats:
        """One batch: vectors (n, dimensions), pooled, normalised if the model's files say so; or logits (n,)."""
