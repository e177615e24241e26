"""One vector of a text from the vectors of its tokens, as sentence-transformers makes it.

What is padding stands at one end of a row, so every mode works on the slice without it, and no mask is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from provisioner.serve.engines.interface import Floats
from provisioner.serve.recipe import Mode


def pool(hidden: Floats, lengths: Sequence[int], modes: Sequence[Mode], *, left: bool = False) -> Floats:
    """Vectors (n, dimensions x modes) of token vectors (n, width, dimensions).

    `lengths` are the tokens of each row that are no padding, at least 1; `left` says that padding comes before them.
    """
    width, size = hidden.shape[1:]
    vectors: Floats = np.empty((len(lengths), size * len(modes)), np.float32)
    for row, length in enumerate(lengths):
        tokens = hidden[row, width - length :] if left else hidden[row, :length]
        for index, mode in enumerate(modes):
            vectors[row, index * size : (index + 1) * size] = _POOL[mode](tokens)
    return vectors


def normalized(vectors: Floats) -> Floats:
    """Vectors of the length 1; one of nothing but zeros stays as it is."""
    size = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    made: Floats = np.divide(vectors, np.maximum(size, 1e-12)[:, None], dtype=np.float32)
    return made


def _sum(tokens: Floats) -> Floats:
    return np.asarray(np.add.reduce(tokens, axis=0, dtype=np.float32))


def _mean(tokens: Floats) -> Floats:
    return _sum(tokens) / np.float32(len(tokens))


def _mean_sqrt(tokens: Floats) -> Floats:
    return _sum(tokens) / np.float32(np.sqrt(len(tokens)))


def _weighted(tokens: Floats) -> Floats:
    weights = np.arange(1, len(tokens) + 1, dtype=np.float32)
    return _sum(tokens * weights[:, None]) / np.float32(weights.sum())


def _first(tokens: Floats) -> Floats:
    return np.asarray(tokens[0])


def _last(tokens: Floats) -> Floats:
    return np.asarray(tokens[-1])


def _max(tokens: Floats) -> Floats:
    return np.asarray(tokens.max(axis=0))


_POOL: dict[Mode, Callable[[Floats], Floats]] = {
    Mode.CLS: _first,
    Mode.MAX: _max,
    Mode.MEAN: _mean,
    Mode.MEAN_SQRT: _mean_sqrt,
    Mode.WEIGHTED: _weighted,
    Mode.LAST: _last,
}
