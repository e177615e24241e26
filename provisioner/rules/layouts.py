"""What the library of a layout needs beyond what every model needs."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.errors import Problem
from provisioner.model import Layout, RelPath
from provisioner.rules.formats import Format
from provisioner.rules.view import View

_CROSS_ENCODER = "ForSequenceClassification"


def problems(view: View) -> Iterator[Problem]:
    """What is missing for each layout the model is wanted in."""
    if Layout.SENTENCE_TRANSFORMERS in view.model.layouts:
        yield from _sentence_transformers(view)
    if Layout.FASTEMBED in view.model.layouts:
        yield from _fastembed(view)


def _sentence_transformers(view: View) -> Iterator[Problem]:
    if not view.weights or "modules.json" in view.names:
        return  # a tokenizer or the code of another model needs none
    config = (view.documents or {}).get(RelPath("config.json"))
    if not isinstance(config, dict) or _is_cross_encoder(config):
        return
    yield view.missing("modules.json", "sentence-transformers gives other vectors without it, silently")


def _is_cross_encoder(config: dict[str, object]) -> bool:
    architectures = config.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    return any(isinstance(name, str) and name.endswith(_CROSS_ENCODER) for name in names)


def _is_static(view: View) -> bool:
    """A model2vec embedding, which fastembed reads from safetensors."""
    config = (view.documents or {}).get(RelPath("config.json"))
    known = config.get("model_type") if isinstance(config, dict) else "model2vec"
    return known == "model2vec" and "tokenizer.json" in view.names


def _fastembed(view: View) -> Iterator[Problem]:
    """ONNX with a tokenizer; or an image model, a static embedding, or the word lists of BM25."""
    if not view.weights:
        if not any(name.endswith((".txt", ".py")) for name in view.names):
            yield view.missing("model.onnx", "fastembed loads ONNX")
        return
    formats = set(view.weights.values())
    if Format.ONNX not in formats:
        if Format.SAFETENSORS not in formats or not _is_static(view):
            yield view.missing("model.onnx", "fastembed loads ONNX")
        return
    needed = ["config.json"]
    if "preprocessor_config.json" not in view.names:
        needed += ["tokenizer.json", "tokenizer_config.json"]
    for name in needed:
        if name not in view.names:
            yield view.missing(name, "fastembed loads it")
