"""From a tree and an observed store to a plan."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.model import Digest, Tree, TreeEntry
from provisioner.ports.store import Held, Observed


@dataclass(frozen=True, slots=True)
class Generate:
    """Write a generated file to each of its paths."""

    entries: tuple[TreeEntry, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Take bytes that the store already has, re-hashed; every path of one digest."""

    entries: tuple[TreeEntry, ...]
    held: Held


@dataclass(frozen=True, slots=True)
class Move:
    """Bring bytes from a source; every path of one digest.

    Attributes:
        resumed: bytes of it that an interrupted run left in the store.
    """

    entries: tuple[TreeEntry, ...]
    resumed: int = 0


Action = Generate | Share | Move


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in the order they are worth starting, largest first; none when the release is there.

    Attributes:
        repeats_cost: whether a second path of equal bytes takes room (no hard links).
        replaces: whether a release that is there, but damaged, goes when the new one comes.
    """

    tree: Tree
    actions: tuple[Action, ...]
    repeats_cost: bool = False
    free: int | None = None
    replaces: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.actions

    @property
    def bytes_to_move(self) -> int:
        """Bytes that have to come from a source."""
        return sum(_size(a) - a.resumed for a in self.actions if isinstance(a, Move))

    @property
    def bytes_resumed(self) -> int:
        """Bytes that an interrupted run has moved already."""
        movable = (_size(a) for a in self.actions if isinstance(a, Share) and a.held.movable)
        return sum(movable) + sum(a.resumed for a in self.actions if isinstance(a, Move))

    @property
    def bytes_shared(self) -> int:
        """Bytes that other releases of the store have."""
        return sum(_size(a) for a in self.actions if isinstance(a, Share) and not a.held.movable)

    @property
    def bytes_needed(self) -> int:
        """Room that the store must have free before the first byte."""
        return sum(map(self._room, self.actions))

    @property
    def bytes_missing(self) -> int:
        """Bytes that have to be freed before the plan can be carried out."""
        return 0 if self.free is None else max(self.bytes_needed - self.free, 0)

    @property
    def files_to_move(self) -> int:
        """Files that have to come from a source, equal contents once."""
        return sum(isinstance(action, Move) for action in self.actions)

    def _room(self, action: Action) -> int:
        size, paths = _size(action), len(action.entries)
        once = 0 if isinstance(action, Share) and (action.held.movable or not self.repeats_cost) else size
        if isinstance(action, Move):
            once -= action.resumed
        return once + (size * (paths - 1) if self.repeats_cost or isinstance(action, Generate) else 0)


def _size(action: Action) -> int:
    return action.entries[0].size


def plan(tree: Tree, observed: Observed, replaces: bool = False) -> Plan:
    """The plan that brings a store from what was observed to the tree."""
    repeats_cost, free = not observed.capabilities.hard_links, observed.capabilities.free
    if observed.published:
        return Plan(tree, (), repeats_cost, free)
    actions = [_action(digest, entries, observed) for digest, entries in tree.by_digest().items()]
    actions.sort(key=_size, reverse=True)
    return Plan(tree, tuple(actions), repeats_cost, free, replaces)


def _action(digest: Digest, entries: tuple[TreeEntry, ...], observed: Observed) -> Action:
    if any(entry.content is not None for entry in entries):
        return Generate(entries)
    if held := observed.held.get(digest):
        return Share(entries, held)
    return Move(entries, observed.partial.get(digest, 0))
