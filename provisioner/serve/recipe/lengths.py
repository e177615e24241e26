"""How long a text may be, and what shorter ones are filled up with."""

from __future__ import annotations

from provisioner.errors import InvalidInput
from provisioner.serve.recipe.documents import Documents, Section
from provisioner.serve.recipe.values import Lengths, Padding

# These count positions from pad_token_id + 1, so that 514 of them are 512 tokens.
# https://github.com/huggingface/transformers/blob/main/src/transformers/models/roberta/modeling_roberta.py
_OFFSET = frozenset(
    {
        *("camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"),
        *("xlm-roberta", "xlm-roberta-xl", "xmod"),
    }
)
_POSITIONS = ("max_position_embeddings", "n_positions")
_TRANSFORMER = (
    *("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json"),
    *("sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json"),
    "sentence_xlnet_config.json",
)


def transformer_config(documents: Documents) -> Section:
    """What sentence-transformers keeps about the transformer; the first of its names that is not empty."""
    found = (documents.section(name) for name in _TRANSFORMER)
    return next((section for section in found if section.data), Section(_TRANSFORMER[0]))


def lengths(documents: Documents, asked: int | None, variable: str) -> Lengths:
    """The default and the limit.

    `asked` is what the operator wants for the default, in the environment variable of this name. Raises
    InvalidDocument, and InvalidInput where no file says how long a text may be, or where the model has fewer
    positions than asked.
    """
    positions = _positions(documents.section("config.json"))
    tokenizer = documents.section("tokenizer_config.json").whole("model_max_length")
    limit = positions or tokenizer
    named = asked or _named(documents) or _least(tokenizer, positions)
    if named is None:
        raise InvalidInput(
            "The model's files do not say how many tokens a text may have.", hint=f"Say it in {variable}."
        )
    if asked is not None and limit is not None and asked > limit:
        raise InvalidInput(
            f"{variable} is {asked}, and the model takes {limit} tokens at most.", hint=f"Lower {variable}."
        )
    limit = limit or named
    side = documents.section("tokenizer_config.json").text("truncation_side")
    return Lengths(min(named, limit), limit, cut_left=side == "left")


def _least(*counts: int | None) -> int | None:
    return min((count for count in counts if count is not None), default=None)


def _named(documents: Documents) -> int | None:
    """The length that the model was published with."""
    config = transformer_config(documents)
    options = config.section("processor_kwargs" if "processor_kwargs" in config else "tokenizer_args")
    at_call = config.section("processing_kwargs").section("text")
    return at_call.whole("max_length") or options.whole("model_max_length") or config.whole("max_seq_length")


def _positions(config: Section) -> int | None:
    """How many tokens there are positions for; XLNet, which counts none, says -1."""
    for key in _POSITIONS:
        if config.data.get(key) == -1:
            return None
        if count := config.whole(key):
            first = (config.whole("pad_token_id", low=0) or 0) + 1 if config.text("model_type") in _OFFSET else 0
            if count <= first:
                config.wrong(key, f"leaves no position after the first {first}")
            return count - first
    return None


def pad_token(documents: Documents) -> str | None:
    """The token itself, which the tokenizer knows the id of."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        section = documents.section(name)
        value = section.data.get("pad_token")
        token = section.section("pad_token").text("content") if isinstance(value, dict) else section.text("pad_token")
        if token is not None:
            return token
    return None


def padding(documents: Documents) -> Padding:
    """What config.json and tokenizer_config.json say; the tokenizer itself knows more (`engines/tokens.py`)."""
    tokenizer = documents.section("tokenizer_config.json")
    side = tokenizer.text("padding_side") or "right"
    if side not in ("left", "right"):
        tokenizer.wrong("padding_side", "is neither left nor right")
    identity = documents.section("config.json").whole("pad_token_id", low=0) or 0
    return Padding(identity, tokenizer.whole("pad_token_type_id", low=0) or 0, side == "left")
