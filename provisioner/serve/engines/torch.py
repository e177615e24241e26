"""sentence-transformers on torch, on CUDA where torch has it: for models that nothing else computes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from provisioner.errors import InvalidInput, MissingExtra
from provisioner.serve.engines.interface import About, Floats, Input, Item
from provisioner.serve.recipe import Recipe
from provisioner.serve.refusals import Invalid

_WEIGHTS = (".safetensors", "pytorch_model.bin")
_PRECISION = {"float32": "fp32", "float64": "fp64", "float16": "fp16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class TorchEngine:
    """See Engine.

    Attributes:
        lock: of the tokenizer, which keeps the length to truncate to as a state of its own.
    """

    about: About
    model: Any
    recipe: Recipe
    lock: Lock = field(default_factory=Lock)

    def tokenize(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Item]:
        """See Engine."""
        most = min(max_length or self.about.max_length, self.about.limit)
        texts = [one for one in inputs if _is_text(one)]
        with self.lock:
            rows = iter(list(self._rows(texts, most)) if texts else ())
        return [next(rows) if _is_text(one) else self._given(one, most) for one in inputs]

    def run(self, items: Sequence[Item]) -> Floats:
        """See Engine."""
        import torch

        with torch.inference_mode():
            features = _batch([item.data for item in items], self._filler(), self._left())
            moved = {name: value.to(self.model.device) for name, value in features.items()}
            found = self.model({**moved, "modality": "text"})
            wanted = found["scores" if self.recipe.task == "rerank" else "sentence_embedding"]
            answer: Floats = wanted.float().cpu().numpy()
        if self.recipe.task == "rerank":
            return answer.reshape(len(items), -1)[:, 0]
        return np.ascontiguousarray(answer[:, : self.recipe.dimensions])

    def _rows(self, texts: list[Any], most: int) -> Iterator[Item]:
        options = {"text": {"max_length": most, "return_token_type_ids": True}}
        features = self.model.preprocess(texts, processing_kwargs=options)
        mask = features["attention_mask"].bool()
        tensors = {name: value for name, value in features.items() if getattr(value, "shape", None) == mask.shape}
        for at, text in enumerate(texts):
            row = {name: value[at][mask[at]] for name, value in tensors.items()}
            length = len(row["attention_mask"])
            yield Item(length, row, length >= most and self._whole(text) > most)

    def _whole(self, text: Any) -> int:
        """How many tokens an input has that was perhaps truncated."""
        parts = (text,) if isinstance(text, str) else text
        return len(self.model.tokenizer(*parts, truncation=False, verbose=False)["input_ids"])

    def _given(self, ids: Input, most: int) -> Item:
        import torch

        if not ids:
            raise Invalid("A list of token ids is empty.", param="inputs")
        vocabulary = self.recipe.vocabulary or len(self.model.tokenizer)
        if not all(0 <= int(one) < vocabulary for one in ids):
            raise Invalid(f"A token id is not from 0 to {vocabulary - 1}, as the model's are.", param="inputs")
        tensor = torch.tensor(ids[:most], dtype=torch.int64)
        row = {"input_ids": tensor, "attention_mask": torch.ones_like(tensor)}
        return Item(len(tensor), row, len(ids) > most)

    def _filler(self) -> int:
        identity = self.model.tokenizer.pad_token_id
        return self.recipe.padding.id if identity is None else int(identity)

    def _left(self) -> bool:
        return bool(self.model.tokenizer.padding_side == "left")


def has_cuda() -> bool:
    """Whether torch reaches a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def load(folder: str, files: Sequence[str], recipe: Recipe, threads: int) -> TorchEngine:
    """The engine of a model's safetensors.

    Raises MissingExtra, and InvalidInput when it has no weights for torch or sentence-transformers cannot load them.
    """
    if not any(path.endswith(_WEIGHTS) for path in files):
        raise InvalidInput("The model has no weights for torch.", hint="Lock its safetensors too, or set ENGINE=onnx.")
    try:
        import sentence_transformers
        import torch
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtra("The engine torch", "sentence-transformers") from error
    quiet: Any = logging  # it is not typed
    quiet.disable_progress_bar()
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = sentence_transformers.CrossEncoder if recipe.task == "rerank" else sentence_transformers.SentenceTransformer
    try:
        model = kind(os.fspath(folder), device=device, local_files_only=True)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise InvalidInput(
            f"sentence-transformers {sentence_transformers.__version__} cannot load the model: {str(error)[:300]}",
            hint="Remote code is never run here; choose another model or engine.",
        ) from error
    model.eval()
    return _engine(model, recipe, f"sentence-transformers {sentence_transformers.__version__}", device, threads)


def _engine(model: Any, recipe: Recipe, name: str, device: str, threads: int) -> TorchEngine:
    size = 0 if recipe.task == "rerank" else int(model.get_embedding_dimension())
    lengths = recipe.lengths
    precise = _PRECISION.get(str(model.dtype).removeprefix("torch."), str(model.dtype))
    dimensions = min(size, recipe.dimensions or size)
    unit = recipe.normalize and recipe.dimensions is None
    limits = (lengths.default, lengths.limit)
    about = About(name, device, precise, threads, dimensions, *limits, unit, recipe.prompts, recipe.default_prompt)
    if model.tokenizer is None or not hasattr(model.tokenizer, "padding_side"):
        raise InvalidInput("The model has no tokenizer that this server can use.", hint="Choose another model.")
    return TorchEngine(about, model, recipe)


def _batch(rows: Sequence[dict[str, Any]], filler: int, left: bool) -> dict[str, Any]:
    """Rows of different length as tensors (n, width); what only some of them have counts as 0 in the others."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    batch = {}
    for name in {name: None for row in rows for name in row}:
        made = torch.full((len(rows), width), filler if name == "input_ids" else 0, dtype=torch.int64)
        for at, row in enumerate(rows):
            if name in row:
                place = slice(width - len(row[name]), None) if left else slice(len(row[name]))
                made[at, place] = row[name]
        batch[name] = made
    return batch


def _is_text(one: Input) -> bool:
    return isinstance(one, str) or (bool(one) and isinstance(one[0], str))
