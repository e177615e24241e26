"""Numbers as people read them."""

from __future__ import annotations

import pytest

from provisioner.render.progress import tail
from provisioner.render.sizes import count, duration, size


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (90868376, "90.9 MB"),
        (999499, "999.5 kB"),
        (999500, "1.0 MB"),
        (10**9, "1.0 GB"),
        (47500000000, "47.5 GB"),
        (10**12, "1.0 TB"),
        (5 * 10**15, "5000.0 TB"),
        (-1500, "-1.5 kB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.9, "9.9 s"),
        (12.4, "12 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (2010, "2,010 files")])
def test_counts(number: int, text: str) -> None:
    assert count(number, "file") == text


def test_a_long_label_keeps_its_end() -> None:
    assert tail("org/name/model.safetensors", 12) == "…safetensors"
    assert tail("short", 12) == "short"


def test_numbers_that_nobody_can_have_meant_are_unknown() -> None:
    assert size(10**400) == size(-(10**400)) == "unknown size"
    assert duration(float("nan")) == duration(float("inf")) == "unknown time"
