"""What turns a reranker's logits into scores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from provisioner.errors import InvalidInput
from provisioner.serve.recipe import modules as pipelines
from provisioner.serve.recipe.documents import Documents

Floats = NDArray[np.float32]


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-x), without overflow."""
    small: Floats = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def identity(logits: Floats) -> Floats:
    """As they are."""
    return logits


def tanh(logits: Floats) -> Floats:
    """Between -1 and 1."""
    return np.tanh(logits).astype(np.float32)


_KNOWN: dict[str, Callable[[Floats], Floats]] = {"Sigmoid": sigmoid, "Identity": identity, "Tanh": tanh}


def activation(folder: str | os.PathLike[str]) -> Callable[[Floats], Floats]:
    """What CrossEncoder.predict applies for the model in this folder.

    Raises InvalidDocument, and InvalidInput for a function of torch that is not known here.
    """
    present = [name for name in _DOCUMENTS if os.path.exists(os.path.join(folder, name))]
    documents = Documents.of(folder, present)
    for name in _named(documents):
        # sentence-transformers warns about a function from elsewhere, and goes on with the next that is named.
        if not name.startswith("torch."):
            continue
        if name.rpartition(".")[2] not in _KNOWN:
            raise InvalidInput(
                f"The model wants {name[:80]!r} applied to its scores, which this server does not know.",
                hint=f"It knows {', '.join(sorted(_KNOWN))}.",
            )
        return _KNOWN[name.rpartition(".")[2]]
    return sigmoid


_DOCUMENTS = ("config.json", "config_sentence_transformers.json", pipelines.NAME)


def _named(documents: Documents) -> Iterator[str]:
    """The names that the files give, the one that counts first.

    `config_sentence_transformers.json` counts in a model with modules only, as in sentence-transformers.
    """
    if pipelines.NAME in documents and (name := documents.section(_DOCUMENTS[1]).text("activation_fn")):
        yield name
    config = documents.section("config.json")
    ours = config.section("sentence_transformers")
    legacy = None if "activation_fn" in ours.data else config.text("sbert_ce_default_activation_function")
    if name := ours.text("activation_fn") or legacy:
        yield name
