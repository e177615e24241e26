"""Rows of token ids to the arrays of a graph, in pieces that a CPU computes with little memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from provisioner.serve.engines.interface import Item
from provisioner.serve.engines.tokens import Ids, Row
from provisioner.serve.recipe import Padding

# Attention takes memory with the square of the length: 8 texts of 512 tokens cost MiniLM 500 MB at once, and no CPU
# computes them faster than one after the other.
AREA = 2**17  # texts x tokens x tokens


@dataclass(frozen=True, slots=True)
class Grain:
    """In which pieces a graph is best computed.

    Attributes:
        area: of a piece at most, unless one text alone is larger.
        step: widths are multiples of it.
    """

    area: int = AREA
    step: int = 1


def pieces(items: Sequence[Item], area: int = AREA) -> Iterator[list[int]]:
    """Places of items to compute at once, short ones first."""
    piece: list[int] = []
    for at in sorted(range(len(items)), key=lambda at: items[at].length):
        if piece and (len(piece) + 1) * items[at].length ** 2 > area:
            yield piece
            piece = []
        piece.append(at)
    if piece:
        yield piece


def arrays(items: Sequence[Item], padding: Padding, step: int = 1, limit: int = 2**31) -> dict[str, Ids]:
    """All that a graph may ask for, each (n, width).

    The width is the next multiple of `step`, but no more than `limit`.
    """
    longest = max(item.length for item in items)
    shape = (len(items), max(longest, min(limit, longest + -longest % step)))
    ids, mask = np.full(shape, padding.id, np.int64), np.zeros(shape, np.int64)
    types = np.full(shape, padding.type_id, np.int64)
    for at, item in enumerate(items):
        row: Row = item.data
        place = slice(shape[1] - item.length, None) if padding.left else slice(item.length)
        ids[at, place] = row.ids
        mask[at, place] = 1
        types[at, place] = 0 if row.types is None else row.types
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def positions(mask: Ids) -> Ids:
    """0, 1, 2 for the tokens of each row, 1 for its padding, as exported decoders take them."""
    counted: Ids = np.where(mask == 1, mask.cumsum(axis=1) - 1, 1)
    return counted
