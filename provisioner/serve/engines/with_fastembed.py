"""fastembed: for the models that it alone knows how to pool, and for comparison.

It takes texts and tokenizes them itself, so a text that is to be shorter than fastembed would have it is cut where its
last token ends.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from provisioner.errors import InvalidInput, MissingExtra
from provisioner.serve.engines.choice import graph_of
from provisioner.serve.engines.graphs import finite
from provisioner.serve.engines.interface import About, Floats, Input, Item
from provisioner.serve.engines.precision import precision
from provisioner.serve.recipe import Mode, Recipe, read
from provisioner.serve.recipe.modules import NAME as MODULES
from provisioner.serve.refusals import Invalid
from provisioner.serve.settings import ModelSettings

_CACHE = re.compile(r"models--(.+?)--(.+)")
_SAMPLE = "A text."


@dataclass(frozen=True, slots=True)
class FastembedEngine:
    """See Engine.

    Attributes:
        counter: fastembed's tokenizer without its truncation and padding.
    """

    about: About
    model: Any
    counter: Any

    def tokenize(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Item]:
        """See Engine."""
        if any(not (isinstance(one, str) or (one and isinstance(one[0], str))) for one in inputs):
            raise Invalid("The engine fastembed takes texts, and no token ids.", param="inputs")
        most = min(max_length or self.about.max_length, self.about.limit)
        texts: list[Any] = list(inputs)
        return [
            self._item(text, encoding, most)
            for text, encoding in zip(texts, self.counter.encode_batch(texts), strict=True)
        ]

    def run(self, items: Sequence[Item]) -> Floats:
        """See Engine."""
        texts = [item.data for item in items]
        rerank = not self.about.dimensions
        found = self.model.rerank_pairs(texts, len(texts)) if rerank else self.model.embed(texts, len(texts))
        return np.asarray(list(found), np.float32)

    def _item(self, text: Any, encoding: Any, most: int) -> Item:
        length = len(encoding.ids)
        if length <= most or most >= self.about.limit or not isinstance(text, str):
            return Item(min(length, self.about.limit), text, length > self.about.limit)
        special = self.counter.num_special_tokens_to_add(False)
        ends = [stop for (_, stop), of in zip(encoding.offsets, encoding.sequence_ids, strict=True) if of is not None]
        return Item(most, text[: ends[most - special - 1]] if most > special else "", True)


def load(folder: str, files: Sequence[str], task: str, settings: ModelSettings, threads: int) -> FastembedEngine:
    """The engine of a model that fastembed knows by its repository, or that says itself how it is pooled.

    Raises InvalidInput for other models, MissingExtra.
    """
    try:
        import fastembed
        from fastembed.rerank.cross_encoder import TextCrossEncoder
    except ImportError as error:
        raise MissingExtra("The engine fastembed", "fastembed") from error
    kind = TextCrossEncoder if task == "rerank" else fastembed.TextEmbedding
    recipe = read(folder, files, task, settings.max_length) if task == "rerank" or MODULES in files else None
    known = _known(kind, folder, files, settings.graph)
    name, graph = known or _added(kind, folder, files, recipe, settings)
    try:
        model = kind(name, threads=threads, providers=["CPUExecutionProvider"], specific_model_path=folder)
    except (ValueError, OSError, RuntimeError) as error:
        raise InvalidInput(
            f"fastembed {fastembed.__version__} cannot load the model: {str(error)[:300]}", hint="Set another ENGINE."
        ) from error
    length = recipe.lengths.default if recipe else settings.max_length
    made = _engine(model, task, precision(os.path.join(folder, graph)), length, threads)
    if recipe is None:
        return made
    about = replace(made.about, prompts=recipe.prompts, default_prompt=recipe.default_prompt)
    return replace(made, about=about)


def _engine(model: Any, task: str, precise: str, length: int | None, threads: int) -> FastembedEngine:
    from fastembed import __version__
    from tokenizers import Tokenizer

    inner = model.model.tokenizer
    limit = int(inner.truncation["max_length"])
    counter = Tokenizer.from_str(inner.to_str())
    counter.no_truncation()
    counter.no_padding()
    pairs = task == "rerank"
    sample = list(model.rerank_pairs([(_SAMPLE, _SAMPLE)]) if pairs else model.embed([_SAMPLE]))
    first = finite(np.asarray(sample, np.float32))
    size = 0 if pairs else first.shape[1]
    unit = bool(size) and bool(abs(np.linalg.norm(first[0]) - 1) < 1e-3)
    name = f"fastembed {__version__}"
    return FastembedEngine(
        About(name, "cpu", precise, threads, size, min(length or limit, limit), limit, unit), model, counter
    )


def _known(kind: Any, folder: str, files: Sequence[str], graph: str | None) -> tuple[str, str] | None:
    """fastembed's name of the repository that the folder is of, and the graph it would load."""
    for one in kind.list_supported_models():
        repository = (one["sources"].get("hf") or "").lower()
        chosen = graph is None or graph_of(folder, files, graph, "embed") == one["model_file"]
        if chosen and one["model_file"] in files and repository in _repositories(folder, repository):
            return str(one["model"]), str(one["model_file"])
    return None


def _repositories(folder: str, candidate: str) -> Iterator[str]:
    """ORG/NAME by the folder of a Hub cache; a flat one is called NAME, whoever the ORG is."""
    parts = os.path.normpath(folder).split(os.sep)
    cache = next((found for part in reversed(parts) if (found := _CACHE.fullmatch(part))), None)
    if cache:
        yield f"{cache[1]}/{cache[2]}".lower()
    elif candidate.rpartition("/")[2] == parts[-1].lower():
        yield candidate


def _added(
    kind: Any, folder: str, files: Sequence[str], recipe: Recipe | None, settings: ModelSettings
) -> tuple[str, str]:
    """A model that fastembed does not know, made known to it by the model's own files."""
    from fastembed.common.model_description import ModelSource

    if recipe is None:
        raise InvalidInput(
            f"The model has no {MODULES} and is none of those that fastembed knows, so nothing says how its vectors "
            "are pooled.",
            hint="Lock a repository that was made for sentence-transformers.",
        )
    graph = graph_of(folder, files, settings.graph, recipe.task)
    if graph is None or recipe.only_torch:
        raise InvalidInput("fastembed cannot compute this model.", hint="Set ENGINE=torch.")
    name = f"provision/{hashlib.sha256(f'{folder} {graph}'.encode()).hexdigest()[:16]}"
    options: dict[str, Any] = {"model": name, "sources": ModelSource(hf=name), "model_file": graph}
    if recipe.task == "embed":
        options |= {"pooling": _pooling(recipe), "normalization": recipe.normalize, "dim": 1}
    if not any(one["model"] == name for one in kind.list_supported_models()):
        kind.add_custom_model(**options)
    return name, graph


def _pooling(recipe: Recipe) -> Any:
    from fastembed.common.model_description import PoolingType

    kinds = {Mode.CLS: PoolingType.CLS, Mode.MEAN: PoolingType.MEAN, Mode.LAST: PoolingType.LAST_TOKEN}
    if len(recipe.pooling) != 1 or recipe.pooling[0] not in kinds or recipe.dimensions is not None:
        raise InvalidInput("fastembed does not pool as this model wants it.", hint="Set ENGINE=onnx.")
    return kinds[recipe.pooling[0]]
