"""Vectors of the int8 embedder, computed in this process, to compare answers with."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from provisioner.serve import engines
from provisioner.serve.engines.interface import Engine
from provisioner.serve.settings import EngineName, ModelSettings
from tests.support.serve_models import files_of, int8_embedder, shared

Vector = NDArray[np.float32]


@cache
def engine() -> Engine:
    folder = shared(int8_embedder)
    return engines.load(str(folder), files_of(folder), "embed", ModelSettings(), EngineName.ONNX, 1)


def vector(text: str, max_length: int | None = None) -> Vector:
    """Of one text alone: the int8 graph scales by its whole batch."""
    return engine().run(engine().tokenize([text], max_length))[0]


@cache
def tokenizer() -> Tokenizer:
    found = Tokenizer.from_file(str(shared(int8_embedder) / "tokenizer.json"))
    found.no_padding()
    found.no_truncation()
    return found


def ids(text: str) -> list[int]:
    """Of the model, the special ones included."""
    return list(tokenizer().encode(text).ids)


def alike(one: object, other: object, least: float = 0.9999) -> bool:
    """Whether two vectors are in the same direction."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return a.shape == b.shape and bool(a @ b >= least * np.linalg.norm(a) * np.linalg.norm(b))
