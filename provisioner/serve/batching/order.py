"""Which waiting items make the next batch. Pure: no thread, no clock, no engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Generic, TypeVar

from provisioner.serve.engines.interface import Item

# Each batch moves the clock on by at least this much of a batch, so that a stream of small requests, each of which
# begins at the clock, leaves a large one at least every ninth batch.
LEAST_STEP = 1 / 8
# Batches' worth of waiting items that are looked at for neighbours in length.
WINDOW = 16
# Nothing is padded to more than twice its length and this: on a CPU the padding costs more than a batch of its own.
SLACK = 16

_turn = attrgetter("turn")
Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a batch.

    Attributes:
        size: items, at most.
        tokens: items times the longest of them, at most, unless one item alone is longer.
    """

    size: int
    tokens: int


@dataclass(slots=True, eq=False)
class Waiting(Generic[Owner]):
    """One item that waits.

    Attributes:
        owner: the request it is of, compared by identity.
        index: of the item in its request.
        since: when it came, on whatever clock its lane uses.
        turn: when it is due, in batches; set by Line.
    """

    item: Item
    owner: Owner
    index: int
    since: float
    turn: float = 0.0


class Line(Generic[Owner]):
    """Items in the order in which they are due.

    Every request begins at the clock and is due one batch further for each batch that it fills, so requests take
    turns whatever their size, and none waits for all of a larger one. The clock moves on with each batch, and what
    came later is never due earlier by more than a batch's turn: nobody starves.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._clock = 0.0
        self._line: list[Waiting[Owner]] = []

    def __len__(self) -> int:
        return len(self._line)

    def add(self, items: Sequence[Item], owner: Owner, since: float) -> None:
        """The items of one request, the longest first: its own batches are then of like lengths."""
        spent = 0.0
        for index in sorted(range(len(items)), key=lambda index: -items[index].length):
            self._line.append(Waiting(items[index], owner, index, since, self._clock + int(spent)))
            spent += max(1 / self.bounds.size, min(1, items[index].length / self.bounds.tokens))
        self._line.sort(key=_turn)  # stable, and quick on what is two sorted runs

    def take(self, most: int = 2**31) -> list[Waiting[Owner]]:
        """The next batch: the item that is due first, with those nearest to it in length, `most` of them where the
        bounds let so many be; empty if none waits."""
        if not self._line:
            return []
        window = self._line[: self.bounds.size * WINDOW]
        first = window[0]
        self._clock = max(self._clock + LEAST_STEP, first.turn)
        batch = _fill(first, window, replace(self.bounds, size=min(self.bounds.size, most)))
        taken = set(map(id, batch))
        self._line[: len(window)] = [one for one in window if id(one) not in taken]
        return batch

    def drop(self, owner: Owner) -> int:
        """Removes what is left of a request, and says how many items that were."""
        before = len(self._line)
        self._line = [one for one in self._line if one.owner is not owner]
        return before - len(self._line)

    def clear(self) -> list[Waiting[Owner]]:
        """Removes and returns everything."""
        line, self._line = self._line, []
        return line


def _fill(first: Waiting[Owner], window: Sequence[Waiting[Owner]], bounds: Bounds) -> list[Waiting[Owner]]:
    """`first` and the nearest to it in length, the earlier of equals, as long as the batch keeps its bounds."""
    length = first.item.length
    batch, shortest, longest = [first], length, length
    for one in sorted(window[1:], key=lambda one: abs(one.item.length - length)):
        if len(batch) == bounds.size:
            break
        low, high = min(shortest, one.item.length), max(longest, one.item.length)
        if high * (len(batch) + 1) <= bounds.tokens and high <= 2 * low + SLACK:
            batch.append(one)
            shortest, longest = low, high
    return batch
