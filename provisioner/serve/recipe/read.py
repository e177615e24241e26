"""The recipe of one model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from provisioner.errors import InvalidInput
from provisioner.serve.recipe import modules as pipelines
from provisioner.serve.recipe.documents import Documents, Section
from provisioner.serve.recipe.lengths import lengths, padding, transformer_config
from provisioner.serve.recipe.values import Recipe

ABOUT = "config_sentence_transformers.json"
# What today's sentence-transformers may write for its transformer, and the only values that a plain graph computes.
_PLAIN_MODALITY = {"method": "forward", "method_output_name": "last_hidden_state"}


def read(folder: str | os.PathLike[str], files: Sequence[str], task: str, max_length: int | None = None) -> Recipe:
    """How a model of this task (`embed` or `rerank`) wants to be run.

    `max_length` is what the operator wants instead of the model's own. Raises InvalidDocument for files that are not
    what they should be, and InvalidInput where they do not say what has to be known.
    """
    documents = Documents.of(folder, files)
    return _embedder(documents, max_length) if task == "embed" else _reranker(documents, max_length)


def _embedder(documents: Documents, max_length: int | None) -> Recipe:
    steps = pipelines.modules(documents)
    if not steps:
        raise InvalidInput(
            f"The model has no {pipelines.NAME}, so nothing says how its vectors are pooled.",
            hint="Lock a repository that was made for sentence-transformers, or one that fastembed knows.",
        )
    made = pipelines.pipeline(documents, steps)
    about = documents.section(ABOUT)
    transformer = transformer_config(documents)
    config = documents.section("config.json")
    return Recipe(
        "embed",
        lengths(documents, max_length, "EMBEDDER_MAX_LENGTH"),
        padding(documents),
        made.pooling,
        made.normalize,
        about.whole("truncate_dim"),
        config.whole("vocab_size"),
        transformer.yes("do_lower_case"),
        prompts(about),
        _default_prompt(about),
        (*made.only_torch, *_odd(transformer)),
    )


def _reranker(documents: Documents, max_length: int | None) -> Recipe:
    steps = pipelines.modules(documents)
    transformer, config = transformer_config(documents), documents.section("config.json")
    more = tuple(f"the module {step.kind}" for step in steps if step.kind != "Transformer" or step.path)
    about = documents.section(ABOUT)
    prompt = ("a default prompt",) if steps and dict(prompts(about)).get(_default_prompt(about) or "") else ()
    return Recipe(
        "rerank",
        lengths(documents, max_length, "RERANKER_MAX_LENGTH"),
        padding(documents),
        vocabulary=config.whole("vocab_size"),
        lower_case=transformer.yes("do_lower_case"),
        only_torch=(*more, *prompt),
    )


def prompts(about: Section) -> tuple[tuple[str, str], ...]:
    """By name; null is an empty one."""
    section = about.section("prompts")
    return tuple((name, section.text(name) or "") for name in section.data)


def _default_prompt(about: Section) -> str | None:
    name = about.text("default_prompt_name")
    if name is not None and name not in about.section("prompts").data:
        about.wrong("default_prompt_name", "names none of the prompts")
    return name


def _odd(config: Section) -> Iterator[str]:
    """Settings of the transformer that change vectors, and that a graph with a tokenizer knows nothing of."""
    if (config.text("transformer_task") or "feature-extraction") != "feature-extraction":
        yield "another transformer task than feature-extraction"
    if "modality_config" in config:
        modality = config.section("modality_config")
        if "message" in modality:
            yield "a chat template"
        elif modality.data.get("text") != _PLAIN_MODALITY:
            yield "another output of the transformer than its last hidden state"
    if (config.text("module_output_name") or "token_embeddings") != "token_embeddings":
        yield "another output of the transformer than its last hidden state"
