"""What a model is for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from provisioner.serve.recipe import modules as pipelines
from provisioner.serve.recipe.documents import Documents, Section

EMBED, RERANK = "embed", "rerank"
_WEIGHTS = (".onnx", ".safetensors", "pytorch_model.bin")
_BY_TYPE = {"SentenceTransformer": EMBED, "CrossEncoder": RERANK}


def task(folder: str | os.PathLike[str], files: Sequence[str]) -> str | None:
    """`embed`, `rerank`, or None for a model that this server has no use for. Raises InvalidDocument.

    A model of a known kind is named even where it cannot be loaded after all: loading says why.
    """
    documents = Documents.of(folder, files)
    if not any(path.endswith(_WEIGHTS) for path in documents.files):
        return None
    config = documents.section("config.json")
    if pipelines.NAME in documents:
        about = documents.section("config_sentence_transformers.json")
        return _BY_TYPE.get(about.text("model_type") or "SentenceTransformer")
    architecture = next(iter(config.texts("architectures")), "")
    if architecture.endswith("ForSequenceClassification"):
        return RERANK if labels(config) == 1 else None
    return EMBED if architecture.endswith("Model") else None


def labels(config: Section) -> int:
    """How many numbers a classifier gives; two where config.json does not say, as in transformers."""
    if "id2label" in config:
        return len(config.section("id2label").data)
    return config.whole("num_labels") or 2
