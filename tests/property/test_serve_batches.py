"""Any mix of requests: each gets its own rows, in its order, from batches within their bounds."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from provisioner.serve.batching.lanes import Computed, Lanes
from provisioner.serve.batching.order import LEAST_STEP, SLACK, Bounds, Line
from provisioner.serve.batching.watch import Unwatched
from provisioner.serve.engines.interface import Item
from provisioner.serve.settings import Role
from tests.support.serve_engines import PATIENCE_S, Plain, value

LENGTHS = st.integers(1, 300)
BOUNDS = st.builds(Bounds, st.integers(1, 9), st.integers(1, 800))
REQUESTS = st.lists(st.lists(LENGTHS, min_size=1, max_size=30), min_size=1, max_size=8)


def within(lengths: list[int], bounds: Bounds) -> bool:
    padded = len(lengths) * max(lengths)
    return len(lengths) <= bounds.size and (padded <= bounds.tokens or len(lengths) == 1)


@given(REQUESTS, BOUNDS, st.sampled_from(Role), st.data())
def test_each_request_gets_its_own_rows_in_its_order(
    requests: list[list[int]], bounds: Bounds, role: Role, data: st.DataObject
) -> None:
    texts = [
        [f"{number}.{place}".ljust(length, "x") for place, length in enumerate(one)]
        for number, one in enumerate(requests)
    ]
    given_up = data.draw(st.sets(st.integers(0, len(requests) - 1)))
    engine = Plain(max_length=512)

    async def ask() -> list[Computed | BaseException]:
        lanes = Lanes("embed", engine, role, bounds, wait=0.0, limit=10_000, watch=Unwatched())
        tasks = [asyncio.create_task(lanes.compute(one, None, lambda items: None)) for one in texts]
        await asyncio.sleep(0)
        for number in given_up:
            tasks[number].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert lanes.waiting == 0
        await lanes.close(PATIENCE_S)
        return answers

    for number, answer in enumerate(asyncio.run(ask())):
        if isinstance(answer, Computed):
            assert [float(row) for row in answer.rows[:, 0]] == [value(text) for text in texts[number]]
            assert answer.tokens == sum(map(len, texts[number]))
        else:
            assert isinstance(answer, asyncio.CancelledError)
            assert number in given_up
    assert all(within([len(str(one)) for one in batch], bounds) for batch in engine.batches)


@given(REQUESTS, BOUNDS)
def test_every_item_is_in_one_batch_with_others_of_its_length(requests: list[list[int]], bounds: Bounds) -> None:
    line: Line[int] = Line(bounds)
    for number, lengths in enumerate(requests):
        line.add([Item(length, None) for length in lengths], number, 0.0)
    seen = []
    while batch := line.take():
        lengths = [one.item.length for one in batch]
        assert within(lengths, bounds)
        assert max(lengths) <= 2 * min(lengths) + SLACK
        seen += [(one.owner, one.index) for one in batch]
    assert sorted(seen) == [(number, index) for number, one in enumerate(requests) for index in range(len(one))]


@given(st.lists(LENGTHS, min_size=1, max_size=40), st.lists(LENGTHS, min_size=1, max_size=400), BOUNDS)
def test_nobody_starves(first: list[int], later: list[int], bounds: Bounds) -> None:
    """One request, and after it others of one text each, as many as there are batches."""
    line: Line[str] = Line(bounds)
    line.add([Item(length, None) for length in first], "first", 0.0)
    left, batches = len(first), 0
    while left:
        line.add([Item(later[batches % len(later)], None)], "later", 0.0)
        left -= sum(one.owner == "first" for one in line.take())
        batches += 1
        assert batches <= (len(first) + 1) * (1 / LEAST_STEP + 1)


@given(st.integers(1, 9), st.integers(2, 12), st.integers(1, 9))
def test_a_request_of_one_batch_has_its_turn_next_after_those_before_it(size: int, large: int, earlier: int) -> None:
    """Whatever large requests are at work: as many batches go first as there are other requests, at most."""
    line: Line[str] = Line(Bounds(size, 10_000))
    for number in range(large):
        line.add([Item(10, None)] * size * 50, f"large {number}", 0.0)
    for _ in range(earlier):
        line.take()
    line.add([Item(300, None)] * size, "small", 0.0)
    for _ in range(large + 1 + int((large + earlier) * LEAST_STEP) * large):
        if any(one.owner == "small" for one in line.take()):
            return
    raise AssertionError("the small request still waits")
