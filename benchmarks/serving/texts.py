"""Texts of a known number of tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator

# Each is one token of BERT's vocabulary.
SENTENCE = "the people of this city have been on their way to a new house for more than one year and now they want "
WORDS = (SENTENCE + "water light time life work school money history music power family market train night").split()
SPECIAL = 2  # [CLS] and [SEP]


def text(tokens: int, dice: random.Random) -> str:
    return " ".join(dice.choice(WORDS) for _ in range(tokens - SPECIAL))


def texts(tokens: int, count: int, seed: int = 1) -> list[str]:
    dice = random.Random(seed)
    return [text(tokens, dice) for _ in range(count)]


def mixed(count: int, seed: int = 1) -> list[str]:
    """Lengths as chunks of documents have them: many short ones, some of 256 tokens."""
    dice = random.Random(seed)
    return [text(max(4, min(256, int(dice.lognormvariate(3.9, 0.8)))), dice) for _ in range(count)]


def batches(kind: str, size: int, seed: int) -> Iterator[list[str]]:
    """Batches without end, none like another."""
    while True:
        seed += 1
        yield mixed(size, seed) if kind == "mixed" else texts(int(kind), size, seed)
