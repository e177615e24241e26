"""Which of the model's own prompts a request means."""

from __future__ import annotations

from typing import Literal

from provisioner.serve.backend import Backend
from provisioner.serve.engines.interface import About

InputType = Literal["query", "passage", "document"]
# The names that sentence-transformers' encode_query and encode_document look for, in their order.
_QUERY = ("query",)
_PASSAGE = ("document", "passage", "corpus")


def about(backend: Backend) -> About | None:
    """The embedder, if there is one."""
    return next((model.about for model in backend.status().models if model.task == "embed"), None)


def named(backend: Backend, input_type: InputType | None) -> str | None:
    """The name of the prompt for queries, or for passages; None where the model has none, and takes its default."""
    engine = about(backend)
    if input_type is None or engine is None:
        return None
    own = dict(engine.prompts)
    return next((name for name in (_QUERY if input_type == "query" else _PASSAGE) if name in own), None)


def default(backend: Backend) -> str:
    """The prompt that the model puts before a text when none is asked for."""
    engine = about(backend)
    return dict(engine.prompts).get(engine.default_prompt or "", "") if engine else ""
