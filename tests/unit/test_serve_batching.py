"""Lanes: what shares a batch, who waits for whom, and what happens to those who leave."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from provisioner.serve.batching.lanes import Computed, Lanes
from provisioner.serve.batching.order import LEAST_STEP, Bounds, Line
from provisioner.serve.batching.room import Room
from provisioner.serve.batching.tokenising import INLINE_CHARACTERS, INLINE_TEXTS, SHORT_CHARACTERS, SHORT_TEXTS, SLICE
from provisioner.serve.batching.watch import Ran, Unwatched
from provisioner.serve.engines.interface import Floats, Input, Item
from provisioner.serve.logs import JsonLines
from provisioner.serve.refusals import Busy, Failed, Invalid, NotReady
from provisioner.serve.settings import Role
from tests.support.serve_engines import PATIENCE_S, Gated, Plain, value

HOUR = 3600.0


class Kept(Unwatched):
    """Keeps what lanes report."""

    def __init__(self) -> None:
        self.batches: list[Ran] = []
        self.depths: list[int] = []

    def ran(self, ran: Ran) -> None:
        self.batches.append(ran)

    def waiting(self, task: str, texts: int) -> None:
        self.depths.append(texts)


def anything(items: Sequence[Item]) -> None:
    """Refuses nothing."""


@asynccontextmanager
async def open_lanes(
    engine: Plain,
    role: Role = Role.INDEXING,
    size: int = 4,
    tokens: int = 1000,
    wait: float = 0.0,
    limit: int = 1000,
    watch: Unwatched | None = None,
) -> AsyncIterator[Lanes]:
    lanes = Lanes("embed", engine, role, Bounds(size, tokens), wait=wait, limit=limit, watch=watch or Unwatched())
    try:
        for lane in (lanes._bulk, lanes._query):
            while lane._idle < len(lane._threads):  # those that have begun to wait share what comes
                await asyncio.sleep(0.001)
        yield lanes
    finally:
        if isinstance(engine, Gated):
            engine.free()
        await lanes.close(PATIENCE_S)


def ask(lanes: Lanes, *texts: str) -> asyncio.Task[Computed]:
    return asyncio.create_task(lanes.compute(texts, None, anything))


async def begun(engine: Gated) -> None:
    await asyncio.to_thread(engine.begun)


def values(computed: Computed) -> list[float]:
    return [float(row) for row in computed.rows[:, 0]]


def run(test: Callable[[], Awaitable[Any]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 2 * PATIENCE_S))


def test_rows_come_back_in_the_order_asked_from_batches_of_like_lengths() -> None:
    texts = ["a" * length for length in (90, 3, 40, 2, 91, 41, 1, 92, 42)]
    engine = Plain()

    async def test() -> None:
        async with open_lanes(engine, size=3) as lanes:
            computed = await ask(lanes, *texts)
        assert values(computed) == [value(text) for text in texts]
        assert computed.tokens == sum(map(len, texts))

    run(test)
    assert [[len(str(one)) for one in batch] for batch in engine.batches] == [[92, 91, 90], [42, 41, 40], [3, 2, 1]]


def test_idle_threads_share_what_comes() -> None:
    engine = Gated(batches=3)
    texts = ["a" * length for length in range(1, 10)]

    async def test() -> None:
        async with open_lanes(engine, size=8) as lanes:
            task = ask(lanes, *texts)
            for _ in range(3):
                await begun(engine)
            engine.let(3)
            assert values(await task) == [value(text) for text in texts]

    run(test)
    assert sorted(len(batch) for batch in engine.batches) == [3, 3, 3]


def test_a_batch_that_fails_beside_others_of_its_request_fails_it_and_no_other() -> None:
    engine = Gated(batches=2)

    async def test() -> None:
        async with open_lanes(engine, size=2) as lanes:
            task, other = ask(lanes, "a", "b", "cc poison", "dd poison"), ask(lanes, "e", "f")
            await begun(engine)
            await begun(engine)
            engine.free()
            with pytest.raises(Failed):
                await task
            assert values(await other) == [value("e"), value("f")]
            assert values(await ask(lanes, "g", "h", "i")) == [value(one) for one in "ghi"]
            assert lanes.waiting == 0

    run(test)


def test_many_requests_on_several_threads_get_their_own_rows() -> None:
    engine = Plain(batches=4)
    asked = [[f"{number}-{place}" * (place + 1) for place in range(number % 9 + 1)] for number in range(60)]
    before = set(threading.enumerate())

    async def test() -> None:
        async with open_lanes(engine, size=4) as lanes:
            answers = await asyncio.gather(*(ask(lanes, *texts) for texts in asked))
        for texts, computed in zip(asked, answers, strict=True):
            assert values(computed) == [value(text) for text in texts]
        assert lanes.waiting == 0

    run(test)
    left = set(threading.enumerate()) - before
    assert not [one for one in left if one.name.startswith("embed-bulk")]


def test_an_idle_lane_runs_at_once_however_long_it_may_wait() -> None:
    async def test() -> None:
        async with open_lanes(Plain(), Role.INFERENCE, wait=HOUR) as lanes:
            assert values(await ask(lanes, "a query")) == [value("a query")]

    run(test)


def test_what_came_while_the_lane_was_busy_goes_together() -> None:
    engine = Gated()

    async def test() -> None:
        async with open_lanes(engine, Role.INFERENCE, size=4) as lanes:
            tasks = [ask(lanes, "first")]
            await begun(engine)
            tasks += [ask(lanes, f"query {number}") for number in range(5)]
            await asyncio.sleep(0)
            engine.free()
            await asyncio.gather(*tasks)

    run(test)
    assert [len(batch) for batch in engine.batches] == [1, 4, 1]


def test_a_lane_in_use_waits_for_as_many_as_were_in_the_batch_before() -> None:
    engine = Gated()

    async def test() -> None:
        async with open_lanes(engine, Role.INFERENCE, wait=HOUR) as lanes:
            first = ask(lanes, "alone")
            await begun(engine)
            pair = [ask(lanes, "one"), ask(lanes, "two")]
            await asyncio.sleep(0)
            engine.free()
            await asyncio.gather(first, *pair)
            again = [ask(lanes, "three")]
            await asyncio.sleep(0.05)
            assert len(engine.batches) == 2
            again.append(ask(lanes, "four"))
            await asyncio.gather(*again)

    run(test)
    assert engine.batches == [["alone"], ["one", "two"], ["three", "four"]]


def test_a_batch_keeps_its_tokens_and_a_longer_text_runs_alone() -> None:
    engine = Plain()

    async def test() -> None:
        async with open_lanes(engine, size=8, tokens=100) as lanes:
            await ask(lanes, "a" * 150, *("b" * 40 for _ in range(5)))

    run(test)
    assert [len(batch) for batch in engine.batches] == [1, 2, 2, 1]


def test_nothing_is_padded_to_much_more_than_its_length() -> None:
    engine = Plain()

    async def test() -> None:
        async with open_lanes(engine, size=8) as lanes:
            await ask(lanes, "a" * 200, "b" * 10, "c" * 190, "d" * 12)

    run(test)
    assert [[len(str(one)) for one in batch] for batch in engine.batches] == [[200, 190], [12, 10]]


def test_a_query_does_not_wait_for_bulk_on_the_inference_server() -> None:
    engine = Gated()

    async def test() -> None:
        async with open_lanes(engine, Role.INFERENCE) as lanes:
            bulk = ask(lanes, *("text" for _ in range(64)))
            await begun(engine)
            query = ask(lanes, "query")
            await begun(engine)  # although the bulk batch is not done
            assert not bulk.done()
            engine.free()
            await asyncio.gather(bulk, query)

    run(test)


def test_mixed_requests_share_batches_on_the_indexing_server() -> None:
    engine = Gated()

    async def test() -> None:
        async with open_lanes(engine, size=4) as lanes:
            tasks = [ask(lanes, "x")]
            await begun(engine)
            tasks += [ask(lanes, "a" * 10, "a" * 100), ask(lanes, "b" * 11, "b" * 101)]
            await asyncio.sleep(0)
            engine.free()
            await asyncio.gather(*tasks)

    run(test)
    assert [sorted(len(str(one)) for one in batch) for batch in engine.batches[1:]] == [[100, 101], [10, 11]]


def test_a_small_request_does_not_wait_for_the_whole_of_a_large_one() -> None:
    engine = Gated()

    async def test() -> None:
        async with open_lanes(engine, size=4) as lanes:
            large = ask(lanes, *(f"large {number:2}" for number in range(64)))
            await begun(engine)
            small = ask(lanes, "s" * 200)
            await asyncio.sleep(0)
            engine.let(2)
            await small
            assert not large.done()
            engine.free()
            assert values(await large) == [value(f"large {number:2}") for number in range(64)]

    run(test)
    assert ["s" * 200] in engine.batches[:2]


def test_a_stream_of_small_requests_does_not_starve_a_large_one() -> None:
    line: Line[str] = Line(Bounds(1, 1000))
    line.add([Item(5, None)] * 20, "large", 0.0)
    batches = 0
    while any(one.owner == "large" for one in line._line):
        line.add([Item(5, None)], "small", 0.0)
        line.take()
        batches += 1
        assert batches <= 20 / LEAST_STEP + 20


def test_a_full_queue_says_when_to_come_back_and_has_room_again() -> None:
    engine = Gated()
    watch = Kept()

    async def test() -> None:
        async with open_lanes(engine, limit=4, watch=watch) as lanes:
            running = ask(lanes, "running")
            await begun(engine)
            waiting = ask(lanes, *"abcd")
            await asyncio.sleep(0)
            with pytest.raises(Busy) as refused:
                await ask(lanes, "e")
            assert refused.value.retry_after is not None
            assert refused.value.retry_after >= 1
            assert lanes.waiting == 4
            engine.free()
            await asyncio.gather(running, waiting)
            assert values(await ask(lanes, "e")) == [value("e")]
            assert lanes.waiting == 0

    run(test)
    assert max(watch.depths) == 4
    assert watch.depths[-1] == 0


def test_the_time_to_come_back_follows_the_measured_rate() -> None:
    room = Room("embed", 100, Unwatched())
    room.enter(100)
    seconds = []
    for texts, taken in ((0, 0.0), (10, 20.0), (1, 1000.0)):
        if texts:
            room.ran(texts, taken)
        with pytest.raises(Busy) as refused:
            room.enter(7)
        seconds.append(refused.value.retry_after)
    assert seconds == [1, 14, 60]


def test_what_waits_of_a_request_that_was_given_up_is_not_computed() -> None:
    engine = Gated()

    async def test() -> None:
        async with open_lanes(engine, size=2) as lanes:
            given_up = ask(lanes, *(f"unwanted {number}" for number in range(10)))
            await begun(engine)
            other = ask(lanes, "wanted")
            await asyncio.sleep(0)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            assert lanes.waiting == 1
            engine.free()
            assert values(await other) == [value("wanted")]
            assert lanes.waiting == 0

    run(test)
    assert [len(batch) for batch in engine.batches] == [2, 1]


def test_a_failing_batch_fails_only_those_in_it_and_tells_no_text(caplog: pytest.LogCaptureFixture) -> None:
    engine = Gated()
    watch = Kept()

    async def test() -> None:
        async with open_lanes(engine, size=2, watch=watch) as lanes:
            running = ask(lanes, "running")
            await begun(engine)
            tasks = [ask(lanes, "poison " + "a" * 60, "b" * 67, *"cdef"), ask(lanes, "z" * 200)]
            await asyncio.sleep(0)
            engine.free()
            outcomes = await asyncio.gather(running, *tasks, return_exceptions=True)
            assert [type(one) for one in outcomes] == [Computed, Failed, Computed]
            assert lanes.waiting == 0
            assert values(await ask(lanes, "later")) == [value("later")]

    with caplog.at_level(logging.DEBUG):
        run(test)
    assert engine.batches == [["running"], ["z" * 200], ["later"]]
    assert [ran.failed for ran in watch.batches].count(True) == 1
    (line,) = (json.loads(JsonLines().format(one)) for one in caplog.records if one.levelno == logging.ERROR)
    assert (line["event"], line["task"], line["texts"]) == ("batch_failed", "embed", 2)
    assert line["trace"][0] == "RuntimeError"
    assert "serve_engines.py" in line["trace"][-1]
    assert "poison" not in json.dumps(line) + caplog.text


class Widening(Plain):
    """Rows as wide as the longest text of their batch, as a graph may give that was exported wrongly."""

    def run(self, items: Sequence[Item]) -> Floats:
        rows: Floats = np.ones((len(items), max(item.length for item in items)), np.float32)
        return rows


def test_rows_of_different_widths_fail_their_request_and_not_the_lane() -> None:
    async def test() -> None:
        async with open_lanes(Widening(), size=1) as lanes:
            with pytest.raises(Failed):
                await ask(lanes, "a", "b" * 60)
            assert (await ask(lanes, "later")).rows.shape == (1, 5)
            assert lanes.waiting == 0

    run(test)


def test_what_onnxruntime_says_about_a_failed_batch_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

    class Refusing(Plain):
        def run(self, items: Sequence[Item]) -> Floats:
            raise InvalidArgument("Got invalid dimensions for input: 7")

    async def test() -> None:
        async with open_lanes(Refusing()) as lanes:
            with pytest.raises(Failed):
                await ask(lanes, "a")

    run(test)
    (record,) = (one for one in caplog.records if one.levelno == logging.ERROR)
    assert "Got invalid dimensions for input: 7" in json.loads(JsonLines().format(record))["trace"][0]


def test_a_closed_lane_computes_what_waits_and_refuses_what_comes() -> None:
    engine = Gated()

    async def test() -> None:
        async with open_lanes(engine, size=1) as lanes:
            waiting = ask(lanes, "a", "b", "c")
            await begun(engine)
            closing = asyncio.create_task(lanes.close(PATIENCE_S))
            await asyncio.sleep(0.05)
            with pytest.raises(NotReady):
                await ask(lanes, "late")
            engine.free()
            await closing
            assert values(await waiting) == [value(text) for text in "abc"]
            assert lanes.waiting == 0

    run(test)


def test_what_is_not_computed_in_time_when_a_lane_closes_is_refused() -> None:
    engine = Gated()

    async def test() -> None:
        async with open_lanes(engine, size=1) as lanes:
            waiting = ask(lanes, "a", "b", "c")
            await begun(engine)
            await lanes.close(0)
            with pytest.raises(NotReady):
                await waiting
            assert lanes.waiting == 0

    run(test)
    assert engine.batches in ([], [["a"]])


def test_what_is_refused_after_tokenising_leaves_its_room() -> None:
    def refuse(items: Sequence[Item]) -> None:
        raise Invalid("never")

    async def test() -> None:
        async with open_lanes(Plain()) as lanes:
            with pytest.raises(Invalid):
                await lanes.compute(["a", "b"], None, refuse)
            assert lanes.waiting == 0

    run(test)


def test_long_texts_are_tokenised_in_threads_and_in_slices() -> None:
    engine = Plain()

    async def test() -> None:
        async with open_lanes(engine, size=64) as lanes:
            await ask(lanes, "a" * INLINE_CHARACTERS)
            await ask(lanes, *("b" * 1000 for _ in range(2 * (SLICE // 1000))))

    run(test)
    assert engine.threads[0] == "MainThread"
    assert len(engine.threads) == 3
    assert all(name.startswith("embed-tokens") for name in engine.threads[1:])


class Held(Plain):
    """Texts of a whole slice are tokenised when the test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []
        self.busy = threading.Semaphore(0)
        self.let = threading.Event()

    def tokenize(self, inputs: Sequence[Input], max_length: int | None = None) -> list[Item]:
        if sum(len(str(one)) for one in inputs) >= SLICE:
            self.busy.release()
            assert self.let.wait(PATIENCE_S)
        else:
            self.counts.append(len(inputs))
        return super().tokenize(inputs, max_length)


