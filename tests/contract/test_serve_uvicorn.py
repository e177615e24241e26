"""`uvicorn provisioner.serve.app:app`: it drains as `provision serve` does, though uvicorn has the signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.faults_process import REPOSITORY, environment
from tests.support.otlp import collecting
from tests.support.patience import until
from tests.support.served import PATIENCE_S, Served, at_work, await_event, int8_release

LONG = {"texts": ["word " * 250] * 1000}  # a quarter of a minute of both cores
ENDED = (-signal.SIGTERM, 128 + signal.SIGTERM)  # by the signal, or by what cuts the rest off
AROUND = """
import asyncio, signal, sys
from provisioner.serve.app import app

async def main():
    asked, said = asyncio.Queue(), asyncio.Queue()
    living = asyncio.create_task(app({"type": "lifespan"}, asked.get, said.put))
    await asked.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    assert signal.getsignal(signal.SIGTERM) is not mine
    kept = signal.getsignal(signal.SIGTERM)
    await asked.put({"type": "lifespan.shutdown"})
    await living
    assert signal.getsignal(signal.SIGTERM) is mine
    kept(signal.SIGTERM, None)  # of one who calls what was there after a handler of their own
    await asyncio.sleep(2)

def mine(number, frame):
    print("mine", flush=True)

signal.signal(signal.SIGTERM, mine)
asyncio.run(main())
sys.exit(5)
"""

LATE = """
import asyncio, sys, threading
from provisioner.serve.app import app

def computing():
    return [one.name for one in threading.enumerate() if one.name.startswith(("provision-load", "embed", "rerank"))]

async def main():
    asked, said = asyncio.Queue(), asyncio.Queue()
    living = asyncio.create_task(app({"type": "lifespan"}, asked.get, said.put))
    for word in ("startup", "shutdown"):
        await asked.put({"type": "lifespan." + word})
    await living
    while computing():
        await asyncio.sleep(0.05)
    print(computing(), flush=True)

