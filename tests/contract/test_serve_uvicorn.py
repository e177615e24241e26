"""`uvicorn provisioner.serve.app:app`: it drains as `provision serve` does, though uvicorn has the signals."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.faults_process import REPOSITORY, environment
from tests.support.served import PATIENCE_S, Served, at_work, await_event, int8_release

LONG = {"texts": ["word " * 250] * 1000}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return int8_release(tmp_path_factory.mktemp("store"))


@contextmanager
def uvicorn(at: Path, folder: Path, **variables: str) -> Iterator[Served]:
    """On a socket that is bound here, so that nobody else takes its port in between."""
    own = {"PROVISION_SERVE_AT": str(at), "TMPDIR": str(folder), "LOG_FORMAT": "json", "INDEXING_ONLY": "True"}
    more = {"EMBEDDER_BATCH_MAX_SIZE": "64", "EMBEDDER_BATCH_MAX_TOKENS": "16384"}
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "provisioner.serve.app:app", "--fd", str(listener.fileno())],
            cwd=REPOSITORY,
            env=environment(**(own | more | variables)),
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
        served = Served(process, folder / "log", f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        await_event(served, "ready")
        yield served
    finally:
        process.kill()
        process.wait()


def terminate(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    await_event(served, "draining")


def test_it_says_that_it_ends_and_answers_until_the_delay_is_over(good: Path, tmp_path: Path) -> None:
    with uvicorn(good, tmp_path, DRAIN_DELAY="3000") as served:
        assert served.ask("/readyz")[0] == 200
        terminate(served)
        assert [served.ask("/readyz")[0], served.ask("/embed", {"texts": ["a"]})[0]] == [503, 200]
        served.process.send_signal(signal.SIGTERM)  # whoever cannot wait asks twice
        assert served.process.wait(PATIENCE_S) == -signal.SIGTERM


def test_what_is_at_work_is_answered(good: Path, tmp_path: Path) -> None:
    with uvicorn(good, tmp_path, DRAIN_DELAY="0", DRAIN_SECONDS="3000") as served, ThreadPoolExecutor(3) as pool:
        asked = at_work(served, pool, 3, {"texts": ["word " * 250] * 16})
        terminate(served)
        assert {one.result()[0] for one in asked} == {200}
        assert served.process.wait(PATIENCE_S) == -signal.SIGTERM


def test_what_is_not_done_in_time_is_refused(good: Path, tmp_path: Path) -> None:
    with uvicorn(good, tmp_path, DRAIN_DELAY="0", DRAIN_SECONDS="1") as served, ThreadPoolExecutor(4) as pool:
        asked = at_work(served, pool, 4, LONG)  # a minute of both cores
        terminate(served)
        answers = [one.result() for one in asked]
        assert served.process.wait(PATIENCE_S) == -signal.SIGTERM
    assert {status for status, _ in answers} <= {200, 503} and 503 in {status for status, _ in answers}
    assert all(answer["request_id"] for status, answer in answers if status == 503)