@pytest.mark.parametrize("length", [10, INLINE_CHARACTERS + 250, SHORT_CHARACTERS])
def test_no_query_waits_for_the_tokens_of_bulk(length: int) -> None:
    engine = Held()

    async def test() -> None:
        async with open_lanes(engine, Role.INFERENCE) as lanes:
            bulk = [ask(lanes, *("b" * SLICE for _ in range(3))) for _ in range(4)]
            for _ in range(2):
                assert await asyncio.to_thread(engine.busy.acquire, timeout=PATIENCE_S)
            assert values(await asyncio.wait_for(ask(lanes, "a" * length), PATIENCE_S / 2)) == [value("a" * length)]
            assert not any(one.done() for one in bulk)
            engine.let.set()
            await asyncio.gather(*bulk)

    run(test)


@pytest.mark.parametrize("count", [2, INLINE_TEXTS, INLINE_TEXTS + 1, SHORT_TEXTS])
def test_short_texts_are_tokenised_one_by_one(count: int) -> None:
    engine = Held()

    async def test() -> None:
        async with open_lanes(engine) as lanes:
            texts = [f"text {number}" for number in range(count)]
            assert values(await ask(lanes, *texts)) == [value(text) for text in texts]

    run(test)
    assert engine.counts == [1] * count
    assert {name == "MainThread" for name in engine.threads} == {count <= INLINE_TEXTS}


def test_each_batch_is_reported_with_numbers_only() -> None:
    watch = Kept()

    async def test() -> None:
        async with open_lanes(Plain(), Role.INFERENCE, watch=watch) as lanes:
            await ask(lanes, "aaaa", "bb")

    run(test)
    (ran,) = watch.batches
    assert (ran.task, ran.lane, ran.size, ran.tokens, ran.padded, ran.failed) == ("embed", "query", 2, 6, 8, False)
    assert len(ran.waits) == 2
    assert min(*ran.waits, ran.seconds) >= 0
