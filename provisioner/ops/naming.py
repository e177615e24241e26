"""Names that libraries give models, and the Hub repositories behind them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from provisioner.errors import InvalidInput, MissingExtra, NotFound
from provisioner.model import RepoId, Revision
from provisioner.ops.locking import MAIN, Request

# What fastembed 0.9 asks for beside the model file; not every repository has all of them.
_FASTEMBED_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
)
_ORGANIZATION = "sentence-transformers"
# The names without an organization that the library leaves alone: the models of transformers' first days, a list
# that is closed. Asking the library takes 20 s, since it imports torch; a test compares the two.
ORIGINAL_NAMES = frozenset(
    """
    albert-base-v1 albert-base-v2 albert-large-v1 albert-large-v2 albert-xlarge-v1 albert-xlarge-v2
    albert-xxlarge-v1 albert-xxlarge-v2 bert-base-cased bert-base-cased-finetuned-mrpc bert-base-chinese
    bert-base-german-cased bert-base-german-dbmdz-cased bert-base-german-dbmdz-uncased
    bert-base-multilingual-cased bert-base-multilingual-uncased bert-base-uncased bert-large-cased
    bert-large-cased-whole-word-masking bert-large-cased-whole-word-masking-finetuned-squad
    bert-large-uncased bert-large-uncased-whole-word-masking
    bert-large-uncased-whole-word-masking-finetuned-squad camembert-base ctrl distilbert-base-cased
    distilbert-base-cased-distilled-squad distilbert-base-german-cased distilbert-base-multilingual-cased
    distilbert-base-uncased distilbert-base-uncased-distilled-squad
    distilbert-base-uncased-finetuned-sst-2-english distilgpt2 distilroberta-base gpt2 gpt2-large
    gpt2-medium gpt2-xl openai-gpt roberta-base roberta-base-openai-detector roberta-large
    roberta-large-mnli roberta-large-openai-detector t5-11b t5-3b t5-base t5-large t5-small transfo-xl-wt103
    xlm-clm-ende-1024 xlm-clm-enfr-1024 xlm-mlm-100-1280 xlm-mlm-17-1280 xlm-mlm-en-2048 xlm-mlm-ende-1024
    xlm-mlm-enfr-1024 xlm-mlm-enro-1024 xlm-mlm-tlm-xnli15-1024 xlm-mlm-xnli15-1024 xlm-roberta-base
    xlm-roberta-large xlm-roberta-large-finetuned-conll02-dutch xlm-roberta-large-finetuned-conll02-spanish
    xlm-roberta-large-finetuned-conll03-english xlm-roberta-large-finetuned-conll03-german xlnet-base-cased
    xlnet-large-cased
    """.split()  # noqa: SIM905  # seventy quoted names would be harder to read
)


@dataclass(frozen=True, slots=True)
class _Known:
    """One entry of fastembed's lists."""

    name: str
    repo: str
    files: tuple[str, ...]


def repository(name: str) -> tuple[RepoId, Revision]:
    """`ORG/NAME` or `ORG/NAME@REVISION`. Raises InvalidInput."""
    repo, at, revision = name.partition("@")
    try:
        return RepoId(repo), Revision(revision) if at else MAIN
    except ValueError as error:
        raise InvalidInput(f"{name!r}: {error}.", hint="Write ORG/NAME or ORG/NAME@REVISION.") from None


def fastembed(name: str) -> Request:
    """What fastembed loads for a name of its own. Raises NotFound, MissingExtra."""
    name, at, revision = name.partition("@")
    known = tuple(_fastembed_models())
    found = [model for model in known if model.name.lower() == name.lower()]
    if not found:
        raise _unknown(name, sorted({model.name for model in known}))
    files = dict.fromkeys(file for model in found for file in model.files)
    repo, pinned = repository(found[0].repo + at + revision)
    return Request(
        repo,
        pinned,
        include=tuple(dict.fromkeys((*_FASTEMBED_FILES, *files))),
        exclude=("*.py",),  # fastembed runs no code of the repository
        optional=_FASTEMBED_FILES,
    )


def sentence_transformers(name: str) -> Request:
    """What sentence-transformers loads for a name; one without an organization is its own. Raises InvalidInput."""
    plain = name.partition("@")[0]
    if "/" not in plain and plain.lower() not in ORIGINAL_NAMES:
        name = f"{_ORGANIZATION}/{name}"
    repo, revision = repository(name)
    return Request(repo, revision)


def _fastembed_models() -> Iterator[_Known]:
    try:
        from fastembed import (
            ImageEmbedding,
            LateInteractionMultimodalEmbedding,
            LateInteractionTextEmbedding,
            SparseTextEmbedding,
            TextEmbedding,
        )
        from fastembed.rerank.cross_encoder import TextCrossEncoder
    except ImportError:
        raise MissingExtra("--fastembed", "fastembed") from None
    for kind in (
        TextEmbedding,
        SparseTextEmbedding,
        LateInteractionTextEmbedding,
        TextCrossEncoder,
        ImageEmbedding,
        LateInteractionMultimodalEmbedding,
    ):
        yield from _listed(kind.list_supported_models())


def _listed(models: Iterable[dict[str, Any]]) -> Iterator[_Known]:
    for model in models:
        if repo := model["sources"].get("hf"):
            files = (model["model_file"], *model.get("additional_files", ()))
            yield _Known(model["model"], repo, files)


def _unknown(name: str, names: list[str]) -> NotFound:
    folded = {known.lower(): known for known in names}
    close = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, 3, 0.5)]
    hint = f"Did you mean {' or '.join(close)}?" if close else "See fastembed's list of supported models."
    return NotFound(f"fastembed knows no model {name}.", hint=hint)
