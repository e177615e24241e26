"""Which library proves that a model loads, by its files and layout."""

from __future__ import annotations

from enum import StrEnum

from provisioner.model import Layout, Model


class Library(StrEnum):
    """A consumer, by the name it is imported under."""

    FASTEMBED = "fastembed"
    SENTENCE_TRANSFORMERS = "sentence_transformers"
    TRANSFORMERS = "transformers"
    NONE = ""


def library_of(model: Model, layout: Layout) -> Library:
    """The library that the layout was made for, or else the one that its files were made for.

    Without weights there is at most a tokenizer to load, whatever the layout: a repository of code only stands in the
    layout of the model that asks for it, and `NONE` loads it by itself.
    """
    names = [str(file.path) for file in model.files]
    onnx = any(name.endswith(".onnx") for name in names)
    weights = any(name.endswith((".safetensors", ".bin", ".pt", ".pth")) for name in names)
    if not onnx and not weights:
        tokenizer = any(name.startswith(("tokenizer", "vocab")) for name in names)
        return Library.TRANSFORMERS if tokenizer else Library.NONE
    if layout is Layout.FASTEMBED or not weights:
        return Library.FASTEMBED
    if layout is Layout.SENTENCE_TRANSFORMERS or "modules.json" in names:
        return Library.SENTENCE_TRANSFORMERS
    return Library.TRANSFORMERS
