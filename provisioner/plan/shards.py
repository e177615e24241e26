"""One plan shared out over several processes that fill one store together. Pure."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from provisioner.model import Digest, Tree
from provisioner.plan.planner import Move, Plan

MOST = 1000


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` processes, counted from 0; number 0 publishes."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True)
class Part:
    """What one shard builds: contents, and the bytes of them."""

    digests: frozenset[Digest]
    bytes: int


def split(tree: Tree, count: int) -> tuple[Part, ...]:
    """Every content of the tree in exactly one of `count` parts, largest first to the one with the fewest bytes.

    Every process computes the same, whatever the order of anything, so the shards need not speak with each other. No
    two parts differ by more than the largest file. Generated files are in none: whoever publishes writes them.
    """
    sizes = contents(tree)
    digests: list[list[Digest]] = [[] for _ in range(count)]
    loads = [(0, index) for index in range(count)]
    for digest in sorted(sizes, key=lambda one: (-sizes[one], one)):
        load, index = loads[0]
        digests[index].append(digest)
        heapq.heapreplace(loads, (load + sizes[digest], index))
    return tuple(Part(frozenset(digests[index]), load) for load, index in sorted(loads, key=lambda one: one[1]))


def contents(tree: Tree) -> dict[Digest, int]:
    """The size of every content that has to come from somewhere."""
    groups = tree.by_digest().items()
    return {digest: group[0].size for digest, group in groups if all(entry.content is None for entry in group)}


def part_of(work: Plan, shard: Shard) -> Plan:
    """What one shard has to move, each content to one path only: the publisher gives it the others.

    What the store holds already is left where it is; the publisher takes it from there.
    """
    mine = split(work.tree, shard.count)[shard.index].digests
    moves = (action for action in work.actions if isinstance(action, Move) and action.entries[0].sha256 in mine)
    actions = tuple(Move(move.entries[:1], move.resumed) for move in moves)
    return Plan(work.tree, actions, work.repeats_cost, work.free)
