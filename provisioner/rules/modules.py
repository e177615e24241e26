"""sentence-transformers: `modules.json` and what it names.

Without it the library makes up a pipeline of its own and gives other vectors, silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provisioner.errors import Problem
from provisioner.model import RelPath
from provisioner.rules.formats import Format
from provisioner.rules.view import View

NAME = "modules.json"
_TRACES = ("config_sentence_transformers.json", "1_Pooling/config.json")
# Class name -> the file its module is loaded from; the classes of sentence-transformers 6.2.
_CONFIGS = {
    "CNN": "cnn_config.json",
    "LSTM": "lstm_config.json",
    "WordEmbeddings": "wordembedding_config.json",
    "StaticEmbedding": "tokenizer.json",
    "Normalize": None,
    "Router": None,
    "Asym": None,
}
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_WITH_WEIGHTS = (
    *("Dense", "LayerNorm", "LSTM", "CNN"),
    *("WeightedLayerPooling", "SparseAutoEncoder", "StaticEmbedding"),
)


def problems(view: View) -> Iterator[Problem]:
    """What is missing of the pipeline."""
    if NAME not in view.names:
        yield from _absent(view)
    elif view.documents is not None:
        value = view.documents.get(RelPath(NAME), [])
        if not _is_list(value):
            yield view.problem(NAME, "not a list of modules with a path and a type")
            return
        for module in value:
            yield from _module(view, module["path"], module["type"].rpartition(".")[2])


def folders(view: View) -> frozenset[str]:
    """The folders of modules that say themselves which files they need."""
    value = (view.documents or {}).get(RelPath(NAME), [])
    if not _is_list(value):
        return frozenset()
    named = ((module["path"].strip("."), module["type"]) for module in value)
    return frozenset(path for path, kind in named if path or kind.endswith("StaticEmbedding"))


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(module, dict) and all(isinstance(module.get(key), str) for key in ("path", "type"))
        for module in value
    )


def _absent(view: View) -> Iterator[Problem]:
    loadable = {Format.SAFETENSORS, Format.TORCH} & set(view.weights.values())
    traced = [name for name in _TRACES if name in view.names]
    offered = view.repository is not None and NAME in view.repository
    if loadable and not view.bare and (traced or offered):
        yield view.missing(NAME, "sentence-transformers gives other vectors without it, silently")


def _module(view: View, path: str, kind: str) -> Iterator[Problem]:
    place = path if path != "." else ""
    try:
        prefix = RelPath(place) + "/" if place else ""
    except ValueError as error:
        yield view.problem(NAME, f"names a module at {path!r}, {error}")
        return
    why = f"the module {kind} that {NAME} names"
    if prefix and kind in ("Router", "Asym") and not any(name.startswith(prefix) for name in view.names):
        yield view.missing(prefix + "config.json", why)
    config = _CONFIGS.get(kind, "config.json" if prefix else None)
    if config and prefix + config not in view.names:
        yield view.missing(prefix + config, why)
    if kind in _WITH_WEIGHTS and not any(prefix + name in view.names for name in _WEIGHTS):
        yield view.missing(prefix + _offered(view, prefix), why)


def _offered(view: View, prefix: str) -> str:
    repository = view.repository or ()
    return next((name for name in _WEIGHTS if prefix + name in repository), _WEIGHTS[0])
