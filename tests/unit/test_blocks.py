"""Memory for blocks in flight, and blocks in order: bounded, complete, and never stuck."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provisioner.errors import Unavailable
from provisioner.stores.blocks.budget import BLOCK, Block, Budget
from provisioner.stores.blocks.ordered import Open, in_order

PATIENCE = 120.0  # seconds until a thread counts as stuck


class Watched(Budget):
    """Remembers the most that was out at one time."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.out = self.peak = 0
        self._watch = threading.Lock()

    def take(self, start: int, size: int) -> Block:
        block = super().take(start, size)
        with self._watch:
            self.out += size
            self.peak = max(self.peak, self.out)
        return block

    def give_back(self, memory: bytearray, size: int) -> None:
        with self._watch:
            self.out -= size
        super().give_back(memory, size)


class Bytes:
    """A stream that gives little at a time, and may break off."""

    def __init__(self, data: bytes, breaks_at: int | None = None) -> None:
        self._data, self._offset, self._breaks_at = data, 0, breaks_at

    def readinto(self, buffer: memoryview, /) -> int:
        if self._breaks_at is not None and self._offset >= self._breaks_at:
            raise Unavailable("broken off")
        stop = min(self._offset + min(len(buffer), 70), len(self._data))
        part = self._data[self._offset : stop if self._breaks_at is None else min(stop, self._breaks_at)]
        buffer[: len(part)] = part
        self._offset += len(part)
        return len(part)


def opened(data: bytes, breaks: dict[int, int] | None = None) -> Open:
    """Ranges of some bytes; `breaks` says after how many bytes the range that begins at an offset breaks off."""

    @contextmanager
    def ranges(start: int, stop: int) -> Iterator[Bytes]:
        yield Bytes(data[start:stop], (breaks or {}).get(start))

    return ranges


def read(
    data: bytes, block: int, connections: int, budget: Budget, start: int = 0, source: Open | None = None
) -> bytes:
    found = b""
    with in_order(source or opened(data), len(data), block, connections, budget, start) as blocks:
        for one in blocks:
            assert one.start == start + len(found)
            found += bytes(one.bytes)
            one.release()
    return found


def in_time(*works: threading.Thread) -> None:
    for work in works:
        work.start()
    for work in works:
        work.join(PATIENCE)
    assert not [work.name for work in works if work.is_alive()], "stuck"


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize(
    ("size", "start"), [(0, 0), (1, 0), (99, 0), (100, 0), (101, 0), (1000, 0), (1001, 350), (5, 5)]
)
def test_every_byte_comes_in_order(connections: int, size: int, start: int) -> None:
    data, budget = random.Random(size).randbytes(size), Watched(300)
    assert read(data, 100, connections, budget, start) == data[start:]
    assert budget.out == 0
    assert budget.peak <= 300


def test_a_block_larger_than_the_budget_goes_alone() -> None:
    data, budget = random.Random(1).randbytes(5000), Watched(300)
    readers = [threading.Thread(target=lambda: read(data, 1000, 3, budget), daemon=True) for _ in range(3)]
    in_time(*readers)
    assert (budget.peak, budget.out) == (1000, 0)


def test_memory_kept_for_later_counts_too() -> None:
    budget = Budget(4 * BLOCK)
    for block in [budget.take(0, BLOCK) for _ in range(4)]:
        block.release()
    assert len(budget._spare) == 4
    other = budget.take(0, 2 * BLOCK + 1)
    assert len(budget._spare) == 1  # what else fits beside it
    again = budget.take(0, BLOCK)
    assert budget._spare == []
    for block in (other, again):
        block.release()
    assert budget._used == 0


def test_a_block_given_back_twice_counts_once() -> None:
    budget = Watched(100)
    block = budget.take(0, 60)
    block.release()
    block.release()
    assert (budget.out, budget._used) == (0, 0)


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("breaks", [{0: 0}, {0: 50}, {300: 0}, {900: 99}, {0: 10, 100: 10, 200: 10}])
def test_a_failure_is_raised_where_the_blocks_are_taken(connections: int, breaks: dict[int, int]) -> None:
    if connections == 1:
        breaks = {0: next(iter(breaks)) + next(iter(breaks.values()))}  # one stream over everything
    data, budget = bytes(1000), Watched(400)
    with pytest.raises(Unavailable, match="broken off"):
        read(data, 100, connections, budget, source=opened(data, breaks))
    assert budget.out == 0


@pytest.mark.parametrize("connections", [1, 4])
def test_a_stream_that_ends_early_is_no_whole_file(connections: int) -> None:
    budget = Watched(400)
    with pytest.raises(Unavailable, match="ended early"):
        read(bytes(1000), 100, connections, budget, source=opened(bytes(930)))
    assert budget.out == 0


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_leaving_early_gives_everything_back(connections: int, taken: int) -> None:
    budget = Watched(400)
    with in_order(opened(bytes(5000)), 5000, 100, connections, budget) as blocks:
        for _ in range(taken):
            next(blocks).release()
    assert budget.out == 0


def test_files_that_share_a_budget_never_wait_for_each_other_for_ever() -> None:
    """Many files, few blocks, failures and people who leave early: everyone ends, and nothing stays out."""
    budget, chance, good = Watched(300), random.Random(7), []

    def work(seed: int) -> None:
        mine = random.Random(seed)
        data = mine.randbytes(mine.randrange(4000))
        block, connections = mine.choice([50, 100, 299]), mine.choice([1, 2, 4])
        fails = {mine.randrange(0, len(data) + 1, block): mine.randrange(block)} if mine.random() < 0.4 else {}
        try:
            if mine.random() < 0.2:
                with in_order(opened(data), len(data), block, connections, budget) as blocks:
                    for one in blocks:
                        one.release()
                        if mine.random() < 0.3:
                            break
            elif read(data, block, connections, budget, source=opened(data, fails)) == data:
                good.append(seed)
        except Unavailable:
            assert fails

    for _ in range(6):
        in_time(*(threading.Thread(target=work, args=(chance.random(),), daemon=True) for _ in range(24)))  # type: ignore[arg-type]
        assert budget.out == 0
    assert len(good) > 30
    assert budget.peak <= 300


@pytest.mark.parametrize("allowed", [0, 1])
def test_too_few_threads_are_enough_and_none_is_said(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """A pod's limit of processes: `thread.start` fails as it does there."""
    start, begun = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("block"):
            begun.append(thread)
            if len(begun) > allowed:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    data, budget = random.Random(3).randbytes(2000), Watched(300)
    if allowed:
        assert read(data, 100, 4, budget) == data
    else:
        with pytest.raises(Unavailable, match="thread"):
            read(data, 100, 4, budget)
    assert budget.out == 0
