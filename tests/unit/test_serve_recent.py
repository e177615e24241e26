"""Latencies of the last minutes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.serve.recent import STEP, STEPS, Recent


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_quantiles_are_close() -> None:
    recent = Recent(Clock())
    for milliseconds in range(1, 1001):
        recent.add("/embed", milliseconds / 1000)
    (stretch,) = recent.read().routes["/embed"]
    assert stretch.requests == 1000
    assert stretch.p50 == pytest.approx(0.5, rel=0.05)
    assert stretch.p99 == pytest.approx(0.99, rel=0.05)


@given(st.floats(min_value=0, max_value=1e9))
def test_any_latency_is_taken(seconds: float) -> None:
    recent = Recent(Clock())
    recent.add("/embed", seconds)
    (stretch,) = recent.read().routes["/embed"]
    assert 0 < stretch.p50 == stretch.p99
    if 2e-4 < seconds < 900:
        assert stretch.p50 == pytest.approx(seconds, rel=0.03)


def test_steps_follow_each_other_and_old_ones_go() -> None:
    clock = Clock()
    recent = Recent(clock)
    for _ in range(3 * STEPS):
        recent.add("/embed", 0.01)
        recent.add("/rerank", 0.02)
        clock.now += STEP
    series = recent.read().routes["/embed"]
    assert len(series) <= STEPS
    assert {later.at - sooner.at for sooner, later in pairwise(series)} == {STEP}
    clock.now += STEP * STEPS
    assert recent.read().routes == {}


def test_steps_without_requests_are_left_out() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.add("/embed", 0.01)
    clock.now += 10 * STEP
    recent.add("/embed", 0.01)
    first, second = recent.read().routes["/embed"]
    assert second.at - first.at == 10 * STEP


def test_a_clock_that_is_set_back_breaks_nothing() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.add("/embed", 0.01)
    clock.now -= 3600
    recent.add("/embed", 0.01)
    assert sum(stretch.requests for stretch in recent.read().routes["/embed"]) == 2
