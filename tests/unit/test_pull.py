"""Patience: how long to wait, how often to ask again, and when to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from provisioner.errors import AccessDenied, Unavailable
from provisioner.model import LockedFile
from provisioner.ops.execute import connections_per_file
from provisioner.ops.pull import Cancelled, Patience, PatientPull
from provisioner.ports.events import Event, Retrying
from tests.support.hub_fixture import make
from tests.support.locks import tree
from tests.support.patience import PATIENCE

DATA = bytes(range(200)) * 10
FILE = next(e.origin for e in tree(make("org/x", {"data.bin": DATA})).entries if e.origin)
QUICK = Patience(attempts=3, base=0.001, cap=0.002, worth=500)


class Scripted:
    """A source that gives `blocks` bytes in every stream and then does what the script says next."""

    name = "scripted"
    is_remote = True

    def __init__(self, *script: Callable[[], int], block: int = 100) -> None:
        self.script = list(script)
        self.block = block
        self.opened: list[tuple[int, int]] = []

    def has(self, file: LockedFile) -> bool:
        return True

    @contextmanager
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[Scripted]:
        self.opened.append((start, stop))
        self.offset, self.given = start, False
        yield self

    def readinto(self, buffer: memoryview, /) -> int:
        if self.given and self.script:
            return self.script.pop(0)()
        self.given = True
        count = min(self.block, len(buffer))
        buffer[:count] = DATA[self.offset : self.offset + count]
        self.offset += count
        return count


def fail() -> int:
    raise Unavailable("It broke off.")


def end() -> int:
    return 0


def read(source: Scripted, patience: Patience = QUICK) -> tuple[bytes, list[Event]]:
    events: list[Event] = []
    pull = PatientPull(source, FILE, patience, events.append, threading.Event())
    result, buffer = b"", memoryview(bytearray(256))
    with pull.open(0, len(DATA)) as stream:
        while count := stream.readinto(buffer):
            result += bytes(buffer[:count])
    assert pull.bytes == len(result)
    return result, events


@pytest.mark.parametrize("broken", [fail, end])
def test_it_goes_on_at_the_byte_where_it_stopped(broken: Callable[[], int]) -> None:
    source = Scripted(broken, broken)
    result, events = read(source)
    assert result == DATA
    assert source.opened == [(0, 2000), (100, 2000), (200, 2000)]
    assert [event.attempt for event in events if isinstance(event, Retrying)] == [1, 2]


def test_failures_in_a_row_end_it() -> None:
    source = Scripted(fail, fail, fail)
    with pytest.raises(Unavailable, match="broke off"):
        read(source)
    assert len(source.opened) == 3


def test_progress_that_is_worth_it_starts_a_new_row() -> None:
    source = Scripted(*[fail] * 3, block=256)
    result, events = read(source, Patience(attempts=2, base=0.001, worth=200))
    assert result == DATA
    assert [event.attempt for event in events if isinstance(event, Retrying)] == [1, 1, 1]


def test_what_no_retry_changes_is_raised_at_once() -> None:
    def denied() -> int:
        raise AccessDenied("No.")

    source = Scripted(denied)
    with pytest.raises(AccessDenied):
        read(source)
    assert len(source.opened) == 1


def test_a_bug_is_no_failure_that_passes() -> None:
    def bug() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read(Scripted(bug))


def test_a_cancelled_wait_ends_at_once() -> None:
    cancelled, waits, failures = threading.Event(), threading.Event(), list[BaseException]()
    patience = Patience(base=3600.0, cap=3600.0)
    pull = PatientPull(Scripted(fail), FILE, patience, lambda _: waits.set(), cancelled)

    def work() -> None:
        try:
            with pull.open(0, len(DATA)) as stream:
                while stream.readinto(memoryview(bytearray(256))):
                    pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert waits.wait(PATIENCE)
    cancelled.set()
    thread.join(PATIENCE)
    assert [type(one) for one in failures] == [Cancelled]


def test_delays_double_up_to_the_cap() -> None:
    patience = Patience(base=1.0, cap=8.0, longest=20.0)
    for failures, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (9, 8.0)):
        delays = [patience.delay(failures, None) for _ in range(50)]
        assert all(most / 2 <= delay <= most for delay in delays)
        assert len(set(delays)) > 1
    assert 5.0 <= patience.delay(1, 5.0) <= 6.0
    assert 20.0 <= patience.delay(1, 500.0) <= 21.0
    assert 890.0 <= Patience().delay(1, 890.0) <= 890.5  # asked and given, up to 15 minutes
    assert 900.0 <= Patience().delay(1, 86400.0) <= 900.5


@pytest.mark.parametrize("large", [0, 1, 2, 3, 4, 40])
@pytest.mark.parametrize("jobs", [1, 2, 16, 256])
def test_connections_are_divided_among_the_large_files(large: int, jobs: int) -> None:
    each = connections_per_file(large, jobs)
    assert 1 <= each <= jobs
    assert each * large <= max(jobs, large)
    assert each == 1 or large in (1, 2, 3)


def test_one_large_file_alone_comes_over_several_connections() -> None:
    assert connections_per_file(1, 16) > 1
    assert connections_per_file(1, 1) == connections_per_file(0, 16) == 1
