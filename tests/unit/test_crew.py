"""Threads over a list of work, where the system gives as many as were asked for, and where it does not."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time

import pytest

from provisioner.errors import Unavailable
from provisioner.ops.crew import Crew


def start_at_most(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pod's limit of processes does to a thread's start."""
    start, left = threading.Thread.start, iter(range(count))

    def limited(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_with_fewer_threads_all_of_the_work_is_done(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start_at_most(most, monkeypatch)
    done: list[int] = []

    def work(item: int) -> None:
        time.sleep(0.01)  # waiting is what makes a crew grow
        done.append(item)

    assert Crew(work, 16, threading.Event()).run(range(60)) == ()
    assert sorted(done) == list(range(60))


def test_without_any_thread_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    start_at_most(0, monkeypatch)
    with pytest.raises(Unavailable, match="No thread"):
        Crew(print, 4, threading.Event()).run([1])


def test_a_failure_of_one_is_handed_over_and_stops_the_rest() -> None:
    def work(item: int) -> None:
        if item == 3:
            raise ValueError(item)
        time.sleep(0.001)

    (failure,) = Crew(work, 2, threading.Event()).run(range(10_000))
    assert isinstance(failure, ValueError)


def test_a_real_limit_of_processes_ends_and_does_not_hang() -> None:
    script = (
        "import resource, threading, os\n"
        "from provisioner.ops.crew import Crew\n"
        "from provisioner.errors import Unavailable\n"
        "os.setuid(54321)\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
        "done = []\n"
        "try:\n    Crew(done.append, 8, threading.Event()).run(range(100))\n"
        "except Unavailable:\n    print('none')\n"
        "else:\n    print(len(done))\n"
    )
    if resource.getrlimit(resource.RLIMIT_NPROC)[1] == 0:
        pytest.skip("no process may be started at all")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    if "Operation not permitted" in done.stderr or "Permission" in done.stderr or "ModuleNotFound" in done.stderr:
        pytest.skip("changing the uid needs root, and another uid that can read the interpreter")
    assert done.stdout.strip() in ("none", "100"), done.stderr
