"""Numbers in JSON: as few digits as keep every float32."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from provisioner.serve.http.apis.answers import answer, rounded, rows

EDGES = (0.0, 1.0, -1.0, 0.1, 16777217.0, 3.4028235e38, 1.1754944e-38, 1e-45, 0.99999994, 9.999999e-5, 8589973e3)


def read(vectors: NDArray[np.float32]) -> Any:
    return json.loads(answer(asyncio.run(rows(vectors))).body)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_float32_comes_back_as_it_was(numbers: list[float]) -> None:
    vectors = np.array([numbers], np.float32)
    assert np.array_equal(np.asarray(read(vectors), np.float32), vectors)


@pytest.mark.parametrize("number", [sign * edge for edge in EDGES for sign in (1, -1)])
def test_edges(number: float) -> None:
    vectors = np.array([[number]], np.float32)
    assert np.array_equal(np.asarray(read(vectors), np.float32), vectors)


def test_many_float32_of_every_exponent() -> None:
    bits = np.random.default_rng(7).integers(0, 2**32, 10**6, dtype=np.uint32)
    numbers = bits.view(np.float32)
    numbers = numbers[np.isfinite(numbers)]
    assert np.array_equal(rounded(numbers).astype(np.float32), numbers)


def test_numbers_of_a_vector_have_few_digits() -> None:
    vectors = np.random.default_rng(7).standard_normal((4, 384)).astype(np.float32) / 20
    text = answer(asyncio.run(rows(vectors))).body
    assert len(text) < 14 * vectors.size < len(json.dumps(vectors.tolist()))


@pytest.mark.parametrize("shape", [(0, 384), (1, 384), (1000, 384), (3, 50_000), (2, 0)])
def test_rows_are_all_there_and_in_order(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    given = np.asarray(read(vectors), np.float32).reshape(shape)
    assert np.array_equal(given, vectors)


def test_others_are_served_while_a_large_answer_is_written() -> None:
    async def both() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await rows(np.ones((1000, 384), np.float32))
        task.cancel()
        return turns

    assert asyncio.run(both()) > 10
