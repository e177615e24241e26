"""An engine over an ONNX graph, whichever library computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from provisioner.errors import InvalidInput, ProvisionError, VerificationFailed
from provisioner.serve.engines.batch import Grain, arrays, pieces, positions
from provisioner.serve.engines.interface import About, Floats, Input, Item
from provisioner.serve.engines.pooling import normalized, pool
from provisioner.serve.engines.tokens import Ids, Tokens
from provisioner.serve.recipe import Recipe

TAKEN = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_TOKENS = ("last_hidden_state", "token_embeddings")
_POOLED = "pooler_output"  # BERT's own, which no sentence-transformers model uses
_SAMPLE = "A text."


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph; a dimension that is not fixed is None, and so is a shape that is not known."""

    name: str
    shape: tuple[int | None, ...] | None


class Graph(Protocol):
    """A loaded graph, for several threads at once."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it asks for."""

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives."""

    @property
    def grain(self) -> Grain:
        """In which pieces it is best computed."""

    def compute(self, feeds: dict[str, Ids], output: str) -> Floats:
        """One output."""


@dataclass(frozen=True, slots=True)
class GraphEngine:
    """See Engine.

    Attributes:
        output: the name of the one that is taken.
    """

    about: About
    graph: Graph
    tokens: Tokens
    recipe: Recipe
    output: str

    def tokenize(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Item]:
        """See Engine."""
        return self.tokens.items(inputs, max_length)

    def run(self, items: Sequence[Item]) -> Floats:
        """See Engine."""
        parts = [(piece, self._piece([items[at] for at in piece])) for piece in pieces(items, self.graph.grain.area)]
        if len(parts) == 1 and parts[0][0] == list(range(len(items))):
            return parts[0][1]
        answer: Floats = np.empty((len(items), *parts[0][1].shape[1:]), np.float32)
        for piece, part in parts:
            answer[piece] = part
        return answer

    def _piece(self, items: list[Item]) -> Floats:
        feeds = arrays(items, self.tokens.padding, self.graph.grain.step, self.recipe.lengths.limit)
        wanted = {port.name for port in self.graph.inputs}
        if "position_ids" in wanted:
            feeds["position_ids"] = positions(feeds["attention_mask"])
        taken = {name: array for name, array in feeds.items() if name in wanted}
        found = self.graph.compute(taken, self.output)
        return self._scores(found) if self.recipe.task == "rerank" else self._vectors(found, items)

    def _scores(self, found: Floats) -> Floats:
        if found.size != len(found):
            raise InvalidInput(f"The graph gives {found.size // len(found)} numbers for a pair, not one.", hint=_OTHER)
        return found.reshape(len(found)).astype(np.float32)

    def _vectors(self, found: Floats, items: list[Item]) -> Floats:
        lengths = [item.length for item in items]
        pooled = found if found.ndim == 2 else pool(found, lengths, self.recipe.pooling, left=self.tokens.padding.left)
        made = normalized(pooled) if self.recipe.normalize else pooled.astype(np.float32, copy=False)
        return np.ascontiguousarray(made[:, : self.recipe.dimensions])


def check_inputs(graph: Graph) -> None:
    """Raises InvalidInput for a graph that asks for what a text does not have, or for texts of one length only."""
    names = {port.name for port in graph.inputs}
    if strange := sorted(names - set(TAKEN)):
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise InvalidInput(f"The graph asks for {strange[0]!r}{more}, which a text does not have.", hint=_OTHER)
    if any(size is not None for port in graph.inputs for size in port.shape or ()):
        raise InvalidInput("The graph takes texts of one length or number only.", hint=_OTHER)


_OTHER = "Choose another graph of the model in EMBEDDER_ONNX_PATH or RERANKER_ONNX_PATH, or set ENGINE=torch."


def output_of(graph: Graph, task: str) -> str:
    """The output to take. Raises InvalidInput."""
    found = {port.name: port.shape for port in graph.outputs}
    usable = [name for name in found if name != _POOLED]
    if task == "rerank":
        return "logits" if "logits" in found else next(iter(found))
    for name in (*_TOKENS, "sentence_embedding", *usable):
        if name in found and (found[name] is None or len(found[name] or ()) in (2, 3)):
            return name
    raise InvalidInput(
        f"None of the graph's outputs ({', '.join(found)}) is a vector of a token or a text.", hint=_OTHER
    )


def dimensions_of(engine: GraphEngine) -> int:
    """How many numbers a vector has, by an example; 0 for a reranker.

    Raises VerificationFailed where the numbers are not finite: damaged weights load without a word.
    """
    sample: Input = (_SAMPLE, _SAMPLE) if engine.recipe.task == "rerank" else _SAMPLE
    last: Input = (engine.tokens.vocabulary - 1,) * 2
    try:
        found = finite(engine.run(engine.tokenize([sample, sample])))
        # ONNX Runtime refuses an id that the graph has no row for; OpenVINO makes zeros of it.
        known = engine.recipe.task == "rerank" or bool(engine.run(engine.tokenize([last])).any())
    except ProvisionError:
        raise
    except Exception as error:  # whatever a native library raises on its first computation
        raise InvalidInput(f"The graph cannot compute a text: {str(error)[:300]}", hint=_OTHER) from error
    if not known:
        raise InvalidInput("The graph has fewer tokens than the model's own files say.", hint=_OTHER)
    return int(found.shape[1]) if found.ndim == 2 else 0


def finite(found: Floats) -> Floats:
    """The same numbers. Raises VerificationFailed where one of them is none."""
    if not np.isfinite(found).all():
        raise VerificationFailed(
            "The model gives numbers that are not finite.", hint="Its weights or its graph are damaged."
        )
    return found