asyncio.run(main())
sys.exit(5)
"""


def cannot_be_first() -> str:
    """Why no process can be made the first of a namespace here, or ""."""
    done = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"needs a namespace of processes (root): {done.stderr.strip()}" if done.returncode else ""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return int8_release(tmp_path_factory.mktemp("store"))


@contextmanager
def uvicorn(at: Path, folder: Path, *before: str, **variables: str) -> Iterator[Served]:
    """On a socket that is bound here, so that nobody else takes its port in between. `before` starts the command."""
    own = {"PROVISION_SERVE_AT": str(at), "TMPDIR": str(folder), "LOG_FORMAT": "json", "INDEXING_ONLY": "True"}
    more = {"EMBEDDER_BATCH_MAX_SIZE": "64", "EMBEDDER_BATCH_MAX_TOKENS": "16384"}
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as file:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "uvicorn", "provisioner.serve.app:app", "--fd", str(listener.fileno())],
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


def post(served: Served, body: object) -> socket.socket:
    """A request whose answer nobody reads."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", int(served.url.rpartition(":")[2])))
    data = json.dumps(body).encode()
    head = f"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def ended(port: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """How uvicorn ends that should not start."""
    return subprocess.run(
        [sys.executable, "-m", "uvicorn", "provisioner.serve.app:app", "--port", port, *options],
        cwd=REPOSITORY,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def computing(metrics: str) -> bool:
    """Whether some texts of LONG wait and others do not any more: a batch of them is at work."""
    depth = re.search(r'^provision_serve_queue_depth_texts\{task="embed"\} (\S+)$', metrics, re.M)
    return depth is not None and 0 < float(depth[1]) < len(LONG["texts"])  # there is none before the first request


def test_it_says_that_it_ends_and_answers_until_the_delay_is_over(good: Path, tmp_path: Path) -> None:
    with uvicorn(good, tmp_path, DRAIN_DELAY="3000") as served:
        assert served.ask("/readyz")[0] == 200
        terminate(served)
        assert [served.ask("/readyz")[0], served.ask("/embed", {"texts": ["a"]})[0]] == [503, 200]
        served.process.send_signal(signal.SIGTERM)  # whoever cannot wait asks twice
        assert served.process.wait(PATIENCE_S) in ENDED


def test_what_is_at_work_is_answered(good: Path, tmp_path: Path) -> None:
    with uvicorn(good, tmp_path, DRAIN_DELAY="0", DRAIN_SECONDS="3000") as served, ThreadPoolExecutor(3) as pool:
        asked = at_work(served, pool, 3, {"texts": ["word " * 250] * 16})
        terminate(served)
        assert {one.result()[0] for one in asked} == {200}
        assert served.process.wait(PATIENCE_S) == -signal.SIGTERM


def test_what_is_not_done_in_time_is_refused(good: Path, tmp_path: Path) -> None:
    with uvicorn(good, tmp_path, DRAIN_DELAY="0", DRAIN_SECONDS="1") as served, ThreadPoolExecutor(4) as pool:
        asked = at_work(served, pool, 4, LONG)
        terminate(served)
        answers = [one.result() for one in asked]
        assert served.process.wait(PATIENCE_S) in ENDED
    assert {status for status, _ in answers} <= {200, 503} and 503 in {status for status, _ in answers}
    assert all(answer["request_id"] for status, answer in answers if status == 503)


def test_who_reads_nothing_is_cut_off(good: Path, tmp_path: Path) -> None:
    count = 4000  # whose vectors no socket holds
    done = f'provision_serve_texts_total{{task="embed"}} {count}.0'
    with (
        uvicorn(good, tmp_path, DRAIN_DELAY="0", DRAIN_SECONDS="1", MAX_TEXTS=str(count)) as served,
        closing(post(served, {"texts": ["a"] * count})),
    ):
        until(lambda: done in served.ask("/metrics")[1])
        terminate(served)
        assert served.process.wait(PATIENCE_S) == ENDED[1]


@pytest.mark.skipif(bool(cannot_be_first()), reason=cannot_be_first())
def test_as_process_1_it_leaves_a_batch_behind_whose_client_is_gone(good: Path, tmp_path: Path) -> None:
    """Its own SIGTERM does not end such a process, and Python would be taken down under the batch."""
    first = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--")
    with uvicorn(good, tmp_path, *first, DRAIN_DELAY="0") as served:
        with closing(post(served, LONG)):
            until(lambda: computing(served.ask("/metrics")[1]))
        (child,) = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        assert served.process.wait(PATIENCE_S) == 0
        assert "terminate called" not in served.log.read_text()


def test_its_last_spans_are_exported(good: Path, tmp_path: Path) -> None:
    with collecting() as found:
        more = {"OTEL_EXPORTER_OTLP_ENDPOINT": found.url, "OTEL_BSP_SCHEDULE_DELAY": "3000000"}
        more["OTEL_EXPORTER_OTLP_TIMEOUT"] = str(round(PATIENCE_S))  # what is not taken in time is dropped
        with uvicorn(good, tmp_path, DRAIN_DELAY="0", **more) as served:
            assert served.ask("/embed", {"texts": ["a"]})[0] == 200
            terminate(served)
            assert served.process.wait(PATIENCE_S) == -signal.SIGTERM
        assert {span.name for span in found.spans} == {"POST /embed", "embed", "wait", "compute"}


def test_whoever_is_around_has_its_handler_back(good: Path, tmp_path: Path) -> None:
    """As where the application is mounted in another one, on a loop that is not uvicorn's."""
    done = subprocess.run(
        [sys.executable, "-c", AROUND],
        cwd=REPOSITORY,
        env=environment(PROVISION_SERVE_AT=str(good), TMPDIR=str(tmp_path), DRAIN_DELAY="0", DRAIN_SECONDS="0"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (5, "mine\n"), done.stderr


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        ({"VERIFY": "bogus"}, 4, "VERIFY: 'bogus'"),
        ({"PROVISION_SERVE_VERIFY": "bogus"}, 4, "VERIFY: 'bogus'"),
        ({"PROVISION_SERVE_AT": "/nonexistent"}, 7, "/nonexistent"),
    ],
)
def test_its_exit_codes_are_its_own(
    good: Path, tmp_path: Path, variables: dict[str, str], code: int, words: str
) -> None:
    done = ended("0", **({"PROVISION_SERVE_AT": str(good), "TMPDIR": str(tmp_path)} | variables))
    assert done.returncode == code and words in done.stderr, done.stderr


def test_uvicorns_own_exit_code_stays(good: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = ended(str(taken.getsockname()[1]), PROVISION_SERVE_AT=str(good), TMPDIR=str(tmp_path))
    assert done.returncode == 3 and "address already in use" in done.stderr, done.stderr


def test_a_bad_setting_ends_the_workers_and_their_parent(tmp_path: Path) -> None:
    done = ended("0", "--workers", "2", TMPDIR=str(tmp_path), VERIFY="bogus")
    assert done.returncode == 0, done.stderr  # uvicorn's word for it
    assert 1 <= done.stderr.count("VERIFY: 'bogus'") <= 4


def test_a_load_that_comes_too_late_leaves_no_threads(good: Path, tmp_path: Path) -> None:
    """The application ends while it loads, and what is around it goes on."""
    done = subprocess.run(
        [sys.executable, "-c", LATE],
        cwd=REPOSITORY,
        env=environment(PROVISION_SERVE_AT=str(good), TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (5, "[]\n"), done.stderr


def test_without_the_extra_it_ends_with_the_sentence(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None; import uvicorn; uvicorn.run('provisioner.serve.app:app')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2 and "serve" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_options_of_the_command_are_read_from_their_variables_here_too(good: Path, tmp_path: Path) -> None:
    more = {"PROVISION_SERVE_VERIFY": "full", "PROVISION_SERVE_INDEXING_ONLY": "1", "PROVISION_SERVE_PROT": "1"}
    with uvicorn(good, tmp_path, **(more | {"INDEXING_ONLY": "False"})) as served:
        status = served.ask("/status.json")[1]
        assert (status["role"], status["release"]["evidence"]) == ("indexing", "rehashed")
        strange = served.event("misspelt")
        assert strange is not None and strange["variable"] == "PROVISION_SERVE_PROT"
