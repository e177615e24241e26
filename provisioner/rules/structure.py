"""What is missing from a model, so that it would not load, or load wrongly without saying so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from provisioner.errors import Problem
from provisioner.model import Layout, Model, RelPath
from provisioner.rules import layouts, modules
from provisioner.rules.documents import code_of, load, parsed
from provisioner.rules.formats import (
    Format,
    beside,
    external_data,
    folder,
    graph_of,
    is_onnx,
    shard_of,
)
from provisioner.rules.policy import left_without_code
from provisioner.rules.view import View

_CONFIGS = ("config.json", "params.json", "adapter_config.json", "model_index.json")
_TOKENIZERS = (
    *("tokenizer.json", "vocab.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "tokenizer.model", "tekken.json"),
)
_MOST = 20  # of one kind; a hostile index may name a million


def structure_problems(
    model: Model,
    documents: Mapping[RelPath, bytes] = MappingProxyType({}),
    repository: frozenset[str] | None = None,
) -> tuple[Problem, ...]:
    """What is missing or broken, by contents where they are known, else by names alone."""
    view = View(model, parsed(documents) if documents else None, repository)
    problems = [
        *_broken(view, documents),
        *_config(view),
        *_shards(view),
        *_indexes(view),
        *_code(view, documents),
        *_external_data(view),
        *_tokenizer(view),
        *modules.problems(view),
        *layouts.problems(view),
    ]
    return tuple(dict.fromkeys(problems))


def _broken(view: View, documents: Mapping[RelPath, bytes]) -> Iterator[Problem]:
    for path, data in documents.items():
        if str(path) not in view.names or (not data and not view.weights):
            continue  # Qdrant/bm25 has words instead of weights, and an empty config.json
        try:
            value = load(data)
        except ValueError as error:
            yield view.problem(path, f"not JSON: {error}")
            continue
        if path.name == "config.json" and not isinstance(value, dict):
            yield view.problem(path, "not a JSON object")


def _config(view: View) -> Iterator[Problem]:
    """Weights need a config.json in their folder or above; modules.json says what its modules need."""
    if view.bare or (view.documents is None and modules.NAME in view.names):
        return
    if view.model.layouts == (Layout.FLAT,) and "config.json" not in (view.repository or ()):
        return
    listed = modules.folders(view)
    for path, format_ in view.weights.items():
        above = ("", *RelPath(path).parents)[: path.count("/") + 1]
        if format_ in (Format.GGUF, Format.OTHER) or folder(path) in listed:
            continue
        if not any((f"{place}/{name}").lstrip("/") in view.names for place in above for name in _CONFIGS):
            yield view.missing("config.json", "the weights need it")
            return


def _shards(view: View) -> Iterator[Problem]:
    found: dict[tuple[str, str, int], set[int]] = {}
    for path in view.weights:
        if shard := shard_of(path):
            name, ending, index, total = shard
            found.setdefault((name, ending, total), set()).add(index)
    for (name, ending, total), indexes in sorted(found.items()):
        first = 0 if 0 in indexes else 1
        if len(indexes) >= total:
            continue
        absent = (index for index in range(first, total + first) if index not in indexes)
        for _, index in zip(range(_MOST), absent, strict=False):
            path = f"{name}-{index:05}-of-{total:05}{ending}"
            yield view.missing(path, f"one of the {total} shards")


def _indexes(view: View) -> Iterator[Problem]:
    for path, data in (view.documents or {}).items():
        if str(path) not in view.names or ".index." not in path.name:
            continue
        shards = data.get("weight_map") if isinstance(data, dict) else None
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            yield view.problem(path, "an index without a weight_map of file names")
            continue
        absent = (name for name in sorted(set(shards.values())) if not _is_beside(path, name, view.names))
        for _, name in zip(range(_MOST), absent, strict=False):
            yield view.missing(f"{folder(path)}/{name}".lstrip("/"), f"a shard that {path} names")


def _is_beside(path: RelPath, name: str, names: frozenset[str]) -> bool:
    try:
        return str(beside(path, name)) in names
    except ValueError:
        return False


def _code(view: View, documents: Mapping[RelPath, bytes]) -> Iterator[Problem]:
    """Code that was allowed but is not among the files."""
    chosen = {path: data for path, data in documents.items() if str(path) in view.names}
    code = code_of(chosen, view.model.repo)
    if not view.model.allow_remote_code or left_without_code(view.model.exclude, code):
        return
    for module in code.modules:
        if module not in view.names:
            yield view.missing(module, "an auto_map asks for it")


def _external_data(view: View) -> Iterator[Problem]:
    for path in sorted(view.names):
        graph = graph_of(path)
        if graph and graph not in view.names:
            yield view.missing(graph, f"the graph that {path} belongs to")
        if is_onnx(path):
            for data in external_data(path, sorted(view.repository or ())):
                if data not in view.names:
                    yield view.missing(data, f"weights of {path}")


def _tokenizer(view: View) -> Iterator[Problem]:
    if view.bare or view.repository is None or not set(view.weights.values()) - {Format.GGUF}:
        return
    offered = _tokenizers(view.repository)
    if offered and not _tokenizers(view.names):
        yield view.missing(offered[0], "the model has no tokenizer without it")


def _tokenizers(names: frozenset[str]) -> list[str]:
    found = [path for known in _TOKENIZERS for path in sorted(names) if path.rpartition("/")[2] == known]
    pairs = [path for path in sorted(names) if path.rpartition("/")[2] == "vocab.json"]
    return found + [path for path in pairs if path.removesuffix("vocab.json") + "merges.txt" in names]
