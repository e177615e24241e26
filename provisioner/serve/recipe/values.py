"""What the files say, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """How one vector is made of the vectors of the tokens; the names are those of sentence-transformers."""

    CLS = "cls"
    MAX = "max"
    MEAN = "mean"
    MEAN_SQRT = "mean_sqrt_len_tokens"
    WEIGHTED = "weightedmean"
    LAST = "lasttoken"


@dataclass(frozen=True, slots=True)
class Padding:
    """What fills up the shorter texts of a batch."""

    id: int = 0
    type_id: int = 0
    left: bool = False


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a text, special ones counted.

    Attributes:
        default: where a text is cut if nobody asks for another length.
        limit: more than the model has positions for is never computed.
        cut_left: whether the beginning goes where a text is too long.
    """

    default: int
    limit: int
    cut_left: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model wants to be run.

    Attributes:
        task: `embed` or `rerank`.
        pooling: several are put one after the other; () for a reranker.
        normalize: whether vectors get the length 1.
        dimensions: how many numbers of a vector are kept, after that; None keeps all.
        vocabulary: token ids are below it; None where the files do not say.
        lower_case: whether texts are put into lower case before anything else.
        prompts: by name.
        default_prompt: the name of one of them, or None.
        only_torch: what nothing but sentence-transformers computes, each in a few words; () for most models.
    """

    task: str
    lengths: Lengths
    padding: Padding = field(default_factory=Padding)
    pooling: tuple[Mode, ...] = ()
    normalize: bool = False
    dimensions: int | None = None
    vocabulary: int | None = None
    lower_case: bool = False
    prompts: tuple[tuple[str, str], ...] = ()
    default_prompt: str | None = None
    only_torch: tuple[str, ...] = ()
